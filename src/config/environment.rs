//! Environment variables over the file: `TIDELOCK_KAFKA__BROKERS` is `kafka.brokers`; two underscores go one level down, list
//! elements have numbers. A key of `tuning` may be given without its section: `TIDELOCK_LANES`.

use super::Config;
use super::problem::Problem;
use super::setting::{Setting, Shape};
use super::tree::Node;
use super::tuning::Tuning;

const PREFIX: &str = "TIDELOCK_";

/// Variables with our prefix that are no keys of the configuration.
const OTHERS: &[&str] = &["CONFIG", "LOG", "STATUS_URL", "CONNECT_URL"];

/// Lays every variable over the tree. Returns warnings for variables that mean nothing; they are no errors, because platforms set
/// variables of that shape by themselves (Kubernetes does, for a service named `tidelock`).
pub(super) fn overlay(tree: &mut Node, variables: &[(String, String)]) -> Vec<Problem> {
    let mut warnings = Vec::new();
    let mut ours: Vec<_> = variables.iter().filter(|(name, _)| name.starts_with(PREFIX)).collect();
    ours.sort();
    for (name, value) in ours {
        let key = &name[PREFIX.len()..];
        if OTHERS.contains(&key) || key.starts_with("TEST_") || key == "PORT_BASE" {
            continue;
        }
        let lower = key.to_ascii_lowercase();
        let path: Vec<&str> = key.split("__").collect();
        if path.len() > 1 || keys_of::<Config>().contains(&lower.as_str()) {
            tree.set(&path, value);
        } else if keys_of::<Tuning>().contains(&lower.as_str()) {
            tree.set(&["tuning", &lower], value);
        } else {
            let message = "is no setting and is ignored; docs/configuration.md lists them all".to_owned();
            warnings.push(Problem { path: name.clone(), message });
        }
    }
    warnings
}

fn keys_of<T: Setting>() -> Vec<&'static str> {
    match T::shape() {
        Shape::Section(keys) => keys.iter().map(|key| key.name).collect(),
        _ => Vec::new(),
    }
}
