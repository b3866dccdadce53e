//! Generated schemas and values, encoded by apache-avro: our decoder gives the same cells as apache-avro's own; and whatever is
//! done to the bytes, it never panics.
//!
//! A failure prints the seed of its schema; `ORACLE_SEED=<seed>` runs that one alone.

mod generate;
mod support;

use std::sync::Arc;

use apache_avro::reader::datum::GenericDatumReader;
use apache_avro::types::Value as Avro;
use apache_avro::writer::datum::GenericDatumWriter;
use generate::{Type, column_type, expected};
use rand::rngs::StdRng;
use rand::seq::SliceRandom;
use rand::{Rng, SeedableRng};
use serde_json::{Value as Json, json};
use support::Bench;
use tidelock_avro::{DecoderOptions, SchemaCache, SchemaText};
use topology::data::{CellRange, Value};
use topology::raw::{DecodeError, Decoded};
use topology::record::Operation;

/// Schemas, and records of each: 12 000 cases.
const SCHEMAS: u64 = 4_000;
const RECORDS: usize = 3;

struct Envelope {
    columns: Vec<(String, Type)>,
    schema: Json,
    /// Fields in their order, with the types of those that are skipped.
    fields: Vec<(String, Option<Type>)>,
}

fn envelope(rng: &mut StdRng) -> Envelope {
    let mut names = generate::Names::default();
    let count = rng.random_range(1..9);
    let columns: Vec<(String, Type)> =
        (0..count).map(|index| (format!("c{index}"), column_type(rng, &mut names))).collect();
    let mut fields: Vec<(String, Option<Type>)> =
        ["before", "after", "op"].into_iter().map(|name| (name.to_owned(), None)).collect();
    for index in 0..rng.random_range(0..4) {
        fields.push((
            format!("extra{index}"),
            Some(column_type(rng, &mut generate::Names::starting(1_000 * (index + 1)))),
        ));
    }
    fields.shuffle(rng);
    let row_fields: Vec<Json> =
        columns.iter().map(|(name, kind)| json!({"name": name, "type": kind.schema()})).collect();
    let mut row = Some(json!({"type": "record", "name": "Row", "fields": row_fields}));
    let schema_fields: Vec<Json> = fields
        .iter()
        .map(|(name, kind)| match (name.as_str(), kind) {
            ("op", _) => json!({"name": "op", "type": "string"}),
            (_, Some(kind)) => json!({"name": name, "type": kind.schema()}),
            _ => {
                let row = row.take().unwrap_or_else(|| json!("Row"));
                let branches = if name == "before" { json!(["null", row]) } else { json!([row, "null"]) };
                json!({"name": name, "type": branches})
            }
        })
        .collect();
    let schema = json!({"type": "record", "name": "Envelope", "fields": schema_fields, "connect.name": "t.Envelope"});
    Envelope { columns, schema, fields }
}

/// A record, and its rows before and after as apache-avro values.
fn record(envelope: &Envelope, rng: &mut StdRng, operation: char) -> Avro {
    let row = |rng: &mut StdRng| {
        Avro::Record(envelope.columns.iter().map(|(name, kind)| (name.clone(), kind.value(rng))).collect())
    };
    let fields = envelope.fields.iter().map(|(name, kind)| {
        let value = match (name.as_str(), kind) {
            ("op", _) => Avro::String(operation.to_string()),
            (_, Some(kind)) => kind.value(rng),
            ("before", _) if rng.random() => Avro::Union(0, Box::new(Avro::Null)),
            ("before", _) => Avro::Union(1, Box::new(row(rng))),
            _ if operation == 'd' => Avro::Union(1, Box::new(Avro::Null)),
            _ => Avro::Union(0, Box::new(row(rng))),
        };
        (name.clone(), value)
    });
    Avro::Record(fields.collect())
}

fn field<'a>(record: &'a Avro, name: &str) -> &'a Avro {
    let Avro::Record(fields) = record else { panic!("a record") };
    &fields.iter().find(|(field, _)| field == name).expect("the field is there").1
}

fn expected_row(envelope: &Envelope, value: &Avro) -> Option<Vec<Value>> {
    let Avro::Union(_, value) = value else { panic!("a union") };
    let Avro::Record(fields) = &**value else { return None };
    Some(envelope.columns.iter().zip(fields).map(|((_, kind), (_, value))| expected(kind, value)).collect())
}

fn same(ours: &Value, oracle: &Value) -> bool {
    match (ours, oracle) {
        // Objects have no order in the oracle.
        (Value::Json(ours), Value::Json(oracle)) => {
            let parse = |text: &str| serde_json::from_str::<Json>(text).expect("JSON cells are JSON");
            parse(ours) == parse(oracle)
        }
        (Value::Array(ours), Value::Array(oracle)) => {
            ours.len() == oracle.len() && ours.iter().zip(oracle).all(|(a, b)| same(a, b))
        }
        (ours, oracle) => ours == oracle,
    }
}

fn assert_row(bench: &Bench, envelope: &Envelope, ours: Option<CellRange>, oracle: Option<Vec<Value>>, place: &str) {
    let ours = ours.map(|range| bench.arena.values(range));
    assert_eq!(ours.is_some(), oracle.is_some(), "{place}");
    let (Some(ours), Some(oracle)) = (ours, oracle) else { return };
    assert_eq!(ours.len(), oracle.len(), "{place}");
    for ((ours, oracle), (name, kind)) in ours.iter().zip(&oracle).zip(&envelope.columns) {
        assert!(same(ours, oracle), "{place}, column {name} {}: {ours:?} is not {oracle:?}", kind.schema());
    }
}

fn mutate(bytes: &[u8], rng: &mut StdRng) -> Vec<u8> {
    let mut bytes = bytes.to_vec();
    for _ in 0..rng.random_range(1..4) {
        let at = rng.random_range(5..bytes.len().max(6));
        match rng.random_range(0..4) {
            0 => bytes.truncate(at),
            1 => bytes.insert(at.min(bytes.len()), rng.random()),
            2 if at < bytes.len() => bytes[at] = *[0xff, 0x80, 0x7f, 0x00, 0xfe].get(rng.random_range(0..5)).unwrap(),
            _ if at < bytes.len() => bytes[at] ^= 1 << rng.random_range(0..8),
            _ => {}
        }
    }
    bytes
}

fn run(seed: u64) {
    let rng = &mut StdRng::seed_from_u64(seed);
    let envelope = envelope(rng);
    let text = envelope.schema.to_string();
    let place = format!("seed {seed}, schema {text}");
    let schema = apache_avro::Schema::parse_str(&text).unwrap_or_else(|error| panic!("{place}: {error}"));
    let writer = GenericDatumWriter::builder(&schema).build().unwrap();
    let reader = GenericDatumReader::builder(&schema).build().unwrap();
    let cache = SchemaCache::default();
    cache.insert(1, Arc::new(SchemaText::new(text)));
    let options = DecoderOptions { decode_before: rng.random(), ..DecoderOptions::default() };
    let decode_before = options.decode_before;
    let mut bench = Bench::with(options, cache);
    for _ in 0..RECORDS {
        let operation = ['c', 'u', 'd', 'r'][rng.random_range(0..4)];
        let value = record(&envelope, rng, operation);
        let mut framed = vec![0, 0, 0, 0, 1];
        framed.extend(writer.write_value_to_vec(value).unwrap_or_else(|error| panic!("{place}: {error}")));
        let oracle = reader.read_value(&mut &framed[5..]).unwrap();
        let change = match bench.decode_bytes(None, Some(&framed), &[], 0) {
            Ok(Decoded::Change(change)) => change,
            other => panic!("{place}: {other:?}"),
        };
        assert_eq!(change.operation.letter(), operation);
        assert_row(&bench, &envelope, change.after, expected_row(&envelope, field(&oracle, "after")), &place);
        let wanted = decode_before || change.operation == Operation::Delete;
        let before = if wanted { expected_row(&envelope, field(&oracle, "before")) } else { None };
        assert_row(&bench, &envelope, change.before, before, &place);
        for _ in 0..3 {
            bench.arena.clear();
            let mutated = mutate(&framed, rng);
            // Any outcome is fine; what was decoded can be looked at.
            if let Ok(Decoded::Change(change)) = bench.decode_bytes(None, Some(&mutated), &[], 0) {
                for range in [change.before, change.after].into_iter().flatten() {
                    bench.arena.values(range);
                }
            }
        }
        bench.arena.clear();
    }
}

#[test]
fn every_cell_equals_what_apache_avro_reads_and_no_bytes_make_us_panic() {
    if let Ok(seed) = std::env::var("ORACLE_SEED") {
        return run(seed.parse().unwrap());
    }
    for seed in 0..SCHEMAS {
        run(seed);
    }
}

#[test]
fn mutated_records_of_real_connectors_never_panic() {
    let rng = &mut StdRng::seed_from_u64(7);
    for file in ["mysql.txt", "postgres.txt", "mariadb.txt", "control.txt"] {
        let samples = support::Samples::load(file);
        let mut bench = samples.decoder();
        for sample in samples.records.iter().filter(|sample| sample.key.is_some()) {
            let json = sample.value.as_ref().filter(|_| file != "control.txt").map(|value| {
                let (schema, payload) = support::connect::document(&samples.schemas, value);
                format!("{{\"schema\":{schema},\"payload\":{payload}}}").into_bytes()
            });
            for _ in 0..200 {
                let key = sample.key.as_ref().map(|bytes| mutate(bytes, rng));
                let value = sample.value.as_ref().map(|bytes| mutate(bytes, rng));
                let mut headers = Vec::new();
                let text = sample.headers.first().map(|(_, text)| mutate(text.as_bytes(), rng));
                if let (Some((name, _)), Some(text)) = (sample.headers.first(), &text) {
                    let header: topology::raw::Header<'_> = (name.as_str(), Some(text.as_slice()));
                    topology::raw::encode_headers(std::iter::once(header), &mut headers);
                }
                for (key, value) in [(&key, &sample.value), (&sample.key, &value), (&sample.key, &sample.value)] {
                    let _ = bench.decode_bytes(key.as_deref(), value.as_deref(), &headers, 0);
                    bench.arena.clear();
                }
                if let Some(json) = &json {
                    let _ = bench.decode_bytes(None, Some(&mutate(json, rng)), &[], 0);
                    bench.arena.clear();
                }
            }
        }
    }
}

#[test]
fn random_bytes_never_panic() {
    let rng = &mut StdRng::seed_from_u64(8);
    let samples = support::Samples::load("postgres.txt");
    let mut bench = samples.decoder();
    for _ in 0..20_000 {
        let mut bytes: Vec<u8> = (0..rng.random_range(0..60)).map(|_| rng.random()).collect();
        if rng.random() {
            bytes.splice(0..0, [0, 0, 0, 0, [116, 117, 118, 119][rng.random_range(0..4)]]);
        }
        match bench.decode_bytes(Some(&bytes), Some(&bytes), &bytes, 0) {
            Err(DecodeError::Bad(error)) => assert!(error.to_string().contains("offset 0")),
            _ => bench.arena.clear(),
        }
    }
}
