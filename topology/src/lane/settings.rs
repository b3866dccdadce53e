//! What a lane is told by the configuration.

use std::collections::HashSet;
use std::future::Future;
use std::pin::Pin;
use std::sync::{Arc, Mutex};
use std::time::Duration;

use crate::batch::SnapshotMode;
use crate::batch::WriteTable;
use crate::error::Result;
use crate::ledger::TaskKey;
use crate::record::EntityId;

/// Fetches the schema of an id into the cache that the decoders read, for the writer's own pipeline. Called off the hot path only.
pub type FetchSchema = Box<dyn Fn(u32) -> Pin<Box<dyn Future<Output = Result<()>> + Send>> + Send + Sync>;

/// Retry of transient errors and backoff of pauses (design part 14).
#[derive(Clone, Debug)]
pub struct RetrySettings {
    /// Attempts before a transient error is treated like an environment error.
    pub attempts_max: u32,
    /// First wait.
    pub initial: Duration,
    /// Factor from wait to wait.
    pub multiplier: f64,
    /// Longest wait.
    pub cap: Duration,
    /// Share by which a wait is longer or shorter at random, below 1.
    pub jitter: f64,
}

impl Default for RetrySettings {
    /// The numbers that the earlier systems documented: 3 attempts, 1 s, ×2, at most 30 s.
    fn default() -> RetrySettings {
        RetrySettings {
            attempts_max: 3,
            initial: Duration::from_secs(1),
            multiplier: 2.0,
            cap: Duration::from_secs(30),
            jitter: 0.2,
        }
    }
}

impl RetrySettings {
    /// The wait before attempt `attempt` (the first retry is 1), with jitter from `random` so that lanes do not retry in step.
    pub fn wait(&self, attempt: u32, random: u64) -> Duration {
        let exponent = i32::try_from(attempt.saturating_sub(1)).unwrap_or(i32::MAX).min(64);
        let factor = self.multiplier.powi(exponent);
        let jitter = 1.0 - self.jitter + 2.0 * self.jitter * (random % 1000) as f64 / 1000.0;
        let seconds = (self.initial.as_secs_f64() * factor).min(self.cap.as_secs_f64()) * jitter;
        Duration::from_secs_f64(seconds)
    }
}

/// Where a partition without ledger row and without committed offset starts (rule L5).
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum StartFrom {
    /// At the oldest record there is.
    #[default]
    Earliest,
    /// After the newest, for partitions that exist at the direction's first start; later ones start at 0.
    Latest,
    /// At the first record of this time (milliseconds since the epoch), likewise.
    Timestamp(i64),
}

/// An operator's word that partitions may begin anew, for the logs and the ledger as they were when it was given. All lanes of a process share it.
///
/// It is used up, partition by partition, by the first progress: what retention takes or somebody deletes later is another decision.
#[derive(Debug, Default)]
pub struct StartDecision {
    used: Mutex<HashSet<TaskKey>>,
}

impl StartDecision {
    pub(super) fn holds_for(&self, task: &TaskKey) -> bool {
        !self.used.lock().expect("no panic while locked").contains(task)
    }

    /// Once per partition and batch, and only in a process to which the word was given.
    pub(super) fn use_up(&self, task: &TaskKey) {
        let mut used = self.used.lock().expect("no panic while locked");
        if !used.contains(task) {
            used.insert(task.clone());
        }
    }
}

/// Settings of one lane.
#[derive(Clone, Debug)]
pub struct LaneSettings {
    /// The configured pipeline.
    pub pipeline: Arc<str>,
    /// The direction, as in ledger rows and metrics.
    pub direction: Arc<str>,
    /// Consumer group, stored in the ledger (rule L6).
    pub group_id: Arc<str>,
    /// A batch closes at this many records.
    pub batch_rows_max: usize,
    /// A batch closes at this many bytes (MEM-1 counts at most three batches: building, handed over, being written).
    pub batch_bytes_max: usize,
    /// A batch closes this long after its first record.
    pub batch_age_max: Duration,
    /// Progress without rows is committed this often (rule L8).
    pub idle_progress_interval: Duration,
    /// Retry and backoff.
    pub retry: RetrySettings,
    /// First wait before a fenced task is claimed again (rule L3: 0.5 s to 30 s, doubling, with jitter).
    pub fenced_wait: Duration,
    /// Start of partitions that the ledger does not know.
    pub start_from: StartFrom,
    /// The operator said `run --start-from …`: a lost ledger or another log may begin anew (rules L6, L7).
    pub start_decision: Option<Arc<StartDecision>>,
    /// The written tables, indexed by entity.
    pub tables: Vec<WriteTable>,
    /// What snapshot reads do, indexed by entity.
    pub snapshots: Vec<SnapshotMode>,
    /// Entities, parents first (rule B1).
    pub order: Vec<EntityId>,
    /// Most held rows tried again at once.
    pub held_rows_max: usize,
    /// The direction has outputs to publish (rules O): only the emitter commits offsets of its group.
    pub publishes: bool,
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn waits_double_from_a_second_to_half_a_minute_with_jitter() {
        let retry = RetrySettings::default();
        let middle = |attempt| retry.wait(attempt, 500).as_secs_f64().round();
        assert_eq!([1, 2, 3, 4, 5, 6, 60].map(middle), [1.0, 2.0, 4.0, 8.0, 16.0, 30.0, 30.0]);
        for random in [0, 250, 999, u64::MAX] {
            let wait = retry.wait(1, random);
            assert!(wait >= Duration::from_millis(799) && wait <= Duration::from_millis(1201), "{wait:?}");
        }
        assert!(retry.wait(1, 0) < retry.wait(1, 999));
        let exact = RetrySettings { jitter: 0.0, ..retry };
        assert_eq!(exact.wait(2, 7), Duration::from_secs(2));
    }
}
