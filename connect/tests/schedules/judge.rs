//! What the target and the dead-letter topic must have when everything is at rest.

use std::collections::{BTreeMap, BTreeSet};

use topology::data::Value;
use topology::output::Output;
use topology::raw::headers;

use super::Schedule;
use super::source::Fate;

impl Schedule<'_> {
    pub(crate) async fn judge(&mut self) -> Result<(), String> {
        let users = self.source.users.iter().map(|(key, user)| user.values(*key)).collect::<Vec<_>>();
        let parents = self.source.parents.iter().map(|(key, version)| numbers(&[*key, *version])).collect::<Vec<_>>();
        let children = self.source.children.iter();
        let children = children.map(|(key, (version, parent))| numbers(&[*key, *version, *parent])).collect::<Vec<_>>();
        for (table, columns, model) in [
            ("users", "id, row_id, version, name, blob_text", users),
            ("parents", "id, version", parents),
            ("children", "id, version, parent", children),
        ] {
            let found = self.target.rows(&format!("SELECT {columns} FROM {table} ORDER BY id")).await;
            let model: Vec<String> = model.iter().map(|row| text(row)).collect();
            if found != model {
                return Err(format!("table {table} differs:\n  source {model:?}\n  target {found:?}"));
            }
        }
        let quote = self.target.quote();
        let place = format!("{quote}partition{quote}, {quote}offset{quote}");
        let history = self.places(&[Fate::Applied, Fate::DeadInMirror]);
        let dead = self.places(&[Fate::Dead, Fate::DeadInMirror]);
        let found = self.target.rows(&format!("SELECT {place} FROM users_history ORDER BY {place}")).await;
        if found != history {
            return Err(format!("history differs:\n  wanted {history:?}\n  found {found:?}"));
        }
        let select = format!(
            "SELECT {place} FROM tidelock_held WHERE state IN ('dead', 'superseded') AND class = 'data' AND direction = 'mirror' \
             ORDER BY {place}"
        );
        let found = self.target.rows(&select).await;
        if found != dead {
            return Err(format!("dead letters differ:\n  wanted {dead:?}\n  found {found:?}"));
        }
        self.judge_outputs()
    }

    /// Partition and offset of the users records with one of these fates.
    fn places(&self, fates: &[Fate]) -> Vec<String> {
        let due = self.fates.iter().filter(|(_, fate)| fates.contains(fate));
        due.map(|((partition, offset), _)| format!("{partition}|{offset}")).collect()
    }

    /// Rules O1, O2: every dead record is published once per direction, and no number is given twice or goes back.
    fn judge_outputs(&self) -> Result<(), String> {
        let mut last: BTreeMap<String, i64> = BTreeMap::new();
        let mut published: BTreeMap<(String, String), usize> = BTreeMap::new();
        for output in self.broker.outputs() {
            let before = last.insert(output.task.to_string(), output.seq).unwrap_or(0);
            if output.seq <= before {
                return Err(format!("O1: {} published output {} after {before}", output.task, output.seq));
            }
            let offset =
                offset_of(output).ok_or_else(|| format!("O1: an output of {} names no offset", output.task))?;
            let place = (output.task.direction.to_string(), format!("{}|{offset}", output.task.partition));
            *published.entry(place).or_default() += 1;
        }
        let of = |direction: &str, fates| {
            self.places(fates).into_iter().map(|place| (direction.to_owned(), place)).collect::<Vec<_>>()
        };
        let due: BTreeSet<_> =
            of("mirror", &[Fate::Dead, Fate::DeadInMirror]).into_iter().chain(of("history", &[Fate::Dead])).collect();
        if let Some((place, times)) = published.iter().find(|(place, times)| **times > 1 || !due.contains(*place)) {
            return Err(format!("O2: the dead letter of {place:?} was published {times} times"));
        }
        match due.iter().find(|place| !published.contains_key(*place)) {
            Some(place) => Err(format!("O2: the dead letter of {place:?} was never published")),
            None => Ok(()),
        }
    }
}

fn offset_of(output: &Output) -> Option<String> {
    let (_, value) = headers(&output.headers).find(|(name, _)| *name == "__connect.errors.offset")?;
    Some(std::str::from_utf8(value?).ok()?.to_owned())
}

fn numbers(numbers: &[i64]) -> Vec<Value> {
    numbers.iter().copied().map(Value::I64).collect()
}

fn text(row: &[Value]) -> String {
    let cells = row.iter().map(|value| match value {
        Value::I64(number) => number.to_string(),
        Value::Text(text) => text.clone(),
        other => format!("{other:?}"),
    });
    cells.collect::<Vec<_>>().join("|")
}
