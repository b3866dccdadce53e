//! Applies a [`Meaning`] to one primitive.

use topology::data::{Arena, Cell, DecimalCell, Span, decimal, time};

use super::text::{parse_interval, parse_utc, parse_uuid, parse_zoned_time};
use super::{Meaning, Primitive, Unit};
use crate::fault::Fault;

/// Milliseconds that Debezium sends for PostgreSQL's `infinity` and `-infinity` (pgjdbc's constants), in whatever unit the column has.
const INFINITIES: [i64; 2] = [9_223_372_036_825_200_000, -9_223_372_036_832_400_000];

impl Meaning {
    /// The cell of a present value. `Array`, `Struct` and `Document` never get here: the walkers handle them.
    #[inline]
    pub(crate) fn cell(self, primitive: Primitive<'_>, arena: &mut Arena) -> Result<Cell, Fault> {
        match (self, primitive) {
            (_, Primitive::Null) => Ok(Cell::Null),
            (Meaning::Plain, Primitive::Bool(value)) => Ok(Cell::Bool(value)),
            (Meaning::Plain, Primitive::Int(value)) => Ok(Cell::I64(value)),
            (Meaning::Plain, Primitive::Float(value)) => Ok(Cell::F32(value)),
            (Meaning::Plain, Primitive::Double(value)) => Ok(Cell::F64(value)),
            (Meaning::Plain, Primitive::Bytes(_, span)) => Ok(Cell::Bytes(span)),
            (Meaning::Plain, Primitive::Text(_, span)) => Ok(Cell::Text(span)),
            (Meaning::Decimal(scale), Primitive::Bytes(bytes, span)) => decimal_of(bytes, span, scale),
            (_, Primitive::Int(value)) => self.integer(value),
            (_, Primitive::Text(text, span)) => self.text(text, span, arena),
            (_, Primitive::Bytes(bytes, span)) => self.bytes(bytes, span, arena),
            _ => Err(Fault::Shape),
        }
    }

    #[inline]
    fn integer(self, value: i64) -> Result<Cell, Fault> {
        match self {
            Meaning::Date => Ok(Cell::Date(i32::try_from(value).map_err(|_| Fault::IntegerRange)?)),
            Meaning::Timestamp(unit) => Ok(Cell::Timestamp(instant(value, unit)?)),
            Meaning::TimestampTz(unit) => Ok(Cell::TimestampTz(instant(value, unit)?)),
            Meaning::Duration(unit) => Ok(Cell::Duration(microseconds(value, unit)?)),
            Meaning::Time(unit) => Ok(Cell::Time(time_of_day(microseconds(value, unit)?)?)),
            Meaning::Unsigned => Ok(Cell::U64(value as u64)),
            _ => Err(Fault::Shape),
        }
    }

    fn text(self, text: &str, span: Span, arena: &mut Arena) -> Result<Cell, Fault> {
        match self {
            Meaning::Json => Ok(Cell::Json(span)),
            Meaning::ZonedTimestamp => {
                let instant = parse_utc(text).or_else(|| time::parse_timestamp(text));
                Ok(Cell::TimestampTz(instant.ok_or_else(|| date_fault(text))?))
            }
            Meaning::ZonedTime => Ok(Cell::TimeTz(parse_zoned_time(text).ok_or(Fault::TimeText)?)),
            Meaning::IsoDate => {
                let day = time::parse_date(without_zulu(text)).ok_or_else(|| date_fault(text))?;
                Ok(Cell::Date(i32::try_from(day).map_err(|_| Fault::IntegerRange)?))
            }
            Meaning::IsoTime => Ok(Cell::Time(time::parse_time(without_zulu(text)).ok_or(Fault::TimeText)?)),
            Meaning::IsoTimestamp => Ok(Cell::Timestamp(time::parse_timestamp(text).ok_or_else(|| date_fault(text))?)),
            Meaning::IntervalText => {
                let (months, days, microseconds) = parse_interval(text).ok_or(Fault::IntervalText)?;
                Ok(arena.push_interval(months, days, microseconds))
            }
            Meaning::Uuid => Ok(Cell::Uuid(arena.push_bytes(&parse_uuid(text).ok_or(Fault::UuidText)?))),
            _ => Err(Fault::Shape),
        }
    }

    fn bytes(self, bytes: &[u8], span: Span, arena: &mut Arena) -> Result<Cell, Fault> {
        match self {
            Meaning::Bits => Ok(Cell::Bits(span)),
            Meaning::Uuid if bytes.len() == 16 => Ok(Cell::Uuid(span)),
            Meaning::AvroDuration => {
                let part = |at: usize| -> Result<u32, Fault> {
                    let part: &[u8; 4] =
                        bytes.get(at..at + 4).and_then(|part| part.try_into().ok()).ok_or(Fault::End)?;
                    Ok(u32::from_le_bytes(*part))
                };
                let narrow = |number: u32| i32::try_from(number).map_err(|_| Fault::IntegerRange);
                Ok(arena.push_interval(narrow(part(0)?)?, narrow(part(4)?)?, i64::from(part(8)?) * 1_000))
            }
            _ => Err(Fault::Shape),
        }
    }
}

/// The span of the shortest form of a two's complement number: the same digits always have the same bytes.
pub(crate) fn decimal_of(bytes: &[u8], span: Span, scale: i16) -> Result<Cell, Fault> {
    if bytes.is_empty() {
        return Err(Fault::DecimalText);
    }
    let length = decimal::minimal(bytes).len();
    // The work on it grows with its square, and no target can hold it.
    if length > decimal::UNSCALED_BYTES_MAX {
        return Err(Fault::DecimalLength);
    }
    let length = length as u32;
    let unscaled = Span { start: span.start + (span.length - length), length };
    Ok(Cell::Decimal(DecimalCell { unscaled, scale }))
}

pub(super) fn time_of_day(microseconds: i64) -> Result<i64, Fault> {
    if (0..=time::DAY_MICROSECONDS).contains(&microseconds) { Ok(microseconds) } else { Err(Fault::TimeRange) }
}

fn microseconds(value: i64, unit: Unit) -> Result<i64, Fault> {
    match unit {
        Unit::Milli => value.checked_mul(1_000).ok_or(Fault::IntegerRange),
        Unit::Micro => Ok(value),
        Unit::Nano if value % 1_000 == 0 => Ok(value / 1_000),
        Unit::Nano => Err(Fault::Nanoseconds),
    }
}

fn instant(value: i64, unit: Unit) -> Result<i64, Fault> {
    if INFINITIES.contains(&value) || (unit == Unit::Nano && (value == i64::MAX || value == i64::MIN)) {
        return Err(Fault::Infinity);
    }
    microseconds(value, unit)
}

fn date_fault(text: &str) -> Fault {
    if text.trim_start_matches(['-', '+']).eq_ignore_ascii_case("infinity") { Fault::Infinity } else { Fault::DateText }
}

fn without_zulu(text: &str) -> &str {
    text.strip_suffix(['Z', 'z']).unwrap_or(text)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn of(meaning: Meaning, primitive: Primitive<'_>) -> Result<Cell, Fault> {
        meaning.cell(primitive, &mut Arena::default())
    }

    #[test]
    fn decimals_longer_than_any_target_holds_are_refused() {
        let of = |length: usize| decimal_of(&vec![1; length], Span { start: 0, length: length as u32 }, 0);
        assert!(of(decimal::UNSCALED_BYTES_MAX).is_ok());
        assert_eq!(of(decimal::UNSCALED_BYTES_MAX + 1), Err(Fault::DecimalLength));
        assert_eq!(of(0), Err(Fault::DecimalText));
        // Bytes that say nothing are none.
        let padded = [vec![0; 100_000], vec![1]].concat();
        assert!(decimal_of(&padded, Span { start: 0, length: padded.len() as u32 }, 0).is_ok());
    }

    #[test]
    fn times_are_exact_or_refused() {
        assert_eq!(of(Meaning::Timestamp(Unit::Milli), Primitive::Int(-1)), Ok(Cell::Timestamp(-1_000)));
        assert_eq!(of(Meaning::Timestamp(Unit::Nano), Primitive::Int(1_000)), Ok(Cell::Timestamp(1)));
        assert_eq!(of(Meaning::Timestamp(Unit::Nano), Primitive::Int(1_001)), Err(Fault::Nanoseconds));
        assert_eq!(of(Meaning::Timestamp(Unit::Milli), Primitive::Int(i64::MAX)), Err(Fault::IntegerRange));
        for unit in [Unit::Milli, Unit::Micro] {
            assert_eq!(of(Meaning::Timestamp(unit), Primitive::Int(INFINITIES[0])), Err(Fault::Infinity));
        }
        assert_eq!(of(Meaning::Time(Unit::Milli), Primitive::Int(86_400_001)), Err(Fault::TimeRange));
        assert_eq!(
            of(Meaning::Duration(Unit::Micro), Primitive::Int(-3_020_398_000_001)),
            Ok(Cell::Duration(-3_020_398_000_001))
        );
    }

    #[test]
    fn infinity_in_text_is_a_fault_of_its_own() {
        let span = Span::default();
        assert_eq!(of(Meaning::ZonedTimestamp, Primitive::Text("-infinity", span)), Err(Fault::Infinity));
        assert_eq!(of(Meaning::ZonedTimestamp, Primitive::Text("soon", span)), Err(Fault::DateText));
        assert_eq!(
            of(Meaning::ZonedTimestamp, Primitive::Text("1970-01-01T00:00:00.125Z", span)),
            Ok(Cell::TimestampTz(125_000))
        );
        assert_eq!(of(Meaning::IsoDate, Primitive::Text("2017-09-15Z", span)), Ok(Cell::Date(17_424)));
    }

    #[test]
    fn decimals_lose_redundant_sign_bytes_and_nothing_else() {
        let span = Span { start: 10, length: 3 };
        let cell = of(Meaning::Decimal(2), Primitive::Bytes(&[0, 0, 0xff], span)).unwrap();
        assert_eq!(cell, Cell::Decimal(DecimalCell { unscaled: Span { start: 11, length: 2 }, scale: 2 }));
        assert!(of(Meaning::Decimal(2), Primitive::Bytes(&[], span)).is_err());
    }
}
