//! What the configuration's links mean: the directions, each with its own consumer group, ledger rows, metrics and lanes.
//!
//! Links with the same source and target share a direction. History entities (`mode: append`) are a direction of their own beside it,
//! with its own progress: a history must see every change, a mirror may reduce them.

use topology::batch::WriteMode;
use topology::lens::declare::EntityDeclaration;

use crate::config::Config;

/// One way from a site to a site.
#[derive(Clone, Debug)]
pub(crate) struct Direction {
    /// `legacy→revamp` or `legacy→revamp/append`: the name in the ledger, in metrics and in `describe`.
    pub(crate) name: String,
    /// Source site.
    pub(crate) source: String,
    /// Target site.
    pub(crate) target: String,
    /// Kafka consumer group.
    pub(crate) group: String,
    /// History or mirror.
    pub(crate) mode: WriteMode,
    /// True when changes also come back: some mirror goes from target to source.
    pub(crate) two_way: bool,
    /// In the order of the configuration.
    pub(crate) entities: Vec<DirectedEntity>,
}

/// An entity as one direction sees it.
#[derive(Clone, Debug)]
pub(crate) struct DirectedEntity {
    /// Name in the configuration.
    pub(crate) name: String,
    /// Place in the configuration, for messages.
    pub(crate) path: String,
    /// As declared; `fields` pairs columns of `ends[0]` with columns of `ends[1]`.
    pub(crate) declaration: EntityDeclaration,
    /// Left and right site of the link.
    pub(crate) ends: [String; 2],
    /// Table that is read.
    pub(crate) source_table: String,
    /// Table that is written.
    pub(crate) target_table: String,
    /// Kafka topic; empty when the site names none, which `validate` refuses for sources.
    pub(crate) topic: String,
}

impl DirectedEntity {
    /// True when the direction goes from the link's left site to its right one.
    pub(crate) fn left_to_right(&self, direction: &Direction) -> bool {
        self.ends[0] == direction.source
    }
}

/// All directions, in the order of the configuration.
pub(crate) fn of(config: &Config) -> Vec<Direction> {
    let mut directions: Vec<Direction> = Vec::new();
    for (at, link) in config.links.iter().enumerate() {
        let Some(ends) = link.ends() else { continue };
        for (source, target) in link.ways() {
            for (name, declaration) in link.entities.iter() {
                let mode = declaration.mode;
                let direction = direction_of(&mut directions, config, source, target, mode);
                let source_table = declaration.table_at(source, name).to_owned();
                let topic = config.sites.get(source).and_then(|site| site.topic_of(&source_table));
                direction.entities.push(DirectedEntity {
                    name: name.to_owned(),
                    path: format!("links[{at}].entities.{name}"),
                    declaration: declaration.clone(),
                    ends: ends.map(str::to_owned),
                    target_table: declaration.table_at(target, name).to_owned(),
                    topic: topic.unwrap_or_default(),
                    source_table,
                });
            }
        }
    }
    let mirrors: Vec<(String, String)> = directions
        .iter()
        .filter(|direction| direction.mode == WriteMode::Mirror)
        .map(|direction| (direction.source.clone(), direction.target.clone()))
        .collect();
    for direction in &mut directions {
        direction.two_way = mirrors.contains(&(direction.target.clone(), direction.source.clone()));
    }
    directions
}

fn direction_of<'a>(
    directions: &'a mut Vec<Direction>,
    config: &Config,
    source: &str,
    target: &str,
    mode: WriteMode,
) -> &'a mut Direction {
    let found = directions
        .iter()
        .position(|direction| direction.source == source && direction.target == target && direction.mode == mode);
    let at = found.unwrap_or_else(|| {
        let (name_suffix, group_suffix) = match mode {
            WriteMode::Mirror => ("", ""),
            WriteMode::Append => ("/append", ".append"),
        };
        directions.push(Direction {
            name: format!("{source}→{target}{name_suffix}"),
            source: source.to_owned(),
            target: target.to_owned(),
            group: format!("{}.{}.{source}.{target}{group_suffix}", config.kafka.group_prefix, config.pipeline),
            mode,
            two_way: false,
            entities: Vec::new(),
        });
        directions.len() - 1
    });
    &mut directions[at]
}
