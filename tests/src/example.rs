//! Brings one of `examples/` to life under names of its own, so that tests run beside each other: databases with the
//! example's schema, its connectors, and the environment that its `tidelock.yaml` reads. What it makes it also removes.

use std::collections::BTreeMap;
use std::path::{Path, PathBuf};
use std::time::{Duration, Instant, SystemTime, UNIX_EPOCH};

use rdkafka::ClientConfig;
use rdkafka::admin::{AdminClient, AdminOptions};
use rdkafka::client::DefaultClientContext;
use serde_json::Value;
use sqlx::{Connection, Executor, MySqlConnection, PgConnection};

use crate::servers::{self, Role, Server};

/// One database of an example.
#[derive(Clone, Copy, Debug)]
pub struct Side {
    /// Name of the site in `tidelock.yaml`; in capitals it begins the names of the side's variables.
    pub site: &'static str,
    /// Where it lives.
    pub server: Server,
    /// Files of `schema/` that make the tables, then those that fill them.
    pub schema: &'static [&'static str],
    /// Tables that the connector reads.
    pub tables: &'static [&'static str],
}

/// A folder of `examples/`.
#[derive(Clone, Copy, Debug)]
pub struct Example {
    /// Name of the folder.
    pub folder: &'static str,
    /// Left and right side of the link.
    pub sides: [Side; 2],
}

const SHOP_TABLES: &[&str] = &["users", "products", "orders"];
const LEGACY_TABLES: &[&str] = &["legacy_users", "legacy_posts", "legacy_likes"];
const REVAMP_TABLES: &[&str] = &["revamp_users", "revamp_posts", "revamp_likes"];

/// `examples/mysql-postgres`.
pub const MYSQL_POSTGRES: Example = Example {
    folder: "mysql-postgres",
    sides: [
        Side { site: "mysql", server: Server::Mysql, schema: &["mysql.sql", "mysql-rows.sql"], tables: SHOP_TABLES },
        Side { site: "postgres", server: Server::Postgres, schema: &["postgres.sql"], tables: SHOP_TABLES },
    ],
};

/// `examples/blog`.
pub const BLOG: Example = blog("blog", Server::Mysql, Server::Mysql2);

/// `examples/blog` with a revamp server that a test may stop.
pub const BLOG_SPARE: Example = blog("blog", Server::Mysql, Server::Spare);

/// `examples/blog-mariadb-postgres`.
pub const BLOG_MARIADB_POSTGRES: Example = blog("blog-mariadb-postgres", Server::Mariadb, Server::Postgres18);

const fn blog(folder: &'static str, legacy: Server, revamp: Server) -> Example {
    Example {
        folder,
        sides: [
            Side { site: "legacy", server: legacy, schema: &["legacy.sql", "legacy-rows.sql"], tables: LEGACY_TABLES },
            Side { site: "revamp", server: revamp, schema: &["revamp.sql", "revamp-rows.sql"], tables: REVAMP_TABLES },
        ],
    }
}

/// An example under names of its own.
#[derive(Debug)]
pub struct Running {
    /// Which one.
    pub example: Example,
    /// Environment of its connectors and of its `tidelock.yaml`.
    pub variables: BTreeMap<String, String>,
    /// What makes the names unique: letters, digits and underscores.
    name: String,
    /// Connector, key, value: what differs from the example's files.
    settings: Vec<(String, String, String)>,
    /// More SQL for the left and the right database, after the example's own.
    pub more_schema: [String; 2],
}

impl Example {
    /// Its folder in the checkout.
    pub fn path(&self) -> PathBuf {
        Path::new(env!("CARGO_MANIFEST_DIR")).join("../examples").join(self.folder)
    }

    /// Chooses names; makes nothing yet. `test` is a short name of the test, in letters, digits and underscores. No two runs
    /// have the same names: Connect remembers the position of a connector name even after the connector was deleted.
    pub fn named(self, test: &str) -> Running {
        let now = SystemTime::now().duration_since(UNIX_EPOCH).expect("it is after 1970").as_millis();
        let name = format!("{}_{test}_{:x}", self.folder.replace('-', "_"), now & 0xffff_ffff);
        let mut variables = BTreeMap::from([
            ("PIPELINE".to_owned(), name.clone()),
            ("KAFKA_BROKERS".to_owned(), servers::kafka()),
            ("CONNECT_KAFKA_BROKERS".to_owned(), servers::kafka()),
            ("SCHEMA_REGISTRY_URL".to_owned(), servers::registry()),
            ("CONVERTER_REGISTRY_URL".to_owned(), servers::address("TIDELOCK_TEST_CONVERTER_REGISTRY")),
            ("TIDELOCK_CONNECT_URL".to_owned(), servers::connect()),
        ]);
        for (index, side) in self.sides.iter().enumerate() {
            let database = format!("{name}_{}", side.site);
            let url = side.server.url(Role::Writer, &database);
            let port = url.rsplit(':').next().and_then(|end| end.split('/').next()).unwrap_or_default().to_owned();
            let mut set = |variable: &str, value: String| {
                variables.insert(format!("{}_{variable}", side.site.to_uppercase()), value);
            };
            // A connector is a replica to MySQL: two of them on one server must not have the same number.
            set("CONNECTOR_SERVER_ID", (1_000_000 + u32::from(crc16(&name)) * 2 + index as u32).to_string());
            set("PREFIX", database.replace('_', "-"));
            set("SLOT", format!("tidelock_{database}"));
            set("PORT", port);
            set("URL", url);
            set("DATABASE", database);
        }
        Running { example: self, variables, name, settings: Vec::new(), more_schema: Default::default() }
    }
}

/// A small spread-out number from a name.
fn crc16(text: &str) -> u16 {
    text.bytes().fold(0xffff, |sum, byte| {
        (0..8).fold(sum ^ u16::from(byte), |sum, _| if sum & 1 == 1 { (sum >> 1) ^ 0xa001 } else { sum >> 1 })
    })
}

impl Running {
    /// A variable of a side, such as `DATABASE` or `PREFIX`.
    pub fn variable(&self, side: &Side, name: &str) -> &str {
        &self.variables[&format!("{}_{name}", side.site.to_uppercase())]
    }

    /// Sets a key of a side's connector, which its file does not have or sets otherwise.
    pub fn set_connector(&mut self, side: &Side, key: &str, value: &str) {
        self.settings.push((self.variable(side, "PREFIX").to_owned(), key.to_owned(), value.to_owned()));
    }

    /// Topic of a side's table.
    pub fn topic(&self, side: &Side, table: &str) -> String {
        let middle = match side.server {
            Server::Postgres | Server::Postgres18 => "public",
            Server::Mysql | Server::Mysql2 | Server::Mariadb | Server::Spare => self.variable(side, "DATABASE"),
        };
        format!("{}.{middle}.{table}", self.variable(side, "PREFIX"))
    }

    /// Makes both databases anew, with the example's tables and rows.
    pub async fn create_databases(&self) {
        for (side, more) in self.example.sides.iter().zip(&self.more_schema) {
            self.drop_database(side).await;
            let database = self.variable(side, "DATABASE");
            execute(side.server, "", &format!("CREATE DATABASE {database}")).await;
            for file in side.schema {
                let path = self.example.path().join("schema").join(file);
                let sql = std::fs::read_to_string(&path).unwrap_or_else(|error| panic!("{}: {error}", path.display()));
                execute(side.server, database, &sql).await;
            }
            if !more.is_empty() {
                execute(side.server, database, more).await;
            }
        }
    }

    /// Creates the connectors of the example and waits until all their tasks run.
    pub async fn apply_connectors(&self) {
        self.apply(|_| true).await;
    }

    /// As [`Running::apply_connectors`], of one side only.
    pub async fn apply_connector(&self, side: &Side) {
        self.apply(|name| name == self.variable(side, "PREFIX")).await;
    }

    async fn apply(&self, wanted: impl Fn(&str) -> bool) {
        let client = reqwest::Client::new();
        for (name, config) in self.connectors().into_iter().filter(|(name, _)| wanted(name)) {
            let address = format!("{}/connectors/{name}", servers::connect());
            let reply = client.put(format!("{address}/config")).json(&config).send().await.expect("Connect answers");
            let status = reply.status();
            assert!(status.is_success(), "{name}: {status}: {}", reply.text().await.unwrap_or_default());
            runs(&client, &address).await;
        }
    }

    /// Restarts what has failed of the connectors, as an administrator does, and waits until all their tasks run.
    pub async fn restart_connectors(&self) {
        let client = reqwest::Client::new();
        for (name, _) in self.connectors() {
            let address = format!("{}/connectors/{name}", servers::connect());
            let restart = format!("{address}/restart?includeTasks=true&onlyFailed=true");
            let reply = client.post(restart).send().await.expect("Connect answers");
            assert!(reply.status().is_success(), "{name}: {}", reply.status());
            // Connect restarts it after it has answered.
            tokio::time::sleep(Duration::from_millis(500)).await;
            runs(&client, &address).await;
        }
    }

    /// Stops a side's connector, which forgets nothing, or lets it go on (`stop`, `resume`), and waits until it has.
    pub async fn tell_connector(&self, side: &Side, what: &str) {
        let client = reqwest::Client::new();
        let address = format!("{}/connectors/{}", servers::connect(), self.variable(side, "PREFIX"));
        let reply = client.put(format!("{address}/{what}")).send().await.expect("Connect answers");
        assert!(reply.status().is_success(), "{address}: {}", reply.status());
        if what == "resume" {
            return runs(&client, &address).await;
        }
        let deadline = Instant::now() + Duration::from_secs(60);
        while status_of(&client, &address).await != ["STOPPED"] {
            assert!(Instant::now() < deadline, "{address} does not stop");
            tokio::time::sleep(Duration::from_millis(200)).await;
        }
    }

    /// What Connect says of each connector, with the reason of one that failed.
    pub async fn connector_states(&self) -> Vec<String> {
        let client = reqwest::Client::new();
        let mut states = Vec::new();
        for (name, _) in self.connectors() {
            let address = format!("{}/connectors/{name}/status", servers::connect());
            states.push(match client.get(address).send().await {
                Ok(reply) => reply.text().await.unwrap_or_else(|error| format!("{name}: {error}")),
                Err(error) => format!("{name}: {error}"),
            });
        }
        states
    }

    /// Where a side's connector would go on in its log, as Connect has stored it.
    pub async fn stored_place(&self, side: &Side) -> Option<Value> {
        let address = format!("{}/connectors/{}/offsets", servers::connect(), self.variable(side, "PREFIX"));
        let mut reply: Value = reqwest::get(address).await.ok()?.json().await.ok()?;
        let place = reply["offsets"].get_mut(0)?["offset"].take();
        (!place.is_null()).then_some(place)
    }

    /// The example's connectors, as `connectors/*.json` has them with our names in.
    pub fn connectors(&self) -> Vec<(String, Value)> {
        let mut files: Vec<PathBuf> = std::fs::read_dir(self.example.path().join("connectors"))
            .expect("the example has connectors")
            .map(|entry| entry.expect("readable").path())
            .collect();
        files.sort();
        files
            .iter()
            .map(|file| {
                let text = expand(&std::fs::read_to_string(file).expect("readable"), &self.variables);
                let mut connector: Value = serde_json::from_str(&text).expect("a connector is JSON");
                let name = connector["name"].as_str().expect("a connector has a name").to_owned();
                let mut config = connector["config"].take();
                for (_, key, value) in self.settings.iter().filter(|(of, ..)| *of == name) {
                    config[key] = Value::from(value.as_str());
                }
                (name, config)
            })
            .collect()
    }

    /// Removes connectors, replication slots, databases and topics.
    pub async fn remove(&self) {
        let client = reqwest::Client::new();
        for (name, _) in self.connectors() {
            client.delete(format!("{}/connectors/{name}", servers::connect())).send().await.expect("Connect answers");
        }
        for side in &self.example.sides {
            self.drop_database(side).await;
        }
        self.delete_topics().await;
    }

    async fn delete_topics(&self) {
        let admin: AdminClient<DefaultClientContext> =
            ClientConfig::new().set("bootstrap.servers", servers::kafka()).create().expect("a client");
        let metadata = admin.inner().fetch_metadata(None, Duration::from_secs(10)).expect("Kafka answers");
        let ours: Vec<&str> = metadata
            .topics()
            .iter()
            .map(|topic| topic.name())
            .filter(|topic| self.example.sides.iter().any(|side| topic.contains(self.variable(side, "PREFIX"))))
            .collect();
        if ours.is_empty() {
            return;
        }
        admin.delete_topics(&ours, &AdminOptions::new()).await.expect("Kafka answers");
    }

    async fn drop_database(&self, side: &Side) {
        let database = self.variable(side, "DATABASE");
        if let Server::Postgres | Server::Postgres18 = side.server {
            let slot = self.variable(side, "SLOT");
            let drop = format!(
                "SELECT pg_drop_replication_slot(slot_name) FROM pg_replication_slots WHERE slot_name = '{slot}'"
            );
            let mut admin = PgConnection::connect(&side.server.url(Role::Admin, "postgres")).await.expect("it answers");
            when_free(&mut admin, &drop).await;
            let drop = format!("DROP DATABASE IF EXISTS {database} WITH (FORCE)");
            admin.execute(sqlx::AssertSqlSafe(drop.clone())).await.expect("drop");
            // Origins belong to the server, not to the database, and it has room for few.
            let drop = format!(
                "SELECT pg_replication_origin_drop(roname) FROM pg_replication_origin WHERE roname LIKE 'tidelock:{}:%'",
                self.name.replace('_', "\\_")
            );
            when_free(&mut admin, &drop).await;
        } else {
            execute(side.server, "", &format!("DROP DATABASE IF EXISTS {database}")).await;
        }
    }

    /// What tells this run from others.
    pub fn name(&self) -> &str {
        &self.name
    }
}

/// Puts variables, or their defaults, in the place of `${NAME:-default}`.
pub fn expand(text: &str, variables: &BTreeMap<String, String>) -> String {
    let mut parts = text.split("${");
    let mut expanded = parts.next().unwrap_or_default().to_owned();
    for part in parts {
        let (reference, rest) = part.split_once('}').expect("`${` has an end");
        let (name, default) = reference.split_once(":-").unwrap_or((reference, ""));
        expanded.push_str(variables.get(name).map_or(default, String::as_str));
        expanded.push_str(rest);
    }
    expanded
}

/// Runs a statement that is refused while a session that has just ended still holds what it is about.
async fn when_free(admin: &mut PgConnection, sql: &str) {
    let deadline = Instant::now() + Duration::from_secs(30);
    while let Err(error) = admin.execute(sqlx::AssertSqlSafe(sql)).await {
        assert!(Instant::now() < deadline, "{sql}: {error}");
        tokio::time::sleep(Duration::from_millis(200)).await;
    }
}

/// Waits until a connector and its task run.
async fn runs(client: &reqwest::Client, address: &str) {
    let deadline = Instant::now() + Duration::from_secs(60);
    loop {
        let state = status_of(client, address).await;
        if state == ["RUNNING", "RUNNING"] {
            break;
        }
        assert!(Instant::now() < deadline && !state.iter().any(|part| part == "FAILED"), "{address}: {state:?}");
        tokio::time::sleep(Duration::from_millis(200)).await;
    }
}

/// States of a connector and its tasks.
pub async fn status_of(client: &reqwest::Client, address: &str) -> Vec<String> {
    let Ok(reply) = client.get(format!("{address}/status")).send().await else { return Vec::new() };
    let status: Value = reply.json().await.unwrap_or_default();
    let connector = status["connector"]["state"].as_str().map(str::to_owned);
    let tasks = status["tasks"].as_array().into_iter().flatten().filter_map(|task| task["state"].as_str());
    connector.into_iter().chain(tasks.map(str::to_owned)).collect()
}

/// Runs SQL statements as admin. An empty database name means none.
pub async fn execute(server: Server, database: &str, sql: &str) {
    let url = server.url(Role::Admin, database);
    let result = match server {
        Server::Postgres | Server::Postgres18 => {
            let url = if database.is_empty() { server.url(Role::Admin, "postgres") } else { url };
            let mut connection = PgConnection::connect(&url).await.expect("PostgreSQL answers");
            sqlx::raw_sql(sqlx::AssertSqlSafe(sql)).execute(&mut connection).await.map(drop)
        }
        Server::Mysql | Server::Mysql2 | Server::Mariadb | Server::Spare => {
            let mut connection = MySqlConnection::connect(&url).await.expect("the server answers");
            sqlx::raw_sql(sqlx::AssertSqlSafe(sql)).execute(&mut connection).await.map(drop)
        }
    };
    result.unwrap_or_else(|error| panic!("{server:?} {database}: {error}\n{sql}"));
}
