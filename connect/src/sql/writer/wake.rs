//! Wake-ups (rule H2): held rows whose reason may be gone are tried at once instead of when their delay is over.
//!
//! What waits for a row of another table is told from what waits for another row of it by the hash of the key, where both sides know it
//! ([`EntityTable::wake_hash`](super::tables::EntityTable::wake_hash)). Keys that are equal and have different hashes cost a delay, and
//! different ones that have equal hashes a try.

use std::collections::{HashMap, HashSet};
use std::sync::Arc;
use std::time::{Duration, Instant};

use topology::batch::{Change, ChangeBatch, ChangeKind};
use topology::data::Value;

use super::SqlWriter;
use super::tables::EntityTable;
use crate::sql::error::SqlResult;
use crate::sql::statements::wake_text;

/// How long after a batch wake-ups may be summed up.
const WAKE_INTERVAL: Duration = Duration::from_millis(200);

/// So many keys are remembered between two wake-ups; then all that waits for the table is woken.
const KEYS_MAX: usize = 100_000;

/// Keys in one statement. A power of two below makes up the rest, so that few statements are prepared.
const KEYS_AT_ONCE: usize = 128;

/// What may be written now that a table has changed.
#[derive(Debug, Default)]
pub(crate) struct Woken {
    /// Everything that waits for the table.
    all: bool,
    /// [`EntityTable::wake_hash`](super::tables::EntityTable::wake_hash) of rows that came.
    keys: HashSet<u64>,
}

impl Woken {
    /// Everything that waits for it.
    pub(crate) fn all() -> Woken {
        Woken { all: true, ..Woken::default() }
    }

    /// Rows of a parent table came.
    pub(crate) fn rows(&mut self, table: &EntityTable, batch: &ChangeBatch, changes: &[Change]) {
        if !table.is_known_by_key() {
            self.all = true;
        }
        for change in changes {
            if self.all {
                return;
            }
            let key = match change.kind {
                ChangeKind::Move | ChangeKind::MoveKey => batch.moved_keys(change).1,
                _ => change.key,
            };
            match table.wake_hash(&batch.arena, key).filter(|_| self.keys.len() < KEYS_MAX) {
                Some(hash) => drop(self.keys.insert(hash)),
                None => self.all = true,
            }
        }
    }

    fn extend(&mut self, other: Woken) {
        self.all |= other.all || self.keys.len() + other.keys.len() > KEYS_MAX;
        if self.all {
            self.keys.clear();
        } else {
            self.keys.extend(other.keys);
        }
    }
}

/// By `waits_for`.
#[derive(Debug, Default)]
pub(crate) struct Wakes(HashMap<Arc<str>, Woken>);

impl Wakes {
    pub(crate) fn add(&mut self, waits_for: Arc<str>, woken: Woken) {
        self.0.entry(waits_for).or_default().extend(woken);
    }
}

impl SqlWriter {
    /// Makes what waits for rows and tables that were written lately due. Outside the batch's transaction: it touches other lanes' rows, and
    /// a wake-up that is lost only costs one retry delay.
    pub(super) async fn wake_waiting(&mut self) -> SqlResult<()> {
        if self.wakes.0.is_empty() || self.woken_at.is_some_and(|at| at.elapsed() < WAKE_INTERVAL) {
            return Ok(());
        }
        // One by one, so that an error leaves the others for the next time.
        while let Some(waits_for) = self.wakes.0.keys().next().cloned() {
            let woken = self.wakes.0.remove(&waits_for).unwrap_or_default();
            if let Err(error) = self.wake_some(&waits_for, &woken).await {
                self.wakes.add(waits_for, woken);
                return Err(error);
            }
        }
        self.woken_at = Some(Instant::now());
        Ok(())
    }

    async fn wake_some(&mut self, waits_for: &str, woken: &Woken) -> SqlResult<()> {
        let Some(session) = self.session.as_deref_mut() else { return Ok(()) };
        let name = Value::Text(waits_for.to_owned());
        if woken.all {
            return session.execute(&self.statements.held_wake, std::slice::from_ref(&name)).await.map(|_| ());
        }
        let wanted = session.query(&self.statements.held_wanted, std::slice::from_ref(&name)).await?;
        let mut keys = Vec::new();
        let mut any_key = false;
        for row in &wanted {
            match row.first() {
                Some(Value::I64(key)) if woken.keys.contains(&key.cast_unsigned()) => keys.push(Value::I64(*key)),
                Some(Value::Null) => any_key = true,
                _ => {}
            }
        }
        if keys.is_empty() && any_key {
            let text = wake_text(self.connector.dialect(), 0);
            session.execute(&text, std::slice::from_ref(&name)).await?;
        }
        let mut rest = keys.as_slice();
        while !rest.is_empty() {
            let count = rest.len().min(KEYS_AT_ONCE);
            let count = if count < KEYS_AT_ONCE { 1 << count.ilog2() } else { count };
            let (some, others) = rest.split_at(count);
            let values: Vec<Value> = std::iter::once(&name).chain(some).cloned().collect();
            session.execute(&wake_text(self.connector.dialect(), count), &values).await?;
            rest = others;
        }
        Ok(())
    }
}
