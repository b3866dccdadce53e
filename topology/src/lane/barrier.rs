//! Where the first record of a new generation waits (rule A6): until every other partition has passed what it held at that moment, or
//! waits at the same point itself, and no held row of the topic from before that record is left.

use super::message::PartitionEnds;
use crate::error::{Error, ErrorKind, Stage};
use crate::generation::{FirstRecord, Generation, Waits};
use crate::ledger::{TaskKey, TopicProgress};

/// How often a waiting partition looks at the ledger again.
const LOOK_INTERVAL_US: u64 = 500_000;

/// One task's barrier.
#[derive(Debug)]
pub(super) struct Barrier {
    /// The record that waits. All held rows from before it are waited for, whatever they wait for themselves, for that is older too; but not
    /// half a key change whose other half is this very record. Younger ones may wait for what is behind it: a child for its parent, one half
    /// of a key change for the other.
    pub(super) record: FirstRecord,
    /// The partitions of the topic as they were when the record was met; `None` until the brokers have said.
    pub(super) ends: Option<Vec<PartitionEnds>>,
    /// What it waited for when it last looked.
    pub(super) obstacle: String,
    /// When to look again; `None` while an answer is awaited.
    pub(super) look_at_us: Option<u64>,
}

impl Barrier {
    pub(super) fn new(record: FirstRecord) -> Barrier {
        Barrier { record, ends: None, obstacle: String::new(), look_at_us: None }
    }

    /// It has asked the ledger and awaits the answer.
    pub(super) fn is_asked(&self) -> bool {
        self.ends.is_some() && self.look_at_us.is_none()
    }

    /// Looks again after a while.
    pub(super) fn look_later(&mut self, now_us: u64) {
        self.look_at_us = Some(now_us + LOOK_INTERVAL_US);
    }

    /// The first thing that is not so yet, in words. `Ok`: the record may go on; true when it waited for held rows too. `mine` is the waiting
    /// task's generation as stored.
    pub(super) fn judge(&self, partition: i32, mine: &Generation, topic: &TopicProgress) -> Result<bool, String> {
        let Some(ends) = &self.ends else {
            return Err("the brokers have not told where the partitions end".to_owned());
        };
        let Waits { key_schema, timestamp_ms, .. } = self.record.waits;
        let is_first = mine.grown_from == 0 && mine.key_schema.is_none();
        // New partitions share no key with each other, as long as their keys have the same schema.
        let is_peer = |other: &PartitionEnds| mine.grown_from > 0 && other.partition >= mine.grown_from;
        let others = |other: &&PartitionEnds| other.partition != partition && !(is_peer(other) && key_schema.is_none());
        let mut is_alone = is_first;
        for other in ends.iter().filter(others) {
            let row = topic.partitions.iter().find(|row| row.partition == other.partition);
            let has_passed = match row {
                None => other.low == other.high,
                Some(row) => {
                    let reached = row.generation.waits.map_or(row.generation.key_schema, |waits| waits.key_schema);
                    let is_alike = (is_first || is_peer(other)) && reached == key_schema;
                    // What it applied before may have left held rows, also if it waits at the same point now.
                    is_alone &= row.generation.key_schema.is_none_or(|applied| Some(applied) == key_schema);
                    let waits_later = |waits: Waits| waits.timestamp_ms >= timestamp_ms;
                    is_alike || row.next_offset >= other.high || row.generation.waits.is_some_and(waits_later)
                }
            };
            if !has_passed {
                let at = row.map_or(other.low, |row| row.next_offset);
                return Err(format!("partition {} is at {at} of {}", other.partition, other.high));
            }
        }
        if topic.held > 0 && !is_alone {
            return Err(format!("{} held rows of the topic wait to be applied", topic.held));
        }
        Ok(!is_alone)
    }
}

/// What the observer is told of a partition that waits.
pub(super) fn waiting(key: &TaskKey, obstacle: &str) -> Error {
    let detail = format!(
        "{key}: the topic has more partitions or other key schemas than before, so its keys changed places; waiting until what came before is \
         applied: {obstacle}"
    );
    Error::new(ErrorKind::Environment, Stage::Consume, "partition waits for the others", detail)
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::ledger::PartitionProgress;
    use crate::marks::Marks;

    fn ends(high: &[i64]) -> Option<Vec<PartitionEnds>> {
        Some(
            high.iter()
                .enumerate()
                .map(|(partition, high)| PartitionEnds {
                    partition: partition as i32,
                    low: 0,
                    high: *high,
                    stable_end: *high,
                    log_end: *high,
                })
                .collect(),
        )
    }

    fn progress(rows: &[(i32, i64, Generation)], held: u64) -> TopicProgress {
        let row = |(partition, next_offset, generation): &(i32, i64, Generation)| PartitionProgress {
            partition: *partition,
            next_offset: *next_offset,
            generation: *generation,
            marks: Marks::default(),
        };
        TopicProgress { partitions: rows.iter().map(row).collect(), held }
    }

    fn key(id: u32) -> Generation {
        Generation { partitions: 2, key_schema: Some(id), ..Generation::default() }
    }

    fn record(id: u32, timestamp_ms: i64) -> Waits {
        Waits { key_schema: Some(id), timestamp_ms, half: None }
    }

    fn waits(generation: Generation, id: u32, timestamp_ms: i64) -> Generation {
        Generation { waits: Some(record(id, timestamp_ms)), ..generation }
    }

    fn grown() -> Generation {
        Generation { partitions: 4, grown_from: 2, ..Generation::default() }
    }

    impl Barrier {
        fn obstacle(&self, partition: i32, mine: &Generation, topic: &TopicProgress) -> Option<String> {
            self.judge(partition, mine, topic).err()
        }
    }

    fn barrier(id: u32, timestamp_ms: i64, high: &[i64]) -> Barrier {
        Barrier { ends: ends(high), ..Barrier::new(record(id, timestamp_ms).into()) }
    }

    #[test]
    fn a_new_partition_waits_for_the_old_ones_and_for_their_held_rows_and_not_for_other_new_ones() {
        let rows = |at| progress(&[(0, 10, key(7)), (1, at, key(7)), (2, 0, waits(grown(), 7, 4))], 0);
        assert!(Barrier::new(record(7, 5).into()).obstacle(3, &grown(), &rows(20)).is_some(), "the ends are not known");
        let barrier = barrier(7, 5, &[10, 20, 5, 5]);
        assert_eq!(barrier.obstacle(3, &grown(), &rows(19)).as_deref(), Some("partition 1 is at 19 of 20"));
        assert_eq!(barrier.obstacle(3, &grown(), &rows(20)), None);
        assert!(barrier.obstacle(3, &grown(), &TopicProgress { held: 1, ..rows(20) }).is_some());
    }

    #[test]
    fn a_new_partition_waits_for_another_new_one_that_is_still_at_other_keys() {
        let rows = |third| progress(&[(0, 10, key(8)), (1, 20, key(8)), third], 0);
        let barrier = barrier(8, 5, &[10, 20, 5, 5]);
        let obstacle = |third| barrier.obstacle(3, &waits(grown(), 8, 5), &rows(third));
        assert!(obstacle((2, 0, grown())).is_some(), "nobody knows yet what it holds");
        assert!(obstacle((2, 0, waits(grown(), 7, 4))).is_some(), "its keys are older");
        assert!(obstacle((2, 4, Generation { key_schema: Some(7), ..grown() })).is_some(), "some of them are left");
        assert_eq!(obstacle((2, 5, Generation { key_schema: Some(7), ..grown() })), None);
        assert_eq!(obstacle((2, 0, waits(grown(), 8, 4))), None, "its keys are the same");
        assert_eq!(obstacle((2, 1, Generation { grown_from: 0, ..key(8) })), None, "its keys are the same");
    }

    #[test]
    fn an_old_partition_without_a_row_counts_as_passed_only_when_it_is_empty() {
        assert_eq!(barrier(7, 5, &[10, 0, 1]).obstacle(2, &grown(), &progress(&[(0, 10, key(7))], 0)), None);
        assert!(barrier(7, 5, &[10, 3, 1]).obstacle(2, &grown(), &progress(&[(0, 10, key(7))], 0)).is_some());
    }

    #[test]
    fn of_partitions_that_wait_for_each_other_the_one_with_the_older_record_goes_first() {
        let rows = progress(&[(0, 5, waits(key(7), 8, 100)), (1, 9, waits(key(7), 9, 101))], 0);
        assert_eq!(barrier(8, 100, &[10, 20]).obstacle(0, &waits(key(7), 8, 100), &rows), None);
        assert!(barrier(9, 101, &[10, 20]).obstacle(1, &waits(key(7), 9, 101), &rows).is_some());
        let lagging = progress(&[(0, 5, waits(key(7), 8, 100)), (1, 9, key(7))], 0);
        assert!(barrier(8, 100, &[10, 20]).obstacle(0, &waits(key(7), 8, 100), &lagging).is_some());
    }

    #[test]
    fn growth_and_a_key_change_at_once_order_themselves_by_time() {
        let rows = progress(&[(0, 5, waits(key(7), 8, 100)), (1, 20, key(7)), (2, 0, waits(grown(), 7, 90))], 0);
        assert_eq!(barrier(7, 90, &[10, 20, 5]).obstacle(2, &waits(grown(), 7, 90), &rows), None, "it grew first");
        assert!(barrier(8, 100, &[10, 20, 5]).obstacle(0, &waits(key(7), 8, 100), &rows).is_some());
    }

    #[test]
    fn first_records_with_the_same_key_schema_need_not_wait_for_each_other_or_for_held_rows() {
        let new = Generation { partitions: 2, ..Generation::default() };
        let barrier = barrier(7, 100, &[10, 20]);
        assert_eq!(barrier.obstacle(0, &new, &progress(&[(1, 3, key(7))], 1)), None, "it has begun");
        assert_eq!(
            barrier.obstacle(0, &new, &progress(&[(1, 0, waits(new, 7, 50))], 1)),
            None,
            "it is at the same point"
        );
        assert!(barrier.obstacle(0, &new, &progress(&[(1, 0, new)], 0)).is_some(), "nobody knows yet what it holds");
        assert!(barrier.obstacle(0, &new, &progress(&[(1, 3, key(6))], 0)).is_some(), "it is at older keys");
        assert!(barrier.obstacle(0, &new, &progress(&[(1, 20, key(6))], 1)).is_some(), "it was, and has a held row");
        assert_eq!(barrier.obstacle(0, &new, &progress(&[(1, 20, key(6))], 0)), None);
        let is_there_too = waits(key(6), 7, 50);
        assert!(
            barrier.obstacle(0, &new, &progress(&[(1, 9, is_there_too)], 1)).is_some(),
            "it is there too, and left a held row"
        );
    }
}
