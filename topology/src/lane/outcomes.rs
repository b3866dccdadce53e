//! What the writer answers, as the polling half takes it: progress, rewinds, topics that pause.

use std::time::Duration;

use super::message::{Command, Rejection, Reply, SealedBatch};
use super::polling::{Lane, recycle};
use super::task::TaskState;
use crate::error::Error;
use crate::ledger::{TaskKey, TaskSpan};
use crate::mutation;
use crate::observe::{LaneState, Outcome};

impl Lane {
    /// An answer of the writer. Returns the error with which the writer stopped, `Some(None)` when it drained.
    pub fn reply(&mut self, reply: Reply) -> Option<Option<Error>> {
        match reply {
            Reply::Claimed(answers) => answers.into_iter().for_each(|(request, answer)| self.claimed(request, answer)),
            Reply::Applied { batch, applied, claims, seconds } => {
                for claim in claims {
                    if let Some(task) = self.task_mut(&claim.task) {
                        task.claim = Some(claim);
                    }
                }
                let paused: Vec<TaskKey> = applied.paused.iter().map(|(task, _)| task.clone()).collect();
                for span in &batch.batch.spans {
                    if !paused.contains(&span.task) {
                        self.commit(span);
                    }
                }
                self.observe_applied(&batch, &applied, seconds);
                if !applied.paused.is_empty() {
                    // Once, as the writer counts it, and also if the tasks are gone meanwhile: else every later batch would be stale.
                    self.rewind += 1;
                    for (task, error) in applied.paused {
                        self.pause_topic(&task, &error);
                    }
                    self.rewind_all();
                }
                self.give_back(batch);
            }
            Reply::Rejected { batch, tasks } => {
                self.give_back(batch);
                self.rejected(&tasks);
            }
            Reply::Lost(tasks) => self.rejected(&tasks),
            Reply::TopicProgress(task, record, progress) => self.topic_progress(&task, &record, progress.as_ref()),
            Reply::AskEnds(task) => self.ask_ends(task),
            Reply::Outputs(outputs) => self.outputs.extend(outputs),
            Reply::Stale(batch) => self.give_back(batch),
            Reply::Stopped(error) => {
                self.observer.lane_state(LaneState::Stopped, error.as_ref());
                return Some(error);
            }
        }
        self.report_state();
        None
    }

    fn commit(&mut self, span: &TaskSpan) {
        let observer = self.observer.clone();
        let Some(task) = self.task_mut(&span.task) else { return };
        // OFF-2: an answer to a batch from before a rewind or under an older claim changes nothing.
        if !task.is_running() || span.to < task.committed {
            return;
        }
        task.committed = span.to;
        task.committed_marks = span.marks.clone();
        task.committed_generation = span.generation;
        task.fenced_count = 0;
        if let Some(decision) = &self.settings.start_decision {
            decision.use_up(&span.task);
        }
        observer.progress(&span.task.topic, span.task.partition, span.to);
    }

    fn rejected(&mut self, tasks: &[(TaskKey, Rejection)]) {
        if mutation::is_active(mutation::NO_REWIND) {
            return;
        }
        self.rewind += 1;
        let now = self.clock.now_us();
        for (key, rejection) in tasks {
            let wait = self.settings.fenced_wait;
            let jitter = 0.5 + ((self.random)() % 1000) as f64 / 1000.0;
            let Some(task) = self.task_mut(key) else { continue };
            let seconds = match rejection {
                Rejection::Innocent => continue,
                Rejection::WentBack | Rejection::Missing | Rejection::Unknown => 0.0,
                Rejection::Fenced => {
                    task.fenced_count += 1;
                    let doubled = wait.as_secs_f64() * f64::from(1u32 << task.fenced_count.min(7)) / 2.0;
                    doubled.min(30.0) * jitter
                }
            };
            task.claim = None;
            task.state = TaskState::Fenced { retry_at_us: now + (seconds * 1e6) as u64 };
            let (topic, partition) = (task.topic, task.partition);
            if *rejection == Rejection::WentBack {
                self.observer.log_reset(&key.topic, partition);
            }
            self.commands.push_back(Command::Pause { topic, partition });
        }
        self.rewind_all();
    }

    /// Forgets everything that is not committed and has the consumer seek every running task back.
    fn rewind_all(&mut self) {
        let fresh = self.spare.pop().unwrap_or_default();
        let old = std::mem::replace(&mut self.building, fresh);
        recycle(&mut self.spare, old);
        self.building_since_us = None;
        self.pipeline.take_counts();
        for task in self.tasks.iter_mut().flatten() {
            if task.is_running() {
                task.rewind();
                if !task.awaits_published {
                    self.commands.push_back(Command::Start(task.start_at(task.committed)));
                }
            }
        }
    }

    /// Rule E5: the table or column is not there. The task tries again by itself after a while.
    fn pause_topic(&mut self, key: &TaskKey, error: &Error) {
        let now = self.clock.now_us();
        self.observer.partition_paused(&key.topic, key.partition, Some(error));
        let Some(task) = self.task_mut(key) else { return };
        task.fenced_count += 1;
        let wait = Duration::from_secs(u64::from(1u32 << task.fenced_count.min(5)).min(30));
        task.claim = None;
        task.state = TaskState::Fenced { retry_at_us: now + wait.as_micros() as u64 };
        let (topic, partition) = (task.topic, task.partition);
        self.commands.push_back(Command::Pause { topic, partition });
    }

    fn give_back(&mut self, sealed: Box<SealedBatch>) {
        self.in_flight -= 1;
        self.in_flight_bytes = self.in_flight_bytes.saturating_sub(sealed.batch.arena.size_bytes() as u64);
        recycle(&mut self.spare, sealed.batch);
    }

    fn observe_applied(&self, sealed: &SealedBatch, applied: &crate::sink::Applied, seconds: f64) {
        let batch = &sealed.batch;
        if !batch.is_progress_only() {
            self.observer.batch_written(batch.records.len() + batch.dead.len(), seconds);
        }
        if applied.slow_path {
            self.observer.slow_path();
        }
        // Which of the batch's partitions it was is not counted.
        if sealed.counts.log_resets > 0
            && let Some(span) = batch.spans.first()
        {
            self.observer.log_reset(&span.task.topic, span.task.partition);
        }
        for (entity, consumed) in sealed.counts.consumed.iter().enumerate() {
            let entity_id = crate::record::EntityId(entity as u16);
            if *consumed > 0 {
                self.observer.consumed(entity_id, *consumed);
            }
            for (outcome, count) in Outcome::ALL.iter().zip(sealed.counts.outcomes[entity]) {
                if count > 0 {
                    self.observer.records(entity_id, *outcome, count);
                }
            }
        }
        for (entity, counts) in &applied.outcomes {
            let by_outcome = [
                (Outcome::Applied, counts.applied),
                (Outcome::Unchanged, counts.unchanged),
                (Outcome::Differs, counts.differs),
                (Outcome::Parked, counts.parked),
                (Outcome::Dead, counts.dead),
            ];
            for (outcome, count) in by_outcome {
                if count > 0 {
                    self.observer.records(*entity, outcome, count);
                }
            }
        }
        let oldest = batch.records.iter().map(|record| record.source.committed_at_us).filter(|at| *at > 0).min();
        if let Some(oldest) = oldest {
            self.observer.delay((self.clock.wall_ms() as f64 / 1000.0 - oldest as f64 / 1e6).max(0.0));
        }
    }
}
