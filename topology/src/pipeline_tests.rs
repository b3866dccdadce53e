use super::*;
use crate::data::{Cell, Column, Kind, Layout, Value};
use crate::driver::{KnownSchemas, TestDecoder, TestRecord};
use crate::error::Stage;
use crate::processor::{Context, Flow, Processor};

/// Maps the key, as a lens does first, and refuses a row without a name.
struct Map;

impl Processor for Map {
    fn process(&mut self, record: &mut Record, context: &mut Context<'_>) -> Result<Flow> {
        let Some(Cell::I64(id)) = context.arena.row(record.key).first().copied() else {
            return Err(Error::data(Stage::Map, "cannot map record", "the key is no number"));
        };
        record.key = context.arena.push_cells(&[Cell::I64(id * 10)]);
        let row = record.after.map(|row| context.arena.row(row)).unwrap_or_default();
        if row.iter().any(|cell| cell.is_null()) {
            return Err(Error::data(Stage::Map, "cannot map record", "name is NULL"));
        }
        Ok(Flow::Forward)
    }
}

fn pipeline() -> Pipeline {
    let column = |name: &str| Column { name: name.into(), kind: Kind::Json, nullable: true };
    let row = Layout { columns: vec![column("id"), column("name")] };
    let key = Layout { columns: vec![column("id")] };
    let topology =
        Topology::builder().source("users", &["t"]).map("lens", "users", Box::new(Map)).sink("target", "lens");
    let settings = TopicSettings { name: "t".to_owned(), entity: EntityId(0), truncate: TruncateMode::Halt };
    let decoder = TestDecoder::new(vec![(row, key)], KnownSchemas::default());
    Pipeline::new(Box::new(decoder), topology.build().unwrap(), vec![settings]).unwrap()
}

fn dead_key(id: Value) -> Option<Vec<Value>> {
    let after = Some(vec![id.clone(), Value::Null]);
    let bytes = TestRecord { key: vec![id], after, ..TestRecord::default() }.encode();
    let raw = RawRecord {
        topic: 0,
        offset: 7,
        timestamp_ms: 0,
        key: Some(&bytes.key),
        value: bytes.value.as_deref(),
        headers: &bytes.headers,
    };
    let mut batch = ChangeBatch::default();
    assert!(matches!(pipeline().push(Slot(0), &raw, None, &mut batch), Pushed::Done));
    assert!(batch.records.is_empty());
    batch.dead[0].key.map(|key| batch.arena.values(key))
}

#[test]
fn a_record_that_fails_after_its_key_was_mapped_is_dead_with_that_key() {
    assert_eq!(dead_key(Value::I64(4)), Some(vec![Value::I64(40)]));
}

#[test]
fn a_record_whose_key_cannot_be_mapped_is_dead_without_one() {
    assert_eq!(dead_key("four".into()), None);
}

/// Bytes of a change of one row at a place in the source's log.
fn change_at(at: u64, operation: Operation, key: Vec<Value>) -> crate::driver::TestBytes {
    let after = (operation != Operation::Truncate).then(|| vec![Value::I64(4), "a".into()]);
    let position = Some(crate::record::Position(1, at, 0));
    TestRecord { operation, key, after, identity: 7, position, committed_at_us: 1, ..TestRecord::default() }.encode()
}

fn raw_of(bytes: &crate::driver::TestBytes, offset: i64) -> RawRecord<'_> {
    RawRecord {
        topic: 0,
        offset,
        timestamp_ms: 0,
        key: (!bytes.key.is_empty()).then_some(&*bytes.key),
        value: bytes.value.as_deref(),
        headers: &bytes.headers,
    }
}

#[test]
fn a_record_that_stops_its_task_is_no_resend_when_it_is_read_again() {
    // given a change, and behind it a truncate that nobody has decided about
    let mut pipeline = pipeline();
    let (mut marks, mut batch) = (Marks::default(), ChangeBatch::default());
    let insert = change_at(5, Operation::Create, vec![Value::I64(4)]);
    assert!(matches!(pipeline.push(Slot(0), &raw_of(&insert, 0), Some(&mut marks), &mut batch), Pushed::Done));
    let committed = marks.clone();
    let truncate = change_at(6, Operation::Truncate, vec![]);
    assert!(matches!(pipeline.push(Slot(0), &raw_of(&truncate, 1), Some(&mut marks), &mut batch), Pushed::Halt(_)));
    // when what was before it is committed and it is read again
    assert_eq!(marks, committed);
    // then it is not taken for something that has been there
    assert!(matches!(pipeline.push(Slot(0), &raw_of(&truncate, 1), Some(&mut marks), &mut batch), Pushed::Halt(_)));
    assert!(matches!(pipeline.push(Slot(0), &raw_of(&insert, 2), Some(&mut marks), &mut batch), Pushed::Done));
    assert_eq!(batch.records.len(), 1, "a real resend still is one");
}

/// PostgreSQL gives all rows of one COPY the same place in its log.
#[test]
fn rows_of_a_table_without_key_at_one_place_of_the_log_are_told_apart() {
    let mut pipeline = pipeline();
    let (mut marks, mut batch) = (Marks::default(), ChangeBatch::default());
    let row = |name: &str| {
        let after = Some(vec![Value::I64(4), name.into()]);
        let position = Some(crate::record::Position(1, 5, 0));
        TestRecord { after, identity: 7, position, committed_at_us: 1, ..TestRecord::default() }.encode()
    };
    let rows = ["a", "b", "c"].map(row);
    for (offset, bytes) in rows.iter().chain(&rows).enumerate() {
        let raw = RawRecord { key: None, ..raw_of(bytes, offset as i64) };
        assert!(matches!(pipeline.push(Slot(0), &raw, Some(&mut marks), &mut batch), Pushed::Done));
    }
    assert_eq!(batch.records.len() + batch.dead.len(), 3, "each of them once");
}
