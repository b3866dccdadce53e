//! Outputs on their way from the target to Kafka (rules O): the writing half reads them and deletes what is published, the emitter
//! publishes, the polling half passes the word.
//!
//! DLQ-1: an output is durable in the target before progress passes its record; here it only leaves late, never early.

use std::collections::BTreeMap;

use super::message::{Command, PublishJob, Reply, Request};
use super::polling::Lane;
use super::task::{Task, TaskState};
use super::writer::Writer;
use crate::ledger::TaskKey;
use crate::mutation;
use crate::output::{Output, Published};

/// Outputs in one Kafka transaction.
const OUTPUTS_MAX: usize = 500;

impl Lane {
    /// What is published of a partition's outputs, as the group's offset says; `None` when it says nothing: then all outputs there are go
    /// out, maybe once more (rule O2). Answers [`Command::AskPublished`].
    pub fn published(&mut self, topic: usize, partition: i32, upto: Option<i64>) {
        let Some(slot) = self.slots.get(&(topic, partition)).copied() else { return };
        let Some(task) = &mut self.tasks[usize::from(slot.0)] else { return };
        if !std::mem::take(&mut task.awaits_published) {
            return;
        }
        let published = vec![(task.key.clone(), upto.unwrap_or(0))];
        self.commands.push_back(Command::Send(Request::Published { upto: published, ends: false }));
        self.start(topic, partition);
    }

    /// What the emitter is to do next; `None` when there is nothing, or not yet. `with_offsets`: also if only group offsets have moved.
    /// One job at a time: the answer is [`Lane::job_done`], or the call again after a failure.
    pub fn publish_job(&mut self, with_offsets: bool) -> Option<PublishJob> {
        if !self.outputs.is_empty() {
            let place_of = |output: &Output| {
                let slot = self.slot_of(&output.task)?;
                self.tasks[usize::from(slot.0)].as_ref().map(|task| (task.topic, task.partition))
            };
            let places: Vec<Option<(usize, i32)>> = self.outputs.iter().map(place_of).collect();
            let mut at = places.iter();
            // What is another worker's by now it finds in the target.
            self.outputs.retain(|_| at.next().is_some_and(Option::is_some));
            if self.outputs.is_empty() {
                self.commands.push_back(Command::Send(Request::Published { upto: Vec::new(), ends: true }));
                return None;
            }
            let mut places: Vec<(usize, i32)> = places.into_iter().flatten().collect();
            places.sort_unstable();
            places.dedup();
            // A task that is being claimed anew, or that is halted, has no progress to commit.
            let offset = |place: &(usize, i32)| Some((place.0, place.1, self.publishable(*place)?));
            let offsets: Vec<_> = places.iter().filter_map(offset).collect();
            if offsets.len() < places.len() {
                self.leave_out_unclaimed(!offsets.is_empty());
            }
            if !offsets.is_empty() {
                return Some(PublishJob { outputs: self.outputs.clone(), offsets });
            }
        }
        if !with_offsets {
            return None;
        }
        let places: Vec<(usize, i32)> = self.slots.keys().copied().collect();
        let moved = places.into_iter().filter_map(|place| {
            let next_offset = self.publishable(place)?;
            (self.offsets_told.get(&place) != Some(&next_offset)).then_some((place.0, place.1, next_offset))
        });
        let offsets: Vec<_> = moved.collect();
        (!offsets.is_empty()).then(|| PublishJob { outputs: Vec::new(), offsets })
    }

    /// The progress that a transaction may commit. Not of a partition of which we have yet to hear what is published: the number that goes with its
    /// offset would be that of an earlier claim of ours.
    fn publishable(&self, (topic, partition): (usize, i32)) -> Option<i64> {
        let slot = self.slots.get(&(topic, partition))?;
        let is_known = self.tasks[usize::from(slot.0)].as_ref().is_some_and(|task| !task.awaits_published);
        is_known.then(|| self.committed(topic, partition))?
    }

    /// Outputs of tasks without claim must not hold up those of others. They are in the target, and are read again when the task is claimed. Those
    /// that are soon claimed again are kept if there are no `others`: else they would be read again and again meanwhile.
    fn leave_out_unclaimed(&mut self, others: bool) {
        let goes = |task: &Task| {
            (task.claim.is_some() && !task.awaits_published) || (!others && !matches!(task.state, TaskState::Halted))
        };
        let stays = |output: &Output| {
            let slot = self.slot_of(&output.task)?;
            self.tasks[usize::from(slot.0)].as_ref().map(goes)
        };
        let stay: Vec<bool> = self.outputs.iter().map(|output| stays(output).unwrap_or(false)).collect();
        let mut stay = stay.into_iter();
        self.outputs.retain(|_| stay.next().unwrap_or(false));
        if self.outputs.is_empty() {
            self.commands.push_back(Command::Send(Request::Published { upto: Vec::new(), ends: true }));
        }
    }

    /// The task is not ours any more: whoever has it finds its outputs in the target. Coming back it is another claim, and what is published
    /// is asked anew.
    pub(super) fn drop_outputs(&mut self, task: &TaskKey) {
        let before = self.outputs.len();
        self.outputs.retain(|output| output.task != *task);
        if before > 0 && self.outputs.is_empty() {
            self.commands.push_back(Command::Send(Request::Published { upto: Vec::new(), ends: true }));
        }
    }

    /// The job is committed; of each partition everything up to the number is published.
    pub fn job_done(&mut self, job: &PublishJob, upto: &[(usize, i32, i64)]) {
        for (topic, partition, next_offset) in &job.offsets {
            if self.slots.contains_key(&(*topic, *partition)) {
                self.offsets_told.insert((*topic, *partition), *next_offset);
            }
        }
        if job.outputs.is_empty() {
            return;
        }
        let mut published = Vec::new();
        for (topic, partition, number) in upto {
            let slot = self.slots.get(&(*topic, *partition));
            let Some(task) = slot.and_then(|slot| self.tasks[usize::from(slot.0)].as_ref()) else { continue };
            self.outputs.retain(|output| output.task != task.key || output.seq > *number);
            published.push((task.key.clone(), *number));
        }
        let ends = self.outputs.is_empty();
        self.commands.push_back(Command::Send(Request::Published { upto: published, ends }));
    }
}

/// What the writing half knows of its tasks' outputs.
#[derive(Default)]
pub(super) struct Publishing {
    /// The direction publishes at all.
    is_on: bool,
    /// Published for sure, by claimed task.
    upto: BTreeMap<TaskKey, i64>,
    /// The emitter has outputs of ours.
    is_under_way: bool,
    /// There may be outputs to publish.
    is_due: bool,
    /// The last look at them failed: not again at once.
    is_failing: bool,
    /// The target has not been told of all that is published.
    is_stale: bool,
}

impl Publishing {
    pub(super) fn new(is_on: bool) -> Publishing {
        Publishing { is_on, ..Publishing::default() }
    }

    /// True when there is something to do at once.
    pub(super) fn is_due(&self) -> bool {
        self.is_due && !self.is_under_way && !self.is_failing
    }

    /// There may be outputs that nobody has been told of: stored by a batch, maybe by one whose outcome was unknown, or by another owner.
    pub(super) fn note_stored(&mut self) {
        self.is_due = self.is_on;
    }

    pub(super) fn forget(&mut self, task: &TaskKey) {
        self.upto.remove(task);
    }

    /// Outputs of the task can be numbered: how far its earlier ones are published is known, or does not matter (rule O2). A target that
    /// came from a backup has given numbers before that its ledger knows nothing of.
    pub(super) fn may_number(&self, task: &TaskKey) -> bool {
        !self.is_on || self.upto.contains_key(task)
    }
}

impl Writer {
    pub(super) async fn published(&mut self, upto: Vec<Published>, ends: bool) {
        let publishing = &mut self.publishing;
        publishing.is_under_way &= !ends;
        publishing.is_due = publishing.is_on;
        publishing.is_stale = true;
        for (task, number) in upto {
            // An answer about a task that was revoked meanwhile says nothing about a later claim.
            if self.claims.contains_key(&task) {
                let known = publishing.upto.entry(task).or_insert(0);
                *known = number.max(*known);
            }
        }
        self.forget_published().await;
    }

    async fn forget_published(&mut self) {
        let upto: Vec<Published> = self.publishing.upto.iter().map(|(task, number)| (task.clone(), *number)).collect();
        match self.sink.forget_outputs(&upto).await {
            Ok(()) => self.publishing.is_stale = false,
            Err(error) => {
                // They are passed over by number; deleting them can wait.
                tracing::debug!(direction = %self.settings.direction, %error, "cannot delete published outputs; later");
                self.sink.disconnect();
            }
        }
    }

    /// Hands outputs to the emitter, if it is free and there are any.
    pub(super) async fn publish(&mut self) {
        if self.publishing.is_stale {
            self.forget_published().await;
        }
        if !self.publishing.is_due || self.publishing.is_under_way {
            return;
        }
        let ours = self.publishing.upto.iter().filter(|(task, _)| self.claims.contains_key(*task));
        let after: Vec<Published> = ours.map(|(task, number)| (task.clone(), *number)).collect();
        if after.is_empty() {
            // Nothing is ours; a claim makes it due again.
            self.publishing.is_due = false;
            return;
        }
        match self.sink.outputs(&after, OUTPUTS_MAX).await {
            Ok(outputs) if outputs.is_empty() => {
                self.publishing.is_due = false;
                self.publishing.is_failing = false;
            }
            Ok(outputs) => {
                self.publishing.is_under_way = true;
                self.publishing.is_failing = false;
                if mutation::is_active(mutation::FORGET_UNPUBLISHED) {
                    let last = outputs.iter().map(|output| (output.task.clone(), output.seq)).collect::<Vec<_>>();
                    let _ = self.sink.forget_outputs(&last).await;
                }
                let _ = self.replies.send(Reply::Outputs(outputs));
            }
            Err(error) => {
                // The next batch meets the same target and deals with it; the look is repeated.
                tracing::debug!(direction = %self.settings.direction, %error, "cannot read outputs; later");
                self.publishing.is_failing = true;
                self.sink.disconnect();
            }
        }
    }
}
