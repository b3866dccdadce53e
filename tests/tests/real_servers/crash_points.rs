//! A crash at every point of `topology::crash`: one worker per point is killed there (SIGKILL, by itself), and the next one ends where the
//! source is, with every record of the topics in the history once, and what can't be written once on the dead-letter topic. A point that
//! is never reached fails the test.
//!
//! All of them read the same topics, each with a pipeline and a target database of its own, so they can be killed side by side.

use std::os::unix::process::ExitStatusExt;
use std::sync::Arc;
use std::time::{Duration, Instant};

use tidelock_tests::database::Database;
use tidelock_tests::example::{MYSQL_POSTGRES, execute};
use tidelock_tests::group::Group;
use tidelock_tests::pair::Pair;
use tidelock_tests::servers::{Role, Server};
use tidelock_tests::topic;
use tidelock_tests::wait::eventually;
use tidelock_tests::worker::Worker;
use topology::crash::{POINTS, Point};

/// How long a worker may take to reach its point.
const CRASH_LIMIT: Duration = Duration::from_secs(90);
/// How long the next one may take: the group notices the dead one after 6 s.
const CATCH_UP: Duration = Duration::from_secs(180);
const STOP_LIMIT: Duration = Duration::from_secs(40);
/// Workers that start at the same time.
const AT_ONCE: usize = 6;
const TABLES: [&str; 2] = ["accounts", "purchases"];
/// Without the row that the target refuses.
const ROWS: [&str; 2] = [
    "SELECT id, name FROM accounts ORDER BY id",
    "SELECT id, account_id, amount FROM purchases WHERE amount < 1000000 ORDER BY id",
];

const CONFIG: &str = r#"
pipeline: "${PIPELINE}"
kafka:
  brokers: "${KAFKA_BROKERS}"
  registry: "${SCHEMA_REGISTRY_URL}"
  options: { session.timeout.ms: "6000", heartbeat.interval.ms: "1500" }
sites:
  mysql: { kind: mysql, url: "${MYSQL_URL}", topics: "${MYSQL_PREFIX}.${MYSQL_DATABASE}.{table}" }
  postgres: { kind: postgres, url: "${POSTGRES_URL}" }
links:
  - { from: mysql, to: postgres, entities: { accounts: {}, purchases: {} } }
  - from: mysql
    to: postgres
    entities:
      accounts_history: { tables: { mysql: accounts, postgres: history }, mode: append }
      purchases_history: { tables: { mysql: purchases, postgres: history }, mode: append }
tuning: { dead: { ratio: 1, run_length: 100000 } }
"#;

/// No foreign key here, so that a child can come long before its parent.
const LEFT_SCHEMA: &str = "CREATE TABLE accounts (id INT PRIMARY KEY, name VARCHAR(40) NOT NULL);
CREATE TABLE purchases (id INT PRIMARY KEY, account_id INT NOT NULL, amount DECIMAL(12,2) NOT NULL);
INSERT INTO accounts VALUES (1000, 'before')";

const RIGHT_SCHEMA: &str = "CREATE TABLE accounts (id int PRIMARY KEY, name varchar(40) NOT NULL);
CREATE TABLE purchases (id int PRIMARY KEY, account_id int NOT NULL REFERENCES accounts (id), amount numeric(12,2) NOT NULL
  CHECK (amount < 1000000));
CREATE TABLE history (topic varchar(200) NOT NULL, partition int NOT NULL, \"offset\" bigint NOT NULL,
  operation varchar(1) NOT NULL, key jsonb, row jsonb)";

/// Inserts, updates, deletes, a key change, a row that the target refuses, and a child whose parent is not there, with a change behind it.
const CHANGES: &str = "
INSERT INTO accounts VALUES (1, 'a'), (2, 'b'), (3, 'c'), (4, 'd'), (5, 'e'), (6, 'f'), (7, 'g'), (8, 'h');
INSERT INTO purchases VALUES (1, 1, 1.10), (2, 2, 2.20), (3, 3, 3.30), (4, 4, 4.40), (5, 5, 5.50);
UPDATE accounts SET name = concat(name, ' again') WHERE id IN (1, 3, 5);
UPDATE purchases SET amount = amount + 1 WHERE id < 4;
DELETE FROM purchases WHERE id = 5;
DELETE FROM accounts WHERE id IN (5, 8);
UPDATE accounts SET id = 70 WHERE id = 7;
INSERT INTO purchases VALUES (901, 1, 1000000);
INSERT INTO purchases VALUES (900, 777, 9.00);
UPDATE purchases SET amount = 9.99 WHERE id = 900";

/// The parent, and more of everything.
const LATER_CHANGES: &str = "INSERT INTO accounts VALUES (777, 'late');
INSERT INTO accounts VALUES (9, 'i'); INSERT INTO purchases VALUES (6, 9, 6.60); DELETE FROM purchases WHERE id = 4;
UPDATE accounts SET name = 'at last' WHERE id IN (1, 70, 777)";

#[tokio::test]
async fn a_crash_at_any_point_loses_and_doubles_nothing() {
    let mut group = Group::of(prepare().await);
    group.show(every_point_kills_its_worker_and_the_next_one_ends_where_the_source_is).await;
    for point in POINTS {
        let database = database_of(&group.pair, point);
        execute(Server::Postgres, "", &format!("DROP DATABASE IF EXISTS {database} WITH (FORCE)")).await;
    }
    group.end().await;
}

async fn prepare() -> Pair {
    let mut example = MYSQL_POSTGRES;
    for side in &mut example.sides {
        side.schema = &[];
        side.tables = &TABLES;
    }
    let mut running = example.named("crash");
    running.more_schema[0] = LEFT_SCHEMA.to_owned();
    let mysql = example.sides[0];
    let tables = TABLES.map(|table| format!("{}.{table}", running.variable(&mysql, "DATABASE"))).join(",");
    running.set_connector(&mysql, "table.include.list", &tables);
    let pair = Pair::of(running, Some(CONFIG));
    pair.running.create_databases().await;
    let mysql = &pair.running.example.sides[0];
    pair.running.apply_connector(mysql).await;
    // Its snapshot has seen the tables: what comes now comes as changes.
    eventually(CATCH_UP, "the snapshot is on the topic", || async {
        let records = topic::read(&pair.running.topic(mysql, "accounts")).await.len();
        if records > 0 { Ok(()) } else { Err("nothing yet".to_owned()) }
    })
    .await;
    pair
}

fn database_of(pair: &Pair, point: &Point) -> String {
    format!("{}_{}", pair.running.name(), point.name)
}

/// One point, with what its worker writes.
struct Trial {
    point: &'static Point,
    name: String,
    target: Database,
    worker: Option<Worker>,
}

impl Trial {
    async fn of(pair: &Pair, point: &'static Point) -> Trial {
        let name = database_of(pair, point);
        execute(Server::Postgres, "", &format!("CREATE DATABASE {name}")).await;
        execute(Server::Postgres, &name, RIGHT_SCHEMA).await;
        Trial { point, target: Database::open(Server::Postgres, &name), name, worker: None }
    }

    fn start(&mut self, pair: &Pair, crash_at: &[(&str, &str)]) {
        let mut variables = pair.running.variables.clone();
        variables.insert("PIPELINE".to_owned(), self.name.clone());
        if self.has_letters() {
            variables.insert("TIDELOCK_KAFKA__DEAD_LETTERS".to_owned(), self.letters());
        }
        variables.insert("POSTGRES_URL".to_owned(), Server::Postgres.url(Role::Writer, &self.name));
        variables.extend(crash_at.iter().map(|(name, value)| ((*name).to_owned(), (*value).to_owned())));
        self.worker = Some(Worker::start(&self.name, pair.config(), &variables, &[]));
    }

    /// With dead letters, the group's offsets are part of the transactions that publish them.
    fn has_letters(&self) -> bool {
        !self.point.name.ends_with("_group_offsets")
    }

    fn letters(&self) -> String {
        format!("{}-letters", self.name)
    }

    fn start_to_be_killed(&mut self, pair: &Pair) {
        self.start(pair, &[("TIDELOCK_CRASH_AT", self.point.name)]);
    }

    /// True when the worker was killed at its point; fails when it ended otherwise.
    fn is_killed(&mut self) -> bool {
        let worker = self.worker.as_mut().expect("started");
        let Some(status) = worker.ended() else { return false };
        assert_eq!(status.signal(), Some(9), "{}: {status}; {}", self.point.name, worker.log_tail());
        true
    }

    async fn killed(&mut self) {
        let deadline = Instant::now() + CRASH_LIMIT;
        while !self.is_killed() {
            let log = || self.worker.as_ref().map(Worker::log_tail).unwrap_or_default();
            assert!(Instant::now() < deadline, "{} ({}) is never reached; {}", self.point.name, self.point.what, log());
            tokio::time::sleep(Duration::from_millis(50)).await;
        }
    }

    /// Waits until a row waits for its parent, unless the worker is killed before.
    async fn holds_a_child(&mut self) {
        let sql = "SELECT count(*) FROM tidelock_held WHERE state = 'parked' AND waits_for LIKE '%accounts'";
        let deadline = Instant::now() + CRASH_LIMIT;
        // The table is made by the worker.
        while self.target.try_rows(sql).await.unwrap_or_default() != ["1"] && !self.is_killed() {
            assert!(Instant::now() < deadline, "{}: no child waits for its parent", self.point.name);
            tokio::time::sleep(Duration::from_millis(100)).await;
        }
    }

    async fn is_where_the_source_is(&self, pair: &Pair) {
        for sql in ROWS {
            let expected = pair.left.rows(sql).await;
            let what = format!("killed at {}: {sql}", self.point.name);
            eventually(CATCH_UP, &what, || async {
                let rows = self.target.try_rows(sql).await.map_err(|error| error.to_string())?;
                let log = self.worker.as_ref().map(Worker::log_tail).unwrap_or_default();
                if rows == expected { Ok(()) } else { Err(format!("{rows:?}, expected {expected:?}; {log}")) }
            })
            .await;
        }
        let held = "SELECT state FROM tidelock_held WHERE state <> 'superseded'";
        self.target.shows_within(CATCH_UP, held, &["dead"]).await;
    }

    async fn has_the_dead_letter_once(&self) {
        let topic = self.letters();
        eventually(CATCH_UP, &format!("killed at {}: the dead letter", self.point.name), || async {
            let letters = topic::read(&topic).await.len();
            let stored = self.target.rows("SELECT seq FROM tidelock_outbox").await.len();
            if (letters, stored) == (1, 0) { Ok(()) } else { Err(format!("{letters} letters, {stored} in the outbox")) }
        })
        .await;
    }

    async fn has_each_record_once(&self, expected: &[String]) {
        let sql = "SELECT topic, partition, \"offset\" FROM history";
        eventually(CATCH_UP, &format!("killed at {}: the history", self.point.name), || async {
            let mut rows = self.target.try_rows(sql).await.map_err(|error| error.to_string())?;
            rows.sort();
            if rows == expected { Ok(()) } else { Err(format!("{rows:?}, expected {expected:?}")) }
        })
        .await;
    }
}

/// Topic, partition and offset of every change on the topics, sorted.
async fn records(pair: &Pair) -> Vec<String> {
    let mut places = Vec::new();
    for table in TABLES {
        let topic = pair.running.topic(&pair.running.example.sides[0], table);
        let records = topic::read(&topic).await;
        // A record without value only says that a key may be forgotten (rule B6).
        let changes = records.iter().filter(|record| record.value.is_some());
        places.extend(changes.map(|record| format!("{topic}|{}|{}", record.partition, record.offset)));
    }
    places.sort();
    places
}

async fn every_point_kills_its_worker_and_the_next_one_ends_where_the_source_is(pair: Arc<Pair>) {
    // Given changes on the topics, and for each point a target.
    pair.left.run(CHANGES).await;
    let mut trials = Vec::new();
    for point in POINTS {
        trials.push(Trial::of(&pair, point).await);
    }
    // Those at the release of held rows need a parent that comes later, and a delete needs a row that is there.
    let (mut late, mut early): (Vec<Trial>, Vec<Trial>) = trials
        .into_iter()
        .partition(|trial| trial.point.name.starts_with("release_") || trial.point.name == "after_delete");
    assert!(!late.is_empty() && !early.is_empty());
    // When each worker is killed at its point, and another one is started,
    for some in early.chunks_mut(AT_ONCE) {
        some.iter_mut().for_each(|trial| trial.start_to_be_killed(&pair));
        for trial in some {
            trial.killed().await;
            trial.start(&pair, &[]);
        }
    }
    late.iter_mut().for_each(|trial| trial.start_to_be_killed(&pair));
    for trial in &mut late {
        trial.holds_a_child().await;
    }
    pair.left.run(LATER_CHANGES).await;
    for trial in &mut late {
        trial.killed().await;
        trial.start(&pair, &[]);
    }
    // then each target ends where the source is, nothing waits any more, its history has each record once, and so has the dead-letter topic.
    let mut trials: Vec<Trial> = early.into_iter().chain(late).collect();
    for trial in &trials {
        trial.is_where_the_source_is(&pair).await;
    }
    let expected = records(&pair).await;
    assert!(expected.len() > 30, "{expected:?}");
    for trial in &mut trials {
        trial.has_each_record_once(&expected).await;
        if trial.has_letters() {
            trial.has_the_dead_letter_once().await;
        }
        let mut worker = trial.worker.take().expect("started");
        assert_eq!(worker.terminate(STOP_LIMIT), 0, "{}", worker.log_tail());
        trial.target.close().await;
    }
}
