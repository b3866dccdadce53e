//! What Debezium itself loses before a record reaches Kafka. No consumer can repair it, so `check` says it beforehand.

use topology::data::Kind;
use topology::lens::convert::Engine;
use topology::table::{ColumnDescription, TableDescription};

/// Sentences about one table as a source: (is an error, text).
/// `zero_dates`: the server allows them.
pub(super) fn of(engine: Engine, table: &TableDescription, zero_dates: bool) -> Vec<(bool, String)> {
    let mut all = Vec::new();
    for column in &table.columns {
        if let Some((is_error, what)) = loss(engine, column, zero_dates) {
            all.push((is_error, format!("{}.{} ({}): {what}", table.name, column.name, column.native)));
        }
    }
    all
}

fn loss(engine: Engine, column: &ColumnDescription, zero_dates: bool) -> Option<(bool, &'static str)> {
    let native = column.native.to_ascii_lowercase();
    let warn = |what| Some((false, what));
    match engine {
        Engine::Postgres => match &column.kind {
            Kind::Decimal { .. } if !native.starts_with("money") => {
                warn("Debezium sends NaN as NULL, and cannot send Infinity; keep them out of this column")
            }
            Kind::Date => warn("Debezium sends 'infinity' as a day without meaning; keep it out of this column"),
            Kind::Timestamp { .. } => {
                warn("Debezium sends 'infinity' as a far, finite time; Tidelock refuses such a record (dead letter)")
            }
            Kind::TimestampTz { .. } => warn("'infinity' has no counterpart outside PostgreSQL and is refused there"),
            Kind::Interval => {
                warn("needs `interval.handling.mode=string` at the connector; otherwise months become days")
            }
            _ if ["money[]", "name[]", "interval[]", "varbit[]", "bit varying[]", "xml[]", "point[]"]
                .contains(&native.as_str()) =>
            {
                warn("Debezium does not send arrays of this type; exclude the column")
            }
            _ => None,
        },
        Engine::MariaDb if native.starts_with("inet6") => Some((
            true,
            "Debezium 3.5 cannot read a table with an inet6 column: the whole connector fails; change the type or leave the table out",
        )),
        Engine::MySql | Engine::MariaDb => match &column.kind {
            Kind::Date | Kind::Timestamp { .. } | Kind::TimestampTz { .. } if zero_dates && column.nullable => {
                warn("Debezium sends a zero date (0000-00-00) as NULL; set NO_ZERO_DATE in sql_mode, or keep it out")
            }
            Kind::Date | Kind::Timestamp { .. } | Kind::TimestampTz { .. } if zero_dates => warn(
                "Debezium sends a zero date (0000-00-00) as 1970-01-01; set NO_ZERO_DATE in sql_mode, or keep it out",
            ),
            Kind::Int { bits: 64, unsigned: true } => warn(
                "needs `bigint.unsigned.handling.mode=precise` at the connector; otherwise values above 2^63-1 turn negative",
            ),
            _ => None,
        },
        _ => None,
    }
}
