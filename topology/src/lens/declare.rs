//! What a user writes about one entity, as plain data: the `entities:` part of a link. The command line embeds these structs in its
//! configuration; [`super::plan`] compiles them. Parsing knows no tables; whether columns exist is the plan's business.
//!
//! In a link `between: [left, right]` or `from: left, to: right` the keys of `fields` are columns of the left site.

use std::collections::BTreeMap;

use serde::{Deserialize, Serialize};

use super::convert::FractionMode;
use super::literal::{FieldDeclaration, Later, Literal};
use crate::batch::{SnapshotMode, TruncateMode, WriteMode};
use crate::error::{Error, ErrorKind, Result, Stage};

/// One entity of a link: which tables, which columns, how they are written.
///
/// ```yaml
/// users:
///   tables: { legacy: legacy_users, revamp: revamp_users }
///   fields:
///     username: user_name
///     status: { to: account_status, values: { active: Active, inactive: Inactive, suspended: Suspended } }
///   exclude: [internal_notes]
///   constant: { legacy.source: sync_service, revamp.source: sync_service }
///   default: { revamp.language_id: 1 }
/// ```
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields, default)]
pub struct EntityDeclaration {
    /// Table at both sites, when it has the same name there. Without `table` and `tables` the entity's own name.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub table: Option<String>,
    /// Table by site, maybe qualified (`public.users`).
    #[serde(skip_serializing_if = "BTreeMap::is_empty")]
    pub tables: BTreeMap<String, String>,
    /// Columns that identify a row, as the left site names them. Default: the target's primary key. Needed for tables without one;
    /// a PostgreSQL source then needs `REPLICA IDENTITY FULL`.
    #[serde(skip_serializing_if = "KeyDeclaration::is_empty")]
    pub key: KeyDeclaration,
    /// How identities of the two sites relate.
    pub ids: IdsDeclaration,
    /// Pairs `left: right` or `left: { to: right, … }`. Columns with equal names pair by themselves.
    #[serde(skip_serializing_if = "BTreeMap::is_empty")]
    pub fields: BTreeMap<String, FieldDeclaration>,
    /// Columns that stay out: `column` (at either site) or `site.column`.
    #[serde(skip_serializing_if = "Vec::is_empty")]
    pub exclude: Vec<String>,
    /// `site.column: value`: always written there, never read back.
    #[serde(skip_serializing_if = "BTreeMap::is_empty")]
    pub constant: BTreeMap<String, Literal>,
    /// `site.column: value`: fills inserted rows when the other site has no such column; where the row is there it is left alone. For a
    /// mapped column: written whenever a record's schema lacks it. NULL stays NULL.
    #[serde(skip_serializing_if = "BTreeMap::is_empty")]
    pub default: BTreeMap<String, Literal>,
    /// Mirror of the source, or a history of its changes.
    pub mode: WriteMode,
    /// What a row read by a snapshot does; without it `upsert` on one-way links and `insert_if_absent` on two-way links.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub snapshot: Option<SnapshotMode>,
    /// What a truncate of the source table does.
    pub truncate: TruncateMode,
    /// What happens to a mapped column that a record's schema does not have, and that has no default.
    pub missing: MissingMode,
    /// How concurrent changes are decided.
    pub conflict: ConflictDeclaration,
    /// Digits of a second that a target column has no room for: `exact` refuses the record, `cut` cuts them off.
    pub fraction: FractionMode,
    /// When a row of this entity that waits is given up.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub parked: Option<ParkedDeclaration>,
    /// Row filter.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub when: Option<Later>,
}

/// `parked: { attempts: 3, dead_after_seconds: 60 }`: what is left out is as in `tuning.parked`.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields, default)]
pub struct ParkedDeclaration {
    /// Tries, the first one included; 0: only time counts.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub attempts: Option<u64>,
    /// Seconds.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub dead_after_seconds: Option<u64>,
}

/// `key: column` or `key: [column, …]`.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize)]
#[serde(from = "OneOrMany", into = "Vec<String>")]
pub struct KeyDeclaration(pub Vec<String>);

impl KeyDeclaration {
    /// True when the key is left to the tables.
    pub fn is_empty(&self) -> bool {
        self.0.is_empty()
    }
}

#[derive(Deserialize)]
#[serde(untagged, expecting = "a column name or a list of column names")]
enum OneOrMany {
    One(String),
    Many(Vec<String>),
}

impl From<OneOrMany> for KeyDeclaration {
    fn from(declared: OneOrMany) -> KeyDeclaration {
        match declared {
            OneOrMany::One(column) => KeyDeclaration(vec![column]),
            OneOrMany::Many(columns) => KeyDeclaration(columns),
        }
    }
}

impl From<KeyDeclaration> for Vec<String> {
    fn from(key: KeyDeclaration) -> Vec<String> {
        key.0
    }
}

/// `ids: same`, `ids: mapped` or `ids: { by: [column] }`.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(from = "IdsShape", into = "IdsShape")]
pub enum IdsDeclaration {
    /// A row has the same key at both sites. On two-way links the sites' generated ids must be interleaved.
    #[default]
    Same,
    /// Each site has its own ids; a registry pairs them. Not in this version.
    Mapped,
    /// Rows are the same if these columns are equal. Not in this version.
    By(Vec<String>),
}

#[derive(Clone, Serialize, Deserialize)]
#[serde(untagged, expecting = "`same`, `mapped` or { by: [column] }")]
enum IdsShape {
    Word(IdsWord),
    By { by: Vec<String> },
}

#[derive(Clone, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
enum IdsWord {
    Same,
    Mapped,
}

impl From<IdsShape> for IdsDeclaration {
    fn from(shape: IdsShape) -> IdsDeclaration {
        match shape {
            IdsShape::Word(IdsWord::Same) => IdsDeclaration::Same,
            IdsShape::Word(IdsWord::Mapped) => IdsDeclaration::Mapped,
            IdsShape::By { by } => IdsDeclaration::By(by),
        }
    }
}

impl From<IdsDeclaration> for IdsShape {
    fn from(ids: IdsDeclaration) -> IdsShape {
        match ids {
            IdsDeclaration::Same => IdsShape::Word(IdsWord::Same),
            IdsDeclaration::Mapped => IdsShape::Word(IdsWord::Mapped),
            IdsDeclaration::By(by) => IdsShape::By { by },
        }
    }
}

/// A mapped column that is absent from a record's schema: not yet added, or dropped, at the source. Defaults go first.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum MissingMode {
    /// An existing row keeps its value. An inserted row gets NULL; where the target forbids NULL the topic pauses with the reason.
    #[default]
    Leave,
    /// The topic pauses with the reason.
    Halt,
}

/// `conflict: none` or `conflict: { policy: … }`.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize)]
#[serde(rename_all = "snake_case")]
pub enum ConflictDeclaration {
    /// Blind: what arrives is written.
    #[default]
    None,
    /// Any other policy. Not in this version.
    Policy,
}

impl<'de> Deserialize<'de> for ConflictDeclaration {
    fn deserialize<D: serde::Deserializer<'de>>(deserializer: D) -> std::result::Result<Self, D::Error> {
        #[derive(Deserialize)]
        #[serde(untagged, expecting = "`none` or a policy")]
        enum Shape {
            Name(String),
            Absent(()),
            Policy(#[allow(dead_code)] Later),
        }
        Ok(match Shape::deserialize(deserializer)? {
            Shape::Name(name) if name == "none" => ConflictDeclaration::None,
            Shape::Absent(()) => ConflictDeclaration::None,
            Shape::Name(_) | Shape::Policy(_) => ConflictDeclaration::Policy,
        })
    }
}

impl EntityDeclaration {
    /// The table of this entity at a site.
    pub fn table_at<'a>(&'a self, site: &str, entity: &'a str) -> &'a str {
        self.tables.get(site).or(self.table.as_ref()).map_or(entity, String::as_str)
    }

    /// Checks what can be checked without tables. `path` is the place in the configuration (`links[0].entities.users`), `sites` the
    /// link's two sites.
    ///
    /// # Errors
    /// `Configuration`, naming the path of the key that is wrong.
    pub fn validate(&self, path: &str, sites: [&str; 2]) -> Result<()> {
        if self.table.is_some() && !self.tables.is_empty() {
            return Err(wrong(format!("{path}.table"), "give either `table` or `tables`, not both"));
        }
        if let Some(site) = self.tables.keys().find(|site| !sites.contains(&site.as_str())) {
            return Err(wrong(
                format!("{path}.tables.{site}"),
                format!("the link has no such site; its sites are {} and {}", sites[0], sites[1]),
            ));
        }
        if self.ids != IdsDeclaration::Same {
            return Err(later(format!("{path}.ids"), "`same`"));
        }
        if self.conflict != ConflictDeclaration::None {
            return Err(later(format!("{path}.conflict"), "`none`"));
        }
        if self.when.is_some() {
            return Err(later(format!("{path}.when"), "leaving it out"));
        }
        for (left, field) in &self.fields {
            field.validate(&format!("{path}.fields.{left}"))?;
        }
        for (part, keys) in
            [("constant", self.constant.keys().collect::<Vec<_>>()), ("default", self.default.keys().collect())]
        {
            for key in keys {
                let known =
                    key.split_once('.').is_some_and(|(site, column)| sites.contains(&site) && !column.is_empty());
                if !known {
                    return Err(wrong(
                        format!("{path}.{part}.{key}"),
                        format!("write `{}.<column>` or `{}.<column>`", sites[0], sites[1]),
                    ));
                }
            }
        }
        if let Some(key) = self.constant.keys().find(|key| self.default.contains_key(*key)) {
            return Err(wrong(format!("{path}.default.{key}"), "the column already has a `constant`"));
        }
        let mut seen = BTreeMap::new();
        for (left, field) in &self.fields {
            if let Some(other) = seen.insert(field.right(left), left) {
                return Err(wrong(
                    format!("{path}.fields.{left}"),
                    format!("`{other}` is mapped to `{}` already; one column takes one column", field.right(left)),
                ));
            }
        }
        Ok(())
    }
}

pub(super) fn wrong(path: impl AsRef<str>, what: impl AsRef<str>) -> Error {
    Error::new(
        ErrorKind::Configuration,
        Stage::Configure,
        "wrong configuration",
        format!("{}: {}", path.as_ref(), what.as_ref()),
    )
}

pub(super) fn later(path: impl AsRef<str>, allowed: &str) -> Error {
    wrong(path, format!("not in this version of Tidelock, which knows only {allowed} here"))
}

#[cfg(test)]
mod tests {
    use super::*;

    fn parse(yaml: &str) -> std::result::Result<EntityDeclaration, serde_yaml_ng::Error> {
        serde_yaml_ng::from_str(yaml)
    }

    fn refused(yaml: &str) -> String {
        parse(yaml).unwrap().validate("links[0].entities.users", ["legacy", "revamp"]).unwrap_err().to_string()
    }

    const BLOG: &str = "
tables: { legacy: legacy_users, revamp: revamp_users }
ids: same
fields:
  username: user_name
  status: { to: account_status, values: { active: Active, inactive: Inactive, suspended: Suspended }, default: Active }
  is_active: { to: enabled, values: { 0: no, 1: yes } }
exclude: [internal_notes, revamp.search]
constant: { legacy.source: sync_service, revamp.source: sync_service }
default: { revamp.language_id: 1 }
conflict: none
mode: append
snapshot: insert_if_absent
truncate: apply
key: [username]
parked: { attempts: 3 }
";

    #[test]
    fn the_blog_example_parses_and_is_valid() {
        let users = parse(BLOG).unwrap();
        users.validate("users", ["legacy", "revamp"]).unwrap();
        assert_eq!(users.table_at("legacy", "users"), "legacy_users");
        assert_eq!(users.fields["username"].right("username"), "user_name");
        assert_eq!(users.fields["status"].right("status"), "account_status");
        assert_eq!(users.default["revamp.language_id"], Literal::Int(1));
        assert_eq!(users.key.0, ["username"]);
        assert_eq!((users.mode, users.truncate), (WriteMode::Append, TruncateMode::Apply));
        assert_eq!(users.parked, Some(ParkedDeclaration { attempts: Some(3), dead_after_seconds: None }));
        let again: EntityDeclaration = parse(&serde_yaml_ng::to_string(&users).unwrap()).unwrap();
        assert_eq!(again, users);
    }

    #[test]
    fn an_empty_entity_maps_equal_names_of_equal_tables() {
        let users = parse("{}").unwrap();
        users.validate("users", ["a", "b"]).unwrap();
        assert_eq!(users.table_at("a", "users"), "users");
    }

    #[test]
    fn unknown_keys_are_refused_with_what_is_allowed() {
        let error = parse("feilds: {}").unwrap_err().to_string();
        assert!(error.contains("unknown field `feilds`") && error.contains("`fields`"), "{error}");
        let error = parse("fields: { a: { too: b } }").unwrap_err().to_string();
        assert!(error.contains("unknown field `too`") && error.contains("`to`"), "{error}");
    }

    #[test]
    fn what_later_versions_bring_is_refused_by_its_path() {
        assert_eq!(
            refused("ids: mapped"),
            "wrong configuration: links[0].entities.users.ids: not in this version of Tidelock, which knows only `same` here"
        );
        assert!(refused("ids: { by: [email] }").contains("users.ids: not in this version"));
        assert!(
            refused("conflict: { policy: latest, clock: updated_at }").contains("users.conflict: not in this version")
        );
        assert!(
            refused("fields: { user_id: { to: author_id, refers: users } }")
                .contains("users.fields.user_id.refers: not in this version")
        );
        assert!(refused("when: \"status == 'x'\"").contains("users.when: not in this version"));
    }

    #[test]
    fn wrong_places_are_named() {
        assert!(refused("tables: { legcy: users }").contains("users.tables.legcy: the link has no such site"));
        assert!(refused("constant: { source: x }").contains("users.constant.source: write `legacy.<column>`"));
        assert!(refused("fields: { a: c, b: c }").contains("users.fields.b: `a` is mapped to `c` already"));
        assert!(refused("{ table: a, tables: { legacy: b } }").contains("users.table: give either"));
    }
}
