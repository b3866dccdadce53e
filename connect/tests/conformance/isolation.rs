//! Rules E: what can't be written is isolated and kept as dead, what fails everything pauses, and the rest takes effect.

use topology::ErrorKind;
use topology::data::Value;
use topology::ledger::Claim;
use topology::record::Operation;
use topology::sink::{ApplyError, OutcomeCounts, SinkWriter};

use tidelock_connect::sql::writer::DeadLimit;

use crate::batches::{Builder, apply, claim, refused, task};
use crate::blog::{blog, post, user};
use crate::conformance;
use crate::target::{Engine, Target, n, t};

async fn one_bad_row_among_two_thousand_is_isolated(target: &mut Target) {
    let tables = blog(target).await;
    let mut writer = target.writer(&tables);
    let mut claims = [claim(&mut writer, "t", 0, 1).await];
    let mut builder = Builder::new(&claims, &tables);
    for id in 0..2000 {
        let name = if id == 1234 { Value::Null } else { t("fine") };
        builder.upsert(0, &[n(id), name, Value::Null]);
    }
    let applied = apply(&mut writer, &mut claims, &builder.finish()).await;
    assert_eq!(applied.outcomes[0].1, OutcomeCounts { applied: 1999, dead: 1, ..OutcomeCounts::default() });
    assert_eq!(target.value("SELECT COUNT(*) FROM users").await, "1999");
    let quote = target.quote();
    let held = "SELECT state, class, `offset`, `key`, entity, retry_at_ms FROM tidelock_held".replace('`', quote);
    assert_eq!(target.rows(&held).await, [format!("dead|data|1234|{{\"id\":1234}}|users|{}", i64::MAX)]);
}

async fn the_good_changes_of_a_key_count_though_its_last_one_is_bad(target: &mut Target) {
    let tables = blog(target).await;
    let mut writer = target.writer(&tables);
    let mut claims = [claim(&mut writer, "t", 0, 1).await];
    let batch = Builder::new(&claims, &tables)
        .upsert(0, &user(1, "good"))
        .upsert(0, &[n(1), t("much too long a name"), t("bad")])
        .finish();
    apply(&mut writer, &mut claims, &batch).await;
    let expected = if target.engine == Engine::Sqlite { "1|bad" } else { "1|good" };
    assert_eq!(target.rows("SELECT id, email FROM users").await, [expected], "SQLite enforces no length (rule B4)");
}

async fn a_later_full_image_supersedes_a_dead_one(target: &mut Target) {
    let tables = blog(target).await;
    let mut writer = target.writer(&tables);
    let mut claims = [claim(&mut writer, "t", 0, 1).await];
    let batch =
        Builder::new(&claims, &tables).upsert(0, &[n(1), Value::Null, t("bad")]).upsert(0, &user(2, "b")).finish();
    apply(&mut writer, &mut claims, &batch).await;
    assert_eq!(target.rows("SELECT state FROM tidelock_held").await, ["dead"]);
    let batch = Builder::new(&claims, &tables).upsert(0, &user(1, "good")).finish();
    apply(&mut writer, &mut claims, &batch).await;
    assert_eq!(target.rows("SELECT state FROM tidelock_held").await, ["superseded"]);
    assert_eq!(target.rows("SELECT email FROM users ORDER BY id").await, ["good", "b"]);
}

async fn a_later_full_image_supersedes_what_died_before_the_sink(target: &mut Target) {
    let tables = blog(target).await;
    let mut writer = target.writer(&tables);
    let mut claims = [claim(&mut writer, "t", 0, 1).await];
    let mut builder = Builder::new(&claims, &tables);
    builder.dead_with_key(0, "refused by the lens", Some(&[n(1)])).dead_with_key(0, "another", Some(&[n(2)]));
    apply(&mut writer, &mut claims, &builder.finish()).await;
    let dead = format!("SELECT {0}key{0}, state FROM tidelock_held ORDER BY 1", target.quote());
    assert_eq!(target.rows(&dead).await, ["{\"id\":1}|dead", "{\"id\":2}|dead"]);
    // Another worker knows it from the table.
    for (worker, id) in [(None, 1), (Some(target.writer(&tables)), 2)] {
        if let Some(other) = worker {
            writer = other;
            claims = [Claim { next_offset: claims[0].next_offset, ..claim(&mut writer, "t", 0, 2).await }];
        }
        let batch = Builder::new(&claims, &tables).upsert(0, &user(id, &format!("good {id}"))).finish();
        apply(&mut writer, &mut claims, &batch).await;
        let states = target.rows(&dead).await;
        assert!(states.contains(&format!("{{\"id\":{id}}}|superseded")), "{states:?}");
    }
}

async fn a_full_image_supersedes_what_died_before_it_in_its_own_batch(target: &mut Target) {
    let tables = blog(target).await;
    let mut writer = target.writer(&tables);
    let mut claims = [claim(&mut writer, "t", 0, 1).await];
    let nameless = |id: i64| [n(id), Value::Null, t("bad")];
    let batch = Builder::new(&claims, &tables)
        .dead_with_key(0, "refused by the lens, then corrected", Some(&[n(1)]))
        .upsert(0, &user(1, "a"))
        .upsert(0, &user(2, "b"))
        .dead_with_key(0, "refused by the lens at last", Some(&[n(2)]))
        .upsert(0, &nameless(3))
        .upsert(0, &user(3, "c"))
        .upsert(0, &nameless(3))
        .finish();
    apply(&mut writer, &mut claims, &batch).await;
    assert_eq!(target.rows("SELECT id, email FROM users ORDER BY id").await, ["1|a", "2|b", "3|c"]);
    let held = "SELECT `offset`, state FROM tidelock_held ORDER BY 1".replace('`', target.quote());
    assert_eq!(target.rows(&held).await, ["0|superseded", "3|dead", "4|superseded", "6|dead"]);
    // What is dead still is remembered.
    let batch = Builder::new(&claims, &tables).upsert(0, &user(2, "bb")).delete(0, n(3)).finish();
    apply(&mut writer, &mut claims, &batch).await;
    assert_eq!(target.rows("SELECT DISTINCT state FROM tidelock_held").await, ["superseded"]);
}

async fn dead_records_are_kept_with_their_raw_bytes(target: &mut Target) {
    let tables = blog(target).await;
    let mut writer = target.writer(&tables);
    let mut claims = [claim(&mut writer, "t", 0, 1).await];
    let batch = Builder::new(&claims, &tables).upsert(0, &user(1, "a")).dead(0, "broken").finish();
    let applied = apply(&mut writer, &mut claims, &batch).await;
    assert!(!applied.slow_path);
    assert_eq!(applied.outcomes[0].1, OutcomeCounts { applied: 1, dead: 1, ..OutcomeCounts::default() });
    let quote = target.quote();
    let held = "SELECT state, class, stage, `offset`, raw_key, raw_value, headers, timestamp_ms FROM tidelock_held";
    let hex = |text: &str| text.bytes().map(|byte| format!("{byte:02x}")).collect::<String>();
    assert_eq!(
        target.rows(&held.replace('`', quote)).await,
        [format!("dead|data|decode|1|{}|{}|0001680000000176|1700000000000", hex("raw-key"), hex("broken"))]
    );
}

async fn too_many_dead_records_stop_the_writer_before_commit_and_after_a_restart(target: &mut Target) {
    let tables = blog(target).await;
    let limit = DeadLimit { ratio: 0.9, window: 100, run_length: 5 };
    let mut writer = target.writer_limited(&tables, limit);
    let mut claims = [claim(&mut writer, "t", 0, 1).await];
    let mut three_dead = Builder::new(&claims, &tables);
    three_dead.dead(0, "x").dead(0, "y").dead(0, "z");
    apply(&mut writer, &mut claims, &three_dead.finish()).await;
    let bad = |claims: &[Claim]| {
        let mut builder = Builder::new(claims, &tables);
        builder.dead(0, "x").dead(0, "y").dead(0, "z");
        builder.finish()
    };
    let error = refused(&mut writer, &bad(&claims)).await;
    assert!(matches!(&error, ApplyError::Failed(error) if error.kind == ErrorKind::Configuration), "{error:?}");
    assert_eq!(target.value("SELECT COUNT(*) FROM tidelock_held").await, "3", "the crossing batch left nothing");
    assert_eq!(target.value("SELECT next_offset FROM tidelock_progress").await, "3");
    // The window is in the ledger: a new writer does not begin a new one.
    let mut writer = target.writer_limited(&tables, limit);
    let mut claims = [claim(&mut writer, "t", 0, 2).await];
    assert!(matches!(refused(&mut writer, &bad(&claims)).await, ApplyError::Failed(_)));
    // A good record ends the run.
    let good = Builder::new(&claims, &tables).upsert(0, &user(1, "a")).finish();
    apply(&mut writer, &mut claims, &good).await;
    let batch = bad(&claims);
    apply(&mut writer, &mut claims, &batch).await;
    assert_eq!(target.value("SELECT COUNT(*) FROM tidelock_held").await, "6");
}

async fn a_missing_column_pauses_its_topic_and_nothing_else(target: &mut Target) {
    let tables = blog(target).await;
    let mut writer = target.writer(&tables);
    let mut claims = [claim(&mut writer, "posts", 0, 1).await, claim(&mut writer, "users", 0, 1).await];
    // The writer knows the table with the column; then somebody drops it.
    let mut builder = Builder::new(&claims, &tables);
    builder.record(1, 0, Operation::Create, &[n(1)], Some(&user(1, "a")));
    builder.record(0, 1, Operation::Create, &[n(1)], Some(&post(1, 1, "x")));
    apply(&mut writer, &mut claims, &builder.finish()).await;
    target.run(&["ALTER TABLE posts DROP COLUMN title"]).await;
    for round in 2..4 {
        let mut builder = Builder::new(&claims, &tables);
        builder.record(1, 0, Operation::Create, &[n(round)], Some(&user(round, &format!("mail {round}"))));
        builder.record(0, 1, Operation::Create, &[n(round)], Some(&post(round, 1, "x")));
        let applied = apply(&mut writer, &mut claims, &builder.finish()).await;
        assert_eq!(applied.paused.len(), 1);
        assert_eq!((&applied.paused[0].0, applied.paused[0].1.kind), (&task("posts", 0), ErrorKind::Schema));
        assert_eq!((claims[0].next_offset, claims[1].next_offset), (1, round));
    }
    assert_eq!(target.value("SELECT COUNT(*) FROM users").await, "3");
    assert!(target.rows("SELECT state FROM tidelock_held").await.is_empty(), "not parked row by row (rule E5)");
    target.run(&["ALTER TABLE posts ADD COLUMN title varchar(100)"]).await;
    let mut builder = Builder::new(&claims, &tables);
    builder.record(0, 1, Operation::Create, &[n(2)], Some(&post(2, 1, "back")));
    let applied = apply(&mut writer, &mut claims, &builder.finish()).await;
    assert!(applied.paused.is_empty());
    assert_eq!(target.value("SELECT title FROM posts WHERE id = 2").await, "back");
}

/// Writes rows of `uses` with these codes, in one batch; which of them are there.
async fn uses_of(target: &mut Target, codes: &[&str]) -> Vec<String> {
    let tables = vec![target.table(0, "uses", &["id", "code"], &["id"]).await];
    let mut writer = target.writer(&tables);
    let mut claims = [claim(&mut writer, "t", 0, 1).await];
    let mut builder = Builder::new(&claims, &tables);
    for (id, code) in (1..).zip(codes) {
        builder.upsert(0, &[n(id), t(code)]);
    }
    apply(&mut writer, &mut claims, &builder.finish()).await;
    target.rows("SELECT id, code FROM uses ORDER BY id").await
}

/// Rule E4: the look for parents asks with the parent's own columns, which may be narrower.
async fn a_value_that_no_parent_can_have_makes_its_row_wait_and_no_other(target: &mut Target) {
    if target.engine == Engine::Sqlite {
        // It has no widths.
        return;
    }
    target
        .run(&[
            "CREATE TABLE codes (code varchar(10) PRIMARY KEY)",
            "CREATE TABLE uses (id bigint PRIMARY KEY, code varchar(20), CONSTRAINT uses_code FOREIGN KEY (code) REFERENCES codes (code))",
            "INSERT INTO codes VALUES ('a'), ('b')",
        ])
        .await;
    assert_eq!(uses_of(target, &["a", "a", "longer than ten", "b", "absent"]).await, ["1|a", "2|a", "4|b"]);
    let held = "SELECT `offset`, state FROM tidelock_held ORDER BY 1".replace('`', target.quote());
    assert_eq!(target.rows(&held).await, ["2|parked", "4|parked"]);
}

/// The database decides which keys are equal, also where several rows ask for one parent.
async fn parents_that_only_the_collation_calls_equal_are_found(target: &mut Target) {
    if !matches!(target.engine, Engine::MySql | Engine::MariaDb) {
        return;
    }
    target
        .run(&[
            "CREATE TABLE codes (code varchar(10) COLLATE utf8mb4_general_ci PRIMARY KEY) CHARACTER SET utf8mb4",
            "CREATE TABLE uses (id bigint PRIMARY KEY, code varchar(10) COLLATE utf8mb4_general_ci, \
             CONSTRAINT uses_code FOREIGN KEY (code) REFERENCES codes (code)) CHARACTER SET utf8mb4",
            "INSERT INTO codes VALUES ('a'), ('b')",
        ])
        .await;
    assert_eq!(uses_of(target, &["a", "a", "B", "absent"]).await, ["1|a", "2|a", "3|B"]);
}

/// SQLite tells of a deferred constraint at COMMIT only, and not which row it was.
async fn a_child_under_a_deferred_constraint_waits_for_its_parent_and_stops_nothing(target: &mut Target) {
    if matches!(target.engine, Engine::MySql | Engine::MariaDb) {
        return;
    }
    target
        .run(&[
            "CREATE TABLE users (id bigint PRIMARY KEY, name varchar(10) NOT NULL, email varchar(100) UNIQUE)",
            "CREATE TABLE posts (id bigint PRIMARY KEY, user_id bigint NOT NULL, title varchar(100), \
             CONSTRAINT posts_user FOREIGN KEY (user_id) REFERENCES users (id) DEFERRABLE INITIALLY DEFERRED)",
        ])
        .await;
    let tables = vec![
        target.table(0, "users", &["id", "name", "email"], &["id"]).await,
        target.table(1, "posts", &["id", "user_id", "title"], &["id"]).await,
    ];
    let mut writer = target.writer(&tables);
    let mut claims = [claim(&mut writer, "t", 0, 1).await];
    let batch = Builder::new(&claims, &tables).upsert(0, &user(1, "a")).upsert(1, &post(1, 9, "early")).finish();
    apply(&mut writer, &mut claims, &batch).await;
    assert_eq!(target.rows("SELECT id FROM users").await, ["1"]);
    assert_eq!(target.rows("SELECT state FROM tidelock_held").await, ["parked"]);
}

async fn what_fails_the_session_writes_nothing_and_the_next_call_connects_again(target: &mut Target) {
    let tables = blog(target).await;
    let mut writer = target.writer(&tables);
    let mut claims = [claim(&mut writer, "t", 0, 1).await];
    target.run(&["ALTER TABLE tidelock_progress RENAME TO hidden"]).await;
    let batch = Builder::new(&claims, &tables).upsert(0, &user(1, "a")).finish();
    let error = writer.apply(&batch).await.unwrap_err();
    assert!(matches!(error, ApplyError::Failed(_)), "{error:?}");
    target.run(&["ALTER TABLE hidden RENAME TO tidelock_progress"]).await;
    assert!(target.rows("SELECT id FROM users").await.is_empty());
    apply(&mut writer, &mut claims, &batch).await;
    assert_eq!(target.rows("SELECT id FROM users").await, ["1"]);
}

conformance!(
    one_bad_row_among_two_thousand_is_isolated,
    the_good_changes_of_a_key_count_though_its_last_one_is_bad,
    a_later_full_image_supersedes_a_dead_one,
    a_later_full_image_supersedes_what_died_before_the_sink,
    a_full_image_supersedes_what_died_before_it_in_its_own_batch,
    dead_records_are_kept_with_their_raw_bytes,
    too_many_dead_records_stop_the_writer_before_commit_and_after_a_restart,
    a_missing_column_pauses_its_topic_and_nothing_else,
    what_fails_the_session_writes_nothing_and_the_next_call_connects_again,
    a_value_that_no_parent_can_have_makes_its_row_wait_and_no_other,
    parents_that_only_the_collation_calls_equal_are_found,
    a_child_under_a_deferred_constraint_waits_for_its_parent_and_stops_nothing,
);
