//! PostgreSQL as a target: column arrays in binary form through `unnest`, one statement per batch, table and operation.

mod bind;
mod codes;
mod connection;
mod dialect;
mod errors;
mod guard;
mod introspect;
mod numeric;
mod statements;
mod wire;

pub use codes::CODES;
pub use connection::PostgresConnector;
pub use dialect::Postgres;
