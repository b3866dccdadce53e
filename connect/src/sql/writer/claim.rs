//! Taking over tasks (rules A1, L): raise the epoch, set the owner, *then* read, in key order, in one short transaction.

use std::collections::HashMap;

use topology::data::Value;
use topology::generation::{FirstRecord, Generation};
use topology::ledger::{Claim, ClaimReply, ClaimRequest, Owner, PartitionProgress, TaskKey, TopicProgress};
use topology::marks::Marks;
use topology::{Error, ErrorKind, Stage};

use super::held_keys::HeldKeys;
use super::limit::DeadWindow;
use super::{SqlWriter, bug};
use crate::sql::error::{SqlError, SqlResult};
use crate::sql::statements::progress_text;

/// Another group's rows younger than this belong to a group that is alive (rule L6).
const OTHER_GROUP_FRESH_MS: i64 = 120_000;

/// The task as parameters, in the order of the ledger's key.
pub(crate) fn task_values(task: &TaskKey) -> [Value; 4] {
    [
        Value::Text(task.pipeline.to_string()),
        Value::Text(task.direction.to_string()),
        Value::Text(task.topic.to_string()),
        Value::I64(i64::from(task.partition)),
    ]
}

/// (epoch, owner, next_offset) of a lock-read.
pub(crate) fn ledger_row(row: &[Value]) -> Option<(i64, Owner, i64)> {
    match row {
        [Value::I64(epoch), Value::Text(owner), Value::I64(next_offset)] => {
            // An owner that is not ours to read is somebody else's: never equal to a nonce we hold.
            let owner = u128::from_str_radix(owner, 16).unwrap_or(0);
            Some((*epoch, Owner(owner), *next_offset))
        }
        _ => None,
    }
}

/// pipeline, direction, then topic and partition of each claim. All claims of a lane are of one direction.
pub(crate) fn tasks(claims: &[Claim]) -> Vec<Value> {
    let first = &claims[0].task;
    let mut values = vec![Value::Text(first.pipeline.to_string()), Value::Text(first.direction.to_string())];
    for claim in claims {
        values.push(Value::Text(claim.task.topic.to_string()));
        values.push(Value::I64(i64::from(claim.task.partition)));
    }
    values
}

fn generation_of(value: Option<&Value>) -> Generation {
    match value {
        Some(Value::Text(text)) => Generation::parse(text),
        _ => Generation::default(),
    }
}

fn window_of(value: &Value) -> DeadWindow {
    match value {
        Value::Text(text) => DeadWindow::decode(text),
        _ => DeadWindow::default(),
    }
}

fn parameters(values: &[&[Value]]) -> Vec<Value> {
    values.iter().flat_map(|part| part.iter().cloned()).collect()
}

impl SqlWriter {
    pub(super) async fn claim_all(&mut self, requests: &[ClaimRequest]) -> SqlResult<Vec<ClaimReply>> {
        self.ensure_own_tables().await?;
        let mut order: Vec<usize> = (0..requests.len()).collect();
        order.sort_by(|a, b| requests[*a].task.cmp(&requests[*b].task));
        self.session().begin(false).await?;
        let mut replies: Vec<Option<ClaimReply>> = requests.iter().map(|_| None).collect();
        let mut held: Vec<(TaskKey, HeldKeys)> = Vec::new();
        for at in order {
            match self.claim_one(&requests[at], &mut held).await {
                Ok(reply) => replies[at] = Some(reply),
                Err(error) => {
                    self.end_blocker(&requests[at], &error).await;
                    return Err(error);
                }
            }
        }
        if let Some(request) = requests.first() {
            let kept = i64::try_from(topology::moves::WORD_KEPT.as_millis()).unwrap_or(i64::MAX);
            let mut values = task_values(&request.task)[..2].to_vec();
            values.push(Value::I64(kept));
            let (old, forget) = (self.statements.moved_old.clone(), self.statements.moved_forget.clone());
            if !self.session().query(&old, &values).await?.is_empty() {
                self.session().execute(&forget, &values).await?;
            }
        }
        // An error here is an unknown outcome, but of a claim: claiming again is always safe.
        self.session().commit().await?;
        topology::crash::point("claim_committed");
        self.held.extend(held);
        Ok(replies.into_iter().map(|reply| reply.expect("one reply per request")).collect())
    }

    async fn claim_one(
        &mut self,
        request: &ClaimRequest,
        held: &mut Vec<(TaskKey, HeldKeys)>,
    ) -> SqlResult<ClaimReply> {
        let task = task_values(&request.task);
        let direction = &task[..2];
        let group = [Value::Text(request.group_id.to_string())];
        let fresh = [Value::I64(OTHER_GROUP_FRESH_MS)];
        let statements = self.statements.clone();
        let session = self.session.as_deref_mut().expect("enter() opened a session");

        let other = session.query(&statements.other_group, &parameters(&[direction, &group, &fresh])).await?;
        if let Some([Value::Text(group_id)]) = other.first().map(Vec::as_slice) {
            return Ok(ClaimReply::OtherGroup { group_id: group_id.clone() });
        }
        let owner = [Value::Text(request.owner.to_string())];
        topology::crash::point("before_claim");
        let raised = session.execute(&statements.raise, &parameters(&[&owner, &group, &task])).await?;
        if raised == 0 {
            let Some(start) = request.start_offset else {
                let topic = session.query(&statements.topic_known, &task[..3]).await?;
                let any = session.query(&statements.direction_known, direction).await?;
                return Ok(ClaimReply::Missing {
                    topic: topic.iter().map(|row| generation_of(row.first())).collect(),
                    direction: any.first().map(|row| generation_of(row.first())),
                });
            };
            let rest = [Value::Text(request.generation.to_string()), Value::Bytes(Marks::default().encode())];
            let values = parameters(&[&task, &[Value::I64(start)], &owner, &group, &rest]);
            session.execute(&statements.insert, &values).await.map_err(|error| match error.kind() {
                // Somebody else made the row at this moment: claim again and meet it.
                ErrorKind::Dependency => SqlError::known(Error { kind: ErrorKind::Transient, ..error.error }),
                _ => error,
            })?;
        } else if let (true, Some(start)) = (request.restart, request.start_offset) {
            let values = [Value::I64(start), Value::Text(request.generation.to_string())];
            session.execute(&statements.restart, &parameters(&[&values, &task])).await?;
            // What is held of the older log came before all of the new one, and offsets are no names any more: it goes below 0, in its order
            // and below what went there before.
            let offsets = session.query(&statements.held_offsets, &task).await?;
            if let Some([Value::I64(first), Value::I64(last)]) = offsets.first().map(Vec::as_slice) {
                let distance = [Value::I64(last + 1 - first.min(&0))];
                session.execute(&statements.held_of_older_log, &parameters(&[&distance, &task])).await?;
            }
        }
        topology::crash::point("claim_raised");
        if !self.counts_asserted {
            if session.execute(&statements.assert_counts, &task).await? != 1 {
                let detail = "the driver counts changed rows instead of matched rows; CLIENT_FOUND_ROWS must be on";
                let error = Error::new(ErrorKind::Configuration, Stage::Claim, "cannot trust row counts", detail);
                return Err(SqlError::known(error));
            }
            self.counts_asserted = true;
        }
        let rows = session.query(&statements.read, &task).await?;
        let (claim, window) = match rows.first().map(Vec::as_slice) {
            Some(
                [
                    Value::I64(next_offset),
                    Value::I64(epoch),
                    Value::Bytes(marks),
                    Value::Text(generation),
                    Value::I64(tail_hash),
                    window,
                ],
            ) => (
                Claim {
                    task: request.task.clone(),
                    epoch: *epoch,
                    owner: request.owner,
                    next_offset: *next_offset,
                    marks: Marks::decode(marks).ok_or_else(|| unreadable(&request.task))?,
                    generation: Generation::parse(generation),
                    tail_hash: tail_hash.cast_unsigned(),
                },
                window_of(window),
            ),
            _ => return Err(bug(format!("ledger row of {} has another shape", request.task))),
        };
        held.push((request.task.clone(), HeldKeys::load(session, &statements, &request.task).await?));
        // A claim that is rolled back leaves at most an old window behind, which the next claim replaces.
        self.dead_windows.insert(request.task.clone(), window);
        Ok(ClaimReply::Claimed(claim))
    }

    /// What the ledger says of claimed tasks, for lanes that are idle.
    pub(super) async fn read_progress(&mut self, claims: &[Claim]) -> SqlResult<Vec<Option<(i64, Owner, i64)>>> {
        let text = progress_text(self.connector.dialect(), claims.len());
        let mut rows = HashMap::new();
        for row in self.session().query(&text, &tasks(claims)).await? {
            if let [Value::Text(topic), Value::I64(partition), rest @ ..] = row.as_slice() {
                rows.insert((topic.clone(), *partition), ledger_row(rest));
            }
        }
        let mut row_of = |task: &TaskKey| rows.remove(&(task.topic.to_string(), i64::from(task.partition))).flatten();
        Ok(claims.iter().map(|claim| row_of(&claim.task)).collect())
    }

    pub(super) async fn read_topic_progress(
        &mut self,
        task: &TaskKey,
        record: &FirstRecord,
        counts_held: bool,
    ) -> SqlResult<TopicProgress> {
        let topic = &task_values(task)[..3];
        let statements = self.statements.clone();
        let session = self.session();
        // Progress first: a row that is parked in the same transaction in which its partition passes the mark is then seen by the count.
        let rows = session.query(&statements.topic_progress, topic).await?;
        let before = [
            Value::I64(record.held_before_ms()),
            Value::Text(record.other_half.as_deref().unwrap_or_default().to_owned()),
        ];
        let held = match counts_held {
            true => session.query(&statements.topic_held, &parameters(&[topic, &before])).await?,
            false => Vec::new(),
        };
        let held = match held.first().map(Vec::as_slice) {
            Some([Value::I64(held)]) => held.cast_unsigned(),
            None if !counts_held => 0,
            _ => return Err(bug("the count of held rows is no number".to_owned())),
        };
        let partitions = rows.iter().map(|row| partition_progress(task, row)).collect::<SqlResult<_>>()?;
        Ok(TopicProgress { partitions, held })
    }

    /// Progress and marks of a topic's partitions (rule B5).
    pub(super) async fn read_topic_marks(&mut self, task: &TaskKey) -> SqlResult<TopicProgress> {
        let text = self.statements.topic_marks.clone();
        let rows = self.session().query(&text, &task_values(task)[..3]).await?;
        let partitions = rows.iter().map(|row| partition_progress(task, row)).collect::<SqlResult<_>>()?;
        Ok(TopicProgress { partitions, held: 0 })
    }

    /// A claim that waited out the lock timeout ends the session that holds the row, if it may (rule L10).
    async fn end_blocker(&mut self, request: &ClaimRequest, error: &SqlError) {
        let code = error.error.code.as_deref().unwrap_or("");
        if !self.connector.dialect().is_lock_timeout(code) {
            return;
        }
        let text = self.statements.backend.clone();
        let session = self.session.as_deref_mut().expect("enter() opened a session");
        if session.rollback().await.is_err() {
            return;
        }
        let Ok(rows) = session.query(&text, &task_values(&request.task)).await else { return };
        if let Some([Value::I64(backend)]) = rows.first().map(Vec::as_slice)
            && *backend != 0
        {
            tracing::warn!(task = %request.task, backend, "claim is blocked; ending the session that holds the ledger row");
            let _ = session.terminate(*backend).await;
        }
    }
}

/// A row of a topic's ledger: partition, next_offset, generation, and marks if they were asked for.
fn partition_progress(task: &TaskKey, row: &[Value]) -> SqlResult<PartitionProgress> {
    let [Value::I64(partition), Value::I64(next_offset), generation, rest @ ..] = row else {
        return Err(bug(format!("a ledger row of {} has another shape", task.topic)));
    };
    let partition = i32::try_from(*partition).map_err(|_| bug(format!("{} has partition {partition}", task.topic)))?;
    let marks = match rest {
        [Value::Bytes(marks)] => Marks::decode(marks).ok_or_else(|| unreadable(task))?,
        _ => Marks::default(),
    };
    Ok(PartitionProgress { partition, next_offset: *next_offset, generation: generation_of(Some(generation)), marks })
}

fn unreadable(task: &TaskKey) -> SqlError {
    let detail =
        format!("the marks of {task} are not in a form this version knows; a newer version wrote them: upgrade");
    SqlError::known(Error::new(ErrorKind::Configuration, Stage::Claim, "cannot read ledger", detail))
}
