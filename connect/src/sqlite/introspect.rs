//! Reads a table's description from SQLite's catalogue. SQLite stores by value, not by column: a kind here is what the declared type says.

use std::sync::Arc;

use topology::data::{Kind, Value};
use topology::table::{
    Collation, ColumnDescription, ForeignKey, Generated, ReferentialAction, SequenceDescription, TableDescription,
    UniqueIndex,
};

use crate::sql::connection::SqlConnection;
use crate::sql::error::SqlResult;

/// The kind that a declared type stands for. Unknown names become [`Kind::Other`], no name becomes bytes, as SQLite's affinity rules do.
pub fn kind_of(declared: &str) -> Kind {
    let lower = declared.trim().to_ascii_lowercase();
    let (base, arguments) = match lower.split_once('(') {
        Some((base, rest)) => (base.trim(), rest.trim_end_matches(')')),
        None => (lower.as_str(), ""),
    };
    let mut numbers = arguments.split(',').map(|number| number.trim().parse::<u32>().ok());
    let first = numbers.next().flatten();
    let second = numbers.next().flatten();
    match base {
        "bool" | "boolean" => Kind::Bool,
        "real" | "double" | "double precision" | "float" => Kind::Float64,
        "decimal" | "numeric" | "money" | "number" | "dec" => {
            Kind::Decimal { precision: first, scale: first.map(|_| second.unwrap_or(0).cast_signed()) }
        }
        "" | "blob" | "binary" | "varbinary" | "bytea" => Kind::Bytes { bytes_max: None, fixed: false },
        "date" => Kind::Date,
        "time" => Kind::Time { precision: 6 },
        "datetime" | "timestamp" => Kind::Timestamp { precision: 6 },
        "timestamptz" | "timestamp with time zone" => Kind::TimestampTz { precision: 6 },
        "uuid" => Kind::Uuid,
        "json" | "jsonb" => Kind::Json,
        "year" => Kind::Year,
        _ if base.contains("int") => Kind::Int { bits: 64, unsigned: false },
        // SQLite enforces no length.
        _ if base.contains("char") || base.contains("clob") || base.contains("text") => {
            Kind::Text { characters_max: None, fixed: false }
        }
        _ => Kind::Other(declared.into()),
    }
}

fn text(value: &Value) -> &str {
    match value {
        Value::Text(text) => text,
        _ => "",
    }
}

fn integer(value: &Value) -> i64 {
    match value {
        Value::I64(number) => *number,
        _ => 0,
    }
}

fn action(name: &str) -> ReferentialAction {
    match name {
        "CASCADE" => ReferentialAction::Cascade,
        "SET NULL" => ReferentialAction::SetNull,
        "SET DEFAULT" => ReferentialAction::SetDefault,
        _ => ReferentialAction::Restrict,
    }
}

pub(super) async fn describe(connection: &mut dyn SqlConnection, table: &str) -> SqlResult<Option<TableDescription>> {
    let named = [Value::Text(table.to_owned())];
    let found = connection
        .query("SELECT name, sql FROM sqlite_master WHERE type = 'table' AND lower(name) = lower(?1)", &named)
        .await?;
    let Some(found) = found.first() else { return Ok(None) };
    let name = text(&found[0]).to_owned();
    let definition = text(&found[1]).to_ascii_uppercase();
    let named = [Value::Text(name.clone())];

    let rows = connection
        .query("SELECT name, type, \"notnull\", dflt_value, pk, hidden FROM pragma_table_xinfo(?1) WHERE hidden <> 1 ORDER BY cid", &named)
        .await?;
    let mut columns: Vec<ColumnDescription> = Vec::with_capacity(rows.len());
    let mut key: Vec<(i64, usize)> = Vec::new();
    for row in &rows {
        let [column, declared, not_null, default, pk, hidden] = row.as_slice() else { continue };
        if integer(pk) > 0 {
            key.push((integer(pk), columns.len()));
        }
        let kind = kind_of(text(declared));
        let is_text = matches!(kind, Kind::Text { .. });
        columns.push(ColumnDescription {
            name: text(column).into(),
            native: text(declared).into(),
            nullable: integer(not_null) == 0,
            has_default: *default != Value::Null,
            generated: if integer(hidden) == 0 { Generated::Never } else { Generated::Computed },
            collation: is_text.then(|| Collation {
                name: "BINARY".into(),
                character_set: "".into(),
                exact: true,
                pads: false,
            }),
            kind,
        });
    }
    key.sort_unstable();
    let primary_key: Vec<usize> = key.into_iter().map(|(_, at)| at).collect();

    let mut sequences = Vec::new();
    if let [at] = primary_key.as_slice()
        && columns[*at].native.eq_ignore_ascii_case("integer")
        && !definition.contains("WITHOUT ROWID")
    {
        columns[*at].generated = Generated::ByDefault;
        columns[*at].has_default = true;
        columns[*at].nullable = false;
        sequences.push(SequenceDescription { column: *at, name: "".into(), increment: 1, start: 1, last: i64::MAX });
    }
    let unique_indexes = unique_indexes(connection, &named, &mut columns).await?;
    let foreign_keys = foreign_keys(connection, &named, &columns).await?;
    let referenced = !connection
        .query(
            "SELECT 1 FROM sqlite_master AS m, pragma_foreign_key_list(m.name) AS f WHERE m.type = 'table' AND lower(f.\"table\") = lower(?1) LIMIT 1",
            &named,
        )
        .await?
        .is_empty();
    let triggers = connection
        .query(
            "SELECT name FROM sqlite_master WHERE type = 'trigger' AND lower(tbl_name) = lower(?1) AND name NOT LIKE 'tidelock\\_%' ESCAPE '\\'",
            &named,
        )
        .await?;
    Ok(Some(TableDescription {
        name: table.into(),
        columns,
        primary_key,
        unique_indexes,
        foreign_keys,
        referenced,
        deferrable: definition.contains("DEFERRABLE"),
        sequences,
        triggers: triggers.iter().map(|row| text(&row[0]).to_owned()).collect(),
    }))
}

/// Unique indexes besides the primary key's; also learns the collation of indexed columns, which no other pragma tells.
async fn unique_indexes(
    connection: &mut dyn SqlConnection,
    named: &[Value],
    columns: &mut [ColumnDescription],
) -> SqlResult<Vec<UniqueIndex>> {
    let mut found = Vec::new();
    let list = connection.query("SELECT name, \"unique\", origin, partial FROM pragma_index_list(?1)", named).await?;
    for index in &list {
        let [name, unique, origin, partial] = index.as_slice() else { continue };
        let parts = connection
            .query(
                "SELECT cid, coll FROM pragma_index_xinfo(?1) WHERE key = 1 ORDER BY seqno",
                std::slice::from_ref(name),
            )
            .await?;
        let mut members = Vec::new();
        let mut expressions = false;
        for part in &parts {
            match usize::try_from(integer(&part[0])) {
                Ok(at) if at < columns.len() => {
                    members.push(at);
                    if let Some(collation) = &mut columns[at].collation
                        && text(&part[1]) != "BINARY"
                    {
                        *collation = Collation {
                            name: text(&part[1]).into(),
                            character_set: "".into(),
                            exact: false,
                            pads: text(&part[1]) == "RTRIM",
                        };
                    }
                }
                _ => expressions = true,
            }
        }
        if integer(unique) == 1 && text(origin) != "pk" {
            found.push(UniqueIndex {
                name: text(name).into(),
                columns: if expressions { Vec::new() } else { members },
                partial: expressions || integer(partial) == 1,
            });
        }
    }
    Ok(found)
}

async fn foreign_keys(
    connection: &mut dyn SqlConnection,
    named: &[Value],
    columns: &[ColumnDescription],
) -> SqlResult<Vec<ForeignKey>> {
    let rows = connection
        .query(
            "SELECT id, \"table\", \"from\", \"to\", on_update, on_delete FROM pragma_foreign_key_list(?1) ORDER BY id, seq",
            named,
        )
        .await?;
    let mut found: Vec<(i64, ForeignKey)> = Vec::new();
    for row in &rows {
        let [id, parent, from, to, on_update, on_delete] = row.as_slice() else { continue };
        let at = columns.iter().position(|column| column.name.eq_ignore_ascii_case(text(from))).unwrap_or(0);
        if found.last().is_none_or(|(last, _)| last != &integer(id)) {
            let key = ForeignKey {
                name: format!("fk{}", integer(id)).into(),
                columns: Vec::new(),
                parent: text(parent).into(),
                parent_columns: Vec::new(),
                on_delete: action(text(on_delete)),
                on_update: action(text(on_update)),
            };
            found.push((integer(id), key));
        }
        if let Some((_, key)) = found.last_mut() {
            key.columns.push(at);
            key.parent_columns.push(Arc::from(text(to)));
        }
    }
    Ok(found.into_iter().map(|(_, key)| key).collect())
}
