//! What MySQL and MariaDB say when something fails, classified by the tables in [`super::codes`] (rules E).
//!
//! Unknown means that the direction pauses; nothing is lost (rule E4). Server texts about rows hold row values
//! (`Duplicate entry 'a@b' for key`), so only names are taken from them.

use std::sync::Arc;

use sqlx::mysql::MySqlDatabaseError;
use topology::{Error, ErrorKind, Stage};

use super::bind::BindError;
use super::codes::{CODES, STATES};
use crate::sql::codes::find;
use crate::sql::error::SqlError;

/// Turns what sqlx returned into a classified error. `detail` says for what: the table, our statement; no row values.
pub(crate) fn classify(description: &'static str, detail: &str, error: sqlx::Error) -> SqlError {
    let made = |kind| Error::new(kind, Stage::Write, description, detail);
    match error {
        sqlx::Error::Database(database) => {
            let Some(mysql) = database.try_downcast_ref::<MySqlDatabaseError>() else {
                return SqlError::unknown(made(ErrorKind::Environment).with_source(sqlx::Error::Database(database)));
            };
            let (number, state) = (mysql.number(), mysql.code().unwrap_or("HY000").to_owned());
            let constraint = constraint(number, mysql.message());
            let other_table = other_table(number, mysql.message());
            let kind = kind(number, &state);
            let ours = made(kind.unwrap_or(ErrorKind::Environment)).with_code(format!("{number} {state}"));
            let theirs = sqlx::Error::Database(database);
            SqlError { constraint, other_table, ..SqlError::of_server(kind, ours, theirs) }
        }
        // Our own binder refused a value; what it says holds no value.
        sqlx::Error::Encode(source) => match source.downcast::<BindError>() {
            Ok(refused) => {
                let detail = format!("{detail}, {refused}");
                SqlError::known(Error::new(refused.kind, Stage::Write, description, detail).with_code("bind"))
            }
            Err(source) => SqlError::known(made(ErrorKind::Bug).with_source(sqlx::Error::Encode(source))),
        },
        error @ (sqlx::Error::Configuration(_) | sqlx::Error::InvalidArgument(_)) => {
            SqlError::known(made(ErrorKind::Configuration).with_source(error))
        }
        error @ (sqlx::Error::ColumnNotFound(_)
        | sqlx::Error::ColumnIndexOutOfBounds { .. }
        | sqlx::Error::ColumnDecode { .. }
        | sqlx::Error::Decode(_)
        | sqlx::Error::RowNotFound
        | sqlx::Error::TypeNotFound { .. }) => SqlError::known(made(ErrorKind::Bug).with_source(error)),
        // Sockets and TLS; and a stream out of step or a server that is no MySQL: a new connection shows which.
        error => SqlError::known(made(ErrorKind::Transient).with_source(error)),
    }
}

/// Name of the index or constraint that refused the row. Messages begin with the value and end with the name, so they are read from behind.
fn constraint(number: u16, message: &str) -> Option<Arc<str>> {
    match number {
        // Duplicate entry '…' for key 'table.index' (MariaDB: 'index')
        1062 | 1586 => {
            let name = message.strip_suffix('\'')?.rsplit_once(" for key '")?.1;
            Some(name.rsplit_once('.').map_or(name, |(_, name)| name).into())
        }
        // …(`db`.`child`, CONSTRAINT `name` FOREIGN KEY (`a`) REFERENCES `parent` (`b`) ON DELETE CASCADE)
        1451 | 1452 => quoted(message.split_once(" CONSTRAINT ")?.1).map(Into::into),
        // Check constraint 'name' is violated. MariaDB: CONSTRAINT `name` failed for `db`.`table`
        3819 => message.split('\'').nth(1).map(Into::into),
        4025 => quoted(message.strip_prefix("CONSTRAINT ")?).map(Into::into),
        _ => None,
    }
}

/// The parent table that a row wants to be in (1452); the child whose rows are in the way of a change of their parent (1451).
fn other_table(number: u16, message: &str) -> Option<Arc<str>> {
    let rest = match number {
        1451 => message.split_once(" fails (")?.1,
        1452 => message.rsplit_once(" REFERENCES ")?.1,
        _ => return None,
    };
    let first = quoted(rest)?;
    let after = rest.get(first.len() + 2..)?;
    match after.strip_prefix('.') {
        Some(table) => Some(format!("{first}.{}", quoted(table)?).into()),
        None => Some(first.into()),
    }
}

/// The text between the backticks that `text` begins with.
fn quoted(text: &str) -> Option<&str> {
    text.strip_prefix('`')?.split_once('`').map(|(name, _)| name)
}

/// The server's number, when the server said something.
pub(crate) fn number(error: &sqlx::Error) -> Option<u16> {
    error.as_database_error()?.try_downcast_ref::<MySqlDatabaseError>().map(MySqlDatabaseError::number)
}

/// The class of a server error, `None` when nobody has classified it.
pub(crate) fn kind(number: u16, state: &str) -> Option<ErrorKind> {
    let with_state = || find(CODES, &format!("{number} {state}"));
    let of_state = || find(STATES, state.get(..2)?);
    find(CODES, &number.to_string()).or_else(with_state).or_else(of_state).map(|line| line.kind)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn each_class_has_its_numbers() {
        for (number, state, expected) in [
            (1213, "40001", ErrorKind::Transient),
            (1205, "HY000", ErrorKind::Transient),
            (1062, "23000", ErrorKind::Dependency),
            (1451, "23000", ErrorKind::Dependency),
            (1452, "23000", ErrorKind::Dependency),
            (1146, "42S02", ErrorKind::Schema),
            (1054, "42S22", ErrorKind::Schema),
            (1048, "23000", ErrorKind::Data),
            (3819, "HY000", ErrorKind::Data),
            (1644, "45000", ErrorKind::Data),
            (1290, "HY000", ErrorKind::Environment),
            (1045, "28000", ErrorKind::Environment),
            (1114, "HY000", ErrorKind::Environment),
            (1053, "08S01", ErrorKind::Transient),
            (1406, "22001", ErrorKind::Data),
            (1264, "22003", ErrorKind::Data),
        ] {
            assert_eq!(kind(number, state), Some(expected), "{number}");
        }
    }

    #[test]
    fn the_tables_are_sound() {
        crate::sql::codes::assert_sound(CODES);
        crate::sql::codes::assert_sound(STATES);
    }

    #[test]
    fn a_mariadb_check_is_data_and_the_same_number_of_mysql_is_not() {
        assert_eq!(kind(4025, "23000"), Some(ErrorKind::Data));
        assert_eq!(kind(4025, "HY000"), None);
    }

    #[test]
    fn an_unknown_number_pauses_unless_its_sqlstate_says_more() {
        assert_eq!(kind(65_000, "HY000"), None);
        assert_eq!(kind(65_000, "45001"), Some(ErrorKind::Data));
        assert_eq!(kind(65_000, "22003"), Some(ErrorKind::Data));
        assert_eq!(kind(65_000, "40001"), Some(ErrorKind::Transient));
    }

    #[test]
    fn the_constraint_is_read_from_the_end_of_the_message_past_any_value() {
        let duplicate = "Duplicate entry 'it's for key 'a.b'' for key 'users.email'";
        assert_eq!(constraint(1062, duplicate).as_deref(), Some("email"));
        assert_eq!(constraint(1062, "Duplicate entry '1' for key 'PRIMARY'").as_deref(), Some("PRIMARY"));
        assert_eq!(constraint(3819, "Check constraint 'positive' is violated.").as_deref(), Some("positive"));
        assert_eq!(constraint(4025, "CONSTRAINT `positive` failed for `d`.`t`").as_deref(), Some("positive"));
        assert_eq!(constraint(1062, "nonsense"), None);
    }

    #[test]
    fn a_missing_parent_is_named_with_its_database_where_the_server_does() {
        let message = "Cannot add or update a child row: a foreign key constraint fails (`d`.`posts`, CONSTRAINT `fk` FOREIGN KEY \
                       (`user_id`) REFERENCES `users` (`id`) ON DELETE CASCADE)";
        assert_eq!(constraint(1452, message).as_deref(), Some("fk"));
        assert_eq!(other_table(1452, message).as_deref(), Some("users"));
        assert_eq!(other_table(1452, &message.replace("`users`", "`other`.`users`")).as_deref(), Some("other.users"));
        assert_eq!(other_table(1062, message), None);
    }

    #[test]
    fn children_that_are_in_the_way_are_named() {
        let message = "Cannot delete or update a parent row: a foreign key constraint fails (`d`.`posts`, CONSTRAINT `fk` FOREIGN KEY \
                       (`user_id`) REFERENCES `users` (`id`))";
        assert_eq!(other_table(1451, message).as_deref(), Some("d.posts"));
    }
}
