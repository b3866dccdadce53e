//! The lens: the declared mapping of an entity between two sites, compiled for one direction and run per record.
//!
//! [`declare`] is what the user writes, [`survey`] holds it against both live tables and names every problem, [`plan`] compiles it,
//! [`convert`] has the exact conversions, and [`Lens`] maps records. Promise P6: a value arrives exactly or its record is refused with a
//! reason; nothing is rounded, truncated or defaulted silently. Invariant BAT-3: an unavailable cell stays unavailable.

pub mod convert;
pub mod declare;
mod explain;
mod key;
pub mod literal;
pub mod plan;
pub mod survey;
pub mod values;

use std::sync::Arc;

use self::convert::{Refused, Scratch};
use self::plan::{KeyProgram, LensPlan, Place, RowProgram, Step};
use crate::data::{Arena, Cell, CellRange, LayoutId, Layouts};
use crate::error::{Error, ErrorKind, Result, Stage};
use crate::record::{Operation, Record};

/// Runs a [`LensPlan`] over records of one pipeline instance: programs are cached by the layouts of that instance.
#[derive(Debug)]
pub struct Lens {
    plan: Arc<LensPlan>,
    row_layout: LayoutId,
    key_layout: LayoutId,
    /// By layout id.
    rows: Vec<Option<RowProgram>>,
    /// Few: a table has one key schema and a handful of row schemas in its life.
    keys: Vec<(LayoutId, LayoutId, KeyProgram)>,
    scratch: Scratch,
    cells: Vec<Cell>,
}

/// A cell that could not be made: index of the target column, reason, class.
struct Failure(usize, &'static str, ErrorKind);

impl Lens {
    /// A lens for one pipeline instance. Adds the layouts of mapped rows and keys to `layouts`.
    pub fn new(plan: Arc<LensPlan>, layouts: &mut Layouts) -> Lens {
        let row_layout = layouts.add(plan.table.layout());
        let key_layout = layouts.add(plan.table.key_layout());
        Lens {
            plan,
            row_layout,
            key_layout,
            rows: Vec::new(),
            keys: Vec::new(),
            scratch: Scratch::default(),
            cells: Vec::new(),
        }
    }

    /// The mapping it runs.
    pub fn plan(&self) -> &LensPlan {
        &self.plan
    }

    /// Layout of mapped keys: a record whose `key_layout` is this one has a mapped key, even if the rest of it failed.
    pub fn key_layout(&self) -> LayoutId {
        self.key_layout
    }

    /// Replaces key, old and new key, and row of a record by those of the target; the row before only if the plan asks for it, else it
    /// goes. Called once per record.
    ///
    /// # Errors
    /// `Data` for a value that the target can't hold exactly, an incomplete key, or NULL where the target forbids it; `Schema` when the
    /// record's schema lacks what the target needs. The errors name entity and column, never values. The record is then half mapped:
    /// only its key may be used, if `key_layout` says so. The arena may hold leftovers.
    pub fn map(&mut self, record: &mut Record, arena: &mut Arena, layouts: &Layouts) -> Result<()> {
        let (from, key_from) = (record.layout, record.key_layout);
        if record.operation == Operation::Truncate {
            record.key = CellRange::default();
            (record.before, record.after, record.old_key, record.new_key) = (None, None, None, None);
            (record.layout, record.key_layout) = (self.row_layout, self.key_layout);
            return Ok(());
        }
        self.compile(from, key_from, layouts);
        let mapped = self.map_keys(record, arena, from, key_from).and_then(|()| self.map_rows(record, arena, from));
        mapped.map_err(|failure| self.plan.error(failure))
    }

    fn compile(&mut self, from: LayoutId, key_from: LayoutId, layouts: &Layouts) {
        let index = from.0 as usize;
        if self.rows.get(index).is_none_or(Option::is_none) {
            if self.rows.len() <= index {
                self.rows.resize(index + 1, None);
            }
            self.rows[index] = Some(self.plan.compile_row(layouts.get(from)));
        }
        if !self.keys.iter().any(|(key, row, _)| (*key, *row) == (key_from, from)) {
            let program = self.plan.compile_key(layouts.get(key_from), layouts.get(from));
            self.keys.push((key_from, from, program));
        }
    }

    fn map_keys(
        &mut self,
        record: &mut Record,
        arena: &mut Arena,
        from: LayoutId,
        key_from: LayoutId,
    ) -> std::result::Result<(), Failure> {
        let Lens { plan, keys, scratch, cells, .. } = self;
        let (_, _, program) = keys
            .iter()
            .find(|(key, row, _)| (*key, *row) == (key_from, from))
            .expect("compiled before the record was mapped");
        let mut run = |key: CellRange, row: Option<CellRange>, arena: &mut Arena| {
            cells.clear();
            for (at, (place, step)) in program.steps.iter().enumerate() {
                let column = plan.table.key[at];
                let given = match place {
                    Place::Key => Some(key).filter(|key| !key.is_empty() || matches!(step, Step::Constant(_))),
                    Place::Row => row,
                };
                let cell = match (step, given) {
                    (Step::Constant(value), _) => arena.push_value(value),
                    (Step::Refuse(why), _) => return Err(Failure(column, why, ErrorKind::Data)),
                    (_, None) => {
                        return Err(Failure(column, "the record does not carry the whole key", ErrorKind::Data));
                    }
                    (step, Some(given)) => convert(step, given, arena, scratch)
                        .map_err(|Refused(why)| Failure(column, why, ErrorKind::Data))?,
                };
                if matches!(cell, Cell::Null | Cell::Unavailable) {
                    return Err(Failure(column, "a key column has no value", ErrorKind::Data));
                }
                cells.push(cell);
            }
            Ok(arena.push_cells(cells))
        };
        // PostgreSQL invents the cells of `before` outside the source's key unless its replica identity is FULL, which a declared
        // key asks for.
        let before = record.before.filter(|_| plan.explicit_key || record.key.is_empty());
        let old_key = match (record.old_key, program.is_self_contained) {
            (Some(key), true) => Some(run(key, None, arena)?),
            // A declared key that is not the source's: the source tells no key change, but its images do.
            (None, false) if record.operation == Operation::Update && plan.explicit_key => {
                record.before.and_then(|before| run(record.key, Some(before), arena).ok())
            }
            _ => None,
        };
        let new_key = match (record.new_key, program.is_self_contained) {
            (Some(key), true) => Some(run(key, None, arena)?),
            _ => None,
        };
        record.key = run(record.key, record.after.or(before), arena)?;
        record.key_layout = self.key_layout;
        record.old_key = old_key.filter(|old| arena.compare_rows(*old, record.key).is_ne());
        record.new_key = new_key.filter(|new| arena.compare_rows(*new, record.key).is_ne());
        Ok(())
    }

    fn map_rows(&mut self, record: &mut Record, arena: &mut Arena, from: LayoutId) -> std::result::Result<(), Failure> {
        let Lens { plan, rows, scratch, cells, .. } = self;
        let program = rows[from.0 as usize].as_ref().expect("compiled before the record was mapped");
        record.layout = self.row_layout;
        let before = record.before.take().filter(|_| plan.with_before);
        if program.is_identity {
            record.before = before;
            return Ok(());
        }
        if let Some(row) = record.after {
            let is_insert = matches!(record.operation, Operation::Create | Operation::Read);
            cells.clear();
            for (index, step) in program.steps.iter().enumerate() {
                let cell = match step {
                    Step::Constant(value) | Step::OnInsert(value) => arena.push_value(value),
                    Step::Missing if is_insert => Cell::Null,
                    Step::Missing => Cell::Unavailable,
                    Step::Refuse(why) => return Err(Failure(index, why, ErrorKind::Schema)),
                    Step::RefuseInsert(why) if is_insert => return Err(Failure(index, why, ErrorKind::Schema)),
                    Step::RefuseInsert(_) => Cell::Unavailable,
                    Step::FromKey(at) => arena.row(record.key)[*at],
                    step => convert(step, row, arena, scratch)
                        .map_err(|Refused(why)| Failure(index, why, ErrorKind::Data))?,
                };
                if cell.is_null() && !plan.table.columns[index].nullable {
                    return Err(Failure(
                        index,
                        "the value is NULL and the target's column is NOT NULL",
                        ErrorKind::Data,
                    ));
                }
                cells.push(cell);
            }
            if !plan.table.insert_only.is_empty() && cells.iter().any(|cell| cell.is_unavailable()) {
                // Such a row never inserts (rule B3).
                plan.table.insert_only.iter().for_each(|at| cells[*at] = Cell::Unavailable);
            }
            record.after = Some(arena.push_cells(cells));
        }
        if let Some(row) = before {
            cells.clear();
            for step in &program.steps {
                // What the source does not know of the row before, or can't say here, is unavailable: it is only shown, never written over.
                let cell = match step {
                    Step::FromKey(at) => arena.row(record.key)[*at],
                    Step::From { .. } | Step::Values { .. } => {
                        convert(step, row, arena, scratch).unwrap_or(Cell::Unavailable)
                    }
                    _ => Cell::Unavailable,
                };
                cells.push(cell);
            }
            record.before = Some(arena.push_cells(cells));
        }
        Ok(())
    }
}

#[inline]
fn convert(
    step: &Step,
    row: CellRange,
    arena: &mut Arena,
    scratch: &mut Scratch,
) -> std::result::Result<Cell, Refused> {
    const SHORT: Refused = Refused("the record is shorter than its schema");
    match step {
        Step::From { at, convert } => {
            let cell = *arena.row(row).get(*at).ok_or(SHORT)?;
            convert.run(cell, arena, scratch)
        }
        Step::Values { at, values } => {
            let cell = *arena.row(row).get(*at).ok_or(SHORT)?;
            values.run(cell, arena)
        }
        _ => Ok(Cell::Unavailable),
    }
}

impl LensPlan {
    fn error(&self, Failure(column, why, kind): Failure) -> Error {
        let column = &self.table.columns[column].name;
        Error::new(kind, Stage::Map, "cannot map record", format!("entity {}, column {column}: {why}", self.name))
    }
}

#[cfg(test)]
mod tests;
