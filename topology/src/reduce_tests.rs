use super::*;
use crate::data::Value;

/// Entity 0, key = first column, rows of (id, a, b).
#[derive(Default)]
struct Given {
    batch: ChangeBatch,
}

impl Given {
    fn record(&mut self, operation: Operation, id: i64, row: Option<(Value, Value)>) -> &mut Record {
        let key = self.batch.arena.push_values(&[Value::I64(id)]);
        let after = row.map(|(a, b)| self.batch.arena.push_values(&[Value::I64(id), a, b]));
        self.batch.records.push(Record { operation, key, after, ..Record::default() });
        self.batch.records.last_mut().unwrap()
    }

    fn upsert(&mut self, id: i64, a: &str) {
        self.record(Operation::Update, id, Some((a.into(), "b".into())));
    }

    fn partial(&mut self, id: i64, a: &str) {
        self.record(Operation::Update, id, Some((a.into(), Value::Unavailable)));
    }

    fn delete(&mut self, id: i64) {
        self.record(Operation::Delete, id, None);
    }

    fn delete_half(&mut self, old: i64, new: i64) {
        let new_key = self.batch.arena.push_values(&[Value::I64(new)]);
        self.record(Operation::Delete, old, None).new_key = Some(new_key);
    }

    fn create_half(&mut self, old: i64, new: i64, a: &str) {
        let old_key = self.batch.arena.push_values(&[Value::I64(old)]);
        self.record(Operation::Create, new, Some((a.into(), "b".into()))).old_key = Some(old_key);
    }

    /// Per stage: (kind, key, a, b).
    fn reduced(&mut self) -> Vec<Vec<(ChangeKind, i64, Vec<Value>)>> {
        let tables = [ReduceTable { mode: WriteMode::Mirror, snapshot: SnapshotMode::InsertIfAbsent }];
        Reducer::default().reduce(&mut self.batch, &tables, &[EntityId(0)]);
        let batch = &self.batch;
        let show = |change: &Change| {
            let Value::I64(id) = batch.arena.value(batch.arena.row(change.key)[0]) else { panic!("key") };
            (change.kind, id, batch.arena.values(change.row).into_iter().skip(1).collect())
        };
        batch.stages.iter().map(|stage| stage.tables[0].changes.iter().map(show).collect()).collect()
    }
}

fn row(a: &str) -> Vec<Value> {
    vec![a.into(), "b".into()]
}

#[test]
fn many_updates_of_one_key_become_the_last_one_and_keys_are_sorted() {
    let mut given = Given::default();
    for (id, a) in [(2, "x"), (1, "y"), (2, "z")] {
        given.upsert(id, a);
    }
    assert_eq!(given.reduced(), [vec![(ChangeKind::Upsert, 1, row("y")), (ChangeKind::Upsert, 2, row("z"))]]);
    let change = given.batch.stages[0].tables[0].changes[1];
    assert_eq!(given.batch.records_of(&change).collect::<Vec<_>>(), [0, 2]);
}

#[test]
fn an_unavailable_cell_takes_the_value_of_the_earlier_change() {
    let mut given = Given::default();
    given.upsert(1, "x");
    given.partial(1, "y");
    assert_eq!(given.reduced(), [vec![(ChangeKind::Upsert, 1, row("y"))]]);
}

#[test]
fn a_row_with_an_unavailable_cell_is_only_ever_updated() {
    let mut given = Given::default();
    given.partial(1, "x");
    given.partial(1, "y");
    assert_eq!(given.reduced(), [vec![(ChangeKind::Update, 1, vec!["y".into(), Value::Unavailable])]]);
}

#[test]
fn delete_then_insert_replaces_and_insert_then_delete_deletes() {
    let mut given = Given::default();
    given.delete(1);
    given.upsert(1, "x");
    given.upsert(2, "y");
    given.delete(2);
    assert_eq!(given.reduced(), [vec![(ChangeKind::Replace, 1, row("x")), (ChangeKind::Delete, 2, vec![])]]);
}

#[test]
fn both_halves_of_a_key_change_become_one_move_that_later_updates_join() {
    let mut given = Given::default();
    given.delete_half(1, 2);
    given.create_half(1, 2, "x");
    given.upsert(2, "y");
    assert_eq!(given.reduced(), [vec![(ChangeKind::Move, 2, row("y"))]]);
    let change = given.batch.stages[0].tables[0].changes[0];
    assert_eq!(given.batch.records_of(&change).collect::<Vec<_>>(), [0, 1, 2]);
    assert_eq!(given.batch.arena.values(change.old_key.unwrap()), [Value::I64(1)]);
}

#[test]
fn halves_that_come_the_other_way_round_are_one_move_too() {
    let mut given = Given::default();
    given.create_half(1, 2, "x");
    given.upsert(2, "y");
    given.delete_half(1, 2);
    assert_eq!(given.reduced(), [vec![(ChangeKind::Move, 2, row("y"))]]);
    let change = given.batch.stages[0].tables[0].changes[0];
    assert_eq!(given.batch.records_of(&change).collect::<Vec<_>>(), [2, 0, 1]);
    assert_eq!(given.batch.halves(&change), crate::moves::Halves::Both);
}

#[test]
fn halves_of_different_key_changes_never_become_one_move() {
    let mut given = Given::default();
    given.delete_half(1, 2);
    given.create_half(1, 2, "x");
    given.batch.records[1].source.position = Some(crate::record::Position(1, 2, 3));
    let kinds: Vec<_> = given.reduced().into_iter().map(|stage| stage[0].0).collect();
    assert_eq!(kinds, [ChangeKind::MoveKey, ChangeKind::Move]);
}

#[test]
fn a_change_of_the_vacated_key_waits_for_the_next_stage() {
    let mut given = Given::default();
    given.delete_half(1, 2);
    given.create_half(1, 2, "x");
    given.upsert(1, "again");
    assert_eq!(given.reduced(), [vec![(ChangeKind::Move, 2, row("x"))], vec![(ChangeKind::Upsert, 1, row("again"))]]);
}

#[test]
fn a_key_change_after_an_update_of_the_old_key_starts_a_stage() {
    let mut given = Given::default();
    given.upsert(1, "before");
    given.delete_half(1, 2);
    given.create_half(1, 2, "after");
    assert_eq!(
        given.reduced(),
        [vec![(ChangeKind::Upsert, 1, row("before"))], vec![(ChangeKind::Move, 2, row("after"))]]
    );
}

#[test]
fn a_lone_create_half_after_a_change_of_its_old_key_starts_a_stage() {
    let mut given = Given::default();
    given.upsert(1, "before");
    given.create_half(1, 2, "after");
    assert_eq!(given.reduced().len(), 2);
}

#[test]
fn a_truncate_starts_a_stage_and_clears_what_came_before() {
    let mut given = Given::default();
    given.upsert(1, "x");
    given.record(Operation::Truncate, 0, None);
    given.upsert(2, "y");
    given.reduced();
    assert_eq!(given.batch.stages.len(), 2);
    assert_eq!(given.batch.stages[1].truncates, [1], "the record that says so");
    assert_eq!(given.batch.stages[1].tables[0].changes.len(), 1);
}

#[test]
fn a_snapshot_read_of_a_two_way_entity_never_merges_with_a_change() {
    let mut given = Given::default();
    given.record(Operation::Read, 1, Some(("snapshot".into(), "b".into())));
    given.upsert(1, "live");
    assert_eq!(
        given.reduced(),
        [vec![(ChangeKind::InsertIfAbsent, 1, row("snapshot"))], vec![(ChangeKind::Upsert, 1, row("live"))]]
    );
}
