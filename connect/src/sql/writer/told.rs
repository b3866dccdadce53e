//! What is told of a record that failed, once the transaction that keeps it is committed: in the log where it lies, which table and key it
//! was for, and why; on the dead-letter topic, if it is dead, all of it (`outbox`). The log never has values: there the key is a hash.

use std::sync::Arc;

use topology::ErrorKind;
use topology::batch::{ChangeBatch, DeadRecord, HeldId};
use topology::record::{Raw, Source};

use super::held::{HeldRecord, HeldState, span_index};
use super::moves::is_half_waits;

/// A record that failed.
#[derive(Clone)]
pub(crate) struct Told {
    pub(crate) span: usize,
    pub(crate) id: HeldId,
    pub(crate) table: Arc<str>,
    pub(crate) key_hash: Option<u64>,
    pub(crate) is_dead: bool,
    pub(crate) kind: ErrorKind,
    pub(crate) stage: &'static str,
    pub(crate) code: Option<String>,
    pub(crate) message: String,
    /// Tries so far.
    pub(crate) attempts: i64,
    /// By the database's clock; `None`: in this transaction.
    pub(crate) first_failed_at_ms: Option<i64>,
    pub(crate) source: Source,
    pub(crate) raw: Raw,
}

impl Told {
    /// Of a record that failed at the sink for the first time.
    pub(crate) fn of_held(batch: &ChangeBatch, row: &HeldRecord, id: HeldId, table: &Arc<str>) -> Told {
        let record = &batch.records[row.record];
        Told {
            span: span_index(batch, row.record),
            id,
            table: Arc::clone(table),
            key_hash: row.key_hash,
            is_dead: row.state == HeldState::Dead,
            kind: row.kind,
            stage: row.stage,
            code: row.code.clone(),
            message: row.message.clone(),
            attempts: 1,
            first_failed_at_ms: None,
            source: record.source,
            raw: record.raw,
        }
    }

    /// Of a record that was dead before it came to the sink.
    pub(crate) fn of_dead(span: usize, dead: &DeadRecord, table: &Arc<str>, key_hash: Option<u64>) -> Told {
        Told {
            span,
            id: HeldId { offset: dead.offset, ordinal: 0 },
            table: Arc::clone(table),
            key_hash,
            is_dead: true,
            kind: dead.kind,
            stage: dead.stage.name(),
            code: None,
            message: dead.message.clone(),
            attempts: 1,
            first_failed_at_ms: None,
            source: dead.source,
            raw: dead.raw,
        }
    }

    /// Says it in the log: dead records need a person, parked ones mostly do not.
    pub(crate) fn tell(&self, batch: &ChangeBatch) {
        let task = &batch.spans[self.span].task;
        let (direction, topic, partition, offset) = (&*task.direction, &*task.topic, task.partition, self.id.offset);
        let key_hash = self.key_hash.map(|hash| format!("{hash:016x}")).unwrap_or_default();
        let (key_hash, table, class) = (key_hash.as_str(), &*self.table, self.kind.name());
        let (code, attempts, error) = (self.code.as_deref().unwrap_or_default(), self.attempts, &*self.message);
        macro_rules! say {
            ($level:ident, $what:literal) => {
                tracing::$level!(
                    direction, topic, partition, offset, table, key_hash, class, code, attempts, error, $what
                )
            };
        }
        if self.is_dead {
            say!(error, "a record is dead; see `tidelock dlq`");
        } else if is_half_waits(code) {
            // No failure: the other half is on its way.
            say!(debug, "half a key change waits");
        } else {
            say!(info, "a record failed and waits");
        }
    }
}
