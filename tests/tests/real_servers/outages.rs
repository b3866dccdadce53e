//! Lanes while their target is down, however it begins: they keep their place in the consumer group, never give up, and go on where they
//! were. The test writes the topic itself, as flattened rows; the target's history table has each record once, or something is wrong.

use std::collections::BTreeSet;
use std::sync::Arc;
use std::time::Duration;

use tidelock_tests::example::{BLOG_SPARE, Running};
use tidelock_tests::goods;
use tidelock_tests::group::Group;
use tidelock_tests::pair::Pair;
use tidelock_tests::spare::{self, Spare};
use tidelock_tests::topic;
use tidelock_tests::wait::eventually;

const STOP_LIMIT: Duration = Duration::from_secs(40);
const PARTITIONS: i32 = 4;
const LANES: usize = 2;
/// Longer than `max.poll.interval.ms` in [`config`]: a lane that did not poll while it waits would be put out of its group.
const OUTAGE: Duration = Duration::from_secs(10);
/// How long everything may take to arrive once the target is back.
const CATCH_UP: Duration = Duration::from_secs(180);
const BURST: i64 = 4000;

#[tokio::test]
async fn a_target_that_is_down_stops_nobody_for_good() {
    let _spare = Spare::start().await;
    let mut group = Group::of(prepare().await);
    group.show(a_worker_that_starts_while_its_target_is_down_begins_when_it_comes).await;
    group.show(a_target_that_is_killed_under_load_gets_every_record_once).await;
    group.show(workers_that_leave_and_join_while_the_target_is_down_hand_over_their_partitions).await;
    // A part that failed may have left it down.
    spare::up().await;
    group.end().await;
}

async fn prepare() -> Pair {
    let running = BLOG_SPARE.named("outages");
    let config = config(&running);
    let pair = Pair::of(running, Some(&config));
    pair.running.create_databases().await;
    for side in [&pair.left, &pair.right] {
        side.run("CREATE TABLE goods (id BIGINT PRIMARY KEY, version BIGINT)").await;
    }
    pair.right
        .run(
            "CREATE TABLE history (topic VARCHAR(200) NOT NULL, `partition` INT NOT NULL, `offset` BIGINT NOT NULL,
               operation VARCHAR(1) NOT NULL, `key` JSON, `row` JSON)",
        )
        .await;
    topic::create(&goods::topic(&pair), PARTITIONS).await;
    pair
}

fn config(running: &Running) -> String {
    let [legacy, _] = &running.example.sides;
    format!(
        "pipeline: {}
kafka:
  brokers: \"${{KAFKA_BROKERS}}\"
  options: {{ session.timeout.ms: \"6000\", heartbeat.interval.ms: \"1500\", max.poll.interval.ms: \"8000\" }}
sites:
  legacy: {{ kind: mysql, url: \"${{LEGACY_URL}}\", topics: \"{}\", format: json, records: rows }}
  revamp: {{ kind: mysql, url: \"${{REVAMP_URL}}\" }}
links:
  - {{ from: legacy, to: revamp, entities: {{ goods: {{}} }} }}
  - {{ from: legacy, to: revamp, entities: {{ goods_history: {{ tables: {{ legacy: goods, revamp: history }}, mode: append }} }} }}
tuning: {{ lanes: {LANES}, batch_rows: 100, retry: {{ cap_ms: 3000 }} }}
",
        running.name(),
        running.topic(legacy, "{table}"),
    )
}

/// Puts `count` records on the topic; see [`goods::publish`].
async fn publish(pair: &Pair, count: i64) {
    goods::publish(pair, PARTITIONS, count).await;
}

/// Waits until the target has every record of the topic once, and each key's newest version.
async fn everything_arrived_once(pair: &Pair) {
    let history =
        "SELECT count(*), count(DISTINCT `partition`, `offset`), count(DISTINCT `row` ->> '$.version') FROM history";
    goods::everything_arrived_once(pair, history, CATCH_UP).await;
    pair.ready().await;
}

/// Members of both directions' consumer groups, once each has `count` and is stable.
async fn members(pair: &Pair, count: usize) -> BTreeSet<String> {
    let mut all = BTreeSet::new();
    for mode in ["", ".append"] {
        let name = format!("tidelock.{}.legacy.revamp{mode}", pair.running.name());
        eventually(Duration::from_secs(30), &format!("{name} has {count} members"), || async {
            let (state, members) = topic::group(&name).await;
            if state == "Stable" && members.len() == count { Ok(()) } else { Err(format!("{state} {members:?}")) }
        })
        .await;
        all.extend(topic::group(&name).await.1);
    }
    all
}

/// Waits until every worker says on /ready that it cannot work, and on /live that it lives all the same.
async fn paused(pair: &Pair) {
    eventually(Duration::from_secs(30), "every worker lives and says that its target is down", || async {
        let (live, ready) = (pair.replies("/live").await, pair.replies("/ready").await);
        let all = |replies: &[Option<(u16, String)>], status| {
            replies.iter().all(|reply| reply.as_ref().is_some_and(|(seen, _)| *seen == status))
        };
        if all(&live, 200) && all(&ready, 503) { Ok(()) } else { Err(format!("{live:?} {ready:?}")) }
    })
    .await;
}

/// Looks at /live all the time while the target is down.
async fn lives_for(pair: &Pair, duration: Duration) {
    let end = tokio::time::Instant::now() + duration;
    while tokio::time::Instant::now() < end {
        for reply in pair.replies("/live").await {
            assert!(matches!(reply, Some((200, _))), "{reply:?}");
        }
        tokio::time::sleep(Duration::from_millis(500)).await;
    }
}

async fn a_worker_that_starts_while_its_target_is_down_begins_when_it_comes(pair: Arc<Pair>) {
    // Given records that nobody has read, and a target that is down.
    publish(&pair, BURST).await;
    spare::down().await;
    // When a worker starts,
    pair.start_worker().await;
    // then it lives, and says what it waits for: it needs the target's tables to know what its lanes are to do.
    paused(&pair).await;
    lives_for(&pair, OUTAGE).await;
    paused(&pair).await;
    // And when the target comes, everything arrives, once.
    spare::up().await;
    everything_arrived_once(&pair).await;
}

async fn a_target_that_is_killed_under_load_gets_every_record_once(pair: Arc<Pair>) {
    // Given a load that a worker writes,
    let before = members(&pair, LANES).await;
    for _ in 0..3 {
        publish(&pair, BURST).await;
    }
    // when the target is killed in the middle of it, and the load goes on,
    eventually(CATCH_UP, "the worker is in the middle of the load", || async {
        let seen: i64 = pair.right.row("SELECT count(*) FROM history").await.parse().expect("a number");
        if seen > BURST { Ok(()) } else { Err(seen.to_string()) }
    })
    .await;
    spare::kill().await;
    publish(&pair, BURST).await;
    paused(&pair).await;
    lives_for(&pair, OUTAGE).await;
    publish(&pair, BURST).await;
    assert_eq!(members(&pair, LANES).await, before, "no lane left the group or had to join it again");
    // then the same lanes go on where they were.
    spare::up().await;
    everything_arrived_once(&pair).await;
    assert_eq!(members(&pair, LANES).await, before);
}

async fn workers_that_leave_and_join_while_the_target_is_down_hand_over_their_partitions(pair: Arc<Pair>) {
    // Given two workers, records to write and a target that is down,
    let first = members(&pair, LANES).await;
    pair.start_worker().await;
    let both = members(&pair, 2 * LANES).await;
    assert!(both.is_superset(&first), "{first:?} {both:?}");
    spare::down().await;
    publish(&pair, BURST).await;
    paused(&pair).await;
    // when one of them is frozen until its lanes are put out of the group, then the other one's lanes stay.
    pair.signal_worker(1, "STOP").await;
    assert_eq!(members(&pair, LANES).await, first);
    // When it goes on, it joins again.
    pair.signal_worker(1, "CONT").await;
    let both = members(&pair, 2 * LANES).await;
    assert!(both.is_superset(&first), "{first:?} {both:?}");
    paused(&pair).await;
    lives_for(&pair, OUTAGE).await;
    assert_eq!(members(&pair, 2 * LANES).await, both);
    // When the first one leaves, it ends in time although the target is down and each of its lanes has all the batches that it may have
    // under way, and the other one has all partitions.
    pair.stop_worker(0, STOP_LIMIT).await;
    let second: BTreeSet<String> = both.difference(&first).cloned().collect();
    assert_eq!(members(&pair, LANES).await, second);
    // When a third one starts, it waits for the target.
    pair.start_worker().await;
    publish(&pair, BURST).await;
    paused(&pair).await;
    lives_for(&pair, OUTAGE).await;
    assert_eq!(members(&pair, LANES).await, second);
    // And when the target is back, everything arrives, once, and the third one takes its part.
    spare::up().await;
    everything_arrived_once(&pair).await;
    members(&pair, 2 * LANES).await;
    publish(&pair, BURST).await;
    everything_arrived_once(&pair).await;
    assert_eq!(pair.outcome("", "dead").await, 0.0);
    pair.stop_workers(STOP_LIMIT).await;
}
