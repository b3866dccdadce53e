//! Walks over values without a column plan: skips them, or writes them as JSON text.

use std::io::Write;

use base64::Engine as _;
use base64::engine::general_purpose::STANDARD;
use topology::data::decimal;

use super::Reader;
use crate::fault::Fault;
use crate::plan::{Slot, Step};
use crate::schema::{DEPTH_MAX, NodeId, Schema, Shape};
use crate::value::{Meaning, classify};

/// Moves past the value of a slot.
#[inline]
pub(super) fn skip_slot(schema: &Schema, slot: Slot, reader: &mut Reader<'_>) -> Result<(), Fault> {
    if !reader.is_present(slot)? {
        return Ok(());
    }
    match slot.step {
        Step::Null => Ok(()),
        Step::Bool => reader.take(1).map(drop),
        Step::Int | Step::Long => reader.skip_long(),
        Step::Float => reader.take(4).map(drop),
        Step::Double => reader.take(8).map(drop),
        Step::Bytes | Step::Text => reader.bytes().map(drop),
        Step::Fixed(length) => reader.take(length as usize).map(drop),
        Step::Tree(node) => skip(schema, node as usize, reader, DEPTH_MAX),
    }
}

/// Moves past one value, checking lengths and branches (not text or truth values).
pub(super) fn skip(schema: &Schema, id: NodeId, reader: &mut Reader<'_>, depth: usize) -> Result<(), Fault> {
    match &schema.node(id).shape {
        Shape::Null => Ok(()),
        Shape::Bool => reader.take(1).map(drop),
        Shape::Int(_) | Shape::Long | Shape::Symbols(_) => reader.skip_long(),
        Shape::Float => reader.take(4).map(drop),
        Shape::Double => reader.take(8).map(drop),
        Shape::Bytes | Shape::Text => reader.bytes().map(drop),
        Shape::Fixed(length) => reader.take(*length).map(drop),
        Shape::Union(branches) => {
            let branch = branches.get(reader.size()?).ok_or(Fault::Branch)?;
            skip(schema, *branch, reader, depth.checked_sub(1).ok_or(Fault::Depth)?)
        }
        Shape::Record(fields) => {
            let depth = depth.checked_sub(1).ok_or(Fault::Depth)?;
            for field in fields {
                skip(schema, field.node, reader, depth)?;
            }
            Ok(())
        }
        Shape::Array(item) | Shape::Map(item) => {
            let depth = depth.checked_sub(1).ok_or(Fault::Depth)?;
            let is_map = matches!(schema.node(id).shape, Shape::Map(_));
            let may_be_empty = !is_map && schema.may_be_empty(*item);
            loop {
                let count = reader.block(may_be_empty)?;
                if count == 0 {
                    return Ok(());
                }
                for _ in 0..count {
                    if is_map {
                        reader.bytes()?;
                    }
                    skip(schema, *item, reader, depth)?;
                }
            }
        }
    }
}

/// Appends one value as JSON: maps, unknown records and unions of several types become one text cell. Numbers keep every digit,
/// decimals are numbers, other bytes are base64, floats that JSON does not know are strings.
pub(super) fn write_json(
    schema: &Schema,
    id: NodeId,
    reader: &mut Reader<'_>,
    out: &mut Vec<u8>,
    depth: usize,
) -> Result<(), Fault> {
    let deeper = || depth.checked_sub(1).ok_or(Fault::Depth);
    let node = schema.node(id);
    match &node.shape {
        Shape::Null => out.extend_from_slice(b"null"),
        Shape::Bool => out.extend_from_slice(if reader.bool()? { b"true" } else { b"false" }),
        Shape::Int(_) => display(out, reader.int()?),
        Shape::Long => display(out, reader.long()?),
        Shape::Float => {
            let value = reader.float()?;
            if value.is_finite() { display(out, value) } else { quote(out, &value.to_string()) }
        }
        Shape::Double => {
            let value = reader.double()?;
            if value.is_finite() { display(out, value) } else { quote(out, &value.to_string()) }
        }
        Shape::Bytes | Shape::Fixed(_) => {
            let (bytes, _) = match node.shape {
                Shape::Fixed(length) => reader.take(length)?,
                _ => reader.bytes()?,
            };
            match classify(node).0 {
                Meaning::Decimal(scale) if !bytes.is_empty() => decimal::format(bytes, scale, out),
                _ => quote(out, &STANDARD.encode(bytes)),
            }
        }
        Shape::Text => quote(out, reader.text()?.0),
        Shape::Symbols(symbols) => quote(out, symbols.get(reader.size()?).ok_or(Fault::Symbol)?),
        Shape::Union(branches) => {
            let branch = branches.get(reader.size()?).ok_or(Fault::Branch)?;
            write_json(schema, *branch, reader, out, deeper()?)?;
        }
        Shape::Record(fields) => {
            let depth = deeper()?;
            out.push(b'{');
            for (index, field) in fields.iter().enumerate() {
                if index > 0 {
                    out.push(b',');
                }
                quote(out, &field.name);
                out.push(b':');
                write_json(schema, field.node, reader, out, depth)?;
            }
            out.push(b'}');
        }
        Shape::Array(item) | Shape::Map(item) => {
            let depth = deeper()?;
            let is_map = matches!(node.shape, Shape::Map(_));
            let may_be_empty = !is_map && schema.may_be_empty(*item);
            let mut is_first = true;
            out.push(if is_map { b'{' } else { b'[' });
            loop {
                let count = reader.block(may_be_empty)?;
                if count == 0 {
                    break;
                }
                for _ in 0..count {
                    if !is_first {
                        out.push(b',');
                    }
                    is_first = false;
                    if is_map {
                        quote(out, reader.text()?.0);
                        out.push(b':');
                    }
                    write_json(schema, *item, reader, out, depth)?;
                }
            }
            out.push(if is_map { b'}' } else { b']' });
        }
    }
    Ok(())
}

fn display(out: &mut Vec<u8>, value: impl std::fmt::Display) {
    write!(out, "{value}").expect("writing to memory cannot fail");
}

fn quote(out: &mut Vec<u8>, text: &str) {
    serde_json::to_writer(out, text).expect("writing text to memory cannot fail");
}
