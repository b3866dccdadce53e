//! What a decoder is told about its topics.

use topology::data::Layout;

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
    /// Columns of the rows, for JSON without schema: names and kinds as in the *source*. Members that are not listed are ignored.
    /// Without it kinds are learned from the values: whole numbers, decimals, truth values, text, and JSON for everything else.
    pub columns: Option<Layout>,
    /// What numbers and texts mean in JSON without schema.
    pub json: JsonOptions,
}

/// How decimals stand in JSON without schema. Numbers are always read as they are.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Hash)]
pub enum JsonDecimals {
    /// Text is base64 of the unscaled bytes, the column's kind has the scale: Connect's default.
    #[default]
    Base64,
    /// Text is the number (`decimal.handling.mode=string`).
    Text,
}

/// Unit of integer times in JSON without schema.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum JsonUnit {
    /// Milliseconds up to three digits of precision, else microseconds: Debezium's `adaptive`.
    ByPrecision,
    /// Always milliseconds: Debezium's `connect`.
    Milliseconds,
    /// Always microseconds.
    Microseconds,
    /// Always nanoseconds.
    Nanoseconds,
}

/// What JSON without schema cannot say itself.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub struct JsonOptions {
    /// Texts in decimal columns.
    pub decimals: JsonDecimals,
    /// Numbers in timestamp columns.
    pub timestamps: JsonUnit,
    /// Numbers in time and duration columns. Microseconds are the default of Debezium for MySQL, and of `time` for PostgreSQL.
    pub times: JsonUnit,
}

impl Default for JsonOptions {
    fn default() -> JsonOptions {
        JsonOptions { decimals: JsonDecimals::Base64, timestamps: JsonUnit::ByPrecision, times: JsonUnit::Microseconds }
    }
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
