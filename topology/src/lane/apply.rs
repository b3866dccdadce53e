//! One batch from the poll thread to the target: tried until it is applied, given up to a claim that somebody else has, or stopped by an
//! error that needs a person (rules L3, L4, E1).

use super::message::{Rejection, Reply, SealedBatch};
use super::writer::{Next, Writer};
use crate::error::{Error, ErrorKind};
use crate::ledger::{CasOutcome, Claim, ClaimReply, ClaimRequest, Owner, TaskKey};
use crate::mutation;
use crate::policy::{Action, action};
use crate::sink::{Applied, ApplyError};

impl Writer {
    pub(super) async fn apply(&mut self, mut sealed: Box<SealedBatch>) -> Next {
        if sealed.rewind != self.rewind {
            let _ = self.replies.send(Reply::Stale(sealed));
            return Next::Continue;
        }
        let mut attempt = 0;
        let mut reclaimed = Vec::new();
        loop {
            let mut forgotten = Vec::new();
            let ending = self.absorb(&mut forgotten);
            let is_lost = sealed.batch.spans.iter().any(|span| !self.claims.contains_key(&span.task));
            if is_lost || (ending && attempt > 0) {
                return self.reject(sealed, |_| Rejection::Innocent);
            }
            let started_us = self.clock.now_us();
            match self.sink.apply(&sealed.batch).await {
                Ok(applied) => {
                    self.recovered(attempt);
                    return self.applied(sealed, applied, reclaimed, started_us).await;
                }
                Err(ApplyError::Cas(mismatches)) => {
                    if mismatches.iter().all(|(_, outcome)| *outcome == CasOutcome::AlreadyApplied) {
                        return self.applied(sealed, Applied::default(), reclaimed, started_us).await;
                    }
                    if mismatches.iter().any(|(_, outcome)| *outcome == CasOutcome::Fenced) {
                        self.observer.retried(ErrorKind::Fenced);
                    }
                    if mismatches.iter().any(|(_, outcome)| *outcome == CasOutcome::Inconsistent) {
                        self.observer.invariant_broken("OFF-2");
                    }
                    return self.reject(sealed, |task| judge(&mismatches, task));
                }
                Err(ApplyError::Unknown(error)) => {
                    self.sink.disconnect();
                    if mutation::is_active(mutation::UNKNOWN_IS_APPLIED) {
                        return self.applied(sealed, Applied::default(), reclaimed, started_us).await;
                    }
                    self.observer.retried(error.kind);
                    match self.settle(&mut sealed, &mut reclaimed).await {
                        Settled::Applied => {
                            return self.applied(sealed, Applied::default(), reclaimed, started_us).await;
                        }
                        Settled::NotApplied => attempt += 1,
                        Settled::Mixed(tasks) => {
                            return self.reject(sealed, |task| {
                                if tasks.contains(task) { Rejection::WentBack } else { Rejection::Fenced }
                            });
                        }
                        // Not innocent: the COMMIT may still arrive, and progress would be somewhere else than we think.
                        Settled::Ending => return self.reject(sealed, |_| Rejection::Unknown),
                        Settled::Stop(error) => return Next::Stop(Some(error)),
                    }
                }
                Err(ApplyError::Failed(error)) => match action(error.kind) {
                    Action::Retry | Action::Pause | Action::PauseTopic | Action::Park | Action::DeadLetter => {
                        // Park and DeadLetter are decided per row inside the sink; a whole batch failing so means a code that
                        // it does not know: pause, never lose.
                        attempt += 1;
                        if error.kind != ErrorKind::Transient {
                            self.sink.disconnect();
                        }
                        self.back_off(attempt, &error).await;
                    }
                    Action::Drop => return self.reject(sealed, |_| Rejection::Fenced),
                    Action::Stop => return Next::Stop(Some(error)),
                },
            }
        }
    }

    /// Rule L4: claim again (the claim waits for the old transaction), then the ledger says what happened.
    async fn settle(&mut self, sealed: &mut SealedBatch, reclaimed: &mut Vec<Claim>) -> Settled {
        self.publishing.note_stored();
        let requests: Vec<ClaimRequest> = sealed
            .batch
            .spans
            .iter()
            .map(|span| ClaimRequest {
                task: span.task.clone(),
                owner: Owner::random(&mut self.random),
                group_id: self.settings.group_id.clone(),
                start_offset: None,
                restart: false,
                generation: span.generation,
            })
            .collect();
        let mut attempt = 0;
        let answers = loop {
            match self.sink.claim(&requests).await {
                Ok(answers) => break answers,
                Err(error) if matches!(action(error.kind), Action::Retry | Action::Pause | Action::PauseTopic) => {
                    attempt += 1;
                    self.sink.disconnect();
                    self.back_off(attempt, &error).await;
                }
                Err(error) => return Settled::Stop(error),
            }
            let mut forgotten = Vec::new();
            let ending = self.absorb(&mut forgotten);
            if ending || sealed.batch.spans.iter().any(|span| forgotten.contains(&span.task)) {
                return Settled::Ending;
            }
        };
        self.recovered(attempt);
        let (mut done, mut open, mut moved) = (0, 0, Vec::new());
        for (span, answer) in sealed.batch.spans.iter_mut().zip(answers) {
            let ClaimReply::Claimed(claim) = answer else {
                moved.push(span.task.clone());
                continue;
            };
            match claim.next_offset {
                at if at == span.to && (span.to != span.from || claim.generation == span.generation) => done += 1,
                at if at == span.from => open += 1,
                _ => moved.push(span.task.clone()),
            }
            span.epoch = claim.epoch;
            span.owner = claim.owner;
            reclaimed.retain(|other| other.task != claim.task);
            reclaimed.push(claim.clone());
            self.claims.insert(claim.task.clone(), claim);
        }
        match (done, open, moved.is_empty()) {
            (_, 0, true) => Settled::Applied,
            (0, _, true) => Settled::NotApplied,
            _ => Settled::Mixed(moved),
        }
    }

    async fn applied(
        &mut self,
        sealed: Box<SealedBatch>,
        applied: Applied,
        claims: Vec<Claim>,
        started_us: u64,
    ) -> Next {
        let is_paused = |task: &TaskKey| applied.paused.iter().any(|(paused, _)| paused == task);
        for span in sealed.batch.spans.iter().filter(|span| !is_paused(&span.task)) {
            if let Some(claim) = self.claims.get_mut(&span.task) {
                // All that the ledger row has now: the next release of a held row writes it again.
                claim.next_offset = span.to;
                if !mutation::is_active(mutation::RELEASE_WRITES_OLD_MARKS) {
                    claim.marks = span.marks.clone();
                }
                claim.tail_hash = span.tail_hash;
                claim.generation = span.generation;
            }
        }
        if !applied.paused.is_empty() {
            // The lane rewinds when it reads this; a batch that it sealed before is stale.
            self.rewind += 1;
            for (task, error) in &applied.paused {
                // Where too much waits (rule H5) only the release of held rows makes room.
                if error.kind != ErrorKind::Dependency {
                    self.claims.remove(task);
                }
            }
        }
        if applied.has_outputs {
            self.publishing.note_stored();
        }
        if sealed.batch.spans.len() >= self.claims.len() {
            // The CAS looked at all of them.
            self.checked_at_us = self.clock.now_us();
        }
        let rows_held = applied.outcomes.iter().any(|(_, counts)| counts.parked + counts.dead > 0);
        let seconds = self.clock.now_us().saturating_sub(started_us) as f64 / 1e6;
        let _ = self.replies.send(Reply::Applied { batch: sealed, applied, claims, seconds });
        if rows_held && self.counts_at_once() {
            self.count_held().await;
        }
        Next::Continue
    }

    fn reject(&mut self, sealed: Box<SealedBatch>, why: impl Fn(&TaskKey) -> Rejection) -> Next {
        self.rewind += 1;
        tracing::info!(direction = %self.settings.direction, partitions = sealed.batch.spans.len(), "batch given up; the lane rewinds to the ledger");
        let tasks: Vec<(TaskKey, Rejection)> =
            sealed.batch.spans.iter().map(|span| (span.task.clone(), why(&span.task))).collect();
        for (task, rejection) in &tasks {
            if *rejection != Rejection::Innocent {
                // What happened to this one may have happened to those that are in no batch.
                self.is_check_due = true;
                self.claims.remove(task);
                self.sink.forget(std::slice::from_ref(task));
            }
        }
        let _ = self.replies.send(Reply::Rejected { batch: sealed, tasks });
        Next::Continue
    }
}

/// What a claim says about an unknown COMMIT.
enum Settled {
    Applied,
    NotApplied,
    /// These tasks' progress is somewhere else: the target went back, or another owner moved it.
    Mixed(Vec<TaskKey>),
    /// The tasks are gone or the process ends.
    Ending,
    Stop(Error),
}

fn judge(mismatches: &[(TaskKey, CasOutcome)], task: &TaskKey) -> Rejection {
    match mismatches.iter().find(|(other, _)| other == task) {
        None => Rejection::Innocent,
        Some((_, CasOutcome::WentBack(_) | CasOutcome::AlreadyApplied)) => Rejection::WentBack,
        Some((_, CasOutcome::Missing)) => Rejection::Missing,
        Some((_, CasOutcome::Fenced | CasOutcome::Inconsistent)) => Rejection::Fenced,
    }
}
