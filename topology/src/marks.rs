//! Dedupe by source position (PROTOCOL rules D1–D4).
//!
//! Debezium re-sends a contiguous suffix of its log after a restart, at new Kafka offsets. One mark per source identity
//! remembers how far a task has come; what lies below it is a resend and is dropped, unless the log itself was reset.
//! Marks are stored in the ledger row, so they move in the same transaction as the rows; so does the state of processors, which travels
//! with them.

use crate::mutation;
use crate::record::{Position, Source};
use crate::state::TaskState;

/// Identities remembered per task (rule L); the least recently used goes first.
pub const IDENTITIES_MAX: usize = 16;

/// Changes remembered at one equal position (rule D2); beyond the bound equal positions pass. A PostgreSQL COPY logs the rows of a page in one
/// record, so they have one position: at most 291 with pages of 8 KiB (`MaxHeapTuplesPerPage`).
pub const SET_MAX: usize = 320;

/// First byte of the marks in the ledger row: marks alone, or the length of the marks, the marks, and the stores of processors.
const MARKS_ONLY: u8 = 1;
const MARKS_AND_STATE: u8 = 2;

/// How far the log of one source identity has been seen.
#[derive(Clone, Debug, PartialEq, Eq)]
struct Mark {
    identity: u64,
    position: Position,
    committed_at_us: i64,
    /// Fingerprints (operation and key) seen at exactly `position`; `None` after an overflow.
    set: Option<Vec<u64>>,
}

/// What one task remembers between batches: its marks, most recently used last, and the stores of its processors.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Marks {
    marks: Vec<Mark>,
    /// What the task's processors remember.
    pub state: TaskState,
}

/// What the marks say about a record.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Seen {
    /// New: take it.
    New,
    /// Sent again by the source: drop and count.
    Resent,
    /// The position went back but time went on: the log was reset; take it, the mark was replaced (rule D3).
    LogReset,
}

impl Marks {
    /// True when records of this source from after this one were taken: then this one is not to come any more. Not where the source's log began
    /// anew, for its positions begin anew too (rule D3).
    pub fn is_past(&self, source: &Source) -> bool {
        let Some(position) = source.position else { return false };
        let mark = self.marks.iter().rfind(|mark| mark.identity == source.identity);
        mark.is_some_and(|mark| mark.position > position && mark.committed_at_us >= source.committed_at_us)
    }

    /// What a record is; nothing is remembered of it. Snapshot reads and records without position are always new (rule B8).
    pub fn look(&self, source: &Source, fingerprint: u64) -> Seen {
        let Some(position) = source.position.filter(|_| !source.snapshot) else { return Seen::New };
        let Some(mark) = self.marks.iter().rfind(|mark| mark.identity == source.identity) else { return Seen::New };
        let is_later = source.committed_at_us > mark.committed_at_us;
        if position > mark.position {
            return Seen::New;
        }
        if position == mark.position && !is_later {
            let is_known = mark.set.as_ref().is_some_and(|set| set.contains(&fingerprint));
            let is_resent = is_known || mutation::is_active(mutation::EQUAL_POSITION_IS_RESENT);
            return if is_resent { Seen::Resent } else { Seen::New };
        }
        if is_later { Seen::LogReset } else { Seen::Resent }
    }

    /// Moves the mark past a record, unless it was sent again. Not for a record at which the task stops: that one has its turn yet.
    pub fn note(&mut self, source: &Source, fingerprint: u64) {
        let Some(position) = source.position.filter(|_| !source.snapshot) else { return };
        let Some(at) = self.marks.iter().position(|mark| mark.identity == source.identity) else {
            if self.marks.len() == IDENTITIES_MAX {
                self.marks.remove(0);
            }
            self.marks.push(Mark::at(source, position, fingerprint));
            return;
        };
        if at + 1 != self.marks.len() {
            let mark = self.marks.remove(at);
            self.marks.push(mark);
        }
        let mark = self.marks.last_mut().expect("found above");
        let is_later = source.committed_at_us > mark.committed_at_us;
        if position > mark.position {
            let latest = mark.committed_at_us.max(source.committed_at_us);
            mark.advance(source, position, fingerprint);
            // A long transaction carries the time of its start, behind younger ones: the mark keeps the latest time, else a resend of
            // a younger one would look like a new log.
            if !mutation::is_active(mutation::MARK_TIME_GOES_BACK) {
                mark.committed_at_us = latest;
            }
        } else if position == mark.position && !is_later {
            match &mut mark.set {
                Some(set) if set.contains(&fingerprint) => {}
                Some(set) if set.len() == SET_MAX => mark.set = None,
                Some(set) => set.push(fingerprint),
                None => {}
            }
        } else if is_later {
            mark.advance(source, position, fingerprint);
        }
    }

    /// Both: looks at a record and moves the mark past it.
    pub fn check(&mut self, source: &Source, fingerprint: u64) -> Seen {
        let seen = self.look(source, fingerprint);
        self.note(source, fingerprint);
        seen
    }

    /// Packs the marks for the ledger row.
    pub fn encode(&self) -> Vec<u8> {
        let mut out = vec![MARKS_ONLY];
        for mark in &self.marks {
            out.extend_from_slice(&mark.identity.to_be_bytes());
            for part in [mark.position.0, mark.position.1, mark.position.2] {
                out.extend_from_slice(&part.to_be_bytes());
            }
            out.extend_from_slice(&mark.committed_at_us.to_be_bytes());
            match &mark.set {
                None => out.extend_from_slice(&u16::MAX.to_be_bytes()),
                Some(set) => {
                    out.extend_from_slice(&(set.len() as u16).to_be_bytes());
                    for fingerprint in set {
                        out.extend_from_slice(&fingerprint.to_be_bytes());
                    }
                }
            }
        }
        if !self.state.is_empty() {
            // Readers of the first form refuse the second: they would forget the state.
            let length = (out.len() - 1) as u32;
            out[0] = MARKS_AND_STATE;
            out.splice(1..1, length.to_be_bytes());
            self.state.encode_into(&mut out);
        }
        out
    }

    /// Unpacks; `None` when the bytes are not ours.
    pub fn decode(bytes: &[u8]) -> Option<Marks> {
        let Some((version, mut rest)) = bytes.split_first() else { return Some(Marks::default()) };
        let mut state = TaskState::default();
        match *version {
            MARKS_ONLY => {}
            MARKS_AND_STATE => {
                let (length, tail) = rest.split_first_chunk::<4>()?;
                let (own, stores) = tail.split_at_checked(usize::try_from(u32::from_be_bytes(*length)).ok()?)?;
                state = TaskState::decode(stores)?;
                rest = own;
            }
            _ => return None,
        }
        let mut marks = Vec::new();
        while !rest.is_empty() {
            let mut word = || -> Option<u64> {
                let (word, tail) = rest.split_first_chunk::<8>()?;
                rest = tail;
                Some(u64::from_be_bytes(*word))
            };
            let identity = word()?;
            let position = Position(word()?, word()?, word()?);
            let committed_at_us = word()?.cast_signed();
            let (count, tail) = rest.split_first_chunk::<2>()?;
            rest = tail;
            let count = u16::from_be_bytes(*count);
            let set = if count == u16::MAX {
                None
            } else {
                let mut set = Vec::with_capacity(usize::from(count).min(SET_MAX));
                for _ in 0..count {
                    let (word, tail) = rest.split_first_chunk::<8>()?;
                    rest = tail;
                    set.push(u64::from_be_bytes(*word));
                }
                Some(set)
            };
            marks.push(Mark { identity, position, committed_at_us, set });
        }
        Some(Marks { marks, state })
    }
}

impl Mark {
    fn at(source: &Source, position: Position, fingerprint: u64) -> Mark {
        Mark {
            identity: source.identity,
            position,
            committed_at_us: source.committed_at_us,
            set: Some(vec![fingerprint]),
        }
    }

    fn advance(&mut self, source: &Source, position: Position, fingerprint: u64) {
        self.position = position;
        self.committed_at_us = source.committed_at_us;
        match &mut self.set {
            Some(set) => {
                set.clear();
                set.push(fingerprint);
            }
            None => self.set = Some(vec![fingerprint]),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn source(position: u64, time: i64) -> Source {
        Source { identity: 7, position: Some(Position(1, position, 0)), committed_at_us: time, ..Source::default() }
    }

    #[test]
    fn what_processors_remember_is_stored_with_the_marks() {
        use crate::state::StateStore;
        let mut marks = Marks::default();
        marks.check(&source(5, 10), 1);
        let alone = marks.encode();
        marks.state.store("seen").put(b"id", b"").unwrap();
        let both = marks.encode();
        assert_eq!((alone[0], both[0]), (MARKS_ONLY, MARKS_AND_STATE));
        assert_eq!(Marks::decode(&both), Some(marks));
        for end in 1..both.len() {
            let _ = Marks::decode(&both[..end]);
        }
    }

    #[test]
    fn a_resent_suffix_is_dropped_and_new_changes_pass() {
        let mut marks = Marks::default();
        for at in 1..=5 {
            assert_eq!(marks.check(&source(at, 10), at), Seen::New);
        }
        for at in 3..=5 {
            assert_eq!(marks.check(&source(at, 10), at), Seen::Resent);
        }
        assert_eq!(marks.check(&source(6, 10), 6), Seen::New);
    }

    #[test]
    fn different_changes_at_one_position_both_pass_once() {
        let mut marks = Marks::default();
        assert_eq!(marks.check(&source(1, 10), 100), Seen::New);
        assert_eq!(marks.check(&source(1, 10), 200), Seen::New);
        assert_eq!(marks.check(&source(1, 10), 100), Seen::Resent);
        assert_eq!(marks.check(&source(1, 10), 200), Seen::Resent);
    }

    #[test]
    fn a_lower_position_with_a_later_time_means_the_log_was_reset() {
        let mut marks = Marks::default();
        marks.check(&source(900, 10), 1);
        assert_eq!(marks.check(&source(4, 11), 2), Seen::LogReset);
        assert_eq!(marks.check(&source(5, 11), 3), Seen::New);
        assert_eq!(marks.check(&source(4, 11), 2), Seen::Resent);
    }

    #[test]
    fn a_resend_is_dropped_also_when_commit_times_do_not_grow_with_positions() {
        let mut marks = Marks::default();
        marks.check(&source(1, 50), 1);
        marks.check(&source(2, 20), 2);
        assert_eq!(marks.check(&source(1, 50), 1), Seen::Resent);
        assert_eq!(marks.check(&source(2, 20), 2), Seen::Resent);
    }

    #[test]
    fn an_equal_position_with_a_later_time_means_the_log_was_reset() {
        let mut marks = Marks::default();
        marks.check(&source(20, 10), 1);
        assert_eq!(marks.check(&source(20, 11), 1), Seen::LogReset);
        assert_eq!(marks.check(&source(20, 11), 1), Seen::Resent);
    }

    #[test]
    fn snapshot_reads_never_move_a_mark() {
        let mut marks = Marks::default();
        marks.check(&source(5, 10), 1);
        let before = marks.clone();
        assert_eq!(marks.check(&Source { snapshot: true, ..source(900, 99) }, 2), Seen::New);
        assert_eq!(marks, before);
    }

    #[test]
    fn a_page_of_copied_rows_at_one_position_is_known_when_it_comes_again() {
        let mut marks = Marks::default();
        let rows = 0..291;
        assert!(rows.clone().all(|fingerprint| marks.check(&source(7, 1), fingerprint) == Seen::New));
        let mut marks = Marks::decode(&marks.encode()).unwrap();
        assert!(rows.clone().all(|fingerprint| marks.check(&source(7, 1), fingerprint) == Seen::Resent));
    }

    #[test]
    fn equal_positions_pass_after_the_set_overflows() {
        let mut marks = Marks::default();
        for fingerprint in 0..=SET_MAX as u64 {
            assert_eq!(marks.check(&source(1, 1), fingerprint), Seen::New);
        }
        assert_eq!(marks.check(&source(1, 1), 0), Seen::New);
    }

    #[test]
    fn marks_survive_the_way_through_the_ledger() {
        let mut marks = Marks::default();
        for identity in 0..20 {
            marks.check(&Source { identity, ..source(identity, 3) }, identity);
        }
        assert_eq!(Marks::decode(&marks.encode()), Some(marks.clone()));
        assert_eq!(marks.marks.len(), IDENTITIES_MAX);
        assert_eq!(Marks::decode(&[]), Some(Marks::default()));
        assert_eq!(Marks::decode(&[1, 2, 3]), None);
    }
}
