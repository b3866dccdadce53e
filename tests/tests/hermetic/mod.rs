//! Tests that need no server.

mod compose;
mod scenarios_page;
mod types_page;
