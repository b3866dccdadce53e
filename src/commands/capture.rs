//! `tidelock capture`: for sites that Debezium cannot read. `install` makes the triggers, `remove` drops them, without either the
//! changes are published until SIGTERM. Only SQLite in this version.

use connect::capture::publisher::{BrokerKind, PublisherSettings};
use connect::capture::sqlite::{
    Capture, CaptureSettings, DEFAULT_BATCH_BYTES, DEFAULT_BATCH_ROWS, DEFAULT_POLL_INTERVAL, SnapshotChoice, install,
    log, remove, restart_log,
};

use crate::cli::Capture as Action;
use crate::config::{Config, Site, SiteKind};
use crate::directions;
use crate::exit::{Failure, Result};
use crate::shutdown;

/// Partitions of topics that have to be made: enough for a few lanes; a topic that is there keeps its own.
const PARTITIONS: i32 = 4;

/// Does what the command line says, for every site that is captured.
pub(crate) async fn run(config: &Config, action: Option<Action>) -> Result<()> {
    let captured = captured(config);
    if captured.is_empty() {
        return Err(Failure::Run("no site is captured by Tidelock; only sources of kind sqlite are".into()));
    }
    match action {
        Some(Action::Install) => {
            for (name, site, tables) in &captured {
                let mut connection = log::connect(address(site)).await?;
                let installed = install(&mut connection, tables, SnapshotChoice::Initial).await?;
                println!("{name}: triggers are there for {}", installed.tables.join(", "));
                installed.warnings.iter().for_each(|warning| println!("{name}: warning: {warning}"));
            }
            Ok(())
        }
        Some(Action::Remove) => {
            for (name, site, tables) in &captured {
                let mut connection = log::connect(address(site)).await?;
                remove(&mut connection, tables).await?;
                println!("{name}: triggers are gone from {}; what they recorded is still published", tables.join(", "));
            }
            Ok(())
        }
        Some(Action::RestartLog) => {
            for (name, site, _) in &captured {
                restart_log(&mut log::connect(address(site)).await?).await?;
                println!("{name}: the change log counts as a new one");
            }
            Ok(())
        }
        None => publish(config, captured).await,
    }
}

async fn publish(config: &Config, captured: Vec<(&str, &Site, Vec<String>)>) -> Result<()> {
    let asked = shutdown::requested();
    let mut handles = Vec::new();
    for (name, site, tables) in captured {
        let registry = crate::registry::client(&config.kafka)?;
        let mut client = vec![("bootstrap.servers".to_owned(), config.kafka.bootstrap())];
        client.extend(config.kafka.client_options());
        let id = format!("{}.{}.capture.{name}", config.kafka.group_prefix, config.pipeline);
        handles.push(Capture::spawn(CaptureSettings {
            site: name.to_owned(),
            url: address(site).to_owned(),
            database: name.to_owned(),
            topics: site.topics.clone().unwrap_or_default(),
            tables,
            registry: Box::new(registry),
            publisher: PublisherSettings {
                client,
                progress_topic: format!("{id}.progress"),
                id,
                broker: BrokerKind::Cluster { partitions: PARTITIONS },
            },
            poll_interval: DEFAULT_POLL_INTERVAL,
            batch_rows: DEFAULT_BATCH_ROWS,
            batch_bytes: DEFAULT_BATCH_BYTES,
        })?);
        tracing::info!(site = name, "capturing");
    }
    asked.await;
    tokio::task::spawn_blocking(move || handles.into_iter().for_each(connect::capture::sqlite::CaptureHandle::stop))
        .await
        .map_err(|error| Failure::Run(format!("a capture ended badly: {error}")))
}

fn address(site: &Site) -> &str {
    site.url.as_ref().map_or("", |url| url.expose())
}

/// Sites of kind sqlite that are the source of a direction, with the tables that directions read.
fn captured(config: &Config) -> Vec<(&str, &Site, Vec<String>)> {
    let directions = directions::of(config);
    let sources = config.sites.iter().filter(|(_, site)| site.kind == SiteKind::Sqlite);
    let mut all = Vec::new();
    for (name, site) in sources {
        let mut tables: Vec<String> = directions
            .iter()
            .filter(|direction| direction.source == name)
            .flat_map(|direction| direction.entities.iter().map(|entity| entity.source_table.clone()))
            .collect();
        tables.sort();
        tables.dedup();
        if !tables.is_empty() {
            all.push((name, site, tables));
        }
    }
    all
}
