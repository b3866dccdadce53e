//! A captured change as the bytes of Debezium's records: Avro in Confluent's frame, by the schemas of [`super::shape`].
//!
//! A change of a key becomes Debezium's three records: a delete that names the new key in a header, a tombstone, a create that
//! names the old one. A plain delete is followed by a tombstone, as Debezium's are by default.

use topology::data::Value;
use topology::record::Operation;

use super::publisher::OutRecord;
use super::shape::{Form, RowShape, ShapeColumn};

/// Header on the delete half of a key change.
pub const NEW_KEY_HEADER: &str = "__debezium.newkey";

/// Header on the create half of a key change.
pub const OLD_KEY_HEADER: &str = "__debezium.oldkey";

/// Where a change comes from: the source block without what differs between the halves of a key change.
#[derive(Clone, Debug)]
pub struct Provenance<'a> {
    /// The site: `source.name`.
    pub site: &'a str,
    /// Name of the database.
    pub database: &'a str,
    /// Table.
    pub table: &'a str,
    /// Id in the change log.
    pub change: i64,
    /// The neighbour site from which the engine brought the change.
    pub tag: Option<&'a str>,
    /// True for rows that were there before the capture.
    pub is_snapshot: bool,
    /// Time of the change at the source, in milliseconds since the epoch.
    pub committed_at_ms: i64,
    /// Time of capture.
    pub captured_at_ms: i64,
}

/// Ids that the registry gave to the two schemas of a shape.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct SchemaIds {
    /// Of the key.
    pub key: u32,
    /// Of the envelope.
    pub value: u32,
}

/// One row with its shape. `cells[i]` belongs to `shape.columns[i]` and fits its form.
#[derive(Clone, Copy, Debug)]
pub struct ShapedRow<'a> {
    /// Columns and types.
    pub shape: &'a RowShape,
    /// Their schemas.
    pub ids: SchemaIds,
    /// Row before.
    pub before: Option<&'a [Value]>,
    /// Row after.
    pub after: Option<&'a [Value]>,
}

/// The record of one change, without its tombstone. The key is that of `after`, or of `before` for a delete. `None` if a value does not fit
/// its form: a broken promise of the caller.
pub fn record(topic: &str, operation: Operation, row: &ShapedRow<'_>, from: &Provenance<'_>) -> Option<OutRecord> {
    let cells = row.after.or(row.before)?;
    let mut key = frame(row.ids.key);
    for at in &row.shape.key {
        write_column(&mut key, row.shape.columns.get(*at)?, cells.get(*at)?)?;
    }
    let mut value = frame(row.ids.value);
    for image in [row.before, row.after] {
        match image {
            None => write_long(&mut value, 0),
            Some(cells) => {
                write_long(&mut value, 1);
                for (column, cell) in row.shape.columns.iter().zip(cells) {
                    write_column(&mut value, column, cell)?;
                }
            }
        }
    }
    write_text(&mut value, env!("CARGO_PKG_VERSION"));
    write_text(&mut value, "tidelock");
    write_text(&mut value, from.site);
    write_long(&mut value, from.committed_at_ms);
    write_text(&mut value, if from.is_snapshot { "true" } else { "false" });
    write_text(&mut value, from.database);
    write_text(&mut value, from.table);
    write_long(&mut value, from.change);
    match from.tag {
        None => write_long(&mut value, 0),
        Some(tag) => {
            write_long(&mut value, 1);
            write_text(&mut value, tag);
        }
    }
    write_long(&mut value, 0); // no transaction block
    write_text(&mut value, operation.letter().encode_utf8(&mut [0; 4]));
    write_long(&mut value, 1);
    write_long(&mut value, from.captured_at_ms);
    Some(OutRecord { topic: topic.to_owned(), key, value: Some(value), header: None })
}

/// The tombstone that follows a delete, under the same key and header.
pub fn tombstone(delete: &OutRecord) -> OutRecord {
    OutRecord { value: None, ..delete.clone() }
}

/// A key as the JSON document that stands in the headers of a key change.
pub fn key_document(shape: &RowShape, cells: &[Value]) -> Option<Vec<u8>> {
    let names = shape.field_names();
    let mut out = Vec::new();
    for (place, at) in shape.key.iter().enumerate() {
        out.push(if place == 0 { b'{' } else { b',' });
        out.extend_from_slice(serde_json::Value::from(names.get(*at)?.as_str()).to_string().as_bytes());
        out.push(b':');
        let text = match cells.get(*at)? {
            Value::Null => "null".to_owned(),
            Value::Bool(truth) => truth.to_string(),
            Value::I64(number) => number.to_string(),
            Value::F64(number) if number.is_finite() => number.to_string(),
            Value::F64(number) => format!("\"{number}\""),
            Value::Decimal { unscaled, scale } => decimal_text(unscaled, *scale),
            Value::Text(text) | Value::Json(text) => serde_json::Value::from(text.as_str()).to_string(),
            Value::Bytes(bytes) => {
                use base64::Engine as _;
                format!("\"{}\"", base64::engine::general_purpose::STANDARD.encode(bytes))
            }
            _ => return None,
        };
        out.extend_from_slice(text.as_bytes());
    }
    out.push(b'}');
    Some(out)
}

fn decimal_text(unscaled: &[u8], scale: i16) -> String {
    let mut digits = Vec::new();
    let negative = topology::data::decimal::digits(unscaled, &mut digits);
    let digits = String::from_utf8_lossy(&digits).into_owned();
    let sign = if negative { "-" } else { "" };
    format!("{sign}{digits}e{}", -i32::from(scale))
}

/// Confluent's frame: a zero byte and the schema id.
fn frame(id: u32) -> Vec<u8> {
    let mut out = vec![0];
    out.extend_from_slice(&id.to_be_bytes());
    out
}

fn write_column(out: &mut Vec<u8>, column: &ShapeColumn, value: &Value) -> Option<()> {
    if column.nullable {
        if *value == Value::Null {
            write_long(out, 0);
            return Some(());
        }
        write_long(out, 1);
    }
    match (column.form, value) {
        (Form::Bool, Value::Bool(truth)) => out.push(u8::from(*truth)),
        (Form::Long, Value::I64(number)) => write_long(out, *number),
        (Form::Double, Value::F64(number)) => out.extend_from_slice(&number.to_le_bytes()),
        (Form::Decimal, Value::Decimal { unscaled, scale }) => {
            write_long(out, i64::from(*scale));
            write_bytes(out, unscaled);
        }
        (Form::Text, Value::Text(text)) | (Form::Json, Value::Json(text)) => write_text(out, text),
        (Form::Bytes, Value::Bytes(bytes)) => write_bytes(out, bytes),
        _ => return None,
    }
    Some(())
}

fn write_text(out: &mut Vec<u8>, text: &str) {
    write_bytes(out, text.as_bytes());
}

fn write_bytes(out: &mut Vec<u8>, bytes: &[u8]) {
    write_long(out, i64::try_from(bytes.len()).expect("a value is smaller than 2^63 bytes"));
    out.extend_from_slice(bytes);
}

/// Avro's zigzag, seven bits at a time.
fn write_long(out: &mut Vec<u8>, number: i64) {
    let mut rest = ((number << 1) ^ (number >> 63)).cast_unsigned();
    while rest >= 0x80 {
        out.push((rest & 0x7f) as u8 | 0x80);
        rest >>= 7;
    }
    out.push(rest as u8);
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn longs_are_written_as_avro_wants_them() {
        for (number, bytes) in [
            (0, &[0][..]),
            (-1, &[1]),
            (1, &[2]),
            (-64, &[0x7f]),
            (64, &[0x80, 1]),
            (i64::MIN, &[0xff, 0xff, 0xff, 0xff, 0xff, 0xff, 0xff, 0xff, 0xff, 1]),
        ] {
            let mut out = Vec::new();
            write_long(&mut out, number);
            assert_eq!(out, bytes, "{number}");
        }
    }

    #[test]
    fn a_key_document_keeps_large_integers_and_names_fields_as_the_schema_does() {
        let column = |name: &str, form| ShapeColumn { name: name.to_owned(), form, nullable: false };
        let shape = RowShape {
            columns: vec![column("v", Form::Text), column("big id", Form::Long), column("n", Form::Decimal)],
            key: vec![1, 0, 2],
        };
        let decimal = Value::decimal("-1.50").unwrap();
        let document = key_document(&shape, &["a\"é".into(), i64::MAX.into(), decimal]).unwrap();
        assert_eq!(String::from_utf8(document).unwrap(), r#"{"big_id":9223372036854775807,"v":"a\"é","n":-150e-2}"#);
    }
}
