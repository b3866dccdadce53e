//! Sessions of a real target with something between the writer and its server that fails what it likes.

use std::sync::Arc;

use async_trait::async_trait;
use tidelock_connect::sql::connection::{Connector, SqlConnection};
use tidelock_connect::sql::dialect::Dialect;
use tidelock_connect::sql::error::{SqlError, SqlResult};
use tidelock_connect::sql::plan::{Shape, TablePlan, Written};
use topology::data::{Arena, CellRange, Value};
use topology::table::TableDescription;
use topology::{Error, ErrorKind, Stage};

/// What becomes of a COMMIT.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum CommitFault {
    /// The server never sees it.
    Cut,
    /// It is done, and its reply is lost.
    ReplyLost,
    /// It is done, and nothing is heard any more.
    #[allow(dead_code)] // not everybody who uses these sessions waits for such
    Silent,
}

/// What fails, asked before everything that a session does.
pub(crate) trait Faults: Send + Sync + 'static {
    /// A session is opened.
    fn opens(&self) {}

    /// A statement reads or writes.
    fn statement(&self) -> SqlResult<()> {
        Ok(())
    }

    /// Rows are written; a statement too.
    fn write(&self, _shape: &Shape, _arena: &Arena, _rows: &[CellRange]) -> SqlResult<()> {
        Ok(())
    }

    /// Rows are written, and nothing is heard of it.
    fn is_silent(&self) -> bool {
        false
    }

    /// A transaction is rolled back: true when the connection is lost before that.
    fn is_lost_at_rollback(&self) -> bool {
        false
    }

    /// A transaction ends.
    fn commit(&self) -> Option<CommitFault>;
}

/// An error of the way to the server.
pub(crate) fn broken(stage: Stage) -> SqlError {
    SqlError::known(Error::new(ErrorKind::Transient, stage, "connection lost", "by the test"))
}

/// Opens such sessions.
pub(crate) struct Faulty<F> {
    pub(crate) inner: Box<dyn Connector>,
    pub(crate) faults: Arc<F>,
}

struct Session<F> {
    inner: Box<dyn SqlConnection>,
    faults: Arc<F>,
}

#[async_trait]
impl<F: Faults> Connector for Faulty<F> {
    fn dialect(&self) -> &'static dyn Dialect {
        self.inner.dialect()
    }

    async fn connect(&self) -> SqlResult<Box<dyn SqlConnection>> {
        self.faults.opens();
        Ok(Box::new(Session { inner: self.inner.connect().await?, faults: Arc::clone(&self.faults) }))
    }
}

#[async_trait]
impl<F: Faults> SqlConnection for Session<F> {
    async fn execute(&mut self, sql: &str, parameters: &[Value]) -> SqlResult<u64> {
        self.faults.statement()?;
        self.inner.execute(sql, parameters).await
    }

    async fn query(&mut self, sql: &str, parameters: &[Value]) -> SqlResult<Vec<Vec<Value>>> {
        self.faults.statement()?;
        self.inner.query(sql, parameters).await
    }

    async fn execute_plain(&mut self, sql: &str) -> SqlResult<()> {
        self.inner.execute_plain(sql).await
    }

    async fn begin(&mut self, tagged: bool) -> SqlResult<()> {
        self.inner.begin(tagged).await
    }

    async fn constraints_immediate(&mut self) -> SqlResult<()> {
        self.inner.constraints_immediate().await
    }

    async fn commit(&mut self) -> SqlResult<()> {
        match self.faults.commit() {
            None => self.inner.commit().await,
            Some(CommitFault::Cut) => {
                self.inner.rollback().await?;
                Err(broken(Stage::Commit))
            }
            Some(CommitFault::ReplyLost) => {
                self.inner.commit().await?;
                Err(broken(Stage::Commit))
            }
            Some(CommitFault::Silent) => {
                self.inner.commit().await?;
                std::future::pending().await
            }
        }
    }

    async fn rollback(&mut self) -> SqlResult<()> {
        let done = self.inner.rollback().await;
        if self.faults.is_lost_at_rollback() { Err(broken(Stage::Write)) } else { done }
    }

    async fn savepoint(&mut self) -> SqlResult<()> {
        self.inner.savepoint().await
    }

    async fn rollback_to_savepoint(&mut self) -> SqlResult<()> {
        self.inner.rollback_to_savepoint().await
    }

    async fn release_savepoint(&mut self) -> SqlResult<()> {
        self.inner.release_savepoint().await
    }

    async fn write_rows(&mut self, shape: &Shape, arena: &Arena, rows: &[CellRange]) -> SqlResult<Written> {
        self.faults.statement()?;
        self.faults.write(shape, arena, rows)?;
        let written = self.inner.write_rows(shape, arena, rows).await;
        if self.faults.is_silent() { std::future::pending().await } else { written }
    }

    async fn present(&mut self, plan: &TablePlan, arena: &Arena, keys: &[CellRange]) -> SqlResult<Vec<bool>> {
        self.faults.statement()?;
        self.inner.present(plan, arena, keys).await
    }

    async fn exist(&mut self, plan: &TablePlan, arena: &Arena, keys: &[CellRange]) -> SqlResult<Vec<bool>> {
        self.faults.statement()?;
        self.inner.exist(plan, arena, keys).await
    }

    async fn advance_sequence(&mut self, plan: &TablePlan, column: usize, highest: i64) -> SqlResult<()> {
        self.inner.advance_sequence(plan, column, highest).await
    }

    async fn describe(&mut self, table: &str) -> SqlResult<Option<TableDescription>> {
        self.inner.describe(table).await
    }

    async fn terminate(&mut self, backend_id: i64) -> SqlResult<()> {
        self.inner.terminate(backend_id).await
    }
}
