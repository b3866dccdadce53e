//! A target that keeps rows in this process: the engine's own memory target, for trials and tests. Nothing survives the process.

pub use topology::driver::{MemoryTarget, MemoryWriter};
