//! Text of the statements on users' rows. One per shape: arrays make it independent of the number of rows.
//!
//! `u(c0, c1, …)` are the parameters as rows; column i of the plan travels as `ci`.

use crate::sql::dialect::{quote, quote_table};
use crate::sql::plan::{RowOperation, Shape, TablePlan};
use topology::table::Generated;

use super::dialect::Postgres;
use super::wire::{cast, compares_by_image, key_cast, wire};

fn name(column: &str) -> String {
    quote(&Postgres, column)
}

fn table(plan: &TablePlan) -> String {
    quote_table(&Postgres, &plan.name)
}

/// `unnest($1::int8[], …) AS u(c0, …)` of these columns, numbering parameters from 1.
fn source(plan: &TablePlan, columns: &[usize]) -> String {
    let arrays: Vec<String> = columns
        .iter()
        .enumerate()
        .map(|(number, at)| format!("${}::{}", number + 1, wire(&plan.columns[*at]).array_name()))
        .collect();
    let names: Vec<String> = columns.iter().map(|at| format!("c{at}")).collect();
    format!("unnest({}) AS u({})", arrays.join(", "), names.join(", "))
}

/// `u.ci`, cast where assigning or comparing needs it.
fn value(plan: &TablePlan, at: usize) -> String {
    match cast(&plan.columns[at]) {
        Some(to) => format!("u.c{at}::{to}"),
        None => format!("u.c{at}"),
    }
}

fn key_value(plan: &TablePlan, at: usize) -> String {
    match key_cast(&plan.columns[at]) {
        Some(to) => format!("u.c{at}::{to}"),
        None => format!("u.c{at}"),
    }
}

fn list(parts: impl Iterator<Item = String>) -> String {
    parts.collect::<Vec<_>>().join(", ")
}

fn same_key(plan: &TablePlan) -> String {
    let parts: Vec<String> =
        plan.key.iter().map(|at| format!("t.{} = {}", name(&plan.columns[*at].name), key_value(plan, *at))).collect();
    parts.join(" AND ")
}

/// True when any of these columns of `t` differs from the value; never NULL. Types whose `=` is not identity compare by stored bytes.
fn differs(plan: &TablePlan, columns: &[usize], right: &dyn Fn(usize) -> String) -> String {
    let left = |at: usize| format!("t.{}", name(&plan.columns[at].name));
    let mut parts: Vec<String> = Vec::new();
    let (by_image, by_value): (Vec<usize>, Vec<usize>) =
        columns.iter().partition(|at| compares_by_image(&plan.columns[**at]));
    for at in &by_value {
        parts.push(format!("{} IS DISTINCT FROM {}", left(*at), right(*at)));
    }
    if !by_image.is_empty() {
        let lefts = list(by_image.iter().map(|at| left(*at)));
        let rights = list(by_image.iter().map(|at| right(*at)));
        // With the casts this is the operator on records; without them it would be a comparison column by column.
        parts.push(format!("ROW({lefts})::record *<> ROW({rights})::record"));
    }
    parts.join(" OR ")
}

/// The value as the column would store it, for comparing by stored bytes.
fn stored(plan: &TablePlan, at: usize) -> String {
    let column = &plan.columns[at];
    if compares_by_image(column) { format!("u.c{at}::{}", column.native) } else { value(plan, at) }
}

fn insert(plan: &TablePlan, columns: &[usize], from: &str) -> String {
    let names = list(columns.iter().map(|at| name(&plan.columns[*at].name)));
    let values = list(columns.iter().map(|at| value(plan, *at)));
    let overriding = if plan.columns.iter().any(|column| column.generated == Generated::Always) {
        " OVERRIDING SYSTEM VALUE"
    } else {
        ""
    };
    format!("INSERT INTO {} AS t ({names}){overriding} SELECT {values} FROM {from}", table(plan))
}

/// The statement of a shape.
pub(super) fn text(shape: &Shape) -> String {
    let plan = &*shape.plan;
    let key_names = list(plan.key.iter().map(|at| name(&plan.columns[*at].name)));
    match shape.operation {
        RowOperation::Insert => insert(plan, &shape.columns, &source(plan, &shape.columns)),
        RowOperation::Upsert => {
            let insert = insert(plan, &shape.columns, &source(plan, &shape.columns));
            let rest = plan.rest();
            if rest.is_empty() {
                return format!("{insert} ON CONFLICT ({key_names}) DO NOTHING");
            }
            let excluded = |at: usize| format!("excluded.{}", name(&plan.columns[at].name));
            let set = list(rest.iter().map(|at| format!("{} = {}", name(&plan.columns[*at].name), excluded(*at))));
            format!("{insert} ON CONFLICT ({key_names}) DO UPDATE SET {set} WHERE {}", differs(plan, &rest, &excluded))
        }
        RowOperation::InsertIfAbsent => {
            // Both counts see the table as it was before this statement.
            let all = &shape.columns;
            let columns = list(all.iter().map(|at| format!("c{at}")));
            let right = |at: usize| stored(plan, at);
            let rest = plan.rest();
            let equal =
                if rest.is_empty() { "TRUE".to_owned() } else { format!("NOT ({})", differs(plan, &rest, &right)) };
            format!(
                "WITH u AS MATERIALIZED (SELECT {columns} FROM {}), i AS ({} ON CONFLICT ({key_names}) DO NOTHING RETURNING 1) \
                 SELECT (SELECT COUNT(*) FROM i), (SELECT COUNT(*) FROM {} AS t JOIN u ON {} WHERE {equal})",
                source(plan, all),
                insert(plan, all, "u"),
                table(plan),
                same_key(plan),
            )
        }
        RowOperation::Update => {
            let carried = update_columns(shape);
            let columns = list(carried.iter().map(|at| format!("c{at}")));
            let set = list(
                shape.columns.iter().map(|at| format!("{} = {}", name(&plan.columns[*at].name), value(plan, *at))),
            );
            let right = |at: usize| stored(plan, at);
            let key = same_key(plan);
            format!(
                "WITH u AS MATERIALIZED (SELECT {columns} FROM {}), d AS (UPDATE {} AS t SET {set} FROM u WHERE {key} AND ({}) RETURNING 1) \
                 SELECT (SELECT COUNT(*) FROM {} AS t JOIN u ON {key}), (SELECT COUNT(*) FROM d)",
                source(plan, &carried),
                table(plan),
                differs(plan, &shape.columns, &right),
                table(plan),
            )
        }
        RowOperation::Delete => match plan.key.as_slice() {
            [at] => {
                let column = &plan.columns[*at];
                let to = key_cast(column).map(|to| format!("::{to}[]")).unwrap_or_default();
                let array = wire(column).array_name();
                format!("DELETE FROM {} WHERE {} = ANY($1::{array}{to})", table(plan), name(&column.name))
            }
            key => format!("DELETE FROM {} AS t USING {} WHERE {}", table(plan), source(plan, key), same_key(plan)),
        },
        RowOperation::Rename => {
            // Parameters: the old keys' columns, then the new keys' columns.
            let width = plan.key.len();
            let array = |number: usize, at: usize| format!("${number}::{}", wire(&plan.columns[at]).array_name());
            let arrays = plan
                .key
                .iter()
                .enumerate()
                .map(|(number, at)| array(number + 1, *at))
                .chain(plan.key.iter().enumerate().map(|(number, at)| array(width + number + 1, *at)));
            let names = plan.key.iter().map(|at| format!("c{at}")).chain(plan.key.iter().map(|at| format!("n{at}")));
            let set = plan.key.iter().map(|at| {
                let to = cast(&plan.columns[*at]).map(|to| format!("::{to}")).unwrap_or_default();
                format!("{} = u.n{at}{to}", name(&plan.columns[*at].name))
            });
            format!(
                "UPDATE {} AS t SET {} FROM unnest({}) AS u({}) WHERE {}",
                table(plan),
                list(set),
                list(arrays),
                list(names),
                same_key(plan)
            )
        }
    }
}

/// Columns that an `Update` carries: the set ones and the key.
pub(super) fn update_columns(shape: &Shape) -> Vec<usize> {
    shape.columns.iter().chain(&shape.plan.key).copied().collect()
}

/// Locks and finds one key's row; parameters: the key's columns.
pub(super) fn present(plan: &TablePlan) -> String {
    format!("SELECT 1 FROM {} AS t, {} WHERE {} FOR UPDATE OF t", table(plan), source(plan, &plan.key), same_key(plan))
}

/// Numbers, from 1, of the keys that are there; parameters: the key's columns.
pub(super) fn exist(plan: &TablePlan) -> String {
    let numbered = source(plan, &plan.key).replace(" AS u(", " WITH ORDINALITY AS u(");
    let numbered = format!("{}, number)", numbered.strip_suffix(')').unwrap_or(&numbered));
    format!("SELECT u.number FROM {numbered} JOIN {} AS t ON {}", table(plan), same_key(plan))
}
