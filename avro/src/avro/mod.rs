//! Reads Avro's binary form along a plan, straight into cells.

mod reader;
mod record;
mod row;
mod walk;

pub(crate) use reader::Reader;
pub(crate) use record::{Scratch, Settings, ValueOutcome, ValueRows, flat_outcome, operation, read_key, read_value};
pub(crate) use row::{element_cell, finish_array};
