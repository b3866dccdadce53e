//! Waiting for a schema that the registry has not told yet (rule A4): with all partitions paused, polling on.

use std::collections::{HashMap, HashSet};
use std::sync::atomic::Ordering;
use std::time::{Duration, Instant};

use topology::clock::{Clock, SystemClock};
use topology::lane::{Lane, Taken};
use topology::observe::LaneState;
use topology::raw::RawRecord;
use topology::{Error, ErrorKind, Result, Stage};

use super::poll::{POLL_WAIT, PollLoop};
use crate::random::random;

/// The registry is asked again about an unknown schema after this time: a lagging replica may know it then.
const UNKNOWN_SCHEMA_MEMORY: Duration = Duration::from_secs(60);

/// A record that is younger may be of a schema that the registry we ask does not know yet, as when it follows another one.
const REGISTRY_LAG_MAX: Duration = Duration::from_secs(10);

/// Pause between two questions about a schema that may not be known yet.
const ASK_AGAIN: Duration = Duration::from_millis(500);

/// A registry that has not answered for this long is shown as the reason for which the lane stands still.
const SILENT_AFTER: Duration = Duration::from_secs(2);

/// Offers a record to the lane. One whose schema the registry did not know a short while ago is kept as dead.
pub(super) fn offer(
    lane: &mut Lane,
    unknown_schemas: &mut HashMap<u32, (Instant, String)>,
    partition: i32,
    raw: &RawRecord<'_>,
) -> Taken {
    let taken = lane.take(partition, raw);
    let Taken::SchemaNeeded(id) = taken else { return taken };
    match unknown_schemas.get(&id) {
        Some((since, detail)) if since.elapsed() < UNKNOWN_SCHEMA_MEMORY => {
            let error = Error::data(Stage::Decode, "unknown schema", detail.clone());
            lane.refuse(partition, raw, error)
        }
        Some(_) => {
            unknown_schemas.remove(&id);
            taken
        }
        None => taken,
    }
}

impl PollLoop<'_> {
    /// Fetches a schema with all partitions paused, polling on (rule A4), then has the partition sought back to the record that needs it.
    pub(super) fn wait_for_schema(
        &mut self,
        id: u32,
        place: (usize, i32),
        offset: i64,
        timestamp_ms: i64,
    ) -> Result<()> {
        let fetched: Vec<_> = self.fetched.iter().copied().collect();
        self.set_paused(&fetched, true);
        // Now, not when the schema is there: if the partition is taken away meanwhile, and given back, it starts where its claim says.
        self.seeking.insert(place, offset);
        let mut attempt = 0;
        let began = Instant::now();
        let silent = || {
            Error::new(
                ErrorKind::Environment,
                Stage::Decode,
                "schema registry does not answer",
                format!("schema id {id} is waited for"),
            )
        };
        'waiting: loop {
            let asked = Instant::now();
            let mut fetching = self.runtime.spawn((self.fetch_schema)(id));
            let result = loop {
                if let Ok(joined) =
                    self.runtime.block_on(async { tokio::time::timeout(POLL_WAIT, &mut fetching).await })
                {
                    break joined;
                }
                self.keep_membership();
                if asked.elapsed() >= SILENT_AFTER {
                    // Again and again: a rebalance would show the lane as running.
                    self.observer.lane_state(LaneState::Paused, Some(&silent()));
                }
                // A sign of life: a registry that hangs is asked several times, for half a minute each.
                self.observer.buffered_bytes(self.lane.buffered_bytes());
                if self.stop.load(Ordering::Relaxed) {
                    fetching.abort();
                    break 'waiting;
                }
            };
            match result {
                Ok(Ok(())) => break,
                Ok(Err(error)) if matches!(error.kind, ErrorKind::Transient | ErrorKind::Environment) => {
                    attempt += 1;
                    tracing::warn!(lane = %self.setup.name, schema = id, %error, "cannot fetch schema; trying again");
                    self.observer.lane_state(LaneState::Paused, Some(&error));
                    let wait = self.setup.settings.retry.wait(attempt, random());
                    if !self.keep_membership_for(wait, place, Some(&error)) {
                        break 'waiting;
                    }
                }
                // It may be registered, and not known here yet. Not by how long we have asked alone: an old record has waited already.
                Ok(Err(error)) if began.elapsed() < REGISTRY_LAG_MAX && is_younger(timestamp_ms, REGISTRY_LAG_MAX) => {
                    if !self.keep_membership_for(ASK_AGAIN, place, Some(&error)) {
                        break 'waiting;
                    }
                }
                // The registry answers and does not know the id: the record is kept as dead when it comes again.
                Ok(Err(error)) => {
                    self.unknown_schemas.retain(|_, (since, _)| since.elapsed() < UNKNOWN_SCHEMA_MEMORY);
                    self.unknown_schemas.insert(id, (Instant::now(), error.to_string()));
                    break;
                }
                Err(_) => break,
            }
            if !self.owned.contains(&place) {
                break;
            }
        }
        self.observer.lane_state(LaneState::Running, None);
        let takes: HashSet<(usize, i32)> = self.lane.running().collect();
        let running: Vec<_> =
            self.fetched.iter().copied().filter(|other| *other != place && takes.contains(other)).collect();
        self.set_paused(&running, false);
        Ok(())
    }

    /// Serves callbacks for a while. False when the partition is gone, or the lane is to end.
    fn keep_membership_for(&mut self, wait: Duration, place: (usize, i32), reason: Option<&Error>) -> bool {
        let until = Instant::now() + wait;
        while Instant::now() < until {
            self.keep_membership();
            // A rebalance would show the lane as running.
            self.observer.lane_state(LaneState::Paused, reason);
            self.observer.buffered_bytes(self.lane.buffered_bytes());
            if !self.owned.contains(&place) || self.stop.load(Ordering::Relaxed) {
                return false;
            }
        }
        true
    }
}

/// By the time that the record carries; one without is old.
fn is_younger(timestamp_ms: i64, age: Duration) -> bool {
    let now_ms = SystemClock::default().wall_ms();
    timestamp_ms >= 0 && i128::from(now_ms) - i128::from(timestamp_ms) < age.as_millis() as i128
}
