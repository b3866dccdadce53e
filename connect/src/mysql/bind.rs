//! Cells as parameters of MySQL's binary protocol, straight from the batch's arena: no allocation per cell.
//!
//! The type that is sent depends on the column alone, never on the cell: servers prepare a statement anew when a parameter's type
//! changes. A cell that the column can't hold exactly is refused here, before the server would round or cut it without a word
//! (P6): fractions of decimals and seconds, trailing spaces, −1 in an UNSIGNED, NULL for an AUTO_INCREMENT.

use std::fmt;

use sqlx::encode::{Encode, IsNull};
use sqlx::error::BoxDynError;
use sqlx::mysql::{MySql, MySqlConnection, MySqlTypeInfo};
use sqlx::{Column as _, Executor as _, SqlSafeStr as _, Statement as _, Type};
use topology::ErrorKind;
use topology::data::{Arena, Cell, Kind, View, decimal, time};

use super::wire::{put_bytes, put_number, put_time, uuid_text};
use crate::sql::plan::PlanColumn;

/// A cell was refused. Holds the column and the reason, never the value.
#[derive(Debug)]
pub(crate) struct BindError {
    /// `Data`, or `Bug` for what the lens should have turned into something else.
    pub(crate) kind: ErrorKind,
    column: Box<str>,
    reason: &'static str,
}

impl fmt::Display for BindError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "column {:?}: {}", self.column, self.reason)
    }
}

impl std::error::Error for BindError {}

/// Type numbers that sqlx keeps to itself, learned from a prepared statement of the server's own.
#[derive(Clone, Debug)]
pub(crate) struct TemporalTypes {
    date: MySqlTypeInfo,
    datetime: MySqlTypeInfo,
}

impl TemporalTypes {
    /// Asks the server once per connection.
    pub(crate) async fn learn(connection: &mut MySqlConnection) -> Result<TemporalTypes, sqlx::Error> {
        let sql = "SELECT CAST(NULL AS DATE), CAST(NULL AS DATETIME(6))";
        let statement = connection.prepare(sql.into_sql_str()).await?;
        match statement.columns() {
            [date, datetime] => {
                Ok(TemporalTypes { date: date.type_info().clone(), datetime: datetime.type_info().clone() })
            }
            _ => Err(sqlx::Error::Protocol("two columns were asked for".into())),
        }
    }
}

/// How cells of a column travel.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Form {
    /// Signed 64 bits; the server checks narrower columns.
    Signed,
    /// Unsigned 64 bits.
    Unsigned,
    /// IEEE single.
    Single,
    /// IEEE double.
    Double,
    /// Text of a number with at most `scale` digits after the point.
    Decimal { scale: Option<i32> },
    /// UTF-8, at most so many characters.
    Text { characters_max: Option<u64> },
    /// Raw bytes, at most so many.
    Bytes { bytes_max: Option<u64> },
    /// BIT(n), as an unsigned number.
    Bits,
    /// DATE.
    Date,
    /// DATETIME or TIMESTAMP with so many digits of fraction.
    DateTime { precision: u8 },
    /// TIME with so many digits of fraction, as text: MySQL refuses binary ones of 838 hours and a fraction, which the column can hold.
    Time { precision: u8 },
}

impl Form {
    /// The form of a column of this kind.
    pub(crate) fn of(kind: &Kind) -> Form {
        match kind {
            Kind::Bool | Kind::Year | Kind::Int { unsigned: false, .. } => Form::Signed,
            Kind::Int { unsigned: true, .. } => Form::Unsigned,
            Kind::Float32 => Form::Single,
            Kind::Float64 => Form::Double,
            Kind::Decimal { scale, .. } => Form::Decimal { scale: *scale },
            Kind::Bytes { bytes_max, .. } => Form::Bytes { bytes_max: *bytes_max },
            Kind::Bits { .. } => Form::Bits,
            Kind::Date => Form::Date,
            Kind::Timestamp { precision } | Kind::TimestampTz { precision } => Form::DateTime { precision: *precision },
            Kind::Time { precision } | Kind::Duration { precision } | Kind::TimeTz { precision } => {
                Form::Time { precision: *precision }
            }
            Kind::Text { characters_max, .. } => Form::Text { characters_max: *characters_max },
            Kind::Uuid
            | Kind::Json
            | Kind::Xml
            | Kind::Interval
            | Kind::Enum(_)
            | Kind::Set(_)
            | Kind::Array(_)
            | Kind::Other(_) => Form::Text { characters_max: None },
        }
    }
}

/// What binding a column needs to know; made once per connection and column.
#[derive(Clone, Debug)]
pub(crate) struct ColumnForm {
    pub(crate) form: Form,
    name: Box<str>,
    nullable: bool,
    type_info: MySqlTypeInfo,
    /// Types that are limited in bytes, whatever characters those make: what is longer is an error, except blanks at its end, which the server cuts.
    text_bytes_max: usize,
    /// `FLOAT(m, d)`, `DOUBLE(m, d)`: the server rounds to so many digits after the point.
    float_digits: Option<i32>,
}

impl ColumnForm {
    /// For a written column.
    pub(crate) fn new(column: &PlanColumn, nullable: bool, types: &TemporalTypes) -> ColumnForm {
        let form = Form::of(&column.kind);
        let type_info = match form {
            Form::Signed => <i64 as Type<MySql>>::type_info(),
            Form::Unsigned | Form::Bits => <u64 as Type<MySql>>::type_info(),
            Form::Single => <f32 as Type<MySql>>::type_info(),
            Form::Double => <f64 as Type<MySql>>::type_info(),
            Form::Decimal { .. } | Form::Text { .. } | Form::Time { .. } => <str as Type<MySql>>::type_info(),
            Form::Bytes { .. } => <[u8] as Type<MySql>>::type_info(),
            Form::Date => types.date.clone(),
            Form::DateTime { .. } => types.datetime.clone(),
        };
        let text_bytes_max = match column.native.split(['(', ' ']).next() {
            Some("tinytext") => 255,
            Some("text") => 65_535,
            Some("mediumtext") => 16_777_215,
            _ => usize::MAX,
        };
        let digits = || column.native.split_once(',')?.1.split(')').next()?.trim().parse().ok();
        let float_digits = matches!(form, Form::Single | Form::Double).then(digits).flatten();
        ColumnForm { form, name: column.name.as_ref().into(), nullable, type_info, text_bytes_max, float_digits }
    }

    fn refuse(&self, reason: &'static str) -> BoxDynError {
        Box::new(BindError { kind: ErrorKind::Data, column: self.name.clone(), reason })
    }

    fn mismatch(&self) -> BoxDynError {
        self.refuse("the value has another type than the column and no exact form in it; map it in the lens")
    }
}

/// One cell on its way into a statement.
#[derive(Clone, Copy)]
pub(crate) struct BoundCell<'a> {
    pub(crate) arena: &'a Arena,
    pub(crate) cell: Cell,
    pub(crate) column: &'a ColumnForm,
}

impl Type<MySql> for BoundCell<'_> {
    fn type_info() -> MySqlTypeInfo {
        // `produces` always says better.
        <[u8] as Type<MySql>>::type_info()
    }
}

impl Encode<'_, MySql> for BoundCell<'_> {
    fn encode_by_ref(&self, out: &mut Vec<u8>) -> Result<IsNull, BoxDynError> {
        encode(self.arena.view(self.cell), self.column, out)
    }

    fn produces(&self) -> Option<MySqlTypeInfo> {
        Some(self.column.type_info.clone())
    }
}

fn encode(view: View<'_>, column: &ColumnForm, out: &mut Vec<u8>) -> Result<IsNull, BoxDynError> {
    match view {
        View::Null if column.nullable => return Ok(IsNull::Yes),
        // The server would allot a number or take the time of day where the column has AUTO_INCREMENT or an implicit default.
        View::Null => return Err(column.refuse("NULL, but the column is NOT NULL")),
        View::Unavailable => {
            return Err(Box::new(BindError {
                kind: ErrorKind::Bug,
                column: column.name.clone(),
                reason: "an unavailable value came to be written (BAT-3)",
            }));
        }
        _ => {}
    }
    match column.form {
        Form::Signed => {
            let number = match view {
                View::I64(v) => v,
                View::Bool(v) => i64::from(v),
                View::U64(v) => i64::try_from(v).map_err(|_| column.refuse("out of range"))?,
                View::Decimal { unscaled, scale } => whole(unscaled, scale)
                    .and_then(|v| i64::try_from(v).ok())
                    .ok_or_else(|| column.refuse("not a whole number in range"))?,
                _ => return Err(column.mismatch()),
            };
            out.extend_from_slice(&number.to_le_bytes());
        }
        Form::Unsigned => {
            let number = match view {
                View::U64(v) => v,
                View::Bool(v) => u64::from(v),
                View::I64(v) => u64::try_from(v).map_err(|_| column.refuse("negative, but the column is unsigned"))?,
                View::Decimal { unscaled, scale } => whole(unscaled, scale)
                    .and_then(|v| u64::try_from(v).ok())
                    .ok_or_else(|| column.refuse("not a whole number in range"))?,
                _ => return Err(column.mismatch()),
            };
            out.extend_from_slice(&number.to_le_bytes());
        }
        Form::Single => {
            let number = match view {
                View::F32(v) => v,
                #[allow(clippy::cast_possible_truncation)] // checked on the next line
                View::F64(v) if !v.is_finite() || f64::from(v as f32) == v => v as f32,
                View::F64(_) => return Err(column.refuse("needs double precision")),
                _ => return Err(column.mismatch()),
            };
            if !number.is_finite() {
                return Err(column.refuse("NaN or infinity, which the engine can't hold"));
            }
            #[allow(clippy::cast_possible_truncation)] // back to what it was
            if column.float_digits.is_some_and(|digits| rounded(f64::from(number), digits) as f32 != number) {
                return Err(column.refuse("the column keeps fewer digits after the point"));
            }
            out.extend_from_slice(&number.to_le_bytes());
        }
        Form::Double => {
            let number = match view {
                View::F64(v) => v,
                View::F32(v) => f64::from(v),
                _ => return Err(column.mismatch()),
            };
            if !number.is_finite() {
                return Err(column.refuse("NaN or infinity, which the engine can't hold"));
            }
            if column.float_digits.is_some_and(|digits| rounded(number, digits) != number) {
                return Err(column.refuse("the column keeps fewer digits after the point"));
            }
            out.extend_from_slice(&number.to_le_bytes());
        }
        Form::Decimal { scale } => encode_decimal(view, scale, column, out)?,
        Form::Text { characters_max } => encode_text(view, characters_max, column, out)?,
        Form::Bytes { bytes_max } => {
            let uuid;
            let bytes = match view {
                View::Bytes(v) => v,
                View::Uuid(v) => {
                    uuid = v;
                    &uuid[..]
                }
                View::Text(v) | View::Json(v) => v.as_bytes(),
                _ => return Err(column.mismatch()),
            };
            if bytes_max.is_some_and(|max| bytes.len() as u64 > max) {
                return Err(column.refuse("longer than the column"));
            }
            put_bytes(bytes, out);
        }
        Form::Bits => {
            let number = match view {
                View::Bits(bytes) => bits(bytes).ok_or_else(|| column.refuse("more than 64 bits"))?,
                View::Bool(v) => u64::from(v),
                View::U64(v) => v,
                View::I64(v) => u64::try_from(v).map_err(|_| column.refuse("negative"))?,
                _ => return Err(column.mismatch()),
            };
            out.extend_from_slice(&number.to_le_bytes());
        }
        Form::Date => match view {
            View::Date(days) => {
                let date = date_bytes(i64::from(days)).ok_or_else(|| column.refuse("outside the years 0 to 9999"))?;
                out.push(4);
                out.extend_from_slice(&date);
            }
            _ => return Err(column.mismatch()),
        },
        Form::DateTime { precision } => match view {
            View::Timestamp(v) | View::TimestampTz(v) => {
                let date = date_bytes(v.div_euclid(time::DAY_MICROSECONDS))
                    .ok_or_else(|| column.refuse("outside the years 0 to 9999"))?;
                let rest = v.rem_euclid(time::DAY_MICROSECONDS);
                check_fraction(rest, precision, column)?;
                let [hours, minutes, seconds] = clock(rest);
                #[allow(clippy::cast_possible_truncation, clippy::cast_sign_loss)] // below one million
                let fraction = (rest % 1_000_000) as u32;
                out.push(if fraction != 0 { 11 } else { 7 });
                out.extend_from_slice(&date);
                out.extend_from_slice(&[hours, minutes, seconds]);
                if fraction != 0 {
                    out.extend_from_slice(&fraction.to_le_bytes());
                }
            }
            _ => return Err(column.mismatch()),
        },
        Form::Time { precision } => match view {
            View::Time(v) | View::Duration(v) => {
                let magnitude = v.abs();
                if magnitude > TIME_MAX {
                    return Err(column.refuse("outside ±838:59:59"));
                }
                check_fraction(magnitude, precision, column)?;
                put_time(v, out);
            }
            _ => return Err(column.mismatch()),
        },
    }
    Ok(IsNull::No)
}

/// 838:59:59 in microseconds, the longest TIME.
const TIME_MAX: i64 = (838 * 3600 + 59 * 60 + 59) * 1_000_000;

fn encode_decimal(
    view: View<'_>,
    scale_max: Option<i32>,
    column: &ColumnForm,
    out: &mut Vec<u8>,
) -> Result<(), BoxDynError> {
    let (unscaled, scale) = match view {
        View::Decimal { unscaled, scale } => (unscaled, scale),
        View::I64(v) => {
            put_number(i128::from(v), 0, out);
            return Ok(());
        }
        View::U64(v) => {
            put_number(i128::from(v), 0, out);
            return Ok(());
        }
        View::Bool(v) => {
            put_number(i128::from(v), 0, out);
            return Ok(());
        }
        _ => return Err(column.mismatch()),
    };
    let excess = scale_max.map_or(0, |max| i32::from(scale) - max);
    match decimal::to_i128(unscaled) {
        Some(number) if scale >= 0 => {
            if excess > 0
                && !u32::try_from(excess)
                    .ok()
                    .and_then(|e| 10_i128.checked_pow(e))
                    .map_or(number == 0, |p| number % p == 0)
            {
                return Err(column.refuse("more digits after the point than the column has"));
            }
            put_number(number, usize::from(scale.unsigned_abs()), out);
            Ok(())
        }
        _ => {
            // More than 38 digits, or zeros before the point: rare, so it may allocate.
            let mut text = Vec::with_capacity(96);
            decimal::format(unscaled, scale, &mut text);
            if excess > 0 {
                let keep = text.len() - usize::try_from(excess).unwrap_or(0).min(text.len());
                if text[keep..].iter().any(|digit| *digit != b'0') {
                    return Err(column.refuse("more digits after the point than the column has"));
                }
            }
            put_bytes(&text, out);
            Ok(())
        }
    }
}

fn rounded(number: f64, digits: i32) -> f64 {
    let unit = 10f64.powi(digits);
    (number * unit).round() / unit
}

fn encode_text(
    view: View<'_>,
    characters_max: Option<u64>,
    column: &ColumnForm,
    out: &mut Vec<u8>,
) -> Result<(), BoxDynError> {
    match view {
        View::Text(text) | View::Json(text) => {
            // The server cuts trailing spaces silently even in strict mode, so the length is checked here; bytes bound characters.
            if characters_max.is_some_and(|max| text.len() as u64 > max && text.chars().count() as u64 > max) {
                return Err(column.refuse("longer than the column"));
            }
            if text.len() > column.text_bytes_max && text.ends_with(' ') {
                return Err(column
                    .refuse("more bytes than the column has, of which the server would cut the blanks at the end"));
            }
            put_bytes(text.as_bytes(), out);
        }
        View::Uuid(bytes) => {
            if characters_max.is_some_and(|max| max < 36) {
                return Err(column.refuse("longer than the column"));
            }
            put_bytes(&uuid_text(&bytes), out);
        }
        View::I64(v) => put_number(i128::from(v), 0, out),
        View::U64(v) => put_number(i128::from(v), 0, out),
        _ => return Err(column.mismatch()),
    }
    Ok(())
}

fn whole(unscaled: &[u8], scale: i16) -> Option<i128> {
    let number = decimal::to_i128(unscaled)?;
    let factor = 10_i128.checked_pow(u32::from(scale.unsigned_abs()))?;
    if scale <= 0 { number.checked_mul(factor) } else { (number % factor == 0).then_some(number / factor) }
}

/// Little-endian bytes as a number; `None` above 64 bits.
pub(super) fn bits(bytes: &[u8]) -> Option<u64> {
    let (low, high) = bytes.split_at(bytes.len().min(8));
    if high.iter().any(|byte| *byte != 0) {
        return None;
    }
    Some(low.iter().rev().fold(0, |number, byte| (number << 8) | u64::from(*byte)))
}

fn date_bytes(days: i64) -> Option<[u8; 4]> {
    let (year, month, day) = time::civil_from_days(days);
    let year = u16::try_from(year).ok().filter(|year| *year <= 9999)?;
    let [low, high] = year.to_le_bytes();
    Some([low, high, u8::try_from(month).ok()?, u8::try_from(day).ok()?])
}

#[allow(clippy::cast_possible_truncation, clippy::cast_sign_loss)] // below a day
fn clock(microseconds: i64) -> [u8; 3] {
    let seconds = microseconds / 1_000_000;
    [(seconds / 3600) as u8, (seconds / 60 % 60) as u8, (seconds % 60) as u8]
}

fn check_fraction(microseconds: i64, precision: u8, column: &ColumnForm) -> Result<(), BoxDynError> {
    let unit = 10_i64.pow(6 - u32::from(precision.min(6)));
    if microseconds % unit != 0 {
        return Err(column.refuse("a finer fraction of a second than the column has"));
    }
    Ok(())
}

#[cfg(test)]
#[path = "bind_tests.rs"]
mod tests;
