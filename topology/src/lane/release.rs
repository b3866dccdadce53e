//! Held rows that are tried again when due, also while no record arrives (rules H2, H3).

use std::time::Duration;

use super::halves::Chance;
use super::writer::{Next, Writer};
use crate::batch::{ChangeBatch, HeldId};
use crate::error::{Error, ErrorKind, Stage};
use crate::ledger::{Claim, TaskKey, TaskSpan};
use crate::pipeline::Pushed;
use crate::policy::{Action, action};
use crate::raw::RawRecord;
use crate::record::{EntityId, Record, Slot};
use crate::sink::{ApplyError, HeldRow};

/// How often held rows are counted though nothing of ours has changed them, also by a lane that is busy: an operator may have asked to try dead
/// ones again.
const HELD_COUNT_INTERVAL: Duration = Duration::from_secs(3);

/// Where more rows wait, they are counted only every [`HELD_COUNT_INTERVAL`].
const HELD_ROWS_COUNTED_AT_ONCE: u64 = 1000;

/// A held row that is to be tried.
struct Due {
    row: HeldRow,
    /// It is half a key change whose other half will not come.
    is_alone: bool,
}

impl Writer {
    /// Tries held rows that are due (rules H2, H3), all in one transaction. Errors here are met again by the next batch; nothing is lost by
    /// waiting.
    pub(super) async fn release_held(&mut self) -> Next {
        self.is_release_due = false;
        let counted = Duration::from_micros(self.clock.now_us().saturating_sub(self.held_counted_at_us));
        if counted >= HELD_COUNT_INTERVAL && !self.claims.is_empty() && !self.is_idle_check_failing {
            self.count_held().await;
        }
        if self.held.parked + self.held.queued == 0 || self.claims.is_empty() {
            return Next::Continue;
        }
        let may_number = |claim: &&Claim| self.publishing.may_number(&claim.task);
        let claims: Vec<Claim> = self.claims.values().filter(may_number).cloned().collect();
        if claims.is_empty() {
            return Next::Continue;
        }
        let (due, fetched) = match self.due(&claims).await {
            Ok(due) => due,
            Err(error) => {
                self.sink.disconnect();
                // Whoever answers next says that it is over.
                self.is_idle_check_failing = true;
                self.back_off(1, &error).await;
                return Next::Continue;
            }
        };
        if !due.is_empty() {
            match self.release(&claims, due, fetched).await {
                Released::Some => self.is_release_due = true,
                Released::None => {}
                Released::Stop(error) => return Next::Stop(Some(error)),
            }
        }
        if self.counts_at_once() {
            self.count_held().await;
        }
        Next::Continue
    }

    /// Counting reads all that is held.
    pub(super) fn counts_at_once(&self) -> bool {
        self.held.parked + self.held.queued < HELD_ROWS_COUNTED_AT_ONCE
    }

    /// Rows that are worth a try, and how many were due. Halves whose other half has left no word are not, unless it will not come (rule B5).
    async fn due(&mut self, claims: &[Claim]) -> Result<(Vec<Due>, usize), Error> {
        let due = self.sink.due_held(claims, self.release_rows_max).await?;
        let fetched = due.len();
        let chances = self.chances(&due).await?;
        let (mut tried, mut vain) = (Vec::with_capacity(due.len()), Vec::new());
        for (row, chance) in due.into_iter().zip(chances) {
            match chance {
                Chance::None => vain.push((row.task, row.id)),
                Chance::Some | Chance::Alone => tried.push(Due { row, is_alone: chance == Chance::Alone }),
            }
        }
        if !vain.is_empty() {
            self.sink.postpone_held(&vain).await?;
            if fetched >= self.release_rows_max {
                // There are more behind them. It is not the number of rows that a try failed of, if one did.
                self.is_release_due = true;
                self.release_rows_max = (2 * self.release_rows_max).min(self.settings.held_rows_max);
            }
        }
        Ok((tried, fetched))
    }

    /// The batch that tries these rows: of each partition in the order of offsets, between partitions in the order of the source, so
    /// that parents come before their children.
    ///
    /// Beside it the rows that can't be tried now.
    async fn release_batch(
        &mut self,
        claims: &[Claim],
        due: Vec<Due>,
    ) -> Result<(ChangeBatch, Vec<(TaskKey, HeldId)>), Error> {
        let mut batch = ChangeBatch::default();
        let mut untried = Vec::new();
        let mut ids = Vec::with_capacity(due.len());
        let mut alone = Vec::with_capacity(due.len());
        // H3: what comes after a row that can't be decoded now waits too.
        let mut left_out: Option<TaskKey> = None;
        for Due { row, is_alone } in due {
            let Some(claim) = claims.iter().find(|claim| claim.task == row.task) else { continue };
            let Some(topic) = self.pipeline.topics().iter().position(|topic| *topic.name == *row.task.topic) else {
                continue;
            };
            if left_out.as_ref() == Some(&row.task) {
                untried.push((row.task, row.id));
                continue;
            }
            if batch.spans.last().is_none_or(|span| span.task != row.task) {
                batch.span_of_slot.push(batch.spans.len() as u16);
                batch.spans.push(TaskSpan {
                    task: row.task.clone(),
                    epoch: claim.epoch,
                    owner: claim.owner,
                    from: claim.next_offset,
                    to: claim.next_offset,
                    marks: claim.marks.clone(),
                    tail_hash: claim.tail_hash,
                    generation: claim.generation,
                    passed: None,
                    last_timestamp_ms: -1,
                });
            }
            let slot = Slot(batch.spans.len() as u16 - 1);
            let raw = RawRecord {
                topic,
                offset: row.id.offset,
                timestamp_ms: row.timestamp_ms,
                key: row.key.as_deref(),
                value: row.value.as_deref(),
                headers: &row.headers,
            };
            let (before, dead_before) = (batch.records.len(), batch.dead.len());
            let mut refused = None;
            let pushed = loop {
                match self.pipeline.push(slot, &raw, None, &mut batch) {
                    Pushed::SchemaNeeded(id) => match self.fetch(id).await {
                        Ok(()) => {}
                        Err(error) if error.kind != ErrorKind::Data => break false,
                        // The registry answers and does not know the id: dead, and nothing waits for it.
                        Err(error) => {
                            refused = Some(Error::data(Stage::Decode, "unknown schema", error.to_string()));
                            break true;
                        }
                    },
                    Pushed::Halt(_) => break false,
                    Pushed::Done => break true,
                    Pushed::Fatal(error) => return Err(error),
                }
            };
            // The record may map to several rows, of which only this one is held.
            let ordinal = usize::try_from(row.id.ordinal).unwrap_or(usize::MAX);
            let record = batch.records.get(before..).and_then(|made| made.get(ordinal)).copied().filter(|_| pushed);
            batch.records.truncate(before);
            batch.records.extend(record);
            ids.extend(record.map(|_| row.id));
            alone.extend(record.map(|_| is_alone));
            if !pushed {
                untried.push((row.task.clone(), row.id));
                left_out = Some(row.task);
            } else if record.is_none() && batch.dead.len() == dead_before {
                // As it is read now there is nothing to apply, as after a change of the configuration: a person should know.
                let nothing =
                    || Error::data(Stage::Process, "nothing to apply", "the record is left out now; discard it");
                self.pipeline.refuse(slot, &raw, refused.unwrap_or_else(nothing), &mut batch);
            }
        }
        self.pipeline.take_counts();
        let order = in_source_order(&batch.records, &self.settings.order);
        batch.releases = order.iter().map(|at| ids[*at]).collect();
        batch.alone = order.iter().map(|at| alone[*at]).collect();
        batch.records = order.iter().map(|at| batch.records[*at]).collect();
        self.reducer.reduce(&mut batch, &self.reduce_tables, &self.settings.order);
        Ok((batch, untried))
    }

    /// Puts rows off; if that fails they are due again, no more.
    async fn postpone(&mut self, rows: &[(TaskKey, HeldId)]) {
        if !rows.is_empty()
            && let Err(error) = self.sink.postpone_held(rows).await
        {
            tracing::debug!(direction = %self.settings.direction, %error, "cannot put held rows off");
            self.sink.disconnect();
        }
    }

    async fn release(&mut self, claims: &[Claim], due: Vec<Due>, fetched: usize) -> Released {
        let rows = due.len();
        let (batch, mut untried) = match self.release_batch(claims, due).await {
            Ok(release) => release,
            Err(error) => return Released::Stop(error),
        };
        if batch.records.is_empty() && batch.dead.is_empty() {
            self.postpone(&untried).await;
            return Released::None;
        }
        match self.sink.apply(&batch).await {
            Ok(applied) => {
                for (record, id) in batch.records.iter().zip(&batch.releases) {
                    let task = &batch.span_of(record.slot).task;
                    if applied.paused.iter().any(|(paused, _)| paused == task) {
                        untried.push((task.clone(), *id));
                    }
                }
                self.postpone(&untried).await;
                if applied.has_outputs {
                    self.publishing.note_stored();
                }
                self.release_rows_max = (2 * self.release_rows_max).min(self.settings.held_rows_max);
                let mut is_gone = false;
                for (entity, counts) in applied.outcomes {
                    is_gone |= counts.applied + counts.unchanged + counts.differs + counts.dead > 0;
                    if counts.applied > 0 {
                        self.observer.records(entity, crate::observe::Outcome::Applied, counts.applied);
                    }
                }
                if is_gone { Released::Some } else { Released::None }
            }
            // The next ordinary batch, or the next look at the ledger, meets the same fence or outage and deals with it; a lost reply is harmless here, the rows are
            // either released or tried again under the same CAS.
            Err(ApplyError::Cas(_)) => {
                self.is_check_due = true;
                Released::None
            }
            Err(ApplyError::Unknown(_)) => {
                self.publishing.note_stored();
                self.sink.disconnect();
                Released::None
            }
            Err(ApplyError::Failed(error)) => {
                if action(error.kind) == Action::Stop {
                    return Released::Stop(error);
                }
                tracing::debug!(direction = %self.settings.direction, rows, %error, "held rows could not be tried; fewer the next time");
                // As with a deadlock: many rows meet more of what other lanes lock.
                self.release_rows_max = (fetched / 2).max(1);
                if error.kind != ErrorKind::Transient {
                    self.sink.disconnect();
                }
                Released::None
            }
        }
    }
}

/// Indexes of records in the order of their source, without changing the order within a partition (slot): always the oldest head. Snapshot
/// reads have no place in the log: parents first.
fn in_source_order(records: &[Record], parents_first: &[EntityId]) -> Vec<usize> {
    let mut heads: Vec<std::ops::Range<usize>> = Vec::new();
    let mut start = 0;
    for part in records.chunk_by(|a, b| a.slot == b.slot) {
        heads.push(start..start + part.len());
        start += part.len();
    }
    let rank = |entity: EntityId| parents_first.iter().position(|other| *other == entity);
    let age = |at: usize| {
        let Record { source, entity, .. } = &records[at];
        (source.identity, source.position, rank(*entity), at)
    };
    let mut order = Vec::with_capacity(records.len());
    while let Some(oldest) = heads.iter_mut().filter(|head| head.start < head.end).min_by_key(|head| age(head.start)) {
        order.extend(oldest.next());
    }
    order
}

/// What became of held rows that were tried again.
enum Released {
    /// Some are applied, or dead: what waited behind them may be tried.
    Some,
    /// They wait on, or nothing is known.
    None,
    Stop(Error),
}

#[cfg(test)]
#[path = "release_tests.rs"]
mod tests;
