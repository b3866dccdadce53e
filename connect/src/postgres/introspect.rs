//! Reads a table's description from PostgreSQL's catalogue.

use std::sync::Arc;

use topology::data::{Kind, Value};
use topology::table::{
    Collation, ColumnDescription, ForeignKey, Generated, ReferentialAction, SequenceDescription, TableDescription,
    UniqueIndex,
};

use super::dialect::Postgres;
use crate::sql::connection::SqlConnection;
use crate::sql::dialect::quote_table;
use crate::sql::error::SqlResult;

/// Domains are followed down to their base type; the type modifier is the nearest one that is set.
const COLUMNS: &str = "\
WITH RECURSIVE base(attnum, oid, typmod, depth) AS (
  SELECT a.attnum, a.atttypid, a.atttypmod, 0 FROM pg_attribute a WHERE a.attrelid = $1::int8::oid AND a.attnum > 0 AND NOT a.attisdropped
  UNION ALL
  SELECT b.attnum, t.typbasetype, CASE WHEN b.typmod >= 0 THEN b.typmod ELSE t.typtypmod END, b.depth + 1
  FROM base b JOIN pg_type t ON t.oid = b.oid WHERE t.typtype = 'd'
), last AS (SELECT DISTINCT ON (attnum) attnum, oid, typmod FROM base ORDER BY attnum, depth DESC)
SELECT a.attname::text, format_type(l.oid, l.typmod), a.attnotnull OR d.typnotnull, a.atthasdef OR d.typdefault IS NOT NULL,
       a.attidentity::text, a.attgenerated::text, t.typtype::text, t.typname::text, l.typmod::int8,
       coalesce(e.typname, '')::text, coalesce(e.typtype, '')::text, CASE WHEN t.typcategory = 'A' THEN format_type(t.typelem, l.typmod) ELSE '' END,
       (SELECT string_agg(enumlabel, chr(31) ORDER BY enumsortorder) FROM pg_enum WHERE enumtypid = CASE WHEN t.typtype = 'e' THEN t.oid ELSE e.oid END),
       coalesce(c.collname, '')::text, coalesce(c.collisdeterministic, true), t.typcategory::text
FROM pg_attribute a
JOIN last l ON l.attnum = a.attnum
JOIN pg_type d ON d.oid = a.atttypid
JOIN pg_type t ON t.oid = l.oid
LEFT JOIN pg_type e ON e.oid = t.typelem AND t.typcategory = 'A'
LEFT JOIN pg_collation c ON c.oid = a.attcollation
WHERE a.attrelid = $1::int8::oid AND a.attnum > 0 AND NOT a.attisdropped ORDER BY a.attnum";

const INDEXES: &str = "\
SELECT c.relname::text, i.indisprimary, i.indpred IS NOT NULL OR i.indexprs IS NOT NULL,
       (SELECT string_agg(a.attname, chr(31) ORDER BY k.n) FROM unnest(i.indkey::int2[]) WITH ORDINALITY AS k(attnum, n)
        JOIN pg_attribute a ON a.attrelid = i.indrelid AND a.attnum = k.attnum WHERE k.n <= i.indnkeyatts)
FROM pg_index i JOIN pg_class c ON c.oid = i.indexrelid
WHERE i.indrelid = $1::int8::oid AND i.indisunique AND i.indislive ORDER BY c.relname";

const FOREIGN_KEYS: &str = "\
SELECT f.conname::text,
       (SELECT string_agg(a.attname, chr(31) ORDER BY k.n) FROM unnest(f.conkey) WITH ORDINALITY AS k(attnum, n)
        JOIN pg_attribute a ON a.attrelid = f.conrelid AND a.attnum = k.attnum),
       CASE WHEN pg_table_is_visible(p.oid) THEN p.relname ELSE n.nspname || '.' || p.relname END,
       (SELECT string_agg(a.attname, chr(31) ORDER BY k.n) FROM unnest(f.confkey) WITH ORDINALITY AS k(attnum, n)
        JOIN pg_attribute a ON a.attrelid = f.confrelid AND a.attnum = k.attnum),
       f.confdeltype::text, f.confupdtype::text
FROM pg_constraint f JOIN pg_class p ON p.oid = f.confrelid JOIN pg_namespace n ON n.oid = p.relnamespace
WHERE f.conrelid = $1::int8::oid AND f.contype = 'f' ORDER BY f.conname";

/// Owned sequences (serial, identity) and any other that a default draws from.
const SEQUENCES: &str = "\
SELECT DISTINCT a.attname::text, quote_ident(n.nspname) || '.' || quote_ident(s.relname), q.seqincrement, q.seqstart, q.seqmax
FROM (
  SELECT d.objid AS sequence, d.refobjid AS relation, d.refobjsubid AS attnum FROM pg_depend d
  WHERE d.classid = 'pg_class'::regclass AND d.refclassid = 'pg_class'::regclass AND d.deptype IN ('a', 'i') AND d.refobjsubid > 0
  UNION ALL
  SELECT d.refobjid, f.adrelid, f.adnum FROM pg_attrdef f
  JOIN pg_depend d ON d.classid = 'pg_attrdef'::regclass AND d.objid = f.oid AND d.refclassid = 'pg_class'::regclass
) x
JOIN pg_class s ON s.oid = x.sequence AND s.relkind = 'S' JOIN pg_namespace n ON n.oid = s.relnamespace
JOIN pg_sequence q ON q.seqrelid = s.oid
JOIN pg_attribute a ON a.attrelid = x.relation AND a.attnum = x.attnum
WHERE x.relation = $1::int8::oid";

const FLAGS: &str = "\
SELECT EXISTS (SELECT 1 FROM pg_constraint WHERE contype = 'f' AND confrelid = $1::int8::oid),
       EXISTS (SELECT 1 FROM pg_constraint WHERE condeferrable AND (conrelid = $1::int8::oid OR confrelid = $1::int8::oid))";

fn text(value: &Value) -> &str {
    match value {
        Value::Text(text) => text,
        _ => "",
    }
}

fn truth(value: &Value) -> bool {
    matches!(value, Value::Bool(true))
}

fn integer(value: &Value) -> i64 {
    match value {
        Value::I64(number) => *number,
        _ => 0,
    }
}

/// Names joined by the unit separator.
fn names(value: &Value) -> Vec<&str> {
    match value {
        Value::Text(text) => text.split('\u{1f}').collect(),
        _ => Vec::new(),
    }
}

fn positions(columns: &[ColumnDescription], value: &Value) -> Vec<usize> {
    names(value).iter().filter_map(|name| columns.iter().position(|column| *column.name == **name)).collect()
}

fn action(letter: &str) -> ReferentialAction {
    match letter {
        "c" => ReferentialAction::Cascade,
        "n" => ReferentialAction::SetNull,
        "d" => ReferentialAction::SetDefault,
        _ => ReferentialAction::Restrict,
    }
}

fn labels(value: &Value) -> Arc<[String]> {
    names(value).into_iter().map(str::to_owned).collect()
}

/// The kind of a base type by its catalogue name; `typmod` as the catalogue packs it.
fn scalar(name: &str, native: &str, typmod: i64) -> Kind {
    let length = (typmod >= 4).then(|| (typmod - 4).cast_unsigned());
    let precision = if (0..=6).contains(&typmod) { typmod as u8 } else { 6 };
    match name {
        "bool" => Kind::Bool,
        "int2" => Kind::Int { bits: 16, unsigned: false },
        "int4" => Kind::Int { bits: 32, unsigned: false },
        "int8" => Kind::Int { bits: 64, unsigned: false },
        "oid" => Kind::Int { bits: 64, unsigned: false },
        "float4" => Kind::Float32,
        "float8" => Kind::Float64,
        "numeric" => match length {
            // Precision in the high half, scale in the low 11 bits, signed.
            Some(packed) => Kind::Decimal {
                precision: Some(((packed >> 16) & 0xffff) as u32),
                scale: Some((((packed & 0x7ff) ^ 1024) as i32) - 1024),
            },
            None => Kind::Decimal { precision: None, scale: None },
        },
        "money" => Kind::Decimal { precision: Some(19), scale: Some(2) },
        "text" => Kind::Text { characters_max: None, fixed: false },
        "varchar" => Kind::Text { characters_max: length, fixed: false },
        "bpchar" => Kind::Text { characters_max: length, fixed: length.is_some() },
        "name" => Kind::Text { characters_max: Some(63), fixed: false },
        "bytea" => Kind::Bytes { bytes_max: None, fixed: false },
        "date" => Kind::Date,
        "time" => Kind::Time { precision },
        "timetz" => Kind::TimeTz { precision },
        "timestamp" => Kind::Timestamp { precision },
        "timestamptz" => Kind::TimestampTz { precision },
        "interval" => Kind::Interval,
        "uuid" => Kind::Uuid,
        "json" | "jsonb" => Kind::Json,
        "xml" => Kind::Xml,
        "bit" => Kind::Bits { length: u32::try_from(typmod).ok(), varying: false },
        "varbit" => Kind::Bits { length: u32::try_from(typmod).ok(), varying: true },
        _ => Kind::Other(native.into()),
    }
}

pub(super) async fn describe(connection: &mut dyn SqlConnection, table: &str) -> SqlResult<Option<TableDescription>> {
    let quoted = [Value::Text(quote_table(&Postgres, table))];
    let found = connection.query("SELECT to_regclass($1::text)::oid::int8", &quoted).await?;
    let Some([Value::I64(oid)]) = found.first().map(Vec::as_slice) else { return Ok(None) };
    let relation = [Value::I64(*oid)];

    let mut columns: Vec<ColumnDescription> = Vec::new();
    for row in &connection.query(COLUMNS, &relation).await? {
        let [
            name,
            native,
            not_null,
            has_default,
            identity,
            generated,
            typtype,
            typname,
            typmod,
            element,
            element_type,
            element_native,
            enum_labels,
            collation,
            deterministic,
            category,
        ] = row.as_slice()
        else {
            continue;
        };
        let kind = match (text(typtype), text(category)) {
            ("e", _) => Kind::Enum(labels(enum_labels)),
            ("c", _) => Kind::Other(format!("composite {}", text(native)).into()),
            (_, "A") if text(element_type) == "e" => Kind::Array(Box::new(Kind::Enum(labels(enum_labels)))),
            (_, "A") if !text(element).is_empty() => {
                Kind::Array(Box::new(scalar(text(element), text(element_native), integer(typmod))))
            }
            _ => scalar(text(typname), text(native), integer(typmod)),
        };
        let generated = match (text(identity), text(generated)) {
            ("a", _) => Generated::Always,
            ("d", _) => Generated::ByDefault,
            (_, "") => Generated::Never,
            _ => Generated::Computed,
        };
        let is_text = matches!(kind, Kind::Text { .. });
        columns.push(ColumnDescription {
            name: text(name).into(),
            native: text(native).into(),
            nullable: !truth(not_null),
            has_default: truth(has_default) || generated != Generated::Never,
            generated,
            collation: is_text.then(|| Collation {
                name: text(collation).into(),
                character_set: "UTF8".into(),
                exact: truth(deterministic),
                pads: text(typname) == "bpchar",
            }),
            kind,
        });
    }

    let mut primary_key = Vec::new();
    let mut unique_indexes = Vec::new();
    for row in &connection.query(INDEXES, &relation).await? {
        let [name, primary, partial, members] = row.as_slice() else { continue };
        let members = positions(&columns, members);
        if truth(primary) {
            primary_key = members;
        } else {
            unique_indexes.push(UniqueIndex { name: text(name).into(), columns: members, partial: truth(partial) });
        }
    }
    let foreign_keys = connection
        .query(FOREIGN_KEYS, &relation)
        .await?
        .iter()
        .filter_map(|row| {
            let [name, members, parent, parent_members, on_delete, on_update] = row.as_slice() else { return None };
            Some(ForeignKey {
                name: text(name).into(),
                columns: positions(&columns, members),
                parent: text(parent).into(),
                parent_columns: names(parent_members).into_iter().map(Arc::from).collect(),
                on_delete: action(text(on_delete)),
                on_update: action(text(on_update)),
            })
        })
        .collect();
    let mut sequences = Vec::new();
    for row in &connection.query(SEQUENCES, &relation).await? {
        let [column, name, increment, start, last] = row.as_slice() else { continue };
        let Some(at) = columns.iter().position(|candidate| *candidate.name == *text(column)) else { continue };
        if columns[at].generated == Generated::Never {
            columns[at].generated = Generated::ByDefault;
        }
        sequences.push(SequenceDescription {
            column: at,
            name: text(name).into(),
            increment: integer(increment),
            start: integer(start),
            last: integer(last),
        });
    }
    let flags = connection.query(FLAGS, &relation).await?;
    let (referenced, deferrable) = match flags.first().map(Vec::as_slice) {
        Some([referenced, deferrable]) => (truth(referenced), truth(deferrable)),
        _ => (false, false),
    };
    let triggers = connection
        .query(
            "SELECT tgname::text FROM pg_trigger WHERE tgrelid = $1::int8::oid AND NOT tgisinternal AND tgname NOT LIKE 'tidelock\\_%' ORDER BY 1",
            &relation,
        )
        .await?;
    Ok(Some(TableDescription {
        name: table.into(),
        columns,
        primary_key,
        unique_indexes,
        foreign_keys,
        referenced,
        deferrable,
        sequences,
        triggers: triggers.iter().map(|row| text(&row[0]).to_owned()).collect(),
    }))
}
