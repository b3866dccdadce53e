//! `goods`: a topic of flattened rows in JSON without schema. Most tests that use it write it themselves, so that they know every byte and
//! decide which partition holds what.

use std::time::Duration;

use rdkafka::message::{Header, OwnedHeaders};

use crate::example::Running;
use crate::pair::Pair;
use crate::topic::{self, Published};
use crate::wait::eventually;

/// The topic's name: of the table `goods` of the pair's left side.
pub fn topic(pair: &Pair) -> String {
    pair.running.topic(&pair.running.example.sides[0], "goods")
}

/// A record of the key `id` with this value, and the key as the header `trace`.
pub fn record(partition: i32, id: i64, value: String) -> Published {
    Published {
        partition,
        offset: 0,
        key: Some(format!("{{\"id\":{id}}}").into_bytes()),
        value: Some(value.into_bytes()),
        headers: OwnedHeaders::new().insert(Header { key: "trace", value: Some(&id.to_string()) }),
    }
}

/// A row of two columns, `id` and `version`.
pub fn row(partition: i32, id: i64, version: i64) -> Published {
    record(partition, id, format!("{{\"id\":{id},\"version\":{version}}}"))
}

/// One way from the shop's MySQL to its PostgreSQL. `kafka` are more keys of that section, `more` more sections.
pub fn config(running: &Running, kafka: &str, more: &str) -> String {
    let [mysql, _] = &running.example.sides;
    format!(
        "pipeline: {}
kafka: {{ brokers: \"${{KAFKA_BROKERS}}\"{kafka} }}
sites:
  mysql: {{ kind: mysql, url: \"${{MYSQL_URL}}\", topics: \"{}\", format: json, records: rows }}
  postgres: {{ kind: postgres, url: \"${{POSTGRES_URL}}\" }}
links: [{{ from: mysql, to: postgres, entities: {{ goods: {{}} }} }}]
{more}",
        running.name(),
        running.topic(mysql, "{table}"),
    )
}

/// Keys of the rows that [`publish`] makes.
pub const KEYS: i64 = 40;

/// Puts `count` records on the topic: versions count up from 0, each key in one of so many partitions. `count` must be a multiple of
/// [`KEYS`].
pub async fn publish(pair: &Pair, partitions: i32, count: i64) {
    let first = published(pair).await;
    let records: Vec<Published> = (first..first + count)
        .map(|version| {
            let id = version % KEYS;
            row((id % i64::from(partitions)) as i32, id, version)
        })
        .collect();
    topic::produce(&topic(pair), &records, 1).await;
}

/// Records that the topic has had.
pub async fn published(pair: &Pair) -> i64 {
    topic::ends(&[topic(pair)]).await.values().sum()
}

/// Waits until the target has each key's newest version.
pub async fn the_newest_arrived(pair: &Pair, limit: Duration) {
    let published = published(pair).await;
    let newest: Vec<String> = (0..KEYS).map(|id| format!("{id}|{}", published - KEYS + id)).collect();
    let newest: Vec<&str> = newest.iter().map(String::as_str).collect();
    pair.right.shows_within(limit, "SELECT id, version FROM goods ORDER BY id", &newest).await;
}

/// Waits until the target has every record of the topic once, and each key's newest version. `history` gives the history's lines, its
/// different places and its different versions.
pub async fn everything_arrived_once(pair: &Pair, history: &str, limit: Duration) {
    let published = published(pair).await;
    let expected = format!("{published}|{published}|{published}");
    eventually(limit, "every record is in the history once", || async {
        let seen = pair.right.try_rows(history).await.map_err(|error| error.to_string())?;
        if seen == [expected.clone()] {
            Ok(())
        } else {
            Err(format!("{seen:?}, expected {expected}; {}", pair.diagnosis().await))
        }
    })
    .await;
    the_newest_arrived(pair, limit).await;
}
