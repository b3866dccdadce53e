//! The compiled lens of one direction, shared by its lanes, and its programs: flat lists of steps, one per cell, compiled once per
//! layout that the source's records come in.

use std::sync::Arc;

use super::convert::{Context, Convert, Engine, Fit, FractionMode, plan};
use super::declare::MissingMode;
use super::survey::{Feed, Severity, Survey};
use super::values::ValueMap;
use crate::batch::{WriteMode, WriteTable};
use crate::data::{Kind, Layout, Value};
use crate::error::{Error, ErrorKind, Result, Stage};

/// What one target column is made of, as far as known before any record.
#[derive(Clone, Debug)]
pub(super) enum Origin {
    Column { name: Arc<str>, live: Kind, values: Option<Arc<ValueMap>>, default: Option<Value>, fraction: FractionMode },
    Constant(Value),
    OnInsert(Value),
}

#[derive(Clone, Debug)]
pub(super) struct Target {
    pub(super) origin: Origin,
    pub(super) native: Arc<str>,
}

/// A mapping of one entity in one direction. Cheap to share; [`super::Lens`] runs it.
#[derive(Clone, Debug)]
pub struct LensPlan {
    /// Name of the entity, for errors.
    pub name: Arc<str>,
    /// The table as the sink writes it.
    pub table: Arc<WriteTable>,
    /// Whether mapped records carry their row before, too (histories do, for deletes).
    pub with_before: bool,
    pub(super) targets: Vec<Target>,
    /// `key:` was declared: before-images are whole, as the user promised.
    pub(super) explicit_key: bool,
    missing: MissingMode,
    engines: (Engine, Engine),
}

impl Survey<'_> {
    /// The plan, if nothing is wrong.
    ///
    /// # Errors
    /// `Configuration`, with every error of the survey.
    pub fn into_plan(self) -> Result<LensPlan> {
        let errors: Vec<String> = self
            .problems
            .iter()
            .filter(|problem| problem.severity == Severity::Error)
            .map(|problem| format!("{}: {}", problem.path, problem.text))
            .collect();
        if !errors.is_empty() {
            let detail = errors.join("; ");
            return Err(Error::new(ErrorKind::Configuration, Stage::Configure, "cannot map entity", detail));
        }
        let request = self.request;
        let mut columns = Vec::with_capacity(self.pairs.len());
        let mut targets = Vec::with_capacity(self.pairs.len());
        for pair in self.pairs {
            let column = &request.target.table.columns[pair.target];
            columns.push(column.column());
            let origin = match pair.feed {
                Feed::Column { source, values, default, fraction, .. } => {
                    let from = &request.source.table.columns[source];
                    Origin::Column { name: from.name.clone(), live: from.kind.clone(), values, default, fraction }
                }
                Feed::Constant(value) => Origin::Constant(value),
                Feed::OnInsert(value) => Origin::OnInsert(value),
            };
            targets.push(Target { origin, native: column.native.clone() });
        }
        let mode = request.declaration.mode;
        let is_insert_only = |at: &usize| matches!(targets[*at].origin, Origin::OnInsert(_)) && !self.key.contains(at);
        let insert_only = (0..targets.len()).filter(is_insert_only).collect();
        Ok(LensPlan {
            name: request.name.into(),
            table: Arc::new(WriteTable {
                entity: request.entity,
                name: request.target.table.name.clone(),
                columns,
                key: self.key,
                insert_only,
                mode,
            }),
            with_before: mode == WriteMode::Append,
            targets,
            explicit_key: !request.declaration.key.is_empty(),
            missing: request.declaration.missing,
            engines: (request.source.engine, request.target.engine),
        })
    }
}

/// How one cell is made.
#[derive(Clone, Debug, PartialEq)]
pub(super) enum Step {
    /// From the cell at that index of the source row.
    From { at: usize, convert: Convert },
    /// Through a value map.
    Values { at: usize, values: Arc<ValueMap> },
    /// The same for every record.
    Constant(Value),
    /// The same for every whole row; the sink writes it only when it inserts ([`WriteTable::insert_only`]).
    OnInsert(Value),
    /// From that key cell: the row does not carry its own key.
    FromKey(usize),
    /// The schema lacks the column: unavailable, NULL in inserted rows.
    Missing,
    /// The schema lacks the column, and no row may go on without it.
    Refuse(&'static str),
    /// As `Refuse`, but only for inserted rows.
    RefuseInsert(&'static str),
}

/// Makes a row of the target from a row of one source layout.
#[derive(Clone, Debug)]
pub(super) struct RowProgram {
    pub(super) steps: Vec<Step>,
    /// The source row *is* the target row.
    pub(super) is_identity: bool,
}

/// Where a key cell comes from.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Place {
    /// The record's key.
    Key,
    /// Its row.
    Row,
}

/// Makes a key of the target from records of one pair of key layout and row layout.
#[derive(Clone, Debug)]
pub(super) struct KeyProgram {
    pub(super) steps: Vec<(Place, Step)>,
    /// Every cell comes from the record's key, so a key alone (`old_key`) can be mapped.
    pub(super) is_self_contained: bool,
}

impl LensPlan {
    /// Whether the decoder must decode the row before of updates, too: for histories, and to see changes of a declared key.
    pub fn needs_before(&self) -> bool {
        self.with_before || self.explicit_key
    }

    fn step(&self, column: usize, layout: &Layout) -> Option<Step> {
        let Target { origin, native } = &self.targets[column];
        let Origin::Column { name, live, values, fraction, .. } = origin else { return None };
        let at = layout.position(name)?;
        if let Some(values) = values {
            return Some(Step::Values { at, values: values.clone() });
        }
        let (source, target) = self.engines;
        let context = Context { source, target, live: Some(live), native, fraction: *fraction };
        let planned = plan(&layout.columns[at].kind, &self.table.columns[column].kind, &context);
        Some(match planned.fit {
            Fit::Impossible(_) => Step::Refuse("the record's schema has a type that can't be converted"),
            _ => Step::From { at, convert: planned.convert },
        })
    }

    pub(super) fn compile_row(&self, layout: &Layout) -> RowProgram {
        let steps: Vec<Step> = (0..self.targets.len()).map(|column| self.row_step(column, layout)).collect();
        let is_identity = steps.len() == layout.columns.len()
            && steps.iter().enumerate().all(|(index, step)| {
                let null_fits = self.table.columns[index].nullable || !layout.columns[index].nullable;
                null_fits && matches!(step, Step::From { at, convert: Convert::Copy } if *at == index)
            });
        RowProgram { steps, is_identity }
    }

    fn row_step(&self, column: usize, layout: &Layout) -> Step {
        if let Some(step) = self.step(column, layout) {
            return step;
        }
        match &self.targets[column].origin {
            Origin::Constant(value) | Origin::Column { default: Some(value), .. } => Step::Constant(value.clone()),
            Origin::OnInsert(value) if self.table.key.contains(&column) => Step::Constant(value.clone()),
            Origin::OnInsert(value) => Step::OnInsert(value.clone()),
            Origin::Column { .. } => match self.table.key.iter().position(|key| *key == column) {
                Some(key) => Step::FromKey(key),
                None if self.missing == MissingMode::Halt => Step::Refuse("the record's schema has no such column"),
                None if self.table.columns[column].nullable => Step::Missing,
                None => Step::RefuseInsert(
                    "the record's schema has no such column, and the target's is NOT NULL; set a `default`",
                ),
            },
        }
    }

    pub(super) fn compile_key(&self, key: &Layout, row: &Layout) -> KeyProgram {
        let steps: Vec<(Place, Step)> = self.table.key.iter().map(|column| self.key_step(*column, key, row)).collect();
        let is_self_contained = steps.iter().all(|(place, _)| *place == Place::Key);
        KeyProgram { steps, is_self_contained }
    }

    fn key_step(&self, column: usize, key: &Layout, row: &Layout) -> (Place, Step) {
        if let Origin::Constant(value) | Origin::OnInsert(value) = &self.targets[column].origin {
            return (Place::Key, Step::Constant(value.clone()));
        }
        if let Some(step) = self.step(column, key) {
            return (Place::Key, step);
        }
        let step =
            self.step(column, row).unwrap_or(Step::Refuse("neither key nor row of the record has the key column"));
        (Place::Row, step)
    }
}
