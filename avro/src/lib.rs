//! Bytes to values and back: Debezium's Avro and JSON, decoded along plans compiled once per schema, straight into
//! [`topology::data::Arena`] cells; the schema registry client that fetches the schemas; and an encoder of Debezium-shaped events.
//!
//! * [`EnvelopeDecoder`] implements [`topology::raw::Decode`]. It finds schemas in a shared [`SchemaCache`] and answers
//!   [`topology::raw::DecodeError::SchemaNeeded`] for an id that is not there; the caller fetches it and decodes again.
//! * [`DecoderOptions`] says what cannot be seen in the bytes: formats, whether null values delete, the placeholder of unavailable
//!   values.
//! * [`RegistryClient`] fetches and registers schemas; [`SchemaFetcher`] does so for threads that must not wait.
//! * [`TopicEncoder`] writes events as Debezium's connectors and Tidelock's own capture do.
//!
//! Nothing here knows databases. Nothing is rounded: what a cell cannot hold exactly is a data error that names the column.

mod avro;
mod cache;
mod decoder;
mod encode;
mod fault;
mod json;
mod options;
mod placeholder;
mod plan;
mod plans;
mod registry;
mod schema;
mod source;
mod value;

pub use cache::{SchemaCache, SchemaText};
pub use decoder::EnvelopeDecoder;
pub use encode::{Event, SourceBlock, TopicEncoder, TopicSource, field_name};
pub use options::{DecoderOptions, Format, JsonDecimals, JsonOptions, JsonUnit, TopicOptions, TopicShape};
pub use placeholder::DEFAULT_UNAVAILABLE_VALUE;
pub use registry::{Credentials, RegistryClient, RegistryOptions, SchemaFetcher, SchemaReply};
