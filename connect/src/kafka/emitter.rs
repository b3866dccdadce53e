//! Publishes a lane's outputs (rules O2 to O4), on a thread of its own: transactions block, and the poll thread must not.
//!
//! Each transaction holds outputs and the group's offsets of their partitions, whose metadata says how far is published. The broker
//! refuses it if the group has moved on since `group` was taken, so a worker that lost its partitions publishes nothing of theirs. After
//! any failure the outcome is unknown: a new producer under the same transactional id ends the old transaction, then the metadata is read
//! again, and only what lies above it is published.

use std::collections::HashMap;
use std::sync::Arc;
use std::sync::mpsc::{Receiver, Sender, channel};
use std::time::Duration;

use rdkafka::ClientConfig;
use rdkafka::admin::{AdminClient, AdminOptions, NewTopic, TopicReplication};
use rdkafka::client::DefaultClientContext;
use rdkafka::consumer::{BaseConsumer, Consumer, ConsumerGroupMetadata};
use rdkafka::error::{KafkaError, KafkaResult};
use rdkafka::message::{Header, OwnedHeaders};
use rdkafka::producer::{BaseProducer, BaseRecord, Producer};
use rdkafka::topic_partition_list::{Offset, TopicPartitionList};
use rdkafka::types::RDKafkaErrorCode;
use topology::lane::PublishJob;
use topology::output::{Output, metadata, plan, published_of};
use topology::raw::headers;
use topology::{Error, ErrorKind, Stage};

use super::transaction::{Failed, REPLY_TIMEOUT, code_of, transact};

/// One question to the brokers may take this long; then it is asked again.
const ANSWER_TIMEOUT: Duration = Duration::from_secs(10);

/// First limit once the brokers have refused an output for its size; halved each time that is not enough.
const VALUE_BYTES_MAX: usize = 512 * 1024;

/// What brokers say to a member or producer that is not the present one.
const OUTDATED: [RDKafkaErrorCode; 7] = [
    RDKafkaErrorCode::IllegalGeneration,
    RDKafkaErrorCode::UnknownMemberId,
    RDKafkaErrorCode::RebalanceInProgress,
    RDKafkaErrorCode::FencedInstanceId,
    RDKafkaErrorCode::InvalidProducerEpoch,
    RDKafkaErrorCode::ProducerFenced,
    RDKafkaErrorCode::Fenced,
];

/// Wait after brokers that did not answer.
const ASK_AGAIN: Duration = Duration::from_millis(500);

/// A partition of the lane by name.
pub(super) type Place = (String, i32);

/// What the poll thread asks for.
pub(super) enum Ask {
    /// What is published of this partition's outputs?
    Published(Place),
    /// One transaction.
    Publish(Job),
}

/// Taken at one moment: partitions that are ours, and the group's metadata of that moment (rule O3).
pub(super) struct Job {
    pub(super) job: PublishJob,
    /// Names of the lane's topics.
    pub(super) topics: Arc<[String]>,
    pub(super) group: ConsumerGroupMetadata,
}

/// A job that is committed.
pub(super) struct Done {
    /// Outputs that were published now.
    pub(super) count: u64,
    /// Topic, partition, and the number up to which everything is published.
    pub(super) upto: Vec<(usize, i32, i64)>,
}

/// What it is told.
pub(super) enum Told {
    /// The metadata of this partition's committed offset; `None`: there is none of ours.
    Published(Place, Option<i64>),
    /// The job is committed.
    Done(PublishJob, Done),
    /// The brokers do not say what is published; asked again.
    Unreachable(Error),
    /// Not known whether published; the job is to be sent again, with fresh metadata of the group.
    Failed {
        /// Why.
        error: Error,
        /// The brokers refused it because the group or another producer has moved on, as happens at every rebalance.
        is_outdated: bool,
    },
}

/// The thread. It ends when this is dropped.
pub(super) struct Emitter {
    asks: Sender<Ask>,
    told: Receiver<Told>,
}

impl Emitter {
    /// Starts the thread. Clients are made when first needed.
    pub(super) fn start(consumer: ClientConfig, producer: ClientConfig) -> std::io::Result<Emitter> {
        let (asks, incoming) = channel();
        let (outgoing, told) = channel();
        let worker = Worker {
            consumer_config: consumer,
            producer_config: producer,
            consumer: None,
            producer: None,
            published: HashMap::new(),
            value_bytes_max: usize::MAX,
        };
        std::thread::Builder::new()
            .name("tidelock-emitter".to_owned())
            .spawn(move || worker.run(&incoming, &outgoing))?;
        Ok(Emitter { asks, told })
    }

    /// Asks; the answer comes by [`Emitter::told`].
    pub(super) fn ask(&self, ask: Ask) {
        // The thread lives as long as `self`.
        let _ = self.asks.send(ask);
    }

    /// The next answer, without waiting.
    pub(super) fn told(&self) -> Option<Told> {
        self.told.try_recv().ok()
    }
}

struct Worker {
    consumer_config: ClientConfig,
    producer_config: ClientConfig,
    /// No member of the group; reads its offsets.
    consumer: Option<BaseConsumer>,
    /// `None` after any failure.
    producer: Option<BaseProducer>,
    /// As the brokers have it. Emptied by any failure.
    published: HashMap<Place, i64>,
    /// Larger outputs go without their value: the brokers refused one.
    value_bytes_max: usize,
}

impl Worker {
    fn run(mut self, incoming: &Receiver<Ask>, outgoing: &Sender<Told>) {
        while let Ok(first) = incoming.recv() {
            let mut places = Vec::new();
            let mut jobs = Vec::new();
            for ask in std::iter::once(first).chain(incoming.try_iter()) {
                match ask {
                    Ask::Published(place) => places.push(place),
                    Ask::Publish(job) => jobs.push(job),
                }
            }
            while !places.is_empty() {
                match self.read_published(&places) {
                    Ok(()) => {
                        for place in places.drain(..) {
                            let upto = self.published.get(&place).copied();
                            let _ = outgoing.send(Told::Published(place, upto));
                        }
                    }
                    Err(error) => {
                        tracing::warn!(%error, "cannot read what is published; asking again");
                        std::thread::sleep(ASK_AGAIN);
                        // New questions wait here too; a lane that has ended listens no more.
                        let error = fault("cannot read what is published", error);
                        if outgoing.send(Told::Unreachable(error)).is_err() {
                            return;
                        }
                    }
                }
            }
            for job in jobs {
                let told = match self.publish(&job) {
                    Ok(done) => Told::Done(job.job, done),
                    Err((what, error)) => {
                        self.producer = None;
                        self.published.clear();
                        if code_of(&error) == Some(RDKafkaErrorCode::MessageSizeTooLarge) {
                            self.value_bytes_max = (self.value_bytes_max / 2).min(VALUE_BYTES_MAX);
                        }
                        let is_outdated = code_of(&error).is_some_and(|code| OUTDATED.contains(&code));
                        Told::Failed { error: fault(what, error), is_outdated }
                    }
                };
                if outgoing.send(told).is_err() {
                    return;
                }
            }
        }
    }

    /// Reads the group's offsets as they are when every open transaction on them has ended (`isolation.level=read_committed`).
    fn read_published(&mut self, places: &[Place]) -> KafkaResult<()> {
        if self.consumer.is_none() {
            self.consumer = Some(self.consumer_config.create()?);
        }
        let consumer = self.consumer.as_ref().expect("just made");
        let mut wanted = TopicPartitionList::new();
        for (topic, partition) in places {
            wanted.add_partition(topic, *partition);
        }
        let committed = consumer.committed_offsets(wanted, ANSWER_TIMEOUT)?;
        for element in committed.elements() {
            element.error()?;
            let place = (element.topic().to_owned(), element.partition());
            match published_of(element.metadata()) {
                Some(upto) => self.published.insert(place, upto),
                None => self.published.remove(&place),
            };
        }
        Ok(())
    }

    fn publish(&mut self, job: &Job) -> Result<Done, Failed> {
        let Job { job, topics, group } = job;
        let name = |topic: usize| topics[topic].clone();
        if self.producer.is_none() {
            let producer: BaseProducer =
                self.producer_config.create().map_err(|error| ("cannot create a producer", error))?;
            // Ends what an earlier producer of ours left open (rule O4).
            producer.init_transactions(REPLY_TIMEOUT).map_err(|error| ("cannot start publishing", error))?;
            self.producer = Some(producer);
        }
        let places = job.offsets.iter().map(|(topic, partition, _)| (name(*topic), *partition));
        let unknown: Vec<Place> = places.filter(|place| !self.published.contains_key(place)).collect();
        if !unknown.is_empty() {
            self.read_published(&unknown).map_err(|error| ("cannot read what is published", error))?;
        }
        let producer = self.producer.as_ref().expect("just made");
        let published = &self.published;
        let offsets = job.offsets.iter().map(|(topic, partition, next_offset)| ((*topic, *partition), *next_offset));
        let place_of = |output: &Output| {
            let topic = topics.iter().position(|topic| **topic == *output.task.topic);
            (topic.unwrap_or(usize::MAX), output.task.partition)
        };
        let upto = |place: &(usize, i32)| published.get(&(name(place.0), place.1)).copied().unwrap_or(0);
        let plan = plan(&job.outputs, offsets, place_of, upto);
        create_topics(&self.producer_config, producer, &plan.outputs)?;
        let mut offsets = TopicPartitionList::new();
        for ((topic, partition), next_offset, upto) in &plan.offsets {
            let mut element = offsets.add_partition(&topics[*topic], *partition);
            let set = element.set_offset(Offset::Offset(*next_offset));
            set.map_err(|error| ("cannot name the progress", error))?;
            element.set_metadata(metadata(*upto));
        }
        let max = self.value_bytes_max;
        transact(producer, plan.outputs.iter().map(|output| record_of(output, max)), &offsets, group)?;
        let upto: Vec<_> =
            plan.offsets.iter().map(|((topic, partition), _, upto)| (*topic, *partition, *upto)).collect();
        for (topic, partition, upto) in &upto {
            self.published.insert((name(*topic), *partition), *upto);
        }
        Ok(Done { count: plan.outputs.len() as u64, upto })
    }
}

/// An output with more bytes than `bytes_max` goes without its value, which is in `tidelock_held`: it must not stop the others.
fn record_of(output: &Output, bytes_max: usize) -> BaseRecord<'_, [u8], [u8]> {
    let mut owned = OwnedHeaders::new();
    let is_too_large = output.size_bytes() > bytes_max;
    if is_too_large {
        let bytes = output.value.as_ref().map_or(0, Vec::len).to_string();
        owned = owned.insert(Header { key: "tidelock.value_left_out_bytes", value: Some(&bytes) });
    }
    for (key, value) in headers(&output.headers) {
        owned = owned.insert(Header { key, value });
    }
    let mut record = BaseRecord::to(&output.target).headers(owned);
    record.key = output.key.as_deref();
    record.payload = output.value.as_deref().filter(|_| !is_too_large);
    record
}

/// Makes the topics that are not there, with the brokers' own defaults: a producer would wait for them in vain where brokers do not create
/// topics by themselves.
fn create_topics(config: &ClientConfig, producer: &BaseProducer, outputs: &[&Output]) -> Result<(), Failed> {
    let mut targets: Vec<&str> = outputs.iter().map(|output| output.target.as_str()).collect();
    targets.sort_unstable();
    targets.dedup();
    for target in targets {
        let known = producer.client().fetch_metadata(Some(target), ANSWER_TIMEOUT);
        let known = known.map_err(|error| ("cannot look for the topic", error))?;
        let is_there = known.topics().iter().any(|topic| topic.name() == target && topic.error().is_none());
        if is_there {
            continue;
        }
        let mut plain = config.clone();
        plain.remove("transactional.id");
        let admin: AdminClient<DefaultClientContext> =
            plain.create().map_err(|error| ("cannot create a client", error))?;
        let options = AdminOptions::new().operation_timeout(Some(ANSWER_TIMEOUT));
        let topic = NewTopic::new(target, 1, TopicReplication::Fixed(-1));
        let created = futures::executor::block_on(admin.create_topics([&topic], &options));
        for result in created.map_err(|error| ("cannot create the topic", error))? {
            match result {
                Ok(topic) => tracing::info!(%topic, "created topic"),
                Err((_, RDKafkaErrorCode::TopicAlreadyExists)) => {}
                Err((_, code)) => return Err(("cannot create the topic", KafkaError::AdminOp(code))),
            }
        }
    }
    Ok(())
}

fn fault(description: &'static str, error: KafkaError) -> Error {
    let detail = format!("{error}; tried again until the brokers take it, nothing is lost meanwhile");
    let mut fault = Error::new(ErrorKind::Environment, Stage::Publish, description, detail);
    fault.code = code_of(&error).map(|code| format!("{code:?}"));
    fault.with_source(error)
}
