//! One database of a test, asked in SQL. Rows come back as text, one line per row, so that a test shows what it expects as a person
//! would read it: columns joined by `|`, NULL as `NULL`.

use std::time::Duration;

use sqlx::mysql::{MySqlPool, MySqlPoolOptions, MySqlRow};
use sqlx::postgres::{PgPool, PgPoolOptions, PgRow};
use sqlx::{AssertSqlSafe, Row};

use crate::servers::{Role, Server};
use crate::wait::{arrival, eventually};

/// A database, open as admin.
#[derive(Clone, Debug)]
pub struct Database {
    /// Where it lives.
    pub server: Server,
    /// Its name.
    pub name: String,
    pool: Pool,
}

#[derive(Clone, Debug)]
enum Pool {
    Mysql(MySqlPool),
    Postgres(PgPool),
}

/// Connections of one test to one database at most.
const CONNECTIONS_MAX: u32 = 8;

/// How long a server that was stopped may keep a test waiting.
const ACQUIRE_TIMEOUT: Duration = Duration::from_secs(10);

impl Database {
    /// Connects when first asked.
    pub fn open(server: Server, name: &str) -> Database {
        let url = server.url(Role::Admin, name);
        let pool = match server.is_postgres() {
            true => Pool::Postgres(
                PgPoolOptions::new()
                    .max_connections(CONNECTIONS_MAX)
                    .acquire_timeout(ACQUIRE_TIMEOUT)
                    .connect_lazy(&url)
                    .expect("an address"),
            ),
            false => Pool::Mysql(
                MySqlPoolOptions::new()
                    .max_connections(CONNECTIONS_MAX)
                    .acquire_timeout(ACQUIRE_TIMEOUT)
                    .connect_lazy(&url)
                    .expect("an address"),
            ),
        };
        Database { server, name: name.to_owned(), pool }
    }

    /// Runs statements, separated by `;`, on one connection.
    ///
    /// # Errors
    /// What the server says.
    pub async fn try_run(&self, sql: &str) -> Result<(), sqlx::Error> {
        let sql = sqlx::raw_sql(AssertSqlSafe(sql));
        match &self.pool {
            Pool::Mysql(pool) => sql.execute(pool).await.map(drop),
            Pool::Postgres(pool) => sql.execute(pool).await.map(drop),
        }
    }

    /// Runs a transaction, `BEGIN` and `COMMIT` included. After an error its connection is closed, so that nothing is left open on it.
    ///
    /// # Errors
    /// What the server says; whether it is committed is then unknown.
    pub async fn try_transaction(&self, sql: &str) -> Result<(), sqlx::Error> {
        let sql = sqlx::raw_sql(AssertSqlSafe(sql));
        match &self.pool {
            Pool::Mysql(pool) => {
                let mut connection = pool.acquire().await?;
                let done = sql.execute(&mut *connection).await;
                if done.is_err() {
                    drop(connection.detach());
                }
                done.map(drop)
            }
            Pool::Postgres(pool) => {
                let mut connection = pool.acquire().await?;
                let done = sql.execute(&mut *connection).await;
                if done.is_err() {
                    drop(connection.detach());
                }
                done.map(drop)
            }
        }
    }

    /// Runs statements, separated by `;`, on one connection.
    ///
    /// # Panics
    /// When the server refuses.
    pub async fn run(&self, sql: &str) {
        self.try_run(sql).await.unwrap_or_else(|error| panic!("{}: {error}\n{sql}", self.name));
    }

    /// Rows of a query, as text.
    ///
    /// # Errors
    /// What the server says.
    pub async fn try_rows(&self, sql: &str) -> Result<Vec<String>, sqlx::Error> {
        let sql = sqlx::raw_sql(AssertSqlSafe(sql));
        match &self.pool {
            Pool::Mysql(pool) => Ok(sql.fetch_all(pool).await?.iter().map(mysql_line).collect()),
            Pool::Postgres(pool) => Ok(sql.fetch_all(pool).await?.iter().map(postgres_line).collect()),
        }
    }

    /// Rows of a query, as text.
    ///
    /// # Panics
    /// When the server refuses.
    pub async fn rows(&self, sql: &str) -> Vec<String> {
        self.try_rows(sql).await.unwrap_or_else(|error| panic!("{}: {error}\n{sql}", self.name))
    }

    /// The only row of a query.
    ///
    /// # Panics
    /// When there is none, or more than one.
    pub async fn row(&self, sql: &str) -> String {
        let mut rows = self.rows(sql).await;
        assert_eq!(rows.len(), 1, "{}: {sql}: {rows:?}", self.name);
        rows.remove(0)
    }

    /// Waits until a query answers with exactly these rows.
    ///
    /// # Panics
    /// When it does not within the scenarios' limit.
    pub async fn shows(&self, sql: &str, expected: &[&str]) {
        self.shows_within(arrival(), sql, expected).await;
    }

    /// As [`Database::shows`], with a limit of its own.
    ///
    /// # Panics
    /// When it does not within `limit`.
    pub async fn shows_within(&self, limit: Duration, sql: &str, expected: &[&str]) {
        eventually(limit, &format!("{}: {sql}", self.name), || async {
            let rows = self.try_rows(sql).await.map_err(|error| error.to_string())?;
            if rows == expected { Ok(()) } else { Err(format!("{rows:#?}, expected {expected:#?}")) }
        })
        .await;
    }

    /// Closes all connections.
    pub async fn close(&self) {
        match &self.pool {
            Pool::Mysql(pool) => pool.close().await,
            Pool::Postgres(pool) => pool.close().await,
        }
    }
}

fn mysql_line(row: &MySqlRow) -> String {
    // As bytes: a column may hold some that are no text.
    let text = |bytes: Vec<u8>| String::from_utf8_lossy(&bytes).into_owned();
    join((0..row.len()).map(|at| Ok(row.try_get_unchecked::<Option<Vec<u8>>, _>(at)?.map(text))))
}

fn postgres_line(row: &PgRow) -> String {
    join((0..row.len()).map(|at| row.try_get_unchecked::<Option<String>, _>(at)))
}

/// Unprepared statements answer in text, whatever the type.
fn join(cells: impl Iterator<Item = Result<Option<String>, sqlx::Error>>) -> String {
    let cells: Vec<String> =
        cells.map(|cell| cell.expect("cells are text").unwrap_or_else(|| "NULL".to_owned())).collect();
    cells.join("|")
}
