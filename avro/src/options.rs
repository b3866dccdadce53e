//! What a decoder is told about its topics.

use crate::placeholder::DEFAULT_UNAVAILABLE_VALUE;

/// How the bytes of a key or value are encoded.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Hash)]
pub enum Format {
    /// By the first byte: 0 is Avro, anything else JSON, with or without schema.
    #[default]
    Auto,
    /// Confluent frame (0, four bytes of schema id) and Avro.
    Avro,
    /// JSON without schema: types come from [`TopicOptions::columns`].
    Json,
    /// JSON as `{"schema":…,"payload":…}`.
    JsonSchema,
}

/// What the records of a topic are. It decides what a null value means.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Hash)]
pub enum TopicShape {
    /// By what has been seen on the topic. Before anything was seen, a null value is a tombstone when the key's schema is
    /// Debezium's (`….Key`) or absent, else a delete: set [`TopicShape::Rows`] for flattened topics that delete with null values.
    #[default]
    Auto,
    /// Debezium envelopes: null values are tombstones and only move progress (rule B6).
    Envelope,
    /// Flattened or plain rows: a null value deletes the row of its key.
    Rows,
}

/// One topic, by its index in the direction's configuration.
#[derive(Clone, Debug, Default)]
pub struct TopicOptions {
    /// Name, for error messages.
    pub name: String,
    /// Encoding of keys.
    pub key_format: Format,
    /// Encoding of values.
    pub value_format: Format,
    /// What its records are.
    pub shape: TopicShape,
}

/// Everything a decoder is told.
#[derive(Clone, Debug)]
pub struct DecoderOptions {
    /// `topics[i]` describes the topic that [`topology::raw::RawRecord::topic`] calls i; missing ones have the defaults.
    pub topics: Vec<TopicOptions>,
    /// Decode `before` of every event; otherwise only that of deletes, which is all that keys need.
    pub decode_before: bool,
    /// Debezium's `unavailable.value.placeholder` (text, or `hex:` and digits).
    pub unavailable_value: String,
}

impl Default for DecoderOptions {
    fn default() -> DecoderOptions {
        DecoderOptions {
            topics: Vec::new(),
            decode_before: false,
            unavailable_value: DEFAULT_UNAVAILABLE_VALUE.to_owned(),
        }
    }
}
