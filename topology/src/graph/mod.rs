//! A topology: named processors from sources to sinks. Built once, checked when built, then run for each record.

mod describe;

use std::collections::HashMap;

use crate::data::{Arena, Layouts};
use crate::error::{Error, ErrorKind, Result, Stage};
use crate::observe::Outcome;
use crate::processor::{Context, Flow, Processor};
use crate::record::Record;
use crate::state::TaskState;

/// What a node is, for `describe` and for the stage of its errors.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum NodeKind {
    /// Where records of some topics enter.
    Source,
    /// Lets records through or drops them: loop guard, row filter.
    Filter,
    /// Changes records: the lens.
    Map,
    /// Drops what a state store has seen.
    Dedupe,
    /// Sends each record to one of its children.
    Branch,
    /// The user's own.
    Custom,
    /// Where records leave for the target.
    Sink,
}

impl NodeKind {
    /// Lower-case name.
    pub fn name(self) -> &'static str {
        match self {
            NodeKind::Source => "source",
            NodeKind::Filter => "filter",
            NodeKind::Map => "map",
            NodeKind::Dedupe => "dedupe",
            NodeKind::Branch => "branch",
            NodeKind::Custom => "custom",
            NodeKind::Sink => "sink",
        }
    }

    fn stage(self) -> Stage {
        match self {
            NodeKind::Filter => Stage::Filter,
            NodeKind::Map => Stage::Map,
            NodeKind::Dedupe => Stage::Dedupe,
            _ => Stage::Process,
        }
    }
}

struct Node {
    name: String,
    kind: NodeKind,
    topics: Vec<String>,
    processor: Option<Box<dyn Processor>>,
    children: Vec<usize>,
}

/// A graph of named processors. One instance per lane; cheap to run: a record visits its nodes by plain calls.
pub struct Topology {
    nodes: Vec<Node>,
    /// Source node of each topic.
    sources: HashMap<String, usize>,
    /// Node names of the source of topic index i, resolved by [`Topology::bind`].
    entry: Vec<usize>,
}

/// What came of a record.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Ran {
    /// It reached this many sinks.
    Emitted(usize),
    /// It was dropped on every path; the outcome of the last drop.
    Dropped(Outcome),
}

impl Topology {
    /// Starts a new graph.
    pub fn builder() -> Builder {
        Builder { nodes: Vec::new(), parents: Vec::new(), errors: Vec::new() }
    }

    /// Lets every processor add its layouts, and resolves the source of each of the direction's topics, in the order of their indexes.
    ///
    /// # Errors
    /// `Configuration` when a topic has no source or a processor cannot work.
    pub fn bind(&mut self, topics: &[String], layouts: &mut Layouts) -> Result<()> {
        for node in &mut self.nodes {
            if let Some(processor) = &mut node.processor {
                processor.prepare(layouts)?;
            }
        }
        self.entry = topics
            .iter()
            .map(|topic| {
                self.sources
                    .get(topic)
                    .copied()
                    .ok_or_else(|| configuration("cannot run topology", format!("topic {topic} has no source node")))
            })
            .collect::<Result<_>>()?;
        Ok(())
    }

    /// Runs one record of a topic through the graph and hands what arrives at sinks to `emit`.
    ///
    /// # Errors
    /// The first error of a processor, with the node's stage.
    pub fn run(
        &mut self,
        topic: usize,
        record: &mut Record,
        arena: &mut Arena,
        layouts: &Layouts,
        state: Option<&mut TaskState>,
        emit: &mut impl FnMut(&Record),
    ) -> Result<Ran> {
        let mut ran = Ran::Dropped(Outcome::Filtered);
        let source = self.entry[topic];
        self.visit(source, record, &mut Context { arena, layouts, state }, emit, &mut ran)?;
        Ok(ran)
    }

    fn visit(
        &mut self,
        mut at: usize,
        record: &mut Record,
        context: &mut Context<'_>,
        emit: &mut impl FnMut(&Record),
        ran: &mut Ran,
    ) -> Result<()> {
        // A chain is walked in place; only a real fan-out recurses, each path with its own copy of the small record.
        loop {
            let node = &mut self.nodes[at];
            if node.kind == NodeKind::Sink {
                emit(record);
                *ran = Ran::Emitted(if let Ran::Emitted(count) = *ran { count + 1 } else { 1 });
                return Ok(());
            }
            let flow = match &mut node.processor {
                None => Flow::Forward,
                Some(processor) => processor.process(record, context).map_err(|mut error| {
                    if error.stage == Stage::Process {
                        error.stage = node.kind.stage();
                    }
                    error
                })?,
            };
            match flow {
                Flow::Drop(outcome) => {
                    if let Ran::Dropped(last) = ran {
                        *last = outcome;
                    }
                    return Ok(());
                }
                Flow::Branch(child) => {
                    at = *node.children.get(child).ok_or_else(|| {
                        Error::new(
                            ErrorKind::Bug,
                            Stage::Process,
                            "branch names a child that is not there",
                            format!("node {} has {} children, not {}", node.name, node.children.len(), child + 1),
                        )
                    })?;
                }
                Flow::Forward if node.children.len() == 1 => at = node.children[0],
                Flow::Forward => {
                    for index in 0..self.nodes[at].children.len() {
                        let child = self.nodes[at].children[index];
                        self.visit(child, &mut record.clone(), context, emit, ran)?;
                    }
                    return Ok(());
                }
            }
        }
    }
}

/// Builds a [`Topology`]; mistakes are collected and reported by [`Builder::build`].
pub struct Builder {
    nodes: Vec<Node>,
    parents: Vec<Option<String>>,
    errors: Vec<String>,
}

impl Builder {
    /// Adds a source that reads these topics.
    pub fn source(self, name: &str, topics: &[&str]) -> Builder {
        let topics = topics.iter().map(|topic| (*topic).to_owned()).collect();
        self.add(name, None, NodeKind::Source, topics, None)
    }

    /// Adds a filter after `parent`.
    pub fn filter(self, name: &str, parent: &str, processor: Box<dyn Processor>) -> Builder {
        self.add(name, Some(parent), NodeKind::Filter, Vec::new(), Some(processor))
    }

    /// Adds a map after `parent`.
    pub fn map(self, name: &str, parent: &str, processor: Box<dyn Processor>) -> Builder {
        self.add(name, Some(parent), NodeKind::Map, Vec::new(), Some(processor))
    }

    /// Adds a dedupe step after `parent`.
    pub fn dedupe(self, name: &str, parent: &str, processor: Box<dyn Processor>) -> Builder {
        self.add(name, Some(parent), NodeKind::Dedupe, Vec::new(), Some(processor))
    }

    /// Adds a branch after `parent`; its processor returns [`Flow::Branch`] with the position of a child, in the order children were added.
    pub fn branch(self, name: &str, parent: &str, processor: Box<dyn Processor>) -> Builder {
        self.add(name, Some(parent), NodeKind::Branch, Vec::new(), Some(processor))
    }

    /// Adds a processor of your own after `parent`.
    pub fn custom(self, name: &str, parent: &str, processor: Box<dyn Processor>) -> Builder {
        self.add(name, Some(parent), NodeKind::Custom, Vec::new(), Some(processor))
    }

    /// Adds a sink after `parent`.
    pub fn sink(self, name: &str, parent: &str) -> Builder {
        self.add(name, Some(parent), NodeKind::Sink, Vec::new(), None)
    }

    fn add(
        mut self,
        name: &str,
        parent: Option<&str>,
        kind: NodeKind,
        topics: Vec<String>,
        processor: Option<Box<dyn Processor>>,
    ) -> Builder {
        if self.nodes.iter().any(|node| node.name == name) {
            self.errors.push(format!("two nodes are named {name}"));
        }
        self.nodes.push(Node { name: name.to_owned(), kind, topics, processor, children: Vec::new() });
        self.parents.push(parent.map(str::to_owned));
        self
    }

    /// Checks the graph: parents exist and come first, every path ends in a sink, no topic has two sources.
    ///
    /// # Errors
    /// `Configuration` with every mistake found.
    pub fn build(mut self) -> Result<Topology> {
        for index in 0..self.nodes.len() {
            let Some(parent) = &self.parents[index] else { continue };
            let found = self.nodes[..index].iter().position(|node| node.name == *parent);
            match found {
                Some(at) if self.nodes[at].kind == NodeKind::Sink => {
                    self.errors.push(format!("{} follows the sink {parent}", self.nodes[index].name));
                }
                Some(at) => self.nodes[at].children.push(index),
                None => self
                    .errors
                    .push(format!("{} follows {parent}, which is not defined before it", self.nodes[index].name)),
            }
        }
        let mut sources = HashMap::new();
        for (index, node) in self.nodes.iter().enumerate() {
            if node.kind != NodeKind::Sink && node.children.is_empty() {
                self.errors.push(format!("{} leads nowhere; add a sink after it", node.name));
            }
            for topic in &node.topics {
                if sources.insert(topic.clone(), index).is_some() {
                    self.errors.push(format!("topic {topic} has two sources"));
                }
            }
        }
        if !self.errors.is_empty() {
            return Err(configuration("cannot build topology", self.errors.join("; ")));
        }
        Ok(Topology { nodes: self.nodes, sources, entry: Vec::new() })
    }
}

fn configuration(description: &'static str, detail: String) -> Error {
    Error::new(ErrorKind::Configuration, Stage::Configure, description, detail)
}

#[cfg(test)]
#[path = "tests.rs"]
mod tests;
