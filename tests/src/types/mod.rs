//! Every column type that Debezium delivers, paired for five pairs of engines, with hostile values: what `docs/types.md` is made of,
//! and what the matrix test sends through real connectors.

mod compare;
mod kinds;
pub mod matrix;
mod page;
mod pairs;
mod values;

pub use compare::{Class, same};
pub use kinds::kind;
pub use page::page;
pub use pairs::{Case, PAIRS, Pair, REFUSED};
pub use values::values;
