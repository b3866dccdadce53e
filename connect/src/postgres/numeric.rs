//! Exact decimals in PostgreSQL's binary form: base-10000 digits, weight, sign, display scale.

use topology::data::decimal;

const POSITIVE: u16 = 0x0000;
const NEGATIVE: u16 = 0x4000;

/// Largest number of digits after the point that the type knows.
const SCALE_MAX: i32 = 16_383;

/// Appends `unscaled × 10^(-scale)`. `digits` is scratch memory. `false` when the number is beyond the type.
pub(super) fn write(unscaled: &[u8], scale: i16, digits: &mut Vec<u8>, out: &mut Vec<u8>) -> bool {
    let is_negative = decimal::digits(unscaled, digits);
    let scale = i32::from(scale);
    let is_zero = digits.as_slice() == b"0";
    let display_scale = scale.max(0);
    if display_scale > SCALE_MAX || digits.len() > 131_072 {
        return false;
    }
    let start = out.len();
    out.extend_from_slice(&[0; 8]);
    let mut count: u16 = 0;
    let mut weight = 0i32;
    if !is_zero {
        // Decimal exponent of the first digit; groups are aligned to the decimal point.
        let first = digits.len() as i32 - 1 - scale;
        weight = first.div_euclid(4);
        let mut group: u16 = 0;
        let mut significant = out.len();
        for (at, digit) in digits.iter().enumerate() {
            let exponent = first - at as i32;
            group = group * 10 + u16::from(digit - b'0');
            if exponent.rem_euclid(4) == 0 || at + 1 == digits.len() {
                for _ in 0..exponent.rem_euclid(4) {
                    group *= 10;
                }
                out.extend_from_slice(&group.to_be_bytes());
                if group != 0 {
                    significant = out.len();
                }
                group = 0;
            }
        }
        out.truncate(significant);
        count = ((out.len() - start - 8) / 2) as u16;
    }
    let Ok(weight) = i16::try_from(weight) else { return false };
    let sign = if is_negative { NEGATIVE } else { POSITIVE };
    let header = [count, weight.cast_unsigned(), sign, display_scale as u16];
    for (at, part) in header.iter().enumerate() {
        out[start + 2 * at..start + 2 * at + 2].copy_from_slice(&part.to_be_bytes());
    }
    true
}

#[cfg(test)]
mod tests {
    use super::*;

    fn words(text: &str) -> Vec<u16> {
        let (unscaled, scale) = decimal::parse(text).unwrap();
        let mut out = Vec::new();
        assert!(write(&unscaled, scale, &mut Vec::new(), &mut out));
        out.chunks(2).map(|pair| u16::from_be_bytes([pair[0], pair[1]])).collect()
    }

    #[test]
    fn groups_are_aligned_to_the_decimal_point() {
        assert_eq!(words("0"), [0, 0, POSITIVE, 0]);
        assert_eq!(words("0.00"), [0, 0, POSITIVE, 2]);
        assert_eq!(words("1"), [1, 0, POSITIVE, 0, 1]);
        assert_eq!(words("-12345.678"), [3, 1, NEGATIVE, 3, 1, 2345, 6780]);
        assert_eq!(words("0.0001"), [1, 0xffff, POSITIVE, 4, 1]);
        assert_eq!(words("0.00001"), [1, 0xfffe, POSITIVE, 5, 1000]);
        assert_eq!(words("10000"), [1, 1, POSITIVE, 0, 1]);
        assert_eq!(words("1e8"), [1, 2, POSITIVE, 0, 1]);
        assert_eq!(words("1.50"), [2, 0, POSITIVE, 2, 1, 5000]);
    }
}
