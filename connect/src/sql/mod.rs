//! What all SQL sinks share. One writer ([`writer`]) keeps the ledger, held rows and the order of a batch; each engine's folder
//! implements [`connection::SqlConnection`] (how rows and parameters go over the wire) and [`dialect::Dialect`] (how the engine
//! spells the few statements on our own tables). Engines share file names: `connection, bind, dialect, introspect, guard, errors, codes`.

pub mod codes;
pub mod connection;
pub mod dialect;
pub mod error;
pub mod patience;
pub mod plan;
pub mod statements;
pub mod text;
pub mod writer;
