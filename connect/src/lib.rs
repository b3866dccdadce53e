//! The outside world: the Kafka source, the trigger capture, one folder per sink, and the writer that all SQL sinks share.

pub mod blackhole;
pub mod capture;
pub mod kafka;
pub mod memory;
#[cfg(feature = "mysql")]
pub mod mysql;
#[cfg(feature = "postgres")]
pub mod postgres;
mod random;
#[cfg(any(test, feature = "registry_server"))]
pub mod registry_server;
pub mod sql;
#[cfg(feature = "sqlite")]
pub mod sqlite;
