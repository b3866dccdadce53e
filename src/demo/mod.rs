//! `tidelock demo`: two SQLite databases with different schemas, kept in step both ways by the real engine, without any server.
//!
//! Captures, Avro, lanes, guard, lens, ledger and sink are those of `tidelock run`. Only broker and registry are stand-ins inside this
//! process. librdkafka's in-process broker knows no aborts and no fencing, so the demo shows no crashes and claims nothing about them.

mod board;
mod compare;
mod workload;
mod world;

#[cfg(test)]
mod tests;

use std::sync::atomic::Ordering;
use std::time::Duration;

use tokio::sync::watch;
use tokio::time::Instant;

use self::board::Screen;
use self::workload::Application;
use self::world::{Side, World};
use crate::exit::{Failure, Result};
use crate::http::Server;
use crate::metrics::{Metrics, StatusBoard};

/// Moments of the first scene: enough to see something, few enough not to bore.
const MOMENTS: u64 = 60;

/// Time between two moments.
const MOMENT: Duration = Duration::from_millis(60);

/// How often the table is drawn.
const REDRAW: Duration = Duration::from_millis(150);

/// Both sides must be quiet for so long before they count as settled: longer than a poll of the capture plus a batch.
const QUIET: Duration = Duration::from_millis(400);

/// Longest wait for that; something is broken then.
const SETTLE_MAX: Duration = Duration::from_secs(60);

/// What the demo ends with.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct Summary {
    /// Changes that the applications made, rows that were there before and rows that a cascade deleted included.
    pub(crate) changes: u64,
    /// Of these, changes whose effect is on the other side.
    pub(crate) applied: u64,
    /// Writes of the engine that came back and were stopped.
    pub(crate) echoes_stopped: u64,
    /// Writes of the engine that the captures saw: each must have been stopped.
    pub(crate) echoes_seen: u64,
    /// What differs between the sides, in sentences.
    pub(crate) differences: Vec<String>,
}

impl Summary {
    /// Whether everything is as it must be.
    pub(crate) fn is_good(&self) -> bool {
        self.differences.is_empty() && self.changes == self.applied && self.echoes_seen == self.echoes_stopped
    }
}

impl std::fmt::Display for Summary {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        let sides = if self.differences.is_empty() { "sides equal" } else { "sides differ" };
        let Summary { changes, applied, echoes_stopped, .. } = self;
        write!(f, "demo: {changes} changes, {applied} applied, {echoes_stopped} echoes stopped, {sides}")
    }
}

/// Plays the demo; with `keep` it stays up afterwards until it is told to stop.
pub(crate) async fn run(keep: bool) -> Result<()> {
    let mut screen = Screen::new();
    screen.say("Tidelock demo: two blogs in two SQLite databases with different columns, kept in step both ways.");
    screen.say(
        "Broker and schema registry are inside this process. This broker knows no aborts and no fencing, so the demo",
    );
    screen.say("shows the engine at work and claims no crash safety; that is what the tests on a real Kafka are for.");
    let mut stage = Stage::build(screen).await?;
    let played = tokio::select! {
        biased; // Ctrl-C first: the folder must go away, too.
        () = crate::shutdown::requested() => Err(Failure::Run("the demo was stopped before its end".to_owned())),
        played = stage.play(MOMENTS, MOMENT) => played,
    };
    if let (Ok(_), true) = (&played, keep) {
        stage.stay_up().await?;
    }
    stage.stop().await?;
    let summary = played?;
    for difference in &summary.differences {
        println!("  {difference}");
    }
    if summary.is_good() {
        println!("{summary}");
        return Ok(());
    }
    let mut why = summary.to_string();
    if summary.echoes_seen != summary.echoes_stopped {
        why.push_str(&format!("; the engine wrote {} changes that came back", summary.echoes_seen));
    }
    Err(Failure::Run(why))
}

/// The world with a running worker and two applications.
struct Stage {
    world: World,
    metrics: Metrics,
    status: StatusBoard,
    screen: Screen,
    legacy: Application,
    revamp: Application,
    stop: watch::Sender<bool>,
    worker: tokio::task::JoinHandle<Result<()>>,
}

impl Stage {
    async fn build(screen: Screen) -> Result<Stage> {
        let world = World::build().await?;
        let (metrics, status) = (Metrics::new(), StatusBoard::new(&world.config.pipeline));
        let (stop, mut stopped) = watch::channel(false);
        let worker = crate::run::work(world.config.clone(), None, metrics.clone(), status.clone(), async move {
            // An error means that the stage is gone, which is a reason to stop too.
            let _ = stopped.wait_for(|stop| *stop).await;
        });
        let worker = tokio::spawn(worker);
        let legacy = Application::new(Side::Legacy, world.connect(Side::Legacy).await?);
        let revamp = Application::new(Side::Revamp, world.connect(Side::Revamp).await?);
        Ok(Stage { world, metrics, status, screen, legacy, revamp, stop, worker })
    }

    /// All scenes; then compares.
    async fn play(&mut self, moments: u64, moment: Duration) -> Result<Summary> {
        self.scene("First rows: each side gets the other's.");
        self.settle().await?;
        self.scene("Both applications live on: inserts, updates and deletes on both sides at once.");
        for step in 0..moments {
            self.legacy.live(step).await?;
            self.revamp.live(step).await?;
            self.pause(moment).await?;
        }
        self.settle().await?;
        self.scene("Each side changes and deletes rows that came from the other.");
        self.legacy.change_theirs(&[2, 4], &[2, 6, 4]).await?;
        self.revamp.change_theirs(&[1, 3], &[1, 5, 3]).await?;
        self.settle().await?;
        self.scene("The same row, changed in turns: a row that the engine wrote is not frozen.");
        for turn in 0..2 {
            self.legacy.set_status(5, turn).await?;
            self.settle().await?;
            self.revamp.set_status(5, turn + 2).await?;
            self.settle().await?;
        }
        self.scene("Primary keys change.");
        self.legacy.renumber().await?;
        self.revamp.renumber().await?;
        self.settle().await?;
        self.scene("");
        self.screen.keep();
        self.summary().await
    }

    /// Ends a scene, if there was one, and announces the next.
    fn scene(&mut self, title: &str) {
        self.screen.scene(&self.metrics, &self.world.directions);
        if !title.is_empty() {
            self.screen.say(title);
        }
    }

    /// Waits until everything that was published is handled, and nothing more comes.
    async fn settle(&mut self) -> Result<()> {
        let deadline = Instant::now() + SETTLE_MAX;
        let mut quiet_since: Option<(Instant, u64)> = None;
        loop {
            self.pause(Duration::from_millis(50)).await?;
            let mut waiting = 0;
            for side in Side::BOTH {
                let mut connection = self.world.connect(side).await?;
                waiting += compare::count(connection.as_mut(), "tidelock_changes").await?;
            }
            let status = self.status.status();
            let lanes = status.directions.iter().flat_map(|direction| &direction.lanes);
            waiting += lanes.map(|lane| lane.parked + lane.queued).sum::<u64>();
            let published = self.world.published_records();
            let handled = board::total(&self.metrics, &self.world.directions).handled;
            let now = Instant::now();
            if waiting == 0 && handled >= published {
                match quiet_since {
                    Some((since, then)) if then == handled => {
                        if now - since >= QUIET {
                            break;
                        }
                    }
                    _ => quiet_since = Some((now, handled)),
                }
            } else {
                quiet_since = None;
            }
            if now > deadline {
                let trouble: Vec<String> = Side::BOTH
                    .into_iter()
                    .filter_map(|side| self.world.capture_status(side).last_error())
                    .chain(status.reasons)
                    .collect();
                return Err(Failure::Run(format!(
                    "the sides did not settle within {} s: {handled} of {published} records handled, {waiting} changes waiting; {}",
                    SETTLE_MAX.as_secs(),
                    trouble.join("; ")
                )));
            }
        }
        Ok(())
    }

    /// Lets time pass, drawing; fails when the worker has ended.
    async fn pause(&mut self, time: Duration) -> Result<()> {
        let end = Instant::now() + time;
        loop {
            if self.worker.is_finished() {
                return Err(Failure::Run("the worker ended by itself".to_owned()));
            }
            let activity = [&self.legacy, &self.revamp].map(Application::last).map(str::to_owned);
            self.screen.show(&self.metrics, &self.world.directions, &activity);
            let left = end.saturating_duration_since(Instant::now());
            if left.is_zero() {
                return Ok(());
            }
            tokio::time::sleep(left.min(REDRAW)).await;
        }
    }

    async fn summary(&self) -> Result<Summary> {
        let sum = |of: fn(&connect::capture::sqlite::CaptureStatus) -> u64| -> u64 {
            Side::BOTH.into_iter().map(|side| of(self.world.capture_status(side))).sum()
        };
        let published = sum(|status| status.published.load(Ordering::Relaxed));
        let tagged = sum(|status| status.published_tagged.load(Ordering::Relaxed));
        // A change of a key arrives as two records.
        let moves = sum(|status| status.key_changes.load(Ordering::Relaxed));
        let tagged_moves = sum(|status| status.key_changes_tagged.load(Ordering::Relaxed));
        let total = board::total(&self.metrics, &self.world.directions);
        Ok(Summary {
            changes: published - tagged,
            applied: total.applied.saturating_sub(moves - tagged_moves),
            echoes_stopped: total.echoes.saturating_sub(tagged_moves),
            echoes_seen: tagged,
            differences: self.world.differences().await?,
        })
    }

    /// Serves metrics until SIGINT or SIGTERM.
    async fn stay_up(&mut self) -> Result<()> {
        let failed = |error: std::io::Error| Failure::Run(format!("cannot serve metrics on 127.0.0.1: {error}"));
        let any_port = std::net::SocketAddr::from(([127, 0, 0, 1], 0));
        let server = Server::bind(any_port, self.metrics.clone(), self.status.clone()).await.map_err(failed)?;
        let address = server.address().map_err(failed)?;
        self.screen
            .say(&format!("Still running: http://{address}/metrics, http://{address}/api/status. Ctrl-C ends it."));
        for side in Side::BOTH {
            self.screen.say(&format!("{}: {}", side.name(), self.world.address(side)));
        }
        let server = tokio::spawn(server.serve());
        crate::shutdown::requested().await;
        server.abort();
        Ok(())
    }

    async fn stop(self) -> Result<()> {
        // An error means that the worker has ended already; it says why itself.
        let _ = self.stop.send(true);
        match self.worker.await {
            Ok(ended) => ended,
            Err(error) => Err(Failure::Run(format!("the worker ended badly: {error}"))),
        }
    }
}
