//! The memory of one batch: bytes and cells, cleared and reused, never freed per record.

use super::{Cell, CellRange, DecimalCell, Span, Value, decimal};

/// Owns the bytes and cells of one batch. Spans and ranges are valid until [`Arena::clear`] or [`Arena::truncate`].
#[derive(Clone, Debug, Default)]
pub struct Arena {
    bytes: Vec<u8>,
    cells: Vec<Cell>,
}

/// A borrowed look at one cell, for code that needs the value and not its place.
#[derive(Clone, Copy, Debug, PartialEq)]
#[allow(missing_docs)] // one to one with `Cell`, documented there
pub enum View<'a> {
    Null,
    Unavailable,
    Bool(bool),
    I64(i64),
    U64(u64),
    F32(f32),
    F64(f64),
    Decimal { unscaled: &'a [u8], scale: i16 },
    Text(&'a str),
    Bytes(&'a [u8]),
    Date(i32),
    Time(i64),
    TimeTz(i64),
    Timestamp(i64),
    TimestampTz(i64),
    Duration(i64),
    Interval { months: i32, days: i32, microseconds: i64 },
    Uuid([u8; 16]),
    Json(&'a str),
    Bits(&'a [u8]),
    Array(&'a [Cell]),
}

/// Lengths of an arena at some moment, to roll back to ([`Arena::truncate`]).
#[derive(Clone, Copy, Debug)]
pub struct Mark {
    bytes: usize,
    cells: usize,
}

fn index(length: usize) -> u32 {
    u32::try_from(length).expect("a batch stays under 4 GiB: it closes on its byte limit (MEM-1)")
}

impl Arena {
    /// An arena with room for `bytes` bytes and `cells` cells before it grows.
    pub fn with_capacity(bytes: usize, cells: usize) -> Arena {
        Arena { bytes: Vec::with_capacity(bytes), cells: Vec::with_capacity(cells) }
    }

    /// Forgets everything and keeps the memory.
    pub fn clear(&mut self) {
        self.bytes.clear();
        self.cells.clear();
    }

    /// Bytes in use, cells included; what MEM-1 counts.
    pub fn size_bytes(&self) -> usize {
        self.bytes.len() + self.cells.len() * size_of::<Cell>()
    }

    /// The present lengths.
    pub fn mark(&self) -> Mark {
        Mark { bytes: self.bytes.len(), cells: self.cells.len() }
    }

    /// Drops all that was stored after `mark`, as when a record fails half-way.
    pub fn truncate(&mut self, mark: Mark) {
        self.bytes.truncate(mark.bytes);
        self.cells.truncate(mark.cells);
    }

    /// Stores bytes.
    pub fn push_bytes(&mut self, bytes: &[u8]) -> Span {
        let start = index(self.bytes.len());
        self.bytes.extend_from_slice(bytes);
        Span { start, length: index(bytes.len()) }
    }

    /// Lets `write` append bytes and returns their span.
    pub fn write_bytes(&mut self, write: impl FnOnce(&mut Vec<u8>)) -> Span {
        let start = self.bytes.len();
        write(&mut self.bytes);
        Span { start: index(start), length: index(self.bytes.len() - start) }
    }

    /// Stores one cell after the last; consecutive calls make a row (see [`Arena::cells_from`]).
    pub fn push_cell(&mut self, cell: Cell) {
        self.cells.push(cell);
    }

    /// Number of cells stored: the start of the next row.
    pub fn cell_count(&self) -> u32 {
        index(self.cells.len())
    }

    /// All cells since `start`, which an earlier [`Arena::cell_count`] returned.
    pub fn cells_from(&self, start: u32) -> CellRange {
        CellRange { start, length: self.cell_count() - start }
    }

    /// Stores a row.
    pub fn push_cells(&mut self, cells: &[Cell]) -> CellRange {
        let start = self.cell_count();
        self.cells.extend_from_slice(cells);
        self.cells_from(start)
    }

    /// The cells of a row.
    pub fn row(&self, range: CellRange) -> &[Cell] {
        &self.cells[range.start as usize..(range.start + range.length) as usize]
    }

    /// The cells of a row, to change in place.
    pub fn row_mut(&mut self, range: CellRange) -> &mut [Cell] {
        &mut self.cells[range.start as usize..(range.start + range.length) as usize]
    }

    /// The bytes of a span.
    pub fn bytes(&self, span: Span) -> &[u8] {
        &self.bytes[span.start as usize..span.start as usize + span.length as usize]
    }

    /// The text of a span that a decoder has validated.
    pub fn text(&self, span: Span) -> &str {
        std::str::from_utf8(self.bytes(span)).expect("text cells are validated when they are stored")
    }

    /// The elements of an array cell.
    pub fn elements(&self, span: Span) -> &[Cell] {
        &self.cells[span.start as usize..span.start as usize + span.length as usize]
    }

    /// Looks at a cell.
    pub fn view(&self, cell: Cell) -> View<'_> {
        match cell {
            Cell::Null => View::Null,
            Cell::Unavailable => View::Unavailable,
            Cell::Bool(v) => View::Bool(v),
            Cell::I64(v) => View::I64(v),
            Cell::U64(v) => View::U64(v),
            Cell::F32(v) => View::F32(v),
            Cell::F64(v) => View::F64(v),
            Cell::Decimal(d) => View::Decimal { unscaled: self.bytes(d.unscaled), scale: d.scale },
            Cell::Text(s) => View::Text(self.text(s)),
            Cell::Bytes(s) => View::Bytes(self.bytes(s)),
            Cell::Date(v) => View::Date(v),
            Cell::Time(v) => View::Time(v),
            Cell::TimeTz(v) => View::TimeTz(v),
            Cell::Timestamp(v) => View::Timestamp(v),
            Cell::TimestampTz(v) => View::TimestampTz(v),
            Cell::Duration(v) => View::Duration(v),
            Cell::Interval(s) => {
                let raw: &[u8; 16] = self.bytes(s).try_into().expect("an interval cell is 16 bytes");
                View::Interval {
                    months: i32::from_be_bytes(raw[0..4].try_into().expect("4 bytes")),
                    days: i32::from_be_bytes(raw[4..8].try_into().expect("4 bytes")),
                    microseconds: i64::from_be_bytes(raw[8..16].try_into().expect("8 bytes")),
                }
            }
            Cell::Uuid(s) => View::Uuid(self.bytes(s).try_into().expect("a uuid cell is 16 bytes")),
            Cell::Json(s) => View::Json(self.text(s)),
            Cell::Bits(s) => View::Bits(self.bytes(s)),
            Cell::Array(s) => View::Array(self.elements(s)),
        }
    }

    /// Stores an interval.
    pub fn push_interval(&mut self, months: i32, days: i32, microseconds: i64) -> Cell {
        Cell::Interval(self.write_bytes(|out| {
            out.extend_from_slice(&months.to_be_bytes());
            out.extend_from_slice(&days.to_be_bytes());
            out.extend_from_slice(&microseconds.to_be_bytes());
        }))
    }

    /// Stores text.
    pub fn push_text(&mut self, text: &str) -> Cell {
        Cell::Text(self.push_bytes(text.as_bytes()))
    }

    /// Stores a decimal that fits 128 bits.
    pub fn push_decimal(&mut self, unscaled: i128, scale: i16) -> Cell {
        let raw = unscaled.to_be_bytes();
        let unscaled = self.push_bytes(decimal::minimal(&raw));
        Cell::Decimal(DecimalCell { unscaled, scale })
    }

    /// Stores an owned value and returns its cell (not appended to any row).
    pub fn push_value(&mut self, value: &Value) -> Cell {
        match value {
            Value::Null => Cell::Null,
            Value::Unavailable => Cell::Unavailable,
            Value::Bool(v) => Cell::Bool(*v),
            Value::I64(v) => Cell::I64(*v),
            Value::U64(v) => Cell::U64(*v),
            Value::F32(v) => Cell::F32(*v),
            Value::F64(v) => Cell::F64(*v),
            Value::Decimal { unscaled, scale } => {
                Cell::Decimal(DecimalCell { unscaled: self.push_bytes(decimal::minimal(unscaled)), scale: *scale })
            }
            Value::Text(v) => self.push_text(v),
            Value::Bytes(v) => Cell::Bytes(self.push_bytes(v)),
            Value::Date(v) => Cell::Date(*v),
            Value::Time(v) => Cell::Time(*v),
            Value::TimeTz(v) => Cell::TimeTz(*v),
            Value::Timestamp(v) => Cell::Timestamp(*v),
            Value::TimestampTz(v) => Cell::TimestampTz(*v),
            Value::Duration(v) => Cell::Duration(*v),
            Value::Interval { months, days, microseconds } => self.push_interval(*months, *days, *microseconds),
            Value::Uuid(v) => Cell::Uuid(self.push_bytes(v)),
            Value::Json(v) => Cell::Json(self.push_bytes(v.as_bytes())),
            Value::Bits(v) => Cell::Bits(self.push_bytes(v)),
            Value::Array(values) => {
                // Elements first, so that nested arrays do not split this one's run.
                let cells: Vec<Cell> = values.iter().map(|value| self.push_value(value)).collect();
                let range = self.push_cells(&cells);
                Cell::Array(Span { start: range.start, length: range.length })
            }
        }
    }

    /// Stores a row of owned values.
    pub fn push_values(&mut self, values: &[Value]) -> CellRange {
        let cells: Vec<Cell> = values.iter().map(|value| self.push_value(value)).collect();
        self.push_cells(&cells)
    }

    /// Copies a cell out.
    pub fn value(&self, cell: Cell) -> Value {
        match self.view(cell) {
            View::Null => Value::Null,
            View::Unavailable => Value::Unavailable,
            View::Bool(v) => Value::Bool(v),
            View::I64(v) => Value::I64(v),
            View::U64(v) => Value::U64(v),
            View::F32(v) => Value::F32(v),
            View::F64(v) => Value::F64(v),
            View::Decimal { unscaled, scale } => Value::Decimal { unscaled: unscaled.to_vec(), scale },
            View::Text(v) => Value::Text(v.to_owned()),
            View::Bytes(v) => Value::Bytes(v.to_vec()),
            View::Date(v) => Value::Date(v),
            View::Time(v) => Value::Time(v),
            View::TimeTz(v) => Value::TimeTz(v),
            View::Timestamp(v) => Value::Timestamp(v),
            View::TimestampTz(v) => Value::TimestampTz(v),
            View::Duration(v) => Value::Duration(v),
            View::Interval { months, days, microseconds } => Value::Interval { months, days, microseconds },
            View::Uuid(v) => Value::Uuid(v),
            View::Json(v) => Value::Json(v.to_owned()),
            View::Bits(v) => Value::Bits(v.to_vec()),
            View::Array(cells) => Value::Array(cells.iter().map(|cell| self.value(*cell)).collect()),
        }
    }

    /// Copies a row out.
    pub fn values(&self, range: CellRange) -> Vec<Value> {
        self.row(range).iter().map(|cell| self.value(*cell)).collect()
    }
}
