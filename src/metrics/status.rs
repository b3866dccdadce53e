//! What `/api/status` and `tidelock status` show: states and reasons in words, where metrics have numbers.

use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::{Duration, Instant};

use serde::{Deserialize, Serialize};
use topology::observe::LaneState;

/// A worker, all of it.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize)]
pub(crate) struct Status {
    /// `ok`, `degraded` (something waits or is paused) or `failed` (a lane has stopped or is silent).
    pub(crate) health: String,
    /// Why it is not `ok`.
    pub(crate) reasons: Vec<String>,
    /// Name of the pipeline.
    pub(crate) pipeline: String,
    /// Version of the worker.
    pub(crate) version: String,
    /// In the order of the configuration.
    pub(crate) directions: Vec<DirectionStatus>,
    /// Connectors of Kafka Connect that are not running, if `kafka.connect` is set.
    pub(crate) connectors: Vec<String>,
}

/// One direction in this worker.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize)]
pub(crate) struct DirectionStatus {
    /// `legacy→revamp`.
    pub(crate) name: String,
    /// Its lanes.
    pub(crate) lanes: Vec<LaneStatus>,
}

/// One lane.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize)]
pub(crate) struct LaneStatus {
    /// Word of [`LaneState`].
    pub(crate) state: String,
    /// Why it is paused or stopped.
    pub(crate) reason: Option<String>,
    /// Whether the target answered last time.
    pub(crate) target_up: bool,
    /// Seconds since the last sign of life.
    pub(crate) silent_seconds: u64,
    /// Held rows of its partitions: waiting, waiting behind one, dead.
    pub(crate) parked: u64,
    /// See `parked`.
    pub(crate) queued: u64,
    /// See `parked`.
    pub(crate) dead: u64,
    /// Partitions it owns.
    pub(crate) partitions: Vec<PartitionStatus>,
}

/// One partition that a lane owns.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub(crate) struct PartitionStatus {
    /// Topic.
    pub(crate) topic: String,
    /// Partition.
    pub(crate) partition: i32,
    /// Epoch of the claim.
    pub(crate) epoch: i64,
    /// First offset not yet applied.
    pub(crate) next_offset: i64,
    /// Records behind; absent until it is known.
    pub(crate) lag: Option<i64>,
    /// Why it is paused, if it is.
    pub(crate) paused: Option<String>,
}

/// A lane that shows no life for so long counts as dead. Well above the longest wait of a lane (poll timeouts of a second).
const SILENCE_MAX: Duration = Duration::from_secs(60);

/// One lane's place on the board.
#[derive(Debug)]
pub(super) struct LaneBoard {
    pub(super) state: LaneState,
    pub(super) reason: Option<String>,
    pub(super) target_up: bool,
    /// Why outputs can't be published, if so.
    pub(super) publishing: Option<String>,
    pub(super) alive: Instant,
    pub(super) held: topology::sink::HeldCounts,
    pub(super) partitions: Vec<PartitionStatus>,
}

impl LaneBoard {
    fn new() -> LaneBoard {
        LaneBoard {
            state: LaneState::Starting,
            reason: None,
            target_up: true,
            publishing: None,
            alive: Instant::now(),
            held: topology::sink::HeldCounts::default(),
            partitions: Vec::new(),
        }
    }

    pub(super) fn partition(&mut self, topic: &str, partition: i32) -> &mut PartitionStatus {
        let found = self.partitions.iter().position(|own| own.partition == partition && own.topic == topic);
        let at = found.unwrap_or_else(|| {
            self.partitions.push(PartitionStatus { topic: topic.to_owned(), partition, ..PartitionStatus::default() });
            self.partitions.len() - 1
        });
        &mut self.partitions[at]
    }
}

/// Boards by direction, in the order in which lanes were added.
type Lanes = Vec<(String, Arc<Mutex<LaneBoard>>)>;

/// Where all lanes of a worker write their state. Locks are held for a few assignments, never over I/O.
#[derive(Clone, Debug)]
pub(crate) struct StatusBoard {
    pipeline: String,
    lanes: Arc<Mutex<Lanes>>,
    connectors: Arc<Mutex<Vec<String>>>,
}

impl StatusBoard {
    /// An empty board.
    pub(crate) fn new(pipeline: &str) -> StatusBoard {
        StatusBoard { pipeline: pipeline.to_owned(), lanes: Arc::default(), connectors: Arc::default() }
    }

    /// A place for one more lane of a direction; its number within the direction.
    pub(super) fn add(&self, direction: &str) -> (usize, Arc<Mutex<LaneBoard>>) {
        let mut lanes = lock(&self.lanes);
        let number = lanes.iter().filter(|(name, _)| name == direction).count();
        let board = Arc::new(Mutex::new(LaneBoard::new()));
        lanes.push((direction.to_owned(), Arc::clone(&board)));
        (number, board)
    }

    /// Sentences about connectors that are not running.
    #[cfg_attr(not(feature = "rest"), allow(dead_code))] // connectors are only asked with `rest`
    pub(crate) fn set_connectors(&self, troubles: Vec<String>) {
        *lock(&self.connectors) = troubles;
    }

    /// What is so now.
    pub(crate) fn status(&self) -> Status {
        let mut status = Status {
            pipeline: self.pipeline.clone(),
            version: env!("CARGO_PKG_VERSION").to_owned(),
            connectors: lock(&self.connectors).clone(),
            ..Status::default()
        };
        let mut failed = false;
        let lanes: Vec<_> = lock(&self.lanes).iter().map(|(name, board)| (name.clone(), Arc::clone(board))).collect();
        for (direction, board) in lanes {
            let board = lock(&board);
            let found = status.directions.iter().position(|own| own.name == direction);
            let at = found.unwrap_or_else(|| {
                status.directions.push(DirectionStatus { name: direction.clone(), lanes: Vec::new() });
                status.directions.len() - 1
            });
            let number = status.directions[at].lanes.len();
            failed |= judge(&board, &format!("{direction} lane {number}"), &mut status.reasons);
            status.directions[at].lanes.push(LaneStatus {
                state: board.state.name().to_owned(),
                reason: board.reason.clone(),
                target_up: board.target_up,
                silent_seconds: board.alive.elapsed().as_secs(),
                parked: board.held.parked,
                queued: board.held.queued,
                dead: board.held.dead,
                partitions: board.partitions.clone(),
            });
        }
        status.reasons.extend(status.connectors.iter().cloned());
        status.health = if failed {
            "failed"
        } else if status.reasons.is_empty() {
            "ok"
        } else {
            "degraded"
        }
        .to_owned();
        status
    }
}

/// Adds what is wrong with a lane; true if only a restart or a person helps.
fn judge(board: &LaneBoard, lane: &str, reasons: &mut Vec<String>) -> bool {
    let reason = board.reason.as_deref().map(|reason| format!(": {reason}")).unwrap_or_default();
    let mut failed = false;
    match board.state {
        LaneState::Stopped => {
            reasons.push(format!("{lane} has stopped{reason}"));
            failed = board.reason.is_some();
        }
        LaneState::Running => {}
        state => reasons.push(format!("{lane} is {}{reason}", state.name())),
    }
    if board.state != LaneState::Stopped && board.alive.elapsed() > SILENCE_MAX {
        reasons.push(format!("{lane} shows no sign of life for {} s", board.alive.elapsed().as_secs()));
        failed = true;
    }
    if !board.target_up {
        reasons.push(format!("{lane}: the target does not answer"));
    }
    if let Some(trouble) = &board.publishing {
        reasons.push(format!("{lane}: dead letters wait in the target: {trouble}"));
    }
    for partition in &board.partitions {
        if let Some(reason) = &partition.paused {
            reasons.push(format!("{lane}: {}[{}] is paused: {reason}", partition.topic, partition.partition));
        }
    }
    failed
}

/// A board is plain data: after a panic elsewhere it is still the best there is.
pub(super) fn lock<T>(mutex: &Mutex<T>) -> MutexGuard<'_, T> {
    mutex.lock().unwrap_or_else(PoisonError::into_inner)
}
