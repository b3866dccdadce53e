//! A large first snapshot whose workers are killed again and again: every row arrives, once, and memory stays what it was.

use std::sync::Arc;
use std::time::{Duration, Instant};

use tidelock_tests::example::{MYSQL_POSTGRES, Running};
use tidelock_tests::group::Group;
use tidelock_tests::pair::Pair;
use tidelock_tests::scenario::scenario;
use tidelock_tests::worker::Worker;

/// Rows; `TIDELOCK_TEST_SNAPSHOT_ROWS` sets another number, and `./test torture` shows the million.
const ROWS: u64 = 100_000;
const KILLS: u64 = 4;
/// What a worker may have in memory at any time, in bytes: its limit for records (128 MiB by default), and what a debug build needs.
const RESIDENT_MAX: u64 = 400 * 1024 * 1024;
/// A row may take this long on average.
const TIME_PER_ROW: Duration = Duration::from_micros(1500);

#[tokio::test]
async fn a_large_snapshot_that_is_interrupted_arrives_whole() {
    let mut group = Group::of(prepare().await);
    group.show(a_snapshot_whose_workers_are_killed_ends_with_the_exact_count_in_constant_memory).await;
    group.end().await;
}

fn rows() -> u64 {
    std::env::var("TIDELOCK_TEST_SNAPSHOT_ROWS").ok().and_then(|rows| rows.parse().ok()).unwrap_or(ROWS)
}

async fn prepare() -> Pair {
    let mut running = MYSQL_POSTGRES.named("snapshot");
    let [mysql, _] = running.example.sides;
    let database = running.variable(&mysql, "DATABASE").to_owned();
    running.set_connector(&mysql, "table.include.list", &format!("{database}.numbers"));
    // The torture's Connect has none.
    running.set_connector(&mysql, "exactly.once.support", "requested");
    running.set_connector(&mysql, "snapshot.fetch.size", "5000");
    running.set_connector(&mysql, "max.batch.size", "8192");
    running.set_connector(&mysql, "max.queue.size", "20000");
    let config = config(&running);
    let pair = Pair::of(running, Some(&config));
    pair.running.create_databases().await;
    pair.left
        .run(&format!(
            "CREATE TABLE numbers (id INT PRIMARY KEY, word VARCHAR(40) NOT NULL, amount DECIMAL(12,2) NOT NULL);
             SET SESSION cte_max_recursion_depth = 2000000;
             INSERT INTO numbers WITH RECURSIVE n (id) AS (SELECT 1 UNION ALL SELECT id + 1 FROM n WHERE id < {})
             SELECT id, concat('number ', id), id / 7 FROM n",
            rows()
        ))
        .await;
    pair.right
        .run("CREATE TABLE numbers (id int PRIMARY KEY, word varchar(40) NOT NULL, amount numeric(12,2) NOT NULL)")
        .await;
    pair
}

fn config(running: &Running) -> String {
    let [mysql, _] = &running.example.sides;
    format!(
        "pipeline: {}
kafka:
  brokers: \"${{KAFKA_BROKERS}}\"
  registry: \"${{SCHEMA_REGISTRY_URL}}\"
  options: {{ session.timeout.ms: \"6000\", heartbeat.interval.ms: \"1500\" }}
sites:
  mysql: {{ kind: mysql, url: \"${{MYSQL_URL}}\", topics: \"{}\" }}
  postgres: {{ kind: postgres, url: \"${{POSTGRES_URL}}\" }}
links: [{{ from: mysql, to: postgres, entities: {{ numbers: {{}} }} }}]
",
        running.name(),
        running.topic(mysql, "{table}"),
    )
}

fn start(pair: &Pair) -> Worker {
    Worker::start(pair.running.name(), pair.config(), &pair.running.variables, &[])
}

async fn count(pair: &Pair) -> u64 {
    pair.right.row("SELECT count(*) FROM numbers").await.parse().expect("a number")
}

async fn a_snapshot_whose_workers_are_killed_ends_with_the_exact_count_in_constant_memory(pair: Arc<Pair>) {
    let _scenario = scenario("F014", Some("100 000 rows; `./test torture` shows the million"));
    let (rows, started) = (rows(), Instant::now());
    let deadline = started + TIME_PER_ROW * u32::try_from(rows).expect("a number of rows") + Duration::from_secs(120);
    pair.running.apply_connector(&pair.running.example.sides[0]).await;
    let mut worker = start(&pair);
    let (mut kills, mut resident_max, mut seen) = (0, 0, 0);
    while seen < rows {
        tokio::time::sleep(Duration::from_millis(300)).await;
        assert!(Instant::now() < deadline, "{seen} rows of {rows}; {}", worker.log_tail());
        resident_max = resident_max.max(worker.resident_bytes());
        seen = count(&pair).await;
        // At 1/5, 2/5, … of the way.
        if kills < KILLS && seen > rows * (kills + 1) / (KILLS + 1) {
            worker.kill();
            kills += 1;
            worker = start(&pair);
        }
    }
    assert_eq!(kills, KILLS);
    assert_eq!(seen, rows);
    // Not only as many rows, but these.
    let sums = "SELECT count(*), sum(id), sum(amount), sum(length(word)), min(word), max(word) FROM numbers";
    assert_eq!(pair.right.row(sums).await, pair.left.row(sums).await);
    assert!(resident_max < RESIDENT_MAX, "{} MiB in memory", resident_max >> 20);
    let seconds = started.elapsed().as_secs_f64();
    eprintln!(
        "F014: {rows} rows in {seconds:.0} s ({:.0} rows/s) with {kills} times kill -9, at most {} MiB in memory",
        rows as f64 / seconds,
        resident_max >> 20
    );
    assert_eq!(worker.terminate(Duration::from_secs(40)), 0, "{}", worker.log_tail());
}
