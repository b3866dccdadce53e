//! The emitter of a test worker: transactions on the fake broker, one small step at a time, so that a worker can die between any two; and
//! replies that get lost.

use std::collections::BTreeMap;

use super::broker::{Broker, Member, Partition, TransactionId};
use super::seed::Seed;
use crate::lane::{Lane, PublishJob};
use crate::output::{Output, metadata, plan, published_of};

/// Of a hundred replies to the commit so many get lost, half of them after it was done.
const LOST_REPLIES: u64 = 10;

/// Turns of the poll loop that pass after failures are doubled up to two to this power: zombies try for ever.
const DOUBLINGS_MAX: u32 = 8;

/// A transaction under way.
struct Open {
    id: TransactionId,
    job: PublishJob,
    generation: u64,
    /// What is left to publish, once; then nothing.
    outputs: Vec<Output>,
    offsets: Vec<(Partition, i64, i64)>,
    stage: Stage,
}

enum Stage {
    Produce,
    SendOffsets,
    Commit,
}

pub(super) struct TestEmitter {
    seed: Seed,
    asked: Vec<Partition>,
    open: Option<Open>,
    /// As the broker has it; emptied by any failure.
    published: BTreeMap<Partition, i64>,
    /// Offsets go out without outputs now and then.
    turns: u64,
    /// Turns until the next try after one that failed.
    waits: u32,
    /// Failures in a row.
    failures: u32,
}

impl TestEmitter {
    pub(super) fn new(seed: Seed) -> TestEmitter {
        TestEmitter { seed, asked: Vec::new(), open: None, published: BTreeMap::new(), turns: 0, waits: 0, failures: 0 }
    }

    pub(super) fn ask_published(&mut self, partition: Partition) {
        self.asked.push(partition);
    }

    /// One step. True when something was done.
    pub(super) fn step(&mut self, broker: &mut Broker, group: &str, member: Member, lane: &mut Lane) -> bool {
        let mut is_busy = false;
        for partition in std::mem::take(&mut self.asked) {
            match broker.committed_metadata(group, partition) {
                Some(text) => {
                    is_busy = true;
                    let upto = published_of(&text);
                    match upto {
                        Some(upto) => self.published.insert(partition, upto),
                        None => self.published.remove(&partition),
                    };
                    lane.published(partition.0, partition.1, upto);
                }
                None => self.asked.push(partition),
            }
        }
        match self.open.take() {
            Some(open) => {
                self.go_on(broker, open, lane);
                true
            }
            None => self.begin(broker, group, member, lane) | is_busy,
        }
    }

    fn begin(&mut self, broker: &mut Broker, group: &str, member: Member, lane: &mut Lane) -> bool {
        if self.waits > 0 {
            self.waits -= 1;
            return false;
        }
        let Some(generation) = broker.generation(group, member) else { return false };
        self.turns += 1;
        let Some(job) = lane.publish_job(self.turns.is_multiple_of(16)) else { return false };
        for (topic, partition, _) in &job.offsets {
            let place = (*topic, *partition);
            if !self.published.contains_key(&place) {
                // A transaction that this worker left open is ended by the new one.
                let Some(text) = broker.committed_metadata(group, place) else {
                    broker.begin_transaction(group, member);
                    self.fail();
                    return true;
                };
                if let Some(upto) = published_of(&text) {
                    self.published.insert(place, upto);
                }
            }
        }
        let place_of = |output: &Output| {
            let topic = (0..).find(|topic| lane.topic_name(*topic) == &*output.task.topic).unwrap_or_default();
            (topic, output.task.partition)
        };
        let offsets = job.offsets.iter().map(|(topic, partition, next)| ((*topic, *partition), *next));
        let plan = plan(&job.outputs, offsets, place_of, |place| self.published.get(place).copied().unwrap_or(0));
        self.open = Some(Open {
            id: broker.begin_transaction(group, member),
            generation,
            outputs: plan.outputs.into_iter().cloned().collect(),
            offsets: plan.offsets,
            stage: Stage::Produce,
            job,
        });
        true
    }

    fn go_on(&mut self, broker: &mut Broker, mut open: Open, lane: &mut Lane) {
        let is_done = match open.stage {
            Stage::Produce => {
                let outputs = std::mem::take(&mut open.outputs);
                open.stage = Stage::SendOffsets;
                broker.publish(open.id, outputs)
            }
            Stage::SendOffsets => {
                let offsets = open.offsets.iter().map(|(place, next, upto)| (*place, *next, metadata(*upto)));
                let offsets = offsets.collect();
                open.stage = Stage::Commit;
                broker.send_offsets(open.id, open.generation, offsets)
            }
            Stage::Commit => {
                let is_lost = self.seed.chance(LOST_REPLIES);
                let is_done = (!is_lost || self.seed.chance(50)) && broker.commit_transaction(open.id);
                if is_done && !is_lost {
                    let upto: Vec<_> = open.offsets.iter().map(|((topic, at), _, upto)| (*topic, *at, *upto)).collect();
                    self.published.extend(open.offsets.iter().map(|(place, _, upto)| (*place, *upto)));
                    self.failures = 0;
                    lane.job_done(&open.job, &upto);
                    return;
                }
                false
            }
        };
        if is_done {
            self.open = Some(open);
        } else {
            // Not known whether published: the broker is asked before the next try.
            self.published.clear();
            broker.abandon_transaction(open.id);
            self.fail();
        }
    }

    fn fail(&mut self) {
        self.failures += 1;
        self.waits = 1 << self.failures.min(DOUBLINGS_MAX);
    }
}
