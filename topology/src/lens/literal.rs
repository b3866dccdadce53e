//! Values that stand in the configuration, and the declaration of one field.

use std::collections::BTreeMap;
use std::fmt;

use serde::de::{MapAccess, Visitor, value::MapAccessDeserializer};
use serde::{Deserialize, Deserializer, Serialize, Serializer};

use super::convert::FractionMode;
use super::declare::later;
use crate::error::Result;

/// A value written in the configuration; it takes the type of the column it is for. Decimals that a double can't hold go in quotes.
#[derive(Clone, Debug, PartialEq)]
pub enum Literal {
    /// `null`
    Null,
    /// `true`, `false`
    Bool(bool),
    /// A whole number.
    Int(i128),
    /// Any other number.
    Float(f64),
    /// Text.
    Text(String),
}

impl fmt::Display for Literal {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Literal::Null => f.write_str("null"),
            Literal::Bool(value) => write!(f, "{value}"),
            Literal::Int(value) => write!(f, "{value}"),
            Literal::Float(value) => write!(f, "{value}"),
            Literal::Text(value) => f.write_str(value),
        }
    }
}

impl Serialize for Literal {
    fn serialize<S: Serializer>(&self, serializer: S) -> std::result::Result<S::Ok, S::Error> {
        match self {
            Literal::Null => serializer.serialize_unit(),
            Literal::Bool(value) => serializer.serialize_bool(*value),
            Literal::Int(value) => match (i64::try_from(*value), u64::try_from(*value)) {
                (Ok(value), _) => serializer.serialize_i64(value),
                (_, Ok(value)) => serializer.serialize_u64(value),
                _ => serializer.serialize_str(&value.to_string()),
            },
            Literal::Float(value) => serializer.serialize_f64(*value),
            Literal::Text(value) => serializer.serialize_str(value),
        }
    }
}

impl<'de> Deserialize<'de> for Literal {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> std::result::Result<Literal, D::Error> {
        struct LiteralVisitor;
        impl Visitor<'_> for LiteralVisitor {
            type Value = Literal;
            fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
                f.write_str("a number, a text, true, false or null")
            }
            fn visit_unit<E>(self) -> std::result::Result<Literal, E> {
                Ok(Literal::Null)
            }
            fn visit_none<E>(self) -> std::result::Result<Literal, E> {
                Ok(Literal::Null)
            }
            fn visit_bool<E>(self, value: bool) -> std::result::Result<Literal, E> {
                Ok(Literal::Bool(value))
            }
            fn visit_i64<E>(self, value: i64) -> std::result::Result<Literal, E> {
                Ok(Literal::Int(value.into()))
            }
            fn visit_u64<E>(self, value: u64) -> std::result::Result<Literal, E> {
                Ok(Literal::Int(value.into()))
            }
            fn visit_i128<E>(self, value: i128) -> std::result::Result<Literal, E> {
                Ok(Literal::Int(value))
            }
            fn visit_f64<E>(self, value: f64) -> std::result::Result<Literal, E> {
                Ok(Literal::Float(value))
            }
            fn visit_str<E>(self, value: &str) -> std::result::Result<Literal, E> {
                Ok(Literal::Text(value.to_owned()))
            }
        }
        deserializer.deserialize_any(LiteralVisitor)
    }
}

/// Accepts anything: a key that a later version will know, so that its refusal can say so.
#[derive(Clone, Debug, PartialEq, Serialize)]
pub struct Later;

impl<'de> Deserialize<'de> for Later {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> std::result::Result<Later, D::Error> {
        serde::de::IgnoredAny::deserialize(deserializer).map(|_| Later)
    }
}

/// One pair of columns: `left: right`, or `left: { to: right, … }`.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields, default, remote = "FieldDeclaration")]
pub struct FieldDeclaration {
    /// The right site's column; without it the same name.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub to: Option<String>,
    /// Left value: right value. One to one on two-way links. Every other value is refused (a dead letter), NULL stays NULL.
    #[serde(skip_serializing_if = "BTreeMap::is_empty", deserialize_with = "values")]
    pub values: BTreeMap<String, Literal>,
    /// Written to the target, whichever side that is, when a record's schema lacks the source column (NULL stays NULL).
    #[serde(skip_serializing_if = "Option::is_none")]
    pub default: Option<Literal>,
    /// As the entity's `fraction`, for this column.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub fraction: Option<FractionMode>,
    /// Foreign key to another entity whose ids are mapped.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub refers: Option<Later>,
    /// Several columns into one.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub join: Option<Later>,
    /// One column into several.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub split: Option<Later>,
    /// Without blanks at the ends.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub trim: Option<Later>,
    /// In upper case.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub upper: Option<Later>,
    /// In lower case.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub lower: Option<Later>,
    /// A path into a JSON column.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub json: Option<Later>,
    /// An expression.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub expr: Option<Later>,
    /// Its way back.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub inverse: Option<Later>,
}

impl FieldDeclaration {
    /// A plain rename.
    pub fn renamed(right: impl Into<String>) -> FieldDeclaration {
        FieldDeclaration { to: Some(right.into()), ..FieldDeclaration::default() }
    }

    /// The right site's column of the field named `left`.
    pub fn right<'a>(&'a self, left: &'a str) -> &'a str {
        self.to.as_deref().unwrap_or(left)
    }

    pub(super) fn validate(&self, path: &str) -> Result<()> {
        let unknown = [
            ("refers", &self.refers),
            ("join", &self.join),
            ("split", &self.split),
            ("trim", &self.trim),
            ("upper", &self.upper),
            ("lower", &self.lower),
            ("json", &self.json),
            ("expr", &self.expr),
            ("inverse", &self.inverse),
        ];
        match unknown.iter().find(|(_, value)| value.is_some()) {
            Some((name, _)) => Err(later(format!("{path}.{name}"), "`to`, `values`, `default` and `fraction`")),
            None => Ok(()),
        }
    }
}

impl Serialize for FieldDeclaration {
    fn serialize<S: Serializer>(&self, serializer: S) -> std::result::Result<S::Ok, S::Error> {
        FieldDeclaration::serialize(self, serializer)
    }
}

impl<'de> Deserialize<'de> for FieldDeclaration {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> std::result::Result<FieldDeclaration, D::Error> {
        struct FieldVisitor;
        impl<'de> Visitor<'de> for FieldVisitor {
            type Value = FieldDeclaration;
            fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
                f.write_str("the name of the other site's column, or { to: name, … }")
            }
            fn visit_str<E>(self, value: &str) -> std::result::Result<FieldDeclaration, E> {
                Ok(FieldDeclaration::renamed(value))
            }
            fn visit_map<A: MapAccess<'de>>(self, map: A) -> std::result::Result<FieldDeclaration, A::Error> {
                FieldDeclaration::deserialize(MapAccessDeserializer::new(map))
            }
        }
        deserializer.deserialize_any(FieldVisitor)
    }
}

/// YAML writes the keys of `values` as it likes (`1: …`, `true: …`); we keep their text.
fn values<'de, D: Deserializer<'de>>(deserializer: D) -> std::result::Result<BTreeMap<String, Literal>, D::Error> {
    struct ValuesVisitor;
    impl<'de> Visitor<'de> for ValuesVisitor {
        type Value = BTreeMap<String, Literal>;
        fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
            f.write_str("a map of left values to right values")
        }
        fn visit_map<A: MapAccess<'de>>(self, mut map: A) -> std::result::Result<Self::Value, A::Error> {
            let mut values = BTreeMap::new();
            while let Some((left, right)) = map.next_entry::<Literal, Literal>()? {
                if values.insert(left.to_string(), right).is_some() {
                    return Err(serde::de::Error::custom(format!("`{left}` stands twice in `values`")));
                }
            }
            Ok(values)
        }
    }
    deserializer.deserialize_map(ValuesVisitor)
}
