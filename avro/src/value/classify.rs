//! Finds the [`Meaning`] and the [`Kind`] of a schema node: DEBEZIUM's logical types, Connect's, Avro's, in that order.

use std::sync::Arc;

use topology::data::Kind;

use super::{Meaning, StructMeaning, Unit};
use crate::schema::{Node, Shape};

/// Length that Debezium gives a `bit varying` without limit.
const BITS_UNLIMITED: u32 = i32::MAX as u32;

/// Connect's converter writes this precision when it knows none.
const PRECISION_UNKNOWN: i64 = 64;

/// Meaning and kind of a node that is no list and no optional union. Unknown names fall back to the plain type.
pub(crate) fn classify(node: &Node) -> (Meaning, Kind) {
    if let Some(found) = node.semantic.as_deref().and_then(|name| connect(node, name)) {
        return found;
    }
    if let Some(found) = node.full_name.as_deref().and_then(|name| connect(node, name)) {
        return found;
    }
    if let Some(found) = node.logical.as_deref().and_then(|name| logical(node, name)) {
        return found;
    }
    plain(node)
}

fn labels(node: &Node) -> Arc<[String]> {
    let allowed = node.parameter("allowed").unwrap_or("");
    allowed.split(',').filter(|label| !label.is_empty()).map(str::to_owned).collect()
}

fn connect(node: &Node, name: &str) -> Option<(Meaning, Kind)> {
    use Shape::{Bytes, Int, Long, Record, Text};
    let time = |meaning: fn(Unit) -> Meaning, unit: Unit, kind: fn(u8) -> Kind| (meaning(unit), kind(unit.precision()));
    let timestamp = |unit| time(Meaning::Timestamp, unit, |precision| Kind::Timestamp { precision });
    let duration = |unit| time(Meaning::Duration, unit, |precision| Kind::Duration { precision });
    if matches!(node.shape, Record(_)) {
        return StructMeaning::of(name).map(|meaning| (Meaning::Struct(meaning), meaning.kind()));
    }
    Some(match (name, &node.shape) {
        ("io.debezium.time.Date" | "org.apache.kafka.connect.data.Date", Int(_)) => (Meaning::Date, Kind::Date),
        // Only the source knows whether this is MySQL's TIME (a duration) or a time of day; the lens narrows it.
        ("io.debezium.time.Time", Int(_) | Long) => duration(Unit::Milli),
        ("io.debezium.time.MicroTime" | "io.debezium.time.MicroDuration", Long) => duration(Unit::Micro),
        ("io.debezium.time.NanoTime" | "io.debezium.time.NanoDuration", Long) => duration(Unit::Nano),
        ("org.apache.kafka.connect.data.Time", Int(_)) => {
            time(Meaning::Time, Unit::Milli, |precision| Kind::Time { precision })
        }
        ("io.debezium.time.Timestamp" | "org.apache.kafka.connect.data.Timestamp", Long) => timestamp(Unit::Milli),
        ("io.debezium.time.MicroTimestamp", Long) => timestamp(Unit::Micro),
        ("io.debezium.time.NanoTimestamp", Long) => timestamp(Unit::Nano),
        ("io.debezium.time.ZonedTimestamp", Text) => (Meaning::ZonedTimestamp, Kind::TimestampTz { precision: 6 }),
        ("io.debezium.time.ZonedTime", Text) => (Meaning::ZonedTime, Kind::TimeTz { precision: 6 }),
        ("io.debezium.time.IsoDate", Text) => (Meaning::IsoDate, Kind::Date),
        ("io.debezium.time.IsoTime", Text) => (Meaning::IsoTime, Kind::Time { precision: 6 }),
        ("io.debezium.time.IsoTimestamp", Text) => (Meaning::IsoTimestamp, Kind::Timestamp { precision: 6 }),
        ("io.debezium.time.Interval", Text) => (Meaning::IntervalText, Kind::Interval),
        ("io.debezium.time.Year", Int(_)) => (Meaning::Plain, Kind::Year),
        ("org.apache.kafka.connect.data.Decimal", Bytes | Shape::Fixed(_)) => {
            let scale = node.parameter("scale").and_then(|text| text.parse().ok()).or(node.scale)?;
            let precision = node.parameter("connect.decimal.precision").and_then(|text| text.parse().ok());
            decimal(scale, precision.or(node.precision.filter(|digits| *digits != PRECISION_UNKNOWN)))?
        }
        ("io.debezium.data.Bits", Bytes) => {
            let length = node.parameter("length").and_then(|text| text.parse::<u32>().ok());
            let limit = length.filter(|length| *length != BITS_UNLIMITED);
            (Meaning::Bits, Kind::Bits { length: limit, varying: length.is_none() || limit.is_none() })
        }
        ("io.debezium.data.Enum", Text) => (Meaning::Plain, Kind::Enum(labels(node))),
        ("io.debezium.data.EnumSet", Text) => (Meaning::Plain, Kind::Set(labels(node))),
        ("io.debezium.data.Json", Text) => (Meaning::Json, Kind::Json),
        ("io.debezium.data.Xml", Text) => (Meaning::Plain, Kind::Xml),
        ("io.debezium.data.Uuid", Text) => (Meaning::Uuid, Kind::Uuid),
        ("io.debezium.data.Ltree", Text) => (Meaning::Plain, Kind::Other("ltree".into())),
        ("io.debezium.data.Tsvector" | "io.debezium.data.TsVector", Text) => {
            (Meaning::Plain, Kind::Other("tsvector".into()))
        }
        _ => return None,
    })
}

fn decimal(scale: i64, precision: Option<i64>) -> Option<(Meaning, Kind)> {
    let narrow = i16::try_from(scale).ok()?;
    let precision = precision.and_then(|digits| u32::try_from(digits).ok());
    Some((Meaning::Decimal(narrow), Kind::Decimal { precision, scale: Some(i32::from(narrow)) }))
}

/// Avro's own logical types, as applications without Connect write them: their timestamps are instants.
fn logical(node: &Node, name: &str) -> Option<(Meaning, Kind)> {
    use Shape::{Bytes, Fixed, Int, Long, Text};
    let instant = |unit: Unit| (Meaning::TimestampTz(unit), Kind::TimestampTz { precision: unit.precision() });
    let local = |unit: Unit| (Meaning::Timestamp(unit), Kind::Timestamp { precision: unit.precision() });
    Some(match (name, &node.shape) {
        ("date", Int(_)) => (Meaning::Date, Kind::Date),
        ("time-millis", Int(_)) => (Meaning::Time(Unit::Milli), Kind::Time { precision: 3 }),
        ("time-micros", Long) => (Meaning::Time(Unit::Micro), Kind::Time { precision: 6 }),
        ("timestamp-millis", Long) => instant(Unit::Milli),
        ("timestamp-micros", Long) => instant(Unit::Micro),
        ("timestamp-nanos", Long) => instant(Unit::Nano),
        ("local-timestamp-millis", Long) => local(Unit::Milli),
        ("local-timestamp-micros", Long) => local(Unit::Micro),
        ("local-timestamp-nanos", Long) => local(Unit::Nano),
        ("uuid", Text | Fixed(16)) => (Meaning::Uuid, Kind::Uuid),
        ("duration", Fixed(12)) => (Meaning::AvroDuration, Kind::Interval),
        ("decimal", Bytes | Fixed(_)) => decimal(node.scale.unwrap_or(0), node.precision)?,
        _ => return None,
    })
}

fn plain(node: &Node) -> (Meaning, Kind) {
    let source_type = node.parameter("__debezium.source.column.type").unwrap_or("").to_ascii_uppercase();
    let length = || node.parameter("__debezium.source.column.length").and_then(|text| text.parse::<u64>().ok());
    let unsigned = source_type.contains("UNSIGNED");
    let kind = match &node.shape {
        Shape::Null => Kind::Other("null".into()),
        Shape::Bool => Kind::Bool,
        Shape::Int(bits) => Kind::Int { bits: *bits, unsigned },
        Shape::Long if unsigned && source_type.starts_with("BIGINT") => {
            return (Meaning::Unsigned, Kind::Int { bits: 64, unsigned: true });
        }
        Shape::Long => Kind::Int { bits: 64, unsigned: false },
        Shape::Float => Kind::Float32,
        Shape::Double => Kind::Float64,
        Shape::Bytes => Kind::Bytes {
            bytes_max: if source_type.contains("BINARY") { length() } else { None },
            fixed: source_type == "BINARY",
        },
        Shape::Text => Kind::Text {
            characters_max: if source_type.contains("CHAR") { length() } else { None },
            fixed: source_type == "CHAR" || source_type == "BPCHAR",
        },
        Shape::Fixed(length) => Kind::Bytes { bytes_max: Some(*length as u64), fixed: true },
        Shape::Symbols(symbols) => Kind::Enum(symbols.iter().map(|symbol| symbol.to_string()).collect()),
        Shape::Array(_) | Shape::Map(_) | Shape::Union(_) | Shape::Record(_) => return (Meaning::Document, Kind::Json),
    };
    (Meaning::Plain, kind)
}
