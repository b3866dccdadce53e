//! `${NAME}` and `${NAME:-default}` inside values. Expansion works on values after the YAML was read, so that nothing in the
//! environment can add keys. `$${` stands for a literal `${`. An empty variable counts as unset, as in a shell's `:-`.

/// Expands every reference in `text`; `None` when there is none. `lookup` gives the variable's value.
///
/// # Errors
/// A sentence for the user: an unset variable without default, or a reference without end.
pub(crate) fn expand(text: &str, lookup: &dyn Fn(&str) -> Option<String>) -> Result<Option<String>, String> {
    if !text.contains("${") {
        return Ok(None);
    }
    let mut expanded = String::with_capacity(text.len());
    let mut rest = text;
    while let Some(start) = rest.find("${") {
        let (head, tail) = rest.split_at(start);
        if let Some(head) = head.strip_suffix('$') {
            expanded.push_str(head);
            expanded.push_str("${");
            rest = &tail[2..];
            continue;
        }
        expanded.push_str(head);
        let tail = &tail[2..];
        let end = tail
            .find('}')
            .ok_or_else(|| format!("`${{{tail}` has no closing brace; write `$${{` for a literal `${{`"))?;
        let reference = &tail[..end];
        let (name, default) = match reference.split_once(":-") {
            Some((name, default)) => (name, Some(default)),
            None => (reference, None),
        };
        if name.is_empty() || !name.chars().all(|letter| letter.is_ascii_alphanumeric() || letter == '_') {
            return Err(format!("`${{{reference}}}` is no variable name; write `$${{` for a literal `${{`"));
        }
        match lookup(name).filter(|value| !value.is_empty()).or_else(|| default.map(str::to_owned)) {
            Some(value) => expanded.push_str(&value),
            None => {
                return Err(format!(
                    "environment variable {name} is not set; set it, or give a default with `${{{name}:-…}}`"
                ));
            }
        }
        rest = &tail[end + 1..];
    }
    expanded.push_str(rest);
    Ok(Some(expanded))
}

#[cfg(test)]
mod tests {
    use super::*;

    fn with(text: &str) -> Result<Option<String>, String> {
        expand(text, &|name| match name {
            "HOST" => Some("db".into()),
            "EMPTY" => Some(String::new()),
            _ => None,
        })
    }

    #[test]
    fn variables_and_defaults_are_put_in() {
        assert_eq!(with("plain").unwrap(), None);
        assert_eq!(with("mysql://${HOST}:${PORT:-3306}/x").unwrap().unwrap(), "mysql://db:3306/x");
        assert_eq!(with("${EMPTY:-fallback}").unwrap().unwrap(), "fallback");
        assert_eq!(with("${PORT:-}").unwrap().unwrap(), "");
        assert_eq!(with("$${HOST}").unwrap().unwrap(), "${HOST}");
    }

    #[test]
    fn an_unset_variable_is_named() {
        assert!(with("${PORT}").unwrap_err().contains("PORT is not set"));
        assert!(with("${EMPTY}").unwrap_err().contains("EMPTY is not set"));
        assert!(with("${HOST").unwrap_err().contains("closing brace"));
        assert!(with("${a b}").unwrap_err().contains("no variable name"));
    }
}
