//! The loop guard's mark in the binary log, writer side (rules B2, G1, G2).
//!
//! MySQL: every tagged transaction has a GTID of our own, `<uuid>:<n>`, set before BEGIN; at rest the session is `AUTOMATIC`. The uuid names
//! the site that changes come from, the server, and a *slot*: one slot per session, held by a session lock for the connection's life, so no
//! two sessions number with one uuid. `n` is counted in `tidelock_slot` within the batch's transaction, so numbers have no gaps, and starts
//! above all that the server has executed: MySQL makes a transaction with a used number a silent no-op (the ledger's CAS would show it).
//!
//! MariaDB: the session's `server_id` is ours for the connection's life.

use sqlx::mysql::MySqlConnection;
use sqlx::{AssertSqlSafe, Executor, Row};
use topology::guard::{SiteTags, Strategy};
use topology::{Error, ErrorKind, Stage};

use super::dialect::Flavour;
use super::errors::{classify, number};
use crate::sql::error::{SqlError, SqlResult};

/// Slots that are tried: far more than lanes that write to one server from one site.
const SLOTS_MAX: u32 = 1024;

/// Times that a session looks for its table again after another one that created it came between.
const CREATE_TRIES_MAX: u32 = 10;

const CREATE_SLOT: &str = "CREATE TABLE IF NOT EXISTS tidelock_slot (\
     pipeline VARCHAR(250) NOT NULL, site VARCHAR(250) NOT NULL, slot INT NOT NULL, uuid VARCHAR(36) NOT NULL, next_n BIGINT NOT NULL, \
     PRIMARY KEY (pipeline, site, slot)\
     ) ENGINE=InnoDB ROW_FORMAT=DYNAMIC DEFAULT CHARACTER SET utf8mb4 COLLATE utf8mb4_bin";

/// Whose writes these are, and how to mark them.
#[derive(Clone, Debug)]
pub struct Tagging {
    /// Tags of all sites of the pipeline.
    pub tags: SiteTags,
    /// The direction's source site: the tag of all its writes (rule B2).
    pub from: String,
    /// [`Strategy::Gtid`] on MySQL, [`Strategy::ServerId`] on MariaDB; what [`super::MySqlConnector::prove`] found.
    pub strategy: Strategy,
}

/// The mark of one session.
#[derive(Debug)]
pub(super) enum Mark {
    /// Nothing to do per transaction: no tag, or the session's server id.
    None,
    /// A GTID per transaction.
    Gtid(Slot),
}

/// A slot, ours while the session lives.
#[derive(Debug)]
pub(super) struct Slot {
    uuid: String,
    /// The number of the next tagged transaction.
    next: u64,
    /// `UPDATE tidelock_slot SET next_n = … ` up to the number, and from behind it.
    advance: (String, String),
}

impl Slot {
    /// What begins a tagged transaction, in one round trip.
    pub(super) fn begin(&self) -> String {
        format!("SET gtid_next = '{}:{}'; START TRANSACTION", self.uuid, self.next)
    }

    /// What ends it. The statement order counts: the commit is the second answer.
    pub(super) fn commit(&self) -> String {
        format!("{}{}{}; COMMIT; SET gtid_next = 'AUTOMATIC'", self.advance.0, self.next + 1, self.advance.1)
    }

    /// After a commit.
    pub(super) fn used(&mut self) {
        self.next += 1;
    }
}

/// Brings the mark to rest after a rollback (rule G2).
pub(super) const ROLLBACK_TAGGED: &str = "ROLLBACK; SET gtid_next = 'AUTOMATIC'";

async fn plain(connection: &mut MySqlConnection, sql: &str) -> Result<(), sqlx::Error> {
    connection.execute(sqlx::raw_sql(AssertSqlSafe(sql))).await.map(|_| ())
}

async fn one_text(connection: &mut MySqlConnection, sql: &str) -> Result<String, sqlx::Error> {
    let row = connection.fetch_one(sqlx::raw_sql(AssertSqlSafe(sql))).await?;
    row.try_get_unchecked::<Option<String>, _>(0).map(Option::unwrap_or_default)
}

fn failed(error: sqlx::Error) -> SqlError {
    classify("cannot take a loop-guard slot", "tidelock_slot", error)
}

/// Marks the session, or takes a slot (rule G1). Creates `tidelock_slot` if it is missing, under `AUTOMATIC`.
pub(super) async fn mark(connection: &mut MySqlConnection, tagging: &Tagging) -> SqlResult<Mark> {
    match tagging.strategy {
        Strategy::ServerId => {
            set_server_id(connection, tagging).await?;
            Ok(Mark::None)
        }
        Strategy::Gtid => take_slot(connection, tagging).await.map(Mark::Gtid),
        other => Err(refuse(format!("strategy {} does not exist here; use gtid or server_id", other.name()))),
    }
}

fn refuse(detail: String) -> SqlError {
    SqlError::known(Error::new(
        ErrorKind::Configuration,
        Stage::Configure,
        "cannot mark writes for the loop guard",
        detail,
    ))
}

async fn set_server_id(connection: &mut MySqlConnection, tagging: &Tagging) -> SqlResult<()> {
    let id = tagging.tags.server_id(&tagging.from).map_err(SqlError::known)?;
    let own = one_text(connection, "SELECT CAST(@@global.server_id AS CHAR)").await.map_err(failed)?;
    if own == id.to_string() {
        return Err(refuse(format!(
            "the server's own server_id is {id}, the tag of site {:?}; set `server_id` of that site to a free number",
            tagging.from
        )));
    }
    plain(connection, &format!("SET SESSION server_id = {id}")).await.map_err(failed)
}

async fn uuid_of(connection: &mut MySqlConnection, tagging: &Tagging, slot: u32) -> SqlResult<String> {
    let server = one_text(connection, "SELECT CAST(@@server_uuid AS CHAR)").await.map_err(failed)?;
    let uuid = tagging.tags.gtid_uuid(&tagging.from, &server, slot).map_err(SqlError::known)?;
    if server.get(..18).is_some_and(|half| half.eq_ignore_ascii_case(&uuid[..18])) {
        return Err(refuse(format!(
            "the server's own uuid begins like the tag of site {:?}; rename the site",
            tagging.from
        )));
    }
    Ok(uuid)
}

async fn take_slot(connection: &mut MySqlConnection, tagging: &Tagging) -> SqlResult<Slot> {
    ensure_table(connection).await?;
    for slot in 0..SLOTS_MAX {
        let uuid = uuid_of(connection, tagging, slot).await?;
        let lock = format!("SELECT CAST(GET_LOCK('tidelock:{uuid}', 0) AS CHAR)");
        if one_text(connection, &lock).await.map_err(failed)? != "1" {
            continue;
        }
        let next = first_number(connection, tagging, &uuid, slot).await?;
        let place = format!(
            "WHERE pipeline = {} AND site = {} AND slot = {slot}",
            literal(tagging.tags.pipeline()),
            literal(&tagging.from)
        );
        let advance = ("UPDATE tidelock_slot SET next_n = ".to_owned(), format!(" {place}"));
        return Ok(Slot { uuid, next, advance });
    }
    Err(SqlError::known(Error::new(
        ErrorKind::Environment,
        Stage::Claim,
        "cannot take a loop-guard slot",
        format!("all {SLOTS_MAX} slots of site {:?} are held by other sessions; close some", tagging.from),
    )))
}

/// Sessions that create the table at the same time stand in each other's way: `CREATE TABLE IF NOT EXISTS` looks for the table under a shared
/// metadata lock, and MySQL ends one of two that both want it exclusive as a deadlock (1213). That one looks again.
async fn ensure_table(connection: &mut MySqlConnection) -> SqlResult<()> {
    for _ in 0..CREATE_TRIES_MAX {
        match plain(connection, "SELECT 1 FROM tidelock_slot WHERE 1 = 0").await {
            Err(error) if number(&error) == Some(1146) => {}
            done => return done.map_err(failed),
        }
        match plain(connection, CREATE_SLOT).await {
            Err(error) if number(&error) == Some(1213) => {}
            done => return done.map_err(failed),
        }
    }
    plain(connection, CREATE_SLOT).await.map_err(failed)
}

/// The greater of what the table says and what the server has executed (rule G1); stored, so that the batch's UPDATE finds its row.
async fn first_number(connection: &mut MySqlConnection, tagging: &Tagging, uuid: &str, slot: u32) -> SqlResult<u64> {
    let (pipeline, site) = (literal(tagging.tags.pipeline()), literal(&tagging.from));
    let stored = format!(
        "SELECT CAST(COALESCE(MAX(next_n), 1) AS CHAR) FROM tidelock_slot \
         WHERE pipeline = {pipeline} AND site = {site} AND slot = {slot} AND uuid = '{uuid}'"
    );
    let stored: u64 = one_text(connection, &stored).await.map_err(failed)?.parse().unwrap_or(1);
    let executed = one_text(connection, "SELECT CAST(@@global.gtid_executed AS CHAR)").await.map_err(failed)?;
    let next = stored.max(highest(&executed, uuid) + 1);
    let store = format!(
        "INSERT INTO tidelock_slot (pipeline, site, slot, uuid, next_n) VALUES ({pipeline}, {site}, {slot}, '{uuid}', {next}) \
         ON DUPLICATE KEY UPDATE uuid = '{uuid}', next_n = {next}"
    );
    plain(connection, &store).await.map_err(failed)?;
    Ok(next)
}

/// Text in a statement without any character that could end it.
fn literal(text: &str) -> String {
    let mut out = String::with_capacity(text.len() * 2 + 12);
    out.push_str("_utf8mb4 x'");
    for byte in text.as_bytes() {
        out.push_str(&format!("{byte:02x}"));
    }
    out.push('\'');
    out
}

/// Highest number of `uuid` in a set like `uuid:1-3:7, uuid:1:tag:5-9`; tagged numbers are another sequence. 0 when there is none.
fn highest(set: &str, uuid: &str) -> u64 {
    let mut highest = 0;
    for part in set.split(',').map(str::trim) {
        let mut words = part.split(':');
        if !words.next().is_some_and(|first| first.eq_ignore_ascii_case(uuid)) {
            continue;
        }
        for interval in words {
            let Some(last) = interval.rsplit('-').next().and_then(|last| last.trim().parse::<u64>().ok()) else {
                break; // a tag: what follows are its numbers
            };
            highest = highest.max(last);
        }
    }
    highest
}

/// Whether writes that come from `tagging.from` can be marked on this server; tried with a tagged transaction that is rolled back. The
/// reasons why not are whole sentences, for `check`. The session is left as it was.
pub(super) async fn prove(
    connection: &mut MySqlConnection,
    flavour: Flavour,
    tags: &SiteTags,
    from: &str,
) -> SqlResult<Result<Strategy, Vec<String>>> {
    let mut reasons = Vec::new();
    let log = one_text(connection, "SELECT CONCAT(IF(@@global.log_bin, 1, 0), ' ', @@global.binlog_format)")
        .await
        .map_err(failed)?;
    if log != "1 ROW" {
        reasons.push(format!("the binary log must be on with binlog_format = ROW (log_bin, binlog_format are {log})"));
    }
    let strategy = match flavour {
        Flavour::MySql => Strategy::Gtid,
        Flavour::MariaDb => Strategy::ServerId,
    };
    let tagging = Tagging { tags: tags.clone(), from: from.to_owned(), strategy };
    let tried = match flavour {
        Flavour::MySql => prove_gtid(connection, &tagging).await?,
        Flavour::MariaDb => prove_server_id(connection, &tagging).await?,
    };
    reasons.extend(tried.err());
    Ok(if reasons.is_empty() { Ok(strategy) } else { Err(reasons) })
}

/// `Ok(Err(reason))` when the server says no; an error when it can't be asked.
async fn prove_gtid(connection: &mut MySqlConnection, tagging: &Tagging) -> SqlResult<Result<(), String>> {
    let mode = one_text(connection, "SELECT CAST(@@global.gtid_mode AS CHAR)").await.map_err(failed)?;
    if mode != "ON" {
        return Ok(Err(format!("gtid_mode is {mode}; set it to ON")));
    }
    // A slot that no writer takes: its number is free for ever, for the transaction is rolled back.
    let uuid = uuid_of(connection, tagging, u32::MAX).await?;
    match plain(connection, &format!("SET gtid_next = '{uuid}:1'; START TRANSACTION")).await {
        // Without the right not even AUTOMATIC may be set.
        Err(error) if number(&error) == Some(1227) => {
            return Ok(Err("the user lacks REPLICATION_APPLIER, which gtid_next needs".to_owned()));
        }
        begun => begun.map_err(failed)?,
    }
    let executed = plain(connection, "SELECT 1").await;
    plain(connection, ROLLBACK_TAGGED).await.map_err(failed)?;
    executed.map(Ok).map_err(failed)
}

async fn prove_server_id(connection: &mut MySqlConnection, tagging: &Tagging) -> SqlResult<Result<(), String>> {
    let before = one_text(connection, "SELECT CAST(@@server_id AS CHAR)").await.map_err(failed)?;
    match set_server_id(connection, tagging).await {
        Ok(()) => {}
        Err(error) if error.error.code.as_deref().is_some_and(|code| code.starts_with("1227")) => {
            return Ok(Err("the user lacks BINLOG REPLAY, which the session's server_id needs".to_owned()));
        }
        Err(error) if error.kind() == ErrorKind::Configuration => return Ok(Err(error.error.detail)),
        Err(error) => return Err(error),
    }
    plain(connection, &format!("START TRANSACTION; ROLLBACK; SET SESSION server_id = {before}"))
        .await
        .map_err(failed)?;
    Ok(Ok(()))
}

#[cfg(test)]
mod tests {
    use super::*;

    const OURS: &str = "d39f183d-186e-ad44-1eb2-03db00000000";

    #[test]
    fn the_highest_executed_number_is_found_among_other_servers_and_tags() {
        let set = "79602153-e58c-11f1-9248-02fc00000001:1-11,\nd39f183d-186e-ad44-1eb2-03db00000000:1-3:7-9:12:two_way:1-500,\n\
                   d39f183d-186e-ad44-1eb2-03db00000001:1-77";
        assert_eq!(highest(set, OURS), 12);
        assert_eq!(highest(set, &OURS.to_uppercase()), 12);
        assert_eq!(highest("", OURS), 0);
        assert_eq!(highest("79602153-e58c-11f1-9248-02fc00000001:1-11", OURS), 0);
    }

    #[test]
    fn literals_hold_no_quote_of_the_text() {
        assert_eq!(literal("a'b"), "_utf8mb4 x'612762'");
    }

    #[test]
    fn a_tagged_transaction_counts_within_itself_and_rests_after_commit() {
        let advance = ("UPDATE tidelock_slot SET next_n = ".to_owned(), " WHERE slot = 0".to_owned());
        let mut slot = Slot { uuid: OURS.to_owned(), next: 7, advance };
        assert_eq!(slot.begin(), format!("SET gtid_next = '{OURS}:7'; START TRANSACTION"));
        assert_eq!(
            slot.commit(),
            "UPDATE tidelock_slot SET next_n = 8 WHERE slot = 0; COMMIT; SET gtid_next = 'AUTOMATIC'"
        );
        slot.used();
        assert!(slot.begin().contains(":8'"));
    }
}
