//! JSON: checking texts, writing arrays, reading arrays. Numbers stay texts, so none is rounded.

use std::io::Write;

use super::{NO_WAY, Refused, Scratch, text};
use crate::data::{Arena, Cell, Span, View, decimal};

const NO_JSON: Refused = Refused("the text is not valid JSON");
const NOT_A_DOUBLE: Refused =
    Refused("the JSON has a number that MySQL would round: it keeps 64-bit integers and doubles");
/// MySQL allows 100 levels, PostgreSQL as many as its stack has room for.
const DEPTH_MAX: u32 = 512;

pub(super) fn to_json(
    cell: Cell,
    arena: &mut Arena,
    scratch: &mut Scratch,
    doubles: bool,
    trusted: bool,
) -> Result<Cell, Refused> {
    match cell {
        Cell::Json(span) | Cell::Text(span) => {
            let known = trusted && matches!(cell, Cell::Json(_));
            if doubles || !known {
                check(arena.text(span), doubles)?;
            }
            Ok(Cell::Json(span))
        }
        _ => {
            scratch.bytes.clear();
            write_json(cell, arena, scratch, doubles)?;
            Ok(Cell::Json(arena.push_bytes(&scratch.bytes)))
        }
    }
}

/// Appends the JSON form of a cell to `scratch.bytes`.
pub(super) fn write_json(cell: Cell, arena: &Arena, scratch: &mut Scratch, doubles: bool) -> Result<(), Refused> {
    match arena.view(cell) {
        View::Null => scratch.bytes.extend_from_slice(b"null"),
        View::F32(number) if !number.is_finite() => return Err(Refused("JSON has no NaN and no infinity")),
        View::F64(number) if !number.is_finite() => return Err(Refused("JSON has no NaN and no infinity")),
        View::Bool(_) | View::I64(_) | View::U64(_) | View::F32(_) | View::F64(_) => {
            text::write_text(cell, arena, scratch)?;
        }
        View::Decimal { .. } => {
            let start = scratch.bytes.len();
            text::write_text(cell, arena, scratch)?;
            let number = std::str::from_utf8(&scratch.bytes[start..]).map_err(|_| NO_JSON)?;
            if doubles && !is_double(number) {
                return Err(NOT_A_DOUBLE);
            }
        }
        View::Json(text) => {
            check(text, doubles)?;
            scratch.bytes.extend_from_slice(text.as_bytes());
        }
        View::Text(text) => write_string(text, &mut scratch.bytes),
        View::Array(elements) => {
            scratch.bytes.push(b'[');
            for (at, element) in elements.iter().enumerate() {
                if at > 0 {
                    scratch.bytes.push(b',');
                }
                write_json(*element, arena, scratch, doubles)?;
            }
            scratch.bytes.push(b']');
        }
        View::Unavailable | View::Bytes(_) => return Err(NO_WAY),
        _ => {
            // Moments and the like: their text has no character that JSON escapes.
            scratch.bytes.push(b'"');
            text::write_text(cell, arena, scratch)?;
            scratch.bytes.push(b'"');
        }
    }
    Ok(())
}

fn write_string(text: &str, out: &mut Vec<u8>) {
    out.push(b'"');
    for byte in text.bytes() {
        match byte {
            b'"' | b'\\' => out.extend_from_slice(&[b'\\', byte]),
            0..=0x1f => drop(write!(out, "\\u{byte:04x}")),
            _ => out.push(byte),
        }
    }
    out.push(b'"');
}

/// The elements of a flat JSON array as cells: texts, whole numbers, decimals, truth values, NULL.
pub(super) fn elements(span: Span, arena: &mut Arena, scratch: &mut Scratch) -> Result<Span, Refused> {
    const NOT_FLAT: Refused = Refused("the JSON is not a flat array");
    let base = scratch.cells.len();
    let mut place = 0;
    // The text is in the arena that the elements go to, so each turn looks it up anew.
    let mut next = |arena: &mut Arena, scratch: &mut Scratch| -> Result<Piece, Refused> {
        let mut tokens = Tokens::new(arena.text(span));
        tokens.at = place;
        let piece = match tokens.next_token()? {
            None => Piece::End,
            Some(Token::OpenArray) => Piece::Open,
            Some(Token::CloseArray) => Piece::Close,
            Some(Token::Comma) => Piece::Comma,
            Some(Token::Word("null")) => Piece::Cell(Cell::Null),
            Some(Token::Word(word)) => Piece::Cell(Cell::Bool(word == "true")),
            Some(Token::Number(number)) => {
                scratch.bytes.clear();
                scratch.bytes.extend_from_slice(number.as_bytes());
                Piece::Number
            }
            Some(Token::Text(escaped)) => {
                scratch.bytes.clear();
                unescape(escaped, &mut scratch.bytes)?;
                Piece::Text
            }
            Some(_) => return Err(NOT_FLAT),
        };
        place = tokens.at;
        Ok(match piece {
            Piece::Text => Piece::Cell(Cell::Text(arena.push_bytes(&scratch.bytes))),
            Piece::Number => Piece::Cell(number_cell(arena, scratch)?),
            piece => piece,
        })
    };
    let mut expect = |arena: &mut Arena, scratch: &mut Scratch| -> Result<(), Refused> {
        if !matches!(next(arena, scratch)?, Piece::Open) {
            return Err(NOT_FLAT);
        }
        let mut after_comma = false;
        loop {
            match next(arena, scratch)? {
                Piece::Cell(cell) => scratch.cells.push(cell),
                Piece::Close if !after_comma => break,
                _ => return Err(NOT_FLAT),
            }
            match next(arena, scratch)? {
                Piece::Comma => after_comma = true,
                Piece::Close => break,
                _ => return Err(NOT_FLAT),
            }
        }
        if matches!(next(arena, scratch)?, Piece::End) { Ok(()) } else { Err(NO_JSON) }
    };
    let outcome = expect(arena, scratch);
    let range = outcome.map(|()| arena.push_cells(&scratch.cells[base..]));
    scratch.cells.truncate(base);
    range.map(|range| Span { start: range.start, length: range.length })
}

enum Piece {
    Open,
    Close,
    Comma,
    Cell(Cell),
    Text,
    Number,
    End,
}

fn number_cell(arena: &mut Arena, scratch: &Scratch) -> Result<Cell, Refused> {
    let text = std::str::from_utf8(&scratch.bytes).map_err(|_| NO_JSON)?;
    if let Ok(number) = text.parse::<i64>() {
        return Ok(Cell::I64(number));
    }
    let (unscaled, scale) = decimal::parse(text).ok_or(NO_JSON)?;
    let unscaled = arena.push_bytes(&unscaled);
    Ok(Cell::Decimal(crate::data::DecimalCell { unscaled, scale }))
}

/// Checks that `text` is one JSON value and, with `doubles`, that MySQL keeps its numbers.
pub(super) fn check(text: &str, doubles: bool) -> Result<(), Refused> {
    let mut tokens = Tokens::new(text);
    value(&mut tokens, doubles, 0)?;
    if tokens.next_token()?.is_none() { Ok(()) } else { Err(NO_JSON) }
}

fn value(tokens: &mut Tokens<'_>, doubles: bool, depth: u32) -> Result<(), Refused> {
    let token = tokens.next_token()?.ok_or(NO_JSON)?;
    value_from(token, tokens, doubles, depth)
}

fn value_from(token: Token<'_>, tokens: &mut Tokens<'_>, doubles: bool, depth: u32) -> Result<(), Refused> {
    if depth > DEPTH_MAX {
        return Err(Refused("the JSON is nested too deeply"));
    }
    match token {
        Token::Word(_) | Token::Text(_) => Ok(()),
        Token::Number(number) if doubles && !is_double(number) => Err(NOT_A_DOUBLE),
        Token::Number(_) => Ok(()),
        Token::OpenArray => {
            let mut token = tokens.next_token()?.ok_or(NO_JSON)?;
            if token == Token::CloseArray {
                return Ok(());
            }
            loop {
                value_from(token, tokens, doubles, depth + 1)?;
                match tokens.next_token()? {
                    Some(Token::Comma) => token = tokens.next_token()?.ok_or(NO_JSON)?,
                    Some(Token::CloseArray) => return Ok(()),
                    _ => return Err(NO_JSON),
                }
            }
        }
        Token::OpenObject => {
            let mut token = tokens.next_token()?.ok_or(NO_JSON)?;
            if token == Token::CloseObject {
                return Ok(());
            }
            loop {
                if !matches!(token, Token::Text(_)) || tokens.next_token()? != Some(Token::Colon) {
                    return Err(NO_JSON);
                }
                value(tokens, doubles, depth + 1)?;
                match tokens.next_token()? {
                    Some(Token::Comma) => token = tokens.next_token()?.ok_or(NO_JSON)?,
                    Some(Token::CloseObject) => return Ok(()),
                    _ => return Err(NO_JSON),
                }
            }
        }
        Token::CloseArray | Token::CloseObject | Token::Comma | Token::Colon => Err(NO_JSON),
    }
}

/// True when MySQL gives this number back: a 64-bit integer, or what a double's shortest form says.
fn is_double(number: &str) -> bool {
    if number.parse::<i64>().is_ok() || number.parse::<u64>().is_ok() {
        return true;
    }
    let Ok(double) = number.parse::<f64>() else { return false };
    let mantissa = number.split(['e', 'E']).next().unwrap_or("");
    let digits = || mantissa.bytes().filter(u8::is_ascii_digit).skip_while(|digit| *digit == b'0');
    let zeros = mantissa.bytes().filter(u8::is_ascii_digit).rev().take_while(|digit| *digit == b'0').count();
    let significant = digits().count().saturating_sub(zeros);
    if !double.is_finite() {
        return false;
    }
    if significant <= 15 {
        return significant == 0 || double.is_normal();
    }
    // Longer: rare enough to compare as decimals.
    let normal = |text: &str| {
        let (unscaled, scale) = decimal::parse(text)?;
        let mut digits = Vec::new();
        let negative = decimal::digits(&unscaled, &mut digits);
        let mut scale = i32::from(scale);
        while digits.len() > 1 && digits.last() == Some(&b'0') {
            digits.pop();
            scale -= 1;
        }
        Some((negative, digits, scale))
    };
    let shortest = format!("{double:e}");
    normal(number).is_some() && normal(number) == normal(&shortest)
}

/// One token; texts without their quotes and still escaped, numbers as written.
#[derive(Clone, Copy, Debug, PartialEq)]
pub(super) enum Token<'a> {
    OpenObject,
    CloseObject,
    OpenArray,
    CloseArray,
    Comma,
    Colon,
    Word(&'a str),
    Number(&'a str),
    Text(&'a str),
}

/// Splits JSON into tokens.
pub(super) struct Tokens<'a> {
    text: &'a str,
    at: usize,
}

impl<'a> Tokens<'a> {
    pub(super) fn new(text: &'a str) -> Tokens<'a> {
        Tokens { text, at: 0 }
    }

    fn byte(&self) -> Option<u8> {
        self.text.as_bytes().get(self.at).copied()
    }

    pub(super) fn next_token(&mut self) -> Result<Option<Token<'a>>, Refused> {
        while matches!(self.byte(), Some(b' ' | b'\t' | b'\n' | b'\r')) {
            self.at += 1;
        }
        let Some(byte) = self.byte() else { return Ok(None) };
        let single = match byte {
            b'{' => Some(Token::OpenObject),
            b'}' => Some(Token::CloseObject),
            b'[' => Some(Token::OpenArray),
            b']' => Some(Token::CloseArray),
            b',' => Some(Token::Comma),
            b':' => Some(Token::Colon),
            _ => None,
        };
        if let Some(token) = single {
            self.at += 1;
            return Ok(Some(token));
        }
        match byte {
            b'"' => self.string().map(Some),
            b'-' | b'0'..=b'9' => self.number().map(Some),
            _ => {
                let rest = self.text.get(self.at..).unwrap_or("");
                let word = ["true", "false", "null"].into_iter().find(|word| rest.starts_with(word)).ok_or(NO_JSON)?;
                self.at += word.len();
                Ok(Some(Token::Word(word)))
            }
        }
    }

    fn string(&mut self) -> Result<Token<'a>, Refused> {
        self.at += 1;
        let start = self.at;
        loop {
            match self.byte().ok_or(NO_JSON)? {
                b'"' => break,
                b'\\' => match self.text.as_bytes().get(self.at + 1) {
                    Some(b'"' | b'\\' | b'/' | b'b' | b'f' | b'n' | b'r' | b't') => self.at += 2,
                    Some(b'u') => {
                        let digits = self.text.as_bytes().get(self.at + 2..self.at + 6).ok_or(NO_JSON)?;
                        if !digits.iter().all(u8::is_ascii_hexdigit) {
                            return Err(NO_JSON);
                        }
                        self.at += 6;
                    }
                    _ => return Err(NO_JSON),
                },
                0..=0x1f => return Err(NO_JSON),
                _ => self.at += 1,
            }
        }
        let token = Token::Text(self.text.get(start..self.at).ok_or(NO_JSON)?);
        self.at += 1;
        Ok(token)
    }

    fn digits(&mut self) -> Result<(), Refused> {
        let start = self.at;
        while matches!(self.byte(), Some(b'0'..=b'9')) {
            self.at += 1;
        }
        if self.at > start { Ok(()) } else { Err(NO_JSON) }
    }

    fn number(&mut self) -> Result<Token<'a>, Refused> {
        let start = self.at;
        if self.byte() == Some(b'-') {
            self.at += 1;
        }
        let leading_zero = self.byte() == Some(b'0');
        let whole = self.at;
        self.digits()?;
        if leading_zero && self.at > whole + 1 {
            return Err(NO_JSON);
        }
        if self.byte() == Some(b'.') {
            self.at += 1;
            self.digits()?;
        }
        if matches!(self.byte(), Some(b'e' | b'E')) {
            self.at += 1;
            if matches!(self.byte(), Some(b'+' | b'-')) {
                self.at += 1;
            }
            self.digits()?;
        }
        Ok(Token::Number(self.text.get(start..self.at).ok_or(NO_JSON)?))
    }
}

/// Appends the characters of an escaped text.
pub(super) fn unescape(escaped: &str, out: &mut Vec<u8>) -> Result<(), Refused> {
    let mut rest = escaped;
    while let Some(at) = rest.find('\\') {
        out.extend_from_slice(&rest.as_bytes()[..at]);
        let code = rest.as_bytes().get(at + 1).ok_or(NO_JSON)?;
        let mut used = 2;
        let plain = match code {
            b'b' => '\u{8}',
            b'f' => '\u{c}',
            b'n' => '\n',
            b'r' => '\r',
            b't' => '\t',
            b'u' => {
                let unit = hex(rest, at + 2)?;
                used = 6;
                if (0xd800..0xdc00).contains(&unit) {
                    let low = hex(rest, at + 8)?;
                    if rest.get(at + 6..at + 8) != Some("\\u") || !(0xdc00..0xe000).contains(&low) {
                        return Err(NO_JSON);
                    }
                    used = 12;
                    char::from_u32(0x10000 + ((unit - 0xd800) << 10) + (low - 0xdc00)).ok_or(NO_JSON)?
                } else {
                    char::from_u32(unit).ok_or(NO_JSON)?
                }
            }
            other => char::from(*other),
        };
        out.extend_from_slice(plain.encode_utf8(&mut [0; 4]).as_bytes());
        rest = rest.get(at + used..).ok_or(NO_JSON)?;
    }
    out.extend_from_slice(rest.as_bytes());
    Ok(())
}

fn hex(text: &str, at: usize) -> Result<u32, Refused> {
    u32::from_str_radix(text.get(at..at + 4).ok_or(NO_JSON)?, 16).map_err(|_| NO_JSON)
}
