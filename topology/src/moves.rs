//! Key changes whose two halves lie on different partitions (rule B5), decided here once for every sink.
//!
//! An update of a key arrives as two records: `d` of the old key (header `__debezium.newkey`) on the old key's partition and `c` of the new
//! key (header `__debezium.oldkey`) on the new key's partition. Another lane may be ahead with either. Whichever half is applied *first*
//! moves the row and so reaches into the key of the other partition, which that partition's own changes do not know of. Therefore:
//!
//! * The first half leaves a **mark** on the other half's key, in the same transaction. Both halves carry the same source identity and
//!   position, and so find each other.
//! * The second half finds the mark, takes it away and never moves anything: the create half writes its row, the delete half deletes its key.
//! * A mark that says that the row itself was taken away or put there (a **floor**) makes the older changes of that key stale: they are
//!   dropped, for the move already overtook them. Without it a late update re-inserts the vacated key, a late delete deletes the moved row.
//!
//! Marks are rows of `tidelock_moved(pipeline, direction, entity, key_id, mark PRIMARY KEY, committed_at_us, floor, created_at_ms)`.
//! A key may have several. What a sink does:
//!
//! 1. A batch with a `Move` or `MoveKey` ([`ChangeBatch::has_moves`]) first locks all ledger rows of its pipeline and direction, in key
//!    order, *then* does its CAS. So it runs alone in its direction, and no other batch can slip between its look at a key and its write.
//!    Everybody locks ledger rows in key order, so nobody deadlocks. (SQLite: nothing to do, writers are alone anyway.)
//! 2. After the CAS it reads the marks of its direction (normally none: one statement per batch, no lock; READ COMMITTED is enough because
//!    whoever writes a mark holds our ledger row).
//! 3. An ordinary change whose key has marks is applied unless [`standing_of_change`] says `Stale`; a stale one counts as applied.
//! 4. A `Move` or `MoveKey` goes by [`plan_move`], one after the other, in the order of the stage; marks it leaves or takes count at once.
//! 5. Rows that were held and are tried again go the same way. A change that is parked has done nothing and leaves no mark.
//! 6. Marks older than [`MARK_KEPT`] may be deleted at a claim: their other half never came.
//!
//! What this does not do: it does not save the children of a row whose key change meets a target row under the new key; such a row can
//! only be deleted (rule B5).

use std::time::Duration;

use crate::batch::{Change, ChangeBatch, ChangeKind};
use crate::data::{Arena, CellRange};
use crate::record::{Position, Source};

/// A mark whose other half did not come for so long belongs to a record that was filtered or lies before the start of its partition.
pub const MARK_KEPT: Duration = Duration::from_secs(30 * 24 * 3600);

/// One half of a key change was applied, and this key waits for the other one.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct MoveMark {
    /// Whose log the position belongs to (rule D2).
    pub identity: u64,
    /// Place of the key change in that log.
    pub position: Position,
    /// Its commit time at the source.
    pub committed_at_us: i64,
    /// The row of this key was taken away or put there: older changes of the key are stale.
    pub floor: bool,
}

impl MoveMark {
    /// The mark that a half leaves; `None` when the source gave no position: then halves can't find each other and nothing is ever moved.
    pub fn of(source: &Source, floor: bool) -> Option<MoveMark> {
        let position = source.position.filter(|_| !source.snapshot)?;
        Some(MoveMark { identity: source.identity, position, committed_at_us: source.committed_at_us, floor })
    }

    /// Identity and position as 64 hexadecimal digits, for the column `mark`.
    pub fn text(&self) -> String {
        let Position(a, b, c) = self.position;
        format!("{:016x}{a:016x}{b:016x}{c:016x}", self.identity)
    }

    /// From the columns of a row; `None` when the text is not ours.
    pub fn parse(text: &str, committed_at_us: i64, floor: bool) -> Option<MoveMark> {
        let word = |at: usize| u64::from_str_radix(text.get(at * 16..at * 16 + 16)?, 16).ok();
        let position = Position(word(1)?, word(2)?, word(3)?);
        (text.len() == 64).then_some(())?;
        Some(MoveMark { identity: word(0)?, position, committed_at_us, floor })
    }

    fn is_of(&self, source: &Source) -> bool {
        !source.snapshot && source.identity == self.identity && source.position == Some(self.position)
    }

    /// True when the change is surely later than the mark. In doubt an older change counts as later: applied it heals when the other
    /// half comes, dropped by mistake it would be lost.
    fn is_before(&self, source: &Source) -> bool {
        let by_position = !source.snapshot && source.identity == self.identity && source.position > Some(self.position);
        by_position || source.committed_at_us > self.committed_at_us || source.committed_at_us == 0
    }
}

/// Names a key in `tidelock_moved.key_id`: 128 bits of hash as 32 hexadecimal digits. Layout of `key`: [`crate::batch::WriteTable::key_layout`].
pub fn key_id(arena: &Arena, key: CellRange) -> String {
    format!("{:016x}{:016x}", arena.hash_row(1, key), arena.hash_row(2, key))
}

/// How a change stands to the marks of its key.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Standing {
    /// No mark concerns it.
    Fresh,
    /// A later key change moved the row away from this key, or onto it: the change is overtaken.
    Stale,
    /// It is the half that a mark waits for.
    Second,
}

/// How the record with this source block stands to the marks of a key.
pub fn standing(marks: &[MoveMark], source: &Source) -> Standing {
    if marks.iter().any(|mark| mark.is_of(source)) {
        Standing::Second
    } else if marks.iter().any(|mark| mark.floor && !mark.is_before(source)) {
        Standing::Stale
    } else {
        Standing::Fresh
    }
}

/// Of a reduced change that is no move: its last record decides. Never `Second`.
pub fn standing_of_change(marks: &[MoveMark], batch: &ChangeBatch, change: &Change) -> Standing {
    match standing(marks, &batch.records[change.last_record as usize].source) {
        Standing::Stale => Standing::Stale,
        _ => Standing::Fresh,
    }
}

/// Which halves of a key change a `Move` or `MoveKey` holds.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Halves {
    /// `d` of the old key.
    Delete,
    /// `c` of the new key.
    Create,
    /// Both, met in one batch.
    Both,
}

/// What the target has before the move, read under the lock of step 1.
#[derive(Clone, Copy, Debug)]
pub struct Present {
    /// A row under the old key.
    pub old: bool,
    /// A row under the new key.
    pub new: bool,
}

/// Which key of a move.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Side {
    /// The old one.
    Old,
    /// The new one.
    New,
}

/// What to do about a `Move` or `MoveKey`, in the order of the fields.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct MovePlan {
    /// The row lacks cells and there is no row to take them from: park the change, waiting for the row (rule B3), and do nothing else.
    pub park: bool,
    /// Take away the mark of this key change from the new key, and its older marks: see [`MovePlan::takes`].
    pub take_new: bool,
    /// Likewise from the old key.
    pub take_old: bool,
    /// Delete the row of the old key; absent is fine.
    pub delete_old: bool,
    /// Give the row of the old key the new key. Both rows were looked at: this cannot fail to match.
    pub rename: bool,
    /// Write `row` under the new key: upsert, or update if it has an unavailable cell (then a row is there by now).
    pub write_new: bool,
    /// Leave a mark on this side's key; insert or, if it is there, set its floor.
    pub leave: Option<(Side, MoveMark)>,
}

impl MovePlan {
    /// True when `mark` goes with [`MovePlan::take_new`] or [`MovePlan::take_old`]: it is this key change's, or an older one of its log.
    pub fn takes(mark: &MoveMark, source: &Source) -> bool {
        mark.is_of(source) || (mark.identity == source.identity && Some(mark.position) < source.position)
    }
}

impl ChangeBatch {
    /// True when a change is a `Move` or `MoveKey`: then the batch locks the whole direction first (step 1).
    pub fn has_moves(&self) -> bool {
        let mut changes = self.stages.iter().flat_map(|stage| &stage.tables).flat_map(|table| &table.changes);
        changes.any(|change| matches!(change.kind, ChangeKind::Move | ChangeKind::MoveKey))
    }

    /// Which halves a `Move` or `MoveKey` holds. Its first record is always a half.
    pub fn halves(&self, change: &Change) -> Halves {
        match (change.kind, self.records[change.first_record as usize].new_key) {
            (ChangeKind::MoveKey, _) => Halves::Delete,
            (_, Some(_)) => Halves::Both,
            (_, None) => Halves::Create,
        }
    }

    /// Old and new key of a `Move` or `MoveKey`.
    pub fn moved_keys(&self, change: &Change) -> (CellRange, CellRange) {
        let other = change.old_key.expect("a move names both its keys (BAT-4)");
        if change.kind == ChangeKind::MoveKey { (change.key, other) } else { (other, change.key) }
    }
}

/// Decides a `Move` or `MoveKey`. `old_marks` and `new_marks` are all marks of its two keys.
pub fn plan_move(
    batch: &ChangeBatch,
    change: &Change,
    old_marks: &[MoveMark],
    new_marks: &[MoveMark],
    present: Present,
) -> MovePlan {
    let half = &batch.records[change.first_record as usize].source;
    let last = &batch.records[change.last_record as usize].source;
    let old = standing(old_marks, half);
    // Later changes of the new key may have joined a create half; the youngest decides whether all is overtaken.
    let new = match standing(new_marks, half) {
        Standing::Stale => standing_later(new_marks, last),
        other => other,
    };
    let Present { old: old_there, new: new_there } = present;
    let plan = match batch.halves(change) {
        Halves::Delete => match (old, new) {
            (Standing::Stale, _) => MovePlan::default(),
            (Standing::Second, _) => MovePlan { take_old: true, delete_old: true, ..MovePlan::default() },
            (Standing::Fresh, Standing::Stale) => MovePlan { delete_old: true, ..MovePlan::default() },
            (Standing::Fresh, _) => {
                let mark = MoveMark::of(half, false);
                let rename = mark.is_some() && old_there && !new_there;
                let leave = mark.map(|mark| (Side::New, MoveMark { floor: rename, ..mark }));
                MovePlan { delete_old: !rename, rename, leave, ..MovePlan::default() }
            }
        },
        Halves::Create => match (old, new) {
            (_, Standing::Stale) => MovePlan::default(),
            (_, Standing::Second) => MovePlan { take_new: true, write_new: true, ..MovePlan::default() },
            (Standing::Stale, Standing::Fresh) => MovePlan { write_new: true, ..MovePlan::default() },
            (_, Standing::Fresh) => {
                let mark = MoveMark::of(half, true);
                let rename = mark.is_some() && old_there && !new_there;
                MovePlan {
                    delete_old: mark.is_some() && !rename,
                    rename,
                    write_new: true,
                    leave: mark.map(|mark| (Side::Old, mark)),
                    ..MovePlan::default()
                }
            }
        },
        Halves::Both => {
            let rename = old == Standing::Fresh && new == Standing::Fresh && old_there && !new_there;
            MovePlan {
                take_old: true,
                take_new: true,
                delete_old: old != Standing::Stale && !rename,
                rename,
                write_new: new != Standing::Stale,
                ..MovePlan::default()
            }
        }
    };
    let is_partial = batch.arena.row(change.row).iter().any(|cell| cell.is_unavailable());
    if plan.write_new && is_partial && !new_there && !plan.rename {
        return MovePlan { park: true, ..MovePlan::default() };
    }
    plan
}

fn standing_later(marks: &[MoveMark], last: &Source) -> Standing {
    if standing(marks, last) == Standing::Stale { Standing::Stale } else { Standing::Fresh }
}

#[cfg(test)]
#[path = "moves_tests.rs"]
mod tests;
