//! One column of many rows as a PostgreSQL array, written straight into the driver's argument buffer: no allocation per cell.
//!
//! P6: what does not fit the column exactly is refused here, because the server would round it (numeric, timestamps) or cut blanks (text).

use std::cell::RefCell;

use sqlx::encode::{Encode, IsNull};
use sqlx::error::BoxDynError;
use sqlx::postgres::types::Oid;
use sqlx::postgres::{PgArgumentBuffer, PgTypeInfo, Postgres};
use topology::data::{Arena, Cell, CellRange, Kind, View, decimal};

use super::numeric;
use super::wire::{Wire, wire};
use crate::sql::plan::PlanColumn;
use crate::sql::text;

/// Microseconds from 1970 to 2000, PostgreSQL's epoch.
const EPOCH_MICROSECONDS: i64 = 946_684_800_000_000;
/// Days from 1970 to 2000.
const EPOCH_DAYS: i32 = 10_957;

thread_local! {
    /// Digits of the decimal being written.
    static DIGITS: RefCell<Vec<u8>> = const { RefCell::new(Vec::new()) };
}

/// Cell `cell` of each row, as an array parameter.
pub(super) struct ColumnArray<'a> {
    pub(super) arena: &'a Arena,
    pub(super) rows: &'a [CellRange],
    /// Index of the cell within each row.
    pub(super) cell: usize,
    pub(super) column: &'a PlanColumn,
    /// Take every second row, from this one; `None`: all. For pairs of old and new keys.
    pub(super) parity: Option<usize>,
}

impl sqlx::Type<Postgres> for ColumnArray<'_> {
    fn type_info() -> PgTypeInfo {
        PgTypeInfo::with_oid(Oid(Wire::Text.array()))
    }
}

impl<'q> Encode<'q, Postgres> for ColumnArray<'_> {
    fn produces(&self) -> Option<PgTypeInfo> {
        Some(PgTypeInfo::with_oid(Oid(wire(self.column).array())))
    }

    fn size_hint(&self) -> usize {
        20 + self.rows.len() * 12
    }

    fn encode_by_ref(&self, buffer: &mut PgArgumentBuffer) -> Result<IsNull, BoxDynError> {
        let out: &mut Vec<u8> = buffer;
        let wire = wire(self.column);
        let (first, step) = self.parity.map_or((0, 1), |parity| (parity, 2));
        let rows = self.rows.iter().skip(first).step_by(step);
        let count = i32::try_from(rows.len())?;
        out.extend_from_slice(&1i32.to_be_bytes());
        // "May hold NULL": a hint that the server does not check.
        out.extend_from_slice(&1i32.to_be_bytes());
        out.extend_from_slice(&wire.element().to_be_bytes());
        out.extend_from_slice(&count.to_be_bytes());
        out.extend_from_slice(&1i32.to_be_bytes());
        for row in rows {
            let cell = self.arena.row(*row)[self.cell];
            if cell.is_null() {
                out.extend_from_slice(&(-1i32).to_be_bytes());
                continue;
            }
            let start = out.len();
            out.extend_from_slice(&[0; 4]);
            write(self.arena, cell, self.column, wire, out)?;
            let length = i32::try_from(out.len() - start - 4)?;
            out[start..start + 4].copy_from_slice(&length.to_be_bytes());
        }
        Ok(IsNull::No)
    }
}

const RANGE: &str = "the number is out of the column's range";
const KIND: &str = "the value has another kind than the column";
const FRACTION: &str = "the column keeps fewer digits of a second";

fn write(arena: &Arena, cell: Cell, column: &PlanColumn, wire: Wire, out: &mut Vec<u8>) -> Result<(), &'static str> {
    let view = arena.view(cell);
    if matches!(view, View::Unavailable) {
        return Err("the value is unavailable");
    }
    match wire {
        Wire::Bool => match view {
            View::Bool(v) => out.push(u8::from(v)),
            View::I64(v @ (0 | 1)) => out.push(v as u8),
            _ => return Err(KIND),
        },
        Wire::Int2 => out.extend_from_slice(&i16::try_from(integer(&view)?).map_err(|_| RANGE)?.to_be_bytes()),
        Wire::Int4 => out.extend_from_slice(&i32::try_from(integer(&view)?).map_err(|_| RANGE)?.to_be_bytes()),
        Wire::Int8 => out.extend_from_slice(&i64::try_from(integer(&view)?).map_err(|_| RANGE)?.to_be_bytes()),
        Wire::Float4 => out.extend_from_slice(&float4(&view)?.to_be_bytes()),
        Wire::Float8 => out.extend_from_slice(&float8(&view)?.to_be_bytes()),
        Wire::Numeric => number(&view, column, out)?,
        Wire::Text => return textual(arena, cell, &view, column, out),
        Wire::Bytea => match view {
            View::Bytes(v) => out.extend_from_slice(v),
            View::Text(v) => out.extend_from_slice(v.as_bytes()),
            _ => return Err(KIND),
        },
        Wire::Date => match view {
            View::Date(v) => out.extend_from_slice(&v.checked_sub(EPOCH_DAYS).ok_or(RANGE)?.to_be_bytes()),
            _ => return Err(KIND),
        },
        Wire::Time => match view {
            View::Time(v) | View::Duration(v) if (0..=86_400_000_000).contains(&v) => {
                out.extend_from_slice(&whole(v, column)?.to_be_bytes());
            }
            View::Time(_) | View::Duration(_) => return Err("the time is not one of a day"),
            _ => return Err(KIND),
        },
        Wire::TimeTz => match view {
            View::TimeTz(v) => {
                out.extend_from_slice(&whole(v, column)?.to_be_bytes());
                out.extend_from_slice(&0i32.to_be_bytes());
            }
            _ => return Err(KIND),
        },
        Wire::Timestamp => match view {
            View::Timestamp(v) => out.extend_from_slice(&instant(v, column)?.to_be_bytes()),
            _ => return Err(KIND),
        },
        Wire::TimestampTz => match view {
            View::TimestampTz(v) => out.extend_from_slice(&instant(v, column)?.to_be_bytes()),
            _ => return Err(KIND),
        },
        Wire::Interval => {
            let (months, days, microseconds) = match view {
                View::Interval { months, days, microseconds } => (months, days, microseconds),
                View::Duration(microseconds) => (0, 0, microseconds),
                _ => return Err(KIND),
            };
            if !interval_fits(&column.native, months, days, microseconds) {
                return Err("the interval has finer parts than the column keeps");
            }
            out.extend_from_slice(&microseconds.to_be_bytes());
            out.extend_from_slice(&days.to_be_bytes());
            out.extend_from_slice(&months.to_be_bytes());
        }
        Wire::Uuid => match view {
            View::Uuid(v) => out.extend_from_slice(&v),
            _ => return Err(KIND),
        },
        Wire::Json | Wire::Jsonb => {
            let (View::Json(v) | View::Text(v)) = view else { return Err(KIND) };
            if wire == Wire::Jsonb {
                out.push(1);
            }
            out.extend_from_slice(v.as_bytes());
        }
        Wire::Varbit => bits(&view, column, out)?,
    }
    Ok(())
}

fn integer(view: &View<'_>) -> Result<i128, &'static str> {
    match view {
        View::I64(v) => Ok(i128::from(*v)),
        View::U64(v) => Ok(i128::from(*v)),
        View::Bool(v) => Ok(i128::from(*v)),
        View::Decimal { unscaled, scale: 0 } => decimal::to_i128(unscaled).ok_or(RANGE),
        _ => Err(KIND),
    }
}

fn float4(view: &View<'_>) -> Result<f32, &'static str> {
    match view {
        View::F32(v) => Ok(*v),
        View::F64(v) if v.is_nan() || f64::from(*v as f32) == *v => Ok(*v as f32),
        View::F64(_) => Err("the number does not fit single precision exactly"),
        View::I64(v) if *v as f32 as i128 == i128::from(*v) => Ok(*v as f32),
        _ => Err(KIND),
    }
}

fn float8(view: &View<'_>) -> Result<f64, &'static str> {
    match view {
        View::F64(v) => Ok(*v),
        View::F32(v) => Ok(f64::from(*v)),
        View::I64(v) if *v as f64 as i128 == i128::from(*v) => Ok(*v as f64),
        _ => Err(KIND),
    }
}

fn number(view: &View<'_>, column: &PlanColumn, out: &mut Vec<u8>) -> Result<(), &'static str> {
    let mut wide = [0u8; 16];
    let (unscaled, scale): (&[u8], i16) = match view {
        View::Decimal { unscaled, scale } => (unscaled, *scale),
        other => {
            wide = integer(other)?.to_be_bytes();
            (&wide, 0)
        }
    };
    let _ = wide;
    DIGITS.with_borrow_mut(|digits| {
        if !numeric::write(unscaled, scale, digits, out) {
            return Err(RANGE);
        }
        if let Kind::Decimal { scale: Some(kept), .. } = column.kind
            && let Ok(more @ 1..) = usize::try_from(i32::from(scale) - kept)
            && digits.iter().rev().take(more).any(|digit| *digit != b'0')
        {
            return Err("the column keeps fewer digits after the point");
        }
        Ok(())
    })
}

/// Refuses a fraction of a second that the column would round.
fn whole(microseconds: i64, column: &PlanColumn) -> Result<i64, &'static str> {
    let (Kind::Time { precision }
    | Kind::TimeTz { precision }
    | Kind::Timestamp { precision }
    | Kind::TimestampTz { precision }) = column.kind
    else {
        return Ok(microseconds);
    };
    let unit = 10i64.pow(6 - u32::from(precision.min(6)));
    if microseconds % unit == 0 { Ok(microseconds) } else { Err(FRACTION) }
}

/// False where the server would round or drop a part: `interval(p)` and `interval day to hour` keep less than an interval has.
fn interval_fits(native: &str, months: i32, days: i32, microseconds: i64) -> bool {
    let Some(restriction) = native.strip_prefix("interval").filter(|rest| !rest.is_empty()) else { return true };
    let (fields, digits) = match restriction.split_once('(') {
        Some((fields, digits)) => (fields, digits.trim_end_matches(')').parse::<u32>().unwrap_or(6).min(6)),
        None => (restriction, 6),
    };
    match fields.trim().rsplit(' ').next() {
        Some("year") => months % 12 == 0 && days == 0 && microseconds == 0,
        Some("month") => days == 0 && microseconds == 0,
        Some("day") => microseconds == 0,
        Some("hour") => microseconds % 3_600_000_000 == 0,
        Some("minute") => microseconds % 60_000_000 == 0,
        _ => microseconds % 10_i64.pow(6 - digits) == 0,
    }
}

/// Extremes stand for infinity on both sides.
fn instant(microseconds: i64, column: &PlanColumn) -> Result<i64, &'static str> {
    match microseconds {
        i64::MIN | i64::MAX => Ok(microseconds),
        _ => {
            whole(microseconds, column)?.checked_sub(EPOCH_MICROSECONDS).ok_or("the time is out of the column's range")
        }
    }
}

/// Little-endian bytes to a bit string, first bit highest.
fn bits(view: &View<'_>, column: &PlanColumn, out: &mut Vec<u8>) -> Result<(), &'static str> {
    let one = [1u8];
    let bytes: &[u8] = match view {
        View::Bits(v) | View::Bytes(v) => v,
        View::Bool(true) => &one,
        View::Bool(false) => &[0],
        _ => return Err(KIND),
    };
    let length = bit_count(&column.kind, bytes)?;
    out.extend_from_slice(&i32::try_from(length).map_err(|_| RANGE)?.to_be_bytes());
    let start = out.len();
    out.resize(start + length.div_ceil(8), 0);
    for position in 0..length {
        if bit(bytes, length - 1 - position) {
            out[start + position / 8] |= 0x80 >> (position % 8);
        }
    }
    Ok(())
}

/// How many of the bits the type keeps. Refuses what is longer: a cast would cut it (P6).
fn bit_count(kind: &Kind, bytes: &[u8]) -> Result<usize, &'static str> {
    let length = match *kind {
        Kind::Bits { length: Some(length), varying: false } => length as usize,
        Kind::Bits { length: Some(length), varying: true } => (bytes.len() * 8).min(length as usize),
        _ => bytes.len() * 8,
    };
    if (length..bytes.len() * 8).any(|at| bit(bytes, at)) {
        return Err("the bit string is longer than the column");
    }
    Ok(length)
}

/// The bit of that weight in little-endian bytes.
fn bit(bytes: &[u8], at: usize) -> bool {
    bytes.get(at / 8).is_some_and(|byte| byte >> (at % 8) & 1 == 1)
}

fn textual(
    arena: &Arena,
    cell: Cell,
    view: &View<'_>,
    column: &PlanColumn,
    out: &mut Vec<u8>,
) -> Result<(), &'static str> {
    match view {
        View::Array(cells) => {
            let element = if let Kind::Array(element) = &column.kind { element } else { &column.kind };
            return array_literal(arena, cells, element, out);
        }
        View::Text(v) => {
            let is_longer = match &column.kind {
                // `name` is limited in bytes, and cuts what is longer.
                Kind::Text { characters_max: Some(limit), .. } => {
                    v.len() as u64 > *limit && (&*column.native == "name" || v.chars().count() as u64 > *limit)
                }
                // So is `"char"`, to one.
                Kind::Other(name) => v.len() > 1 && &**name == "\"char\"",
                _ => false,
            };
            if is_longer {
                return Err("the text is longer than the column");
            }
            out.extend_from_slice(v.as_bytes());
        }
        _ => {
            text::write(arena, cell, out);
        }
    }
    Ok(())
}

/// `{"a",NULL,{…}}`: every element quoted, so that nothing in it means anything.
fn array_literal(arena: &Arena, cells: &[Cell], kind: &Kind, out: &mut Vec<u8>) -> Result<(), &'static str> {
    out.push(b'{');
    let mut element = Vec::new();
    for (at, cell) in cells.iter().enumerate() {
        if at > 0 {
            out.push(b',');
        }
        match arena.view(*cell) {
            View::Array(inner) => array_literal(arena, inner, kind, out)?,
            View::Bits(bytes) => {
                let length = bit_count(kind, bytes)?;
                out.push(b'"');
                out.extend((0..length).rev().map(|at| b'0' + u8::from(bit(bytes, at))));
                out.push(b'"');
            }
            _ => {
                element.clear();
                if !text::write(arena, *cell, &mut element) {
                    out.extend_from_slice(b"NULL");
                    continue;
                }
                out.push(b'"');
                for byte in &element {
                    if matches!(byte, b'"' | b'\\') {
                        out.push(b'\\');
                    }
                    out.push(*byte);
                }
                out.push(b'"');
            }
        }
    }
    out.push(b'}');
    Ok(())
}

#[cfg(test)]
mod tests {
    use topology::data::Value;

    use super::*;

    /// P6: PostgreSQL rounds and drops what such a column does not keep, without an error.
    #[test]
    fn intervals_that_the_server_would_round_are_refused() {
        for (native, months, days, microseconds, fits) in [
            ("interval", 13, 2, 1, true),
            ("interval(3)", 1, 1, 600_000, true),
            ("interval(3)", 0, 0, 1, false),
            ("interval(0)", 0, 0, 2_000_000, true),
            ("interval(0)", 0, 0, 600_000, false),
            ("interval year", 24, 0, 0, true),
            ("interval year", 13, 0, 0, false),
            ("interval year to month", 13, 0, 0, true),
            ("interval year to month", 1, 1, 0, false),
            ("interval month", 1, 0, 1, false),
            ("interval day", 1, 2, 0, true),
            ("interval day", 0, 1, 1, false),
            ("interval day to hour", 0, 1, 7_200_000_000, true),
            ("interval day to hour", 0, 0, 60_000_000, false),
            ("interval hour to minute", 0, 0, -120_000_000, true),
            ("interval hour to minute", 0, 0, 1_000_000, false),
            ("interval day to second(2)", 0, 1, 10_000, true),
            ("interval day to second(2)", 0, 0, 1_000, false),
        ] {
            assert_eq!(
                interval_fits(native, months, days, microseconds),
                fits,
                "{native} {months} {days} {microseconds}"
            );
        }
    }

    /// P6: both are limited in bytes, and the server cuts what is longer without an error.
    #[test]
    fn texts_that_the_server_would_cut_are_refused() {
        let fits = |native: &str, kind: Kind, text: &str| written(native, kind, &text.into()).is_ok();
        let name = Kind::Text { characters_max: Some(63), fixed: false };
        assert!(fits("name", name.clone(), &"x".repeat(63)));
        assert!(!fits("name", name.clone(), &"é".repeat(40)), "80 bytes");
        assert!(fits("character varying(63)", name, &"é".repeat(40)));
        let char = || Kind::Other("\"char\"".into());
        assert!(fits("\"char\"", char(), "a"));
        assert!(!fits("\"char\"", char(), "abc"));
        assert!(fits("tsvector", Kind::Other("tsvector".into()), "abc"));
    }

    /// P6: the statement's cast cuts bits on the right, and fills up there.
    #[test]
    fn bits_in_arrays_are_as_many_as_the_element_type_has() {
        let array = |varying, bits: &[Vec<u8>]| {
            let element = Kind::Bits { length: Some(12), varying };
            let items = bits.iter().map(|bytes| Value::Bits(bytes.clone())).chain([Value::Null]).collect();
            written("bit(12)[]", Kind::Array(Box::new(element)), &Value::Array(items))
        };
        assert_eq!(array(false, &[vec![0x05, 0x08], vec![0x05]]).unwrap(), "{\"100000000101\",\"000000000101\",NULL}");
        assert_eq!(array(true, &[vec![0x05, 0x08], vec![0x05]]).unwrap(), "{\"100000000101\",\"00000101\",NULL}");
        for varying in [false, true] {
            assert_eq!(array(varying, &[vec![0, 0x10]]), Err("the bit string is longer than the column"));
        }
    }

    fn written(native: &str, kind: Kind, value: &Value) -> Result<String, &'static str> {
        let column = PlanColumn {
            name: "c".into(),
            kind,
            native: native.into(),
            generated: topology::table::Generated::Never,
            equates: false,
        };
        let mut arena = Arena::default();
        let cell = arena.push_value(value);
        let mut out = Vec::new();
        textual(&arena, cell, &arena.view(cell), &column, &mut out)?;
        Ok(String::from_utf8(out).unwrap())
    }
}
