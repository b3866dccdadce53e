//! `tidelock connectors`: Debezium connectors in a Kafka Connect cluster, from a folder of JSON files. Applying is idempotent; nothing
//! is ever deleted, for a deleted connector loses its place in the log.

use std::fmt::Write;
use std::path::{Path, PathBuf};
use std::time::Duration;

use serde::Deserialize;
use serde_json::{Map, Value};

use crate::cli::Connectors;
use crate::config::expand;
use crate::exit::{Failure, Result, with_causes};

/// Connect answers 409 while it rebalances, and 500 while it starts; both pass by themselves.
const TRIES: usize = 20;
const PAUSE: Duration = Duration::from_secs(1);

/// Does what the command line says.
pub(crate) fn run(url: &str, action: Connectors) -> Result<()> {
    super::block_on(async {
        let connect = Connect::new(url)?;
        match action {
            Connectors::Apply { path } => {
                let wanted = read_all(&path)?;
                for Connector { name, config } in &wanted {
                    let done = connect.put(name, config).await?;
                    println!("{name}: {done}");
                }
                let names: Vec<_> = wanted.iter().map(|connector| connector.name.as_str()).collect();
                connect.wait_until_running(&names).await
            }
            Connectors::Status { json } => {
                let states = connect.states().await?;
                match json {
                    true => println!("{}", serde_json::to_string_pretty(&states).unwrap_or_default()),
                    false => print!("{}", table(&states)),
                }
                match states.iter().filter(|state| !state.is_running()).count() {
                    0 => Ok(()),
                    count => Err(Failure::Run(format!("{count} of {} connectors are not RUNNING", states.len()))),
                }
            }
        }
    })
}

/// A connector as its file says.
#[derive(Debug, PartialEq)]
struct Connector {
    name: String,
    config: Map<String, Value>,
}

/// Every `*.json` of a folder in order of their names, or one file.
fn read_all(path: &Path) -> Result<Vec<Connector>> {
    let failed =
        |path: &Path, error: &dyn std::fmt::Display| Failure::Run(format!("cannot read {}: {error}", path.display()));
    let mut files: Vec<PathBuf> = Vec::new();
    if path.is_dir() {
        for entry in std::fs::read_dir(path).map_err(|error| failed(path, &error))? {
            let file = entry.map_err(|error| failed(path, &error))?.path();
            if file.extension().is_some_and(|extension| extension == "json") {
                files.push(file);
            }
        }
        files.sort();
    } else {
        files.push(path.to_owned());
    }
    if files.is_empty() {
        return Err(Failure::Run(format!("there is no *.json file in {}", path.display())));
    }
    files
        .iter()
        .map(|file| {
            let text = std::fs::read_to_string(file).map_err(|error| failed(file, &error))?;
            read(&text, &|name| std::env::var(name).ok()).map_err(|message| failed(file, &message))
        })
        .collect()
}

/// Both forms that Connect knows: `{name, config}`, and a bare configuration with `name` inside.
fn read(text: &str, lookup: &dyn Fn(&str) -> Option<String>) -> std::result::Result<Connector, String> {
    let mut outer: Map<String, Value> =
        serde_json::from_str(text).map_err(|error| format!("not a JSON object: {error}"))?;
    let name = match outer.get("name") {
        Some(Value::String(name)) => expanded(name, lookup)?,
        _ => return Err("has no `name`".into()),
    };
    let mut config = match outer.remove("config") {
        Some(Value::Object(config)) => config,
        Some(_) => return Err("`config` is no object".into()),
        None => outer,
    };
    for (key, value) in &mut config {
        // Connect takes text only; numbers and truth values become it.
        let text = match value {
            Value::String(text) => expanded(text, lookup).map_err(|message| format!("{key}: {message}"))?,
            Value::Number(_) | Value::Bool(_) => value.to_string(),
            _ => return Err(format!("{key}: a value must be text, a number, true or false")),
        };
        *value = Value::String(text);
    }
    config.remove("name");
    Ok(Connector { name, config })
}

fn expanded(text: &str, lookup: &dyn Fn(&str) -> Option<String>) -> std::result::Result<String, String> {
    Ok(expand(text, lookup)?.unwrap_or_else(|| text.to_owned()))
}

/// State of a connector and its tasks, as Connect tells it.
#[derive(Debug, Deserialize, serde::Serialize)]
pub(crate) struct ConnectorState {
    pub(crate) name: String,
    connector: TaskState,
    tasks: Vec<TaskState>,
}

#[derive(Debug, Deserialize, serde::Serialize)]
struct TaskState {
    #[serde(default)]
    id: Option<u32>,
    state: String,
    #[serde(default)]
    worker_id: String,
    #[serde(default)]
    trace: Option<String>,
}

impl ConnectorState {
    /// The connector and all its tasks run, and there is at least one task.
    pub(crate) fn is_running(&self) -> bool {
        self.connector.state == "RUNNING"
            && !self.tasks.is_empty()
            && self.tasks.iter().all(|task| task.state == "RUNNING")
    }

    /// `RUNNING, task 0 FAILED: first line of the trace`.
    pub(crate) fn sentence(&self) -> String {
        let mut text = self.connector.state.clone();
        if self.tasks.is_empty() {
            text.push_str(", no task yet");
        }
        for (at, task) in self.tasks.iter().enumerate() {
            let _ = write!(text, ", task {} {}", task.id.unwrap_or(u32::try_from(at).unwrap_or(0)), task.state);
        }
        for task in [&self.connector].into_iter().chain(&self.tasks) {
            if let Some(trace) = task.trace.as_deref().and_then(root_cause) {
                let _ = write!(text, ": {trace}");
                break;
            }
        }
        text
    }
}

/// The line of a Java trace that says why: the last `Caused by`, else the first line.
fn root_cause(trace: &str) -> Option<&str> {
    let cause = trace.lines().rev().find_map(|line| line.trim().strip_prefix("Caused by: "));
    cause.or_else(|| trace.lines().next()).map(str::trim).filter(|line| !line.is_empty())
}

fn table(states: &[ConnectorState]) -> String {
    if states.is_empty() {
        return "no connectors\n".into();
    }
    let width = states.iter().map(|state| state.name.len()).max().unwrap_or(0);
    states.iter().fold(String::new(), |mut out, state| {
        let _ = writeln!(out, "{:width$}  {}", state.name, state.sentence());
        out
    })
}

/// A client of the REST interface.
pub(crate) struct Connect {
    url: String,
    client: reqwest::Client,
}

impl Connect {
    /// A client; connects to nothing yet.
    pub(crate) fn new(url: &str) -> Result<Connect> {
        let client = reqwest::Client::builder().timeout(Duration::from_secs(90)).build();
        let client =
            client.map_err(|error| Failure::Run(format!("cannot make an HTTP client: {}", with_causes(&error))))?;
        Ok(Connect { url: url.trim_end_matches('/').to_owned(), client })
    }

    async fn put(&self, name: &str, config: &Map<String, Value>) -> Result<&'static str> {
        let url = format!("{}/connectors/{name}/config", self.url);
        for tried in 1.. {
            let reply = self.client.put(&url).json(config).send().await;
            let reply = match reply {
                Ok(reply) => reply,
                Err(error) if tried < TRIES && error.is_connect() => {
                    tokio::time::sleep(PAUSE).await;
                    continue;
                }
                Err(error) => return Err(self.unreachable(&error)),
            };
            match reply.status().as_u16() {
                201 => return Ok("created"),
                200 => return Ok("updated"),
                409 if tried < TRIES => tokio::time::sleep(PAUSE).await,
                code => {
                    let body = reply.text().await.unwrap_or_default();
                    let message = serde_json::from_str::<Value>(&body)
                        .ok()
                        .and_then(|body| body.get("message")?.as_str().map(str::to_owned))
                        .unwrap_or(body);
                    return Err(Failure::Run(format!("Kafka Connect refuses connector {name} ({code}): {message}")));
                }
            }
        }
        unreachable!("the loop ends by returning")
    }

    /// All connectors, by name.
    pub(crate) async fn states(&self) -> Result<Vec<ConnectorState>> {
        #[derive(Deserialize)]
        struct Expanded {
            status: ConnectorState,
        }
        let url = format!("{}/connectors?expand=status", self.url);
        let reply = self.client.get(&url).send().await.map_err(|error| self.unreachable(&error))?;
        let reply = reply.error_for_status().map_err(|error| Failure::Run(with_causes(&error)))?;
        let states: std::collections::BTreeMap<String, Expanded> =
            reply.json().await.map_err(|error| Failure::Run(format!("{url}: {}", with_causes(&error))))?;
        Ok(states.into_values().map(|expanded| expanded.status).collect())
    }

    async fn wait_until_running(&self, names: &[&str]) -> Result<()> {
        let mut last = String::new();
        for _ in 0..TRIES {
            let states = self.states().await?;
            let ours: Vec<_> = states.iter().filter(|state| names.contains(&state.name.as_str())).collect();
            if ours.len() == names.len() && ours.iter().all(|state| state.is_running()) {
                println!("all RUNNING");
                return Ok(());
            }
            let waiting = ours.iter().filter(|state| !state.is_running());
            last = waiting.map(|state| format!("{}: {}", state.name, state.sentence())).collect::<Vec<_>>().join("; ");
            tokio::time::sleep(PAUSE).await;
        }
        Err(Failure::Run(format!("not every connector came to RUNNING within {TRIES} s: {last}")))
    }

    fn unreachable(&self, error: &reqwest::Error) -> Failure {
        Failure::Run(format!("cannot reach Kafka Connect at {}: {}", self.url, with_causes(error)))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn lookup(name: &str) -> Option<String> {
        (name == "PASSWORD").then(|| "hunter2".to_owned())
    }

    #[test]
    fn both_forms_of_a_file_mean_the_same() {
        let nested = r#"{"name": "a", "config": {"database.password": "${PASSWORD}", "tasks.max": 1, "x": true}}"#;
        let bare = r#"{"name": "a", "database.password": "${PASSWORD}", "tasks.max": "1", "x": "true"}"#;
        let connector = read(nested, &lookup).unwrap();
        assert_eq!(connector.config["database.password"], "hunter2");
        assert_eq!(connector.config["tasks.max"], "1");
        assert_eq!(read(bare, &lookup).unwrap(), connector);
    }

    #[test]
    fn what_is_wrong_with_a_file_is_said() {
        assert!(read("[]", &lookup).unwrap_err().contains("not a JSON object"));
        assert!(read("{}", &lookup).unwrap_err().contains("no `name`"));
        assert!(
            read(r#"{"name": "a", "k": "${NOPE}"}"#, &lookup).unwrap_err().starts_with("k: environment variable NOPE")
        );
        assert!(read(r#"{"name": "a", "k": []}"#, &lookup).unwrap_err().starts_with("k: a value must be"));
    }

    #[test]
    fn a_failed_task_is_told_with_its_root_cause() {
        let state: ConnectorState = serde_json::from_str(
            r#"{"name": "m", "connector": {"state": "RUNNING", "worker_id": "w"},
                "tasks": [{"id": 0, "state": "FAILED", "worker_id": "w",
                           "trace": "org.ConnectException: outer\n\tat x\nCaused by: java.SQLException: Access denied\n\tat y"}]}"#,
        )
        .unwrap();
        assert!(!state.is_running());
        assert_eq!(table(&[state]), "m  RUNNING, task 0 FAILED: java.SQLException: Access denied\n");
    }
}
