//! How the values of one column are written: Debezium's type for its kind, and the bytes.

use serde_json::{Value as Json, json};
use topology::data::{Column, Kind, Value, decimal, time};

use super::write::{bytes, long, text_with};
use crate::placeholder::DEFAULT_UNAVAILABLE_VALUE;
use crate::value::rescale;

/// Literal and meaning of a column.
#[derive(Clone, Debug, PartialEq)]
pub(super) enum Encoding {
    Bool,
    /// Bits of the signed integer.
    Int(u8),
    Unsigned,
    Float,
    Double,
    Decimal(i16),
    VariableScaleDecimal,
    Text,
    Bytes,
    Date,
    Clock,
    ZonedTime,
    TimestampMillis,
    TimestampMicros,
    ZonedTimestamp,
    Interval,
    Uuid,
    Bits,
    Array(Box<Encoding>),
}

/// One column of a topic.
#[derive(Clone, Debug)]
pub(super) struct ColumnEncoder {
    pub(super) name: String,
    pub(super) nullable: bool,
    pub(super) encoding: Encoding,
    /// Avro type without the union.
    pub(super) schema: Json,
}

/// The name of a column's field: what Avro does not allow becomes an underscore.
pub fn avro_name(name: &str) -> String {
    let mut out: String = name.chars().map(|c| if c.is_ascii_alphanumeric() || c == '_' { c } else { '_' }).collect();
    if out.is_empty() || out.starts_with(|c: char| c.is_ascii_digit()) {
        out.insert(0, '_');
    }
    out
}

fn semantic(literal: &str, name: &str) -> Json {
    json!({"type": literal, "connect.version": 1, "connect.name": name})
}

fn with_parameter(mut schema: Json, name: &str, value: &str) -> Json {
    let parameters = schema.as_object_mut().expect("built as an object").entry("connect.parameters");
    let parameters = parameters.or_insert_with(|| json!({}));
    parameters.as_object_mut().expect("built as an object").insert(name.to_owned(), Json::from(value));
    schema
}

/// Debezium's type of a kind.
fn typed(kind: &Kind) -> (Encoding, Json) {
    match kind {
        Kind::Bool => (Encoding::Bool, json!({"type": "boolean"})),
        Kind::Int { bits: 64, unsigned: true } => (
            Encoding::Unsigned,
            with_parameter(json!({"type": "long"}), "__debezium.source.column.type", "BIGINT UNSIGNED"),
        ),
        Kind::Int { bits, unsigned } => {
            // Unsigned columns need the next wider signed type.
            let (width, schema) = match (bits, unsigned) {
                (0..=8, false) => (8, json!({"type": "int", "connect.type": "int8"})),
                (0..=8, true) | (9..=16, false) => (16, json!({"type": "int", "connect.type": "int16"})),
                (9..=24, true) | (17..=32, false) => (32, json!({"type": "int"})),
                _ => (64, json!({"type": "long"})),
            };
            (Encoding::Int(width), schema)
        }
        Kind::Year => (Encoding::Int(32), semantic("int", "io.debezium.time.Year")),
        Kind::Float32 => (Encoding::Float, json!({"type": "float"})),
        Kind::Float64 => (Encoding::Double, json!({"type": "double"})),
        Kind::Decimal { scale: Some(scale), precision } if i16::try_from(*scale).is_ok() => {
            let mut schema = json!({
                "type": "bytes", "scale": scale, "precision": precision.unwrap_or(64), "logicalType": "decimal",
                "connect.version": 1, "connect.parameters": {"scale": scale.to_string()},
                "connect.name": "org.apache.kafka.connect.data.Decimal",
            });
            if let Some(precision) = precision {
                schema = with_parameter(schema, "connect.decimal.precision", &precision.to_string());
            }
            (Encoding::Decimal(*scale as i16), schema)
        }
        Kind::Decimal { .. } => (
            Encoding::VariableScaleDecimal,
            json!({
                "type": "record", "name": "VariableScaleDecimal", "namespace": "io.debezium.data",
                "fields": [{"name": "scale", "type": "int"}, {"name": "value", "type": "bytes"}],
                "connect.version": 1, "connect.name": "io.debezium.data.VariableScaleDecimal",
            }),
        ),
        Kind::Text { .. } | Kind::Other(_) => (Encoding::Text, json!({"type": "string"})),
        Kind::Bytes { .. } => (Encoding::Bytes, json!({"type": "bytes"})),
        Kind::Date => (Encoding::Date, semantic("int", "io.debezium.time.Date")),
        Kind::Time { .. } | Kind::Duration { .. } => (Encoding::Clock, semantic("long", "io.debezium.time.MicroTime")),
        Kind::TimeTz { .. } => (Encoding::ZonedTime, semantic("string", "io.debezium.time.ZonedTime")),
        Kind::Timestamp { precision: 0..=3 } => {
            (Encoding::TimestampMillis, semantic("long", "io.debezium.time.Timestamp"))
        }
        Kind::Timestamp { .. } => (Encoding::TimestampMicros, semantic("long", "io.debezium.time.MicroTimestamp")),
        Kind::TimestampTz { .. } => (Encoding::ZonedTimestamp, semantic("string", "io.debezium.time.ZonedTimestamp")),
        Kind::Interval => (Encoding::Interval, semantic("string", "io.debezium.time.Interval")),
        Kind::Uuid => (Encoding::Uuid, semantic("string", "io.debezium.data.Uuid")),
        Kind::Json => (Encoding::Text, semantic("string", "io.debezium.data.Json")),
        Kind::Xml => (Encoding::Text, semantic("string", "io.debezium.data.Xml")),
        Kind::Bits { length, .. } => {
            let length = length.unwrap_or(i32::MAX as u32).to_string();
            (Encoding::Bits, with_parameter(semantic("bytes", "io.debezium.data.Bits"), "length", &length))
        }
        Kind::Enum(labels) => {
            (Encoding::Text, with_parameter(semantic("string", "io.debezium.data.Enum"), "allowed", &labels.join(",")))
        }
        Kind::Set(labels) => (
            Encoding::Text,
            with_parameter(semantic("string", "io.debezium.data.EnumSet"), "allowed", &labels.join(",")),
        ),
        Kind::Array(element) => {
            let (encoding, schema) = typed(element);
            (Encoding::Array(Box::new(encoding)), json!({"type": "array", "items": ["null", schema]}))
        }
    }
}

impl ColumnEncoder {
    pub(super) fn new(column: &Column) -> ColumnEncoder {
        let (encoding, mut schema) = typed(&column.kind);
        if avro_name(&column.name) != *column.name {
            // The parameter belongs to the type, so a named type with it must not be shared with other columns.
            if let Some(name) = schema.get_mut("name") {
                *name = Json::from(format!("VariableScaleDecimal_{}", avro_name(&column.name)));
            }
            schema = with_parameter(schema, "__debezium.source.column.name", &column.name);
        }
        ColumnEncoder { name: column.name.to_string(), nullable: column.nullable, encoding, schema }
    }

    /// Appends one value; false when the column cannot hold it exactly.
    pub(super) fn write(&self, value: &Value, out: &mut Vec<u8>, scratch: &mut Vec<u8>) -> bool {
        if !self.nullable {
            return self.encoding.write(value, out, scratch);
        }
        if *value == Value::Null {
            out.push(0);
            return true;
        }
        out.push(2);
        self.encoding.write(value, out, scratch)
    }
}

impl Encoding {
    fn write(&self, value: &Value, out: &mut Vec<u8>, scratch: &mut Vec<u8>) -> bool {
        match (self, value) {
            (Encoding::Bool, Value::Bool(value)) => out.push(u8::from(*value)),
            (Encoding::Int(bits), Value::I64(value)) => {
                let shift = 64 - u32::from(*bits);
                if value << shift >> shift != *value {
                    return false;
                }
                long(*value, out);
            }
            (Encoding::Int(bits), Value::U64(value)) => {
                return match i64::try_from(*value) {
                    Ok(value) => Encoding::Int(*bits).write(&Value::I64(value), out, scratch),
                    Err(_) => false,
                };
            }
            (Encoding::Unsigned, Value::U64(value)) => long(*value as i64, out),
            (Encoding::Unsigned, Value::I64(value)) if *value >= 0 => long(*value, out),
            (Encoding::Float, Value::F32(value)) => out.extend_from_slice(&value.to_le_bytes()),
            (Encoding::Double, Value::F64(value)) => out.extend_from_slice(&value.to_le_bytes()),
            (Encoding::Double, Value::F32(value)) => out.extend_from_slice(&f64::from(*value).to_le_bytes()),
            (Encoding::Decimal(scale), Value::Decimal { unscaled, scale: from }) => {
                if scale == from {
                    bytes(decimal::minimal(unscaled), out);
                } else {
                    match rescale(unscaled, *from, *scale) {
                        Some(unscaled) => bytes(&unscaled, out),
                        None => return false,
                    }
                }
            }
            (Encoding::Decimal(_) | Encoding::VariableScaleDecimal, Value::I64(value)) => {
                let unscaled = value.to_be_bytes().to_vec();
                return self.write(&Value::Decimal { unscaled, scale: 0 }, out, scratch);
            }
            (Encoding::VariableScaleDecimal, Value::Decimal { unscaled, scale }) => {
                long(i64::from(*scale), out);
                bytes(decimal::minimal(unscaled), out);
            }
            (Encoding::Text, Value::Text(value) | Value::Json(value)) => bytes(value.as_bytes(), out),
            (Encoding::Bytes, Value::Bytes(value)) | (Encoding::Bits, Value::Bits(value)) => bytes(value, out),
            (Encoding::Date, Value::Date(value)) => long(i64::from(*value), out),
            (Encoding::Clock, Value::Time(value) | Value::Duration(value)) => long(*value, out),
            (Encoding::ZonedTime, Value::TimeTz(value)) => text_with(out, scratch, |text| {
                time::write_time(*value, text);
                text.push(b'Z');
            }),
            (Encoding::TimestampMillis, Value::Timestamp(value)) => {
                if value % 1_000 != 0 {
                    return false;
                }
                long(value / 1_000, out);
            }
            (Encoding::TimestampMicros, Value::Timestamp(value)) => long(*value, out),
            (Encoding::ZonedTimestamp, Value::TimestampTz(value)) => text_with(out, scratch, |text| {
                time::write_date(value.div_euclid(time::DAY_MICROSECONDS), text);
                text.push(b'T');
                time::write_time(value.rem_euclid(time::DAY_MICROSECONDS), text);
                text.push(b'Z');
            }),
            (Encoding::Interval, Value::Interval { months, days, microseconds }) => {
                text_with(out, scratch, |text| write_interval(*months, *days, *microseconds, text));
            }
            (Encoding::Uuid, Value::Uuid(value)) => text_with(out, scratch, |text| write_uuid(value, text)),
            (Encoding::Array(element), Value::Array(values)) => {
                if !values.is_empty() {
                    long(values.len() as i64, out);
                }
                for value in values {
                    if *value == Value::Null {
                        out.push(0);
                    } else {
                        out.push(2);
                        if !element.write(value, out, scratch) {
                            return false;
                        }
                    }
                }
                out.push(0);
            }
            (Encoding::Text | Encoding::Bytes | Encoding::Bits, Value::Unavailable) => {
                bytes(DEFAULT_UNAVAILABLE_VALUE.as_bytes(), out);
            }
            _ => return false,
        }
        true
    }
}

/// `P14M3DT14706.78S`: months, days and seconds, each with its own sign.
fn write_interval(months: i32, days: i32, microseconds: i64, out: &mut Vec<u8>) {
    use std::io::Write as _;
    let sign = if microseconds < 0 { "-" } else { "" };
    let (seconds, fraction) = (microseconds.unsigned_abs() / 1_000_000, microseconds.unsigned_abs() % 1_000_000);
    write!(out, "P{months}M{days}DT{sign}{seconds}.{fraction:06}S").expect("writing to memory cannot fail");
}

fn write_uuid(value: &[u8; 16], out: &mut Vec<u8>) {
    const DIGITS: &[u8; 16] = b"0123456789abcdef";
    for (index, byte) in value.iter().enumerate() {
        if matches!(index, 4 | 6 | 8 | 10) {
            out.push(b'-');
        }
        out.push(DIGITS[usize::from(byte >> 4)]);
        out.push(DIGITS[usize::from(byte & 15)]);
    }
}
