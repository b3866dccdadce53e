//! Batches as a lane would make them: records, reduced, with the spans of the claimed tasks.

use topology::batch::{ChangeBatch, DeadRecord, HeldId};
use topology::data::Value;
use topology::error::{Error, Stage};
use topology::generation::Generation;
use topology::ledger::{Claim, ClaimReply, ClaimRequest, Owner, TaskKey, TaskSpan};
use topology::raw::encode_headers;
use topology::record::{EntityId, Operation, Raw, Record, Slot};
use topology::reduce::{ReduceTable, Reducer};
use topology::sink::{Applied, ApplyError, SinkWriter};

use tidelock_connect::sql::writer::{SinkTable, SqlWriter};

use crate::target::shared;

pub(crate) const GROUP: &str = "tidelock-test";

pub(crate) fn task(topic: &str, partition: i32) -> TaskKey {
    TaskKey { pipeline: shared("test"), direction: shared("legacy→revamp"), topic: shared(topic), partition }
}

pub(crate) fn request(topic: &str, partition: i32, owner: u128, start: Option<i64>) -> ClaimRequest {
    ClaimRequest {
        task: task(topic, partition),
        owner: Owner(owner),
        group_id: shared(GROUP),
        start_offset: start,
        restart: false,
        generation: Generation::parse("partitions=1 key=7"),
    }
}

/// Claims a task that must be there or be made at offset 0.
pub(crate) async fn claim(writer: &mut SqlWriter, topic: &str, partition: i32, owner: u128) -> Claim {
    let replies = writer.claim(&[request(topic, partition, owner, Some(0))]).await.unwrap();
    match replies.into_iter().next().unwrap() {
        ClaimReply::Claimed(claim) => claim,
        other => panic!("{other:?}"),
    }
}

/// Key bytes of a record, as the source would send them.
pub(crate) fn raw_key(key: &[Value]) -> String {
    format!("raw key {key:?}")
}

/// Builds one batch.
pub(crate) struct Builder<'a> {
    tables: &'a [SinkTable],
    batch: ChangeBatch,
}

impl<'a> Builder<'a> {
    /// `claims[i]` is slot `i`; claims are in key order.
    pub(crate) fn new(claims: &[Claim], tables: &'a [SinkTable]) -> Builder<'a> {
        let mut batch = ChangeBatch::default();
        for (at, claim) in claims.iter().enumerate() {
            batch.spans.push(TaskSpan {
                task: claim.task.clone(),
                epoch: claim.epoch,
                owner: claim.owner,
                from: claim.next_offset,
                to: claim.next_offset,
                marks: claim.marks.clone(),
                tail_hash: 7,
                generation: claim.generation,
                passed: None,
                last_timestamp_ms: -1,
            });
            batch.span_of_slot.push(at as u16);
        }
        Builder { tables, batch }
    }

    fn next_offset(&mut self, slot: u16) -> i64 {
        let span = &mut self.batch.spans[usize::from(slot)];
        span.to += 1;
        span.to - 1
    }

    /// Stores a key.
    pub(crate) fn key(&mut self, values: &[Value]) -> topology::data::CellRange {
        self.batch.arena.push_values(values)
    }

    pub(crate) fn raw(&mut self, key: &str, text: &str) -> Raw {
        let mut headers = Vec::new();
        encode_headers([("h", Some(&b"v"[..]))].into_iter(), &mut headers);
        Raw {
            key: Some(self.batch.arena.push_bytes(key.as_bytes())),
            value: Some(self.batch.arena.push_bytes(text.as_bytes())),
            headers: Some(self.batch.arena.push_bytes(&headers)),
            timestamp_ms: 1_700_000_000_000,
        }
    }

    /// Adds a record of a slot; the key is taken from `row` unless given.
    pub(crate) fn record(
        &mut self,
        slot: u16,
        entity: u16,
        operation: Operation,
        key: &[Value],
        row: Option<&[Value]>,
    ) -> &mut Record {
        let raw = self.raw(&raw_key(key), &format!("raw {operation:?} {key:?}"));
        let offset = self.next_offset(slot);
        let key = self.batch.arena.push_values(key);
        let after = row.map(|row| self.batch.arena.push_values(row));
        self.batch.records.push(Record {
            slot: Slot(slot),
            offset,
            entity: EntityId(entity),
            operation,
            key,
            after,
            raw,
            ..Record::default()
        });
        self.batch.records.last_mut().unwrap()
    }

    /// A full row whose first cell is its key.
    pub(crate) fn upsert(&mut self, entity: u16, row: &[Value]) -> &mut Self {
        self.record(0, entity, Operation::Update, &row[..1], Some(row));
        self
    }

    pub(crate) fn delete(&mut self, entity: u16, key: Value) -> &mut Self {
        self.record(0, entity, Operation::Delete, &[key], None);
        self
    }

    /// Both halves of a key change.
    pub(crate) fn rename(&mut self, entity: u16, old: Value, row: &[Value]) -> &mut Self {
        let new_key = self.batch.arena.push_values(&row[..1]);
        let old_key = self.batch.arena.push_values(std::slice::from_ref(&old));
        self.record(0, entity, Operation::Delete, &[old], None).new_key = Some(new_key);
        self.record(0, entity, Operation::Create, &row[..1], Some(row)).old_key = Some(old_key);
        self
    }

    pub(crate) fn truncate(&mut self, entity: u16) -> &mut Self {
        self.record(0, entity, Operation::Truncate, &[], None);
        self
    }

    /// A record that failed before the sink, and before its key was known.
    pub(crate) fn dead(&mut self, entity: u16, value: &str) -> &mut Self {
        self.dead_with_key(entity, value, None)
    }

    /// A record that failed before the sink.
    pub(crate) fn dead_with_key(&mut self, entity: u16, value: &str, key: Option<&[Value]>) -> &mut Self {
        let key = key.map(|key| self.batch.arena.push_values(key));
        self.dead_with_raw_key(entity, "raw-key", value, key)
    }

    /// A record that failed before the sink, and maybe before its key was mapped.
    pub(crate) fn dead_with_raw_key(
        &mut self,
        entity: u16,
        raw_key: &str,
        value: &str,
        key: Option<topology::data::CellRange>,
    ) -> &mut Self {
        let raw = self.raw(raw_key, value);
        let offset = self.next_offset(0);
        let record = Record { offset, entity: EntityId(entity), raw, ..Record::default() };
        let error = Error::data(Stage::Decode, "cannot decode record", "value is 3 bytes short");
        self.batch.dead.push(DeadRecord::new(&record, key, &error));
        self
    }

    pub(crate) fn finish(&mut self) -> ChangeBatch {
        let mut batch = std::mem::take(&mut self.batch);
        let reduce: Vec<ReduceTable> =
            self.tables.iter().map(|sink| ReduceTable::new(&sink.table, sink.snapshot)).collect();
        let order: Vec<EntityId> = self.tables.iter().map(|sink| sink.table.entity).collect();
        Reducer::default().reduce(&mut batch, &reduce, &order);
        batch
    }

    /// The same records as a try of held rows: progress does not move.
    pub(crate) fn finish_release(&mut self, ids: &[HeldId]) -> ChangeBatch {
        let mut batch = self.finish();
        for span in &mut batch.spans {
            span.to = span.from;
        }
        for (record, id) in batch.records.iter_mut().zip(ids) {
            record.offset = id.offset;
        }
        batch.releases = ids.to_vec();
        batch
    }
}

/// Applies and moves the claims on, as a lane does.
pub(crate) async fn apply(writer: &mut SqlWriter, claims: &mut [Claim], batch: &ChangeBatch) -> Applied {
    let applied = writer.apply(batch).await.unwrap_or_else(|error| panic!("{error:?}"));
    for (claim, span) in claims.iter_mut().zip(&batch.spans) {
        if !applied.paused.iter().any(|(task, _)| *task == span.task) {
            claim.next_offset = span.to;
        }
    }
    applied
}

/// The error of an apply that must fail.
pub(crate) async fn refused(writer: &mut SqlWriter, batch: &ChangeBatch) -> ApplyError {
    match writer.apply(batch).await {
        Err(error) => error,
        Ok(applied) => panic!("{applied:?}"),
    }
}
