//! Rule H2: what waits for another table is due as soon as that table has changed, whatever its delay.

use std::time::Duration;

use topology::ledger::Claim;
use topology::record::{Operation, Position, Source};
use topology::sink::SinkWriter;

use tidelock_connect::sql::writer::SqlWriter;

use crate::batches::{Builder, apply, claim};
use crate::blog::{blog, post, user};
use crate::conformance;
use crate::target::{Engine, SinkTableSet, Target, n};

const HELD: &str = "SELECT entity, state, waits_for FROM tidelock_held ORDER BY entity, waits_for";

/// A user with a post.
async fn start(target: &mut Target) -> (SinkTableSet, SqlWriter, [Claim; 1]) {
    let tables = blog(target).await;
    let mut writer = target.writer(&tables);
    let mut claims = [claim(&mut writer, "t", 0, 1).await];
    let batch = Builder::new(&claims, &tables).upsert(0, &user(1, "a")).upsert(1, &post(1, 1, "first")).finish();
    apply(&mut writer, &mut claims, &batch).await;
    (tables, writer, claims)
}

/// Offsets that are due once their delays can't be the reason.
async fn due_after(
    target: &mut Target,
    writer: &mut SqlWriter,
    claims: &mut [Claim],
    batch: &topology::batch::ChangeBatch,
) -> Vec<i64> {
    target.run(&["UPDATE tidelock_held SET retry_at_ms = 9000000000000000"]).await;
    // Wake-ups are summed up for a while.
    tokio::time::sleep(Duration::from_millis(250)).await;
    apply(writer, claims, batch).await;
    writer.due_held(claims, 10).await.unwrap().iter().map(|row| row.id.offset).collect()
}

async fn a_parent_makes_its_own_children_due_and_no_others(target: &mut Target) {
    let (tables, mut writer, mut claims) = start(target).await;
    // So many that their parents are looked for, and SQLite's are known too.
    let mut builder = Builder::new(&claims, &tables);
    for id in 10..18 {
        builder.upsert(1, &post(id, 7 + id % 2, "orphan"));
    }
    let batch = builder.finish();
    apply(&mut writer, &mut claims, &batch).await;
    assert_eq!(target.rows(HELD).await, vec!["posts|parked|users"; 8]);
    let batch = Builder::new(&claims, &tables).upsert(0, &user(8, "b")).finish();
    assert_eq!(due_after(target, &mut writer, &mut claims, &batch).await, [3, 5, 7, 9]);
}

async fn a_parents_delete_is_due_when_its_children_are_gone(target: &mut Target) {
    let (tables, mut writer, mut claims) = start(target).await;
    let batch = Builder::new(&claims, &tables).delete(0, n(1)).finish();
    apply(&mut writer, &mut claims, &batch).await;
    // SQLite does not say which key refused.
    let (waits_for, woken) = if target.engine == Engine::Sqlite { ("∅", vec![]) } else { ("posts", vec![2]) };
    assert_eq!(target.rows(HELD).await, [format!("users|parked|{waits_for}")]);
    let batch = Builder::new(&claims, &tables).delete(1, n(1)).finish();
    assert_eq!(due_after(target, &mut writer, &mut claims, &batch).await, woken);
}

async fn half_a_key_change_that_lacks_a_parent_is_due_when_that_comes(target: &mut Target) {
    let (tables, mut writer, mut claims) = start(target).await;
    let place = Source { identity: 5, position: Some(Position(1, 2, 3)), committed_at_us: 9, ..Source::default() };
    let mut builder = Builder::new(&claims, &tables);
    let new_key = builder.key(&[n(2)]);
    let record = builder.record(0, 1, Operation::Delete, &[n(1)], None);
    (record.new_key, record.source) = (Some(new_key), place);
    let batch = builder.finish();
    apply(&mut writer, &mut claims, &batch).await;
    let mut builder = Builder::new(&claims, &tables);
    let old_key = builder.key(&[n(1)]);
    let record = builder.record(0, 1, Operation::Create, &[n(2)], Some(&post(2, 7, "moved")));
    (record.old_key, record.source) = (Some(old_key), place);
    let batch = builder.finish();
    // The half that waited is to go on (rule B5).
    assert!(due_after(target, &mut writer, &mut claims, &batch).await.contains(&2));
    let held = target.rows(HELD).await;
    assert_eq!(held.len(), 2, "{held:?}");
    let woken = if target.engine == Engine::Sqlite {
        vec![]
    } else {
        assert!(held.contains(&"posts|parked|users".to_owned()), "{held:?}");
        vec![3]
    };
    let batch = Builder::new(&claims, &tables).upsert(0, &user(7, "b")).finish();
    assert_eq!(due_after(target, &mut writer, &mut claims, &batch).await, woken);
}

conformance!(
    a_parent_makes_its_own_children_due_and_no_others,
    a_parents_delete_is_due_when_its_children_are_gone,
    half_a_key_change_that_lacks_a_parent_is_due_when_that_comes
);
