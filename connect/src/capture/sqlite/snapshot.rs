//! Existing rows on their way into the stream: copied into the change log piece by piece, as snapshot reads.
//!
//! A piece and the position after it are one SQLite transaction, so a crash neither loses nor repeats rows. And because a row
//! enters the log in the state that it has at that moment, under the write lock, a snapshot read can never be older than a change
//! that stands before it in the log, nor newer than one that follows.

use sqlx::query::Query;
use sqlx::sqlite::SqliteArguments;
use sqlx::{AssertSqlSafe, Connection, Sqlite, SqliteConnection};
use topology::{Error, ErrorKind, Result, Stage};
use tracing::info;

use super::fault::fault;
use super::image::{self, Stored};
use super::table::CapturedTable;
use super::triggers::{copy_rows, position_after};

/// Rows copied at once: few enough to hold the write lock only for milliseconds.
pub const PIECE_ROWS: u32 = 500;

/// Copies the next piece of the first table that has rows left. Returns the number of tables that are not done yet.
///
/// # Errors
/// `Transient` and `Environment` when SQLite fails; nothing was copied then.
pub async fn copy_piece(connection: &mut SqliteConnection) -> Result<usize> {
    let failed = |error| fault("cannot copy existing rows into the change log", "initial snapshot", error);
    const PENDING: &str = "SELECT c.table_name, c.layout, l.description, CAST(c.position AS BLOB)
         FROM tidelock_captured c JOIN tidelock_layouts l ON l.id = c.layout WHERE c.snapshot = 'pending' ORDER BY 1";
    type Row = (String, i64, String, Option<Vec<u8>>);
    let pending: Vec<Row> = sqlx::query_as(PENDING).fetch_all(&mut *connection).await.map_err(failed)?;
    if pending.is_empty() {
        return Ok(0);
    }
    let mut transaction = connection.begin_with("BEGIN IMMEDIATE").await.map_err(failed)?;
    // Read again under the write lock: another process may have installed or copied meanwhile.
    let pending: Vec<Row> = sqlx::query_as(PENDING).fetch_all(&mut *transaction).await.map_err(failed)?;
    let Some((name, layout, description, position)) = pending.first() else { return Ok(0) };
    let table: CapturedTable = serde_json::from_str(description)
        .map_err(|error| unreadable("tidelock_layouts.description", name).with_source(error))?;
    let after = match position {
        None => Vec::new(),
        Some(bytes) => image::parse(bytes).ok_or_else(|| unreadable("tidelock_captured.position", name))?,
    };
    let is_first = position.is_none();
    let next: Option<Vec<u8>> = {
        let statement = position_after(&table, is_first, PIECE_ROWS);
        bound(&statement, &after)
            .fetch_optional(&mut *transaction)
            .await
            .map_err(failed)?
            .map(|row| sqlx::Row::try_get(&row, 0))
            .transpose()
            .map_err(failed)?
    };
    let statement = copy_rows(&table, *layout, is_first, PIECE_ROWS);
    bound(&statement, &after).execute(&mut *transaction).await.map_err(failed)?;
    let is_done = next.is_none();
    sqlx::query("UPDATE tidelock_captured SET snapshot = ?, position = CAST(? AS TEXT) WHERE table_name = ?")
        .bind(if is_done { "done" } else { "pending" })
        .bind(next)
        .bind(name)
        .execute(&mut *transaction)
        .await
        .map_err(failed)?;
    transaction.commit().await.map_err(failed)?;
    if is_done {
        info!(table = %name, "copied all existing rows into the change log");
    }
    Ok(pending.len() - usize::from(is_done))
}

fn unreadable(place: &str, table: &str) -> Error {
    Error::new(
        ErrorKind::Environment,
        Stage::Capture,
        "cannot go on with the initial snapshot",
        format!("{place} of \"{table}\" is not what we stored; install the capture again"),
    )
}

fn bound<'q>(statement: &'q str, after: &[(String, Stored)]) -> Query<'q, Sqlite, SqliteArguments> {
    let mut query = sqlx::query(AssertSqlSafe(statement.to_owned()));
    for (_, value) in after {
        query = match value {
            Stored::Null => query.bind(None::<i64>),
            Stored::Integer(number) => query.bind(*number),
            Stored::Real(number) => query.bind(*number),
            Stored::Text(text) => query.bind(text.clone()),
            Stored::Blob(bytes) => query.bind(bytes.clone()),
        };
    }
    query
}
