use std::sync::Arc;

use super::*;
use crate::clock::ManualClock;
use crate::data::Value;
use crate::driver::{KnownSchemas, TestBytes, TestDecoder, TestDirection, TestRecord, one_table};
use crate::generation::{Generation, Waits};
use crate::lane::{Rejection, Reply, Taken};
use crate::ledger::{Claim, ClaimReply, ClaimRequest, LedgerRow, PartitionProgress};
use crate::marks::Marks;
use crate::observe::Silent;
use crate::pipeline::Pipeline;

/// Another partition has passed all that it held.
fn others_passed(lane: &Lane) -> TopicProgress {
    let row = |partition, next_offset| PartitionProgress {
        partition,
        next_offset,
        generation: generation_of(lane),
        marks: Marks::default(),
    };
    TopicProgress { partitions: vec![row(0, 3), row(1, 5)], held: 0 }
}

fn generation_of(lane: &Lane) -> Generation {
    lane.tasks[0].as_ref().unwrap().generation
}

fn users(publishes: bool) -> (Lane, ManualClock) {
    let mut direction: TestDirection = one_table("users", &["id", "name"], 1);
    direction.settings.publishes = publishes;
    let decoder = TestDecoder::new(direction.layouts.clone(), KnownSchemas::default());
    let pipeline = Pipeline::new(Box::new(decoder), (direction.topology)(), direction.topics.clone()).unwrap();
    let clock = ManualClock::default();
    let mut last = 0;
    let random = move || {
        last += 1;
        last
    };
    (Lane::new(direction.settings, pipeline, Arc::new(Silent), Arc::new(clock.clone()), Box::new(random)), clock)
}

fn commands(lane: &mut Lane) -> Vec<Command> {
    std::iter::from_fn(|| lane.next_command()).collect()
}

fn claim_wanted(lane: &mut Lane) -> ClaimRequest {
    let wanted = commands(lane).into_iter().find_map(|command| match command {
        Command::Send(Request::Claim(mut requests)) => requests.pop(),
        _ => None,
    });
    wanted.expect("a claim")
}

/// The ledger gives the claim that the lane asks for, at an offset; the keys had schema 7 before it.
fn let_claim(lane: &mut Lane, at: i64) {
    let request = claim_wanted(lane);
    let generation = Generation { partitions: 2, key_schema: Some(7), ..Generation::default() };
    let claim: Claim = LedgerRow { generation, ..LedgerRow::new(&request, at) }.claim(&request.task);
    assert!(lane.reply(Reply::Claimed(vec![(request, ClaimReply::Claimed(claim))])).is_none());
}

fn record(key_schema: u32) -> TestBytes {
    let after = Some(vec![Value::I64(1), "ann".into()]);
    TestRecord { key: vec![Value::I64(1)], after, key_schema: Some(key_schema), ..TestRecord::default() }.encode()
}

fn offer(lane: &mut Lane, offset: i64, record: &TestBytes) -> Taken {
    let TestBytes { timestamp_ms, key, value, headers } = record;
    let (key, value) = (Some(key.as_slice()), value.as_deref());
    lane.take(0, &RawRecord { topic: 0, offset, timestamp_ms: *timestamp_ms, key, value, headers })
}

fn is_started(commands: &[Command]) -> bool {
    commands.iter().any(|command| matches!(command, Command::Start(_)))
}

/// A lane that waits at offset 3, has said so, and asks; the record that it asked about.
fn waiting_lane() -> (Lane, TaskKey, FirstRecord) {
    let (mut lane, clock) = users(false);
    lane.assigned(&[(0, 0)]);
    let_claim(&mut lane, 3);
    assert!(is_started(&commands(&mut lane)));
    assert!(matches!(offer(&mut lane, 3, &record(8)), Taken::Ignored), "it waits");
    let ends = [(0, 9), (1, 5)].map(|(partition, high)| PartitionEnds {
        partition,
        low: 0,
        high,
        stable_end: high,
        log_end: high,
    });
    lane.topic_ends(0, 0, Some(ends.to_vec()));
    let told = lane.seal().expect("the word that it waits");
    lane.reply(Reply::Applied { batch: told, applied: Default::default(), claims: Vec::new(), seconds: 0.0 });
    clock.advance(std::time::Duration::from_secs(1));
    lane.tick();
    let asked = commands(&mut lane).into_iter().find_map(|command| match command {
        Command::Send(Request::TopicProgress(task, record)) => Some((task, record)),
        _ => None,
    });
    let (task, record) = asked.expect("it asks the ledger");
    (lane, task, record)
}

#[test]
fn a_record_that_waits_goes_on_when_the_ledger_says_so() {
    let (mut lane, task, record) = waiting_lane();
    let progress = others_passed(&lane);
    lane.reply(Reply::TopicProgress(task, record, Some(progress)));
    assert!(is_started(&commands(&mut lane)));
}

#[test]
fn the_first_batch_of_a_generation_says_what_it_rests_upon_and_no_other() {
    let (mut lane, task, asked) = waiting_lane();
    let progress = others_passed(&lane);
    lane.reply(Reply::TopicProgress(task, asked.clone(), Some(progress)));
    commands(&mut lane);
    assert!(matches!(offer(&mut lane, 3, &record(8)), Taken::Yes));
    let first = lane.seal().expect("the record");
    let passed = first.batch.spans[0].passed.as_ref().expect("what let it go on");
    assert_eq!(passed.record, asked);
    assert_eq!(passed.progress.partitions.iter().map(|row| row.next_offset).collect::<Vec<_>>(), [3, 5]);
    assert!(matches!(offer(&mut lane, 4, &record(8)), Taken::Yes));
    assert!(lane.seal().expect("another record").batch.spans[0].passed.is_none());
}

#[test]
fn an_answer_for_a_record_that_waits_does_not_start_a_partition_that_lost_its_claim() {
    let (mut lane, task, record) = waiting_lane();
    let progress = others_passed(&lane);
    lane.reply(Reply::Lost(vec![(task.clone(), Rejection::Fenced)]));
    commands(&mut lane);
    lane.reply(Reply::TopicProgress(task, record, Some(progress)));
    // What is read from where it was, and taken under a later claim that is further back, would lie beyond that claim's start.
    assert!(!is_started(&commands(&mut lane)));
}

#[test]
fn an_answer_about_another_record_opens_nothing() {
    let (mut lane, task, record) = waiting_lane();
    let progress = others_passed(&lane);
    let other = Waits { key_schema: Some(7), ..record.waits };
    lane.reply(Reply::TopicProgress(task, other.into(), Some(progress)));
    assert!(!is_started(&commands(&mut lane)));
}

#[test]
fn nothing_is_taken_between_a_claim_and_the_start_at_its_offset() {
    let (mut lane, _) = users(true);
    lane.assigned(&[(0, 0)]);
    let_claim(&mut lane, 3);
    assert!(commands(&mut lane).iter().any(|command| matches!(command, Command::AskPublished { .. })));
    assert!(matches!(offer(&mut lane, 8, &record(7)), Taken::Ignored), "it was read before");
    assert_eq!(lane.running().count(), 0, "it is not to be resumed");
    assert!(lane.publish_job(true).is_none(), "what is published of it is not known yet (rule O2)");
    lane.published(0, 0, None);
    assert!(matches!(offer(&mut lane, 8, &record(7)), Taken::Ignored), "nobody has sought to the start yet");
    assert_eq!(lane.running().count(), 0);
    assert!(is_started(&commands(&mut lane)));
    assert_eq!(lane.running().count(), 1);
    assert!(lane.publish_job(true).is_some());
    assert!(matches!(offer(&mut lane, 3, &record(7)), Taken::Yes));
}
