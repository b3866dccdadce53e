//! What the writer knows of a table it writes: the lens's columns joined with the live catalogue, and the statement shapes that
//! engines cache text for. Made once per table and connection generation, never per batch.

use std::sync::Arc;
use std::sync::atomic::{AtomicU32, Ordering};

use topology::batch::WriteTable;
use topology::data::Kind;
use topology::record::EntityId;
use topology::table::{ColumnDescription, Generated, TableDescription};
use topology::{Error, ErrorKind, Stage};

use super::error::{SqlError, SqlResult};

/// One written column.
#[derive(Clone, Debug)]
pub struct PlanColumn {
    /// Name as the catalogue spells it.
    pub name: Arc<str>,
    /// The target's kind: binds go by it.
    pub kind: Kind,
    /// The target's type as the engine writes it.
    pub native: Arc<str>,
    /// Whether the engine makes the value by default.
    pub generated: Generated,
    /// True when the column's collation may equate different text.
    pub equates: bool,
}

impl PlanColumn {
    fn of(live: &ColumnDescription) -> PlanColumn {
        PlanColumn {
            name: Arc::clone(&live.name),
            kind: live.kind.clone(),
            native: Arc::clone(&live.native),
            generated: live.generated,
            equates: live.collation.as_ref().is_some_and(|collation| !collation.exact),
        }
    }
}

/// A table as it is written.
#[derive(Clone, Debug)]
pub struct TablePlan {
    /// Which entity of the direction.
    pub entity: EntityId,
    /// Name as configured, maybe qualified.
    pub name: Arc<str>,
    /// Written columns in the order of every row's cells.
    pub columns: Vec<PlanColumn>,
    /// Indexes in `columns` of the key columns, in the order of key cells.
    pub key: Vec<usize>,
    /// Indexes in `columns` of those that a present row keeps ([`WriteTable::insert_only`]).
    pub insert_only: Vec<usize>,
    /// True when no unique index but the primary key can refuse a row (rule B9).
    pub only_primary_key: bool,
    /// All that the catalogue says.
    pub description: Arc<TableDescription>,
}

impl TablePlan {
    /// Joins a written table with the live one.
    ///
    /// # Errors
    /// `Schema` when a written column is not there or is computed.
    pub fn new(table: &WriteTable, description: Arc<TableDescription>) -> SqlResult<TablePlan> {
        let schema = |detail: String| {
            SqlError::known(
                Error::new(ErrorKind::Schema, Stage::Write, "cannot plan statements", detail).with_code("missing"),
            )
        };
        let mut columns = Vec::with_capacity(table.columns.len());
        for column in &table.columns {
            let Some(live) = description.column(&column.name) else {
                return Err(schema(format!(
                    "table {:?} has no column {:?}; add it or exclude it in the lens",
                    table.name, column.name
                )));
            };
            if live.generated == Generated::Computed {
                return Err(schema(format!(
                    "column {:?} of table {:?} is computed; exclude it in the lens",
                    column.name, table.name
                )));
            }
            columns.push(PlanColumn::of(live));
        }
        Ok(TablePlan {
            entity: table.entity,
            name: Arc::clone(&table.name),
            columns,
            key: table.key.clone(),
            insert_only: table.insert_only.clone(),
            only_primary_key: description.only_primary_key(),
            description,
        })
    }

    /// A plan for looking rows up by some of a table's columns: `columns` are all there is, and the key. `None` if one is missing.
    pub fn lookup(description: Arc<TableDescription>, columns: &[Arc<str>]) -> Option<TablePlan> {
        let live: Vec<_> = columns.iter().map(|name| description.column(name)).collect::<Option<_>>()?;
        let columns: Vec<PlanColumn> = live.into_iter().map(PlanColumn::of).collect();
        Some(TablePlan {
            entity: EntityId(u16::MAX),
            name: Arc::clone(&description.name),
            key: (0..columns.len()).collect(),
            columns,
            insert_only: Vec::new(),
            only_primary_key: description.only_primary_key(),
            description,
        })
    }

    /// Indexes of the columns that a whole row sets where its key is there: all but the key's and those that only inserts write.
    pub fn rest(&self) -> Vec<usize> {
        (0..self.columns.len()).filter(|at| !self.key.contains(at) && !self.insert_only.contains(at)).collect()
    }
}

/// What a set of rows does.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum RowOperation {
    /// Insert, or update the columns where they differ. Acts on the key's row only, never on another row with the same unique value.
    Upsert,
    /// Plain insert: history rows, held rows.
    Insert,
    /// Insert what is not there.
    InsertIfAbsent,
    /// Update [`Shape::columns`] of rows that are there, where they differ.
    Update,
    /// Delete by key; absent is fine.
    Delete,
    /// Change keys: row `2i` is the old key, row `2i+1` the new one.
    Rename,
}

/// One statement shape of a table; engines cache statement text by `id`.
#[derive(Clone, Debug)]
pub struct Shape {
    /// Unique in this process.
    pub id: u32,
    /// The table.
    pub plan: Arc<TablePlan>,
    /// What is done.
    pub operation: RowOperation,
    /// For `Update`: the columns that are set (no key columns). For `Upsert`, `Insert`, `InsertIfAbsent`: all columns. Otherwise empty.
    pub columns: Vec<usize>,
}

impl Shape {
    /// A new shape with an id of its own.
    pub fn new(plan: &Arc<TablePlan>, operation: RowOperation, columns: Vec<usize>) -> Shape {
        static NEXT: AtomicU32 = AtomicU32::new(0);
        Shape { id: NEXT.fetch_add(1, Ordering::Relaxed), plan: Arc::clone(plan), operation, columns }
    }
}

/// What a set of rows did.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Written {
    /// Rows that are now as asked: for `Update` those whose key is there (fewer than given: some row is missing, rule B3), for `Rename`
    /// those renamed, for `InsertIfAbsent` those inserted, for `Delete` those deleted, otherwise all.
    pub matched: u64,
    /// Of `matched`: rows the engine says were exactly so before. 0 where the engine does not tell.
    pub unchanged: u64,
    /// `InsertIfAbsent` only: rows that were there and differ. Rows there and equal are neither `matched` nor `differs`.
    pub differs: u64,
}

impl std::ops::AddAssign for Written {
    fn add_assign(&mut self, other: Written) {
        self.matched += other.matched;
        self.unchanged += other.unchanged;
        self.differs += other.differs;
    }
}
