//! What happens in the binary log (rules G1, G2).

use topology::ErrorKind;
use topology::guard::{GuardSite, SiteTags, Strategy};

use super::*;

const TABLE: &str = "CREATE TABLE t (id INT PRIMARY KEY, v INT)";

fn tagging(pipeline: &str, server: Server) -> Tagging {
    let tags = SiteTags::new(pipeline, &["here", "there"].map(GuardSite::named)).unwrap();
    let strategy = if server == Server::Mariadb { Strategy::ServerId } else { Strategy::Gtid };
    Tagging { tags, from: "there".into(), strategy }
}

fn pair(id: i64, v: i64) -> Vec<Value> {
    vec![Value::I64(id), Value::I64(v)]
}

/// What the server's binary log says of transactions after `position`: gtid, and tables changed.
async fn log_since(f: &mut Fixture, (file, position): &(String, u64)) -> Vec<(String, String)> {
    let sql = format!("SHOW BINLOG EVENTS IN '{file}' FROM {position}");
    f.dump(&sql)
        .await
        .into_iter()
        .filter_map(|line| {
            let cells: Vec<&str> = line.split('|').collect();
            matches!(cells[2], "Gtid" | "Table_map" | "Write_rows" | "Update_rows" | "Write_rows_v1" | "Update_rows_v1")
                .then(|| (cells[2].trim_end_matches("_v1").to_owned(), cells[5].to_owned()))
        })
        .collect()
}

async fn position(f: &mut Fixture) -> (String, u64) {
    let status = if f.server == Server::Mariadb { "SHOW MASTER STATUS" } else { "SHOW BINARY LOG STATUS" };
    let line = f.dump(status).await.remove(0);
    let mut cells = line.split('|');
    (cells.next().unwrap().to_owned(), cells.next().unwrap().parse().unwrap())
}

#[tokio::test]
async fn the_strategy_is_proven_with_the_writers_rights() {
    for server in BOTH {
        let f = Fixture::new(server, "prove", &[]).await;
        let tagging = tagging("proof", server);
        let proven = connector(server, &f.database, None).prove(&tagging.tags, "there").await.unwrap();
        assert_eq!(proven, Ok(tagging.strategy));
        // The connector's user may not.
        let weak = MySqlConnector::new(&server.url(Role::Connector, &f.database), flavour(server), None).unwrap();
        let reasons = weak.prove(&tagging.tags, "there").await.unwrap().unwrap_err();
        let right = if server == Server::Mariadb { "BINLOG REPLAY" } else { "REPLICATION_APPLIER" };
        assert!(reasons.len() == 1 && reasons[0].contains(right), "{reasons:?}");
        f.done().await;
    }
}

#[tokio::test]
async fn every_tagged_transaction_carries_the_tag_and_untagged_ones_do_not() {
    for server in BOTH {
        let tagging = tagging("tagged", server);
        let mut f = Fixture::tagged(server, "tagged", &[TABLE], Some(tagging.clone())).await;
        let plan = f.plan("t").await;
        let start = position(&mut f).await;
        for n in 0..3 {
            f.write(&plan, RowOperation::Upsert, &[pair(1, n)]).await.unwrap();
        }
        let half = &tagging.tags.gtid_uuid("there", "any", 0).unwrap()[..18];
        let server_id = tagging.tags.server_id("there").unwrap().to_string();
        if server == Server::Mysql {
            let executed = f.dump("SELECT REPLACE(@@global.gtid_executed, '\\n', '')").await.remove(0);
            let ours =
                executed.split(',').find(|part| part.starts_with(half)).expect("our uuid is executed").to_owned();
            assert!(ours[36..].starts_with(":1-"), "numbers have no gap: {ours}");
            let slot = f.dump("SELECT pipeline, site, slot, uuid, next_n FROM tidelock_slot").await;
            let next: u64 = ours[39..].parse().unwrap();
            assert_eq!(slot, [format!("tagged|there|0|{}|{}", &ours[..36], next + 1)]);
        }
        let events = log_since(&mut f, &start).await;
        let table = format!("({}.t)", f.database);
        let mut tagged = 0;
        let mut gtid = String::new();
        for (kind, info) in events {
            match kind.as_str() {
                "Gtid" => gtid = info,
                "Table_map" if info.contains(&table) => {
                    let marked = if server == Server::Mysql {
                        gtid.contains(half)
                    } else {
                        gtid.contains(&format!("-{server_id}-"))
                    };
                    assert!(marked, "{gtid} {info}");
                    tagged += 1;
                }
                _ => {}
            }
        }
        assert_eq!(tagged, 3);
        if server == Server::Mysql {
            // A claim goes under AUTOMATIC.
            let before = f.dump("SELECT next_n FROM tidelock_slot").await;
            f.session.begin(false).await.unwrap();
            f.session.execute("UPDATE t SET v = ? WHERE id = ?", &[Value::I64(77), Value::I64(1)]).await.unwrap();
            f.session.commit().await.unwrap();
            assert_eq!(f.dump("SELECT next_n FROM tidelock_slot").await, before);
        }
        f.done().await;
    }
}

#[tokio::test]
async fn a_write_that_changes_nothing_leaves_no_event_of_the_table() {
    for server in BOTH {
        for (name, unique) in [("silent_a", ""), ("silent_b", ", UNIQUE (v)")] {
            let schema = format!(
                "CREATE TABLE t (id INT PRIMARY KEY, v INT, f FLOAT, j JSON, d DATETIME(6), c CHAR(5){unique})"
            );
            let mut f = Fixture::new(server, name, &[&schema]).await;
            let plan = f.plan("t").await;
            let row = |id: i64| {
                vec![
                    Value::I64(id),
                    Value::I64(id),
                    Value::F32(0.1),
                    Value::Json("{\"a\": 1}".into()),
                    Value::Timestamp(id),
                    "ab".into(),
                ]
            };
            let rows: Vec<_> = (0..20).map(row).collect();
            f.write(&plan, RowOperation::Upsert, &rows).await.unwrap();
            let start = position(&mut f).await;
            f.write(&plan, RowOperation::Upsert, &rows).await.unwrap();
            f.write(&plan, RowOperation::Update, &rows).await.unwrap();
            f.write(&plan, RowOperation::Update, &rows[..1]).await.unwrap();
            let table = format!("({}.t)", f.database);
            let events = log_since(&mut f, &start).await;
            assert!(!events.iter().any(|(_, info)| info.contains(&table)), "{server:?}: {events:?}");
            f.done().await;
        }
    }
}

#[tokio::test]
async fn sessions_take_slots_of_their_own_and_give_them_back() {
    let server = Server::Mysql;
    let tagging = tagging("slots", server);
    let f = Fixture::tagged(server, "slots", &[TABLE], Some(tagging.clone())).await;
    let mut f = f;
    let connector = connector(server, &f.database, Some(tagging));
    let second = connector.connect().await.unwrap();
    let slots = "SELECT slot, COUNT(DISTINCT uuid) FROM tidelock_slot GROUP BY slot ORDER BY slot";
    assert_eq!(f.dump(slots).await, ["0|1", "1|1"]);
    drop(second);
    // The server notices the closed socket in its own time: a free slot is taken again as soon as it does.
    let _third = connector.connect().await.unwrap();
    assert!(f.dump(slots).await.len() <= 3);
    f.done().await;
}

#[tokio::test]
async fn sessions_that_take_their_first_slots_together_all_get_one() {
    let server = Server::Mysql;
    let tagging = tagging("together", server);
    let mut f = Fixture::tagged(server, "together", &[TABLE], Some(tagging.clone())).await;
    for round in 0..50 {
        run(&mut f.admin, "DROP TABLE tidelock_slot").await;
        let mut sessions = tokio::task::JoinSet::new();
        for _ in 0..8 {
            let connector = connector(server, &f.database, Some(tagging.clone()));
            sessions.spawn(async move { connector.connect().await });
        }
        let refused: Vec<_> = sessions.join_all().await.into_iter().filter_map(Result::err).collect();
        assert!(refused.is_empty(), "round {round}: {refused:?}");
    }
    f.done().await;
}

#[tokio::test]
async fn a_restored_slot_table_cannot_make_a_number_repeat() {
    let server = Server::Mysql;
    let tagging = tagging("restored", server);
    let mut f = Fixture::tagged(server, "restored", &[TABLE], Some(tagging.clone())).await;
    let plan = f.plan("t").await;
    for n in 0..5 {
        f.write(&plan, RowOperation::Upsert, &[pair(1, n)]).await.unwrap();
    }
    let next: u64 = f.dump("SELECT next_n FROM tidelock_slot").await[0].parse().unwrap();
    run(&mut f.admin, "UPDATE tidelock_slot SET next_n = 1").await;
    // Ends the session so that the next one takes the same slot.
    let id = f.session.query("SELECT CONNECTION_ID()", &[]).await.unwrap();
    let Value::I64(id) = id[0][0] else { panic!("a number") };
    run(&mut f.admin, &format!("KILL CONNECTION {id}")).await;
    let lost = f.session.query("SELECT 1", &[]).await.unwrap_err();
    assert_eq!(lost.kind(), ErrorKind::Transient);
    f.session = loop {
        let session = connector(server, &f.database, Some(tagging.clone())).connect().await.unwrap();
        if f.dump("SELECT COUNT(*) FROM tidelock_slot").await == ["1"] {
            break session;
        }
        run(&mut f.admin, "DELETE FROM tidelock_slot WHERE slot > 0").await;
    };
    assert_eq!(f.dump("SELECT next_n FROM tidelock_slot").await, [next.to_string()]);
    f.write(&plan, RowOperation::Upsert, &[pair(1, 42)]).await.unwrap();
    assert_eq!(f.dump("SELECT v FROM t").await, ["42"], "a repeated number would have been a silent no-op");
    f.done().await;
}

#[tokio::test]
async fn rollback_and_errors_bring_the_mark_to_rest() {
    for server in BOTH {
        let mut f = Fixture::tagged(server, "rest", &[TABLE], Some(tagging("rest", server))).await;
        let plan = f.plan("t").await;
        f.session.begin(true).await.unwrap();
        f.session.execute("INSERT INTO t VALUES (1, 1)", &[]).await.unwrap();
        f.session.savepoint().await.unwrap();
        f.session.execute("INSERT INTO t VALUES (1, 2)", &[]).await.unwrap_err();
        f.session.rollback_to_savepoint().await.unwrap();
        f.session.savepoint().await.unwrap();
        f.session.execute("INSERT INTO t VALUES (2, 2)", &[]).await.unwrap();
        f.session.release_savepoint().await.unwrap();
        f.session.rollback().await.unwrap();
        assert_eq!(f.session.query("SELECT COUNT(*) FROM t", &[]).await.unwrap(), [[Value::I64(0)]]);
        // Own tables are made between transactions.
        f.session.execute_plain("CREATE TABLE tidelock_something (id INT PRIMARY KEY)").await.unwrap();
        f.write(&plan, RowOperation::Upsert, &[pair(1, 3)]).await.unwrap();
        assert_eq!(f.dump("SELECT * FROM t").await, ["1|3"]);
        f.done().await;
    }
}

#[tokio::test]
async fn a_lock_that_is_held_too_long_is_transient_and_a_zombie_can_be_ended() {
    for server in BOTH {
        let mut f = Fixture::new(server, "zombie", &[TABLE]).await;
        let plan = f.plan("t").await;
        f.write(&plan, RowOperation::Upsert, &[pair(1, 1)]).await.unwrap();
        let mut zombie = connector(server, &f.database, None).connect().await.unwrap();
        let Value::I64(id) = zombie.query("SELECT CONNECTION_ID()", &[]).await.unwrap()[0][0] else {
            panic!("a number")
        };
        zombie.begin(false).await.unwrap();
        zombie.execute("UPDATE t SET v = 2", &[]).await.unwrap();
        f.session.execute_plain("SET SESSION innodb_lock_wait_timeout = 1").await.unwrap();
        f.session.begin(false).await.unwrap();
        let blocked = f.session.execute("UPDATE t SET v = 3", &[]).await.unwrap_err();
        assert_eq!(blocked.kind(), ErrorKind::Transient);
        f.session.rollback().await.unwrap();
        f.session.terminate(id).await.unwrap();
        f.session.begin(false).await.unwrap();
        assert_eq!(
            f.session.execute("UPDATE t SET v = v WHERE id = ?", &[Value::I64(1)]).await.unwrap(),
            1,
            "matched, not changed (L2)"
        );
        f.session.commit().await.unwrap();
        f.session.terminate(id).await.expect("a session that is gone is no error");
        f.done().await;
    }
}

/// Rule L10, promise P8: numbers of sessions come again, and may be a stranger's when a claim ends the session that its ledger row names.
#[tokio::test]
async fn sessions_of_applications_are_not_ended_whoever_they_log_in_as() {
    for server in BOTH {
        let mut f = Fixture::new(server, "stranger", &[TABLE]).await;
        // given a session of an application that has our user
        let mut theirs = connector(server, &f.database, None).connect().await.unwrap();
        let Value::I64(id) = theirs.query("SELECT CONNECTION_ID()", &[]).await.unwrap()[0][0] else {
            panic!("a number")
        };
        theirs.execute_plain("DO RELEASE_LOCK(CONCAT('tidelock:session:', CONNECTION_ID()))").await.unwrap();
        // when, then
        f.session.terminate(id).await.unwrap();
        theirs.query("SELECT 1", &[]).await.expect("it lives");
        theirs.execute_plain("DO GET_LOCK(CONCAT('tidelock:session:', CONNECTION_ID()), 0)").await.unwrap();
        f.session.terminate(id).await.unwrap();
        theirs.query("SELECT 1", &[]).await.expect_err("it is ended");
        f.done().await;
    }
}
