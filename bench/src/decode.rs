//! Decoding alone, on one core: our decoder against apache-avro on the same events, reported as a ratio of one run.
//!
//! The events are Debezium-for-MySQL envelopes of a table with 15 columns, all distinct. What is not measured: Kafka, the lens.

use std::hint::black_box;
use std::sync::Arc;
use std::time::Instant;

use apache_avro::reader::datum::GenericDatumReader;
use avro::{
    DecoderOptions, EnvelopeDecoder, Event, SchemaCache, SchemaText, SourceBlock, TopicEncoder, TopicOptions,
    TopicShape, TopicSource,
};
use topology::data::{Arena, Column, Kind, Layout, Layouts, Value};
use topology::raw::{Decode, Decoded, RawRecord};
use topology::record::Operation;

/// Records per batch: the arena is cleared after as many, as a lane does after a commit.
const BATCH: usize = 1_000;

/// Rounds of which the median counts.
const ROUNDS: usize = 7;

fn layout() -> Layout {
    let text = || Kind::Text { characters_max: None, fixed: false };
    let int = |bits| Kind::Int { bits, unsigned: false };
    let labels: Arc<[String]> = ["new", "paid", "sent"].iter().map(|label| (*label).to_owned()).collect();
    let columns = [
        ("id", int(64)),
        ("customer_id", int(64)),
        ("number", text()),
        ("status", Kind::Enum(labels)),
        ("total", Kind::Decimal { precision: Some(12), scale: Some(2) }),
        ("tax", Kind::Decimal { precision: Some(12), scale: Some(2) }),
        ("items", int(32)),
        ("weight", Kind::Float64),
        ("gift", int(16)),
        ("note", text()),
        ("address", text()),
        ("options", Kind::Json),
        ("created", Kind::Timestamp { precision: 6 }),
        ("updated", Kind::TimestampTz { precision: 6 }),
        ("cancelled", Kind::TimestampTz { precision: 6 }),
    ];
    Layout {
        columns: columns
            .into_iter()
            .map(|(name, kind)| Column { name: name.into(), kind, nullable: name != "id" })
            .collect(),
    }
}

fn row(index: i64, version: i64) -> Vec<Value> {
    let decimal = |cents: i64| Value::Decimal { unscaled: cents.to_be_bytes().to_vec(), scale: 2 };
    vec![
        Value::I64(index),
        Value::I64(index * 7 % 100_003),
        format!("ORD-2026-{index:08}").into_text(),
        ["new", "paid", "sent"][(version % 3) as usize].into(),
        decimal(index * 31 + version),
        decimal(index * 5),
        Value::I64(index % 12),
        Value::F64(index as f64 / 8.0),
        Value::I64(index % 2),
        if index % 3 == 0 { Value::Null } else { format!("call before delivery, floor {}", index % 40).into_text() },
        format!("{} Example Street, 10{:03} Berlin", index % 900, index % 999).into_text(),
        Value::Json(format!("{{\"wrap\": true, \"colour\": \"{index}\"}}")),
        Value::Timestamp(1_795_245_686_000_000 + index * 1_001),
        Value::TimestampTz(1_795_245_686_000_000 + index * 1_003),
        Value::Null,
    ]
}

trait IntoText {
    fn into_text(self) -> Value;
}

impl IntoText for String {
    fn into_text(self) -> Value {
        Value::Text(self)
    }
}

fn events(count: usize, operation: Operation, cache: &SchemaCache) -> Vec<Vec<u8>> {
    let source = TopicSource::MySql { name: "shop".into(), db: "shop".into(), table: "orders".into() };
    let mut encoder = TopicEncoder::new("shop.shop.orders", source, &layout(), &[0]).expect("the key is a column");
    encoder.set_ids(1, 2);
    cache.insert(2, Arc::new(SchemaText::new(encoder.value_schema())));
    (0..count as i64)
        .map(|index| {
            let (before, after) = (row(index, 0), row(index, 1));
            let gtid = format!("7d5cbe67-e57a-11f1-ae6d-02fc00000001:{index}");
            let event = Event {
                operation,
                before: (operation == Operation::Update).then_some(before.as_slice()),
                after: Some(&after),
                snapshot: None,
                committed_at_us: 1_795_245_686_000_000 + index,
                source: SourceBlock::Binlog {
                    server_id: 197,
                    gtid: Some(&gtid),
                    file: "binlog.000002",
                    position: 10_000 + index * 500,
                    row: 0,
                },
            };
            let mut out = Vec::new();
            encoder.encode_value(&event, &mut out).expect("the values fit their columns");
            out
        })
        .collect()
}

/// Nanoseconds that this thread has run on a core, where the system tells (Linux); else those that passed. Other processes on
/// the machine then disturb the numbers less.
fn clock(start: Instant) -> f64 {
    let running = std::fs::read_to_string("/proc/thread-self/schedstat").ok();
    let nanoseconds = running.and_then(|text| text.split(' ').next().and_then(|first| first.parse().ok()));
    nanoseconds.unwrap_or_else(|| start.elapsed().as_nanos() as f64)
}

/// Median nanoseconds per record.
fn measure(records: &[Vec<u8>], rounds: usize, mut round: impl FnMut(&[Vec<u8>])) -> f64 {
    let mut times: Vec<f64> = (0..rounds)
        .map(|_| {
            let start = Instant::now();
            let before = clock(start);
            round(records);
            (clock(start) - before) / records.len() as f64
        })
        .collect();
    times.sort_by(f64::total_cmp);
    times[times.len() / 2]
}

fn ours(records: &[Vec<u8>], cache: &SchemaCache, decode_before: bool, rounds: usize) -> f64 {
    let topics = vec![TopicOptions { name: "orders".into(), shape: TopicShape::Envelope, ..TopicOptions::default() }];
    let options = DecoderOptions { topics, decode_before, ..DecoderOptions::default() };
    let mut decoder = EnvelopeDecoder::new(options, cache.clone());
    let (mut arena, mut layouts) = (Arena::default(), Layouts::default());
    measure(records, rounds, |records| {
        for batch in records.chunks(BATCH) {
            arena.clear();
            for (offset, value) in batch.iter().enumerate() {
                let raw = RawRecord {
                    topic: 0,
                    offset: offset as i64,
                    timestamp_ms: 0,
                    key: None,
                    value: Some(value),
                    headers: &[],
                };
                match decoder.decode(&raw, &mut arena, &mut layouts) {
                    Ok(Decoded::Change(record)) => drop(black_box(record)),
                    other => panic!("the events decode: {other:?}"),
                }
            }
        }
    })
}

fn oracle(records: &[Vec<u8>], cache: &SchemaCache, rounds: usize) -> f64 {
    let text = cache.get(&2).expect("the schema was inserted").text.clone();
    let schema = apache_avro::Schema::parse_str(&text).expect("the encoder's schema is Avro");
    let reader = GenericDatumReader::builder(&schema).build().expect("the schema resolves");
    measure(records, rounds, |records| {
        for value in records {
            black_box(reader.read_value(&mut &value[5..]).expect("the events decode"));
        }
    })
}

/// Runs the comparison and prints it.
pub(crate) fn run(count: usize, rounds: usize) {
    println!("decode, one core, {count} distinct events, median of {rounds} rounds");
    for (name, operation) in [("update", Operation::Update), ("create", Operation::Create)] {
        let cache = SchemaCache::default();
        let records = events(count, operation, &cache);
        let bytes = records.iter().map(Vec::len).sum::<usize>() as f64 / count as f64;
        let apache = oracle(&records, &cache, rounds);
        println!("{name}, {bytes:.0} bytes");
        let line = |what: &str, nanoseconds: f64| {
            println!(
                "  {what:<28} {nanoseconds:>7.0} ns  {:>9.0} rec/s  {:>6.0} MB/s  {:>5.1} x",
                1e9 / nanoseconds,
                bytes * 1e3 / nanoseconds,
                apache / nanoseconds
            );
        };
        line("apache-avro, reader reused", apache);
        line("tidelock, before decoded", ours(&records, &cache, true, rounds));
        line("tidelock, before skipped", ours(&records, &cache, false, rounds));
    }
}

/// The whole benchmark.
pub(crate) fn main() {
    run(20_000, ROUNDS);
}

#[cfg(test)]
mod tests {
    #[test]
    fn the_benchmark_runs() {
        super::run(50, 1);
    }
}
