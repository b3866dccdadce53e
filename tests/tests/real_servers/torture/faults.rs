//! What the torture does to workers, servers and the network, and who looks after them meanwhile as an administrator would.

use std::sync::Arc;
use std::time::{Duration, Instant};

use rand::Rng;
use rand::rngs::StdRng;
use rand::seq::SliceRandom;
use serde_json::Value;
use tidelock_tests::instance::Instance;
use tidelock_tests::pair::Pair;
use tidelock_tests::proxy::Proxy;
use tidelock_tests::servers;
use tidelock_tests::worker::{self, Worker};

use super::say;

const WORKERS: usize = 4;
/// A worker leaves and another one comes this often, whatever else happens.
const REBALANCE_EVERY: Duration = Duration::from_secs(10);
/// `session.timeout.ms` of the load's configuration.
const SESSION: Duration = Duration::from_secs(6);
/// A worker that was asked to leave is killed after this time: its target may be down.
const LEAVE_LIMIT: Duration = Duration::from_secs(45);
const LOOK_EVERY: Duration = Duration::from_millis(500);
const ASK_LIMIT: Duration = Duration::from_secs(2);

/// What is done next.
#[derive(Clone, Copy, Debug)]
enum Fault {
    KillWorker,
    FreezeWorker,
    Cut,
    Silence,
    RestartPostgres,
    RestartMysql,
    RestartBroker,
    RestartConnect,
}

/// One round: each fault as often as it is here, in an order that the seed decides.
const DECK: [Fault; 13] = [
    Fault::KillWorker,
    Fault::KillWorker,
    Fault::KillWorker,
    Fault::FreezeWorker,
    Fault::FreezeWorker,
    Fault::Cut,
    Fault::Cut,
    Fault::Cut,
    Fault::Silence,
    Fault::RestartPostgres,
    Fault::RestartMysql,
    Fault::RestartBroker,
    Fault::RestartConnect,
];

/// What was done, and what the workers said that it led to.
#[derive(Debug, Default)]
pub(super) struct Counts {
    pub(super) kills: u64,
    pub(super) restarts: u64,
    pub(super) rebalances: u64,
    pub(super) cuts: u64,
    pub(super) zombies_refused: u64,
    pub(super) duplicates_dropped: u64,
    pub(super) dead_letters: u64,
}

/// A worker, and what its metrics said last: they end with it.
struct Watched {
    worker: Worker,
    zombies_refused: f64,
    duplicates_dropped: f64,
    dead_letters: f64,
}

pub(super) struct Faults {
    instance: Instance,
    pair: Arc<Pair>,
    random: StdRng,
    deck: Vec<Fault>,
    /// In front of MySQL and PostgreSQL, as the workers see them.
    proxies: [Proxy; 2],
    variables: std::collections::BTreeMap<String, String>,
    started: usize,
    workers: Vec<Watched>,
    /// Frozen until then.
    frozen: Vec<(Watched, Instant)>,
    /// Asked to leave then.
    leaving: Vec<(Watched, Instant)>,
    /// The proxy that is silent until then.
    silent: Option<(usize, Instant)>,
    rebalanced_at: Instant,
    looked_at: Instant,
    connect: reqwest::Client,
    counts: Counts,
}

impl Faults {
    /// Puts the network in between and starts the workers.
    pub(super) async fn prepare(pair: Arc<Pair>, random: StdRng) -> Faults {
        let mut variables = pair.running.variables.clone();
        let (mysql, mysql_url) = Proxy::of_url(&variables["MYSQL_URL"]).await;
        let (postgres, postgres_url) = Proxy::of_url(&variables["POSTGRES_URL"]).await;
        for (name, value) in [
            ("MYSQL_URL", mysql_url.as_str()),
            ("POSTGRES_URL", postgres_url.as_str()),
            ("TIDELOCK_TUNING__LANES", "1"),
            ("TIDELOCK_TUNING__RETRY__CAP_MS", "3000"),
        ] {
            variables.insert(name.to_owned(), value.to_owned());
        }
        let connect = reqwest::Client::builder().timeout(ASK_LIMIT).build().expect("a client");
        let now = Instant::now();
        let mut faults = Faults {
            instance: Instance::own(),
            pair,
            random,
            deck: Vec::new(),
            proxies: [mysql, postgres],
            variables,
            started: 0,
            workers: Vec::new(),
            frozen: Vec::new(),
            leaving: Vec::new(),
            silent: None,
            rebalanced_at: now,
            looked_at: now,
            connect,
            counts: Counts::default(),
        };
        for _ in 0..WORKERS {
            faults.start_worker();
        }
        faults
    }

    fn start_worker(&mut self) {
        self.started += 1;
        let name = format!("{}-{}", self.pair.running.name(), self.started);
        let worker = Worker::start(&name, self.pair.config(), &self.variables, &[]);
        self.workers.push(Watched { worker, zombies_refused: 0.0, duplicates_dropped: 0.0, dead_letters: 0.0 });
    }

    /// One fault after the other until the load is done; then everything is whole again.
    pub(super) async fn rage(&mut self, finished: impl Fn() -> bool) {
        while !finished() {
            if self.deck.is_empty() {
                self.deck = DECK.to_vec();
                self.deck.shuffle(&mut self.random);
            }
            let fault = self.deck.pop().expect("a full deck");
            self.inflict(fault).await;
            let until = Instant::now() + Duration::from_millis(self.random.random_range(1500..4000));
            while Instant::now() < until && !finished() {
                tokio::time::sleep(LOOK_EVERY).await;
                self.look_after().await;
                self.rebalance_now_and_then();
            }
        }
        self.proxies.iter().for_each(Proxy::heal);
        self.silent = None;
    }

    /// Looks after everybody, without new faults.
    pub(super) async fn keep_up(&mut self, finished: impl Fn() -> bool) {
        while !finished() {
            tokio::time::sleep(LOOK_EVERY).await;
            self.look_after().await;
        }
    }

    fn any_worker(&mut self) -> Watched {
        let at = self.random.random_range(0..self.workers.len());
        self.workers.remove(at)
    }

    async fn inflict(&mut self, fault: Fault) {
        let at = self.random.random_range(0..2);
        match fault {
            Fault::KillWorker => {
                let mut victim = self.any_worker();
                victim.worker.kill();
                self.gone(&victim);
                self.counts.kills += 1;
                self.start_worker();
            }
            Fault::FreezeWorker => {
                if self.workers.len() > 2 {
                    let victim = self.any_worker();
                    victim.worker.signal("STOP");
                    let more = Duration::from_millis(self.random.random_range(2000..6000));
                    self.frozen.push((victim, Instant::now() + SESSION + more));
                }
            }
            Fault::Cut => {
                // Often in quick succession: the second one meets sessions that have just begun.
                for _ in 0..self.random.random_range(1..4) {
                    self.proxies[at].cut();
                    self.counts.cuts += 1;
                    let rest = self.random.random_range(20..400);
                    tokio::time::sleep(Duration::from_millis(rest)).await;
                }
            }
            Fault::Silence => {
                self.proxies[at].silence();
                self.counts.cuts += 1;
                let more = Duration::from_millis(self.random.random_range(2000..9000));
                self.silent = Some((at, Instant::now() + more));
            }
            Fault::RestartPostgres => {
                self.instance.stop_postgres_immediately().await;
                self.restart("postgres").await;
            }
            Fault::RestartMysql => {
                self.instance.kill("mysql").await;
                self.restart("mysql").await;
            }
            Fault::RestartBroker => {
                self.instance.kill("kafka").await;
                self.restart("kafka").await;
            }
            Fault::RestartConnect => {
                self.instance.kill("connect").await;
                self.restart("connect").await;
            }
        }
        say(&format!("{fault:?}"));
    }

    async fn restart(&mut self, part: &str) {
        self.counts.restarts += 1;
        let down = self.random.random_range(0..3000);
        tokio::time::sleep(Duration::from_millis(down)).await;
        self.look_after().await;
        self.instance.up(part).await;
    }

    /// One worker leaves as it should, and another one comes.
    fn rebalance_now_and_then(&mut self) {
        if self.rebalanced_at.elapsed() < REBALANCE_EVERY {
            return;
        }
        self.rebalanced_at = Instant::now();
        let victim = self.any_worker();
        victim.worker.signal("TERM");
        self.leaving.push((victim, Instant::now()));
        self.start_worker();
        self.counts.rebalances += 1;
    }

    async fn look_after(&mut self) {
        if let Some((at, until)) = self.silent
            && Instant::now() >= until
        {
            self.proxies[at].heal();
            self.silent = None;
        }
        for (watched, until) in std::mem::take(&mut self.frozen) {
            if Instant::now() < until {
                self.frozen.push((watched, until));
            } else {
                watched.worker.signal("CONT");
                self.workers.push(watched);
            }
        }
        for (mut watched, since) in std::mem::take(&mut self.leaving) {
            watched.ask().await;
            if watched.worker.ended().is_some() {
                self.gone(&watched);
            } else if since.elapsed() > LEAVE_LIMIT {
                watched.worker.kill();
                self.gone(&watched);
                self.counts.kills += 1;
            } else {
                self.leaving.push((watched, since));
            }
        }
        if self.looked_at.elapsed() < Duration::from_secs(2) {
            return;
        }
        self.looked_at = Instant::now();
        for watched in &mut self.workers {
            watched.ask().await;
        }
        for watched in &mut self.workers {
            let ended = watched.worker.ended();
            assert!(ended.is_none(), "a worker has ended by itself: {ended:?}; {}", watched.worker.log_tail());
        }
        if self.revive_connectors().await.is_none() {
            say("Connect does not answer");
        }
    }

    /// Debezium's tasks give up when their database goes; somebody must start them again.
    async fn revive_connectors(&self) -> Option<()> {
        let address = format!("{}/connectors", servers::connect());
        let reply = self.connect.get(format!("{address}?expand=status")).send().await.ok()?;
        let connectors: Value = reply.json().await.ok()?;
        for (name, connector) in connectors.as_object()? {
            let status = &connector["status"];
            let tasks = status["tasks"].as_array().into_iter().flatten();
            let has_failed = tasks.chain([&status["connector"]]).any(|part| part["state"] == "FAILED");
            if has_failed {
                say(&format!("{name} has failed and is started again"));
                let restart = format!("{address}/{name}/restart?includeTasks=true&onlyFailed=true");
                self.connect.post(restart).send().await.ok()?;
            }
        }
        Some(())
    }

    fn gone(&mut self, watched: &Watched) {
        self.counts.zombies_refused += watched.zombies_refused as u64;
        self.counts.duplicates_dropped += watched.duplicates_dropped as u64;
        self.counts.dead_letters += watched.dead_letters as u64;
    }

    /// Stops everybody and tells what happened. `tell`: with the end of each worker's log.
    pub(super) async fn end(mut self, tell: bool) -> Counts {
        let frozen = std::mem::take(&mut self.frozen);
        for (watched, _) in &frozen {
            watched.worker.signal("CONT");
        }
        let leaving = std::mem::take(&mut self.leaving);
        let all = frozen.into_iter().chain(leaving).map(|(watched, _)| watched);
        for mut watched in all.chain(std::mem::take(&mut self.workers)) {
            watched.ask().await;
            if tell {
                say(&watched.worker.log_tail());
            }
            self.gone(&watched);
        }
        self.counts
    }
}

impl Watched {
    async fn ask(&mut self) {
        let Ok(Some((200, text))) = tokio::time::timeout(ASK_LIMIT, self.worker.get("/metrics")).await else { return };
        self.zombies_refused = worker::sum(&text, "tidelock_retries_total", &["class=\"fenced\""]);
        self.duplicates_dropped = worker::sum(&text, "tidelock_records_total", &["outcome=\"duplicate\""]);
        self.dead_letters = worker::sum(&text, "tidelock_records_total", &["outcome=\"dead\""]);
    }
}
