//! Exact decimals of any length: two's complement big-endian bytes to and from text, without rounding.

/// The shortest two's complement form of the same number (at least one byte).
pub fn minimal(bytes: &[u8]) -> &[u8] {
    let mut rest = bytes;
    while let [first, second, ..] = rest {
        let redundant = (*first == 0x00 && second & 0x80 == 0) || (*first == 0xff && second & 0x80 != 0);
        if !redundant {
            break;
        }
        rest = &rest[1..];
    }
    if rest.is_empty() { &[0] } else { rest }
}

/// The number as i128, when it fits.
pub fn to_i128(unscaled: &[u8]) -> Option<i128> {
    let bytes = minimal(unscaled);
    if bytes.len() > 16 {
        return None;
    }
    let fill = if bytes[0] & 0x80 != 0 { 0xff } else { 0 };
    let mut wide = [fill; 16];
    wide[16 - bytes.len()..].copy_from_slice(bytes);
    Some(i128::from_be_bytes(wide))
}

/// Sign and magnitude digits ('0'..='9', no leading zeros except the number zero) of an unscaled number.
/// `digits` is cleared first and reused, so that callers in loops allocate nothing.
pub fn digits(unscaled: &[u8], digits: &mut Vec<u8>) -> bool {
    digits.clear();
    if let Some(number) = to_i128(unscaled) {
        let mut magnitude = number.unsigned_abs();
        while magnitude > 0 {
            digits.push(b'0' + (magnitude % 10) as u8);
            magnitude /= 10;
        }
        if digits.is_empty() {
            digits.push(b'0');
        }
        digits.reverse();
        return number < 0;
    }
    let negative = unscaled[0] & 0x80 != 0;
    let mut magnitude = unscaled.to_vec();
    if negative {
        negate(&mut magnitude);
    }
    // Long division by 10^9, most significant limb first: quadratic, and only for numbers over 38 digits.
    let mut limbs: Vec<u32> = magnitude
        .rchunks(4)
        .rev()
        .map(|limb| limb.iter().fold(0, |number, byte| (number << 8) | u32::from(*byte)))
        .collect();
    let mut start = 0;
    while start < limbs.len() {
        let mut remainder: u64 = 0;
        for limb in &mut limbs[start..] {
            // Below 10^9 * 2^32, so that the quotient fits a limb.
            let value = (remainder << 32) | u64::from(*limb);
            *limb = (value / 1_000_000_000) as u32;
            remainder = value % 1_000_000_000;
        }
        while limbs.get(start) == Some(&0) {
            start += 1;
        }
        for _ in 0..9 {
            digits.push(b'0' + (remainder % 10) as u8);
            remainder /= 10;
        }
    }
    while digits.len() > 1 && digits.last() == Some(&b'0') {
        digits.pop();
    }
    digits.reverse();
    negative
}

fn negate(bytes: &mut [u8]) {
    let mut carry = true;
    for byte in bytes.iter_mut().rev() {
        let (value, overflow) = (!*byte).overflowing_add(u8::from(carry));
        *byte = value;
        carry = overflow;
    }
}

/// Appends the plain text form, as `-12.340`; a negative scale appends zeros.
pub fn format(unscaled: &[u8], scale: i16, out: &mut Vec<u8>) {
    let mut buffer = Vec::with_capacity(40);
    let negative = digits(unscaled, &mut buffer);
    if negative {
        out.push(b'-');
    }
    if scale <= 0 {
        out.extend_from_slice(&buffer);
        if buffer != b"0" {
            out.extend(std::iter::repeat_n(b'0', usize::from(scale.unsigned_abs())));
        }
        return;
    }
    let scale = usize::from(scale.unsigned_abs());
    if buffer.len() <= scale {
        out.extend_from_slice(b"0.");
        out.extend(std::iter::repeat_n(b'0', scale - buffer.len()));
        out.extend_from_slice(&buffer);
    } else {
        let point = buffer.len() - scale;
        out.extend_from_slice(&buffer[..point]);
        out.push(b'.');
        out.extend_from_slice(&buffer[point..]);
    }
}

/// The plain text form as a string.
pub fn to_text(unscaled: &[u8], scale: i16) -> String {
    let mut out = Vec::with_capacity(40);
    format(unscaled, scale, &mut out);
    String::from_utf8(out).expect("digits, point and sign are ASCII")
}

/// Digits of the longest number that any target can hold: PostgreSQL's `numeric` has up to 131072 before and 16383 after the point. The work
/// grows with the square of them, so what is longer is refused unread.
pub const DIGITS_MAX: usize = 131_072 + 16_383;

/// Bytes of the longest unscaled number with [`DIGITS_MAX`] digits: log2 10 is a little less than 3.3220 bits each, and a sign.
pub const UNSCALED_BYTES_MAX: usize = DIGITS_MAX * 33_220 / 80_000 + 2;

/// Unscaled bytes and scale of `[+-]digits[.digits][e[+-]digits]`. `None` for anything else (also NaN and Infinity),
/// and for more than [`DIGITS_MAX`] digits.
pub fn parse(text: &str) -> Option<(Vec<u8>, i16)> {
    let (mantissa, exponent) = match text.find(['e', 'E']) {
        Some(at) => (text.get(..at)?, text.get(at + 1..)?.parse::<i32>().ok()?),
        None => (text, 0),
    };
    let (negative, mantissa) = match mantissa.as_bytes().first()? {
        b'-' => (true, &mantissa[1..]),
        b'+' => (false, &mantissa[1..]),
        _ => (false, mantissa),
    };
    let (whole, fraction) = mantissa.split_once('.').unwrap_or((mantissa, ""));
    if whole.is_empty() && fraction.is_empty() {
        return None;
    }
    let scale = i16::try_from(i32::try_from(fraction.len()).ok()?.checked_sub(exponent)?).ok()?;
    if whole.len() + fraction.len() > DIGITS_MAX {
        return None;
    }
    // Little-endian limbs, nine digits at a time.
    let mut limbs: Vec<u32> = Vec::with_capacity(4);
    let (mut value, mut factor) = (0, 1);
    for digit in whole.bytes().chain(fraction.bytes()) {
        if !digit.is_ascii_digit() {
            return None;
        }
        (value, factor) = (value * 10 + u32::from(digit - b'0'), factor * 10);
        if factor == 1_000_000_000 {
            multiply_add(&mut limbs, factor, value);
            (value, factor) = (0, 1);
        }
    }
    multiply_add(&mut limbs, factor, value);
    let mut bytes: Vec<u8> = Vec::with_capacity(4 * limbs.len() + 1);
    bytes.push(0);
    bytes.extend(limbs.iter().rev().flat_map(|limb| limb.to_be_bytes()));
    if negative {
        negate(&mut bytes);
    }
    Some((minimal(&bytes).to_vec(), scale))
}

/// `limbs = limbs * factor + value`.
fn multiply_add(limbs: &mut Vec<u32>, factor: u32, value: u32) {
    let mut carry = u64::from(value);
    for limb in limbs.iter_mut() {
        let sum = u64::from(*limb) * u64::from(factor) + carry;
        (*limb, carry) = (sum as u32, sum >> 32);
    }
    if carry > 0 {
        limbs.push(carry as u32);
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn round(text: &str) -> String {
        let (unscaled, scale) = parse(text).unwrap();
        to_text(&unscaled, scale)
    }

    #[test]
    fn text_survives_the_way_through_bytes() {
        let long = format!("-{}.{}", "9".repeat(60), "123456789".repeat(5));
        for text in ["0", "0.00", "-0.05", "99999999.99", "-1", "128", "-128", "32768", "-32769", "1.250000", &long] {
            assert_eq!(round(text), text);
        }
        assert_eq!(round("1e3"), "1000");
        assert_eq!(round("+12.5e-1"), "1.25");
    }

    #[test]
    fn what_is_not_a_number_is_refused() {
        for text in ["", "-", ".", "NaN", "1x", "Infinity", "1e", "--1"] {
            assert_eq!(parse(text), None, "{text}");
        }
        assert!(parse(&"9".repeat(DIGITS_MAX)).is_some());
        assert_eq!(parse(&"9".repeat(DIGITS_MAX + 1)), None);
        assert_eq!(parse("1e-40000"), None);
    }

    #[test]
    fn numbers_of_all_lengths_survive_the_way_through_bytes() {
        for length in (1..60).chain([1000, 10_000]) {
            let text = "987654321".repeat(length / 9 + 1)[..length].to_owned();
            assert_eq!(round(&text), text);
            assert_eq!(round(&format!("-{text}")), format!("-{text}"));
        }
    }

    #[test]
    fn the_longest_number_fits_its_bytes() {
        let (unscaled, _) = parse(&"9".repeat(DIGITS_MAX)).unwrap();
        assert!((UNSCALED_BYTES_MAX - 4..=UNSCALED_BYTES_MAX).contains(&unscaled.len()), "{}", unscaled.len());
    }

    #[test]
    fn unscaled_bytes_match_debezium() {
        // DEBEZIUM's sample: 18446744073709551615 as decimal(20,0).
        let bytes = [0, 0xff, 0xff, 0xff, 0xff, 0xff, 0xff, 0xff, 0xff];
        assert_eq!(to_text(&bytes, 0), "18446744073709551615");
        assert_eq!(to_text(&[0xff], 6), "-0.000001");
    }
}
