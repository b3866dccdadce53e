//! `tidelock run`: plans every direction, starts its lanes, serves HTTP, and drains on SIGTERM.

mod lanes;
mod plan;
mod topics;

use std::sync::Arc;
use std::time::Duration;

use connect::kafka::{Drained, LaneHandle};
use tokio::runtime::Handle;
use tokio::sync::watch;
use topology::guard::SiteTags;
use topology::observe::{LaneObserver, LaneState};
use topology::{Error, ErrorKind};

use self::lanes::{Schemas, Shared};
use self::plan::{Plan, Unplanned};
use crate::config::{Config, Problems, Start};
use crate::directions::{self, Direction};
use crate::exit::{Failure, Result, configuration, with_causes};
use crate::http::Server;
use crate::metrics::{LaneMetrics, Metrics, StatusBoard};
use crate::{shutdown, sites};

/// First and longest wait before a direction that could not be planned is tried again.
const PLAN_WAIT: (Duration, Duration) = (Duration::from_millis(500), Duration::from_secs(15));
/// Time beyond the drain deadline that lanes get to say how they ended.
const DRAIN_GRACE: Duration = Duration::from_secs(10);

/// Runs until SIGTERM or SIGINT. `start_from` is the operator's word for partitions without progress, also after a lost ledger (rule L6).
pub(crate) async fn run(config: Config, start_from: Option<Start>) -> Result<()> {
    let (metrics, board) = (Metrics::new(), StatusBoard::new(&config.pipeline));
    work(config, start_from, metrics, board, shutdown::requested()).await
}

/// Runs until `asked` resolves, then drains. Whoever holds clones of `metrics` and `board` can watch.
pub(crate) async fn work(
    config: Config,
    start_from: Option<Start>,
    metrics: Metrics,
    board: StatusBoard,
    asked: impl Future<Output = ()>,
) -> Result<()> {
    let config = Arc::new(config);
    let directions = directions::of(&config);
    let tags = sites::tags(&config)?;
    let mut signal = std::pin::pin!(asked);
    // Before anything is shown to the outside: a mapping that does not fit must end the process, not make it unhealthy.
    let first_plans = tokio::select! {
        biased;
        // A database that answers late, or never, keeps nobody who is asked to stop.
        () = &mut signal => {
            tracing::info!("asked to stop before any lane began");
            return Ok(());
        }
        plans = first_plans(&config, &tags, &directions) => plans?,
    };
    let shared = Shared {
        schemas: Schemas::new(&config.kafka, Handle::current())?,
        start: lanes::start_from(start_from.unwrap_or(config.tuning.start)),
        start_decision: start_from.map(|_| Arc::default()),
        runtime: Handle::current(),
        lane_count: directions.len() * config.tuning.lanes,
        config: config.clone(),
    };
    serve(&config, &metrics, &board).await?;
    crate::connectors::watch(&config, &metrics, &board);
    let (stop, stopped) = watch::channel(false);
    let mut running = tokio::task::JoinSet::new();
    for (direction, first) in directions.into_iter().zip(first_plans) {
        let names: Vec<String> = direction.entities.iter().map(|entity| entity.name.clone()).collect();
        let observers: Vec<Arc<dyn LaneObserver>> = (0..config.tuning.lanes)
            .map(|_| Arc::new(LaneMetrics::new(&metrics, &board, &direction.name, &names)) as Arc<dyn LaneObserver>)
            .collect();
        running.spawn(direct(shared.clone(), tags.clone(), direction, first, observers, stopped.clone()));
    }
    drop(stopped);
    let mut ended = Ended::default();
    loop {
        tokio::select! {
            biased; // A signal first: nothing that ends at the same time changes what it means.
            () = &mut signal, if !ended.asked => {
                tracing::info!(deadline_seconds = config.tuning.drain_seconds, "asked to stop; lanes finish what they hold");
                ended.asked = true;
                // No receiver means that every direction has ended already.
                let _ = stop.send(true);
            }
            done = running.join_next() => match done {
                None => break,
                Some(done) => ended.add(done.unwrap_or_else(|error| Err(error.to_string()))),
            },
        }
    }
    ended.into_result()
}

/// How the directions ended.
#[derive(Default)]
struct Ended {
    asked: bool,
    deadline_passed: bool,
    errors: Vec<String>,
}

impl Ended {
    fn add(&mut self, ended: std::result::Result<Drained, String>) {
        match ended {
            Ok(Drained::Fully) => {}
            Ok(Drained::DeadlinePassed) => self.deadline_passed = true,
            Err(error) => self.errors.push(error),
        }
    }

    fn into_result(self) -> Result<()> {
        if !self.errors.is_empty() {
            return Err(Failure::Run(self.errors.join("; ")));
        }
        if self.deadline_passed {
            let message =
                "the drain deadline passed; what was not committed comes again at the next start, nothing is lost";
            return Err(Failure::DrainTimeout(message.into()));
        }
        tracing::info!("drained");
        Ok(())
    }
}

/// Plans every direction once. A database that does not answer leaves `None`: its direction tries again by itself.
async fn first_plans(config: &Config, tags: &SiteTags, directions: &[Direction]) -> Result<Vec<Option<Plan>>> {
    let mut plans = Vec::with_capacity(directions.len());
    let mut problems = Problems::default();
    for direction in directions {
        match plan::plan(config, tags, direction).await {
            Ok(plan) => plans.push(Some(plan)),
            Err(Unplanned { error, .. }) if error.kind == ErrorKind::Configuration => {
                problems.add("", configuration(&error));
                plans.push(None);
            }
            Err(Unplanned { error, .. }) => {
                tracing::warn!(direction = %direction.name, error = %with_causes(&error), "cannot plan yet; trying again");
                plans.push(None);
            }
        }
    }
    problems.into_result()?;
    Ok(plans)
}

async fn serve(config: &Config, metrics: &Metrics, board: &StatusBoard) -> Result<()> {
    let Some(address) = config.http.listen() else { return Ok(()) };
    let server = Server::bind(address, metrics.clone(), board.clone()).await;
    let server = server.map_err(|error| Failure::Run(format!("cannot listen on http.address {address}: {error}")))?;
    if let Ok(address) = server.address() {
        tracing::info!(%address, "serving /metrics, /live, /ready and /api/status");
    }
    // Ends with the process.
    tokio::spawn(server.serve());
    Ok(())
}

/// One direction from plan to drain.
async fn direct(
    shared: Shared,
    tags: SiteTags,
    direction: Direction,
    first: Option<Plan>,
    observers: Vec<Arc<dyn LaneObserver>>,
    mut stopped: watch::Receiver<bool>,
) -> std::result::Result<Drained, String> {
    let planned = tokio::select! {
        biased; // Stop first: there is nothing to drain before the lanes exist.
        _ = stopped.wait_for(|stop| *stop) => return Ok(Drained::Fully),
        planned = plan_until_possible(&shared.config, &tags, &direction, first, &observers) => planned,
    };
    let plan = Arc::new(planned.map_err(|error| {
        observers.iter().for_each(|observer| observer.lane_state(LaneState::Stopped, Some(&error)));
        tracing::error!(direction = %direction.name, error = %with_causes(&error), "direction stopped");
        with_causes(&error)
    })?);
    tracing::info!(direction = %direction.name, lanes = observers.len(), group = %direction.group, "starting");
    let mut handles = Vec::with_capacity(observers.len());
    for (number, observer) in observers.into_iter().enumerate() {
        handles.push(lanes::start(&shared, &plan, number, observer).map_err(|error| with_causes(&error))?);
    }
    wait(&shared.config, handles, stopped).await
}

async fn plan_until_possible(
    config: &Config,
    tags: &SiteTags,
    direction: &Direction,
    first: Option<Plan>,
    observers: &[Arc<dyn LaneObserver>],
) -> std::result::Result<Plan, Error> {
    if let Some(plan) = first {
        return Ok(plan);
    }
    let mut wait = PLAN_WAIT.0;
    loop {
        match plan::plan(config, tags, direction).await {
            Ok(plan) => return Ok(plan),
            Err(Unplanned { error, .. }) if error.kind == ErrorKind::Configuration => return Err(error),
            Err(Unplanned { error, target_down }) => {
                for observer in observers {
                    observer.lane_state(LaneState::Paused, Some(&error));
                    observer.target_up(!target_down);
                    observer.retried(error.kind);
                }
                tokio::time::sleep(wait).await;
                wait = (wait * 2).min(PLAN_WAIT.1);
            }
        }
    }
}

/// Waits until all lanes have ended, by themselves or because they were asked to.
async fn wait(
    config: &Config,
    handles: Vec<LaneHandle>,
    mut stopped: watch::Receiver<bool>,
) -> std::result::Result<Drained, String> {
    let asked = async {
        // A sender that is gone means that the process ends anyway.
        let _ = stopped.wait_for(|stop| *stop).await;
    };
    let all_ended = async {
        while !handles.iter().all(LaneHandle::is_finished) {
            tokio::time::sleep(Duration::from_millis(200)).await;
        }
    };
    tokio::select! {
        biased;
        () = asked => {}
        () = all_ended => {}
    }
    handles.iter().for_each(LaneHandle::stop);
    let deadline = Duration::from_secs(config.tuning.drain_seconds) + DRAIN_GRACE;
    let joined = tokio::task::spawn_blocking(move || handles.into_iter().map(LaneHandle::join).collect::<Vec<_>>());
    let Ok(Ok(joined)) = tokio::time::timeout(deadline, joined).await else { return Ok(Drained::DeadlinePassed) };
    let mut drained = Drained::Fully;
    let mut errors = Vec::new();
    for end in joined {
        match end {
            Ok(Drained::Fully) => {}
            Ok(Drained::DeadlinePassed) => drained = Drained::DeadlinePassed,
            Err(error) => errors.push(with_causes(&error)),
        }
    }
    if errors.is_empty() { Ok(drained) } else { Err(errors.join("; ")) }
}
