//! Outputs of a batch (rules O): dead letters are stored in `tidelock_outbox` in the transaction in which their record died, numbered per
//! task behind the ledger row, and deleted when the emitter has published them.

use topology::ErrorKind;
use topology::batch::{ChangeBatch, HeldId};
use topology::data::{Cell, Value};
use topology::ledger::TaskKey;
use topology::letter::DeadLetter;
use topology::output::{Output, Published};
use topology::record::{Raw, Source};

use super::attempt::{Progress, with_entity};
use super::claim::task_values;
use super::held_store::now_ms;
use super::{Failure, SqlWriter};
use crate::sql::error::{SqlError, SqlResult};
use crate::sql::statements::outbox_text;
use topology::Error;

/// A record that died in this transaction.
pub(crate) struct Letter {
    pub(crate) span: usize,
    pub(crate) id: HeldId,
    pub(crate) entity: std::sync::Arc<str>,
    pub(crate) class: &'static str,
    pub(crate) stage: &'static str,
    pub(crate) code: Option<String>,
    pub(crate) message: String,
    pub(crate) attempts: i64,
    /// `None`: in this transaction.
    pub(crate) first_failed_at_ms: Option<i64>,
    pub(crate) source: Source,
    pub(crate) raw: Raw,
}

fn failed(error: SqlError) -> Failure {
    Failure::Failed(error.error)
}

impl SqlWriter {
    /// Rule O1. After the held rows, before COMMIT.
    pub(super) async fn store_letters(&mut self, batch: &ChangeBatch, progress: &mut Progress) -> Result<(), Failure> {
        let letters = std::mem::take(&mut progress.letters);
        let Some(target) = self.options.dead_letters.clone().filter(|_| !letters.is_empty()) else { return Ok(()) };
        let session = self.session.as_deref_mut().expect("enter() opened a session");
        let now = now_ms(session, &self.statements.now).await.map_err(failed)?;
        self.scratch.clear();
        let scratch = &mut self.scratch;
        let mut rows = Vec::with_capacity(letters.len());
        for letter in &letters {
            let task = &batch.spans[letter.span].task;
            let known = progress.outbox_seqs.iter_mut().find(|(span, _)| *span == letter.span);
            let seq = match known {
                Some((_, seq)) => {
                    *seq += 1;
                    *seq
                }
                None => {
                    let seq = self.outbox_seqs.get(task).copied().unwrap_or(0) + 1;
                    progress.outbox_seqs.push((letter.span, seq));
                    seq
                }
            };
            let headers = DeadLetter {
                task,
                id: letter.id,
                entity: &letter.entity,
                class: letter.class,
                stage: letter.stage,
                code: letter.code.as_deref(),
                message: &letter.message,
                attempts: letter.attempts,
                first_failed_at_ms: letter.first_failed_at_ms.unwrap_or(now),
                dead_at_ms: now,
                timestamp_ms: letter.raw.timestamp_ms,
                source: &letter.source,
                headers: letter.raw.headers.map_or(&[], |span| batch.arena.bytes(span)),
            }
            .encode_headers();
            let mut cells: Vec<Cell> = task_values(task).iter().map(|value| scratch.push_value(value)).collect();
            let mut bytes = |span: Option<topology::data::Span>| {
                span.map_or(Cell::Null, |span| Cell::Bytes(scratch.push_bytes(batch.arena.bytes(span))))
            };
            let (key, value) = (bytes(letter.raw.key), bytes(letter.raw.value));
            cells.extend([Cell::I64(seq), scratch.push_text(&target), key, value]);
            cells.extend([Cell::Bytes(scratch.push_bytes(&headers)), Cell::I64(now)]);
            rows.push(scratch.push_cells(&cells));
        }
        let session = self.session.as_deref_mut().expect("enter() opened a session");
        let written = session.write_rows(&self.own.outbox, &self.scratch, &rows).await;
        written.map_err(|error| match with_entity(0, error) {
            // Our own table refuses: never the row's fault.
            Failure::Rows(error) => Failure::Failed(Error { kind: ErrorKind::Environment, ..error.error }),
            Failure::Schema(_, error) => Failure::Failed(Error { kind: ErrorKind::Environment, ..error }),
            other => other,
        })?;
        for (span, seq) in &progress.outbox_seqs {
            let mut values = vec![Value::I64(*seq)];
            values.extend(task_values(&batch.spans[*span].task));
            session.execute(&self.statements.outbox_seq, &values).await.map_err(failed)?;
        }
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

    /// New outputs of these tasks get greater numbers than what is published.
    pub(super) fn number_after(&mut self, published: &[Published]) {
        for (task, number) in published {
            if let Some(seq) = self.outbox_seqs.get_mut(task) {
                *seq = (*seq).max(*number);
            }
        }
    }

    pub(super) async fn delete_outputs(&mut self, published: &[Published]) -> SqlResult<()> {
        for (task, number) in published.iter().filter(|(_, number)| *number > 0) {
            let mut values = task_values(task).to_vec();
            values.push(Value::I64(*number));
            // No part of any batch, and no CAS: what is published is so for every worker.
            let text = self.statements.outbox_forget.clone();
            self.session().execute(&text, &values).await?;
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
