//! Bad records among many good ones: nothing else suffers. The test writes the topics itself, as rows in JSON, so that it decides what comes
//! when.

use std::sync::Arc;
use std::time::{Duration, Instant};

use rdkafka::message::OwnedHeaders;
use tidelock_tests::example::{MYSQL_POSTGRES, Running};
use tidelock_tests::group::Group;
use tidelock_tests::pair::Pair;
use tidelock_tests::topic::{self, Published};
use tidelock_tests::wait::eventually;

/// Good changes around the bad bytes, on three topics together.
const GOOD: i64 = 50_000;
/// Bad records on each topic.
const BAD: i64 = 20;
/// Later changes of a key whose first one waits.
const LATER: i64 = 1_000;
/// Changes of other keys meanwhile.
const OTHERS: i64 = 10_000;
/// Children that come before their parents.
const CHILDREN: i64 = 500;
const PARTITIONS: i32 = 2;
/// All of one scenario must have arrived within this.
const LIMIT: Duration = Duration::from_secs(120);

const TABLES: [&str; 3] = ["parents", "children", "goods"];

#[tokio::test]
async fn poison_stays_where_it_is() {
    let mut group = Group::of(prepare().await);
    group.show(bad_bytes_on_each_of_three_topics_while_fifty_thousand_good_changes_pass).await;
    group.show(a_thousand_changes_wait_behind_their_key_while_ten_thousand_of_others_flow).await;
    group.show(five_hundred_children_that_come_before_their_parents_arrive).await;
    group.end().await;
}

async fn prepare() -> Pair {
    let running = MYSQL_POSTGRES.named("poison");
    let config = config(&running);
    let pair = Pair::of(running, Some(&config));
    pair.running.create_databases().await;
    pair.left
        .run(
            "CREATE TABLE parents (id BIGINT PRIMARY KEY, version BIGINT); CREATE TABLE goods (id BIGINT PRIMARY KEY, version BIGINT);
             CREATE TABLE children (id BIGINT PRIMARY KEY, parent_id BIGINT, version BIGINT)",
        )
        .await;
    pair.right
        .run(
            "CREATE TABLE parents (id bigint PRIMARY KEY, version bigint); CREATE TABLE goods (id bigint PRIMARY KEY, version bigint);
             CREATE TABLE children (id bigint PRIMARY KEY, parent_id bigint REFERENCES parents (id), version bigint)",
        )
        .await;
    for table in TABLES {
        topic::create(&topic_of(&pair, table), PARTITIONS).await;
    }
    pair.start_worker().await;
    pair
}

fn topic_of(pair: &Pair, table: &str) -> String {
    pair.running.topic(&pair.running.example.sides[0], table)
}

fn config(running: &Running) -> String {
    let [mysql, _] = &running.example.sides;
    format!(
        "pipeline: {}
kafka: {{ brokers: \"${{KAFKA_BROKERS}}\" }}
sites:
  mysql: {{ kind: mysql, url: \"${{MYSQL_URL}}\", topics: \"{}\", format: json, records: rows }}
  postgres: {{ kind: postgres, url: \"${{POSTGRES_URL}}\" }}
links: [{{ from: mysql, to: postgres, entities: {{ parents: {{}}, children: {{}}, goods: {{}} }} }}]
tuning: {{ lanes: 2 }}
",
        running.name(),
        running.topic(mysql, "{table}"),
    )
}

fn record(id: i64, value: String) -> Published {
    Published {
        partition: (id % i64::from(PARTITIONS)) as i32,
        offset: 0,
        key: Some(format!("{{\"id\":{id}}}").into_bytes()),
        value: Some(value.into_bytes()),
        headers: OwnedHeaders::new(),
    }
}

fn row(id: i64, version: i64) -> Published {
    record(id, format!("{{\"id\":{id},\"version\":{version}}}"))
}

fn child(id: i64, parent: i64, version: i64) -> Published {
    record(id, format!("{{\"id\":{id},\"parent_id\":{parent},\"version\":{version}}}"))
}

/// Different ways of being no row: cut, no JSON, no text, of another type, not the key's bytes.
fn bad(number: i64) -> Published {
    let id = 1_000_000 + number;
    let value = match number % 5 {
        0 => format!("{{\"id\":{id},\"vers").into_bytes(),
        1 => b"<row id=\"1\"/>".to_vec(),
        2 => vec![0, 0, 0, 0xff, 0xff, 0x80, 0xfe],
        3 => format!("{{\"id\":{id},\"version\":\"many\"}}").into_bytes(),
        _ => format!("[{id}]").into_bytes(),
    };
    Published { value: Some(value), ..record(id, String::new()) }
}

async fn right_shows(pair: &Pair, sql: &str, expected: &str) {
    eventually(LIMIT, sql, || async {
        let rows = pair.right.rows(sql).await;
        if rows == [expected] {
            Ok(())
        } else {
            Err(format!("{rows:?}, expected {expected}; {}", pair.diagnosis().await))
        }
    })
    .await;
}

async fn bad_bytes_on_each_of_three_topics_while_fifty_thousand_good_changes_pass(pair: Arc<Pair>) {
    // Given three topics, each with many good changes and a bad record now and then,
    let of_each = GOOD / 3;
    let started = Instant::now();
    for table in TABLES {
        let mut records = Vec::new();
        for number in 0..of_each {
            let (id, version) = (number % 1000, number);
            records.push(if table == "children" {
                record(id, format!("{{\"id\":{id},\"parent_id\":null,\"version\":{version}}}"))
            } else {
                row(id, version)
            });
            if number % (of_each / BAD) == of_each / BAD / 2 {
                records.push(bad(number));
            }
        }
        topic::produce(&topic_of(&pair, table), &records, 1).await;
    }
    // then every good change arrives,
    for table in TABLES {
        let newest: i64 = (of_each - 1000..of_each).sum();
        right_shows(&pair, &format!("SELECT count(*), sum(version) FROM {table}"), &format!("1000|{newest}")).await;
    }
    eprintln!("poison: {GOOD} good changes in {:.1} s", started.elapsed().as_secs_f64());
    // and every bad one is kept, with nothing else.
    for table in TABLES {
        let held = format!(
            "SELECT count(*), min(state), max(state), min(class), max(class), count(DISTINCT \"offset\" || ' ' || partition) \
             FROM tidelock_held WHERE entity = '{table}'"
        );
        let kept = pair.right.row(&held).await;
        assert_eq!(kept, format!("{BAD}|dead|dead|data|data|{BAD}"), "{table}");
    }
    pair.ready().await;
    pair.right.run("DELETE FROM tidelock_held").await;
}

async fn a_thousand_changes_wait_behind_their_key_while_ten_thousand_of_others_flow(pair: Arc<Pair>) {
    // Given a child whose parent does not come, with many later changes, among many more of other children,
    let topic = topic_of(&pair, "children");
    let (key, parent) = (2_000, 77_777);
    let mut records = vec![child(key, parent, 0)];
    for number in 1..=OTHERS {
        // All in the partition of the one that waits.
        let id = 2_002 + 2 * (number % 500);
        records.push(record(id, format!("{{\"id\":{id},\"parent_id\":null,\"version\":{number}}}")));
        if number % (OTHERS / LATER) == 0 {
            records.push(child(key, parent, number));
        }
    }
    topic::produce(&topic, &records, 1).await;
    // then the others arrive while it waits,
    let others: i64 = (OTHERS - 499..=OTHERS).sum();
    let sum = "SELECT count(*), sum(version) FROM children WHERE id > 2000 AND id < 1000000";
    right_shows(&pair, sum, &format!("500|{others}")).await;
    let states = "SELECT state, count(*) FROM tidelock_held GROUP BY state ORDER BY state";
    eventually(LIMIT, "all changes of the key wait", || async {
        let rows = pair.right.rows(states).await;
        if rows == ["parked|1", &format!("queued|{LATER}")] { Ok(()) } else { Err(format!("{rows:?}")) }
    })
    .await;
    assert_eq!(pair.right.rows("SELECT id FROM children WHERE id = 2000").await.len(), 0);
    // and when the parent comes, all of them are applied, in order.
    topic::produce(&topic_of(&pair, "parents"), &[row(parent, 1)], 1).await;
    right_shows(&pair, "SELECT version FROM children WHERE id = 2000", &OTHERS.to_string()).await;
    right_shows(&pair, "SELECT count(*) FROM tidelock_held", "0").await;
}

async fn five_hundred_children_that_come_before_their_parents_arrive(pair: Arc<Pair>) {
    // Given children of parents that are not there,
    let dead = pair.outcome("", "dead").await;
    let children: Vec<Published> =
        (0..CHILDREN).map(|number| child(10_000 + number, 50_000 + number % 50, 1)).collect();
    topic::produce(&topic_of(&pair, "children"), &children, 1).await;
    right_shows(&pair, "SELECT count(*) FROM tidelock_held WHERE state = 'parked'", &CHILDREN.to_string()).await;
    // when the parents come, then the children arrive at once, and none is given up.
    let parents: Vec<Published> = (0..50).map(|number| row(50_000 + number, 1)).collect();
    let came = Instant::now();
    topic::produce(&topic_of(&pair, "parents"), &parents, 1).await;
    let arrived = "SELECT count(*) FROM children WHERE id >= 10000 AND id < 11000";
    right_shows(&pair, arrived, &CHILDREN.to_string()).await;
    eprintln!("poison: {CHILDREN} children {:.1} s after their parents", came.elapsed().as_secs_f64());
    right_shows(&pair, "SELECT count(*) FROM tidelock_held", "0").await;
    assert_eq!(pair.outcome("", "dead").await, dead);
}
