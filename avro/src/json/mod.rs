//! Reads JSON along a plan, straight into cells: no tree in between, no number rounded, no text copied that has no escapes.
//!
//! Records come with their Connect schema (`{"schema":…,"payload":…}`, whose constant front is cut off by comparing bytes) or without
//! (kinds from the topic's settings, or learned).

mod document;
mod hinted;
mod learn;
mod record;
mod row;
mod token;
mod topic;

pub(crate) use document::header_tokens;
pub(crate) use row::read_key;
pub(crate) use topic::{JsonKey, JsonOutcome, JsonTopic, Tools};
