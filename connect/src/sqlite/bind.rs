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
            Err(_) => number_text(out, &v.to_string(), column),
        },
        View::F32(v) => float(out, f64::from(v)),
        View::F64(v) => float(out, v),
        View::Decimal { unscaled, scale } => number_text(out, &decimal::to_text(unscaled, scale), column),
        View::Text(v) | View::Json(v) if is_made_a_number(v, column) => number_text(out, v, column),
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

/// True for a text that reads as a number, in a column whose affinity is not TEXT or BLOB ("Determination Of Column Affinity" in SQLite's manual).
/// Some that stay texts are among them; those of types that we know as dates, times and UUIDs never are.
fn is_made_a_number(text: &str, column: &PlanColumn) -> bool {
    if matches!(column.kind, Kind::Text { .. } | Kind::Bytes { .. }) {
        return false;
    }
    let text = text.trim();
    let starts = text.as_bytes().first().is_some_and(|first| matches!(first, b'0'..=b'9' | b'+' | b'-' | b'.'));
    if !starts || !text.bytes().all(|byte| matches!(byte, b'0'..=b'9' | b'+' | b'-' | b'.' | b'e' | b'E')) {
        return false;
    }
    let declared = column.native.to_ascii_uppercase();
    let has = |words: &[&str]| words.iter().any(|word| declared.contains(word));
    has(&["INT"]) || !(declared.is_empty() || has(&["CHAR", "CLOB", "TEXT", "BLOB"]))
}

/// A number as text. A text column keeps it as it is; a numeric one makes a REAL of it, exact up to 15 digits, and drops zeros that say nothing,
/// which are part of a text.
fn number_text(out: &mut SqliteArguments, number: &str, column: &PlanColumn) -> Result<(), Refusal> {
    if matches!(column.kind, Kind::Text { .. }) {
        return add(out, number.to_owned());
    }
    if matches!(column.kind, Kind::Other(_)) {
        return Err("the column would make a number of the text; declare it TEXT");
    }
    let digits = number.bytes().filter(u8::is_ascii_digit).skip_while(|digit| *digit == b'0').count();
    if digits > REAL_DIGITS && number.parse::<i64>().is_err() {
        return Err("the column keeps 15 digits; declare it TEXT to keep more");
    }
    add(out, number.to_owned())
}

#[cfg(test)]
mod tests {
    use topology::table::Generated;

    use super::super::introspect::kind_of;
    use super::*;

    fn column(native: &str) -> PlanColumn {
        PlanColumn {
            name: "code".into(),
            kind: kind_of(native),
            native: native.into(),
            generated: Generated::Never,
            equates: false,
        }
    }

    fn bound(native: &str, text: &str) -> Result<(), Refusal> {
        let mut arena = Arena::default();
        let cell = arena.push_value(&text.into());
        bind(&mut SqliteArguments::default(), &arena, cell, &column(native))
    }

    /// P6: `code STRING` has the affinity NUMERIC, and '007' would become 7 there.
    #[test]
    fn texts_that_the_column_would_make_numbers_of_are_refused() {
        for text in ["007", "1e3", " 7", "-.5", "123456789012345678.91"] {
            assert!(bound("STRING", text).is_err(), "{text}");
            assert_eq!(bound("VARCHAR(30)", text), Ok(()), "{text}");
        }
        for text in ["", "a7", "1-a", "2024-01-01T00:00:00Z", "12:30"] {
            assert_eq!(bound("STRING", text), Ok(()), "{text}");
        }
        assert_eq!(bound("JSON", "12"), Ok(()));
        assert!(bound("JSON", "12345678901234567890").is_err());
        assert!(matches!(kind_of("NUMBER(20,2)"), Kind::Decimal { precision: Some(20), scale: Some(2) }));
    }
}
