-- Three users, four posts and four likes of the new blog, with the ids that this server allots.
INSERT INTO revamp_users (id, user_name, email_address, display_name, mobile) VALUES
  (2, 'alice_wonder', 'alice@example.com', 'Alice Wonder', '+1987654321'),
  (4, 'charlie_brown', 'charlie@example.com', 'Charlie Brown', '+1987654322'),
  (6, 'diana_prince', 'diana@example.com', 'Diana Prince', NULL);

INSERT INTO revamp_posts (id, author_id, title, content, status, views) VALUES
  (2, 2, 'Down the Hole', 'Hello from the new blog.', 'Published', 100),
  (4, 2, 'Tea', 'At six.', 'Draft', 0),
  (6, 4, 'The Kite', 'It is in the tree.', 'Published', 7),
  (8, 6, 'The Island', NULL, 'Archived', 12);

INSERT INTO revamp_likes (id, user_id, post_id, reaction_type) VALUES (2, 4, 2, 'Like'), (4, 6, 2, 'Love'), (6, 2, 6, 'Sad'), (8, 6, 6, 'Like');
