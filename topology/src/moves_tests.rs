use super::*;
use crate::data::{Cell, Value};
use crate::record::{Operation, Position, Record, Source};

const OLD: i64 = 1;
const NEW: i64 = 2;
const LEAVE_DONE: WordChange = WordChange::Leave(Word::Done);

/// A key change at position 50, as one change with these halves.
fn change(halves: Halves) -> (ChangeBatch, Change) {
    let mut batch = ChangeBatch::default();
    let [old, new] = [OLD, NEW].map(|key| batch.arena.push_values(&[Value::I64(key)]));
    let row = batch.arena.push_values(&[Value::I64(NEW), "a".into()]);
    let source = Source { identity: 7, position: Some(Position(1, 50, 0)), ..Source::default() };
    let delete = Record { operation: Operation::Delete, key: old, new_key: Some(new), source, ..Record::default() };
    let create = Record { key: new, old_key: Some(old), after: Some(row), source, ..Record::default() };
    batch.records = match halves {
        Halves::Delete => vec![delete],
        Halves::Create => vec![create],
        Halves::Both => vec![delete, create],
    };
    let last_record = batch.records.len() as u32 - 1;
    let (kind, key, other, row) = match halves {
        Halves::Delete => (ChangeKind::MoveKey, old, new, CellRange::default()),
        _ => (ChangeKind::Move, new, old, row),
    };
    (batch, Change { kind, key, old_key: Some(other), row, first_record: 0, last_record })
}

fn plan(halves: Halves, word: Option<Word>, old: bool, new: bool, is_alone: bool) -> MovePlan {
    let (batch, change) = change(halves);
    assert_eq!(batch.halves(&change), halves);
    let (first, second) = batch.moved_keys(&change);
    assert_eq!([batch.arena.values(first), batch.arena.values(second)], [[Value::I64(OLD)], [Value::I64(NEW)]]);
    plan_move(&batch, &change, Present { old, new, word, is_alone })
}

#[test]
fn the_first_half_parks_and_leaves_word() {
    for (halves, word) in [(Halves::Delete, Word::DeleteWaits), (Halves::Create, Word::CreateWaits)] {
        let expected = MovePlan { park: true, word: WordChange::Leave(word), ..MovePlan::default() };
        assert_eq!(plan(halves, None, true, false, false), expected);
        assert_eq!(plan(halves, Some(word), true, false, false), expected);
    }
}

#[test]
fn the_second_half_moves_the_row_and_wakes_the_first() {
    let expected = MovePlan { rename: true, word: LEAVE_DONE, wake: true, ..MovePlan::default() };
    assert_eq!(plan(Halves::Delete, Some(Word::CreateWaits), true, false, false), expected);
    let expected = MovePlan { write_new: true, ..expected };
    assert_eq!(plan(Halves::Create, Some(Word::DeleteWaits), true, false, false), expected);
    // Nothing to move, or a row of somebody else under the new key.
    let expected = MovePlan { rename: false, ..expected };
    assert_eq!(plan(Halves::Create, Some(Word::DeleteWaits), false, false, false), expected);
    let expected = MovePlan { delete_old: true, ..expected };
    assert_eq!(plan(Halves::Create, Some(Word::DeleteWaits), true, true, false), expected);
}

#[test]
fn the_half_that_finds_everything_done_does_its_plain_rest() {
    let expected = MovePlan { delete_old: true, word: WordChange::Take, ..MovePlan::default() };
    assert_eq!(plan(Halves::Delete, Some(Word::Done), true, false, false), expected);
    let expected = MovePlan { write_new: true, word: WordChange::Take, ..MovePlan::default() };
    assert_eq!(plan(Halves::Create, Some(Word::Done), true, true, false), expected);
}

#[test]
fn when_both_halves_are_held_either_of_them_may_move_the_row() {
    assert_eq!(word_when_held(Halves::Create, Some(Word::DeleteWaits)), Some(Word::BothWait));
    assert_eq!(word_when_held(Halves::Delete, Some(Word::CreateWaits)), Some(Word::BothWait));
    for halves in [Halves::Delete, Halves::Create] {
        for is_alone in [false, true] {
            let plan = plan(halves, Some(Word::BothWait), true, false, is_alone);
            let expected = MovePlan { rename: true, word: LEAVE_DONE, wake: true, ..MovePlan::default() };
            assert_eq!(plan, MovePlan { write_new: halves == Halves::Create, ..expected });
        }
    }
    // Whoever comes first says so; nothing else is replaced.
    assert_eq!(word_when_held(Halves::Create, None), Some(Word::CreateWaits));
    assert_eq!(word_when_held(Halves::Delete, None), Some(Word::DeleteWaits));
    for (halves, word) in [
        (Halves::Delete, Word::DeleteWaits),
        (Halves::Create, Word::CreateWaits),
        (Halves::Delete, Word::BothWait),
        (Halves::Create, Word::BothWait),
        (Halves::Delete, Word::Done),
        (Halves::Create, Word::Done),
        (Halves::Both, Word::DeleteWaits),
    ] {
        assert_eq!(word_when_held(halves, Some(word)), None, "{halves:?} {word:?}");
    }
}

#[test]
fn a_half_whose_partner_never_comes_gives_up_and_says_so() {
    let expected = MovePlan { delete_old: true, word: LEAVE_DONE, ..MovePlan::default() };
    assert_eq!(plan(Halves::Delete, Some(Word::DeleteWaits), true, false, true), expected);
    let expected = MovePlan { write_new: true, word: LEAVE_DONE, ..MovePlan::default() };
    assert_eq!(plan(Halves::Create, Some(Word::CreateWaits), true, false, true), expected);
}

#[test]
fn both_halves_in_one_batch_move_at_once() {
    let expected = MovePlan { rename: true, write_new: true, ..MovePlan::default() };
    assert_eq!(plan(Halves::Both, None, true, false, false), expected);
    let expected = MovePlan { rename: false, delete_old: true, ..expected };
    assert_eq!(plan(Halves::Both, None, true, true, false), expected);
}

#[test]
fn a_partial_row_is_never_inserted() {
    let (mut batch, change) = change(Halves::Create);
    batch.arena.row_mut(change.row)[1] = Cell::Unavailable;
    let plan = |word, old, new| plan_move(&batch, &change, Present { old, new, word, is_alone: false });
    let park = MovePlan { park: true, ..MovePlan::default() };
    assert!(plan(Some(Word::DeleteWaits), true, false).rename);
    assert!(plan(Some(Word::Done), false, true).write_new);
    assert_eq!(plan(Some(Word::DeleteWaits), false, false), park);
    assert_eq!(plan(Some(Word::Done), false, false), park);
}

#[test]
fn halves_without_a_position_do_their_plain_parts() {
    let (mut batch, change) = change(Halves::Delete);
    batch.records[0].source = Source::default();
    let plan = plan_move(&batch, &change, Present { old: true, new: false, word: None, is_alone: false });
    assert_eq!(plan, MovePlan { delete_old: true, ..MovePlan::default() });
}

#[test]
fn both_halves_have_one_name_and_other_key_changes_another() {
    let [(first, delete), (second, create), (both, whole)] = [Halves::Delete, Halves::Create, Halves::Both].map(change);
    let name = pair_id(&first, &delete).unwrap();
    assert_eq!(pair_id(&second, &create).unwrap(), name);
    assert_eq!(pair_id(&both, &whole).unwrap(), name);
    let (mut other, later) = change(Halves::Create);
    other.records[0].source.position = Some(Position(1, 51, 0));
    assert_ne!(pair_id(&other, &later).unwrap(), name);
}

#[test]
fn a_word_survives_the_way_through_its_column() {
    for word in [Word::DeleteWaits, Word::CreateWaits, Word::BothWait, Word::Done] {
        assert_eq!(Word::parse(word.name()), Some(word));
    }
    assert_eq!(Word::parse("new"), None);
}

#[test]
fn halves_know_each_other_and_not_those_of_a_log_that_began_anew() {
    let name = |halves, committed_at_us| {
        let (mut batch, change) = change(halves);
        batch.records[0].source.committed_at_us = committed_at_us;
        pair_id(&batch, &change).expect("it has a position")
    };
    assert_eq!(name(Halves::Delete, 5), name(Halves::Create, 5));
    assert_ne!(name(Halves::Delete, 5), name(Halves::Create, 6), "the same place of another log, later (D3)");
}
