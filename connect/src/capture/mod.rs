//! Trigger capture: for databases whose log Debezium can't read (SQLite, managed servers).
//!
//! Triggers write every change into `tidelock_changes` in the same transaction as the change itself. The capture reads what is
//! there, publishes it as Debezium-shaped Avro in a Kafka transaction together with its own progress, then deletes what it
//! published. So every change is published exactly once, in commit order, through crashes at any point.
//!
//! Triggers are made and removed only by an explicit call, and named `tidelock_*` (promise P8).

#[cfg(feature = "sqlite")]
pub mod sqlite;
