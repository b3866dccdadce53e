//! Key changes (rule B5): what `topology::moves` decides, as statements.

use std::sync::Arc;

use topology::batch::{Change, ChangeBatch, ChangeKind};
use topology::data::{Cell, Value};
use topology::moves::{self, Halves, Present, Word, WordChange, plan_move};
use topology::{Error, ErrorKind, Stage};

use super::groups::{GroupKind, kind_of_row};
use super::held_store::now_ms;
use super::rows::{MoveNotes, Writing, row_missing};
use super::tables::EntityTable;
use crate::sql::error::{SqlError, SqlResult};
use crate::sql::statements::{CREATE_HALF_WAITS, DELETE_HALF_WAITS, HALF_LACKS_ROW};

/// The pair of a half; `None` for whole moves, other changes, and halves that can't know each other.
pub(crate) fn pair_of(batch: &ChangeBatch, change: &Change) -> Option<String> {
    let is_half = matches!(change.kind, ChangeKind::Move | ChangeKind::MoveKey) && batch.halves(change) != Halves::Both;
    if is_half { moves::pair_id(batch, change) } else { None }
}

/// A half that comes before its other half fails with this.
pub(crate) fn half_waits(halves: Halves) -> SqlError {
    let code = if halves == Halves::Delete { DELETE_HALF_WAITS } else { CREATE_HALF_WAITS };
    half_error(code, "the other half of the key change has not come yet")
}

/// True for the code of [`half_waits`].
pub(crate) fn is_half_waits(code: &str) -> bool {
    matches!(code, DELETE_HALF_WAITS | CREATE_HALF_WAITS)
}

/// The create half has cells that the source did not send, and the row that it needs is not there (rule B3).
fn half_lacks_row() -> SqlError {
    half_error(HALF_LACKS_ROW, "there is no row to take the cells from that the source did not send")
}

fn half_error(code: &'static str, detail: &str) -> SqlError {
    SqlError::known(Error::new(ErrorKind::Dependency, Stage::Write, "cannot move row", detail).with_code(code))
}

/// Half a key change that is to be parked.
#[derive(Debug)]
pub(crate) struct ParkedHalf {
    pub(crate) change: Change,
    pub(crate) waits_for: Arc<str>,
    pub(crate) error: SqlError,
}

/// Names the word of a pair: pipeline, direction, pair.
pub(crate) fn pair_values(batch: &ChangeBatch, table: &EntityTable, change: &Change, pair: &str) -> [Value; 3] {
    let task = &batch.span_of(batch.records[change.first_record as usize].slot).task;
    [
        Value::Text(task.pipeline.to_string()),
        Value::Text(task.direction.to_string()),
        Value::Text(word_name(pair, table.hash_seed)),
    ]
}

/// `tidelock_moved.pair`: one record may change keys of several tables.
pub(crate) fn word_name(pair: &str, table_seed: u64) -> String {
    format!("{pair}{table_seed:016x}")
}

/// One key change. Renaming instead of deleting keeps children that the source kept.
pub(crate) async fn move_one(
    writing: &mut Writing<'_>,
    table: &EntityTable,
    change: &Change,
    notes: &mut MoveNotes,
) -> SqlResult<()> {
    let batch = writing.batch;
    let arena = &batch.arena;
    let (old_key, new_key) = batch.moved_keys(change);
    let pair = pair_of(batch, change);
    let mut word = None;
    if let Some(pair) = &pair {
        word = read_word(writing, table, change, pair).await?;
    }
    let is_same = arena.compare_rows(old_key, new_key).is_eq();
    let there = writing.session.present(&table.plan, arena, &[old_key, new_key]).await?;
    let mut is_alone = pair.is_some() && batch.is_alone(change);
    if let (true, Some(pair)) = (is_alone, &pair) {
        is_alone = !is_other_held(writing, table, change, pair).await?;
    }
    let present =
        Present { old: there.first() == Some(&true) && !is_same, new: there.get(1) == Some(&true), word, is_alone };
    let plan = plan_move(batch, change, present);
    if plan.park {
        let Some(pair) = pair else { return Err(row_missing(table)) };
        let mut error = half_lacks_row();
        if let WordChange::Leave(word) = plan.word {
            write_word(writing, table, change, &pair, word, true).await?;
            error = half_waits(batch.halves(change));
        }
        notes.parked.push(ParkedHalf { change: *change, waits_for: moves::waits_for(&pair).into(), error });
        return Ok(());
    }
    if plan.delete_old && !is_same {
        writing.session.write_rows(&table.delete, arena, &[old_key]).await?;
    }
    if plan.rename {
        writing.session.write_rows(&table.rename, arena, &[old_key, new_key]).await?;
    }
    if plan.write_new {
        let shape = match kind_of_row(table, arena, change.row) {
            Some(GroupKind::Update(at)) => Some(&table.updates[at]),
            // Nothing but the key was sent.
            Some(_) => None,
            None => Some(&table.upsert),
        };
        if let Some(shape) = shape {
            writing.session.write_rows(shape, arena, &[change.row]).await?;
        }
    }
    if let Some(pair) = pair {
        match plan.word {
            WordChange::Keep => {}
            WordChange::Leave(word) => write_word(writing, table, change, &pair, word, false).await?,
            WordChange::Take => {
                let values = pair_values(batch, table, change, &pair);
                writing.session.execute(&writing.statements.moved_take, &values).await?;
            }
        }
        if plan.wake {
            notes.wakes.push(moves::waits_for(&pair).into());
        }
    }
    Ok(())
}

/// True when the other half is held too: behind an earlier change of its key, so that it has left no word.
async fn is_other_held(writing: &mut Writing<'_>, table: &EntityTable, change: &Change, pair: &str) -> SqlResult<bool> {
    let [pipeline, direction, _] = pair_values(writing.batch, table, change, pair);
    let Some(key_hash) = table.key_hash(&writing.batch.arena, change.key) else { return Ok(false) };
    let values = [
        pipeline,
        direction,
        Value::Text(table.mapped.name.to_string()),
        Value::Text(moves::waits_for(pair)),
        Value::I64(key_hash.cast_signed()),
    ];
    let halves = writing.session.query(&writing.statements.held_halves, &values).await?;
    Ok(!matches!(halves.first().map(Vec::as_slice), Some([Value::I64(0)])))
}

/// A half is dead, or not written at all: its other half need not wait for it, or has come and left word for it. What it wakes is added.
pub(crate) async fn forgo(
    writing: &mut Writing<'_>,
    table: &EntityTable,
    change: &Change,
    wakes: &mut Vec<Arc<str>>,
) -> SqlResult<()> {
    let Some(pair) = pair_of(writing.batch, change) else { return Ok(()) };
    if read_word(writing, table, change, &pair).await? == Some(Word::Done) {
        let values = pair_values(writing.batch, table, change, &pair);
        return writing.session.execute(&writing.statements.moved_take, &values).await.map(|_| ());
    }
    wakes.push(moves::waits_for(&pair).into());
    write_word(writing, table, change, &pair, Word::Done, false).await
}

/// A half that is held for any reason leaves word, so that its other half need not wait for it. Its `waits_for`; what it wakes is added.
pub(crate) async fn leave_word(
    writing: &mut Writing<'_>,
    table: &EntityTable,
    change: &Change,
    wakes: &mut Vec<Arc<str>>,
) -> SqlResult<Option<Arc<str>>> {
    let Some(pair) = pair_of(writing.batch, change) else { return Ok(None) };
    let waits_for: Arc<str> = moves::waits_for(&pair).into();
    let before = read_word(writing, table, change, &pair).await?;
    if let Some(word) = moves::word_when_held(writing.batch.halves(change), before) {
        write_word(writing, table, change, &pair, word, before.is_none()).await?;
        wakes.extend(before.map(|_| Arc::clone(&waits_for)));
    }
    Ok(Some(waits_for))
}

/// The word of this pair, locked if there is one.
async fn read_word(
    writing: &mut Writing<'_>,
    table: &EntityTable,
    change: &Change,
    pair: &str,
) -> SqlResult<Option<Word>> {
    let values = pair_values(writing.batch, table, change, pair);
    let rows = writing.session.query(&writing.statements.moved_read, &values).await?;
    Ok(match rows.first().map(Vec::as_slice) {
        Some([Value::Text(state)]) => Word::parse(state),
        _ => None,
    })
}

async fn write_word(
    writing: &mut Writing<'_>,
    table: &EntityTable,
    change: &Change,
    pair: &str,
    word: Word,
    only_if_absent: bool,
) -> SqlResult<()> {
    let now = now_ms(writing.session, &writing.statements.now).await?;
    let mut row: Vec<Cell> = Vec::with_capacity(6);
    for value in pair_values(writing.batch, table, change, pair) {
        row.push(writing.scratch.push_value(&value));
    }
    row.push(writing.scratch.push_text(&table.mapped.name));
    let is_partial = word != Word::Done && moves::is_partial(writing.batch, change);
    let state = if is_partial { format!("{}{}", word.name(), moves::PARTIAL) } else { word.name().to_owned() };
    row.push(writing.scratch.push_text(&state));
    row.push(Cell::I64(now));
    let range = writing.scratch.push_cells(&row);
    let shape = if only_if_absent { &writing.own.leave_word } else { &writing.own.set_word };
    writing.session.write_rows(shape, writing.scratch, &[range]).await.map(|_| ())
}
