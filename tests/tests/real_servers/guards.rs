//! The loop guard over the whole way (P3, TWOWAY T11): the sink writes and tags, Debezium reads the log, the decoder the record, and the
//! guard of the other direction drops exactly what its own reverse wrote. Local changes pass, also of rows that the engine wrote before,
//! and so do the writes of other directions and pipelines.

use std::collections::BTreeMap;
use std::sync::Arc;
use std::time::{Duration, Instant};

use avro::{DecoderOptions, EnvelopeDecoder, RegistryClient, RegistryOptions};
use connect::mysql::{Flavour, MySqlConnector, Tagging};
use connect::postgres::PostgresConnector;
use connect::sql::connection::Connector;
use connect::sql::writer::{HeldLimits, SinkTable, SqlWriter, WriterOptions};
use tidelock_tests::example::{self, BLOG, BLOG_MARIADB_POSTGRES, MYSQL_POSTGRES, Running, Side};
use tidelock_tests::servers::{self, Server};
use tidelock_tests::types::matrix::read_topic;
use topology::batch::{ChangeBatch, SnapshotMode, WriteMode, WriteTable};
use topology::data::{Arena, Layouts, Value};
use topology::generation::Generation;
use topology::guard::{Guard, GuardSite, SiteTags, Strategy};
use topology::ledger::{Claim, ClaimReply, ClaimRequest, Owner, TaskKey, TaskSpan};
use topology::raw::{Decode, DecodeError, Decoded, RawRecord};
use topology::record::{EntityId, Operation, Record, Slot};
use topology::reduce::{ReduceTable, Reducer};
use topology::sink::SinkWriter;

/// A site of the blog as a target: its users table, by what names it has there.
struct Site<'a> {
    running: &'a Running,
    side: &'a Side,
    table: &'static str,
    columns: [&'static str; 3],
}

impl Site<'_> {
    fn new<'a>(running: &'a Running, side: &'a Side) -> Site<'a> {
        let (table, columns) = match side.site {
            "legacy" => ("legacy_users", ["id", "username", "email"]),
            "postgres" => ("users", ["id", "name", "email"]),
            _ => ("revamp_users", ["id", "user_name", "email_address"]),
        };
        Site { running, side, table, columns }
    }

    fn strategy(&self) -> Strategy {
        match self.side.server {
            Server::Mysql | Server::Mysql2 | Server::Spare => Strategy::Gtid,
            Server::Mariadb => Strategy::ServerId,
            Server::Postgres | Server::Postgres18 => Strategy::ReplicationOrigin,
        }
    }

    fn connector(&self, tagging: Tagging) -> Box<dyn Connector> {
        let url = self.running.variable(self.side, "URL");
        if tagging.strategy == Strategy::ReplicationOrigin {
            let prefix = tagging.tags.origin_prefix(&tagging.from).expect("a known site");
            return Box::new(PostgresConnector::new(url, Some(prefix)).expect("a good address"));
        }
        let flavour = if self.side.server == Server::Mariadb { Flavour::MariaDb } else { Flavour::MySql };
        Box::new(MySqlConnector::new(url, flavour, Some(tagging)).expect("a good address"))
    }

    /// What an administrator or an application does.
    async fn local(&self, sql: &str) {
        example::execute(self.side.server, self.running.variable(self.side, "DATABASE"), sql).await;
    }

    fn insert(&self, id: i64) -> String {
        let [key, name, email] = self.columns;
        format!("INSERT INTO {} ({key}, {name}, {email}) VALUES ({id}, 'local{id}', 'local{id}@x')", self.table)
    }
}

/// A direction that writes to a site: claims once, then applies batches of one record.
struct Direction {
    writer: SqlWriter,
    table: SinkTable,
    claim: Claim,
}

impl Direction {
    async fn new(site: &Site<'_>, tags: &SiteTags, from: &str) -> Direction {
        let tagging = Tagging { tags: tags.clone(), from: from.to_owned(), strategy: site.strategy() };
        let connector = site.connector(tagging);
        let live = connector.connect().await.expect("a session").describe(site.table).await.expect("readable");
        let live = live.expect("the table is there");
        let columns = site.columns.iter().map(|name| live.column(name).expect("a column").column()).collect();
        let table = WriteTable {
            entity: EntityId(0),
            name: site.table.into(),
            columns,
            key: vec![0],
            insert_only: vec![],
            mode: WriteMode::Mirror,
        };
        let table = SinkTable { table, snapshot: SnapshotMode::Upsert, held: None };
        let options = WriterOptions {
            tables: vec![table.clone()],
            held: HeldLimits::default(),
            dead: None,
            dead_letters: None,
            advance_sequences: true,
        };
        let mut writer = SqlWriter::new(connector, options);
        let request = ClaimRequest {
            task: TaskKey {
                pipeline: tags.pipeline().into(),
                direction: format!("{from}→{}", site.side.site).into(),
                topic: "users".into(),
                partition: 0,
            },
            owner: Owner(1),
            group_id: "guards".into(),
            start_offset: Some(0),
            restart: false,
            generation: Generation::default(),
        };
        let reply = writer.claim(&[request]).await.expect("claimed").remove(0);
        let ClaimReply::Claimed(claim) = reply else { panic!("{reply:?}") };
        Direction { writer, table, claim }
    }

    async fn apply(&mut self, operation: Operation, id: i64, name: &str) {
        let offset = self.claim.next_offset;
        let mut batch = ChangeBatch::default();
        batch.spans.push(TaskSpan {
            task: self.claim.task.clone(),
            epoch: self.claim.epoch,
            owner: self.claim.owner,
            from: offset,
            to: offset + 1,
            marks: self.claim.marks.clone(),
            tail_hash: 0,
            generation: Generation::default(),
            passed: None,
            last_timestamp_ms: -1,
        });
        batch.span_of_slot.push(0);
        let key = batch.arena.push_values(&[Value::I64(id)]);
        let row = [Value::I64(id), name.into(), format!("{name}@x").as_str().into()];
        let after = (operation != Operation::Delete).then(|| batch.arena.push_values(&row));
        batch.records.push(Record { slot: Slot(0), offset, operation, key, after, ..Record::default() });
        let reduce = [ReduceTable::new(&self.table.table, self.table.snapshot)];
        Reducer::default().reduce(&mut batch, &reduce, &[EntityId(0)]);
        let applied = self.writer.apply(&batch).await.expect("applied");
        assert!(!applied.slow_path && applied.outcomes[0].1.applied == 1, "{applied:?}");
        self.claim.next_offset = offset + 1;
    }
}

/// Changes that the connector published since the snapshot, per id in order: operation, dropped by the guard, via.
async fn seen(topic: &str, guard: &Guard, count: usize) -> BTreeMap<i64, Vec<String>> {
    let client = RegistryClient::new(&RegistryOptions::new([servers::registry()])).expect("an address");
    let mut decoder = EnvelopeDecoder::new(DecoderOptions::default(), client.cache());
    let (mut arena, mut layouts) = (Arena::default(), Layouts::default());
    let deadline = Instant::now() + Duration::from_secs(60);
    loop {
        let mut records = Vec::new();
        read_topic(topic, |key, value| records.push((key.map(<[u8]>::to_vec), value.map(<[u8]>::to_vec))));
        let mut found: BTreeMap<i64, Vec<String>> = BTreeMap::new();
        for (key, value) in &records {
            let (key, value) = (key.as_deref(), value.as_deref());
            let raw = RawRecord { topic: 0, offset: 0, timestamp_ms: -1, key, value, headers: &[] };
            let decoded = loop {
                match decoder.decode(&raw, &mut arena, &mut layouts) {
                    Err(DecodeError::SchemaNeeded(id)) => {
                        drop(client.fetch(id).await.expect("the registry knows the id"))
                    }
                    other => break other.expect("Debezium's records are good"),
                }
            };
            let Decoded::Change(record) = decoded else { continue };
            if record.source.snapshot {
                assert!(!guard.is_echo(&record.source, &arena), "snapshot reads pass");
                continue;
            }
            let Value::I64(id) = arena.values(record.key)[0] else { panic!("ids are numbers") };
            let verdict = if guard.is_echo(&record.source, &arena) { "dropped" } else { "passes" };
            let via = guard.via(&record.source, &arena).map_or("here", |site| site);
            found.entry(id).or_default().push(format!("{} {verdict} {via}", record.operation.letter()));
        }
        if found.values().map(Vec::len).sum::<usize>() >= count {
            return found;
        }
        assert!(Instant::now() < deadline, "expected {count} changes, got {found:#?}");
        tokio::time::sleep(Duration::from_millis(500)).await;
    }
}

async fn the_guard_drops_echoes_and_nothing_else(running: &Running, side: usize) {
    let [site, other] = [side, 1 - side].map(|side| &running.example.sides[side]);
    let site = Site::new(running, site);
    let sites = [site.side.site, other.site, "third"].map(GuardSite::named);
    let tags = SiteTags::new(running.name(), &sites).unwrap();
    let foreign = SiteTags::new("another_pipeline", &sites).unwrap();

    let mut reverse = Direction::new(&site, &tags, other.site).await;
    let mut third = Direction::new(&site, &tags, "third").await;
    let mut stranger = Direction::new(&site, &foreign, other.site).await;
    site.local(&site.insert(1001)).await;
    reverse.apply(Operation::Create, 2001, "ours").await;
    reverse.apply(Operation::Update, 2001, "ours, changed").await;
    reverse.apply(Operation::Create, 2002, "ours, then theirs").await;
    third.apply(Operation::Create, 3001, "from the third site").await;
    stranger.apply(Operation::Create, 4001, "of another pipeline").await;
    // A later local change of a row that the engine wrote is no echo (P3).
    site.local(&format!("UPDATE {} SET {} = 'theirs' WHERE id = 2002", site.table, site.columns[1])).await;
    reverse.apply(Operation::Delete, 2001, "").await;
    reverse.apply(Operation::Update, 1001, "changed from the other side").await;
    site.local(&format!("DELETE FROM {} WHERE id = 1001", site.table)).await;

    let guard = Guard::new(&tags, site.strategy(), site.side.site, other.site).unwrap();
    let found = seen(&running.topic(site.side, site.table), &guard, 10).await;
    let via = other.site;
    let expected = [
        (1001, vec!["c passes here".to_owned(), format!("u dropped {via}"), "d passes here".to_owned()]),
        (2001, vec![format!("c dropped {via}"), format!("u dropped {via}"), format!("d dropped {via}")]),
        (2002, vec![format!("c dropped {via}"), "u passes here".to_owned()]),
        (3001, vec!["c passes third".to_owned()]),
        (4001, vec!["c passes here".to_owned()]),
    ];
    assert_eq!(found, BTreeMap::from(expected));
}

async fn on_side(example: example::Example, name: &str, side: usize) {
    let running = Arc::new(example.named(name));
    let task = Arc::clone(&running);
    // A task of its own, so that what it made is removed even when it panics.
    let outcome = tokio::spawn(async move {
        task.create_databases().await;
        task.apply_connectors().await;
        the_guard_drops_echoes_and_nothing_else(&task, side).await;
    })
    .await;
    running.remove().await;
    outcome.unwrap_or_else(|panic| std::panic::resume_unwind(panic.into_panic()));
}

#[tokio::test]
async fn echoes_are_known_by_their_gtid_on_mysql() {
    on_side(BLOG, "gtid", 0).await;
}

#[tokio::test]
async fn echoes_are_known_by_their_server_id_on_mariadb() {
    on_side(BLOG_MARIADB_POSTGRES, "server_id", 0).await;
}

#[tokio::test]
async fn echoes_are_known_by_their_origin_on_postgres_15() {
    on_side(MYSQL_POSTGRES, "origin15", 1).await;
}

#[tokio::test]
async fn echoes_are_known_by_their_origin_on_postgres_18() {
    on_side(BLOG_MARIADB_POSTGRES, "origin18", 1).await;
}
