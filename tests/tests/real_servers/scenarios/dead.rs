//! What can't be applied, as an operator meets it: kept with everything that is known of it, shown by the command, repaired, tried again.

use std::path::PathBuf;
use std::sync::Arc;
use std::time::Duration;

use serde_json::Value;
use tidelock_tests::example::BLOG;
use tidelock_tests::group::Group;
use tidelock_tests::pair::Pair;
use tidelock_tests::scenario::scenario;
use tidelock_tests::topic::{self, Published};
use tidelock_tests::wait::{arrival, eventually};

const STOP_LIMIT: Duration = Duration::from_secs(40);
/// Tries of a row that waits, as A048 wants them: at once, after 1 s, 2 s later, and no more.
const THREE_TRIES: [(&str, &str); 2] =
    [("TIDELOCK_TUNING__PARKED__ATTEMPTS", "3"), ("TIDELOCK_TUNING__PARKED__INITIAL_MS", "1000")];
/// Stands in every row that fails here, and must not stand in a log.
const SECRET: &str = "secret-4711";

#[tokio::test]
async fn dead_letters_are_kept_shown_and_replayed() {
    let mut running = BLOG.named("dead");
    // L may say what the mapping does not know, and R refuses what L does not.
    running.more_schema = [
        "ALTER TABLE legacy_users DROP CHECK legacy_users_chk_1".to_owned(),
        "ALTER TABLE revamp_users DROP CHECK revamp_users_chk_1, ADD UNIQUE KEY one_mobile (mobile)".to_owned(),
    ];
    let config = example_config(&running.example.path());
    let pair = Pair::prepare(running, Some(&config)).await;
    pair.start_worker_with(&THREE_TRIES).await;
    pair.ready().await;
    pair.settled().await;
    let mut group = Group::of(pair);
    group.show(a_value_outside_the_map_is_dead_after_one_attempt).await;
    group.show(invalid_bytes_are_kept_as_they_are_and_the_next_changes_flow).await;
    group.show(a_unique_violation_is_tried_three_times_and_then_dead).await;
    group.show(a_dead_letter_holds_everything_and_is_replayed_when_its_cause_is_repaired).await;
    group.show(logs_name_every_failure_and_no_value).await;
    group.show(what_the_mapping_refused_is_replayed_when_the_mapping_is_corrected).await;
    group.show(a_replayed_record_does_not_overwrite_a_newer_row).await;
    group.show(what_nobody_wants_is_discarded).await;
    group.end().await;
}

fn example_config(folder: &std::path::Path) -> String {
    std::fs::read_to_string(folder.join("tidelock.yaml")).expect("the example has a configuration")
}

fn config_of(pair: &Pair) -> PathBuf {
    std::env::temp_dir().join(format!("{}.yaml", pair.running.name()))
}

/// Runs `tidelock dlq …`; its standard output.
fn dlq(pair: &Pair, arguments: &[&str]) -> String {
    let config = config_of(pair);
    let mut all = vec!["dlq"];
    all.extend(arguments);
    all.extend(["--config", config.to_str().expect("a path of ours")]);
    let (code, out, error) = tidelock_tests::worker::command(&all, &pair.running.variables);
    assert_eq!(code, 0, "{all:?}: {out}{error}");
    out
}

fn held(pair: &Pair, arguments: &[&str]) -> Vec<Value> {
    let mut all = vec!["list", "--json", "--limit", "0"];
    all.extend(arguments);
    serde_json::from_str(&dlq(pair, &all)).expect("JSON")
}

/// Waits for the only held row that the filter finds in this state.
async fn the_only(pair: &Pair, filter: &[&str], state: &str) -> Value {
    eventually(3 * arrival(), &format!("one row is {state}"), || async {
        let rows = held(pair, filter);
        match rows.as_slice() {
            [row] if row["state"] == state => Ok(()),
            other => Err(format!("{other:#?}")),
        }
    })
    .await;
    held(pair, filter).remove(0)
}

fn text<'a>(row: &'a Value, key: &str) -> &'a str {
    row[key].as_str().unwrap_or_else(|| panic!("{key} in {row:#}"))
}

fn legacy_topic(pair: &Pair, table: &str) -> String {
    pair.running.topic(&pair.running.example.sides[0], table)
}

fn hex(bytes: &[u8]) -> String {
    bytes.iter().map(|byte| format!("{byte:02x}")).collect()
}

/// The record that a held row names.
async fn record_of(row: &Value) -> Published {
    let records = topic::read(text(row, "topic")).await;
    let is_it = |record: &&Published| {
        Some(i64::from(record.partition)) == row["partition"].as_i64() && Some(record.offset) == row["offset"].as_i64()
    };
    records.iter().find(is_it).expect("the record is in its topic").clone()
}

/// Its bytes, as `dlq show --raw hex` has them.
async fn keeps_its_bytes(pair: &Pair, row: &Value) {
    let record = record_of(row).await;
    let shown: Vec<Value> =
        serde_json::from_str(&dlq(pair, &["show", text(row, "id"), "--raw", "hex", "--json"])).expect("JSON");
    let raw = &shown[0]["raw"];
    assert_eq!(raw["key"].as_str().map(str::to_owned), record.key.as_deref().map(hex));
    assert_eq!(raw["value"].as_str().map(str::to_owned), record.value.as_deref().map(hex));
}

async fn a_value_outside_the_map_is_dead_after_one_attempt(pair: Arc<Pair>) {
    let _scenario = scenario("A049", None);
    pair.left
        .run(&format!(
            "INSERT INTO legacy_users (username, email, full_name, status) VALUES ('banned', 'banned@example.com', '{SECRET}', 'banned')"
        ))
        .await;
    let row = the_only(&pair, &["--entity", "users"], "dead").await;
    assert_eq!(
        (text(&row, "class"), text(&row, "stage"), row["attempts"].as_i64()),
        ("data", "map", Some(1)),
        "{row:#}"
    );
    assert!(row["retry_at_ms"].is_null(), "it is not tried again by itself");
    assert_eq!(pair.right.rows("SELECT id FROM revamp_users WHERE user_name = 'banned'").await.len(), 0);
    keeps_its_bytes(&pair, &row).await;
}

async fn invalid_bytes_are_kept_as_they_are_and_the_next_changes_flow(pair: Arc<Pair>) {
    let _scenario = scenario("A050", None);
    // Given a change of each partition's neighbours, when bytes that are no record come between,
    let posts = legacy_topic(&pair, "legacy_posts");
    let known = topic::read(&posts).await.into_iter().find(|record| record.key.is_some()).expect("there are posts");
    let garbage = format!("\u{1}\u{2} {SECRET} not a record").into_bytes();
    let poison = Published { key: Some(b"\xff\xfe".to_vec()), value: Some(garbage.clone()), ..known };
    topic::produce(&posts, &[poison], 1).await;
    pair.left.run("UPDATE legacy_posts SET view_count = 4711").await;
    // then the changes after them arrive, and the bytes are kept.
    let expected = pair.left.row("SELECT count(*) FROM legacy_posts").await;
    pair.right.shows("SELECT count(*) FROM revamp_posts WHERE views = 4711", &[&expected]).await;
    let row = the_only(&pair, &["--entity", "posts", "--topic", &posts], "dead").await;
    assert_eq!(
        (text(&row, "class"), text(&row, "stage"), row["attempts"].as_i64()),
        ("data", "decode", Some(1)),
        "{row:#}"
    );
    let shown = dlq(&pair, &["show", text(&row, "id"), "--raw", "hex"]);
    assert!(shown.contains(&hex(&garbage)) && shown.contains("fffe"), "{shown}");
    let shown = dlq(&pair, &["show", text(&row, "id")]);
    assert!(!shown.contains(SECRET) && !shown.contains(&hex(&garbage)), "bytes only when asked for: {shown}");
}

async fn a_unique_violation_is_tried_three_times_and_then_dead(pair: Arc<Pair>) {
    let _scenario = scenario("A048", Some("with a unique violation; its first wait is `tuning.parked.initial_ms`"));
    // Given a mobile number that somebody at R has, when somebody else at L gets it,
    let gets = async |user: &str| {
        let row = format!("('{user}', '{user}@example.com', '+4711')");
        pair.left.run(&format!("INSERT INTO legacy_users (username, email, phone_number) VALUES {row}")).await;
    };
    gets("first_owner").await;
    // (two users may be in two partitions, and those are in no order)
    let owner = "SELECT user_name FROM revamp_users WHERE mobile = '+4711'";
    pair.right.shows(owner, &["first_owner"]).await;
    gets("second_owner").await;
    // then it waits for one second and for two,
    let row = "SELECT state, attempts, first_failed_at_ms, retry_at_ms FROM tidelock_held
               WHERE entity = 'revamp_users' AND stage = 'write' AND state <> 'superseded'";
    let failed_at_ms = eventually(3 * arrival(), "three tries", || async {
        let rows = pair.right.rows(row).await;
        let cells: Vec<&str> = rows.first().map_or_else(Vec::new, |row| row.split('|').collect());
        let [state, attempts, failed_at_ms, retry_at_ms] = cells[..] else { return Err(format!("{rows:?}")) };
        let number = |text: &str| text.parse::<i64>().expect("a number");
        let waits_until_ms = number(retry_at_ms) - number(failed_at_ms);
        match (state, attempts) {
            ("dead", "3") => return Ok(number(failed_at_ms)),
            ("parked", "1") => assert_eq!(waits_until_ms, 1_000),
            ("parked", "2") => assert!(waits_until_ms >= 3_000, "{waits_until_ms}"),
            _ => panic!("{rows:?}"),
        }
        Err(format!("{rows:?}"))
    })
    .await;
    // and is given up at the third try, not before.
    assert!(chrono_ms() - failed_at_ms >= 3_000);
    let row = the_only(&pair, &["--entity", "users", "--class", "dependency"], "dead").await;
    assert_eq!(text(&row, "code"), "1062 23000", "{row:#}");
    // Who had it keeps it.
    assert_eq!(pair.right.rows(owner).await, ["first_owner"]);
}

/// Changes R without leaving an event, as if the other direction had never seen the row.
async fn silently(pair: &Pair, sql: &str) {
    pair.right.run(&format!("SET SESSION sql_log_bin = 0; {sql}; SET SESSION sql_log_bin = 1")).await;
}

async fn a_dead_letter_holds_everything_and_is_replayed_when_its_cause_is_repaired(pair: Arc<Pair>) {
    let _scenario = scenario("A047", None);
    let dead = pair.metric("tidelock_held_rows", &["state=\"dead\"", "legacy→revamp"]).await;
    // Given a user whose copy at R is gone, when L inserts a post of that user,
    let author = pair.right.row("SELECT * FROM revamp_users WHERE id = 5").await;
    silently(&pair, "DELETE FROM revamp_users WHERE id = 5").await;
    let before_ms = chrono_ms();
    pair.left
        .run(&format!("INSERT INTO legacy_posts (user_id, post_title, post_content) VALUES (5, 'Orphan', '{SECRET}')"))
        .await;
    // others are not delayed,
    pair.left.run("INSERT INTO legacy_users (username, email) VALUES ('not_delayed', 'nd@example.com')").await;
    pair.right.shows("SELECT count(*) FROM revamp_users WHERE user_name = 'not_delayed'", &["1"]).await;
    // and the post is dead after three tries, with everything that is known of it.
    let filter = ["--entity", "posts", "--class", "dependency", "--direction", "legacy->revamp", "--since", "1h"];
    let row = the_only(&pair, &filter, "dead").await;
    assert_eq!(text(&row, "topic"), legacy_topic(&pair, "legacy_posts"));
    assert_eq!((row["attempts"].as_i64(), text(&row, "stage")), (Some(3), "write"), "{row:#}");
    assert!(text(&row, "message").contains("revamp_posts") && !row.to_string().contains(SECRET), "{row:#}");
    assert!(text(&row, "code").starts_with("1452") || text(&row, "code") == "parent-missing", "{row:#}");
    assert!(!text(&row, "source_position").is_empty() && !text(&row, "engine").is_empty(), "{row:#}");
    for time in ["committed_at_ms", "first_failed_at_ms", "timestamp_ms"] {
        let at = row[time].as_i64().unwrap_or_default();
        assert!((before_ms - 5_000..before_ms + 120_000).contains(&at), "{time}: {at}, and it was {before_ms}");
    }
    keeps_its_bytes(&pair, &row).await;
    let counted = || pair.metric("tidelock_held_rows", &["state=\"dead\"", "legacy→revamp"]);
    eventually(arrival(), "the backlog counts it", || async {
        let now = counted().await;
        if (now - dead - 1.0).abs() < 0.5 { Ok(()) } else { Err(now.to_string()) }
    })
    .await;

    // When the author is back and the operator says so,
    let cells: Vec<String> = author
        .split('|')
        .map(|cell| if cell == "NULL" { cell.to_owned() } else { format!("'{}'", cell.replace('\'', "''")) })
        .collect();
    silently(&pair, &format!("INSERT INTO revamp_users VALUES ({})", cells.join(","))).await;
    let said = dlq(&pair, &["replay", text(&row, "id")]);
    assert!(said.starts_with("1 will be tried again"), "{said}");
    // then the post arrives, and the backlog is as before.
    pair.right.shows("SELECT author_id FROM revamp_posts WHERE title = 'Orphan'", &["5"]).await;
    eventually(arrival(), "the backlog counter falls", || async {
        let now = counted().await;
        if (now - dead).abs() < 0.5 { Ok(()) } else { Err(now.to_string()) }
    })
    .await;
    assert!(held(&pair, &filter).is_empty());
}

fn chrono_ms() -> i64 {
    let now = std::time::SystemTime::now().duration_since(std::time::UNIX_EPOCH).expect("it is after 1970");
    i64::try_from(now.as_millis()).expect("before the year 292 million")
}

async fn logs_name_every_failure_and_no_value(pair: Arc<Pair>) {
    let _scenario = scenario("F013", None);
    let log = pair.log().await;
    // Dead rows of before, and those that were replayed or superseded, are all in the log.
    let failures =
        pair.right.rows("SELECT topic, `partition`, `offset`, entity, HEX(key_hash) FROM tidelock_held").await;
    assert!(failures.len() >= 3, "{failures:#?}");
    for failure in failures {
        let [topic, partition, offset, table, hash] = failure.split('|').collect::<Vec<_>>()[..] else {
            panic!("{failure}")
        };
        let hash = format!("{:0>16}", hash.to_lowercase());
        let names = [
            format!("topic=\"{topic}\""),
            format!("partition={partition}"),
            format!("offset={offset}"),
            format!("table=\"{table}\""),
            format!("key_hash=\"{hash}\""),
        ];
        let is_it = |line: &&str| names.iter().all(|name| line.contains(name));
        assert!(log.lines().any(|line| is_it(&line)), "{names:?} is not in\n{log}");
    }
    for value in [SECRET, "+4711", "so@example.com", "second_owner", "banned@example.com"] {
        let lines: Vec<&str> = log.lines().filter(|line| line.contains(value)).collect();
        assert!(lines.is_empty(), "a row value is logged: {lines:#?}");
    }
}

async fn what_the_mapping_refused_is_replayed_when_the_mapping_is_corrected(pair: Arc<Pair>) {
    // Given the user that the mapping did not know a state for, when the mapping is corrected and the worker restarted,
    let row = the_only(&pair, &["--entity", "users", "--class", "data"], "dead").await;
    let config = example_config(&pair.running.example.path());
    let corrected = config.replace("suspended: Suspended } }", "suspended: Suspended, banned: Banned } }");
    assert_ne!(config, corrected);
    pair.stop_workers(STOP_LIMIT).await;
    std::fs::write(config_of(&pair), corrected).expect("our file");
    // (a replay that nobody executes yet is not lost)
    dlq(&pair, &["replay", "--entity", "users", "--class", "data"]);
    assert_eq!(text(&held(&pair, &["--entity", "users", "--class", "data"])[0], "state"), "replay");
    pair.start_worker_with(&THREE_TRIES).await;
    pair.ready().await;
    // then the record is applied.
    pair.right.shows("SELECT account_status FROM revamp_users WHERE user_name = 'banned'", &["Banned"]).await;
    eventually(arrival(), "it is held no more", || async {
        let left =
            held(&pair, &["--offset", &row["offset"].to_string(), "--topic", text(&row, "topic"), "--class", "data"]);
        if left.is_empty() { Ok(()) } else { Err(format!("{left:#?}")) }
    })
    .await;
}

async fn a_replayed_record_does_not_overwrite_a_newer_row(pair: Arc<Pair>) {
    // Given a change of a user that dies, and a later one that is good,
    pair.left.run("UPDATE legacy_users SET status = 'odd', full_name = 'older' WHERE username = 'not_delayed'").await;
    let row = the_only(&pair, &["--entity", "users", "--class", "data"], "dead").await;
    pair.left
        .run("UPDATE legacy_users SET status = 'inactive', full_name = 'newer' WHERE username = 'not_delayed'")
        .await;
    let name = "SELECT display_name, account_status FROM revamp_users WHERE user_name = 'not_delayed'";
    pair.right.shows(name, &["newer|Inactive"]).await;
    the_only(
        &pair,
        &["--state", "superseded", "--offset", &row["offset"].to_string(), "--entity", "users"],
        "superseded",
    )
    .await;
    // when the older one is asked for, then it is left out.
    let said = dlq(&pair, &["replay", text(&row, "id")]);
    assert!(said.contains("0 will be tried again") && said.contains("1 left out"), "{said}");
    tokio::time::sleep(Duration::from_secs(5)).await;
    assert_eq!(pair.right.row(name).await, "newer|Inactive");
}

async fn what_nobody_wants_is_discarded(pair: Arc<Pair>) {
    let refused = tidelock_tests::worker::command(
        &["dlq", "discard", "--entity", "posts", "--config", config_of(&pair).to_str().expect("a path of ours")],
        &pair.running.variables,
    );
    assert!(refused.0 == 1 && refused.2.contains("--yes"), "{refused:?}");
    let left = held(&pair, &[]).len();
    assert!(left >= 2, "the invalid bytes and the second owner of a number");
    assert_eq!(dlq(&pair, &["discard", "--entity", "posts", "--yes"]), "1 discarded\n");
    assert_eq!(dlq(&pair, &["discard", "--entity", "users", "--yes"]), format!("{} discarded\n", left - 1));
    assert!(held(&pair, &[]).is_empty());
    assert_eq!(dlq(&pair, &["list"]), "nothing is held\n");
    eventually(arrival(), "the backlog is empty", || async {
        let dead = pair.metric("tidelock_held_rows", &["state=\"dead\""]).await;
        if dead < 0.5 { Ok(()) } else { Err(dead.to_string()) }
    })
    .await;
}
