//! Slow questions to the brokers (watermarks, committed offsets, offsets by time, the record before an offset), asked on a thread of their
//! own with a client of their own, so that the poll thread keeps polling (rule A4).

use std::collections::VecDeque;
use std::sync::mpsc::{Receiver, Sender, channel};
use std::time::{Duration, Instant};

use rdkafka::consumer::{BaseConsumer, Consumer, ConsumerContext};
use rdkafka::error::{KafkaError, KafkaResult};
use rdkafka::message::{BorrowedMessage, Message};
use rdkafka::topic_partition_list::{Offset, TopicPartitionList};
use rdkafka::types::RDKafkaErrorCode;
use rdkafka::{ClientConfig, ClientContext};
use topology::lane::{PartitionEnds, StartFacts, tail_hash};

use super::record::raw_record;
use super::seldom::Seldom;

/// One question may take this long; then it counts as not answered and is asked again.
const ANSWER_TIMEOUT: Duration = Duration::from_secs(10);

/// A question about one partition.
#[derive(Clone, Debug)]
pub(super) struct Question {
    pub(super) topic: String,
    pub(super) partition: i32,
    pub(super) about: About,
}

/// What is asked.
#[derive(Clone, Copy, Debug)]
pub(super) enum About {
    /// Where does it begin and end, what has the group committed, how many partitions are there?
    Start {
        /// And where is this time (milliseconds since the epoch)?
        at_ms: Option<i64>,
    },
    /// Where does it begin and end, and what is the record at this offset, if that is in the log (rule L7)?
    Log {
        /// The record before the one to start at; `None` when no hash is known to compare with.
        tail_offset: Option<i64>,
    },
    /// Where do all partitions of its topic end (rules A6, B5)?
    Ends,
}

/// The answer; what the brokers did not tell is `None`.
#[derive(Debug)]
pub(super) enum Answer {
    Start(Option<StartFacts>),
    Log(Option<Log>),
    Ends(Option<Vec<PartitionEnds>>),
}

/// What the log of a partition holds.
#[derive(Clone, Copy, Debug)]
pub(super) struct Log {
    pub(super) low: i64,
    pub(super) high: i64,
    pub(super) tail: Tail,
}

/// The record at an offset.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Tail {
    /// Not asked for, or not in the log any more.
    Unknown,
    /// Compacted away: the log goes on after it.
    Compacted,
    /// [`tail_hash`] of it.
    Hash(u64),
}

/// Ends of partitions are answers here; rdkafka's own context logs each of them as an error.
#[derive(Default)]
struct Quiet {
    seldom: Seldom,
}

impl ClientContext for Quiet {
    fn error(&self, error: KafkaError, reason: &str) {
        if error.rdkafka_error_code() != Some(RDKafkaErrorCode::PartitionEOF)
            && let Some(untold) = self.seldom.untold(&error)
        {
            tracing::warn!(%error, reason, untold, "Kafka, while looking at the ends of partitions");
        }
    }
}

impl ConsumerContext for Quiet {}

type Client = BaseConsumer<Quiet>;

/// The thread. It ends when this is dropped.
pub(super) struct Facts {
    questions: Sender<Question>,
    answers: Receiver<(Question, Answer)>,
}

impl Facts {
    /// Starts the thread. The client is made at the first question.
    pub(super) fn start(mut config: ClientConfig) -> std::io::Result<Facts> {
        // A log whose end was compacted away answers with its end instead of nothing.
        config.set("enable.partition.eof", "true");
        // The end is what is asked for: brokers need not wait for more before they say that it is there.
        config.set("fetch.wait.max.ms", "5");
        let (questions, incoming) = channel::<Question>();
        let (outgoing, answers) = channel();
        std::thread::Builder::new()
            .name("tidelock-facts".to_owned())
            .spawn(move || answer_all(&config, &incoming, &outgoing))?;
        Ok(Facts { questions, answers })
    }

    /// Asks; the answer comes by [`Facts::answered`].
    pub(super) fn ask(&self, question: Question) {
        // The thread lives as long as `self`.
        let _ = self.questions.send(question);
    }

    /// The next answer, without waiting.
    pub(super) fn answered(&self) -> Option<(Question, Answer)> {
        self.answers.try_recv().ok()
    }
}

/// The thread: until nobody asks or listens any more.
fn answer_all(config: &ClientConfig, incoming: &Receiver<Question>, outgoing: &Sender<(Question, Answer)>) {
    let mut client: Option<Client> = None;
    // Its ends of partitions are those of the logs, also where transactions are open.
    let mut uncommitted: Option<Client> = None;
    let mut waiting = VecDeque::new();
    while let Some(question) = waiting.pop_front().or_else(|| incoming.recv().ok()) {
        waiting.extend(incoming.try_iter());
        if client.is_none() {
            client = config.create_with_context(Quiet::default()).ok();
        }
        if uncommitted.is_none() && matches!(question.about, About::Ends) {
            let mut config = config.clone();
            config.set("isolation.level", "read_uncommitted");
            uncommitted = config.create_with_context(Quiet::default()).ok();
        }
        let answer = answer(client.as_ref(), uncommitted.as_ref(), &question);
        if matches!(answer, Answer::Start(None) | Answer::Log(None) | Answer::Ends(None)) {
            // Do not hammer brokers that do not answer.
            std::thread::sleep(Duration::from_millis(500));
        }
        if let Answer::Ends(ends) = &answer {
            // All partitions of a topic ask the same at a start: one look serves everyone who asked before it.
            waiting.retain(|other: &Question| {
                let is_same = matches!(other.about, About::Ends) && other.topic == question.topic;
                is_same.then(|| outgoing.send((other.clone(), Answer::Ends(ends.clone()))));
                !is_same
            });
        }
        if outgoing.send((question, answer)).is_err() {
            return;
        }
    }
}

fn answer(client: Option<&Client>, uncommitted: Option<&Client>, question: &Question) -> Answer {
    match question.about {
        About::Start { at_ms } => Answer::Start(client.and_then(|client| start(client, question, at_ms).ok())),
        About::Log { tail_offset } => {
            Answer::Log(client.and_then(|client| log(client, &question.topic, question.partition, tail_offset).ok()))
        }
        About::Ends => {
            Answer::Ends(client.zip(uncommitted).and_then(|(client, other)| ends(client, other, &question.topic).ok()))
        }
    }
}

fn partitions(client: &Client, topic: &str) -> KafkaResult<Vec<i32>> {
    let metadata = client.fetch_metadata(Some(topic), ANSWER_TIMEOUT)?;
    let Some(topic) = metadata.topics().first() else { return Ok(Vec::new()) };
    Ok(topic.partitions().iter().map(rdkafka::metadata::MetadataPartition::id).collect())
}

fn ends(client: &Client, uncommitted: &Client, topic: &str) -> KafkaResult<Vec<PartitionEnds>> {
    let partitions = partitions(client, topic)?;
    if partitions.is_empty() {
        // A topic that is just being created anew: asked again.
        return Err(KafkaError::MetadataFetch(RDKafkaErrorCode::UnknownTopicOrPartition));
    }
    let end = |partition: i32| {
        let (_, log_end) = uncommitted.fetch_watermarks(topic, partition, ANSWER_TIMEOUT)?;
        let (low, stable_end) = client.fetch_watermarks(topic, partition, ANSWER_TIMEOUT)?;
        let high = end_of_records(client, topic, partition, low, stable_end)?;
        Ok(PartitionEnds { partition, low, high, stable_end, log_end })
    };
    partitions.into_iter().map(end).collect()
}

/// The offset after the last record before `high`: transaction markers have offsets and are never delivered.
fn end_of_records(client: &Client, topic: &str, partition: i32, low: i64, high: i64) -> KafkaResult<i64> {
    let mut back = 1;
    loop {
        let first = low.max(high - back);
        if first >= high {
            return Ok(low);
        }
        match read_from(client, topic, partition, first, high)? {
            Some(last) => return Ok(last + 1),
            None if first == low => return Ok(low),
            None => back *= 16,
        }
    }
}

/// The last offset in `first..high` that has a record.
fn read_from(client: &Client, topic: &str, partition: i32, first: i64, high: i64) -> KafkaResult<Option<i64>> {
    let mut last = None;
    scan(client, topic, partition, first, |message| {
        if message.offset() < high {
            last = Some(message.offset());
        }
        message.offset() + 1 >= high
    })?;
    Ok(last)
}

/// Reads from `first` on, until `is_enough` or the log's end.
fn scan(
    client: &Client,
    topic: &str,
    partition: i32,
    first: i64,
    mut is_enough: impl FnMut(&BorrowedMessage<'_>) -> bool,
) -> KafkaResult<()> {
    let mut list = TopicPartitionList::new();
    list.add_partition_offset(topic, partition, Offset::Offset(first))?;
    client.assign(&list)?;
    let until = Instant::now() + ANSWER_TIMEOUT;
    let scanned = loop {
        if Instant::now() >= until {
            break Err(KafkaError::MessageConsumption(RDKafkaErrorCode::OperationTimedOut));
        }
        match client.poll(Duration::from_millis(100)) {
            Some(Ok(message)) if message.topic() != topic || message.partition() != partition => {}
            Some(Ok(message)) if is_enough(&message) => break Ok(()),
            Some(Err(KafkaError::PartitionEOF(other))) if other == partition => break Ok(()),
            Some(_) | None => {}
        }
    };
    // Nothing is assigned to this client between questions.
    let _ = client.unassign();
    scanned
}

fn log(client: &Client, topic: &str, partition: i32, tail_offset: Option<i64>) -> KafkaResult<Log> {
    let (low, high) = client.fetch_watermarks(topic, partition, ANSWER_TIMEOUT)?;
    let tail = match tail_offset.filter(|offset| (low..high).contains(offset)) {
        None => Tail::Unknown,
        Some(offset) => tail_at(client, topic, partition, offset)?,
    };
    Ok(Log { low, high, tail })
}

fn start(client: &Client, question: &Question, at_ms: Option<i64>) -> KafkaResult<StartFacts> {
    let (low, high) = client.fetch_watermarks(&question.topic, question.partition, ANSWER_TIMEOUT)?;
    let mut list = TopicPartitionList::new();
    list.add_partition(&question.topic, question.partition);
    let committed = match client.committed_offsets(list, ANSWER_TIMEOUT)?.elements().first().map(|first| first.offset())
    {
        Some(Offset::Offset(offset)) => Some(offset),
        _ => None,
    };
    let at_timestamp = match at_ms {
        None => None,
        Some(at_ms) => {
            let mut list = TopicPartitionList::new();
            list.add_partition_offset(&question.topic, question.partition, Offset::Offset(at_ms))?;
            match client.offsets_for_times(list, ANSWER_TIMEOUT)?.elements().first().map(|first| first.offset()) {
                Some(Offset::Offset(offset)) => Some(offset),
                _ => None,
            }
        }
    };
    let partitions = i32::try_from(partitions(client, &question.topic)?.len()).unwrap_or(i32::MAX);
    Ok(StartFacts { committed, low, high, at_timestamp, partitions })
}

fn tail_at(client: &Client, topic: &str, partition: i32, offset: i64) -> KafkaResult<Tail> {
    // Stays when the next one that is there has another offset, or nothing comes any more.
    let mut tail = Tail::Compacted;
    scan(client, topic, partition, offset, |message| {
        if message.offset() == offset {
            tail = Tail::Hash(tail_hash(&raw_record(message, 0, &mut Vec::new())));
        }
        message.offset() >= offset
    })?;
    Ok(tail)
}
