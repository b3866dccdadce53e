//! What the demo's two applications do: plain SQL through connections of their own, as any application would.
//!
//! The demo's links are blind (`conflict: none`), so within a scene the two sides never change the same row; between scenes they do,
//! in turns.

use connect::sql::connection::SqlConnection;
use topology::ErrorKind;
use topology::data::Value;

use super::world::Side;
use crate::exit::{Failure, Result};

/// The statements of one blog. `?1`, `?2` … are parameters.
struct Statements {
    new_user: &'static str,
    new_post: &'static str,
    new_like: &'static str,
    view_post: &'static str,
    retitle_post: &'static str,
    user_status: &'static str,
    statuses: [&'static str; 3],
    delete_like: &'static str,
    delete_post: &'static str,
    renumber_user: &'static str,
}

const LEGACY: Statements = Statements {
    new_user: "INSERT INTO legacy_users (id, username, email, full_name) VALUES (?1, ?2, ?3, ?4)",
    new_post: "INSERT INTO legacy_posts (id, user_id, post_title, post_content) VALUES (?1, ?2, ?3, ?4)",
    new_like: "INSERT INTO legacy_likes (id, user_id, post_id, like_type) VALUES (?1, ?2, ?3, 'wow')",
    view_post: "UPDATE legacy_posts SET view_count = view_count + 1 WHERE id = ?1",
    retitle_post: "UPDATE legacy_posts SET post_title = ?2, updated_at = CURRENT_TIMESTAMP WHERE id = ?1",
    user_status: "UPDATE legacy_users SET status = ?2, updated_at = CURRENT_TIMESTAMP WHERE id = ?1",
    statuses: ["active", "inactive", "suspended"],
    delete_like: "DELETE FROM legacy_likes WHERE id = ?1",
    delete_post: "DELETE FROM legacy_posts WHERE id = ?1",
    renumber_user: "UPDATE legacy_users SET id = ?2 WHERE id = ?1",
};

const REVAMP: Statements = Statements {
    new_user: "INSERT INTO revamp_users (id, user_name, email_address, display_name) VALUES (?1, ?2, ?3, ?4)",
    new_post: "INSERT INTO revamp_posts (id, author_id, title, content) VALUES (?1, ?2, ?3, ?4)",
    new_like: "INSERT INTO revamp_likes (id, user_id, post_id, reaction_type) VALUES (?1, ?2, ?3, 'Love')",
    view_post: "UPDATE revamp_posts SET views = views + 1 WHERE id = ?1",
    retitle_post: "UPDATE revamp_posts SET title = ?2, updated_at = CURRENT_TIMESTAMP WHERE id = ?1",
    user_status: "UPDATE revamp_users SET account_status = ?2, updated_at = CURRENT_TIMESTAMP WHERE id = ?1",
    statuses: ["Active", "Inactive", "Suspended"],
    delete_like: "DELETE FROM revamp_likes WHERE id = ?1",
    delete_post: "DELETE FROM revamp_posts WHERE id = ?1",
    renumber_user: "UPDATE revamp_users SET id = ?2 WHERE id = ?1",
};

/// Ids of rows made by the applications begin here; odd ones are allotted by legacy, even ones by revamp.
const FIRST_ID: i64 = 100;

/// One application.
pub(super) struct Application {
    side: Side,
    sql: &'static Statements,
    connection: Box<dyn SqlConnection>,
    users: i64,
    posts: i64,
    likes: i64,
    last: String,
}

impl Application {
    /// An application of one side.
    pub(super) fn new(side: Side, connection: Box<dyn SqlConnection>) -> Application {
        let sql = match side {
            Side::Legacy => &LEGACY,
            Side::Revamp => &REVAMP,
        };
        Application { side, sql, connection, users: 0, posts: 0, likes: 0, last: String::new() }
    }

    /// Its last statement, for people.
    pub(super) fn last(&self) -> &str {
        &self.last
    }

    /// One moment in the life of a blog: a few changes of rows that began on this side.
    pub(super) async fn live(&mut self, step: u64) -> Result<()> {
        if step.is_multiple_of(3) {
            self.add_user().await?;
        }
        if step.is_multiple_of(2) {
            self.add_post().await?;
            self.add_like(self.user_id(self.users), self.post_id(self.posts)).await?;
        }
        self.view_post(self.post_id(1 + step.cast_signed() % self.posts)).await?;
        if step % 4 == 1 {
            let title = format!("Title {step}, 'quoted', naïve 🌊");
            self.retitle_post(self.post_id(self.posts), &title).await?;
        }
        if step % 5 == 2 {
            self.set_status(self.user_id(self.users), (step % 3) as usize).await?;
        }
        if step % 7 == 3 {
            let like = self.like_id(self.likes);
            self.run(self.sql.delete_like, &[like.into()]).await?;
        }
        Ok(())
    }

    /// Changes and deletes rows that came from the other side. `users` and `posts` are ids there; the last post is deleted, with its
    /// likes.
    pub(super) async fn change_theirs(&mut self, users: &[i64], posts: &[i64]) -> Result<()> {
        for (number, user) in users.iter().enumerate() {
            self.set_status(*user, 1 + number % 2).await?;
        }
        let Some((doomed, kept)) = posts.split_last() else { return Ok(()) };
        for post in kept {
            self.view_post(*post).await?;
            self.retitle_post(*post, "Retitled by the other side").await?;
            self.add_like(self.user_id(1), *post).await?;
        }
        self.run(self.sql.delete_post, &[(*doomed).into()]).await
    }

    /// Sets a user's state to the number-th one.
    pub(super) async fn set_status(&mut self, user: i64, number: usize) -> Result<()> {
        let status = self.sql.statuses[number % self.sql.statuses.len()];
        self.run(self.sql.user_status, &[user.into(), status.into()]).await
    }

    /// Makes a user and gives it another id: a change of the primary key.
    pub(super) async fn renumber(&mut self) -> Result<()> {
        self.add_user().await?;
        let id = self.user_id(self.users);
        self.run(self.sql.renumber_user, &[id.into(), (id + 1_000_000).into()]).await
    }

    async fn add_user(&mut self) -> Result<()> {
        self.users += 1;
        let id = self.user_id(self.users);
        let name = format!("{}_{id}", self.side.name());
        let email = format!("{name}@example.com");
        self.run(self.sql.new_user, &[id.into(), name.as_str().into(), email.as_str().into(), Value::Null]).await
    }

    async fn add_post(&mut self) -> Result<()> {
        self.posts += 1;
        let (id, user) = (self.post_id(self.posts), self.user_id(self.users));
        let content = format!("Post {id} of user {user}.\n\tBackslash \\, percent %, null byte's neighbour \u{1}.");
        self.run(self.sql.new_post, &[id.into(), user.into(), "A new post".into(), content.as_str().into()]).await
    }

    async fn add_like(&mut self, user: i64, post: i64) -> Result<()> {
        self.likes += 1;
        let id = self.like_id(self.likes);
        self.run(self.sql.new_like, &[id.into(), user.into(), post.into()]).await
    }

    async fn view_post(&mut self, post: i64) -> Result<()> {
        self.run(self.sql.view_post, &[post.into()]).await
    }

    async fn retitle_post(&mut self, post: i64, title: &str) -> Result<()> {
        self.run(self.sql.retitle_post, &[post.into(), title.into()]).await
    }

    fn user_id(&self, number: i64) -> i64 {
        self.own_id(number)
    }

    fn post_id(&self, number: i64) -> i64 {
        self.own_id(number)
    }

    fn like_id(&self, number: i64) -> i64 {
        self.own_id(number)
    }

    fn own_id(&self, number: i64) -> i64 {
        let first = match self.side {
            Side::Legacy => FIRST_ID + 1,
            Side::Revamp => FIRST_ID,
        };
        first + 2 * number
    }

    /// Runs one statement, waiting as long as somebody else writes.
    async fn run(&mut self, sql: &str, parameters: &[Value]) -> Result<()> {
        while let Err(error) = self.connection.execute(sql, parameters).await {
            let error = topology::Error::from(error);
            if error.kind != ErrorKind::Transient {
                let (side, error) = (self.side.name(), crate::exit::with_causes(&error));
                return Err(Failure::Run(format!("the demo's application at {side} failed: {error}")));
            }
        }
        self.last = spelled(sql, parameters);
        Ok(())
    }
}

/// A statement with its parameters, on one line, for people.
fn spelled(sql: &str, parameters: &[Value]) -> String {
    let mut text = sql.to_owned();
    for (at, value) in parameters.iter().enumerate().rev() {
        let value = match value {
            Value::Null => "NULL".to_owned(),
            Value::I64(number) => number.to_string(),
            Value::Text(text) => format!("'{}'", text.replace(|c: char| c.is_control(), " ")),
            _ => "…".to_owned(),
        };
        text = text.replace(&format!("?{}", at + 1), &value);
    }
    text
}
