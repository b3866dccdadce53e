//! The mapping of every entity against both live tables, one direction after the other.

use std::collections::HashMap;

use topology::batch::WriteMode;
use topology::lens::declare::IdsDeclaration;
use topology::lens::survey::{self, Severity};
use topology::record::EntityId;
use topology::table::{ReferentialAction, TableDescription};

use super::report::Report;
use super::{ids, losses};
use crate::config::Config;
use crate::directions::{DirectedEntity, Direction};
use crate::mapping;
use crate::sites;

/// Tables by site and name; `None`: the site has no such table. A table that could not be looked at is absent.
pub(super) type Tables = HashMap<(String, String), Option<TableDescription>>;

/// What was seen at the sites.
#[derive(Debug, Default)]
pub(super) struct Seen {
    /// Tables.
    pub(super) tables: Tables,
    /// Sites whose server allows zero dates.
    pub(super) zero_dates: Vec<String>,
}

/// Adds the mapping and findings of one direction.
pub(super) fn check(config: &Config, direction: &Direction, seen: &Seen, report: &mut Report) {
    for (number, entity) in direction.entities.iter().enumerate() {
        report.section(format!("{} {}", direction.name, entity.name));
        let side = |site: &str, table: &str, report: &mut Report| match seen
            .tables
            .get(&(site.to_owned(), table.to_owned()))
        {
            Some(Some(found)) => Some(found.clone()),
            Some(None) => {
                report.error(format!("{}: there is no table {table} at {site}", entity.path));
                None
            }
            None => None,
        };
        let source = side(&direction.source, &entity.source_table, report);
        let target = side(&direction.target, &entity.target_table, report);
        let (Some(source), Some(target)) = (source, target) else { continue };
        mapped(config, direction, (number, entity), (&source, &target), seen, report);
    }
}

fn mapped(
    config: &Config,
    direction: &Direction,
    (number, entity): (usize, &DirectedEntity),
    (source, target): (&TableDescription, &TableDescription),
    seen: &Seen,
    report: &mut Report,
) {
    if direction.mode == WriteMode::Append {
        for column in mapping::missing_history_columns(target) {
            report.error(format!("{}: history table {} has no column `{column}`", entity.path, target.name));
        }
    }
    let shadow = mapping::target_of_lens(direction, source, target);
    let request = mapping::request(
        config,
        direction,
        entity,
        EntityId(u16::try_from(number).unwrap_or(u16::MAX)),
        source,
        &shadow,
    );
    let survey = survey::survey(request);
    for line in survey.explain() {
        // Problems come below, by severity.
        if !line.starts_with("  error: ") && !line.starts_with("  warning: ") {
            report.line(line);
        }
    }
    for problem in &survey.problems {
        let text = format!("{}: {}", problem.path, problem.text);
        match problem.severity {
            Severity::Error => report.error(text),
            Severity::Warning => report.warning(text),
        }
    }
    let engine = sites::engine(config, &direction.source);
    let zero_dates = seen.zero_dates.contains(&direction.source);
    let is_read = |column: &topology::table::ColumnDescription| {
        let name = &*column.name;
        !entity
            .declaration
            .exclude
            .iter()
            .any(|entry| entry == name || *entry == format!("{}.{name}", direction.source))
    };
    for (is_error, text) in losses::of(engine, source, zero_dates, is_read) {
        if is_error { report.error(text) } else { report.warning(text) }
    }
    if direction.mode == WriteMode::Append {
        return;
    }
    if direction.two_way && entity.declaration.ids == IdsDeclaration::Same {
        let clash = ids::clash((&direction.source, source), (&direction.target, target));
        if let Some(text) = clash {
            report.error(format!("{}.{text}", entity.path));
        }
    }
    triggers_and_keys(direction, entity, target, report);
}

fn triggers_and_keys(direction: &Direction, entity: &DirectedEntity, target: &TableDescription, report: &mut Report) {
    if !target.triggers.is_empty() {
        report.warning(format!(
            "{} at {} has triggers ({}): they run for our writes too; what they change looks like our change and does not go back",
            target.name,
            direction.target,
            target.triggers.join(", ")
        ));
    }
    for key in &target.foreign_keys {
        let bare = |name: &str| name.rsplit('.').next().unwrap_or(name).to_owned();
        let parent_is_synced = direction.entities.iter().any(|other| bare(&other.target_table) == bare(&key.parent));
        if !parent_is_synced {
            report.warning(format!(
                "{}: foreign key {} wants rows of {}, which this direction does not write: rows wait (parked) until somebody else writes them",
                entity.path, key.name, key.parent
            ));
        }
        if key.on_delete != ReferentialAction::Restrict && direction.two_way {
            report.note(format!(
                "{}: foreign key {} changes children when a parent goes; where the database's log does not show that (MySQL, MariaDB), \
                 the other side relies on the same rule there",
                entity.path, key.name
            ));
        }
    }
}
