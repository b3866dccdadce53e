//! Why a value or record could not be decoded: one byte while decoding, a sentence only when it leaves the crate.
//!
//! Faults never carry bytes of the record: row values stay out of errors.

use std::sync::Arc;

use topology::{Error, Stage};

use crate::plan::RowPlan;

/// What was wrong with the bytes.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Fault {
    End,
    Trailing,
    Varint,
    Length,
    Depth,
    Branch,
    Symbol,
    Items,
    Boolean,
    Utf8,
    IntegerRange,
    Shape,
    Nanoseconds,
    Infinity,
    NotANumber,
    TimeRange,
    DateText,
    TimeText,
    IntervalText,
    UuidText,
    Base64,
    DecimalText,
    DecimalScale,
    DecimalLength,
    StructField,
    SpecialValue,
    Srid,
    NullValue,
    JsonSyntax,
    JsonKind,
    OperationLetter,
    MissingField,
    Schema,
}

impl Fault {
    /// The sentence after "cannot decode record: …".
    pub(crate) fn text(self) -> &'static str {
        match self {
            Fault::End => "the bytes end too early; was the record written with the schema its id names?",
            Fault::Trailing => "bytes are left over; was the record written with the schema its id names?",
            Fault::Varint => "a variable-length integer is longer than ten bytes",
            Fault::Length => "a length is negative or longer than the record",
            Fault::Depth => "values are nested deeper than 64 levels",
            Fault::Branch => "a union branch that the schema does not have",
            Fault::Symbol => "an enum symbol that the schema does not have",
            Fault::Items => "an array or map declares more items than the record can hold",
            Fault::Boolean => "a boolean is neither 0 nor 1",
            Fault::Utf8 => "text is not valid UTF-8",
            Fault::IntegerRange => "an integer is outside the range of its type",
            Fault::Shape => "the value does not have the shape that its schema name promises",
            Fault::Nanoseconds => "a time has nanoseconds that microseconds cannot hold; nothing is rounded",
            Fault::Infinity => "infinity is no date or time that other engines know; filter the row or map the column",
            Fault::NotANumber => "not a finite number",
            Fault::TimeRange => "a time of day is outside 00:00 to 24:00",
            Fault::DateText => "text is not an ISO date or timestamp that microseconds can hold",
            Fault::TimeText => "text is not an ISO time of day that microseconds can hold",
            Fault::IntervalText => "text is not an ISO 8601 duration that microseconds can hold",
            Fault::UuidText => "text is not a UUID",
            Fault::Base64 => "text is not base64",
            Fault::DecimalText => "text is not a decimal number",
            Fault::DecimalScale => "a decimal does not fit the scale of its column exactly",
            Fault::DecimalLength => "a decimal has more digits than any target can hold",
            Fault::StructField => "a field of the structured value is missing or has another type",
            Fault::SpecialValue => "a special date or time (infinity, BC, zero date) that other engines do not know",
            Fault::Srid => "a point with a spatial reference system is not supported",
            Fault::NullValue => "null in a column whose schema forbids it",
            Fault::JsonSyntax => "not valid JSON",
            Fault::JsonKind => "the JSON value is not of the kind that the column needs",
            Fault::OperationLetter => "an operation letter that Debezium does not define",
            Fault::MissingField => "a required field is missing",
            Fault::Schema => "the embedded schema cannot be read, or the value is not a record",
        }
    }

    /// As an error about the whole record.
    pub(crate) fn error(self, place: &str) -> Error {
        Error::data(Stage::Decode, "cannot decode record", format!("{place}: {}", self.text()))
    }
}

/// A fault and the column it happened in.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct ColumnFault {
    /// Index in the row; `None` outside of columns.
    pub(crate) column: Option<usize>,
    /// What was wrong.
    pub(crate) fault: Fault,
}

/// A fault and the name of its column, where the plan is no longer at hand.
#[derive(Clone, Debug)]
pub(crate) struct NamedFault {
    /// `None` outside of columns.
    pub(crate) column: Option<Arc<str>>,
    /// What was wrong.
    pub(crate) fault: Fault,
}

impl From<Fault> for NamedFault {
    fn from(fault: Fault) -> NamedFault {
        NamedFault { column: None, fault }
    }
}

impl ColumnFault {
    /// With the column's name.
    pub(crate) fn named(self, row: &RowPlan) -> NamedFault {
        let column = self.column.and_then(|index| row.columns.get(index)).map(|column| column.field.clone());
        NamedFault { column, fault: self.fault }
    }
}

impl From<Fault> for ColumnFault {
    fn from(fault: Fault) -> ColumnFault {
        ColumnFault { column: None, fault }
    }
}

impl Fault {
    /// Names the column.
    pub(crate) fn at(self, column: usize) -> ColumnFault {
        ColumnFault { column: Some(column), fault: self }
    }
}
