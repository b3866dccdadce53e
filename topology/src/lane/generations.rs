//! The polling half and a topic's generations (rule A6): a partition waits at the first record of a new one.

use std::sync::Arc;

use super::barrier::{Barrier, waiting};
use super::message::{Command, PartitionEnds, Request};
use super::polling::Lane;
use crate::batch::ChangeBatch;
use crate::generation::FirstRecord;
use crate::ledger::{Passed, TaskKey, TopicProgress};
use crate::moves::{pair_id, waits_for};
use crate::pipeline::Pushed;
use crate::raw::RawRecord;
use crate::record::Slot;
use crate::reduce::change_of;

impl Lane {
    /// The next record of this task is of a new generation. What came before it still goes, and with it the word that the task waits.
    pub(super) fn wait_for_others(&mut self, slot: Slot, record: FirstRecord) {
        let Some(task) = &mut self.tasks[usize::from(slot.0)] else { return };
        task.generation.waits = Some(record.waits);
        task.barrier = Some(Barrier::new(record));
        let (topic, partition) = (task.topic, task.partition);
        self.tells_barrier = true;
        self.commands.push_back(Command::Pause { topic, partition });
        self.commands.push_back(Command::AskEnds { topic, partition });
    }

    /// A record that begins a generation may be the second half of a key change whose first one is older and waits for it: the `waits_for` of
    /// that one (rule B5). `Err`: this schema must be fetched first.
    pub(super) fn other_half(&mut self, slot: Slot, raw: &RawRecord<'_>) -> Result<Option<Arc<str>>, u32> {
        let mut batch = ChangeBatch::default();
        if let Pushed::SchemaNeeded(id) = self.pipeline.look_at(slot, raw, &mut batch) {
            return Err(id);
        }
        let half = batch.records.iter().zip(0..).find(|(record, _)| record.old_key.is_some() && record.after.is_some());
        Ok(half.and_then(|(record, index)| {
            let table = &self.reduce_tables[usize::from(record.entity.0)];
            let change = change_of(&batch.arena, record, index, table);
            let pair = change.old_key.and_then(|_| pair_id(&batch, &change));
            pair.map(|pair| waits_for(&pair).into())
        }))
    }

    /// The writer wants to know where the topic of this task ends.
    pub(super) fn ask_ends(&mut self, key: TaskKey) {
        let Some((topic, partition)) = self.task_mut(&key).map(|task| (task.topic, task.partition)) else { return };
        self.ends_wanted.insert((topic, partition), key);
        self.commands.push_back(Command::AskEnds { topic, partition });
    }

    /// Where the partitions of the topic end, for a partition that waits, or for the writer; `None` when the brokers did not say (asked again).
    pub fn topic_ends(&mut self, topic: usize, partition: i32, ends: Option<Vec<PartitionEnds>>) {
        let now = self.clock.now_us();
        if let (Some(key), Some(ends)) = (self.ends_wanted.remove(&(topic, partition)), &ends) {
            self.commands.push_back(Command::Send(Request::Ends(key, ends.clone())));
        }
        let Some(slot) = self.slots.get(&(topic, partition)).copied() else { return };
        let Some(barrier) = self.tasks[usize::from(slot.0)].as_mut().and_then(|task| task.barrier.as_mut()) else {
            return;
        };
        // Only the first answer: what comes later in the log is for those that wait for us.
        if barrier.ends.is_none() {
            barrier.ends = ends;
        }
        barrier.look_at_us = Some(now);
    }

    /// Asks for what waiting tasks wait for.
    pub(super) fn look_at_barriers(&mut self, now_us: u64) {
        for task in self.tasks.iter_mut().flatten().filter(|task| task.is_running()) {
            let is_told = task.is_told();
            let Some(barrier) = &mut task.barrier else { continue };
            // Asked only when the word that this one waits is in the ledger: two that ask each other before that would both wait.
            if barrier.look_at_us.is_none_or(|at| now_us < at) || (barrier.ends.is_some() && !is_told) {
                continue;
            }
            barrier.look_at_us = None;
            let (topic, partition) = (task.topic, task.partition);
            self.commands.push_back(match barrier.ends {
                None => Command::AskEnds { topic, partition },
                Some(_) => Command::Send(Request::TopicProgress(task.key.clone(), barrier.record.clone())),
            });
        }
    }

    /// What the ledger says of a topic: may the task go on?
    pub(super) fn topic_progress(&mut self, key: &TaskKey, record: &FirstRecord, progress: Option<&TopicProgress>) {
        let now = self.clock.now_us();
        let observer = self.observer.clone();
        let Some(task) = self.task_mut(key) else { return };
        let is_told = task.is_told();
        // The task may have lost its claim meanwhile: the next one says where to go on, and only then is it fetched again. Or it went back, and
        // waits at another record: of that the answer says nothing.
        if !task.is_running() {
            return;
        }
        let Some(barrier) = task.barrier.as_mut().filter(|barrier| barrier.is_asked() && barrier.record == *record)
        else {
            return;
        };
        barrier.look_later(now);
        let Some(progress) = progress.filter(|_| is_told) else { return };
        let own = progress.partitions.iter().find(|row| row.partition == task.partition);
        if own.is_some_and(|row| row.next_offset == task.committed && row.generation != task.committed_generation) {
            // The target was restored to where it did not say yet that this task waits: said again.
            task.committed_generation = own.map(|row| row.generation).unwrap_or_default();
            task.handed_generation = task.committed_generation;
            self.tells_barrier = true;
            return;
        }
        let waited_for_held = match barrier.judge(task.partition, &task.committed_generation, progress) {
            Ok(waited_for_held) => waited_for_held,
            Err(obstacle) => {
                // Told when it changes: an outage of hours would else say the same thing twice a second.
                if barrier.obstacle != obstacle {
                    observer.partition_paused(&key.topic, task.partition, Some(&waiting(key, &obstacle)));
                    barrier.obstacle = obstacle;
                }
                return;
            }
        };
        let key_schema = record.waits.key_schema;
        task.barrier = None;
        task.passed = Some(Arc::new(Passed { record: record.clone(), progress: progress.clone(), waited_for_held }));
        task.generation.enter(key_schema);
        observer.partition_paused(&key.topic, task.partition, None);
        let start = task.start_at(task.position);
        self.commands.push_back(Command::Start(start));
    }
}

#[cfg(test)]
#[path = "generations_tests.rs"]
mod tests;
