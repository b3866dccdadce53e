//! The observer of one lane: Prometheus handles, resolved when the lane starts or claims a partition, and the lane's place on the
//! status board.

use std::cell::RefCell;
use std::collections::HashMap;
use std::sync::{Arc, Mutex};
use std::time::{Instant, SystemTime, UNIX_EPOCH};

use prometheus::{Gauge, Histogram, IntCounter, IntGauge};
use topology::observe::{LaneObserver, LaneState, Outcome};
use topology::record::EntityId;
use topology::sink::HeldCounts;
use topology::{Error, ErrorKind};

use super::Metrics;
use super::status::{LaneBoard, StatusBoard, lock};
use crate::exit::with_causes;

/// Counts for one entity.
struct EntityHandles {
    consumed: IntCounter,
    outcomes: [IntCounter; Outcome::ALL.len()],
    unavailable: IntCounter,
    differs: IntCounter,
}

/// Gauges of one partition.
struct PartitionHandles {
    lag: IntGauge,
    next_offset: IntGauge,
    epoch: IntGauge,
    paused: IntGauge,
    /// Why it is paused, as last logged: a partition that tries again and again says it once.
    told: RefCell<Option<String>>,
}

/// Listens to one lane.
pub(crate) struct LaneMetrics {
    metrics: Metrics,
    direction: String,
    entities: Vec<EntityHandles>,
    delay: Histogram,
    write_duration: Histogram,
    batch_rows: Histogram,
    slow_path: IntCounter,
    held: [IntGauge; 3],
    target_up: IntGauge,
    published: IntCounter,
    lane: String,
    states: [IntGauge; LaneState::ALL.len()],
    alive: Gauge,
    buffered: IntGauge,
    log_resets: IntCounter,
    partitions: Mutex<HashMap<(String, i32), PartitionHandles>>,
    board: Arc<Mutex<LaneBoard>>,
}

impl LaneMetrics {
    /// A listener for one more lane of a direction. `entities[i]` names the entity with the number i.
    pub(crate) fn new(metrics: &Metrics, board: &StatusBoard, direction: &str, entities: &[String]) -> LaneMetrics {
        let (number, board) = board.add(direction);
        let lane = number.to_string();
        let entities = entities.iter().map(|entity| EntityHandles {
            consumed: metrics.consumed.with_label_values(&[direction, entity]),
            outcomes: Outcome::ALL
                .map(|outcome| metrics.records.with_label_values(&[direction, entity, outcome.name()])),
            unavailable: metrics.unavailable_values.with_label_values(&[direction, entity]),
            differs: metrics.conflicts.with_label_values(&[direction, entity.as_str(), "insert_exists", "target_kept"]),
        });
        LaneMetrics {
            direction: direction.to_owned(),
            entities: entities.collect(),
            delay: metrics.delay.with_label_values(&[direction]),
            write_duration: metrics.batch_write_duration.with_label_values(&[direction]),
            batch_rows: metrics.batch_rows.with_label_values(&[direction]),
            slow_path: metrics.slow_path.with_label_values(&[direction]),
            held: ["parked", "queued", "dead"].map(|state| metrics.held_rows.with_label_values(&[direction, state])),
            target_up: metrics.target_up.with_label_values(&[direction, lane.as_str()]),
            published: metrics.published.with_label_values(&[direction]),
            states: LaneState::ALL
                .map(|state| metrics.lane_state.with_label_values(&[direction, lane.as_str(), state.name()])),
            alive: metrics.lane_alive.with_label_values(&[direction, lane.as_str()]),
            buffered: metrics.buffered_bytes.with_label_values(&[direction, lane.as_str()]),
            log_resets: metrics.log_resets.with_label_values(&[direction]),
            partitions: Mutex::default(),
            lane,
            board,
            metrics: metrics.clone(),
        }
    }

    fn entity(&self, entity: EntityId) -> Option<&EntityHandles> {
        self.entities.get(usize::from(entity.0))
    }

    fn with_partition(&self, topic: &str, partition: i32, set: impl FnOnce(&PartitionHandles)) {
        let mut partitions = lock(&self.partitions);
        let handles = partitions.entry((topic.to_owned(), partition)).or_insert_with(|| {
            let number = partition.to_string();
            let labels = [self.direction.as_str(), topic, number.as_str()];
            PartitionHandles {
                lag: self.metrics.lag.with_label_values(&labels),
                next_offset: self.metrics.next_offset.with_label_values(&labels),
                epoch: self.metrics.epoch.with_label_values(&labels),
                paused: self.metrics.partition_paused.with_label_values(&labels),
                told: RefCell::default(),
            }
        });
        set(handles);
    }
}

impl LaneObserver for LaneMetrics {
    fn consumed(&self, entity: EntityId, count: u64) {
        if let Some(handles) = self.entity(entity) {
            handles.consumed.inc_by(count);
        }
    }

    fn records(&self, entity: EntityId, outcome: Outcome, count: u64) {
        let Some(handles) = self.entity(entity) else { return };
        // `ALL` is in the order of the declaration.
        handles.outcomes[outcome as usize].inc_by(count);
        if outcome == Outcome::Differs {
            handles.differs.inc_by(count);
        }
    }

    fn delay(&self, seconds: f64) {
        // Clocks of two machines may differ: a change from the future arrives at once.
        self.delay.observe(seconds.max(0.0));
    }

    fn batch_written(&self, records: usize, seconds: f64) {
        self.batch_rows.observe(records as f64);
        self.write_duration.observe(seconds);
    }

    fn slow_path(&self) {
        self.slow_path.inc();
    }

    fn retried(&self, kind: ErrorKind) {
        self.metrics.retries.with_label_values(&[self.direction.as_str(), kind.name()]).inc();
    }

    fn unavailable_values(&self, entity: EntityId, count: u64) {
        if let Some(handles) = self.entity(entity) {
            handles.unavailable.inc_by(count);
        }
    }

    fn claimed(&self, topic: &str, partition: i32, epoch: i64, next_offset: i64) {
        self.with_partition(topic, partition, |handles| {
            handles.epoch.set(epoch);
            handles.next_offset.set(next_offset);
            handles.paused.set(0);
        });
        let mut board = lock(&self.board);
        let own = board.partition(topic, partition);
        (own.epoch, own.next_offset, own.paused) = (epoch, next_offset, None);
    }

    fn progress(&self, topic: &str, partition: i32, next_offset: i64) {
        self.with_partition(topic, partition, |handles| {
            handles.next_offset.set(next_offset);
            if handles.told.take().is_some() {
                tracing::info!(direction = %self.direction, topic, partition, next_offset, "the partition goes on");
            }
        });
        lock(&self.board).partition(topic, partition).next_offset = next_offset;
    }

    fn lag(&self, topic: &str, partition: i32, records: i64) {
        self.with_partition(topic, partition, |handles| handles.lag.set(records));
        lock(&self.board).partition(topic, partition).lag = Some(records);
    }

    fn partition_paused(&self, topic: &str, partition: i32, reason: Option<&Error>) {
        self.with_partition(topic, partition, |handles| {
            handles.paused.set(i64::from(reason.is_some()));
            // Waiting for other partitions (rule A6) is part of a start, and a log that differs (rule L7) is logged where it is seen.
            let tells = |error: &&Error| matches!(error.kind, ErrorKind::Schema | ErrorKind::Dependency);
            let Some(error) = reason.filter(tells) else { return };
            let text = error.to_string();
            if handles.told.borrow().as_ref() != Some(&text) {
                let class = error.kind.name();
                tracing::warn!(direction = %self.direction, topic, partition, class, error = %text, "the partition is paused");
                handles.told.replace(Some(text));
            }
        });
        lock(&self.board).partition(topic, partition).paused = reason.map(|error| with_causes(error));
    }

    fn released(&self, topic: &str, partition: i32) {
        lock(&self.partitions).remove(&(topic.to_owned(), partition));
        let number = partition.to_string();
        let labels = [self.direction.as_str(), topic, number.as_str()];
        for gauge in [&self.metrics.lag, &self.metrics.next_offset, &self.metrics.epoch, &self.metrics.partition_paused]
        {
            // An error means that it was not there, which is what we want.
            let _ = gauge.remove_label_values(&labels);
        }
        lock(&self.board).partitions.retain(|own| own.partition != partition || own.topic != topic);
    }

    fn held(&self, counts: HeldCounts) {
        let before = std::mem::replace(&mut lock(&self.board).held, counts);
        // Lanes of a direction share the gauges: each adds its own difference.
        let numbers = |counts: HeldCounts| [counts.parked, counts.queued, counts.dead].map(u64::cast_signed);
        for (gauge, (now, before)) in self.held.iter().zip(numbers(counts).into_iter().zip(numbers(before))) {
            gauge.add(now - before);
        }
    }

    fn buffered_bytes(&self, bytes: u64) {
        self.buffered.set(bytes.cast_signed());
        self.alive.set(SystemTime::now().duration_since(UNIX_EPOCH).map_or(0.0, |now| now.as_secs_f64()));
        lock(&self.board).alive = Instant::now();
    }

    fn target_up(&self, up: bool) {
        self.target_up.set(i64::from(up));
        lock(&self.board).target_up = up;
    }

    fn published(&self, count: u64) {
        self.published.inc_by(count);
    }

    fn publishing(&self, trouble: Option<&Error>) {
        let labels = [self.direction.as_str(), self.lane.as_str()];
        self.metrics.publishing_up.with_label_values(&labels).set(i64::from(trouble.is_none()));
        lock(&self.board).publishing = trouble.map(|error| with_causes(error));
    }

    fn lane_state(&self, state: LaneState, reason: Option<&Error>) {
        for (own, gauge) in LaneState::ALL.iter().zip(&self.states) {
            gauge.set(i64::from(*own == state));
        }
        let mut board = lock(&self.board);
        board.state = state;
        board.reason = reason.map(|error| with_causes(error));
        board.alive = Instant::now();
    }

    fn invariant_broken(&self, id: &'static str) {
        self.metrics.invariant_broken.with_label_values(&[id]).inc();
    }

    fn log_reset(&self, _topic: &str, _partition: i32) {
        self.log_resets.inc();
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::metrics::Status;
    use topology::{ErrorKind, Stage};

    fn lane(metrics: &Metrics, board: &StatusBoard) -> LaneMetrics {
        LaneMetrics::new(metrics, board, "legacy→revamp", &["users".to_owned()])
    }

    fn health(board: &StatusBoard) -> Status {
        board.status()
    }

    #[test]
    fn outcomes_are_indexed_in_the_order_of_all() {
        for (at, outcome) in Outcome::ALL.into_iter().enumerate() {
            assert_eq!(outcome as usize, at);
        }
    }

    #[test]
    fn what_a_lane_says_is_on_the_page() {
        let (metrics, board) = (Metrics::new(), StatusBoard::new("blog"));
        let lane = lane(&metrics, &board);
        lane.consumed(EntityId(0), 5);
        lane.records(EntityId(0), Outcome::Applied, 3);
        lane.records(EntityId(0), Outcome::Echo, 2);
        lane.claimed("t", 1, 7, 40);
        lane.lag("t", 1, 12);
        lane.batch_written(3, 0.01);
        lane.delay(0.2);
        lane.held(HeldCounts { parked: 2, queued: 1, dead: 0 });
        lane.retried(ErrorKind::Transient);
        let page = metrics.render();
        for line in [
            r#"tidelock_consumed_total{direction="legacy→revamp",entity="users"} 5"#,
            r#"tidelock_records_total{direction="legacy→revamp",entity="users",outcome="applied"} 3"#,
            r#"tidelock_records_total{direction="legacy→revamp",entity="users",outcome="dead"} 0"#,
            r#"tidelock_lag_records{direction="legacy→revamp",partition="1",topic="t"} 12"#,
            r#"tidelock_epoch{direction="legacy→revamp",partition="1",topic="t"} 7"#,
            r#"tidelock_held_rows{direction="legacy→revamp",state="parked"} 2"#,
            r#"tidelock_retries_total{class="transient",direction="legacy→revamp"} 1"#,
            r#"tidelock_batch_rows_count{direction="legacy→revamp"} 1"#,
        ] {
            assert!(page.contains(line), "{line} is not in\n{page}");
        }
        lane.released("t", 1);
        assert!(!metrics.render().contains("tidelock_lag_records{"), "gauges of a partition that went are gone");
    }

    #[test]
    fn held_rows_of_two_lanes_add_up() {
        let (metrics, board) = (Metrics::new(), StatusBoard::new("blog"));
        let (one, two) = (lane(&metrics, &board), lane(&metrics, &board));
        one.held(HeldCounts { parked: 2, ..HeldCounts::default() });
        two.held(HeldCounts { parked: 3, ..HeldCounts::default() });
        one.held(HeldCounts::default());
        assert!(metrics.render().contains(r#"tidelock_held_rows{direction="legacy→revamp",state="parked"} 3"#));
    }

    #[test]
    fn health_follows_the_lanes() {
        let (metrics, board) = (Metrics::new(), StatusBoard::new("blog"));
        let lane = lane(&metrics, &board);
        assert_eq!(health(&board).health, "degraded", "a lane that starts is not ready");
        lane.lane_state(LaneState::Running, None);
        assert_eq!(health(&board).health, "ok");
        let down = Error::new(ErrorKind::Environment, Stage::Write, "cannot connect", "revamp");
        lane.target_up(false);
        lane.lane_state(LaneState::Paused, Some(&down));
        let status = health(&board);
        assert_eq!(status.health, "degraded");
        assert!(status.reasons[0].contains("lane 0 is paused: cannot connect: revamp"), "{:?}", status.reasons);
        lane.target_up(true);
        lane.lane_state(LaneState::Running, None);
        lane.partition_paused("t", 0, Some(&Error::new(ErrorKind::Schema, Stage::Write, "no column", "users.x")));
        assert_eq!(health(&board).reasons, ["legacy→revamp lane 0: t[0] is paused: no column: users.x"]);
        lane.partition_paused("t", 0, None);
        assert_eq!(health(&board).health, "ok");
        lane.lane_state(LaneState::Stopped, Some(&down));
        assert_eq!(health(&board).health, "failed");
    }
}
