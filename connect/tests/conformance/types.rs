//! Promise P6: hostile values arrive exactly, or are refused as dead with a reason; nothing is rounded, cut or defaulted. MySQL and MariaDB
//! have the same test beside their session's tests.

use topology::data::Value;
use topology::sink::SinkWriter;

use crate::batches::{Builder, apply, claim};
use crate::conformance;
use crate::target::{Engine, Target, n, t};

fn decimal(text: &str) -> Value {
    Value::decimal(text).unwrap()
}

fn json(text: &str) -> Value {
    Value::Json(text.to_owned())
}

/// Microseconds of `2024-02-29 23:59:59.123456`.
const INSTANT: i64 = 1_709_251_199_123_456;

/// (type, value, how PostgreSQL shows it as text).
fn postgres_values() -> Vec<(&'static str, Value, String)> {
    let long = format!("-{}.{}", "9".repeat(60), "123456789".repeat(4));
    let text = "ümläut 𝄞 \\ \" ' ∅ \u{1}\t\n end ";
    let array = |values: Vec<Value>| Value::Array(values);
    vec![
        ("boolean", Value::Bool(false), "false".into()),
        ("smallint", n(-32768), "-32768".into()),
        ("integer", n(2_147_483_647), "2147483647".into()),
        ("bigint", n(i64::MIN), i64::MIN.to_string()),
        ("numeric(20,0)", Value::U64(u64::MAX), u64::MAX.to_string()),
        ("real", Value::F32(0.1), "0.1".into()),
        ("double precision", Value::F64(5e-324), "5e-324".into()),
        ("double precision", Value::F64(f64::NEG_INFINITY), "-Infinity".into()),
        ("double precision", Value::F64(-0.0), "-0".into()),
        ("numeric", decimal(&long), long.clone()),
        ("numeric", decimal("0.00"), "0.00".into()),
        ("numeric", decimal("-0.000010"), "-0.000010".into()),
        ("numeric(12,2)", decimal("-1234567890.10"), "-1234567890.10".into()),
        ("numeric(12,2)", decimal("1.5000"), "1.50".into()),
        ("money", decimal("-92233720368547758.08"), "-$92,233,720,368,547,758.08".into()),
        ("text", t(text), text.into()),
        ("varchar(3)", t("äöü"), "äöü".into()),
        ("char(3)", t("a"), "a".into()),
        ("text", t(""), "".into()),
        ("bytea", Value::Bytes(vec![0, 255, 92, 39]), "\\x00ff5c27".into()),
        ("bytea", Value::Bytes(Vec::new()), "\\x".into()),
        ("date", Value::Date(19_782), "2024-02-29".into()),
        ("date", Value::Date(-719_162), "0001-01-01".into()),
        ("time", Value::Time(86_400_000_000), "24:00:00".into()),
        ("time(3)", Value::Time(1_500_000), "00:00:01.5".into()),
        ("timetz", Value::TimeTz(1), "00:00:00.000001+00".into()),
        ("timestamp", Value::Timestamp(INSTANT), "2024-02-29 23:59:59.123456".into()),
        ("timestamp", Value::Timestamp(i64::MAX), "infinity".into()),
        ("timestamptz", Value::TimestampTz(INSTANT), "2024-02-29 23:59:59.123456+00".into()),
        ("timestamptz", Value::TimestampTz(i64::MIN), "-infinity".into()),
        ("interval", Value::Interval { months: 14, days: -3, microseconds: 1 }, "P1Y2M-3DT0.000001S".into()),
        ("uuid", Value::Uuid([0xab; 16]), "abababab-abab-abab-abab-abababababab".into()),
        ("json", json("{\"b\" : 1.0,\"a\":[1,1e400]}"), "{\"b\" : 1.0,\"a\":[1,1e400]}".into()),
        ("jsonb", json("{\"n\": 12345678901234567890.10}"), "{\"n\": 12345678901234567890.10}".into()),
        ("xml", t("<a>1</a>"), "<a>1</a>".into()),
        ("bit(10)", Value::Bits(vec![0x01, 0x02]), "1000000001".into()),
        ("bit(1)", Value::Bool(true), "1".into()),
        ("varbit(16)", Value::Bits(vec![0x05]), "00000101".into()),
        ("inet", t("::1/128"), "::1/128".into()),
        ("int4range", t("[1,5)"), "[1,5)".into()),
        ("mood", t("so \"so\""), "so \"so\"".into()),
        ("mood[]", array(vec![t("sad"), Value::Null]), "{sad,NULL}".into()),
        ("integer[]", array(vec![n(1), Value::Null, n(-3)]), "{1,NULL,-3}".into()),
        ("text[]", array(vec![t("NULL"), t("a\"b\\c,{}"), t("")]), "{\"NULL\",\"a\\\"b\\\\c,{}\",\"\"}".into()),
        ("bytea[]", array(vec![Value::Bytes(vec![1])]), "{\"\\\\x01\"}".into()),
        ("timestamptz[]", array(vec![Value::TimestampTz(0)]), "{\"1970-01-01 00:00:00+00\"}".into()),
        ("numeric(5,1)[]", array(vec![decimal("1.5")]), "{1.5}".into()),
        ("bit(12)[]", array(vec![Value::Bits(vec![0x05, 0x08])]), "{100000000101}".into()),
        ("varbit(12)[]", array(vec![Value::Bits(vec![0x05, 0x08]), Value::Null]), "{100000000101,NULL}".into()),
        ("positive", n(7), "7".into()),
    ]
}

fn sqlite_values() -> Vec<(&'static str, Value, String)> {
    vec![
        ("boolean", Value::Bool(true), "1".into()),
        ("bigint", n(i64::MAX), i64::MAX.to_string()),
        ("text", t("ümläut 𝄞 \" ' "), "ümläut 𝄞 \" ' ".into()),
        ("text", decimal("12345678901234567890.10"), "12345678901234567890.10".into()),
        ("text", t(""), "".into()),
        ("decimal(12,2)", decimal("1234567890.25"), "1234567890.25".into()),
        ("blob", Value::Bytes(vec![0, 255]), "00ff".into()),
        ("date", Value::Date(19_782), "2024-02-29".into()),
        ("datetime", Value::Timestamp(INSTANT), "2024-02-29 23:59:59.123456".into()),
        ("timestamptz", Value::TimestampTz(INSTANT), "2024-02-29 23:59:59.123456Z".into()),
        ("uuid", Value::Uuid([0xab; 16]), "abababab-abab-abab-abab-abababababab".into()),
        ("json", json("{\"a\":1.0}"), "{\"a\":1.0}".into()),
        ("double", Value::F64(0.1), "0.1".into()),
    ]
}

/// (type, value) that the column can't keep exactly.
fn refused(engine: Engine) -> Vec<(&'static str, Value)> {
    match engine {
        Engine::Postgres => vec![
            ("smallint", n(32_768)),
            ("bigint", Value::U64(u64::MAX)),
            ("numeric(12,2)", decimal("1.005")),
            ("numeric(4,2)", decimal("100.00")),
            ("real", Value::F64(0.1)),
            ("varchar(3)", t("four")),
            ("varchar(3)", t("abc ")),
            ("char(3)", t("abc ")),
            ("text", t("nul \0 inside")),
            ("timestamp(3)", Value::Timestamp(INSTANT)),
            ("time", Value::Duration(-1)),
            ("jsonb", json("{broken")),
            ("jsonb", json("\"\\u0000\"")),
            ("bit(10)", Value::Bits(vec![0x01, 0xff])),
            ("varbit(12)[]", Value::Array(vec![Value::Bits(vec![0x01, 0xff])])),
            ("mood", t("happy")),
            ("integer[]", Value::Array(vec![t("x")])),
            ("positive", n(-1)),
            ("date", t("2024-01-01")),
        ],
        _ => vec![
            ("bigint", Value::U64(u64::MAX)),
            ("decimal(30,2)", decimal("12345678901234567890.10")),
            ("double", Value::F64(f64::NAN)),
        ],
    }
}

async fn hostile_values_arrive_exactly_or_are_refused(target: &mut Target) {
    let values = match target.engine {
        Engine::Postgres => postgres_values(),
        Engine::Sqlite => sqlite_values(),
        // tests/real_servers/mysql_session/values.rs
        Engine::MySql | Engine::MariaDb => return,
    };
    if target.engine == Engine::Postgres {
        target
            .run(&[
                "CREATE TYPE mood AS ENUM ('sad', 'so \"so\"')",
                "CREATE DOMAIN positive AS integer CHECK (VALUE > 0)",
            ])
            .await;
    }
    let columns: Vec<String> = values.iter().enumerate().map(|(at, (kind, ..))| format!("c{at} {kind}")).collect();
    target.run(&[&format!("CREATE TABLE things (id bigint PRIMARY KEY, {})", columns.join(", "))]).await;
    let names: Vec<String> = (0..values.len()).map(|at| format!("c{at}")).collect();
    let all: Vec<&str> = std::iter::once("id").chain(names.iter().map(String::as_str)).collect();
    let tables = vec![target.table(0, "things", &all, &["id"]).await];
    let mut writer = target.writer(&tables);
    let mut claims = [claim(&mut writer, "t", 0, 1).await];
    let row =
        |id: i64| std::iter::once(n(id)).chain(values.iter().map(|(_, value, _)| value.clone())).collect::<Vec<_>>();
    let nulls: Vec<Value> = std::iter::once(n(2)).chain(values.iter().map(|_| Value::Null)).collect();
    let batch = Builder::new(&claims, &tables).upsert(0, &row(1)).upsert(0, &nulls).upsert(0, &row(3)).finish();
    let applied = apply(&mut writer, &mut claims, &batch).await;
    assert_eq!((applied.outcomes[0].1.applied, applied.slow_path), (3, false), "{applied:?}");
    for (at, (kind, _, expected)) in values.iter().enumerate() {
        let shown = if target.engine == Engine::Postgres { format!("c{at}::text") } else { format!("c{at}") };
        let found = target.rows(&format!("SELECT {shown} FROM things ORDER BY id")).await;
        assert_eq!(found, [expected.as_str(), "∅", expected], "{kind}");
    }
    // Exactly equal again, so nothing is written; and one differing column is seen for every type.
    let batch = Builder::new(&claims, &tables).upsert(0, &row(1)).upsert(0, &nulls).finish();
    let applied = apply(&mut writer, &mut claims, &batch).await;
    assert_eq!(applied.outcomes[0].1.unchanged, 2, "{applied:?}");
}

async fn what_a_column_would_round_or_cut_is_dead_and_its_row_unwritten(target: &mut Target) {
    if matches!(target.engine, Engine::MySql | Engine::MariaDb) {
        return;
    }
    if target.engine == Engine::Postgres {
        target.run(&["CREATE TYPE mood AS ENUM ('sad')", "CREATE DOMAIN positive AS integer CHECK (VALUE > 0)"]).await;
    }
    for (number, (kind, value)) in refused(target.engine).into_iter().enumerate() {
        let name = format!("t{number}");
        target.run(&[&format!("CREATE TABLE {name} (id bigint PRIMARY KEY, v {kind})")]).await;
        let tables = vec![target.table(0, &name, &["id", "v"], &["id"]).await];
        let mut writer = target.writer(&tables);
        let mut claims = [claim(&mut writer, &name, 0, 1).await];
        let batch =
            Builder::new(&claims, &tables).upsert(0, &[n(1), Value::Null]).upsert(0, &[n(2), value.clone()]).finish();
        let applied = apply(&mut writer, &mut claims, &batch).await;
        assert_eq!((applied.outcomes[0].1.applied, applied.outcomes[0].1.dead), (1, 1), "{kind} {value:?}");
        assert_eq!(target.rows(&format!("SELECT id FROM {name}")).await, ["1"], "{kind} {value:?}");
        assert_eq!(writer.held_counts(&claims).await.unwrap().dead, 1);
    }
}

/// Values that compare equal and are not the same: the later one must be written (P6).
async fn values_that_only_seem_equal_are_written(target: &mut Target) {
    let cases: Vec<(&str, Value, Value, &str)> = match target.engine {
        Engine::Postgres => vec![
            ("numeric", decimal("1.0"), decimal("1.00"), "1.00"),
            ("double precision", Value::F64(0.0), Value::F64(-0.0), "-0"),
            ("json", json("{\"a\":1}"), json("{\"a\": 1}"), "{\"a\": 1}"),
            ("jsonb", json("[1.0]"), json("[1.00]"), "[1.00]"),
            (
                "interval",
                Value::Interval { months: 1, days: 0, microseconds: 0 },
                Value::Interval { months: 0, days: 30, microseconds: 0 },
                "P30D",
            ),
            ("text", t("a"), t("a "), "a "),
            ("text COLLATE folded", t("a"), t("A"), "A"),
            ("text", Value::Null, t(""), ""),
        ],
        Engine::Sqlite => vec![("text COLLATE NOCASE", t("a"), t("A"), "A"), ("text", Value::Null, t(""), "")],
        Engine::MySql | Engine::MariaDb => return,
    };
    if target.engine == Engine::Postgres {
        target
            .run(&["CREATE COLLATION folded (provider = icu, locale = 'und-u-ks-level2', deterministic = false)"])
            .await;
    }
    for (number, (kind, before, after, expected)) in cases.into_iter().enumerate() {
        let name = format!("t{number}");
        target.run(&[&format!("CREATE TABLE {name} (id bigint PRIMARY KEY, v {kind}, w integer)")]).await;
        let tables = vec![target.table(0, &name, &["id", "v", "w"], &["id"]).await];
        let mut writer = target.writer(&tables);
        let mut claims = [claim(&mut writer, &name, 0, 1).await];
        for id in [1, 2] {
            let batch = Builder::new(&claims, &tables).upsert(0, &[n(id), before.clone(), n(1)]).finish();
            apply(&mut writer, &mut claims, &batch).await;
        }
        // By the upsert, and by the update of a partial row.
        let batch = Builder::new(&claims, &tables)
            .upsert(0, &[n(1), after.clone(), n(1)])
            .upsert(0, &[n(2), after, Value::Unavailable])
            .finish();
        apply(&mut writer, &mut claims, &batch).await;
        let shown = if target.engine == Engine::Postgres { "v::text" } else { "v" };
        assert_eq!(target.rows(&format!("SELECT {shown} FROM {name}")).await, [expected; 2], "{kind}");
    }
}

conformance!(
    hostile_values_arrive_exactly_or_are_refused,
    what_a_column_would_round_or_cut_is_dead_and_its_row_unwritten,
    values_that_only_seem_equal_are_written,
);
