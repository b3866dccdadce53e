//! The polling half at a task's start: claims, first offsets (rules L5, L6), and logs that are not the ones we knew (rule L7).

use super::message::{Command, StartAt, StartFacts};
use super::polling::Lane;
use super::settings::{LaneSettings, StartFrom};
use super::task::{Missing, Task, TaskState};
use crate::error::{Error, ErrorKind, Stage};
use crate::generation::Generation;
use crate::ledger::{Claim, ClaimReply, ClaimRequest, Owner, TaskKey};

/// Wait before the brokers are asked again.
const ASK_AGAIN_US: u64 = 1_000_000;

impl Lane {
    /// The writer's answer to a claim.
    pub(super) fn claimed(&mut self, request: ClaimRequest, answer: ClaimReply) {
        let Some(slot) = self.slot_of(&request.task) else { return };
        let task = self.tasks[usize::from(slot.0)].as_mut().expect("just found");
        // An answer to an older claim of a task that was revoked and assigned again meanwhile.
        if !matches!(task.state, TaskState::Claiming) || task.claiming != Some(request.owner) {
            return;
        }
        let (topic, partition) = (task.topic, task.partition);
        match answer {
            ClaimReply::Claimed(claim) => {
                task.begin(&claim);
                let (epoch, offset) = (claim.epoch, claim.next_offset);
                task.claim = Some(Claim { owner: request.owner, ..claim });
                self.observer.claimed(&request.task.topic, partition, epoch, offset);
                self.observer.partition_paused(&request.task.topic, partition, None);
                if self.settings.publishes {
                    task.awaits_published = true;
                    self.commands.push_back(Command::AskPublished { topic, partition });
                } else {
                    self.start(topic, partition);
                }
            }
            ClaimReply::Missing { topic: rows, direction } => {
                let older = rows.iter().map(|row| row.partitions).filter(|partitions| *partitions <= partition);
                task.missing = Missing {
                    grown_from: older.max().unwrap_or(0),
                    started_ms: direction.map(|row| row.started_ms).filter(|at| *at > 0),
                };
                let at_ms = self.settings.start_from.at_ms(task.missing.started_ms);
                self.commands.push_back(Command::ResolveStart { topic, partition, at_ms });
            }
            ClaimReply::OtherGroup { group_id } => {
                let detail = format!(
                    "{}: consumer group {group_id} updated the ledger a short while ago; two groups must not share a direction. Stop the other \
                     one, or give this pipeline another name",
                    request.task
                );
                self.halt(
                    slot,
                    Error::new(ErrorKind::Environment, Stage::Claim, "direction is used by another group", detail),
                );
            }
        }
    }

    /// Has a claimed partition fetched from its ledger offset.
    pub(super) fn start(&mut self, topic: usize, partition: i32) {
        let slot = self.slots.get(&(topic, partition));
        let Some(task) = slot.and_then(|slot| self.tasks[usize::from(slot.0)].as_ref()) else { return };
        let Some(claim) = task.claim.as_ref().filter(|_| task.is_running()) else { return };
        let (offset, tail_hash) = (claim.next_offset, claim.tail_hash);
        self.commands.push_back(Command::Start(StartAt { topic, partition, offset, tail_hash }));
    }

    /// What Kafka knows about a partition without ledger row (rules L5, L6), or why it could not be asked (asked again later).
    pub fn start_facts(&mut self, topic: usize, partition: i32, facts: Option<StartFacts>) {
        let Some(slot) = self.slots.get(&(topic, partition)).copied() else { return };
        let retry_at_us = self.clock.now_us() + ASK_AGAIN_US;
        let Some(task) = &mut self.tasks[usize::from(slot.0)] else { return };
        let Some(facts) = facts else {
            task.state = TaskState::Fenced { retry_at_us };
            return;
        };
        if facts.committed.is_some() && !self.settings.may_begin_anew(&task.key) {
            let detail = format!(
                "{}: the consumer group has committed offsets, but tidelock_progress has no row; restore the table, or decide with run --start-from",
                task.key
            );
            let error = Error::new(ErrorKind::Environment, Stage::Claim, "ledger row is lost", detail);
            self.halt(slot, error);
            return;
        }
        let Missing { grown_from, started_ms } = task.missing;
        if grown_from > 0 && facts.partitions % grown_from != 0 {
            tracing::warn!(
                task = %task.key, partitions_before = grown_from, partitions = facts.partitions,
                "the topic did not grow to a multiple: keys also change places among its old partitions, whose order Tidelock can't tell"
            );
        }
        // A partition that came later begins with its first record: nothing of it was there when the direction started.
        let offset = if grown_from > 0 { facts.low } else { self.settings.start_from.offset(&facts) };
        task.start_offset = Some(offset);
        task.generation = Generation {
            partitions: facts.partitions,
            grown_from,
            started_ms: started_ms.unwrap_or_else(|| self.clock.wall_ms()),
            ..Generation::default()
        };
        let request = claim_request(&self.settings, task, &mut self.random);
        self.request_claims(vec![request]);
    }

    /// The log of a claimed partition is not the one that the ledger knows (rule L7): it halts, or starts anew if a person decided so.
    pub fn log_differs(&mut self, topic: usize, partition: i32, error: Error) {
        let Some(slot) = self.slots.get(&(topic, partition)).copied() else { return };
        let Some(task) = &mut self.tasks[usize::from(slot.0)] else { return };
        if !self.settings.may_begin_anew(&task.key) {
            self.halt(slot, error);
            return;
        }
        tracing::warn!(task = %task.key, %error, "starting anew, as run --start-from says");
        task.restart = true;
        task.claim = None;
        task.claiming = None;
        task.state = TaskState::Claiming;
        task.missing = Missing { grown_from: 0, started_ms: Some(task.generation.started_ms).filter(|at| *at > 0) };
        // Here `latest` means now: what the new log holds came before the decision.
        let at_ms = self.settings.start_from.at_ms(None);
        self.commands.push_back(Command::ResolveStart { topic, partition, at_ms });
    }
}

impl Task {
    /// Claimed: the ledger says where to go on.
    fn begin(&mut self, claim: &Claim) {
        self.committed = claim.next_offset;
        self.committed_marks = claim.marks.clone();
        self.committed_generation = claim.generation;
        self.rewind();
        self.tail_hash = claim.tail_hash;
        self.state = TaskState::Running;
        self.halted_by = None;
        // Used up: a later claim goes on where the row is.
        self.start_offset = None;
        self.restart = false;
    }
}

impl LaneSettings {
    fn may_begin_anew(&self, task: &TaskKey) -> bool {
        self.start_decision.as_ref().is_some_and(|decision| decision.holds_for(task))
    }
}

impl StartFrom {
    /// The time to ask the brokers about, when the direction first started at `started_ms` (`None`: it starts now).
    fn at_ms(self, started_ms: Option<i64>) -> Option<i64> {
        match self {
            StartFrom::Earliest => None,
            // `latest` means the moment of the direction's first start, for every lane that joins it.
            StartFrom::Latest => started_ms,
            StartFrom::Timestamp(at) => Some(at),
        }
    }

    fn offset(self, facts: &StartFacts) -> i64 {
        match self {
            StartFrom::Earliest => facts.low,
            StartFrom::Latest | StartFrom::Timestamp(_) => facts.at_timestamp.unwrap_or(facts.high),
        }
    }
}

/// A claim under a new nonce.
pub(super) fn claim_request(
    settings: &LaneSettings,
    task: &mut Task,
    random: &mut impl FnMut() -> u64,
) -> ClaimRequest {
    let owner = Owner::random(random);
    task.claiming = Some(owner);
    ClaimRequest {
        task: task.key.clone(),
        owner,
        group_id: settings.group_id.clone(),
        start_offset: task.start_offset,
        restart: task.restart,
        generation: task.generation,
    }
}

#[cfg(test)]
#[path = "start_tests.rs"]
mod tests;
