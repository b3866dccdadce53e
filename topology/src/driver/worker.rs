//! One lane as the Kafka source would drive it: group events, records, commands and batches, one small step at a time; and the future of
//! its writer, polled only when it was woken.

use std::collections::BTreeMap;
use std::future::Future;
use std::pin::Pin;
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Arc, Mutex};
use std::task::{Context, Poll, Wake, Waker};

use tokio::sync::mpsc::{UnboundedReceiver, UnboundedSender, unbounded_channel};

use super::broker::{Broker, GroupEvent, Member, Partition};
use super::codec::{KnownSchemas, TestDecoder};
use super::emitter::TestEmitter;
use super::seed::Seed;
use crate::clock::ManualClock;
use crate::data::Layout;
use crate::error::{Error, Result};
use crate::graph::Topology;
use crate::lane::{Command, Lane, LaneSettings, Reply, Request, Taken, Writer};
use crate::observe::{LaneObserver, LaneState, Outcome};
use crate::pipeline::{Pipeline, TopicSettings};
use crate::raw::RawRecord;
use crate::record::EntityId;
use crate::sink::{HeldCounts, SinkWriter};

/// Batches that a lane may have handed over (rule A3).
const IN_FLIGHT_MAX: usize = 2;

/// Makes the graph of a direction; called twice per lane.
pub type MakeTopology = Arc<dyn Fn() -> Topology + Send + Sync>;

/// A direction under test.
#[derive(Clone)]
pub struct TestDirection {
    /// Settings of every lane.
    pub settings: LaneSettings,
    /// Topics in the order of their indexes.
    pub topics: Vec<TopicSettings>,
    /// Row and key layout of each topic.
    pub layouts: Vec<(Layout, Layout)>,
    /// The graph.
    pub topology: MakeTopology,
}

/// What a lane told its observer.
#[derive(Debug, Default)]
pub struct Heard {
    /// Counts by entity and outcome.
    pub outcomes: BTreeMap<(EntityId, &'static str), u64>,
    /// Numbered invariants that did not hold.
    pub broken: Vec<&'static str>,
    /// Reasons for which partitions stopped.
    pub partitions_paused: Vec<String>,
    /// Counts of held rows, as they were told.
    pub held: Vec<HeldCounts>,
    /// What a lane said last that it was doing.
    pub state: Option<LaneState>,
}

/// Keeps what lanes tell.
#[derive(Clone, Debug, Default)]
pub struct Listener(Arc<Mutex<Heard>>);

impl Listener {
    /// Looks at what was heard.
    pub fn heard<R>(&self, look: impl FnOnce(&Heard) -> R) -> R {
        look(&self.0.lock().unwrap_or_else(std::sync::PoisonError::into_inner))
    }

    fn hear(&self, change: impl FnOnce(&mut Heard)) {
        change(&mut self.0.lock().unwrap_or_else(std::sync::PoisonError::into_inner));
    }
}

impl LaneObserver for Listener {
    fn records(&self, entity: EntityId, outcome: Outcome, count: u64) {
        self.hear(|heard| *heard.outcomes.entry((entity, outcome.name())).or_default() += count);
    }

    fn invariant_broken(&self, id: &'static str) {
        self.hear(|heard| heard.broken.push(id));
    }

    fn partition_paused(&self, topic: &str, partition: i32, reason: Option<&Error>) {
        if let Some(reason) = reason {
            self.hear(|heard| heard.partitions_paused.push(format!("{topic}[{partition}] {reason}")));
        }
    }

    fn held(&self, counts: HeldCounts) {
        // Only what is new: the simulator's schedules are long.
        self.hear(|heard| {
            if heard.held.last() != Some(&counts) {
                heard.held.push(counts);
            }
        });
    }

    fn lane_state(&self, state: LaneState, _reason: Option<&Error>) {
        self.hear(|heard| heard.state = Some(state));
    }
}

#[derive(Default)]
struct Flag(AtomicBool);

impl Wake for Flag {
    fn wake(self: Arc<Self>) {
        self.0.store(true, Ordering::SeqCst);
    }
}

/// A worker of one direction with one lane.
pub struct Worker {
    member: Member,
    group: Arc<str>,
    lane: Lane,
    writer: Option<Pin<Box<dyn Future<Output = ()> + Send>>>,
    woken: Arc<Flag>,
    requests: UnboundedSender<Request>,
    replies: UnboundedReceiver<Reply>,
    /// Assigned partitions; the next offset of those that were started and are not paused.
    positions: BTreeMap<Partition, Option<i64>>,
    /// Start offsets that are still to be looked up.
    lookups: Vec<Partition>,
    /// Partitions that want to know where their topic ends.
    end_lookups: Vec<Partition>,
    emitter: TestEmitter,
    next_partition: usize,
    schemas: KnownSchemas,
    /// Decides how far before a start the broker's answers begin.
    fetches: Seed,
    /// Why the lane ended; `Some(None)` when it drained.
    ended: Option<Option<Error>>,
}

impl Worker {
    /// Starts a worker as a member of the direction's group. `sink` is its connection to the target: [`super::MemoryTarget::writer_of`], or a real one.
    ///
    /// # Errors
    /// As [`Pipeline::new`].
    pub fn start(
        member: Member,
        direction: &TestDirection,
        broker: &mut Broker,
        sink: Box<dyn SinkWriter>,
        clock: &ManualClock,
        listener: &Listener,
        seed: &mut Seed,
    ) -> Result<Worker> {
        let schemas = KnownSchemas::default();
        let pipeline = || {
            let decoder = TestDecoder::new(direction.layouts.clone(), schemas.clone());
            Pipeline::new(Box::new(decoder), (direction.topology)(), direction.topics.clone())
        };
        let (requests, request_receiver) = unbounded_channel();
        let (reply_sender, replies) = unbounded_channel();
        let clock = Arc::new(clock.clone());
        let mut random = || {
            let mut seed = seed.fork();
            Box::new(move || seed.next()) as Box<dyn FnMut() -> u64 + Send>
        };
        let settings = direction.settings.clone();
        let learned = schemas.clone();
        let writer = Writer::new(
            settings.clone(),
            sink,
            pipeline()?,
            Box::new(move |id| {
                learned.learn(id);
                Box::pin(std::future::ready(Ok(())))
            }),
            Arc::new(listener.clone()),
            clock.clone(),
            random(),
            request_receiver,
            reply_sender,
        );
        let group = settings.group_id.clone();
        let lane = Lane::new(settings, pipeline()?, Arc::new(listener.clone()), clock, random());
        broker.join(&group, member);
        Ok(Worker {
            member,
            group,
            lane,
            writer: Some(Box::pin(writer.run())),
            woken: Arc::new(Flag(AtomicBool::new(true))),
            requests,
            replies,
            positions: BTreeMap::new(),
            lookups: Vec::new(),
            end_lookups: Vec::new(),
            emitter: TestEmitter::new(seed.fork()),
            next_partition: 0,
            schemas,
            fetches: seed.fork(),
            ended: None,
        })
    }

    /// Its name in the group.
    pub fn member(&self) -> Member {
        self.member
    }

    /// Its group.
    pub fn group(&self) -> &str {
        &self.group
    }

    /// Why the lane ended, once it has: `Some(None)` when it drained.
    pub fn ended(&self) -> Option<&Option<Error>> {
        self.ended.as_ref()
    }

    /// What the lane believes to be committed of its partitions: the next offset of each.
    pub fn committed(&self) -> impl Iterator<Item = (Partition, i64)> + '_ {
        let partitions = self.positions.keys();
        partitions
            .filter_map(|(topic, partition)| Some(((*topic, *partition), self.lane.committed(*topic, *partition)?)))
    }

    /// Asks the lane to write what it has and to end.
    pub fn drain(&mut self) {
        if let Some(sealed) = self.lane.seal() {
            self.send(Request::Apply(sealed));
        }
        self.send(Request::Drain);
    }

    /// True when the writer's future was woken since it was last polled.
    pub fn is_woken(&self) -> bool {
        self.writer.is_some() && self.woken.0.load(Ordering::SeqCst)
    }

    /// Lets the writer go on to its next await. False when nothing woke it.
    pub fn poll_writer(&mut self) -> bool {
        if !self.woken.0.swap(false, Ordering::SeqCst) {
            return false;
        }
        let Some(writer) = &mut self.writer else { return false };
        let waker = Waker::from(self.woken.clone());
        if let Poll::Ready(()) = writer.as_mut().poll(&mut Context::from_waker(&waker)) {
            self.writer = None;
        }
        true
    }

    /// One turn of the poll loop, which reads at most `records_max` records. False when there was nothing to do.
    pub fn step(&mut self, broker: &mut Broker, records_max: usize) -> bool {
        if self.ended.is_some() {
            return false;
        }
        let mut is_busy = false;
        while let Some(event) = broker.next_event(&self.group, self.member) {
            is_busy = true;
            match event {
                GroupEvent::Assigned(partitions) => {
                    self.positions.extend(partitions.iter().map(|partition| (*partition, None)));
                    self.lane.assigned(&partitions);
                }
                GroupEvent::Revoked(partitions) => {
                    self.positions.retain(|partition, _| !partitions.contains(partition));
                    self.lane.revoked(&partitions);
                }
            }
        }
        while let Ok(reply) = self.replies.try_recv() {
            is_busy = true;
            if let Some(reason) = self.lane.reply(reply) {
                self.ended = Some(reason);
                return true;
            }
            // Commands between two replies keep their order; a seek takes effect before the next record.
            self.obey();
        }
        self.lane.tick();
        is_busy |= self.obey();
        for partition in std::mem::take(&mut self.lookups) {
            is_busy = true;
            let facts = broker.start_facts(partition);
            self.lane.start_facts(partition.0, partition.1, Some(facts));
        }
        for (topic, partition) in std::mem::take(&mut self.end_lookups) {
            is_busy = true;
            self.lane.topic_ends(topic, partition, Some(broker.topic_ends(topic)));
        }
        is_busy |= self.obey();
        is_busy |= self.emitter.step(broker, &self.group, self.member, &mut self.lane);
        is_busy |= self.obey();
        let mut queue_empty = false;
        for _ in 0..records_max {
            if self.lane.is_full() {
                break;
            }
            let Some(read) = self.read_one(broker) else {
                queue_empty = true;
                break;
            };
            is_busy = true;
            if let Err(error) = read {
                self.ended = Some(Some(error));
                return true;
            }
        }
        if self.lane.in_flight() < IN_FLIGHT_MAX
            && self.lane.is_due(queue_empty)
            && let Some(sealed) = self.lane.seal()
        {
            is_busy = true;
            self.send(Request::Apply(sealed));
        }
        is_busy | self.obey()
    }

    /// Reads one record of the next partition that has any; `None` when none has.
    fn read_one(&mut self, broker: &Broker) -> Option<Result<()>> {
        let partitions: Vec<Partition> = self.positions.keys().copied().collect();
        for turn in 0..partitions.len() {
            let partition = partitions[(self.next_partition + turn) % partitions.len()];
            let Some(position) = self.positions[&partition] else { continue };
            let Some((offset, bytes)) = broker.fetch(partition, position) else { continue };
            self.next_partition = (self.next_partition + turn + 1) % partitions.len();
            let raw = RawRecord {
                topic: partition.0,
                offset,
                timestamp_ms: bytes.timestamp_ms,
                key: Some(&bytes.key),
                value: bytes.value.as_deref(),
                headers: &bytes.headers,
            };
            let taken = match self.lane.take(partition.1, &raw) {
                Taken::SchemaNeeded(id) => {
                    self.schemas.learn(id);
                    self.lane.take(partition.1, &raw)
                }
                taken => taken,
            };
            match taken {
                Taken::Fatal(error) => return Some(Err(error)),
                Taken::Halted => self.positions.insert(partition, None),
                Taken::Yes | Taken::Ignored | Taken::SchemaNeeded(_) => {
                    self.positions.insert(partition, Some(offset + 1))
                }
            };
            return Some(Ok(()));
        }
        None
    }

    fn obey(&mut self) -> bool {
        let mut is_busy = false;
        while let Some(command) = self.lane.next_command() {
            is_busy = true;
            match command {
                Command::Send(request) => self.send(request),
                Command::Start(start) => {
                    if let Some(position) = self.positions.get_mut(&(start.topic, start.partition)) {
                        // A broker answers with whole batches of records: some before the offset that was asked for may come too.
                        let before = if self.fetches.chance(20) { self.fetches.below(3) as i64 } else { 0 };
                        *position = Some((start.offset - before).max(0));
                    }
                }
                Command::Pause { topic, partition } => {
                    if let Some(position) = self.positions.get_mut(&(topic, partition)) {
                        *position = None;
                    }
                }
                Command::ResolveStart { topic, partition, .. } => self.lookups.push((topic, partition)),
                Command::AskEnds { topic, partition } => self.end_lookups.push((topic, partition)),
                Command::AskPublished { topic, partition } => self.emitter.ask_published((topic, partition)),
            }
        }
        is_busy
    }

    fn send(&mut self, request: Request) {
        // The writer is gone only when it stopped; its last reply says why.
        let _ = self.requests.send(request);
    }
}
