//! Held halves of key changes that are due though their other half has not come (rule B5). Only that makes a try worth while, and it wakes
//! them; so they are not tried one by one, but found and put off together. There may be thousands where a partition lags.

use std::collections::{BTreeSet, HashMap};

use topology::batch::HeldId;
use topology::data::Value;
use topology::ledger::{Claim, TaskKey};
use topology::moves::{MOVE_PREFIX, Word};
use topology::sink::HeldRow;

use super::SqlWriter;
use super::claim::task_values;
use super::moves::word_name;
use super::tables::name_seed;
use crate::sql::error::SqlResult;
use crate::sql::statements::{CREATE_HALF_WAITS, DELETE_HALF_WAITS, postpone_text, words_text};

/// Rows in one statement; a power of two below makes up the rest, so that few statements are prepared.
const ROWS_AT_ONCE: usize = 128;

/// A due row that failed because its other half had not come.
pub(crate) struct Lacking {
    /// Index among the due rows.
    row: usize,
    /// The pair, as the words name it.
    word_name: String,
    /// What it left itself, if it left something.
    own_word: Word,
    waits_for: String,
}

impl Lacking {
    /// `None` for rows that wait for something else.
    pub(crate) fn new(row: usize, code: &str, entity: &str, waits_for: String) -> Option<Lacking> {
        let own_word = match code {
            DELETE_HALF_WAITS => Word::DeleteWaits,
            CREATE_HALF_WAITS => Word::CreateWaits,
            _ => return None,
        };
        let word_name = word_name(waits_for.strip_prefix(MOVE_PREFIX)?, name_seed(entity));
        Some(Lacking { row, word_name, own_word, waits_for })
    }
}

/// In parts whose sizes are few.
fn parts<T>(mut rest: &[T]) -> impl Iterator<Item = &[T]> {
    std::iter::from_fn(move || {
        let count = rest.len().min(ROWS_AT_ONCE);
        let (some, others) = rest.split_at((count > 0).then(|| 1 << count.ilog2())?);
        rest = others;
        Some(some)
    })
}

impl SqlWriter {
    /// Marks those of the rows whose other half has still left no word. Where both halves were parked at the same moment there is one word, and
    /// one of them finds that it is not its own.
    pub(super) async fn mark_lacking(
        &mut self,
        claims: &[Claim],
        lacking: Vec<Lacking>,
        due: &mut [HeldRow],
    ) -> SqlResult<()> {
        let Some(claim) = claims.first() else { return Ok(()) };
        let names: BTreeSet<&str> = lacking.iter().map(|half| half.word_name.as_str()).collect();
        let names: Vec<Value> = names.into_iter().map(|name| Value::Text(name.to_owned())).collect();
        let [pipeline, direction, ..] = task_values(&claim.task);
        let mut words: HashMap<String, Option<Word>> = HashMap::new();
        for some in parts(&names) {
            let values: Vec<Value> = [&pipeline, &direction].into_iter().chain(some).cloned().collect();
            let text = words_text(self.connector.dialect(), some.len());
            for row in self.session().query(&text, &values).await? {
                if let [Value::Text(pair), Value::Text(state)] = row.as_slice() {
                    words.insert(pair.clone(), Word::parse(state));
                }
            }
        }
        for half in lacking {
            if words.get(&half.word_name) == Some(&Some(half.own_word)) {
                due[half.row].lacks_half = Some(half.waits_for.into());
            }
        }
        Ok(())
    }

    /// Puts rows off.
    pub(super) async fn postpone(&mut self, rows: &[(TaskKey, HeldId)]) -> SqlResult<()> {
        let limits = self.options.held;
        let (first, cap) = (Value::I64(limits.retry_first_ms), Value::I64(limits.delay_ms(i64::MAX)));
        for of_task in rows.chunk_by(|a, b| a.0 == b.0) {
            let task = task_values(&of_task[0].0);
            for some in parts(of_task) {
                let places = some.iter().flat_map(|(_, id)| [Value::I64(id.offset), Value::I64(i64::from(id.ordinal))]);
                let delays = [&first, &first, &cap, &cap, &first].into_iter().chain(&task).cloned();
                let values: Vec<Value> = delays.chain(places).collect();
                let text = postpone_text(self.connector.dialect(), some.len());
                self.session().execute(&text, &values).await?;
            }
        }
        Ok(())
    }
}
