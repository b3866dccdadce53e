//! Records of real Debezium connectors against what they are known to hold.

mod support;

use support::{Bench, Samples};
use tidelock_avro::{DecoderOptions, TopicShape};
use topology::data::{Kind, Value};
use topology::raw::{DecodeError, Decoded, Ignored};
use topology::record::{Connector, Operation, Position};

const ITEM: &str = "my1.shop.item";
const PG_ITEM: &str = "pg1.shop.item";
const PG_ORD: &str = "pg1.shop.ord";

fn decimal(text: &str) -> Value {
    Value::decimal(text).unwrap()
}

#[test]
fn mysql_snapshot_row_keeps_every_value_exactly() {
    let samples = Samples::load("mysql.txt");
    let mut bench = samples.decoder();
    let record = bench.change(samples.at(ITEM, 0));
    assert_eq!(record.operation, Operation::Read);
    assert!(record.source.snapshot);
    assert_eq!(record.source.connector, Connector::MySql);
    assert_eq!(record.source.position, Some(Position(1, 5333, 0)));
    assert_eq!(record.source.committed_at_us, 1_795_245_090_000_000);
    assert!(record.source.gtid.is_none() && record.before.is_none());
    assert_eq!(bench.key(record.key), [decimal("1")]);
    let row = bench.after(&record);
    let expected: [(&str, Value); 21] = [
        ("id", decimal("1")),
        ("price", decimal("12345678901234.567890")),
        ("created", Value::Timestamp(1_709_251_199_123_456)),
        ("attrs", Value::Json("{\"a\": null, \"k\": [1, 2.5, \"ü\"]}".to_owned())),
        ("size", "m".into()),
        ("flags", "x,z".into()),
        ("bits", Value::Bits(vec![1, 2])),
        ("photo", Value::Bytes(vec![0, 0xff, 0x10])),
        ("big", decimal("18446744073709551615")),
        ("seen", Value::TimestampTz(1_704_067_200_125_000)),
        ("dur", Value::Duration(-3_020_398_000_001)),
        ("y", Value::I64(2024)),
        ("yes", Value::I64(1)),
        ("day", Value::Date(1)),
        ("f", Value::F32(1.5)),
        ("d", Value::F64(0.1)),
        ("name", "Grüße 🦀".into()),
        ("note", "n".into()),
        ("bin16", Value::Bytes(support::unhex("00112233445566778899aabbccddeeff"))),
        ("geo", "(1,2)".into()),
        ("m", Value::I64(16_777_215)),
    ];
    for (name, value) in &expected {
        assert_eq!(&row[*name], value, "{name}");
    }
    assert_eq!(row.len(), expected.len());
}

#[test]
fn mysql_layout_names_kinds() {
    let samples = Samples::load("mysql.txt");
    let mut bench = samples.decoder();
    let record = bench.change(samples.at(ITEM, 0));
    let layout = bench.layouts.get(record.layout);
    let column = |name: &str| &layout.columns[layout.position(name).unwrap()];
    assert_eq!(column("id").kind, Kind::Decimal { precision: Some(20), scale: Some(0) });
    assert!(!column("id").nullable && column("created").nullable);
    assert_eq!(column("created").kind, Kind::Timestamp { precision: 6 });
    assert_eq!(column("dur").kind, Kind::Duration { precision: 6 });
    assert_eq!(column("y").kind, Kind::Year);
    assert_eq!(column("yes").kind, Kind::Int { bits: 16, unsigned: false });
    assert_eq!(column("bits").kind, Kind::Bits { length: Some(10), varying: false });
    let labels = |text: &str| text.split(',').map(str::to_owned).collect();
    assert_eq!(column("size").kind, Kind::Enum(labels("s,m,l")));
    assert_eq!(column("flags").kind, Kind::Set(labels("x,y,z")));
    assert_eq!(bench.layouts.get(record.key_layout).columns.len(), 1);
}

#[test]
fn nulls_stay_null_where_the_schema_has_a_default() {
    let samples = Samples::load("mysql.txt");
    let mut bench = samples.decoder();
    let record = bench.change(samples.at(ITEM, 1));
    assert_eq!(bench.after(&record)["seen"], Value::Null);
    assert_eq!(bench.after(&record)["price"], Value::Null);
}

#[test]
fn mysql_insert_update_and_delete_carry_position_and_identity() {
    let samples = Samples::load("mysql.txt");
    let mut bench = samples.decoder();
    let insert = bench.change(samples.at(ITEM, 3));
    assert_eq!(insert.operation, Operation::Create);
    assert!(!insert.source.snapshot);
    assert_eq!(bench.text(insert.source.gtid), "7d5cbe67-e57a-11f1-ae6d-02fc00000001:60");
    assert_eq!(insert.source.server_id, 197);
    let update = bench.change(samples.at(ITEM, 4));
    assert_eq!(update.operation, Operation::Update);
    assert!(update.before.is_none(), "before is left alone unless asked for");
    assert_eq!(update.source.identity, insert.source.identity);
    assert!(update.source.position > insert.source.position);
    assert_eq!(update.layout, insert.layout);
    let delete = bench.change(samples.at(ITEM, 8));
    assert_eq!(delete.operation, Operation::Delete);
    assert!(delete.after.is_none() && delete.new_key.is_none());
    assert_eq!(bench.before(&delete)["price"], decimal("-0.000001"));
    let stored = delete.raw.value.map(|span| bench.arena.bytes(span).to_vec());
    assert_eq!(stored, samples.at(ITEM, 8).value);
}

#[test]
fn before_is_decoded_when_asked_for() {
    let samples = Samples::load("mysql.txt");
    let options = DecoderOptions { decode_before: true, ..DecoderOptions::default() };
    let mut bench = Bench::with(options, samples.schemas.clone());
    let update = bench.change(samples.at(ITEM, 4));
    assert_eq!(bench.before(&update)["id"], decimal("101"));
    assert_ne!(bench.before(&update), bench.after(&update));
}

#[test]
fn both_halves_of_a_key_change_know_the_other_key() {
    let samples = Samples::load("mysql.txt");
    let mut bench = samples.decoder();
    let delete = bench.change(samples.at(ITEM, 5));
    assert_eq!(delete.operation, Operation::Delete);
    assert_eq!(bench.key(delete.key), [decimal("101")]);
    assert_eq!(bench.key(delete.new_key.unwrap()), [decimal("102")]);
    assert!(delete.old_key.is_none());
    let create = bench.change(samples.at(ITEM, 7));
    assert_eq!(bench.key(create.key), [decimal("102")]);
    assert_eq!(bench.key(create.old_key.unwrap()), [decimal("101")]);
    assert_eq!(
        bench.arena.compare_rows(create.old_key.unwrap(), delete.key),
        std::cmp::Ordering::Equal,
        "keys of headers and of records compare equal"
    );
}

#[test]
fn tombstones_of_envelope_topics_are_ignored_also_when_they_come_first() {
    let samples = Samples::load("mysql.txt");
    for shape in [TopicShape::Auto, TopicShape::Envelope] {
        let mut bench = Bench::new(samples.schemas.clone(), shape);
        let decoded = bench.decode(samples.at(ITEM, 6));
        assert!(matches!(decoded, Ok(Decoded::Ignored(Ignored::Tombstone))));
    }
}

#[test]
fn null_values_of_row_topics_delete_by_key() {
    let samples = Samples::load("mysql.txt");
    let mut bench = Bench::new(samples.schemas.clone(), TopicShape::Rows);
    let delete = bench.change(samples.at(ITEM, 6));
    assert_eq!(delete.operation, Operation::Delete);
    assert!(delete.before.is_none() && delete.after.is_none());
    assert_eq!(bench.key(delete.key), [decimal("101")]);
}

#[test]
fn postgres_update_marks_the_toasted_column_unavailable() {
    let samples = Samples::load("postgres.txt");
    let mut bench = samples.decoder();
    let record = bench.change(samples.at(PG_ITEM, 5));
    assert_eq!(record.operation, Operation::Update);
    assert_eq!(record.source.connector, Connector::Postgres);
    assert_eq!(
        record.source.position,
        Some(Position(30_171_264, 30_171_264, 0)),
        "a null in sequence falls back to lsn"
    );
    assert_eq!(record.source.transaction_id, Some(794));
    let row = bench.after(&record);
    let expected: [(&str, Value); 26] = [
        ("id", Value::I64(1)),
        ("n", decimal("2")),
        ("n2", decimal("12345678901234.567890")),
        ("ts", Value::TimestampTz(1_709_243_999_123_456)),
        ("tsn", Value::Timestamp(1_709_251_199_123_456)),
        ("u", Value::Uuid(support::unhex("00112233445566778899aabbccddeeff").try_into().unwrap())),
        ("j", Value::Json("{\"a\": null, \"k\": [1, 2.50, \"ü\"]}".to_owned())),
        ("js", Value::Json("{\"k\":1.0, \"k\":2}".to_owned())),
        ("tags", Value::Array(vec!["a".into(), "b c".into(), Value::Null])),
        ("ints", Value::Array(vec![Value::I64(1), Value::I64(2)])),
        ("big", Value::Unavailable),
        ("b", Value::Bytes(vec![0, 0xff, 0x10])),
        ("d", Value::Date(-719_162)),
        ("t", Value::Duration(86_399_999_999)),
        ("tz", Value::TimeTz(79_199_000_000)),
        ("iv", Value::Duration(37_091_106_700_000)),
        ("bo", Value::Bool(true)),
        ("inet", "10.0.0.1/8".into()),
        ("mon", decimal("12.34")),
        ("e", "e".into()),
        ("r", "[1,5)".into()),
        ("x", "<a/>".into()),
        ("bitv", Value::Bits(vec![0x15])),
        ("f", Value::F32(1.5)),
        ("dbl", Value::F64(0.1)),
        ("h", "ab ".into()),
    ];
    for (name, value) in &expected {
        assert_eq!(&row[*name], value, "{name}");
    }
    assert_eq!(row.len(), expected.len());
}

#[test]
fn infinity_is_a_data_error_that_names_the_column() {
    let samples = Samples::load("postgres.txt");
    let mut bench = samples.decoder();
    let error = bench.error(samples.at(PG_ITEM, 1));
    assert!(error.contains("column \"ts\"") && error.contains("infinity"), "{error}");
}

#[test]
fn postgres_key_change_delete_and_origin() {
    let samples = Samples::load("postgres.txt");
    let mut bench = samples.decoder();
    let delete = bench.change(samples.at(PG_ORD, 2));
    assert_eq!(bench.key(delete.new_key.unwrap()), [Value::I64(1), "y".into()]);
    assert_eq!(delete.source.position, Some(Position(30_191_560, 30_191_560, 0)));
    let create = bench.change(samples.at(PG_ORD, 4));
    assert_eq!(bench.key(create.old_key.unwrap()), [Value::I64(1), "x".into()]);
    assert!(create.source.origin.is_none());
    let foreign: Vec<_> = samples.records.iter().filter(|sample| sample.topic == PG_ORD && sample.offset > 6).collect();
    let origins: Vec<String> = foreign
        .iter()
        .map(|sample| {
            let record = bench.change(sample);
            bench.text(record.source.origin).to_owned()
        })
        .collect();
    assert_eq!(origins, ["twoway", "sync_1"]);
}

#[test]
fn mariadb_server_ids_are_different_identities() {
    let samples = Samples::load("mariadb.txt");
    let mut bench = samples.decoder();
    let records: Vec<_> = samples.records.iter().map(|sample| bench.change(sample)).collect();
    assert_eq!(records.iter().map(|record| record.source.server_id).collect::<Vec<_>>(), [0, 107, 777, 777, 777]);
    assert!(records.iter().all(|record| record.source.connector == Connector::MariaDb));
    assert_ne!(records[1].source.identity, records[2].source.identity);
    assert_eq!(records[2].source.identity, records[3].source.identity);
    assert_eq!(bench.text(records[3].source.gtid), "42-777-100003");
}

#[test]
fn heartbeats_transactions_and_schema_changes_are_no_changes() {
    let samples = Samples::load("control.txt");
    let mut bench = samples.decoder();
    for sample in &samples.records {
        let expected = match sample.topic.as_str() {
            "__debezium-heartbeat.my1" => Ignored::Heartbeat,
            "my1.transaction" => Ignored::TransactionMarker,
            _ => Ignored::SchemaChange,
        };
        match bench.decode(sample) {
            Ok(Decoded::Ignored(ignored)) => assert_eq!(ignored, expected),
            other => panic!("ignored, not {other:?}"),
        }
    }
    assert_eq!(bench.arena.size_bytes(), 0, "what is ignored leaves nothing behind");
}

#[test]
fn a_missing_schema_is_asked_for_and_then_found() {
    let samples = Samples::load("mysql.txt");
    let (_, text) = samples.schemas.remove(&3).unwrap();
    let mut bench = samples.decoder();
    let sample = samples.at(ITEM, 0);
    assert!(matches!(bench.decode(sample), Err(DecodeError::SchemaNeeded(3))));
    assert_eq!(bench.arena.size_bytes(), 0);
    samples.schemas.insert(3, text);
    bench.change(sample);
}

#[test]
fn frames_without_schema_id_and_left_over_bytes_are_data_errors() {
    let samples = Samples::load("mysql.txt");
    let mut bench = samples.decoder();
    let mut sample = samples.at(ITEM, 0).clone();
    sample.value.as_mut().unwrap().push(0);
    assert!(bench.error(&sample).contains("left over"));
    sample.value = Some(vec![0, 0, 0]);
    assert!(bench.error(&sample).contains("no schema id"));
}
