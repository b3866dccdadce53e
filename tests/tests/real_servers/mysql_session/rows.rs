//! What happens to rows (rule B9).

use topology::ErrorKind;

use super::*;

const USERS: &str = "CREATE TABLE users (id BIGINT PRIMARY KEY, email VARCHAR(50) NOT NULL, name VARCHAR(50) DEFAULT 'nobody', \
     note VARCHAR(20), moved TIMESTAMP NULL DEFAULT NULL ON UPDATE CURRENT_TIMESTAMP)";
const USERS_UNIQUE: &str = "CREATE TABLE users (id BIGINT PRIMARY KEY, email VARCHAR(50) NOT NULL UNIQUE, name VARCHAR(50) DEFAULT 'nobody', \
     note VARCHAR(20), moved TIMESTAMP NULL DEFAULT NULL)";

fn user(id: i64, email: &str, name: &str) -> Vec<Value> {
    vec![Value::I64(id), email.into(), name.into(), Value::Null, Value::Null]
}

#[tokio::test]
async fn upserts_insert_and_update_whatever_indexes_the_table_has() {
    for server in BOTH {
        for (name, schema) in [("upsert_a", USERS), ("upsert_b", USERS_UNIQUE)] {
            let mut f = Fixture::new(server, name, &[schema]).await;
            let plan = f.plan("users").await;
            let first: Vec<_> = (0..1733).map(|id| user(id, &format!("{id}@x"), "first")).collect();
            f.write(&plan, RowOperation::Upsert, &first).await.unwrap();
            let second: Vec<_> = (1000..2500).map(|id| user(id, &format!("{id}@y"), "second")).collect();
            let written = f.write(&plan, RowOperation::Upsert, &second).await.unwrap();
            assert_eq!(written.matched, 1500);
            assert_eq!(
                f.dump(
                    "SELECT name, COUNT(*), MIN(id), MAX(id), COUNT(DISTINCT email) FROM users GROUP BY name ORDER BY 1"
                )
                .await,
                ["first|1000|0|999|1000", "second|1500|1000|2499|1500"],
                "id 0 is a row of its own (NO_AUTO_VALUE_ON_ZERO)"
            );
            f.done().await;
        }
    }
}

#[tokio::test]
async fn an_upsert_never_rewrites_another_row_with_the_same_unique_value() {
    for server in BOTH {
        let mut f = Fixture::new(server, "unique", &[USERS_UNIQUE]).await;
        let plan = f.plan("users").await;
        f.write(&plan, RowOperation::Upsert, &[user(1, "a@x", "ann"), user(2, "b@x", "bob")]).await.unwrap();

        let taken = f.write(&plan, RowOperation::Upsert, &[user(3, "a@x", "cy")]).await.unwrap_err();
        assert_eq!((taken.kind(), taken.constraint.as_deref()), (ErrorKind::Dependency, Some("email")));
        let taken = f.write(&plan, RowOperation::Upsert, &[user(2, "a@x", "bob")]).await.unwrap_err();
        assert_eq!(taken.kind(), ErrorKind::Dependency);
        assert_eq!(f.dump("SELECT id, email, name FROM users ORDER BY id").await, ["1|a@x|ann", "2|b@x|bob"]);

        // An update frees the value before the insert takes it.
        f.write(&plan, RowOperation::Upsert, &[user(1, "c@x", "ann"), user(3, "a@x", "cy")]).await.unwrap();
        assert_eq!(f.dump("SELECT id, email FROM users ORDER BY id").await, ["1|c@x", "2|b@x", "3|a@x"]);
        f.done().await;
    }
}

#[tokio::test]
async fn keys_that_the_collation_calls_equal_are_one_row() {
    for server in BOTH {
        let schema = "CREATE TABLE t (k VARCHAR(20) COLLATE utf8mb4_general_ci PRIMARY KEY, u INT UNIQUE, v INT)";
        let mut f = Fixture::new(server, "collation", &[schema]).await;
        let plan = f.plan("t").await;
        assert!(plan.columns[0].equates);
        let row = |k: &str, v| vec![k.into(), Value::Null, Value::I64(v)];
        f.write(&plan, RowOperation::Upsert, &[row("Ann", 1), row("bob", 1)]).await.unwrap();
        f.write(&plan, RowOperation::Upsert, &[row("ann", 2), row("bob", 2), row("cy", 2)]).await.unwrap();
        assert_eq!(f.dump("SELECT k, v FROM t ORDER BY k").await, ["Ann|2", "bob|2", "cy|2"]);
        f.done().await;
    }
}

#[tokio::test]
async fn a_partial_update_sets_its_columns_of_rows_that_are_there_and_inserts_none() {
    for server in BOTH {
        for (name, schema) in [("partial_a", USERS), ("partial_b", USERS_UNIQUE)] {
            let mut f = Fixture::new(server, name, &[schema]).await;
            let plan = f.plan("users").await;
            f.write(
                &plan,
                RowOperation::Upsert,
                &(0..100).map(|id| user(id, &format!("{id}@x"), "n")).collect::<Vec<_>>(),
            )
            .await
            .unwrap();
            // `email` is NOT NULL without default and not sent: the row can't be spelled as an INSERT.
            let shape = Shape::new(&plan, RowOperation::Update, vec![2]);
            let row =
                |id| vec![Value::I64(id), Value::Unavailable, "new".into(), Value::Unavailable, Value::Unavailable];
            let written = f.write_shape(&shape, &(90..110).map(row).collect::<Vec<_>>()).await.unwrap();
            assert_eq!(written.matched, 10, "rows that are not there park their changes");
            // All required columns are sent.
            let shape = Shape::new(&plan, RowOperation::Update, vec![1, 3]);
            let row = |id: i64| {
                vec![
                    Value::I64(id),
                    format!("{id}@z").as_str().into(),
                    Value::Unavailable,
                    "seen".into(),
                    Value::Unavailable,
                ]
            };
            let written = f.write_shape(&shape, &(95..120).map(row).collect::<Vec<_>>()).await.unwrap();
            assert_eq!(written.matched, 5);
            let written = f.write_shape(&shape, &[row(0), row(500)]).await.unwrap();
            assert_eq!(written.matched, 1);
            assert_eq!(
                f.dump("SELECT name, note, COUNT(*), SUM(email LIKE '%@z') FROM users GROUP BY 1, 2 ORDER BY 1, 2")
                    .await,
                ["n|NULL|89|0", "n|seen|1|1", "new|NULL|5|0", "new|seen|5|5"]
            );
            f.done().await;
        }
    }
}

#[tokio::test]
async fn insert_if_absent_leaves_rows_alone_and_counts_those_that_differ() {
    for server in BOTH {
        for (name, schema) in [("absent_a", USERS), ("absent_b", USERS_UNIQUE)] {
            let mut f = Fixture::new(server, name, &[schema]).await;
            let plan = f.plan("users").await;
            f.write(&plan, RowOperation::Upsert, &[user(1, "a@x", "ann"), user(2, "b@x", "bob")]).await.unwrap();
            let rows = [user(1, "a@x", "ann"), user(2, "b@x", "other"), user(3, "c@x", "cy")];
            let written = f.write(&plan, RowOperation::InsertIfAbsent, &rows).await.unwrap();
            assert_eq!((written.matched, written.differs), (1, 1));
            assert_eq!(f.dump("SELECT id, name FROM users ORDER BY id").await, ["1|ann", "2|bob", "3|cy"]);
            f.done().await;
        }
    }
}

#[tokio::test]
async fn deletes_renames_and_lookups_go_by_composite_keys() {
    for server in BOTH {
        let schema = "CREATE TABLE t (v INT, a INT, b VARCHAR(10) CHARACTER SET utf8mb4 COLLATE utf8mb4_bin, PRIMARY KEY (b, a))";
        let mut f = Fixture::new(server, "composite", &[schema]).await;
        let plan = f.plan("t").await;
        assert_eq!(plan.key, [2, 1]);
        let rows: Vec<_> = (0..600).map(|n| vec![Value::I64(n), Value::I64(n), "x".into()]).collect();
        f.write(&plan, RowOperation::Upsert, &rows).await.unwrap();
        let key = |a| vec!["x".into(), Value::I64(a)];
        let deleted = f.write(&plan, RowOperation::Delete, &(2..900).map(key).collect::<Vec<_>>()).await.unwrap();
        assert_eq!(deleted.matched, 598);

        let renamed = f
            .write(&plan, RowOperation::Rename, &[key(0), vec!["y".into(), Value::I64(7)], key(55), key(56)])
            .await
            .unwrap();
        assert_eq!(renamed.matched, 1);
        assert_eq!(f.dump("SELECT v, a, b FROM t ORDER BY v").await, ["0|7|y", "1|1|x"]);

        let keys = f.rows(&[key(0), key(1), vec!["y".into(), Value::I64(7)]]);
        f.session.begin(false).await.unwrap();
        assert_eq!(f.session.present(&plan, &f.arena, &keys).await.unwrap(), [false, true, true]);
        f.session.rollback().await.unwrap();
        f.done().await;
    }
}

#[tokio::test]
async fn a_table_that_is_all_key_takes_upserts() {
    for server in BOTH {
        let mut f = Fixture::new(server, "all_key", &["CREATE TABLE t (a INT, b INT, PRIMARY KEY (a, b))"]).await;
        let plan = f.plan("t").await;
        for _ in 0..2 {
            f.write(&plan, RowOperation::Upsert, &[vec![Value::I64(1), Value::I64(2)]]).await.unwrap();
        }
        assert_eq!(f.dump("SELECT a, b FROM t").await, ["1|2"]);
        f.done().await;
    }
}

#[tokio::test]
async fn a_batch_larger_than_a_packet_goes_in_several_statements() {
    for server in BOTH {
        let mut f = Fixture::new(server, "packet", &["CREATE TABLE t (a INT PRIMARY KEY, b LONGBLOB)"]).await;
        let plan = f.plan("t").await;
        let rows: Vec<_> = (0..40).map(|n| vec![Value::I64(n), Value::Bytes(vec![7; 1_000_000])]).collect();
        f.write(&plan, RowOperation::Upsert, &rows).await.unwrap();
        assert_eq!(f.dump("SELECT COUNT(*), SUM(LENGTH(b)) FROM t").await, ["40|40000000"]);
        let huge =
            f.write(&plan, RowOperation::Upsert, &[vec![Value::I64(99), Value::Bytes(vec![7; 80_000_000])]]).await;
        assert_eq!(huge.unwrap_err().kind(), ErrorKind::Data);
        f.done().await;
    }
}

#[tokio::test]
async fn errors_of_the_servers_are_told_apart() {
    for server in BOTH {
        let schema = [
            "CREATE TABLE parents (id INT PRIMARY KEY)",
            "CREATE TABLE t (id INT PRIMARY KEY, parent INT, s TINYINT, e ENUM('a', 'b'), d DATETIME, \
             CONSTRAINT positive CHECK (s > 0), CONSTRAINT to_parent FOREIGN KEY (parent) REFERENCES parents (id))",
            "CREATE TRIGGER refuses BEFORE INSERT ON t FOR EACH ROW \
             IF NEW.id = 666 THEN SIGNAL SQLSTATE '45000' SET MESSAGE_TEXT = 'no'; END IF",
        ];
        let mut f = Fixture::new(server, "errors", &schema).await;
        let plan = f.plan("t").await;
        let row =
            |id, parent: Value, s: i64, e: &str| vec![Value::I64(id), parent, Value::I64(s), e.into(), Value::Null];
        for (given, kind, constraint) in [
            (row(1, Value::I64(9), 1, "a"), ErrorKind::Dependency, Some("to_parent")),
            (row(1, Value::Null, -1, "a"), ErrorKind::Data, Some("positive")),
            (row(1, Value::Null, 1000, "a"), ErrorKind::Data, None),
            (row(1, Value::Null, 1, "c"), ErrorKind::Data, None),
            (row(666, Value::Null, 1, "a"), ErrorKind::Data, None),
        ] {
            let error = f.write(&plan, RowOperation::Upsert, std::slice::from_ref(&given)).await.unwrap_err();
            assert_eq!(
                (error.kind(), error.constraint.as_deref(), error.known),
                (kind, constraint, true),
                "{given:?}: {}",
                error.error
            );
            if constraint == Some("to_parent") {
                assert_eq!(error.other_table.as_deref(), Some("parents"));
            }
        }
        let missing = f.session.execute("UPDATE nowhere SET a = 1", &[]).await.unwrap_err();
        assert_eq!(missing.kind(), ErrorKind::Schema);
        let missing = f.session.execute("UPDATE t SET nothing = 1", &[]).await.unwrap_err();
        assert_eq!(missing.kind(), ErrorKind::Schema);
        let forbidden = f.session.execute_plain("DROP TABLE t").await.unwrap_err();
        assert_eq!((forbidden.kind(), forbidden.known), (ErrorKind::Environment, true));
        f.done().await;
    }
}
