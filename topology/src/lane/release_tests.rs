use std::sync::{Arc, Mutex};
use std::time::Duration;

use async_trait::async_trait;
use tokio::sync::mpsc::{UnboundedReceiver, UnboundedSender, unbounded_channel};

use crate::batch::{ChangeBatch, HeldId};
use crate::clock::ManualClock;
use crate::data::Value;
use crate::driver::{KnownSchemas, TestBytes, TestDecoder, TestDirection, TestRecord, one_table};
use crate::error::Error;
use crate::generation::{FirstRecord, Generation};
use crate::lane::{PartitionEnds, Reply, Request, Writer};
use crate::ledger::{Claim, ClaimReply, ClaimRequest, LedgerRow, Owner, PartitionProgress, TaskKey, TopicProgress};
use crate::marks::Marks;
use crate::moves::WAIT_ATTEMPTS_MAX;
use crate::observe::Silent;
use crate::pipeline::Pipeline;
use crate::record::{Operation, Position};
use crate::sink::{Applied, ApplyError, Capabilities, HeldCounts, HeldRow, SinkWriter};

/// What a target was asked for, and what it says.
#[derive(Default)]
struct Waiting {
    /// For whose rows it was asked.
    asked: Vec<TaskKey>,
    /// What is due.
    due: Vec<HeldRow>,
    /// Where partitions 0 and 1 of the topic are.
    progress: [i64; 2],
    /// Rows that were put off.
    postponed: usize,
    /// What releases said of their rows.
    alone: Vec<Vec<bool>>,
}

/// A target in which one row waits.
struct OneWaits(Arc<Mutex<Waiting>>);

#[async_trait]
impl SinkWriter for OneWaits {
    fn capabilities(&self) -> Capabilities {
        Capabilities::default()
    }

    async fn claim(&mut self, _: &[ClaimRequest]) -> Result<Vec<ClaimReply>, Error> {
        Ok(Vec::new())
    }

    async fn apply(&mut self, batch: &ChangeBatch) -> Result<Applied, ApplyError> {
        self.0.lock().unwrap().alone.push(batch.alone.clone());
        Ok(Applied::default())
    }

    async fn due_held(&mut self, claims: &[Claim], _: usize) -> Result<Vec<HeldRow>, Error> {
        let mut waiting = self.0.lock().unwrap();
        waiting.asked.extend(claims.iter().map(|claim| claim.task.clone()));
        Ok(waiting.due.clone())
    }

    async fn postpone_held(&mut self, rows: &[(TaskKey, HeldId)]) -> Result<(), Error> {
        self.0.lock().unwrap().postponed += rows.len();
        Ok(())
    }

    async fn held_counts(&mut self, _: &[Claim]) -> Result<HeldCounts, Error> {
        Ok(HeldCounts { parked: 1, ..HeldCounts::default() })
    }

    async fn topic_progress(&mut self, _: &TaskKey, _: Option<&FirstRecord>) -> Result<TopicProgress, Error> {
        let row = |(partition, next_offset): (i32, &i64)| PartitionProgress {
            partition,
            next_offset: *next_offset,
            generation: Generation::default(),
            marks: Marks::default(),
        };
        Ok(TopicProgress { partitions: (0..).zip(&self.0.lock().unwrap().progress).map(row).collect(), held: 0 })
    }

    async fn probe(&mut self) -> Result<(), Error> {
        Ok(())
    }

    fn forget(&mut self, _: &[TaskKey]) {}

    fn disconnect(&mut self) {}
}

fn task(partition: i32) -> TaskKey {
    TaskKey { pipeline: "p".into(), direction: "a→b".into(), topic: "test.users".into(), partition }
}

fn claim(task: &TaskKey) -> Claim {
    let request = ClaimRequest {
        task: task.clone(),
        owner: Owner(1),
        group_id: "g".into(),
        start_offset: Some(0),
        restart: false,
        generation: Generation::default(),
    };
    LedgerRow::new(&request, 0).claim(task)
}

/// A writer with partitions 0 and 1, which are known to have published `published`.
struct Harness {
    writer: Writer,
    waiting: Arc<Mutex<Waiting>>,
    clock: Arc<ManualClock>,
    replies: UnboundedReceiver<Reply>,
    _requests: UnboundedSender<Request>,
}

impl Harness {
    fn new(publishes: bool) -> Harness {
        let mut direction: TestDirection = one_table("users", &["id", "name"], 1);
        direction.settings.publishes = publishes;
        let decoder = TestDecoder::new(direction.layouts.clone(), KnownSchemas::default());
        let pipeline = Pipeline::new(Box::new(decoder), (direction.topology)(), direction.topics.clone()).unwrap();
        let waiting = Arc::new(Mutex::new(Waiting::default()));
        let fetch_schema: crate::lane::FetchSchema = Box::new(|_| Box::pin(async { Ok(()) }));
        let ((requests, incoming), (outgoing, replies)) = (unbounded_channel(), unbounded_channel());
        let clock = Arc::new(ManualClock::default());
        let mut writer = Writer::new(
            direction.settings,
            Box::new(OneWaits(waiting.clone())),
            pipeline,
            fetch_schema,
            Arc::new(Silent),
            clock.clone(),
            Box::new(|| 1),
            incoming,
            outgoing,
        );
        for partition in [0, 1] {
            writer.claims.insert(task(partition), claim(&task(partition)));
        }
        writer.held = HeldCounts { parked: 1, ..HeldCounts::default() };
        Harness { writer, waiting, clock, replies, _requests: requests }
    }

    /// Tries what is due; what the release said of the half: `None` when it was put off.
    async fn release(&mut self) -> Option<bool> {
        self.waiting.lock().unwrap().alone.clear();
        self.writer.release_held().await;
        let waiting = self.waiting.lock().unwrap();
        waiting.alone.first().map(|alone| alone[0])
    }
}

#[tokio::test]
async fn a_held_row_is_not_tried_before_it_is_known_what_its_task_has_published() {
    // Given a direction that publishes what dies, and a target that may have been restored: then the ledger's number is too small.
    let Harness { mut writer, waiting, _requests, .. } = Harness::new(true);
    // when nothing is known yet,
    writer.release_held().await;
    assert!(waiting.lock().unwrap().asked.is_empty(), "it could die, and its output get a number that is passed over");
    // and then what is published of one task, then only that one's rows are tried,
    writer.published(vec![(task(1), 7)], true).await;
    writer.release_held().await;
    assert_eq!(waiting.lock().unwrap().asked, [task(1)]);
    // until another claim.
    writer.publishing.forget(&task(1));
    writer.release_held().await;
    assert_eq!(waiting.lock().unwrap().asked, [task(1)]);
}

#[tokio::test]
async fn half_a_key_change_gives_up_only_when_its_other_half_is_in_no_partition() {
    // Given a half in partition 0 that has been tried often enough, and partition 1 at 3 of 9,
    let mut harness = Harness::new(false);
    let (old, new) = (vec![Value::I64(1)], vec![Value::I64(2)]);
    let position = Some(Position(1, 2, 3));
    let delete =
        TestRecord { operation: Operation::Delete, key: old, new_key: Some(new), position, ..TestRecord::default() };
    let TestBytes { key, value, headers, .. } = delete.encode();
    let half = HeldRow {
        task: task(0),
        id: HeldId { offset: 4, ordinal: 0 },
        attempts: WAIT_ATTEMPTS_MAX,
        waiting_ms: 60_000,
        lacks_half: Some("move:1".into()),
        key: Some(key),
        value,
        headers,
        timestamp_ms: 5,
    };
    let ends = || {
        [(0, 5), (1, 9)]
            .map(|(partition, high)| PartitionEnds { partition, low: 0, high, stable_end: high, log_end: high })
            .to_vec()
    };
    *harness.waiting.lock().unwrap() = Waiting { due: vec![half], progress: [5, 3], ..Waiting::default() };
    // when it is due, then it is put off, and the writer asks where the partitions end,
    assert_eq!(harness.release().await, None);
    assert!(matches!(harness.replies.try_recv(), Ok(Reply::AskEnds(of)) if of == task(0)));
    // once, unless no answer comes.
    assert_eq!(harness.release().await, None);
    assert!(harness.replies.try_recv().is_err());
    harness.clock.advance(Duration::from_secs(10));
    assert_eq!(harness.release().await, None);
    assert!(matches!(harness.replies.try_recv(), Ok(Reply::AskEnds(_))));
    harness.writer.halves.ends("test.users", ends());
    // When the partition has not come so far, then the other half may be in what is left of it,
    assert_eq!(harness.release().await, None);
    harness.waiting.lock().unwrap().progress[1] = 8;
    assert_eq!(harness.release().await, None);
    // when it has, then not.
    harness.waiting.lock().unwrap().progress[1] = 9;
    assert_eq!(harness.release().await, Some(true));
    assert_eq!(harness.waiting.lock().unwrap().postponed, 5);
    // The same answer says nothing of a half that came later,
    harness.waiting.lock().unwrap().due[0].waiting_ms = 29_000;
    assert_eq!(harness.release().await, None);
    // nor anything when the target went back.
    harness.waiting.lock().unwrap().due[0].waiting_ms = 90_000;
    assert_eq!(harness.release().await, Some(true));
    harness.waiting.lock().unwrap().progress[1] = 8;
    assert_eq!(harness.release().await, None);
    // For one that comes later there is another question, before the first is settled.
    harness.waiting.lock().unwrap().due[0].waiting_ms = 31_000;
    harness.clock.advance(Duration::from_secs(30));
    assert_eq!(harness.release().await, None);
    assert!(matches!(harness.replies.try_recv(), Ok(Reply::AskEnds(_))));
}
