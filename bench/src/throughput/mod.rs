//! `bench/run throughput [--rows N] [--runs N] [--batch N] [--engines a,b] [--columns 10,15] [--json FILE]`
//!
//! Fills topics with real Avro envelopes, then measures, in one run on one machine: rows/s of a bare client that writes the same
//! statements to the same table in the same order (the broker idle), and rows/s of a Tidelock lane with the whole topology and ledger. What counts is the
//! ratio; absolute numbers move with the machine. Each Tidelock run is a process of its own, so that its memory is its own.
//!
//! Needs the servers of `services/stack` and `eval "$(services/stack env)"`.

mod bare;
mod engine;
mod lanes;
mod report;
mod together;
mod topic;
mod workload;

use std::sync::Arc;

use engine::BenchEngine;
use report::{Measured, Report};
use workload::{Phase, Workload};

/// Rest before each measured phase, so that none of them pays for what the one before left to do in the background (dirty pages, undo). A
/// Tidelock run starts a process and joins a group first, which is such a rest by itself; the bare run would have none.
const REST: std::time::Duration = std::time::Duration::from_secs(5);

/// What the command line asks for.
#[derive(Clone, Debug)]
pub(crate) struct Options {
    rows: u64,
    runs: usize,
    batch: usize,
    engines: Vec<BenchEngine>,
    columns: Vec<usize>,
    lanes: Vec<usize>,
    json: Option<String>,
}

impl Options {
    fn parse(arguments: &[String]) -> Result<Options, String> {
        let mut options = Options {
            rows: 1_000_000,
            runs: 3,
            batch: 1_000,
            engines: vec![BenchEngine::Postgres, BenchEngine::MySql, BenchEngine::MariaDb],
            columns: vec![10, 15],
            lanes: vec![1, 2],
            json: None,
        };
        let mut rest = arguments.iter();
        while let Some(name) = rest.next() {
            let value = rest.next().ok_or_else(|| format!("{name} needs a value"))?;
            let number = || value.parse::<u64>().map_err(|_| format!("{name} needs a number, not {value}"));
            let numbers = || -> Result<Vec<usize>, String> {
                value.split(',').map(|part| part.parse().map_err(|_| format!("{name}: {part} is no number"))).collect()
            };
            match name.as_str() {
                "--rows" => options.rows = number()?.max(1),
                "--runs" => options.runs = number()?.max(1) as usize,
                "--batch" => options.batch = number()?.max(1) as usize,
                "--columns" => options.columns = numbers()?,
                "--lanes" => options.lanes = numbers()?,
                "--json" => options.json = Some(value.clone()),
                "--engines" => {
                    options.engines = value.split(',').map(BenchEngine::named).collect::<Result<_, _>>()?;
                }
                _ => return Err(format!("unknown option {name}")),
            }
        }
        Ok(options)
    }
}

/// Runs the benchmark.
pub(crate) fn main(arguments: &[String]) -> Result<(), String> {
    if arguments.first().is_some_and(|first| first == "--lane-run") {
        return lanes::child(&arguments[1..]);
    }
    let options = Options::parse(arguments)?;
    let runtime =
        tokio::runtime::Builder::new_multi_thread().enable_all().build().map_err(|error| error.to_string())?;
    let mut report = Report::default();
    for columns in &options.columns {
        let workload = Workload::new(*columns);
        // One topic per number of columns and phase serves all engines.
        let topics = Arc::new(runtime.block_on(topic::fill(&workload, &options))?);
        let order = |phase| topic::arrival(&workload, phase, topics.of(phase), options.rows).map(Arc::new);
        let orders = [order(Phase::Insert)?, order(Phase::Update)?];
        for engine in &options.engines {
            let database = runtime.block_on(engine.create_database())?;
            for lanes in &options.lanes {
                let trial = Trial {
                    options: options.clone(),
                    engine: *engine,
                    database: database.clone(),
                    workload: workload.clone(),
                    topics: Arc::clone(&topics),
                    orders: orders.clone(),
                    lanes: *lanes,
                };
                measure(&runtime, &Arc::new(trial), &mut report)?;
            }
            runtime.block_on(engine.drop_database(&database))?;
        }
        topic::delete(&runtime, &topics)?;
    }
    print!("{}", report.table());
    if let Some(file) = &options.json {
        std::fs::write(file, report.json()).map_err(|error| format!("cannot write {file}: {error}"))?;
    }
    Ok(())
}

/// What one line of the report is about.
struct Trial {
    options: Options,
    engine: BenchEngine,
    database: String,
    workload: Workload,
    topics: Arc<topic::Topics>,
    /// Keys in the order in which the topic delivers them, of each phase.
    orders: [Arc<Vec<u64>>; 2],
    lanes: usize,
}

impl Trial {
    fn order(&self, phase: Phase) -> &[u64] {
        match phase {
            Phase::Insert => &self.orders[0],
            Phase::Update => &self.orders[1],
        }
    }
}

fn measure(runtime: &tokio::runtime::Runtime, trial: &Arc<Trial>, report: &mut Report) -> Result<(), String> {
    let Trial { options, engine, database, workload, lanes, .. } = &**trial;
    let mut measured: Vec<(Phase, Measured)> =
        [Phase::Insert, Phase::Update].map(|phase| (phase, Measured::default())).into();
    for run in 0..options.runs {
        // Bare and Tidelock take turns, so that a slow minute of the machine hits both.
        runtime.block_on(engine.create_table(database, workload))?;
        for (phase, measured) in &mut measured {
            std::thread::sleep(REST);
            measured.ceiling.push(bare::run(runtime, trial, *phase)?);
        }
        runtime.block_on(engine.create_table(database, workload))?;
        for (phase, measured) in &mut measured {
            std::thread::sleep(REST);
            let result = lanes::spawn(trial, *phase, run)?;
            measured.add(result);
        }
        let last =
            |phase: usize| (measured[phase].1.ceiling.last().copied().unwrap_or(0.0), measured[phase].1.last_rate());
        eprintln!(
            "{} {} columns, {lanes} lanes: run {} of {}: bare and Tidelock in rows/s, insert {:.0?}, update {:.0?}",
            engine.name(),
            workload.columns,
            run + 1,
            options.runs,
            last(0),
            last(1)
        );
    }
    for (phase, measured) in measured {
        report.add(engine.name(), &format!("{}_{}_columns", phase.name(), workload.columns), *lanes, &measured);
    }
    Ok(())
}
