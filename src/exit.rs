//! How a command ends: 0 done, 1 error while running, 2 wrong configuration or command line, 3 drain timed out.

use std::process::ExitCode;

use crate::config::Problems;

/// Why a command did not succeed.
#[derive(Debug)]
pub(crate) enum Failure {
    /// Something did not work, or a check found what would stop `run`. Exit code 1.
    Run(String),
    /// The configuration is wrong. Exit code 2.
    Configuration(Problems),
    /// The deadline passed before every lane had finished what it held. Exit code 3.
    DrainTimeout(String),
}

/// Shorthand of all commands.
pub(crate) type Result<T> = std::result::Result<T, Failure>;

impl From<Problems> for Failure {
    fn from(problems: Problems) -> Failure {
        Failure::Configuration(problems)
    }
}

impl From<topology::Error> for Failure {
    fn from(error: topology::Error) -> Failure {
        match error.kind {
            topology::ErrorKind::Configuration => Failure::Configuration(Problems::one("", configuration(&error))),
            _ => Failure::Run(with_causes(&error)),
        }
    }
}

/// A configuration error in the form of the others: the detail begins with the path.
pub(crate) fn configuration(error: &topology::Error) -> String {
    match std::error::Error::source(error) {
        Some(cause) => format!("{}: {}", error.detail, with_causes(cause)),
        None => error.detail.clone(),
    }
}

/// An error with everything that stands behind it, on one line.
pub(crate) fn with_causes(error: &dyn std::error::Error) -> String {
    let mut text = error.to_string();
    let mut cause = error.source();
    while let Some(inner) = cause {
        let inner_text = inner.to_string();
        if !text.contains(&inner_text) {
            text.push_str(": ");
            text.push_str(&inner_text);
        }
        cause = inner.source();
    }
    text
}

/// Tells the user and gives the code.
pub(crate) fn code_of(result: Result<()>) -> ExitCode {
    match result {
        Ok(()) => ExitCode::SUCCESS,
        Err(Failure::Run(message)) => {
            eprintln!("error: {message}");
            ExitCode::from(1)
        }
        Err(Failure::Configuration(problems)) => {
            eprintln!("{problems}");
            ExitCode::from(2)
        }
        Err(Failure::DrainTimeout(message)) => {
            eprintln!("error: {message}");
            ExitCode::from(3)
        }
    }
}
