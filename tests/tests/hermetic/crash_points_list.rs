//! The list of crash points and the code say the same: each point is where the list says, once, and no other is anywhere.

use std::collections::BTreeSet;
use std::path::Path;

use topology::crash::POINTS;

/// (file, name) of every point under a folder. A line may choose between two.
fn points_in(root: &Path, folder: &Path, found: &mut Vec<(String, String)>) {
    for entry in std::fs::read_dir(folder).expect("a readable folder") {
        let path = entry.expect("an entry").path();
        if path.is_dir() {
            points_in(root, &path, found);
        } else if path.extension().is_some_and(|extension| extension == "rs") {
            let file = path.strip_prefix(root).expect("it is below").to_string_lossy().into_owned();
            let text = std::fs::read_to_string(&path).expect("readable source");
            for line in text.lines().filter(|line| line.contains("crash::point(")) {
                found.extend(line.split('"').skip(1).step_by(2).map(|name| (file.clone(), name.to_owned())));
            }
        }
    }
}

#[test]
fn every_crash_point_is_in_the_code_exactly_where_the_list_says() {
    let root = Path::new(env!("CARGO_MANIFEST_DIR")).join("..").canonicalize().expect("the checkout");
    let mut found = Vec::new();
    for folder in ["topology/src", "connect/src", "avro/src", "src"] {
        points_in(&root, &root.join(folder), &mut found);
    }
    found.sort();
    let mut listed: Vec<(String, String)> =
        POINTS.iter().map(|point| (point.file.to_owned(), point.name.to_owned())).collect();
    listed.sort();
    assert_eq!(found, listed, "left: in the code; right: in topology::crash::POINTS");
    let names: BTreeSet<&str> = POINTS.iter().map(|point| point.name).collect();
    assert_eq!(names.len(), POINTS.len(), "no name is there twice");
}
