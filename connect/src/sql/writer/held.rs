//! What one transaction holds (rules H, E3): which changes queue behind a held key, which records are parked or dead.
//!
//! The lane's memory changes only after COMMIT ([`Holding::settle`]), so a batch that is rolled back leaves no trace.

use std::collections::{HashMap, HashSet};
use std::sync::Arc;

use topology::batch::{Change, ChangeBatch, ChangeKind};
use topology::ledger::TaskKey;
use topology::moves::{self, Halves};
use topology::record::Operation;
use topology::{Error, ErrorKind};

use super::held_keys::{HeldKeys, QUEUED_DELETE, may_be_passed};
use super::moves::{HALF_WAITS, pair_of};
use super::rows::{ROW_MISSING, WAITS_FOR_ROW};
use super::tables::{EntityTable, parent_name};
use crate::sql::error::SqlError;

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
}

/// What one transaction does to held rows.
#[derive(Default)]
pub(crate) struct Holding {
    pub(crate) rows: Vec<HeldRecord>,
    /// (span, key hash) that got a waiting row in this transaction.
    added: HashSet<(usize, u64)>,
    /// By (span, key hash) the offset of the last full image that passed: older held rows of the key are history (rule H4).
    pub(crate) passed: HashMap<(usize, u64), i64>,
    /// Waiting rows that are gone, by span and key hash: applied, or dead (`true`).
    pub(crate) removed: Vec<(usize, Option<u64>, bool)>,
    /// By (span, key hash) the offset of the last record of the key that is dead in this transaction.
    pub(crate) dead: HashMap<(usize, u64), i64>,
    /// Rows of keys were dropped by statement, as when a table was emptied: the keys are to be read again.
    pub(crate) is_stale: bool,
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
        let key_hash = table.key_hash(&batch.arena, change.key);
        let span = span_index(batch, change.first_record as usize);
        self.added.extend(key_hash.map(|hash| (span, hash)));
        let mut records = batch.records_of(change);
        self.rows.extend(records.next().map(|record| HeldRecord {
            record,
            entity,
            state: HeldState::Parked,
            key_hash,
            kind: ErrorKind::Dependency,
            stage: "write",
            code: Some(HALF_WAITS.to_owned()),
            message: "the other half of the key change has not come yet".to_owned(),
            waits_for: Some(waits_for),
        }));
        for record in records {
            self.queue(batch, entity, record, key_hash, None);
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
        let key_hash = table.key_hash(&batch.arena, change.key);
        let key = key_hash.map(|hash| (span_index(batch, record), hash));
        if state == HeldState::Parked {
            self.added.extend(key);
        } else {
            self.note_dead(key, batch.records[record].offset);
        }
        let waits_for = half.or_else(|| waits_for(table, &error));
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
        });
    }

    /// Notes a record that is dead in this transaction, by (span, key hash).
    pub(crate) fn note_dead(&mut self, key: Option<(usize, u64)>, offset: i64) {
        if let Some(key) = key {
            let last = self.dead.entry(key).or_default();
            *last = offset.max(*last);
        }
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
        let keys = held.get(&batch.spans[span].task).filter(|keys| !keys.is_empty());
        if keys.is_none() && self.dead.is_empty() {
            return;
        }
        let Some(hash) = table.key_hash(&batch.arena, change.key) else { return };
        if keys.is_some_and(|keys| keys.get(hash).is_some()) || self.dead.contains_key(&(span, hash)) {
            self.passed.insert((span, hash), batch.records[change.last_record as usize].offset);
        }
    }

    /// Spans of the records that are dead for a reason that the target gave, one entry per record.
    pub(crate) fn dead_spans<'a>(&'a self, batch: &'a ChangeBatch) -> impl Iterator<Item = usize> + 'a {
        let dead = self.rows.iter().filter(|row| row.state == HeldState::Dead);
        dead.map(|row| span_index(batch, row.record))
    }

    /// Brings the lane's memory up to date; after COMMIT only.
    pub(crate) fn settle(self, held: &mut HashMap<TaskKey, HeldKeys>, batch: &ChangeBatch) {
        for (span, hash) in self.passed.keys() {
            keys_of(held, batch, *span).forget(*hash);
        }
        for (span, hash, dead) in &self.removed {
            let keys = keys_of(held, batch, *span);
            keys.remove(*hash);
            if *dead {
                keys.add_dead(*hash);
            }
        }
        for (key, offset) in &self.dead {
            if self.passed.get(key).is_none_or(|passed| passed < offset) {
                keys_of(held, batch, key.0).add_dead(Some(key.1));
            }
        }
        for row in self.rows.iter().filter(|row| row.state != HeldState::Dead) {
            let keys = keys_of(held, batch, span_index(batch, row.record));
            keys.add(row.key_hash, may_be_passed(row.state == HeldState::Queued, row.waits_for.as_deref()));
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
