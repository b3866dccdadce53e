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
use crate::fault::{Fault, NamedFault};
use crate::json::{self, JsonKey, JsonOutcome, JsonTopic, Tools};
use crate::options::{DecoderOptions, Format, TopicOptions, TopicShape};
use crate::placeholder::Placeholder;
use crate::plan::{KeyPlan, ValueClass, ValuePlan};
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
    json: Vec<JsonTopic>,
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
    plan: KeyRef,
}

/// The plan that a key was read with.
#[derive(Clone, Copy, Debug)]
enum KeyRef {
    Avro(u32),
    Json(JsonKey),
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
            json: Vec::new(),
            scratch: Scratch::default(),
        }
    }

    /// Makes room for what is known of a topic.
    fn grow(&mut self, topic: usize) {
        if self.topics.len() <= topic {
            self.topics.resize_with(topic + 1, TopicOptions::default);
        }
        if self.seen.len() <= topic {
            self.seen.resize(topic + 1, TopicShape::Auto);
        }
        if self.json.len() <= topic {
            self.json.resize_with(topic + 1, JsonTopic::default);
        }
    }

    fn place(&self, raw: &RawRecord<'_>) -> String {
        match self.topics.get(raw.topic) {
            Some(topic) if !topic.name.is_empty() => format!("topic \"{}\" offset {}", topic.name, raw.offset),
            _ => format!("topic {} offset {}", raw.topic, raw.offset),
        }
    }

    fn shape(&self, topic: usize) -> TopicShape {
        match self.topics.get(topic).map_or(TopicShape::Auto, |options| options.shape) {
            TopicShape::Auto => self.seen.get(topic).copied().unwrap_or_default(),
            configured => configured,
        }
    }

    fn learn(&mut self, topic: usize, shape: TopicShape) {
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
                // Nothing says whose key it is.
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
        layouts: &mut Layouts,
    ) -> Result<Key, DecodeError> {
        let bytes = raw.key.unwrap_or(&[]);
        let base = record.raw.key.unwrap_or_default().start;
        match encoding {
            Encoding::Avro(id) => {
                let plan = self.keys.get(id, "key").map_err(|error| self.placed(raw, error))?;
                let reader = Reader::new(bytes, FRAME_BYTES, base);
                match avro::read_key(plan, &self.settings, reader, arena, &mut self.scratch) {
                    Ok(row) => Ok(Key { row, plan: KeyRef::Avro(id) }),
                    Err(fault) => Err(self.named_fault(raw, "key ", fault.named(&plan.row))),
                }
            }
            Encoding::Json => {
                let (Some(topic), Some(options)) = (self.json.get_mut(raw.topic), self.topics.get(raw.topic)) else {
                    return Err(self.named_fault(raw, "key ", Fault::Shape.into()));
                };
                let tools = Tools { settings: &self.settings, scratch: &mut self.scratch, arena, layouts };
                match topic.key(bytes, base, options, tools) {
                    Ok((row, plan)) => Ok(Key { row, plan: KeyRef::Json(plan) }),
                    Err(fault) => Err(self.named_fault(raw, "key ", fault)),
                }
            }
        }
    }

    fn key_plan(&self, raw: &RawRecord<'_>, key: KeyRef) -> Result<&KeyPlan, DecodeError> {
        match key {
            KeyRef::Avro(id) => self.keys.get(id, "key").map_err(|error| self.placed(raw, error)),
            KeyRef::Json(key) => self
                .json
                .get(raw.topic)
                .and_then(|topic| topic.key_plan(key).ok())
                .ok_or_else(|| self.named_fault(raw, "key ", Fault::Schema.into())),
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
        if key.row.is_empty() {
            return Ok(());
        }
        record.key_layout = self.key_plan(raw, key.plan)?.row.layout;
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
            let row = self.header_key(raw, key.plan, value, base, arena, layouts)?;
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
        key: KeyRef,
        value: &[u8],
        base: u32,
        arena: &mut Arena,
        layouts: &mut Layouts,
    ) -> Result<CellRange, DecodeError> {
        const WHAT: &str = "key in header ";
        if let Some(id) = frame_id(value) {
            self.keys.ensure(id, &self.cache, layouts)?;
            let plan = self.keys.get(id, WHAT).map_err(|error| self.placed(raw, error))?;
            let reader = Reader::new(value, FRAME_BYTES, base);
            return avro::read_key(plan, &self.settings, reader, arena, &mut self.scratch)
                .map_err(|fault| self.named_fault(raw, WHAT, fault.named(&plan.row)));
        }
        let hints = self.topics.get(raw.topic).map(|topic| topic.json).unwrap_or_default();
        let mut scratch = std::mem::take(&mut self.scratch);
        let read = self.key_plan(raw, key).and_then(|plan| {
            let mut tokens = json::header_tokens(value).map_err(|fault| self.named_fault(raw, WHAT, fault.into()))?;
            json::read_key(plan, &self.settings, &mut tokens, base, hints, arena, &mut scratch)
                .map_err(|fault| self.named_fault(raw, WHAT, fault.named(&plan.row)))
        });
        self.scratch = scratch;
        read
    }

    fn placed(&self, raw: &RawRecord<'_>, mut error: Error) -> DecodeError {
        error.detail = format!("{}: {}", self.place(raw), error.detail);
        DecodeError::Bad(error)
    }

    fn named_fault(&self, raw: &RawRecord<'_>, what: &str, fault: NamedFault) -> DecodeError {
        let place = self.place(raw);
        DecodeError::Bad(match fault.column {
            Some(column) => fault.fault.error(&format!("{place}, {what}column \"{column}\"")),
            None if what.is_empty() => fault.fault.error(&place),
            None => fault.fault.error(&format!("{place}, {}", what.trim_end())),
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
        let Encoding::Avro(id) = value else { return self.json_value(raw, bytes, key, arena, layouts) };
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
            .map_err(|fault| self.named_fault(raw, "", fault.named(row)))?;
        self.learn(raw.topic, shape);
        let ValueOutcome::Rows(rows) = outcome else { return Ok(Decoded::Ignored(Ignored::Control)) };
        rows.fill(&mut record);
        if let Some(encoding) = key {
            let key = self.read_key(raw, encoding, &record, arena, layouts)?;
            self.add_key(raw, &key, &mut record, arena, layouts)?;
        }
        Ok(Decoded::Change(record))
    }

    fn json_value(
        &mut self,
        raw: &RawRecord<'_>,
        bytes: &[u8],
        key: Option<Encoding>,
        arena: &mut Arena,
        layouts: &mut Layouts,
    ) -> Result<Decoded, DecodeError> {
        if let Some(Encoding::Avro(id)) = key {
            self.keys.ensure(id, &self.cache, layouts)?;
        }
        let mut record = self.store(raw, arena);
        let base = record.raw.value.unwrap_or_default().start;
        let known = self.shape(raw.topic);
        let (Some(topic), Some(options)) = (self.json.get_mut(raw.topic), self.topics.get(raw.topic)) else {
            return Err(self.named_fault(raw, "", Fault::Shape.into()));
        };
        let tools = Tools { settings: &self.settings, scratch: &mut self.scratch, arena, layouts };
        match topic.value(bytes, base, known, options, tools) {
            Ok(JsonOutcome::Ignored(ignored)) => return Ok(Decoded::Ignored(ignored)),
            Ok(JsonOutcome::Null) => return self.null_value(raw, key, arena, layouts),
            Ok(JsonOutcome::Rows { rows, layout, shape }) => {
                rows.fill(&mut record);
                record.layout = layout;
                self.learn(raw.topic, shape);
            }
            Err(fault) => return Err(self.named_fault(raw, "", fault)),
        }
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
        self.grow(raw.topic);
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
