//! A small database in memory with real transactions: private writes until COMMIT, read committed, row locks that block, deadlock
//! victims, foreign keys. What a client that vanished left open can stay open for a while, as on a real server.

use std::collections::{BTreeMap, BTreeSet};
use std::sync::Arc;
use std::task::Waker;

use super::{Commit, CommitSpan, HeldEntry, HistoryRow, Pair, Place};
use crate::batch::HeldId;
use crate::data::Value;
use crate::error::{Error, ErrorKind, Stage};
use crate::ledger::{LedgerRow, TaskKey};
use crate::moves::Word;
use crate::output::Output;

/// Everything that is committed. A clone is a backup.
#[derive(Clone, Debug, Default)]
pub(crate) struct Tables {
    pub(crate) rows: BTreeMap<Place, Vec<Value>>,
    pub(crate) history: Vec<HistoryRow>,
    pub(crate) ledger: BTreeMap<TaskKey, LedgerRow>,
    pub(crate) held: BTreeMap<(TaskKey, HeldId), HeldEntry>,
    pub(crate) words: BTreeMap<Pair, Word>,
    pub(crate) outbox: BTreeMap<(TaskKey, i64), Output>,
}

/// A row lock.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub(super) enum Lock {
    Ledger(TaskKey),
    Row(Place),
    Pair(Pair),
}

pub(super) type TransactionId = u64;

/// What a transaction wrote so far; nobody else sees it.
#[derive(Clone, Debug, Default)]
pub(super) struct Writes {
    rows: BTreeMap<Place, Option<Vec<Value>>>,
    history: Vec<HistoryRow>,
    ledger: BTreeMap<TaskKey, LedgerRow>,
    held: BTreeMap<(TaskKey, HeldId), Option<HeldEntry>>,
    words: BTreeMap<Pair, Option<Word>>,
    outbox: Vec<Output>,
    spans: Vec<CommitSpan>,
    wakes: Vec<String>,
}

#[derive(Debug, Default)]
pub(super) struct Transaction {
    pub(super) writes: Writes,
    /// The client sent COMMIT; whether it arrived is open while the client is gone.
    pub(super) commit_sent: bool,
    /// The client is gone and the server has not noticed.
    is_orphan: bool,
}

/// Why a statement did not do its work.
pub(super) enum Stop {
    /// Another transaction holds a lock: try again when something ended.
    Blocked,
    /// It failed.
    Failed(Error),
}

impl From<Error> for Stop {
    fn from(error: Error) -> Stop {
        Stop::Failed(error)
    }
}

/// A foreign key: cell `column` of rows of `child` is the one-cell key of a row of `parent`.
#[derive(Clone, Debug)]
pub(super) struct Reference {
    pub(super) child: Arc<str>,
    pub(super) column: usize,
    pub(super) parent: Arc<str>,
}

#[derive(Default)]
pub(super) struct Database {
    pub(super) tables: Tables,
    pub(super) transactions: BTreeMap<TransactionId, Transaction>,
    locks: BTreeMap<Lock, TransactionId>,
    waits: BTreeMap<TransactionId, TransactionId>,
    wakers: Vec<Waker>,
    last_transaction: TransactionId,
    pub(super) references: Vec<Reference>,
    pub(super) refused: BTreeSet<String>,
    pub(super) missing_tables: BTreeSet<Arc<str>>,
    pub(super) commits: Option<Vec<Commit>>,
    pub(super) orphans_linger: bool,
}

pub(super) fn connection_lost() -> Error {
    Error::new(ErrorKind::Transient, Stage::Write, "connection to the target is lost", "memory target")
}

impl Database {
    pub(super) fn begin(&mut self) -> TransactionId {
        self.last_transaction += 1;
        self.transactions.insert(self.last_transaction, Transaction::default());
        self.last_transaction
    }

    pub(super) fn wait(&mut self, waker: Waker) {
        self.wakers.push(waker);
    }

    pub(super) fn wake_all(&mut self) {
        self.wakers.drain(..).for_each(Waker::wake);
    }

    /// Takes a lock or says who has it; a cycle of waiters ends with this transaction as the victim.
    pub(super) fn lock(&mut self, transaction: TransactionId, lock: Lock) -> Result<(), Stop> {
        let holder = *self.locks.entry(lock).or_insert(transaction);
        if holder == transaction {
            self.waits.remove(&transaction);
            return Ok(());
        }
        let mut at = holder;
        while let Some(next) = self.waits.get(&at) {
            at = *next;
            if at == transaction {
                self.end(transaction);
                let error = Error::new(ErrorKind::Transient, Stage::Write, "deadlock victim", "memory target");
                return Err(Stop::Failed(error));
            }
        }
        self.waits.insert(transaction, holder);
        Err(Stop::Blocked)
    }

    fn end(&mut self, transaction: TransactionId) -> Option<Transaction> {
        self.locks.retain(|_, holder| *holder != transaction);
        self.waits.remove(&transaction);
        let ended = self.transactions.remove(&transaction);
        self.wake_all();
        ended
    }

    pub(super) fn rollback(&mut self, transaction: TransactionId) {
        self.end(transaction);
    }

    pub(super) fn commit(&mut self, id: TransactionId, now_us: u64) -> Result<(), Error> {
        let Some(transaction) = self.end(id) else { return Err(connection_lost()) };
        let Writes { rows, history, ledger, held, words, outbox, spans, wakes } = transaction.writes;
        if let Some(commits) = &mut self.commits {
            commits.push(Commit {
                spans,
                ledger: ledger.iter().map(|(task, row)| (task.clone(), row.clone())).collect(),
                rows: rows.iter().map(|(place, row)| (place.clone(), row.clone())).collect(),
                history: history.clone(),
            });
        }
        for (place, row) in rows {
            match row {
                Some(row) => self.tables.rows.insert(place, row),
                None => self.tables.rows.remove(&place),
            };
        }
        self.tables.history.extend(history);
        self.tables.ledger.extend(ledger);
        for (id, entry) in held {
            match entry {
                Some(entry) => self.tables.held.insert(id, entry),
                None => self.tables.held.remove(&id),
            };
        }
        for (pair, word) in words {
            match word {
                Some(word) => self.tables.words.insert(pair, word),
                None => self.tables.words.remove(&pair),
            };
        }
        let numbered = |output: Output| ((output.task.clone(), output.seq), output);
        self.tables.outbox.extend(outbox.into_iter().map(numbered));
        wakes.iter().for_each(|waits_for| self.wake(waits_for, now_us));
        Ok(())
    }

    /// The client is gone.
    pub(super) fn abandon(&mut self, id: TransactionId) {
        if !self.orphans_linger {
            self.rollback(id);
        } else if let Some(transaction) = self.transactions.get_mut(&id) {
            transaction.is_orphan = true;
        }
    }

    /// The server notices one client that is gone. COMMIT may have arrived before. False when there is none.
    pub(super) fn end_orphan(&mut self, commit_arrived: bool, now_us: u64) -> bool {
        let found = self.transactions.iter().find(|(_, transaction)| transaction.is_orphan);
        let Some((id, transaction)) = found else { return false };
        let (id, commits) = (*id, transaction.commit_sent && commit_arrived);
        if commits {
            let _ = self.commit(id, now_us);
        } else {
            self.rollback(id);
        }
        true
    }

    /// The server stops at once: open transactions are gone.
    pub(super) fn crash(&mut self) {
        self.transactions.clear();
        self.locks.clear();
        self.waits.clear();
        self.wake_all();
    }

    pub(super) fn writes(&mut self, id: TransactionId) -> Result<&mut Writes, Error> {
        self.transactions.get_mut(&id).map(|transaction| &mut transaction.writes).ok_or_else(connection_lost)
    }

    fn seen(&self, id: TransactionId) -> Option<&Writes> {
        self.transactions.get(&id).map(|transaction| &transaction.writes)
    }

    pub(super) fn row(&self, id: TransactionId, place: &Place) -> Option<&Vec<Value>> {
        match self.seen(id).and_then(|writes| writes.rows.get(place)) {
            Some(own) => own.as_ref(),
            None => self.tables.rows.get(place),
        }
    }

    pub(super) fn ledger(&self, id: TransactionId, task: &TaskKey) -> Option<&LedgerRow> {
        self.seen(id).and_then(|writes| writes.ledger.get(task)).or_else(|| self.tables.ledger.get(task))
    }

    pub(super) fn word(&self, id: TransactionId, pair: &Pair) -> Option<Word> {
        match self.seen(id).and_then(|writes| writes.words.get(pair)) {
            Some(own) => *own,
            None => self.tables.words.get(pair).copied(),
        }
    }

    /// Makes committed held rows of any task due that wait for this (rule H2).
    pub(super) fn wake(&mut self, waits_for: &str, now_us: u64) {
        let waiting = self.tables.held.values_mut().filter(|entry| entry.waits_for.as_deref() == Some(waits_for));
        waiting.for_each(|entry| entry.retry_at_us = entry.retry_at_us.min(now_us));
    }

    /// Held rows of a task as this transaction sees them, in order.
    pub(super) fn held(&self, id: TransactionId, task: &TaskKey) -> BTreeMap<HeldId, HeldEntry> {
        let mut all: BTreeMap<HeldId, HeldEntry> =
            self.tables.held.iter().filter(|(of, _)| of.0 == *task).map(|(of, entry)| (of.1, entry.clone())).collect();
        let own = self.seen(id).map(|writes| &writes.held);
        for ((_, held_id), entry) in own.into_iter().flatten().filter(|(of, _)| of.0 == *task) {
            match entry {
                Some(entry) => all.insert(*held_id, entry.clone()),
                None => all.remove(held_id),
            };
        }
        all
    }

    /// Held halves of a key change that may still be applied.
    pub(super) fn waiting_for(&self, id: TransactionId, pair: &Pair) -> usize {
        let waits_for = crate::moves::waits_for(&pair.id);
        let is_one = |(of, entry): (&TaskKey, &HeldEntry)| {
            of.pipeline == pair.pipeline
                && of.direction == pair.direction
                && entry.state != super::HeldState::Dead
                && entry.places.first().is_some_and(|place| place.table == pair.table)
                && entry.waits_for.as_deref() == Some(&*waits_for)
        };
        let tasks: std::collections::BTreeSet<&TaskKey> = self.tables.held.keys().map(|(task, _)| task).collect();
        tasks.into_iter().map(|task| self.held(id, task).values().filter(|entry| is_one((task, entry))).count()).sum()
    }

    /// Writes a row, checking its foreign keys and refused values.
    pub(super) fn put(&mut self, id: TransactionId, place: &Place, row: Vec<Value>) -> Result<(), Error> {
        for cell in &row {
            if let Value::Text(text) = cell
                && self.refused.contains(text)
            {
                let detail = format!("table {}: CHECK refuses the row", place.table);
                return Err(Error::data(Stage::Write, "cannot write row", detail).with_code("check"));
            }
        }
        for reference in self.references.iter().filter(|reference| reference.child == place.table) {
            let parent = reference.place(&row);
            if parent.is_some_and(|parent| self.row(id, &parent).is_none()) {
                let detail = format!("table {}: no row in parent table {}", place.table, reference.parent);
                return Err(dependency(detail).with_code("foreign_key"));
            }
        }
        self.writes(id)?.rows.insert(place.clone(), Some(row));
        Ok(())
    }

    /// Deletes a row; absent is fine, children are not.
    pub(super) fn delete(&mut self, id: TransactionId, place: &Place) -> Result<(), Error> {
        for reference in self.references.iter().filter(|reference| reference.parent == place.table) {
            let own = self.seen(id).map(|writes| &writes.rows);
            let candidates = self.tables.rows.keys().chain(own.into_iter().flat_map(BTreeMap::keys));
            let mut children = candidates.filter(|child| child.table == reference.child);
            let points_here =
                |child: &Place| self.row(id, child).and_then(|row| reference.place(row)).as_ref() == Some(place);
            if children.any(points_here) {
                let detail = format!("table {}: rows of {} point to the row", place.table, reference.child);
                return Err(dependency(detail).with_code("foreign_key"));
            }
        }
        self.writes(id)?.rows.insert(place.clone(), None);
        Ok(())
    }

    /// Deletes all rows of a table.
    pub(super) fn clear(&mut self, id: TransactionId, table: &Arc<str>) -> Result<(), Error> {
        let places: Vec<Place> = self.tables.rows.keys().filter(|place| place.table == *table).cloned().collect();
        let writes = self.writes(id)?;
        for (place, row) in &mut writes.rows {
            if place.table == *table {
                *row = None;
            }
        }
        writes.rows.extend(places.into_iter().map(|place| (place, None)));
        Ok(())
    }
}

impl Writes {
    pub(super) fn append(&mut self, row: HistoryRow) {
        self.history.push(row);
    }

    pub(super) fn set_ledger(&mut self, task: &TaskKey, row: LedgerRow) {
        self.ledger.insert(task.clone(), row);
    }

    pub(super) fn note_span(&mut self, span: CommitSpan) {
        self.spans.push(span);
    }

    pub(super) fn set_held(&mut self, task: &TaskKey, id: HeldId, entry: Option<HeldEntry>) {
        self.held.insert((task.clone(), id), entry);
    }

    pub(super) fn store_output(&mut self, output: Output) {
        self.outbox.push(output);
    }

    pub(super) fn set_word(&mut self, pair: Pair, word: Option<Word>) {
        self.words.insert(pair, word);
    }

    /// Wakes held rows after COMMIT.
    pub(super) fn wake_later(&mut self, waits_for: String) {
        self.wakes.push(waits_for);
    }
}

impl Reference {
    /// Where the parent of a row is; `None` when the column is NULL.
    pub(super) fn place(&self, row: &[Value]) -> Option<Place> {
        let value = row.get(self.column)?;
        (*value != Value::Null).then(|| Place::new(&self.parent, std::slice::from_ref(value)))
    }
}

pub(super) fn dependency(detail: String) -> Error {
    Error::new(ErrorKind::Dependency, Stage::Write, "cannot write row", detail)
}
