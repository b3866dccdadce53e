//! A lane: one thread of work of a direction. It has two halves that talk in messages.
//!
//! * [`Lane`] is the polling half, a state machine without I/O: assignment, claims, offsets, batches. The Kafka source drives it with a
//!   real consumer, the simulator with a fake one.
//! * [`Writer`] is the writing half, a loop around one [`crate::sink::SinkWriter`]: retries, unknown commits, held rows.
//!
//! ```text
//!             assigned            Claimed              records            Applied
//!   (nothing) ───────► Claiming ─────────► Running ◄───────────► batches ───────► progress
//!                         ▲                   │ Rejected: fenced
//!                         └──── Fenced ◄──────┘   (claims again with backoff if still assigned, rule L3)
//!   any ── revoked ──► (nothing)      Running ── cannot go on ──► Halted (others flow)
//! ```

mod apply;
mod barrier;
mod generations;
mod halves;
mod idle;
mod message;
mod outcomes;
mod polling;
mod publishing;
mod release;
mod settings;
mod start;
mod task;
mod writer;

pub use message::{Command, PartitionEnds, PublishJob, Rejection, Reply, Request, SealedBatch, StartAt, StartFacts};
pub use polling::{Lane, Taken, tail_hash};
pub use settings::{FetchSchema, LaneSettings, RetrySettings, StartDecision, StartFrom};
pub use writer::Writer;
