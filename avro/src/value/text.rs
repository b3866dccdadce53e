//! Text forms that only sources use: intervals, UUIDs, zoned times; and exact change of a decimal's scale.

use topology::data::{decimal, time};

/// Microseconds since the epoch of `YYYY-MM-DDTHH:MM:SS[.ffffff]Z`, the only form that Debezium writes; `None` for any other, which
/// [`time::parse_timestamp`] may still read.
pub(crate) fn parse_utc(text: &str) -> Option<i64> {
    let (head, tail) = text.as_bytes().split_first_chunk::<19>()?;
    if [head[4], head[7], head[10], head[13], head[16]] != *b"--T::" {
        return None;
    }
    let two = |at: usize| -> Option<u32> {
        let (tens, ones) = (head[at].wrapping_sub(b'0'), head[at + 1].wrapping_sub(b'0'));
        (tens < 10 && ones < 10).then(|| u32::from(tens) * 10 + u32::from(ones))
    };
    let year = i64::from(two(0)? * 100 + two(2)?);
    let (month, day, hour, minute, second) = (two(5)?, two(8)?, two(11)?, two(14)?, two(17)?);
    let is_leap = year % 4 == 0 && (year % 100 != 0 || year % 400 == 0);
    let days_in_month = match month {
        1 | 3 | 5 | 7 | 8 | 10 | 12 => 31,
        4 | 6 | 9 | 11 => 30,
        2 if is_leap => 29,
        2 => 28,
        _ => return None,
    };
    if day == 0 || day > days_in_month || hour > 23 || minute > 59 || second > 59 {
        return None;
    }
    let fraction = match tail {
        [b'Z'] => 0,
        [b'.', digits @ .., b'Z'] if (1..=6).contains(&digits.len()) => {
            let mut value = 0_i64;
            for digit in digits {
                let digit = digit.wrapping_sub(b'0');
                if digit > 9 {
                    return None;
                }
                value = value * 10 + i64::from(digit);
            }
            value * 10_i64.pow(6 - digits.len() as u32)
        }
        _ => return None,
    };
    let seconds = i64::from(hour * 3_600 + minute * 60 + second);
    Some(time::days_from_civil(year, month, day) * time::DAY_MICROSECONDS + seconds * 1_000_000 + fraction)
}

/// Months, days and microseconds of an ISO 8601 duration such as `P1Y2M3DT4H5M6.78S`, each part maybe negative.
pub(crate) fn parse_interval(text: &str) -> Option<(i32, i32, i64)> {
    let (sign, body) = match text.strip_prefix('-') {
        Some(body) => (-1, body),
        None => (1, text),
    };
    let body = body.strip_prefix('P')?;
    let (date, clock) = match body.split_once('T') {
        Some((date, clock)) if !clock.is_empty() => (date, clock),
        Some(_) => return None,
        None => (body, ""),
    };
    if date.is_empty() && clock.is_empty() {
        return None;
    }
    let (mut months, mut days, mut microseconds) = (0_i64, 0_i64, 0_i64);
    for (number, letter) in parts(date) {
        let number: i64 = number.parse().ok()?;
        match letter {
            'Y' => months = months.checked_add(number.checked_mul(12)?)?,
            'M' => months = months.checked_add(number)?,
            'W' => days = days.checked_add(number.checked_mul(7)?)?,
            'D' => days = days.checked_add(number)?,
            _ => return None,
        }
    }
    for (number, letter) in parts(clock) {
        let part = match letter {
            'H' => number.parse::<i64>().ok()?.checked_mul(3_600_000_000)?,
            'M' => number.parse::<i64>().ok()?.checked_mul(60_000_000)?,
            'S' => seconds(number)?,
            _ => return None,
        };
        microseconds = microseconds.checked_add(part)?;
    }
    Some((i32::try_from(months * sign).ok()?, i32::try_from(days * sign).ok()?, microseconds.checked_mul(sign)?))
}

/// Cuts `1Y2M` into ("1", 'Y'), ("2", 'M'); a rest without letter gets `'?'`, which no caller accepts.
fn parts(mut text: &str) -> impl Iterator<Item = (&str, char)> {
    std::iter::from_fn(move || {
        if text.is_empty() {
            return None;
        }
        match text.char_indices().find(|(_, c)| c.is_alphabetic()) {
            Some((at, letter)) => {
                let number = &text[..at];
                text = &text[at + letter.len_utf8()..];
                Some((number, letter))
            }
            None => {
                let rest = std::mem::take(&mut text);
                Some((rest, '?'))
            }
        }
    })
}

fn seconds(text: &str) -> Option<i64> {
    let (unscaled, scale) = decimal::parse(text)?;
    let micro = rescale(&unscaled, scale, 6)?;
    i64::try_from(decimal::to_i128(&micro)?).ok()
}

/// Microseconds past midnight UTC of `HH:MM[:SS[.f]]` with `Z` or an offset. 24:00 stays only without an offset.
pub(crate) fn parse_zoned_time(text: &str) -> Option<i64> {
    let (clock, offset_seconds) = time::split_zone(text)?;
    let local = time::parse_time(clock)?;
    if offset_seconds == 0 {
        return Some(local);
    }
    Some((local - offset_seconds * 1_000_000).rem_euclid(time::DAY_MICROSECONDS))
}

/// Sixteen bytes of a UUID in the usual form, with or without hyphens.
pub(crate) fn parse_uuid(text: &str) -> Option<[u8; 16]> {
    let bytes = text.as_bytes();
    let hyphens = match bytes.len() {
        36 => true,
        32 => false,
        _ => return None,
    };
    let mut out = [0_u8; 16];
    let mut at = 0;
    for (index, slot) in out.iter_mut().enumerate() {
        if hyphens && matches!(index, 4 | 6 | 8 | 10) {
            if bytes.get(at) != Some(&b'-') {
                return None;
            }
            at += 1;
        }
        *slot = parse_hex_digit(*bytes.get(at)?)? << 4 | parse_hex_digit(*bytes.get(at + 1)?)?;
        at += 2;
    }
    Some(out)
}

/// Value of one hexadecimal digit.
pub(crate) fn parse_hex_digit(digit: u8) -> Option<u8> {
    match digit {
        b'0'..=b'9' => Some(digit - b'0'),
        b'a'..=b'f' => Some(digit - b'a' + 10),
        b'A'..=b'F' => Some(digit - b'A' + 10),
        _ => None,
    }
}

/// The unscaled number at another scale, when that is exact.
pub(crate) fn rescale(unscaled: &[u8], from: i16, to: i16) -> Option<Vec<u8>> {
    if from == to {
        return Some(decimal::minimal(unscaled).to_vec());
    }
    // Through digits: rare (keys in headers, JSON numbers), and exact at any length.
    let mut digits = Vec::new();
    let negative = decimal::digits(unscaled, &mut digits);
    if digits == b"0" {
        return Some(vec![0]);
    }
    let change = i32::from(to) - i32::from(from);
    if change >= 0 {
        digits.extend(std::iter::repeat_n(b'0', usize::try_from(change).ok()?));
    } else {
        for _ in 0..-change {
            if digits.pop() != Some(b'0') {
                return None;
            }
        }
    }
    if negative {
        digits.insert(0, b'-');
    }
    decimal::parse(std::str::from_utf8(&digits).ok()?).map(|(unscaled, _)| unscaled)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn intervals_keep_months_days_and_microseconds_apart() {
        assert_eq!(parse_interval("P1Y2M3DT4H5M6.78S"), Some((14, 3, 14_706_780_000)));
        assert_eq!(parse_interval("P0Y-1M0DT0H0M-0.000001S"), Some((-1, 0, -1)));
        assert_eq!(parse_interval("PT0S"), Some((0, 0, 0)));
        for text in ["", "P", "PT", "1D", "P1", "P1X", "PT1.0000001S", "P1DT1D"] {
            assert_eq!(parse_interval(text), None, "{text}");
        }
    }

    #[test]
    fn the_quick_way_reads_timestamps_as_the_general_one_does() {
        for text in [
            "2018-06-20T13:37:03Z",
            "2024-02-29T21:59:59.123456Z",
            "2024-02-29T21:59:59.5Z",
            "0000-01-01T00:00:00Z",
            "9999-12-31T23:59:59.999999Z",
            "2023-02-29T00:00:00Z",
            "1900-02-29T00:00:00Z",
            "2023-13-01T00:00:00Z",
            "2023-01-00T00:00:00Z",
            "2023-01-01T00:60:00Z",
            "2023-01-01T00:00:0xZ",
            "2023-01-01T00:00:00.Z",
        ] {
            assert_eq!(parse_utc(text), time::parse_timestamp(text), "{text}");
        }
        assert_eq!(parse_utc("2018-06-20T13:37:03+02:00"), None);
        assert_eq!(parse_utc("ü"), None);
    }

    #[test]
    fn zoned_times_wrap_around_midnight() {
        assert_eq!(parse_zoned_time("23:30:00-02:00"), Some(5_400_000_000));
        assert_eq!(parse_zoned_time("24:00:00Z"), Some(86_400_000_000));
        assert_eq!(parse_zoned_time("noon"), None);
    }

    #[test]
    fn uuids_are_sixteen_bytes_or_nothing() {
        let bytes = parse_uuid("00112233-4455-6677-8899-aAbBccddeeff").unwrap();
        assert_eq!(bytes[0..3], [0, 0x11, 0x22]);
        assert_eq!(bytes[15], 0xff);
        for text in
            ["", "00112233-4455-6677-8899-aabbccddeef", "00112233x4455-6677-8899-aabbccddeeff", "ü".repeat(18).as_str()]
        {
            assert_eq!(parse_uuid(text), None);
        }
    }

    #[test]
    fn a_decimal_changes_its_scale_exactly_or_not_at_all() {
        assert_eq!(rescale(&[12], 0, 2), Some(vec![4, 0xb0]));
        assert_eq!(rescale(&[0xff], 0, 1), Some(vec![0xf6]));
        assert_eq!(rescale(&[120], 1, 0), Some(vec![12]));
        assert_eq!(rescale(&[121], 1, 0), None);
    }
}
