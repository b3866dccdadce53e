//! Tests that need no server.

mod compose;
mod types_page;
