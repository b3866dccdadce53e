//! Compares both sides through the configured mapping, row by row: what the demo's last line says is what this has read.
//!
//! It shares no code with the lens that wrote the rows, so that a defect there does not hide itself here.

use std::collections::BTreeMap;

use connect::sql::connection::SqlConnection;
use topology::data::Value;
use topology::lens::declare::EntityDeclaration;

use crate::exit::{Failure, Result};

/// Rows that differ are told up to this many; the first ones say enough.
const TOLD_MAX: usize = 10;

/// A column on both sides and what its values become.
struct Pair {
    left: String,
    right: String,
    /// Left value as SQL literal → right one.
    values: BTreeMap<String, String>,
}

/// Differences of one entity between site `left` and site `right`, in sentences; empty when they are equal.
pub(super) async fn differences(
    name: &str,
    declaration: &EntityDeclaration,
    left: (&str, &mut (dyn SqlConnection + 'static)),
    right: (&str, &mut (dyn SqlConnection + 'static)),
) -> Result<Vec<String>> {
    let (left_table, right_table) = (declaration.table_at(left.0, name), declaration.table_at(right.0, name));
    let left_columns = columns(left.1, left_table).await?;
    let right_columns = columns(right.1, right_table).await?;
    let mut pairs = Vec::new();
    for column in left_columns {
        let field = declaration.fields.get(&column);
        let other = field.and_then(|field| field.to.clone()).unwrap_or_else(|| column.clone());
        let is_constant = declaration.constant.contains_key(&format!("{}.{column}", left.0))
            || declaration.constant.contains_key(&format!("{}.{other}", right.0));
        if is_constant || !right_columns.contains(&other) {
            continue;
        }
        let values = field.map(|field| &field.values).into_iter().flatten();
        let values = values.map(|(from, to)| (literal(from), literal(&to.to_string()))).collect();
        pairs.push(Pair { left: column, right: other, values });
    }
    let mut expected = rows(left.1, left_table, pairs.iter().map(|pair| pair.left.as_str())).await?;
    for row in expected.values_mut() {
        for (value, pair) in row.iter_mut().zip(&pairs) {
            if let Some(mapped) = pair.values.get(value) {
                value.clone_from(mapped);
            }
        }
    }
    let found = rows(right.1, right_table, pairs.iter().map(|pair| pair.right.as_str())).await?;
    let mut told = Vec::new();
    for key in expected.keys().chain(found.keys().filter(|key| !expected.contains_key(*key))) {
        match (expected.get(key), found.get(key)) {
            (Some(_), None) => told.push(format!("{name} {key}: only in {left_table}")),
            (None, _) => told.push(format!("{name} {key}: only in {right_table}")),
            (Some(expected), Some(found)) => {
                for (pair, (expected, found)) in pairs.iter().zip(expected.iter().zip(found)) {
                    if expected != found {
                        let (left, right) = (&pair.left, &pair.right);
                        told.push(format!("{name} {key}: {left} is {expected}, {right} is {found}"));
                    }
                }
            }
        }
    }
    told.truncate(TOLD_MAX);
    Ok(told)
}

/// Number of rows of a table.
pub(super) async fn count(connection: &mut (dyn SqlConnection + 'static), table: &str) -> Result<u64> {
    let rows = query(connection, &format!("SELECT count(*) FROM \"{table}\"")).await?;
    match rows.first().map(Vec::as_slice) {
        Some([Value::I64(count)]) => Ok(count.unsigned_abs()),
        _ => Ok(0),
    }
}

async fn columns(connection: &mut (dyn SqlConnection + 'static), table: &str) -> Result<Vec<String>> {
    let rows = query(connection, &format!("SELECT name FROM pragma_table_info('{table}') ORDER BY cid")).await?;
    Ok(rows.into_iter().filter_map(|row| row.into_iter().next().map(|value| text(&value))).collect())
}

/// Rows by the literal of their first column, which is the key; values as SQL literals, so that types are compared too.
async fn rows(
    connection: &mut (dyn SqlConnection + 'static),
    table: &str,
    columns: impl Iterator<Item = &str>,
) -> Result<BTreeMap<String, Vec<String>>> {
    let list: Vec<String> = columns.map(|column| format!("quote(\"{column}\")")).collect();
    let rows = query(connection, &format!("SELECT {} FROM \"{table}\"", list.join(", "))).await?;
    let texts = rows.into_iter().map(|row| row.iter().map(text).collect::<Vec<String>>());
    Ok(texts.filter_map(|row| Some((row.first()?.clone(), row))).collect())
}

async fn query(connection: &mut (dyn SqlConnection + 'static), sql: &str) -> Result<Vec<Vec<Value>>> {
    connection.query(sql, &[]).await.map_err(|error| {
        let error = topology::Error::from(error);
        Failure::Run(format!("cannot compare the sides: {}", crate::exit::with_causes(&error)))
    })
}

fn text(value: &Value) -> String {
    match value {
        Value::Text(text) => text.clone(),
        _ => String::new(),
    }
}

fn literal(text: &str) -> String {
    format!("'{}'", text.replace('\'', "''"))
}
