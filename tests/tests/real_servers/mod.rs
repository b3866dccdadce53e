//! Tests against the servers of `services/stack`. Each uses its own databases, topics and connectors.

mod capture;
mod connectors;
mod crash_points;
mod dead_letters;
mod flattened;
mod guards;
mod logs;
mod mysql_session;
mod outages;
mod recovery;
mod scenarios;
mod stack;
mod stop;
mod torture;
mod types;
