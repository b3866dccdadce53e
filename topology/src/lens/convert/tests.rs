//! Conversions by example, and the properties that hold for all of them.

use proptest::prelude::*;

use super::samples::*;
use super::*;
use crate::data::{Value, decimal};

fn run(source: &Kind, target: &Kind, context: &Context<'_>, value: &Value) -> Result<Value, Refused> {
    let mut arena = Arena::default();
    let cell = arena.push_value(value);
    let cell = plan(source, target, context).convert.run(cell, &mut arena, &mut Scratch::default())?;
    Ok(arena.value(cell))
}

const TO_POSTGRES: Context<'static> =
    Context { source: Engine::MySql, target: Engine::Postgres, live: None, native: "", fraction: FractionMode::Exact };
const TO_MYSQL: Context<'static> =
    Context { source: Engine::Postgres, target: Engine::MySql, live: None, native: "", fraction: FractionMode::Exact };

fn to(source: &Kind, target: &Kind, value: Value) -> Result<Value, &'static str> {
    run(source, target, &TO_POSTGRES, &value).map_err(|refused| refused.0)
}

fn d(text: &str) -> Value {
    Value::decimal(text).unwrap()
}

#[test]
fn an_integer_out_of_the_targets_range_is_refused_never_wrapped() {
    assert_eq!(to(&int(64), &int(32), Value::I64(2_147_483_647)), Ok(Value::I64(2_147_483_647)));
    assert!(to(&int(64), &int(32), Value::I64(2_147_483_648)).is_err());
    assert!(to(&int(16), &unsigned(8), Value::I64(-1)).is_err());
    assert_eq!(to(&unsigned(64), &int(64), Value::U64(9_223_372_036_854_775_807)), Ok(Value::I64(i64::MAX)));
    assert!(to(&unsigned(64), &int(64), Value::U64(u64::MAX)).is_err());
    assert_eq!(to(&unsigned(64), &number(20, 0), Value::U64(u64::MAX)), Ok(d("18446744073709551615")));
    assert_eq!(to(&number(20, 0), &unsigned(64), d("18446744073709551615")), Ok(Value::U64(u64::MAX)));
    assert!(to(&number(20, 0), &unsigned(64), d("18446744073709551616")).is_err());
}

#[test]
fn a_bigint_unsigned_that_debezium_wrapped_is_unwrapped() {
    let live = unsigned(64);
    let context = Context { live: Some(&live), ..TO_POSTGRES };
    let max = d("18446744073709551615");
    assert_eq!(run(&int(64), &number(20, 0), &context, &Value::I64(-1)), Ok(max));
    assert_eq!(run(&int(64), &unsigned(64), &context, &Value::I64(-1)), Ok(Value::U64(u64::MAX)));
    assert_eq!(run(&int(64), &TEXT, &context, &Value::I64(-1)), Ok(Value::from("18446744073709551615")));
}

#[test]
fn the_year_zero_comes_as_1900() {
    for target in [Kind::Year, int(16), TEXT] {
        let zero = if target == TEXT { Value::from("0") } else { Value::I64(0) };
        assert_eq!(to(&Kind::Year, &target, Value::I64(1900)), Ok(zero));
    }
}

#[test]
fn tinyint_and_boolean_meet_in_both_forms() {
    for value in [Value::Bool(true), Value::I64(1)] {
        assert_eq!(to(&int(16), &Kind::Bool, value.clone()), Ok(Value::Bool(true)));
        assert_eq!(to(&Kind::Bool, &int(8), value), Ok(Value::I64(1)));
    }
    assert!(to(&int(16), &Kind::Bool, Value::I64(2)).is_err());
    assert_eq!(
        to(&Kind::Bits { length: Some(1), varying: false }, &Kind::Bool, Value::Bits(vec![1])),
        Ok(Value::Bool(true))
    );
}

#[test]
fn decimals_are_never_rounded() {
    assert_eq!(to(&number(10, 2), &number(12, 4), d("999.99")), Ok(d("999.9900")));
    assert_eq!(to(&NUMERIC, &number(10, 2), d("1.5000")), Ok(d("1.50")));
    assert!(to(&NUMERIC, &number(10, 2), d("1.505")).is_err());
    assert_eq!(to(&NUMERIC, &number(10, 2), d("99999999.99")), Ok(d("99999999.99")));
    assert!(to(&NUMERIC, &number(10, 2), d("100000000.00")).is_err());
    assert_eq!(to(&number(10, 2), &NUMERIC, d("-0.05")), Ok(d("-0.05")));
    assert_eq!(to(&NUMERIC, &number(3, -2), d("12300")), Ok(d("123e2")));
    assert!(to(&NUMERIC, &number(3, -2), d("12350")).is_err());
    assert_eq!(to(&TEXT, &number(10, 2), Value::from("12.5")), Ok(d("12.50")));
    assert_eq!(to(&TEXT, &number(10, 2), Value::from("NaN")), Err("the text is not a number"));
    assert_eq!(to(&Kind::Float64, &number(10, 2), Value::F64(0.1)), Ok(d("0.10")));
    let long = format!("{}.{}", "9".repeat(35), "1".repeat(30));
    assert_eq!(to(&NUMERIC, &number(65, 30), d(&long)), Ok(d(&long)));
    assert!(to(&NUMERIC, &number(65, 29), d(&long)).is_err());
    assert_eq!(to(&NUMERIC, &number(66, 31), d(&long)), Ok(d(&format!("{long}0"))));
    assert_eq!(to(&number(65, 30), &int(64), d("12.000")), Ok(Value::I64(12)));
    assert!(to(&number(65, 30), &int(64), d("12.5")).is_err());
}

#[test]
fn floats_keep_their_digits_or_are_refused() {
    assert_eq!(to(&Kind::Float32, &Kind::Float64, Value::F32(0.5)), Ok(Value::F64(0.5)));
    assert!(to(&Kind::Float64, &Kind::Float32, Value::F64(0.1)).is_err());
    let whole = Kind::Int { bits: 32, unsigned: false };
    assert_eq!(to(&whole, &Kind::Float32, Value::I64(16_777_216)), Ok(Value::F32(16_777_216.0)));
    assert!(to(&whole, &Kind::Float32, Value::I64(-124_147_890)).is_err(), "the nearest is -124147888");
    assert_eq!(to(&NUMERIC, &Kind::Float64, d("0.1")), Ok(Value::F64(0.1)));
    assert!(to(&NUMERIC, &Kind::Float64, d("0.12345678901234567890")).is_err());
    assert_eq!(to(&NUMERIC, &Kind::Float64, d("1.7976931348623157e308")), Ok(Value::F64(f64::MAX)));
    assert!(to(&int(64), &Kind::Float64, Value::I64(i64::MAX)).is_err());
    assert!(run(&Kind::Float64, &Kind::Float64, &TO_MYSQL, &Value::F64(f64::NAN)).is_err());
    assert_eq!(to(&Kind::Float64, &int(32), Value::F64(3.0)), Ok(Value::I64(3)));
    assert!(to(&Kind::Float64, &int(32), Value::F64(3.5)).is_err());
}

#[test]
fn text_is_counted_in_characters_and_never_truncated() {
    assert_eq!(to(&TEXT, &varchar(3), Value::from("äö🙂")), Ok(Value::from("äö🙂")));
    assert!(to(&TEXT, &varchar(3), Value::from("äö🙂x")).is_err());
    assert_eq!(to(&TEXT, &varchar(3), Value::from("")), Ok(Value::from("")));
    assert_eq!(to(&TEXT, &varchar(3), Value::Null), Ok(Value::Null));
    assert_eq!(to(&TEXT, &varchar(3), Value::Unavailable), Ok(Value::Unavailable));
}

#[test]
fn blanks_that_pad_a_char_are_no_part_of_the_value() {
    let live = char_of(5);
    let context = Context { live: Some(&live), ..TO_MYSQL };
    assert_eq!(run(&TEXT, &varchar(3), &context, &Value::from("ab   ")), Ok(Value::from("ab")));
    assert_eq!(run(&TEXT, &int(32), &context, &Value::from("42   ")), Ok(Value::I64(42)));
    assert_eq!(to(&TEXT, &char_of(3), Value::from("ab   ")), Ok(Value::from("ab")));
    assert_eq!(to(&TEXT, &varchar(9), Value::from("ab ")), Ok(Value::from("ab ")));
}

#[test]
fn seconds_keep_their_digits_unless_cutting_was_declared() {
    let (fine, coarse) = (Kind::Timestamp { precision: 6 }, Kind::Timestamp { precision: 0 });
    assert_eq!(to(&fine, &coarse, Value::Timestamp(2_000_000)), Ok(Value::Timestamp(2_000_000)));
    assert!(to(&fine, &coarse, Value::Timestamp(2_000_001)).is_err());
    let cut = Context { fraction: FractionMode::Cut, ..TO_POSTGRES };
    assert_eq!(run(&fine, &coarse, &cut, &Value::Timestamp(2_999_999)), Ok(Value::Timestamp(2_000_000)));
    assert_eq!(run(&fine, &coarse, &cut, &Value::Timestamp(-1)), Ok(Value::Timestamp(-1_000_000)));
    assert!(matches!(plan(&fine, &coarse, &cut).fit, Fit::Lossy(_)));
    assert!(matches!(plan(&fine, &coarse, &TO_POSTGRES).fit, Fit::Checked(_)));
}

#[test]
fn wall_clocks_and_instants_meet_in_utc() {
    let (local, instant) = (Kind::Timestamp { precision: 6 }, Kind::TimestampTz { precision: 6 });
    assert_eq!(to(&local, &instant, Value::Timestamp(7)), Ok(Value::TimestampTz(7)));
    assert_eq!(to(&instant, &local, Value::TimestampTz(7)), Ok(Value::Timestamp(7)));
    assert_eq!(to(&TEXT, &instant, Value::from("1970-01-01T01:00:00+01:00")), Ok(Value::TimestampTz(0)));
}

#[test]
fn moments_that_the_target_cannot_hold_are_refused() {
    let (local, instant) = (Kind::Timestamp { precision: 6 }, Kind::TimestampTz { precision: 6 });
    let refused = |kind: &Kind, context: &Context<'_>, value| run(kind, kind, context, &value).is_err();
    assert!(refused(&local, &TO_POSTGRES, Value::Timestamp(9_223_372_036_825_200_000)), "infinity");
    assert!(refused(&local, &TO_POSTGRES, Value::Timestamp(-9_223_372_036_832_400_000)), "-infinity");
    assert!(refused(&instant, &TO_MYSQL, Value::TimestampTz(0)), "MySQL's TIMESTAMP begins a second later");
    assert!(refused(&instant, &TO_MYSQL, Value::TimestampTz(2_147_483_648_000_000)), "2038");
    assert!(refused(&Kind::Date, &TO_MYSQL, Value::Date(2_932_897)), "year 10000");
    assert!(!refused(&Kind::Date, &TO_POSTGRES, Value::Date(2_932_897)));
}

#[test]
fn lengths_of_time_cross_within_their_ranges() {
    let (time, span) = (Kind::Time { precision: 6 }, Kind::Duration { precision: 6 });
    const HOUR: i64 = 3_600_000_000;
    assert_eq!(to(&span, &time, Value::Duration(HOUR)), Ok(Value::Time(HOUR)));
    assert!(to(&span, &time, Value::Duration(-HOUR)).is_err());
    assert!(to(&span, &time, Value::Duration(25 * HOUR)).is_err());
    assert_eq!(to(&time, &span, Value::Time(24 * HOUR)), Ok(Value::Duration(24 * HOUR)));
    assert_eq!(
        to(&span, &Kind::Interval, Value::Duration(-HOUR)),
        Ok(Value::Interval { months: 0, days: 0, microseconds: -HOUR })
    );
    assert!(to(&Kind::Interval, &span, Value::Interval { months: 0, days: 1, microseconds: 0 }).is_err());
    assert_eq!(to(&span, &TEXT, Value::Duration(-(838 * HOUR) - 1)), Ok(Value::from("-838:00:00.000001")));
    assert_eq!(to(&TEXT, &span, Value::from("-838:00:00.000001")), Ok(Value::Duration(-(838 * HOUR) - 1)));
}

#[test]
fn intervals_cross_as_iso_text() {
    for (text, months, days, microseconds) in [
        ("P1Y2M3DT4H5M6.78S", 14, 3, 14_706_780_000),
        ("P0Y0M0DT0H0M0S", 0, 0, 0),
        ("P-1Y-2M3DT0H0M-0.5S", -14, 3, -500_000),
        ("P0Y0M0DT-1H-1M-1.000001S", 0, 0, -3_661_000_001),
    ] {
        let interval = Value::Interval { months, days, microseconds };
        assert_eq!(to(&TEXT, &Kind::Interval, Value::from(text)), Ok(interval.clone()));
        assert_eq!(to(&Kind::Interval, &TEXT, interval), Ok(Value::from(text)));
    }
    assert!(to(&TEXT, &Kind::Interval, Value::from("1 day")).is_err());
}

#[test]
fn labels_outside_the_targets_list_are_refused() {
    let (from, into) = (Kind::Enum(labels(&["a", "b"])), Kind::Enum(labels(&["a", "c"])));
    assert_eq!(to(&from, &into, Value::from("a")), Ok(Value::from("a")));
    assert!(to(&from, &into, Value::from("b")).is_err());
    assert_eq!(plan(&from, &into, &TO_POSTGRES).fit, Fit::Checked("the target lacks the labels b".into()));
    let set = Kind::Set(labels(&["x", "y", "z"]));
    assert_eq!(to(&TEXT, &set, Value::from("x,z")), Ok(Value::from("x,z")));
    assert_eq!(to(&TEXT, &set, Value::from("")), Ok(Value::from("")));
    assert!(to(&TEXT, &set, Value::from("z,x")).is_err());
    let list = Kind::Array(Box::new(TEXT));
    let both = Value::Array(vec![Value::from("x"), Value::from("z")]);
    assert_eq!(to(&set, &list, Value::from("x,z")), Ok(both.clone()));
    assert_eq!(to(&set, &list, Value::from("")), Ok(Value::Array(vec![])));
    assert_eq!(to(&list, &set, both), Ok(Value::from("x,z")));
}

#[test]
fn uuids_cross_as_text_and_bytes() {
    let uuid: [u8; 16] = std::array::from_fn(|at| 0x11 * at as u8);
    let text = "00112233-4455-6677-8899-aabbccddeeff";
    assert_eq!(to(&Kind::Uuid, &char_of(36), Value::Uuid(uuid)), Ok(Value::from(text)));
    assert_eq!(to(&TEXT, &Kind::Uuid, Value::from(text)), Ok(Value::Uuid(uuid)));
    assert_eq!(to(&TEXT, &Kind::Uuid, Value::from(text.replace('-', "").as_str())), Ok(Value::Uuid(uuid)));
    assert!(to(&TEXT, &Kind::Uuid, Value::from(&text[..35])).is_err());
    let binary = Kind::Bytes { bytes_max: Some(16), fixed: true };
    assert_eq!(to(&Kind::Uuid, &binary, Value::Uuid(uuid)), Ok(Value::Bytes(uuid.to_vec())));
    assert_eq!(to(&binary, &Kind::Uuid, Value::Bytes(uuid.to_vec())), Ok(Value::Uuid(uuid)));
}

#[test]
fn bytes_of_a_fixed_length_are_filled_only_between_equal_lengths() {
    let binary = Kind::Bytes { bytes_max: Some(4), fixed: true };
    let bytea = Kind::Bytes { bytes_max: None, fixed: false };
    assert_eq!(to(&binary, &binary, Value::Bytes(vec![1])), Ok(Value::Bytes(vec![1, 0, 0, 0])));
    assert!(to(&bytea, &binary, Value::Bytes(vec![1])).is_err());
    assert!(to(&bytea, &binary, Value::Bytes(vec![1; 5])).is_err());
    assert_eq!(to(&binary, &bytea, Value::Bytes(vec![1, 0, 0, 0])), Ok(Value::Bytes(vec![1, 0, 0, 0])));
}

#[test]
fn bit_strings_fit_by_value() {
    let bits = |length| Kind::Bits { length: Some(length), varying: false };
    assert_eq!(to(&bits(9), &bits(9), Value::Bits(vec![0xff, 1])), Ok(Value::Bits(vec![0xff, 1])));
    assert!(to(&bits(16), &bits(9), Value::Bits(vec![0xff, 2])).is_err());
    assert_eq!(to(&bits(9), &int(32), Value::Bits(vec![0xff, 1])), Ok(Value::I64(511)));
    assert_eq!(to(&int(32), &bits(9), Value::I64(511)), Ok(Value::Bits(vec![0xff, 1])));
    assert_eq!(to(&bits(9), &TEXT, Value::Bits(vec![5, 1])), Ok(Value::from("0000000100000101")));
    assert_eq!(to(&TEXT, &bits(9), Value::from("100000101")), Ok(Value::Bits(vec![5, 1])));
    // Where the number of bits is lost on the way, that is said.
    let varying = Kind::Bits { length: Some(32), varying: true };
    for target in [&TEXT, &varying] {
        assert!(matches!(plan(&bits(9), target, &TO_POSTGRES).fit, Fit::Checked(why) if why.contains("whole bytes")));
        assert_eq!(plan(&bits(16), target, &TO_POSTGRES).fit, Fit::Exact);
    }
}

#[test]
fn arrays_cross_element_by_element_and_as_json() {
    let numbers = Kind::Array(Box::new(int(64)));
    let narrow = Kind::Array(Box::new(int(16)));
    let values = Value::Array(vec![Value::I64(1), Value::Null, Value::I64(-7)]);
    assert_eq!(to(&numbers, &narrow, values.clone()), Ok(values.clone()));
    assert!(to(&numbers, &narrow, Value::Array(vec![Value::I64(70_000)])).is_err());
    assert_eq!(to(&numbers, &Kind::Json, values.clone()), Ok(Value::Json("[1,null,-7]".into())));
    assert_eq!(to(&Kind::Json, &numbers, Value::Json(" [1, null, -7 ] ".into())), Ok(values));
    let texts = Kind::Array(Box::new(TEXT));
    let hostile = Value::Array(vec![Value::from("a\"b\\c\n"), Value::from(""), Value::from("🙂"), Value::Null]);
    let json = to(&texts, &Kind::Json, hostile.clone()).unwrap();
    assert_eq!(json, Value::Json("[\"a\\\"b\\\\c\\u000a\",\"\",\"🙂\",null]".into()));
    assert_eq!(to(&Kind::Json, &texts, json), Ok(hostile));
    for broken in ["[1", "{}", "[1,]", "[[1]]", "[] []", "1", ""] {
        assert!(to(&Kind::Json, &numbers, Value::Json(broken.into())).is_err(), "{broken}");
    }
}

#[test]
fn json_numbers_that_mysql_would_round_are_refused() {
    let json = |text: &str| run(&Kind::Json, &Kind::Json, &TO_MYSQL, &Value::Json(text.into()));
    for kept in
        ["1", "18446744073709551615", "0.1", "1e10", "-1.25", "0.30000000000000004", "{\"a\": [1.5, null, \"x\"]}"]
    {
        assert!(json(kept).is_ok(), "{kept}");
    }
    for rounded in ["0.12345678901234567890", "18446744073709551617", "1e400", "[{\"a\":123456789012345678.5}]"] {
        assert!(json(rounded).is_err(), "{rounded}");
    }
    assert!(to(&Kind::Json, &Kind::Json, Value::Json("0.12345678901234567890".into())).is_ok());
}

#[test]
fn text_becomes_json_only_if_it_is_json() {
    for good in ["null", "{\"a\":[true,false,{\"b\":\"\\u00e9\"}]}", " [ ] ", "-0.5e-3"] {
        assert!(to(&TEXT, &Kind::Json, Value::from(good)).is_ok(), "{good}");
    }
    for bad in [
        "",
        "{",
        "[1,]",
        "{\"a\":}",
        "nul",
        "01",
        "1.",
        "\"\\x\"",
        "\"a",
        "{\"a\":1,}",
        "1 2",
        "+1",
        "__debezium_unavailable_value",
    ] {
        assert!(to(&TEXT, &Kind::Json, Value::from(bad)).is_err(), "{bad}");
    }
    let deep = "[".repeat(100_000);
    assert!(to(&TEXT, &Kind::Json, Value::from(deep.as_str())).is_err());
}

#[test]
fn hstore_is_written_as_the_server_reads_it() {
    let hstore = Kind::Other("hstore".into());
    let json = Value::Json("{\"a\\\"b\": \"x\\\\y\", \"n\": null, \"\": \"\"}".into());
    assert_eq!(to(&Kind::Json, &hstore, json), Ok(Value::from("\"a\\\"b\"=>\"x\\\\y\",\"n\"=>NULL,\"\"=>\"\"")));
    assert_eq!(to(&Kind::Json, &hstore, Value::Json("{}".into())), Ok(Value::from("")));
    assert!(to(&Kind::Json, &hstore, Value::Json("{\"a\":1}".into())).is_err());
}

#[test]
fn what_debezium_loses_is_refused_where_it_can_be_seen() {
    let live = Kind::TimestampTz { precision: 6 };
    let context = Context { live: Some(&live), ..TO_POSTGRES };
    let refused = run(&live, &live, &context, &Value::TimestampTz(0));
    assert_eq!(refused, Err(Refused("the source has a zero date")));
    assert!(run(&live, &live, &context, &Value::TimestampTz(1_000_000)).is_ok());
    // PostgreSQL's infinite days, as a snapshot and as streaming send them.
    for day in [-622_191_234, 2_146_033_979, -625_821_272, -2_147_472_691] {
        let context = Context { target: Engine::Other, ..TO_MYSQL };
        assert!(run(&Kind::Date, &Kind::Date, &context, &Value::Date(day)).is_err(), "{day}");
    }
    let live = Kind::Bits { length: Some(20), varying: true };
    let sent = Kind::Bits { length: Some(20), varying: false };
    let fit = plan(&sent, &live, &Context { live: Some(&live), ..TO_POSTGRES }).fit;
    assert!(matches!(fit, Fit::Impossible(why) if why.contains("leading zeros")));
}

#[test]
fn what_a_connector_setting_spoils_is_named() {
    let live = Kind::Bytes { bytes_max: None, fixed: false };
    let fit = plan(&TEXT, &live, &Context { live: Some(&live), ..TO_POSTGRES }).fit;
    assert!(matches!(fit, Fit::Impossible(why) if why.contains("binary.handling.mode")));
    let live = Kind::Interval;
    let fit = plan(&Kind::Duration { precision: 6 }, &live, &Context { live: Some(&live), ..TO_POSTGRES }).fit;
    assert!(matches!(fit, Fit::Impossible(why) if why.contains("interval.handling.mode")));
}

/// Equal values in maybe different forms: the text of a number says the same as the number.
fn same(left: &Value, right: &Value) -> bool {
    match (left, right) {
        (Value::Decimal { unscaled: a, scale: s }, Value::Decimal { unscaled: b, scale: t }) => {
            let normal = |unscaled: &[u8], scale: i16| {
                let text = decimal::to_text(unscaled, scale);
                if text.contains('.') { text.trim_end_matches('0').trim_end_matches('.').to_owned() } else { text }
            };
            normal(a, *s) == normal(b, *t)
        }
        (Value::I64(a), Value::U64(b)) | (Value::U64(b), Value::I64(a)) => i128::from(*a) == i128::from(*b),
        (Value::Bool(a), Value::I64(b)) | (Value::I64(b), Value::Bool(a)) => i64::from(*a) == *b,
        (Value::Bits(a), Value::Bits(b)) => {
            let trim = |bits: &[u8]| bits.iter().rposition(|b| *b != 0).map_or(vec![], |last| bits[..=last].to_vec());
            trim(a) == trim(b)
        }
        (Value::Array(a), Value::Array(b)) => a.len() == b.len() && a.iter().zip(b).all(|(a, b)| same(a, b)),
        (a, b) => a == b,
    }
}

fn is_text(kind: &Kind) -> bool {
    match kind {
        Kind::Text { .. } | Kind::Other(_) | Kind::Enum(_) | Kind::Set(_) | Kind::Xml | Kind::Bytes { .. } => true,
        Kind::Array(inner) => is_text(inner),
        _ => false,
    }
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(3000))]

    #[test]
    fn no_value_of_any_kind_makes_a_conversion_panic(
        value in any_value(),
        source in prop::sample::select(kinds()),
        target in prop::sample::select(kinds()),
        to_mysql in any::<bool>(),
    ) {
        let context = if to_mysql { TO_MYSQL } else { TO_POSTGRES };
        let _ = run(&source, &target, &context, &value);
    }

    #[test]
    fn there_and_back_gives_the_same_value_or_a_refusal(
        (source, value) in prop::sample::select(kinds()).prop_flat_map(|kind| (Just(kind.clone()), value_of(&kind))),
        target in prop::sample::select(kinds()),
        from_mysql in any::<bool>(),
    ) {
        let (there, back) = if from_mysql { (TO_POSTGRES, TO_MYSQL) } else { (TO_MYSQL, TO_POSTGRES) };
        if matches!(plan(&source, &target, &there).fit, Fit::Impossible(_))
            || matches!(plan(&target, &source, &back).fit, Fit::Impossible(_)) {
            return Ok(());
        }
        // A text that is read as something else comes back in that type's own form.
        if is_text(&source) && !is_text(&target) {
            return Ok(());
        }
        let Ok(arrived) = run(&source, &target, &there, &value) else { return Ok(()) };
        let Ok(returned) = run(&target, &source, &back, &arrived) else { return Ok(()) };
        prop_assert!(same(&value, &returned), "{source:?} {value:?} → {target:?} {arrived:?} → {returned:?}");
    }

    #[test]
    fn an_exact_pair_refuses_nothing(
        (source, value) in prop::sample::select(kinds()).prop_flat_map(|kind| (Just(kind.clone()), value_of(&kind))),
        target in prop::sample::select(kinds()),
    ) {
        let planned = plan(&source, &target, &TO_POSTGRES);
        if planned.fit == Fit::Exact {
            let outcome = run(&source, &target, &TO_POSTGRES, &value);
            prop_assert!(outcome.is_ok(), "{source:?} {value:?} → {target:?}: {outcome:?}");
        }
    }
}
