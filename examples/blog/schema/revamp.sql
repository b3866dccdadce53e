-- The blog as the new system has it. Ids: this server allots 2, 4, 6, … (auto_increment_increment = 2, auto_increment_offset = 2).
CREATE TABLE revamp_users (
  id INT AUTO_INCREMENT PRIMARY KEY,
  user_name VARCHAR(50) NOT NULL UNIQUE,
  email_address VARCHAR(100) NOT NULL UNIQUE,
  display_name VARCHAR(100),
  mobile VARCHAR(20),
  account_status VARCHAR(20) NOT NULL DEFAULT 'Active' CHECK (account_status IN ('Active', 'Inactive', 'Suspended')),
  source VARCHAR(20) NOT NULL DEFAULT 'revamp' CHECK (source IN ('legacy', 'revamp', 'sync_service')),
  created_at TIMESTAMP NOT NULL DEFAULT CURRENT_TIMESTAMP,
  updated_at TIMESTAMP NOT NULL DEFAULT CURRENT_TIMESTAMP ON UPDATE CURRENT_TIMESTAMP
) CHARACTER SET utf8mb4;

CREATE TABLE revamp_posts (
  id INT AUTO_INCREMENT PRIMARY KEY,
  author_id INT NOT NULL,
  title VARCHAR(200) NOT NULL,
  content TEXT,
  status VARCHAR(20) NOT NULL DEFAULT 'Published' CHECK (status IN ('Draft', 'Published', 'Archived')),
  views INT NOT NULL DEFAULT 0,
  source VARCHAR(20) NOT NULL DEFAULT 'revamp' CHECK (source IN ('legacy', 'revamp', 'sync_service')),
  created_at TIMESTAMP NOT NULL DEFAULT CURRENT_TIMESTAMP,
  updated_at TIMESTAMP NOT NULL DEFAULT CURRENT_TIMESTAMP ON UPDATE CURRENT_TIMESTAMP,
  CONSTRAINT revamp_posts_author FOREIGN KEY (author_id) REFERENCES revamp_users (id) ON DELETE CASCADE
) CHARACTER SET utf8mb4;

CREATE TABLE revamp_likes (
  id INT AUTO_INCREMENT PRIMARY KEY,
  user_id INT NOT NULL,
  post_id INT NOT NULL,
  reaction_type VARCHAR(20) NOT NULL DEFAULT 'Like' CHECK (reaction_type IN ('Like', 'Love', 'Wow', 'Sad', 'Angry')),
  source VARCHAR(20) NOT NULL DEFAULT 'revamp' CHECK (source IN ('legacy', 'revamp', 'sync_service')),
  created_at TIMESTAMP NOT NULL DEFAULT CURRENT_TIMESTAMP,
  UNIQUE KEY revamp_likes_once (user_id, post_id),
  CONSTRAINT revamp_likes_user FOREIGN KEY (user_id) REFERENCES revamp_users (id) ON DELETE CASCADE,
  CONSTRAINT revamp_likes_post FOREIGN KEY (post_id) REFERENCES revamp_posts (id) ON DELETE CASCADE
) CHARACTER SET utf8mb4;
