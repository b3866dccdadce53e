//! Sessions that do not wait for ever (rule L10): a network that lost a connection without a word, or a host that lost its power, never answers,
//! and TCP alone would not notice while we wait for a reply.
//!
//! A statement without an answer is first told ([`OnSilence`]) and, at its limit, given up: the call fails as `Transient`, and so does every later
//! one, without waiting. The writer then opens a new session, and what became of a COMMIT is decided by the next claim (rule L4). The limit lies
//! above the one that the server has itself, so that a server that is merely slow says so first.
//!
//! Not for SQLite: a file always answers, and waits for a lock are bounded there.

use std::pin::pin;
use std::sync::Arc;
use std::time::Duration;

use async_trait::async_trait;
use tokio::time::timeout;
use topology::data::{Arena, CellRange, Value};
use topology::table::TableDescription;
use topology::{Error, ErrorKind, Stage};

use super::connection::{Connector, SqlConnection};
use super::dialect::Dialect;
use super::error::{SqlError, SqlResult};
use super::plan::{Shape, TablePlan, Written};

/// Longest time of one statement unless somebody says otherwise: bulk writes take milliseconds, a lock is waited for 10 s.
pub const DEFAULT_STATEMENT_MAX: Duration = Duration::from_secs(120);

/// Silence after which the target counts as not answering: longer than the 10 s for which sessions wait for a lock. Half of the limit at most.
const SILENT_AFTER: Duration = Duration::from_secs(15);

/// Opening a session takes milliseconds; this long a firewall that drops packets is waited for.
const CONNECT_MAX: Duration = Duration::from_secs(30);

/// Hears `false` when a target has not answered for long, `true` when the answer came after all. Called at most once per statement each.
pub type OnSilence = Arc<dyn Fn(bool) + Send + Sync>;

/// How long is waited.
#[derive(Clone)]
pub struct Patience {
    statement_max: Duration,
    on_silence: Option<OnSilence>,
}

impl Patience {
    /// `statement_max` is what the server is told as its own limit, where it has one; we wait a quarter longer.
    pub fn new(statement_max: Duration, on_silence: Option<OnSilence>) -> Patience {
        Patience { statement_max, on_silence }
    }

    fn answer_max(&self) -> Duration {
        self.statement_max + self.statement_max / 4
    }

    fn tell(&self, answers: bool) {
        if let Some(on_silence) = &self.on_silence {
            on_silence(answers);
        }
    }

    /// The answer; `None` when there is none for `longest`.
    async fn wait<T>(&self, longest: Duration, work: impl Future<Output = SqlResult<T>>) -> Option<SqlResult<T>> {
        let mut work = pin!(work);
        let first = SILENT_AFTER.min(longest / 2);
        if let Ok(done) = timeout(first, &mut work).await {
            return Some(done);
        }
        self.tell(false);
        let done = timeout(longest - first, work).await.ok()?;
        if done.as_ref().err().is_none_or(|error| !is_about_the_way(error)) {
            self.tell(true);
        }
        Some(done)
    }
}

fn is_about_the_way(error: &SqlError) -> bool {
    matches!(error.kind(), ErrorKind::Transient | ErrorKind::Environment)
}

fn silent(detail: &str) -> SqlError {
    SqlError::known(Error::new(ErrorKind::Transient, Stage::Write, "database does not answer", detail))
}

/// Opens sessions that are given up when they fall silent.
pub struct PatientConnector {
    inner: Box<dyn Connector>,
    patience: Patience,
}

impl PatientConnector {
    /// Sessions of `inner` with limits.
    pub fn new(inner: Box<dyn Connector>, patience: Patience) -> PatientConnector {
        PatientConnector { inner, patience }
    }
}

#[async_trait]
impl Connector for PatientConnector {
    fn dialect(&self) -> &'static dyn Dialect {
        self.inner.dialect()
    }

    async fn connect(&self) -> SqlResult<Box<dyn SqlConnection>> {
        let longest = CONNECT_MAX.min(self.patience.answer_max());
        let opened = self.patience.wait(longest, self.inner.connect()).await;
        let inner =
            opened.unwrap_or_else(|| Err(silent("no session could be opened; check the address and the network")))?;
        Ok(Box::new(Session { inner, patience: self.patience.clone(), is_lost: false }))
    }
}

struct Session {
    inner: Box<dyn SqlConnection>,
    patience: Patience,
    /// A call was given up: whatever comes next would read its answer.
    is_lost: bool,
}

/// Waits for one call of the inner session.
macro_rules! ask {
    ($session:expr, $call:ident($($argument:expr),*)) => {{
        // Set while a call is under way: also one that is dropped half-way leaves it so.
        if std::mem::replace(&mut $session.is_lost, true) {
            return Err(silent("its connection was given up before"));
        }
        let longest = $session.patience.answer_max();
        let Some(done) = $session.patience.wait(longest, $session.inner.$call($($argument),*)).await else {
            return Err(silent("the connection is given up, and the ledger will tell what took effect; if the server is merely slow, raise tuning.statement_seconds"));
        };
        $session.is_lost = false;
        done
    }};
}

#[async_trait]
impl SqlConnection for Session {
    async fn execute(&mut self, sql: &str, parameters: &[Value]) -> SqlResult<u64> {
        ask!(self, execute(sql, parameters))
    }

    async fn query(&mut self, sql: &str, parameters: &[Value]) -> SqlResult<Vec<Vec<Value>>> {
        ask!(self, query(sql, parameters))
    }

    async fn execute_plain(&mut self, sql: &str) -> SqlResult<()> {
        ask!(self, execute_plain(sql))
    }

    async fn begin(&mut self, tagged: bool) -> SqlResult<()> {
        ask!(self, begin(tagged))
    }

    async fn constraints_immediate(&mut self) -> SqlResult<()> {
        ask!(self, constraints_immediate())
    }

    async fn commit(&mut self) -> SqlResult<()> {
        ask!(self, commit())
    }

    async fn rollback(&mut self) -> SqlResult<()> {
        ask!(self, rollback())
    }

    async fn savepoint(&mut self) -> SqlResult<()> {
        ask!(self, savepoint())
    }

    async fn rollback_to_savepoint(&mut self) -> SqlResult<()> {
        ask!(self, rollback_to_savepoint())
    }

    async fn release_savepoint(&mut self) -> SqlResult<()> {
        ask!(self, release_savepoint())
    }

    async fn write_rows(&mut self, shape: &Shape, arena: &Arena, rows: &[CellRange]) -> SqlResult<Written> {
        ask!(self, write_rows(shape, arena, rows))
    }

    async fn present(&mut self, plan: &TablePlan, arena: &Arena, keys: &[CellRange]) -> SqlResult<Vec<bool>> {
        ask!(self, present(plan, arena, keys))
    }

    async fn exist(&mut self, plan: &TablePlan, arena: &Arena, keys: &[CellRange]) -> SqlResult<Vec<bool>> {
        ask!(self, exist(plan, arena, keys))
    }

    async fn advance_sequence(&mut self, plan: &TablePlan, column: usize, highest: i64) -> SqlResult<()> {
        ask!(self, advance_sequence(plan, column, highest))
    }

    async fn describe(&mut self, table: &str) -> SqlResult<Option<TableDescription>> {
        ask!(self, describe(table))
    }

    async fn terminate(&mut self, backend_id: i64) -> SqlResult<()> {
        ask!(self, terminate(backend_id))
    }
}
