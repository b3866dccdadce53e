//! The loop guard's mark in PostgreSQL: a replication origin for the session's life (rule G1).
//!
//! One session per origin at a time, so the name ends in a slot: the first free one is taken. The origin's own progress is not used:
//! PostgreSQL 18 moves it on ROLLBACK too. Rolling back to a savepoint under an origin is harmless.

use sqlx::postgres::PgConnection;
use sqlx::{AssertSqlSafe, Executor, Row};
use topology::{Error, ErrorKind, Stage};

use super::errors::classify;
use crate::sql::error::{SqlError, SqlResult};

/// Slots tried before giving up: more writers than this never share a target with one source.
const SLOTS_MAX: u32 = 256;

const DESCRIPTION: &str = "cannot take a replication origin";

/// Marks the session with the first free slot under `prefix`.
pub(super) async fn set_up(connection: &mut PgConnection, prefix: &str) -> SqlResult<()> {
    for slot in 0..SLOTS_MAX {
        let name = format!("{prefix}{slot}");
        if !exists(connection, &name).await? {
            create(connection, &name).await?;
        }
        let taken = connection.execute(sqlx::query("SELECT pg_replication_origin_session_setup($1)").bind(&name)).await;
        match taken.map_err(|error| classify(DESCRIPTION, &name, error)) {
            Ok(_) => return Ok(()),
            // object_in_use: another writer has it
            Err(error) if error.error.code.as_deref() == Some("55006") => {}
            Err(mut error) => {
                if error.error.code.as_deref() == Some("42501") {
                    error.error.detail = format!(
                        "{name}: GRANT EXECUTE ON FUNCTION pg_replication_origin_session_setup(text) to this user"
                    );
                }
                error.known = true;
                return Err(error);
            }
        }
    }
    let detail = format!("all {SLOTS_MAX} slots under {prefix:?} are active; stop writers that are not needed");
    Err(SqlError::known(Error::new(ErrorKind::Environment, Stage::Claim, DESCRIPTION, detail)))
}

async fn exists(connection: &mut PgConnection, name: &str) -> SqlResult<bool> {
    let query = sqlx::query("SELECT pg_replication_origin_oid($1) IS NOT NULL").bind(name);
    let row = connection.fetch_one(query).await.map_err(|error| classify(DESCRIPTION, name, error))?;
    row.try_get(0).map_err(|error| classify(DESCRIPTION, name, error))
}

async fn create(connection: &mut PgConnection, name: &str) -> SqlResult<()> {
    let done = connection.execute(sqlx::query("SELECT pg_replication_origin_create($1)").bind(name)).await;
    match done.map_err(|error| classify(DESCRIPTION, name, error)) {
        Ok(_) => Ok(()),
        // Another writer made it at this moment.
        Err(error) if matches!(error.error.code.as_deref(), Some("23505" | "42710")) => Ok(()),
        Err(mut error) => {
            if error.error.code.as_deref() == Some("42501") {
                error.error.detail = format!(
                    "{name}: let an administrator create it (SELECT pg_replication_origin_create) or GRANT EXECUTE on that function"
                );
            }
            Err(error)
        }
    }
}

/// Whether writes that come from a site can be marked here: takes an origin, and says why not. Changes nothing but the origin's row.
pub(super) async fn prove(connection: &mut PgConnection, prefix: &str) -> SqlResult<Result<(), String>> {
    match set_up(connection, prefix).await {
        Ok(()) => {}
        Err(error) if error.kind() == ErrorKind::Transient => return Err(error),
        // Class 53: the server has no more of something at this moment, such as active origins while a killed worker's sessions still end.
        // That says nothing about whether it may be used.
        Err(error) if error.error.code.as_deref().is_some_and(|code| code.starts_with("53")) => return Err(error),
        Err(error) => return Ok(Err(error.error.to_string())),
    }
    let check = AssertSqlSafe("SELECT pg_replication_origin_session_is_setup()");
    match connection.fetch_one(sqlx::query(check)).await {
        Ok(row) => {
            Ok(if row.try_get(0).unwrap_or(true) { Ok(()) } else { Err("the origin did not stay set".to_owned()) })
        }
        // The check itself needs one more grant; the set-up above already succeeded.
        Err(_) => Ok(Ok(())),
    }
}
