//! PostgreSQL's hstore: Debezium sends a JSON object of texts; the server reads `"key"=>"value"`.

use super::json::{self, Token};
use super::{NO_WAY, Refused, Scratch};
use crate::data::{Arena, Cell};

const NO_HSTORE: Refused = Refused("the JSON is not an object of texts, as hstore needs");

pub(super) fn to_hstore(cell: Cell, arena: &mut Arena, scratch: &mut Scratch) -> Result<Cell, Refused> {
    let span = match cell {
        Cell::Text(_) => return Ok(cell), // hstore's own text form
        Cell::Json(span) => span,
        _ => return Err(NO_WAY),
    };
    let Scratch { bytes: out, digits: piece, .. } = scratch;
    out.clear();
    let mut tokens = json::Tokens::new(arena.text(span));
    if tokens.next_token()? != Some(Token::OpenObject) {
        return Err(NO_HSTORE);
    }
    let mut is_first = true;
    loop {
        match tokens.next_token()? {
            Some(Token::CloseObject) if is_first => break,
            Some(Token::Text(key)) => {
                if !is_first {
                    out.push(b',');
                }
                write_quoted(key, piece, out)?;
            }
            _ => return Err(NO_HSTORE),
        }
        is_first = false;
        out.extend_from_slice(b"=>");
        if tokens.next_token()? != Some(Token::Colon) {
            return Err(NO_HSTORE);
        }
        match tokens.next_token()? {
            Some(Token::Text(value)) => write_quoted(value, piece, out)?,
            Some(Token::Word("null")) => out.extend_from_slice(b"NULL"),
            _ => return Err(NO_HSTORE),
        }
        match tokens.next_token()? {
            Some(Token::Comma) => {}
            Some(Token::CloseObject) => break,
            _ => return Err(NO_HSTORE),
        }
    }
    Ok(Cell::Text(arena.push_bytes(&scratch.bytes)))
}

fn write_quoted(escaped: &str, piece: &mut Vec<u8>, out: &mut Vec<u8>) -> Result<(), Refused> {
    piece.clear();
    json::unescape(escaped, piece)?;
    out.push(b'"');
    for byte in piece.iter() {
        if matches!(byte, b'"' | b'\\') {
            out.push(b'\\');
        }
        out.push(*byte);
    }
    out.push(b'"');
    Ok(())
}
