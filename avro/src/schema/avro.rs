//! Parses an Avro schema (JSON) with the properties that Connect's converter adds.

use std::collections::{BTreeMap, HashMap};
use std::sync::Arc;

use serde_json::Value as Json;

use super::{DEPTH_MAX, Field, Node, NodeId, Schema, Shape};

/// Largest `fixed` that is accepted: no bound means that a schema could make every record look truncated, not more.
const FIXED_BYTES_MAX: u64 = 1 << 30;

/// Parses `text`; `references` are schemas that it names, in an order in which each uses only earlier ones.
pub(crate) fn parse(text: &str, references: &[String]) -> Result<Schema, String> {
    let mut parser = Parser { nodes: Vec::new(), names: HashMap::new() };
    for reference in references {
        let json = serde_json::from_str(reference).map_err(|error| format!("referenced schema: {error}"))?;
        parser.node(&json, "", 0)?;
    }
    // A bare primitive name is legal both as JSON string and, from lenient registries, as plain text.
    let json: Json = serde_json::from_str(text).map_err(|error| error.to_string())?;
    let root = parser.node(&json, "", 0)?;
    Ok(Schema { nodes: parser.nodes, root })
}

struct Parser {
    nodes: Vec<Node>,
    names: HashMap<String, NodeId>,
}

impl Parser {
    fn add(&mut self, node: Node) -> NodeId {
        self.nodes.push(node);
        self.nodes.len() - 1
    }

    fn node(&mut self, json: &Json, namespace: &str, depth: usize) -> Result<NodeId, String> {
        if depth > DEPTH_MAX {
            return Err(format!("types are nested deeper than {DEPTH_MAX} levels"));
        }
        match json {
            Json::String(name) => self.named(name, namespace),
            Json::Array(branches) => {
                let branches =
                    branches.iter().map(|branch| self.node(branch, namespace, depth + 1)).collect::<Result<_, _>>()?;
                Ok(self.add(Node::new(Shape::Union(branches))))
            }
            Json::Object(object) => self.object(object, namespace, depth),
            _ => Err("a type is a name, a list or an object".to_owned()),
        }
    }

    fn named(&mut self, name: &str, namespace: &str) -> Result<NodeId, String> {
        if let Some(shape) = primitive(name) {
            return Ok(self.add(Node::new(shape)));
        }
        let qualified = qualify(name, namespace);
        self.names
            .get(&qualified)
            .or_else(|| self.names.get(name))
            .copied()
            .ok_or_else(|| format!("the type \"{qualified}\" is not defined"))
    }

    fn object(
        &mut self,
        object: &serde_json::Map<String, Json>,
        namespace: &str,
        depth: usize,
    ) -> Result<NodeId, String> {
        let kind = object.get("type").ok_or("a type without \"type\"")?;
        let Json::String(kind) = kind else {
            // {"type": {…}} wraps a whole type; what stands outside belongs to it too.
            let inner = self.node(kind, namespace, depth + 1)?;
            annotate(&mut self.nodes[inner], object);
            return Ok(inner);
        };
        if let Some(shape) = primitive(kind) {
            let mut node = Node::new(shape);
            annotate(&mut node, object);
            return Ok(self.add(node));
        }
        match kind.as_str() {
            "array" => {
                let items =
                    self.node(object.get("items").ok_or("an array without \"items\"")?, namespace, depth + 1)?;
                self.annotated(Shape::Array(items), object)
            }
            "map" => {
                let values =
                    self.node(object.get("values").ok_or("a map without \"values\"")?, namespace, depth + 1)?;
                self.annotated(Shape::Map(values), object)
            }
            "fixed" => {
                let size = object.get("size").and_then(Json::as_u64).filter(|size| *size <= FIXED_BYTES_MAX);
                let size = size.and_then(|size| usize::try_from(size).ok()).ok_or("a fixed without valid \"size\"")?;
                self.define(object, namespace, Shape::Fixed(size)).map(|(id, _)| id)
            }
            "enum" => {
                let symbols = object.get("symbols").and_then(Json::as_array).ok_or("an enum without \"symbols\"")?;
                let symbols = symbols.iter().filter_map(Json::as_str).map(Arc::from).collect();
                self.define(object, namespace, Shape::Symbols(symbols)).map(|(id, _)| id)
            }
            "record" | "error" => {
                let (id, namespace) = self.define(object, namespace, Shape::Record(Vec::new()))?;
                let fields = object.get("fields").and_then(Json::as_array).ok_or("a record without \"fields\"")?;
                let mut parsed = Vec::with_capacity(fields.len());
                for field in fields {
                    let name = field.get("name").and_then(Json::as_str).ok_or("a field without \"name\"")?;
                    let kind = field.get("type").ok_or("a field without \"type\"")?;
                    parsed.push(Field { name: name.into(), node: self.node(kind, &namespace, depth + 1)? });
                }
                self.nodes[id].shape = Shape::Record(parsed);
                Ok(id)
            }
            // {"type": "Value"}: a reference to a named type in object form.
            name => self.named(name, namespace),
        }
    }

    fn annotated(&mut self, shape: Shape, object: &serde_json::Map<String, Json>) -> Result<NodeId, String> {
        let mut node = Node::new(shape);
        annotate(&mut node, object);
        Ok(self.add(node))
    }

    /// Registers a named type before its fields are read, because they may refer to it. Returns it and its namespace.
    fn define(
        &mut self,
        object: &serde_json::Map<String, Json>,
        namespace: &str,
        shape: Shape,
    ) -> Result<(NodeId, String), String> {
        let name = object.get("name").and_then(Json::as_str).ok_or("a named type without \"name\"")?;
        let namespace = object.get("namespace").and_then(Json::as_str).unwrap_or(namespace);
        let full_name = qualify(name, namespace);
        let mut node = Node::new(shape);
        annotate(&mut node, object);
        node.full_name = Some(full_name.as_str().into());
        let id = self.add(node);
        let inner_namespace = full_name.rsplit_once('.').map_or(String::new(), |(space, _)| space.to_owned());
        if let Some(aliases) = object.get("aliases").and_then(Json::as_array) {
            for alias in aliases.iter().filter_map(Json::as_str) {
                self.names.entry(qualify(alias, &inner_namespace)).or_insert(id);
            }
        }
        self.names.insert(full_name, id);
        Ok((id, inner_namespace))
    }
}

fn qualify(name: &str, namespace: &str) -> String {
    if name.contains('.') || namespace.is_empty() { name.to_owned() } else { format!("{namespace}.{name}") }
}

fn primitive(name: &str) -> Option<Shape> {
    Some(match name {
        "null" => Shape::Null,
        "boolean" => Shape::Bool,
        "int" => Shape::Int(32),
        "long" => Shape::Long,
        "float" => Shape::Float,
        "double" => Shape::Double,
        "bytes" => Shape::Bytes,
        "string" => Shape::Text,
        _ => return None,
    })
}

fn annotate(node: &mut Node, object: &serde_json::Map<String, Json>) {
    let text = |name: &str| object.get(name).and_then(Json::as_str).map(Arc::<str>::from);
    if let Some(semantic) = text("connect.name") {
        node.semantic = Some(semantic);
    }
    if let Some(logical) = text("logicalType") {
        node.logical = Some(logical);
    }
    if let Some(Json::Object(parameters)) = object.get("connect.parameters") {
        node.parameters = parameters
            .iter()
            .map(|(name, value)| (name.clone(), value.as_str().map_or_else(|| value.to_string(), str::to_owned)))
            .collect::<BTreeMap<_, _>>();
    }
    if let Some(scale) = object.get("scale").and_then(Json::as_i64) {
        node.scale = Some(scale);
    }
    if let Some(precision) = object.get("precision").and_then(Json::as_i64) {
        node.precision = Some(precision);
    }
    if let (Shape::Int(_), Some(narrow)) = (&node.shape, object.get("connect.type").and_then(Json::as_str)) {
        match narrow {
            "int8" => node.shape = Shape::Int(8),
            "int16" => node.shape = Shape::Int(16),
            _ => {}
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn names_resolve_inside_their_namespace_and_recursion_ends() {
        let text = r#"{"type":"record","name":"Node","namespace":"a.b","fields":[
            {"name":"next","type":["null","Node"]},
            {"name":"small","type":{"type":"int","connect.type":"int16"}},
            {"name":"when","type":[{"type":"long","connect.name":"io.debezium.time.MicroTimestamp"},"null"]}]}"#;
        let schema = parse(text, &[]).unwrap();
        let Shape::Record(fields) = &schema.node(schema.root).shape else { panic!("a record") };
        assert_eq!(schema.optional(fields[0].node).unwrap().node, schema.root);
        assert_eq!(schema.node(fields[1].node).shape, Shape::Int(16));
        let optional = schema.optional(fields[2].node).unwrap();
        assert_eq!((optional.null_branch, optional.value_branch), (Some(1), 0));
        assert_eq!(schema.node(optional.node).name(), "io.debezium.time.MicroTimestamp");
    }

    #[test]
    fn a_schema_that_cannot_be_read_is_refused_with_the_reason() {
        assert!(parse(r#"{"type":"record","name":"R","fields":[{"name":"x","type":"Nope"}]}"#, &[]).is_err());
        assert!(parse("nonsense", &[]).is_err());
        let deep = "[".repeat(80) + &"]".repeat(80);
        assert!(parse(&deep, &[]).is_err());
    }
}
