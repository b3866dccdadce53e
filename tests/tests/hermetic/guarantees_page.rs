//! `docs/guarantees.md` and `docs/protocol.md` name tests that hold their promises and rules: they must exist.

use std::path::Path;

/// Every function of the sources, by name.
fn functions(folder: &Path, found: &mut Vec<String>) {
    for entry in std::fs::read_dir(folder).expect("a readable folder") {
        let path = entry.expect("an entry").path();
        let name = path.file_name().unwrap_or_default().to_string_lossy().into_owned();
        if path.is_dir() && name != "target" && !name.starts_with('.') {
            functions(&path, found);
        } else if name.ends_with(".rs") {
            let text = std::fs::read_to_string(&path).expect("readable source");
            let names = text.split("fn ").skip(1).filter_map(|rest| rest.split(['(', '<']).next());
            found.extend(names.map(str::to_owned));
        }
    }
}

#[test]
fn every_test_that_holds_a_promise_exists() {
    let root = Path::new(env!("CARGO_MANIFEST_DIR")).join("..");
    let page = std::fs::read_to_string(root.join("docs/guarantees.md")).expect("the page is there");
    let mut known = Vec::new();
    functions(&root, &mut known);
    let lists = page.split("*Held by*").skip(1).map(|rest| rest.split("\n## ").next().unwrap_or_default());
    let named: Vec<&str> = lists.flat_map(|list| list.split('`').skip(1).step_by(2)).collect();
    assert!(named.len() > 20, "the lists are read: {}", named.len());
    let is_test = |name: &&&str| name.contains('_') && !name.contains([' ', '.', '/', '<']);
    let gone: Vec<_> = named.iter().filter(is_test).filter(|name| !known.iter().any(|known| known == **name)).collect();
    assert!(gone.is_empty(), "docs/guarantees.md names tests that are not there: {gone:?}");
}

#[test]
fn every_test_and_planted_fault_that_holds_a_rule_exists_and_every_rule_has_one() {
    let root = Path::new(env!("CARGO_MANIFEST_DIR")).join("..");
    let page = std::fs::read_to_string(root.join("docs/protocol.md")).expect("the page is there");
    let (rules, table) = page.split_once("## What holds each rule").expect("the table is there");
    let mut known = Vec::new();
    functions(&root, &mut known);
    known.extend(topology::mutation::ALL.iter().map(|(_, name)| (*name).to_owned()));
    let rows: Vec<&str> = table.lines().filter(|line| line.starts_with("| ") && line.contains('`')).collect();
    let named = rows.iter().flat_map(|row| row.split('`').skip(1).step_by(2));
    let gone: Vec<_> = named.filter(|name| !known.iter().any(|known| known == name)).collect();
    assert!(gone.is_empty(), "docs/protocol.md names tests or faults that are not there: {gone:?}");
    let held: Vec<&str> =
        rows.iter().filter_map(|row| row.split('|').nth(1)).flat_map(|cell| cell.split(',').map(str::trim)).collect();
    let stated = rules.lines().filter_map(|line| line.strip_prefix("- **")?.split("**").next());
    let missing: Vec<&str> = stated.filter(|rule| !held.contains(rule)).collect();
    // librdkafka's fatal errors cannot be had from a broker that works.
    let missing: Vec<_> = missing.into_iter().filter(|rule| *rule != "A5").collect();
    assert!(missing.is_empty(), "rules without a test: {missing:?}");
}
