//! The kind of a column by its DDL, for the page. The matrix test holds it against what the live catalogues say.

use std::sync::Arc;

use topology::data::Kind;
use topology::lens::convert::Engine;

/// What a column declared like that holds.
///
/// # Panics
/// For a type that no list here names.
pub fn kind(engine: Engine, native: &str) -> Kind {
    if let Some(element) = native.strip_suffix("[]") {
        return Kind::Array(Box::new(kind(engine, element)));
    }
    let (name, arguments) = match native.split_once('(') {
        Some((name, rest)) => (name, rest.split_once(')').map_or("", |(arguments, _)| arguments)),
        None => (native, ""),
    };
    let unsigned = native.ends_with("unsigned");
    let name = name.strip_suffix(" unsigned").unwrap_or(name);
    let numbers: Vec<u64> = arguments.split(',').filter_map(|number| number.trim().parse().ok()).collect();
    let first = numbers.first().copied();
    match engine {
        Engine::MySql | Engine::MariaDb => mysql(name, arguments, first, &numbers, unsigned),
        _ => postgres(name, first, &numbers),
    }
}

fn labels(list: &str) -> Arc<[String]> {
    list.split("','").map(|label| label.trim_matches('\'').replace("''", "'")).collect()
}

fn decimal(numbers: &[u64]) -> Kind {
    Kind::Decimal {
        precision: numbers.first().map(|digits| *digits as u32),
        scale: numbers.get(1).map(|digits| *digits as i32),
    }
}

fn mysql(name: &str, arguments: &str, first: Option<u64>, numbers: &[u64], unsigned: bool) -> Kind {
    let int = |bits| Kind::Int { bits, unsigned };
    let precision = first.unwrap_or(0) as u8;
    let text = |max| Kind::Text { characters_max: max, fixed: false };
    let bytes = |max| Kind::Bytes { bytes_max: max, fixed: false };
    match name {
        "boolean" | "tinyint" => int(8),
        "smallint" => int(16),
        "mediumint" => int(24),
        "int" => int(32),
        "bigint" => int(64),
        "float" => Kind::Float32,
        "double" => Kind::Float64,
        "decimal" => decimal(numbers),
        "bit" => Kind::Bits { length: first.map(|bits| bits as u32), varying: false },
        "char" => Kind::Text { characters_max: first, fixed: true },
        "varchar" => text(first),
        "tinytext" => text(Some(255)),
        "text" => text(Some(65_535)),
        "mediumtext" => text(Some(16_777_215)),
        "longtext" => text(None),
        "binary" => Kind::Bytes { bytes_max: first, fixed: true },
        "varbinary" => bytes(first),
        "tinyblob" => bytes(Some(255)),
        "blob" => bytes(Some(65_535)),
        "mediumblob" => bytes(Some(16_777_215)),
        "longblob" => bytes(None),
        "date" => Kind::Date,
        "time" => Kind::Duration { precision },
        "datetime" => Kind::Timestamp { precision },
        "timestamp" => Kind::TimestampTz { precision },
        "year" => Kind::Year,
        "enum" => Kind::Enum(labels(arguments)),
        "set" => Kind::Set(labels(arguments)),
        "json" => Kind::Json,
        "uuid" => Kind::Uuid,
        other => panic!("no kind for MySQL's {other}"),
    }
}

fn postgres(name: &str, first: Option<u64>, numbers: &[u64]) -> Kind {
    let precision = first.unwrap_or(6) as u8;
    let int = |bits| Kind::Int { bits, unsigned: false };
    match name {
        "boolean" => Kind::Bool,
        "smallint" => int(16),
        "integer" => int(32),
        "bigint" => int(64),
        "oid" => Kind::Int { bits: 32, unsigned: true },
        "real" => Kind::Float32,
        "double precision" => Kind::Float64,
        "numeric" => decimal(numbers),
        "money" => Kind::Decimal { precision: Some(19), scale: Some(2) },
        "bit" => Kind::Bits { length: Some(first.unwrap_or(1) as u32), varying: false },
        "character" => Kind::Text { characters_max: first, fixed: true },
        "varchar" => Kind::Text { characters_max: first, fixed: false },
        "text" => Kind::Text { characters_max: None, fixed: false },
        "bytea" => Kind::Bytes { bytes_max: None, fixed: false },
        "date" => Kind::Date,
        "time" => Kind::Time { precision },
        "timetz" => Kind::TimeTz { precision },
        "timestamp" => Kind::Timestamp { precision },
        "timestamptz" => Kind::TimestampTz { precision },
        "interval" => Kind::Interval,
        "uuid" => Kind::Uuid,
        "json" | "jsonb" => Kind::Json,
        "xml" => Kind::Xml,
        "mood" => Kind::Enum(["sad", "ok", "very happy"].map(String::from).into()),
        other => Kind::Other(other.into()),
    }
}
