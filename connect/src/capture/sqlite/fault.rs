//! SQLite's errors in the engine's words.

use topology::{Error, ErrorKind, Stage};

/// Primary result codes (the low byte of SQLite's extended ones) that pass by themselves: BUSY, LOCKED.
const TRANSIENT: [i64; 2] = [5, 6];

/// An error of one statement. `detail` says for what, and what to do; it holds no row values, nor does SQLite's message.
pub(super) fn fault(description: &'static str, detail: impl Into<String>, error: sqlx::Error) -> Error {
    let code = match &error {
        sqlx::Error::Database(database) => database.code().map(|code| code.into_owned()),
        _ => None,
    };
    let primary = code.as_deref().and_then(|code| code.parse::<i64>().ok()).map(|code| code & 0xff);
    let kind = match primary {
        Some(code) if TRANSIENT.contains(&code) => ErrorKind::Transient,
        _ => ErrorKind::Environment,
    };
    let mut wrapped = Error::new(kind, Stage::Capture, description, detail).with_source(error);
    wrapped.code = code;
    wrapped
}
