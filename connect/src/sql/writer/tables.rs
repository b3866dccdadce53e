//! Plans and shapes of the written tables, made when first needed and again after a schema error.

use std::sync::Arc;

use topology::batch::{Change, WriteMode, WriteTable};
use topology::data::{Arena, CellRange, Column, Kind};
use topology::record::EntityId;
use topology::reduce::ReduceTable;
use topology::table::{ColumnDescription, Generated, TableDescription};
use topology::{Error, ErrorKind, Stage};

use super::history::HISTORY_COLUMNS;
use super::{Failure, SqlWriter};
use crate::sql::connection::SqlConnection;
use crate::sql::dialect::{Dialect, OwnType};
use crate::sql::error::{SqlError, SqlResult};
use crate::sql::plan::{RowOperation, Shape, TablePlan};
use crate::sql::statements::{HELD, HELD_COLUMNS, MOVED, MOVED_COLUMNS, OUTBOX, OUTBOX_COLUMNS, held_column};

/// One written table with its statement shapes.
pub(crate) struct EntityTable {
    pub(crate) plan: Arc<TablePlan>,
    pub(crate) reduce: ReduceTable,
    /// As the lens made it; `plan` has the history columns for `mode: append`.
    pub(crate) mapped: WriteTable,
    pub(crate) upsert: Shape,
    pub(crate) insert: Shape,
    pub(crate) insert_if_absent: Shape,
    pub(crate) delete: Shape,
    pub(crate) rename: Shape,
    /// Partial updates by set of columns; few in practice: the TOASTable columns.
    pub(crate) updates: Vec<Shape>,
    /// Seed of key hashes in `tidelock_held`: by name, for entity numbers change with the configuration.
    pub(crate) hash_seed: u64,
    /// The table's name without schema, lower case: how children name what they wait for.
    pub(crate) parent_name: Arc<str>,
    /// Seed of [`EntityTable::wake_hash`].
    wake_seed: u64,
    /// Rows are known by their primary key, of one column: what waits for one of them is told from what waits for another (rule H2).
    by_key: bool,
    /// Foreign keys to other tables, all of whose columns are written.
    pub(crate) parents: Vec<Parent>,
    pub(crate) sequence_marks: Vec<SequenceMark>,
}

/// How far a sequence was moved by explicit ids.
pub(crate) struct SequenceMark {
    /// Of the plan.
    pub(crate) column: usize,
    /// The highest id it was moved past.
    pub(crate) moved_past: i64,
    /// The last one that it could give itself.
    pub(crate) last: i64,
}

/// A foreign key whose parents can be looked up before the children are written.
pub(crate) struct Parent {
    /// Its name.
    pub(crate) constraint: Arc<str>,
    /// The child's columns, as indexes in the plan.
    pub(crate) columns: Vec<usize>,
    /// The parent by its referenced columns.
    pub(crate) plan: TablePlan,
    /// The referenced column is the parent's primary key, so that rows of the parent can be known by it.
    by_key: bool,
}

/// A table name as `waits_for` spells it.
pub(crate) fn parent_name(table: &str) -> Arc<str> {
    table.rsplit('.').next().unwrap_or(table).to_lowercase().into()
}

impl EntityTable {
    fn new(mapped: &WriteTable, reduce: ReduceTable, description: TableDescription) -> Result<EntityTable, Error> {
        let description = Arc::new(description);
        let plan = match mapped.mode {
            WriteMode::Mirror => TablePlan::new(mapped, description)?,
            WriteMode::Append => TablePlan::new(&history_table(mapped), description)?,
        };
        let sequence_marks = plan
            .description
            .sequences
            .iter()
            .filter_map(|sequence| {
                let name = &plan.description.columns[sequence.column].name;
                let column = plan.columns.iter().position(|column| column.name == *name)?;
                Some(SequenceMark { column, moved_past: i64::MIN, last: sequence.last })
            })
            .collect();
        let plan = Arc::new(plan);
        let all: Vec<usize> = (0..plan.columns.len()).collect();
        let shape = |operation, columns: &[usize]| Shape::new(&plan, operation, columns.to_vec());
        Ok(EntityTable {
            reduce,
            mapped: mapped.clone(),
            upsert: shape(RowOperation::Upsert, &all),
            insert: shape(RowOperation::Insert, &all),
            insert_if_absent: shape(RowOperation::InsertIfAbsent, &all),
            delete: shape(RowOperation::Delete, &[]),
            rename: shape(RowOperation::Rename, &[]),
            updates: Vec::new(),
            hash_seed: name_seed(&mapped.name),
            parent_name: parent_name(&mapped.name),
            wake_seed: name_seed(&parent_name(&mapped.name)),
            by_key: has_key(&plan.description, plan.key.iter().map(|at| &*plan.columns[*at].name)),
            parents: Vec::new(),
            sequence_marks,
            plan,
        })
    }

    /// The shape that updates these columns (no key columns).
    pub(crate) fn update_shape(&mut self, columns: &[usize]) -> usize {
        if let Some(at) = self.updates.iter().position(|shape| shape.columns == columns) {
            return at;
        }
        self.updates.push(Shape::new(&self.plan, RowOperation::Update, columns.to_vec()));
        self.updates.len() - 1
    }

    /// Key hash as `tidelock_held` has it; `None` for tables without key and history tables.
    pub(crate) fn key_hash(&self, arena: &Arena, key: CellRange) -> Option<u64> {
        (!key.is_empty() && self.mapped.mode == WriteMode::Mirror).then(|| arena.hash_row(self.hash_seed, key))
    }

    /// Hash by which children name this row in `waits_for_key`; `None` where they can't.
    pub(crate) fn wake_hash(&self, arena: &Arena, key: CellRange) -> Option<u64> {
        let key = arena.row(key).first().filter(|_| self.by_key)?;
        Some(arena.hash_cell(self.wake_seed, *key))
    }

    /// [`EntityTable::wake_hash`] has an answer.
    pub(crate) fn is_known_by_key(&self) -> bool {
        self.by_key
    }

    /// [`EntityTable::wake_hash`] of the parent whose row is missing, if this error says that one is.
    pub(crate) fn parent_key_hash(&self, arena: &Arena, change: &Change, error: &SqlError) -> Option<u64> {
        let name = error.constraint.as_ref()?;
        let parent = self.parents.iter().find(|parent| parent.constraint == *name && parent.by_key)?;
        let cell = arena.row(change.row).get(*parent.columns.first()?)?;
        Some(arena.hash_cell(name_seed(&parent_name(&parent.plan.name)), *cell))
    }
}

pub(crate) fn name_seed(name: &str) -> u64 {
    xxhash_rust::xxh3::xxh3_64(name.as_bytes())
}

/// True when these columns are the table's primary key, and one column is enough.
fn has_key<'a>(description: &TableDescription, mut names: impl Iterator<Item = &'a str>) -> bool {
    let [at] = description.primary_key.as_slice() else { return false };
    names.next() == Some(&*description.columns[*at].name) && names.next().is_none()
}

fn history_table(mapped: &WriteTable) -> WriteTable {
    let columns =
        HISTORY_COLUMNS.iter().map(|name| Column { name: (*name).into(), kind: Kind::Json, nullable: true }).collect();
    WriteTable {
        entity: mapped.entity,
        name: Arc::clone(&mapped.name),
        columns,
        key: Vec::new(),
        insert_only: Vec::new(),
        mode: WriteMode::Append,
    }
}

/// Plans of our own tables, known without asking the catalogue.
pub(crate) struct OwnTables {
    pub(crate) held: Shape,
    /// Held rows by key.
    pub(crate) held_delete: Shape,
    /// Held rows that failed again.
    pub(crate) held_fail: Shape,
    pub(crate) outbox: Shape,
    /// Word of a key change, if there is none.
    pub(crate) leave_word: Shape,
    /// Word of a key change, whatever there is.
    pub(crate) set_word: Shape,
}

fn own_plan(dialect: &dyn Dialect, name: &str, columns: &[(&str, OwnType, bool)], key: usize) -> Arc<TablePlan> {
    let columns: Vec<ColumnDescription> = columns
        .iter()
        .map(|(name, kind, nullable)| ColumnDescription {
            name: (*name).into(),
            kind: match kind {
                OwnType::Name | OwnType::Text => Kind::Text { characters_max: None, fixed: false },
                OwnType::Int32 => Kind::Int { bits: 32, unsigned: false },
                OwnType::Int64 => Kind::Int { bits: 64, unsigned: false },
                OwnType::Bytes => Kind::Bytes { bytes_max: None, fixed: false },
            },
            native: dialect.own_type(*kind).into(),
            nullable: *nullable,
            has_default: false,
            generated: Generated::Never,
            collation: None,
        })
        .collect();
    let table = WriteTable {
        entity: EntityId(u16::MAX),
        name: name.into(),
        columns: columns.iter().map(ColumnDescription::column).collect(),
        key: (0..key).collect(),
        insert_only: Vec::new(),
        mode: WriteMode::Mirror,
    };
    let description = TableDescription {
        name: name.into(),
        columns,
        primary_key: (0..key).collect(),
        unique_indexes: Vec::new(),
        foreign_keys: Vec::new(),
        referenced: false,
        deferrable: false,
        sequences: Vec::new(),
        triggers: Vec::new(),
    };
    Arc::new(TablePlan::new(&table, Arc::new(description)).expect("made of its own columns"))
}

/// What changes in a held row that fails again.
const FAILED_AGAIN: [&str; 10] = [
    // That of the key as mapped: a record that died before its key was mapped stood under its raw key, where nobody looks for what waits.
    "key_hash",
    "state",
    "class",
    "code",
    "message",
    "attempts",
    "first_failed_at_ms",
    "retry_at_ms",
    "waits_for",
    "waits_for_key",
];

impl OwnTables {
    pub(crate) fn new(dialect: &dyn Dialect) -> OwnTables {
        let shape = |plan: &Arc<TablePlan>, operation| Shape::new(plan, operation, (0..plan.columns.len()).collect());
        let held = own_plan(dialect, HELD, &HELD_COLUMNS, 6);
        let moved = own_plan(dialect, MOVED, &MOVED_COLUMNS, 3);
        let outbox = own_plan(dialect, OUTBOX, &OUTBOX_COLUMNS, 5);
        OwnTables {
            // Not a plain insert: where somebody has made a direction read records again, their rows are there.
            held: shape(&held, RowOperation::Upsert),
            held_delete: shape(&held, RowOperation::Delete),
            held_fail: Shape::new(&held, RowOperation::Update, FAILED_AGAIN.map(held_column).to_vec()),
            outbox: shape(&outbox, RowOperation::Insert),
            leave_word: shape(&moved, RowOperation::InsertIfAbsent),
            set_word: shape(&moved, RowOperation::Upsert),
        }
    }
}

impl SqlWriter {
    /// Makes sure that an entity has its plan; outside any transaction.
    pub(crate) async fn plan(&mut self, entity: usize) -> Result<(), Failure> {
        if self.tables[entity].is_some() {
            return Ok(());
        }
        let sink = &self.options.tables[entity];
        let name = &sink.table.name;
        let session = self.session.as_deref_mut().expect("enter() opened a session");
        let described = match session.describe(name).await {
            Ok(Some(description)) => description,
            Ok(None) => {
                let detail = format!("there is no table {name:?}; create it or correct the configuration");
                let error = Error::new(ErrorKind::Schema, Stage::Write, "cannot plan statements", detail);
                return Err(Failure::Schema(entity, error.with_code("missing")));
            }
            Err(error) => return Err(self.give_up(error)),
        };
        let reduce = ReduceTable::new(&sink.table, sink.snapshot);
        let table = EntityTable::new(&sink.table, reduce, described);
        let mut table = table.map_err(|error| Failure::Schema(entity, error))?;
        table.parents = match parents(session, &table.plan).await {
            Ok(parents) => parents,
            Err(error) => return Err(self.give_up(error)),
        };
        self.tables[entity] = Some(table);
        Ok(())
    }

    /// The catalogue could not be read: nothing is known of the session.
    fn give_up(&mut self, error: SqlError) -> Failure {
        self.close();
        Failure::Failed(error.error)
    }
}

async fn parents(session: &mut dyn SqlConnection, plan: &TablePlan) -> SqlResult<Vec<Parent>> {
    let mut parents = Vec::new();
    for key in &plan.description.foreign_keys {
        let names = key.columns.iter().map(|at| &plan.description.columns[*at].name);
        let columns: Option<Vec<usize>> =
            names.map(|name| plan.columns.iter().position(|column| column.name == *name)).collect();
        // A table may be its own parent: then rows of one statement can be each other's.
        let Some(columns) = columns.filter(|_| parent_name(&key.parent) != parent_name(&plan.name)) else { continue };
        let Some(parent) = session.describe(&key.parent).await? else { continue };
        let Some(lookup) = TablePlan::lookup(Arc::new(parent), &key.parent_columns) else { continue };
        let by_key = has_key(&lookup.description, key.parent_columns.iter().map(|name| &**name));
        parents.push(Parent { constraint: Arc::clone(&key.name), columns, plan: lookup, by_key });
    }
    Ok(parents)
}
