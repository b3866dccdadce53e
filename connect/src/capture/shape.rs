//! The Avro types in which captured rows are published, and the schemas they make: Debezium's envelope, so that every consumer of
//! Debezium topics can read them.
//!
//! A schema says of each column one type and whether NULL may stand there. Engines whose columns hold what they like (SQLite) get
//! another schema for a row that does not fit its columns' declared types; nothing is bent to fit.

use std::collections::HashSet;

use serde_json::{Value as Json, json};

/// How the values of a column are published.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum Form {
    /// Avro `boolean`.
    Bool,
    /// Avro `long`.
    Long,
    /// Avro `double`.
    Double,
    /// Debezium's decimal of any scale.
    Decimal,
    /// Avro `string`.
    Text,
    /// Avro `string` that holds a JSON document.
    Json,
    /// Avro `bytes`.
    Bytes,
}

/// One column of a published row.
#[derive(Clone, Debug, PartialEq, Eq, Hash)]
pub struct ShapeColumn {
    /// The database's spelling.
    pub name: String,
    /// Its type.
    pub form: Form,
    /// Whether NULL may stand there.
    pub nullable: bool,
}

/// The columns of a published row.
#[derive(Clone, Debug, PartialEq, Eq, Hash)]
pub struct RowShape {
    /// In cell order.
    pub columns: Vec<ShapeColumn>,
    /// `key[i]` is the index in `columns` of the i-th key column.
    pub key: Vec<usize>,
}

const DECIMAL: &str = "io.debezium.data.VariableScaleDecimal";

impl RowShape {
    /// Schema of the record key.
    pub fn key_schema(&self, topic: &str) -> String {
        let name = namespace(topic);
        let names = self.field_names();
        let mut types = Types::default();
        let fields: Vec<Json> =
            self.key.iter().filter_map(|at| types.field(names.get(*at)?, self.columns.get(*at)?)).collect();
        json!({ "type": "record", "name": "Key", "namespace": name, "fields": fields, "connect.name": format!("{name}.Key") })
            .to_string()
    }

    /// Schema of the record value.
    pub fn value_schema(&self, topic: &str) -> String {
        let name = namespace(topic);
        let names = self.field_names();
        let mut types = Types::default();
        let fields: Vec<Json> =
            names.iter().zip(&self.columns).filter_map(|(name, column)| types.field(name, column)).collect();
        let row =
            json!({ "type": "record", "name": "Value", "fields": fields, "connect.name": format!("{name}.Value") });
        json!({
            "type": "record", "name": "Envelope", "namespace": name,
            "fields": [
                { "name": "before", "type": ["null", row], "default": null },
                { "name": "after", "type": ["null", "Value"], "default": null },
                { "name": "source", "type": source() },
                { "name": "transaction", "type": ["null", transaction()], "default": null },
                { "name": "op", "type": "string" },
                { "name": "ts_ms", "type": ["null", "long"], "default": null },
            ],
            "connect.version": 2,
            "connect.name": format!("{name}.Envelope"),
        })
        .to_string()
    }

    /// Names of the columns as Avro allows them, different from each other.
    pub fn field_names(&self) -> Vec<String> {
        let mut taken: HashSet<String> = HashSet::new();
        let mut names = Vec::with_capacity(self.columns.len());
        for column in &self.columns {
            let adjusted = adjusted(&column.name);
            let mut name = adjusted.clone();
            let mut number = 2;
            // A name that needs no adjustment keeps it, wherever it stands.
            let is_foreign = |name: &str| name != column.name && self.columns.iter().any(|other| other.name == name);
            while taken.contains(&name) || is_foreign(&name) {
                name = format!("{adjusted}_{number}");
                number += 1;
            }
            taken.insert(name.clone());
            names.push(name);
        }
        names
    }
}

/// Whether Avro takes a column's name as it is.
pub fn is_plain(name: &str) -> bool {
    adjusted(name) == name
}

/// Defines the decimal record where it is used first and names it afterwards, as Avro wants it.
#[derive(Default)]
struct Types {
    decimal_defined: bool,
}

impl Types {
    fn field(&mut self, name: &str, column: &ShapeColumn) -> Option<Json> {
        let mut kind = match column.form {
            Form::Bool => json!({ "type": "boolean" }),
            Form::Long => json!({ "type": "long" }),
            Form::Double => json!({ "type": "double" }),
            Form::Text => json!({ "type": "string" }),
            Form::Json => json!({ "type": "string", "connect.version": 1, "connect.name": "io.debezium.data.Json" }),
            Form::Bytes => json!({ "type": "bytes" }),
            Form::Decimal if self.decimal_defined => json!(DECIMAL),
            Form::Decimal => {
                self.decimal_defined = true;
                json!({
                    "type": "record", "name": "VariableScaleDecimal", "namespace": "io.debezium.data",
                    "fields": [{ "name": "scale", "type": "int" }, { "name": "value", "type": "bytes" }],
                    "connect.version": 1, "connect.name": DECIMAL,
                })
            }
        };
        if name != column.name
            && let Some(kind) = kind.as_object_mut()
        {
            kind.insert("connect.parameters".to_owned(), json!({ "__debezium.source.column.name": column.name }));
        }
        Some(if column.nullable {
            json!({ "name": name, "type": ["null", kind], "default": null })
        } else {
            json!({ "name": name, "type": kind })
        })
    }
}

fn source() -> Json {
    json!({
        "type": "record", "name": "Source", "namespace": "io.tidelock.capture",
        "fields": [
            { "name": "version", "type": "string" },
            { "name": "connector", "type": "string" },
            { "name": "name", "type": "string" },
            { "name": "ts_ms", "type": "long" },
            { "name": "snapshot", "type": "string" },
            { "name": "db", "type": "string" },
            { "name": "table", "type": "string" },
            { "name": "change_id", "type": "long" },
            { "name": "tag", "type": ["null", "string"], "default": null },
        ],
        "connect.name": "io.tidelock.capture.Source",
    })
}

fn transaction() -> Json {
    json!({
        "type": "record", "name": "block", "namespace": "event",
        "fields": [
            { "name": "id", "type": "string" },
            { "name": "total_order", "type": "long" },
            { "name": "data_collection_order", "type": "long" },
        ],
        "connect.version": 1, "connect.name": "event.block",
    })
}

fn namespace(topic: &str) -> String {
    topic.split('.').map(adjusted).collect::<Vec<_>>().join(".")
}

/// As Connect's `schema.name.adjustment.mode=avro` does it: what Avro does not allow becomes an underscore.
fn adjusted(name: &str) -> String {
    let mut out: String = name.chars().map(|c| if c.is_ascii_alphanumeric() || c == '_' { c } else { '_' }).collect();
    if out.is_empty() || out.starts_with(|first: char| first.is_ascii_digit()) {
        out.insert(0, '_');
    }
    out
}

#[cfg(test)]
mod tests {
    use super::*;

    fn column(name: &str, form: Form, nullable: bool) -> ShapeColumn {
        ShapeColumn { name: name.to_owned(), form, nullable }
    }

    #[test]
    fn names_that_avro_forbids_are_adjusted_and_stay_apart() {
        let shape = RowShape {
            columns: ["a b", "a_b", "a-b", "1st", "é"].map(|name| column(name, Form::Text, true)).to_vec(),
            key: vec![0],
        };
        assert_eq!(shape.field_names(), ["a_b_2", "a_b", "a_b_3", "_1st", "_"]);
        let schema: Json = serde_json::from_str(&shape.key_schema("site-1.t")).unwrap();
        assert_eq!(schema["connect.name"], "site_1.t.Key");
        assert_eq!(schema["fields"][0]["type"][1]["connect.parameters"]["__debezium.source.column.name"], "a b");
    }

    #[test]
    fn a_decimal_is_defined_once_and_then_named() {
        let shape = RowShape {
            columns: vec![
                column("id", Form::Long, false),
                column("a", Form::Decimal, true),
                column("b", Form::Decimal, false),
            ],
            key: vec![0],
        };
        let schema: Json = serde_json::from_str(&shape.value_schema("s.t")).unwrap();
        let row = &schema["fields"][0]["type"][1]["fields"];
        assert_eq!(row[0]["type"]["type"], "long");
        assert_eq!(row[1]["type"][1]["name"], "VariableScaleDecimal");
        assert_eq!(row[2]["type"], DECIMAL);
    }
}
