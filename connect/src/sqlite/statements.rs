//! Text of the statements on users' rows, per shape and number of rows.

use crate::sql::dialect::{quote, quote_table};
use crate::sql::plan::{RowOperation, Shape, TablePlan};

use super::dialect::Sqlite;

fn name(column: &str) -> String {
    quote(&Sqlite, column)
}

/// `"a" IS NOT <right>`, by bytes: the column's collation must not make a change invisible.
fn differs(plan: &TablePlan, at: usize, right: &str) -> String {
    format!("{}.{} IS NOT {right} COLLATE BINARY", quote_table(&Sqlite, &plan.name), name(&plan.columns[at].name))
}

fn tuples(width: usize, rows: usize) -> String {
    let tuple = format!("({})", vec!["?"; width].join(","));
    vec![tuple; rows].join(",")
}

fn key_list(plan: &TablePlan) -> String {
    plan.key.iter().map(|at| name(&plan.columns[*at].name)).collect::<Vec<_>>().join(", ")
}

fn insert_into(plan: &TablePlan, rows: usize) -> String {
    let columns = plan.columns.iter().map(|column| name(&column.name)).collect::<Vec<_>>().join(", ");
    format!("INSERT INTO {} ({columns}) VALUES {}", quote_table(&Sqlite, &plan.name), tuples(plan.columns.len(), rows))
}

/// The statement of `rows` rows of a shape; arguments row by row in cell order. `Update` and `Rename` take one row at a time:
/// set values, key values, and for `Update` the set values again.
pub(super) fn text(shape: &Shape, rows: usize) -> String {
    let plan = &*shape.plan;
    let table = quote_table(&Sqlite, &plan.name);
    match shape.operation {
        RowOperation::Insert => insert_into(plan, rows),
        RowOperation::InsertIfAbsent => {
            format!("{} ON CONFLICT ({}) DO NOTHING", insert_into(plan, rows), key_list(plan))
        }
        RowOperation::Upsert => {
            let rest = plan.rest();
            if rest.is_empty() {
                return format!("{} ON CONFLICT ({}) DO NOTHING", insert_into(plan, rows), key_list(plan));
            }
            let excluded = |at: usize| format!("excluded.{}", name(&plan.columns[at].name));
            let set: Vec<String> =
                rest.iter().map(|at| format!("{} = {}", name(&plan.columns[*at].name), excluded(*at))).collect();
            let changed: Vec<String> = rest.iter().map(|at| differs(plan, *at, &excluded(*at))).collect();
            format!(
                "{} ON CONFLICT ({}) DO UPDATE SET {} WHERE {}",
                insert_into(plan, rows),
                key_list(plan),
                set.join(", "),
                changed.join(" OR ")
            )
        }
        RowOperation::Update => {
            let count = shape.columns.len();
            let set: Vec<String> = shape
                .columns
                .iter()
                .enumerate()
                .map(|(number, at)| format!("{} = ?{}", name(&plan.columns[*at].name), number + 1))
                .collect();
            let changed: Vec<String> = shape
                .columns
                .iter()
                .enumerate()
                .map(|(number, at)| differs(plan, *at, &format!("?{}", number + 1)))
                .collect();
            let key = where_key(plan, count);
            format!("UPDATE {table} SET {} WHERE {key} AND ({})", set.join(", "), changed.join(" OR "))
        }
        RowOperation::Delete => match plan.key.as_slice() {
            [at] => {
                format!(
                    "DELETE FROM {table} WHERE {} IN ({})",
                    name(&plan.columns[*at].name),
                    vec!["?"; rows].join(",")
                )
            }
            key => format!("DELETE FROM {table} WHERE ({}) IN (VALUES {})", key_list(plan), tuples(key.len(), rows)),
        },
        RowOperation::Rename => {
            let set: Vec<String> = plan
                .key
                .iter()
                .enumerate()
                .map(|(number, at)| format!("{} = ?{}", name(&plan.columns[*at].name), number + 1))
                .collect();
            format!("UPDATE {table} SET {} WHERE {}", set.join(", "), where_key(plan, plan.key.len()))
        }
    }
}

/// `"k" = ?n …`, numbering from `skip + 1`.
pub(super) fn where_key(plan: &TablePlan, skip: usize) -> String {
    plan.key
        .iter()
        .enumerate()
        .map(|(number, at)| format!("{} = ?{}", name(&plan.columns[*at].name), skip + number + 1))
        .collect::<Vec<_>>()
        .join(" AND ")
}

/// 1 when the key's row is there; arguments: the key.
pub(super) fn present(plan: &TablePlan) -> String {
    format!("SELECT 1 FROM {} WHERE {}", quote_table(&Sqlite, &plan.name), where_key(plan, 0))
}

/// How many of `rows` full rows are in the table exactly so.
pub(super) fn count_equal(plan: &TablePlan, rows: usize) -> String {
    let equal: Vec<String> = plan
        .columns
        .iter()
        .enumerate()
        .filter(|(at, _)| !plan.insert_only.contains(at))
        .map(|(at, column)| format!("t.{} IS v.column{} COLLATE BINARY", name(&column.name), at + 1))
        .collect();
    format!(
        "SELECT COUNT(*) FROM (VALUES {}) AS v JOIN {} AS t ON {}",
        tuples(plan.columns.len(), rows),
        quote_table(&Sqlite, &plan.name),
        equal.join(" AND ")
    )
}
