//! What the commands say of a wrong configuration, before anything is written: E015, E016, F021, F022.

use std::path::PathBuf;
use std::process::{Command, Output};

use tidelock_tests::database::Database;
use tidelock_tests::scenario::scenario;
use tidelock_tests::servers::{self, Role, Server};
use tidelock_tests::worker::program;

/// Two empty databases on the two MySQL servers, and a configuration between them.
struct Setup {
    left: Database,
    right: Database,
    name: String,
}

impl Setup {
    async fn new(test: &str) -> Setup {
        let name = format!("commands_{test}_{}", std::process::id());
        for server in [Server::Mysql, Server::Mysql2] {
            let admin = Database::open(server, "mysql");
            admin.run(&format!("DROP DATABASE IF EXISTS {name}; CREATE DATABASE {name}")).await;
            admin.close().await;
        }
        Setup { left: Database::open(Server::Mysql, &name), right: Database::open(Server::Mysql2, &name), name }
    }

    /// Runs the program with this `entities:` between left and right, one way.
    fn tidelock(&self, arguments: &[&str], entities: &str) -> Output {
        let yaml = format!(
            "pipeline: {0}\nkafka: {{ brokers: \"{1}\", registry: \"{2}\" }}\nsites:\n  left: {{ kind: mysql, url: \"{3}\", topics: \"{0}.x.{{table}}\" }}\n  \
             right: {{ kind: mysql, url: \"{4}\" }}\nlinks:\n  - {{ from: left, to: right, entities: {entities} }}\nhttp: {{ address: off }}\n",
            self.name,
            servers::kafka(),
            servers::registry(),
            Server::Mysql.url(Role::Writer, &self.name),
            Server::Mysql2.url(Role::Writer, &self.name),
        );
        run(&self.name, arguments, &yaml)
    }

    async fn remove(self) {
        for database in [&self.left, &self.right] {
            database.run(&format!("DROP DATABASE {}", self.name)).await;
            database.close().await;
        }
    }
}

fn run(name: &str, arguments: &[&str], yaml: &str) -> Output {
    let file: PathBuf = std::env::temp_dir().join(format!("tidelock-{name}.yaml"));
    std::fs::write(&file, yaml).expect("a configuration");
    let output = Command::new(program()).args(arguments).arg("--config").arg(&file).output().expect("the program runs");
    std::fs::remove_file(&file).expect("our file");
    output
}

fn out(output: &Output) -> String {
    String::from_utf8_lossy(&output.stdout).into_owned()
}

fn error(output: &Output) -> String {
    String::from_utf8_lossy(&output.stderr).into_owned()
}

#[tokio::test]
async fn a_table_without_key_refuses_to_start_unless_it_is_a_history() {
    let _scenario = scenario("E015", None);
    let setup = Setup::new("keyless").await;
    setup.left.run("CREATE TABLE events (a INT, b INT)").await;
    setup.right.run("CREATE TABLE events (a INT, b INT)").await;
    setup
        .right
        .run("CREATE TABLE events_history (topic VARCHAR(250), `partition` INT, `offset` BIGINT, operation CHAR(1), `key` JSON, `row` JSON)")
        .await;
    let refused = setup.tidelock(&["run"], "{ events: {} }");
    assert_eq!(refused.status.code(), Some(2), "{}", error(&refused));
    assert!(
        error(&refused).contains("links[0].entities.events.key: tables events and events have no primary key"),
        "{}",
        error(&refused)
    );
    let history = "{ events: { tables: { left: events, right: events_history }, mode: append } }";
    let accepted = setup.tidelock(&["check"], history);
    assert_eq!(accepted.status.code(), Some(0), "{}", out(&accepted));
    setup.remove().await;
}

#[tokio::test]
async fn a_missing_setting_is_named_and_the_exit_code_says_configuration() {
    let _scenario = scenario("E016", None);
    let yaml = "pipeline: shop\nkafka: {}\nsites: {}\nlinks: []\n";
    for command in [&["run"][..], &["check"], &["describe"], &["status"], &["config", "print"]] {
        let output = run(&format!("missing-{}", std::process::id()), command, yaml);
        assert_eq!(output.status.code(), Some(2), "{command:?}: {}", error(&output));
        assert!(error(&output).contains("kafka.brokers: missing; this setting is mandatory"), "{}", error(&output));
        assert!(output.stdout.is_empty(), "{}", out(&output));
    }
}

#[tokio::test]
async fn check_prints_the_mapping_and_names_everything_that_does_not_fit() {
    let _scenario = scenario("F021", None);
    let setup = Setup::new("mapping").await;
    setup
        .left
        .run(
            "CREATE TABLE users (id INT PRIMARY KEY, name VARCHAR(50), price DECIMAL(10,2), big BIGINT, geo POINT, papers JSON, state VARCHAR(9) DEFAULT 'new'); \
             CREATE TABLE only_here (id INT PRIMARY KEY)",
        )
        .await;
    setup
        .right
        .run("CREATE TABLE users (id INT PRIMARY KEY, full_name VARCHAR(20), price DECIMAL(6,2), big INT, geo INT, language INT NOT NULL, papers JSON, state VARCHAR(9))")
        .await;
    let output = setup
        .tidelock(&["check"], "{ users: { fields: { name: full_name, nick: alias } }, only_here: {}, nowhere: {} }");
    let text = out(&output);
    assert_eq!(output.status.code(), Some(1), "{text}");
    for expected in [
        "id int → id int: exact",
        "name varchar(50) → full_name varchar(20): checked",
        "price decimal(10,2) → price decimal(6,2): checked",
        "big bigint → big int: checked",
        "key: id",
        "table users at left has no column `nick`",
        "table users at right has no column `alias`",
        "column `language` of table users at right is NOT NULL and has no value",
        "there is no table only_here at right",
        "there is no table nowhere at left",
        "loop guard: not needed, the link is one-way",
        // What is lost before a record is there.
        "users (state): may be NULL and has a DEFAULT",
        "users (papers): Debezium decodes MySQL's binary JSON by the character set of its JVM",
    ] {
        assert!(text.contains(expected), "`{expected}` is not in\n{text}");
    }
    let tables =
        setup.right.rows("SELECT table_name FROM information_schema.tables WHERE table_schema = DATABASE()").await;
    assert_eq!(tables, ["users"], "check makes nothing");
    setup.remove().await;
}

#[tokio::test]
async fn the_dump_of_the_configuration_shows_no_secret() {
    let _scenario = scenario("F022", None);
    let secret = std::env::temp_dir().join(format!("tidelock-secret-{}", std::process::id()));
    std::fs::write(&secret, "from-a-file-4711\n").expect("a secret");
    let yaml = format!(
        "pipeline: shop\nkafka: {{ brokers: \"a:1\", security: sasl_tls, sasl: {{ username: me, password: inline-4711 }} }}\nsites:\n  \
         left: {{ kind: mysql, url: \"mysql://me:in-url-4711@db/x\", topics: \"x.{{table}}\" }}\n  \
         right: {{ kind: postgres, url: \"postgres://me@db/x\", password: \"file:{}\" }}\nlinks: [{{ from: left, to: right, entities: {{ users: {{}} }} }}]\n",
        secret.display()
    );
    let output = run(&format!("secrets-{}", std::process::id()), &["config", "print"], &yaml);
    std::fs::remove_file(&secret).expect("our file");
    let text = out(&output);
    assert_eq!(output.status.code(), Some(0), "{}", error(&output));
    assert!(!text.contains("4711") && !error(&output).contains("4711"), "{text}");
    assert!(text.contains("mysql://me:***@db/x") && text.contains("username: me"), "{text}");
}
