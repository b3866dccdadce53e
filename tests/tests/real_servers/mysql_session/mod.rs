//! One session of MySQL or MariaDB under the shared writer: what it does to rows (rule B9), to values (P6) and to the binary log
//! (rules G). Every test runs on both servers with the engine's least rights.

mod guard;
mod rows;
mod values;

use std::sync::Arc;

use connect::mysql::{Flavour, MySqlConnector, Tagging};
use connect::sql::connection::{Connector, SqlConnection};
use connect::sql::error::SqlResult;
use connect::sql::plan::{RowOperation, Shape, TablePlan, Written};
use sqlx::{AssertSqlSafe, Connection, Executor, MySqlConnection, Row};
use tidelock_tests::servers::{Role, Server};
use topology::batch::{WriteMode, WriteTable};
use topology::data::{Arena, CellRange, Value};
use topology::record::EntityId;

/// A database of a test's own, and a session of the engine on it.
struct Fixture {
    server: Server,
    database: String,
    admin: MySqlConnection,
    session: Box<dyn SqlConnection>,
    arena: Arena,
}

fn flavour(server: Server) -> Flavour {
    if server == Server::Mariadb { Flavour::MariaDb } else { Flavour::MySql }
}

impl Fixture {
    async fn new(server: Server, name: &str, schema: &[&str]) -> Fixture {
        Fixture::tagged(server, name, schema, None).await
    }

    async fn tagged(server: Server, name: &str, schema: &[&str], tagging: Option<Tagging>) -> Fixture {
        let database = format!("session_test_{name}");
        let mut admin = MySqlConnection::connect(&server.url(Role::Admin, "mysql")).await.expect("the server answers");
        for sql in [
            format!("DROP DATABASE IF EXISTS {database}"),
            format!("CREATE DATABASE {database}"),
            format!("USE {database}"),
        ] {
            run(&mut admin, &sql).await;
        }
        for sql in schema {
            run(&mut admin, sql).await;
        }
        let session = connector(server, &database, tagging).connect().await.expect("a session");
        Fixture { server, database, admin, session, arena: Arena::default() }
    }

    async fn plan(&mut self, table: &str) -> Arc<TablePlan> {
        let description = self.session.describe(table).await.expect("it can be read").expect("the table is there");
        let columns = description.columns.iter().map(|column| column.column()).collect();
        let table = WriteTable {
            entity: EntityId(0),
            name: table.into(),
            columns,
            key: description.primary_key.clone(),
            insert_only: Vec::new(),
            mode: WriteMode::Mirror,
        };
        Arc::new(TablePlan::new(&table, Arc::new(description)).expect("all columns are there"))
    }

    fn rows(&mut self, rows: &[Vec<Value>]) -> Vec<CellRange> {
        rows.iter().map(|row| self.arena.push_values(row)).collect()
    }

    async fn write(
        &mut self,
        plan: &Arc<TablePlan>,
        operation: RowOperation,
        rows: &[Vec<Value>],
    ) -> SqlResult<Written> {
        let columns = match operation {
            RowOperation::Delete | RowOperation::Rename => vec![],
            RowOperation::Update => plan.rest(),
            _ => (0..plan.columns.len()).collect(),
        };
        self.write_shape(&Shape::new(plan, operation, columns), rows).await
    }

    async fn write_shape(&mut self, shape: &Shape, rows: &[Vec<Value>]) -> SqlResult<Written> {
        let rows = self.rows(rows);
        self.session.begin(true).await?;
        let done = self.session.write_rows(shape, &self.arena, &rows).await;
        match &done {
            Ok(_) => self.session.commit().await?,
            Err(_) => self.session.rollback().await?,
        }
        done
    }

    /// All rows as the server prints them, cells joined by `|`.
    async fn dump(&mut self, sql: &str) -> Vec<String> {
        let rows = self.admin.fetch_all(sqlx::raw_sql(AssertSqlSafe(sql.to_owned()))).await.expect(sql);
        let cell = |row: &sqlx::mysql::MySqlRow, at| {
            row.try_get_unchecked::<Option<String>, _>(at).expect("text").unwrap_or_else(|| "NULL".to_owned())
        };
        rows.iter().map(|row| (0..row.len()).map(|at| cell(row, at)).collect::<Vec<_>>().join("|")).collect()
    }

    async fn done(mut self) {
        drop(self.session);
        run(&mut self.admin, &format!("DROP DATABASE {}", self.database)).await;
    }
}

fn connector(server: Server, database: &str, tagging: Option<Tagging>) -> MySqlConnector {
    MySqlConnector::new(&server.url(Role::Writer, database), flavour(server), tagging).expect("a good address")
}

async fn run(connection: &mut MySqlConnection, sql: &str) {
    if let Err(error) = connection.execute(sqlx::raw_sql(AssertSqlSafe(sql.to_owned()))).await {
        panic!("{sql}: {error}");
    }
}

const BOTH: [Server; 2] = [Server::Mysql, Server::Mariadb];
