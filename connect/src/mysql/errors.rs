//! What MySQL and MariaDB say when something fails, as [`ErrorKind`]s (rules E). By number, for MySQL's SQLSTATEs are too coarse
//! (most are HY000); the SQLSTATE decides only for numbers that this table does not know.
//!
//! Unknown means that the direction pauses; nothing is lost (rule E4). Server texts can hold row values
//! (`Duplicate entry 'a@b' for key`), so they go only into the error's source, which is never formatted by itself.

use std::sync::Arc;

use sqlx::mysql::MySqlDatabaseError;
use topology::{Error, ErrorKind, Stage};

use super::bind::BindError;
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
            let (constraint, parent) = (constraint(number, mysql.message()), parent(number, mysql.message()));
            let kind = kind(number, &state);
            let error = made(kind.unwrap_or(ErrorKind::Environment))
                .with_code(format!("{number} {state}"))
                .with_source(sqlx::Error::Database(database));
            match kind {
                Some(_) => SqlError { constraint, parent, ..SqlError::known(error) },
                None => SqlError::unknown(error),
            }
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

/// The parent table that a row wants to be in (1452); for 1451 the row is the parent itself and children are in the way.
fn parent(number: u16, message: &str) -> Option<Arc<str>> {
    if number != 1452 {
        return None;
    }
    let rest = message.rsplit_once(" REFERENCES ")?.1;
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
    Some(match number {
        // Another transaction was in the way, or the statement was stopped.
        1205 // lock wait timeout: MariaDB rolls back only the statement, so the whole batch starts again (rule E1)
        | 1213 // deadlock
        | 1020 // record has changed since last read (MariaDB, innodb_snapshot_isolation)
        | 1317 // query execution was interrupted
        | 1412 // table definition has changed, please retry
        | 1615 // prepared statement needs to be re-prepared
        | 1243 // unknown prepared statement handler: the session is another one
        | 1614 // XA transaction branch was rolled back: deadlock
        | 1969 // max_statement_time exceeded (MariaDB)
        | 3024 // max_execution_time exceeded
        | 3058 // deadlock of user-level locks
        | 3101 // rolled back during commit: another member of the group was first
        | 3572 // NOWAIT lock
        // The connection is gone or going.
        | 1053 // server shutdown in progress
        | 1077 | 1079 // normal shutdown, shutdown complete
        | 1152 // aborted connection
        | 1156 | 1157 | 1158 | 1159 | 1160 | 1161 // packets out of order, read and write errors, timeouts
        | 1184 // new aborted connection
        | 1927 // connection was killed (MariaDB)
        | 3169 // session was killed
        | 4031 // disconnected because of inactivity
        | 2002 | 2003 | 2006 | 2013 | 2055 => ErrorKind::Transient, // the client library's own numbers, also sent by proxies

        1022 | 1062 | 1169 | 1586 | 1859 // unique
        | 1216 | 1217 | 1451 | 1452 // foreign key, deletes included
        | 1557 | 1761 | 1762 => ErrorKind::Dependency, // foreign key: the cascade would make a duplicate

        1054 // unknown column
        | 1109 // unknown table in statement
        | 1146 // table doesn't exist
        | 1288 | 1471 // target is not updatable, not insertable into (a view)
        | 1347 // is not a base table
        | 1348 // column is not updatable
        | 1364 // a column without default is not written: no row of this table can be
        | 1906 | 3105 => ErrorKind::Schema, // a generated column was written (MariaDB, MySQL)

        1048 | 1263 // NULL for NOT NULL
        | 1264 | 1690 // out of range
        | 1265 // data truncated: ENUM, SET, numbers with text behind
        | 1292 | 1411 | 1441 | 1525 // no such date, time or number
        | 1300 | 1366 | 1977 | 3854 | 3988 // text that the column's character set can't hold, bytes that are no text
        | 1365 // division by zero, in a CHECK or generated column
        | 1367 // illegal value for type
        | 1406 | 1162 | 1301 // too long
        | 1153 // packet bigger than max_allowed_packet; statements are cut below it, so one row is
        | 1118 // row too large
        | 1416 // bytes that are no geometry
        | 1526 | 1748 // no partition for the value
        | 3140 | 3141 | 3143 | 3144 | 3145 | 3146 | 3147 | 3148 | 3149 | 3150 | 3155 | 3156 | 3157 // JSON
        | 3616 | 3617 // longitude, latitude out of range
        | 3819 // CHECK
        | 1644 // SIGNAL in a user's trigger
        | 1442 | 1422 | 1424 | 1456 | 1172 | 1242 => ErrorKind::Data, // what users' triggers do wrong
        4025 if state == "23000" => ErrorKind::Data, // CHECK (MariaDB); MySQL uses the number for something else

        1231 | 1232 // a session variable can't have that value
        | 1193 => ErrorKind::Configuration, // there is no such variable

        1064 // syntax
        | 1136 // column count doesn't match
        | 1210 // incorrect arguments to EXECUTE
        | 1390 // too many placeholders (rule B9's limit is ours to keep)
        | 1568 // transaction characteristics inside a transaction
        | 1766 | 1837 // gtid_next inside a transaction, or not set anew after one (rule G2)
        | 1305 => ErrorKind::Bug, // SAVEPOINT does not exist

        // Listed, though it is also the rest: what an administrator repairs.
        // 1044 1045 1142 1143 1227 1370 1698 1820 1862 3118 4149 privilege, password, account · 1049 no such database
        // 1040 1203 1226 1129 too many connections, host blocked · 1037 1038 1041 1206 1637 out of memory or locks
        // 1021 1114 1026 1030 1194 1195 1197 disk, table or binlog cache full, damaged · 1290 1792 1836 3032 read-only, offline
        // 1665 1781 1782 1785 binary log and GTID settings · 1461 too many prepared statements · 1950 gtid_strict_mode order
        1044 | 1045 | 1142 | 1143 | 1227 | 1370 | 1698 | 1820 | 1862 | 3118 | 4149 | 1049 | 1040 | 1203 | 1226 | 1129
        | 1037 | 1038 | 1041 | 1206 | 1637 | 1021 | 1114 | 1026 | 1030 | 1194 | 1195 | 1197 | 1290 | 1792 | 1836 | 3032
        | 1665 | 1781 | 1782 | 1785 | 1461 | 1950 => ErrorKind::Environment,

        _ => match state.get(..2) {
            Some("08" | "40") => ErrorKind::Transient,
            Some("22" | "45") => ErrorKind::Data,
            _ => return None,
        },
    })
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
        ] {
            assert_eq!(kind(number, state), Some(expected), "{number}");
        }
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
        assert_eq!(parent(1452, message).as_deref(), Some("users"));
        assert_eq!(parent(1452, &message.replace("`users`", "`other`.`users`")).as_deref(), Some("other.users"));
        assert_eq!(parent(1451, message), None);
    }
}
