//! Values coming back in the binary protocol: rows of our own tables and of the catalogue as [`Value`]s, and users' rows in a form in
//! which they compare with the cells of a batch.

use sqlx::decode::Decode;
use sqlx::mysql::{MySql, MySqlRow};
use sqlx::{Row, Type, TypeInfo, ValueRef};
use topology::data::{Arena, Cell, Kind, Value, View, decimal, time};

use super::bind::{Form, bits};
use super::errors::classify;
use crate::sql::error::SqlResult;
use crate::sql::plan::PlanColumn;

/// The bytes of a column as they came, `None` for NULL and for zero dates.
fn raw(row: &MySqlRow, at: usize) -> SqlResult<Option<&[u8]>> {
    let failed = |error| classify("cannot read a value", "", error);
    let value = row.try_get_raw(at).map_err(failed)?;
    if value.is_null() {
        return Ok(None);
    }
    <&[u8] as Decode<'_, MySql>>::decode(value).map(Some).map_err(|error| failed(sqlx::Error::Decode(error)))
}

fn integer(bytes: &[u8], unsigned: bool) -> i128 {
    let fill = if !unsigned && bytes.last().is_some_and(|high| high & 0x80 != 0) { 0xff } else { 0 };
    let mut wide = [fill; 16];
    let length = bytes.len().min(16);
    wide[..length].copy_from_slice(&bytes[..length]);
    i128::from_le_bytes(wide)
}

/// A row of our own tables or of the catalogue.
pub(super) fn values(row: &MySqlRow) -> SqlResult<Vec<Value>> {
    (0..row.len())
        .map(|at| {
            let Some(bytes) = raw(row, at)? else { return Ok(Value::Null) };
            let value = row.try_get_raw(at).map_err(|error| classify("cannot read a value", "", error))?;
            let kind = value.type_info();
            let clamp = |number: i128| i64::try_from(number).unwrap_or(i64::MAX);
            Ok(if <i64 as Type<MySql>>::compatible(&kind) {
                Value::I64(clamp(integer(bytes, false)))
            } else if <u64 as Type<MySql>>::compatible(&kind) {
                Value::I64(clamp(integer(bytes, true)))
            } else if <[u8] as Type<MySql>>::compatible(&kind) && !<str as Type<MySql>>::compatible(&kind) {
                Value::Bytes(bytes.to_vec())
            } else if kind.name() == "DECIMAL" {
                let text = std::str::from_utf8(bytes).unwrap_or_default();
                text.parse().map_or_else(|_| Value::Text(text.to_owned()), Value::I64)
            } else {
                Value::Text(String::from_utf8_lossy(bytes).into_owned())
            })
        })
        .collect()
}

/// A cell in a form whose bytes are equal if and only if the column's values are.
pub(super) type Normal = Option<Vec<u8>>;

/// The normal form of a column that was read.
pub(super) fn normal_of_row(row: &MySqlRow, at: usize, column: &PlanColumn) -> SqlResult<Normal> {
    let Some(bytes) = raw(row, at)? else { return Ok(None) };
    Ok(Some(match Form::of(&column.kind) {
        Form::Signed => integer(bytes, matches!(column.kind, Kind::Year)).to_le_bytes().to_vec(),
        Form::Unsigned => integer(bytes, true).to_le_bytes().to_vec(),
        Form::Single => single(bytes.try_into().map_or(f32::NAN, f32::from_le_bytes)),
        Form::Double => double(bytes.try_into().map_or(f64::NAN, f64::from_le_bytes)),
        Form::Decimal { .. } => {
            let parsed = std::str::from_utf8(bytes).ok().and_then(decimal::parse);
            parsed.map_or_else(|| bytes.to_vec(), |(unscaled, scale)| number(&unscaled, scale))
        }
        Form::Bits => bytes.iter().fold(0_u64, |n, byte| (n << 8) | u64::from(*byte)).to_le_bytes().to_vec(),
        Form::Date | Form::DateTime { .. } => instant(bytes).to_le_bytes().to_vec(),
        Form::Time { .. } => duration(bytes).to_le_bytes().to_vec(),
        Form::Text { .. } | Form::Bytes { .. } => text(bytes, &column.kind),
    }))
}

/// The normal form of a cell of a batch, as it would be read back. Unavailable cells compare like NULL: nobody asks for them.
pub(super) fn normal_of_cell(arena: &Arena, cell: Cell, column: &PlanColumn) -> Normal {
    let uuid;
    let written;
    Some(match (arena.view(cell), Form::of(&column.kind)) {
        (View::Null | View::Unavailable, _) => return None,
        (View::I64(v), Form::Signed | Form::Unsigned) => i128::from(v).to_le_bytes().to_vec(),
        (View::U64(v), Form::Signed | Form::Unsigned) => i128::from(v).to_le_bytes().to_vec(),
        (View::Bool(v), Form::Signed | Form::Unsigned) => i128::from(v).to_le_bytes().to_vec(),
        (View::Decimal { unscaled, scale }, Form::Signed | Form::Unsigned) => {
            let text = decimal::to_text(unscaled, scale);
            let whole = text.split('.').next().and_then(|whole| whole.parse::<i128>().ok());
            whole.map_or_else(|| text.clone().into_bytes(), |whole| whole.to_le_bytes().to_vec())
        }
        #[allow(clippy::cast_possible_truncation)] // the binder refuses what does not fit
        (View::F64(v), Form::Single) => single(v as f32),
        (View::F32(v), Form::Single) => single(v),
        (View::F64(v), Form::Double) => double(v),
        (View::F32(v), Form::Double) => double(f64::from(v)),
        (View::Decimal { unscaled, scale }, Form::Decimal { .. }) => number(unscaled, scale),
        (View::I64(v), Form::Decimal { .. }) => number(&v.to_be_bytes(), 0),
        (View::U64(v), Form::Decimal { .. }) => number(&i128::from(v).to_be_bytes(), 0),
        (View::Bits(v), Form::Bits) => bits(v).unwrap_or(u64::MAX).to_le_bytes().to_vec(),
        (View::Bool(v), Form::Bits) => u64::from(v).to_le_bytes().to_vec(),
        (View::U64(v), Form::Bits) => v.to_le_bytes().to_vec(),
        (View::I64(v), Form::Bits) => v.to_le_bytes().to_vec(),
        (View::Date(v), Form::Date) => (i64::from(v) * time::DAY_MICROSECONDS).to_le_bytes().to_vec(),
        (View::Timestamp(v) | View::TimestampTz(v), Form::DateTime { .. }) => v.to_le_bytes().to_vec(),
        (View::Time(v) | View::Duration(v), Form::Time { .. }) => v.to_le_bytes().to_vec(),
        (View::Text(v) | View::Json(v), _) => text(v.as_bytes(), &column.kind),
        (View::Bytes(v), _) => text(v, &column.kind),
        (View::Uuid(v), Form::Bytes { .. }) => {
            uuid = v;
            text(&uuid, &column.kind)
        }
        (View::Uuid(v), _) => {
            written = super::wire::uuid_text(&v);
            text(&written, &column.kind)
        }
        (View::I64(v), _) => v.to_string().into_bytes(),
        (View::U64(v), _) => v.to_string().into_bytes(),
        // No exact form: the binder refuses it when it comes to be written.
        _ => return None,
    })
}

fn single(value: f32) -> Vec<u8> {
    (value + 0.0).to_le_bytes().to_vec() // −0 is 0
}

fn double(value: f64) -> Vec<u8> {
    (value + 0.0).to_le_bytes().to_vec()
}

/// Decimal text without trailing zeros of the fraction.
fn number(unscaled: &[u8], scale: i16) -> Vec<u8> {
    let mut out = Vec::with_capacity(40);
    decimal::format(unscaled, scale, &mut out);
    if out.contains(&b'.') {
        while out.last() == Some(&b'0') {
            out.pop();
        }
        if out.last() == Some(&b'.') {
            out.pop();
        }
    }
    if out == b"-0" { b"0".to_vec() } else { out }
}

fn text(bytes: &[u8], kind: &Kind) -> Vec<u8> {
    match kind {
        // What the engine itself does not keep.
        Kind::Text { fixed: true, .. } => trim(bytes, b' ').to_vec(),
        Kind::Bytes { fixed: true, .. } => trim(bytes, 0).to_vec(),
        Kind::Uuid => bytes.to_ascii_lowercase(),
        Kind::Json => serde_json::from_slice::<serde_json::Value>(bytes)
            .map_or_else(|_| bytes.to_vec(), |parsed| parsed.to_string().into_bytes()),
        _ => bytes.to_vec(),
    }
}

fn trim(bytes: &[u8], padding: u8) -> &[u8] {
    let length = bytes.iter().rposition(|byte| *byte != padding).map_or(0, |last| last + 1);
    &bytes[..length]
}

fn word<const N: usize>(bytes: &[u8], at: usize) -> u64 {
    let part = bytes.get(at..at + N).unwrap_or_default();
    part.iter().rev().fold(0, |number, byte| (number << 8) | u64::from(*byte))
}

/// Length byte, year, month, day, hours, minutes, seconds, microseconds; absent parts are zero.
fn instant(bytes: &[u8]) -> i64 {
    let month = word::<1>(bytes, 3) as u32;
    let day = word::<1>(bytes, 4) as u32;
    if month == 0 || day == 0 {
        return i64::MIN; // zero in date: equal to nothing that is written
    }
    let days = time::days_from_civil(word::<2>(bytes, 1).cast_signed(), month, day);
    let seconds = word::<1>(bytes, 5) * 3600 + word::<1>(bytes, 6) * 60 + word::<1>(bytes, 7);
    days * time::DAY_MICROSECONDS + (seconds * 1_000_000 + word::<4>(bytes, 8)).cast_signed()
}

/// Length byte, sign, days, hours, minutes, seconds, microseconds.
fn duration(bytes: &[u8]) -> i64 {
    let seconds =
        word::<4>(bytes, 2) * 86_400 + word::<1>(bytes, 6) * 3600 + word::<1>(bytes, 7) * 60 + word::<1>(bytes, 8);
    let magnitude = (seconds * 1_000_000 + word::<4>(bytes, 9)).cast_signed();
    if word::<1>(bytes, 1) == 1 { -magnitude } else { magnitude }
}
