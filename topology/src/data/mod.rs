//! The exact value model. Nothing here rounds, truncates or guesses (promise P6).
//!
//! A batch owns one [`Arena`]; rows are ranges of [`Cell`]s in it, and long values are spans of its bytes, so that a
//! record costs no allocation of its own. [`Value`] is the owned form for configuration, tests and rare paths.

mod arena;
mod cell;
mod compare;
pub mod decimal;
mod kind;
pub mod time;
mod value;

pub use arena::{Arena, Mark as ArenaMark, View};
pub use cell::{Cell, CellRange, DecimalCell, Span};
pub use kind::{Column, Kind, Layout, LayoutId, Layouts};
pub use value::Value;
