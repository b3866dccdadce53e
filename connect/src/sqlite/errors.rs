//! What SQLite says when something fails, classified by the tables in [`super::codes`].

use topology::{Error, ErrorKind, Stage};

use super::codes::{CODES, MESSAGES};
use crate::sql::codes::find;
use crate::sql::error::SqlError;

/// Classifies what the driver said about a statement.
pub(super) fn classify(description: &'static str, detail: &str, error: sqlx::Error) -> SqlError {
    let make = |kind, code: Option<String>| {
        let mut ours = Error::new(kind, Stage::Write, description, detail);
        ours.code = code;
        ours
    };
    let sqlx::Error::Database(database) = &error else {
        let kind = match &error {
            sqlx::Error::Io(_) | sqlx::Error::WorkerCrashed | sqlx::Error::PoolClosed => ErrorKind::Transient,
            sqlx::Error::Configuration(_) => ErrorKind::Configuration,
            sqlx::Error::Encode(_) => ErrorKind::Data,
            _ => return SqlError::unknown(make(ErrorKind::Environment, None).with_source(error)),
        };
        return SqlError::known(make(kind, None).with_source(error));
    };
    let code: i32 = database.code().and_then(|code| code.parse().ok()).unwrap_or(0);
    let kind = kind_of(code, database.message());
    let ours = make(kind.unwrap_or(ErrorKind::Environment), Some(format!("sqlite-{code}")));
    match kind {
        // One code for all that is wrong with a statement: only the text tells what. What a trigger says comes under a code in the table.
        None => SqlError::unknown(ours.with_source(error)),
        known => SqlError::of_server(known, ours, error),
    }
}

/// The class of an extended result code; `None` when nobody has classified it.
fn kind_of(code: i32, message: &str) -> Option<ErrorKind> {
    let of_primary = || find(CODES, &(code & 0xff).to_string());
    let of_message = || MESSAGES.iter().find(|line| code & 0xff == 1 && message.contains(line.code));
    find(CODES, &code.to_string()).or_else(of_primary).or_else(of_message).map(|line| line.kind)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn codes_of_rows_files_and_schemas_are_told_apart() {
        for (code, message, kind) in [
            (2067, "", Some(ErrorKind::Dependency)),
            (787, "", Some(ErrorKind::Dependency)),
            (1299, "", Some(ErrorKind::Data)),
            (1811, "", Some(ErrorKind::Data)),
            (5, "", Some(ErrorKind::Transient)),
            (517, "", Some(ErrorKind::Transient)),
            (13, "", Some(ErrorKind::Environment)),
            (778, "", Some(ErrorKind::Environment)),
            (8, "", Some(ErrorKind::Environment)),
            (1, "no such table: users", Some(ErrorKind::Schema)),
            (1, "table users has no column named age", Some(ErrorKind::Schema)),
            (1, "something new", None),
            (19, "no such table", None),
            (0, "", None),
        ] {
            assert_eq!(kind_of(code, message), kind, "{code} {message}");
        }
    }

    #[test]
    fn the_tables_are_sound() {
        crate::sql::codes::assert_sound(CODES);
        crate::sql::codes::assert_sound(MESSAGES);
    }
}
