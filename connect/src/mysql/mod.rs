//! MySQL (8.0.19 and later best, 5.7 and later at all) and MariaDB (10.6 and later) as targets: one protocol, one folder; where the two
//! differ stands in [`Flavour`].
//!
//! Not here: ledger, held rows and the order of a batch, which all SQL targets share ([`crate::sql`]).
//!
//! What a user may meet: a column with `ON UPDATE CURRENT_TIMESTAMP` that the lens does not map still moves when a write of ours changes
//! another column of the row; a write that changes nothing moves nothing and leaves no event in the binary log. BEFORE INSERT triggers
//! fire for upserts of present rows too, as the engine does for `ON DUPLICATE KEY UPDATE`.

mod bind;
mod codes;
mod connection;
mod dialect;
mod errors;
mod guard;
mod introspect;
mod read;
mod statements;
mod wire;
mod write;

pub use codes::{CODES, STATES};
pub use connection::MySqlConnector;
pub use dialect::{Flavour, MySqlDialect};
pub use guard::Tagging;
