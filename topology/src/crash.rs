//! Points at which a test kills or freezes this very process, so that what that leaves behind is shown for each of them.
//!
//! `TIDELOCK_CRASH_AT=after_cas` is `kill -9` of oneself at the first arrival at that point, `after_cas:3` at the third;
//! `TIDELOCK_FREEZE_AT` is SIGSTOP in the same way, and somebody sends SIGCONT. Only builds with debug assertions have this: in a release
//! build [`point`] is nothing, and the variables mean nothing. [`POINTS`] lists all of them; a test compares the list with the code, and
//! another one walks it on the real servers.

/// A named place in the code.
#[derive(Clone, Copy, Debug)]
pub struct Point {
    /// As in `TIDELOCK_CRASH_AT` and `TIDELOCK_FREEZE_AT`.
    pub name: &'static str,
    /// The file that has it, from the root of the repository.
    pub file: &'static str,
    /// What has happened there, and what has not.
    pub what: &'static str,
}

const fn at(file: &'static str, name: &'static str, what: &'static str) -> Point {
    Point { name, file, what }
}

const PIPELINE: &str = "topology/src/pipeline.rs";
const POLL: &str = "connect/src/kafka/poll.rs";
const OFFSETS: &str = "connect/src/kafka/offsets.rs";
const CLAIM: &str = "connect/src/sql/writer/claim.rs";
const ATTEMPT: &str = "connect/src/sql/writer/attempt.rs";
const HELD: &str = "connect/src/sql/writer/held_store.rs";
const RELEASE: &str = "connect/src/sql/writer/release.rs";
const OUTBOX: &str = "connect/src/sql/writer/outbox.rs";
const TRANSACTION: &str = "connect/src/kafka/transaction.rs";

/// All points, in the order in which a record meets them.
pub const POINTS: &[Point] = &[
    at(CLAIM, "before_claim", "a claim's transaction is open, the epoch is the old one"),
    at(CLAIM, "claim_raised", "the epoch is raised, the claim is not committed"),
    at(CLAIM, "claim_committed", "the claim is committed, the lane does not know it"),
    at(PIPELINE, "decoded", "a record is decoded and in no batch"),
    at(POLL, "sealed", "a batch is closed and not handed over"),
    at(ATTEMPT, "after_begin", "a batch's transaction is open and empty"),
    at(ATTEMPT, "after_cas", "progress is moved, no row is written"),
    at(ATTEMPT, "after_write", "rows of one table are written"),
    at(ATTEMPT, "after_delete", "rows of one table are deleted"),
    at(HELD, "held_stored", "rows that must wait are stored"),
    at(OUTBOX, "outputs_stored", "outputs are stored and numbered"),
    at(ATTEMPT, "before_commit", "everything is written, nothing is committed"),
    at(ATTEMPT, "after_commit", "the batch is committed, the lane does not know it"),
    at(OFFSETS, "before_group_offsets", "a batch is applied, the group's advisory offsets do not say so"),
    at(OFFSETS, "after_group_offsets", "the group's advisory offsets are under way"),
    at(RELEASE, "release_written", "held rows are written, and still held"),
    at(RELEASE, "release_deleted", "held rows are written and no longer held, nothing is committed"),
    at(TRANSACTION, "before_produce", "a Kafka transaction is open and empty"),
    at(TRANSACTION, "after_produce", "outputs are on their topics, not committed"),
    at(TRANSACTION, "after_send_offsets", "how far is published is part of the transaction, which is not committed"),
    at(TRANSACTION, "after_kafka_commit", "outputs are published, and still stored"),
    at(OUTBOX, "outputs_deleted", "what is published is stored no more"),
];

/// Dies or freezes here if the environment says so.
#[cfg(debug_assertions)]
pub fn point(name: &'static str) {
    armed::reached(name);
}

/// Nothing: this is a release build.
#[cfg(not(debug_assertions))]
#[inline(always)]
pub fn point(_name: &'static str) {}

#[cfg(debug_assertions)]
mod armed {
    use std::sync::LazyLock;
    use std::sync::atomic::{AtomicU32, Ordering};

    struct Armed {
        name: String,
        /// Arrivals until it is time.
        left: AtomicU32,
    }

    static CRASH: LazyLock<Option<Armed>> = LazyLock::new(|| from_environment("TIDELOCK_CRASH_AT"));
    static FREEZE: LazyLock<Option<Armed>> = LazyLock::new(|| from_environment("TIDELOCK_FREEZE_AT"));

    fn from_environment(variable: &str) -> Option<Armed> {
        std::env::var(variable).ok().map(|text| parse(&text))
    }

    fn parse(text: &str) -> Armed {
        let (name, nth) = text.split_once(':').unwrap_or((text, "1"));
        Armed { name: name.to_owned(), left: AtomicU32::new(nth.parse().unwrap_or(1)) }
    }

    pub(super) fn reached(name: &str) {
        let is_due = |armed: &Option<Armed>| armed.as_ref().is_some_and(|armed| armed.is_due(name));
        if is_due(&CRASH) {
            crash();
        }
        if is_due(&FREEZE) {
            freeze();
        }
    }

    impl Armed {
        fn is_due(&self, name: &str) -> bool {
            self.name == name && self.left.fetch_sub(1, Ordering::Relaxed) == 1
        }
    }

    fn crash() {
        #[cfg(unix)]
        signal(rustix::process::Signal::KILL);
        // Not reached where SIGKILL exists.
        std::process::abort();
    }

    fn freeze() {
        #[cfg(unix)]
        signal(rustix::process::Signal::STOP);
        // Unlike SIGKILL it takes a moment until it has reached every thread; this one must not go on meanwhile.
        std::thread::sleep(std::time::Duration::from_millis(100));
    }

    #[cfg(unix)]
    fn signal(signal: rustix::process::Signal) {
        let sent = rustix::process::kill_process(rustix::process::getpid(), signal);
        sent.expect("a process may signal itself");
    }

    #[cfg(test)]
    mod tests {
        use super::parse;

        #[test]
        fn a_point_is_due_once_at_the_arrival_that_was_asked_for() {
            let armed = parse("after_cas:3");
            let due: Vec<bool> = (0..5).map(|_| armed.is_due("after_cas")).collect();
            assert_eq!(due, [false, false, true, false, false]);
            assert!(!armed.is_due("after_begin"));
            assert!(parse("after_begin").is_due("after_begin"));
        }
    }
}
