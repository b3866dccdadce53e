-- Three users, four posts and four likes of the legacy blog, with the ids that this server allots.
INSERT INTO legacy_users (id, username, email, full_name, phone_number) VALUES
  (1, 'john_doe', 'john@example.com', 'John Doe', '+1234567890'),
  (3, 'jane_smith', 'jane@example.com', 'Jane Smith', '+1234567891'),
  (5, 'bob_wilson', 'bob@example.com', 'Bob Wilson', NULL);

INSERT INTO legacy_posts (id, user_id, post_title, post_content, post_status, view_count) VALUES
  (1, 1, 'First Post', 'Hello from the old blog.', 'published', 10),
  (3, 1, 'Unfinished', 'To be continued', 'draft', 0),
  (5, 3, 'A Recipe', 'Flour, water, salt.', 'published', 25),
  (7, 5, 'Old News', NULL, 'archived', 3);

INSERT INTO legacy_likes (id, user_id, post_id, like_type) VALUES (1, 3, 1, 'like'), (3, 5, 1, 'love'), (5, 1, 5, 'wow'), (7, 5, 5, 'like');
