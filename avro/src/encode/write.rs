//! Avro's binary primitives.

/// A zigzag variable-length integer.
pub(super) fn long(value: i64, out: &mut Vec<u8>) {
    let mut rest = ((value << 1) ^ (value >> 63)) as u64;
    while rest >= 0x80 {
        out.push(rest as u8 | 0x80);
        rest >>= 7;
    }
    out.push(rest as u8);
}

/// Length-prefixed bytes.
pub(super) fn bytes(value: &[u8], out: &mut Vec<u8>) {
    // No value in memory is longer than i64::MAX.
    long(value.len() as i64, out);
    out.extend_from_slice(value);
}

/// Length-prefixed text that `write` appends.
pub(super) fn text_with(out: &mut Vec<u8>, scratch: &mut Vec<u8>, write: impl FnOnce(&mut Vec<u8>)) {
    scratch.clear();
    write(scratch);
    bytes(scratch, out);
}

/// Branch 1 and text, or branch 0: `["null","string"]`.
pub(super) fn optional_text(value: Option<&str>, out: &mut Vec<u8>) {
    match value {
        None => out.push(0),
        Some(value) => {
            out.push(2);
            bytes(value.as_bytes(), out);
        }
    }
}

/// Branch 1 and number, or branch 0: `["null","long"]`.
pub(super) fn optional_long(value: Option<i64>, out: &mut Vec<u8>) {
    match value {
        None => out.push(0),
        Some(value) => {
            out.push(2);
            long(value, out);
        }
    }
}
