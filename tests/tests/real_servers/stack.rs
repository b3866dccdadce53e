//! The stack is what the other tests rely on: every server answers, and the engine's user has the rights
//! that the loop guard needs, and no more than those.

use std::time::Duration;

use rdkafka::ClientConfig;
use rdkafka::message::OwnedHeaders;
use rdkafka::producer::{BaseProducer, BaseRecord, Producer};
use sqlx::{ConnectOptions, Connection, Executor, MySqlConnection, PgConnection, Row};
use tidelock_tests::servers::{self, Role, Server};
use tidelock_tests::topic;

async fn postgres(server: Server, role: Role, database: &str) -> PgConnection {
    PgConnection::connect(&server.url(role, database)).await.expect("PostgreSQL answers")
}

async fn mysql(server: Server, role: Role) -> MySqlConnection {
    let options: sqlx::mysql::MySqlConnectOptions = server.url(role, "mysql").parse().expect("an address");
    options.database("information_schema").connect().await.expect("MySQL answers")
}

#[tokio::test]
async fn registry_and_connect_answer_over_http() {
    for address in [format!("{}/subjects", servers::registry()), format!("{}/connector-plugins", servers::connect())] {
        let reply = reqwest::get(&address).await.expect("it answers");
        assert!(reply.status().is_success(), "{address}: {}", reply.status());
    }
}

#[tokio::test]
async fn the_writer_may_set_gtid_next_on_both_mysql_servers() {
    for server in [Server::Mysql, Server::Mysql2] {
        let mut connection = mysql(server, Role::Writer).await;
        connection
            .execute("SET gtid_next = 'feedfeed-0000-0000-0000-0000000000ff:1'")
            .await
            .expect("REPLICATION_APPLIER");
        connection.execute("ROLLBACK").await.expect("the number is given back");
        connection.execute("SET gtid_next = 'AUTOMATIC'").await.expect("back to automatic");
        let row =
            connection.fetch_one("SELECT @@gtid_mode, @@binlog_format, @@binlog_row_image").await.expect("settings");
        let settings: Vec<String> = (0..3).map(|index| row.get(index)).collect();
        assert_eq!(settings, ["ON", "ROW", "FULL"]);
        connection.execute("DROP DATABASE mysql").await.expect_err("the writer is no admin");
    }
}

#[tokio::test]
async fn the_writer_may_set_its_server_id_on_mariadb() {
    let mut connection = mysql(Server::Mariadb, Role::Writer).await;
    connection.execute("SET SESSION server_id = 1409286144").await.expect("BINLOG REPLAY");
    connection.execute("DROP DATABASE mysql").await.expect_err("the writer is no admin");
}

#[tokio::test]
async fn the_writer_may_use_replication_origins_in_a_new_postgres_database() {
    for server in [Server::Postgres, Server::Postgres18] {
        let database = "stack_test_origins";
        let mut admin = postgres(server, Role::Admin, "postgres").await;
        admin.execute("DROP DATABASE IF EXISTS stack_test_origins").await.expect("drop an old one");
        admin.execute("CREATE DATABASE stack_test_origins").await.expect("create");
        let mut writer = postgres(server, Role::Writer, database).await;
        for statement in [
            "SELECT pg_replication_origin_create('stack-test')",
            "SELECT pg_replication_origin_session_setup('stack-test')",
            "CREATE TABLE tidelock_probe (id int PRIMARY KEY)",
            "BEGIN",
            "SELECT pg_replication_origin_xact_setup('0/1', now())",
            "INSERT INTO tidelock_probe VALUES (1)",
            "COMMIT",
            "SELECT pg_replication_origin_session_reset()",
            "SELECT pg_replication_origin_drop('stack-test')",
        ] {
            writer.execute(statement).await.unwrap_or_else(|error| panic!("{server:?}: {statement}: {error}"));
        }
        writer.execute("CREATE DATABASE stack_test_no_admin").await.expect_err("the writer is no admin");
        let mut connector = postgres(server, Role::Connector, database).await;
        connector.fetch_one("SELECT id FROM tidelock_probe").await.expect("the connector reads");
        connector.execute("DELETE FROM tidelock_probe").await.expect_err("the connector does not write");
        writer.close().await.expect("close");
        connector.close().await.expect("close");
        admin.execute("DROP DATABASE stack_test_origins").await.expect("drop");
        let levels = admin.fetch_one("SHOW wal_level").await.expect("settings");
        assert_eq!(levels.get::<String, _>(0), "logical");
    }
}

#[tokio::test]
async fn a_topic_is_read_to_its_end_though_a_producer_died_within_a_transaction() {
    // Given a record of a producer that is gone before it could commit, and one of another behind it
    let topic_name = format!("reader-{}", std::process::id());
    topic::create(&topic_name, 1).await;
    let dead: BaseProducer = ClientConfig::new()
        .set("bootstrap.servers", servers::kafka())
        .set("transactional.id", &topic_name)
        .set("transaction.timeout.ms", "3000")
        .create()
        .expect("a producer");
    let limit = Duration::from_secs(30);
    dead.init_transactions(limit).expect("the broker takes it");
    dead.begin_transaction().expect("begun");
    dead.send(BaseRecord::<[u8], [u8]>::to(&topic_name).partition(0).payload(b"open")).expect("queued");
    while dead.in_flight_count() > 0 {
        dead.poll(Duration::from_millis(10));
    }
    drop(dead);
    let behind = topic::Published {
        partition: 0,
        offset: 0,
        key: None,
        value: Some(b"committed".to_vec()),
        headers: OwnedHeaders::new(),
    };
    topic::produce(&topic_name, &[behind], 1).await;
    // when it is read, then the second one is there, and the first one is not.
    let read: Vec<_> = topic::read(&topic_name).await.into_iter().map(|record| record.value).collect();
    assert_eq!(read, [Some(b"committed".to_vec())]);
    topic::delete(&topic_name).await;
}
