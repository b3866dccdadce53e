//! The loop of a lane's poll thread: rebalances, replies, commands, batches, and one consumer that is polled again and again.
//!
//! The thread never waits for the target: a blocked poll loses the group membership after `max.poll.interval.ms` (rule A3). It waits for
//! a schema with all partitions paused and keeps polling meanwhile (rule A4).

use std::collections::{HashMap, HashSet};
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::{Duration, Instant};

use rdkafka::ClientConfig;
use rdkafka::consumer::{BaseConsumer, CommitMode, Consumer};
use rdkafka::error::KafkaError;
use rdkafka::message::Message;
use rdkafka::topic_partition_list::{Offset, TopicPartitionList};
use rdkafka::types::RDKafkaErrorCode;
use tokio::runtime::Handle;
use tokio::sync::mpsc::{UnboundedReceiver, UnboundedSender};
use topology::lane::{Command, FetchSchema, Lane, Reply, Request, StartAt, Taken};
use topology::observe::LaneObserver;
use topology::{Error, ErrorKind, Result, Stage};

use super::context::{GroupEvent, LaneContext};
use super::facts::{About, Facts};
use super::lane::{Drained, LaneSetup};
use super::publishing::Publishing;
use super::record::raw_record;
use super::schemas::offer;
use super::seldom::Seldom;

/// Longest wait for a record: how late a reply, a rebalance note or a stop may be seen while nothing arrives.
pub(super) const POLL_WAIT: Duration = Duration::from_millis(20);

/// Batches handed over at most: one being written, one waiting.
pub(super) const IN_FLIGHT_MAX: usize = 2;

/// The writer may be behind this long before fetching is paused instead of just not polled (rule A3).
const PAUSE_AFTER: Duration = Duration::from_secs(1);

/// How often group offsets (advisory, for lag tools) and lag go out.
const TELL_INTERVAL: Duration = Duration::from_secs(1);

/// A seek is answered by a thread of this process; this long means that the partition is just starting or stopping: tried again.
const SEEK_TIMEOUT: Duration = Duration::from_secs(1);

/// How the loop ended without an error that needs a person.
pub(super) enum Ended {
    /// Told to stop.
    Drained(Drained),
    /// The consumer failed for good: build everything anew (rule A5).
    Rebuild(Error),
}

pub(super) struct PollLoop<'a> {
    pub(super) consumer: BaseConsumer<LaneContext>,
    pub(super) lane: Lane,
    pub(super) topics: Vec<String>,
    pub(super) topic_index: HashMap<String, usize>,
    pub(super) requests: UnboundedSender<Request>,
    pub(super) replies: UnboundedReceiver<Reply>,
    pub(super) fetch_schema: FetchSchema,
    pub(super) facts: Facts,
    pub(super) setup: &'a LaneSetup,
    /// Set when the lane is to end.
    pub(super) stop: &'a AtomicBool,
    pub(super) observer: Arc<dyn LaneObserver>,
    pub(super) runtime: Handle,
    /// Partitions that the group gave us.
    pub(super) owned: HashSet<(usize, i32)>,
    /// Partitions that we fetch.
    pub(super) fetched: HashSet<(usize, i32)>,
    /// Starts that are being checked against the log's ends (rule L7), with the moment they were first beyond the end.
    pub(super) checking: HashMap<(usize, i32), (StartAt, Option<Instant>)>,
    /// Unanswered questions of a first start.
    pub(super) resolving: HashSet<(usize, i32)>,
    /// Seeks that librdkafka has not taken yet; records of these partitions are stale until then.
    pub(super) seeking: HashMap<(usize, i32), i64>,
    /// Schema ids that the registry did not know when it was last asked, and what it said.
    pub(super) unknown_schemas: HashMap<u32, (Instant, String)>,
    /// `None`: the direction publishes nothing.
    pub(super) publishing: Option<Publishing>,
    pub(super) paused_for_writer: bool,
    pub(super) full_since: Option<Instant>,
    pub(super) headers: Vec<u8>,
    pub(super) told_at: Instant,
    pub(super) told: HashMap<(usize, i32), i64>,
    /// How often in a row librdkafka said that it does not fetch a partition that it should.
    pub(super) stalled: HashMap<(usize, i32), u32>,
    /// Why the consumer must be built anew (rule A5).
    pub(super) broken: Option<Error>,
}

impl<'a> PollLoop<'a> {
    pub(super) fn new(
        config: &ClientConfig,
        lane: Lane,
        (requests, replies): (UnboundedSender<Request>, UnboundedReceiver<Reply>),
        fetch_schema: FetchSchema,
        setup: &'a LaneSetup,
        topics: Vec<String>,
        stop: &'a AtomicBool,
    ) -> Result<PollLoop<'a>> {
        let consumer: BaseConsumer<LaneContext> = config
            .create_with_context(LaneContext::default())
            .map_err(|error| kafka_error("cannot create consumer", error))?;
        let names: Vec<&str> = topics.iter().map(String::as_str).collect();
        consumer.subscribe(&names).map_err(|error| kafka_error("cannot subscribe", error))?;
        let mut facts_config = config.clone();
        // Nobody polls that client, so its statistics would only pile up.
        facts_config.set("statistics.interval.ms", "0");
        let facts = Facts::start(facts_config).map_err(|error| {
            Error::new(ErrorKind::Environment, Stage::Consume, "cannot start thread", "for questions to the brokers")
                .with_source(error)
        })?;
        let publishes = setup.settings.publishes;
        let publishing =
            publishes.then(|| Publishing::start(config, &setup.client, &setup.settings, &topics)).transpose();
        let publishing = publishing.map_err(|error| {
            Error::new(ErrorKind::Environment, Stage::Consume, "cannot start thread", "for outputs").with_source(error)
        })?;
        let topic_index = topics.iter().enumerate().map(|(index, name)| (name.clone(), index)).collect();
        Ok(PollLoop {
            consumer,
            lane,
            topics,
            topic_index,
            requests,
            replies,
            fetch_schema,
            facts,
            setup,
            stop,
            observer: setup.observer.clone(),
            runtime: setup.runtime.clone(),
            owned: HashSet::new(),
            fetched: HashSet::new(),
            checking: HashMap::new(),
            resolving: HashSet::new(),
            seeking: HashMap::new(),
            unknown_schemas: HashMap::new(),
            publishing,
            paused_for_writer: false,
            full_since: None,
            headers: Vec::new(),
            told_at: Instant::now(),
            told: HashMap::new(),
            stalled: HashMap::new(),
            broken: None,
        })
    }

    pub(super) fn run(mut self) -> Result<Ended> {
        let ended = self.poll_on();
        if !matches!(ended, Ok(Ended::Drained(_))) {
            // Others get them now: what this lane said of them is not true any more.
            let owned: Vec<_> = self.owned.drain().collect();
            self.lane.revoked(&owned);
        }
        ended
    }

    fn poll_on(&mut self) -> Result<Ended> {
        while !self.stop.load(Ordering::Relaxed) {
            if let Some(ended) = self.housekeeping()? {
                return Ok(ended);
            }
            let mut wait = Duration::ZERO;
            if self.lane.is_full() && self.lane.in_flight() >= IN_FLIGHT_MAX {
                self.wait_for_writer()?;
                continue;
            }
            self.resume_after_writer();
            // Take what is at hand, then one longer wait.
            let queue_empty = loop {
                let polled = match self.poll(wait)? {
                    Polled::Record => true,
                    Polled::Nothing => false,
                    Polled::Rebuild(error) => return Ok(Ended::Rebuild(error)),
                };
                if !polled || self.lane.is_full() {
                    break !polled;
                }
                wait = Duration::ZERO;
            };
            let in_flight = self.lane.in_flight();
            let due = match in_flight {
                0 => self.lane.is_due(queue_empty),
                1 => self.lane.is_due(false),
                _ => false,
            };
            if due {
                self.hand_over()?;
            } else if queue_empty {
                match self.poll(POLL_WAIT)? {
                    Polled::Rebuild(error) => return Ok(Ended::Rebuild(error)),
                    Polled::Record | Polled::Nothing => {}
                }
            }
        }
        self.drain()
    }

    /// Everything but records. Returns how the loop ends, if it does.
    fn housekeeping(&mut self) -> Result<Option<Ended>> {
        self.group_events();
        while let Ok(reply) = self.replies.try_recv() {
            if let Some(ended) = self.lane.reply(reply) {
                return Err(ended.unwrap_or_else(writer_gone));
            }
        }
        if self.replies.is_closed() && self.replies.is_empty() {
            return Err(writer_gone());
        }
        while let Some((question, answer)) = self.facts.answered() {
            self.answered(&question, answer);
        }
        if self.consumer.context().take_missing() {
            self.lane.waits_for_topics();
        }
        self.lane.tick();
        self.execute_commands()?;
        self.publish();
        self.retry_seeks();
        if self.told_at.elapsed() >= TELL_INTERVAL {
            self.tell(CommitMode::Async);
        }
        if let Some(reason) = self.consumer.context().take_fatal() {
            let error = Error::new(ErrorKind::Environment, Stage::Consume, "consumer failed for good", reason);
            return Ok(Some(Ended::Rebuild(error)));
        }
        Ok(self.broken.take().map(Ended::Rebuild))
    }

    fn group_events(&mut self) {
        for event in self.consumer.context().take_events() {
            match event {
                GroupEvent::Assigned(named) => {
                    let places = self.places(&named);
                    self.owned.extend(places.iter().copied());
                    tracing::info!(lane = %self.setup.name, partitions = places.len(), "partitions assigned");
                    self.lane.assigned(&places);
                }
                GroupEvent::Revoked(named) => {
                    let places = self.places(&named);
                    tracing::info!(lane = %self.setup.name, partitions = places.len(), "partitions revoked");
                    for place in &places {
                        self.owned.remove(place);
                        self.fetched.remove(place);
                        self.checking.remove(place);
                        self.resolving.remove(place);
                        self.seeking.remove(place);
                        self.told.remove(place);
                    }
                    self.lane.revoked(&places);
                }
            }
        }
    }

    fn places(&self, named: &[(String, i32)]) -> Vec<(usize, i32)> {
        named.iter().filter_map(|(topic, partition)| Some((*self.topic_index.get(topic)?, *partition))).collect()
    }

    fn execute_commands(&mut self) -> Result<()> {
        while let Some(command) = self.lane.next_command() {
            match command {
                Command::Send(request) => self.requests.send(request).map_err(|_| writer_gone())?,
                Command::Start(start) => self.start(start),
                Command::Pause { topic, partition } => {
                    self.checking.remove(&(topic, partition));
                    self.seeking.remove(&(topic, partition));
                    if self.fetched.contains(&(topic, partition)) {
                        self.set_paused(&[(topic, partition)], true);
                    }
                }
                Command::ResolveStart { topic, partition, at_ms } => {
                    self.resolving.insert((topic, partition));
                    self.ask(topic, partition, About::Start { at_ms });
                }
                Command::AskEnds { topic, partition } => self.ask(topic, partition, About::Ends),
                Command::AskPublished { topic, partition } => {
                    if let Some(publishing) = &self.publishing {
                        publishing.ask_published((self.topics[topic].clone(), partition));
                    }
                }
            }
        }
        Ok(())
    }

    fn retry_seeks(&mut self) {
        if self.seeking.is_empty() {
            return;
        }
        let mut done = Vec::new();
        for (place, offset) in &self.seeking {
            // A seek raises librdkafka's version of the partition: prefetched records from before it never come. With a time limit, because
            // without one librdkafka reports no error, and records from another place than the one sought would be taken for the next.
            let sought = self.consumer.seek(&self.topics[place.0], place.1, Offset::Offset(*offset), SEEK_TIMEOUT);
            if sought.is_ok() {
                done.push(*place);
            }
        }
        for place in &done {
            self.seeking.remove(place);
        }
        if !self.paused_for_writer {
            self.set_paused(&done, false);
        }
    }

    pub(super) fn set_paused(&self, places: &[(usize, i32)], paused: bool) {
        if places.is_empty() {
            return;
        }
        let mut list = TopicPartitionList::new();
        for (topic, partition) in places {
            list.add_partition(&self.topics[*topic], *partition);
        }
        let done = if paused { self.consumer.pause(&list) } else { self.consumer.resume(&list) };
        if let Err(error) = done {
            tracing::debug!(%error, paused, "cannot pause or resume; a rebalance is under way");
        }
    }

    /// Rule A3: the hand-over is full. Not polled for less than a second; then paused and polled, so that the membership survives.
    fn wait_for_writer(&mut self) -> Result<()> {
        let since = *self.full_since.get_or_insert_with(Instant::now);
        if since.elapsed() < PAUSE_AFTER {
            if let Ok(Some(reply)) =
                self.runtime.block_on(async { tokio::time::timeout(POLL_WAIT, self.replies.recv()).await })
                && let Some(ended) = self.lane.reply(reply)
            {
                return Err(ended.unwrap_or_else(writer_gone));
            }
            return Ok(());
        }
        if !self.paused_for_writer {
            self.paused_for_writer = true;
            let fetched: Vec<_> = self.fetched.iter().copied().collect();
            self.set_paused(&fetched, true);
        }
        self.poll_paused();
        Ok(())
    }

    /// A record that slips through is not taken: its partition is sought back.
    fn poll_paused(&mut self) {
        match self.consumer.poll(POLL_WAIT) {
            Some(Ok(message)) => {
                let place = self.topic_index.get(message.topic()).map(|topic| (*topic, message.partition()));
                if let Some(place) = place {
                    self.seeking.entry(place).or_insert(message.offset());
                }
            }
            Some(Err(error)) => {
                if let Polled::Rebuild(error) = consumer_error(&error, &self.consumer.context().seldom) {
                    self.broken = Some(error);
                }
            }
            None => {}
        }
    }

    fn resume_after_writer(&mut self) {
        self.full_since = None;
        if self.paused_for_writer {
            self.paused_for_writer = false;
            let running: HashSet<(usize, i32)> = self.lane.running().collect();
            let places: Vec<_> = self.fetched.iter().copied().filter(|place| running.contains(place)).collect();
            self.set_paused(&places, false);
        }
    }

    pub(super) fn hand_over(&mut self) -> Result<()> {
        if let Some(sealed) = self.lane.seal() {
            topology::crash::point("sealed");
            self.requests.send(Request::Apply(sealed)).map_err(|_| writer_gone())?;
        }
        Ok(())
    }

    fn poll(&mut self, wait: Duration) -> Result<Polled> {
        let consumer = &self.consumer;
        let message = match consumer.poll(wait) {
            None => return Ok(Polled::Nothing),
            Some(Ok(message)) => message,
            Some(Err(error)) => return Ok(consumer_error(&error, &consumer.context().seldom)),
        };
        let Some(topic) = self.topic_index.get(message.topic()).copied() else { return Ok(Polled::Record) };
        let place = (topic, message.partition());
        if self.seeking.contains_key(&place) {
            return Ok(Polled::Record);
        }
        let mut headers = std::mem::take(&mut self.headers);
        let taken =
            offer(&mut self.lane, &mut self.unknown_schemas, place.1, &raw_record(&message, topic, &mut headers));
        self.headers = headers;
        match taken {
            Taken::Yes | Taken::Ignored | Taken::Halted => Ok(Polled::Record),
            Taken::Fatal(error) => Err(error),
            Taken::SchemaNeeded(id) => {
                let offset = message.offset();
                let timestamp_ms = message.timestamp().to_millis().unwrap_or(-1);
                drop(message);
                self.wait_for_schema(id, place, offset, timestamp_ms)?;
                Ok(Polled::Record)
            }
        }
    }

    /// Serves callbacks while everything is paused; a record that slips through is fetched again later.
    pub(super) fn keep_membership(&mut self) {
        self.poll_paused();
        self.group_events();
    }
}

enum Polled {
    Record,
    Nothing,
    Rebuild(Error),
}

fn consumer_error(error: &KafkaError, seldom: &Seldom) -> Polled {
    if error.rdkafka_error_code() == Some(RDKafkaErrorCode::Fatal) {
        return Polled::Rebuild(kafka_error("consumer failed for good", error.clone()));
    }
    if error.rdkafka_error_code() == Some(RDKafkaErrorCode::UnknownTopicOrPartition) {
        return Polled::Nothing; // the context has told it, once
    }
    if error.rdkafka_error_code() == Some(RDKafkaErrorCode::AutoOffsetReset) {
        // Retention took records before they were read, or the topic was cut: librdkafka fetches that partition no more, and does not say which
        // one it is. All of them are checked anew (rule L7), as at a start.
        return Polled::Rebuild(kafka_error("an offset is not in the log any more", error.clone()));
    }
    if matches!(error.rdkafka_error_code(), Some(RDKafkaErrorCode::BadMessage | RDKafkaErrorCode::NotImplemented)) {
        // Bytes that are not what was written (`check.crcs`), or of an unknown format: librdkafka goes on behind them, and we do not.
        return Polled::Rebuild(kafka_error("a record cannot be read", error.clone()));
    }
    // Brokers down: librdkafka goes on by itself, lag and health show it.
    if let Some(untold) = seldom.untold(error) {
        tracing::warn!(%error, untold, "consumer reported an error");
    }
    Polled::Nothing
}

fn kafka_error(description: &'static str, error: KafkaError) -> Error {
    Error::new(ErrorKind::Environment, Stage::Consume, description, error.to_string()).with_source(error)
}

pub(super) fn writer_gone() -> Error {
    Error::new(
        ErrorKind::Bug,
        Stage::Write,
        "writer ended unasked",
        "see the log; progress is in the target, a restart continues there",
    )
}
