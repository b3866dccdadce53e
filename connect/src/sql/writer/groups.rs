//! Sorts the changes of one table into groups that one statement can write.

use topology::batch::{Change, ChangeKind};
use topology::data::{Arena, CellRange};

use super::tables::EntityTable;

/// What one group does.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum GroupKind {
    /// Key changes, row by row (rule B5).
    Move,
    /// Delete, then insert (rule B3).
    Replace,
    Upsert,
    InsertIfAbsent,
    /// Partial rows with the same available columns: index in [`EntityTable::updates`].
    Update(usize),
    /// Partial rows without any column but the key: only checked to be there.
    Check,
    Append,
    Delete,
}

/// Changes of one table that go together, sorted by key.
#[derive(Clone, Debug)]
pub(crate) struct Group {
    pub(crate) kind: GroupKind,
    pub(crate) changes: Vec<Change>,
}

/// Groups changes in the order they are written: moves make room for keys first; deletes are left out unless `deletes`, and then alone.
pub(crate) fn groups(
    table: &mut EntityTable,
    arena: &Arena,
    changes: impl Iterator<Item = Change>,
    deletes: bool,
) -> Vec<Group> {
    let mut groups: Vec<Group> = Vec::new();
    let mut last = usize::MAX;
    for change in changes {
        if (change.kind == ChangeKind::Delete) != deletes {
            continue;
        }
        let kind = kind_of(table, arena, &change);
        // Neighbours mostly do the same.
        if groups.get(last).is_none_or(|group| group.kind != kind) {
            last = groups.iter().position(|group| group.kind == kind).unwrap_or_else(|| {
                groups.push(Group { kind, changes: Vec::new() });
                groups.len() - 1
            });
        }
        groups[last].changes.push(change);
    }
    groups.sort_by_key(|group| rank(group.kind));
    groups
}

fn rank(kind: GroupKind) -> usize {
    match kind {
        GroupKind::Move => 0,
        GroupKind::Replace => 1,
        GroupKind::Upsert => 2,
        GroupKind::InsertIfAbsent => 3,
        GroupKind::Update(at) => 5 + at,
        GroupKind::Check => 4,
        GroupKind::Append | GroupKind::Delete => usize::MAX,
    }
}

/// The group of one change. Makes the shapes that it needs.
pub(crate) fn kind_of(table: &mut EntityTable, arena: &Arena, change: &Change) -> GroupKind {
    match change.kind {
        ChangeKind::Upsert => GroupKind::Upsert,
        ChangeKind::InsertIfAbsent => GroupKind::InsertIfAbsent,
        ChangeKind::Update => update_kind(table, arena, change.row),
        ChangeKind::Delete => GroupKind::Delete,
        ChangeKind::Replace => GroupKind::Replace,
        ChangeKind::MoveKey => GroupKind::Move,
        ChangeKind::Move => {
            if arena.row(change.row).iter().any(|cell| cell.is_unavailable()) {
                update_kind(table, arena, change.row);
            }
            GroupKind::Move
        }
        ChangeKind::Append => GroupKind::Append,
    }
}

/// How a partial row is updated; `None` for a whole one. [`kind_of`] made the shape.
pub(crate) fn kind_of_row(table: &EntityTable, arena: &Arena, row: CellRange) -> Option<GroupKind> {
    if !arena.row(row).iter().any(|cell| cell.is_unavailable()) {
        return None;
    }
    Some(find_update(table, arena, row).unwrap_or(GroupKind::Check))
}

fn available<'a>(table: &'a EntityTable, arena: &'a Arena, row: CellRange) -> impl Iterator<Item = usize> + 'a {
    let cells = arena.row(row);
    (0..table.plan.columns.len()).filter(move |at| !cells[*at].is_unavailable() && !table.plan.key.contains(at))
}

fn find_update(table: &EntityTable, arena: &Arena, row: CellRange) -> Option<GroupKind> {
    let mut shapes = table.updates.iter();
    shapes.position(|shape| available(table, arena, row).eq(shape.columns.iter().copied())).map(GroupKind::Update)
}

fn update_kind(table: &mut EntityTable, arena: &Arena, row: CellRange) -> GroupKind {
    if let Some(kind) = find_update(table, arena, row) {
        return kind;
    }
    let columns: Vec<usize> = available(table, arena, row).collect();
    if columns.is_empty() { GroupKind::Check } else { GroupKind::Update(table.update_shape(&columns)) }
}
