//! A target whose disk is full: the direction that needs room waits, the other one goes on, and nothing is given up. PostgreSQL's sessions
//! get a limit for the length of files, which they meet as a full disk (SQLSTATE 53100); on servers of the test's own.

use std::sync::Arc;
use std::time::Duration;

use tidelock_tests::goods;
use tidelock_tests::group::Group;
use tidelock_tests::instance::Instance;
use tidelock_tests::pair::Pair;
use tidelock_tests::wait::eventually;

use crate::real_servers::recovery::goods::{CATCH_UP, STOP_LIMIT, prepare, publish};

const BURST: i64 = 4000;
/// More than a segment of PostgreSQL's log, which must stay writable; and no multiple of its pages, so that the page at the limit is
/// written in part, as on a full disk.
const FILE_LIMIT: u64 = 16 * 1024 * 1024 + 4096;
/// What the history table has left when the records come: room for some of them.
const ROOM: u64 = 256 * 1024;
/// How long the disk stays full.
const FULL_FOR: Duration = Duration::from_secs(8);

#[tokio::test]
#[ignore = "limits PostgreSQL; ./test torture starts servers for it"]
async fn a_full_disk_is_waited_for() {
    let mut group = Group::of(prepare("disk").await);
    group.show(a_direction_whose_target_has_no_room_waits_and_the_other_goes_on).await;
    Instance::own().limit_files_of_postgres(None).await;
    group.end().await;
}

async fn a_direction_whose_target_has_no_room_waits_and_the_other_goes_on(pair: Arc<Pair>) {
    let lines = "SELECT count(*), count(DISTINCT (partition, \"offset\")) FROM history WHERE partition >= 0";
    // Given a history that fills the disk,
    pair.right.run("ALTER TABLE history SET (autovacuum_enabled = false)").await;
    let mut length = 0;
    while length < FILE_LIMIT - ROOM {
        // Smaller than the lines that come, so that no page has room for one of those.
        let rows = ((FILE_LIMIT - ROOM - length) / 256).max(100);
        let filler = format!(
            "INSERT INTO history SELECT 'filler', -1, number, 'c', NULL, to_jsonb(repeat(md5(number::text), 2))
             FROM generate_series(1, {rows}) AS number"
        );
        pair.right.run(&filler).await;
        length = pair.right.row("SELECT pg_relation_size('history')").await.parse().expect("a number");
    }
    assert!(length < FILE_LIMIT, "{length} bytes");
    Instance::own().limit_files_of_postgres(Some(FILE_LIMIT)).await;
    // when records come, then the table that has room gets them,
    publish(&pair, BURST).await;
    pair.start_worker().await;
    goods::the_newest_arrived(&pair, CATCH_UP).await;
    // and the other direction says what it waits for, and gives nothing up,
    eventually(CATCH_UP, "the worker says that its target takes no writes", || async {
        let replies = pair.replies("/ready").await;
        let log = pair.log().await;
        let is_told = matches!(replies[..], [Some((503, _))]) && log.contains("53100");
        if is_told { Ok(()) } else { Err(format!("{replies:?}; {}", pair.diagnosis().await)) }
    })
    .await;
    tokio::time::sleep(FULL_FOR).await;
    assert_eq!(pair.right.row("SELECT count(*) FROM tidelock_held").await, "0");
    let written: i64 =
        pair.right.row("SELECT count(*) FROM history WHERE partition >= 0").await.parse().expect("a number");
    assert!(written < BURST, "there was no room for {written} lines");
    // until there is room.
    Instance::own().limit_files_of_postgres(None).await;
    publish(&pair, BURST).await;
    let all = format!("{}|{}", 2 * BURST, 2 * BURST);
    pair.right.shows_within(CATCH_UP, lines, &[&all]).await;
    goods::the_newest_arrived(&pair, CATCH_UP).await;
    pair.ready().await;
    pair.stop_workers(STOP_LIMIT).await;
}
