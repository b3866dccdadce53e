//! Topics that grow, and keys that get another schema id (rule A6).

use super::*;

#[test]
fn records_of_a_partition_that_came_later_wait_until_the_old_ones_are_applied() {
    let mut driver = users(1);
    let worker = driver.start_worker();
    driver.produce(0, 0, &upsert(1, 1, "old"));
    driver.run();
    // The target does not take the next one for a while; its key then moves to a new partition.
    driver.target().down();
    driver.produce(0, 0, &upsert(2, 1, "older"));
    driver.grow(0, 2, worker);
    driver.produce(0, 1, &upsert(3, 1, "newest"));
    driver.advance(3 * SECOND);
    driver.target().up();
    driver.advance(60 * SECOND);
    assert_eq!(driver.target().rows("users"), [row(1, "newest")]);
    let ledger = driver.target().ledger();
    let generation = |partition: i32| ledger.iter().find(|(task, _)| task.partition == partition).unwrap().1.generation;
    assert_eq!((generation(0).partitions, generation(1).partitions, generation(1).grown_from), (1, 2, 0));
}

#[test]
fn a_new_partition_waits_for_held_rows_of_its_topic() {
    let tables: [(&str, &[&str], usize); 2] = [("parents", &["id"], 1), ("children", &["id", "parent"], 1)];
    let mut driver = TestDriver::new(mirror(&tables), &[1, 1]);
    driver.target().add_reference("children", 1, "parents");
    let worker = driver.start_worker();
    let child = |at, id, parent| {
        let after = Some(vec![Value::I64(id), Value::I64(parent)]);
        TestRecord { operation: Operation::Create, key: vec![Value::I64(id)], after, ..delete(at, id) }
    };
    let parent =
        |at, id| TestRecord { after: Some(vec![Value::I64(id)]), operation: Operation::Create, ..delete(at, id) };
    driver.produce(0, 0, &parent(1, 1));
    driver.produce(1, 0, &child(2000, 5, 9));
    driver.run();
    assert_eq!(driver.target().held().len(), 1, "its parent is not there");
    driver.grow(1, 2, worker);
    driver.produce(1, 1, &child(9000, 6, 1));
    driver.advance(5 * SECOND);
    assert!(driver.target().rows("children").is_empty(), "it waits");
    driver.produce(0, 0, &parent(4, 9));
    driver.advance(60 * SECOND);
    assert_eq!(driver.target().rows("children").len(), 2);
}

#[test]
fn records_with_another_key_schema_wait_until_every_partition_is_there_and_workers_do_not_wait_for_each_other_for_ever()
{
    let mut driver = users(2);
    let (one, two) = (driver.start_worker(), driver.start_worker());
    driver.assign(0, 1, two);
    let of = |schema, at, id, name: &str| TestRecord { key_schema: Some(schema), ..upsert(at, id, name) };
    driver.produce(0, 0, &of(7, 1, 1, "first"));
    driver.produce(0, 1, &of(7, 2, 2, "first"));
    driver.run();
    // Both partitions hold old and new keys; key 1 moves from the first to the second. Worker one does not get to run.
    driver.produce(0, 0, &of(7, 3, 1, "second"));
    driver.produce(0, 0, &of(8, 5, 2, "third"));
    driver.produce(0, 1, &of(8, 4, 1, "third"));
    for _ in 0..50 {
        driver.step(two);
    }
    assert_eq!(driver.target().rows("users")[0], row(1, "first"), "the other partition is not there yet");
    driver.advance(10 * SECOND);
    assert_eq!(driver.target().rows("users"), [row(1, "third"), row(2, "third")]);
    let ledger = driver.target().ledger();
    assert!(ledger.values().all(|row| (row.generation.key_schema, row.generation.waits) == (Some(8), None)));
    let _ = one;
}

#[test]
fn a_new_partition_waits_for_older_halves_of_key_changes_and_for_what_queues_behind_them() {
    let mut driver = users(1);
    let worker = driver.start_worker();
    // The other half was filtered, say, so this one waits until it gives up; a later change of its key waits behind it.
    let [_, half] = key_change(2000, 1, 2, "came");
    driver.produce(0, 0, &half);
    driver.produce(0, 0, &upsert(4000, 2, "older"));
    driver.run();
    assert_eq!(driver.target().held().len(), 2);
    driver.grow(0, 2, worker);
    driver.produce(0, 1, &upsert(9000, 2, "newest"));
    driver.advance(30 * SECOND);
    assert!(driver.target().rows("users").is_empty(), "it waits");
    driver.advance(400 * SECOND);
    assert_eq!(driver.target().rows("users"), [row(2, "newest")]);
}

#[test]
fn a_new_partition_waits_for_another_new_one_when_the_keys_have_another_schema_by_then() {
    let of = |schema, at, id, name: &str| TestRecord { key_schema: Some(schema), ..upsert(at, id, name) };
    let mut driver = users(1);
    let (one, two) = (driver.start_worker(), driver.start_worker());
    driver.produce(0, 0, &of(7, 1000, 1, "first"));
    driver.run();
    // Key 1 moves to a new partition as the topic grows, and then with its schema to another new one, whose worker is ahead.
    driver.grow(0, 4, one);
    driver.assign(0, 3, two);
    driver.run();
    driver.target().down();
    driver.produce(0, 2, &of(7, 2000, 1, "second"));
    driver.produce(0, 3, &of(8, 3000, 1, "third"));
    driver.target().up();
    for _ in 0..100 {
        driver.step(two);
    }
    assert_eq!(driver.target().rows("users"), [row(1, "first")], "the other one is not there yet");
    driver.advance(10 * SECOND);
    assert_eq!(driver.target().rows("users"), [row(1, "third")]);
}

#[test]
fn the_first_record_of_a_new_partition_does_not_wait_for_its_own_other_half() {
    let mut driver = users(1);
    let worker = driver.start_worker();
    driver.produce(0, 0, &upsert(1000, 1, "here"));
    driver.run();
    driver.grow(0, 2, worker);
    let [gone, came] = key_change(2000, 1, 2, "there");
    driver.produce(0, 0, &gone);
    driver.run();
    assert_eq!(driver.target().held().len(), 1, "the first half waits");
    // Sent some milliseconds later.
    let mut bytes = came.encode();
    bytes.timestamp_ms = 9;
    driver.broker.produce((0, 1), bytes);
    driver.advance(30 * SECOND);
    assert_eq!(driver.target().rows("users"), [row(2, "there")]);
    assert!(driver.target().held().is_empty());
}
