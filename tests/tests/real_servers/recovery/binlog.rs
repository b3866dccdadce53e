//! A source whose binary log begins anew under the same server: positions and transaction numbers are small again, and nothing that comes
//! then is taken for a repeat (rule D3). One way from the blog's revamp side, a server of the test's own, to its legacy side.

use std::sync::Arc;
use std::time::Duration;

use tidelock_tests::example::{BLOG_SPARE, Running};
use tidelock_tests::group::Group;
use tidelock_tests::pair::Pair;
use tidelock_tests::spare::Spare;
use tidelock_tests::wait::arrival;

const STOP_LIMIT: Duration = Duration::from_secs(40);
const GOODS: &str = "SELECT id, version FROM goods ORDER BY id";

#[tokio::test]
async fn a_log_that_begins_anew_is_followed() {
    let _spare = Spare::start().await;
    let mut group = Group::of(prepare().await);
    group.show(a_binary_log_that_was_reset_under_the_same_server_loses_nothing).await;
    group.end().await;
}

async fn prepare() -> Pair {
    let mut running = BLOG_SPARE.named("binlog");
    let [_, revamp] = running.example.sides;
    let table = format!("{}.goods", running.variable(&revamp, "DATABASE"));
    running.set_connector(&revamp, "table.include.list", &table);
    // As an administrator must set it for a log that may be gone: the connector reads the tables again then.
    running.set_connector(&revamp, "snapshot.mode", "when_needed");
    let config = config(&running);
    let pair = Pair::of(running, Some(&config));
    pair.running.create_databases().await;
    for side in [&pair.left, &pair.right] {
        side.run("CREATE TABLE goods (id INT PRIMARY KEY, version INT NOT NULL)").await;
    }
    pair.running.apply_connector(&revamp).await;
    pair
}

fn config(running: &Running) -> String {
    let [_, revamp] = &running.example.sides;
    format!(
        "pipeline: {}
kafka: {{ brokers: \"${{KAFKA_BROKERS}}\", registry: \"${{SCHEMA_REGISTRY_URL}}\" }}
sites:
  legacy: {{ kind: mysql, url: \"${{LEGACY_URL}}\" }}
  revamp: {{ kind: mysql, url: \"${{REVAMP_URL}}\", topics: \"{}\" }}
links: [{{ from: revamp, to: legacy, entities: {{ goods: {{}} }} }}]
",
        running.name(),
        running.topic(revamp, "{table}"),
    )
}

async fn a_binary_log_that_was_reset_under_the_same_server_loses_nothing(pair: Arc<Pair>) {
    // Given changes of many transactions that were applied, after the connector's first snapshot, so that the marks are far into the log,
    pair.start_worker().await;
    pair.right.run("INSERT INTO goods VALUES (100, 1)").await;
    pair.left.shows_within(arrival() * 3, GOODS, &["100|1"]).await;
    pair.right.run("DELETE FROM goods WHERE id = 100").await;
    for id in 1..=20 {
        pair.right
            .run(&format!("INSERT INTO goods VALUES ({id}, 1); UPDATE goods SET version = 2 WHERE id = {id}"))
            .await;
    }
    pair.left.shows_within(arrival() * 3, "SELECT count(*), sum(version) FROM goods", &["20|40"]).await;
    // when the log begins anew while the connector is stopped, with changes that only the tables have,
    let revamp = pair.running.example.sides[1];
    pair.running.tell_connector(&revamp, "stop").await;
    pair.right.run("UPDATE goods SET version = 3 WHERE id <= 10").await;
    pair.right.run("RESET BINARY LOGS AND GTIDS").await;
    pair.right.run("UPDATE goods SET version = 4 WHERE id = 1; INSERT INTO goods VALUES (21, 1)").await;
    pair.running.tell_connector(&revamp, "resume").await;
    // then what it reads again and what comes after that arrives.
    pair.left.shows_within(arrival() * 3, "SELECT count(*), sum(version) FROM goods", &["21|52"]).await;
    for id in 1..=20 {
        pair.right
            .run(&format!("UPDATE goods SET version = version + 10 WHERE id = {id}; DELETE FROM goods WHERE id = 21"))
            .await;
    }
    let expected = pair.right.rows(GOODS).await;
    let expected: Vec<&str> = expected.iter().map(String::as_str).collect();
    pair.left.shows_within(arrival() * 3, GOODS, &expected).await;
    pair.counted("tidelock_log_resets_total", &[], 1.0).await;
    assert_eq!(pair.outcome("", "duplicate").await, 0.0, "nothing was taken for a repeat");
    pair.stop_workers(STOP_LIMIT).await;
}
