//! Key changes whose two halves lie on different partitions (rule B5), decided here once for every sink.
//!
//! An update of a key arrives as two records: `d` of the old key (header `__debezium.newkey`) on the old key's partition and `c` of the new
//! key (header `__debezium.oldkey`) on the new key's partition. Another lane may be ahead with either, by any number of other changes of
//! both keys. Whoever moved the row alone would reach into a key whose own changes are not there yet: a late update would insert the
//! vacated key again, a late delete half would bring a deleted row back, a late delete would take the moved row. So they **meet**:
//!
//! * The half that comes first is parked (`tidelock_held`), and with it every later change of *its own* key. It leaves word in
//!   `tidelock_moved`.
//! * The half that comes second finds the word. At this moment all earlier changes of both keys are applied and no later one is: it moves
//!   the row, leaves word that it is done, and wakes the first.
//! * The first, tried again, finds that, does the plain rest (the create half writes its row, the delete half deletes its key,
//!   which is gone) and takes the word away.
//! * A half whose partner will not come gives up: that one was filtered, was discarded, or lies before the start of its partition. It does
//!   its plain part and leaves word that the other need not wait either. The lane finds out (`lane/halves.rs`): after
//!   [`WAIT_ATTEMPTS_MAX`] attempts, and only when all partitions of the topic have applied what they held then. A partition that is
//!   paused or far behind may still bring the partner, and whoever went on without it would reach into changes that are not there yet.
//!
//! Halves that meet in one batch are one `Move` (BAT-4) and need none of this. Ordinary changes are not concerned at all.
//!
//! Word is a row of `tidelock_moved(pipeline, direction, entity, pair PRIMARY KEY, state, created_at_ms)`. What a sink does with a `Move` or
//! `MoveKey`, one after the other, in the order of the stage, among the first things it does with the table:
//!
//! 1. Lock and read the row of its [`pair_id`] (`SELECT … FOR UPDATE`; often there is none), then lock and read both keys' rows.
//! 2. Ask [`plan_move`] and do what it says, in the order of its fields.
//! 3. `park`: the change is parked like a row with a dependency error, `waits_for` = [`waits_for`] of the pair, and
//!    **holds only its own key** (`Change::key`): the other half must not queue behind it. `word` is written with the held row, only if
//!    there is none yet (two halves may park at the same moment; whichever word stays, one of them goes on at its next attempt).
//! 4. `wake`: held rows with this `waits_for` get `retry_at = now`, as children do when their parent arrives (rule H2).
//! 5. A row error in between is handled as for every other change; a parked change has done nothing else. The half leaves the word of
//!    [`word_when_held`], and wakes the other half if that word replaced another one. A half that dies holds its key no longer: it leaves
//!    word that it is done and wakes the other, which does its plain part (or takes the word away, if the other was done already).
//! 6. A half that the batch says is alone ([`ChangeBatch::is_alone`]) gives up, unless its other half is held too: one that queues behind an
//!    earlier change of its key has left no word.
//! 7. Words older than [`WORD_KEPT`] may be deleted at a claim.

use std::time::Duration;

use crate::batch::{Change, ChangeBatch, ChangeKind};
use crate::data::CellRange;
use crate::mutation;

/// Attempts of a parked half before anybody asks whether its partner can still come: with the usual backoff about five minutes.
pub const WAIT_ATTEMPTS_MAX: i32 = 14;

/// A word whose other half did not come for so long belongs to a record that was filtered or lies before the start of its partition.
pub const WORD_KEPT: Duration = Duration::from_secs(30 * 24 * 3600);

/// How the column `state` ends when the half that left the word has a row with unavailable cells: it needs the row that is moved.
pub const PARTIAL: &str = "_partial";

/// Word that one half of a key change leaves for the other.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Word {
    /// The delete half came first and is parked.
    DeleteWaits,
    /// The create half came first and is parked.
    CreateWaits,
    /// Both came, and both are parked: each could move the row, if something else did not hold it back.
    BothWait,
    /// One half did what there was to do; the one that reads this does its plain rest.
    Done,
}

impl Word {
    /// For the column `state`.
    pub fn name(self) -> &'static str {
        match self {
            Word::DeleteWaits => "delete_waits",
            Word::CreateWaits => "create_waits",
            Word::BothWait => "both_wait",
            Word::Done => "done",
        }
    }

    /// From the column; `None` when it is not ours.
    pub fn parse(name: &str) -> Option<Word> {
        let name = name.strip_suffix(PARTIAL).unwrap_or(name);
        [Word::DeleteWaits, Word::CreateWaits, Word::BothWait, Word::Done].into_iter().find(|word| word.name() == name)
    }
}

/// Which halves of a key change a `Move` or `MoveKey` holds.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Halves {
    /// `d` of the old key: [`ChangeKind::MoveKey`].
    Delete,
    /// `c` of the new key: [`ChangeKind::Move`] alone.
    Create,
    /// Both met in one batch: [`ChangeKind::Move`] whose first record is the delete half.
    Both,
}

impl ChangeBatch {
    /// Which halves a `Move` or `MoveKey` holds.
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

/// Names a key change for both its halves, as 32 hexadecimal digits: they have source identity, position, commit time and both keys in common.
/// Positions come again when the source's log begins anew, at a later time (rule D3). `None` when the source gave no position: then halves can't
/// know each other and each does its plain part.
pub fn pair_id(batch: &ChangeBatch, change: &Change) -> Option<String> {
    let source = &batch.records[change.first_record as usize].source;
    let position = source.position.filter(|_| !source.snapshot)?;
    let (old, new) = batch.moved_keys(change);
    let hash = |seed: u64| {
        let mut hash = batch.arena.hash_row(batch.arena.hash_row(seed, old), new);
        for word in [source.identity, position.0, position.1, position.2, source.committed_at_us.cast_unsigned()] {
            hash = xxhash_rust::xxh3::xxh3_64_with_seed(&word.to_be_bytes(), hash);
        }
        hash
    };
    Some(format!("{:016x}{:016x}", hash(1), hash(2)))
}

/// How `tidelock_held.waits_for` of a half begins.
pub const MOVE_PREFIX: &str = "move:";

/// `tidelock_held.waits_for` of a half.
pub fn waits_for(pair_id: &str) -> String {
    format!("{MOVE_PREFIX}{pair_id}")
}

/// What the target has before the move, read under locks.
#[derive(Clone, Copy, Debug)]
pub struct Present {
    /// A row under the old key.
    pub old: bool,
    /// A row under the new key.
    pub new: bool,
    /// The word of this pair.
    pub word: Option<Word>,
    /// The other half will not come: see step 6 above.
    pub is_alone: bool,
}

/// What becomes of the pair's word.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum WordChange {
    /// It stays as it is, also if there is none.
    #[default]
    Keep,
    /// It is written; with `park` only if there is none.
    Leave(Word),
    /// It is deleted.
    Take,
}

/// What to do about a `Move` or `MoveKey`, in the order of the fields.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct MovePlan {
    /// Park it and do nothing else but `word`.
    pub park: bool,
    /// Delete the row of the old key; absent is fine.
    pub delete_old: bool,
    /// Give the row of the old key the new key. Both rows were looked at: this matches exactly one.
    pub rename: bool,
    /// Write `row` under the new key: upsert, or update if it has an unavailable cell (then a row is there by now).
    pub write_new: bool,
    /// The pair's word.
    pub word: WordChange,
    /// Make the parked other half due.
    pub wake: bool,
}

/// Word that a half leaves when it is held, for a reason of its own (such as a missing parent) or because the other has not come; `None`:
/// `word` stays. Once both are held, the earlier changes of both keys are applied and the later ones queue: whoever can do so first moves the
/// row. If the first waited on for the second, it would give up after a while and delete the row with its children.
pub fn word_when_held(halves: Halves, word: Option<Word>) -> Option<Word> {
    match (halves, word) {
        (Halves::Delete, None) => Some(Word::DeleteWaits),
        (Halves::Create, None) => Some(Word::CreateWaits),
        (Halves::Delete, Some(Word::CreateWaits)) | (Halves::Create, Some(Word::DeleteWaits)) => Some(Word::BothWait),
        _ => None,
    }
}

/// Decides a `Move` or `MoveKey`.
pub fn plan_move(batch: &ChangeBatch, change: &Change, present: Present) -> MovePlan {
    let halves = batch.halves(change);
    let Present { old, new, word, is_alone } = present;
    let moves = old && !new;
    let (waits, awaited) = match halves {
        Halves::Delete => (Word::DeleteWaits, Word::CreateWaits),
        Halves::Create | Halves::Both => (Word::CreateWaits, Word::DeleteWaits),
    };
    let plain =
        MovePlan { delete_old: halves == Halves::Delete, write_new: halves == Halves::Create, ..MovePlan::default() };
    let whole = MovePlan {
        delete_old: old && !moves,
        rename: moves,
        write_new: halves != Halves::Delete,
        ..MovePlan::default()
    };
    let plan = match word {
        _ if halves == Halves::Both => whole,
        _ if mutation::is_active(mutation::NO_MEETING) => whole,
        _ if pair_id(batch, change).is_none() => plain,
        Some(word) if word == awaited || word == Word::BothWait => {
            MovePlan { word: WordChange::Leave(Word::Done), wake: true, ..whole }
        }
        Some(Word::Done) => MovePlan { word: WordChange::Take, ..plain },
        _ if !is_alone => {
            return MovePlan { park: true, word: WordChange::Leave(waits), ..MovePlan::default() };
        }
        _ => MovePlan { word: WordChange::Leave(Word::Done), ..plain },
    };
    if plan.write_new && is_partial(batch, change) && !new && !plan.rename {
        // No row to take the cells from (rule B3).
        return MovePlan { park: true, ..MovePlan::default() };
    }
    plan
}

/// True when some cells of the change's row were not sent: they are those of the row that is there.
pub fn is_partial(batch: &ChangeBatch, change: &Change) -> bool {
    batch.arena.row(change.row).iter().any(|cell| cell.is_unavailable())
}

#[cfg(test)]
#[path = "moves_tests.rs"]
mod tests;
