//! Log output: lines for people or JSON, on standard error, so that standard output stays free for what a command prints.

use std::io::IsTerminal;

use tracing_subscriber::filter::{LevelFilter, Targets};
use tracing_subscriber::layer::SubscriberExt;
use tracing_subscriber::util::SubscriberInitExt;
use tracing_subscriber::{Layer, fmt};

use crate::config::{Log, LogFormat};

/// Starts logging for the rest of the process. A second call does nothing.
pub(crate) fn start(log: &Log) {
    let level = std::env::var("TIDELOCK_LOG").unwrap_or_else(|_| log.level.clone());
    // The client library tells its statistics at INFO. A level of the user's own for it comes later in the list and wins.
    let level = format!("rdkafka=warn,{level}");
    let filter: Targets = level.parse().unwrap_or_else(|_| Targets::new().with_default(LevelFilter::INFO));
    let lines = fmt::layer().with_writer(std::io::stderr);
    let lines = match log.format {
        LogFormat::Text => lines.with_ansi(std::io::stderr().is_terminal()).boxed(),
        LogFormat::Json => lines.json().flatten_event(true).boxed(),
    };
    // An error means that a subscriber is there already, which is what we want.
    let _ = tracing_subscriber::registry().with(lines.with_filter(filter)).try_init();
}
