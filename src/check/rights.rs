//! Rights on the tables that a direction writes, and what Debezium needs of the tables that it reads.

use connect::sql::connection::SqlConnection;
use topology::lens::convert::Engine;
use topology::table::{Generated, TableDescription};

use super::report::Report;
use super::servers::{Roles, first_text};

/// Privileges on a target table, and what Debezium needs of a source table.
pub(super) async fn check(
    connection: &mut dyn SqlConnection,
    engine: Engine,
    table: &TableDescription,
    roles: Roles,
    report: &mut Report,
) {
    match engine {
        Engine::Postgres => postgres_table(connection, table, roles, report).await,
        Engine::MySql | Engine::MariaDb if roles.target => mysql_privileges(connection, table, report).await,
        _ => {}
    }
}

async fn postgres_table(
    connection: &mut dyn SqlConnection,
    table: &TableDescription,
    roles: Roles,
    report: &mut Report,
) {
    let quoted = literal(&quoted_table(&table.name, '"'));
    if roles.target {
        let mut missing = Vec::new();
        for privilege in ["SELECT", "INSERT", "UPDATE", "DELETE"] {
            let sql = format!("SELECT CASE WHEN has_table_privilege({quoted}, '{privilege}') THEN 'yes' ELSE 'no' END");
            if first_text(connection, &sql).await.as_deref() == Some("no") {
                missing.push(privilege);
            }
        }
        tell_missing(table, &missing, report);
    }
    if roles.source {
        let sql = format!("SELECT CAST(relreplident AS text) FROM pg_class WHERE oid = to_regclass({quoted})");
        let identity = first_text(connection, &sql).await.unwrap_or_default();
        match identity.as_str() {
            "n" => report.error(format!("{} has REPLICA IDENTITY NOTHING: updates and deletes carry no key; ALTER TABLE … REPLICA IDENTITY DEFAULT", table.name)),
            "d" if table.primary_key.is_empty() => report.error(format!(
                "{} has no primary key and REPLICA IDENTITY DEFAULT: updates and deletes carry no key, and PostgreSQL refuses them once it is published; \
                 ALTER TABLE … REPLICA IDENTITY FULL",
                table.name
            )),
            "d" => report.note(format!("{}: REPLICA IDENTITY DEFAULT; large unchanged values (TOAST) arrive as unavailable and are left alone at the target", table.name)),
            _ => {}
        }
    }
}

/// EXPLAIN of a statement wants the privilege of the statement and runs nothing.
async fn mysql_privileges(connection: &mut dyn SqlConnection, table: &TableDescription, report: &mut Report) {
    let name = quoted_table(&table.name, '`');
    let Some(column) = table
        .columns
        .iter()
        .find(|column| column.generated != Generated::Computed)
        .map(|column| format!("`{}`", column.name.replace('`', "``")))
    else {
        return;
    };
    let mut missing = Vec::new();
    for (privilege, statement) in [
        ("SELECT", format!("EXPLAIN SELECT {column} FROM {name} WHERE 1 = 0")),
        ("INSERT", format!("EXPLAIN INSERT INTO {name} ({column}) SELECT {column} FROM {name} WHERE 1 = 0")),
        ("UPDATE", format!("EXPLAIN UPDATE {name} SET {column} = {column} WHERE 1 = 0")),
        ("DELETE", format!("EXPLAIN DELETE FROM {name} WHERE 1 = 0")),
    ] {
        if let Err(error) = connection.query(&statement, &[]).await {
            let code = error.error.code.as_deref().unwrap_or_default().to_owned();
            // 1142: command denied on the table; 1143: on the column; 1044: on the database.
            if code.contains("1142") || code.contains("1143") || code.contains("1044") {
                missing.push(privilege);
            } else if !code.contains("1364") {
                // 1364, MariaDB's "no default value", comes after the privilege was found.
                report.note(format!(
                    "cannot test {privilege} on {}: {}",
                    table.name,
                    crate::exit::with_causes(&error.error)
                ));
            }
        }
    }
    tell_missing(table, &missing, report);
}

fn tell_missing(table: &TableDescription, missing: &[&str], report: &mut Report) {
    if !missing.is_empty() {
        let missing = missing.join(", ");
        report.error(format!("no {missing} on {}; GRANT {missing} ON {} TO this user", table.name, table.name));
    }
}

fn quoted_table(name: &str, mark: char) -> String {
    let quote = |part: &str| format!("{mark}{}{mark}", part.replace(mark, &format!("{mark}{mark}")));
    name.split('.').map(quote).collect::<Vec<_>>().join(".")
}

fn literal(text: &str) -> String {
    format!("'{}'", text.replace('\'', "''"))
}
