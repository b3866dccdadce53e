//! A target that counts and forgets: what everything before the sink costs, for benchmarks and trials.
//!
//! It keeps the ledger contract (claims, epochs, compare-and-set) in this process's memory, so lanes run as on a real target; rows and dead
//! records are only counted. Nothing survives the process.

use std::collections::BTreeMap;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

use async_trait::async_trait;
use topology::Error;
use topology::batch::ChangeBatch;
use topology::generation::FirstRecord;
use topology::ledger::{CasOutcome, Claim, ClaimReply, ClaimRequest, LedgerRow, TaskKey, TopicProgress, judge_cas};
use topology::sink::{Applied, ApplyError, Capabilities, HeldCounts, HeldRow, OutcomeCounts, SinkWriter};

/// The ledger that all writers of one blackhole share.
#[derive(Clone, Default)]
pub struct Blackhole {
    ledger: Arc<Mutex<BTreeMap<TaskKey, LedgerRow>>>,
}

impl Blackhole {
    /// One writer; `entities` is the number of the direction's entities.
    pub fn writer(&self, entities: usize) -> BlackholeWriter {
        BlackholeWriter { target: self.clone(), entities }
    }

    fn lock(&self) -> MutexGuard<'_, BTreeMap<TaskKey, LedgerRow>> {
        // Every change under the lock is one assignment: a panic elsewhere leaves nothing half done.
        self.ledger.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

/// One lane's writer.
pub struct BlackholeWriter {
    target: Blackhole,
    entities: usize,
}

#[async_trait]
impl SinkWriter for BlackholeWriter {
    fn capabilities(&self) -> Capabilities {
        Capabilities { transactions: true, read_back: false, append: true, tags: false }
    }

    async fn claim(&mut self, requests: &[ClaimRequest]) -> Result<Vec<ClaimReply>, Error> {
        let mut ledger = self.target.lock();
        let claimed = requests.iter().map(|request| {
            if let Some(row) = ledger.get_mut(&request.task) {
                row.raise(request);
                return ClaimReply::Claimed(row.claim(&request.task));
            }
            let Some(start) = request.start_offset else { return ClaimReply::missing(request, ledger.iter()) };
            let row = LedgerRow::new(request, start);
            let claim = row.claim(&request.task);
            ledger.insert(request.task.clone(), row);
            ClaimReply::Claimed(claim)
        });
        Ok(claimed.collect())
    }

    async fn apply(&mut self, batch: &ChangeBatch) -> Result<Applied, ApplyError> {
        let mut ledger = self.target.lock();
        let mut missed: Vec<(TaskKey, CasOutcome)> = Vec::new();
        for span in &batch.spans {
            let row = ledger.get(&span.task);
            let state = row.map(|row| (row.epoch, row.owner, row.next_offset));
            if row.is_none_or(|row| !row.clone().compare_and_set(span)) {
                missed.push((span.task.clone(), judge_cas(span, state)));
            }
        }
        if !missed.is_empty() {
            return Err(ApplyError::Cas(missed));
        }
        for span in &batch.spans {
            if let Some(row) = ledger.get_mut(&span.task) {
                row.compare_and_set(span);
            }
        }
        let mut counts = vec![OutcomeCounts::default(); self.entities];
        for record in &batch.records {
            if let Some(counts) = counts.get_mut(usize::from(record.entity.0)) {
                counts.applied += 1;
            }
        }
        for dead in &batch.dead {
            if let Some(counts) = counts.get_mut(usize::from(dead.entity.0)) {
                counts.dead += 1;
            }
        }
        let outcomes =
            counts.into_iter().enumerate().map(|(at, counts)| (topology::record::EntityId(at as u16), counts));
        Ok(Applied { outcomes: outcomes.collect(), ..Applied::default() })
    }

    async fn due_held(&mut self, _: &[Claim], _: usize) -> Result<Vec<HeldRow>, Error> {
        Ok(Vec::new())
    }

    async fn held_counts(&mut self, _: &[Claim]) -> Result<HeldCounts, Error> {
        Ok(HeldCounts::default())
    }

    async fn topic_progress(&mut self, task: &TaskKey, _: Option<&FirstRecord>) -> Result<TopicProgress, Error> {
        Ok(TopicProgress::of(task, self.target.lock().iter(), 0))
    }

    async fn probe(&mut self) -> Result<(), Error> {
        Ok(())
    }

    fn forget(&mut self, _: &[TaskKey]) {}

    fn disconnect(&mut self) {}
}

#[cfg(test)]
mod tests {
    use topology::generation::Generation;
    use topology::ledger::{Owner, TaskSpan};
    use topology::marks::Marks;

    use super::*;

    fn request(owner: u128, start: Option<i64>) -> ClaimRequest {
        let task = TaskKey { pipeline: "p".into(), direction: "a→b".into(), topic: "t".into(), partition: 0 };
        ClaimRequest {
            task,
            owner: Owner(owner),
            group_id: "g".into(),
            start_offset: start,
            restart: false,
            generation: Generation::default(),
        }
    }

    fn batch(epoch: i64, owner: u128, from: i64, to: i64) -> ChangeBatch {
        let span = TaskSpan {
            task: request(0, None).task,
            epoch,
            owner: Owner(owner),
            from,
            to,
            marks: Marks::default(),
            tail_hash: 0,
            generation: Generation::default(),
            passed: None,
            last_timestamp_ms: -1,
        };
        ChangeBatch { spans: vec![span], ..ChangeBatch::default() }
    }

    #[tokio::test]
    async fn progress_is_kept_between_writers_and_a_zombie_is_fenced() {
        let target = Blackhole::default();
        let (mut old, mut new) = (target.writer(1), target.writer(1));
        assert!(matches!(old.claim(&[request(1, None)]).await.unwrap()[0], ClaimReply::Missing { .. }));
        old.claim(&[request(1, Some(5))]).await.unwrap();
        old.apply(&batch(1, 1, 5, 9)).await.unwrap();
        let replies = new.claim(&[request(2, Some(0))]).await.unwrap();
        assert!(matches!(&replies[0], ClaimReply::Claimed(claim) if claim.next_offset == 9 && claim.epoch == 2));
        let error = old.apply(&batch(1, 1, 9, 12)).await.unwrap_err();
        assert!(matches!(error, ApplyError::Cas(outcomes) if outcomes[0].1 == CasOutcome::Fenced));
    }
}
