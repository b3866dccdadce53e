//! Time, behind a trait: the real clock in production, a manual one in tests and in the simulator.

use std::future::Future;
use std::pin::Pin;
use std::sync::Mutex;
use std::sync::atomic::{AtomicU64, Ordering};
use std::task::{Context, Poll, Waker};
use std::time::Duration;

/// A future that ends when the clock says so.
pub type Sleep = Pin<Box<dyn Future<Output = ()> + Send>>;

/// Where time comes from.
pub trait Clock: Send + Sync {
    /// Microseconds since some fixed moment; never goes back.
    fn now_us(&self) -> u64;
    /// Milliseconds since 1970-01-01 UTC, for delays against a source's clock.
    fn wall_ms(&self) -> i64;
    /// Waits.
    fn sleep(&self, duration: Duration) -> Sleep;
}

/// The machine's clock, with tokio's timer.
pub struct SystemClock {
    start: std::time::Instant,
}

impl Default for SystemClock {
    fn default() -> SystemClock {
        SystemClock { start: std::time::Instant::now() }
    }
}

impl Clock for SystemClock {
    fn now_us(&self) -> u64 {
        u64::try_from(self.start.elapsed().as_micros()).unwrap_or(u64::MAX)
    }

    fn wall_ms(&self) -> i64 {
        let since = std::time::SystemTime::now().duration_since(std::time::UNIX_EPOCH).unwrap_or_default();
        i64::try_from(since.as_millis()).unwrap_or(i64::MAX)
    }

    fn sleep(&self, duration: Duration) -> Sleep {
        Box::pin(tokio::time::sleep(duration))
    }
}

/// A clock that moves only when told.
#[derive(Clone, Default)]
pub struct ManualClock {
    shared: std::sync::Arc<ManualShared>,
}

#[derive(Default)]
struct ManualShared {
    now_us: AtomicU64,
    sleepers: Mutex<Vec<(u64, Waker)>>,
}

impl ManualClock {
    /// Moves time forward and wakes who waited for it.
    pub fn advance(&self, duration: Duration) {
        let step = u64::try_from(duration.as_micros()).unwrap_or(u64::MAX);
        let now = self.shared.now_us.fetch_add(step, Ordering::SeqCst) + step;
        let mut due = Vec::new();
        self.shared.sleepers.lock().expect("no panic while locked").retain(|(at, waker)| {
            let waits = *at > now;
            if !waits {
                due.push(waker.clone());
            }
            waits
        });
        due.into_iter().for_each(Waker::wake);
    }

    /// Microseconds until the next sleeper is due; `None` when nobody sleeps.
    pub fn next_due_us(&self) -> Option<u64> {
        let now = self.now_us();
        self.shared.sleepers.lock().expect("no panic while locked").iter().map(|(at, _)| at.saturating_sub(now)).min()
    }
}

impl Clock for ManualClock {
    fn now_us(&self) -> u64 {
        self.shared.now_us.load(Ordering::SeqCst)
    }

    fn wall_ms(&self) -> i64 {
        1_700_000_000_000 + i64::try_from(self.now_us() / 1000).unwrap_or(i64::MAX)
    }

    fn sleep(&self, duration: Duration) -> Sleep {
        let at = self.now_us() + u64::try_from(duration.as_micros()).unwrap_or(u64::MAX);
        Box::pin(ManualSleep { clock: self.clone(), at })
    }
}

struct ManualSleep {
    clock: ManualClock,
    at: u64,
}

impl Future for ManualSleep {
    type Output = ();
    fn poll(self: Pin<&mut Self>, context: &mut Context<'_>) -> Poll<()> {
        if self.clock.now_us() >= self.at {
            return Poll::Ready(());
        }
        let mut sleepers = self.clock.shared.sleepers.lock().expect("no panic while locked");
        sleepers.push((self.at, context.waker().clone()));
        Poll::Pending
    }
}
