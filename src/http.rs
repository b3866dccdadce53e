//! The worker's HTTP interface: `/metrics`, `/live`, `/ready`, `/api/status`. Reads only, and only from memory, so that it answers
//! whatever the rest does.

use std::net::SocketAddr;

use axum::Router;
use axum::extract::State;
use axum::http::{StatusCode, header};
use axum::response::{IntoResponse, Response};
use axum::routing::get;
use tokio::net::TcpListener;

use crate::metrics::{Metrics, StatusBoard};

/// What the handlers read.
#[derive(Clone)]
struct Shown {
    metrics: Metrics,
    board: StatusBoard,
}

/// A bound listener; serving starts with [`Server::serve`].
pub(crate) struct Server {
    listener: TcpListener,
    shown: Shown,
}

impl Server {
    /// Takes the address.
    ///
    /// # Errors
    /// The address is taken or not ours.
    pub(crate) async fn bind(address: SocketAddr, metrics: Metrics, board: StatusBoard) -> std::io::Result<Server> {
        let listener = TcpListener::bind(address).await?;
        Ok(Server { listener, shown: Shown { metrics, board } })
    }

    /// The address, with the port that was taken for port 0.
    pub(crate) fn address(&self) -> std::io::Result<SocketAddr> {
        self.listener.local_addr()
    }

    /// Answers until the task is dropped.
    pub(crate) async fn serve(self) -> std::io::Result<()> {
        let routes = Router::new()
            .route("/metrics", get(metrics))
            .route("/live", get(live))
            .route("/ready", get(ready))
            .route("/health", get(ready))
            .route("/api/status", get(status))
            .with_state(self.shown);
        axum::serve(self.listener, routes).await
    }
}

async fn metrics(State(shown): State<Shown>) -> Response {
    ([(header::CONTENT_TYPE, "text/plain; version=0.0.4; charset=utf-8")], shown.metrics.render()).into_response()
}

/// 503 only for what a restart can help.
async fn live(State(shown): State<Shown>) -> Response {
    let status = shown.board.status();
    answer(status.health != "failed", &status)
}

async fn ready(State(shown): State<Shown>) -> Response {
    let status = shown.board.status();
    answer(status.health == "ok", &status)
}

async fn status(State(shown): State<Shown>) -> Response {
    axum::Json(shown.board.status()).into_response()
}

fn answer(good: bool, status: &crate::metrics::Status) -> Response {
    let code = if good { StatusCode::OK } else { StatusCode::SERVICE_UNAVAILABLE };
    let body = serde_json::json!({ "health": status.health, "reasons": status.reasons });
    (code, axum::Json(body)).into_response()
}

#[cfg(test)]
mod tests {
    use topology::observe::{LaneObserver, LaneState};
    use topology::{Error, ErrorKind, Stage};

    use super::*;
    use crate::metrics::LaneMetrics;
    use tokio::io::{AsyncReadExt, AsyncWriteExt};

    async fn get(address: SocketAddr, path: &str) -> String {
        let mut stream = tokio::net::TcpStream::connect(address).await.unwrap();
        let request = format!("GET {path} HTTP/1.1\r\nhost: x\r\nconnection: close\r\n\r\n");
        stream.write_all(request.as_bytes()).await.unwrap();
        let mut reply = String::new();
        stream.read_to_string(&mut reply).await.unwrap();
        reply
    }

    #[tokio::test]
    async fn each_state_of_a_lane_changes_the_answers() {
        let (metrics, board) = (Metrics::new(), StatusBoard::new("blog"));
        let server = Server::bind("127.0.0.1:0".parse().unwrap(), metrics.clone(), board.clone()).await.unwrap();
        let address = server.address().unwrap();
        let serving = tokio::spawn(server.serve());
        let lane = LaneMetrics::new(&metrics, &board, "a→b", &["users".to_owned()]);
        let reason = Error::new(ErrorKind::Environment, Stage::Write, "cannot connect", "site b");

        lane.lane_state(LaneState::Running, None);
        assert!(get(address, "/ready").await.starts_with("HTTP/1.1 200"));
        lane.lane_state(LaneState::Paused, Some(&reason));
        let reply = get(address, "/ready").await;
        assert!(reply.starts_with("HTTP/1.1 503") && reply.contains("cannot connect: site b"), "{reply}");
        assert!(get(address, "/live").await.starts_with("HTTP/1.1 200"), "a paused lane lives");
        lane.lane_state(LaneState::Stopped, Some(&reason));
        assert!(get(address, "/live").await.starts_with("HTTP/1.1 503"));
        assert!(get(address, "/api/status").await.contains(r#""state":"stopped""#));
        assert!(get(address, "/metrics").await.contains("tidelock_lane_state"));
        serving.abort();
    }
}
