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
            Kind::Date => warn(
                "Debezium sends 'infinity' as a far day, and Tidelock refuses such a record (dead letter); a snapshot drops the era of \
                      days before the year 1, and moves 1582-10-05 to 14 by ten days",
            ),
            Kind::Timestamp { .. } | Kind::TimestampTz { .. } => {
                warn("Debezium sends 'infinity' as a far time; Tidelock refuses such a record (dead letter)")
            }
            Kind::TimeTz { .. } => warn("Debezium sends the time in UTC: the zone is lost"),
            Kind::Text { .. } if native == "name" => {
                warn("a snapshot sends this type, and streaming sends NULL; exclude the column or change it to text")
            }
            Kind::Other(name) if ["tsquery", "pg_lsn"].contains(&&**name) || name.starts_with("composite ") => {
                warn("Debezium does not send this type; exclude the column")
            }
            Kind::Bits { varying: true, .. } => {
                warn("Debezium does not send leading zeros of this type: it is refused; exclude the column")
            }
            Kind::Array(element) if matches!(**element, Kind::Decimal { .. }) && native.starts_with("numeric") => {
                warn("Debezium sends NULL for an array with NaN in it, and cannot send Infinity; keep them out")
            }
            Kind::Array(element) if matches!(**element, Kind::Time { .. }) => {
                warn("Debezium cuts the times of arrays to milliseconds; keep finer ones out")
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
            Kind::Float32 => warn("a snapshot reads six digits of a FLOAT; DOUBLE comes exactly"),
            Kind::Year if engine == Engine::MariaDb => warn("YEAR 0000 stops the connector's snapshot; keep it out"),
            Kind::Year => warn("a snapshot sends YEAR 0000 as 2000; keep it out"),
            Kind::Int { bits: 64, unsigned: true } => warn(
                "needs `bigint.unsigned.handling.mode=precise` at the connector; otherwise values above 2^63-1 turn negative",
            ),
            _ => None,
        },
        _ => None,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn kind(native: &str) -> Kind {
        if let Some(element) = native.strip_suffix("[]") {
            return Kind::Array(Box::new(kind(element)));
        }
        match native.to_ascii_lowercase().as_str() {
            "json" => Kind::Json,
            "numeric" | "money" => Kind::Decimal { precision: None, scale: None },
            "date" => Kind::Date,
            "time" => Kind::Time { precision: 6 },
            "timetz" => Kind::TimeTz { precision: 6 },
            "timestamp" | "0000-00-00" => Kind::Timestamp { precision: 6 },
            "timestamptz" => Kind::TimestampTz { precision: 6 },
            "interval" => Kind::Interval,
            "bit varying" => Kind::Bits { length: None, varying: true },
            "name" => Kind::Text { characters_max: Some(63), fixed: false },
            "xml" => Kind::Xml,
            "float" => Kind::Float32,
            "year" => Kind::Year,
            other => Kind::Other(other.into()),
        }
    }

    /// Promise P6: what nobody can bring back is said beforehand.
    #[test]
    fn check_warns_of_every_type_of_which_the_page_of_types_says_that_debezium_loses_something() {
        // given the page's table
        let page = include_str!("../../docs/types.md");
        let (_, rest) = page.split_once("## What Debezium and Connect themselves lose").unwrap();
        let (table, _) = rest.split_once("\n## ").unwrap();
        let mut tried = 0;
        for row in table.lines().filter(|line| line.starts_with("| ") && !line.starts_with("| engine")) {
            let cells: Vec<_> = row.split('|').map(str::trim).collect();
            let (engines, types) = (cells[1], cells[2]);
            // These have no type of their own; the page says so.
            if types.starts_with("years 1 to 99") || types.starts_with("arrays of more") || engines == "all" {
                continue;
            }
            let engines = [("PostgreSQL", Engine::Postgres), ("MySQL", Engine::MySql), ("MariaDB", Engine::MariaDb)]
                .into_iter()
                .filter(|(name, _)| engines.contains(name));
            // The composite type is one by name.
            let named = types.split('`').skip(1).step_by(2);
            let composite = types.contains("composite").then_some("composite address");
            for (engine, native) in
                engines.flat_map(|(_, engine)| named.clone().chain(composite).map(move |name| (engine, name)))
            {
                let column = ColumnDescription {
                    name: "c".into(),
                    kind: kind(native),
                    native: native.into(),
                    nullable: true,
                    has_default: false,
                    generated: Generated::Never,
                    collation: None,
                };
                // when, then
                assert!(loss(engine, &column, true).is_some(), "{engine:?} {native}: check says nothing");
                tried += 1;
            }
        }
        assert!(tried > 20, "{tried}");
    }
}
