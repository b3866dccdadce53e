//! The acceptance scenarios: what a user does on one side and finds on the other, with the real connectors and the real program.
//!
//! Scenarios that need the same pair of databases share it (`Group`). Each is a function whose name says what it shows; which number it
//! has in the list of scenarios is its first line, and `docs/scenarios.md` is made from that. L and R are the blog's legacy and revamp
//! side, M and P the shop's MySQL and PostgreSQL side; "arrives" means within the scenarios' limit of 10 s.

mod blog;
mod blog_elsewhere;
mod blog_transport;
mod commands;
mod dead;
pub(super) mod load;
pub(super) mod load_judge;
pub(super) mod load_side;
mod outage;
mod poison;
mod shop;
mod shop_workers;
mod stream;
