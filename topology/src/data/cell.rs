//! One value of one row, 16 bytes, without ownership: long values point into the batch's [`super::Arena`].

/// A run of bytes (or of cells, for arrays) in an arena.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Hash)]
pub struct Span {
    /// Index of the first element.
    pub start: u32,
    /// Number of elements.
    pub length: u32,
}

/// A run of cells in an arena: one row, one key, or the elements of an array.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Hash)]
pub struct CellRange {
    /// Index of the first cell.
    pub start: u32,
    /// Number of cells.
    pub length: u32,
}

impl CellRange {
    /// True when the range holds no cell, as for the key of a table without one.
    pub fn is_empty(self) -> bool {
        self.length == 0
    }
}

/// An exact decimal number: `unscaled × 10^(-scale)`.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct DecimalCell {
    /// Two's complement, big-endian, at least one byte, of any length.
    pub unscaled: Span,
    /// Digits after the decimal point; negative means trailing zeros before it.
    pub scale: i16,
}

/// One value. Times are microseconds, the finest unit of every engine that takes part.
#[derive(Clone, Copy, Debug, PartialEq)]
pub enum Cell {
    /// SQL NULL.
    Null,
    /// The source did not send the value (TOAST placeholder, absent field). Never written to a target (BAT-3).
    Unavailable,
    /// A truth value.
    Bool(bool),
    /// A signed integer of any width.
    I64(i64),
    /// An unsigned integer above the signed range or of an unsigned column.
    U64(u64),
    /// Single precision.
    F32(f32),
    /// Double precision.
    F64(f64),
    /// Exact decimal.
    Decimal(DecimalCell),
    /// UTF-8 text; decoders validate it before it is stored.
    Text(Span),
    /// Raw bytes.
    Bytes(Span),
    /// Days since 1970-01-01, proleptic Gregorian.
    Date(i32),
    /// Microseconds past midnight, 0 to 86 400 000 000 inclusive (PostgreSQL knows 24:00).
    Time(i64),
    /// Microseconds past midnight UTC.
    TimeTz(i64),
    /// Wall-clock time without zone: microseconds since 1970-01-01 00:00 as if it were UTC.
    Timestamp(i64),
    /// An instant: microseconds since 1970-01-01 00:00 UTC.
    TimestampTz(i64),
    /// A signed length of time in microseconds (MySQL's TIME, −838:59:59 to 838:59:59).
    Duration(i64),
    /// A PostgreSQL interval: 16 bytes, big-endian months (i32), days (i32), microseconds (i64).
    Interval(Span),
    /// 16 bytes.
    Uuid(Span),
    /// JSON as the text that arrived.
    Json(Span),
    /// A bit string: little-endian bytes, as Debezium sends it; the column knows the number of bits.
    Bits(Span),
    /// Elements as a span of the arena's cells.
    Array(Span),
}

impl Cell {
    /// True for [`Cell::Null`].
    pub fn is_null(self) -> bool {
        matches!(self, Cell::Null)
    }

    /// True for [`Cell::Unavailable`].
    pub fn is_unavailable(self) -> bool {
        matches!(self, Cell::Unavailable)
    }
}
