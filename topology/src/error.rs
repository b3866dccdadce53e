//! One error type for the whole engine. [`crate::policy::action`] alone maps a kind to what happens next.

use std::error::Error as StdError;
use std::fmt;

/// What went wrong, closed. The classes of the design: transient, environment, dependency, schema, data, fenced, bug; and configuration.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum ErrorKind {
    /// May work at the next try: deadlock, serialisation failure, timeout, connection lost.
    Transient,
    /// Works again when somebody repairs something outside: server down, disk full, missing privilege, registry down, unknown code.
    Environment,
    /// Waits for another row: foreign key or unique violation, row missing for a partial update.
    Dependency,
    /// A table or column is not there or has another shape.
    Schema,
    /// This record can never be written: bad bytes, overflow, NOT NULL, CHECK, a value outside the map.
    Data,
    /// Epoch, owner or group membership lost.
    Fenced,
    /// The user's configuration is wrong.
    Configuration,
    /// An invariant of ours is broken.
    Bug,
}

impl ErrorKind {
    /// Every class, in the order of the documentation.
    pub const ALL: [ErrorKind; 8] = [
        ErrorKind::Transient,
        ErrorKind::Environment,
        ErrorKind::Dependency,
        ErrorKind::Schema,
        ErrorKind::Data,
        ErrorKind::Fenced,
        ErrorKind::Configuration,
        ErrorKind::Bug,
    ];

    /// Lower-case name for metrics, logs and the held table.
    pub fn name(self) -> &'static str {
        match self {
            ErrorKind::Transient => "transient",
            ErrorKind::Environment => "environment",
            ErrorKind::Dependency => "dependency",
            ErrorKind::Schema => "schema",
            ErrorKind::Data => "data",
            ErrorKind::Fenced => "fenced",
            ErrorKind::Configuration => "configuration",
            ErrorKind::Bug => "bug",
        }
    }
}

/// Where in the topology it happened.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
#[allow(missing_docs)]
pub enum Stage {
    Configure,
    Consume,
    Decode,
    Dedupe,
    Filter,
    Map,
    Process,
    Claim,
    Write,
    Commit,
    Publish,
    Capture,
}

impl Stage {
    /// Lower-case name for metrics, logs and the held table.
    pub fn name(self) -> &'static str {
        match self {
            Stage::Configure => "configure",
            Stage::Consume => "consume",
            Stage::Decode => "decode",
            Stage::Dedupe => "dedupe",
            Stage::Filter => "filter",
            Stage::Map => "map",
            Stage::Process => "process",
            Stage::Claim => "claim",
            Stage::Write => "write",
            Stage::Commit => "commit",
            Stage::Publish => "publish",
            Stage::Capture => "capture",
        }
    }
}

/// An error with its kind and place. Row values, keys and secrets never stand in it.
#[derive(Debug)]
pub struct Error {
    /// Decides what happens next.
    pub kind: ErrorKind,
    /// Where it happened.
    pub stage: Stage,
    /// What failed, static and greppable: "cannot write batch".
    pub description: &'static str,
    /// For what, and what to do: table, partition, offset, column, advice. Ours, never text of a row.
    pub detail: String,
    /// The server's own code where it gave one: SQLSTATE or errno.
    pub code: Option<String>,
    /// What the library said.
    pub source: Option<Box<dyn StdError + Send + Sync>>,
}

impl Error {
    /// A new error without code and source.
    pub fn new(kind: ErrorKind, stage: Stage, description: &'static str, detail: impl Into<String>) -> Error {
        Error { kind, stage, description, detail: detail.into(), code: None, source: None }
    }

    /// A record that can never be applied.
    pub fn data(stage: Stage, description: &'static str, detail: impl Into<String>) -> Error {
        Error::new(ErrorKind::Data, stage, description, detail)
    }

    /// Adds the server's code.
    pub fn with_code(mut self, code: impl Into<String>) -> Error {
        self.code = Some(code.into());
        self
    }

    /// Adds what the library said.
    pub fn with_source(mut self, source: impl StdError + Send + Sync + 'static) -> Error {
        self.source = Some(Box::new(source));
        self
    }
}

impl fmt::Display for Error {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}: {}", self.description, self.detail)?;
        if let Some(code) = &self.code {
            write!(f, " [{code}]")?;
        }
        Ok(())
    }
}

impl StdError for Error {
    fn source(&self) -> Option<&(dyn StdError + 'static)> {
        self.source.as_deref().map(|source| source as &(dyn StdError + 'static))
    }
}

/// Shorthand used everywhere.
pub type Result<T> = std::result::Result<T, Error>;
