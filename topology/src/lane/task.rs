//! What the polling half knows of one task.

use std::sync::Arc;

use super::barrier::Barrier;
use super::message::StartAt;
use crate::error::Error;
use crate::generation::Generation;
use crate::ledger::{Claim, Owner, Passed, TaskKey};
use crate::marks::Marks;

/// Where a task stands; see the picture in [`super`].
#[derive(Debug)]
pub(super) enum TaskState {
    /// A claim is under way (or the start offset is being looked up).
    Claiming,
    /// Consuming.
    Running,
    /// Lost to another owner; claims again at this time if still assigned.
    Fenced { retry_at_us: u64 },
    /// Cannot go on; the reason is with the observer.
    Halted,
}

/// What a claim said that found no row.
#[derive(Clone, Copy, Debug, Default)]
pub(super) struct Missing {
    /// Partitions that the topic had before this one came; 0 when it was always there.
    pub(super) grown_from: i32,
    /// When the direction first started; `None` when it starts now.
    pub(super) started_ms: Option<i64>,
}

/// One task.
#[derive(Debug)]
pub(super) struct Task {
    pub(super) topic: usize,
    pub(super) partition: i32,
    pub(super) key: TaskKey,
    pub(super) state: TaskState,
    pub(super) claim: Option<Claim>,
    /// Nonce of the claim under way.
    pub(super) claiming: Option<Owner>,
    /// Ledger's next_offset as of the last commit that we know of.
    pub(super) committed: i64,
    pub(super) committed_marks: Marks,
    /// `to` of the last batch handed over.
    pub(super) handed: i64,
    pub(super) handed_generation: Generation,
    /// Next offset to consume.
    pub(super) position: i64,
    pub(super) marks: Marks,
    pub(super) tail_hash: u64,
    pub(super) last_timestamp_ms: i64,
    /// Times fenced in a row, for the doubling wait.
    pub(super) fenced_count: u32,
    /// Where a task without ledger row starts, once it was looked up (rule L5).
    pub(super) start_offset: Option<i64>,
    /// What the ledger said of the topic's other rows when it had none of this task.
    pub(super) missing: Missing,
    /// A person decided that the row starts anew there.
    pub(super) restart: bool,
    /// The generation that the task has reached, as of the last record taken (rule A6).
    pub(super) generation: Generation,
    pub(super) committed_generation: Generation,
    /// The next record is of a new generation and waits.
    pub(super) barrier: Option<Barrier>,
    /// Why the last one that waited could go on, until it is in a batch.
    pub(super) passed: Option<Arc<Passed>>,
    /// Not fetched before the emitter has said what is published of its outputs: the numbers of new ones follow (rule O2).
    pub(super) awaits_published: bool,
    /// Why no further record is taken; what was taken before still goes.
    pub(super) halted_by: Option<Error>,
}

impl Task {
    pub(super) fn new(topic: usize, partition: i32, key: TaskKey) -> Task {
        Task {
            topic,
            partition,
            key,
            state: TaskState::Claiming,
            claim: None,
            claiming: None,
            committed: 0,
            committed_marks: Marks::default(),
            handed: 0,
            handed_generation: Generation::default(),
            position: 0,
            marks: Marks::default(),
            tail_hash: 0,
            last_timestamp_ms: -1,
            fenced_count: 0,
            start_offset: None,
            missing: Missing::default(),
            restart: false,
            generation: Generation::default(),
            committed_generation: Generation::default(),
            barrier: None,
            passed: None,
            awaits_published: false,
            halted_by: None,
        }
    }

    pub(super) fn is_running(&self) -> bool {
        matches!(self.state, TaskState::Running)
    }

    /// Where it is to be fetched from. The log was the right one up to where progress was last committed.
    pub(super) fn start_at(&self, offset: i64) -> StartAt {
        StartAt { topic: self.topic, partition: self.partition, offset, tail_hash: 0 }
    }

    /// The ledger has all that the task knows, also that it waits.
    pub(super) fn is_told(&self) -> bool {
        self.committed == self.position && self.committed_generation == self.generation
    }

    /// Something for the ledger that is not in a batch yet.
    pub(super) fn has_news(&self) -> bool {
        self.position != self.handed || (self.barrier.is_some() && self.generation != self.handed_generation)
    }

    /// Forgets what was consumed and not committed.
    pub(super) fn rewind(&mut self) {
        self.handed = self.committed;
        self.handed_generation = self.committed_generation;
        self.position = self.committed;
        self.marks = self.committed_marks.clone();
        self.generation = self.committed_generation;
        // Met again with the record.
        self.barrier = None;
        self.passed = None;
    }
}
