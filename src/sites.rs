//! From a configured site to a connection: which engine, which loop guard, which connector. The one place that knows all engines.

use std::sync::Arc;
use std::time::Duration;

use connect::sql::connection::{Connector, SqlConnection};
use connect::sql::patience::{OnSilence, Patience, PatientConnector};
use topology::data::Value;
use topology::guard::{GuardSite, SiteTags, Strategy};
use topology::lens::convert::Engine;
use topology::{Error, ErrorKind, Result, Stage};

use crate::config::{Config, GuardChoice, Site, SiteKind};

/// What a site runs on.
pub(crate) fn engine(config: &Config, site: &str) -> Engine {
    match config.sites.get(site).map(|site| site.kind) {
        Some(SiteKind::Mysql) => Engine::MySql,
        Some(SiteKind::Mariadb) => Engine::MariaDb,
        Some(SiteKind::Postgres) => Engine::Postgres,
        Some(SiteKind::Sqlite) => Engine::Sqlite,
        _ => Engine::Other,
    }
}

/// How our writes are marked in the log of a site; `None` if it has no guard or needs none.
pub(crate) fn strategy(site: &Site) -> Option<Strategy> {
    let choice = match site.guard {
        GuardChoice::Auto => site.kind.guards().first().copied()?,
        choice => choice,
    };
    match choice {
        GuardChoice::Gtid => Some(Strategy::Gtid),
        GuardChoice::ServerId => Some(Strategy::ServerId),
        GuardChoice::ReplicationOrigin => Some(Strategy::ReplicationOrigin),
        GuardChoice::Capture => Some(Strategy::Capture),
        GuardChoice::Auto | GuardChoice::None => None,
    }
}

/// The tags of all sites of the pipeline.
///
/// # Errors
/// `Configuration` when two sites would have one tag.
pub(crate) fn tags(config: &Config) -> Result<SiteTags> {
    let sites: Vec<GuardSite> =
        config.sites.iter().map(|(name, site)| GuardSite { name: name.into(), server_id: site.server_id }).collect();
    SiteTags::new(&config.pipeline, &sites)
}

/// What opens sessions at a site. `from`: mark all writes as coming from that site.
///
/// # Errors
/// `Configuration` when the address cannot be read, or the site cannot mark writes.
pub(crate) fn connector(config: &Config, name: &str, from: Option<&str>) -> Result<Box<dyn Connector>> {
    watched_connector(config, name, from, None)
}

/// As [`connector`], for whoever wants to hear when the site falls silent.
///
/// # Errors
/// As [`connector`].
pub(crate) fn watched_connector(
    config: &Config,
    name: &str,
    from: Option<&str>,
    on_silence: Option<OnSilence>,
) -> Result<Box<dyn Connector>> {
    let site = config.sites.get(name).ok_or_else(|| wrong(name, "there is no such site"))?;
    let address = site.address().ok_or_else(|| wrong(name, "has no url"))?;
    let mark = match from {
        None => None,
        Some(from) => {
            let strategy =
                strategy(site).ok_or_else(|| wrong(name, "has no loop guard, so writes to it cannot be marked"))?;
            Some((from, strategy))
        }
    };
    let connector = open(config, site, address.expose(), mark)?;
    if site.kind == SiteKind::Sqlite {
        return Ok(connector);
    }
    let patience = Patience::new(statement_max(config), on_silence);
    Ok(Box::new(PatientConnector::new(connector, patience)))
}

fn statement_max(config: &Config) -> Duration {
    Duration::from_secs(config.tuning.statement_seconds)
}

type Mark<'a> = Option<(&'a str, Strategy)>;

#[allow(unused_variables, unreachable_patterns)]
fn open(config: &Config, site: &Site, url: &str, mark: Mark<'_>) -> Result<Box<dyn Connector>> {
    match site.kind {
        #[cfg(feature = "mysql")]
        SiteKind::Mysql | SiteKind::Mariadb => Ok(Box::new(mysql(config, site, url, mark)?)),
        #[cfg(feature = "sqlite")]
        SiteKind::Sqlite => {
            let tag = mark.map(|(from, _)| Arc::from(from));
            Ok(Box::new(connect::sqlite::SqliteConnector::new(url, tag)?))
        }
        #[cfg(feature = "postgres")]
        SiteKind::Postgres => {
            let tags = tags(config)?;
            let prefix = mark.map(|(from, _)| tags.origin_prefix(from)).transpose()?;
            let connector = connect::postgres::PostgresConnector::new(url, prefix)?;
            Ok(Box::new(connector.statement_max(statement_max(config))))
        }
        kind => Err(wrong(kind.word(), "is no kind of site that this build can connect to")),
    }
}

#[cfg(feature = "mysql")]
fn mysql(config: &Config, site: &Site, url: &str, mark: Mark<'_>) -> Result<connect::mysql::MySqlConnector> {
    use connect::mysql::{Flavour, MySqlConnector, Tagging};
    let flavour = if site.kind == SiteKind::Mysql { Flavour::MySql } else { Flavour::MariaDb };
    let tagging = match mark {
        None => None,
        Some((from, strategy)) => Some(Tagging { tags: tags(config)?, from: from.to_owned(), strategy }),
    };
    MySqlConnector::new(url, flavour, tagging)
}

/// One session.
///
/// # Errors
/// As [`connector`], and what the server said.
pub(crate) async fn connect(config: &Config, name: &str, from: Option<&str>) -> Result<Box<dyn SqlConnection>> {
    let opened = connector(config, name, from)?.connect().await;
    opened.map_err(|error| {
        let mut error: Error = error.into();
        error.detail = format!("site {name}: {}", error.detail);
        error
    })
}

/// Tries whether writes at a site can be marked as coming from another, by a tagged transaction that is rolled back. Changes nothing.
///
/// # Errors
/// `Configuration` with the reasons when the server or our rights there do not allow it; others when it could not be asked.
pub(crate) async fn prove_tag(config: &Config, at: &str, from: &str) -> Result<Strategy> {
    let site = config.sites.get(at).ok_or_else(|| wrong(at, "there is no such site"))?;
    let wanted = strategy(site).ok_or_else(|| wrong(at, "has no loop guard in this version"))?;
    let proof = tokio::time::timeout(statement_max(config), prove(config, site, (at, from), wanted)).await;
    let proven = proof.unwrap_or_else(|_| {
        let detail = format!("sites.{at}: no answer while the loop guard was tried; check the network");
        Err(Error::new(ErrorKind::Transient, Stage::Configure, "database does not answer", detail))
    })?;
    proven.map_err(|reasons| {
        wrong(&format!("{at}.guard"), &format!("{} does not work there: {}", wanted.name(), reasons.join("; ")))
    })
}

#[allow(unused_variables, unreachable_patterns, unused_imports)]
async fn prove(
    config: &Config,
    site: &Site,
    (at, from): (&str, &str),
    wanted: Strategy,
) -> Result<std::result::Result<Strategy, Vec<String>>> {
    let address = site.address().ok_or_else(|| wrong(at, "has no url"))?;
    match site.kind {
        #[cfg(feature = "mysql")]
        SiteKind::Mysql | SiteKind::Mariadb => {
            Ok(mysql(config, site, address.expose(), None)?.prove(&tags(config)?, from).await?)
        }
        #[cfg(feature = "sqlite")]
        SiteKind::Sqlite => {
            let mut session = connect(config, at, Some(from)).await?;
            let table = connect::sql::statements::ORIGIN;
            let found = session
                .query("SELECT 1 FROM sqlite_master WHERE type = 'table' AND name = ?1", &[Value::Text(table.into())])
                .await?;
            if found.is_empty() {
                return Ok(Err(vec![format!("there is no table {table}; run `tidelock capture install` first")]));
            }
            session.begin(true).await?;
            session.rollback().await?;
            Ok(Ok(wanted))
        }
        #[cfg(feature = "postgres")]
        SiteKind::Postgres => {
            let connector = connect::postgres::PostgresConnector::new(address.expose(), None)?;
            Ok(connector.prove(&tags(config)?, from).await?.map(|()| wanted).map_err(|reason| vec![reason]))
        }
        kind => Ok(Err(vec![format!("a {kind} keeps no marks")])),
    }
}

fn wrong(site: &str, what: &str) -> Error {
    Error::new(ErrorKind::Configuration, Stage::Configure, "cannot use site", format!("sites.{site}: {what}"))
}
