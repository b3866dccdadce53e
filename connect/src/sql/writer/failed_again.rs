//! A held row that was tried and failed again (rules H2, H3): later once more, or dead, or passed by the delete behind it.

use std::sync::Arc;

use topology::ErrorKind;
use topology::batch::{ChangeBatch, ChangeKind, HeldId};
use topology::data::{Cell, Value};
use topology::moves::{MOVE_PREFIX, Word};

use super::attempt::{Progress, own_table_refuses};
use super::claim::task_values;
use super::held::{HeldState, Removed, Skipped, message, waits_for};
use super::held_store::now_ms;
use super::moves::{is_half_waits, pair_values};
use super::release::{Releasing, Try};
use super::rows::ROW_MISSING;
use super::told::Told;
use super::{Failure, SqlWriter};
use crate::sql::error::SqlError;
use crate::sql::statements::{HALF_LACKS_ROW, HELD_COLUMNS, NOT_DUE, REPLAY, held_column};

/// How long a row waits for its parent before we look whether anybody will ever see it: a parent that is only late has come by then.
const ORPHANED_AFTER_MS: i64 = 5_000;

/// From so many tries on, one more that fails is no news until the row is given up.
const TOLD_ATTEMPTS_MAX: i64 = 10;

/// A row that failed again, with what it now has in `tidelock_held`.
pub(super) struct FailedAgain {
    span: usize,
    id: HeldId,
    key_hash: Option<u64>,
    state: HeldState,
    class: &'static str,
    code: Option<String>,
    message: String,
    attempts: i64,
    first_failed_at_ms: i64,
    retry_at_ms: i64,
    waits_for: Option<Arc<str>>,
    waits_for_key: Option<u64>,
}

impl SqlWriter {
    /// One more attempt failed: later again, or dead.
    pub(super) async fn failed_again(
        &mut self,
        batch: &ChangeBatch,
        tried: &Try,
        error: SqlError,
        releasing: &mut Releasing,
        progress: &mut Progress,
    ) -> Result<(), Failure> {
        let fatal = |error: SqlError| Failure::Failed(error.error);
        let Try { index, span, entity, change, key_hash, .. } = tried;
        progress.take_back(*entity, 1);
        let Some(before) = progress.due.remove(&(*span, batch.releases[*index])) else {
            return Ok(());
        };
        let limits = self.options.held_limits(*entity);
        let session = self.session.as_deref_mut().expect("enter() opened a session");
        let now = match releasing.now_ms {
            Some(now) => now,
            None => now_ms(session, &self.statements.now).await.map_err(fatal)?,
        };
        releasing.now_ms = Some(now);
        let waits_for_half = error.error.code.as_deref().is_some_and(is_half_waits);
        // A row that has queued is tried for the first time; and half a key change did nothing wrong as long as it waited for the other.
        let is_first = before.attempts == 0 || (before.lacked_half && !waits_for_half && !batch.is_alone(change));
        let (attempts, first_failed) = if is_first { (0, now) } else { (before.attempts, before.first_failed_at_ms) };
        let age_ms = now - first_failed;
        // A half waits as long as the other may come (rule B5).
        let gave_up = !waits_for_half && limits.gives_up(attempts + 1, age_ms);
        let dead = gave_up || error.kind() != ErrorKind::Dependency;
        let is_orphan = !waits_for_half && !matches!(error.error.code.as_deref(), Some(ROW_MISSING | HALF_LACKS_ROW));
        let may_skip = !dead && is_orphan && age_ms >= ORPHANED_AFTER_MS && self.has_followers(batch, *span, *key_hash);
        if may_skip && self.skip(batch, tried, releasing, progress).await? {
            releasing.blocked.extend(key_hash.map(|hash| (*span, hash)));
            return Ok(());
        }
        let half = if dead {
            self.forgo(batch, *entity, change, progress).await?;
            None
        } else {
            self.leave_word(batch, *entity, change, progress).await?
        };
        let (state, retry_at) =
            if dead { (HeldState::Dead, NOT_DUE) } else { (HeldState::Parked, now + limits.delay_ms(age_ms)) };
        let table = self.tables[*entity].as_ref().expect("planned before BEGIN");
        let name = Arc::clone(&table.mapped.name);
        let waits_for = waits_for(table, change, &error, half);
        let waits_for_key = table.parent_key_hash(&batch.arena, change, &error);
        releasing.failed.push(FailedAgain {
            span: *span,
            id: batch.releases[*index],
            key_hash: *key_hash,
            state,
            class: error.kind().name(),
            code: error.error.code.clone(),
            message: message(&error.error),
            attempts: attempts + 1,
            first_failed_at_ms: first_failed,
            retry_at_ms: retry_at,
            waits_for,
            waits_for_key,
        });
        let is_told = dead || attempts < TOLD_ATTEMPTS_MAX;
        let record = &batch.records[*index];
        progress.holding.told.extend(is_told.then(|| Told {
            span: *span,
            id: batch.releases[*index],
            table: name,
            key_hash: *key_hash,
            is_dead: dead,
            kind: error.kind(),
            stage: error.error.stage.name(),
            code: error.error.code.clone(),
            message: message(&error.error),
            attempts: attempts + 1,
            first_failed_at_ms: Some(first_failed),
            source: record.source,
            raw: record.raw,
        }));
        if dead {
            progress.counts[*entity].dead += 1;
            progress.holding.removed.push(Removed { span: *span, key_hash: *key_hash, record: *index, is_dead: true });
            return self.free_followers(batch, *span, *key_hash).await;
        }
        let Some(hash) = *key_hash else { return Ok(()) };
        releasing.blocked.insert((*span, hash));
        // Those behind a row that had failed before wait already, unless some of them are here.
        let were_held = attempts > 0
            && releasing.offsets_of.get(&(*span, hash)).is_some_and(|own| own.len() == 1)
            && !self.replayed.contains(&batch.spans[*span].task);
        if were_held || !self.has_followers(batch, *span, Some(hash)) {
            return Ok(());
        }
        let mut values = task_values(&batch.spans[*span].task).to_vec();
        values.push(Value::I64(hash.cast_signed()));
        let session = self.session.as_deref_mut().expect("enter() opened a session");
        session.execute(&self.statements.held_hold_followers, &values).await.map(|_| ()).map_err(fatal)
    }

    /// The parent of a held row may have come and gone on partitions that are ahead. If a change behind it vacates its key, nothing before
    /// that is ever seen: it is superseded, and the queue goes on there. True when it was so.
    async fn skip(
        &mut self,
        batch: &ChangeBatch,
        tried: &Try,
        releasing: &Releasing,
        progress: &mut Progress,
    ) -> Result<bool, Failure> {
        let fatal = |error: SqlError| Failure::Failed(error.error);
        let Some(key_hash) = tried.key_hash else { return Ok(false) };
        let hash = Value::I64(key_hash.cast_signed());
        if tried.change.kind == ChangeKind::MoveKey {
            return Ok(false);
        }
        let task = task_values(&batch.spans[tried.span].task);
        let place = |more: &[Value]| -> Vec<Value> { task.iter().chain([&hash]).chain(more).cloned().collect() };
        let offset = Value::I64(batch.releases[tried.index].offset);
        let session = self.session.as_deref_mut().expect("enter() opened a session");
        let found = session.query(&self.statements.held_vacating, &place(&[offset])).await.map_err(fatal)?;
        let Some([offset, Value::Text(how)]) = found.first().map(Vec::as_slice) else { return Ok(false) };
        let table = self.tables[tried.entity].as_ref().expect("planned before BEGIN");
        if let Some(pair) = how.strip_prefix(MOVE_PREFIX) {
            // The other half has come, and needs nothing of the row that it moves.
            let values = pair_values(batch, table, &tried.change, pair);
            let word = session.query(&self.statements.moved_read, &values).await.map_err(fatal)?;
            let word =
                word.first().and_then(|row| if let [Value::Text(word)] = &row[..] { Some(&**word) } else { None });
            if word != Some(Word::CreateWaits.name()) {
                return Ok(false);
            }
            let there = session.present(&table.plan, &batch.arena, &[tried.change.key]).await.map_err(fatal)?;
            if there.contains(&true) {
                return Ok(false);
            }
        }
        let before = place(std::slice::from_ref(offset));
        let mut skipped = Skipped { span: tried.span, entity: tried.entity, key_hash, ..Skipped::default() };
        // Rows of the key that went in this transaction are still there; and what the memory knows of a dead one that was to be tried is old.
        let is_gone = |gone: &Removed| gone.span == tried.span && gone.key_hash == Some(key_hash);
        let mut is_exact =
            !progress.holding.removed.iter().any(is_gone) && !releasing.freed.contains(&(tried.span, key_hash));
        for row in session.query(&self.statements.held_passed, &before).await.map_err(fatal)? {
            match &row[..] {
                [Value::Text(state), _] if state == "dead" => skipped.dead += 1,
                [Value::Text(state), Value::I64(bytes)] => {
                    is_exact &= state != REPLAY;
                    skipped.waiting += 1;
                    skipped.bytes += bytes.unsigned_abs();
                }
                _ => is_exact = false,
            }
        }
        session.execute(&self.statements.held_supersede, &before).await.map_err(fatal)?;
        session.execute(&self.statements.held_retry_followers, &place(&[])).await.map_err(fatal)?;
        if is_exact {
            progress.holding.skipped.push(skipped);
        } else {
            progress.holding.stale.insert(tried.span);
        }
        self.forgo(batch, tried.entity, &tried.change, progress).await?;
        Ok(true)
    }

    /// What failed again, all in one statement where the engine can.
    pub(super) async fn store_failed(&mut self, batch: &ChangeBatch, failed: &[FailedAgain]) -> Result<(), Failure> {
        if failed.is_empty() {
            return Ok(());
        }
        self.scratch.clear();
        let mut rows = Vec::with_capacity(failed.len());
        for row in failed {
            let scratch = &mut self.scratch;
            let mut cells = vec![Cell::Null; HELD_COLUMNS.len()];
            let mut set = |name: &str, cell: Cell| cells[held_column(name)] = cell;
            let [pipeline, direction, topic, partition] =
                task_values(&batch.spans[row.span].task).map(|value| scratch.push_value(&value));
            set("pipeline", pipeline);
            set("direction", direction);
            set("topic", topic);
            set("partition", partition);
            set("offset", Cell::I64(row.id.offset));
            set("ordinal", Cell::I64(i64::from(row.id.ordinal)));
            set("key_hash", row.key_hash.map_or(Cell::Null, |hash| Cell::I64(hash.cast_signed())));
            set("state", scratch.push_text(row.state.name()));
            set("class", scratch.push_text(row.class));
            set("code", row.code.as_deref().map_or(Cell::Null, |code| scratch.push_text(code)));
            set("message", scratch.push_text(&row.message));
            set("attempts", Cell::I64(row.attempts));
            set("first_failed_at_ms", Cell::I64(row.first_failed_at_ms));
            set("retry_at_ms", Cell::I64(row.retry_at_ms));
            set("waits_for", row.waits_for.as_deref().map_or(Cell::Null, |name| scratch.push_text(name)));
            set("waits_for_key", row.waits_for_key.map_or(Cell::Null, |hash| Cell::I64(hash.cast_signed())));
            rows.push(scratch.push_cells(&cells));
        }
        let session = self.session.as_deref_mut().expect("enter() opened a session");
        session.write_rows(&self.own.held_fail, &self.scratch, &rows).await.map_err(own_table_refuses)?;
        Ok(())
    }
}
