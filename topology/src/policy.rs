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
