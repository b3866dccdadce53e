//! Tries held rows again (rules H2, H3), in the transaction of a batch that moves no progress (rule L1).
//!
//! ```text
//! parked ──ok──► gone, followers due        queued ──due──► (as parked)
//! parked ──dependency──► parked, attempts+1, later; followers wait on
//! parked ──data, or too long──► dead, followers due
//! ```

use std::sync::Arc;

use topology::batch::ChangeBatch;
use topology::data::Value;
use topology::{Error, ErrorKind, Stage};

use super::attempt::Progress;
use super::claim::task_values;
use super::held::{Hashes, HeldState, NOT_DUE, message, now_ms, waits_for};
use super::moves::{HALF_WAITS, pair_of};
use super::rows::MoveNotes;
use super::{Failure, SqlWriter};
use crate::sql::error::SqlError;

impl SqlWriter {
    pub(super) async fn release(
        &mut self,
        batch: &ChangeBatch,
        excluded: &[bool],
        progress: &mut Progress,
    ) -> Result<(), Failure> {
        // (span, key hash) that failed again: later rows of the key stay as they are.
        let mut blocked: Vec<(usize, u64)> = Vec::new();
        for index in 0..batch.records.len() {
            let record = &batch.records[index];
            let span = usize::from(batch.span_of_slot[usize::from(record.slot.0)]);
            if excluded[span] {
                continue;
            }
            let entity = usize::from(record.entity.0);
            let change = self.unreduced(batch, entity, index);
            let table = self.tables[entity].as_ref().expect("planned before BEGIN");
            let hashes = Hashes::of(table, batch, &change);
            if hashes.iter().any(|hash| blocked.contains(&(span, hash))) {
                progress.take_back(entity, 1);
                continue;
            }
            let is_half = pair_of(batch, &change).is_some();
            let attempts =
                if is_half { self.age(batch, index, span).await?.map_or(0, |(attempts, _)| attempts) } else { 0 };
            let mut notes = MoveNotes::default();
            let written = self.write_record(batch, entity, &change, attempts as i32, &mut notes, progress).await?;
            let written = match written {
                Ok(()) if !notes.parked.is_empty() => Err(half_waits()),
                other => other,
            };
            match written {
                Ok(()) => {
                    progress.wakes.extend(notes.wakes);
                    self.released(batch, index, span, hashes, progress).await?;
                }
                Err(error) => {
                    let half = self.leave_word(batch, entity, &change).await?;
                    let dead = self.failed_again(batch, index, span, entity, hashes, (error, half), progress).await?;
                    if !dead {
                        blocked.extend(hashes.iter().map(|hash| (span, hash)));
                    }
                }
            }
        }
        Ok(())
    }

    /// The row is applied: it goes, and what waited behind it is due.
    async fn released(
        &mut self,
        batch: &ChangeBatch,
        index: usize,
        span: usize,
        hashes: Hashes,
        progress: &mut Progress,
    ) -> Result<(), Failure> {
        let id = batch.releases[index];
        let mut values = task_values(&batch.spans[span].task).to_vec();
        values.extend([Value::I64(id.offset), Value::I64(i64::from(id.ordinal))]);
        let session = self.session.as_deref_mut().expect("enter() opened a session");
        session.execute(&self.statements.held_delete, &values).await.map_err(|error| Failure::Failed(error.error))?;
        for hash in hashes.iter() {
            progress.holding.removed.push((span, hash, false));
        }
        self.free_followers(batch, span, hashes).await
    }

    async fn free_followers(&mut self, batch: &ChangeBatch, span: usize, hashes: Hashes) -> Result<(), Failure> {
        let task = &batch.spans[span].task;
        let keys = self.held.get(task);
        let session = self.session.as_deref_mut().expect("enter() opened a session");
        for hash in hashes.iter() {
            if keys.is_some_and(|keys| keys.waiting(hash) <= 1) {
                continue;
            }
            let mut values = task_values(task).to_vec();
            values.extend([Value::I64(hash.cast_signed()), Value::I64(hash.cast_signed())]);
            session
                .execute(&self.statements.held_retry_followers, &values)
                .await
                .map_err(|error| Failure::Failed(error.error))?;
        }
        Ok(())
    }

    /// (attempts, time of the first failure) of a held row.
    async fn age(&mut self, batch: &ChangeBatch, index: usize, span: usize) -> Result<Option<(i64, i64)>, Failure> {
        let id = batch.releases[index];
        let mut row = task_values(&batch.spans[span].task).to_vec();
        row.extend([Value::I64(id.offset), Value::I64(i64::from(id.ordinal))]);
        let session = self.session.as_deref_mut().expect("enter() opened a session");
        let found =
            session.query(&self.statements.held_age, &row).await.map_err(|error| Failure::Failed(error.error))?;
        Ok(match found.first().map(Vec::as_slice) {
            Some([Value::I64(attempts), Value::I64(first_failed)]) => Some((*attempts, *first_failed)),
            _ => None,
        })
    }

    /// One more attempt failed: later again, or dead. True when dead.
    #[allow(clippy::too_many_arguments)] // all of them name one held row
    async fn failed_again(
        &mut self,
        batch: &ChangeBatch,
        index: usize,
        span: usize,
        entity: usize,
        hashes: Hashes,
        (error, half): (SqlError, Option<Arc<str>>),
        progress: &mut Progress,
    ) -> Result<bool, Failure> {
        let fatal = |error: SqlError| Failure::Failed(error.error);
        let id = batch.releases[index];
        let mut row = task_values(&batch.spans[span].task).to_vec();
        row.extend([Value::I64(id.offset), Value::I64(i64::from(id.ordinal))]);
        let limits = self.options.held;
        let session = self.session.as_deref_mut().expect("enter() opened a session");
        let now = now_ms(session, &self.statements.now).await.map_err(fatal)?;
        // Discarded by an operator meanwhile: nothing to keep.
        let Some((attempts, first_failed)) = self.age(batch, index, span).await? else { return Ok(true) };
        let session = self.session.as_deref_mut().expect("enter() opened a session");
        let gave_up = now - first_failed >= limits.dead_after_ms
            || limits.attempts_max.is_some_and(|limit| attempts + 1 >= limit);
        let dead = gave_up || error.kind() != ErrorKind::Dependency;
        let (state, retry_at) = if dead {
            (HeldState::Dead, NOT_DUE)
        } else {
            let doublings = u32::try_from(attempts.clamp(0, 20)).unwrap_or(20);
            let delay = limits.retry_first_ms.saturating_mul(1 << doublings).min(limits.retry_cap_ms);
            (HeldState::Parked, now + delay)
        };
        let table = self.tables[entity].as_ref().expect("planned before BEGIN");
        let waits_for = half.or_else(|| waits_for(table, &error));
        let mut values = vec![
            Value::Text(state.name().to_owned()),
            Value::Text(error.kind().name().to_owned()),
            error.error.code.clone().map_or(Value::Null, Value::Text),
            Value::Text(message(&error.error)),
            Value::I64(retry_at),
            waits_for.map_or(Value::Null, |name| Value::Text(name.to_string())),
        ];
        values.extend(row);
        session.execute(&self.statements.held_fail, &values).await.map_err(fatal)?;
        progress.take_back(entity, 1);
        if dead {
            progress.counts[entity].dead += 1;
            for hash in hashes.iter() {
                progress.holding.removed.push((span, hash, true));
            }
            self.free_followers(batch, span, hashes).await?;
            return Ok(true);
        }
        for hash in hashes.iter() {
            let mut values = vec![Value::I64(NOT_DUE)];
            values.extend(task_values(&batch.spans[span].task));
            values.extend([Value::I64(hash.cast_signed()), Value::I64(hash.cast_signed())]);
            session.execute(&self.statements.held_hold_followers, &values).await.map_err(fatal)?;
        }
        Ok(false)
    }
}

fn half_waits() -> SqlError {
    let detail = "the other half of the key change has not come yet";
    SqlError::known(Error::new(ErrorKind::Dependency, Stage::Write, "cannot move row", detail).with_code(HALF_WAITS))
}
