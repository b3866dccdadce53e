use std::sync::{Arc, Mutex};

use async_trait::async_trait;
use tokio::sync::mpsc::unbounded_channel;

use crate::batch::ChangeBatch;
use crate::clock::ManualClock;
use crate::driver::{KnownSchemas, TestDecoder, TestDirection, one_table};
use crate::error::Error;
use crate::generation::{FirstRecord, Generation};
use crate::lane::Writer;
use crate::ledger::{Claim, ClaimReply, ClaimRequest, LedgerRow, Owner, TaskKey, TopicProgress};
use crate::observe::Silent;
use crate::pipeline::Pipeline;
use crate::sink::{Applied, ApplyError, Capabilities, HeldCounts, HeldRow, SinkWriter};

/// A target in which one row waits; it notes for whose rows it was asked.
struct OneWaits(Arc<Mutex<Vec<TaskKey>>>);

#[async_trait]
impl SinkWriter for OneWaits {
    fn capabilities(&self) -> Capabilities {
        Capabilities::default()
    }

    async fn claim(&mut self, _: &[ClaimRequest]) -> Result<Vec<ClaimReply>, Error> {
        Ok(Vec::new())
    }

    async fn apply(&mut self, _: &ChangeBatch) -> Result<Applied, ApplyError> {
        Ok(Applied::default())
    }

    async fn due_held(&mut self, claims: &[Claim], _: usize) -> Result<Vec<HeldRow>, Error> {
        self.0.lock().unwrap().extend(claims.iter().map(|claim| claim.task.clone()));
        Ok(Vec::new())
    }

    async fn held_counts(&mut self, _: &[Claim]) -> Result<HeldCounts, Error> {
        Ok(HeldCounts { parked: 1, ..HeldCounts::default() })
    }

    async fn topic_progress(&mut self, _: &TaskKey, _: &FirstRecord) -> Result<TopicProgress, Error> {
        Ok(TopicProgress::default())
    }

    async fn probe(&mut self) -> Result<(), Error> {
        Ok(())
    }

    fn forget(&mut self, _: &[TaskKey]) {}

    fn disconnect(&mut self) {}
}

fn task(partition: i32) -> TaskKey {
    TaskKey { pipeline: "p".into(), direction: "a→b".into(), topic: "users".into(), partition }
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

#[tokio::test]
async fn a_held_row_is_not_tried_before_it_is_known_what_its_task_has_published() {
    // Given a direction that publishes what dies, and a target that may have been restored: then the ledger's number is too small.
    let mut direction: TestDirection = one_table("users", &["id", "name"], 1);
    direction.settings.publishes = true;
    let decoder = TestDecoder::new(direction.layouts.clone(), KnownSchemas::default());
    let pipeline = Pipeline::new(Box::new(decoder), (direction.topology)(), direction.topics.clone()).unwrap();
    let asked = Arc::new(Mutex::new(Vec::new()));
    let sink = Box::new(OneWaits(asked.clone()));
    let fetch_schema: crate::lane::FetchSchema = Box::new(|_| Box::pin(async { Ok(()) }));
    let ((_requests, incoming), (outgoing, _replies)) = (unbounded_channel(), unbounded_channel());
    let clock = Arc::new(ManualClock::default());
    let random = Box::new(|| 1);
    let mut writer = Writer::new(
        direction.settings,
        sink,
        pipeline,
        fetch_schema,
        Arc::new(Silent),
        clock,
        random,
        incoming,
        outgoing,
    );
    for partition in [0, 1] {
        writer.claims.insert(task(partition), claim(&task(partition)));
    }
    writer.held = HeldCounts { parked: 1, ..HeldCounts::default() };
    // when nothing is known yet,
    writer.release_held().await;
    assert!(asked.lock().unwrap().is_empty(), "it could die, and its output get a number that is passed over");
    // and then what is published of one task, then only that one's rows are tried,
    writer.published(vec![(task(1), 7)], true).await;
    writer.release_held().await;
    assert_eq!(*asked.lock().unwrap(), [task(1)]);
    // until another claim.
    writer.publishing.forget(&task(1));
    writer.release_held().await;
    assert_eq!(*asked.lock().unwrap(), [task(1)]);
}
