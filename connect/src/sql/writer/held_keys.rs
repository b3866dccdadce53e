//! Which keys of a task wait (rules H3, H4), as a lane remembers it. The table is the truth: it is read at a claim, and again when the two
//! are seen to differ, as after an operator's `discard`.
//!
//! Keys are remembered by hash: a collision of two keys only makes one wait for the other.

use std::collections::HashMap;

use topology::batch::{Change, ChangeBatch, ChangeKind};
use topology::data::{CellRange, Value};
use topology::ledger::TaskKey;
use topology::moves::Halves;

use super::SqlWriter;
use super::claim::task_values;
use super::rows::WAITS_FOR_ROW;
use super::tables::EntityTable;
use crate::sql::connection::SqlConnection;
use crate::sql::error::SqlResult;
use crate::sql::statements::Statements;

/// `retry_at_ms` of a row that waits behind another one.
pub(crate) const NOT_DUE: i64 = i64::MAX;

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

/// What the lane remembers of one key.
#[derive(Clone, Copy, Debug, Default)]
pub(crate) struct KeyState {
    /// Parked and queued rows.
    pub(crate) waiting: u32,
    /// All of them only wait for their own row: a later full image may pass and make them history.
    pub(crate) waits_for_row: bool,
    /// Dead rows (rule H4).
    dead: u32,
}

/// Held and dead keys of one task.
#[derive(Clone, Debug, Default)]
pub(crate) struct HeldKeys {
    keys: HashMap<u64, KeyState>,
    /// Waiting rows, for comparing with the table.
    rows: u64,
}

impl HeldKeys {
    /// Reads a task's keys. Rows that wait behind nothing, because what they waited for was discarded, become due.
    pub(crate) async fn load(
        session: &mut dyn SqlConnection,
        statements: &Statements,
        task: &TaskKey,
    ) -> SqlResult<HeldKeys> {
        let task = task_values(task);
        let mut held = HeldKeys::default();
        for row in &session.query(&statements.held_keys, &task).await? {
            let [key, other, Value::Text(state), waits_for, Value::I64(retry_at)] = row.as_slice() else { continue };
            let hash = |value: &Value| match value {
                Value::I64(hash) => Some(hash.cast_unsigned()),
                _ => None,
            };
            let hashes = Hashes { key: hash(key), other: hash(other) };
            if state == "queued" && *retry_at == NOT_DUE && hashes.iter().all(|hash| held.waiting(hash) == 0) {
                for hash in hashes.iter().map(|hash| Value::I64(hash.cast_signed())) {
                    let values: Vec<Value> = task.iter().cloned().chain([hash.clone(), hash]).collect();
                    session.execute(&statements.held_retry_followers, &values).await?;
                }
            }
            let by_row = state == "queued" || matches!(waits_for, Value::Text(text) if text == WAITS_FOR_ROW);
            held.add(hashes, state == "dead", by_row);
        }
        Ok(held)
    }

    /// One more row; `by_row`: it waits for its own row, or behind others.
    pub(crate) fn add(&mut self, hashes: Hashes, dead: bool, by_row: bool) {
        self.rows += u64::from(!dead);
        for hash in hashes.iter() {
            let state = self.keys.entry(hash).or_default();
            if dead {
                state.dead += 1;
            } else {
                state.waits_for_row = by_row && (state.waits_for_row || state.waiting == 0);
                state.waiting += 1;
            }
        }
    }

    /// A waiting row is applied or dead.
    pub(crate) fn remove(&mut self, hashes: Hashes) {
        self.rows = self.rows.saturating_sub(1);
        for hash in hashes.iter() {
            if let Some(state) = self.keys.get_mut(&hash) {
                state.waiting = state.waiting.saturating_sub(1);
                if state.waiting == 0 && state.dead == 0 {
                    self.keys.remove(&hash);
                }
            }
        }
    }

    /// All rows of the key are history.
    pub(crate) fn forget(&mut self, hash: u64) {
        if let Some(state) = self.keys.remove(&hash) {
            self.rows = self.rows.saturating_sub(u64::from(state.waiting));
        }
    }

    /// True when nothing is held: the hot path then asks no more.
    pub(crate) fn is_empty(&self) -> bool {
        self.keys.is_empty()
    }

    /// What is known of a key.
    pub(crate) fn get(&self, hash: u64) -> Option<KeyState> {
        self.keys.get(&hash).copied()
    }

    pub(crate) fn waiting(&self, hash: u64) -> u32 {
        self.get(hash).map_or(0, |state| state.waiting)
    }
}

impl SqlWriter {
    /// True when any task has held or dead keys.
    pub(super) fn holds_any(&self) -> bool {
        self.held.values().any(|keys| !keys.is_empty())
    }

    /// Waiting rows of some tasks, as remembered.
    pub(super) fn remembered<'a>(&self, tasks: impl Iterator<Item = &'a TaskKey>) -> u64 {
        tasks.filter_map(|task| self.held.get(task)).map(|keys| keys.rows).sum()
    }

    /// Reads the keys of these tasks again.
    pub(super) async fn reload_held(&mut self, tasks: Vec<TaskKey>) -> SqlResult<()> {
        for task in tasks {
            let session = self.session.as_deref_mut().expect("enter() opened a session");
            let keys = HeldKeys::load(session, &self.statements, &task).await?;
            self.held.insert(task, keys);
        }
        Ok(())
    }
}
