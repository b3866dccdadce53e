//! Which Avro type a SQLite column is published as, and whether a stored value fits it exactly.
//!
//! The declared type names the usual form. A value that does not fit is published in the form of its storage class, under a schema
//! of its own: `'abc'` in an INTEGER column arrives as text, and what becomes of it is up to the target's column.

use topology::data::{Value, decimal};

use super::image::Stored;
use super::table::CapturedColumn;
use crate::capture::shape::{Form, ShapeColumn, is_plain};

/// Largest magnitude up to which every integer is a double.
const DOUBLE_INTEGER_MAX: u64 = 1 << 53;

/// The usual form of a column.
pub(super) fn usual(column: &CapturedColumn) -> Form {
    let declared = column.declared.to_ascii_uppercase();
    let has = |part: &str| declared.contains(part);
    if has("BOOL") {
        Form::Bool
    } else if has("INT") {
        Form::Long
    } else if has("JSON") {
        Form::Json
    } else if has("BLOB") || has("BINARY") {
        Form::Bytes
    } else if has("REAL") || has("FLOA") || has("DOUB") {
        Form::Double
    } else if (has("DEC") || has("NUMERIC") || has("MONEY")) && is_plain(&column.name) {
        // (A decimal's record type has no place for the real name of a column.)
        Form::Decimal
    } else {
        Form::Text
    }
}

/// The value in a form, if that loses nothing.
pub(super) fn fit(form: Form, stored: &Stored) -> Option<Value> {
    Some(match (form, stored) {
        (_, Stored::Null) => Value::Null,
        (Form::Bool, Stored::Integer(number @ (0 | 1))) => Value::Bool(*number == 1),
        (Form::Long, Stored::Integer(number)) => Value::I64(*number),
        (Form::Double, Stored::Real(real)) => Value::F64(*real),
        (Form::Double, Stored::Integer(number)) if number.unsigned_abs() <= DOUBLE_INTEGER_MAX => {
            Value::F64(*number as f64)
        }
        (Form::Decimal, Stored::Integer(number)) => {
            Value::Decimal { unscaled: decimal::minimal(&number.to_be_bytes()).to_vec(), scale: 0 }
        }
        // The shortest digits that name this double: what stood in the statement, up to 15 digits.
        (Form::Decimal, Stored::Real(real)) if real.is_finite() => Value::decimal(&format!("{real:e}"))?,
        (Form::Decimal, Stored::Text(text)) if is_decimal(text) => Value::decimal(text)?,
        (Form::Text, Stored::Text(text)) => Value::Text(text.clone()),
        (Form::Json, Stored::Text(text)) if serde_json::from_str::<serde::de::IgnoredAny>(text).is_ok() => {
            Value::Json(text.clone())
        }
        (Form::Bytes, Stored::Blob(bytes)) => Value::Bytes(bytes.clone()),
        _ => return None,
    })
}

/// The form that fits a value in any case.
pub(super) fn natural(stored: &Stored) -> Form {
    match stored {
        Stored::Integer(_) => Form::Long,
        Stored::Real(_) => Form::Double,
        Stored::Null | Stored::Text(_) => Form::Text,
        Stored::Blob(_) => Form::Bytes,
    }
}

/// Digits that a decimal gives back as they are: no exponent, no plus, no spaces, no superfluous zero in front.
fn is_decimal(text: &str) -> bool {
    let digits = text.strip_prefix('-').unwrap_or(text);
    let (whole, fraction) = digits.split_once('.').unwrap_or((digits, "0"));
    let only_digits = |part: &str| !part.is_empty() && part.bytes().all(|byte| byte.is_ascii_digit());
    only_digits(whole) && only_digits(fraction) && (whole == "0" || !whole.starts_with('0')) && !is_negative_zero(text)
}

fn is_negative_zero(text: &str) -> bool {
    text.starts_with('-') && !text.bytes().any(|byte| (b'1'..=b'9').contains(&byte))
}

/// The column of the shape that `after` (or, of a delete, `before`) fits; `before` fits it too or is left out.
pub(super) fn shape_column(column: &CapturedColumn, stored: &Stored) -> ShapeColumn {
    let usual = usual(column);
    let form = if fit(usual, stored).is_some() { usual } else { natural(stored) };
    ShapeColumn { name: column.name.clone(), form, nullable: column.nullable || *stored == Stored::Null }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn column(declared: &str) -> CapturedColumn {
        CapturedColumn { name: "c".to_owned(), declared: declared.to_owned(), nullable: false }
    }

    #[test]
    fn declared_types_name_their_form() {
        for (declared, form) in [
            ("INTEGER", Form::Long),
            ("bigint unsigned", Form::Long),
            ("VARCHAR(50)", Form::Text),
            ("TIMESTAMP", Form::Text),
            ("", Form::Text),
            ("BOOLEAN", Form::Bool),
            ("DOUBLE PRECISION", Form::Double),
            ("DECIMAL(10,2)", Form::Decimal),
            ("BLOB", Form::Bytes),
            ("JSON", Form::Json),
        ] {
            assert_eq!(usual(&column(declared)), form, "{declared}");
        }
        let odd = CapturedColumn { name: "a b".to_owned(), ..column("NUMERIC") };
        assert_eq!(usual(&odd), Form::Text);
    }

    #[test]
    fn what_does_not_fit_gets_the_form_of_its_storage_class() {
        assert_eq!(shape_column(&column("INTEGER"), &Stored::Text("abc".into())).form, Form::Text);
        assert_eq!(shape_column(&column("BOOLEAN"), &Stored::Integer(2)).form, Form::Long);
        assert_eq!(shape_column(&column("REAL"), &Stored::Integer(i64::MAX)).form, Form::Long);
        assert_eq!(shape_column(&column("JSON"), &Stored::Text("{".into())).form, Form::Text);
        assert_eq!(shape_column(&column("TEXT"), &Stored::Blob(vec![1])).form, Form::Bytes);
        assert_eq!(shape_column(&column("DECIMAL"), &Stored::Real(f64::INFINITY)).form, Form::Double);
        assert!(shape_column(&column("INTEGER"), &Stored::Null).nullable);
    }

    #[test]
    fn decimals_keep_their_digits() {
        let decimal = |stored| fit(Form::Decimal, &stored).unwrap();
        assert_eq!(decimal(Stored::Integer(-5)), Value::decimal("-5").unwrap());
        assert_eq!(decimal(Stored::Real(1.1)), Value::decimal("1.1").unwrap());
        assert_eq!(
            decimal(Stored::Text("12345678901234567890.1230".into())),
            Value::decimal("12345678901234567890.1230").unwrap()
        );
        for text in ["1e3", "+1", " 1", "01", "1.", ".5", "-0", "-0.00", "", "abc"] {
            assert_eq!(fit(Form::Decimal, &Stored::Text(text.into())), None, "{text}");
        }
    }
}
