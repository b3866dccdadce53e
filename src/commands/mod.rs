//! One file per command.

#[cfg(feature = "rest")]
pub(crate) mod connectors;
mod describe;
pub(crate) mod init;

use crate::cli::{Cli, Command, ConfigAction};
use crate::config::{self, Loaded};
use crate::exit::Result;

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
        #[cfg(feature = "rest")]
        Command::Connectors { url, action } => connectors::run(&url, action),
        _ => Err(crate::exit::Failure::Run("this command is not in this build".into())),
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
