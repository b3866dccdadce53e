//! Looks at a declaration and both tables, pairs their columns, and names everything that is wrong, not only the first thing.
//!
//! A survey is for one direction. It has no opinion on privileges, topics or connectors.

use std::collections::BTreeSet;
use std::sync::Arc;

use super::convert::{Context, Engine, Fit, Planned, plan};
use super::declare::EntityDeclaration;
use super::literal::{FieldDeclaration, Literal};
use super::values::{ValueMap, literal_value};
use crate::record::EntityId;
use crate::table::{ColumnDescription, Generated, TableDescription};

/// Which way of a link.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Direction {
    /// From the left site (`between: [left, right]`, `from: left`) to the right one.
    Forward,
    /// From the right site to the left one.
    Backward,
}

/// One end of a direction.
#[derive(Clone, Copy, Debug)]
pub struct Side<'a> {
    /// Name of the site.
    pub site: &'a str,
    /// What it runs on.
    pub engine: Engine,
    /// Its table as it is now.
    pub table: &'a TableDescription,
}

/// What a lens is made from.
#[derive(Clone, Copy, Debug)]
pub struct Request<'a> {
    /// Place in the configuration, for errors: `links[0].entities.users`.
    pub path: &'a str,
    /// Name of the entity.
    pub name: &'a str,
    /// Its number in the direction.
    pub entity: EntityId,
    /// What the user wrote; validated.
    pub declaration: &'a EntityDeclaration,
    /// Where changes come from.
    pub source: Side<'a>,
    /// Where they go.
    pub target: Side<'a>,
    /// Which side is left.
    pub direction: Direction,
    /// Whether the link has both directions.
    pub two_way: bool,
    /// Columns of the target that the sink fills itself (those of a history table).
    pub provided: &'a [&'a str],
}

/// How bad.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub enum Severity {
    /// Worth knowing; works.
    Warning,
    /// `run` refuses to start.
    Error,
}

/// Something to tell the user.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Problem {
    /// How bad.
    pub severity: Severity,
    /// Place in the configuration.
    pub path: String,
    /// What is wrong and what to do.
    pub text: String,
}

/// What fills a target column.
#[derive(Clone, Debug)]
pub(super) enum Feed {
    /// A source column.
    Column {
        /// Index in the source table.
        source: usize,
        /// The declared value map.
        values: Option<Arc<ValueMap>>,
        /// Written when a record's schema lacks the column.
        default: Option<crate::data::Value>,
        /// From the live kinds of both columns.
        planned: Planned,
        /// How the user said fractions are handled.
        fraction: super::convert::FractionMode,
    },
    /// The same value always.
    Constant(crate::data::Value),
    /// The same value in inserted rows.
    OnInsert(crate::data::Value),
}

/// One written column.
#[derive(Clone, Debug)]
pub(super) struct Pair {
    /// Index in the target table.
    pub(super) target: usize,
    pub(super) feed: Feed,
}

/// The outcome: pairs, key, and what is wrong.
#[derive(Clone, Debug)]
pub struct Survey<'a> {
    pub(super) request: Request<'a>,
    /// In the order of the target's columns.
    pub(super) pairs: Vec<Pair>,
    /// Indexes into `pairs`.
    pub(super) key: Vec<usize>,
    /// Source columns that nothing reads.
    pub(super) unread: Vec<usize>,
    /// Target columns that nothing writes.
    pub(super) unwritten: Vec<usize>,
    /// Errors and warnings, in the order found.
    pub problems: Vec<Problem>,
}

/// A column of the target and what the declaration says feeds it.
struct Wish<'a> {
    source: usize,
    path: String,
    field: Option<(&'a str, &'a FieldDeclaration)>,
}

/// Surveys one entity for one direction.
pub fn survey(request: Request<'_>) -> Survey<'_> {
    let mut survey = Survey {
        request,
        pairs: Vec::new(),
        key: Vec::new(),
        unread: Vec::new(),
        unwritten: Vec::new(),
        problems: Vec::new(),
    };
    let wishes = survey.wishes();
    survey.pair(wishes);
    survey.choose_key();
    survey
}

impl<'a> Survey<'a> {
    pub(super) fn error(&mut self, path: impl AsRef<str>, text: impl Into<String>) {
        self.tell(Severity::Error, path.as_ref(), text.into());
    }

    fn warn(&mut self, path: impl AsRef<str>, text: impl Into<String>) {
        self.tell(Severity::Warning, path.as_ref(), text.into());
    }

    fn tell(&mut self, severity: Severity, path: &str, text: String) {
        let path = if path.is_empty() { self.request.path.to_owned() } else { format!("{}.{path}", self.request.path) };
        self.problems.push(Problem { severity, path, text });
    }

    fn sides(&self) -> [Side<'a>; 2] {
        match self.request.direction {
            Direction::Forward => [self.request.source, self.request.target],
            Direction::Backward => [self.request.target, self.request.source],
        }
    }

    fn is_excluded(&self, side: Side<'_>, column: &str) -> bool {
        let matches = |entry: &str| {
            entry == column || entry.split_once('.').is_some_and(|(site, name)| site == side.site && name == column)
        };
        self.request.declaration.exclude.iter().any(|entry| matches(entry))
    }

    fn configured<'b>(
        values: &'b std::collections::BTreeMap<String, Literal>,
        side: Side<'_>,
        column: &str,
    ) -> Option<&'b Literal> {
        values.iter().find_map(|(key, literal)| {
            key.split_once('.').is_some_and(|(site, name)| site == side.site && name == column).then_some(literal)
        })
    }

    /// Which source column each target column wants, by target column.
    fn wishes(&mut self) -> Vec<Option<Wish<'a>>> {
        let Request { declaration, source, target, .. } = self.request;
        let [left, right] = self.sides();
        let mut wishes: Vec<Option<Wish<'a>>> = target.table.columns.iter().map(|_| None).collect();
        let mut taken: BTreeSet<&str> = BTreeSet::new();
        for (left_name, field) in &declaration.fields {
            let right_name = field.right(left_name);
            let path = format!("fields.{left_name}");
            for (side, name) in [(left, left_name.as_str()), (right, right_name)] {
                if side.table.position(name).is_none() {
                    self.error(&path, format!("table {} at {} has no column `{name}`", side.table.name, side.site));
                } else if self.is_excluded(side, name) {
                    self.error(&path, format!("`{name}` also stands in `exclude`"));
                }
            }
            let (from, to) = match self.request.direction {
                Direction::Forward => (left_name.as_str(), right_name),
                Direction::Backward => (right_name, left_name.as_str()),
            };
            taken.insert(from);
            if let (Some(source), Some(target)) = (source.table.position(from), target.table.position(to)) {
                wishes[target] = Some(Wish { source, path, field: Some((left_name, field)) });
            }
        }
        for (at, column) in target.table.columns.iter().enumerate() {
            let name = &*column.name;
            if wishes[at].is_some() || taken.contains(name) || self.is_excluded(target, name) {
                continue;
            }
            let Some(from) = source.table.position(name) else { continue };
            let never_read = Self::configured(&declaration.constant, source, name).is_some();
            let not_published =
                source.engine == Engine::Postgres && source.table.columns[from].generated == Generated::Computed;
            if !self.is_excluded(source, name) && !never_read && !not_published {
                wishes[at] = Some(Wish { source: from, path: String::new(), field: None });
            }
        }
        self.check_names();
        wishes
    }

    /// Columns that `exclude`, `constant` and `default` name must exist.
    fn check_names(&mut self) {
        let declaration = self.request.declaration;
        let sides = self.sides();
        for entry in &declaration.exclude {
            let known = sides.iter().any(|side| {
                let name = entry.strip_prefix(side.site).and_then(|rest| rest.strip_prefix('.')).unwrap_or(entry);
                side.table.position(name).is_some()
            });
            if !known {
                self.error("exclude", format!("neither table has a column `{entry}`"));
            }
        }
        for (part, values) in [("constant", &declaration.constant), ("default", &declaration.default)] {
            for key in values.keys() {
                for side in sides {
                    if let Some(name) = key.strip_prefix(side.site).and_then(|rest| rest.strip_prefix('.'))
                        && side.table.position(name).is_none()
                    {
                        let text = format!("table {} at {} has no column `{name}`", side.table.name, side.site);
                        self.error(format!("{part}.{key}"), text);
                    }
                }
            }
        }
    }

    fn pair(&mut self, wishes: Vec<Option<Wish<'a>>>) {
        let Request { declaration, source, target, provided, .. } = self.request;
        let mut read = vec![false; source.table.columns.len()];
        for (at, wish) in wishes.into_iter().enumerate() {
            let column = &target.table.columns[at];
            let name = &*column.name;
            let constant = Self::configured(&declaration.constant, target, name);
            let default = Self::configured(&declaration.default, target, name);
            if column.generated == Generated::Computed {
                if let Some(wish) = wish.filter(|wish| wish.field.is_some()) {
                    self.error(wish.path, format!("`{name}` is computed by {}: exclude it", target.site));
                }
                self.unwritten.push(at);
                continue;
            }
            let feed = match (constant, wish) {
                (Some(literal), wish) => {
                    if let Some(wish) = wish.filter(|wish| wish.field.is_some()) {
                        self.error(wish.path, format!("`{name}` has a `constant` at {}", target.site));
                    }
                    self.literal(literal, column, format!("constant.{}.{name}", target.site)).map(Feed::Constant)
                }
                (None, Some(wish)) => {
                    read[wish.source] = true;
                    self.column_feed(&wish, column, default)
                }
                (None, None) => default
                    .and_then(|literal| self.literal(literal, column, format!("default.{}.{name}", target.site)))
                    .map(Feed::OnInsert),
            };
            match feed {
                Some(feed) => self.pairs.push(Pair { target: at, feed }),
                None => {
                    self.unwritten.push(at);
                    if column.is_required() && !provided.contains(&name) {
                        self.error(
                            "",
                            format!(
                                "column `{name}` of table {} at {} is NOT NULL and has no value: map a column to it, or set `default: {{ {}.{name}: … }}`",
                                target.table.name, target.site, target.site
                            ),
                        );
                    }
                }
            }
        }
        self.unread = (0..read.len()).filter(|at| !read[*at]).collect();
        if self.pairs.is_empty() {
            self.error("", format!("no column of {} has a counterpart in {}", source.table.name, target.table.name));
        }
    }

    fn literal(&mut self, literal: &Literal, column: &ColumnDescription, path: String) -> Option<crate::data::Value> {
        match literal_value(literal, &column.kind, self.request.target.engine) {
            Ok(crate::data::Value::Null) if !column.nullable => {
                self.error(path, format!("`{}` is NOT NULL", column.name));
                None
            }
            Ok(value) => Some(value),
            Err(refused) => {
                self.error(path, format!("`{literal}` does not fit {}: {}", column.native, refused.0));
                None
            }
        }
    }

    fn column_feed(&mut self, wish: &Wish<'a>, column: &ColumnDescription, default: Option<&Literal>) -> Option<Feed> {
        let Request { declaration, source, target, .. } = self.request;
        let from = &source.table.columns[wish.source];
        let field = wish.field.map(|(_, field)| field);
        let fraction = field.and_then(|field| field.fraction).unwrap_or(declaration.fraction);
        let context = Context {
            source: source.engine,
            target: target.engine,
            live: Some(&from.kind),
            native: &column.native,
            fraction,
        };
        let planned = plan(&from.kind, &column.kind, &context);
        let literal = default.or(field.and_then(|field| field.default.as_ref()));
        let path = if default.is_some() {
            format!("default.{}.{}", target.site, column.name)
        } else {
            format!("{}.default", wish.path)
        };
        let default = literal.and_then(|literal| self.literal(literal, column, path));
        let values = match field {
            Some(field) if !field.values.is_empty() => Some(self.values(wish, field, from, column)?),
            _ => None,
        };
        if let (None, Fit::Impossible(why)) = (&values, &planned.fit) {
            self.error(
                &wish.path,
                format!(
                    "`{}` ({}) can't become `{}` ({}): {why}; exclude it or change a type",
                    from.name, from.native, column.name, column.native
                ),
            );
        }
        Some(Feed::Column { source: wish.source, values: values.map(Arc::new), default, planned, fraction })
    }

    fn values(
        &mut self,
        wish: &Wish<'a>,
        field: &FieldDeclaration,
        from: &ColumnDescription,
        to: &ColumnDescription,
    ) -> Option<ValueMap> {
        let path = format!("{}.values", wish.path);
        if self.request.two_way || self.request.direction == Direction::Backward {
            let mut seen = std::collections::BTreeMap::new();
            for (left, right) in &field.values {
                if let Some(other) = seen.insert(right.to_string(), left) {
                    self.error(
                        &path,
                        format!(
                            "`{other}` and `{left}` both become `{right}`: on a two-way link every value needs its own"
                        ),
                    );
                    return None;
                }
            }
        }
        let pairs: Vec<(String, Literal)> = match self.request.direction {
            Direction::Forward => field.values.iter().map(|(left, right)| (left.clone(), right.clone())).collect(),
            Direction::Backward => {
                field.values.iter().map(|(left, right)| (right.to_string(), Literal::Text(left.clone()))).collect()
            }
        };
        let map = match ValueMap::compile(pairs.into_iter(), &from.kind, &to.kind, self.request.target.engine) {
            Ok(map) => map,
            Err(what) => {
                self.error(&path, what);
                return None;
            }
        };
        if let crate::data::Kind::Enum(labels) = &from.kind {
            let unmapped = map.unmapped(labels);
            if !unmapped.is_empty() {
                self.warn(
                    &path,
                    format!("no value for {} of `{}`: such records are refused", unmapped.join(", "), from.name),
                );
            }
        }
        Some(map)
    }
}
