//! Random schedules of real lanes over a real SQL target: the simulator's source, rebalances, crashes at any await, zombies, resends and lost
//! replies, with SQL instead of the target in memory; what dies is published. `SIM_SCHEDULES=n` runs n of them, from `SIM_FIRST` on; `SIM_SEED=s` replays the actions of one, with what
//! became different in the target (the server's timing is its own).

#[path = "conformance/faulty.rs"]
mod faulty;
#[path = "schedules/judge.rs"]
mod judge;
#[path = "../../topology/tests/simulator/processors.rs"]
mod processors;
#[path = "../../topology/tests/simulator/source.rs"]
#[allow(dead_code)] // the judge of the simulator reads more
mod source;
#[path = "conformance/target.rs"]
#[allow(dead_code, unused_imports, unreachable_pub)] // shared with the conformance suite
mod target;
#[path = "schedules/troubled.rs"]
mod troubled;

use std::collections::BTreeMap;
use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::{Arc, Mutex};
use std::time::{Duration, Instant};

use faulty::Faulty;
use processors::graph;
use source::{BAD_FOR_TARGET, Fate, Sent, Source, USERS};
use target::{Engine, Target, options};
use tidelock_connect::sql::writer::{HeldLimits, SinkTable, SqlWriter, WriterOptions};
use topology::batch::{SnapshotMode, WriteMode};
use topology::clock::ManualClock;
use topology::driver::{Broker, Listener, Seed, TestDirection, Worker, mirror};
use troubled::Troubles;

/// Schedules on SQLite without `SIM_SCHEDULES`; on a server 15.
const SCHEDULES_DEFAULT: u64 = 40;

/// Schedules on SQLite at the same time.
const SQLITE_THREADS: u64 = 8;

/// Something must change at least this often until everything is at rest.
const CALM_MAX: Duration = Duration::from_secs(60);

/// Short waits.
const HELD: HeldLimits =
    HeldLimits { retry_first_ms: 20, retry_cap_ms: 3000, dead_after_ms: 3_600_000, ..HeldLimits::USUAL };

struct Schedule<'a> {
    seed: Seed,
    clock: ManualClock,
    broker: Broker,
    target: &'a mut Target,
    source: Source,
    directions: Vec<(TestDirection, Vec<SinkTable>)>,
    workers: Vec<(usize, Worker, Listener)>,
    last_member: usize,
    troubles: Arc<Troubles>,
    /// Fate of every record of users by (partition, offset).
    fates: BTreeMap<(i32, i64), Fate>,
    actions: Vec<String>,
    /// What the target had when it was last looked at; only while one schedule is replayed.
    last_look: Option<Vec<String>>,
}

impl<'a> Schedule<'a> {
    async fn new(number: u64, target: &'a mut Target) -> Schedule<'a> {
        let mut seed = Seed::new(number);
        let partitions = vec![1 + seed.below(3) as i32, 1, 1 + seed.below(2) as i32];
        let directions = directions(&mut seed, target).await;
        Schedule {
            broker: Broker::new(&partitions),
            source: Source::new(partitions, &mut seed),
            clock: ManualClock::default(),
            target,
            directions,
            workers: Vec::new(),
            last_member: 0,
            troubles: Arc::new(Troubles::new(seed.fork())),
            fates: BTreeMap::new(),
            actions: Vec::new(),
            last_look: variable("SIM_SEED").map(|_| Vec::new()),
            seed,
        }
    }

    fn start_worker(&mut self, direction: usize) {
        self.last_member += 1;
        let listener = Listener::default();
        let (settings, tables) = &self.directions[direction];
        let options = WriterOptions { dead_letters: Some("dead".into()), ..options(tables, HELD) };
        let connector = Faulty { inner: self.target.connector(), faults: Arc::clone(&self.troubles) };
        let sink = Box::new(SqlWriter::new(Box::new(connector), options));
        let worker =
            Worker::start(self.last_member, settings, &mut self.broker, sink, &self.clock, &listener, &mut self.seed);
        self.workers.push((direction, worker.expect("the graph fits its topics"), listener));
    }

    fn assign_unowned(&mut self, direction: usize) {
        let group = self.directions[direction].0.settings.group_id.to_string();
        if self.broker.members(&group).is_empty() {
            self.start_worker(direction);
        }
        let members = self.broker.members(&group);
        for partition in self.broker.unowned(&group) {
            if direction == 0 || partition.0 == USERS {
                let member = members[self.seed.below(members.len())];
                self.broker.assign(&group, partition, member);
            }
        }
    }

    fn note(&mut self, sent: Option<Sent>) {
        let Some(sent) = sent else { return };
        self.actions.push(format!("{:?} {}: {}", sent.partition, sent.offset, sent.text));
        if sent.partition.0 == USERS {
            self.fates.insert((sent.partition.1, sent.offset), sent.fate);
        }
    }

    /// Notes what became different in the target.
    async fn look(&mut self) {
        let Some(before) = self.last_look.take() else { return };
        let quote = self.target.quote();
        let place = format!("direction, topic, {quote}partition{quote}");
        let mut now = Vec::new();
        for (name, select) in [
            ("progress", format!("SELECT {place}, epoch, next_offset FROM tidelock_progress")),
            ("users", "SELECT id, row_id, version, name, blob_text FROM users".to_owned()),
            ("held", format!("SELECT {place}, {quote}offset{quote}, state, waits_for, attempts FROM tidelock_held")),
            ("moved", "SELECT * FROM tidelock_moved".to_owned()),
            ("outbox", format!("SELECT {place}, seq FROM tidelock_outbox")),
        ] {
            now.extend(self.target.rows(&select).await.into_iter().map(|row| format!("{name} {row}")));
        }
        for row in before.iter().filter(|row| !now.contains(row)) {
            self.actions.push(format!("    - {row}"));
        }
        for row in now.iter().filter(|row| !before.contains(row)) {
            self.actions.push(format!("    + {row}"));
        }
        self.last_look = Some(now);
    }

    async fn act(&mut self) {
        let at = self.seed.below(self.workers.len());
        let (direction, member) = (self.workers[at].0, self.workers[at].1.member());
        let group = self.directions[direction].0.settings.group_id.to_string();
        match self.seed.below(1000) {
            0..350 => {
                let records = 1 + self.seed.below(6);
                self.workers[at].1.step(&mut self.broker, records);
            }
            350..780 => {
                self.workers[at].1.poll_writer();
                // The server works meanwhile.
                tokio::task::yield_now().await;
            }
            780..900 => {
                if !self.source.has_unsent() || self.seed.chance(30) {
                    self.source.change(&mut self.seed);
                }
                let sent = self.source.send(&mut self.broker);
                self.note(sent);
            }
            900..930 => {
                let partitions = self.broker.partitions();
                let partition = partitions[self.seed.below(partitions.len())];
                let members = self.broker.members(&group);
                if !members.is_empty() && (direction == 0 || partition.0 == USERS) {
                    let heir = members[self.seed.below(members.len())];
                    self.actions.push(format!("{group}: {partition:?} to worker {heir}"));
                    self.broker.assign(&group, partition, heir);
                }
            }
            930..936 => {
                self.actions.push(format!("worker {member} is killed"));
                self.broker.leave(&group, member);
                drop(self.workers.remove(at));
                self.start_worker(direction);
                self.assign_unowned(direction);
            }
            936..939 => {
                self.actions.push(format!("worker {member} becomes a zombie"));
                self.broker.expel(&group, member);
                self.assign_unowned(direction);
            }
            939..945 => {
                let back = self.source.restart_connector(&mut self.seed);
                self.actions.push(format!("connector restarts {back} events back"));
            }
            945..950 => self.broker.time_out_transactions(),
            950..970 => tokio::time::sleep(Duration::from_millis(1)).await,
            _ => {
                let step = [1, 20, 500][self.seed.below(3)];
                self.clock.advance(Duration::from_millis(step));
            }
        }
    }

    async fn run(&mut self) -> Result<(), String> {
        for direction in [0, 0, 1] {
            self.start_worker(direction);
        }
        self.assign_unowned(0);
        self.assign_unowned(1);
        for _ in 0..300 + self.seed.below(1500) {
            self.act().await;
            self.look().await;
        }
        self.troubles.end();
        while self.source.has_unsent() {
            let sent = self.source.send(&mut self.broker);
            self.note(sent);
        }
        let (mut changed_at, mut left_before) = (Instant::now(), Vec::new());
        loop {
            for (_, worker, listener) in &mut self.workers {
                worker.step(&mut self.broker, 10);
                worker.poll_writer();
                if let Some(Some(error)) = worker.ended() {
                    return Err(format!("worker stopped: {error}"));
                }
                let broken = listener.heard(|heard| heard.broken.first().copied());
                // A partition's first record waits until the others have begun (rule A6); nothing else may stop one.
                let is_expected = |reason: &&String| reason.contains("waits for the others");
                let paused =
                    listener.heard(|heard| heard.partitions_paused.iter().find(|reason| !is_expected(reason)).cloned());
                if let Some(reason) = broken.map(str::to_owned).or(paused) {
                    return Err(reason);
                }
            }
            self.look().await;
            if self.workers.iter().any(|(_, worker, _)| worker.is_woken()) {
                continue;
            }
            // Nobody can go on but by the server's answer or by time.
            tokio::time::sleep(Duration::from_millis(1)).await;
            if self.workers.iter().any(|(_, worker, _)| worker.is_woken()) {
                continue;
            }
            self.clock.advance(Duration::from_millis(100));
            self.broker.time_out_transactions();
            let mut left = self.lag().await;
            if left.is_empty() {
                left = self.held().await;
                let unpublished = self.unpublished().await;
                if left.is_empty() && unpublished.is_empty() {
                    return self.judge().await;
                }
                left.extend(unpublished);
                // Everything was read, so nothing more can come that a held row should wait for: try all of them at once, again and again.
                if !self.is_any_due().await {
                    self.make_due().await;
                }
            }
            if changed_at.elapsed() > CALM_MAX {
                return Err(format!("does not come to rest: {}", left.join("; ")));
            }
            if left != left_before {
                (changed_at, left_before) = (Instant::now(), left);
            }
        }
    }

    /// Partitions that are not read to their ends.
    async fn lag(&mut self) -> Vec<String> {
        let quote = self.target.quote();
        let ledger = format!(
            "SELECT direction, topic, {quote}partition{quote}, next_offset FROM tidelock_progress ORDER BY direction, topic"
        );
        let rows: Vec<String> = self.target.rows(&ledger).await;
        let mut left = Vec::new();
        for (direction, (settings, _)) in self.directions.iter().enumerate() {
            for (topic, partition) in self.broker.partitions() {
                if direction == 1 && topic != USERS {
                    continue;
                }
                let name = &settings.topics[topic].name;
                let end = self.broker.end_of_records((topic, partition));
                let at = format!("{}|{name}|{partition}|", settings.settings.direction);
                let next: i64 = rows.iter().find_map(|row| row.strip_prefix(&at)?.parse().ok()).unwrap_or_default();
                if next < end {
                    left.push(format!("{at}{next} of {end}"));
                }
            }
        }
        left
    }

    async fn is_any_due(&mut self) -> bool {
        let now = std::time::SystemTime::now().duration_since(std::time::UNIX_EPOCH).expect("after 1970").as_millis();
        let due =
            format!("SELECT COUNT(*) FROM tidelock_held WHERE state IN ('parked', 'queued') AND retry_at_ms <= {now}");
        self.target.value(&due).await != "0"
    }

    /// Makes parked rows due. The lanes go on meanwhile: one of them may be in the middle of a transaction.
    async fn make_due(&mut self) {
        let update = self.target.try_run("UPDATE tidelock_held SET retry_at_ms = 0 WHERE state = 'parked'");
        let mut update = std::pin::pin!(update);
        while tokio::time::timeout(Duration::from_micros(100), &mut update).await.is_err() {
            for (_, worker, _) in &mut self.workers {
                worker.poll_writer();
            }
        }
    }

    /// Rows that wait.
    async fn held(&mut self) -> Vec<String> {
        let quote = self.target.quote();
        let held = format!(
            "SELECT direction, topic, {quote}partition{quote}, {quote}offset{quote}, state, waits_for FROM tidelock_held \
             WHERE state IN ('parked', 'queued')"
        );
        self.target.rows(&held).await
    }

    /// Outputs that are stored and not published.
    async fn unpublished(&mut self) -> Vec<String> {
        let quote = self.target.quote();
        let outbox = format!("SELECT direction, topic, {quote}partition{quote}, seq FROM tidelock_outbox");
        let stored = self.target.rows(&outbox).await;
        let published = self.broker.outputs().iter().map(|output| {
            let task = &output.task;
            format!("{}|{}|{}|{}", task.direction, task.topic, task.partition, output.seq)
        });
        let published: Vec<String> = published.collect();
        stored
            .into_iter()
            .filter(|output| !published.contains(output))
            .map(|output| format!("output {output}"))
            .collect()
    }
}

/// The mirror of three tables and the history of one, with the live columns.
async fn directions(seed: &mut Seed, target: &mut Target) -> Vec<(TestDirection, Vec<SinkTable>)> {
    let quote = target.quote();
    let text = if target.engine == Engine::MySql || target.engine == Engine::MariaDb { "VARCHAR(100)" } else { "TEXT" };
    let statements = [
        format!(
            "CREATE TABLE users (id BIGINT PRIMARY KEY, row_id BIGINT, version BIGINT, name {text}, blob_text {text}, \
             CHECK (name <> '{BAD_FOR_TARGET}'))"
        ),
        "CREATE TABLE parents (id BIGINT PRIMARY KEY, version BIGINT)".to_owned(),
        "CREATE TABLE children (id BIGINT PRIMARY KEY, version BIGINT, parent BIGINT, FOREIGN KEY (parent) REFERENCES parents (id))"
            .to_owned(),
        format!(
            "CREATE TABLE users_history (topic {text}, {quote}partition{quote} INT, {quote}offset{quote} BIGINT, \
             operation {text}, {quote}key{quote} {text}, {quote}row{quote} TEXT)"
        ),
    ];
    let own = ["tidelock_progress", "tidelock_held", "tidelock_moved", "tidelock_outbox"];
    for table in ["children", "parents", "users", "users_history"].iter().chain(&own) {
        target.run(&[&format!("DROP TABLE IF EXISTS {table}")]).await;
    }
    for statement in &statements {
        target.run(&[statement]).await;
    }
    if target.engine == Engine::Sqlite {
        target.rows("PRAGMA journal_mode = WAL").await;
    }
    target.writer(&[]).create_own_tables().await.expect("the target is empty");
    let columns: &[&str] = &["id", "row_id", "version", "name", "blob_text"];
    let users = target.table(0, "users", columns, &["id"]).await;
    let parents = target.table(1, "parents", &["id", "version"], &["id"]).await;
    let children = target.table(2, "children", &["id", "version", "parent"], &["id"]).await;
    let mut history = users.clone();
    history.table.name = "users_history".into();
    history.table.mode = WriteMode::Append;
    let mirrored = mirror(&[
        ("users", columns, 1),
        ("parents", &["id", "version"], 1),
        ("children", &["id", "version", "parent"], 1),
    ]);
    let both = [
        ("mirror", mirrored, vec![users, parents, children]),
        ("history", mirror(&[("users", columns, 1)]), vec![history]),
    ];
    let finish = |(name, mut direction, tables): (&str, TestDirection, Vec<SinkTable>)| {
        direction.topology = graph(&direction.topics);
        direction.settings.direction = name.into();
        direction.settings.group_id = name.into();
        direction.settings.publishes = true;
        direction.settings.batch_rows_max = 1 + seed.below(8);
        direction.settings.snapshots = vec![SnapshotMode::Upsert; tables.len()];
        direction.settings.tables = tables.iter().map(|table| table.table.clone()).collect();
        direction.layouts = tables.iter().map(|table| (table.table.layout(), table.table.key_layout())).collect();
        (direction, tables)
    };
    both.into_iter().map(finish).collect()
}

fn variable(name: &str) -> Option<u64> {
    std::env::var(name).ok()?.parse().ok()
}

/// Runs one schedule in a database that may have the tables of another one.
async fn run(target: &mut Target, seed: u64) -> Result<(), String> {
    let mut schedule = Schedule::new(seed, target).await;
    let Err(reason) = schedule.run().await else { return Ok(()) };
    let mut told = std::mem::take(&mut schedule.actions);
    let quote = schedule.target.quote();
    let held = format!(
        "SELECT direction, topic, {quote}partition{quote}, {quote}offset{quote}, state, waits_for, attempts, {quote}key{quote}, message \
         FROM tidelock_held WHERE state <> 'dead' ORDER BY direction, topic, {quote}partition{quote}, {quote}offset{quote}"
    );
    for table in
        [held.as_str(), "SELECT * FROM tidelock_moved", "SELECT topic, epoch, next_offset FROM tidelock_progress"]
    {
        told.push(table.to_owned());
        told.extend(schedule.target.rows(table).await.into_iter().map(|row| format!("  {row}")));
    }
    Err(format!("SIM_SEED={seed} {reason}\n  {}", told.join("\n  ")))
}

/// Seeds of this run: one that is replayed, or as many as were asked for.
fn seeds(count: u64) -> std::ops::Range<u64> {
    let first = variable("SIM_FIRST").unwrap_or(0);
    variable("SIM_SEED").map_or(first..first + variable("SIM_SCHEDULES").unwrap_or(count), |seed| seed..seed + 1)
}

/// A schedule waits for its database most of the time, so several run at once, each in a file of its own.
#[test]
fn random_schedules_end_equal_on_sqlite() {
    let seeds = seeds(SCHEDULES_DEFAULT);
    let (next, failed) = (AtomicU64::new(seeds.start), Mutex::new(Vec::new()));
    std::thread::scope(|scope| {
        for thread in 0..SQLITE_THREADS.min(seeds.end - seeds.start) {
            let (next, failed, seeds) = (&next, &failed, &seeds);
            scope.spawn(move || {
                let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build();
                runtime.expect("a runtime for one thread").block_on(async {
                    let mut target = Target::sqlite(&format!("schedules-{thread}")).await;
                    loop {
                        let seed = next.fetch_add(1, Ordering::Relaxed);
                        if seed >= seeds.end {
                            return;
                        }
                        if let Err(reason) = run(&mut target, seed).await {
                            println!("{}", reason.lines().next().unwrap_or_default());
                            failed.lock().expect("no panic while locked").push(reason);
                        }
                    }
                });
            });
        }
    });
    let failed = failed.into_inner().expect("no panic while locked");
    println!("schedules: {} on sqlite, {} failures", seeds.end - seeds.start, failed.len());
    assert!(failed.is_empty(), "{}", failed[0]);
}

async fn run_on(engine: Engine, variable: &str) {
    let Some(mut target) = Target::server(engine, variable, "schedules").await else { return };
    for seed in seeds(15) {
        if let Err(reason) = run(&mut target, seed).await {
            panic!("{reason}");
        }
    }
    target.drop_database().await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn random_schedules_end_equal_on_postgres() {
    run_on(Engine::Postgres, "TIDELOCK_TEST_POSTGRES18").await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn random_schedules_end_equal_on_mysql() {
    run_on(Engine::MySql, "TIDELOCK_TEST_MYSQL").await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn random_schedules_end_equal_on_mariadb() {
    run_on(Engine::MariaDb, "TIDELOCK_TEST_MARIADB").await;
}
