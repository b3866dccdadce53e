//! Writes Debezium-shaped events: what Tidelock's own capture publishes, and what tests and benchmarks feed to decoders.
//!
//! The shape follows the real connectors' (names, `connect.name`, field order), so that any consumer of Debezium can read it, and
//! the decoder of this crate gives back exactly the values that went in.

mod column;
mod event;
mod schema;
mod write;

pub use column::avro_name as field_name;
pub use event::{Event, SourceBlock, TopicEncoder, TopicSource};
