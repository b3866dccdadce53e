//! One side's part of the load: random transactions on rows of its own, a journal of every change that was committed, and a shadow of every
//! row as it was last committed.

use std::collections::{BTreeMap, BTreeSet};
use std::time::{Duration, Instant};

use rand::Rng;
use rand::rngs::StdRng;
use rand::seq::IteratorRandom;
use tidelock_tests::database::Database;

/// Parents first.
pub(in crate::real_servers) const TABLES: [&str; 3] = ["accounts", "purchases", "items"];
/// Accounts that get a third of all changes.
const HOT_ROWS: usize = 5;
/// How long a server may refuse a transaction: the tests stop servers for much less.
const PATIENCE: Duration = Duration::from_secs(120);

/// One row of ours.
#[derive(Clone, Debug)]
struct Row {
    name: String,
    version: i64,
    amount: String,
    note: Option<String>,
    /// Row of the table before that it refers to; 0 for none.
    parent: i64,
}

/// What was done, one line per change event that the log must show.
#[derive(Debug, Default)]
pub(in crate::real_servers) struct Journal {
    lines: Vec<String>,
    changes: usize,
    rows: [Vec<String>; 3],
}

impl Journal {
    /// Number of changes; a key change is one.
    pub(in crate::real_servers) fn changes(&self) -> usize {
        self.changes
    }

    /// Number of lines.
    pub(in crate::real_servers) fn line_count(&self) -> usize {
        self.lines.len()
    }

    /// The lines, sorted.
    pub(in crate::real_servers) fn lines(&self) -> Vec<String> {
        let mut lines = self.lines.clone();
        lines.sort();
        lines
    }

    /// The side's rows of a table as they were last committed, as [`row_query`] answers.
    pub(in crate::real_servers) fn rows(&self, table: usize) -> &[String] {
        &self.rows[table]
    }

    /// The line of a row of a history table (topic, operation, key, row). A delete is known by its key: PostgreSQL's log has no more of it.
    pub(in crate::real_servers) fn line_of_history(row: &str) -> String {
        let mut parts = row.splitn(4, '|');
        let mut next = || parts.next().unwrap_or_default();
        let (topic, operation, key, row) = (next(), next(), next(), next());
        let table = topic.rsplit('.').next().unwrap_or_default();
        let json: serde_json::Value =
            serde_json::from_str(if operation == "d" { key } else { row }).unwrap_or_default();
        match operation {
            "d" => format!("d {table} {}", json["id"]),
            _ => format!("{operation} {table} {} {}", json["name"].as_str().unwrap_or("?"), json["version"]),
        }
    }
}

/// Asks for all of a table's rows, in the form of [`Journal::rows`].
pub(in crate::real_servers) fn row_query(table: usize) -> String {
    let reference = ["0", "account_id", "purchase_id"][table];
    format!("SELECT id, name, version, amount, note, {reference} FROM {}", TABLES[table])
}

/// One side of the load.
pub(in crate::real_servers) struct Side {
    database: Database,
    random: StdRng,
    word: &'static str,
    next_id: i64,
    next_name: u64,
    rows: [BTreeMap<i64, Row>; 3],
    hot: Vec<i64>,
    journal: Journal,
    /// The transaction being put together: statements, and what they will have done.
    sql: Vec<String>,
    lines: Vec<String>,
    /// Transactions so far; each leaves its number in `commits`.
    number: u64,
}

impl Side {
    /// `class`: what its ids are modulo 2.
    pub(in crate::real_servers) fn new(database: Database, class: i64, random: StdRng) -> Side {
        let word = if class == 1 { "left" } else { "right" };
        Side {
            database,
            random,
            word,
            next_id: 2 + class,
            next_name: 0,
            rows: Default::default(),
            hot: Vec::new(),
            journal: Journal::default(),
            sql: Vec::new(),
            lines: Vec::new(),
            number: 0,
        }
    }

    /// Commits random transactions until `changes` are done, about `rate` a second.
    pub(in crate::real_servers) async fn run(mut self, changes: usize, rate: f64) -> Journal {
        for _ in 0..HOT_ROWS * 4 {
            let account = self.insert(0, 0);
            let purchase = self.insert(1, account);
            self.insert(2, purchase);
            if self.hot.len() < HOT_ROWS {
                self.hot.push(account);
            }
        }
        self.commit().await;
        let started = Instant::now();
        while self.journal.changes < changes {
            self.choose();
            self.commit().await;
            let due = started + Duration::from_secs_f64(self.journal.changes as f64 / rate);
            tokio::time::sleep_until(due.into()).await;
        }
        for (table, rows) in self.rows.iter().enumerate() {
            let line = |(id, row): (&i64, &Row)| {
                let Row { name, version, amount, note, parent } = row;
                format!("{id}|{name}|{version}|{amount}|{}|{parent}", note.as_deref().unwrap_or("NULL"))
            };
            self.journal.rows[table] = rows.iter().map(line).collect();
        }
        self.journal
    }

    fn choose(&mut self) {
        match self.random.random_range(0..100) {
            0..34 => {
                let id = self.hot[self.random.random_range(0..HOT_ROWS)];
                self.update(0, id);
            }
            34..54 => {
                let table = self.random.random_range(0..3);
                if let Some(id) = self.any(table) {
                    self.update(table, id);
                }
            }
            54..70 => {
                if let Some(purchase) = self.any(1) {
                    self.insert(2, purchase);
                }
            }
            70..78 => {
                if let Some(item) = self.any(2) {
                    self.delete(2, item);
                }
            }
            78..86 => {
                if let Some(item) = self.any(2) {
                    self.change_key(item);
                }
            }
            86..91 => {
                let account = self.insert(0, 0);
                let purchase = self.insert(1, account);
                self.insert(2, purchase);
            }
            91..95 => {
                for table in 0..3 {
                    if let Some(id) = self.any(table) {
                        self.update(table, id);
                    }
                }
            }
            95..98 => self.delete_family(),
            _ => {
                // Gone and back within one transaction.
                if let Some(item) = self.any(2) {
                    let row = self.rows[2][&item].clone();
                    self.delete(2, item);
                    self.insert_row(2, item, Row { version: row.version + 1, ..row });
                }
            }
        }
    }

    fn any(&mut self, table: usize) -> Option<i64> {
        self.rows[table].keys().choose(&mut self.random).copied()
    }

    fn id(&mut self) -> i64 {
        self.next_id += 2;
        self.next_id
    }

    fn insert(&mut self, table: usize, parent: i64) -> i64 {
        self.next_name += 1;
        let (id, name) = (self.id(), format!("{} {}", self.word, self.next_name));
        self.insert_row(table, id, Row { name, version: 1, amount: String::new(), note: None, parent });
        id
    }

    fn insert_row(&mut self, table: usize, id: i64, row: Row) {
        let row = Row { amount: self.amount(), note: None, ..row };
        let amount = &row.amount;
        let (column, parent) = match table {
            0 => ("", String::new()),
            1 => (", account_id", format!(", {}", row.parent)),
            _ => (", purchase_id", format!(", {}", row.parent)),
        };
        self.sql.push(format!(
            "INSERT INTO {} (id, name, version, amount{column}) VALUES ({id}, '{}', {}, {amount}{parent})",
            TABLES[table], row.name, row.version
        ));
        self.lines.push(format!("c {} {} {}", TABLES[table], row.name, row.version));
        self.rows[table].insert(id, row);
        self.journal.changes += 1;
    }

    fn amount(&mut self) -> String {
        format!("{}.{:02}", self.random.random_range(-1000..1_000_000), self.random.random_range(0..100))
    }

    fn update(&mut self, table: usize, id: i64) {
        let amount = self.amount();
        let Some(row) = self.rows[table].get_mut(&id) else { return };
        row.version += 1;
        row.note = (row.version % 3 != 0).then(|| format!("note {}", row.version));
        let note = row.note.as_ref().map_or_else(|| "NULL".to_owned(), |note| format!("'{note}'"));
        self.sql.push(format!(
            "UPDATE {} SET version = {}, amount = {amount}, note = {note} WHERE id = {id}",
            TABLES[table], row.version
        ));
        row.amount = amount;
        self.lines.push(format!("u {} {} {}", TABLES[table], row.name, row.version));
        self.journal.changes += 1;
    }

    fn delete(&mut self, table: usize, id: i64) {
        self.sql.push(format!("DELETE FROM {} WHERE id = {id}", TABLES[table]));
        self.lines.push(format!("d {} {id}", TABLES[table]));
        self.rows[table].remove(&id);
        self.journal.changes += 1;
    }

    /// An item gets another key: the log has a delete and a create of it.
    fn change_key(&mut self, item: i64) {
        let id = self.id();
        let mut row = self.rows[2].remove(&item).expect("it was chosen from the rows");
        row.version += 1;
        self.sql.push(format!("UPDATE items SET id = {id}, version = {} WHERE id = {item}", row.version));
        self.lines.push(format!("d items {item}"));
        self.lines.push(format!("c items {} {}", row.name, row.version));
        self.rows[2].insert(id, row);
        self.journal.changes += 1;
    }

    /// An account with all that refers to it, children first.
    fn delete_family(&mut self) {
        let cold = self.rows[0].keys().filter(|id| !self.hot.contains(id));
        let Some(account) = cold.choose(&mut self.random).copied() else { return };
        let children = |rows: &BTreeMap<i64, Row>, parents: &BTreeSet<i64>| -> BTreeSet<i64> {
            rows.iter().filter(|(_, row)| parents.contains(&row.parent)).map(|(id, _)| *id).collect()
        };
        let purchases = children(&self.rows[1], &BTreeSet::from([account]));
        for item in children(&self.rows[2], &purchases) {
            self.delete(2, item);
        }
        for purchase in purchases {
            self.delete(1, purchase);
        }
        self.delete(0, account);
    }

    /// An error leaves open whether the transaction is committed. It is sent again then; if it was, its number is there already.
    async fn commit(&mut self) {
        let statements = std::mem::take(&mut self.sql);
        if statements.is_empty() {
            return;
        }
        self.number += 1;
        let sql = format!("BEGIN; INSERT INTO commits VALUES ({}); {}; COMMIT", self.number, statements.join("; "));
        let deadline = Instant::now() + PATIENCE;
        while let Err(error) = self.database.try_transaction(&sql).await {
            let was_committed = error
                .as_database_error()
                .is_some_and(|error| error.is_unique_violation() && error.message().contains("commits"));
            if was_committed {
                break;
            }
            assert!(Instant::now() < deadline, "{}: {error}\n{sql}", self.database.name);
            tokio::time::sleep(Duration::from_millis(100)).await;
        }
        self.journal.lines.append(&mut self.lines);
    }
}
