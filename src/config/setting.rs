//! One declaration per section: type, default, documentation and printing of every key stand in one place.
//!
//! [`section!`] makes a struct that refuses unknown keys, names missing ones, prints itself with secrets masked, and tells the
//! reference page what it knows. [`choice!`] does the same for a closed set of words.

use serde_yaml_ng::{Mapping, Value};

/// What the reference page shows of a setting. The page is made by a test.
#[cfg_attr(not(test), allow(dead_code))]
#[derive(Clone, Debug)]
pub(crate) enum Shape {
    /// A single value, in words: `number`, `text`, `json | text`.
    Leaf(String),
    /// A section with keys of its own.
    Section(Vec<KeyDoc>),
    /// A map from the user's names to `1`; `0` says what the names are.
    Map(&'static str, Box<Shape>),
    /// A list.
    List(Box<Shape>),
}

/// One key of a section.
#[cfg_attr(not(test), allow(dead_code))]
#[derive(Clone, Debug)]
pub(crate) struct KeyDoc {
    /// The key.
    pub(crate) name: &'static str,
    /// Meaning, unit, range.
    pub(crate) doc: String,
    /// `None`: mandatory.
    pub(crate) default: Option<Value>,
    /// What it holds.
    pub(crate) shape: Shape,
}

/// Something that can stand at a key.
pub(crate) trait Setting {
    /// As YAML, secrets masked.
    fn print(&self) -> Value;
    /// For the reference page.
    fn shape() -> Shape;
}

macro_rules! leaf {
    ($($kind:ty => $name:literal),* $(,)?) => {
        $(impl Setting for $kind {
            fn print(&self) -> Value {
                Value::from(self.clone())
            }
            fn shape() -> Shape {
                Shape::Leaf($name.into())
            }
        })*
    };
}

leaf!(String => "text", bool => "true or false", u16 => "number", u32 => "number", u64 => "number", usize => "number", f64 => "number");

impl<T: Setting> Setting for Option<T> {
    fn print(&self) -> Value {
        self.as_ref().map_or(Value::Null, Setting::print)
    }
    fn shape() -> Shape {
        T::shape()
    }
}

impl<T: Setting> Setting for Vec<T> {
    fn print(&self) -> Value {
        Value::Sequence(self.iter().map(Setting::print).collect())
    }
    fn shape() -> Shape {
        Shape::List(Box::new(T::shape()))
    }
}

/// A map in the order of the file; names are unique.
#[derive(Clone, Debug, PartialEq)]
pub(crate) struct Named<T>(pub(crate) Vec<(String, T)>);

impl<T> Default for Named<T> {
    fn default() -> Named<T> {
        Named(Vec::new())
    }
}

impl<T> Named<T> {
    /// The value under a name.
    pub(crate) fn get(&self, name: &str) -> Option<&T> {
        self.0.iter().find(|(own, _)| own == name).map(|(_, value)| value)
    }

    /// Name and value, in order.
    pub(crate) fn iter(&self) -> impl Iterator<Item = (&str, &T)> {
        self.0.iter().map(|(name, value)| (name.as_str(), value))
    }

    /// The names, in order.
    pub(crate) fn names(&self) -> impl Iterator<Item = &str> {
        self.0.iter().map(|(name, _)| name.as_str())
    }
}

impl<'de, T: serde::Deserialize<'de>> serde::Deserialize<'de> for Named<T> {
    fn deserialize<D: serde::Deserializer<'de>>(deserializer: D) -> Result<Named<T>, D::Error> {
        struct Visit<T>(std::marker::PhantomData<T>);
        impl<'de, T: serde::Deserialize<'de>> serde::de::Visitor<'de> for Visit<T> {
            type Value = Named<T>;
            fn expecting(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
                f.write_str("a map")
            }
            fn visit_map<A: serde::de::MapAccess<'de>>(self, mut map: A) -> Result<Named<T>, A::Error> {
                let mut all = Vec::new();
                while let Some(entry) = map.next_entry()? {
                    all.push(entry);
                }
                Ok(Named(all))
            }
        }
        deserializer.deserialize_map(Visit(std::marker::PhantomData))
    }
}

impl<T: Setting> Setting for Named<T> {
    fn print(&self) -> Value {
        let entries = self.iter().map(|(name, value)| (Value::from(name), value.print()));
        Value::Mapping(entries.collect::<Mapping>())
    }
    fn shape() -> Shape {
        Shape::Map("name", Box::new(T::shape()))
    }
}

/// Declares a section. `name: type = default;` is optional to the user, `name: type;` is mandatory.
macro_rules! section {
    (
        $(#[doc = $about:literal])*
        $section:ident {
            $( $(#[doc = $doc:literal])* $key:ident : $kind:ty $(= $default:expr)? ; )*
        }
    ) => {
        $(#[doc = $about])*
        #[derive(Clone, Debug, PartialEq)]
        pub(crate) struct $section {
            $( $(#[doc = $doc])* pub(crate) $key: $kind, )*
        }

        impl<'de> serde::Deserialize<'de> for $section {
            fn deserialize<D: serde::Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
                const KEYS: &[&str] = &[$(stringify!($key)),*];
                struct Visit;
                impl<'de> serde::de::Visitor<'de> for Visit {
                    type Value = $section;
                    fn expecting(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
                        write!(f, "a map with the keys {}", KEYS.join(", "))
                    }
                    fn visit_map<A: serde::de::MapAccess<'de>>(self, mut map: A) -> Result<$section, A::Error> {
                        $( let mut $key: Option<$kind> = None; )*
                        while let Some(key) = map.next_key::<String>()? {
                            match key.as_str() {
                                $( stringify!($key) => $key = Some(map.next_value()?), )*
                                other => return Err(serde::de::Error::unknown_field(other, KEYS)),
                            }
                        }
                        Ok($section {
                            $( $key: match $key {
                                Some(value) => value,
                                None => $crate::config::setting::section!(@absent $key $($default)?),
                            }, )*
                        })
                    }
                }
                deserializer.deserialize_struct(stringify!($section), KEYS, Visit)
            }
        }

        impl $crate::config::setting::Setting for $section {
            fn print(&self) -> serde_yaml_ng::Value {
                let mut map = serde_yaml_ng::Mapping::new();
                $( map.insert(stringify!($key).into(), $crate::config::setting::Setting::print(&self.$key)); )*
                serde_yaml_ng::Value::Mapping(map)
            }
            fn shape() -> $crate::config::setting::Shape {
                $crate::config::setting::Shape::Section(vec![
                    $( $crate::config::setting::KeyDoc {
                        name: stringify!($key),
                        doc: [$($doc),*].concat().trim().to_owned(),
                        default: $crate::config::setting::section!(@default $kind, $($default)?),
                        shape: <$kind as $crate::config::setting::Setting>::shape(),
                    }, )*
                ])
            }
        }
    };
    (@absent $key:ident $default:expr) => { $default };
    (@absent $key:ident) => { return Err(serde::de::Error::missing_field(stringify!($key))) };
    (@default $kind:ty, $default:expr) => {{
        let value: $kind = $default;
        Some($crate::config::setting::Setting::print(&value))
    }};
    (@default $kind:ty,) => { None };
}
pub(crate) use section;

/// A section whose keys all have defaults can be made from nothing.
macro_rules! empty_section {
    ($($section:ident)*) => {
        $(impl Default for $section {
            fn default() -> $section {
                let empty = serde::de::value::MapDeserializer::<_, serde::de::value::Error>::new(
                    std::iter::empty::<(String, String)>(),
                );
                serde::Deserialize::deserialize(empty).expect("every key of the section has a default")
            }
        })*
    };
}
pub(crate) use empty_section;

/// Declares a closed set of words.
macro_rules! choice {
    (
        $(#[doc = $about:literal])*
        $choice:ident { $( $(#[doc = $doc:literal])* $variant:ident = $word:literal, )* }
    ) => {
        $(#[doc = $about])*
        #[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
        pub(crate) enum $choice { $( $(#[doc = $doc])* $variant, )* }

        impl $choice {
            /// Every word that is allowed.
            pub(crate) const WORDS: &[&str] = &[$($word),*];

            /// The word of the configuration.
            pub(crate) fn word(self) -> &'static str {
                match self { $( $choice::$variant => $word, )* }
            }
        }

        impl std::fmt::Display for $choice {
            fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
                f.pad(self.word())
            }
        }

        impl<'de> serde::Deserialize<'de> for $choice {
            fn deserialize<D: serde::Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
                let word = String::deserialize(deserializer)?;
                match word.as_str() {
                    $( $word => Ok($choice::$variant), )*
                    other => Err(serde::de::Error::unknown_variant(other, Self::WORDS)),
                }
            }
        }

        impl $crate::config::setting::Setting for $choice {
            fn print(&self) -> serde_yaml_ng::Value {
                self.word().into()
            }
            fn shape() -> $crate::config::setting::Shape {
                $crate::config::setting::Shape::Leaf(Self::WORDS.join(" | "))
            }
        }
    };
}
pub(crate) use choice;
