//! A schema registry in this process, with the part of Confluent's API that registering and fetching Avro schemas needs.
//!
//! For the demo and for hermetic tests: it keeps everything in memory, checks no compatibility and knows no authentication,
//! so nobody should run it in production. The same schema text gets the same id under every subject, as Confluent's does.

mod http;
mod store;

use std::net::SocketAddr;

use tokio::net::TcpListener;
use tokio::task::JoinHandle;

pub use store::{RegistryError, SchemaStore, Version};

/// A running registry; it stops when this is dropped.
#[derive(Debug)]
pub struct RegistryServer {
    address: SocketAddr,
    server: JoinHandle<()>,
}

impl RegistryServer {
    /// Starts a registry on a free port of the loopback interface.
    ///
    /// # Errors
    /// When no port can be bound.
    pub async fn start() -> std::io::Result<RegistryServer> {
        let listener = TcpListener::bind("127.0.0.1:0").await?;
        let address = listener.local_addr()?;
        let server = tokio::spawn(async move {
            if let Err(error) = axum::serve(listener, http::router()).await {
                tracing::error!(%error, "the in-process schema registry stopped");
            }
        });
        Ok(RegistryServer { address, server })
    }

    /// Address for `kafka.registry`: `http://127.0.0.1:<port>`.
    pub fn url(&self) -> String {
        format!("http://{}", self.address)
    }
}

impl Drop for RegistryServer {
    fn drop(&mut self) {
        self.server.abort();
    }
}
