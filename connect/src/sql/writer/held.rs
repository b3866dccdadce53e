//! What one transaction holds (rules H, E3): which changes queue behind a held key, which records are parked or dead.
//!
//! The lane's memory changes only after COMMIT ([`Holding::settle`]), so a batch that is rolled back leaves no trace.

use std::collections::{HashMap, HashSet};
use std::sync::Arc;

use topology::batch::{Change, ChangeBatch, ChangeKind};
use topology::ledger::TaskKey;
use topology::{Error, ErrorKind};

use super::held_keys::{Hashes, HeldKeys};
use super::moves::HALF_WAITS;
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
    pub(crate) hashes: Hashes,
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
    /// (span, key hash, offset): a full image passed; older held rows of the key are history (rule H4).
    pub(crate) passed: Vec<(usize, u64, i64)>,
    /// Waiting rows that are gone, by span: applied, or dead (`true`).
    pub(crate) removed: Vec<(usize, Hashes, bool)>,
    /// Keys of records that were dead before they came here, by span.
    pub(crate) died: Vec<(usize, Hashes)>,
    /// A table was emptied, and with it what waited for it: the keys are to be read again.
    pub(crate) truncated: bool,
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
            let state = known.and_then(|keys| keys.get(hash)).unwrap_or_default();
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
        if keys.get(hash).is_some() {
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
            keys_of(held, batch, *span).forget(*hash);
        }
        for (span, hashes, dead) in &self.removed {
            let keys = keys_of(held, batch, *span);
            keys.remove(*hashes);
            if *dead {
                keys.add(*hashes, true, false);
            }
        }
        for (span, hashes) in &self.died {
            keys_of(held, batch, *span).add(*hashes, true, false);
        }
        for row in &self.rows {
            let keys = keys_of(held, batch, span_index(batch, row.record));
            let by_row = row.state == HeldState::Queued || row.waits_for.as_deref() == Some(WAITS_FOR_ROW);
            keys.add(row.hashes, row.state == HeldState::Dead, by_row);
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
