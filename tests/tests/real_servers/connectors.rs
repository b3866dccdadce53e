//! The connectors of all examples publish what their tables hold, and what happens to them later, as Avro in
//! Confluent's frame with schemas that the registry knows.

use std::collections::BTreeMap;
use std::time::{Duration, Instant};

use rdkafka::consumer::{BaseConsumer, Consumer};
use rdkafka::{ClientConfig, Message};
use serde_json::Value;
use tidelock_tests::example::{self, BLOG, BLOG_MARIADB_POSTGRES, Example, MYSQL_POSTGRES, Running};
use tidelock_tests::servers;

/// What one topic has published so far.
#[derive(Debug, Default)]
struct Seen {
    values: usize,
    tombstones: usize,
    value_schema: Option<u32>,
}

/// The schema id of a value in Confluent's frame.
fn schema_id(bytes: &[u8]) -> u32 {
    let (magic, rest) = bytes.split_first().expect("a value has bytes");
    assert_eq!(*magic, 0, "not in Confluent's frame");
    u32::from_be_bytes(rest.get(..4).and_then(|id| id.try_into().ok()).expect("four bytes of schema id"))
}

/// Reads `topics` from their beginning until each has at least as many values as expected.
fn read_until(topics: &BTreeMap<String, usize>) -> BTreeMap<String, Seen> {
    let consumer: BaseConsumer = ClientConfig::new()
        .set("bootstrap.servers", servers::kafka())
        .set("group.id", format!("connectors-{:?}", Instant::now()))
        .set("enable.auto.commit", "false")
        .set("auto.offset.reset", "earliest")
        .set("isolation.level", "read_committed")
        .set("topic.metadata.refresh.interval.ms", "500")
        .create()
        .expect("a consumer");
    let names: Vec<&str> = topics.keys().map(String::as_str).collect();
    consumer.subscribe(&names).expect("subscribed");
    let mut seen: BTreeMap<String, Seen> = BTreeMap::new();
    let deadline = Instant::now() + Duration::from_secs(60);
    while !topics.iter().all(|(topic, count)| seen.get(topic).is_some_and(|seen| seen.values >= *count)) {
        assert!(Instant::now() < deadline, "expected {topics:#?}, got {seen:#?}");
        // A topic that has no record yet does not exist: the consumer reports that and asks again.
        let Some(Ok(message)) = consumer.poll(Duration::from_millis(200)) else { continue };
        let seen = seen.entry(message.topic().to_owned()).or_default();
        schema_id(message.key().expect("the tables have keys"));
        match message.payload() {
            Some(value) => {
                seen.values += 1;
                seen.value_schema = Some(schema_id(value));
            }
            None => seen.tombstones += 1,
        }
    }
    seen
}

async fn registered_schema(id: u32) -> Value {
    let address = format!("{}/schemas/ids/{id}", servers::registry());
    let reply: Value = reqwest::get(&address).await.expect("the registry answers").json().await.expect("JSON");
    serde_json::from_str(reply["schema"].as_str().expect("the registry knows the id")).expect("a schema is JSON")
}

async fn started(example: Example) -> Running {
    let running = example.named("avro");
    running.create_databases().await;
    running.apply_connectors().await;
    running
}

async fn published(running: &Running, expected: &[(usize, &str, usize)]) {
    let topics: BTreeMap<String, usize> = expected
        .iter()
        .map(|(side, table, count)| (running.topic(&running.example.sides[*side], table), *count))
        .collect();
    let seen = tokio::task::spawn_blocking(move || read_until(&topics)).await.expect("the reader does not panic");
    for (topic, seen) in seen {
        let schema = registered_schema(seen.value_schema.expect("a value was seen")).await;
        assert_eq!(schema["type"], "record", "{topic}");
        assert_eq!(schema["name"], "Envelope", "{topic}: {schema}");
    }
}

#[tokio::test]
async fn the_shop_is_published_from_mysql_and_postgres() {
    let running = started(MYSQL_POSTGRES).await;
    published(&running, &[(0, "users", 2), (0, "products", 3), (0, "orders", 2)]).await;
    let postgres = &running.example.sides[1];
    let sql = "INSERT INTO users (name, email) VALUES ('PG User', 'pg@example.com');
        INSERT INTO products (name, price) VALUES ('Lamp', 12.30);
        INSERT INTO orders (user_id, product_id, quantity, total_amount) VALUES (2, 2, 1, 12.30);
        DELETE FROM orders;";
    example::execute(postgres.server, running.variable(postgres, "DATABASE"), sql).await;
    published(&running, &[(1, "users", 1), (1, "products", 1), (1, "orders", 2)]).await;
    running.remove().await;
}

#[tokio::test]
async fn the_blog_is_published_from_two_mysql_servers() {
    the_blog_is_published(BLOG).await;
}

#[tokio::test]
async fn the_blog_is_published_from_mariadb_and_postgres() {
    the_blog_is_published(BLOG_MARIADB_POSTGRES).await;
}

async fn the_blog_is_published(example: Example) {
    let running = started(example).await;
    let both = |users, posts, likes| {
        [
            (0, "legacy_users", users),
            (0, "legacy_posts", posts),
            (0, "legacy_likes", likes),
            (1, "revamp_users", users),
            (1, "revamp_posts", posts),
            (1, "revamp_likes", likes),
        ]
    };
    published(&running, &both(3, 4, 4)).await;
    let [legacy, revamp] = &running.example.sides;
    let inserts = [
        (legacy, "INSERT INTO legacy_users (username, email) VALUES ('t1', 't1@example.com')"),
        (legacy, "UPDATE legacy_posts SET view_count = 11 WHERE id = 1"),
        (legacy, "DELETE FROM legacy_likes WHERE id = 1"),
        (revamp, "INSERT INTO revamp_users (user_name, email_address) VALUES ('t2', 't2@example.com')"),
        (revamp, "UPDATE revamp_posts SET views = 101 WHERE id = 2"),
        (revamp, "DELETE FROM revamp_likes WHERE id = 2"),
    ];
    for (side, sql) in inserts {
        example::execute(side.server, running.variable(side, "DATABASE"), sql).await;
    }
    published(&running, &both(4, 5, 5)).await;
    running.remove().await;
}

#[tokio::test]
async fn generated_ids_of_the_two_sides_never_meet() {
    use sqlx::{Connection, MySqlConnection, PgConnection};
    use tidelock_tests::servers::Role;
    for example in [MYSQL_POSTGRES, BLOG, BLOG_MARIADB_POSTGRES] {
        let running = example.named("ids");
        running.create_databases().await;
        for (side, remainder) in running.example.sides.iter().zip([1_i64, 0]) {
            let (users, name, email) = match side.tables[0] {
                "users" => ("users", "name", "email"),
                "legacy_users" => ("legacy_users", "username", "email"),
                other => (other, "user_name", "email_address"),
            };
            let database = running.variable(side, "DATABASE");
            // A row of the other side, with its id, must not pull the counter into the other class.
            let strangers = 100 + (1 - remainder);
            let sql = format!(
                "INSERT INTO {users} (id, {name}, {email}) VALUES ({strangers}, 'stranger', 's@example.com');
                 INSERT INTO {users} ({name}, {email}) VALUES ('a', 'a@example.com');
                 INSERT INTO {users} ({name}, {email}) VALUES ('b', 'b@example.com');"
            );
            example::execute(side.server, database, &sql).await;
            let count = format!("SELECT count(*) FROM {users} WHERE id % 2 = {remainder} AND {name} IN ('a', 'b')");
            let url = side.server.url(Role::Admin, database);
            let rows: i64 = if url.starts_with("postgres") {
                let mut connection = PgConnection::connect(&url).await.expect("it answers");
                sqlx::query_scalar(sqlx::AssertSqlSafe(count)).fetch_one(&mut connection).await.expect("a count")
            } else {
                let mut connection = MySqlConnection::connect(&url).await.expect("it answers");
                sqlx::query_scalar(sqlx::AssertSqlSafe(count)).fetch_one(&mut connection).await.expect("a count")
            };
            assert_eq!(rows, 2, "{} at {}", example.folder, side.site);
        }
        running.remove().await;
    }
}
