//! Asks another worker for its status. Plain HTTP over one connection: the interface is local, and a client library would be the
//! larger part of the demo's build.

use std::time::Duration;

use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::TcpStream;

use crate::metrics::Status;

const PATIENCE: Duration = Duration::from_secs(5);
/// Far above any real status; bounds what a wrong address can make us read.
const REPLY_BYTES_MAX: u64 = 64 * 1024 * 1024;

/// The status of the worker at `http://host:port`.
///
/// # Errors
/// A sentence for the user.
pub(crate) async fn status(url: &str) -> Result<Status, String> {
    match tokio::time::timeout(PATIENCE, ask(url)).await {
        Ok(answer) => answer.map_err(|error| format!("cannot ask the worker at {url}: {error}")),
        Err(_) => Err(format!("the worker at {url} does not answer within {} s", PATIENCE.as_secs())),
    }
}

async fn ask(url: &str) -> Result<Status, String> {
    let host = url.strip_prefix("http://").ok_or("the address must begin with http://")?.trim_end_matches('/');
    let mut stream = TcpStream::connect(host).await.map_err(|error| error.to_string())?;
    // HTTP/1.0: the reply ends with the connection and is never chunked.
    let request = format!("GET /api/status HTTP/1.0\r\nHost: {host}\r\n\r\n");
    stream.write_all(request.as_bytes()).await.map_err(|error| error.to_string())?;
    let mut reply = Vec::new();
    stream.take(REPLY_BYTES_MAX).read_to_end(&mut reply).await.map_err(|error| error.to_string())?;
    let end = reply.windows(4).position(|window| window == b"\r\n\r\n").ok_or("no HTTP reply")?;
    serde_json::from_slice(&reply[end + 4..]).map_err(|error| format!("no status of a worker: {error}"))
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::http::Server;
    use crate::metrics::{Metrics, StatusBoard};

    #[tokio::test]
    async fn a_worker_tells_its_status_and_a_silent_port_an_error() {
        let (metrics, board) = (Metrics::new(), StatusBoard::new("blog"));
        let server = Server::bind("127.0.0.1:0".parse().unwrap(), metrics, board).await.unwrap();
        let url = format!("http://{}", server.address().unwrap());
        let serving = tokio::spawn(server.serve());
        assert_eq!(status(&url).await.unwrap().pipeline, "blog");
        serving.abort();
        assert!(status("http://127.0.0.1:1").await.unwrap_err().contains("cannot ask the worker"));
        assert!(status("127.0.0.1:1").await.unwrap_err().contains("http://"));
    }
}
