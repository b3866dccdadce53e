//! [`EnvelopeDecoder`]: bytes of Kafka records to [`Record`]s. Routes each key and value to its format, then adds what only key,
//! headers and topic can tell: tombstones, deletes by null, key changes.
//!
//! Invariant: the bytes of a record are copied into the arena once; cells of text and bytes point into that copy.

use topology::data::{Arena, CellRange, Layouts};
use topology::raw::{Decode, DecodeError, Decoded, Ignored, RawRecord, headers};
use topology::record::{Operation, Raw, Record};
use topology::{Error, Stage};

use crate::avro::{self, Reader, Scratch, Settings, ValueOutcome};
use crate::cache::SchemaCache;
use crate::fault::{ColumnFault, Fault};
use crate::json;
use crate::options::{DecoderOptions, Format, TopicOptions, TopicShape};
use crate::placeholder::Placeholder;
use crate::plan::{KeyPlan, RowPlan, ValueClass, ValuePlan};
use crate::plans::Plans;

/// Length of the Confluent frame: a zero byte and a big-endian schema id.
const FRAME_BYTES: usize = 5;

/// Header on the delete half of a key change.
const NEW_KEY_HEADER: &str = "__debezium.newkey";

/// Header on the create half of a key change.
const OLD_KEY_HEADER: &str = "__debezium.oldkey";

/// Decodes Debezium envelopes, flattened and plain rows, in Avro or JSON. One per pipeline; see [`Decode`].
#[derive(Debug)]
pub struct EnvelopeDecoder {
    topics: Vec<TopicOptions>,
    /// What was seen on each topic: `Auto` while nothing was.
    seen: Vec<TopicShape>,
    settings: Settings,
    cache: SchemaCache,
    values: Plans<ValuePlan>,
    keys: Plans<KeyPlan>,
    scratch: Scratch,
}

/// How one key or value is to be read.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Encoding {
    Avro(u32),
    Json,
}

/// What the key says.
struct Key {
    row: CellRange,
    /// Schema id of an Avro key.
    id: Option<u32>,
}

impl EnvelopeDecoder {
    /// A decoder that finds schemas in `cache`.
    pub fn new(options: DecoderOptions, cache: SchemaCache) -> EnvelopeDecoder {
        EnvelopeDecoder {
            seen: vec![TopicShape::Auto; options.topics.len()],
            topics: options.topics,
            settings: Settings {
                placeholder: Placeholder::new(&options.unavailable_value),
                decode_before: options.decode_before,
            },
            cache,
            values: Plans::default(),
            keys: Plans::default(),
            scratch: Scratch::default(),
        }
    }

    fn place(&self, raw: &RawRecord<'_>) -> String {
        match self.topics.get(raw.topic) {
            Some(topic) => format!("topic \"{}\" offset {}", topic.name, raw.offset),
            None => format!("topic {} offset {}", raw.topic, raw.offset),
        }
    }

    fn bad(&self, raw: &RawRecord<'_>, fault: Fault) -> DecodeError {
        DecodeError::Bad(fault.error(&self.place(raw)))
    }

    fn shape(&self, topic: usize) -> TopicShape {
        match self.topics.get(topic).map_or(TopicShape::Auto, |options| options.shape) {
            TopicShape::Auto => self.seen.get(topic).copied().unwrap_or_default(),
            configured => configured,
        }
    }

    fn learn(&mut self, topic: usize, shape: TopicShape) {
        if self.seen.len() <= topic {
            self.seen.resize(topic + 1, TopicShape::Auto);
        }
        if let Some(seen) = self.seen.get_mut(topic) {
            *seen = shape;
        }
    }

    /// Null value: a tombstone, or the delete of a plain row.
    fn null_value(
        &mut self,
        raw: &RawRecord<'_>,
        key: Option<Encoding>,
        arena: &mut Arena,
        layouts: &mut Layouts,
    ) -> Result<Decoded, DecodeError> {
        const TOMBSTONE: Decoded = Decoded::Ignored(Ignored::Tombstone);
        let (Some(encoding), false) = (key, self.shape(raw.topic) == TopicShape::Envelope) else {
            return Ok(TOMBSTONE);
        };
        if let Encoding::Avro(id) = encoding {
            self.keys.ensure(id, &self.cache, layouts)?;
        }
        if self.shape(raw.topic) == TopicShape::Auto {
            let is_plain = match encoding {
                Encoding::Avro(id) => self.keys.get(id, &self.place(raw)).is_ok_and(|plan| !plan.is_debezium),
                Encoding::Json => false,
            };
            if !is_plain {
                return Ok(TOMBSTONE);
            }
        }
        let mut record = self.store(raw, arena);
        record.operation = Operation::Delete;
        let key = self.read_key(raw, encoding, &record, arena, layouts)?;
        self.add_key(raw, &key, &mut record, arena, layouts)?;
        Ok(Decoded::Change(record))
    }

    /// Copies the record's bytes into the arena.
    fn store(&self, raw: &RawRecord<'_>, arena: &mut Arena) -> Record {
        Record {
            offset: raw.offset,
            raw: Raw {
                key: raw.key.map(|bytes| arena.push_bytes(bytes)),
                value: raw.value.map(|bytes| arena.push_bytes(bytes)),
                headers: (!raw.headers.is_empty()).then(|| arena.push_bytes(raw.headers)),
                timestamp_ms: raw.timestamp_ms,
            },
            ..Record::default()
        }
    }

    fn read_key(
        &mut self,
        raw: &RawRecord<'_>,
        encoding: Encoding,
        record: &Record,
        arena: &mut Arena,
        _layouts: &mut Layouts,
    ) -> Result<Key, DecodeError> {
        let bytes = raw.key.unwrap_or(&[]);
        let base = record.raw.key.unwrap_or_default().start;
        match encoding {
            Encoding::Avro(id) => {
                let plan = self.keys.get(id, "key").map_err(|error| self.placed(raw, error))?;
                let reader = Reader::new(bytes, FRAME_BYTES, base);
                match avro::read_key(plan, &self.settings, reader, arena, &mut self.scratch) {
                    Ok(row) => Ok(Key { row, id: Some(id) }),
                    Err(fault) => Err(self.column_fault(raw, "key ", &plan.row, fault)),
                }
            }
            Encoding::Json => Err(self.bad(raw, Fault::JsonKind)),
        }
    }

    /// Adds key, layouts and the other key of a key change.
    fn add_key(
        &mut self,
        raw: &RawRecord<'_>,
        key: &Key,
        record: &mut Record,
        arena: &mut Arena,
        layouts: &mut Layouts,
    ) -> Result<(), DecodeError> {
        record.key = key.row;
        let Some(id) = key.id else { return Ok(()) };
        let plan = self.keys.get(id, "key").map_err(|error| self.placed(raw, error))?;
        record.key_layout = plan.row.layout;
        if raw.headers.is_empty() {
            return Ok(());
        }
        let headers_start = record.raw.headers.unwrap_or_default().start;
        for (name, value) in headers(raw.headers) {
            let is_new = match name {
                NEW_KEY_HEADER => true,
                OLD_KEY_HEADER => false,
                _ => continue,
            };
            let Some(value) = value else { continue };
            // Where the value stands in the stored copy: by its distance from the start of the headers.
            let distance = value.as_ptr().addr().saturating_sub(raw.headers.as_ptr().addr());
            let base = headers_start + u32::try_from(distance).unwrap_or(0);
            let row = self.header_key(raw, id, value, base, arena, layouts)?;
            if is_new {
                record.new_key = Some(row);
            } else {
                record.old_key = Some(row);
            }
        }
        Ok(())
    }

    /// A key in a header: JSON text of Connect's simple or JSON header converter, or an Avro frame.
    fn header_key(
        &mut self,
        raw: &RawRecord<'_>,
        key_id: u32,
        value: &[u8],
        base: u32,
        arena: &mut Arena,
        layouts: &mut Layouts,
    ) -> Result<CellRange, DecodeError> {
        let framed = frame_id(value);
        if let Some(id) = framed {
            self.keys.ensure(id, &self.cache, layouts)?;
        }
        let plan = self.keys.get(framed.unwrap_or(key_id), "header").map_err(|error| self.placed(raw, error))?;
        let read = match framed {
            Some(_) => {
                let reader = Reader::new(value, FRAME_BYTES, base);
                avro::read_key(plan, &self.settings, reader, arena, &mut self.scratch)
            }
            None => json::read_key(plan, &self.settings, value, base, true, arena, &mut self.scratch),
        };
        read.map_err(|fault| self.column_fault(raw, "key in header ", &plan.row, fault))
    }

    fn placed(&self, raw: &RawRecord<'_>, mut error: Error) -> DecodeError {
        error.detail = format!("{}: {}", self.place(raw), error.detail);
        DecodeError::Bad(error)
    }

    fn column_fault(&self, raw: &RawRecord<'_>, what: &str, row: &RowPlan, fault: ColumnFault) -> DecodeError {
        let place = self.place(raw);
        let column = fault.column.and_then(|index| row.columns.get(index));
        DecodeError::Bad(match column {
            Some(column) => fault.fault.error(&format!("{place}, {what}column \"{}\"", column.field)),
            None => fault.fault.error(&place),
        })
    }

    fn value(
        &mut self,
        raw: &RawRecord<'_>,
        bytes: &[u8],
        value: Encoding,
        key: Option<Encoding>,
        arena: &mut Arena,
        layouts: &mut Layouts,
    ) -> Result<Decoded, DecodeError> {
        let Encoding::Avro(id) = value else { return Err(self.bad(raw, Fault::JsonKind)) };
        self.values.ensure(id, &self.cache, layouts)?;
        let plan = self.values.get(id, "value").map_err(|error| self.placed(raw, error))?;
        let (shape, row) = match &plan.class {
            ValueClass::Ignored(ignored) => return Ok(Decoded::Ignored(*ignored)),
            ValueClass::Envelope(envelope) => (TopicShape::Envelope, &envelope.row),
            ValueClass::Row(flat) => (TopicShape::Rows, &flat.row),
        };
        if let Some(Encoding::Avro(id)) = key {
            self.keys.ensure(id, &self.cache, layouts)?;
        }
        let mut record = self.store(raw, arena);
        record.layout = row.layout;
        let reader = Reader::new(bytes, FRAME_BYTES, record.raw.value.unwrap_or_default().start);
        let outcome = avro::read_value(plan, &self.settings, reader, arena, &mut self.scratch)
            .map_err(|fault| self.column_fault(raw, "", row, fault))?;
        self.learn(raw.topic, shape);
        let ValueOutcome::Rows(rows) = outcome else { return Ok(Decoded::Ignored(Ignored::Control)) };
        rows.fill(&mut record);
        if let Some(encoding) = key {
            let key = self.read_key(raw, encoding, &record, arena, layouts)?;
            self.add_key(raw, &key, &mut record, arena, layouts)?;
        }
        Ok(Decoded::Change(record))
    }

    fn record(
        &mut self,
        raw: &RawRecord<'_>,
        arena: &mut Arena,
        layouts: &mut Layouts,
    ) -> Result<Decoded, DecodeError> {
        let formats =
            self.topics.get(raw.topic).map_or_else(Default::default, |topic| (topic.key_format, topic.value_format));
        let key = match raw.key {
            Some(bytes) => Some(self.encoding(raw, bytes, formats.0)?),
            None => None,
        };
        match raw.value {
            Some(bytes) => {
                let value = self.encoding(raw, bytes, formats.1)?;
                self.value(raw, bytes, value, key, arena, layouts)
            }
            None => self.null_value(raw, key, arena, layouts),
        }
    }

    fn encoding(&self, raw: &RawRecord<'_>, bytes: &[u8], format: Format) -> Result<Encoding, DecodeError> {
        match format {
            Format::Json | Format::JsonSchema => Ok(Encoding::Json),
            Format::Auto if bytes.first() != Some(&0) => Ok(Encoding::Json),
            Format::Auto | Format::Avro => match frame_id(bytes) {
                Some(id) => Ok(Encoding::Avro(id)),
                None => Err(DecodeError::Bad(Error::data(
                    Stage::Decode,
                    "cannot decode record",
                    format!(
                        "{}: no schema id in front: the record is not framed as the schema registry's clients do; set the topic's format",
                        self.place(raw)
                    ),
                ))),
            },
        }
    }
}

impl Decode for EnvelopeDecoder {
    fn decode(
        &mut self,
        raw: &RawRecord<'_>,
        arena: &mut Arena,
        layouts: &mut Layouts,
    ) -> Result<Decoded, DecodeError> {
        let mark = arena.mark();
        let decoded = self.record(raw, arena, layouts);
        if !matches!(decoded, Ok(Decoded::Change(_))) {
            arena.truncate(mark);
        }
        decoded
    }
}

/// The schema id of a Confluent frame.
fn frame_id(bytes: &[u8]) -> Option<u32> {
    match bytes.first_chunk::<FRAME_BYTES>()? {
        [0, a, b, c, d] => Some(u32::from_be_bytes([*a, *b, *c, *d])),
        _ => None,
    }
}
