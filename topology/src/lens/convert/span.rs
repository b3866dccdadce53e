//! Lengths of time: MySQL's signed TIME and PostgreSQL's interval.

use super::moment::Digits;
use super::{NO_WAY, Refused};
use crate::data::time::{parse_time, write_time};
use crate::data::{Arena, Cell, View};

/// 838:59:59, the longest TIME of MySQL and MariaDB.
const LONGEST: i64 = (838 * 3600 + 59 * 60 + 59) * 1_000_000;

pub(super) fn to_duration(cell: Cell, arena: &Arena, digits: Digits) -> Result<Cell, Refused> {
    let microseconds = match arena.view(cell) {
        View::Duration(microseconds) | View::Time(microseconds) | View::TimeTz(microseconds) => microseconds,
        View::Interval { months: 0, days: 0, microseconds } => microseconds,
        View::Interval { .. } => return Err(Refused("an interval with days or months is no fixed length of time")),
        View::Text(text) => parse_duration(text).ok_or(Refused("the text is not a length of time"))?,
        _ => return Err(NO_WAY),
    };
    let microseconds = digits.fit(microseconds)?;
    // MySQL and MariaDB keep no fraction beyond the last whole second of their range.
    if !(-LONGEST..=LONGEST).contains(&microseconds) {
        return Err(Refused("the length of time is outside ±838:59:59"));
    }
    Ok(Cell::Duration(microseconds))
}

pub(super) fn to_interval(cell: Cell, arena: &mut Arena) -> Result<Cell, Refused> {
    match arena.view(cell) {
        View::Interval { .. } => Ok(cell),
        View::Duration(microseconds) | View::Time(microseconds) => Ok(arena.push_interval(0, 0, microseconds)),
        View::Text(text) => {
            let (months, days, microseconds) =
                parse_interval(text).ok_or(Refused("the text is not an ISO 8601 interval"))?;
            Ok(arena.push_interval(months, days, microseconds))
        }
        _ => Err(NO_WAY),
    }
}

/// Appends `[-]HH:MM:SS[.ffffff]`.
pub(super) fn write_duration(microseconds: i64, out: &mut Vec<u8>) {
    if microseconds < 0 {
        out.push(b'-');
    }
    write_time(i64::try_from(microseconds.unsigned_abs()).unwrap_or(i64::MAX), out);
}

/// `[-]HHH:MM:SS[.ffffff]`.
fn parse_duration(text: &str) -> Option<i64> {
    let (sign, text) = match text.strip_prefix('-') {
        Some(rest) => (-1, rest),
        None => (1, text),
    };
    let (hours, rest) = text.split_once(':')?;
    let rest = parse_time_of_hour(rest)?;
    if hours.is_empty() || hours.len() > 7 || !hours.bytes().all(|byte| byte.is_ascii_digit()) {
        return None;
    }
    let hours: i64 = hours.parse().ok()?;
    Some(sign * (hours * 3_600_000_000 + rest))
}

/// `MM:SS[.ffffff]`, by the rules of a time of day.
fn parse_time_of_hour(text: &str) -> Option<i64> {
    let (minutes, seconds) = text.split_once(':')?;
    let minutes = parse_time(&["0:", minutes].concat())?;
    let seconds = parse_time(&["0:0:", seconds].concat())?;
    Some(minutes + seconds)
}

/// Appends ISO 8601 as `P1Y2M3DT4H5M6.78S`, the form of Debezium's `interval.handling.mode=string`.
pub(super) fn write_interval(months: i32, days: i32, microseconds: i64, out: &mut Vec<u8>) {
    use std::io::Write;
    let (seconds, fraction) = (microseconds / 1_000_000, (microseconds % 1_000_000).abs());
    let sign = if microseconds < 0 && seconds % 60 == 0 { "-" } else { "" };
    let _ = write!(
        out,
        "P{}Y{}M{}DT{}H{}M{}",
        months / 12,
        months % 12,
        days,
        seconds / 3600,
        seconds / 60 % 60,
        if fraction != 0 { sign } else { "" },
    );
    let _ = write!(out, "{}", seconds % 60);
    if fraction != 0 {
        let start = out.len();
        let _ = write!(out, ".{fraction:06}");
        while out.len() > start && out.last() == Some(&b'0') {
            out.pop();
        }
    }
    out.push(b'S');
}

/// Months, days, microseconds of an ISO 8601 interval; every part may have its own sign.
pub(super) fn parse_interval(text: &str) -> Option<(i32, i32, i64)> {
    let mut rest = text.strip_prefix('P')?;
    let (mut months, mut days, mut microseconds) = (0_i64, 0_i64, 0_i64);
    let (mut in_time, mut any) = (false, false);
    while !rest.is_empty() {
        if !in_time && let Some(after) = rest.strip_prefix('T') {
            (in_time, rest) = (true, after);
            continue;
        }
        let end = rest.find(|c: char| c.is_ascii_alphabetic())?;
        let (number, unit) = (rest.get(..end)?, rest.get(end..end + 1)?);
        rest = rest.get(end + 1..)?;
        any = true;
        match (in_time, unit) {
            (false, "Y") => months = months.checked_add(whole(number)?.checked_mul(12)?)?,
            (false, "M") => months = months.checked_add(whole(number)?)?,
            (false, "W") => days = days.checked_add(whole(number)?.checked_mul(7)?)?,
            (false, "D") => days = days.checked_add(whole(number)?)?,
            (true, "H") => microseconds = microseconds.checked_add(whole(number)?.checked_mul(3_600_000_000)?)?,
            (true, "M") => microseconds = microseconds.checked_add(whole(number)?.checked_mul(60_000_000)?)?,
            (true, "S") => microseconds = microseconds.checked_add(seconds(number)?)?,
            _ => return None,
        }
    }
    any.then_some((i32::try_from(months).ok()?, i32::try_from(days).ok()?, microseconds))
}

fn whole(text: &str) -> Option<i64> {
    text.parse().ok()
}

/// Microseconds of `[-]S[.ffffff]`.
fn seconds(text: &str) -> Option<i64> {
    let (number, fraction) = text.split_once('.').unwrap_or((text, ""));
    let negative = number.starts_with('-');
    let exact = fraction.trim_end_matches('0');
    if exact.len() > 6 || !exact.bytes().all(|byte| byte.is_ascii_digit()) {
        return None;
    }
    let mut part: i64 = if exact.is_empty() { 0 } else { exact.parse().ok()? };
    part *= 10_i64.pow(6 - exact.len() as u32);
    let whole = whole(number)?.checked_mul(1_000_000)?;
    if negative { whole.checked_sub(part) } else { whole.checked_add(part) }
}
