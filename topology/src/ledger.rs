//! The ledger contract (PROTOCOL rules L): progress of each task lives in the target, in the same transaction as the rows.

use std::fmt;
use std::sync::Arc;

use crate::generation::{FirstRecord, Generation};
use crate::marks::Marks;
use crate::mutation;

/// Names one task for ever: the primary key of its ledger row.
#[derive(Clone, Debug, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub struct TaskKey {
    /// The configured pipeline.
    pub pipeline: Arc<str>,
    /// `legacy→revamp`; separate lenses of one direction, such as `append`, have names of their own.
    pub direction: Arc<str>,
    /// Kafka topic.
    pub topic: Arc<str>,
    /// Partition of the topic.
    pub partition: i32,
}

impl TaskKey {
    /// True when both belong to one direction of one pipeline.
    pub fn is_of_direction(&self, other: &TaskKey) -> bool {
        (&self.pipeline, &self.direction) == (&other.pipeline, &other.direction)
    }
}

impl fmt::Display for TaskKey {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{} {} {}[{}]", self.pipeline, self.direction, self.topic, self.partition)
    }
}

/// A nonce per claim: asynchronous fail-over of the target can repeat an epoch, never an owner (rule L).
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub struct Owner(pub u128);

impl Owner {
    /// A new nonce.
    pub fn random(mut random: impl FnMut() -> u64) -> Owner {
        Owner(u128::from(random()) << 64 | u128::from(random()))
    }
}

impl fmt::Display for Owner {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{:032x}", self.0)
    }
}

/// What a writer asks of the ledger when the group assigns it a partition.
#[derive(Clone, Debug)]
pub struct ClaimRequest {
    /// Which task.
    pub task: TaskKey,
    /// Nonce of this claim.
    pub owner: Owner,
    /// Consumer group, stored for rule L6.
    pub group_id: Arc<str>,
    /// `None`: claim only what is there. `Some`: create the row at this offset if it is missing (rule L5, first start).
    pub start_offset: Option<i64>,
    /// Also a row that is there gets `start_offset` and `generation`: a person decided so (`run --start-from`, rules L6, L7).
    pub restart: bool,
    /// The generation of the topic that the row gets when it is created (rule A6).
    pub generation: Generation,
}

/// The ledger's answer to one [`ClaimRequest`].
#[derive(Clone, Debug)]
pub enum ClaimReply {
    /// The task is ours under this epoch; consumption starts at `next_offset`.
    Claimed(Claim),
    /// There is no row, and no `start_offset` was given.
    Missing {
        /// Generations of the topic's rows, each once (rule A6: is the partition newer than they are?).
        topic: Vec<Generation>,
        /// That of any row of this direction; `None` on the direction's first start (rule L5).
        direction: Option<Generation>,
    },
    /// Another consumer group updated the direction's rows within the last minutes (rule L6).
    OtherGroup {
        /// That group.
        group_id: String,
    },
}

impl ClaimReply {
    /// [`ClaimReply::Missing`], for targets that keep the ledger as a map.
    pub fn missing<'a>(
        request: &ClaimRequest,
        ledger: impl Iterator<Item = (&'a TaskKey, &'a LedgerRow)>,
    ) -> ClaimReply {
        let (mut topic, mut direction) = (Vec::new(), None);
        for (task, row) in ledger.filter(|(task, _)| task.is_of_direction(&request.task)) {
            direction = Some(row.generation);
            if task.topic == request.task.topic && !topic.contains(&row.generation) {
                topic.push(row.generation);
            }
        }
        ClaimReply::Missing { topic, direction }
    }
}

/// A claimed task.
#[derive(Clone, Debug)]
pub struct Claim {
    /// Which task.
    pub task: TaskKey,
    /// Raised by this claim; a writer with an older epoch is refused (FEN-1).
    pub epoch: i64,
    /// Nonce of this claim.
    pub owner: Owner,
    /// First offset not yet applied.
    pub next_offset: i64,
    /// Dedupe marks (rules D).
    pub marks: Marks,
    /// What the row says of the topic's generation (rule A6).
    pub generation: Generation,
    /// Hash of the record at `next_offset − 1`, 0 when unknown (rule L7).
    pub tail_hash: u64,
}

/// A row of `tidelock_progress` as a value: for targets that keep it as one document, and for tests.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct LedgerRow {
    /// First offset not yet applied.
    pub next_offset: i64,
    /// Raised by every claim.
    pub epoch: i64,
    /// Nonce of the last claim.
    pub owner: Owner,
    /// Consumer group of the last claim.
    pub group_id: Arc<str>,
    /// Dedupe marks.
    pub marks: Marks,
    /// The topic's generation.
    pub generation: Generation,
    /// Hash of the record at `next_offset − 1`.
    pub tail_hash: u64,
    /// Number of the last output (rule O1).
    pub outbox_seq: i64,
}

impl LedgerRow {
    /// The row that a first claim creates (rule L5).
    pub fn new(request: &ClaimRequest, start_offset: i64) -> LedgerRow {
        LedgerRow {
            next_offset: start_offset,
            epoch: 1,
            owner: request.owner,
            group_id: request.group_id.clone(),
            marks: Marks::default(),
            generation: request.generation,
            tail_hash: 0,
            outbox_seq: 0,
        }
    }

    /// The number of one more output, after all of the task's and those that are `published`.
    pub fn next_output(&mut self, published: i64) -> i64 {
        let next = self.outbox_seq.max(published) + 1;
        if !mutation::is_active(mutation::OUTPUTS_NOT_NUMBERED) {
            self.outbox_seq = next;
        }
        next
    }

    /// A claim takes the row over: whoever had it is fenced from now on (FEN-1).
    pub fn raise(&mut self, request: &ClaimRequest) {
        self.group_id = request.group_id.clone();
        if let (true, Some(start)) = (request.restart, request.start_offset) {
            self.next_offset = start;
            self.generation = request.generation;
            self.tail_hash = 0;
        }
        if mutation::is_active(mutation::CLAIM_WITHOUT_EPOCH) {
            return;
        }
        self.epoch += 1;
        self.owner = request.owner;
    }

    /// What the claimer is told.
    pub fn claim(&self, task: &TaskKey) -> Claim {
        Claim {
            task: task.clone(),
            epoch: self.epoch,
            owner: self.owner,
            next_offset: self.next_offset,
            marks: self.marks.clone(),
            generation: self.generation,
            tail_hash: self.tail_hash,
        }
    }

    /// The compare and set of a batch (rule L1); false when it does not match and nothing was set.
    pub fn compare_and_set(&mut self, span: &TaskSpan) -> bool {
        let is_ours = self.epoch == span.epoch && self.owner == span.owner;
        let is_expected = self.next_offset == span.from || mutation::is_active(mutation::NO_CAS);
        if is_ours && is_expected {
            self.next_offset = span.to;
            if !mutation::is_active(mutation::MARKS_NOT_STORED) {
                self.marks = span.marks.clone();
            }
            self.tail_hash = span.tail_hash;
            self.generation = span.generation;
        }
        is_ours && is_expected
    }
}

/// Progress of one task inside a batch: what the CAS checks and sets (rule L1).
#[derive(Clone, Debug)]
pub struct TaskSpan {
    /// Which task.
    pub task: TaskKey,
    /// Epoch under which we own it.
    pub epoch: i64,
    /// Owner under which we own it.
    pub owner: Owner,
    /// The ledger's `next_offset` that we know of: not the first record's offset, for logs have gaps.
    pub from: i64,
    /// Last consumed offset + 1.
    pub to: i64,
    /// Marks after this batch.
    pub marks: Marks,
    /// Hash of the record at `to − 1`.
    pub tail_hash: u64,
    /// The generation that the partition has reached (rule A6).
    pub generation: Generation,
    /// The batch is the first of that generation: it may only be committed while this is still so.
    pub passed: Option<Arc<Passed>>,
    /// Kafka timestamp of the last record, for delay metrics; −1 when none.
    pub last_timestamp_ms: i64,
}

/// What let the first record of a new generation go on (rule A6). A target that is restored to an earlier state takes it back, and may do so
/// before that record's transaction; the partition's own ledger row need not show it. So that transaction reads it again.
#[derive(Clone, Debug)]
pub struct Passed {
    /// The record.
    pub record: FirstRecord,
    /// What the target had said of the topic.
    pub progress: TopicProgress,
    /// It waited until no held row was left, too.
    pub waited_for_held: bool,
}

impl Passed {
    /// True when something that it waited for is not applied any more: the target was restored to an earlier state.
    pub fn is_undone(&self, now: &TopicProgress) -> bool {
        let has_reached = |before: &PartitionProgress| {
            let now = now.partitions.iter().find(|now| now.partition == before.partition);
            now.is_some_and(|now| now.next_offset >= before.next_offset)
        };
        (self.waited_for_held && now.held > 0) || !self.progress.partitions.iter().all(has_reached)
    }
}

/// What the ledger and the held rows say of one topic of a direction, whoever owns its partitions (rule A6).
#[derive(Clone, Debug, Default)]
pub struct TopicProgress {
    /// Its ledger rows.
    pub partitions: Vec<PartitionProgress>,
    /// Held rows that may still be applied and that records of a new generation must wait for (see [`crate::sink::SinkWriter::topic_progress`]).
    pub held: u64,
}

impl TopicProgress {
    /// The rows of a task's topic, for targets that keep the ledger as a map.
    pub fn of<'a>(
        task: &TaskKey,
        ledger: impl Iterator<Item = (&'a TaskKey, &'a LedgerRow)>,
        held: u64,
    ) -> TopicProgress {
        let of_topic = ledger.filter(|(other, _)| other.is_of_direction(task) && other.topic == task.topic);
        let partitions = of_topic.map(|(other, row)| PartitionProgress {
            partition: other.partition,
            next_offset: row.next_offset,
            generation: row.generation,
            marks: row.marks.clone(),
        });
        TopicProgress { partitions: partitions.collect(), held }
    }
}

/// One row of [`TopicProgress`].
#[derive(Clone, Debug)]
pub struct PartitionProgress {
    /// Partition of the topic.
    pub partition: i32,
    /// First offset not yet applied.
    pub next_offset: i64,
    /// The generation that it has reached.
    pub generation: Generation,
    /// Its dedupe marks, if they were asked for.
    pub marks: Marks,
}

/// What a lock-read of the ledger row says about a CAS that matched nothing (rule L3).
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum CasOutcome {
    /// Other epoch or owner: drop the task.
    Fenced,
    /// Ours, and already at `to`: the batch was committed before.
    AlreadyApplied,
    /// Ours, but behind `from`, or other partitions are behind what this one waited for: the target went back in time; seek to this offset.
    WentBack(i64),
    /// The row is gone (rule L6).
    Missing,
    /// Ours and exactly as expected, or ahead in a way no protocol step explains: a broken invariant.
    Inconsistent,
}

/// Judges a CAS that matched no row (rule L3). `row` is (epoch, owner, next_offset), `None` when the row is missing.
pub fn judge_cas(span: &TaskSpan, row: Option<(i64, Owner, i64)>) -> CasOutcome {
    match row {
        None => CasOutcome::Missing,
        Some((epoch, owner, _)) if epoch != span.epoch || owner != span.owner => CasOutcome::Fenced,
        Some((_, _, next_offset)) if next_offset == span.to && span.to != span.from => CasOutcome::AlreadyApplied,
        Some((_, _, next_offset)) if next_offset < span.from => CasOutcome::WentBack(next_offset),
        Some(_) => CasOutcome::Inconsistent,
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::generation::Waits;

    fn progress(offsets: &[i64], held: u64) -> TopicProgress {
        let row = |(partition, next_offset): (i32, &i64)| PartitionProgress {
            partition,
            next_offset: *next_offset,
            generation: Generation::default(),
            marks: Marks::default(),
        };
        TopicProgress { partitions: (0..).zip(offsets).map(row).collect(), held }
    }

    #[test]
    fn what_let_a_record_go_on_is_undone_when_a_partition_or_a_held_row_came_back() {
        let record = Waits { timestamp_ms: 1, ..Waits::default() }.into();
        let passed = Passed { record, progress: progress(&[5, 9], 0), waited_for_held: true };
        assert!(!passed.is_undone(&progress(&[5, 9], 0)));
        assert!(!passed.is_undone(&progress(&[6, 9, 0], 0)));
        assert!(passed.is_undone(&progress(&[6, 8], 0)));
        assert!(passed.is_undone(&progress(&[6], 0)), "a row that was not there yet");
        assert!(passed.is_undone(&progress(&[6, 9], 1)));
        assert!(!Passed { waited_for_held: false, ..passed }.is_undone(&progress(&[6, 9], 1)));
    }
}
