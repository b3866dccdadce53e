//! Random Avro types as columns have them, values of them, and the cell that each must become.
#![allow(unreachable_pub)] // shared with the test as a module

use apache_avro::types::Value as Avro;
use apache_avro::{Decimal, Duration, Months};
use base64::Engine as _;
use rand::Rng;
use rand::rngs::StdRng;
use serde_json::{Value as Json, json};
use topology::data::{Value, decimal, time};

/// A type of a column.
#[derive(Clone, Debug)]
pub enum Type {
    Null,
    Bool,
    Int,
    Long,
    Float,
    Double,
    Bytes,
    Text,
    Fixed(String, usize),
    Enum(String, Vec<String>),
    Array(Box<Type>),
    Map(Box<Type>),
    Record(String, Vec<(String, Type)>),
    Optional(Box<Type>, bool),
    Union(Vec<Type>),
    /// A named type of before, by name.
    Named(Box<Type>),
    /// Literal and `connect.name`.
    Semantic(&'static str, &'static str),
    ConnectDecimal(i16),
    VariableScaleDecimal(String),
    Logical(&'static str, &'static str),
    AvroDecimal(i16),
    AvroDuration(String),
}

/// Named types so far.
#[derive(Default)]
pub struct Names {
    next: usize,
    defined: Vec<Type>,
}

impl Names {
    pub fn starting(next: usize) -> Names {
        Names { next, defined: Vec::new() }
    }

    fn fresh(&mut self) -> String {
        self.next += 1;
        format!("N{}", self.next)
    }
}

const SEMANTICS: [(&str, &str); 11] = [
    ("int", "io.debezium.time.Date"),
    ("int", "io.debezium.time.Time"),
    ("long", "io.debezium.time.MicroTime"),
    ("long", "io.debezium.time.Timestamp"),
    ("long", "io.debezium.time.MicroTimestamp"),
    ("long", "io.debezium.time.NanoTimestamp"),
    ("string", "io.debezium.time.ZonedTimestamp"),
    ("int", "io.debezium.time.Year"),
    ("string", "io.debezium.data.Json"),
    ("string", "io.debezium.data.Uuid"),
    ("bytes", "io.debezium.data.Bits"),
];

const LOGICALS: [(&str, &str); 6] = [
    ("int", "date"),
    ("long", "time-micros"),
    ("long", "timestamp-millis"),
    ("long", "timestamp-micros"),
    ("long", "local-timestamp-micros"),
    ("string", "uuid"),
];

/// A type for a column.
pub fn column_type(rng: &mut StdRng, names: &mut Names) -> Type {
    any(rng, names, 3, false)
}

fn any(rng: &mut StdRng, names: &mut Names, depth: usize, in_document: bool) -> Type {
    match rng.random_range(0..10) {
        0..=3 if depth > 0 => {
            let inner = plain(rng, names, depth - 1, in_document);
            if matches!(inner, Type::Null) { inner } else { Type::Optional(Box::new(inner), rng.random()) }
        }
        4 if depth > 0 => Type::Union(union(rng, names, depth - 1)),
        _ => plain(rng, names, depth, in_document),
    }
}

/// A union of several types, no two of the same unnamed kind, null somewhere.
fn union(rng: &mut StdRng, names: &mut Names, depth: usize) -> Vec<Type> {
    let mut branches = vec![Type::Text, Type::Long, Type::Bool];
    branches.truncate(rng.random_range(2..=3));
    if depth > 0 && rng.random() {
        branches.push(Type::Map(Box::new(any(rng, names, depth - 1, true))));
    }
    branches.insert(rng.random_range(0..=branches.len()), Type::Null);
    branches
}

fn plain(rng: &mut StdRng, names: &mut Names, depth: usize, in_document: bool) -> Type {
    let limit = if depth == 0 { 10 } else { 14 };
    match rng.random_range(0..if in_document { limit } else { limit + 6 }) {
        0 => Type::Null,
        1 => Type::Bool,
        2 => Type::Int,
        3 => Type::Long,
        4 => Type::Float,
        5 => Type::Double,
        6 => Type::Bytes,
        7 => Type::Text,
        8 => define(names, |name| Type::Fixed(name, 5)),
        9 => define(names, |name| Type::Enum(name, vec!["A".to_owned(), "B".to_owned(), "C".to_owned()])),
        10 if depth > 0 => Type::Array(Box::new(any(rng, names, depth - 1, in_document))),
        11 if depth > 0 => Type::Map(Box::new(any(rng, names, depth - 1, true))),
        12 if depth > 0 => {
            let name = names.fresh();
            let fields =
                (0..rng.random_range(0..4)).map(|at| (format!("f{at}"), any(rng, names, depth - 1, true))).collect();
            Type::Record(name, fields)
        }
        13 if depth > 0 && !names.defined.is_empty() => {
            let at = rng.random_range(0..names.defined.len());
            Type::Named(Box::new(names.defined[at].clone()))
        }
        _ if in_document => Type::Long,
        _ => match rng.random_range(0..5) {
            0 | 1 => {
                let (literal, name) = SEMANTICS[rng.random_range(0..SEMANTICS.len())];
                Type::Semantic(literal, name)
            }
            2 => {
                let (literal, name) = LOGICALS[rng.random_range(0..LOGICALS.len())];
                Type::Logical(literal, name)
            }
            3 if rng.random() => Type::ConnectDecimal(rng.random_range(0..20)),
            3 => Type::AvroDecimal(rng.random_range(0..20)),
            _ if rng.random() => Type::VariableScaleDecimal(names.fresh()),
            _ => Type::AvroDuration(names.fresh()),
        },
    }
}

fn define(names: &mut Names, make: impl FnOnce(String) -> Type) -> Type {
    let kind = make(names.fresh());
    names.defined.push(kind.clone());
    kind
}

impl Type {
    pub fn schema(&self) -> Json {
        match self {
            Type::Null => json!("null"),
            Type::Bool => json!("boolean"),
            Type::Int => json!("int"),
            Type::Long => json!("long"),
            Type::Float => json!("float"),
            Type::Double => json!("double"),
            Type::Bytes => json!("bytes"),
            Type::Text => json!("string"),
            Type::Fixed(name, size) => json!({"type": "fixed", "name": name, "size": size}),
            Type::Enum(name, symbols) => json!({"type": "enum", "name": name, "symbols": symbols}),
            Type::Array(items) => json!({"type": "array", "items": items.schema()}),
            Type::Map(values) => json!({"type": "map", "values": values.schema()}),
            Type::Record(name, fields) => {
                let fields: Vec<Json> =
                    fields.iter().map(|(name, kind)| json!({"name": name, "type": kind.schema()})).collect();
                json!({"type": "record", "name": name, "fields": fields})
            }
            Type::Optional(inner, true) => json!(["null", inner.schema()]),
            Type::Optional(inner, false) => json!([inner.schema(), "null"]),
            Type::Union(branches) => branches.iter().map(Type::schema).collect(),
            Type::Named(kind) => match &**kind {
                Type::Fixed(name, _) | Type::Enum(name, _) => json!(name),
                other => other.schema(),
            },
            Type::Semantic(literal, name) => json!({"type": literal, "connect.version": 1, "connect.name": name}),
            Type::Logical(literal, name) => json!({"type": literal, "logicalType": name}),
            Type::ConnectDecimal(scale) => json!({
                "type": "bytes", "connect.parameters": {"scale": scale.to_string()},
                "connect.name": "org.apache.kafka.connect.data.Decimal",
            }),
            Type::AvroDecimal(scale) => {
                json!({"type": "bytes", "logicalType": "decimal", "precision": 38, "scale": scale})
            }
            Type::VariableScaleDecimal(name) => json!({
                "type": "record", "name": name,
                "fields": [{"name": "scale", "type": "int"}, {"name": "value", "type": "bytes"}],
                "connect.name": "io.debezium.data.VariableScaleDecimal",
            }),
            Type::AvroDuration(name) => json!({"type": "fixed", "name": name, "size": 12, "logicalType": "duration"}),
        }
    }

    /// A random value.
    pub fn value(&self, rng: &mut StdRng) -> Avro {
        match self {
            Type::Null => Avro::Null,
            Type::Bool => Avro::Boolean(rng.random()),
            Type::Int => Avro::Int(number(rng) as i32),
            Type::Long => Avro::Long(number(rng)),
            // Halves look the same in every text form of a float.
            Type::Float => Avro::Float(f32::from(rng.random::<i16>()) / 2.0),
            Type::Double => Avro::Double(f64::from(rng.random::<i32>()) / 2.0),
            Type::Bytes => Avro::Bytes(bytes(rng, 0)),
            Type::Text => Avro::String(text(rng)),
            Type::Fixed(_, size) => Avro::Fixed(*size, (0..*size).map(|_| rng.random()).collect()),
            Type::Enum(_, symbols) => {
                let at = rng.random_range(0..symbols.len());
                Avro::Enum(at as u32, symbols[at].clone())
            }
            Type::Array(items) => Avro::Array((0..rng.random_range(0..5)).map(|_| items.value(rng)).collect()),
            Type::Map(values) => {
                Avro::Map((0..rng.random_range(0..4)).map(|_| (text(rng), values.value(rng))).collect())
            }
            Type::Record(_, fields) => {
                Avro::Record(fields.iter().map(|(name, kind)| (name.clone(), kind.value(rng))).collect())
            }
            Type::Optional(inner, null_first) => {
                let (null, present) = if *null_first { (0, 1) } else { (1, 0) };
                if rng.random_range(0..4) == 0 {
                    Avro::Union(null, Box::new(Avro::Null))
                } else {
                    Avro::Union(present, Box::new(inner.value(rng)))
                }
            }
            Type::Union(branches) => {
                let at = rng.random_range(0..branches.len());
                Avro::Union(at as u32, Box::new(branches[at].value(rng)))
            }
            Type::Named(kind) => kind.value(rng),
            Type::Semantic("int", "io.debezium.time.Year") => Avro::Int(rng.random_range(1901..2156)),
            Type::Semantic("int", _) => Avro::Int(rng.random()),
            Type::Semantic(_, "io.debezium.time.Timestamp") => {
                Avro::Long(rng.random_range(-9_000_000_000_000_000..9_000_000_000_000_000))
            }
            Type::Semantic(_, "io.debezium.time.NanoTimestamp") => {
                Avro::Long(rng.random_range(-9_000_000_000_000_000..9_000_000_000_000_000) * 1_000)
            }
            Type::Semantic("long", _) => Avro::Long(number(rng)),
            Type::Semantic(_, "io.debezium.time.ZonedTimestamp") => {
                let microseconds = rng.random_range(-60_000_000_000_000_000..200_000_000_000_000_000_i64);
                let mut out = Vec::new();
                time::write_date(microseconds.div_euclid(time::DAY_MICROSECONDS), &mut out);
                out.push(b'T');
                time::write_time(microseconds.rem_euclid(time::DAY_MICROSECONDS), &mut out);
                out.push(b'Z');
                Avro::String(String::from_utf8(out).unwrap())
            }
            Type::Semantic(_, "io.debezium.data.Uuid") => Avro::String(uuid_text(rng)),
            Type::Semantic("string", _) => Avro::String("{\"a\": 1.50}".to_owned()),
            Type::Semantic(..) => Avro::Bytes(bytes(rng, 0)),
            Type::Logical(_, "date") => Avro::Date(rng.random()),
            Type::Logical(_, "time-micros") => Avro::TimeMicros(rng.random_range(0..time::DAY_MICROSECONDS)),
            Type::Logical(_, "timestamp-millis") => {
                Avro::TimestampMillis(rng.random_range(-9_000_000_000_000_000..9_000_000_000_000_000))
            }
            Type::Logical(_, "timestamp-micros") => Avro::TimestampMicros(number(rng)),
            Type::Logical(_, "local-timestamp-micros") => Avro::LocalTimestampMicros(number(rng)),
            Type::Logical(..) => Avro::Uuid(uuid_text(rng).parse().unwrap()),
            Type::ConnectDecimal(_) => Avro::Bytes(bytes(rng, 1)),
            Type::AvroDecimal(_) => Avro::Decimal(Decimal::from(&bytes(rng, 1)[..1])),
            Type::VariableScaleDecimal(_) => Avro::Record(vec![
                ("scale".to_owned(), Avro::Int(rng.random_range(-5..30))),
                ("value".to_owned(), Avro::Bytes(bytes(rng, 1))),
            ]),
            Type::AvroDuration(_) => {
                let part = |rng: &mut StdRng| rng.random::<u32>() >> 1;
                Avro::Duration(Duration::new(
                    Months::new(part(rng)),
                    apache_avro::Days::new(part(rng)),
                    apache_avro::Millis::new(part(rng)),
                ))
            }
        }
    }

    /// Maps, records and mixed unions become JSON text, and so do lists of them.
    fn is_document(&self) -> bool {
        match self {
            Type::Map(_) | Type::Record(..) | Type::Union(_) => true,
            Type::Array(items) => items.is_document(),
            Type::Optional(inner, _) | Type::Named(inner) => inner.is_document(),
            _ => false,
        }
    }
}

/// The cell that a value decoded by apache-avro must be.
pub fn expected(kind: &Type, value: &Avro) -> Value {
    if let (Type::Optional(inner, _), Avro::Union(_, value)) = (kind, value) {
        return if **value == Avro::Null { Value::Null } else { expected(inner, value) };
    }
    if let Type::Named(kind) = kind {
        return expected(kind, value);
    }
    if kind.is_document() {
        return Value::Json(document(value).to_string());
    }
    match (kind, value) {
        (Type::Array(items), Avro::Array(values)) => {
            Value::Array(values.iter().map(|value| expected(items, value)).collect())
        }
        (Type::ConnectDecimal(scale), Avro::Bytes(bytes)) => exact(bytes, *scale),
        (Type::AvroDecimal(scale), Avro::Decimal(number)) => exact(&Vec::<u8>::try_from(number).unwrap(), *scale),
        (Type::VariableScaleDecimal(_), Avro::Record(fields)) => match (&fields[0].1, &fields[1].1) {
            (Avro::Int(scale), Avro::Bytes(bytes)) => exact(bytes, *scale as i16),
            other => panic!("{other:?}"),
        },
        (Type::Semantic(_, name), value) => semantic(name, value),
        (_, Avro::Null) => Value::Null,
        (_, Avro::Boolean(value)) => Value::Bool(*value),
        (_, Avro::Int(value)) => Value::I64(i64::from(*value)),
        (_, Avro::Long(value)) => Value::I64(*value),
        (_, Avro::Float(value)) => Value::F32(*value),
        (_, Avro::Double(value)) => Value::F64(*value),
        (_, Avro::Bytes(value) | Avro::Fixed(_, value)) => Value::Bytes(value.clone()),
        (_, Avro::String(value) | Avro::Enum(_, value)) => Value::Text(value.clone()),
        (_, Avro::Date(value)) => Value::Date(*value),
        (_, Avro::TimeMicros(value)) => Value::Time(*value),
        (_, Avro::TimestampMillis(value)) => Value::TimestampTz(value * 1_000),
        (_, Avro::TimestampMicros(value)) => Value::TimestampTz(*value),
        (_, Avro::LocalTimestampMicros(value)) => Value::Timestamp(*value),
        (_, Avro::Uuid(value)) => Value::Uuid(*value.as_bytes()),
        (_, Avro::Duration(value)) => Value::Interval {
            months: u32::from(value.months()) as i32,
            days: u32::from(value.days()) as i32,
            microseconds: i64::from(u32::from(value.millis())) * 1_000,
        },
        other => panic!("{other:?}"),
    }
}

fn semantic(name: &str, value: &Avro) -> Value {
    let long = || match value {
        Avro::Int(value) => i64::from(*value),
        Avro::Long(value) => *value,
        other => panic!("{other:?}"),
    };
    let text = || match value {
        Avro::String(value) => value.clone(),
        other => panic!("{other:?}"),
    };
    match name {
        "io.debezium.time.Date" => Value::Date(long() as i32),
        "io.debezium.time.Time" => Value::Duration(long() * 1_000),
        "io.debezium.time.MicroTime" => Value::Duration(long()),
        "io.debezium.time.Timestamp" => Value::Timestamp(long() * 1_000),
        "io.debezium.time.MicroTimestamp" => Value::Timestamp(long()),
        "io.debezium.time.NanoTimestamp" => Value::Timestamp(long() / 1_000),
        "io.debezium.time.ZonedTimestamp" => Value::TimestampTz(time::parse_timestamp(&text()).unwrap()),
        "io.debezium.time.Year" => Value::I64(long()),
        "io.debezium.data.Json" => Value::Json(text()),
        "io.debezium.data.Uuid" => {
            let digits: String = text().chars().filter(|c| *c != '-').collect();
            Value::Uuid(u128::from_str_radix(&digits, 16).unwrap().to_be_bytes())
        }
        _ => match value {
            Avro::Bytes(bytes) => Value::Bits(bytes.clone()),
            other => panic!("{other:?}"),
        },
    }
}

fn exact(bytes: &[u8], scale: i16) -> Value {
    Value::Decimal { unscaled: decimal::minimal(bytes).to_vec(), scale }
}

fn document(value: &Avro) -> Json {
    match value {
        Avro::Null => Json::Null,
        Avro::Boolean(value) => json!(value),
        Avro::Int(value) => json!(value),
        Avro::Long(value) => json!(value),
        Avro::Float(value) => whole(f64::from(*value)),
        Avro::Double(value) => whole(*value),
        Avro::Bytes(value) | Avro::Fixed(_, value) => {
            json!(base64::engine::general_purpose::STANDARD.encode(value))
        }
        Avro::String(value) | Avro::Enum(_, value) => json!(value),
        Avro::Union(_, value) => document(value),
        Avro::Array(values) => values.iter().map(document).collect(),
        Avro::Map(values) => values.iter().map(|(name, value)| (name.clone(), document(value))).collect(),
        Avro::Record(fields) => fields.iter().map(|(name, value)| (name.clone(), document(value))).collect(),
        other => panic!("{other:?}"),
    }
}

/// Rust writes 2.0 as `2`, which JSON reads back as a whole number.
fn whole(value: f64) -> Json {
    serde_json::from_str(&value.to_string()).unwrap()
}

/// Numbers of all lengths, as their variable-length form has them; never one of the stand-ins for infinity.
fn number(rng: &mut StdRng) -> i64 {
    rng.random::<i64>() >> rng.random_range(1..64)
}

fn bytes(rng: &mut StdRng, length_min: usize) -> Vec<u8> {
    (0..rng.random_range(length_min..20)).map(|_| rng.random()).collect()
}

fn text(rng: &mut StdRng) -> String {
    const LETTERS: [char; 8] = ['a', 'Z', '0', '"', '\\', '\n', 'ü', '🦀'];
    (0..rng.random_range(0..12)).map(|_| LETTERS[rng.random_range(0..LETTERS.len())]).collect()
}

fn uuid_text(rng: &mut StdRng) -> String {
    let digits = format!("{:032x}", rng.random::<u128>());
    format!("{}-{}-{}-{}-{}", &digits[..8], &digits[8..12], &digits[12..16], &digits[16..20], &digits[20..])
}
