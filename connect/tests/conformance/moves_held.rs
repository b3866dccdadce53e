//! Rule B5 where keys are held already, or a partition is full (rule H5): a key change that comes whole becomes two halves again, and nothing
//! passes a half that waits.

use topology::data::Value;
use topology::ledger::Claim;
use topology::record::Operation;

use tidelock_connect::sql::writer::{HeldLimits, SqlWriter};

use crate::batches::{Builder, apply, claim};
use crate::conformance;
use crate::moves::{ALL, create_half, create_half_on, delete_half, place, settle, users};
use crate::target::{SinkTableSet, Target, n, t};

/// Keys 1 and 2 lie on partitions 0 and 1 of one lane. Key 1 waits for its row, then a key change 1 → 2 comes as a whole.
async fn a_whole_move_of_a_held_key(target: &mut Target) -> (SinkTableSet, SqlWriter, [Claim; 2]) {
    let tables = users(target).await;
    target.run(&["DELETE FROM users"]).await;
    let mut writer = target.writer(&tables);
    let mut claims = [claim(&mut writer, "t", 0, 1).await, claim(&mut writer, "t", 1, 1).await];
    let mut builder = Builder::new(&claims, &tables);
    builder.record(0, 0, Operation::Update, &[n(1)], Some(&[n(1), Value::Unavailable]));
    apply(&mut writer, &mut claims, &builder.finish()).await;

    let mut builder = Builder::new(&claims, &tables);
    delete_half(&mut builder);
    create_half_on(&mut builder, 1, t("new"));
    apply(&mut writer, &mut claims, &builder.finish()).await;
    let quote = target.quote();
    let held = "SELECT `partition`, state, `key` FROM tidelock_held ORDER BY `partition`, `offset`".replace('`', quote);
    assert_eq!(target.rows(&held).await, ["0|parked|{\"id\":1}", "0|queued|{\"id\":1}", "1|parked|{\"id\":2}"]);
    (tables, writer, claims)
}

/// What [`a_whole_move_of_a_held_key`] held.
fn held_rows(builder: &mut Builder<'_>, partition: i32, offset: i64) {
    match (partition, offset) {
        (0, 0) => drop(builder.record(0, 0, Operation::Update, &[n(1)], Some(&[n(1), Value::Unavailable]))),
        (0, _) => delete_half(builder),
        (_, 0) => create_half(builder, t("new")),
        _ => drop(builder.delete(0, n(2))),
    }
}

async fn a_whole_move_behind_a_held_key_is_two_halves_again(target: &mut Target) {
    let (tables, mut writer, claims) = a_whole_move_of_a_held_key(target).await;
    target.run(&["INSERT INTO users VALUES (1, 'old', 'mine')", "UPDATE tidelock_held SET retry_at_ms = 0"]).await;
    settle(&mut writer, &claims, &tables, held_rows).await;
    target.run(&["UPDATE tidelock_held SET retry_at_ms = 0 WHERE state = 'parked'"]).await;
    settle(&mut writer, &claims, &tables, held_rows).await;
    assert_eq!(target.rows(ALL).await, ["2|new|mine"], "renamed when both keys were free");
    assert!(target.rows("SELECT state FROM tidelock_held").await.is_empty());
    assert!(target.rows("SELECT state FROM tidelock_moved").await.is_empty());
}

async fn a_delete_does_not_pass_a_half_that_waits(target: &mut Target) {
    let (tables, mut writer, mut claims) = a_whole_move_of_a_held_key(target).await;
    let mut builder = Builder::new(&claims, &tables);
    builder.record(1, 0, Operation::Delete, &[n(2)], None);
    apply(&mut writer, &mut claims, &builder.finish()).await;
    target.run(&["INSERT INTO users VALUES (1, 'old', 'mine')"]).await;
    for _ in 0..2 {
        target.run(&["UPDATE tidelock_held SET retry_at_ms = 0 WHERE state = 'parked'"]).await;
        settle(&mut writer, &claims, &tables, held_rows).await;
    }
    assert!(target.rows(ALL).await.is_empty(), "moved, then deleted");
    assert!(target.rows("SELECT state FROM tidelock_held").await.is_empty());
    assert!(target.rows("SELECT state FROM tidelock_moved").await.is_empty());
}

async fn a_full_image_does_not_pass_a_half_that_waits_behind_its_row(target: &mut Target) {
    let (tables, _, mut claims) = a_whole_move_of_a_held_key(target).await;
    // Another worker takes over and knows the same.
    let mut writer = target.writer(&tables);
    claims = [
        Claim { next_offset: claims[0].next_offset, ..claim(&mut writer, "t", 0, 2).await },
        Claim { next_offset: claims[1].next_offset, ..claim(&mut writer, "t", 1, 2).await },
    ];
    let mut builder = Builder::new(&claims, &tables);
    builder.upsert(0, &[n(1), t("again")]);
    let applied = apply(&mut writer, &mut claims, &builder.finish()).await;
    assert_eq!(applied.outcomes[0].1.parked, 1, "behind the delete half of its key");
    assert!(target.rows(ALL).await.is_empty());
}

/// One of the two partitions of a lane has no room (rule H5) when a whole key change 1 → 2 comes, with a later change of the new key.
async fn a_whole_move_with_one_partition_full(target: &mut Target, full: u16) -> (SinkTableSet, [Claim; 2]) {
    let tables = users(target).await;
    let mut writer = target.writer_with(&tables, HeldLimits { rows_max: 1, ..HeldLimits::default() });
    let mut claims = [claim(&mut writer, "t", 0, 1).await, claim(&mut writer, "t", 1, 1).await];
    let waits = |builder: &mut Builder<'_>, id: i64| {
        builder.record(full, 0, Operation::Update, &[n(id)], Some(&[n(id), Value::Unavailable]));
    };
    let mut builder = Builder::new(&claims, &tables);
    waits(&mut builder, 50);
    apply(&mut writer, &mut claims, &builder.finish()).await;
    let mut builder = Builder::new(&claims, &tables);
    waits(&mut builder, 51);
    delete_half(&mut builder);
    create_half_on(&mut builder, 1, t("new"));
    builder.record(1, 0, Operation::Update, &[n(2)], Some(&[n(2), t("later")]));
    let applied = apply(&mut writer, &mut claims, &builder.finish()).await;
    let paused: Vec<i32> = applied.paused.iter().map(|(task, _)| task.partition).collect();
    assert_eq!(paused, [i32::from(full)]);
    assert_eq!(target.rows(ALL).await, ["1|old|mine"], "nothing is moved by half");
    (tables, claims)
}

/// Goes on where [`a_whole_move_with_one_partition_full`] stopped, with room.
async fn goes_on_with_room(target: &mut Target, tables: &SinkTableSet, claims: [Claim; 2], full: u16) {
    let mut writer = target.writer(tables);
    let mut own = [Claim {
        next_offset: claims[usize::from(full)].next_offset,
        ..claim(&mut writer, "t", i32::from(full), 2).await
    }];
    let other = claim(&mut writer, "t", 1 - i32::from(full), 2).await;
    let mut builder = Builder::new(&own, tables);
    builder.record(0, 0, Operation::Update, &[n(51)], Some(&[n(51), Value::Unavailable]));
    if full == 0 {
        delete_half(&mut builder);
    } else {
        create_half(&mut builder, t("new"));
        builder.upsert(0, &[n(2), t("later")]);
    }
    apply(&mut writer, &mut own, &builder.finish()).await;
    let later = |builder: &mut Builder<'_>, partition: i32, offset: i64| match (partition, offset) {
        (0, _) => delete_half(builder),
        (_, 0) => create_half(builder, t("new")),
        _ => drop(builder.upsert(0, &[n(2), t("later")])),
    };
    let due = "UPDATE tidelock_held SET retry_at_ms = 0 WHERE code LIKE '%-half-waits'";
    target.run(&[due]).await;
    settle(&mut writer, &[other], tables, later).await;
    assert_eq!(target.rows(ALL).await, ["2|later|mine"]);
    assert_eq!(target.rows("SELECT waits_for FROM tidelock_held").await, ["row", "row"], "what made it full");
    assert!(target.rows("SELECT state FROM tidelock_moved").await.is_empty());
}

async fn the_create_half_of_a_move_is_not_lost_where_the_old_keys_partition_is_full(target: &mut Target) {
    let (tables, claims) = a_whole_move_with_one_partition_full(target, 0).await;
    goes_on_with_room(target, &tables, claims, 0).await;
}

async fn the_delete_half_of_a_move_waits_where_the_new_keys_partition_is_full(target: &mut Target) {
    let (tables, claims) = a_whole_move_with_one_partition_full(target, 1).await;
    goes_on_with_room(target, &tables, claims, 1).await;
}

/// An article that waits for its author; behind it its key changes from 1 to 2, and the create half came too: its text is `body`.
async fn an_article_that_waits_and_moves(
    target: &mut Target,
    author: i64,
    body: Value,
) -> (SinkTableSet, SqlWriter, [Claim; 2]) {
    target
        .run(&[
            "CREATE TABLE users (id bigint PRIMARY KEY)",
            "CREATE TABLE articles (id bigint PRIMARY KEY, user_id bigint NOT NULL, body varchar(100), \
             CONSTRAINT articles_user FOREIGN KEY (user_id) REFERENCES users (id))",
            "INSERT INTO users VALUES (8)",
        ])
        .await;
    let tables = vec![target.table(0, "articles", &["id", "user_id", "body"], &["id"]).await];
    let mut writer = target.writer(&tables);
    let mut claims = [claim(&mut writer, "t", 0, 1).await, claim(&mut writer, "t", 1, 1).await];
    let batch = Builder::new(&claims, &tables).upsert(0, &[n(1), n(7), t("long")]).finish();
    apply(&mut writer, &mut claims, &batch).await;
    let mut builder = Builder::new(&claims, &tables);
    delete_half(&mut builder);
    apply(&mut writer, &mut claims, &builder.finish()).await;
    let mut builder = Builder::new(&claims, &tables);
    article_half(&mut builder, 1, author, &body);
    apply(&mut writer, &mut claims, &builder.finish()).await;
    // The author does not come for a long time.
    target
        .run(&[
            "UPDATE tidelock_held SET first_failed_at_ms = first_failed_at_ms - 10000",
            "UPDATE tidelock_held SET retry_at_ms = 0 WHERE state = 'parked'",
        ])
        .await;
    settle(&mut writer, &claims, &tables, |builder, partition, offset| match (partition, offset) {
        (0, 0) => drop(builder.upsert(0, &[n(1), n(7), t("long")])),
        (0, _) => delete_half(builder),
        _ => article_half(builder, 0, author, &body),
    })
    .await;
    (tables, writer, claims)
}

fn article_half(builder: &mut Builder<'_>, slot: u16, author: i64, body: &Value) {
    let old_key = builder.key(&[n(1)]);
    let record = builder.record(slot, 0, Operation::Create, &[n(2)], Some(&[n(2), n(author), body.clone()]));
    (record.old_key, record.source) = (Some(old_key), place());
}

const ARTICLES: &str = "SELECT id, user_id, body FROM articles";

async fn goes_on(
    target: &mut Target,
    (tables, mut writer, claims): (SinkTableSet, SqlWriter, [Claim; 2]),
    author: i64,
    body: Value,
) {
    for _ in 0..2 {
        target.run(&["UPDATE tidelock_held SET retry_at_ms = 0 WHERE state = 'parked'"]).await;
        settle(&mut writer, &claims, &tables, |builder, partition, offset| match (partition, offset) {
            (0, 0) => drop(builder.upsert(0, &[n(1), n(7), t("long")])),
            (0, _) => delete_half(builder),
            _ => article_half(builder, 0, author, &body),
        })
        .await;
    }
}

async fn a_row_whose_author_came_and_went_is_skipped_to_its_key_change(target: &mut Target) {
    let body = t("all of it");
    let waiting = an_article_that_waits_and_moves(target, 8, body.clone()).await;
    goes_on(target, waiting, 8, body).await;
    assert_eq!(target.rows(ARTICLES).await, ["2|8|all of it"]);
    assert_eq!(target.rows("SELECT state FROM tidelock_held").await, ["superseded"]);
}

/// What the create half does not bring is in the row that waits, and nowhere else.
async fn a_row_that_its_key_change_needs_waits_for_its_author(target: &mut Target) {
    let waiting = an_article_that_waits_and_moves(target, 7, Value::Unavailable).await;
    assert_eq!(target.rows(ARTICLES).await, [""; 0]);
    target.run(&["INSERT INTO users VALUES (7)"]).await;
    goes_on(target, waiting, 7, Value::Unavailable).await;
    assert_eq!(target.rows(ARTICLES).await, ["2|7|long"]);
    assert!(target.rows("SELECT state FROM tidelock_held").await.is_empty());
}

conformance!(
    the_create_half_of_a_move_is_not_lost_where_the_old_keys_partition_is_full,
    the_delete_half_of_a_move_waits_where_the_new_keys_partition_is_full,
    a_row_whose_author_came_and_went_is_skipped_to_its_key_change,
    a_row_that_its_key_change_needs_waits_for_its_author,
    a_whole_move_behind_a_held_key_is_two_halves_again,
    a_delete_does_not_pass_a_half_that_waits,
    a_full_image_does_not_pass_a_half_that_waits_behind_its_row,
);
