//! Whole lenses: a declaration, two tables, records.

use super::convert::Engine;
use super::declare::EntityDeclaration;
use super::survey::{Direction, Request, Side, Survey, survey};
use super::*;
use crate::data::{Column, Kind, Layout, Value};
use crate::record::{EntityId, Operation};
use crate::table::{Collation, ColumnDescription, Generated, TableDescription, UniqueIndex};

#[path = "refusal_tests.rs"]
mod refusals;

const INT: Kind = Kind::Int { bits: 32, unsigned: false };
const TINY: Kind = Kind::Int { bits: 8, unsigned: false };
const TEXT: Kind = Kind::Text { characters_max: None, fixed: false };

fn varchar(characters: u64) -> Kind {
    Kind::Text { characters_max: Some(characters), fixed: false }
}

/// `name:kind`, `!` after the name means NOT NULL.
fn table(name: &str, key: &[usize], columns: &[(&str, Kind)]) -> TableDescription {
    TableDescription {
        name: name.into(),
        columns: columns
            .iter()
            .map(|(name, kind)| ColumnDescription {
                name: name.trim_end_matches('!').into(),
                kind: kind.clone(),
                native: format!("{kind:?}").into(),
                nullable: !name.ends_with('!'),
                has_default: false,
                generated: Generated::Never,
                collation: None,
            })
            .collect(),
        primary_key: key.to_vec(),
        unique_indexes: Vec::new(),
        foreign_keys: Vec::new(),
        referenced: false,
        deferrable: false,
        sequences: Vec::new(),
        triggers: Vec::new(),
    }
}

fn users() -> (TableDescription, TableDescription) {
    (
        table(
            "legacy_users",
            &[0],
            &[
                ("id!", INT),
                ("username!", varchar(50)),
                ("status", varchar(20)),
                ("source", varchar(20)),
                ("notes", TEXT),
            ],
        ),
        table(
            "revamp_users",
            &[0],
            &[
                ("id!", INT),
                ("user_name!", varchar(5)),
                ("account_status", varchar(20)),
                ("source", varchar(20)),
                ("extra", TEXT),
            ],
        ),
    )
}

const USERS: &str = "
fields:
  username: user_name
  status: { to: account_status, values: { active: Active, inactive: Inactive } }
constant: { revamp.source: sync, legacy.source: sync }
";

struct Given {
    declaration: EntityDeclaration,
    left: TableDescription,
    right: TableDescription,
    direction: Direction,
    two_way: bool,
    engines: (Engine, Engine),
}

fn given(yaml: &str, (left, right): (TableDescription, TableDescription)) -> Given {
    let declaration: EntityDeclaration = serde_yaml_ng::from_str(yaml).unwrap();
    declaration.validate("users", ["legacy", "revamp"]).unwrap();
    let engines = (Engine::MySql, Engine::Postgres);
    Given { declaration, left, right, direction: Direction::Forward, two_way: false, engines }
}

impl Given {
    fn backward(mut self) -> Given {
        (self.direction, self.two_way) = (Direction::Backward, true);
        self
    }

    fn survey(&self) -> Survey<'_> {
        let left = Side { site: "legacy", engine: self.engines.0, table: &self.left };
        let right = Side { site: "revamp", engine: self.engines.1, table: &self.right };
        let (source, target) = match self.direction {
            Direction::Forward => (left, right),
            Direction::Backward => (right, left),
        };
        survey(Request {
            path: "users",
            name: "users",
            entity: EntityId(3),
            declaration: &self.declaration,
            source,
            target,
            direction: self.direction,
            two_way: self.two_way,
            provided: &[],
        })
    }

    fn problems(&self) -> String {
        self.survey()
            .explain()
            .into_iter()
            .filter(|line| line.contains("error") || line.contains("warning"))
            .collect::<Vec<_>>()
            .join("\n")
    }

    fn run(&self) -> Run {
        let mut layouts = Layouts::default();
        let lens = Lens::new(Arc::new(self.survey().into_plan().unwrap()), &mut layouts);
        Run { lens, layouts, arena: Arena::default() }
    }
}

struct Run {
    lens: Lens,
    layouts: Layouts,
    arena: Arena,
}

type Cells<'a> = &'a [(&'a str, Kind, Value)];

struct Mapped {
    key: Vec<Value>,
    old_key: Option<Vec<Value>>,
    before: Option<Vec<Value>>,
    after: Option<Vec<Value>>,
}

impl Run {
    fn layout(&mut self, cells: Cells<'_>) -> (LayoutId, CellRange) {
        let columns = cells
            .iter()
            .map(|(name, kind, _)| Column { name: (*name).into(), kind: kind.clone(), nullable: true })
            .collect();
        let values: Vec<Value> = cells.iter().map(|(_, _, value)| value.clone()).collect();
        (self.layouts.add(Layout { columns }), self.arena.push_values(&values))
    }

    fn map(
        &mut self,
        operation: Operation,
        key: Cells<'_>,
        before: Option<Cells<'_>>,
        after: Option<Cells<'_>>,
    ) -> Result<Mapped> {
        let (key_layout, key) = self.layout(key);
        let mut record = Record { operation, key, key_layout, ..Record::default() };
        if let Some(cells) = before {
            let (layout, row) = self.layout(cells);
            (record.layout, record.before) = (layout, Some(row));
        }
        if let Some(cells) = after {
            let (layout, row) = self.layout(cells);
            if record.before.is_none() {
                record.layout = layout;
            }
            record.after = Some(row);
        }
        self.lens.map(&mut record, &mut self.arena, &self.layouts)?;
        assert_eq!(record.key_layout, self.lens.key_layout());
        let values = |range| self.arena.values(range);
        Ok(Mapped {
            key: values(record.key),
            old_key: record.old_key.map(values),
            before: record.before.map(values),
            after: record.after.map(values),
        })
    }

    fn insert(&mut self, row: Cells<'_>) -> Result<Vec<Value>> {
        let key = [row[0].clone()];
        self.map(Operation::Create, &key, None, Some(row)).map(|mapped| mapped.after.unwrap())
    }
}

fn id(number: i64) -> (&'static str, Kind, Value) {
    ("id", INT, Value::I64(number))
}

fn text<'a>(name: &'a str, value: &str) -> (&'a str, Kind, Value) {
    (name, TEXT, Value::from(value))
}

#[test]
fn names_values_and_constants_are_mapped_forth() {
    let mut run = given(USERS, users()).run();
    let row = [id(7), text("username", "ada"), text("status", "active"), text("source", "legacy"), text("notes", "x")];
    let mapped = run.map(Operation::Create, &[id(7)], None, Some(&row)).unwrap();
    assert_eq!(mapped.key, [Value::I64(7)]);
    assert_eq!(mapped.after.unwrap(), [Value::I64(7), "ada".into(), "Active".into(), "sync".into()]);
    let names: Vec<_> = run.lens.plan().table.columns.iter().map(|column| column.name.to_string()).collect();
    assert_eq!(names, ["id", "user_name", "account_status", "source"], "one-sided columns are left alone");
    assert_eq!((run.lens.plan().table.entity, run.lens.plan().table.key.as_slice()), (EntityId(3), &[0][..]));
}

#[test]
fn the_same_declaration_maps_back() {
    let mut run = given(USERS, users()).backward().run();
    let row = [
        id(7),
        text("user_name", "ada"),
        text("account_status", "Inactive"),
        text("source", "revamp"),
        text("extra", "x"),
    ];
    assert_eq!(run.insert(&row).unwrap(), [Value::I64(7), "ada".into(), "inactive".into(), "sync".into()]);
}

#[test]
fn null_empty_and_unavailable_stay_apart() {
    let mut run = given(USERS, users()).run();
    let row = |status: Value| [id(7), text("username", ""), ("status", TEXT, status)];
    let cell = |run: &mut Run, status: Value| run.insert(&row(status)).unwrap()[2].clone();
    assert_eq!(cell(&mut run, Value::Null), Value::Null);
    assert_eq!(cell(&mut run, Value::Unavailable), Value::Unavailable);
    assert_eq!(run.insert(&row(Value::Null)).unwrap()[1], Value::from(""));
}

#[test]
fn a_value_that_does_not_fit_is_refused_by_column_and_without_the_value() {
    let mut run = given(USERS, users()).run();
    let error = run.insert(&[id(7), text("username", "too long"), text("status", "active")]).unwrap_err();
    assert_eq!(error.kind, ErrorKind::Data);
    assert_eq!(
        error.to_string(),
        "cannot map record: entity users, column user_name: the text has more characters than the target type keeps"
    );
    let error = run.insert(&[id(7), text("username", "ada"), text("status", "secret")]).unwrap_err();
    assert_eq!(
        error.to_string(),
        "cannot map record: entity users, column account_status: the value is not in the configured `values`"
    );
    let error = run.insert(&[id(7), ("username", TEXT, Value::Null), text("status", "active")]).unwrap_err();
    assert!(
        error.to_string().ends_with("column user_name: the value is NULL and the target's column is NOT NULL"),
        "{error}"
    );
}

#[test]
fn a_record_that_fails_still_has_its_key_mapped() {
    let mut run = given(USERS, users()).run();
    let (key_layout, key) = run.layout(&[id(9)]);
    let (layout, row) = run.layout(&[id(9), text("username", "too long")]);
    let mut record = Record { key, key_layout, layout, after: Some(row), ..Record::default() };
    run.lens.map(&mut record, &mut run.arena, &run.layouts).unwrap_err();
    assert_eq!(record.key_layout, run.lens.key_layout());
    assert_eq!(run.arena.values(record.key), [Value::I64(9)]);
}

#[test]
fn equal_tables_need_no_copy_of_the_row() {
    let columns = [("id!", INT), ("name", TEXT)];
    let mut run = given("{}", (table("users", &[0], &columns), table("users", &[0], &columns))).run();
    let layout = run.layouts.add(Layout {
        columns: vec![
            Column { name: "id".into(), kind: INT, nullable: false },
            Column { name: "name".into(), kind: TEXT, nullable: true },
        ],
    });
    let row = run.arena.push_values(&[Value::I64(1), Value::from("a")]);
    let (key_layout, key) = run.layout(&[id(1)]);
    let mut record = Record { key, key_layout, layout, before: Some(row), after: Some(row), ..Record::default() };
    run.lens.map(&mut record, &mut run.arena, &run.layouts).unwrap();
    assert_eq!(record.after, Some(row));
    assert_eq!(record.before, None, "nobody asked for the row before");
}

#[test]
fn a_column_that_a_schema_lacks_is_left_alone_or_null_or_its_default() {
    let mut run = given(USERS, users()).run();
    let row = [id(7), text("username", "ada")];
    assert_eq!(run.insert(&row).unwrap()[2], Value::Null, "inserted without the column");
    let mapped = run.map(Operation::Update, &[id(7)], None, Some(&row)).unwrap();
    assert_eq!(mapped.after.unwrap()[2], Value::Unavailable, "BAT-3: never overwritten");
    // F003: with a default, that is the value.
    let with_default = USERS.replace("values:", "default: Active, values:");
    let mut run = given(&with_default, users()).run();
    assert_eq!(run.insert(&row).unwrap()[2], Value::from("Active"));
    assert_eq!(run.insert(&[id(7), text("username", "ada"), ("status", TEXT, Value::Null)]).unwrap()[2], Value::Null);
    // NOT NULL without default: nothing to write, so the topic waits.
    let error = run.insert(&[id(7), text("status", "active")]).unwrap_err();
    assert_eq!(error.kind, ErrorKind::Schema);
    let mut run = given(&format!("{USERS}missing: halt"), users()).run();
    assert_eq!(run.map(Operation::Update, &[id(7)], None, Some(&row)).err().unwrap().kind, ErrorKind::Schema);
}

#[test]
fn a_default_for_a_one_sided_column_fills_inserted_rows_only() {
    let mut run = given(&format!("{USERS}default: {{ revamp.extra: none }}"), users()).run();
    let row = [id(7), text("username", "ada"), text("status", "active")];
    assert_eq!(run.insert(&row).unwrap()[4], Value::from("none"));
    assert_eq!(run.lens.plan().table.insert_only, [4], "the sink leaves it alone where the row is there");
    // An update is still a whole row: where the row is not there, it inserts it.
    let mapped = run.map(Operation::Update, &[id(7)], None, Some(&row)).unwrap();
    assert_eq!(mapped.after.unwrap()[4], Value::from("none"));
    // A row that lacks cells never inserts.
    let mapped = run.map(Operation::Update, &[id(7)], None, Some(&row[..2])).unwrap();
    let mapped = mapped.after.unwrap();
    assert_eq!((&mapped[2], &mapped[4]), (&Value::Unavailable, &Value::Unavailable));
}

#[test]
fn a_new_schema_id_gets_its_own_program() {
    let mut run = given(USERS, users()).run();
    assert_eq!(run.insert(&[id(1), text("username", "a"), text("status", "active")]).unwrap()[2], "Active".into());
    assert_eq!(
        run.insert(&[id(1), text("status", "inactive"), text("username", "b")]).unwrap()[1..3],
        ["b".into(), "Inactive".into()]
    );
}

#[test]
fn deletes_and_key_changes_map_their_keys() {
    let columns = [("id!", INT), ("name", TEXT)];
    let mut run = given("{}", (table("users", &[0], &columns), table("users", &[0], &columns))).run();
    let mapped = run.map(Operation::Delete, &[id(3)], Some(&[id(3), text("name", "invented")]), None).unwrap();
    assert_eq!((mapped.key, mapped.before, mapped.after), (vec![Value::I64(3)], None, None));
    let (key_layout, key) = run.layout(&[id(4)]);
    let (_, old) = run.layout(&[id(3)]);
    let (layout, row) = run.layout(&[id(4), text("name", "a")]);
    let mut record = Record { key, key_layout, old_key: Some(old), layout, after: Some(row), ..Record::default() };
    run.lens.map(&mut record, &mut run.arena, &run.layouts).unwrap();
    assert_eq!(run.arena.values(record.old_key.unwrap()), [Value::I64(3)]);
}

#[test]
fn a_truncate_has_no_key_and_no_row() {
    let mut run = given(USERS, users()).run();
    let mut record = Record { operation: Operation::Truncate, ..Record::default() };
    run.lens.map(&mut record, &mut run.arena, &run.layouts).unwrap();
    assert!(record.key.is_empty() && record.after.is_none());
}

#[test]
fn a_table_without_key_takes_the_declared_one_from_its_rows() {
    let columns = [("code!", TEXT), ("name", TEXT)];
    let mut right = table("t", &[], &columns);
    right.unique_indexes.push(UniqueIndex { name: "t_code".into(), columns: vec![0], partial: false });
    let mut run = given("key: code", (table("t", &[], &columns), right)).run();
    let row = |code: &'static str| [text("code", code), text("name", "x")];
    let mapped = run.map(Operation::Create, &[], None, Some(&row("a"))).unwrap();
    assert_eq!(mapped.key, [Value::from("a")]);
    let mapped = run.map(Operation::Delete, &[], Some(&row("a")), None).unwrap();
    assert_eq!(mapped.key, [Value::from("a")]);
    // The source tells no key change, its images do.
    let mapped = run.map(Operation::Update, &[], Some(&row("a")), Some(&row("b"))).unwrap();
    assert_eq!((mapped.key, mapped.old_key), (vec![Value::from("b")], Some(vec![Value::from("a")])));
    let mapped = run.map(Operation::Update, &[], Some(&row("a")), Some(&row("a"))).unwrap();
    assert_eq!(mapped.old_key, None);
    let error = run.map(Operation::Delete, &[], None, None).err().unwrap();
    assert_eq!((error.kind, error.to_string().contains("column code")), (ErrorKind::Data, true), "{error}");
    let null = [("code", TEXT, Value::Null), text("name", "x")];
    assert_eq!(run.map(Operation::Create, &[], None, Some(&null)).err().unwrap().kind, ErrorKind::Data);
}

#[test]
fn a_row_that_does_not_carry_its_key_gets_it_from_the_records_key() {
    let columns = [("id!", INT), ("name", TEXT)];
    let mut run = given("{}", (table("t", &[0], &columns), table("t", &[0], &columns))).run();
    let mapped = run.map(Operation::Create, &[id(5)], None, Some(&[text("name", "a")])).unwrap();
    assert_eq!(mapped.after.unwrap(), [Value::I64(5), "a".into()]);
}

#[test]
fn a_history_keeps_the_row_before_of_deletes() {
    let columns = [("id!", INT), ("status", varchar(20))];
    let mut history = table("history", &[], &columns);
    history.columns.push(ColumnDescription { name: "topic".into(), nullable: false, ..history.columns[1].clone() });
    let mut given = given("mode: append", (table("t", &[0], &columns), history));
    assert!(given.problems().contains("`topic` of table history"));
    given.right.columns[2].has_default = true;
    let mut run = given.run();
    let mapped = run.map(Operation::Delete, &[id(5)], Some(&[id(5), text("status", "x")]), None).unwrap();
    assert_eq!(mapped.before.unwrap(), [Value::I64(5), "x".into()]);
}

#[test]
fn one_column_arrives_as_boolean_and_as_number() {
    let pair = (table("t", &[0], &[("id!", INT), ("on", TINY)]), table("t", &[0], &[("id!", INT), ("on", Kind::Bool)]));
    let mut run = given("{}", pair).run();
    assert_eq!(run.insert(&[id(1), ("on", Kind::Bool, Value::Bool(true))]).unwrap()[1], Value::Bool(true));
    assert_eq!(
        run.insert(&[id(1), ("on", Kind::Int { bits: 16, unsigned: false }, Value::I64(0))]).unwrap()[1],
        Value::Bool(false)
    );
}
