//! A fresh database per scenario and the writer under test.

use std::sync::Arc;

use tidelock_connect::mysql::{Flavour, MySqlConnector, Tagging};
use tidelock_connect::postgres::PostgresConnector;
use tidelock_connect::sql::connection::{Connector, SqlConnection};
use tidelock_connect::sql::writer::{DeadLimit, HeldLimits, SinkTable, SqlWriter, WriterOptions};
use tidelock_connect::sqlite::SqliteConnector;
use topology::batch::{SnapshotMode, WriteMode, WriteTable};
use topology::data::Value;
use topology::guard::{GuardSite, SiteTags, Strategy};
use topology::record::EntityId;

/// The engine of a target.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Engine {
    Sqlite,
    Postgres,
    MySql,
    MariaDb,
}

/// The written tables of a scenario.
pub(crate) type SinkTableSet = Vec<SinkTable>;

/// A database of its own.
pub(crate) struct Target {
    pub(crate) engine: Engine,
    url: String,
    admin: Box<dyn SqlConnection>,
    /// Where to drop the database, and its name.
    server: Option<(String, String)>,
    directory: Option<std::path::PathBuf>,
}

impl Drop for Target {
    fn drop(&mut self) {
        if let Some(directory) = &self.directory {
            let _ = std::fs::remove_dir_all(directory);
        }
    }
}

impl Target {
    pub(crate) async fn sqlite(name: &str) -> Target {
        let directory = std::env::temp_dir().join(format!("tidelock-conformance-{}-{name}", std::process::id()));
        std::fs::create_dir_all(&directory).unwrap();
        let file = directory.join("target.db");
        std::fs::File::create(&file).unwrap();
        let url = format!("sqlite:{}", file.display());
        let admin = SqliteConnector::new(&url, None).unwrap().connect().await.unwrap();
        Target { engine: Engine::Sqlite, url, admin, server: None, directory: Some(directory) }
    }

    /// A database on a real server, or `None` where the environment names no such server. With `TIDELOCK_TEST_STACK` set all must be there.
    pub(crate) async fn server(engine: Engine, variable: &str, name: &str) -> Option<Target> {
        let Ok(admin_url) = std::env::var(variable) else {
            assert!(
                std::env::var("TIDELOCK_TEST_STACK").is_err(),
                "{variable} is not set; eval \"$(services/stack env)\""
            );
            eprintln!("skipped: {variable} is not set");
            return None;
        };
        let writer_url = std::env::var(format!("{variable}_WRITER")).unwrap_or_else(|_| admin_url.clone());
        // Names of databases are at most 63 characters on PostgreSQL, 64 on MySQL.
        let database = format!("conf_{}_{}", std::process::id(), &name[..name.len().min(44)]);
        let admin_database = if engine == Engine::Postgres { "postgres" } else { "mysql" };
        let server = connector(engine, &format!("{admin_url}/{admin_database}"), None);
        let mut session = server.connect().await.unwrap();
        let create = match engine {
            Engine::Postgres => format!("CREATE DATABASE {database} OWNER tidelock"),
            _ => format!("CREATE DATABASE {database}; GRANT ALL ON {database}.* TO tidelock"),
        };
        for text in create.split("; ") {
            session.execute_plain(text).await.unwrap_or_else(|error| panic!("{text}: {error:?}"));
        }
        let url = format!("{writer_url}/{database}");
        let admin = connector(engine, &url, None).connect().await.unwrap();
        let server = Some((format!("{admin_url}/{admin_database}"), database));
        Some(Target { engine, url, admin, server, directory: None })
    }

    pub(crate) async fn drop_database(&mut self) {
        let Some((url, database)) = &self.server else { return };
        let mut session = connector(self.engine, url, None).connect().await.unwrap();
        let text = match self.engine {
            Engine::Postgres => format!("DROP DATABASE {database} WITH (FORCE)"),
            _ => format!("DROP DATABASE {database}"),
        };
        session.execute_plain(&text).await.unwrap_or_else(|error| panic!("{text}: {error:?}"));
    }

    /// The engine's character around names.
    pub(crate) fn quote(&self) -> &'static str {
        if matches!(self.engine, Engine::MySql | Engine::MariaDb) { "`" } else { "\"" }
    }

    /// Opens another session.
    pub(crate) fn connector(&self) -> Box<dyn Connector> {
        connector(self.engine, &self.url, Some("legacy"))
    }

    /// Runs statements, one per string.
    pub(crate) async fn run(&mut self, statements: &[&str]) {
        for text in statements {
            self.admin.execute_plain(text).await.unwrap_or_else(|error| panic!("{text}: {:?}", error.error));
        }
    }

    /// As [`Target::run`], with an administrator's rights.
    pub(crate) async fn run_as_admin(&mut self, statements: &[&str]) {
        let Some((url, database)) = &self.server else { return self.run(statements).await };
        let (server, _) = url.rsplit_once('/').expect("the address ends with a database");
        let mut session = connector(self.engine, &format!("{server}/{database}"), None).connect().await.unwrap();
        for text in statements {
            session.execute_plain(text).await.unwrap_or_else(|error| panic!("{text}: {:?}", error.error));
        }
    }

    /// Runs a statement that may meet a lock: then nothing happens.
    #[allow(dead_code)] // only where lanes write meanwhile
    pub(crate) async fn try_run(&mut self, text: &str) {
        let _ = self.admin.execute_plain(text).await;
    }

    /// Rows of a query, as text joined by `|`, NULL as `∅`.
    pub(crate) async fn rows(&mut self, query: &str) -> Vec<String> {
        let rows = self.admin.query(query, &[]).await.unwrap_or_else(|error| panic!("{query}: {:?}", error.error));
        rows.iter().map(|row| row.iter().map(text).collect::<Vec<_>>().join("|")).collect()
    }

    /// The single value of a query.
    pub(crate) async fn value(&mut self, query: &str) -> String {
        self.rows(query).await.into_iter().next().unwrap_or_default()
    }

    /// A mirrored table as the lens would declare it: all written columns with the live kinds.
    pub(crate) async fn table(&mut self, entity: u16, name: &str, columns: &[&str], key: &[&str]) -> SinkTable {
        let live = self.admin.describe(name).await.unwrap().unwrap_or_else(|| panic!("no table {name}"));
        let columns: Vec<_> = columns
            .iter()
            .map(|column| live.column(column).unwrap_or_else(|| panic!("no column {column}")).column())
            .collect();
        let key = key.iter().map(|name| columns.iter().position(|column| &*column.name == *name).unwrap()).collect();
        let mode = WriteMode::Mirror;
        let table = WriteTable { entity: EntityId(entity), name: name.into(), columns, key, insert_only: vec![], mode };
        SinkTable { table, snapshot: SnapshotMode::Upsert, held: None }
    }

    pub(crate) fn writer(&self, tables: &[SinkTable]) -> SqlWriter {
        self.writer_with(tables, HeldLimits::default())
    }

    pub(crate) fn writer_with(&self, tables: &[SinkTable], held: HeldLimits) -> SqlWriter {
        SqlWriter::new(self.connector(), options(tables, held))
    }

    pub(crate) fn writer_limited(&self, tables: &[SinkTable], limit: DeadLimit) -> SqlWriter {
        let options = WriterOptions { dead: Some(limit), ..options(tables, HeldLimits::default()) };
        SqlWriter::new(self.connector(), options)
    }

    /// With a topic for dead letters.
    pub(crate) fn writer_publishing(&self, tables: &[SinkTable], held: HeldLimits) -> SqlWriter {
        let options = WriterOptions { dead_letters: Some("dead.letters".into()), ..options(tables, held) };
        SqlWriter::new(self.connector(), options)
    }
}

/// Of a writer without limits of dead records, and without a topic for them.
pub(crate) fn options(tables: &[SinkTable], held: HeldLimits) -> WriterOptions {
    WriterOptions { tables: tables.to_vec(), held, dead: None, dead_letters: None, advance_sequences: true }
}

/// Writers tag, as those of a two-way link do.
fn tagging(from: &str, strategy: Strategy) -> Tagging {
    let tags = SiteTags::new("conformance", &[GuardSite::named(from), GuardSite::named("revamp")]).unwrap();
    Tagging { tags, from: from.to_owned(), strategy }
}

fn connector(engine: Engine, url: &str, tag: Option<&str>) -> Box<dyn Connector> {
    match engine {
        Engine::Sqlite => Box::new(SqliteConnector::new(url, tag.map(Arc::from)).unwrap()),
        Engine::Postgres => Box::new(PostgresConnector::new(url, None).unwrap()),
        Engine::MySql => {
            Box::new(MySqlConnector::new(url, Flavour::MySql, tag.map(|from| tagging(from, Strategy::Gtid))).unwrap())
        }
        Engine::MariaDb => Box::new(
            MySqlConnector::new(url, Flavour::MariaDb, tag.map(|from| tagging(from, Strategy::ServerId))).unwrap(),
        ),
    }
}

fn text(value: &Value) -> String {
    match value {
        Value::Null => "∅".to_owned(),
        Value::Bool(v) => v.to_string(),
        Value::I64(v) => v.to_string(),
        Value::F64(v) => format!("{v:?}"),
        Value::Text(v) => v.clone(),
        Value::Bytes(v) => v.iter().map(|byte| format!("{byte:02x}")).collect(),
        other => format!("{other:?}"),
    }
}

/// Shorthand for a text value.
pub(crate) fn t(text: &str) -> Value {
    Value::Text(text.to_owned())
}

/// Shorthand for a number.
pub(crate) fn n(number: i64) -> Value {
    Value::I64(number)
}

/// A name that tests share.
pub(crate) fn shared(text: &str) -> Arc<str> {
    Arc::from(text)
}
