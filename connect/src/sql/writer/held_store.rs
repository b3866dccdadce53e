//! Storing held rows, and reading them back when they are due (rules H1, H2).

use topology::batch::{ChangeBatch, DeadRecord, HeldId, WriteMode};
use topology::data::{Arena, Cell, CellRange, Value};
use topology::ledger::{Claim, TaskKey};
use topology::sink::{HeldCounts, HeldRow};

use super::attempt::{Failures, Progress, own_table_refuses};
use super::claim::{task_values, tasks};
use super::halves::Lacking;
use super::held::{HeldState, Holding};
use super::overtaken::raw_key_hash;
use super::told::Told;
use super::{Failure, SinkTable, SqlWriter, json};
use crate::sql::connection::SqlConnection;
use crate::sql::error::{SqlError, SqlResult};
use crate::sql::statements::{NOT_DUE, REPLAY, counts_text, due_text};

/// Cells of one row of `tidelock_held`, in the order of its columns.
struct Stored<'a> {
    task: &'a TaskKey,
    id: HeldId,
    entity: &'a str,
    key: Cell,
    key_hash: Option<u64>,
    state: HeldState,
    class: &'a str,
    stage: &'a str,
    code: Option<&'a str>,
    message: &'a str,
    /// None of a row that queues: nothing was tried yet.
    attempts: i64,
    now_ms: i64,
    retry_at_ms: i64,
    waits_for: Option<&'a str>,
    waits_for_key: Option<u64>,
    raw: &'a topology::record::Raw,
    source: &'a topology::record::Source,
}

fn store(scratch: &mut Arena, arena: &Arena, row: &Stored<'_>) -> CellRange {
    let optional = |scratch: &mut Arena, text: Option<&str>| text.map_or(Cell::Null, |text| scratch.push_text(text));
    let bytes = |scratch: &mut Arena, span: Option<topology::data::Span>| {
        span.map_or(Cell::Null, |span| Cell::Bytes(scratch.push_bytes(arena.bytes(span))))
    };
    let headers = match row.raw.headers {
        Some(span) => Cell::Bytes(scratch.push_bytes(arena.bytes(span))),
        None => Cell::Bytes(scratch.push_bytes(&[])),
    };
    let position = row.source.position.map(|position| position.to_string());
    let cells = [
        scratch.push_text(&row.task.pipeline),
        scratch.push_text(&row.task.direction),
        scratch.push_text(&row.task.topic),
        Cell::I64(i64::from(row.task.partition)),
        Cell::I64(row.id.offset),
        Cell::I64(i64::from(row.id.ordinal)),
        scratch.push_text(row.entity),
        row.key,
        row.key_hash.map_or(Cell::Null, |hash| Cell::I64(hash.cast_signed())),
        scratch.push_text(row.state.name()),
        scratch.push_text(row.class),
        scratch.push_text(row.stage),
        optional(scratch, row.code),
        scratch.push_text(row.message),
        Cell::I64(row.attempts),
        Cell::I64(row.now_ms),
        Cell::I64(row.retry_at_ms),
        optional(scratch, row.waits_for),
        row.waits_for_key.map_or(Cell::Null, |hash| Cell::I64(hash.cast_signed())),
        Cell::I64(row.raw.timestamp_ms),
        bytes(scratch, row.raw.key),
        bytes(scratch, row.raw.value),
        headers,
        optional(scratch, position.as_deref()),
        if row.source.committed_at_us > 0 { Cell::I64(row.source.committed_at_us / 1000) } else { Cell::Null },
        scratch.push_text(env!("CARGO_PKG_VERSION")),
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
    /// Writes what the batch holds, its dead records, and what its full images made history. Last thing before COMMIT (rule B1).
    pub(super) async fn store_held(
        &mut self,
        batch: &ChangeBatch,
        excluded: &[bool],
        progress: &mut Progress,
    ) -> Result<(), Failure> {
        let failed = |error: SqlError| Failure::Failed(error.error);
        let session = self.session.as_deref_mut().expect("enter() opened a session");
        let dead: Vec<&DeadRecord> = batch
            .dead
            .iter()
            .filter(|dead| !excluded[usize::from(batch.span_of_slot[usize::from(dead.slot.0)])])
            .collect();
        if progress.holding.rows.is_empty() && dead.is_empty() {
            return self.mark_overtaken(batch, progress).await;
        }
        let now_ms = now_ms(session, &self.statements.now).await.map_err(failed)?;
        self.scratch.clear();
        let mut rows = Vec::with_capacity(progress.holding.rows.len() + dead.len());
        let Progress { counts, holding: Holding { rows: held_rows, told, .. }, .. } = progress;
        for held in held_rows.iter() {
            let table = self.tables[held.entity].as_ref().expect("planned before BEGIN");
            let record = &batch.records[held.record];
            let counts = &mut counts[held.entity];
            let id = HeldId { offset: record.offset, ordinal: ordinal(batch, held.record) };
            if held.state != HeldState::Queued {
                told.push(Told::of_held(batch, held, id, &table.mapped.name));
            }
            counts.applied = counts.applied.saturating_sub(1);
            let retry_at_ms = match held.state {
                HeldState::Parked => now_ms + self.options.held_limits(held.entity).retry_first_ms,
                HeldState::Queued | HeldState::Dead => NOT_DUE,
            };
            if held.state == HeldState::Dead {
                counts.dead += 1;
            } else {
                counts.parked += 1;
            }
            let key_columns = table.mapped.key.iter().map(|at| &table.mapped.columns[*at]);
            let key = json::object(&mut self.scratch, &batch.arena, key_columns, record.key, false);
            let row = Stored {
                task: &batch.span_of(record.slot).task,
                id,
                entity: &table.mapped.name,
                key,
                key_hash: held.key_hash,
                state: held.state,
                class: held.kind.name(),
                stage: held.stage,
                code: held.code.as_deref(),
                message: &held.message,
                attempts: i64::from(held.state != HeldState::Queued),
                now_ms,
                retry_at_ms,
                waits_for: held.waits_for.as_deref(),
                waits_for_key: held.waits_for_key,
                raw: &record.raw,
                source: &record.source,
            };
            rows.push(store(&mut self.scratch, &batch.arena, &row));
        }
        let is_release = batch.is_release();
        for dead in dead {
            let entity = usize::from(dead.entity.0);
            let Some(sink) = self.options.tables.get(entity) else { continue };
            let span = usize::from(batch.span_of_slot[usize::from(dead.slot.0)]);
            let task = &batch.spans[span].task;
            let told = Told::of_dead(span, dead, &sink.table.name, dead_key_hash(sink, batch, dead));
            if is_release {
                // It is held already, as something that could wait; now it can't.
                progress.holding.stale.insert(span);
                let is_of_record = |(of, id): &&(usize, HeldId)| *of == span && id.offset == dead.offset;
                let rows: Vec<(usize, HeldId)> = progress.due.keys().filter(is_of_record).copied().collect();
                for place in rows {
                    let Some(Failures { attempts, first_failed_at_ms: first_failed, .. }) = progress.due.remove(&place)
                    else {
                        continue;
                    };
                    let (attempts, first_failed) = if attempts > 0 { (attempts, first_failed) } else { (0, now_ms) };
                    let id = place.1;
                    let told =
                        Told { id, attempts: attempts + 1, first_failed_at_ms: Some(first_failed), ..told.clone() };
                    let mut values = vec![
                        Value::Text(HeldState::Dead.name().to_owned()),
                        Value::Text(dead.kind.name().to_owned()),
                        Value::Null,
                        Value::Text(dead.message.clone()),
                        Value::I64(NOT_DUE),
                        Value::Null,
                        Value::Null,
                        Value::I64(first_failed),
                    ];
                    values.extend(task_values(task));
                    values.extend([Value::I64(id.offset), Value::I64(i64::from(id.ordinal))]);
                    session.execute(&self.statements.held_fail, &values).await.map_err(failed)?;
                    progress.counts[entity].dead += 1;
                    progress.holding.told.push(told);
                }
                continue;
            }
            progress.counts[entity].dead += 1;
            let key_range = dead_key(sink, dead);
            let key_columns = sink.table.key.iter().map(|at| &sink.table.columns[*at]);
            let key = json::object(&mut self.scratch, &batch.arena, key_columns, key_range.unwrap_or_default(), false);
            let row = Stored {
                task,
                id: HeldId { offset: dead.offset, ordinal: 0 },
                entity: &sink.table.name,
                key,
                key_hash: told.key_hash,
                state: HeldState::Dead,
                class: dead.kind.name(),
                stage: dead.stage.name(),
                code: None,
                message: &dead.message,
                attempts: 1,
                now_ms,
                retry_at_ms: NOT_DUE,
                waits_for: None,
                waits_for_key: None,
                raw: &dead.raw,
                source: &dead.source,
            };
            rows.push(store(&mut self.scratch, &batch.arena, &row));
            progress.holding.told.push(told);
        }
        let written = session.write_rows(&self.own.held, &self.scratch, &rows).await;
        written.map_err(own_table_refuses)?;
        topology::crash::point("held_stored");
        self.mark_overtaken(batch, progress).await
    }

    /// Keys of the records that were dead before they came here, so that full images of this batch are seen to pass them.
    pub(super) fn note_dead(&self, batch: &ChangeBatch, excluded: &[bool], progress: &mut Progress) {
        for dead in &batch.dead {
            let span = usize::from(batch.span_of_slot[usize::from(dead.slot.0)]);
            let sink = self.options.tables.get(usize::from(dead.entity.0)).filter(|_| !excluded[span]);
            let hash = sink.and_then(|sink| dead_key_hash(sink, batch, dead));
            progress.holding.note_dead(hash.map(|hash| (span, hash)), dead.offset);
        }
    }

    pub(super) async fn read_due(&mut self, claims: &[Claim], limit: usize) -> SqlResult<Vec<HeldRow>> {
        self.wake_waiting().await?;
        self.replayed.clear();
        let text = due_text(self.connector.dialect(), claims.len());
        let mut values = tasks(claims);
        values.push(Value::I64(i64::try_from(limit).unwrap_or(i64::MAX)));
        let mut rows = self.session().query(&text, &values).await?;
        rows.sort_by(|a, b| place(a).cmp(&place(b)));
        let mut found = Vec::with_capacity(rows.len());
        let mut lacking = Vec::new();
        for mut row in rows {
            let (age, waits_for, entity, code, state) = (row.pop(), row.pop(), row.pop(), row.pop(), row.pop());
            let is_replay = matches!(&state, Some(Value::Text(state)) if state == REPLAY);
            let Some(mut due) = due_row(row, claims) else { continue };
            if let (1.., Some(Value::I64(age_ms))) = (due.attempts, age) {
                due.waiting_ms = age_ms;
            }
            if let (Some(Value::Text(code)), Some(Value::Text(entity)), Some(Value::Text(waits_for))) =
                (code, entity, waits_for)
                && matches!(&state, Some(Value::Text(state)) if state == HeldState::Parked.name())
            {
                lacking.extend(Lacking::new(found.len(), &code, &entity, waits_for));
            }
            if is_replay && !self.replayed.contains(&due.task) {
                // The lane's memory does not know that it waits: read before the batch that tries it (rule H4).
                self.replayed.push(due.task.clone());
                self.stale.insert(due.task.clone());
            }
            found.push(due);
        }
        if !lacking.is_empty() {
            self.mark_lacking(claims, lacking, &mut found).await?;
        }
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
                "queued" | REPLAY => counts.queued += count.unsigned_abs(),
                "dead" => counts.dead += count.unsigned_abs(),
                _ => {}
            }
        }
        if self.remembered(claims.iter().map(|claim| &claim.task)) != counts.parked + counts.queued {
            // Somebody else changed the table, as `dlq discard` does: what is remembered would hold keys for nothing.
            self.reload_held(claims.iter().map(|claim| claim.task.clone()).collect()).await?;
        }
        self.purge_superseded(claims).await?;
        Ok(counts)
    }
}

/// Topic, partition, offset and ordinal of a due row.
fn place(row: &[Value]) -> Option<(&str, i64, i64, i64)> {
    match row {
        [Value::Text(topic), Value::I64(partition), Value::I64(offset), Value::I64(ordinal), ..] => {
            Some((topic, *partition, *offset, *ordinal))
        }
        _ => None,
    }
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
        waiting_ms: 0,
        lacks_half: None,
        key,
        value,
        headers,
        timestamp_ms,
    })
}

/// The mapped key of a dead record; a processor of the user's own may have given it another shape.
fn dead_key(sink: &SinkTable, dead: &DeadRecord) -> Option<CellRange> {
    dead.key.filter(|key| !key.is_empty() && key.length as usize == sink.table.key.len())
}

/// As [`super::tables::EntityTable::key_hash`], for a table that may not even be there; of the raw key if none was mapped (rule H4).
fn dead_key_hash(sink: &SinkTable, batch: &ChangeBatch, dead: &DeadRecord) -> Option<u64> {
    if sink.table.mode != WriteMode::Mirror {
        return None;
    }
    let seed = xxhash_rust::xxh3::xxh3_64(sink.table.name.as_bytes());
    match dead_key(sink, dead) {
        Some(key) => Some(batch.arena.hash_row(seed, key)),
        None => raw_key_hash(seed, batch.arena.bytes(dead.raw.key?)),
    }
}

/// The database's clock.
pub(crate) async fn now_ms(session: &mut dyn SqlConnection, text: &str) -> SqlResult<i64> {
    match session.query(text, &[]).await?.first().map(Vec::as_slice) {
        Some([Value::I64(now)]) => Ok(*now),
        _ => Err(super::bug("the database's clock gave no number")),
    }
}
