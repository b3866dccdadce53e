//! Pieces of MySQL's binary protocol: length-encoded bytes, and numbers, times and UUIDs as text from the stack.

/// `[-]hhh:mm:ss.ffffff`, the fraction only where it is not zero.
#[allow(clippy::cast_possible_truncation, clippy::cast_sign_loss)] // single digits
pub(super) fn put_time(microseconds: i64, out: &mut Vec<u8>) {
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

/// Writes `number × 10^-scale` as length-encoded text from a buffer on the stack.
pub(super) fn put_number(number: i128, scale: usize, out: &mut Vec<u8>) {
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

pub(super) fn put_length(length: usize, out: &mut Vec<u8>) {
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

pub(super) fn put_bytes(bytes: &[u8], out: &mut Vec<u8>) {
    put_length(bytes.len(), out);
    out.extend_from_slice(bytes);
}
