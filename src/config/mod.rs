//! The configuration: one YAML file, `${NAME:-default}` inside values, environment variables over it, defaults under it.
//!
//! Unknown keys, missing mandatory keys and values that make no sense are errors with the key's full path. Nothing is connected to
//! here; what needs a database is in [`crate::check`].

mod environment;
mod expand;
mod kafka;
mod link;
pub(crate) mod problem;
mod reader;
#[cfg(test)]
mod reference;
mod secret;
mod service;
pub(crate) mod setting;
mod site;
mod tree;
mod tuning;
mod validate;

#[cfg(test)]
mod tests;

use std::path::Path;

#[cfg(feature = "rest")]
pub(crate) use expand::expand;
pub(crate) use kafka::Kafka;
pub(crate) use link::Link;
pub(crate) use problem::{Problem, Problems};

pub(crate) use service::{Http, Log, LogFormat};
pub(crate) use setting::Named;
pub(crate) use site::{Format, GuardChoice, JsonColumns, JsonDecimals, JsonUnit, Records, Site, SiteKind};
pub(crate) use tuning::{Parked, Start, Tuning, format_instant, parse_start};

use setting::{Setting, section};

section! {
    /// Everything.
    Config {
        /// Name of this set of links. Part of consumer groups, ledger rows and tags: changing it starts from nothing.
        pipeline: String;
        /// Brokers and schema registry; see [kafka](#kafka).
        kafka: Kafka;
        /// The stores that take part, by name; see [sites](#sites). Their order decides ties.
        sites: Named<Site>;
        /// What is kept in step; see [links](#links).
        links: Vec<Link>;
        /// Sizes, times and limits; see [tuning](#tuning).
        tuning: Tuning = Tuning::default();
        /// Metrics, health and status; see [http](#http).
        http: Http = Http::default();
        /// Log output; see [log](#log).
        log: Log = Log::default();
    }
}

/// A configuration that is valid in itself, and what a user should hear about it.
#[derive(Debug)]
pub(crate) struct Loaded {
    /// The configuration.
    pub(crate) config: Config,
    /// Odd, but allowed.
    pub(crate) warnings: Vec<Problem>,
}

/// Reads, merges and checks.
///
/// # Errors
/// Everything that is wrong, with full paths.
pub(crate) fn load(path: &Path) -> Result<Loaded, Problems> {
    let yaml = std::fs::read_to_string(path).map_err(|error| {
        let message = format!(
            "cannot read {}: {error}; `tidelock init` writes a first one, `--config` or TIDELOCK_CONFIG names another",
            path.display()
        );
        Problems::one("", message)
    })?;
    let variables: Vec<(String, String)> = std::env::vars_os()
        .filter_map(|(name, value)| Some((name.into_string().ok()?, value.into_string().ok()?)))
        .collect();
    parse(&yaml, &variables)
}

/// The same from text and explicit variables.
pub(crate) fn parse(yaml: &str, variables: &[(String, String)]) -> Result<Loaded, Problems> {
    let lookup = |name: &str| variables.iter().find(|(own, _)| own == name).map(|(_, value)| value.clone());
    let mut tree = tree::Node::parse(yaml, &lookup)?;
    let mut warnings = environment::overlay(&mut tree, variables);
    let config: Config = reader::read(tree).map_err(|problem| Problems(vec![problem]))?;
    warnings.extend(validate::validate(&config)?);
    Ok(Loaded { config, warnings })
}

impl Config {
    /// The effective configuration as YAML, defaults included, secrets masked.
    pub(crate) fn masked(&self) -> String {
        serde_yaml_ng::to_string(&self.print()).unwrap_or_default()
    }
}
