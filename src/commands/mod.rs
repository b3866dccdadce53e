//! One file per command.

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
