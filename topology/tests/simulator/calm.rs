//! The end of a schedule: no more trouble, everything must come to rest, equal to the source.

use std::time::Duration;

use topology::driver::HeldState;
use topology::output::Output;

use super::schedule::{Schedule, note};

/// Rounds of half a second that everything may take to come to rest after the chaos.
const CALM_ROUNDS_MAX: usize = 600;

impl Schedule {
    /// No more trouble: everything must come to rest, equal to the source.
    pub(crate) fn calm(&mut self) -> Result<(), String> {
        note!(self, "calm");
        self.target.script(Box::new(|_| None));
        self.target.up();
        self.target.create_table("users");
        self.target.let_orphans_linger(false);
        while self.source.has_unsent() {
            self.send_rest();
        }
        for direction in 0..2 {
            self.assign_unowned(direction);
        }
        for _ in 0..CALM_ROUNDS_MAX {
            let arrived = self.seed.chance(50);
            while self.target.end_orphan(arrived) {}
            self.broker.time_out_transactions();
            self.target.release_replies();
            self.settle()?;
            if self.is_at_rest() {
                return Ok(());
            }
            self.clock.advance(Duration::from_millis(500));
        }
        let waits = self
            .workers
            .iter()
            .filter_map(|(_, listener)| listener.heard(|heard| heard.partitions_paused.last().cloned()));
        let waits = waits.collect::<Vec<_>>().join("; ");
        Err(format!("does not come to rest: {}; last pauses: {waits}", self.what_is_left()))
    }

    pub(crate) fn send_rest(&mut self) {
        if let Some(sent) = self.source.send(&mut self.broker) {
            note!(self, "{}[{}] {}: {}", sent.partition.0, sent.partition.1, sent.offset, sent.text);
            self.judge.sent(&sent);
        }
    }

    /// Lets everybody work until nothing happens without time passing.
    pub(crate) fn settle(&mut self) -> Result<(), String> {
        for _ in 0..20_000 {
            let mut is_busy = false;
            for at in 0..self.workers.len() {
                let worker = &mut self.workers[at].0;
                is_busy |= worker.step(&mut self.broker, 10) | worker.poll_writer();
            }
            self.check()?;
            if !is_busy {
                return Ok(());
            }
        }
        Err("workers are busy for ever".to_owned())
    }

    pub(crate) fn what_is_left(&self) -> String {
        let ledger = self.target.ledger();
        let lags = (0..2).flat_map(|direction| {
            let settings = &self.directions[direction].settings;
            let of = |topic: usize, partition: i32| {
                let name = &self.directions[direction].topics[topic].name;
                let row = ledger.iter().find(|(task, _)| {
                    (&task.direction, &*task.topic, task.partition) == (&settings.direction, name.as_str(), partition)
                });
                row.map_or(0, |(_, row)| row.next_offset)
            };
            self.partitions(direction)
                .into_iter()
                .map(move |(topic, partition)| (topic, partition, of(topic, partition)))
                .filter(|(topic, partition, at)| *at < self.broker.end_of_records((*topic, *partition)))
                .map(move |(topic, partition, at)| format!("{} {topic}[{partition}] is at {at}", settings.direction))
                .collect::<Vec<_>>()
        });
        let held = self.target.held().into_iter().filter(|(_, entry)| entry.state != HeldState::Dead);
        let held = held.map(|((task, id), entry)| format!("{task} {} held: {}", id.offset, entry.message));
        // What a backup brought back may be published already; it goes with what is published next.
        let is_published = |output: &Output| {
            self.broker.outputs().iter().any(|other| (&other.task, other.seq) == (&output.task, output.seq))
        };
        let outputs = self.target.outbox().into_iter().filter(|output| !is_published(output));
        let outputs = outputs.map(|output| format!("{} output {} is not published", output.task, output.seq));
        lags.chain(held).chain(outputs).collect::<Vec<_>>().join("; ")
    }

    pub(crate) fn is_at_rest(&self) -> bool {
        self.what_is_left().is_empty()
    }
}
