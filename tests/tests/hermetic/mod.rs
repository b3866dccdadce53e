//! Tests that need no server.

mod compose;
mod guarantees_page;
mod scenarios_page;
mod types_page;
