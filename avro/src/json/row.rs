//! Reads rows and keys that stand as JSON objects, by the same plans as Avro's.

use base64::Engine as _;
use base64::engine::general_purpose::STANDARD;
use topology::data::{Arena, Cell, CellRange, Span, decimal};

use super::token::{RawText, Token, Tokens};
use crate::avro::{Scratch, Settings, element_cell, finish_array};
use crate::fault::{ColumnFault, Fault};
use crate::options::JsonOptions;
use crate::plan::{ColumnPlan, KeyPlan, RowPlan};
use crate::schema::{DEPTH_MAX, NodeId, Schema, Shape};
use crate::value::{Meaning, Primitive, STRUCT_FIELDS_MAX, StructMeaning, push_decimal};

/// What reading needs besides the text.
pub(crate) struct Context<'c> {
    pub(crate) schema: &'c Schema,
    pub(crate) settings: &'c Settings,
    pub(crate) arena: &'c mut Arena,
    pub(crate) scratch: &'c mut Scratch,
    /// Where byte 0 of the document stands in the arena.
    pub(crate) base: u32,
    /// For columns without schema.
    pub(crate) hints: JsonOptions,
}

/// Reads a key: the object of its columns, or the bare value of a key that is no record.
pub(crate) fn read_key(
    plan: &KeyPlan,
    settings: &Settings,
    tokens: &mut Tokens<'_>,
    base: u32,
    hints: JsonOptions,
    arena: &mut Arena,
    scratch: &mut Scratch,
) -> Result<CellRange, ColumnFault> {
    scratch.cells.clear();
    let mut context = Context { schema: &plan.schema, settings, arena, scratch, base, hints };
    if plan.is_single {
        let column = plan.row.columns.first().ok_or(Fault::Shape)?;
        let token = tokens.token()?;
        let cell = context.column(column, token, tokens, DEPTH_MAX).map_err(|fault| fault.at(0))?;
        return Ok(context.arena.push_cells(&[cell]));
    }
    match tokens.token()? {
        Token::Null => Ok(CellRange::default()),
        Token::Object => {
            let range = context.row(&plan.row, tokens)?;
            // A key with a missing column would name another row.
            match context.arena.row(range).iter().position(|cell| cell.is_unavailable()) {
                Some(column) => Err(Fault::MissingField.at(column)),
                None => Ok(range),
            }
        }
        _ => Err(Fault::JsonKind.into()),
    }
}

impl Context<'_> {
    /// Reads the members of an object whose bracket was read. Columns that are absent are unavailable.
    pub(crate) fn row(&mut self, plan: &RowPlan, tokens: &mut Tokens<'_>) -> Result<CellRange, ColumnFault> {
        self.row_and(plan, tokens, |_, tokens, _| tokens.skip())
    }

    /// As [`Context::row`]; members that are no column go to `other`, which must read their value.
    pub(crate) fn row_and<'a>(
        &mut self,
        plan: &RowPlan,
        tokens: &mut Tokens<'a>,
        mut other: impl FnMut(RawText<'a>, &mut Tokens<'a>, &mut Arena) -> Result<(), Fault>,
    ) -> Result<CellRange, ColumnFault> {
        let start = self.scratch.cells.len();
        self.scratch.cells.resize(start + plan.columns.len(), Cell::Unavailable);
        let (mut is_first, mut expected) = (true, 0);
        while let Some(name) = tokens.member(&mut is_first)? {
            // Members come in the order of the schema nearly always.
            let found = match plan.columns.get(expected) {
                Some(column) if name.is(&column.field) => Some(expected),
                _ => plan.columns.iter().position(|column| name.is(&column.field)),
            };
            let Some(index) = found else {
                other(name, tokens, self.arena)?;
                continue;
            };
            expected = index + 1;
            let token = tokens.token()?;
            let column = plan.columns.get(index).ok_or(Fault::Shape)?;
            let cell = self.column(column, token, tokens, DEPTH_MAX).map_err(|fault| fault.at(index))?;
            if let Some(slot) = self.scratch.cells.get_mut(start + index) {
                *slot = cell;
            }
        }
        let range = self.arena.push_cells(self.scratch.cells.get(start..).unwrap_or(&[]));
        self.scratch.cells.truncate(start);
        Ok(range)
    }

    /// Reads one column whose first token was read.
    pub(crate) fn column(
        &mut self,
        plan: &ColumnPlan,
        token: Token<'_>,
        tokens: &mut Tokens<'_>,
        depth: usize,
    ) -> Result<Cell, Fault> {
        if token == Token::Null {
            return if plan.is_nullable() { Ok(Cell::Null) } else { Err(Fault::NullValue) };
        }
        if let Token::Text(text) = token
            && !text.is_escaped
            && self.settings.placeholder.is_text(text.raw.as_bytes())
        {
            return Ok(Cell::Unavailable);
        }
        self.value(plan, token, tokens, depth, false)
    }

    fn value(
        &mut self,
        plan: &ColumnPlan,
        token: Token<'_>,
        tokens: &mut Tokens<'_>,
        depth: usize,
        is_element: bool,
    ) -> Result<Cell, Fault> {
        match plan.meaning {
            Meaning::Array => self.array(plan, token, tokens, depth),
            Meaning::Struct(meaning) => self.structure(plan.node, meaning, token, tokens),
            Meaning::Document => self.document(token, tokens),
            Meaning::Hinted => self.hinted(&plan.kind, token, tokens, depth),
            Meaning::Unsigned if matches!(token, Token::Number(_)) => {
                let Token::Number(number) = token else { return Err(Fault::JsonKind) };
                match number.parse::<i64>() {
                    Ok(wrapped) => Ok(Cell::U64(wrapped as u64)),
                    Err(_) => number.parse().map(Cell::U64).map_err(|_| Fault::IntegerRange),
                }
            }
            Meaning::Decimal(scale) if matches!(token, Token::Number(_)) => {
                let Token::Number(number) = token else { return Err(Fault::JsonKind) };
                let (unscaled, from) = decimal::parse(number).ok_or(Fault::DecimalText)?;
                push_decimal(&unscaled, from, Some(scale), self.arena)
            }
            meaning => {
                let shape = &self.schema.node(plan.node).shape;
                let primitive =
                    scalar(shape, token, self.base, self.arena, &mut self.scratch.text, &mut self.scratch.bytes)?;
                match primitive {
                    // Escapes may hide it (hstore as JSON), and bytes stand as base64.
                    Primitive::Text(text, _) if !is_element && self.settings.placeholder.is_text(text.as_bytes()) => {
                        Ok(Cell::Unavailable)
                    }
                    primitive if is_element => element_cell(meaning, primitive, self.settings, self.arena),
                    primitive => meaning.cell(primitive, self.arena),
                }
            }
        }
    }

    fn array(
        &mut self,
        plan: &ColumnPlan,
        token: Token<'_>,
        tokens: &mut Tokens<'_>,
        depth: usize,
    ) -> Result<Cell, Fault> {
        let depth = depth.checked_sub(1).ok_or(Fault::Depth)?;
        let element = plan.element.as_deref().ok_or(Fault::Shape)?;
        if token != Token::Array {
            return Err(Fault::JsonKind);
        }
        let start = self.scratch.cells.len();
        let mut is_first = true;
        while tokens.item(&mut is_first)? {
            let cell = match tokens.token()? {
                Token::Null if element.is_nullable() => Cell::Null,
                Token::Null => return Err(Fault::NullValue),
                token => self.value(element, token, tokens, depth, true)?,
            };
            self.scratch.cells.push(cell);
        }
        let range = self.arena.push_cells(self.scratch.cells.get(start..).unwrap_or(&[]));
        self.scratch.cells.truncate(start);
        let span = Span { start: range.start, length: range.length };
        finish_array(element, span, self.settings, self.arena)
    }

    pub(super) fn structure(
        &mut self,
        id: NodeId,
        meaning: StructMeaning,
        token: Token<'_>,
        tokens: &mut Tokens<'_>,
    ) -> Result<Cell, Fault> {
        let Shape::Record(fields) = &self.schema.node(id).shape else { return Err(Fault::Shape) };
        if token != Token::Object {
            return Err(Fault::JsonKind);
        }
        let wanted = meaning.fields();
        // No such struct has two fields of bytes or two of text, so one buffer of each suffices; they are borrowed by the slots.
        let (mut text, mut bytes) = (String::new(), std::mem::take(&mut self.scratch.bytes));
        let mut found = [None; STRUCT_FIELDS_MAX];
        let mut is_first = true;
        while let Some(name) = tokens.member(&mut is_first)? {
            let token = tokens.token()?;
            let field = fields.iter().find(|field| name.is(&field.name));
            let slot = wanted.iter().position(|wanted| name.is(wanted)).and_then(|at| found.get_mut(at));
            match (field, slot, token) {
                (Some(field), Some(slot), Token::Number(_) | Token::Text(_) | Token::Bool(_)) => {
                    *slot = Some((self.schema.present(field.node), token));
                }
                _ => tokens.skip_rest(token, DEPTH_MAX)?,
            }
        }
        let mut slots = [Primitive::Null; STRUCT_FIELDS_MAX];
        let mut held = None;
        for (index, found) in found.iter().enumerate() {
            let Some((node, token)) = found else { continue };
            let shape = &self.schema.node(*node).shape;
            match scalar(shape, *token, self.base, self.arena, &mut text, &mut bytes)? {
                Primitive::Bytes(_, span) => held = Some((index, span)),
                Primitive::Text("", span) => slots[index] = Primitive::Text("", span),
                Primitive::Text(_, span) => slots[index] = Primitive::Text("special", span),
                Primitive::Int(number) => slots[index] = Primitive::Int(number),
                Primitive::Float(number) => slots[index] = Primitive::Float(number),
                Primitive::Double(number) => slots[index] = Primitive::Double(number),
                Primitive::Bool(_) | Primitive::Null => {}
            }
        }
        if let Some((index, span)) = held {
            slots[index] = Primitive::Bytes(&bytes, span);
        }
        let cell = if held.is_some() && self.settings.placeholder.is_bytes(&bytes) {
            Ok(Cell::Unavailable)
        } else {
            meaning.cell(&slots, self.arena)
        };
        self.scratch.bytes = bytes;
        cell
    }

    /// Maps and unknown structs stay the text that arrived.
    pub(super) fn document(&mut self, token: Token<'_>, tokens: &mut Tokens<'_>) -> Result<Cell, Fault> {
        let (start, text) = match token {
            Token::Object | Token::Array => {
                let start = tokens.at() - 1;
                tokens.skip_rest(token, DEPTH_MAX)?;
                (start, tokens.slice(start, tokens.at()))
            }
            Token::Text(RawText { at, raw, .. }) => (at - 1, tokens.slice(at - 1, at + raw.len() + 1)),
            Token::Number(number) => (tokens.at() - number.len(), number),
            Token::Bool(value) => {
                let length = if value { 4 } else { 5 };
                (tokens.at() - length, tokens.slice(tokens.at() - length, tokens.at()))
            }
            Token::Null => return Ok(Cell::Null),
        };
        if self.settings.placeholder.is_text(text.as_bytes()) {
            return Ok(Cell::Unavailable);
        }
        Ok(Cell::Json(Span { start: self.base + start as u32, length: text.len() as u32 }))
    }
}

/// The primitive of a scalar token, as the schema says it is to be read.
pub(crate) fn scalar<'a>(
    shape: &Shape,
    token: Token<'a>,
    base: u32,
    arena: &mut Arena,
    text_buffer: &'a mut String,
    bytes_buffer: &'a mut Vec<u8>,
) -> Result<Primitive<'a>, Fault> {
    Ok(match (shape, token) {
        (_, Token::Null) => Primitive::Null,
        (Shape::Bool, Token::Bool(value)) => Primitive::Bool(value),
        (Shape::Int(bits), Token::Number(number)) => {
            let value: i64 = number.parse().map_err(|_| Fault::IntegerRange)?;
            let limit = 1_i64 << (bits - 1);
            if value < -limit || value >= limit {
                return Err(Fault::IntegerRange);
            }
            Primitive::Int(value)
        }
        (Shape::Long, Token::Number(number)) => Primitive::Int(number.parse().map_err(|_| Fault::IntegerRange)?),
        (Shape::Float, Token::Number(number)) => match number.parse::<f32>() {
            Ok(value) if value.is_finite() => Primitive::Float(value),
            _ => return Err(Fault::NotANumber),
        },
        (Shape::Double, Token::Number(number)) => match number.parse::<f64>() {
            Ok(value) if value.is_finite() => Primitive::Double(value),
            _ => return Err(Fault::NotANumber),
        },
        (Shape::Float, Token::Text(text)) => Primitive::Float(not_finite(text.raw)? as f32),
        (Shape::Double, Token::Text(text)) => Primitive::Double(not_finite(text.raw)?),
        (Shape::Text | Shape::Symbols(_), Token::Text(text)) => {
            let (text, span) = resolve(text, base, arena, text_buffer)?;
            Primitive::Text(text, span)
        }
        (Shape::Bytes | Shape::Fixed(_), Token::Text(text)) => {
            let (text, _) = resolve_only(text, text_buffer)?;
            bytes_buffer.clear();
            STANDARD.decode_vec(text, bytes_buffer).map_err(|_| Fault::Base64)?;
            let span = arena.push_bytes(bytes_buffer);
            Primitive::Bytes(bytes_buffer, span)
        }
        _ => return Err(Fault::JsonKind),
    })
}

/// Text and its place in the arena: inside the document when nothing is escaped, else a resolved copy.
pub(crate) fn resolve<'a>(
    text: RawText<'a>,
    base: u32,
    arena: &mut Arena,
    buffer: &'a mut String,
) -> Result<(&'a str, Span), Fault> {
    if text.is_escaped {
        text.unescape(buffer)?;
        let span = arena.push_bytes(buffer.as_bytes());
        return Ok((buffer, span));
    }
    Ok((text.raw, Span { start: base + text.at as u32, length: text.raw.len() as u32 }))
}

fn resolve_only<'a>(text: RawText<'a>, buffer: &'a mut String) -> Result<(&'a str, bool), Fault> {
    if text.is_escaped {
        text.unescape(buffer)?;
        return Ok((buffer, true));
    }
    Ok((text.raw, false))
}

/// Floats that JSON has no number for, as Connect's converters write them.
fn not_finite(text: &str) -> Result<f64, Fault> {
    match text {
        "NaN" => Ok(f64::NAN),
        "Infinity" => Ok(f64::INFINITY),
        "-Infinity" => Ok(f64::NEG_INFINITY),
        _ => Err(Fault::JsonKind),
    }
}
