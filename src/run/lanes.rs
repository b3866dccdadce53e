//! From a plan to running lanes.

use std::sync::Arc;
use std::time::Duration;

use avro::{DecoderOptions, EnvelopeDecoder, SchemaCache, SchemaFetcher};
use connect::kafka::{ClientSettings, LaneHandle, LaneSetup};
use connect::sql::patience::OnSilence;
use connect::sql::writer::{DeadLimit, HeldLimits, SinkTable, SqlWriter, WriterOptions};
use tokio::runtime::Handle;
use topology::batch::WriteMode;
use topology::lane::{FetchSchema, LaneSettings, RetrySettings, StartDecision, StartFrom};
use topology::observe::LaneObserver;
use topology::pipeline::{Pipeline, TopicSettings};
use topology::processors::{self, DirectionEntity};
use topology::record::EntityId;
use topology::sink::SinkWriter;
use topology::{Error, ErrorKind, Result, Stage};

use super::plan::Plan;
use super::topics;
use crate::config::{Config, Kafka, Parked, Start};
use crate::sites;

/// Progress without rows is committed this often (rule L8).
const IDLE_PROGRESS_INTERVAL: Duration = Duration::from_secs(1);
/// First wait before a fenced task is claimed again (rule L3).
const FENCED_WAIT: Duration = Duration::from_millis(500);
/// Held rows tried again in one transaction: few, so that they never delay new records for long.
const HELD_ROWS_MAX: usize = 200;

/// What lanes of all directions share.
#[derive(Clone)]
pub(super) struct Shared {
    pub(super) config: Arc<Config>,
    pub(super) schemas: Schemas,
    pub(super) start: StartFrom,
    /// The operator's word, if one was given: see [`StartDecision`].
    pub(super) start_decision: Option<Arc<StartDecision>>,
    pub(super) runtime: Handle,
    /// Lanes in this process, all directions together: they share the memory limit.
    pub(super) lane_count: usize,
}

/// Where decoders find schemas.
#[derive(Clone)]
pub(super) enum Schemas {
    /// From a registry.
    Registry(SchemaFetcher),
    /// None is configured: JSON only.
    None,
}

impl Schemas {
    /// By the configuration.
    ///
    /// # Errors
    /// `Configuration`: a certificate file that cannot be used.
    pub(super) fn new(kafka: &Kafka, runtime: Handle) -> Result<Schemas> {
        if kafka.registry.is_empty() {
            return Ok(Schemas::None);
        }
        Ok(Schemas::Registry(SchemaFetcher::new(crate::registry::client(kafka)?, runtime)))
    }

    fn cache(&self) -> SchemaCache {
        match self {
            Schemas::Registry(fetcher) => fetcher.client().cache(),
            Schemas::None => SchemaCache::default(),
        }
    }

    fn fetch(&self) -> FetchSchema {
        let schemas = self.clone();
        Box::new(move |id| {
            let schemas = schemas.clone();
            Box::pin(async move {
                match schemas {
                    Schemas::Registry(fetcher) => fetcher.request(id).await.unwrap_or_else(|_| Ok(())),
                    Schemas::None => Err(Error::new(
                        ErrorKind::Configuration,
                        Stage::Decode,
                        "cannot decode Avro",
                        format!("schema id {id}: no schema registry is configured; set kafka.registry"),
                    )),
                }
            })
        })
    }
}

/// Starts one lane.
///
/// # Errors
/// `Environment` when the machine gives no thread.
pub(super) fn start(
    shared: &Shared,
    plan: &Arc<Plan>,
    number: usize,
    observer: Arc<dyn LaneObserver>,
) -> Result<LaneHandle> {
    let config = &shared.config;
    let (pipeline_plan, pipeline_shared) = (plan.clone(), shared.clone());
    let (sink_plan, sink_config, sink_observer) = (plan.clone(), config.clone(), observer.clone());
    let schemas = shared.schemas.clone();
    connect::kafka::spawn(LaneSetup {
        name: format!("{}/{number}", plan.direction.name),
        settings: settings(shared, plan),
        client: client(shared),
        pipeline: Box::new(move || pipeline(&pipeline_shared, &pipeline_plan)),
        sink: Box::new(move || sink(&sink_config, &sink_plan, &sink_observer)),
        fetch_schema: Box::new(move || schemas.fetch()),
        observer,
        drain_deadline: Duration::from_secs(config.tuning.drain_seconds),
        runtime: shared.runtime.clone(),
    })
}

fn settings(shared: &Shared, plan: &Plan) -> LaneSettings {
    let tuning = &shared.config.tuning;
    LaneSettings {
        pipeline: shared.config.pipeline.as_str().into(),
        direction: plan.direction.name.as_str().into(),
        group_id: plan.direction.group.as_str().into(),
        batch_rows_max: tuning.batch_rows,
        // Three batches may be alive: building, handed over, being written. They take half of the lane's share, prefetched records the other.
        batch_bytes_max: tuning.batch_bytes.min(lane_bytes(shared) / 6),
        batch_age_max: Duration::from_millis(tuning.batch_age_ms),
        idle_progress_interval: IDLE_PROGRESS_INTERVAL,
        retry: RetrySettings {
            attempts_max: tuning.retry.attempts,
            initial: Duration::from_millis(tuning.retry.initial_ms),
            multiplier: tuning.retry.multiplier,
            cap: Duration::from_millis(tuning.retry.cap_ms),
            jitter: tuning.retry.jitter,
        },
        fenced_wait: FENCED_WAIT,
        start_from: shared.start,
        start_decision: shared.start_decision.clone(),
        tables: plan.entities.iter().map(super::plan::PlannedEntity::table).collect(),
        snapshots: plan.entities.iter().map(|entity| entity.snapshot).collect(),
        order: plan.order.clone(),
        held_rows_max: HELD_ROWS_MAX,
        publishes: shared.config.kafka.dead_letters.is_some(),
    }
}

fn lane_bytes(shared: &Shared) -> usize {
    shared.config.tuning.memory_mb * 1024 * 1024 / shared.lane_count.max(1)
}

fn client(shared: &Shared) -> ClientSettings {
    let kafka = &shared.config.kafka;
    let prefetch_kib = (lane_bytes(shared) / 2 / 1024).max(1024);
    let mut options = vec![("queued.max.messages.kbytes".to_owned(), prefetch_kib.to_string())];
    options.extend(kafka.client_options());
    ClientSettings { brokers: kafka.bootstrap(), options }
}

fn pipeline(shared: &Shared, plan: &Plan) -> Result<Pipeline> {
    let config = &shared.config;
    let direction = &plan.direction;
    let site = config.sites.get(&direction.source).expect("a direction is between sites");
    let topics = plan.entities.iter().map(|entity| topics::options(site, entity));
    let decoder = EnvelopeDecoder::new(
        DecoderOptions {
            topics: topics.collect(),
            // Histories show the row before; a declared key may have to be taken from it.
            decode_before: direction.mode == WriteMode::Append
                || direction.entities.iter().any(|entity| !entity.declaration.key.is_empty()),
            ..DecoderOptions::default()
        },
        shared.schemas.cache(),
    );
    let entities: Vec<DirectionEntity> = plan
        .entities
        .iter()
        .map(|entity| DirectionEntity {
            name: entity.name.clone(),
            topic: entity.topic.clone(),
            plan: entity.lens.clone(),
        })
        .collect();
    let graph = processors::direction(&entities, plan.guard.as_ref(), &direction.target)?;
    let topics = plan.entities.iter().enumerate().map(|(number, entity)| TopicSettings {
        name: entity.topic.clone(),
        entity: EntityId(u16::try_from(number).unwrap_or(u16::MAX)),
        truncate: entity.truncate,
    });
    Pipeline::new(Box::new(decoder), graph, topics.collect())
}

fn sink(config: &Config, plan: &Plan, observer: &Arc<dyn LaneObserver>) -> Box<dyn SinkWriter> {
    let held = held_limits(&config.tuning.parked);
    let tables: Vec<SinkTable> = plan
        .entities
        .iter()
        .zip(&plan.direction.entities)
        .map(|(entity, declared)| SinkTable {
            table: entity.table(),
            snapshot: entity.snapshot,
            held: declared.declaration.parked.map(|own| HeldLimits {
                attempts_max: own.attempts.map_or(held.attempts_max, attempts_max),
                dead_after_ms: own.dead_after_seconds.map_or(held.dead_after_ms, milliseconds),
                ..held
            }),
        })
        .collect();
    let direction = &plan.direction;
    // Only what comes back needs a mark; history tables are read by nobody.
    let tagged = direction.two_way && direction.mode == WriteMode::Mirror;
    let from = tagged.then_some(direction.source.as_str());
    let observer = observer.clone();
    // P7: a lane that waits for an answer shows it long before it gives the connection up.
    let on_silence: OnSilence = Arc::new(move |answers| observer.target_up(answers));
    let connector = sites::watched_connector(config, &direction.target, from, Some(on_silence))
        .expect("the plan opened a session there");
    let dead = &config.tuning.dead;
    let options = WriterOptions {
        tables,
        held,
        dead: Some(DeadLimit { ratio: dead.ratio, window: dead.window, run_length: dead.run_length }),
        dead_letters: config.kafka.dead_letters.as_deref().map(Into::into),
        advance_sequences: true,
    };
    Box::new(SqlWriter::new(connector, options))
}

fn milliseconds(seconds: u64) -> i64 {
    i64::try_from(seconds.saturating_mul(1000)).unwrap_or(i64::MAX)
}

fn attempts_max(attempts: u64) -> Option<i64> {
    i64::try_from(attempts).ok().filter(|attempts| *attempts > 0)
}

fn held_limits(parked: &Parked) -> HeldLimits {
    HeldLimits {
        retry_first_ms: i64::try_from(parked.initial_ms).unwrap_or(i64::MAX),
        retry_cap_ms: i64::try_from(parked.cap_ms).unwrap_or(i64::MAX),
        dead_after_ms: milliseconds(parked.dead_after_seconds),
        attempts_max: attempts_max(parked.attempts),
        rows_max: parked.rows,
        bytes_max: parked.megabytes.saturating_mul(1024 * 1024),
        superseded_kept_ms: Some(milliseconds(parked.superseded_hours.saturating_mul(3600))).filter(|kept| *kept > 0),
    }
}

/// As the engine spells it.
pub(super) fn start_from(start: Start) -> StartFrom {
    match start {
        Start::Earliest => StartFrom::Earliest,
        Start::Latest => StartFrom::Latest,
        Start::Timestamp(milliseconds) => StartFrom::Timestamp(milliseconds),
    }
}
