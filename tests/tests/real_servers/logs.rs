//! Logs that are not what they were: a topic that grew while nobody read it (rule A6), and one that was created anew (rule L7). The test
//! writes the topic itself, as flattened rows, so that it decides which partition holds what.

use std::sync::Arc;
use std::time::Duration;

use tidelock_tests::example::MYSQL_POSTGRES;
use tidelock_tests::goods;
use tidelock_tests::group::Group;
use tidelock_tests::pair::Pair;
use tidelock_tests::topic::{self, Published};
use tidelock_tests::wait::{arrival, eventually};

const STOP_LIMIT: Duration = Duration::from_secs(40);
/// Many batches, so that a partition that does not wait is done long before the other one.
const OLDER_CHANGES: i64 = 30_000;
/// Key of the row after them.
const LAST_OF_THE_OLDER: i64 = 7;

#[tokio::test]
async fn partitions_that_are_not_what_they_were_lose_and_double_nothing() {
    let mut group = Group::of(prepare().await);
    group.show(a_key_that_moved_to_a_new_partition_does_not_go_back_in_time).await;
    group.show(a_topic_that_was_created_anew_halts_until_a_person_decides).await;
    group.end().await;
}

async fn prepare() -> Pair {
    let running = MYSQL_POSTGRES.named("logs");
    let config = goods::config(&running, "", "tuning: { batch_rows: 100 }\n");
    let pair = Pair::of(running, Some(&config));
    pair.running.create_databases().await;
    for side in [&pair.left, &pair.right] {
        side.run("CREATE TABLE goods (id BIGINT PRIMARY KEY, version BIGINT)").await;
    }
    topic::create(&goods::topic(&pair), 1).await;
    pair
}

async fn a_key_that_moved_to_a_new_partition_does_not_go_back_in_time(pair: Arc<Pair>) {
    // Given a topic with one partition that a worker has begun to read,
    let topic_name = goods::topic(&pair);
    topic::produce(&topic_name, &[goods::row(0, 1, 0)], 1).await;
    pair.start_worker().await;
    pair.right.shows("SELECT id, version FROM goods", &["1|0"]).await;
    pair.stop_workers(STOP_LIMIT).await;
    // when many changes of a key lie there, the topic grows, and the key's next change goes to the new partition,
    let mut older: Vec<Published> = (1..=OLDER_CHANGES).map(|version| goods::row(0, version % 7, version)).collect();
    older.push(goods::row(0, LAST_OF_THE_OLDER, 0));
    topic::produce(&topic_name, &older, 1).await;
    topic::grow(&topic_name, 2).await;
    let newest: Vec<Published> = (0..7).map(|id| goods::row(1, id, OLDER_CHANGES + 1 + id)).collect();
    topic::produce(&topic_name, &newest, 1).await;
    // then every key ends with its newest change, whichever partition a worker reads first,
    pair.start_worker_with(&[("TIDELOCK_TUNING__LANES", "2")]).await;
    // when both have been read to their ends.
    let mut expected: Vec<String> = (0..7).map(|id| format!("{id}|{}", OLDER_CHANGES + 1 + id)).collect();
    expected.push(format!("{LAST_OF_THE_OLDER}|0"));
    eventually(Duration::from_secs(60), "the newest changes are there", || async {
        let rows = pair.right.rows("SELECT id, version FROM goods ORDER BY id").await;
        if rows == expected { Ok(()) } else { Err(format!("{rows:?}; {}", pair.diagnosis().await)) }
    })
    .await;
    pair.stop_workers(STOP_LIMIT).await;
}

async fn a_topic_that_was_created_anew_halts_until_a_person_decides(pair: Arc<Pair>) {
    // Given progress in a topic that is then deleted and created anew with as many records as it had,
    let topic_name = goods::topic(&pair);
    topic::delete(&topic_name).await;
    topic::create(&topic_name, 2).await;
    let others: Vec<Published> =
        (0..OLDER_CHANGES + 100).map(|version| goods::row(0, 100 + version % 3, version)).collect();
    topic::produce(&topic_name, &others, 1).await;
    let more: Vec<Published> = (0..100).map(|version| goods::row(1, 200, version)).collect();
    topic::produce(&topic_name, &more, 1).await;
    // when a worker starts, then it does not take the new records for the old ones' successors, and says so.
    pair.start_worker().await;
    eventually(Duration::from_secs(60), "both partitions halt", || async {
        let log = pair.log().await;
        let halted = log.matches("topic was created anew").count();
        if halted >= 2 { Ok(()) } else { Err(pair.diagnosis().await) }
    })
    .await;
    assert_eq!(pair.right.rows("SELECT count(*) FROM goods WHERE id >= 100").await, ["0"]);
    pair.stop_workers(STOP_LIMIT).await;
    // And when a person decides to begin anew, then everything arrives.
    pair.start_worker_saying(&["--start-from", "earliest"], &[]).await;
    let sum = format!("{}|99", OLDER_CHANGES + 99);
    let newest = "SELECT max(CASE WHEN id < 200 THEN version END), max(CASE WHEN id = 200 THEN version END) FROM goods WHERE id >= 100";
    eventually(arrival() * 3, "everything arrived", || async {
        let rows = pair.right.rows(newest).await;
        if rows == [sum.clone()] { Ok(()) } else { Err(format!("{rows:?}; {}", pair.diagnosis().await)) }
    })
    .await;
}
