//! What a lane notices and shows where no batch tells: a quiet partition, a lane without partitions, an error that has passed.

use super::*;
use crate::observe::LaneState;
use crate::sink::HeldCounts;

#[test]
fn an_idle_lane_notices_that_the_target_was_restored() {
    let mut driver = users(1);
    driver.start_worker();
    driver.run();
    let backup = driver.target().backup();
    driver.produce(0, 0, &upsert(1, 1, "x"));
    driver.run();
    driver.target().restore(&backup);
    driver.advance(15 * SECOND);
    assert_eq!(driver.target().rows("users"), [row(1, "x")]);
}

#[test]
fn a_busy_lane_notices_that_its_quiet_partition_went_back() {
    // given a lane with two partitions, and a target that loses its last commits, as at a fail-over
    let mut driver = users(2);
    driver.start_worker();
    driver.run();
    let backup = driver.target().backup();
    driver.produce(0, 1, &upsert(1, 100, "quiet"));
    driver.run();
    driver.target().restore(&backup);
    // when records come in the other partition only, many a second
    for at in 0..40 {
        driver.produce(0, 0, &upsert(2 + at, at as i64, "busy"));
        driver.advance(SECOND / 2);
    }
    // then
    assert!(driver.target().rows("users").contains(&row(100, "quiet")));
}

#[test]
fn a_lane_that_lost_its_partitions_shows_no_held_rows() {
    // given a lane with a row that waits
    let mut driver = family();
    driver.start_worker();
    driver.run();
    driver.produce(1, 0, &child(1, 1, 7));
    driver.advance(SECOND);
    let waits = HeldCounts { parked: 1, ..HeldCounts::default() };
    assert_eq!(driver.listener().heard(|heard| heard.held.last().copied()), Some(waits));
    // when another one gets all that it has, then it counts what is not its own any more as nothing
    let second = driver.start_worker();
    driver.target().down();
    for (topic, partition) in [(0, 0), (0, 1), (1, 0)] {
        driver.assign(topic, partition, second);
    }
    driver.advance(SECOND);
    assert_eq!(driver.listener().heard(|heard| heard.held.last().copied()), Some(HeldCounts::default()));
}

#[test]
fn an_error_while_held_rows_are_read_is_over_when_it_is_over() {
    // given an idle lane with a row that waits, whose target refuses to read
    let mut driver = family();
    driver.start_worker();
    driver.run();
    driver.produce(1, 0, &child(1, 1, 7));
    driver.advance(2 * SECOND);
    let refuse = |at| (at == Statement::Read).then_some(Fault::Reject(ErrorKind::Environment));
    driver.target().script(Box::new(refuse));
    driver.advance(SECOND);
    assert_eq!(driver.listener().heard(|heard| heard.state), Some(LaneState::Paused));
    // when it answers again, long before the next look at the ledger, then the lane says so
    driver.target().script(Box::new(|_| None));
    driver.advance(3 * SECOND);
    assert_eq!(driver.listener().heard(|heard| heard.state), Some(LaneState::Running));
}
