//! Halves of key changes whose other half will not come (rule B5): it was filtered, was discarded, or lies before the start of its partition.
//!
//! Nobody says so. But both halves are written at the same moment: when one has waited for a while, the other is in the log or never will
//! be. So the writer asks where all partitions of the topic end (a *look*). When the ledger says that a partition is applied that far, or
//! that it has passed the source's position that both halves have, the other half was met there or is in another one. A partition that waits
//! at a younger record (rule A6) has applied what is older.

use std::collections::{HashMap, VecDeque};
use std::sync::Arc;

use super::message::{PartitionEnds, Reply};
use super::writer::Writer;
use crate::batch::ChangeBatch;
use crate::error::{Error, ErrorKind};
use crate::generation::half_hash;
use crate::ledger::{PartitionProgress, TaskKey, TopicProgress};
use crate::moves::WAIT_ATTEMPTS_MAX;
use crate::mutation;
use crate::pipeline::Pushed;
use crate::raw::RawRecord;
use crate::record::{Slot, Source};
use crate::sink::HeldRow;

/// How long a half has waited at least when it is asked where the partitions end: producers send to different brokers, and try again.
const SETTLED_MS: i64 = 30_000;

/// A question that was not answered for so long is asked again.
const ASK_AGAIN_US: u64 = 10_000_000;

/// Looks at one topic. A partition that lags makes them pile up, one in half a minute at most; then the last ones answer for many rows.
const LOOKS_MAX: usize = 100;

/// One look at a topic.
#[derive(Debug)]
struct Look {
    /// When it was first asked: nothing in the answers is from before.
    asked_at_us: u64,
    /// When it was last asked.
    repeated_at_us: u64,
    ends: Vec<End>,
}

/// Where one partition ended when it was first looked at.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
struct End {
    partition: i32,
    /// The end with the open transactions of that moment.
    log_end: i64,
    /// The end of what can be read, when these had ended; what came since is included.
    high: Option<i64>,
    is_empty: bool,
}

impl Look {
    fn new(now_us: u64) -> Look {
        Look { asked_at_us: now_us, repeated_at_us: now_us, ends: Vec::new() }
    }

    /// The brokers have said all.
    fn is_complete(&self) -> bool {
        !self.ends.is_empty() && self.ends.iter().all(|end| end.high.is_some())
    }

    fn answer(&mut self, ends: Vec<PartitionEnds>) {
        for PartitionEnds { partition, low, high, stable_end, log_end } in ends {
            let at = self.ends.iter().position(|end| end.partition == partition).unwrap_or_else(|| {
                self.ends.push(End { partition, log_end, high: None, is_empty: false });
                self.ends.len() - 1
            });
            let end = &mut self.ends[at];
            // An election may shorten a log.
            end.log_end = end.log_end.min(log_end);
            if end.high.is_none() && stable_end >= end.log_end {
                (end.high, end.is_empty) = (Some(high), low == high);
            }
        }
    }
}

/// What the writer knows about topics with halves that wait for long: looks, the oldest first. What is no further than needed is passed first.
#[derive(Debug, Default)]
pub(super) struct Halves(HashMap<Arc<str>, VecDeque<Look>>);

impl Halves {
    /// An answer of the brokers.
    pub(super) fn ends(&mut self, topic: &str, ends: Vec<PartitionEnds>) {
        if let Some(look) = self.0.get_mut(topic).and_then(VecDeque::back_mut) {
            look.answer(ends);
        }
    }
}

/// What is known of a row that is due.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Chance {
    /// It is worth a try.
    Some,
    /// It is half a key change whose other half has not come.
    None,
    /// It is half a key change whose other half will not come.
    Alone,
}

/// A half, as far as it decides where its other half may be.
struct Half<'a> {
    row: &'a HeldRow,
    waits_for: &'a str,
    source: Source,
}

/// It had waited long enough when this was asked.
fn had_settled(row: &HeldRow, asked_at_us: u64, now_us: u64) -> bool {
    let since_ms = i64::try_from(now_us.saturating_sub(asked_at_us) / 1000).unwrap_or(i64::MAX);
    row.waiting_ms.saturating_sub(since_ms) >= SETTLED_MS
}

/// The other half is not in what is left of this partition.
fn has_passed(half: &Half<'_>, end: &End, row: Option<&PartitionProgress>) -> bool {
    if end.is_empty {
        return true;
    }
    let Some(row) = row else { return false };
    if end.high.is_some_and(|high| row.next_offset >= high) || row.marks.is_past(&half.source) {
        return true;
    }
    row.generation.waits.is_some_and(|waits| {
        let is_younger = waits.timestamp_ms < 0 || waits.timestamp_ms > half.row.timestamp_ms;
        is_younger && waits.half != Some(half_hash(half.waits_for))
    })
}

fn row_of<'a>(progress: &'a TopicProgress, end: &End) -> Option<&'a PartitionProgress> {
    progress.partitions.iter().find(|row| row.partition == end.partition)
}

/// The other half is in no partition.
fn is_alone(half: &Half<'_>, ends: &[End], progress: &TopicProgress) -> bool {
    !ends.is_empty() && ends.iter().all(|end| has_passed(half, end, row_of(progress, end)))
}

impl Writer {
    /// Which of these rows are worth a try.
    pub(super) async fn chances(&mut self, due: &[HeldRow]) -> Result<Vec<Chance>, Error> {
        let at_first = |row: &HeldRow| match row.lacks_half {
            None => Chance::Some,
            Some(_) if mutation::is_active(mutation::GIVE_UP_EARLY) => Chance::Alone,
            Some(_) => Chance::None,
        };
        let mut chances: Vec<Chance> = due.iter().map(at_first).collect();
        let waits_long = |at: &usize| {
            let row = &due[*at];
            chances[*at] == Chance::None && row.attempts >= WAIT_ATTEMPTS_MAX && row.waiting_ms >= SETTLED_MS
        };
        let mut rows: Vec<usize> = (0..due.len()).filter(waits_long).collect();
        rows.sort_by(|a, b| due[*a].task.topic.cmp(&due[*b].task.topic));
        for of_topic in rows.chunk_by(|a, b| due[*a].task.topic == due[*b].task.topic) {
            let task = &due[of_topic[0]].task;
            // Read each time: the target may have gone back.
            let progress = self.sink.topic_progress(task, None).await?;
            let mut is_covered = true;
            for at in of_topic {
                let row = &due[*at];
                let now_us = self.clock.now_us();
                let looks = self.halves.0.entry(Arc::clone(&task.topic)).or_default();
                let Some(look) = looks.iter().position(|look| had_settled(row, look.asked_at_us, now_us)) else {
                    is_covered = false;
                    continue;
                };
                if looks[look].ends.is_empty() {
                    continue;
                }
                chances[*at] = match self.source_of(row).await {
                    Ok(Some(source)) => {
                        let half = Half { row, waits_for: row.lacks_half.as_deref().unwrap_or_default(), source };
                        let ends = self.halves.0[&task.topic].get(look).map_or(&[][..], |look| &look.ends);
                        if is_alone(&half, ends, &progress) {
                            let (direction, topic) = (&*task.direction, &*task.topic);
                            tracing::warn!(
                                direction,
                                topic,
                                partition = row.task.partition,
                                offset = row.id.offset,
                                "half a key change is alone: its other half is in no partition. If nothing left it out on purpose, the source's \
                                 connector has lost it: compare the row with the source"
                            );
                            Chance::Alone
                        } else {
                            Chance::None
                        }
                    }
                    // As it is read now it is no half: the try says what it is.
                    Ok(None) => Chance::Some,
                    Err(_) => Chance::None,
                };
            }
            self.look_again(task, is_covered, &progress);
        }
        Ok(chances)
    }

    /// Asks where the topic ends, if some row needs that or an answer is overdue. Of looks that are passed the last one is kept.
    fn look_again(&mut self, task: &TaskKey, is_covered: bool, progress: &TopicProgress) {
        let now_us = self.clock.now_us();
        let looks = self.halves.0.entry(Arc::clone(&task.topic)).or_default();
        let is_at = |end: &End| {
            let is_at = |row: &PartitionProgress| end.high.is_some_and(|high| row.next_offset >= high);
            end.is_empty || row_of(progress, end).is_some_and(is_at)
        };
        while looks.get(1).is_some_and(|look| look.is_complete() && look.ends.iter().all(is_at)) {
            looks.pop_front();
        }
        let asks = match looks.back_mut() {
            Some(last) if !last.is_complete() => {
                let is_overdue = now_us >= last.repeated_at_us + ASK_AGAIN_US;
                if is_overdue {
                    last.repeated_at_us = now_us;
                }
                is_overdue
            }
            Some(last) if is_covered || now_us < last.asked_at_us + SETTLED_MS as u64 * 1000 => false,
            _ => {
                if looks.len() >= LOOKS_MAX {
                    looks.pop_back();
                }
                looks.push_back(Look::new(now_us));
                true
            }
        };
        if asks {
            // Nobody listens any more: then nobody needs the answer.
            let _ = self.replies.send(Reply::AskEnds(task.clone()));
        }
    }

    /// Where the change of this row is in the source's log; `None` if it makes no record now. The error: no schema can be had at the moment.
    async fn source_of(&mut self, row: &HeldRow) -> Result<Option<Source>, Error> {
        let topics = self.pipeline.topics();
        let Some(topic) = topics.iter().position(|topic| *topic.name == *row.task.topic) else { return Ok(None) };
        let raw = RawRecord {
            topic,
            offset: row.id.offset,
            timestamp_ms: row.timestamp_ms,
            key: row.key.as_deref(),
            value: row.value.as_deref(),
            headers: &row.headers,
        };
        let mut batch = ChangeBatch::default();
        while let Pushed::SchemaNeeded(id) = self.pipeline.look_at(Slot(0), &raw, &mut batch) {
            match self.fetch(id).await {
                Ok(()) => {}
                Err(error) if matches!(error.kind, ErrorKind::Transient | ErrorKind::Environment) => return Err(error),
                Err(_) => return Ok(None),
            }
        }
        Ok(batch.records.first().map(|record| record.source))
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::batch::HeldId;
    use crate::generation::{Generation, Waits};
    use crate::marks::Marks;
    use crate::record::{Position, Record};

    const PAIR: &str = "move:1";

    fn row() -> HeldRow {
        HeldRow {
            task: TaskKey { pipeline: "p".into(), direction: "a→b".into(), topic: "t".into(), partition: 0 },
            id: HeldId { offset: 1, ordinal: 0 },
            attempts: WAIT_ATTEMPTS_MAX,
            waiting_ms: 90_000,
            lacks_half: Some(PAIR.into()),
            key: None,
            value: None,
            headers: Vec::new(),
            timestamp_ms: 50,
        }
    }

    fn source(position: u64, committed_at_us: i64) -> Source {
        Source { identity: 7, position: Some(Position(1, position, 0)), committed_at_us, ..Source::default() }
    }

    /// Partitions 0 and 1 end at 5 and 9; the ledger has partition 0 at 5, and of partition 1 this.
    fn alone(of_one: Option<PartitionProgress>) -> bool {
        let mut look = Look::new(0);
        look.answer([(0, 5), (1, 9)].map(|(partition, high)| end(partition, high, high, high)).to_vec());
        let partitions = [Some(at(0, 5)), of_one].into_iter().flatten().collect();
        let row = row();
        let half = Half { row: &row, waits_for: PAIR, source: source(40, 4_000) };
        is_alone(&half, &look.ends, &TopicProgress { partitions, held: 0 })
    }

    fn end(partition: i32, high: i64, stable_end: i64, log_end: i64) -> PartitionEnds {
        PartitionEnds { partition, low: 0, high, stable_end, log_end }
    }

    fn at(partition: i32, next_offset: i64) -> PartitionProgress {
        PartitionProgress { partition, next_offset, generation: Generation::default(), marks: Marks::default() }
    }

    fn waits(timestamp_ms: i64, half: Option<u64>) -> PartitionProgress {
        let waits = Some(Waits { timestamp_ms, half, ..Waits::default() });
        PartitionProgress { generation: Generation { waits, ..Generation::default() }, ..at(1, 3) }
    }

    fn marked(source: Source) -> PartitionProgress {
        let mut row = at(1, 3);
        row.marks.note(&Record { source, ..Record::default() }.source, 0);
        row
    }

    #[test]
    fn a_half_is_alone_when_every_partition_is_as_far_as_its_log_was() {
        assert!(alone(Some(at(1, 9))));
        assert!(!alone(Some(at(1, 8))));
        assert!(!alone(None), "nobody has begun it");
    }

    #[test]
    fn a_partition_that_has_passed_the_halfs_position_does_not_hold_the_other_half() {
        assert!(alone(Some(marked(source(41, 4_000)))));
        assert!(!alone(Some(marked(source(40, 4_000)))), "it may be the next record");
        assert!(!alone(Some(marked(source(41, 3_999)))), "another log, before positions began anew");
        assert!(!alone(Some(marked(Source { identity: 8, ..source(41, 4_000) }))), "another server");
    }

    #[test]
    fn a_partition_that_waits_for_held_rows_has_applied_what_is_older_than_its_record() {
        assert!(alone(Some(waits(51, None))));
        assert!(alone(Some(waits(-1, None))), "it waits for all");
        assert!(!alone(Some(waits(50, None))));
        assert!(alone(Some(waits(51, Some(half_hash("move:2"))))));
        assert!(!alone(Some(waits(51, Some(half_hash(PAIR))))), "that record is the other half");
    }

    #[test]
    fn a_look_speaks_for_those_that_had_waited_long_enough_when_it_was_asked() {
        let (asked_at_us, now_us) = (1_000_000, 61_000_000);
        assert!(had_settled(&HeldRow { waiting_ms: SETTLED_MS + 60_000, ..row() }, asked_at_us, now_us));
        assert!(!had_settled(&HeldRow { waiting_ms: SETTLED_MS + 59_999, ..row() }, asked_at_us, now_us));
    }

    #[test]
    fn ends_behind_which_transactions_are_open_are_asked_again_until_those_have_ended() {
        let mut look = Look::new(0);
        // Both logs end at 9, and in one of them only what is before 3 can be read.
        look.answer(vec![end(0, 8, 9, 9), end(1, 3, 3, 9)]);
        assert!(!look.is_complete());
        // A transaction that began later does not matter.
        look.answer(vec![end(0, 11, 12, 15), end(1, 8, 10, 15)]);
        assert!(look.is_complete());
        assert_eq!(look.ends.iter().map(|end| end.high).collect::<Vec<_>>(), [Some(8), Some(8)]);
    }
}
