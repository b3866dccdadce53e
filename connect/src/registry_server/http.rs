//! The registry's HTTP face: routes, bodies and error documents as Confluent's clients expect them.

use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

use axum::extract::{Path, State};
use axum::http::{StatusCode, header};
use axum::response::{IntoResponse, Response};
use axum::routing::{get, post};
use axum::{Json, Router};
use serde::Deserialize;
use serde_json::json;

use super::store::{RegistryError, SchemaStore, Version};

type Shared = Arc<Mutex<SchemaStore>>;

/// A request that carries a schema. Other members (references, metadata) are of no use here and ignored.
#[derive(Deserialize)]
struct SchemaRequest {
    schema: String,
}

/// The routes over an empty store.
pub(super) fn router() -> Router {
    Router::new()
        .route("/", get(|| async { Json(json!({})) }))
        .route("/schemas/types", get(|| async { Json(json!(["AVRO"])) }))
        .route("/schemas/ids/{id}", get(schema_by_id))
        .route("/subjects", get(subjects))
        .route("/subjects/{subject}", post(look_up))
        .route("/subjects/{subject}/versions", get(versions).post(register))
        .route("/subjects/{subject}/versions/{version}", get(version))
        .with_state(Shared::default())
}

async fn register(
    State(store): State<Shared>,
    Path(subject): Path<String>,
    body: String,
) -> Result<Response, RegistryError> {
    let request = parse(&body)?;
    let version = lock(&store).register(&subject, &request.schema)?;
    Ok(answer(json!({ "id": version.id })))
}

async fn look_up(
    State(store): State<Shared>,
    Path(subject): Path<String>,
    body: String,
) -> Result<Response, RegistryError> {
    let request = parse(&body)?;
    let found = lock(&store).lookup(&subject, &request.schema)?;
    Ok(version_document(&found))
}

async fn schema_by_id(State(store): State<Shared>, Path(id): Path<String>) -> Result<Response, RegistryError> {
    let id = id.parse().map_err(|_| RegistryError::SchemaNotFound)?;
    let store = lock(&store);
    Ok(answer(json!({ "schema": store.schema(id)? })))
}

async fn subjects(State(store): State<Shared>) -> Response {
    answer(json!(lock(&store).subjects()))
}

async fn versions(State(store): State<Shared>, Path(subject): Path<String>) -> Result<Response, RegistryError> {
    Ok(answer(json!(lock(&store).version_numbers(&subject)?)))
}

async fn version(
    State(store): State<Shared>,
    Path((subject, wanted)): Path<(String, String)>,
) -> Result<Response, RegistryError> {
    let found = lock(&store).named_version(&subject, &wanted)?;
    Ok(version_document(&found))
}

fn version_document(version: &Version) -> Response {
    answer(json!({
        "subject": version.subject,
        "id": version.id,
        "version": version.version,
        "schema": version.schema,
    }))
}

// Parsed by hand, not by axum's `Json`: clients send Confluent's own content type, which that refuses.
fn parse(body: &str) -> Result<SchemaRequest, RegistryError> {
    serde_json::from_str(body).map_err(|_| RegistryError::InvalidSchema)
}

fn answer(document: serde_json::Value) -> Response {
    ([(header::CONTENT_TYPE, "application/vnd.schemaregistry.v1+json")], document.to_string()).into_response()
}

// No invariant spans two fields across a panic, so a poisoned lock is as good as any.
fn lock(store: &Shared) -> MutexGuard<'_, SchemaStore> {
    store.lock().unwrap_or_else(PoisonError::into_inner)
}

impl IntoResponse for RegistryError {
    fn into_response(self) -> Response {
        let status = u16::try_from(self.code() / 100).ok().and_then(|status| StatusCode::from_u16(status).ok());
        let document = json!({ "error_code": self.code(), "message": self.message() });
        (status.unwrap_or(StatusCode::INTERNAL_SERVER_ERROR), answer(document)).into_response()
    }
}

#[cfg(test)]
mod tests {
    use tokio::io::{AsyncReadExt, AsyncWriteExt};
    use tokio::net::TcpStream;

    use crate::registry_server::RegistryServer;

    async fn call(server: &RegistryServer, method: &str, path: &str, body: &str) -> (u16, serde_json::Value) {
        let address = server.url().replace("http://", "");
        let mut stream = TcpStream::connect(&address).await.unwrap();
        let request = format!(
            "{method} {path} HTTP/1.1\r\nhost: {address}\r\nconnection: close\r\n\
             content-type: application/vnd.schemaregistry.v1+json\r\ncontent-length: {}\r\n\r\n{body}",
            body.len()
        );
        stream.write_all(request.as_bytes()).await.unwrap();
        let mut reply = String::new();
        stream.read_to_string(&mut reply).await.unwrap();
        let (head, body) = reply.split_once("\r\n\r\n").unwrap();
        let status = head.split(' ').nth(1).unwrap().parse().unwrap();
        (status, serde_json::from_str(body).unwrap())
    }

    #[tokio::test]
    async fn a_registered_schema_is_found_by_id_subject_and_text() {
        let server = RegistryServer::start().await.unwrap();
        let body = r#"{"schema": "{\"type\":\"string\"}"}"#;
        let (status, reply) = call(&server, "POST", "/subjects/shop.users-key/versions", body).await;
        assert_eq!((status, reply["id"].as_u64()), (200, Some(1)));
        let (_, reply) = call(&server, "GET", "/schemas/ids/1", "").await;
        assert_eq!(reply["schema"], "{\"type\":\"string\"}");
        let (_, reply) = call(&server, "GET", "/subjects/shop.users-key/versions/latest", "").await;
        assert_eq!((reply["version"].as_u64(), reply["id"].as_u64()), (Some(1), Some(1)));
        let (_, reply) = call(&server, "POST", "/subjects/shop.users-key", body).await;
        assert_eq!(reply["subject"], "shop.users-key");
        let (_, reply) = call(&server, "GET", "/subjects", "").await;
        assert_eq!(reply, serde_json::json!(["shop.users-key"]));
    }

    #[tokio::test]
    async fn an_unknown_schema_answers_404_with_40403() {
        let server = RegistryServer::start().await.unwrap();
        let (status, reply) = call(&server, "GET", "/schemas/ids/7", "").await;
        assert_eq!((status, reply["error_code"].as_u64()), (404, Some(40403)));
        let (status, reply) = call(&server, "POST", "/subjects/none", r#"{"schema":"\"int\""}"#).await;
        assert_eq!((status, reply["error_code"].as_u64()), (404, Some(40401)));
        let (status, reply) = call(&server, "POST", "/subjects/none/versions", "not json").await;
        assert_eq!((status, reply["error_code"].as_u64()), (422, Some(42201)));
    }
}
