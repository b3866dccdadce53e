//! What a captured table looks like. Stored as JSON in `tidelock_layouts`, so that a change can be read in the shape its table had
//! when it was made, whatever became of the table since.

use avro::field_name;
use serde::{Deserialize, Serialize};
use sqlx::{AssertSqlSafe, Row, SqliteConnection};
use topology::{Error, ErrorKind, Result, Stage};

use super::fault::fault;

/// One stored column.
#[derive(Clone, Debug, PartialEq, Eq, Hash, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct CapturedColumn {
    /// Name as declared.
    pub name: String,
    /// Declared type, a hint; empty when there is none.
    pub declared: String,
    /// Whether NULL may stand here.
    pub nullable: bool,
}

/// One table as triggers record it. Computed columns are left out: the target computes its own.
#[derive(Clone, Debug, PartialEq, Eq, Hash, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct CapturedTable {
    /// Name as declared.
    pub name: String,
    /// Columns in table order.
    pub columns: Vec<CapturedColumn>,
    /// `key[i]` is the index in `columns` of the i-th column of the primary key.
    pub key: Vec<usize>,
    /// How to walk the table from any row onwards.
    pub order: WalkOrder,
}

/// What orders the rows of a table without a sort.
#[derive(Clone, Debug, PartialEq, Eq, Hash, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum WalkOrder {
    /// The rowid, by a name that no column hides.
    Rowid(String),
    /// The primary key, of a table WITHOUT ROWID.
    Key,
}

impl CapturedTable {
    /// The key's columns in key order.
    pub fn key_columns(&self) -> impl Iterator<Item = &CapturedColumn> {
        self.key.iter().filter_map(|at| self.columns.get(*at))
    }
}

/// Looks a table up in the live database.
///
/// # Errors
/// `Configuration` when it is missing, no ordinary table, without primary key, or one of ours; `Environment` when SQLite fails.
pub async fn describe(connection: &mut SqliteConnection, name: &str) -> Result<CapturedTable> {
    let refuse = |why: &str| {
        Error::new(ErrorKind::Configuration, Stage::Capture, "cannot capture table", format!("\"{name}\" {why}"))
    };
    let failed = |error| fault("cannot read the schema of a table", format!("\"{name}\""), error);
    let found =
        sqlx::query("SELECT name, type, wr FROM pragma_table_list WHERE schema = 'main' AND lower(name) = lower(?)")
            .bind(name)
            .fetch_optional(&mut *connection)
            .await
            .map_err(failed)?
            .ok_or_else(|| refuse("does not exist; correct the name, or create the table first"))?;
    let (declared, kind, without_rowid): (String, String, bool) = (
        found.try_get(0).map_err(failed)?,
        found.try_get(1).map_err(failed)?,
        found.try_get::<i64, _>(2).map_err(failed)? != 0,
    );
    let lower = declared.to_lowercase();
    if lower.starts_with("tidelock_") || lower.starts_with("sqlite_") {
        return Err(refuse("belongs to Tidelock or SQLite; only tables of the application can be captured"));
    }
    if kind != "table" {
        return Err(refuse(&format!("is a {kind} table or view; only ordinary tables have triggers on their rows")));
    }
    let rows = sqlx::query("SELECT name, type, \"notnull\", pk, hidden FROM pragma_table_xinfo(?) ORDER BY cid")
        .bind(&declared)
        .fetch_all(&mut *connection)
        .await
        .map_err(failed)?;
    let mut columns = Vec::new();
    let mut key: Vec<(i64, usize)> = Vec::new();
    for row in &rows {
        let hidden: i64 = row.try_get(4).map_err(failed)?;
        if hidden != 0 {
            continue;
        }
        let place: i64 = row.try_get(3).map_err(failed)?;
        if place > 0 {
            key.push((place, columns.len()));
        }
        let not_null: i64 = row.try_get(2).map_err(failed)?;
        columns.push(CapturedColumn {
            name: row.try_get(0).map_err(failed)?,
            declared: row.try_get(1).map_err(failed)?,
            // A key column of an ordinary table may hold NULL unless it says NOT NULL: an old bug that SQLite keeps.
            nullable: not_null == 0 && !(without_rowid && place > 0),
        });
    }
    key.sort_unstable();
    let key: Vec<usize> = key.into_iter().map(|(_, at)| at).collect();
    if key.is_empty() {
        return Err(refuse("has no primary key, so its changes can't be told apart; add one"));
    }
    if let [only] = key[..]
        && !without_rowid
        && let Some(column) = columns.get_mut(only)
        && column.declared.eq_ignore_ascii_case("INTEGER")
    {
        column.nullable = false; // an alias of the rowid
    }
    let mut fields: Vec<String> = columns.iter().map(|column| field_name(&column.name)).collect();
    fields.sort_unstable();
    if let Some(twice) = fields.windows(2).find(|pair| pair[0] == pair[1]) {
        let why = format!("has two columns whose names are both \"{}\" in Avro; rename one", twice[0]);
        return Err(refuse(&why));
    }
    let order = if without_rowid {
        WalkOrder::Key
    } else {
        WalkOrder::Rowid(rowid_name(&columns).ok_or_else(|| {
            refuse("has columns named rowid, oid and _rowid_, which hide SQLite's row number; rename one")
        })?)
    };
    Ok(CapturedTable { name: declared, columns, key, order })
}

fn rowid_name(columns: &[CapturedColumn]) -> Option<String> {
    let hidden = |name: &str| columns.iter().any(|column| column.name.eq_ignore_ascii_case(name));
    ["rowid", "_rowid_", "oid"].into_iter().find(|name| !hidden(name)).map(str::to_owned)
}

/// Names of the unique indexes besides the primary key: what `REPLACE` could delete rows for without any trigger seeing it.
///
/// # Errors
/// `Environment` when SQLite fails.
pub async fn unique_indexes(connection: &mut SqliteConnection, table: &str) -> Result<Vec<String>> {
    sqlx::query_scalar(AssertSqlSafe("SELECT name FROM pragma_index_list(?) WHERE \"unique\" = 1 AND origin <> 'pk'"))
        .bind(table)
        .fetch_all(connection)
        .await
        .map_err(|error| fault("cannot read the indexes of a table", format!("\"{table}\""), error))
}
