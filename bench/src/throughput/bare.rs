//! The ceiling: a client that has its rows in memory already and writes them with the engine's own statements, one transaction per
//! batch, in the order in which the topic delivers them, nothing else. Only the time in the database counts; making the rows does not.

use std::sync::Arc;
use std::time::{Duration, Instant};

use connect::sql::plan::{RowOperation, Shape, TablePlan};
use topology::batch::{WriteMode, WriteTable};
use topology::data::{Arena, CellRange};
use topology::record::EntityId;

use super::Trial;
use super::topic::PARTITIONS;
use super::workload::{Phase, TABLE};

/// Rows per second of all connections together.
pub(crate) fn run(runtime: &tokio::runtime::Runtime, trial: &Arc<Trial>, phase: Phase) -> Result<f64, String> {
    let started = Arc::new(tokio::sync::Barrier::new(trial.lanes));
    let tasks: Vec<_> =
        (0..trial.lanes).map(|lane| runtime.spawn(one(Arc::clone(trial), phase, lane, Arc::clone(&started)))).collect();
    let mut rate = 0.0;
    for task in tasks {
        let (rows, spent) = runtime.block_on(task).map_err(|error| error.to_string())??;
        rate += rows as f64 / spent.as_secs_f64();
    }
    Ok(rate)
}

async fn one(
    trial: Arc<Trial>,
    phase: Phase,
    lane: usize,
    started: Arc<tokio::sync::Barrier>,
) -> Result<(u64, Duration), String> {
    let Trial { options, engine, database, workload, lanes, .. } = &*trial;
    let (lanes, keys) = (*lanes, trial.order(phase));
    let fail = |error: connect::sql::error::SqlError| error.error.to_string();
    let mut session = engine.connector(database)?.connect().await.map_err(fail)?;
    let description = session.describe(TABLE).await.map_err(fail)?.ok_or("the table is gone")?;
    let table = WriteTable {
        entity: EntityId(0),
        name: TABLE.into(),
        columns: workload.layout.columns.clone(),
        key: vec![0],
        insert_only: Vec::new(),
        mode: WriteMode::Mirror,
    };
    let plan = Arc::new(TablePlan::new(&table, Arc::new(description)).map_err(fail)?);
    let shape = Shape::new(&plan, RowOperation::Upsert, (0..workload.columns).collect());
    // As many rows per connection as the lane with the same number gets from its partitions.
    let mine = |id: u64| lanes == 1 || (id % PARTITIONS as u64) as usize % lanes == lane;
    let (mut arena, mut rows) = (Arena::default(), Vec::<(u64, CellRange)>::new());
    let (mut count, mut spent) = (0, Duration::ZERO);
    started.wait().await;
    for (index, id) in keys.iter().copied().enumerate() {
        if mine(id) {
            rows.push((id, arena.push_values(&workload.row(phase, id))));
        }
        if rows.len() == options.batch || (index + 1 == keys.len() && !rows.is_empty()) {
            rows.sort_unstable_by_key(|(id, _)| *id);
            let ranges: Vec<CellRange> = rows.iter().map(|(_, range)| *range).collect();
            let start = Instant::now();
            session.begin(false).await.map_err(fail)?;
            session.write_rows(&shape, &arena, &ranges).await.map_err(fail)?;
            session.commit().await.map_err(fail)?;
            spent += start.elapsed();
            count += rows.len() as u64;
            rows.clear();
            arena.clear();
        }
    }
    Ok((count, spent))
}
