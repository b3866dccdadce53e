//! How values of two engines are read and compared.

use serde_json::Value;
use topology::lens::convert::Engine;

/// What two columns have in common.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Class {
    /// A truth value.
    Bool,
    /// Exact numbers.
    Number,
    /// Floating numbers, compared bit by bit.
    Float,
    /// Bit strings.
    Bits,
    /// Text.
    Text,
    /// Text whose blanks at the end mean nothing.
    Padded,
    /// Bytes.
    Bytes,
    /// Days.
    Date,
    /// Times of day.
    Timestamp,
    /// Times without zone.
    WallClock,
    /// Instants.
    Instant,
    /// Lengths of time as hours, minutes, seconds.
    Span,
    /// Intervals as ISO 8601 text.
    IsoInterval,
    /// JSON, compared parsed.
    Json,
    /// Labels, comma-joined.
    List,
    /// The server's own text form: both sides run the same engine.
    SameText,
}

impl Class {
    /// Reads `column` as text.
    pub fn sql(self, engine: Engine, native: &str, column: &str) -> String {
        let is_mysql = matches!(engine, Engine::MySql | Engine::MariaDb);
        match self {
            // A cast of inet always shows its mask, the type's own text only where it says something.
            Class::SameText | Class::Text if native == "inet" => {
                format!("CASE WHEN {column} IS NOT NULL THEN format('%s', {column}) END")
            }
            Class::SameText => format!("{column}::text"),
            Class::Bool if is_mysql => format!("CAST({column} + 0 AS CHAR)"),
            Class::Bool if native.starts_with("bit") => format!("{column}::text"),
            Class::Bool => format!("{column}::int::text"),
            Class::Float if is_mysql => format!("CAST(CAST({column} AS DOUBLE) AS CHAR)"),
            Class::Float => format!("{column}::float8::text"),
            Class::Bits if is_mysql => format!("BIN({column} + 0)"),
            Class::Bytes if is_mysql => format!("HEX({column})"),
            Class::Bytes => format!("upper(encode({column}, 'hex'))"),
            Class::WallClock | Class::Instant if is_mysql => format!("DATE_FORMAT({column}, '%Y-%m-%d %H:%i:%s.%f')"),
            Class::WallClock | Class::Instant => format!("to_char({column}, 'YYYY-MM-DD HH24:MI:SS.US')"),
            Class::Timestamp if native == "timetz" => format!("({column} AT TIME ZONE 'UTC')::time::text"),
            Class::Number if native == "money" => format!("{column}::numeric::text"),
            Class::List if !is_mysql => format!("array_to_string({column}, ',')"),
            Class::Json if native == "hstore" || native.ends_with("[]") => format!("to_json({column})::text"),
            _ if is_mysql => format!("CAST({column} AS CHAR)"),
            _ => format!("{column}::text"),
        }
    }
}

/// Whether two values say the same.
pub fn same(class: Class, left: Option<&str>, right: Option<&str>) -> bool {
    let (Some(left), Some(right)) = (left, right) else { return left.is_none() && right.is_none() };
    match class {
        Class::Number => number(left) == number(right),
        Class::Float => left.parse::<f64>().ok().map(f64::to_bits) == right.parse::<f64>().ok().map(f64::to_bits),
        Class::Bits => left.trim_start_matches('0') == right.trim_start_matches('0'),
        Class::Padded => left.trim_end_matches(' ') == right.trim_end_matches(' '),
        Class::Span | Class::Timestamp => number(left) == number(right),
        Class::IsoInterval => interval(left) == interval(right),
        Class::Json => match (serde_json::from_str::<Value>(left), serde_json::from_str::<Value>(right)) {
            (Ok(left), Ok(right)) => same_json(&left, &right),
            _ => false,
        },
        _ => left == right,
    }
}

/// Without zeros at the end of a fraction.
fn number(text: &str) -> &str {
    if text.contains('.') { text.trim_end_matches('0').trim_end_matches('.') } else { text }
}

/// Without parts that are zero.
fn interval(text: &str) -> String {
    let mut kept = String::new();
    let mut part = String::new();
    for character in text.chars() {
        part.push(character);
        if character.is_ascii_alphabetic() {
            let number: String = part.chars().filter(char::is_ascii_digit).collect();
            if number.is_empty() || number.chars().any(|digit| digit != '0') {
                kept.push_str(&part);
            }
            part.clear();
        }
    }
    kept.trim_end_matches('T').to_owned()
}

fn same_json(left: &Value, right: &Value) -> bool {
    match (left, right) {
        (Value::Number(a), Value::Number(b)) => a == b || a.as_f64() == b.as_f64(),
        (Value::Array(a), Value::Array(b)) => a.len() == b.len() && a.iter().zip(b).all(|(a, b)| same_json(a, b)),
        (Value::Object(a), Value::Object(b)) => {
            a.len() == b.len() && a.iter().all(|(key, value)| b.get(key).is_some_and(|other| same_json(value, other)))
        }
        _ => left == right,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn values_compare_as_what_they_are() {
        assert!(same(Class::Number, Some("1.50"), Some("1.5")) && !same(Class::Number, Some("150"), Some("15")));
        assert!(same(Class::IsoInterval, Some("P1Y0M0DT0H0M6.5S"), Some("P1YT6.5S")));
        assert!(same(Class::IsoInterval, Some("P0Y0M0DT0H0M0S"), Some("PT0S")));
        assert!(!same(Class::IsoInterval, Some("P1Y0M"), Some("P2Y")));
        assert!(same(Class::Json, Some("{\"a\": 1.0, \"b\": []}"), Some("{\"b\":[],\"a\":1}")));
        assert!(!same(Class::Json, Some("[1]"), Some("[1,2]")));
        assert!(same(Class::Text, None, None) && !same(Class::Text, None, Some("")));
    }
}
