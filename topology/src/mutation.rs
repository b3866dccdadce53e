//! Deliberate faults, each a broken rule, that the simulator must find (`./test mutations`). Without the feature `mutations` every
//! question is the constant `false` and the compiler removes the fault.

/// L1: the batch transaction does not compare `next_offset`.
pub const NO_CAS: u32 = 1;
/// L, FEN-1: a claim does not raise the epoch and does not set the owner.
pub const CLAIM_WITHOUT_EPOCH: u32 = 2;
/// D1: the position mark is checked after guard and lens, so that echoes do not move it.
pub const MARK_AFTER_GUARD: u32 = 3;
/// L4: an unknown COMMIT outcome counts as applied.
pub const UNKNOWN_IS_APPLIED: u32 = 4;
/// B3: only the first change of a key in a batch is kept.
pub const KEEP_FIRST_CHANGE: u32 = 5;
/// L3: a rejected batch does not rewind the lane.
pub const NO_REWIND: u32 = 6;
/// BAT-3: an unavailable cell is written as if it were a value.
pub const WRITE_UNAVAILABLE: u32 = 7;

/// Every fault with its name.
pub const ALL: [(u32, &str); 7] = [
    (NO_CAS, "no_cas"),
    (CLAIM_WITHOUT_EPOCH, "claim_without_epoch"),
    (MARK_AFTER_GUARD, "mark_after_guard"),
    (UNKNOWN_IS_APPLIED, "unknown_is_applied"),
    (KEEP_FIRST_CHANGE, "keep_first_change"),
    (NO_REWIND, "no_rewind"),
    (WRITE_UNAVAILABLE, "write_unavailable"),
];

#[cfg(feature = "mutations")]
mod active {
    use std::cell::Cell;

    thread_local! {
        static ACTIVE: Cell<u32> = const { Cell::new(0) };
    }

    /// True while this fault is switched on for this thread.
    pub fn is_active(fault: u32) -> bool {
        ACTIVE.with(|active| active.get() == fault)
    }

    /// Switches one fault on for this thread; 0 switches all off.
    pub fn activate(fault: u32) {
        ACTIVE.with(|active| active.set(fault));
    }
}

#[cfg(feature = "mutations")]
pub use active::{activate, is_active};

/// True while this fault is switched on: never in a build without the feature.
#[cfg(not(feature = "mutations"))]
#[inline(always)]
pub fn is_active(_: u32) -> bool {
    false
}
