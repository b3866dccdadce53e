//! Numbers: whole, floating, decimal, truth values, years.

use std::fmt::LowerExp;
use std::io::Write;

use super::{NO_WAY, Refused, Scratch};
use crate::data::{Arena, Cell, DecimalCell, View, decimal};

const NOT_WHOLE: Refused = Refused("the number is not whole");
const NO_NUMBER: Refused = Refused("the text is not a number");
const TOO_PRECISE: Refused = Refused("the number has more digits than the target type keeps");

/// Least and greatest number of an integer type.
pub(super) fn range(bits: u8, unsigned: bool) -> (i64, u64) {
    let bits = u32::from(bits.clamp(1, 64));
    if unsigned { (0, u64::MAX >> (64 - bits)) } else { (i64::MIN >> (64 - bits), (i64::MAX >> (64 - bits)) as u64) }
}

pub(super) fn to_bool(cell: Cell, arena: &Arena) -> Result<Cell, Refused> {
    const NEITHER: Refused = Refused("the value is neither true nor false");
    let truth = match arena.view(cell) {
        View::Bool(truth) => truth,
        View::Text("true") => true,
        View::Text("false") => false,
        View::Text(_) => return Err(NEITHER),
        _ => match to_int(cell, arena)? {
            0 => false,
            1 => true,
            _ => return Err(NEITHER),
        },
    };
    Ok(Cell::Bool(truth))
}

/// The whole number in a cell.
pub(super) fn to_int(cell: Cell, arena: &Arena) -> Result<i128, Refused> {
    match arena.view(cell) {
        View::I64(number) => Ok(number.into()),
        View::U64(number) => Ok(number.into()),
        View::Bool(truth) => Ok(truth.into()),
        View::F32(number) => float_to_int(number.into()),
        View::F64(number) => float_to_int(number),
        View::Decimal { unscaled, scale } => {
            let number = decimal::to_i128(unscaled).ok_or(Refused("the number is out of the target type's range"))?;
            rescale(number, scale.into(), 0).map_err(|error| match error {
                Rescale::Digits => NOT_WHOLE,
                Rescale::Overflow => Refused("the number is out of the target type's range"),
            })
        }
        View::Text(text) => parse_int(text).ok_or(Refused("the text is not a whole number in its plain form")),
        View::Bits(bytes) if bytes.len() <= 8 => {
            Ok(bytes.iter().rev().fold(0, |number: i128, byte| (number << 8) | i128::from(*byte)))
        }
        _ => Err(NO_WAY),
    }
}

/// Only the form that writing the number gives back: `007` and `+7` are texts, not numbers.
fn parse_int(text: &str) -> Option<i128> {
    let digits = text.strip_prefix('-').unwrap_or(text);
    let plain = !digits.is_empty()
        && digits.bytes().all(|byte| byte.is_ascii_digit())
        && (digits.len() == 1 || !digits.starts_with('0'))
        && text != "-0";
    if plain { text.parse().ok() } else { None }
}

fn float_to_int(number: f64) -> Result<i128, Refused> {
    if number.fract() != 0.0 {
        return Err(NOT_WHOLE); // also NaN and the infinities
    }
    Ok(number as i128) // saturates, and every target range is narrower
}

pub(super) fn to_f64(cell: Cell, arena: &Arena, scratch: &mut Scratch, finite: bool) -> Result<Cell, Refused> {
    let number = match arena.view(cell) {
        View::F64(number) => number,
        View::F32(number) => number.into(),
        View::Decimal { unscaled, scale } => decimal_to_f64(unscaled, scale, scratch)?,
        View::Text(text) => text_to_f64(text, scratch)?,
        _ => {
            let whole = to_int(cell, arena)?;
            let number = whole as f64;
            if number as i128 != whole {
                return Err(TOO_PRECISE);
            }
            number
        }
    };
    if finite && !number.is_finite() {
        return Err(Refused("the target has no NaN and no infinity"));
    }
    Ok(Cell::F64(number))
}

pub(super) fn to_f32(cell: Cell, arena: &Arena, scratch: &mut Scratch, finite: bool) -> Result<Cell, Refused> {
    if let Cell::F32(number) = cell {
        if finite && !number.is_finite() {
            return Err(Refused("the target has no NaN and no infinity"));
        }
        return Ok(cell);
    }
    let Cell::F64(wide) = to_f64(cell, arena, scratch, finite)? else { return Err(NO_WAY) };
    let narrow = wide as f32;
    if f64::from(narrow) == wide || wide.is_nan() {
        return Ok(Cell::F32(narrow));
    }
    // A whole number is there exactly or not at all: -124147890 would come back as -124147888, though it is the shortest text for that.
    if wide.fract() == 0.0 {
        return Err(TOO_PRECISE);
    }
    // Decimal digits that single precision keeps: 0.1 as a number of its own, not the double nearest to it.
    scratch.bytes.clear();
    let _ = write!(scratch.bytes, "{narrow}");
    let shortest = std::str::from_utf8(&scratch.bytes).ok().and_then(|text| text.parse::<f64>().ok());
    let is_decimal = !matches!(cell, Cell::F64(_));
    if is_decimal && shortest == Some(wide) { Ok(Cell::F32(narrow)) } else { Err(TOO_PRECISE) }
}

fn text_to_f64(text: &str, scratch: &mut Scratch) -> Result<f64, Refused> {
    match text {
        "NaN" => return Ok(f64::NAN),
        "Infinity" => return Ok(f64::INFINITY),
        "-Infinity" => return Ok(f64::NEG_INFINITY),
        _ => {}
    }
    let (unscaled, scale) = decimal::parse(text).ok_or(NO_NUMBER)?;
    decimal_to_f64(&unscaled, scale, scratch)
}

/// The double whose shortest decimal form is this decimal; none for longer ones.
fn decimal_to_f64(unscaled: &[u8], scale: i16, scratch: &mut Scratch) -> Result<f64, Refused> {
    let Scratch { bytes, digits, .. } = scratch;
    let negative = decimal::digits(unscaled, digits);
    bytes.clear();
    let _ = write!(bytes, "{}{}e{}", if negative { "-" } else { "" }, ascii(digits), -i32::from(scale));
    let number: f64 = ascii(bytes).parse().map_err(|_| NO_NUMBER)?;
    let significant = digits.iter().rposition(|digit| *digit != b'0').map_or(0, |last| last + 1);
    if significant <= 15 && number.is_finite() && (number.is_normal() || significant == 0) {
        return Ok(number); // fifteen digits always survive
    }
    let own = ascii(digits).trim_end_matches('0').trim_start_matches('0').parse::<i128>().ok();
    let dropped = i32::try_from(digits.len() - significant).unwrap_or(i32::MAX);
    let own = own.map(|own| (own, i32::from(scale) - dropped));
    if own.is_some() && own == shortest(number.abs(), bytes).map(|(number, scale)| normal(number, scale)) {
        return Ok(number);
    }
    Err(TOO_PRECISE)
}

/// The shortest decimal that reads back as this number; none for NaN and the infinities.
fn shortest(number: impl LowerExp, bytes: &mut Vec<u8>) -> Option<(i128, i32)> {
    bytes.clear();
    let _ = write!(bytes, "{number:e}");
    let (mantissa, exponent) = ascii(bytes).split_once('e')?;
    let (number, scale) = parse_plain(mantissa)?;
    Some((number, scale - exponent.parse::<i32>().ok()?))
}

fn ascii(bytes: &[u8]) -> &str {
    std::str::from_utf8(bytes).unwrap_or("")
}

/// Without trailing zeros.
fn normal(mut number: i128, mut scale: i32) -> (i128, i32) {
    if number == 0 {
        return (0, 0);
    }
    while number % 10 == 0 {
        number /= 10;
        scale -= 1;
    }
    (number, scale)
}

/// Without an exponent where the number fits 128 bits.
fn plain((number, scale): (i128, i32)) -> (i128, i32) {
    match rescale(number, scale, 0) {
        Ok(whole) if scale < 0 => (whole, 0),
        _ => (number, scale),
    }
}

/// Number and scale of `[-]digits[.digits]`, when they fit 128 bits.
fn parse_plain(text: &str) -> Option<(i128, i32)> {
    let (negative, text) = match text.strip_prefix('-') {
        Some(rest) => (true, rest),
        None => (false, text),
    };
    let (mut number, mut scale, mut point, mut any) = (0_i128, 0, false, false);
    for byte in text.bytes() {
        match byte {
            b'.' if !point => point = true,
            b'0'..=b'9' => {
                number = number.checked_mul(10)?.checked_add(i128::from(byte - b'0'))?;
                scale += i32::from(point);
                any = true;
            }
            _ => return None,
        }
    }
    any.then_some((if negative { -number } else { number }, scale))
}

enum Rescale {
    /// Digits would be lost.
    Digits,
    /// More than 128 bits.
    Overflow,
}

/// The same number at another scale.
fn rescale(number: i128, from: i32, to: i32) -> Result<i128, Rescale> {
    if number == 0 || from == to {
        return Ok(number);
    }
    if to > from {
        let factor =
            u32::try_from(to - from).ok().and_then(|power| 10_i128.checked_pow(power)).ok_or(Rescale::Overflow)?;
        return number.checked_mul(factor).ok_or(Rescale::Overflow);
    }
    match u32::try_from(from - to).ok().and_then(|power| 10_i128.checked_pow(power)) {
        Some(factor) if number % factor == 0 => Ok(number / factor),
        _ => Err(Rescale::Digits),
    }
}

fn digit_count(number: i128) -> u32 {
    number.unsigned_abs().checked_ilog10().map_or(0, |power| power + 1)
}

pub(super) fn to_decimal(
    cell: Cell,
    arena: &mut Arena,
    scratch: &mut Scratch,
    precision: u32,
    scale: Option<i32>,
) -> Result<Cell, Refused> {
    let (number, from) = match arena.view(cell) {
        View::Decimal { unscaled, scale: from } => match decimal::to_i128(unscaled) {
            Some(number) => (number, i32::from(from)),
            None => return long_decimal(cell, arena, scratch, precision, scale),
        },
        View::F64(number) => shortest(number, &mut scratch.bytes).map(plain).ok_or(NO_NUMBER)?,
        View::F32(number) => shortest(number, &mut scratch.bytes).map(plain).ok_or(NO_NUMBER)?,
        View::Text(text) => match parse_plain(text) {
            Some(parsed) => parsed,
            None => {
                scratch.bytes.clear();
                scratch.bytes.extend_from_slice(text.as_bytes());
                return text_decimal(arena, scratch, precision, scale);
            }
        },
        _ => (to_int(cell, arena)?, 0),
    };
    let to = scale.unwrap_or(from);
    match rescale(number, from, to) {
        Ok(number) if digit_count(number) > precision => {
            Err(Refused("the number has more digits before the point than the target type keeps"))
        }
        Ok(number) => match cell {
            Cell::Decimal(present) if i32::from(present.scale) == to => Ok(cell),
            _ => Ok(arena.push_decimal(number, i16::try_from(to).map_err(|_| TOO_PRECISE)?)),
        },
        Err(Rescale::Digits) => Err(TOO_PRECISE),
        Err(Rescale::Overflow) => {
            let from = i16::try_from(from).map_err(|_| TOO_PRECISE)?;
            let cell = arena.push_decimal(number, from);
            long_decimal(cell, arena, scratch, precision, scale)
        }
    }
}

/// The number written in `scratch.bytes`, beyond 128 bits or with an exponent.
fn text_decimal(arena: &mut Arena, scratch: &mut Scratch, precision: u32, scale: Option<i32>) -> Result<Cell, Refused> {
    let (unscaled, from) = decimal::parse(ascii(&scratch.bytes)).ok_or(NO_NUMBER)?;
    let cell = Cell::Decimal(DecimalCell { unscaled: arena.push_bytes(&unscaled), scale: from });
    if decimal::to_i128(&unscaled).is_some() {
        return to_decimal(cell, arena, scratch, precision, scale);
    }
    long_decimal(cell, arena, scratch, precision, scale)
}

/// Numbers beyond 128 bits: digit by digit. Rare, so it may allocate.
fn long_decimal(
    cell: Cell,
    arena: &mut Arena,
    scratch: &mut Scratch,
    precision: u32,
    scale: Option<i32>,
) -> Result<Cell, Refused> {
    let View::Decimal { unscaled, scale: from } = arena.view(cell) else { return Err(NO_WAY) };
    let negative = decimal::digits(unscaled, &mut scratch.digits);
    let digits = &mut scratch.digits;
    let from = i32::from(from);
    let to = scale.unwrap_or(from);
    if to < from {
        let dropped = usize::try_from(from - to).map_err(|_| TOO_PRECISE)?;
        let kept = digits.len().checked_sub(dropped).ok_or(TOO_PRECISE)?;
        if digits[kept..].iter().any(|digit| *digit != b'0') {
            return Err(TOO_PRECISE);
        }
        digits.truncate(kept);
    } else {
        let added = usize::try_from(to - from).map_err(|_| TOO_PRECISE)?;
        if added > 20_000 {
            return Err(TOO_PRECISE); // beyond what any engine keeps
        }
        digits.extend(std::iter::repeat_n(b'0', added));
    }
    if u32::try_from(digits.len()).unwrap_or(u32::MAX) > precision {
        return Err(Refused("the number has more digits before the point than the target type keeps"));
    }
    if from == to {
        return Ok(cell);
    }
    scratch.bytes.clear();
    if negative {
        scratch.bytes.push(b'-');
    }
    scratch.bytes.extend_from_slice(&scratch.digits);
    let (unscaled, _) = decimal::parse(ascii(&scratch.bytes)).ok_or(NO_NUMBER)?;
    let scale = i16::try_from(to).map_err(|_| TOO_PRECISE)?;
    Ok(Cell::Decimal(DecimalCell { unscaled: arena.push_bytes(&unscaled), scale }))
}

/// MySQL's YEAR: 0 and 1901 to 2155.
pub(super) fn to_year(cell: Cell, arena: &Arena) -> Result<Cell, Refused> {
    match to_int(cell, arena)? {
        year @ (0 | 1901..=2155) => Ok(Cell::I64(year as i64)),
        _ => Err(Refused("the year is outside 1901 to 2155")),
    }
}
