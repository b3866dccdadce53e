//! How an engine spells the statements on our own tables. Small on purpose: users' rows go through
//! [`super::connection::SqlConnection::write_rows`], where each engine is free.

/// The types that our own tables use.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum OwnType {
    /// Short text in a key, compared byte by byte: up to 255 characters.
    Name,
    /// Long text.
    Text,
    /// 32-bit integer.
    Int32,
    /// 64-bit integer; also times, as milliseconds since the epoch by the database's clock.
    Int64,
    /// Bytes, up to 16 MiB at least.
    Bytes,
}

/// An engine's spelling.
pub trait Dialect: Send + Sync {
    /// `postgres`, `mysql`, `mariadb`, `sqlite`: as in configuration and messages.
    fn name(&self) -> &'static str;

    /// The character around names; doubled inside.
    fn quote_character(&self) -> char;

    /// Type of a column of our own tables.
    fn own_type(&self, kind: OwnType) -> &'static str;

    /// What follows the closing parenthesis of CREATE TABLE (` ENGINE=InnoDB …`).
    fn table_options(&self) -> &'static str {
        ""
    }

    /// Placeholder of parameter `number` (from 1). Engines that infer types from the context need not look at `kind`.
    fn placeholder(&self, number: usize, kind: OwnType) -> String;

    /// Expression: milliseconds since the epoch as a 64-bit integer, by the database's clock.
    fn now_ms(&self) -> &'static str;

    /// Expression: number of this session, for [`super::connection::SqlConnection::terminate`]; `0` where there is none.
    fn backend_id(&self) -> &'static str;

    /// What makes a SELECT lock its rows; empty where BEGIN locked already.
    fn for_update(&self) -> &'static str;

    /// True for the code of a lock that was waited for too long, as the engine's `errors.rs` spells it (rule L10).
    fn is_lock_timeout(&self, code: &str) -> bool {
        let _ = code;
        false
    }

    /// Whether `CREATE INDEX` may say IF NOT EXISTS.
    fn index_if_not_exists(&self) -> bool {
        true
    }
}

/// A quoted identifier.
pub fn quote(dialect: &dyn Dialect, name: &str) -> String {
    let mark = dialect.quote_character();
    let mut out = String::with_capacity(name.len() + 2);
    out.push(mark);
    for character in name.chars() {
        if character == mark {
            out.push(mark);
        }
        out.push(character);
    }
    out.push(mark);
    out
}

/// A quoted table name; `schema.table` is split at the first dot.
pub fn quote_table(dialect: &dyn Dialect, name: &str) -> String {
    match name.split_once('.') {
        Some((schema, table)) => format!("{}.{}", quote(dialect, schema), quote(dialect, table)),
        None => quote(dialect, name),
    }
}
