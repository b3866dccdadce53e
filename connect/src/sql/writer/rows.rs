//! Writes one group, or a part of it, with as few statements as the engine allows.

use std::sync::Arc;

use topology::batch::{Change, ChangeBatch};
use topology::data::{Arena, Cell, CellRange};
use topology::{Error, ErrorKind, Stage};

use super::groups::GroupKind;
use super::moves::ParkedHalf;
use super::tables::{EntityTable, OwnTables};
use super::{history, moves};
use crate::sql::connection::SqlConnection;
use crate::sql::error::{SqlError, SqlResult};
use crate::sql::plan::Written;
use crate::sql::statements::Statements;

/// What a parked partial update waits for: its own row (rule B3).
pub(crate) const WAITS_FOR_ROW: &str = "row";

/// Code of a partial update whose row is not there.
pub(crate) const ROW_MISSING: &str = "row-missing";

/// What all writes of a transaction share.
pub(crate) struct Writing<'a> {
    pub(crate) session: &'a mut dyn SqlConnection,
    pub(crate) statements: &'a Statements,
    pub(crate) own: &'a OwnTables,
    pub(crate) batch: &'a ChangeBatch,
    /// Rows of history tables and of our own.
    pub(crate) scratch: &'a mut Arena,
}

/// What key changes ask for besides rows (rule B5).
#[derive(Debug, Default)]
pub(crate) struct MoveNotes {
    /// Halves that wait.
    pub(crate) parked: Vec<ParkedHalf>,
    /// Held rows that wait for these are due.
    pub(crate) wakes: Vec<Arc<str>>,
}

/// Writes some changes of one group.
pub(crate) async fn write(
    writing: &mut Writing<'_>,
    table: &EntityTable,
    kind: GroupKind,
    changes: &[Change],
    notes: &mut MoveNotes,
) -> SqlResult<Written> {
    let batch = writing.batch;
    let arena = &batch.arena;
    let rows = || changes.iter().map(|change| change.row).collect::<Vec<CellRange>>();
    let keys = || changes.iter().map(|change| change.key).collect::<Vec<CellRange>>();
    let session = &mut *writing.session;
    match kind {
        GroupKind::Upsert => session.write_rows(&table.upsert, arena, &rows()).await,
        GroupKind::InsertIfAbsent => session.write_rows(&table.insert_if_absent, arena, &rows()).await,
        GroupKind::Delete => {
            let written = session.write_rows(&table.delete, arena, &keys()).await?;
            let unchanged = (changes.len() as u64).saturating_sub(written.matched);
            Ok(Written { matched: changes.len() as u64, unchanged, differs: 0 })
        }
        GroupKind::Replace => {
            session.write_rows(&table.delete, arena, &keys()).await?;
            session.write_rows(&table.upsert, arena, &rows()).await
        }
        GroupKind::Update(at) => {
            let written = session.write_rows(&table.updates[at], arena, &rows()).await?;
            if written.matched < changes.len() as u64 { Err(row_missing(table)) } else { Ok(written) }
        }
        GroupKind::Check => {
            let present = session.present(&table.plan, arena, &keys()).await?;
            if present.contains(&false) {
                return Err(row_missing(table));
            }
            let count = changes.len() as u64;
            Ok(Written { matched: count, unchanged: count, differs: 0 })
        }
        GroupKind::Move => {
            let mut written = Written::default();
            for change in changes {
                moves::move_one(writing, table, change, notes).await?;
                written.matched += 1;
            }
            Ok(written)
        }
        GroupKind::Append => {
            let rows = history::rows(table, batch, writing.scratch, changes);
            session.write_rows(&table.insert, writing.scratch, &rows).await
        }
    }
}

pub(crate) fn row_missing(table: &EntityTable) -> SqlError {
    let detail = format!("table {:?}: a partial update found no row with its key", table.plan.name);
    SqlError::known(Error::new(ErrorKind::Dependency, Stage::Write, "cannot update row", detail).with_code(ROW_MISSING))
}

/// Moves counters behind written columns past the explicit ids of these rows (`ids: same`); at most once per batch and table.
pub(crate) async fn advance_sequences(
    session: &mut dyn SqlConnection,
    table: &mut EntityTable,
    arena: &Arena,
    rows: impl Iterator<Item = CellRange> + Clone,
) -> SqlResult<()> {
    for mark in &mut table.sequence_marks {
        // What the sequence can't give itself, it can't give twice: an `integer` sequence behind a column that became `bigint`.
        let highest = rows
            .clone()
            .filter_map(|row| match arena.row(row).get(mark.column) {
                Some(Cell::I64(id)) => Some(*id),
                Some(Cell::U64(id)) => i64::try_from(*id).ok(),
                _ => None,
            })
            .filter(|id| *id <= mark.last)
            .max();
        if let Some(highest) = highest
            && highest > mark.moved_past
        {
            session.advance_sequence(&table.plan, mark.column, highest).await?;
            mark.moved_past = highest;
        }
    }
    Ok(())
}
