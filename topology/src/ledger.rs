//! The ledger contract (PROTOCOL rules L): progress of each task lives in the target, in the same transaction as the rows.

use std::fmt;
use std::sync::Arc;

use crate::marks::Marks;

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

impl fmt::Display for TaskKey {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{} {} {}[{}]", self.pipeline, self.direction, self.topic, self.partition)
    }
}

/// A nonce per claim: asynchronous fail-over of the target can repeat an epoch, never an owner (rule L).
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub struct Owner(pub u128);

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
    /// The generation of the topic that the row gets when it is created.
    pub generation: String,
}

/// The ledger's answer to one [`ClaimRequest`].
#[derive(Clone, Debug)]
pub enum ClaimReply {
    /// The task is ours under this epoch; consumption starts at `next_offset`.
    Claimed(Claim),
    /// There is no row, and no `start_offset` was given.
    Missing {
        /// Other partitions of the same topic have rows (rule L6: then a missing one may be a lost ledger).
        topic_known: bool,
        /// Any row of this direction exists: it is not the direction's first start (rule L5).
        direction_known: bool,
    },
    /// Another consumer group updated the direction's rows within the last minutes (rule L6).
    OtherGroup {
        /// That group.
        group_id: String,
    },
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
    /// Topic id, partition count, key schema id as last stored (rules L7, A6); empty when unknown.
    pub generation: String,
    /// Hash of the record at `next_offset − 1`, 0 when unknown (rule L7).
    pub tail_hash: u64,
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
    /// Kafka timestamp of the last record, for delay metrics; −1 when none.
    pub last_timestamp_ms: i64,
}

/// What a lock-read of the ledger row says about a CAS that matched nothing (rule L3).
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum CasOutcome {
    /// Other epoch or owner: drop the task.
    Fenced,
    /// Ours, and already at `to`: the batch was committed before.
    AlreadyApplied,
    /// Ours, but behind `from`: the target went back in time; seek to this offset.
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
