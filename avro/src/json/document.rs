//! Takes `{"schema":…,"payload":…}` apart, and remembers compiled schemas by their text.
//!
//! The schema is several times longer than the row and the same in nearly every record, so the bytes in front of the last payload are
//! kept: a record that begins with them needs no look at its schema at all.

use topology::data::Layouts;

use super::token::{Token, Tokens};
use crate::fault::Fault;
use crate::plans::Compile;
use crate::schema::connect;

/// Different schemas that one topic may embed; more means that they vary per record, and each would cost a layout for ever.
const SCHEMAS_MAX: usize = 4_096;

/// Compiled schemas of one topic's keys or values.
#[derive(Debug)]
pub(super) struct Embedded<P> {
    known: Vec<(String, Result<P, String>)>,
    /// Bytes up to the payload of the last record, and the schema in them.
    prefix: Vec<u8>,
    prefix_plan: usize,
}

impl<P> Default for Embedded<P> {
    fn default() -> Embedded<P> {
        Embedded { known: Vec::new(), prefix: Vec::new(), prefix_plan: 0 }
    }
}

/// A document taken apart.
#[derive(Clone, Copy, Debug)]
pub(super) struct Opened<'a> {
    /// At the payload.
    pub(super) tokens: Tokens<'a>,
    /// Bytes in front of the tokens' text.
    pub(super) offset: usize,
    /// Index of the plan; `None` for a null schema.
    pub(super) plan: Option<usize>,
    /// True when only the closing bracket may follow the payload.
    is_last: bool,
}

impl Opened<'_> {
    /// Checks what follows the payload, at which `tokens` stand now.
    pub(super) fn finish(&self, mut tokens: Tokens<'_>) -> Result<(), Fault> {
        if self.is_last {
            tokens.close()?;
            tokens.end()?;
        }
        Ok(())
    }
}

impl<P: Compile> Embedded<P> {
    /// Takes a document apart; `None` when it is not of this form.
    pub(super) fn open<'a>(&mut self, bytes: &'a [u8], layouts: &mut Layouts) -> Result<Option<Opened<'a>>, Fault> {
        if !self.prefix.is_empty()
            && let Some(rest) = bytes.strip_prefix(self.prefix.as_slice())
        {
            let tokens = Tokens::new(rest, false)?;
            return Ok(Some(Opened { tokens, offset: self.prefix.len(), plan: Some(self.prefix_plan), is_last: true }));
        }
        let mut tokens = Tokens::new(bytes, false)?;
        if tokens.token()? != Token::Object {
            return Ok(None);
        }
        let (mut is_first, mut schema, mut payload, mut is_usual) = (true, None, None, true);
        while let Some(name) = tokens.member(&mut is_first)? {
            let start = tokens.position();
            if name.is("schema") {
                tokens.skip()?;
                schema = Some(tokens.slice(start, tokens.at()));
            } else if name.is("payload") {
                is_usual &= schema.is_some();
                payload = Some((tokens, start));
                tokens.skip()?;
            } else {
                return Ok(None);
            }
        }
        let (Some(schema), Some((at, start))) = (schema, payload) else { return Ok(None) };
        tokens.end()?;
        if schema == "null" {
            return Ok(Some(Opened { tokens: at, offset: 0, plan: None, is_last: false }));
        }
        let plan = match self.known.iter().position(|(text, _)| text == schema) {
            Some(plan) => plan,
            None if self.known.len() >= SCHEMAS_MAX => return Err(Fault::Items),
            None => {
                let compiled = serde_json::from_str(schema)
                    .map_err(|error| error.to_string())
                    .and_then(|json| connect::parse(&json))
                    .and_then(|parsed| P::compile_schema(parsed, layouts));
                self.known.push((schema.to_owned(), compiled));
                self.known.len() - 1
            }
        };
        if is_usual {
            self.prefix.clear();
            self.prefix.extend_from_slice(bytes.get(..start).unwrap_or(&[]));
            self.prefix_plan = plan;
        }
        Ok(Some(Opened { tokens: at, offset: 0, plan: Some(plan), is_last: is_usual }))
    }

    /// The plan of an opened document, or why its schema cannot be used.
    pub(super) fn get(&self, plan: usize) -> Result<&P, &str> {
        match self.known.get(plan) {
            Some((_, Ok(plan))) => Ok(plan),
            Some((_, Err(reason))) => Err(reason),
            None => Err("it was not compiled"),
        }
    }
}

/// The tokens of a key in a header, at its payload when a converter wrapped it with its schema. Lenient: Connect's simple header
/// converter does not escape control characters.
pub(crate) fn header_tokens(bytes: &[u8]) -> Result<Tokens<'_>, Fault> {
    let tokens = Tokens::new(bytes, true)?;
    let mut ahead = tokens;
    if ahead.token()? != Token::Object {
        return Ok(tokens);
    }
    let (mut is_first, mut payload, mut has_schema) = (true, None, false);
    while let Some(name) = ahead.member(&mut is_first)? {
        if name.is("payload") {
            payload = Some(ahead);
        } else if name.is("schema") {
            has_schema = true;
        } else {
            return Ok(tokens);
        }
        ahead.skip()?;
    }
    Ok(payload.filter(|_| has_schema).unwrap_or(tokens))
}
