//! Reads rows: one cell per column, by the column's plan.

use topology::data::{Arena, Cell, CellRange, Span};

use super::Reader;
use super::record::{Scratch, Settings};
use super::walk::{skip, write_json};
use crate::fault::{ColumnFault, Fault};
use crate::plan::{ColumnPlan, Quick, RowPlan, Slot, Step};
use crate::schema::{DEPTH_MAX, NodeId, Schema, Shape};
use crate::value::{Meaning, Primitive, STRUCT_FIELDS_MAX, StructMeaning, decimal_of};

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
    #[inline(always)]
    pub(super) fn column(&mut self, plan: &ColumnPlan, reader: &mut Reader<'_>) -> Result<Cell, Fault> {
        if !reader.is_present(plan.slot)? {
            return Ok(Cell::Null);
        }
        let placeholder = &self.settings.placeholder;
        match plan.quick {
            Quick::Int => Ok(Cell::I64(reader.int()?)),
            Quick::Long => Ok(Cell::I64(reader.long()?)),
            Quick::Double => Ok(Cell::F64(reader.double()?)),
            Quick::Text => {
                let (text, span) = reader.text_bytes()?;
                Ok(if placeholder.is_text(text) { Cell::Unavailable } else { Cell::Text(span) })
            }
            Quick::Json => {
                let (text, span) = reader.text_bytes()?;
                Ok(if placeholder.is_text(text) { Cell::Unavailable } else { Cell::Json(span) })
            }
            Quick::Bytes => {
                let (bytes, span) = reader.bytes()?;
                Ok(if placeholder.is_bytes(bytes) { Cell::Unavailable } else { Cell::Bytes(span) })
            }
            Quick::Decimal(scale) => {
                let (bytes, span) = reader.bytes()?;
                if !bytes.is_empty() && placeholder.is_bytes(bytes) {
                    return Ok(Cell::Unavailable);
                }
                decimal_of(bytes, span, scale)
            }
            Quick::No => self.any_column(plan, reader),
        }
    }

    fn any_column(&mut self, plan: &ColumnPlan, reader: &mut Reader<'_>) -> Result<Cell, Fault> {
        match plan.meaning {
            Meaning::Array => self.array(plan, reader, DEPTH_MAX),
            Meaning::Struct(meaning) => self.structure(plan.node, meaning, reader),
            Meaning::Document => self.document(plan.node, reader),
            meaning => {
                let primitive = self.step(plan.slot.step, reader)?;
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

    /// Reads a value that is one primitive, or null.
    #[inline]
    pub(super) fn primitive<'a>(&mut self, slot: Slot, reader: &mut Reader<'a>) -> Result<Primitive<'a>, Fault> {
        if reader.is_present(slot)? { self.step(slot.step, reader) } else { Ok(Primitive::Null) }
    }

    /// Reads a present value.
    pub(super) fn step<'a>(&mut self, step: Step, reader: &mut Reader<'a>) -> Result<Primitive<'a>, Fault> {
        Ok(match step {
            Step::Null => Primitive::Null,
            Step::Bool => Primitive::Bool(reader.bool()?),
            Step::Int => Primitive::Int(reader.int()?),
            Step::Long => Primitive::Int(reader.long()?),
            Step::Float => Primitive::Float(reader.float()?),
            Step::Double => Primitive::Double(reader.double()?),
            Step::Bytes => {
                let (bytes, span) = reader.bytes()?;
                Primitive::Bytes(bytes, span)
            }
            Step::Text => {
                let (text, span) = reader.text()?;
                Primitive::Text(text, span)
            }
            Step::Fixed(length) => {
                let (bytes, span) = reader.take(length as usize)?;
                Primitive::Bytes(bytes, span)
            }
            Step::Tree(node) => match &self.schema.node(node as usize).shape {
                Shape::Symbols(symbols) => {
                    let symbol = symbols.get(reader.size()?).ok_or(Fault::Symbol)?;
                    Primitive::Text("", self.arena.push_bytes(symbol.as_bytes()))
                }
                _ => return Err(Fault::Shape),
            },
        })
    }

    fn array(&mut self, plan: &ColumnPlan, reader: &mut Reader<'_>, depth: usize) -> Result<Cell, Fault> {
        let element = plan.element.as_deref().ok_or(Fault::Shape)?;
        let may_be_empty = !element.slot.is_union() && self.schema.may_be_empty(element.node);
        let start = self.scratch.cells.len();
        loop {
            let count = reader.block(may_be_empty)?;
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
        if !reader.is_present(plan.slot)? {
            return Ok(Cell::Null);
        }
        match plan.meaning {
            Meaning::Array => self.array(plan, reader, depth),
            Meaning::Struct(meaning) => self.structure(plan.node, meaning, reader),
            Meaning::Document => self.document(plan.node, reader),
            meaning => {
                let primitive = self.step(plan.slot.step, reader)?;
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
                Some(slot) => *slot = self.primitive(Slot::of(schema, field.node), reader)?,
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
