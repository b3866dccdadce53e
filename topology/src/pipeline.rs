//! One raw record through decode, source-position dedupe and the processor graph, into a batch.
//!
//! Order matters (rule D1): the position mark is checked right after decoding, before guard and lens, else a resent bad record would
//! be dead-lettered twice. Every record that comes in is applied, held, dead or dropped under a counted outcome (OFF-1).

use crate::batch::{ChangeBatch, DeadRecord, TruncateMode};
use crate::data::{Arena, ArenaMark, CellRange, Layouts};
use crate::error::{Error, ErrorKind, Result, Stage};
use crate::graph::{Ran, Topology};
use crate::marks::{Marks, Seen};
use crate::mutation;
use crate::observe::Outcome;
use crate::raw::{Decode, DecodeError, Decoded, RawRecord};
use crate::record::{EntityId, Operation, Record, Slot};
use crate::state::TaskState;

/// What the pipeline must know of a topic, by its index in the direction.
#[derive(Clone, Debug)]
pub struct TopicSettings {
    /// Name in Kafka.
    pub name: String,
    /// The entity whose rows it carries.
    pub entity: EntityId,
    /// What to do about truncate events.
    pub truncate: TruncateMode,
}

/// What became of a raw record.
#[derive(Debug)]
pub enum Pushed {
    /// It is in the batch, dead in the batch, or dropped on purpose: progress may pass it.
    Done,
    /// Its schema must be fetched first; nothing was kept. Push it again then.
    SchemaNeeded(u32),
    /// Its topic-partition must stop here until an operator acts (rules B7, E5); progress must not pass it.
    Halt(Error),
    /// The lane must stop.
    Fatal(Error),
}

/// Counts since they were last taken, per entity: consumed, and by outcome.
#[derive(Clone, Debug, Default)]
pub struct Counts {
    /// Indexed by entity.
    pub consumed: Vec<u64>,
    /// Indexed by entity, then by position in [`Outcome::ALL`].
    pub outcomes: Vec<[u64; Outcome::ALL.len()]>,
    /// Resets of the source's log that the marks noticed (rule D3).
    pub log_resets: u64,
}

/// Decoder, graph and their state. Owned by one thread; a lane has one for its poll thread and one for released held rows.
pub struct Pipeline {
    decoder: Box<dyn Decode>,
    layouts: Layouts,
    topology: Topology,
    topics: Vec<TopicSettings>,
    counts: Counts,
}

impl Pipeline {
    /// Wires decoder and graph for the topics of a direction.
    ///
    /// # Errors
    /// `Configuration` when the graph has no source for a topic or a processor cannot work.
    pub fn new(decoder: Box<dyn Decode>, mut topology: Topology, topics: Vec<TopicSettings>) -> Result<Pipeline> {
        let mut layouts = Layouts::default();
        let names: Vec<String> = topics.iter().map(|topic| topic.name.clone()).collect();
        topology.bind(&names, &mut layouts)?;
        let entity_count = topics.iter().map(|topic| usize::from(topic.entity.0) + 1).max().unwrap_or(0);
        let counts =
            Counts { consumed: vec![0; entity_count], outcomes: vec![Default::default(); entity_count], log_resets: 0 };
        Ok(Pipeline { decoder, layouts, topology, topics, counts })
    }

    /// The topics, in the order of their indexes.
    pub fn topics(&self) -> &[TopicSettings] {
        &self.topics
    }

    /// Takes the counts.
    pub fn take_counts(&mut self) -> Counts {
        let empty = Counts {
            consumed: vec![0; self.counts.consumed.len()],
            outcomes: vec![Default::default(); self.counts.outcomes.len()],
            log_resets: 0,
        };
        std::mem::replace(&mut self.counts, empty)
    }

    /// Runs one record. `marks` is `None` for a held row that is tried again: its position was passed when it was parked.
    pub fn push(
        &mut self,
        slot: Slot,
        raw: &RawRecord<'_>,
        marks: Option<&mut Marks>,
        batch: &mut ChangeBatch,
    ) -> Pushed {
        let settings = &self.topics[raw.topic];
        let entity = settings.entity;
        let before = batch.arena.mark();
        let record = match self.decoder.decode(raw, &mut batch.arena, &mut self.layouts) {
            Ok(Decoded::Change(record)) => Record { slot, offset: raw.offset, entity, ..record },
            Ok(Decoded::Ignored(_)) => {
                batch.arena.truncate(before);
                self.drop_record(entity, Outcome::Filtered);
                return Pushed::Done;
            }
            Err(DecodeError::SchemaNeeded(id)) => {
                batch.arena.truncate(before);
                return Pushed::SchemaNeeded(id);
            }
            Err(DecodeError::Bad(error)) => {
                batch.arena.truncate(before);
                let record = Record { slot, offset: raw.offset, entity, ..Record::default() };
                return self.fail(record, None, raw, error, batch);
            }
        };
        crate::crash::point("decoded");
        self.counts.consumed[usize::from(entity.0)] += 1;
        let fingerprint = fingerprint(&record, raw.key, &batch.arena);
        let mut marks = marks;
        let marks_after_guard = mutation::is_active(mutation::MARK_AFTER_GUARD);
        let mut seen = Seen::New;
        if let Some(marks) = marks.as_deref_mut().filter(|_| !marks_after_guard) {
            seen = marks.look(&record.source, fingerprint);
            if seen == Seen::Resent {
                marks.note(&record.source, fingerprint);
                batch.arena.truncate(before);
                self.drop_record_counted(entity, Outcome::Duplicate);
                return Pushed::Done;
            }
        }
        let state = marks.as_deref_mut().filter(|_| !marks_after_guard).map(|marks| &mut marks.state);
        let pushed = self.run(raw, record, state, before, batch);
        let Some(marks) = marks else { return pushed };
        match pushed {
            Pushed::Done if marks_after_guard => {
                let was_emitted =
                    batch.records.last().is_some_and(|last| (last.slot, last.offset) == (slot, raw.offset));
                if was_emitted && marks.check(&record.source, fingerprint) == Seen::Resent {
                    batch.records.pop();
                    self.drop_record_counted(entity, Outcome::Duplicate);
                }
            }
            Pushed::Done => {
                marks.note(&record.source, fingerprint);
                marks.state.keep();
                self.counts.log_resets += u64::from(seen == Seen::LogReset);
            }
            // It is read again when the task goes on: it must not look as if it had been there, nor have left anything behind.
            Pushed::Halt(_) | Pushed::Fatal(_) | Pushed::SchemaNeeded(_) => marks.state.take_back(),
        }
        pushed
    }

    /// Runs a decoded record through the graph.
    fn run(
        &mut self,
        raw: &RawRecord<'_>,
        mut record: Record,
        state: Option<&mut TaskState>,
        before: ArenaMark,
        batch: &mut ChangeBatch,
    ) -> Pushed {
        if record.operation == Operation::Truncate {
            return self.truncate(record, raw.topic, batch);
        }
        let original = record;
        let emitted_before = batch.records.len();
        let records = &mut batch.records;
        let ran = self.topology.run(raw.topic, &mut record, &mut batch.arena, &self.layouts, state, &mut |record| {
            records.push(*record);
        });
        match ran {
            Ok(Ran::Emitted(_)) => Pushed::Done,
            Ok(Ran::Dropped(outcome)) => {
                batch.arena.truncate(before);
                self.drop_record_counted(original.entity, outcome);
                Pushed::Done
            }
            Err(error) => {
                // The lens replaces the key before the row: a later full image of that key supersedes what is dead (rule H4).
                let is_mapped = record.key != original.key || record.key_layout != original.key_layout;
                // All of its rows or none.
                batch.records.truncate(emitted_before);
                self.fail(original, is_mapped.then_some(record.key), raw, error, batch)
            }
        }
    }

    /// What a record is, before its turn: nothing is counted or remembered.
    pub fn look_at(&mut self, slot: Slot, raw: &RawRecord<'_>, batch: &mut ChangeBatch) -> Pushed {
        let counts = self.take_counts();
        let pushed = self.push(slot, raw, None, batch);
        self.counts = counts;
        pushed
    }

    /// Keeps a record as dead that cannot even be decoded, as when the registry does not know its schema.
    pub fn refuse(&mut self, slot: Slot, raw: &RawRecord<'_>, error: Error, batch: &mut ChangeBatch) -> Pushed {
        let entity = self.topics[raw.topic].entity;
        self.counts.consumed[usize::from(entity.0)] += 1;
        self.fail(Record { slot, offset: raw.offset, entity, ..Record::default() }, None, raw, error, batch)
    }

    fn truncate(&mut self, record: Record, topic: usize, batch: &mut ChangeBatch) -> Pushed {
        let settings = &self.topics[topic];
        match settings.truncate {
            TruncateMode::Ignore => self.drop_record_counted(record.entity, Outcome::Filtered),
            TruncateMode::Apply => batch.records.push(record),
            TruncateMode::Halt => {
                return Pushed::Halt(Error::new(
                    ErrorKind::Schema,
                    Stage::Decode,
                    "cannot apply truncate",
                    format!(
                        "topic {} offset {}: a truncate has no order against other partitions; set truncate: apply (one partition) \
                         or truncate: ignore for the entity",
                        settings.name, record.offset
                    ),
                ));
            }
        }
        Pushed::Done
    }

    /// `key`: the mapped one, if the record got that far.
    fn fail(
        &mut self,
        record: Record,
        key: Option<CellRange>,
        raw: &RawRecord<'_>,
        mut error: Error,
        batch: &mut ChangeBatch,
    ) -> Pushed {
        let place = format!("topic {} offset {}", self.topics[raw.topic].name, raw.offset);
        error.detail = if error.detail.is_empty() { place } else { format!("{place}: {}", error.detail) };
        match error.kind {
            ErrorKind::Data => {
                let arena = &mut batch.arena;
                let mut record = record;
                // The decoder may have failed before it stored the bytes, or they were truncated away: store them (again).
                record.raw.key = raw.key.map(|bytes| arena.push_bytes(bytes));
                record.raw.value = raw.value.map(|bytes| arena.push_bytes(bytes));
                record.raw.headers = Some(arena.push_bytes(raw.headers));
                record.raw.timestamp_ms = raw.timestamp_ms;
                batch.dead.push(DeadRecord::new(&record, key, &error));
                Pushed::Done
            }
            ErrorKind::Schema | ErrorKind::Dependency => Pushed::Halt(error),
            _ => Pushed::Fatal(error),
        }
    }

    fn drop_record(&mut self, entity: EntityId, outcome: Outcome) {
        self.counts.consumed[usize::from(entity.0)] += 1;
        self.drop_record_counted(entity, outcome);
    }

    fn drop_record_counted(&mut self, entity: EntityId, outcome: Outcome) {
        self.counts.outcomes[usize::from(entity.0)][outcome as usize] += 1;
    }
}

/// Tells different changes at one source position apart (rule D2): operation and key, or the row where the table has no key.
fn fingerprint(record: &Record, key: Option<&[u8]>, arena: &Arena) -> u64 {
    let operation = u64::from(record.operation.letter() as u32);
    match (key, record.after.or(record.before)) {
        (None, Some(row)) => arena.hash_row(operation, row),
        (key, _) => xxhash_rust::xxh3::xxh3_64_with_seed(key.unwrap_or_default(), operation),
    }
}

#[cfg(test)]
#[path = "pipeline_tests.rs"]
mod tests;
