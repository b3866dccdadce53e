//! Cells of JSON without schema: the column's kind, from the topic's settings or learned, says how a token is to be read.
//!
//! Several forms are accepted where Debezium's settings allow several (numbers or text for times, truth values for `TINYINT(1)`);
//! what is ambiguous is decided by [`JsonOptions`], never guessed.

use base64::Engine as _;
use base64::engine::general_purpose::STANDARD;
use topology::data::{Cell, Kind, Span, decimal, time};

use super::row::{Context, resolve};
use super::token::{Token, Tokens};
use crate::fault::Fault;
use crate::options::{JsonDecimals, JsonUnit};
use crate::value::{Meaning, Primitive, Unit, decimal_of, parse_interval, parse_uuid, parse_zoned_time, push_decimal};

fn unit(unit: JsonUnit, precision: u8) -> Unit {
    match unit {
        JsonUnit::ByPrecision if precision <= 3 => Unit::Milli,
        JsonUnit::ByPrecision | JsonUnit::Microseconds => Unit::Micro,
        JsonUnit::Milliseconds => Unit::Milli,
        JsonUnit::Nanoseconds => Unit::Nano,
    }
}

fn whole(number: &str) -> Result<i64, Fault> {
    number.parse().map_err(|_| Fault::IntegerRange)
}

/// An unscaled number, if it is a 64-bit one without sign.
fn unsigned(unscaled: &[u8]) -> Option<u64> {
    let (first, rest) = unscaled.split_first()?;
    // Two's complement, the highest byte first; a ninth byte only says that the number is positive.
    let digits = if *first == 0 { rest } else { unscaled };
    if *first >= 0x80 || digits.len() > 8 {
        return None;
    }
    Some(digits.iter().fold(0, |number, byte| number << 8 | u64::from(*byte)))
}

impl Context<'_> {
    pub(super) fn hinted(
        &mut self,
        kind: &Kind,
        token: Token<'_>,
        tokens: &mut Tokens<'_>,
        depth: usize,
    ) -> Result<Cell, Fault> {
        match token {
            Token::Null => Ok(Cell::Null),
            _ if *kind == Kind::Json && !matches!(token, Token::Text(_)) => self.document(token, tokens),
            Token::Bool(value) => match kind {
                Kind::Bool | Kind::Int { .. } | Kind::Bits { .. } => Ok(Cell::Bool(value)),
                _ => Err(Fault::JsonKind),
            },
            Token::Number(number) => self.hinted_number(kind, number),
            Token::Text(text) => {
                let mut buffer = std::mem::take(&mut self.scratch.text);
                let cell = match resolve(text, self.base, self.arena, &mut buffer) {
                    Ok((text, _)) if self.settings.placeholder.is_text(text.as_bytes()) => Ok(Cell::Unavailable),
                    Ok((text, span)) => self.hinted_text(kind, text, span),
                    Err(fault) => Err(fault),
                };
                self.scratch.text = buffer;
                cell
            }
            Token::Object => match kind {
                Kind::Decimal { .. } => self.variable_scale(tokens),
                _ => self.document(token, tokens),
            },
            Token::Array => match kind {
                Kind::Array(element) => self.hinted_array(element, tokens, depth),
                _ => self.document(token, tokens),
            },
        }
    }

    fn hinted_number(&mut self, kind: &Kind, number: &str) -> Result<Cell, Fault> {
        let hints = self.hints;
        let moment = |meaning: Meaning| Ok((meaning, Primitive::Int(whole(number)?)));
        let (meaning, primitive) = match kind {
            Kind::Int { bits: 64, unsigned: true } => {
                return match number.parse::<i64>() {
                    Ok(wrapped) => Ok(Cell::U64(wrapped as u64)),
                    Err(_) => number.parse().map(Cell::U64).map_err(|_| Fault::IntegerRange),
                };
            }
            Kind::Int { .. } | Kind::Year | Kind::Bool => return whole(number).map(Cell::I64),
            Kind::Float32 => {
                let value: f32 = number.parse().map_err(|_| Fault::NotANumber)?;
                return if value.is_finite() { Ok(Cell::F32(value)) } else { Err(Fault::NotANumber) };
            }
            Kind::Float64 => {
                let value: f64 = number.parse().map_err(|_| Fault::NotANumber)?;
                return if value.is_finite() { Ok(Cell::F64(value)) } else { Err(Fault::NotANumber) };
            }
            Kind::Decimal { scale, .. } => {
                let (unscaled, from) = decimal::parse(number).ok_or(Fault::DecimalText)?;
                let scale = scale.and_then(|scale| i16::try_from(scale).ok());
                return push_decimal(&unscaled, from, scale, self.arena);
            }
            Kind::Date => moment(Meaning::Date)?,
            Kind::Timestamp { precision } => moment(Meaning::Timestamp(unit(hints.timestamps, *precision)))?,
            Kind::TimestampTz { precision } => moment(Meaning::TimestampTz(unit(hints.timestamps, *precision)))?,
            Kind::Time { precision } | Kind::Duration { precision } => {
                moment(Meaning::Duration(unit(hints.times, *precision)))?
            }
            Kind::Interval => moment(Meaning::Duration(Unit::Micro))?,
            _ => return Err(Fault::JsonKind),
        };
        meaning.cell(primitive, self.arena)
    }

    fn hinted_text(&mut self, kind: &Kind, text: &str, span: Span) -> Result<Cell, Fault> {
        Ok(match kind {
            Kind::Text { .. } | Kind::Xml | Kind::Enum(_) | Kind::Set(_) | Kind::Other(_) => Cell::Text(span),
            Kind::Json => Cell::Json(span),
            Kind::Bytes { .. } => Cell::Bytes(self.base64(text)?),
            Kind::Bits { .. } => Cell::Bits(self.base64(text)?),
            Kind::Uuid => Cell::Uuid(self.arena.push_bytes(&parse_uuid(text).ok_or(Fault::UuidText)?)),
            Kind::Date => Meaning::IsoDate.cell(Primitive::Text(text, span), self.arena)?,
            Kind::Timestamp { .. } => Meaning::IsoTimestamp.cell(Primitive::Text(text, span), self.arena)?,
            Kind::TimestampTz { .. } => Meaning::ZonedTimestamp.cell(Primitive::Text(text, span), self.arena)?,
            Kind::Time { .. } => Meaning::IsoTime.cell(Primitive::Text(text, span), self.arena)?,
            Kind::Duration { .. } => {
                let clock = text.strip_suffix(['Z', 'z']).unwrap_or(text);
                Cell::Duration(time::parse_time(clock).ok_or(Fault::TimeText)?)
            }
            Kind::TimeTz { .. } => Cell::TimeTz(parse_zoned_time(text).ok_or(Fault::TimeText)?),
            Kind::Interval => {
                let (months, days, microseconds) = parse_interval(text).ok_or(Fault::IntervalText)?;
                self.arena.push_interval(months, days, microseconds)
            }
            Kind::Decimal { scale, .. } => {
                let scale = scale.and_then(|scale| i16::try_from(scale).ok());
                match (self.hints.decimals, scale) {
                    (JsonDecimals::Base64, Some(scale)) => {
                        let unscaled = self.base64(text)?;
                        decimal_of(&self.scratch.bytes, unscaled, scale)?
                    }
                    (JsonDecimals::Base64, None) => return Err(Fault::DecimalScale),
                    (JsonDecimals::Text, scale) => {
                        let (unscaled, from) = decimal::parse(text).ok_or(Fault::DecimalText)?;
                        push_decimal(&unscaled, from, scale, self.arena)?
                    }
                }
            }
            Kind::Float32 | Kind::Float64 => {
                let value = match text {
                    "NaN" => f64::NAN,
                    "Infinity" => f64::INFINITY,
                    "-Infinity" => f64::NEG_INFINITY,
                    _ => return Err(Fault::JsonKind),
                };
                if *kind == Kind::Float32 { Cell::F32(value as f32) } else { Cell::F64(value) }
            }
            // `bigint.unsigned.handling.mode=precise`: a decimal without fraction.
            Kind::Int { bits: 64, unsigned: true } => match self.hints.decimals {
                JsonDecimals::Base64 => {
                    self.base64(text)?;
                    Cell::U64(unsigned(&self.scratch.bytes).ok_or(Fault::IntegerRange)?)
                }
                JsonDecimals::Text => Cell::U64(text.parse().map_err(|_| Fault::IntegerRange)?),
            },
            Kind::Bool | Kind::Int { .. } | Kind::Year | Kind::Array(_) => return Err(Fault::JsonKind),
        })
    }

    fn base64(&mut self, text: &str) -> Result<Span, Fault> {
        self.scratch.bytes.clear();
        STANDARD.decode_vec(text, &mut self.scratch.bytes).map_err(|_| Fault::Base64)?;
        Ok(self.arena.push_bytes(&self.scratch.bytes))
    }

    /// `{"scale":2,"value":"base64"}`.
    fn variable_scale(&mut self, tokens: &mut Tokens<'_>) -> Result<Cell, Fault> {
        let (mut scale, mut unscaled) = (None, None);
        let mut is_first = true;
        while let Some(name) = tokens.member(&mut is_first)? {
            match (tokens.token()?, name.raw) {
                (Token::Number(number), "scale") => scale = number.parse::<i16>().ok(),
                (Token::Text(text), "value") if !text.is_escaped => unscaled = Some(self.base64(text.raw)?),
                _ => return Err(Fault::StructField),
            }
        }
        match (scale, unscaled) {
            (Some(scale), Some(unscaled)) if unscaled.length > 0 => decimal_of(&self.scratch.bytes, unscaled, scale),
            _ => Err(Fault::StructField),
        }
    }

    fn hinted_array(&mut self, element: &Kind, tokens: &mut Tokens<'_>, depth: usize) -> Result<Cell, Fault> {
        let depth = depth.checked_sub(1).ok_or(Fault::Depth)?;
        let start = self.scratch.cells.len();
        let mut is_first = true;
        while tokens.item(&mut is_first)? {
            let token = tokens.token()?;
            let cell = match self.hinted(element, token, tokens, depth)? {
                // Only the whole list can be unavailable; one placeholder alone means that.
                Cell::Unavailable => match token {
                    Token::Text(text) => self.arena.push_text(text.raw),
                    _ => return Err(Fault::Shape),
                },
                cell => cell,
            };
            self.scratch.cells.push(cell);
        }
        let range = self.arena.push_cells(self.scratch.cells.get(start..).unwrap_or(&[]));
        self.scratch.cells.truncate(start);
        let span = Span { start: range.start, length: range.length };
        if self.settings.placeholder.is_array(self.arena, span) {
            return Ok(Cell::Unavailable);
        }
        Ok(Cell::Array(span))
    }
}
