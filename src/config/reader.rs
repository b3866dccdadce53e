//! Reads types out of a [`Node`] with serde and keeps the full path of what is wrong.

use std::fmt;

use serde::de::{self, DeserializeSeed, Deserializer, IntoDeserializer, Visitor};

use super::problem::{Problem, nearest};
use super::tree::Node;

/// Reads `T` from a tree.
///
/// # Errors
/// The first thing that does not fit, with its full path.
pub(super) fn read<'de, T: de::Deserialize<'de>>(node: Node) -> Result<T, Problem> {
    T::deserialize(Reader(node)).map_err(Failure::into_problem)
}

/// A problem that learns its path on the way up.
#[derive(Debug)]
pub(super) struct Failure {
    /// Innermost first.
    path: Vec<String>,
    message: String,
}

impl Failure {
    fn under(mut self, word: impl Into<String>) -> Failure {
        self.path.push(word.into());
        self
    }

    fn into_problem(self) -> Problem {
        let mut path = String::new();
        for word in self.path.iter().rev() {
            if !path.is_empty() && !word.starts_with('[') {
                path.push('.');
            }
            path.push_str(word);
        }
        Problem { path, message: self.message }
    }
}

impl fmt::Display for Failure {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.message)
    }
}

impl std::error::Error for Failure {}

impl de::Error for Failure {
    fn custom<T: fmt::Display>(message: T) -> Failure {
        Failure { path: Vec::new(), message: message.to_string() }
    }

    fn unknown_field(field: &str, expected: &'static [&'static str]) -> Failure {
        let mut message = "unknown key".to_owned();
        if let Some(near) = nearest(field, expected.iter().copied()) {
            message.push_str(&format!("; did you mean `{near}`?"));
        }
        message.push_str(&format!(" Allowed: {}", expected.join(", ")));
        Failure { path: vec![field.to_owned()], message }
    }

    fn unknown_variant(variant: &str, expected: &'static [&'static str]) -> Failure {
        Failure {
            path: Vec::new(),
            message: format!("`{variant}` is not allowed here; allowed: {}", expected.join(", ")),
        }
    }

    fn missing_field(field: &'static str) -> Failure {
        Failure { path: vec![field.to_owned()], message: "missing; this setting is mandatory".to_owned() }
    }

    fn invalid_type(unexpected: de::Unexpected<'_>, expected: &dyn de::Expected) -> Failure {
        // Never the value itself: it may be a secret that stands in the wrong place.
        let found = match unexpected {
            de::Unexpected::Bool(_) => "true/false",
            de::Unexpected::Unsigned(_) | de::Unexpected::Signed(_) | de::Unexpected::Float(_) => "a number",
            de::Unexpected::Str(_) => "text",
            de::Unexpected::Seq => "a list",
            de::Unexpected::Map => "a map",
            _ => "nothing",
        };
        // serde names Rust's types; users know others.
        let wanted = match expected.to_string().as_str() {
            "u16" | "u32" | "u64" | "usize" | "i32" | "i64" => "a whole number".to_owned(),
            "f64" => "a number".to_owned(),
            other => other.to_owned(),
        };
        let quote = if found == "a number" || found == "true/false" { "; quote it if it is text" } else { "" };
        Failure { path: Vec::new(), message: format!("expected {wanted}, found {found}{quote}") }
    }
}

struct Reader(Node);

impl Reader {
    /// A loose value as YAML would read it; text if it is no plain scalar.
    fn settled(self) -> Reader {
        let Node::Loose(text) = self.0 else { return self };
        Reader(match serde_yaml_ng::from_str(&text) {
            Ok(serde_yaml_ng::Value::Null) if text.is_empty() || text == "~" || text == "null" => Node::Null,
            Ok(serde_yaml_ng::Value::Bool(value)) => Node::Bool(value),
            Ok(serde_yaml_ng::Value::Number(value)) => Node::Number(value),
            _ => Node::Text(text),
        })
    }
}

macro_rules! settle {
    ($($method:ident)*) => {
        $(fn $method<V: Visitor<'de>>(self, visitor: V) -> Result<V::Value, Failure> {
            self.settled().deserialize_any(visitor)
        })*
    };
}

impl<'de> Deserializer<'de> for Reader {
    type Error = Failure;

    fn deserialize_any<V: Visitor<'de>>(self, visitor: V) -> Result<V::Value, Failure> {
        match self.settled().0 {
            Node::Null => visitor.visit_unit(),
            Node::Bool(value) => visitor.visit_bool(value),
            Node::Number(number) => match (number.as_u64(), number.as_i64(), number.as_f64()) {
                (Some(value), _, _) => visitor.visit_u64(value),
                (_, Some(value), _) => visitor.visit_i64(value),
                (_, _, Some(value)) => visitor.visit_f64(value),
                _ => Err(de::Error::custom("a number out of range")),
            },
            Node::Text(text) | Node::Loose(text) => visitor.visit_string(text),
            Node::List(items) => visitor.visit_seq(Items { items: items.into_iter(), at: 0 }),
            Node::Map(entries) => visitor.visit_map(Entries { entries: entries.into_iter(), value: None }),
        }
    }

    fn deserialize_str<V: Visitor<'de>>(self, visitor: V) -> Result<V::Value, Failure> {
        match self.0 {
            Node::Loose(text) => visitor.visit_string(text),
            other => Reader(other).deserialize_any(visitor),
        }
    }

    fn deserialize_string<V: Visitor<'de>>(self, visitor: V) -> Result<V::Value, Failure> {
        self.deserialize_str(visitor)
    }

    fn deserialize_identifier<V: Visitor<'de>>(self, visitor: V) -> Result<V::Value, Failure> {
        self.deserialize_str(visitor)
    }

    fn deserialize_option<V: Visitor<'de>>(self, visitor: V) -> Result<V::Value, Failure> {
        match &self.0 {
            Node::Null => visitor.visit_none(),
            Node::Loose(text) if text.is_empty() => visitor.visit_none(),
            _ => visitor.visit_some(self),
        }
    }

    /// A list may be written as one comma-separated value.
    fn deserialize_seq<V: Visitor<'de>>(self, visitor: V) -> Result<V::Value, Failure> {
        let (Node::Loose(text) | Node::Text(text)) = &self.0 else { return self.deserialize_any(visitor) };
        let words = text.split(',').map(str::trim).filter(|word| !word.is_empty());
        let items: Vec<Node> = words.map(|word| Node::Loose(word.to_owned())).collect();
        visitor.visit_seq(Items { items: items.into_iter(), at: 0 })
    }

    fn deserialize_newtype_struct<V: Visitor<'de>>(self, _name: &'static str, visitor: V) -> Result<V::Value, Failure> {
        visitor.visit_newtype_struct(self)
    }

    fn deserialize_enum<V: Visitor<'de>>(
        self,
        _name: &'static str,
        _variants: &'static [&'static str],
        visitor: V,
    ) -> Result<V::Value, Failure> {
        match self.0 {
            Node::Text(text) | Node::Loose(text) => visitor.visit_enum(text.into_deserializer()),
            Node::Map(entries) => {
                let access = Entries { entries: entries.into_iter(), value: None };
                visitor.visit_enum(de::value::MapAccessDeserializer::new(access))
            }
            other => Reader(other).deserialize_any(visitor),
        }
    }

    /// An absent section is an empty one: `tuning:` with nothing under it.
    fn deserialize_struct<V: Visitor<'de>>(
        self,
        _name: &'static str,
        _fields: &'static [&'static str],
        visitor: V,
    ) -> Result<V::Value, Failure> {
        self.deserialize_map(visitor)
    }

    fn deserialize_map<V: Visitor<'de>>(self, visitor: V) -> Result<V::Value, Failure> {
        match self.0 {
            Node::Null => visitor.visit_map(Entries { entries: Vec::new().into_iter(), value: None }),
            other => Reader(other).deserialize_any(visitor),
        }
    }

    fn deserialize_ignored_any<V: Visitor<'de>>(self, visitor: V) -> Result<V::Value, Failure> {
        visitor.visit_unit()
    }

    settle! {
        deserialize_bool deserialize_i8 deserialize_i16 deserialize_i32 deserialize_i64 deserialize_i128
        deserialize_u8 deserialize_u16 deserialize_u32 deserialize_u64 deserialize_u128 deserialize_f32 deserialize_f64
        deserialize_char deserialize_bytes deserialize_byte_buf deserialize_unit
    }

    fn deserialize_unit_struct<V: Visitor<'de>>(self, _name: &'static str, visitor: V) -> Result<V::Value, Failure> {
        self.deserialize_any(visitor)
    }

    fn deserialize_tuple<V: Visitor<'de>>(self, _length: usize, visitor: V) -> Result<V::Value, Failure> {
        self.deserialize_seq(visitor)
    }

    fn deserialize_tuple_struct<V: Visitor<'de>>(
        self,
        _name: &'static str,
        _length: usize,
        visitor: V,
    ) -> Result<V::Value, Failure> {
        self.deserialize_seq(visitor)
    }
}

struct Items {
    items: std::vec::IntoIter<Node>,
    at: usize,
}

impl<'de> de::SeqAccess<'de> for Items {
    type Error = Failure;

    fn next_element_seed<T: DeserializeSeed<'de>>(&mut self, seed: T) -> Result<Option<T::Value>, Failure> {
        let Some(item) = self.items.next() else { return Ok(None) };
        let at = self.at;
        self.at += 1;
        seed.deserialize(Reader(item)).map(Some).map_err(|failure| failure.under(format!("[{at}]")))
    }
}

struct Entries {
    entries: std::vec::IntoIter<(String, Node)>,
    value: Option<(String, Node)>,
}

impl<'de> de::MapAccess<'de> for Entries {
    type Error = Failure;

    fn next_key_seed<K: DeserializeSeed<'de>>(&mut self, seed: K) -> Result<Option<K::Value>, Failure> {
        let Some((key, value)) = self.entries.next() else { return Ok(None) };
        self.value = Some((key.clone(), value));
        seed.deserialize(Reader(Node::Text(key))).map(Some)
    }

    fn next_value_seed<V: DeserializeSeed<'de>>(&mut self, seed: V) -> Result<V::Value, Failure> {
        let (key, value) = self.value.take().ok_or_else(|| de::Error::custom("value before key"))?;
        seed.deserialize(Reader(value)).map_err(|failure| failure.under(key))
    }
}

#[cfg(test)]
mod tests {
    use std::collections::BTreeMap;

    use serde::Deserialize;

    use super::*;

    #[derive(Debug, Deserialize, PartialEq)]
    #[serde(deny_unknown_fields)]
    struct Sample {
        name: String,
        #[serde(default)]
        count: u32,
        #[serde(default)]
        words: Vec<String>,
        #[serde(default)]
        inner: BTreeMap<String, Inner>,
    }

    #[derive(Debug, Deserialize, PartialEq)]
    #[serde(deny_unknown_fields)]
    struct Inner {
        flag: bool,
    }

    fn sample(yaml: &str) -> Result<Sample, Problem> {
        let node = Node::parse(yaml, &|name| (name == "DIGITS").then(|| "77".to_owned())).unwrap();
        read(node)
    }

    #[test]
    fn a_loose_value_is_what_its_reader_wants() {
        let sample =
            sample("{name: '${DIGITS}', count: '${DIGITS}', words: '${X:-a, b}', inner: {x: {flag: '${Y:-true}'}}}");
        let sample = sample.unwrap();
        assert_eq!(sample.name, "77");
        assert_eq!(sample.count, 77);
        assert_eq!(sample.words, ["a", "b"]);
        assert!(sample.inner["x"].flag);
    }

    #[test]
    fn what_is_wrong_carries_its_full_path() {
        let message = |yaml| sample(yaml).unwrap_err().to_string();
        assert_eq!(message("{}"), "name: missing; this setting is mandatory");
        assert_eq!(
            message("{name: a, inner: {b: {flga: true}}}"),
            "inner.b.flga: unknown key; did you mean `flag`? Allowed: flag"
        );
        assert_eq!(message("{name: 12}"), "name: expected a string, found a number; quote it if it is text");
        assert_eq!(message("{name: a, words: [x, {}]}"), "words[1]: expected a string, found a map");
        assert_eq!(message("{name: a, count: pw}"), "count: expected a whole number, found text");
    }
}
