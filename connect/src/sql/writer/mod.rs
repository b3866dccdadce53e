//! The writer that all SQL sinks share: one target transaction per batch, ledger first (rules L, B1, E, H).
//!
//! ```text
//! apply:  plans ready → BEGIN (tagged) → CAS per span, key order → stages: truncates, tables parents first, deletes reversed
//!         → held rows → COMMIT        row error → slow path (slow.rs)      schema error → again without that topic (rule E5)
//!         CAS matched nothing → ROLLBACK, lock-read, judge (rule L3)        COMMIT failed → unknown, connection closed (rule L4)
//! ```
//!
//! Files: `options` is what it is made of, `claim` takes over tasks, `attempt` runs one transaction, `groups` and `rows` turn changes into
//! statements, `moves` meets halves of key changes, `halves` puts off those that wait, `slow` isolates bad rows, `held` and `held_store` hold rows, `held_keys` remembers their keys, `release` tries them again,
//! `wake` tells when, `overtaken` makes history of dead ones, `room` limits them, `told` says what failed, `outbox` stores what is to be
//! published, `history` makes rows of `mode: append`.

mod attempt;
mod claim;
mod failed_again;
mod groups;
mod halves;
mod held;
mod held_keys;
mod held_store;
mod history;
mod json;
mod limit;
mod moves;
mod options;
mod outbox;
mod overtaken;
mod release;
mod room;
mod rows;
mod slow;
mod tables;
mod told;
mod wake;

use std::collections::{HashMap, HashSet};
use std::time::Instant;

use async_trait::async_trait;
use topology::batch::{ChangeBatch, HeldId};
use topology::data::Arena;
use topology::generation::FirstRecord;
use topology::ledger::{CasOutcome, Claim, ClaimReply, ClaimRequest, Owner, TaskKey, TopicProgress};
use topology::output::{Output, Published};
use topology::sink::{Applied, ApplyError, Capabilities, HeldCounts, HeldRow, SinkWriter};
use topology::{Error, ErrorKind, Stage};

use self::held_keys::HeldKeys;
pub use self::limit::DeadLimit;
use self::limit::DeadWindow;
pub use self::options::{HeldLimits, SinkTable, WriterOptions};
use self::tables::{EntityTable, OwnTables};
use self::wake::Wakes;
use super::connection::{Connector, SqlConnection};
use super::error::{SqlError, SqlResult};
use super::statements::Statements;

/// One dedicated connection to an SQL target, used by one lane.
pub struct SqlWriter {
    connector: Box<dyn Connector>,
    options: WriterOptions,
    statements: Statements,
    own: OwnTables,
    session: Option<Box<dyn SqlConnection>>,
    /// True while a call runs: still true at the next one means that its future was dropped (rule L4).
    busy: bool,
    /// The present session was seen to count matched rows (rule L2).
    counts_asserted: bool,
    /// Our own tables are there.
    own_tables_ready: bool,
    tables: Vec<Option<EntityTable>>,
    held: HashMap<TaskKey, HeldKeys>,
    /// Windows of the dead-letter limit (rule E6).
    dead_windows: HashMap<TaskKey, DeadWindow>,
    /// What is published of the outputs of claimed tasks (rule O2).
    published: HashMap<TaskKey, i64>,
    /// Tasks whose held keys are to be read again before the next batch.
    stale: HashSet<TaskKey>,
    /// Tasks of which dead rows are to be tried again: an operator asked for it, and the memory of their keys did not know.
    replayed: Vec<TaskKey>,
    /// When superseded rows were last purged.
    purged_at: Option<Instant>,
    /// Rows of our own tables and of history tables, built per batch.
    scratch: Arena,
    /// What may be written now, and when that was last told.
    wakes: Wakes,
    woken_at: Option<Instant>,
}

/// Why a transaction was rolled back.
pub(crate) enum Failure {
    /// CAS of these spans matched nothing (rule L3).
    Cas(Vec<usize>),
    /// What these spans waited for is undone (rule A6).
    Undone(Vec<usize>),
    /// The outcome of COMMIT is unknown (rule L4).
    Unknown(Error),
    /// A row, or its code is in no table: worth the slow path (rule E4).
    Rows(SqlError),
    /// A table or column is missing (rule E5): entity and why.
    Schema(usize, Error),
    /// Too much waits already in these spans (rule H5).
    Full(Vec<(usize, Error)>),
    /// All else.
    Failed(Error),
}

impl From<SqlError> for Failure {
    fn from(error: SqlError) -> Failure {
        if error.is_about_rows() { Failure::Rows(error) } else { Failure::Failed(error.error) }
    }
}

impl SqlWriter {
    /// A writer that connects at its first call.
    pub fn new(connector: Box<dyn Connector>, options: WriterOptions) -> SqlWriter {
        let statements = Statements::new(connector.dialect());
        let own = OwnTables::new(connector.dialect());
        let tables = options.tables.iter().map(|_| None).collect();
        SqlWriter {
            connector,
            options,
            statements,
            own,
            session: None,
            busy: false,
            counts_asserted: false,
            own_tables_ready: false,
            tables,
            held: HashMap::new(),
            dead_windows: HashMap::new(),
            published: HashMap::new(),
            stale: HashSet::new(),
            replayed: Vec::new(),
            purged_at: None,
            scratch: Arena::default(),
            wakes: Wakes::default(),
            woken_at: None,
        }
    }

    /// Marks the start of a call; gives up a session that an abandoned call left behind, and opens one if there is none.
    async fn enter(&mut self) -> SqlResult<()> {
        if std::mem::replace(&mut self.busy, true) {
            self.close();
        }
        if self.session.is_none() {
            let session = self.connector.connect().await;
            if session.is_err() {
                self.busy = false;
            }
            self.session = Some(session?);
            self.counts_asserted = false;
            // What the last session left there may have gone back since: a target restored from a backup, another server.
            self.own_tables_ready = false;
            for mark in self.tables.iter_mut().flatten().flat_map(|table| &mut table.sequence_marks) {
                mark.moved_past = i64::MIN;
            }
        }
        Ok(())
    }

    fn close(&mut self) {
        self.session = None;
    }

    /// Marks the end of a call. After an error that says nothing about rows the session is not used again (rule E1).
    fn leave<T>(&mut self, result: SqlResult<T>) -> Result<T, Error> {
        self.busy = false;
        result.map_err(|error| {
            self.close();
            error.error
        })
    }

    fn session(&mut self) -> &mut dyn SqlConnection {
        self.session.as_deref_mut().expect("enter() opened a session")
    }

    /// Creates our own tables where they are missing and allowed; `init` calls it, `claim` does it by itself.
    ///
    /// # Errors
    /// As [`SinkWriter::claim`].
    pub async fn create_own_tables(&mut self) -> Result<(), Error> {
        let result = match self.enter().await {
            Ok(()) => self.ensure_own_tables().await,
            Err(error) => Err(error),
        };
        self.leave(result)
    }

    async fn ensure_own_tables(&mut self) -> SqlResult<()> {
        if self.own_tables_ready {
            return Ok(());
        }
        let session = self.session.as_deref_mut().expect("enter() opened a session");
        if !own_tables_there(session, &self.statements).await? {
            for text in &self.statements.create {
                // Another worker may be creating it at this moment: PostgreSQL then refuses one of the two, and a second try finds it there.
                if session.execute_plain(text).await.is_err()
                    && let Err(error) = session.execute_plain(text).await
                    && !own_tables_there(session, &self.statements).await?
                {
                    return Err(error);
                }
            }
        }
        self.own_tables_ready = true;
        Ok(())
    }

    async fn refresh_held(&mut self) -> SqlResult<()> {
        if self.stale.is_empty() {
            return Ok(());
        }
        self.reload_held(self.stale.iter().cloned().collect()).await?;
        self.stale.clear();
        Ok(())
    }

    async fn apply_batch(&mut self, batch: &ChangeBatch) -> Result<Applied, Failure> {
        let mut excluded = vec![false; batch.spans.len()];
        let mut paused: Vec<(TaskKey, Error)> = Vec::new();
        let mut slow = batch.is_release();
        loop {
            let failure = match self.transaction(batch, &excluded, slow).await {
                Ok(mut applied) => {
                    applied.slow_path = slow;
                    applied.paused = paused;
                    return Ok(applied);
                }
                Err(failure) => failure,
            };
            match failure {
                Failure::Rows(_) if !slow => slow = true,
                Failure::Rows(error) => return Err(Failure::Failed(error.error)),
                Failure::Schema(entity, error) => {
                    self.tables[entity] = None;
                    let before = paused.len();
                    pause_topics(batch, entity, &error, &mut excluded, &mut paused);
                    if paused.len() == before {
                        return Err(Failure::Failed(error));
                    }
                    if excluded.iter().all(|out| *out) {
                        return Ok(Applied { paused, ..Applied::default() });
                    }
                    slow = batch.is_release();
                }
                Failure::Full(spans) => {
                    for (span, error) in spans {
                        excluded[span] = true;
                        paused.push((batch.spans[span].task.clone(), error));
                    }
                    if excluded.iter().all(|out| *out) {
                        return Ok(Applied { paused, ..Applied::default() });
                    }
                }
                other => return Err(other),
            }
        }
    }

    /// Reads the rows behind a CAS that matched nothing and judges them (rule L3).
    async fn judge(&mut self, batch: &ChangeBatch, spans: &[usize]) -> SqlResult<Vec<(TaskKey, CasOutcome)>> {
        let statements = &self.statements;
        let session = self.session.as_deref_mut().expect("enter() opened a session");
        session.begin(false).await?;
        let mut outcomes = Vec::with_capacity(spans.len());
        for at in spans {
            let span = &batch.spans[*at];
            let rows = session.query(&statements.lock_read, &claim::task_values(&span.task)).await?;
            let row = rows.first().and_then(|row| claim::ledger_row(row));
            outcomes.push((span.task.clone(), topology::ledger::judge_cas(span, row)));
        }
        session.rollback().await?;
        Ok(outcomes)
    }
}

async fn own_tables_there(session: &mut dyn SqlConnection, statements: &Statements) -> SqlResult<bool> {
    for text in &statements.probe_tables {
        match session.query(text, &[]).await {
            Ok(_) => {}
            Err(error) if error.kind() == ErrorKind::Schema => return Ok(false),
            Err(error) => return Err(error),
        }
    }
    Ok(true)
}

/// Excludes all spans of the topics whose records write this entity (rule E5).
fn pause_topics(
    batch: &ChangeBatch,
    entity: usize,
    error: &Error,
    excluded: &mut [bool],
    paused: &mut Vec<(TaskKey, Error)>,
) {
    for record in batch.records.iter().filter(|record| usize::from(record.entity.0) == entity) {
        let topic = &batch.span_of(record.slot).task.topic;
        for (at, span) in batch.spans.iter().enumerate() {
            if span.task.topic == *topic && !excluded[at] {
                excluded[at] = true;
                let mut copy = Error::new(error.kind, error.stage, error.description, error.detail.clone());
                copy.code = error.code.clone();
                paused.push((span.task.clone(), copy));
            }
        }
    }
}

#[async_trait]
impl SinkWriter for SqlWriter {
    fn capabilities(&self) -> Capabilities {
        Capabilities { transactions: true, read_back: true, append: true, tags: true }
    }

    async fn claim(&mut self, requests: &[ClaimRequest]) -> Result<Vec<ClaimReply>, Error> {
        let result = match self.enter().await {
            Ok(()) => self.claim_all(requests).await,
            Err(error) => Err(error),
        };
        self.leave(result)
    }

    async fn apply(&mut self, batch: &ChangeBatch) -> Result<Applied, ApplyError> {
        let ready = match self.enter().await {
            Ok(()) => self.refresh_held().await,
            Err(error) => Err(error),
        };
        if let Err(error) = ready {
            self.close();
            self.busy = false;
            return Err(ApplyError::Failed(error.error));
        }
        let result = match self.apply_batch(batch).await {
            Ok(applied) => {
                if self.wake_waiting().await.is_err() {
                    self.close();
                }
                Ok(applied)
            }
            Err(Failure::Cas(spans)) => match self.judge(batch, &spans).await {
                Ok(outcomes) => Err(ApplyError::Cas(outcomes)),
                Err(error) => {
                    self.close();
                    Err(ApplyError::Failed(error.error))
                }
            },
            Err(Failure::Undone(spans)) => {
                let of_span = |at: &usize| (batch.spans[*at].task.clone(), CasOutcome::WentBack(batch.spans[*at].from));
                Err(ApplyError::Cas(spans.iter().map(of_span).collect()))
            }
            Err(Failure::Unknown(error)) => {
                self.close();
                Err(ApplyError::Unknown(error))
            }
            Err(Failure::Failed(error) | Failure::Schema(_, error)) => Err(ApplyError::Failed(error)),
            Err(Failure::Rows(error)) => Err(ApplyError::Failed(error.error)),
            Err(Failure::Full(_)) => unreachable!("apply_batch leaves such spans out"),
        };
        self.busy = false;
        result
    }

    async fn due_held(&mut self, claims: &[Claim], limit: usize) -> Result<Vec<HeldRow>, Error> {
        if claims.is_empty() {
            return Ok(Vec::new());
        }
        let result = match self.enter().await {
            Ok(()) => self.read_due(claims, limit).await,
            Err(error) => Err(error),
        };
        self.leave(result)
    }

    async fn postpone_held(&mut self, rows: &[(TaskKey, HeldId)]) -> Result<(), Error> {
        let result = match self.enter().await {
            Ok(()) => self.postpone(rows).await,
            Err(error) => Err(error),
        };
        self.leave(result)
    }

    async fn held_counts(&mut self, claims: &[Claim]) -> Result<HeldCounts, Error> {
        if claims.is_empty() {
            return Ok(HeldCounts::default());
        }
        let result = match self.enter().await {
            Ok(()) => self.count_held(claims).await,
            Err(error) => Err(error),
        };
        self.leave(result)
    }

    async fn progress(&mut self, claims: &[Claim]) -> Result<Vec<Option<(i64, Owner, i64)>>, Error> {
        if claims.is_empty() {
            return Ok(Vec::new());
        }
        let result = match self.enter().await {
            Ok(()) => self.read_progress(claims).await,
            Err(error) => Err(error),
        };
        self.leave(result)
    }

    async fn topic_progress(&mut self, task: &TaskKey, record: Option<&FirstRecord>) -> Result<TopicProgress, Error> {
        let result = match self.enter().await {
            Ok(()) => match record {
                Some(record) => self.read_topic_progress(task, record, true).await,
                None => self.read_topic_marks(task).await,
            },
            Err(error) => Err(error),
        };
        self.leave(result)
    }

    async fn outputs(&mut self, after: &[Published], rows_max: usize) -> Result<Vec<Output>, Error> {
        let result = match self.enter().await {
            Ok(()) => self.read_outputs(after, rows_max).await,
            Err(error) => Err(error),
        };
        self.leave(result)
    }

    async fn forget_outputs(&mut self, published: &[Published]) -> Result<(), Error> {
        self.published.extend(published.iter().cloned());
        let result = match self.enter().await {
            Ok(()) => self.delete_outputs(published).await,
            Err(error) => Err(error),
        };
        self.leave(result)
    }

    async fn probe(&mut self) -> Result<(), Error> {
        let result = match self.enter().await {
            Ok(()) => {
                let text = self.statements.now.clone();
                self.session().query(&text, &[]).await.map(|_| ())
            }
            Err(error) => Err(error),
        };
        self.leave(result)
    }

    fn forget(&mut self, tasks: &[TaskKey]) {
        for task in tasks {
            self.held.remove(task);
            self.dead_windows.remove(task);
            self.published.remove(task);
        }
    }

    fn disconnect(&mut self) {
        self.close();
        self.busy = false;
    }
}

/// An error of ours: something that no protocol step explains.
pub(crate) fn bug(detail: impl Into<String>) -> SqlError {
    SqlError::known(Error::new(ErrorKind::Bug, Stage::Write, "broken invariant in the SQL writer", detail))
}
