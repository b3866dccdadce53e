//! One session of MySQL or MariaDB (rule L10): set up once, never pooled, dropped after anything unclear.

use std::collections::HashMap;
use std::str::FromStr;
use std::sync::Arc;

use async_trait::async_trait;
use futures::TryStreamExt;
use sqlx::mysql::{MySqlArguments, MySqlConnectOptions, MySqlConnection};
use sqlx::{Arguments, AssertSqlSafe, ConnectOptions, Executor, Row};
use topology::data::{Arena, CellRange, Value};
use topology::guard::{SiteTags, Strategy};
use topology::table::TableDescription;
use topology::{Error, ErrorKind, Stage};

use super::bind::TemporalTypes;
use super::dialect::Flavour;
use super::errors::classify;
use super::guard::{self, Mark, Tagging};
use super::statements::{NewRow, Texts};
use super::write::{ShapeCache, TextKind};
use super::{introspect, read};
use crate::sql::connection::{Connector, SqlConnection};
use crate::sql::dialect::Dialect;
use crate::sql::error::{SqlError, SqlResult};
use crate::sql::plan::{RowOperation, Shape, TablePlan, Written};

/// Prepared statements kept per session: tables × operations × numbers of rows.
const STATEMENTS_MAX: usize = 512;

/// What every session sets, whatever the server's defaults are.
///
/// `STRICT_ALL_TABLES`: nothing is cut or replaced without an error (P6). `NO_AUTO_VALUE_ON_ZERO`: the id 0 survives. No `NO_ZERO_DATE`: we
/// never write such dates, and rows that hold some must stay writable. READ COMMITTED keeps lanes from locking gaps (rule L9).
/// The timeouts are those of rule L10, in seconds.
const SETTINGS: &str = "SET SESSION sql_mode = 'STRICT_ALL_TABLES,NO_AUTO_VALUE_ON_ZERO,NO_ENGINE_SUBSTITUTION', \
     SESSION time_zone = '+00:00', SESSION autocommit = 1, SESSION completion_type = 'NO_CHAIN', SESSION foreign_key_checks = 1, \
     SESSION unique_checks = 1, SESSION sql_safe_updates = 0, SESSION sql_select_limit = DEFAULT, \
     SESSION wait_timeout = 60, SESSION net_read_timeout = 30, SESSION net_write_timeout = 30, \
     SESSION innodb_lock_wait_timeout = 10, SESSION lock_wait_timeout = 10; \
     SET SESSION TRANSACTION ISOLATION LEVEL READ COMMITTED, READ WRITE";

/// MariaDB alone: a transaction that idles is ended by the server.
const SETTINGS_MARIADB: &str = "SET SESSION idle_transaction_timeout = 30";

/// Opens sessions on one database.
#[derive(Clone, Debug)]
pub struct MySqlConnector {
    flavour: Flavour,
    options: MySqlConnectOptions,
    tagging: Option<Tagging>,
}

impl MySqlConnector {
    /// `url` as `mysql://user:password@host:port/database`. `tagging`: how writes are marked for the loop guard; `None` on one-way links
    /// whose writes need no mark.
    ///
    /// # Errors
    /// `Configuration` when the address can't be read or names no database.
    pub fn new(url: &str, flavour: Flavour, tagging: Option<Tagging>) -> Result<MySqlConnector, Error> {
        let refused = |detail: &str| {
            Error::new(ErrorKind::Configuration, Stage::Configure, "cannot read database address", detail)
        };
        let expected = "expected mysql://user:password@host:port/database";
        // MariaDB's own scheme is the same protocol.
        let url = url.strip_prefix("mariadb://").map_or_else(|| url.to_owned(), |rest| format!("mysql://{rest}"));
        if !url.starts_with("mysql://") {
            return Err(refused(expected));
        }
        let options = MySqlConnectOptions::from_str(&url).map_err(|error| refused(expected).with_source(error))?;
        if options.get_database().is_none_or(str::is_empty) {
            return Err(refused("it names no database; append /name"));
        }
        let options = options
            .charset("utf8mb4")
            .pipes_as_concat(false)
            .no_engine_substitution(false)
            .statement_cache_capacity(STATEMENTS_MAX)
            .disable_statement_logging();
        Ok(MySqlConnector { flavour, options, tagging })
    }

    /// Which server.
    pub fn flavour(&self) -> Flavour {
        self.flavour
    }

    /// Finds the strategy by which writes that come from site `from` can be marked here, by trying it; or says why there is none. For
    /// start-up (`guard: auto`) and `check`. Changes nothing.
    ///
    /// # Errors
    /// Why the server could not be asked.
    pub async fn prove(&self, tags: &SiteTags, from: &str) -> SqlResult<Result<Strategy, Vec<String>>> {
        let mut session = self.open().await?;
        guard::prove(&mut session.connection, self.flavour, tags, from).await
    }

    /// A session that is set up and carries no mark.
    async fn open(&self) -> SqlResult<Session> {
        let failed = |error| classify("cannot open session", "check address, user and privileges", error);
        let mut connection = self.options.connect().await.map_err(failed)?;
        let version = {
            let row = connection.fetch_one(sqlx::raw_sql("SELECT CAST(VERSION() AS CHAR)")).await.map_err(failed)?;
            row.try_get_unchecked::<String, _>(0).map_err(failed)?
        };
        let found = if version.contains("MariaDB") { Flavour::MariaDb } else { Flavour::MySql };
        if found != self.flavour {
            return Err(SqlError::known(Error::new(
                ErrorKind::Configuration,
                Stage::Configure,
                "cannot open session",
                format!(
                    "the server is {} {version}, the site says {}; correct `kind` of the site",
                    found.dialect().name(),
                    self.flavour.dialect().name()
                ),
            )));
        }
        connection.execute(sqlx::raw_sql(SETTINGS)).await.map_err(failed)?;
        if found == Flavour::MariaDb {
            connection.execute(sqlx::raw_sql(SETTINGS_MARIADB)).await.map_err(failed)?;
        }
        let packet_max = {
            let sql = "SELECT CAST(@@session.max_allowed_packet AS CHAR)";
            let row = connection.fetch_one(sqlx::raw_sql(sql)).await.map_err(failed)?;
            row.try_get_unchecked::<String, _>(0).map_err(failed)?.parse().unwrap_or(1 << 20)
        };
        let types = TemporalTypes::learn(&mut connection).await.map_err(failed)?;
        let new_row = if found == Flavour::MySql && knows_row_alias(&version) { NewRow::Alias } else { NewRow::Values };
        Ok(Session {
            connection,
            texts: Texts { flavour: found, new_row },
            types,
            packet_max,
            shapes: HashMap::new(),
            lookups: Vec::new(),
            mark: Mark::None,
            tagged: false,
            usable: true,
        })
    }
}

/// `INSERT … AS new` came with 8.0.19.
fn knows_row_alias(version: &str) -> bool {
    let mut numbers = version.split(['.', '-']).map(|number| number.parse::<u32>().unwrap_or(0));
    let mut next = || numbers.next().unwrap_or(0);
    (next(), next(), next()) >= (8, 0, 19)
}

#[async_trait]
impl Connector for MySqlConnector {
    fn dialect(&self) -> &'static dyn Dialect {
        self.flavour.dialect()
    }

    async fn connect(&self) -> SqlResult<Box<dyn SqlConnection>> {
        let mut session = self.open().await?;
        // By this, `terminate` knows it as ours. Where user locks are forbidden (strict Galera) nobody's session is ended, and claims wait.
        let _ = session.plain("DO GET_LOCK(CONCAT('tidelock:session:', CONNECTION_ID()), 0)").await;
        if let Some(tagging) = &self.tagging {
            session.mark = guard::mark(&mut session.connection, tagging).await?;
        }
        Ok(Box::new(session))
    }
}

/// One session.
pub(super) struct Session {
    pub(super) connection: MySqlConnection,
    pub(super) texts: Texts,
    pub(super) types: TemporalTypes,
    /// `max_allowed_packet` in bytes.
    pub(super) packet_max: usize,
    /// Statement texts by shape.
    pub(super) shapes: HashMap<u32, ShapeCache>,
    /// Shapes of the tables that [`SqlConnection::present`] was asked about.
    lookups: Vec<Shape>,
    mark: Mark,
    /// True within a tagged transaction.
    tagged: bool,
    /// False when the mark could not be brought to rest: the session must not write again.
    usable: bool,
}

impl Session {
    pub(super) fn check_usable(&self) -> SqlResult<()> {
        if self.usable {
            return Ok(());
        }
        Err(SqlError::known(Error::new(
            ErrorKind::Transient,
            Stage::Write,
            "cannot use session",
            "gtid_next could not be brought to rest; a new session is needed",
        )))
    }

    async fn plain(&mut self, sql: &str) -> SqlResult<()> {
        self.check_usable()?;
        let done = (&mut self.connection).execute(sqlx::raw_sql(AssertSqlSafe(sql))).await;
        done.map(|_| ()).map_err(|error| classify("cannot run statement", "", error))
    }

    /// Runs several statements in one round trip; how many succeeded, and the error that stopped the rest.
    async fn several(&mut self, sql: &str) -> (usize, Option<sqlx::Error>) {
        let mut answers = (&mut self.connection).execute_many(sqlx::raw_sql(AssertSqlSafe(sql)));
        let mut done = 0;
        loop {
            match answers.try_next().await {
                Ok(Some(_)) => done += 1,
                Ok(None) => return (done, None),
                Err(error) => return (done, Some(error)),
            }
        }
    }
}

fn parameters(values: &[Value]) -> SqlResult<MySqlArguments> {
    let mut out = MySqlArguments::default();
    for value in values {
        let added = match value {
            Value::Null => out.add(None::<&str>),
            Value::Bool(v) => out.add(i64::from(*v)),
            Value::I64(v) => out.add(*v),
            Value::Text(v) => out.add(v.as_str()),
            Value::Bytes(v) => out.add(v.as_slice()),
            _ => Err("only null, boolean, integer, text and bytes are parameters of own statements".into()),
        };
        added.map_err(|error| classify("cannot bind parameter", "", sqlx::Error::Encode(error)))?;
    }
    Ok(out)
}

impl Session {
    /// The shape by which keys of a table are looked up.
    fn lookup(&mut self, plan: &TablePlan) -> Shape {
        let known = self.lookups.iter().position(|shape| {
            Arc::ptr_eq(&shape.plan.description, &plan.description)
                && shape.plan.key == plan.key
                && shape.plan.entity == plan.entity
        });
        let at = known.unwrap_or_else(|| {
            self.lookups.push(Shape::new(&Arc::new(plan.clone()), RowOperation::Delete, Vec::new()));
            self.lookups.len() - 1
        });
        self.lookups[at].clone()
    }
}

#[async_trait]
impl SqlConnection for Session {
    async fn execute(&mut self, sql: &str, values: &[Value]) -> SqlResult<u64> {
        self.check_usable()?;
        let query = sqlx::query_with(AssertSqlSafe(sql), parameters(values)?);
        let done = (&mut self.connection).execute(query).await;
        done.map(|done| done.rows_affected()).map_err(|error| classify("cannot run statement", "", error))
    }

    async fn query(&mut self, sql: &str, values: &[Value]) -> SqlResult<Vec<Vec<Value>>> {
        self.check_usable()?;
        let query = sqlx::query_with(AssertSqlSafe(sql), parameters(values)?);
        let rows = (&mut self.connection).fetch_all(query).await;
        rows.map_err(|error| classify("cannot read", "", error))?.iter().map(read::values).collect()
    }

    async fn execute_plain(&mut self, sql: &str) -> SqlResult<()> {
        self.plain(sql).await
    }

    async fn begin(&mut self, tagged: bool) -> SqlResult<()> {
        let sql = match &self.mark {
            Mark::Gtid(slot) if tagged => slot.begin(),
            _ => "START TRANSACTION".to_owned(),
        };
        self.tagged = tagged && matches!(self.mark, Mark::Gtid(_));
        self.plain(&sql).await
    }

    async fn commit(&mut self) -> SqlResult<()> {
        self.check_usable()?;
        let sql = match &self.mark {
            Mark::Gtid(slot) if self.tagged => slot.commit(),
            _ => return self.plain("COMMIT").await,
        };
        // UPDATE, COMMIT, SET: with two answers the transaction is committed, whatever happened to the third.
        let (done, error) = self.several(&sql).await;
        self.tagged = false;
        self.usable = error.is_none();
        if done >= 2 {
            if let Mark::Gtid(slot) = &mut self.mark {
                slot.used();
            }
            return Ok(());
        }
        let error = error.unwrap_or_else(|| sqlx::Error::Protocol("COMMIT was not answered".into()));
        Err(classify("cannot commit", "", error))
    }

    async fn rollback(&mut self) -> SqlResult<()> {
        let sql = if self.tagged { guard::ROLLBACK_TAGGED } else { "ROLLBACK" };
        self.tagged = false;
        self.plain(sql).await
    }

    async fn savepoint(&mut self) -> SqlResult<()> {
        self.plain("SAVEPOINT tidelock").await
    }

    async fn rollback_to_savepoint(&mut self) -> SqlResult<()> {
        self.plain("ROLLBACK TO SAVEPOINT tidelock").await
    }

    async fn release_savepoint(&mut self) -> SqlResult<()> {
        self.plain("RELEASE SAVEPOINT tidelock").await
    }

    async fn write_rows(&mut self, shape: &Shape, arena: &Arena, rows: &[CellRange]) -> SqlResult<Written> {
        if rows.is_empty() {
            return Ok(Written::default());
        }
        self.write(shape, arena, rows).await
    }

    async fn present(&mut self, plan: &TablePlan, arena: &Arena, keys: &[CellRange]) -> SqlResult<Vec<bool>> {
        let shape = self.lookup(plan);
        self.locate(&shape, arena, keys, true, TextKind::Lock).await
    }

    async fn exist(&mut self, plan: &TablePlan, arena: &Arena, keys: &[CellRange]) -> SqlResult<Vec<bool>> {
        let shape = self.lookup(plan);
        self.locate(&shape, arena, keys, true, TextKind::Find).await
    }

    async fn describe(&mut self, table: &str) -> SqlResult<Option<TableDescription>> {
        let flavour = self.texts.flavour;
        introspect::describe(self, flavour, table).await
    }

    async fn terminate(&mut self, backend_id: i64) -> SqlResult<()> {
        // Numbers of sessions start again with the server: only one that holds the lock of our own sessions is ended (P8).
        let ours = format!(
            "SELECT 1 FROM DUAL WHERE IS_USED_LOCK('tidelock:session:{backend_id}') = {backend_id} AND CONNECTION_ID() <> {backend_id}"
        );
        if !self.query(&ours, &[]).await?.is_empty() {
            // It may be gone by now, and the privilege may be missing: the claim then waits.
            let _ = self.plain(&format!("KILL CONNECTION {backend_id}")).await;
        }
        Ok(())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_row_alias_is_used_where_the_server_knows_it() {
        for (version, knows) in [("9.7.4-2", true), ("8.0.19", true), ("8.0.18-debug", false), ("5.7.44-log", false)] {
            assert_eq!(knows_row_alias(version), knows, "{version}");
        }
    }

    #[test]
    fn an_address_without_database_is_refused() {
        assert!(MySqlConnector::new("mysql://root@127.0.0.1:3306", Flavour::MySql, None).is_err());
        assert!(MySqlConnector::new("mariadb://root@127.0.0.1:3306/shop", Flavour::MariaDb, None).is_ok());
        assert!(MySqlConnector::new("postgres://root@127.0.0.1/shop", Flavour::MySql, None).is_err());
    }
}
