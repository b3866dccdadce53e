//! Text of all statements on our own tables, `tidelock_progress` (rules L) and `tidelock_held` (rules H), built once per writer.
//!
//! Times are milliseconds since the epoch by the database's clock, so that all engines and hosts agree on them.

use super::dialect::OwnType::{self, Bytes, Int32, Int64, Name, Text};
use super::dialect::{Dialect, Sql, quote};

/// The ledger.
pub const PROGRESS: &str = "tidelock_progress";
/// Parked, queued and dead records.
pub const HELD: &str = "tidelock_held";
/// Written inside writing transactions so that the trigger capture of SQLite can tell the engine's changes.
pub const ORIGIN: &str = "tidelock_origin";

/// Primary key of the ledger.
pub const TASK_COLUMNS: [(&str, OwnType); 4] =
    [("pipeline", Name), ("direction", Name), ("topic", Name), ("partition", Int32)];

/// Columns of the ledger after its key.
const PROGRESS_COLUMNS: [(&str, OwnType); 12] = [
    ("next_offset", Int64),
    ("epoch", Int64),
    ("owner", Name),
    ("backend_id", Int64),
    ("group_id", Name),
    ("updated_at_ms", Int64),
    ("generation", Name),
    ("tail_epoch", Int64),
    ("tail_hash", Int64),
    ("marks", Bytes),
    ("outbox_seq", Int64),
    ("dead_window", Text),
];

/// All columns of `tidelock_held` in order: type and whether NULL may stand there. Rows are inserted in this layout.
pub const HELD_COLUMNS: [(&str, OwnType, bool); 24] = [
    ("pipeline", Name, false),
    ("direction", Name, false),
    ("topic", Name, false),
    ("partition", Int32, false),
    ("offset", Int64, false),
    ("ordinal", Int32, false),
    ("entity", Name, false),
    ("key", Text, true),
    ("key_hash", Int64, true),
    ("other_key_hash", Int64, true),
    ("state", Name, false),
    ("class", Name, false),
    ("stage", Name, false),
    ("code", Name, true),
    ("message", Text, false),
    ("attempts", Int32, false),
    ("first_failed_at_ms", Int64, false),
    ("retry_at_ms", Int64, false),
    ("waits_for", Name, true),
    ("timestamp_ms", Int64, false),
    ("raw_key", Bytes, true),
    ("raw_value", Bytes, true),
    ("headers", Bytes, false),
    ("full_image", Int32, false),
];

/// Statement texts of one dialect.
#[derive(Clone, Debug)]
#[allow(missing_docs)] // the parameters of each stand in `Statements::new`
pub struct Statements {
    /// Fails when a table is not there; needs no privilege to create.
    pub probe_tables: [String; 2],
    /// Creates what is not there.
    pub create: Vec<String>,
    /// topic, … : see `new`.
    pub raise: String,
    pub read: String,
    pub insert: String,
    pub assert_counts: String,
    pub other_group: String,
    pub direction_known: String,
    pub topic_known: String,
    pub backend: String,
    pub cas: String,
    pub lock_read: String,
    pub now: String,
    pub held_keys: String,
    pub held_due: String,
    pub held_delete: String,
    pub held_fail: String,
    pub held_retry_followers: String,
    pub held_hold_followers: String,
    pub held_supersede: String,
    pub held_wake: String,
    pub held_counts: String,
    pub held_clear_entity: String,
}

fn where_task(mut sql: Sql<'_>) -> Sql<'_> {
    for (at, (name, kind)) in TASK_COLUMNS.iter().enumerate() {
        sql = sql.push(if at == 0 { " WHERE " } else { " AND " }).name(name).push(" = ").parameter(*kind);
    }
    sql
}

fn where_direction(sql: Sql<'_>) -> Sql<'_> {
    sql.push(" WHERE ")
        .name("pipeline")
        .push(" = ")
        .parameter(Name)
        .push(" AND ")
        .name("direction")
        .push(" = ")
        .parameter(Name)
}

fn where_held(sql: Sql<'_>) -> Sql<'_> {
    where_task(sql)
        .push(" AND ")
        .name("offset")
        .push(" = ")
        .parameter(Int64)
        .push(" AND ")
        .name("ordinal")
        .push(" = ")
        .parameter(Int32)
}

impl Statements {
    /// Builds all texts. The comment before each statement lists its parameters; `task` stands for pipeline, direction, topic, partition.
    pub fn new(dialect: &dyn Dialect) -> Statements {
        let sql = || Sql::new(dialect);
        let list = |columns: &[&str]| columns.iter().map(|name| quote(dialect, name)).collect::<Vec<_>>().join(", ");
        let now = dialect.now_ms();
        let lock = dialect.for_update();
        Statements {
            probe_tables: [PROGRESS, HELD]
                .map(|table| sql().push("SELECT 1 FROM ").name(table).push(" WHERE 1 = 0").finish()),
            create: create(dialect),
            // owner, group_id, task → matched rows
            raise: where_task(
                sql()
                    .push("UPDATE ")
                    .name(PROGRESS)
                    .push(" SET ")
                    .name("epoch")
                    .push(" = ")
                    .name("epoch")
                    .push(" + 1, ")
                    .name("owner")
                    .push(" = ")
                    .parameter(Name)
                    .push(", ")
                    .name("group_id")
                    .push(" = ")
                    .parameter(Name)
                    .push(", ")
                    .name("backend_id")
                    .push(" = ")
                    .push(dialect.backend_id())
                    .push(", ")
                    .name("updated_at_ms")
                    .push(" = ")
                    .push(now),
            )
            .finish(),
            // task → next_offset, epoch, marks, generation, tail_hash
            read: where_task(
                sql()
                    .push("SELECT ")
                    .push(&list(&["next_offset", "epoch", "marks", "generation", "tail_hash"]))
                    .push(" FROM ")
                    .name(PROGRESS),
            )
            .finish(),
            // task, next_offset, owner, group_id, generation; epoch 1
            insert: {
                let columns = [
                    "pipeline",
                    "direction",
                    "topic",
                    "partition",
                    "next_offset",
                    "owner",
                    "group_id",
                    "generation",
                    "epoch",
                    "backend_id",
                    "updated_at_ms",
                    "tail_epoch",
                    "tail_hash",
                    "marks",
                    "outbox_seq",
                    "dead_window",
                ];
                let mut text =
                    sql().push("INSERT INTO ").name(PROGRESS).push(" (").push(&list(&columns)).push(") VALUES (");
                for kind in [Name, Name, Name, Int32, Int64, Name, Name, Name] {
                    text = text.parameter(kind).push(", ");
                }
                text.push("1, ")
                    .push(dialect.backend_id())
                    .push(", ")
                    .push(now)
                    .push(", -1, 0, ")
                    .parameter(Bytes)
                    .push(", 0, '')")
                    .finish()
            },
            // task → matched rows, which must be 1 though nothing changes (rule L2)
            assert_counts: where_task(
                sql().push("UPDATE ").name(PROGRESS).push(" SET ").name("next_offset").push(" = ").name("next_offset"),
            )
            .finish(),
            // pipeline, direction, own group_id, freshness in ms → group_id
            other_group: where_direction(sql().push("SELECT ").name("group_id").push(" FROM ").name(PROGRESS))
                .push(" AND ")
                .name("group_id")
                .push(" <> ")
                .parameter(Name)
                .push(" AND ")
                .name("updated_at_ms")
                .push(" > ")
                .push(now)
                .push(" - ")
                .parameter(Int64)
                .push(" LIMIT 1")
                .finish(),
            // pipeline, direction → 1
            direction_known: where_direction(sql().push("SELECT 1 FROM ").name(PROGRESS)).push(" LIMIT 1").finish(),
            // pipeline, direction, topic → 1
            topic_known: where_direction(sql().push("SELECT 1 FROM ").name(PROGRESS))
                .push(" AND ")
                .name("topic")
                .push(" = ")
                .parameter(Name)
                .push(" LIMIT 1")
                .finish(),
            // task → backend_id
            backend: where_task(sql().push("SELECT ").name("backend_id").push(" FROM ").name(PROGRESS)).finish(),
            // to, marks, tail_hash, task, epoch, owner, from → matched rows (rule L1)
            cas: where_task(
                sql()
                    .push("UPDATE ")
                    .name(PROGRESS)
                    .push(" SET ")
                    .name("next_offset")
                    .push(" = ")
                    .parameter(Int64)
                    .push(", ")
                    .name("marks")
                    .push(" = ")
                    .parameter(Bytes)
                    .push(", ")
                    .name("tail_hash")
                    .push(" = ")
                    .parameter(Int64)
                    .push(", ")
                    .name("updated_at_ms")
                    .push(" = ")
                    .push(now),
            )
            .push(" AND ")
            .name("epoch")
            .push(" = ")
            .parameter(Int64)
            .push(" AND ")
            .name("owner")
            .push(" = ")
            .parameter(Name)
            .push(" AND ")
            .name("next_offset")
            .push(" = ")
            .parameter(Int64)
            .finish(),
            // task → epoch, owner, next_offset (rule L3)
            lock_read: where_task(
                sql().push("SELECT ").push(&list(&["epoch", "owner", "next_offset"])).push(" FROM ").name(PROGRESS),
            )
            .push(lock)
            .finish(),
            // → milliseconds
            now: format!("SELECT {now}"),
            // task → offset, ordinal, key_hash, other_key_hash, state, full_image, waits_for in order; dead ones with a key included (H4)
            held_keys: where_task(
                sql()
                    .push("SELECT ")
                    .push(&list(&[
                        "offset",
                        "ordinal",
                        "key_hash",
                        "other_key_hash",
                        "state",
                        "full_image",
                        "waits_for",
                    ]))
                    .push(" FROM ")
                    .name(HELD),
            )
            .push(" AND ")
            .name("state")
            .push(" <> 'superseded' AND ")
            .name("key_hash")
            .push(" IS NOT NULL ORDER BY ")
            .push(&list(&["offset", "ordinal"]))
            .finish(),
            // task, limit → offset, ordinal, attempts, raw_key, raw_value, headers, timestamp_ms (rules H2, H3)
            held_due: where_task(
                sql()
                    .push("SELECT ")
                    .push(&list(&["offset", "ordinal", "attempts", "raw_key", "raw_value", "headers", "timestamp_ms"]))
                    .push(" FROM ")
                    .name(HELD),
            )
            .push(" AND ")
            .name("state")
            .push(" IN ('parked', 'queued') AND ")
            .name("retry_at_ms")
            .push(" <= ")
            .push(now)
            .push(" ORDER BY ")
            .push(&list(&["offset", "ordinal"]))
            .push(" LIMIT ")
            .parameter(Int64)
            .finish(),
            // task, offset, ordinal
            held_delete: where_held(sql().push("DELETE FROM ").name(HELD)).finish(),
            // state, class, code, message, retry_at_ms, waits_for, task, offset, ordinal: one more attempt failed
            held_fail: where_held(
                sql()
                    .push("UPDATE ")
                    .name(HELD)
                    .push(" SET ")
                    .name("attempts")
                    .push(" = ")
                    .name("attempts")
                    .push(" + 1, ")
                    .name("state")
                    .push(" = ")
                    .parameter(Name)
                    .push(", ")
                    .name("class")
                    .push(" = ")
                    .parameter(Name)
                    .push(", ")
                    .name("code")
                    .push(" = ")
                    .parameter(Name)
                    .push(", ")
                    .name("message")
                    .push(" = ")
                    .parameter(Text)
                    .push(", ")
                    .name("retry_at_ms")
                    .push(" = ")
                    .parameter(Int64)
                    .push(", ")
                    .name("waits_for")
                    .push(" = ")
                    .parameter(Name),
            )
            .finish(),
            // task, key_hash, key_hash: followers become due (rule H3)
            held_retry_followers: followers(
                sql().push("UPDATE ").name(HELD).push(" SET ").name("retry_at_ms").push(" = ").push(now),
            ),
            // retry_at_ms, task, key_hash, key_hash: followers wait again
            held_hold_followers: followers(
                sql().push("UPDATE ").name(HELD).push(" SET ").name("retry_at_ms").push(" = ").parameter(Int64),
            ),
            // task, key_hash, offset: dead rows of the key below the offset are history now (rule H4)
            held_supersede: where_task(
                sql().push("UPDATE ").name(HELD).push(" SET ").name("state").push(" = 'superseded'"),
            )
            .push(" AND ")
            .name("key_hash")
            .push(" = ")
            .parameter(Int64)
            .push(" AND ")
            .name("offset")
            .push(" < ")
            .parameter(Int64)
            .push(" AND (")
            .name("state")
            .push(" = 'dead' OR (")
            .name("state")
            .push(" = 'parked' AND ")
            .name("waits_for")
            .push(" = 'row'))")
            .finish(),
            // waits_for: a parent came (rule H2)
            held_wake: sql()
                .push("UPDATE ")
                .name(HELD)
                .push(" SET ")
                .name("retry_at_ms")
                .push(" = ")
                .push(now)
                .push(" WHERE ")
                .name("waits_for")
                .push(" = ")
                .parameter(Name)
                .push(" AND ")
                .name("state")
                .push(" = 'parked' AND ")
                .name("retry_at_ms")
                .push(" > ")
                .push(now)
                .finish(),
            // task → state, count
            held_counts: where_task(sql().push("SELECT ").name("state").push(", COUNT(*) FROM ").name(HELD))
                .push(" GROUP BY ")
                .name("state")
                .finish(),
            // pipeline, direction, entity: a truncate takes the table's held rows too (rule B7)
            held_clear_entity: where_direction(sql().push("DELETE FROM ").name(HELD))
                .push(" AND ")
                .name("entity")
                .push(" = ")
                .parameter(Name)
                .push(" AND ")
                .name("state")
                .push(" <> 'dead'")
                .finish(),
        }
    }
}

fn followers(sql: Sql<'_>) -> String {
    where_task(sql)
        .push(" AND ")
        .name("state")
        .push(" = 'queued' AND (")
        .name("key_hash")
        .push(" = ")
        .parameter(Int64)
        .push(" OR ")
        .name("other_key_hash")
        .push(" = ")
        .parameter(Int64)
        .push(")")
        .finish()
}

fn create(dialect: &dyn Dialect) -> Vec<String> {
    let column = |name: &str, kind: OwnType, nullable: bool| {
        format!("  {} {}{}", quote(dialect, name), dialect.own_type(kind), if nullable { "" } else { " NOT NULL" })
    };
    let key = |extra: &[&str]| {
        let names: Vec<&str> = TASK_COLUMNS.iter().map(|(name, _)| *name).chain(extra.iter().copied()).collect();
        format!("  PRIMARY KEY ({})", names.iter().map(|name| quote(dialect, name)).collect::<Vec<_>>().join(", "))
    };
    let table = |name: &str, mut lines: Vec<String>, primary: String| {
        lines.push(primary);
        format!(
            "CREATE TABLE IF NOT EXISTS {} (\n{}\n){}",
            quote(dialect, name),
            lines.join(",\n"),
            dialect.table_options()
        )
    };
    let progress =
        TASK_COLUMNS.iter().chain(&PROGRESS_COLUMNS).map(|(name, kind)| column(name, *kind, false)).collect::<Vec<_>>();
    let held = HELD_COLUMNS.iter().map(|(name, kind, nullable)| column(name, *kind, *nullable)).collect::<Vec<_>>();
    let index = |name: &str, columns: &[&str]| {
        let columns = columns.iter().map(|name| quote(dialect, name)).collect::<Vec<_>>().join(", ");
        let guard = if dialect.index_if_not_exists() { "IF NOT EXISTS " } else { "" };
        format!("CREATE INDEX {guard}{} ON {} ({columns})", quote(dialect, name), quote(dialect, HELD))
    };
    vec![
        table(PROGRESS, progress, key(&[])),
        table(HELD, held, key(&["offset", "ordinal"])),
        index("tidelock_held_waits_for", &["waits_for"]),
        index("tidelock_held_due", &["state", "retry_at_ms"]),
    ]
}
