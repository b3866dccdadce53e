//! The Kafka source: one consumer and one poll thread per lane, driving [`topology::lane::Lane`].
//!
//! * `client`: librdkafka's settings, with those that the protocol depends on fixed.
//! * `context`: what happens inside librdkafka's callbacks: only notes (rule A1).
//! * `facts`: slow questions to the brokers, asked on a thread of their own.
//! * `poll`: the loop of the poll thread.
//! * `lane`: starts a lane, and starts it anew after a fatal consumer error (rule A5).

mod client;
mod context;
mod facts;
mod lane;
mod poll;

pub use client::{ClientSettings, FIXED_OPTIONS, consumer_config, producer_config};
pub use lane::{Drained, LaneHandle, LaneSetup, spawn};
