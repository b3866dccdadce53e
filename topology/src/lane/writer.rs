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

use super::message::{Rejection, Reply, Request, SealedBatch};
use super::settings::{FetchSchema, LaneSettings};
use crate::batch::ChangeBatch;
use crate::clock::Clock;
use crate::error::{Error, ErrorKind, Stage};
use crate::ledger::{CasOutcome, Claim, ClaimReply, ClaimRequest, Owner, TaskKey, TaskSpan};
use crate::mutation;
use crate::observe::{LaneObserver, LaneState};
use crate::pipeline::{Pipeline, Pushed};
use crate::policy::{Action, action};
use crate::raw::RawRecord;
use crate::record::{EntityId, Record, Slot};
use crate::reduce::{ReduceTable, Reducer};
use crate::sink::{Applied, ApplyError, HeldCounts, HeldRow, SinkWriter};

/// How often the writer looks for held rows that are due, also while requests keep coming (rule H2: at most a second).
const HELD_POLL_INTERVAL: Duration = Duration::from_millis(500);

/// How often an idle writer looks whether the ledger still says what it thinks (a restored target, another owner), and counts held rows
/// anew (an operator may have asked to replay some).
const IDLE_CHECK_INTERVAL: Duration = Duration::from_secs(10);

/// How often held rows are counted though nothing of ours has changed them, also by a lane that is busy: an operator may have asked to try dead
/// ones again.
const HELD_COUNT_INTERVAL: Duration = Duration::from_secs(3);

/// The writing half. Runs until drained, until the other half is gone, or until an error needs a person.
pub struct Writer {
    settings: LaneSettings,
    sink: Box<dyn SinkWriter>,
    /// For held rows that are tried again.
    pipeline: Pipeline,
    fetch_schema: FetchSchema,
    observer: Arc<dyn LaneObserver>,
    clock: Arc<dyn Clock>,
    random: Box<dyn FnMut() -> u64 + Send>,
    requests: UnboundedReceiver<Request>,
    /// Requests read while waiting in the middle of something.
    postponed: VecDeque<Request>,
    replies: UnboundedSender<Reply>,
    claims: BTreeMap<TaskKey, Claim>,
    rewind: u64,
    reducer: Reducer,
    reduce_tables: Vec<ReduceTable>,
    held: HeldCounts,
    draining: bool,
    /// The last try of held rows freed some: what waited behind them is due already.
    is_release_due: bool,
    /// Held rows tried in one transaction; fewer after one that failed.
    release_rows_max: usize,
    /// When held rows were last looked after.
    held_polled_at_us: u64,
    /// When the ledger was last seen to say what we think.
    checked_at_us: u64,
    /// When held rows were last counted.
    held_counted_at_us: u64,
    /// The last look failed: the target is down, and nobody else has noticed.
    is_idle_check_failing: bool,
}

/// What a piece of work asks the loop to do next.
enum Next {
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
            held_counted_at_us: checked_at_us,
            is_idle_check_failing: false,
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
            }
        };
        self.sink.disconnect();
        // The other half may be gone already; then nobody listens and nothing is lost.
        let _ = self.replies.send(Reply::Stopped(result));
    }

    /// Time until held rows are to be looked after.
    fn held_poll_in(&self) -> Duration {
        if self.is_release_due {
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
            Request::TopicProgress(task, before_ms) => {
                self.tell_topic_progress(task, before_ms).await;
                Next::Continue
            }
            Request::Drain => {
                self.draining = true;
                Next::Continue
            }
        }
    }

    /// Rule A6. A target that does not answer is met by the next batch too; the lane asks again.
    async fn tell_topic_progress(&mut self, task: TaskKey, before_ms: i64) {
        let progress = self.sink.topic_progress(&task, before_ms).await;
        if let Err(error) = &progress {
            tracing::debug!(%task, %error, "cannot read the ledger");
            self.sink.disconnect();
        }
        let _ = self.replies.send(Reply::TopicProgress(task, progress.ok()));
    }

    fn forget(&mut self, tasks: &[TaskKey]) {
        for task in tasks {
            self.claims.remove(task);
        }
        self.sink.forget(tasks);
    }

    /// Reads what arrived while something is waiting, handles `Forget` at once, keeps the rest in order.
    /// True when the other half is gone or wants to drain: then waiting for a target that is down must end.
    fn absorb(&mut self, forgotten: &mut Vec<TaskKey>) -> bool {
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
    async fn back_off(&mut self, attempt: u32, error: &Error) {
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

    fn recovered(&self, attempt: u32) {
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

    async fn apply(&mut self, mut sealed: Box<SealedBatch>) -> Next {
        if sealed.rewind != self.rewind {
            let _ = self.replies.send(Reply::Stale(sealed));
            return Next::Continue;
        }
        let mut attempt = 0;
        let mut reclaimed = Vec::new();
        loop {
            let mut forgotten = Vec::new();
            let ending = self.absorb(&mut forgotten);
            let is_lost = sealed.batch.spans.iter().any(|span| !self.claims.contains_key(&span.task));
            if is_lost || (ending && attempt > 0) {
                return self.reject(sealed, |_| Rejection::Innocent);
            }
            let started_us = self.clock.now_us();
            match self.sink.apply(&sealed.batch).await {
                Ok(applied) => {
                    self.recovered(attempt);
                    return self.applied(sealed, applied, reclaimed, started_us).await;
                }
                Err(ApplyError::Cas(mismatches)) => {
                    if mismatches.iter().all(|(_, outcome)| *outcome == CasOutcome::AlreadyApplied) {
                        return self.applied(sealed, Applied::default(), reclaimed, started_us).await;
                    }
                    if mismatches.iter().any(|(_, outcome)| *outcome == CasOutcome::Fenced) {
                        self.observer.retried(ErrorKind::Fenced);
                    }
                    if mismatches.iter().any(|(_, outcome)| *outcome == CasOutcome::Inconsistent) {
                        self.observer.invariant_broken("OFF-2");
                    }
                    return self.reject(sealed, |task| judge(&mismatches, task));
                }
                Err(ApplyError::Unknown(error)) => {
                    self.sink.disconnect();
                    if mutation::is_active(mutation::UNKNOWN_IS_APPLIED) {
                        return self.applied(sealed, Applied::default(), reclaimed, started_us).await;
                    }
                    self.observer.retried(error.kind);
                    match self.settle(&mut sealed, &mut reclaimed).await {
                        Settled::Applied => {
                            return self.applied(sealed, Applied::default(), reclaimed, started_us).await;
                        }
                        Settled::NotApplied => attempt += 1,
                        Settled::Mixed(tasks) => {
                            return self.reject(sealed, |task| {
                                if tasks.contains(task) { Rejection::WentBack } else { Rejection::Fenced }
                            });
                        }
                        // Not innocent: the COMMIT may still arrive, and progress would be somewhere else than we think.
                        Settled::Ending => return self.reject(sealed, |_| Rejection::Unknown),
                        Settled::Stop(error) => return Next::Stop(Some(error)),
                    }
                }
                Err(ApplyError::Failed(error)) => match action(error.kind) {
                    Action::Retry | Action::Pause | Action::PauseTopic | Action::Park | Action::DeadLetter => {
                        // Park and DeadLetter are decided per row inside the sink; a whole batch failing so means a code that
                        // it does not know: pause, never lose.
                        attempt += 1;
                        if error.kind != ErrorKind::Transient {
                            self.sink.disconnect();
                        }
                        self.back_off(attempt, &error).await;
                    }
                    Action::Drop => return self.reject(sealed, |_| Rejection::Fenced),
                    Action::Stop => return Next::Stop(Some(error)),
                },
            }
        }
    }

    /// Rule L4: claim again (the claim waits for the old transaction), then the ledger says what happened.
    async fn settle(&mut self, sealed: &mut SealedBatch, reclaimed: &mut Vec<Claim>) -> Settled {
        let requests: Vec<ClaimRequest> = sealed
            .batch
            .spans
            .iter()
            .map(|span| ClaimRequest {
                task: span.task.clone(),
                owner: Owner((u128::from((self.random)()) << 64) | u128::from((self.random)())),
                group_id: self.settings.group_id.clone(),
                start_offset: None,
                restart: false,
                generation: span.generation,
            })
            .collect();
        let mut attempt = 0;
        let answers = loop {
            match self.sink.claim(&requests).await {
                Ok(answers) => break answers,
                Err(error) if matches!(action(error.kind), Action::Retry | Action::Pause | Action::PauseTopic) => {
                    attempt += 1;
                    self.sink.disconnect();
                    self.back_off(attempt, &error).await;
                }
                Err(error) => return Settled::Stop(error),
            }
            let mut forgotten = Vec::new();
            let ending = self.absorb(&mut forgotten);
            if ending || sealed.batch.spans.iter().any(|span| forgotten.contains(&span.task)) {
                return Settled::Ending;
            }
        };
        self.recovered(attempt);
        let (mut done, mut open, mut moved) = (0, 0, Vec::new());
        for (span, answer) in sealed.batch.spans.iter_mut().zip(answers) {
            let ClaimReply::Claimed(claim) = answer else {
                moved.push(span.task.clone());
                continue;
            };
            match claim.next_offset {
                at if at == span.to && (span.to != span.from || claim.generation == span.generation) => done += 1,
                at if at == span.from => open += 1,
                _ => moved.push(span.task.clone()),
            }
            span.epoch = claim.epoch;
            span.owner = claim.owner;
            reclaimed.retain(|other| other.task != claim.task);
            reclaimed.push(claim.clone());
            self.claims.insert(claim.task.clone(), claim);
        }
        match (done, open, moved.is_empty()) {
            (_, 0, true) => Settled::Applied,
            (0, _, true) => Settled::NotApplied,
            _ => Settled::Mixed(moved),
        }
    }

    async fn applied(
        &mut self,
        sealed: Box<SealedBatch>,
        applied: Applied,
        claims: Vec<Claim>,
        started_us: u64,
    ) -> Next {
        let is_paused = |task: &TaskKey| applied.paused.iter().any(|(paused, _)| paused == task);
        for span in sealed.batch.spans.iter().filter(|span| !is_paused(&span.task)) {
            if let Some(claim) = self.claims.get_mut(&span.task) {
                // All that the ledger row has now: the next release of a held row writes it again.
                claim.next_offset = span.to;
                if !mutation::is_active(mutation::RELEASE_WRITES_OLD_MARKS) {
                    claim.marks = span.marks.clone();
                }
                claim.tail_hash = span.tail_hash;
                claim.generation = span.generation;
            }
        }
        if !applied.paused.is_empty() {
            // The lane rewinds when it reads this; a batch that it sealed before is stale.
            self.rewind += 1;
            for (task, error) in &applied.paused {
                // Where too much waits (rule H5) only the release of held rows makes room.
                if error.kind != ErrorKind::Dependency {
                    self.claims.remove(task);
                }
            }
        }
        self.checked_at_us = self.clock.now_us();
        let rows_held = applied.outcomes.iter().any(|(_, counts)| counts.parked + counts.dead > 0);
        let seconds = self.clock.now_us().saturating_sub(started_us) as f64 / 1e6;
        let _ = self.replies.send(Reply::Applied { batch: sealed, applied, claims, seconds });
        if rows_held {
            self.count_held().await;
        }
        Next::Continue
    }

    fn reject(&mut self, sealed: Box<SealedBatch>, why: impl Fn(&TaskKey) -> Rejection) -> Next {
        self.rewind += 1;
        tracing::info!(direction = %self.settings.direction, partitions = sealed.batch.spans.len(), "batch given up; the lane rewinds to the ledger");
        let tasks: Vec<(TaskKey, Rejection)> =
            sealed.batch.spans.iter().map(|span| (span.task.clone(), why(&span.task))).collect();
        for (task, rejection) in &tasks {
            if *rejection != Rejection::Innocent {
                self.claims.remove(task);
                self.sink.forget(std::slice::from_ref(task));
            }
        }
        let _ = self.replies.send(Reply::Rejected { batch: sealed, tasks });
        Next::Continue
    }

    /// Looks now and then whether the ledger still says what we think, while no batch would show it.
    async fn check_idle(&mut self) -> Next {
        let now = self.clock.now_us();
        let due = now.saturating_sub(self.checked_at_us) >= IDLE_CHECK_INTERVAL.as_micros() as u64;
        if (!due && !self.is_idle_check_failing) || self.claims.is_empty() {
            return Next::Continue;
        }
        if mutation::is_active(mutation::NO_IDLE_CHECK) {
            return Next::Continue;
        }
        self.checked_at_us = now;
        let claims: Vec<Claim> = self.claims.values().cloned().collect();
        let rows = match self.sink.progress(&claims).await {
            Ok(rows) => rows,
            Err(error) if action(error.kind) == Action::Stop => return Next::Stop(Some(error)),
            Err(error) => {
                self.sink.disconnect();
                self.is_idle_check_failing = true;
                self.back_off(self.settings.retry.attempts_max + 1, &error).await;
                return Next::Continue;
            }
        };
        let was_failing = std::mem::take(&mut self.is_idle_check_failing);
        self.recovered(u32::from(was_failing));
        let mut lost = Vec::new();
        for (claim, row) in claims.iter().zip(rows) {
            let rejection = match row {
                None => Rejection::Missing,
                Some((epoch, owner, _)) if epoch != claim.epoch || owner != claim.owner => Rejection::Fenced,
                Some((_, _, next_offset)) if next_offset != claim.next_offset => Rejection::WentBack,
                Some(_) => continue,
            };
            lost.push((claim.task.clone(), rejection));
        }
        if lost.is_empty() {
            self.count_held().await;
            return Next::Continue;
        }
        self.rewind += 1;
        for (task, _) in &lost {
            self.claims.remove(task);
            self.sink.forget(std::slice::from_ref(task));
        }
        let _ = self.replies.send(Reply::Lost(lost));
        Next::Continue
    }

    async fn count_held(&mut self) {
        self.held_counted_at_us = self.clock.now_us();
        let claims: Vec<Claim> = self.claims.values().cloned().collect();
        if let Ok(counts) = self.sink.held_counts(&claims).await {
            self.held = counts;
            self.observer.held(counts);
        }
    }

    /// Tries held rows that are due (rules H2, H3), all in one transaction. Errors here are met again by the next batch; nothing is lost by
    /// waiting.
    async fn release_held(&mut self) -> Next {
        self.is_release_due = false;
        let counted = Duration::from_micros(self.clock.now_us().saturating_sub(self.held_counted_at_us));
        if counted >= HELD_COUNT_INTERVAL && !self.claims.is_empty() && !self.is_idle_check_failing {
            self.count_held().await;
        }
        if self.held.parked + self.held.queued == 0 || self.claims.is_empty() {
            return Next::Continue;
        }
        let mut claims: Vec<Claim> = self.claims.values().cloned().collect();
        claims.sort_by(|a, b| a.task.cmp(&b.task));
        let due = match self.sink.due_held(&claims, self.release_rows_max).await {
            Ok(due) => due,
            Err(error) => {
                self.sink.disconnect();
                self.back_off(1, &error).await;
                return Next::Continue;
            }
        };
        if !due.is_empty() {
            match self.release(&claims, due).await {
                Released::Some => self.is_release_due = true,
                Released::None => {}
                Released::Stop(error) => return Next::Stop(Some(error)),
            }
        }
        self.count_held().await;
        Next::Continue
    }

    /// The batch that tries these rows: of each partition in the order of offsets, between partitions in the order of the source, so
    /// that parents come before their children.
    async fn release_batch(&mut self, claims: &[Claim], due: Vec<HeldRow>) -> Result<ChangeBatch, Error> {
        let mut batch = ChangeBatch::default();
        let mut ids = Vec::with_capacity(due.len());
        // H3: what comes after a row that can't be decoded now waits too.
        let mut left_out: Option<TaskKey> = None;
        for row in due {
            let Some(claim) = claims.iter().find(|claim| claim.task == row.task) else { continue };
            let Some(topic) = self.pipeline.topics().iter().position(|topic| *topic.name == *row.task.topic) else {
                continue;
            };
            if left_out.as_ref() == Some(&row.task) {
                continue;
            }
            if batch.spans.last().is_none_or(|span| span.task != row.task) {
                batch.span_of_slot.push(batch.spans.len() as u16);
                batch.spans.push(TaskSpan {
                    task: row.task.clone(),
                    epoch: claim.epoch,
                    owner: claim.owner,
                    from: claim.next_offset,
                    to: claim.next_offset,
                    marks: claim.marks.clone(),
                    tail_hash: claim.tail_hash,
                    generation: claim.generation,
                    last_timestamp_ms: -1,
                });
            }
            let slot = Slot(batch.spans.len() as u16 - 1);
            let raw = RawRecord {
                topic,
                offset: row.id.offset,
                timestamp_ms: row.timestamp_ms,
                key: row.key.as_deref(),
                value: row.value.as_deref(),
                headers: &row.headers,
            };
            let (before, dead_before) = (batch.records.len(), batch.dead.len());
            let mut refused = None;
            let pushed = loop {
                match self.pipeline.push(slot, &raw, None, &mut batch) {
                    Pushed::SchemaNeeded(id) => match (self.fetch_schema)(id).await {
                        Ok(()) => {}
                        Err(error) if matches!(error.kind, ErrorKind::Transient | ErrorKind::Environment) => {
                            break false;
                        }
                        // The registry answers and does not know the id: dead, and nothing waits for it.
                        Err(error) => {
                            refused = Some(Error::data(Stage::Decode, "unknown schema", error.to_string()));
                            break true;
                        }
                    },
                    Pushed::Halt(_) => break false,
                    Pushed::Done => break true,
                    Pushed::Fatal(error) => return Err(error),
                }
            };
            // The record may map to several rows, of which only this one is held.
            let ordinal = usize::try_from(row.id.ordinal).unwrap_or(usize::MAX);
            let record = batch.records.get(before..).and_then(|made| made.get(ordinal)).copied().filter(|_| pushed);
            batch.records.truncate(before);
            batch.records.extend(record);
            ids.extend(record.map(|_| row.id));
            if !pushed {
                left_out = Some(row.task);
            } else if record.is_none() && batch.dead.len() == dead_before {
                // As it is read now there is nothing to apply, as after a change of the configuration: a person should know.
                let nothing =
                    || Error::data(Stage::Process, "nothing to apply", "the record is left out now; discard it");
                self.pipeline.refuse(slot, &raw, refused.unwrap_or_else(nothing), &mut batch);
            }
        }
        self.pipeline.take_counts();
        let order = in_source_order(&batch.records, &self.settings.order);
        batch.releases = order.iter().map(|at| ids[*at]).collect();
        batch.records = order.iter().map(|at| batch.records[*at]).collect();
        self.reducer.reduce(&mut batch, &self.reduce_tables, &self.settings.order);
        Ok(batch)
    }

    async fn release(&mut self, claims: &[Claim], due: Vec<HeldRow>) -> Released {
        let rows = due.len();
        let batch = match self.release_batch(claims, due).await {
            Ok(batch) if batch.records.is_empty() && batch.dead.is_empty() => return Released::None,
            Ok(batch) => batch,
            Err(error) => return Released::Stop(error),
        };
        match self.sink.apply(&batch).await {
            Ok(applied) => {
                self.release_rows_max = (2 * self.release_rows_max).min(self.settings.held_rows_max);
                let mut is_gone = false;
                for (entity, counts) in applied.outcomes {
                    is_gone |= counts.applied + counts.unchanged + counts.differs + counts.dead > 0;
                    if counts.applied > 0 {
                        self.observer.records(entity, crate::observe::Outcome::Applied, counts.applied);
                    }
                }
                if is_gone { Released::Some } else { Released::None }
            }
            // The next ordinary batch meets the same fence or outage and deals with it; a lost reply is harmless here, the rows are
            // either released or tried again under the same CAS.
            Err(ApplyError::Cas(_)) => Released::None,
            Err(ApplyError::Unknown(_)) => {
                self.sink.disconnect();
                Released::None
            }
            Err(ApplyError::Failed(error)) => {
                if action(error.kind) == Action::Stop {
                    return Released::Stop(error);
                }
                tracing::debug!(direction = %self.settings.direction, rows, %error, "held rows could not be tried; fewer the next time");
                // As with a deadlock: many rows meet more of what other lanes lock.
                self.release_rows_max = (rows / 2).max(1);
                if error.kind != ErrorKind::Transient {
                    self.sink.disconnect();
                }
                Released::None
            }
        }
    }
}

/// Indexes of records in the order of their source, without changing the order within a partition (slot): always the oldest head. Snapshot
/// reads have no place in the log: parents first.
fn in_source_order(records: &[Record], parents_first: &[EntityId]) -> Vec<usize> {
    let mut heads: Vec<std::ops::Range<usize>> = Vec::new();
    let mut start = 0;
    for part in records.chunk_by(|a, b| a.slot == b.slot) {
        heads.push(start..start + part.len());
        start += part.len();
    }
    let rank = |entity: EntityId| parents_first.iter().position(|other| *other == entity);
    let age = |at: usize| {
        let Record { source, entity, .. } = &records[at];
        (source.identity, source.position, rank(*entity), at)
    };
    let mut order = Vec::with_capacity(records.len());
    while let Some(oldest) = heads.iter_mut().filter(|head| head.start < head.end).min_by_key(|head| age(head.start)) {
        order.extend(oldest.next());
    }
    order
}

/// What became of held rows that were tried again.
enum Released {
    /// Some are applied, or dead: what waited behind them may be tried.
    Some,
    /// They wait on, or nothing is known.
    None,
    Stop(Error),
}

/// What a claim says about an unknown COMMIT.
enum Settled {
    Applied,
    NotApplied,
    /// These tasks' progress is somewhere else: the target went back, or another owner moved it.
    Mixed(Vec<TaskKey>),
    /// The tasks are gone or the process ends.
    Ending,
    Stop(Error),
}

fn judge(mismatches: &[(TaskKey, CasOutcome)], task: &TaskKey) -> Rejection {
    match mismatches.iter().find(|(other, _)| other == task) {
        None => Rejection::Innocent,
        Some((_, CasOutcome::WentBack(_) | CasOutcome::AlreadyApplied)) => Rejection::WentBack,
        Some((_, CasOutcome::Missing)) => Rejection::Missing,
        Some((_, CasOutcome::Fenced | CasOutcome::Inconsistent)) => Rejection::Fenced,
    }
}
