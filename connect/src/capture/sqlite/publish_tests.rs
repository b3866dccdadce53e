//! The whole capture against librdkafka's in-process broker, read back with apache-avro. That broker knows no aborts and no
//! fencing, so what happens to half-finished transactions is tested elsewhere, on a real one.

use std::collections::HashMap;
use std::sync::{Arc, Mutex};
use std::time::Duration;

use apache_avro::reader::datum::GenericDatumReader;
use apache_avro::types::Value as Avro;
use async_trait::async_trait;
use rdkafka::consumer::{BaseConsumer, Consumer};
use rdkafka::error::KafkaError;
use rdkafka::message::{Headers, Message};
use rdkafka::mocking::MockCluster;
use rdkafka::producer::DefaultProducerContext;
use rdkafka::{ClientConfig, Offset, TopicPartitionList};
use topology::{ErrorKind, Result};

use super::install::{self, SnapshotChoice};
use super::tests::{Database, captured, run};
use super::{Capture, CaptureSettings, DEFAULT_BATCH_BYTES, DEFAULT_POLL_INTERVAL};
use crate::capture::RegisterSchema;
use crate::capture::publisher::{BrokerKind, PublisherSettings};
use crate::registry_server::SchemaStore;

#[derive(Clone, Default)]
struct Registry(Arc<Mutex<SchemaStore>>);

#[async_trait]
impl RegisterSchema for Registry {
    async fn register(&mut self, subject: &str, schema: &str) -> Result<u32> {
        Ok(self.0.lock().unwrap().register(subject, schema).unwrap().id)
    }
}

struct Broker {
    cluster: MockCluster<'static, DefaultProducerContext>,
    registry: Registry,
}

/// A record as read back: key and value decoded, named.
#[derive(Debug)]
struct Read {
    topic: String,
    key: HashMap<String, Avro>,
    value: Option<HashMap<String, Avro>>,
    header: Option<(String, String)>,
}

impl Broker {
    /// Every topic has one partition, so that the order of all records can be seen.
    fn new(tables: &[&str]) -> Broker {
        let cluster = MockCluster::new(1).unwrap();
        for table in tables {
            cluster.create_topic(&format!("site.{table}"), 1, 1).unwrap();
        }
        Broker { cluster, registry: Registry::default() }
    }

    fn capture(&self, database: &Database) -> Capture {
        Capture::new(CaptureSettings {
            site: "legacy".to_owned(),
            url: database.url(),
            database: "shop".to_owned(),
            topics: "site.{table}".to_owned(),
            tables: Vec::new(),
            registry: Box::new(self.registry.clone()),
            publisher: PublisherSettings {
                client: vec![("bootstrap.servers".to_owned(), self.cluster.bootstrap_servers())],
                id: "tidelock.capture.test.legacy".to_owned(),
                progress_topic: "site.tidelock_changes".to_owned(),
                broker: BrokerKind::InProcess,
            },
            poll_interval: DEFAULT_POLL_INTERVAL,
            batch_rows: 10,
            batch_bytes: DEFAULT_BATCH_BYTES,
        })
        .unwrap()
    }

    /// All records of the topics, in topic order.
    fn read(&self, tables: &[&str]) -> Vec<Read> {
        let consumer: BaseConsumer = ClientConfig::new()
            .set("bootstrap.servers", self.cluster.bootstrap_servers())
            .set("group.id", "reader")
            .set("enable.partition.eof", "true")
            .create()
            .unwrap();
        let mut reads = Vec::new();
        for table in tables {
            let mut partitions = TopicPartitionList::new();
            partitions.add_partition_offset(&format!("site.{table}"), 0, Offset::Beginning).unwrap();
            consumer.assign(&partitions).unwrap();
            loop {
                match consumer.poll(Duration::from_secs(20)) {
                    None => {}
                    Some(Ok(message)) => reads.push(self.decode(&message)),
                    Some(Err(KafkaError::PartitionEOF(_))) => break,
                    Some(Err(error)) => panic!("{error}"),
                }
            }
        }
        reads
    }

    fn decode(&self, message: &impl Message) -> Read {
        let header = message
            .headers()
            .and_then(|headers| headers.try_get(0))
            .map(|header| (header.key.to_owned(), String::from_utf8(header.value.unwrap().to_vec()).unwrap()));
        Read {
            topic: message.topic().to_owned(),
            key: self.datum(message.key().unwrap()),
            value: message.payload().map(|payload| self.datum(payload)),
            header,
        }
    }

    fn datum(&self, bytes: &[u8]) -> HashMap<String, Avro> {
        assert_eq!(bytes[0], 0, "Confluent's magic byte");
        let id = u32::from_be_bytes(bytes[1..5].try_into().unwrap());
        let text = self.registry.0.lock().unwrap().schema(id).unwrap().to_owned();
        let schema = apache_avro::Schema::parse_str(&text).unwrap();
        let reader = GenericDatumReader::builder(&schema).build().unwrap();
        let mut rest = &bytes[5..];
        let value = reader.read_value(&mut rest).unwrap();
        assert!(rest.is_empty(), "all bytes belong to the schema");
        fields(value)
    }
}

fn fields(value: Avro) -> HashMap<String, Avro> {
    match value {
        Avro::Record(fields) => fields.into_iter().collect(),
        Avro::Union(_, inner) => fields(*inner),
        other => panic!("a record, not {other:?}"),
    }
}

fn plain(value: &Avro) -> Avro {
    match value {
        Avro::Union(_, inner) => plain(inner),
        other => other.clone(),
    }
}

impl Read {
    fn operation(&self) -> String {
        self.value.as_ref().map_or("-".to_owned(), |value| match &value["op"] {
            Avro::String(letter) => letter.clone(),
            other => panic!("{other:?}"),
        })
    }

    fn cell(&self, image: &str, column: &str) -> Avro {
        plain(&fields(self.value.as_ref().expect("no tombstone")[image].clone())[column])
    }

    fn source(&self, name: &str) -> Avro {
        self.cell("source", name)
    }
}

fn text(text: &str) -> Avro {
    Avro::String(text.to_owned())
}

async fn drain(capture: &mut Capture) -> usize {
    let mut published = 0;
    loop {
        let step = capture.step().await.unwrap();
        published += step.published;
        if step.published == 0 && step.snapshots_left == 0 {
            return published;
        }
    }
}

#[tokio::test]
async fn every_change_is_published_once_in_order_with_its_tag_and_then_deleted() {
    let (database, mut log) = Database::new("CREATE TABLE users (id INTEGER PRIMARY KEY, name TEXT NOT NULL)").await;
    captured(&mut log, &["users"], SnapshotChoice::Never).await;
    let broker = Broker::new(&["users"]);
    let mut user = database.user().await;
    run(&mut user, "INSERT INTO users VALUES (1, 'a'), (2, 'b'); UPDATE users SET name = 'c' WHERE id = 1").await;
    run(
        &mut user,
        "BEGIN IMMEDIATE; UPDATE tidelock_origin SET tag = 'revamp'; UPDATE users SET name = 'd' WHERE id = 2;
         UPDATE tidelock_origin SET tag = NULL; COMMIT",
    )
    .await;
    let mut capture = broker.capture(&database);
    assert_eq!(drain(&mut capture).await, 4);
    let sum: String = (3..40).map(|id| format!("INSERT INTO users VALUES ({id}, 'x');")).collect();
    run(&mut user, &sum).await;
    run(&mut user, "DELETE FROM users WHERE id = 1").await;
    assert_eq!(drain(&mut capture).await, 38, "in several batches");
    let reads = broker.read(&["users"]);
    let operations: String = reads.iter().map(Read::operation).collect();
    assert_eq!(operations, format!("ccuu{}d-", "c".repeat(37)));
    let ids: Vec<Avro> =
        reads.iter().filter(|read| read.value.is_some()).map(|read| read.source("change_id")).collect();
    assert_eq!(ids, (1..=42).map(Avro::Long).collect::<Vec<_>>());
    assert_eq!((reads[2].cell("before", "name"), reads[2].cell("after", "name")), (text("a"), text("c")));
    assert_eq!((reads[2].source("tag"), reads[3].source("tag")), (Avro::Null, text("revamp")));
    assert_eq!((reads[0].source("connector"), reads[0].source("name")), (text("tidelock"), text("legacy")));
    assert_eq!(reads[42].key, reads[0].key, "the tombstone has the key of its delete");
    assert_eq!(log.backlog(0).await.unwrap(), 0);
    assert_eq!(capture.status().published_tagged.load(std::sync::atomic::Ordering::Relaxed), 1);
}

#[tokio::test]
async fn a_change_of_the_key_becomes_debeziums_three_records() {
    let schema =
        "CREATE TABLE pair (a TEXT, b INTEGER, v BLOB, PRIMARY KEY (b, a)); INSERT INTO pair VALUES ('x\"', 1, X'00')";
    let (database, mut log) = Database::new(schema).await;
    captured(&mut log, &["pair"], SnapshotChoice::Never).await;
    let broker = Broker::new(&["pair"]);
    let mut user = database.user().await;
    run(&mut user, "UPDATE pair SET b = 9223372036854775807").await;
    drain(&mut broker.capture(&database)).await;
    let reads = broker.read(&["pair"]);
    assert_eq!(reads.iter().map(Read::operation).collect::<String>(), "d-c");
    let new_key = ("__debezium.newkey".to_owned(), r#"{"b":9223372036854775807,"a":"x\""}"#.to_owned());
    let old_key = ("__debezium.oldkey".to_owned(), r#"{"b":1,"a":"x\""}"#.to_owned());
    assert_eq!(
        reads.iter().map(|read| read.header.clone()).collect::<Vec<_>>(),
        [Some(new_key.clone()), Some(new_key), Some(old_key)]
    );
    assert_eq!((plain(&reads[0].key["b"]), plain(&reads[2].key["b"])), (Avro::Long(1), Avro::Long(i64::MAX)));
    assert_eq!(
        (reads[0].cell("before", "v"), reads[2].cell("after", "v")),
        (Avro::Bytes(vec![0]), Avro::Bytes(vec![0]))
    );
    assert_eq!(reads[0].source("change_id"), reads[2].source("change_id"));
}

#[tokio::test]
async fn what_was_published_before_a_crash_is_not_published_again() {
    let (database, mut log) = Database::new("CREATE TABLE t (id INTEGER PRIMARY KEY)").await;
    captured(&mut log, &["t"], SnapshotChoice::Never).await;
    let broker = Broker::new(&["t"]);
    let mut user = database.user().await;
    run(&mut user, "INSERT INTO t VALUES (1), (2); CREATE TABLE kept AS SELECT * FROM tidelock_changes").await;
    let mut capture = broker.capture(&database);
    capture.step().await.unwrap();
    drop(capture);
    // As if the crash had come between the commit and the deletion.
    run(&mut user, "INSERT INTO tidelock_changes SELECT * FROM kept; INSERT INTO t VALUES (3)").await;
    let mut capture = broker.capture(&database);
    assert_eq!(drain(&mut capture).await, 1);
    assert_eq!((broker.read(&["t"]).len(), log.backlog(0).await.unwrap()), (3, 0));
}

#[tokio::test]
async fn a_log_that_went_back_halts_until_it_is_declared_a_new_one() {
    let (database, mut log) = Database::new("CREATE TABLE t (id INTEGER PRIMARY KEY)").await;
    captured(&mut log, &["t"], SnapshotChoice::Never).await;
    let broker = Broker::new(&["t"]);
    let mut user = database.user().await;
    run(&mut user, "INSERT INTO t VALUES (1), (2), (3)").await;
    drain(&mut broker.capture(&database)).await;
    run(&mut user, "UPDATE sqlite_sequence SET seq = 1 WHERE name = 'tidelock_changes'; DELETE FROM t WHERE id = 3")
        .await;
    let mut capture = broker.capture(&database);
    let error = capture.step().await.unwrap_err();
    assert_eq!(error.kind, ErrorKind::Environment);
    assert_eq!(log.backlog(0).await.unwrap(), 1, "the change is kept");
    install::restart_log(log.connection()).await.unwrap();
    assert_eq!(drain(&mut capture).await, 1);
    assert_eq!(broker.read(&["t"]).len(), 5, "three inserts, a delete, its tombstone");
}

#[tokio::test]
async fn existing_rows_are_published_once_as_snapshot_reads_also_after_a_restart() {
    let (database, mut log) = Database::new(
        "CREATE TABLE t (id INTEGER PRIMARY KEY, v REAL);
         WITH RECURSIVE i(n) AS (SELECT 1 UNION ALL SELECT n + 1 FROM i WHERE n < 1203) INSERT INTO t SELECT n, n / 3.0 FROM i",
    )
    .await;
    captured(&mut log, &["t"], SnapshotChoice::Initial).await;
    let broker = Broker::new(&["t"]);
    let mut capture = broker.capture(&database);
    for _ in 0..20 {
        capture.step().await.unwrap();
    }
    let mut capture = broker.capture(&database);
    drain(&mut capture).await;
    let reads = broker.read(&["t"]);
    assert_eq!(reads.len(), 1203);
    for (at, read) in reads.iter().enumerate() {
        assert_eq!((read.operation().as_str(), read.source("snapshot")), ("r", text("true")));
        assert_eq!(read.cell("after", "v"), Avro::Double((at + 1) as f64 / 3.0));
    }
    assert_eq!(drain(&mut broker.capture(&database)).await, 0);
}

#[tokio::test]
async fn values_that_do_not_fit_their_columns_arrive_exactly_under_a_schema_of_their_own() {
    let schema =
        "CREATE TABLE t (id INTEGER PRIMARY KEY, n INTEGER, d DECIMAL(10,2), b BOOLEAN, x BLOB, j JSON, r REAL);
        CREATE TABLE k (name TEXT PRIMARY KEY)";
    let (database, mut log) = Database::new(schema).await;
    captured(&mut log, &["t", "k"], SnapshotChoice::Never).await;
    let broker = Broker::new(&["t", "k"]);
    let mut user = database.user().await;
    run(&mut user, "INSERT INTO k VALUES (NULL)").await;
    run(
        &mut user,
        r#"INSERT INTO t VALUES (1, -9223372036854775808, 1.10, TRUE, X'00FF', '{"a":1}', 0.1);
           INSERT INTO t VALUES (2, 'many', 'much', 7, 'text', '{', 9e999);
           UPDATE t SET n = 5 WHERE id = 2;
           INSERT INTO t VALUES (3, NULL, NULL, NULL, NULL, NULL, NULL)"#,
    )
    .await;
    drain(&mut broker.capture(&database)).await;
    let reads = broker.read(&["t"]);
    assert_eq!(reads.len(), 4);
    assert_eq!(reads[0].cell("after", "n"), Avro::Long(i64::MIN));
    let decimal = fields(reads[0].cell("after", "d"));
    assert_eq!((&decimal["scale"], &decimal["value"]), (&Avro::Int(1), &Avro::Bytes(vec![11])));
    assert_eq!((reads[0].cell("after", "b"), reads[0].cell("after", "r")), (Avro::Boolean(true), Avro::Double(0.1)));
    assert_eq!(
        (reads[0].cell("after", "x"), reads[0].cell("after", "j")),
        (Avro::Bytes(vec![0, 255]), text("{\"a\":1}"))
    );
    assert_eq!((reads[1].cell("after", "n"), reads[1].cell("after", "d")), (text("many"), text("much")));
    assert_eq!((reads[1].cell("after", "b"), reads[1].cell("after", "x")), (Avro::Long(7), text("text")));
    assert_eq!((reads[1].cell("after", "j"), reads[1].cell("after", "r")), (text("{"), Avro::Double(f64::INFINITY)));
    assert_eq!(reads[2].cell("after", "n"), Avro::Long(5));
    assert_eq!(plain(&reads[2].value.as_ref().unwrap()["before"]), Avro::Null, "it had another storage class");
    assert!(["n", "d", "b", "x", "j", "r"].iter().all(|column| reads[3].cell("after", column) == Avro::Null));
    assert!(reads.iter().all(|read| read.topic == "site.t"));
    assert_eq!(plain(&broker.read(&["k"])[0].key["name"]), Avro::Null, "SQLite's keys may be NULL");
}
