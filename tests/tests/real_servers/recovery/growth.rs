//! A topic that gets more partitions while it is written and read (rule A6): its keys move to new ones, with changes of theirs still unread
//! in the old ones.

use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};

use tidelock_tests::goods;
use tidelock_tests::group::Group;
use tidelock_tests::pair::Pair;
use tidelock_tests::topic;
use tidelock_tests::watch::never_back;

use super::goods::{STOP_LIMIT, everything_arrived_once, history_has, prepare_with, start};

const BEFORE: i32 = 3;
const AFTER: i32 = 6;
/// Records between two events.
const BURST: i64 = 6_000;
/// Keeps the rows of the target from being written until a worker has claimed a new partition.
const LOCK_UNTIL_A_NEW_ONE_IS_CLAIMED: &str = "BEGIN; LOCK TABLE goods IN EXCLUSIVE MODE;
    DO $$ BEGIN
      WHILE NOT EXISTS (SELECT 1 FROM tidelock_progress WHERE direction NOT LIKE '%append' AND partition >= 3) LOOP
        IF clock_timestamp() > now() + interval '60 s' THEN RAISE EXCEPTION 'no new partition was claimed'; END IF;
        PERFORM pg_sleep(0.05);
      END LOOP;
    END $$; COMMIT";

#[tokio::test]
async fn a_topic_that_grows_under_load_keeps_its_order() {
    let mut group = Group::of(prepare_with("growth", BEFORE).await);
    group.show(a_topic_grown_from_three_to_six_partitions_under_load_turns_nothing_back).await;
    group.end().await;
}

async fn a_topic_grown_from_three_to_six_partitions_under_load_turns_nothing_back(pair: Arc<Pair>) {
    // Given two workers in the middle of their work, and somebody who looks at the target all the time,
    let done = Arc::new(AtomicBool::new(false));
    let rows = "SELECT id, version FROM goods".to_owned();
    let reader = tokio::spawn(never_back(pair.right.clone(), rows, done.clone()));
    goods::publish(&pair, BEFORE, BURST).await;
    let mut first = start(&pair, "first", &[("TIDELOCK_TUNING__LANES", "2")]);
    let mut second = start(&pair, "second", &[("TIDELOCK_TUNING__LANES", "2")]);
    history_has(&pair, 500).await;
    // when much is left in the old partitions because the target's rows are locked, the topic grows, half of the keys go on in new ones,
    // one worker is killed and another comes, and the lock goes when a new partition has been claimed,
    goods::publish(&pair, BEFORE, BURST).await;
    let target = pair.right.clone();
    let lock = tokio::spawn(async move { target.run(LOCK_UNTIL_A_NEW_ONE_IS_CLAIMED).await });
    pair.right
        .shows(
            "SELECT count(*) FROM pg_locks WHERE relation = 'goods'::regclass AND mode = 'ExclusiveLock' AND granted",
            &["1"],
        )
        .await;
    goods::publish(&pair, BEFORE, BURST).await;
    topic::grow(&goods::topic(&pair), AFTER as usize).await;
    goods::publish(&pair, AFTER, BURST).await;
    first.kill();
    let mut third = start(&pair, "third", &[("TIDELOCK_TUNING__LANES", "2")]);
    lock.await.expect("a new partition was claimed");
    goods::publish(&pair, AFTER, BURST).await;
    // then every record counts once, each key has its newest version, and no row was ever seen to go back.
    everything_arrived_once(&pair).await;
    done.store(true, Ordering::Relaxed);
    reader.await.expect("no row went back");
    for worker in [&mut second, &mut third] {
        assert_eq!(worker.terminate(STOP_LIMIT), 0, "{}", worker.log_tail());
    }
}
