//! The trigger capture of SQLite publishes every change exactly once although its process is killed again and again: on a real
//! broker, with aborted transactions and fenced producers.

use std::collections::{BTreeMap, HashMap};
use std::path::PathBuf;
use std::process::{Child, Command, Stdio};
use std::str::FromStr;
use std::time::{Duration, Instant};

use apache_avro::Schema;
use apache_avro::reader::datum::GenericDatumReader;
use apache_avro::types::Value;
use rand::rngs::StdRng;
use rand::{Rng, SeedableRng};
use rdkafka::consumer::{BaseConsumer, Consumer};
use rdkafka::error::KafkaError;
use rdkafka::{ClientConfig, Message, Offset, TopicPartitionList};
use sqlx::sqlite::SqliteConnectOptions;
use sqlx::{ConnectOptions, SqliteConnection};
use tidelock_tests::servers;
use tidelock_tests::worker::{command, program};

const FIRST_ROWS: i64 = 300;
const WRITING: Duration = Duration::from_secs(15);

/// A capture process that dies with the test.
struct Process(Child);

impl Drop for Process {
    fn drop(&mut self) {
        let _ = self.0.kill();
        let _ = self.0.wait();
    }
}

struct Trial {
    name: String,
    folder: PathBuf,
    variables: BTreeMap<String, String>,
}

impl Trial {
    fn new() -> Trial {
        let name = format!("capture-{}-{:08x}", std::process::id(), rand::random::<u32>());
        let folder = std::env::temp_dir().join(&name);
        std::fs::create_dir(&folder).expect("a folder of our own");
        let config = folder.join("tidelock.yaml");
        let text = format!(
            "pipeline: {name}\n\
             kafka: {{ brokers: \"{}\", registry: \"{}\" }}\n\
             sites:\n  a: {{ kind: sqlite, url: \"sqlite:{}\", topics: \"{name}.{{table}}\" }}\n  b: {{ kind: blackhole }}\n\
             links: [{{ from: a, to: b, entities: {{ t: {{ table: t }} }} }}]\n",
            servers::kafka(),
            servers::registry(),
            folder.join("a.db").display(),
        );
        std::fs::write(&config, text).expect("a configuration");
        let variables = BTreeMap::from([("TIDELOCK_CONFIG".to_owned(), config.display().to_string())]);
        Trial { name, folder, variables }
    }

    async fn database(&self) -> SqliteConnection {
        let url = format!("sqlite:{}", self.folder.join("a.db").display());
        let options = SqliteConnectOptions::from_str(&url).expect("an address");
        options.create_if_missing(true).busy_timeout(Duration::from_secs(30)).connect().await.expect("a connection")
    }

    fn start(&self) -> Process {
        let log = std::fs::File::options().create(true).append(true).open(self.folder.join("capture.log"));
        let child = Command::new(program())
            .arg("capture")
            .envs(&self.variables)
            .stdin(Stdio::null())
            .stdout(Stdio::null())
            .stderr(log.expect("a log file"))
            .spawn();
        Process(child.expect("the program starts"))
    }

    fn log(&self) -> String {
        std::fs::read_to_string(self.folder.join("capture.log")).unwrap_or_default()
    }
}

impl Drop for Trial {
    fn drop(&mut self) {
        if std::thread::panicking() {
            eprintln!("{}", self.log());
        }
        let _ = std::fs::remove_dir_all(&self.folder);
    }
}

/// Changes rows for a while; some transactions have many changes, some are rolled back.
async fn write(mut database: SqliteConnection, seed: u64) {
    let mut random = StdRng::seed_from_u64(seed);
    let until = Instant::now() + WRITING;
    let mut next = FIRST_ROWS + 1;
    while Instant::now() < until {
        let mut sql = "BEGIN IMMEDIATE;".to_owned();
        for _ in 0..random.random_range(1..20) {
            let id = random.random_range(1..next);
            match random.random_range(0..6) {
                0 | 1 => {
                    sql.push_str(&format!("INSERT INTO t VALUES ({next}, 0);"));
                    next += 1;
                }
                2 | 3 => sql.push_str(&format!("UPDATE t SET n = n + 1 WHERE id = {id};")),
                4 => sql.push_str(&format!("DELETE FROM t WHERE id = {id};")),
                _ => {
                    sql.push_str(&format!("UPDATE t SET id = {next} WHERE id = {id};"));
                    next += 1;
                }
            }
        }
        sql.push_str(if random.random_bool(0.1) { "ROLLBACK" } else { "COMMIT" });
        sqlx::raw_sql(sqlx::AssertSqlSafe(sql)).execute(&mut database).await.expect("written");
        tokio::time::sleep(Duration::from_millis(random.random_range(0..20))).await;
    }
}

/// Operation and id of every committed record of the topic, tombstones left out, by partition in order.
async fn published(topic: &str) -> Vec<Vec<(String, i64)>> {
    let consumer: BaseConsumer = ClientConfig::new()
        .set("bootstrap.servers", servers::kafka())
        .set("group.id", format!("{topic}.reader"))
        .set("isolation.level", "read_committed")
        .set("enable.partition.eof", "true")
        .create()
        .expect("a consumer");
    let metadata = consumer.fetch_metadata(Some(topic), Duration::from_secs(10)).expect("metadata");
    let count = metadata.topics().first().expect("the topic").partitions().len();
    let mut schemas: HashMap<u32, Schema> = HashMap::new();
    let mut partitions = Vec::new();
    for partition in 0..count {
        let mut assignment = TopicPartitionList::new();
        let number = i32::try_from(partition).expect("few partitions");
        assignment.add_partition_offset(topic, number, Offset::Beginning).expect("an offset");
        consumer.assign(&assignment).expect("assigned");
        let mut records = Vec::new();
        let deadline = Instant::now() + Duration::from_secs(60);
        loop {
            assert!(Instant::now() < deadline, "partition {number} has no end");
            match consumer.poll(Duration::from_secs(1)) {
                None => {}
                Some(Err(KafkaError::PartitionEOF(_))) => break,
                Some(Err(error)) => panic!("{error}"),
                Some(Ok(message)) => {
                    let Some(bytes) = message.payload() else { continue };
                    let id = u32::from_be_bytes(bytes[1..5].try_into().expect("four bytes"));
                    if let std::collections::hash_map::Entry::Vacant(unknown) = schemas.entry(id) {
                        unknown.insert(schema(id).await);
                    }
                    let reader = GenericDatumReader::builder(&schemas[&id]).build().expect("a reader");
                    records.push(operation_and_id(reader.read_value(&mut &bytes[5..]).expect("an envelope")));
                }
            }
        }
        partitions.push(records);
    }
    partitions
}

async fn schema(id: u32) -> Schema {
    let reply = reqwest::get(format!("{}/schemas/ids/{id}", servers::registry())).await.expect("the registry answers");
    let document: serde_json::Value = serde_json::from_str(&reply.text().await.expect("a body")).expect("JSON");
    Schema::parse_str(document["schema"].as_str().expect("a schema")).expect("an Avro schema")
}

fn operation_and_id(envelope: Value) -> (String, i64) {
    let field = |record: Value, name: &str| match record {
        Value::Record(fields) => fields.into_iter().find(|(own, _)| own == name).expect("the field").1,
        other => panic!("a record, not {other:?}"),
    };
    let Value::Long(id) = field(field(envelope.clone(), "source"), "change_id") else { panic!("a long") };
    let Value::String(operation) = field(envelope, "op") else { panic!("a string") };
    (operation, id)
}

#[tokio::test]
async fn every_change_is_published_once_although_the_capture_is_killed_again_and_again() {
    let trial = Trial::new();
    let mut database = trial.database().await;
    let fill = format!(
        "CREATE TABLE t (id INTEGER PRIMARY KEY, n INTEGER NOT NULL);
         WITH RECURSIVE i(n) AS (SELECT 1 UNION ALL SELECT n + 1 FROM i WHERE n < {FIRST_ROWS}) INSERT INTO t SELECT n, 0 FROM i"
    );
    sqlx::raw_sql(sqlx::AssertSqlSafe(fill)).execute(&mut database).await.expect("a table");
    let (code, _, errors) = command(&["capture", "install"], &trial.variables);
    assert_eq!(code, 0, "{errors}");

    let seed = rand::random();
    println!("seed {seed}");
    let writing = tokio::spawn(write(trial.database().await, seed));
    let mut random = StdRng::seed_from_u64(seed ^ 1);
    let mut kills = 0;
    while !writing.is_finished() {
        let process = trial.start();
        tokio::time::sleep(Duration::from_millis(random.random_range(300..1800))).await;
        drop(process); // kill -9
        kills += 1;
    }
    writing.await.expect("written");
    let _last = trial.start();
    let deadline = Instant::now() + Duration::from_secs(120);
    loop {
        let left: i64 =
            sqlx::query_scalar("SELECT count(*) FROM tidelock_changes").fetch_one(&mut database).await.unwrap();
        let unread: i64 = sqlx::query_scalar("SELECT count(*) FROM tidelock_captured WHERE snapshot = 'pending'")
            .fetch_one(&mut database)
            .await
            .unwrap();
        if left == 0 && unread == 0 {
            break;
        }
        assert!(Instant::now() < deadline, "{left} changes are not published");
        tokio::time::sleep(Duration::from_millis(200)).await;
    }

    let changes: i64 = sqlx::query_scalar("SELECT seq FROM sqlite_sequence WHERE name = 'tidelock_changes'")
        .fetch_one(&mut database)
        .await
        .unwrap();
    let partitions = published(&format!("{}.t", trial.name)).await;
    let mut records: HashMap<i64, Vec<String>> = HashMap::new();
    for partition in &partitions {
        assert!(partition.is_sorted_by_key(|(_, id)| *id), "in the order of the log");
        for (operation, id) in partition {
            records.entry(*id).or_default().push(operation.clone());
        }
    }
    let mut reads = 0;
    for id in 1..=changes {
        let mut operations = records.remove(&id).unwrap_or_default();
        operations.sort();
        match operations.iter().map(String::as_str).collect::<Vec<_>>()[..] {
            ["r"] => reads += 1,
            ["c"] | ["u"] | ["d"] | ["c", "d"] => {}
            _ => panic!("change {id} was published as {operations:?}"),
        }
    }
    assert!(records.is_empty(), "nothing else: {records:?}");
    assert!(reads > 0, "rows that were there before");
    println!("{changes} changes in {} partitions, {reads} of them first rows, {kills} kills", partitions.len());
    assert!(kills >= 5 && changes > 1000, "a trial worth the name: {kills} kills, {changes} changes");
}
