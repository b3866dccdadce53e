//! Test support: where the real servers are, the examples under names of their own, and what tests ask of them.

pub mod database;
pub mod example;
pub mod goods;
pub mod group;
pub mod instance;
pub mod pair;
pub mod proxy;
pub mod scenario;
pub mod servers;
pub mod spare;
pub mod topic;
pub mod types;
pub mod wait;
pub mod watch;
pub mod worker;
