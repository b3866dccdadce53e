//! Generated pages: compared in tests, written with `UPDATE_DOCS=1`.

use std::path::{Path, PathBuf};

/// Fails when `docs/<name>` is not `wanted`; with `UPDATE_DOCS=1` writes it instead.
pub(crate) fn expect_page(name: &str, wanted: &str) {
    expect_file(&Path::new("docs").join(name), wanted);
}

/// The same for a snapshot of a command's output in `src/snapshots`.
pub(crate) fn expect_snapshot(name: &str, wanted: &str) {
    expect_file(&Path::new("src/snapshots").join(name), wanted);
}

fn expect_file(relative: &Path, wanted: &str) {
    let path = PathBuf::from(env!("CARGO_MANIFEST_DIR")).join(relative);
    if std::env::var_os("UPDATE_DOCS").is_some_and(|value| value == "1") {
        std::fs::create_dir_all(path.parent().expect("a file has a folder")).unwrap();
        std::fs::write(&path, wanted).unwrap();
        return;
    }
    let found = std::fs::read_to_string(&path).unwrap_or_default();
    if found != wanted {
        let line = found.lines().zip(wanted.lines()).take_while(|(found, wanted)| found == wanted).count();
        panic!(
            "{} is stale from line {} on; run `UPDATE_DOCS=1 cargo test -p tidelock` and look at the difference\n  is:     {}\n  should: {}",
            relative.display(),
            line + 1,
            found.lines().nth(line).unwrap_or("(end)"),
            wanted.lines().nth(line).unwrap_or("(end)"),
        );
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn sources(folder: &Path, out: &mut String) {
        for entry in std::fs::read_dir(folder).unwrap() {
            let path = entry.unwrap().path();
            if path.is_dir() {
                sources(&path, out);
            } else if path.extension().is_some_and(|extension| extension == "rs") {
                out.push_str(&std::fs::read_to_string(&path).unwrap());
            }
        }
    }

    #[test]
    fn every_test_that_the_guarantees_name_exists() {
        let root = PathBuf::from(env!("CARGO_MANIFEST_DIR"));
        let mut code = String::new();
        for folder in ["src", "topology", "avro", "connect", "tests"] {
            sources(&root.join(folder), &mut code);
        }
        let page = std::fs::read_to_string(root.join("docs/guarantees.md")).unwrap();
        let mut named = 0;
        for word in page.split('`').skip(1).step_by(2) {
            let is_test = word.matches('_').count() >= 3
                && word.chars().all(|letter| letter.is_ascii_lowercase() || letter == '_');
            if is_test {
                assert!(code.contains(&format!("fn {word}(")), "docs/guarantees.md names `{word}`, which is no test");
                named += 1;
            }
        }
        assert!(named > 20, "{named} tests are named");
    }
}
