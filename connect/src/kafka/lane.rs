//! Starts a lane: its poll thread, its writer task, and both anew after a fatal consumer error (rule A5).

use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::thread::JoinHandle;
use std::time::Duration;

use tokio::runtime::Handle;
use tokio::sync::mpsc::unbounded_channel;
use topology::clock::{Clock, SystemClock};
use topology::lane::{FetchSchema, Lane, LaneSettings, Writer};
use topology::observe::{LaneObserver, LaneState};
use topology::pipeline::Pipeline;
use topology::sink::SinkWriter;
use topology::{Error, Result};

use super::client::{ClientSettings, consumer_config};
use super::poll::{Ended, PollLoop};
use crate::random::random;

/// Wait before a lane whose consumer failed for good is built anew.
const REBUILD_WAIT: Duration = Duration::from_secs(2);

/// Everything a lane is made of. The makers are called again when the lane must be built anew.
pub struct LaneSetup {
    /// Name of the thread and in logs: direction and number.
    pub name: String,
    /// The lane's settings; `group_id` is also the consumer group.
    pub settings: LaneSettings,
    /// How to reach the brokers.
    pub client: ClientSettings,
    /// Makes decoder and graph; called twice per start (once for records, once for held rows that are tried again).
    pub pipeline: Box<dyn Fn() -> Result<Pipeline> + Send>,
    /// Makes the sink connection's owner; it connects by itself when first used.
    pub sink: Box<dyn Fn() -> Box<dyn SinkWriter> + Send>,
    /// Makes the function that fetches schemas.
    pub fetch_schema: Box<dyn Fn() -> FetchSchema + Send>,
    /// Hears what the lane does.
    pub observer: Arc<dyn LaneObserver>,
    /// How long a drain may take before the lane gives up and leaves the rest to the next start.
    pub drain_deadline: Duration,
    /// Runtime for the writer task.
    pub runtime: Handle,
}

/// A running lane.
pub struct LaneHandle {
    stop: Arc<AtomicBool>,
    thread: Option<JoinHandle<Result<Drained>>>,
}

/// How a lane ended.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Drained {
    /// Everything handed over was written.
    Fully,
    /// The deadline passed; what was not committed comes again at the next start.
    DeadlinePassed,
}

impl LaneHandle {
    /// Asks the lane to finish what it holds and leave the group. Returns at once.
    pub fn stop(&self) {
        self.stop.store(true, Ordering::SeqCst);
    }

    /// True when the lane has ended, by [`LaneHandle::stop`] or by an error.
    pub fn is_finished(&self) -> bool {
        self.thread.as_ref().is_none_or(JoinHandle::is_finished)
    }

    /// Waits for the end.
    ///
    /// # Errors
    /// The error that stopped the lane.
    pub fn join(mut self) -> Result<Drained> {
        let thread = self.thread.take().expect("joined once");
        thread.join().unwrap_or_else(|_| {
            Err(Error::new(
                topology::ErrorKind::Bug,
                topology::Stage::Consume,
                "lane panicked",
                "see the log for the place; progress is in the target, a restart continues there",
            ))
        })
    }
}

/// Starts a lane on a thread of its own.
///
/// # Errors
/// `Environment` when the machine gives no thread.
pub fn spawn(setup: LaneSetup) -> Result<LaneHandle> {
    let stop = Arc::new(AtomicBool::new(false));
    let flag = stop.clone();
    let thread = std::thread::Builder::new().name(setup.name.clone()).spawn(move || supervise(&setup, &flag)).map_err(
        |error| {
            Error::new(
                topology::ErrorKind::Environment,
                topology::Stage::Consume,
                "cannot start lane",
                "no thread to be had",
            )
            .with_source(error)
        },
    )?;
    Ok(LaneHandle { stop, thread: Some(thread) })
}

fn supervise(setup: &LaneSetup, stop: &AtomicBool) -> Result<Drained> {
    setup.observer.lane_state(LaneState::Starting, None);
    loop {
        match run_once(setup, stop) {
            Ok(Ended::Drained(drained)) => {
                setup.observer.lane_state(LaneState::Stopped, None);
                return Ok(drained);
            }
            Ok(Ended::Rebuild(error)) => {
                tracing::warn!(lane = %setup.name, %error, "consumer failed for good; building the lane anew");
                setup.observer.lane_state(LaneState::Paused, Some(&error));
                if stop.load(Ordering::SeqCst) {
                    return Ok(Drained::DeadlinePassed);
                }
                std::thread::sleep(REBUILD_WAIT);
            }
            Err(error) => {
                tracing::error!(lane = %setup.name, %error, source = ?error.source, "lane stopped");
                setup.observer.lane_state(LaneState::Stopped, Some(&error));
                return Err(error);
            }
        }
    }
}

fn run_once(setup: &LaneSetup, stop: &AtomicBool) -> Result<Ended> {
    let clock: Arc<dyn Clock> = Arc::new(SystemClock::default());
    let (requests, incoming) = unbounded_channel();
    let (outgoing, replies) = unbounded_channel();
    let pipeline = (setup.pipeline)()?;
    let topics = pipeline.topics().iter().map(|topic| topic.name.clone()).collect();
    let lane = Lane::new(setup.settings.clone(), pipeline, setup.observer.clone(), clock.clone(), Box::new(random));
    let writer = Writer::new(
        setup.settings.clone(),
        (setup.sink)(),
        (setup.pipeline)()?,
        (setup.fetch_schema)(),
        setup.observer.clone(),
        clock,
        Box::new(random),
        incoming,
        outgoing,
    );
    let config = consumer_config(&setup.client, &setup.settings.group_id);
    let poll = PollLoop::new(&config, lane, (requests, replies), (setup.fetch_schema)(), setup, topics, stop)?;
    let task = setup.runtime.spawn(writer.run());
    let ended = poll.run();
    // Dropping the loop closed the channel: the writer ends after what it is doing; its outcome is decided by the next claim (L4).
    let finished = setup.runtime.block_on(async { tokio::time::timeout(Duration::from_secs(5), task).await });
    if let Ok(Err(error)) = finished
        && error.is_panic()
    {
        return Err(Error::new(
            topology::ErrorKind::Bug,
            topology::Stage::Write,
            "writer panicked",
            "see the log for the place; progress is in the target, a restart continues there",
        ));
    }
    ended
}
