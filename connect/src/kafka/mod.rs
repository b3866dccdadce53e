//! The Kafka source: one consumer and one poll thread per lane, driving [`topology::lane::Lane`].
//!
//! * `client`: librdkafka's settings, with those that the protocol depends on fixed.
//! * `context`: what happens inside librdkafka's callbacks: only notes (rule A1).
//! * `facts`: slow questions to the brokers, asked on a thread of their own.
//! * `poll`: the loop of the poll thread; `starts`: where partitions begin; `schemas`: waiting for a schema; `offsets`: group offsets and lag;
//!   `drain`: its end; `record`: a message as the topology reads it.
//! * `publishing`, `emitter`, `transaction`: outputs beside the target (rules O).
//! * `lane`: starts a lane, and starts it anew after a fatal consumer error (rule A5).

mod client;
mod context;
mod drain;
mod emitter;
mod facts;
mod lane;
mod offsets;
mod poll;
mod publishing;
mod record;
mod schemas;
mod seldom;
mod starts;
pub(crate) mod transaction;

pub use client::{ClientSettings, FIXED_OPTIONS, consumer_config, producer_config};
pub use lane::{Drained, LaneHandle, LaneSetup, spawn};
