//! Slow questions to the brokers (watermarks, committed offsets, offsets by time), asked on a thread of their own with a client of
//! their own, so that the poll thread keeps polling (rule A4).

use std::sync::mpsc::{Receiver, Sender, channel};
use std::time::Duration;

use rdkafka::ClientConfig;
use rdkafka::consumer::{BaseConsumer, Consumer};
use rdkafka::error::KafkaResult;
use rdkafka::topic_partition_list::{Offset, TopicPartitionList};
use topology::lane::StartFacts;

/// One question may take this long; then it counts as not answered and is asked again.
const ANSWER_TIMEOUT: Duration = Duration::from_secs(10);

/// A question about one partition.
#[derive(Clone, Debug)]
pub(super) struct Question {
    pub(super) topic: String,
    pub(super) partition: i32,
    /// Milliseconds since the epoch, when the direction starts at a time.
    pub(super) timestamp_ms: Option<i64>,
}

/// The answer, `None` when the brokers did not give one.
#[derive(Debug)]
pub(super) struct Answer {
    pub(super) question: Question,
    pub(super) facts: Option<StartFacts>,
}

/// The thread. It ends when this is dropped.
pub(super) struct Facts {
    questions: Sender<Question>,
    answers: Receiver<Answer>,
}

impl Facts {
    /// Starts the thread. The client is made at the first question.
    pub(super) fn start(config: ClientConfig) -> std::io::Result<Facts> {
        let (questions, incoming) = channel::<Question>();
        let (outgoing, answers) = channel();
        std::thread::Builder::new().name("tidelock-facts".to_owned()).spawn(move || {
            let mut client: Option<BaseConsumer> = None;
            while let Ok(question) = incoming.recv() {
                if client.is_none() {
                    client = config.create().ok();
                }
                let facts = client.as_ref().and_then(|client| ask(client, &question).ok());
                if facts.is_none() {
                    // Do not hammer brokers that do not answer.
                    std::thread::sleep(Duration::from_millis(500));
                }
                if outgoing.send(Answer { question, facts }).is_err() {
                    return;
                }
            }
        })?;
        Ok(Facts { questions, answers })
    }

    /// Asks; the answer comes by [`Facts::answered`].
    pub(super) fn ask(&self, question: Question) {
        // The thread lives as long as `self`.
        let _ = self.questions.send(question);
    }

    /// The next answer, without waiting.
    pub(super) fn answered(&self) -> Option<Answer> {
        self.answers.try_recv().ok()
    }
}

fn ask(client: &BaseConsumer, question: &Question) -> KafkaResult<StartFacts> {
    let (low, high) = client.fetch_watermarks(&question.topic, question.partition, ANSWER_TIMEOUT)?;
    let mut list = TopicPartitionList::new();
    list.add_partition(&question.topic, question.partition);
    let committed = match client.committed_offsets(list, ANSWER_TIMEOUT)?.elements().first().map(|first| first.offset())
    {
        Some(Offset::Offset(offset)) => Some(offset),
        _ => None,
    };
    let at_timestamp = match question.timestamp_ms {
        None => None,
        Some(timestamp_ms) => {
            let mut list = TopicPartitionList::new();
            list.add_partition_offset(&question.topic, question.partition, Offset::Offset(timestamp_ms))?;
            match client.offsets_for_times(list, ANSWER_TIMEOUT)?.elements().first().map(|first| first.offset()) {
                Some(Offset::Offset(offset)) => Some(offset),
                _ => None,
            }
        }
    };
    Ok(StartFacts { committed, low, high, at_timestamp })
}
