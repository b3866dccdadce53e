//! Held rows (rules H): which keys wait, and storing what a batch parks, queues or gives up.
//!
//! A lane knows the held and dead keys of its tasks by hash: a collision of two keys only makes one wait for the other. Memory changes
//! only after COMMIT ([`Holding::settle`]), so a batch that is rolled back leaves no trace.

use std::collections::{HashMap, HashSet};
use std::sync::Arc;

use topology::batch::{Change, ChangeBatch, ChangeKind, DeadRecord, HeldId};
use topology::data::{Arena, Cell, CellRange, Value};
use topology::ledger::{Claim, TaskKey};
use topology::moves::Halves;
use topology::sink::{HeldCounts, HeldRow};
use topology::{Error, ErrorKind};

use super::attempt::{Progress, with_entity};
use super::claim::task_values;
use super::moves::HALF_WAITS;
use super::rows::{ROW_MISSING, WAITS_FOR_ROW};
use super::tables::{EntityTable, parent_name};
use super::{Failure, SqlWriter, json};
use crate::sql::error::{SqlError, SqlResult};
use crate::sql::statements::{counts_text, due_text};

/// `retry_at_ms` of a row that waits behind another one.
pub(crate) const NOT_DUE: i64 = i64::MAX;

/// What the lane remembers of one key.
#[derive(Clone, Copy, Debug, Default)]
struct KeyState {
    /// Parked and queued rows.
    waiting: u32,
    /// All of them only wait for their own row: a later full image may pass and make them history.
    waits_for_row: bool,
    /// Dead rows (rule H4).
    dead: u32,
}

/// Held and dead keys of one task.
#[derive(Clone, Debug, Default)]
pub(crate) struct HeldKeys {
    keys: HashMap<u64, KeyState>,
}

impl HeldKeys {
    /// From the rows of `held_keys`.
    pub(crate) fn load(rows: &[Vec<Value>]) -> HeldKeys {
        let mut held = HeldKeys::default();
        for row in rows {
            let [_, _, hash, other, Value::Text(state), waits_for] = row.as_slice() else { continue };
            let by_row = matches!(waits_for, Value::Text(text) if text == WAITS_FOR_ROW);
            for hash in [hash, other] {
                let Value::I64(hash) = hash else { continue };
                held.add(hash.cast_unsigned(), state == "dead", by_row || state == "queued");
            }
        }
        held
    }

    fn add(&mut self, hash: u64, dead: bool, by_row: bool) {
        let state = self.keys.entry(hash).or_default();
        if dead {
            state.dead += 1;
        } else {
            state.waits_for_row = by_row && (state.waits_for_row || state.waiting == 0);
            state.waiting += 1;
        }
    }

    fn remove_waiting(&mut self, hash: u64) {
        if let Some(state) = self.keys.get_mut(&hash) {
            state.waiting = state.waiting.saturating_sub(1);
            if state.waiting == 0 && state.dead == 0 {
                self.keys.remove(&hash);
            }
        }
    }

    /// True when nothing is held: the hot path then asks no more.
    pub(crate) fn is_empty(&self) -> bool {
        self.keys.is_empty()
    }

    pub(crate) fn waiting(&self, hash: u64) -> u32 {
        self.keys.get(&hash).map_or(0, |state| state.waiting)
    }
}

/// States of a row of `tidelock_held`.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum HeldState {
    Parked,
    Queued,
    Dead,
}

impl HeldState {
    pub(crate) fn name(self) -> &'static str {
        match self {
            HeldState::Parked => "parked",
            HeldState::Queued => "queued",
            HeldState::Dead => "dead",
        }
    }
}

/// One record to be held.
struct HeldRecord {
    record: usize,
    entity: usize,
    state: HeldState,
    hashes: Hashes,
    kind: ErrorKind,
    stage: &'static str,
    code: Option<String>,
    message: String,
    waits_for: Option<Arc<str>>,
}

/// Hashes of the keys a change touches: its own and, for key changes, the other one.
#[derive(Clone, Copy, Debug, Default)]
pub(crate) struct Hashes {
    pub(crate) key: Option<u64>,
    pub(crate) other: Option<u64>,
}

impl Hashes {
    /// Half a key change holds only its own key: the other half must not queue behind it (rule B5).
    pub(crate) fn of(table: &EntityTable, batch: &ChangeBatch, change: &Change) -> Hashes {
        let hash = |key: CellRange| table.key_hash(&batch.arena, key);
        let is_whole = change.kind == ChangeKind::Move && batch.halves(change) == Halves::Both;
        Hashes { key: hash(change.key), other: change.old_key.filter(|_| is_whole).and_then(hash) }
    }

    pub(crate) fn iter(self) -> impl Iterator<Item = u64> {
        self.key.into_iter().chain(self.other)
    }
}

/// What one transaction does to held rows.
#[derive(Default)]
pub(crate) struct Holding {
    rows: Vec<HeldRecord>,
    /// (span, key hash) that got a waiting row in this transaction.
    added: HashSet<(usize, u64)>,
    /// (span, key hash, offset): a full image passed; older held rows of the key are history (rule H4).
    passed: Vec<(usize, u64, i64)>,
    /// (span, key hash) of a waiting row that is gone: applied, or dead (`true`).
    pub(crate) removed: Vec<(usize, u64, bool)>,
    /// Hash seeds of tables that were emptied; their tasks' keys are read again.
    pub(crate) truncated: Vec<u64>,
}

fn span_index(batch: &ChangeBatch, record: usize) -> usize {
    usize::from(batch.span_of_slot[usize::from(batch.records[record].slot.0)])
}

fn keys_of<'a>(held: &'a mut HashMap<TaskKey, HeldKeys>, batch: &ChangeBatch, span: usize) -> &'a mut HeldKeys {
    held.entry(batch.spans[span].task.clone()).or_default()
}

fn is_full(kind: ChangeKind) -> bool {
    matches!(kind, ChangeKind::Upsert | ChangeKind::Replace | ChangeKind::Delete)
}

impl Holding {
    pub(crate) fn is_empty(&self) -> bool {
        self.rows.is_empty()
    }

    /// Queues all records of a change whose key waits (rule H3). True when it did.
    pub(crate) fn queue_if_held(
        &mut self,
        held: &HashMap<TaskKey, HeldKeys>,
        table: &EntityTable,
        batch: &ChangeBatch,
        entity: usize,
        change: &Change,
    ) -> bool {
        let span = span_index(batch, change.first_record as usize);
        let known = held.get(&batch.spans[span].task).filter(|keys| !keys.is_empty());
        if known.is_none() && self.added.is_empty() {
            return false;
        }
        let hashes = Hashes::of(table, batch, change);
        let waits = hashes.iter().any(|hash| {
            let state = known.and_then(|keys| keys.keys.get(&hash)).copied().unwrap_or_default();
            let passes = state.waits_for_row && is_full(change.kind);
            self.added.contains(&(span, hash)) || (state.waiting > 0 && !passes)
        });
        if !waits {
            return false;
        }
        for record in batch.records_of(change) {
            self.queue(entity, record, hashes);
        }
        self.added.extend(hashes.iter().map(|hash| (span, hash)));
        true
    }

    fn queue(&mut self, entity: usize, record: usize, hashes: Hashes) {
        self.rows.push(HeldRecord {
            record,
            entity,
            state: HeldState::Queued,
            hashes,
            kind: ErrorKind::Dependency,
            stage: "write",
            code: None,
            message: "waits behind an earlier change of its key".to_owned(),
            waits_for: None,
        });
    }

    /// Parks half a key change until its other half comes (rule B5); what was merged into it queues behind.
    pub(crate) fn park_half(
        &mut self,
        table: &EntityTable,
        batch: &ChangeBatch,
        entity: usize,
        change: &Change,
        waits_for: Arc<str>,
    ) {
        let hashes = Hashes::of(table, batch, change);
        let span = span_index(batch, change.first_record as usize);
        self.added.extend(hashes.iter().map(|hash| (span, hash)));
        let mut records = batch.records_of(change);
        self.rows.extend(records.next().map(|record| HeldRecord {
            record,
            entity,
            state: HeldState::Parked,
            hashes,
            kind: ErrorKind::Dependency,
            stage: "write",
            code: Some(HALF_WAITS.to_owned()),
            message: "the other half of the key change has not come yet".to_owned(),
            waits_for: Some(waits_for),
        }));
        for record in records {
            self.queue(entity, record, hashes);
        }
    }

    /// Holds one record that failed: parked or dead by its kind. `half`: what half a key change waits for.
    #[allow(clippy::too_many_arguments)] // all of them name one record and why
    pub(crate) fn hold(
        &mut self,
        table: &EntityTable,
        batch: &ChangeBatch,
        entity: usize,
        record: usize,
        change: &Change,
        error: SqlError,
        half: Option<Arc<str>>,
    ) {
        let state = if error.kind() == ErrorKind::Data { HeldState::Dead } else { HeldState::Parked };
        let hashes = Hashes::of(table, batch, change);
        if state == HeldState::Parked {
            let span = span_index(batch, record);
            self.added.extend(hashes.iter().map(|hash| (span, hash)));
        }
        let waits_for = half.or_else(|| waits_for(table, &error));
        self.rows.push(HeldRecord {
            record,
            entity,
            state,
            hashes,
            kind: error.error.kind,
            stage: error.error.stage.name(),
            message: message(&error.error),
            code: error.error.code,
            waits_for,
        });
    }

    /// Notes full images that passed keys with held rows (rule H4).
    pub(crate) fn note_passed(
        &mut self,
        held: &HashMap<TaskKey, HeldKeys>,
        table: &EntityTable,
        batch: &ChangeBatch,
        change: &Change,
    ) {
        if !is_full(change.kind) {
            return;
        }
        let span = span_index(batch, change.last_record as usize);
        let Some(keys) = held.get(&batch.spans[span].task).filter(|keys| !keys.is_empty()) else { return };
        let Some(hash) = table.key_hash(&batch.arena, change.key) else { return };
        if keys.keys.contains_key(&hash) {
            self.passed.push((span, hash, batch.records[change.last_record as usize].offset));
        }
    }

    /// Spans of the records that are dead for a reason that the target gave, one entry per record.
    pub(crate) fn dead_spans<'a>(&'a self, batch: &'a ChangeBatch) -> impl Iterator<Item = usize> + 'a {
        let dead = self.rows.iter().filter(|row| row.state == HeldState::Dead);
        dead.map(|row| span_index(batch, row.record))
    }

    /// Brings the lane's memory up to date; after COMMIT only.
    pub(crate) fn settle(self, held: &mut HashMap<TaskKey, HeldKeys>, batch: &ChangeBatch) {
        for (span, hash, _) in &self.passed {
            keys_of(held, batch, *span).keys.remove(hash);
        }
        for (span, hash, dead) in &self.removed {
            let keys = keys_of(held, batch, *span);
            keys.remove_waiting(*hash);
            if *dead {
                keys.add(*hash, true, false);
            }
        }
        for row in &self.rows {
            let keys = keys_of(held, batch, span_index(batch, row.record));
            let by_row = row.state == HeldState::Queued || row.waits_for.as_deref() == Some(WAITS_FOR_ROW);
            for hash in row.hashes.iter() {
                keys.add(hash, row.state == HeldState::Dead, by_row);
            }
        }
    }
}

/// The text kept with a held row: what failed, for what, and what the server said; never values of rows.
pub(crate) fn message(error: &Error) -> String {
    error.to_string()
}

/// Name of the table whose row is missing, as far as it is known.
pub(crate) fn waits_for(table: &EntityTable, error: &SqlError) -> Option<Arc<str>> {
    if error.error.code.as_deref() == Some(ROW_MISSING) {
        return Some(WAITS_FOR_ROW.into());
    }
    if let Some(parent) = &error.parent {
        return Some(parent_name(parent));
    }
    let keys = &table.plan.description.foreign_keys;
    let by_name = error.constraint.as_ref().and_then(|name| keys.iter().find(|key| key.name == *name));
    by_name.map(|key| parent_name(&key.parent))
}

/// Cells of one row of `tidelock_held`, in the order of its columns.
struct Stored<'a> {
    task: &'a TaskKey,
    id: HeldId,
    entity: &'a str,
    key: Cell,
    hashes: Hashes,
    state: HeldState,
    class: &'a str,
    stage: &'a str,
    code: Option<&'a str>,
    message: &'a str,
    now_ms: i64,
    retry_at_ms: i64,
    waits_for: Option<&'a str>,
    raw: &'a topology::record::Raw,
}

fn store(scratch: &mut Arena, arena: &Arena, row: &Stored<'_>) -> CellRange {
    let optional = |scratch: &mut Arena, text: Option<&str>| text.map_or(Cell::Null, |text| scratch.push_text(text));
    let bytes = |scratch: &mut Arena, span: Option<topology::data::Span>| {
        span.map_or(Cell::Null, |span| Cell::Bytes(scratch.push_bytes(arena.bytes(span))))
    };
    let hash = |hash: Option<u64>| hash.map_or(Cell::Null, |hash| Cell::I64(hash.cast_signed()));
    let headers = match row.raw.headers {
        Some(span) => Cell::Bytes(scratch.push_bytes(arena.bytes(span))),
        None => Cell::Bytes(scratch.push_bytes(&[])),
    };
    let cells = [
        scratch.push_text(&row.task.pipeline),
        scratch.push_text(&row.task.direction),
        scratch.push_text(&row.task.topic),
        Cell::I64(i64::from(row.task.partition)),
        Cell::I64(row.id.offset),
        Cell::I64(i64::from(row.id.ordinal)),
        scratch.push_text(row.entity),
        row.key,
        hash(row.hashes.key),
        hash(row.hashes.other),
        scratch.push_text(row.state.name()),
        scratch.push_text(row.class),
        scratch.push_text(row.stage),
        optional(scratch, row.code),
        scratch.push_text(row.message),
        Cell::I64(1),
        Cell::I64(row.now_ms),
        Cell::I64(row.retry_at_ms),
        optional(scratch, row.waits_for),
        Cell::I64(row.raw.timestamp_ms),
        bytes(scratch, row.raw.key),
        bytes(scratch, row.raw.value),
        headers,
    ];
    scratch.push_cells(&cells)
}

/// Which of several rows made from one record.
fn ordinal(batch: &ChangeBatch, record: usize) -> i32 {
    let this = &batch.records[record];
    let before = batch.records[..record].iter().rev();
    before.take_while(|other| other.slot == this.slot && other.offset == this.offset).count() as i32
}

impl SqlWriter {
    /// True when any task has held or dead keys.
    pub(super) fn holds_any(&self) -> bool {
        self.held.values().any(|keys| !keys.is_empty())
    }

    /// Writes what the batch holds, its dead records, and what its full images made history. Last thing before COMMIT (rule B1).
    pub(super) async fn store_held(
        &mut self,
        batch: &ChangeBatch,
        excluded: &[bool],
        progress: &mut Progress,
    ) -> Result<(), Failure> {
        let failed = |error: SqlError| Failure::Failed(error.error);
        let session = self.session.as_deref_mut().expect("enter() opened a session");
        for (span, hash, offset) in &progress.holding.passed {
            let mut values = task_values(&batch.spans[*span].task).to_vec();
            values.extend([Value::I64(hash.cast_signed()), Value::I64(*offset)]);
            session.execute(&self.statements.held_supersede, &values).await.map_err(failed)?;
        }
        let dead: Vec<&DeadRecord> = batch
            .dead
            .iter()
            .filter(|dead| !excluded[usize::from(batch.span_of_slot[usize::from(dead.slot.0)])])
            .collect();
        if progress.holding.rows.is_empty() && dead.is_empty() {
            return Ok(());
        }
        let now_ms = now_ms(session, &self.statements.now).await.map_err(failed)?;
        self.scratch.clear();
        let mut rows = Vec::with_capacity(progress.holding.rows.len() + dead.len());
        for held in &progress.holding.rows {
            let table = self.tables[held.entity].as_ref().expect("planned before BEGIN");
            let record = &batch.records[held.record];
            let counts = &mut progress.counts[held.entity];
            counts.applied = counts.applied.saturating_sub(1);
            let retry_at_ms = match held.state {
                HeldState::Parked => now_ms + self.options.held.retry_first_ms,
                HeldState::Queued | HeldState::Dead => NOT_DUE,
            };
            if held.state == HeldState::Dead {
                counts.dead += 1
            } else {
                counts.parked += 1
            }
            let key_columns = table.mapped.key.iter().map(|at| &table.mapped.columns[*at]);
            let key = json::object(&mut self.scratch, &batch.arena, key_columns, record.key, false);
            let row = Stored {
                task: &batch.span_of(record.slot).task,
                id: HeldId { offset: record.offset, ordinal: ordinal(batch, held.record) },
                entity: &table.mapped.name,
                key,
                hashes: held.hashes,
                state: held.state,
                class: held.kind.name(),
                stage: held.stage,
                code: held.code.as_deref(),
                message: &held.message,
                now_ms,
                retry_at_ms,
                waits_for: held.waits_for.as_deref(),
                raw: &record.raw,
            };
            rows.push(store(&mut self.scratch, &batch.arena, &row));
        }
        let is_release = !batch.releases.is_empty();
        for dead in dead {
            let entity = usize::from(dead.entity.0);
            let Some(sink) = self.options.tables.get(entity) else { continue };
            progress.counts[entity].dead += 1;
            let task = &batch.span_of(dead.slot).task;
            if is_release {
                // It is held already, as something that could wait; now it can't.
                let mut values = vec![
                    Value::Text(HeldState::Dead.name().to_owned()),
                    Value::Text(dead.kind.name().to_owned()),
                    Value::Null,
                    Value::Text(dead.message.clone()),
                    Value::I64(NOT_DUE),
                    Value::Null,
                ];
                values.extend(task_values(task));
                values.extend([Value::I64(dead.offset), Value::I64(0)]);
                session.execute(&self.statements.held_fail, &values).await.map_err(failed)?;
                continue;
            }
            let seed = xxhash_rust::xxh3::xxh3_64(sink.table.name.as_bytes());
            let key_range = dead.key.filter(|key| !key.is_empty());
            let hashes = Hashes { key: key_range.map(|key| batch.arena.hash_row(seed, key)), other: None };
            let key_columns = sink.table.key.iter().map(|at| &sink.table.columns[*at]);
            let key = json::object(&mut self.scratch, &batch.arena, key_columns, key_range.unwrap_or_default(), false);
            let row = Stored {
                task,
                id: HeldId { offset: dead.offset, ordinal: 0 },
                entity: &sink.table.name,
                key,
                hashes,
                state: HeldState::Dead,
                class: dead.kind.name(),
                stage: dead.stage.name(),
                code: None,
                message: &dead.message,
                now_ms,
                retry_at_ms: NOT_DUE,
                waits_for: None,
                raw: &dead.raw,
            };
            rows.push(store(&mut self.scratch, &batch.arena, &row));
            if let Some(hash) = hashes.key {
                let span = usize::from(batch.span_of_slot[usize::from(dead.slot.0)]);
                progress.holding.removed.push((span, hash, true));
            }
        }
        let written = session.write_rows(&self.own.held, &self.scratch, &rows).await;
        written.map(|_| ()).map_err(|error| match with_entity(0, error) {
            // Our own table refuses: never the row's fault.
            Failure::Rows(error) => Failure::Failed(Error { kind: ErrorKind::Environment, ..error.error }),
            Failure::Schema(_, error) => Failure::Failed(Error { kind: ErrorKind::Environment, ..error }),
            other => other,
        })
    }

    pub(super) async fn read_due(&mut self, claims: &[Claim], limit: usize) -> SqlResult<Vec<HeldRow>> {
        self.wake_children().await?;
        let text = due_text(self.connector.dialect(), claims.len());
        let mut values = tasks(claims);
        values.push(Value::I64(i64::try_from(limit).unwrap_or(i64::MAX)));
        let rows = self.session().query(&text, &values).await?;
        let found = rows.into_iter().filter_map(|row| due_row(row, claims)).collect();
        Ok(found)
    }

    pub(super) async fn count_held(&mut self, claims: &[Claim]) -> SqlResult<HeldCounts> {
        let text = counts_text(self.connector.dialect(), claims.len());
        let rows = self.session().query(&text, &tasks(claims)).await?;
        let mut counts = HeldCounts::default();
        for row in &rows {
            let [Value::Text(state), Value::I64(count)] = row.as_slice() else { continue };
            match state.as_str() {
                "parked" => counts.parked += count.unsigned_abs(),
                "queued" => counts.queued += count.unsigned_abs(),
                "dead" => counts.dead += count.unsigned_abs(),
                _ => {}
            }
        }
        Ok(counts)
    }
}

/// pipeline, direction, then topic and partition of each claim. All claims of a lane are of one direction.
fn tasks(claims: &[Claim]) -> Vec<Value> {
    let first = &claims[0].task;
    let mut values = vec![Value::Text(first.pipeline.to_string()), Value::Text(first.direction.to_string())];
    for claim in claims {
        values.push(Value::Text(claim.task.topic.to_string()));
        values.push(Value::I64(i64::from(claim.task.partition)));
    }
    values
}

fn due_row(row: Vec<Value>, claims: &[Claim]) -> Option<HeldRow> {
    let mut cells = row.into_iter();
    let mut next = || cells.next();
    let Some(Value::Text(topic)) = next() else { return None };
    let mut integer = || match next() {
        Some(Value::I64(number)) => Some(number),
        _ => None,
    };
    let (partition, offset, ordinal, attempts, timestamp_ms) =
        (integer()?, integer()?, integer()?, integer()?, integer()?);
    let mut bytes = || match next() {
        Some(Value::Bytes(bytes)) => Some(bytes),
        _ => None,
    };
    let (key, value, headers) = (bytes(), bytes(), bytes().unwrap_or_default());
    let claim =
        claims.iter().find(|claim| *claim.task.topic == *topic && i64::from(claim.task.partition) == partition)?;
    Some(HeldRow {
        task: claim.task.clone(),
        id: HeldId { offset, ordinal: ordinal as i32 },
        attempts: attempts as i32,
        key,
        value,
        headers,
        timestamp_ms,
    })
}

/// The database's clock.
pub(crate) async fn now_ms(session: &mut dyn crate::sql::connection::SqlConnection, text: &str) -> SqlResult<i64> {
    match session.query(text, &[]).await?.first().map(Vec::as_slice) {
        Some([Value::I64(now)]) => Ok(*now),
        _ => Err(super::bug("the database's clock gave no number")),
    }
}
