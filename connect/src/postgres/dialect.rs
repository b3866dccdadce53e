//! How PostgreSQL spells the statements on our own tables.

use crate::sql::dialect::{Dialect, OwnType};

/// PostgreSQL.
#[derive(Clone, Copy, Debug)]
pub struct Postgres;

impl Dialect for Postgres {
    fn name(&self) -> &'static str {
        "postgres"
    }

    fn quote_character(&self) -> char {
        '"'
    }

    fn own_type(&self, kind: OwnType) -> &'static str {
        match kind {
            // Compared byte by byte, whatever the database's locale says.
            OwnType::Name => "text COLLATE \"C\"",
            OwnType::Text => "text",
            OwnType::Int32 => "integer",
            OwnType::Int64 => "bigint",
            OwnType::Bytes => "bytea",
        }
    }

    fn placeholder(&self, number: usize, kind: OwnType) -> String {
        // With its type, so that NULL needs no other statement text.
        let kind = match kind {
            OwnType::Name | OwnType::Text => "text",
            OwnType::Int32 | OwnType::Int64 => "int8",
            OwnType::Bytes => "bytea",
        };
        format!("${number}::{kind}")
    }

    fn now_ms(&self) -> &'static str {
        "(extract(epoch from clock_timestamp()) * 1000)::int8"
    }

    fn backend_id(&self) -> &'static str {
        "pg_backend_pid()"
    }

    fn for_update(&self) -> &'static str {
        " FOR UPDATE"
    }

    fn is_lock_timeout(&self, code: &str) -> bool {
        code == "55P03"
    }
}
