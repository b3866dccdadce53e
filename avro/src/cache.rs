//! Schemas by registry id, shared by all decoders of a process and filled by the registry client. Entries never change: an id
//! names one schema for ever.

use std::sync::Arc;

use dashmap::DashMap;

/// A schema as the registry returned it.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct SchemaText {
    /// The schema itself, Avro in JSON.
    pub text: String,
    /// Schemas that it names, each using only earlier ones.
    pub references: Vec<String>,
}

impl SchemaText {
    /// A schema without references.
    pub fn new(text: impl Into<String>) -> SchemaText {
        SchemaText { text: text.into(), references: Vec::new() }
    }
}

/// Schemas known so far. Read once per schema id and decoder, so its locks are never on the hot path.
pub type SchemaCache = Arc<DashMap<u32, Arc<SchemaText>>>;
