//! Learns names and kinds of columns from JSON without schema and without settings.
//!
//! A kind only widens (nothing, whole number, decimal; anything else that does not agree becomes JSON text), so that a topic ends
//! with few layouts however its values vary.

use topology::data::{Column, Kind, Layout};

use super::token::{Token, Tokens};
use crate::fault::Fault;
use crate::plan::flat_role;

/// What the values of a member had in common so far.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Seen {
    Nothing,
    Bool,
    Signed,
    Unsigned,
    Decimal,
    Text,
    Anything,
}

impl Seen {
    fn of(token: Token<'_>) -> Seen {
        match token {
            Token::Null => Seen::Nothing,
            Token::Bool(_) => Seen::Bool,
            Token::Number(number) if number.parse::<i64>().is_ok() => Seen::Signed,
            Token::Number(number) if number.parse::<u64>().is_ok() => Seen::Unsigned,
            Token::Number(_) => Seen::Decimal,
            Token::Text(_) => Seen::Text,
            Token::Object | Token::Array => Seen::Anything,
        }
    }

    fn with(self, other: Seen) -> Seen {
        use Seen::{Anything, Decimal, Nothing, Signed, Unsigned};
        match (self, other) {
            (a, b) if a == b => a,
            (Nothing, other) | (other, Nothing) => other,
            (Signed | Unsigned | Decimal, Signed | Unsigned | Decimal) => Decimal,
            _ => Anything,
        }
    }

    fn kind(self) -> Kind {
        match self {
            Seen::Bool => Kind::Bool,
            Seen::Signed => Kind::Int { bits: 64, unsigned: false },
            // A number above the signed range fits the unsigned kind only while none is negative; decimals hold both.
            Seen::Unsigned | Seen::Decimal => Kind::Decimal { precision: None, scale: None },
            Seen::Nothing | Seen::Text => Kind::Text { characters_max: None, fixed: false },
            Seen::Anything => Kind::Json,
        }
    }
}

/// The columns of a topic as far as they are known.
#[derive(Clone, Debug, Default)]
pub(super) struct Learned {
    columns: Vec<(String, Seen)>,
}

impl Learned {
    /// Looks at the members of an object whose bracket was read; true when something new was learned.
    pub(super) fn object(&mut self, mut tokens: Tokens<'_>, is_flat: bool) -> Result<bool, Fault> {
        let mut is_new = false;
        let mut is_first = true;
        while let Some(name) = tokens.member(&mut is_first)? {
            let token = tokens.token()?;
            tokens.skip_rest(token, crate::schema::DEPTH_MAX)?;
            if is_flat && flat_role(name.raw).is_some() {
                continue;
            }
            let mut text = String::new();
            name.unescape(&mut text)?;
            is_new |= self.add(&text, token);
        }
        Ok(is_new)
    }

    /// Looks at one value; true when something new was learned.
    pub(super) fn add(&mut self, name: &str, token: Token<'_>) -> bool {
        let seen = Seen::of(token);
        let Some((_, known)) = self.columns.iter_mut().find(|(known, _)| known == name) else {
            self.columns.push((name.to_owned(), seen));
            return true;
        };
        let wider = known.with(seen);
        let is_new = wider.kind() != known.kind();
        *known = wider;
        is_new
    }

    /// The layout known now.
    pub(super) fn layout(&self) -> Layout {
        let columns = self.columns.iter();
        Layout {
            columns: columns
                .map(|(name, seen)| Column { name: name.as_str().into(), kind: seen.kind(), nullable: true })
                .collect(),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn kinds(documents: &[&str]) -> Vec<Kind> {
        let mut learned = Learned::default();
        for document in documents {
            let mut tokens = Tokens::new(document.as_bytes(), false).unwrap();
            tokens.token().unwrap();
            learned.object(tokens, true).unwrap();
        }
        learned.layout().columns.into_iter().map(|column| column.kind).collect()
    }

    #[test]
    fn kinds_widen_and_never_narrow() {
        let decimal = Kind::Decimal { precision: None, scale: None };
        assert_eq!(kinds(&[r#"{"a":null}"#, r#"{"a":1}"#]), [Kind::Int { bits: 64, unsigned: false }]);
        assert_eq!(kinds(&[r#"{"a":1}"#, r#"{"a":1.5}"#, r#"{"a":2}"#]), std::slice::from_ref(&decimal));
        assert_eq!(kinds(&[r#"{"a":18446744073709551615}"#, r#"{"a":-1}"#]), [decimal]);
        assert_eq!(kinds(&[r#"{"a":1}"#, r#"{"a":"x"}"#]), [Kind::Json]);
        assert_eq!(kinds(&[r#"{"__op":"c","a":true}"#]), [Kind::Bool]);
    }
}
