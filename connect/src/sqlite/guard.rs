//! The loop guard's mark in SQLite: a row in `tidelock_origin`, set and cleared inside the writing transaction. The trigger capture
//! reads it; one writer at a time makes this safe. Without that table nothing captures this file and there is nothing to mark.

use std::sync::Arc;

use crate::sql::statements::ORIGIN;

/// What to write, and whether the table was seen.
#[derive(Clone, Debug, Default)]
pub(super) struct Guard {
    tag: Option<Arc<str>>,
    /// Once there, the table stays: only `capture` makes it.
    seen: bool,
    /// True while the present transaction carries the mark.
    pub(super) set: bool,
}

impl Guard {
    pub(super) fn new(tag: Option<Arc<str>>) -> Guard {
        Guard { tag, seen: false, set: false }
    }

    pub(super) fn tag(&self) -> Option<&Arc<str>> {
        self.tag.as_ref()
    }

    pub(super) fn is_seen(&self) -> bool {
        self.seen
    }

    pub(super) fn saw(&mut self) {
        self.seen = true;
    }
}

/// 1 when the capture's table is there.
pub(super) fn exists() -> String {
    format!("SELECT 1 FROM sqlite_master WHERE type = 'table' AND name = '{ORIGIN}'")
}

/// Sets the mark; parameter: the tag.
pub(super) fn set() -> String {
    format!("INSERT INTO {ORIGIN} (id, tag) VALUES (1, ?1) ON CONFLICT (id) DO UPDATE SET tag = excluded.tag")
}

/// Clears it.
pub(super) fn clear() -> String {
    format!("DELETE FROM {ORIGIN}")
}
