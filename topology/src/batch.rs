//! A batch: what one target transaction applies. Made by the lane (`lane/`), reduced by [`crate::reduce`], written by a sink.
//!
//! Invariants: BAT-1 a reduced stage has one change per key · BAT-2 a truncate starts a stage · BAT-3 an unavailable cell never
//! overwrites a value · BAT-4 a key change is one move. Sinks assert what reduce promises.

use std::sync::Arc;

use serde::{Deserialize, Serialize};

use crate::data::{Arena, CellRange, Column, Layout};
use crate::error::{Error, ErrorKind, Stage};
use crate::ledger::TaskSpan;
use crate::record::{EntityId, Raw, Record, Slot, Source};

/// How rows of an entity are written.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum WriteMode {
    /// The target holds one row per key, equal to the source's.
    #[default]
    Mirror,
    /// The target is a history: every change is one more row, nothing is reduced.
    Append,
}

/// What a snapshot read (`r`) does on a blind entity (rule B8).
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum SnapshotMode {
    /// One-way: like any other change.
    #[default]
    Upsert,
    /// Two-way: inserted if absent, otherwise counted and left alone.
    InsertIfAbsent,
}

/// What a truncate event does (rule B7).
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum TruncateMode {
    /// The partition halts: a truncate has no order against other partitions.
    #[default]
    Halt,
    /// Applied; only for topics with one partition.
    Apply,
    /// Dropped and counted.
    Ignore,
}

/// A table as the lens writes it: the columns of every mapped row of one entity, in cell order.
#[derive(Clone, Debug, PartialEq)]
pub struct WriteTable {
    /// Which entity of the direction.
    pub entity: EntityId,
    /// Name as configured, maybe qualified (`public.users`).
    pub name: Arc<str>,
    /// The written columns: a subset of the table's, in the order of every row's cells.
    pub columns: Vec<Column>,
    /// `key[i]` is the index in `columns` of the i-th key column; key rows have these cells in this order.
    pub key: Vec<usize>,
    /// Indexes in `columns` of those that only an insert writes: a present row keeps its own value. Whole rows carry them nevertheless,
    /// so that a change of a row that is not there can insert it; rows with unavailable cells have them unavailable too.
    pub insert_only: Vec<usize>,
    /// Mirror or history.
    pub mode: WriteMode,
}

impl WriteTable {
    /// The layout of mapped rows.
    pub fn layout(&self) -> Layout {
        Layout { columns: self.columns.clone() }
    }

    /// The layout of mapped keys.
    pub fn key_layout(&self) -> Layout {
        Layout { columns: self.key.iter().map(|at| self.columns[*at].clone()).collect() }
    }
}

/// What a sink does with one key.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum ChangeKind {
    /// Insert the row, or update the written columns where they differ. `row` has no unavailable cell.
    Upsert,
    /// Insert the row unless its key is there; a present row is counted as differing or equal and left alone.
    InsertIfAbsent,
    /// Update the available cells of `row`; never inserts. No row matched: the change is parked, waiting for the row (rule B3).
    Update,
    /// Delete the row; absent is fine.
    Delete,
    /// Deleted and inserted again at the source: columns that only the target has return to their defaults (rule B3).
    Replace,
    /// The create half of a key change, or both halves ([`ChangeBatch::halves`]): `key` is the new key, `old_key` the old one (rule B5).
    /// Both halves: new key exists: update it and delete the old row. Else old exists: rename and update it. Else: insert. A create half
    /// alone meets its delete half first. `row` may have unavailable cells: then it never inserts but parks, waiting for the row.
    /// [`crate::moves::plan_move`] decides; its module says what a sink locks, reads and leaves behind.
    Move,
    /// Only the delete half of a key change: `key` is the old key, `old_key` holds the *new* one. It meets its create half before the row
    /// is moved; [`crate::moves::plan_move`] decides. The two halves have `Record::source`'s identity and position in common.
    MoveKey,
    /// Append one history row; `key` and `row` as mapped, operation and offsets from the record.
    Append,
}

/// One reduced change. Its records, first to last, are linked through [`ChangeBatch::next_of_key`] (rule B4).
#[derive(Clone, Copy, Debug)]
pub struct Change {
    /// What to do.
    pub kind: ChangeKind,
    /// Key cells, layout [`WriteTable::key_layout`].
    pub key: CellRange,
    /// See [`ChangeKind::Move`] and [`ChangeKind::MoveKey`].
    pub old_key: Option<CellRange>,
    /// Row cells, layout [`WriteTable::layout`]; empty for `Delete` and `MoveKey`.
    pub row: CellRange,
    /// Index in [`ChangeBatch::records`] of the first record of this key in this stage.
    pub first_record: u32,
    /// Index of the last one.
    pub last_record: u32,
}

/// The changes of one table within a stage, sorted by key.
#[derive(Clone, Debug, Default)]
pub struct TableChanges {
    /// Which table.
    pub entity: EntityId,
    /// One change per key (BAT-1), sorted by key cells; history rows in consumption order.
    pub changes: Vec<Change>,
}

/// A part of a batch in which every key occurs once. Stages are applied one after the other in the same transaction.
#[derive(Clone, Debug, Default)]
pub struct BatchStage {
    /// Records whose tables are to be emptied before anything else of this stage (BAT-2), as indexes in [`ChangeBatch::records`].
    pub truncates: Vec<u32>,
    /// Changes by table, parents first (rule B1). Sinks write deletes in reverse table order after all else.
    pub tables: Vec<TableChanges>,
}

/// No further record of this key in this stage.
pub const END_OF_KEY: u32 = u32::MAX;

/// A record that failed before it reached the sink and can never be applied; it is kept in `tidelock_held` as dead.
#[derive(Clone, Debug)]
pub struct DeadRecord {
    /// Task it came from.
    pub slot: Slot,
    /// Kafka offset.
    pub offset: i64,
    /// Entity, if known.
    pub entity: EntityId,
    /// Mapped key, if the record got that far.
    pub key: Option<CellRange>,
    /// Class of the error.
    pub kind: ErrorKind,
    /// Where it failed.
    pub stage: Stage,
    /// What failed, for what; no row values.
    pub message: String,
    /// Its place in the source's log, if it could be read.
    pub source: Source,
    /// The original bytes.
    pub raw: Raw,
}

impl DeadRecord {
    /// From the error that stopped it.
    pub fn new(record: &Record, key: Option<CellRange>, error: &Error) -> DeadRecord {
        DeadRecord {
            slot: record.slot,
            offset: record.offset,
            entity: record.entity,
            key,
            kind: error.kind,
            stage: error.stage,
            message: error.to_string(),
            source: record.source,
            raw: record.raw,
        }
    }
}

/// Names one held row of a task: `tidelock_held`'s key without the task.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub struct HeldId {
    /// Kafka offset of the record.
    pub offset: i64,
    /// Which of the rows that the record maps to.
    pub ordinal: i32,
}

/// What one transaction applies.
#[derive(Debug, Default)]
pub struct ChangeBatch {
    /// Memory of all ranges and spans below.
    pub arena: Arena,
    /// Mapped records in consumption order: the unreduced changes, kept until COMMIT (rule B4).
    pub records: Vec<Record>,
    /// Parallel to `records`: index of the next record of the same key in the same stage, or [`END_OF_KEY`].
    pub next_of_key: Vec<u32>,
    /// Progress of every task in the batch, sorted by task key (rule L1). An empty batch of filtered records has spans only (rule L8).
    pub spans: Vec<TaskSpan>,
    /// `span_of_slot[slot]` is the index in `spans`, or `u16::MAX`.
    pub span_of_slot: Vec<u16>,
    /// The reduced changes.
    pub stages: Vec<BatchStage>,
    /// Records that are dead already.
    pub dead: Vec<DeadRecord>,
    /// Held rows that this batch releases: its records were made from them; `next_offset` does not move (rules L1, H2).
    /// `releases[i]` belongs to `records[i]`. Empty for ordinary batches.
    pub releases: Vec<HeldId>,
    /// Of the records of a release, by index: half a key change whose other half will not come (rule B5). Empty if there is none.
    pub alone: Vec<bool>,
}

impl ChangeBatch {
    /// The span of the task a record came from.
    pub fn span_of(&self, slot: Slot) -> &TaskSpan {
        let at = self.span_of_slot[usize::from(slot.0)];
        &self.spans[usize::from(at)]
    }

    /// Indexes of the records of one change, in source order. The chain of a key may go on behind the change's last record: an unreduced
    /// change is one record of it (rule B4).
    pub fn records_of(&self, change: &Change) -> impl Iterator<Item = usize> + '_ {
        let (mut at, last) = (change.first_record, change.last_record);
        std::iter::from_fn(move || {
            (at != END_OF_KEY).then(|| {
                let index = at as usize;
                at = if at == last { END_OF_KEY } else { self.next_of_key[index] };
                index
            })
        })
    }

    /// True when it tries held rows again (rule H2): then it moves no progress. All of them may have turned out to be unreadable.
    pub fn is_release(&self) -> bool {
        let moves_nothing = || self.spans.iter().all(|span| span.from == span.to);
        !self.releases.is_empty() || (!self.dead.is_empty() && moves_nothing())
    }

    /// True for half a key change that need not wait for its other half any longer (rule B5).
    pub fn is_alone(&self, change: &Change) -> bool {
        self.alone.get(change.first_record as usize) == Some(&true)
    }

    /// True when nothing but progress is to be written (rule L8).
    pub fn is_progress_only(&self) -> bool {
        self.records.is_empty() && self.dead.is_empty() && self.releases.is_empty()
    }
}
