//! The capture loop: read the log, publish it with its progress, trim it; again.
//!
//! ```text
//! recover ──► read ──► publish ──► trim ──┐
//!    ▲          ▲         │               │
//!    │          └─────────┼───────────────┘
//!    └──── any failure ───┘
//! ```
//!
//! Whatever fails, `recover` finds out what was published and goes on behind it. Rows are deleted only after that is certain.

use std::sync::atomic::{AtomicBool, AtomicI64, AtomicU64, Ordering};
use std::sync::{Arc, Mutex, PoisonError};
use std::thread::JoinHandle;
use std::time::Duration;

use tokio::sync::watch;
use topology::{Error, ErrorKind, Result, Stage};
use tracing::{error, info, warn};

use super::install::outdated;
use super::log::{ChangeLog, LoggedChange};
use super::snapshot::copy_piece;
use super::translate::{Translator, topic_of};
use crate::capture::RegisterSchema;
use crate::capture::publisher::{OutRecord, Progress, Publisher, PublisherSettings};

/// Pause between two looks at an empty log: short against what a person notices, long against the microseconds of a look.
pub const DEFAULT_POLL_INTERVAL: Duration = Duration::from_millis(50);

/// Changes published in one Kafka transaction: enough to make its cost small, few enough to keep it short.
pub const DEFAULT_BATCH_ROWS: u32 = 1000;

/// Bytes of images published in one Kafka transaction; bounds memory when rows are large.
pub const DEFAULT_BATCH_BYTES: usize = 4 << 20;

/// First and longest pause after a failure.
const BACKOFF: (Duration, Duration) = (Duration::from_millis(200), Duration::from_secs(30));

/// What one capture needs to know.
pub struct CaptureSettings {
    /// The site: `source.name`, and part of the capture's id.
    pub site: String,
    /// Address of the database: `sqlite:<path>`.
    pub url: String,
    /// Name of the database in the source block.
    pub database: String,
    /// Pattern of the topics with `{table}` in it.
    pub topics: String,
    /// Tables whose topics are made at the start, so that consumers find them before the first change.
    pub tables: Vec<String>,
    /// Where schemas are registered.
    pub registry: Box<dyn RegisterSchema>,
    /// Where to publish.
    pub publisher: PublisherSettings,
    /// See [`DEFAULT_POLL_INTERVAL`].
    pub poll_interval: Duration,
    /// See [`DEFAULT_BATCH_ROWS`].
    pub batch_rows: u32,
    /// See [`DEFAULT_BATCH_BYTES`].
    pub batch_bytes: usize,
}

impl std::fmt::Debug for CaptureSettings {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("CaptureSettings")
            .field("site", &self.site)
            .field("topics", &self.topics)
            .finish_non_exhaustive()
    }
}

/// What a running capture tells the outside.
#[derive(Debug, Default)]
pub struct CaptureStatus {
    /// Changes published since the start.
    pub published: AtomicU64,
    /// Of these, changes that the engine itself had made (they carry a tag).
    pub published_tagged: AtomicU64,
    /// Of the published changes, changes of a key.
    pub key_changes: AtomicU64,
    /// Of these, changes that the engine itself had made.
    pub key_changes_tagged: AtomicU64,
    /// Records published since the start: one for most changes, two for a delete, three for a change of a key.
    pub published_records: AtomicU64,
    /// Highest published id.
    pub published_id: AtomicI64,
    /// False while something it needs does not answer.
    pub is_healthy: AtomicBool,
    last_error: Mutex<Option<String>>,
}

impl CaptureStatus {
    /// What is wrong, while it is.
    pub fn last_error(&self) -> Option<String> {
        self.last_error.lock().unwrap_or_else(PoisonError::into_inner).clone()
    }

    fn set_error(&self, message: Option<String>) {
        self.is_healthy.store(message.is_none(), Ordering::Relaxed);
        *self.last_error.lock().unwrap_or_else(PoisonError::into_inner) = message;
    }
}

/// What one step of the loop did.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Step {
    /// Changes published.
    pub published: usize,
    /// Tables whose existing rows are not all in the log yet.
    pub snapshots_left: usize,
}

/// One capture of one database. [`Capture::spawn`] runs it; tests call [`Capture::step`] themselves.
pub struct Capture {
    settings: CaptureSettingsRest,
    /// `None` after any failure: opened anew at the next step.
    log: Option<ChangeLog>,
    publisher: Publisher,
    translator: Translator,
    progress: Progress,
    schema_version: Option<i64>,
    untrimmed: bool,
    status: Arc<CaptureStatus>,
}

struct CaptureSettingsRest {
    site: String,
    url: String,
    topics: Vec<String>,
    topics_exist: bool,
    batch_rows: u32,
    batch_bytes: usize,
}

impl Capture {
    /// Does no I/O: database and brokers are opened by the first step.
    ///
    /// # Errors
    /// `Configuration` for wrong settings.
    pub fn new(settings: CaptureSettings) -> Result<Capture> {
        let publisher = Publisher::new(settings.publisher)?;
        let topics = settings.tables.iter().map(|table| topic_of(&settings.topics, table)).collect();
        let translator = Translator::new(&settings.site, &settings.database, &settings.topics, settings.registry);
        Ok(Capture {
            settings: CaptureSettingsRest {
                site: settings.site,
                url: settings.url,
                topics,
                topics_exist: false,
                batch_rows: settings.batch_rows.max(1),
                batch_bytes: settings.batch_bytes.max(1),
            },
            log: None,
            publisher,
            translator,
            progress: Progress { incarnation: String::new(), change: 0 },
            schema_version: None,
            untrimmed: false,
            status: Arc::new(CaptureStatus::default()),
        })
    }

    /// What it tells the outside.
    pub fn status(&self) -> Arc<CaptureStatus> {
        Arc::clone(&self.status)
    }

    /// Publishes what is in the log, at most one batch, and copies more existing rows into the log when it runs dry.
    ///
    /// # Errors
    /// `Transient`, `Environment`: call again later; nothing is lost, nothing is published twice. `Fenced`: another process has
    /// taken over. Others: wrong settings.
    pub async fn step(&mut self) -> Result<Step> {
        let mut log = match self.log.take() {
            Some(log) => log,
            None => ChangeLog::open(&self.settings.url).await?,
        };
        let step = self.step_with(&mut log).await?;
        self.log = Some(log);
        Ok(step)
    }

    async fn step_with(&mut self, log: &mut ChangeLog) -> Result<Step> {
        if self.publisher.needs_recovery() {
            self.recover(log).await?;
        }
        self.warn_of_changed_tables(log).await?;
        let (rows, bytes) = (self.settings.batch_rows, self.settings.batch_bytes);
        let mut changes = log.read(self.progress.change, rows, bytes).await?;
        let mut step = Step::default();
        if changes.len() <= rows as usize / 2 {
            step.snapshots_left = copy_piece(log.connection()).await?;
            if changes.is_empty() {
                changes = log.read(self.progress.change, rows, bytes).await?;
            }
        }
        step.published = changes.len();
        let Some(last) = changes.last() else {
            if self.untrimmed {
                self.trim(log).await;
            }
            return Ok(step);
        };
        let mut records: Vec<OutRecord> = Vec::with_capacity(changes.len() + changes.len() / 4);
        for change in &changes {
            self.translator.records(change, &mut records).await?;
        }
        let progress = Progress { incarnation: self.progress.incarnation.clone(), change: last.id };
        self.publisher.publish(&records, &progress)?;
        self.progress = progress;
        self.count(&changes, records.len());
        self.trim(log).await;
        Ok(step)
    }

    fn count(&self, changes: &[LoggedChange], records: usize) {
        let add = |counter: &AtomicU64, is_counted: fn(&LoggedChange) -> bool| {
            let count = changes.iter().filter(|change| is_counted(change)).count();
            counter.fetch_add(count as u64, Ordering::Relaxed);
        };
        let status = &self.status;
        add(&status.published, |_| true);
        add(&status.published_tagged, |change| change.tag.is_some());
        add(&status.key_changes, LoggedChange::is_key_change);
        add(&status.key_changes_tagged, |change| change.tag.is_some() && change.is_key_change());
        status.published_records.fetch_add(records as u64, Ordering::Relaxed);
        status.published_id.store(self.progress.change, Ordering::Relaxed);
    }

    async fn recover(&mut self, log: &mut ChangeLog) -> Result<()> {
        if !self.settings.topics_exist {
            self.publisher.create_topics(&self.settings.topics).await?;
            self.settings.topics_exist = true;
        }
        let found = self.publisher.recover()?;
        let incarnation = log.incarnation().await?;
        let change = match found {
            Some(found) if found.incarnation == incarnation => {
                let highest = log.highest_id().await?;
                if highest < found.change {
                    return Err(Error::new(
                        ErrorKind::Environment,
                        Stage::Capture,
                        "the change log went back",
                        format!(
                            "site {}: change {} is published, but the log ends at {highest}. If the database was restored from a \
                             copy, `tidelock capture restart-log` declares the log a new one, and everything in it is published",
                            self.settings.site, found.change
                        ),
                    ));
                }
                found.change
            }
            Some(found) => {
                info!(site = %self.settings.site, published = found.change, "the change log is a new one; publishing it from its start");
                0
            }
            // Never published, or the broker forgot an idle group's offsets while we still know better.
            None if self.progress.incarnation == incarnation => self.progress.change,
            None => 0,
        };
        self.progress = Progress { incarnation, change };
        self.status.published_id.store(change, Ordering::Relaxed);
        self.trim(log).await;
        Ok(())
    }

    /// Deletes what is published. A failure (the database is busy) only means that it is deleted later.
    async fn trim(&mut self, log: &mut ChangeLog) {
        self.untrimmed = log.trim(self.progress.change).await.is_err();
    }

    async fn warn_of_changed_tables(&mut self, log: &mut ChangeLog) -> Result<()> {
        let version = log.schema_version().await?;
        if self.schema_version != Some(version) {
            for table in outdated(log.connection()).await? {
                warn!(
                    site = %self.settings.site, table,
                    "the table has changed since its capture was installed; install it again, or new columns are not captured"
                );
            }
            self.schema_version = Some(version);
        }
        Ok(())
    }

    /// Runs the capture on a thread of its own until it is stopped: Kafka's transaction calls block. Failures are retried for ever
    /// with backoff and shown in the status.
    ///
    /// # Errors
    /// `Environment` when no thread can be started.
    pub fn spawn(settings: CaptureSettings) -> Result<CaptureHandle> {
        let (stop, mut stopped) = watch::channel(false);
        let status = Arc::new(CaptureStatus::default());
        let shared = Arc::clone(&status);
        let name = format!("capture-{}", settings.site);
        let body = move || {
            let runtime = match tokio::runtime::Builder::new_current_thread().enable_all().build() {
                Ok(runtime) => runtime,
                Err(error) => return shared.set_error(Some(format!("cannot start the capture's runtime: {error}"))),
            };
            runtime.block_on(run(settings, &shared, &mut stopped));
        };
        let thread = std::thread::Builder::new().name(name).spawn(body).map_err(|error| {
            Error::new(ErrorKind::Environment, Stage::Capture, "cannot start a thread", "for the capture")
                .with_source(error)
        })?;
        Ok(CaptureHandle { stop, status, thread: Some(thread) })
    }
}

/// Stops and joins the capture when dropped.
#[derive(Debug)]
pub struct CaptureHandle {
    stop: watch::Sender<bool>,
    status: Arc<CaptureStatus>,
    thread: Option<JoinHandle<()>>,
}

impl CaptureHandle {
    /// What it tells the outside.
    pub fn status(&self) -> &Arc<CaptureStatus> {
        &self.status
    }

    /// Lets the running step finish, then ends the thread. Blocks as long as that step takes.
    pub fn stop(mut self) {
        self.end();
    }

    fn end(&mut self) {
        // Nobody listens any more when the thread has ended by itself.
        let _ = self.stop.send(true);
        if let Some(thread) = self.thread.take()
            && thread.join().is_err()
        {
            error!("the capture's thread panicked");
        }
    }
}

impl Drop for CaptureHandle {
    fn drop(&mut self) {
        self.end();
    }
}

async fn run(settings: CaptureSettings, status: &Arc<CaptureStatus>, stopped: &mut watch::Receiver<bool>) {
    let (site, poll_interval) = (settings.site.clone(), settings.poll_interval);
    let mut capture = match Capture::new(settings) {
        Ok(capture) => capture,
        Err(fault) => {
            error!(site, error = %fault, "capture cannot start");
            return status.set_error(Some(fault.to_string()));
        }
    };
    capture.status = Arc::clone(status);
    let mut failures: u32 = 0;
    while !*stopped.borrow() {
        let pause = match capture.step().await {
            Ok(step) => {
                if failures > 0 || !status.is_healthy.load(Ordering::Relaxed) {
                    info!(site, "capture running");
                }
                failures = 0;
                status.set_error(None);
                if step.published > 0 || step.snapshots_left > 0 { Duration::ZERO } else { poll_interval }
            }
            Err(fault) => {
                failures = failures.saturating_add(1);
                warn!(site, error = %fault, cause = ?std::error::Error::source(&fault).map(ToString::to_string), "capture waits");
                status.set_error(Some(fault.to_string()));
                if matches!(fault.kind, ErrorKind::Configuration | ErrorKind::Bug) {
                    return;
                }
                // A fenced process must not fence back at once, or the two would do nothing else.
                if fault.kind == ErrorKind::Fenced { BACKOFF.1 } else { backoff(failures) }
            }
        };
        // Stop first: a pause may be long.
        tokio::select! {
            biased;
            _ = stopped.changed() => {}
            () = tokio::time::sleep(pause) => {}
        }
    }
}

fn backoff(failures: u32) -> Duration {
    BACKOFF.0.saturating_mul(1 << failures.saturating_sub(1).min(10)).min(BACKOFF.1)
}
