//! Which keys of a task wait (rules H3, H4), as a lane remembers it. The table is the truth: it is read at a claim, and again when the two
//! are seen to differ, as after an operator's `discard`.
//!
//! Keys are remembered by hash: a collision of two keys only makes one wait for the other. A record that died before its key was mapped is
//! remembered by the hash of its raw key.

use std::collections::HashMap;
use std::sync::Arc;

use topology::data::Value;
use topology::ledger::TaskKey;

use super::SqlWriter;
use super::claim::task_values;
use super::held::Skipped;
use super::rows::WAITS_FOR_ROW;
use crate::sql::connection::SqlConnection;
use crate::sql::error::SqlResult;
use crate::sql::statements::{NOT_DUE, QUEUED_DELETE, Statements};

/// What the lane remembers of one key.
#[derive(Clone, Copy, Debug, Default)]
pub(crate) struct KeyState {
    /// Parked and queued rows.
    pub(crate) waiting: u32,
    /// One of them may not be passed ([`may_be_passed`]). Stays until none waits: too much waiting is safe.
    blocks: bool,
    /// Dead rows (rule H4).
    dead: u32,
    /// Bytes of the waiting rows.
    bytes: u64,
    /// Index of its table's room.
    room: usize,
}

impl KeyState {
    /// True when a later change of the key must queue. A full image may pass if that makes all that waits history.
    pub(crate) fn holds(self, is_full: bool) -> bool {
        self.waiting > 0 && (self.blocks || !is_full)
    }
}

/// True for a waiting row that a later full image of its key may make history: it waits for its own row only, or behind such a one, or is
/// a dead one that is to be tried again. Half a key change is never passed: what its other half does would come after the image (rule B5).
pub(crate) fn may_be_passed(is_queued: bool, waits_for: Option<&str>) -> bool {
    match waits_for {
        None => is_queued,
        Some(name) => name == WAITS_FOR_ROW || (is_queued && name == QUEUED_DELETE),
    }
}

/// How much of one entity waits in one task (rule H5).
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct Room {
    entity: Arc<str>,
    /// Parked and queued rows.
    pub(crate) rows: u64,
    /// Bytes of their records' values.
    pub(crate) bytes: u64,
}

/// Held and dead keys of one task.
#[derive(Clone, Debug, Default)]
pub(crate) struct HeldKeys {
    keys: HashMap<u64, KeyState>,
    /// Waiting rows, for comparing with the table.
    rows: u64,
    /// By entity; few.
    rooms: Vec<Room>,
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
            let [key, Value::Text(state), waits_for, Value::I64(retry_at), Value::Text(entity), Value::I64(bytes)] =
                row.as_slice()
            else {
                continue;
            };
            let hash = if let Value::I64(key) = key { Some(key.cast_unsigned()) } else { None };
            if state == "dead" {
                held.add_dead(hash);
                continue;
            }
            let is_queued = state != "parked";
            if let Some(hash) = hash
                && is_queued
                && *retry_at == NOT_DUE
                && held.waiting(hash) == 0
            {
                let values: Vec<Value> = task.iter().cloned().chain([key.clone()]).collect();
                session.execute(&statements.held_retry_followers, &values).await?;
            }
            let waits_for = if let Value::Text(name) = waits_for { Some(name.as_str()) } else { None };
            held.add(hash, may_be_passed(is_queued, waits_for), entity, bytes.unsigned_abs());
        }
        Ok(held)
    }

    fn room_index(&mut self, entity: &str) -> usize {
        self.rooms.iter().position(|room| *room.entity == *entity).unwrap_or_else(|| {
            self.rooms.push(Room { entity: entity.into(), rows: 0, bytes: 0 });
            self.rooms.len() - 1
        })
    }

    /// One more waiting row, of a table without keys if there is no hash; see [`may_be_passed`].
    pub(crate) fn add(&mut self, hash: Option<u64>, may_be_passed: bool, entity: &str, bytes: u64) {
        self.rows += 1;
        let index = self.room_index(entity);
        let room = &mut self.rooms[index];
        room.rows += 1;
        room.bytes += bytes;
        let Some(hash) = hash else { return };
        let state = self.keys.entry(hash).or_default();
        state.waiting += 1;
        state.blocks |= !may_be_passed;
        state.bytes += bytes;
        state.room = index;
    }

    /// One more dead row.
    pub(crate) fn add_dead(&mut self, hash: Option<u64>) {
        if let Some(hash) = hash {
            self.keys.entry(hash).or_default().dead += 1;
        }
    }

    /// A waiting row is applied or dead.
    pub(crate) fn remove(&mut self, hash: Option<u64>, entity: &str, bytes: u64) {
        self.rows = self.rows.saturating_sub(1);
        let index = self.room_index(entity);
        self.leave_room(index, 1, bytes);
        let Some((hash, state)) = hash.and_then(|hash| Some((hash, self.keys.get_mut(&hash)?))) else { return };
        state.waiting = state.waiting.saturating_sub(1);
        state.bytes = state.bytes.saturating_sub(bytes);
        if state.waiting == 0 {
            state.blocks = false;
            if state.dead == 0 {
                self.keys.remove(&hash);
            }
        }
    }

    /// Rows of a key became history, not all of them.
    pub(crate) fn skip(&mut self, skipped: &Skipped, entity: &str) {
        self.rows = self.rows.saturating_sub(skipped.waiting.into());
        let index = self.room_index(entity);
        self.leave_room(index, skipped.waiting.into(), skipped.bytes);
        let Some(state) = self.keys.get_mut(&skipped.key_hash) else { return };
        state.waiting = state.waiting.saturating_sub(skipped.waiting);
        state.bytes = state.bytes.saturating_sub(skipped.bytes);
        state.dead = state.dead.saturating_sub(skipped.dead);
        state.blocks &= state.waiting > 0;
        if state.waiting == 0 && state.dead == 0 {
            self.keys.remove(&skipped.key_hash);
        }
    }

    fn leave_room(&mut self, index: usize, rows: u64, bytes: u64) {
        if let Some(room) = self.rooms.get_mut(index) {
            room.rows = room.rows.saturating_sub(rows);
            room.bytes = room.bytes.saturating_sub(bytes);
        }
    }

    /// All rows of the key are history.
    pub(crate) fn forget(&mut self, hash: u64) {
        if let Some(state) = self.keys.remove(&hash) {
            let waiting = u64::from(state.waiting);
            self.rows = self.rows.saturating_sub(waiting);
            if waiting > 0 {
                self.leave_room(state.room, waiting, state.bytes);
            }
        }
    }

    /// How much of an entity waits.
    pub(crate) fn room(&self, entity: &str) -> Option<&Room> {
        self.rooms.iter().find(|room| *room.entity == *entity)
    }

    /// True when the key has dead rows.
    pub(crate) fn has_dead(&self, hash: u64) -> bool {
        self.keys.get(&hash).is_some_and(|state| state.dead > 0)
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

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn rooms_follow_what_waits() {
        let mut held = HeldKeys::default();
        held.add(Some(1), false, "posts", 10);
        held.add(Some(1), true, "posts", 20);
        held.add(None, false, "log", 5);
        let room = |held: &HeldKeys, entity| held.room(entity).map(|room| (room.rows, room.bytes));
        assert_eq!(
            (room(&held, "posts"), room(&held, "log"), room(&held, "users")),
            (Some((2, 30)), Some((1, 5)), None)
        );
        held.remove(Some(1), "posts", 10);
        held.remove(None, "log", 5);
        assert_eq!((room(&held, "posts"), room(&held, "log"), held.rows), (Some((1, 20)), Some((0, 0)), 1));
        held.forget(1);
        assert_eq!((room(&held, "posts"), held.rows), (Some((0, 0)), 0));
        assert!(held.is_empty());
    }

    #[test]
    fn what_is_skipped_leaves_room_and_what_is_behind_it_waits_on() {
        let mut held = HeldKeys::default();
        for bytes in [10, 20, 40] {
            held.add(Some(1), false, "posts", bytes);
        }
        held.add_dead(Some(1));
        held.skip(&Skipped { key_hash: 1, waiting: 2, bytes: 30, dead: 1, ..Skipped::default() }, "posts");
        assert_eq!(held.room("posts").map(|room| (room.rows, room.bytes)), Some((1, 40)));
        assert_eq!((held.rows, held.waiting(1), held.has_dead(1)), (1, 1, false));
        assert!(held.get(1).is_some_and(|state| state.holds(true)));
        held.skip(&Skipped { key_hash: 1, waiting: 1, bytes: 40, ..Skipped::default() }, "posts");
        assert!(held.is_empty());
    }

    #[test]
    fn a_key_stays_known_while_it_has_dead_rows() {
        let mut held = HeldKeys::default();
        held.add_dead(Some(7));
        held.add(Some(7), true, "users", 1);
        held.remove(Some(7), "users", 1);
        assert!(held.has_dead(7) && held.waiting(7) == 0);
        held.forget(7);
        assert!(!held.has_dead(7));
    }
}
