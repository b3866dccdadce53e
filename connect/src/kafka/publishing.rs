//! The poll thread's side of the emitter: when, and under which membership (rule O3). What is ours and the group's metadata are taken here at
//! one moment, on the thread on which the rebalance callback runs.

use std::sync::Arc;
use std::time::{Duration, Instant};

use rdkafka::ClientConfig;
use rdkafka::consumer::Consumer;
use topology::lane::LaneSettings;

use super::client::{ClientSettings, producer_config};
use super::emitter::{Ask, Emitter, Job, Place, Told};
use super::poll::PollLoop;
use crate::random::random;

/// How often group offsets go out when nothing is published. Each time is a transaction.
const OFFSETS_INTERVAL: Duration = Duration::from_secs(5);

/// When there is no job, or no membership, at this moment.
const LOOK_INTERVAL: Duration = Duration::from_millis(100);

/// The broker ends a transaction of a worker that died after this time; until then nobody can read what is published of its partitions.
const TRANSACTION_TIMEOUT_MS: &str = "20000";

pub(super) struct Publishing {
    emitter: Emitter,
    topics: Arc<[String]>,
    /// The emitter has a job.
    is_busy: bool,
    /// Failures in a row.
    attempt: u32,
    next_at: Instant,
    offsets_at: Instant,
}

impl Publishing {
    /// `consumer` as the lane's own, for reading the group's offsets.
    pub(super) fn start(
        consumer: &ClientConfig,
        client: &ClientSettings,
        settings: &LaneSettings,
        topics: &[String],
    ) -> std::io::Result<Publishing> {
        let mut consumer = consumer.clone();
        // Nobody polls that client, so its statistics would only pile up.
        consumer.set("statistics.interval.ms", "0");
        // A name of its own for every start: two workers with one name would fence each other for ever.
        let id = format!("tidelock {} {:016x}", settings.group_id, random());
        let mut producer = producer_config(client, Some(&id));
        producer.set("transaction.timeout.ms", TRANSACTION_TIMEOUT_MS);
        Ok(Publishing {
            emitter: Emitter::start(consumer, producer)?,
            topics: topics.into(),
            is_busy: false,
            attempt: 0,
            next_at: Instant::now(),
            offsets_at: Instant::now(),
        })
    }

    pub(super) fn ask_published(&self, place: Place) {
        self.emitter.ask(Ask::Published(place));
    }
}

impl PollLoop<'_> {
    /// Answers of the emitter, then the next job for it.
    pub(super) fn publish(&mut self) {
        let Some(mut publishing) = self.publishing.take() else { return };
        self.hear(&mut publishing);
        let now = Instant::now();
        if !publishing.is_busy && now >= publishing.next_at {
            publishing.next_at = now + LOOK_INTERVAL;
            let with_offsets = now.duration_since(publishing.offsets_at) >= OFFSETS_INTERVAL;
            self.send_job(&mut publishing, with_offsets);
        }
        self.publishing = Some(publishing);
    }

    /// Commits the last offsets, within the deadline; outputs that are left are published by the next owner.
    pub(super) fn publish_last(&mut self, until: Instant) {
        let Some(mut publishing) = self.publishing.take() else { return };
        let mut is_sent = false;
        while Instant::now() < until && (publishing.is_busy || !is_sent) {
            if !publishing.is_busy {
                is_sent = true;
                self.send_job(&mut publishing, true);
            }
            // Served on, so that the membership under which the transaction commits stays.
            self.keep_membership();
            self.hear(&mut publishing);
        }
    }

    fn hear(&mut self, publishing: &mut Publishing) {
        while let Some(told) = publishing.emitter.told() {
            match told {
                Told::Published((topic, partition), upto) => {
                    self.observer.publishing(None);
                    if let Some(topic) = self.topic_index.get(&topic).copied() {
                        self.lane.published(topic, partition, upto);
                    }
                }
                Told::Done(job, done) => {
                    publishing.is_busy = false;
                    publishing.attempt = 0;
                    publishing.next_at = Instant::now();
                    self.observer.publishing(None);
                    if done.count > 0 {
                        self.observer.published(done.count);
                    }
                    self.lane.job_done(&job, &done.upto);
                }
                Told::Unreachable(error) => self.observer.publishing(Some(&error)),
                Told::Failed { error, is_outdated } => {
                    publishing.is_busy = false;
                    publishing.attempt += 1;
                    // Once is a rebalance.
                    let is_trouble = !is_outdated || publishing.attempt > 1;
                    if is_trouble {
                        self.observer.publishing(Some(&error));
                    }
                    if is_trouble && publishing.attempt.is_power_of_two() {
                        tracing::warn!(
                            lane = %self.setup.name, attempt = publishing.attempt, %error,
                            "cannot publish; trying again"
                        );
                    }
                    let wait = self.setup.settings.retry.wait(publishing.attempt, random());
                    publishing.next_at = Instant::now() + wait;
                }
            }
        }
    }

    fn send_job(&mut self, publishing: &mut Publishing, with_offsets: bool) {
        // No metadata: not a member at this moment.
        let Some(group) = self.consumer.group_metadata() else { return };
        if with_offsets {
            publishing.offsets_at = Instant::now();
        }
        if let Some(job) = self.lane.publish_job(with_offsets) {
            publishing.is_busy = true;
            publishing.emitter.ask(Ask::Publish(Job { job, topics: publishing.topics.clone(), group }));
        }
    }
}
