//! The databases under test, by the connectors that the engine itself uses.

use std::time::{SystemTime, UNIX_EPOCH};

use connect::mysql::{Flavour, MySqlConnector};
use connect::postgres::PostgresConnector;
use connect::sql::connection::Connector;
use topology::data::Kind;
use topology::lens::convert::Engine;

use super::workload::{TABLE, Workload};

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum BenchEngine {
    Postgres,
    MySql,
    MariaDb,
}

impl BenchEngine {
    pub(crate) fn named(name: &str) -> Result<BenchEngine, String> {
        let all = [BenchEngine::Postgres, BenchEngine::MySql, BenchEngine::MariaDb];
        all.into_iter()
            .find(|engine| engine.name() == name)
            .ok_or_else(|| format!("no engine {name}; there are postgres, mysql, mariadb"))
    }

    pub(crate) fn name(self) -> &'static str {
        match self {
            BenchEngine::Postgres => "postgres",
            BenchEngine::MySql => "mysql",
            BenchEngine::MariaDb => "mariadb",
        }
    }

    pub(crate) fn engine(self) -> Engine {
        match self {
            BenchEngine::Postgres => Engine::Postgres,
            BenchEngine::MySql => Engine::MySql,
            BenchEngine::MariaDb => Engine::MariaDb,
        }
    }

    fn url(self, database: &str) -> Result<String, String> {
        let variable = format!("TIDELOCK_TEST_{}", self.name().to_uppercase());
        let server = std::env::var(&variable).map_err(|_| {
            format!("{variable} is not set: run `services/stack up` and `eval \"$(services/stack env)\"`")
        })?;
        Ok(format!("{server}/{database}"))
    }

    pub(crate) fn connector(self, database: &str) -> Result<Box<dyn Connector>, String> {
        let url = self.url(database)?;
        let connector: Result<Box<dyn Connector>, topology::Error> = match self {
            BenchEngine::Postgres => PostgresConnector::new(&url, None).map(|connector| Box::new(connector) as _),
            BenchEngine::MySql => {
                MySqlConnector::new(&url, Flavour::MySql, None).map(|connector| Box::new(connector) as _)
            }
            BenchEngine::MariaDb => {
                MySqlConnector::new(&url, Flavour::MariaDb, None).map(|connector| Box::new(connector) as _)
            }
        };
        connector.map_err(|error| error.to_string())
    }

    async fn run(self, database: &str, statements: &[String]) -> Result<(), String> {
        let mut session = self.connector(database)?.connect().await.map_err(|error| error.error.to_string())?;
        for sql in statements {
            session.execute_plain(sql).await.map_err(|error| format!("{sql}: {}", error.error))?;
        }
        Ok(())
    }

    fn home(self) -> &'static str {
        match self {
            BenchEngine::Postgres => "postgres",
            BenchEngine::MySql | BenchEngine::MariaDb => "mysql",
        }
    }

    pub(crate) async fn create_database(self) -> Result<String, String> {
        let now = SystemTime::now().duration_since(UNIX_EPOCH).map_or(0, |since| since.as_millis());
        let database = format!("tidelock_bench_{now:x}");
        self.run(self.home(), &[format!("CREATE DATABASE {database}")]).await?;
        Ok(database)
    }

    pub(crate) async fn drop_database(self, database: &str) -> Result<(), String> {
        self.run(self.home(), &[format!("DROP DATABASE {database}")]).await
    }

    /// Makes the table anew, empty.
    pub(crate) async fn create_table(self, database: &str, workload: &Workload) -> Result<(), String> {
        let columns: Vec<String> = workload
            .layout
            .columns
            .iter()
            .map(|column| format!("{} {}", column.name, self.type_of(&column.kind)))
            .collect();
        let create = format!("CREATE TABLE {TABLE} ({}, PRIMARY KEY (id))", columns.join(", "));
        self.run(database, &[format!("DROP TABLE IF EXISTS {TABLE}"), create]).await
    }

    fn type_of(self, kind: &Kind) -> String {
        let is_postgres = self == BenchEngine::Postgres;
        match kind {
            Kind::Int { bits: 64, .. } => "bigint".to_owned(),
            Kind::Int { .. } => "int".to_owned(),
            Kind::Text { characters_max, .. } => format!("varchar({})", characters_max.unwrap_or(255)),
            Kind::Decimal { precision, scale } => {
                format!("decimal({},{})", precision.unwrap_or(12), scale.unwrap_or(2))
            }
            Kind::Float64 => if is_postgres { "double precision" } else { "double" }.to_owned(),
            Kind::Timestamp { .. } => if is_postgres { "timestamp(6)" } else { "datetime(6)" }.to_owned(),
            Kind::Date => "date".to_owned(),
            other => unreachable!("the workload has no {other:?}"),
        }
    }
}
