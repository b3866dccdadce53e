//! JSON, with schema and without, against the same records in Avro.

mod support;

use base64::Engine as _;
use serde_json::json;
use support::connect::document;
use support::{Bench, Sample, Samples};
use tidelock_avro::{
    DecoderOptions, Format, JsonDecimals, JsonOptions, JsonUnit, SchemaCache, TopicOptions, TopicShape,
};
use topology::data::{Column, Kind, Layout, Value};
use topology::raw::{Decoded, Ignored};
use topology::record::{Operation, Position, Record};

fn bench(options: TopicOptions) -> Bench {
    let options = TopicOptions { name: "t".to_owned(), ..options };
    Bench::with(DecoderOptions { topics: vec![options], ..DecoderOptions::default() }, SchemaCache::default())
}

fn record(key: Option<&str>, value: Option<&str>) -> Sample {
    let bytes = |text: &str| text.as_bytes().to_vec();
    Sample { key: key.map(bytes), value: value.map(bytes), ..Sample::default() }
}

/// The record as the JSON converter writes it, with schemas.
fn with_schema(samples: &Samples, sample: &Sample) -> Sample {
    let wrap = |bytes: &Vec<u8>| {
        let (schema, payload) = document(&samples.schemas, bytes);
        // By hand: serde_json orders members by name, the converter puts the schema first.
        format!("{{\"schema\":{schema},\"payload\":{payload}}}").into_bytes()
    };
    Sample { key: sample.key.as_ref().map(wrap), value: sample.value.as_ref().map(wrap), ..sample.clone() }
}

fn assert_same(avro: &Bench, left: &Record, json: &Bench, right: &Record) {
    assert_eq!(left.operation, right.operation);
    assert_eq!(left.source.identity, right.source.identity);
    assert_eq!(left.source.position, right.source.position);
    assert_eq!(left.source.committed_at_us, right.source.committed_at_us);
    assert_eq!(left.source.snapshot, right.source.snapshot);
    let text = |bench: &Bench, span: Option<_>| span.map(|span| bench.arena.text(span).to_owned());
    assert_eq!(text(avro, left.source.gtid), text(json, right.source.gtid));
    assert_eq!(text(avro, left.source.origin), text(json, right.source.origin));
    assert_eq!(avro.key(left.key), json.key(right.key));
    for (a, b) in [(left.after, right.after), (left.before, right.before)] {
        let row = |bench: &Bench, record: &Record, range: Option<_>| range.map(|range| bench.row(record.layout, range));
        assert_eq!(row(avro, left, a), row(json, right, b));
    }
    for (a, b) in [(left.new_key, right.new_key), (left.old_key, right.old_key)] {
        assert_eq!(a.map(|range| avro.key(range)), b.map(|range| json.key(range)));
    }
    let kinds = |bench: &Bench, record: &Record| {
        let columns = &bench.layouts.get(record.layout).columns;
        columns
            .iter()
            .map(|column| (column.name.to_string(), column.kind.clone()))
            .collect::<std::collections::HashMap<_, _>>()
    };
    assert_eq!(kinds(avro, left), kinds(json, right));
}

#[test]
fn json_with_schema_gives_the_same_rows_as_avro() {
    for file in ["mysql.txt", "postgres.txt", "mariadb.txt"] {
        let samples = Samples::load(file);
        let (mut avro, mut json) = (samples.decoder(), bench(TopicOptions::default()));
        let mut compared = 0;
        for sample in &samples.records {
            let converted = with_schema(&samples, sample);
            match (avro.decode(sample), json.decode(&converted)) {
                (Ok(Decoded::Change(left)), Ok(Decoded::Change(right))) => {
                    assert_same(&avro, &left, &json, &right);
                    compared += 1;
                }
                (Ok(Decoded::Ignored(left)), Ok(Decoded::Ignored(right))) => assert_eq!(left, right),
                // Infinity: refused by both.
                (Err(_), Err(_)) => {}
                (left, right) => panic!("{left:?} {right:?}"),
            }
        }
        assert!(compared >= 4, "{file}");
    }
}

#[test]
fn the_layout_of_an_embedded_schema_is_made_once() {
    let samples = Samples::load("mysql.txt");
    let mut json = bench(TopicOptions::default());
    let convert = |offset| with_schema(&samples, samples.at("my1.shop.item", offset));
    let first = json.change(&convert(0));
    // A null schema and another spelling of the document in between must not disturb what is known.
    assert!(matches!(
        json.decode(&record(None, Some(r#"{"schema":null,"payload":null}"#))),
        Ok(Decoded::Ignored(Ignored::Tombstone))
    ));
    let spaced = {
        let sample = convert(3);
        let text = String::from_utf8(sample.value.clone().unwrap()).unwrap();
        Sample { value: Some(text.replacen("{\"schema\":", " { \"schema\" : ", 1).into_bytes()), ..sample }
    };
    assert_eq!(json.change(&spaced).layout, first.layout);
    assert_eq!(json.change(&convert(4)).layout, first.layout);
    assert_eq!(json.change(&convert(4)).key_layout, first.key_layout);
}

fn declared() -> Layout {
    let column = |name: &str, kind| Column { name: name.into(), kind, nullable: true };
    Layout {
        columns: vec![
            column("id", Kind::Int { bits: 64, unsigned: false }),
            column("big", Kind::Int { bits: 64, unsigned: true }),
            column("price", Kind::Decimal { precision: Some(10), scale: Some(2) }),
            column("free", Kind::Decimal { precision: None, scale: None }),
            column("day", Kind::Date),
            column("short", Kind::Timestamp { precision: 3 }),
            column("long", Kind::Timestamp { precision: 6 }),
            column("instant", Kind::TimestampTz { precision: 6 }),
            column("clock", Kind::Duration { precision: 0 }),
            column("photo", Kind::Bytes { bytes_max: None, fixed: false }),
            column("bits", Kind::Bits { length: Some(5), varying: false }),
            column("uuid", Kind::Uuid),
            column("doc", Kind::Json),
            column("name", Kind::Text { characters_max: None, fixed: false }),
            column("flag", Kind::Int { bits: 8, unsigned: false }),
            column("list", Kind::Array(Box::new(Kind::Int { bits: 32, unsigned: false }))),
            column("toasted", Kind::Text { characters_max: None, fixed: false }),
            column("absent", Kind::Text { characters_max: None, fixed: false }),
        ],
    }
}

const ROW: &str = r#"{"id":9223372036854775807,"big":-1,"price":"MDk=","free":{"scale":3,"value":"BNI="},"day":-719162,
    "short":1709251199123,"long":1709251199123456,"instant":"2024-02-29T21:59:59.123456Z","clock":-3020398000001,
    "photo":"AP8Q","bits":"FQ==","uuid":"00112233-4455-6677-8899-aabbccddeeff","doc":"{\"a\": 1.50}","name":"Gr\u00fc\u00dfe",
    "flag":true,"list":[1,null,3],"toasted":"__debezium_unavailable_value","unknown":{"x":[1]}}"#;

const SOURCE: &str = r#"{"connector":"postgresql","name":"pg1","ts_ms":5,"snapshot":"false","sequence":"[\"12\",\"34\"]","lsn":34,"origin":"twoway"}"#;

#[test]
fn json_without_schema_takes_its_kinds_from_the_settings() {
    let mut bench = bench(TopicOptions { columns: Some(declared()), ..TopicOptions::default() });
    let value = format!("{{\"before\":null,\"after\":{ROW},\"source\":{SOURCE},\"op\":\"u\",\"ts_ms\":1}}");
    let decoded = bench.change(&record(Some(r#"{"id":7}"#), Some(&value)));
    assert_eq!(decoded.operation, Operation::Update);
    assert_eq!(decoded.source.position, Some(Position(12, 34, 0)));
    assert_eq!(bench.text(decoded.source.origin), "twoway");
    assert_eq!(bench.key(decoded.key), [Value::I64(7)]);
    let decimal = |text| Value::decimal(text).unwrap();
    let expected = vec![
        Value::I64(i64::MAX),
        Value::U64(u64::MAX),
        decimal("123.45"),
        decimal("1.234"),
        Value::Date(-719_162),
        Value::Timestamp(1_709_251_199_123_000),
        Value::Timestamp(1_709_251_199_123_456),
        Value::TimestampTz(1_709_243_999_123_456),
        Value::Duration(-3_020_398_000_001),
        Value::Bytes(vec![0, 0xff, 0x10]),
        Value::Bits(vec![0x15]),
        Value::Uuid(support::unhex("00112233445566778899aabbccddeeff").try_into().unwrap()),
        Value::Json("{\"a\": 1.50}".to_owned()),
        "Grüße".into(),
        Value::Bool(true),
        Value::Array(vec![Value::I64(1), Value::Null, Value::I64(3)]),
        Value::Unavailable,
        Value::Unavailable,
    ];
    assert_eq!(bench.arena.values(decoded.after.unwrap()), expected);
}

#[test]
fn numbers_without_schema_keep_every_digit() {
    let mut bench = bench(TopicOptions { shape: TopicShape::Rows, ..TopicOptions::default() });
    let row = r#"{"id":18446744073709551615,"price":0.10,"wide":123456789012345678901234567890.5,"big":1e3,"x":-7,"ok":false,"o":{"a":[1.0]},"s":"é","n":null}"#;
    let decoded = bench.change(&record(Some("5"), Some(row)));
    let decimal = |text| Value::decimal(text).unwrap();
    assert_eq!(
        bench.arena.values(decoded.after.unwrap()),
        [
            decimal("18446744073709551615"),
            decimal("0.10"),
            decimal("123456789012345678901234567890.5"),
            decimal("1e3"),
            Value::I64(-7),
            Value::Bool(false),
            Value::Json(r#"{"a":[1.0]}"#.to_owned()),
            "é".into(),
            Value::Null,
        ]
    );
    assert_eq!(bench.key(decoded.key), [Value::I64(5)]);
    assert_eq!(decoded.operation, Operation::Create);
    // What no longer agrees becomes JSON text; strings keep their quotes there.
    let decoded = bench.change(&record(Some("5"), Some(r#"{"id":1,"x":"seven"}"#)));
    let row = bench.after(&decoded);
    assert_eq!((&row["id"], &row["x"]), (&decimal("1"), &Value::Json("\"seven\"".to_owned())));
    assert_eq!(row["price"], Value::Unavailable, "absent is not null");
}

/// Topics hold messages of Debezium's own beside rows; a table may have columns of their names.
#[test]
fn rows_whose_columns_are_named_like_messages_are_rows() {
    let column = |name: &str| Column { name: name.into(), kind: Kind::Json, nullable: true };
    for names in [
        &["status", "event_count", "ts_ms", "id"][..],
        &["aggregate_type", "additional_data", "id"],
        &["databaseName", "ddl", "source"],
        &["ts_ms"],
    ] {
        let member = |name: &&str| format!("\"{name}\":1");
        let row = format!("{{{}}}", names.iter().map(member).collect::<Vec<_>>().join(","));
        // by the table's columns,
        let layout = Layout { columns: names.iter().map(|name| column(name)).collect() };
        let mut declared = bench(TopicOptions { columns: Some(layout), ..TopicOptions::default() });
        assert!(declared.change(&record(Some("5"), Some(&row))).after.is_some(), "{row}");
        // by what flattening adds, and by what came before.
        let mut learned = bench(TopicOptions::default());
        let flattened = row.replacen('{', "{\"__op\":\"c\",", 1);
        assert!(learned.change(&record(Some("5"), Some(&flattened))).after.is_some(), "{flattened}");
        assert!(learned.change(&record(Some("5"), Some(&row))).after.is_some(), "{row}");
    }
}

#[test]
fn settings_say_what_is_ambiguous() {
    let column = |name: &str, kind| Column { name: name.into(), kind, nullable: true };
    let layout = Layout {
        columns: vec![
            column("price", Kind::Decimal { precision: None, scale: None }),
            column("at", Kind::Timestamp { precision: 6 }),
            column("clock", Kind::Time { precision: 6 }),
        ],
    };
    let json =
        JsonOptions { decimals: JsonDecimals::Text, timestamps: JsonUnit::Milliseconds, times: JsonUnit::Nanoseconds };
    let mut bench = bench(TopicOptions {
        shape: TopicShape::Rows,
        value_format: Format::Json,
        columns: Some(layout),
        json,
        ..TopicOptions::default()
    });
    let decoded = bench.change(&record(None, Some(r#"{"price":"1234","at":5,"clock":7000}"#)));
    assert_eq!(
        bench.arena.values(decoded.after.unwrap()),
        [Value::decimal("1234").unwrap(), Value::Timestamp(5_000), Value::Duration(7)]
    );
    let error = bench.error(&record(None, Some(r#"{"clock":7001}"#)));
    assert!(error.contains("column \"clock\"") && error.contains("nanoseconds"), "{error}");
}

#[test]
fn an_unsigned_number_may_come_as_a_decimal() {
    let kind = Kind::Int { bits: 64, unsigned: true };
    let layout = Layout { columns: vec![Column { name: "id".into(), kind, nullable: false }] };
    let mut bench = bench(TopicOptions {
        shape: TopicShape::Rows,
        value_format: Format::Json,
        columns: Some(layout),
        ..TopicOptions::default()
    });
    for (value, expected) in [
        (r#""AP//////////""#, u64::MAX),
        (r#""Bw==""#, 7),
        (r#""AA==""#, 0),
        (r#""AIA=""#, 128),
        ("18446744073709551615", u64::MAX),
        // `mode=long` wraps.
        ("-1", u64::MAX),
    ] {
        let decoded = bench.change(&record(None, Some(&format!("{{\"id\":{value}}}"))));
        assert_eq!(bench.arena.values(decoded.after.unwrap()), [Value::U64(expected)], "{value}");
    }
    for value in [r#""gA==""#, r#""AQAAAAAAAAAA""#, r#""""#, r#""7""#] {
        bench.error(&record(None, Some(&format!("{{\"id\":{value}}}"))));
    }
}

#[test]
fn flattened_records_know_their_operation_and_source() {
    let mut bench = bench(TopicOptions::default());
    let create = r#"{"id":1,"__op":"u","__deleted":"false","__source_ts_ms":5,"__source_connector":"mysql","__file":"b.000003","__pos":4,"__row":0}"#;
    let decoded = bench.change(&record(Some(r#"{"id":1}"#), Some(create)));
    assert_eq!(decoded.operation, Operation::Update);
    assert_eq!(decoded.source.position, Some(Position(3, 4, 0)));
    assert_eq!(decoded.source.committed_at_us, 5_000);
    assert_eq!(bench.after(&decoded).len(), 1);
    let deleted = bench.change(&record(Some(r#"{"id":1}"#), Some(r#"{"id":1,"__op":"d","__deleted":"true"}"#)));
    assert_eq!((deleted.operation, deleted.after), (Operation::Delete, None));
    assert!(deleted.before.is_some());
    // Rows were seen on the topic, so null deletes.
    let deleted = bench.change(&record(Some(r#"{"id":1}"#), None));
    assert_eq!((deleted.operation, deleted.before), (Operation::Delete, None));
}

#[test]
fn records_without_schema_are_classified_by_their_members() {
    let mut bench = bench(TopicOptions::default());
    for (value, expected) in [
        (r#"{"ts_ms":1}"#, Ignored::Heartbeat),
        (
            r#"{"status":"BEGIN","id":"1","event_count":null,"data_collections":null,"ts_ms":1}"#,
            Ignored::TransactionMarker,
        ),
        (r#"{"source":{},"ts_ms":1,"databaseName":"d","ddl":"x","tableChanges":[]}"#, Ignored::SchemaChange),
        (r#"{"id":"1","type":"t","aggregate_type":"a","additional_data":{},"timestamp":1}"#, Ignored::Control),
        (r#"{"before":null,"after":null,"source":{},"op":"m","message":{}}"#, Ignored::Control),
    ] {
        match bench.decode(&record(None, Some(value))) {
            Ok(Decoded::Ignored(ignored)) => assert_eq!(ignored, expected),
            other => panic!("{value}: {other:?}"),
        }
    }
}

#[test]
fn broken_documents_are_data_errors() {
    let placeholder = base64::engine::general_purpose::STANDARD.encode("x");
    let schema = json!({"type":"struct","name":"t.Envelope","fields":[{"field":"op","type":"string"},{"field":"after","type":"struct","fields":[{"field":"id","type":"int8"}],"optional":true}]});
    let wrap = |payload: &str| format!("{{\"schema\":{schema},\"payload\":{payload}}}");
    let cases = [
        ("{".to_owned(), "not valid JSON"),
        ("[1]".to_owned(), "not of the kind"),
        (wrap(r#"{"op":"c","after":{"id":128}}"#), "column \"id\""),
        (wrap(r#"{"op":"c","after":{"id":null}}"#), "forbids"),
        (wrap(r#"{"op":"x","after":null}"#), "operation letter"),
        (wrap(r#"{"after":null}"#), "missing"),
        (wrap(r#"{"op":"c","after":null}"#) + "x", "left over"),
        (format!("{{\"schema\":{{\"type\":\"nope\"}},\"payload\":{{\"a\":\"{placeholder}\"}}}}"), "embedded schema"),
    ];
    let mut bench = bench(TopicOptions::default());
    for (document, expected) in &cases {
        let error = bench.error(&record(None, Some(document)));
        assert!(error.contains(expected), "{document}: {error}");
    }
    assert_eq!(bench.arena.size_bytes(), 0);
}
