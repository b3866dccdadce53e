//! Fetches schemas in the background for a thread that polls and must not wait.
//!
//! Each id has at most one call under way; all who ask meanwhile get its outcome.

use std::collections::HashMap;
use std::sync::{Arc, Mutex};

use tokio::runtime::Handle;
use tokio::sync::oneshot;
use topology::{Error, Result};

use super::RegistryClient;

/// The answer to one request: arrives when the schema is in the cache, or when it could not be fetched. A thread polls it with
/// `try_recv` or waits with `blocking_recv`; a task awaits it. It fails only when the runtime was shut down.
pub type SchemaReply = oneshot::Receiver<Result<()>>;

type Waiting = Arc<Mutex<HashMap<u32, Vec<oneshot::Sender<Result<()>>>>>>;

/// Starts fetches on a runtime. Clones share what is under way.
#[derive(Clone, Debug)]
pub struct SchemaFetcher {
    client: RegistryClient,
    runtime: Handle,
    waiting: Waiting,
}

impl SchemaFetcher {
    /// Fetches with `client` on `runtime`.
    pub fn new(client: RegistryClient, runtime: Handle) -> SchemaFetcher {
        SchemaFetcher { client, runtime, waiting: Waiting::default() }
    }

    /// The client that it uses.
    pub fn client(&self) -> &RegistryClient {
        &self.client
    }

    /// Asks for a schema. May be called from any thread and repeated; it never blocks. Dropping the reply does not stop the fetch.
    pub fn request(&self, id: u32) -> SchemaReply {
        let (sender, reply) = oneshot::channel();
        let is_first = {
            let mut waiting = self.waiting.lock().expect("nothing panics while it holds this lock");
            let senders = waiting.entry(id).or_default();
            senders.push(sender);
            senders.len() == 1
        };
        if is_first {
            let (client, waiting) = (self.client.clone(), self.waiting.clone());
            // Not joined: it ends by itself within the client's timeouts, and the runtime aborts it at shutdown.
            self.runtime.spawn(async move {
                let outcome = client.fetch(id).await;
                let senders = waiting.lock().expect("nothing panics while it holds this lock").remove(&id);
                for sender in senders.unwrap_or_default() {
                    let answer = match &outcome {
                        Ok(_) => Ok(()),
                        Err(error) => Err(copy(error)),
                    };
                    // The receiver may be gone; nobody needs the answer then.
                    let _ = sender.send(answer);
                }
            });
        }
        reply
    }
}

/// The same error for another waiter; the library's part is only text in it.
fn copy(error: &Error) -> Error {
    Error {
        kind: error.kind,
        stage: error.stage,
        description: error.description,
        detail: error.detail.clone(),
        code: error.code.clone(),
        source: error.source.as_ref().map(|source| source.to_string().into()),
    }
}
