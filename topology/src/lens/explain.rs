//! The effective mapping in plain words, for `check` and `describe`.

use super::survey::{Feed, Severity, Survey};
use crate::data::{Value, decimal};

impl Survey<'_> {
    /// One line per written column, then the key, then what stays out.
    pub fn explain(&self) -> Vec<String> {
        let (source, target) = (self.request.source, self.request.target);
        let mut lines = vec![format!("{}: {} → {}", self.request.name, place(source), place(target))];
        for pair in &self.pairs {
            let column = &target.table.columns[pair.target];
            let to = format!("{} {}", column.name, column.native);
            lines.push(match &pair.feed {
                Feed::Column { source: from, values, default, planned, .. } => {
                    let from = &source.table.columns[*from];
                    let how = match values {
                        Some(values) => format!("values {}", values.explain()),
                        None => planned.fit.to_string(),
                    };
                    let null = if from.nullable && !column.nullable { "; NULL is refused" } else { "" };
                    let default = default.as_ref().map_or(String::new(), |value| format!("; default {}", show(value)));
                    format!("  {} {} → {to}: {how}{null}{default}", from.name, from.native)
                }
                Feed::Constant(value) => format!("  {to}: always {}", show(value)),
                Feed::OnInsert(value) => format!("  {to}: {} in inserted rows", show(value)),
            });
        }
        let names = |columns: &[usize], table: &crate::table::TableDescription| {
            columns.iter().map(|at| &*table.columns[*at].name).collect::<Vec<_>>().join(", ")
        };
        let key: Vec<usize> = self.key.iter().map(|pair| self.pairs[*pair].target).collect();
        lines.push(format!("  key: {}", if key.is_empty() { "none".into() } else { names(&key, target.table) }));
        if !self.unread.is_empty() {
            lines.push(format!("  only at {}: {}", source.site, names(&self.unread, source.table)));
        }
        if !self.unwritten.is_empty() {
            lines.push(format!("  left alone at {}: {}", target.site, names(&self.unwritten, target.table)));
        }
        for problem in &self.problems {
            let word = if problem.severity == Severity::Error { "error" } else { "warning" };
            lines.push(format!("  {word}: {}: {}", problem.path, problem.text));
        }
        lines
    }
}

fn place(side: super::survey::Side<'_>) -> String {
    format!("{} ({} at {})", side.table.name, side.engine.name(), side.site)
}

/// A configured value; these come from the configuration file, not from a row.
fn show(value: &Value) -> String {
    match value {
        Value::Null => "NULL".into(),
        Value::Bool(truth) => truth.to_string(),
        Value::I64(number) => number.to_string(),
        Value::U64(number) => number.to_string(),
        Value::Text(text) => format!("'{text}'"),
        Value::Decimal { unscaled, scale } => decimal::to_text(unscaled, *scale),
        _ => "the configured value".into(),
    }
}
