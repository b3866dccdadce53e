//! Reads a table's description from `information_schema`.
//!
//! TINYINT(1) is an integer of eight bits here, not a truth value: the engine stores −128 to 127 in it, and so do users. TIME is a signed
//! length of time, DATETIME a wall clock, TIMESTAMP an instant. MariaDB's JSON is LONGTEXT with a CHECK.

use std::sync::Arc;

use topology::data::{Kind, Value};
use topology::table::{
    Collation, ColumnDescription, ForeignKey, Generated, ReferentialAction, SequenceDescription, TableDescription,
    UniqueIndex,
};

use super::dialect::Flavour;
use crate::sql::connection::SqlConnection;
use crate::sql::error::SqlResult;

// CAST: the two servers give the same catalogue column in different types. MariaDB spells an absent default as NULL.
const COLUMNS: &str = "SELECT CAST(COLUMN_NAME AS CHAR), LOWER(CAST(DATA_TYPE AS CHAR)), CAST(COLUMN_TYPE AS CHAR), \
     IS_NULLABLE = 'YES', COLUMN_DEFAULT IS NOT NULL AND NOT (IS_NULLABLE = 'YES' AND COLUMN_DEFAULT = 'NULL'), LOWER(CAST(EXTRA AS CHAR)), \
     CAST(CHARACTER_MAXIMUM_LENGTH AS SIGNED), CAST(NUMERIC_PRECISION AS SIGNED), CAST(NUMERIC_SCALE AS SIGNED), \
     CAST(DATETIME_PRECISION AS SIGNED), CAST(CHARACTER_SET_NAME AS CHAR), CAST(COLLATION_NAME AS CHAR), \
     COALESCE(GENERATION_EXPRESSION, '') <> '' \
     FROM information_schema.COLUMNS WHERE TABLE_SCHEMA = COALESCE(?, DATABASE()) AND TABLE_NAME = ? ORDER BY ORDINAL_POSITION";

const INDEXES: &str = "SELECT CAST(INDEX_NAME AS CHAR), CAST(COLUMN_NAME AS CHAR), SUB_PART IS NOT NULL \
     FROM information_schema.STATISTICS WHERE TABLE_SCHEMA = COALESCE(?, DATABASE()) AND TABLE_NAME = ? AND NON_UNIQUE = 0 \
     ORDER BY INDEX_NAME, SEQ_IN_INDEX";

const FOREIGN_KEYS: &str = "SELECT CAST(k.CONSTRAINT_NAME AS CHAR), CAST(k.COLUMN_NAME AS CHAR), \
     k.REFERENCED_TABLE_SCHEMA = k.TABLE_SCHEMA, CAST(k.REFERENCED_TABLE_SCHEMA AS CHAR), \
     CAST(k.REFERENCED_TABLE_NAME AS CHAR), CAST(k.REFERENCED_COLUMN_NAME AS CHAR), \
     CAST(r.DELETE_RULE AS CHAR), CAST(r.UPDATE_RULE AS CHAR) \
     FROM information_schema.KEY_COLUMN_USAGE k JOIN information_schema.REFERENTIAL_CONSTRAINTS r \
     ON r.CONSTRAINT_SCHEMA = k.CONSTRAINT_SCHEMA AND r.CONSTRAINT_NAME = k.CONSTRAINT_NAME AND r.TABLE_NAME = k.TABLE_NAME \
     WHERE k.TABLE_SCHEMA = COALESCE(?, DATABASE()) AND k.TABLE_NAME = ? AND k.REFERENCED_TABLE_NAME IS NOT NULL \
     ORDER BY k.CONSTRAINT_NAME, k.ORDINAL_POSITION";

const REFERENCED: &str = "SELECT 1 FROM information_schema.KEY_COLUMN_USAGE \
     WHERE REFERENCED_TABLE_SCHEMA = COALESCE(?, DATABASE()) AND REFERENCED_TABLE_NAME = ? LIMIT 1";

const TRIGGERS: &str = "SELECT CAST(TRIGGER_NAME AS CHAR) FROM information_schema.TRIGGERS \
     WHERE EVENT_OBJECT_SCHEMA = COALESCE(?, DATABASE()) AND EVENT_OBJECT_TABLE = ? ORDER BY TRIGGER_NAME";

/// MariaDB: the columns whose CHECK makes them JSON.
const JSON_CHECKS: &str = "SELECT CAST(CHECK_CLAUSE AS CHAR) FROM information_schema.CHECK_CONSTRAINTS \
     WHERE CONSTRAINT_SCHEMA = COALESCE(?, DATABASE()) AND TABLE_NAME = ?";

fn text(row: &[Value], at: usize) -> &str {
    match row.get(at) {
        Some(Value::Text(text)) => text,
        _ => "",
    }
}

fn optional(row: &[Value], at: usize) -> Option<i64> {
    match row.get(at) {
        Some(Value::I64(number)) => Some(*number),
        _ => None,
    }
}

fn truth(row: &[Value], at: usize) -> bool {
    optional(row, at).unwrap_or(0) != 0
}

pub(super) async fn describe(
    connection: &mut dyn SqlConnection,
    flavour: Flavour,
    table: &str,
) -> SqlResult<Option<TableDescription>> {
    let named = match table.split_once('.') {
        Some((schema, table)) => [Value::Text(schema.to_owned()), Value::Text(table.to_owned())],
        None => [Value::Null, Value::Text(table.to_owned())],
    };
    let rows = connection.query(COLUMNS, &named).await?;
    if rows.is_empty() {
        return Ok(None);
    }
    let json = match flavour {
        Flavour::MySql => Vec::new(),
        Flavour::MariaDb => connection.query(JSON_CHECKS, &named).await?,
    };
    let json: Vec<String> = json.iter().map(|row| text(row, 0).to_lowercase()).collect();
    let columns: Vec<ColumnDescription> = rows.iter().map(|row| column(row, &json)).collect();
    let position = |name: &str| columns.iter().position(|column| column.name.eq_ignore_ascii_case(name));

    let mut primary_key = Vec::new();
    let mut unique_indexes: Vec<UniqueIndex> = Vec::new();
    for row in connection.query(INDEXES, &named).await? {
        let name = text(&row, 0);
        let (column, prefix) = (position(text(&row, 1)), truth(&row, 2));
        if unique_indexes.last().is_none_or(|last| &*last.name != name) {
            unique_indexes.push(UniqueIndex { name: name.into(), columns: Vec::new(), partial: false });
        }
        let index = unique_indexes.last_mut().expect("pushed above");
        match column {
            Some(column) => index.columns.push(column),
            None => index.partial = true, // an expression
        }
        // Unique over the beginning of a column: it may refuse rows whose columns differ.
        index.partial |= prefix;
    }
    // A primary key over a prefix is none that a row could be found by.
    if let Some(at) = unique_indexes.iter().position(|index| &*index.name == "PRIMARY" && !index.partial) {
        primary_key = unique_indexes.remove(at).columns;
    }

    let mut foreign_keys: Vec<ForeignKey> = Vec::new();
    for row in connection.query(FOREIGN_KEYS, &named).await? {
        let name = text(&row, 0);
        if foreign_keys.last().is_none_or(|last| &*last.name != name) {
            let parent = match truth(&row, 2) {
                true => text(&row, 4).to_owned(),
                false => format!("{}.{}", text(&row, 3), text(&row, 4)),
            };
            foreign_keys.push(ForeignKey {
                name: name.into(),
                columns: Vec::new(),
                parent: parent.into(),
                parent_columns: Vec::new(),
                on_delete: action(text(&row, 6)),
                on_update: action(text(&row, 7)),
            });
        }
        let key = foreign_keys.last_mut().expect("pushed above");
        key.columns.extend(position(text(&row, 1)));
        key.parent_columns.push(text(&row, 5).into());
    }

    let mut sequences = Vec::new();
    if let Some(column) = columns.iter().position(|column| column.generated == Generated::ByDefault) {
        let step = connection
            .query(
                "SELECT CAST(@@global.auto_increment_increment AS SIGNED), CAST(@@global.auto_increment_offset AS SIGNED)",
                &[],
            )
            .await?;
        let number = |at| step.first().and_then(|row| optional(row, at)).unwrap_or(1);
        sequences.push(SequenceDescription {
            column,
            name: "".into(),
            increment: number(0),
            start: number(1),
            last: i64::MAX,
        });
    }
    Ok(Some(TableDescription {
        name: table.into(),
        primary_key,
        unique_indexes,
        foreign_keys,
        referenced: !connection.query(REFERENCED, &named).await?.is_empty(),
        deferrable: false,
        sequences,
        triggers: connection.query(TRIGGERS, &named).await?.iter().map(|row| text(row, 0).to_owned()).collect(),
        columns,
    }))
}

fn column(row: &[Value], json: &[String]) -> ColumnDescription {
    let (name, native, extra) = (text(row, 0), text(row, 2), text(row, 5));
    let generated = if truth(row, 12) {
        Generated::Computed
    } else if extra.contains("auto_increment") {
        Generated::ByDefault
    } else {
        Generated::Never
    };
    let is_json = json.iter().any(|check| *check == format!("json_valid(`{}`)", name.to_lowercase()));
    let collation = text(row, 11);
    ColumnDescription {
        name: name.into(),
        kind: if is_json { Kind::Json } else { kind(row, native) },
        native: native.into(),
        nullable: truth(row, 3),
        has_default: truth(row, 4) || generated != Generated::Never,
        generated,
        collation: (!collation.is_empty()).then(|| Collation {
            name: collation.into(),
            character_set: text(row, 10).into(),
            exact: collation.ends_with("_bin") || collation == "binary",
            pads: !(collation.contains("_0900_") || collation.contains("_nopad_") || collation == "binary"),
        }),
    }
}

fn kind(row: &[Value], native: &str) -> Kind {
    let unsigned = native.contains("unsigned") || native.contains("zerofill");
    let length = optional(row, 6).map(i64::unsigned_abs);
    let precision = optional(row, 9).and_then(|digits| u8::try_from(digits).ok()).unwrap_or(0);
    let int = |bits| Kind::Int { bits, unsigned };
    let long_text = |max| Kind::Text { characters_max: max, fixed: false };
    match text(row, 1) {
        "tinyint" => int(8),
        "smallint" => int(16),
        "mediumint" => int(24),
        "int" | "integer" => int(32),
        "bigint" => int(64),
        "decimal" | "numeric" => Kind::Decimal {
            precision: optional(row, 7).and_then(|digits| u32::try_from(digits).ok()),
            scale: optional(row, 8).and_then(|digits| i32::try_from(digits).ok()),
        },
        "float" => Kind::Float32,
        "double" | "real" => Kind::Float64,
        "bit" => Kind::Bits { length: optional(row, 7).and_then(|bits| u32::try_from(bits).ok()), varying: false },
        "char" => Kind::Text { characters_max: length, fixed: true },
        "varchar" => long_text(length),
        // These are limited in bytes; as many characters fit in any case.
        "tinytext" | "text" | "mediumtext" => long_text(length),
        "longtext" => long_text(None),
        "binary" => Kind::Bytes { bytes_max: length, fixed: true },
        "varbinary" | "tinyblob" | "blob" | "mediumblob" => Kind::Bytes { bytes_max: length, fixed: false },
        "longblob" => Kind::Bytes { bytes_max: None, fixed: false },
        "date" => Kind::Date,
        "time" => Kind::Duration { precision },
        "datetime" => Kind::Timestamp { precision },
        "timestamp" => Kind::TimestampTz { precision },
        "year" => Kind::Year,
        "json" => Kind::Json,
        "uuid" => Kind::Uuid,
        "enum" => Kind::Enum(labels(native)),
        "set" => Kind::Set(labels(native)),
        other => Kind::Other(other.into()),
    }
}

/// The labels in `enum('a','it''s')`.
fn labels(native: &str) -> Arc<[String]> {
    let mut out = Vec::new();
    let mut characters = native.chars().skip_while(|c| *c != '\'').peekable();
    while characters.next_if_eq(&'\'').is_some() {
        let mut label = String::new();
        while let Some(character) = characters.next() {
            match character {
                '\'' if characters.next_if_eq(&'\'').is_some() => label.push('\''),
                '\'' => break,
                '\\' => match characters.next() {
                    Some('0') => label.push('\0'),
                    Some('n') => label.push('\n'),
                    Some('r') => label.push('\r'),
                    Some(escaped) => label.push(escaped),
                    None => {}
                },
                _ => label.push(character),
            }
        }
        out.push(label);
        while characters.next_if(|c| *c != '\'').is_some() {}
    }
    out.into()
}

fn action(name: &str) -> ReferentialAction {
    match name {
        "CASCADE" => ReferentialAction::Cascade,
        "SET NULL" => ReferentialAction::SetNull,
        "SET DEFAULT" => ReferentialAction::SetDefault,
        _ => ReferentialAction::Restrict,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn labels_keep_quotes_commas_and_backslashes() {
        assert_eq!(*labels("enum('new','in progress')"), ["new", "in progress"].map(String::from));
        assert_eq!(*labels(r"set('a,b','it''s','b\\c','')"), ["a,b", "it's", r"b\c", ""].map(String::from));
        assert!(labels("enum").is_empty());
    }
}
