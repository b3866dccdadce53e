//! How much may wait (rule H5), and for how long history is kept.
//!
//! Counted per partition and entity, in the lane's memory, which is read at the claim. Nothing more is parked once the limit is reached: the
//! batch is rolled back, its partition pauses with a reason, and its rows go on being released. So a partition has at most one batch more than
//! the limit, and no batch is too large to ever fit.

use std::time::{Duration, Instant};

use topology::batch::ChangeBatch;
use topology::data::Value;
use topology::ledger::Claim;
use topology::{Error, ErrorKind, Stage};

use super::attempt::Progress;
use super::claim::task_values;
use super::held::{HeldState, span_index};
use super::{Failure, HeldLimits, SqlWriter, WriterOptions};
use crate::sql::error::SqlResult;

/// Code of a partition that pauses because too much waits.
pub(crate) const PARKED_FULL: &str = "parked-full";

/// How often superseded rows are looked for; they are in nobody's way.
const PURGE_INTERVAL: Duration = Duration::from_secs(600);

impl WriterOptions {
    /// The limits of an entity's held rows.
    pub(super) fn held_limits(&self, entity: usize) -> HeldLimits {
        self.tables[entity].held.unwrap_or(self.held)
    }
}

impl SqlWriter {
    /// Refuses to let more wait where enough waits. Before anything is stored.
    pub(super) fn check_room(&self, batch: &ChangeBatch, progress: &Progress) -> Result<(), Failure> {
        let mut full: Vec<(usize, Error)> = Vec::new();
        for row in progress.holding.rows.iter().filter(|row| row.state != HeldState::Dead) {
            let span = span_index(batch, row.record);
            if full.iter().any(|(other, _)| *other == span) {
                continue;
            }
            let (table, limits) = (&self.options.tables[row.entity].table, self.options.held_limits(row.entity));
            let room = self.held.get(&batch.spans[span].task).and_then(|keys| keys.room(&table.name));
            let Some(room) = room.filter(|room| room.rows >= limits.rows_max || room.bytes >= limits.bytes_max) else {
                continue;
            };
            let detail = format!(
                "table {:?}: {} rows with {} bytes wait in this partition; it goes on when there is room. See `tidelock dlq list --state parked` for \
                 what they wait for; tuning.parked.rows and tuning.parked.megabytes are the limits",
                &*table.name, room.rows, room.bytes
            );
            let error = Error::new(ErrorKind::Dependency, Stage::Write, "too many rows wait", detail);
            full.push((span, error.with_code(PARKED_FULL)));
        }
        if full.is_empty() { Ok(()) } else { Err(Failure::Full(full)) }
    }

    /// Deletes what has been history for long. No part of any batch: nobody looks at these rows but people, so a second owner does no harm.
    pub(super) async fn purge_superseded(&mut self, claims: &[Claim]) -> SqlResult<()> {
        let Some(kept_ms) = self.options.held.superseded_kept_ms else { return Ok(()) };
        if self.purged_at.is_some_and(|at| at.elapsed() < PURGE_INTERVAL) {
            return Ok(());
        }
        self.purged_at = Some(Instant::now());
        let text = self.statements.held_purge.clone();
        for claim in claims {
            let mut values = task_values(&claim.task).to_vec();
            values.push(Value::I64(kept_ms));
            self.session().execute(&text, &values).await?;
        }
        Ok(())
    }
}
