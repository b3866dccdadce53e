//! What the memory target holds: rows that wait and rows that are dead, and the outputs of the latter (rules E3, E4, H, O1).

use std::collections::BTreeSet;
use std::sync::Arc;
use std::time::Duration;

use super::connection::Connection;
use super::database::{Database, Stop, TransactionId};
use super::rows::{LACKS_HALF, RowWork};
use super::writer::{MemoryWriter, applied, count, is_of_row};
use super::{HeldEntry, HeldState, Pair, Place, Statement};
use crate::batch::{Change, ChangeBatch, ChangeKind, HeldId};
use crate::error::{Error, ErrorKind, Stage};
use crate::ledger::{Claim, TaskKey};
use crate::letter::DeadLetter;
use crate::moves::{MOVE_PREFIX, Word};
use crate::mutation;
use crate::output::Output;
use crate::record::{Operation, Source};
use crate::reduce::{ReduceTable, change_of};
use crate::sink::{Applied, ApplyError, HeldRow, OutcomeCounts};

/// First wait of a held row (rule H2), doubled by every attempt.
const HELD_RETRY_FIRST: Duration = Duration::from_secs(1);
/// Longest wait of a held row.
const HELD_RETRY_MAX: Duration = Duration::from_secs(30);

impl MemoryWriter {
    /// Applies the unreduced records in source order; what fails is parked or dead (rules B4, E3, E4).
    pub(super) async fn row_by_row(
        &self,
        connection: &mut Connection,
        batch: &ChangeBatch,
    ) -> Result<Applied, ApplyError> {
        connection.begin()?;
        Self::cas(connection, batch).await?;
        let mut counts = vec![OutcomeCounts::default(); self.tables.len()];
        let now = self.target.clock.now_us();
        for (index, record) in batch.records.iter().enumerate() {
            let table = self.table(record.entity);
            let counts = &mut counts[usize::from(record.entity.0)];
            if record.operation == Operation::Truncate {
                let clear = |database: &mut Database, id| Ok(database.clear(id, &table.name)?);
                connection.statement(Statement::Write, clear).await?;
                counts.applied += 1;
                continue;
            }
            let change = self.change_of(batch, index);
            let row = RowWork { batch, table, change: &change };
            let task = &batch.span_of(record.slot).task;
            let released = batch.releases.get(index).copied();
            let held_id = released.unwrap_or_else(|| ordinal_of(batch, index));
            let places = if change.kind == ChangeKind::Append { Vec::new() } else { row.places() };
            let work = |database: &mut Database, id: TransactionId| {
                let held = database.held(id, task);
                if released.is_some() && !held.contains_key(&held_id) {
                    return Ok(None);
                }
                let waits_behind = held.iter().any(|(other, entry)| {
                    !mutation::is_active(mutation::HELD_KEY_FLOWS)
                        && *other < held_id
                        && entry.state != HeldState::Dead
                        && entry.places.iter().any(|place| places.contains(place))
                });
                if waits_behind && released.is_some() {
                    return Ok(None);
                }
                if waits_behind {
                    let error = Error::new(ErrorKind::Dependency, Stage::Write, "waits behind a held row", "");
                    let entry = entry_of(batch, index, HeldState::Queued, &error, places.clone(), 0, now);
                    let waits_for = row.pair().map(|pair| crate::moves::waits_for(&pair.id));
                    database.writes(id)?.set_held(task, held_id, Some(HeldEntry { waits_for, ..entry }));
                    return Ok(Some(Err(ErrorKind::Dependency)));
                }
                row.lock(database, id)?;
                let savepoint = database.writes(id)?.clone();
                let before = held.get(&held_id).filter(|entry| entry.attempts > 0);
                let attempts = before.map_or(0, |entry| entry.attempts);
                let first_failed_us = before.map_or(now, |entry| entry.first_failed_us);
                match row.write(database, id) {
                    Ok(effect) => {
                        if released.is_some() {
                            let followers = held.into_iter().filter(|(other, entry)| {
                                *other > held_id && entry.places.iter().any(|place| places.contains(place))
                            });
                            let writes = database.writes(id)?;
                            writes.set_held(task, held_id, None);
                            for (other, entry) in followers {
                                writes.set_held(task, other, Some(HeldEntry { retry_at_us: now, ..entry }));
                            }
                        }
                        Ok(Some(Ok(effect)))
                    }
                    Err(error) if is_of_row(&error) => {
                        let state = if error.kind == ErrorKind::Data { HeldState::Dead } else { HeldState::Parked };
                        let entry = entry_of(batch, index, state, &error, places.clone(), attempts + 1, now);
                        *database.writes(id)? = savepoint;
                        let waits_for = if state == HeldState::Dead {
                            row.forgo(database, id)?;
                            self.store_letter(database, id, task, held_id, &entry, record.source)?;
                            None
                        } else {
                            row.park(database, id)?
                        };
                        let is_delete = change.kind == ChangeKind::MoveKey;
                        let own_word = if is_delete { Word::DeleteWaits } else { Word::CreateWaits };
                        let lacks_half = (error.code.as_deref() == Some(LACKS_HALF)).then_some(own_word);
                        let entry = HeldEntry { waits_for, lacks_half, first_failed_us, ..entry };
                        database.writes(id)?.set_held(task, held_id, Some(entry));
                        Ok(Some(Err(error.kind)))
                    }
                    Err(error) => Err(Stop::Failed(error)),
                }
            };
            match connection.statement(Statement::Write, work).await? {
                Some(Ok(effect)) => count(counts, effect, 1),
                Some(Err(ErrorKind::Data)) => counts.dead += 1,
                Some(Err(_)) => counts.parked += 1,
                None => {}
            }
        }
        self.keep_dead(connection, batch, &mut counts).await?;
        Ok(applied(counts, true))
    }

    /// True when a change touches a row that a held one of its task waits for (rule H3).
    pub(super) async fn touches_held(&self, connection: &mut Connection, batch: &ChangeBatch) -> Result<bool, Error> {
        let read = |database: &mut Database, id| {
            for span in &batch.spans {
                let held: BTreeSet<Place> = database
                    .held(id, &span.task)
                    .into_values()
                    .filter(|entry| entry.state != HeldState::Dead)
                    .flat_map(|entry| entry.places)
                    .collect();
                if held.is_empty() {
                    continue;
                }
                for (index, record) in batch.records.iter().enumerate() {
                    if batch.span_of(record.slot).task != span.task || record.operation == Operation::Truncate {
                        continue;
                    }
                    let table = self.table(record.entity);
                    let change = self.change_of(batch, index);
                    let places = RowWork { batch, table, change: &change }.places();
                    if change.kind != ChangeKind::Append && places.iter().any(|place| held.contains(place)) {
                        return Ok(true);
                    }
                }
            }
            Ok(false)
        };
        connection.statement(Statement::Read, read).await
    }

    pub(super) async fn keep_dead(
        &self,
        connection: &mut Connection,
        batch: &ChangeBatch,
        counts: &mut [OutcomeCounts],
    ) -> Result<(), Error> {
        if batch.dead.is_empty() {
            return Ok(());
        }
        let keep = |database: &mut Database, id| {
            for dead in &batch.dead {
                let bytes = |span: Option<_>| span.map(|span| batch.arena.bytes(span).to_vec());
                let entry = HeldEntry {
                    state: HeldState::Dead,
                    kind: dead.kind,
                    message: dead.message.clone(),
                    places: Vec::new(),
                    waits_for: None,
                    lacks_half: None,
                    first_failed_us: 0,
                    attempts: 1,
                    retry_at_us: 0,
                    key: bytes(dead.raw.key),
                    value: bytes(dead.raw.value),
                    headers: bytes(dead.raw.headers).unwrap_or_default(),
                    timestamp_ms: dead.raw.timestamp_ms,
                };
                let held_id = HeldId { offset: dead.offset, ordinal: 0 };
                let task = &batch.span_of(dead.slot).task;
                self.store_letter(database, id, task, held_id, &entry, dead.source)?;
                database.writes(id)?.set_held(task, held_id, Some(entry));
            }
            Ok(())
        };
        connection.statement(Statement::Write, keep).await?;
        batch.dead.iter().for_each(|dead| counts[usize::from(dead.entity.0)].dead += 1);
        Ok(())
    }

    /// Rule O1.
    pub(super) fn store_letter(
        &self,
        database: &mut Database,
        id: TransactionId,
        task: &TaskKey,
        held_id: HeldId,
        entry: &HeldEntry,
        source: Source,
    ) -> Result<(), Error> {
        let Some(row) = database.ledger(id, task).filter(|_| self.publishes) else { return Ok(()) };
        let mut row = row.clone();
        let seq = row.next_output(self.published.get(task).copied().unwrap_or(0));
        let headers = DeadLetter {
            task,
            id: held_id,
            entity: "",
            class: entry.kind.name(),
            stage: Stage::Write.name(),
            code: None,
            message: &entry.message,
            attempts: i64::from(entry.attempts),
            first_failed_at_ms: 0,
            dead_at_ms: 0,
            timestamp_ms: entry.timestamp_ms,
            source: &source,
            headers: &entry.headers,
        }
        .encode_headers();
        let writes = database.writes(id)?;
        writes.set_ledger(task, row);
        let (key, value) = (entry.key.clone(), entry.value.clone());
        writes.store_output(Output { task: task.clone(), seq, target: "dead".to_owned(), key, value, headers });
        Ok(())
    }

    /// The change of one record alone (rule B4).
    pub(super) fn change_of(&self, batch: &ChangeBatch, index: usize) -> Change {
        let record = &batch.records[index];
        let snapshot = self.snapshots[usize::from(record.entity.0)];
        change_of(&batch.arena, record, index as u32, &ReduceTable::new(self.table(record.entity), snapshot))
    }

    pub(super) async fn read_due(&mut self, claims: &[Claim], limit: usize) -> Result<Vec<HeldRow>, Error> {
        let mut connection = self.take_connection().await?;
        connection.begin()?;
        let now = self.target.clock.now_us();
        let read = |database: &mut Database, id: TransactionId| {
            let mut due = Vec::new();
            for claim in claims {
                let mut taken: BTreeSet<Place> = BTreeSet::new();
                for (held_id, entry) in database.held(id, &claim.task) {
                    if entry.state == HeldState::Dead {
                        continue;
                    }
                    let is_head = entry.places.iter().all(|place| !taken.contains(place));
                    let lacks_half = lacked_half(database, id, &claim.task, &entry);
                    taken.extend(entry.places);
                    if is_head && entry.retry_at_us <= now {
                        due.push((
                            entry.retry_at_us,
                            HeldRow {
                                task: claim.task.clone(),
                                id: held_id,
                                attempts: entry.attempts,
                                waiting_ms: (now.saturating_sub(entry.first_failed_us) / 1000) as i64,
                                lacks_half,
                                key: entry.key,
                                value: entry.value,
                                headers: entry.headers,
                                timestamp_ms: entry.timestamp_ms,
                            },
                        ));
                    }
                }
            }
            due.sort_by_key(|(retry_at_us, _)| *retry_at_us);
            due.truncate(limit);
            due.sort_by(|(_, a), (_, b)| (&a.task, a.id).cmp(&(&b.task, b.id)));
            Ok(due.into_iter().map(|(_, row)| row).collect())
        };
        let due = connection.statement(Statement::Read, read).await?;
        connection.rollback();
        self.connection = Some(connection);
        Ok(due)
    }

    /// See [`crate::sink::SinkWriter::postpone_held`].
    pub(super) async fn postpone(&mut self, rows: &[(TaskKey, HeldId)]) -> Result<(), Error> {
        let mut connection = self.take_connection().await?;
        let now = self.target.clock.now_us();
        let postpone = |database: &mut Database, _| {
            for row in rows {
                let entry = database.tables.held.get_mut(row);
                if let Some(entry) = entry.filter(|entry| entry.state != HeldState::Dead) {
                    entry.attempts += i32::from(entry.lacks_half.is_some());
                    entry.retry_at_us = retry_at_us(entry.attempts, now);
                }
            }
            Ok(())
        };
        connection.statement(Statement::Read, postpone).await?;
        self.connection = Some(connection);
        Ok(())
    }
}

fn retry_at_us(attempts: i32, now_us: u64) -> u64 {
    let wait = HELD_RETRY_FIRST.saturating_mul(1 << attempts.clamp(0, 8)).min(HELD_RETRY_MAX);
    now_us + wait.as_micros() as u64
}

/// The key change whose other half has left no word for this one.
fn lacked_half(database: &Database, id: TransactionId, task: &TaskKey, entry: &HeldEntry) -> Option<Arc<str>> {
    let own_word = entry.lacks_half.filter(|_| entry.state == HeldState::Parked)?;
    let waits_for = entry.waits_for.as_deref()?;
    let pair = Pair {
        pipeline: task.pipeline.clone(),
        direction: task.direction.clone(),
        table: entry.places.first()?.table.clone(),
        id: waits_for.strip_prefix(MOVE_PREFIX)?.to_owned(),
    };
    (database.word(id, &pair) == Some(own_word)).then(|| waits_for.into())
}

/// Which of the rows that one Kafka record maps to.
fn ordinal_of(batch: &ChangeBatch, index: usize) -> HeldId {
    let record = &batch.records[index];
    let is_same = |other: &&crate::record::Record| (other.slot, other.offset) == (record.slot, record.offset);
    let ordinal = batch.records[..index].iter().filter(is_same).count();
    HeldId { offset: record.offset, ordinal: ordinal as i32 }
}

fn entry_of(
    batch: &ChangeBatch,
    index: usize,
    state: HeldState,
    error: &Error,
    places: Vec<Place>,
    attempts: i32,
    now_us: u64,
) -> HeldEntry {
    let raw = batch.records[index].raw;
    let bytes = |span: Option<_>| span.map(|span| batch.arena.bytes(span).to_vec());
    HeldEntry {
        state,
        kind: error.kind,
        message: error.to_string(),
        places,
        waits_for: None,
        lacks_half: None,
        first_failed_us: now_us,
        attempts,
        retry_at_us: retry_at_us(attempts, now_us),
        key: bytes(raw.key),
        value: bytes(raw.value),
        headers: bytes(raw.headers).unwrap_or_default(),
        timestamp_ms: raw.timestamp_ms,
    }
}
