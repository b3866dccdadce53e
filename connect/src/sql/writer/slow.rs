//! The slow path (rules E2, E4, B4): finds the rows that can't be written, and only those.
//!
//! Each group is written by halves, with a savepoint before each statement: one bad row among n costs about 2·log2 n writes. What is
//! isolated is run again after all else of its stage, unreduced and in exact source order, record by record; what fails then is parked
//! (a dependency), or dead (its own fault). Reduced images of other keys are as good as in the fast path, so they are not run again.

use std::sync::Arc;

use topology::batch::{Change, ChangeBatch};
use topology::data::Cell;
use topology::{Error, ErrorKind, Stage};

use super::attempt::{Progress, with_entity};
use super::groups::{Group, GroupKind, kind_of};
use super::held::{Failed, span_index};
use super::rows::{self, MoveNotes};
use super::tables::Parent;
use super::{Failure, SqlWriter, moves};
use crate::sql::error::{SqlError, SqlResult};
use crate::sql::plan::Written;

/// A change that was isolated.
pub(crate) struct FailedChange {
    pub(crate) entity: usize,
    pub(crate) change: Change,
    pub(crate) error: SqlError,
}

/// Code of a row whose parent was looked for and is not there.
pub(crate) const PARENT_MISSING: &str = "parent-missing";

/// From so many rows on, one look for all parents is cheaper than halving.
const LOOK_FOR_PARENTS_FROM: usize = 4;

impl SqlWriter {
    /// Writes what can be written of a group; the rest goes to `failed`.
    pub(super) async fn write_isolating(
        &mut self,
        batch: &ChangeBatch,
        entity: usize,
        group: &Group,
        progress: &mut Progress,
        failed: &mut Vec<FailedChange>,
    ) -> Result<(), Failure> {
        let mut orphans = self.orphans(batch, entity, group).await?;
        let mut changes = Vec::with_capacity(group.changes.len());
        for (at, change) in group.changes.iter().enumerate() {
            match orphans.get_mut(at).and_then(Option::take) {
                Some(error) => failed.push(FailedChange { entity, change: *change, error }),
                None => changes.push(*change),
            }
        }
        let mut parts = if changes.is_empty() { Vec::new() } else { vec![(0, changes.len())] };
        let (mut unknown, mut written_parts) = (0, 0);
        while let Some((start, end)) = parts.pop() {
            let part = Group { kind: group.kind, changes: changes[start..end].to_vec() };
            let mut notes = MoveNotes::default();
            match self.write_guarded(batch, entity, &part, &mut notes).await? {
                Ok(written) => {
                    written_parts += 1;
                    self.after_moves(batch, entity, notes, progress);
                    self.after_group(batch, entity, &part, written, progress).await?;
                }
                Err(_) if end - start > 1 => {
                    let middle = start + (end - start) / 2;
                    parts.push((middle, end));
                    parts.push((start, middle));
                }
                Err(error) => {
                    unknown += usize::from(!error.known);
                    if unknown > 1 && written_parts == 0 && parts.is_empty() {
                        // When every row fails, in ways that nobody has classified, it is not the rows (rule E2).
                        return Err(Failure::Failed(error.error));
                    }
                    failed.push(FailedChange { entity, change: part.changes[0], error });
                }
            }
        }
        Ok(())
    }

    /// Of each row of a group, an error if a parent is not there. Children often come before their parents, by whole batches, as when
    /// topics are read from their start: halving would then look at every row alone.
    async fn orphans(
        &mut self,
        batch: &ChangeBatch,
        entity: usize,
        group: &Group,
    ) -> Result<Vec<Option<SqlError>>, Failure> {
        let session = self.session.as_deref_mut().expect("enter() opened a session");
        let table = self.tables[entity].as_ref().expect("planned before BEGIN");
        let writes_rows = matches!(group.kind, GroupKind::Upsert | GroupKind::InsertIfAbsent | GroupKind::Replace);
        // SQLite tells of a deferred constraint at COMMIT, whichever row it was: only a look tells.
        let from = if table.plan.description.deferrable { 1 } else { LOOK_FOR_PARENTS_FROM };
        if !writes_rows || group.changes.len() < from {
            return Ok(Vec::new());
        }
        let mut found: Vec<Option<SqlError>> = group.changes.iter().map(|_| None).collect();
        for parent in &table.parents {
            self.scratch.clear();
            let mut keys = Vec::with_capacity(group.changes.len());
            let mut children = Vec::with_capacity(group.changes.len());
            for (at, change) in group.changes.iter().enumerate() {
                let row = batch.arena.row(change.row);
                // A NULL in the key refers to nothing.
                if parent.columns.iter().any(|column| row[*column].is_null()) {
                    continue;
                }
                let key: Vec<Cell> = parent
                    .columns
                    .iter()
                    .map(|column| self.scratch.push_value(&batch.arena.value(row[*column])))
                    .collect();
                keys.push(self.scratch.push_cells(&key));
                children.push(at);
            }
            let there = match session.exist(&parent.plan, &self.scratch, &keys).await {
                Ok(there) => there,
                // A value that the parent's column can't hold, refused before it was sent: leave it to the write to say so.
                Err(error)
                    if error.kind() == ErrorKind::Data
                        && matches!(error.error.code.as_deref(), None | Some("bind")) =>
                {
                    continue;
                }
                Err(error) => {
                    // It may be one that we must not read, that has another name by now, or that refuses a value: the next try does without
                    // this look.
                    if !matches!(error.kind(), ErrorKind::Transient | ErrorKind::Fenced)
                        && let Some(table) = &mut self.tables[entity]
                    {
                        table.parents.clear();
                    }
                    return Err(Failure::Failed(Error { kind: ErrorKind::Transient, ..error.error }));
                }
            };
            for (at, _) in children.iter().zip(there).filter(|(_, there)| !there) {
                found[*at].get_or_insert_with(|| parent_missing(&table.plan.name, parent));
            }
        }
        Ok(found)
    }

    /// One write between savepoint and release. The inner error is about rows and is undone; the outer one ends the transaction.
    async fn write_guarded(
        &mut self,
        batch: &ChangeBatch,
        entity: usize,
        part: &Group,
        notes: &mut MoveNotes,
    ) -> Result<SqlResult<Written>, Failure> {
        let fatal = |error: SqlError| Failure::Failed(error.error);
        self.scratch.clear();
        let (mut writing, table) = self.writing(batch, entity);
        writing.session.savepoint().await.map_err(fatal)?;
        match rows::write(&mut writing, table, part.kind, &part.changes, notes).await {
            Ok(written) => {
                writing.session.release_savepoint().await.map_err(fatal)?;
                Ok(Ok(written))
            }
            Err(error) if error.is_about_rows() => {
                *notes = MoveNotes::default();
                writing.session.rollback_to_savepoint().await.map_err(fatal)?;
                Ok(Err(error))
            }
            Err(error) => Err(with_entity(entity, error)),
        }
    }

    /// Runs the records of isolated changes again, unreduced, in source order across tables and keys (rule B4).
    pub(super) async fn rerun(
        &mut self,
        batch: &ChangeBatch,
        excluded: &[bool],
        failed: Vec<FailedChange>,
        progress: &mut Progress,
    ) -> Result<(), Failure> {
        let mut records: Vec<(usize, usize, Option<SqlError>)> = Vec::new();
        for FailedChange { entity, change, error } in failed {
            if change.first_record == change.last_record && error.error.code.as_deref() == Some(PARENT_MISSING) {
                records.push((change.first_record as usize, entity, Some(error)));
                continue;
            }
            let included = batch.records_of(&change).filter(|record| !excluded[span_index(batch, *record)]);
            records.extend(included.map(|record| (record, entity, None)));
        }
        records.sort_unstable_by_key(|(record, ..)| *record);
        for (record, entity, error) in records {
            let change = self.unreduced(batch, entity, record);
            let table = self.tables[entity].as_ref().expect("planned before BEGIN");
            if progress.holding.queue_if_held(&self.held, table, batch, entity, &change) {
                continue;
            }
            let mut notes = MoveNotes::default();
            let written = match error {
                Some(error) => Err(error),
                None => self.write_record(batch, entity, &change, &mut notes, progress).await?,
            };
            if let Err(error) = written {
                let is_dead =
                    error.kind() == ErrorKind::Data || self.options.held_limits(entity).attempts_max == Some(1);
                let half = if is_dead {
                    self.forgo(batch, entity, &change, progress).await?;
                    None
                } else {
                    self.leave_word(batch, entity, &change, progress).await?
                };
                let table = self.tables[entity].as_ref().expect("planned before BEGIN");
                let failed = Failed { entity, record, change: &change, error, half, is_dead };
                progress.holding.hold(table, batch, failed);
            }
        }
        Ok(())
    }

    /// Writes one unreduced change between savepoint and release.
    pub(super) async fn write_record(
        &mut self,
        batch: &ChangeBatch,
        entity: usize,
        change: &Change,
        notes: &mut MoveNotes,
        progress: &mut Progress,
    ) -> Result<SqlResult<()>, Failure> {
        let table = self.tables[entity].as_mut().expect("planned before BEGIN");
        let kind = kind_of(table, &batch.arena, change);
        let part = Group { kind, changes: vec![*change] };
        match self.write_guarded(batch, entity, &part, notes).await? {
            Ok(written) => {
                // Before what follows: a half that parks has passed nothing. What is released parks by itself, where it lies.
                if !batch.is_release() {
                    self.after_moves(batch, entity, std::mem::take(notes), progress);
                }
                self.after_group(batch, entity, &part, written, progress).await?;
                Ok(Ok(()))
            }
            Err(error) => Ok(Err(self.judge_unknown(error).await?)),
        }
    }

    /// Rule E2: the unknown error of one isolated row is data if the database is well otherwise.
    pub(super) async fn judge_unknown(&mut self, error: SqlError) -> Result<SqlError, Failure> {
        if error.known {
            return Ok(error);
        }
        let session = self.session.as_deref_mut().expect("enter() opened a session");
        match session.query(&self.statements.now, &[]).await {
            Ok(_) => Ok(SqlError { known: true, error: Error { kind: ErrorKind::Data, ..error.error }, ..error }),
            Err(_) => Err(Failure::Failed(error.error)),
        }
    }

    /// Word of a half of a key change that is held; what it waits for.
    pub(super) async fn leave_word(
        &mut self,
        batch: &ChangeBatch,
        entity: usize,
        change: &Change,
        progress: &mut Progress,
    ) -> Result<Option<Arc<str>>, Failure> {
        let (mut writing, table) = self.writing(batch, entity);
        let left = moves::leave_word(&mut writing, table, change, &mut progress.wakes).await;
        left.map_err(|error| Failure::Failed(error.error))
    }

    /// A half of a key change is dead or history: the other need not wait for it.
    pub(super) async fn forgo(
        &mut self,
        batch: &ChangeBatch,
        entity: usize,
        change: &Change,
        progress: &mut Progress,
    ) -> Result<(), Failure> {
        let (mut writing, table) = self.writing(batch, entity);
        let forgone = moves::forgo(&mut writing, table, change, &mut progress.wakes).await;
        forgone.map_err(|error| Failure::Failed(error.error))
    }

    /// The change that one record asks for by itself.
    pub(super) fn unreduced(&self, batch: &ChangeBatch, entity: usize, record: usize) -> Change {
        let table = self.tables[entity].as_ref().expect("planned before BEGIN");
        let index = u32::try_from(record).expect("a batch has fewer than 2^32 records");
        topology::reduce::change_of(&batch.arena, &batch.records[record], index, &table.reduce)
    }
}

fn parent_missing(table: &str, parent: &Parent) -> SqlError {
    let name = &parent.plan.name;
    let detail = format!("table {table:?}, constraint {:?}: table {name:?} has no such row yet", parent.constraint);
    let error = Error::new(ErrorKind::Dependency, Stage::Write, "cannot write row", detail).with_code(PARENT_MISSING);
    let constraint = Some(Arc::clone(&parent.constraint));
    SqlError { constraint, other_table: Some(Arc::clone(name)), ..SqlError::known(error) }
}
