//! The change log as the capture reads and trims it.

use std::collections::HashMap;
use std::str::FromStr;
use std::sync::Arc;
use std::time::Duration;

use sqlx::sqlite::SqliteConnectOptions;
use sqlx::{ConnectOptions, Row, SqliteConnection};
use topology::record::Operation;
use topology::{Error, ErrorKind, Result, Stage};

use super::fault::fault;
use super::image::{self, Image};
use super::install;
use super::table::CapturedTable;

/// How long a statement waits for another writer before it answers BUSY; the caller tries again for ever.
const BUSY_TIMEOUT: Duration = Duration::from_secs(5);

/// One row of the change log.
#[derive(Clone, Debug, PartialEq)]
pub struct LoggedChange {
    /// Its id: grows in commit order, never used twice within one incarnation of the log.
    pub id: i64,
    /// The table in the shape it had.
    pub table: Arc<CapturedTable>,
    /// What happened.
    pub operation: Operation,
    /// The key that the row had (on an insert: has).
    pub key: Image,
    /// The row before, of updates and deletes.
    pub before: Option<Image>,
    /// The row after, of inserts, updates and snapshot reads.
    pub after: Option<Image>,
    /// The site from which the engine brought this change; `None` for everybody else's.
    pub tag: Option<String>,
    /// When the statement ran, in milliseconds since the epoch.
    pub committed_at_ms: i64,
}

impl LoggedChange {
    /// The key after the change; `None` for a delete, or when the image has other columns than the table.
    pub fn key_after(&self) -> Option<Image> {
        let after = self.after.as_ref()?;
        self.table.key.iter().map(|at| after.get(*at).cloned()).collect()
    }

    /// Whether an update gave the row another key.
    pub fn is_key_change(&self) -> bool {
        self.operation == Operation::Update && self.key_after().is_some_and(|key| key != self.key)
    }
}

/// A connection to a captured database.
#[derive(Debug)]
pub struct ChangeLog {
    connection: SqliteConnection,
    layouts: HashMap<i64, Arc<CapturedTable>>,
}

impl ChangeLog {
    /// Opens the database, which must exist, and creates the capture's tables if they are missing (no triggers).
    ///
    /// # Errors
    /// `Configuration` for an address that is none; `Transient` and `Environment` when SQLite fails.
    pub async fn open(url: &str) -> Result<ChangeLog> {
        let mut connection = connect(url).await?;
        install::create_tables(&mut connection).await?;
        Ok(ChangeLog { connection, layouts: HashMap::new() })
    }

    /// The connection, for install, remove and snapshot.
    pub fn connection(&mut self) -> &mut SqliteConnection {
        &mut self.connection
    }

    /// The log's incarnation: changes when somebody declares it a new log.
    ///
    /// # Errors
    /// `Transient` and `Environment`.
    pub async fn incarnation(&mut self) -> Result<String> {
        sqlx::query_scalar("SELECT incarnation FROM tidelock_log WHERE id = 1")
            .fetch_one(&mut self.connection)
            .await
            .map_err(|error| fault("cannot read the change log", "table tidelock_log", error))
    }

    /// The highest id ever given to a change; 0 before the first.
    ///
    /// # Errors
    /// `Transient` and `Environment`.
    pub async fn highest_id(&mut self) -> Result<i64> {
        sqlx::query_scalar("SELECT coalesce(max(seq), 0) FROM sqlite_sequence WHERE name = 'tidelock_changes'")
            .fetch_one(&mut self.connection)
            .await
            .map_err(|error| fault("cannot read the change log", "table sqlite_sequence", error))
    }

    /// Number of changes above `published`.
    ///
    /// # Errors
    /// `Transient` and `Environment`.
    pub async fn backlog(&mut self, published: i64) -> Result<i64> {
        sqlx::query_scalar("SELECT count(*) FROM tidelock_changes WHERE id > ?")
            .bind(published)
            .fetch_one(&mut self.connection)
            .await
            .map_err(|error| fault("cannot count the change log", "table tidelock_changes", error))
    }

    /// The next changes above `published`, in commit order: at most `rows`, and no more after `bytes` of images are together.
    ///
    /// # Errors
    /// `Transient` and `Environment`; also when a row is not what our triggers write.
    pub async fn read(&mut self, published: i64, rows: u32, bytes: usize) -> Result<Vec<LoggedChange>> {
        let failed = |error| fault("cannot read the change log", "table tidelock_changes", error);
        let found = sqlx::query(
            "SELECT id, layout, operation, CAST(key AS BLOB), CAST(before AS BLOB), CAST(after AS BLOB), tag, committed_at_ms
             FROM tidelock_changes WHERE id > ? ORDER BY id LIMIT ?",
        )
        .bind(published)
        .bind(rows)
        .fetch_all(&mut self.connection)
        .await
        .map_err(failed)?;
        let mut changes = Vec::with_capacity(found.len());
        let mut size = 0;
        for row in &found {
            let id: i64 = row.try_get(0).map_err(failed)?;
            let operation: String = row.try_get(2).map_err(failed)?;
            let key: Vec<u8> = row.try_get(3).map_err(failed)?;
            let before: Option<Vec<u8>> = row.try_get(4).map_err(failed)?;
            let after: Option<Vec<u8>> = row.try_get(5).map_err(failed)?;
            size += key.len() + before.as_ref().map_or(0, Vec::len) + after.as_ref().map_or(0, Vec::len);
            let image =
                |bytes: Option<Vec<u8>>| bytes.map(|bytes| image::parse(&bytes).ok_or_else(|| odd(id))).transpose();
            changes.push(LoggedChange {
                id,
                table: self.layout(row.try_get(1).map_err(failed)?, id).await?,
                operation: match operation.as_str() {
                    "c" => Operation::Create,
                    "u" => Operation::Update,
                    "d" => Operation::Delete,
                    "r" => Operation::Read,
                    _ => return Err(odd(id)),
                },
                key: image(Some(key))?.unwrap_or_default(),
                before: image(before)?,
                after: image(after)?,
                tag: row.try_get(6).map_err(failed)?,
                committed_at_ms: row.try_get(7).map_err(failed)?,
            });
            if size >= bytes {
                break;
            }
        }
        Ok(changes)
    }

    /// Deletes what is published.
    ///
    /// # Errors
    /// `Transient` and `Environment`; the rows are deleted later then.
    pub async fn trim(&mut self, published: i64) -> Result<u64> {
        let done = sqlx::query("DELETE FROM tidelock_changes WHERE id <= ?")
            .bind(published)
            .execute(&mut self.connection)
            .await
            .map_err(|error| fault("cannot trim the change log", "table tidelock_changes", error))?;
        Ok(done.rows_affected())
    }

    /// A number that changes with the database's schema.
    ///
    /// # Errors
    /// `Transient` and `Environment`.
    pub async fn schema_version(&mut self) -> Result<i64> {
        sqlx::query_scalar("PRAGMA schema_version")
            .fetch_one(&mut self.connection)
            .await
            .map_err(|error| fault("cannot read the schema's version", "PRAGMA schema_version", error))
    }

    async fn layout(&mut self, layout: i64, change: i64) -> Result<Arc<CapturedTable>> {
        if let Some(known) = self.layouts.get(&layout) {
            return Ok(known.clone());
        }
        let description: Option<String> = sqlx::query_scalar("SELECT description FROM tidelock_layouts WHERE id = ?")
            .bind(layout)
            .fetch_optional(&mut self.connection)
            .await
            .map_err(|error| fault("cannot read the change log", "table tidelock_layouts", error))?;
        let table = description.and_then(|text| serde_json::from_str(&text).ok()).ok_or_else(|| odd(change))?;
        let table = Arc::new(table);
        self.layouts.insert(layout, Arc::clone(&table));
        Ok(table)
    }
}

/// Opens a connection to an existing SQLite database as the capture uses it. Changes no setting of the database.
///
/// # Errors
/// `Configuration` for an address that is none; `Environment` when the file can't be opened.
pub async fn connect(url: &str) -> Result<SqliteConnection> {
    let refuse = |error| {
        Error::new(
            ErrorKind::Configuration,
            Stage::Capture,
            "cannot read the address of a SQLite database",
            "use sqlite:<path>",
        )
        .with_source(error)
    };
    SqliteConnectOptions::from_str(url)
        .map_err(refuse)?
        .busy_timeout(BUSY_TIMEOUT)
        .create_if_missing(false)
        .disable_statement_logging()
        .connect()
        .await
        .map_err(|error| {
            fault("cannot open the captured database", "check that the file exists and may be written", error)
        })
}

fn odd(id: i64) -> Error {
    Error::new(
        ErrorKind::Environment,
        Stage::Capture,
        "cannot read a captured change",
        format!(
            "tidelock_changes id {id} is not what our triggers write; install the capture again and repair or delete the row"
        ),
    )
}
