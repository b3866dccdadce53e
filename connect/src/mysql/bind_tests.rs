//! Tests of `bind.rs`: what a cell becomes on the wire, and what is refused.

use topology::data::Value;

use super::*;

fn form(kind: Kind, nullable: bool) -> ColumnForm {
    let type_info = <[u8] as Type<MySql>>::type_info();
    ColumnForm {
        form: Form::of(&kind),
        name: "price".into(),
        nullable,
        type_info,
        text_bytes_max: usize::MAX,
        float_digits: None,
    }
}

fn bind(kind: Kind, value: Value) -> Result<Vec<u8>, String> {
    let mut arena = Arena::default();
    let cell = arena.push_value(&value);
    let mut out = Vec::new();
    match encode(arena.view(cell), &form(kind, true), &mut out) {
        Ok(IsNull::Yes) => Ok(b"NULL".to_vec()),
        Ok(IsNull::No) => Ok(out),
        Err(error) => Err(error.to_string()),
    }
}

fn decimal_text(scale: i32, text: &str) -> Result<String, String> {
    let kind = Kind::Decimal { precision: Some(65), scale: Some(scale) };
    bind(kind, Value::decimal(text).unwrap()).map(|bytes| String::from_utf8(bytes[1..].to_vec()).unwrap())
}

const BIGINT: Kind = Kind::Int { bits: 64, unsigned: false };
const UNSIGNED: Kind = Kind::Int { bits: 64, unsigned: true };

/// P6: the server cuts blanks at the end of what is too long without an error, also in strict mode.
#[test]
fn blanks_that_the_server_would_cut_are_refused() {
    let tiny = ColumnForm { text_bytes_max: 255, ..form(Kind::Text { characters_max: Some(255), fixed: false }, true) };
    let refused = |text: &str| encode(View::Text(text), &tiny, &mut Vec::new()).is_err();
    let wide = "é".repeat(120);
    assert!(!refused(&format!("{wide}{}", " ".repeat(15))), "255 bytes");
    assert!(refused(&format!("{wide}{}", " ".repeat(20))));
}

/// P6: `DOUBLE(10,2)` rounds what has more digits, without an error.
#[test]
fn floats_that_the_column_would_round_are_refused() {
    let refused = |kind: Kind, value: View<'_>| {
        let column = ColumnForm { float_digits: Some(2), ..form(kind, true) };
        encode(value, &column, &mut Vec::new()).is_err()
    };
    for (number, is_refused) in [(1.23, false), (-0.07, false), (123_456_789.25, false), (1.234, true), (0.001, true)] {
        assert_eq!(refused(Kind::Float64, View::F64(number)), is_refused, "{number}");
    }
    for (number, is_refused) in [(1.23_f32, false), (0.1, false), (1.234, true)] {
        assert_eq!(refused(Kind::Float32, View::F32(number)), is_refused, "{number}");
    }
}

#[test]
fn decimals_travel_as_exact_text() {
    let long = "-12345678901234567890123456789012345.123456789012345678901234567890";
    for (scale, text) in [
        (2, "0.05"),
        (2, "-0.05"),
        (2, "12.30"),
        (0, "0"),
        (0, "-7"),
        (6, "0.000000"),
        (30, "0.000000000000000000000000000001"),
        (30, long),
    ] {
        assert_eq!(decimal_text(scale, text).unwrap(), text);
    }
    assert_eq!(decimal_text(0, "12e3").unwrap(), "12000");
}

#[test]
fn a_decimal_that_would_be_rounded_is_refused() {
    assert!(decimal_text(2, "1.005").is_err());
    assert_eq!(decimal_text(2, "1.500").unwrap(), "1.500", "trailing zeros lose nothing");
    assert!(decimal_text(2, "12345678901234567890123456789012345678901234.001").is_err());
    assert!(decimal_text(2, "12345678901234567890123456789012345678901234.100").is_ok());
}

#[test]
fn integers_never_wrap_between_signed_and_unsigned() {
    assert_eq!(bind(BIGINT, Value::I64(-1)).unwrap(), [0xff; 8]);
    assert_eq!(bind(UNSIGNED, Value::U64(u64::MAX)).unwrap(), [0xff; 8]);
    assert!(bind(UNSIGNED, Value::I64(-1)).is_err());
    assert!(bind(BIGINT, Value::U64(u64::MAX)).is_err());
    assert_eq!(bind(UNSIGNED, Value::decimal("18446744073709551615").unwrap()).unwrap(), [0xff; 8]);
    assert!(bind(UNSIGNED, Value::decimal("18446744073709551616").unwrap()).is_err());
    assert_eq!(bind(BIGINT, Value::Bool(true)).unwrap(), 1_i64.to_le_bytes());
}

#[test]
fn times_that_would_be_rounded_are_refused() {
    let at = |precision| Kind::Timestamp { precision };
    assert_eq!(bind(at(0), Value::Timestamp(0)).unwrap(), [7, 0xb2, 7, 1, 1, 0, 0, 0]);
    assert_eq!(bind(at(6), Value::Timestamp(-1)).unwrap(), [11, 0xb1, 7, 12, 31, 23, 59, 59, 0x3f, 0x42, 0x0f, 0]);
    assert!(bind(at(0), Value::Timestamp(1)).is_err());
    assert!(bind(at(3), Value::Timestamp(1_000)).is_ok());
    assert!(bind(at(3), Value::Timestamp(1_001)).is_err());
    assert!(bind(at(6), Value::Timestamp(253_402_300_800_000_000)).is_err(), "the year 10000");
    assert!(bind(Kind::Date, Value::Date(-800_000)).is_err(), "before the year 0");
}

#[test]
fn durations_keep_sign_and_days_and_stay_in_range() {
    let kind = || Kind::Duration { precision: 0 };
    let text = |value| String::from_utf8(bind(Kind::Duration { precision: 6 }, value).unwrap()[1..].to_vec()).unwrap();
    assert_eq!(text(Value::Duration(-TIME_MAX)), "-838:59:59");
    assert_eq!(text(Value::Duration(TIME_MAX - 1)), "838:59:58.999999");
    assert_eq!(text(Value::Duration(-1)), "-000:00:00.000001");
    assert_eq!(text(Value::Time(time::DAY_MICROSECONDS)), "024:00:00");
    assert!(bind(kind(), Value::Duration(TIME_MAX + 1_000_000)).is_err());
    assert!(bind(kind(), Value::Duration(1)).is_err(), "a fraction");
}

#[test]
fn text_longer_than_the_column_is_refused_even_if_only_spaces_stick_out() {
    let kind = || Kind::Text { characters_max: Some(3), fixed: false };
    assert!(bind(kind(), "abc ".into()).is_err());
    assert_eq!(bind(kind(), "äöü".into()).unwrap(), [6, 0xc3, 0xa4, 0xc3, 0xb6, 0xc3, 0xbc]);
}

#[test]
fn bits_are_read_little_endian() {
    let kind = || Kind::Bits { length: Some(10), varying: false };
    assert_eq!(bind(kind(), Value::Bits(vec![0x01, 0x02])).unwrap(), 0x201_u64.to_le_bytes());
    assert!(bind(kind(), Value::Bits(vec![0, 0, 0, 0, 0, 0, 0, 0, 1])).is_err());
    assert_eq!(bind(kind(), Value::Bool(true)).unwrap(), 1_u64.to_le_bytes());
}

#[test]
fn null_for_a_not_null_column_is_refused_before_the_server_invents_a_value() {
    let mut out = Vec::new();
    let error = encode(View::Null, &form(BIGINT, false), &mut out).err().unwrap();
    let error = error.downcast::<BindError>().unwrap();
    assert_eq!(
        (error.kind, error.to_string().as_str()),
        (ErrorKind::Data, "column \"price\": NULL, but the column is NOT NULL")
    );
}

#[test]
fn numbers_that_the_engine_cannot_hold_are_refused() {
    assert!(bind(Kind::Float64, Value::F64(f64::NAN)).is_err());
    assert!(bind(Kind::Float32, Value::F64(0.1)).is_err());
    assert_eq!(bind(Kind::Float32, Value::F64(0.5)).unwrap(), 0.5_f32.to_le_bytes());
}

#[test]
fn an_unavailable_cell_is_a_bug() {
    let mut out = Vec::new();
    let error = encode(View::Unavailable, &form(BIGINT, true), &mut out).err().unwrap();
    assert_eq!(error.downcast::<BindError>().unwrap().kind, ErrorKind::Bug);
}
