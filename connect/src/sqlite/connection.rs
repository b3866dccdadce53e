//! One SQLite session.

use std::collections::HashMap;
use std::str::FromStr;
use std::sync::Arc;
use std::time::Duration;

use async_trait::async_trait;
use sqlx::sqlite::{SqliteArguments, SqliteConnectOptions, SqliteConnection, SqliteRow};
use sqlx::{Arguments, AssertSqlSafe, Connection, Executor, Row, TypeInfo, Value as _, ValueRef};
use topology::data::{Arena, CellRange, Value};
use topology::table::TableDescription;
use topology::{Error, ErrorKind, Stage};

use crate::sql::connection::{Connector, SqlConnection};
use crate::sql::dialect::Dialect;
use crate::sql::error::{SqlError, SqlResult};
use crate::sql::plan::{RowOperation, Shape, TablePlan, Written};

use super::bind::bind;
use super::dialect::Sqlite;
use super::errors::classify;
use super::guard::{self, Guard};
use super::{introspect, statements};

/// Rows per statement: few sizes, so that the prepared ones are met again.
const ROW_COUNTS: [usize; 4] = [256, 64, 8, 1];
/// SQLite's limit is 32 766 parameters per statement.
const PARAMETERS_MAX: usize = 32_000;
/// How long a statement waits for another writer before it is BUSY; then the lane tries again (rule L9).
const BUSY_TIMEOUT: Duration = Duration::from_secs(5);

/// Opens sessions on one database file.
#[derive(Clone, Debug)]
pub struct SqliteConnector {
    options: SqliteConnectOptions,
    tag: Option<Arc<str>>,
}

impl SqliteConnector {
    /// `url` as `sqlite:path/to/file.db`; the file must exist. `tag` is the name of the site that changes come from, for the capture.
    ///
    /// # Errors
    /// `Configuration` when the address can't be read.
    pub fn new(url: &str, tag: Option<Arc<str>>) -> Result<SqliteConnector, Error> {
        let options = SqliteConnectOptions::from_str(url).map_err(|error| {
            Error::new(
                ErrorKind::Configuration,
                Stage::Configure,
                "cannot read sqlite address",
                "expected sqlite:<path>",
            )
            .with_source(error)
        })?;
        Ok(SqliteConnector { options: options.busy_timeout(BUSY_TIMEOUT).statement_cache_capacity(256), tag })
    }
}

#[async_trait]
impl Connector for SqliteConnector {
    fn dialect(&self) -> &'static dyn Dialect {
        &Sqlite
    }

    async fn connect(&self) -> SqlResult<Box<dyn SqlConnection>> {
        let connection = SqliteConnection::connect_with(&self.options)
            .await
            .map_err(|error| classify("cannot open sqlite database", "", error))?;
        Ok(Box::new(Session { connection, texts: HashMap::new(), guard: Guard::new(self.tag.clone()) }))
    }
}

struct Session {
    connection: SqliteConnection,
    /// Statement text by shape and number of rows.
    texts: HashMap<(u32, usize), Arc<str>>,
    guard: Guard,
}

impl Session {
    async fn run(&mut self, sql: &Arc<str>, arguments: SqliteArguments, detail: &str) -> SqlResult<u64> {
        let query = sqlx::query_with(AssertSqlSafe(Arc::clone(sql)), arguments);
        let done = (&mut self.connection).execute(query).await;
        done.map(|done| done.rows_affected()).map_err(|error| classify("cannot write rows", detail, error))
    }

    async fn fetch(&mut self, sql: &str, arguments: SqliteArguments, detail: &str) -> SqlResult<Vec<Vec<Value>>> {
        let query = sqlx::query_with(AssertSqlSafe(sql), arguments);
        let rows =
            (&mut self.connection).fetch_all(query).await.map_err(|error| classify("cannot read", detail, error))?;
        rows.iter().map(read).collect()
    }

    fn text(&mut self, shape: &Shape, rows: usize) -> Arc<str> {
        let text = self.texts.entry((shape.id, rows)).or_insert_with(|| statements::text(shape, rows).into());
        Arc::clone(text)
    }

    /// Statements that take many rows at a time.
    async fn write_many(&mut self, shape: &Shape, arena: &Arena, mut rows: &[CellRange]) -> SqlResult<Written> {
        let plan = &*shape.plan;
        let width = if shape.operation == RowOperation::Delete { plan.key.len() } else { plan.columns.len() };
        let mut written = Written::default();
        while !rows.is_empty() {
            let count = ROW_COUNTS.into_iter().find(|count| *count <= rows.len() && count * width <= PARAMETERS_MAX);
            let (chunk, rest) = rows.split_at(count.unwrap_or(1));
            rows = rest;
            let arguments = arguments(shape, arena, chunk)?;
            let text = self.text(shape, chunk.len());
            let changed = self.run(&text, arguments, &plan.name).await?;
            let given = chunk.len() as u64;
            match shape.operation {
                RowOperation::Upsert => {
                    written += Written { matched: given, unchanged: given.saturating_sub(changed), differs: 0 };
                }
                RowOperation::InsertIfAbsent => {
                    written.matched += changed;
                    if changed < given {
                        written.differs += given.saturating_sub(self.count_equal(shape, arena, chunk).await?);
                    }
                }
                _ => written.matched += changed,
            }
        }
        Ok(written)
    }

    async fn count_equal(&mut self, shape: &Shape, arena: &Arena, rows: &[CellRange]) -> SqlResult<u64> {
        let text = statements::count_equal(&shape.plan, rows.len());
        let found = self.fetch(&text, arguments(shape, arena, rows)?, &shape.plan.name).await?;
        match found.first().map(Vec::as_slice) {
            Some([Value::I64(count)]) => Ok(count.unsigned_abs()),
            _ => Ok(0),
        }
    }

    async fn update_one(&mut self, shape: &Shape, arena: &Arena, row: CellRange) -> SqlResult<Written> {
        let plan = &*shape.plan;
        let cells = arena.row(row);
        let mut values = SqliteArguments::default();
        for at in shape.columns.iter().chain(&plan.key) {
            bind(&mut values, arena, cells[*at], &plan.columns[*at]).map_err(|reason| refused(plan, *at, reason))?;
        }
        let text = self.text(shape, 1);
        if self.run(&text, values, &plan.name).await? > 0 {
            return Ok(Written { matched: 1, ..Written::default() });
        }
        let mut key = SqliteArguments::default();
        for at in &plan.key {
            bind(&mut key, arena, cells[*at], &plan.columns[*at]).map_err(|reason| refused(plan, *at, reason))?;
        }
        let there = !self.fetch(&statements::present(plan), key, &plan.name).await?.is_empty();
        Ok(Written { matched: u64::from(there), unchanged: u64::from(there), differs: 0 })
    }
}

fn refused(plan: &TablePlan, at: usize, reason: &'static str) -> SqlError {
    let column = &plan.columns[at];
    let detail = format!("table {:?}, column {:?} ({}): {reason}", plan.name, column.name, column.native);
    SqlError::known(Error::data(Stage::Write, "cannot bind value", detail))
}

/// Arguments of rows in cell order: key rows for `Delete`, full rows otherwise.
fn arguments(shape: &Shape, arena: &Arena, rows: &[CellRange]) -> SqlResult<SqliteArguments> {
    let plan = &*shape.plan;
    let by_key = matches!(shape.operation, RowOperation::Delete | RowOperation::Rename);
    let mut out = SqliteArguments::default();
    out.reserve(rows.len() * plan.columns.len(), 0);
    for row in rows {
        for (number, cell) in arena.row(*row).iter().enumerate() {
            let at = if by_key { plan.key[number] } else { number };
            bind(&mut out, arena, *cell, &plan.columns[at]).map_err(|reason| refused(plan, at, reason))?;
        }
    }
    Ok(out)
}

/// A row of our own tables or the catalogue.
fn read(row: &SqliteRow) -> SqlResult<Vec<Value>> {
    let failed = |error| classify("cannot read a value", "", error);
    (0..row.len())
        .map(|at| {
            let value = row.try_get_raw(at).map_err(failed)?;
            if value.is_null() {
                return Ok(Value::Null);
            }
            let kind = value.to_owned().type_info().name().to_owned();
            Ok(match kind.as_str() {
                "INTEGER" | "INT4" | "BOOLEAN" => Value::I64(row.try_get_unchecked(at).map_err(failed)?),
                "REAL" => Value::F64(row.try_get_unchecked(at).map_err(failed)?),
                "BLOB" => Value::Bytes(row.try_get_unchecked(at).map_err(failed)?),
                _ => Value::Text(row.try_get_unchecked(at).map_err(failed)?),
            })
        })
        .collect()
}

fn parameters(values: &[Value]) -> SqlResult<SqliteArguments> {
    let mut out = SqliteArguments::default();
    for value in values {
        let added = match value {
            Value::Null => out.add(None::<i64>),
            Value::Bool(v) => out.add(*v),
            Value::I64(v) => out.add(*v),
            Value::Text(v) => out.add(v.clone()),
            Value::Bytes(v) => out.add(v.clone()),
            _ => Err("only null, boolean, integer, text and bytes are parameters of own statements".into()),
        };
        added.map_err(|error| classify("cannot bind parameter", "", sqlx::Error::Encode(error)))?;
    }
    Ok(out)
}

#[async_trait]
impl SqlConnection for Session {
    async fn execute(&mut self, sql: &str, values: &[Value]) -> SqlResult<u64> {
        let query = sqlx::query_with(AssertSqlSafe(sql), parameters(values)?);
        let done = (&mut self.connection).execute(query).await;
        done.map(|done| done.rows_affected()).map_err(|error| classify("cannot run statement", "", error))
    }

    async fn query(&mut self, sql: &str, values: &[Value]) -> SqlResult<Vec<Vec<Value>>> {
        self.fetch(sql, parameters(values)?, "").await
    }

    async fn execute_plain(&mut self, sql: &str) -> SqlResult<()> {
        let done = (&mut self.connection).execute(sqlx::raw_sql(AssertSqlSafe(sql))).await;
        done.map(|_| ()).map_err(|error| classify("cannot run statement", "", error))
    }

    async fn begin(&mut self, tagged: bool) -> SqlResult<()> {
        self.execute_plain("BEGIN IMMEDIATE").await?;
        self.guard.set = false;
        let Some(tag) = self.guard.tag().filter(|_| tagged).cloned() else { return Ok(()) };
        if !self.guard.is_seen() {
            if self.query(&guard::exists(), &[]).await?.is_empty() {
                return Ok(());
            }
            self.guard.saw();
        }
        self.execute(&guard::set(), &[Value::Text(tag.to_string())]).await?;
        self.guard.set = true;
        Ok(())
    }

    async fn commit(&mut self) -> SqlResult<()> {
        if self.guard.set {
            self.execute(&guard::clear(), &[]).await?;
        }
        let done = self.execute_plain("COMMIT").await;
        if let Err(error) = &done
            && error.known
            && matches!(error.kind(), ErrorKind::Dependency | ErrorKind::Data)
        {
            // A deferred foreign key: SQLite keeps the transaction open, the contract says it is rolled back.
            self.execute_plain("ROLLBACK").await?;
        }
        done
    }

    async fn rollback(&mut self) -> SqlResult<()> {
        // Some errors (disk full, I/O) roll back by themselves; then there is nothing to do.
        match self.execute_plain("ROLLBACK").await {
            Err(error) if error.error.code.as_deref() == Some("sqlite-1") => Ok(()),
            done => done,
        }
    }

    async fn savepoint(&mut self) -> SqlResult<()> {
        self.execute_plain("SAVEPOINT tidelock").await
    }

    async fn rollback_to_savepoint(&mut self) -> SqlResult<()> {
        // Released too: SQLite stacks savepoints of one name.
        self.execute_plain("ROLLBACK TO tidelock; RELEASE tidelock").await
    }

    async fn release_savepoint(&mut self) -> SqlResult<()> {
        self.execute_plain("RELEASE tidelock").await
    }

    async fn write_rows(&mut self, shape: &Shape, arena: &Arena, rows: &[CellRange]) -> SqlResult<Written> {
        match shape.operation {
            RowOperation::Update => {
                let mut written = Written::default();
                for row in rows {
                    written += self.update_one(shape, arena, *row).await?;
                }
                Ok(written)
            }
            RowOperation::Rename => {
                let mut written = Written::default();
                for pair in rows.chunks_exact(2) {
                    let text = self.text(shape, 1);
                    let values = arguments(shape, arena, &[pair[1], pair[0]])?;
                    written.matched += self.run(&text, values, &shape.plan.name).await?;
                }
                Ok(written)
            }
            _ => self.write_many(shape, arena, rows).await,
        }
    }

    async fn present(&mut self, plan: &TablePlan, arena: &Arena, keys: &[CellRange]) -> SqlResult<Vec<bool>> {
        let mut found = Vec::with_capacity(keys.len());
        for key in keys {
            let mut values = SqliteArguments::default();
            for (cell, at) in arena.row(*key).iter().zip(&plan.key) {
                bind(&mut values, arena, *cell, &plan.columns[*at]).map_err(|reason| refused(plan, *at, reason))?;
            }
            found.push(!self.fetch(&statements::present(plan), values, &plan.name).await?.is_empty());
        }
        Ok(found)
    }

    async fn exist(&mut self, plan: &TablePlan, arena: &Arena, keys: &[CellRange]) -> SqlResult<Vec<bool>> {
        // No server, so no round trips to save; and BEGIN IMMEDIATE has locked already.
        self.present(plan, arena, keys).await
    }

    async fn describe(&mut self, table: &str) -> SqlResult<Option<TableDescription>> {
        introspect::describe(self, table).await
    }
}
