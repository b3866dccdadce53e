//! One step of a topology. Processors are synchronous, do no I/O, and never see another record than the one at hand.

use crate::data::{Arena, Layouts};
use crate::error::Result;
use crate::observe::Outcome;
use crate::record::Record;
use crate::state::TaskState;

/// Where a record goes after a processor.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Flow {
    /// On to every child of the node.
    Forward,
    /// On to one child only, by its position among the node's children.
    Branch(usize),
    /// Nowhere: it is done, counted under this outcome, and progress moves past it (OFF-1).
    Drop(Outcome),
}

/// What a processor may touch besides the record.
pub struct Context<'a> {
    /// Memory of the batch: every range and span of the record is in here; new values are pushed here.
    pub arena: &'a mut Arena,
    /// Names of the cells. A processor that changes the shape of rows adds its layout when it is built (see [`Processor::prepare`]).
    pub layouts: &'a Layouts,
    /// What the record's task remembers, committed with its progress; `None` for a held row that is tried again, which was counted when it
    /// first came.
    pub state: Option<&'a mut TaskState>,
}

/// A named step. Called for one record at a time, in consumption order, by one thread; may keep state of its own only if losing it
/// on a restart changes nothing (durable state belongs into [`Context::state`]; [`crate::seen`] is an example).
///
/// # Example
/// A processor that leaves out rows of one tenant:
/// ```
/// use topology::data::{Layouts, View};
/// use topology::observe::Outcome;
/// use topology::processor::{Context, Flow, Processor};
/// use topology::record::Record;
///
/// struct OnlyTenant(i64);
///
/// impl Processor for OnlyTenant {
///     fn process(&mut self, record: &mut Record, context: &mut Context<'_>) -> topology::Result<Flow> {
///         let (Some(after), Some(at)) = (record.after, context.layouts.get(record.layout).position("tenant_id")) else {
///             return Ok(Flow::Forward);
///         };
///         let cell = context.arena.row(after)[at];
///         Ok(match context.arena.view(cell) {
///             View::I64(tenant) if tenant != self.0 => Flow::Drop(Outcome::Filtered),
///             _ => Flow::Forward,
///         })
///     }
///
///     fn describe(&self) -> String {
///         format!("tenant_id = {}", self.0)
///     }
/// }
///
/// # use topology::graph::Topology;
/// let topology = Topology::builder()
///     .source("users", &["legacy.users"])
///     .custom("tenant", "users", Box::new(OnlyTenant(7)))
///     .sink("revamp", "tenant")
///     .build()
///     .unwrap();
/// assert!(topology.describe().contains("tenant_id = 7"));
/// ```
pub trait Processor: Send {
    /// Called once before the first record; adds the layouts that the processor will give to records.
    ///
    /// # Errors
    /// `Configuration` when the processor cannot work with what it was given.
    fn prepare(&mut self, layouts: &mut Layouts) -> Result<()> {
        let _ = layouts;
        Ok(())
    }

    /// Looks at one record, may change it, and says where it goes.
    ///
    /// # Errors
    /// `Data`: the record is kept as dead and everything else flows. Other kinds stop the lane.
    fn process(&mut self, record: &mut Record, context: &mut Context<'_>) -> Result<Flow>;

    /// A few words for `describe`: what it lets through, what it changes.
    fn describe(&self) -> String {
        String::new()
    }
}
