//! How SQLite spells the statements on our own tables.

use crate::sql::dialect::{Dialect, OwnType};

/// SQLite.
#[derive(Clone, Copy, Debug)]
pub struct Sqlite;

impl Dialect for Sqlite {
    fn name(&self) -> &'static str {
        "sqlite"
    }

    fn quote_character(&self) -> char {
        '"'
    }

    fn own_type(&self, kind: OwnType) -> &'static str {
        match kind {
            OwnType::Name | OwnType::Text => "TEXT",
            OwnType::Int32 | OwnType::Int64 => "INTEGER",
            OwnType::Bytes => "BLOB",
        }
    }

    fn placeholder(&self, number: usize, _: OwnType) -> String {
        format!("?{number}")
    }

    fn now_ms(&self) -> &'static str {
        // strftime's %f has milliseconds; julianday would lose them to rounding.
        "(CAST(strftime('%s', 'now') AS INTEGER) * 1000 + CAST(substr(strftime('%f', 'now'), 4) AS INTEGER))"
    }

    fn backend_id(&self) -> &'static str {
        "0"
    }

    fn for_update(&self) -> &'static str {
        // BEGIN IMMEDIATE holds the only write lock there is.
        ""
    }
}
