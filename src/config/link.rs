//! Section `links`: which sites are kept in step, and the entities between them.

use serde_yaml_ng::Value;
use topology::batch::WriteMode;
use topology::lens::declare::EntityDeclaration;

use super::problem::Problems;
use super::setting::{Named, Setting, Shape, section};
use super::site::Site;

section! {
    /// A connection between two sites. Either `between` (both ways) or `from` and `to` (one way).
    Link {
        /// Both sites of a two-way link, `[left, right]`.
        between: Vec<String> = Vec::new();
        /// Source of a one-way link.
        from: Option<String> = None;
        /// Target of a one-way link.
        to: Option<String> = None;
        /// What is kept in step; see [entities](#entities).
        entities: Named<EntityDeclaration>;
    }
}

impl Setting for EntityDeclaration {
    fn print(&self) -> Value {
        serde_yaml_ng::to_value(self).unwrap_or(Value::Null)
    }
    fn shape() -> Shape {
        Shape::Leaf("entity".into())
    }
}

impl Link {
    /// Left and right site: the names in the order in which `fields` pairs columns.
    pub(crate) fn ends(&self) -> Option<[&str; 2]> {
        match (self.between.as_slice(), &self.from, &self.to) {
            ([left, right], None, None) => Some([left, right]),
            ([], Some(from), Some(to)) => Some([from, to]),
            _ => None,
        }
    }

    /// True when changes go both ways.
    pub(crate) fn is_two_way(&self) -> bool {
        !self.between.is_empty()
    }

    /// (source, target) of each direction.
    pub(crate) fn ways(&self) -> Vec<(&str, &str)> {
        match self.ends() {
            Some([left, right]) if self.is_two_way() => vec![(left, right), (right, left)],
            Some([left, right]) => vec![(left, right)],
            None => Vec::new(),
        }
    }

    /// Checks what types cannot say.
    pub(super) fn validate(&self, at: usize, sites: &Named<Site>, problems: &mut Problems) {
        let path = |key: &str| format!("links[{at}].{key}");
        if !self.between.is_empty() && self.between.len() != 2 {
            problems.add(path("between"), format!("names {} sites; a link has exactly two", self.between.len()));
        }
        let Some(ends) = self.ends() else {
            if self.between.len() == 2 {
                problems.add(path("between"), "give either `between`, or `from` and `to`, not both");
            } else if self.between.is_empty() {
                let key = if self.from.is_none() { "from" } else { "to" };
                problems.add(path(key), "missing; a link has either `between: [left, right]`, or `from` and `to`");
            }
            return;
        };
        for (position, site) in ends.iter().enumerate() {
            if sites.get(site).is_none() {
                let key = match (self.is_two_way(), position) {
                    (true, _) => format!("between[{position}]"),
                    (false, 0) => "from".to_owned(),
                    (false, _) => "to".to_owned(),
                };
                let known: Vec<_> = sites.names().collect();
                problems.add(path(&key), format!("there is no site `{site}`; known: {}", known.join(", ")));
            }
        }
        if ends[0] == ends[1] {
            problems.add(path(if self.is_two_way() { "between" } else { "to" }), "a link needs two different sites");
        }
        if self.entities.0.is_empty() {
            problems.add(path("entities"), "is empty; name at least one entity");
        }
        for (name, entity) in self.entities.iter() {
            let path = path(&format!("entities.{name}"));
            if let Err(error) = entity.validate(&path, ends) {
                // The lens writes the path itself.
                let (path, message) = error.detail.split_once(": ").unwrap_or((&path, &error.detail));
                problems.add(path, message);
            }
            if entity.mode == WriteMode::Append && self.is_two_way() {
                problems.add(
                    format!("{path}.mode"),
                    "a history table is filled one way; put it into a link of its own with `from` and `to`",
                );
            }
        }
    }
}
