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

/// D: the ledger does not keep the dedupe marks.
pub const MARKS_NOT_STORED: u32 = 8;
/// D: the release of a held row writes the marks of the claim back.
pub const RELEASE_WRITES_OLD_MARKS: u32 = 9;
/// B5: a half of a key change moves the row without its other half.
pub const NO_MEETING: u32 = 10;
/// D2: an equal position counts as a resend, whatever the change.
pub const EQUAL_POSITION_IS_RESENT: u32 = 11;
/// D3: the mark keeps the last commit time instead of the latest.
pub const MARK_TIME_GOES_BACK: u32 = 12;
/// H3: later changes of a held key do not wait behind it.
pub const HELD_KEY_FLOWS: u32 = 13;
/// L1: a span begins at its first record, not at the ledger's offset.
pub const SPAN_FROM_FIRST_RECORD: u32 = 14;
/// L1: progress is committed before the rows, not with them.
pub const PROGRESS_BEFORE_ROWS: u32 = 15;
/// An idle lane never looks at its ledger rows.
pub const NO_IDLE_CHECK: u32 = 16;
/// BAT-4: a delete after a key change in one batch swallows it.
pub const DELETE_SWALLOWS_MOVE: u32 = 17;
/// ORD-1: records from before a seek are taken.
pub const TAKE_BELOW_POSITION: u32 = 18;
/// A6: records of a new generation go on at once.
pub const NO_BARRIER: u32 = 19;
/// O2: what the group's offset says of published outputs is not believed.
pub const PUBLISH_ALL_AGAIN: u32 = 20;
/// O2: outputs are deleted before they are published.
pub const FORGET_UNPUBLISHED: u32 = 21;
/// O1: the ledger row does not keep the number of the last output.
pub const OUTPUTS_NOT_NUMBERED: u32 = 22;
/// B5: half a key change gives up though its other half may still come.
pub const GIVE_UP_EARLY: u32 = 23;

/// Every fault with its name.
pub const ALL: [(u32, &str); 23] = [
    (NO_CAS, "no_cas"),
    (CLAIM_WITHOUT_EPOCH, "claim_without_epoch"),
    (MARK_AFTER_GUARD, "mark_after_guard"),
    (UNKNOWN_IS_APPLIED, "unknown_is_applied"),
    (KEEP_FIRST_CHANGE, "keep_first_change"),
    (NO_REWIND, "no_rewind"),
    (WRITE_UNAVAILABLE, "write_unavailable"),
    (MARKS_NOT_STORED, "marks_not_stored"),
    (RELEASE_WRITES_OLD_MARKS, "release_writes_old_marks"),
    (NO_MEETING, "no_meeting"),
    (EQUAL_POSITION_IS_RESENT, "equal_position_is_resent"),
    (MARK_TIME_GOES_BACK, "mark_time_goes_back"),
    (HELD_KEY_FLOWS, "held_key_flows"),
    (SPAN_FROM_FIRST_RECORD, "span_from_first_record"),
    (PROGRESS_BEFORE_ROWS, "progress_before_rows"),
    (NO_IDLE_CHECK, "no_idle_check"),
    (DELETE_SWALLOWS_MOVE, "delete_swallows_move"),
    (TAKE_BELOW_POSITION, "take_below_position"),
    (NO_BARRIER, "no_barrier"),
    (PUBLISH_ALL_AGAIN, "publish_all_again"),
    (FORGET_UNPUBLISHED, "forget_unpublished"),
    (OUTPUTS_NOT_NUMBERED, "outputs_not_numbered"),
    (GIVE_UP_EARLY, "give_up_early"),
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
