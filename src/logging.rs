//! Log output: lines for people or JSON, on standard error, so that standard output stays free for what a command prints.

use std::io::IsTerminal;

use tracing_subscriber::EnvFilter;

use crate::config::{Log, LogFormat};

/// Starts logging for the rest of the process. A second call does nothing.
pub(crate) fn start(log: &Log) {
    let level = std::env::var("TIDELOCK_LOG").unwrap_or_else(|_| log.level.clone());
    // The client library tells its statistics at INFO. A level of the user's own for it comes later in the list and wins.
    let level = format!("rdkafka=warn,{level}");
    let filter = EnvFilter::builder().parse(&level).unwrap_or_else(|_| EnvFilter::new("info"));
    let lines = tracing_subscriber::fmt().with_env_filter(filter).with_writer(std::io::stderr);
    // An error means that a subscriber is there already, which is what we want.
    let _ = match log.format {
        LogFormat::Text => lines.with_ansi(std::io::stderr().is_terminal()).try_init(),
        LogFormat::Json => lines.json().flatten_event(true).try_init(),
    };
}
