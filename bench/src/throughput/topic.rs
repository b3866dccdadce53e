//! Topics full of real envelopes: Avro in Confluent's frame, schemas in the registry, no compression, as a connector leaves them.

use std::time::{Duration, SystemTime, UNIX_EPOCH};

use avro::{Event, RegistryClient, RegistryOptions, SourceBlock, TopicEncoder, TopicSource};
use connect::kafka::{ClientSettings, consumer_config};
use rdkafka::admin::{AdminClient, AdminOptions, NewTopic, TopicReplication};
use rdkafka::client::DefaultClientContext;
use rdkafka::consumer::{BaseConsumer, Consumer};
use rdkafka::error::{KafkaError, RDKafkaErrorCode};
use rdkafka::message::Message;
use rdkafka::producer::{BaseProducer, BaseRecord, Producer};
use rdkafka::{ClientConfig, Offset, TopicPartitionList};
use topology::record::Operation;

use super::Options;
use super::workload::{Phase, TABLE, Workload};

/// Partitions of each topic: as many as the most lanes.
pub(crate) const PARTITIONS: i32 = 2;

/// One topic per phase.
#[derive(Clone, Debug)]
pub(crate) struct Topics {
    pub(crate) insert: String,
    pub(crate) update: String,
}

impl Topics {
    pub(crate) fn of(&self, phase: Phase) -> &str {
        match phase {
            Phase::Insert => &self.insert,
            Phase::Update => &self.update,
        }
    }
}

pub(crate) fn kafka() -> Result<String, String> {
    std::env::var("TIDELOCK_TEST_KAFKA")
        .map_err(|_| "TIDELOCK_TEST_KAFKA is not set: see services/stack env".to_owned())
}

pub(crate) fn registry() -> Result<RegistryClient, String> {
    let url = std::env::var("TIDELOCK_TEST_REGISTRY")
        .map_err(|_| "TIDELOCK_TEST_REGISTRY is not set: see services/stack env")?;
    RegistryClient::new(&RegistryOptions::new([url])).map_err(|error| error.to_string())
}

fn admin() -> Result<AdminClient<DefaultClientContext>, String> {
    ClientConfig::new().set("bootstrap.servers", kafka()?).create().map_err(|error| error.to_string())
}

/// Makes and fills both topics.
pub(crate) async fn fill(workload: &Workload, options: &Options) -> Result<Topics, String> {
    let now = SystemTime::now().duration_since(UNIX_EPOCH).map_or(0, |since| since.as_millis());
    let name = |phase: Phase| format!("bench{now:x}.shop.{TABLE}_{}_{}", workload.columns, phase.name());
    let topics = Topics { insert: name(Phase::Insert), update: name(Phase::Update) };
    let new: Vec<NewTopic<'_>> = [&topics.insert, &topics.update]
        .map(|topic| NewTopic::new(topic, PARTITIONS, TopicReplication::Fixed(1)))
        .into();
    for result in admin()?.create_topics(&new, &AdminOptions::new()).await.map_err(|error| error.to_string())? {
        result.map_err(|(topic, code)| format!("cannot create topic {topic}: {code}"))?;
    }
    for phase in [Phase::Insert, Phase::Update] {
        fill_one(workload, phase, topics.of(phase), options).await?;
    }
    Ok(topics)
}

async fn fill_one(workload: &Workload, phase: Phase, topic: &str, options: &Options) -> Result<(), String> {
    let source = TopicSource::MySql { name: "bench".to_owned(), db: "shop".to_owned(), table: TABLE.to_owned() };
    let mut encoder = TopicEncoder::new(topic, source, &workload.layout, &[0]).map_err(|error| error.to_string())?;
    let registry = registry()?;
    let key_schema = encoder.key_schema().ok_or("the table has a key")?;
    let key_id = registry.register(&format!("{topic}-key"), &key_schema).await.map_err(|error| error.to_string())?;
    let value_id = registry
        .register(&format!("{topic}-value"), &encoder.value_schema())
        .await
        .map_err(|error| error.to_string())?;
    encoder.set_ids(key_id, value_id);
    let producer: BaseProducer = ClientConfig::new()
        .set("bootstrap.servers", kafka()?)
        .set("linger.ms", "20")
        .set("batch.size", "1000000")
        .set("queue.buffering.max.kbytes", "131072")
        .create()
        .map_err(|error| error.to_string())?;
    let (mut key, mut value) = (Vec::new(), Vec::new());
    for index in 0..options.rows {
        let id = workload.key(phase, index, options.rows);
        let after = workload.row(phase, id);
        let before = (phase == Phase::Update).then(|| workload.row(Phase::Insert, id));
        let event = Event {
            operation: if phase == Phase::Insert { Operation::Create } else { Operation::Update },
            before: before.as_deref(),
            after: Some(&after),
            snapshot: None,
            committed_at_us: 1_700_000_000_000_000 + index as i64,
            source: SourceBlock::Binlog {
                server_id: 1,
                gtid: None,
                file: "binlog.000001",
                position: index as i64 * 100 + if phase == Phase::Update { 1_000_000_000_000 } else { 4 },
                row: 0,
            },
        };
        key.clear();
        value.clear();
        encoder.encode_key(&after, &mut key).map_err(|error| error.to_string())?;
        encoder.encode_value(&event, &mut value).map_err(|error| error.to_string())?;
        let partition = (id % PARTITIONS as u64) as i32;
        loop {
            match producer.send(BaseRecord::to(topic).partition(partition).key(&key).payload(&value)) {
                Ok(()) => break,
                Err((KafkaError::MessageProduction(RDKafkaErrorCode::QueueFull), _)) => {
                    producer.poll(Duration::from_millis(10));
                }
                Err((error, _)) => return Err(error.to_string()),
            }
        }
        if index % 10_000 == 0 {
            producer.poll(Duration::ZERO);
        }
    }
    producer.flush(Duration::from_secs(120)).map_err(|error| error.to_string())
}

/// The keys of a phase in the order in which a consumer with Tidelock's settings gets them: runs of one partition, then of another. A bare
/// client that wrote them in the order of the source's log would have fuller pages and a smaller table (InnoDB keeps rows by key), and would
/// not have written the same.
pub(crate) fn arrival(workload: &Workload, phase: Phase, topic: &str, rows: u64) -> Result<Vec<u64>, String> {
    let fail = |error: KafkaError| format!("{topic} in its order: {error}");
    let mut keys: Vec<_> = (0..PARTITIONS as u64)
        .map(|partition| {
            let keys = (0..rows).map(|index| workload.key(phase, index, rows));
            keys.filter(move |id| id % PARTITIONS as u64 == partition)
        })
        .collect();
    let settings = ClientSettings { brokers: kafka()?, options: Vec::new() };
    let consumer: BaseConsumer = consumer_config(&settings, &format!("{topic}-order")).create().map_err(fail)?;
    let mut places = TopicPartitionList::new();
    for partition in 0..PARTITIONS {
        places.add_partition_offset(topic, partition, Offset::Beginning).map_err(fail)?;
    }
    consumer.assign(&places).map_err(fail)?;
    let mut order = Vec::with_capacity(rows as usize);
    while (order.len() as u64) < rows {
        let message = consumer.poll(Duration::from_secs(30)).ok_or_else(|| format!("{topic} ended too early"))?;
        let partition = message.map_err(fail)?.partition() as usize;
        order.extend(keys.get_mut(partition).and_then(Iterator::next));
    }
    Ok(order)
}

pub(crate) fn delete(runtime: &tokio::runtime::Runtime, topics: &Topics) -> Result<(), String> {
    let names = [topics.insert.as_str(), topics.update.as_str()];
    let admin = admin()?;
    runtime.block_on(admin.delete_topics(&names, &AdminOptions::new())).map(drop).map_err(|error| error.to_string())
}
