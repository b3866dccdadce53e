//! What Kafka may hold besides changes, and more than once: repeats, tombstones, records without payload.

use std::sync::Arc;

use tidelock_tests::pair::Pair;
use tidelock_tests::scenario::scenario;
use tidelock_tests::topic::{self, Published};

/// Whose record is copied: the last event of test_user_1 at L.
pub(super) async fn the_same_bytes_ten_times_more_change_nothing(pair: Arc<Pair>) {
    let _scenario = scenario("A020", None);
    let legacy = &pair.running.example.sides[0];
    let users = pair.running.topic(legacy, "legacy_users");
    let needle = b"test_user_1";
    let records = topic::read(&users).await;
    let of_user_1 = |record: &&Published| {
        record.value.as_ref().is_some_and(|value| value.windows(needle.len()).any(|window| window == needle))
    };
    let record = records.iter().rfind(of_user_1).expect("test_user_1 was inserted").clone();
    let row = "SELECT * FROM revamp_users WHERE user_name = 'test_user_1'";
    let before = pair.right.row(row).await;
    let duplicates = pair.outcome("legacy→revamp", "duplicate").await;
    // A second later `updated_at` would show a write.
    tokio::time::sleep(std::time::Duration::from_millis(1100)).await;

    topic::produce(&users, &[record], 10).await;

    pair.counts("legacy→revamp", "duplicate", duplicates + 10.0).await;
    assert_eq!(pair.outcome("legacy→revamp", "duplicate").await, duplicates + 10.0);
    assert_eq!(pair.right.row(row).await, before, "still one row, not even updated_at has changed");
}

pub(super) async fn tombstones_and_messages_without_payload_do_no_harm(pair: Arc<Pair>) {
    let _scenario = scenario("D016", Some("on the blog's tables"));
    let legacy = &pair.running.example.sides[0];
    let posts = pair.running.topic(legacy, "legacy_posts");
    let known = topic::read(&posts).await.into_iter().find(|record| record.key.is_some()).expect("there are posts");
    let dead = pair.outcome("legacy→revamp", "dead").await;
    let count = pair.right.row("SELECT count(*) FROM revamp_posts").await;
    let strange = |key: Option<Vec<u8>>, value: Option<Vec<u8>>| Published { key, value, ..known.clone() };
    let key = known.key.clone();
    let records = [
        strange(key.clone(), None),                           // a tombstone of a row that is there
        strange(None, None),                                  // nothing at all
        strange(key.clone(), Some(Vec::new())),               // no payload
        strange(key.clone(), Some(b"\x00\x00\x00".to_vec())), // the frame is cut
        strange(key, Some(b"this is no change".to_vec())),    // no frame
    ];

    topic::produce(&posts, &records, 1).await;

    // Tombstones only move progress; the other three can never be applied and are kept.
    pair.counts("legacy→revamp", "dead", dead + 3.0).await;
    let kept = "SELECT count(*) FROM tidelock_held WHERE state = 'dead'";
    pair.right.shows(kept, &[&format!("{}", dead + 3.0)]).await;
    assert_eq!(pair.right.row("SELECT count(*) FROM revamp_posts").await, count);
    // Changes after them flow, of the same partition too.
    pair.left.run("UPDATE legacy_posts SET view_count = 777").await;
    let views = "SELECT count(*) FROM revamp_posts WHERE views = 777";
    let expected = pair.left.row("SELECT count(*) FROM legacy_posts").await;
    pair.right.shows(views, &[&expected]).await;
    pair.ready().await;
}
