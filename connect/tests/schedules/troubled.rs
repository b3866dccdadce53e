//! Sessions of a real target with troubles on their way: COMMITs that never arrive, COMMITs whose replies are lost while the lane lives on
//! (rule L4), connections that break at any other statement.

use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::{Arc, Mutex};

use async_trait::async_trait;
use tidelock_connect::sql::connection::{Connector, SqlConnection};
use tidelock_connect::sql::dialect::Dialect;
use tidelock_connect::sql::error::{SqlError, SqlResult};
use tidelock_connect::sql::plan::{Shape, TablePlan, Written};
use topology::data::{Arena, CellRange, Value};
use topology::driver::Seed;
use topology::table::TableDescription;
use topology::{Error, ErrorKind, Stage};

/// A COMMIT is one statement of many and has the most interesting troubles: it meets so many times as many.
const COMMIT_WEIGHT: u64 = 40;

/// How many troubles there are; shared by the sessions of a schedule.
#[derive(Clone)]
pub(crate) struct Troubles {
    seed: Arc<Mutex<Seed>>,
    /// Of 1000 statements.
    per_mille: Arc<AtomicU64>,
}

impl Troubles {
    pub(crate) fn new(mut seed: Seed) -> Troubles {
        let per_mille = [0, 1, 3][seed.below(3)];
        Troubles { seed: Arc::new(Mutex::new(seed)), per_mille: Arc::new(AtomicU64::new(per_mille)) }
    }

    pub(crate) fn end(&self) {
        self.per_mille.store(0, Ordering::SeqCst);
    }

    /// A number below `of`, if there is trouble.
    fn meet(&self, weight: u64, of: usize) -> Option<usize> {
        let mut seed = self.seed.lock().expect("no panic while locked");
        let is_met = (seed.below(1000) as u64) < weight * self.per_mille.load(Ordering::SeqCst);
        is_met.then(|| seed.below(of))
    }

    fn meet_statement(&self) -> SqlResult<()> {
        self.meet(1, 1).map_or(Ok(()), |_| Err(broken(Stage::Write)))
    }
}

fn broken(stage: Stage) -> SqlError {
    SqlError::known(Error::new(ErrorKind::Transient, stage, "connection lost", "trouble of the schedule"))
}

/// Opens such sessions.
pub(crate) struct Troubled {
    pub(crate) inner: Box<dyn Connector>,
    pub(crate) troubles: Troubles,
}

struct Session {
    inner: Box<dyn SqlConnection>,
    troubles: Troubles,
}

#[async_trait]
impl Connector for Troubled {
    fn dialect(&self) -> &'static dyn Dialect {
        self.inner.dialect()
    }

    async fn connect(&self) -> SqlResult<Box<dyn SqlConnection>> {
        Ok(Box::new(Session { inner: self.inner.connect().await?, troubles: self.troubles.clone() }))
    }
}

#[async_trait]
impl SqlConnection for Session {
    async fn execute(&mut self, sql: &str, parameters: &[Value]) -> SqlResult<u64> {
        self.troubles.meet_statement()?;
        self.inner.execute(sql, parameters).await
    }

    async fn query(&mut self, sql: &str, parameters: &[Value]) -> SqlResult<Vec<Vec<Value>>> {
        self.troubles.meet_statement()?;
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
        match self.troubles.meet(COMMIT_WEIGHT, 3) {
            None => self.inner.commit().await,
            Some(0) => {
                self.inner.rollback().await?;
                Err(broken(Stage::Commit))
            }
            Some(_) => {
                self.inner.commit().await?;
                Err(broken(Stage::Commit))
            }
        }
    }

    async fn rollback(&mut self) -> SqlResult<()> {
        self.inner.rollback().await
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
        self.troubles.meet_statement()?;
        self.inner.write_rows(shape, arena, rows).await
    }

    async fn present(&mut self, plan: &TablePlan, arena: &Arena, keys: &[CellRange]) -> SqlResult<Vec<bool>> {
        self.troubles.meet_statement()?;
        self.inner.present(plan, arena, keys).await
    }

    async fn exist(&mut self, plan: &TablePlan, arena: &Arena, keys: &[CellRange]) -> SqlResult<Vec<bool>> {
        self.troubles.meet_statement()?;
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
