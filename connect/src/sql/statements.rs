//! Text of all statements on our own tables, `tidelock_progress` (rules L) and `tidelock_held` (rules H), built once per writer.
//!
//! Templates: `[x]` is a quoted name, `{name}` `{text}` `{i32}` `{i64}` `{bytes}` are placeholders of that type, `{now}` `{backend}`
//! `{lock}` what the dialect says, `{task}` and `{held}` conditions on a primary key. Times are milliseconds since the epoch by the
//! database's clock, so that all engines and hosts agree on them.

use topology::moves::MOVE_PREFIX;

use super::dialect::OwnType::{self, Bytes, Int32, Int64, Name, Text};
use super::dialect::{Dialect, quote};

/// The ledger.
pub const PROGRESS: &str = "tidelock_progress";
/// Parked, queued and dead records.
pub const HELD: &str = "tidelock_held";
/// Word that one half of a key change leaves for the other (rule B5, `topology::moves`).
pub const MOVED: &str = "tidelock_moved";
/// Outputs that are not published yet (rules O).
pub const OUTBOX: &str = "tidelock_outbox";
/// Written inside writing transactions so that the trigger capture of SQLite can tell the engine's changes.
pub const ORIGIN: &str = "tidelock_origin";

/// `code` of a held half of a key change that waits for its other half (rule B5).
pub(crate) const DELETE_HALF_WAITS: &str = "delete-half-waits";

/// Code of a create half that waits for its other half.
pub(crate) const CREATE_HALF_WAITS: &str = "create-half-waits";

/// Code of a create half that waits for the row it moves (rule B3).
pub(crate) const HALF_LACKS_ROW: &str = "half-lacks-row";

/// `retry_at_ms` of a row that waits behind another one.
pub(crate) const NOT_DUE: i64 = i64::MAX;

/// `waits_for` of a queued delete: after it its key has no row, so that what waits before it need not be written at all.
pub(crate) const QUEUED_DELETE: &str = "delete";
/// State of a dead row that is to be tried again, in its turn: `dlq replay` sets it, the lane that owns the partition executes it.
pub const REPLAY: &str = "replay";
/// `waits_for` of a dead row whose key has a newer row that did not replace all of it (rule H4): only a person may force it.
pub const OVERTAKEN: &str = "overtaken";

/// Primary key of the ledger.
const TASK_COLUMNS: [(&str, OwnType); 4] =
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
pub const HELD_COLUMNS: [(&str, OwnType, bool); 26] = [
    ("pipeline", Name, false),
    ("direction", Name, false),
    ("topic", Name, false),
    ("partition", Int32, false),
    ("offset", Int64, false),
    ("ordinal", Int32, false),
    ("entity", Name, false),
    ("key", Text, true),
    ("key_hash", Int64, true),
    ("state", Name, false),
    ("class", Name, false),
    ("stage", Name, false),
    ("code", Name, true),
    ("message", Text, false),
    ("attempts", Int32, false),
    ("first_failed_at_ms", Int64, false),
    ("retry_at_ms", Int64, false),
    ("waits_for", Name, true),
    ("waits_for_key", Int64, true),
    ("timestamp_ms", Int64, false),
    ("raw_key", Bytes, true),
    ("raw_value", Bytes, true),
    ("headers", Bytes, false),
    ("source_position", Name, true),
    ("committed_at_ms", Int64, true),
    ("engine", Name, true),
];

/// Index of a column of `tidelock_held`.
pub(crate) fn held_column(name: &str) -> usize {
    HELD_COLUMNS.iter().position(|(column, ..)| *column == name).expect("a column of tidelock_held")
}

/// All columns of `tidelock_moved`; the first three are its key. `pair` holds a hash of the entity: four names would be too long a key.
pub const MOVED_COLUMNS: [(&str, OwnType, bool); 6] = [
    ("pipeline", Name, false),
    ("direction", Name, false),
    ("pair", Name, false),
    ("entity", Name, false),
    ("state", Name, false),
    ("created_at_ms", Int64, false),
];

/// All columns of `tidelock_outbox`; the first five are its key.
pub const OUTBOX_COLUMNS: [(&str, OwnType, bool); 10] = [
    ("pipeline", Name, false),
    ("direction", Name, false),
    ("topic", Name, false),
    ("partition", Int32, false),
    ("seq", Int64, false),
    ("target", Name, false),
    ("key", Bytes, true),
    ("value", Bytes, true),
    ("headers", Bytes, false),
    ("created_at_ms", Int64, false),
];

const TASK: &str = "[pipeline] = {name} AND [direction] = {name} AND [topic] = {name} AND [partition] = {i32}";
const ONE_HELD: &str = "{task} AND [offset] = {i64} AND [ordinal] = {i32}";

/// Expands a template.
fn expand(dialect: &dyn Dialect, template: &str) -> String {
    let template = template.replace("{held}", ONE_HELD).replace("{task}", TASK);
    let mut out = String::with_capacity(template.len() + 64);
    let mut parameters = 0;
    let mut rest = template.as_str();
    while let Some(at) = rest.find(['[', '{']) {
        out.push_str(&rest[..at]);
        let close = if rest.as_bytes()[at] == b'[' { ']' } else { '}' };
        let (word, tail) = rest[at + 1..].split_once(close).expect("templates are ours and closed");
        rest = tail;
        let kind = match word {
            _ if close == ']' => {
                out.push_str(&quote(dialect, word));
                continue;
            }
            "now" => {
                out.push_str(dialect.now_ms());
                continue;
            }
            "backend" => {
                out.push_str(dialect.backend_id());
                continue;
            }
            "lock" => {
                out.push_str(dialect.for_update());
                continue;
            }
            "name" => Name,
            "text" => Text,
            "i32" => Int32,
            "i64" => Int64,
            "bytes" => Bytes,
            other => unreachable!("templates are ours: {other}"),
        };
        parameters += 1;
        out.push_str(&dialect.placeholder(parameters, kind));
    }
    out.push_str(rest);
    out
}

/// Statement texts of one dialect. `task` in a list of parameters stands for pipeline, direction, topic, partition.
#[derive(Clone, Debug)]
pub struct Statements {
    /// Fail when a table is not there; need no privilege to create.
    pub probe_tables: [String; 4],
    /// Create what is not there.
    pub create: Vec<String>,
    /// Claim: owner, group_id, task → matched rows.
    pub raise: String,
    /// task → next_offset, epoch, marks, generation, tail_hash, dead_window.
    pub read: String,
    /// A new row under epoch 1: task, next_offset, owner, group_id, generation, marks.
    pub insert: String,
    /// task → matched rows, which must be 1 though nothing changes (rule L2).
    pub assert_counts: String,
    /// pipeline, direction, own group_id, freshness in ms → group_id (rule L6).
    pub other_group: String,
    /// `run --start-from` (rules L6, L7): next_offset, generation, task.
    pub restart: String,
    /// The same: task → first and last offset of what is held; NULL when nothing is.
    pub held_offsets: String,
    /// The same: distance, task.
    pub held_of_older_log: String,
    /// pipeline, direction → generation of any row.
    pub direction_known: String,
    /// pipeline, direction, topic → the generations of its rows, each once.
    pub topic_known: String,
    /// Rule A6: pipeline, direction, topic → partition, next_offset, generation.
    pub topic_progress: String,
    /// Rule B5: pipeline, direction, topic → partition, next_offset, generation, marks.
    pub topic_marks: String,
    /// Rule A6: pipeline, direction, topic, timestamp, waits_for → held rows from before it that may still be applied and wait for
    /// something else.
    pub topic_held: String,
    /// task → backend_id.
    pub backend: String,
    /// Rule L1: to, marks, tail_hash, generation, task, epoch, owner, from → matched rows.
    pub cas: String,
    /// Rule E6: window, task; after the CAS of the same transaction.
    pub dead_window: String,
    /// Rule O1: task → outbox_seq; after the CAS of the same transaction.
    pub outbox_last: String,
    /// Rule O1: outbox_seq, task.
    pub outbox_seq: String,
    /// Rule O2: what is published goes: task, seq.
    pub outbox_forget: String,
    /// Rule L3: task → epoch, owner, next_offset.
    pub lock_read: String,
    /// → milliseconds.
    pub now: String,
    /// task → key_hash, state, waits_for, retry_at_ms, entity, bytes of the value, in order of offsets; those that are not history.
    pub held_keys: String,
    /// Rows that are due: task, first and last offset → offset, ordinal, attempts, first_failed_at_ms, code.
    pub held_due: String,
    /// One more attempt failed, and it can't be read again: state, class, code, message, retry_at_ms, waits_for, waits_for_key,
    /// first_failed_at_ms, task, offset, ordinal.
    pub held_fail: String,
    /// Followers of a key become due (rule H3): task, key_hash.
    pub held_retry_followers: String,
    /// Followers of a key wait again: task, key_hash.
    pub held_hold_followers: String,
    /// The first change behind a held row after which the key has no row: task, key_hash, offset → offset, waits_for.
    pub held_vacating: String,
    /// What the next statement makes history: task, key_hash, offset → state, bytes of the value.
    pub held_passed: String,
    /// A full image passed: older held rows of the key are history (rule H4): task, key_hash, offset.
    pub held_supersede: String,
    /// The same for dead rows only: task, key_hash, offset.
    pub held_supersede_dead: String,
    /// A newer row did not replace all of what dead rows would have brought (rule H4): retry_at_ms, task, key_hash, offset.
    pub held_overtake: String,
    /// A truncate makes history of the dead rows before it: task, entity, offset.
    pub held_supersede_entity: String,
    /// Rows of a key that wait before an offset, in order: task, key_hash, offset → offset, state, waits_for.
    pub held_waiting: String,
    /// Rows of a key behind an offset wait again: task, key_hash, offset.
    pub held_hold_behind: String,
    /// task, age in ms: history that nobody needs any more.
    pub held_purge: String,
    /// Rule H2: waits_for → keys that parked rows wait for and that are not due; NULL if they do not say which.
    pub held_wanted: String,
    /// All that waits for something is due (rule H2): waits_for.
    pub held_wake: String,
    /// Rule B5: pipeline, direction, entity, waits_for, key_hash → halves of this key change with another key that are held and not dead.
    pub held_halves: String,
    /// pipeline, direction, pair → state, locked.
    pub moved_read: String,
    /// pipeline, direction, pair.
    pub moved_take: String,
    /// pipeline, direction, age in ms → one row if there are words that nobody came for.
    pub moved_old: String,
    /// The same: deletes them. It waits for every word that is locked.
    pub moved_forget: String,
    /// A truncate takes what waits for the table too (rule B7): pipeline, direction, entity.
    pub held_clear_entity: String,
}

const WHERE_DIRECTION: &str = "WHERE [pipeline] = {name} AND [direction] = {name}";
const WHERE_PAIR: &str = "WHERE [pipeline] = {name} AND [direction] = {name} AND [pair] = {name}";
const FOLLOWERS: &str = "WHERE {task} AND [state] IN ('queued', 'replay') AND [key_hash] = {i64}";
const OLDER_DEAD: &str = "WHERE {task} AND [key_hash] = {i64} AND [offset] < {i64} AND [state] IN ('dead', 'replay')";

impl Statements {
    /// Builds all texts.
    pub fn new(dialect: &dyn Dialect) -> Statements {
        let text = |template: &str| expand(dialect, template);
        Statements {
            probe_tables: [PROGRESS, HELD, MOVED, OUTBOX]
                .map(|table| text(&format!("SELECT 1 FROM [{table}] WHERE 1 = 0"))),
            create: create(dialect),
            raise: text(
                "UPDATE [tidelock_progress] SET [epoch] = [epoch] + 1, [owner] = {name}, [group_id] = {name}, \
                 [backend_id] = {backend}, [updated_at_ms] = {now} WHERE {task}",
            ),
            read: text(
                "SELECT [next_offset], [epoch], [marks], [generation], [tail_hash], [dead_window] FROM [tidelock_progress] \
                 WHERE {task}",
            ),
            insert: text(
                "INSERT INTO [tidelock_progress] ([pipeline], [direction], [topic], [partition], [next_offset], [owner], \
                 [group_id], [generation], [marks], [epoch], [backend_id], [updated_at_ms], [tail_epoch], [tail_hash], \
                 [outbox_seq], [dead_window]) VALUES ({name}, {name}, {name}, {i32}, {i64}, {name}, {name}, {name}, {bytes}, \
                 1, {backend}, {now}, -1, 0, 0, '')",
            ),
            assert_counts: text("UPDATE [tidelock_progress] SET [next_offset] = [next_offset] WHERE {task}"),
            other_group: text(&format!(
                "SELECT [group_id] FROM [tidelock_progress] {WHERE_DIRECTION} AND [group_id] <> {{name}} \
                 AND [updated_at_ms] > {{now}} - {{i64}} LIMIT 1"
            )),
            restart: text(
                "UPDATE [tidelock_progress] SET [next_offset] = {i64}, [generation] = {name}, [tail_hash] = 0 WHERE {task}",
            ),
            held_offsets: text("SELECT MIN([offset]), MAX([offset]) FROM [tidelock_held] WHERE {task}"),
            held_of_older_log: text("UPDATE [tidelock_held] SET [offset] = [offset] - {i64} WHERE {task}"),
            direction_known: text(&format!("SELECT [generation] FROM [tidelock_progress] {WHERE_DIRECTION} LIMIT 1")),
            topic_known: text(&format!(
                "SELECT DISTINCT [generation] FROM [tidelock_progress] {WHERE_DIRECTION} AND [topic] = {{name}}"
            )),
            topic_progress: text(&format!(
                "SELECT [partition], [next_offset], [generation] FROM [tidelock_progress] {WHERE_DIRECTION} AND [topic] = {{name}}"
            )),
            topic_marks: text(&format!(
                "SELECT [partition], [next_offset], [generation], [marks] FROM [tidelock_progress] {WHERE_DIRECTION} AND [topic] = {{name}}"
            )),
            topic_held: text(&format!(
                "SELECT COUNT(*) FROM [tidelock_held] {WHERE_DIRECTION} AND [topic] = {{name}} AND [state] IN ('parked', 'queued', 'replay') \
                 AND [timestamp_ms] < {{i64}} AND COALESCE([waits_for], '-') <> {{name}}"
            )),
            backend: text("SELECT [backend_id] FROM [tidelock_progress] WHERE {task}"),
            cas: text(
                "UPDATE [tidelock_progress] SET [next_offset] = {i64}, [marks] = {bytes}, [tail_hash] = {i64}, \
                 [generation] = {name}, [updated_at_ms] = {now} WHERE {task} AND [epoch] = {i64} AND [owner] = {name} AND [next_offset] = {i64}",
            ),
            dead_window: text("UPDATE [tidelock_progress] SET [dead_window] = {text} WHERE {task}"),
            outbox_last: text("SELECT [outbox_seq] FROM [tidelock_progress] WHERE {task}"),
            outbox_seq: text("UPDATE [tidelock_progress] SET [outbox_seq] = {i64} WHERE {task}"),
            outbox_forget: text("DELETE FROM [tidelock_outbox] WHERE {task} AND [seq] <= {i64}"),
            lock_read: text("SELECT [epoch], [owner], [next_offset] FROM [tidelock_progress] WHERE {task}{lock}"),
            now: text("SELECT {now}"),
            held_keys: text(
                "SELECT [key_hash], [state], [waits_for], [retry_at_ms], [entity], COALESCE(LENGTH([raw_value]), 0) FROM [tidelock_held] \
                 WHERE {task} AND [state] <> 'superseded' ORDER BY [offset], [ordinal]",
            ),
            held_due: text(
                "SELECT [offset], [ordinal], [attempts], [first_failed_at_ms], [code] FROM [tidelock_held] WHERE {task} AND [offset] >= {i64} \
                 AND [offset] <= {i64} AND [state] IN ('parked', 'queued', 'replay') AND [retry_at_ms] <= {now}",
            ),
            held_fail: text(
                "UPDATE [tidelock_held] SET [attempts] = [attempts] + 1, [state] = {name}, [class] = {name}, [code] = {name}, \
                 [message] = {text}, [retry_at_ms] = {i64}, [waits_for] = {name}, [waits_for_key] = {i64}, \
                 [first_failed_at_ms] = {i64} WHERE {held}",
            ),
            held_retry_followers: text(&format!(
                "UPDATE [tidelock_held] SET [retry_at_ms] = {{now}} {FOLLOWERS} AND [retry_at_ms] > {{now}}"
            )),
            held_hold_followers: text(&format!(
                "UPDATE [tidelock_held] SET [retry_at_ms] = {NOT_DUE} {FOLLOWERS} AND [retry_at_ms] < {NOT_DUE}"
            )),
            held_vacating: text(&format!(
                "SELECT [offset], [waits_for] FROM [tidelock_held] WHERE {{task}} AND [key_hash] = {{i64}} AND [offset] > {{i64}} \
                 AND [state] = 'queued' AND ([waits_for] = '{QUEUED_DELETE}' OR [waits_for] LIKE '{MOVE_PREFIX}%') ORDER BY [offset] LIMIT 1"
            )),
            held_passed: text(
                "SELECT [state], COALESCE(LENGTH([raw_value]), 0) FROM [tidelock_held] WHERE {task} AND [key_hash] = {i64} \
                 AND [offset] < {i64} AND [state] <> 'superseded'",
            ),
            held_supersede: text(
                "UPDATE [tidelock_held] SET [state] = 'superseded' WHERE {task} AND [key_hash] = {i64} AND [offset] < {i64}",
            ),
            held_supersede_dead: text(&format!("UPDATE [tidelock_held] SET [state] = 'superseded' {OLDER_DEAD}")),
            held_overtake: text(&format!(
                "UPDATE [tidelock_held] SET [state] = 'dead', [waits_for] = '{OVERTAKEN}', [retry_at_ms] = {{i64}} {OLDER_DEAD}"
            )),
            held_supersede_entity: text(
                "UPDATE [tidelock_held] SET [state] = 'superseded' WHERE {task} AND [entity] = {name} AND [offset] < {i64} \
                 AND [state] IN ('dead', 'replay')",
            ),
            held_waiting: text(
                "SELECT [offset], [state], [waits_for] FROM [tidelock_held] WHERE {task} AND [key_hash] = {i64} AND [offset] < {i64} \
                 AND [state] IN ('parked', 'queued', 'replay') ORDER BY [offset]",
            ),
            held_hold_behind: text(&format!(
                "UPDATE [tidelock_held] SET [retry_at_ms] = {NOT_DUE} {FOLLOWERS} AND [offset] > {{i64}} AND [retry_at_ms] < {NOT_DUE}"
            )),
            held_purge: text(
                "DELETE FROM [tidelock_held] WHERE {task} AND [state] = 'superseded' AND [first_failed_at_ms] < {now} - {i64}",
            ),
            held_wanted: text(
                "SELECT DISTINCT [waits_for_key] FROM [tidelock_held] WHERE [waits_for] = {name} AND [state] = 'parked' \
                 AND [retry_at_ms] > {now}",
            ),
            held_wake: text(
                "UPDATE [tidelock_held] SET [retry_at_ms] = {now} WHERE [waits_for] = {name} AND [state] = 'parked' \
                 AND [retry_at_ms] > {now}",
            ),
            held_halves: text(&format!(
                "SELECT COUNT(*) FROM [tidelock_held] {WHERE_DIRECTION} AND [entity] = {{name}} AND [waits_for] = {{name}} \
                 AND [key_hash] <> {{i64}} AND [state] IN ('parked', 'queued', 'replay')"
            )),
            moved_read: text(&format!("SELECT [state] FROM [tidelock_moved] {WHERE_PAIR}{{lock}}")),
            moved_take: text(&format!("DELETE FROM [tidelock_moved] {WHERE_PAIR}")),
            moved_old: text(&format!(
                "SELECT 1 FROM [tidelock_moved] {WHERE_DIRECTION} AND [created_at_ms] < {{now}} - {{i64}} LIMIT 1"
            )),
            moved_forget: text(&format!(
                "DELETE FROM [tidelock_moved] {WHERE_DIRECTION} AND [created_at_ms] < {{now}} - {{i64}}"
            )),
            held_clear_entity: text(&format!(
                "DELETE FROM [tidelock_held] {WHERE_DIRECTION} AND [entity] = {{name}} AND [state] NOT IN ('dead', 'replay')"
            )),
        }
    }
}

fn some_tasks(tasks: usize) -> String {
    let one = "([topic] = {name} AND [partition] = {i32})";
    format!("{WHERE_DIRECTION} AND ({})", vec![one; tasks].join(" OR "))
}

/// Ledger rows of some tasks of one direction, not locked: pipeline, direction, (topic, partition)… → topic, partition, epoch, owner,
/// next_offset.
pub(crate) fn progress_text(dialect: &dyn Dialect, tasks: usize) -> String {
    expand(
        dialect,
        &format!(
            "SELECT [topic], [partition], [epoch], [owner], [next_offset] FROM [tidelock_progress] {}",
            some_tasks(tasks)
        ),
    )
}

/// Due rows of some tasks of one direction (rules H2, H3), those that have waited longest first: what is tried in vain again and again must not
/// keep others from their turn. Parameters and columns: pipeline, direction, (topic, partition)…, limit → topic, partition, offset,
/// ordinal, attempts, timestamp_ms, raw_key, raw_value, headers, state, code, entity, waits_for, milliseconds since it failed first.
pub(crate) fn due_text(dialect: &dyn Dialect, tasks: usize) -> String {
    expand(
        dialect,
        &format!(
            "SELECT [topic], [partition], [offset], [ordinal], [attempts], [timestamp_ms], [raw_key], [raw_value], [headers], [state], \
             [code], [entity], [waits_for], {{now}} - [first_failed_at_ms] FROM [tidelock_held] {} AND [state] IN ('parked', 'queued', 'replay') AND [retry_at_ms] <= {{now}} \
             ORDER BY [retry_at_ms], [topic], [partition], [offset], [ordinal] LIMIT {{i64}}",
            some_tasks(tasks)
        ),
    )
}

/// Words of some pairs of one direction, not locked (rule B5): pipeline, direction, pair… → pair, state.
pub(crate) fn words_text(dialect: &dyn Dialect, pairs: usize) -> String {
    let pairs = vec!["{name}"; pairs].join(", ");
    expand(dialect, &format!("SELECT [pair], [state] FROM [tidelock_moved] {WHERE_DIRECTION} AND [pair] IN ({pairs})"))
}

/// Rows wait on; for halves of key changes it is as if they were tried (rule B5): first delay twice, last delay twice, first delay, all in ms, task, (offset, ordinal)… The delay
/// is that of [`super::writer::HeldLimits`].
pub(crate) fn postpone_text(dialect: &dyn Dialect, rows: usize) -> String {
    let rows = vec!["([offset] = {i64} AND [ordinal] = {i32})"; rows].join(" OR ");
    let age = "({now} - [first_failed_at_ms])";
    expand(
        dialect,
        &format!(
            "UPDATE [tidelock_held] SET [attempts] = [attempts] + CASE WHEN [code] IN ('{DELETE_HALF_WAITS}', '{CREATE_HALF_WAITS}') \
             THEN 1 ELSE 0 END, [retry_at_ms] = {{now}} + CASE WHEN {age} < 0 THEN {{i64}} WHEN {age} + {{i64}} > {{i64}} THEN {{i64}} ELSE {age} + {{i64}} END WHERE {{task}} AND ({rows}) AND [state] IN ('parked', 'queued', 'replay') \
             AND [retry_at_ms] <= {{now}}"
        ),
    )
}

/// What waits for one of some keys, or does not say for which, is due (rule H2): waits_for, waits_for_key…
pub(crate) fn wake_text(dialect: &dyn Dialect, keys: usize) -> String {
    let keys = match keys {
        0 => String::new(),
        keys => format!(" OR [waits_for_key] IN ({})", vec!["{i64}"; keys].join(", ")),
    };
    expand(
        dialect,
        &format!(
            "UPDATE [tidelock_held] SET [retry_at_ms] = {{now}} WHERE [waits_for] = {{name}} AND [state] = 'parked' \
             AND [retry_at_ms] > {{now}} AND ([waits_for_key] IS NULL{keys})"
        ),
    )
}

/// Outputs of some tasks of one direction (rule O2): pipeline, direction, (topic, partition, seq)…, limit → topic, partition, seq, target,
/// key, value, headers.
pub(crate) fn outbox_text(dialect: &dyn Dialect, tasks: usize) -> String {
    let one = "([topic] = {name} AND [partition] = {i32} AND [seq] > {i64})";
    let some = vec![one; tasks].join(" OR ");
    expand(
        dialect,
        &format!(
            "SELECT [topic], [partition], [seq], [target], [key], [value], [headers] FROM [tidelock_outbox] \
             {WHERE_DIRECTION} AND ({some}) ORDER BY [topic], [partition], [seq] LIMIT {{i64}}"
        ),
    )
}

/// Counts of some tasks of one direction: pipeline, direction, (topic, partition)… → state, count.
pub(crate) fn counts_text(dialect: &dyn Dialect, tasks: usize) -> String {
    expand(
        dialect,
        &format!(
            "SELECT [state], COUNT(*) FROM [tidelock_held] {} AND [state] IN ('parked', 'queued', 'replay', 'dead') GROUP BY [state]",
            some_tasks(tasks)
        ),
    )
}

fn create(dialect: &dyn Dialect) -> Vec<String> {
    let column = |name: &str, kind: OwnType, nullable: bool| {
        format!("  {} {}{}", quote(dialect, name), dialect.own_type(kind), if nullable { "" } else { " NOT NULL" })
    };
    let key = |names: &[&str]| {
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
    let moved = MOVED_COLUMNS.iter().map(|(name, kind, nullable)| column(name, *kind, *nullable)).collect::<Vec<_>>();
    let outbox = OUTBOX_COLUMNS.iter().map(|(name, kind, nullable)| column(name, *kind, *nullable)).collect::<Vec<_>>();
    let held = HELD_COLUMNS.iter().map(|(name, kind, nullable)| column(name, *kind, *nullable)).collect::<Vec<_>>();
    let index = |name: &str, columns: &[&str]| {
        let columns = columns.iter().map(|name| quote(dialect, name)).collect::<Vec<_>>().join(", ");
        let guard = if dialect.index_if_not_exists() { "IF NOT EXISTS " } else { "" };
        format!("CREATE INDEX {guard}{} ON {} ({columns})", quote(dialect, name), quote(dialect, HELD))
    };
    vec![
        table(PROGRESS, progress, key(&["pipeline", "direction", "topic", "partition"])),
        table(HELD, held, key(&["pipeline", "direction", "topic", "partition", "offset", "ordinal"])),
        table(MOVED, moved, key(&["pipeline", "direction", "pair"])),
        table(OUTBOX, outbox, key(&["pipeline", "direction", "topic", "partition", "seq"])),
        index("tidelock_held_waits_for", &["waits_for", "waits_for_key"]),
        index("tidelock_held_due", &["state", "retry_at_ms"]),
        // What waits behind what: without it every try reads all that waits in its partition.
        index("tidelock_held_key_hash", &["key_hash", "pipeline", "direction", "topic", "partition"]),
    ]
}
