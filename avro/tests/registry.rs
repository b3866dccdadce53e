//! The registry client against a small registry of our own on a local socket.

use std::collections::HashMap;
use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::time::Duration;

use tidelock_avro::{Credentials, RegistryClient, RegistryOptions, SchemaFetcher};
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::TcpListener;
use topology::ErrorKind;

const SCHEMA: &str = r#"{\"type\":\"record\",\"name\":\"R\",\"fields\":[]}"#;

/// Answers by "METHOD path"; counts calls and remembers the last request.
struct Registry {
    url: String,
    calls: Arc<AtomicUsize>,
    last: Arc<std::sync::Mutex<String>>,
}

async fn registry(answers: &[(&str, u16, String)]) -> Registry {
    let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
    let url = format!("http://{}", listener.local_addr().unwrap());
    let answers: HashMap<String, (u16, String)> =
        answers.iter().map(|(path, status, body)| ((*path).to_owned(), (*status, body.clone()))).collect();
    let (calls, last) = (Arc::new(AtomicUsize::new(0)), Arc::new(std::sync::Mutex::new(String::new())));
    let registry = Registry { url, calls: calls.clone(), last: last.clone() };
    tokio::spawn(async move {
        while let Ok((mut stream, _)) = listener.accept().await {
            let mut request = Vec::new();
            let mut buffer = [0; 4096];
            while !request.windows(4).any(|end| end == b"\r\n\r\n") {
                match stream.read(&mut buffer).await {
                    Ok(read) if read > 0 => request.extend_from_slice(&buffer[..read]),
                    _ => break,
                }
            }
            let request = String::from_utf8_lossy(&request).into_owned();
            let path: Vec<&str> = request.split(' ').take(2).collect();
            let path = path.join(" ").split('?').next().unwrap().to_owned();
            *last.lock().unwrap() = request;
            calls.fetch_add(1, Ordering::SeqCst);
            let (status, body) = answers.get(&path).cloned().unwrap_or((500, String::new()));
            let answer = format!(
                "HTTP/1.1 {status} X\r\nContent-Type: application/json\r\nContent-Length: {}\r\nConnection: close\r\n\r\n{body}",
                body.len()
            );
            let _ = stream.write_all(answer.as_bytes()).await;
        }
    });
    registry
}

fn options(url: &str) -> RegistryOptions {
    RegistryOptions { backoff: Duration::from_millis(1), ..RegistryOptions::new([url.to_owned()]) }
}

fn client(url: &str) -> RegistryClient {
    RegistryClient::new(&options(url)).unwrap()
}

fn schema_answer() -> String {
    format!("{{\"schema\":\"{SCHEMA}\"}}")
}

#[tokio::test]
async fn a_schema_is_fetched_once_and_shared_with_decoders() {
    let registry = registry(&[("GET /schemas/ids/7", 200, schema_answer())]).await;
    let client = client(&format!("{}/", registry.url));
    let text = client.fetch(7).await.unwrap();
    assert_eq!(text.text, r#"{"type":"record","name":"R","fields":[]}"#);
    client.fetch(7).await.unwrap();
    assert_eq!(registry.calls.load(Ordering::SeqCst), 1);
    assert!(client.cache().contains_key(&7));
}

#[tokio::test]
async fn an_unknown_id_is_a_data_error_and_asked_once() {
    let body = r#"{"error_code":40403,"message":"not there"}"#.to_owned();
    let registry = registry(&[("GET /schemas/ids/8", 404, body)]).await;
    let error = client(&registry.url).fetch(8).await.unwrap_err();
    assert_eq!(error.kind, ErrorKind::Data);
    assert!(error.to_string().contains("schema id 8"), "{error}");
    assert_eq!(registry.calls.load(Ordering::SeqCst), 1);
}

#[tokio::test]
async fn a_failing_registry_is_asked_again_and_then_is_the_environments_fault() {
    let registry = registry(&[("GET /schemas/ids/9", 503, "{}".to_owned())]).await;
    let error = client(&registry.url).fetch(9).await.unwrap_err();
    assert_eq!(error.kind, ErrorKind::Environment);
    assert_eq!(registry.calls.load(Ordering::SeqCst), 3);
}

#[tokio::test]
async fn a_proxy_that_answers_404_without_code_is_no_proof_that_the_id_is_unknown() {
    let registry = registry(&[("GET /schemas/ids/9", 404, "<html>".to_owned())]).await;
    assert_eq!(client(&registry.url).fetch(9).await.unwrap_err().kind, ErrorKind::Environment);
}

#[tokio::test]
async fn a_second_address_serves_when_the_first_is_down() {
    let registry = registry(&[("GET /schemas/ids/7", 200, schema_answer())]).await;
    let mut options = options("http://127.0.0.1:1");
    options.urls.push(registry.url.clone());
    RegistryClient::new(&options).unwrap().fetch(7).await.unwrap();
}

#[tokio::test]
async fn references_come_before_the_schema_that_uses_them() {
    let with = |schema: &str, references: &str| {
        format!("{{\"id\":1,\"subject\":\"s\",\"version\":1,\"schema\":\"{schema}\",\"references\":[{references}]}}")
    };
    let reference = |name: &str| format!("{{\"name\":\"{name}\",\"subject\":\"{name}\",\"version\":1}}");
    let registry = registry(&[
        ("GET /schemas/ids/1", 200, with("top", &format!("{},{}", reference("a"), reference("b")))),
        ("GET /subjects/a/versions/1", 200, with("a", &reference("b"))),
        ("GET /subjects/b/versions/1", 200, with("b", "")),
    ])
    .await;
    let text = client(&registry.url).fetch(1).await.unwrap();
    assert_eq!(text.references, ["b", "a"]);
}

#[tokio::test]
async fn registering_sends_credentials_and_remembers_the_id() {
    let registry = registry(&[("POST /subjects/t-value/versions", 200, "{\"id\":3}".to_owned())]).await;
    let mut options = options(&registry.url);
    options.credentials = Credentials::Basic { user: "u".to_owned(), password: "p".to_owned() };
    assert!(!format!("{options:?}").contains("\"p\""));
    let client = RegistryClient::new(&options).unwrap();
    assert_eq!(client.register("t-value", "\"string\"").await.unwrap(), 3);
    assert_eq!(client.register("t-value", "\"string\"").await.unwrap(), 3);
    assert_eq!(registry.calls.load(Ordering::SeqCst), 1);
    assert!(registry.last.lock().unwrap().to_ascii_lowercase().contains("authorization: basic dtpw"));
    assert_eq!(client.cache().get(&3).unwrap().text, "\"string\"");
}

#[tokio::test]
async fn a_refused_schema_is_a_schema_error() {
    let body = r#"{"error_code":409,"message":"incompatible"}"#.to_owned();
    let registry = registry(&[("POST /subjects/t-value/versions", 409, body)]).await;
    let error = client(&registry.url).register("t-value", "\"string\"").await.unwrap_err();
    assert_eq!(error.kind, ErrorKind::Schema);
}

#[tokio::test]
async fn an_unknown_subject_has_no_latest_schema() {
    let body = r#"{"error_code":40401,"message":"no"}"#.to_owned();
    let registry = registry(&[("GET /subjects/t-value/versions/latest", 404, body)]).await;
    assert!(client(&registry.url).latest("t-value").await.unwrap().is_none());
}

#[test]
fn a_thread_without_runtime_requests_and_polls() {
    let runtime = tokio::runtime::Builder::new_multi_thread().worker_threads(1).enable_all().build().unwrap();
    let registry = runtime.block_on(registry(&[("GET /schemas/ids/7", 200, schema_answer())]));
    let client = client(&registry.url);
    let fetcher = SchemaFetcher::new(client.clone(), runtime.handle().clone());
    let replies = [fetcher.request(7), fetcher.request(7)];
    for reply in replies {
        reply.blocking_recv().unwrap().unwrap();
    }
    assert!(client.cache().contains_key(&7));
    let reply = fetcher.request(8);
    assert_eq!(reply.blocking_recv().unwrap().unwrap_err().kind, ErrorKind::Environment);
}

#[test]
fn no_address_is_a_configuration_error() {
    assert_eq!(RegistryClient::new(&RegistryOptions::new([])).unwrap_err().kind, ErrorKind::Configuration);
}
