//! What to do with the records of one schema, found once per schema id and the same for Avro and JSON.
//!
//! Records are classified by the name of their schema before any field is looked at; fields are found by name, so that unknown
//! ones are skipped and absent ones stay absent, whatever version of Debezium wrote them.

mod row;
mod slot;

use topology::data::Layouts;
use topology::raw::Ignored;

pub(crate) use row::{ColumnPlan, KEY_COLUMN, KeyPlan, Quick, RowPlan};
pub(crate) use slot::{Branch, Slot, Step};

use crate::schema::{Field, Schema, Shape};
use crate::source::SourceField;

/// What a value schema describes.
#[derive(Clone, Debug)]
pub(crate) enum ValueClass {
    Ignored(Ignored),
    Envelope(EnvelopePlan),
    Row(FlatPlan),
}

/// A compiled value schema.
#[derive(Clone, Debug)]
pub(crate) struct ValuePlan {
    pub(crate) schema: Schema,
    /// Branch bytes in front of the record, when the whole value is an optional union.
    pub(crate) optional: Option<crate::schema::Optional>,
    pub(crate) class: ValueClass,
}

/// Role of one field of the envelope.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum EnvelopeRole {
    Before,
    After,
    Source,
    Operation,
    Skip,
}

/// Debezium's envelope.
#[derive(Clone, Debug)]
pub(crate) struct EnvelopePlan {
    /// Fields in the order of the bytes.
    pub(crate) fields: Vec<(EnvelopeRole, Slot)>,
    /// Row of `before` and `after`.
    pub(crate) row: RowPlan,
    /// Fields of the source block in the order of the bytes; `None` is skipped.
    pub(crate) source: Vec<(Option<SourceField>, Slot)>,
}

/// Role of one field of a flattened or plain row.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum FlatRole {
    /// Index among the row's columns.
    Column(usize),
    /// `__op`
    Operation,
    /// `__deleted`
    Deleted,
    /// `__source_…` and the like.
    Source(SourceField),
    /// Other metadata.
    Skip,
}

/// A row without envelope.
#[derive(Clone, Debug)]
pub(crate) struct FlatPlan {
    pub(crate) fields: Vec<(FlatRole, Slot)>,
    pub(crate) row: RowPlan,
}

/// By schema name; `None` for rows. Debezium's own kinds count only in its namespace: an application may have a `Heartbeat` too.
pub(crate) fn ignored_by_name(name: &str) -> Option<Ignored> {
    if !name.starts_with("io.debezium.") {
        return None;
    }
    if name.ends_with(".Heartbeat") {
        Some(Ignored::Heartbeat)
    } else if name.ends_with("TransactionMetadataValue") {
        Some(Ignored::TransactionMarker)
    } else if name.ends_with("SchemaChangeValue") {
        Some(Ignored::SchemaChange)
    } else if name.ends_with("Notification") || name.ends_with("NotificationValue") {
        Some(Ignored::Control)
    } else {
        None
    }
}

/// What a metadata field of `ExtractNewRecordState` (prefix `__`) says; `None` for a column.
pub(crate) fn flat_role(name: &str) -> Option<FlatRole> {
    let bare = name.strip_prefix("__")?;
    match bare {
        "op" => return Some(FlatRole::Operation),
        "deleted" => return Some(FlatRole::Deleted),
        // Without `source.` these are the connector's clock, not the source's.
        "ts_ms" | "ts_us" | "ts_ns" | "table" | "db" | "schema" | "version" | "thread" | "query" | "xmin"
        | "origin_lsn" => {
            return Some(FlatRole::Skip);
        }
        _ => {}
    }
    if let Some(field) = bare.strip_prefix("source_") {
        return Some(SourceField::of(field).map_or(FlatRole::Skip, FlatRole::Source));
    }
    if bare.starts_with("transaction_") || bare.starts_with("debezium") {
        return Some(FlatRole::Skip);
    }
    SourceField::of(bare).map(FlatRole::Source)
}

impl ValuePlan {
    /// Compiles a value schema, adding the layout of its rows.
    pub(crate) fn compile(schema: Schema, layouts: &mut Layouts) -> Result<ValuePlan, String> {
        let optional = schema.optional(schema.root);
        let root = optional.map_or(schema.root, |optional| optional.node);
        let node = schema.node(root);
        if let Some(ignored) = ignored_by_name(node.name()) {
            return Ok(ValuePlan { schema, optional, class: ValueClass::Ignored(ignored) });
        }
        let Shape::Record(fields) = &node.shape else {
            return Err("the value is not a record; rows need one field per column".to_owned());
        };
        let named = |name: &str| fields.iter().find(|field| &*field.name == name);
        let is_envelope = node.name() == "Envelope" || node.name().ends_with(".Envelope");
        let class = match (named("op"), named("after")) {
            (Some(_), Some(after)) if is_envelope => {
                let row_node = schema.present(after.node);
                let row = RowPlan::compile(&schema, row_node, layouts)?;
                if let Some(before) = named("before") {
                    let before = schema.present(before.node);
                    if !schema.same(before, row_node, crate::schema::DEPTH_MAX) {
                        return Err("\"before\" and \"after\" have different columns".to_owned());
                    }
                }
                let mut source = Vec::new();
                let fields = fields
                    .iter()
                    .map(|field| {
                        let role = match &*field.name {
                            "before" => EnvelopeRole::Before,
                            "after" => EnvelopeRole::After,
                            "op" => EnvelopeRole::Operation,
                            "source" => match &schema.node(schema.present(field.node)).shape {
                                Shape::Record(fields) => {
                                    let slot = |f: &Field| (SourceField::of(&f.name), Slot::of(&schema, f.node));
                                    source = fields.iter().map(slot).collect();
                                    EnvelopeRole::Source
                                }
                                _ => EnvelopeRole::Skip,
                            },
                            _ => EnvelopeRole::Skip,
                        };
                        (role, Slot::of(&schema, field.node))
                    })
                    .collect();
                ValueClass::Envelope(EnvelopePlan { fields, row, source })
            }
            _ => {
                let mut columns = Vec::new();
                let roles = fields
                    .iter()
                    .map(|field| {
                        let role = flat_role(&field.name).unwrap_or_else(|| {
                            columns.push(field.clone());
                            FlatRole::Column(columns.len() - 1)
                        });
                        (role, Slot::of(&schema, field.node))
                    })
                    .collect();
                let row = RowPlan::of_fields(&schema, &columns, layouts)?;
                ValueClass::Row(FlatPlan { fields: roles, row })
            }
        };
        Ok(ValuePlan { schema, optional, class })
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn only_debeziums_own_heartbeats_are_heartbeats() {
        assert_eq!(ignored_by_name("io.debezium.connector.common.Heartbeat"), Some(Ignored::Heartbeat));
        assert_eq!(ignored_by_name("com.acme.Heartbeat"), None);
        assert_eq!(ignored_by_name("io.debezium.connector.mysql.SchemaChangeValue"), Some(Ignored::SchemaChange));
    }

    #[test]
    fn metadata_of_flattened_records_is_told_from_columns() {
        assert_eq!(flat_role("__op"), Some(FlatRole::Operation));
        assert_eq!(flat_role("__source_ts_ms"), Some(FlatRole::Source(SourceField::Milliseconds)));
        assert_eq!(flat_role("__lsn"), Some(FlatRole::Source(SourceField::Lsn)));
        assert_eq!(flat_role("__ts_ms"), Some(FlatRole::Skip));
        assert_eq!(flat_role("id"), None);
        assert_eq!(flat_role("__mine"), None);
    }
}
