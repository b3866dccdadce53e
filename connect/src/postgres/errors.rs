//! SQLSTATEs by class.

use std::sync::Arc;

use sqlx::postgres::PgDatabaseError;
use topology::{Error, ErrorKind, Stage};

use crate::sql::error::SqlError;

/// Classifies what the driver said about a statement.
pub(super) fn classify(description: &'static str, detail: &str, error: sqlx::Error) -> SqlError {
    let sqlx::Error::Database(database) = &error else {
        let kind = match &error {
            sqlx::Error::Io(_) | sqlx::Error::WorkerCrashed | sqlx::Error::PoolClosed => ErrorKind::Transient,
            sqlx::Error::Tls(_) | sqlx::Error::Configuration(_) => ErrorKind::Configuration,
            // The driver met bytes that it did not expect: only a new session helps.
            sqlx::Error::Protocol(_) => ErrorKind::Transient,
            _ => {
                return SqlError::unknown(
                    Error::new(ErrorKind::Environment, Stage::Write, description, detail).with_source(error),
                );
            }
        };
        return SqlError::known(Error::new(kind, Stage::Write, description, detail).with_source(error));
    };
    let Some(server) = database.try_downcast_ref::<PgDatabaseError>() else {
        return SqlError::unknown(
            Error::new(ErrorKind::Environment, Stage::Write, description, detail).with_source(error),
        );
    };
    let code = server.code().to_owned();
    let mut place = detail.to_owned();
    // Names of tables, columns and constraints only: the server's own text may hold values of the row.
    for (what, name) in [("table", server.table()), ("column", server.column()), ("constraint", server.constraint())] {
        if let Some(name) = name {
            place.push_str(&format!("{}{what} {name:?}", if place.is_empty() { "" } else { ", " }));
        }
    }
    let constraint: Option<Arc<str>> = server.constraint().map(Arc::from);
    let kind = kind_of(&code);
    let ours = Error::new(kind.unwrap_or(ErrorKind::Environment), Stage::Write, description, place)
        .with_code(code)
        .with_source(error);
    match kind {
        Some(_) => SqlError { constraint, ..SqlError::known(ours) },
        None => SqlError { constraint, ..SqlError::unknown(ours) },
    }
}

/// `None` when nobody has classified it.
fn kind_of(code: &str) -> Option<ErrorKind> {
    Some(match code {
        // unique, foreign key (both forms), exclusion (rule E3)
        "23505" | "23503" | "23001" | "23P01" => ErrorKind::Dependency,
        // statement too complex for one row's data: index row size and the like; users' triggers (rule E4); check option
        "54000" | "P0001" | "45000" | "44000" => ErrorKind::Data,
        // no privilege, read-only server
        "42501" | "25006" => ErrorKind::Environment,
        // lock timeout, statement timeout or cancel, idle transaction ended, starting up, shut down
        "55P03" | "57014" | "25P03" | "25P04" | "57P01" | "57P02" | "57P03" | "57P05" => ErrorKind::Transient,
        _ => match code.get(..2)? {
            // data exceptions; not null, check
            "22" | "23" => ErrorKind::Data,
            // undefined table, column, type; no unique index for ON CONFLICT; types changed under us; unknown schema: about the statement
            "42" | "3F" | "0A" => ErrorKind::Schema,
            // serialisation, deadlock; connection
            "40" | "08" => ErrorKind::Transient,
            // authorisation, unknown database, resources, operator, system, internal, corrupted
            "28" | "3D" | "53" | "58" | "XX" | "F0" => ErrorKind::Environment,
            _ => return None,
        },
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn codes_of_rows_sessions_and_schemas_are_told_apart() {
        for (code, kind) in [
            ("23505", Some(ErrorKind::Dependency)),
            ("23502", Some(ErrorKind::Data)),
            ("22003", Some(ErrorKind::Data)),
            ("40P01", Some(ErrorKind::Transient)),
            ("42P01", Some(ErrorKind::Schema)),
            ("53100", Some(ErrorKind::Environment)),
            ("21000", None),
            ("", None),
        ] {
            assert_eq!(kind_of(code), kind, "{code}");
        }
    }
}
