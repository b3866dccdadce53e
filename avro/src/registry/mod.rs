//! The schema registry: a client that says what kind of failure a failure is, and a fetcher for threads that cannot wait.

mod client;
mod fetcher;

pub use client::{Credentials, RegistryClient, RegistryOptions};
pub use fetcher::{SchemaFetcher, SchemaReply};
