//! The lens: the declared mapping of an entity between two sites, and its compiled form for one direction.

pub mod declare;
pub mod literal;
