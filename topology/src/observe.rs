//! What a lane tells the outside about itself: counters, gauges and its state. The binary implements it with Prometheus handles
//! and a status page; tests use [`Silent`] or count for themselves.
//!
//! Nothing here is called per record: a lane sums up and calls once per batch, per poll or per change of state. Implementations
//! never block, never fail and never do I/O. Names and numbers only: no row values, no keys.

use crate::error::{Error, ErrorKind};
use crate::record::EntityId;
use crate::sink::HeldCounts;

/// What became of a record. The closed set behind the label `outcome`.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum Outcome {
    /// Its effect is in the target.
    Applied,
    /// The target already had exactly that; nothing was written.
    Unchanged,
    /// Our own write coming back; stopped by the loop guard.
    Echo,
    /// Resent by the source's capture; stopped by the dedupe mark (rules D).
    Duplicate,
    /// Older than what the target has.
    Stale,
    /// Left out by configuration: a row filter, a tombstone, a heartbeat, a truncate that is ignored.
    Filtered,
    /// A snapshot read of a two-way entity met a different row and left it alone (rule B8).
    Differs,
    /// Both sides changed the row; decided by the conflict policy.
    Conflict,
    /// Waits in the target for something, or behind a row that waits.
    Parked,
    /// Can never be applied; kept with its bytes.
    Dead,
}

impl Outcome {
    /// Every outcome, in the order of the documentation.
    pub const ALL: [Outcome; 10] = [
        Outcome::Applied,
        Outcome::Unchanged,
        Outcome::Echo,
        Outcome::Duplicate,
        Outcome::Stale,
        Outcome::Filtered,
        Outcome::Differs,
        Outcome::Conflict,
        Outcome::Parked,
        Outcome::Dead,
    ];

    /// Value of the label.
    pub fn name(self) -> &'static str {
        match self {
            Outcome::Applied => "applied",
            Outcome::Unchanged => "unchanged",
            Outcome::Echo => "echo",
            Outcome::Duplicate => "duplicate",
            Outcome::Stale => "stale",
            Outcome::Filtered => "filtered",
            Outcome::Differs => "differs",
            Outcome::Conflict => "conflict",
            Outcome::Parked => "parked",
            Outcome::Dead => "dead",
        }
    }
}

/// What a lane is doing. Moves freely between all but `Stopped`, which is the end.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum LaneState {
    /// Not yet a member of the group.
    Starting,
    /// Claims partitions in the target.
    Claiming,
    /// Reads and writes, or waits for records.
    Running,
    /// Keeps its membership and waits until the target, the registry or a look-up is back.
    Paused,
    /// Told to stop; finishes what it holds.
    Draining,
    /// Ended: drained, or stopped by an error that needs a person.
    Stopped,
}

impl LaneState {
    /// Every state, in order; the position is the value of the gauge.
    pub const ALL: [LaneState; 6] = [
        LaneState::Starting,
        LaneState::Claiming,
        LaneState::Running,
        LaneState::Paused,
        LaneState::Draining,
        LaneState::Stopped,
    ];

    /// Lower-case name for status, logs and labels.
    pub fn name(self) -> &'static str {
        match self {
            LaneState::Starting => "starting",
            LaneState::Claiming => "claiming",
            LaneState::Running => "running",
            LaneState::Paused => "paused",
            LaneState::Draining => "draining",
            LaneState::Stopped => "stopped",
        }
    }
}

/// Listener of one lane of one direction. Called by the lane's threads, also at the same time; every method may repeat.
#[allow(unused_variables)]
pub trait LaneObserver: Send + Sync {
    /// Records of an entity were read from Kafka and decoded, whatever becomes of them. Once per batch and entity.
    fn consumed(&self, entity: EntityId, count: u64) {}

    /// What became of records. Once per batch, entity and outcome, after the commit that made it true.
    fn records(&self, entity: EntityId, outcome: Outcome, count: u64) {}

    /// Seconds from the commit at the source to the commit at the target. Once per batch, for its oldest record that was applied.
    fn delay(&self, seconds: f64) {}

    /// A batch was committed: its records and the seconds from BEGIN to the reply to COMMIT.
    fn batch_written(&self, records: usize, seconds: f64) {}

    /// A batch had to be written row by row (rule E4).
    fn slow_path(&self) {}

    /// A batch or a claim is tried again because of an error of this kind.
    fn retried(&self, kind: ErrorKind) {}

    /// Cells that the source did not send (BAT-3).
    fn unavailable_values(&self, entity: EntityId, count: u64) {}

    /// A partition is ours from this offset on.
    fn claimed(&self, topic: &str, partition: i32, epoch: i64, next_offset: i64) {}

    /// A commit moved the progress of a partition.
    fn progress(&self, topic: &str, partition: i32, next_offset: i64) {}

    /// Records between our progress and the end of the partition. At most once a second.
    fn lag(&self, topic: &str, partition: i32, records: i64) {}

    /// A partition is stopped for a reason of its own (rules E5, L7, B7), the others flow; `None` ends it.
    fn partition_paused(&self, topic: &str, partition: i32, reason: Option<&Error>) {}

    /// A partition is no longer ours: its gauges go.
    fn released(&self, topic: &str, partition: i32) {}

    /// Held rows of the lane's partitions. When they change, and about once a second while there are any.
    fn held(&self, counts: HeldCounts) {}

    /// So many outputs, such as dead letters, were published (rules O).
    fn published(&self, count: u64) {}

    /// Whether outputs can be published: `None` when the brokers took them last time, or why not.
    fn publishing(&self, trouble: Option<&Error>) {}

    /// Bytes read but not yet committed (MEM-1). Once per poll round.
    fn buffered_bytes(&self, bytes: u64) {}

    /// Whether the target answered last time.
    fn target_up(&self, up: bool) {}

    /// The lane's state, with the reason for `Paused` and for `Stopped` by error.
    fn lane_state(&self, state: LaneState, reason: Option<&Error>) {}

    /// A numbered invariant (`OFF-1`, `BAT-1`, …) did not hold. The lane stops; this counts it.
    fn invariant_broken(&self, id: &'static str) {}

    /// The source's log began anew (rule D3), or the target went back in time (rule L3): taken, and worth a look.
    fn log_reset(&self, topic: &str, partition: i32) {}
}

/// Hears nothing.
#[derive(Clone, Copy, Debug, Default)]
pub struct Silent;

impl LaneObserver for Silent {}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_outcome_and_state_has_a_name_of_its_own() {
        let outcomes: std::collections::HashSet<_> = Outcome::ALL.iter().map(|outcome| outcome.name()).collect();
        assert_eq!(outcomes.len(), Outcome::ALL.len());
        let states: std::collections::HashSet<_> = LaneState::ALL.iter().map(|state| state.name()).collect();
        assert_eq!(states.len(), LaneState::ALL.len());
    }
}
