//! Writes one group, or a part of it, with as few statements as the engine allows.

use topology::batch::{Change, ChangeBatch, ChangeKind};
use topology::data::{Arena, Cell, CellRange};
use topology::{Error, ErrorKind, Stage};

use super::groups::GroupKind;
use super::history;
use super::tables::EntityTable;
use crate::sql::connection::SqlConnection;
use crate::sql::error::{SqlError, SqlResult};
use crate::sql::plan::Written;

/// What a parked partial update waits for: its own row (rule B3).
pub(crate) const WAITS_FOR_ROW: &str = "row";

/// Code of a partial update whose row is not there.
pub(crate) const ROW_MISSING: &str = "row-missing";

/// Writes some changes of one group. `scratch` takes history rows.
pub(crate) async fn write(
    session: &mut dyn SqlConnection,
    table: &EntityTable,
    batch: &ChangeBatch,
    scratch: &mut Arena,
    kind: GroupKind,
    changes: &[Change],
) -> SqlResult<Written> {
    let arena = &batch.arena;
    let rows = || changes.iter().map(|change| change.row).collect::<Vec<CellRange>>();
    let keys = || changes.iter().map(|change| change.key).collect::<Vec<CellRange>>();
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
                move_one(session, table, arena, change).await?;
                written.matched += 1;
            }
            Ok(written)
        }
        GroupKind::Append => {
            let rows = history::rows(table, batch, scratch, changes);
            session.write_rows(&table.insert, scratch, &rows).await
        }
    }
}

fn row_missing(table: &EntityTable) -> SqlError {
    let detail = format!("table {:?}: a partial update found no row with its key", table.plan.name);
    SqlError::known(Error::new(ErrorKind::Dependency, Stage::Write, "cannot update row", detail).with_code(ROW_MISSING))
}

/// One key change (rule B5). Renaming instead of deleting keeps children that the source kept.
async fn move_one(
    session: &mut dyn SqlConnection,
    table: &EntityTable,
    arena: &Arena,
    change: &Change,
) -> SqlResult<()> {
    let other = change.old_key.unwrap_or_default();
    let (old_key, new_key) = match change.kind {
        ChangeKind::MoveKey => (change.key, other),
        _ => (other, change.key),
    };
    let present = session.present(&table.plan, arena, &[old_key, new_key]).await?;
    let (old_present, new_present) = (present.first() == Some(&true), present.get(1) == Some(&true));
    let is_same = arena.compare_rows(old_key, new_key).is_eq();
    if old_present && !is_same {
        if new_present {
            session.write_rows(&table.delete, arena, &[old_key]).await?;
        } else {
            session.write_rows(&table.rename, arena, &[old_key, new_key]).await?;
        }
    }
    if change.kind == ChangeKind::Move {
        session.write_rows(&table.upsert, arena, &[change.row]).await?;
    }
    Ok(())
}

/// Moves counters behind written columns past the explicit ids of these rows (`ids: same`); at most once per batch and table.
pub(crate) async fn advance_sequences(
    session: &mut dyn SqlConnection,
    table: &mut EntityTable,
    arena: &Arena,
    rows: impl Iterator<Item = CellRange> + Clone,
) -> SqlResult<()> {
    for (at, mark, _) in &mut table.sequence_marks {
        let highest = rows
            .clone()
            .filter_map(|row| match arena.row(row).get(*at) {
                Some(Cell::I64(id)) => Some(*id),
                Some(Cell::U64(id)) => i64::try_from(*id).ok(),
                _ => None,
            })
            .max();
        if let Some(highest) = highest
            && highest > *mark
        {
            session.advance_sequence(&table.plan, *at, highest).await?;
            *mark = highest;
        }
    }
    Ok(())
}
