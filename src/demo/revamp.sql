-- The new blog: other names, capitalised states. Its application allots even ids.
CREATE TABLE revamp_users (
  id INT NOT NULL PRIMARY KEY,
  user_name VARCHAR(50) NOT NULL UNIQUE,
  email_address VARCHAR(100) NOT NULL UNIQUE,
  display_name VARCHAR(100),
  mobile VARCHAR(20),
  account_status VARCHAR(20) DEFAULT 'Active' CHECK (account_status IN ('Active', 'Inactive', 'Suspended')),
  source VARCHAR(20) NOT NULL DEFAULT 'revamp' CHECK (source IN ('legacy', 'revamp', 'sync_service')),
  created_at TIMESTAMP DEFAULT CURRENT_TIMESTAMP,
  updated_at TIMESTAMP DEFAULT CURRENT_TIMESTAMP
);
CREATE TABLE revamp_posts (
  id INT NOT NULL PRIMARY KEY,
  author_id INT NOT NULL REFERENCES revamp_users (id) ON DELETE CASCADE,
  title VARCHAR(200) NOT NULL,
  content TEXT,
  status VARCHAR(20) DEFAULT 'Published' CHECK (status IN ('Draft', 'Published', 'Archived')),
  views INT DEFAULT 0,
  source VARCHAR(20) NOT NULL DEFAULT 'revamp' CHECK (source IN ('legacy', 'revamp', 'sync_service')),
  created_at TIMESTAMP DEFAULT CURRENT_TIMESTAMP,
  updated_at TIMESTAMP DEFAULT CURRENT_TIMESTAMP
);
CREATE TABLE revamp_likes (
  id INT NOT NULL PRIMARY KEY,
  user_id INT NOT NULL REFERENCES revamp_users (id) ON DELETE CASCADE,
  post_id INT NOT NULL REFERENCES revamp_posts (id) ON DELETE CASCADE,
  reaction_type VARCHAR(20) DEFAULT 'Like' CHECK (reaction_type IN ('Like', 'Love', 'Wow', 'Sad', 'Angry')),
  source VARCHAR(20) NOT NULL DEFAULT 'revamp' CHECK (source IN ('legacy', 'revamp', 'sync_service')),
  created_at TIMESTAMP DEFAULT CURRENT_TIMESTAMP,
  UNIQUE (user_id, post_id)
);
INSERT INTO revamp_users (id, user_name, email_address, display_name, mobile) VALUES
  (2, 'alice_wonder', 'alice@example.com', 'Alice Wonder', '+44 20 7946 0000'),
  (4, 'charlie_brown', 'charlie@example.com', 'Charlie Brown', NULL),
  (6, 'diana_prince', 'diana@example.com', 'Diana Prince', NULL);
INSERT INTO revamp_posts (id, author_id, title, content, views) VALUES
  (2, 2, 'Down the rabbit hole', 'Curiouser and curiouser!', 42),
  (4, 4, 'Good grief', NULL, 7),
  (6, 4, 'Kite', 'Tree', -1),
  (8, 6, 'Invisible jet', '%d ${x} ; DROP TABLE revamp_posts', 0);
INSERT INTO revamp_likes (id, user_id, post_id, reaction_type) VALUES
  (2, 4, 2, 'Love'), (4, 6, 2, 'Like'), (6, 2, 8, 'Wow'), (8, 2, 6, 'Angry');
