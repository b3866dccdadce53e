//! Troubles of a schedule: COMMITs that never arrive, COMMITs whose replies are lost while the lane lives on (rule L4), connections that
//! break at any other statement.

use std::sync::Mutex;
use std::sync::atomic::{AtomicU64, Ordering};

use tidelock_connect::sql::error::SqlResult;
use topology::Stage;
use topology::driver::Seed;

use crate::faulty::{CommitFault, Faults, broken};

/// A COMMIT is one statement of many and has the most interesting troubles: it meets so many times as many.
const COMMIT_WEIGHT: u64 = 40;

/// How many troubles there are; shared by the sessions of a schedule.
pub(crate) struct Troubles {
    seed: Mutex<Seed>,
    /// Of 1000 statements.
    per_mille: AtomicU64,
}

impl Troubles {
    pub(crate) fn new(mut seed: Seed) -> Troubles {
        let per_mille = [0, 1, 3][seed.below(3)];
        Troubles { seed: Mutex::new(seed), per_mille: AtomicU64::new(per_mille) }
    }

    pub(crate) fn end(&self) {
        self.per_mille.store(0, Ordering::SeqCst);
    }

    /// A number below `of`, if there is trouble.
    fn meet(&self, weight: u64, of: usize) -> Option<usize> {
        let mut seed = self.seed.lock().expect("no panic while locked");
        let is_met = (seed.below(1000) as u64) < weight * self.per_mille.load(Ordering::SeqCst);
        is_met.then(|| seed.below(of))
    }
}

impl Faults for Troubles {
    fn statement(&self) -> SqlResult<()> {
        self.meet(1, 1).map_or(Ok(()), |_| Err(broken(Stage::Write)))
    }

    fn commit(&self) -> Option<CommitFault> {
        let what = self.meet(COMMIT_WEIGHT, 3)?;
        Some(if what == 0 { CommitFault::Cut } else { CommitFault::ReplyLost })
    }
}
