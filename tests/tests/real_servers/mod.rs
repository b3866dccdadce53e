//! Tests against the servers of `services/stack`. Each uses its own databases, topics and connectors.

mod connectors;
mod stack;
