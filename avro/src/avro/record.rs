//! Reads whole keys and values: the envelope, flattened rows, keys.

use topology::data::{Arena, Cell, CellRange};
use topology::record::{Operation, Record, Source};

use super::Reader;
use super::row::Context;
use super::walk::{skip, skip_slot};
use crate::fault::{ColumnFault, Fault};
use crate::placeholder::Placeholder;
use crate::plan::{EnvelopePlan, EnvelopeRole, FlatPlan, FlatRole, KeyPlan, RowPlan, Slot, Step};
use crate::schema::DEPTH_MAX;
use crate::source::SourceBuilder;
use crate::value::Primitive;

/// What holds for all records of a decoder.
#[derive(Clone, Debug)]
pub(crate) struct Settings {
    pub(crate) placeholder: Placeholder,
    /// Read `before` of every event, not only of deletes.
    pub(crate) decode_before: bool,
}

/// Memory reused from record to record.
#[derive(Clone, Debug, Default)]
pub(crate) struct Scratch {
    pub(crate) cells: Vec<Cell>,
    /// Text with its escapes resolved (JSON).
    pub(crate) text: String,
    /// Bytes decoded from text (JSON).
    pub(crate) bytes: Vec<u8>,
}

/// What the value says, without what the key and the headers say.
pub(crate) struct ValueRows {
    pub(crate) operation: Operation,
    pub(crate) before: Option<CellRange>,
    pub(crate) after: Option<CellRange>,
    pub(crate) source: Source,
}

impl ValueRows {
    pub(crate) fn fill(&self, record: &mut Record) {
        record.operation = self.operation;
        record.before = self.before;
        record.after = self.after;
        record.source = self.source;
    }
}

/// What became of a value.
pub(crate) enum ValueOutcome {
    Rows(ValueRows),
    /// `op=m` or a null value in a union: no change of a row.
    Control,
}

/// The operation of a letter; `None` for a logical message.
pub(crate) fn operation(letter: &str) -> Result<Option<Operation>, Fault> {
    Ok(Some(match letter {
        "c" | "C" => Operation::Create,
        "u" | "U" => Operation::Update,
        "d" | "D" => Operation::Delete,
        "r" | "R" => Operation::Read,
        "t" | "T" => Operation::Truncate,
        "m" | "M" => return Ok(None),
        _ => return Err(Fault::OperationLetter),
    }))
}

/// Reads a key.
pub(crate) fn read_key(
    plan: &KeyPlan,
    settings: &Settings,
    mut reader: Reader<'_>,
    arena: &mut Arena,
    scratch: &mut Scratch,
) -> Result<CellRange, ColumnFault> {
    scratch.cells.clear();
    if let (Some(optional), false) = (plan.optional, plan.is_single) {
        let branch = reader.size()?;
        if Some(branch) == optional.null_branch {
            return Ok(CellRange::default());
        }
        if branch != optional.value_branch {
            return Err(Fault::Branch.into());
        }
    }
    let mut context = Context { schema: &plan.schema, settings, arena, scratch };
    let range = context.row(&plan.row, &mut reader)?;
    if reader.remaining() > 0 { Err(Fault::Trailing.into()) } else { Ok(range) }
}

/// Reads a value whose plan is an envelope or a row.
pub(crate) fn read_value(
    plan: &crate::plan::ValuePlan,
    settings: &Settings,
    mut reader: Reader<'_>,
    arena: &mut Arena,
    scratch: &mut Scratch,
) -> Result<ValueOutcome, ColumnFault> {
    scratch.cells.clear();
    if let Some(optional) = plan.optional {
        let branch = reader.size()?;
        if Some(branch) == optional.null_branch {
            return Ok(ValueOutcome::Control);
        }
        if branch != optional.value_branch {
            return Err(Fault::Branch.into());
        }
    }
    let mut context = Context { schema: &plan.schema, settings, arena, scratch };
    let outcome = match &plan.class {
        crate::plan::ValueClass::Ignored(_) => return Ok(ValueOutcome::Control),
        crate::plan::ValueClass::Envelope(envelope) => context.envelope(envelope, &mut reader)?,
        crate::plan::ValueClass::Row(flat) => context.flat(flat, &mut reader)?,
    };
    if reader.remaining() > 0 { Err(Fault::Trailing.into()) } else { Ok(outcome) }
}

impl Context<'_> {
    fn envelope(&mut self, plan: &EnvelopePlan, reader: &mut Reader<'_>) -> Result<ValueOutcome, ColumnFault> {
        let mut before_at = None;
        let mut before = None;
        let mut after = None;
        let mut source = SourceBuilder::default();
        let mut letter = None;
        for (role, slot) in &plan.fields {
            match role {
                EnvelopeRole::Before if self.settings.decode_before => {
                    before = self.optional_row(&plan.row, *slot, reader)?;
                }
                EnvelopeRole::Before => {
                    before_at = Some((*slot, *reader));
                    if reader.is_present(*slot)? {
                        for column in &plan.row.columns {
                            skip_slot(self.schema, column.slot, reader)?;
                        }
                    }
                }
                EnvelopeRole::After => after = self.optional_row(&plan.row, *slot, reader)?,
                EnvelopeRole::Source => {
                    if reader.is_present(*slot)? {
                        self.source(plan, reader, &mut source)?;
                    }
                }
                EnvelopeRole::Operation => {
                    if let Primitive::Text(text, _) = self.primitive(*slot, reader)? {
                        letter = Some(text);
                    }
                }
                EnvelopeRole::Skip => skip_slot(self.schema, *slot, reader)?,
            }
        }
        let Some(operation) = operation(letter.ok_or(Fault::MissingField)?)? else {
            return Ok(ValueOutcome::Control);
        };
        if operation == Operation::Delete
            && let Some((slot, mut at)) = before_at
        {
            before = self.optional_row(&plan.row, slot, &mut at)?;
        }
        Ok(ValueOutcome::Rows(ValueRows { operation, before, after, source: source.finish() }))
    }

    fn optional_row(
        &mut self,
        row: &RowPlan,
        slot: Slot,
        reader: &mut Reader<'_>,
    ) -> Result<Option<CellRange>, ColumnFault> {
        if reader.is_present(slot)? { self.row(row, reader).map(Some) } else { Ok(None) }
    }

    fn source<'a>(
        &mut self,
        plan: &EnvelopePlan,
        reader: &mut Reader<'a>,
        builder: &mut SourceBuilder<'a>,
    ) -> Result<(), Fault> {
        for (field, slot) in &plan.source {
            let Some(field) = field else {
                skip_slot(self.schema, *slot, reader)?;
                continue;
            };
            if !reader.is_present(*slot)? {
                continue;
            }
            match slot.step {
                Step::Text => {
                    let (text, span) = reader.text_bytes()?;
                    builder.set_text(*field, text, span);
                }
                Step::Long | Step::Int => builder.set_number(*field, reader.long()?),
                Step::Tree(node) => skip(self.schema, node as usize, reader, DEPTH_MAX)?,
                step => {
                    let value = self.step(step, reader)?;
                    builder.set(*field, value);
                }
            }
        }
        Ok(())
    }

    fn flat(&mut self, plan: &FlatPlan, reader: &mut Reader<'_>) -> Result<ValueOutcome, ColumnFault> {
        let start = self.scratch.cells.len();
        let mut source = SourceBuilder::default();
        let mut letter = None;
        let mut is_deleted = false;
        for (role, slot) in &plan.fields {
            match role {
                FlatRole::Column(index) => {
                    let column = plan.row.columns.get(*index).ok_or(Fault::Shape)?;
                    let cell = self.column(column, reader).map_err(|fault| fault.at(*index))?;
                    self.scratch.cells.push(cell);
                }
                FlatRole::Skip => skip_slot(self.schema, *slot, reader)?,
                _ if !is_primitive(*slot) => skip_slot(self.schema, *slot, reader)?,
                role => {
                    let value = self.primitive(*slot, reader)?;
                    match (role, value) {
                        (FlatRole::Operation, Primitive::Text(text, _)) => letter = Some(text),
                        (FlatRole::Deleted, Primitive::Text(text, _)) => is_deleted = text.eq_ignore_ascii_case("true"),
                        (FlatRole::Deleted, Primitive::Bool(deleted)) => is_deleted = deleted,
                        (FlatRole::Source(field), value) => source.set(*field, value),
                        _ => {}
                    }
                }
            }
        }
        let row = self.arena.push_cells(&self.scratch.cells[start..]);
        self.scratch.cells.truncate(start);
        flat_outcome(row, letter, is_deleted, &source).map_err(ColumnFault::from)
    }
}

/// Puts a flattened row where its operation says. Without `__op` it is a create: writers treat that as an upsert.
pub(crate) fn flat_outcome(
    row: CellRange,
    letter: Option<&str>,
    is_deleted: bool,
    source: &SourceBuilder<'_>,
) -> Result<ValueOutcome, Fault> {
    let operation = match letter {
        _ if is_deleted => Operation::Delete,
        Some(letter) => match operation(letter)? {
            Some(operation) => operation,
            None => return Ok(ValueOutcome::Control),
        },
        None => Operation::Create,
    };
    let (before, after) = match operation {
        Operation::Delete => (Some(row), None),
        Operation::Truncate => (None, None),
        _ => (None, Some(row)),
    };
    Ok(ValueOutcome::Rows(ValueRows { operation, before, after, source: source.finish() }))
}

fn is_primitive(slot: Slot) -> bool {
    !matches!(slot.step, Step::Tree(_))
}
