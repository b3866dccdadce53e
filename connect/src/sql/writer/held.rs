//! What one transaction holds (rules H, E3): which changes queue behind a held key, which records are parked or dead.
//! What its changes mean for records that are dead already: `overtaken`.
//!
//! The lane's memory changes only after COMMIT ([`Holding::settle`]), so a batch that is rolled back leaves no trace.

use std::collections::{HashMap, HashSet};
use std::sync::Arc;

use topology::batch::{Change, ChangeBatch, ChangeKind};
use topology::ledger::TaskKey;
use topology::moves::{self, Halves};
use topology::record::Operation;
use topology::{Error, ErrorKind};

use super::SinkTable;
use super::held_keys::{HeldKeys, may_be_passed};
use super::moves::{ParkedHalf, pair_of};
use super::overtaken::{hashes, touched};
use super::rows::{ROW_MISSING, WAITS_FOR_ROW};
use super::tables::{EntityTable, parent_name};
use super::told::Told;
use crate::sql::error::SqlError;
use crate::sql::statements::QUEUED_DELETE;

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
pub(crate) struct HeldRecord {
    pub(crate) record: usize,
    pub(crate) entity: usize,
    pub(crate) state: HeldState,
    pub(crate) key_hash: Option<u64>,
    pub(crate) kind: ErrorKind,
    pub(crate) stage: &'static str,
    pub(crate) code: Option<String>,
    pub(crate) message: String,
    pub(crate) waits_for: Option<Arc<str>>,
    /// Hash of the parent's key, where it is known.
    pub(crate) waits_for_key: Option<u64>,
}

/// A record that failed by itself.
pub(crate) struct Failed<'a> {
    pub(crate) entity: usize,
    pub(crate) record: usize,
    pub(crate) change: &'a Change,
    pub(crate) error: SqlError,
    /// What half a key change waits for, unless it waits for another table.
    pub(crate) half: Option<Arc<str>>,
    /// It has no other try.
    pub(crate) is_dead: bool,
}

/// A key that a later change was written of.
pub(crate) struct Overtaken {
    /// Span and key hash.
    pub(crate) key: (usize, u64),
    /// Of the change.
    pub(crate) offset: i64,
    /// Nothing of what was before is left.
    pub(crate) is_full: bool,
}

/// A waiting row that is gone: applied, or dead.
pub(crate) struct Removed {
    pub(crate) span: usize,
    pub(crate) key_hash: Option<u64>,
    /// Index in the batch's records.
    pub(crate) record: usize,
    pub(crate) is_dead: bool,
}

/// Rows of a key that became history because a delete behind them vacates it.
#[derive(Default)]
pub(crate) struct Skipped {
    pub(crate) span: usize,
    pub(crate) entity: usize,
    pub(crate) key_hash: u64,
    pub(crate) waiting: u32,
    /// Of the waiting ones.
    pub(crate) bytes: u64,
    pub(crate) dead: u32,
}

/// What one transaction does to held rows.
#[derive(Default)]
pub(crate) struct Holding {
    pub(crate) rows: Vec<HeldRecord>,
    /// (span, key hash) that got a waiting row in this transaction.
    added: HashSet<(usize, u64)>,
    /// By (span, key hash) the offset of the last full image that passed: older held rows of the key are history (rule H4).
    pub(crate) passed: HashMap<(usize, u64), i64>,
    /// Other changes that were written of keys with dead records: those are overtaken, what waits is not (rule H4).
    pub(crate) overtaken: Vec<Overtaken>,
    /// (span, key hash) and offset of held rows that were applied before earlier ones of their key, which are history.
    pub(crate) outrun: Vec<((usize, u64), i64)>,
    /// Span, entity and offset of truncates.
    pub(crate) truncated: Vec<(usize, usize, i64)>,
    /// Waiting rows that are gone.
    pub(crate) removed: Vec<Removed>,
    /// Rows that became history in their turn.
    pub(crate) skipped: Vec<Skipped>,
    /// What is to be said of failures when the transaction is committed.
    pub(crate) told: Vec<Told>,
    /// By (span, key hash) the offset of the last record of the key that is dead in this transaction.
    pub(crate) dead: HashMap<(usize, u64), i64>,
    /// Spans in which rows of keys became history by statement: their keys are to be read again.
    pub(crate) stale: HashSet<usize>,
}

pub(crate) fn span_index(batch: &ChangeBatch, record: usize) -> usize {
    usize::from(batch.span_of_slot[usize::from(batch.records[record].slot.0)])
}

fn keys_of<'a>(held: &'a mut HashMap<TaskKey, HeldKeys>, batch: &ChangeBatch, span: usize) -> &'a mut HeldKeys {
    held.entry(batch.spans[span].task.clone()).or_default()
}

pub(crate) fn is_full(kind: ChangeKind) -> bool {
    matches!(kind, ChangeKind::Upsert | ChangeKind::Replace | ChangeKind::Delete)
}

impl Holding {
    pub(crate) fn is_empty(&self) -> bool {
        self.rows.is_empty()
    }

    /// True when a key waits in the task of this record.
    fn is_held(
        &self,
        held: &HashMap<TaskKey, HeldKeys>,
        batch: &ChangeBatch,
        record: usize,
        hash: Option<u64>,
        is_full: bool,
    ) -> bool {
        let (span, Some(hash)) = (span_index(batch, record), hash) else { return false };
        if self.added.contains(&(span, hash)) {
            return true;
        }
        // What a full image of this transaction passed is history.
        let known = held.get(&batch.spans[span].task).filter(|_| !self.passed.contains_key(&(span, hash)));
        known.and_then(|keys| keys.get(hash)).is_some_and(|state| state.holds(is_full))
    }

    /// True for both halves of a key change when one of the keys waits. Each key is held in its own task, where the other key's changes are
    /// not known: the halves come apart again, the free one is parked and meets the other when that is released (rule B5).
    pub(crate) fn comes_apart(
        &self,
        held: &HashMap<TaskKey, HeldKeys>,
        table: &EntityTable,
        batch: &ChangeBatch,
        change: &Change,
    ) -> bool {
        if change.kind != ChangeKind::Move || batch.halves(change) != Halves::Both {
            return false;
        }
        let mut records = batch.records_of(change).take(2);
        records.any(|record| {
            let hash = table.key_hash(&batch.arena, batch.records[record].key);
            self.is_held(held, batch, record, hash, false)
        })
    }

    /// Queues all records of a change whose key waits (rule H3). True when it did. Not for changes that come apart.
    pub(crate) fn queue_if_held(
        &mut self,
        held: &HashMap<TaskKey, HeldKeys>,
        table: &EntityTable,
        batch: &ChangeBatch,
        entity: usize,
        change: &Change,
    ) -> bool {
        let key_hash = table.key_hash(&batch.arena, change.key);
        if !self.is_held(held, batch, change.first_record as usize, key_hash, is_full(change.kind)) {
            return false;
        }
        let mut half = pair_of(batch, change).map(|pair| moves::waits_for(&pair).into());
        for record in batch.records_of(change) {
            self.queue(batch, entity, record, key_hash, half.take());
        }
        true
    }

    /// `half`: what half a key change waits for, when its turn comes.
    fn queue(
        &mut self,
        batch: &ChangeBatch,
        entity: usize,
        record: usize,
        key_hash: Option<u64>,
        half: Option<Arc<str>>,
    ) {
        self.added.extend(key_hash.map(|hash| (span_index(batch, record), hash)));
        let is_delete = batch.records[record].operation == Operation::Delete;
        self.rows.push(HeldRecord {
            record,
            entity,
            state: HeldState::Queued,
            key_hash,
            kind: ErrorKind::Dependency,
            stage: "write",
            code: None,
            message: "waits behind an earlier change of its key".to_owned(),
            waits_for: half.or_else(|| is_delete.then(|| QUEUED_DELETE.into())),
            waits_for_key: None,
        });
    }

    /// A truncate takes what waits for the table, also what this transaction has only held so far.
    pub(crate) fn forget_waiting(&mut self, batch: &ChangeBatch, entity: usize) {
        let Holding { rows, added, .. } = self;
        rows.retain(|row| {
            let stays = row.entity != entity || row.state == HeldState::Dead;
            if let (false, Some(hash)) = (stays, row.key_hash) {
                added.remove(&(span_index(batch, row.record), hash));
            }
            stays
        });
    }

    /// Parks half a key change until its other half comes (rule B5); what was merged into it queues behind.
    pub(crate) fn park_half(&mut self, table: &EntityTable, batch: &ChangeBatch, entity: usize, half: ParkedHalf) {
        let ParkedHalf { change, waits_for, error } = half;
        let key_hash = table.key_hash(&batch.arena, change.key);
        let span = span_index(batch, change.first_record as usize);
        self.added.extend(key_hash.map(|hash| (span, hash)));
        let mut records = batch.records_of(&change);
        self.rows.extend(records.next().map(|record| HeldRecord {
            record,
            entity,
            state: HeldState::Parked,
            key_hash,
            kind: error.error.kind,
            stage: error.error.stage.name(),
            message: message(&error.error),
            code: error.error.code,
            waits_for: Some(waits_for),
            waits_for_key: None,
        }));
        for record in records {
            self.queue(batch, entity, record, key_hash, None);
        }
    }

    /// Holds one record that failed: parked or dead by its kind.
    pub(crate) fn hold(&mut self, table: &EntityTable, batch: &ChangeBatch, failed: Failed<'_>) {
        let Failed { entity, record, change, error, half, is_dead } = failed;
        let state = if is_dead { HeldState::Dead } else { HeldState::Parked };
        let key_hash = table.key_hash(&batch.arena, change.key);
        let key = key_hash.map(|hash| (span_index(batch, record), hash));
        if state == HeldState::Parked {
            self.added.extend(key);
        } else {
            self.note_dead(key, batch.records[record].offset);
        }
        let waits_for = waits_for(table, change, &error, half);
        let waits_for_key = table.parent_key_hash(&batch.arena, change, &error);
        self.rows.push(HeldRecord {
            record,
            entity,
            state,
            key_hash,
            kind: error.error.kind,
            stage: error.error.stage.name(),
            message: message(&error.error),
            code: error.error.code,
            waits_for,
            waits_for_key,
        });
    }

    /// Notes a record that is dead in this transaction, by (span, key hash).
    pub(crate) fn note_dead(&mut self, key: Option<(usize, u64)>, offset: i64) {
        if let Some(key) = key {
            let last = self.dead.entry(key).or_default();
            *last = offset.max(*last);
        }
    }

    /// Notes a written change of keys with held or dead rows (rule H4).
    pub(crate) fn note_passed(
        &mut self,
        held: &HashMap<TaskKey, HeldKeys>,
        table: &EntityTable,
        batch: &ChangeBatch,
        change: &Change,
    ) {
        for touched in touched(batch, change).into_iter().flatten() {
            let (span, offset) = (span_index(batch, touched.record), batch.records[touched.record].offset);
            let keys = held.get(&batch.spans[span].task).filter(|keys| !keys.is_empty());
            if keys.is_none() && self.dead.is_empty() {
                continue;
            }
            let hashes = hashes(table, batch, &touched);
            // What is held in this transaction was not written.
            if hashes[0].is_some_and(|mapped| self.added.contains(&(span, mapped))) {
                continue;
            }
            for hash in hashes.into_iter().flatten() {
                let key = (span, hash);
                if keys.is_none_or(|keys| keys.get(hash).is_none()) && !self.dead.contains_key(&key) {
                    continue;
                }
                if touched.is_full {
                    let last = self.passed.entry(key).or_insert(offset);
                    *last = offset.max(*last);
                } else {
                    self.overtaken.push(Overtaken { key, offset, is_full: false });
                }
            }
        }
    }

    /// Notes a held row that is applied: dead records of its keys from before it are overtaken too. What waits behind it is not.
    pub(crate) fn note_released(
        &mut self,
        held: &HashMap<TaskKey, HeldKeys>,
        table: &EntityTable,
        batch: &ChangeBatch,
        change: &Change,
    ) {
        for touched in touched(batch, change).into_iter().flatten() {
            let (span, offset) = (span_index(batch, touched.record), batch.records[touched.record].offset);
            let keys = held.get(&batch.spans[span].task);
            for hash in hashes(table, batch, &touched).into_iter().flatten() {
                let died =
                    self.removed.iter().any(|gone| gone.is_dead && (gone.span, gone.key_hash) == (span, Some(hash)));
                // Those that could not be read again are marked as dead at the end.
                if died || !batch.dead.is_empty() || keys.is_some_and(|keys| keys.has_dead(hash)) {
                    self.overtaken.push(Overtaken { key: (span, hash), offset, is_full: touched.is_full });
                    self.stale.insert(span);
                }
            }
        }
    }

    /// Spans of the records that are dead for a reason that the target gave, one entry per record.
    pub(crate) fn dead_spans<'a>(&'a self, batch: &'a ChangeBatch) -> impl Iterator<Item = usize> + 'a {
        let dead = self.rows.iter().filter(|row| row.state == HeldState::Dead);
        dead.map(|row| span_index(batch, row.record))
    }

    /// Brings the lane's memory up to date and tells what failed; after COMMIT only.
    pub(crate) fn settle(self, held: &mut HashMap<TaskKey, HeldKeys>, batch: &ChangeBatch, tables: &[SinkTable]) {
        self.told.iter().for_each(|told| told.tell(batch));
        for (span, hash) in self.passed.keys() {
            keys_of(held, batch, *span).forget(*hash);
        }
        for skipped in &self.skipped {
            let entity = &tables[skipped.entity].table.name;
            keys_of(held, batch, skipped.span).skip(skipped, entity);
        }
        for gone in &self.removed {
            let keys = keys_of(held, batch, gone.span);
            let record = &batch.records[gone.record];
            keys.remove(gone.key_hash, &tables[usize::from(record.entity.0)].table.name, bytes_of(batch, gone.record));
            if gone.is_dead {
                keys.add_dead(gone.key_hash);
            }
        }
        for (key, offset) in &self.dead {
            if self.passed.get(key).is_none_or(|passed| passed < offset) {
                keys_of(held, batch, key.0).add_dead(Some(key.1));
            }
        }
        for row in self.rows.iter().filter(|row| row.state != HeldState::Dead) {
            let keys = keys_of(held, batch, span_index(batch, row.record));
            let passable = may_be_passed(row.state == HeldState::Queued, row.waits_for.as_deref());
            keys.add(row.key_hash, passable, &tables[row.entity].table.name, bytes_of(batch, row.record));
        }
    }
}

/// What a held record counts for (rule H5).
pub(crate) fn bytes_of(batch: &ChangeBatch, record: usize) -> u64 {
    batch.records[record].raw.value.map_or(0, |span| batch.arena.bytes(span).len() as u64)
}

/// The text kept with a held row: what failed, for what, and what the server said; never values of rows.
pub(crate) fn message(error: &Error) -> String {
    error.to_string()
}

/// Name of the table that has to change first, as far as it is known: the parent's, or that of children that are in the way. `half`: of half
/// a key change, what its other half wakes; a delete half always keeps that, for rule A6 knows it by it.
pub(crate) fn waits_for(
    table: &EntityTable,
    change: &Change,
    error: &SqlError,
    half: Option<Arc<str>>,
) -> Option<Arc<str>> {
    if change.kind == ChangeKind::MoveKey && half.is_some() {
        return half;
    }
    if error.error.code.as_deref() == Some(ROW_MISSING) {
        return Some(WAITS_FOR_ROW.into());
    }
    let keys = &table.plan.description.foreign_keys;
    let own = error.constraint.as_ref().and_then(|name| keys.iter().find(|key| key.name == *name));
    own.map(|key| &key.parent).or(error.other_table.as_ref()).map(|name| parent_name(name)).or(half)
}
