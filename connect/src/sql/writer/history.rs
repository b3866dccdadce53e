//! Rows of history tables (`mode: append`): where the change came from, what it was, key and row as JSON.

use topology::batch::{Change, ChangeBatch};
use topology::data::{Arena, Cell, CellRange, Kind};

use super::json;
use super::tables::EntityTable;

/// Columns that a history table must have; no unique key is needed or wanted: a repeat would show.
pub(crate) const HISTORY_COLUMNS: [&str; 6] = ["topic", "partition", "offset", "operation", "key", "row"];

/// Builds the rows of these changes in `scratch`, which is cleared first.
pub(crate) fn rows(
    table: &EntityTable,
    batch: &ChangeBatch,
    scratch: &mut Arena,
    changes: &[Change],
) -> Vec<CellRange> {
    scratch.clear();
    let is_json = |at: usize| table.plan.columns[at].kind == Kind::Json;
    let (key_json, row_json) = (is_json(4), is_json(5));
    let mut rows = Vec::with_capacity(changes.len());
    for change in changes {
        let record = &batch.records[change.first_record as usize];
        let task = &batch.span_of(record.slot).task;
        let topic = scratch.push_text(&task.topic);
        let mut letter = [0u8; 4];
        let operation = scratch.push_text(record.operation.letter().encode_utf8(&mut letter));
        let key_columns = table.mapped.key.iter().map(|at| &table.mapped.columns[*at]);
        let key = json::object(scratch, &batch.arena, key_columns, change.key, key_json);
        let row = json::object(scratch, &batch.arena, table.mapped.columns.iter(), change.row, row_json);
        let cells = [topic, Cell::I64(i64::from(task.partition)), Cell::I64(record.offset), operation, key, row];
        rows.push(scratch.push_cells(&cells));
    }
    rows
}
