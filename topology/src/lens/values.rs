//! Value maps and configured values, compiled for one direction: looked up per cell without allocation.

use super::convert::{Context, Engine, Fit, Refused, Scratch, plan};
use super::literal::Literal;
use crate::data::{Arena, Cell, Kind, Value, View, decimal};

/// Source value → target value. Lists are short, so a linear search beats a hash.
#[derive(Clone, Debug, PartialEq)]
pub struct ValueMap {
    entries: Vec<Entry>,
    /// The source is a CHAR: blanks at the end are padding.
    strip: bool,
}

#[derive(Clone, Debug, PartialEq)]
struct Entry {
    text: String,
    number: Option<i128>,
    to: Value,
}

impl ValueMap {
    /// Compiles pairs of (source value as text, target value).
    ///
    /// # Errors
    /// What is wrong with which value, as text for a configuration error.
    pub(super) fn compile(
        pairs: impl Iterator<Item = (String, Literal)>,
        source: &Kind,
        target: &Kind,
        engine: Engine,
    ) -> Result<ValueMap, String> {
        match source {
            Kind::Bool | Kind::Int { .. } | Kind::Year | Kind::Decimal { .. } | Kind::Bits { .. } => {}
            Kind::Text { .. } | Kind::Enum(_) | Kind::Set(_) | Kind::Other(_) => {}
            _ => return Err("`values` works on texts, labels, whole numbers and truth values".into()),
        }
        let entries = pairs.map(|(text, to)| {
            let value = literal_value(&to, target, engine)
                .map_err(|refused| format!("`{to}` can't be written: {}", refused.0))?;
            let number = match text.as_str() {
                "true" => Some(1),
                "false" => Some(0),
                digits => digits.parse().ok(),
            };
            Ok(Entry { text, number, to: value })
        });
        let strip = matches!(source, Kind::Text { fixed: true, .. });
        Ok(ValueMap { entries: entries.collect::<Result<_, String>>()?, strip })
    }

    /// The labels that have no entry.
    pub(super) fn unmapped<'a>(&self, labels: &'a [String]) -> Vec<&'a str> {
        let known = |label: &str| self.entries.iter().any(|entry| entry.text == label);
        labels.iter().map(String::as_str).filter(|label| !known(label)).collect()
    }

    /// `a → b, c → d`, for `check`.
    pub(super) fn explain(&self) -> String {
        let one = |entry: &Entry| match &entry.to {
            Value::Text(text) => format!("{} → {text}", entry.text),
            Value::Bool(truth) => format!("{} → {truth}", entry.text),
            Value::I64(number) => format!("{} → {number}", entry.text),
            Value::U64(number) => format!("{} → {number}", entry.text),
            Value::Decimal { unscaled, scale } => format!("{} → {}", entry.text, decimal::to_text(unscaled, *scale)),
            _ => entry.text.clone(),
        };
        self.entries.iter().map(one).collect::<Vec<_>>().join(", ")
    }

    /// Looks up a cell.
    ///
    /// # Errors
    /// [`Refused`] for a value outside the map. NULL and Unavailable stay what they are.
    pub(super) fn run(&self, cell: Cell, arena: &mut Arena) -> Result<Cell, Refused> {
        let entry = match arena.view(cell) {
            View::Null | View::Unavailable => return Ok(cell),
            View::Text(text) => {
                let text = if self.strip { text.trim_end_matches(' ') } else { text };
                self.entries.iter().find(|entry| entry.text == text)
            }
            View::Bool(truth) => self.number(truth.into()),
            View::I64(number) => self.number(number.into()),
            View::U64(number) => self.number(number.into()),
            View::Decimal { unscaled, scale: 0 } => decimal::to_i128(unscaled).and_then(|number| self.number(number)),
            View::Bits([byte]) => self.number((*byte).into()),
            _ => None,
        };
        let entry = entry.ok_or(Refused("the value is not in the configured `values`"))?;
        Ok(arena.push_value(&entry.to))
    }

    fn number(&self, number: i128) -> Option<&Entry> {
        self.entries.iter().find(|entry| entry.number == Some(number))
    }
}

/// A configured value as a column of this kind holds it.
///
/// # Errors
/// Why it does not fit.
pub fn literal_value(literal: &Literal, kind: &Kind, engine: Engine) -> Result<Value, Refused> {
    const TEXT: Kind = Kind::Text { characters_max: None, fixed: false };
    let mut arena = Arena::default();
    let (source, cell) = match literal {
        Literal::Null => return Ok(Value::Null),
        Literal::Bool(truth) => (Kind::Bool, Cell::Bool(*truth)),
        Literal::Int(number) => integer(*number),
        Literal::Float(number) => (Kind::Float64, Cell::F64(*number)),
        Literal::Text(text) => match (kind, text.parse()) {
            (Kind::Bool | Kind::Bits { .. }, Ok(number)) => integer(number),
            _ => (TEXT, arena.push_text(text)),
        },
    };
    let planned = plan(&source, kind, &Context { target: engine, ..Context::default() });
    if matches!(planned.fit, Fit::Impossible(_)) {
        return Err(Refused("the column's type takes no such value"));
    }
    let cell = planned.convert.run(cell, &mut arena, &mut Scratch::default())?;
    Ok(arena.value(cell))
}

fn integer(number: i128) -> (Kind, Cell) {
    match i64::try_from(number) {
        Ok(number) => (Kind::Int { bits: 64, unsigned: false }, Cell::I64(number)),
        // Beyond 64 bits no integer column takes it: the greatest number is refused as well as any.
        Err(_) => (Kind::Int { bits: 64, unsigned: true }, Cell::U64(u64::try_from(number).unwrap_or(u64::MAX))),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn map(pairs: &[(&str, Literal)], source: &Kind, target: &Kind) -> Result<ValueMap, String> {
        let pairs = pairs.iter().map(|(from, to)| ((*from).to_owned(), to.clone()));
        ValueMap::compile(pairs, source, target, Engine::Postgres)
    }

    const TEXT: Kind = Kind::Text { characters_max: Some(10), fixed: false };
    const TINY: Kind = Kind::Int { bits: 8, unsigned: false };

    #[test]
    fn one_column_that_arrives_as_boolean_or_number_maps_alike() {
        let map = map(&[("0", Literal::Text("no".into())), ("1", Literal::Text("yes".into()))], &TINY, &TEXT).unwrap();
        let mut arena = Arena::default();
        for cell in [Cell::Bool(true), Cell::I64(1), Cell::U64(1)] {
            let cell = map.run(cell, &mut arena).unwrap();
            assert_eq!(arena.value(cell), Value::from("yes"));
        }
        assert!(map.run(Cell::I64(2), &mut arena).is_err());
        assert_eq!(map.run(Cell::Null, &mut arena), Ok(Cell::Null));
    }

    #[test]
    fn a_value_outside_the_map_is_refused_and_padding_is_no_part_of_it() {
        let source = Kind::Text { characters_max: Some(8), fixed: true };
        let map = map(&[("open", Literal::Int(1))], &source, &TINY).unwrap();
        let mut arena = Arena::default();
        let (padded, other) = (arena.push_text("open    "), arena.push_text("opens"));
        assert_eq!(map.run(padded, &mut arena), Ok(Cell::I64(1)));
        assert!(map.run(other, &mut arena).is_err());
    }

    #[test]
    fn a_mapped_value_that_the_target_cannot_hold_is_refused_when_compiled() {
        let error = map(&[("a", Literal::Text("much too long".into()))], &TEXT, &TEXT).unwrap_err();
        assert!(error.contains("`much too long` can't be written: the text has more characters"), "{error}");
        assert!(map(&[("a", Literal::Int(300))], &TEXT, &TINY).is_err());
        assert!(map(&[("a", Literal::Int(1))], &Kind::Date, &TINY).is_err());
    }

    #[test]
    fn configured_values_take_the_columns_type() {
        let value = |literal: Literal, kind: &Kind| literal_value(&literal, kind, Engine::MySql);
        assert_eq!(value(Literal::Text("0".into()), &Kind::Bool), Ok(Value::Bool(false)));
        assert_eq!(value(Literal::Int(7), &TEXT), Ok(Value::from("7")));
        assert_eq!(value(Literal::Text("2024-02-29".into()), &Kind::Date), Ok(Value::Date(19_782)));
        let price = Kind::Decimal { precision: Some(10), scale: Some(2) };
        assert_eq!(value(Literal::Text("1.5".into()), &price), Ok(Value::decimal("1.50").unwrap()));
        assert_eq!(value(Literal::Float(1.5), &price), Ok(Value::decimal("1.50").unwrap()));
        assert!(value(Literal::Bool(true), &Kind::Date).is_err());
    }
}
