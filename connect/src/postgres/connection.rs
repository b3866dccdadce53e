//! One PostgreSQL session (rule L10): set up once, never pooled.

use std::collections::HashMap;
use std::str::FromStr;
use std::sync::Arc;
use std::time::Duration;

use async_trait::async_trait;
use sqlx::postgres::types::Oid;
use sqlx::postgres::{PgArguments, PgConnectOptions, PgConnection, PgRow, PgTypeInfo};
use sqlx::{Arguments, AssertSqlSafe, ConnectOptions, Executor, Row, ValueRef};
use topology::data::{Arena, CellRange, Value};
use topology::guard::SiteTags;
use topology::table::TableDescription;
use topology::{Error, ErrorKind, Stage};

use super::bind::ColumnArray;
use super::dialect::Postgres;
use super::errors::classify;
use super::{guard, introspect, statements};
use crate::sql::connection::{Connector, SqlConnection};
use crate::sql::dialect::Dialect;
use crate::sql::error::{SqlError, SqlResult};
use crate::sql::patience::DEFAULT_STATEMENT_MAX;
use crate::sql::plan::{RowOperation, Shape, TablePlan, Written};

/// Prepared statements kept per session: tables × operations.
const STATEMENTS_MAX: usize = 512;

/// What every session sets (rule L10). A zombie's transaction ends after 30 s of silence, so that a claim does not wait for ever; a lock
/// is waited for 10 s before the claim may end its holder. Text and times are read the same way whatever the server's defaults.
const SETTINGS: &str = "SET idle_in_transaction_session_timeout = '30s'; SET lock_timeout = '10s'; \
     SET tcp_keepalives_idle = 10; SET tcp_keepalives_interval = 5; SET tcp_keepalives_count = 3; SET tcp_user_timeout = 30000; \
     SET TimeZone = 'UTC'; SET DateStyle = 'ISO, YMD'; SET IntervalStyle = 'iso_8601'; SET standard_conforming_strings = on; \
     SET client_min_messages = error; SET default_transaction_isolation = 'read committed'";

/// A counter this close to its goal is drawn from instead of set: drawing is atomic, setting could overtake a local insert that draws at
/// the same moment. From farther away nobody draws that many between our look and our set.
const DRAWS_MAX: i64 = 1_000;

/// Opens sessions on one database.
#[derive(Clone, Debug)]
pub struct PostgresConnector {
    options: PgConnectOptions,
    origin_prefix: Option<Arc<str>>,
    statement_max: Duration,
}

impl PostgresConnector {
    /// `url` as `postgres://user:password@host:port/database`. `origin_prefix` is [`SiteTags::origin_prefix`] of the direction's source
    /// site (rule B2); `None` on links whose writes need no mark.
    ///
    /// # Errors
    /// `Configuration` when the address can't be read.
    pub fn new(url: &str, origin_prefix: Option<&str>) -> Result<PostgresConnector, Error> {
        let options = PgConnectOptions::from_str(url).map_err(|error| {
            let detail = "expected postgres://user:password@host:port/database";
            Error::new(ErrorKind::Configuration, Stage::Configure, "cannot read database address", detail)
                .with_source(error)
        })?;
        let options =
            options.application_name("tidelock").statement_cache_capacity(STATEMENTS_MAX).disable_statement_logging();
        let origin_prefix = origin_prefix.map(Arc::from);
        Ok(PostgresConnector { options, origin_prefix, statement_max: DEFAULT_STATEMENT_MAX })
    }

    /// The server ends statements that take longer than this.
    #[must_use]
    pub fn statement_max(self, statement_max: Duration) -> PostgresConnector {
        PostgresConnector { statement_max, ..self }
    }

    /// Whether writes that come from site `from` can be marked by a replication origin here, by trying it; or why not. For `guard: auto`
    /// and `check`. Leaves nothing behind but the origin's name.
    ///
    /// # Errors
    /// Why the server could not be asked.
    pub async fn prove(&self, tags: &SiteTags, from: &str) -> SqlResult<Result<(), String>> {
        let prefix = tags.origin_prefix(from).map_err(SqlError::known)?.to_owned();
        let mut connection = self.open().await?;
        guard::prove(&mut connection, &prefix).await
    }

    async fn open(&self) -> SqlResult<PgConnection> {
        let failed = |error| classify("cannot open session", "check address, user and privileges", error);
        let mut connection = self.options.connect().await.map_err(failed)?;
        let settings = format!("{SETTINGS}; SET statement_timeout = {}", self.statement_max.as_millis());
        connection.execute(sqlx::raw_sql(AssertSqlSafe(settings))).await.map_err(failed)?;
        Ok(connection)
    }
}

#[async_trait]
impl Connector for PostgresConnector {
    fn dialect(&self) -> &'static dyn Dialect {
        &Postgres
    }

    async fn connect(&self) -> SqlResult<Box<dyn SqlConnection>> {
        let mut connection = self.open().await?;
        if let Some(prefix) = &self.origin_prefix {
            guard::set_up(&mut connection, prefix).await?;
        }
        Ok(Box::new(Session { connection, texts: HashMap::new(), sequences: HashMap::new() }))
    }
}

struct Session {
    connection: PgConnection,
    /// Statement text by shape.
    texts: HashMap<u32, Arc<str>>,
    /// Sequences that this user may move.
    sequences: HashMap<Arc<str>, bool>,
}

impl Session {
    fn text(&mut self, shape: &Shape) -> Arc<str> {
        Arc::clone(self.texts.entry(shape.id).or_insert_with(|| statements::text(shape).into()))
    }

    async fn run(&mut self, sql: Arc<str>, arguments: PgArguments, detail: &str) -> SqlResult<u64> {
        let done = self.connection.execute(sqlx::query_with(AssertSqlSafe(sql), arguments)).await;
        done.map(|done| done.rows_affected()).map_err(|error| classify("cannot write rows", detail, error))
    }

    async fn fetch(&mut self, sql: Arc<str>, arguments: PgArguments, detail: &str) -> SqlResult<Vec<Vec<Value>>> {
        let rows = self.connection.fetch_all(sqlx::query_with(AssertSqlSafe(sql), arguments)).await;
        let rows = rows.map_err(|error| classify("cannot run statement", detail, error))?;
        rows.iter().map(read).collect()
    }

    /// Two counts of a statement that counts for itself.
    async fn counts(&mut self, sql: Arc<str>, arguments: PgArguments, detail: &str) -> SqlResult<(u64, u64)> {
        match self.fetch(sql, arguments, detail).await?.first().map(Vec::as_slice) {
            Some([Value::I64(first), Value::I64(second)]) => Ok((first.unsigned_abs(), second.unsigned_abs())),
            _ => {
                let error = Error::new(ErrorKind::Bug, Stage::Write, "statement did not count its rows", detail);
                Err(SqlError::known(error))
            }
        }
    }
}

/// Array parameters of these columns: `cell` maps a column to its place within each row.
fn arrays(
    plan: &TablePlan,
    arena: &Arena,
    rows: &[CellRange],
    columns: impl Iterator<Item = (usize, usize)>,
    parity: Option<usize>,
    out: &mut PgArguments,
) -> SqlResult<()> {
    for (at, cell) in columns {
        let column = &plan.columns[at];
        out.add(ColumnArray { arena, rows, cell, column, parity }).map_err(|reason| {
            let detail = format!("table {:?}, column {:?} ({}): {reason}", plan.name, column.name, column.native);
            SqlError::known(Error::data(Stage::Write, "cannot bind value", detail))
        })?;
    }
    Ok(())
}

/// Key columns with their places in key rows.
fn key_cells(plan: &TablePlan) -> impl Iterator<Item = (usize, usize)> + '_ {
    plan.key.iter().enumerate().map(|(cell, at)| (*at, cell))
}

/// A row of our own tables or the catalogue.
fn read(row: &PgRow) -> SqlResult<Vec<Value>> {
    let odd = |detail: String| {
        SqlError::known(Error::new(ErrorKind::Bug, Stage::Write, "cannot read a column of an own statement", detail))
    };
    (0..row.len())
        .map(|at| {
            let raw = row.try_get_raw(at).map_err(|error| classify("cannot read a value", "", error))?;
            let oid = raw.type_info().oid().map_or(0, |oid| oid.0);
            let Ok(bytes) = raw.as_bytes() else { return Ok(Value::Null) };
            let number = |bytes: &[u8]| bytes.iter().fold(0i64, |all, byte| (all << 8) | i64::from(*byte));
            Ok(match (oid, bytes.len()) {
                (16, 1) => Value::Bool(bytes[0] != 0),
                (20, 8) => Value::I64(number(bytes)),
                (21, 2) => Value::I64(i64::from(number(bytes) as i16)),
                (23 | 26, 4) => Value::I64(i64::from(number(bytes) as i32)),
                (17, _) => Value::Bytes(bytes.to_vec()),
                (18 | 19 | 25 | 1042 | 1043 | 705, _) => Value::Text(
                    String::from_utf8(bytes.to_vec()).map_err(|_| odd(format!("column {at} is not UTF-8")))?,
                ),
                _ => return Err(odd(format!("column {at} has type {oid}; cast it to text"))),
            })
        })
        .collect()
}

/// NULL of a type that the statement's own cast names.
struct Untyped;

impl sqlx::Type<sqlx::Postgres> for Untyped {
    fn type_info() -> PgTypeInfo {
        PgTypeInfo::with_oid(Oid(0))
    }
}

impl<'q> sqlx::Encode<'q, sqlx::Postgres> for Untyped {
    fn encode_by_ref(
        &self,
        _: &mut sqlx::postgres::PgArgumentBuffer,
    ) -> Result<sqlx::encode::IsNull, sqlx::error::BoxDynError> {
        Ok(sqlx::encode::IsNull::Yes)
    }
}

fn parameters(values: &[Value]) -> SqlResult<PgArguments> {
    let mut out = PgArguments::default();
    for value in values {
        let added = match value {
            Value::Null => out.add(Untyped),
            Value::Bool(v) => out.add(*v),
            Value::I64(v) => out.add(*v),
            Value::Text(v) => out.add(v.as_str()),
            Value::Bytes(v) => out.add(v.as_slice()),
            _ => Err("only null, boolean, integer, text and bytes are parameters of own statements".into()),
        };
        added.map_err(|error| classify("cannot bind parameter", "", sqlx::Error::Encode(error)))?;
    }
    Ok(out)
}

#[async_trait]
impl SqlConnection for Session {
    async fn execute(&mut self, sql: &str, values: &[Value]) -> SqlResult<u64> {
        self.run(sql.into(), parameters(values)?, "").await
    }

    async fn query(&mut self, sql: &str, values: &[Value]) -> SqlResult<Vec<Vec<Value>>> {
        self.fetch(sql.into(), parameters(values)?, "").await
    }

    async fn execute_plain(&mut self, sql: &str) -> SqlResult<()> {
        let done = self.connection.execute(sqlx::raw_sql(AssertSqlSafe(sql))).await;
        done.map(|_| ()).map_err(|error| classify("cannot run statement", "", error))
    }

    async fn begin(&mut self, _tagged: bool) -> SqlResult<()> {
        // The origin marks the whole session; claims touch only our own tables, which nobody captures.
        self.execute_plain("BEGIN ISOLATION LEVEL READ COMMITTED READ WRITE").await
    }

    async fn constraints_immediate(&mut self) -> SqlResult<()> {
        self.execute_plain("SET CONSTRAINTS ALL IMMEDIATE").await
    }

    async fn commit(&mut self) -> SqlResult<()> {
        self.execute_plain("COMMIT").await
    }

    async fn rollback(&mut self) -> SqlResult<()> {
        self.execute_plain("ROLLBACK").await
    }

    async fn savepoint(&mut self) -> SqlResult<()> {
        self.execute_plain("SAVEPOINT tidelock").await
    }

    async fn rollback_to_savepoint(&mut self) -> SqlResult<()> {
        self.execute_plain("ROLLBACK TO SAVEPOINT tidelock; RELEASE SAVEPOINT tidelock").await
    }

    async fn release_savepoint(&mut self) -> SqlResult<()> {
        self.execute_plain("RELEASE SAVEPOINT tidelock").await
    }

    async fn write_rows(&mut self, shape: &Shape, arena: &Arena, rows: &[CellRange]) -> SqlResult<Written> {
        let plan = &*shape.plan;
        let text = self.text(shape);
        let mut out = PgArguments::default();
        out.reserve(plan.columns.len(), rows.len() * plan.columns.len() * 16);
        let given = match shape.operation {
            RowOperation::Rename => rows.len() as u64 / 2,
            _ => rows.len() as u64,
        };
        let all = |columns: Vec<usize>| columns.into_iter().map(|at| (at, at));
        match shape.operation {
            RowOperation::Upsert | RowOperation::Insert => {
                arrays(plan, arena, rows, all(shape.columns.clone()), None, &mut out)?;
                let changed = self.run(text, out, &plan.name).await?;
                Ok(Written { matched: given, unchanged: given.saturating_sub(changed), differs: 0 })
            }
            RowOperation::InsertIfAbsent => {
                arrays(plan, arena, rows, all(shape.columns.clone()), None, &mut out)?;
                let (inserted, equal) = self.counts(text, out, &plan.name).await?;
                Ok(Written { matched: inserted, unchanged: 0, differs: given.saturating_sub(inserted + equal) })
            }
            RowOperation::Update => {
                arrays(plan, arena, rows, all(statements::update_columns(shape)), None, &mut out)?;
                let (matched, changed) = self.counts(text, out, &plan.name).await?;
                Ok(Written { matched, unchanged: matched.saturating_sub(changed), differs: 0 })
            }
            RowOperation::Delete => {
                arrays(plan, arena, rows, key_cells(plan), None, &mut out)?;
                let matched = self.run(text, out, &plan.name).await?;
                Ok(Written { matched, ..Written::default() })
            }
            RowOperation::Rename => {
                arrays(plan, arena, rows, key_cells(plan), Some(0), &mut out)?;
                arrays(plan, arena, rows, key_cells(plan), Some(1), &mut out)?;
                let matched = self.run(text, out, &plan.name).await?;
                Ok(Written { matched, ..Written::default() })
            }
        }
    }

    async fn present(&mut self, plan: &TablePlan, arena: &Arena, keys: &[CellRange]) -> SqlResult<Vec<bool>> {
        let text: Arc<str> = statements::present(plan).into();
        let mut found = Vec::with_capacity(keys.len());
        for key in keys {
            let mut out = PgArguments::default();
            arrays(plan, arena, std::slice::from_ref(key), key_cells(plan), None, &mut out)?;
            found.push(!self.fetch(Arc::clone(&text), out, &plan.name).await?.is_empty());
        }
        Ok(found)
    }

    async fn exist(&mut self, plan: &TablePlan, arena: &Arena, keys: &[CellRange]) -> SqlResult<Vec<bool>> {
        let mut out = PgArguments::default();
        arrays(plan, arena, keys, key_cells(plan), None, &mut out)?;
        let rows = self.fetch(statements::exist(plan).into(), out, &plan.name).await?;
        let mut found = vec![false; keys.len()];
        for row in &rows {
            if let [Value::I64(number)] = row.as_slice()
                && let Some(there) = usize::try_from(*number - 1).ok().and_then(|at| found.get_mut(at))
            {
                *there = true;
            }
        }
        Ok(found)
    }

    async fn advance_sequence(&mut self, plan: &TablePlan, column: usize, highest: i64) -> SqlResult<()> {
        let name = &plan.columns[column].name;
        let sequences = plan.description.sequences.iter();
        let owned: Vec<_> = sequences
            .filter(|sequence| plan.description.columns[sequence.column].name == *name && sequence.increment > 0)
            .filter(|sequence| highest <= sequence.last)
            .cloned()
            .collect();
        for sequence in owned {
            if !self.may_move(&sequence.name).await? {
                continue;
            }
            let look = format!("SELECT last_value::int8, is_called FROM {}", sequence.name);
            let rows = self.query(&look, &[]).await?;
            let Some([Value::I64(last), Value::Bool(is_called)]) = rows.first().map(Vec::as_slice) else { continue };
            let next = if *is_called { last.saturating_add(sequence.increment) } else { *last };
            if next > highest {
                continue;
            }
            // Whole steps keep the next value in the sequence's own class.
            let steps = (highest - next) / sequence.increment + 1;
            let name = Value::Text(sequence.name.to_string());
            if steps <= DRAWS_MAX {
                let draw = "SELECT MAX(nextval($1::text::regclass)) FROM generate_series(1, $2::int8)";
                self.query(draw, &[name, Value::I64(steps)]).await?;
            } else {
                let goal = next + (steps - 1) * sequence.increment;
                self.query("SELECT setval($1::text::regclass, $2::int8, true)", &[name, Value::I64(goal)]).await?;
            }
        }
        Ok(())
    }

    async fn describe(&mut self, table: &str) -> SqlResult<Option<TableDescription>> {
        introspect::describe(self, table).await
    }

    async fn terminate(&mut self, backend_id: i64) -> SqlResult<()> {
        // Numbers of sessions come again: it may be somebody else's by now.
        let text = "SELECT pg_terminate_backend(pid) FROM pg_stat_activity WHERE pid = $1::int8::int4 AND usename = current_user \
             AND datname = current_database() AND application_name = 'tidelock' AND pid <> pg_backend_pid()";
        self.query(text, &[Value::I64(backend_id)]).await.map(|_| ())
    }
}

impl Session {
    async fn may_move(&mut self, sequence: &Arc<str>) -> SqlResult<bool> {
        if let Some(known) = self.sequences.get(sequence) {
            return Ok(*known);
        }
        let asked = "SELECT has_sequence_privilege($1::text::regclass, 'UPDATE') AND has_sequence_privilege($1::text::regclass, 'SELECT')";
        let rows = self.query(asked, &[Value::Text(sequence.to_string())]).await?;
        let may = rows.first().is_some_and(|row| row.first() == Some(&Value::Bool(true)));
        if !may {
            tracing::warn!(%sequence, "no privilege to move this sequence past explicit ids: grant SELECT, UPDATE on it");
        }
        self.sequences.insert(Arc::clone(sequence), may);
        Ok(may)
    }
}
