//! SQLite's result codes by class.

use sqlx::error::DatabaseError;
use topology::{Error, ErrorKind, Stage};

use crate::sql::error::SqlError;

/// Classifies what the driver said about a statement.
pub(super) fn classify(description: &'static str, detail: &str, error: sqlx::Error) -> SqlError {
    let make = |kind, code: Option<String>, error: sqlx::Error| {
        let mut ours = Error::new(kind, Stage::Write, description, detail);
        ours.code = code;
        ours.with_source(error)
    };
    let sqlx::Error::Database(database) = &error else {
        let kind = match &error {
            sqlx::Error::Io(_) | sqlx::Error::WorkerCrashed | sqlx::Error::PoolClosed => ErrorKind::Transient,
            sqlx::Error::Configuration(_) => ErrorKind::Configuration,
            sqlx::Error::Encode(_) => ErrorKind::Data,
            _ => return SqlError::unknown(make(ErrorKind::Environment, None, error)),
        };
        return SqlError::known(make(kind, None, error));
    };
    let code: i32 = database.code().and_then(|code| code.parse().ok()).unwrap_or(0);
    let kind = kind_of(code, database.as_ref());
    let code = Some(format!("sqlite-{code}"));
    match kind {
        Some(kind) => SqlError::known(make(kind, code, error)),
        None => SqlError::unknown(make(ErrorKind::Environment, code, error)),
    }
}

/// Extended result codes; `None` when nobody has classified it.
fn kind_of(code: i32, error: &dyn DatabaseError) -> Option<ErrorKind> {
    Some(match code {
        // UNIQUE, PRIMARYKEY, ROWID; FOREIGNKEY (rule E3)
        2067 | 1555 | 2579 | 787 => ErrorKind::Dependency,
        // NOTNULL, CHECK, DATATYPE of STRICT tables, RAISE in users' triggers, TOOBIG, MISMATCH
        1299 | 275 | 3091 | 1811 | 18 | 20 => ErrorKind::Data,
        _ => match code & 0xff {
            // BUSY, LOCKED: another writer; SCHEMA: the statement is prepared again; INTERRUPT
            5 | 6 | 17 | 9 => ErrorKind::Transient,
            // PERM, NOMEM, READONLY, IOERR, CORRUPT, FULL, CANTOPEN, PROTOCOL, AUTH, NOTADB
            3 | 7 | 8 | 10 | 11 | 13 | 14 | 15 | 23 | 26 => ErrorKind::Environment,
            1 => {
                let message = error.message();
                let schema = message.starts_with("no such table")
                    || message.starts_with("no such column")
                    || message.contains("has no column named")
                    || message.starts_with("ON CONFLICT clause does not match");
                return schema.then_some(ErrorKind::Schema);
            }
            _ => return None,
        },
    })
}
