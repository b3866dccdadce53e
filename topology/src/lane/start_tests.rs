use std::sync::Arc;

use super::*;
use crate::clock::ManualClock;
use crate::data::Value;
use crate::driver::{KnownSchemas, TestDecoder, TestRecord, one_table};
use crate::lane::{Rejection, Reply, Request, StartDecision, Taken};
use crate::ledger::LedgerRow;
use crate::observe::Silent;
use crate::output::Output;
use crate::pipeline::Pipeline;
use crate::raw::RawRecord;
use crate::sink::Applied;

/// A lane of a process that was started with `--start-from`, or of one that was not.
fn lane(decision: Option<&Arc<StartDecision>>) -> Lane {
    let mut direction = one_table("users", &["id", "name"], 1);
    direction.settings.start_decision = decision.cloned();
    let decoder = TestDecoder::new(direction.layouts.clone(), KnownSchemas::default());
    let pipeline = Pipeline::new(Box::new(decoder), (direction.topology)(), direction.topics.clone()).unwrap();
    let mut last = 0;
    let random = move || {
        last += 1;
        last
    };
    Lane::new(direction.settings, pipeline, Arc::new(Silent), Arc::new(ManualClock::default()), Box::new(random))
}

fn commands(lane: &mut Lane) -> Vec<Command> {
    std::iter::from_fn(|| lane.next_command()).collect()
}

/// The ledger gives the claim that the lane asks for, at an offset.
fn let_claim(lane: &mut Lane, at: i64) {
    let wanted = commands(lane).into_iter().find_map(|command| match command {
        Command::Send(Request::Claim(mut requests)) => requests.pop(),
        _ => None,
    });
    let request = wanted.expect("a claim");
    let claim = LedgerRow::new(&request, at).claim(&request.task);
    assert!(lane.reply(Reply::Claimed(vec![(request, ClaimReply::Claimed(claim))])).is_none());
}

/// Whether a partition whose log is another one begins anew.
fn begins_anew(lane: &mut Lane) -> bool {
    commands(lane);
    lane.log_differs(0, 0, Error::new(ErrorKind::Environment, Stage::Consume, "records are lost by retention", "t[0]"));
    commands(lane).iter().any(|command| matches!(command, Command::ResolveStart { .. }))
}

/// A record from an offset, read and committed.
fn progress(lane: &mut Lane, offset: i64) {
    let after = Some(vec![Value::I64(1), "ann".into()]);
    let bytes = TestRecord { key: vec![Value::I64(1)], after, ..TestRecord::default() }.encode();
    let raw = RawRecord {
        topic: 0,
        offset,
        timestamp_ms: bytes.timestamp_ms,
        key: Some(bytes.key.as_slice()),
        value: bytes.value.as_deref(),
        headers: &bytes.headers,
    };
    commands(lane);
    assert!(matches!(lane.take(0, &raw), Taken::Yes));
    let batch = lane.seal().expect("it holds a record");
    lane.reply(Reply::Applied { batch, applied: Applied::default(), claims: Vec::new(), seconds: 0.0 });
}

#[test]
fn a_decision_to_begin_anew_is_used_up_by_the_first_progress() {
    // given a partition that begins anew as `run --start-from` says, also when it is met once more before anything was read
    let decision = Arc::default();
    let mut first = lane(Some(&decision));
    first.assigned(&[(0, 0)]);
    let_claim(&mut first, 3);
    assert!(begins_anew(&mut first));
    let facts = StartFacts { committed: Some(3), low: 7, high: 9, at_timestamp: None, partitions: 1 };
    first.start_facts(0, 0, Some(facts));
    let_claim(&mut first, 7);
    assert!(begins_anew(&mut first));
    first.start_facts(0, 0, Some(facts));
    let_claim(&mut first, 7);
    // when it has made progress, then retention is another decision, in this lane and in one that is built in its place;
    progress(&mut first, 7);
    assert!(!begins_anew(&mut first));
    let mut second = lane(Some(&decision));
    second.assigned(&[(0, 0)]);
    let_claim(&mut second, 8);
    assert!(!begins_anew(&mut second));
    // so is a ledger that is lost now; other partitions still begin as was said.
    second.assigned(&[(0, 1)]);
    second.log_differs(
        0,
        1,
        Error::new(ErrorKind::Environment, Stage::Consume, "records are lost by retention", "t[1]"),
    );
    assert!(commands(&mut second).iter().any(|command| matches!(command, Command::ResolveStart { partition: 1, .. })));
}

#[test]
fn without_a_decision_another_log_halts_its_partition() {
    let mut lane = lane(None);
    lane.assigned(&[(0, 0)]);
    let_claim(&mut lane, 3);
    assert!(!begins_anew(&mut lane));
}

/// Rules O2, L6: what is in the target can wait there.
#[test]
fn outputs_of_a_task_without_claim_do_not_hold_up_those_of_others() {
    // given two tasks with outputs, of which one has lost its ledger row
    let mut direction = lane(None);
    direction.settings.publishes = true;
    direction.assigned(&[(0, 0), (0, 1)]);
    let requests = commands(&mut direction).into_iter().find_map(|command| match command {
        Command::Send(Request::Claim(requests)) => Some(requests),
        _ => None,
    });
    let answers = requests.expect("claims").into_iter().map(|request| {
        let claim = LedgerRow::new(&request, 3).claim(&request.task);
        (request, ClaimReply::Claimed(claim))
    });
    assert!(direction.reply(Reply::Claimed(answers.collect())).is_none());
    let key = |partition: i32| TaskKey {
        pipeline: "test".into(),
        direction: "source→target".into(),
        topic: "test.users".into(),
        partition,
    };
    let output = |partition: i32| Output {
        task: key(partition),
        seq: 1,
        target: "dead.letters".to_owned(),
        key: None,
        value: None,
        headers: Vec::new(),
    };
    (0..2).for_each(|partition| direction.published(0, partition, None));
    direction.reply(Reply::Outputs(vec![output(0), output(1)]));
    direction.reply(Reply::Lost(vec![(key(0), Rejection::Missing)]));
    // when, then
    let job = direction.publish_job(false).expect("those of the other one");
    assert_eq!(job.offsets, [(0, 1, 3)]);
    assert_eq!(job.outputs.iter().map(|output| output.task.partition).collect::<Vec<_>>(), [1]);
    // and when nothing else is left, the writer may look again.
    commands(&mut direction);
    direction.job_done(&job, &[(0, 1, 1)]);
    let told = commands(&mut direction);
    assert!(told.iter().any(|command| matches!(command, Command::Send(Request::Published { ends: true, .. }))));
}
