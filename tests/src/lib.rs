//! Test support: where the real servers are, and the examples under names of their own.

pub mod example;
pub mod scenario;
pub mod servers;
pub mod types;
pub mod worker;
