//! Outputs of a batch (rules O): dead letters are stored in `tidelock_outbox` in the transaction in which their record died, numbered per
//! task behind the ledger row, and deleted when the emitter has published them.

use std::collections::BTreeMap;
use std::collections::btree_map::Entry;

use topology::batch::ChangeBatch;
use topology::data::{Cell, Value};
use topology::ledger::TaskKey;
use topology::letter::DeadLetter;
use topology::output::{Output, Published};

use super::attempt::{Progress, own_table_refuses};
use super::claim::task_values;
use super::held_store::now_ms;
use super::told::Told;
use super::{Failure, SqlWriter, bug};
use crate::sql::error::{SqlError, SqlResult};
use crate::sql::statements::outbox_text;

fn failed(error: SqlError) -> Failure {
    Failure::Failed(error.error)
}

impl SqlWriter {
    /// Rule O1. After the held rows, before COMMIT. The numbers go on from the ledger row, which this transaction has locked: what a COMMIT
    /// whose reply was lost has numbered is seen.
    pub(super) async fn store_letters(&mut self, batch: &ChangeBatch, progress: &mut Progress) -> Result<(), Failure> {
        let dead: Vec<&Told> = progress.holding.told.iter().filter(|told| told.is_dead).collect();
        let Some(target) = self.options.dead_letters.clone().filter(|_| !dead.is_empty()) else { return Ok(()) };
        let session = self.session.as_deref_mut().expect("enter() opened a session");
        let now = now_ms(session, &self.statements.now).await.map_err(failed)?;
        // By span the number of its last output.
        let mut last: BTreeMap<usize, i64> = BTreeMap::new();
        for told in &dead {
            if let Entry::Vacant(vacant) = last.entry(told.span) {
                let task = &batch.spans[told.span].task;
                let rows = session.query(&self.statements.outbox_last, &task_values(task)).await.map_err(failed)?;
                let stored = match rows.first().map(Vec::as_slice) {
                    Some([Value::I64(seq)]) => *seq,
                    _ => return Err(Failure::Failed(bug(format!("ledger row of {task} is gone")).error)),
                };
                vacant.insert(stored.max(self.published.get(task).copied().unwrap_or(0)));
            }
        }
        self.scratch.clear();
        let scratch = &mut self.scratch;
        let mut rows = Vec::with_capacity(dead.len());
        for told in dead {
            let task = &batch.spans[told.span].task;
            let seq = last.get_mut(&told.span).expect("read above");
            *seq += 1;
            let headers = DeadLetter {
                task,
                id: told.id,
                entity: &told.table,
                class: told.kind.name(),
                stage: told.stage,
                code: told.code.as_deref(),
                message: &told.message,
                attempts: told.attempts,
                first_failed_at_ms: told.first_failed_at_ms.unwrap_or(now),
                dead_at_ms: now,
                timestamp_ms: told.raw.timestamp_ms,
                source: &told.source,
                headers: told.raw.headers.map_or(&[], |span| batch.arena.bytes(span)),
            }
            .encode_headers();
            let mut cells: Vec<Cell> = task_values(task).iter().map(|value| scratch.push_value(value)).collect();
            let mut bytes = |span: Option<topology::data::Span>| {
                span.map_or(Cell::Null, |span| Cell::Bytes(scratch.push_bytes(batch.arena.bytes(span))))
            };
            let (key, value) = (bytes(told.raw.key), bytes(told.raw.value));
            cells.extend([Cell::I64(*seq), scratch.push_text(&target), key, value]);
            cells.extend([Cell::Bytes(scratch.push_bytes(&headers)), Cell::I64(now)]);
            rows.push(scratch.push_cells(&cells));
        }
        let session = self.session.as_deref_mut().expect("enter() opened a session");
        let written = session.write_rows(&self.own.outbox, &self.scratch, &rows).await;
        written.map_err(own_table_refuses)?;
        for (span, seq) in last {
            let mut values = vec![Value::I64(seq)];
            values.extend(task_values(&batch.spans[span].task));
            session.execute(&self.statements.outbox_seq, &values).await.map_err(failed)?;
        }
        progress.has_outputs = true;
        topology::crash::point("outputs_stored");
        Ok(())
    }

    pub(super) async fn read_outputs(&mut self, after: &[Published], rows_max: usize) -> SqlResult<Vec<Output>> {
        let Some((first, _)) = after.first() else { return Ok(Vec::new()) };
        let text = outbox_text(self.connector.dialect(), after.len());
        let mut values = task_values(first)[..2].to_vec();
        for (task, seq) in after {
            values.extend(task_values(task).into_iter().skip(2));
            values.push(Value::I64(*seq));
        }
        values.push(Value::I64(i64::try_from(rows_max).unwrap_or(i64::MAX)));
        let rows = self.session().query(&text, &values).await?;
        Ok(rows.into_iter().filter_map(|row| output_of(row, after)).collect())
    }

    pub(super) async fn delete_outputs(&mut self, published: &[Published]) -> SqlResult<()> {
        for (task, number) in published.iter().filter(|(_, number)| *number > 0) {
            let mut values = task_values(task).to_vec();
            values.push(Value::I64(*number));
            // No part of any batch, and no CAS: what is published is so for every worker.
            let text = self.statements.outbox_forget.clone();
            self.session().execute(&text, &values).await?;
            topology::crash::point("outputs_deleted");
        }
        Ok(())
    }
}

fn output_of(row: Vec<Value>, after: &[Published]) -> Option<Output> {
    let [
        Value::Text(topic),
        Value::I64(partition),
        Value::I64(seq),
        Value::Text(target),
        key,
        value,
        Value::Bytes(headers),
    ] = <[Value; 7]>::try_from(row).ok()?
    else {
        return None;
    };
    let is_it = |task: &TaskKey| *task.topic == *topic && i64::from(task.partition) == partition;
    let (task, _) = after.iter().find(|(task, _)| is_it(task))?;
    let bytes = |value: Value| match value {
        Value::Bytes(bytes) => Some(bytes),
        _ => None,
    };
    Some(Output { task: task.clone(), seq, target, key: bytes(key), value: bytes(value), headers })
}
