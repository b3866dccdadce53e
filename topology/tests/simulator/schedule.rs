//! One schedule: everything that happens, and in which order, follows from its seed.

use std::panic::{AssertUnwindSafe, catch_unwind};
use std::sync::Arc;
use std::time::Duration;

use topology::batch::WriteMode;
use topology::clock::ManualClock;
use topology::driver::{
    Backup, Broker, Fault, Listener, Member, MemoryTarget, Seed, Statement, TestDirection, Worker, mirror,
};
use topology::error::ErrorKind;
use topology::ledger::TaskKey;

use super::judge::{HISTORY, Judge, MIRROR};
use super::processors::graph;
use super::source::{BAD_FOR_TARGET, Source, USERS, show};

const USER_COLUMNS: &[&str] = &["id", "row", "version", "name", "blob"];

fn directions(seed: &mut Seed) -> [TestDirection; 2] {
    let mut mirrored = mirror(&[
        ("users", USER_COLUMNS, 1),
        ("parents", &["id", "version"], 1),
        ("children", &["id", "version", "parent"], 1),
    ]);
    let mut history = mirror(&[("users", USER_COLUMNS, 1)]);
    history.settings.tables[0].mode = WriteMode::Append;
    for (direction, name) in [(&mut mirrored, MIRROR), (&mut history, HISTORY)] {
        direction.topology = graph(&direction.topics);
        direction.settings.direction = name.into();
        direction.settings.group_id = name.into();
        direction.settings.batch_rows_max = 1 + seed.below(8);
        direction.settings.publishes = true;
    }
    [mirrored, history]
}

/// What a schedule did, for the summary.
#[derive(Default)]
pub(crate) struct Done {
    #[allow(dead_code)] // read by the simulator, not by the mutations
    pub(crate) commits: u64,
}

pub(crate) struct Failure {
    pub(crate) reason: String,
    /// Everything that happened, if it was asked for.
    #[allow(dead_code)] // read by the simulator, not by the mutations
    pub(crate) trace: Vec<String>,
}

pub(crate) struct Schedule {
    pub(crate) seed: Seed,
    pub(crate) clock: ManualClock,
    pub(crate) broker: Broker,
    pub(crate) target: MemoryTarget,
    pub(crate) source: Source,
    pub(crate) judge: Judge,
    pub(crate) directions: [TestDirection; 2],
    pub(crate) workers: Vec<(Worker, Listener)>,
    pub(crate) last_member: Member,
    pub(crate) backup: Option<Backup>,
    pub(crate) done: Done,
    pub(crate) trace: Option<Vec<String>>,
    /// Kinds of trouble that this schedule has; each schedule has some.
    pub(crate) troubles: u64,
}

macro_rules! note {
    ($self:ident, $($format:tt)*) => {
        if let Some(trace) = &mut $self.trace {
            trace.push(format!($($format)*));
        }
    };
}
pub(crate) use note;

/// Runs the schedule of a seed. A panic is a failure too.
pub(crate) fn run(seed: u64, with_trace: bool) -> Result<Done, Failure> {
    let (mut schedule, result) = play(seed, with_trace);
    let trace = schedule.trace.take().unwrap_or_default();
    result.map(|()| std::mem::take(&mut schedule.done)).map_err(|reason| Failure { reason, trace })
}

/// Everything that happens in the schedule of a seed.
#[allow(dead_code)] // read by the simulator, not by the mutations
pub(crate) fn trace(seed: u64) -> Vec<String> {
    let (mut schedule, result) = play(seed, true);
    let mut trace = schedule.trace.take().unwrap_or_default();
    trace.extend(result.err());
    trace
}

fn play(seed: u64, with_trace: bool) -> (Schedule, Result<(), String>) {
    let mut schedule = Schedule::new(seed, with_trace);
    // The schedule stays outside, so that its trace survives.
    let result = catch_unwind(AssertUnwindSafe(|| schedule.run())).unwrap_or_else(|panic| {
        let text = panic.downcast_ref::<String>().map(String::as_str).or(panic.downcast_ref::<&str>().copied());
        Err(format!("panic: {}", text.unwrap_or("?")))
    });
    (schedule, result)
}

impl Schedule {
    fn new(number: u64, with_trace: bool) -> Schedule {
        let mut seed = Seed::new(number);
        let clock = ManualClock::default();
        let partitions = vec![1 + seed.below(3) as i32, 1, 1 + seed.below(2) as i32];
        let target = MemoryTarget::new(Arc::new(clock.clone()));
        target.add_reference("children", 2, "parents");
        target.refuse(BAD_FOR_TARGET);
        target.record_commits();
        target.let_orphans_linger(true);
        let directions = directions(&mut seed);
        Schedule {
            broker: Broker::new(&partitions),
            source: Source::new(partitions, &mut seed),
            judge: Judge::default(),
            directions,
            workers: Vec::new(),
            last_member: 0,
            backup: None,
            done: Done::default(),
            trace: with_trace.then(Vec::new),
            troubles: seed.next() & seed.next() | seed.next() & seed.next() & seed.next(),
            target,
            clock,
            seed,
        }
    }

    fn run(&mut self) -> Result<(), String> {
        for direction in [0, 0, 1] {
            self.start_worker(direction);
        }
        if self.seed.chance(40) {
            self.start_worker(0);
        }
        for direction in 0..2 {
            self.assign_unowned(direction);
        }
        let mut faults = self.seed.fork();
        let percent = [0, 0, 1, 4][self.seed.below(4)];
        self.target.script(Box::new(move |statement| fault(&mut faults, percent, statement)));
        for _ in 0..100 + self.seed.below(500) {
            self.act();
            self.check()?;
        }
        self.calm()?;
        self.judge.finish(&self.target, &self.source, self.broker.outputs())
    }

    fn is_troubled_by(&self, trouble: u32) -> bool {
        self.troubles >> trouble & 1 == 1
    }

    /// One thing happens.
    fn act(&mut self) {
        match self.seed.below(1000) {
            0..350 => self.step(),
            350..750 => self.poll(),
            750..860 => self.send(),
            860..880 => self.pass_time(),
            880..900 => self.rebalance(),
            900..910 if self.is_troubled_by(0) => self.crash(),
            910..918 if self.is_troubled_by(1) => self.expel(),
            918..926 if self.is_troubled_by(2) => self.restart_connector(),
            926..930 if self.is_troubled_by(3) => self.stop_target(),
            930..936 => self.start_target(),
            936..939 if self.is_troubled_by(4) => self.back_up(),
            939..942 if self.is_troubled_by(4) => self.restore(),
            942..955 => {
                self.broker.time_out_transactions();
                let arrived = self.seed.chance(50);
                if self.target.end_orphan(arrived) {
                    note!(self, "server notices a client that is gone; its COMMIT arrived: {arrived}");
                }
            }
            955..975 => self.target.release_replies(),
            975..980 if self.is_troubled_by(5) => self.drain(),
            982..984 if self.is_troubled_by(7) => {
                note!(self, "table users is not there");
                self.target.drop_table("users");
            }
            984..987 => self.target.create_table("users"),
            980..982 if self.is_troubled_by(6) => {
                note!(self, "source's log begins anew");
                self.source.reset_log();
            }
            987..989 if self.is_troubled_by(8) => {
                if self.is_started() && self.source.grow(&mut self.broker) {
                    note!(self, "the topic of users grows");
                    self.assign_unowned(0);
                    self.assign_unowned(1);
                }
            }
            989..991 if self.is_troubled_by(9) => {
                if self.source.change_key_schema() {
                    note!(self, "the keys of users get another schema id");
                }
            }
            987..994 => {
                let partitions = self.broker.partitions();
                let partition = partitions[self.seed.below(partitions.len())];
                self.broker.produce_gap(partition);
            }
            _ => self.pass_time(),
        }
    }

    fn some_worker(&mut self) -> Option<usize> {
        (!self.workers.is_empty()).then(|| self.seed.below(self.workers.len()))
    }

    fn step(&mut self) {
        let Some(at) = self.some_worker() else { return };
        let records_max = 1 + self.seed.below(6);
        let worker = &mut self.workers[at].0;
        if worker.step(&mut self.broker, records_max) {
            note!(self, "worker {} polls", worker.member());
        }
    }

    fn poll(&mut self) {
        let woken: Vec<usize> = (0..self.workers.len()).filter(|at| self.workers[*at].0.is_woken()).collect();
        if woken.is_empty() {
            return;
        }
        let at = woken[self.seed.below(woken.len())];
        self.workers[at].0.poll_writer();
    }

    fn send(&mut self) {
        if !self.source.has_unsent() || self.seed.chance(30) {
            self.source.change(&mut self.seed);
        }
        if let Some(sent) = self.source.send(&mut self.broker) {
            note!(self, "{}[{}] {}: {}", sent.partition.0, sent.partition.1, sent.offset, sent.text);
            self.judge.sent(&sent);
        }
    }

    fn pass_time(&mut self) {
        let due = self.clock.next_due_us().unwrap_or(0);
        let some = Duration::from_millis([1, 20, 100, 500, 3000][self.seed.below(5)]);
        let step = if self.seed.chance(50) { Duration::from_micros(due) } else { some };
        note!(self, "{step:?} pass");
        self.clock.advance(step);
    }

    fn group(&self, direction: usize) -> String {
        self.directions[direction].settings.group_id.to_string()
    }

    fn start_worker(&mut self, direction: usize) -> Member {
        self.last_member += 1;
        let listener = Listener::default();
        let worker = Worker::start(
            self.last_member,
            &self.directions[direction],
            &mut self.broker,
            self.target.writer_of(&self.directions[direction]),
            &self.clock,
            &listener,
            &mut self.seed,
        );
        let worker = worker.unwrap_or_else(|error| panic!("the graph fits its topics: {error}"));
        note!(self, "worker {} starts, {}", worker.member(), worker.group());
        self.workers.push((worker, listener));
        self.last_member
    }

    /// The partitions that a direction reads.
    pub(crate) fn partitions(&self, direction: usize) -> Vec<(usize, i32)> {
        let all = self.broker.partitions().into_iter();
        all.filter(|(topic, _)| direction == 0 || *topic == USERS).collect()
    }

    pub(crate) fn assign_unowned(&mut self, direction: usize) {
        let group = self.group(direction);
        let unowned = self.broker.unowned(&group);
        for partition in self.partitions(direction).into_iter().filter(|partition| unowned.contains(partition)) {
            let members = self.broker.members(&group);
            if members.is_empty() {
                self.start_worker(direction);
                return self.assign_unowned(direction);
            }
            let member = members[self.seed.below(members.len())];
            note!(self, "{group}: {partition:?} to worker {member}");
            self.broker.assign(&group, partition, member);
        }
    }

    fn direction_of(&self, at: usize) -> usize {
        usize::from(self.workers[at].0.group() == HISTORY)
    }

    fn rebalance(&mut self) {
        let direction = self.seed.below(2);
        let group = self.group(direction);
        let (partitions, members) = (self.partitions(direction), self.broker.members(&group));
        if members.is_empty() {
            return self.assign_unowned(direction);
        }
        let partition = partitions[self.seed.below(partitions.len())];
        let member = members[self.seed.below(members.len())];
        note!(self, "{group}: {partition:?} to worker {member}");
        self.broker.assign(&group, partition, member);
    }

    /// Kill -9 of one worker; its partitions go to others, or to a new one.
    fn crash(&mut self) {
        let Some(at) = self.some_worker() else { return };
        let direction = self.direction_of(at);
        let (worker, _) = self.workers.remove(at);
        note!(self, "worker {} is killed", worker.member());
        self.broker.leave(worker.group(), worker.member());
        drop(worker);
        if self.seed.chance(70) {
            self.start_worker(direction);
        }
        self.assign_unowned(direction);
    }

    /// The group gives a worker up; it does not know and goes on.
    fn expel(&mut self) {
        let Some(at) = self.some_worker() else { return };
        let direction = self.direction_of(at);
        let (member, group) = (self.workers[at].0.member(), self.group(direction));
        note!(self, "worker {member} becomes a zombie");
        self.broker.expel(&group, member);
        self.assign_unowned(direction);
    }

    fn drain(&mut self) {
        let Some(at) = self.some_worker() else { return };
        note!(self, "worker {} drains", self.workers[at].0.member());
        self.workers[at].0.drain();
    }

    /// Both directions have begun to read all that they read of users. Only then can they know that the topic grew, and was not always so.
    fn is_started(&self) -> bool {
        let ledger = self.target.ledger();
        self.directions.iter().all(|direction| {
            self.broker.partitions().into_iter().filter(|(topic, _)| *topic == USERS).all(|(_, partition)| {
                let name = direction.topics[USERS].name.as_str();
                let is_row = |task: &TaskKey| (&*task.topic, task.partition) == (name, partition);
                ledger.keys().any(|task| task.direction == direction.settings.direction && is_row(task))
            })
        })
    }

    fn restart_connector(&mut self) {
        let back = self.source.restart_connector(&mut self.seed);
        note!(self, "connector restarts {back} events back");
    }

    fn stop_target(&mut self) {
        note!(self, "target stops");
        self.target.down();
    }

    fn start_target(&mut self) {
        note!(self, "target is up");
        self.target.up();
    }

    fn back_up(&mut self) {
        if self.is_started() {
            note!(self, "target is backed up");
            self.backup = Some(self.target.backup());
        }
    }

    fn restore(&mut self) {
        let Some(backup) = &self.backup else { return };
        note!(self, "target is restored");
        self.target.restore(backup);
        self.judge.restored(&self.target);
    }

    /// Looks at what happened.
    pub(crate) fn check(&mut self) -> Result<(), String> {
        for commit in self.target.take_commits() {
            self.done.commits += 1;
            if self.trace.is_some() {
                let spans = commit.spans.iter().map(|span| format!("{} {}→{}", span.task, span.from, span.to));
                let spans = spans.collect::<Vec<_>>().join(", ");
                let claims =
                    commit.ledger.iter().filter(|(task, _)| commit.spans.iter().all(|span| span.task != *task));
                let claims =
                    claims.map(|(task, row)| format!("claim {task} epoch {} at {}", row.epoch, row.next_offset));
                note!(self, "  COMMIT {spans}{}", claims.collect::<Vec<_>>().join(", "));
                for (place, row) in &commit.rows {
                    let key = place.key.last().copied().unwrap_or_default();
                    let row = row.as_ref().map_or("gone".to_owned(), |row| show(row));
                    note!(self, "    {} {key}: {row}", place.table);
                }
                for row in &commit.history {
                    note!(self, "    history [{}] {} {}", row.partition, row.offset, row.operation.letter());
                }
            }
            self.judge.commit(&commit, &self.source)?;
        }
        for (worker, _) in &self.workers {
            let topics = &self.directions[usize::from(worker.group() == HISTORY)].topics;
            for ((topic, partition), next_offset) in worker.committed() {
                self.judge.believes(worker.group(), &topics[topic].name, partition, next_offset)?;
            }
        }
        let mut at = 0;
        while at < self.workers.len() {
            let (worker, listener) = &self.workers[at];
            if let Some(id) = listener.heard(|heard| heard.broken.first().copied()) {
                return Err(format!("worker {}: {id} does not hold", worker.member()));
            }
            if let Some(reason) = listener.heard(|heard| {
                // A missing table and other partitions are part of the trouble; nothing else may stop a partition.
                let is_expected =
                    |reason: &String| reason.contains("table is missing") || reason.contains("waits for the others");
                heard.partitions_paused.iter().find(|reason| !is_expected(reason)).cloned()
            }) {
                return Err(format!("worker {}: {reason}", worker.member()));
            }
            match worker.ended() {
                None => at += 1,
                Some(Some(error)) => return Err(format!("worker {} stopped: {error}", worker.member())),
                Some(None) => {
                    let direction = self.direction_of(at);
                    let (worker, _) = self.workers.remove(at);
                    note!(self, "worker {} has drained", worker.member());
                    self.broker.leave(worker.group(), worker.member());
                    self.assign_unowned(direction);
                }
            }
        }
        Ok(())
    }
}

/// What goes wrong with a statement, in `percent` of 100.
fn fault(seed: &mut Seed, percent: u64, statement: Statement) -> Option<Fault> {
    // COMMIT is one statement of many and has the most interesting troubles.
    let weight = if statement == Statement::Commit { 4 } else { 1 };
    if !seed.chance(percent * weight) {
        return None;
    }
    Some(match seed.below(6) {
        0 => Fault::Reject(ErrorKind::Transient),
        1 => Fault::Reject(ErrorKind::Environment),
        2 => Fault::Cut,
        3 | 4 => Fault::LoseReply,
        _ => Fault::WithholdReply,
    })
}
