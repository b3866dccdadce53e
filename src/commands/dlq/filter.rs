//! Which held rows a command is about: options of the command line as a condition in SQL.

use std::fmt;
use std::str::FromStr;

use clap::{Args, ValueEnum};
use connect::sql::dialect::{Dialect, OwnType, quote};
use topology::data::Value;

use crate::config::{Config, Start};
use crate::directions;

/// Filters of `dlq`. All that are given must hold.
#[derive(Clone, Debug, Default, Args)]
pub(crate) struct DlqFilter {
    /// Direction, as `legacy->revamp`.
    #[arg(long, alias = "link", value_name = "FROM->TO")]
    pub(crate) direction: Option<String>,
    /// Target site.
    #[arg(long)]
    pub(crate) site: Option<String>,
    /// Entity, or its table at the target.
    #[arg(long)]
    pub(crate) entity: Option<String>,
    /// State; may be given several times.
    #[arg(long, value_enum)]
    pub(crate) state: Vec<StateName>,
    /// Class of the error: data, dependency, …
    #[arg(long)]
    pub(crate) class: Option<String>,
    /// Topic.
    #[arg(long)]
    pub(crate) topic: Option<String>,
    /// Partition.
    #[arg(long)]
    pub(crate) partition: Option<i32>,
    /// Offset, or the first and the last of a range: 10..20.
    #[arg(long)]
    pub(crate) offset: Option<Offsets>,
    /// Failed first within this time (90s, 15m, 2h, 3d), or since an instant (2026-05-01T00:00:00Z).
    #[arg(long)]
    pub(crate) since: Option<Since>,
}

/// States of held rows.
#[derive(Clone, Copy, Debug, PartialEq, Eq, ValueEnum)]
pub(crate) enum StateName {
    /// Waits for another row.
    Parked,
    /// Waits behind an earlier change of its key.
    Queued,
    /// Can't be applied as it is.
    Dead,
    /// Asked to be tried again, and not yet tried.
    Replay,
    /// A later change of its row is applied.
    Superseded,
}

impl StateName {
    fn word(self) -> &'static str {
        match self {
            StateName::Parked => "parked",
            StateName::Queued => "queued",
            StateName::Dead => "dead",
            StateName::Replay => "replay",
            StateName::Superseded => "superseded",
        }
    }
}

/// First and last offset.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct Offsets(i64, i64);

impl FromStr for Offsets {
    type Err = String;
    fn from_str(text: &str) -> Result<Offsets, String> {
        let number = |text: &str| text.parse::<i64>().map_err(|_| format!("`{text}` is no offset"));
        match text.split_once("..") {
            Some((first, last)) => Ok(Offsets(number(first)?, number(last)?)),
            None => number(text).map(|offset| Offsets(offset, offset)),
        }
    }
}

/// From when on.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Since {
    /// So many milliseconds ago, by the database's clock.
    Ago(i64),
    /// Milliseconds since 1970.
    Instant(i64),
}

impl FromStr for Since {
    type Err = String;
    fn from_str(text: &str) -> Result<Since, String> {
        if let Ok(Start::Timestamp(at)) = crate::config::parse_start(text) {
            return Ok(Since::Instant(at));
        }
        let wrong = || format!("`{text}` is no time; allowed: 90s, 15m, 2h, 3d, or 2026-05-01T00:00:00Z");
        let unit = match text.chars().last() {
            Some('s') => 1_000,
            Some('m') => 60_000,
            Some('h') => 3_600_000,
            Some('d') => 86_400_000,
            _ => return Err(wrong()),
        };
        let count: i64 = text[..text.len() - 1].parse().map_err(|_| wrong())?;
        Ok(Since::Ago(count.saturating_mul(unit)))
    }
}

/// A row by its place: `topic/partition/offset/ordinal`; without an ordinal the first.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct HeldId {
    topic: String,
    partition: i32,
    offset: i64,
    ordinal: i32,
}

impl fmt::Display for HeldId {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}/{}/{}/{}", self.topic, self.partition, self.offset, self.ordinal)
    }
}

impl FromStr for HeldId {
    type Err = String;
    fn from_str(text: &str) -> Result<HeldId, String> {
        let parts: Vec<&str> = text.split('/').collect();
        let (topic, numbers) = match parts.as_slice() {
            [topic, partition, offset] => (topic, [*partition, *offset, "0"]),
            [topic, partition, offset, ordinal] => (topic, [*partition, *offset, *ordinal]),
            _ => return Err("an id is topic/partition/offset/ordinal, as `tidelock dlq list` shows it".to_owned()),
        };
        let wrong = |text: &str| format!("`{text}` is no number");
        Ok(HeldId {
            topic: (*topic).to_owned(),
            partition: numbers[0].parse().map_err(|_| wrong(numbers[0]))?,
            offset: numbers[1].parse().map_err(|_| wrong(numbers[1]))?,
            ordinal: numbers[2].parse().map_err(|_| wrong(numbers[2]))?,
        })
    }
}

/// A condition with its parameters.
#[derive(Debug, Default)]
pub(crate) struct Condition {
    /// Text behind WHERE.
    pub(crate) sql: String,
    /// Values of its placeholders.
    pub(crate) values: Vec<Value>,
}

impl Condition {
    fn parameter(&mut self, dialect: &dyn Dialect, kind: OwnType, value: Value) -> String {
        self.values.push(value);
        dialect.placeholder(self.values.len(), kind)
    }

    fn and(&mut self, text: &str) {
        if !self.sql.is_empty() {
            self.sql.push_str(" AND ");
        }
        self.sql.push_str(text);
    }

    fn compare(&mut self, dialect: &dyn Dialect, column: &str, operator: &str, kind: OwnType, value: Value) {
        let parameter = self.parameter(dialect, kind, value);
        self.and(&format!("{} {operator} {parameter}", quote(dialect, column)));
    }

    /// The column has this value.
    pub(crate) fn equals(&mut self, dialect: &dyn Dialect, column: &str, kind: OwnType, value: Value) {
        self.compare(dialect, column, "=", kind, value);
    }

    /// The column has one of these words, which are ours.
    fn one_of(&mut self, dialect: &dyn Dialect, column: &str, words: &[String]) {
        let list: Vec<String> =
            words.iter().map(|word| self.parameter(dialect, OwnType::Name, Value::Text(word.clone()))).collect();
        self.and(&format!("{} IN ({})", quote(dialect, column), list.join(", ")));
    }
}

impl DlqFilter {
    /// True when it leaves nothing out.
    pub(crate) fn is_empty(&self) -> bool {
        let DlqFilter { direction, site, entity, state, class, topic, partition, offset, since } = self;
        direction.is_none()
            && site.is_none()
            && entity.is_none()
            && state.is_empty()
            && class.is_none()
            && topic.is_none()
            && partition.is_none()
            && offset.is_none()
            && since.is_none()
    }

    /// The states asked for, or the usual ones; none means all.
    pub(crate) fn states<'a>(&self, usual: &[&'a str]) -> Vec<&'a str> {
        if self.state.is_empty() { usual.to_vec() } else { self.state.iter().map(|state| state.word()).collect() }
    }

    /// Of the rows at a site: the filter, and one of these ids if there are any.
    pub(crate) fn condition(
        &self,
        config: &Config,
        site: &str,
        dialect: &dyn Dialect,
        ids: &[HeldId],
        states: &[&str],
    ) -> Condition {
        let mut condition = Condition::default();
        condition.equals(dialect, "pipeline", OwnType::Name, Value::Text(config.pipeline.clone()));
        if let Some(direction) = &self.direction {
            condition.equals(dialect, "direction", OwnType::Name, Value::Text(direction.replace("->", "→")));
        }
        if let Some(entity) = &self.entity {
            condition.one_of(dialect, "entity", &tables_of(config, site, entity));
        }
        if !states.is_empty() {
            let words: Vec<String> = states.iter().map(|state| (*state).to_owned()).collect();
            condition.one_of(dialect, "state", &words);
        }
        for (column, word) in [("class", &self.class), ("topic", &self.topic)] {
            if let Some(word) = word {
                condition.equals(dialect, column, OwnType::Name, Value::Text(word.clone()));
            }
        }
        if let Some(partition) = self.partition {
            condition.equals(dialect, "partition", OwnType::Int32, Value::I64(i64::from(partition)));
        }
        if let Some(Offsets(first, last)) = self.offset {
            condition.compare(dialect, "offset", ">=", OwnType::Int64, Value::I64(first));
            condition.compare(dialect, "offset", "<=", OwnType::Int64, Value::I64(last));
        }
        match self.since {
            Some(Since::Instant(at)) => {
                condition.compare(dialect, "first_failed_at_ms", ">=", OwnType::Int64, Value::I64(at));
            }
            Some(Since::Ago(ms)) => {
                let parameter = condition.parameter(dialect, OwnType::Int64, Value::I64(ms));
                let column = quote(dialect, "first_failed_at_ms");
                condition.and(&format!("{column} >= {} - {parameter}", dialect.now_ms()));
            }
            None => {}
        }
        if !ids.is_empty() {
            let mut any = Vec::with_capacity(ids.len());
            for id in ids {
                let topic = condition.parameter(dialect, OwnType::Name, Value::Text(id.topic.clone()));
                let partition = condition.parameter(dialect, OwnType::Int32, Value::I64(i64::from(id.partition)));
                let offset = condition.parameter(dialect, OwnType::Int64, Value::I64(id.offset));
                let ordinal = condition.parameter(dialect, OwnType::Int32, Value::I64(i64::from(id.ordinal)));
                let name = |name| quote(dialect, name);
                any.push(format!(
                    "({} = {topic} AND {} = {partition} AND {} = {offset} AND {} = {ordinal})",
                    name("topic"),
                    name("partition"),
                    name("offset"),
                    name("ordinal")
                ));
            }
            condition.and(&format!("({})", any.join(" OR ")));
        }
        condition
    }
}

/// Names under which an entity's rows are held at a site.
fn tables_of(config: &Config, site: &str, entity: &str) -> Vec<String> {
    let mut names = vec![entity.to_owned()];
    for direction in directions::of(config).iter().filter(|direction| direction.target == site) {
        for declared in direction.entities.iter().filter(|declared| declared.name == entity) {
            if !names.contains(&declared.target_table) {
                names.push(declared.target_table.clone());
            }
        }
    }
    names
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn ids_are_read_as_they_are_shown() {
        let id: HeldId = "legacy.shop.users/3/1200/0".parse().unwrap();
        assert_eq!(id.to_string(), "legacy.shop.users/3/1200/0");
        assert_eq!("t/3/1200".parse::<HeldId>().unwrap().to_string(), "t/3/1200/0");
        for wrong in ["", "t", "t/1", "t/x/1/0", "t/1/2/3/4"] {
            assert!(wrong.parse::<HeldId>().is_err(), "{wrong}");
        }
    }

    #[test]
    fn times_are_ages_or_instants() {
        assert_eq!("15m".parse(), Ok(Since::Ago(900_000)));
        assert_eq!("3d".parse(), Ok(Since::Ago(259_200_000)));
        assert_eq!("1970-01-01T00:01:00Z".parse(), Ok(Since::Instant(60_000)));
        for wrong in ["", "m", "15", "15x", "latest", "é"] {
            assert!(wrong.parse::<Since>().is_err(), "{wrong}");
        }
    }

    #[test]
    fn offsets_are_one_or_a_range() {
        assert_eq!("7".parse(), Ok(Offsets(7, 7)));
        assert_eq!("7..9".parse(), Ok(Offsets(7, 9)));
        assert!("7..".parse::<Offsets>().is_err());
    }

    #[test]
    fn a_filter_becomes_one_condition_with_its_parameters() {
        let loaded = crate::config::parse(crate::commands::init::EXAMPLE, &[]).unwrap();
        let filter = DlqFilter {
            direction: Some("legacy->revamp".to_owned()),
            entity: Some("users".to_owned()),
            offset: Some(Offsets(5, 9)),
            since: Some(Since::Ago(1000)),
            ..DlqFilter::default()
        };
        assert!(!filter.is_empty() && DlqFilter::default().is_empty());
        let id: HeldId = "t/1/2/0".parse().unwrap();
        let dialect = &connect::sqlite::Sqlite;
        let condition = filter.condition(&loaded.config, "legacy", dialect, &[id], &["dead"]);
        assert_eq!(condition.values.len(), condition.sql.matches('?').count(), "{}", condition.sql);
        assert!(condition.values.contains(&Value::Text("legacy→revamp".to_owned())));
        assert!(condition.values.contains(&Value::Text("legacy_users".to_owned())), "{:?}", condition.values);
    }
}
