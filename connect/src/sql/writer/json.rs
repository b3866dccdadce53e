//! Cells as JSON text, for history rows and for the readable key of held rows. Exact: decimals, dates and big numbers are strings where a
//! JSON number could lose something; unavailable cells are left out.

use std::io::Write;

use topology::data::{Arena, Cell, CellRange, Column, View, decimal, time};

use crate::sql::text;

/// An object of these cells in `out`: a JSON cell, or a text cell for text columns; NULL for an empty row.
pub(crate) fn object<'a>(
    out: &mut Arena,
    arena: &Arena,
    columns: impl Iterator<Item = &'a Column>,
    row: CellRange,
    as_json: bool,
) -> Cell {
    if row.is_empty() {
        return Cell::Null;
    }
    let span = out.write_bytes(|bytes| {
        bytes.push(b'{');
        let mut first = true;
        for (cell, column) in arena.row(row).iter().zip(columns) {
            if cell.is_unavailable() {
                continue;
            }
            if !std::mem::take(&mut first) {
                bytes.push(b',');
            }
            string(&column.name, bytes);
            bytes.push(b':');
            value(arena, *cell, bytes);
        }
        bytes.push(b'}');
    });
    if as_json { Cell::Json(span) } else { Cell::Text(span) }
}

fn string(text: &str, out: &mut Vec<u8>) {
    serde_json::to_writer(out, text).expect("a Vec takes all bytes");
}

fn quoted(out: &mut Vec<u8>, write: impl FnOnce(&mut Vec<u8>)) {
    out.push(b'"');
    write(out);
    out.push(b'"');
}

fn value(arena: &Arena, cell: Cell, out: &mut Vec<u8>) {
    match arena.view(cell) {
        View::Null | View::Unavailable => out.extend_from_slice(b"null"),
        View::Bool(v) => out.extend_from_slice(if v { b"true" } else { b"false" }),
        View::I64(v) => drop(write!(out, "{v}")),
        View::U64(v) => drop(write!(out, "{v}")),
        View::F32(v) if v.is_finite() => drop(write!(out, "{v:?}")),
        View::F32(v) => quoted(out, |out| drop(write!(out, "{v}"))),
        View::F64(v) if v.is_finite() => drop(write!(out, "{v:?}")),
        View::F64(v) => quoted(out, |out| drop(write!(out, "{v}"))),
        View::Decimal { unscaled, scale } => quoted(out, |out| decimal::format(unscaled, scale, out)),
        View::Text(v) => string(v, out),
        View::Bytes(v) | View::Bits(v) => quoted(out, |out| text::hexadecimal(v, out)),
        View::Date(v) => quoted(out, |out| time::write_date(i64::from(v), out)),
        View::Time(v) => quoted(out, |out| time::write_time(v, out)),
        View::TimeTz(v) => quoted(out, |out| {
            time::write_time(v, out);
            out.push(b'Z');
        }),
        View::Timestamp(v) => quoted(out, |out| time::write_timestamp(v, out)),
        View::TimestampTz(v) => quoted(out, |out| {
            time::write_timestamp(v, out);
            out.push(b'Z');
        }),
        View::Duration(v) => drop(write!(out, "{v}")),
        View::Interval { months, days, microseconds } => {
            drop(write!(out, "{{\"months\":{months},\"days\":{days},\"microseconds\":{microseconds}}}"));
        }
        View::Uuid(v) => quoted(out, |out| text::uuid(&v, out)),
        // What arrived as JSON stays JSON; what only claims to be is kept as a string.
        View::Json(v) => match serde_json::from_str::<&serde_json::value::RawValue>(v) {
            Ok(_) => out.extend_from_slice(v.trim().as_bytes()),
            Err(_) => string(v, out),
        },
        View::Array(cells) => {
            out.push(b'[');
            for (at, element) in cells.iter().enumerate() {
                if at > 0 {
                    out.push(b',');
                }
                value(arena, *element, out);
            }
            out.push(b']');
        }
    }
}
