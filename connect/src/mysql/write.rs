//! Writes rows of users' tables (rule B9).
//!
//! `ON DUPLICATE KEY UPDATE` fires on any unique index and would rewrite another row, so it is used alone only where the primary key is
//! the sole one. Elsewhere the keys are locked and looked at first; rows that are there are updated, the others inserted plainly. For the
//! rows that are there the same statement is used: InnoDB checks the primary key before all other indexes, so it can only meet its own
//! row, and another unique index then refuses the update with 1062. Updates go before inserts, for they may free a unique value.
//! Not `INSERT IGNORE`: it hides values that were cut.

use std::collections::{HashMap, HashSet};
use std::sync::Arc;

use sqlx::mysql::{MySqlArguments, MySqlRow};
use sqlx::{Arguments, AssertSqlSafe, Executor};
use topology::data::{Arena, Cell, CellRange, Kind};
use topology::{Error, Stage};

use super::bind::{BoundCell, ColumnForm};
use super::connection::Session;
use super::dialect::Flavour;
use super::errors::classify;
use super::read::{Normal, normal_of_cell, normal_of_row};
use super::statements::{OnDuplicate, key_is_primary, row_count};
use crate::sql::error::{SqlError, SqlResult};
use crate::sql::plan::{RowOperation, Shape, TablePlan, Written};

/// Up to this many partial updates go one by one: two round trips are not beaten.
const UPDATES_ONE_BY_ONE_MAX: usize = 2;

/// What a cell costs on the wire besides its bytes, generously.
const CELL_BYTES: usize = 16;

/// Which statement of a shape a text is.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub(super) enum TextKind {
    Main,
    Insert,
    Update,
    Lock,
    LockAll,
    Find,
}

/// Texts and forms of a shape, kept for the connection's life.
pub(super) struct ShapeCache {
    forms: Arc<[ColumnForm]>,
    texts: HashMap<(TextKind, usize), Arc<str>>,
}

/// Where the cells of a row stand.
#[derive(Clone, Copy)]
enum Cells<'a> {
    /// Full rows; these columns are bound, in this order.
    Columns(&'a [usize]),
    /// Key rows; all cells are bound.
    Key,
}

pub(super) fn forms(session: &Session, plan: &TablePlan) -> Arc<[ColumnForm]> {
    let live = |at: usize| plan.description.column(&plan.columns[at].name).is_none_or(|column| column.nullable);
    plan.columns.iter().enumerate().map(|(at, column)| ColumnForm::new(column, live(at), &session.types)).collect()
}

fn key_cell(arena: &Arena, plan: &TablePlan, row: CellRange, number: usize, by_key: bool) -> Cell {
    let cells = arena.row(row);
    if by_key { cells[number] } else { cells[plan.key[number]] }
}

impl Session {
    fn cache(&mut self, shape: &Shape) -> &mut ShapeCache {
        if !self.shapes.contains_key(&shape.id) {
            let forms = forms(self, &shape.plan);
            self.shapes.insert(shape.id, ShapeCache { forms, texts: HashMap::new() });
        }
        self.shapes.get_mut(&shape.id).expect("inserted above")
    }

    fn text(&mut self, shape: &Shape, kind: TextKind, rows: usize) -> Arc<str> {
        let texts = self.texts;
        let cache = self.cache(shape);
        let plan = &*shape.plan;
        let text = cache.texts.entry((kind, rows)).or_insert_with(|| {
            match kind {
                TextKind::Main => texts.of(shape, rows),
                TextKind::Insert => {
                    texts.insert(plan, &(0..plan.columns.len()).collect::<Vec<_>>(), rows, OnDuplicate::Refuse)
                }
                TextKind::Update => texts.insert(plan, &update_columns(shape), rows, OnDuplicate::Update),
                TextKind::Lock => texts.lock(plan, &plan.key, rows),
                TextKind::Find => texts.find(plan, &plan.key, rows),
                TextKind::LockAll => texts.lock(plan, &(0..plan.columns.len()).collect::<Vec<_>>(), rows),
            }
            .into()
        });
        Arc::clone(text)
    }

    /// How many of `rows` go into the next statement: limits of placeholders and of the packet.
    fn chunk(&self, plan: &TablePlan, arena: &Arena, rows: &[CellRange], width: usize) -> SqlResult<usize> {
        let mut count = row_count(rows.len(), width);
        let room = self.packet_max / 2;
        // The whole batch is usually smaller than a packet; then no row needs a look.
        if arena.size_bytes() + count * width * CELL_BYTES <= room {
            return Ok(count);
        }
        let size = |row: &CellRange| -> usize { arena.row(*row).iter().map(|cell| CELL_BYTES + bytes_of(*cell)).sum() };
        let mut used = 0;
        let fit = rows[..count].iter().take_while(|row| {
            used += size(row);
            used <= room
        });
        let fit = fit.count();
        if fit == 0 {
            if size(&rows[0]) > self.packet_max {
                let detail = format!("table {:?}: the row is larger than max_allowed_packet; raise it", plan.name);
                return Err(SqlError::known(Error::data(Stage::Write, "cannot write row", detail).with_code("packet")));
            }
            return Ok(1);
        }
        if fit < count {
            count = row_count(fit, width);
        }
        Ok(count)
    }

    async fn run(
        &mut self,
        plan: &TablePlan,
        forms: &[ColumnForm],
        text: Arc<str>,
        arena: &Arena,
        rows: impl Iterator<Item = CellRange>,
        cells: Cells<'_>,
    ) -> SqlResult<u64> {
        let arguments = arguments(plan, forms, arena, rows, cells)?;
        self.check_usable()?;
        let query = sqlx::query_with(AssertSqlSafe(text), arguments);
        let done = (&mut self.connection).execute(query).await;
        done.map(|done| done.rows_affected()).map_err(|error| failed(plan, error))
    }

    async fn fetch(
        &mut self,
        plan: &TablePlan,
        forms: &[ColumnForm],
        text: Arc<str>,
        arena: &Arena,
        rows: &[CellRange],
        by_key: bool,
    ) -> SqlResult<Vec<MySqlRow>> {
        let cells = if by_key { Cells::Key } else { Cells::Columns(&plan.key) };
        let arguments = arguments(plan, forms, arena, rows.iter().copied(), cells)?;
        self.check_usable()?;
        let query = sqlx::query_with(AssertSqlSafe(text), arguments);
        (&mut self.connection).fetch_all(query).await.map_err(|error| failed(plan, error))
    }

    pub(super) async fn write(&mut self, shape: &Shape, arena: &Arena, rows: &[CellRange]) -> SqlResult<Written> {
        let plan = Arc::clone(&shape.plan);
        match shape.operation {
            RowOperation::Upsert if plan.only_primary_key && key_is_primary(&plan) => {
                let columns: Vec<usize> = (0..plan.columns.len()).collect();
                self.write_many(shape, TextKind::Main, arena, rows, Cells::Columns(&columns)).await?;
                Ok(Written { matched: rows.len() as u64, ..Written::default() })
            }
            RowOperation::Upsert => {
                let present = self.locate(shape, arena, rows, false, TextKind::Lock).await?;
                let (there, absent) = split(rows, &present);
                self.update_present(shape, arena, &there).await?;
                let columns: Vec<usize> = (0..plan.columns.len()).collect();
                self.write_many(shape, TextKind::Insert, arena, &absent, Cells::Columns(&columns)).await?;
                Ok(Written { matched: rows.len() as u64, ..Written::default() })
            }
            RowOperation::Insert => {
                let columns: Vec<usize> = (0..plan.columns.len()).collect();
                self.write_many(shape, TextKind::Main, arena, rows, Cells::Columns(&columns)).await?;
                Ok(Written { matched: rows.len() as u64, ..Written::default() })
            }
            RowOperation::InsertIfAbsent => self.insert_if_absent(shape, arena, rows).await,
            RowOperation::Update => {
                if shape.columns.is_empty()
                    || (rows.len() > UPDATES_ONE_BY_ONE_MAX && updates_by_insert(self.texts.flavour, shape))
                {
                    let present = self.locate(shape, arena, rows, false, TextKind::Lock).await?;
                    let (there, _) = split(rows, &present);
                    if !shape.columns.is_empty() {
                        self.write_updates(shape, arena, &there).await?;
                    }
                    return Ok(Written { matched: there.len() as u64, ..Written::default() });
                }
                Ok(Written { matched: self.update_one_by_one(shape, arena, rows).await?, ..Written::default() })
            }
            RowOperation::Delete => {
                let matched = self.write_many(shape, TextKind::Main, arena, rows, Cells::Key).await?;
                Ok(Written { matched, ..Written::default() })
            }
            RowOperation::Rename => {
                let forms = Arc::clone(&self.cache(shape).forms);
                let text = self.text(shape, TextKind::Main, 1);
                let mut matched = 0;
                for pair in rows.chunks_exact(2) {
                    let new_then_old = [pair[1], pair[0]].into_iter();
                    matched += self.run(&plan, &forms, Arc::clone(&text), arena, new_then_old, Cells::Key).await?;
                }
                Ok(Written { matched, ..Written::default() })
            }
        }
    }

    /// As many statements as the limits want; the sum of affected rows.
    async fn write_many(
        &mut self,
        shape: &Shape,
        kind: TextKind,
        arena: &Arena,
        mut rows: &[CellRange],
        cells: Cells<'_>,
    ) -> SqlResult<u64> {
        let plan = &*shape.plan;
        let forms = Arc::clone(&self.cache(shape).forms);
        let width = match cells {
            Cells::Columns(columns) => columns.len(),
            Cells::Key => plan.key.len(),
        };
        let mut affected = 0;
        while !rows.is_empty() {
            let count = self.chunk(plan, arena, rows, width)?;
            let (chunk, rest) = rows.split_at(count);
            rows = rest;
            let text = self.text(shape, kind, count);
            affected += self.run(plan, &forms, text, arena, chunk.iter().copied(), cells).await?;
        }
        Ok(affected)
    }

    /// Updates rows that are known to be there, and locked.
    async fn update_present(&mut self, shape: &Shape, arena: &Arena, rows: &[CellRange]) -> SqlResult<()> {
        let rest = shape.plan.rest();
        if rest.is_empty() || rows.is_empty() {
            return Ok(());
        }
        if updates_by_insert(self.texts.flavour, shape) {
            return self.write_updates(shape, arena, rows).await;
        }
        let forms = Arc::clone(&self.cache(shape).forms);
        let text: Arc<str> = self.texts.update(&shape.plan, &rest).into();
        let order: Vec<usize> = rest.iter().chain(&shape.plan.key).copied().collect();
        for row in rows {
            let one = std::iter::once(*row);
            self.run(&shape.plan, &forms, Arc::clone(&text), arena, one, Cells::Columns(&order)).await?;
        }
        Ok(())
    }

    async fn write_updates(&mut self, shape: &Shape, arena: &Arena, rows: &[CellRange]) -> SqlResult<()> {
        let columns = update_columns(shape);
        self.write_many(shape, TextKind::Update, arena, rows, Cells::Columns(&columns)).await.map(|_| ())
    }

    async fn update_one_by_one(&mut self, shape: &Shape, arena: &Arena, rows: &[CellRange]) -> SqlResult<u64> {
        let forms = Arc::clone(&self.cache(shape).forms);
        let text = self.text(shape, TextKind::Main, 1);
        let order: Vec<usize> = shape.columns.iter().chain(&shape.plan.key).copied().collect();
        let mut matched = 0;
        for row in rows {
            let one = std::iter::once(*row);
            matched += self.run(&shape.plan, &forms, Arc::clone(&text), arena, one, Cells::Columns(&order)).await?;
        }
        Ok(matched)
    }

    /// Rule B8: what is there is left alone, and counted when it differs.
    async fn insert_if_absent(&mut self, shape: &Shape, arena: &Arena, rows: &[CellRange]) -> SqlResult<Written> {
        let plan = Arc::clone(&shape.plan);
        let mut found: HashMap<Vec<Normal>, Vec<Normal>> = HashMap::new();
        for row in self.lock_rows(shape, TextKind::LockAll, arena, rows, false).await? {
            let cells: Vec<Normal> = plan
                .columns
                .iter()
                .enumerate()
                .map(|(at, column)| normal_of_row(&row, at, column))
                .collect::<SqlResult<_>>()?;
            found.insert(plan.key.iter().map(|at| cells[*at].clone()).collect(), cells);
        }
        let mut written = Written::default();
        let mut absent = Vec::new();
        let mut matched = HashSet::new();
        for row in rows {
            let cells: Vec<Normal> = arena
                .row(*row)
                .iter()
                .zip(&plan.columns)
                .map(|(cell, column)| normal_of_cell(arena, *cell, column))
                .collect();
            let key: Vec<Normal> = plan.key.iter().map(|at| cells[*at].clone()).collect();
            match found.get(&key) {
                Some(present) => {
                    let is_equal = |at: usize| present[at] == cells[at] || plan.insert_only.contains(&at);
                    written.differs += u64::from(!(0..cells.len()).all(is_equal));
                    matched.insert(key);
                }
                None => absent.push(*row),
            }
        }
        if matched.len() < found.len() && !absent.is_empty() {
            // Some row is there under a key that only the collation calls equal: it is left alone, and it differs.
            let present = self.locate_one_by_one(shape, arena, &absent, false, TextKind::Lock).await?;
            let (there, none) = split(&absent, &present);
            written.differs += there.len() as u64;
            absent = none;
        }
        let columns: Vec<usize> = (0..plan.columns.len()).collect();
        self.write_many(shape, TextKind::Insert, arena, &absent, Cells::Columns(&columns)).await?;
        written.matched = absent.len() as u64;
        Ok(written)
    }

    async fn lock_rows(
        &mut self,
        shape: &Shape,
        kind: TextKind,
        arena: &Arena,
        mut rows: &[CellRange],
        by_key: bool,
    ) -> SqlResult<Vec<MySqlRow>> {
        let forms = Arc::clone(&self.cache(shape).forms);
        let mut found = Vec::new();
        while !rows.is_empty() {
            let count = self.chunk(&shape.plan, arena, rows, shape.plan.key.len())?;
            let (chunk, rest) = rows.split_at(count);
            rows = rest;
            let text = self.text(shape, kind, count);
            found.extend(self.fetch(&shape.plan, &forms, text, arena, chunk, by_key).await?);
        }
        Ok(found)
    }

    /// Locks the rows with these keys and says which are there.
    pub(super) async fn locate(
        &mut self,
        shape: &Shape,
        arena: &Arena,
        rows: &[CellRange],
        by_key: bool,
        kind: TextKind,
    ) -> SqlResult<Vec<bool>> {
        let plan = Arc::clone(&shape.plan);
        // Keys that are there, and whether any of ours is that one: several of ours may be.
        let mut found: HashMap<Vec<Normal>, bool> = HashMap::new();
        for row in self.lock_rows(shape, kind, arena, rows, by_key).await? {
            let key = plan.key.iter().enumerate().map(|(at, column)| normal_of_row(&row, at, &plan.columns[*column]));
            found.insert(key.collect::<SqlResult<_>>()?, false);
        }
        let mut present = Vec::with_capacity(rows.len());
        for row in rows {
            let key: Vec<Normal> = (0..plan.key.len())
                .map(|at| normal_of_cell(arena, key_cell(arena, &plan, *row, at, by_key), &plan.columns[plan.key[at]]))
                .collect();
            let there = found.get_mut(&key).map(|matched| *matched = true);
            present.push(there.is_some());
        }
        if found.values().any(|matched| !matched) {
            // A key that only the collation calls equal was found ('A' for 'a'): the database decides, one by one.
            let absent: Vec<CellRange> =
                rows.iter().zip(&present).filter(|(_, there)| !**there).map(|(row, _)| *row).collect();
            let mut answers = self.locate_one_by_one(shape, arena, &absent, by_key, kind).await?.into_iter();
            for there in present.iter_mut().filter(|there| !**there) {
                *there = answers.next().unwrap_or(false);
            }
        }
        Ok(present)
    }

    async fn locate_one_by_one(
        &mut self,
        shape: &Shape,
        arena: &Arena,
        rows: &[CellRange],
        by_key: bool,
        kind: TextKind,
    ) -> SqlResult<Vec<bool>> {
        let forms = Arc::clone(&self.cache(shape).forms);
        let text = self.text(shape, kind, 1);
        let mut present = Vec::with_capacity(rows.len());
        for row in rows {
            let found = self.fetch(&shape.plan, &forms, Arc::clone(&text), arena, &[*row], by_key).await?;
            present.push(!found.is_empty());
        }
        Ok(present)
    }
}

fn failed(plan: &TablePlan, error: sqlx::Error) -> SqlError {
    classify("cannot write rows", &format!("table {:?}", plan.name), error)
}

fn arguments(
    plan: &TablePlan,
    forms: &[ColumnForm],
    arena: &Arena,
    rows: impl Iterator<Item = CellRange>,
    cells: Cells<'_>,
) -> SqlResult<MySqlArguments> {
    let width = match cells {
        Cells::Columns(columns) => columns.len(),
        Cells::Key => plan.key.len(),
    };
    let mut out = MySqlArguments::default();
    let (low, _) = rows.size_hint();
    out.reserve(low.max(1) * width, (arena.size_bytes() / 2).min(low.max(1) * width * 24));
    let mut add = |cell: Cell, at: usize| {
        out.add(BoundCell { arena, cell, column: &forms[at] }).map_err(|error| failed(plan, sqlx::Error::Encode(error)))
    };
    for row in rows {
        let row = arena.row(row);
        match cells {
            Cells::Columns(columns) => {
                for at in columns {
                    add(row[*at], *at)?;
                }
            }
            Cells::Key => {
                for (cell, at) in row.iter().zip(&plan.key) {
                    add(*cell, *at)?;
                }
            }
        }
    }
    Ok(out)
}

/// Key and set columns of an update that is spelled as an upsert of a present row.
fn update_columns(shape: &Shape) -> Vec<usize> {
    match shape.operation {
        RowOperation::Update => shape.plan.key.iter().chain(&shape.columns).copied().collect(),
        _ => (0..shape.plan.columns.len()).collect(),
    }
}

/// Whether rows that are there may be updated by `INSERT … ON DUPLICATE KEY UPDATE`: the key must be the primary key, the INSERT must be
/// complete (a column without default would be refused), and no index may be checked before the primary key.
fn updates_by_insert(flavour: Flavour, shape: &Shape) -> bool {
    let plan = &*shape.plan;
    let written = update_columns(shape);
    let complete = plan
        .description
        .columns
        .iter()
        .all(|column| !column.is_required() || written.iter().any(|at| plan.columns[*at].name == column.name));
    // MariaDB checks unique indexes over long columns, which it keeps as hashes, before it writes.
    let hashed = flavour == Flavour::MariaDb
        && plan.description.unique_indexes.iter().any(|index| {
            index.partial
                || index.columns.iter().any(|at| match &plan.description.columns[*at].kind {
                    Kind::Text { characters_max, .. } => characters_max.is_none_or(|max| max > 700),
                    Kind::Bytes { bytes_max, .. } => bytes_max.is_none_or(|max| max > 3000),
                    _ => false,
                })
        });
    key_is_primary(plan) && complete && !hashed
}

fn split(rows: &[CellRange], present: &[bool]) -> (Vec<CellRange>, Vec<CellRange>) {
    let mut there = Vec::new();
    let mut absent = Vec::new();
    for (row, is_there) in rows.iter().zip(present) {
        if *is_there { there.push(*row) } else { absent.push(*row) }
    }
    (there, absent)
}

/// Bytes of a cell on the wire, decimals as text.
fn bytes_of(cell: Cell) -> usize {
    match cell {
        Cell::Text(span) | Cell::Bytes(span) | Cell::Json(span) | Cell::Bits(span) => span.length as usize,
        Cell::Decimal(decimal) => decimal.unscaled.length as usize * 3 + 8,
        Cell::Uuid(_) => 36,
        _ => 0,
    }
}
