-- What is in the shop before Tidelock starts; PostgreSQL begins empty and gets it from the connector's snapshot.
INSERT INTO users (name, email) VALUES ('John Doe', 'john@example.com'), ('Jane Smith', 'jane@example.com');

INSERT INTO products (name, price, description) VALUES
  ('Laptop', 999.99, 'Fourteen inches'),
  ('Mouse', 29.99, 'Without a cable'),
  ('Keyboard', 79.99, NULL);

INSERT INTO orders (user_id, product_id, quantity, total_amount, status)
  SELECT users.id, products.id, 1, products.price, 'pending' FROM users, products
  WHERE users.email = 'john@example.com' AND products.name = 'Laptop';
INSERT INTO orders (user_id, product_id, quantity, total_amount, status)
  SELECT users.id, products.id, 2, 2 * products.price, 'completed' FROM users, products
  WHERE users.email = 'jane@example.com' AND products.name = 'Mouse';
