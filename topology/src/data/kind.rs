//! What a column can hold, in words that all engines share; and the layouts that name the cells of a row.

use std::sync::Arc;

/// The type of a column, source or target. The lens plans conversions from kind to kind; sinks bind by the target's kind.
#[derive(Clone, Debug, PartialEq)]
pub enum Kind {
    /// Truth value.
    Bool,
    /// Whole number of 8, 16, 24, 32 or 64 bits.
    Int {
        /// Width.
        bits: u8,
        /// MySQL's UNSIGNED.
        unsigned: bool,
    },
    /// IEEE single precision.
    Float32,
    /// IEEE double precision.
    Float64,
    /// Exact decimal; `None` means unconstrained.
    Decimal {
        /// Total digits.
        precision: Option<u32>,
        /// Digits after the point.
        scale: Option<i32>,
    },
    /// Text.
    Text {
        /// Longest value in characters; `None` means unlimited for practical purposes.
        characters_max: Option<u64>,
        /// Blank-padded CHAR(n).
        fixed: bool,
    },
    /// Bytes.
    Bytes {
        /// Longest value in bytes.
        bytes_max: Option<u64>,
        /// Zero-padded BINARY(n).
        fixed: bool,
    },
    /// Calendar day.
    Date,
    /// Time of day.
    Time {
        /// Digits of the fraction of a second, 0 to 6.
        precision: u8,
    },
    /// Time of day with zone.
    TimeTz {
        /// Digits of the fraction of a second, 0 to 6.
        precision: u8,
    },
    /// Wall-clock time without zone.
    Timestamp {
        /// Digits of the fraction of a second, 0 to 6.
        precision: u8,
    },
    /// Instant.
    TimestampTz {
        /// Digits of the fraction of a second, 0 to 6.
        precision: u8,
    },
    /// Signed length of time (MySQL's TIME).
    Duration {
        /// Digits of the fraction of a second, 0 to 6.
        precision: u8,
    },
    /// Months, days and microseconds (PostgreSQL).
    Interval,
    /// MySQL's YEAR.
    Year,
    /// UUID.
    Uuid,
    /// JSON text; engines compare it parsed.
    Json,
    /// XML text.
    Xml,
    /// Bit string.
    Bits {
        /// Number of bits; `None` when unlimited or unknown.
        length: Option<u32>,
        /// `bit varying`.
        varying: bool,
    },
    /// One of a list of labels.
    Enum(Arc<[String]>),
    /// Some of a list of labels, comma-joined as text.
    Set(Arc<[String]>),
    /// One-dimensional array.
    Array(Box<Kind>),
    /// A type carried as its text form, by the engine's name for it (inet, citext, int4range, …).
    Other(Arc<str>),
}

/// One named cell of a layout.
#[derive(Clone, Debug, PartialEq)]
pub struct Column {
    /// Name as the database spells it.
    pub name: Arc<str>,
    /// What it holds.
    pub kind: Kind,
    /// Whether NULL may stand here.
    pub nullable: bool,
}

/// The columns of a row in cell order: `columns[i]` names cell i of every row with this layout.
#[derive(Clone, Debug, Default, PartialEq)]
pub struct Layout {
    /// Columns in cell order.
    pub columns: Vec<Column>,
}

impl Layout {
    /// Index of the column named `name`, compared exactly.
    pub fn position(&self, name: &str) -> Option<usize> {
        self.columns.iter().position(|column| &*column.name == name)
    }
}

/// Names a layout inside one lane's [`Layouts`].
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub struct LayoutId(pub u32);

/// The layouts that one pipeline instance has seen. Entry 0 is the empty layout. Only grows: a schema id is decoded the same way for ever.
#[derive(Clone, Debug)]
pub struct Layouts {
    all: Vec<Arc<Layout>>,
}

impl Default for Layouts {
    fn default() -> Layouts {
        Layouts { all: vec![Arc::new(Layout::default())] }
    }
}

impl Layouts {
    /// Adds a layout and names it.
    pub fn add(&mut self, layout: Layout) -> LayoutId {
        let id = LayoutId(u32::try_from(self.all.len()).expect("fewer than 2^32 schemas"));
        self.all.push(Arc::new(layout));
        id
    }

    /// The layout of that name.
    pub fn get(&self, id: LayoutId) -> &Arc<Layout> {
        &self.all[id.0 as usize]
    }
}
