//! What Debezium's records of a key change carry beside their envelopes. The envelopes themselves are [`avro::TopicEncoder`]'s.
//!
//! A change of a key becomes three records: a delete that names the new key in a header, a tombstone, a create that names the old
//! one. A plain delete is followed by a tombstone, as Debezium's are by default.

use avro::field_name;
use base64::Engine as _;
use base64::engine::general_purpose::STANDARD;
use topology::data::{Layout, Value, decimal};

use super::publisher::OutRecord;

/// Header on the delete half of a key change.
pub const NEW_KEY_HEADER: &str = "__debezium.newkey";

/// Header on the create half of a key change.
pub const OLD_KEY_HEADER: &str = "__debezium.oldkey";

/// The tombstone that follows a delete, under the same key and header.
pub fn tombstone(delete: &OutRecord) -> OutRecord {
    OutRecord { value: None, ..delete.clone() }
}

/// A row's key as the JSON document that stands in the headers of a key change. `None` if the row has no such cells, or values
/// that no capture makes.
pub fn key_document(layout: &Layout, key: &[usize], row: &[Value]) -> Option<Vec<u8>> {
    let mut out = String::new();
    for (place, at) in key.iter().enumerate() {
        out.push(if place == 0 { '{' } else { ',' });
        out.push_str(&quoted(&field_name(&layout.columns.get(*at)?.name)));
        out.push(':');
        match row.get(*at)? {
            Value::Null => out.push_str("null"),
            Value::Bool(truth) => out.push_str(if *truth { "true" } else { "false" }),
            Value::I64(number) => out.push_str(&number.to_string()),
            Value::F64(number) if number.is_finite() => out.push_str(&format!("{number:e}")),
            Value::F64(number) => out.push_str(&quoted(&number.to_string())),
            Value::Decimal { unscaled, scale } => {
                let mut digits = Vec::new();
                let sign = if decimal::digits(unscaled, &mut digits) { "-" } else { "" };
                out.push_str(&format!("{sign}{}e{}", String::from_utf8_lossy(&digits), -i32::from(*scale)));
            }
            Value::Text(text) | Value::Json(text) => out.push_str(&quoted(text)),
            Value::Bytes(bytes) => out.push_str(&quoted(&STANDARD.encode(bytes))),
            _ => return None,
        }
    }
    out.push('}');
    Some(out.into_bytes())
}

fn quoted(text: &str) -> String {
    serde_json::Value::from(text).to_string()
}

#[cfg(test)]
mod tests {
    use topology::data::{Column, Kind};

    use super::*;

    #[test]
    fn a_key_document_keeps_large_integers_and_names_fields_as_the_schema_does() {
        let column = |name: &str| Column {
            name: name.into(),
            kind: Kind::Text { characters_max: None, fixed: false },
            nullable: false,
        };
        let layout = Layout { columns: ["v", "big id", "n", "x"].map(column).to_vec() };
        let row = ["a\"é".into(), i64::MAX.into(), Value::decimal("-1.50").unwrap(), Value::Bytes(vec![0, 255])];
        let document = key_document(&layout, &[1, 0, 2, 3], &row).unwrap();
        assert_eq!(
            String::from_utf8(document).unwrap(),
            r#"{"big_id":9223372036854775807,"v":"a\"é","n":-150e-2,"x":"AP8="}"#
        );
    }
}
