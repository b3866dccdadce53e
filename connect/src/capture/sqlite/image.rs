//! One stored value, and the JSON in which triggers record rows ("images"): exact, and readable for people.
//!
//! An image is an object of column names. A value is `null`; a number (an integer up to 2^53); `"text"`; `{"i":"…"}` for larger
//! integers, which JSON readers tend to round; `{"r":"5p-1"}` for reals, here 5 × 2⁻¹, because SQLite's decimal digits do not always
//! give back the same bits; `{"x":"…"}` for blobs in hexadecimal. One thing is lost, by SQLite itself: the sign of a negative zero.

use std::fmt;

use serde::de::{self, Deserialize, Deserializer, MapAccess, Visitor};

/// A value as SQLite stores it. The declared type of a column is only a hint, so any column may hold any of these.
#[derive(Clone, Debug, PartialEq)]
pub enum Stored {
    /// NULL
    Null,
    /// INTEGER
    Integer(i64),
    /// REAL; never NaN, which SQLite stores as NULL.
    Real(f64),
    /// TEXT
    Text(String),
    /// BLOB; also TEXT that is no UTF-8, which no other system could take as text.
    Blob(Vec<u8>),
}

/// The cells of one row or key, in the order of the image.
pub type Image = Vec<(String, Stored)>;

/// Reads an image. `None` when the bytes are not what our triggers write.
pub fn parse(bytes: &[u8]) -> Option<Image> {
    if let Ok(Cells(cells)) = serde_json::from_slice(bytes) {
        return Some(cells);
    }
    if std::str::from_utf8(bytes).is_ok() {
        return None;
    }
    // Some text is no UTF-8. JSON's own characters are ASCII, so the image can be read with each byte taken as one character,
    // and turned back into bytes afterwards.
    let latin: String = bytes.iter().map(|byte| char::from(*byte)).collect();
    let Cells(cells) = serde_json::from_str(&latin).ok()?;
    cells.into_iter().map(|(name, value)| Some((utf8(&name)?, restored(value)?))).collect()
}

fn restored(value: Stored) -> Option<Stored> {
    let Stored::Text(text) = value else { return Some(value) };
    let bytes = bytes_of(&text)?;
    Some(match String::from_utf8(bytes) {
        Ok(text) => Stored::Text(text),
        Err(error) => Stored::Blob(error.into_bytes()),
    })
}

fn bytes_of(latin: &str) -> Option<Vec<u8>> {
    latin.chars().map(|character| u8::try_from(u32::from(character)).ok()).collect()
}

fn utf8(latin: &str) -> Option<String> {
    String::from_utf8(bytes_of(latin)?).ok()
}

struct Cells(Image);

impl<'de> Deserialize<'de> for Cells {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Cells, D::Error> {
        struct CellsVisitor;
        impl<'de> Visitor<'de> for CellsVisitor {
            type Value = Cells;
            fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
                f.write_str("an object of cells")
            }
            fn visit_map<A: MapAccess<'de>>(self, mut map: A) -> Result<Cells, A::Error> {
                let mut cells = Vec::new();
                while let Some((name, value)) = map.next_entry()? {
                    cells.push((name, value));
                }
                Ok(Cells(cells))
            }
        }
        deserializer.deserialize_map(CellsVisitor)
    }
}

impl<'de> Deserialize<'de> for Stored {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Stored, D::Error> {
        deserializer.deserialize_any(StoredVisitor)
    }
}

struct StoredVisitor;

impl<'de> Visitor<'de> for StoredVisitor {
    type Value = Stored;

    fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("null, an integer, a text, or an object with i, r or x")
    }

    fn visit_unit<E>(self) -> Result<Stored, E> {
        Ok(Stored::Null)
    }

    fn visit_i64<E>(self, number: i64) -> Result<Stored, E> {
        Ok(Stored::Integer(number))
    }

    fn visit_u64<E: de::Error>(self, number: u64) -> Result<Stored, E> {
        i64::try_from(number).map(Stored::Integer).map_err(|_| E::custom("an integer beyond 64 bits"))
    }

    fn visit_str<E>(self, text: &str) -> Result<Stored, E> {
        Ok(Stored::Text(text.to_owned()))
    }

    fn visit_string<E>(self, text: String) -> Result<Stored, E> {
        Ok(Stored::Text(text))
    }

    fn visit_map<A: MapAccess<'de>>(self, mut map: A) -> Result<Stored, A::Error> {
        let (form, text): (String, String) = map.next_entry()?.ok_or_else(|| de::Error::custom("an empty cell"))?;
        let value = match form.as_str() {
            "i" => text.parse().ok().map(Stored::Integer),
            "r" => real(&text).map(Stored::Real),
            "x" => unhex(&text).map(Stored::Blob),
            _ => None,
        };
        value.ok_or_else(|| de::Error::custom("a cell of an unknown form"))
    }
}

/// `<mantissa>p<exponent>`, with a mantissa of at most 53 bits, so that every step below is exact.
fn real(text: &str) -> Option<f64> {
    match text {
        "0" => return Some(0.0),
        "Inf" => return Some(f64::INFINITY),
        "-Inf" => return Some(f64::NEG_INFINITY),
        _ => {}
    }
    let (mantissa, exponent) = text.split_once('p')?;
    let mantissa: i64 = mantissa.parse().ok().filter(|mantissa: &i64| mantissa.unsigned_abs() <= 1 << 53)?;
    let exponent: i32 = exponent.parse().ok()?;
    // In two steps for small numbers: 2^-1126 itself is no double, the product is.
    let (first, second) = if exponent < -900 { (exponent + 200, -200) } else { (exponent, 0) };
    let real = mantissa as f64 * power_of_two(first)? * power_of_two(second)?;
    Some(real).filter(|real| real.is_finite())
}

fn power_of_two(exponent: i32) -> Option<f64> {
    let biased = u64::try_from(exponent.checked_add(1023)?).ok()?;
    (1..=2046).contains(&biased).then(|| f64::from_bits(biased << 52))
}

fn unhex(text: &str) -> Option<Vec<u8>> {
    let digit = |character: u8| char::from(character).to_digit(16);
    let mut out = Vec::with_capacity(text.len() / 2);
    let mut rest = text.as_bytes();
    while let [high, low, tail @ ..] = rest {
        out.push(u8::try_from(digit(*high)? * 16 + digit(*low)?).ok()?);
        rest = tail;
    }
    rest.is_empty().then_some(out)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn cell(json: &str) -> Option<Stored> {
        parse(format!("{{\"c\":{json}}}").as_bytes()).map(|mut image| image.remove(0).1)
    }

    #[test]
    fn every_form_is_read_back() {
        assert_eq!(cell("null"), Some(Stored::Null));
        assert_eq!(cell("-7"), Some(Stored::Integer(-7)));
        assert_eq!(cell(r#"{"i":"-9223372036854775808"}"#), Some(Stored::Integer(i64::MIN)));
        assert_eq!(cell(r#"{"r":"4953959590107546p-52"}"#), Some(Stored::Real(1.1)));
        assert_eq!(cell(r#"{"r":"-4503599627370496p-1126"}"#), Some(Stored::Real(-5e-324)));
        assert_eq!(cell(r#"{"r":"9007199254740991p971"}"#), Some(Stored::Real(f64::MAX)));
        assert_eq!(cell(r#"{"r":"-Inf"}"#), Some(Stored::Real(f64::NEG_INFINITY)));
        assert_eq!(cell(r#"{"x":"00fF"}"#), Some(Stored::Blob(vec![0, 255])));
        assert_eq!(cell(r#""a\u0000\"é""#), Some(Stored::Text("a\0\"é".to_owned())));
    }

    #[test]
    fn what_no_trigger_writes_is_refused() {
        for json in [
            "1.5",
            "true",
            "[1]",
            "{}",
            r#"{"q":"1"}"#,
            r#"{"x":"0"}"#,
            r#"{"r":"NaN"}"#,
            r#"{"r":"1p9999"}"#,
            r#"{"i":"1.0"}"#,
        ] {
            assert_eq!(cell(json), None, "{json}");
        }
        assert_eq!(parse(b"[]"), None);
        assert_eq!(parse(b"\xff"), None);
    }

    #[test]
    fn text_that_is_no_utf8_becomes_a_blob_and_its_neighbours_stay_text() {
        let image = parse(b"{\"k\xc3\xa9y\":\"\xc3\xa9\\n\",\"bad\":\"\xff\\u0001A\"}").unwrap();
        assert_eq!(image[0], ("kéy".to_owned(), Stored::Text("é\n".to_owned())));
        assert_eq!(image[1], ("bad".to_owned(), Stored::Blob(vec![0xff, 1, b'A'])));
    }
}
