//! One file per command.

#[cfg(feature = "sqlite")]
mod capture;
#[cfg(feature = "rest")]
pub(crate) mod connectors;
mod describe;
pub(crate) mod dlq;
pub(crate) mod init;
mod status;

use crate::cli::{Cli, Command, ConfigAction};
use crate::config::{self, Loaded};
use crate::exit::Result;
use crate::logging;

/// Does what the command line says.
pub(crate) fn run(cli: Cli) -> Result<()> {
    match cli.command {
        Command::Init { print } => init::run(&cli.config, print),
        Command::Describe { format } => {
            let Loaded { config, .. } = load(&cli.config)?;
            print!("{}", describe::text_or_mermaid(&config, format));
            Ok(())
        }
        Command::Config { action: ConfigAction::Print } => {
            let Loaded { config, .. } = load(&cli.config)?;
            print!("{}", config.masked());
            Ok(())
        }
        Command::Run { start_from } => {
            let Loaded { config, warnings } = config::load(&cli.config)?;
            logging::start(&config.log);
            warnings.iter().for_each(|warning| tracing::warn!("{warning}"));
            block_on(crate::run::run(config, start_from))
        }
        Command::Check => {
            let Loaded { config, .. } = load(&cli.config)?;
            block_on(crate::check::run(&config))
        }
        Command::Status { json, url } => {
            let config = config::load(&cli.config)?.config;
            block_on(status::run(&config, url.as_deref(), json))
        }
        Command::Dlq { action } => {
            let config = config::load(&cli.config)?.config;
            block_on(dlq::run(&config, action))
        }
        #[cfg(feature = "rest")]
        Command::Connectors { url, action } => connectors::run(&url, action),
        #[cfg(feature = "sqlite")]
        Command::Capture { action } => {
            let Loaded { config, .. } = load(&cli.config)?;
            logging::start(&config.log);
            block_on(capture::run(&config, action))
        }
        #[cfg(feature = "demo")]
        Command::Demo { keep } => {
            // Only what a person must see: the demo has a voice of its own. TIDELOCK_LOG says otherwise.
            logging::start(&config::Log { level: "error".to_owned(), ..config::Log::default() });
            block_on(crate::demo::run(keep))
        }
    }
}

/// Loads the configuration and tells its warnings.
fn load(path: &std::path::Path) -> Result<Loaded> {
    let loaded = config::load(path)?;
    for warning in &loaded.warnings {
        eprintln!("warning: {warning}");
    }
    Ok(loaded)
}

/// Runs a future to its end on threads of its own.
fn block_on<T>(future: impl Future<Output = Result<T>>) -> Result<T> {
    let runtime = tokio::runtime::Builder::new_multi_thread().enable_all().build();
    runtime.map_err(|error| crate::exit::Failure::Run(format!("cannot start threads: {error}")))?.block_on(future)
}
