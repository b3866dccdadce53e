//! `goods`: a topic of flattened rows in JSON without schema. Most tests that use it write it themselves, so that they know every byte and
//! decide which partition holds what.

use rdkafka::message::{Header, OwnedHeaders};

use crate::example::Running;
use crate::pair::Pair;
use crate::topic::Published;

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
