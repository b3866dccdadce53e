//! What Debezium itself loses before a record reaches Kafka. No consumer can repair it, so `check` says it beforehand.

use topology::data::Kind;
use topology::lens::convert::Engine;
use topology::table::{ColumnDescription, Generated, TableDescription};

/// Sentences about the columns of one table that are read: (is an error, text). `zero_dates`: the server allows them.
pub(super) fn of(
    engine: Engine,
    table: &TableDescription,
    zero_dates: bool,
    is_read: impl Fn(&ColumnDescription) -> bool,
) -> Vec<(bool, String)> {
    let mut by_loss: Vec<((bool, &str), Vec<&str>)> = Vec::new();
    for column in &table.columns {
        for loss in [loss(engine, column, zero_dates), default_for_null(engine, column)].into_iter().flatten() {
            // An unreadable column takes the whole table with it, whoever reads it.
            if !loss.0 && !is_read(column) {
                continue;
            }
            match by_loss.iter_mut().find(|(own, _)| *own == loss) {
                Some((_, columns)) => columns.push(&column.name),
                None => by_loss.push((loss, vec![&column.name])),
            }
        }
    }
    by_loss
        .into_iter()
        .map(|((is_error, what), columns)| (is_error, format!("{} ({}): {what}", table.name, columns.join(", "))))
        .collect()
}

/// Connect's converters write a column's default in the place of its NULL, because a Connect struct answers with it.
fn default_for_null(engine: Engine, column: &ColumnDescription) -> Option<(bool, &'static str)> {
    let captured = matches!(engine, Engine::MySql | Engine::MariaDb | Engine::Postgres);
    let has_default = column.has_default && column.generated == Generated::Never;
    (captured && column.nullable && has_default).then_some((
        false,
        "may be NULL and has a DEFAULT: Connect's converters send the default for a NULL; drop the default or set NOT NULL, or use a \
         converter that can be told not to (Confluent's Avro: `value.converter.ignore.default.for.nullables=true`; JSON: \
         `value.converter.replace.null.with.default=false`)",
    ))
}

fn loss(engine: Engine, column: &ColumnDescription, zero_dates: bool) -> Option<(bool, &'static str)> {
    let native = column.native.to_ascii_lowercase();
    let warn = |what| Some((false, what));
    match engine {
        Engine::Postgres => match &column.kind {
            Kind::Decimal { .. } if !native.starts_with("money") => {
                warn("Debezium sends NaN as NULL, and cannot send Infinity; keep them out")
            }
            Kind::Date => {
                warn("Debezium sends 'infinity' as a far, finite day; Tidelock refuses such a record (dead letter)")
            }
            Kind::Timestamp { .. } => {
                warn("Debezium sends 'infinity' as a far, finite time; Tidelock refuses such a record (dead letter)")
            }
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
        Engine::MariaDb if native.starts_with("inet") => Some((
            true,
            "Debezium 3.5 cannot read a table with an inet4 or inet6 column: the whole connector fails; change the type or leave the table out",
        )),
        Engine::MySql | Engine::MariaDb => match &column.kind {
            Kind::Date | Kind::Timestamp { .. } | Kind::TimestampTz { .. } if zero_dates && column.nullable => {
                warn("Debezium sends a zero date (0000-00-00) as NULL; set NO_ZERO_DATE in sql_mode, or keep it out")
            }
            Kind::Date | Kind::Timestamp { .. } | Kind::TimestampTz { .. } if zero_dates => warn(
                "Debezium sends a zero date (0000-00-00) as 1970-01-01; set NO_ZERO_DATE in sql_mode, or keep it out",
            ),
            Kind::Json if engine == Engine::MySql => warn(
                "Debezium decodes MySQL's binary JSON by the character set of its JVM: run Kafka Connect with `-Dfile.encoding=UTF-8` (the \
                 default since Java 18), or text beyond ASCII in it is lost",
            ),
            Kind::Int { bits: 64, unsigned: true } => warn(
                "needs `bigint.unsigned.handling.mode=precise` at the connector; otherwise values above 2^63-1 turn negative",
            ),
            _ => None,
        },
        _ => None,
    }
}
