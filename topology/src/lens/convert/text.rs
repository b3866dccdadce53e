//! Text, bytes and UUIDs, and the text form of every other value.

use std::io::Write;

use super::{NO_WAY, Refused, Scratch, bits, json, span};
use crate::data::{Arena, Cell, Span, View, decimal, time};

const TOO_LONG: Refused = Refused("the text has more characters than the target type keeps");

pub(super) fn to_text(
    cell: Cell,
    arena: &mut Arena,
    scratch: &mut Scratch,
    characters_max: u64,
    strip: bool,
) -> Result<Cell, Refused> {
    let mut span = match cell {
        Cell::Text(span) | Cell::Json(span) => span,
        Cell::Bytes(span) => {
            std::str::from_utf8(arena.bytes(span)).map_err(|_| Refused("the bytes are not UTF-8 text"))?;
            span
        }
        _ => {
            scratch.bytes.clear();
            write_text(cell, arena, scratch)?;
            arena.push_bytes(&scratch.bytes)
        }
    };
    let bytes = arena.bytes(span);
    if strip {
        let kept = bytes.iter().rposition(|byte| *byte != b' ').map_or(0, |last| last + 1);
        span = Span { start: span.start, length: kept as u32 };
    }
    // Most values are short enough in bytes already; then nobody counts characters.
    if u64::from(span.length) > characters_max && arena.text(span).chars().count() as u64 > characters_max {
        return Err(TOO_LONG);
    }
    Ok(Cell::Text(span))
}

/// Appends the text form of a cell to `scratch.bytes`: what the engines write, where they agree.
pub(super) fn write_text(cell: Cell, arena: &Arena, scratch: &mut Scratch) -> Result<(), Refused> {
    let Scratch { bytes: out, digits, .. } = scratch;
    match arena.view(cell) {
        View::Null | View::Unavailable => return Err(NO_WAY),
        View::Bool(truth) => out.extend_from_slice(if truth { b"true" } else { b"false" }),
        View::I64(number) => drop(write!(out, "{number}")),
        View::U64(number) => drop(write!(out, "{number}")),
        View::F32(number) => write_float(number.into(), |out| drop(write!(out, "{number}")), out),
        View::F64(number) => write_float(number, |out| drop(write!(out, "{number}")), out),
        View::Decimal { unscaled, scale } => write_decimal(unscaled, scale, digits, out),
        View::Text(text) | View::Json(text) => out.extend_from_slice(text.as_bytes()),
        View::Bytes(bytes) => out.extend_from_slice(bytes),
        View::Date(days) => time::write_date(days.into(), out),
        View::Time(microseconds) => time::write_time(microseconds, out),
        View::TimeTz(microseconds) => {
            time::write_time(microseconds, out);
            out.push(b'Z');
        }
        View::Timestamp(microseconds) => time::write_timestamp(microseconds, out),
        View::TimestampTz(microseconds) => {
            time::write_timestamp(microseconds, out);
            out.push(b'Z');
        }
        View::Duration(microseconds) => span::write_duration(microseconds, out),
        View::Interval { months, days, microseconds } => span::write_interval(months, days, microseconds, out),
        View::Uuid(uuid) => write_uuid(&uuid, out),
        View::Bits(little_endian) => bits::write_bits(little_endian, out),
        View::Array(_) => json::write_json(cell, arena, scratch, false)?,
    }
    Ok(())
}

fn write_float(number: f64, write: impl FnOnce(&mut Vec<u8>), out: &mut Vec<u8>) {
    if number.is_nan() {
        out.extend_from_slice(b"NaN");
    } else if number.is_infinite() {
        out.extend_from_slice(if number > 0.0 { b"Infinity" } else { b"-Infinity" });
    } else {
        write(out);
    }
}

/// [`decimal::format`] without its allocation.
pub(super) fn write_decimal(unscaled: &[u8], scale: i16, digits: &mut Vec<u8>, out: &mut Vec<u8>) {
    if decimal::digits(unscaled, digits) {
        out.push(b'-');
    }
    let width = usize::from(scale.unsigned_abs());
    if scale <= 0 {
        out.extend_from_slice(digits);
        if *digits != b"0" {
            out.extend(std::iter::repeat_n(b'0', width));
        }
    } else if digits.len() <= width {
        out.extend_from_slice(b"0.");
        out.extend(std::iter::repeat_n(b'0', width - digits.len()));
        out.extend_from_slice(digits);
    } else {
        let (whole, fraction) = digits.split_at(digits.len() - width);
        out.extend_from_slice(whole);
        out.push(b'.');
        out.extend_from_slice(fraction);
    }
}

pub(super) fn to_bytes(
    cell: Cell,
    arena: &mut Arena,
    scratch: &mut Scratch,
    bytes_min: u64,
    bytes_max: u64,
    pad: bool,
) -> Result<Cell, Refused> {
    let span = match cell {
        Cell::Bytes(span) | Cell::Text(span) | Cell::Json(span) | Cell::Uuid(span) => span,
        _ => return Err(NO_WAY),
    };
    let length = u64::from(span.length);
    if length > bytes_max {
        return Err(Refused("the value has more bytes than the target type keeps"));
    }
    if length < bytes_min {
        if !pad {
            return Err(Refused("the value is shorter than the target's BINARY, which would add zeros"));
        }
        scratch.bytes.clear();
        scratch.bytes.extend_from_slice(arena.bytes(span));
        scratch.bytes.resize(bytes_min as usize, 0);
        return Ok(Cell::Bytes(arena.push_bytes(&scratch.bytes)));
    }
    Ok(Cell::Bytes(span))
}

pub(super) fn to_uuid(cell: Cell, arena: &mut Arena) -> Result<Cell, Refused> {
    const NO_UUID: Refused = Refused("the value is not a UUID");
    match arena.view(cell) {
        View::Uuid(_) => Ok(cell),
        View::Bytes(bytes) => {
            let uuid: [u8; 16] = bytes.try_into().map_err(|_| NO_UUID)?;
            Ok(Cell::Uuid(arena.push_bytes(&uuid)))
        }
        View::Text(text) => {
            let uuid = parse_uuid(text).ok_or(NO_UUID)?;
            Ok(Cell::Uuid(arena.push_bytes(&uuid)))
        }
        _ => Err(NO_WAY),
    }
}

/// 32 hexadecimal digits, with the four hyphens or without.
fn parse_uuid(text: &str) -> Option<[u8; 16]> {
    let hyphens = [8, 13, 18, 23];
    let hyphenated = text.len() == 36;
    if !hyphenated && text.len() != 32 {
        return None;
    }
    let mut uuid = [0; 16];
    let mut count = 0;
    for (at, byte) in text.bytes().enumerate() {
        if hyphenated && hyphens.contains(&at) {
            if byte != b'-' {
                return None;
            }
            continue;
        }
        let digit = char::from(byte).to_digit(16)? as u8;
        *uuid.get_mut(count / 2)? |= if count % 2 == 0 { digit << 4 } else { digit };
        count += 1;
    }
    (count == 32).then_some(uuid)
}

fn write_uuid(uuid: &[u8; 16], out: &mut Vec<u8>) {
    const HEX: &[u8; 16] = b"0123456789abcdef";
    for (at, byte) in uuid.iter().enumerate() {
        if matches!(at, 4 | 6 | 8 | 10) {
            out.push(b'-');
        }
        out.push(HEX[usize::from(byte >> 4)]);
        out.push(HEX[usize::from(byte & 15)]);
    }
}
