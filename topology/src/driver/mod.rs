//! [`TestDriver`]: runs a whole topology without a broker and without a database, for tests of graphs and processors.
//!
//! Nothing is simplified away that matters: many partitions, real batching through [`crate::lane`], claims, rebalances on command,
//! workers that crash or become zombies, a target with transactions and scripted faults, and a clock that moves only when told.
//! The simulator is made of the same parts.
//!
//! ```
//! use topology::data::Value;
//! use topology::driver::{TestDriver, TestRecord, one_table};
//!
//! let mut driver = TestDriver::new(one_table("users", &["id", "name"], 1), &[2]);
//! let worker = driver.start_worker();
//! driver.produce(0, 1, &TestRecord {
//!     key: vec![Value::I64(7)],
//!     after: Some(vec![Value::I64(7), "Ada".into()]),
//!     ..TestRecord::default()
//! });
//! driver.run();
//! assert_eq!(driver.target().rows("users"), [[Value::I64(7), "Ada".into()]]);
//! # let _ = worker;
//! ```

pub mod broker;
mod codec;
mod emitter;
mod seed;
mod target;
mod worker;

use std::collections::BTreeMap;
use std::sync::Arc;
use std::time::Duration;

pub use broker::{Broker, Member, Partition};
pub use codec::{KnownSchemas, TestBytes, TestDecoder, TestRecord, encode_row};
pub use seed::Seed;
pub use target::{
    Backup, Commit, CommitSpan, Fault, FaultScript, HeldEntry, HeldState, HistoryRow, MemoryTarget, MemoryWriter, Pair,
    Place, Statement,
};
pub use worker::{Heard, Listener, MakeTopology, TestDirection, Worker};

use crate::batch::{SnapshotMode, TruncateMode, WriteMode, WriteTable};
use crate::clock::ManualClock;
use crate::data::{Column, Kind};
use crate::graph::Topology;
use crate::lane::{LaneSettings, RetrySettings, StartFrom};
use crate::pipeline::TopicSettings;
use crate::record::EntityId;

/// A direction that mirrors tables as they come: topic i carries entity i. `tables` are (name, columns, number of leading key columns).
pub fn mirror(tables: &[(&str, &[&str], usize)]) -> TestDirection {
    let column = |name: &&str| Column { name: (*name).into(), kind: Kind::Json, nullable: true };
    let written = |(entity, (name, columns, keys)): (usize, &(&str, &[&str], usize))| WriteTable {
        entity: EntityId(entity as u16),
        name: (*name).into(),
        columns: columns.iter().map(column).collect(),
        key: (0..*keys).collect(),
        insert_only: Vec::new(),
        mode: WriteMode::Mirror,
    };
    let written: Vec<WriteTable> = tables.iter().enumerate().map(written).collect();
    let topics = tables.iter().enumerate().map(|(entity, (name, _, _))| TopicSettings {
        name: format!("test.{name}"),
        entity: EntityId(entity as u16),
        truncate: TruncateMode::Halt,
    });
    let topics: Vec<TopicSettings> = topics.collect();
    let names: Vec<String> = topics.iter().map(|topic| topic.name.clone()).collect();
    TestDirection {
        layouts: written.iter().map(|table| (table.layout(), table.key_layout())).collect(),
        topics,
        topology: Arc::new(move || {
            let names: Vec<&str> = names.iter().map(String::as_str).collect();
            Topology::builder().source("source", &names).sink("target", "source").build().expect("a straight graph")
        }),
        settings: LaneSettings {
            pipeline: "test".into(),
            direction: "source→target".into(),
            group_id: "test".into(),
            batch_rows_max: 500,
            batch_bytes_max: 1 << 20,
            batch_age_max: Duration::from_millis(20),
            idle_progress_interval: Duration::from_secs(1),
            retry: RetrySettings::default(),
            fenced_wait: Duration::from_millis(500),
            start_from: StartFrom::Earliest,
            start_decision: None,
            snapshots: vec![SnapshotMode::Upsert; written.len()],
            order: written.iter().map(|table| table.entity).collect(),
            tables: written,
            held_rows_max: 100,
            publishes: false,
        },
    }
}

/// [`mirror`] with one table.
pub fn one_table(name: &str, columns: &[&str], keys: usize) -> TestDirection {
    mirror(&[(name, columns, keys)])
}

/// Runs a direction. Dropped workers crash; time stands still unless told.
pub struct TestDriver {
    direction: TestDirection,
    broker: Broker,
    target: MemoryTarget,
    clock: ManualClock,
    listener: Listener,
    seed: Seed,
    workers: BTreeMap<Member, Worker>,
    last_member: Member,
}

impl TestDriver {
    /// A driver without workers; topic i has `partitions[i]` partitions.
    pub fn new(direction: TestDirection, partitions: &[i32]) -> TestDriver {
        let clock = ManualClock::default();
        TestDriver {
            direction,
            broker: Broker::new(partitions),
            target: MemoryTarget::new(Arc::new(clock.clone())),
            clock,
            listener: Listener::default(),
            seed: Seed::new(1),
            workers: BTreeMap::new(),
            last_member: 0,
        }
    }

    /// The target: rows, history, ledger, faults.
    pub fn target(&self) -> &MemoryTarget {
        &self.target
    }

    /// What the lanes told about themselves.
    pub fn listener(&self) -> &Listener {
        &self.listener
    }

    /// Starts a worker; it gets the partitions that nobody owns.
    ///
    /// # Panics
    /// When the direction's graph does not fit its topics.
    pub fn start_worker(&mut self) -> Member {
        self.last_member += 1;
        let member = self.last_member;
        let worker = Worker::start(
            member,
            &self.direction,
            &mut self.broker,
            self.target.writer_of(&self.direction),
            &self.clock,
            &self.listener,
            &mut self.seed,
        );
        self.workers.insert(member, worker.expect("the direction's graph fits its topics"));
        self.assign_unowned(member);
        member
    }

    fn assign_unowned(&mut self, member: Member) {
        let group = self.direction.settings.group_id.clone();
        for partition in self.broker.unowned(&group) {
            self.broker.assign(&group, partition, member);
        }
    }

    /// Rebalance: gives a partition to a worker; the one before is told at its next turn.
    pub fn assign(&mut self, topic: usize, partition: i32, member: Member) {
        self.broker.assign(&self.direction.settings.group_id, (topic, partition), member);
    }

    /// Kills a worker where it stands. Its partitions go to `heir`, if there is one.
    pub fn kill(&mut self, member: Member, heir: Option<Member>) {
        self.workers.remove(&member);
        self.broker.leave(&self.direction.settings.group_id, member);
        if let Some(heir) = heir {
            self.assign_unowned(heir);
        }
    }

    /// Makes a worker a zombie: the group gives it up, it goes on as if nothing were. Its partitions go to `heir`.
    pub fn expel(&mut self, member: Member, heir: Member) {
        self.broker.expel(&self.direction.settings.group_id, member);
        self.assign_unowned(heir);
    }

    /// Appends a record to a partition and returns its offset.
    pub fn produce(&mut self, topic: usize, partition: i32, record: &TestRecord) -> i64 {
        self.broker.produce((topic, partition), record.encode())
    }

    /// Appends an offset without a record: a transaction marker.
    pub fn produce_gap(&mut self, topic: usize, partition: i32) {
        self.broker.produce_gap((topic, partition));
    }

    /// The topic grows; the new partitions go to this worker.
    pub fn grow(&mut self, topic: usize, partitions: usize, member: Member) {
        self.broker.grow(topic, partitions);
        self.assign_unowned(member);
    }

    /// A worker, to look at or to step by hand.
    pub fn worker(&mut self, member: Member) -> Option<&mut Worker> {
        self.workers.get_mut(&member)
    }

    /// One turn of a worker's poll loop, then the writer goes on to its next await. False when neither had anything to do.
    pub fn step(&mut self, member: Member) -> bool {
        let Some(worker) = self.workers.get_mut(&member) else { return false };
        worker.step(&mut self.broker, 100) | worker.poll_writer()
    }

    /// Runs all workers until nothing more happens without time passing.
    ///
    /// # Panics
    /// When they never come to rest.
    pub fn run(&mut self) {
        for _ in 0..100_000 {
            let members: Vec<Member> = self.workers.keys().copied().collect();
            if !members.into_iter().fold(false, |is_busy, member| self.step(member) | is_busy) {
                return;
            }
        }
        panic!("workers do not come to rest");
    }

    /// Lets time pass, in steps so that everybody who waits gets a turn.
    pub fn advance(&mut self, duration: Duration) {
        let mut left = duration;
        self.run();
        while !left.is_zero() {
            let step = left.min(Duration::from_millis(100));
            self.clock.advance(step);
            self.run();
            left -= step;
        }
    }
}

#[cfg(test)]
mod tests;
