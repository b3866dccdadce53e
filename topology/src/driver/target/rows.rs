//! What one change does to the rows of the memory target: the meaning of every [`ChangeKind`], as plainly as it can be written.

use std::sync::Arc;

use super::database::{Database, Lock, Stop, TransactionId, dependency};
use super::{HistoryRow, MarkPlace, Place};
use crate::batch::{Change, ChangeBatch, ChangeKind, WriteTable};
use crate::data::{CellRange, Value};
use crate::error::Error;
use crate::moves::{self, MovePlan, Present, Side, Standing};
use crate::mutation;

/// What became of a change.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Effect {
    Applied,
    Unchanged,
    Differs,
}

/// A change of a batch with all that is needed to write it.
pub(super) struct RowWork<'a> {
    pub(super) batch: &'a ChangeBatch,
    pub(super) table: &'a WriteTable,
    pub(super) change: &'a Change,
}

impl RowWork<'_> {
    fn place(&self, key: CellRange) -> Place {
        Place::new(&self.table.name, &self.batch.arena.values(key))
    }

    /// The rows that the change touches: one, or two for a key change.
    pub(super) fn places(&self) -> Vec<Place> {
        let keys = [Some(self.change.key), self.change.old_key];
        keys.into_iter().flatten().map(|key| self.place(key)).collect()
    }

    fn mark_place(&self, key: CellRange) -> MarkPlace {
        let task = &self.batch.span_of(self.batch.records[self.change.first_record as usize].slot).task;
        MarkPlace {
            direction: (task.pipeline.clone(), task.direction.clone()),
            table: self.table.name.clone(),
            key_id: moves::key_id(&self.batch.arena, key),
        }
    }

    /// Locks the rows and their parents; may be called again after a wait.
    pub(super) fn lock(&self, database: &mut Database, id: TransactionId) -> Result<(), Stop> {
        if self.change.kind == ChangeKind::Append {
            return Ok(());
        }
        for place in self.places() {
            database.lock(id, Lock::Row(place))?;
        }
        if !self.change.row.is_empty() {
            let row = self.batch.arena.values(self.change.row);
            let of_child = database.references.iter().filter(|reference| reference.child == self.table.name);
            let parents: Vec<Place> = of_child.filter_map(|reference| reference.place(&row)).collect();
            for parent in parents {
                database.lock(id, Lock::Row(parent))?;
            }
        }
        Ok(())
    }

    /// Writes. The locks are taken.
    pub(super) fn write(&self, database: &mut Database, id: TransactionId) -> Result<Effect, Error> {
        match self.change.kind {
            ChangeKind::Append => return self.append(database, id),
            ChangeKind::Move | ChangeKind::MoveKey => return self.move_row(database, id),
            _ => {}
        }
        let marks = database.marks(id, &self.mark_place(self.change.key));
        if moves::standing_of_change(&marks, self.batch, self.change) == Standing::Stale {
            return Ok(Effect::Applied);
        }
        let place = self.place(self.change.key);
        let present = database.row(id, &place).cloned();
        match (self.change.kind, present) {
            (ChangeKind::Delete, None) => Ok(Effect::Unchanged),
            (ChangeKind::Delete, Some(_)) => database.delete(id, &place).map(|()| Effect::Applied),
            (ChangeKind::InsertIfAbsent, Some(row)) => {
                let is_equal = row == self.batch.arena.values(self.change.row);
                Ok(if is_equal { Effect::Unchanged } else { Effect::Differs })
            }
            (ChangeKind::Update, None) => {
                let detail =
                    format!("table {}: no row to take the cells from that the source did not send", place.table);
                Err(dependency(detail).with_code("row"))
            }
            (_, present) => self.put(database, id, &place, present),
        }
    }

    /// Writes the row under `place`; unavailable cells keep what is there (BAT-3).
    fn put(
        &self,
        database: &mut Database,
        id: TransactionId,
        place: &Place,
        present: Option<Vec<Value>>,
    ) -> Result<Effect, Error> {
        let mut row = self.batch.arena.values(self.change.row);
        for (at, cell) in row.iter_mut().enumerate() {
            if *cell == Value::Unavailable && !mutation::is_active(mutation::WRITE_UNAVAILABLE) {
                let old = present.as_ref().expect("BAT-3: a row with unavailable cells is only updated");
                *cell = old[at].clone();
            }
        }
        if present.as_ref() == Some(&row) {
            return Ok(Effect::Unchanged);
        }
        database.put(id, place, row).map(|()| Effect::Applied)
    }

    fn append(&self, database: &mut Database, id: TransactionId) -> Result<Effect, Error> {
        let record = &self.batch.records[self.change.first_record as usize];
        let task = &self.batch.span_of(record.slot).task;
        let row = HistoryRow {
            table: self.table.name.clone(),
            topic: Arc::clone(&task.topic),
            partition: task.partition,
            offset: record.offset,
            operation: record.operation,
            key: self.batch.arena.values(self.change.key),
            row: self.batch.arena.values(self.change.row),
        };
        database.writes(id)?.append(row);
        Ok(Effect::Applied)
    }

    /// Rule B5; see [`crate::moves`].
    fn move_row(&self, database: &mut Database, id: TransactionId) -> Result<Effect, Error> {
        let (old_key, new_key) = self.batch.moved_keys(self.change);
        let (old, new) = (self.place(old_key), self.place(new_key));
        let (old_marks, new_marks) = (self.mark_place(old_key), self.mark_place(new_key));
        let present = Present { old: database.row(id, &old).is_some(), new: database.row(id, &new).is_some() };
        let seen = [&old_marks, &new_marks].map(|place| database.marks(id, place));
        let plan = moves::plan_move(self.batch, self.change, &seen[0], &seen[1], present);
        if plan.park {
            let detail = format!("table {}: no row to take the cells from that the source did not send", old.table);
            return Err(dependency(detail).with_code("row"));
        }
        let source = &self.batch.records[self.change.first_record as usize].source;
        for (take, place) in [(plan.take_new, &new_marks), (plan.take_old, &old_marks)] {
            if take {
                let kept: Vec<_> = database.marks(id, place);
                let kept = kept.into_iter().filter(|mark| !MovePlan::takes(mark, source));
                database.writes(id)?.set_marks(place.clone(), kept);
            }
        }
        if plan.delete_old && present.old {
            database.delete(id, &old)?;
        }
        if plan.rename {
            self.rename(database, id, &old, &new, new_key)?;
        }
        if plan.write_new {
            let present = database.row(id, &new).cloned();
            self.put(database, id, &new, present)?;
        }
        if let Some((side, mark)) = plan.leave {
            let place = if side == Side::Old { old_marks } else { new_marks };
            let others = database.marks(id, &place).into_iter().filter(|other| other.text() != mark.text());
            database.writes(id)?.set_marks(place, others.chain([mark]));
        }
        Ok(Effect::Applied)
    }

    fn rename(
        &self,
        database: &mut Database,
        id: TransactionId,
        old: &Place,
        new: &Place,
        new_key: CellRange,
    ) -> Result<(), Error> {
        let mut row = database.row(id, old).cloned().expect("the plan saw the row under our lock");
        for (at, value) in self.table.key.iter().zip(self.batch.arena.values(new_key)) {
            row[*at] = value;
        }
        database.delete(id, old)?;
        database.put(id, new, row)
    }
}
