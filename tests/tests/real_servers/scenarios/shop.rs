//! The shop between MySQL and PostgreSQL: exact money, equal instants, orders and what they refer to, and any number of workers.

use std::sync::Arc;
use std::time::{Duration, Instant};

use tidelock_tests::example::MYSQL_POSTGRES;
use tidelock_tests::group::Group;
use tidelock_tests::pair::Pair;
use tidelock_tests::scenario::scenario;
use tidelock_tests::wait::{arrival, eventually};

use super::shop_workers as workers;

#[tokio::test]
async fn the_shop_stays_in_step_between_mysql_and_postgres() {
    let mut group = Group::of(Pair::prepare(MYSQL_POSTGRES.named("b"), None).await);
    group.show(rows_from_before_the_first_start_arrive).await;
    group.show(a_user_of_mysql_arrives_with_the_same_instant).await;
    group.show(a_user_of_postgres_arrives_in_mysql).await;
    group.show(an_update_in_postgres_of_a_row_from_mysql_arrives_and_stops).await;
    group.show(prices_arrive_to_the_cent).await;
    group.show(an_update_of_a_row_from_the_snapshot_arrives).await;
    group.show(the_state_of_an_order_changes_from_either_side).await;
    group.show(a_user_a_product_and_an_order_of_one_transaction_all_arrive).await;
    group.show(deletes_arrive_from_either_side).await;
    group.show(an_empty_name_arrives_empty).await;
    group.show(postgres_allots_an_id_of_its_own_after_ids_from_mysql).await;
    group.show(a_hundred_users_arrive_in_half_a_minute).await;
    group.show(workers::one_four_and_sixteen_lanes_end_in_the_same_state_in_order).await;
    group.end().await;
}

async fn rows_from_before_the_first_start_arrive(pair: Arc<Pair>) {
    let _scenario = scenario("B004", None);
    pair.start_worker().await;
    pair.ready().await;
    for (table, count, columns) in [
        ("users", 2, "id, name, email"),
        ("products", 3, "id, name, price, description"),
        ("orders", 2, "id, user_id, product_id, quantity, total_amount, status"),
    ] {
        let sql = format!("SELECT {columns} FROM {table} ORDER BY id");
        let expected = pair.left.rows(&sql).await;
        assert_eq!(expected.len(), count);
        pair.right.shows(&sql, &texts(&expected)).await;
    }
}

fn texts(lines: &[String]) -> Vec<&str> {
    lines.iter().map(String::as_str).collect()
}

async fn a_user_of_mysql_arrives_with_the_same_instant(pair: Arc<Pair>) {
    let _scenario = scenario("B001", None);
    pair.left.run("INSERT INTO users (name, email) VALUES ('Test User', 'test@example.com')").await;
    let instant = pair.left.row("SELECT UNIX_TIMESTAMP(created_at) FROM users WHERE email = 'test@example.com'").await;
    pair.right
        .shows(
            "SELECT name, email, extract(epoch FROM created_at)::bigint FROM users WHERE email = 'test@example.com'",
            &[&format!("Test User|test@example.com|{instant}")],
        )
        .await;
}

async fn a_user_of_postgres_arrives_in_mysql(pair: Arc<Pair>) {
    let _scenario = scenario("B002", None);
    pair.right.run("INSERT INTO users (name, email) VALUES ('PG User', 'pg@example.com')").await;
    let sql =
        "SELECT id, name, email, extract(epoch FROM created_at)::bigint FROM users WHERE email = 'pg@example.com'";
    let row = pair.right.row(sql).await;
    let sql = "SELECT id, name, email, UNIX_TIMESTAMP(created_at) FROM users WHERE email = 'pg@example.com'";
    pair.left.shows(sql, &[&row]).await;
}

async fn an_update_in_postgres_of_a_row_from_mysql_arrives_and_stops(pair: Arc<Pair>) {
    let _scenario = scenario("B003", None);
    let echoes = pair.outcome("mysql→postgres", "echo").await;
    pair.right.run("UPDATE users SET name = 'Updated User' WHERE email = 'test@example.com'").await;
    pair.left.shows("SELECT name FROM users WHERE email = 'test@example.com'", &["Updated User"]).await;
    pair.counts("mysql→postgres", "echo", echoes + 1.0).await;
    let applied = pair.outcome("", "applied").await;
    pair.quiet(Duration::from_secs(10)).await;
    assert_eq!(pair.outcome("", "applied").await, applied);
}

async fn prices_arrive_to_the_cent(pair: Arc<Pair>) {
    let _scenario = scenario("B005", None);
    for price in ["999.99", "0.00", "0.01", "-0.05", "99999999.99"] {
        // `description` is the column where NULL is allowed.
        pair.left.run(&format!("INSERT INTO products (name, price) VALUES ('priced {price}', {price})")).await;
        pair.right.run(&format!("INSERT INTO products (name, price) VALUES ('also priced {price}', {price})")).await;
        let sql = |name: &str| format!("SELECT price, description FROM products WHERE name = '{name} {price}'");
        pair.right.shows(&sql("priced"), &[&format!("{price}|NULL")]).await;
        pair.left.shows(&sql("also priced"), &[&format!("{price}|NULL")]).await;
    }
}

async fn an_update_of_a_row_from_the_snapshot_arrives(pair: Arc<Pair>) {
    let _scenario = scenario("B006", None);
    pair.left.run("UPDATE users SET name = 'John the First' WHERE email = 'john@example.com'").await;
    pair.right.shows("SELECT name FROM users WHERE email = 'john@example.com'", &["John the First"]).await;
}

async fn the_state_of_an_order_changes_from_either_side(pair: Arc<Pair>) {
    let _scenario = scenario("B007", None);
    let sql = "SELECT status FROM orders WHERE id = 1";
    pair.left.run("UPDATE orders SET status = 'completed' WHERE id = 1").await;
    pair.right.shows(sql, &["completed"]).await;
    pair.right.run("UPDATE orders SET status = 'cancelled' WHERE id = 1").await;
    pair.left.shows(sql, &["cancelled"]).await;
}

async fn a_user_a_product_and_an_order_of_one_transaction_all_arrive(pair: Arc<Pair>) {
    let _scenario = scenario("B010", None);
    // Each on a topic of its own: which partition comes first is chance, so it is tried often.
    for number in 0..20 {
        pair.left
            .run(&format!(
                "START TRANSACTION;
                 INSERT INTO users (name, email) VALUES ('buyer {number}', 'buyer{number}@example.com');
                 SET @user = LAST_INSERT_ID();
                 INSERT INTO products (name, price) VALUES ('thing {number}', {number}.50);
                 INSERT INTO orders (user_id, product_id, quantity, total_amount)
                   VALUES (@user, LAST_INSERT_ID(), 1, {number}.50);
                 COMMIT"
            ))
            .await;
    }
    let sql = "SELECT count(*) FROM orders JOIN users ON users.id = user_id JOIN products ON products.id = product_id
        WHERE users.name LIKE 'buyer %' AND products.name LIKE 'thing %' AND total_amount = price";
    pair.right.shows(sql, &["20"]).await;
    eventually(arrival(), "no row waits any more", || async {
        let held = pair.metric("tidelock_held_rows", &[]).await;
        if held == 0.0 { Ok(()) } else { Err(format!("{held} rows are held")) }
    })
    .await;
    assert_eq!(pair.outcome("", "dead").await, 0.0);
}

async fn deletes_arrive_from_either_side(pair: Arc<Pair>) {
    let _scenario = scenario("B009", None);
    pair.left.run("DELETE FROM orders WHERE id = 3").await;
    pair.right.shows("SELECT id FROM orders WHERE id = 3", &[]).await;
    pair.right.run("DELETE FROM products WHERE name = 'Keyboard'").await;
    pair.left.shows("SELECT id FROM products WHERE name = 'Keyboard'", &[]).await;
}

async fn an_empty_name_arrives_empty(pair: Arc<Pair>) {
    let _scenario = scenario("B020", None);
    pair.left.run("INSERT INTO users (name, email) VALUES ('', 'nameless@example.com')").await;
    let sql = "SELECT concat('[', name, ']') FROM users WHERE email = 'nameless@example.com'";
    pair.right.shows(sql, &["[]"]).await;
    pair.ready().await;
}

async fn postgres_allots_an_id_of_its_own_after_ids_from_mysql(pair: Arc<Pair>) {
    let _scenario = scenario("B021", None);
    let values: Vec<String> =
        (0..10).map(|number| format!("({}, 'far {number}', 'far{number}@example.com')", 501 + 2 * number)).collect();
    pair.left.run(&format!("INSERT INTO users (id, name, email) VALUES {}", values.join(","))).await;
    pair.right.shows("SELECT count(*) FROM users WHERE name LIKE 'far %'", &["10"]).await;
    pair.right.run("INSERT INTO users (name, email) VALUES ('near', 'near@example.com')").await;
    // Even, as all ids that PostgreSQL allots, and beyond those that came.
    let id = pair.right.row("SELECT id FROM users WHERE name = 'near' AND id % 2 = 0").await;
    pair.left.shows("SELECT id FROM users WHERE name = 'near'", &[&id]).await;
}

async fn a_hundred_users_arrive_in_half_a_minute(pair: Arc<Pair>) {
    let _scenario = scenario("B032", None);
    let started = Instant::now();
    for number in 0..100 {
        let sql = format!("INSERT INTO users (name, email) VALUES ('hundred {number}', 'hundred{number}@example.com')");
        pair.left.run(&sql).await;
    }
    let inserted = started.elapsed();
    let sql = "SELECT count(*) FROM users WHERE name LIKE 'hundred %'";
    pair.right.shows_within(Duration::from_secs(30), sql, &["100"]).await;
    let seconds = started.elapsed().as_secs_f64();
    eprintln!(
        "B032: 100 single inserts took {inserted:.1?}; all had arrived {seconds:.1} s after the first: {:.0} rows/s",
        100.0 / seconds
    );
}
