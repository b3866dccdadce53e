//! Fetches and registers schemas over HTTP, filling the shared [`SchemaCache`].
//!
//! An id that the registry does not know is a data error (the record can never be read); a registry that cannot be reached or
//! that refuses us is an environment error (everything waits until somebody repairs it). Nothing else is distinguished.

use std::collections::HashSet;
use std::error::Error as _;
use std::fmt;
use std::path::PathBuf;
use std::sync::Arc;
use std::time::Duration;

use dashmap::DashMap;
use schema_registry_converter::async_impl::schema_registry::{
    SrSettings, get_referenced_schema, get_schema_by_id, get_schema_by_subject_and_version, post_schema,
};
use schema_registry_converter::error::SRCError;
use schema_registry_converter::schema_registry_common::{RawError, RegisteredSchema, SchemaType, SuppliedSchema};
use topology::{Error, ErrorKind, Result, Stage};

use crate::cache::{SchemaCache, SchemaText};

/// Per request: a registry answers from memory, so that a longer silence means that it is down.
const DEFAULT_TIMEOUT: Duration = Duration::from_secs(10);

/// Tries of one call before it counts as failed; whoever called decides how often to call again.
const DEFAULT_ATTEMPTS: u32 = 3;

/// Wait before the second try; it doubles with each further one.
const DEFAULT_BACKOFF: Duration = Duration::from_millis(200);

/// Schemas that one schema may pull in through references.
const REFERENCES_MAX: usize = 256;

/// The registry's code for an id that it does not know.
const ID_UNKNOWN: u32 = 40_403;

/// The registry's codes for a subject, or a version of it, that it does not know.
const SUBJECT_UNKNOWN: [u32; 2] = [40_401, 40_402];

/// Who we are to the registry.
#[derive(Clone, Default)]
pub enum Credentials {
    /// Nobody.
    #[default]
    None,
    /// User and password (for Confluent Cloud: API key and secret).
    Basic {
        /// User name.
        user: String,
        /// Password.
        password: String,
    },
    /// A token.
    Bearer(String),
}

impl fmt::Debug for Credentials {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Credentials::None => "None",
            Credentials::Basic { .. } => "Basic(***)",
            Credentials::Bearer(_) => "Bearer(***)",
        })
    }
}

/// Where the registry is and how to talk to it.
#[derive(Clone, Debug)]
pub struct RegistryOptions {
    /// Base addresses, tried in order for each call.
    pub urls: Vec<String>,
    /// Who we are.
    pub credentials: Credentials,
    /// Longest wait for one answer.
    pub timeout: Duration,
    /// Tries of one call, at least 1.
    pub attempts: u32,
    /// Wait before the second try; it doubles.
    pub backoff: Duration,
    /// PEM file of a certificate authority to trust besides the system's.
    pub authority_file: Option<PathBuf>,
    /// PEM file of our certificate and its key, for servers that ask for one.
    pub identity_file: Option<PathBuf>,
}

impl RegistryOptions {
    /// The defaults for some addresses.
    pub fn new(urls: impl IntoIterator<Item = String>) -> RegistryOptions {
        RegistryOptions {
            urls: urls.into_iter().collect(),
            credentials: Credentials::None,
            timeout: DEFAULT_TIMEOUT,
            attempts: DEFAULT_ATTEMPTS,
            backoff: DEFAULT_BACKOFF,
            authority_file: None,
            identity_file: None,
        }
    }
}

/// A client of one registry. Clones share connections and cache.
#[derive(Clone)]
pub struct RegistryClient {
    settings: SrSettings,
    attempts: u32,
    backoff: Duration,
    cache: SchemaCache,
    registered: Arc<DashMap<(String, String), u32>>,
}

impl fmt::Debug for RegistryClient {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("RegistryClient").field("cached", &self.cache.len()).finish_non_exhaustive()
    }
}

impl RegistryClient {
    /// A client; nothing is sent yet.
    ///
    /// # Errors
    /// Configuration: no address, or a certificate file that cannot be used.
    pub fn new(options: &RegistryOptions) -> Result<RegistryClient> {
        let mut urls = options.urls.iter().map(|url| url.trim().trim_end_matches('/').to_owned());
        let first = urls
            .next()
            .filter(|url| !url.is_empty())
            .ok_or_else(|| configuration("no address of a schema registry; set kafka.registry"))?;
        let mut builder = SrSettings::new_builder(first);
        for url in urls {
            builder.add_url(url);
        }
        match &options.credentials {
            Credentials::None => {}
            Credentials::Basic { user, password } => {
                builder.set_basic_authorization(user, Some(password));
            }
            Credentials::Bearer(token) => {
                builder.set_token_authorization(token);
            }
        }
        builder.set_timeout(options.timeout);
        Ok(RegistryClient {
            settings: build(&mut builder, options)?,
            attempts: options.attempts.max(1),
            backoff: options.backoff,
            cache: SchemaCache::default(),
            registered: Arc::default(),
        })
    }

    /// The schemas fetched so far; decoders read from it.
    pub fn cache(&self) -> SchemaCache {
        self.cache.clone()
    }

    /// The schema of an id, from the cache or the registry; afterwards it is in the cache.
    ///
    /// # Errors
    /// Data for an id that the registry does not know or that is no Avro schema, environment when it cannot be asked.
    pub async fn fetch(&self, id: u32) -> Result<Arc<SchemaText>> {
        if let Some(found) = self.cache.get(&id) {
            return Ok(found.clone());
        }
        let place = || format!("schema id {id}");
        let registered = self.call(place, || get_schema_by_id(id, &self.settings)).await?;
        let text = Arc::new(self.resolve(registered, &place()).await?);
        self.cache.insert(id, text.clone());
        Ok(text)
    }

    /// The newest schema of a subject and its id; `None` when the registry does not know the subject.
    ///
    /// # Errors
    /// As for [`RegistryClient::fetch`].
    pub async fn latest(&self, subject: &str) -> Result<Option<(u32, Arc<SchemaText>)>> {
        let place = || format!("subject \"{subject}\"");
        let call = || get_schema_by_subject_and_version(&self.settings, subject, None);
        match self.attempt(call).await {
            Ok(registered) => {
                let id = registered.id;
                let text = Arc::new(self.resolve(registered, &place()).await?);
                self.cache.insert(id, text.clone());
                Ok(Some((id, text)))
            }
            Err(error) if code(&error).is_some_and(|code| SUBJECT_UNKNOWN.contains(&code)) => Ok(None),
            Err(error) => Err(classified(error, &place())),
        }
    }

    /// Registers a schema under a subject, or finds it there; its id. Repeating it is free.
    ///
    /// # Errors
    /// Schema when the registry refuses it as incompatible or invalid, environment when it cannot be asked.
    pub async fn register(&self, subject: &str, schema: &str) -> Result<u32> {
        let key = (subject.to_owned(), schema.to_owned());
        if let Some(id) = self.registered.get(&key) {
            return Ok(*id);
        }
        let supplied = || SuppliedSchema::new(None, SchemaType::Avro, schema.to_owned());
        let call = || post_schema(&self.settings, subject.to_owned(), supplied());
        let registered = self.call(|| format!("subject \"{subject}\""), call).await?;
        self.registered.insert(key, registered.id);
        self.cache.insert(registered.id, Arc::new(SchemaText::new(schema)));
        Ok(registered.id)
    }

    /// Fetches what a schema refers to, so that its text can be read alone.
    async fn resolve(&self, registered: RegisteredSchema, place: &str) -> Result<SchemaText> {
        if registered.schema_type != SchemaType::Avro {
            return Err(Error::data(
                Stage::Decode,
                "cannot use schema",
                format!("{place}: it is {:?}; only Avro and JSON without registry can be read", registered.schema_type),
            ));
        }
        let mut references = Vec::new();
        let mut seen = HashSet::new();
        // Depth first: a schema is pushed after all that it refers to.
        let mut open = vec![(registered.references.clone(), None::<String>)];
        while let Some((pending, _)) = open.last_mut() {
            let Some(next) = pending.pop() else {
                if let Some((_, Some(text))) = open.pop() {
                    references.push(text);
                }
                continue;
            };
            if !seen.insert((next.subject.clone(), next.version)) {
                continue;
            }
            if seen.len() > REFERENCES_MAX {
                return Err(Error::data(
                    Stage::Decode,
                    "cannot use schema",
                    format!("{place}: more than {REFERENCES_MAX} references"),
                ));
            }
            let referenced = self
                .call(
                    || format!("{place}, reference \"{}\"", next.name),
                    || get_referenced_schema(&self.settings, &next),
                )
                .await?;
            open.push((referenced.references, Some(referenced.schema)));
        }
        Ok(SchemaText { text: registered.schema, references })
    }

    async fn call<T, F: Future<Output = std::result::Result<T, SRCError>>>(
        &self,
        place: impl Fn() -> String,
        call: impl Fn() -> F,
    ) -> Result<T> {
        self.attempt(call).await.map_err(|error| classified(error, &place()))
    }

    /// Tries again what may work at the next try.
    async fn attempt<T, F: Future<Output = std::result::Result<T, SRCError>>>(
        &self,
        call: impl Fn() -> F,
    ) -> std::result::Result<T, SRCError> {
        let mut wait = self.backoff;
        for _ in 1..self.attempts {
            match call().await {
                Err(error) if kind(&error) == ErrorKind::Environment => {
                    tracing::debug!(error = %error.error, "schema registry call failed, trying again");
                    tokio::time::sleep(wait).await;
                    wait *= 2;
                }
                answer => return answer,
            }
        }
        call().await
    }
}

fn configuration(detail: impl Into<String>) -> Error {
    Error::new(ErrorKind::Configuration, Stage::Configure, "cannot use schema registry", detail)
}

#[cfg(feature = "tls")]
fn build(
    builder: &mut schema_registry_converter::async_impl::schema_registry::SrSettingsBuilder,
    options: &RegistryOptions,
) -> Result<SrSettings> {
    let read = |path: &PathBuf| {
        std::fs::read(path).map_err(|error| {
            configuration(format!("certificate file {} cannot be read", path.display())).with_source(error)
        })
    };
    let mut client = reqwest::Client::builder();
    if let Some(path) = &options.authority_file {
        let certificates = reqwest::Certificate::from_pem_bundle(&read(path)?).map_err(|error| {
            configuration(format!("{} holds no certificate in PEM form", path.display())).with_source(error)
        })?;
        client = client.tls_certs_merge(certificates);
    }
    if let Some(path) = &options.identity_file {
        let identity = reqwest::Identity::from_pem(&read(path)?).map_err(|error| {
            configuration(format!("{} holds no certificate with key in PEM form", path.display())).with_source(error)
        })?;
        client = client.identity(identity);
    }
    builder.build_with(client).map_err(|error| configuration("the HTTP client cannot be built").with_source(error))
}

#[cfg(not(feature = "tls"))]
fn build(
    builder: &mut schema_registry_converter::async_impl::schema_registry::SrSettingsBuilder,
    options: &RegistryOptions,
) -> Result<SrSettings> {
    if options.authority_file.is_some() || options.identity_file.is_some() {
        return Err(configuration("certificates are set, but this binary was built without TLS"));
    }
    builder.build().map_err(|error| configuration("the HTTP client cannot be built").with_source(error))
}

/// The registry's own error code.
fn code(error: &SRCError) -> Option<u32> {
    error.source().and_then(|source| source.downcast_ref::<RawError>()).map(|raw| raw.error_code)
}

fn kind(error: &SRCError) -> ErrorKind {
    match code(error) {
        Some(ID_UNKNOWN) => ErrorKind::Data,
        // 409 and 422 (and their five-digit refinements): the schema itself was refused.
        Some(409 | 422 | 40_900..=40_999 | 42_200..=42_299) => ErrorKind::Schema,
        _ if SUBJECT_UNKNOWN.iter().any(|unknown| code(error) == Some(*unknown)) => ErrorKind::Schema,
        _ => ErrorKind::Environment,
    }
}

fn classified(error: SRCError, place: &str) -> Error {
    let (kind, description, advice) = match kind(&error) {
        ErrorKind::Data => (
            ErrorKind::Data,
            "unknown schema",
            "the registry does not know it; was it deleted, or is this another registry?",
        ),
        ErrorKind::Schema => {
            (ErrorKind::Schema, "schema refused", "the registry refuses it; see its compatibility level")
        }
        _ => (ErrorKind::Environment, "cannot ask schema registry", "is it up, and are address and credentials right?"),
    };
    let code = code(&error).filter(|code| *code != 0);
    let built = Error::new(kind, Stage::Decode, description, format!("{place}: {advice}")).with_source(error);
    match code {
        Some(code) => built.with_code(code.to_string()),
        None => built,
    }
}
