//! The configuration as a tree before it has types: the YAML file, references expanded, environment laid over it.
//!
//! Values that come from the environment are *loose*: `"5"` is the number 5 where a number is wanted and the text `5` where text is
//! wanted, so that an all-digit password survives. Values written in the file keep YAML's types. Keys keep their order: the order
//! of sites means something.

use serde_yaml_ng::Value;

use super::expand::expand;
use super::problem::Problems;

/// One node.
#[derive(Clone, Debug, PartialEq)]
pub(super) enum Node {
    /// Nothing, or `~`.
    Null,
    /// `true` or `false`.
    Bool(bool),
    /// A YAML number.
    Number(serde_yaml_ng::Number),
    /// A YAML string.
    Text(String),
    /// From the environment: typed by who reads it.
    Loose(String),
    /// A sequence.
    List(Vec<Node>),
    /// A mapping, in the order of the file.
    Map(Vec<(String, Node)>),
}

impl Node {
    /// Reads YAML text and expands references.
    ///
    /// # Errors
    /// Bad YAML with its line; an unset variable with the path of its key.
    pub(super) fn parse(yaml: &str, lookup: &dyn Fn(&str) -> Option<String>) -> Result<Node, Problems> {
        let value: Value =
            serde_yaml_ng::from_str(yaml).map_err(|error| Problems::one("", format!("not YAML: {error}")))?;
        let mut problems = Problems::default();
        let node = convert(value, "", lookup, &mut problems);
        problems.into_result()?;
        Ok(node)
    }

    /// Sets `path` to a loose value. Words of the path match present keys regardless of case, and list positions by number.
    pub(super) fn set(&mut self, path: &[&str], value: &str) {
        let Some((word, rest)) = path.split_first() else {
            *self = Node::Loose(value.to_owned());
            return;
        };
        if let (Node::List(items), Ok(at)) = (&mut *self, word.parse::<usize>()) {
            while items.len() <= at {
                items.push(Node::Null);
            }
            items[at].set(rest, value);
            return;
        }
        if !matches!(self, Node::Map(_)) {
            // A first element makes a list, any other word a map.
            if *word == "0" && matches!(self, Node::Null) {
                *self = Node::List(Vec::new());
                return self.set(path, value);
            }
            *self = Node::Map(Vec::new());
        }
        let Node::Map(entries) = self else { return };
        let found = entries.iter().position(|(key, _)| key.eq_ignore_ascii_case(word));
        let at = found.unwrap_or_else(|| {
            entries.push((word.to_ascii_lowercase(), Node::Null));
            entries.len() - 1
        });
        entries[at].1.set(rest, value);
    }
}

fn convert(value: Value, path: &str, lookup: &dyn Fn(&str) -> Option<String>, problems: &mut Problems) -> Node {
    match value {
        Value::Null => Node::Null,
        Value::Bool(value) => Node::Bool(value),
        Value::Number(value) => Node::Number(value),
        Value::String(text) => match expand(&text, lookup) {
            Ok(None) => Node::Text(text),
            Ok(Some(expanded)) => Node::Loose(expanded),
            Err(message) => {
                problems.add(path, message);
                Node::Null
            }
        },
        Value::Sequence(items) => Node::List(
            items
                .into_iter()
                .enumerate()
                .map(|(at, item)| convert(item, &format!("{path}[{at}]"), lookup, problems))
                .collect(),
        ),
        Value::Mapping(entries) => {
            let mut map = Vec::with_capacity(entries.len());
            for (key, value) in entries {
                // Value maps have keys such as `1:` or `true:`; they are the text that was written.
                let key = match key {
                    Value::String(key) => key,
                    Value::Number(key) => key.to_string(),
                    Value::Bool(key) => key.to_string(),
                    Value::Null => "~".to_owned(),
                    _ => {
                        problems.add(path, "a key must be a word");
                        continue;
                    }
                };
                let inner = if path.is_empty() { key.clone() } else { format!("{path}.{key}") };
                let node = convert(value, &inner, lookup, problems);
                map.push((key, node));
            }
            Node::Map(map)
        }
        Value::Tagged(tagged) => {
            problems.add(path, format!("the tag {} is not used here", tagged.tag));
            Node::Null
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_path_from_the_environment_reaches_lists_and_keys_of_any_case() {
        let mut tree = Node::parse("links: [{entities: {Users: {ids: same}}}]", &|_| None).unwrap();
        tree.set(&["LINKS", "0", "ENTITIES", "USERS", "IDS"], "mapped");
        tree.set(&["KAFKA", "BROKERS"], "a:1");
        let expected = Node::Map(vec![
            (
                "links".into(),
                Node::List(vec![Node::Map(vec![(
                    "entities".into(),
                    Node::Map(vec![("Users".into(), Node::Map(vec![("ids".into(), Node::Loose("mapped".into()))]))]),
                )])]),
            ),
            ("kafka".into(), Node::Map(vec![("brokers".into(), Node::Loose("a:1".into()))])),
        ]);
        assert_eq!(tree, expected);
    }

    #[test]
    fn an_unset_variable_is_reported_with_the_path_of_its_key() {
        let problems = Node::parse("sites: {a: {url: '${NOT_THERE}'}}\nlist: ['${NOR_THIS}']", &|_| None).unwrap_err();
        assert_eq!(problems.0[0].path, "sites.a.url");
        assert_eq!(problems.0[1].path, "list[0]");
    }
}
