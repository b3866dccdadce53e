//! Topics of flattened rows in JSON without schema (`ExtractNewRecordState`), where a record without value deletes: only the configuration
//! can say what they are, and only the source's table knows their types.

use std::sync::Arc;
use std::time::Duration;

use tidelock_tests::example::MYSQL_POSTGRES;
use tidelock_tests::goods;
use tidelock_tests::group::Group;
use tidelock_tests::pair::Pair;
use tidelock_tests::wait::{arrival, eventually};

const GOODS: &str = "SELECT id, price, sold_at, body, note FROM goods ORDER BY id";

#[tokio::test]
async fn flattened_rows_without_schema_arrive_exactly_and_null_deletes() {
    let mut group = Group::of(prepare().await);
    group.show(values_arrive_with_the_types_of_the_table).await;
    group.show(a_null_deletes_before_any_row_was_seen).await;
    group.end().await;
}

async fn prepare() -> Pair {
    let mut running = MYSQL_POSTGRES.named("flat");
    let [mysql, postgres] = running.example.sides;
    let database = running.variable(&mysql, "DATABASE").to_owned();
    for (key, value) in [
        ("table.include.list", format!("{database}.goods").as_str()),
        ("topic.creation.default.partitions", "1"),
        // The delete is a record without value, and nothing else.
        ("transforms", "flat"),
        ("transforms.flat.type", "io.debezium.transforms.ExtractNewRecordState"),
        ("transforms.flat.delete.tombstone.handling.mode", "tombstone"),
        ("key.converter", "org.apache.kafka.connect.json.JsonConverter"),
        ("key.converter.schemas.enable", "false"),
        ("value.converter", "org.apache.kafka.connect.json.JsonConverter"),
        ("value.converter.schemas.enable", "false"),
        ("value.converter.replace.null.with.default", "false"),
    ] {
        running.set_connector(&mysql, key, value);
    }
    running.set_connector(&postgres, "table.include.list", "public.users");
    let config = goods::config(&running, "", "");
    let pair = Pair::of(running, Some(&config));
    pair.running.create_databases().await;
    pair.left
        .run(
            "CREATE TABLE goods (id BIGINT UNSIGNED PRIMARY KEY, price DECIMAL(10,2), sold_at DATETIME(6), body BLOB,
               note VARCHAR(20) DEFAULT 'none')",
        )
        .await;
    pair.right
        .run(
            "CREATE TABLE goods (id numeric(20) PRIMARY KEY, price numeric(10,2), sold_at timestamp, body bytea, note varchar(20))",
        )
        .await;
    pair.running.apply_connectors().await;
    pair
}

async fn values_arrive_with_the_types_of_the_table(pair: Arc<Pair>) {
    pair.left
        .run(
            "INSERT INTO goods VALUES (18446744073709551615, 12345678.90, '2024-02-29 23:59:59.123456', x'00ff', NULL);
             INSERT INTO goods (id, price) VALUES (7, -0.05), (8, 8)",
        )
        .await;
    pair.start_worker().await;
    pair.ready().await;
    let far = "18446744073709551615|12345678.90|2024-02-29 23:59:59.123456|\\x00ff|NULL";
    pair.right.shows(GOODS, &["7|-0.05|NULL|NULL|none", "8|8.00|NULL|NULL|none", far]).await;
    pair.left.run("UPDATE goods SET price = 0.10 WHERE id = 7; DELETE FROM goods WHERE id = 8").await;
    pair.right.shows(GOODS, &["7|0.10|NULL|NULL|none", far]).await;
    eventually(arrival(), "nothing is dead", || async {
        let dead = pair.outcome("", "dead").await;
        if dead == 0.0 { Ok(()) } else { Err(format!("{dead}; {}", pair.diagnosis().await)) }
    })
    .await;
}

async fn a_null_deletes_before_any_row_was_seen(pair: Arc<Pair>) {
    // When a worker begins behind all rows, the first that it reads is a record without value, and nothing in it says what it means.
    pair.stop_workers(Duration::from_secs(40)).await;
    pair.left.run("DELETE FROM goods WHERE id = 7").await;
    pair.start_worker().await;
    pair.right.shows("SELECT id FROM goods ORDER BY id", &["18446744073709551615"]).await;
}
