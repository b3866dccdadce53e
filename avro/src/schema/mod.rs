//! The writer's schema as a flat table of nodes, the same for Avro and for Connect's JSON schemas.
//!
//! It keeps what Debezium says beside the plain types (`connect.name`, `connect.parameters`, `connect.type`): the `io.debezium.*`
//! types have no Avro logical type, and a reader that drops custom properties loses their meaning.
//! Invariant: every [`NodeId`] in a schema points into its own table; named types may be recursive.

pub(crate) mod avro;
pub(crate) mod connect;

use std::collections::BTreeMap;
use std::sync::Arc;

/// Index of a node in its schema.
pub(crate) type NodeId = usize;

/// Named or inline types nested deeper than this are refused, when parsing and when reading.
pub(crate) const DEPTH_MAX: usize = 64;

/// How bytes of one type are laid out.
#[derive(Clone, Debug, PartialEq)]
pub(crate) enum Shape {
    Null,
    Bool,
    /// 8, 16 or 32 bits; Avro `int`.
    Int(u8),
    Long,
    Float,
    Double,
    Bytes,
    Text,
    Fixed(usize),
    Symbols(Vec<Arc<str>>),
    Array(NodeId),
    Map(NodeId),
    Union(Vec<NodeId>),
    Record(Vec<Field>),
}

/// One field of a record.
#[derive(Clone, Debug, PartialEq)]
pub(crate) struct Field {
    pub(crate) name: Arc<str>,
    pub(crate) node: NodeId,
}

/// One type with what is said about it.
#[derive(Clone, Debug, PartialEq)]
pub(crate) struct Node {
    pub(crate) shape: Shape,
    /// `connect.name`, or the Connect schema's `name`.
    pub(crate) semantic: Option<Arc<str>>,
    /// Avro full name of a record, enum or fixed.
    pub(crate) full_name: Option<Arc<str>>,
    /// Avro's own `logicalType`.
    pub(crate) logical: Option<Arc<str>>,
    /// `connect.parameters`.
    pub(crate) parameters: BTreeMap<String, String>,
    /// Avro's `scale` attribute of decimals.
    pub(crate) scale: Option<i64>,
    /// Avro's `precision` attribute of decimals.
    pub(crate) precision: Option<i64>,
}

impl Node {
    pub(crate) fn new(shape: Shape) -> Node {
        Node {
            shape,
            semantic: None,
            full_name: None,
            logical: None,
            parameters: BTreeMap::new(),
            scale: None,
            precision: None,
        }
    }

    /// A parameter of the Connect schema.
    pub(crate) fn parameter(&self, name: &str) -> Option<&str> {
        self.parameters.get(name).map(String::as_str)
    }

    /// The name that tells what the type means: the Connect name where there is one.
    pub(crate) fn name(&self) -> &str {
        self.semantic.as_deref().or(self.full_name.as_deref()).unwrap_or("")
    }
}

/// A parsed schema.
#[derive(Clone, Debug)]
pub(crate) struct Schema {
    pub(crate) nodes: Vec<Node>,
    pub(crate) root: NodeId,
}

impl Schema {
    /// Stands where there is no schema.
    pub(crate) fn none() -> Schema {
        Schema { nodes: vec![Node::new(Shape::Null)], root: 0 }
    }

    pub(crate) fn node(&self, id: NodeId) -> &Node {
        &self.nodes[id]
    }

    /// Sees through a union of null and one type: (branch of null, branch of the value, the value's node).
    /// `None` when the node is no such union; a union of one type counts, without a null branch.
    pub(crate) fn optional(&self, id: NodeId) -> Option<Optional> {
        let Shape::Union(branches) = &self.node(id).shape else { return None };
        let null = branches.iter().position(|branch| self.node(*branch).shape == Shape::Null);
        match (branches.len(), null) {
            (1, None) => Some(Optional { null_branch: None, value_branch: 0, node: branches[0] }),
            (2, Some(null)) if self.node(branches[1 - null]).shape != Shape::Null => {
                Some(Optional { null_branch: Some(null), value_branch: 1 - null, node: branches[1 - null] })
            }
            _ => None,
        }
    }

    /// The node behind an optional union, or the node itself.
    pub(crate) fn present(&self, id: NodeId) -> NodeId {
        self.optional(id).map_or(id, |optional| optional.node)
    }

    /// True when both nodes are read the same way and mean the same.
    pub(crate) fn same(&self, left: NodeId, right: NodeId, depth: usize) -> bool {
        if left == right {
            return true;
        }
        let (a, b) = (self.node(left), self.node(right));
        let alike = a.semantic == b.semantic && a.logical == b.logical && a.parameters == b.parameters;
        if !alike || a.scale != b.scale || depth == 0 {
            return false;
        }
        match (&a.shape, &b.shape) {
            (Shape::Array(x), Shape::Array(y)) | (Shape::Map(x), Shape::Map(y)) => self.same(*x, *y, depth - 1),
            (Shape::Union(x), Shape::Union(y)) => {
                x.len() == y.len() && x.iter().zip(y).all(|(x, y)| self.same(*x, *y, depth - 1))
            }
            (Shape::Record(x), Shape::Record(y)) => {
                x.len() == y.len()
                    && x.iter().zip(y).all(|(x, y)| x.name == y.name && self.same(x.node, y.node, depth - 1))
            }
            (a, b) => a == b,
        }
    }

    /// True when a value of this node may take no byte at all, so that a count of items is not bounded by the record's length.
    pub(crate) fn may_be_empty(&self, id: NodeId) -> bool {
        match &self.node(id).shape {
            Shape::Null => true,
            Shape::Fixed(length) => *length == 0,
            Shape::Record(fields) => fields
                .iter()
                .all(|field| matches!(self.node(field.node).shape, Shape::Null | Shape::Fixed(0) | Shape::Record(_))),
            _ => false,
        }
    }
}

/// A union of null and one type.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Optional {
    pub(crate) null_branch: Option<usize>,
    pub(crate) value_branch: usize,
    pub(crate) node: NodeId,
}
