//! `tidelock check`: connects to everything, changes nothing, and says what would happen: the effective mapping, the loop guard, and
//! everything that is missing or lossy. Exit code 1 if `run` would stop.

mod entities;
mod ids;
mod losses;
mod origins;
mod report;
mod rights;
mod servers;
mod topics;

use topology::ErrorKind;
use topology::batch::WriteMode;
use topology::lens::convert::Engine;

use self::entities::Seen;
use self::report::{Report, Severity};
use self::servers::Roles;
use crate::config::{Config, GuardChoice};
use crate::directions::{self, Direction};
use crate::exit::{Failure, Result, configuration, with_causes};
use crate::sites;

/// Prints the report.
pub(crate) async fn run(config: &Config) -> Result<()> {
    let report = examine(config).await;
    print!("{}", report.text());
    match report.count(Severity::Error) {
        0 => Ok(()),
        count => Err(Failure::Run(format!("check found {count} things that would stop `run`"))),
    }
}

async fn examine(config: &Config) -> Report {
    let directions = directions::of(config);
    let mut report = Report::default();
    let mut seen = Seen::default();
    for (name, site) in config.sites.iter().filter(|(_, site)| site.kind.is_sql()) {
        report.section(format!("site {name} ({})", site.kind));
        look_at_site(config, name, &directions, &mut seen, &mut report).await;
    }
    topics::check(config, &directions, &mut report).await;
    for direction in &directions {
        report.section(format!("direction {}", direction.name));
        report.line(format!("consumer group {}", direction.group));
        guard(config, direction, &mut report).await;
        entities::check(config, direction, &seen, &mut report);
    }
    report
}

/// Server, and every table that a direction reads or writes there.
async fn look_at_site(config: &Config, name: &str, directions: &[Direction], seen: &mut Seen, report: &mut Report) {
    let engine = sites::engine(config, name);
    let mut connection = match sites::connect(config, name, None).await {
        Ok(connection) => connection,
        Err(error) => return report.error(format!("cannot connect: {}", with_causes(&error))),
    };
    let roles = Roles {
        source: directions.iter().any(|direction| direction.source == name),
        target: directions.iter().any(|direction| direction.target == name),
        tagged: directions.iter().any(|direction| direction.target == name && direction.two_way),
    };
    if servers::check(&mut *connection, engine, roles, report).await {
        seen.zero_dates.push(name.to_owned());
    }
    if roles.tagged && engine == Engine::Postgres {
        origins::check(&mut *connection, &config.pipeline, report).await;
    }
    for direction in directions {
        for entity in &direction.entities {
            for (site, table, is_source) in
                [(&direction.source, &entity.source_table, true), (&direction.target, &entity.target_table, false)]
            {
                if site != name {
                    continue;
                }
                let key = (site.clone(), table.clone());
                if !seen.tables.contains_key(&key) {
                    match connection.describe(table).await {
                        Ok(described) => _ = seen.tables.insert(key.clone(), described),
                        Err(error) => {
                            report.error(format!("cannot look at table {table}: {}", with_causes(&error.error)));
                            continue;
                        }
                    }
                }
                if let Some(Some(described)) = seen.tables.get(&key) {
                    let roles = Roles { source: is_source, target: !is_source, tagged: false };
                    rights::check(&mut *connection, engine, described, roles, report).await;
                }
            }
        }
    }
}

/// Which guard the direction would use, and whether the target can really mark our writes.
async fn guard(config: &Config, direction: &Direction, report: &mut Report) {
    let Some(source) = config.sites.get(&direction.source) else { return };
    if source.guard == GuardChoice::None {
        return report.line("loop guard: none (nothing comes back)");
    }
    if !direction.two_way {
        return report.line("loop guard: not needed, the link is one-way");
    }
    let Some(strategy) = sites::strategy(source) else {
        return report.error(format!("{} has no loop guard in this version", source.kind));
    };
    report.line(format!(
        "loop guard: {} at {}; drops changes that came from {}",
        strategy.name(),
        direction.source,
        direction.target
    ));
    // The reverse direction writes at our source: there our tags must be possible.
    if direction.mode == WriteMode::Mirror {
        match sites::prove_tag(config, &direction.source, &direction.target).await {
            Ok(_) => report.line("proven: a tagged transaction was begun and rolled back"),
            Err(error) if error.kind == ErrorKind::Configuration => report.error(configuration(&error)),
            Err(error) => report.error(format!("cannot prove the loop guard: {}", with_causes(&error))),
        }
    }
}
