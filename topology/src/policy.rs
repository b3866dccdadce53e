//! The one function that maps an error to what happens next. Nothing else decides.

use crate::error::ErrorKind;

/// What the engine does about an error.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum Action {
    /// Roll back and run the same batch again, a few times with backoff; then treat as [`Action::Pause`].
    Retry,
    /// Stop writing, keep the group membership, try again for ever with backoff, report unhealthy.
    Pause,
    /// Keep the row in `tidelock_held` until what it waits for is there; its key queues behind it.
    Park,
    /// Pause the topic's partitions; the other topics flow.
    PauseTopic,
    /// Keep the record as dead in `tidelock_held`; everything else flows.
    DeadLetter,
    /// Forget the task and claim it again if the group still assigns it to us.
    Drop,
    /// Stop the lane and report unhealthy.
    Stop,
}

/// The action for a kind. Unknown codes are classified as [`ErrorKind::Environment`] before they come here: unknown means pause, never lose.
pub fn action(kind: ErrorKind) -> Action {
    match kind {
        ErrorKind::Transient => Action::Retry,
        ErrorKind::Environment => Action::Pause,
        ErrorKind::Dependency => Action::Park,
        ErrorKind::Schema => Action::PauseTopic,
        ErrorKind::Data => Action::DeadLetter,
        ErrorKind::Fenced => Action::Drop,
        ErrorKind::Configuration | ErrorKind::Bug => Action::Stop,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn nothing_but_a_records_own_fault_makes_it_a_dead_letter() {
        for kind in ErrorKind::ALL {
            assert_eq!(action(kind) == Action::DeadLetter, kind == ErrorKind::Data, "{}", kind.name());
            assert_eq!(action(kind) == Action::Park, kind == ErrorKind::Dependency, "{}", kind.name());
        }
    }

    #[test]
    fn what_somebody_outside_must_repair_only_pauses() {
        assert_eq!(action(ErrorKind::Environment), Action::Pause);
        assert_eq!(action(ErrorKind::Schema), Action::PauseTopic);
        assert_eq!(action(ErrorKind::Transient), Action::Retry);
    }
}
