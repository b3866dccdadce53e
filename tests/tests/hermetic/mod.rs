//! Tests that need no server.

mod compose;
mod crash_points_list;
mod guarantees_page;
mod scenarios_page;
mod types_page;
