//! A reader that looks at a target all the time, as its users do: what it saw may not go back (promise P2).

use std::collections::BTreeMap;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::Duration;

use crate::database::Database;

const REST: Duration = Duration::from_millis(20);

/// Reads until `done`. `sql` gives names and versions; a server that is down is asked again.
///
/// # Panics
/// When a version goes down: an older change was applied after a newer one.
pub async fn never_back(target: Database, sql: String, done: Arc<AtomicBool>) {
    let mut seen: BTreeMap<String, f64> = BTreeMap::new();
    while !done.load(Ordering::Relaxed) {
        for row in target.try_rows(&sql).await.unwrap_or_default() {
            let (name, version) = row.split_once('|').expect("two columns");
            let version: f64 = version.parse().expect("a number");
            let last = seen.entry(name.to_owned()).or_insert(version);
            assert!(version >= *last, "{name} went from {last} back to {version}");
            *last = version;
        }
        tokio::time::sleep(REST).await;
    }
}
