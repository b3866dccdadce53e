//! The processors that a direction is made of: the loop guard, the lens, and the step that shows the dedupe mark.
//! [`direction`] builds the graph of one direction from them.

use std::sync::Arc;

use crate::data::Layouts;
use crate::error::Result;
use crate::graph::Topology;
use crate::guard::Guard;
use crate::lens::Lens;
use crate::lens::plan::LensPlan;
use crate::observe::Outcome;
use crate::processor::{Context, Flow, Processor};
use crate::record::Record;

/// Drops what this direction's own reverse wrote (promise P3).
pub struct GuardFilter {
    guard: Guard,
    target: String,
}

impl GuardFilter {
    /// For a direction that writes to `target`.
    pub fn new(guard: Guard, target: &str) -> GuardFilter {
        GuardFilter { guard, target: target.to_owned() }
    }
}

impl Processor for GuardFilter {
    fn process(&mut self, record: &mut Record, context: &mut Context<'_>) -> Result<Flow> {
        let is_echo = self.guard.is_echo(&record.source, context.arena);
        Ok(if is_echo { Flow::Drop(Outcome::Echo) } else { Flow::Forward })
    }

    fn describe(&self) -> String {
        format!("{}, drops what came from {}", self.guard.strategy().name(), self.target)
    }
}

/// Maps records of one entity to the target's columns.
pub struct LensMap {
    plan: Arc<LensPlan>,
    lens: Option<Lens>,
}

impl LensMap {
    /// Runs a compiled lens.
    pub fn new(plan: Arc<LensPlan>) -> LensMap {
        LensMap { plan, lens: None }
    }
}

impl Processor for LensMap {
    fn prepare(&mut self, layouts: &mut Layouts) -> Result<()> {
        self.lens = Some(Lens::new(self.plan.clone(), layouts));
        Ok(())
    }

    fn process(&mut self, record: &mut Record, context: &mut Context<'_>) -> Result<Flow> {
        let lens = self.lens.as_mut().expect("prepare runs before the first record");
        lens.map(record, context.arena, context.layouts)?;
        Ok(Flow::Forward)
    }

    fn describe(&self) -> String {
        format!("to table {}", self.plan.table.name)
    }
}

/// Shows in the graph that changes which the source sends again are dropped. The mark itself is checked right after decoding, before
/// guard and lens, so that a bad record that is sent again is not dead-lettered twice (rule D1).
pub struct PositionMark;

impl Processor for PositionMark {
    fn process(&mut self, _: &mut Record, _: &mut Context<'_>) -> Result<Flow> {
        Ok(Flow::Forward)
    }

    fn describe(&self) -> String {
        "by source position, checked right after decoding".to_owned()
    }
}

/// One entity of a direction, ready to run.
pub struct DirectionEntity {
    /// Its name in the configuration.
    pub name: String,
    /// The topic it is read from.
    pub topic: String,
    /// Its lens.
    pub plan: Arc<LensPlan>,
}

/// The graph of a direction: source → filter → map → dedupe → sink for each entity, all into the sink `target`.
///
/// # Errors
/// `Configuration` when two entities have one name or topic.
pub fn direction(entities: &[DirectionEntity], guard: Option<&Guard>, target: &str) -> Result<Topology> {
    let mut builder = Topology::builder();
    for entity in entities {
        let name = &entity.name;
        let mut last = name.clone();
        builder = builder.source(name, &[&entity.topic]);
        if let Some(guard) = guard {
            let node = format!("{name}.guard");
            builder = builder.filter(&node, &last, Box::new(GuardFilter::new(guard.clone(), target)));
            last = node;
        }
        let (map, dedupe) = (format!("{name}.lens"), format!("{name}.dedupe"));
        builder = builder
            .map(&map, &last, Box::new(LensMap::new(entity.plan.clone())))
            .dedupe(&dedupe, &map, Box::new(PositionMark))
            .sink(&format!("{name}.{target}"), &dedupe);
    }
    builder.build()
}
