//! The judge of the load: what both sides, their histories and the load's own journals say of each other. Nothing that the engine says
//! counts here.

use std::collections::BTreeMap;
use std::time::{Duration, Instant};

use tidelock_tests::database::Database;
use tidelock_tests::pair::Pair;
use tidelock_tests::topic;

use super::load_side::{Journal, TABLES, row_query};

/// When nothing has moved for so long, what is missing is looked for in the topics.
const STANDS_AFTER: Duration = Duration::from_secs(60);

/// The table whose rows change their keys.
const MOVING: &str = "items";

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
    /// Create halves of key changes that are on no topic: Debezium's connector for PostgreSQL skips the second half when it stops between the two
    /// (the same position, as in debezium/dbz#1554). Not lost by the engine, and not counted as lost.
    pub(in crate::real_servers) lost_at_source: u64,
    /// Of what is counted as lost: lines of history, and items.
    missing: Vec<String>,
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
        self.lost_at_source += other.lost_at_source;
        self.missing.extend(other.missing);
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
                verdict.missing.extend(std::iter::repeat_n((*line).clone(), count.unsigned_abs() as usize));
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
    let (mut seen, mut since) = (Vec::new(), Instant::now());
    loop {
        let is_over = Instant::now() >= deadline;
        let now = counts(pair).await.unwrap_or_default();
        if now != seen {
            (seen, since) = (now, Instant::now());
        }
        let stands = since.elapsed() >= STANDS_AFTER;
        // Counting is cheap, comparing is not.
        if is_over || stands || is_as_much(pair, journals).await.unwrap_or(false) {
            match verdict(pair, journals).await {
                Ok(verdict) if verdict.is_clean() => return verdict,
                Ok(verdict) if is_over || stands => {
                    let verdict = verdict.without_what_no_topic_has(pair).await;
                    if is_over || verdict.is_clean() {
                        return verdict;
                    }
                    since = Instant::now();
                }
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

/// What may still move.
async fn counts(pair: &Pair) -> Result<Vec<Vec<String>>, sqlx::Error> {
    let mut counts = Vec::new();
    for database in [&pair.left, &pair.right] {
        counts.push(database.try_rows("SELECT count(*) FROM tidelock_held WHERE state <> 'superseded'").await?);
        counts.push(database.try_rows("SELECT count(*) FROM history").await?);
    }
    Ok(counts)
}

/// Name and version of an item that a key change made, from a line of the journal or a row of [`row_query`].
fn moved_item(line: &str) -> Option<(&str, i64)> {
    let (name, version) = match line.strip_prefix("c items ") {
        Some(rest) => rest.rsplit_once(' ')?,
        None => {
            let mut cells = line.split('|').skip(1);
            (cells.next()?, cells.next()?)
        }
    };
    let version = version.parse().ok().filter(|version| *version > 1)?;
    Some((name, version))
}

/// As Avro has a short text and a number behind it.
fn encoded(name: &str, version: i64) -> Vec<u8> {
    let mut bytes = vec![2 * name.len() as u8];
    bytes.extend_from_slice(name.as_bytes());
    let mut rest = 2 * version as u64;
    while rest >= 0x80 {
        bytes.push(rest as u8 | 0x80);
        rest >>= 7;
    }
    bytes.push(rest as u8);
    bytes
}

impl Verdict {
    /// The engine can't lose what no topic has.
    async fn without_what_no_topic_has(mut self, pair: &Pair) -> Verdict {
        let moved: Vec<Vec<u8>> = self
            .missing
            .iter()
            .filter_map(|line| moved_item(line))
            .map(|(name, version)| encoded(name, version))
            .collect();
        if moved.is_empty() {
            return self;
        }
        let mut unpublished = vec![true; moved.len()];
        for side in &pair.running.example.sides {
            for record in topic::read(&pair.running.topic(side, MOVING)).await {
                let Some(value) = record.value else { continue };
                for (bytes, unpublished) in moved.iter().zip(&mut unpublished) {
                    *unpublished &= !value.windows(bytes.len()).any(|part| part == bytes.as_slice());
                }
            }
        }
        let never = unpublished.into_iter().filter(|unpublished| *unpublished).count() as u64;
        self.lost_at_source += never;
        self.lost -= never;
        self
    }
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
            let mut compared = Verdict::compare(&format!("{} {table}", database.name), &expected, &seen);
            if *table != MOVING {
                compared.missing.clear();
            }
            verdict.add(compared);
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

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn items_that_moved_are_known_by_name_and_version() {
        assert_eq!(moved_item("c items right 2608 3"), Some(("right 2608", 3)));
        assert_eq!(moved_item("11778|right 2608|3|1.00|NULL|8"), Some(("right 2608", 3)));
        assert_eq!(moved_item("c items right 2608 1"), None, "an insert");
        assert_eq!(moved_item("u items right 2608 3"), None);
        assert_eq!(encoded("right 2608", 3), b"\x14right 2608\x06");
        assert_eq!(encoded("left 1", 64)[7..], [0x80, 0x01]);
    }
}
