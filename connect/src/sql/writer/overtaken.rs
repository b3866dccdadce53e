//! What a written change means for dead records of its keys (rule H4): a record that is tried again later must never overwrite a newer row.
//!
//! * A whole row, a delete, and a key change (of the key that it vacates) make older dead records of the key history: `superseded`.
//! * A partial row, and a snapshot row that may have been left alone, do not bring what a dead record would have brought. It stays dead,
//!   for somebody should look at it, but marked as overtaken: only a person may force it.
//! * The same holds for held rows that are applied when they are tried again, and for truncates.
//!
//! The statements look at the table, not only at the lane's memory: a record that `dlq replay` has asked for meanwhile is overtaken too.

use topology::batch::{Change, ChangeBatch, ChangeKind, WriteMode};
use topology::data::{CellRange, Value};
use topology::moves::Halves;

use super::attempt::Progress;
use super::claim::task_values;
use super::held::Overtaken;
use super::tables::EntityTable;
use super::{Failure, SqlWriter};
use crate::sql::error::SqlError;
use crate::sql::statements::NOT_DUE;

/// A key that a change was about.
pub(crate) struct Touched {
    /// The record that says so: its task and offset count.
    pub(crate) record: usize,
    /// The key as mapped.
    pub(crate) key: CellRange,
    /// Nothing of what was before is left.
    pub(crate) is_full: bool,
}

/// The keys that a change was about, in the tasks that its records came from. Half a key change is about its own key only.
pub(crate) fn touched(batch: &ChangeBatch, change: &Change) -> [Option<Touched>; 2] {
    let (first, last) = (change.first_record as usize, change.last_record as usize);
    let is_partial = || batch.arena.row(change.row).iter().any(|cell| cell.is_unavailable());
    let one = |is_full| [Some(Touched { record: last, key: change.key, is_full }), None];
    match change.kind {
        // Partial rows that were filled up from a whole one before them do not bring what a dead record between the two would have brought.
        ChangeKind::Upsert | ChangeKind::Replace if first != last => {
            let is_whole = |record: &usize| {
                let after = batch.records[*record].after;
                after.is_none_or(|row| batch.arena.row(row).iter().all(|cell| !cell.is_unavailable()))
            };
            match batch.records_of(change).filter(is_whole).last() {
                Some(whole) if whole == last => one(true),
                Some(whole) => [
                    Some(Touched { record: whole, key: change.key, is_full: true }),
                    Some(Touched { record: last, key: change.key, is_full: false }),
                ],
                None => one(false),
            }
        }
        ChangeKind::Upsert | ChangeKind::Replace | ChangeKind::Delete | ChangeKind::MoveKey => one(true),
        ChangeKind::Update | ChangeKind::InsertIfAbsent => one(false),
        ChangeKind::Append => [None, None],
        ChangeKind::Move => {
            let is_full = !is_partial();
            let new = Touched { record: last, key: change.key, is_full };
            let old = change.old_key.filter(|_| batch.halves(change) == Halves::Both);
            [Some(new), old.map(|key| Touched { record: first, key, is_full })]
        }
    }
}

/// What stands for the key of a record that died before its key was mapped: equal keys have equal bytes, under one schema of the key.
pub(crate) fn raw_key_hash(table_seed: u64, raw_key: &[u8]) -> Option<u64> {
    // Any number that table seeds do not have in common with it: bytes of a key must not look like a mapped key.
    const RAW: u64 = 0x7261_775f_6b65_7973;
    (!raw_key.is_empty()).then(|| xxhash_rust::xxh3::xxh3_64_with_seed(raw_key, table_seed ^ RAW))
}

/// Hashes under which dead records of this key may stand.
pub(crate) fn hashes(table: &EntityTable, batch: &ChangeBatch, touched: &Touched) -> [Option<u64>; 2] {
    let mapped = table.key_hash(&batch.arena, touched.key);
    let raw = batch.records[touched.record].raw.key.filter(|_| table.mapped.mode == WriteMode::Mirror);
    [mapped, raw.and_then(|span| raw_key_hash(table.hash_seed, batch.arena.bytes(span)))]
}

impl SqlWriter {
    /// Marks what this transaction has overtaken, also what it just stored as dead. Last thing before COMMIT.
    pub(super) async fn mark_overtaken(&mut self, batch: &ChangeBatch, progress: &Progress) -> Result<(), Failure> {
        let session = self.session.as_deref_mut().expect("enter() opened a session");
        let statements = &self.statements;
        let holding = &progress.holding;
        let mut work: Vec<(&str, Vec<Value>)> = Vec::new();
        let place = |span: usize, hash: u64, offset: i64| {
            let mut values = task_values(&batch.spans[span].task).to_vec();
            values.extend([Value::I64(hash.cast_signed()), Value::I64(offset)]);
            values
        };
        let outrun = holding.outrun.iter().map(|(key, offset)| (key, offset));
        for ((span, hash), offset) in holding.passed.iter().chain(outrun) {
            work.push((&statements.held_supersede, place(*span, *hash, *offset)));
        }
        for Overtaken { key: (span, hash), offset, is_full } in &holding.overtaken {
            let values = place(*span, *hash, *offset);
            if *is_full {
                work.push((&statements.held_supersede_dead, values));
            } else {
                work.push((&statements.held_overtake, std::iter::once(Value::I64(NOT_DUE)).chain(values).collect()));
            }
        }
        for (span, entity, offset) in &holding.truncated {
            let mut values = task_values(&batch.spans[*span].task).to_vec();
            let table = &self.options.tables[*entity].table;
            values.extend([Value::Text(table.name.to_string()), Value::I64(*offset)]);
            work.push((&statements.held_supersede_entity, values));
        }
        for (text, values) in work {
            let done = session.execute(text, &values).await;
            done.map_err(|error: SqlError| Failure::Failed(error.error))?;
        }
        Ok(())
    }
}
