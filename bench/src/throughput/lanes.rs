//! Tidelock itself: real lanes with the whole topology and ledger, in a process of their own that prints what it measured.

use std::process::Command;
use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::{Arc, Mutex};
use std::time::{Duration, Instant};

use avro::{DecoderOptions, EnvelopeDecoder, SchemaFetcher, TopicOptions};
use connect::kafka::{ClientSettings, LaneSetup};
use connect::sql::writer::{HeldLimits, SinkTable, SqlWriter, WriterOptions};
use serde_json::{Value as Json, json};
use topology::batch::{SnapshotMode, TruncateMode};
use topology::lane::{LaneSettings, RetrySettings, StartFrom};
use topology::lens::declare::EntityDeclaration;
use topology::lens::survey::{Direction, Request, Side, survey};
use topology::observe::{LaneObserver, Outcome};
use topology::pipeline::{Pipeline, TopicSettings};
use topology::processors::{self, DirectionEntity};
use topology::record::EntityId;

use super::Trial;
use super::engine::BenchEngine;
use super::report::LaneResult;
use super::together::TogetherConnector;
use super::topic;
use super::workload::{Phase, TABLE};

/// Starts the process and reads its result.
pub(crate) fn spawn(trial: &Trial, phase: Phase, run: usize) -> Result<LaneResult, String> {
    let Trial { options, engine, database, topics, lanes, .. } = trial;
    let program = std::env::current_exe().map_err(|error| error.to_string())?;
    let group = format!("{}-{}-{lanes}-{run}", topics.of(phase), engine.name());
    let output = Command::new(program)
        .args(["throughput", "--lane-run", engine.name(), database, phase.name(), topics.of(phase), &group])
        .args([options.rows as usize, options.batch, *lanes].map(|number| number.to_string()))
        .stderr(std::process::Stdio::inherit())
        .output()
        .map_err(|error| error.to_string())?;
    let text = String::from_utf8_lossy(&output.stdout);
    let json: Json =
        serde_json::from_str(text.trim()).map_err(|error| format!("the lane process failed: {error}: {text}"))?;
    LaneResult::from_json(&json).ok_or_else(|| format!("the lane process said {text}"))
}

/// Sums up what the lanes say.
#[derive(Default)]
struct Watch {
    applied: AtomicU64,
    first: Mutex<Option<Instant>>,
}

impl LaneObserver for Watch {
    fn batch_written(&self, _: usize, seconds: f64) {
        let began = Instant::now().checked_sub(Duration::from_secs_f64(seconds)).unwrap_or_else(Instant::now);
        self.first.lock().expect("no panic while locked").get_or_insert(began);
    }

    fn records(&self, _: EntityId, outcome: Outcome, count: u64) {
        if matches!(outcome, Outcome::Applied | Outcome::Unchanged) {
            self.applied.fetch_add(count, Ordering::Relaxed);
        }
    }
}

/// The process.
pub(crate) fn child(arguments: &[String]) -> Result<(), String> {
    let [engine, database, phase, topic, group, rows, batch, lanes] = arguments else {
        return Err("--lane-run is for the benchmark itself".to_owned());
    };
    let number = |text: &String| text.parse::<usize>().map_err(|error| error.to_string());
    let engine = BenchEngine::named(engine)?;
    Phase::named(phase)?;
    let (rows, batch, lanes) = (number(rows)? as u64, number(batch)?, number(lanes)?);
    let runtime = tokio::runtime::Builder::new_multi_thread()
        .worker_threads(2)
        .thread_name("writer")
        .enable_all()
        .build()
        .map_err(|error| error.to_string())?;
    let description = runtime.block_on(async {
        let mut session = engine.connector(database)?.connect().await.map_err(|error| error.error.to_string())?;
        session
            .describe(TABLE)
            .await
            .map_err(|error| error.error.to_string())?
            .ok_or_else(|| "the table is gone".to_owned())
    })?;
    let declaration = EntityDeclaration::default();
    let side = Side { site: "source", engine: engine.engine(), table: &description };
    let plan = survey(Request {
        path: "bench",
        name: "rows",
        entity: EntityId(0),
        declaration: &declaration,
        source: side,
        target: Side { site: "target", ..side },
        direction: Direction::Forward,
        two_way: false,
        provided: &[],
    })
    .into_plan()
    .map_err(|error| error.to_string())?;
    let plan = Arc::new(plan);
    let fetcher = SchemaFetcher::new(topic::registry()?, runtime.handle().clone());
    let watch = Arc::new(Watch::default());
    let asked = tokio::sync::watch::Sender::new(vec![false; lanes]);
    let mut handles = Vec::new();
    for lane in 0..lanes {
        let settings = LaneSettings {
            pipeline: "bench".into(),
            direction: group.as_str().into(),
            group_id: group.as_str().into(),
            batch_rows_max: batch,
            batch_bytes_max: 16 << 20,
            batch_age_max: Duration::from_millis(50),
            idle_progress_interval: Duration::from_secs(1),
            retry: RetrySettings::default(),
            fenced_wait: Duration::from_millis(500),
            start_from: StartFrom::Earliest,
            start_decision: None,
            tables: vec![(*plan.table).clone()],
            snapshots: vec![SnapshotMode::Upsert],
            order: vec![EntityId(0)],
            held_rows_max: 100,
            publishes: false,
        };
        let (plan, cache, topic_name) = (plan.clone(), fetcher.client().cache(), topic.clone());
        let (sink_plan, sink_database, fetch) = (plan.clone(), database.clone(), fetcher.clone());
        let asked = asked.clone();
        let setup = LaneSetup {
            name: format!("lane-{lane}"),
            settings,
            client: ClientSettings { brokers: topic::kafka()?, options: Vec::new() },
            pipeline: Box::new(move || {
                let topics = vec![TopicOptions { name: topic_name.clone(), ..TopicOptions::default() }];
                let decoder =
                    EnvelopeDecoder::new(DecoderOptions { topics, ..DecoderOptions::default() }, cache.clone());
                let entity = DirectionEntity { name: "rows".to_owned(), topic: topic_name.clone(), plan: plan.clone() };
                let graph = processors::direction(&[entity], None, "target")?;
                let settings =
                    TopicSettings { name: topic_name.clone(), entity: EntityId(0), truncate: TruncateMode::Halt };
                Pipeline::new(Box::new(decoder), graph, vec![settings])
            }),
            sink: Box::new(move || {
                let tables =
                    vec![SinkTable { table: (*sink_plan.table).clone(), snapshot: SnapshotMode::Upsert, held: None }];
                let inner = engine.connector(&sink_database).expect("the address was read before");
                let connector = Box::new(TogetherConnector { inner, lane, asked: asked.clone() });
                let options = WriterOptions {
                    tables,
                    held: HeldLimits::default(),
                    dead: None,
                    dead_letters: None,
                    advance_sequences: false,
                };
                Box::new(SqlWriter::new(connector, options))
            }),
            fetch_schema: Box::new(move || {
                let fetch = fetch.clone();
                Box::new(move |id| {
                    let reply = fetch.request(id);
                    Box::pin(async move { reply.await.unwrap_or_else(|_| Ok(())) })
                })
            }),
            observer: watch.clone(),
            drain_deadline: Duration::from_secs(30),
            runtime: runtime.handle().clone(),
        };
        handles.push(connect::kafka::spawn(setup).map_err(|error| error.to_string())?);
    }
    let deadline = Instant::now() + Duration::from_secs(600 + rows / 1000);
    while watch.applied.load(Ordering::Relaxed) < rows {
        if Instant::now() > deadline || handles.iter().any(connect::kafka::LaneHandle::is_finished) {
            return Err(format!("only {} of {rows} rows were applied", watch.applied.load(Ordering::Relaxed)));
        }
        std::thread::sleep(Duration::from_millis(2));
    }
    let seconds =
        watch.first.lock().expect("no panic while locked").expect("rows were applied").elapsed().as_secs_f64();
    let stages = cpu_by_stage();
    let memory_mib = status_kib("VmHWM:") as f64 / 1024.0;
    for handle in &handles {
        handle.stop();
    }
    for handle in handles {
        handle.join().map_err(|error| error.to_string())?;
    }
    let microseconds = |ticks: u64| ticks as f64 * 10_000.0 / rows as f64;
    println!(
        "{}",
        json!({
            "rows_per_s": rows as f64 / seconds,
            "memory_mib": memory_mib,
            "consume_us_per_row": microseconds(stages[0]),
            "decode_map_reduce_us_per_row": microseconds(stages[1]),
            "write_us_per_row": microseconds(stages[2]),
        })
    );
    Ok(())
}

/// CPU ticks (10 ms each) of librdkafka's threads, the poll threads, and the writers, by the names of this process's threads.
fn cpu_by_stage() -> [u64; 3] {
    let mut stages = [0; 3];
    for entry in std::fs::read_dir("/proc/self/task").into_iter().flatten().flatten() {
        let Ok(stat) = std::fs::read_to_string(entry.path().join("stat")) else { continue };
        let Some((name, rest)) = stat.split_once('(').and_then(|(_, rest)| rest.rsplit_once(')')) else { continue };
        let fields: Vec<&str> = rest.split_whitespace().collect();
        let ticks = |at: usize| fields.get(at).and_then(|text| text.parse::<u64>().ok()).unwrap_or(0);
        let used = ticks(11) + ticks(12);
        let stage = if name.starts_with("rdk:") {
            0
        } else if name.starts_with("lane-") {
            1
        } else {
            2
        };
        stages[stage] += used;
    }
    stages
}

fn status_kib(field: &str) -> u64 {
    let status = std::fs::read_to_string("/proc/self/status").unwrap_or_default();
    let line = status.lines().find(|line| line.starts_with(field)).unwrap_or_default();
    line.split_whitespace().nth(1).and_then(|text| text.parse().ok()).unwrap_or(0)
}
