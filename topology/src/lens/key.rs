//! Chooses the key of a mapping and checks that the target can hold rows apart by it (rule B3).

use std::collections::BTreeSet;

use super::survey::{Direction, Feed, Pair, Request, Severity, Survey};
use crate::batch::WriteMode;

impl Survey<'_> {
    /// Fills `key`: the declared columns, else the target's primary key, else (histories, tables without one) the source's.
    pub(super) fn choose_key(&mut self) {
        let Request { declaration, source, target, direction, .. } = self.request;
        let by_target = |pairs: &[Pair], at: usize| pairs.iter().position(|pair| pair.target == at);
        let by_source = |pairs: &[Pair], at: usize| {
            pairs.iter().position(|pair| matches!(pair.feed, Feed::Column { source, .. } if source == at))
        };
        let append = declaration.mode == WriteMode::Append;
        if !declaration.key.is_empty() {
            for name in &declaration.key.0 {
                let found = match direction {
                    Direction::Forward => source.table.position(name).and_then(|at| by_source(&self.pairs, at)),
                    Direction::Backward => target.table.position(name).and_then(|at| by_target(&self.pairs, at)),
                };
                match found {
                    Some(pair) => self.key.push(pair),
                    None => self.error("key", format!("`{name}` is no mapped column of the left site's table")),
                }
            }
        } else if append || target.table.primary_key.is_empty() {
            for at in &source.table.primary_key {
                match by_source(&self.pairs, *at) {
                    Some(pair) => self.key.push(pair),
                    None if append => {}
                    None => {
                        let name = &source.table.columns[*at].name;
                        self.error(
                            "key",
                            format!("primary key column `{name}` of {} is not mapped", source.table.name),
                        );
                    }
                }
            }
        } else {
            for at in &target.table.primary_key {
                match by_target(&self.pairs, *at) {
                    Some(pair) => self.key.push(pair),
                    None => {
                        let name = &target.table.columns[*at].name;
                        self.error(
                            "key",
                            format!(
                                "primary key column `{name}` of {} at {} has no value: map a column to it",
                                target.table.name, target.site
                            ),
                        );
                    }
                }
            }
        }
        if !append {
            self.check_key();
        }
    }

    fn check_key(&mut self) {
        let Request { source, target, .. } = self.request;
        if self.problems.iter().any(|problem| problem.severity == Severity::Error) {
            return;
        }
        if self.key.is_empty() {
            let text = format!(
                "tables {} and {} have no primary key: set `key: [columns]`",
                source.table.name, target.table.name
            );
            return self.error("key", text);
        }
        let columns: BTreeSet<usize> = self.key.iter().map(|pair| self.pairs[*pair].target).collect();
        let same = |other: &[usize]| other.iter().copied().collect::<BTreeSet<_>>() == columns;
        let unique = same(&target.table.primary_key)
            || target.table.unique_indexes.iter().any(|index| !index.partial && same(&index.columns));
        if !unique {
            let names: Vec<_> = columns.iter().map(|at| &*target.table.columns[*at].name).collect();
            self.error(
                "key",
                format!(
                    "table {} at {} needs a unique index over ({})",
                    target.table.name,
                    target.site,
                    names.join(", ")
                ),
            );
        }
        for pair in self.key.clone() {
            let Pair { target: at, feed } = &self.pairs[pair];
            let Feed::Column { source: from, .. } = feed else { continue };
            let (from, to) = (&source.table.columns[*from], &target.table.columns[*at]);
            let Some(theirs) = &to.collation else { continue };
            let ours = from.collation.as_ref();
            let equates = (!theirs.exact && ours.is_none_or(|ours| ours.exact))
                || (theirs.pads && !ours.is_some_and(|ours| ours.pads) && source.engine != target.engine);
            // Collations of equal names equate the same texts.
            if equates && ours.is_none_or(|ours| ours.name != theirs.name) {
                self.error(
                    "key",
                    format!(
                        "`{}` at {} compares as {}, which equates texts that {} keeps apart: give it a binary collation",
                        to.name, target.site, theirs.name, source.site
                    ),
                );
            }
        }
    }
}
