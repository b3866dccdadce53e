//! Brings one pair of the matrix to life: a source table with a column of every type and its hostile values, the target table, and the
//! connector, configured as in `examples/`.

use std::collections::BTreeMap;
use std::fmt::Write;
use std::path::Path;
use std::time::{Duration, Instant, SystemTime, UNIX_EPOCH};

use rdkafka::ClientConfig;
use rdkafka::admin::{AdminClient, AdminOptions};
use rdkafka::client::DefaultClientContext;
use serde_json::Value;
use sqlx::{AssertSqlSafe, Connection, MySqlConnection, PgConnection, Row};
use topology::lens::convert::Engine;

use super::{Case, Pair, same, values};
use crate::example::{execute, expand, status_of};
use crate::servers::{self, Role, Server};

/// First id of the rows that are written while the connector streams.
const STREAMED: usize = 1000;

/// Name of the table at both sides.
pub const TABLE: &str = "every_type";

/// A pair with its databases.
#[derive(Debug)]
pub struct Matrix {
    /// Which pair.
    pub pair: &'static Pair,
    /// Where rows come from.
    pub source: Server,
    /// Where they go.
    pub target: Server,
    /// Name of both databases, of the connector (with hyphens) and of the slot.
    pub name: String,
    /// Values of one round of rows, by row and case.
    rows: Vec<Vec<&'static str>>,
}

/// Columns of one row by case, as text; `None` is NULL.
pub type Texts = Vec<Option<String>>;

fn server(engine: Engine, is_target: bool) -> Server {
    match (engine, is_target) {
        (Engine::MySql, false) => Server::Mysql,
        (Engine::MySql, true) => Server::Mysql2,
        (Engine::MariaDb, _) => Server::Mariadb,
        (_, false) => Server::Postgres,
        (_, true) => Server::Postgres18,
    }
}

fn is_postgres(server: Server) -> bool {
    matches!(server, Server::Postgres | Server::Postgres18)
}

/// Name of the column of a case.
pub fn column(index: usize) -> String {
    format!("c{index}")
}

impl Matrix {
    /// Every type with its hostile values side by side, and a row of NULLs. Chooses names; makes nothing yet.
    pub fn new(pair: &'static Pair) -> Matrix {
        let values: Vec<_> = pair.cases.iter().map(|case| values(pair.source, case.source)).collect();
        let longest = values.iter().map(|values| values.len()).max().expect("a pair has cases");
        let mut rows: Vec<Vec<_>> =
            (0..longest).map(|row| values.iter().map(|values| values[row % values.len()]).collect()).collect();
        rows.push(vec!["NULL"; values.len()]);
        Matrix::with_rows(pair, rows)
    }

    /// One value per row, in the column of the same number, all other cells NULL; and a row of NULLs.
    pub fn one_by_one(pair: &'static Pair, values: &[&'static str]) -> Matrix {
        assert_eq!(pair.cases.len(), values.len(), "one value per case");
        let cell = |row: usize, at: usize| if row == at { values[at] } else { "NULL" };
        let rows = (0..=values.len()).map(|row| (0..values.len()).map(|at| cell(row, at)).collect());
        Matrix::with_rows(pair, rows.collect())
    }

    fn with_rows(pair: &'static Pair, rows: Vec<Vec<&'static str>>) -> Matrix {
        let now = SystemTime::now().duration_since(UNIX_EPOCH).expect("it is after 1970").as_millis();
        let name = format!("types_{}_{:x}", pair.name, now & 0xffff_ffff);
        Matrix { pair, source: server(pair.source, false), target: server(pair.target, true), name, rows }
    }

    /// Topic of the table.
    pub fn topic(&self) -> String {
        let middle = if is_postgres(self.source) { "public" } else { &self.name };
        format!("{}.{middle}.{TABLE}", self.prefix())
    }

    /// Topic prefix, and name of the connector.
    pub fn prefix(&self) -> String {
        self.name.replace('_', "-")
    }

    fn cases(&self) -> impl Iterator<Item = (usize, &'static Case)> {
        self.pair.cases.iter().enumerate()
    }

    /// Number of rows of one round.
    pub fn row_count(&self) -> usize {
        self.rows.len()
    }

    /// Makes both databases with their tables and the rows that the snapshot finds.
    pub async fn create(&self) {
        for (server, native) in [(self.source, Side::Source), (self.target, Side::Target)] {
            execute(server, "", &format!("CREATE DATABASE {}", self.name)).await;
            if is_postgres(server) {
                let types = "CREATE EXTENSION hstore; CREATE EXTENSION ltree; CREATE EXTENSION citext; \
                     CREATE TYPE mood AS ENUM ('sad', 'ok', 'very happy')";
                execute(server, &self.name, types).await;
            }
            let columns: Vec<String> = self
                .cases()
                .map(|(index, case)| {
                    let native = if native == Side::Source { case.source } else { case.target };
                    // MySQL gives a TIMESTAMP without NULL a default of its own.
                    format!("{} {native} NULL", column(index))
                })
                .collect();
            let table = format!("CREATE TABLE {TABLE} (id int PRIMARY KEY, {})", columns.join(", "));
            execute(server, &self.name, &table).await;
        }
        if is_postgres(self.source) {
            let publication = format!("CREATE PUBLICATION tidelock FOR TABLE {TABLE}");
            execute(self.source, &self.name, &publication).await;
        }
        self.insert(1).await;
    }

    /// Rows for the snapshot to find begin at id 1, those for the stream at 1000.
    async fn insert(&self, first_id: usize) {
        for (row, cells) in self.rows.iter().enumerate() {
            let zone = if is_postgres(self.source) { "SET TIME ZONE 'UTC'" } else { "SET time_zone = '+00:00'" };
            let insert = format!("{zone}; INSERT INTO {TABLE} VALUES ({}, {})", first_id + row, cells.join(", "));
            execute(self.source, &self.name, &insert).await;
        }
    }

    /// The connector's configuration: that of an example, with our names.
    pub fn connector(&self) -> Value {
        let (folder, file, site) = match self.source {
            Server::Mariadb => ("blog-mariadb-postgres", "legacy.json", "LEGACY"),
            Server::Mysql | Server::Mysql2 | Server::Spare => ("mysql-postgres", "mysql.json", "MYSQL"),
            Server::Postgres | Server::Postgres18 => ("mysql-postgres", "postgres.json", "POSTGRES"),
        };
        let address = self.source.url(Role::Connector, "");
        let port = address.trim_end_matches('/').rsplit(':').next().expect("an address has a port").to_owned();
        let server_id =
            self.name.bytes().fold(2_000_000_u32, |sum, byte| sum.wrapping_mul(31) + u32::from(byte)) % 1_000_000;
        let mut variables = BTreeMap::from([
            ("CONNECT_KAFKA_BROKERS".to_owned(), servers::kafka()),
            ("CONVERTER_REGISTRY_URL".to_owned(), servers::address("TIDELOCK_TEST_CONVERTER_REGISTRY")),
        ]);
        for (name, value) in [
            ("PREFIX", self.prefix()),
            ("PORT", port),
            ("DATABASE", self.name.clone()),
            ("SLOT", self.name.clone()),
            ("CONNECTOR_SERVER_ID", (3_000_000 + server_id).to_string()),
        ] {
            variables.insert(format!("{site}_{name}"), value);
        }
        let path = Path::new(env!("CARGO_MANIFEST_DIR")).join("../examples").join(folder).join("connectors").join(file);
        let text = std::fs::read_to_string(&path).unwrap_or_else(|error| panic!("{}: {error}", path.display()));
        let mut connector: Value = serde_json::from_str(&expand(&text, &variables)).expect("a connector is JSON");
        let mut config = connector["config"].take();
        let database = if is_postgres(self.source) { "public" } else { &self.name };
        config["table.include.list"] = format!("{database}.{TABLE}").into();
        config
    }

    /// Starts the connector, lets it read the rows that are there, then writes the same values again under other ids, changes one
    /// column of those (so that PostgreSQL leaves out long values that did not change), and waits until all of that is in the topic.
    pub async fn publish(&self) {
        let client = reqwest::Client::new();
        let address = format!("{}/connectors/{}", servers::connect(), self.prefix());
        let reply =
            client.put(format!("{address}/config")).json(&self.connector()).send().await.expect("Connect answers");
        let status = reply.status();
        assert!(status.is_success(), "{status}: {}", reply.text().await.unwrap_or_default());
        let deadline = Instant::now() + Duration::from_secs(60);
        while status_of(&client, &address).await != ["RUNNING", "RUNNING"] {
            assert!(Instant::now() < deadline, "{} does not run", self.prefix());
            tokio::time::sleep(Duration::from_millis(200)).await;
        }
        self.wait_for_records(self.row_count()).await;
        self.insert(STREAMED).await;
        let update = format!("UPDATE {TABLE} SET {} = NULL WHERE id >= {STREAMED} AND {0} IS NOT NULL", column(0));
        execute(self.source, &self.name, &update).await;
        let changed = self.rows.iter().filter(|row| row[0] != "NULL").count();
        self.wait_for_records(2 * self.row_count() + changed).await;
    }

    /// A configuration of one link for this table, to be written to a file.
    pub fn configuration(&self) -> String {
        let site = |engine: Engine, server: Server| {
            let kind = match engine {
                Engine::MySql => "mysql",
                Engine::MariaDb => "mariadb",
                _ => "postgres",
            };
            format!("{{ kind: {kind}, url: \"{}\"", server.url(Role::Writer, &self.name))
        };
        let middle = if is_postgres(self.source) { "public" } else { &self.name };
        format!(
            "pipeline: {name}
kafka: {{ brokers: \"{kafka}\", registry: \"{registry}\" }}
sites:
  source: {source}, topics: \"{prefix}.{middle}.{{table}}\" }}
  target: {target} }}
links:
  - {{ from: source, to: target, entities: {{ {TABLE}: {{ ids: same, conflict: none }} }} }}
",
            name = self.name,
            kafka = servers::kafka(),
            registry = servers::registry(),
            source = site(self.pair.source, self.source),
            target = site(self.pair.target, self.target),
            prefix = self.prefix(),
        )
    }

    /// Every cell that differs between the two sides, by row and column.
    pub async fn differences(&self) -> String {
        let (source, target) = (self.read(Side::Source).await, self.read(Side::Target).await);
        let mut report = String::new();
        for (id, texts) in &source {
            let Some(others) = target.get(id) else {
                let _ = writeln!(report, "row {id} is missing");
                continue;
            };
            for (index, case) in self.cases() {
                let (left, right) = (texts[index].as_deref(), others[index].as_deref());
                if !same(case.class, left, right) {
                    let (left, right) = (left.map(shorten), right.map(shorten));
                    let _ = writeln!(report, "row {id}, {} → {}: {left:?} became {right:?}", case.source, case.target);
                }
            }
        }
        if target.len() > source.len() {
            let _ = writeln!(report, "{} rows, expected {}", target.len(), source.len());
        }
        report
    }

    async fn wait_for_records(&self, count: usize) {
        let topic = self.topic();
        let deadline = Instant::now() + Duration::from_secs(90);
        loop {
            let name = topic.clone();
            let present = tokio::task::spawn_blocking(move || record_count(&name)).await.expect("no panic");
            if present >= count as i64 {
                return;
            }
            assert!(
                Instant::now() < deadline,
                "{topic} has {present} records, expected {count}: {}",
                self.trace().await
            );
            tokio::time::sleep(Duration::from_millis(500)).await;
        }
    }

    /// What the connector's task says when it failed.
    async fn trace(&self) -> String {
        let address = format!("{}/connectors/{}/status", servers::connect(), self.prefix());
        match reqwest::get(address).await {
            Ok(reply) => reply.text().await.unwrap_or_default(),
            Err(error) => error.to_string(),
        }
    }

    /// All rows of a side, by id.
    pub async fn read(&self, side: Side) -> BTreeMap<i32, Texts> {
        let (server, engine) = match side {
            Side::Source => (self.source, self.pair.source),
            Side::Target => (self.target, self.pair.target),
        };
        let columns: Vec<String> = self
            .cases()
            .map(|(index, case)| {
                let native = if side == Side::Source { case.source } else { case.target };
                case.class.sql(engine, native, &column(index))
            })
            .collect();
        let query = AssertSqlSafe(format!("SELECT id, {} FROM {TABLE}", columns.join(", ")));
        let url = server.url(Role::Admin, &self.name);
        let count = columns.len();
        if is_postgres(server) {
            let mut connection = PgConnection::connect(&url).await.expect("PostgreSQL answers");
            // MySQL writes a length of time as PostgreSQL does in its own style.
            let style = if self.pair.source == Engine::Postgres { "iso_8601" } else { "postgres" };
            let session = AssertSqlSafe(format!("SET TIME ZONE 'UTC'; SET intervalstyle = '{style}'"));
            sqlx::raw_sql(session).execute(&mut connection).await.expect("settings");
            let rows = sqlx::query(query).fetch_all(&mut connection).await.expect("the table is readable");
            rows.iter().map(|row| (row.get(0), (1..=count).map(|at| row.get(at)).collect())).collect()
        } else {
            let mut connection = MySqlConnection::connect(&url).await.expect("the server answers");
            sqlx::raw_sql("SET time_zone = '+00:00'").execute(&mut connection).await.expect("settings");
            let rows = sqlx::query(query).fetch_all(&mut connection).await.expect("the table is readable");
            rows.iter().map(|row| (row.get(0), (1..=count).map(|at| text(row, at)).collect())).collect()
        }
    }

    /// What the worker keeps as held at the target: state, class, code and message of each record.
    pub async fn held(&self) -> Vec<String> {
        let query = "SELECT concat(state, ' ', class, ' ', coalesce(code, ''), ': ', message) FROM tidelock_held";
        let url = self.target.url(Role::Admin, &self.name);
        let lines: Result<Vec<String>, sqlx::Error> = if is_postgres(self.target) {
            let mut connection = PgConnection::connect(&url).await.expect("PostgreSQL answers");
            sqlx::query_scalar(query).fetch_all(&mut connection).await
        } else {
            let mut connection = MySqlConnection::connect(&url).await.expect("the server answers");
            let rows = sqlx::query(query).fetch_all(&mut connection).await;
            rows.map(|rows| rows.iter().map(|row| text(row, 0).unwrap_or_default()).collect())
        };
        lines.unwrap_or_else(|error| vec![error.to_string()])
    }

    /// Removes connector, slot, databases and topics.
    pub async fn remove(&self) {
        let client = reqwest::Client::new();
        let address = format!("{}/connectors/{}", servers::connect(), self.prefix());
        client.delete(address).send().await.expect("Connect answers");
        if is_postgres(self.source) {
            let drop = format!(
                "SELECT pg_drop_replication_slot(slot_name) FROM pg_replication_slots WHERE slot_name = '{}'",
                self.name
            );
            let mut admin = PgConnection::connect(&self.source.url(Role::Admin, "postgres")).await.expect("it answers");
            // The slot stays active for a moment after its connector was deleted.
            let deadline = Instant::now() + Duration::from_secs(30);
            while let Err(error) = sqlx::raw_sql(AssertSqlSafe(drop.clone())).execute(&mut admin).await {
                assert!(Instant::now() < deadline, "cannot drop slot {}: {error}", self.name);
                tokio::time::sleep(Duration::from_millis(200)).await;
            }
        }
        for server in [self.source, self.target] {
            let force = if is_postgres(server) { " WITH (FORCE)" } else { "" };
            execute(server, "", &format!("DROP DATABASE IF EXISTS {}{force}", self.name)).await;
        }
        let admin: AdminClient<DefaultClientContext> =
            ClientConfig::new().set("bootstrap.servers", servers::kafka()).create().expect("a client");
        let metadata = admin.inner().fetch_metadata(None, Duration::from_secs(10)).expect("Kafka answers");
        let prefix = self.prefix();
        let ours: Vec<&str> =
            metadata.topics().iter().map(|topic| topic.name()).filter(|name| name.contains(&prefix)).collect();
        if !ours.is_empty() {
            admin.delete_topics(&ours, &AdminOptions::new()).await.expect("Kafka answers");
        }
    }
}

/// MySQL calls some texts binary.
fn text(row: &sqlx::mysql::MySqlRow, at: usize) -> Option<String> {
    let bytes: Option<Vec<u8>> = row.try_get_unchecked(at).expect("text or NULL");
    bytes.map(|bytes| String::from_utf8(bytes).expect("UTF-8"))
}

fn shorten(text: &str) -> String {
    text.chars().take(80).collect()
}

/// One end.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Side {
    /// Where rows come from.
    Source,
    /// Where they go.
    Target,
}

/// Reads a whole topic, key, value and headers left as they are.
pub fn record_count(topic: &str) -> i64 {
    let mut count = 0;
    read_topic(topic, |_, value| count += i64::from(value.is_some()));
    count
}

/// Shows every committed record of a topic, from its beginning to its present end.
pub fn read_topic(topic: &str, mut show: impl FnMut(Option<&[u8]>, Option<&[u8]>)) {
    use rdkafka::consumer::{BaseConsumer, Consumer};
    use rdkafka::{Message, Offset, TopicPartitionList};
    let consumer: BaseConsumer = ClientConfig::new()
        .set("bootstrap.servers", servers::kafka())
        .set("group.id", "types-look")
        .set("enable.auto.commit", "false")
        .set("isolation.level", "read_committed")
        .set("enable.partition.eof", "true")
        .create()
        .expect("a consumer");
    let metadata = consumer.fetch_metadata(Some(topic), Duration::from_secs(10)).expect("Kafka answers");
    let partitions = metadata.topics().first().map_or(0, |topic| topic.partitions().len());
    if partitions == 0 {
        return;
    }
    let mut assignment = TopicPartitionList::new();
    for partition in 0..partitions {
        assignment.add_partition_offset(topic, partition as i32, Offset::Beginning).expect("an offset");
    }
    consumer.assign(&assignment).expect("assigned");
    let (mut ended, deadline) = (0, Instant::now() + Duration::from_secs(30));
    while ended < partitions && Instant::now() < deadline {
        match consumer.poll(Duration::from_millis(500)) {
            Some(Ok(message)) => show(message.key(), message.payload()),
            Some(Err(rdkafka::error::KafkaError::PartitionEOF(_))) => ended += 1,
            _ => {}
        }
    }
}
