//! Test support: where the real servers are.

pub mod servers;
