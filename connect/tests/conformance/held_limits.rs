//! Rules H5, E3: how much may wait, how long, and how often it is tried.

use topology::ErrorKind;
use topology::batch::HeldId;
use topology::record::Operation;
use topology::sink::SinkWriter;

use tidelock_connect::sql::writer::HeldLimits;

use crate::batches::{Builder, apply, claim, task};
use crate::blog::{bad_user, blog, post, user};
use crate::conformance;
use crate::dlq::{SLOW, due, release, states};
use crate::target::{Target, n};

async fn a_unique_violation_is_tried_at_once_after_one_and_after_two_seconds_and_is_then_dead(target: &mut Target) {
    let mut tables = blog(target).await;
    let limits = HeldLimits { retry_first_ms: 1000, attempts_max: Some(3), ..HeldLimits::default() };
    tables[0].held = Some(limits);
    let mut writer = target.writer_with(&tables, SLOW);
    let mut claims = [claim(&mut writer, "t", 0, 1).await];
    let batch = Builder::new(&claims, &tables).upsert(0, &user(1, "taken")).finish();
    apply(&mut writer, &mut claims, &batch).await;
    let batch = Builder::new(&claims, &tables).upsert(0, &user(2, "taken")).upsert(1, &post(1, 9, "orphan")).finish();
    apply(&mut writer, &mut claims, &batch).await;
    let wait = "SELECT attempts, retry_at_ms - first_failed_at_ms FROM tidelock_held WHERE entity = 'users'";
    assert_eq!(target.rows(wait).await, ["1|1000"]);
    let again = [(1, 0, user(2, "taken").to_vec())];
    let set = |what: &str| format!("UPDATE tidelock_held SET retry_at_ms = 0{what} WHERE entity = 'users'");
    let one_second_later = set(", first_failed_at_ms = first_failed_at_ms - 1000");
    target.run(&[&one_second_later]).await;
    release(&mut writer, &claims, &tables, &again).await;
    let second: Vec<String> = target.rows(wait).await[0].split('|').map(str::to_owned).collect();
    assert_eq!(second[0], "2");
    let waited: i64 = second[1].parse().unwrap();
    assert!((3000..60_000).contains(&waited), "two seconds after the second try: {waited}");
    // A try that something else caused is none of the three.
    target.run(&[&set("")]).await;
    release(&mut writer, &claims, &tables, &again).await;
    assert!(target.rows(wait).await[0].starts_with("3|"));
    target.run(&["UPDATE tidelock_held SET attempts = 2 WHERE entity = 'users'"]).await;
    target.run(&[&one_second_later, &one_second_later]).await;
    release(&mut writer, &claims, &tables, &again).await;
    assert_eq!(
        target.rows("SELECT entity, state, class, attempts FROM tidelock_held ORDER BY 1").await,
        ["posts|parked|dependency|1", "users|dead|dependency|3"],
        "the other entity has the usual limits"
    );
}

async fn a_row_that_may_be_tried_once_is_dead_at_once(target: &mut Target) {
    let mut tables = blog(target).await;
    tables[0].held = Some(HeldLimits { attempts_max: Some(1), ..HeldLimits::default() });
    let mut writer = target.writer(&tables);
    let mut claims = [claim(&mut writer, "t", 0, 1).await];
    let batch = Builder::new(&claims, &tables)
        .upsert(0, &user(1, "taken"))
        .upsert(0, &user(2, "taken"))
        .upsert(0, &user(3, "free"))
        .finish();
    let applied = apply(&mut writer, &mut claims, &batch).await;
    assert_eq!((applied.outcomes[0].1.applied, applied.outcomes[0].1.dead), (2, 1));
    assert_eq!(states(target).await, ["1|dead|∅"]);
}

async fn where_too_much_waits_the_partition_pauses_until_there_is_room(target: &mut Target) {
    let tables = blog(target).await;
    let limits = HeldLimits { rows_max: 2, ..HeldLimits::default() };
    let mut writer = target.writer_with(&tables, limits);
    let mut claims = [claim(&mut writer, "posts", 0, 1).await, claim(&mut writer, "users", 0, 1).await];
    let orphan = |builder: &mut Builder<'_>, id: i64| {
        builder.record(0, 1, Operation::Create, &[n(id)], Some(&post(id, 7, "orphan")));
    };
    let mut builder = Builder::new(&claims, &tables);
    (1..=3).for_each(|id| orphan(&mut builder, id));
    let applied = apply(&mut writer, &mut claims, &builder.finish()).await;
    assert!(applied.paused.is_empty(), "no batch is too large to ever fit");

    // Another worker finds it full too; the other partition flows.
    let mut writer = target.writer_with(&tables, limits);
    claims = [claim(&mut writer, "posts", 0, 2).await, claim(&mut writer, "users", 0, 2).await];
    let mut builder = Builder::new(&claims, &tables);
    orphan(&mut builder, 4);
    builder.record(1, 0, Operation::Create, &[n(1)], Some(&user(1, "flows")));
    let applied = apply(&mut writer, &mut claims, &builder.finish()).await;
    assert_eq!(applied.paused.len(), 1);
    let (paused, error) = &applied.paused[0];
    assert_eq!(
        (paused, error.kind, error.code.as_deref()),
        (&task("posts", 0), ErrorKind::Dependency, Some("parked-full"))
    );
    assert!(error.detail.contains("3 rows"), "{error}");
    assert_eq!((claims[0].next_offset, claims[1].next_offset), (3, 1));
    assert_eq!(target.value("SELECT COUNT(*) FROM tidelock_held").await, "3");

    // The parent comes, and there is room.
    target.run(&["INSERT INTO users VALUES (7, 'author', 'a')", "UPDATE tidelock_held SET retry_at_ms = 0"]).await;
    let ids: Vec<HeldId> =
        due(&mut writer, &claims[..1]).await.iter().map(|at| HeldId { offset: *at, ordinal: 0 }).collect();
    let mut builder = Builder::new(&claims[..1], &tables);
    (1..=3).for_each(|id| orphan(&mut builder, id));
    writer.apply(&builder.finish_release(&ids)).await.unwrap();
    let mut builder = Builder::new(&claims, &tables);
    builder.record(0, 1, Operation::Create, &[n(4)], Some(&post(4, 9, "next")));
    let applied = apply(&mut writer, &mut claims, &builder.finish()).await;
    assert!(applied.paused.is_empty());
    assert_eq!(target.rows("SELECT state FROM tidelock_held").await, ["parked"]);
}

async fn bytes_that_wait_are_limited_too(target: &mut Target) {
    let tables = blog(target).await;
    let mut writer = target.writer_with(&tables, HeldLimits { bytes_max: 10, ..HeldLimits::default() });
    let mut claims = [claim(&mut writer, "posts", 0, 1).await];
    let batch = Builder::new(&claims, &tables).upsert(1, &post(1, 7, "orphan")).finish();
    apply(&mut writer, &mut claims, &batch).await;
    let batch = Builder::new(&claims, &tables).upsert(1, &post(2, 7, "orphan")).finish();
    assert_eq!(apply(&mut writer, &mut claims, &batch).await.paused.len(), 1);
}

async fn history_is_deleted_when_it_is_old(target: &mut Target) {
    let tables = blog(target).await;
    let limits = HeldLimits { superseded_kept_ms: Some(60_000), ..HeldLimits::default() };
    let mut writer = target.writer_with(&tables, limits);
    let mut claims = [claim(&mut writer, "t", 0, 1).await];
    let batch = Builder::new(&claims, &tables).upsert(0, &bad_user(1, "a")).upsert(0, &bad_user(2, "b")).finish();
    apply(&mut writer, &mut claims, &batch).await;
    let batch = Builder::new(&claims, &tables).upsert(0, &user(1, "c")).finish();
    apply(&mut writer, &mut claims, &batch).await;
    target.run(&["UPDATE tidelock_held SET first_failed_at_ms = first_failed_at_ms - 61000"]).await;
    writer.held_counts(&claims).await.unwrap();
    assert_eq!(states(target).await, ["1|dead|∅"], "what is dead stays until somebody decides");
}

conformance!(
    a_unique_violation_is_tried_at_once_after_one_and_after_two_seconds_and_is_then_dead,
    a_row_that_may_be_tried_once_is_dead_at_once,
    where_too_much_waits_the_partition_pauses_until_there_is_room,
    bytes_that_wait_are_limited_too,
    history_is_deleted_when_it_is_old,
);
