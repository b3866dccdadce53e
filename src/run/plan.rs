//! What a direction needs before its lanes can start: both sides' tables as they are now, and the compiled lenses.
//!
//! The live tables are asked on every start. While a database does not answer, the direction waits and tries again; a mapping that does
//! not fit the tables is a configuration error, found before any lane runs.

use std::sync::Arc;

use connect::sql::connection::SqlConnection;
use topology::batch::{SnapshotMode, TruncateMode, WriteMode, WriteTable};
use topology::data::Layout;
use topology::guard::{Guard, SiteTags};
use topology::lens::plan::LensPlan;
use topology::lens::survey::{self, Severity};
use topology::record::EntityId;
use topology::table::{ColumnDescription, TableDescription};
use topology::{Error, ErrorKind, Result, Stage};

use crate::config::{Config, GuardChoice};
use crate::directions::{DirectedEntity, Direction};
use crate::{mapping, sites};

/// A direction, ready to start lanes.
pub(super) struct Plan {
    /// As configured.
    pub(super) direction: Direction,
    /// `entities[i]` has the number i.
    pub(super) entities: Vec<PlannedEntity>,
    /// Parents first (rule B1).
    pub(super) order: Vec<EntityId>,
    /// Drops our own writes that come back; `None` on one-way links.
    pub(super) guard: Option<Guard>,
}

/// One entity.
pub(super) struct PlannedEntity {
    /// Name in the configuration.
    pub(super) name: String,
    /// Where it is read.
    pub(super) topic: String,
    /// How it is mapped.
    pub(super) lens: Arc<LensPlan>,
    /// What snapshot reads do.
    pub(super) snapshot: SnapshotMode,
    /// What truncates do.
    pub(super) truncate: TruncateMode,
    /// Columns of the source's table as it is now.
    pub(super) source: Layout,
}

impl PlannedEntity {
    /// The table as the sink writes it.
    pub(super) fn table(&self) -> WriteTable {
        (*self.lens.table).clone()
    }
}

/// Why a direction could not be planned.
pub(super) struct Unplanned {
    /// What went wrong.
    pub(super) error: Error,
    /// The target did not answer.
    pub(super) target_down: bool,
}

impl From<Error> for Unplanned {
    fn from(error: Error) -> Unplanned {
        Unplanned { error, target_down: false }
    }
}

/// Looks at both sides and compiles the lenses.
///
/// # Errors
/// `Configuration` when the mapping does not fit the tables or the writes of the reverse direction cannot be marked; others when a
/// database could not be asked.
pub(super) async fn plan(
    config: &Config,
    tags: &SiteTags,
    direction: &Direction,
) -> std::result::Result<Plan, Unplanned> {
    let mut target = match is_sql(config, &direction.target) {
        true => Some(sites::connect(config, &direction.target, None).await.map_err(|error| {
            let target_down = error.kind != ErrorKind::Configuration;
            Unplanned { error, target_down }
        })?),
        false => None,
    };
    if !is_sql(config, &direction.target) {
        return Err(wrong(format!(
            "sites.{}: {} is a target of the engine's own tests and benchmarks; `run` writes to mysql, mariadb, postgres and sqlite in this version",
            direction.target,
            config.sites.get(&direction.target).map_or_else(String::new, |site| site.kind.to_string()),
        ))
        .into());
    }
    let mut source = sites::connect(config, &direction.source, None).await?;
    let mut entities = Vec::with_capacity(direction.entities.len());
    let mut targets = Vec::with_capacity(direction.entities.len());
    let mut problems = Vec::new();
    for (number, entity) in direction.entities.iter().enumerate() {
        let number =
            EntityId(u16::try_from(number).map_err(|_| wrong("more than 65535 entities in a direction".into()))?);
        let source_table = describe(&mut *source, &direction.source, &entity.source_table, entity).await?;
        let target_table = match &mut target {
            Some(target) => describe(&mut **target, &direction.target, &entity.target_table, entity).await?,
            // A store without tables takes rows as the source has them.
            None => TableDescription { name: entity.target_table.as_str().into(), ..source_table.clone() },
        };
        if direction.mode == WriteMode::Append && target.is_some() {
            let missing = mapping::missing_history_columns(&target_table);
            if !missing.is_empty() {
                problems.push(format!(
                    "{}: history table {} has no column {}",
                    entity.path,
                    target_table.name,
                    missing.join(", ")
                ));
                continue;
            }
        }
        let lens_target = mapping::target_of_lens(direction, &source_table, &target_table);
        let survey = survey::survey(mapping::request(config, direction, entity, number, &source_table, &lens_target));
        for problem in survey.problems.iter().filter(|problem| problem.severity == Severity::Warning) {
            tracing::warn!(direction = %direction.name, "{}: {}", problem.path, problem.text);
        }
        match survey.into_plan() {
            Ok(lens) => entities.push(planned(direction, entity, lens, &source_table)),
            Err(error) => problems.push(error.detail),
        }
        targets.push(target_table);
    }
    if !problems.is_empty() {
        return Err(wrong(problems.join("; ")).into());
    }
    Ok(Plan {
        direction: direction.clone(),
        order: parents_first(&targets),
        entities,
        guard: guard(config, tags, direction).await?,
    })
}

fn planned(direction: &Direction, entity: &DirectedEntity, lens: LensPlan, source: &TableDescription) -> PlannedEntity {
    let usual = if direction.two_way { SnapshotMode::InsertIfAbsent } else { SnapshotMode::Upsert };
    PlannedEntity {
        name: entity.name.clone(),
        topic: entity.topic.clone(),
        lens: Arc::new(lens),
        snapshot: entity.declaration.snapshot.unwrap_or(usual),
        truncate: entity.declaration.truncate,
        source: Layout { columns: source.columns.iter().map(ColumnDescription::column).collect() },
    }
}

fn is_sql(config: &Config, site: &str) -> bool {
    config.sites.get(site).is_some_and(|site| site.kind.is_sql())
}

async fn describe(
    connection: &mut dyn SqlConnection,
    site: &str,
    table: &str,
    entity: &DirectedEntity,
) -> Result<TableDescription> {
    let found = connection.describe(table).await?;
    found.ok_or_else(|| {
        wrong(format!("{}: there is no table {table} at {site}; create it, or correct `tables`", entity.path))
    })
}

/// The guard of a direction whose changes come back. The marks that it reads are written by the reverse direction; that they can be is
/// proven here, by a tagged transaction that is rolled back.
async fn guard(config: &Config, tags: &SiteTags, direction: &Direction) -> Result<Option<Guard>> {
    let Some(site) = config.sites.get(&direction.source) else { return Ok(None) };
    if !direction.two_way || site.guard == GuardChoice::None {
        return Ok(None);
    }
    let Some(strategy) = sites::strategy(site) else {
        return Err(wrong(format!("sites.{}: a {} has no loop guard in this version", direction.source, site.kind)));
    };
    sites::prove_tag(config, &direction.source, &direction.target).await?;
    Guard::new(tags, strategy, &direction.source, &direction.target).map(Some)
}

/// Entities in an order in which no table comes before one that it refers to, as far as there is one.
fn parents_first(tables: &[TableDescription]) -> Vec<EntityId> {
    let bare = |name: &str| name.rsplit('.').next().unwrap_or(name).to_owned();
    let mut order: Vec<usize> = Vec::with_capacity(tables.len());
    let mut left: Vec<usize> = (0..tables.len()).collect();
    while !left.is_empty() {
        let waits = |at: usize| {
            tables[at]
                .foreign_keys
                .iter()
                .any(|key| left.iter().any(|other| *other != at && bare(&tables[*other].name) == bare(&key.parent)))
        };
        // A ring of foreign keys has no order; any will do, parked rows resolve it.
        let next = left.iter().copied().find(|at| !waits(*at)).unwrap_or(left[0]);
        left.retain(|at| *at != next);
        order.push(next);
    }
    order.into_iter().map(|at| EntityId(at as u16)).collect()
}

fn wrong(detail: String) -> Error {
    Error::new(ErrorKind::Configuration, Stage::Configure, "cannot start direction", detail)
}

#[cfg(test)]
mod tests {
    use super::*;
    use topology::table::{ForeignKey, ReferentialAction};

    fn table(name: &str, parents: &[&str]) -> TableDescription {
        TableDescription {
            name: name.into(),
            columns: Vec::new(),
            primary_key: Vec::new(),
            unique_indexes: Vec::new(),
            foreign_keys: parents
                .iter()
                .map(|parent| ForeignKey {
                    name: "fk".into(),
                    columns: Vec::new(),
                    parent: (*parent).into(),
                    parent_columns: Vec::new(),
                    on_delete: ReferentialAction::Restrict,
                    on_update: ReferentialAction::Restrict,
                })
                .collect(),
            referenced: false,
            deferrable: false,
            sequences: Vec::new(),
            triggers: Vec::new(),
        }
    }

    #[test]
    fn parents_come_before_their_children_and_rings_end() {
        let tables =
            [table("likes", &["posts", "users"]), table("posts", &["public.users"]), table("users", &["users"])];
        assert_eq!(parents_first(&tables), [EntityId(2), EntityId(1), EntityId(0)]);
        let ring = [table("a", &["b"]), table("b", &["a"])];
        assert_eq!(parents_first(&ring), [EntityId(0), EntityId(1)]);
    }
}
