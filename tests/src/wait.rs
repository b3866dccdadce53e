//! Waiting for what must happen, and watching that nothing happens.

use std::future::Future;
use std::time::{Duration, Instant};

/// The limit that the acceptance scenarios set for "→". `TIDELOCK_TEST_PATIENCE=3` makes it three times as long, for a machine that
/// does other things as well.
pub fn arrival() -> Duration {
    let patience = std::env::var("TIDELOCK_TEST_PATIENCE").ok().and_then(|factor| factor.parse().ok()).unwrap_or(1);
    Duration::from_secs(10 * patience)
}

/// Time between two looks.
const INTERVAL: Duration = Duration::from_millis(100);

/// Looks again and again until `check` says `Ok`; its error tells what was seen instead.
///
/// # Panics
/// When the limit passes.
pub async fn eventually<Fut, T>(limit: Duration, what: &str, mut check: impl FnMut() -> Fut) -> T
where
    Fut: Future<Output = Result<T, String>>,
{
    let deadline = Instant::now() + limit;
    loop {
        let seen = match check().await {
            Ok(found) => return found,
            Err(seen) => seen,
        };
        assert!(Instant::now() < deadline, "{what}: not within {limit:?}; last seen: {seen}");
        tokio::time::sleep(INTERVAL).await;
    }
}
