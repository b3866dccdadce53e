//! The blog while one of its servers is down: nothing is lost, nothing is given up, and it goes on by itself.

use std::sync::Arc;
use std::time::{Duration, Instant};

use tidelock_tests::example::BLOG_SPARE;
use tidelock_tests::group::Group;
use tidelock_tests::pair::Pair;
use tidelock_tests::scenario::scenario;
use tidelock_tests::spare::{self, Spare};
use tidelock_tests::topic;
use tidelock_tests::wait::{arrival, eventually};

/// How long R is down.
const OUTAGE: Duration = Duration::from_secs(60);
/// How long the rows of before may take: reading what the connectors' snapshots have is not what this shows.
const FIRST_START: Duration = Duration::from_secs(60);
/// With it, the wait before the last try and its work fit into the scenarios' limit.
const RETRY_CAP_MS: &str = "5000";

/// Rows of each table in L, and in R with R's states in L's spelling.
const TABLES: [(&str, &str); 3] = [
    (
        "SELECT id, username, email, full_name, phone_number, status FROM legacy_users ORDER BY id",
        "SELECT id, user_name, email_address, display_name, mobile, lower(account_status) FROM revamp_users ORDER BY id",
    ),
    (
        "SELECT id, user_id, post_title, post_content, post_status, view_count FROM legacy_posts ORDER BY id",
        "SELECT id, author_id, title, content, lower(status), views FROM revamp_posts ORDER BY id",
    ),
    (
        "SELECT id, user_id, post_id, like_type FROM legacy_likes ORDER BY id",
        "SELECT id, user_id, post_id, lower(reaction_type) FROM revamp_likes ORDER BY id",
    ),
];

#[tokio::test]
async fn the_blog_outlives_an_outage_of_one_server() {
    let _spare = Spare::start().await;
    let pair = Pair::prepare(BLOG_SPARE.named("outage"), None).await;
    let mut group = Group::of(pair);
    group.show(what_happens_while_a_server_is_down_arrives_when_it_is_back).await;
    // A scenario that failed may have left it down.
    spare::up().await;
    group.end().await;
}

async fn what_happens_while_a_server_is_down_arrives_when_it_is_back(pair: Arc<Pair>) {
    let _scenario = scenario(
        "A025",
        Some("with `tuning.retry.cap_ms: 5000`: by default the last wait alone may be longer than the scenarios' 10 s"),
    );
    let _state = scenario("A026", Some("the engine's state is in the target: A025 stops both"));
    let _films = scenario("D009", Some("on the blog's tables, as a part of A025"));
    // Given: workers that run, and rows in step.
    pair.start_worker_with(&[("TIDELOCK_TUNING__RETRY__CAP_MS", RETRY_CAP_MS)]).await;
    pair.ready().await;
    let users: Vec<String> = (0..10).map(|user| format!("('before {user}', 'before{user}@example.com')")).collect();
    pair.left.run(&format!("INSERT INTO legacy_users (username, email) VALUES {}", users.join(","))).await;
    in_step(&pair, FIRST_START).await;
    pair.settled().await;

    // When: R is down for a minute, and meanwhile L inserts 20, updates 10 and deletes 5 rows.
    spare::down().await;
    let stopped = Instant::now();
    let changes = changes();
    for (number, change) in changes.iter().enumerate() {
        pair.left.run(change).await;
        tokio::time::sleep_until((stopped + OUTAGE * (number as u32 + 1) / changes.len() as u32).into()).await;
    }
    let [Some((200, _))] = pair.replies("/live").await[..] else {
        panic!("the worker is alive while its target is down")
    };
    let [Some((503, _))] = pair.replies("/ready").await[..] else { panic!("the worker says that its target is down") };
    spare::up().await;

    // Then: R equals L's mapped state, no record was given up, and nothing is left to read.
    in_step(&pair, arrival()).await;
    pair.ready().await;
    // Debezium's task for R died with its server and stays dead until somebody restarts it.
    pair.running.restart_connectors().await;
    pair.settled().await;
    in_step(&pair, arrival()).await;
    assert_eq!(pair.right.row("SELECT count(*) FROM revamp_users WHERE user_name LIKE 'during %'").await, "12");
    assert_eq!(pair.right.row("SELECT count(*) FROM revamp_users WHERE user_name LIKE 'before %'").await, "5");
    assert!(topic::read(&format!("{}.dlq", pair.running.name())).await.is_empty(), "no dead letter");
    assert_eq!(pair.outcome("", "dead").await, 0.0);
    for database in [&pair.left, &pair.right] {
        assert_eq!(database.row("SELECT count(*) FROM tidelock_held WHERE state <> 'superseded'").await, "0");
    }
    // And the other direction goes on too.
    pair.right.run("INSERT INTO revamp_users (user_name, email_address) VALUES ('after', 'after@example.com')").await;
    pair.left.shows("SELECT count(*) FROM legacy_users WHERE username = 'after'", &["1"]).await;
}

/// 20 inserts, 10 updates and 5 deletes, mixed: rows from before the outage and of the outage, parents and children.
fn changes() -> Vec<String> {
    let mut changes = Vec::new();
    let id = |user: &str| format!("(SELECT id FROM legacy_users WHERE username = '{user}')");
    for number in 0..12 {
        changes.push(format!(
            "INSERT INTO legacy_users (username, email, full_name) VALUES ('during {number}', 'during{number}@example.com', 'New')"
        ));
        if number < 5 {
            let author = id(&format!("during {number}"));
            changes
                .push(format!("INSERT INTO legacy_posts (user_id, post_title) VALUES ({author}, 'during {number}')"));
            changes.push(format!("UPDATE legacy_users SET status = 'suspended' WHERE username = 'before {number}'"));
            changes.push(format!("UPDATE legacy_posts SET view_count = 1 WHERE post_title = 'during {number}'"));
        } else if number < 10 {
            changes.push(format!("DELETE FROM legacy_users WHERE username = 'before {number}'"));
        }
        if number < 3 {
            let (user, post) =
                (id("john_doe"), format!("(SELECT id FROM legacy_posts WHERE post_title = 'during {number}')"));
            changes
                .push(format!("INSERT INTO legacy_likes (user_id, post_id, like_type) VALUES ({user}, {post}, 'wow')"));
        }
    }
    let count = |word: &str| changes.iter().filter(|change| change.starts_with(word)).count();
    assert_eq!((count("INSERT"), count("UPDATE"), count("DELETE")), (20, 10, 5));
    changes
}

/// Waits until R's rows are L's.
async fn in_step(pair: &Pair, limit: Duration) {
    eventually(limit, "the sides are equal", || async {
        for (left, right) in TABLES {
            let expected = pair.left.rows(left).await;
            let rows = pair.right.try_rows(right).await.map_err(|error| error.to_string())?;
            if rows != expected {
                return Err(format!("{rows:#?}, expected {expected:#?}"));
            }
        }
        Ok(())
    })
    .await;
}
