//! What a source, its registry and its connector can do to a direction: no registry, records that nobody can read, parents that are not
//! there, snapshots again, a column with another name. One way from MySQL to PostgreSQL, on tables of its own.

use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::Duration;

use tidelock_tests::example::{MYSQL_POSTGRES, Running, execute};
use tidelock_tests::group::Group;
use tidelock_tests::pair::Pair;
use tidelock_tests::proxy::Proxy;
use tidelock_tests::scenario::scenario;
use tidelock_tests::topic::{self, Published};
use tidelock_tests::wait::{arrival, eventually};
use tidelock_tests::watch::never_back;

/// What a registry says of an id that it does not know.
const UNKNOWN_SCHEMA: &str = "HTTP/1.1 404 Not Found\r\nContent-Type: application/json\r\nContent-Length: 49\r\nConnection: close\r\n\r\n{\"error_code\":40403,\"message\":\"Schema not found\"}";
const STOP_LIMIT: Duration = Duration::from_secs(40);
const CUSTOMERS: &str = "SELECT id, name, city FROM customers ORDER BY id";
const INVOICES: &str = "SELECT id, customer_id, amount FROM invoices ORDER BY id";
/// Rows that a snapshot reads again; several of Debezium's chunks.
const SNAPSHOT_ROWS: i64 = 3000;
const SNAPSHOT_LIMIT: Duration = Duration::from_secs(60);

#[tokio::test]
async fn what_a_source_does_is_survived() {
    let mut group = Group::of(prepare().await);
    group.show(a_registry_that_is_down_is_waited_for).await;
    group.show(records_that_nobody_can_read_are_kept_and_the_others_flow).await;
    group.show(a_child_whose_parent_was_removed_is_given_up_after_the_limit).await;
    group.show(a_child_whose_parent_comes_back_in_time_arrives).await;
    group.show(a_snapshot_while_writing_turns_nothing_back).await;
    group.show(a_column_with_another_name_stops_its_table_until_the_mapping_follows).await;
    group.end().await;
}

async fn prepare() -> Pair {
    let mut running = MYSQL_POSTGRES.named("source");
    let [mysql, _] = running.example.sides;
    let database = running.variable(&mysql, "DATABASE").to_owned();
    for (key, value) in [
        ("table.include.list", format!("{database}.customers,{database}.invoices,{database}.debezium_signal").as_str()),
        ("signal.data.collection", format!("{database}.debezium_signal").as_str()),
        ("incremental.snapshot.chunk.size", "200"),
    ] {
        running.set_connector(&mysql, key, value);
    }
    let config = config(&running, "customers: { missing: halt }");
    let pair = Pair::of(running, Some(&config));
    pair.running.create_databases().await;
    // No foreign key at the source: there a child may come before its parent.
    pair.left
        .run(
            "CREATE TABLE customers (id INT PRIMARY KEY, name VARCHAR(50) NOT NULL, city VARCHAR(50));
             CREATE TABLE invoices (id INT PRIMARY KEY, customer_id INT NOT NULL, amount DECIMAL(12,2) NOT NULL);
             CREATE TABLE debezium_signal (id VARCHAR(42) PRIMARY KEY, type VARCHAR(32) NOT NULL, data VARCHAR(2048))",
        )
        .await;
    pair.right
        .run(
            "CREATE TABLE customers (id int PRIMARY KEY, name varchar(50) NOT NULL, city varchar(50));
             CREATE TABLE invoices (id int PRIMARY KEY, customer_id int NOT NULL REFERENCES customers (id),
               amount numeric(12,2) NOT NULL)",
        )
        .await;
    // An incremental snapshot writes its marks there.
    execute(mysql.server, "", &format!("GRANT INSERT ON {database}.debezium_signal TO 'debezium'@'%'")).await;
    pair.running.apply_connector(&mysql).await;
    pair
}

fn config(running: &Running, customers: &str) -> String {
    let [mysql, _] = &running.example.sides;
    format!(
        "pipeline: {}
kafka: {{ brokers: \"${{KAFKA_BROKERS}}\", registry: \"${{SCHEMA_REGISTRY_URL}}\" }}
sites:
  mysql: {{ kind: mysql, url: \"${{MYSQL_URL}}\", topics: \"{}\" }}
  postgres: {{ kind: postgres, url: \"${{POSTGRES_URL}}\" }}
links:
  - from: mysql
    to: postgres
    entities:
      {customers}
      invoices: {{}}
tuning: {{ retry: {{ cap_ms: 2000 }} }}
",
        running.name(),
        running.topic(mysql, "{table}"),
    )
}

async fn a_registry_that_is_down_is_waited_for(pair: Arc<Pair>) {
    let _scenario = scenario("F001", None);
    // Given a registry that does not answer when a worker starts,
    let (registry, url) = Proxy::of_url(&pair.running.variables["SCHEMA_REGISTRY_URL"]).await;
    registry.refuse();
    pair.left
        .run("INSERT INTO customers VALUES (1, 'a', 'A'), (2, 'b', 'B'); INSERT INTO invoices VALUES (1, 1, 1.10)")
        .await;
    pair.start_worker_with(&[("SCHEMA_REGISTRY_URL", &url)]).await;
    eventually(arrival() * 3, "the worker waits for the registry", || async {
        let log = pair.log().await;
        if log.contains("cannot fetch schema") { Ok(()) } else { Err(pair.diagnosis().await) }
    })
    .await;
    assert!(matches!(pair.replies("/live").await[..], [Some((200, _))]), "it lives");
    assert!(pair.right.rows(CUSTOMERS).await.is_empty());
    // when it comes, then everything arrives;
    registry.heal();
    pair.right.shows(CUSTOMERS, &["1|a|A", "2|b|B"]).await;
    pair.right.shows(INVOICES, &["1|1|1.10"]).await;
    pair.ready().await;
    // when it goes again, then records of known schemas go on,
    registry.refuse();
    pair.left.run("UPDATE customers SET city = 'BB' WHERE id = 2; INSERT INTO invoices VALUES (2, 2, 2.20)").await;
    pair.right.shows(CUSTOMERS, &["1|a|A", "2|b|BB"]).await;
    pair.right.shows(INVOICES, &["1|1|1.10", "2|2|2.20"]).await;
    // and those of a new one wait and are not lost.
    pair.left
        .run("ALTER TABLE customers ADD COLUMN nick VARCHAR(10); UPDATE customers SET city = 'BBB' WHERE id = 2")
        .await;
    eventually(arrival() * 3, "the worker waits again", || async {
        let log = pair.log().await;
        if log.matches("cannot fetch schema").count() > 1 { Ok(()) } else { Err(pair.diagnosis().await) }
    })
    .await;
    registry.heal();
    pair.right.shows(CUSTOMERS, &["1|a|A", "2|b|BBB"]).await;
    // A registry that follows another one does not know the newest schema at once: its records are none that nobody can read.
    registry.answer(UNKNOWN_SCHEMA);
    pair.left
        .run("ALTER TABLE customers ADD COLUMN late VARCHAR(10); UPDATE customers SET city = 'B4' WHERE id = 2")
        .await;
    eventually(arrival() * 3, "the schema is asked for again and again", || async {
        if registry.answered() >= 3 { Ok(()) } else { Err(pair.diagnosis().await) }
    })
    .await;
    registry.heal();
    pair.right.shows(CUSTOMERS, &["1|a|A", "2|b|B4"]).await;
    // One that is silent is named as what the worker waits for.
    registry.silence();
    pair.left
        .run("ALTER TABLE customers ADD COLUMN last VARCHAR(10); UPDATE customers SET city = 'B5' WHERE id = 2")
        .await;
    eventually(arrival() * 3, "the worker says that the registry does not answer", || async {
        match &pair.replies("/ready").await[..] {
            [Some((503, reasons))] if reasons.contains("schema registry does not answer") => Ok(()),
            other => Err(format!("{other:?}")),
        }
    })
    .await;
    registry.heal();
    pair.right.shows(CUSTOMERS, &["1|a|A", "2|b|B5"]).await;
    pair.stop_workers(STOP_LIMIT).await;
    assert_eq!(pair.right.row("SELECT count(*) FROM tidelock_held").await, "0");
}

async fn records_that_nobody_can_read_are_kept_and_the_others_flow(pair: Arc<Pair>) {
    let _scenario = scenario("F002", Some("kept in `tidelock_held`; the topic is another test's"));
    let topic = pair.running.topic(&pair.running.example.sides[0], "customers");
    let known =
        topic::read(&topic).await.into_iter().rfind(|record| record.value.is_some()).expect("there are customers");
    let value = known.value.clone().expect("chosen so");
    pair.start_worker().await;
    pair.ready().await;
    // Given a record whose schema the registry does not know, and one that is no record of its schema,
    let mut unknown = value.clone();
    unknown[1..5].copy_from_slice(&0x7fff_0001_u32.to_be_bytes());
    let mut cut = value.clone();
    cut.truncate(value.len() / 2);
    let bad: Vec<Published> =
        [&unknown, &cut].map(|bytes| Published { value: Some(bytes.clone()), ..known.clone() }).to_vec();
    topic::produce(&topic, &bad, 1).await;
    // then both are kept with their bytes,
    let hex = |bytes: &[u8]| bytes.iter().map(|byte| format!("{byte:02x}")).collect::<String>();
    let mut expected = [hex(&unknown), hex(&cut)].map(|bytes| format!("dead|{bytes}"));
    expected.sort();
    let expected: Vec<&str> = expected.iter().map(String::as_str).collect();
    let sql = "SELECT state, encode(raw_value, 'hex') FROM tidelock_held WHERE state = 'dead' ORDER BY 2";
    pair.right.shows_within(arrival() * 3, sql, &expected).await;
    // and the next ones of the same keys arrive.
    pair.left
        .run("UPDATE customers SET city = 'again'; INSERT INTO customers (id, name, city) VALUES (3, 'c', 'C')")
        .await;
    pair.right.shows(CUSTOMERS, &["1|a|again", "2|b|again", "3|c|C"]).await;
    // What a whole row has passed is history.
    pair.right.run("DELETE FROM tidelock_held").await;
    pair.stop_workers(STOP_LIMIT).await;
}

async fn a_child_whose_parent_was_removed_is_given_up_after_the_limit(pair: Arc<Pair>) {
    let _scenario = scenario(
        "A023",
        Some(
            "one way, on tables of its own; given up after a time instead of a number of attempts; kept in `tidelock_held`",
        ),
    );
    // Given a parent that was removed at the target while the engine was stopped,
    pair.left.run("INSERT INTO customers (id, name) VALUES (10, 'gone')").await;
    pair.start_worker_with(&[("TIDELOCK_TUNING__PARKED__DEAD_AFTER_SECONDS", "4")]).await;
    pair.right.shows("SELECT name FROM customers WHERE id = 10", &["gone"]).await;
    pair.stop_workers(STOP_LIMIT).await;
    pair.right.run("DELETE FROM customers WHERE id = 10").await;
    pair.start_worker_with(&[("TIDELOCK_TUNING__PARKED__DEAD_AFTER_SECONDS", "4")]).await;
    pair.ready().await;
    // when a child of it comes, then it waits, and what comes later for others does not,
    pair.left
        .run("INSERT INTO invoices VALUES (100, 10, 10.00); INSERT INTO customers (id, name) VALUES (11, 'other')")
        .await;
    pair.left.run("INSERT INTO invoices VALUES (101, 11, 11.00)").await;
    pair.right.shows("SELECT amount FROM invoices WHERE id = 101", &["11.00"]).await;
    let waiting = "SELECT state, class FROM tidelock_held";
    pair.right.shows(waiting, &["parked|dependency"]).await;
    // and after the limit it is given up, with the reason, its bytes and the number of attempts.
    let dead = "SELECT count(*) FROM tidelock_held WHERE state = 'dead' AND class = 'dependency' AND message LIKE '%invoices_customer_id_fkey%'
        AND attempts >= 3 AND raw_value IS NOT NULL AND topic LIKE '%.invoices'";
    pair.right.shows_within(arrival() * 3, dead, &["1"]).await;
    assert_eq!(pair.right.row("SELECT count(*) FROM invoices WHERE id = 100").await, "0");
    pair.stop_workers(STOP_LIMIT).await;
    pair.right.run("DELETE FROM tidelock_held").await;
}

async fn a_child_whose_parent_comes_back_in_time_arrives(pair: Arc<Pair>) {
    let _scenario = scenario("A024", Some("one way, on tables of its own"));
    pair.start_worker().await;
    pair.ready().await;
    pair.left.run("INSERT INTO invoices VALUES (102, 10, 12.00)").await;
    pair.right.shows("SELECT state FROM tidelock_held", &["parked"]).await;
    // When somebody puts the parent back at the target,
    pair.right.run("INSERT INTO customers (id, name) VALUES (10, 'back')").await;
    // then the child arrives, and nothing was given up.
    pair.right.shows_within(arrival() * 4, "SELECT amount FROM invoices WHERE id = 102", &["12.00"]).await;
    pair.right.shows("SELECT count(*) FROM tidelock_held", &["0"]).await;
    assert_eq!(pair.outcome("", "dead").await, 0.0);
}

/// Tells the connector by its table.
async fn signal(pair: &Pair, id: &str, how: &str) {
    let database = pair.running.variable(&pair.running.example.sides[0], "DATABASE");
    let data = format!(r#"{{"data-collections": ["{database}.customers"], "type": "{how}"}}"#);
    pair.left.run(&format!("INSERT INTO debezium_signal VALUES ('{id}', 'execute-snapshot', '{data}')")).await;
}

async fn a_snapshot_while_writing_turns_nothing_back(pair: Arc<Pair>) {
    // Given rows that are in step, and somebody who changes them all the time,
    let rows: Vec<String> = (0..SNAPSHOT_ROWS).map(|row| format!("({}, 'row {row}', '0')", 1000 + row)).collect();
    pair.left.run(&format!("INSERT INTO customers (id, name, city) VALUES {}", rows.join(","))).await;
    let count = SNAPSHOT_ROWS.to_string();
    pair.right.shows_within(SNAPSHOT_LIMIT, "SELECT count(*) FROM customers WHERE id >= 1000", &[&count]).await;
    let done = Arc::new(AtomicBool::new(false));
    let writer = tokio::spawn({
        let (left, done) = (pair.left.clone(), done.clone());
        async move {
            let mut version = 0;
            while !done.load(Ordering::Relaxed) {
                version += 1;
                let row = version % 50;
                left.run(&format!("UPDATE customers SET city = '{version}' WHERE id >= 1000 AND id % 50 = {row}"))
                    .await;
                // So that a reader of the topic finds its end.
                tokio::time::sleep(Duration::from_millis(200)).await;
            }
        }
    });
    let reader = {
        let rows = "SELECT id, city FROM customers WHERE id >= 1000 AND id % 10 = 0";
        tokio::spawn(never_back(pair.right.clone(), rows.to_owned(), done.clone()))
    };
    // when the connector reads them again in chunks meanwhile, then no row goes back;
    snapshot(&pair, "incremental", SNAPSHOT_ROWS / 2).await;
    done.store(true, Ordering::Relaxed);
    writer.await.expect("the writer writes");
    reader.await.expect("no row went back in time");
    equal(&pair).await;
    // and when it reads them again in one piece, then nothing changes.
    snapshot(&pair, "blocking", SNAPSHOT_ROWS).await;
    equal(&pair).await;
    pair.right.shows("SELECT count(*) FROM tidelock_held", &["0"]).await;
    pair.ready().await;
}

/// Has the connector read the table again, and waits until the topic has so many more rows from snapshots. A chunk leaves out rows that
/// change while it is read: they are on the topic anyway.
async fn snapshot(pair: &Pair, how: &str, rows: i64) {
    let topic = pair.running.topic(&pair.running.example.sides[0], "customers");
    let before = read_by_snapshots(&topic).await;
    signal(pair, how, how).await;
    eventually(SNAPSHOT_LIMIT, &format!("the {how} snapshot is through"), || async {
        let read = read_by_snapshots(&topic).await - before;
        if read >= rows { Ok(()) } else { Err(format!("{read} rows were read")) }
    })
    .await;
}

/// Records of a topic that a snapshot read: `source.snapshot` says so, an Avro string with its length before it.
async fn read_by_snapshots(topic: &str) -> i64 {
    let words = ["true", "incremental", "first", "last", "first_in_data_collection", "last_in_data_collection"];
    let words = words.map(|word| [&[2 * word.len() as u8][..], word.as_bytes()].concat());
    let is_read = |value: &Vec<u8>| words.iter().any(|word| value.windows(word.len()).any(|window| window == word));
    topic::read(topic).await.iter().filter(|record| record.value.as_ref().is_some_and(is_read)).count() as i64
}

/// Both sides have the same rows, except the one that was put back by hand.
async fn equal(pair: &Pair) {
    let sql = "SELECT id, name, city FROM customers WHERE id <> 10 ORDER BY id";
    eventually(SNAPSHOT_LIMIT, "the sides are equal", || async {
        let (left, right) = (pair.left.rows(sql).await, pair.right.rows(sql).await);
        let differs = left.iter().zip(&right).filter(|(left, right)| left != right).take(3).collect::<Vec<_>>();
        if left == right { Ok(()) } else { Err(format!("{} and {} rows, {differs:?}", left.len(), right.len())) }
    })
    .await;
}

async fn a_column_with_another_name_stops_its_table_until_the_mapping_follows(pair: Arc<Pair>) {
    let _scenario =
        scenario("A043", Some("on tables of its own, with `missing: halt`; by default what is missing is left alone"));
    pair.left.run("DELETE FROM customers WHERE id >= 1000").await;
    pair.right.shows_within(SNAPSHOT_LIMIT, "SELECT count(*) FROM customers WHERE id >= 1000", &["0"]).await;
    // When a column gets another name at the source,
    pair.left.run("ALTER TABLE customers RENAME COLUMN city TO town; INSERT INTO customers (id, name, town) VALUES (20, 't', 'T')").await;
    pair.left
        .run("UPDATE customers SET town = 'renamed' WHERE id IN (1, 2, 3); INSERT INTO invoices VALUES (200, 3, 20.00)")
        .await;
    // then what changes there waits, with a clear reason, and the other table flows;
    eventually(arrival() * 3, "the reason is told", || async {
        let replies = pair.replies("/ready").await;
        let [Some((503, reasons))] = &replies[..] else { return Err(format!("{replies:?}")) };
        if reasons.contains("no such column") && reasons.contains("city") { Ok(()) } else { Err(reasons.clone()) }
    })
    .await;
    pair.right.shows("SELECT amount FROM invoices WHERE id = 200", &["20.00"]).await;
    assert_eq!(pair.right.row("SELECT count(*) FROM customers WHERE id = 20 OR city = 'renamed'").await, "0");
    pair.stop_workers(STOP_LIMIT).await;
    // and when the mapping follows, everything arrives.
    std::fs::write(pair.config(), config(&pair.running, "customers: { missing: halt, fields: { town: city } }"))
        .expect("the configuration is a file of ours");
    pair.start_worker().await;
    let some = "SELECT id, city FROM customers WHERE id IN (1, 2, 3, 20) ORDER BY id";
    pair.right.shows(some, &["1|renamed", "2|renamed", "3|renamed", "20|T"]).await;
    pair.ready().await;
    assert_eq!(pair.right.row("SELECT count(*) FROM tidelock_held").await, "0");
    pair.stop_workers(STOP_LIMIT).await;
}
