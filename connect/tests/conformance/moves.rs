//! Rule B5: the halves of a key change meet before the row moves, whichever comes first.

use topology::batch::{ChangeBatch, HeldId};
use topology::data::Value;
use topology::ledger::Claim;
use topology::record::{Operation, Position, Source};
use topology::sink::SinkWriter;

use tidelock_connect::sql::writer::{HeldLimits, SqlWriter};

use crate::batches::{Builder, apply, claim};
use crate::conformance;
use crate::target::{SinkTableSet, Target, n, t};

pub(crate) async fn users(target: &mut Target) -> SinkTableSet {
    target.run(&["CREATE TABLE users (id bigint PRIMARY KEY, name varchar(100), note varchar(100))"]).await;
    target.run(&["INSERT INTO users VALUES (1, 'old', 'mine')"]).await;
    vec![target.table(0, "users", &["id", "name"], &["id"]).await]
}

pub(crate) const ALL: &str = "SELECT id, name, note FROM users ORDER BY id";

pub(crate) fn place() -> Source {
    Source { identity: 5, position: Some(Position(1, 2, 3)), committed_at_us: 9, ..Source::default() }
}

/// The delete half: `1` gets the key `2`.
pub(crate) fn delete_half(builder: &mut Builder<'_>) {
    let new_key = builder.key(&[n(2)]);
    let record = builder.record(0, 0, Operation::Delete, &[n(1)], None);
    (record.new_key, record.source) = (Some(new_key), place());
}

/// The create half.
pub(crate) fn create_half(builder: &mut Builder<'_>, name: Value) {
    create_half_on(builder, 0, name);
}

pub(crate) fn create_half_on(builder: &mut Builder<'_>, slot: u16, name: Value) {
    let old_key = builder.key(&[n(1)]);
    let record = builder.record(slot, 0, Operation::Create, &[n(2)], Some(&[n(2), name]));
    (record.old_key, record.source) = (Some(old_key), place());
}

/// Lanes of the partitions of the old key and of the new one.
async fn two_lanes(target: &Target, tables: &SinkTableSet) -> [(SqlWriter, [Claim; 1]); 2] {
    let (mut old, mut new) = (target.writer(tables), target.writer(tables));
    let (old_lane, new_lane) = (claim(&mut old, "t", 0, 1).await, claim(&mut new, "t", 1, 1).await);
    [(old, [old_lane]), (new, [new_lane])]
}

/// Tries what is due until nothing is; the row was parked as delete half (`true`) or create half.
async fn retry(target: &mut Target, writer: &mut SqlWriter, claims: &mut [Claim], tables: &SinkTableSet, delete: bool) {
    target.run(&["UPDATE tidelock_held SET retry_at_ms = 0"]).await;
    let due = writer.due_held(claims, 10).await.unwrap();
    let ids: Vec<HeldId> = due.iter().map(|row| row.id).collect();
    let mut builder = Builder::new(claims, tables);
    for (at, _) in ids.iter().enumerate() {
        match (at, delete) {
            (0, true) => delete_half(&mut builder),
            (0, false) => create_half(&mut builder, t("new")),
            _ => drop(builder.upsert(0, &[n(2), t("later")])),
        }
    }
    let batch = builder.finish_release(&ids);
    writer.apply(&batch).await.unwrap();
}

async fn the_delete_half_waits_for_the_create_half(target: &mut Target) {
    let tables = users(target).await;
    let [(mut first, mut old_lane), (mut second, mut new_lane)] = two_lanes(target, &tables).await;

    let mut builder = Builder::new(&old_lane, &tables);
    delete_half(&mut builder);
    let applied = apply(&mut first, &mut old_lane, &builder.finish()).await;
    assert_eq!(applied.outcomes[0].1.parked, 1);
    assert_eq!(target.rows(ALL).await, ["1|old|mine"], "nothing moved yet");
    retry(target, &mut first, &mut old_lane, &tables, true).await;
    assert_eq!(target.rows(ALL).await, ["1|old|mine"], "nor at a retry");

    let mut builder = Builder::new(&new_lane, &tables);
    create_half(&mut builder, t("new"));
    let applied = apply(&mut second, &mut new_lane, &builder.finish()).await;
    assert_eq!(applied.outcomes[0].1.applied, 1);
    assert_eq!(target.rows(ALL).await, ["2|new|mine"], "renamed, so that what only the target has stays");

    retry(target, &mut first, &mut old_lane, &tables, true).await;
    assert_eq!(target.rows(ALL).await, ["2|new|mine"]);
    assert!(target.rows("SELECT state FROM tidelock_held").await.is_empty());
    assert!(target.rows("SELECT state FROM tidelock_moved").await.is_empty(), "the word was taken away");
}

async fn a_create_half_that_brings_nothing_but_its_key_lets_the_delete_half_go(target: &mut Target) {
    // given a delete half that waits
    let tables = users(target).await;
    let [(mut first, mut old_lane), (mut second, mut new_lane)] = two_lanes(target, &tables).await;
    let mut builder = Builder::new(&old_lane, &tables);
    delete_half(&mut builder);
    apply(&mut first, &mut old_lane, &builder.finish()).await;
    // when the create half comes, whose other columns were not sent
    let mut builder = Builder::new(&new_lane, &tables);
    create_half(&mut builder, Value::Unavailable);
    apply(&mut second, &mut new_lane, &builder.finish()).await;
    assert_eq!(target.rows(ALL).await, ["2|old|mine"]);
    // then the delete half is done with, and its key is free.
    retry(target, &mut first, &mut old_lane, &tables, true).await;
    assert!(target.rows("SELECT 1 FROM tidelock_held").await.is_empty());
    let batch = Builder::new(&old_lane, &tables).upsert(0, &[n(1), t("again")]).finish();
    assert_eq!(apply(&mut first, &mut old_lane, &batch).await.outcomes[0].1.applied, 1);
}

async fn the_create_half_waits_and_its_key_with_it(target: &mut Target) {
    let tables = users(target).await;
    let [(mut first, mut old_lane), (mut second, mut new_lane)] = two_lanes(target, &tables).await;

    let mut builder = Builder::new(&new_lane, &tables);
    create_half(&mut builder, t("new"));
    builder.upsert(0, &[n(2), t("later")]);
    builder.upsert(0, &[n(3), t("other")]);
    let applied = apply(&mut second, &mut new_lane, &builder.finish()).await;
    assert_eq!((applied.outcomes[0].1.parked, applied.outcomes[0].1.applied), (2, 1));
    assert_eq!(target.rows(ALL).await, ["1|old|mine", "3|other|∅"]);

    let mut builder = Builder::new(&old_lane, &tables);
    builder.upsert(0, &[n(1), t("still old")]);
    delete_half(&mut builder);
    let batch = builder.finish();
    let applied = apply(&mut first, &mut old_lane, &batch).await;
    assert_eq!(applied.outcomes[0].1.parked, 0);
    assert_eq!(target.rows(ALL).await, ["2|still old|mine", "3|other|∅"]);

    retry(target, &mut second, &mut new_lane, &tables, false).await;
    assert_eq!(target.rows(ALL).await, ["2|later|mine", "3|other|∅"], "the half, then what queued behind it");
    assert!(target.rows("SELECT state FROM tidelock_moved").await.is_empty());
}

async fn a_half_whose_other_half_never_comes_gives_up_in_the_end(target: &mut Target) {
    let tables = users(target).await;
    let mut writer = target.writer(&tables);
    let mut claims = [claim(&mut writer, "t", 0, 1).await];
    let mut builder = Builder::new(&claims, &tables);
    delete_half(&mut builder);
    apply(&mut writer, &mut claims, &builder.finish()).await;
    // However often and long it has waited,
    let attempts = topology::moves::WAIT_ATTEMPTS_MAX;
    target.run(&[&format!("UPDATE tidelock_held SET attempts = {attempts}, first_failed_at_ms = 1")]).await;
    retry(target, &mut writer, &mut claims, &tables, true).await;
    assert_eq!(target.rows(ALL).await, ["1|old|mine"]);
    assert_eq!(target.rows("SELECT state FROM tidelock_held").await, ["parked"], "the other half may still come");
    // it gives up only when the lane says so.
    let id = released(target, &mut writer, &claims).await;
    let mut builder = Builder::new(&claims, &tables);
    delete_half(&mut builder);
    writer.apply(&alone(builder.finish_release(&[id]))).await.unwrap();
    assert!(target.rows(ALL).await.is_empty(), "a plain delete of its key");
    assert!(target.rows("SELECT state FROM tidelock_held").await.is_empty());
}

/// Makes the only row of these tasks due.
async fn released(target: &mut Target, writer: &mut SqlWriter, claims: &[Claim]) -> HeldId {
    target.run(&["UPDATE tidelock_held SET retry_at_ms = 0"]).await;
    let due = writer.due_held(claims, 10).await.unwrap();
    assert_eq!(due.len(), 1);
    due[0].id
}

/// What a lane says when the other half is in no partition.
fn alone(mut batch: ChangeBatch) -> ChangeBatch {
    batch.alone = vec![true; batch.records.len()];
    batch
}

async fn a_half_does_not_give_up_while_its_other_half_queues_behind_a_held_row(target: &mut Target) {
    // Given a delete half that waits, and its create half behind a row of the new key that waits for its own row,
    let tables = users(target).await;
    let [(mut first, mut old_lane), (mut second, mut new_lane)] = two_lanes(target, &tables).await;
    let mut builder = Builder::new(&old_lane, &tables);
    delete_half(&mut builder);
    apply(&mut first, &mut old_lane, &builder.finish()).await;
    let mut builder = Builder::new(&new_lane, &tables);
    builder.record(0, 0, Operation::Update, &[n(2)], Some(&[n(2), Value::Unavailable]));
    create_half(&mut builder, t("new"));
    apply(&mut second, &mut new_lane, &builder.finish()).await;
    assert_eq!(target.rows("SELECT state FROM tidelock_held ORDER BY 1").await, ["parked", "parked", "queued"]);
    // when every partition is as far as the log,
    let id = released(target, &mut first, &old_lane).await;
    let mut builder = Builder::new(&old_lane, &tables);
    delete_half(&mut builder);
    first.apply(&alone(builder.finish_release(&[id]))).await.unwrap();
    // then the row is still there for the create half to move.
    assert_eq!(target.rows(ALL).await, ["1|old|mine"]);
    target.run(&["DELETE FROM tidelock_held WHERE state = 'parked' AND code = 'row-missing'"]).await;
    second.held_counts(&new_lane).await.unwrap();
    retry(target, &mut second, &mut new_lane, &tables, false).await;
    assert_eq!(target.rows(ALL).await, ["2|new|mine"]);
}

async fn what_has_been_due_for_longest_is_tried_first(target: &mut Target) {
    // Given three rows that wait, the first of which are tried again and again,
    let tables = users(target).await;
    let mut writer = target.writer(&tables);
    let mut claims = [claim(&mut writer, "t", 0, 1).await];
    let mut builder = Builder::new(&claims, &tables);
    for id in [11, 12, 13] {
        builder.record(0, 0, Operation::Update, &[n(id)], Some(&[n(id), Value::Unavailable]));
    }
    apply(&mut writer, &mut claims, &builder.finish()).await;
    let offset = format!("{0}offset{0}", target.quote());
    let offsets = target.rows(&format!("SELECT {offset} FROM tidelock_held ORDER BY 1")).await;
    for (at, retry_at) in offsets.iter().zip([3000, 2000, 1000]) {
        target.run(&[&format!("UPDATE tidelock_held SET retry_at_ms = {retry_at} WHERE {offset} = {at}")]).await;
    }
    // when only some fit into a transaction,
    let due = writer.due_held(&claims, 2).await.unwrap();
    // then the others do not keep the last one from its turn, and what is tried is tried in the order of the log.
    let due: Vec<String> = due.iter().map(|row| row.id.offset.to_string()).collect();
    assert_eq!(due, offsets[1..]);
}

async fn the_time_that_half_a_key_change_waited_for_the_other_is_not_held_against_it(target: &mut Target) {
    // Given a delete half that has waited for its create half longer than a row may wait,
    let tables = users(target).await;
    target
        .run(&[
            "CREATE TABLE notes (user_id bigint NOT NULL, CONSTRAINT notes_user FOREIGN KEY (user_id) REFERENCES users (id))",
        ])
        .await;
    let mut writer = target.writer(&tables);
    let mut claims = [claim(&mut writer, "t", 0, 1).await, claim(&mut writer, "t", 1, 1).await];
    let mut builder = Builder::new(&claims, &tables);
    delete_half(&mut builder);
    apply(&mut writer, &mut claims, &builder.finish()).await;
    target.run(&["UPDATE tidelock_held SET first_failed_at_ms = 1, attempts = 99, retry_at_ms = 0"]).await;
    // when that has come, and a child is in the way of the delete half for a moment,
    let mut builder = Builder::new(&claims, &tables);
    create_half_on(&mut builder, 1, t("new"));
    apply(&mut writer, &mut claims, &builder.finish()).await;
    target.run(&["INSERT INTO users VALUES (1, 'other', NULL)", "INSERT INTO notes VALUES (1)"]).await;
    settle(&mut writer, &claims, &tables, |builder, _, _| delete_half(builder)).await;
    // then it waits for the child from now on,
    assert_eq!(target.rows("SELECT state, attempts FROM tidelock_held").await, ["parked|1"]);
    // and goes on when that has gone.
    target.run(&["DELETE FROM notes", "UPDATE tidelock_held SET retry_at_ms = 0"]).await;
    settle(&mut writer, &claims, &tables, |builder, _, _| delete_half(builder)).await;
    assert_eq!(target.rows(ALL).await, ["2|new|mine"]);
}

async fn of_halves_that_parked_at_the_same_moment_the_one_that_left_no_word_is_tried(target: &mut Target) {
    // Given both halves parked, each before it could see the other's word, and the word of one of them,
    let tables = users(target).await;
    let mut writer = target.writer(&tables);
    let mut claims = [claim(&mut writer, "t", 0, 1).await, claim(&mut writer, "t", 1, 1).await];
    let mut builder = Builder::new(&claims, &tables);
    delete_half(&mut builder);
    apply(&mut writer, &mut claims, &builder.finish()).await;
    let mut builder = Builder::new(&claims, &tables);
    target.run(&["CREATE TABLE word AS SELECT * FROM tidelock_moved", "DELETE FROM tidelock_moved"]).await;
    create_half_on(&mut builder, 1, t("new"));
    apply(&mut writer, &mut claims, &builder.finish()).await;
    target
        .run(&["DELETE FROM tidelock_moved", "INSERT INTO tidelock_moved SELECT * FROM word", "DROP TABLE word"])
        .await;
    let codes = "SELECT code FROM tidelock_held WHERE state = 'parked' ORDER BY 1";
    assert_eq!(target.rows(codes).await, ["create-half-waits", "delete-half-waits"]);
    // when both are due, then one of them is put off and the other is tried.
    target.run(&["UPDATE tidelock_held SET retry_at_ms = 0"]).await;
    let due = writer.due_held(&claims, 10).await.unwrap();
    let lacks: Vec<(i32, bool)> = due.iter().map(|row| (row.task.partition, row.lacks_half.is_some())).collect();
    assert_eq!(lacks, [(0, true), (1, false)]);
    writer.postpone_held(&[(due[0].task.clone(), due[0].id)]).await.unwrap();
    let due = writer.due_held(&claims, 10).await.unwrap();
    assert_eq!(due.iter().map(|row| row.task.partition).collect::<Vec<_>>(), [1]);
}

async fn halves_that_wait_are_put_off_together_until_the_other_half_has_come(target: &mut Target) {
    let tables = users(target).await;
    let [(mut first, mut old_lane), (mut second, mut new_lane)] = two_lanes(target, &tables).await;
    let mut builder = Builder::new(&old_lane, &tables);
    delete_half(&mut builder);
    builder.record(0, 0, Operation::Update, &[n(9)], Some(&[n(9), Value::Unavailable]));
    apply(&mut first, &mut old_lane, &builder.finish()).await;
    // Given a half and another row that are due, then it is told of the half that it lacks its other half,
    target.run(&["UPDATE tidelock_held SET retry_at_ms = 0, first_failed_at_ms = first_failed_at_ms - 3000"]).await;
    let due = first.due_held(&old_lane, 10).await.unwrap();
    let lacks: Vec<bool> = due.iter().map(|row| row.lacks_half.is_some()).collect();
    assert_eq!(lacks, [true, false]);
    assert!((3000..600_000).contains(&due[0].waiting_ms), "{}", due[0].waiting_ms);
    // and it alone is put off, as by a try.
    first.postpone_held(&[(due[0].task.clone(), due[0].id)]).await.unwrap();
    let states = "SELECT code, attempts FROM tidelock_held WHERE retry_at_ms > first_failed_at_ms ORDER BY 1";
    assert_eq!(target.rows(states).await, ["delete-half-waits|2"]);
    assert_eq!(first.due_held(&old_lane, 10).await.unwrap().len(), 1);
    // When the other half has come, it is worth a try.
    let mut builder = Builder::new(&new_lane, &tables);
    create_half(&mut builder, t("new"));
    apply(&mut second, &mut new_lane, &builder.finish()).await;
    let due = first.due_held(&old_lane, 10).await.unwrap();
    assert_eq!(due.iter().filter(|row| row.lacks_half.is_some()).count(), 0);
    assert_eq!(due.len(), 2, "and it was woken");
}

async fn a_create_half_that_lacks_a_parent_lets_the_delete_half_move_the_row(target: &mut Target) {
    // Given an article with what only the target has, whose key and author change,
    target
        .run(&[
            "CREATE TABLE users (id bigint PRIMARY KEY)",
            "CREATE TABLE articles (id bigint PRIMARY KEY, user_id bigint NOT NULL, note varchar(100), \
             CONSTRAINT articles_user FOREIGN KEY (user_id) REFERENCES users (id))",
            "INSERT INTO users VALUES (6)",
            "INSERT INTO articles VALUES (1, 6, 'mine')",
        ])
        .await;
    let tables = vec![target.table(0, "articles", &["id", "user_id"], &["id"]).await];
    let articles = "SELECT id, user_id, note FROM articles";
    let [(mut first, mut old_lane), (mut second, mut new_lane)] = two_lanes(target, &tables).await;
    let rows = |builder: &mut Builder<'_>, partition: i32, _| match partition {
        0 => delete_half(builder),
        _ => create_half(builder, n(7)),
    };
    // when the delete half waits and the create half lacks its author,
    let mut builder = Builder::new(&old_lane, &tables);
    delete_half(&mut builder);
    apply(&mut first, &mut old_lane, &builder.finish()).await;
    target.run(&["UPDATE tidelock_held SET retry_at_ms = 9000000000000000"]).await;
    let mut builder = Builder::new(&new_lane, &tables);
    create_half(&mut builder, n(7));
    let applied = apply(&mut second, &mut new_lane, &builder.finish()).await;
    assert_eq!(applied.outcomes[0].1.parked, 1, "its author is missing");
    // then the delete half is due at once and moves the row, and does not delete it in the end,
    settle(&mut first, &old_lane, &tables, rows).await;
    assert_eq!(target.rows(articles).await, ["2|6|mine"]);
    // and the create half does its rest when the author is there.
    target.run(&["INSERT INTO users VALUES (7)", "UPDATE tidelock_held SET retry_at_ms = 0"]).await;
    settle(&mut second, &new_lane, &tables, rows).await;
    assert_eq!(target.rows(articles).await, ["2|7|mine"]);
    assert!(target.rows("SELECT state FROM tidelock_held").await.is_empty());
    assert!(target.rows("SELECT state FROM tidelock_moved").await.is_empty());
}

async fn a_half_that_dies_lets_the_other_do_its_own_part(target: &mut Target) {
    // Given a delete half that waits, and a create half that the table refuses for good,
    target.run(&["CREATE TABLE users (id bigint PRIMARY KEY, name varchar(100) NOT NULL, note varchar(100))"]).await;
    target.run(&["INSERT INTO users VALUES (1, 'old', 'mine')"]).await;
    let tables = vec![target.table(0, "users", &["id", "name"], &["id"]).await];
    let [(mut first, mut old_lane), (mut second, mut new_lane)] = two_lanes(target, &tables).await;
    let mut builder = Builder::new(&old_lane, &tables);
    delete_half(&mut builder);
    apply(&mut first, &mut old_lane, &builder.finish()).await;
    target.run(&["UPDATE tidelock_held SET retry_at_ms = 9000000000000000"]).await;
    let mut builder = Builder::new(&new_lane, &tables);
    create_half(&mut builder, Value::Null);
    let applied = apply(&mut second, &mut new_lane, &builder.finish()).await;
    assert_eq!(applied.outcomes[0].1.dead, 1);
    // when the new key is deleted before the delete half has its turn, which is at once,
    let batch = Builder::new(&new_lane, &tables).delete(0, n(2)).finish();
    apply(&mut second, &mut new_lane, &batch).await;
    settle(&mut first, &old_lane, &tables, |builder, _, _| delete_half(builder)).await;
    // then that does not bring a row under the new key, which nobody would delete any more.
    assert!(target.rows(ALL).await.is_empty());
    assert_eq!(target.rows("SELECT state FROM tidelock_held").await, ["superseded"]);
    assert!(target.rows("SELECT state FROM tidelock_moved").await.is_empty());
}

async fn waiting_for_the_other_half_uses_up_no_attempts(target: &mut Target) {
    let mut tables = users(target).await;
    tables[0].held = Some(HeldLimits { attempts_max: Some(1), ..HeldLimits::default() });
    let mut writer = target.writer(&tables);
    let mut claims = [claim(&mut writer, "t", 0, 1).await];
    let mut builder = Builder::new(&claims, &tables);
    delete_half(&mut builder);
    apply(&mut writer, &mut claims, &builder.finish()).await;
    for _ in 0..3 {
        retry(target, &mut writer, &mut claims, &tables, true).await;
    }
    assert_eq!(target.rows("SELECT state, attempts FROM tidelock_held").await, ["parked|4"]);
}

async fn a_delete_half_that_children_hold_back_is_still_known_by_its_pair(target: &mut Target) {
    // Given a user whose child at the target does not follow a change of the key, and a create half that waits,
    let tables = users(target).await;
    target
        .run(&[
            "CREATE TABLE notes (user_id bigint NOT NULL, CONSTRAINT notes_user FOREIGN KEY (user_id) REFERENCES users (id))",
            "INSERT INTO notes VALUES (1)",
        ])
        .await;
    let [(mut first, mut old_lane), (mut second, mut new_lane)] = two_lanes(target, &tables).await;
    let mut builder = Builder::new(&new_lane, &tables);
    create_half(&mut builder, t("new"));
    apply(&mut second, &mut new_lane, &builder.finish()).await;
    let waits_for = target.value("SELECT waits_for FROM tidelock_held").await;
    assert!(waits_for.starts_with(topology::moves::MOVE_PREFIX), "{waits_for}");
    // when the child holds the delete half back, then that is held under the name of the pair too (rule A6 knows it by it).
    let mut builder = Builder::new(&old_lane, &tables);
    delete_half(&mut builder);
    let applied = apply(&mut first, &mut old_lane, &builder.finish()).await;
    assert_eq!(applied.outcomes[0].1.parked, 1);
    assert_eq!(target.rows("SELECT waits_for FROM tidelock_held").await, [waits_for.clone(), waits_for]);
    // When the child is gone, then they go on.
    target.run(&["DELETE FROM notes", "UPDATE tidelock_held SET retry_at_ms = 0"]).await;
    let rows = |builder: &mut Builder<'_>, partition: i32, _| match partition {
        0 => delete_half(builder),
        _ => create_half(builder, t("new")),
    };
    settle(&mut first, &old_lane, &tables, rows).await;
    target.run(&["UPDATE tidelock_held SET retry_at_ms = 0"]).await;
    settle(&mut second, &new_lane, &tables, rows).await;
    assert_eq!(target.rows(ALL).await, ["2|new|mine"]);
    assert!(target.rows("SELECT state FROM tidelock_held").await.is_empty());
}

/// Tries each row that is due by itself, as a lane does, until nothing is: `row` adds the record that (partition, offset) was made from.
pub(crate) async fn settle(
    writer: &mut SqlWriter,
    claims: &[Claim],
    tables: &SinkTableSet,
    row: impl Fn(&mut Builder<'_>, i32, i64),
) {
    for _ in 0..5 {
        for due in writer.due_held(claims, 10).await.unwrap() {
            let own: Vec<Claim> = claims.iter().filter(|claim| claim.task == due.task).cloned().collect();
            let mut builder = Builder::new(&own, tables);
            row(&mut builder, due.task.partition, due.id.offset);
            let batch = builder.finish_release(&[due.id]);
            writer.apply(&batch).await.unwrap();
        }
    }
}

conformance!(
    a_create_half_that_brings_nothing_but_its_key_lets_the_delete_half_go,
    the_delete_half_waits_for_the_create_half,
    the_create_half_waits_and_its_key_with_it,
    a_half_whose_other_half_never_comes_gives_up_in_the_end,
    a_half_does_not_give_up_while_its_other_half_queues_behind_a_held_row,
    halves_that_wait_are_put_off_together_until_the_other_half_has_come,
    of_halves_that_parked_at_the_same_moment_the_one_that_left_no_word_is_tried,
    the_time_that_half_a_key_change_waited_for_the_other_is_not_held_against_it,
    what_has_been_due_for_longest_is_tried_first,
    a_create_half_that_lacks_a_parent_lets_the_delete_half_move_the_row,
    a_delete_half_that_children_hold_back_is_still_known_by_its_pair,
    a_half_that_dies_lets_the_other_do_its_own_part,
    waiting_for_the_other_half_uses_up_no_attempts,
);
