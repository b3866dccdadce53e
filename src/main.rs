//! Tidelock.
fn main() {}
