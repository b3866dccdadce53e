//! Faults between the writer and its session, on real servers: lost replies, errors that nobody has classified; and what a batch costs.

use std::sync::atomic::{AtomicUsize, Ordering};
use std::sync::{Arc, Mutex};

use topology::batch::ChangeBatch;
use topology::data::{Arena, Cell, CellRange, Value};
use topology::sink::{ApplyError, OutcomeCounts, SinkWriter};
use topology::{Error, ErrorKind, Stage};

use tidelock_connect::sql::error::{SqlError, SqlResult};
use tidelock_connect::sql::plan::{RowOperation, Shape};
use tidelock_connect::sql::writer::{HeldLimits, SqlWriter, WriterOptions};

use crate::batches::{Builder, apply, claim};
use crate::conformance;
use crate::faulty::{CommitFault, Faults, Faulty};
use crate::target::{Engine, SinkTableSet, Target, n, options, t};

/// What the sessions do wrong, and what they count.
#[derive(Default)]
struct Script {
    /// The next COMMIT is done and its reply lost.
    lose_commit: AtomicUsize,
    /// The next COMMIT never reaches the server.
    cut_commit: AtomicUsize,
    /// The next ROLLBACK is never answered.
    lose_rollback: AtomicUsize,
    /// Rows whose first cell is at least this number fail with a code that is in no table; 0: none.
    unknown_from: AtomicUsize,
    /// Every write of users' rows fails with an error of this class.
    fails: Mutex<Option<ErrorKind>>,
    /// Writes of users' rows.
    writes: AtomicUsize,
    /// Sessions opened.
    sessions: AtomicUsize,
}

fn taken(counter: &AtomicUsize) -> bool {
    counter.fetch_update(Ordering::SeqCst, Ordering::SeqCst, |left| left.checked_sub(1)).is_ok()
}

impl Faults for Script {
    fn opens(&self) {
        self.sessions.fetch_add(1, Ordering::SeqCst);
    }

    fn write(&self, shape: &Shape, arena: &Arena, rows: &[CellRange]) -> SqlResult<()> {
        if shape.operation != RowOperation::Upsert || shape.plan.name.starts_with("tidelock") {
            return Ok(());
        }
        self.writes.fetch_add(1, Ordering::SeqCst);
        if let Some(kind) = *self.fails.lock().unwrap() {
            return Err(SqlError::known(Error::new(kind, Stage::Write, "scripted", "scripted").with_code("SCRIPTED")));
        }
        let limit = self.unknown_from.load(Ordering::SeqCst) as i64;
        let fails = |row: &CellRange| matches!(arena.row(*row)[0], Cell::I64(id) if id >= limit);
        if limit > 0 && rows.iter().any(fails) {
            let error = Error::new(ErrorKind::Environment, Stage::Write, "odd", "scripted").with_code("ODD");
            return Err(SqlError::unknown(error));
        }
        Ok(())
    }

    fn is_lost_at_rollback(&self) -> bool {
        taken(&self.lose_rollback)
    }

    fn commit(&self) -> Option<CommitFault> {
        if taken(&self.cut_commit) {
            return Some(CommitFault::Cut);
        }
        taken(&self.lose_commit).then_some(CommitFault::ReplyLost)
    }
}

fn writer(target: &Target, tables: &SinkTableSet) -> (SqlWriter, Arc<Script>) {
    writer_with(target, options(tables, HeldLimits::default()))
}

fn writer_with(target: &Target, options: WriterOptions) -> (SqlWriter, Arc<Script>) {
    let script = Arc::new(Script::default());
    let connector = Faulty { inner: target.connector(), faults: Arc::clone(&script) };
    (SqlWriter::new(Box::new(connector), options), script)
}

async fn users(target: &mut Target) -> SinkTableSet {
    target.run(&["CREATE TABLE users (id bigint PRIMARY KEY, name varchar(100) NOT NULL)"]).await;
    vec![target.table(0, "users", &["id", "name"], &["id"]).await]
}

async fn a_lost_reply_to_commit_is_unknown_until_the_next_claim_tells(target: &mut Target) {
    let tables = users(target).await;
    let (mut writer, script) = writer(target, &tables);
    let mut claims = [claim(&mut writer, "t", 0, 1).await];
    for (round, fault) in [&script.lose_commit, &script.cut_commit].into_iter().enumerate() {
        let id = round as i64;
        let batch = Builder::new(&claims, &tables).upsert(0, &[n(id), t("a")]).finish();
        fault.store(1, Ordering::SeqCst);
        let sessions = script.sessions.load(Ordering::SeqCst);
        let error = writer.apply(&batch).await.unwrap_err();
        assert!(matches!(error, ApplyError::Unknown(_)), "{error:?}");
        claims = [claim(&mut writer, "t", 0, 10 + round as u128).await];
        assert_eq!(script.sessions.load(Ordering::SeqCst), sessions + 1, "never the same connection (rule L4)");
        let committed = target.value(&format!("SELECT COUNT(*) FROM users WHERE id = {id}")).await;
        assert_eq!(committed, if round == 0 { "1" } else { "0" });
        assert_eq!(claims[0].next_offset, 1, "the row decides: done in the first round, not moved in the second");
    }
}

async fn a_connection_that_is_lost_at_a_rollback_costs_another_try(target: &mut Target) {
    let tables = users(target).await;
    let (mut writer, script) = writer(target, &tables);
    let mut claims = [claim(&mut writer, "t", 0, 1).await];
    // A row that is refused, and a claim that somebody else has by now: both are dealt with on the same session, if there is one.
    let bad = Builder::new(&claims, &tables).upsert(0, &[n(1), Value::Null]).finish();
    script.lose_rollback.store(1, Ordering::SeqCst);
    let error = writer.apply(&bad).await.unwrap_err();
    assert!(matches!(&error, ApplyError::Failed(error) if error.kind == ErrorKind::Transient), "{error:?}");
    let mut other = target.writer(&tables);
    let stolen = claim(&mut other, "t", 0, 2).await;
    script.lose_rollback.store(1, Ordering::SeqCst);
    let error = writer.apply(&bad).await.unwrap_err();
    assert!(matches!(&error, ApplyError::Failed(error) if error.kind == ErrorKind::Transient), "{error:?}");
    assert!(matches!(writer.apply(&bad).await, Err(ApplyError::Cas(_))));
    claims = [stolen];
    let bad = Builder::new(&claims, &tables).upsert(0, &[n(1), Value::Null]).finish();
    let applied = apply(&mut other, &mut claims, &bad).await;
    assert_eq!(applied.outcomes[0].1.dead, 1);
}

/// Rule O1: the release of a held row is not claimed anew after such a reply, so nothing that the writer remembers may number outputs.
async fn no_output_gets_a_number_twice_though_the_reply_to_a_release_is_lost(target: &mut Target) {
    // given a parked row that dies when it is tried again, in a transaction that is committed and not heard of
    let tables = users(target).await;
    let held = HeldLimits { retry_first_ms: 0, attempts_max: Some(2), ..HeldLimits::default() };
    let options = WriterOptions { dead_letters: Some("dead.letters".into()), ..options(&tables, held) };
    let (mut writer, script) = writer_with(target, options);
    let mut claims = [claim(&mut writer, "t", 0, 1).await];
    *script.fails.lock().unwrap() = Some(ErrorKind::Dependency);
    let late = [n(1), t("late")];
    let batch = Builder::new(&claims, &tables).upsert(0, &late).finish();
    apply(&mut writer, &mut claims, &batch).await;
    target.run(&["UPDATE tidelock_held SET retry_at_ms = 0"]).await;
    let due = writer.due_held(&claims, 10).await.unwrap();
    script.lose_commit.store(1, Ordering::SeqCst);
    let batch = Builder::new(&claims, &tables).upsert(0, &late).finish_release(&[due[0].id]);
    assert!(matches!(writer.apply(&batch).await, Err(ApplyError::Unknown(_))));
    // when another record dies
    let batch = Builder::new(&claims, &tables).dead(0, "broken bytes").finish();
    apply(&mut writer, &mut claims, &batch).await;
    // then
    assert_eq!(target.rows("SELECT seq FROM tidelock_outbox ORDER BY seq").await, ["1", "2"]);
}

fn two_thousand(claims: &[topology::ledger::Claim], tables: &SinkTableSet, bad: i64) -> ChangeBatch {
    let mut builder = Builder::new(claims, tables);
    for id in 0..2000 {
        builder.upsert(0, &[n(id), if id == bad { Value::Null } else { t("fine") }]);
    }
    builder.finish()
}

async fn one_bad_row_costs_a_logarithm_of_writes(target: &mut Target) {
    let tables = users(target).await;
    let (mut writer, script) = writer(target, &tables);
    let mut claims = [claim(&mut writer, "t", 0, 1).await];
    let batch = two_thousand(&claims, &tables, 777);
    apply(&mut writer, &mut claims, &batch).await;
    let writes = script.writes.load(Ordering::SeqCst);
    assert!(writes <= 2 + 2 * 11 + 1, "{writes} writes for one bad row among 2000 (2·log2 2000 is 22)");
    assert_eq!(target.value("SELECT COUNT(*) FROM users").await, "1999");
}

async fn a_good_batch_costs_one_write(target: &mut Target) {
    let tables = users(target).await;
    let (mut writer, script) = writer(target, &tables);
    let mut claims = [claim(&mut writer, "t", 0, 1).await];
    let batch = two_thousand(&claims, &tables, -1);
    apply(&mut writer, &mut claims, &batch).await;
    assert_eq!(script.writes.load(Ordering::SeqCst), 1);
    assert_eq!(script.sessions.load(Ordering::SeqCst), 1);
}

async fn an_unknown_code_is_data_only_when_one_row_is_isolated(target: &mut Target) {
    let tables = users(target).await;
    let (mut writer, script) = writer(target, &tables);
    let mut claims = [claim(&mut writer, "t", 0, 1).await];
    script.unknown_from.store(3, Ordering::SeqCst);
    let mut builder = Builder::new(&claims, &tables);
    for id in 1..4 {
        builder.upsert(0, &[n(id), t("a")]);
    }
    let applied = apply(&mut writer, &mut claims, &builder.finish()).await;
    assert_eq!(applied.outcomes[0].1, OutcomeCounts { applied: 2, dead: 1, ..OutcomeCounts::default() });

    // Now every row fails so: it is not the rows, and nothing may be thrown away.
    script.unknown_from.store(1, Ordering::SeqCst);
    let mut builder = Builder::new(&claims, &tables);
    for id in 11..14 {
        builder.upsert(0, &[n(id), t("a")]);
    }
    let error = writer.apply(&builder.finish()).await.unwrap_err();
    assert!(matches!(&error, ApplyError::Failed(error) if error.kind == ErrorKind::Environment), "{error:?}");
    assert_eq!(target.value("SELECT COUNT(*) FROM tidelock_held").await, "1");
}

/// P8: values stay out of errors. A trigger of the user's may say what it likes, under a code that is in no table.
async fn what_a_server_says_under_an_unknown_code_is_not_repeated(target: &mut Target) {
    // given
    let tables = users(target).await;
    let refuses: &[&str] = match target.engine {
        // What its triggers say comes under one code, which is known.
        Engine::Sqlite => {
            &["CREATE TRIGGER refuses BEFORE INSERT ON users BEGIN SELECT RAISE(ABORT, 'refused: secret'); END"]
        }
        Engine::Postgres => &[
            "CREATE FUNCTION refuse() RETURNS trigger LANGUAGE plpgsql AS \
             $$ BEGIN RAISE EXCEPTION 'refused: %', NEW.name USING ERRCODE = '99001'; END $$",
            "CREATE TRIGGER refuses BEFORE INSERT ON users FOR EACH ROW EXECUTE FUNCTION refuse()",
        ],
        Engine::MySql | Engine::MariaDb => &["CREATE TRIGGER refuses BEFORE INSERT ON users FOR EACH ROW BEGIN \
             DECLARE said varchar(100); SET said = CONCAT('refused: ', NEW.name); \
             SIGNAL SQLSTATE '99001' SET MYSQL_ERRNO = 19001, MESSAGE_TEXT = said; END"],
    };
    target.run_as_admin(refuses).await;
    let mut writer = target.writer(&tables);
    let claims = [claim(&mut writer, "t", 0, 1).await];
    let mut builder = Builder::new(&claims, &tables);
    for id in 1..4 {
        builder.upsert(0, &[n(id), t("secret")]);
    }
    // when
    let applied = writer.apply(&builder.finish()).await;
    // then
    if target.engine == Engine::Sqlite {
        assert!(applied.is_ok(), "{applied:?}");
        let said = target.rows("SELECT message FROM tidelock_held").await;
        assert!(said.len() == 3 && said.iter().all(|message| !message.contains("secret")), "{said:?}");
        return;
    }
    let Err(ApplyError::Failed(error)) = applied else { panic!("{applied:?}") };
    assert_eq!(error.kind, ErrorKind::Environment, "nothing is dead, for all rows are refused");
    assert!(error.code.as_deref().is_some_and(|code| code.contains("99001")), "what to look for: {error}");
    assert!(error.to_string().contains("users") && !format!("{error:?}").contains("secret"), "{error:?}");
}

async fn what_is_not_the_records_fault_never_makes_a_dead_letter(target: &mut Target) {
    let tables = users(target).await;
    let (mut writer, script) = writer(target, &tables);
    let mut claims = [claim(&mut writer, "t", 0, 1).await];
    // A dead record whose replay meets the same errors, too.
    let mut builder = Builder::new(&claims, &tables);
    builder.dead_with_key(0, "refused by the lens", Some(&[n(9)]));
    apply(&mut writer, &mut claims, &builder.finish()).await;
    target.run(&["UPDATE tidelock_held SET state = 'replay', retry_at_ms = 0"]).await;
    let innocent = ErrorKind::ALL.into_iter().filter(|kind| !matches!(kind, ErrorKind::Data | ErrorKind::Dependency));
    for kind in innocent {
        *script.fails.lock().unwrap() = Some(kind);
        let batch = two_thousand(&claims, &tables, -1);
        for _ in 0..3 {
            match writer.apply(&batch).await {
                Err(ApplyError::Failed(error)) => assert_eq!(error.kind, kind),
                Ok(applied) => assert_eq!((kind, applied.paused.len()), (ErrorKind::Schema, 1)),
                Err(other) => panic!("{kind:?}: {other:?}"),
            }
        }
        let due = writer.due_held(&claims, 10).await.unwrap();
        let batch = Builder::new(&claims, &tables).upsert(0, &[n(9), t("late")]).finish_release(&[due[0].id]);
        assert!(writer.apply(&batch).await.map_or(true, |applied| !applied.paused.is_empty()), "{kind:?}");
        assert_eq!(target.rows("SELECT state, attempts FROM tidelock_held").await, ["replay|1"], "{kind:?}");
        assert_eq!(
            target.value("SELECT next_offset FROM tidelock_progress").await,
            "1",
            "{kind:?}: no progress either"
        );
    }
    *script.fails.lock().unwrap() = None;
    let batch = two_thousand(&claims, &tables, -1);
    apply(&mut writer, &mut claims, &batch).await;
    assert_eq!(target.value("SELECT COUNT(*) FROM users").await, "2000", "and nothing is lost by the wait");
}

async fn children_that_come_before_their_parents_by_the_batch_cost_a_look_not_a_search(target: &mut Target) {
    target
        .run(&[
            "CREATE TABLE users (id bigint PRIMARY KEY, name varchar(100))",
            "CREATE TABLE posts (id bigint PRIMARY KEY, user_id bigint, title varchar(100), FOREIGN KEY (user_id) REFERENCES users (id))",
        ])
        .await;
    let tables = vec![
        target.table(0, "users", &["id", "name"], &["id"]).await,
        target.table(1, "posts", &["id", "user_id", "title"], &["id"]).await,
    ];
    let (mut writer, script) = writer(target, &tables);
    let mut claims = [claim(&mut writer, "t", 0, 1).await];
    target.run(&["INSERT INTO users VALUES (1, 'here')"]).await;
    let posts = |builder: &mut Builder<'_>| {
        for id in 0..500 {
            let user = if id % 10 == 0 { Value::Null } else { n(id % 5) };
            builder.upsert(1, &[n(id), user, t("x")]);
        }
    };
    let mut builder = Builder::new(&claims, &tables);
    posts(&mut builder);
    let applied = apply(&mut writer, &mut claims, &builder.finish()).await;
    assert_eq!((applied.outcomes[0].1.applied, applied.outcomes[0].1.parked), (150, 350));
    assert!(script.writes.load(Ordering::SeqCst) <= 3);
    assert_eq!(target.value("SELECT COUNT(*) FROM posts").await, "150");
    assert_eq!(target.rows("SELECT DISTINCT waits_for FROM tidelock_held").await, ["users"]);

    // The parents come; the children are released together.
    target.run(&["INSERT INTO users VALUES (0, 'a'), (2, 'b'), (3, 'c'), (4, 'd')"]).await;
    target.run(&["UPDATE tidelock_held SET retry_at_ms = 0"]).await;
    let due = writer.due_held(&claims, 1000).await.unwrap();
    let ids: Vec<_> = due.iter().map(|row| row.id).collect();
    assert_eq!(ids.len(), 350);
    script.writes.store(0, Ordering::SeqCst);
    let mut builder = Builder::new(&claims, &tables);
    for id in &ids {
        builder.upsert(1, &[n(id.offset), n(id.offset % 5), t("x")]);
    }
    writer.apply(&builder.finish_release(&ids)).await.unwrap();
    assert_eq!(script.writes.load(Ordering::SeqCst), 1);
    assert_eq!(target.value("SELECT COUNT(*) FROM posts").await, "500");
    assert_eq!(target.value("SELECT COUNT(*) FROM tidelock_held").await, "0");
}

conformance!(
    a_lost_reply_to_commit_is_unknown_until_the_next_claim_tells,
    a_connection_that_is_lost_at_a_rollback_costs_another_try,
    no_output_gets_a_number_twice_though_the_reply_to_a_release_is_lost,
    one_bad_row_costs_a_logarithm_of_writes,
    a_good_batch_costs_one_write,
    an_unknown_code_is_data_only_when_one_row_is_isolated,
    what_a_server_says_under_an_unknown_code_is_not_repeated,
    what_is_not_the_records_fault_never_makes_a_dead_letter,
    children_that_come_before_their_parents_by_the_batch_cost_a_look_not_a_search,
);
