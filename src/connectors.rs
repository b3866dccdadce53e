//! Watches the connectors of Kafka Connect, if `kafka.connect` says where: a connector that does not run makes the worker degraded.

#[cfg(feature = "rest")]
use std::time::Duration;

use crate::config::Config;
use crate::metrics::{Metrics, StatusBoard};

/// Well below the two minutes within which a stopped connector must be seen.
#[cfg(feature = "rest")]
const INTERVAL: Duration = Duration::from_secs(15);

/// Looks again and again, until the process ends.
#[cfg(feature = "rest")]
pub(crate) fn watch(config: &Config, metrics: &Metrics, board: &StatusBoard) {
    let Some(url) = config.kafka.connect.clone() else { return };
    let wanted = config.kafka.connectors.clone();
    let (metrics, board) = (metrics.clone(), board.clone());
    tokio::spawn(async move {
        let Ok(connect) = crate::commands::connectors::Connect::new(&url) else { return };
        loop {
            let troubles = match connect.states().await {
                Ok(states) => {
                    let mut troubles = Vec::new();
                    for state in states.iter().filter(|state| wanted.is_empty() || wanted.contains(&state.name)) {
                        let running = state.is_running();
                        metrics.connector_running.with_label_values(&[&state.name]).set(i64::from(running));
                        if !running {
                            troubles.push(format!("connector {} is not RUNNING: {}", state.name, state.sentence()));
                        }
                    }
                    for name in wanted.iter().filter(|name| states.iter().all(|state| state.name != **name)) {
                        metrics.connector_running.with_label_values(&[name]).set(0);
                        troubles.push(format!("connector {name} does not exist"));
                    }
                    troubles
                }
                Err(_) => vec![format!("Kafka Connect at {url} does not answer")],
            };
            board.set_connectors(troubles);
            tokio::time::sleep(INTERVAL).await;
        }
    });
}

/// This build has no client for it.
#[cfg(not(feature = "rest"))]
pub(crate) fn watch(_config: &Config, _metrics: &Metrics, _board: &StatusBoard) {}
