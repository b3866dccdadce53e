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
        ColumnForm { form, name: column.name.as_ref().into(), nullable, type_info }
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

/// `[-]hhh:mm:ss.ffffff`, the fraction only where it is not zero.
#[allow(clippy::cast_possible_truncation, clippy::cast_sign_loss)] // single digits
fn put_time(microseconds: i64, out: &mut Vec<u8>) {
    let magnitude = microseconds.abs();
    let (seconds, fraction) = (magnitude / 1_000_000, magnitude % 1_000_000);
    let digit = |number: i64, unit: i64| b'0' + (number / unit % 10) as u8;
    let hours = seconds / 3600;
    put_length(9 + usize::from(microseconds < 0) + if fraction != 0 { 7 } else { 0 }, out);
    if microseconds < 0 {
        out.push(b'-');
    }
    out.extend([digit(hours, 100), digit(hours, 10), digit(hours, 1)]);
    for part in [seconds / 60 % 60, seconds % 60] {
        out.extend([b':', digit(part, 10), digit(part, 1)]);
    }
    if fraction != 0 {
        out.push(b'.');
        out.extend([100_000, 10_000, 1_000, 100, 10, 1].map(|unit| digit(fraction, unit)));
    }
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
        View::I64(v) => return put_number(i128::from(v), 0, out),
        View::U64(v) => return put_number(i128::from(v), 0, out),
        View::Bool(v) => return put_number(i128::from(v), 0, out),
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
            put_number(number, usize::from(scale.unsigned_abs()), out)
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

/// Writes `number × 10^-scale` as length-encoded text from a buffer on the stack.
fn put_number(number: i128, scale: usize, out: &mut Vec<u8>) -> Result<(), BoxDynError> {
    // 39 digits, sign, point; leading zeros up to the scale of a decimal that fits 128 bits are written one by one below.
    let mut digits = [b'0'; 40];
    let mut at = digits.len();
    let mut rest = number.unsigned_abs();
    while rest > 0 {
        at -= 1;
        digits[at] = b'0' + (rest % 10) as u8;
        rest /= 10;
    }
    if at == digits.len() {
        at -= 1;
    }
    let digits = &digits[at..];
    let zeros = (scale + 1).saturating_sub(digits.len());
    let length = usize::from(number < 0) + zeros + digits.len() + usize::from(scale > 0);
    put_length(length, out);
    if number < 0 {
        out.push(b'-');
    }
    let whole = digits.len() + zeros - scale;
    for position in 0..digits.len() + zeros {
        if position == whole {
            out.push(b'.');
        }
        out.push(if position < zeros { b'0' } else { digits[position - zeros] });
    }
    Ok(())
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
            put_bytes(text.as_bytes(), out);
        }
        View::Uuid(bytes) => {
            if characters_max.is_some_and(|max| max < 36) {
                return Err(column.refuse("longer than the column"));
            }
            put_bytes(&uuid_text(&bytes), out);
        }
        View::I64(v) => put_number(i128::from(v), 0, out)?,
        View::U64(v) => put_number(i128::from(v), 0, out)?,
        _ => return Err(column.mismatch()),
    }
    Ok(())
}

/// The 36 characters of a UUID.
pub(super) fn uuid_text(bytes: &[u8; 16]) -> [u8; 36] {
    const HEX: &[u8; 16] = b"0123456789abcdef";
    let mut out = [b'-'; 36];
    let mut at = 0;
    for byte in bytes {
        if matches!(at, 8 | 13 | 18 | 23) {
            at += 1;
        }
        out[at] = HEX[usize::from(byte >> 4)];
        out[at + 1] = HEX[usize::from(byte & 15)];
        at += 2;
    }
    out
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

fn put_length(length: usize, out: &mut Vec<u8>) {
    let bytes = (length as u64).to_le_bytes();
    match length {
        0..=250 => out.push(bytes[0]),
        251..=0xffff => {
            out.push(0xfc);
            out.extend_from_slice(&bytes[..2]);
        }
        0x1_0000..=0xff_ffff => {
            out.push(0xfd);
            out.extend_from_slice(&bytes[..3]);
        }
        _ => {
            out.push(0xfe);
            out.extend_from_slice(&bytes);
        }
    }
}

fn put_bytes(bytes: &[u8], out: &mut Vec<u8>) {
    put_length(bytes.len(), out);
    out.extend_from_slice(bytes);
}

#[cfg(test)]
mod tests {
    use topology::data::Value;

    use super::*;

    fn form(kind: Kind, nullable: bool) -> ColumnForm {
        ColumnForm {
            form: Form::of(&kind),
            name: "price".into(),
            nullable,
            type_info: <[u8] as Type<MySql>>::type_info(),
        }
    }

    fn bind(kind: Kind, value: Value) -> Result<Vec<u8>, String> {
        let mut arena = Arena::default();
        let cell = arena.push_value(&value);
        let mut out = Vec::new();
        match encode(arena.view(cell), &form(kind, true), &mut out) {
            Ok(IsNull::Yes) => Ok(b"NULL".to_vec()),
            Ok(IsNull::No) => Ok(out),
            Err(error) => Err(error.to_string()),
        }
    }

    fn decimal_text(scale: i32, text: &str) -> Result<String, String> {
        let kind = Kind::Decimal { precision: Some(65), scale: Some(scale) };
        bind(kind, Value::decimal(text).unwrap()).map(|bytes| String::from_utf8(bytes[1..].to_vec()).unwrap())
    }

    const BIGINT: Kind = Kind::Int { bits: 64, unsigned: false };
    const UNSIGNED: Kind = Kind::Int { bits: 64, unsigned: true };

    #[test]
    fn decimals_travel_as_exact_text() {
        let long = "-12345678901234567890123456789012345.123456789012345678901234567890";
        for (scale, text) in [
            (2, "0.05"),
            (2, "-0.05"),
            (2, "12.30"),
            (0, "0"),
            (0, "-7"),
            (6, "0.000000"),
            (30, "0.000000000000000000000000000001"),
            (30, long),
        ] {
            assert_eq!(decimal_text(scale, text).unwrap(), text);
        }
        assert_eq!(decimal_text(0, "12e3").unwrap(), "12000");
    }

    #[test]
    fn a_decimal_that_would_be_rounded_is_refused() {
        assert!(decimal_text(2, "1.005").is_err());
        assert_eq!(decimal_text(2, "1.500").unwrap(), "1.500", "trailing zeros lose nothing");
        assert!(decimal_text(2, "12345678901234567890123456789012345678901234.001").is_err());
        assert!(decimal_text(2, "12345678901234567890123456789012345678901234.100").is_ok());
    }

    #[test]
    fn integers_never_wrap_between_signed_and_unsigned() {
        assert_eq!(bind(BIGINT, Value::I64(-1)).unwrap(), [0xff; 8]);
        assert_eq!(bind(UNSIGNED, Value::U64(u64::MAX)).unwrap(), [0xff; 8]);
        assert!(bind(UNSIGNED, Value::I64(-1)).is_err());
        assert!(bind(BIGINT, Value::U64(u64::MAX)).is_err());
        assert_eq!(bind(UNSIGNED, Value::decimal("18446744073709551615").unwrap()).unwrap(), [0xff; 8]);
        assert!(bind(UNSIGNED, Value::decimal("18446744073709551616").unwrap()).is_err());
        assert_eq!(bind(BIGINT, Value::Bool(true)).unwrap(), 1_i64.to_le_bytes());
    }

    #[test]
    fn times_that_would_be_rounded_are_refused() {
        let at = |precision| Kind::Timestamp { precision };
        assert_eq!(bind(at(0), Value::Timestamp(0)).unwrap(), [7, 0xb2, 7, 1, 1, 0, 0, 0]);
        assert_eq!(bind(at(6), Value::Timestamp(-1)).unwrap(), [11, 0xb1, 7, 12, 31, 23, 59, 59, 0x3f, 0x42, 0x0f, 0]);
        assert!(bind(at(0), Value::Timestamp(1)).is_err());
        assert!(bind(at(3), Value::Timestamp(1_000)).is_ok());
        assert!(bind(at(3), Value::Timestamp(1_001)).is_err());
        assert!(bind(at(6), Value::Timestamp(253_402_300_800_000_000)).is_err(), "the year 10000");
        assert!(bind(Kind::Date, Value::Date(-800_000)).is_err(), "before the year 0");
    }

    #[test]
    fn durations_keep_sign_and_days_and_stay_in_range() {
        let kind = || Kind::Duration { precision: 0 };
        let text =
            |value| String::from_utf8(bind(Kind::Duration { precision: 6 }, value).unwrap()[1..].to_vec()).unwrap();
        assert_eq!(text(Value::Duration(-TIME_MAX)), "-838:59:59");
        assert_eq!(text(Value::Duration(TIME_MAX - 1)), "838:59:58.999999");
        assert_eq!(text(Value::Duration(-1)), "-000:00:00.000001");
        assert_eq!(text(Value::Time(time::DAY_MICROSECONDS)), "024:00:00");
        assert!(bind(kind(), Value::Duration(TIME_MAX + 1_000_000)).is_err());
        assert!(bind(kind(), Value::Duration(1)).is_err(), "a fraction");
    }

    #[test]
    fn text_longer_than_the_column_is_refused_even_if_only_spaces_stick_out() {
        let kind = || Kind::Text { characters_max: Some(3), fixed: false };
        assert!(bind(kind(), "abc ".into()).is_err());
        assert_eq!(bind(kind(), "äöü".into()).unwrap(), [6, 0xc3, 0xa4, 0xc3, 0xb6, 0xc3, 0xbc]);
    }

    #[test]
    fn bits_are_read_little_endian() {
        let kind = || Kind::Bits { length: Some(10), varying: false };
        assert_eq!(bind(kind(), Value::Bits(vec![0x01, 0x02])).unwrap(), 0x201_u64.to_le_bytes());
        assert!(bind(kind(), Value::Bits(vec![0, 0, 0, 0, 0, 0, 0, 0, 1])).is_err());
        assert_eq!(bind(kind(), Value::Bool(true)).unwrap(), 1_u64.to_le_bytes());
    }

    #[test]
    fn null_for_a_not_null_column_is_refused_before_the_server_invents_a_value() {
        let mut out = Vec::new();
        let error = encode(View::Null, &form(BIGINT, false), &mut out).err().unwrap();
        let error = error.downcast::<BindError>().unwrap();
        assert_eq!(
            (error.kind, error.to_string().as_str()),
            (ErrorKind::Data, "column \"price\": NULL, but the column is NOT NULL")
        );
    }

    #[test]
    fn numbers_that_the_engine_cannot_hold_are_refused() {
        assert!(bind(Kind::Float64, Value::F64(f64::NAN)).is_err());
        assert!(bind(Kind::Float32, Value::F64(0.1)).is_err());
        assert_eq!(bind(Kind::Float32, Value::F64(0.5)).unwrap(), 0.5_f32.to_le_bytes());
    }

    #[test]
    fn an_unavailable_cell_is_a_bug() {
        let mut out = Vec::new();
        let error = encode(View::Unavailable, &form(BIGINT, true), &mut out).err().unwrap();
        assert_eq!(error.downcast::<BindError>().unwrap().kind, ErrorKind::Bug);
    }
}
