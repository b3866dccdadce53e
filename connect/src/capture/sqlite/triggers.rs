//! The SQL of the change log and of the triggers that fill it. Text only: nothing is executed here.
//!
//! Triggers run inside the application's own statements, with whatever SQLite library the application has, so they use only
//! functions that every build since 3.38 has (`json_quote`, `hex`, `abs`), and none that a hardened build forbids in triggers.

use super::table::{CapturedTable, WalkOrder};

/// The change log. Ids are never used twice, not even after all rows were deleted (AUTOINCREMENT).
pub const CHANGE_LOG: &str = "tidelock_changes";

/// Tables of the capture, made by [`super::install()`]. `tidelock_origin` holds the tag that the engine's own writer sets and clears
/// inside its transaction: SQLite has one writer at a time, so nobody else's change can see it.
pub const TABLES: [&str; 6] = [
    "CREATE TABLE IF NOT EXISTS tidelock_changes (
  id INTEGER PRIMARY KEY AUTOINCREMENT,
  table_name TEXT NOT NULL,
  layout INTEGER NOT NULL,
  operation TEXT NOT NULL CHECK (operation IN ('c', 'u', 'd', 'r')),
  key TEXT NOT NULL,
  before TEXT,
  after TEXT,
  tag TEXT,
  committed_at_ms INTEGER NOT NULL
)",
    "CREATE TABLE IF NOT EXISTS tidelock_layouts (
  id INTEGER PRIMARY KEY AUTOINCREMENT,
  description TEXT NOT NULL UNIQUE
)",
    "CREATE TABLE IF NOT EXISTS tidelock_captured (
  table_name TEXT PRIMARY KEY,
  layout INTEGER NOT NULL,
  snapshot TEXT NOT NULL CHECK (snapshot IN ('pending', 'done')),
  position TEXT
)",
    "CREATE TABLE IF NOT EXISTS tidelock_log (
  id INTEGER PRIMARY KEY CHECK (id = 1),
  incarnation TEXT NOT NULL
)",
    "CREATE TABLE IF NOT EXISTS tidelock_origin (
  id INTEGER PRIMARY KEY CHECK (id = 1),
  tag TEXT
)",
    "CREATE TABLE IF NOT EXISTS tidelock_powers (
  exponent INTEGER PRIMARY KEY,
  power REAL NOT NULL UNIQUE
)",
];

/// Exponents of all powers of two that a double can hold. The powers are bound as values when the table is filled, not written as
/// digits, which SQLite would not read exactly.
pub const EXPONENTS: std::ops::RangeInclusive<i32> = -1074..=1023;

/// The time of the statement in milliseconds since the epoch: within a transaction, so close to the commit.
const NOW_MS: &str = "CAST(ROUND((julianday('now') - 2440587.5) * 86400000.0) AS INTEGER)";

/// Largest magnitude that every JSON reader keeps exactly.
const JSON_INTEGER_MAX: i64 = (1 << 53) - 1;

/// A kind of change that has a trigger.
struct ChangeTrigger {
    /// Part of the trigger's name.
    name: &'static str,
    statement: &'static str,
    operation: &'static str,
    old: Option<&'static str>,
    new: Option<&'static str>,
}

const CHANGE_TRIGGERS: [ChangeTrigger; 3] = [
    ChangeTrigger { name: "insert", statement: "INSERT", operation: "c", old: None, new: Some("NEW") },
    ChangeTrigger { name: "update", statement: "UPDATE", operation: "u", old: Some("OLD"), new: Some("NEW") },
    ChangeTrigger { name: "delete", statement: "DELETE", operation: "d", old: Some("OLD"), new: None },
];

/// A name, quoted.
pub fn identifier(name: &str) -> String {
    format!("\"{}\"", name.replace('"', "\"\""))
}

/// A text literal.
pub fn literal(text: &str) -> String {
    format!("'{}'", text.replace('\'', "''"))
}

/// Names of the triggers on a table.
pub fn trigger_names(table: &str) -> [String; 3] {
    CHANGE_TRIGGERS.map(|trigger| format!("tidelock_{}_{table}", trigger.name))
}

/// The three statements that create the triggers of a table.
pub fn create_triggers(table: &CapturedTable, layout: i64) -> [String; 3] {
    CHANGE_TRIGGERS.map(|trigger| {
        let name = identifier(&format!("tidelock_{}_{}", trigger.name, table.name));
        let on = identifier(&table.name);
        let tag = "(SELECT tag FROM tidelock_origin WHERE id = 1)";
        let values = values(table, layout, trigger.operation, trigger.old, trigger.new, tag);
        let statement = trigger.statement;
        format!(
            "CREATE TRIGGER {name} AFTER {statement} ON {on} FOR EACH ROW BEGIN\n  {INSERT}\n  VALUES ({values});\nEND"
        )
    })
}

const INSERT: &str =
    "INSERT INTO tidelock_changes (table_name, layout, operation, key, before, after, tag, committed_at_ms)";

/// The statement that copies up to `rows` existing rows into the log as snapshot reads. Rows are those after the position bound to
/// the parameters, one per column of the walk order, or from the first row on if there is none yet.
pub fn copy_rows(table: &CapturedTable, layout: i64, is_first: bool, rows: u32) -> String {
    let values = values(table, layout, "r", None, Some("t"), "NULL");
    format!("{INSERT}\nSELECT {values} {}", walk(table, is_first, &format!("LIMIT {rows}")))
}

/// The statement that finds the position of the last of the next `rows` rows, as an image of the walk order's columns. No row means
/// that fewer are left.
pub fn position_after(table: &CapturedTable, is_first: bool, rows: u32) -> String {
    let position = object(order_columns(table).iter().map(|name| (name.as_str(), format!("t.{}", identifier(name)))));
    format!("SELECT CAST({position} AS BLOB) {}", walk(table, is_first, &format!("LIMIT 1 OFFSET {}", rows.max(1) - 1)))
}

fn walk(table: &CapturedTable, is_first: bool, limit: &str) -> String {
    let columns: Vec<String> = order_columns(table).iter().map(|name| format!("t.{}", identifier(name))).collect();
    let order = columns.join(", ");
    let after = if is_first {
        String::new()
    } else {
        let parameters = vec!["?"; columns.len()].join(", ");
        format!(" WHERE ({order}) > ({parameters})")
    };
    format!("FROM {} AS t{after} ORDER BY {order} {limit}", identifier(&table.name))
}

fn order_columns(table: &CapturedTable) -> Vec<String> {
    match &table.order {
        WalkOrder::Rowid(name) => vec![name.clone()],
        WalkOrder::Key => table.key_columns().map(|column| column.name.clone()).collect(),
    }
}

fn values(table: &CapturedTable, layout: i64, letter: &str, old: Option<&str>, new: Option<&str>, tag: &str) -> String {
    let cells = |row: &str, columns: &mut dyn Iterator<Item = &super::table::CapturedColumn>| {
        let cells: Vec<(String, String)> =
            columns.map(|column| (column.name.clone(), format!("{row}.{}", identifier(&column.name)))).collect();
        object(cells.iter().map(|(name, value)| (name.as_str(), value.clone())))
    };
    let image = |row: Option<&str>| row.map_or("NULL".to_owned(), |row| cells(row, &mut table.columns.iter()));
    // The key that the row had: a change of it is told by comparing with `after`.
    let key = cells(old.or(new).unwrap_or("NEW"), &mut table.key_columns());
    format!("{}, {layout}, '{letter}', {key}, {}, {}, {tag}, {NOW_MS}", literal(&table.name), image(old), image(new))
}

/// An expression that builds an image of named values.
fn object<'a>(cells: impl Iterator<Item = (&'a str, String)>) -> String {
    let mut pieces = Vec::new();
    for (at, (name, value)) in cells.enumerate() {
        let name = serde_json::Value::from(name).to_string();
        let opening = if at == 0 { "{" } else { "," };
        pieces.push(literal(&format!("{opening}{name}:")));
        pieces.push(cell(&value));
    }
    pieces.push(literal("}"));
    balanced(&pieces)
}

/// One value in the form that [`super::image`] reads.
///
/// `|| ''` takes away the mark that SQLite's JSON functions leave on their results: with it, `json_quote` would put a document
/// into the image as it is, not as the text that the column holds.
///
/// Reals are taken apart into a whole number and a power of two, which is exact in every step. Printing them is not: SQLite 3.51
/// prints every fifth double of random magnitude wrong, however many digits one asks for, and 3.40 some with 17 digits.
fn cell(value: &str) -> String {
    format!(
        "CASE typeof({value}) WHEN 'null' THEN 'null' \
         WHEN 'integer' THEN CASE WHEN {value} BETWEEN -{JSON_INTEGER_MAX} AND {JSON_INTEGER_MAX} THEN {value} || '' \
         ELSE '{{\"i\":\"' || {value} || '\"}}' END \
         WHEN 'real' THEN '{{\"r\":\"' || CASE WHEN {value} = 0 THEN '0' WHEN {value} = 9e999 THEN 'Inf' \
         WHEN {value} = -9e999 THEN '-Inf' ELSE (SELECT CAST({value} / power * 4503599627370496.0 AS INTEGER) || 'p' || \
         (exponent - 52) FROM tidelock_powers WHERE power <= abs({value}) ORDER BY power DESC LIMIT 1) END || '\"}}' \
         WHEN 'blob' THEN '{{\"x\":\"' || hex({value}) || '\"}}' \
         ELSE json_quote({value} || '') END"
    )
}

/// Concatenation as a balanced tree: SQLite limits the depth of an expression to 1000, and tables may have 2000 columns.
fn balanced(pieces: &[String]) -> String {
    match pieces {
        [] => "''".to_owned(),
        [one] => one.clone(),
        many => {
            let (left, right) = many.split_at(many.len() / 2);
            format!("({} || {})", balanced(left), balanced(right))
        }
    }
}
