//! The writing half of a lane: a loop around one sink connection.
//!
//! It claims and applies for ever until it succeeds, is told that the task is gone, or meets an error that needs a person. A reply to
//! COMMIT that is lost makes the outcome unknown; only a new claim tells it (rule L4). Held rows of its tasks are tried again
//! when due, also while no record arrives (rule H2).

use std::collections::BTreeMap;
use std::collections::VecDeque;
use std::sync::Arc;
use std::time::Duration;

use tokio::sync::mpsc::error::TryRecvError;
use tokio::sync::mpsc::{UnboundedReceiver, UnboundedSender};

use super::halves::Halves;
use super::message::{Reply, Request};
use super::publishing::Publishing;
use super::settings::{FetchSchema, LaneSettings};
use crate::clock::Clock;
use crate::error::{Error, ErrorKind, Stage};
use crate::generation::FirstRecord;
use crate::ledger::{Claim, ClaimReply, ClaimRequest, TaskKey};
use crate::observe::{LaneObserver, LaneState};
use crate::pipeline::Pipeline;
use crate::policy::{Action, action};
use crate::reduce::{ReduceTable, Reducer};
use crate::sink::{HeldCounts, SinkWriter};

/// How often the writer looks for held rows that are due, also while requests keep coming (rule H2: at most a second).
const HELD_POLL_INTERVAL: Duration = Duration::from_millis(500);

/// How long the schema of a held record is waited for.
const REGISTRY_WAIT: Duration = Duration::from_secs(2);

/// How long a registry that did not answer is left alone by held records.
const REGISTRY_REST: Duration = Duration::from_secs(10);

/// The writing half. Runs until drained, until the other half is gone, or until an error needs a person.
pub struct Writer {
    pub(super) settings: LaneSettings,
    pub(super) sink: Box<dyn SinkWriter>,
    /// For held rows that are tried again.
    pub(super) pipeline: Pipeline,
    pub(super) fetch_schema: FetchSchema,
    pub(super) observer: Arc<dyn LaneObserver>,
    pub(super) clock: Arc<dyn Clock>,
    pub(super) random: Box<dyn FnMut() -> u64 + Send>,
    pub(super) requests: UnboundedReceiver<Request>,
    /// Requests read while waiting in the middle of something.
    pub(super) postponed: VecDeque<Request>,
    pub(super) replies: UnboundedSender<Reply>,
    pub(super) claims: BTreeMap<TaskKey, Claim>,
    pub(super) rewind: u64,
    pub(super) reducer: Reducer,
    pub(super) reduce_tables: Vec<ReduceTable>,
    pub(super) held: HeldCounts,
    pub(super) draining: bool,
    /// The last try of held rows freed some: what waited behind them is due already.
    pub(super) is_release_due: bool,
    /// Held rows tried in one transaction; fewer after one that failed.
    pub(super) release_rows_max: usize,
    /// When held rows were last looked after.
    pub(super) held_polled_at_us: u64,
    /// When the ledger was last seen to say what we think.
    pub(super) checked_at_us: u64,
    /// Something was not as we thought: the ledger is to be looked at now.
    pub(super) is_check_due: bool,
    /// When held rows were last counted.
    pub(super) held_counted_at_us: u64,
    /// The last look failed: the target is down, and nobody else has noticed.
    pub(super) is_idle_check_failing: bool,
    /// When the registry last did not answer, if that was its last word.
    pub(super) registry_failed_at_us: Option<u64>,
    pub(super) publishing: Publishing,
    pub(super) halves: Halves,
}

/// What a piece of work asks the loop to do next.
pub(super) enum Next {
    Continue,
    Stop(Option<Error>),
}

impl Writer {
    /// A writer that answers on `replies`. `requests` is unbounded in type only: the polling half keeps at most two batches in flight
    /// and sends nothing else in bulk.
    #[allow(clippy::too_many_arguments)] // each is one collaborator; a builder would only hide that
    pub fn new(
        settings: LaneSettings,
        sink: Box<dyn SinkWriter>,
        pipeline: Pipeline,
        fetch_schema: FetchSchema,
        observer: Arc<dyn LaneObserver>,
        clock: Arc<dyn Clock>,
        random: Box<dyn FnMut() -> u64 + Send>,
        requests: UnboundedReceiver<Request>,
        replies: UnboundedSender<Reply>,
    ) -> Writer {
        let reduce_tables = settings
            .tables
            .iter()
            .zip(&settings.snapshots)
            .map(|(table, snapshot)| ReduceTable::new(table, *snapshot))
            .collect();
        let checked_at_us = clock.now_us();
        Writer {
            is_release_due: false,
            release_rows_max: settings.held_rows_max,
            held_polled_at_us: checked_at_us,
            checked_at_us,
            is_check_due: false,
            held_counted_at_us: checked_at_us,
            is_idle_check_failing: false,
            registry_failed_at_us: None,
            publishing: Publishing::new(settings.publishes),
            halves: Halves::default(),
            settings,
            sink,
            pipeline,
            fetch_schema,
            observer,
            clock,
            random,
            requests,
            postponed: VecDeque::new(),
            replies,
            claims: BTreeMap::new(),
            rewind: 0,
            reducer: Reducer::default(),
            reduce_tables,
            held: HeldCounts::default(),
            draining: false,
        }
    }

    /// Runs to the end. Dropping the future is safe: whatever was under way is decided by the next claim (rule L4).
    pub async fn run(mut self) {
        let result = loop {
            let next = match self.next_request().await {
                Some(request) => self.serve(request).await,
                None if self.draining => Next::Stop(None),
                None => Next::Continue,
            };
            if let Next::Stop(result) = next {
                break result;
            }
            if !self.draining && self.held_poll_in().is_zero() {
                self.held_polled_at_us = self.clock.now_us();
                let next = match self.check_idle().await {
                    Next::Continue => self.release_held().await,
                    stop => stop,
                };
                if let Next::Stop(result) = next {
                    break result;
                }
                self.publish().await;
            }
        };
        self.sink.disconnect();
        self.show_held(HeldCounts::default());
        // The other half may be gone already; then nobody listens and nothing is lost.
        let _ = self.replies.send(Reply::Stopped(result));
    }

    /// Time until held rows are to be looked after.
    fn held_poll_in(&self) -> Duration {
        if self.is_release_due || self.publishing.is_due() {
            return Duration::ZERO;
        }
        let since = Duration::from_micros(self.clock.now_us().saturating_sub(self.held_polled_at_us));
        HELD_POLL_INTERVAL.saturating_sub(since)
    }

    /// The next request; `None` when it is time to look after held rows.
    async fn next_request(&mut self) -> Option<Request> {
        if let Some(request) = self.postponed.pop_front() {
            return Some(request);
        }
        if self.draining {
            return self.requests.try_recv().ok();
        }
        let wait = self.clock.sleep(self.held_poll_in());
        tokio::select! {
            // Requests first: held rows can wait, partitions that were revoked cannot.
            biased;
            request = self.requests.recv() => match request {
                Some(request) => Some(request),
                None => {
                    self.draining = true;
                    None
                }
            },
            () = wait => None,
        }
    }

    async fn serve(&mut self, request: Request) -> Next {
        match request {
            Request::Claim(requests) => self.claim(requests).await,
            Request::Apply(sealed) => self.apply(sealed).await,
            Request::Forget(tasks) => {
                self.forget(&tasks);
                Next::Continue
            }
            Request::Published { upto, ends } => {
                self.published(upto, ends).await;
                Next::Continue
            }
            Request::TopicProgress(task, record) => {
                self.tell_topic_progress(task, record).await;
                Next::Continue
            }
            Request::Ends(task, ends) => {
                self.halves.ends(&task.topic, ends);
                Next::Continue
            }
            Request::Drain => {
                self.draining = true;
                Next::Continue
            }
        }
    }

    /// Rule A6. A target that does not answer is met by the next batch too; the lane asks again.
    async fn tell_topic_progress(&mut self, task: TaskKey, record: FirstRecord) {
        let progress = self.sink.topic_progress(&task, Some(&record)).await;
        if let Err(error) = &progress {
            tracing::debug!(%task, %error, "cannot read the ledger");
            self.sink.disconnect();
        }
        let _ = self.replies.send(Reply::TopicProgress(task, record, progress.ok()));
    }

    fn forget(&mut self, tasks: &[TaskKey]) {
        for task in tasks {
            self.claims.remove(task);
            self.publishing.forget(task);
        }
        self.sink.forget(tasks);
        if self.claims.is_empty() {
            // Whoever has them now counts what they hold.
            self.show_held(HeldCounts::default());
        }
    }

    /// Reads what arrived while something is waiting, handles `Forget` at once, keeps the rest in order.
    /// True when the other half is gone or wants to drain: then waiting for a target that is down must end.
    pub(super) fn absorb(&mut self, forgotten: &mut Vec<TaskKey>) -> bool {
        loop {
            match self.requests.try_recv() {
                Ok(Request::Forget(tasks)) => {
                    self.forget(&tasks);
                    // Claims that came before it are overtaken: claiming now would fence whoever has the task.
                    for request in &mut self.postponed {
                        if let Request::Claim(requests) = request {
                            requests.retain(|request| !tasks.contains(&request.task));
                        }
                    }
                    forgotten.extend(tasks);
                }
                Ok(Request::Drain) => self.draining = true,
                Ok(request) => self.postponed.push_back(request),
                Err(TryRecvError::Empty) => return self.draining,
                Err(TryRecvError::Disconnected) => {
                    self.draining = true;
                    return true;
                }
            }
        }
    }

    /// Waits before attempt `attempt`, with the lane shown as paused.
    pub(super) async fn back_off(&mut self, attempt: u32, error: &Error) {
        self.observer.retried(error.kind);
        if action(error.kind) != Action::Retry || attempt > self.settings.retry.attempts_max {
            self.observer.target_up(false);
            self.observer.lane_state(LaneState::Paused, Some(error));
        }
        // Each time the number of attempts has doubled: an outage of hours must not fill the log.
        if attempt.is_power_of_two() {
            tracing::warn!(
                direction = %self.settings.direction,
                attempt,
                kind = error.kind.name(),
                %error,
                source = error.source.as_ref().map(tracing::field::display),
                "cannot reach or write the target; trying again"
            );
        }
        let wait = self.settings.retry.wait(attempt, (self.random)());
        // In slices, so that a revoke or a shutdown does not wait for half a minute.
        let slices = u32::try_from(wait.as_millis() / 200).unwrap_or(u32::MAX).max(1);
        for _ in 0..slices {
            self.clock.sleep(wait / slices).await;
            if !self.requests.is_empty() || self.requests.is_closed() {
                break;
            }
        }
    }

    /// Fetches a schema that a held record needs. New batches, claims and revokes wait meanwhile, so not for long, and not again at once.
    pub(super) async fn fetch(&mut self, schema: u32) -> Result<(), Error> {
        let unanswered = |detail: &str| {
            let detail = format!("schema id {schema}: {detail}; the held record is tried again");
            Error::new(ErrorKind::Environment, Stage::Decode, "cannot fetch schema", detail)
        };
        let now_us = self.clock.now_us();
        if self.registry_failed_at_us.is_some_and(|at| now_us.saturating_sub(at) < REGISTRY_REST.as_micros() as u64) {
            return Err(unanswered("the registry did not answer a short while ago"));
        }
        let fetched = tokio::select! {
            biased; // The answer, if there is one.
            fetched = (self.fetch_schema)(schema) => fetched,
            () = self.clock.sleep(REGISTRY_WAIT) => Err(unanswered("the registry does not answer")),
        };
        let is_down =
            fetched.as_ref().is_err_and(|error| matches!(error.kind, ErrorKind::Transient | ErrorKind::Environment));
        self.registry_failed_at_us = is_down.then(|| self.clock.now_us());
        fetched
    }

    pub(super) fn recovered(&self, attempt: u32) {
        self.observer.target_up(true);
        if attempt > 0 {
            tracing::info!(direction = %self.settings.direction, attempt, "the target takes writes again");
            self.observer.lane_state(LaneState::Running, None);
        }
    }

    /// Claims, for ever while the target is down (rule A1).
    async fn claim(&mut self, mut requests: Vec<ClaimRequest>) -> Next {
        let mut attempt = 0;
        loop {
            let mut forgotten = Vec::new();
            let ending = self.absorb(&mut forgotten);
            requests.retain(|request| !forgotten.contains(&request.task));
            if requests.is_empty() || (ending && attempt > 0) {
                return Next::Continue;
            }
            match self.sink.claim(&requests).await {
                Ok(answers) => {
                    self.recovered(attempt);
                    for answer in &answers {
                        if let ClaimReply::Claimed(claim) = answer {
                            // Asked anew: the target may have gone back since.
                            self.publishing.forget(&claim.task);
                            self.claims.insert(claim.task.clone(), claim.clone());
                        }
                    }
                    self.count_held().await;
                    let answers = requests.into_iter().zip(answers).collect();
                    let _ = self.replies.send(Reply::Claimed(answers));
                    return Next::Continue;
                }
                Err(error) if matches!(action(error.kind), Action::Retry | Action::Pause | Action::PauseTopic) => {
                    attempt += 1;
                    self.sink.disconnect();
                    self.back_off(attempt, &error).await;
                }
                Err(error) => return Next::Stop(Some(error)),
            }
        }
    }
}
