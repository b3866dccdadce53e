//! `tidelock dlq`: held rows of the targets, to look at, to try again, to throw away (rules H).
//!
//! The command only reads `tidelock_held`, deletes from it, and sets state and time; the lane that owns the partition executes, under its
//! own compare-and-set (rule H2), and notices within a few seconds. A record that a later change of its row has overtaken is left out unless it
//! is forced, so that an old record does not overwrite a newer row (rule H4).
//!
//! Row values stay out of the output unless `--raw` asks for them.

mod filter;
mod print;

use connect::sql::connection::SqlConnection;
use connect::sql::dialect::{Dialect, OwnType, quote};
use connect::sql::statements::{HELD, OVERTAKEN, REPLAY};
use serde::Serialize;
use topology::data::Value;
use topology::{Error, ErrorKind};

use self::filter::Condition;
pub(crate) use self::filter::{DlqFilter, HeldId};
use crate::cli::{Dlq, RawForm};
use crate::config::Config;
use crate::exit::{Failure, Result, with_causes};
use crate::{directions, sites};

/// Rows changed in one transaction: a lane that wants one of them waits that long.
const ROWS_PER_TRANSACTION: usize = 500;

/// One row of `tidelock_held`.
#[derive(Debug, Serialize)]
pub(crate) struct HeldRow {
    site: String,
    direction: String,
    /// topic/partition/offset/ordinal
    id: String,
    topic: String,
    partition: i64,
    offset: i64,
    ordinal: i64,
    entity: String,
    state: String,
    /// Dead, and a later change has overtaken it in part: replayed only by force.
    overtaken: bool,
    class: String,
    stage: String,
    code: Option<String>,
    message: String,
    attempts: i64,
    first_failed_at_ms: i64,
    /// When it is tried next; nothing for rows that are not tried.
    retry_at_ms: Option<i64>,
    waits_for: Option<String>,
    /// Kafka's time of the record.
    timestamp_ms: i64,
    /// Place in the source's log, and when it was committed there.
    source_position: Option<String>,
    committed_at_ms: Option<i64>,
    engine: String,
    key_hash: Option<String>,
    key_bytes: Option<i64>,
    value_bytes: Option<i64>,
    /// The database's clock when it was asked.
    now_ms: i64,
    #[serde(skip_serializing_if = "Option::is_none")]
    headers: Option<Vec<Header>>,
    #[serde(skip_serializing_if = "Option::is_none")]
    raw: Option<Raw>,
}

/// One header of a record; its value only with `--raw`.
#[derive(Debug, Serialize)]
struct Header {
    name: String,
    bytes: Option<usize>,
    #[serde(skip_serializing_if = "Option::is_none")]
    value: Option<String>,
}

/// What `--raw` adds.
#[derive(Debug, Serialize)]
struct Raw {
    form: &'static str,
    /// The mapped key, as far as it is known.
    mapped_key: Option<String>,
    key: Option<String>,
    value: Option<String>,
}

/// What `replay` and `discard` did.
#[derive(Debug, Default, Serialize)]
struct Done {
    /// Rows that will be tried, or are deleted.
    rows: u64,
    /// Rows left out because a later change has overtaken them.
    skipped: u64,
}

/// Does what the command line says.
pub(crate) async fn run(config: &Config, action: Dlq) -> Result<()> {
    match action {
        Dlq::List { filter, limit, json } => list(config, &filter, limit, json).await,
        Dlq::Show { id, filter, raw, json } => show(config, &id, &filter, raw, json).await,
        Dlq::Replay { ids, filter, force, all, json } => {
            if ids.is_empty() && filter.is_empty() && !all {
                return Err(Failure::Run("say which: ids, a filter such as --entity, or --all".to_owned()));
            }
            replay(config, &ids, &filter, force, json).await
        }
        Dlq::Discard { ids, filter, yes, json } => {
            if ids.is_empty() && !yes {
                let advice = "look at them with the same filter and `tidelock dlq list`, then say --yes";
                return Err(Failure::Run(format!("discarding by a filter needs --yes: {advice}")));
            }
            discard(config, &ids, &filter, json).await
        }
    }
}

/// SQL targets that the filter does not leave out.
fn targets(config: &Config, filter: &DlqFilter) -> Vec<String> {
    let directions = directions::of(config);
    let is_asked = |name: &str| {
        config.sites.get(name).is_some_and(|site| site.kind.is_sql())
            && directions.iter().any(|direction| direction.target == name)
            && filter.site.as_deref().is_none_or(|site| site == name)
    };
    config.sites.names().filter(|name| is_asked(name)).map(str::to_owned).collect()
}

async fn open(
    config: &Config,
    site: &str,
) -> std::result::Result<(Box<dyn SqlConnection>, &'static dyn Dialect), Error> {
    let connector = sites::connector(config, site, None)?;
    let session = connector.connect().await?;
    Ok((session, connector.dialect()))
}

/// Collects what every target has; those that can't be asked.
async fn collect(
    config: &Config,
    filter: &DlqFilter,
    ids: &[HeldId],
    states: &[&str],
    limit: usize,
) -> Result<(Vec<HeldRow>, Vec<String>)> {
    let mut rows = Vec::new();
    let mut unreachable = Vec::new();
    let targets = targets(config, filter);
    if targets.is_empty() {
        return Err(Failure::Run("no target of the configuration fits; see --site and `tidelock describe`".to_owned()));
    }
    for site in &targets {
        let left = if limit == 0 { 0 } else { limit.saturating_sub(rows.len()) };
        if limit > 0 && left == 0 {
            break;
        }
        let read = async {
            let (mut session, dialect) = open(config, site).await?;
            let condition = filter.condition(config, site, dialect, ids, states);
            select(&mut *session, dialect, site, &condition, left).await
        };
        match read.await {
            Ok(found) => rows.extend(found),
            Err(error) => unreachable.push(format!("{site}: {}", with_causes(&error))),
        }
    }
    Ok((rows, unreachable))
}

fn refuse_unreachable(unreachable: &[String]) -> Result<()> {
    match unreachable {
        [] => Ok(()),
        some => Err(Failure::Run(format!("cannot ask {}", some.join("; ")))),
    }
}

const COLUMNS: [&str; 18] = [
    "direction",
    "topic",
    "partition",
    "offset",
    "ordinal",
    "entity",
    "state",
    "class",
    "stage",
    "code",
    "message",
    "attempts",
    "first_failed_at_ms",
    "retry_at_ms",
    "waits_for",
    "timestamp_ms",
    "source_position",
    "committed_at_ms",
];

const ORDER: [&str; 5] = ["direction", "topic", "partition", "offset", "ordinal"];

async fn select(
    session: &mut dyn SqlConnection,
    dialect: &dyn Dialect,
    site: &str,
    condition: &Condition,
    limit: usize,
) -> std::result::Result<Vec<HeldRow>, Error> {
    let name = |name: &&str| quote(dialect, name);
    let columns: Vec<String> = COLUMNS.iter().map(name).collect();
    let order: Vec<String> = ORDER.iter().map(name).collect();
    let limit = if limit == 0 { String::new() } else { format!(" LIMIT {limit}") };
    let sql = format!(
        "SELECT {}, {}, {}, LENGTH({}), LENGTH({}), {} FROM {} WHERE {} ORDER BY {}{limit}",
        columns.join(", "),
        quote(dialect, "engine"),
        quote(dialect, "key_hash"),
        quote(dialect, "raw_key"),
        quote(dialect, "raw_value"),
        dialect.now_ms(),
        quote(dialect, HELD),
        condition.sql,
        order.join(", "),
    );
    let rows = match session.query(&sql, &condition.values).await {
        Ok(rows) => rows,
        // Nothing was ever claimed here: the tables are made by the first claim.
        Err(error) if error.kind() == ErrorKind::Schema => return Ok(Vec::new()),
        Err(error) => return Err(error.into()),
    };
    Ok(rows.into_iter().map(|row| held_row(site, row)).collect())
}

fn text(value: Option<Value>) -> Option<String> {
    match value {
        Some(Value::Text(text)) => Some(text),
        Some(Value::Bytes(bytes)) => Some(String::from_utf8_lossy(&bytes).into_owned()),
        _ => None,
    }
}

fn number(value: Option<Value>) -> Option<i64> {
    match value {
        Some(Value::I64(number)) => Some(number),
        _ => None,
    }
}

fn held_row(site: &str, row: Vec<Value>) -> HeldRow {
    let mut cells = row.into_iter();
    let mut next = || cells.next();
    let direction = text(next()).unwrap_or_default();
    let topic = text(next()).unwrap_or_default();
    let mut integer = || number(next()).unwrap_or_default();
    let (partition, offset, ordinal) = (integer(), integer(), integer());
    let mut word = || text(next());
    let (entity, state) = (word().unwrap_or_default(), word().unwrap_or_default());
    let (class, stage) = (word().unwrap_or_default(), word().unwrap_or_default());
    let (code, message) = (word(), word().unwrap_or_default());
    let mut integer = || number(next());
    let (attempts, first_failed, retry_at) = (integer(), integer(), integer());
    let waits_for = text(next());
    let timestamp_ms = number(next());
    let source_position = text(next());
    let committed_at_ms = number(next());
    let engine = text(next());
    let mut integer = || number(next());
    let (key_hash, key_bytes, value_bytes, now_ms) = (integer(), integer(), integer(), integer());
    HeldRow {
        site: site.to_owned(),
        id: format!("{topic}/{partition}/{offset}/{ordinal}"),
        direction,
        topic,
        partition,
        offset,
        ordinal,
        entity,
        overtaken: state == "dead" && waits_for.as_deref() == Some(OVERTAKEN),
        state,
        class,
        stage,
        code,
        message,
        attempts: attempts.unwrap_or_default(),
        first_failed_at_ms: first_failed.unwrap_or_default(),
        retry_at_ms: retry_at.filter(|at| *at != i64::MAX),
        waits_for: waits_for.filter(|name| name != OVERTAKEN),
        timestamp_ms: timestamp_ms.unwrap_or(-1),
        source_position,
        committed_at_ms,
        engine: engine.unwrap_or_default(),
        key_hash: key_hash.map(|hash| format!("{:016x}", hash.cast_unsigned())),
        key_bytes,
        value_bytes,
        now_ms: now_ms.unwrap_or_default(),
        headers: None,
        raw: None,
    }
}

async fn list(config: &Config, filter: &DlqFilter, limit: usize, json: bool) -> Result<()> {
    // History is shown to those who ask for it.
    let states = filter.states(&["parked", "queued", "dead", REPLAY]);
    let (rows, unreachable) = collect(config, filter, &[], &states, limit).await?;
    if json {
        print!("{}", pretty(&rows));
    } else {
        print!("{}", print::list(&rows));
        if limit > 0 && rows.len() == limit {
            println!("the first {limit}; --limit 0 shows all");
        }
    }
    refuse_unreachable(&unreachable)
}

async fn show(config: &Config, id: &HeldId, filter: &DlqFilter, raw: Option<RawForm>, json: bool) -> Result<()> {
    let ids = std::slice::from_ref(id);
    let (mut rows, unreachable) = collect(config, filter, ids, &filter.states(&[]), 0).await?;
    for row in &mut rows {
        let (mut session, dialect) = open(config, &row.site).await?;
        add_bytes(config, &mut *session, dialect, row, raw).await?;
    }
    if json {
        print!("{}", pretty(&rows));
    } else {
        rows.iter().for_each(|row| print!("{}", print::show(row)));
    }
    refuse_unreachable(&unreachable)?;
    if rows.is_empty() { Err(Failure::Run(format!("no held row is named {id}"))) } else { Ok(()) }
}

/// Headers, and with `--raw` the record's bytes.
async fn add_bytes(
    config: &Config,
    session: &mut dyn SqlConnection,
    dialect: &dyn Dialect,
    row: &mut HeldRow,
    form: Option<RawForm>,
) -> std::result::Result<(), Error> {
    let condition = row_condition(config, dialect, row);
    let columns = ["headers", "key", "raw_key", "raw_value"].map(|name| quote(dialect, name)).join(", ");
    let sql = format!("SELECT {columns} FROM {} WHERE {}", quote(dialect, HELD), condition.sql);
    let Some(found) = session.query(&sql, &condition.values).await?.into_iter().next() else { return Ok(()) };
    let mut cells = found.into_iter();
    let mut bytes = || match cells.next() {
        Some(Value::Bytes(bytes)) => Some(bytes),
        Some(Value::Text(text)) => Some(text.into_bytes()),
        _ => None,
    };
    let (headers, mapped, key, value) = (bytes().unwrap_or_default(), bytes(), bytes(), bytes());
    let header = |(name, value): (&str, Option<&[u8]>)| Header {
        name: name.to_owned(),
        bytes: value.map(<[u8]>::len),
        value: form.and_then(|form| value.map(|value| print::encoded(form, value))),
    };
    row.headers = Some(topology::raw::headers(&headers).map(header).collect());
    row.raw = form.map(|form| Raw {
        form: form.word(),
        mapped_key: mapped.map(|bytes| String::from_utf8_lossy(&bytes).into_owned()),
        key: key.map(|bytes| print::encoded(form, &bytes)),
        value: value.map(|bytes| print::encoded(form, &bytes)),
    });
    Ok(())
}

/// Names one row by its primary key, in the state that was seen.
fn row_condition(config: &Config, dialect: &dyn Dialect, row: &HeldRow) -> Condition {
    let mut condition = Condition::default();
    condition.equals(dialect, "pipeline", OwnType::Name, Value::Text(config.pipeline.clone()));
    condition.equals(dialect, "direction", OwnType::Name, Value::Text(row.direction.clone()));
    condition.equals(dialect, "topic", OwnType::Name, Value::Text(row.topic.clone()));
    condition.equals(dialect, "partition", OwnType::Int32, Value::I64(row.partition));
    condition.equals(dialect, "offset", OwnType::Int64, Value::I64(row.offset));
    condition.equals(dialect, "ordinal", OwnType::Int32, Value::I64(row.ordinal));
    condition.equals(dialect, "state", OwnType::Name, Value::Text(row.state.clone()));
    condition
}

/// Runs one statement per row, if it still is in the state that was seen, and not overtaken since; in order, a few hundred per transaction.
async fn change(
    config: &Config,
    rows: &[&HeldRow],
    unless_overtaken: bool,
    statement: impl Fn(&dyn Dialect, &HeldRow) -> String,
) -> Result<u64> {
    let mut changed = 0;
    for of_site in rows.chunk_by(|one, other| one.site == other.site) {
        let (mut session, dialect) = open(config, &of_site[0].site).await?;
        for part in of_site.chunks(ROWS_PER_TRANSACTION) {
            session.begin(false).await.map_err(Error::from)?;
            for row in part {
                let condition = row_condition(config, dialect, row);
                let mut sql = format!("{} WHERE {}", statement(dialect, row), condition.sql);
                if unless_overtaken {
                    let waits_for = quote(dialect, "waits_for");
                    sql.push_str(&format!(" AND ({waits_for} IS NULL OR {waits_for} <> '{OVERTAKEN}')"));
                }
                changed += session.execute(&sql, &condition.values).await.map_err(Error::from)?;
            }
            session.commit().await.map_err(Error::from)?;
        }
    }
    Ok(changed)
}

async fn replay(config: &Config, ids: &[HeldId], filter: &DlqFilter, force: bool, json: bool) -> Result<()> {
    let usual: &[&str] = if ids.is_empty() { &["dead"] } else { &["dead", "parked", "superseded"] };
    let states = filter.states(usual);
    let (rows, unreachable) = collect(config, filter, ids, &states, 0).await?;
    refuse_unreachable(&unreachable)?;
    let is_history = |row: &HeldRow| row.state == "superseded" || row.overtaken;
    let chosen: Vec<&HeldRow> = rows.iter().filter(|row| force || !is_history(row)).collect();
    let replayed = change(config, &chosen, !force, |dialect, row| {
        let (table, state, retry_at) = (quote(dialect, HELD), quote(dialect, "state"), quote(dialect, "retry_at_ms"));
        match row.state.as_str() {
            // It waits in its turn already: only sooner.
            "parked" => format!("UPDATE {table} SET {retry_at} = {}", dialect.now_ms()),
            "queued" => format!("UPDATE {table} SET {retry_at} = {retry_at}"),
            _ => format!("UPDATE {table} SET {state} = '{REPLAY}', {retry_at} = {}", dialect.now_ms()),
        }
    })
    .await?;
    let skipped = rows.len() as u64 - replayed;
    let done = Done { rows: replayed, skipped };
    if json {
        print!("{}", pretty(&done));
    } else {
        println!("{replayed} will be tried again in order, within a few seconds of a running worker");
        if skipped > 0 {
            println!(
                "{skipped} left out: a later change of the row is applied already; --force tries them nevertheless"
            );
        }
    }
    if rows.is_empty() && !ids.is_empty() {
        return Err(Failure::Run("no held row has such an id".to_owned()));
    }
    Ok(())
}

async fn discard(config: &Config, ids: &[HeldId], filter: &DlqFilter, json: bool) -> Result<()> {
    let states = filter.states(if ids.is_empty() { &["dead"] } else { &[] });
    let (rows, unreachable) = collect(config, filter, ids, &states, 0).await?;
    refuse_unreachable(&unreachable)?;
    let chosen: Vec<&HeldRow> = rows.iter().collect();
    let deleted = change(config, &chosen, false, |dialect, _| format!("DELETE FROM {}", quote(dialect, HELD))).await?;
    if json {
        print!("{}", pretty(&Done { rows: deleted, skipped: 0 }));
    } else {
        println!("{deleted} discarded");
    }
    if rows.is_empty() && !ids.is_empty() {
        return Err(Failure::Run("no held row has such an id".to_owned()));
    }
    Ok(())
}

fn pretty(value: &impl Serialize) -> String {
    serde_json::to_string_pretty(value).unwrap_or_default() + "\n"
}
