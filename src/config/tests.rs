//! What a user sees of a wrong configuration.

use super::*;

const GOOD: &str = r#"
pipeline: blog
kafka: { brokers: ["localhost:9092"] }
sites:
  legacy: { kind: mysql, url: "mysql://root:hunter2@db/x", topics: "legacy.x.{table}" }
  revamp: { kind: postgres, url: "postgres://db/x", topics: "revamp.public.{table}" }
links:
  - { from: legacy, to: revamp, entities: { users: {} } }
"#;

fn variables(pairs: &[(&str, &str)]) -> Vec<(String, String)> {
    pairs.iter().map(|(name, value)| ((*name).to_owned(), (*value).to_owned())).collect()
}

fn refused(yaml: &str) -> String {
    parse(yaml, &[]).expect_err("the configuration is wrong").to_string()
}

fn changed(from: &str, to: &str) -> String {
    assert!(GOOD.contains(from), "{from}");
    GOOD.replace(from, to)
}

/// Every message in one page, so that their wording is looked at when it changes.
#[test]
fn messages_name_the_full_path_and_what_is_allowed() {
    let two_way = "{ between: [legacy, revamp], entities: { users: {} } }";
    let link = "{ from: legacy, to: revamp, entities: { users: {} } }";
    let cases: Vec<(&str, String)> = vec![
        ("mandatory setting missing (brokers)", changed("{ brokers: [\"localhost:9092\"] }", "{}")),
        ("mandatory setting missing (pipeline)", changed("pipeline: blog", "")),
        ("mandatory setting missing (url)", changed("url: \"postgres://db/x\", ", "")),
        ("mandatory setting missing (topics)", changed(", topics: \"legacy.x.{table}\"", "")),
        ("mandatory setting missing (entities)", changed(", entities: { users: {} }", "")),
        ("unknown key", changed("pipeline: blog", "pipeline: blog\ntunning: {}")),
        ("unknown key inside", changed("pipeline: blog", "pipeline: blog\ntuning: { retry: { attempst: 3 } }")),
        ("unknown key of a field", changed("users: {}", "users: { fields: { a: { too: b } } }")),
        ("unknown kind", changed("kind: mysql", "kind: oracle")),
        ("kind of a later version", changed("kind: mysql", "kind: mongodb")),
        ("scheme of another kind", changed("postgres://", "mysql://")),
        (
            "number out of range",
            changed("pipeline: blog", "pipeline: blog\ntuning: { lanes: 0, retry: { multiplier: 0.5 } }"),
        ),
        ("text for a number", changed("pipeline: blog", "pipeline: blog\ntuning: { lanes: many }")),
        ("start that is none", changed("pipeline: blog", "pipeline: blog\ntuning: { start: yesterday }")),
        ("variable that is not set", changed("hunter2", "${NOT_SET_ANYWHERE}")),
        (
            "clash with a typed option",
            changed("{ brokers: [\"localhost:9092\"] }", "{ brokers: a:1, options: { group.id: x } }"),
        ),
        ("site that is not there", changed("to: revamp", "to: revmap")),
        ("link without an end", changed("to: revamp, ", "")),
        ("guard of another kind", changed("kind: mysql,", "kind: mysql, guard: replication_origin,")),
        ("two-way without guard", changed(link, two_way).replace("kind: mysql,", "kind: mysql, guard: none,")),
        ("plain rows on a two-way link", changed(link, two_way).replace("kind: mysql,", "kind: mysql, records: rows,")),
        ("unit of time that is none", changed("kind: mysql,", "kind: mysql, json: { times: seconds },")),
        ("history on a two-way link", changed(link, two_way).replace("users: {}", "users: { mode: append }")),
        (
            "policy of a later version",
            changed("users: {}", "users: { conflict: { policy: latest, clock: updated_at } }"),
        ),
        ("two entities on one table", changed("users: {}", "users: {}, people: { table: users }")),
        (
            "ring of three",
            changed(link, two_way)
                .replace("links:", "  third: { kind: sqlite, url: 'sqlite:x', topics: 't.{table}' }\nlinks:")
                + "  - { from: revamp, to: third, entities: { users: {} } }\n  - { from: third, to: legacy, entities: { users: {} } }\n",
        ),
        ("address of the page", changed("pipeline: blog", "pipeline: blog\nhttp: { address: localhost }")),
    ];
    let mut page = String::new();
    for (case, yaml) in cases {
        page.push_str(&format!("# {case}\n{}\n\n", refused(&yaml)));
    }
    assert!(!page.contains("hunter2"));
    crate::docs::expect_snapshot("configuration_errors.txt", &page);
}

#[test]
fn the_environment_wins_over_the_file_and_a_digit_password_stays_text() {
    let variables = variables(&[
        ("TIDELOCK_KAFKA__BROKERS", "a:1, b:2"),
        ("TIDELOCK_SITES__LEGACY__PASSWORD", "00123"),
        ("TIDELOCK_LANES", "4"),
        ("TIDELOCK_TUNING__RETRY__CAP_MS", "5000"),
        ("TIDELOCK_LINKS__0__ENTITIES__USERS__TRUNCATE", "ignore"),
        ("TIDELOCK_TEST_KAFKA", "not ours"),
        ("TIDELOCK_SERVICE_HOST", "10.0.0.1"),
    ]);
    let Loaded { config, warnings } = parse(GOOD, &variables).unwrap();
    assert_eq!(config.kafka.bootstrap(), "a:1,b:2");
    assert_eq!(config.sites.get("legacy").unwrap().address().unwrap().expose(), "mysql://root:00123@db/x");
    assert_eq!((config.tuning.lanes, config.tuning.retry.cap_ms), (4, 5000));
    assert_eq!(config.links[0].entities.get("users").unwrap().truncate, topology::batch::TruncateMode::Ignore);
    assert_eq!(warnings.len(), 1);
    assert_eq!(warnings[0].path, "TIDELOCK_SERVICE_HOST");
}

#[test]
fn an_unknown_key_from_the_environment_is_an_error_too() {
    let error = parse(GOOD, &variables(&[("TIDELOCK_TUNING__LANS", "4")])).unwrap_err().to_string();
    assert!(error.contains("tuning.lans: unknown key; did you mean `lanes`?"), "{error}");
}

#[test]
fn sites_keep_their_order() {
    let yaml = GOOD.replace("sites:", "sites:\n  zebra: { kind: blackhole }\n  ant: { kind: memory }");
    let config = parse(&yaml, &[]).unwrap().config;
    assert_eq!(config.sites.names().collect::<Vec<_>>(), ["zebra", "ant", "legacy", "revamp"]);
}

#[test]
fn the_dump_and_every_debug_form_mask_secrets() {
    let yaml = changed(
        "{ brokers: [\"localhost:9092\"] }",
        "{ brokers: a:1, security: sasl_plaintext, sasl: { username: u, password: hunter3 }, registry_user: u, registry_password: hunter4 }",
    );
    let variables = variables(&[("TIDELOCK_SITES__REVAMP__PASSWORD", "hunter5")]);
    let config = parse(&yaml, &variables).unwrap().config;
    let all = format!("{} {config:?}", config.masked());
    assert!(!all.contains("hunter"), "{all}");
    assert!(config.masked().contains("mysql://root:***@db/x"), "{}", config.masked());
    let options = config.kafka.client_options();
    assert!(options.contains(&("sasl.password".to_owned(), "hunter3".to_owned())));
}

#[test]
fn the_dump_is_itself_a_configuration() {
    let config = parse(GOOD, &[]).unwrap().config;
    let again = parse(&config.masked(), &[]).unwrap_or_else(|problems| panic!("{problems}\n{}", config.masked()));
    assert_eq!(again.config.tuning, config.tuning);
    assert_eq!(again.config.links, config.links);
}

#[test]
fn every_example_is_a_valid_configuration() {
    let examples = std::path::Path::new(env!("CARGO_MANIFEST_DIR")).join("examples");
    let mut count = 0;
    for folder in std::fs::read_dir(examples).unwrap() {
        let file = folder.unwrap().path().join("tidelock.yaml");
        let Ok(yaml) = std::fs::read_to_string(&file) else { continue };
        parse(&yaml, &[]).unwrap_or_else(|problems| panic!("{}: {problems}", file.display()));
        count += 1;
    }
    assert!(count >= 3, "{count} examples");
}
