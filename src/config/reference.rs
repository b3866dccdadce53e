//! `docs/configuration.md`, made from the declarations of the sections. A test fails when the page is stale; `UPDATE_DOCS=1`
//! rewrites it.

use std::fmt::Write;

use super::Config;
use super::setting::{KeyDoc, Setting, Shape};

/// Keys of an entity: name, default, meaning. The declaration itself is the lens's; a test compares the names.
const ENTITY: &[(&str, &str, &str)] = &[
    ("table", "the entity's name", "Table at both sites, when it has the same name there."),
    (
        "tables",
        "",
        "Table by site: `{ legacy: legacy_users, revamp: revamp_users }`; may be qualified (`public.users`).",
    ),
    (
        "key",
        "the target's primary key",
        "Column, or list of columns, that identify a row, as the left site names them.",
    ),
    (
        "ids",
        "`same`",
        "How identities of the two sites relate. Only `same` in this version: a row has the same key at both sites. Ids that both databases allot must be interleaved on two-way links.",
    ),
    (
        "fields",
        "",
        "Pairs `left: right` or `left: { to: right, … }`, see below. Columns with equal names pair by themselves.",
    ),
    ("exclude", "", "Columns that stay out: `column` (at either site) or `site.column`."),
    ("constant", "", "`site.column: value`: always written there, never read back."),
    (
        "default",
        "",
        "`site.column: value`. A column that the other site does not have: written when a row is inserted, left alone where the row is there. A mapped column: written when a record's schema lacks it; NULL stays NULL.",
    ),
    (
        "mode",
        "`mirror`",
        "`mirror`: the target holds one row per key. `append`: every change is one more row of a history table with topic, partition, offset and operation; one-way links only.",
    ),
    ("snapshot", "`upsert` one way, `insert_if_absent` two ways", "What a row read by a snapshot does."),
    (
        "truncate",
        "`halt`",
        "What a truncate of the source table does: `halt` the partition, `apply` (topics with one partition only), `ignore`.",
    ),
    (
        "missing",
        "`leave`",
        "A mapped column that a record's schema does not have: `leave` what is there, or `halt` the topic.",
    ),
    ("conflict", "`none`", "How concurrent changes are decided. Only `none` in this version: what arrives is written."),
    (
        "fraction",
        "`exact`",
        "Digits of a second that the target has no room for: `exact` refuses the record, `cut` cuts them off, towards the past. A field can say it for itself.",
    ),
    (
        "parked",
        "as in `tuning.parked`",
        "When a row that waits for another one is given up: `{ attempts: 3, dead_after_seconds: 60 }`, either or both; `attempts: 0`: only time counts.",
    ),
    ("when", "", "Row filter. Not in this version."),
];

/// Keys of a field.
const FIELD: &[(&str, &str)] = &[
    ("to", "The right site's column; without it the same name."),
    (
        "values",
        "`left value: right value`. One to one on two-way links. Any other value is a dead letter; NULL stays NULL.",
    ),
    ("default", "Written to the target when a record's schema lacks the source column."),
    ("fraction", "As for the entity, for this column only."),
];

/// The whole page.
pub(crate) fn page() -> String {
    let mut page = String::from(
        "# Configuration\n\n\
         <!-- Made from the code. Do not edit; `UPDATE_DOCS=1 cargo test -p tidelock` writes it. -->\n\n\
         One YAML file, `tidelock.yaml` in the working folder unless `--config` or `TIDELOCK_CONFIG` names another.\n\
         `tidelock init` writes a commented one, `tidelock config print` shows the effective one with secrets masked, `tidelock check` compares it with the databases.\n\n\
         * `${NAME}` and `${NAME:-default}` inside a value stand for environment variables; an unset one without default is an error. `$${` is a literal `${`.\n\
         * Every key is also an environment variable: `TIDELOCK_` and its path in capitals, two underscores between levels, numbers for list elements:\n  \
           `TIDELOCK_KAFKA__BROKERS=a:9092,b:9092`, `TIDELOCK_SITES__LEGACY__URL=…`, `TIDELOCK_LINKS__0__ENTITIES__USERS__TRUNCATE=ignore`.\n  \
           Keys of `tuning` also work without their section: `TIDELOCK_LANES=4`. The environment wins over the file.\n\
         * Secrets may be written as `file:/run/secrets/name`; then the file's content is the value. No command and no log prints them.\n\
         * Unknown keys are errors (exit code 2), with the full path and what is allowed.\n\n\
         Keys without a default are mandatory.\n",
    );
    if let Shape::Section(keys) = Config::shape() {
        section(&mut page, "", "Top level", &keys);
    }
    entities(&mut page);
    page
}

fn section(page: &mut String, path: &str, title: &str, keys: &[KeyDoc]) {
    let _ = write!(page, "\n## {title}\n\n| key | value | default | meaning |\n|---|---|---|---|\n");
    let mut inner = Vec::new();
    for key in keys {
        let full = if path.is_empty() { key.name.to_owned() } else { format!("{path}.{}", key.name) };
        row(page, &full, key, &mut inner);
    }
    for (path, keys) in inner {
        section(page, &path, path.split(['.', '[']).next().unwrap_or(&path), &keys);
    }
}

/// One row; sections of sections stand in the same table, sections of the top level get their own.
fn row(page: &mut String, path: &str, key: &KeyDoc, inner: &mut Vec<(String, Vec<KeyDoc>)>) {
    let value = match &key.shape {
        Shape::Leaf(words) => words.clone(),
        Shape::Section(_) => "section".into(),
        Shape::Map(_, shape) => match &**shape {
            Shape::Leaf(words) => format!("map of name to {words}"),
            _ => "map of name to section".into(),
        },
        Shape::List(shape) => match &**shape {
            Shape::Leaf(words) => format!("list of {words}"),
            _ => "list of sections".into(),
        },
    };
    let default = match (&key.default, &key.shape) {
        (None, _) => "**mandatory**".into(),
        (Some(_), Shape::Section(_)) => "see its keys".into(),
        (Some(value), _) => scalar(value),
    };
    let doc = key.doc.replace('|', "\\|");
    let _ = writeln!(page, "| `{path}` | {} | {default} | {doc} |", value.replace('|', "\\|"));
    let top = !path.contains('.');
    let (inner_path, shape) = match &key.shape {
        Shape::Map(name, shape) => (format!("{path}.<{name}>"), &**shape),
        Shape::List(shape) => (format!("{path}[]"), &**shape),
        shape => (path.to_owned(), shape),
    };
    let Shape::Section(keys) = shape else { return };
    if top {
        inner.push((inner_path, keys.clone()));
    } else {
        for key in keys {
            row(page, &format!("{inner_path}.{}", key.name), key, inner);
        }
    }
}

fn scalar(value: &serde_yaml_ng::Value) -> String {
    match value {
        serde_yaml_ng::Value::Null => "none".into(),
        serde_yaml_ng::Value::Sequence(items) if items.is_empty() => "none".into(),
        serde_yaml_ng::Value::Mapping(entries) if entries.is_empty() => "none".into(),
        other => format!("`{}`", serde_yaml_ng::to_string(other).unwrap_or_default().trim().trim_matches('\'')),
    }
}

fn entities(page: &mut String) {
    page.push_str("\n## entities\n\nKeys of `links[].entities.<name>`. All have defaults; `{}` maps equal columns of equal tables.\n\n");
    page.push_str("| key | default | meaning |\n|---|---|---|\n");
    for (key, default, meaning) in ENTITY {
        let default = if default.is_empty() { "none" } else { default };
        let _ = writeln!(page, "| `{key}` | {default} | {} |", meaning.replace('|', "\\|"));
    }
    page.push_str("\nKeys of a field, `fields: { left: { … } }`:\n\n| key | meaning |\n|---|---|\n");
    for (key, meaning) in FIELD {
        let _ = writeln!(page, "| `{key}` | {meaning} |");
    }
    let _ = write!(page, "\n## Example\n\n```yaml\n{}```\n", crate::commands::init::EXAMPLE);
}

#[cfg(test)]
mod tests {
    use topology::lens::declare::EntityDeclaration;

    use super::*;

    #[test]
    fn the_page_is_what_the_code_says() {
        crate::docs::expect_page("configuration.md", &page());
    }

    #[test]
    fn the_table_of_entity_keys_names_every_key_that_parses() {
        let error = serde_yaml_ng::from_str::<EntityDeclaration>("no_such_key: 1").unwrap_err().to_string();
        for (key, ..) in ENTITY {
            assert!(error.contains(&format!("`{key}`")), "{key} is documented and not accepted: {error}");
        }
        let accepted = error.split("expected one of").nth(1).unwrap().matches('`').count() / 2;
        assert_eq!(accepted, ENTITY.len(), "a key is accepted and not documented: {error}");
    }
}
