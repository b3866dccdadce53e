//! Held halves of key changes that are due though their other half has not come (rule B5). Only that makes a try worth while, and it wakes
//! them; so they are not tried one by one, but found and put off together. There may be thousands where a partition lags.

use std::collections::HashMap;

use topology::data::Value;
use topology::ledger::{Claim, TaskKey};
use topology::moves::{MOVE_PREFIX, Word};
use topology::sink::HeldRow;

use super::SqlWriter;
use super::claim::task_values;
use super::moves::word_name;
use super::tables::name_seed;
use crate::sql::error::SqlResult;
use crate::sql::statements::{postpone_text, words_text};

/// Halves in one statement; a power of two below makes up the rest, so that few statements are prepared.
const HALVES_AT_ONCE: usize = 128;

/// A due row that failed because its other half had not come.
pub(crate) struct Lacking {
    /// Index among the due rows.
    pub(crate) row: usize,
    pub(crate) entity: String,
    pub(crate) waits_for: String,
}

fn parts<T>(mut rest: &[T]) -> impl Iterator<Item = &[T]> {
    std::iter::from_fn(move || {
        let count = rest.len().min(HALVES_AT_ONCE);
        let (some, others) = rest.split_at((count > 0).then(|| 1 << count.ilog2())?);
        rest = others;
        Some(some)
    })
}

impl SqlWriter {
    /// Marks those of the rows whose other half has still left no word.
    pub(super) async fn mark_lacking(
        &mut self,
        claims: &[Claim],
        lacking: Vec<Lacking>,
        due: &mut [HeldRow],
    ) -> SqlResult<()> {
        let Some(claim) = claims.first() else { return Ok(()) };
        let mut by_word: HashMap<String, Vec<Lacking>> = HashMap::new();
        for half in lacking {
            let Some(pair) = half.waits_for.strip_prefix(MOVE_PREFIX) else { continue };
            by_word.entry(word_name(pair, name_seed(&half.entity))).or_default().push(half);
        }
        let names: Vec<Value> = by_word.keys().cloned().map(Value::Text).collect();
        let [pipeline, direction, ..] = task_values(&claim.task);
        for some in parts(&names) {
            let values: Vec<Value> = [&pipeline, &direction].into_iter().chain(some).cloned().collect();
            let text = words_text(self.connector.dialect(), some.len());
            for row in self.session().query(&text, &values).await? {
                let [Value::Text(pair), Value::Text(state)] = row.as_slice() else { continue };
                // It is its own word: the other half would have found it and gone on.
                if !matches!(Word::parse(state), Some(Word::DeleteWaits | Word::CreateWaits)) {
                    continue;
                }
                for half in by_word.remove(pair).into_iter().flatten() {
                    due[half.row].lacks_half = Some(half.waits_for.into());
                }
            }
        }
        Ok(())
    }

    /// Puts such rows off.
    pub(super) async fn postpone(&mut self, rows: &[HeldRow]) -> SqlResult<()> {
        let mut by_task: HashMap<&TaskKey, Vec<Value>> = HashMap::new();
        for row in rows {
            let name = row.lacks_half.as_deref().map(|name| Value::Text(name.to_owned()));
            by_task.entry(&row.task).or_default().extend(name);
        }
        let limits = self.options.held;
        let (first, cap) = (Value::I64(limits.retry_first_ms), Value::I64(limits.delay_ms(i64::MAX)));
        for (task, names) in by_task {
            let task = task_values(task);
            for some in parts(&names) {
                let delays = [&first, &cap, &cap, &first];
                let values: Vec<Value> = delays.into_iter().chain(&task).chain(some).cloned().collect();
                let text = postpone_text(self.connector.dialect(), some.len());
                self.session().execute(&text, &values).await?;
            }
        }
        Ok(())
    }
}
