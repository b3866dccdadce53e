//! Scenarios that share one running pair, because starting one takes longer than most scenarios. They run one after the other; one that
//! fails does not hide the others; at the end everything is removed, whatever happened.

use std::future::Future;
use std::io::Write;
use std::sync::Arc;
use std::time::Instant;

use crate::pair::Pair;
use crate::scenario;

/// Scenarios of one pair.
pub struct Group {
    /// The pair.
    pub pair: Arc<Pair>,
    failed: Vec<String>,
}

impl Group {
    /// Takes over a pair.
    pub fn of(pair: Pair) -> Group {
        Group { pair: Arc::new(pair), failed: Vec::new() }
    }

    /// Runs one scenario: a function whose name is the sentence that it shows.
    pub async fn show<Show, Shown>(&mut self, show: Show)
    where
        Show: FnOnce(Arc<Pair>) -> Shown,
        Shown: Future<Output = ()> + Send + 'static,
    {
        let name = std::any::type_name::<Show>().split_once("::").map_or("?", |(_, path)| path).to_owned();
        let sentence = name.rsplit("::").next().unwrap_or_default().to_owned();
        scenario::entered(&name);
        let started = Instant::now();
        let result = tokio::spawn(show(self.pair.clone())).await;
        let outcome = if result.is_ok() { "passed" } else { "FAILED" };
        let shown = scenario::left().join(" ");
        // Not print!: the test runner would keep it for itself unless the group fails.
        let mut out = std::io::stderr();
        let _ = writeln!(out, "scenario {shown:16} {outcome} in {:5.1} s: {sentence}", started.elapsed().as_secs_f64());
        if result.is_err() {
            let _ = writeln!(out, "{}", self.pair.diagnosis().await);
            self.failed.push(format!("{shown} {sentence}"));
        }
    }

    /// Removes the pair and says how it went.
    ///
    /// # Panics
    /// When a scenario failed.
    pub async fn end(self) {
        self.pair.remove().await;
        assert!(self.failed.is_empty(), "failed: {:#?}", self.failed);
    }
}
