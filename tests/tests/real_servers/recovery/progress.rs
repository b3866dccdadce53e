//! Progress that somebody changed: offsets of the group, a target from a backup, records that retention took, a ledger that is gone
//! (rules L3, L5, L6, L7).

use std::sync::Arc;

use tidelock_tests::goods;
use tidelock_tests::group::Group;
use tidelock_tests::pair::Pair;
use tidelock_tests::scenario::scenario;
use tidelock_tests::topic;
use tidelock_tests::wait::eventually;

use super::goods::{CATCH_UP, PARTITIONS, STOP_LIMIT, everything_arrived_once, groups, history_has, prepare, publish};

const BURST: i64 = 4000;

#[tokio::test]
async fn progress_that_somebody_changed_is_found_again_or_refused() {
    let mut group = Group::of(prepare("progress").await);
    group.show(offsets_of_the_group_that_were_reset_change_nothing).await;
    group.show(a_target_that_was_restored_from_a_backup_is_brought_forward_again).await;
    group.show(records_that_retention_took_halt_their_partition_and_no_other).await;
    group.show(records_that_retention_takes_while_a_partition_pauses_halt_it).await;
    group.show(a_ledger_that_is_gone_is_noticed_and_a_person_decides).await;
    group.end().await;
}

async fn offsets_of_the_group_that_were_reset_change_nothing(pair: Arc<Pair>) {
    // Given everything applied, and no worker,
    publish(&pair, BURST).await;
    pair.start_worker().await;
    everything_arrived_once(&pair).await;
    pair.stop_workers(STOP_LIMIT).await;
    // when somebody resets the groups to the earliest offsets,
    for group in groups(&pair) {
        topic::reset_group(&group, &goods::topic(&pair)).await;
    }
    // then the next worker goes on where the ledger is.
    pair.start_worker().await;
    publish(&pair, BURST / 10).await;
    everything_arrived_once(&pair).await;
    let consumed = 2.0 * (BURST / 10) as f64;
    pair.counted("tidelock_consumed_total", &[], consumed).await;
    assert_eq!(pair.metric("tidelock_consumed_total", &[]).await, consumed);
}

/// Tables of the target that a backup of it has: ours too.
async fn tables(pair: &Pair) -> Vec<String> {
    let sql = "SELECT tablename FROM pg_tables WHERE schemaname = 'public'
        AND (tablename IN ('goods', 'history') OR tablename LIKE 'tidelock%') ORDER BY tablename";
    pair.right.rows(sql).await
}

async fn a_target_that_was_restored_from_a_backup_is_brought_forward_again(pair: Arc<Pair>) {
    // Given a backup that was taken in the middle of a load, and a worker that goes on for a long time after it,
    let before = goods::published(&pair).await;
    publish(&pair, 2 * BURST).await;
    history_has(&pair, before + BURST / 4).await;
    let tables = tables(&pair).await;
    assert!(tables.len() > 3, "{tables:?}");
    let copies: Vec<String> =
        tables.iter().map(|table| format!("CREATE TABLE backup.{table} AS TABLE public.{table}")).collect();
    let sql = format!("BEGIN ISOLATION LEVEL REPEATABLE READ; CREATE SCHEMA backup; {}; COMMIT", copies.join("; "));
    pair.right.run(&sql).await;
    let backed_up: i64 = pair.right.row("SELECT count(*) FROM backup.history").await.parse().expect("a number");
    everything_arrived_once(&pair).await;
    assert!(goods::published(&pair).await > backed_up, "the backup is older than what is there");
    // when the target is restored from it under the running worker,
    let restored: Vec<String> = tables
        .iter()
        .map(|table| format!("DELETE FROM public.{table}; INSERT INTO public.{table} SELECT * FROM backup.{table}"))
        .collect();
    let lock = format!("LOCK TABLE {} IN ACCESS EXCLUSIVE MODE", tables.join(", "));
    pair.right.run(&format!("BEGIN; {lock}; {}; COMMIT", restored.join("; "))).await;
    publish(&pair, BURST / 10).await;
    // then it reads again what the target has lost, and everything is there, once.
    everything_arrived_once(&pair).await;
    eventually(CATCH_UP, "the worker is ready", || async {
        let replies = pair.replies("/ready").await;
        if matches!(replies[..], [Some((200, _))]) { Ok(()) } else { Err(format!("{replies:?}")) }
    })
    .await;
    // And also when it is restored while no worker runs.
    pair.stop_workers(STOP_LIMIT).await;
    pair.right.run(&format!("BEGIN; {}; COMMIT", restored.join("; "))).await;
    pair.start_worker().await;
    everything_arrived_once(&pair).await;
    pair.stop_workers(STOP_LIMIT).await;
    pair.right.run("DROP SCHEMA backup CASCADE").await;
}

async fn records_that_retention_took_halt_their_partition_and_no_other(pair: Arc<Pair>) {
    // Given records that no worker has read, of which retention takes those of partition 0,
    publish(&pair, BURST).await;
    let goods = goods::topic(&pair);
    let end = topic::ends(std::slice::from_ref(&goods)).await[&(goods.clone(), 0)];
    topic::forget_before(&goods, 0, end - 10).await;
    // when a worker starts, then it halts that partition and says so, in both directions,
    pair.start_worker().await;
    eventually(CATCH_UP, "both directions halt", || async {
        let log = pair.log().await;
        if log.matches("records are lost by retention").count() >= 2 { Ok(()) } else { Err(pair.diagnosis().await) }
    })
    .await;
    // the others arrive,
    let others: i64 = goods::published(&pair).await - end;
    let sql = "SELECT count(*) FROM history WHERE partition <> 0";
    pair.right.shows_within(CATCH_UP, sql, &[&others.to_string()]).await;
    let replies = pair.replies("/ready").await;
    let [Some((503, reasons))] = &replies[..] else { panic!("the worker says that it halted: {replies:?}") };
    assert!(reasons.contains("retention"), "{reasons}");
    pair.stop_workers(STOP_LIMIT).await;
    // and a person decides to begin that partition anew, with what is left of it.
    pair.start_worker_saying(&["--start-from", "earliest"], &[]).await;
    let sql = format!("SELECT count(*) FROM history WHERE partition = 0 AND \"offset\" >= {}", end - 10);
    pair.right.shows_within(CATCH_UP, &sql, &["10"]).await;
    pair.right
        .shows_within(CATCH_UP, "SELECT count(*) FROM history WHERE partition <> 0", &[&others.to_string()])
        .await;
    goods::the_newest_arrived(&pair, CATCH_UP).await;
    pair.stop_workers(STOP_LIMIT).await;
}

/// librdkafka fetches such a partition no more, and does not say which one it is.
async fn records_that_retention_takes_while_a_partition_pauses_halt_it(pair: Arc<Pair>) {
    // Given a worker that waits for a table of its target,
    pair.start_worker().await;
    pair.ready().await;
    pair.right.run("ALTER TABLE goods RENAME TO goods_elsewhere").await;
    publish(&pair, BURST).await;
    eventually(CATCH_UP, "the topic pauses", || async {
        let replies = pair.replies("/ready").await;
        if matches!(&replies[..], [Some((503, _))]) { Ok(()) } else { Err(format!("{replies:?}")) }
    })
    .await;
    // when retention takes what it has not read of partition 0, and then the table is there,
    let goods = goods::topic(&pair);
    let end = topic::ends(std::slice::from_ref(&goods)).await[&(goods.clone(), 0)];
    topic::forget_before(&goods, 0, end - 10).await;
    pair.right.run("ALTER TABLE goods_elsewhere RENAME TO goods").await;
    // then it halts that partition and says so, as at a start, and the others arrive.
    eventually(CATCH_UP, "the partition halts", || async {
        let replies = pair.replies("/ready").await;
        let is_told = matches!(&replies[..], [Some((503, reasons))] if reasons.contains("retention"));
        if is_told { Ok(()) } else { Err(format!("{replies:?}; {}", pair.diagnosis().await)) }
    })
    .await;
    let sql = "SELECT next_offset FROM tidelock_progress WHERE direction = 'mysql→postgres' AND partition = 1 \
               AND topic LIKE '%goods'";
    let other = topic::ends(std::slice::from_ref(&goods)).await[&(goods.clone(), 1)];
    eventually(CATCH_UP, "the other partitions arrive", || async {
        let at: i64 = pair.right.row(sql).await.parse().map_err(|error| format!("{error}"))?;
        // Behind the last record there may be a marker of a transaction.
        if at + 1 >= other { Ok(()) } else { Err(format!("{at} of {other}; {}", pair.diagnosis().await)) }
    })
    .await;
    pair.stop_workers(STOP_LIMIT).await;
    pair.start_worker_saying(&["--start-from", "earliest"], &[]).await;
    goods::the_newest_arrived(&pair, CATCH_UP).await;
    pair.stop_workers(STOP_LIMIT).await;
}

async fn a_ledger_that_is_gone_is_noticed_and_a_person_decides(pair: Arc<Pair>) {
    let _scenario = scenario("F009", None);
    // Given a target whose progress was deleted,
    pair.right.run("DELETE FROM tidelock_progress").await;
    let before = pair.right.rows("SELECT id, version FROM goods ORDER BY id").await;
    let history = pair.right.row("SELECT count(*) FROM history").await;
    // when a worker starts, then nothing is written, and each partition says what is missing and what to do.
    pair.start_worker().await;
    eventually(CATCH_UP, "every partition of both directions halts", || async {
        let replies = pair.replies("/ready").await;
        let [Some((503, reasons))] = &replies[..] else { return Err(format!("{replies:?}")) };
        let told = reasons.matches("tidelock_progress has no row").count();
        if told >= PARTITIONS as usize { Ok(()) } else { Err(reasons.clone()) }
    })
    .await;
    assert_eq!(pair.right.row("SELECT count(*) FROM history").await, history);
    pair.stop_workers(STOP_LIMIT).await;
    // And when a person decides to begin anew, then everything is written again, and the rows end as they were.
    pair.start_worker_saying(&["--start-from", "earliest"], &[]).await;
    publish(&pair, BURST / 10).await;
    goods::the_newest_arrived(&pair, CATCH_UP).await;
    assert_eq!(pair.right.rows("SELECT id FROM goods ORDER BY id").await.len(), before.len());
    pair.stop_workers(STOP_LIMIT).await;
}
