//! Kinds and values for tests: what columns can be, what they can hold, and what they never should.

use std::sync::Arc;

use proptest::prelude::*;

use super::number;
use crate::data::{Kind, Value, decimal};

pub(super) const TEXT: Kind = Kind::Text { characters_max: None, fixed: false };

pub(super) fn varchar(characters: u64) -> Kind {
    Kind::Text { characters_max: Some(characters), fixed: false }
}

pub(super) fn char_of(characters: u64) -> Kind {
    Kind::Text { characters_max: Some(characters), fixed: true }
}

pub(super) fn int(bits: u8) -> Kind {
    Kind::Int { bits, unsigned: false }
}

pub(super) fn unsigned(bits: u8) -> Kind {
    Kind::Int { bits, unsigned: true }
}

pub(super) fn number(precision: u32, scale: i32) -> Kind {
    Kind::Decimal { precision: Some(precision), scale: Some(scale) }
}

pub(super) const NUMERIC: Kind = Kind::Decimal { precision: None, scale: None };

pub(super) fn labels(labels: &[&str]) -> Arc<[String]> {
    labels.iter().map(|label| (*label).to_owned()).collect()
}

pub(super) fn kinds() -> Vec<Kind> {
    let mut kinds = vec![
        Kind::Bool,
        int(8),
        int(16),
        int(24),
        int(32),
        int(64),
        unsigned(8),
        unsigned(16),
        unsigned(24),
        unsigned(32),
        unsigned(64),
        Kind::Float32,
        Kind::Float64,
        number(10, 2),
        number(65, 30),
        number(3, -2),
        NUMERIC,
        TEXT,
        varchar(5),
        char_of(5),
        Kind::Bytes { bytes_max: None, fixed: false },
        Kind::Bytes { bytes_max: Some(16), fixed: true },
        Kind::Date,
        Kind::Time { precision: 3 },
        Kind::Time { precision: 6 },
        Kind::TimeTz { precision: 6 },
        Kind::Timestamp { precision: 0 },
        Kind::Timestamp { precision: 6 },
        Kind::TimestampTz { precision: 6 },
        Kind::Duration { precision: 6 },
        Kind::Interval,
        Kind::Year,
        Kind::Uuid,
        Kind::Json,
        Kind::Xml,
        Kind::Bits { length: Some(1), varying: false },
        Kind::Bits { length: Some(9), varying: false },
        Kind::Bits { length: None, varying: true },
        Kind::Enum(labels(&["a", "b"])),
        Kind::Set(labels(&["a", "b"])),
        Kind::Other("inet".into()),
    ];
    kinds.extend([TEXT, int(32), NUMERIC, Kind::Json].map(|kind| Kind::Array(Box::new(kind))));
    kinds
}

/// Any cell, whether or not it makes sense for the kind.
pub(super) fn any_value() -> impl Strategy<Value = Value> {
    let text = prop_oneof![
        any::<String>(),
        "[-+]?[0-9]{0,40}(\\.[0-9]{0,40})?(e[-+]?[0-9]{1,6})?",
        "[\\[{\\]},:\" 0-9a-z\\\\]{0,30}",
        "[0-9]{1,5}-[0-9]{2}-[0-9]{2}[T ][0-9]{2}:[0-9]{2}:[0-9]{2}(\\.[0-9]{1,8})?(Z|[+-][0-9]{2}:[0-9]{2})?",
        "P(-?[0-9]{1,12}[YMWD]){0,4}(T(-?[0-9]{1,12}(\\.[0-9]{1,7})?[HMS]){0,3})?",
        "[-0-9a-f]{32,36}",
    ];
    let leaf = prop_oneof![
        Just(Value::Null),
        Just(Value::Unavailable),
        any::<bool>().prop_map(Value::Bool),
        any::<i64>().prop_map(Value::I64),
        any::<u64>().prop_map(Value::U64),
        any::<f32>().prop_map(Value::F32),
        any::<f64>().prop_map(Value::F64),
        (prop::collection::vec(any::<u8>(), 1..40), any::<i16>())
            .prop_map(|(unscaled, scale)| Value::Decimal { unscaled, scale }),
        (any::<i64>(), 0..12_i16)
            .prop_map(|(number, scale)| Value::Decimal { unscaled: number.to_be_bytes().to_vec(), scale }),
        text.clone().prop_map(Value::Text),
        prop::collection::vec(any::<u8>(), 0..40).prop_map(Value::Bytes),
        any::<i32>().prop_map(Value::Date),
        any::<i64>().prop_map(Value::Time),
        any::<i64>().prop_map(Value::TimeTz),
        any::<i64>().prop_map(Value::Timestamp),
        any::<i64>().prop_map(Value::TimestampTz),
        any::<i64>().prop_map(Value::Duration),
        (any::<i32>(), any::<i32>(), any::<i64>()).prop_map(|(months, days, microseconds)| Value::Interval {
            months,
            days,
            microseconds
        }),
        any::<[u8; 16]>().prop_map(Value::Uuid),
        text.prop_map(Value::Json),
        prop::collection::vec(any::<u8>(), 0..12).prop_map(Value::Bits),
    ];
    leaf.prop_recursive(2, 12, 4, |inner| prop::collection::vec(inner, 0..4).prop_map(Value::Array))
}

/// A value that a column of this kind holds, in the form a decoder gives it.
pub(super) fn value_of(kind: &Kind) -> BoxedStrategy<Value> {
    const DAY: i64 = 86_400_000_000;
    match kind {
        Kind::Bool => any::<bool>().prop_map(Value::Bool).boxed(),
        Kind::Int { bits, unsigned } => {
            let (min, max) = number::range(*bits, *unsigned);
            if *unsigned {
                (0..=max).prop_map(move |n| if max == u64::MAX { Value::U64(n) } else { Value::I64(n as i64) }).boxed()
            } else {
                (min..=max as i64).prop_map(Value::I64).boxed()
            }
        }
        Kind::Float32 => prop::num::f32::NORMAL.prop_map(Value::F32).boxed(),
        Kind::Float64 => prop::num::f64::NORMAL.prop_map(Value::F64).boxed(),
        Kind::Decimal { precision, scale } => {
            let (precision, scale) = (precision.unwrap_or(30), scale.unwrap_or(7));
            (proptest::string::string_regex(&format!("-?[1-9][0-9]{{0,{}}}", precision - 1)).unwrap(), Just(scale))
                .prop_map(|(digits, scale)| {
                    let (unscaled, _) = decimal::parse(&digits).unwrap();
                    Value::Decimal { unscaled, scale: scale as i16 }
                })
                .boxed()
        }
        Kind::Text { characters_max, fixed } => {
            let pattern = format!("[a-z0-9äö🙂\"\\\\]{{0,{}}}", characters_max.unwrap_or(40));
            let _ = fixed;
            proptest::string::string_regex(&pattern).unwrap().prop_map(Value::Text).boxed()
        }
        Kind::Bytes { bytes_max, fixed } => {
            let max = bytes_max.unwrap_or(40) as usize;
            prop::collection::vec(any::<u8>(), if *fixed { max..=max } else { 0..=max }).prop_map(Value::Bytes).boxed()
        }
        Kind::Date => (-700_000..2_900_000_i32).prop_map(Value::Date).boxed(),
        Kind::Time { precision } => unit(*precision, 0..DAY).prop_map(Value::Time).boxed(),
        Kind::TimeTz { precision } => unit(*precision, 0..DAY).prop_map(Value::TimeTz).boxed(),
        Kind::Timestamp { precision } => {
            unit(*precision, -60_000_000_000_000_000..250_000_000_000_000_000).prop_map(Value::Timestamp).boxed()
        }
        Kind::TimestampTz { precision } => {
            unit(*precision, 1_000_000..2_147_483_647_000_000).prop_map(Value::TimestampTz).boxed()
        }
        Kind::Duration { precision } => unit(*precision, -34 * DAY..34 * DAY).prop_map(Value::Duration).boxed(),
        Kind::Interval => (-9999..9999_i32, -9999..9999_i32, any::<i32>())
            .prop_map(|(months, days, microseconds)| Value::Interval {
                months,
                days,
                microseconds: microseconds.into(),
            })
            .boxed(),
        Kind::Year => prop_oneof![Just(0), 1901..=2155_i64].prop_map(Value::I64).boxed(),
        Kind::Uuid => any::<[u8; 16]>().prop_map(Value::Uuid).boxed(),
        Kind::Json => "\\{\"[a-z]{1,3}\": (\"[a-zäö🙂]{0,5}\"|-?[1-9][0-9]{0,5}(\\.[0-9]{1,3})?|null|true)\\}"
            .prop_map(Value::Json)
            .boxed(),
        Kind::Xml => "<a>[a-z]{0,9}</a>".prop_map(Value::Text).boxed(),
        Kind::Bits { length, .. } => {
            let length = length.unwrap_or(20);
            (0..1_u64 << length)
                .prop_map(move |n| Value::Bits(n.to_le_bytes()[..length.div_ceil(8) as usize].to_vec()))
                .boxed()
        }
        Kind::Enum(labels) => prop::sample::select(labels.to_vec()).prop_map(Value::Text).boxed(),
        Kind::Set(labels) => prop::sample::subsequence(labels.to_vec(), 0..=labels.len())
            .prop_map(|labels| Value::Text(labels.join(",")))
            .boxed(),
        Kind::Array(inner) => {
            prop::collection::vec(prop_oneof![value_of(inner), Just(Value::Null)], 0..4).prop_map(Value::Array).boxed()
        }
        Kind::Other(_) => "[a-z0-9.:]{1,20}".prop_map(Value::Text).boxed(),
    }
}

pub(super) fn unit(precision: u8, range: std::ops::Range<i64>) -> impl Strategy<Value = i64> {
    let unit = 10_i64.pow(6 - u32::from(precision));
    (range.start / unit..range.end / unit).prop_map(move |n| n * unit)
}
