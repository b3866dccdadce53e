//! Tries held rows again (rules H2, H3), in the transaction of a batch that moves no progress (rule L1).
//!
//! ```text
//! parked ──ok──► gone, followers due        queued ──due──► (as parked)
//! parked ──dependency──► parked, attempts+1, later; followers wait on
//! parked ──data, or too long──► dead, followers due
//! parked ──its parent came and went──► superseded by the delete in its queue
//! dead ──`dlq replay`──► replay ──in its turn──► (as queued)
//! ```
//!
//! In its turn: a row is tried only if no earlier row of its key waits, and what is applied overtakes the dead rows before it (rule H4). A full
//! image passes rows that wait for nothing but their own row, as in a batch (rule H3).
//!
//! What is tried was read before the transaction. Behind the compare-and-set it is read again: a COMMIT whose reply was lost may have been
//! at work until then, and an operator may have discarded rows.

use std::collections::hash_map::Entry;
use std::collections::{HashMap, HashSet};

use topology::batch::{Change, ChangeBatch, ChangeKind, HeldId};
use topology::data::{Cell, Value};
use topology::ledger::TaskKey;

use super::attempt::{Failures, Progress};
use super::claim::task_values;
use super::failed_again::FailedAgain;
use super::groups::{Group, GroupKind};
use super::held::{Removed, is_full};
use super::held_keys::may_be_passed;
use super::moves::is_half_waits;
use super::rows::MoveNotes;
use super::{Failure, SqlWriter};
use crate::sql::error::{SqlError, SqlResult};

/// One held row that is tried.
pub(super) struct Try {
    pub(super) index: usize,
    pub(super) span: usize,
    pub(super) entity: usize,
    pub(super) change: Change,
    pub(super) key_hash: Option<u64>,
    /// Earlier rows of its key wait and become history when it is applied.
    pub(super) passes: bool,
}

/// A waiting row of a key, not one of those that are tried.
struct Waiting {
    offset: i64,
    may_be_passed: bool,
}

/// May a row be tried?
enum Turn {
    Now,
    /// Before earlier rows of its key, which it makes history.
    Passing,
    /// An earlier row of its key waits.
    Later,
}

/// What is known so far.
#[derive(Default)]
pub(super) struct Releasing {
    /// The database's clock, read when first needed.
    pub(super) now_ms: Option<i64>,
    /// (span, key hash) that failed again: later rows of the key stay as they are.
    pub(super) blocked: HashSet<(usize, u64)>,
    /// Offsets of the rows of each (span, key hash) in this batch.
    pub(super) offsets_of: HashMap<(usize, u64), Vec<i64>>,
    /// Keys whose followers are due by now: once per transaction is enough, for there may be a thousand.
    pub(super) freed: HashSet<(usize, u64)>,
    /// Rows of a key that wait and are not in this batch, before the last one that is; where they were looked for.
    waiting: HashMap<(usize, u64), Vec<Waiting>>,
    /// Applied: (span, id), to be deleted at the end.
    done: Vec<(usize, HeldId)>,
    /// Failed again, to be stored at the end.
    pub(super) failed: Vec<FailedAgain>,
    /// Have to wait for earlier rows of their keys.
    later: Vec<(usize, HeldId)>,
}

impl SqlWriter {
    pub(super) async fn release(
        &mut self,
        batch: &ChangeBatch,
        excluded: &[bool],
        progress: &mut Progress,
    ) -> Result<(), Failure> {
        self.read_again(batch, excluded, progress).await?;
        let mut releasing = Releasing::default();
        let mut all: Vec<Try> = Vec::with_capacity(batch.records.len());
        for index in 0..batch.records.len() {
            let record = &batch.records[index];
            let span = usize::from(batch.span_of_slot[usize::from(record.slot.0)]);
            if excluded[span] {
                continue;
            }
            let entity = usize::from(record.entity.0);
            if !progress.due.contains_key(&(span, batch.releases[index])) {
                progress.take_back(entity, 1);
                continue;
            }
            let change = self.unreduced(batch, entity, index);
            let table = self.tables[entity].as_ref().expect("planned before BEGIN");
            let key_hash = table.key_hash(&batch.arena, change.key);
            if let Some(hash) = key_hash {
                releasing.offsets_of.entry((span, hash)).or_default().push(batch.releases[index].offset);
            }
            all.push(Try { index, span, entity, change, key_hash, passes: false });
        }
        let mut run: Vec<Try> = Vec::new();
        for tried in all {
            let Try { span, entity, change, .. } = tried;
            // Rows of different keys that go into one statement are written together, as children of one parent mostly are.
            let joins = change.kind == ChangeKind::Upsert
                && run.iter().all(|other| {
                    other.entity == entity
                        && other.change.kind == ChangeKind::Upsert
                        && (other.span != span || other.key_hash != tried.key_hash)
                });
            if !joins {
                self.release_run(batch, std::mem::take(&mut run), &mut releasing, progress).await?;
            }
            run.push(tried);
        }
        self.release_run(batch, run, &mut releasing, progress).await?;
        self.store_failed(batch, &releasing.failed).await?;
        self.put_off(batch, &releasing.later, progress).await?;
        if !releasing.done.is_empty() {
            topology::crash::point("release_written");
            self.delete_released(batch, &releasing.done).await?;
            topology::crash::point("release_deleted");
        }
        Ok(())
    }

    /// Which of the rows still wait, how often each was tried, and since when it fails.
    async fn read_again(
        &mut self,
        batch: &ChangeBatch,
        excluded: &[bool],
        progress: &mut Progress,
    ) -> Result<(), Failure> {
        let mut ranges: HashMap<usize, (i64, i64)> = HashMap::new();
        let tried = batch.records.iter().map(|record| (record.slot, record.offset));
        for (slot, offset) in tried.chain(batch.dead.iter().map(|dead| (dead.slot, dead.offset))) {
            let (first, last) =
                ranges.entry(usize::from(batch.span_of_slot[usize::from(slot.0)])).or_insert((offset, offset));
            (*first, *last) = (offset.min(*first), offset.max(*last));
        }
        let session = self.session.as_deref_mut().expect("enter() opened a session");
        for (span, (first, last)) in ranges.into_iter().filter(|(span, _)| !excluded[*span]) {
            let mut values = task_values(&batch.spans[span].task).to_vec();
            values.extend([Value::I64(first), Value::I64(last)]);
            let rows = session.query(&self.statements.held_due, &values).await;
            for row in rows.map_err(|error| Failure::Failed(error.error))? {
                let [
                    Value::I64(offset),
                    Value::I64(ordinal),
                    Value::I64(attempts),
                    Value::I64(first_failed_at_ms),
                    ref code,
                ] = row[..]
                else {
                    continue;
                };
                let lacked_half = matches!(code, Value::Text(code) if is_half_waits(code));
                let id = HeldId { offset, ordinal: i32::try_from(ordinal).unwrap_or(i32::MAX) };
                progress.due.insert((span, id), Failures { attempts, first_failed_at_ms, lacked_half });
            }
        }
        Ok(())
    }

    async fn release_run(
        &mut self,
        batch: &ChangeBatch,
        run: Vec<Try>,
        releasing: &mut Releasing,
        progress: &mut Progress,
    ) -> Result<(), Failure> {
        let mut free: Vec<Try> = Vec::with_capacity(run.len());
        for tried in run {
            match self.turn(batch, &tried, releasing).await? {
                Turn::Now => free.push(tried),
                Turn::Passing => free.push(Try { passes: true, ..tried }),
                Turn::Later => {
                    progress.take_back(tried.entity, 1);
                    releasing.later.push((tried.span, batch.releases[tried.index]));
                }
            }
        }
        let mut errors: HashMap<u32, SqlError> = HashMap::new();
        if free.len() > 1 {
            let entity = free[0].entity;
            let group = Group { kind: GroupKind::Upsert, changes: free.iter().map(|tried| tried.change).collect() };
            let mut failed = Vec::new();
            self.write_isolating(batch, entity, &group, progress, &mut failed).await?;
            for failed in failed {
                errors.insert(failed.change.first_record, self.judge_unknown(failed.error).await?);
            }
        } else if let Some(tried) = free.first()
            && let Err(error) = self.try_one(batch, tried, progress).await?
        {
            errors.insert(tried.change.first_record, error);
        }
        for tried in free {
            match errors.remove(&tried.change.first_record) {
                None => {
                    progress.due.remove(&(tried.span, batch.releases[tried.index]));
                    releasing.done.push((tried.span, batch.releases[tried.index]));
                    let table = self.tables[tried.entity].as_ref().expect("planned before BEGIN");
                    progress.holding.note_released(&self.held, table, batch, &tried.change);
                    if let (true, Some(hash)) = (tried.passes, tried.key_hash) {
                        progress.holding.outrun.push(((tried.span, hash), batch.releases[tried.index].offset));
                        progress.holding.stale.insert(tried.span);
                    }
                    progress.holding.removed.push(Removed {
                        span: tried.span,
                        key_hash: tried.key_hash,
                        record: tried.index,
                        is_dead: false,
                    });
                    if tried.key_hash.is_some_and(|hash| releasing.freed.insert((tried.span, hash))) {
                        self.free_followers(batch, tried.span, tried.key_hash).await?;
                    }
                }
                Some(error) => self.failed_again(batch, &tried, error, releasing, progress).await?,
            }
        }
        Ok(())
    }

    /// An earlier row of the key may wait: one that failed in this batch, or one that was not due when the batch was read. The second happens
    /// only where a dead row was replayed or a full image waits for a parent; followers are not due either as long as their head waits.
    async fn turn(&mut self, batch: &ChangeBatch, tried: &Try, releasing: &mut Releasing) -> Result<Turn, Failure> {
        let Some(hash) = tried.key_hash else { return Ok(Turn::Now) };
        let key = (tried.span, hash);
        if releasing.blocked.contains(&key) {
            return Ok(Turn::Later);
        }
        let task = &batch.spans[tried.span].task;
        let own = releasing.offsets_of.get(&key).map_or(&[][..], Vec::as_slice);
        let waiting = self.held.get(task).map_or(0, |keys| keys.waiting(hash));
        if waiting as usize <= own.len() && !self.replayed.contains(task) {
            return Ok(Turn::Now);
        }
        let offset = batch.releases[tried.index].offset;
        let mut values = task_values(task).to_vec();
        values.push(Value::I64(hash.cast_signed()));
        let fatal = |error: SqlError| Failure::Failed(error.error);
        if let Entry::Vacant(vacant) = releasing.waiting.entry(key) {
            let last = Value::I64(own.iter().copied().max().unwrap_or(offset));
            let before: Vec<Value> = values.iter().cloned().chain([last]).collect();
            let session = self.session.as_deref_mut().expect("enter() opened a session");
            let rows = session.query(&self.statements.held_waiting, &before).await.map_err(fatal)?;
            let others =
                rows.iter().filter_map(|row| waiting_row(row)).filter(|row| !own.contains(&row.offset)).collect();
            vacant.insert(others);
        }
        let others = releasing.waiting.get(&key).map_or(&[][..], Vec::as_slice);
        let others = &others[..others.partition_point(|row| row.offset < offset)];
        let Some(first) = others.first() else { return Ok(Turn::Now) };
        if is_full(tried.change.kind) && others.iter().all(|row| row.may_be_passed) {
            return Ok(Turn::Passing);
        }
        releasing.blocked.insert(key);
        values.push(Value::I64(first.offset));
        let session = self.session.as_deref_mut().expect("enter() opened a session");
        session.execute(&self.statements.held_hold_behind, &values).await.map(|_| Turn::Later).map_err(fatal)
    }

    async fn try_one(
        &mut self,
        batch: &ChangeBatch,
        tried: &Try,
        progress: &mut Progress,
    ) -> Result<SqlResult<()>, Failure> {
        let mut notes = MoveNotes::default();
        match self.write_record(batch, tried.entity, &tried.change, &mut notes, progress).await? {
            Ok(()) => match notes.parked.pop() {
                Some(half) => Ok(Err(half.error)),
                None => {
                    progress.wakes.extend(notes.wakes);
                    Ok(Ok(()))
                }
            },
            Err(error) => Ok(Err(error)),
        }
    }

    /// What is applied is held no more.
    async fn delete_released(&mut self, batch: &ChangeBatch, done: &[(usize, HeldId)]) -> Result<(), Failure> {
        self.scratch.clear();
        let mut keys = Vec::with_capacity(done.len());
        for (span, id) in done {
            let mut cells: Vec<Cell> = Vec::with_capacity(6);
            for value in task_values(&batch.spans[*span].task) {
                cells.push(self.scratch.push_value(&value));
            }
            cells.extend([Cell::I64(id.offset), Cell::I64(i64::from(id.ordinal))]);
            keys.push(self.scratch.push_cells(&cells));
        }
        let session = self.session.as_deref_mut().expect("enter() opened a session");
        let deleted = session.write_rows(&self.own.held_delete, &self.scratch, &keys).await;
        deleted.map(|_| ()).map_err(|error| Failure::Failed(error.error))
    }

    /// Parked rows that an earlier one of their key keeps from being tried are not due as long as that one waits: they would take the place of
    /// others. Those that queue were put off already ([`SqlWriter::turn`]).
    async fn put_off(
        &mut self,
        batch: &ChangeBatch,
        later: &[(usize, HeldId)],
        progress: &Progress,
    ) -> Result<(), Failure> {
        let is_parked = |row: &&(usize, HeldId)| progress.due.get(row).is_some_and(|failures| failures.attempts > 0);
        let rows: Vec<(TaskKey, HeldId)> =
            later.iter().filter(is_parked).map(|(span, id)| (batch.spans[*span].task.clone(), *id)).collect();
        self.postpone(&rows).await.map_err(|error| Failure::Failed(error.error))
    }

    /// True when other rows of a key wait too.
    pub(super) fn has_followers(&self, batch: &ChangeBatch, span: usize, hash: Option<u64>) -> bool {
        let Some(hash) = hash else { return false };
        self.held.get(&batch.spans[span].task).is_none_or(|keys| keys.waiting(hash) > 1)
    }

    pub(super) async fn free_followers(
        &mut self,
        batch: &ChangeBatch,
        span: usize,
        hash: Option<u64>,
    ) -> Result<(), Failure> {
        let Some(hash) = hash.filter(|hash| self.has_followers(batch, span, Some(*hash))) else { return Ok(()) };
        let mut values = task_values(&batch.spans[span].task).to_vec();
        values.push(Value::I64(hash.cast_signed()));
        let session = self.session.as_deref_mut().expect("enter() opened a session");
        let freed = session.execute(&self.statements.held_retry_followers, &values).await;
        freed.map(|_| ()).map_err(|error| Failure::Failed(error.error))
    }
}

/// Offset, state and `waits_for` of a waiting row.
fn waiting_row(row: &[Value]) -> Option<Waiting> {
    let [Value::I64(offset), Value::Text(state), waits_for] = row else { return None };
    let waits_for = if let Value::Text(name) = waits_for { Some(name.as_str()) } else { None };
    Some(Waiting { offset: *offset, may_be_passed: may_be_passed(state != "parked", waits_for) })
}
