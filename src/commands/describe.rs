//! `tidelock describe`: the picture of a configuration, as text or as a Mermaid diagram. Connects to nothing.

use std::fmt::Write;

use topology::batch::WriteMode;

use crate::cli::DescribeFormat;
use crate::config::{Config, GuardChoice};
use crate::directions::{self, Direction};

/// The picture.
pub(crate) fn text_or_mermaid(config: &Config, format: DescribeFormat) -> String {
    match format {
        DescribeFormat::Text => text(config),
        DescribeFormat::Mermaid => mermaid(config),
    }
}

fn text(config: &Config) -> String {
    let mut out = format!("pipeline {}\n\nsites\n", config.pipeline);
    let width = config.sites.names().map(str::len).max().unwrap_or(0);
    for (name, site) in config.sites.iter() {
        let url = site.url.as_ref().map(|url| format!("  {url}")).unwrap_or_default();
        let _ = writeln!(out, "  {name:width$}  {}{url}", site.kind);
    }
    for direction in directions::of(config) {
        let _ = write!(out, "\n{}", direction_text(config, &direction));
    }
    out
}

fn direction_text(config: &Config, direction: &Direction) -> String {
    let mut out = format!("direction {}\n", direction.name);
    let _ = writeln!(out, "  group      {}", direction.group);
    let _ = writeln!(out, "  lanes      {} in this process", config.tuning.lanes);
    let _ = writeln!(out, "  processors {}", processors(config, direction).join(" → "));
    let _ = match guard(config, direction) {
        Some(guard) => writeln!(out, "  guard      {guard}: drops what came from {}", direction.target),
        None => writeln!(out, "  guard      none: nothing comes back"),
    };
    for entity in &direction.entities {
        let _ = writeln!(
            out,
            "  {:10} {} → {} {}",
            entity.name,
            entity.topic,
            direction.target,
            match direction.mode {
                WriteMode::Mirror => entity.target_table.clone(),
                WriteMode::Append => format!("{} (history)", entity.target_table),
            }
        );
    }
    out
}

/// As `topology::processors::direction` builds them. Dedupe is checked right after decoding and shown where the graph has it; several
/// changes of one key in a batch are reduced to one before the sink, except in histories.
fn processors(config: &Config, direction: &Direction) -> Vec<&'static str> {
    let mut all = vec!["source"];
    if guard(config, direction).is_some() {
        all.push("filter (loop guard)");
    }
    all.extend(["map (lens)", "dedupe (source position)"]);
    if direction.mode == WriteMode::Mirror {
        all.push("reduce");
    }
    all.push("sink");
    all
}

/// The guard's configured name; `None` where nothing comes back.
fn guard(config: &Config, direction: &Direction) -> Option<&'static str> {
    let site = config.sites.get(&direction.source)?;
    (direction.two_way && site.guard != GuardChoice::None).then(|| match (site.guard, site.kind.guards().first()) {
        (GuardChoice::Auto, Some(strongest)) => strongest.word(),
        (choice, _) => choice.word(),
    })
}

fn mermaid(config: &Config) -> String {
    let mut out = String::from("flowchart LR\n");
    for (at, (name, site)) in config.sites.iter().enumerate() {
        let _ = writeln!(out, "  site{at}[(\"{name}<br/>{}\")]", site.kind);
    }
    let site_id = |name: &str| config.sites.names().position(|own| own == name).unwrap_or(0);
    for (at, direction) in directions::of(config).iter().enumerate() {
        let _ = writeln!(out, "  subgraph direction{at}[\"{}\"]", direction.name);
        let nodes = processors(config, direction);
        for (step, node) in nodes.iter().enumerate() {
            let _ = writeln!(out, "    d{at}s{step}[\"{node}\"]");
        }
        let chain: Vec<_> = (0..nodes.len()).map(|step| format!("d{at}s{step}")).collect();
        let _ = writeln!(out, "    {}", chain.join(" --> "));
        let _ = writeln!(out, "  end");
        let entities: Vec<_> = direction.entities.iter().map(|entity| entity.name.as_str()).collect();
        let _ = writeln!(out, "  site{} -->|\"{}\"| d{at}s0", site_id(&direction.source), entities.join(", "));
        let _ = writeln!(out, "  d{at}s{} --> site{}", nodes.len() - 1, site_id(&direction.target));
    }
    out
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::docs::expect_snapshot;

    fn example() -> Config {
        let yaml = crate::commands::init::EXAMPLE.replace(
            "# Optional, shown",
            "  - { from: legacy, to: revamp, entities: { orders_history: { tables: { legacy: orders, revamp: orders_history }, mode: append } } }\n# Optional, shown",
        );
        crate::config::parse(&yaml, &[]).unwrap_or_else(|problems| panic!("{problems}")).config
    }

    #[test]
    fn the_picture_as_text() {
        expect_snapshot("describe.txt", &text_or_mermaid(&example(), DescribeFormat::Text));
    }

    #[test]
    fn the_picture_as_a_diagram() {
        expect_snapshot("describe.mmd", &text_or_mermaid(&example(), DescribeFormat::Mermaid));
    }
}
