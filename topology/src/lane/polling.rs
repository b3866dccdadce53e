//! The polling half of a lane: a state machine without I/O.
//!
//! It keeps OFF-1 (progress never passes a record that is not in a batch or dropped under a counted outcome), OFF-2 (progress never goes
//! back within an epoch) and ORD-1 (one task's records are handed over in offset order). After anything odd it *rewinds*: forgets what is
//! not committed, and has the consumer seek to the ledger's offsets. That is simple, rare and cannot lose or double.

use std::collections::{HashMap, VecDeque};
use std::sync::Arc;
use std::time::Duration;

use super::message::{Command, Request, SealedBatch};
use super::settings::LaneSettings;
use super::start::claim_request;
use super::task::{Task, TaskState};
use crate::batch::ChangeBatch;
use crate::clock::Clock;
use crate::error::Error;
use crate::generation::{FirstRecord, Waits, half_hash, key_schema_of};
use crate::ledger::{ClaimRequest, TaskKey, TaskSpan};
use crate::mutation;
use crate::observe::{LaneObserver, LaneState};
use crate::output::Output;
use crate::pipeline::{Pipeline, Pushed};
use crate::raw::RawRecord;
use crate::record::Slot;
use crate::reduce::{ReduceTable, Reducer};

/// What became of a record that was offered to the lane.
#[derive(Debug)]
pub enum Taken {
    /// It is in the batch being built, or dropped on purpose.
    Yes,
    /// Not ours, or not at the offset we wait for: ignored.
    Ignored,
    /// Its schema must be fetched; offer the same record again then.
    SchemaNeeded(u32),
    /// Its partition was halted; the commands say so.
    Halted,
    /// The lane must stop.
    Fatal(Error),
}

/// The polling half.
pub struct Lane {
    pub(super) settings: LaneSettings,
    pub(super) pipeline: Pipeline,
    pub(super) observer: Arc<dyn LaneObserver>,
    pub(super) clock: Arc<dyn Clock>,
    /// Source of nonces and jitter; seeded in tests.
    pub(super) random: Box<dyn FnMut() -> u64 + Send>,
    reducer: Reducer,
    pub(super) reduce_tables: Vec<ReduceTable>,
    pub(super) tasks: Vec<Option<Task>>,
    pub(super) slots: HashMap<(usize, i32), Slot>,
    pub(super) building: ChangeBatch,
    /// When the first record of the building batch came; `None` while it is empty.
    pub(super) building_since_us: Option<u64>,
    last_seal_us: u64,
    /// A task waits for other partitions, and its ledger row does not say so yet: others may wait for that word.
    pub(super) tells_barrier: bool,
    pub(super) spare: Vec<ChangeBatch>,
    pub(super) rewind: u64,
    pub(super) commands: VecDeque<Command>,
    /// Outputs that the writer handed over and that are not known to be published (rules O).
    pub(super) outputs: Vec<Output>,
    /// Group offsets as last committed with the outputs.
    pub(super) offsets_told: HashMap<(usize, i32), i64>,
    /// Where the writer wants to know where a topic ends, and for which task (rule B5).
    pub(super) ends_wanted: HashMap<(usize, i32), TaskKey>,
    /// Batches handed over and not answered.
    pub(super) in_flight: usize,
    pub(super) in_flight_bytes: u64,
}

impl Lane {
    /// A lane without partitions.
    pub fn new(
        settings: LaneSettings,
        pipeline: Pipeline,
        observer: Arc<dyn LaneObserver>,
        clock: Arc<dyn Clock>,
        random: Box<dyn FnMut() -> u64 + Send>,
    ) -> Lane {
        let reduce_tables = settings
            .tables
            .iter()
            .zip(&settings.snapshots)
            .map(|(table, snapshot)| ReduceTable::new(table, *snapshot))
            .collect();
        let last_seal_us = clock.now_us();
        Lane {
            settings,
            pipeline,
            observer,
            clock,
            random,
            reducer: Reducer::default(),
            reduce_tables,
            tasks: Vec::new(),
            slots: HashMap::new(),
            building: ChangeBatch::default(),
            building_since_us: None,
            last_seal_us,
            tells_barrier: false,
            spare: Vec::new(),
            rewind: 0,
            commands: VecDeque::new(),
            outputs: Vec::new(),
            offsets_told: HashMap::new(),
            ends_wanted: HashMap::new(),
            in_flight: 0,
            in_flight_bytes: 0,
        }
    }

    /// The next thing to do, in order.
    pub fn next_command(&mut self) -> Option<Command> {
        self.commands.pop_front()
    }

    /// The group assigned partitions: notes them and asks for their claims (rule A1). No I/O.
    pub fn assigned(&mut self, partitions: &[(usize, i32)]) {
        let mut requests = Vec::new();
        for (topic, partition) in partitions.iter().copied() {
            if self.slots.contains_key(&(topic, partition)) {
                continue;
            }
            let key = TaskKey {
                pipeline: self.settings.pipeline.clone(),
                direction: self.settings.direction.clone(),
                topic: self.pipeline.topics()[topic].name.as_str().into(),
                partition,
            };
            let free = self.tasks.iter().position(Option::is_none).unwrap_or(self.tasks.len());
            let slot = Slot(u16::try_from(free).expect("fewer than 65536 partitions in a lane"));
            let mut task = Task::new(topic, partition, key);
            requests.push(claim_request(&self.settings, &mut task, &mut self.random));
            self.slots.insert((topic, partition), slot);
            if free == self.tasks.len() {
                self.tasks.push(Some(task));
            } else {
                self.tasks[free] = Some(task);
            }
        }
        self.request_claims(requests);
        // A lane that the group gives nothing is idle, not starting: it would never be ready.
        self.report_state();
    }

    /// The broker does not know some topics: connectors create them with the first record of a table. A lane that has nothing to read until
    /// then is idle, not starting.
    pub fn waits_for_topics(&self) {
        self.report_state();
    }

    /// The group took partitions away, or they were lost (rule A2): abandons what is not handed over.
    pub fn revoked(&mut self, partitions: &[(usize, i32)]) {
        let mut forgotten = Vec::new();
        for place in partitions {
            let Some(slot) = self.slots.remove(place) else { continue };
            let Some(task) = self.tasks[usize::from(slot.0)].take() else { continue };
            self.building.records.retain(|record| record.slot != slot);
            self.building.dead.retain(|dead| dead.slot != slot);
            self.observer.released(&task.key.topic, task.partition);
            self.offsets_told.remove(place);
            self.drop_outputs(&task.key);
            forgotten.push(task.key);
        }
        if !forgotten.is_empty() {
            self.commands.push_back(Command::Send(Request::Forget(forgotten)));
        }
        self.report_state();
    }

    /// Offers a record. `RawRecord::topic` is the index in the pipeline's topics.
    pub fn take(&mut self, partition: i32, raw: &RawRecord<'_>) -> Taken {
        self.offer(partition, raw, None)
    }

    /// Offers a record whose schema the registry does not know: it is kept as dead, with this error.
    pub fn refuse(&mut self, partition: i32, raw: &RawRecord<'_>, error: Error) -> Taken {
        self.offer(partition, raw, Some(error))
    }

    fn offer(&mut self, partition: i32, raw: &RawRecord<'_>, refused: Option<Error>) -> Taken {
        let Some(slot) = self.slots.get(&(raw.topic, partition)).copied() else { return Taken::Ignored };
        let is_starting = self.is_starting((raw.topic, partition));
        let Some(task) = &mut self.tasks[usize::from(slot.0)] else { return Taken::Ignored };
        // ORD-1: below the position it was prefetched before a seek; while not running the claim decides where to start. OFF-1: what comes
        // before that start may lie beyond it.
        if !task.is_running()
            || task.awaits_published
            || is_starting
            || task.halted_by.is_some()
            || task.barrier.is_some()
            || (raw.offset < task.position && !mutation::is_active(mutation::TAKE_BELOW_POSITION))
        {
            return Taken::Ignored;
        }
        let key_schema = key_schema_of(raw.key);
        if task.generation.is_new(key_schema) && !mutation::is_active(mutation::NO_BARRIER) {
            let other_half = match refused {
                None => match self.other_half(slot, raw) {
                    Ok(other_half) => other_half,
                    Err(schema) => return Taken::SchemaNeeded(schema),
                },
                Some(_) => None,
            };
            let waits =
                Waits { key_schema, timestamp_ms: raw.timestamp_ms, half: other_half.as_deref().map(half_hash) };
            self.wait_for_others(slot, FirstRecord { waits, other_half });
            return Taken::Ignored;
        }
        let pushed = match refused {
            None => self.pipeline.push(slot, raw, Some(&mut task.marks), &mut self.building),
            Some(error) => self.pipeline.refuse(slot, raw, error, &mut self.building),
        };
        match pushed {
            Pushed::Done => {}
            Pushed::SchemaNeeded(id) => return Taken::SchemaNeeded(id),
            Pushed::Fatal(error) => return Taken::Fatal(error),
            Pushed::Halt(error) => {
                self.halt(slot, error);
                return Taken::Halted;
            }
        }
        task.position = raw.offset + 1;
        task.generation.enter(key_schema);
        task.last_timestamp_ms = raw.timestamp_ms;
        task.tail_hash = tail_hash(raw);
        if self.building_since_us.is_none() {
            self.building_since_us = Some(self.clock.now_us());
        }
        Taken::Yes
    }

    /// Bytes held in memory by this lane (MEM-1).
    pub fn buffered_bytes(&self) -> u64 {
        self.building.arena.size_bytes() as u64 + self.in_flight_bytes
    }

    /// Batches handed over and not answered.
    pub fn in_flight(&self) -> usize {
        self.in_flight
    }

    /// True when the batch being built should be handed over now. `queue_empty`: no further record is at hand.
    pub fn is_due(&self, queue_empty: bool) -> bool {
        if self.tells_barrier {
            return true;
        }
        let Some(since) = self.building_since_us else { return false };
        let now = self.clock.now_us();
        if self.building.records.is_empty() && self.building.dead.is_empty() {
            // L8: progress alone, at most once in a while; at once while draining (the caller seals then).
            return elapsed(now, self.last_seal_us) >= self.settings.idle_progress_interval;
        }
        queue_empty
            || self.building.records.len() >= self.settings.batch_rows_max
            || self.building.arena.size_bytes() >= self.settings.batch_bytes_max
            || elapsed(now, since) >= self.settings.batch_age_max
    }

    /// True when the batch may not take another record.
    pub fn is_full(&self) -> bool {
        self.building.records.len() >= self.settings.batch_rows_max
            || self.building.arena.size_bytes() >= self.settings.batch_bytes_max
    }

    /// Closes the batch being built; `None` when no task has moved.
    pub fn seal(&mut self) -> Option<Box<SealedBatch>> {
        self.building_since_us = None;
        self.tells_barrier = false;
        let mut batch = std::mem::replace(&mut self.building, self.spare.pop().unwrap_or_default());
        batch.span_of_slot.clear();
        batch.span_of_slot.resize(self.tasks.len(), u16::MAX);
        let mut moved: Vec<(usize, TaskSpan)> = Vec::new();
        for (slot, task) in self.tasks.iter_mut().enumerate() {
            let Some(task) = task else { continue };
            let Some(claim) = &task.claim else { continue };
            if !task.is_running() || !task.has_news() {
                continue;
            }
            moved.push((
                slot,
                TaskSpan {
                    task: task.key.clone(),
                    epoch: claim.epoch,
                    owner: claim.owner,
                    from: first_of(&batch, slot)
                        .filter(|_| mutation::is_active(mutation::SPAN_FROM_FIRST_RECORD))
                        .unwrap_or(task.handed),
                    to: task.position,
                    marks: task.marks.clone(),
                    tail_hash: task.tail_hash,
                    generation: task.generation,
                    passed: task.passed.take(),
                    last_timestamp_ms: task.last_timestamp_ms,
                },
            ));
            task.handed = task.position;
            task.handed_generation = task.generation;
        }
        if moved.is_empty() {
            recycle(&mut self.spare, batch);
            return None;
        }
        moved.sort_by(|a, b| a.1.task.cmp(&b.1.task));
        for (slot, span) in moved {
            batch.span_of_slot[slot] = batch.spans.len() as u16;
            batch.spans.push(span);
        }
        // Records of a task that was halted meanwhile are behind its progress: they come again.
        let span_of_slot = &batch.span_of_slot;
        batch.records.retain(|record| span_of_slot[usize::from(record.slot.0)] != u16::MAX);
        batch.dead.retain(|dead| span_of_slot[usize::from(dead.slot.0)] != u16::MAX);
        self.reducer.reduce(&mut batch, &self.reduce_tables, &self.settings.order);
        self.last_seal_us = self.clock.now_us();
        self.in_flight += 1;
        self.in_flight_bytes += batch.arena.size_bytes() as u64;
        Some(Box::new(SealedBatch { batch, rewind: self.rewind, counts: self.pipeline.take_counts() }))
    }

    /// Time passed: claims again what was fenced and is due. Call it at least once a second.
    pub fn tick(&mut self) {
        let now = self.clock.now_us();
        let mut requests = Vec::new();
        for task in self.tasks.iter_mut().flatten() {
            if let TaskState::Fenced { retry_at_us } = task.state
                && now >= retry_at_us
            {
                task.state = TaskState::Claiming;
                requests.push(claim_request(&self.settings, task, &mut self.random));
            }
        }
        self.request_claims(requests);
        self.look_at_barriers(now);
        self.observer.buffered_bytes(self.buffered_bytes());
    }

    /// The partition cannot go on: progress stays before the record that stopped it, the others flow (rules B7, L7).
    pub fn halt_partition(&mut self, topic: usize, partition: i32, error: Error) {
        if let Some(slot) = self.slots.get(&(topic, partition)).copied() {
            self.halt(slot, error);
        }
    }

    /// Next offset to apply of a task, as of the last commit; `None` while it is not claimed.
    pub fn committed(&self, topic: usize, partition: i32) -> Option<i64> {
        let slot = self.slots.get(&(topic, partition))?;
        let task = self.tasks[usize::from(slot.0)].as_ref()?;
        task.claim.as_ref().map(|_| task.committed)
    }

    /// True when every record that was taken is committed.
    pub fn is_settled(&self, topic: usize, partition: i32) -> bool {
        let slot = self.slots.get(&(topic, partition));
        let task = slot.and_then(|slot| self.tasks[usize::from(slot.0)].as_ref());
        task.is_some_and(|task| task.is_running() && task.position == task.committed)
    }

    /// True as long as nobody has been told where the partition starts: what comes of it is from another place (OFF-1).
    fn is_starting(&self, place: (usize, i32)) -> bool {
        self.commands.iter().any(|command| matches!(command, Command::Start(at) if (at.topic, at.partition) == place))
    }

    /// Topic and partition of every task that takes records.
    pub fn running(&self) -> impl Iterator<Item = (usize, i32)> + '_ {
        let takes = |task: &&Task| {
            task.is_running()
                && task.barrier.is_none()
                && task.halted_by.is_none()
                && !task.awaits_published
                && !self.is_starting((task.topic, task.partition))
        };
        self.tasks.iter().flatten().filter(takes).map(|task| (task.topic, task.partition))
    }

    /// Name of a topic by its index.
    pub fn topic_name(&self, topic: usize) -> &str {
        &self.pipeline.topics()[topic].name
    }

    pub(super) fn request_claims(&mut self, mut requests: Vec<ClaimRequest>) {
        if requests.is_empty() {
            return;
        }
        requests.sort_by(|a, b| a.task.cmp(&b.task));
        self.commands.push_back(Command::Send(Request::Claim(requests)));
        self.report_state();
    }

    pub(super) fn task_mut(&mut self, key: &TaskKey) -> Option<&mut Task> {
        self.tasks.iter_mut().flatten().find(|task| task.key == *key)
    }

    pub(super) fn slot_of(&self, key: &TaskKey) -> Option<Slot> {
        let at = self.tasks.iter().position(|task| task.as_ref().is_some_and(|task| task.key == *key))?;
        Some(Slot(at as u16))
    }

    pub(super) fn halt(&mut self, slot: Slot, error: Error) {
        let Some(task) = &mut self.tasks[usize::from(slot.0)] else { return };
        self.observer.partition_paused(&task.key.topic, task.partition, Some(&error));
        self.commands.push_back(Command::Pause { topic: task.topic, partition: task.partition });
        // What was taken before the record that stopped it still goes: the task stays running for `seal`, without new records.
        if matches!(task.state, TaskState::Running) && task.position > task.handed {
            task.halted_by = Some(error);
            return;
        }
        task.state = TaskState::Halted;
        task.halted_by = Some(error);
        self.report_state();
    }

    pub(super) fn report_state(&self) {
        let mut state = LaneState::Running;
        if self.tasks.iter().flatten().any(|task| matches!(task.state, TaskState::Claiming)) {
            state = LaneState::Claiming;
        }
        self.observer.lane_state(state, None);
    }
}

/// Offset of the first record of a slot.
fn first_of(batch: &ChangeBatch, slot: usize) -> Option<i64> {
    batch.records.iter().find(|record| usize::from(record.slot.0) == slot).map(|record| record.offset)
}

pub(super) fn recycle(spare: &mut Vec<ChangeBatch>, mut batch: ChangeBatch) {
    if spare.len() < 3 {
        batch.arena.clear();
        batch.records.clear();
        batch.next_of_key.clear();
        batch.spans.clear();
        batch.span_of_slot.clear();
        batch.stages.clear();
        batch.dead.clear();
        batch.releases.clear();
        batch.alone.clear();
        spare.push(batch);
    }
}

fn elapsed(now_us: u64, since_us: u64) -> Duration {
    Duration::from_micros(now_us.saturating_sub(since_us))
}

/// Identifies the record at `next_offset − 1` (rule L7). Made for every record and used for one per batch, so it looks at the end of the
/// value only, where an envelope has its times and its position.
pub fn tail_hash(raw: &RawRecord<'_>) -> u64 {
    use xxhash_rust::xxh3::xxh3_64_with_seed as hash;
    let value = raw.value.unwrap_or_default();
    let key = hash(raw.key.unwrap_or_default(), raw.timestamp_ms.cast_unsigned());
    hash(value.last_chunk::<64>().map_or(value, |end| end.as_slice()), key ^ value.len() as u64)
}
