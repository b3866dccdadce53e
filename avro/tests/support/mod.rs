//! Reads the fixture files of `tests/samples` and decodes their records.
#![allow(dead_code, unreachable_pub)] // each test binary uses its part

pub mod connect;

use std::collections::HashMap;
use std::path::Path;
use std::sync::Arc;

use tidelock_avro::{DecoderOptions, EnvelopeDecoder, SchemaCache, SchemaText, TopicOptions, TopicShape};
use topology::data::{Arena, CellRange, LayoutId, Layouts, Span, Value};
use topology::raw::{Decode, DecodeError, Decoded, RawRecord, encode_headers};
use topology::record::Record;

/// One record of a fixture.
#[derive(Clone, Debug, Default)]
pub struct Sample {
    pub topic: String,
    pub offset: i64,
    pub key: Option<Vec<u8>>,
    pub value: Option<Vec<u8>>,
    pub headers: Vec<(String, String)>,
}

/// A fixture: schemas and records.
pub struct Samples {
    pub schemas: SchemaCache,
    pub records: Vec<Sample>,
}

pub fn unhex(text: &str) -> Vec<u8> {
    (0..text.len() / 2).map(|at| u8::from_str_radix(&text[2 * at..2 * at + 2], 16).unwrap()).collect()
}

impl Samples {
    pub fn load(name: &str) -> Samples {
        let path = Path::new(env!("CARGO_MANIFEST_DIR")).join("tests/samples").join(name);
        let mut samples = Samples { schemas: SchemaCache::default(), records: Vec::new() };
        for line in std::fs::read_to_string(path).unwrap().lines() {
            let mut words = line.splitn(3, ' ');
            match (words.next().unwrap(), words.next(), words.next()) {
                ("schema", Some(id), Some(text)) => {
                    samples.schemas.insert(id.parse().unwrap(), Arc::new(SchemaText::new(text)));
                }
                ("record", Some(topic), Some(rest)) => {
                    let parts: Vec<&str> = rest.split(' ').collect();
                    let bytes = |text: &str| (text != "-").then(|| unhex(text));
                    samples.records.push(Sample {
                        topic: topic.to_owned(),
                        offset: parts[0].parse().unwrap(),
                        key: bytes(parts[1]),
                        value: bytes(parts[2]),
                        headers: Vec::new(),
                    });
                }
                ("header", Some(name), Some(value)) => {
                    samples.records.last_mut().unwrap().headers.push((name.to_owned(), value.to_owned()));
                }
                _ => {}
            }
        }
        samples
    }

    pub fn at(&self, topic: &str, offset: i64) -> &Sample {
        self.records
            .iter()
            .find(|record| record.topic == topic && record.offset == offset)
            .expect("the record is there")
    }

    pub fn decoder(&self) -> Bench {
        Bench::new(self.schemas.clone(), TopicShape::Auto)
    }
}

/// A decoder with its memory.
pub struct Bench {
    pub decoder: EnvelopeDecoder,
    pub arena: Arena,
    pub layouts: Layouts,
}

impl Bench {
    pub fn new(schemas: SchemaCache, shape: TopicShape) -> Bench {
        Bench::with(
            DecoderOptions {
                topics: vec![TopicOptions { name: "t".to_owned(), shape, ..TopicOptions::default() }],
                ..DecoderOptions::default()
            },
            schemas,
        )
    }

    pub fn with(options: DecoderOptions, schemas: SchemaCache) -> Bench {
        Bench { decoder: EnvelopeDecoder::new(options, schemas), arena: Arena::default(), layouts: Layouts::default() }
    }

    pub fn decode(&mut self, sample: &Sample) -> Result<Decoded, DecodeError> {
        let mut headers = Vec::new();
        encode_headers(
            sample.headers.iter().map(|(name, value)| (name.as_str(), Some(value.as_bytes()))),
            &mut headers,
        );
        self.decode_bytes(sample.key.as_deref(), sample.value.as_deref(), &headers, sample.offset)
    }

    pub fn decode_bytes(
        &mut self,
        key: Option<&[u8]>,
        value: Option<&[u8]>,
        headers: &[u8],
        offset: i64,
    ) -> Result<Decoded, DecodeError> {
        let raw = RawRecord { topic: 0, offset, timestamp_ms: 1, key, value, headers };
        self.decoder.decode(&raw, &mut self.arena, &mut self.layouts)
    }

    pub fn change(&mut self, sample: &Sample) -> Record {
        match self.decode(sample) {
            Ok(Decoded::Change(record)) => record,
            other => panic!("a change, not {other:?}"),
        }
    }

    pub fn error(&mut self, sample: &Sample) -> String {
        match self.decode(sample) {
            Err(DecodeError::Bad(error)) => error.to_string(),
            other => panic!("an error, not {other:?}"),
        }
    }

    /// A row by column name.
    pub fn row(&self, layout: LayoutId, range: CellRange) -> HashMap<String, Value> {
        let layout = self.layouts.get(layout);
        assert_eq!(layout.columns.len(), range.length as usize);
        layout.columns.iter().map(|column| column.name.to_string()).zip(self.arena.values(range)).collect()
    }

    pub fn after(&self, record: &Record) -> HashMap<String, Value> {
        self.row(record.layout, record.after.expect("a row after"))
    }

    pub fn before(&self, record: &Record) -> HashMap<String, Value> {
        self.row(record.layout, record.before.expect("a row before"))
    }

    pub fn text(&self, span: Option<Span>) -> &str {
        self.arena.text(span.expect("a text"))
    }

    pub fn key(&self, range: CellRange) -> Vec<Value> {
        self.arena.values(range)
    }
}
