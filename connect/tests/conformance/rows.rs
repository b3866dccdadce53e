//! Rules B: what each kind of change does to rows.

use topology::batch::SnapshotMode;
use topology::data::Value;
use topology::record::Operation;
use topology::sink::{OutcomeCounts, SinkWriter};

use crate::batches::{Builder, apply, claim};
use crate::conformance;
use crate::target::{Engine, SinkTableSet, Target, n, t};
use tidelock_connect::sql::writer::SinkTable;

async fn users(target: &mut Target) -> SinkTableSet {
    target
        .run(&["CREATE TABLE users (id bigint PRIMARY KEY, name varchar(100), age integer, note varchar(100) DEFAULT 'none')"])
        .await;
    vec![target.table(0, "users", &["id", "name", "age"], &["id"]).await]
}

const ALL: &str = "SELECT id, name, age, note FROM users ORDER BY id";

async fn upserts_insert_update_and_leave_equal_rows_alone(target: &mut Target) {
    let tables = users(target).await;
    let mut writer = target.writer(&tables);
    let mut claims = [claim(&mut writer, "t", 0, 1).await];
    let mut builder = Builder::new(&claims, &tables);
    for id in 0..700 {
        builder.upsert(0, &[n(id), t("ann"), Value::Null]);
    }
    let applied = apply(&mut writer, &mut claims, &builder.finish()).await;
    assert_eq!(applied.outcomes[0].1, OutcomeCounts { applied: 700, ..OutcomeCounts::default() });
    assert!(!applied.slow_path);
    target.run(&["UPDATE users SET note = 'kept' WHERE id = 1"]).await;

    let batch = Builder::new(&claims, &tables)
        .upsert(0, &[n(1), t("bob"), n(7)])
        .upsert(0, &[n(2), t("ann"), Value::Null])
        .finish();
    let applied = apply(&mut writer, &mut claims, &batch).await;
    let counts = applied.outcomes[0].1;
    assert_eq!(counts.applied + counts.unchanged, 2, "{counts:?}");
    assert_eq!(target.value("SELECT COUNT(*) FROM users").await, "700");
    assert_eq!(target.rows(&ALL.replace("ORDER", "WHERE id IN (1,2) ORDER")).await, ["1|bob|7|kept", "2|ann|∅|none"]);
}

async fn what_only_inserts_write_is_left_alone_where_the_row_is_there(target: &mut Target) {
    target
        .run(&["CREATE TABLE users (id bigint PRIMARY KEY, name varchar(100), age integer, note varchar(100) DEFAULT 'none')"])
        .await;
    let mut table = target.table(0, "users", &["id", "name", "age", "note"], &["id"]).await;
    table.table.insert_only = vec![3];
    let tables = vec![table];
    let mut writer = target.writer(&tables);
    let mut claims = [claim(&mut writer, "t", 0, 1).await];
    let batch = Builder::new(&claims, &tables)
        .upsert(0, &[n(1), t("ann"), n(1), t("first")])
        .upsert(0, &[n(2), t("bob"), n(2), t("first")])
        .finish();
    apply(&mut writer, &mut claims, &batch).await;
    target.run(&["UPDATE users SET note = 'own' WHERE id IN (1, 2)"]).await;
    // One is there and changes, one is there and stays, one is not there.
    let batch = Builder::new(&claims, &tables)
        .upsert(0, &[n(1), t("ada"), n(1), t("first")])
        .upsert(0, &[n(2), t("bob"), n(2), t("first")])
        .upsert(0, &[n(3), t("eve"), n(3), t("first")])
        .finish();
    let applied = apply(&mut writer, &mut claims, &batch).await;
    assert!(!applied.slow_path);
    assert_eq!(target.rows(ALL).await, ["1|ada|1|own", "2|bob|2|own", "3|eve|3|first"]);
    // Deleted and inserted again at the source: the row is new.
    let batch = Builder::new(&claims, &tables).delete(0, n(1)).upsert(0, &[n(1), t("ann"), n(1), t("first")]).finish();
    apply(&mut writer, &mut claims, &batch).await;
    assert_eq!(target.rows(ALL).await[0], "1|ann|1|first");
    // Neither does it make a present row differ from one that a snapshot read.
    let tables = vec![SinkTable { snapshot: SnapshotMode::InsertIfAbsent, ..tables[0].clone() }];
    let mut writer = target.writer(&tables);
    let mut claims = [claim(&mut writer, "s", 0, 1).await];
    let mut builder = Builder::new(&claims, &tables);
    builder.record(0, 0, Operation::Read, &[n(2)], Some(&[n(2), t("bob"), n(2), t("first")]));
    let counts = apply(&mut writer, &mut claims, &builder.finish()).await.outcomes[0].1;
    assert_eq!(counts.differs, 0, "{counts:?}");
}

async fn deletes_remove_and_absent_rows_are_fine(target: &mut Target) {
    let tables = users(target).await;
    let mut writer = target.writer(&tables);
    let mut claims = [claim(&mut writer, "t", 0, 1).await];
    let mut builder = Builder::new(&claims, &tables);
    for id in 0..300 {
        builder.upsert(0, &[n(id), t("a"), n(1)]);
    }
    apply(&mut writer, &mut claims, &builder.finish()).await;
    let mut builder = Builder::new(&claims, &tables);
    for id in 1..400 {
        builder.delete(0, n(id));
    }
    let applied = apply(&mut writer, &mut claims, &builder.finish()).await;
    assert!(!applied.slow_path);
    assert_eq!(target.rows(ALL).await, ["0|a|1|none"]);
}

async fn delete_then_insert_in_one_batch_resets_what_only_the_target_has(target: &mut Target) {
    let tables = users(target).await;
    let mut writer = target.writer(&tables);
    let mut claims = [claim(&mut writer, "t", 0, 1).await];
    let batch = Builder::new(&claims, &tables).upsert(0, &[n(1), t("a"), n(1)]).finish();
    apply(&mut writer, &mut claims, &batch).await;
    target.run(&["UPDATE users SET note = 'old'"]).await;
    let batch = Builder::new(&claims, &tables).delete(0, n(1)).upsert(0, &[n(1), t("b"), n(2)]).finish();
    apply(&mut writer, &mut claims, &batch).await;
    assert_eq!(target.rows(ALL).await, ["1|b|2|none"]);
}

async fn an_unavailable_cell_never_overwrites_a_value(target: &mut Target) {
    let tables = users(target).await;
    let mut writer = target.writer(&tables);
    let mut claims = [claim(&mut writer, "t", 0, 1).await];
    let batch = Builder::new(&claims, &tables)
        .upsert(0, &[n(1), t("a"), n(1)])
        .upsert(0, &[n(2), t("b"), n(2)])
        .upsert(0, &[n(3), t("c"), n(3)])
        .finish();
    apply(&mut writer, &mut claims, &batch).await;
    let batch = Builder::new(&claims, &tables)
        .upsert(0, &[n(1), Value::Unavailable, n(11)])
        .upsert(0, &[n(2), t("bb"), Value::Unavailable])
        .upsert(0, &[n(3), Value::Unavailable, n(3)])
        .finish();
    let applied = apply(&mut writer, &mut claims, &batch).await;
    assert!(!applied.slow_path, "an update that changes nothing is not a missing row");
    assert_eq!(target.rows("SELECT name, age FROM users ORDER BY id").await, ["a|11", "bb|2", "c|3"]);
}

async fn a_key_change_renames_and_keeps_children(target: &mut Target) {
    target
        .run(&[
            "CREATE TABLE users (id bigint PRIMARY KEY, name varchar(100), note varchar(100))",
            "CREATE TABLE posts (id bigint PRIMARY KEY, user_id bigint REFERENCES users (id) ON UPDATE CASCADE ON DELETE CASCADE)",
        ])
        .await;
    let tables = vec![target.table(0, "users", &["id", "name"], &["id"]).await];
    let mut writer = target.writer(&tables);
    let mut claims = [claim(&mut writer, "t", 0, 1).await];
    target
        .run(&[
            "INSERT INTO users VALUES (1, 'a', 'mine'), (5, 'e', 'five'), (6, 'f', 'six')",
            "INSERT INTO posts VALUES (10, 1)",
        ])
        .await;
    let batch = Builder::new(&claims, &tables)
        .rename(0, n(1), &[n(2), t("aa")])
        .rename(0, n(5), &[n(6), t("ee")])
        .rename(0, n(70), &[n(71), t("new")])
        .finish();
    let applied = apply(&mut writer, &mut claims, &batch).await;
    assert!(!applied.slow_path);
    assert_eq!(
        target.rows("SELECT id, name, note FROM users ORDER BY id").await,
        ["2|aa|mine", "6|ee|six", "71|new|∅"],
        "renamed; new key there: updated and the old one deleted; neither: inserted (rule B5)"
    );
    assert_eq!(target.rows("SELECT id, user_id FROM posts").await, ["10|2"]);
}

async fn insert_if_absent_counts_what_differs_and_leaves_it(target: &mut Target) {
    let mut tables = users(target).await;
    tables[0].snapshot = SnapshotMode::InsertIfAbsent;
    let mut writer = target.writer(&tables);
    let mut claims = [claim(&mut writer, "t", 0, 1).await];
    target.run(&["INSERT INTO users (id, name, age) VALUES (1, 'here', 1), (2, 'same', NULL)"]).await;
    let mut builder = Builder::new(&claims, &tables);
    for (id, name) in [(1, "there"), (2, "same"), (3, "new")] {
        let age = if id == 2 { Value::Null } else { n(1) };
        builder.record(0, 0, Operation::Read, &[n(id)], Some(&[n(id), t(name), age]));
    }
    let applied = apply(&mut writer, &mut claims, &builder.finish()).await;
    let expected = OutcomeCounts { applied: 1, unchanged: 1, differs: 1, ..OutcomeCounts::default() };
    assert_eq!(applied.outcomes[0].1, expected);
    assert_eq!(target.rows("SELECT name FROM users ORDER BY id").await, ["here", "same", "new"]);
}

async fn a_truncate_empties_the_table_between_its_neighbours(target: &mut Target) {
    let tables = users(target).await;
    let mut writer = target.writer(&tables);
    let mut claims = [claim(&mut writer, "t", 0, 1).await];
    let batch = Builder::new(&claims, &tables)
        .upsert(0, &[n(1), t("before"), n(1)])
        .truncate(0)
        .upsert(0, &[n(2), t("after"), n(1)])
        .finish();
    apply(&mut writer, &mut claims, &batch).await;
    assert_eq!(target.rows("SELECT name FROM users").await, ["after"]);
}

async fn composite_keys_and_reserved_names_work(target: &mut Target) {
    let quote = target.quote();
    let text = "CREATE TABLE `order` (`key` varchar(20), `select` integer, `value` varchar(20), PRIMARY KEY (`key`, `select`))";
    target.run(&[&text.replace('`', quote)]).await;
    let tables = vec![target.table(0, "order", &["select", "value", "key"], &["key", "select"]).await];
    let mut writer = target.writer(&tables);
    let mut claims = [claim(&mut writer, "t", 0, 1).await];
    let mut builder = Builder::new(&claims, &tables);
    for (key, select) in [("a", 1), ("a", 2), ("b", 1)] {
        builder.record(0, 0, Operation::Create, &[t(key), n(select)], Some(&[n(select), t("v"), t(key)]));
    }
    apply(&mut writer, &mut claims, &builder.finish()).await;
    let mut builder = Builder::new(&claims, &tables);
    builder.record(0, 0, Operation::Delete, &[t("a"), n(2)], None);
    builder.record(0, 0, Operation::Update, &[t("b"), n(1)], Some(&[n(1), t("w"), t("b")]));
    let applied = apply(&mut writer, &mut claims, &builder.finish()).await;
    assert!(!applied.slow_path);
    let all = "SELECT `key`, `select`, `value` FROM `order` ORDER BY `key`, `select`".replace('`', quote);
    assert_eq!(target.rows(&all).await, ["a|1|v", "b|1|w"]);
}

async fn history_tables_get_every_change_with_its_place(target: &mut Target) {
    let quote = target.quote();
    target.run(&["CREATE TABLE users (id bigint PRIMARY KEY, name varchar(100))"]).await;
    let text = "CREATE TABLE users_history (`topic` varchar(200), `partition` integer, `offset` bigint, `operation` varchar(1), `key` text, `row` text)";
    target.run(&[&text.replace('`', quote)]).await;
    let mut table = target.table(0, "users", &["id", "name"], &["id"]).await;
    table.table.mode = topology::batch::WriteMode::Append;
    table.table.name = "users_history".into();
    let tables = vec![table];
    let mut writer = target.writer(&tables);
    let mut claims = [claim(&mut writer, "t", 0, 1).await];
    let batch = Builder::new(&claims, &tables)
        .upsert(0, &[n(1), t("a\"b")])
        .upsert(0, &[n(1), Value::Null])
        .delete(0, n(1))
        .finish();
    let applied = apply(&mut writer, &mut claims, &batch).await;
    assert_eq!(applied.outcomes[0].1.applied, 3);
    let all = "SELECT `topic`, `partition`, `offset`, `operation`, `key`, `row` FROM users_history ORDER BY `offset`";
    assert_eq!(
        target.rows(&all.replace('`', quote)).await,
        [
            "t|0|0|u|{\"id\":1}|{\"id\":1,\"name\":\"a\\\"b\"}",
            "t|0|1|u|{\"id\":1}|{\"id\":1,\"name\":null}",
            "t|0|2|d|{\"id\":1}|∅"
        ]
    );
}

/// A column that became `bigint` later than its sequence did, which stays at `integer`.
async fn an_id_that_its_sequence_cannot_give_leaves_the_sequence_alone(target: &mut Target) {
    if target.engine != Engine::Postgres {
        return;
    }
    target
        .run(&[
            "CREATE TABLE users (id serial PRIMARY KEY, name varchar(100))",
            "ALTER TABLE users ALTER COLUMN id TYPE bigint",
        ])
        .await;
    let tables = vec![target.table(0, "users", &["id", "name"], &["id"]).await];
    let mut writer = target.writer(&tables);
    let mut claims = [claim(&mut writer, "t", 0, 1).await];
    let batch =
        Builder::new(&claims, &tables).upsert(0, &[n(3_000_000_000), t("far")]).upsert(0, &[n(5), t("near")]).finish();
    let applied = apply(&mut writer, &mut claims, &batch).await;
    assert_eq!(applied.outcomes[0].1.applied, 2);
    assert_eq!(target.value("SELECT nextval('users_id_seq')").await, "6");
}

/// A target that was restored from a backup has its counter back where it was, and gets the rows again.
async fn a_new_session_moves_counters_again(target: &mut Target) {
    if target.engine != Engine::Postgres {
        return;
    }
    target.run(&["CREATE TABLE users (id bigserial PRIMARY KEY, name varchar(100))"]).await;
    let tables = vec![target.table(0, "users", &["id", "name"], &["id"]).await];
    let mut writer = target.writer(&tables);
    let mut claims = [claim(&mut writer, "t", 0, 1).await];
    for (id, next) in [(10, "11"), (9, "10")] {
        // given a counter at its beginning, when a row brings its id
        target.run(&["ALTER SEQUENCE users_id_seq RESTART"]).await;
        let batch = Builder::new(&claims, &tables).upsert(0, &[n(id), t("far")]).finish();
        apply(&mut writer, &mut claims, &batch).await;
        // then the next one is behind it, whatever an earlier session has seen.
        assert_eq!(target.value("SELECT nextval('users_id_seq')").await, next);
        writer.disconnect();
    }
}

conformance!(
    a_new_session_moves_counters_again,
    an_id_that_its_sequence_cannot_give_leaves_the_sequence_alone,
    upserts_insert_update_and_leave_equal_rows_alone,
    what_only_inserts_write_is_left_alone_where_the_row_is_there,
    deletes_remove_and_absent_rows_are_fine,
    delete_then_insert_in_one_batch_resets_what_only_the_target_has,
    an_unavailable_cell_never_overwrites_a_value,
    a_key_change_renames_and_keeps_children,
    insert_if_absent_counts_what_differs_and_leaves_it,
    a_truncate_empties_the_table_between_its_neighbours,
    composite_keys_and_reserved_names_work,
    history_tables_get_every_change_with_its_place,
);
