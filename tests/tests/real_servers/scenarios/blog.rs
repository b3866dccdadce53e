//! The blog in two MySQL servers: what arrives, in which form, and that nothing comes back.

use std::sync::Arc;
use std::time::Duration;

use tidelock_tests::example::BLOG;
use tidelock_tests::group::Group;
use tidelock_tests::pair::Pair;
use tidelock_tests::scenario::scenario;
use tidelock_tests::topic;

use super::blog_transport as transport;

/// How long "quiet" watches.
const QUIET: Duration = Duration::from_secs(10);

#[tokio::test]
async fn the_blog_stays_in_step_between_two_mysql_servers() {
    let mut group = Group::of(Pair::prepare(BLOG.named("a"), None).await);
    group.show(starting_leaves_what_both_sides_have).await;
    group.show(a_user_of_legacy_arrives_in_revamp_once).await;
    group.show(a_user_of_revamp_arrives_in_legacy_once).await;
    group.show(nothing_comes_back_from_an_insert).await;
    group.show(a_local_edit_of_a_synced_row_is_no_echo).await;
    group.show(an_update_of_legacy_makes_one_event_one_write_and_one_echo).await;
    group.show(a_post_of_revamp_arrives_with_its_state_in_legacys_spelling).await;
    group.show(every_state_of_both_sides_arrives_in_the_others_spelling).await;
    group.show(an_update_of_legacy_arrives_as_a_write_of_the_engine).await;
    group.show(two_sessions_that_update_one_row_at_once_both_arrive).await;
    group.show(inserts_on_both_sides_at_the_same_moment_both_arrive).await;
    group.show(a_name_with_quotes_backslash_and_emoji_arrives_byte_for_byte).await;
    group.show(null_stays_null_and_an_empty_text_stays_empty).await;
    group.show(a_text_of_64_kib_arrives_byte_for_byte).await;
    group.show(an_update_that_changes_nothing_does_no_harm).await;
    group.show(transport::the_same_bytes_ten_times_more_change_nothing).await;
    group.show(transport::tombstones_and_messages_without_payload_do_no_harm).await;
    group.show(a_user_deleted_in_legacy_goes_in_revamp_without_a_trace_of_trouble).await;
    group.show(what_happens_while_the_engine_is_stopped_arrives_when_it_starts).await;
    group.show(a_user_deleted_where_it_arrived_goes_where_it_came_from).await;
    group.show(a_deleted_user_takes_posts_and_likes_along).await;
    group.show(sigterm_in_the_middle_of_a_thousand_rows_loses_and_doubles_nothing).await;
    group.end().await;
}

/// A001's row at R.
const USER_1_AT_R: &str =
    "SELECT user_name, email_address, display_name, mobile, account_status, source FROM revamp_users
    WHERE user_name = 'test_user_1'";

pub(super) async fn insert_user_1(pair: &Pair) {
    pair.left
        .run(
            "INSERT INTO legacy_users (username, email, full_name, phone_number, source)
             VALUES ('test_user_1', 'test1@example.com', 'Test User One', '+1234567890', 'legacy')",
        )
        .await;
}

pub(super) async fn user_1_arrives(pair: &Pair) {
    let expected = "test_user_1|test1@example.com|Test User One|+1234567890|Active|sync_service";
    pair.right.shows(USER_1_AT_R, &[expected]).await;
}

async fn starting_leaves_what_both_sides_have(pair: Arc<Pair>) {
    let _scenario = scenario("E017", None);
    let own = [("revamp_users", 3), ("revamp_posts", 4), ("revamp_likes", 4)];
    let mut before = Vec::new();
    for (table, _) in own {
        before.push(pair.right.rows(&format!("SELECT * FROM {table} ORDER BY id")).await);
    }
    let left_before = pair.left.rows("SELECT * FROM legacy_users ORDER BY id").await;

    pair.start_worker().await;
    pair.ready().await;

    for (table, rows) in own {
        let expected = (2 * rows).to_string();
        pair.right.shows(&format!("SELECT count(*) FROM {table}"), &[&expected]).await;
        pair.left.shows(&format!("SELECT count(*) FROM {}", table.replace("revamp", "legacy")), &[&expected]).await;
    }
    for ((table, _), before) in own.iter().zip(before) {
        let after = pair.right.rows(&format!("SELECT * FROM {table} WHERE id % 2 = 0 ORDER BY id")).await;
        assert_eq!(before, after, "the rows that were there are still the same");
    }
    assert_eq!(left_before, pair.left.rows("SELECT * FROM legacy_users WHERE id % 2 = 1 ORDER BY id").await);
}

async fn a_user_of_legacy_arrives_in_revamp_once(pair: Arc<Pair>) {
    let _scenario = scenario("A001", None);
    insert_user_1(&pair).await;
    user_1_arrives(&pair).await;
}

async fn a_user_of_revamp_arrives_in_legacy_once(pair: Arc<Pair>) {
    let _scenario = scenario("A002", None);
    insert_user_2(&pair).await;
    user_2_arrives(&pair).await;
}

pub(super) async fn insert_user_2(pair: &Pair) {
    pair.right
        .run(
            "INSERT INTO revamp_users (user_name, email_address, display_name, mobile, source)
             VALUES ('test_user_2', 'test2@example.com', 'Test User Two', '+9876543210', 'revamp')",
        )
        .await;
}

pub(super) async fn user_2_arrives(pair: &Pair) {
    pair.left
        .shows(
            "SELECT username, email, full_name, phone_number, status, source FROM legacy_users
             WHERE username = 'test_user_2'",
            &["test_user_2|test2@example.com|Test User Two|+9876543210|active|sync_service"],
        )
        .await;
}

async fn nothing_comes_back_from_an_insert(pair: Arc<Pair>) {
    let _scenarios = [scenario("A004", None), scenario("A005", None)];
    pair.settled().await;
    let seen =
        async |outcome| (pair.outcome("legacy→revamp", outcome).await, pair.outcome("revamp→legacy", outcome).await);
    let (applied, echoes) = (seen("applied").await, seen("echo").await);
    assert!(echoes.0 >= 1.0 && echoes.1 >= 1.0, "the two inserts came back and were stopped: {echoes:?}");
    pair.quiet(QUIET).await;
    assert_eq!(applied, seen("applied").await, "no write is made from an echo");
    assert_eq!(echoes, seen("echo").await);
    // L's row is as its application wrote it: not even `updated_at` or `source` was touched.
    let touched = "SELECT source, updated_at = created_at FROM legacy_users WHERE username = 'test_user_1'";
    assert_eq!(pair.left.row(touched).await, "legacy|1");
    let touched = "SELECT source, updated_at = created_at FROM revamp_users WHERE user_name = 'test_user_2'";
    assert_eq!(pair.right.row(touched).await, "revamp|1");
}

async fn a_local_edit_of_a_synced_row_is_no_echo(pair: Arc<Pair>) {
    let scenario_12 = scenario("A012", None);
    // R's row was written by the engine and still says so.
    pair.right.run("UPDATE revamp_users SET display_name = 'Edited locally' WHERE user_name = 'test_user_1'").await;
    let name = "SELECT full_name FROM legacy_users WHERE username = 'test_user_1'";
    pair.left.shows(name, &["Edited locally"]).await;
    pair.quiet(QUIET).await;
    drop(scenario_12);

    let _scenario = scenario("A013", None);
    pair.left.run("UPDATE legacy_users SET phone_number = '+0000000000' WHERE username = 'test_user_1'").await;
    pair.right
        .shows(
            "SELECT mobile, display_name FROM revamp_users WHERE user_name = 'test_user_1'",
            &["+0000000000|Edited locally"],
        )
        .await;
}

async fn an_update_of_legacy_makes_one_event_one_write_and_one_echo(pair: Arc<Pair>) {
    let _scenario = scenario("A018", None);
    let [legacy, revamp] = &pair.running.example.sides;
    let topics = [pair.running.topic(legacy, "legacy_users"), pair.running.topic(revamp, "revamp_users")];
    let before = [topic::read(&topics[0]).await.len(), topic::read(&topics[1]).await.len()];
    let echoes = pair.outcome("revamp→legacy", "echo").await;
    let applied = [pair.outcome("legacy→revamp", "applied").await, pair.outcome("revamp→legacy", "applied").await];

    pair.left.run("UPDATE legacy_users SET full_name = 'No Loop Test', source = 'legacy' WHERE id = 1").await;
    pair.right.shows("SELECT display_name FROM revamp_users WHERE id = 1", &["No Loop Test"]).await;
    pair.counts("revamp→legacy", "echo", echoes + 1.0).await;
    let row = pair.left.row("SELECT * FROM legacy_users WHERE id = 1").await;
    pair.quiet(QUIET).await;

    assert_eq!(topic::read(&topics[0]).await.len() - before[0], 1, "one event on the legacy topic");
    assert_eq!(topic::read(&topics[1]).await.len() - before[1], 1, "one write at R, and so one event on its topic");
    assert_eq!(pair.outcome("revamp→legacy", "echo").await, echoes + 1.0, "the loop counter rose by one");
    let after = [pair.outcome("legacy→revamp", "applied").await, pair.outcome("revamp→legacy", "applied").await];
    assert_eq!(after, [applied[0] + 1.0, applied[1]], "one write to R, none to L");
    assert_eq!(pair.left.row("SELECT * FROM legacy_users WHERE id = 1").await, row);
}

async fn a_post_of_revamp_arrives_with_its_state_in_legacys_spelling(pair: Arc<Pair>) {
    let _scenario = scenario("A007", None);
    pair.right
        .run(
            "INSERT INTO revamp_posts (author_id, title, content, status, source)
             VALUES (1, 'Case Test', 'Testing case', 'Published', 'revamp')",
        )
        .await;
    pair.left
        .shows(
            "SELECT user_id, post_title, post_status FROM legacy_posts WHERE post_title = 'Case Test'",
            &["1|Case Test|published"],
        )
        .await;
}

async fn every_state_of_both_sides_arrives_in_the_others_spelling(pair: Arc<Pair>) {
    let _scenario = scenario("A010", None);
    pair.left
        .run(
            "INSERT INTO legacy_users (username, email, status) VALUES
               ('l_active', 'l1@example.com', 'active'), ('l_inactive', 'l2@example.com', 'inactive'),
               ('l_suspended', 'l3@example.com', 'suspended');
             INSERT INTO legacy_posts (user_id, post_title, post_status) VALUES
               (1, 'l_draft', 'draft'), (1, 'l_published', 'published'), (1, 'l_archived', 'archived');
             INSERT INTO legacy_likes (user_id, post_id, like_type) VALUES
               (1, 1, 'like'), (1, 3, 'love'), (1, 7, 'wow'), (3, 3, 'sad'), (3, 5, 'angry')",
        )
        .await;
    pair.right
        .run(
            "INSERT INTO revamp_users (user_name, email_address, account_status) VALUES
               ('r_active', 'r1@example.com', 'Active'), ('r_inactive', 'r2@example.com', 'Inactive'),
               ('r_suspended', 'r3@example.com', 'Suspended');
             INSERT INTO revamp_posts (author_id, title, status) VALUES
               (2, 'r_draft', 'Draft'), (2, 'r_published', 'Published'), (2, 'r_archived', 'Archived');
             INSERT INTO revamp_likes (user_id, post_id, reaction_type) VALUES
               (2, 2, 'Like'), (2, 4, 'Love'), (2, 8, 'Wow'), (4, 4, 'Sad'), (4, 6, 'Angry')",
        )
        .await;
    let users = ["Active", "Inactive", "Suspended"];
    let posts = ["Archived", "Draft", "Published"];
    let likes = [(1, 1, "Like"), (1, 3, "Love"), (1, 7, "Wow"), (3, 3, "Sad"), (3, 5, "Angry")];
    let at_right = |texts: Vec<String>| texts;
    let at_left = |texts: Vec<String>| texts.iter().map(|text| text.to_lowercase()).collect::<Vec<_>>();

    let expected = at_right(users.iter().map(|state| format!("l_{}|{state}", state.to_lowercase())).collect());
    let sql = "SELECT user_name, account_status FROM revamp_users WHERE user_name LIKE 'l\\_%' ORDER BY 1";
    pair.right.shows(sql, &texts(&expected)).await;
    let expected = at_left(users.iter().map(|state| format!("r_{state}|{state}")).collect());
    let sql = "SELECT username, status FROM legacy_users WHERE username LIKE 'r\\_%' ORDER BY 1";
    pair.left.shows(sql, &texts(&expected)).await;

    let expected = at_right(posts.iter().map(|state| format!("l_{}|{state}", state.to_lowercase())).collect());
    let sql = "SELECT title, status FROM revamp_posts WHERE title LIKE 'l\\_%' ORDER BY 1";
    pair.right.shows(sql, &texts(&expected)).await;
    let expected = at_left(posts.iter().map(|state| format!("r_{state}|{state}")).collect());
    let sql = "SELECT post_title, post_status FROM legacy_posts WHERE post_title LIKE 'r\\_%' ORDER BY 1";
    pair.left.shows(sql, &texts(&expected)).await;

    for (user, post, state) in likes {
        let sql = format!("SELECT reaction_type FROM revamp_likes WHERE user_id = {user} AND post_id = {post}");
        pair.right.shows(&sql, &[state]).await;
        let (user, post) = (user + 1, post + 1);
        let sql = format!("SELECT like_type FROM legacy_likes WHERE user_id = {user} AND post_id = {post}");
        pair.left.shows(&sql, &[&state.to_lowercase()]).await;
    }
}

fn texts(lines: &[String]) -> Vec<&str> {
    lines.iter().map(String::as_str).collect()
}

pub(super) async fn an_update_of_legacy_arrives_as_a_write_of_the_engine(pair: Arc<Pair>) {
    let _scenario = scenario("A011", None);
    pair.left
        .run("UPDATE legacy_users SET full_name = 'Updated Name', source = 'legacy' WHERE username = 'john_doe'")
        .await;
    pair.right
        .shows(
            "SELECT display_name, source FROM revamp_users WHERE user_name = 'john_doe'",
            &["Updated Name|sync_service"],
        )
        .await;
}

async fn two_sessions_that_update_one_row_at_once_both_arrive(pair: Arc<Pair>) {
    let _scenario = scenario("A022", None);
    let name = pair.left.run("UPDATE legacy_users SET full_name = 'Concurrent Test 1' WHERE id = 1");
    let phone = pair.left.run("UPDATE legacy_users SET phone_number = '+0000000000' WHERE id = 1");
    tokio::join!(name, phone);
    let both = "SELECT display_name, mobile FROM revamp_users WHERE id = 1";
    pair.right.shows(both, &["Concurrent Test 1|+0000000000"]).await;
}

async fn inserts_on_both_sides_at_the_same_moment_both_arrive(pair: Arc<Pair>) {
    let _scenario = scenario("A027", None);
    let left = "INSERT INTO legacy_users (username, email) VALUES ('concurrent_l', 'cl@example.com')";
    let right = "INSERT INTO revamp_users (user_name, email_address) VALUES ('concurrent_r', 'cr@example.com')";
    tokio::join!(pair.left.run(left), pair.right.run(right));
    let sql = "SELECT username FROM legacy_users WHERE username LIKE 'concurrent%' ORDER BY 1";
    pair.left.shows(sql, &["concurrent_l", "concurrent_r"]).await;
    let sql = "SELECT user_name FROM revamp_users WHERE user_name LIKE 'concurrent%' ORDER BY 1";
    pair.right.shows(sql, &["concurrent_l", "concurrent_r"]).await;
    let log = pair.log().await.to_lowercase();
    assert!(!log.contains("deadlock"), "no deadlock surfaces");
}

async fn a_name_with_quotes_backslash_and_emoji_arrives_byte_for_byte(pair: Arc<Pair>) {
    let _scenario = scenario("A039", None);
    let mut name = "O'Neil \"the\" back\\slash 🦀 ".to_owned();
    while name.chars().count() < 50 {
        name.push('ß');
    }
    let literal = name.replace('\\', "\\\\").replace('\'', "''");
    pair.left
        .run(&format!("INSERT INTO legacy_users (username, email) VALUES ('{literal}', 'hostile@example.com')"))
        .await;
    let sql = "SELECT user_name, char_length(user_name) FROM revamp_users WHERE email_address = 'hostile@example.com'";
    pair.right.shows(sql, &[&format!("{name}|50")]).await;
}

async fn null_stays_null_and_an_empty_text_stays_empty(pair: Arc<Pair>) {
    let _scenario = scenario("A040", None);
    pair.left
        .run(
            "INSERT INTO legacy_users (username, email, full_name, phone_number)
             VALUES ('nothing', 'nothing@example.com', NULL, NULL)",
        )
        .await;
    let sql = "SELECT display_name, mobile FROM revamp_users WHERE user_name = 'nothing'";
    pair.right.shows(sql, &["NULL|NULL"]).await;
    pair.left.run("UPDATE legacy_users SET full_name = '', phone_number = '' WHERE username = 'nothing'").await;
    pair.right.shows(sql, &["|"]).await;
}

async fn a_text_of_64_kib_arrives_byte_for_byte(pair: Arc<Pair>) {
    let _scenario = scenario("A041", None);
    // 64 KiB less one byte, the most that TEXT holds, with something to lose in every block.
    let content: String =
        (0..).flat_map(|number| format!("{number:x} 'q' \\ ").into_bytes()).map(char::from).take(65_535).collect();
    let literal = content.replace('\\', "\\\\").replace('\'', "''");
    let sql = format!("INSERT INTO legacy_posts (user_id, post_title, post_content) VALUES (1, 'Long', '{literal}')");
    pair.left.run(&sql).await;
    let sql = "SELECT length(content), content FROM revamp_posts WHERE title = 'Long'";
    pair.right.shows(sql, &[&format!("65535|{content}")]).await;
}

pub(super) async fn an_update_that_changes_nothing_does_no_harm(pair: Arc<Pair>) {
    let _scenario = scenario("D013", Some("on the blog's tables"));
    pair.left.run("UPDATE legacy_posts SET post_title = post_title").await;
    pair.right.run("UPDATE revamp_posts SET title = title").await;
    pair.left.run("UPDATE legacy_posts SET view_count = view_count + 1 WHERE id = 1").await;
    let views = pair.left.row("SELECT view_count FROM legacy_posts WHERE id = 1").await;
    pair.right.shows("SELECT views FROM revamp_posts WHERE id = 1", &[&views]).await;
    pair.ready().await;
}

pub(super) async fn a_user_deleted_in_legacy_goes_in_revamp_without_a_trace_of_trouble(pair: Arc<Pair>) {
    let _scenario = scenario("A031", Some("without the mapping table: ids are the same on both sides"));
    let dead = pair.outcome("", "dead").await;
    // Bad records of other scenarios are errors.
    let errors = |log: &str| log.lines().filter(|line| line.contains("ERROR")).count();
    let before = errors(&pair.log().await);
    pair.left.run("DELETE FROM legacy_users WHERE username = 'test_user_1'").await;
    pair.right.shows(USER_1_AT_R, &[]).await;
    // The tombstone after the delete, too.
    pair.ready().await;
    assert_eq!(pair.outcome("", "dead").await, dead, "nothing is dead because of it");
    assert_eq!(pair.metric("tidelock_held_rows", &["state=\"parked\""]).await, 0.0);
    let log = pair.log().await;
    assert_eq!(errors(&log), before, "no error is logged: {log}");
}

async fn what_happens_while_the_engine_is_stopped_arrives_when_it_starts(pair: Arc<Pair>) {
    let _scenario = scenario("A019", None);
    pair.stop_workers(Duration::from_secs(40)).await;
    insert_user_1(&pair).await;
    pair.start_worker().await;
    pair.ready().await;
    user_1_arrives(&pair).await;
}

pub(super) async fn a_user_deleted_where_it_arrived_goes_where_it_came_from(pair: Arc<Pair>) {
    let _scenario = scenario("A032", None);
    assert_eq!(pair.right.rows(USER_1_AT_R).await.len(), 1);
    pair.right.run("DELETE FROM revamp_users WHERE user_name = 'test_user_1'").await;
    pair.left.shows("SELECT id FROM legacy_users WHERE username = 'test_user_1'", &[]).await;
}

async fn a_deleted_user_takes_posts_and_likes_along(pair: Arc<Pair>) {
    let _scenario = scenario("A034", None);
    let posts = "SELECT count(*) FROM revamp_posts WHERE author_id = 5";
    let likes = "SELECT count(*) FROM revamp_likes WHERE user_id = 5 OR post_id IN (SELECT id FROM revamp_posts WHERE author_id = 5)";
    assert_eq!((pair.right.row(posts).await.as_str(), pair.right.row(likes).await.as_str()), ("1", "3"));
    pair.left.run("DELETE FROM legacy_users WHERE username = 'bob_wilson'").await;
    pair.right.shows("SELECT id FROM revamp_users WHERE user_name = 'bob_wilson'", &[]).await;
    pair.right.shows(posts, &["0"]).await;
    pair.right.shows(likes, &["0"]).await;
    // The children that MySQL deletes along are deleted at both sides; neither side's cascade troubles the other.
    let ids = pair.left.rows("SELECT id FROM legacy_posts ORDER BY id").await;
    pair.right.shows("SELECT id FROM revamp_posts ORDER BY id", &texts(&ids)).await;
    assert_eq!(pair.metric("tidelock_held_rows", &["state=\"parked\""]).await, 0.0);
}

async fn sigterm_in_the_middle_of_a_thousand_rows_loses_and_doubles_nothing(pair: Arc<Pair>) {
    let _scenario = scenario("A045", None);
    const DRAIN_SECONDS: u64 = 10;
    let drain = DRAIN_SECONDS.to_string();
    let variables = [("TIDELOCK_TUNING__DRAIN_SECONDS", drain.as_str()), ("TIDELOCK_BATCH_ROWS", "50")];
    pair.stop_workers(Duration::from_secs(40)).await;
    pair.start_worker_with(&variables).await;
    pair.ready().await;
    let values: Vec<String> =
        (0..1000).map(|number| format!("('burst_{number}', 'burst_{number}@example.com')")).collect();
    let burst = format!("INSERT INTO legacy_users (username, email) VALUES {}", values.join(","));
    pair.left.run(&burst).await;
    let arrived = "SELECT count(*) FROM revamp_users WHERE user_name LIKE 'burst%'";
    tidelock_tests::wait::eventually(tidelock_tests::wait::arrival(), "the burst begins to arrive", || async {
        let count = pair.right.row(arrived).await;
        if count == "0" { Err(count) } else { Ok(()) }
    })
    .await;
    // SIGTERM; ends within the configured time, with code 0.
    pair.stop_workers(Duration::from_secs(DRAIN_SECONDS + 1)).await;
    pair.start_worker().await;
    pair.ready().await;
    pair.right.shows(arrived, &["1000"]).await;
    let sql = "SELECT id, username, email FROM legacy_users WHERE username LIKE 'burst%' ORDER BY id";
    let expected = pair.left.rows(sql).await;
    let sql = "SELECT id, user_name, email_address FROM revamp_users WHERE user_name LIKE 'burst%' ORDER BY id";
    pair.right.shows(sql, &texts(&expected)).await;
    assert_eq!(pair.metric("tidelock_held_rows", &["state=\"parked\""]).await, 0.0);
}
