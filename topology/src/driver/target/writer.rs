//! One writer of the memory target: claims, batches, held rows. Read it beside the contract: it is the contract's shortest form.

use std::collections::{BTreeMap, BTreeSet};
use std::sync::Arc;

use async_trait::async_trait;

use super::connection::Connection;
use super::database::{Database, Lock, TransactionId};
use super::rows::{Effect, RowWork};
use super::{CommitSpan, HeldEntry, HeldState, MemoryTarget, Statement};
use crate::batch::{Change, ChangeBatch, ChangeKind, HeldId, SnapshotMode, WriteTable};
use crate::error::{Error, ErrorKind, Stage};
use crate::generation::FirstRecord;
use crate::ledger::{CasOutcome, Claim, ClaimReply, ClaimRequest, LedgerRow, Owner, TaskKey, TopicProgress, judge_cas};
use crate::mutation;
use crate::output::{Output, Published};
use crate::record::{EntityId, Record, Slot};
use crate::reduce::{ReduceTable, Reducer};
use crate::sink::{Applied, ApplyError, Capabilities, HeldCounts, HeldRow, OutcomeCounts, SinkWriter};

/// One connection of one lane.
pub struct MemoryWriter {
    pub(super) target: MemoryTarget,
    pub(super) tables: Arc<[WriteTable]>,
    pub(super) snapshots: Arc<[SnapshotMode]>,
    pub(super) connection: Option<Connection>,
    /// What dies goes to the dead-letter topic.
    pub(super) publishes: bool,
    /// What is published of outputs, as far as it was told.
    pub(super) published: BTreeMap<TaskKey, i64>,
}

/// How a try to apply a batch set-wise ended.
enum Fast {
    Done(Applied),
    /// A row failed or is held: exact source order, row by row (rule E4).
    RowByRow,
}

impl MemoryWriter {
    pub(super) fn new(
        target: MemoryTarget,
        tables: &[WriteTable],
        snapshots: &[SnapshotMode],
        publishes: bool,
    ) -> MemoryWriter {
        MemoryWriter {
            target,
            tables: tables.into(),
            snapshots: snapshots.into(),
            connection: None,
            publishes,
            published: BTreeMap::new(),
        }
    }

    /// The connection, in the middle of nothing. Taken out, so that an error or a dropped future closes it (rule L4).
    pub(super) async fn take_connection(&mut self) -> Result<Connection, Error> {
        match self.connection.take() {
            Some(connection) => Ok(connection),
            None => Connection::open(&self.target).await,
        }
    }

    pub(super) async fn cas(connection: &mut Connection, batch: &ChangeBatch) -> Result<(), ApplyError> {
        let mut mismatches: Vec<(TaskKey, CasOutcome)> = Vec::new();
        for span in &batch.spans {
            let compare = |database: &mut Database, id| {
                database.lock(id, Lock::Ledger(span.task.clone()))?;
                let Some(row) = database.ledger(id, &span.task) else { return Ok(Some(judge_cas(span, None))) };
                let mut row = row.clone();
                if !row.compare_and_set(span) {
                    return Ok(Some(judge_cas(span, Some((row.epoch, row.owner, row.next_offset)))));
                }
                let writes = database.writes(id)?;
                writes.set_ledger(&span.task, row);
                writes.note_span(CommitSpan {
                    task: span.task.clone(),
                    epoch: span.epoch,
                    from: span.from,
                    to: span.to,
                });
                Ok(None)
            };
            if let Some(outcome) = connection.statement(Statement::Cas, compare).await? {
                mismatches.push((span.task.clone(), outcome));
            }
        }
        if !mismatches.is_empty() {
            return Err(ApplyError::Cas(mismatches));
        }
        for (span, passed) in batch.spans.iter().filter_map(|span| Some((span, span.passed.as_ref()?))) {
            let read = |database: &mut Database, _| Ok(topic_progress(database, &span.task, Some(&passed.record)));
            if passed.is_undone(&connection.statement(Statement::Read, read).await?) {
                mismatches.push((span.task.clone(), CasOutcome::WentBack(span.from)));
            }
        }
        if mutation::is_active(mutation::PROGRESS_BEFORE_ROWS) && mismatches.is_empty() {
            connection.commit().await?;
            connection.begin()?;
        }
        if mismatches.is_empty() { Ok(()) } else { Err(ApplyError::Cas(mismatches)) }
    }

    /// Applies set-wise, stage by stage (rule B1).
    async fn fast(&self, connection: &mut Connection, batch: &ChangeBatch) -> Result<Fast, ApplyError> {
        connection.begin()?;
        Self::cas(connection, batch).await?;
        if !batch.releases.is_empty() || self.touches_held(connection, batch).await? {
            return Ok(Fast::RowByRow);
        }
        let mut counts = vec![OutcomeCounts::default(); self.tables.len()];
        for stage in &batch.stages {
            for record in &stage.truncates {
                let entity = &batch.records[*record as usize].entity;
                let table = self.table(*entity);
                let clear = |database: &mut Database, id| Ok(database.clear(id, &table.name)?);
                connection.statement(Statement::Write, clear).await?;
                counts[usize::from(entity.0)].applied += 1;
            }
            let deletes = |change: &&Change| change.kind == ChangeKind::Delete;
            let writes = stage.tables.iter().map(|table| {
                (table.entity, table.changes.iter().filter(|change| !deletes(change)).collect::<Vec<_>>())
            });
            let removals = stage
                .tables
                .iter()
                .rev()
                .map(|table| (table.entity, table.changes.iter().filter(deletes).collect::<Vec<_>>()));
            for (entity, changes) in writes.chain(removals).filter(|(_, changes)| !changes.is_empty()) {
                let table = self.table(entity);
                assert_one_change_per_key(batch, &changes);
                let work = |database: &mut Database, id: TransactionId| {
                    let rows = changes.iter().map(|change| RowWork { batch, table, change });
                    let rows: Vec<RowWork<'_>> = rows.collect();
                    rows.iter().try_for_each(|row| row.lock(database, id))?;
                    let effects: Result<Vec<Effect>, Error> = rows.iter().map(|row| row.write(database, id)).collect();
                    Ok(effects?)
                };
                match connection.statement(Statement::Write, work).await {
                    Ok(effects) => {
                        for (change, effect) in changes.iter().zip(effects) {
                            count(&mut counts[usize::from(entity.0)], effect, batch.records_of(change).count());
                        }
                    }
                    Err(error) if is_of_row(&error) => return Ok(Fast::RowByRow),
                    Err(error) => return Err(error.into()),
                }
            }
        }
        self.keep_dead(connection, batch, &mut counts).await?;
        Ok(Fast::Done(applied(counts, false)))
    }

    async fn apply_whole(&mut self, batch: &ChangeBatch) -> Result<Applied, ApplyError> {
        let mut connection = self.take_connection().await?;
        let result = match self.fast(&mut connection, batch).await {
            Ok(Fast::Done(applied)) => Ok(applied),
            Ok(Fast::RowByRow) => self.row_by_row(&mut connection, batch).await,
            Err(error) => Err(error),
        };
        match result {
            Ok(applied) => {
                connection.commit().await.map_err(ApplyError::Unknown)?;
                self.connection = Some(connection);
                Ok(applied)
            }
            Err(error) => {
                connection.rollback();
                self.connection = Some(connection);
                Err(error)
            }
        }
    }

    /// The batch without some tasks (rule E5).
    fn without(&self, batch: &ChangeBatch, out: &BTreeSet<TaskKey>) -> ChangeBatch {
        let spans: Vec<_> = batch.spans.iter().filter(|span| !out.contains(&span.task)).cloned().collect();
        let index_of = |at: &u16| {
            let task = batch.spans.get(usize::from(*at)).map(|span| &span.task);
            spans.iter().position(|span| Some(&span.task) == task).map_or(u16::MAX, |at| at as u16)
        };
        let span_of_slot: Vec<u16> = batch.span_of_slot.iter().map(index_of).collect();
        let is_in = |slot: Slot| span_of_slot[usize::from(slot.0)] != u16::MAX;
        let mut rest = ChangeBatch {
            arena: batch.arena.clone(),
            records: batch.records.iter().filter(|record| is_in(record.slot)).copied().collect(),
            dead: batch.dead.iter().filter(|dead| is_in(dead.slot)).cloned().collect(),
            ..ChangeBatch::default()
        };
        (rest.spans, rest.span_of_slot) = (spans, span_of_slot);
        let modes: Vec<ReduceTable> =
            self.tables.iter().zip(&*self.snapshots).map(|(table, mode)| ReduceTable::new(table, *mode)).collect();
        let order: Vec<EntityId> = self.tables.iter().map(|table| table.entity).collect();
        Reducer::default().reduce(&mut rest, &modes, &order);
        rest
    }

    pub(super) fn table(&self, entity: EntityId) -> &WriteTable {
        &self.tables[usize::from(entity.0)]
    }
}

#[async_trait]
impl SinkWriter for MemoryWriter {
    fn capabilities(&self) -> Capabilities {
        Capabilities { transactions: true, read_back: true, append: true, tags: false }
    }

    async fn claim(&mut self, requests: &[ClaimRequest]) -> Result<Vec<ClaimReply>, Error> {
        let mut connection = self.take_connection().await?;
        connection.begin()?;
        let mut order: Vec<usize> = (0..requests.len()).collect();
        order.sort_by(|a, b| requests[*a].task.cmp(&requests[*b].task));
        let mut replies: Vec<Option<ClaimReply>> = vec![None; requests.len()];
        for at in order {
            let request = &requests[at];
            let raise = |database: &mut Database, id: TransactionId| {
                database.lock(id, Lock::Ledger(request.task.clone()))?;
                let row = match (database.ledger(id, &request.task).cloned(), request.start_offset) {
                    (Some(mut row), _) => {
                        row.raise(request);
                        row
                    }
                    (None, Some(start)) => LedgerRow::new(request, start),
                    (None, None) => return Ok(ClaimReply::missing(request, database.tables.ledger.iter())),
                };
                let claim = row.claim(&request.task);
                database.writes(id)?.set_ledger(&request.task, row);
                Ok(ClaimReply::Claimed(claim))
            };
            replies[at] = Some(connection.statement(Statement::Claim, raise).await?);
        }
        connection.commit().await?;
        self.connection = Some(connection);
        Ok(replies.into_iter().map(|reply| reply.expect("every request was answered")).collect())
    }

    async fn apply(&mut self, batch: &ChangeBatch) -> Result<Applied, ApplyError> {
        let missing = self.target.missing_tables();
        let is_missing = |record: &Record| missing.contains(&self.table(record.entity).name);
        let out: BTreeSet<TaskKey> = batch
            .records
            .iter()
            .filter(|record| is_missing(record))
            .map(|record| batch.span_of(record.slot).task.clone())
            .collect();
        if out.is_empty() {
            return self.apply_whole(batch).await;
        }
        let paused = out.iter().map(|task| (task.clone(), table_missing(task))).collect();
        let rest = self.without(batch, &out);
        let applied = if rest.spans.is_empty() { Applied::default() } else { self.apply_whole(&rest).await? };
        Ok(Applied { paused, ..applied })
    }

    async fn due_held(&mut self, claims: &[Claim], limit: usize) -> Result<Vec<HeldRow>, Error> {
        self.read_due(claims, limit).await
    }

    async fn postpone_held(&mut self, rows: &[(TaskKey, HeldId)]) -> Result<(), Error> {
        self.postpone(rows).await
    }

    async fn held_counts(&mut self, claims: &[Claim]) -> Result<HeldCounts, Error> {
        let mut connection = self.take_connection().await?;
        connection.begin()?;
        let read = |database: &mut Database, id: TransactionId| {
            let mut counts = HeldCounts::default();
            for entry in claims.iter().flat_map(|claim| database.held(id, &claim.task).into_values()) {
                match entry.state {
                    HeldState::Parked => counts.parked += 1,
                    HeldState::Queued => counts.queued += 1,
                    HeldState::Dead => counts.dead += 1,
                }
            }
            Ok(counts)
        };
        let counts = connection.statement(Statement::Read, read).await?;
        connection.rollback();
        self.connection = Some(connection);
        Ok(counts)
    }

    async fn progress(&mut self, claims: &[Claim]) -> Result<Vec<Option<(i64, Owner, i64)>>, Error> {
        let mut connection = self.take_connection().await?;
        let read = |database: &mut Database, _| {
            let rows = claims.iter().map(|claim| database.tables.ledger.get(&claim.task));
            Ok(rows.map(|row| row.map(|row| (row.epoch, row.owner, row.next_offset))).collect())
        };
        let rows = connection.statement(Statement::Read, read).await?;
        self.connection = Some(connection);
        Ok(rows)
    }

    async fn topic_progress(&mut self, task: &TaskKey, record: Option<&FirstRecord>) -> Result<TopicProgress, Error> {
        let mut connection = self.take_connection().await?;
        let read = |database: &mut Database, _| Ok(topic_progress(database, task, record));
        let progress = connection.statement(Statement::Read, read).await?;
        self.connection = Some(connection);
        Ok(progress)
    }

    async fn outputs(&mut self, after: &[Published], rows_max: usize) -> Result<Vec<Output>, Error> {
        let mut connection = self.take_connection().await?;
        let read = |database: &mut Database, _| {
            let of = |(task, number): &Published| {
                let range = (task.clone(), number + 1)..=(task.clone(), i64::MAX);
                database.tables.outbox.range(range).map(|(_, output)| output.clone()).collect::<Vec<_>>()
            };
            Ok(after.iter().flat_map(of).take(rows_max).collect())
        };
        let outputs = connection.statement(Statement::Read, read).await?;
        self.connection = Some(connection);
        Ok(outputs)
    }

    async fn forget_outputs(&mut self, published: &[Published]) -> Result<(), Error> {
        self.published.extend(published.iter().cloned());
        let mut connection = self.take_connection().await?;
        let delete = |database: &mut Database, _| {
            let is_left =
                |task: &TaskKey, seq: i64| !published.iter().any(|(other, upto)| other == task && seq <= *upto);
            database.tables.outbox.retain(|(task, seq), _| is_left(task, *seq));
            Ok(())
        };
        connection.statement(Statement::Read, delete).await?;
        self.connection = Some(connection);
        Ok(())
    }

    async fn probe(&mut self) -> Result<(), Error> {
        let mut connection = self.take_connection().await?;
        connection.statement(Statement::Read, |_, _| Ok(())).await?;
        self.connection = Some(connection);
        Ok(())
    }

    fn forget(&mut self, _: &[TaskKey]) {}

    fn disconnect(&mut self) {
        self.connection = None;
    }
}

fn table_missing(task: &TaskKey) -> Error {
    Error::new(ErrorKind::Schema, Stage::Write, "table is missing", task.to_string())
}

/// BAT-1, asserted again where it is relied on.
fn assert_one_change_per_key(batch: &ChangeBatch, changes: &[&Change]) {
    let is_one = |pair: &[&Change]| {
        pair[0].kind == ChangeKind::Append || batch.arena.compare_rows(pair[0].key, pair[1].key).is_lt()
    };
    assert!(changes.windows(2).all(is_one), "BAT-1: a reduced stage has one change per key, sorted");
}

pub(super) fn is_of_row(error: &Error) -> bool {
    matches!(error.kind, ErrorKind::Dependency | ErrorKind::Data)
}

pub(super) fn count(counts: &mut OutcomeCounts, effect: Effect, records: usize) {
    let outcome = match effect {
        Effect::Applied => &mut counts.applied,
        Effect::Unchanged => &mut counts.unchanged,
        Effect::Differs => &mut counts.differs,
    };
    *outcome += records as u64;
}

pub(super) fn applied(counts: Vec<OutcomeCounts>, slow_path: bool) -> Applied {
    let has_outputs = counts.iter().any(|counts| counts.dead > 0);
    let outcomes = counts.into_iter().enumerate().map(|(at, counts)| (EntityId(at as u16), counts)).collect();
    Applied { outcomes, slow_path, has_outputs, ..Applied::default() }
}

/// Rule A6; see [`SinkWriter::topic_progress`].
fn topic_progress(database: &Database, task: &TaskKey, record: Option<&FirstRecord>) -> TopicProgress {
    let Some(record) = record else { return TopicProgress::of(task, database.tables.ledger.iter(), 0) };
    let counts = |entry: &HeldEntry| {
        let is_other_half = record.other_half.is_some() && entry.waits_for.as_deref() == record.other_half.as_deref();
        entry.state != HeldState::Dead && entry.timestamp_ms < record.held_before_ms() && !is_other_half
    };
    let is_here = |of: &TaskKey| of.is_of_direction(task) && of.topic == task.topic;
    let held = database.tables.held.iter().filter(|((of, _), entry)| is_here(of) && counts(entry)).count();
    TopicProgress::of(task, database.tables.ledger.iter(), held as u64)
}
