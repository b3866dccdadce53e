//! Reads JSON along a plan, straight into cells: no tree in between, no number rounded, no text copied that has no escapes.

mod row;
mod token;

pub(crate) use row::read_key;
