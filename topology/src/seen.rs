//! Dedupe by what a record says, for sources without positions: the keyed store behind the mark (rule D1).

use crate::error::Result;
use crate::observe::Outcome;
use crate::processor::{Context, Flow, Processor};
use crate::record::Record;
use crate::state::{StateStore, TaskState};

/// Fingerprints that were seen, each with its number.
const SEEN: &str = "seen";
/// Their numbers, each with its fingerprint, so that the oldest can be forgotten.
const SEEN_ORDER: &str = "seen.order";

/// Drops records whose cells in some columns were seen before: an event id that an application which writes its own events may send twice. It
/// remembers the last ones of each task, in stores that are committed with the task's progress.
///
/// ```
/// use topology::graph::Topology;
/// use topology::seen::SeenBefore;
///
/// let topology = Topology::builder()
///     .source("events", &["shop.events"])
///     .dedupe("once", "events", Box::new(SeenBefore::new(&["event_id"], 1000)))
///     .sink("history", "once")
///     .build()
///     .unwrap();
/// assert!(topology.describe().contains("the last 1000 by event_id"));
/// ```
pub struct SeenBefore {
    columns: Vec<String>,
    kept_max: u64,
}

impl SeenBefore {
    /// More than this do not fit into a task's state.
    pub const KEPT_MAX: u64 = 2000;

    /// By these columns of the row, remembering this many, at most [`SeenBefore::KEPT_MAX`].
    pub fn new(columns: &[&str], kept_max: u64) -> SeenBefore {
        SeenBefore {
            columns: columns.iter().map(|column| (*column).to_owned()).collect(),
            kept_max: kept_max.clamp(1, SeenBefore::KEPT_MAX),
        }
    }

    /// `None` for records without these columns: they pass.
    fn fingerprint(&self, record: &Record, context: &Context<'_>) -> Option<[u8; 8]> {
        let layout = context.layouts.get(record.layout);
        let cells = context.arena.row(record.after.or(record.before)?);
        let mut hash = 0;
        for column in &self.columns {
            hash = context.arena.hash_cell(hash, *cells.get(layout.position(column)?)?);
        }
        Some(hash.to_be_bytes())
    }

    fn remember(&self, fingerprint: &[u8; 8], state: &mut TaskState) -> Result<()> {
        let mut order = state.store(SEEN_ORDER);
        let newest = order.last().and_then(|(number, _)| number.try_into().ok()).map(u64::from_be_bytes);
        let mut forgotten = None;
        if order.len() as u64 >= self.kept_max
            && let Some((number, oldest)) = order.first().map(|(number, oldest)| (number.to_vec(), oldest.to_vec()))
        {
            order.delete(&number);
            forgotten = Some(oldest);
        }
        order.put(&newest.map_or(0, |newest| newest + 1).to_be_bytes(), fingerprint)?;
        drop(order);
        let mut seen = state.store(SEEN);
        if let Some(oldest) = forgotten {
            seen.delete(&oldest);
        }
        seen.put(fingerprint, &[])
    }
}

impl Processor for SeenBefore {
    fn process(&mut self, record: &mut Record, context: &mut Context<'_>) -> Result<Flow> {
        let Some(fingerprint) = self.fingerprint(record, context) else { return Ok(Flow::Forward) };
        let Some(state) = context.state.as_deref_mut() else { return Ok(Flow::Forward) };
        if state.store(SEEN).get(&fingerprint).is_some() {
            return Ok(Flow::Drop(Outcome::Duplicate));
        }
        self.remember(&fingerprint, state)?;
        Ok(Flow::Forward)
    }

    fn describe(&self) -> String {
        format!("the last {} by {}", self.kept_max, self.columns.join(", "))
    }
}
