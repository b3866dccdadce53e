//! Publishes captured changes and remembers how far, both in one Kafka transaction.
//!
//! Progress is the group-offset metadata of the capture's own topic, so it commits or aborts with the records. Whatever goes wrong
//! in the middle, including a lost reply to the commit, [`Publisher::recover`] builds a new producer under the same transactional id,
//! which ends the old transaction one way or the other and fences an older process, and only then reads the progress back: what it
//! says is the truth (DESIGN 12, rules O2, O4). So an id above it was not published, and one up to it was, once.
//!
//! Calls block; they run on the capture's own thread.

use rdkafka::admin::{AdminClient, AdminOptions, NewTopic, TopicReplication};
use rdkafka::client::DefaultClientContext;
use rdkafka::consumer::{BaseConsumer, CommitMode, Consumer};
use rdkafka::error::{KafkaError, RDKafkaErrorCode};
use rdkafka::message::{Header, OwnedHeaders};
use rdkafka::producer::{BaseProducer, BaseRecord, Producer};
use rdkafka::{ClientConfig, Offset, TopicPartitionList};
use topology::{Error, ErrorKind, Result, Stage};
use tracing::{debug, info};

use crate::kafka::transaction::{Failed, REPLY_TIMEOUT, code_of, transact};

/// Version of the progress text.
const PROGRESS_VERSION: &str = "1";

/// Where and under which names to publish.
#[derive(Clone, Debug)]
pub struct PublisherSettings {
    /// librdkafka's options for reaching the brokers: `bootstrap.servers`, security.
    pub client: Vec<(String, String)>,
    /// Names this capture for ever: its transactional id, and the consumer group whose offset metadata is its progress.
    pub id: String,
    /// The capture's own topic; nothing is written to it.
    pub progress_topic: String,
    /// What kind of broker this is.
    pub broker: BrokerKind,
}

/// Which broker the capture publishes to.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum BrokerKind {
    /// A Kafka cluster.
    Cluster {
        /// Partitions of topics that have to be created.
        partitions: i32,
    },
    /// librdkafka's in-process broker, for the demo and tests. Asking for a topic creates it. It forgets offsets that were committed
    /// in a transaction, so they are committed once more without; nothing is claimed about crashes there.
    InProcess,
}

/// How far a change log is published.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Progress {
    /// Which log the number belongs to.
    pub incarnation: String,
    /// Highest published change id.
    pub change: i64,
}

impl Progress {
    fn encode(&self) -> String {
        format!("{PROGRESS_VERSION} {} {}", self.incarnation, self.change)
    }

    fn decode(text: &str) -> Option<Progress> {
        let mut parts = text.split(' ');
        if parts.next()? != PROGRESS_VERSION {
            return None;
        }
        let progress = Progress { incarnation: parts.next()?.to_owned(), change: parts.next()?.parse().ok()? };
        parts.next().is_none().then_some(progress)
    }
}

/// One record to publish.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct OutRecord {
    /// Topic.
    pub topic: String,
    /// Key bytes.
    pub key: Vec<u8>,
    /// Value bytes; `None` is a tombstone.
    pub value: Option<Vec<u8>>,
    /// At most one header.
    pub header: Option<(&'static str, Vec<u8>)>,
}

/// A transactional producer with its progress.
pub struct Publisher {
    settings: PublisherSettings,
    consumer: BaseConsumer,
    /// `None` after any failure: only [`Publisher::recover`] makes a new one.
    producer: Option<BaseProducer>,
}

impl Publisher {
    /// Does no I/O.
    ///
    /// # Errors
    /// `Configuration` when librdkafka refuses the options.
    pub fn new(settings: PublisherSettings) -> Result<Publisher> {
        let consumer = client(&settings)
            .set("group.id", &settings.id)
            .set("enable.auto.commit", "false")
            .set("isolation.level", "read_committed")
            .create()
            .map_err(refused)?;
        Ok(Publisher { settings, consumer, producer: None })
    }

    /// True when [`Publisher::recover`] has to be called before publishing.
    pub fn needs_recovery(&self) -> bool {
        self.producer.is_none()
    }

    /// Ends whatever transaction there was, fences older processes, and reads the progress. `None`: nothing was ever published.
    ///
    /// # Errors
    /// `Environment` when the brokers do not answer; `Fenced` when another process has taken over.
    pub fn recover(&mut self) -> Result<Option<Progress>> {
        self.producer = None;
        let producer: BaseProducer = client(&self.settings)
            .set("transactional.id", &self.settings.id)
            .set("enable.idempotence", "true")
            // Java's partitioner, so that a key keeps its partition when a Debezium connector takes over from the capture.
            .set("partitioner", "murmur2_random")
            .set("compression.type", "lz4")
            .set("linger.ms", "5")
            .create()
            .map_err(refused)?;
        producer.init_transactions(REPLY_TIMEOUT).map_err(|error| self.fault("cannot start publishing", error))?;
        let mut wanted = TopicPartitionList::new();
        wanted.add_partition(&self.settings.progress_topic, 0);
        let committed = self
            .consumer
            .committed_offsets(wanted, REPLY_TIMEOUT)
            .map_err(|error| self.fault("cannot read the capture's progress", error))?;
        let element = committed.find_partition(&self.settings.progress_topic, 0);
        let progress = match element {
            None => None,
            Some(element) => {
                element.error().map_err(|error| self.fault("cannot read the capture's progress", error))?;
                match element.offset() {
                    Offset::Invalid => None,
                    _ => Some(Progress::decode(element.metadata()).ok_or_else(|| self.odd_progress())?),
                }
            }
        };
        debug!(id = %self.settings.id, ?progress, "capture ready to publish");
        self.producer = Some(producer);
        Ok(progress)
    }

    /// Publishes records in this order and moves the progress, in one transaction.
    ///
    /// # Errors
    /// Whatever it is, the outcome is unknown and [`Publisher::recover`] is next. `Fenced` when another process has taken over.
    pub fn publish(&mut self, records: &[OutRecord], progress: &Progress) -> Result<()> {
        let Some(producer) = self.producer.take() else {
            return Err(Error::new(
                ErrorKind::Bug,
                Stage::Publish,
                "published without a producer",
                "recover comes first",
            ));
        };
        self.publish_with(&producer, records, progress).map_err(|(what, error)| self.fault(what, error))?;
        // Kept only after success: a producer that saw a timeout may send a late EndTxn into its next transaction.
        self.producer = Some(producer);
        Ok(())
    }

    fn publish_with(
        &self,
        producer: &BaseProducer,
        records: &[OutRecord],
        progress: &Progress,
    ) -> std::result::Result<(), Failed> {
        let group = self
            .consumer
            .group_metadata()
            .ok_or(("cannot name the capture's group", KafkaError::ClientCreation("no group metadata".to_owned())))?;
        let mut offsets = TopicPartitionList::new();
        let mut element = offsets.add_partition(&self.settings.progress_topic, 0);
        // The offset itself says nothing; 0 is the end of the empty topic, so lag tools see no lag.
        element.set_offset(Offset::Offset(0)).map_err(|error| ("cannot store the capture's progress", error))?;
        element.set_metadata(progress.encode());
        transact(producer, records.iter().map(base_record), &offsets, &group)?;
        if self.settings.broker == BrokerKind::InProcess {
            let committed = self.consumer.commit(&offsets, CommitMode::Sync);
            committed.map_err(|error| ("cannot store the capture's progress", error))?;
        }
        Ok(())
    }

    /// Makes sure that topics exist, the progress topic among them.
    ///
    /// # Errors
    /// `Environment` when the brokers do not answer or refuse.
    pub async fn create_topics(&self, topics: &[String]) -> Result<()> {
        let BrokerKind::Cluster { partitions } = self.settings.broker else { return self.ask_for_topics(topics) };
        let wanted = topics.iter().map(|topic| (topic.as_str(), partitions));
        let known = self
            .consumer
            .fetch_metadata(None, REPLY_TIMEOUT)
            .map_err(|error| self.fault("cannot list topics", error))?;
        let missing: Vec<NewTopic<'_>> = wanted
            .chain([(self.settings.progress_topic.as_str(), 1)])
            .filter(|(name, _)| !known.topics().iter().any(|topic| topic.name() == *name && topic.error().is_none()))
            .map(|(name, partitions)| NewTopic::new(name, partitions, TopicReplication::Fixed(-1)))
            .collect();
        if missing.is_empty() {
            return Ok(());
        }
        let admin: AdminClient<DefaultClientContext> = client(&self.settings).create().map_err(refused)?;
        let options = AdminOptions::new().operation_timeout(Some(REPLY_TIMEOUT));
        let results =
            admin.create_topics(&missing, &options).await.map_err(|error| self.fault("cannot create topics", error))?;
        for result in results {
            match result {
                Ok(topic) => info!(%topic, "created topic"),
                Err((_, RDKafkaErrorCode::TopicAlreadyExists)) => {}
                Err((topic, code)) => {
                    let detail = format!("\"{topic}\"; create it by hand, or grant the right to create topics");
                    return Err(Error::new(ErrorKind::Environment, Stage::Publish, "cannot create topic", detail)
                        .with_code(format!("{code:?}")));
                }
            }
        }
        Ok(())
    }

    fn ask_for_topics(&self, topics: &[String]) -> Result<()> {
        // A producer asks in a way that creates; a consumer does not.
        let producer: BaseProducer = client(&self.settings).create().map_err(refused)?;
        for topic in topics.iter().chain([&self.settings.progress_topic]) {
            producer
                .client()
                .fetch_metadata(Some(topic), REPLY_TIMEOUT)
                .map_err(|error| self.fault("cannot create topic by asking for it", error))?;
        }
        Ok(())
    }

    fn fault(&self, description: &'static str, error: KafkaError) -> Error {
        let code = code_of(&error);
        let (kind, advice) = match code {
            Some(
                RDKafkaErrorCode::Fenced | RDKafkaErrorCode::InvalidProducerEpoch | RDKafkaErrorCode::ProducerFenced,
            ) => (ErrorKind::Fenced, "another process publishes under this name; stop one of the two"),
            Some(RDKafkaErrorCode::MessageSizeTooLarge) => (
                ErrorKind::Environment,
                "a row is larger than Kafka takes; raise message.max.bytes of client, broker and topic",
            ),
            _ => (ErrorKind::Environment, "tried again until the brokers answer"),
        };
        let mut fault =
            Error::new(kind, Stage::Publish, description, format!("capture {}; {advice}", self.settings.id));
        fault.code = code.map(|code| format!("{code:?}"));
        fault.with_source(error)
    }

    fn odd_progress(&self) -> Error {
        Error::new(
            ErrorKind::Environment,
            Stage::Publish,
            "cannot read the capture's progress",
            format!(
                "the committed metadata of group {} is not ours; no other program may use this group",
                self.settings.id
            ),
        )
    }
}

fn client(settings: &PublisherSettings) -> ClientConfig {
    let mut config = ClientConfig::new();
    for (name, value) in &settings.client {
        config.set(name, value);
    }
    config
}

fn base_record(record: &OutRecord) -> BaseRecord<'_, [u8], [u8]> {
    let mut message = BaseRecord::to(&record.topic).key(record.key.as_slice());
    if let Some(value) = &record.value {
        message = message.payload(value.as_slice());
    }
    if let Some((key, value)) = &record.header {
        message = message.headers(OwnedHeaders::new().insert(Header { key, value: Some(value) }));
    }
    message
}

fn refused(error: KafkaError) -> Error {
    Error::new(
        ErrorKind::Configuration,
        Stage::Publish,
        "cannot create a Kafka client",
        "librdkafka refuses the options under kafka; correct them",
    )
    .with_source(error)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn progress_survives_the_way_through_metadata() {
        let progress = Progress { incarnation: "00ff".to_owned(), change: 42 };
        assert_eq!(Progress::decode(&progress.encode()), Some(progress));
        for odd in ["", "1 a", "1 a b", "2 a 1", "1 a 1 1"] {
            assert_eq!(Progress::decode(odd), None, "{odd}");
        }
    }
}
