//! Rules H: what waits is kept, tried again in order, and nothing else suffers.

use topology::ErrorKind;
use topology::batch::HeldId;
use topology::data::Value;
use topology::ledger::Claim;
use topology::sink::{ApplyError, OutcomeCounts, SinkWriter};

use tidelock_connect::sql::writer::{HeldLimits, SqlWriter};

use crate::batches::{Builder, apply, claim};
use crate::blog::{blog, post, user};
use crate::conformance;
use crate::target::{Engine, SinkTableSet, Target, n, t};

const HELD: &str = "SELECT state, class, attempts, waits_for FROM tidelock_held ORDER BY 1, 2, 3, 4";

/// Makes all parked rows due and tries them with these rows; the held ones are found in order.
async fn retry(
    target: &mut Target,
    writer: &mut SqlWriter,
    claims: &mut [Claim],
    tables: &SinkTableSet,
    rows: &[(u16, Vec<Value>)],
) {
    target.run(&["UPDATE tidelock_held SET retry_at_ms = 0 WHERE state = 'parked'"]).await;
    release(writer, claims, tables, rows).await;
}

async fn release(writer: &mut SqlWriter, claims: &mut [Claim], tables: &SinkTableSet, rows: &[(u16, Vec<Value>)]) {
    let due = writer.due_held(claims, 100).await.unwrap();
    assert_eq!(due.len(), rows.len(), "{due:?}");
    let ids: Vec<HeldId> = due.iter().map(|row| row.id).collect();
    let mut builder = Builder::new(claims, tables);
    for (entity, row) in rows {
        builder.upsert(*entity, row);
    }
    let batch = builder.finish_release(&ids);
    writer.apply(&batch).await.unwrap();
}

async fn a_child_is_parked_until_its_parent_comes(target: &mut Target) {
    let tables = blog(target).await;
    let mut writer = target.writer(&tables);
    let mut claims = [claim(&mut writer, "t", 0, 1).await];
    let batch = Builder::new(&claims, &tables).upsert(0, &user(1, "a")).finish();
    apply(&mut writer, &mut claims, &batch).await;
    let batch = Builder::new(&claims, &tables).upsert(1, &post(1, 7, "orphan")).upsert(1, &post(2, 1, "fine")).finish();
    let applied = apply(&mut writer, &mut claims, &batch).await;
    assert!(applied.slow_path);
    assert_eq!(target.rows("SELECT id FROM posts").await, ["2"]);
    let waits_for = if target.engine == Engine::Sqlite { "∅" } else { "users" };
    assert_eq!(target.rows(HELD).await, [format!("parked|dependency|1|{waits_for}")]);
    let counts = writer.held_counts(&claims).await.unwrap();
    assert_eq!((counts.parked, counts.queued, counts.dead), (1, 0, 0));
    assert!(writer.due_held(&claims, 10).await.unwrap().is_empty(), "not before its time");

    // Still no parent: later, and one attempt more.
    retry(target, &mut writer, &mut claims, &tables, &[(1, post(1, 7, "orphan").to_vec())]).await;
    assert_eq!(target.rows(HELD).await, [format!("parked|dependency|2|{waits_for}")]);

    // The parent arrives and wakes its child where the engine says who the parent is (rule H2).
    let batch = Builder::new(&claims, &tables).upsert(0, &user(7, "b")).finish();
    tokio::time::sleep(std::time::Duration::from_millis(250)).await;
    apply(&mut writer, &mut claims, &batch).await;
    let rows = [(1, post(1, 7, "orphan").to_vec())];
    if target.engine == Engine::Sqlite {
        retry(target, &mut writer, &mut claims, &tables, &rows).await;
    } else {
        release(&mut writer, &mut claims, &tables, &rows).await;
    }
    assert_eq!(target.rows("SELECT id, title FROM posts ORDER BY id").await, ["1|orphan", "2|fine"]);
    assert!(target.rows(HELD).await.is_empty());
    assert_eq!(target.value("SELECT next_offset FROM tidelock_progress").await, "4", "releases move no progress");
}

async fn changes_of_a_held_key_queue_behind_it_in_order(target: &mut Target) {
    let tables = blog(target).await;
    let mut writer = target.writer(&tables);
    let mut claims = [claim(&mut writer, "t", 0, 1).await];
    let batch = Builder::new(&claims, &tables).upsert(1, &post(1, 7, "first")).finish();
    apply(&mut writer, &mut claims, &batch).await;
    // Would be fine by itself, and must still wait: it came later. A restart changes nothing.
    target.run(&["INSERT INTO users VALUES (8, 'other', 'o')"]).await;
    for title in ["second", "third"] {
        let mut writer = target.writer(&tables);
        claims = [claim(&mut writer, "t", 0, 2).await];
        let batch = Builder::new(&claims, &tables).upsert(1, &post(1, 8, title)).upsert(1, &post(5, 8, title)).finish();
        let applied = apply(&mut writer, &mut claims, &batch).await;
        assert_eq!(applied.outcomes[0].1, OutcomeCounts { applied: 1, parked: 1, ..OutcomeCounts::default() });
    }
    let mut writer = target.writer(&tables);
    claims = [claim(&mut writer, "t", 0, 3).await];
    assert_eq!(target.rows("SELECT id, title FROM posts").await, ["5|third"]);
    target.run(&["INSERT INTO users VALUES (7, 'parent', 'p')"]).await;
    retry(target, &mut writer, &mut claims, &tables, &[(1, post(1, 7, "first").to_vec())]).await;
    assert_eq!(target.value("SELECT title FROM posts WHERE id = 1").await, "first");
    // The head is gone; its followers are due at once, in order (rule H3).
    let rows = [(1, post(1, 8, "second").to_vec()), (1, post(1, 8, "third").to_vec())];
    release(&mut writer, &mut claims, &tables, &rows).await;
    assert_eq!(target.value("SELECT title FROM posts WHERE id = 1").await, "third");
    assert!(target.rows(HELD).await.is_empty());
    let batch = Builder::new(&claims, &tables).upsert(1, &post(1, 8, "fourth")).finish();
    let applied = apply(&mut writer, &mut claims, &batch).await;
    assert!(!applied.slow_path, "the key flows again");
    assert_eq!(target.value("SELECT title FROM posts WHERE id = 1").await, "fourth");
}

async fn a_row_that_fails_with_later_changes_in_its_batch_holds_each_of_them_once(target: &mut Target) {
    let tables = blog(target).await;
    let mut writer = target.writer(&tables);
    let mut claims = [claim(&mut writer, "t", 0, 1).await];
    let mut builder = Builder::new(&claims, &tables);
    for title in ["first", "second", "third", "fourth"] {
        builder.upsert(1, &post(1, 7, title));
    }
    let batch = builder.finish();
    apply(&mut writer, &mut claims, &batch).await;
    let states = "SELECT state, count(*) FROM tidelock_held GROUP BY state ORDER BY 1";
    assert_eq!(target.rows(states).await, ["parked|1", "queued|3"]);
}

async fn a_row_whose_parent_came_and_went_is_skipped_to_its_own_delete(target: &mut Target) {
    let tables = blog(target).await;
    let mut writer = target.writer(&tables);
    let mut claims = [claim(&mut writer, "t", 0, 1).await];
    let mut builder = Builder::new(&claims, &tables);
    builder.upsert(1, &post(1, 7, "first"));
    let batch = builder.finish();
    apply(&mut writer, &mut claims, &batch).await;
    let mut builder = Builder::new(&claims, &tables);
    builder.upsert(1, &post(1, 7, "second"));
    let batch = builder.finish();
    apply(&mut writer, &mut claims, &batch).await;
    let batch = Builder::new(&claims, &tables).delete(1, n(1)).finish();
    apply(&mut writer, &mut claims, &batch).await;
    let states = "SELECT state, count(*) FROM tidelock_held GROUP BY state ORDER BY 1";
    assert_eq!(target.rows(states).await, ["parked|1", "queued|2"]);

    retry(target, &mut writer, &mut claims, &tables, &[(1, post(1, 7, "first").to_vec())]).await;
    assert_eq!(target.rows(states).await, ["parked|1", "queued|2"], "its parent may only be late");
    target.run(&["UPDATE tidelock_held SET first_failed_at_ms = first_failed_at_ms - 10000"]).await;
    retry(target, &mut writer, &mut claims, &tables, &[(1, post(1, 7, "first").to_vec())]).await;
    assert_eq!(target.rows(states).await, ["queued|1", "superseded|2"]);
    let due = writer.due_held(&claims, 10).await.unwrap();
    let batch = Builder::new(&claims, &tables).delete(1, n(1)).finish_release(&[due[0].id]);
    writer.apply(&batch).await.unwrap();
    assert_eq!(target.rows(states).await, ["superseded|2"]);
    target.run(&["INSERT INTO users VALUES (7, 'parent', 'p')"]).await;
    let batch = Builder::new(&claims, &tables).upsert(1, &post(1, 7, "again")).finish();
    assert!(!apply(&mut writer, &mut claims, &batch).await.slow_path, "the key flows again");
    assert_eq!(target.value("SELECT title FROM posts WHERE id = 1").await, "again");
}

async fn a_follower_does_not_overtake_a_head_that_fails_again(target: &mut Target) {
    let tables = blog(target).await;
    let mut writer = target.writer(&tables);
    let mut claims = [claim(&mut writer, "t", 0, 1).await];
    target.run(&["INSERT INTO users VALUES (8, 'other', 'o')"]).await;
    let batch = Builder::new(&claims, &tables).upsert(1, &post(1, 7, "first")).finish();
    apply(&mut writer, &mut claims, &batch).await;
    let batch = Builder::new(&claims, &tables).upsert(1, &post(1, 8, "second")).finish();
    apply(&mut writer, &mut claims, &batch).await;
    target.run(&["UPDATE tidelock_held SET retry_at_ms = 0"]).await;
    let rows = [(1, post(1, 7, "first").to_vec()), (1, post(1, 8, "second").to_vec())];
    release(&mut writer, &mut claims, &tables, &rows).await;
    assert!(target.rows("SELECT id FROM posts").await.is_empty());
    assert!(writer.due_held(&claims, 10).await.unwrap().is_empty());
}

async fn what_queued_has_tries_of_its_own(target: &mut Target) {
    let tables = blog(target).await;
    let limits = HeldLimits { retry_first_ms: 0, attempts_max: Some(2), ..HeldLimits::default() };
    let mut writer = target.writer_with(&tables, limits);
    let mut claims = [claim(&mut writer, "t", 0, 1).await];
    // Given a row that waits for its parent, and a later change of it that wants another parent,
    let batch = Builder::new(&claims, &tables).upsert(1, &post(1, 7, "first")).finish();
    apply(&mut writer, &mut claims, &batch).await;
    let batch = Builder::new(&claims, &tables).upsert(1, &post(1, 8, "then")).finish();
    apply(&mut writer, &mut claims, &batch).await;
    // when the first parent comes,
    let batch = Builder::new(&claims, &tables).upsert(0, &user(7, "a")).finish();
    apply(&mut writer, &mut claims, &batch).await;
    release(&mut writer, &mut claims, &tables, &[(1, post(1, 7, "first").to_vec())]).await;
    // then the later change is tried for the first time: it waits,
    release(&mut writer, &mut claims, &tables, &[(1, post(1, 8, "then").to_vec())]).await;
    let states = "SELECT state, attempts FROM tidelock_held";
    assert_eq!(target.rows(states).await, ["parked|1"]);
    // and is dead when its own tries are used up.
    release(&mut writer, &mut claims, &tables, &[(1, post(1, 8, "then").to_vec())]).await;
    assert_eq!(target.rows(states).await, ["dead|2"]);
}

async fn a_head_that_waited_too_long_is_dead_and_lets_its_followers_go(target: &mut Target) {
    let tables = blog(target).await;
    let limits = HeldLimits { dead_after_ms: 0, ..HeldLimits::default() };
    let mut writer = target.writer_with(&tables, limits);
    let mut claims = [claim(&mut writer, "t", 0, 1).await];
    target.run(&["INSERT INTO users VALUES (8, 'other', 'o')"]).await;
    for (user, title) in [(7, "first"), (8, "second")] {
        let batch = Builder::new(&claims, &tables).upsert(1, &post(1, user, title)).finish();
        apply(&mut writer, &mut claims, &batch).await;
    }
    retry(target, &mut writer, &mut claims, &tables, &[(1, post(1, 7, "first").to_vec())]).await;
    assert_eq!(target.rows("SELECT state FROM tidelock_held ORDER BY 1").await, ["dead", "queued"]);
    release(&mut writer, &mut claims, &tables, &[(1, post(1, 8, "second").to_vec())]).await;
    assert_eq!(target.rows("SELECT title FROM posts").await, ["second"]);
    let state = target.rows("SELECT state FROM tidelock_held").await;
    assert_eq!(state, ["superseded"], "its follower is newer: a replay must not overwrite it (rule H4)");
}

async fn a_unique_violation_is_parked_and_never_rewrites_the_other_row(target: &mut Target) {
    let tables = blog(target).await;
    let mut writer = target.writer(&tables);
    let mut claims = [claim(&mut writer, "t", 0, 1).await];
    let batch = Builder::new(&claims, &tables).upsert(0, &user(1, "taken")).finish();
    apply(&mut writer, &mut claims, &batch).await;
    let batch = Builder::new(&claims, &tables).upsert(0, &user(2, "taken")).upsert(0, &user(3, "free")).finish();
    apply(&mut writer, &mut claims, &batch).await;
    assert_eq!(target.rows("SELECT id, email FROM users ORDER BY id").await, ["1|taken", "3|free"]);
    assert_eq!(target.rows(HELD).await, ["parked|dependency|1|∅"]);
}

async fn unique_values_that_change_hands_in_one_batch_pass_in_source_order(target: &mut Target) {
    let tables = blog(target).await;
    let mut writer = target.writer(&tables);
    let mut claims = [claim(&mut writer, "t", 0, 1).await];
    let batch = Builder::new(&claims, &tables).upsert(0, &user(1, "x")).upsert(0, &user(2, "y")).finish();
    apply(&mut writer, &mut claims, &batch).await;
    let batch = Builder::new(&claims, &tables)
        .upsert(0, &user(1, "swap"))
        .upsert(0, &user(2, "x"))
        .upsert(0, &user(1, "y"))
        .finish();
    apply(&mut writer, &mut claims, &batch).await;
    assert_eq!(target.rows("SELECT id, email FROM users ORDER BY id").await, ["1|y", "2|x"]);
    assert!(target.rows(HELD).await.is_empty());
}

async fn a_partial_update_without_its_row_waits_for_it(target: &mut Target) {
    let tables = blog(target).await;
    let mut writer = target.writer(&tables);
    let mut claims = [claim(&mut writer, "t", 0, 1).await];
    let batch = Builder::new(&claims, &tables)
        .upsert(0, &[n(1), Value::Unavailable, t("partial")])
        .upsert(0, &user(2, "b"))
        .finish();
    apply(&mut writer, &mut claims, &batch).await;
    assert_eq!(target.rows("SELECT id FROM users").await, ["2"]);
    assert_eq!(target.rows(HELD).await, ["parked|dependency|1|row"]);
    // A full image needs nothing of what was before: it passes, and the partial one is history.
    let batch = Builder::new(&claims, &tables).upsert(0, &user(1, "full")).finish();
    apply(&mut writer, &mut claims, &batch).await;
    assert_eq!(target.rows("SELECT id, email FROM users ORDER BY id").await, ["1|full", "2|b"]);
    assert_eq!(target.rows("SELECT state FROM tidelock_held").await, ["superseded"]);
}

async fn a_full_image_that_lacks_a_parent_passes_what_waits_for_its_row(target: &mut Target) {
    // given a partial update without its row, and a full image behind it whose parent is not there
    let tables = blog(target).await;
    let mut writer = target.writer(&tables);
    let mut claims = [claim(&mut writer, "t", 0, 1).await];
    let batch = Builder::new(&claims, &tables).upsert(1, &[n(1), n(7), Value::Unavailable]).finish();
    apply(&mut writer, &mut claims, &batch).await;
    let batch = Builder::new(&claims, &tables).upsert(1, &post(1, 7, "full")).finish();
    apply(&mut writer, &mut claims, &batch).await;
    let states = "SELECT state FROM tidelock_held ORDER BY 1";
    assert_eq!(target.rows(states).await, ["parked", "parked"]);
    // when the parent comes
    target
        .run(&[
            "INSERT INTO users VALUES (7, 'parent', 'p')",
            "UPDATE tidelock_held SET retry_at_ms = 0",
            "UPDATE tidelock_held SET retry_at_ms = 9000000000000 WHERE waits_for = 'row'",
        ])
        .await;
    release(&mut writer, &mut claims, &tables, &[(1, post(1, 7, "full").to_vec())]).await;
    // then the image is there, and what it replaced is history
    assert_eq!(target.rows("SELECT title FROM posts").await, ["full"]);
    assert_eq!(target.rows(states).await, ["superseded"]);
    let batch = Builder::new(&claims, &tables).upsert(1, &[n(1), n(7), Value::Unavailable]).finish();
    assert!(!apply(&mut writer, &mut claims, &batch).await.slow_path, "its key waits for nothing");
}

async fn what_follows_a_full_image_that_passed_does_not_wait_for_what_is_history(target: &mut Target) {
    let tables = blog(target).await;
    let mut writer = target.writer(&tables);
    let mut claims = [claim(&mut writer, "t", 0, 1).await];
    let partial = [n(1), Value::Unavailable, t("partial")];
    let batch = Builder::new(&claims, &tables).upsert(0, &partial).finish();
    apply(&mut writer, &mut claims, &batch).await;
    // The delete passes; the partial update after it finds no row again and waits for one by itself, not behind the first.
    let batch = Builder::new(&claims, &tables).delete(0, n(1)).upsert(0, &partial).finish();
    apply(&mut writer, &mut claims, &batch).await;
    assert_eq!(target.rows(HELD).await, ["parked|dependency|1|row", "superseded|dependency|1|row"]);
}

async fn a_discarded_head_lets_its_followers_go(target: &mut Target) {
    let tables = blog(target).await;
    let mut writer = target.writer(&tables);
    let mut claims = [claim(&mut writer, "t", 0, 1).await];
    target.run(&["INSERT INTO users VALUES (8, 'other', 'o')"]).await;
    for (user, title) in [(7, "first"), (8, "second")] {
        let batch = Builder::new(&claims, &tables).upsert(1, &post(1, user, title)).finish();
        apply(&mut writer, &mut claims, &batch).await;
    }
    // An operator discards the head. The lane sees it when it counts.
    target.run(&["DELETE FROM tidelock_held WHERE state = 'parked'"]).await;
    writer.held_counts(&claims).await.unwrap();
    release(&mut writer, &mut claims, &tables, &[(1, post(1, 8, "second").to_vec())]).await;
    assert_eq!(target.rows("SELECT title FROM posts").await, ["second"]);
    let batch = Builder::new(&claims, &tables).upsert(1, &post(1, 8, "third")).finish();
    assert_eq!(apply(&mut writer, &mut claims, &batch).await.outcomes[0].1.applied, 1);
}

async fn a_truncate_takes_what_waits_for_its_table(target: &mut Target) {
    let tables = blog(target).await;
    let mut writer = target.writer(&tables);
    let mut claims = [claim(&mut writer, "t", 0, 1).await];
    let batch = Builder::new(&claims, &tables).upsert(1, &post(1, 7, "orphan")).finish();
    apply(&mut writer, &mut claims, &batch).await;
    let batch = Builder::new(&claims, &tables).truncate(1).finish();
    apply(&mut writer, &mut claims, &batch).await;
    assert!(target.rows(HELD).await.is_empty());
    target.run(&["INSERT INTO users VALUES (8, 'other', 'o')"]).await;
    let batch = Builder::new(&claims, &tables).upsert(1, &post(1, 8, "new")).finish();
    assert_eq!(apply(&mut writer, &mut claims, &batch).await.outcomes[0].1.applied, 1, "the key is free");
}

async fn a_truncate_takes_what_its_own_batch_has_held_so_far(target: &mut Target) {
    // given a key that is held already
    let tables = blog(target).await;
    let mut writer = target.writer(&tables);
    let mut claims = [claim(&mut writer, "t", 0, 1).await];
    let batch = Builder::new(&claims, &tables).upsert(1, &post(1, 7, "orphan")).finish();
    apply(&mut writer, &mut claims, &batch).await;
    // when a change of it, and another child without parent, come in one batch with a truncate behind them
    let mut builder = Builder::new(&claims, &tables);
    builder.upsert(1, &post(1, 7, "later")).upsert(1, &post(2, 7, "other")).truncate(1).upsert(1, &post(3, 9, "after"));
    apply(&mut writer, &mut claims, &builder.finish()).await;
    // then only what came after it waits, and nothing comes back with the parent.
    let held = format!("SELECT {q}offset{q}, state FROM tidelock_held", q = target.quote());
    assert_eq!(target.rows(&held).await, ["4|parked"]);
    let batch = Builder::new(&claims, &tables).upsert(1, &post(2, 7, "again")).finish();
    assert_eq!(apply(&mut writer, &mut claims, &batch).await.outcomes[0].1.parked, 1, "by itself");
    target.run(&["INSERT INTO users VALUES (7, 'late', 'l')"]).await;
    let both = [(1, post(3, 9, "after").to_vec()), (1, post(2, 7, "again").to_vec())];
    retry(target, &mut writer, &mut claims, &tables, &both).await;
    assert_eq!(target.rows("SELECT title FROM posts").await, ["again"]);
}

async fn a_parent_that_cannot_be_looked_up_stops_nothing(target: &mut Target) {
    // given children whose parent table is nobody's entity, and was looked at once
    let tables = blog(target).await;
    let mut writer = target.writer(&tables);
    let mut claims = [claim(&mut writer, "t", 0, 1).await];
    let orphans = |builder: &mut Builder<'_>, from: i64| {
        for id in from..from + 10 {
            builder.upsert(1, &post(id, 7, "orphan"));
        }
    };
    let mut builder = Builder::new(&claims, &tables);
    orphans(&mut builder, 0);
    apply(&mut writer, &mut claims, &builder.finish()).await;
    // when it gets another name, and children without parents come again
    target.run(&["ALTER TABLE users RENAME TO people"]).await;
    let mut builder = Builder::new(&claims, &tables);
    orphans(&mut builder, 100);
    let batch = builder.finish();
    // then the batch is tried again, without that look, and its children wait.
    let error = writer.apply(&batch).await.unwrap_err();
    assert!(matches!(&error, ApplyError::Failed(error) if error.kind == ErrorKind::Transient), "{error:?}");
    assert_eq!(apply(&mut writer, &mut claims, &batch).await.outcomes[0].1.parked, 10);
}

conformance!(
    a_child_is_parked_until_its_parent_comes,
    changes_of_a_held_key_queue_behind_it_in_order,
    a_row_that_fails_with_later_changes_in_its_batch_holds_each_of_them_once,
    a_row_whose_parent_came_and_went_is_skipped_to_its_own_delete,
    a_follower_does_not_overtake_a_head_that_fails_again,
    what_queued_has_tries_of_its_own,
    a_head_that_waited_too_long_is_dead_and_lets_its_followers_go,
    a_unique_violation_is_parked_and_never_rewrites_the_other_row,
    unique_values_that_change_hands_in_one_batch_pass_in_source_order,
    a_partial_update_without_its_row_waits_for_it,
    a_full_image_that_lacks_a_parent_passes_what_waits_for_its_row,
    what_follows_a_full_image_that_passed_does_not_wait_for_what_is_history,
    a_discarded_head_lets_its_followers_go,
    a_truncate_takes_what_waits_for_its_table,
    a_truncate_takes_what_its_own_batch_has_held_so_far,
    a_parent_that_cannot_be_looked_up_stops_nothing,
);
