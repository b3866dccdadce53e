//! Topics as a test looks at them: everything in them, where they end, and records put back into them.

use std::collections::{BTreeMap, BTreeSet};
use std::time::{Duration, Instant};

use rdkafka::admin::{
    AdminClient, AdminOptions, AlterConfig, NewPartitions, NewTopic, ResourceSpecifier, TopicReplication,
};
use rdkafka::client::DefaultClientContext;
use rdkafka::consumer::{BaseConsumer, CommitMode, Consumer};
use rdkafka::message::OwnedHeaders;
use rdkafka::producer::{BaseProducer, BaseRecord, Producer};
use rdkafka::{ClientConfig, Message, Offset, TopicPartitionList};

use crate::servers;

/// One record.
#[derive(Clone, Debug)]
pub struct Published {
    /// Partition.
    pub partition: i32,
    /// Offset.
    pub offset: i64,
    /// Key as it is.
    pub key: Option<Vec<u8>>,
    /// Value as it is.
    pub value: Option<Vec<u8>>,
    /// Headers, for [`produce`].
    pub headers: OwnedHeaders,
}

fn client() -> ClientConfig {
    let mut config = ClientConfig::new();
    config.set("bootstrap.servers", servers::kafka());
    config
}

fn consumer() -> BaseConsumer {
    reader("read_committed")
}

fn reader(isolation: &str) -> BaseConsumer {
    client()
        .set("group.id", "tidelock-test-reader")
        .set("enable.auto.commit", "false")
        .set("isolation.level", isolation)
        .set("enable.partition.eof", "true")
        .create()
        .expect("a consumer")
}

/// All committed records of a topic, by partition and offset. A topic that does not exist has none. Where a producer was killed with a
/// transaction open, nothing behind its first record is readable before the broker has ended that transaction: waited for.
pub async fn read(topic: &str) -> Vec<Published> {
    let topic = topic.to_owned();
    tokio::task::spawn_blocking(move || read_now(&topic)).await.expect("the reader does not panic")
}

fn read_now(topic: &str) -> Vec<Published> {
    let consumer = consumer();
    let partitions = partitions(&consumer, topic);
    let mut list = TopicPartitionList::new();
    // Up to the end that there is now: a topic that is being written has no other.
    let mut open = BTreeMap::new();
    let everything = reader("read_uncommitted");
    for partition in 0..partitions {
        list.add_partition_offset(topic, partition, Offset::Beginning).expect("a place");
        let last = end(&everything, topic, partition);
        open.insert(partition, stable_end(&consumer, topic, partition, last));
    }
    consumer.assign(&list).expect("assigned");
    let mut records = Vec::new();
    let deadline = Instant::now() + Duration::from_secs(60);
    while !open.is_empty() {
        assert!(Instant::now() < deadline, "{topic} has no end");
        match consumer.poll(Duration::from_millis(200)) {
            Some(Ok(message)) => {
                if open.get(&message.partition()).is_some_and(|end| message.offset() + 1 >= *end) {
                    open.remove(&message.partition());
                }
                records.push(Published {
                    partition: message.partition(),
                    offset: message.offset(),
                    key: message.key().map(<[u8]>::to_vec),
                    value: message.payload().map(<[u8]>::to_vec),
                    headers: message.headers().map(|headers| headers.detach()).unwrap_or_default(),
                });
            }
            Some(Err(rdkafka::error::KafkaError::PartitionEOF(partition))) => {
                open.remove(&partition);
            }
            Some(Err(_)) | None => {}
        }
    }
    records.sort_by_key(|record| (record.partition, record.offset));
    records
}

/// Where the partition ends for readers of committed records, once that is `last` or later.
fn stable_end(consumer: &BaseConsumer, topic: &str, partition: i32, last: i64) -> i64 {
    // The engine's transactions end after 20 s at the latest, others after 60, and the broker looks every 10 s.
    let deadline = Instant::now() + Duration::from_secs(90);
    loop {
        let stable = end(consumer, topic, partition);
        if stable >= last {
            return stable;
        }
        assert!(Instant::now() < deadline, "{topic}-{partition}: a transaction is open at {stable}, {last} is the end");
        std::thread::sleep(Duration::from_millis(200));
    }
}

/// A partition that was made a moment ago has no leader yet.
fn end(consumer: &BaseConsumer, topic: &str, partition: i32) -> i64 {
    let deadline = Instant::now() + Duration::from_secs(20);
    loop {
        match consumer.fetch_watermarks(topic, partition, Duration::from_secs(10)) {
            Ok((_, high)) => return high,
            Err(error) => assert!(Instant::now() < deadline, "{topic}-{partition}: {error}"),
        }
        std::thread::sleep(Duration::from_millis(100));
    }
}

fn partitions(consumer: &BaseConsumer, topic: &str) -> i32 {
    // Asking for one topic by its name would create it.
    let metadata = consumer.fetch_metadata(None, Duration::from_secs(10)).expect("Kafka answers");
    metadata.topics().iter().find(|known| known.name() == topic).map_or(0, |known| known.partitions().len() as i32)
}

/// Where the partitions of topics end, transaction markers included.
pub async fn ends(topics: &[String]) -> BTreeMap<(String, i32), i64> {
    let topics = topics.to_vec();
    let look = move || {
        let consumer = consumer();
        let mut ends = BTreeMap::new();
        for topic in topics {
            for partition in 0..partitions(&consumer, &topic) {
                ends.insert((topic.clone(), partition), end(&consumer, &topic, partition));
            }
        }
        ends
    };
    tokio::task::spawn_blocking(look).await.expect("the reader does not panic")
}

/// Puts records into a topic: each `copies` times, at the partition it names. Returns when the broker has them.
pub async fn produce(topic: &str, records: &[Published], copies: usize) {
    let (topic, records) = (topic.to_owned(), records.to_vec());
    let send = move || {
        let producer: BaseProducer = client().set("acks", "all").create().expect("a producer");
        for record in &records {
            for _ in 0..copies {
                let mut one =
                    BaseRecord::<[u8], [u8]>::to(&topic).partition(record.partition).headers(record.headers.clone());
                if let Some(key) = &record.key {
                    one = one.key(key);
                }
                if let Some(value) = &record.value {
                    one = one.payload(value);
                }
                producer.send(one).map_err(|(error, _)| error).expect("there is room");
            }
        }
        producer.flush(Duration::from_secs(30)).expect("the broker takes them");
    };
    tokio::task::spawn_blocking(send).await.expect("the producer does not panic");
}

/// A consumer group: its state, and the members that it has.
pub async fn group(group: &str) -> (String, BTreeSet<String>) {
    let group = group.to_owned();
    let look = move || {
        let groups = consumer().fetch_group_list(Some(&group), Duration::from_secs(10)).expect("Kafka answers");
        let Some(group) = groups.groups().first() else { return ("absent".to_owned(), BTreeSet::new()) };
        (group.state().to_owned(), group.members().iter().map(|member| member.id().to_owned()).collect())
    };
    tokio::task::spawn_blocking(look).await.expect("the reader does not panic")
}

fn admin() -> AdminClient<DefaultClientContext> {
    client().create().expect("a client")
}

/// Makes a topic.
pub async fn create(topic: &str, partitions: i32) {
    let new = NewTopic::new(topic, partitions, TopicReplication::Fixed(1));
    let made = admin().create_topics([&new], &AdminOptions::new()).await.expect("Kafka answers");
    assert!(made.iter().all(Result::is_ok), "{made:?}");
}

/// Gives a topic more partitions.
pub async fn grow(topic: &str, partitions: usize) {
    let grown = admin().create_partitions([&NewPartitions::new(topic, partitions)], &AdminOptions::new()).await;
    let grown = grown.expect("Kafka answers");
    assert!(grown.iter().all(Result::is_ok), "{grown:?}");
}

/// Sets `cleanup.policy` of a topic. One that is compacted refuses records without a key.
pub async fn clean_up(topic: &str, policy: &str) {
    let config = AlterConfig::new(ResourceSpecifier::Topic(topic)).set("cleanup.policy", policy);
    let altered = admin().alter_configs([&config], &AdminOptions::new()).await.expect("Kafka answers");
    assert!(altered.iter().all(Result::is_ok), "{altered:?}");
}

/// Throws away the records of a partition before an offset, as retention does.
pub async fn forget_before(topic: &str, partition: i32, offset: i64) {
    let mut list = TopicPartitionList::new();
    list.add_partition_offset(topic, partition, Offset::Offset(offset)).expect("a place");
    let deleted = admin().delete_records(&list, &AdminOptions::new()).await.expect("Kafka answers");
    assert!(deleted.elements().iter().all(|element| element.error().is_ok()), "{deleted:?}");
}

/// Sets a consumer group's offsets of a topic to its beginning, as an operator's tool does. The group must have no member.
pub async fn reset_group(group: &str, topic: &str) {
    let (group, topic) = (group.to_owned(), topic.to_owned());
    let reset = move || {
        let consumer: BaseConsumer =
            client().set("group.id", &group).set("enable.auto.commit", "false").create().expect("a consumer");
        let mut list = TopicPartitionList::new();
        for partition in 0..partitions(&consumer, &topic) {
            list.add_partition_offset(&topic, partition, Offset::Offset(0)).expect("a place");
        }
        consumer.commit(&list, CommitMode::Sync).expect("the group has no member");
    };
    tokio::task::spawn_blocking(reset).await.expect("the reader does not panic");
}

/// Deletes a topic and waits until it is gone.
pub async fn delete(topic: &str) {
    let deleted = admin().delete_topics(&[topic], &AdminOptions::new()).await.expect("Kafka answers");
    assert!(deleted.iter().all(Result::is_ok), "{deleted:?}");
    crate::wait::eventually(Duration::from_secs(30), "the topic is gone", || async {
        let topic = topic.to_owned();
        let left = tokio::task::spawn_blocking(move || partitions(&consumer(), &topic)).await.expect("no panic");
        if left == 0 { Ok(()) } else { Err(format!("{left} partitions")) }
    })
    .await;
}
