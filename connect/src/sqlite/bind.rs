//! Cells to SQLite values. The driver owns every bound text (it hands them to its thread), so text and bytes cost one copy each here.
//!
//! P6: what the column's affinity would change silently is refused.

use sqlx::Arguments;
use sqlx::sqlite::SqliteArguments;
use topology::data::{Arena, Cell, Kind, View, decimal};

use crate::sql::plan::PlanColumn;
use crate::sql::text;

/// Why a cell can't be bound: a sentence without the value.
pub(super) type Refusal = &'static str;

/// Digits that a REAL keeps.
const REAL_DIGITS: usize = 15;

/// Appends one cell as the next argument.
pub(super) fn bind(out: &mut SqliteArguments, arena: &Arena, cell: Cell, column: &PlanColumn) -> Result<(), Refusal> {
    match arena.view(cell) {
        View::Null => add(out, None::<i64>),
        View::Unavailable => Err("the value is unavailable"),
        View::Bool(v) => add(out, i64::from(v)),
        View::I64(v) => add(out, v),
        View::U64(v) => match i64::try_from(v) {
            Ok(v) => add(out, v),
            Err(_) => number_text(out, v.to_string(), column),
        },
        View::F32(v) => float(out, f64::from(v)),
        View::F64(v) => float(out, v),
        View::Decimal { unscaled, scale } => number_text(out, decimal::to_text(unscaled, scale), column),
        View::Text(v) | View::Json(v) => add(out, v.to_owned()),
        View::Bytes(v) => add(out, v.to_vec()),
        View::Date(_)
        | View::Time(_)
        | View::TimeTz(_)
        | View::Timestamp(_)
        | View::TimestampTz(_)
        | View::Duration(_)
        | View::Interval { .. }
        | View::Uuid(_) => {
            let mut buffer = Vec::with_capacity(32);
            text::write(arena, cell, &mut buffer);
            add(out, String::from_utf8(buffer).map_err(|_| "the text form is not UTF-8")?)
        }
        View::Bits(v) => add(out, v.to_vec()),
        View::Array(_) => Err("SQLite has no arrays"),
    }
}

fn add<'t, T>(out: &mut SqliteArguments, value: T) -> Result<(), Refusal>
where
    T: sqlx::Encode<'t, sqlx::Sqlite> + sqlx::Type<sqlx::Sqlite>,
{
    out.add(value).map_err(|_| "the driver refused the value")
}

fn float(out: &mut SqliteArguments, value: f64) -> Result<(), Refusal> {
    if value.is_nan() {
        return Err("SQLite stores NaN as NULL");
    }
    add(out, value)
}

/// A number as text. A text column keeps it as it is; a numeric one makes a REAL of it, exact up to 15 digits, and drops trailing zeros.
fn number_text(out: &mut SqliteArguments, number: String, column: &PlanColumn) -> Result<(), Refusal> {
    if matches!(column.kind, Kind::Text { .. }) {
        return add(out, number);
    }
    let digits = number.bytes().filter(u8::is_ascii_digit).skip_while(|digit| *digit == b'0').count();
    if digits > REAL_DIGITS && number.parse::<i64>().is_err() {
        return Err("the column keeps 15 digits; declare it TEXT to keep more");
    }
    add(out, number)
}
