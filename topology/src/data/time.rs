//! Calendar arithmetic for the proleptic Gregorian calendar, and text forms of dates and times. No time zones: instants are UTC.

/// Microseconds of one day.
pub const DAY_MICROSECONDS: i64 = 86_400_000_000;

/// Year, month (1–12) and day (1–31) of a day number since 1970-01-01.
pub fn civil_from_days(days: i64) -> (i64, u32, u32) {
    // Howard Hinnant's "chrono-Compatible Low-Level Date Algorithms".
    let shifted = days + 719_468;
    let era = shifted.div_euclid(146_097);
    let day_of_era = shifted.rem_euclid(146_097);
    let year_of_era = (day_of_era - day_of_era / 1_460 + day_of_era / 36_524 - day_of_era / 146_096) / 365;
    let day_of_year = day_of_era - (365 * year_of_era + year_of_era / 4 - year_of_era / 100);
    let month_shifted = (5 * day_of_year + 2) / 153;
    let day = (day_of_year - (153 * month_shifted + 2) / 5 + 1) as u32;
    let month = if month_shifted < 10 { month_shifted + 3 } else { month_shifted - 9 } as u32;
    (year_of_era + era * 400 + i64::from(month <= 2), month, day)
}

/// Day number since 1970-01-01.
pub fn days_from_civil(year: i64, month: u32, day: u32) -> i64 {
    let year = if month <= 2 { year - 1 } else { year };
    let era = year.div_euclid(400);
    let year_of_era = year.rem_euclid(400);
    let month = i64::from(month);
    let day_of_year = (153 * (if month > 2 { month - 3 } else { month + 9 }) + 2) / 5 + i64::from(day) - 1;
    let day_of_era = year_of_era * 365 + year_of_era / 4 - year_of_era / 100 + day_of_year;
    era * 146_097 + day_of_era - 719_468
}

/// Appends `YYYY-MM-DD` (years below 1 and above 9999 with sign or more digits, as ISO 8601 extends it).
pub fn write_date(days: i64, out: &mut Vec<u8>) {
    let (year, month, day) = civil_from_days(days);
    write_padded(year, 4, out);
    out.push(b'-');
    write_padded(i64::from(month), 2, out);
    out.push(b'-');
    write_padded(i64::from(day), 2, out);
}

/// Appends `HH:MM:SS[.ffffff]` for microseconds past midnight; the fraction only when it is not zero, always six digits.
pub fn write_time(microseconds: i64, out: &mut Vec<u8>) {
    let seconds = microseconds.div_euclid(1_000_000);
    let fraction = microseconds.rem_euclid(1_000_000);
    write_padded(seconds / 3600, 2, out);
    out.push(b':');
    write_padded(seconds / 60 % 60, 2, out);
    out.push(b':');
    write_padded(seconds % 60, 2, out);
    if fraction != 0 {
        out.push(b'.');
        write_padded(fraction, 6, out);
    }
}

/// Appends `YYYY-MM-DD HH:MM:SS[.ffffff]`.
pub fn write_timestamp(microseconds: i64, out: &mut Vec<u8>) {
    write_date(microseconds.div_euclid(DAY_MICROSECONDS), out);
    out.push(b' ');
    write_time(microseconds.rem_euclid(DAY_MICROSECONDS), out);
}

fn write_padded(number: i64, width: usize, out: &mut Vec<u8>) {
    if number < 0 {
        out.push(b'-');
    }
    let mut digits = [0u8; 20];
    let mut at = digits.len();
    let mut rest = number.unsigned_abs();
    while rest > 0 || at == digits.len() {
        at -= 1;
        digits[at] = b'0' + (rest % 10) as u8;
        rest /= 10;
    }
    out.extend(std::iter::repeat_n(b'0', width.saturating_sub(digits.len() - at)));
    out.extend_from_slice(&digits[at..]);
}

/// Microseconds since the epoch of `YYYY-MM-DD[T| ]HH:MM:SS[.fraction][Z|±HH[:MM[:SS]]]`; without zone as if UTC.
/// More than six digits of fraction are accepted only when the rest are zeros: nothing is rounded (P6).
pub fn parse_timestamp(text: &str) -> Option<i64> {
    let at = text.char_indices().skip(1).find(|(_, c)| *c == 'T' || *c == ' ' || *c == 't').map(|(at, _)| at)?;
    let day = parse_date(text.get(..at)?)?;
    let (time, offset_seconds) = split_zone(text.get(at + 1..)?)?;
    let microseconds = parse_time(time)?;
    day.checked_mul(DAY_MICROSECONDS)?.checked_add(microseconds)?.checked_sub(offset_seconds * 1_000_000)
}

/// Day number of `[-|+]YYYY-MM-DD`, checked against the calendar.
pub fn parse_date(text: &str) -> Option<i64> {
    let (sign, body) = match text.as_bytes().first()? {
        b'-' => (-1, text.get(1..)?),
        b'+' => (1, text.get(1..)?),
        _ => (1, text),
    };
    let mut parts = body.split('-');
    let year: i64 = number(parts.next()?)?;
    let month = u32::try_from(number(parts.next()?)?).ok()?;
    let day = u32::try_from(number(parts.next()?)?).ok()?;
    if parts.next().is_some() || !(1..=12).contains(&month) || !(1..=31).contains(&day) || year > 9_999_999 {
        return None;
    }
    let days = days_from_civil(sign * year, month, day);
    (civil_from_days(days) == (sign * year, month, day)).then_some(days)
}

/// Microseconds of `HH:MM[:SS[.fraction]]`, 00:00 to 24:00.
pub fn parse_time(text: &str) -> Option<i64> {
    let mut parts = text.splitn(3, ':');
    let hours = number(parts.next()?)?;
    let minutes = number(parts.next()?)?;
    let (seconds, microseconds) = match parts.next() {
        None => (0, 0),
        Some(rest) => match rest.split_once('.') {
            None => (number(rest)?, 0),
            Some((seconds, fraction)) => (number(seconds)?, parse_fraction(fraction)?),
        },
    };
    let total = (hours * 3600 + minutes * 60 + seconds) * 1_000_000 + microseconds;
    (minutes < 60 && seconds < 60 && total <= DAY_MICROSECONDS).then_some(total)
}

/// Splits off `Z` or a numeric offset; the offset in seconds.
pub fn split_zone(text: &str) -> Option<(&str, i64)> {
    if let Some(time) = text.strip_suffix(['Z', 'z']) {
        return Some((time, 0));
    }
    let Some(at) = text.rfind(['+', '-']) else { return Some((text, 0)) };
    let sign = if text.as_bytes()[at] == b'-' { -1 } else { 1 };
    let mut parts = text.get(at + 1..)?.splitn(3, ':');
    let hours = number(parts.next()?)?;
    let minutes = parts.next().map_or(Some(0), number)?;
    let seconds = parts.next().map_or(Some(0), number)?;
    (hours <= 18 && minutes < 60 && seconds < 60)
        .then_some((text.get(..at)?, sign * (hours * 3600 + minutes * 60 + seconds)))
}

fn parse_fraction(fraction: &str) -> Option<i64> {
    if fraction.is_empty() || !fraction.bytes().all(|b| b.is_ascii_digit()) {
        return None;
    }
    let exact = fraction.trim_end_matches('0');
    if exact.len() > 6 {
        return None;
    }
    let value: i64 = if exact.is_empty() { 0 } else { exact.parse().ok()? };
    Some(value * 10_i64.pow(6 - u32::try_from(exact.len()).ok()?))
}

fn number(text: &str) -> Option<i64> {
    if text.is_empty() || text.len() > 10 || !text.bytes().all(|b| b.is_ascii_digit()) {
        return None;
    }
    text.parse().ok()
}

#[cfg(test)]
mod tests {
    use super::*;

    fn text(microseconds: i64) -> String {
        let mut out = Vec::new();
        write_timestamp(microseconds, &mut out);
        String::from_utf8(out).unwrap()
    }

    #[test]
    fn timestamps_survive_the_way_through_text() {
        for sample in [
            "1970-01-01 00:00:00",
            "2024-02-29 21:59:59.123456",
            "0001-01-01 00:00:00",
            "9999-12-31 23:59:59.999999",
            "1969-12-31 23:59:59.000001",
        ] {
            assert_eq!(text(parse_timestamp(sample).unwrap()), sample);
        }
        assert_eq!(text(parse_timestamp("2024-02-29T21:59:59.5+02:00").unwrap()), "2024-02-29 19:59:59.500000");
    }

    #[test]
    fn impossible_days_and_fractions_that_would_be_rounded_are_refused() {
        for sample in [
            "2023-02-29 00:00:00",
            "2024-13-01 00:00:00",
            "2024-01-01 24:00:01",
            "2024-01-01 00:00:00.1234567",
            "nonsense",
            "infinity",
        ] {
            assert_eq!(parse_timestamp(sample), None, "{sample}");
        }
    }
}
