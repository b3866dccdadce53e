//! Rules L: claims, fences, zombies, lost replies.

use std::sync::Arc;

use topology::data::Value;
use topology::generation::{FirstRecord, Generation, Waits};
use topology::ledger::{CasOutcome, Claim, ClaimReply, Owner, Passed};
use topology::sink::{ApplyError, SinkWriter};
use topology::state::StateStore;

use crate::batches::{Builder, apply, claim, refused, request, task};
use crate::blog::{bad_user, blog, post};
use crate::conformance;
use crate::target::{Engine, SinkTableSet, Target, n, t};

async fn users(target: &mut Target) -> SinkTableSet {
    target.run(&["CREATE TABLE users (id bigint PRIMARY KEY, name varchar(100))"]).await;
    vec![target.table(0, "users", &["id", "name"], &["id"]).await]
}

async fn a_claim_raises_the_epoch_and_reads_what_is_stored(target: &mut Target) {
    let tables = users(target).await;
    let mut writer = target.writer(&tables);

    let missing = writer.claim(&[request("t", 0, 1, None)]).await.unwrap();
    assert!(matches!(&missing[0], ClaimReply::Missing { topic, direction: None } if topic.is_empty()), "{missing:?}");

    let first = claim(&mut writer, "t", 0, 1).await;
    assert_eq!((first.epoch, first.next_offset), (1, 0));
    assert_eq!(first.generation, Generation::parse("partitions=1 key=7"));
    let first_generation = first.generation;
    let mut claims = [first];
    let batch = Builder::new(&claims, &tables).upsert(0, &[n(1), t("ann")]).finish();
    apply(&mut writer, &mut claims, &batch).await;

    let again = claim(&mut writer, "t", 0, 2).await;
    assert_eq!((again.epoch, again.next_offset, again.tail_hash), (2, 1, 7));
    assert_eq!(again.marks, batch.spans[0].marks);

    let missing = writer.claim(&[request("t", 1, 1, None), request("u", 0, 1, None)]).await.unwrap();
    assert!(
        matches!(&missing[0], ClaimReply::Missing { topic, direction: Some(_) } if *topic == [first_generation]),
        "{missing:?}"
    );
    assert!(
        matches!(&missing[1], ClaimReply::Missing { topic, direction: Some(_) } if topic.is_empty()),
        "{missing:?}"
    );
}

async fn a_start_offset_is_stored_once_and_never_overrides_progress(target: &mut Target) {
    let tables = users(target).await;
    let mut writer = target.writer(&tables);
    for (owner, start) in [(1, 40), (2, 7)] {
        let replies = writer.claim(&[request("t", 3, owner, Some(start))]).await.unwrap();
        let ClaimReply::Claimed(claim) = &replies[0] else { panic!("{replies:?}") };
        assert_eq!(claim.next_offset, 40);
    }
}

async fn a_group_that_is_alive_keeps_its_direction(target: &mut Target) {
    let tables = users(target).await;
    let mut writer = target.writer(&tables);
    claim(&mut writer, "t", 0, 1).await;
    let mut other = request("t", 0, 2, Some(0));
    other.group_id = "somebody-else".into();
    let replies = writer.claim(&[other]).await.unwrap();
    assert!(matches!(&replies[0], ClaimReply::OtherGroup { group_id } if group_id == "tidelock-test"), "{replies:?}");
    assert_eq!(target.value("SELECT epoch FROM tidelock_progress").await, "1", "refused before it raised the epoch");
}

async fn a_zombie_is_fenced_and_writes_nothing(target: &mut Target) {
    let tables = users(target).await;
    let mut zombie = target.writer(&tables);
    let mut owner = target.writer(&tables);
    let stale = [claim(&mut zombie, "t", 0, 1).await];
    let mut fresh = [claim(&mut owner, "t", 0, 2).await];

    let batch = Builder::new(&stale, &tables).upsert(0, &[n(1), t("zombie")]).finish();
    let error = refused(&mut zombie, &batch).await;
    assert!(
        matches!(&error, ApplyError::Cas(outcomes) if outcomes[..] == [(task("t", 0), CasOutcome::Fenced)]),
        "{error:?}"
    );
    assert!(target.rows("SELECT name FROM users").await.is_empty());

    let batch = Builder::new(&fresh, &tables).upsert(0, &[n(1), t("owner")]).finish();
    apply(&mut owner, &mut fresh, &batch).await;
    assert_eq!(target.rows("SELECT name FROM users").await, ["owner"]);
}

async fn an_idle_lane_sees_what_the_ledger_says_of_its_tasks(target: &mut Target) {
    let tables = users(target).await;
    let mut writer = target.writer(&tables);
    let mut claims = [claim(&mut writer, "t", 0, 1).await, claim(&mut writer, "t", 1, 2).await];
    claim(&mut writer, "u", 1, 3).await;
    let batch = Builder::new(&claims, &tables).upsert(0, &[n(1), t("ann")]).finish();
    apply(&mut writer, &mut claims, &batch).await;
    let mine = [Some((1, Owner(1), 1)), Some((1, Owner(2), 0))];
    assert_eq!(writer.progress(&claims).await.unwrap(), mine, "as it believes");
    claims.reverse();
    assert_eq!(writer.progress(&claims).await.unwrap(), [mine[1], mine[0]], "in the order of the claims");

    // Another worker takes one of them.
    let mut other = target.writer(&tables);
    claim(&mut other, "t", 1, 4).await;
    assert_eq!(writer.progress(&claims).await.unwrap(), [Some((2, Owner(4), 0)), mine[0]]);
    // The target is restored from a backup, then from one without the ledger's rows.
    target.run(&["UPDATE tidelock_progress SET next_offset = 0"]).await;
    assert_eq!(writer.progress(&claims[1..]).await.unwrap(), [Some((1, Owner(1), 0))]);
    target.run(&["DELETE FROM tidelock_progress"]).await;
    assert_eq!(writer.progress(&claims).await.unwrap(), [None, None]);
}

async fn the_same_owner_with_a_repeated_epoch_is_told_apart_by_its_nonce(target: &mut Target) {
    let tables = users(target).await;
    let mut writer = target.writer(&tables);
    let mut stale = claim(&mut writer, "t", 0, 1).await;
    // A fail-over lost the claim of somebody else; the epoch came again under another owner.
    target.run(&["UPDATE tidelock_progress SET owner = '2'"]).await;
    stale.epoch = 1;
    let batch = Builder::new(&[stale], &tables).upsert(0, &[n(1), t("x")]).finish();
    let error = refused(&mut writer, &batch).await;
    assert!(matches!(&error, ApplyError::Cas(outcomes) if outcomes[0].1 == CasOutcome::Fenced), "{error:?}");
}

async fn a_cas_that_misses_is_judged_by_the_row(target: &mut Target) {
    let tables = users(target).await;
    let mut writer = target.writer(&tables);
    let mut claims = [claim(&mut writer, "t", 0, 1).await];
    let before = claims.clone();
    let batch = Builder::new(&claims, &tables).upsert(0, &[n(1), t("a")]).upsert(0, &[n(2), t("b")]).finish();
    apply(&mut writer, &mut claims, &batch).await;

    // The reply of the first COMMIT was lost and the lane, not knowing, sends the batch again.
    let again = Builder::new(&before, &tables).upsert(0, &[n(1), t("a")]).upsert(0, &[n(2), t("b")]).finish();
    let error = refused(&mut writer, &again).await;
    assert!(matches!(&error, ApplyError::Cas(outcomes) if outcomes[0].1 == CasOutcome::AlreadyApplied), "{error:?}");

    // The target was restored from a backup.
    target.run(&["UPDATE tidelock_progress SET next_offset = 1"]).await;
    let next = Builder::new(&claims, &tables).upsert(0, &[n(3), t("c")]).finish();
    let error = refused(&mut writer, &next).await;
    assert!(matches!(&error, ApplyError::Cas(outcomes) if outcomes[0].1 == CasOutcome::WentBack(1)), "{error:?}");

    target.run(&["DELETE FROM tidelock_progress"]).await;
    let error = refused(&mut writer, &next).await;
    assert!(matches!(&error, ApplyError::Cas(outcomes) if outcomes[0].1 == CasOutcome::Missing), "{error:?}");
    assert_eq!(target.rows("SELECT id FROM users ORDER BY id").await, ["1", "2"]);
}

async fn the_first_batch_of_a_generation_is_refused_when_the_target_was_restored_after_it_could_go_on(
    target: &mut Target,
) {
    let tables = users(target).await;
    let mut writer = target.writer(&tables);
    // Given a new partition 1 that waits until partition 0 is at 2,
    let mut old = [claim(&mut writer, "t", 0, 1).await];
    let new = [claim(&mut writer, "t", 1, 1).await];
    let batch = Builder::new(&old, &tables).upsert(0, &[n(1), t("a")]).upsert(0, &[n(2), t("b")]).finish();
    apply(&mut writer, &mut old, &batch).await;
    let record = FirstRecord::from(Waits { key_schema: Some(8), timestamp_ms: 1, half: None });
    let progress = writer.topic_progress(&new[0].task, Some(&record)).await.unwrap();
    let mut first = Builder::new(&new, &tables).upsert(0, &[n(1), t("later")]).finish();
    first.spans[0].passed = Some(Arc::new(Passed { record, progress, waited_for_held: true }));
    // when the target is restored to where partition 0 was at 1, then the record of partition 1 does not overtake,
    target.run(&["UPDATE tidelock_progress SET next_offset = 1 WHERE next_offset = 2"]).await;
    let error = refused(&mut writer, &first).await;
    assert!(
        matches!(&error, ApplyError::Cas(outcomes) if outcomes[..] == [(task("t", 1), CasOutcome::WentBack(0))]),
        "{error:?}"
    );
    assert_eq!(target.value("SELECT name FROM users WHERE id = 1").await, "a");
    // and goes on when that has caught up.
    target.run(&["UPDATE tidelock_progress SET next_offset = 2 WHERE next_offset = 1"]).await;
    writer.apply(&first).await.unwrap();
    assert_eq!(target.value("SELECT name FROM users WHERE id = 1").await, "later");
}

async fn one_missed_partition_names_itself_and_takes_the_batch_with_it(target: &mut Target) {
    let tables = users(target).await;
    let mut writer = target.writer(&tables);
    let claims = [claim(&mut writer, "t", 0, 1).await, claim(&mut writer, "t", 1, 1).await];
    claim(&mut target.writer(&tables), "t", 1, 9).await;
    let mut builder = Builder::new(&claims, &tables);
    builder.record(0, 0, topology::record::Operation::Create, &[n(1)], Some(&[n(1), t("a")]));
    builder.record(1, 0, topology::record::Operation::Create, &[n(2)], Some(&[n(2), t("b")]));
    let error = refused(&mut writer, &builder.finish()).await;
    assert!(
        matches!(&error, ApplyError::Cas(outcomes) if outcomes[..] == [(task("t", 1), CasOutcome::Fenced)]),
        "{error:?}"
    );
    assert!(target.rows("SELECT id FROM users").await.is_empty());
    assert_eq!(target.value("SELECT MAX(next_offset) FROM tidelock_progress").await, "0");
}

async fn a_batch_of_filtered_records_moves_progress_only(target: &mut Target) {
    let tables = users(target).await;
    let mut writer = target.writer(&tables);
    let claims = [claim(&mut writer, "t", 0, 1).await];
    let mut batch = Builder::new(&claims, &tables).finish();
    batch.spans[0].to = 90;
    writer.apply(&batch).await.unwrap();
    assert_eq!(target.value("SELECT next_offset FROM tidelock_progress").await, "90");
}

async fn an_abandoned_call_costs_the_connection_and_nothing_else(target: &mut Target) {
    let tables = users(target).await;
    let mut writer = target.writer(&tables);
    let mut claims = [claim(&mut writer, "t", 0, 1).await];
    for id in 0..20 {
        let batch = Builder::new(&claims, &tables).upsert(0, &[n(id), t("a")]).finish();
        // Dropped at its first wait: nothing, some or all of it may have happened (rule L4).
        let abandoned =
            tokio::time::timeout(std::time::Duration::from_micros(150 * id as u64), writer.apply(&batch)).await;
        let _ = abandoned;
        claims = [claim(&mut writer, "t", 0, 100 + id as u128).await];
        let rows = target.value("SELECT COUNT(*) FROM users").await;
        assert_eq!(claims[0].next_offset.to_string(), rows, "rows and progress commit together");
    }
}

async fn a_restart_moves_a_row_that_is_there_and_an_ordinary_claim_does_not(target: &mut Target) {
    let tables = users(target).await;
    let mut writer = target.writer(&tables);
    let mut claims = [claim(&mut writer, "t", 0, 1).await];
    let batch = Builder::new(&claims, &tables).upsert(0, &[n(1), t("ann")]).finish();
    apply(&mut writer, &mut claims, &batch).await;
    let mut wanted = request("t", 0, 2, Some(40));
    wanted.restart = true;
    wanted.generation = Generation::parse("partitions=6 key=8");
    let replies = writer.claim(&[wanted.clone()]).await.unwrap();
    let ClaimReply::Claimed(restarted) = &replies[0] else { panic!("{replies:?}") };
    assert_eq!((restarted.next_offset, restarted.tail_hash, restarted.generation), (40, 0, wanted.generation));
}

async fn records_that_are_read_again_are_held_again(target: &mut Target) {
    let tables = blog(target).await;
    let mut writer = target.writer(&tables);
    let mut claims = [claim(&mut writer, "t", 0, 1).await];
    // Given a dead record and one that waits,
    let records = |claims: &[Claim]| {
        Builder::new(claims, &tables).upsert(0, &bad_user(1, "a")).upsert(1, &post(1, 9, "orphan")).finish()
    };
    let batch = records(&claims);
    apply(&mut writer, &mut claims, &batch).await;
    let held = "SELECT entity, state FROM tidelock_held ORDER BY 1";
    assert_eq!(target.rows(held).await, ["posts|parked", "users|dead"]);
    // when the ledger is lost and a person makes the direction begin anew,
    target.run(&["DELETE FROM tidelock_progress"]).await;
    let mut claims = [claim(&mut writer, "t", 0, 2).await];
    // then they are held again, once, and what waits is tried when its time comes.
    let batch = records(&claims);
    apply(&mut writer, &mut claims, &batch).await;
    assert_eq!(claims[0].next_offset, 2);
    assert_eq!(target.rows("SELECT entity FROM tidelock_held ORDER BY 1").await, ["posts", "users"]);
    writer.held_counts(&claims).await.unwrap();
    let due = writer.due_held(&claims, 10).await.unwrap();
    assert_eq!(due.iter().map(|row| row.id.offset).collect::<Vec<_>>(), [1], "it waits behind nothing");
}

/// Rule L10, promise P8: numbers of sessions come again, and may be a stranger's when a claim ends the session that its ledger row names.
async fn only_sessions_of_our_own_are_ended(target: &mut Target) {
    if target.engine != Engine::Postgres {
        // MariaDB's and MySQL's are tested with their sessions; SQLite has no other sessions to end.
        return;
    }
    // given a session of an application that has our rights
    let connector = target.connector();
    let (mut ours, mut theirs) = (connector.connect().await.unwrap(), connector.connect().await.unwrap());
    theirs.execute_plain("SET application_name = 'shop'").await.unwrap();
    let found = theirs.query("SELECT pg_backend_pid()::int8", &[]).await.unwrap();
    let Value::I64(pid) = found[0][0] else { panic!("{found:?}") };
    // when, then
    ours.terminate(pid).await.unwrap();
    theirs.query("SELECT 1::int8", &[]).await.expect("it lives");
    theirs.execute_plain("SET application_name = 'tidelock'").await.unwrap();
    ours.terminate(pid).await.unwrap();
    theirs.query("SELECT 1::int8", &[]).await.expect_err("it is ended");
}

async fn what_is_held_of_an_older_log_stays_and_comes_before_what_the_new_one_has(target: &mut Target) {
    let tables = blog(target).await;
    let mut writer = target.writer(&tables);
    let mut claims = [claim(&mut writer, "t", 0, 1).await];
    // Given a topic that is created anew twice, and each time a dead record and one that waits at the same offsets,
    for log in ["first", "second", "third"] {
        if log != "first" {
            let mut wanted = request("t", 0, 2, Some(0));
            wanted.restart = true;
            let replies = writer.claim(&[wanted]).await.unwrap();
            let ClaimReply::Claimed(restarted) = replies.into_iter().next().unwrap() else { panic!("not claimed") };
            claims = [restarted];
        }
        let batch = Builder::new(&claims, &tables).upsert(0, &bad_user(1, log)).upsert(1, &post(1, 9, log)).finish();
        apply(&mut writer, &mut claims, &batch).await;
    }
    // then all are there, in their order, and of the key that waits the oldest is tried first.
    let held = "SELECT entity, state FROM tidelock_held ORDER BY \"offset\"".replace('"', target.quote());
    let both = |waits: &str| ["users|dead".to_owned(), format!("posts|{waits}")];
    assert_eq!(target.rows(&held).await, [both("parked"), both("queued"), both("queued")].concat());
    target.run(&["INSERT INTO users VALUES (9, 'here', 'h')"]).await;
    for (offset, log) in [(-5, "first"), (-3, "second"), (1, "third")] {
        target.run(&["UPDATE tidelock_held SET retry_at_ms = 0 WHERE state IN ('parked', 'queued')"]).await;
        let due = writer.due_held(&claims, 1).await.unwrap();
        assert_eq!(due.iter().map(|row| row.id.offset).collect::<Vec<_>>(), [offset]);
        let batch = Builder::new(&claims, &tables).upsert(1, &post(1, 9, log)).finish_release(&[due[0].id]);
        writer.apply(&batch).await.unwrap();
        assert_eq!(target.value("SELECT title FROM posts").await, log);
    }
}

/// A record that waits; without a time it waits for all.
fn first_record(timestamp_ms: i64, other_half: Option<&str>) -> FirstRecord {
    FirstRecord { waits: Waits { timestamp_ms, ..Waits::default() }, other_half: other_half.map(Into::into) }
}

async fn what_a_topic_s_rows_and_held_rows_say_is_read_for_all_its_partitions(target: &mut Target) {
    target.run(&["CREATE TABLE users (id bigint PRIMARY KEY, name varchar(100) NOT NULL)"]).await;
    let tables = vec![target.table(0, "users", &["id", "name"], &["id"]).await];
    let mut writer = target.writer(&tables);
    let mut claims = [claim(&mut writer, "t", 0, 1).await, claim(&mut writer, "t", 1, 2).await];
    claim(&mut writer, "u", 0, 3).await;
    let waits = Generation::parse("partitions=2 key=7 waits=1500/8");
    let mut batch = Builder::new(&claims, &tables).upsert(0, &[n(1), t("ann")]).finish();
    batch.spans[1].generation = waits;
    apply(&mut writer, &mut claims, &batch).await;
    let said = writer.topic_progress(&task("t", 1), Some(&first_record(-1, None))).await.unwrap();
    let mut rows: Vec<_> = said.partitions.iter().map(|row| (row.partition, row.next_offset, row.generation)).collect();
    rows.sort_by_key(|row| row.0);
    assert_eq!(rows, [(0, 1, Generation::parse("partitions=1 key=7")), (1, 0, waits)]);
    assert_eq!(said.held, 0);

    // Rows of the other partition are parked, due at once, later, and later as half a key change; another topic's do not count.
    let q = target.quote();
    let held = |partition: i32, offset: i64, state: &str, code: &str, retry_at: &str, topic: &str| {
        format!(
            "INSERT INTO tidelock_held (pipeline, direction, topic, {q}partition{q}, {q}offset{q}, ordinal, entity, {q}key{q}, \
             state, class, stage, code, message, attempts, first_failed_at_ms, retry_at_ms, timestamp_ms, headers) VALUES ('test', \
             'legacy→revamp', '{topic}', {partition}, {offset}, 0, 'users', 'k', '{state}', 'dependency', 'write', '{code}', '', 1, 0, \
             {retry_at}, {offset}, '')"
        )
    };
    let far = "9000000000000";
    let rows = [
        held(0, 1, "parked", "23503", far, "t"),
        held(0, 2, "queued", "", far, "t"),
        held(0, 3, "parked", "half-waits", far, "t"),
        held(0, 4, "parked", "half-waits", "0", "t"),
        held(0, 5, "queued", "", "0", "t"),
        held(0, 6, "dead", "22001", "0", "t"),
        held(0, 7, "parked", "23503", far, "u"),
    ];
    for row in &rows {
        target.run(&[row.as_str()]).await;
    }
    assert_eq!(
        writer.topic_progress(&task("t", 1), Some(&first_record(-1, None))).await.unwrap().held,
        5,
        "those that may still be applied, whatever they wait for"
    );
    assert_eq!(
        writer.topic_progress(&task("t", 1), Some(&first_record(4, None))).await.unwrap().held,
        3,
        "those from before that time"
    );
    let other_half = first_record(4, Some("move:3"));
    target.run(&["UPDATE tidelock_held SET waits_for = 'move:3' WHERE code = 'half-waits' AND timestamp_ms = 3"]).await;
    assert_eq!(
        writer.topic_progress(&task("t", 1), Some(&other_half)).await.unwrap().held,
        2,
        "not the other half of the record that waits"
    );
}

async fn what_processors_remember_is_committed_with_the_rows_and_read_by_the_next_claim(target: &mut Target) {
    let tables = users(target).await;
    let mut writer = target.writer(&tables);
    let mut claims = [claim(&mut writer, "t", 0, 1).await];
    let mut batch = Builder::new(&claims, &tables).upsert(0, &[n(1), t("ann")]).finish();
    for id in 0..3000_u64 {
        batch.spans[0].marks.state.store("seen").put(&id.to_be_bytes(), b"").unwrap();
    }
    apply(&mut writer, &mut claims, &batch).await;
    assert_eq!(claim(&mut writer, "t", 0, 2).await.marks, batch.spans[0].marks);
}

/// What a writer knows of a target holds for its session: the next one may be of a target that was made anew, or restored.
async fn a_new_session_looks_for_our_tables_again(target: &mut Target) {
    let mut writer = target.writer(&[]);
    claim(&mut writer, "t", 0, 1).await;
    target.run(&["DROP TABLE tidelock_progress"]).await;
    writer.disconnect();
    assert_eq!(claim(&mut writer, "t", 0, 2).await.next_offset, 0);
}

async fn writers_that_start_together_on_a_new_target_all_start(target: &mut Target) {
    let mut writers: Vec<_> = (0..8).map(|_| target.writer(&[])).collect();
    let started = futures::future::join_all(writers.iter_mut().map(|writer| writer.create_own_tables())).await;
    assert!(started.iter().all(Result::is_ok), "{started:?}");
}

conformance!(
    a_new_session_looks_for_our_tables_again,
    writers_that_start_together_on_a_new_target_all_start,
    what_processors_remember_is_committed_with_the_rows_and_read_by_the_next_claim,
    a_restart_moves_a_row_that_is_there_and_an_ordinary_claim_does_not,
    records_that_are_read_again_are_held_again,
    only_sessions_of_our_own_are_ended,
    what_is_held_of_an_older_log_stays_and_comes_before_what_the_new_one_has,
    what_a_topic_s_rows_and_held_rows_say_is_read_for_all_its_partitions,
    a_claim_raises_the_epoch_and_reads_what_is_stored,
    a_start_offset_is_stored_once_and_never_overrides_progress,
    a_group_that_is_alive_keeps_its_direction,
    an_idle_lane_sees_what_the_ledger_says_of_its_tasks,
    a_zombie_is_fenced_and_writes_nothing,
    the_same_owner_with_a_repeated_epoch_is_told_apart_by_its_nonce,
    a_cas_that_misses_is_judged_by_the_row,
    the_first_batch_of_a_generation_is_refused_when_the_target_was_restored_after_it_could_go_on,
    one_missed_partition_names_itself_and_takes_the_batch_with_it,
    a_batch_of_filtered_records_moves_progress_only,
    an_abandoned_call_costs_the_connection_and_nothing_else,
);
