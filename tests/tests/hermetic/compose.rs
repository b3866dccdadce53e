//! `docker-compose.yml` gives Docker users what `services/` gives everybody else. It cannot be started where
//! this is tested, so it is compared: parts, ports, versions, settings and health checks.

use std::collections::BTreeMap;
use std::path::{Path, PathBuf};
use std::process::Command;
use std::sync::atomic::{AtomicU32, Ordering};

use serde_yaml_ng::Value;

/// What makes a part's health check a real question, in `services/parts/*.sh` and in `docker-compose.yml`.
const QUESTIONS: &[(&str, &str, &str)] = &[
    ("kafka", "ApiVersions", "kafka-broker-api-versions.sh"),
    ("registry", "/apis/ccompat/v7/subjects", "/apis/ccompat/v7/subjects"),
    ("connect", "/health", "/health"),
    ("mysql", "select 1", "select 1"),
    ("mysql2", "select 1", "select 1"),
    ("mariadb", "select 1", "select 1"),
    ("postgres", "select 1", "select 1"),
    ("postgres18", "select 1", "select 1"),
    ("redis", "ping", "ping"),
];

fn repository() -> PathBuf {
    let tests = Path::new(env!("CARGO_MANIFEST_DIR"));
    tests.parent().expect("the tests package lies in the repository").to_path_buf()
}

fn read(path: &str) -> String {
    std::fs::read_to_string(repository().join(path)).unwrap_or_else(|error| panic!("cannot read {path}: {error}"))
}

fn compose_services() -> BTreeMap<String, Value> {
    let compose: Value = serde_yaml_ng::from_str(&read("docker-compose.yml")).expect("docker-compose.yml is YAML");
    let services = compose.get("services").expect("docker-compose.yml has services").clone();
    serde_yaml_ng::from_value(services).expect("services are a map")
}

/// All strings below a node, in one line: enough to look for an option.
fn flat(value: &Value) -> String {
    match value {
        Value::String(text) => text.clone(),
        Value::Sequence(items) => items.iter().map(flat).collect::<Vec<_>>().join(" "),
        Value::Mapping(entries) => {
            entries.iter().map(|(key, value)| format!("{}={}", flat(key), flat(value))).collect::<Vec<_>>().join(" ")
        }
        Value::Number(number) => number.to_string(),
        other => format!("{other:?}"),
    }
}

fn at(service: &Value, key: &str) -> String {
    service.get(key).map(flat).unwrap_or_default()
}

/// `KEY=value` lines of `services/versions`.
fn versions() -> BTreeMap<String, String> {
    read("services/versions")
        .lines()
        .filter(|line| !line.starts_with('#'))
        .filter_map(|line| line.split_once('='))
        .map(|(key, value)| (key.to_owned(), value.to_owned()))
        .collect()
}

/// Part → port for the default base, as the script itself prints it.
fn stack_ports() -> BTreeMap<String, u16> {
    let script = "for part in $ALL_PARTS; do echo \"$part $(port_of \"$part\")\"; done";
    // A folder per call: the tests run side by side, and each removes its own.
    static CALLS: AtomicU32 = AtomicU32::new(0);
    let call = CALLS.fetch_add(1, Ordering::Relaxed);
    let folder = std::env::temp_dir().join(format!("tidelock-compose-{}-{call}", std::process::id()));
    let output = Command::new("bash")
        .args(["-euc", &format!("source services/lib/common.sh; {script}")])
        .current_dir(repository())
        .env_remove("TIDELOCK_PORT_BASE")
        .env("TIDELOCK_CACHE", &folder)
        .env("TIDELOCK_STACK_DIR", &folder)
        .output()
        .expect("bash runs");
    std::fs::remove_dir_all(&folder).ok();
    assert!(output.status.success(), "{}", String::from_utf8_lossy(&output.stderr));
    String::from_utf8_lossy(&output.stdout)
        .lines()
        .map(|line| {
            let (part, port) = line.split_once(' ').expect("a part and its port");
            (part.to_owned(), port.parse().expect("a port"))
        })
        .collect()
}

#[test]
fn compose_has_the_parts_of_the_stack_on_the_same_ports_of_localhost() {
    let services = compose_services();
    let ports = stack_ports();
    assert_eq!(services.keys().collect::<Vec<_>>(), ports.keys().collect::<Vec<_>>());
    for (part, port) in &ports {
        assert_eq!(at(&services[part], "ports"), format!("127.0.0.1:{port}:{port}"), "published port of {part}");
        let listens = ["command", "environment", "build"].map(|key| at(&services[part], key)).join(" ");
        let dockerfile = if part == "connect" { read("services/connect.Dockerfile") } else { String::new() };
        assert!(
            listens.contains(&port.to_string()) || dockerfile.contains(&port.to_string()),
            "{part} is not told to listen on {port}: {listens}"
        );
    }
}

#[test]
fn compose_runs_the_versions_of_the_stack() {
    let services = compose_services();
    let versions = versions();
    let image = |part: &str| at(&services[part], "image");
    assert_eq!(image("kafka"), format!("apache/kafka:{}", versions["KAFKA_VERSION"]));
    assert_eq!(image("registry"), format!("apicurio/apicurio-registry-mem:{}", versions["REGISTRY_VERSION"]));
    assert_eq!(image("mysql"), format!("mysql:{}", versions["MYSQL_MINIMUM"]));
    assert_eq!(image("mysql2"), format!("mysql:{}", versions["MYSQL_MINIMUM"]));
    assert_eq!(image("mariadb"), format!("mariadb:{}", versions["MARIADB_MINIMUM"]));
    assert_eq!(image("postgres"), format!("postgres:{}", versions["POSTGRES_MINIMUM"]));
    assert_eq!(image("postgres18"), format!("postgres:{}", versions["POSTGRES18_MINIMUM"]));
    assert_eq!(image("redis"), format!("redis:{}", versions["REDIS_MINIMUM"]));
    // Connect is built from services/ itself: its plugins have the stack's versions by construction.
    let build = at(&services["connect"], "build");
    assert!(build.contains(&format!("KAFKA_VERSION={}", versions["KAFKA_VERSION"])), "{build}");
    assert!(build.contains("services/connect.Dockerfile"), "{build}");
    assert!(read("services/connect.Dockerfile").contains("services/stack fetch connect"));
}

#[test]
fn every_part_is_asked_the_same_question_before_it_counts_as_healthy() {
    let services = compose_services();
    let ports = stack_ports();
    assert_eq!(QUESTIONS.len(), services.len(), "a part without a question");
    for (part, in_stack, in_compose) in QUESTIONS {
        let script = read(&format!("services/parts/{}.sh", part.trim_end_matches(|last: char| last.is_ascii_digit())));
        let position =
            script.find(&format!("{part}_healthy()")).unwrap_or_else(|| panic!("{part} has no health check"));
        let body: String = script[position..].lines().take(10).collect::<Vec<_>>().join("\n");
        assert!(body.contains(in_stack), "services asks {part} something else: {body}");
        let check = services[*part].get("healthcheck").unwrap_or_else(|| panic!("compose does not check {part}"));
        let test = at(check, "test");
        assert!(test.contains(in_compose), "compose asks {part} something else: {test}");
        assert!(test.contains(&ports[*part].to_string()), "compose asks another port than {part}'s: {test}");
    }
}

#[test]
fn databases_start_with_the_settings_and_users_of_the_stack() {
    let services = compose_services();
    for (part, settings, users) in [
        ("mysql", "conf/mysql.cnf", "sql/mysql.sql"),
        ("mysql2", "conf/mysql.cnf", "sql/mysql.sql"),
        ("mariadb", "conf/mariadb.cnf", "sql/mariadb.sql"),
        ("postgres", "conf/postgres.conf", "sql/postgres.sql"),
        ("postgres18", "conf/postgres.conf", "sql/postgres.sql"),
    ] {
        let volumes = at(&services[part], "volumes");
        for file in [settings, users] {
            assert!(volumes.contains(&format!("./services/{file}:")), "{part} does not mount {file}: {volumes}");
            assert!(repository().join("services").join(file).is_file(), "services/{file} does not exist");
        }
    }
}

#[test]
fn the_broker_in_compose_has_the_settings_of_the_stack() {
    let environment = at(&compose_services()["kafka"], "environment");
    let settings = read("services/conf/kafka.properties");
    for key in [
        "auto.create.topics.enable",
        "offsets.topic.num.partitions",
        "transaction.state.log.replication.factor",
        "transaction.abort.timed.out.transaction.cleanup.interval.ms",
        "group.initial.rebalance.delay.ms",
        "broker.session.timeout.ms",
    ] {
        let line = settings.lines().find(|line| line.starts_with(&format!("{key}=")));
        let value = line.and_then(|line| line.split_once('=')).unwrap_or_else(|| panic!("{key} is not set")).1;
        let variable = format!("KAFKA_{}={value}", key.replace('.', "_").to_uppercase());
        assert!(environment.contains(&variable), "compose lacks {variable}");
    }
}

#[test]
fn the_two_mysql_servers_have_their_own_numbers_and_allot_ids_that_never_meet() {
    let services = compose_services();
    let script = read("services/parts/mysql.sh");
    for (part, offset) in [("mysql", 1), ("mysql2", 2)] {
        let server_id = stack_ports()[part];
        assert!(
            script.contains(&format!("mysql_start_as {part} {server_id} {offset};")),
            "services starts {part} otherwise"
        );
        let command = at(&services[part], "command");
        for option in [
            format!("--server-id={server_id}"),
            "--auto-increment-increment=2".to_owned(),
            format!("--auto-increment-offset={offset}"),
        ] {
            assert!(command.contains(&option), "compose starts {part} without {option}: {command}");
        }
    }
}
