//! What a mapping is refused for before anything flows, and how it is told.

use super::*;

#[test]
fn a_mapping_without_a_value_for_not_null_is_refused_by_the_columns_name() {
    // D017
    let (left, mut right) = users();
    right.columns[4].nullable = false;
    let problems = given(USERS, (left.clone(), right.clone())).problems();
    assert_eq!(
        problems,
        "  error: users: column `extra` of table revamp_users at revamp is NOT NULL and has no value: map a column to it, or set `default: { revamp.extra: … }`"
    );
    assert_eq!(given(&format!("{USERS}default: {{ revamp.extra: x }}"), (left, right)).problems(), "");
}

#[test]
fn everything_wrong_is_named_not_only_the_first() {
    let yaml = "
fields: { nope: user_name, username: nowhere, status: { to: account_status, values: { a: x, b: x } } }
exclude: [ghost]
constant: { revamp.phantom: 1 }
default: { revamp.id: abc }
";
    let mut given = given(yaml, users());
    given.two_way = true;
    let problems = given.problems();
    for expected in [
        "users.fields.nope: table legacy_users at legacy has no column `nope`",
        "users.fields.username: table revamp_users at revamp has no column `nowhere`",
        "users.fields.status.values: `a` and `b` both become `x`",
        "users.exclude: neither table has a column `ghost`",
        "users.constant.revamp.phantom: table revamp_users at revamp has no column `phantom`",
        "users.default.revamp.id: `abc` does not fit",
        "column `user_name` of table revamp_users at revamp is NOT NULL and has no value",
    ] {
        assert!(problems.contains(expected), "{expected}\n--\n{problems}");
    }
    let error = given.survey().into_plan().unwrap_err();
    assert_eq!(error.kind, ErrorKind::Configuration);
}

#[test]
fn types_without_a_way_and_labels_without_a_value_are_named() {
    let labels: Arc<[String]> = ["active", "odd"].map(String::from).into();
    let pair = (
        table("t", &[0], &[("id!", INT), ("place", Kind::Date), ("status", Kind::Enum(labels))]),
        table("t", &[0], &[("id!", INT), ("place", INT), ("status", TEXT)]),
    );
    let problems = given("fields: { status: { values: { active: A } } }", pair).problems();
    assert!(problems.contains("error: users: `place` (Date) can't become `place`"), "{problems}");
    assert!(problems.contains("warning: users.fields.status.values: no value for odd of `status`"), "{problems}");
}

#[test]
fn a_key_that_the_target_cannot_keep_apart_is_refused() {
    // B3
    let columns = [("code!", TEXT)];
    let (mut left, mut right) = (table("t", &[0], &columns), table("t", &[0], &columns));
    let collation =
        |name: &str, exact| Some(Collation { name: name.into(), character_set: "".into(), exact, pads: false });
    left.columns[0].collation = collation("C", true);
    right.columns[0].collation = collation("utf8mb4_0900_ai_ci", false);
    let problems = given("{}", (left.clone(), right.clone())).problems();
    assert!(problems.contains("`code` at revamp compares as utf8mb4_0900_ai_ci, which equates texts"), "{problems}");
    left.columns[0].collation = right.columns[0].collation.clone();
    assert_eq!(given("{}", (left, right)).problems(), "");
    let problems = given("key: code", (table("t", &[0], &columns), table("t", &[], &columns))).problems();
    assert!(problems.contains("table t at revamp needs a unique index over (code)"), "{problems}");
    let problems = given("{}", (table("t", &[], &columns), table("t", &[], &columns))).problems();
    assert!(problems.contains("no primary key: set `key: [columns]`"), "{problems}");
}

#[test]
fn the_effective_mapping_is_told_in_plain_words() {
    let (left, mut right) = users();
    for (column, native) in
        right.columns.iter_mut().zip(["integer", "varchar(5)", "varchar(20)", "varchar(20)", "text"])
    {
        column.native = native.into();
    }
    let mut left = left;
    for (column, native) in left.columns.iter_mut().zip(["int", "varchar(50)", "varchar(20)", "varchar(20)", "text"]) {
        column.native = native.into();
    }
    assert_eq!(
        given(USERS, (left, right)).survey().explain().join("\n"),
        "users: legacy_users (MySQL at legacy) → revamp_users (PostgreSQL at revamp)
  id int → id integer: exact
  username varchar(50) → user_name varchar(5): checked: at most 5 characters, never truncated
  status varchar(20) → account_status varchar(20): values active → Active, inactive → Inactive
  source varchar(20): always 'sync'
  key: id
  only at legacy: source, notes
  left alone at revamp: extra"
    );
}
