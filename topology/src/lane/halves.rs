//! Halves of key changes whose other half will not come (rule B5): it was filtered, was discarded, or lies before the start of its partition.
//!
//! Nobody says so. But both halves are written at the same moment: when one has waited for a while, the other is in the log or never will
//! be. So the writer asks where all partitions of the topic end, and when the ledger says that all of them are applied that far, the other
//! half was met or will not come. A partition that waits at a younger record (rule A6) has applied what is older.

use std::collections::HashMap;
use std::sync::Arc;

use super::message::{PartitionEnds, Reply};
use super::writer::Writer;
use crate::error::Error;
use crate::generation::{FirstRecord, Waits};
use crate::ledger::{TaskKey, TopicProgress};
use crate::moves::WAIT_ATTEMPTS_MAX;
use crate::mutation;
use crate::sink::HeldRow;

/// How long a half has waited at least when it is asked where the partitions end: producers send to different brokers, and try again.
const SETTLED_MS: i64 = 30_000;

/// A question that was not answered for so long is asked again.
const ASK_AGAIN_US: u64 = 10_000_000;

/// One look at a topic.
#[derive(Debug)]
struct Look {
    asked_at_us: u64,
    /// `None` until the brokers have said.
    ends: Option<Vec<PartitionEnds>>,
}

/// What is known of one topic.
#[derive(Debug, Default)]
struct Topic {
    /// The look that is under way.
    look: Option<Look>,
    /// When the last look was asked whose ends are all applied by now.
    passed_at_us: Option<u64>,
}

/// What the writer knows about topics with halves that wait for long.
#[derive(Debug, Default)]
pub(super) struct Halves(HashMap<Arc<str>, Topic>);

impl Halves {
    /// The target may have gone back: what it had applied may not be applied any more.
    pub(super) fn forget_all(&mut self) {
        self.0.clear();
    }

    /// An answer of the brokers.
    pub(super) fn ends(&mut self, topic: &str, ends: Vec<PartitionEnds>) {
        if let Some(look) = self.0.get_mut(topic).and_then(|topic| topic.look.as_mut()) {
            // Only the first answer: what comes later in the log is for those that wait by then.
            look.ends.get_or_insert(ends);
        }
    }
}

/// It had waited long enough when this was asked.
fn had_settled(row: &HeldRow, asked_at_us: u64, now_us: u64) -> bool {
    let since_ms = i64::try_from(now_us.saturating_sub(asked_at_us) / 1000).unwrap_or(i64::MAX);
    row.waiting_ms - since_ms >= SETTLED_MS
}

/// All records before this time, of Kafka's milliseconds, that the log had when `ends` were asked are applied; all of them: `i64::MAX`.
fn applied_before_ms(ends: &[PartitionEnds], progress: &TopicProgress) -> i64 {
    let before = |end: &PartitionEnds| match progress.partitions.iter().find(|row| row.partition == end.partition) {
        None if end.low == end.high => i64::MAX,
        Some(row) if row.next_offset >= end.high => i64::MAX,
        Some(row) => row.generation.waits.map_or(i64::MIN, |waits| waits.timestamp_ms),
        None => i64::MIN,
    };
    ends.iter().map(before).min().unwrap_or(i64::MIN)
}

impl Writer {
    /// Which of these rows are halves whose other half will not come.
    pub(super) async fn find_alone(&mut self, due: &[HeldRow]) -> Result<Vec<bool>, Error> {
        let mut alone = vec![false; due.len()];
        if mutation::is_active(mutation::GIVE_UP_EARLY) {
            return Ok(due.iter().map(|row| row.lacks_half.is_some()).collect());
        }
        let waits_long = |row: &HeldRow| row.lacks_half.is_some() && row.attempts >= WAIT_ATTEMPTS_MAX;
        let mut rows: Vec<usize> = (0..due.len()).filter(|at| waits_long(&due[*at])).collect();
        rows.sort_by(|a, b| due[*a].task.topic.cmp(&due[*b].task.topic));
        for of_topic in rows.chunk_by(|a, b| due[*a].task.topic == due[*b].task.topic) {
            let task = &due[of_topic[0]].task;
            let before_ms = self.look(task).await?;
            let now_us = self.clock.now_us();
            let topic = self.halves.0.entry(Arc::clone(&task.topic)).or_default();
            let mut asks = false;
            for at in of_topic {
                let row = &due[*at];
                let had_settled_at = |at_us: Option<u64>| at_us.is_some_and(|at_us| had_settled(row, at_us, now_us));
                let looked_at_us = topic.look.as_ref().map(|look| look.asked_at_us);
                alone[*at] = had_settled_at(topic.passed_at_us)
                    || (had_settled_at(looked_at_us) && row.timestamp_ms < before_ms);
                asks |= !alone[*at] && row.waiting_ms >= SETTLED_MS && looked_at_us.is_none();
            }
            let is_overdue = |look: &Look| look.ends.is_none() && now_us >= look.asked_at_us + ASK_AGAIN_US;
            if asks || topic.look.as_ref().is_some_and(is_overdue) {
                topic.look = Some(Look { asked_at_us: now_us, ends: None });
                // The other half may be gone: then nobody needs the answer.
                let _ = self.replies.send(Reply::AskEnds(task.clone()));
            }
        }
        Ok(alone)
    }

    /// Before which time everything is applied that the topic held when the look under way was asked. The look ends when that is all.
    async fn look(&mut self, task: &TaskKey) -> Result<i64, Error> {
        let topic = self.halves.0.entry(Arc::clone(&task.topic)).or_default();
        let Some(Look { asked_at_us, ends: Some(ends) }) = &topic.look else { return Ok(i64::MIN) };
        // Held rows do not matter here.
        let nothing = FirstRecord::from(Waits { key_schema: None, timestamp_ms: 0 });
        let progress = self.sink.topic_progress(task, &nothing).await?;
        let before_ms = applied_before_ms(ends, &progress);
        if before_ms == i64::MAX {
            topic.passed_at_us = Some(*asked_at_us);
            topic.look = None;
        }
        Ok(before_ms)
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::batch::HeldId;
    use crate::generation::Generation;
    use crate::ledger::PartitionProgress;

    fn progress(rows: &[(i32, i64, Option<i64>)]) -> TopicProgress {
        let waits = |timestamp_ms| Waits { key_schema: None, timestamp_ms };
        let row = |(partition, next_offset, waits_at): &(i32, i64, Option<i64>)| PartitionProgress {
            partition: *partition,
            next_offset: *next_offset,
            generation: Generation { waits: waits_at.map(waits), ..Generation::default() },
        };
        TopicProgress { partitions: rows.iter().map(row).collect(), held: 0 }
    }

    fn ends(high: &[i64]) -> Vec<PartitionEnds> {
        (0..).zip(high).map(|(partition, high)| PartitionEnds { partition, low: 0, high: *high }).collect()
    }

    #[test]
    fn everything_is_applied_when_every_partition_is_as_far_as_its_log_was() {
        assert_eq!(applied_before_ms(&ends(&[5, 9]), &progress(&[(0, 5, None), (1, 10, None)])), i64::MAX);
        assert_eq!(applied_before_ms(&ends(&[5, 9]), &progress(&[(0, 5, None), (1, 8, None)])), i64::MIN);
        assert_eq!(applied_before_ms(&ends(&[5, 9]), &progress(&[(0, 5, None)])), i64::MIN, "nobody has begun it");
        assert_eq!(applied_before_ms(&ends(&[5, 0]), &progress(&[(0, 5, None)])), i64::MAX, "it was empty");
        assert_eq!(applied_before_ms(&[], &progress(&[])), i64::MIN, "nothing is known");
    }

    #[test]
    fn a_partition_that_waits_for_held_rows_has_applied_what_is_older_than_its_record() {
        assert_eq!(applied_before_ms(&ends(&[5, 9]), &progress(&[(0, 5, None), (1, 3, Some(70))])), 70);
    }

    #[test]
    fn a_look_speaks_for_those_that_had_waited_long_enough_when_it_was_asked() {
        let row = |waiting_ms| HeldRow {
            task: TaskKey { pipeline: "p".into(), direction: "a→b".into(), topic: "t".into(), partition: 0 },
            id: HeldId { offset: 1, ordinal: 0 },
            attempts: WAIT_ATTEMPTS_MAX,
            waiting_ms,
            lacks_half: Some("move:1".into()),
            key: None,
            value: None,
            headers: Vec::new(),
            timestamp_ms: 0,
        };
        let (asked_at_us, now_us) = (1_000_000, 61_000_000);
        assert!(had_settled(&row(SETTLED_MS + 60_000), asked_at_us, now_us));
        assert!(!had_settled(&row(SETTLED_MS + 59_999), asked_at_us, now_us));
    }
}
