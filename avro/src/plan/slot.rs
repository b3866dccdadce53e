//! One value in the flat program that the Avro reader runs: how its bytes are laid out, in eight bytes, without the schema tree.

use crate::schema::{NodeId, Schema, Shape};

/// Layout of a present value.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Step {
    Null,
    Bool,
    Int,
    Long,
    Float,
    Double,
    Bytes,
    Text,
    Fixed(u32),
    /// Anything else is walked along the schema tree.
    Tree(u32),
}

/// A branch number that no union has: schemas with so many branches are walked along the tree.
const NO_BRANCH: u8 = u8::MAX;

/// Layout of a value that may be an optional union.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct Slot {
    pub(crate) step: Step,
    /// Branch of null; [`NO_BRANCH`] for none.
    null_branch: u8,
    /// Branch of the value; [`NO_BRANCH`] when there is no union at all.
    value_branch: u8,
}

/// What a branch number says.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Branch {
    Value,
    Null,
    Unknown,
}

impl Slot {
    /// The slot of a node.
    pub(crate) fn of(schema: &Schema, node: NodeId) -> Slot {
        if let Some(optional) = schema.optional(node) {
            return Slot {
                step: step(schema, optional.node),
                // A union of null and one type has branches 0 and 1.
                null_branch: optional.null_branch.map_or(NO_BRANCH, |branch| branch as u8),
                value_branch: optional.value_branch as u8,
            };
        }
        Slot { step: step(schema, node), null_branch: NO_BRANCH, value_branch: NO_BRANCH }
    }

    /// True when a branch number stands in front of the value.
    #[inline]
    pub(crate) fn is_union(self) -> bool {
        self.value_branch != NO_BRANCH
    }

    /// What the branch number in front of the value says.
    #[inline]
    pub(crate) fn branch(self, number: i64) -> Branch {
        if number == i64::from(self.value_branch) {
            Branch::Value
        } else if number == i64::from(self.null_branch) && self.null_branch != NO_BRANCH {
            Branch::Null
        } else {
            Branch::Unknown
        }
    }
}

fn step(schema: &Schema, node: NodeId) -> Step {
    let tree = || Step::Tree(u32::try_from(node).unwrap_or(u32::MAX));
    match schema.node(node).shape {
        Shape::Null => Step::Null,
        Shape::Bool => Step::Bool,
        Shape::Int(_) => Step::Int,
        Shape::Long => Step::Long,
        Shape::Float => Step::Float,
        Shape::Double => Step::Double,
        Shape::Bytes => Step::Bytes,
        Shape::Text => Step::Text,
        Shape::Fixed(length) => u32::try_from(length).map_or_else(|_| tree(), Step::Fixed),
        Shape::Symbols(_) | Shape::Array(_) | Shape::Map(_) | Shape::Union(_) | Shape::Record(_) => tree(),
    }
}
