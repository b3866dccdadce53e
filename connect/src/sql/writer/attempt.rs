//! One transaction of a batch: CAS first (rule L1), stages in order (rule B1), held rows, COMMIT. Rolls back on every way out but success.

use std::collections::HashMap;
use std::sync::Arc;

use topology::batch::{BatchStage, Change, ChangeBatch, ChangeKind, HeldId};
use topology::data::Value;
use topology::record::{EntityId, Operation};
use topology::sink::{Applied, OutcomeCounts};
use topology::{Error, ErrorKind};

use super::claim::task_values;
use super::groups::{Group, groups};
use super::held::{Holding, span_index};
use super::limit::DeadWindow;
use super::moves::half_waits;
use super::rows::{self, MoveNotes, Writing};
use super::slow::FailedChange;
use super::tables::EntityTable;
use super::wake::Woken;
use super::{Failure, SqlWriter};
use crate::sql::dialect::quote_table;
use crate::sql::error::SqlError;

/// What became of a held row so far.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Failures {
    pub(crate) attempts: i64,
    pub(crate) first_failed_at_ms: i64,
    /// It only waited for the other half of its key change (rule B5).
    pub(crate) lacked_half: bool,
}

/// What a transaction has done so far; becomes [`Applied`] and the new memory of held keys when it commits.
pub(crate) struct Progress {
    /// By entity.
    pub(crate) counts: Vec<OutcomeCounts>,
    /// Rows to put into `tidelock_held`, and what changes in the memory of held keys.
    pub(crate) holding: Holding,
    /// Entities whose changes may let rows of other tables be written (rule H2).
    pub(crate) written: Vec<(usize, Woken)>,
    /// What other halves of key changes wait for.
    pub(crate) wakes: Vec<Arc<str>>,
    /// Outputs were stored (rule O1).
    pub(crate) has_outputs: bool,
    /// Windows of the dead-letter limit after this batch, by span (rule E6).
    pub(crate) windows: Vec<(usize, DeadWindow)>,
    /// The held rows that are tried. What is not here waits no more.
    pub(crate) due: HashMap<(usize, HeldId), Failures>,
}

impl Progress {
    fn new(entities: usize) -> Progress {
        Progress {
            counts: vec![OutcomeCounts::default(); entities],
            holding: Holding::default(),
            written: Vec::new(),
            wakes: Vec::new(),
            has_outputs: false,
            windows: Vec::new(),
            due: HashMap::new(),
        }
    }

    /// What waits for rows of this entity may be written now.
    pub(crate) fn woken(&mut self, entity: usize) -> &mut Woken {
        let at = self.written.iter().position(|(other, _)| *other == entity).unwrap_or_else(|| {
            self.written.push((entity, Woken::default()));
            self.written.len() - 1
        });
        &mut self.written[at].1
    }

    /// `records` of this entity did not take effect.
    pub(crate) fn take_back(&mut self, entity: usize, records: u64) {
        let counts = &mut self.counts[entity];
        counts.applied = counts.applied.saturating_sub(records);
    }
}

impl SqlWriter {
    /// Runs the batch, without the excluded spans, in one transaction.
    pub(super) async fn transaction(
        &mut self,
        batch: &ChangeBatch,
        excluded: &[bool],
        slow: bool,
    ) -> Result<Applied, Failure> {
        let mut deferrable = false;
        for entity in entities(batch, excluded) {
            self.plan(entity).await?;
            deferrable |= self.tables[entity].as_ref().is_some_and(|table| table.plan.description.deferrable);
        }
        let mut progress = Progress::new(self.tables.len());
        let body = self.body(batch, excluded, slow, deferrable, &mut progress).await;
        let result = match body {
            Ok(()) => self.commit().await,
            Err(failure) => Err(failure),
        };
        if let Err(failure) = result {
            // After a failed COMMIT nothing more is sent (rule L4).
            if matches!(&failure, Failure::Unknown(_)) {
                self.close();
                return Err(failure);
            }
            // Rule E1: an explicit rollback, or no session at all.
            let Err(error) = self.session().rollback().await else { return Err(failure) };
            self.close();
            // Without a session nothing can be tried in another way, or asked: the batch begins anew with the next one.
            return Err(if matches!(failure, Failure::Failed(_)) { failure } else { Failure::Failed(error.error) });
        }
        Ok(self.settle(batch, progress))
    }

    async fn body(
        &mut self,
        batch: &ChangeBatch,
        excluded: &[bool],
        slow: bool,
        deferrable: bool,
        progress: &mut Progress,
    ) -> Result<(), Failure> {
        // An error before any row is about the session, whatever its code.
        let about_session = |error: SqlError| Failure::Failed(error.error);
        self.session().begin(!batch.is_progress_only()).await.map_err(about_session)?;
        topology::crash::point("after_begin");
        self.compare_and_set(batch, excluded).await?;
        topology::crash::point("after_cas");
        // A slow batch wants to know which row it is, also where a deferred constraint of another table is reached by a cascade.
        if deferrable || slow {
            self.session().constraints_immediate().await.map_err(about_session)?;
        }
        if batch.is_progress_only() {
            return Ok(());
        }
        self.count_records(batch, excluded, progress);
        if batch.is_release() {
            self.release(batch, excluded, progress).await?;
        } else {
            self.note_dead(batch, excluded, progress);
            for stage in &batch.stages {
                self.stage(batch, stage, excluded, slow, progress).await?;
            }
        }
        self.check_room(batch, progress)?;
        self.store_held(batch, excluded, progress).await?;
        self.store_letters(batch, progress).await?;
        self.check_dead_limit(batch, excluded, progress).await
    }

    /// CAS of every span in key order, before anything else (rule L1).
    async fn compare_and_set(&mut self, batch: &ChangeBatch, excluded: &[bool]) -> Result<(), Failure> {
        let session = self.session.as_deref_mut().expect("enter() opened a session");
        let mut missed = Vec::new();
        for (at, span) in batch.spans.iter().enumerate().filter(|(at, _)| !excluded[*at]) {
            let [pipeline, direction, topic, partition] = task_values(&span.task);
            let values = [
                Value::I64(span.to),
                Value::Bytes(span.marks.encode()),
                Value::I64(span.tail_hash.cast_signed()),
                Value::Text(span.generation.to_string()),
                pipeline,
                direction,
                topic,
                partition,
                Value::I64(span.epoch),
                Value::Text(span.owner.to_string()),
                Value::I64(span.from),
            ];
            let matched =
                session.execute(&self.statements.cas, &values).await.map_err(|error| Failure::Failed(error.error))?;
            if matched != 1 {
                missed.push(at);
            }
        }
        if !missed.is_empty() {
            return Err(Failure::Cas(missed));
        }
        // Rule A6, in this transaction: the target may have been restored since it was asked.
        for (at, span) in batch.spans.iter().enumerate().filter(|(at, _)| !excluded[*at]) {
            let Some(passed) = &span.passed else { continue };
            let now = self.read_topic_progress(&span.task, &passed.record, passed.waited_for_held).await;
            if passed.is_undone(&now.map_err(|error| Failure::Failed(error.error))?) {
                missed.push(at);
            }
        }
        if missed.is_empty() { Ok(()) } else { Err(Failure::Undone(missed)) }
    }

    fn count_records(&self, batch: &ChangeBatch, excluded: &[bool], progress: &mut Progress) {
        let one_span_excluded = excluded.contains(&true);
        for record in &batch.records {
            if one_span_excluded && excluded[usize::from(batch.span_of_slot[usize::from(record.slot.0)])] {
                continue;
            }
            if record.operation != Operation::Truncate {
                progress.counts[usize::from(record.entity.0)].applied += 1;
            }
        }
    }

    async fn stage(
        &mut self,
        batch: &ChangeBatch,
        stage: &BatchStage,
        excluded: &[bool],
        slow: bool,
        progress: &mut Progress,
    ) -> Result<(), Failure> {
        for record in &stage.truncates {
            self.truncate(batch, *record as usize, excluded, progress).await?;
        }
        let holds_any = self.holds_any();
        let leaves_out_any = excluded.contains(&true);
        let mut failed = Vec::new();
        for deletes in [false, true] {
            for step in 0..stage.tables.len() {
                let at = if deletes { stage.tables.len() - 1 - step } else { step };
                let changes = &stage.tables[at];
                let entity = usize::from(changes.entity.0);
                let wanted = changes.changes.iter().copied().filter(|change| {
                    (change.kind == ChangeKind::Delete) == deletes
                        && (!leaves_out_any || is_included(batch, excluded, change))
                });
                let Some(table) = self.tables[entity].as_mut() else { continue };
                let wanted: Vec<Group> = if !holds_any && !leaves_out_any && progress.holding.is_empty() {
                    groups(table, &batch.arena, wanted, deletes)
                } else {
                    let mut flowing: Vec<Change> = Vec::new();
                    for change in wanted {
                        let is_halved = leaves_out_any && is_halved(batch, excluded, &change);
                        if is_halved || progress.holding.comes_apart(&self.held, table, batch, &change) {
                            failed.push(FailedChange { entity, change, error: half_waits(batch.halves(&change)) });
                        } else if !progress.holding.queue_if_held(&self.held, table, batch, entity, &change) {
                            flowing.push(change);
                        }
                    }
                    groups(table, &batch.arena, flowing.into_iter(), deletes)
                };
                for group in &wanted {
                    if slow {
                        self.write_isolating(batch, entity, group, progress, &mut failed).await?;
                    } else {
                        self.write_group(batch, entity, group, progress).await?;
                    }
                }
            }
        }
        if failed.is_empty() { Ok(()) } else { self.rerun(batch, excluded, failed, progress).await }
    }

    /// The fast path: the whole group at once.
    async fn write_group(
        &mut self,
        batch: &ChangeBatch,
        entity: usize,
        group: &Group,
        progress: &mut Progress,
    ) -> Result<(), Failure> {
        let mut notes = MoveNotes::default();
        self.scratch.clear();
        let (mut writing, table) = self.writing(batch, entity);
        let written = rows::write(&mut writing, table, group.kind, &group.changes, &mut notes).await;
        let written = written.map_err(|error| with_entity(entity, error))?;
        self.after_moves(batch, entity, notes, progress);
        self.after_group(batch, entity, group, written, progress).await
    }

    /// The parts that writing needs, borrowed beside each other.
    pub(super) fn writing<'a>(&'a mut self, batch: &'a ChangeBatch, entity: usize) -> (Writing<'a>, &'a EntityTable) {
        let writing = Writing {
            session: self.session.as_deref_mut().expect("enter() opened a session"),
            statements: &self.statements,
            own: &self.own,
            batch,
            scratch: &mut self.scratch,
        };
        (writing, self.tables[entity].as_ref().expect("planned before BEGIN"))
    }

    /// Parks the halves of key changes that wait for their other half, and remembers whom to wake (rule B5).
    pub(super) fn after_moves(&self, batch: &ChangeBatch, entity: usize, notes: MoveNotes, progress: &mut Progress) {
        let table = self.tables[entity].as_ref().expect("planned before BEGIN");
        for half in notes.parked {
            progress.holding.park_half(table, batch, entity, half);
        }
        progress.wakes.extend(notes.wakes);
    }

    /// Counts, counters behind columns, parents: what every successful write of a group is followed by.
    pub(super) async fn after_group(
        &mut self,
        batch: &ChangeBatch,
        entity: usize,
        group: &Group,
        written: crate::sql::plan::Written,
        progress: &mut Progress,
    ) -> Result<(), Failure> {
        use super::groups::GroupKind::{Append, Check, Delete, InsertIfAbsent};
        topology::crash::point(if group.kind == Delete { "after_delete" } else { "after_write" });
        let given = group.changes.len() as u64;
        let unchanged = match group.kind {
            InsertIfAbsent => given.saturating_sub(written.matched + written.differs),
            _ => written.unchanged,
        };
        progress.take_back(entity, unchanged + written.differs);
        progress.counts[entity].unchanged += unchanged;
        progress.counts[entity].differs += written.differs;
        if !batch.is_release() && (self.holds_any() || !progress.holding.dead.is_empty()) {
            let table = self.tables[entity].as_ref().expect("planned before BEGIN");
            for change in &group.changes {
                progress.holding.note_passed(&self.held, table, batch, change);
            }
        }
        if matches!(group.kind, Append | Check) {
            return Ok(());
        }
        let advance = self.options.advance_sequences;
        let session = self.session.as_deref_mut().expect("enter() opened a session");
        let table = self.tables[entity].as_mut().expect("planned before BEGIN");
        // Children wait for rows of their parents; what a parent's row becomes may wait for its children to go.
        if table.plan.description.referenced && group.kind != Delete {
            progress.woken(entity).rows(table, batch, &group.changes);
        } else if !table.plan.description.foreign_keys.is_empty() {
            progress.woken(entity);
        }
        if group.kind == Delete {
            return Ok(());
        }
        if advance && !table.sequence_marks.is_empty() {
            let rows = group.changes.iter().map(|change| change.row);
            rows::advance_sequences(session, table, &batch.arena, rows)
                .await
                .map_err(|error| with_entity(entity, error))?;
        }
        Ok(())
    }

    /// Empties a table (rule B7), its waiting held rows too. DELETE, not TRUNCATE: it stays inside the transaction on every engine.
    async fn truncate(
        &mut self,
        batch: &ChangeBatch,
        record: usize,
        excluded: &[bool],
        progress: &mut Progress,
    ) -> Result<(), Failure> {
        let record = &batch.records[record];
        let index = usize::from(record.entity.0);
        if excluded[usize::from(batch.span_of_slot[usize::from(record.slot.0)])] {
            return Ok(());
        }
        let table = self.tables[index].as_ref().expect("planned before BEGIN");
        let text = format!("DELETE FROM {}", quote_table(self.connector.dialect(), &table.plan.name));
        let task = &batch.span_of(record.slot).task;
        let values = [
            Value::Text(task.pipeline.to_string()),
            Value::Text(task.direction.to_string()),
            Value::Text(table.mapped.name.to_string()),
        ];
        let session = self.session.as_deref_mut().expect("enter() opened a session");
        session.execute(&text, &[]).await.map_err(|error| match with_entity(index, error) {
            // A parent whose children are still there can't be halved; it waits like a target that is down.
            Failure::Rows(error) => Failure::Failed(Error { kind: ErrorKind::Environment, ..error.error }),
            other => other,
        })?;
        session
            .execute(&self.statements.held_clear_entity, &values)
            .await
            .map_err(|error| Failure::Failed(error.error))?;
        progress.counts[index].applied += 1;
        progress.woken(index);
        progress.holding.forget_waiting(batch, index);
        // Of all partitions.
        progress.holding.stale.extend(0..batch.spans.len());
        let span = usize::from(batch.span_of_slot[usize::from(record.slot.0)]);
        progress.holding.truncated.push((span, index, record.offset));
        Ok(())
    }

    async fn commit(&mut self) -> Result<(), Failure> {
        topology::crash::point("before_commit");
        let committed = self.session().commit().await;
        topology::crash::point("after_commit");
        match committed {
            Ok(()) => Ok(()),
            // Rule L9: a constraint checked at COMMIT; the server has rolled back and said so.
            Err(error) if error.known && matches!(error.kind(), ErrorKind::Dependency | ErrorKind::Data) => {
                Err(Failure::Rows(error))
            }
            Err(error) => Err(Failure::Unknown(error.error)),
        }
    }

    /// After COMMIT: memory of held keys, wake-ups, counts.
    fn settle(&mut self, batch: &ChangeBatch, progress: Progress) -> Applied {
        for (entity, woken) in progress.written {
            if let Some(table) = &self.tables[entity] {
                self.wakes.add(table.parent_name.clone(), woken);
            }
        }
        for other_half in progress.wakes {
            self.wakes.add(other_half, Woken::all());
        }
        self.stale.extend(progress.holding.stale.iter().map(|span| batch.spans[*span].task.clone()));
        if batch.is_release() {
            // Under which key a replayed row was remembered is known only to the table.
            self.stale.extend(self.replayed.drain(..));
        }
        progress.holding.settle(&mut self.held, batch, &self.options.tables);
        for (span, window) in progress.windows {
            self.dead_windows.insert(batch.spans[span].task.clone(), window);
        }
        let outcomes = progress
            .counts
            .into_iter()
            .enumerate()
            .filter(|(_, counts)| *counts != OutcomeCounts::default())
            .map(|(entity, counts)| (EntityId(entity as u16), counts))
            .collect();
        Applied { outcomes, has_outputs: progress.has_outputs, ..Applied::default() }
    }
}

/// Gives a schema error its entity.
pub(crate) fn with_entity(entity: usize, error: SqlError) -> Failure {
    if error.kind() == ErrorKind::Schema { Failure::Schema(entity, error.error) } else { Failure::from(error) }
}

/// One of our own tables refuses a row: never the row's fault.
pub(crate) fn own_table_refuses(error: SqlError) -> Failure {
    match with_entity(0, error) {
        Failure::Rows(error) => Failure::Failed(Error { kind: ErrorKind::Environment, ..error.error }),
        Failure::Schema(_, error) => Failure::Failed(Error { kind: ErrorKind::Environment, ..error }),
        other => other,
    }
}

/// True when some record of the change belongs to a span that is written.
fn is_included(batch: &ChangeBatch, excluded: &[bool], change: &Change) -> bool {
    batch.records_of(change).any(|record| !excluded[span_index(batch, record)])
}

/// True when some record of the change belongs to a span that is left out, as one half of a key change may. Then each record is applied by
/// itself, with the partition that it came from (rule B5).
fn is_halved(batch: &ChangeBatch, excluded: &[bool], change: &Change) -> bool {
    batch.records_of(change).any(|record| excluded[span_index(batch, record)])
}

/// Entities that the batch writes, each once.
fn entities(batch: &ChangeBatch, excluded: &[bool]) -> Vec<usize> {
    let mut found: Vec<usize> = Vec::new();
    for record in &batch.records {
        let entity = usize::from(record.entity.0);
        if found.last() != Some(&entity)
            && !found.contains(&entity)
            && !excluded[usize::from(batch.span_of_slot[usize::from(record.slot.0)])]
        {
            found.push(entity);
        }
    }
    found
}
