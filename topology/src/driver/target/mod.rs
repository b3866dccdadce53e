//! A target in memory that keeps the whole contract of [`SinkWriter`](crate::sink::SinkWriter): rows, ledger, held rows and words of key changes commit together.
//!
//! [`MemoryTarget`] is the server: cheap to clone, shared by all writers, with scripted faults. [`MemoryWriter`] is one connection. Every
//! statement waits once, so that whoever drives the futures can stop, reorder or drop work between any two statements.

mod connection;
mod database;
mod held;
mod rows;
mod writer;

use std::collections::BTreeMap;
use std::sync::{Arc, Mutex, MutexGuard};

pub use writer::MemoryWriter;

use super::codec::encode_row;
use super::worker::TestDirection;
use crate::batch::HeldId;
use crate::batch::{SnapshotMode, WriteTable};
use crate::clock::Clock;
use crate::data::Value;
use crate::error::ErrorKind;
use crate::ledger::{LedgerRow, TaskKey};
use crate::moves::Word;
use crate::output::Output;
use crate::record::Operation;
use database::{Database, Reference, Tables};

/// Where a row lies: table and key.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub struct Place {
    /// Table name.
    pub table: Arc<str>,
    /// Key in the bytes of [`encode_row`].
    pub key: Vec<u8>,
}

impl Place {
    /// Of a key.
    pub fn new(table: &Arc<str>, key: &[Value]) -> Place {
        Place { table: table.clone(), key: encode_row(key) }
    }
}

/// A key change whose halves have not met (see [`crate::moves`]).
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub struct Pair {
    /// Pipeline.
    pub pipeline: Arc<str>,
    /// Direction.
    pub direction: Arc<str>,
    /// Table name.
    pub table: Arc<str>,
    /// [`crate::moves::pair_id`].
    pub id: String,
}

/// One row of a history table.
#[derive(Clone, Debug, PartialEq)]
pub struct HistoryRow {
    /// Table name.
    pub table: Arc<str>,
    /// Kafka topic.
    pub topic: Arc<str>,
    /// Partition.
    pub partition: i32,
    /// Offset.
    pub offset: i64,
    /// What happened.
    pub operation: Operation,
    /// The key.
    pub key: Vec<Value>,
    /// The row; of a delete what the source sent of the row before.
    pub row: Vec<Value>,
}

/// State of a held row.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum HeldState {
    /// Waits for something.
    Parked,
    /// Waits behind another one.
    Queued,
    /// Can never be applied as it is.
    Dead,
}

/// A row of `tidelock_held`.
#[derive(Clone, Debug, PartialEq)]
pub struct HeldEntry {
    /// Where it stands.
    pub state: HeldState,
    /// Class of the error.
    pub kind: ErrorKind,
    /// What failed.
    pub message: String,
    /// The rows that later changes must not touch before it: one, or two for both halves of a key change; none if it had no key yet.
    pub places: Vec<Place>,
    /// What it waits for, if that can be named.
    pub waits_for: Option<String>,
    /// It is half a key change and waits for nothing but the other half: the word that it leaves.
    pub lacks_half: Option<Word>,
    /// When it failed first, by the target's clock.
    pub first_failed_us: u64,
    /// Attempts so far.
    pub attempts: i32,
    /// When it is due, by the target's clock.
    pub retry_at_us: u64,
    /// Original key bytes.
    pub key: Option<Vec<u8>>,
    /// Original value bytes.
    pub value: Option<Vec<u8>>,
    /// Encoded headers.
    pub headers: Vec<u8>,
    /// Kafka timestamp.
    pub timestamp_ms: i64,
}

/// Progress of one task in a commit.
#[derive(Clone, Debug, PartialEq)]
pub struct CommitSpan {
    /// The task.
    pub task: TaskKey,
    /// Epoch of the writer.
    pub epoch: i64,
    /// Progress before.
    pub from: i64,
    /// Progress after.
    pub to: i64,
}

/// What one transaction committed, for judges ([`MemoryTarget::record_commits`]).
#[derive(Clone, Debug, PartialEq)]
pub struct Commit {
    /// Progress.
    pub spans: Vec<CommitSpan>,
    /// Ledger rows written, by batches and claims.
    pub ledger: Vec<(TaskKey, LedgerRow)>,
    /// Rows written, `None` for deleted ones.
    pub rows: Vec<(Place, Option<Vec<Value>>)>,
    /// History rows.
    pub history: Vec<HistoryRow>,
}

/// A statement, for scripted faults.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Statement {
    /// Opening a connection or a transaction.
    Begin,
    /// A claim's write.
    Claim,
    /// The compare-and-set of one task.
    Cas,
    /// A read: held rows, probe.
    Read,
    /// Rows of one table.
    Write,
    /// COMMIT.
    Commit,
}

/// A scripted fault.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Fault {
    /// The statement is refused with this kind; nothing was done, the connection is fine.
    Reject(ErrorKind),
    /// The connection breaks before the server gets it.
    Cut,
    /// The server does the work and the connection breaks before the reply.
    LoseReply,
    /// The server does the work and the reply comes only after [`MemoryTarget::release_replies`].
    WithholdReply,
}

/// Asked before every statement.
pub type FaultScript = Box<dyn FnMut(Statement) -> Option<Fault> + Send>;

/// A backup of everything committed.
#[derive(Clone, Default)]
pub struct Backup(Tables);

struct Shared {
    database: Database,
    is_up: bool,
    faults: FaultScript,
    /// Replies withheld before this many releases may go.
    releases: u64,
}

/// The server.
#[derive(Clone)]
pub struct MemoryTarget {
    shared: Arc<Mutex<Shared>>,
    clock: Arc<dyn Clock>,
}

impl MemoryTarget {
    /// An empty target that is up. `clock` is its own clock, for held rows.
    pub fn new(clock: Arc<dyn Clock>) -> MemoryTarget {
        let shared = Shared { database: Database::default(), is_up: true, faults: Box::new(|_| None), releases: 0 };
        MemoryTarget { shared: Arc::new(Mutex::new(shared)), clock }
    }

    fn lock(&self) -> MutexGuard<'_, Shared> {
        self.shared.lock().unwrap_or_else(std::sync::PoisonError::into_inner)
    }

    /// A connection of one lane, for tables and snapshot modes indexed by entity.
    pub fn writer(&self, tables: &[WriteTable], snapshots: &[SnapshotMode]) -> MemoryWriter {
        MemoryWriter::new(self.clone(), tables, snapshots, false)
    }

    /// A connection of one lane of a direction.
    pub fn writer_of(&self, direction: &TestDirection) -> Box<MemoryWriter> {
        let settings = &direction.settings;
        Box::new(MemoryWriter::new(self.clone(), &settings.tables, &settings.snapshots, settings.publishes))
    }

    /// Adds a foreign key: cell `column` of rows of `child` names a row of `parent` by its one-cell key.
    pub fn add_reference(&self, child: &str, column: usize, parent: &str) {
        let reference = Reference { child: child.into(), column, parent: parent.into() };
        self.lock().database.references.push(reference);
    }

    /// From now on rows with this text in any cell are refused, as by a CHECK.
    pub fn refuse(&self, text: &str) {
        self.lock().database.refused.insert(text.to_owned());
    }

    /// Accepts the text again.
    pub fn accept(&self, text: &str) {
        self.lock().database.refused.remove(text);
    }

    /// The table is not there until [`MemoryTarget::create_table`] (rule E5); its rows stay.
    pub fn drop_table(&self, table: &str) {
        self.lock().database.missing_tables.insert(table.into());
    }

    fn missing_tables(&self) -> std::collections::BTreeSet<Arc<str>> {
        self.lock().database.missing_tables.clone()
    }

    /// The table is there again.
    pub fn create_table(&self, table: &str) {
        self.lock().database.missing_tables.remove(table);
    }

    /// Sets what goes wrong.
    pub fn script(&self, faults: FaultScript) {
        self.lock().faults = faults;
    }

    /// Stops the server at once, as by a power cut: open transactions are gone, committed ones stay.
    pub fn down(&self) {
        let mut shared = self.lock();
        shared.is_up = false;
        shared.database.crash();
    }

    /// Starts the server.
    pub fn up(&self) {
        self.lock().is_up = true;
    }

    /// Lets withheld replies go.
    pub fn release_replies(&self) {
        let mut shared = self.lock();
        shared.releases += 1;
        shared.database.wake_all();
    }

    /// From now on the server does not notice by itself that a client is gone: its transaction stays open, with its locks, until
    /// [`MemoryTarget::end_orphan`].
    pub fn let_orphans_linger(&self, linger: bool) {
        self.lock().database.orphans_linger = linger;
    }

    /// The server notices one client that is gone. If the client had sent COMMIT, it `commit_arrived` before or not. False when there is none.
    pub fn end_orphan(&self, commit_arrived: bool) -> bool {
        let now_us = self.clock.now_us();
        self.lock().database.end_orphan(commit_arrived, now_us)
    }

    /// A backup of everything committed.
    pub fn backup(&self) -> Backup {
        Backup(self.lock().database.tables.clone())
    }

    /// Goes back to a backup; open transactions are gone.
    pub fn restore(&self, backup: &Backup) {
        let mut shared = self.lock();
        shared.database.crash();
        shared.database.tables = backup.0.clone();
    }

    /// Starts to keep what every transaction commits, for [`MemoryTarget::take_commits`].
    pub fn record_commits(&self) {
        self.lock().database.commits.get_or_insert_default();
    }

    /// What was committed since the last call, in order.
    pub fn take_commits(&self) -> Vec<Commit> {
        self.lock().database.commits.as_mut().map(std::mem::take).unwrap_or_default()
    }

    /// Committed rows of a table, by key.
    pub fn rows(&self, table: &str) -> Vec<Vec<Value>> {
        let shared = self.lock();
        let rows = shared.database.tables.rows.iter().filter(|(place, _)| &*place.table == table);
        rows.map(|(_, row)| row.clone()).collect()
    }

    /// Committed history rows, in order of commit.
    pub fn history(&self) -> Vec<HistoryRow> {
        self.lock().database.tables.history.clone()
    }

    /// Held rows.
    pub fn held(&self) -> BTreeMap<(TaskKey, HeldId), HeldEntry> {
        self.lock().database.tables.held.clone()
    }

    /// Outputs that are not deleted yet.
    pub fn outbox(&self) -> Vec<Output> {
        self.lock().database.tables.outbox.values().cloned().collect()
    }

    /// The ledger.
    pub fn ledger(&self) -> BTreeMap<TaskKey, LedgerRow> {
        self.lock().database.tables.ledger.clone()
    }

    /// Words of key changes whose halves have not met or not both finished.
    pub fn words(&self) -> BTreeMap<Pair, Word> {
        self.lock().database.tables.words.clone()
    }
}
