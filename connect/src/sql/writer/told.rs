//! What the log says of a record that failed: where it lies, which table and key it was for, why. Never values: the key is a hash, and the
//! message is ours. Told once the transaction that keeps the record is committed.

use std::sync::Arc;

use topology::ErrorKind;
use topology::batch::ChangeBatch;

use super::held::{HeldRecord, HeldState, span_index};
use crate::sql::statements::HALF_WAITS;

/// A failure to be told.
pub(crate) struct Told {
    pub(crate) span: usize,
    pub(crate) offset: i64,
    pub(crate) table: Arc<str>,
    pub(crate) key_hash: Option<u64>,
    pub(crate) is_dead: bool,
    pub(crate) kind: ErrorKind,
    pub(crate) code: Option<String>,
    pub(crate) message: String,
    /// Tries so far.
    pub(crate) attempts: i64,
}

impl Told {
    /// Of a record that failed for the first time.
    pub(crate) fn of_held(batch: &ChangeBatch, row: &HeldRecord, table: &Arc<str>) -> Told {
        Told {
            span: span_index(batch, row.record),
            offset: batch.records[row.record].offset,
            table: Arc::clone(table),
            key_hash: row.key_hash,
            is_dead: row.state == HeldState::Dead,
            kind: row.kind,
            code: row.code.clone(),
            message: row.message.clone(),
            attempts: 1,
        }
    }

    /// Says it: dead records need a person, parked ones mostly do not.
    pub(crate) fn tell(&self, batch: &ChangeBatch) {
        let task = &batch.spans[self.span].task;
        let (direction, topic, partition, offset) = (&*task.direction, &*task.topic, task.partition, self.offset);
        let key_hash = self.key_hash.map(|hash| format!("{hash:016x}")).unwrap_or_default();
        let key_hash = key_hash.as_str();
        let (table, class, attempts) = (&*self.table, self.kind.name(), self.attempts);
        let code = self.code.as_deref().unwrap_or_default();
        let error = &*self.message;
        if self.is_dead {
            tracing::error!(
                direction,
                topic,
                partition,
                offset,
                table,
                key_hash,
                class,
                code,
                attempts,
                error,
                "a record is dead; see `tidelock dlq`"
            );
        } else if code == HALF_WAITS {
            // No failure: the other half is on its way.
            tracing::debug!(direction, topic, partition, offset, table, key_hash, "half a key change waits");
        } else {
            tracing::info!(
                direction,
                topic,
                partition,
                offset,
                table,
                key_hash,
                class,
                code,
                attempts,
                error,
                "a record failed and waits"
            );
        }
    }
}
