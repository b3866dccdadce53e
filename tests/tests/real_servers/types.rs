//! Every column type over five pairs of engines, through real connectors: `docs/types.md` holds what these tests show.

use std::collections::BTreeMap;
use std::fmt::Write;
use std::sync::Arc;
use std::time::{Duration, Instant};

use avro::{DecoderOptions, EnvelopeDecoder, RegistryClient, RegistryOptions};
use tidelock_tests::servers;
use tidelock_tests::types::matrix::{Matrix, Side, column, read_topic};
use tidelock_tests::types::{PAIRS, REFUSED, kind};
use tidelock_tests::worker::Worker;
use topology::data::{Arena, Layouts};
use topology::lens::convert::{Context, Fit, Scratch, plan};
use topology::raw::{Decode, DecodeError, Decoded, RawRecord};

/// Every record that the connector published, decoded; the outcome of converting each cell, by column.
async fn refusals(matrix: &Matrix) -> String {
    let client = RegistryClient::new(&RegistryOptions::new([servers::registry()])).expect("an address");
    let mut decoder = EnvelopeDecoder::new(DecoderOptions::default(), client.cache());
    let (mut arena, mut layouts) = (Arena::default(), Layouts::default());
    let mut records = Vec::new();
    let topic = matrix.topic();
    read_topic(&topic, |key, value| records.push((key.map(<[u8]>::to_vec), value.map(<[u8]>::to_vec))));
    assert!(records.len() >= 2 * matrix.row_count(), "{} records", records.len());
    let mut report = String::new();
    for (offset, (key, value)) in records.iter().enumerate() {
        let raw = RawRecord {
            topic: 0,
            offset: offset as i64,
            timestamp_ms: -1,
            key: key.as_deref(),
            value: value.as_deref(),
            headers: &[],
        };
        let record = loop {
            match decoder.decode(&raw, &mut arena, &mut layouts) {
                Err(DecodeError::SchemaNeeded(id)) => drop(client.fetch(id).await.expect("the registry knows the id")),
                Err(DecodeError::Bad(error)) => {
                    let _ = writeln!(report, "record {offset}: {error}");
                    break None;
                }
                Ok(Decoded::Ignored(_)) => break None,
                Ok(Decoded::Change(record)) => break Some(record),
            }
        };
        let Some(record) = record else { continue };
        let layout = Arc::clone(layouts.get(record.layout));
        let row = record.after.expect("inserts and updates carry their row");
        for (index, case) in matrix.pair.cases.iter().enumerate() {
            let name = column(index);
            let Some(at) = layout.position(&name) else {
                let _ = writeln!(report, "{name} {} is not sent", case.source);
                continue;
            };
            let (live, target) = (kind(matrix.pair.source, case.source), kind(matrix.pair.target, case.target));
            let (source, sent) = (matrix.pair.source, &layout.columns[at].kind);
            let context = Context {
                source,
                target: matrix.pair.target,
                live: Some(&live),
                native: case.target,
                ..Context::default()
            };
            let planned = plan(sent, &target, &context);
            let cell = arena.row(row)[at];
            let outcome = planned.convert.run(cell, &mut arena, &mut Scratch::default());
            if matches!(planned.fit, Fit::Impossible(_)) || outcome.is_err() {
                let value = arena.value(cell);
                let _ = writeln!(
                    report,
                    "{name} {} → {}: sent as {sent:?}: {} {outcome:?} {value:?}",
                    case.source, case.target, planned.fit
                );
            }
        }
        arena.clear();
    }
    report
}

/// Source table → connector → `tidelock run` → target table, then both tables cell by cell.
async fn every_type_arrives(pair: &str) {
    let pair = PAIRS.iter().find(|known| known.name == pair).expect("one of the five pairs");
    let matrix = Arc::new(Matrix::new(pair));
    let running = Arc::clone(&matrix);
    // A task of its own, so that what it made is removed even when it panics.
    let outcome = tokio::spawn(async move {
        running.create().await;
        running.publish().await;
        let report = refusals(&running).await;
        assert!(report.is_empty(), "{report}");
        let config = std::env::temp_dir().join(format!("{}.yaml", running.name));
        std::fs::write(&config, running.configuration()).expect("a temporary file");
        let mut worker = Worker::start(&running.name, &config, &BTreeMap::new(), &[]);
        let deadline = Instant::now() + Duration::from_secs(60);
        let mut differences = running.differences().await;
        while !differences.is_empty() {
            assert!(worker.is_running(), "{}", worker.log_tail());
            if Instant::now() > deadline {
                panic!("{differences}\nheld: {}", running.held().await.join("\n"));
            }
            tokio::time::sleep(Duration::from_millis(500)).await;
            differences = running.differences().await;
        }
        assert_eq!(worker.terminate(Duration::from_secs(20)), 0);
        std::fs::remove_file(&config).expect("it was written");
    })
    .await;
    matrix.remove().await;
    outcome.unwrap_or_else(|panic| std::panic::resume_unwind(panic.into_panic()));
}

/// Values that the target can't hold: their records are dead with a reason, the others arrive.
async fn what_does_not_fit_is_kept(pair: &str) {
    let (pair, values) = REFUSED.iter().find(|(known, _)| known.name == pair).expect("one of the pairs");
    let matrix = Arc::new(Matrix::one_by_one(pair, values));
    let running = Arc::clone(&matrix);
    let outcome = tokio::spawn(async move {
        running.create().await;
        running.publish().await;
        let config = std::env::temp_dir().join(format!("{}.yaml", running.name));
        std::fs::write(&config, running.configuration()).expect("a temporary file");
        let mut worker = Worker::start(&running.name, &config, &BTreeMap::new(), &[]);
        // Two rounds of bad values; the first bad row of the second round is repaired by a later update.
        let (bad, last) = (values.len(), values.len() as i32);
        let deadline = Instant::now() + Duration::from_secs(60);
        loop {
            let held = running.held().await;
            let present: Vec<i32> = running.read(Side::Target).await.into_keys().collect();
            if held.len() == 2 * bad && present == [last + 1, 1000, 1000 + last] {
                assert!(held.iter().all(|line| line.contains(" data ")), "{held:#?}");
                for index in 0..bad {
                    let column = format!("column {}:", column(index));
                    // The decoder puts the name in quotes.
                    let told = held.iter().filter(|line| line.replace('"', "").contains(&column)).count();
                    assert_eq!(told, 2, "{column} {held:#?}");
                }
                break;
            }
            assert!(worker.is_running(), "{}", worker.log_tail());
            assert!(Instant::now() < deadline, "rows {present:?}, held {held:#?}");
            tokio::time::sleep(Duration::from_millis(500)).await;
        }
        assert_eq!(worker.terminate(Duration::from_secs(20)), 0);
        std::fs::remove_file(&config).expect("it was written");
    })
    .await;
    matrix.remove().await;
    outcome.unwrap_or_else(|panic| std::panic::resume_unwind(panic.into_panic()));
}

#[tokio::test]
async fn values_of_postgres_that_mysql_cannot_hold_are_dead_and_the_rest_flows() {
    what_does_not_fit_is_kept("refused_postgres_mysql").await;
}

#[tokio::test]
async fn values_of_mysql_that_postgres_cannot_hold_are_dead_and_the_rest_flows() {
    what_does_not_fit_is_kept("refused_mysql_postgres").await;
}

#[tokio::test]
async fn every_type_of_mysql_reaches_postgres() {
    every_type_arrives("mysql_postgres").await;
}

#[tokio::test]
async fn every_type_of_postgres_reaches_mysql() {
    every_type_arrives("postgres_mysql").await;
}

#[tokio::test]
async fn every_type_of_mysql_reaches_mysql() {
    every_type_arrives("mysql_mysql").await;
}

#[tokio::test]
async fn every_type_of_postgres_reaches_postgres() {
    every_type_arrives("postgres_postgres").await;
}

#[tokio::test]
async fn every_type_of_mariadb_reaches_postgres() {
    every_type_arrives("mariadb_postgres").await;
}
