-- Three users, four posts and four likes of the new blog. In the fresh tables their ids become 2, 4, 6 (and 8), as the references say.
INSERT INTO revamp_users (user_name, email_address, display_name, mobile) VALUES
  ('alice_wonder', 'alice@example.com', 'Alice Wonder', '+1987654321'),
  ('charlie_brown', 'charlie@example.com', 'Charlie Brown', '+1987654322'),
  ('diana_prince', 'diana@example.com', 'Diana Prince', NULL);

INSERT INTO revamp_posts (author_id, title, content, status, views) VALUES
  (2, 'Down the Hole', 'Hello from the new blog.', 'Published', 100),
  (2, 'Tea', 'At six.', 'Draft', 0),
  (4, 'The Kite', 'It is in the tree.', 'Published', 7),
  (6, 'The Island', NULL, 'Archived', 12);

INSERT INTO revamp_likes (user_id, post_id, reaction_type) VALUES (4, 2, 'Like'), (6, 2, 'Love'), (2, 6, 'Sad'), (6, 6, 'Like');
