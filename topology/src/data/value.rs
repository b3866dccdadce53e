//! The owned form of a value: configuration literals, tests, rows read back, rare paths. Not for the hot path.

use super::decimal;

/// One owned value; each variant means what the [`super::Cell`] of the same name means.
#[derive(Clone, Debug, PartialEq)]
#[allow(missing_docs)] // one to one with `Cell`, documented there
pub enum Value {
    Null,
    Unavailable,
    Bool(bool),
    I64(i64),
    U64(u64),
    F32(f32),
    F64(f64),
    Decimal { unscaled: Vec<u8>, scale: i16 },
    Text(String),
    Bytes(Vec<u8>),
    Date(i32),
    Time(i64),
    TimeTz(i64),
    Timestamp(i64),
    TimestampTz(i64),
    Duration(i64),
    Interval { months: i32, days: i32, microseconds: i64 },
    Uuid([u8; 16]),
    Json(String),
    Bits(Vec<u8>),
    Array(Vec<Value>),
}

impl Value {
    /// A decimal from its text, as `-12.340` or `1e3`.
    ///
    /// # Errors
    /// `None` when the text is not a finite decimal number.
    pub fn decimal(text: &str) -> Option<Value> {
        decimal::parse(text).map(|(unscaled, scale)| Value::Decimal { unscaled, scale })
    }
}

impl From<&str> for Value {
    fn from(text: &str) -> Value {
        Value::Text(text.to_owned())
    }
}

impl From<i64> for Value {
    fn from(number: i64) -> Value {
        Value::I64(number)
    }
}
