//! Everything the demo runs on, in this process and in one temporary folder: two database files, a broker, a registry, a capture
//! for each side.

use std::path::PathBuf;
use std::sync::atomic::Ordering;

use connect::capture::publisher::{BrokerKind, PublisherSettings};
use connect::capture::sqlite::{
    Capture, CaptureHandle, CaptureSettings, CaptureStatus, DEFAULT_BATCH_BYTES, DEFAULT_BATCH_ROWS, SnapshotChoice,
    install, log,
};
use connect::registry_server::RegistryServer;
use connect::sql::connection::SqlConnection;
use rdkafka::mocking::MockCluster;
use rdkafka::producer::DefaultProducerContext;

use super::compare;
use crate::config::{self, Config};
use crate::directions::{self, Direction};
use crate::exit::{Failure, Result};
use crate::sites;

/// Partitions of each topic: more than one, so that the lanes share them and keys meet out of order.
const PARTITIONS: i32 = 2;

/// A look at an empty log costs microseconds; the demo should look quick.
const POLL_INTERVAL: std::time::Duration = std::time::Duration::from_millis(20);

/// A side of the demo's link.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Side {
    Legacy,
    Revamp,
}

impl Side {
    pub(super) const BOTH: [Side; 2] = [Side::Legacy, Side::Revamp];

    /// Its name in the configuration.
    pub(super) fn name(self) -> &'static str {
        match self {
            Side::Legacy => "legacy",
            Side::Revamp => "revamp",
        }
    }

    fn schema(self) -> &'static str {
        match self {
            Side::Legacy => include_str!("legacy.sql"),
            Side::Revamp => include_str!("revamp.sql"),
        }
    }
}

/// The demo's surroundings. Dropping it ends the captures and removes the folder.
pub(super) struct World {
    pub(super) config: Config,
    pub(super) directions: Vec<Direction>,
    captures: Vec<CaptureHandle>,
    _registry: RegistryServer,
    /// Ends with the process: dropping it would log errors of clients that are still there.
    _broker: MockCluster<'static, DefaultProducerContext>,
    _folder: Folder,
}

struct Folder(PathBuf);

impl Drop for Folder {
    fn drop(&mut self) {
        // What can't be removed is in the system's folder for temporary files, which is its business.
        let _ = std::fs::remove_dir_all(&self.0);
    }
}

impl World {
    /// Creates the databases with their first rows, installs the triggers, and starts broker, registry and captures.
    pub(super) async fn build() -> Result<World> {
        let folder = Folder(folder()?);
        let broker = MockCluster::new(1).map_err(|error| failed("start librdkafka's in-process broker", error))?;
        let registry = RegistryServer::start().await.map_err(|error| failed("start the in-process registry", error))?;
        let address = |side: Side| format!("sqlite:{}", folder.0.join(format!("{}.db", side.name())).display());
        let variables = [
            ("BROKERS", broker.bootstrap_servers()),
            ("REGISTRY", registry.url()),
            ("LEGACY_URL", address(Side::Legacy)),
            ("REVAMP_URL", address(Side::Revamp)),
        ];
        let variables = variables.map(|(name, value)| (name.to_owned(), value));
        let config = config::parse(include_str!("tidelock.yaml"), &variables)?.config;
        let directions = directions::of(&config);
        for direction in &directions {
            for entity in &direction.entities {
                broker
                    .create_topic(&entity.topic, PARTITIONS, 1)
                    .map_err(|error| failed("create a topic on the in-process broker", error))?;
            }
        }
        let mut world =
            World { config, directions, captures: Vec::new(), _registry: registry, _broker: broker, _folder: folder };
        for side in Side::BOTH {
            world.create_database(side).await?;
            let capture = world.capture(side)?;
            world.captures.push(capture);
        }
        Ok(world)
    }

    async fn create_database(&self, side: Side) -> Result<()> {
        let address = self.address(side);
        let path = address.trim_start_matches("sqlite:");
        std::fs::write(path, b"").map_err(|error| failed("create a database file", error))?;
        let mut connection = self.connect(side).await?;
        let sql = |error| failed("create the demo's tables", topology::Error::from(error));
        for statement in side.schema().split(";\n").filter(|statement| !statement.trim().is_empty()) {
            connection.execute_plain(statement).await.map_err(sql)?;
        }
        let mut connection = log::connect(&address).await?;
        install(&mut connection, &self.tables(side), SnapshotChoice::Initial).await?;
        Ok(())
    }

    fn capture(&self, side: Side) -> Result<CaptureHandle> {
        let name = side.name();
        let id = format!("demo.capture.{name}");
        Ok(Capture::spawn(CaptureSettings {
            site: name.to_owned(),
            url: self.address(side),
            database: name.to_owned(),
            topics: self.config.sites.get(name).and_then(|site| site.topics.clone()).unwrap_or_default(),
            tables: self.tables(side),
            registry: Box::new(crate::registry::client(&self.config.kafka)?),
            publisher: PublisherSettings {
                client: vec![("bootstrap.servers".to_owned(), self.config.kafka.bootstrap())],
                progress_topic: format!("{id}.progress"),
                id,
                broker: BrokerKind::InProcess,
            },
            poll_interval: POLL_INTERVAL,
            batch_rows: DEFAULT_BATCH_ROWS,
            batch_bytes: DEFAULT_BATCH_BYTES,
        })?)
    }

    /// A connection as an application has it: its writes carry no tag.
    pub(super) async fn connect(&self, side: Side) -> Result<Box<dyn SqlConnection>> {
        Ok(sites::connect(&self.config, side.name(), None).await?)
    }

    /// Tables of a side that take part.
    pub(super) fn tables(&self, side: Side) -> Vec<String> {
        let direction = self.directions.iter().find(|direction| direction.source == side.name());
        direction.map_or_else(Vec::new, |direction| {
            direction.entities.iter().map(|entity| entity.source_table.clone()).collect()
        })
    }

    /// What the capture of a side says.
    pub(super) fn capture_status(&self, side: Side) -> &CaptureStatus {
        self.captures[side as usize].status()
    }

    /// Records that both captures have published.
    pub(super) fn published_records(&self) -> u64 {
        self.captures.iter().map(|capture| capture.status().published_records.load(Ordering::Relaxed)).sum()
    }

    /// Differences between the sides, in sentences.
    pub(super) async fn differences(&self) -> Result<Vec<String>> {
        let (mut legacy, mut revamp) = (self.connect(Side::Legacy).await?, self.connect(Side::Revamp).await?);
        let mut all = Vec::new();
        let Some(direction) = self.directions.first() else { return Ok(all) };
        for entity in &direction.entities {
            let left = (Side::Legacy.name(), legacy.as_mut());
            let right = (Side::Revamp.name(), revamp.as_mut());
            all.extend(compare::differences(&entity.name, &entity.declaration, left, right).await?);
        }
        Ok(all)
    }

    /// Address of a side's database.
    pub(super) fn address(&self, side: Side) -> String {
        let address = self.config.sites.get(side.name()).and_then(crate::config::Site::address);
        address.map_or_else(String::new, |address| address.expose().to_owned())
    }
}

/// A new, empty folder of our own.
fn folder() -> Result<PathBuf> {
    let base = std::env::temp_dir();
    for number in 0..1000 {
        let path = base.join(format!("tidelock-demo-{}-{number}", std::process::id()));
        match std::fs::create_dir(&path) {
            Ok(()) => return Ok(path),
            Err(error) if error.kind() == std::io::ErrorKind::AlreadyExists => {}
            Err(error) => return Err(failed(&format!("make a folder in {}", base.display()), error)),
        }
    }
    Err(Failure::Run(format!("cannot make a folder in {}: too many are there", base.display())))
}

fn failed(what: &str, error: impl std::error::Error) -> Failure {
    Failure::Run(format!("cannot {what}: {}", crate::exit::with_causes(&error)))
}
