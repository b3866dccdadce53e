//! Random numbers for nonces, names and the jitter of waits.

/// A random number of the operating system.
///
/// # Panics
/// When the system has none: then no two claims could be told apart.
pub(crate) fn random() -> u64 {
    getrandom::u64().unwrap_or_else(|error| panic!("the operating system has no random numbers: {error}"))
}
