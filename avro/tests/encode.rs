//! What the encoder writes, apache-avro and our decoder both read back exactly.

mod support;

use std::sync::Arc;

use support::Bench;
use tidelock_avro::{Event, SchemaCache, SchemaText, SourceBlock, TopicEncoder, TopicShape, TopicSource};
use topology::data::{Column, Kind, Layout, Value};
use topology::record::{Connector, Operation, Position, Record};

fn column(name: &str, kind: Kind) -> Column {
    Column { name: name.into(), kind, nullable: name != "id" }
}

/// Columns of every kind, and a row for them.
fn everything() -> (Layout, Vec<Value>) {
    let labels = |text: &str| text.split(',').map(str::to_owned).collect();
    let text = Kind::Text { characters_max: None, fixed: false };
    let int = |bits, unsigned| Kind::Int { bits, unsigned };
    let decimal = |text| Value::decimal(text).unwrap();
    let pairs: Vec<(&str, Kind, Value)> = vec![
        ("id", int(64, false), Value::I64(i64::MIN)),
        ("bool", Kind::Bool, Value::Bool(true)),
        ("tiny", int(8, false), Value::I64(-128)),
        ("small unsigned", int(16, true), Value::I64(65_535)),
        ("int unsigned", int(32, true), Value::I64(4_294_967_295)),
        ("big unsigned", int(64, true), Value::U64(u64::MAX)),
        ("float", Kind::Float32, Value::F32(0.1)),
        ("double", Kind::Float64, Value::F64(-1e300)),
        ("price", Kind::Decimal { precision: Some(20), scale: Some(2) }, decimal("-99999999999999999.99")),
        (
            "numeric",
            Kind::Decimal { precision: None, scale: None },
            decimal("1.00000000000000000000000000000000000000001"),
        ),
        ("numeric2", Kind::Decimal { precision: None, scale: None }, decimal("5")),
        ("text", text.clone(), "Grüße 🦀".into()),
        ("bytes", Kind::Bytes { bytes_max: None, fixed: false }, Value::Bytes(vec![0, 255])),
        ("date", Kind::Date, Value::Date(-719_162)),
        ("duration", Kind::Duration { precision: 6 }, Value::Duration(-3_020_399_000_001)),
        ("time with zone", Kind::TimeTz { precision: 6 }, Value::TimeTz(79_199_000_001)),
        ("seconds", Kind::Timestamp { precision: 0 }, Value::Timestamp(-1_000_000)),
        ("micros", Kind::Timestamp { precision: 6 }, Value::Timestamp(1_709_251_199_123_456)),
        ("instant", Kind::TimestampTz { precision: 6 }, Value::TimestampTz(-1)),
        ("interval", Kind::Interval, Value::Interval { months: -14, days: 3, microseconds: -500_000 }),
        ("year", Kind::Year, Value::I64(2155)),
        ("uuid", Kind::Uuid, Value::Uuid(*b"0123456789abcdef")),
        ("json", Kind::Json, Value::Json("{\"a\": 1.50}".to_owned())),
        ("bits", Kind::Bits { length: Some(10), varying: false }, Value::Bits(vec![1, 2])),
        ("enum", Kind::Enum(labels("s,m,l")), "m".into()),
        ("set", Kind::Set(labels("x,y,z")), "x,z".into()),
        ("list", Kind::Array(Box::new(text)), Value::Array(vec!["a".into(), Value::Null])),
        ("empty list", Kind::Array(Box::new(int(32, false))), Value::Array(vec![])),
        ("toasted", Kind::Text { characters_max: None, fixed: false }, Value::Unavailable),
    ];
    let columns = pairs.iter().map(|(name, kind, _)| column(name, kind.clone())).collect();
    (Layout { columns }, pairs.into_iter().map(|(_, _, value)| value).collect())
}

fn cached(encoder: &mut TopicEncoder) -> SchemaCache {
    let cache = SchemaCache::default();
    cache.insert(11, Arc::new(SchemaText::new(encoder.key_schema().unwrap())));
    cache.insert(12, Arc::new(SchemaText::new(encoder.value_schema())));
    encoder.set_ids(11, 12);
    cache
}

fn round(source: TopicSource, event: &Event<'_>, layout: &Layout) -> (Bench, Record) {
    let mut encoder = TopicEncoder::new("p.shop-1.item", source, layout, &[0]).unwrap();
    let cache = cached(&mut encoder);
    // apache-avro accepts the schemas and reads the bytes.
    let schema = apache_avro::Schema::parse_str(&encoder.value_schema()).unwrap();
    let (mut key, mut value) = (Vec::new(), Vec::new());
    encoder.encode_key(event.after.or(event.before).unwrap(), &mut key).unwrap();
    encoder.encode_value(event, &mut value).unwrap();
    let mut rest = &value[5..];
    let reader = apache_avro::reader::datum::GenericDatumReader::builder(&schema).build().unwrap();
    reader.read_value(&mut rest).unwrap();
    assert!(rest.is_empty());
    let mut bench = Bench::new(cache, TopicShape::Auto);
    let decoded = bench.decode_bytes(Some(&key), Some(&value), &[], 0);
    match decoded {
        Ok(topology::raw::Decoded::Change(record)) => (bench, record),
        other => panic!("a change, not {other:?}"),
    }
}

#[test]
fn every_kind_comes_back_as_it_went_in() {
    let (layout, row) = everything();
    let event = Event {
        operation: Operation::Update,
        before: None,
        after: Some(&row),
        snapshot: None,
        committed_at_us: 1_795_245_686_199_123,
        source: SourceBlock::Tidelock { change_id: 7, tag: Some("legacy") },
    };
    let source = TopicSource::Tidelock { name: "p".into(), db: "shop-1".into(), table: "item".into() };
    let (bench, record) = round(source, &event, &layout);
    let decoded = bench.layouts.get(record.layout);
    for (index, column) in layout.columns.iter().enumerate() {
        assert_eq!(decoded.columns[index].name, column.name, "names survive Avro's alphabet");
        assert_eq!(bench.arena.values(record.after.unwrap())[index], row[index], "{}", column.name);
    }
    assert_eq!(bench.key(record.key), [Value::I64(i64::MIN)]);
    assert_eq!(record.operation, Operation::Update);
    assert_eq!(record.source.connector, Connector::Tidelock);
    assert_eq!(record.source.position, Some(Position(7, 0, 0)));
    assert_eq!(record.source.committed_at_us, event.committed_at_us);
    assert_eq!(bench.text(record.source.origin), "legacy");
}

#[test]
fn the_binlog_block_comes_back() {
    let (layout, row) = everything();
    let event = Event {
        operation: Operation::Delete,
        before: Some(&row),
        after: None,
        snapshot: Some("last"),
        committed_at_us: 1_000,
        source: SourceBlock::Binlog { server_id: 5, gtid: Some("uuid:9"), file: "binlog.000010", position: 44, row: 2 },
    };
    let source = TopicSource::MySql { name: "p".into(), db: "shop".into(), table: "item".into() };
    let (bench, record) = round(source, &event, &layout);
    assert_eq!(record.source.position, Some(Position(10, 44, 2)));
    assert_eq!((record.source.server_id, record.source.snapshot), (5, true));
    assert_eq!(bench.text(record.source.gtid), "uuid:9");
    assert_eq!(bench.arena.values(record.before.unwrap()), row);
}

#[test]
fn the_wal_block_comes_back() {
    let (layout, row) = everything();
    let event = Event {
        operation: Operation::Create,
        before: None,
        after: Some(&row),
        snapshot: None,
        committed_at_us: 1,
        source: SourceBlock::Wal { transaction_id: Some(3), commit_lsn: Some(70), lsn: 80, origin: Some("twoway") },
    };
    let source =
        TopicSource::Postgres { name: "p".into(), db: "app".into(), schema: "public".into(), table: "item".into() };
    let (bench, record) = round(source, &event, &layout);
    assert_eq!(record.source.position, Some(Position(70, 80, 0)));
    assert_eq!(bench.text(record.source.origin), "twoway");
}

#[test]
fn a_value_that_does_not_fit_names_its_column() {
    let layout = Layout { columns: vec![column("id", Kind::Int { bits: 8, unsigned: false })] };
    let source = TopicSource::Tidelock { name: "p".into(), db: "d".into(), table: "t".into() };
    let encoder = TopicEncoder::new("p.d.t", source.clone(), &layout, &[0]).unwrap();
    for value in [Value::I64(128), Value::Null, "1".into()] {
        let error = encoder.encode_key(&[value], &mut Vec::new()).unwrap_err();
        assert!(error.to_string().contains("column \"id\""), "{error}");
    }
    assert!(TopicEncoder::new("p.d.t", source, &layout, &[1]).is_err());
}
