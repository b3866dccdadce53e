//! The Avro schemas of a topic, as Debezium's converters register them.

use std::collections::HashSet;

use serde_json::{Value as Json, json};

use super::column::{ColumnEncoder, avro_name};
use super::event::TopicSource;

/// Every dot-separated part as Avro allows it.
fn namespace(topic: &str) -> String {
    topic.split('.').map(avro_name).collect::<Vec<_>>().join(".")
}

/// Fields of a row. A named type (VariableScaleDecimal) is defined once and named afterwards; `defined` remembers which.
fn fields(columns: &[&ColumnEncoder], defined: &mut HashSet<String>) -> Vec<Json> {
    columns
        .iter()
        .map(|column| {
            let schema = once(&column.schema, defined);
            let name = avro_name(&column.name);
            if column.nullable {
                json!({"name": name, "type": ["null", schema], "default": null})
            } else {
                json!({"name": name, "type": schema})
            }
        })
        .collect()
}

fn once(schema: &Json, defined: &mut HashSet<String>) -> Json {
    match schema {
        Json::Array(branches) => Json::Array(branches.iter().map(|branch| once(branch, defined)).collect()),
        Json::Object(object) if object.get("type") == Some(&Json::from("record")) => {
            let text = |name: &str| object.get(name).and_then(Json::as_str).unwrap_or_default();
            let full_name = format!("{}.{}", text("namespace"), text("name"));
            if defined.insert(full_name.clone()) { schema.clone() } else { Json::from(full_name) }
        }
        Json::Object(object) => {
            let mut copy = object.clone();
            if let Some(items) = object.get("items") {
                copy.insert("items".to_owned(), once(items, defined));
            }
            Json::Object(copy)
        }
        other => other.clone(),
    }
}

/// Schema of the keys.
pub(super) fn key(topic: &str, columns: &[&ColumnEncoder]) -> Json {
    json!({
        "type": "record", "name": "Key", "namespace": namespace(topic),
        "fields": fields(columns, &mut HashSet::new()), "connect.name": format!("{topic}.Key"),
    })
}

/// Schema of the values.
pub(super) fn envelope(topic: &str, columns: &[&ColumnEncoder], source: &TopicSource) -> Json {
    let row = json!({
        "type": "record", "name": "Value",
        "fields": fields(columns, &mut HashSet::new()), "connect.name": format!("{topic}.Value"),
    });
    let optional_long = |name: &str| json!({"name": name, "type": ["null", "long"], "default": null});
    json!({
        "type": "record", "name": "Envelope", "namespace": namespace(topic),
        "fields": [
            {"name": "before", "type": ["null", row], "default": null},
            {"name": "after", "type": ["null", "Value"], "default": null},
            {"name": "source", "type": source_block(source)},
            {"name": "transaction", "type": ["null", {
                "type": "record", "name": "block", "namespace": "event",
                "fields": [
                    {"name": "id", "type": "string"}, {"name": "total_order", "type": "long"},
                    {"name": "data_collection_order", "type": "long"},
                ],
                "connect.version": 1, "connect.name": "event.block",
            }], "default": null},
            {"name": "op", "type": "string"},
            optional_long("ts_ms"), optional_long("ts_us"), optional_long("ts_ns"),
        ],
        "connect.version": 2, "connect.name": format!("{topic}.Envelope"),
    })
}

fn source_block(source: &TopicSource) -> Json {
    let text = |name: &str| json!({"name": name, "type": "string"});
    let optional_text = |name: &str| json!({"name": name, "type": ["null", "string"], "default": null});
    let long = |name: &str| json!({"name": name, "type": "long"});
    let optional_long = |name: &str| json!({"name": name, "type": ["null", "long"], "default": null});
    let snapshot = json!({"name": "snapshot", "type": [{
        "type": "string", "connect.version": 1,
        "connect.parameters": {
            "allowed": "true,first,first_in_data_collection,last_in_data_collection,last,false,incremental",
        },
        "connect.default": "false", "connect.name": "io.debezium.data.Enum",
    }, "null"], "default": "false"});
    let mut fields = vec![text("version"), text("connector"), text("name"), long("ts_ms"), snapshot, text("db")];
    let name = match source {
        TopicSource::Tidelock { .. } => {
            fields.extend([optional_long("ts_us"), text("table"), long("change_id"), optional_text("tag")]);
            "io.tidelock.Source"
        }
        TopicSource::MySql { .. } | TopicSource::MariaDb { .. } => {
            fields.extend([
                optional_text("sequence"),
                optional_long("ts_us"),
                optional_long("ts_ns"),
                optional_text("table"),
                long("server_id"),
                optional_text("gtid"),
                text("file"),
                long("pos"),
                json!({"name": "row", "type": "int"}),
                optional_long("thread"),
                optional_text("query"),
            ]);
            if matches!(source, TopicSource::MySql { .. }) {
                "io.debezium.connector.mysql.Source"
            } else {
                "io.debezium.connector.mariadb.Source"
            }
        }
        TopicSource::Postgres { .. } => {
            fields.extend([
                optional_text("sequence"),
                optional_long("ts_us"),
                optional_long("ts_ns"),
                text("schema"),
                text("table"),
                optional_long("txId"),
                optional_long("lsn"),
                optional_long("xmin"),
                optional_text("origin"),
                optional_long("origin_lsn"),
            ]);
            "io.debezium.connector.postgresql.Source"
        }
    };
    let (space, short) = name.rsplit_once('.').expect("the names above have dots");
    json!({
        "type": "record", "name": short, "namespace": space, "fields": fields,
        "connect.version": 1, "connect.name": name,
    })
}
