//! Watches the connectors of Kafka Connect, if `kafka.connect` says where: a connector that does not run makes the worker degraded.

use crate::config::Config;
use crate::metrics::{Metrics, StatusBoard};

/// Looks again and again, until the process ends.
#[cfg(feature = "rest")]
pub(crate) fn watch(config: &Config, metrics: &Metrics, board: &StatusBoard) {
    let Some(url) = config.kafka.connect.clone() else { return };
    let mut watch = rest::Watch::new(url, config.kafka.connectors.clone(), metrics.clone());
    let board = board.clone();
    tokio::spawn(async move {
        let Ok(connect) = crate::commands::connectors::Connect::new(&watch.url) else { return };
        loop {
            board.set_connectors(watch.look(&connect).await);
            tokio::time::sleep(rest::INTERVAL).await;
        }
    });
}

/// This build has no client for it.
#[cfg(not(feature = "rest"))]
pub(crate) fn watch(_config: &Config, _metrics: &Metrics, _board: &StatusBoard) {}

#[cfg(feature = "rest")]
mod rest {
    use std::collections::BTreeSet;
    use std::time::Duration;

    use crate::commands::connectors::Connect;
    use crate::metrics::Metrics;

    /// Together 15 s, within which a connector that stopped, or a Connect that hangs, is seen.
    pub(super) const INTERVAL: Duration = Duration::from_secs(10);
    const ANSWER_MAX: Duration = Duration::from_secs(5);

    /// What is looked at, and what is known of it.
    pub(super) struct Watch {
        pub(super) url: String,
        /// Names, or none for all that Connect has.
        wanted: Vec<String>,
        seen: BTreeSet<String>,
        metrics: Metrics,
    }

    impl Watch {
        pub(super) fn new(url: String, wanted: Vec<String>, metrics: Metrics) -> Watch {
            let seen = wanted.iter().cloned().collect();
            Watch { url, wanted, seen, metrics }
        }

        /// Asks Connect once; what does not run.
        pub(super) async fn look(&mut self, connect: &Connect) -> Vec<String> {
            let Ok(Ok(states)) = tokio::time::timeout(ANSWER_MAX, connect.states()).await else {
                // Whether they run cannot be known: an alert is worth more than a value of yesterday.
                self.seen.iter().for_each(|name| self.tell(name, false));
                return vec![format!("Kafka Connect at {} does not answer", self.url)];
            };
            let mut troubles = Vec::new();
            for state in states.iter().filter(|state| self.wanted.is_empty() || self.wanted.contains(&state.name)) {
                self.tell(&state.name, state.is_running());
                self.seen.insert(state.name.clone());
                if !state.is_running() {
                    troubles.push(format!("connector {} is not RUNNING: {}", state.name, state.sentence()));
                }
            }
            let gone: Vec<_> =
                self.seen.iter().filter(|name| states.iter().all(|state| state.name != **name)).cloned().collect();
            for name in gone {
                if self.wanted.contains(&name) {
                    self.tell(&name, false);
                    troubles.push(format!("connector {name} does not exist"));
                } else {
                    // Nobody asked for it by name: somebody has deleted it.
                    let _ = self.metrics.connector_running.remove_label_values(&[&name]);
                    self.seen.remove(&name);
                }
            }
            troubles
        }

        fn tell(&self, name: &str, is_running: bool) {
            self.metrics.connector_running.with_label_values(&[name]).set(i64::from(is_running));
        }
    }

    #[cfg(test)]
    mod tests {
        use tokio::io::{AsyncReadExt, AsyncWriteExt};
        use tokio::net::TcpListener;

        use super::*;

        /// Promise P7: what is shown of a connector is never a value of yesterday.
        #[tokio::test]
        async fn a_connector_that_does_not_run_or_cannot_be_asked_for_is_shown() {
            // given a Connect that gives these answers, one per question, and then none at all
            let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
            let url = format!("http://{}", listener.local_addr().unwrap());
            let status = |name: &str, state: &str| {
                format!(
                    r#""{name}": {{"status": {{"name": "{name}", "connector": {{"state": "RUNNING"}}, "tasks": [{{"id": 0, "state": "{state}"}}]}}}}"#
                )
            };
            let both = format!("{{{}, {}}}", status("a", "RUNNING"), status("b", "FAILED"));
            let answers = [both, format!("{{{}}}", status("a", "RUNNING")), "{}".to_owned()];
            let serving = tokio::spawn(async move {
                for answer in answers {
                    let (mut stream, _) = listener.accept().await.unwrap();
                    let _ = stream.read(&mut [0; 4096]).await.unwrap();
                    let head = "HTTP/1.1 200 OK\r\nContent-Type: application/json\r\nConnection: close\r\n";
                    let reply = format!("{head}Content-Length: {}\r\n\r\n{answer}", answer.len());
                    stream.write_all(reply.as_bytes()).await.unwrap();
                }
            });
            let metrics = Metrics::new();
            let mut all = Watch::new(url.clone(), vec![], metrics.clone());
            let connect = Connect::new(&url).unwrap();
            let shown = || {
                let page = metrics.render();
                let lines = page.lines().filter(|line| line.starts_with("tidelock_connector_running{"));
                lines.map(|line| line.rsplit_once('{').unwrap().1.to_owned()).collect::<Vec<_>>()
            };
            // when, then
            assert_eq!(all.look(&connect).await, ["connector b is not RUNNING: RUNNING, task 0 FAILED"]);
            assert_eq!(shown(), [r#"connector="a"} 1"#, r#"connector="b"} 0"#]);
            // b is deleted, and nobody asked for it by name
            assert!(all.look(&connect).await.is_empty());
            assert_eq!(shown(), [r#"connector="a"} 1"#]);
            let mut named = Watch::new(url.clone(), vec!["a".to_owned()], metrics.clone());
            assert_eq!(named.look(&connect).await, ["connector a does not exist"]);
            assert_eq!(shown(), [r#"connector="a"} 0"#]);
            // Connect is gone
            serving.await.unwrap();
            metrics.connector_running.with_label_values(&["a"]).set(1);
            assert_eq!(all.look(&connect).await, [format!("Kafka Connect at {url} does not answer")]);
            assert_eq!(shown(), [r#"connector="a"} 0"#]);
        }
    }
}
