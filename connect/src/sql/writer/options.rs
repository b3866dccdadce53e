//! What a writer is made of, and the limits of what it holds.

use std::sync::Arc;

use topology::batch::{SnapshotMode, WriteTable};

use super::limit::DeadLimit;

/// A table that the direction writes.
#[derive(Clone, Debug)]
pub struct SinkTable {
    /// As the lens made it; `tables[i]` belongs to entity `i`.
    pub table: WriteTable,
    /// What snapshot reads do (rule B8).
    pub snapshot: SnapshotMode,
    /// Limits of its held rows, where they are not the writer's.
    pub held: Option<HeldLimits>,
}

/// When a parked row is tried again and when it is given up (rules E3, H2); how much may wait (rule H5).
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct HeldLimits {
    /// Delay before the first retry; at most a second, so that a missed wake-up costs no more.
    pub retry_first_ms: i64,
    /// Delays double up to this.
    pub retry_cap_ms: i64,
    /// A row that has waited this long is dead.
    pub dead_after_ms: i64,
    /// A row that has failed this often is dead; `None` for no limit.
    pub attempts_max: Option<i64>,
    /// Rows of one entity that may wait in one partition (rule H5).
    pub rows_max: u64,
    /// Bytes of records of one entity that may wait in one partition (rule H5).
    pub bytes_max: u64,
    /// Dead rows that have become history are deleted at this age; `None`: never.
    pub superseded_kept_ms: Option<i64>,
}

impl HeldLimits {
    /// What is used unless somebody says otherwise.
    pub const USUAL: HeldLimits = HeldLimits {
        retry_first_ms: 500,
        retry_cap_ms: 30_000,
        // One hour: longer than a snapshot's parent table usually lags behind its children, short enough to be seen the same day.
        dead_after_ms: 3_600_000,
        attempts_max: None,
        // What a claim reads into memory in about a second.
        rows_max: 100_000,
        bytes_max: 256 * 1024 * 1024,
        // A week: what happened before a weekend can still be looked at after it.
        superseded_kept_ms: Some(7 * 24 * 3_600_000),
    };
}

impl HeldLimits {
    /// Delay before the next try of a row that has waited this long: so much and the first delay, which is twice the delay before. Not by the
    /// number of tries: those that a wake-up causes make the row wait no longer.
    pub(crate) fn delay_ms(&self, age_ms: i64) -> i64 {
        self.retry_first_ms.saturating_add(age_ms.max(0)).min(self.retry_cap_ms.max(self.retry_first_ms))
    }

    /// True for a row that has failed `attempts` times in `age_ms`. Tries that a wake-up causes do not use up the attempts: the row gets as
    /// much time as they would take without any.
    pub(crate) fn gives_up(&self, attempts: i64, age_ms: i64) -> bool {
        let used_up = |limit: i64| attempts >= limit && age_ms >= self.age_at_attempt_ms(limit);
        age_ms >= self.dead_after_ms || self.attempts_max.is_some_and(used_up)
    }

    /// How old a row is at its n-th try when nothing wakes it; the first is at age 0.
    fn age_at_attempt_ms(&self, attempt: i64) -> i64 {
        // From here on all delays are as long as they get.
        const DOUBLINGS_MAX: i64 = 62;
        let age = (1..attempt.min(DOUBLINGS_MAX)).fold(0_i64, |age, _| age.saturating_add(self.delay_ms(age)));
        age.saturating_add(attempt.saturating_sub(DOUBLINGS_MAX).max(0).saturating_mul(self.retry_cap_ms))
    }
}

impl Default for HeldLimits {
    fn default() -> HeldLimits {
        HeldLimits::USUAL
    }
}

/// What a writer is made of.
pub struct WriterOptions {
    /// Written tables, indexed by entity.
    pub tables: Vec<SinkTable>,
    /// Limits of held rows.
    pub held: HeldLimits,
    /// When too much is dead (rule E6); `None` for no limit.
    pub dead: Option<DeadLimit>,
    /// Topic of dead letters; `None`: they stay in `tidelock_held` only.
    pub dead_letters: Option<Arc<str>>,
    /// Counters behind written columns are moved past explicit ids (`ids: same`).
    pub advance_sequences: bool,
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn delays_double_with_age_up_to_the_cap() {
        let limits = HeldLimits { retry_first_ms: 500, retry_cap_ms: 3_000, ..HeldLimits::USUAL };
        let ages: Vec<i64> = (1..=7).map(|attempt| limits.age_at_attempt_ms(attempt)).collect();
        assert_eq!(ages, [0, 500, 1_500, 3_500, 6_500, 9_500, 12_500]);
        assert_eq!(limits.age_at_attempt_ms(i64::MAX), i64::MAX);
    }

    #[test]
    fn tries_that_a_wake_up_causes_do_not_use_up_the_attempts() {
        let limits = HeldLimits { attempts_max: Some(3), ..HeldLimits::USUAL };
        assert!(!limits.gives_up(50, 1_400));
        assert!(!limits.gives_up(2, 1_500));
        assert!(limits.gives_up(3, 1_500));
        assert!(limits.gives_up(1, limits.dead_after_ms));
    }
}
