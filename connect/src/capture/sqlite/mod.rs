//! Capture for SQLite.
//!
//! * [`table`]: what a captured table looks like, stored beside the changes as their *layout*.
//! * [`triggers`]: the SQL of change log and triggers. [`image`]: the exact JSON that they write, read back.
//! * [`mod@install`]: makes and removes triggers. [`snapshot`]: existing rows, copied into the log piece by piece.
//! * [`log`]: reads and trims the change log. `translate` and `form` make records of it; `run` is the loop.
//!
//! SQLite has one writer at a time, so ids of the log are in commit order and "greater than the last id" is safe here; on
//! servers with concurrent writers it is not.
//!
//! What triggers can't see, and `install` warns of: `REPLACE` deletes rows that stand in its way without firing delete triggers
//! (unless the application sets `PRAGMA recursive_triggers = on`). If such a row has the key of the new one, nothing is lost:
//! the new row arrives as an insert and overwrites it. If it stood in the way of another unique index, its deletion is not seen.

mod fault;
mod form;
pub mod image;
pub mod install;
pub mod log;
mod run;
pub mod snapshot;
pub mod table;
mod translate;
pub mod triggers;

#[cfg(test)]
mod publish_tests;
#[cfg(test)]
mod tests;

pub use install::{Installed, SnapshotChoice, install, remove, restart_log};
pub use run::{
    Capture, CaptureHandle, CaptureSettings, CaptureStatus, DEFAULT_BATCH_BYTES, DEFAULT_BATCH_ROWS,
    DEFAULT_POLL_INTERVAL, Step,
};
