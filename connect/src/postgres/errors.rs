//! What PostgreSQL says when something fails, classified by the table in [`super::codes`].

use std::sync::Arc;

use sqlx::postgres::PgDatabaseError;
use topology::{Error, ErrorKind, Stage};

use super::codes::CODES;
use crate::sql::codes::find;
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
    // Of both ends of a foreign key PostgreSQL names the child; which end the row is on, the writer knows.
    let other_table = server.table().filter(|_| code == "23503").map(Arc::from);
    let kind = kind_of(&code);
    let ours = Error::new(kind.unwrap_or(ErrorKind::Environment), Stage::Write, description, place).with_code(code);
    SqlError { constraint, other_table, ..SqlError::of_server(kind, ours, error) }
}

/// `None` when nobody has classified it.
fn kind_of(code: &str) -> Option<ErrorKind> {
    let of_class = || find(CODES, code.get(..2)?);
    find(CODES, code).or_else(of_class).map(|line| line.kind)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn codes_of_rows_sessions_and_schemas_are_told_apart() {
        for (code, kind) in [
            ("23505", Some(ErrorKind::Dependency)),
            ("23503", Some(ErrorKind::Dependency)),
            ("23502", Some(ErrorKind::Data)),
            ("23514", Some(ErrorKind::Data)),
            ("22003", Some(ErrorKind::Data)),
            ("22P02", Some(ErrorKind::Data)),
            ("P0001", Some(ErrorKind::Data)),
            ("45000", Some(ErrorKind::Data)),
            ("40001", Some(ErrorKind::Transient)),
            ("40P01", Some(ErrorKind::Transient)),
            ("55P03", Some(ErrorKind::Transient)),
            ("57P03", Some(ErrorKind::Transient)),
            ("57P01", Some(ErrorKind::Transient)),
            ("08006", Some(ErrorKind::Transient)),
            ("42P01", Some(ErrorKind::Schema)),
            ("42703", Some(ErrorKind::Schema)),
            ("42501", Some(ErrorKind::Environment)),
            ("25006", Some(ErrorKind::Environment)),
            ("53100", Some(ErrorKind::Environment)),
            ("21000", None),
            ("P0000", None),
            ("", None),
        ] {
            assert_eq!(kind_of(code), kind, "{code}");
        }
    }

    #[test]
    fn the_table_is_sound() {
        crate::sql::codes::assert_sound(CODES);
        assert!(CODES.iter().all(|line| matches!(line.code.len(), 2 | 5)));
    }
}
