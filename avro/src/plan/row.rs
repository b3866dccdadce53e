//! Plans of rows, keys and single columns.

use std::sync::Arc;

use topology::data::{Column, Kind, Layout, LayoutId, Layouts};

use super::{Slot, Step};
use crate::schema::{Field, NodeId, Optional, Schema, Shape};
use crate::value::{Meaning, classify};

/// Column name of a key that is no record.
pub(crate) const KEY_COLUMN: &str = "key";

/// The columns that nearly all rows consist of, read without going through primitive and meaning.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Quick {
    Int,
    Long,
    Double,
    Text,
    Json,
    Bytes,
    Decimal(i16),
    /// None of these.
    No,
}

impl Quick {
    fn of(step: Step, meaning: Meaning) -> Quick {
        match (step, meaning) {
            (Step::Int, Meaning::Plain) => Quick::Int,
            (Step::Long, Meaning::Plain) => Quick::Long,
            (Step::Double, Meaning::Plain) => Quick::Double,
            (Step::Text, Meaning::Plain) => Quick::Text,
            (Step::Text, Meaning::Json) => Quick::Json,
            (Step::Bytes, Meaning::Plain) => Quick::Bytes,
            (Step::Bytes, Meaning::Decimal(scale)) => Quick::Decimal(scale),
            _ => Quick::No,
        }
    }
}

/// How one column (or element of a list) is read.
#[derive(Clone, Debug)]
pub(crate) struct ColumnPlan {
    /// Name of the field in the record.
    pub(crate) field: Arc<str>,
    /// How its bytes are laid out, null included.
    pub(crate) slot: Slot,
    pub(crate) quick: Quick,
    is_nullable: bool,
    /// The type behind the union.
    pub(crate) node: NodeId,
    pub(crate) meaning: Meaning,
    pub(crate) kind: Kind,
    /// Plan of the elements of a list.
    pub(crate) element: Option<Box<ColumnPlan>>,
}

impl ColumnPlan {
    pub(crate) fn compile(schema: &Schema, field: &Field) -> ColumnPlan {
        let optional = schema.optional(field.node);
        let id = optional.map_or(field.node, |optional| optional.node);
        let node = schema.node(id);
        let (mut meaning, mut kind) = classify(node);
        let mut element = None;
        if let Shape::Array(items) = node.shape {
            let plan = ColumnPlan::compile(schema, &Field { name: field.name.clone(), node: items });
            // Lists of documents are documents: JSON text holds them whole.
            if plan.meaning != Meaning::Document {
                meaning = Meaning::Array;
                kind = Kind::Array(Box::new(plan.kind.clone()));
                element = Some(Box::new(plan));
            }
        }
        let is_nullable = optional.is_some_and(|optional| optional.null_branch.is_some()) || node.shape == Shape::Null;
        let slot = Slot::of(schema, field.node);
        let quick = Quick::of(slot.step, meaning);
        ColumnPlan { field: field.name.clone(), slot, quick, is_nullable, node: id, meaning, kind, element }
    }

    /// A column of JSON without schema.
    fn hinted(column: &Column, is_learned: bool) -> ColumnPlan {
        // A learned JSON column holds values of any type, each as its own JSON text; a declared one holds JSON inside a text.
        let is_document = is_learned && column.kind == Kind::Json;
        ColumnPlan {
            field: column.name.clone(),
            slot: Slot::of(&Schema::none(), 0),
            quick: Quick::No,
            is_nullable: true,
            node: 0,
            meaning: if is_document { Meaning::Document } else { Meaning::Hinted },
            kind: column.kind.clone(),
            element: None,
        }
    }

    /// True when null may stand here.
    pub(crate) fn is_nullable(&self) -> bool {
        self.is_nullable
    }
}

/// How a row is read: `columns[i]` gives cell i, in the order of the bytes.
#[derive(Clone, Debug)]
pub(crate) struct RowPlan {
    pub(crate) columns: Vec<ColumnPlan>,
    pub(crate) layout: LayoutId,
}

impl RowPlan {
    /// Plans the record at `node`.
    pub(crate) fn compile(schema: &Schema, node: NodeId, layouts: &mut Layouts) -> Result<RowPlan, String> {
        match &schema.node(node).shape {
            Shape::Record(fields) => RowPlan::of_fields(schema, fields, layouts),
            _ => Err("a row is not a record".to_owned()),
        }
    }

    /// Plans some fields of a record.
    pub(crate) fn of_fields(schema: &Schema, fields: &[Field], layouts: &mut Layouts) -> Result<RowPlan, String> {
        let columns: Vec<ColumnPlan> = fields.iter().map(|field| ColumnPlan::compile(schema, field)).collect();
        let layout = columns
            .iter()
            .map(|column| {
                // The database's own spelling, where the connector was told to send it.
                let parameter = schema.node(column.node).parameter("__debezium.source.column.name");
                Column {
                    name: parameter.map_or_else(|| column.field.clone(), Arc::from),
                    kind: column.kind.clone(),
                    nullable: column.is_nullable(),
                }
            })
            .collect();
        Ok(RowPlan { columns, layout: layouts.add(Layout { columns: layout }) })
    }
}

impl RowPlan {
    /// Plans rows of JSON without schema, whose columns were declared or learned.
    pub(crate) fn hinted(layout: Layout, is_learned: bool, layouts: &mut Layouts) -> RowPlan {
        let columns = layout.columns.iter().map(|column| ColumnPlan::hinted(column, is_learned)).collect();
        RowPlan { columns, layout: layouts.add(layout) }
    }
}

/// A compiled key schema.
#[derive(Clone, Debug)]
pub(crate) struct KeyPlan {
    pub(crate) schema: Schema,
    /// Branch bytes in front of the record, when the whole key is an optional union.
    pub(crate) optional: Option<Optional>,
    pub(crate) row: RowPlan,
    /// True for a key that is one value and no record.
    pub(crate) is_single: bool,
    /// True when Debezium named the schema (`….Key`): on an envelope topic a null value is a tombstone.
    pub(crate) is_debezium: bool,
}

impl KeyPlan {
    /// Compiles a key schema, adding its layout.
    pub(crate) fn compile(schema: Schema, layouts: &mut Layouts) -> Result<KeyPlan, String> {
        let optional = schema.optional(schema.root);
        let root = optional.map_or(schema.root, |optional| optional.node);
        let node = schema.node(root);
        let is_debezium = node.semantic.as_deref().is_some_and(|name| name == "Key" || name.ends_with(".Key"));
        let is_single = !matches!(node.shape, Shape::Record(_));
        let row = if is_single {
            RowPlan::of_fields(&schema, &[Field { name: KEY_COLUMN.into(), node: schema.root }], layouts)?
        } else {
            RowPlan::compile(&schema, root, layouts)?
        };
        Ok(KeyPlan { schema, optional, row, is_single, is_debezium })
    }

    /// Plans keys of JSON without schema.
    pub(crate) fn hinted(layout: Layout, is_learned: bool, is_single: bool, layouts: &mut Layouts) -> KeyPlan {
        KeyPlan {
            schema: Schema::none(),
            optional: None,
            row: RowPlan::hinted(layout, is_learned, layouts),
            is_single,
            is_debezium: false,
        }
    }
}
