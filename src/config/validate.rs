//! What must hold between sections: loops, clashing names, places that do not fit.

use topology::batch::WriteMode;
use topology::guard::{GuardSite, SiteTags};

use super::problem::{Problem, Problems};
use super::{Config, GuardChoice, Records, SiteKind};

/// Checks a configuration that has the right types. Returns warnings.
///
/// # Errors
/// Everything that is wrong.
pub(super) fn validate(config: &Config) -> Result<Vec<Problem>, Problems> {
    let mut problems = Problems::default();
    let mut warnings = Vec::new();
    let name = &config.pipeline;
    let plain = |letter: char| letter.is_ascii_alphanumeric() || letter == '_' || letter == '-';
    if name.is_empty() || name.len() > 100 || !name.chars().all(plain) {
        problems.add("pipeline", "1 to 100 letters, digits, `_` and `-`; it is part of consumer groups and tags");
    }
    config.kafka.validate(&mut problems);
    config.tuning.validate(&mut problems);
    config.http.validate(&mut problems);
    config.log.validate(&mut problems);
    if config.sites.0.is_empty() {
        problems.add("sites", "is empty; name at least two sites");
    }
    for (at, (name, site)) in config.sites.iter().enumerate() {
        if config.sites.names().take(at).any(|other| other == name) {
            problems.add(format!("sites.{name}"), "is there twice");
        }
        let is_source = config.links.iter().flat_map(|link| link.ways()).any(|(from, _)| from == name);
        site.validate(name, is_source, &mut problems);
        if is_source && matches!(site.kind, SiteKind::Memory | SiteKind::Blackhole) {
            problems.add(
                format!("sites.{name}.kind"),
                format!("nothing captures a {}; it can only be a target", site.kind),
            );
        }
    }
    if config.links.is_empty() {
        problems.add("links", "is empty; name at least one link");
    }
    for (at, link) in config.links.iter().enumerate() {
        link.validate(at, &config.sites, &mut problems);
    }
    problems.into_result()?;

    let mut problems = Problems::default();
    tags(config, &mut problems);
    targets(config, &mut problems);
    cycles(config, &mut problems, &mut warnings);
    problems.into_result()?;
    Ok(warnings)
}

/// The sites' tags must differ; the guard knows how.
fn tags(config: &Config, problems: &mut Problems) {
    let sites: Vec<GuardSite> =
        config.sites.iter().map(|(name, site)| GuardSite { name: name.into(), server_id: site.server_id }).collect();
    if let Err(error) = SiteTags::new(&config.pipeline, &sites) {
        problems.add("sites", error.detail);
    }
}

/// Two entities of one direction must not write one table: their order would be chance. A history may hold several: its rows name
/// their topic. The entities' names are labels of metrics.
fn targets(config: &Config, problems: &mut Problems) {
    let mut names: Vec<(String, String)> = Vec::new();
    let mut read: Vec<(String, WriteMode, String)> = Vec::new();
    let mut written: Vec<(String, String, WriteMode, String)> = Vec::new();
    for (at, link) in config.links.iter().enumerate() {
        for (from, to) in link.ways() {
            for (name, entity) in link.entities.iter() {
                let direction = format!("{from}→{to}");
                let table = entity.table_at(to, name).to_owned();
                let path = format!("links[{at}].entities.{name}");
                if names.contains(&(direction.clone(), name.to_owned())) {
                    problems
                        .add(&path, format!("`{direction}` has an entity of that name already; choose another name"));
                }
                names.push((direction.clone(), name.to_owned()));
                let source = (direction.clone(), entity.mode, entity.table_at(from, name).to_owned());
                if read.contains(&source) {
                    problems.add(
                        &path,
                        format!(
                            "reads table `{}` of `{from}` as another entity does; one entity per table and direction",
                            source.2
                        ),
                    );
                }
                read.push(source);
                let clash = written.iter().find(|(other, other_table, other_mode, _)| {
                    let histories = *other_mode == WriteMode::Append && entity.mode == WriteMode::Append;
                    *other == direction && *other_table == table && !histories
                });
                if let Some((_, _, _, other)) = clash {
                    problems.add(
                        &path,
                        format!("writes table `{table}` of `{to}` as {other} does; one entity per table and direction"),
                    );
                }
                written.push((direction, table, entity.mode, path));
            }
        }
    }
}

/// A change that comes back must be recognised. Sites and ways form a graph; a way is on a cycle if its source can be reached from
/// its target. Without conflict policies only a pair is safe, and only under the rules of the blind two-way mode.
fn cycles(config: &Config, problems: &mut Problems, warnings: &mut Vec<Problem>) {
    // History directions do not lead on: nothing reads a history table.
    let mut ways: Vec<(usize, &str, &str)> = Vec::new();
    for (at, link) in config.links.iter().enumerate() {
        if link.entities.iter().any(|(_, entity)| entity.mode == WriteMode::Mirror) {
            ways.extend(link.ways().into_iter().map(|(from, to)| (at, from, to)));
        }
    }
    let pairs: Vec<(&str, &str)> = ways.iter().map(|(_, from, to)| (*from, *to)).collect();
    for at in 0..config.links.len() {
        let path = format!("links[{at}]");
        let mut on_cycle = false;
        for (_, from, to) in ways.iter().filter(|(own, ..)| *own == at) {
            // A longer way back than the direct one.
            let others: Vec<_> = pairs.iter().copied().filter(|pair| *pair != (*to, *from)).collect();
            if reaches(&others, to, from) {
                problems.add(
                    &path,
                    format!(
                        "`{from}→{to}` is part of a ring of more than two sites; with `conflict: none` changes could go round for ever \
                         or end different at different sites. Rings need conflict policies, which are not in this version; leave one link out"
                    ),
                );
            }
            on_cycle |= pairs.contains(&(to, from));
            let guarded = config.sites.get(from).is_some_and(|site| site.guard != GuardChoice::None);
            if pairs.contains(&(to, from)) && config.sites.get(from).is_some_and(|site| site.records == Records::Rows) {
                problems.add(
                    format!("sites.{from}.records"),
                    format!(
                        "`rows` on a cycle: plain rows do not say where a change came from, so changes that come from `{to}` would go back for \
                         ever. Let the connector send envelopes"
                    ),
                );
            }
            if pairs.contains(&(to, from)) && !guarded {
                problems.add(
                    format!("sites.{from}.guard"),
                    format!(
                        "`none` on a cycle: changes that come from `{to}` would be taken for local ones of `{from}` and go back for ever. \
                         Set it to auto"
                    ),
                );
            }
        }
        if on_cycle && !problems.0.iter().any(|problem| problem.path == path) {
            let message = "BLIND TWO-WAY LINK (conflict: none): if both sides change the same row at about the same time, they end different, and \
                           nobody is told. Let each row be changed on one side only; docs/guarantees.md says what holds";
            warnings.push(Problem { path, message: message.to_owned() });
        }
    }
}

fn reaches<'a>(ways: &[(&'a str, &'a str)], from: &'a str, to: &str) -> bool {
    let mut seen = vec![from];
    let mut at = 0;
    while let Some(&site) = seen.get(at) {
        at += 1;
        for (_, next) in ways.iter().filter(|(own, _)| *own == site) {
            if *next == to {
                return true;
            }
            if !seen.contains(next) {
                seen.push(next);
            }
        }
    }
    false
}
