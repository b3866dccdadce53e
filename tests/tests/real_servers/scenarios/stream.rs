//! What a source's topics hold besides changes of rows as they always were: other schemas, wider types, truncates, heartbeats, schema
//! changes. One way from the shop's MySQL to its PostgreSQL, with tables of its own.

use std::sync::Arc;

use tidelock_tests::example::{MYSQL_POSTGRES, Running};
use tidelock_tests::group::Group;
use tidelock_tests::pair::Pair;
use tidelock_tests::scenario::scenario;
use tidelock_tests::topic::{self, Published};
use tidelock_tests::wait::{arrival, eventually};

const PARCELS: &str = "SELECT id, weight, color FROM parcels ORDER BY id";

#[tokio::test]
async fn a_stream_that_changes_its_schema_stays_in_step() {
    let mut group = Group::of(prepare().await);
    group.show(records_before_and_after_a_new_column_arrive_in_one_run).await;
    group.show(a_widened_column_arrives_with_64_bits).await;
    group.show(a_removed_column_takes_the_default_of_the_mapping).await;
    group.show(a_truncate_empties_the_target_where_it_is_applied).await;
    group.show(a_truncate_leaves_the_target_alone_where_it_is_ignored).await;
    group.show(heartbeats_and_schema_changes_do_no_harm).await;
    group.end().await;
}

async fn prepare() -> Pair {
    let mut running = MYSQL_POSTGRES.named("c");
    let [mysql, postgres] = running.example.sides;
    let database = running.variable(&mysql, "DATABASE").to_owned();
    for (key, value) in [
        ("table.include.list", format!("{database}.parcels,{database}.notes,{database}.keepsakes").as_str()),
        // As users must set it: a truncate is skipped by default, and has no order against other partitions.
        ("skipped.operations", "none"),
        ("topic.creation.default.partitions", "1"),
        ("heartbeat.interval.ms", "1000"),
        ("include.schema.changes", "true"),
    ] {
        running.set_connector(&mysql, key, value);
    }
    running.set_connector(&postgres, "table.include.list", "public.users");
    let config = config(&running);
    let pair = Pair::of(running, Some(&config));
    pair.running.create_databases().await;
    pair.left
        .run(
            "CREATE TABLE parcels (id INT PRIMARY KEY, weight INT NOT NULL); INSERT INTO parcels VALUES (1, 10), (2, 20);
             CREATE TABLE notes (id INT PRIMARY KEY, text VARCHAR(50)); INSERT INTO notes VALUES (1, 'one'), (2, 'two');
             CREATE TABLE keepsakes (id INT PRIMARY KEY, text VARCHAR(50));
             INSERT INTO keepsakes VALUES (1, 'one'), (2, 'two')",
        )
        .await;
    pair.right
        .run(
            "CREATE TABLE parcels (id bigint PRIMARY KEY, weight bigint NOT NULL, color varchar(20));
             CREATE TABLE notes (id int PRIMARY KEY, text varchar(50));
             CREATE TABLE keepsakes (id int PRIMARY KEY, text varchar(50))",
        )
        .await;
    pair.running.apply_connectors().await;
    pair
}

fn config(running: &Running) -> String {
    let [mysql, postgres] = &running.example.sides;
    format!(
        "pipeline: {}
kafka: {{ brokers: \"${{KAFKA_BROKERS}}\", registry: \"${{SCHEMA_REGISTRY_URL}}\" }}
sites:
  mysql: {{ kind: mysql, url: \"${{MYSQL_URL}}\", topics: \"{}\" }}
  postgres: {{ kind: postgres, url: \"${{POSTGRES_URL}}\", topics: \"{}\" }}
links:
  - from: mysql
    to: postgres
    entities:
      parcels: {{ default: {{ postgres.color: unknown }} }}
      notes: {{ truncate: apply }}
      keepsakes: {{ truncate: ignore }}
",
        running.name(),
        running.topic(mysql, "{table}"),
        running.topic(postgres, "{table}"),
    )
}

async fn records_before_and_after_a_new_column_arrive_in_one_run(pair: Arc<Pair>) {
    let _scenario = scenario("F003", None);
    // Given: two records of the first schema, and three of the next, with an optional column that has a default. (Its NULL would come as
    // that default: Connect's converters lose it, see docs/types.md.)
    let parcels = pair.running.topic(&pair.running.example.sides[0], "parcels");
    holds(&parcels, 2).await;
    pair.left
        .run(
            "ALTER TABLE parcels ADD COLUMN color VARCHAR(20) DEFAULT 'blue'; INSERT INTO parcels (id, weight) VALUES (3, 30);
             INSERT INTO parcels VALUES (4, 40, 'red'), (5, 50, '')",
        )
        .await;
    holds(&parcels, 5).await;
    // When one run reads them all.
    pair.start_worker().await;
    pair.ready().await;
    // Then the first two have the mapping's default, and the others what their records say.
    pair.right.shows(PARCELS, &["1|10|unknown", "2|20|unknown", "3|30|blue", "4|40|red", "5|50|"]).await;
    pair.left.run("UPDATE parcels SET weight = 11 WHERE id = 1").await;
    pair.right.shows("SELECT weight, color FROM parcels WHERE id = 1", &["11|blue"]).await;
}

async fn a_widened_column_arrives_with_64_bits(pair: Arc<Pair>) {
    let _scenario = scenario("F004", None);
    // Given int columns of which records were applied; when they become bigint, the key too.
    pair.left
        .run(
            "ALTER TABLE parcels MODIFY weight BIGINT NOT NULL, MODIFY id BIGINT NOT NULL;
             INSERT INTO parcels VALUES (3000000000, 5000000000, 'far'), (6, -9223372036854775808, 'low');
             UPDATE parcels SET weight = 9223372036854775807 WHERE id = 2; DELETE FROM parcels WHERE id = 5",
        )
        .await;
    // Then rows of both widths are found by their keys and hold all 64 bits.
    let expected = [
        "1|11|blue",
        "2|9223372036854775807|blue",
        "3|30|blue",
        "4|40|red",
        "6|-9223372036854775808|low",
        "3000000000|5000000000|far",
    ];
    pair.right.shows(PARCELS, &expected).await;
}

async fn a_removed_column_takes_the_default_of_the_mapping(pair: Arc<Pair>) {
    let _scenario = scenario("F003", None);
    // When the writer removes the field,
    pair.left
        .run("ALTER TABLE parcels DROP COLUMN color; INSERT INTO parcels VALUES (7, 70); UPDATE parcels SET weight = 41 WHERE id = 4")
        .await;
    // then the mapping's default stands in for it.
    let some = "SELECT id, weight, color FROM parcels WHERE id IN (4, 7) ORDER BY id";
    pair.right.shows(some, &["4|41|unknown", "7|70|unknown"]).await;
    // And a start that finds the column gone goes on.
    pair.stop_workers(std::time::Duration::from_secs(40)).await;
    pair.start_worker().await;
    pair.ready().await;
    pair.left.run("INSERT INTO parcels VALUES (8, 80)").await;
    pair.right.shows("SELECT weight, color FROM parcels WHERE id = 8", &["80|unknown"]).await;
    assert_eq!(pair.outcome("", "dead").await, 0.0);
}

async fn a_truncate_empties_the_target_where_it_is_applied(pair: Arc<Pair>) {
    let _scenario = scenario("F018", Some("`apply` and `ignore` only"));
    let notes = "SELECT id, text FROM notes ORDER BY id";
    pair.right.shows(notes, &["1|one", "2|two"]).await;
    pair.left.run("INSERT INTO notes VALUES (3, 'three'); TRUNCATE notes; INSERT INTO notes VALUES (2, 'again')").await;
    pair.right.shows(notes, &["2|again"]).await;
    pair.ready().await;
}

async fn a_truncate_leaves_the_target_alone_where_it_is_ignored(pair: Arc<Pair>) {
    let _scenario = scenario("F018", Some("`apply` and `ignore` only"));
    let keepsakes = "SELECT id, text FROM keepsakes ORDER BY id";
    pair.right.shows(keepsakes, &["1|one", "2|two"]).await;
    pair.left.run("TRUNCATE keepsakes; INSERT INTO keepsakes VALUES (2, 'again'), (3, 'three')").await;
    pair.right.shows(keepsakes, &["1|one", "2|again", "3|three"]).await;
    pair.ready().await;
    assert_eq!(pair.outcome("", "dead").await, 0.0);
}

async fn heartbeats_and_schema_changes_do_no_harm(pair: Arc<Pair>) {
    let _scenario = scenario("F019", None);
    // Given topics with heartbeats and schema changes beside those of the tables,
    let mysql = &pair.running.example.sides[0];
    let prefix = pair.running.variable(mysql, "PREFIX");
    let beats = format!("__debezium-heartbeat.{prefix}");
    holds(&beats, 2).await;
    holds(prefix, 1).await;
    // and, as where a connector's topics are routed into one, among the records of a table too.
    let strangers = [topic::read(&beats).await, topic::read(prefix).await].concat();
    let strangers: Vec<Published> = strangers.into_iter().map(|record| Published { partition: 0, ..record }).collect();
    let before = (pair.outcome("", "filtered").await, pair.outcome("", "dead").await);
    let parcels = pair.running.topic(mysql, "parcels");
    topic::produce(&parcels, &strangers, 1).await;
    // When rows change afterwards, they arrive; the strangers were passed over, without a word.
    pair.left.run("INSERT INTO parcels VALUES (9, 90)").await;
    pair.right.shows("SELECT weight FROM parcels WHERE id = 9", &["90"]).await;
    #[allow(clippy::cast_precision_loss)] // a handful
    let expected = before.0 + strangers.len() as f64;
    pair.counts("mysql→postgres", "filtered", expected).await;
    assert_eq!((pair.outcome("", "filtered").await, pair.outcome("", "dead").await), (expected, before.1));
    pair.ready().await;
    let log = pair.log().await;
    let trouble: Vec<&str> = log.lines().filter(|line| line.contains("ERROR") || line.contains("WARN")).collect();
    assert!(trouble.is_empty(), "{trouble:#?}");
}

/// Waits until a topic has at least that many records.
async fn holds(topic: &str, records: usize) {
    eventually(3 * arrival(), &format!("{topic} has {records} records"), || async {
        let seen = topic::read(topic).await.len();
        if seen >= records { Ok(()) } else { Err(seen.to_string()) }
    })
    .await;
}
