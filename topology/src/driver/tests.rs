mod generations;
mod idle;

use super::*;
use crate::batch::WriteMode;
use crate::data::Value;
use crate::error::ErrorKind;
use crate::record::{Operation, Position};

const SECOND: Duration = Duration::from_secs(1);

fn row(id: i64, name: &str) -> Vec<Value> {
    vec![Value::I64(id), name.into()]
}

/// An upsert at a place of the source's log.
fn upsert(at: u64, id: i64, name: &str) -> TestRecord {
    TestRecord { operation: Operation::Update, key: vec![Value::I64(id)], after: Some(row(id, name)), ..delete(at, id) }
}

fn delete(at: u64, id: i64) -> TestRecord {
    TestRecord {
        operation: Operation::Delete,
        key: vec![Value::I64(id)],
        identity: 1,
        position: Some(Position(1, at, 0)),
        committed_at_us: at as i64,
        ..TestRecord::default()
    }
}

/// Both halves of a key change.
fn key_change(at: u64, old: i64, new: i64, name: &str) -> [TestRecord; 2] {
    [
        TestRecord { new_key: Some(vec![Value::I64(new)]), ..delete(at, old) },
        TestRecord { operation: Operation::Create, old_key: Some(vec![Value::I64(old)]), ..upsert(at, new, name) },
    ]
}

fn users(partitions: i32) -> TestDriver {
    TestDriver::new(one_table("users", &["id", "name"], 1), &[partitions])
}

/// A history table, in which a repeat would show.
fn history(partitions: i32) -> TestDriver {
    let mut direction = one_table("users", &["id", "name"], 1);
    direction.settings.tables[0].mode = WriteMode::Append;
    TestDriver::new(direction, &[partitions])
}

fn offsets(driver: &TestDriver) -> Vec<(i32, i64)> {
    let mut seen: Vec<_> = driver.target().history().iter().map(|row| (row.partition, row.offset)).collect();
    seen.sort_unstable();
    seen
}

/// Fails the first statement of this kind.
fn once(statement: Statement, fault: Fault) -> FaultScript {
    let mut left = Some(fault);
    Box::new(move |at| if at == statement { left.take() } else { None })
}

#[test]
fn changes_of_several_partitions_reach_the_target_and_gaps_do_not_matter() {
    let mut driver = users(3);
    driver.start_worker();
    for id in 0..9 {
        driver.produce(0, (id % 3) as i32, &upsert(id as u64, id, "x"));
        driver.produce_gap(0, (id % 3) as i32);
    }
    driver.run();
    assert_eq!(driver.target().rows("users").len(), 9);
    assert!(driver.target().ledger().values().all(|row| row.next_offset == 5));
}

#[test]
fn a_lost_reply_to_commit_and_a_lost_commit_both_apply_once() {
    for fault in [Fault::LoseReply, Fault::Cut, Fault::Reject(ErrorKind::Transient)] {
        let mut driver = history(1);
        driver.start_worker();
        driver.run();
        driver.target().script(once(Statement::Commit, fault));
        for at in 0..3 {
            driver.produce(0, 0, &upsert(at, 1, "x"));
        }
        driver.advance(10 * SECOND);
        assert_eq!(offsets(&driver), [(0, 0), (0, 1), (0, 2)], "{fault:?}");
    }
}

#[test]
fn a_target_that_is_down_for_long_loses_and_doubles_nothing() {
    let mut driver = history(2);
    driver.start_worker();
    driver.target().down();
    driver.produce(0, 0, &upsert(1, 1, "x"));
    driver.advance(100 * SECOND);
    driver.target().up();
    driver.advance(40 * SECOND);
    driver.produce(0, 1, &upsert(2, 2, "x"));
    driver.run();
    assert_eq!(offsets(&driver), [(0, 0), (1, 0)]);
}

#[test]
fn a_worker_killed_at_any_step_leaves_its_work_to_its_heir() {
    for steps in 0..40 {
        let mut driver = history(2);
        let victim = driver.start_worker();
        let heir = driver.start_worker();
        for at in 0..6 {
            driver.produce(0, at as i32 % 2, &upsert(at, at as i64, "x"));
        }
        for _ in 0..steps {
            driver.step(victim);
        }
        driver.kill(victim, Some(heir));
        driver.advance(SECOND);
        assert_eq!(offsets(&driver).len(), 6, "after {steps} steps");
    }
}

#[test]
fn a_zombie_is_fenced_and_its_heir_goes_on() {
    for steps in 0..40 {
        let mut driver = history(1);
        let zombie = driver.start_worker();
        let heir = driver.start_worker();
        for at in 0..6 {
            driver.produce(0, 0, &upsert(at, at as i64, "x"));
        }
        for _ in 0..steps {
            driver.step(zombie);
        }
        driver.expel(zombie, heir);
        driver.advance(SECOND);
        driver.produce(0, 0, &upsert(9, 9, "x"));
        driver.advance(60 * SECOND);
        assert_eq!(offsets(&driver).len(), 7, "after {steps} steps");
    }
}

#[test]
fn a_withheld_reply_of_a_zombies_commit_is_settled_by_the_claim_of_its_heir() {
    let mut driver = history(1);
    let zombie = driver.start_worker();
    driver.run();
    driver.target().script(once(Statement::Commit, Fault::WithholdReply));
    driver.produce(0, 0, &upsert(1, 1, "x"));
    driver.run();
    let heir = driver.start_worker();
    driver.expel(zombie, heir);
    driver.run();
    driver.target().release_replies();
    driver.produce(0, 0, &upsert(2, 2, "x"));
    driver.advance(60 * SECOND);
    assert_eq!(offsets(&driver), [(0, 0), (0, 1)]);
}

#[test]
fn a_child_waits_for_its_parent_and_its_later_changes_wait_behind_it() {
    let direction = mirror(&[("parents", &["id"], 1), ("children", &["id", "name", "parent"], 1)]);
    let mut driver = TestDriver::new(direction, &[1, 1]);
    driver.target().add_reference("children", 2, "parents");
    driver.start_worker();
    let child = |at, name: &str, parent: i64| TestRecord {
        after: Some(vec![Value::I64(1), name.into(), Value::I64(parent)]),
        ..upsert(at, 1, name)
    };
    driver.produce(1, 0, &child(1, "first", 5));
    driver.run();
    driver.produce(1, 0, &child(2, "second", 5));
    driver.advance(2 * SECOND);
    assert_eq!(driver.target().held().len(), 2);
    driver.produce(0, 0, &TestRecord { after: Some(vec![Value::I64(5)]), ..upsert(3, 5, "") });
    driver.advance(70 * SECOND);
    assert_eq!(driver.target().rows("children"), [[Value::I64(1), "second".into(), Value::I64(5)]]);
    assert!(driver.target().held().is_empty());
}

#[test]
fn a_row_the_target_refuses_is_kept_as_dead_and_the_others_flow() {
    let mut driver = users(1);
    driver.target().refuse("bad");
    driver.start_worker();
    for (at, name) in ["good", "bad", "fine"].into_iter().enumerate() {
        driver.produce(0, 0, &upsert(at as u64, at as i64, name));
    }
    driver.run();
    assert_eq!(driver.target().rows("users"), [row(0, "good"), row(2, "fine")]);
    let held = driver.target().held();
    assert_eq!(held.values().map(|entry| entry.state).collect::<Vec<_>>(), [HeldState::Dead]);
}

/// Rule B5: key 1 lives on partition 0, key 2 on partition 1; another lane is ahead on either.
fn lagging(first: i32) -> TestDriver {
    let mut driver = users(2);
    driver.start_worker();
    driver.produce(0, 0, &upsert(1, 1, "v1"));
    driver.run();
    let [gone, come] = key_change(3, 1, 2, "v3");
    let of_old = [upsert(2, 1, "v2"), gone];
    let of_new = [come, upsert(4, 2, "v4"), delete(5, 2)];
    let (ahead, late) = if first == 0 { (&of_old[..], &of_new[..]) } else { (&of_new[..], &of_old[..]) };
    for (partition, records) in [(first, ahead), (1 - first, late)] {
        for record in records {
            driver.produce(0, partition, record);
            driver.run();
            assert!(driver.target().rows("users").len() <= 1);
        }
    }
    driver.advance(10 * SECOND);
    driver
}

#[test]
fn a_key_change_whose_old_key_lags_resurrects_nothing() {
    let driver = lagging(1);
    assert_eq!(driver.target().rows("users"), Vec::<Vec<Value>>::new());
    assert!(driver.target().words().is_empty() && driver.target().held().is_empty());
}

#[test]
fn a_key_change_whose_new_key_lags_ends_the_same() {
    let driver = lagging(0);
    assert_eq!(driver.target().rows("users"), Vec::<Vec<Value>>::new());
    assert!(driver.target().words().is_empty() && driver.target().held().is_empty());
}

fn child(at: u64, id: i64, parent: i64) -> TestRecord {
    let after = Some(vec![Value::I64(id), "child".into(), Value::I64(parent)]);
    TestRecord { after, ..upsert(at, id, "") }
}

fn parent(at: u64, id: i64) -> TestRecord {
    TestRecord { after: Some(vec![Value::I64(id)]), ..upsert(at, id, "") }
}

/// Topic 0 has parents, topic 1 their children.
fn family() -> TestDriver {
    let direction = mirror(&[("parents", &["id"], 1), ("children", &["id", "name", "parent"], 1)]);
    let driver = TestDriver::new(direction, &[2, 1]);
    driver.target().add_reference("children", 2, "parents");
    driver
}

#[test]
fn the_release_of_a_held_row_leaves_the_dedupe_marks_of_its_task_as_they_are() {
    let mut driver = family();
    driver.start_worker();
    driver.produce(0, 0, &parent(1, 1));
    driver.produce(1, 0, &child(2, 1, 5));
    driver.run();
    driver.produce(1, 0, &child(3, 2, 1));
    driver.run();
    let before = driver.target().ledger();
    driver.produce(0, 1, &parent(4, 5));
    driver.advance(5 * SECOND);
    assert_eq!(driver.target().rows("children").len(), 2);
    let after = driver.target().ledger();
    let children = |ledger: &BTreeMap<crate::ledger::TaskKey, crate::ledger::LedgerRow>| {
        ledger.values().find(|row| row.next_offset == 2).map(|row| (row.marks.clone(), row.tail_hash))
    };
    assert_eq!(children(&before), children(&after));
}

#[test]
fn several_partitions_of_a_missing_table_wait_and_go_on_by_themselves() {
    let mut driver = family();
    driver.start_worker();
    driver.run();
    driver.target().drop_table("parents");
    for id in 0..2 {
        driver.produce(0, id as i32, &parent(1 + id, id as i64));
    }
    driver.produce(1, 0, &TestRecord { after: Some(vec![Value::I64(1), "x".into(), Value::Null]), ..upsert(9, 1, "") });
    driver.advance(SECOND);
    assert_eq!(driver.target().rows("children").len(), 1);
    driver.target().create_table("parents");
    driver.advance(60 * SECOND);
    assert_eq!(driver.target().rows("parents").len(), 2);
}

#[test]
fn a_claim_that_a_revoke_overtook_is_not_made() {
    let mut driver = users(2);
    let first = driver.start_worker();
    driver.run();
    driver.target().down();
    driver.produce(0, 0, &upsert(1, 1, "x"));
    driver.run();
    // While the lane waits for the target, it gets the other partition and loses it again.
    let second = driver.start_worker();
    driver.assign(0, 1, second);
    driver.run();
    driver.assign(0, 1, first);
    driver.run();
    driver.assign(0, 1, second);
    driver.run();
    driver.kill(second, None);
    driver.target().up();
    let epochs = |driver: &TestDriver| {
        let ledger = driver.target().ledger();
        ledger.into_iter().map(|(task, row)| (task.partition, row.epoch)).collect::<Vec<_>>()
    };
    let before = epochs(&driver);
    driver.advance(60 * SECOND);
    assert_eq!(driver.target().rows("users").len(), 1);
    assert_eq!(epochs(&driver), before);
}

#[test]
fn a_commit_that_arrives_after_its_lane_lost_another_partition_breaks_nothing() {
    let mut driver = history(2);
    let first = driver.start_worker();
    let second = driver.start_worker();
    driver.run();
    driver.target().let_orphans_linger(true);
    driver.produce(0, 0, &upsert(1, 1, "x"));
    driver.produce(0, 1, &upsert(2, 2, "x"));
    // The connection breaks while COMMIT is under way, then the target is unreachable while the claim would settle it.
    driver.target().script(Box::new({
        let mut is_lost = false;
        move |statement| {
            is_lost |= statement == Statement::Commit;
            (is_lost && statement == Statement::Commit)
                .then_some(Fault::LoseReply)
                .or(is_lost.then_some(Fault::Reject(ErrorKind::Environment)))
        }
    }));
    driver.run();
    driver.assign(0, 1, second);
    driver.produce(0, 0, &upsert(3, 1, "y"));
    driver.advance(5 * SECOND);
    driver.target().script(Box::new(|_| None));
    driver.target().let_orphans_linger(false);
    for at in 4..6 {
        driver.produce(0, 0, &upsert(at, 1, "y"));
        driver.advance(20 * SECOND);
    }
    assert_eq!(offsets(&driver), [(0, 0), (0, 1), (0, 2), (0, 3), (1, 0)]);
    assert_eq!(driver.listener().heard(|heard| heard.broken.clone()), Vec::<&str>::new());
    let _ = first;
}

#[test]
fn a_half_of_a_key_change_whose_other_half_never_comes_gives_up_after_minutes() {
    let mut driver = users(2);
    driver.start_worker();
    driver.produce(0, 0, &upsert(1, 1, "x"));
    let [gone, come] = key_change(2, 1, 2, "moved");
    driver.produce(0, 0, &gone);
    driver.advance(100 * SECOND);
    assert_eq!(driver.target().rows("users"), [row(1, "x")]);
    driver.advance(300 * SECOND);
    assert_eq!(driver.target().rows("users"), Vec::<Vec<Value>>::new());
    // It comes after all, hours later: nothing to wait for.
    driver.produce(0, 1, &come);
    driver.advance(SECOND);
    assert_eq!(driver.target().rows("users"), [row(2, "moved")]);
    assert!(driver.target().words().is_empty() && driver.target().held().is_empty());
}

#[test]
fn cells_that_the_source_did_not_send_come_with_the_row_that_moves() {
    let mut driver = users(2);
    driver.start_worker();
    driver.produce(0, 0, &upsert(1, 1, "old"));
    driver.run();
    let [gone, mut come] = key_change(3, 1, 2, "");
    come.after = Some(vec![Value::I64(2), Value::Unavailable]);
    driver.produce(0, 1, &come);
    driver.run();
    // The old key lags: this change belongs to the row that will move.
    driver.produce(0, 0, &upsert(2, 1, "new"));
    driver.produce(0, 0, &gone);
    driver.advance(5 * SECOND);
    assert_eq!(driver.target().rows("users"), [row(2, "new")]);
}

#[test]
fn an_observer_hears_outcomes_and_a_schema_is_fetched_once_it_is_needed() {
    let mut driver = users(1);
    driver.start_worker();
    driver.produce(0, 0, &TestRecord { schema: 7, ..upsert(1, 1, "x") });
    driver.produce(0, 0, &TestRecord { schema: 7, ..upsert(1, 1, "x") });
    driver.run();
    let count = |name| {
        let key = (EntityId(0), name);
        driver.listener().heard(|heard| heard.outcomes.get(&key).copied().unwrap_or_default())
    };
    assert_eq!([count("applied"), count("duplicate")], [1, 1]);
}

#[test]
fn held_rows_are_tried_again_while_batches_keep_coming() {
    let tables: [(&str, &[&str], usize); 2] = [("parents", &["id"], 1), ("children", &["id", "parent"], 1)];
    let mut driver = TestDriver::new(mirror(&tables), &[1, 1]);
    driver.target().add_reference("children", 1, "parents");
    driver.start_worker();
    let created = |at, row: Vec<Value>| TestRecord {
        operation: Operation::Create,
        key: vec![row[0].clone()],
        after: Some(row),
        ..delete(at, 0)
    };
    driver.produce(1, 0, &created(1, vec![Value::I64(5), Value::I64(0)]));
    driver.run();
    assert_eq!(driver.target().held().len(), 1);
    // A record every tenth of a second, for two seconds: the writer is never without a request for as long as it waits when idle.
    for at in 0..20 {
        driver.produce(0, 0, &created(2 + at, vec![Value::I64(at as i64)]));
        driver.advance(SECOND / 10);
    }
    assert_eq!(driver.target().held().len(), 0);
}

/// A history of events that processors have seen once, by their name.
fn seen_once(kept: u64) -> TestDriver {
    let mut direction = one_table("events", &["id", "name"], 1);
    direction.settings.tables[0].mode = WriteMode::Append;
    let topic = direction.topics[0].name.clone();
    direction.topology = Arc::new(move || {
        let seen = Box::new(crate::seen::SeenBefore::new(&["name"], kept));
        let graph = Topology::builder().source("source", &[&topic]).dedupe("once", "source", seen);
        graph.sink("target", "once").build().expect("a straight graph")
    });
    TestDriver::new(direction, &[1])
}

fn event(id: i64, name: &str) -> TestRecord {
    TestRecord { position: None, ..upsert(1, id, name) }
}

#[test]
fn what_a_processor_remembers_is_never_ahead_of_the_rows_and_never_behind() {
    for fault in [Fault::LoseReply, Fault::Cut, Fault::Reject(ErrorKind::Transient)] {
        let mut driver = seen_once(100);
        let first = driver.start_worker();
        driver.produce(0, 0, &event(1, "a"));
        driver.run();
        // The transaction of the next ones is lost, or its reply; then the worker is killed and another one goes on.
        driver.target().script(once(Statement::Commit, fault));
        driver.produce(0, 0, &event(2, "b"));
        driver.produce(0, 0, &event(3, "a"));
        driver.run();
        let second = driver.start_worker();
        driver.kill(first, Some(second));
        driver.produce(0, 0, &event(4, "b"));
        driver.produce(0, 0, &event(5, "c"));
        driver.advance(60 * SECOND);
        assert_eq!(offsets(&driver), [(0, 0), (0, 1), (0, 4)], "{fault:?}: each name once, and none lost");
    }
}

#[test]
fn a_processor_forgets_the_oldest_when_it_remembers_as_many_as_it_may() {
    let mut driver = seen_once(2);
    driver.start_worker();
    for (id, name) in ["a", "b", "b", "c", "b", "a"].iter().enumerate() {
        driver.produce(0, 0, &event(id as i64, name));
    }
    driver.run();
    assert_eq!(offsets(&driver), [(0, 0), (0, 1), (0, 3), (0, 5)], "a was forgotten when c came");
}

#[test]
fn a_held_row_that_is_tried_again_is_not_taken_for_a_repeat() {
    let tables: [(&str, &[&str], usize); 2] = [("parents", &["id"], 1), ("children", &["id", "parent"], 1)];
    let mut direction = mirror(&tables);
    let topics: Vec<String> = direction.topics.iter().map(|topic| topic.name.clone()).collect();
    direction.topology = Arc::new(move || {
        let seen = Box::new(crate::seen::SeenBefore::new(&["id"], 100));
        let graph = Topology::builder().source("parents", &[&topics[0]]).sink("parents.target", "parents");
        let graph = graph.source("children", &[&topics[1]]).dedupe("once", "children", seen);
        graph.sink("children.target", "once").build().expect("two straight graphs")
    });
    let mut driver = TestDriver::new(direction, &[1, 1]);
    driver.target().add_reference("children", 1, "parents");
    driver.start_worker();
    let created = |row: Vec<Value>| TestRecord { key: vec![row[0].clone()], after: Some(row), ..TestRecord::default() };
    driver.produce(1, 0, &created(vec![Value::I64(5), Value::I64(9)]));
    driver.run();
    assert_eq!(driver.target().held().len(), 1);
    driver.produce(0, 0, &created(vec![Value::I64(9)]));
    driver.advance(10 * SECOND);
    assert_eq!(driver.target().rows("children").len(), 1);
}
