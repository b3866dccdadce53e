//! One table and its history in PostgreSQL, fed by a topic that the test writes itself as flattened rows: each record is known, and the
//! history has it once, or something is wrong.

use std::time::Duration;

use tidelock_tests::example::{MYSQL_POSTGRES, Running};
use tidelock_tests::goods;
use tidelock_tests::pair::Pair;
use tidelock_tests::topic;
use tidelock_tests::wait::eventually;
use tidelock_tests::worker::Worker;

pub(in crate::real_servers) const PARTITIONS: i32 = 4;
/// Longer than a session of the group, a lock's time limit at the target and a reconnect together.
pub(in crate::real_servers) const CATCH_UP: Duration = Duration::from_secs(180);
pub(in crate::real_servers) const STOP_LIMIT: Duration = Duration::from_secs(40);

pub(in crate::real_servers) async fn prepare(name: &str) -> Pair {
    prepare_with(name, PARTITIONS).await
}

pub(in crate::real_servers) async fn prepare_with(name: &str, partitions: i32) -> Pair {
    let running = MYSQL_POSTGRES.named(name);
    let config = config(&running);
    let pair = Pair::of(running, Some(&config));
    pair.running.create_databases().await;
    for side in [&pair.left, &pair.right] {
        side.run("CREATE TABLE goods (id BIGINT PRIMARY KEY, version BIGINT)").await;
    }
    pair.right
        .run(
            "CREATE TABLE history (topic varchar(200) NOT NULL, partition int NOT NULL, \"offset\" bigint NOT NULL,
               operation varchar(1) NOT NULL, key jsonb, row jsonb)",
        )
        .await;
    topic::create(&goods::topic(&pair), partitions).await;
    pair
}

fn config(running: &Running) -> String {
    let [mysql, _] = &running.example.sides;
    format!(
        "pipeline: {}
kafka:
  brokers: \"${{KAFKA_BROKERS}}\"
  options: {{ session.timeout.ms: \"6000\", heartbeat.interval.ms: \"1500\" }}
sites:
  mysql: {{ kind: mysql, url: \"${{MYSQL_URL}}\", topics: \"{}\", format: json, records: rows }}
  postgres: {{ kind: postgres, url: \"${{POSTGRES_URL}}\" }}
links:
  - {{ from: mysql, to: postgres, entities: {{ goods: {{}} }} }}
  - {{ from: mysql, to: postgres, entities: {{ goods_history: {{ tables: {{ mysql: goods, postgres: history }}, mode: append }} }} }}
tuning: {{ batch_rows: 200, retry: {{ initial_ms: 100, cap_ms: 3000 }} }}
",
        running.name(),
        running.topic(mysql, "{table}"),
    )
}

/// Consumer groups of the two directions.
pub(in crate::real_servers) fn groups(pair: &Pair) -> [String; 2] {
    ["", ".append"].map(|mode| format!("tidelock.{}.mysql.postgres{mode}", pair.running.name()))
}

/// A worker of the pair's pipeline that the test handles itself, with more environment variables.
pub(in crate::real_servers) fn start(pair: &Pair, name: &str, more: &[(&str, &str)]) -> Worker {
    let mut variables = pair.running.variables.clone();
    variables.extend(more.iter().map(|(name, value)| ((*name).to_owned(), (*value).to_owned())));
    Worker::start(&format!("{}-{name}", pair.running.name()), pair.config(), &variables, &[])
}

/// Puts `count` records on the topic of [`PARTITIONS`] partitions; see [`goods::publish`].
pub(in crate::real_servers) async fn publish(pair: &Pair, count: i64) {
    goods::publish(pair, PARTITIONS, count).await;
}

/// Waits until the target has every record of the topic once, and each key's newest version.
pub(in crate::real_servers) async fn everything_arrived_once(pair: &Pair) {
    let history =
        "SELECT count(*), count(DISTINCT (partition, \"offset\")), count(DISTINCT \"row\" ->> 'version') FROM history";
    goods::everything_arrived_once(pair, history, CATCH_UP).await;
}

/// Waits until the history has at least this many lines: a worker is in the middle of its work.
pub(in crate::real_servers) async fn history_has(pair: &Pair, lines: i64) {
    eventually(CATCH_UP, &format!("the history has {lines} lines"), || async {
        let seen = pair.right.try_rows("SELECT count(*) FROM history").await.map_err(|error| error.to_string())?;
        let count: i64 = seen.first().and_then(|count| count.parse().ok()).unwrap_or(0);
        if count >= lines { Ok(()) } else { Err(count.to_string()) }
    })
    .await;
}

/// Waits until a worker's metric is at least 1.
pub(in crate::real_servers) async fn counts(worker: &Worker, metric: &str, labels: &[&str]) {
    eventually(CATCH_UP, &format!("{metric} {labels:?} counts"), || async {
        let seen = worker.metric(metric, labels).await;
        if seen >= 1.0 { Ok(()) } else { Err(format!("{seen}; {}", worker.log_tail())) }
    })
    .await;
}
