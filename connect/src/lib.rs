//! The outside world.

#[cfg(any(test, feature = "registry_server"))]
pub mod registry_server;
