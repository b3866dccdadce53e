//! The dead-letter limit (rule E6): when everything is bad, it is not the records. Then the lane stops instead of filing a whole topic away.
//!
//! Tested before COMMIT: the batch that crosses the limit rolls back. The window is kept in the ledger row, so that a restart does not let
//! another window through: the same batch crosses it again, until somebody repairs the cause or raises the limit.

use topology::batch::ChangeBatch;
use topology::data::Value;
use topology::{Error, ErrorKind, Stage};

use super::attempt::Progress;
use super::claim::task_values;
use super::{Failure, SqlWriter};

/// How much may be dead, per partition.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct DeadLimit {
    /// Share of a full window, above 0 up to 1.
    pub ratio: f64,
    /// Records in a window.
    pub window: u64,
    /// Dead records in a row; a batch with any good record ends the row.
    pub run_length: u64,
}

/// What the ledger remembers of one partition.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub(crate) struct DeadWindow {
    seen: u64,
    dead: u64,
    run: u64,
}

impl DeadWindow {
    /// From the ledger; anything unreadable is an empty window.
    pub(crate) fn decode(text: &str) -> DeadWindow {
        let mut numbers = text.split(' ').map(|word| word.parse().unwrap_or(0));
        let mut next = || numbers.next().unwrap_or(0);
        DeadWindow { seen: next(), dead: next(), run: next() }
    }

    fn encode(self) -> String {
        if self.is_clean() { String::new() } else { format!("{} {} {}", self.seen, self.dead, self.run) }
    }

    fn is_clean(self) -> bool {
        self.dead == 0 && self.run == 0
    }

    /// The window after some more records, or why that is too much.
    fn after(mut self, records: u64, dead: u64, limit: &DeadLimit) -> Result<DeadWindow, String> {
        self.seen += records;
        self.dead += dead;
        self.run = if dead == records { self.run + dead } else { 0 };
        if self.run >= limit.run_length {
            return Err(format!("{} records in a row are dead, the limit is {}", self.run, limit.run_length));
        }
        if self.seen >= limit.window {
            if self.dead as f64 >= limit.ratio * self.seen as f64 {
                return Err(format!(
                    "{} of the last {} records are dead, the limit is a share of {}",
                    self.dead, self.seen, limit.ratio
                ));
            }
            (self.seen, self.dead) = (0, 0);
        }
        Ok(self)
    }
}

impl SqlWriter {
    /// Counts the batch into the windows of its partitions and stores those that changed. Last thing before COMMIT.
    pub(super) async fn check_dead_limit(
        &mut self,
        batch: &ChangeBatch,
        excluded: &[bool],
        progress: &mut Progress,
    ) -> Result<(), Failure> {
        // Held rows that are tried again were counted when they came.
        let Some(limit) = self.options.dead.filter(|_| !batch.is_release()) else { return Ok(()) };
        let mut counts = vec![(0u64, 0u64); batch.spans.len()];
        let span_of = |slot: topology::record::Slot| usize::from(batch.span_of_slot[usize::from(slot.0)]);
        for record in &batch.records {
            counts[span_of(record.slot)].0 += 1;
        }
        for dead in &batch.dead {
            let count = &mut counts[span_of(dead.slot)];
            count.0 += 1;
            count.1 += 1;
        }
        for span in progress.holding.dead_spans(batch) {
            counts[span].1 += 1;
        }
        for (at, (records, dead)) in counts.into_iter().enumerate() {
            if records == 0 || excluded[at] {
                continue;
            }
            let task = &batch.spans[at].task;
            let before = self.dead_windows.get(task).copied().unwrap_or_default();
            let after = before.after(records, dead, &limit).map_err(|why| {
                let detail = format!(
                    "{task}: {why}; nothing of this batch was written. tidelock_held has the reasons of earlier ones: repair the cause, or \
                     raise tuning.dead"
                );
                Failure::Failed(Error::new(ErrorKind::Configuration, Stage::Write, "too many records are dead", detail))
            })?;
            if after.encode() != before.encode() {
                let mut values = vec![Value::Text(after.encode())];
                values.extend(task_values(task));
                let session = self.session.as_deref_mut().expect("enter() opened a session");
                let stored = session.execute(&self.statements.dead_window, &values).await;
                stored.map_err(|error| Failure::Failed(error.error))?;
            }
            progress.windows.push((at, after));
        }
        Ok(())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const LIMIT: DeadLimit = DeadLimit { ratio: 0.5, window: 100, run_length: 30 };

    #[test]
    fn a_run_of_dead_records_crosses_the_limit_and_a_good_one_ends_it() {
        let window = DeadWindow::default().after(20, 20, &LIMIT).unwrap();
        assert!(window.after(10, 10, &LIMIT).unwrap_err().contains("30 records in a row"));
        let window = window.after(10, 9, &LIMIT).unwrap();
        assert!(window.after(10, 10, &LIMIT).is_ok());
    }

    #[test]
    fn a_share_counts_when_the_window_is_full_and_then_begins_anew() {
        let window = DeadWindow::default().after(99, 60, &LIMIT).unwrap();
        assert!(window.after(1, 0, &LIMIT).unwrap_err().contains("60 of the last 100"));
        let window = DeadWindow::default().after(99, 40, &LIMIT).unwrap().after(1, 0, &LIMIT).unwrap();
        assert_eq!(window, DeadWindow::default());
    }

    #[test]
    fn the_window_survives_the_way_through_the_ledger() {
        let window = DeadWindow { seen: 7, dead: 3, run: 2 };
        assert_eq!(DeadWindow::decode(&window.encode()), window);
        assert_eq!(DeadWindow::decode(""), DeadWindow::default());
        assert_eq!(DeadWindow::decode("x"), DeadWindow::default());
        assert_eq!(DeadWindow { seen: 9, dead: 0, run: 0 }.encode(), "", "clean windows cost no statement");
    }
}
