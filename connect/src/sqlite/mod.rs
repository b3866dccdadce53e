//! SQLite as a target: one file, one writer at a time.
//!
//! Dates and times are ISO text, decimals text where the column keeps text, and exact or refused where its affinity makes numbers of them.
//! `BEGIN IMMEDIATE` takes the write lock at once, so that a claim waits for a zombie's transaction (rules L, L9).

mod bind;
mod codes;
mod connection;
mod dialect;
mod errors;
mod guard;
mod introspect;
mod statements;

pub use codes::{CODES, MESSAGES};
pub use connection::SqliteConnector;
pub use dialect::Sqlite;
pub use introspect::kind_of;
