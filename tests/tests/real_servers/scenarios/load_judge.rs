//! The judge of the load: what both sides, their histories and the load's own journals say of each other. Nothing that the engine says
//! counts here.

use std::collections::BTreeMap;
use std::time::{Duration, Instant};

use tidelock_tests::database::Database;
use tidelock_tests::pair::Pair;

use super::load_side::{Journal, TABLES, row_query};

/// Differences that are told.
const EXAMPLES_MAX: usize = 12;

/// What the judge found.
#[derive(Debug, Default)]
pub(in crate::real_servers) struct Verdict {
    /// Rows and lines of history that should be there and are not.
    pub(in crate::real_servers) lost: u64,
    /// Rows and lines of history that are there and should not be, or twice.
    pub(in crate::real_servers) doubled: u64,
    /// Held rows that still wait.
    pub(in crate::real_servers) waiting: u64,
    /// Held rows that were given up.
    pub(in crate::real_servers) dead: u64,
    /// Some of all that.
    pub(in crate::real_servers) examples: Vec<String>,
}

impl Verdict {
    /// Nothing is lost, doubled or held.
    pub(in crate::real_servers) fn is_clean(&self) -> bool {
        self.lost + self.doubled + self.waiting + self.dead == 0
    }

    fn add(&mut self, other: Verdict) {
        self.lost += other.lost;
        self.doubled += other.doubled;
        self.waiting += other.waiting;
        self.dead += other.dead;
        self.examples.extend(other.examples);
        self.examples.truncate(EXAMPLES_MAX);
    }

    /// What is more often in one list than in the other.
    fn compare(place: &str, expected: &[String], seen: &[String]) -> Verdict {
        let mut balance: BTreeMap<&String, i64> = BTreeMap::new();
        expected.iter().for_each(|line| *balance.entry(line).or_default() -= 1);
        seen.iter().for_each(|line| *balance.entry(line).or_default() += 1);
        let mut verdict = Verdict::default();
        for (line, count) in balance.iter().filter(|(_, count)| **count != 0) {
            if *count < 0 {
                verdict.lost += count.unsigned_abs();
            } else {
                verdict.doubled += count.unsigned_abs();
            }
            if verdict.examples.len() < EXAMPLES_MAX {
                verdict.examples.push(format!("{place}: {count:+} {line}"));
            }
        }
        verdict
    }
}

/// Looks until everything agrees; what is wrong at the end of the limit.
pub(in crate::real_servers) async fn agreed(pair: &Pair, journals: &[Journal; 2], limit: Duration) -> Verdict {
    let deadline = Instant::now() + limit;
    loop {
        let is_over = Instant::now() >= deadline;
        // Counting is cheap, comparing is not.
        if is_over || is_as_much(pair, journals).await.unwrap_or(false) {
            match verdict(pair, journals).await {
                Ok(verdict) if is_over || verdict.is_clean() => return verdict,
                Ok(_) => {}
                Err(error) => assert!(!is_over, "the servers do not answer: {error}"),
            }
        }
        tokio::time::sleep(Duration::from_millis(500)).await;
    }
}

fn quote(database: &Database) -> char {
    if database.server.is_postgres() { '"' } else { '`' }
}

/// As many rows and lines of history as there should be, and nothing held.
async fn is_as_much(pair: &Pair, journals: &[Journal; 2]) -> Result<bool, sqlx::Error> {
    for (database, other) in [(&pair.right, &journals[0]), (&pair.left, &journals[1])] {
        let waiting = database.try_rows("SELECT count(*) FROM tidelock_held WHERE state <> 'superseded'").await?;
        let history = database.try_rows("SELECT count(*) FROM history").await?;
        if waiting != ["0"] || history != [other.line_count().to_string()] {
            return Ok(false);
        }
        for (at, table) in TABLES.iter().enumerate() {
            let expected = journals.iter().map(|journal| journal.rows(at).len()).sum::<usize>().to_string();
            if database.try_rows(&format!("SELECT count(*) FROM {table}")).await? != [expected] {
                return Ok(false);
            }
        }
    }
    Ok(true)
}

async fn verdict(pair: &Pair, journals: &[Journal; 2]) -> Result<Verdict, sqlx::Error> {
    let mut verdict = rows(pair, journals).await?;
    for (database, other) in [(&pair.right, &journals[0]), (&pair.left, &journals[1])] {
        verdict.add(history(database, other).await?);
        let mut held = Verdict::default();
        for line in database.try_rows("SELECT state, count(*) FROM tidelock_held GROUP BY state").await? {
            let (state, count) = line.split_once('|').unwrap_or_default();
            let count = count.parse().unwrap_or(0);
            match state {
                "dead" => held.dead += count,
                "superseded" => {}
                _ => held.waiting += count,
            }
        }
        verdict.add(held);
    }
    Ok(verdict)
}

/// Each side holds the rows of both, exactly as they were last committed.
pub(in crate::real_servers) async fn rows(pair: &Pair, journals: &[Journal; 2]) -> Result<Verdict, sqlx::Error> {
    let mut verdict = Verdict::default();
    for (at, table) in TABLES.iter().enumerate() {
        let expected: Vec<String> = journals.iter().flat_map(|journal| journal.rows(at)).cloned().collect();
        for database in [&pair.left, &pair.right] {
            let seen = database.try_rows(&row_query(at)).await?;
            verdict.add(Verdict::compare(&format!("{} {table}", database.name), &expected, &seen));
        }
    }
    Ok(verdict)
}

/// The history at a side holds exactly what the load did on the other, each record once: nothing twice, nothing missing, no echo.
async fn history(database: &Database, journal: &Journal) -> Result<Verdict, sqlx::Error> {
    let q = quote(database);
    let lines = database.try_rows(&format!("SELECT topic, operation, {q}key{q}, {q}row{q} FROM history")).await?;
    let lines: Vec<String> = lines.iter().map(|line| Journal::line_of_history(line)).collect();
    let mut verdict = Verdict::compare(&format!("{} history", database.name), &journal.lines(), &lines);
    let sql =
        format!("SELECT count(*) FROM (SELECT DISTINCT topic, {q}partition{q}, {q}offset{q} FROM history) AS places");
    let places: u64 = database.try_rows(&sql).await?.first().and_then(|count| count.parse().ok()).unwrap_or(0);
    let twice = lines.len() as u64 - places;
    if twice > 0 {
        verdict.add(Verdict {
            doubled: twice,
            examples: vec![format!("{}: {twice} lines of history are of a record that has one already", database.name)],
            ..Verdict::default()
        });
    }
    Ok(verdict)
}
