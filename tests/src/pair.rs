//! An example with its databases, its connectors and its workers: what a user has after following its README.

use std::path::{Path, PathBuf};
use std::sync::atomic::{AtomicUsize, Ordering};
use std::time::Duration;

use tokio::sync::Mutex;

use crate::database::Database;
use crate::example::Running;
use crate::topic;
use crate::wait::eventually;
use crate::worker::Worker;

/// Two pictures that are this far apart and equal show that nothing moves: longer than a connector waits between two polls, and than the
/// lag metric is old.
const STILL: Duration = Duration::from_millis(1500);

/// Two databases in step.
pub struct Pair {
    /// Names and variables.
    pub running: Running,
    /// The link's left database.
    pub left: Database,
    /// The right one.
    pub right: Database,
    config: PathBuf,
    workers: Mutex<Vec<Worker>>,
    started: AtomicUsize,
}

impl Pair {
    /// Makes databases and connectors; starts no worker. `config` replaces the example's `tidelock.yaml`.
    pub async fn prepare(running: Running, config: Option<&str>) -> Pair {
        let pair = Pair::of(running, config);
        pair.running.create_databases().await;
        pair.running.apply_connectors().await;
        pair
    }

    /// Names only.
    pub fn of(running: Running, config: Option<&str>) -> Pair {
        let [left, right] =
            running.example.sides.map(|side| Database::open(side.server, running.variable(&side, "DATABASE")));
        let config = match config {
            None => running.example.path().join("tidelock.yaml"),
            Some(text) => {
                let path = std::env::temp_dir().join(format!("{}.yaml", running.name()));
                std::fs::write(&path, text).expect("a temporary file");
                path
            }
        };
        Pair { running, left, right, config, workers: Mutex::default(), started: AtomicUsize::new(0) }
    }

    /// What its workers are configured with.
    pub fn config(&self) -> &Path {
        &self.config
    }

    /// Starts one more worker.
    pub async fn start_worker(&self) {
        self.start_worker_with(&[]).await;
    }

    /// Starts one more worker with more environment variables.
    pub async fn start_worker_with(&self, more: &[(&str, &str)]) {
        self.start_worker_saying(&[], more).await;
    }

    /// Starts one more worker with more arguments and environment variables.
    pub async fn start_worker_saying(&self, arguments: &[&str], more: &[(&str, &str)]) {
        let number = self.started.fetch_add(1, Ordering::Relaxed);
        let mut variables = self.running.variables.clone();
        variables.extend(more.iter().map(|(name, value)| ((*name).to_owned(), (*value).to_owned())));
        let worker = Worker::start(&format!("{}-{number}", self.running.name()), &self.config, &variables, arguments);
        self.workers.lock().await.push(worker);
    }

    /// Waits until every worker says that it is ready.
    ///
    /// # Panics
    /// When one is not within a minute.
    pub async fn ready(&self) {
        eventually(Duration::from_secs(60), "every worker is ready", || async {
            let mut workers = self.workers.lock().await;
            for worker in workers.iter_mut() {
                if !worker.is_running() {
                    return Err(format!("a worker has ended; {}", worker.log_tail()));
                }
                match worker.get("/ready").await {
                    Some((200, _)) => {}
                    other => return Err(format!("{other:?}; {}", worker.log_tail())),
                }
            }
            Ok(())
        })
        .await;
    }

    /// What a path of every worker's HTTP server answers; `None` where it does not.
    pub async fn replies(&self, path: &str) -> Vec<Option<(u16, String)>> {
        let mut replies = Vec::new();
        for worker in self.workers.lock().await.iter() {
            replies.push(worker.get(path).await);
        }
        replies
    }

    /// SIGTERM to all workers, each within `limit`; every exit code must be 0.
    ///
    /// # Panics
    /// When one ends otherwise.
    pub async fn stop_workers(&self, limit: Duration) {
        for mut worker in self.workers.lock().await.drain(..) {
            let code = worker.terminate(limit);
            assert_eq!(code, 0, "exit code after SIGTERM; {}", worker.log_tail());
        }
    }

    /// SIGTERM to one worker; its place is free.
    ///
    /// # Panics
    /// When it does not end within `limit`, or not well.
    pub async fn stop_worker(&self, index: usize, limit: Duration) {
        let mut worker = self.workers.lock().await.remove(index);
        let code = worker.terminate(limit);
        assert_eq!(code, 0, "exit code after SIGTERM; {}", worker.log_tail());
    }

    /// A signal by name to one worker: STOP freezes it, CONT lets it go on.
    pub async fn signal_worker(&self, index: usize, name: &str) {
        self.workers.lock().await[index].signal(name);
    }

    /// `kill -9` of one worker; its place is free.
    pub async fn kill_worker(&self, index: usize) {
        self.workers.lock().await.remove(index).kill();
    }

    /// Sum of a metric over all workers.
    pub async fn metric(&self, name: &str, labels: &[&str]) -> f64 {
        let mut sum = 0.0;
        for worker in self.workers.lock().await.iter() {
            sum += worker.metric(name, labels).await;
        }
        sum
    }

    /// Records of one outcome so far, of all directions whose name contains `direction`.
    pub async fn outcome(&self, direction: &str, outcome: &str) -> f64 {
        let (outcome, direction) = (format!("outcome=\"{outcome}\""), format!("direction=\"{direction}"));
        self.metric("tidelock_records_total", &[&outcome, &direction]).await
    }

    /// Waits until a metric of all workers together is at least this much: what a batch did is counted after its rows can be seen.
    ///
    /// # Panics
    /// When it is not within the scenarios' limit.
    pub async fn counted(&self, name: &str, labels: &[&str], at_least: f64) {
        eventually(crate::wait::arrival(), &format!("{name} {labels:?} counts"), || async {
            let seen = self.metric(name, labels).await;
            if seen >= at_least { Ok(()) } else { Err(format!("{seen}, expected {at_least}")) }
        })
        .await;
    }

    /// Waits until `tidelock_records_total` of a direction and outcome is at least this much.
    ///
    /// # Panics
    /// When it is not within the scenarios' limit.
    pub async fn counts(&self, direction: &str, outcome: &str, at_least: f64) {
        let (outcome, direction) = (format!("outcome=\"{outcome}\""), format!("direction=\"{direction}"));
        self.counted("tidelock_records_total", &[&outcome, &direction], at_least).await;
    }

    /// Everything that the workers have logged.
    pub async fn log(&self) -> String {
        self.workers.lock().await.iter().map(Worker::log).collect()
    }

    /// What a person would look at when something does not arrive: states of connectors and workers, progress, held rows, logs.
    pub async fn diagnosis(&self) -> String {
        let mut told = self.running.connector_states().await;
        for worker in self.workers.lock().await.iter() {
            told.push(format!("{:?}", worker.get("/api/status").await.map(|(_, text)| text)));
            told.push(worker.log_tail());
        }
        for database in [&self.left, &self.right] {
            let held =
                "SELECT direction, topic, state, code, message, waits_for, count(*), min(attempts), max(attempts)
                FROM tidelock_held GROUP BY direction, topic, state, code, message, waits_for";
            for sql in [held, "SELECT * FROM tidelock_progress"] {
                told.push(format!("{}: {sql}\n{:#?}", database.name, database.try_rows(sql).await));
            }
        }
        let sides = self.running.example.sides.iter();
        let topics: Vec<String> =
            sides.flat_map(|side| side.tables.iter().map(|table| self.running.topic(side, table))).collect();
        told.push(format!("{:#?}", topic::ends(&topics).await));
        told.join("\n")
    }

    /// Everything that may not change while nothing happens: rows of the example's tables and the ends of their topics.
    pub async fn picture(&self) -> Vec<String> {
        let mut picture = Vec::new();
        let mut topics = Vec::new();
        for (side, database) in self.running.example.sides.iter().zip([&self.left, &self.right]) {
            for table in side.tables {
                picture.push(format!("{} {table}", side.site));
                picture.extend(database.rows(&format!("SELECT * FROM {table} ORDER BY id")).await);
                topics.push(self.running.topic(side, table));
            }
        }
        picture.extend(topic::ends(&topics).await.into_iter().map(|(place, end)| format!("{place:?} {end}")));
        picture
    }

    /// Waits until everything under way has arrived: no record is left to read, and neither rows nor topics have changed for a while.
    ///
    /// # Panics
    /// When that does not happen within three times the scenarios' limit, as with changes that go round for ever.
    pub async fn settled(&self) {
        eventually(3 * crate::wait::arrival(), "nothing is under way any more", || async {
            let before = self.picture().await;
            tokio::time::sleep(STILL).await;
            let lag = self.metric("tidelock_lag_records", &[]).await;
            let settled = lag == 0.0 && before == self.picture().await;
            if settled { Ok(()) } else { Err(format!("{lag} records to read")) }
        })
        .await;
    }

    /// Once everything has arrived, watches for `duration` that neither rows nor topics change.
    ///
    /// # Panics
    /// When they do.
    pub async fn quiet(&self, duration: Duration) {
        self.settled().await;
        let before = self.picture().await;
        tokio::time::sleep(duration).await;
        let after = self.picture().await;
        let changed: Vec<_> = before.iter().zip(&after).filter(|(before, after)| before != after).collect();
        assert_eq!(before, after, "it was not quiet for {duration:?}: {changed:#?}");
    }

    /// Ends workers and connections and removes what was made.
    pub async fn remove(&self) {
        self.workers.lock().await.clear();
        self.left.close().await;
        self.right.close().await;
        self.running.remove().await;
    }
}
