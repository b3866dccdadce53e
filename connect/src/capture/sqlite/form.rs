//! Which type a SQLite column is published as, and whether a stored value fits it exactly.
//!
//! The declared type names the usual form. A value that does not fit is published in the form of its storage class, under a schema
//! of its own: `'abc'` in an INTEGER column arrives as text, and what becomes of it is up to the target's column.

use topology::data::{Column, Kind, Value, decimal};

use super::image::Stored;
use super::table::CapturedColumn;

/// Largest magnitude up to which every integer is a double.
const DOUBLE_INTEGER_MAX: u64 = 1 << 53;

/// How the values of a column are published.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub(super) enum Form {
    Bool,
    Long,
    Double,
    Decimal,
    Text,
    Json,
    Bytes,
}

impl Form {
    fn kind(self) -> Kind {
        match self {
            Form::Bool => Kind::Bool,
            Form::Long => Kind::Int { bits: 64, unsigned: false },
            Form::Double => Kind::Float64,
            Form::Decimal => Kind::Decimal { precision: None, scale: None },
            Form::Text => Kind::Text { characters_max: None, fixed: false },
            Form::Json => Kind::Json,
            Form::Bytes => Kind::Bytes { bytes_max: None, fixed: false },
        }
    }
}

/// A form, and whether NULL may stand there.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub(super) struct Fitting {
    /// The form.
    pub(super) form: Form,
    /// Whether NULL may stand there.
    pub(super) nullable: bool,
}

impl Fitting {
    /// The one that a value of a column needs: the column's usual one if it fits.
    pub(super) fn of(column: &CapturedColumn, stored: &Stored) -> Fitting {
        let usual = usual(column);
        let form = if fit(usual, stored).is_some() { usual } else { natural(stored) };
        Fitting { form, nullable: column.nullable || *stored == Stored::Null }
    }

    /// The value in this form, if that loses nothing.
    pub(super) fn value(self, stored: &Stored) -> Option<Value> {
        fit(self.form, stored).filter(|value| self.nullable || *value != Value::Null)
    }

    /// The column that the encoder is told.
    pub(super) fn column(self, column: &CapturedColumn) -> Column {
        Column { name: column.name.as_str().into(), kind: self.form.kind(), nullable: self.nullable }
    }
}

/// The usual form of a column.
fn usual(column: &CapturedColumn) -> Form {
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
    } else if has("DEC") || has("NUMERIC") || has("MONEY") {
        Form::Decimal
    } else {
        Form::Text
    }
}

/// The value in a form, if that loses nothing.
fn fit(form: Form, stored: &Stored) -> Option<Value> {
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
fn natural(stored: &Stored) -> Form {
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
    }

    #[test]
    fn what_does_not_fit_gets_the_form_of_its_storage_class() {
        assert_eq!(Fitting::of(&column("INTEGER"), &Stored::Text("abc".into())).form, Form::Text);
        assert_eq!(Fitting::of(&column("BOOLEAN"), &Stored::Integer(2)).form, Form::Long);
        assert_eq!(Fitting::of(&column("REAL"), &Stored::Integer(i64::MAX)).form, Form::Long);
        assert_eq!(Fitting::of(&column("JSON"), &Stored::Text("{".into())).form, Form::Text);
        assert_eq!(Fitting::of(&column("TEXT"), &Stored::Blob(vec![1])).form, Form::Bytes);
        assert_eq!(Fitting::of(&column("DECIMAL"), &Stored::Real(f64::INFINITY)).form, Form::Double);
        assert!(Fitting::of(&column("INTEGER"), &Stored::Null).nullable);
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
