//! A fresh database per scenario and the writer under test.

use std::sync::Arc;

use tidelock_connect::sql::connection::{Connector, SqlConnection};
use tidelock_connect::sql::writer::{HeldLimits, SinkTable, SqlWriter, WriterOptions};
use tidelock_connect::sqlite::SqliteConnector;
use topology::batch::{SnapshotMode, WriteMode, WriteTable};
use topology::data::Value;
use topology::record::EntityId;

/// The engine of a target.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Engine {
    Sqlite,
    Postgres,
}

/// The written tables of a scenario.
pub type SinkTableSet = Vec<SinkTable>;

/// A database of its own.
pub struct Target {
    pub engine: Engine,
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
    pub async fn sqlite(name: &str) -> Target {
        let directory = std::env::temp_dir().join(format!("tidelock-conformance-{}-{name}", std::process::id()));
        std::fs::create_dir_all(&directory).unwrap();
        let file = directory.join("target.db");
        std::fs::File::create(&file).unwrap();
        let url = format!("sqlite:{}", file.display());
        let admin = SqliteConnector::new(&url, None).unwrap().connect().await.unwrap();
        Target { engine: Engine::Sqlite, url, admin, server: None, directory: Some(directory) }
    }

    pub async fn postgres(_variable: &str, _name: &str) -> Option<Target> {
        None
    }

    pub async fn drop_database(&mut self) {
        let _ = &self.server;
    }

    /// The engine's character around names.
    pub fn quote(&self) -> &'static str {
        "\""
    }

    /// Opens another session.
    pub fn connector(&self) -> Box<dyn Connector> {
        match self.engine {
            Engine::Sqlite => Box::new(SqliteConnector::new(&self.url, Some("legacy".into())).unwrap()),
            Engine::Postgres => unreachable!(),
        }
    }

    /// Runs statements, one per string.
    pub async fn run(&mut self, statements: &[&str]) {
        for text in statements {
            self.admin.execute_plain(text).await.unwrap_or_else(|error| panic!("{text}: {:?}", error.error));
        }
    }

    /// Rows of a query, as text joined by `|`, NULL as `∅`.
    pub async fn rows(&mut self, query: &str) -> Vec<String> {
        let rows = self.admin.query(query, &[]).await.unwrap_or_else(|error| panic!("{query}: {:?}", error.error));
        rows.iter().map(|row| row.iter().map(text).collect::<Vec<_>>().join("|")).collect()
    }

    /// The single value of a query.
    pub async fn value(&mut self, query: &str) -> String {
        self.rows(query).await.into_iter().next().unwrap_or_default()
    }

    /// A mirrored table as the lens would declare it: all written columns with the live kinds.
    pub async fn table(&mut self, entity: u16, name: &str, columns: &[&str], key: &[&str]) -> SinkTable {
        let live = self.admin.describe(name).await.unwrap().unwrap_or_else(|| panic!("no table {name}"));
        let columns: Vec<_> = columns
            .iter()
            .map(|column| live.column(column).unwrap_or_else(|| panic!("no column {column}")).column())
            .collect();
        let key = key.iter().map(|name| columns.iter().position(|column| &*column.name == *name).unwrap()).collect();
        let table = WriteTable { entity: EntityId(entity), name: name.into(), columns, key, mode: WriteMode::Mirror };
        SinkTable { table, snapshot: SnapshotMode::Upsert }
    }

    pub fn writer(&self, tables: &[SinkTable]) -> SqlWriter {
        self.writer_with(tables, HeldLimits::default())
    }

    pub fn writer_with(&self, tables: &[SinkTable], held: HeldLimits) -> SqlWriter {
        let options = WriterOptions { tables: tables.to_vec(), held, advance_sequences: true };
        SqlWriter::new(self.connector(), options)
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
pub fn t(text: &str) -> Value {
    Value::Text(text.to_owned())
}

/// Shorthand for a number.
pub fn n(number: i64) -> Value {
    Value::I64(number)
}

/// A name that tests share.
pub fn shared(text: &str) -> Arc<str> {
    Arc::from(text)
}
