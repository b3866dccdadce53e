-- The blog as the legacy system has it. Ids: this server allots 1, 3, 5, … (auto_increment_increment = 2, auto_increment_offset = 1).
CREATE TABLE legacy_users (
  id INT AUTO_INCREMENT PRIMARY KEY,
  username VARCHAR(50) NOT NULL UNIQUE,
  email VARCHAR(100) NOT NULL UNIQUE,
  full_name VARCHAR(100),
  phone_number VARCHAR(20),
  status VARCHAR(20) NOT NULL DEFAULT 'active' CHECK (status IN ('active', 'inactive', 'suspended')),
  source VARCHAR(20) NOT NULL DEFAULT 'legacy' CHECK (source IN ('legacy', 'revamp', 'sync_service')),
  created_at TIMESTAMP NOT NULL DEFAULT CURRENT_TIMESTAMP,
  updated_at TIMESTAMP NOT NULL DEFAULT CURRENT_TIMESTAMP ON UPDATE CURRENT_TIMESTAMP
) CHARACTER SET utf8mb4;

CREATE TABLE legacy_posts (
  id INT AUTO_INCREMENT PRIMARY KEY,
  user_id INT NOT NULL,
  post_title VARCHAR(200) NOT NULL,
  post_content TEXT,
  post_status VARCHAR(20) NOT NULL DEFAULT 'published' CHECK (post_status IN ('draft', 'published', 'archived')),
  view_count INT NOT NULL DEFAULT 0,
  source VARCHAR(20) NOT NULL DEFAULT 'legacy' CHECK (source IN ('legacy', 'revamp', 'sync_service')),
  created_at TIMESTAMP NOT NULL DEFAULT CURRENT_TIMESTAMP,
  updated_at TIMESTAMP NOT NULL DEFAULT CURRENT_TIMESTAMP ON UPDATE CURRENT_TIMESTAMP,
  CONSTRAINT legacy_posts_user FOREIGN KEY (user_id) REFERENCES legacy_users (id) ON DELETE CASCADE
) CHARACTER SET utf8mb4;

CREATE TABLE legacy_likes (
  id INT AUTO_INCREMENT PRIMARY KEY,
  user_id INT NOT NULL,
  post_id INT NOT NULL,
  like_type VARCHAR(20) NOT NULL DEFAULT 'like' CHECK (like_type IN ('like', 'love', 'wow', 'sad', 'angry')),
  source VARCHAR(20) NOT NULL DEFAULT 'legacy' CHECK (source IN ('legacy', 'revamp', 'sync_service')),
  created_at TIMESTAMP NOT NULL DEFAULT CURRENT_TIMESTAMP,
  UNIQUE KEY legacy_likes_once (user_id, post_id),
  CONSTRAINT legacy_likes_user FOREIGN KEY (user_id) REFERENCES legacy_users (id) ON DELETE CASCADE,
  CONSTRAINT legacy_likes_post FOREIGN KEY (post_id) REFERENCES legacy_posts (id) ON DELETE CASCADE
) CHARACTER SET utf8mb4;
