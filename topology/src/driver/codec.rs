//! A small record format for tests without a broker: what Debezium's envelope says, as plain bytes. Not for production: it knows
//! only the kinds of value that tests need.

use std::collections::BTreeSet;
use std::sync::{Arc, Mutex};

use crate::data::{Arena, Cell, CellRange, Layout, LayoutId, Layouts, Value};
use crate::error::{Error, Stage};
use crate::raw::{Decode, DecodeError, Decoded, Ignored, RawRecord, encode_headers, headers};
use crate::record::{Connector, Operation, Position, Raw, Record, Source};

const OLD_KEY: &str = "__debezium.oldkey";
const NEW_KEY: &str = "__debezium.newkey";

/// A record as a test writes it. `Default` is a create without position.
#[derive(Clone, Debug, Default, PartialEq)]
pub struct TestRecord {
    /// What happened.
    pub operation: Operation,
    /// Key values in the key layout of the topic.
    pub key: Vec<Value>,
    /// The row before.
    pub before: Option<Vec<Value>>,
    /// The row after; [`Value::Unavailable`] for cells that the source did not send.
    pub after: Option<Vec<Value>>,
    /// On the create half of a key change.
    pub old_key: Option<Vec<Value>>,
    /// On the delete half of a key change.
    pub new_key: Option<Vec<Value>>,
    /// Whose log the position belongs to.
    pub identity: u64,
    /// Place in that log.
    pub position: Option<Position>,
    /// Commit time at the source in microseconds.
    pub committed_at_us: i64,
    /// A snapshot read.
    pub snapshot: bool,
    /// The site that the loop guard's tag names; empty for local changes.
    pub origin: String,
    /// Schema id, which a registry must know before the record can be decoded; 0 is always known.
    pub schema: u32,
    /// No change but a tombstone: null value.
    pub tombstone: bool,
    /// The key's schema id, in the registry's wire format before the key's own bytes.
    pub key_schema: Option<u32>,
}

/// The bytes of a record, as they lie in a partition.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct TestBytes {
    /// Key.
    pub key: Vec<u8>,
    /// Value; `None` for a tombstone.
    pub value: Option<Vec<u8>>,
    /// Headers, encoded by [`encode_headers`].
    pub headers: Vec<u8>,
    /// Kafka's timestamp.
    pub timestamp_ms: i64,
}

impl TestRecord {
    /// The record as bytes.
    ///
    /// # Panics
    /// For kinds of value that this format does not know.
    pub fn encode(&self) -> TestBytes {
        let mut key = Vec::new();
        if let Some(id) = self.key_schema {
            key.push(0);
            key.extend_from_slice(&id.to_be_bytes());
        }
        key.extend_from_slice(&encode_row(&self.key));
        let pairs = [(OLD_KEY, &self.old_key), (NEW_KEY, &self.new_key)];
        let rows: Vec<_> =
            pairs.into_iter().filter_map(|(name, row)| Some((name, encode_row(row.as_ref()?)))).collect();
        let mut encoded = Vec::new();
        encode_headers(rows.iter().map(|(name, row)| (*name, Some(row.as_slice()))), &mut encoded);
        let timestamp_ms = self.committed_at_us / 1000;
        if self.tombstone {
            return TestBytes { key, value: None, headers: encoded, timestamp_ms };
        }
        let mut out = self.schema.to_be_bytes().to_vec();
        out.push(self.operation.letter() as u8);
        out.extend_from_slice(&self.identity.to_be_bytes());
        let Position(a, b, c) = self.position.unwrap_or_default();
        out.push(u8::from(self.position.is_some()) | u8::from(self.snapshot) << 1);
        for word in [a, b, c, self.committed_at_us.cast_unsigned()] {
            out.extend_from_slice(&word.to_be_bytes());
        }
        put_bytes(&mut out, self.origin.as_bytes());
        for row in [&self.before, &self.after] {
            match row {
                None => out.push(0),
                Some(row) => {
                    out.push(1);
                    put_bytes(&mut out, &encode_row(row));
                }
            }
        }
        TestBytes { key, value: Some(out), headers: encoded, timestamp_ms }
    }
}

fn put_bytes(out: &mut Vec<u8>, bytes: &[u8]) {
    let length = u32::try_from(bytes.len()).expect("test values are small");
    out.extend_from_slice(&length.to_be_bytes());
    out.extend_from_slice(bytes);
}

/// A row as bytes; equal rows give equal bytes, and keys of integers and text sort as their values do.
pub fn encode_row(values: &[Value]) -> Vec<u8> {
    let mut out = Vec::new();
    for value in values {
        match value {
            Value::Null => out.push(0),
            Value::Unavailable => out.push(1),
            Value::Bool(v) => out.extend_from_slice(&[2, u8::from(*v)]),
            Value::I64(v) => {
                out.push(3);
                out.extend_from_slice(&(v.cast_unsigned() ^ (1 << 63)).to_be_bytes());
            }
            Value::Text(v) => {
                out.push(4);
                put_bytes(&mut out, v.as_bytes());
            }
            Value::Bytes(v) => {
                out.push(5);
                put_bytes(&mut out, v);
            }
            other => panic!("the test format does not know {other:?}"),
        }
    }
    out
}

/// The key's own bytes. No key of these tests begins with NULL.
fn key_row(key: &[u8]) -> &[u8] {
    match key {
        [0, _, _, _, _, row @ ..] => row,
        row => row,
    }
}

struct Reader<'a>(&'a [u8]);

impl<'a> Reader<'a> {
    fn take(&mut self, length: usize) -> Option<&'a [u8]> {
        let (head, tail) = self.0.split_at_checked(length)?;
        self.0 = tail;
        Some(head)
    }

    fn byte(&mut self) -> Option<u8> {
        self.take(1).map(|bytes| bytes[0])
    }

    fn word(&mut self) -> Option<u64> {
        self.take(8).map(|bytes| u64::from_be_bytes(bytes.try_into().expect("8 bytes")))
    }

    fn length(&mut self) -> Option<usize> {
        self.take(4).map(|bytes| u32::from_be_bytes(bytes.try_into().expect("4 bytes")) as usize)
    }

    fn bytes(&mut self) -> Option<&'a [u8]> {
        let length = self.length()?;
        self.take(length)
    }
}

fn decode_row(bytes: &[u8], arena: &mut Arena) -> Option<CellRange> {
    let mut reader = Reader(bytes);
    let start = arena.cell_count();
    while let Some(tag) = reader.byte() {
        let cell = match tag {
            0 => Cell::Null,
            1 => Cell::Unavailable,
            2 => Cell::Bool(reader.byte()? != 0),
            3 => Cell::I64((reader.word()? ^ (1 << 63)).cast_signed()),
            4 => arena.push_text(std::str::from_utf8(reader.bytes()?).ok()?),
            5 => Cell::Bytes(arena.push_bytes(reader.bytes()?)),
            _ => return None,
        };
        arena.push_cell(cell);
    }
    Some(arena.cells_from(start))
}

/// Schema ids that a decoder may know without asking: the cache in front of the registry, shared with whoever fetches.
#[derive(Clone, Debug, Default)]
pub struct KnownSchemas(Arc<Mutex<BTreeSet<u32>>>);

impl KnownSchemas {
    /// The registry answered: the id is known from now on.
    pub fn learn(&self, id: u32) {
        self.0.lock().expect("no panic while locked").insert(id);
    }

    fn knows(&self, id: u32) -> bool {
        id == 0 || self.0.lock().expect("no panic while locked").contains(&id)
    }
}

/// Decodes [`TestBytes`]. `layouts[topic]` is (row, key) of that topic.
#[derive(Clone, Debug)]
pub struct TestDecoder {
    layouts: Vec<(Layout, Layout)>,
    ids: Vec<Option<(LayoutId, LayoutId)>>,
    schemas: KnownSchemas,
}

impl TestDecoder {
    /// For topics with these row and key layouts, in the order of topic indexes.
    pub fn new(layouts: Vec<(Layout, Layout)>, schemas: KnownSchemas) -> TestDecoder {
        TestDecoder { ids: vec![None; layouts.len()], layouts, schemas }
    }

    fn ids_of(&mut self, topic: usize, layouts: &mut Layouts) -> (LayoutId, LayoutId) {
        *self.ids[topic].get_or_insert_with(|| {
            let (row, key) = &self.layouts[topic];
            (layouts.add(row.clone()), layouts.add(key.clone()))
        })
    }
}

fn operation(letter: u8) -> Option<Operation> {
    use Operation::{Create, Delete, Read, Truncate, Update};
    [Create, Update, Delete, Read, Truncate].into_iter().find(|operation| operation.letter() as u8 == letter)
}

impl Decode for TestDecoder {
    fn decode(
        &mut self,
        raw: &RawRecord<'_>,
        arena: &mut Arena,
        layouts: &mut Layouts,
    ) -> Result<Decoded, DecodeError> {
        let Some(value) = raw.value else { return Ok(Decoded::Ignored(Ignored::Tombstone)) };
        let bad = || DecodeError::Bad(Error::data(Stage::Decode, "cannot decode test record", "bytes are malformed"));
        let mut reader = Reader(value);
        let schema = reader.length().ok_or_else(bad)? as u32;
        if !self.schemas.knows(schema) {
            return Err(DecodeError::SchemaNeeded(schema));
        }
        let (layout, key_layout) = self.ids_of(raw.topic, layouts);
        let mut read = || -> Option<Record> {
            let operation = operation(reader.byte()?)?;
            let identity = reader.word()?;
            let flags = reader.byte()?;
            let position = Position(reader.word()?, reader.word()?, reader.word()?);
            let committed_at_us = reader.word()?.cast_signed();
            let origin = reader.bytes()?;
            let source = Source {
                connector: Connector::Tidelock,
                snapshot: flags & 2 != 0,
                identity,
                position: (flags & 1 != 0).then_some(position),
                committed_at_us,
                origin: (!origin.is_empty()).then(|| arena.push_bytes(origin)),
                ..Source::default()
            };
            let mut rows = [None; 2];
            for row in &mut rows {
                if reader.byte()? == 1 {
                    *row = Some(decode_row(reader.bytes()?, arena)?);
                }
            }
            let mut keys = [None; 2];
            for (name, bytes) in headers(raw.headers) {
                let at = [OLD_KEY, NEW_KEY].iter().position(|known| *known == name);
                if let (Some(at), Some(bytes)) = (at, bytes) {
                    keys[at] = Some(decode_row(bytes, arena)?);
                }
            }
            let key = decode_row(key_row(raw.key.unwrap_or_default()), arena)?;
            let stored = Raw {
                key: raw.key.map(|bytes| arena.push_bytes(bytes)),
                value: Some(arena.push_bytes(value)),
                headers: Some(arena.push_bytes(raw.headers)),
                timestamp_ms: raw.timestamp_ms,
            };
            Some(Record {
                operation,
                key,
                key_layout,
                before: rows[0],
                after: rows[1],
                layout,
                old_key: keys[0],
                new_key: keys[1],
                source,
                raw: stored,
                ..Record::default()
            })
        };
        read().map(Decoded::Change).ok_or_else(bad)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn raw(bytes: &TestBytes) -> RawRecord<'_> {
        RawRecord {
            topic: 0,
            offset: 3,
            timestamp_ms: bytes.timestamp_ms,
            key: Some(&bytes.key),
            value: bytes.value.as_deref(),
            headers: &bytes.headers,
        }
    }

    #[test]
    fn a_record_survives_the_way_through_bytes() {
        let given = TestRecord {
            operation: Operation::Update,
            key: vec![Value::I64(-5)],
            after: Some(vec![Value::I64(-5), Value::Null, Value::Unavailable, "text".into()]),
            old_key: Some(vec![Value::I64(4)]),
            identity: 7,
            position: Some(Position(1, 2, 3)),
            committed_at_us: 9,
            origin: "b".to_owned(),
            ..TestRecord::default()
        };
        let bytes = given.encode();
        let (mut arena, mut layouts) = (Arena::default(), Layouts::default());
        let mut decoder = TestDecoder::new(vec![Default::default()], KnownSchemas::default());
        let Ok(Decoded::Change(record)) = decoder.decode(&raw(&bytes), &mut arena, &mut layouts) else { panic!() };
        assert_eq!(arena.values(record.key), given.key);
        assert_eq!(arena.values(record.after.unwrap()), given.after.unwrap());
        assert_eq!(arena.values(record.old_key.unwrap()), given.old_key.unwrap());
        assert_eq!(record.source.position, given.position);
        assert_eq!(arena.bytes(record.source.origin.unwrap()), b"b");
        assert_eq!((record.before, record.new_key), (None, None));
    }

    #[test]
    fn cut_bytes_are_refused_and_an_unknown_schema_is_asked_for() {
        let record = TestRecord { schema: 4, ..TestRecord::default() };
        let mut bytes = record.encode();
        let (mut arena, mut layouts) = (Arena::default(), Layouts::default());
        let schemas = KnownSchemas::default();
        let mut decoder = TestDecoder::new(vec![Default::default()], schemas.clone());
        let asked = decoder.decode(&raw(&bytes), &mut arena, &mut layouts);
        assert!(matches!(asked, Err(DecodeError::SchemaNeeded(4))));
        schemas.learn(4);
        assert!(decoder.decode(&raw(&bytes), &mut arena, &mut layouts).is_ok());
        while let Some(value) = &mut bytes.value
            && value.len() > 4
        {
            value.pop();
            assert!(matches!(decoder.decode(&raw(&bytes), &mut arena, &mut layouts), Err(DecodeError::Bad(_))));
        }
    }
}
