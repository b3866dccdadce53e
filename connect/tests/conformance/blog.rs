//! Users and their posts: the tables of the tests in which rows wait for others or are refused.

use topology::data::Value;

use crate::target::{SinkTableSet, Target, n, t};

/// `users(id, name NOT NULL, email UNIQUE)` is entity 0, `posts(id, user_id → users, title)` entity 1.
pub(crate) async fn blog(target: &mut Target) -> SinkTableSet {
    target
        .run(&[
            "CREATE TABLE users (id bigint PRIMARY KEY, name varchar(10) NOT NULL, email varchar(100) UNIQUE)",
            "CREATE TABLE posts (id bigint PRIMARY KEY, user_id bigint NOT NULL, title varchar(100), \
             CONSTRAINT posts_user FOREIGN KEY (user_id) REFERENCES users (id))",
        ])
        .await;
    vec![
        target.table(0, "users", &["id", "name", "email"], &["id"]).await,
        target.table(1, "posts", &["id", "user_id", "title"], &["id"]).await,
    ]
}

pub(crate) fn user(id: i64, email: &str) -> [Value; 3] {
    [n(id), t("name"), t(email)]
}

/// The table refuses it: it has no name.
pub(crate) fn bad_user(id: i64, email: &str) -> [Value; 3] {
    [n(id), Value::Null, t(email)]
}

pub(crate) fn post(id: i64, user: i64, title: &str) -> [Value; 3] {
    [n(id), n(user), t(title)]
}
