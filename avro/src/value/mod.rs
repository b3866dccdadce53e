//! From a primitive, as Avro or JSON delivers it, to an exact cell: the meaning of Debezium's, Connect's and Avro's types.
//!
//! [`Meaning`] is found once per column ([`classify`]); [`Meaning::cell`] runs once per value and allocates nothing of its own.
//! Nothing is rounded: what a cell cannot hold exactly is a [`Fault`].

mod cell;
mod classify;
mod structs;
mod text;

pub(crate) use cell::decimal_of;
pub(crate) use classify::classify;
pub(crate) use structs::{STRUCT_FIELDS_MAX, StructMeaning, push_decimal};
pub(crate) use text::{parse_hex_digit, parse_interval, parse_uuid, parse_zoned_time, rescale};

use topology::data::Span;

/// A value before its meaning is applied. Spans point into the arena, where the bytes already are.
#[derive(Clone, Copy, Debug, PartialEq)]
pub(crate) enum Primitive<'a> {
    Null,
    Bool(bool),
    Int(i64),
    Float(f32),
    Double(f64),
    Bytes(&'a [u8], Span),
    Text(&'a str, Span),
}

/// Unit of an integer time.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Unit {
    Milli,
    Micro,
    Nano,
}

impl Unit {
    /// Digits of the fraction of a second that cells keep of it.
    pub(crate) fn precision(self) -> u8 {
        if self == Unit::Milli { 3 } else { 6 }
    }
}

/// What the primitive of a column stands for.
#[derive(Clone, Copy, Debug, PartialEq)]
pub(crate) enum Meaning {
    /// The primitive itself.
    Plain,
    /// A signed 64-bit integer whose bits are those of a BIGINT UNSIGNED.
    Unsigned,
    /// Two's complement bytes with a fixed scale.
    Decimal(i16),
    Date,
    Time(Unit),
    Duration(Unit),
    Timestamp(Unit),
    TimestampTz(Unit),
    ZonedTimestamp,
    ZonedTime,
    IsoDate,
    IsoTime,
    IsoTimestamp,
    IntervalText,
    /// Avro's `duration`: twelve bytes, little-endian months, days, milliseconds.
    AvroDuration,
    Json,
    Uuid,
    Bits,
    /// A record with a meaning of its own; its fields become one cell.
    Struct(StructMeaning),
    /// A list; the elements have a column plan of their own.
    Array,
    /// JSON without schema: the kind, given by the topic's settings or learned, says how a token is read.
    Hinted,
    /// A map, an unknown record or a union of several types, written as JSON text.
    Document,
}
