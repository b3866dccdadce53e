use super::*;
use crate::data::{Cell, Column, Kind, Layout, Value};
use crate::driver::{KnownSchemas, TestDecoder, TestRecord};
use crate::error::Stage;
use crate::processor::{Context, Flow, Processor};

/// Maps the key, as a lens does first, and refuses a row without a name.
struct Map;

impl Processor for Map {
    fn process(&mut self, record: &mut Record, context: &mut Context<'_>) -> Result<Flow> {
        let Cell::I64(id) = context.arena.row(record.key)[0] else {
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
