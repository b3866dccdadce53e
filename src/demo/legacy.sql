-- The old blog: names of its own, lower-case states. Its application allots odd ids.
CREATE TABLE legacy_users (
  id INT NOT NULL PRIMARY KEY,
  username VARCHAR(50) NOT NULL UNIQUE,
  email VARCHAR(100) NOT NULL UNIQUE,
  full_name VARCHAR(100),
  phone_number VARCHAR(20),
  status VARCHAR(20) DEFAULT 'active' CHECK (status IN ('active', 'inactive', 'suspended')),
  source VARCHAR(20) NOT NULL DEFAULT 'legacy' CHECK (source IN ('legacy', 'revamp', 'sync_service')),
  created_at TIMESTAMP DEFAULT CURRENT_TIMESTAMP,
  updated_at TIMESTAMP DEFAULT CURRENT_TIMESTAMP
);
CREATE TABLE legacy_posts (
  id INT NOT NULL PRIMARY KEY,
  user_id INT NOT NULL REFERENCES legacy_users (id) ON DELETE CASCADE,
  post_title VARCHAR(200) NOT NULL,
  post_content TEXT,
  post_status VARCHAR(20) DEFAULT 'published' CHECK (post_status IN ('draft', 'published', 'archived')),
  view_count INT DEFAULT 0,
  source VARCHAR(20) NOT NULL DEFAULT 'legacy' CHECK (source IN ('legacy', 'revamp', 'sync_service')),
  created_at TIMESTAMP DEFAULT CURRENT_TIMESTAMP,
  updated_at TIMESTAMP DEFAULT CURRENT_TIMESTAMP
);
CREATE TABLE legacy_likes (
  id INT NOT NULL PRIMARY KEY,
  user_id INT NOT NULL REFERENCES legacy_users (id) ON DELETE CASCADE,
  post_id INT NOT NULL REFERENCES legacy_posts (id) ON DELETE CASCADE,
  like_type VARCHAR(20) DEFAULT 'like' CHECK (like_type IN ('like', 'love', 'wow', 'sad', 'angry')),
  source VARCHAR(20) NOT NULL DEFAULT 'legacy' CHECK (source IN ('legacy', 'revamp', 'sync_service')),
  created_at TIMESTAMP DEFAULT CURRENT_TIMESTAMP,
  UNIQUE (user_id, post_id)
);
INSERT INTO legacy_users (id, username, email, full_name, phone_number) VALUES
  (1, 'john_doe', 'john@example.com', 'John Doe', '+1-555-0101'),
  (3, 'jane_smith', 'jane@example.com', 'Jane Smith', NULL),
  (5, 'bob_wilson', 'bob@example.com', NULL, '');
INSERT INTO legacy_posts (id, user_id, post_title, post_content, view_count) VALUES
  (1, 1, 'First post', 'It''s "quoted", with an emoji 🌊 and' || char(10) || 'two lines.', 10),
  (3, 1, 'Second post', '', 9007199254740993),
  (5, 3, 'Draft', NULL, 0),
  (7, 5, 'Grüße', '漢字', 3);
INSERT INTO legacy_likes (id, user_id, post_id, like_type) VALUES
  (1, 3, 1, 'love'), (3, 5, 1, 'like'), (5, 1, 5, 'wow'), (7, 1, 7, 'sad');
