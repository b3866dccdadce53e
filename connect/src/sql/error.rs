//! Errors of a database, classified. Each engine's `errors.rs` maps its codes (SQLSTATE, errno) to an [`ErrorKind`]; the writer needs a
//! little more than the engine-wide error says: whether the code was known, and which constraint refused the row.

use std::sync::Arc;

use topology::{Error, ErrorKind};

/// An error of one statement.
#[derive(Debug)]
pub struct SqlError {
    /// Kind, stage, text and code.
    pub error: Error,
    /// False when the code is in no table: [`ErrorKind::Environment`] until one row is isolated and a probe succeeds (rules E2, E4).
    pub known: bool,
    /// Name of the constraint that refused the row, where the engine tells it.
    pub constraint: Option<Arc<str>>,
    /// The table at the other end of a foreign key that refused the row, where the engine tells it: the parent that has no such row, or a
    /// child that still has some. The writer looks `constraint` up among the table's own first.
    pub other_table: Option<Arc<str>>,
}

impl SqlError {
    /// An error whose code is in the engine's table, or that is ours.
    pub fn known(error: Error) -> SqlError {
        SqlError { error, known: true, constraint: None, other_table: None }
    }

    /// An error that nobody has classified.
    pub fn unknown(mut error: Error) -> SqlError {
        error.kind = ErrorKind::Environment;
        SqlError { error, known: false, constraint: None, other_table: None }
    }

    /// What a server answered; `kind` is what the engine's table says of its code, `None` if it is in no table. The server's text is kept
    /// only where the code says that it is not about a row: texts about rows hold values (`Duplicate entry 'a@b' for key`, or what a user's
    /// trigger says under a code of its own), and sources are printed in logs.
    pub(crate) fn of_server(kind: Option<ErrorKind>, ours: Error, theirs: sqlx::Error) -> SqlError {
        match kind {
            Some(ErrorKind::Data | ErrorKind::Dependency) => SqlError::known(ours),
            Some(_) => SqlError::known(ours.with_source(theirs)),
            None => SqlError::unknown(ours),
        }
    }

    /// Its kind.
    pub fn kind(&self) -> ErrorKind {
        self.error.kind
    }

    /// True when the row itself, or one of its rows, is at fault: worth the slow path (rule E4).
    pub fn is_about_rows(&self) -> bool {
        matches!(self.error.kind, ErrorKind::Dependency | ErrorKind::Data) || !self.known
    }
}

impl From<SqlError> for Error {
    fn from(error: SqlError) -> Error {
        error.error
    }
}

/// Shorthand of this folder.
pub type SqlResult<T> = Result<T, SqlError>;
