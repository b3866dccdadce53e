//! Reads rows: one cell per column, by the column's plan.

use topology::data::{Arena, Cell, CellRange, Span};

use super::Reader;
use super::reader::ITEMS_MAX;
use super::record::{Scratch, Settings};
use super::walk::{skip, write_json};
use crate::fault::{ColumnFault, Fault};
use crate::plan::{ColumnPlan, RowPlan};
use crate::schema::{DEPTH_MAX, NodeId, Schema, Shape};
use crate::value::{Meaning, Primitive, STRUCT_FIELDS_MAX, StructMeaning};

/// What reading needs besides the bytes.
pub(super) struct Context<'c> {
    pub(super) schema: &'c Schema,
    pub(super) settings: &'c Settings,
    pub(super) arena: &'c mut Arena,
    pub(super) scratch: &'c mut Scratch,
}

impl Context<'_> {
    /// Reads all columns of a row. Cells are gathered aside first, because elements of lists go to the same arena.
    pub(super) fn row(&mut self, plan: &RowPlan, reader: &mut Reader<'_>) -> Result<CellRange, ColumnFault> {
        let start = self.scratch.cells.len();
        for (index, column) in plan.columns.iter().enumerate() {
            let cell = self.column(column, reader).map_err(|fault| fault.at(index))?;
            self.scratch.cells.push(cell);
        }
        let range = self.arena.push_cells(&self.scratch.cells[start..]);
        self.scratch.cells.truncate(start);
        Ok(range)
    }

    /// Reads one column.
    #[inline]
    pub(super) fn column(&mut self, plan: &ColumnPlan, reader: &mut Reader<'_>) -> Result<Cell, Fault> {
        if let Some(optional) = plan.optional {
            let branch = reader.size()?;
            if Some(branch) == optional.null_branch {
                return Ok(Cell::Null);
            }
            if branch != optional.value_branch {
                return Err(Fault::Branch);
            }
        }
        match plan.meaning {
            Meaning::Array => self.array(plan, reader, DEPTH_MAX),
            Meaning::Struct(meaning) => self.structure(plan.node, meaning, reader),
            Meaning::Document => self.document(plan.node, reader),
            meaning => {
                let primitive = self.primitive(plan.node, reader)?;
                match primitive {
                    Primitive::Text(text, _) if self.settings.placeholder.is_text(text.as_bytes()) => {
                        Ok(Cell::Unavailable)
                    }
                    Primitive::Bytes(bytes, _) if self.settings.placeholder.is_bytes(bytes) => Ok(Cell::Unavailable),
                    primitive => meaning.cell(primitive, self.arena),
                }
            }
        }
    }

    /// Reads a value that is one primitive; unions inside are followed.
    #[inline]
    pub(super) fn primitive<'a>(&mut self, id: NodeId, reader: &mut Reader<'a>) -> Result<Primitive<'a>, Fault> {
        Ok(match &self.schema.node(id).shape {
            Shape::Null => Primitive::Null,
            Shape::Bool => Primitive::Bool(reader.bool()?),
            Shape::Int(_) => Primitive::Int(reader.int()?),
            Shape::Long => Primitive::Int(reader.long()?),
            Shape::Float => Primitive::Float(reader.float()?),
            Shape::Double => Primitive::Double(reader.double()?),
            Shape::Bytes => {
                let (bytes, span) = reader.bytes()?;
                Primitive::Bytes(bytes, span)
            }
            Shape::Text => {
                let (text, span) = reader.text()?;
                Primitive::Text(text, span)
            }
            Shape::Fixed(length) => {
                let (bytes, span) = reader.take(*length)?;
                Primitive::Bytes(bytes, span)
            }
            Shape::Symbols(symbols) => {
                let symbol = symbols.get(reader.size()?).ok_or(Fault::Symbol)?;
                Primitive::Text("", self.arena.push_bytes(symbol.as_bytes()))
            }
            Shape::Union(_) => match self.schema.optional(id) {
                Some(optional) => {
                    let branch = reader.size()?;
                    if Some(branch) == optional.null_branch {
                        Primitive::Null
                    } else if branch == optional.value_branch
                        && !matches!(self.schema.node(optional.node).shape, Shape::Union(_))
                    {
                        return self.primitive(optional.node, reader);
                    } else {
                        return Err(Fault::Branch);
                    }
                }
                None => return Err(Fault::Shape),
            },
            Shape::Array(_) | Shape::Map(_) | Shape::Record(_) => return Err(Fault::Shape),
        })
    }

    fn array(&mut self, plan: &ColumnPlan, reader: &mut Reader<'_>, depth: usize) -> Result<Cell, Fault> {
        let element = plan.element.as_deref().ok_or(Fault::Shape)?;
        let may_be_empty = element.optional.is_none() && self.schema.may_be_empty(element.node);
        let start = self.scratch.cells.len();
        let mut budget = ITEMS_MAX;
        loop {
            let count = reader.block(may_be_empty, &mut budget)?;
            if count == 0 {
                break;
            }
            for _ in 0..count {
                let cell = self.element(element, reader, depth)?;
                self.scratch.cells.push(cell);
            }
        }
        let range = self.arena.push_cells(&self.scratch.cells[start..]);
        self.scratch.cells.truncate(start);
        let span = Span { start: range.start, length: range.length };
        finish_array(element, span, self.settings, self.arena)
    }

    /// An element is never unavailable on its own: the placeholder counts only as the whole list.
    fn element(&mut self, plan: &ColumnPlan, reader: &mut Reader<'_>, depth: usize) -> Result<Cell, Fault> {
        let depth = depth.checked_sub(1).ok_or(Fault::Depth)?;
        if let Some(optional) = plan.optional {
            let branch = reader.size()?;
            if Some(branch) == optional.null_branch {
                return Ok(Cell::Null);
            }
            if branch != optional.value_branch {
                return Err(Fault::Branch);
            }
        }
        match plan.meaning {
            Meaning::Array => self.array(plan, reader, depth),
            Meaning::Struct(meaning) => self.structure(plan.node, meaning, reader),
            Meaning::Document => self.document(plan.node, reader),
            meaning => {
                let primitive = self.primitive(plan.node, reader)?;
                element_cell(meaning, primitive, self.settings, self.arena)
            }
        }
    }

    fn structure(&mut self, id: NodeId, meaning: StructMeaning, reader: &mut Reader<'_>) -> Result<Cell, Fault> {
        let schema = self.schema;
        let Shape::Record(fields) = &schema.node(id).shape else { return Err(Fault::Shape) };
        let wanted = meaning.fields();
        let mut slots = [Primitive::Null; STRUCT_FIELDS_MAX];
        for field in fields {
            match wanted.iter().position(|name| *name == &*field.name).and_then(|at| slots.get_mut(at)) {
                Some(slot) => *slot = self.primitive(field.node, reader)?,
                None => skip(schema, field.node, reader, DEPTH_MAX)?,
            }
        }
        if let Some(Primitive::Bytes(bytes, _)) = slots.iter().find(|slot| matches!(slot, Primitive::Bytes(..)))
            && self.settings.placeholder.is_bytes(bytes)
        {
            return Ok(Cell::Unavailable);
        }
        meaning.cell(&slots, self.arena)
    }

    fn document(&mut self, id: NodeId, reader: &mut Reader<'_>) -> Result<Cell, Fault> {
        let schema = self.schema;
        let mut result = Ok(());
        let span = self.arena.write_bytes(|out| result = write_json(schema, id, reader, out, DEPTH_MAX));
        result?;
        // An unchanged hstore in map form: {placeholder: placeholder}.
        if self.settings.placeholder.is_text(self.arena.bytes(span)) {
            return Ok(Cell::Unavailable);
        }
        Ok(Cell::Json(span))
    }
}

/// The cell of one element. An unchanged list of typed texts holds the placeholder where a typed text should be: it stays text
/// until [`finish_array`] has seen the whole list.
pub(crate) fn element_cell(
    meaning: Meaning,
    primitive: Primitive<'_>,
    settings: &Settings,
    arena: &mut Arena,
) -> Result<Cell, Fault> {
    match primitive {
        Primitive::Text(text, span) if meaning != Meaning::Plain && settings.placeholder.is_text(text.as_bytes()) => {
            Ok(Cell::Text(span))
        }
        primitive => meaning.cell(primitive, arena),
    }
}

/// The cell of a list: unavailable in one of the placeholder's forms, refused when a placeholder stands between typed elements.
pub(crate) fn finish_array(
    element: &ColumnPlan,
    span: Span,
    settings: &Settings,
    arena: &Arena,
) -> Result<Cell, Fault> {
    if settings.placeholder.is_array(arena, span) {
        return Ok(Cell::Unavailable);
    }
    if element.meaning != Meaning::Plain && arena.elements(span).iter().any(|cell| matches!(cell, Cell::Text(_))) {
        let structured_text = matches!(element.meaning, Meaning::Struct(_));
        if !structured_text {
            return Err(Fault::Shape);
        }
    }
    Ok(Cell::Array(span))
}
