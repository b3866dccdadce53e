//! Parses Connect's own schema form, as the JSON converter embeds it: `{"type":"struct","name":…,"fields":[…]}`.

use std::collections::BTreeMap;
use std::sync::Arc;

use serde_json::Value as Json;

use super::{DEPTH_MAX, Field, Node, NodeId, Schema, Shape};

/// Parses a Connect schema.
pub(crate) fn parse(json: &Json) -> Result<Schema, String> {
    let mut nodes = Vec::new();
    let root = node(&mut nodes, json, 0)?;
    Ok(Schema { nodes, root })
}

fn add(nodes: &mut Vec<Node>, node: Node) -> NodeId {
    nodes.push(node);
    nodes.len() - 1
}

/// Adds a type; optional ones become a union with null, so that plans see the same form as from Avro.
fn node(nodes: &mut Vec<Node>, json: &Json, depth: usize) -> Result<NodeId, String> {
    if depth > DEPTH_MAX {
        return Err(format!("types are nested deeper than {DEPTH_MAX} levels"));
    }
    let kind = json.get("type").and_then(Json::as_str).ok_or("a schema without \"type\"")?;
    let shape = match kind {
        "boolean" => Shape::Bool,
        "int8" => Shape::Int(8),
        "int16" => Shape::Int(16),
        "int32" => Shape::Int(32),
        "int64" => Shape::Long,
        "float" | "float32" => Shape::Float,
        "double" | "float64" => Shape::Double,
        "bytes" => Shape::Bytes,
        "string" => Shape::Text,
        "array" => Shape::Array(node(nodes, json.get("items").ok_or("an array without \"items\"")?, depth + 1)?),
        "map" => Shape::Map(node(nodes, json.get("values").ok_or("a map without \"values\"")?, depth + 1)?),
        "struct" => {
            let fields = json.get("fields").and_then(Json::as_array).ok_or("a struct without \"fields\"")?;
            let mut parsed = Vec::with_capacity(fields.len());
            for field in fields {
                let name = field.get("field").and_then(Json::as_str).ok_or("a field without \"field\"")?;
                parsed.push(Field { name: name.into(), node: node(nodes, field, depth + 1)? });
            }
            Shape::Record(parsed)
        }
        other => return Err(format!("the Connect type \"{other}\" is not known")),
    };
    let mut parsed = Node::new(shape);
    parsed.semantic = json.get("name").and_then(Json::as_str).map(Arc::from);
    if let Some(Json::Object(parameters)) = json.get("parameters") {
        parsed.parameters = parameters
            .iter()
            .map(|(name, value)| (name.clone(), value.as_str().map_or_else(|| value.to_string(), str::to_owned)))
            .collect::<BTreeMap<_, _>>();
    }
    let id = add(nodes, parsed);
    if json.get("optional").and_then(Json::as_bool) == Some(true) {
        let null = add(nodes, Node::new(Shape::Null));
        return Ok(add(nodes, Node::new(Shape::Union(vec![null, id]))));
    }
    Ok(id)
}
