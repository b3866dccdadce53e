//! Exact conversions between the kinds of two columns: planned once per pair, run per cell without allocation.
//!
//! A conversion gives the same value in the target's form, or refuses the cell with a reason (P6). It is chosen by the *target's* kind
//! and looks at the cell that arrived, because one column arrives in several forms: MySQL's `TINYINT(1)` is a boolean while
//! streaming and a number after a snapshot.

mod bits;
mod fit;
mod hstore;
mod json;
mod list;
mod moment;
mod number;
mod span;
mod text;

use std::sync::Arc;

use serde::{Deserialize, Serialize};

use crate::data::{Arena, Cell, Kind};

pub use fit::Fit;

/// Whose types they are: the same kind has other limits elsewhere.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Hash)]
pub enum Engine {
    /// MySQL 8 and later.
    MySql,
    /// MariaDB.
    MariaDb,
    /// PostgreSQL.
    Postgres,
    /// SQLite.
    Sqlite,
    /// A store without limits of its own, or an unknown one.
    #[default]
    Other,
}

impl Engine {
    /// As users read it.
    pub fn name(self) -> &'static str {
        match self {
            Engine::MySql => "MySQL",
            Engine::MariaDb => "MariaDB",
            Engine::Postgres => "PostgreSQL",
            Engine::Sqlite => "SQLite",
            Engine::Other => "other",
        }
    }

    pub(crate) fn is_mysql_family(self) -> bool {
        matches!(self, Engine::MySql | Engine::MariaDb)
    }
}

/// What happens to digits of a second that the target has no room for.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum FractionMode {
    /// The record is refused.
    #[default]
    Exact,
    /// They are cut off, towards the past, as declared by the user.
    Cut,
}

/// What a plan must know besides the two kinds.
#[derive(Clone, Copy, Debug, Default)]
pub struct Context<'a> {
    /// Engine of the source.
    pub source: Engine,
    /// Engine of the target.
    pub target: Engine,
    /// The source column's kind in its live catalogue, when the plan is for the kind that a record's schema shows: Debezium sends
    /// `BIGINT UNSIGNED` as a signed long and `CHAR(4)` as plain text.
    pub live: Option<&'a Kind>,
    /// The target's type as its engine writes it.
    pub native: &'a str,
    /// What happens to digits of a second.
    pub fraction: FractionMode,
}

/// Why a cell can't be written: a static text, never the value.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Refused(pub &'static str);

/// Reused memory of conversions.
#[derive(Clone, Debug, Default)]
pub struct Scratch {
    pub(super) bytes: Vec<u8>,
    pub(super) digits: Vec<u8>,
    pub(super) cells: Vec<Cell>,
}

/// A planned conversion to one target column.
#[derive(Clone, Debug, PartialEq)]
pub enum Convert {
    /// The cell as it is.
    Copy,
    /// A negative number is an unsigned one that Debezium's `bigint.unsigned.handling.mode=long` wrapped.
    Wrapped(Box<Convert>),
    /// 1900 is Debezium's word for MySQL's year 0000, which has no 1900.
    ZeroYear(Box<Convert>),
    /// 1970-01-01 00:00:00 UTC is Debezium's word for a zero TIMESTAMP of MySQL or MariaDB, which begin a second later.
    NoZeroDate(Box<Convert>),
    /// Without the blanks that pad the source's CHAR(n).
    Stripped(Box<Convert>),
    /// To a truth value.
    Bool,
    /// To a whole number of a range.
    Int {
        /// Least.
        min: i64,
        /// Greatest.
        max: u64,
        /// The cell becomes [`Cell::U64`].
        unsigned: bool,
    },
    /// To single precision.
    Float32 {
        /// The target has no NaN and no infinity.
        finite: bool,
    },
    /// To double precision.
    Float64 {
        /// The target has no NaN and no infinity.
        finite: bool,
    },
    /// To a decimal.
    Decimal {
        /// Most digits.
        precision: u32,
        /// Digits after the point; `None` keeps those of the value.
        scale: Option<i32>,
    },
    /// To text.
    Text {
        /// Most characters.
        characters_max: u64,
        /// Blanks at the end mean nothing (CHAR on either side) and go.
        strip: bool,
    },
    /// To bytes.
    Bytes {
        /// Least number; shorter values are refused or, with `pad`, filled with zeros.
        bytes_min: u64,
        /// Greatest number.
        bytes_max: u64,
        /// The source is a BINARY(n) of the same length: missing bytes are zeros.
        pad: bool,
    },
    /// To a day.
    Date(moment::Days),
    /// To a time of day.
    Time(moment::Digits),
    /// To a time of day in UTC.
    TimeTz(moment::Digits),
    /// To a wall-clock time.
    Timestamp(moment::Digits, moment::Instants),
    /// To an instant.
    TimestampTz(moment::Digits, moment::Instants),
    /// To a length of time.
    Duration(moment::Digits),
    /// To months, days and microseconds.
    Interval,
    /// To a year of MySQL.
    Year,
    /// To a UUID.
    Uuid,
    /// To JSON.
    Json {
        /// The target keeps numbers as doubles and 64-bit integers (MySQL): others are refused.
        doubles: bool,
        /// Cells of this kind are known to be JSON already.
        trusted: bool,
    },
    /// To a bit string.
    Bits {
        /// Bits there is room for.
        length: u32,
    },
    /// To one of these labels.
    Enum(Arc<[String]>),
    /// To some of these labels.
    Set(Arc<[String]>),
    /// To an array.
    Array(Box<Convert>),
    /// JSON object to PostgreSQL's hstore text.
    Hstore,
}

/// A conversion and what it can do to values.
#[derive(Clone, Debug, PartialEq)]
pub struct Planned {
    /// To run per cell.
    pub convert: Convert,
    /// What to tell the user.
    pub fit: Fit,
}

/// Plans the conversion from a column of kind `source` to one of kind `target`.
pub fn plan(source: &Kind, target: &Kind, context: &Context<'_>) -> Planned {
    const UNSIGNED: Kind = Kind::Int { bits: 64, unsigned: true };
    match (source, context.live) {
        (Kind::Int { bits: 64, unsigned: false }, Some(&UNSIGNED)) => {
            let Planned { convert, fit } = plan(&UNSIGNED, target, context);
            return Planned { convert: Convert::Wrapped(Box::new(convert)), fit };
        }
        (Kind::TimestampTz { .. }, Some(Kind::TimestampTz { .. })) if context.source.is_mysql_family() => {
            let Planned { convert, fit } = plan(source, target, &Context { live: None, ..*context });
            return Planned { convert: Convert::NoZeroDate(Box::new(convert)), fit };
        }
        (_, Some(Kind::Bits { varying: true, .. })) => {
            return impossible("Debezium does not say how many leading zeros a bit varying has");
        }
        (Kind::Text { .. }, Some(Kind::Bytes { .. })) => {
            return impossible("the connector sends bytes as text: set binary.handling.mode to bytes");
        }
        (Kind::Duration { .. }, Some(Kind::Interval)) => {
            return impossible(
                "the connector sends intervals as rounded numbers: set interval.handling.mode to string",
            );
        }
        _ => {}
    }
    let fit = fit::fit(source, target, context);
    let is_padded_source = is_padded(context.live.unwrap_or(source));
    let is_text = matches!(target, Kind::Text { .. } | Kind::Other(_) | Kind::Xml);
    let strip = is_padded_source || is_padded(target);
    let convert = if fit == Fit::Exact && !strip && fit::is_copy(source, target, context) {
        Convert::Copy
    } else {
        to(source, target, context, strip)
    };
    if matches!(source, Kind::Year) {
        return Planned { convert: Convert::ZeroYear(Box::new(convert)), fit };
    }
    if is_padded_source && !is_text {
        return Planned { convert: Convert::Stripped(Box::new(convert)), fit };
    }
    Planned { convert, fit }
}

fn impossible(why: &'static str) -> Planned {
    Planned { convert: Convert::Copy, fit: Fit::Impossible(why.into()) }
}

fn is_padded(kind: &Kind) -> bool {
    matches!(kind, Kind::Text { fixed: true, .. })
}

fn to(source: &Kind, target: &Kind, context: &Context<'_>, strip: bool) -> Convert {
    let digits = |precision: u8| moment::Digits::new(precision, context.fraction);
    match target {
        Kind::Bool => Convert::Bool,
        Kind::Int { bits, unsigned } => {
            let (min, max) = number::range(*bits, *unsigned);
            Convert::Int { min, max, unsigned: *bits == 64 && *unsigned }
        }
        Kind::Float32 => Convert::Float32 { finite: context.target.is_mysql_family() },
        Kind::Float64 => Convert::Float64 { finite: context.target.is_mysql_family() },
        Kind::Decimal { precision, scale } => {
            Convert::Decimal { precision: precision.unwrap_or(u32::MAX), scale: *scale }
        }
        Kind::Text { characters_max, .. } => {
            Convert::Text { characters_max: characters_max.unwrap_or(u64::MAX), strip }
        }
        Kind::Xml => Convert::Text { characters_max: u64::MAX, strip },
        Kind::Other(name) if &**name == "hstore" => Convert::Hstore,
        Kind::Other(_) => Convert::Text { characters_max: u64::MAX, strip },
        Kind::Bytes { bytes_max, fixed } => {
            let bytes_max = bytes_max.unwrap_or(u64::MAX);
            let pad = *fixed
                && matches!(context.live.unwrap_or(source), Kind::Bytes { bytes_max: Some(n), fixed: true } if *n == bytes_max);
            Convert::Bytes { bytes_min: if *fixed { bytes_max } else { 0 }, bytes_max, pad }
        }
        Kind::Date => Convert::Date(moment::Days::between(context.source, context.target)),
        Kind::Time { precision } => Convert::Time(digits(*precision)),
        Kind::TimeTz { precision } => Convert::TimeTz(digits(*precision)),
        Kind::Timestamp { precision } => {
            Convert::Timestamp(digits(*precision), moment::Instants::wall_clock(context.target))
        }
        Kind::TimestampTz { precision } => {
            Convert::TimestampTz(digits(*precision), moment::Instants::zoned(context.target))
        }
        Kind::Duration { precision } => Convert::Duration(digits(*precision)),
        Kind::Interval => Convert::Interval,
        Kind::Year => Convert::Year,
        Kind::Uuid => Convert::Uuid,
        Kind::Json => Convert::Json {
            doubles: context.target == Engine::MySql && context.source != Engine::MySql,
            trusted: matches!(source, Kind::Json),
        },
        Kind::Bits { length, .. } => Convert::Bits { length: length.unwrap_or(u32::MAX) },
        Kind::Enum(labels) => Convert::Enum(labels.clone()),
        Kind::Set(labels) => Convert::Set(labels.clone()),
        Kind::Array(inner) => {
            let element = match source {
                Kind::Array(kind) => &**kind,
                Kind::Set(_) => &Kind::Text { characters_max: None, fixed: false },
                // Elements of a JSON array: each cell says what it is, so none is copied unseen.
                _ => &Kind::Json,
            };
            let live = match context.live {
                Some(Kind::Array(kind)) => Some(&**kind),
                _ => None,
            };
            Convert::Array(Box::new(plan(element, inner, &Context { live, ..*context }).convert))
        }
    }
}

impl Convert {
    /// Converts one cell. NULL and Unavailable stay what they are.
    ///
    /// # Errors
    /// [`Refused`] when the target could not hold exactly this value.
    #[inline]
    pub fn run(&self, cell: Cell, arena: &mut Arena, scratch: &mut Scratch) -> Result<Cell, Refused> {
        match (self, cell) {
            (Convert::Copy, _) | (_, Cell::Null | Cell::Unavailable) => Ok(cell),
            _ => self.change(cell, arena, scratch),
        }
    }

    fn change(&self, cell: Cell, arena: &mut Arena, scratch: &mut Scratch) -> Result<Cell, Refused> {
        match self {
            Convert::Copy => Ok(cell),
            Convert::Bool => number::to_bool(cell, arena),
            Convert::Wrapped(then) => match cell {
                Cell::I64(number) if number < 0 => then.run(Cell::U64(number as u64), arena, scratch),
                _ => then.run(cell, arena, scratch),
            },
            Convert::ZeroYear(then) => {
                then.run(if cell == Cell::I64(1900) { Cell::I64(0) } else { cell }, arena, scratch)
            }
            Convert::NoZeroDate(_) if cell == Cell::TimestampTz(0) => Err(Refused("the source has a zero date")),
            Convert::NoZeroDate(then) => then.run(cell, arena, scratch),
            Convert::Stripped(then) => {
                let stripped = text::to_text(cell, arena, scratch, u64::MAX, true)?;
                then.run(stripped, arena, scratch)
            }
            Convert::Int { min, max, unsigned } => {
                let number = number::to_int(cell, arena)?;
                if number < i128::from(*min) || number > i128::from(*max) {
                    return Err(Refused("the number is out of the target type's range"));
                }
                Ok(if *unsigned { Cell::U64(number as u64) } else { Cell::I64(number as i64) })
            }
            Convert::Float32 { finite } => number::to_f32(cell, arena, scratch, *finite),
            Convert::Float64 { finite } => number::to_f64(cell, arena, scratch, *finite),
            Convert::Decimal { precision, scale } => number::to_decimal(cell, arena, scratch, *precision, *scale),
            Convert::Text { characters_max, strip } => text::to_text(cell, arena, scratch, *characters_max, *strip),
            Convert::Bytes { bytes_min, bytes_max, pad } => {
                text::to_bytes(cell, arena, scratch, *bytes_min, *bytes_max, *pad)
            }
            Convert::Date(days) => moment::to_date(cell, arena, *days),
            Convert::Time(digits) => moment::to_time(cell, arena, *digits),
            Convert::TimeTz(digits) => moment::to_time_tz(cell, arena, *digits),
            Convert::Timestamp(digits, range) => {
                moment::to_microseconds(cell, arena, *digits, *range).map(Cell::Timestamp)
            }
            Convert::TimestampTz(digits, range) => {
                moment::to_microseconds(cell, arena, *digits, *range).map(Cell::TimestampTz)
            }
            Convert::Duration(digits) => span::to_duration(cell, arena, *digits),
            Convert::Interval => span::to_interval(cell, arena),
            Convert::Year => number::to_year(cell, arena),
            Convert::Uuid => text::to_uuid(cell, arena),
            Convert::Json { doubles, trusted } => json::to_json(cell, arena, scratch, *doubles, *trusted),
            Convert::Bits { length } => bits::to_bits(cell, arena, scratch, *length),
            Convert::Enum(labels) => list::to_enum(cell, arena, labels),
            Convert::Set(labels) => list::to_set(cell, arena, scratch, labels),
            Convert::Array(element) => list::to_array(cell, arena, scratch, element),
            Convert::Hstore => hstore::to_hstore(cell, arena, scratch),
        }
    }
}

/// For cells that make no sense for the target: a schema that changed under us, or a declaration that `check` refuses.
pub(super) const NO_WAY: Refused = Refused("no conversion from a value of this type");

#[cfg(test)]
mod samples;
#[cfg(test)]
mod tests;
