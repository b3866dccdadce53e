use super::*;

struct Send(Flow);

impl Processor for Send {
    fn process(&mut self, _: &mut Record, _: &mut Context<'_>) -> Result<Flow> {
        Ok(self.0)
    }
    fn describe(&self) -> String {
        format!("always {:?}", self.0)
    }
}

fn run(topology: &mut Topology) -> (Ran, usize) {
    let mut layouts = Layouts::default();
    topology.bind(&["t".to_owned()], &mut layouts).unwrap();
    let mut emitted = 0;
    let ran =
        topology.run(0, &mut Record::default(), &mut Arena::default(), &layouts, None, &mut |_| emitted += 1).unwrap();
    (ran, emitted)
}

#[test]
fn a_record_walks_a_chain_to_its_sink() {
    let mut topology = Topology::builder()
        .source("in", &["t"])
        .filter("guard", "in", Box::new(Send(Flow::Forward)))
        .sink("out", "guard")
        .build()
        .unwrap();
    assert_eq!(run(&mut topology), (Ran::Emitted(1), 1));
    assert_eq!(topology.describe(), "source in: t\n  filter guard: always Forward\n    sink out\n");
    assert_eq!(
        topology.mermaid(),
        "flowchart LR\n  n0([\"source in: t\"])\n  n1[\"filter guard: always Forward\"]\n  n2[(\"sink out\")]\n  n0 --> n1\n  n1 --> n2\n"
    );
}

#[test]
fn a_dropped_record_says_why_and_reaches_no_sink() {
    let mut topology = Topology::builder()
        .source("in", &["t"])
        .filter("guard", "in", Box::new(Send(Flow::Drop(Outcome::Echo))))
        .sink("out", "guard")
        .build()
        .unwrap();
    assert_eq!(run(&mut topology), (Ran::Dropped(Outcome::Echo), 0));
}

#[test]
fn a_branch_picks_one_child_and_a_fan_out_reaches_all() {
    let mut topology = Topology::builder()
        .source("in", &["t"])
        .branch("pick", "in", Box::new(Send(Flow::Branch(1))))
        .sink("left", "pick")
        .custom("right", "pick", Box::new(Send(Flow::Forward)))
        .sink("a", "right")
        .sink("b", "right")
        .build()
        .unwrap();
    assert_eq!(run(&mut topology), (Ran::Emitted(2), 2));
}

#[test]
fn every_mistake_in_a_graph_is_named() {
    let error = Topology::builder()
        .source("in", &["t"])
        .source("also", &["t"])
        .sink("out", "nowhere")
        .sink("out", "in")
        .build()
        .err()
        .unwrap();
    for part in ["two nodes are named out", "follows nowhere", "also leads nowhere", "topic t has two sources"] {
        assert!(error.detail.contains(part), "{part}: {error}");
    }
}

#[test]
fn a_topic_without_source_is_refused() {
    let mut topology = Topology::builder().source("in", &["t"]).sink("out", "in").build().unwrap();
    let error = topology.bind(&["other".to_owned()], &mut Layouts::default()).unwrap_err();
    assert!(error.to_string().contains("topic other has no source node"));
}
