//! The end of a lane that is told to stop (SIGTERM).

use std::time::{Duration, Instant};

use rdkafka::consumer::{CommitMode, Consumer};
use topology::Result;
use topology::lane::Request;
use topology::observe::LaneState;

use super::lane::Drained;
use super::poll::{Ended, IN_FLIGHT_MAX, PollLoop, writer_gone};

/// How long a drain waits for a batch that is under way, to hand over what was read last. Without that it comes again at the next start; but
/// while the target is down none comes back, until the writer is told that it ends.
const ROOM_WAIT: Duration = Duration::from_secs(1);

impl PollLoop<'_> {
    /// SIGTERM: writes what is held, within the deadline.
    pub(super) fn drain(&mut self) -> Result<Ended> {
        self.observer.lane_state(LaneState::Draining, None);
        let started = Instant::now();
        let until = started + self.setup.drain_deadline;
        let fetched: Vec<_> = self.fetched.iter().copied().collect();
        self.set_paused(&fetched, true);
        let mut asked = false;
        let drained = loop {
            if Instant::now() >= until {
                tracing::warn!(
                    lane = %self.setup.name,
                    batches = self.lane.in_flight(),
                    "the drain deadline passed while the writer was waited for; what it does comes again at the next start, unless it is committed"
                );
                break Drained::DeadlinePassed;
            }
            self.keep_membership();
            let has_room = self.lane.in_flight() < IN_FLIGHT_MAX;
            if !asked && (has_room || started.elapsed() >= ROOM_WAIT) {
                if has_room {
                    self.hand_over()?;
                }
                asked = true;
                self.requests.send(Request::Drain).map_err(|_| writer_gone())?;
            }
            let mut stopped = false;
            while let Ok(reply) = self.replies.try_recv() {
                if let Some(ended) = self.lane.reply(reply) {
                    if let Some(error) = ended {
                        return Err(error);
                    }
                    stopped = true;
                }
            }
            if stopped {
                break Drained::Fully;
            }
        };
        self.tell(CommitMode::Sync);
        self.publish_last(until);
        self.consumer.unsubscribe();
        Ok(Ended::Drained(drained))
    }
}
