//! The slow path (rules E2, E4, B4): finds the rows that can't be written, and only those.
//!
//! Each group is written by halves, with a savepoint before each statement: one bad row among n costs about 2·log2 n writes. What is
//! isolated is run again after all else of its stage, unreduced and in exact source order, record by record; what fails then is parked
//! (a dependency), or dead (its own fault). Reduced images of other keys are as good as in the fast path, so they are not run again.

use std::sync::Arc;

use topology::batch::{Change, ChangeBatch};
use topology::{Error, ErrorKind};

use super::attempt::{Progress, with_entity};
use super::groups::{Group, kind_of};
use super::rows::{self, MoveNotes};
use super::{Failure, SqlWriter, moves};
use crate::sql::error::{SqlError, SqlResult};
use crate::sql::plan::Written;

/// A change that was isolated.
pub(crate) struct FailedChange {
    pub(crate) entity: usize,
    pub(crate) change: Change,
}

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
        let mut parts = vec![(0, group.changes.len())];
        let mut unknown: (usize, Option<SqlError>) = (0, None);
        while let Some((start, end)) = parts.pop() {
            let part = Group { kind: group.kind, changes: group.changes[start..end].to_vec() };
            let mut notes = MoveNotes::default();
            match self.write_guarded(batch, entity, &part, 0, &mut notes).await? {
                Ok(written) => {
                    self.after_moves(batch, entity, notes, progress);
                    self.after_group(batch, entity, &part, written, progress).await?;
                }
                Err(_) if end - start > 1 => {
                    let middle = start + (end - start) / 2;
                    parts.push((middle, end));
                    parts.push((start, middle));
                }
                Err(error) => {
                    failed.push(FailedChange { entity, change: part.changes[0] });
                    if !error.known {
                        unknown = (unknown.0 + 1, Some(error));
                    }
                }
            }
        }
        match unknown {
            // When every row fails in a way that nobody has classified, it is not the rows (rule E2).
            (count, Some(error)) if count == group.changes.len() && count > 1 => Err(Failure::Failed(error.error)),
            _ => Ok(()),
        }
    }

    /// One write between savepoint and release. The inner error is about rows and is undone; the outer one ends the transaction.
    async fn write_guarded(
        &mut self,
        batch: &ChangeBatch,
        entity: usize,
        part: &Group,
        attempts: i32,
        notes: &mut MoveNotes,
    ) -> Result<SqlResult<Written>, Failure> {
        let fatal = |error: SqlError| Failure::Failed(error.error);
        self.scratch.clear();
        let (mut writing, table) = self.writing(batch, entity, attempts);
        writing.session.savepoint().await.map_err(fatal)?;
        match rows::write(&mut writing, table, part.kind, &part.changes, notes).await {
            Ok(written) => {
                writing.session.release_savepoint().await.map_err(fatal)?;
                Ok(Ok(written))
            }
            Err(error) if error.is_about_rows() => {
                *notes = MoveNotes::default();
                writing.session.rollback_to_savepoint().await.map_err(fatal)?;
                if !error.known && part.changes.len() == 1 {
                    // Rule E2: an unknown code is data only if one row is isolated and the database is well otherwise.
                    let probe = writing.session.query(&writing.statements.now, &[]).await;
                    probe.map_err(|_| Failure::Failed(error_copy(&error.error)))?;
                    let error =
                        SqlError { known: true, error: Error { kind: ErrorKind::Data, ..error.error }, ..error };
                    return Ok(Err(error));
                }
                Ok(Err(error))
            }
            Err(error) => Err(with_entity(entity, error)),
        }
    }

    /// Runs the records of isolated changes again, unreduced, in source order across tables and keys (rule B4).
    pub(super) async fn rerun(
        &mut self,
        batch: &ChangeBatch,
        failed: Vec<FailedChange>,
        progress: &mut Progress,
    ) -> Result<(), Failure> {
        let mut records: Vec<(usize, usize)> = Vec::new();
        for FailedChange { entity, change } in &failed {
            records.extend(batch.records_of(change).map(|record| (record, *entity)));
        }
        records.sort_unstable();
        for (record, entity) in records {
            let change = self.unreduced(batch, entity, record);
            let table = self.tables[entity].as_ref().expect("planned before BEGIN");
            if progress.holding.queue_if_held(&self.held, table, batch, entity, &change) {
                continue;
            }
            let mut notes = MoveNotes::default();
            match self.write_record(batch, entity, &change, 0, &mut notes, progress).await? {
                Ok(()) => self.after_moves(batch, entity, notes, progress),
                Err(error) => {
                    let half = self.leave_word(batch, entity, &change).await?;
                    let table = self.tables[entity].as_ref().expect("planned before BEGIN");
                    progress.holding.hold(table, batch, entity, record, &change, error, half);
                }
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
        attempts: i32,
        notes: &mut MoveNotes,
        progress: &mut Progress,
    ) -> Result<SqlResult<()>, Failure> {
        let table = self.tables[entity].as_mut().expect("planned before BEGIN");
        let kind = kind_of(table, &batch.arena, change);
        let part = Group { kind, changes: vec![*change] };
        match self.write_guarded(batch, entity, &part, attempts, notes).await? {
            Ok(written) => {
                self.after_group(batch, entity, &part, written, progress).await?;
                Ok(Ok(()))
            }
            Err(error) if error.known => Ok(Err(error)),
            Err(error) => {
                // Rule E2: an unknown code is data only if one row is isolated and the database is well otherwise.
                let session = self.session.as_deref_mut().expect("enter() opened a session");
                let probe = session.query(&self.statements.now, &[]).await;
                probe.map_err(|_| Failure::Failed(error_copy(&error.error)))?;
                Ok(Err(SqlError { known: true, error: Error { kind: ErrorKind::Data, ..error.error }, ..error }))
            }
        }
    }

    /// Word of a half of a key change that is held; what it waits for.
    pub(super) async fn leave_word(
        &mut self,
        batch: &ChangeBatch,
        entity: usize,
        change: &Change,
    ) -> Result<Option<Arc<str>>, Failure> {
        let (mut writing, table) = self.writing(batch, entity, 0);
        moves::leave_word(&mut writing, table, change).await.map_err(|error| Failure::Failed(error.error))
    }

    /// The change that one record asks for by itself.
    pub(super) fn unreduced(&self, batch: &ChangeBatch, entity: usize, record: usize) -> Change {
        let table = self.tables[entity].as_ref().expect("planned before BEGIN");
        let index = u32::try_from(record).expect("a batch has fewer than 2^32 records");
        topology::reduce::change_of(&batch.arena, &batch.records[record], index, &table.reduce)
    }
}

fn error_copy(error: &Error) -> Error {
    let mut copy = Error::new(error.kind, error.stage, error.description, error.detail.clone());
    copy.code = error.code.clone();
    copy
}
