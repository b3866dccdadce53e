//! The command line. Help texts here are the reference of the commands; clap ends with code 2 on a wrong command line.

use std::path::PathBuf;

use clap::{Parser, Subcommand, ValueEnum};

use crate::commands::dlq::{DlqFilter, HeldId};

/// Keeps databases in step, in both directions, over Kafka, exactly once.
///
/// Exit codes: 0 done, 1 error while running, 2 wrong configuration, 3 drain timed out.
#[derive(Debug, Parser)]
#[command(name = "tidelock", version, max_term_width = 100)]
pub(crate) struct Cli {
    /// The configuration file.
    #[arg(long, short, global = true, env = "TIDELOCK_CONFIG", default_value = "tidelock.yaml")]
    pub(crate) config: PathBuf,
    /// What to do.
    #[command(subcommand)]
    pub(crate) command: Command,
}

/// The commands.
#[allow(clippy::large_enum_variant)] // parsed once per process
#[derive(Debug, Subcommand)]
pub(crate) enum Command {
    /// Run all directions until SIGTERM; any number of equal workers may run at the same time.
    Run {
        /// Begin partitions that have no progress here, also when their ledger was lost: earliest, latest, or a time such as
        /// 2026-05-01T00:00:00Z. Without it `tuning.start` decides, and a lost ledger halts. The word is used up,
        /// partition by partition, by the first progress of this process: what is lost later is another decision.
        #[arg(long, value_name = "WHERE", value_parser = crate::config::parse_start)]
        start_from: Option<crate::config::Start>,
    },
    /// Compare the configuration with both sides of every link and print the effective mapping. Changes nothing. Exit 1 if `run` would stop.
    Check,
    /// Print the sites, directions and processors of the configuration. Connects to nothing.
    Describe {
        /// How.
        #[arg(long, value_enum, default_value_t = DescribeFormat::Text)]
        format: DescribeFormat,
    },
    /// Write a commented configuration file to begin with.
    Init {
        /// Print it instead of writing the file.
        #[arg(long)]
        print: bool,
    },
    /// Show what a running worker does; without one, what the ledgers in the targets say.
    Status {
        /// As JSON.
        #[arg(long)]
        json: bool,
        /// Address of a worker's HTTP interface; without it, `http.address` of the configuration.
        #[arg(long, env = "TIDELOCK_STATUS_URL")]
        url: Option<String>,
    },
    /// Held rows of the targets: list, show, try again, throw away. Row values are shown only with --raw.
    Dlq {
        /// What to do.
        #[command(subcommand)]
        action: Dlq,
    },
    /// Create, update and look at the Debezium connectors of a Kafka Connect cluster.
    #[cfg(feature = "rest")]
    Connectors {
        /// Address of Kafka Connect's REST interface.
        #[arg(long, global = true, env = "TIDELOCK_CONNECT_URL", default_value = "http://localhost:8083")]
        url: String,
        /// What to do.
        #[command(subcommand)]
        action: Connectors,
    },
    #[cfg(feature = "sqlite")]
    /// Publish the changes of sites that Tidelock captures itself (SQLite), until SIGTERM.
    Capture {
        #[command(subcommand)]
        action: Option<Capture>,
    },
    /// Two SQLite databases kept in step in this process, without any server.
    #[cfg(feature = "demo")]
    Demo {
        /// Stay up afterwards and print where the metrics are.
        #[arg(long)]
        keep: bool,
    },
    /// Look at the configuration.
    Config {
        /// What to do.
        #[command(subcommand)]
        action: ConfigAction,
    },
}

/// Forms of `describe`.
#[derive(Clone, Copy, Debug, PartialEq, Eq, ValueEnum)]
pub(crate) enum DescribeFormat {
    /// For people.
    Text,
    /// A diagram in Mermaid.
    Mermaid,
}

/// Actions of `dlq`.
#[derive(Debug, Subcommand)]
pub(crate) enum Dlq {
    /// One row per held record, oldest first; superseded ones only with --state superseded.
    List {
        #[command(flatten)]
        filter: DlqFilter,
        /// Rows at most; 0: all.
        #[arg(long, default_value_t = 100)]
        limit: usize,
        /// As JSON.
        #[arg(long)]
        json: bool,
    },
    /// Everything that is known of one record.
    Show {
        /// topic/partition/offset/ordinal, as `list` shows it.
        id: HeldId,
        #[command(flatten)]
        filter: DlqFilter,
        /// Also the bytes of key, value and headers: these hold row values.
        #[arg(long, value_enum, num_args = 0..=1, default_missing_value = "base64")]
        raw: Option<RawForm>,
        /// As JSON.
        #[arg(long)]
        json: bool,
    },
    /// Try dead records again, in order. A running worker does it within a few seconds. Records that a later change of their row has overtaken are
    /// left out. Parked ones that are named by id or --state are tried now instead of later.
    Replay {
        /// topic/partition/offset/ordinal, as `list` shows it.
        ids: Vec<HeldId>,
        #[command(flatten)]
        filter: DlqFilter,
        /// Also those that a later change has overtaken: they overwrite what is newer.
        #[arg(long)]
        force: bool,
        /// All dead records.
        #[arg(long)]
        all: bool,
        /// As JSON.
        #[arg(long)]
        json: bool,
    },
    /// Delete held records for good. By a filter only dead ones, unless --state says otherwise.
    Discard {
        /// topic/partition/offset/ordinal, as `list` shows it.
        ids: Vec<HeldId>,
        #[command(flatten)]
        filter: DlqFilter,
        /// Without ids: yes, all that the filter finds.
        #[arg(long)]
        yes: bool,
        /// As JSON.
        #[arg(long)]
        json: bool,
    },
}

/// Forms of `dlq show --raw`.
#[derive(Clone, Copy, Debug, PartialEq, Eq, ValueEnum)]
pub(crate) enum RawForm {
    /// RFC 4648.
    Base64,
    /// Two digits per byte.
    Hex,
}

impl RawForm {
    /// As it is said.
    pub(crate) fn word(self) -> &'static str {
        match self {
            RawForm::Base64 => "base64",
            RawForm::Hex => "hex",
        }
    }
}

/// Actions of `connectors`.
#[cfg(feature = "rest")]
#[derive(Debug, Subcommand)]
pub(crate) enum Connectors {
    /// Create or update a connector for every `*.json` file of a folder. `${NAME}` and `${NAME:-default}` in the files stand for
    /// environment variables.
    Apply {
        /// The folder, or one file.
        path: PathBuf,
    },
    /// Show the states of connectors and tasks. Exit 1 if one is not running.
    Status {
        /// As JSON.
        #[arg(long)]
        json: bool,
    },
}

/// Actions of `capture`.
#[cfg(feature = "sqlite")]
#[derive(Debug, Subcommand)]
pub(crate) enum Capture {
    /// Make the triggers and tables that the capture needs (all named `tidelock_*`).
    Install,
    /// Remove them.
    Remove,
    /// After a database was restored from a copy: publish everything in its change log, whatever was published from the old one.
    RestartLog,
}

/// Actions of `config`.
#[derive(Debug, Subcommand)]
pub(crate) enum ConfigAction {
    /// Print the effective configuration: file, environment and defaults together, secrets masked.
    Print,
}

/// Reads the command line; on a wrong one says so and ends the process with code 2.
pub(crate) fn parse() -> Cli {
    Cli::parse()
}
