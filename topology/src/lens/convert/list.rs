//! Labels, sets of labels, arrays.

use super::{Convert, NO_WAY, Refused, Scratch, json};
use crate::data::{Arena, Cell, Span, View};

const NO_LABEL: Refused = Refused("the value is not one of the target's labels");

pub(super) fn to_enum(cell: Cell, arena: &Arena, labels: &[String]) -> Result<Cell, Refused> {
    match arena.view(cell) {
        View::Text(text) if labels.iter().any(|label| label == text) => Ok(cell),
        View::Text(_) => Err(NO_LABEL),
        _ => Err(NO_WAY),
    }
}

/// Labels stand in the order of the type, once each, joined by commas: then the text is the value.
pub(super) fn to_set(cell: Cell, arena: &mut Arena, scratch: &mut Scratch, labels: &[String]) -> Result<Cell, Refused> {
    let mut last = None;
    let mut check = |label: &str| {
        let at = labels.iter().position(|known| known == label).ok_or(NO_LABEL)?;
        if last.is_some_and(|last| last >= at) {
            return Err(Refused("a set keeps neither order nor repeats"));
        }
        last = Some(at);
        Ok(())
    };
    match arena.view(cell) {
        View::Text("") => Ok(cell),
        View::Text(text) => {
            text.split(',').try_for_each(check)?;
            Ok(cell)
        }
        View::Array(elements) => {
            scratch.bytes.clear();
            for element in elements {
                let View::Text(label) = arena.view(*element) else { return Err(NO_LABEL) };
                check(label)?;
                if !scratch.bytes.is_empty() {
                    scratch.bytes.push(b',');
                }
                scratch.bytes.extend_from_slice(label.as_bytes());
            }
            Ok(Cell::Text(arena.push_bytes(&scratch.bytes)))
        }
        _ => Err(NO_WAY),
    }
}

pub(super) fn to_array(
    cell: Cell,
    arena: &mut Arena,
    scratch: &mut Scratch,
    element: &Convert,
) -> Result<Cell, Refused> {
    let elements = match cell {
        Cell::Array(span) => span,
        Cell::Json(span) => json::elements(span, arena, scratch)?,
        Cell::Text(span) => labels(span, arena),
        _ => return Err(NO_WAY),
    };
    // Nested arrays put their own cells into the arena, so this one's run is collected first.
    let base = scratch.cells.len();
    for at in 0..elements.length {
        let given = arena.elements(elements)[at as usize];
        match element.run(given, arena, scratch) {
            Ok(converted) => scratch.cells.push(converted),
            Err(refused) => {
                scratch.cells.truncate(base);
                return Err(refused);
            }
        }
    }
    let range = arena.push_cells(&scratch.cells[base..]);
    scratch.cells.truncate(base);
    Ok(Cell::Array(Span { start: range.start, length: range.length }))
}

/// The labels of a set as array elements.
fn labels(span: Span, arena: &mut Arena) -> Span {
    let start = arena.cell_count();
    let end = span.start + span.length;
    let mut from = span.start;
    while span.length > 0 && from <= end {
        let rest = arena.bytes(Span { start: from, length: end - from });
        let length = rest.iter().position(|byte| *byte == b',').unwrap_or(rest.len()) as u32;
        arena.push_cell(Cell::Text(Span { start: from, length }));
        from += length + 1;
    }
    let range = arena.cells_from(start);
    Span { start: range.start, length: range.length }
}
