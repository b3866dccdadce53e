//! Reduces the records of a batch to one change per key and stage (rules B3, B5; BAT-1 to BAT-4).
//!
//! Whatever cannot be merged safely starts a new stage: stages run one after the other in the same transaction, so splitting
//! costs a few statements and never correctness. Sinks assert BAT-1 again.

use std::collections::HashMap;
use std::hash::{BuildHasherDefault, Hasher};

use crate::batch::{
    BatchStage, Change, ChangeBatch, ChangeKind, END_OF_KEY, SnapshotMode, TableChanges, WriteMode, WriteTable,
};
use crate::data::{Arena, Cell, CellRange};
use crate::mutation;
use crate::record::{EntityId, Operation, Record};

/// What reduce must know of each entity, indexed by [`EntityId`].
#[derive(Clone, Debug)]
pub struct ReduceTable {
    /// Mirror or history.
    pub mode: WriteMode,
    /// What snapshot reads do.
    pub snapshot: SnapshotMode,
}

impl ReduceTable {
    /// For a written table.
    pub fn new(table: &WriteTable, snapshot: SnapshotMode) -> ReduceTable {
        ReduceTable { mode: table.mode, snapshot }
    }
}

/// Row keys are hashed already.
#[derive(Default)]
struct Identity(u64);

impl Hasher for Identity {
    fn finish(&self) -> u64 {
        self.0
    }
    fn write(&mut self, _: &[u8]) {
        unreachable!("only u64 keys are hashed")
    }
    fn write_u64(&mut self, value: u64) {
        self.0 = value;
    }
}

/// Where the change of a key stands within the stage being built.
#[derive(Clone, Copy)]
struct Place {
    table: u32,
    change: u32,
    /// Next place with the same hash.
    next: u32,
    /// The key was only vacated or reserved by a move: it has no change of its own, any further touch starts a new stage.
    reserved: Option<CellRange>,
}

const NONE: u32 = u32::MAX;

/// Reusable memory of the reduction; one per lane.
#[derive(Default)]
pub struct Reducer {
    heads: HashMap<u64, u32, BuildHasherDefault<Identity>>,
    places: Vec<Place>,
    table_of_entity: Vec<u32>,
    stage: BatchStage,
}

impl Reducer {
    /// Fills `batch.stages` and `batch.next_of_key` from `batch.records`, in `order` of entities (parents first, rule B1).
    pub fn reduce(&mut self, batch: &mut ChangeBatch, tables: &[ReduceTable], order: &[EntityId]) {
        batch.stages.clear();
        batch.next_of_key.clear();
        batch.next_of_key.resize(batch.records.len(), END_OF_KEY);
        self.begin_stage(tables.len());
        for index in 0..batch.records.len() {
            let record = batch.records[index];
            let table = &tables[usize::from(record.entity.0)];
            if self.add(batch, &record, index as u32, table).is_err() {
                self.finish_stage(batch, order);
                self.begin_stage(tables.len());
                let added = self.add(batch, &record, index as u32, table);
                assert!(added.is_ok(), "an empty stage takes any change");
            }
        }
        self.finish_stage(batch, order);
        self.heads.clear();
        self.places.clear();
    }

    fn begin_stage(&mut self, entity_count: usize) {
        self.heads.clear();
        self.places.clear();
        self.table_of_entity.clear();
        self.table_of_entity.resize(entity_count, NONE);
        self.stage = BatchStage::default();
    }

    fn finish_stage(&mut self, batch: &mut ChangeBatch, order: &[EntityId]) {
        let mut stage = std::mem::take(&mut self.stage);
        if stage.tables.is_empty() && stage.truncates.is_empty() {
            return;
        }
        let rank = |entity: EntityId| order.iter().position(|other| *other == entity).unwrap_or(usize::MAX);
        stage.tables.sort_by_key(|table| rank(table.entity));
        for table in &mut stage.tables {
            let history = table.changes.first().is_some_and(|change| change.kind == ChangeKind::Append);
            if !history {
                table.changes.sort_unstable_by(|a, b| batch.arena.compare_rows(a.key, b.key));
                debug_assert!(is_one_change_per_key(&batch.arena, &table.changes), "BAT-1");
            }
        }
        batch.stages.push(stage);
    }

    fn table_of(&mut self, entity: EntityId) -> u32 {
        let slot = &mut self.table_of_entity[usize::from(entity.0)];
        if *slot == NONE {
            *slot = self.stage.tables.len() as u32;
            self.stage.tables.push(TableChanges { entity, changes: Vec::new() });
        }
        *slot
    }

    /// Index of the place of a key touched in this stage.
    fn find(&self, arena: &Arena, entity: EntityId, key: CellRange) -> Option<usize> {
        let hash = arena.hash_row(u64::from(entity.0), key);
        let mut at = *self.heads.get(&hash)?;
        while at != NONE {
            let place = self.places[at as usize];
            let table = &self.stage.tables[place.table as usize];
            let present = place.reserved.unwrap_or_else(|| table.changes[place.change as usize].key);
            if table.entity == entity && arena.compare_rows(present, key).is_eq() {
                return Some(at as usize);
            }
            at = place.next;
        }
        None
    }

    fn remember(&mut self, arena: &Arena, entity: EntityId, key: CellRange, mut place: Place) {
        let hash = arena.hash_row(u64::from(entity.0), key);
        let index = self.places.len() as u32;
        place.next = self.heads.insert(hash, index).unwrap_or(NONE);
        self.places.push(place);
    }

    fn insert(&mut self, arena: &Arena, entity: EntityId, change: Change) {
        let table = self.table_of(entity);
        let changes = &mut self.stage.tables[table as usize].changes;
        changes.push(change);
        let change_index = changes.len() as u32 - 1;
        self.remember(arena, entity, change.key, Place { table, change: change_index, next: NONE, reserved: None });
        if let Some(other) = change.old_key {
            self.remember(
                arena,
                entity,
                other,
                Place { table, change: change_index, next: NONE, reserved: Some(other) },
            );
        }
    }

    fn add(
        &mut self,
        batch: &mut ChangeBatch,
        record: &Record,
        index: u32,
        table: &ReduceTable,
    ) -> Result<(), NewStage> {
        if record.operation == Operation::Truncate {
            // BAT-2: what came before must be written before, what comes after, after.
            if !self.places.is_empty() {
                return Err(NewStage);
            }
            self.stage.truncates.push(index);
            return Ok(());
        }
        if table.mode == WriteMode::Append {
            let position = self.table_of(record.entity) as usize;
            self.stage.tables[position].changes.push(change_of(&batch.arena, record, index, table));
            return Ok(());
        }
        let incoming = classify(&batch.arena, record, index, table);
        let entity = record.entity;
        let Some(at) = self.find(&batch.arena, entity, incoming.key) else {
            // A move also touches its other key: an earlier change of that one must be written before.
            if incoming.old_key.is_some_and(|other| self.find(&batch.arena, entity, other).is_some()) {
                return Err(NewStage);
            }
            self.insert(&batch.arena, entity, incoming);
            return Ok(());
        };
        let place = self.places[at];
        let present = self.stage.tables[place.table as usize].changes[place.change as usize];
        let merged = if place.reserved.is_some() {
            if incoming.kind == ChangeKind::MoveKey {
                return self.pair_late(batch, entity, &place, &present, incoming);
            }
            self.pair(batch, entity, at, &present, incoming)?
        } else if incoming.old_key.is_some() {
            return Err(NewStage);
        } else {
            merge(batch, present, incoming)?
        };
        batch.next_of_key[present.last_record as usize] = index;
        self.stage.tables[place.table as usize].changes[place.change as usize] = merged;
        Ok(())
    }

    /// The create half of a key change after its delete half: one move (BAT-4). The two keys swap their roles.
    fn pair(
        &mut self,
        batch: &ChangeBatch,
        entity: EntityId,
        new_key_place: usize,
        present: &Change,
        incoming: Change,
    ) -> Result<Change, NewStage> {
        let is_pair = present.kind == ChangeKind::MoveKey
            && incoming.kind == ChangeKind::Move
            && are_halves(batch, present, &incoming);
        let old_key_place = self.find(&batch.arena, entity, present.key);
        let (true, Some(old_key_place)) = (is_pair, old_key_place) else { return Err(NewStage) };
        self.places[old_key_place].reserved = Some(present.key);
        self.places[new_key_place].reserved = None;
        Ok(Change { first_record: present.first_record, ..incoming })
    }

    /// The delete half after its create half, as when the new key's partition was read first: the same move.
    fn pair_late(
        &mut self,
        batch: &mut ChangeBatch,
        entity: EntityId,
        place: &Place,
        present: &Change,
        incoming: Change,
    ) -> Result<(), NewStage> {
        let is_pair = present.kind == ChangeKind::Move
            && batch.records[present.first_record as usize].new_key.is_none()
            && are_halves(batch, present, &incoming)
            && self.find(&batch.arena, entity, present.key).is_some();
        if !is_pair {
            return Err(NewStage);
        }
        // In source order the delete half comes first.
        batch.next_of_key[incoming.first_record as usize] = present.first_record;
        self.stage.tables[place.table as usize].changes[place.change as usize].first_record = incoming.first_record;
        Ok(())
    }
}

/// True when both are halves of one key change: each names the other's key, and the source gave them one place.
fn are_halves(batch: &ChangeBatch, one: &Change, other: &Change) -> bool {
    let [a, b] = [one, other].map(|change| &batch.records[change.first_record as usize].source);
    let are_same = |left: Option<CellRange>, right: CellRange| {
        left.is_some_and(|left| batch.arena.compare_rows(left, right).is_eq())
    };
    a.identity == b.identity
        && a.position == b.position
        && are_same(one.old_key, other.key)
        && are_same(other.old_key, one.key)
}

/// The change needs a stage of its own.
struct NewStage;

fn is_one_change_per_key(arena: &Arena, changes: &[Change]) -> bool {
    changes.windows(2).all(|pair| arena.compare_rows(pair[0].key, pair[1].key).is_ne())
}

fn is_partial(arena: &Arena, row: CellRange) -> bool {
    arena.row(row).iter().any(|cell| cell.is_unavailable())
}

/// The change that one record makes alone, when nothing is reduced (rules B4, E4). Not for truncates.
pub fn change_of(arena: &Arena, record: &Record, index: u32, table: &ReduceTable) -> Change {
    if table.mode == WriteMode::Append {
        return Change {
            kind: ChangeKind::Append,
            key: record.key,
            old_key: None,
            row: record.after.or(record.before).unwrap_or_default(),
            first_record: index,
            last_record: index,
        };
    }
    classify(arena, record, index, table)
}

fn classify(arena: &Arena, record: &Record, index: u32, table: &ReduceTable) -> Change {
    let (kind, old_key, row) = match (record.operation, record.after) {
        (Operation::Delete, _) | (_, None) => match record.new_key {
            Some(new_key) => (ChangeKind::MoveKey, Some(new_key), CellRange::default()),
            None => (ChangeKind::Delete, None, CellRange::default()),
        },
        // Before the partial row: the create half must find its delete half also when cells are missing.
        (_, Some(row)) if record.old_key.is_some() => (ChangeKind::Move, record.old_key, row),
        (_, Some(row)) if is_partial(arena, row) => (ChangeKind::Update, None, row),
        (Operation::Read, Some(row)) if table.snapshot == SnapshotMode::InsertIfAbsent => {
            (ChangeKind::InsertIfAbsent, None, row)
        }
        (_, Some(row)) => (ChangeKind::Upsert, None, row),
    };
    Change { kind, key: record.key, old_key, row, first_record: index, last_record: index }
}

/// Merges a later change of a key into an earlier one of the same stage.
fn merge(batch: &mut ChangeBatch, earlier: Change, later: Change) -> Result<Change, NewStage> {
    use ChangeKind::{Append, Delete, InsertIfAbsent, Move, MoveKey, Replace, Update, Upsert};
    if mutation::is_active(mutation::KEEP_FIRST_CHANGE) {
        return Ok(Change { last_record: later.last_record, ..earlier });
    }
    let mut merged = Change { first_record: earlier.first_record, old_key: earlier.old_key, ..later };
    merged.kind = match (earlier.kind, later.kind) {
        // A snapshot read of a two-way entity never decides over a real change of the same batch, in either order.
        (_, InsertIfAbsent) | (InsertIfAbsent, _) => return Err(NewStage),
        (Append | MoveKey, _) | (_, Append | Move | MoveKey | Replace) => return Err(NewStage),
        (Delete, Upsert) => Replace,
        // Nothing to fill the missing cells from: let the update find no row and be parked (rule B3).
        (Delete, Update) => return Err(NewStage),
        (Move, Delete) if mutation::is_active(mutation::DELETE_SWALLOWS_MOVE) => Delete,
        (Move, Delete) => return Err(NewStage),
        (Upsert | Update | Replace, Delete) | (Delete, Delete) => Delete,
        (Upsert | Update, Upsert) => Upsert,
        (Replace, Upsert) => Replace,
        (Move, Upsert) => Move,
        (Upsert | Update | Replace | Move, Update) => {
            merged.row = fill(&mut batch.arena, earlier.row, later.row);
            earlier.kind
        }
    };
    Ok(merged)
}

/// `later` with its unavailable cells taken from `earlier` (rule B3).
fn fill(arena: &mut Arena, earlier: CellRange, later: CellRange) -> CellRange {
    let start = arena.cell_count();
    for index in 0..later.length as usize {
        let cell = match arena.row(later)[index] {
            Cell::Unavailable => arena.row(earlier)[index],
            cell => cell,
        };
        arena.push_cell(cell);
    }
    arena.cells_from(start)
}

#[cfg(test)]
#[path = "reduce_tests.rs"]
mod tests;
