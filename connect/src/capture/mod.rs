//! Trigger capture: for databases whose log Debezium can't read (SQLite, managed servers).
//!
//! Triggers write every change into `tidelock_changes` in the same transaction as the change itself. The capture reads what is
//! there, publishes it as Debezium-shaped Avro in a Kafka transaction together with its own progress, then deletes what it
//! published. So every change is published exactly once, in commit order, through crashes at any point. (On librdkafka's mock
//! broker it works too, but that one knows neither aborts nor fencing, so nothing is claimed there.)
//!
//! Triggers are made and removed only by an explicit call, and named `tidelock_*` (promise P8).
//!
//! One case of possible repeats: if the capture stands still for longer than the broker keeps offsets of idle groups (7 days by
//! default) *and* had crashed between publishing its last batch and deleting it, that batch is published again.

use async_trait::async_trait;
use topology::Result;

pub mod envelope;
pub mod publisher;
#[cfg(feature = "sqlite")]
pub mod sqlite;

/// Where schemas get their ids.
#[async_trait]
pub trait RegisterSchema: Send {
    /// Registers an Avro schema under a subject, if it is not there yet, and returns its id.
    ///
    /// # Errors
    /// `Environment` when the registry does not answer or refuses.
    async fn register(&mut self, subject: &str, schema: &str) -> Result<u32>;
}

#[async_trait]
impl RegisterSchema for avro::RegistryClient {
    async fn register(&mut self, subject: &str, schema: &str) -> Result<u32> {
        avro::RegistryClient::register(self, subject, schema).await
    }
}
