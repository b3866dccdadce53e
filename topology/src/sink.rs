//! The contract of every sink. One writer is one connection to a target, used by one lane, never shared.

use std::sync::Arc;

use async_trait::async_trait;

use crate::batch::{ChangeBatch, HeldId};
use crate::error::Error;
use crate::generation::FirstRecord;
use crate::ledger::{CasOutcome, Claim, ClaimReply, ClaimRequest, Owner, TaskKey, TopicProgress};
use crate::output::{Output, Published};
use crate::record::EntityId;

/// What a kind of target can do; the engine asks instead of guessing.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Capabilities {
    /// Rows and ledger commit together.
    pub transactions: bool,
    /// Rows can be locked and read back in the writing transaction (needed by checked entities).
    pub read_back: bool,
    /// History rows can be appended.
    pub append: bool,
    /// Writes can be tagged for a loop guard.
    pub tags: bool,
}

/// Rows of one entity by outcome, for metrics.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct OutcomeCounts {
    /// Records whose effect is now in the target, also those reduced away.
    pub applied: u64,
    /// Records that changed nothing because the target already had exactly that.
    pub unchanged: u64,
    /// Snapshot reads of a two-way entity that met a different row and left it alone (rule B8).
    pub differs: u64,
    /// Records parked or queued behind a held key.
    pub parked: u64,
    /// Records kept as dead.
    pub dead: u64,
}

/// What an `apply` did.
#[derive(Debug, Default)]
pub struct Applied {
    /// Counts by entity.
    pub outcomes: Vec<(EntityId, OutcomeCounts)>,
    /// True when the batch took the slow path (rule E4).
    pub slow_path: bool,
    /// Partitions that must pause, with the reason: `Schema`, with all of their topic (rule E5); `Dependency`, because too much waits in them
    /// (rule H5). Their records were *not* applied and their spans not moved; the rest of the batch was.
    pub paused: Vec<(TaskKey, Error)>,
    /// Outputs were stored (rule O1): [`SinkWriter::outputs`] has them.
    pub has_outputs: bool,
}

/// Why an `apply` did not succeed.
#[derive(Debug)]
pub enum ApplyError {
    /// The CAS of some tasks matched nothing; nothing was written (rule L3). The caller rebuilds the batch without them.
    Cas(Vec<(TaskKey, CasOutcome)>),
    /// The reply to COMMIT was lost: the outcome is unknown until the tasks are claimed again (rule L4). The connection is closed.
    Unknown(Error),
    /// Nothing was written. The caller decides by [`crate::policy::action`].
    Failed(Error),
}

impl From<Error> for ApplyError {
    fn from(error: Error) -> ApplyError {
        ApplyError::Failed(error)
    }
}

/// A held row that is due, with the original bytes to run through the topology again (rules H2, H3).
#[derive(Clone, Debug)]
pub struct HeldRow {
    /// Its task.
    pub task: TaskKey,
    /// Its name within the task.
    pub id: HeldId,
    /// Attempts so far.
    pub attempts: i32,
    /// Milliseconds since it failed first, by the target's clock; 0 if it was not tried yet.
    pub waiting_ms: i64,
    /// It waits for the other half of its key change, and that one has left no word yet (rule B5): trying it is of no use. The name of the pair
    /// ([`crate::moves::waits_for`]).
    pub lacks_half: Option<Arc<str>>,
    /// Original key bytes.
    pub key: Option<Vec<u8>>,
    /// Original value bytes.
    pub value: Option<Vec<u8>>,
    /// Headers in the encoding of [`crate::raw::encode_headers`].
    pub headers: Vec<u8>,
    /// Kafka timestamp in milliseconds.
    pub timestamp_ms: i64,
}

/// Numbers of held rows of the claimed tasks, for metrics and `status`.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct HeldCounts {
    /// Waiting for something.
    pub parked: u64,
    /// Waiting behind a held row of the same key.
    pub queued: u64,
    /// Can never be applied as they are.
    pub dead: u64,
}

/// One connection to a target. Methods are called by one lane, one at a time. A future that is dropped half-way leaves the writer
/// in an unknown state: the next call must open a new connection (rule L4).
#[async_trait]
pub trait SinkWriter: Send {
    /// What this target can do.
    fn capabilities(&self) -> Capabilities;

    /// Claims tasks in key order in one short transaction: raise the epoch, set the owner, *then* read (rules A1, L). Waits for a
    /// zombie's open transaction. All or nothing: on error no claim counts.
    ///
    /// # Errors
    /// `Transient` and `Environment`: try again. Others: the lane stops.
    async fn claim(&mut self, requests: &[ClaimRequest]) -> Result<Vec<ClaimReply>, Error>;

    /// Applies a batch with its progress in one transaction; CAS first (rule L1).
    ///
    /// # Errors
    /// See [`ApplyError`]. Row errors are not errors of the call: such rows are parked or dead and counted in [`Applied`].
    async fn apply(&mut self, batch: &ChangeBatch) -> Result<Applied, ApplyError>;

    /// Held rows of these tasks that are due for another try (rule H2): at most `limit`, those that have been due for longest; by topic, partition
    /// and offset.
    ///
    /// # Errors
    /// As [`SinkWriter::claim`].
    async fn due_held(&mut self, claims: &[Claim], limit: usize) -> Result<Vec<HeldRow>, Error>;

    /// These rows were due and are not tried now, because that would be of no use ([`HeldRow::lacks_half`]) or is not possible: later, so that they
    /// do not take the place of others. Counts as an attempt of halves only. Not in the transaction of anything; a wake-up that comes at this
    /// very moment may be lost, which costs one delay.
    ///
    /// # Errors
    /// As [`SinkWriter::claim`].
    async fn postpone_held(&mut self, rows: &[(TaskKey, HeldId)]) -> Result<(), Error> {
        let _ = rows;
        Ok(())
    }

    /// Counts held rows of these tasks.
    ///
    /// # Errors
    /// As [`SinkWriter::claim`].
    async fn held_counts(&mut self, claims: &[Claim]) -> Result<HeldCounts, Error>;

    /// Reads what the ledger says of claimed tasks: (epoch, owner, next_offset), `None` for a missing row; in the order of `claims`. No lock, no
    /// write. Asked every few seconds while a lane is idle: a target that was restored, or a claim by another worker, is else
    /// noticed only with the next record. The default believes that nothing changed.
    ///
    /// # Errors
    /// As [`SinkWriter::claim`].
    async fn progress(&mut self, claims: &[Claim]) -> Result<Vec<Option<(i64, Owner, i64)>>, Error> {
        Ok(claims.iter().map(|claim| Some((claim.epoch, claim.owner, claim.next_offset))).collect())
    }

    /// What the ledger says of the task's topic in the task's direction, all partitions, whoever owns them (rules A6, B5). No lock, no write. With
    /// a record, held rows count that are parked or queued and older than it, whatever they wait for, but not its other half; without, the
    /// partitions' marks are told.
    ///
    /// # Errors
    /// As [`SinkWriter::claim`].
    async fn topic_progress(&mut self, task: &TaskKey, record: Option<&FirstRecord>) -> Result<TopicProgress, Error>;

    /// Outputs of these tasks after the numbers given, by task and number, at most `rows_max` (rules O). No lock, no write. The default is
    /// for targets that store none.
    ///
    /// # Errors
    /// As [`SinkWriter::claim`].
    async fn outputs(&mut self, after: &[Published], rows_max: usize) -> Result<Vec<Output>, Error> {
        let _ = (after, rows_max);
        Ok(Vec::new())
    }

    /// Outputs up to these numbers are published: they are deleted, and later ones get greater numbers, whatever the ledger row says (a
    /// target that was restored has numbers from before). May be repeated.
    ///
    /// # Errors
    /// As [`SinkWriter::claim`]; the numbers are remembered nevertheless.
    async fn forget_outputs(&mut self, published: &[Published]) -> Result<(), Error> {
        let _ = published;
        Ok(())
    }

    /// Runs a trivial statement: is the target there at all? (rule E2)
    ///
    /// # Errors
    /// Why it is not.
    async fn probe(&mut self) -> Result<(), Error>;

    /// Forgets tasks that were revoked: their cached held keys. Does no I/O.
    fn forget(&mut self, tasks: &[TaskKey]);

    /// Closes the connection without waiting; the next call opens a new one.
    fn disconnect(&mut self);
}
