//! Settings and privileges of a database server that a direction needs: as a source Debezium reads its log, as a target Tidelock writes it.

use connect::sql::connection::SqlConnection;
use topology::data::Value;
use topology::lens::convert::Engine;

use super::report::Report;

/// What a site is used for.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub(super) struct Roles {
    /// Some direction reads its changes.
    pub(super) source: bool,
    /// Some direction writes it.
    pub(super) target: bool,
    /// A guard reads our tags in its log.
    pub(super) tagged: bool,
}

/// Adds findings about the server. True if it allows zero dates.
pub(super) async fn check(
    connection: &mut dyn SqlConnection,
    engine: Engine,
    roles: Roles,
    report: &mut Report,
) -> bool {
    match engine {
        Engine::MySql | Engine::MariaDb => return mysql(connection, engine, roles, report).await,
        Engine::Postgres => postgres(connection, roles, report).await,
        _ => {}
    }
    false
}

async fn mysql(connection: &mut dyn SqlConnection, engine: Engine, roles: Roles, report: &mut Report) -> bool {
    let Some(variables) = Variables::read(connection, "SHOW GLOBAL VARIABLES", report).await else { return false };
    report.line(format!("version {}", variables.get("version")));
    let mode = variables.get("sql_mode");
    let zero_dates = !mode.contains("NO_ZERO_DATE") || !mode.contains("STRICT");
    if roles.source {
        for (name, wanted, why) in [
            ("log_bin", "ON", "without a binary log there are no changes to read"),
            ("binlog_format", "ROW", "Debezium reads rows, not statements"),
            ("binlog_row_image", "FULL", "changes must carry whole rows"),
        ] {
            let found = variables.get(name);
            if !found.is_empty() && found != wanted {
                report.error(format!("{name} is {found}, must be {wanted}: {why}"));
            }
        }
        if variables.get("binlog_row_value_options").contains("PARTIAL_JSON") {
            report.error("binlog_row_value_options is PARTIAL_JSON: JSON columns would arrive in pieces; set it to ''");
        }
        let keep: u64 = variables.get("binlog_expire_logs_seconds").parse().unwrap_or(0);
        if keep > 0 && keep < 86_400 {
            report.warning(format!("binlog_expire_logs_seconds is {keep}: a connector that stands still longer than that needs a new snapshot"));
        }
        if zero_dates {
            report.warning("sql_mode allows zero dates (0000-00-00), which Debezium cannot send; add NO_ZERO_DATE and STRICT_TRANS_TABLES");
        }
    }
    if roles.tagged && engine == Engine::MySql {
        for name in ["gtid_mode", "enforce_gtid_consistency"] {
            let found = variables.get(name);
            if found != "ON" {
                report
                    .error(format!("{name} is {found}, must be ON: the loop guard `gtid` marks our writes with GTIDs"));
            }
        }
    }
    if roles.target {
        if let Some(text) = first_text(connection, "SELECT CAST(DATABASE() AS CHAR)").await {
            report.line(format!("database {text}"));
        } else {
            report.error("the address names no database; add it after the port, as in mysql://user@host:3306/shop");
        }
        if !may_create(connection).await {
            report.error(
                "no CREATE on this database: Tidelock keeps its ledger in tables of its own (tidelock_*); GRANT CREATE ON this database TO this user",
            );
        }
        if variables.get("read_only") == "ON" {
            report.error("the server is read_only; Tidelock must write to it");
        }
    }
    zero_dates
}

/// Whether the ledger is there or could be made. Rights that come by a role are not looked into: they count as there.
async fn may_create(connection: &mut dyn SqlConnection) -> bool {
    if connection.query("SELECT 1 FROM tidelock_progress WHERE 1 = 0", &[]).await.is_ok() {
        return true;
    }
    let Ok(grants) = connection.query("SHOW GRANTS", &[]).await else { return true };
    let grants = grants.into_iter().flatten().filter_map(|cell| match cell {
        Value::Text(grant) => Some(grant.to_ascii_uppercase()),
        _ => None,
    });
    grants.into_iter().any(|grant| {
        let rights = grant.split(" ON ").next().unwrap_or_default();
        let is_role = !grant.contains(" ON ");
        is_role || rights.contains("ALL PRIVILEGES") || rights.split([' ', ',']).any(|word| word == "CREATE")
    })
}

async fn postgres(connection: &mut dyn SqlConnection, roles: Roles, report: &mut Report) {
    let settings = "SELECT CAST(name AS text), CAST(setting AS text) FROM pg_settings WHERE name IN ('server_version', 'server_version_num', \
                    'wal_level', 'max_replication_slots', 'max_wal_senders', 'max_active_replication_origins', 'transaction_read_only')";
    let Some(variables) = Variables::read(connection, settings, report).await else { return };
    report.line(format!("version {}", variables.get("server_version")));
    if roles.source && variables.get("wal_level") != "logical" {
        report.error(format!(
            "wal_level is {}, must be logical: Debezium reads the logical log (needs a restart of the server)",
            variables.get("wal_level")
        ));
    }
    if roles.source && variables.get("max_replication_slots") == "0" {
        report.error("max_replication_slots is 0: Debezium needs a slot");
    }
    if roles.tagged {
        let limit: u64 = variables.get("max_active_replication_origins").parse().unwrap_or(u64::MAX);
        if limit < 20 && limit != u64::MAX {
            report.note(format!("max_active_replication_origins is {limit}: every lane that writes here takes one"));
        }
        for function in [
            "pg_replication_origin_create(text)",
            "pg_replication_origin_session_setup(text)",
            "pg_replication_origin_session_is_setup()",
            "pg_replication_origin_session_reset()",
            "pg_replication_origin_oid(text)",
        ] {
            let sql =
                format!("SELECT CASE WHEN has_function_privilege('{function}', 'EXECUTE') THEN 'yes' ELSE 'no' END");
            if first_text(connection, &sql).await.as_deref() == Some("no") {
                report.error(format!("no EXECUTE on {function}: the loop guard `replication_origin` needs it; GRANT EXECUTE ON FUNCTION {function} TO this user"));
            }
        }
    }
    if roles.target && variables.get("transaction_read_only") == "on" {
        report.error("the server is read only (a standby?); Tidelock must write to it");
    }
    if roles.target {
        let own = "SELECT CASE WHEN to_regclass('tidelock_progress') IS NOT NULL OR has_schema_privilege(current_schema(), 'CREATE') \
                   THEN 'yes' ELSE 'no' END";
        if first_text(connection, own).await.as_deref() == Some("no") {
            report.error("no CREATE on the current schema: Tidelock keeps its ledger in tables of its own (tidelock_*); GRANT CREATE ON SCHEMA … TO this user");
        }
    }
}

/// Name and value of settings, compared without regard to case.
struct Variables(Vec<(String, String)>);

impl Variables {
    async fn read(connection: &mut dyn SqlConnection, sql: &str, report: &mut Report) -> Option<Variables> {
        match connection.query(sql, &[]).await {
            Ok(rows) => Some(Variables(
                rows.into_iter()
                    .filter_map(|row| match <[Value; 2]>::try_from(row) {
                        Ok([Value::Text(name), Value::Text(value)]) => Some((name.to_ascii_lowercase(), value)),
                        _ => None,
                    })
                    .collect(),
            )),
            Err(error) => {
                report.error(format!("cannot read the server's settings: {}", crate::exit::with_causes(&error.error)));
                None
            }
        }
    }

    /// Empty if there is no such setting.
    fn get(&self, name: &str) -> &str {
        self.0.iter().find(|(own, _)| own == name).map_or("", |(_, value)| value)
    }
}

pub(super) async fn first_text(connection: &mut dyn SqlConnection, sql: &str) -> Option<String> {
    match connection.query(sql, &[]).await.ok()?.into_iter().next()?.into_iter().next()? {
        Value::Text(text) => Some(text),
        Value::Bytes(bytes) => String::from_utf8(bytes).ok(),
        _ => None,
    }
}
