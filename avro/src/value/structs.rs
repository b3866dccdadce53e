//! Records that stand for one value: VariableScaleDecimal, geometry, and the structured times of newer Debezium versions.
//!
//! A walker collects the named fields into slots and asks [`StructMeaning::cell`]; unknown fields are skipped, so that a newer
//! version may add some.

use std::io::Write;

use topology::data::{Arena, Cell, DecimalCell, Kind, time};

use super::cell::{decimal_of, time_of_day};
use super::{Primitive, text::rescale};
use crate::fault::Fault;

/// Most slots that any struct below has.
pub(crate) const STRUCT_FIELDS_MAX: usize = 11;

/// Which structured value.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum StructMeaning {
    VariableScaleDecimal,
    Geometry,
    Geography,
    Point,
    Line,
    Date,
    Time,
    Timestamp,
    ZonedTime,
    ZonedTimestamp,
    Duration,
}

const CLOCK: [&str; 4] = ["hour", "minute", "second", "nanos"];
const MOMENT: [&str; 8] = ["year", "month", "day", "hour", "minute", "second", "nanos", "specialValue"];

impl StructMeaning {
    /// By the Connect schema name.
    pub(crate) fn of(name: &str) -> Option<StructMeaning> {
        Some(match name {
            "io.debezium.data.VariableScaleDecimal" => StructMeaning::VariableScaleDecimal,
            "io.debezium.data.geometry.Geometry" => StructMeaning::Geometry,
            "io.debezium.data.geometry.Geography" => StructMeaning::Geography,
            "io.debezium.data.geometry.Point" => StructMeaning::Point,
            "io.debezium.data.geometry.Line" => StructMeaning::Line,
            "io.debezium.time.StructuredDate" => StructMeaning::Date,
            "io.debezium.time.StructuredTime" => StructMeaning::Time,
            "io.debezium.time.StructuredTimestamp" => StructMeaning::Timestamp,
            "io.debezium.time.StructuredZonedTime" => StructMeaning::ZonedTime,
            "io.debezium.time.StructuredZonedTimestamp" => StructMeaning::ZonedTimestamp,
            "io.debezium.time.StructuredDuration" => StructMeaning::Duration,
            _ => return None,
        })
    }

    /// Kind of the cells.
    pub(crate) fn kind(self) -> Kind {
        match self {
            StructMeaning::VariableScaleDecimal => Kind::Decimal { precision: None, scale: None },
            StructMeaning::Geometry => Kind::Other("geometry".into()),
            StructMeaning::Geography => Kind::Other("geography".into()),
            StructMeaning::Point => Kind::Other("point".into()),
            StructMeaning::Line => Kind::Other("line".into()),
            StructMeaning::Date => Kind::Date,
            StructMeaning::Time => Kind::Duration { precision: 6 },
            StructMeaning::Timestamp => Kind::Timestamp { precision: 6 },
            StructMeaning::ZonedTime => Kind::TimeTz { precision: 6 },
            StructMeaning::ZonedTimestamp => Kind::TimestampTz { precision: 6 },
            StructMeaning::Duration => Kind::Interval,
        }
    }

    /// Names of the fields, in slot order.
    pub(crate) fn fields(self) -> &'static [&'static str] {
        match self {
            StructMeaning::VariableScaleDecimal => &["scale", "value"],
            StructMeaning::Geometry | StructMeaning::Geography => &["wkb", "srid"],
            StructMeaning::Point => &["x", "y", "srid"],
            StructMeaning::Line => &["a", "b", "c"],
            StructMeaning::Date => &["year", "month", "day", "specialValue"],
            StructMeaning::Time => &CLOCK,
            StructMeaning::Timestamp => &MOMENT,
            StructMeaning::ZonedTime => &["hour", "minute", "second", "nanos", "offsetSeconds"],
            StructMeaning::ZonedTimestamp => {
                &["year", "month", "day", "hour", "minute", "second", "nanos", "specialValue", "offsetSeconds"]
            }
            StructMeaning::Duration => &["years", "months", "days", "hours", "minutes", "seconds", "nanos"],
        }
    }

    /// The cell of the collected fields; absent ones are [`Primitive::Null`].
    pub(crate) fn cell(self, slots: &[Primitive<'_>], arena: &mut Arena) -> Result<Cell, Fault> {
        let slot = |at: usize| slots.get(at).copied().unwrap_or(Primitive::Null);
        let integer = |at: usize| match slot(at) {
            Primitive::Int(value) => Ok(value),
            _ => Err(Fault::StructField),
        };
        // The parts of a time that a coarser precision leaves out are zero.
        let or_zero = |at: usize| if slot(at) == Primitive::Null { Ok(0) } else { integer(at) };
        let number = |at: usize| match slot(at) {
            Primitive::Double(value) if value.is_finite() => Ok(value),
            Primitive::Double(_) => Err(Fault::NotANumber),
            _ => Err(Fault::StructField),
        };
        let ordinary = |at: usize| match slot(at) {
            Primitive::Null | Primitive::Text("", _) => Ok(()),
            _ => Err(Fault::SpecialValue),
        };
        let date = || civil(integer(0)?, integer(1)?, integer(2)?);
        let clock = |at: usize| clock(or_zero(at)?, or_zero(at + 1)?, or_zero(at + 2)?, or_zero(at + 3)?);
        let moment = || -> Result<i64, Fault> {
            ordinary(7)?;
            date()?
                .checked_mul(time::DAY_MICROSECONDS)
                .and_then(|day| day.checked_add(clock(3).ok()?))
                .ok_or(Fault::IntegerRange)
        };
        match self {
            StructMeaning::VariableScaleDecimal => {
                let scale = i16::try_from(integer(0)?).map_err(|_| Fault::IntegerRange)?;
                let Primitive::Bytes(bytes, span) = slot(1) else { return Err(Fault::StructField) };
                decimal_of(bytes, span, scale)
            }
            StructMeaning::Geometry | StructMeaning::Geography => {
                let Primitive::Bytes(bytes, _) = slot(0) else { return Err(Fault::StructField) };
                let srid = or_zero(1)?;
                Ok(Cell::Text(arena.write_bytes(|out| write_geometry(bytes, srid, out))))
            }
            StructMeaning::Point => {
                if or_zero(2)? != 0 {
                    return Err(Fault::Srid);
                }
                let (x, y) = (number(0)?, number(1)?);
                Ok(write_text(arena, format_args!("({x},{y})")))
            }
            StructMeaning::Line => {
                let (a, b, c) = (number(0)?, number(1)?, number(2)?);
                Ok(write_text(arena, format_args!("{{{a},{b},{c}}}")))
            }
            StructMeaning::Date => {
                ordinary(3)?;
                Ok(Cell::Date(i32::try_from(date()?).map_err(|_| Fault::IntegerRange)?))
            }
            StructMeaning::Time => Ok(Cell::Duration(clock(0)?)),
            StructMeaning::Timestamp => Ok(Cell::Timestamp(moment()?)),
            StructMeaning::ZonedTime => {
                let local = time_of_day(clock(0)?)?;
                let offset = integer(4)?.checked_mul(1_000_000).ok_or(Fault::IntegerRange)?;
                if offset == 0 {
                    return Ok(Cell::TimeTz(local));
                }
                let utc = local.checked_sub(offset).ok_or(Fault::IntegerRange)?;
                Ok(Cell::TimeTz(utc.rem_euclid(time::DAY_MICROSECONDS)))
            }
            StructMeaning::ZonedTimestamp => {
                let offset = or_zero(8)?.checked_mul(1_000_000).ok_or(Fault::IntegerRange)?;
                Ok(Cell::TimestampTz(moment()?.checked_sub(offset).ok_or(Fault::IntegerRange)?))
            }
            StructMeaning::Duration => {
                let narrow = |value: i64| i32::try_from(value).map_err(|_| Fault::IntegerRange);
                let months = or_zero(0)?.checked_mul(12).and_then(|m| m.checked_add(or_zero(1).ok()?));
                let microseconds = span(or_zero(3)?, or_zero(4)?, or_zero(5)?, or_zero(6)?)?;
                Ok(arena.push_interval(narrow(months.ok_or(Fault::IntegerRange)?)?, narrow(or_zero(2)?)?, microseconds))
            }
        }
    }
}

fn civil(year: i64, month: i64, day: i64) -> Result<i64, Fault> {
    let (month, day) = (u32::try_from(month).unwrap_or(0), u32::try_from(day).unwrap_or(0));
    if !(-9_999_999..=9_999_999).contains(&year) || !(1..=12).contains(&month) || !(1..=31).contains(&day) {
        return Err(Fault::DateText);
    }
    let days = time::days_from_civil(year, month, day);
    if time::civil_from_days(days) == (year, month, day) { Ok(days) } else { Err(Fault::DateText) }
}

fn clock(hour: i64, minute: i64, second: i64, nanos: i64) -> Result<i64, Fault> {
    span(hour, minute, second, nanos)
}

fn span(hours: i64, minutes: i64, seconds: i64, nanos: i64) -> Result<i64, Fault> {
    if nanos % 1_000 != 0 {
        return Err(Fault::Nanoseconds);
    }
    let total = i128::from(hours) * 3_600_000_000
        + i128::from(minutes) * 60_000_000
        + i128::from(seconds) * 1_000_000
        + i128::from(nanos / 1_000);
    i64::try_from(total).map_err(|_| Fault::IntegerRange)
}

/// `[SRID=n;]` and the well-known binary in hexadecimal: the form that PostGIS reads.
fn write_geometry(bytes: &[u8], srid: i64, out: &mut Vec<u8>) {
    const DIGITS: &[u8; 16] = b"0123456789ABCDEF";
    if srid != 0 {
        write!(out, "SRID={srid};").expect("writing to memory cannot fail");
    }
    for byte in bytes {
        out.push(DIGITS[usize::from(byte >> 4)]);
        out.push(DIGITS[usize::from(byte & 15)]);
    }
}

fn write_text(arena: &mut Arena, arguments: std::fmt::Arguments<'_>) -> Cell {
    Cell::Text(arena.write_bytes(|out| out.write_fmt(arguments).expect("writing to memory cannot fail")))
}

/// Rescales to `scale` and stores the number.
pub(crate) fn push_decimal(unscaled: &[u8], from: i16, scale: Option<i16>, arena: &mut Arena) -> Result<Cell, Fault> {
    let to = scale.unwrap_or(from);
    let bytes = rescale(unscaled, from, to).ok_or(Fault::DecimalScale)?;
    Ok(Cell::Decimal(DecimalCell { unscaled: arena.push_bytes(&bytes), scale: to }))
}
