//! Makes and removes the triggers. Nothing else in the engine creates a trigger (promise P8).
//!
//! Everything one call does is one transaction: either all named tables are captured from the same moment on, or none.

use sqlx::{AssertSqlSafe, Connection, SqliteConnection};
use topology::Result;
use tracing::{info, warn};

use super::fault::fault;
use super::table::{CapturedTable, describe, unique_indexes};
use super::triggers::{EXPONENTS, TABLES, create_triggers, identifier, trigger_names};

/// What becomes of rows that are there when a table is captured for the first time.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum SnapshotChoice {
    /// They are published once, as snapshot reads, before or between the changes that follow.
    #[default]
    Initial,
    /// They are not published.
    Never,
}

/// What an install did.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Installed {
    /// Tables whose triggers are there now, as the database spells them.
    pub tables: Vec<String>,
    /// What an operator should know, in sentences.
    pub warnings: Vec<String>,
}

/// Creates the capture's own tables if they are missing, and the triggers of the named tables, replacing older ones. To be called
/// again after a change of a table's columns; a table that was captured before is not read again.
///
/// # Errors
/// `Configuration` for a table that can't be captured; `Transient` and `Environment` when SQLite fails. Nothing was changed then.
pub async fn install(
    connection: &mut SqliteConnection,
    tables: &[String],
    snapshot: SnapshotChoice,
) -> Result<Installed> {
    let failed = |error| fault("cannot install the capture", "its tables and triggers; nothing was changed", error);
    let mut transaction = connection.begin_with("BEGIN IMMEDIATE").await.map_err(failed)?;
    create_tables(&mut transaction).await?;
    fill_powers(&mut transaction).await?;
    let mut installed = Installed::default();
    for name in tables {
        let table = describe(&mut transaction, name).await?;
        let layout = layout_id(&mut transaction, &table).await?;
        drop_triggers(&mut transaction, &table.name).await?;
        for statement in create_triggers(&table, layout) {
            sqlx::query(AssertSqlSafe(statement)).execute(&mut *transaction).await.map_err(failed)?;
        }
        let state = match snapshot {
            SnapshotChoice::Initial => "pending",
            SnapshotChoice::Never => "done",
        };
        sqlx::query(
            "INSERT INTO tidelock_captured (table_name, layout, snapshot) VALUES (?, ?, ?)
             ON CONFLICT (table_name) DO UPDATE SET layout = excluded.layout",
        )
        .bind(&table.name)
        .bind(layout)
        .bind(state)
        .execute(&mut *transaction)
        .await
        .map_err(failed)?;
        let unique = unique_indexes(&mut transaction, &table.name).await?;
        if !unique.is_empty() {
            installed.warnings.push(format!(
                "\"{}\" has unique indexes besides its primary key ({}): rows that a REPLACE deletes because of them are not \
                 captured unless the application sets PRAGMA recursive_triggers = on",
                table.name,
                unique.join(", ")
            ));
        }
        installed.tables.push(table.name);
    }
    transaction.commit().await.map_err(failed)?;
    for warning in &installed.warnings {
        warn!("{warning}");
    }
    info!(tables = ?installed.tables, "installed capture triggers");
    Ok(installed)
}

/// Drops the triggers of the named tables. What they recorded stays and is still published.
///
/// # Errors
/// `Transient` and `Environment` when SQLite fails; nothing was changed then.
pub async fn remove(connection: &mut SqliteConnection, tables: &[String]) -> Result<()> {
    let failed = |error| fault("cannot remove the capture", "its triggers; nothing was changed", error);
    let mut transaction = connection.begin_with("BEGIN IMMEDIATE").await.map_err(failed)?;
    create_tables(&mut transaction).await?;
    for table in tables {
        drop_triggers(&mut transaction, table).await?;
        sqlx::query("DELETE FROM tidelock_captured WHERE lower(table_name) = lower(?)")
            .bind(table)
            .execute(&mut *transaction)
            .await
            .map_err(failed)?;
    }
    transaction.commit().await.map_err(failed)?;
    info!(?tables, "removed capture triggers");
    Ok(())
}

/// Declares the change log a new one, after the database was restored from a copy: everything in it is published, whatever had been
/// published from the old one.
///
/// # Errors
/// `Transient` and `Environment` when SQLite fails.
pub async fn restart_log(connection: &mut SqliteConnection) -> Result<()> {
    create_tables(connection).await?;
    sqlx::query("UPDATE tidelock_log SET incarnation = lower(hex(randomblob(8))) WHERE id = 1")
        .execute(connection)
        .await
        .map_err(|error| fault("cannot restart the change log", "table tidelock_log", error))?;
    Ok(())
}

/// Tables whose columns are no longer those that their triggers record: the capture has to be installed again.
///
/// # Errors
/// `Transient` and `Environment` when SQLite fails.
pub async fn outdated(connection: &mut SqliteConnection) -> Result<Vec<String>> {
    let captured: Vec<(String, String)> = sqlx::query_as(
        "SELECT c.table_name, l.description FROM tidelock_captured c JOIN tidelock_layouts l ON l.id = c.layout ORDER BY 1",
    )
    .fetch_all(&mut *connection)
    .await
    .map_err(|error| fault("cannot read what is captured", "table tidelock_captured", error))?;
    let mut outdated = Vec::new();
    for (name, description) in captured {
        let live = describe(connection, &name).await.ok();
        if live.is_none_or(|live| description_of(&live) != description) {
            outdated.push(name);
        }
    }
    Ok(outdated)
}

/// Creates the capture's tables, once.
pub(super) async fn create_tables(connection: &mut SqliteConnection) -> Result<()> {
    let failed = |error| fault("cannot create the capture's tables", "tidelock_changes and its companions", error);
    for statement in TABLES {
        sqlx::query(statement).execute(&mut *connection).await.map_err(failed)?;
    }
    let rows = [
        "INSERT OR IGNORE INTO tidelock_log (id, incarnation) VALUES (1, lower(hex(randomblob(8))))",
        "INSERT OR IGNORE INTO tidelock_origin (id, tag) VALUES (1, NULL)",
    ];
    for statement in rows {
        sqlx::query(statement).execute(&mut *connection).await.map_err(failed)?;
    }
    Ok(())
}

/// Fills the table that triggers take reals apart with.
async fn fill_powers(connection: &mut SqliteConnection) -> Result<()> {
    let failed = |error| fault("cannot install the capture", "table tidelock_powers", error);
    let known: i64 =
        sqlx::query_scalar("SELECT count(*) FROM tidelock_powers").fetch_one(&mut *connection).await.map_err(failed)?;
    if usize::try_from(known).is_ok_and(|known| known == EXPONENTS.count()) {
        return Ok(());
    }
    for exponent in EXPONENTS {
        // From its bits: exact, and the same everywhere, unlike `powi`.
        let bits = if exponent < -1022 {
            1u64 << (exponent + 1074)
        } else {
            u64::from((exponent + 1023).unsigned_abs()) << 52
        };
        sqlx::query("INSERT OR REPLACE INTO tidelock_powers (exponent, power) VALUES (?, ?)")
            .bind(exponent)
            .bind(f64::from_bits(bits))
            .execute(&mut *connection)
            .await
            .map_err(failed)?;
    }
    Ok(())
}

fn description_of(table: &CapturedTable) -> String {
    serde_json::to_string(table).expect("names and numbers always make JSON")
}

async fn layout_id(connection: &mut SqliteConnection, table: &CapturedTable) -> Result<i64> {
    let failed = |error| fault("cannot store the layout of a table", format!("\"{}\"", table.name), error);
    let description = description_of(table);
    sqlx::query("INSERT OR IGNORE INTO tidelock_layouts (description) VALUES (?)")
        .bind(&description)
        .execute(&mut *connection)
        .await
        .map_err(failed)?;
    sqlx::query_scalar("SELECT id FROM tidelock_layouts WHERE description = ?")
        .bind(&description)
        .fetch_one(connection)
        .await
        .map_err(failed)
}

async fn drop_triggers(connection: &mut SqliteConnection, table: &str) -> Result<()> {
    for name in trigger_names(table) {
        let statement = format!("DROP TRIGGER IF EXISTS {}", identifier(&name));
        sqlx::query(AssertSqlSafe(statement))
            .execute(&mut *connection)
            .await
            .map_err(|error| fault("cannot drop a capture trigger", name, error))?;
    }
    Ok(())
}
