//! The text form of a cell, as SQL engines read it: for columns that an engine takes as text. Exact; nothing is rounded.

use std::io::Write;

use topology::data::{Arena, Cell, View, decimal, time};

/// Appends the text form of a scalar. `false` for NULL, unavailable and arrays, which have none.
pub fn write(arena: &Arena, cell: Cell, out: &mut Vec<u8>) -> bool {
    match arena.view(cell) {
        View::Null | View::Unavailable | View::Array(_) => return false,
        View::Bool(v) => out.extend_from_slice(if v { b"true" } else { b"false" }),
        View::I64(v) => drop(write!(out, "{v}")),
        View::U64(v) => drop(write!(out, "{v}")),
        // The shortest text that reads back as the same number; NaN and infinities as both Rust and PostgreSQL spell them.
        View::F32(v) => float(f64::from(v).is_finite(), format_args!("{v:?}"), format_args!("{v}"), out),
        View::F64(v) => float(v.is_finite(), format_args!("{v:?}"), format_args!("{v}"), out),
        View::Decimal { unscaled, scale } => decimal::format(unscaled, scale, out),
        View::Text(v) | View::Json(v) => out.extend_from_slice(v.as_bytes()),
        View::Bytes(v) => {
            out.extend_from_slice(b"\\x");
            hexadecimal(v, out);
        }
        View::Date(v) => time::write_date(i64::from(v), out),
        View::Time(v) => time::write_time(v, out),
        View::TimeTz(v) => {
            time::write_time(v, out);
            out.push(b'Z');
        }
        View::Timestamp(v) => time::write_timestamp(v, out),
        View::TimestampTz(v) => {
            time::write_timestamp(v, out);
            out.push(b'Z');
        }
        View::Duration(v) => duration(v, out),
        View::Interval { months, days, microseconds } => {
            let sign = if microseconds < 0 { "-" } else { "" };
            let (seconds, fraction) =
                (microseconds.unsigned_abs() / 1_000_000, microseconds.unsigned_abs() % 1_000_000);
            drop(write!(out, "P{months}M{days}DT{sign}{seconds}.{fraction:06}S"));
        }
        View::Uuid(v) => uuid(&v, out),
        View::Bits(v) => {
            for byte in v.iter().rev() {
                drop(write!(out, "{byte:08b}"));
            }
        }
    }
    true
}

fn float(finite: bool, exact: std::fmt::Arguments<'_>, odd: std::fmt::Arguments<'_>, out: &mut Vec<u8>) {
    drop(out.write_fmt(if finite { exact } else { odd }));
}

/// Appends lower-case hexadecimal digits.
pub fn hexadecimal(bytes: &[u8], out: &mut Vec<u8>) {
    for byte in bytes {
        for nibble in [byte >> 4, byte & 15] {
            out.push(b"0123456789abcdef"[usize::from(nibble)]);
        }
    }
}

/// Appends a uuid with its hyphens.
pub fn uuid(bytes: &[u8; 16], out: &mut Vec<u8>) {
    for (at, byte) in bytes.iter().enumerate() {
        if matches!(at, 4 | 6 | 8 | 10) {
            out.push(b'-');
        }
        hexadecimal(&[*byte], out);
    }
}

/// Appends `[-]HH:MM:SS[.ffffff]`, hours without limit.
pub fn duration(microseconds: i64, out: &mut Vec<u8>) {
    if microseconds < 0 {
        out.push(b'-');
    }
    let total = microseconds.unsigned_abs();
    let (hours, rest) = (total / 3_600_000_000, total % 3_600_000_000);
    drop(write!(out, "{hours:02}:{:02}:{:02}", rest / 60_000_000, rest / 1_000_000 % 60));
    if rest % 1_000_000 != 0 {
        drop(write!(out, ".{:06}", rest % 1_000_000));
    }
}
