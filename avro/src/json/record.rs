//! Reads whole values: envelopes and flattened rows, with or without schema.

use topology::data::CellRange;
use topology::raw::Ignored;
use topology::record::Operation;

use super::row::{Context, resolve};
use super::token::{Token, Tokens};
use crate::avro::{ValueOutcome, ValueRows, flat_outcome, operation};
use crate::fault::{ColumnFault, Fault};
use crate::plan::{FlatRole, RowPlan, flat_role};
use crate::source::{SourceBuilder, SourceField};
use crate::value::Primitive;

/// What the members of a document without schema say that it is.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Guess {
    Envelope,
    Ignored(Ignored),
    Row,
}

/// Classifies an object by the names of its members. Its bracket was read.
pub(super) fn guess(mut tokens: Tokens<'_>) -> Result<Guess, Fault> {
    const NAMES: [&str; 13] = [
        "op",
        "after",
        "before",
        "source",
        "ts_ms",
        "status",
        "event_count",
        "ddl",
        "tableChanges",
        "databaseName",
        "aggregate_type",
        "additional_data",
        "message",
    ];
    let mut found = [false; NAMES.len()];
    let (mut members, mut is_first) = (0, true);
    while let Some(name) = tokens.member(&mut is_first)? {
        members += 1;
        if let Some(at) = NAMES.iter().position(|known| name.is(known)) {
            found[at] = true;
        }
        tokens.skip()?;
    }
    let [op, after, before, source, ts_ms, status, event_count, ddl, changes, database, aggregate, additional, message] =
        found;
    Ok(if op && source && (after || before || message) {
        Guess::Envelope
    } else if ts_ms && members == 1 {
        Guess::Ignored(Ignored::Heartbeat)
    } else if status && event_count && ts_ms {
        Guess::Ignored(Ignored::TransactionMarker)
    } else if database && (ddl || changes) && source {
        Guess::Ignored(Ignored::SchemaChange)
    } else if aggregate && additional {
        Guess::Ignored(Ignored::Control)
    } else {
        Guess::Row
    })
}

impl Context<'_> {
    /// Reads an envelope whose bracket was read.
    pub(super) fn envelope(&mut self, row: &RowPlan, tokens: &mut Tokens<'_>) -> Result<ValueOutcome, ColumnFault> {
        let (mut before_at, mut before, mut after) = (None, None, None);
        let mut source = SourceBuilder::default();
        let mut letter = None;
        let mut is_first = true;
        while let Some(name) = tokens.member(&mut is_first)? {
            match name.raw {
                "before" if self.settings.decode_before => before = self.optional_row(row, tokens)?,
                "before" => {
                    before_at = Some(*tokens);
                    tokens.skip()?;
                }
                "after" => after = self.optional_row(row, tokens)?,
                "source" => self.source(tokens, &mut source)?,
                "op" => {
                    if let Token::Text(text) = tokens.token()? {
                        letter = Some(text.raw);
                    }
                }
                _ => tokens.skip()?,
            }
        }
        let Some(operation) = operation(letter.ok_or(Fault::MissingField)?)? else {
            return Ok(ValueOutcome::Control);
        };
        if operation == Operation::Delete
            && let Some(mut at) = before_at
        {
            before = self.optional_row(row, &mut at)?;
        }
        Ok(ValueOutcome::Rows(ValueRows { operation, before, after, source: source.finish() }))
    }

    fn optional_row(&mut self, row: &RowPlan, tokens: &mut Tokens<'_>) -> Result<Option<CellRange>, ColumnFault> {
        match tokens.token()? {
            Token::Null => Ok(None),
            Token::Object => self.row(row, tokens).map(Some),
            _ => Err(Fault::JsonKind.into()),
        }
    }

    fn source<'a>(&mut self, tokens: &mut Tokens<'a>, builder: &mut SourceBuilder<'a>) -> Result<(), Fault> {
        let token = tokens.token()?;
        if token != Token::Object {
            return tokens.skip_rest(token, crate::schema::DEPTH_MAX);
        }
        let mut is_first = true;
        while let Some(name) = tokens.member(&mut is_first)? {
            match SourceField::of(name.raw) {
                Some(field) => self.source_field(field, tokens, builder)?,
                None => tokens.skip()?,
            }
        }
        Ok(())
    }

    fn source_field<'a>(
        &mut self,
        field: SourceField,
        tokens: &mut Tokens<'a>,
        builder: &mut SourceBuilder<'a>,
    ) -> Result<(), Fault> {
        match tokens.token()? {
            Token::Number(number) => {
                if let Ok(number) = number.parse() {
                    builder.set(field, Primitive::Int(number));
                }
            }
            Token::Bool(value) => builder.set(field, Primitive::Bool(value)),
            Token::Text(text) if field == SourceField::Sequence => {
                text.unescape(&mut self.scratch.text)?;
                builder.set_sequence(&self.scratch.text);
            }
            Token::Text(text) => {
                // The span is resolved; comparisons and hashes take the text as it stands, which is the same for the same name.
                let (_, span) = resolve(text, self.base, self.arena, &mut self.scratch.text)?;
                builder.set(field, Primitive::Text(text.raw, span));
            }
            Token::Null => {}
            token => tokens.skip_rest(token, crate::schema::DEPTH_MAX)?,
        }
        Ok(())
    }

    /// Reads a flattened or plain row whose bracket was read.
    pub(super) fn flat(&mut self, row: &RowPlan, tokens: &mut Tokens<'_>) -> Result<ValueOutcome, ColumnFault> {
        let mut source = SourceBuilder::default();
        let (mut letter, mut is_deleted) = (None, false);
        let base = self.base;
        let range = self.row_and(row, tokens, |name, tokens, arena| {
            let Some(role) = flat_role(name.raw) else { return tokens.skip() };
            let mut buffer = String::new();
            match (role, tokens.token()?) {
                (FlatRole::Operation, Token::Text(text)) => letter = Some(text.raw),
                (FlatRole::Deleted, Token::Text(text)) => is_deleted = text.raw.eq_ignore_ascii_case("true"),
                (FlatRole::Deleted, Token::Bool(value)) => is_deleted = value,
                (FlatRole::Source(SourceField::Sequence), Token::Text(text)) => {
                    text.unescape(&mut buffer)?;
                    source.set_sequence(&buffer);
                }
                (FlatRole::Source(field), Token::Text(text)) => {
                    let (_, span) = resolve(text, base, arena, &mut buffer)?;
                    source.set(field, Primitive::Text(text.raw, span));
                }
                (FlatRole::Source(field), Token::Number(number)) => {
                    if let Ok(number) = number.parse() {
                        source.set(field, Primitive::Int(number));
                    }
                }
                (FlatRole::Source(field), Token::Bool(value)) => source.set(field, Primitive::Bool(value)),
                (_, token) => tokens.skip_rest(token, crate::schema::DEPTH_MAX)?,
            }
            Ok(())
        })?;
        flat_outcome(range, letter, is_deleted, &source).map_err(ColumnFault::from)
    }
}
