//! Triggers, log and snapshot against real SQLite files.

use std::path::PathBuf;

use proptest::prelude::*;
use sqlx::{AssertSqlSafe, SqliteConnection};
use topology::ErrorKind;
use topology::record::Operation;

use super::image::{Image, Stored};
use super::install::{self, SnapshotChoice, install, outdated, remove};
use super::log::{ChangeLog, LoggedChange, connect};
use super::snapshot::{PIECE_ROWS, copy_piece};

/// A database file that goes away with the test.
pub(super) struct Database {
    path: PathBuf,
}

impl Database {
    pub(super) async fn new(schema: &str) -> (Database, ChangeLog) {
        let name = format!("tidelock-capture-{}-{:016x}.db", std::process::id(), crate::random::random());
        let path = std::env::temp_dir().join(name);
        std::fs::write(&path, b"").expect("a temporary file");
        let database = Database { path };
        let mut user = database.user().await;
        run(&mut user, schema).await;
        let log = ChangeLog::open(&database.url()).await.unwrap();
        (database, log)
    }

    pub(super) fn url(&self) -> String {
        format!("sqlite:{}", self.path.display())
    }

    /// Another connection, as an application has it.
    pub(super) async fn user(&self) -> SqliteConnection {
        connect(&self.url()).await.unwrap()
    }
}

impl Drop for Database {
    fn drop(&mut self) {
        let _ = std::fs::remove_file(&self.path);
    }
}

pub(super) async fn run(connection: &mut SqliteConnection, sql: &str) {
    sqlx::raw_sql(AssertSqlSafe(sql.to_owned())).execute(connection).await.unwrap();
}

pub(super) async fn captured(log: &mut ChangeLog, tables: &[&str], snapshot: SnapshotChoice) {
    let tables: Vec<String> = tables.iter().map(|table| (*table).to_owned()).collect();
    install(log.connection(), &tables, snapshot).await.unwrap();
}

async fn all(log: &mut ChangeLog) -> Vec<LoggedChange> {
    log.read(0, 10_000, usize::MAX).await.unwrap()
}

fn cell<'a>(image: &'a Option<Image>, name: &str) -> &'a Stored {
    let image = image.as_ref().expect("an image");
    &image.iter().find(|(column, _)| column == name).expect("the column").1
}

fn letters(changes: &[LoggedChange]) -> String {
    changes.iter().map(|change| change.operation.letter()).collect()
}

#[tokio::test]
async fn every_change_is_logged_once_in_order_with_key_before_and_after() {
    let (database, mut log) = Database::new("CREATE TABLE users (id INTEGER PRIMARY KEY, name TEXT)").await;
    captured(&mut log, &["users"], SnapshotChoice::Never).await;
    let mut user = database.user().await;
    run(
        &mut user,
        "INSERT INTO users VALUES (1, 'a'); UPDATE users SET name = 'b'; UPDATE users SET id = 2; DELETE FROM users",
    )
    .await;
    let changes = all(&mut log).await;
    assert_eq!(letters(&changes), "cuud");
    assert_eq!((changes[0].before.is_none(), cell(&changes[0].after, "name")), (true, &Stored::Text("a".into())));
    assert_eq!(cell(&changes[1].before, "name"), &Stored::Text("a".into()));
    assert_eq!(cell(&changes[1].after, "name"), &Stored::Text("b".into()));
    assert_eq!(changes[2].key, [("id".to_owned(), Stored::Integer(1))], "the key that the row had");
    assert_eq!(cell(&changes[2].after, "id"), &Stored::Integer(2));
    assert_eq!((changes[3].key[0].1.clone(), changes[3].after.is_none()), (Stored::Integer(2), true));
    assert!(changes.iter().all(|change| change.tag.is_none() && change.committed_at_ms > 1_700_000_000_000));
}

#[tokio::test]
async fn a_change_that_is_rolled_back_is_not_logged() {
    let (database, mut log) = Database::new("CREATE TABLE t (id INTEGER PRIMARY KEY)").await;
    captured(&mut log, &["t"], SnapshotChoice::Never).await;
    let mut user = database.user().await;
    run(&mut user, "BEGIN; INSERT INTO t VALUES (1); ROLLBACK; INSERT INTO t VALUES (2)").await;
    let changes = all(&mut log).await;
    assert_eq!(changes.len(), 1);
    assert_eq!(changes[0].key[0].1, Stored::Integer(2));
}

#[tokio::test]
async fn the_tag_in_force_is_carried_by_every_change_of_its_transaction_alone() {
    let (database, mut log) = Database::new("CREATE TABLE t (id INTEGER PRIMARY KEY)").await;
    captured(&mut log, &["t"], SnapshotChoice::Never).await;
    let mut user = database.user().await;
    run(
        &mut user,
        "INSERT INTO t VALUES (1);
         BEGIN IMMEDIATE; UPDATE tidelock_origin SET tag = 'revamp' WHERE id = 1;
         INSERT INTO t VALUES (2); DELETE FROM t WHERE id = 1;
         UPDATE tidelock_origin SET tag = NULL WHERE id = 1; COMMIT;
         DELETE FROM t",
    )
    .await;
    let tags: Vec<Option<String>> = all(&mut log).await.into_iter().map(|change| change.tag).collect();
    assert_eq!(tags, [None, Some("revamp".to_owned()), Some("revamp".to_owned()), None]);
}

#[tokio::test]
async fn children_that_a_cascade_deletes_are_logged() {
    let (database, mut log) = Database::new(
        "CREATE TABLE p (id INTEGER PRIMARY KEY);
         CREATE TABLE c (id INTEGER PRIMARY KEY, p INTEGER REFERENCES p ON DELETE CASCADE);
         INSERT INTO p VALUES (1); INSERT INTO c VALUES (1, 1), (2, 1)",
    )
    .await;
    captured(&mut log, &["p", "c"], SnapshotChoice::Never).await;
    let mut user = database.user().await;
    run(&mut user, "PRAGMA foreign_keys = on; DELETE FROM p").await;
    let deleted: Vec<String> = all(&mut log).await.iter().map(|change| change.table.name.clone()).collect();
    assert_eq!(deleted, ["c", "c", "p"]);
}

#[tokio::test]
async fn hostile_names_and_values_are_logged_exactly() {
    let schema = r#"CREATE TABLE "we""ird 'table'" ("k'ey" TEXT, "{""j"":1}" BLOB, "sum" GENERATED ALWAYS AS ("k'ey" || 'x'),
        PRIMARY KEY ("k'ey")) WITHOUT ROWID"#;
    let (database, mut log) = Database::new(schema).await;
    captured(&mut log, &["we\"ird 'table'"], SnapshotChoice::Initial).await;
    let mut user = database.user().await;
    let values: Vec<Stored> = vec![
        Stored::Null,
        Stored::Integer(i64::MIN),
        Stored::Integer(i64::MAX),
        Stored::Integer((1 << 53) + 1),
        Stored::Real(f64::MAX),
        Stored::Real(f64::MIN_POSITIVE),
        Stored::Real(5e-324),
        Stored::Real(0.1 + 0.2),
        Stored::Real(f64::INFINITY),
        Stored::Real(f64::NEG_INFINITY),
        Stored::Real(3.0),
        Stored::Text(String::new()),
        Stored::Text("null".into()),
        Stored::Text("{\"r\":\"1\"}".into()),
        Stored::Text("nul \0 quote ' \" back \\ line \n é 漢 😀".into()),
        Stored::Blob(vec![]),
        Stored::Blob((0..=255).collect()),
    ];
    for (at, value) in values.iter().enumerate() {
        insert(&mut user, &format!("k{at:02}"), value).await;
    }
    run(&mut user, r#"INSERT INTO "we""ird 'table'" VALUES ('z', CAST(X'FF41' AS TEXT))"#).await;
    // A document made by SQLite's own JSON functions is text like any other.
    run(&mut user, r#"INSERT INTO "we""ird 'table'" VALUES ('zz', json('{"a":1}'))"#).await;
    while copy_piece(log.connection()).await.unwrap() > 0 {}
    let changes = all(&mut log).await;
    let mut expected = values;
    expected.push(Stored::Blob(vec![0xff, b'A']));
    expected.push(Stored::Text("{\"a\":1}".into()));
    let count = expected.len();
    assert_eq!(changes.len(), 2 * count, "each row as an insert and as a snapshot read");
    for (at, change) in changes.iter().enumerate() {
        assert_eq!(cell(&change.after, "{\"j\":1}"), &expected[at % count], "row {at}");
        assert_eq!(change.after.as_ref().unwrap().len(), 2, "computed columns are left out");
    }
}

async fn insert(user: &mut SqliteConnection, key: &str, value: &Stored) {
    let query = sqlx::query(r#"INSERT INTO "we""ird 'table'" VALUES (?, ?)"#).bind(key);
    let query = match value.clone() {
        Stored::Null => query.bind(None::<i64>),
        Stored::Integer(number) => query.bind(number),
        Stored::Real(number) => query.bind(number),
        Stored::Text(text) => query.bind(text),
        Stored::Blob(bytes) => query.bind(bytes),
    };
    query.execute(user).await.unwrap();
}

#[tokio::test]
async fn existing_rows_enter_the_log_once_between_the_changes_and_in_their_newest_state() {
    let rows = PIECE_ROWS * 2 + 7;
    let (database, mut log) = Database::new(&format!(
        "CREATE TABLE t (id INTEGER PRIMARY KEY, n INTEGER);
         WITH RECURSIVE i(n) AS (SELECT 1 UNION ALL SELECT n + 1 FROM i WHERE n < {rows}) INSERT INTO t SELECT n, 0 FROM i"
    ))
    .await;
    captured(&mut log, &["t"], SnapshotChoice::Initial).await;
    assert_eq!(copy_piece(log.connection()).await.unwrap(), 1);
    let mut user = database.user().await;
    run(&mut user, &format!("UPDATE t SET n = 1 WHERE id = {rows}; UPDATE t SET n = 1 WHERE id = 1")).await;
    drop(log); // as after a crash
    let mut log = ChangeLog::open(&database.url()).await.unwrap();
    while copy_piece(log.connection()).await.unwrap() > 0 {}
    assert_eq!(copy_piece(log.connection()).await.unwrap(), 0);
    let changes = all(&mut log).await;
    let reads: Vec<&LoggedChange> = changes.iter().filter(|change| change.operation == Operation::Read).collect();
    assert_eq!(reads.len(), rows as usize, "every row once");
    assert_eq!(cell(&reads[0].after, "n"), &Stored::Integer(0), "read before its change");
    assert_eq!(cell(&reads.last().unwrap().after, "n"), &Stored::Integer(1), "read after its change");
}

#[tokio::test]
async fn a_composite_key_without_rowid_is_walked_in_its_own_order() {
    let (_database, mut log) = Database::new(
        "CREATE TABLE t (a TEXT COLLATE NOCASE, b REAL, v, PRIMARY KEY (b, a)) WITHOUT ROWID;
         WITH RECURSIVE i(n) AS (SELECT 0 UNION ALL SELECT n + 1 FROM i WHERE n < 1100)
         INSERT INTO t SELECT CASE n % 2 WHEN 0 THEN 'x' ELSE 'Y' END || n, n / 7.0, n FROM i",
    )
    .await;
    captured(&mut log, &["t"], SnapshotChoice::Initial).await;
    while copy_piece(log.connection()).await.unwrap() > 0 {}
    let changes = all(&mut log).await;
    let mut seen: Vec<i64> = changes
        .iter()
        .map(|change| match cell(&change.after, "v") {
            Stored::Integer(n) => *n,
            other => panic!("{other:?}"),
        })
        .collect();
    seen.sort_unstable();
    assert_eq!(seen, (0..=1100).collect::<Vec<i64>>());
    assert_eq!(changes[0].key.iter().map(|(name, _)| name.as_str()).collect::<Vec<_>>(), ["b", "a"]);
}

#[tokio::test]
async fn a_changed_table_is_reported_and_old_changes_keep_their_old_shape() {
    let (database, mut log) = Database::new("CREATE TABLE t (id INTEGER PRIMARY KEY)").await;
    captured(&mut log, &["t"], SnapshotChoice::Initial).await;
    while copy_piece(log.connection()).await.unwrap() > 0 {}
    let mut user = database.user().await;
    run(&mut user, "INSERT INTO t VALUES (1); ALTER TABLE t ADD COLUMN v TEXT").await;
    assert_eq!(outdated(log.connection()).await.unwrap(), ["t"]);
    captured(&mut log, &["t"], SnapshotChoice::Initial).await;
    assert!(outdated(log.connection()).await.unwrap().is_empty());
    run(&mut user, "UPDATE t SET v = 'new'").await;
    assert_eq!(copy_piece(log.connection()).await.unwrap(), 0, "rows are not read a second time");
    let changes = all(&mut log).await;
    assert_eq!(changes.iter().map(|change| change.table.columns.len()).collect::<Vec<_>>(), [1, 2]);
}

#[tokio::test]
async fn removing_leaves_nothing_but_the_log() {
    let (database, mut log) = Database::new("CREATE TABLE t (id INTEGER PRIMARY KEY)").await;
    captured(&mut log, &["T"], SnapshotChoice::Never).await;
    let mut user = database.user().await;
    run(&mut user, "INSERT INTO t VALUES (1)").await;
    remove(log.connection(), &["t".to_owned()]).await.unwrap();
    run(&mut user, "INSERT INTO t VALUES (2)").await;
    assert_eq!(all(&mut log).await.len(), 1);
    let triggers: i64 = sqlx::query_scalar("SELECT count(*) FROM sqlite_schema WHERE type = 'trigger'")
        .fetch_one(&mut user)
        .await
        .unwrap();
    assert_eq!(triggers, 0);
}

#[tokio::test]
async fn tables_that_cannot_be_captured_are_refused_and_nothing_is_installed() {
    let (_database, mut log) = Database::new(
        "CREATE TABLE t (id INTEGER PRIMARY KEY); CREATE TABLE bare (a); CREATE VIEW v AS SELECT 1 AS one",
    )
    .await;
    for name in ["bare", "v", "missing", "tidelock_origin", "sqlite_sequence"] {
        let error =
            install(log.connection(), &["t".to_owned(), name.to_owned()], SnapshotChoice::Initial).await.unwrap_err();
        assert_eq!(error.kind, ErrorKind::Configuration, "{name}");
    }
    let triggers: i64 = sqlx::query_scalar("SELECT count(*) FROM sqlite_schema WHERE type = 'trigger'")
        .fetch_one(log.connection())
        .await
        .unwrap();
    assert_eq!(triggers, 0);
}

#[tokio::test]
async fn trimming_deletes_only_what_is_published_and_ids_go_on() {
    let (database, mut log) = Database::new("CREATE TABLE t (id INTEGER PRIMARY KEY)").await;
    captured(&mut log, &["t"], SnapshotChoice::Never).await;
    let mut user = database.user().await;
    run(&mut user, "INSERT INTO t VALUES (1), (2), (3)").await;
    assert_eq!(log.trim(2).await.unwrap(), 2);
    assert_eq!((log.backlog(2).await.unwrap(), log.highest_id().await.unwrap()), (1, 3));
    log.trim(3).await.unwrap();
    run(&mut user, "INSERT INTO t VALUES (4)").await;
    assert_eq!(all(&mut log).await[0].id, 4);
    let before = log.incarnation().await.unwrap();
    install::restart_log(log.connection()).await.unwrap();
    assert_ne!(log.incarnation().await.unwrap(), before);
}

#[tokio::test]
async fn a_table_of_two_thousand_columns_stays_under_sqlites_limits() {
    let columns: Vec<String> = (0..1999).map(|at| format!("c{at} TEXT")).collect();
    let (database, mut log) =
        Database::new(&format!("CREATE TABLE wide (id INTEGER PRIMARY KEY, {})", columns.join(", "))).await;
    captured(&mut log, &["wide"], SnapshotChoice::Never).await;
    let mut user = database.user().await;
    run(&mut user, "INSERT INTO wide (id, c1998) VALUES (1, 'last')").await;
    assert_eq!(cell(&all(&mut log).await[0].after, "c1998"), &Stored::Text("last".into()));
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(4))]

    /// SQLite prints reals inexactly; what is in the log must give back the same bits.
    #[test]
    fn reals_keep_every_bit(seeds in proptest::collection::vec(any::<u64>(), 500)) {
        let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build().unwrap();
        runtime.block_on(async {
            let (database, mut log) = Database::new("CREATE TABLE t (id INTEGER PRIMARY KEY, r)").await;
            captured(&mut log, &["t"], SnapshotChoice::Never).await;
            let reals: Vec<f64> = seeds.iter().map(|bits| f64::from_bits(*bits)).filter(|real| real.is_finite()).collect();
            let mut user = database.user().await;
            run(&mut user, "BEGIN").await;
            for real in &reals {
                sqlx::query("INSERT INTO t (r) VALUES (?)").bind(real).execute(&mut user).await.unwrap();
            }
            run(&mut user, "COMMIT").await;
            for (change, real) in all(&mut log).await.iter().zip(&reals) {
                let Stored::Real(logged) = cell(&change.after, "r") else { panic!("a real") };
                assert_eq!(logged.to_bits(), real.to_bits(), "{real:e}");
            }
        });
    }
}
