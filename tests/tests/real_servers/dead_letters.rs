//! The dead-letter topic (rules O): what can never be applied is on it, as a read_committed reader sees it, exactly once, whatever happens to
//! the workers. The test writes the source's topic itself, so that it knows every byte.

use std::collections::{BTreeMap, BTreeSet};
use std::sync::Arc;
use std::time::Duration;

use rdkafka::message::Headers;
use tidelock_tests::example::MYSQL_POSTGRES;
use tidelock_tests::goods;
use tidelock_tests::group::Group;
use tidelock_tests::pair::Pair;
use tidelock_tests::scenario::scenario;
use tidelock_tests::topic::{self, Published};
use tidelock_tests::wait::eventually;

const PARTITIONS: i32 = 3;
/// Records in each slice that is written between two kills.
const SLICE: i64 = 400;
const KILLS: i64 = 8;

#[tokio::test]
async fn dead_letters_are_published_exactly_once() {
    let mut group = Group::of(prepare().await);
    group.show(a_dead_letter_has_the_original_bytes_and_says_why).await;
    group.show(dead_letters_are_there_once_though_workers_are_killed).await;
    group.show(a_topic_that_takes_no_dead_letters_delays_them_and_nothing_else).await;
    group.end().await;
}

async fn prepare() -> Pair {
    let running = MYSQL_POSTGRES.named("letters");
    let letters = format!(
        ", dead_letters: {}-letters, options: {{ session.timeout.ms: \"6000\", heartbeat.interval.ms: \"500\" }}",
        running.name()
    );
    let more = "tuning: { batch_rows: 50, dead: { ratio: 1, run_length: 100000 } }\n";
    let config = goods::config(&running, &letters, more);
    let pair = Pair::of(running, Some(&config));
    pair.running.create_databases().await;
    pair.left.run("CREATE TABLE goods (id BIGINT PRIMARY KEY, version BIGINT)").await;
    pair.right.run("CREATE TABLE goods (id BIGINT PRIMARY KEY, version BIGINT CHECK (version >= 0))").await;
    topic::create(&goods::topic(&pair), PARTITIONS).await;
    pair
}

fn letters(pair: &Pair) -> String {
    format!("{}-letters", pair.running.name())
}

/// The table refuses it.
fn refused(partition: i32, id: i64) -> Published {
    goods::record(partition, id, format!("{{\"id\":{id},\"version\":-1}}"))
}

/// Nobody can read it.
fn broken(partition: i32, id: i64) -> Published {
    goods::record(partition, id, format!("{{\"id\":{id},\"version\":\u{1}"))
}

/// Headers as text, by name; the last of a name counts.
fn headers(letter: &Published) -> BTreeMap<String, String> {
    let text = |value: Option<&[u8]>| String::from_utf8_lossy(value.unwrap_or_default()).into_owned();
    letter.headers.iter().map(|header| (header.key.to_owned(), text(header.value))).collect()
}

async fn a_dead_letter_has_the_original_bytes_and_says_why(pair: Arc<Pair>) {
    // Given a record that the target refuses and one that nobody can read, between good ones
    let records = [goods::row(0, 1, 1), refused(0, 2), goods::row(0, 3, 3), broken(0, 4), goods::row(0, 5, 5)];
    topic::produce(&goods::topic(&pair), &records, 1).await;
    // when
    pair.start_worker().await;
    pair.right.shows("SELECT id FROM goods ORDER BY id", &["1", "3", "5"]).await;
    // then both are on the topic.
    eventually(Duration::from_secs(60), "two dead letters", || async {
        let found = topic::read(&letters(&pair)).await.len();
        if found == 2 { Ok(()) } else { Err(format!("{found}; {}", pair.diagnosis().await)) }
    })
    .await;
    let found = topic::read(&letters(&pair)).await;
    for (original, offset, class) in [(&records[1], "1", "data"), (&records[3], "3", "data")] {
        let letter = found.iter().find(|letter| letter.value == original.value).expect("its bytes");
        assert_eq!(letter.key, original.key);
        let headers = headers(letter);
        let header =
            |name: &str| headers.get(name).unwrap_or_else(|| panic!("{name} is missing in {headers:#?}")).as_str();
        assert_eq!(header("trace"), headers["trace"]);
        assert_eq!(header("__connect.errors.topic"), goods::topic(&pair));
        assert_eq!(header("__connect.errors.partition"), "0");
        assert_eq!(header("__connect.errors.offset"), offset);
        assert_eq!(header("tidelock.class"), class);
        assert_eq!(header("tidelock.attempts"), "1");
        assert!(header("__connect.errors.exception.message").len() > 10);
        assert!(header("tidelock.first_failed_at_ms").parse::<i64>().unwrap() > 0);
    }
    let letter = found.iter().find(|letter| letter.value == records[1].value).unwrap();
    assert_eq!(headers(letter)["tidelock.code"], "23514", "a CHECK of PostgreSQL");
    // What is published leaves the target.
    eventually(Duration::from_secs(30), "the outbox is empty", || async {
        let left = pair.right.rows("SELECT seq FROM tidelock_outbox").await;
        if left.is_empty() { Ok(()) } else { Err(format!("{left:?}")) }
    })
    .await;
    pair.counted("tidelock_published_total", &[], 2.0).await;
}

async fn dead_letters_are_there_once_though_workers_are_killed(pair: Arc<Pair>) {
    // Given two workers, a topic in which two of seven records are bad, and a kill -9 after every slice of it
    pair.start_worker().await;
    let mut sent = Vec::new();
    for slice in 0..KILLS {
        let first = 1_000 + slice * SLICE;
        let records: Vec<Published> = (first..first + SLICE)
            .map(|id| {
                let partition = (id % i64::from(PARTITIONS)) as i32;
                match id % 7 {
                    1 => refused(partition, id),
                    4 => broken(partition, id),
                    _ => goods::row(partition, id, id),
                }
            })
            .collect();
        topic::produce(&goods::topic(&pair), &records, 1).await;
        sent.extend(records);
        // Each time somewhere else between reading, writing and publishing.
        tokio::time::sleep(Duration::from_millis(300 + 370 * (slice as u64 % 5))).await;
        pair.kill_worker(0).await;
        pair.start_worker().await;
    }
    // when everything is done
    let good = sent
        .iter()
        .filter(|record| record.value.as_deref().is_some_and(|value| value.ends_with(b"}") && !value.ends_with(b"-1}")))
        .count();
    eventually(Duration::from_secs(150), "everything is applied, and published", || async {
        let rows = pair.right.rows("SELECT count(*) FROM goods WHERE id >= 1000").await;
        let left = pair.right.rows("SELECT count(*) FROM tidelock_outbox").await;
        if rows == [good.to_string()] && left == ["0"] {
            Ok(())
        } else {
            Err(format!("{rows:?} of {good} rows, {left:?} letters left; {}", pair.diagnosis().await))
        }
    })
    .await;
    // then every bad record, and nothing else, is on the topic once.
    let originals = topic::read(&goods::topic(&pair)).await;
    let is_bad = |record: &&Published| {
        let value = record.value.as_deref().unwrap_or_default();
        !value.ends_with(b"}") || value.ends_with(b"-1}")
    };
    let bad: BTreeSet<(i32, i64)> =
        originals.iter().filter(is_bad).map(|record| (record.partition, record.offset)).collect();
    let mut times: BTreeMap<(i32, i64), usize> = BTreeMap::new();
    for letter in topic::read(&letters(&pair)).await {
        let headers = headers(&letter);
        let place = (
            headers["__connect.errors.partition"].parse().unwrap(),
            headers["__connect.errors.offset"].parse().unwrap(),
        );
        *times.entry(place).or_default() += 1;
        let original = originals.iter().find(|record| (record.partition, record.offset) == place).expect("it exists");
        assert_eq!((&letter.key, &letter.value), (&original.key, &original.value));
    }
    let doubled: Vec<_> = times.iter().filter(|(_, times)| **times > 1).collect();
    assert!(doubled.is_empty(), "published more than once: {doubled:?}");
    assert_eq!(times.keys().copied().collect::<BTreeSet<_>>(), bad);
}

async fn a_topic_that_takes_no_dead_letters_delays_them_and_nothing_else(pair: Arc<Pair>) {
    let _scenario = scenario(
        "F010",
        Some("the partition goes on: its dead letters are safe in the target until the topic is back"),
    );
    // Given a topic of dead letters that refuses them (one broker can't be without its only partition; a compacted topic without their keys
    // will do), and records that belong there
    topic::clean_up(&letters(&pair), "compact").await;
    let broken = |partition, id| Published { key: None, ..broken(partition, id) };
    let before = topic::read(&letters(&pair)).await.len();
    let records = [broken(0, 9_001), goods::row(0, 9_002, 1), broken(1, 9_003), goods::row(1, 9_004, 1)];
    topic::produce(&goods::topic(&pair), &records, 1).await;
    // when
    let rows = "SELECT id FROM goods WHERE id >= 9000 ORDER BY id";
    pair.right.shows(rows, &["9002", "9004"]).await;
    // then all else is applied, they wait in the target, and whoever watches is told.
    pair.right.shows("SELECT count(*) FROM tidelock_outbox", &["2"]).await;
    eventually(Duration::from_secs(120), "a lane says that it cannot publish", || async {
        let pages = pair.replies("/metrics").await.into_iter().flatten().map(|(_, page)| page).collect::<String>();
        let is_down = pages.lines().any(|line| line.starts_with("tidelock_publishing_up{") && line.ends_with(" 0"));
        if is_down { Ok(()) } else { Err(pages) }
    })
    .await;
    // A worker is killed meanwhile; another one takes over what it could not publish.
    pair.kill_worker(0).await;
    pair.start_worker().await;
    let later = [broken(0, 9_005), goods::row(0, 9_006, 1)];
    topic::produce(&goods::topic(&pair), &later, 1).await;
    pair.right.shows(rows, &["9002", "9004", "9006"]).await;
    assert_eq!(topic::read(&letters(&pair)).await.len(), before);
    // When the topic takes records again, each is there once.
    topic::clean_up(&letters(&pair), "delete").await;
    eventually(Duration::from_secs(120), "the outbox is empty", || async {
        let left = pair.right.rows("SELECT seq FROM tidelock_outbox").await;
        if left.is_empty() { Ok(()) } else { Err(format!("{left:?}; {}", pair.diagnosis().await)) }
    })
    .await;
    let letters = topic::read(&letters(&pair)).await;
    let mut values: Vec<_> = letters.iter().skip(before).map(|letter| letter.value.clone()).collect();
    values.sort();
    let mut expected = [&records[0], &records[2], &later[0]].map(|record| record.value.clone());
    expected.sort();
    assert_eq!(values, expected);
}
