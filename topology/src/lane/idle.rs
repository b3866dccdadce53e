//! What the writing half does where no batch shows how things are: looks at its ledger rows, and counts held rows. A lane may be busy with some of
//! its partitions, and the others quiet.

use std::time::Duration;

use super::message::{Rejection, Reply};
use super::writer::{Next, Writer};
use crate::ledger::Claim;
use crate::mutation;
use crate::policy::{Action, action};
use crate::sink::HeldCounts;

/// How often an idle writer looks whether the ledger still says what it thinks (a restored target, another owner), and counts held rows
/// anew (an operator may have asked to replay some).
const IDLE_CHECK_INTERVAL: Duration = Duration::from_secs(10);

impl Writer {
    /// Looks now and then whether the ledger still says what we think, while no batch would show it.
    pub(super) async fn check_idle(&mut self) -> Next {
        let now = self.clock.now_us();
        let due = self.is_check_due || now.saturating_sub(self.checked_at_us) >= IDLE_CHECK_INTERVAL.as_micros() as u64;
        if (!due && !self.is_idle_check_failing) || self.claims.is_empty() {
            return Next::Continue;
        }
        self.is_check_due = false;
        if mutation::is_active(mutation::NO_IDLE_CHECK) {
            return Next::Continue;
        }
        self.checked_at_us = now;
        self.publishing.note_stored();
        let claims: Vec<Claim> = self.claims.values().cloned().collect();
        let rows = match self.sink.progress(&claims).await {
            Ok(rows) => rows,
            Err(error) if action(error.kind) == Action::Stop => return Next::Stop(Some(error)),
            Err(error) => {
                self.sink.disconnect();
                self.is_idle_check_failing = true;
                self.back_off(self.settings.retry.attempts_max + 1, &error).await;
                return Next::Continue;
            }
        };
        let was_failing = std::mem::take(&mut self.is_idle_check_failing);
        self.recovered(u32::from(was_failing));
        let mut lost = Vec::new();
        for (claim, row) in claims.iter().zip(rows) {
            let rejection = match row {
                None => Rejection::Missing,
                Some((epoch, owner, _)) if epoch != claim.epoch || owner != claim.owner => Rejection::Fenced,
                Some((_, _, next_offset)) if next_offset != claim.next_offset => Rejection::WentBack,
                Some(_) => continue,
            };
            lost.push((claim.task.clone(), rejection));
        }
        if lost.is_empty() {
            self.count_held().await;
            return Next::Continue;
        }
        self.rewind += 1;
        for (task, _) in &lost {
            self.claims.remove(task);
            self.sink.forget(std::slice::from_ref(task));
        }
        let _ = self.replies.send(Reply::Lost(lost));
        Next::Continue
    }

    pub(super) async fn count_held(&mut self) {
        self.held_counted_at_us = self.clock.now_us();
        let claims: Vec<Claim> = self.claims.values().cloned().collect();
        if let Ok(counts) = self.sink.held_counts(&claims).await {
            self.show_held(counts);
        }
    }

    pub(super) fn show_held(&mut self, counts: HeldCounts) {
        self.held = counts;
        self.observer.held(counts);
    }
}
