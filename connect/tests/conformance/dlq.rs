//! Rule H4: a dead record that is tried again never overwrites a newer row.

use topology::batch::HeldId;
use topology::data::Value;
use topology::ledger::Claim;
use topology::record::Operation;
use topology::sink::{OutcomeCounts, SinkWriter};

use tidelock_connect::sql::writer::{HeldLimits, SqlWriter};

use crate::batches::{Builder, apply, claim, raw_key};
use crate::blog::{bad_user, blog, post, user};
use crate::conformance;
use crate::target::{SinkTableSet, Target, n, t};

/// Nothing that is parked becomes due by itself while the test looks.
pub(crate) const SLOW: HeldLimits = HeldLimits { retry_first_ms: 600_000, retry_cap_ms: 600_000, ..HeldLimits::USUAL };

/// What `dlq replay` does, for offsets from the first to the last.
async fn replay(target: &mut Target, first: i64, last: i64) {
    let sql = format!(
        "UPDATE tidelock_held SET state = 'replay', retry_at_ms = 0 WHERE state = 'dead' AND `offset` BETWEEN {first} AND {last} \
         AND (waits_for IS NULL OR waits_for <> 'overtaken')"
    );
    let sql = sql.replace('`', target.quote());
    target.run(&[&sql]).await;
}

pub(crate) async fn states(target: &mut Target) -> Vec<String> {
    let sql = "SELECT `offset`, state, waits_for FROM tidelock_held ORDER BY 1".replace('`', target.quote());
    target.rows(&sql).await
}

pub(crate) async fn due(writer: &mut SqlWriter, claims: &[Claim]) -> Vec<i64> {
    writer.due_held(claims, 100).await.unwrap().iter().map(|row| row.id.offset).collect()
}

/// Tries the due rows, which must be at these offsets, with these rows, as a lane does.
pub(crate) async fn release(
    writer: &mut SqlWriter,
    claims: &[Claim],
    tables: &SinkTableSet,
    rows: &[(i64, u16, Vec<Value>)],
) {
    let offsets: Vec<i64> = rows.iter().map(|(offset, ..)| *offset).collect();
    assert_eq!(due(writer, claims).await, offsets);
    let ids: Vec<HeldId> = offsets.iter().map(|offset| HeldId { offset: *offset, ordinal: 0 }).collect();
    let mut builder = Builder::new(claims, tables);
    for (_, entity, row) in rows {
        builder.upsert(*entity, row);
    }
    writer.apply(&builder.finish_release(&ids)).await.unwrap();
}

async fn replayed_records_are_applied_in_order(target: &mut Target) {
    let tables = blog(target).await;
    let mut writer = target.writer(&tables);
    let mut claims = [claim(&mut writer, "t", 0, 1).await];
    let batch = Builder::new(&claims, &tables)
        .upsert(0, &bad_user(1, "first"))
        .upsert(0, &bad_user(1, "second"))
        .upsert(0, &user(2, "other"))
        .finish();
    apply(&mut writer, &mut claims, &batch).await;
    assert_eq!(states(target).await, ["0|dead|∅", "1|dead|∅"]);
    // A person repairs the cause and asks for both.
    replay(target, 0, 9).await;
    let counts = writer.held_counts(&claims).await.unwrap();
    assert_eq!((counts.queued, counts.dead), (2, 0));
    let rows = [(0, 0, user(1, "first").to_vec()), (1, 0, user(1, "second").to_vec())];
    release(&mut writer, &claims, &tables, &rows).await;
    assert_eq!(target.rows("SELECT id, email FROM users ORDER BY id").await, ["1|second", "2|other"]);
    assert!(states(target).await.is_empty(), "what is applied is held no more");
    let counts = writer.held_counts(&claims).await.unwrap();
    assert_eq!((counts.queued, counts.dead), (0, 0));
}

async fn a_replayed_record_that_fails_again_is_dead_again(target: &mut Target) {
    let tables = blog(target).await;
    let mut writer = target.writer(&tables);
    let mut claims = [claim(&mut writer, "t", 0, 1).await];
    let batch = Builder::new(&claims, &tables).upsert(0, &bad_user(1, "a")).finish();
    apply(&mut writer, &mut claims, &batch).await;
    replay(target, 0, 0).await;
    release(&mut writer, &claims, &tables, &[(0, 0, bad_user(1, "a").to_vec())]).await;
    assert_eq!(target.rows("SELECT state, class, attempts FROM tidelock_held").await, ["dead|data|2"]);
    // The lane's memory follows: a later whole row makes it history.
    let batch = Builder::new(&claims, &tables).upsert(0, &user(1, "b")).finish();
    apply(&mut writer, &mut claims, &batch).await;
    assert_eq!(states(target).await, ["0|superseded|∅"]);
}

async fn a_partial_change_overtakes_a_dead_record_and_the_operator_still_sees_it(target: &mut Target) {
    let tables = blog(target).await;
    let mut writer = target.writer(&tables);
    let mut claims = [claim(&mut writer, "t", 0, 1).await];
    let batch = Builder::new(&claims, &tables).upsert(0, &user(1, "v0")).finish();
    apply(&mut writer, &mut claims, &batch).await;
    let batch = Builder::new(&claims, &tables).upsert(0, &bad_user(1, "v1")).finish();
    apply(&mut writer, &mut claims, &batch).await;
    let partial = |email: &str| [n(1), Value::Unavailable, t(email)];
    let batch = Builder::new(&claims, &tables).upsert(0, &partial("v2")).finish();
    apply(&mut writer, &mut claims, &batch).await;
    assert_eq!(states(target).await, ["1|dead|overtaken"], "its name may be lost, so it stays in the backlog");
    replay(target, 0, 9).await;
    assert!(due(&mut writer, &claims).await.is_empty());
    assert_eq!(target.value("SELECT email FROM users").await, "v2");
    // A whole row brings everything.
    let batch = Builder::new(&claims, &tables).upsert(0, &user(1, "v3")).finish();
    apply(&mut writer, &mut claims, &batch).await;
    assert_eq!(states(target).await, ["1|superseded|overtaken"]);
}

async fn a_change_that_comes_before_a_replay_is_noticed_overtakes_it(target: &mut Target) {
    let tables = blog(target).await;
    let mut writer = target.writer(&tables);
    let mut claims = [claim(&mut writer, "t", 0, 1).await];
    let batch = Builder::new(&claims, &tables).upsert(0, &user(1, "v0")).upsert(0, &user(2, "w0")).finish();
    apply(&mut writer, &mut claims, &batch).await;
    let batch = Builder::new(&claims, &tables).upsert(0, &bad_user(1, "v1")).upsert(0, &bad_user(2, "w1")).finish();
    apply(&mut writer, &mut claims, &batch).await;
    // The lane has not looked yet when a partial and a whole change come.
    replay(target, 0, 9).await;
    let batch = Builder::new(&claims, &tables)
        .upsert(0, &[n(1), Value::Unavailable, t("v2")])
        .upsert(0, &user(2, "w2"))
        .finish();
    apply(&mut writer, &mut claims, &batch).await;
    assert_eq!(states(target).await, ["2|dead|overtaken", "3|superseded|∅"]);
    assert!(due(&mut writer, &claims).await.is_empty());
    assert_eq!(target.rows("SELECT email FROM users ORDER BY id").await, ["v2", "w2"]);
}

async fn a_key_change_makes_dead_records_of_both_keys_history(target: &mut Target) {
    let tables = blog(target).await;
    let mut writer = target.writer(&tables);
    let mut claims = [claim(&mut writer, "t", 0, 1).await];
    let batch = Builder::new(&claims, &tables).upsert(0, &user(1, "a")).upsert(0, &user(5, "e")).finish();
    apply(&mut writer, &mut claims, &batch).await;
    // In one batch, and (a half alone, as where the other one lies on another partition) without its partner.
    let batch = Builder::new(&claims, &tables)
        .upsert(0, &bad_user(1, "x"))
        .upsert(0, &bad_user(2, "y"))
        .upsert(0, &bad_user(5, "z"))
        .finish();
    apply(&mut writer, &mut claims, &batch).await;
    let batch = Builder::new(&claims, &tables).rename(0, n(1), &user(2, "moved")).finish();
    apply(&mut writer, &mut claims, &batch).await;
    assert_eq!(states(target).await, ["2|superseded|∅", "3|superseded|∅", "4|dead|∅"]);
    let mut builder = Builder::new(&claims, &tables);
    let new_key = builder.key(&[n(6)]);
    builder.record(0, 0, Operation::Delete, &[n(5)], None).new_key = Some(new_key);
    apply(&mut writer, &mut claims, &builder.finish()).await;
    assert_eq!(states(target).await[2], "4|superseded|∅", "a replay would bring the old row back");
    replay(target, 0, 9).await;
    assert!(due(&mut writer, &claims).await.is_empty());
    assert_eq!(target.rows("SELECT id, email FROM users").await, ["2|moved"]);
}

async fn what_a_replay_applies_makes_older_dead_records_of_its_key_history(target: &mut Target) {
    let tables = blog(target).await;
    let mut writer = target.writer(&tables);
    let mut claims = [claim(&mut writer, "t", 0, 1).await];
    for email in ["first", "second", "third"] {
        let batch = Builder::new(&claims, &tables).upsert(0, &bad_user(1, email)).finish();
        apply(&mut writer, &mut claims, &batch).await;
    }
    // The newest but one is tried first.
    replay(target, 1, 1).await;
    release(&mut writer, &claims, &tables, &[(1, 0, user(1, "second").to_vec())]).await;
    assert_eq!(states(target).await, ["0|superseded|∅", "2|dead|∅"]);
    replay(target, 0, 9).await;
    release(&mut writer, &claims, &tables, &[(2, 0, user(1, "third").to_vec())]).await;
    assert_eq!(target.value("SELECT email FROM users").await, "third");
    assert_eq!(states(target).await, ["0|superseded|∅"]);
}

async fn a_change_that_waited_overtakes_what_died_before_it(target: &mut Target) {
    let tables = blog(target).await;
    let mut writer = target.writer_with(&tables, SLOW);
    let mut claims = [claim(&mut writer, "t", 0, 1).await];
    // A post that can't be written, then a change of it that waits for its author.
    let mut builder = Builder::new(&claims, &tables);
    builder.dead_with_key(1, "refused by the lens", Some(&[n(1)]));
    apply(&mut writer, &mut claims, &builder.finish()).await;
    let batch = Builder::new(&claims, &tables).upsert(1, &post(1, 7, "newer")).finish();
    apply(&mut writer, &mut claims, &batch).await;
    target
        .run(&[
            "INSERT INTO users VALUES (7, 'author', 'a')",
            "UPDATE tidelock_held SET retry_at_ms = 0 WHERE state = 'parked'",
        ])
        .await;
    release(&mut writer, &claims, &tables, &[(1, 1, post(1, 7, "newer").to_vec())]).await;
    assert_eq!(states(target).await, ["0|superseded|∅"]);
    assert_eq!(target.value("SELECT title FROM posts").await, "newer");
}

async fn a_replayed_record_takes_its_turn_before_what_waits_and_lets_nothing_overtake(target: &mut Target) {
    let tables = blog(target).await;
    let mut writer = target.writer_with(&tables, SLOW);
    let mut claims = [claim(&mut writer, "t", 0, 1).await];
    target.run(&["INSERT INTO users VALUES (8, 'other', 'o')"]).await;
    let mut builder = Builder::new(&claims, &tables);
    builder.dead_with_key(1, "refused by the lens", Some(&[n(1)]));
    apply(&mut writer, &mut claims, &builder.finish()).await;
    for (user, title) in [(7, "waits for 7"), (8, "behind it")] {
        let batch = Builder::new(&claims, &tables).upsert(1, &post(1, user, title)).finish();
        apply(&mut writer, &mut claims, &batch).await;
    }
    replay(target, 0, 0).await;
    release(&mut writer, &claims, &tables, &[(0, 1, post(1, 8, "the dead one").to_vec())]).await;
    assert_eq!(target.value("SELECT title FROM posts").await, "the dead one");
    // It is gone, and the follower is due; but its head waits on.
    let rows = [(2, 1, post(1, 8, "behind it").to_vec())];
    release(&mut writer, &claims, &tables, &rows).await;
    assert_eq!(target.value("SELECT title FROM posts").await, "the dead one");
    assert!(due(&mut writer, &claims).await.is_empty(), "it waits for its head");
    target
        .run(&[
            "INSERT INTO users VALUES (7, 'author', 'a')",
            "UPDATE tidelock_held SET retry_at_ms = 0 WHERE state = 'parked'",
        ])
        .await;
    release(&mut writer, &claims, &tables, &[(1, 1, post(1, 7, "waits for 7").to_vec())]).await;
    release(&mut writer, &claims, &tables, &rows).await;
    assert_eq!(target.value("SELECT title FROM posts").await, "behind it");
    assert!(states(target).await.is_empty());
}

async fn a_replayed_record_waits_for_what_is_older_and_waits(target: &mut Target) {
    let tables = blog(target).await;
    let mut writer = target.writer_with(&tables, SLOW);
    let mut claims = [claim(&mut writer, "t", 0, 1).await];
    target.run(&["INSERT INTO users VALUES (8, 'other', 'o')"]).await;
    let batch = Builder::new(&claims, &tables).upsert(1, &post(1, 7, "older")).finish();
    apply(&mut writer, &mut claims, &batch).await;
    let mut builder = Builder::new(&claims, &tables);
    builder.dead_with_key(1, "refused by the lens", Some(&[n(1)]));
    apply(&mut writer, &mut claims, &builder.finish()).await;
    replay(target, 1, 1).await;
    let newer = (1, 1, post(1, 8, "newer").to_vec());
    release(&mut writer, &claims, &tables, std::slice::from_ref(&newer)).await;
    assert!(target.rows("SELECT title FROM posts").await.is_empty(), "else the older one would be written over it");
    assert!(due(&mut writer, &claims).await.is_empty());
    target
        .run(&[
            "INSERT INTO users VALUES (7, 'author', 'a')",
            "UPDATE tidelock_held SET retry_at_ms = 0 WHERE state = 'parked'",
        ])
        .await;
    release(&mut writer, &claims, &tables, &[(0, 1, post(1, 7, "older").to_vec())]).await;
    release(&mut writer, &claims, &tables, &[newer]).await;
    assert_eq!(target.value("SELECT title FROM posts").await, "newer");
}

async fn a_replayed_record_waits_for_what_is_older_though_that_became_due_meanwhile(target: &mut Target) {
    // given a row that waits for its parent, and a dead one behind it that is to be tried again
    let tables = blog(target).await;
    let mut writer = target.writer_with(&tables, SLOW);
    let mut claims = [claim(&mut writer, "t", 0, 1).await];
    target.run(&["INSERT INTO users VALUES (8, 'other', 'o')"]).await;
    let batch = Builder::new(&claims, &tables).upsert(1, &post(1, 7, "older")).finish();
    apply(&mut writer, &mut claims, &batch).await;
    let mut builder = Builder::new(&claims, &tables);
    builder.dead_with_key(1, "refused by the lens", Some(&[n(1)]));
    apply(&mut writer, &mut claims, &builder.finish()).await;
    replay(target, 1, 1).await;
    assert_eq!(due(&mut writer, &claims).await, [1]);
    // when the older one becomes due between the look and the try
    target
        .run(&[
            "INSERT INTO users VALUES (7, 'author', 'a')",
            "UPDATE tidelock_held SET retry_at_ms = 0 WHERE state = 'parked'",
        ])
        .await;
    let newer = post(1, 8, "newer").to_vec();
    let batch = Builder::new(&claims, &tables).upsert(1, &newer).finish_release(&[HeldId { offset: 1, ordinal: 0 }]);
    writer.apply(&batch).await.unwrap();
    // then it comes first
    assert!(target.rows("SELECT title FROM posts").await.is_empty());
    release(&mut writer, &claims, &tables, &[(0, 1, post(1, 7, "older").to_vec())]).await;
    release(&mut writer, &claims, &tables, &[(1, 1, newer)]).await;
    assert_eq!(target.value("SELECT title FROM posts").await, "newer");
}

/// A COMMIT whose reply was lost may have been at work when the rows were read, and operators discard rows.
async fn what_waits_no_more_is_not_tried(target: &mut Target) {
    let tables = blog(target).await;
    let mut writer = target.writer_publishing(&tables, HeldLimits { attempts_max: Some(2), ..SLOW });
    let mut claims = [claim(&mut writer, "t", 0, 1).await];
    let batch = Builder::new(&claims, &tables)
        .upsert(1, &post(1, 7, "gone"))
        .upsert(1, &post(2, 7, "dead"))
        .upsert(1, &post(3, 7, "waits"))
        .finish();
    apply(&mut writer, &mut claims, &batch).await;
    target.run(&["UPDATE tidelock_held SET retry_at_ms = 0"]).await;
    assert_eq!(due(&mut writer, &claims).await, [0, 1, 2]);
    // when one is gone, and one is dead
    let quote = target.quote();
    for sql in
        ["DELETE FROM tidelock_held WHERE `offset` = 0", "UPDATE tidelock_held SET state = 'dead' WHERE `offset` = 1"]
    {
        target.run(&[&sql.replace('`', quote)]).await;
    }
    target.run(&["INSERT INTO users VALUES (7, 'author', 'a')"]).await;
    let ids = [0, 1, 2].map(|offset| HeldId { offset, ordinal: 0 });
    let batch = Builder::new(&claims, &tables)
        .upsert(1, &post(1, 7, "gone"))
        .upsert(1, &post(2, 9, "dead"))
        .upsert(1, &post(3, 7, "waits"))
        .finish_release(&ids);
    let applied = writer.apply(&batch).await.unwrap();
    // then
    assert_eq!(applied.outcomes[0].1, OutcomeCounts { applied: 1, ..OutcomeCounts::default() });
    assert_eq!(target.rows("SELECT title FROM posts").await, ["waits"]);
    assert_eq!(target.rows("SELECT state, attempts FROM tidelock_held").await, ["dead|1"]);
    assert!(target.rows("SELECT seq FROM tidelock_outbox").await.is_empty(), "it died once");
}

async fn a_row_that_can_be_read_no_more_is_history_when_a_later_one_is_applied(target: &mut Target) {
    let tables = blog(target).await;
    let mut writer = target.writer_with(&tables, SLOW);
    let mut claims = [claim(&mut writer, "t", 0, 1).await];
    for title in ["first", "second", "third"] {
        let batch = Builder::new(&claims, &tables).upsert(1, &post(1, 7, title)).finish();
        apply(&mut writer, &mut claims, &batch).await;
    }
    target.run(&["INSERT INTO users VALUES (7, 'author', 'a')", "UPDATE tidelock_held SET retry_at_ms = 0"]).await;
    assert_eq!(due(&mut writer, &claims).await, [0, 1, 2]);
    // when the second can't be mapped any more
    let mut builder = Builder::new(&claims, &tables);
    builder.upsert(1, &post(1, 7, "first")).upsert(1, &post(1, 7, "third"));
    builder.dead_with_key(1, "refused by the lens", Some(&[n(1)]));
    let mut batch = builder.finish_release(&[0, 2].map(|offset| HeldId { offset, ordinal: 0 }));
    batch.dead[0].offset = 1;
    writer.apply(&batch).await.unwrap();
    // then nobody replays it over the third
    assert_eq!(target.value("SELECT title FROM posts").await, "third");
    assert_eq!(states(target).await, ["1|superseded|∅"]);
}

async fn rows_that_all_can_be_read_no_more_are_dead_where_they_are(target: &mut Target) {
    let tables = blog(target).await;
    let mut writer = target.writer_publishing(&tables, SLOW);
    let mut claims = [claim(&mut writer, "t", 0, 1).await];
    let batch = Builder::new(&claims, &tables).upsert(1, &post(1, 7, "orphan")).finish();
    apply(&mut writer, &mut claims, &batch).await;
    target.run(&["UPDATE tidelock_held SET retry_at_ms = 0"]).await;
    let mut builder = Builder::new(&claims, &tables);
    builder.dead_with_key(1, "refused by the lens", Some(&[n(1)]));
    let mut batch = builder.finish_release(&[]);
    batch.dead[0].offset = 0;
    for _ in 0..2 {
        writer.apply(&batch).await.unwrap();
        assert_eq!(target.rows("SELECT state, attempts FROM tidelock_held").await, ["dead|2"]);
        assert_eq!(target.rows("SELECT seq FROM tidelock_outbox").await, ["1"], "it dies once");
    }
}

async fn a_record_that_died_before_its_key_was_known_is_overtaken_by_its_raw_key(target: &mut Target) {
    let tables = blog(target).await;
    let mut writer = target.writer(&tables);
    let mut claims = [claim(&mut writer, "t", 0, 1).await];
    let mut builder = Builder::new(&claims, &tables);
    builder.dead_with_raw_key(0, &raw_key(&[n(1)]), "unknown schema", None);
    builder.dead_with_raw_key(0, &raw_key(&[n(2)]), "unknown schema", None);
    builder.dead_with_raw_key(0, &raw_key(&[n(3)]), "unknown schema", None);
    apply(&mut writer, &mut claims, &builder.finish()).await;
    // One is changed by the same worker, one by another that knows it from the table only.
    let batch = Builder::new(&claims, &tables).upsert(0, &user(1, "newer")).finish();
    apply(&mut writer, &mut claims, &batch).await;
    writer = target.writer(&tables);
    claims = [claim(&mut writer, "t", 0, 2).await];
    let batch = Builder::new(&claims, &tables).delete(0, n(2)).finish();
    apply(&mut writer, &mut claims, &batch).await;
    assert_eq!(states(target).await, ["0|superseded|∅", "1|superseded|∅", "2|dead|∅"]);
    // The third can be read by now.
    replay(target, 0, 9).await;
    release(&mut writer, &claims, &tables, &[(2, 0, user(3, "late").to_vec())]).await;
    assert_eq!(target.rows("SELECT id, email FROM users ORDER BY id").await, ["1|newer", "3|late"]);
    let batch = Builder::new(&claims, &tables).upsert(0, &[n(3), Value::Unavailable, t("later")]).finish();
    apply(&mut writer, &mut claims, &batch).await;
    assert_eq!(target.value("SELECT email FROM users WHERE id = 3").await, "later", "its key waits for nothing");
}

/// Rule H3: what a replayed record waits for, later changes of its key wait for too.
async fn a_record_that_died_before_its_key_was_known_and_waits_after_its_replay_keeps_its_place(target: &mut Target) {
    let tables = blog(target).await;
    let mut writer = target.writer_with(&tables, SLOW);
    let mut claims = [claim(&mut writer, "t", 0, 1).await];
    // given a record whose schema was unknown, and whose unique value is taken when it is replayed
    let mut builder = Builder::new(&claims, &tables);
    builder.dead_with_raw_key(0, &raw_key(&[n(3)]), "unknown schema", None);
    builder.upsert(0, &user(1, "taken"));
    apply(&mut writer, &mut claims, &builder.finish()).await;
    replay(target, 0, 9).await;
    release(&mut writer, &claims, &tables, &[(0, 0, user(3, "taken").to_vec())]).await;
    assert_eq!(states(target).await, ["0|parked|∅"]);
    // when its key changes
    let batch = Builder::new(&claims, &tables).upsert(0, &user(3, "newer")).finish();
    apply(&mut writer, &mut claims, &batch).await;
    // then that waits behind it
    assert_eq!(states(target).await, ["0|parked|∅", "2|queued|∅"]);
    assert_eq!(target.rows("SELECT id, email FROM users ORDER BY id").await, ["1|taken"]);
}

/// Rule H4: a partial row that was filled up from one before the dead record does not bring what that one would have brought.
async fn a_dead_record_between_a_whole_row_and_a_partial_one_in_one_batch_stays_dead(target: &mut Target) {
    let tables = blog(target).await;
    let mut writer = target.writer(&tables);
    let mut claims = [claim(&mut writer, "t", 0, 1).await];
    let mut builder = Builder::new(&claims, &tables);
    builder.dead_with_key(0, "before", Some(&[n(1)]));
    builder.upsert(0, &user(1, "first"));
    builder.dead_with_key(0, "between", Some(&[n(1)]));
    builder.upsert(0, &[n(1), Value::Unavailable, t("last")]);
    apply(&mut writer, &mut claims, &builder.finish()).await;
    assert_eq!(target.rows("SELECT id, name, email FROM users").await, ["1|name|last"]);
    assert_eq!(states(target).await, ["0|superseded|∅", "2|dead|overtaken"]);
}

async fn a_truncate_makes_dead_records_history(target: &mut Target) {
    let tables = blog(target).await;
    let mut writer = target.writer(&tables);
    let mut claims = [claim(&mut writer, "t", 0, 1).await];
    let batch = Builder::new(&claims, &tables).upsert(0, &bad_user(1, "before")).finish();
    apply(&mut writer, &mut claims, &batch).await;
    let batch = Builder::new(&claims, &tables)
        .upsert(0, &bad_user(2, "before, in its batch"))
        .truncate(0)
        .upsert(0, &bad_user(3, "after"))
        .finish();
    apply(&mut writer, &mut claims, &batch).await;
    assert_eq!(states(target).await, ["0|superseded|∅", "1|superseded|∅", "3|dead|∅"]);
}

conformance!(
    a_replayed_record_waits_for_what_is_older_though_that_became_due_meanwhile,
    what_waits_no_more_is_not_tried,
    a_row_that_can_be_read_no_more_is_history_when_a_later_one_is_applied,
    rows_that_all_can_be_read_no_more_are_dead_where_they_are,
    replayed_records_are_applied_in_order,
    a_replayed_record_that_fails_again_is_dead_again,
    a_partial_change_overtakes_a_dead_record_and_the_operator_still_sees_it,
    a_change_that_comes_before_a_replay_is_noticed_overtakes_it,
    a_key_change_makes_dead_records_of_both_keys_history,
    what_a_replay_applies_makes_older_dead_records_of_its_key_history,
    a_change_that_waited_overtakes_what_died_before_it,
    a_replayed_record_takes_its_turn_before_what_waits_and_lets_nothing_overtake,
    a_replayed_record_waits_for_what_is_older_and_waits,
    a_record_that_died_before_its_key_was_known_is_overtaken_by_its_raw_key,
    a_record_that_died_before_its_key_was_known_and_waits_after_its_replay_keeps_its_place,
    a_dead_record_between_a_whole_row_and_a_partial_one_in_one_batch_stays_dead,
    a_truncate_makes_dead_records_history,
);
