//! A topology as text and as a Mermaid flowchart. Both list nodes in the order they were added, so that they can be compared in tests.

use std::fmt::Write;

use super::{Node, NodeKind, Topology};

impl Topology {
    /// One line per node, indented by depth: `filter guard: drops what comes from revamp`.
    pub fn describe(&self) -> String {
        let mut out = String::new();
        for (index, node) in self.nodes.iter().enumerate() {
            if node.kind == NodeKind::Source {
                self.describe_node(index, 0, &mut out);
            }
        }
        out
    }

    fn describe_node(&self, index: usize, depth: usize, out: &mut String) {
        let node = &self.nodes[index];
        let _ = writeln!(out, "{:indent$}{}", "", label(node), indent = depth * 2);
        for child in &node.children {
            self.describe_node(*child, depth + 1, out);
        }
    }

    /// A Mermaid flowchart, left to right.
    pub fn mermaid(&self) -> String {
        let mut out = String::from("flowchart LR\n");
        for (index, node) in self.nodes.iter().enumerate() {
            let text = label(node).replace('"', "'");
            let (open, close) = match node.kind {
                NodeKind::Source => ("([", "])"),
                NodeKind::Sink => ("[(", ")]"),
                NodeKind::Branch => ("{", "}"),
                _ => ("[", "]"),
            };
            let _ = writeln!(out, "  n{index}{open}\"{text}\"{close}");
        }
        for (index, node) in self.nodes.iter().enumerate() {
            for child in &node.children {
                let _ = writeln!(out, "  n{index} --> n{child}");
            }
        }
        out
    }
}

fn label(node: &Node) -> String {
    let detail = match &node.processor {
        Some(processor) => processor.describe(),
        None => node.topics.join(", "),
    };
    let colon = if detail.is_empty() { "" } else { ": " };
    format!("{} {}{colon}{detail}", node.kind.name(), node.name)
}
