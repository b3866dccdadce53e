//! The judge: looks at every commit, and in the end at the tables. What it checks is named by the engine's invariants.
//!
//! OFF-1 no progress past a record that is not applied, held or dropped on purpose (by the history table, commit by commit) ·
//! OFF-2 progress never goes back within an epoch · FEN-1 no write under an old epoch, and every claim raises it ·
//! O2 dead letters are on their topic exactly once · D1 marks move with progress only · L4 no lane believes more to be committed than is · ORD-1 a reader of one key never sees it go back · dead letters exactly once · at the end the tables equal the source's.

use std::collections::{BTreeMap, BTreeSet};

use topology::data::Value;
use topology::driver::{Commit, HeldState, HistoryRow, MemoryTarget, Place};
use topology::ledger::TaskKey;
use topology::marks::Marks;
use topology::output::Output;
use topology::raw::headers;

use super::source::{Fate, Sent, Source, User, show};

pub(crate) const MIRROR: &str = "mirror";
pub(crate) const HISTORY: &str = "history";

type Verdict = Result<(), String>;

#[derive(Default)]
pub(crate) struct Judge {
    /// Records of the users topic that must become history rows, and those that must be dead, by (partition, offset).
    expected: BTreeMap<(i32, i64), Fate>,
    /// Epoch and progress of each task as committed.
    ledger: BTreeMap<TaskKey, (i64, i64)>,
    /// Dedupe marks of each task as committed.
    marks: BTreeMap<TaskKey, Marks>,
    /// The target went back to a backup: what lanes believe is checked no more.
    is_restored: bool,
    /// How far a reader has seen each key of users, as an index into its timeline.
    seen: BTreeMap<i64, usize>,
}

impl Judge {
    pub(crate) fn sent(&mut self, sent: &Sent) {
        if sent.partition.0 == super::source::USERS {
            self.expected.insert((sent.partition.1, sent.offset), sent.fate);
        }
    }

    /// The target went back to a backup: readers know that.
    pub(crate) fn restored(&mut self, target: &MemoryTarget) {
        self.seen.clear();
        self.is_restored = true;
        let ledger = target.ledger();
        self.ledger = ledger.iter().map(|(task, row)| (task.clone(), (row.epoch, row.next_offset))).collect();
        self.marks = ledger.into_iter().map(|(task, row)| (task, row.marks)).collect();
    }

    pub(crate) fn commit(&mut self, commit: &Commit, source: &Source) -> Verdict {
        for span in &commit.spans {
            let (epoch, progress) = self.ledger.get(&span.task).copied().unwrap_or_default();
            if span.epoch != epoch {
                return Err(format!("FEN-1: {} written under epoch {}, it is {epoch}", span.task, span.epoch));
            }
            if span.from != progress || span.to < span.from {
                return Err(format!("OFF-2: {} went {}→{} from {progress}", span.task, span.from, span.to));
            }
            if &*span.task.direction == HISTORY {
                self.check_history(&span.task, span.from..span.to, &commit.history)?;
            }
        }
        for (task, row) in &commit.ledger {
            let (epoch, progress) = self.ledger.get(task).copied().unwrap_or_default();
            let is_claim = commit.spans.iter().all(|span| span.task != *task);
            if is_claim && row.epoch <= epoch {
                return Err(format!("FEN-1: a claim of {task} left its epoch at {epoch}"));
            }
            if is_claim && row.next_offset != progress {
                return Err(format!("OFF-2: a claim of {task} moved its progress {progress}→{}", row.next_offset));
            }
            // Claims and releases of held rows move nothing, so they see nothing new.
            if row.next_offset == progress && self.marks.get(task).is_some_and(|marks| *marks != row.marks) {
                return Err(format!("D1: the marks of {task} changed though its progress stays at {progress}"));
            }
            self.ledger.insert(task.clone(), (row.epoch, row.next_offset));
            self.marks.insert(task.clone(), row.marks.clone());
        }
        for (place, row) in &commit.rows {
            if &*place.table == "users" {
                self.look(place, row.as_deref(), source)?;
            }
        }
        Ok(())
    }

    /// What a lane believes to be committed is (rule L4): else outputs and group offsets would run ahead of the rows.
    pub(crate) fn believes(&self, direction: &str, topic: &str, partition: i32, next_offset: i64) -> Verdict {
        let is_it = |task: &TaskKey| (&*task.direction, &*task.topic, task.partition) == (direction, topic, partition);
        let found = self.ledger.iter().find(|(task, _)| is_it(task));
        let progress = found.map_or(0, |(_, (_, progress))| *progress);
        if self.is_restored || next_offset <= progress {
            return Ok(());
        }
        Err(format!(
            "L4: a lane of {direction} believes {topic}[{partition}] to be at {next_offset}, it is at {progress}"
        ))
    }

    /// Every record of the range is in the history exactly once, if it belongs there, in order.
    fn check_history(&self, task: &TaskKey, range: std::ops::Range<i64>, rows: &[HistoryRow]) -> Verdict {
        let of_task = rows.iter().filter(|row| row.partition == task.partition && row.topic == task.topic);
        let written: Vec<i64> = of_task.map(|row| row.offset).collect();
        let due = range.clone().filter(|offset| {
            let fate = self.expected.get(&(task.partition, *offset));
            matches!(fate, Some(Fate::Applied | Fate::DeadInMirror))
        });
        let due: Vec<i64> = due.collect();
        if due == written {
            return Ok(());
        }
        Err(format!("OFF-1: {task} moved over {range:?}: history must get offsets {due:?}, got {written:?}"))
    }

    /// ORD-1: finds what the reader sees in the key's timeline, not before what it saw last.
    fn look(&mut self, place: &Place, row: Option<&[Value]>, source: &Source) -> Verdict {
        let key = i64::from_be_bytes(place.key[1..9].try_into().expect("a number key")) ^ i64::MIN;
        let none = vec![None];
        let timeline = source.timeline.get(&key).unwrap_or(&none);
        let last = self.seen.get(&key).copied().unwrap_or_default();
        let is_it = |state: &Option<User>| match (state, row) {
            (None, None) => true,
            (Some(user), Some(row)) => {
                // A row that moved here may still look as it did under its old key.
                let is_moved = row[1] == Value::I64(user.row) && number(&row[2]) < user.version;
                is_moved || user.values(key) == row
            }
            _ => false,
        };
        let found = timeline.iter().enumerate().skip(last).find(|(_, state)| is_it(state));
        if let Some((at, _)) = found {
            self.seen.insert(key, at);
            return Ok(());
        }
        let seen = row.map_or("no row".to_owned(), show);
        let was = timeline[last].as_ref().map_or("no row".to_owned(), |user| show(&user.values(key)));
        Err(format!("ORD-1: a reader of users {key} sees ({seen}) after ({was}): it went back, or never was"))
    }

    /// After everything came to rest.
    pub(crate) fn finish(&self, target: &MemoryTarget, source: &Source, outputs: &[Output]) -> Verdict {
        let users = source.users.iter().map(|(key, user)| user.values(*key)).collect();
        let parents = source.parents.iter().map(|(key, version)| numbers(&[*key, *version])).collect();
        let children =
            source.children.iter().map(|(key, (version, parent))| numbers(&[*key, *version, *parent])).collect();
        for (table, model) in [("users", users), ("parents", parents), ("children", children)] {
            compare(table, &target.rows(table), &model)?;
        }
        let mut kept: BTreeMap<(&str, i32, i64), usize> = BTreeMap::new();
        let held = target.held();
        for ((task, id), entry) in &held {
            if entry.state != HeldState::Dead {
                return Err(format!("{task} offset {} is still held: {}", id.offset, entry.message));
            }
            let direction = if &*task.direction == HISTORY { HISTORY } else { MIRROR };
            *kept.entry((direction, task.partition, id.offset)).or_default() += 1;
        }
        let dead = |fates: &'static [Fate]| {
            self.expected.iter().filter(|(_, fate)| fates.contains(fate)).map(|(place, _)| *place)
        };
        let in_mirror = dead(&[Fate::Dead, Fate::DeadInMirror]).map(|(partition, offset)| (MIRROR, partition, offset));
        let in_history = dead(&[Fate::Dead]).map(|(partition, offset)| (HISTORY, partition, offset));
        let due: BTreeSet<(&str, i32, i64)> = in_mirror.chain(in_history).collect();
        self.check_letters(&due, outputs)?;
        let kept: BTreeSet<(&str, i32, i64)> = kept.into_keys().collect();
        if due != kept {
            let (missing, extra): (Vec<_>, Vec<_>) = (due.difference(&kept).collect(), kept.difference(&due).collect());
            return Err(format!("DLQ-1: dead letters are missing {missing:?}, too many {extra:?}"));
        }
        Ok(())
    }
}

impl Judge {
    /// O2: every dead record is on the dead-letter topic once; more often only if the target went back to a time before it died.
    fn check_letters(&self, due: &BTreeSet<(&str, i32, i64)>, outputs: &[Output]) -> Verdict {
        let mut published: BTreeMap<(&str, i32, i64), usize> = BTreeMap::new();
        for output in outputs {
            let direction = if &*output.task.direction == HISTORY { HISTORY } else { MIRROR };
            let offset = headers(&output.headers).find(|(name, _)| *name == "__connect.errors.offset");
            let offset = offset.and_then(|(_, value)| std::str::from_utf8(value?).ok()?.parse().ok());
            let offset = offset.ok_or_else(|| format!("O1: an output of {} names no offset", output.task))?;
            *published.entry((direction, output.task.partition, offset)).or_default() += 1;
        }
        for letter in due {
            match published.remove(letter) {
                None => return Err(format!("O2: the dead letter of {letter:?} was never published")),
                Some(1) => {}
                Some(_) if self.is_restored => {}
                Some(times) => return Err(format!("O2: the dead letter of {letter:?} was published {times} times")),
            }
        }
        match published.into_keys().next() {
            Some(letter) if !self.is_restored => Err(format!("O1: {letter:?} was published and is not dead")),
            _ => Ok(()),
        }
    }
}

fn number(value: &Value) -> i64 {
    if let Value::I64(number) = value { *number } else { i64::MAX }
}

fn numbers(numbers: &[i64]) -> Vec<Value> {
    numbers.iter().copied().map(Value::I64).collect()
}

fn compare(table: &str, target: &[Vec<Value>], model: &Vec<Vec<Value>>) -> Verdict {
    if target == model {
        return Ok(());
    }
    let all = |rows: &[Vec<Value>]| rows.iter().map(|row| format!("({})", show(row))).collect::<Vec<_>>().join(" ");
    Err(format!("table {table} differs at the end:\n  source {}\n  target {}", all(model), all(target)))
}
