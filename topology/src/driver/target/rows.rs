//! What one change does to the rows of the memory target: the meaning of every [`ChangeKind`], as plainly as it can be written.

use std::sync::Arc;

use super::database::{Database, Lock, Stop, TransactionId, dependency};
use super::{HistoryRow, Pair, Place};
use crate::batch::{Change, ChangeBatch, ChangeKind, WriteTable};
use crate::data::{CellRange, Value};
use crate::error::Error;
use crate::moves::{self, Halves, Present, Word, WordChange};
use crate::mutation;

/// Code of the error of half a key change whose other half has not come.
pub(super) const LACKS_HALF: &str = "move";

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

    /// The rows that later changes must not touch before this one. Half a key change holds only its own key (see [`moves`]).
    pub(super) fn places(&self) -> Vec<Place> {
        let both = self.is_move() && self.batch.halves(self.change) == Halves::Both;
        let keys = [Some(self.change.key), self.change.old_key.filter(|_| both)];
        keys.into_iter().flatten().map(|key| self.place(key)).collect()
    }

    fn is_move(&self) -> bool {
        matches!(self.change.kind, ChangeKind::Move | ChangeKind::MoveKey)
    }

    /// The pair that this half belongs to.
    pub(super) fn pair(&self) -> Option<Pair> {
        if !self.is_move() || self.batch.halves(self.change) == Halves::Both {
            return None;
        }
        let task = &self.batch.span_of(self.batch.records[self.change.first_record as usize].slot).task;
        Some(Pair {
            pipeline: task.pipeline.clone(),
            direction: task.direction.clone(),
            table: self.table.name.clone(),
            id: moves::pair_id(self.batch, self.change)?,
        })
    }

    /// What a held half waits for; it leaves word.
    pub(super) fn park(&self, database: &mut Database, id: TransactionId) -> Result<Option<String>, Error> {
        let Some(pair) = self.pair() else { return Ok(None) };
        let waits_for = moves::waits_for(&pair.id);
        let before = database.word(id, &pair);
        if let Some(word) = moves::word_when_held(self.batch.halves(self.change), before) {
            let writes = database.writes(id)?;
            writes.set_word(pair, Some(word));
            if before.is_some() {
                writes.wake_later(waits_for.clone());
            }
        }
        Ok(Some(waits_for))
    }

    /// A half that dies is done: the other need not wait for it.
    pub(super) fn forgo(&self, database: &mut Database, id: TransactionId) -> Result<(), Error> {
        let Some(pair) = self.pair() else { return Ok(()) };
        let is_last = database.word(id, &pair) == Some(Word::Done);
        let writes = database.writes(id)?;
        if !is_last {
            writes.wake_later(moves::waits_for(&pair.id));
        }
        writes.set_word(pair, (!is_last).then_some(Word::Done));
        Ok(())
    }

    /// Locks the rows and their parents; may be called again after a wait.
    pub(super) fn lock(&self, database: &mut Database, id: TransactionId) -> Result<(), Stop> {
        if self.change.kind == ChangeKind::Append {
            return Ok(());
        }
        if let Some(pair) = self.pair() {
            database.lock(id, Lock::Pair(pair))?;
        }
        for key in [Some(self.change.key), self.change.old_key].into_iter().flatten() {
            database.lock(id, Lock::Row(self.place(key)))?;
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
        let place = self.place(self.change.key);
        let present = database.row(id, &place).cloned();
        match (self.change.kind, present) {
            (ChangeKind::Delete, None) => Ok(Effect::Unchanged),
            (ChangeKind::Delete, Some(_)) => database.delete(id, &place).map(|()| Effect::Applied),
            (ChangeKind::InsertIfAbsent, Some(row)) => {
                let mut incoming = self.batch.arena.values(self.change.row);
                self.keep_own(&mut incoming, &row);
                let is_equal = row == incoming;
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
        if let Some(old) = present.as_ref().filter(|_| self.change.kind != ChangeKind::Replace) {
            self.keep_own(&mut row, old);
        }
        if present.as_ref() == Some(&row) {
            return Ok(Effect::Unchanged);
        }
        database.put(id, place, row).map(|()| Effect::Applied)
    }

    /// A present row keeps what only inserts write.
    fn keep_own(&self, row: &mut [Value], present: &[Value]) {
        for at in &self.table.insert_only {
            row[*at] = present[*at].clone();
        }
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
        let pair = self.pair();
        let present = Present {
            old: database.row(id, &old).is_some(),
            new: database.row(id, &new).is_some(),
            word: pair.as_ref().and_then(|pair| database.word(id, pair)),
            is_alone: self.batch.is_alone(self.change)
                && pair.as_ref().is_some_and(|pair| database.waiting_for(id, pair) < 2),
        };
        let plan = moves::plan_move(self.batch, self.change, present);
        if plan.park {
            let detail = format!("table {}: the other half of the key change has not come", old.table);
            let code = if plan.word == WordChange::Keep { "row" } else { LACKS_HALF };
            return Err(dependency(detail).with_code(code));
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
        if let Some(pair) = pair {
            let writes = database.writes(id)?;
            if plan.wake {
                writes.wake_later(moves::waits_for(&pair.id));
            }
            match plan.word {
                WordChange::Keep => {}
                WordChange::Leave(word) => writes.set_word(pair, Some(word)),
                WordChange::Take => writes.set_word(pair, None),
            }
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
