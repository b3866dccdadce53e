use super::*;
use crate::data::{Cell, Value};
use crate::record::{Operation, Record};

const OLD: i64 = 1;
const NEW: i64 = 2;

fn source(position: u64) -> Source {
    Source { identity: 7, position: Some(Position(1, position, 0)), committed_at_us: 10, ..Source::default() }
}

fn mark(position: u64, floor: bool) -> MoveMark {
    MoveMark::of(&source(position), floor).unwrap()
}

/// A key change at position 50, as one change with these halves.
fn change(halves: Halves) -> (ChangeBatch, Change) {
    let mut batch = ChangeBatch::default();
    let [old, new] = [OLD, NEW].map(|key| batch.arena.push_values(&[Value::I64(key)]));
    let row = batch.arena.push_values(&[Value::I64(NEW), "a".into()]);
    let delete =
        Record { operation: Operation::Delete, key: old, new_key: Some(new), source: source(50), ..Record::default() };
    let create = Record { key: new, old_key: Some(old), after: Some(row), source: source(50), ..Record::default() };
    batch.records = match halves {
        Halves::Delete => vec![delete],
        Halves::Create => vec![create],
        Halves::Both => vec![delete, create],
    };
    let last_record = batch.records.len() as u32 - 1;
    let change = match halves {
        Halves::Delete => Change {
            kind: ChangeKind::MoveKey,
            key: old,
            old_key: Some(new),
            row: CellRange::default(),
            first_record: 0,
            last_record,
        },
        _ => Change { kind: ChangeKind::Move, key: new, old_key: Some(old), row, first_record: 0, last_record },
    };
    (batch, change)
}

fn plan(halves: Halves, old_marks: &[MoveMark], new_marks: &[MoveMark], old: bool, new: bool) -> MovePlan {
    let (batch, change) = change(halves);
    assert_eq!(batch.halves(&change), halves);
    let (first, second) = batch.moved_keys(&change);
    assert_eq!([batch.arena.values(first), batch.arena.values(second)], [[Value::I64(OLD)], [Value::I64(NEW)]]);
    plan_move(&batch, &change, old_marks, new_marks, Present { old, new })
}

#[test]
fn the_first_half_renames_and_leaves_a_floor_on_the_other_key() {
    let expected = MovePlan { rename: true, leave: Some((Side::New, mark(50, true))), ..MovePlan::default() };
    assert_eq!(plan(Halves::Delete, &[], &[], true, false), expected);
    let expected =
        MovePlan { rename: true, write_new: true, leave: Some((Side::Old, mark(50, true))), ..MovePlan::default() };
    assert_eq!(plan(Halves::Create, &[], &[], true, false), expected);
}

#[test]
fn a_first_delete_half_that_moves_nothing_leaves_a_mark_without_floor() {
    // The old row under the new key still has changes to come on its own partition, its delete among them.
    let expected = MovePlan { delete_old: true, leave: Some((Side::New, mark(50, false))), ..MovePlan::default() };
    assert_eq!(plan(Halves::Delete, &[], &[], true, true), expected);
    assert_eq!(plan(Halves::Delete, &[], &[], false, false), expected);
}

#[test]
fn the_second_half_takes_its_mark_and_moves_nothing() {
    let marks = [mark(50, true)];
    let expected = MovePlan { take_old: true, delete_old: true, ..MovePlan::default() };
    assert_eq!(plan(Halves::Delete, &marks, &[], true, false), expected);
    let expected = MovePlan { take_new: true, write_new: true, ..MovePlan::default() };
    assert_eq!(plan(Halves::Create, &[], &marks, true, false), expected);
}

#[test]
fn a_half_keeps_its_hands_off_a_key_that_a_later_move_reached() {
    let later = [mark(60, true)];
    assert_eq!(plan(Halves::Delete, &[], &later, true, false), MovePlan { delete_old: true, ..MovePlan::default() });
    assert_eq!(plan(Halves::Create, &later, &[], true, false), MovePlan { write_new: true, ..MovePlan::default() });
    assert_eq!(plan(Halves::Delete, &later, &[], true, false), MovePlan::default());
    assert_eq!(plan(Halves::Create, &[], &later, true, false), MovePlan::default());
}

#[test]
fn both_halves_in_one_batch_rename_and_leave_nothing() {
    let expected = MovePlan { take_old: true, take_new: true, rename: true, write_new: true, ..MovePlan::default() };
    assert_eq!(plan(Halves::Both, &[], &[], true, false), expected);
    let expected = MovePlan { rename: false, delete_old: true, ..expected };
    assert_eq!(plan(Halves::Both, &[], &[], true, true), expected);
}

#[test]
fn a_partial_create_half_renames_or_parks_but_never_inserts() {
    let (mut batch, change) = change(Halves::Create);
    batch.arena.row_mut(change.row)[1] = Cell::Unavailable;
    let plan = |old, new| plan_move(&batch, &change, &[], &[], Present { old, new });
    assert!(plan(true, false).rename && plan(true, false).write_new);
    assert!(plan(false, true).write_new);
    assert_eq!(plan(false, false), MovePlan { park: true, ..MovePlan::default() });
}

#[test]
fn halves_without_a_position_never_move_a_row() {
    let (mut batch, change) = change(Halves::Delete);
    batch.records[0].source = Source::default();
    let plan = plan_move(&batch, &change, &[], &[], Present { old: true, new: false });
    assert_eq!(plan, MovePlan { delete_old: true, ..MovePlan::default() });
}

#[test]
fn only_a_floor_makes_older_changes_stale_and_later_ones_pass() {
    assert_eq!(standing(&[mark(50, false)], &source(49)), Standing::Fresh);
    assert_eq!(standing(&[mark(50, true)], &source(49)), Standing::Stale);
    assert_eq!(standing(&[mark(50, true)], &source(50)), Standing::Second);
    assert_eq!(standing(&[mark(50, true)], &source(51)), Standing::Fresh);
    let other_log = Source { identity: 8, committed_at_us: 10, ..source(90) };
    assert_eq!(standing(&[mark(50, true)], &other_log), Standing::Stale);
    assert_eq!(standing(&[mark(50, true)], &Source { committed_at_us: 11, ..other_log }), Standing::Fresh);
}

#[test]
fn a_mark_survives_the_way_through_its_column() {
    let given = mark(50, true);
    assert_eq!(MoveMark::parse(&given.text(), 10, true), Some(given));
    for text in ["", "00", "é", &"g".repeat(64)] {
        assert_eq!(MoveMark::parse(text, 10, true), None);
    }
}
