//! The topology of the simulated directions: a loop guard, and a lens that refuses some rows.

use std::sync::Arc;

use topology::data::View;
use topology::driver::MakeTopology;
use topology::error::{Error, Stage};
use topology::graph::Topology;
use topology::observe::Outcome;
use topology::pipeline::TopicSettings;
use topology::processor::{Context, Flow, Processor};
use topology::record::Record;

use super::source::{BAD_FOR_MAP, TARGET_SITE};

/// The loop guard of the direction.
struct Guard;

impl Processor for Guard {
    fn process(&mut self, record: &mut Record, context: &mut Context<'_>) -> topology::Result<Flow> {
        let origin = record.source.origin.map(|origin| context.arena.bytes(origin));
        let is_echo = !record.source.snapshot && origin == Some(TARGET_SITE.as_bytes());
        Ok(if is_echo { Flow::Drop(Outcome::Echo) } else { Flow::Forward })
    }
}

/// The lens: refuses some rows.
struct Map;

impl Processor for Map {
    fn process(&mut self, record: &mut Record, context: &mut Context<'_>) -> topology::Result<Flow> {
        let row = record.after.map(|row| context.arena.row(row)).unwrap_or_default();
        if row.iter().any(|cell| context.arena.view(*cell) == View::Text(BAD_FOR_MAP)) {
            return Err(Error::data(Stage::Map, "cannot map row", "a value is outside the map"));
        }
        Ok(Flow::Forward)
    }
}

/// The graph of a direction that reads these topics.
pub(crate) fn graph(topics: &[TopicSettings]) -> MakeTopology {
    let topics: Vec<String> = topics.iter().map(|topic| topic.name.clone()).collect();
    Arc::new(move || {
        let topics: Vec<&str> = topics.iter().map(String::as_str).collect();
        Topology::builder()
            .source("source", &topics)
            .filter("guard", "source", Box::new(Guard))
            .map("lens", "guard", Box::new(Map))
            .sink("target", "lens")
            .build()
            .expect("a straight graph")
    })
}
