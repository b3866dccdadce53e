//! Log output: lines for people or JSON, on standard error, so that standard output stays free for what a command prints.

use std::io::IsTerminal;

use tracing_subscriber::filter::{LevelFilter, ParseError, Targets};
use tracing_subscriber::layer::SubscriberExt;
use tracing_subscriber::util::SubscriberInitExt;
use tracing_subscriber::{Layer, fmt};

use crate::config::{Log, LogFormat};

/// Levels as in `info, tidelock_connect=debug`.
///
/// # Errors
/// An item is no level, or has none.
pub(crate) fn levels(list: &str) -> Result<Targets, ParseError> {
    // (the parser takes a blank for a part of a name, and nothing for a level)
    let items: Vec<&str> = list.split(',').map(str::trim).filter(|item| !item.is_empty()).collect();
    items.join(",").parse()
}

/// Starts logging for the rest of the process. A second call does nothing.
pub(crate) fn start(log: &Log) {
    let level = std::env::var("TIDELOCK_LOG").unwrap_or_else(|_| log.level.clone());
    // The client library tells its statistics at INFO. A level of the user's own for it comes later in the list and wins.
    let level = format!("rdkafka=warn,{level}");
    let filter = levels(&level).unwrap_or_else(|_| Targets::new().with_default(LevelFilter::INFO));
    let lines = fmt::layer().with_writer(std::io::stderr);
    let lines = match log.format {
        LogFormat::Text => lines.with_ansi(std::io::stderr().is_terminal()).boxed(),
        LogFormat::Json => lines.json().flatten_event(true).boxed(),
    };
    // An error means that a subscriber is there already, which is what we want.
    let _ = tracing_subscriber::registry().with(lines.with_filter(filter)).try_init();
}

#[cfg(test)]
mod tests {
    use super::*;
    use tracing_subscriber::filter::LevelFilter as Level;

    #[test]
    fn a_list_of_levels_may_have_blanks_and_empty_items() {
        for list in ["rdkafka=warn,connect=debug, info", "info,,rdkafka=warn, connect=debug ,"] {
            let levels = levels(list).unwrap();
            assert_eq!(levels.default_level(), Some(Level::INFO), "{list}");
            assert!(levels.would_enable("connect", &tracing::Level::DEBUG), "{list}");
            assert!(!levels.would_enable("rdkafka", &tracing::Level::INFO), "{list}");
        }
        // A level of the user's own wins.
        assert!(levels("rdkafka=warn,info, rdkafka=debug").unwrap().would_enable("rdkafka", &tracing::Level::DEBUG));
        assert!(levels("connect=loud").is_err());
    }
}
