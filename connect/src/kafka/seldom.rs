//! Says the same thing seldom: a client repeats many times a second that brokers are down, for as long as they are.

use std::collections::HashMap;
use std::sync::Mutex;
use std::time::{Duration, Instant};

use rdkafka::error::KafkaError;

/// Between two log lines of the same kind.
const INTERVAL: Duration = Duration::from_secs(10);

/// When each kind of error was last told, and how often it came since.
#[derive(Debug, Default)]
pub(super) struct Seldom {
    told: Mutex<HashMap<String, (Instant, u64)>>,
}

impl Seldom {
    /// How often this kind of error came untold, if now is the time to tell it.
    pub(super) fn untold(&self, error: &KafkaError) -> Option<u64> {
        self.untold_at(&format!("{:?}", error.rdkafka_error_code()), Instant::now())
    }

    fn untold_at(&self, kind: &str, now: Instant) -> Option<u64> {
        let mut told = self.told.lock().expect("no panic while locked");
        let Some((at, untold)) = told.get_mut(kind) else {
            told.insert(kind.to_owned(), (now, 0));
            return Some(0);
        };
        if now.duration_since(*at) < INTERVAL {
            *untold += 1;
            return None;
        }
        *at = now;
        Some(std::mem::take(untold))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_same_kind_is_told_once_in_a_while_with_what_was_left_untold() {
        let (seldom, start) = (Seldom::default(), Instant::now());
        assert_eq!(seldom.untold_at("down", start), Some(0));
        for _ in 0..20 {
            assert_eq!(seldom.untold_at("down", start + INTERVAL / 2), None);
        }
        assert_eq!(seldom.untold_at("refused", start + INTERVAL / 2), Some(0), "another kind");
        assert_eq!(seldom.untold_at("down", start + INTERVAL), Some(20));
        assert_eq!(seldom.untold_at("down", start + 2 * INTERVAL), Some(0));
    }
}
