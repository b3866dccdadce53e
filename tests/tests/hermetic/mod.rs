//! Tests that need no server.

mod compose;
