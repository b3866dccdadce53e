//! The engine of Tidelock: exact values, records, the processor graph, tasks, batches, the ledger contract, errors.
//! It knows no Kafka, no SQL and no Avro: those are in the crates that depend on it.

pub mod batch;
pub mod clock;
pub mod crash;
pub mod data;
pub mod driver;
pub mod error;
pub mod generation;
pub mod graph;
pub mod guard;
pub mod lane;
pub mod ledger;
pub mod lens;
pub mod letter;
pub mod marks;
pub mod moves;
pub mod mutation;
pub mod observe;
pub mod output;
pub mod pipeline;
pub mod policy;
pub mod processor;
pub mod processors;
pub mod raw;
pub mod record;
pub mod reduce;
pub mod seen;
pub mod sink;
pub mod state;
pub mod table;

pub use error::{Error, ErrorKind, Result, Stage};
