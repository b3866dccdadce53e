//! The blog between MariaDB and PostgreSQL 18: the scenarios that differ most by engine, once more.

use std::sync::Arc;

use tidelock_tests::example::BLOG_MARIADB_POSTGRES;
use tidelock_tests::group::Group;
use tidelock_tests::pair::Pair;
use tidelock_tests::scenario::scenario;

use super::blog;

#[tokio::test]
async fn the_blog_stays_in_step_between_mariadb_and_postgres() {
    let pair = Pair::prepare(BLOG_MARIADB_POSTGRES.named("a"), None).await;
    pair.start_worker().await;
    let mut group = Group::of(pair);
    group.show(existing_rows_arrive_both_ways).await;
    group.show(a_user_of_mariadb_arrives_in_postgres).await;
    group.show(a_user_of_postgres_arrives_in_mariadb).await;
    group.show(blog::an_update_of_legacy_arrives_as_a_write_of_the_engine).await;
    group.show(blog::an_update_that_changes_nothing_does_no_harm).await;
    group.show(blog::a_user_deleted_in_legacy_goes_in_revamp_without_a_trace_of_trouble).await;
    group.show(a_user_of_mariadb_arrives_again_after_it_was_deleted).await;
    group.show(blog::a_user_deleted_where_it_arrived_goes_where_it_came_from).await;
    group.end().await;
}

async fn existing_rows_arrive_both_ways(pair: Arc<Pair>) {
    pair.ready().await;
    for (table, rows) in [("users", "6"), ("posts", "8"), ("likes", "8")] {
        pair.right.shows(&format!("SELECT count(*) FROM revamp_{table}"), &[rows]).await;
        pair.left.shows(&format!("SELECT count(*) FROM legacy_{table}"), &[rows]).await;
    }
}

async fn a_user_of_mariadb_arrives_in_postgres(pair: Arc<Pair>) {
    let _scenario = scenario("A001", None);
    blog::insert_user_1(&pair).await;
    blog::user_1_arrives(&pair).await;
}

async fn a_user_of_mariadb_arrives_again_after_it_was_deleted(pair: Arc<Pair>) {
    blog::insert_user_1(&pair).await;
    blog::user_1_arrives(&pair).await;
}

async fn a_user_of_postgres_arrives_in_mariadb(pair: Arc<Pair>) {
    let _scenario = scenario("A002", None);
    blog::insert_user_2(&pair).await;
    blog::user_2_arrives(&pair).await;
}
