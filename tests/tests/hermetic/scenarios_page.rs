//! `docs/scenarios.md`: every scenario that must be shown is on it, with a test that exists; and it is written by the run on the real
//! servers.

use std::path::{Path, PathBuf};

use tidelock_tests::scenario::{listed, missing, page};

fn file() -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).join("../docs/scenarios.md")
}

#[test]
fn every_scenario_that_must_be_shown_is_on_the_page_with_a_test_that_exists() {
    let page = std::fs::read_to_string(file()).unwrap_or_default();
    let missing = missing(&page);
    assert!(missing.is_empty(), "docs/scenarios.md lacks {missing:?}; `./test` writes it");
    let sources = Path::new(env!("CARGO_MANIFEST_DIR")).join("tests");
    for row in listed(&page) {
        let (module, name) = row.test.rsplit_once("::").expect("a path has a module");
        let source = sources.join(module.replace("::", "/")).with_extension("rs");
        let text = std::fs::read_to_string(&source)
            .or_else(|_| std::fs::read_to_string(source.with_extension("").join("mod.rs")))
            .unwrap_or_else(|error| panic!("{}: {}: {error}", row.id, source.display()));
        assert!(text.contains(&format!("fn {name}(")), "{}: there is no test {} any more", row.id, row.test);
        assert!(text.contains(&format!("\"{}\"", row.id)), "{} is not shown in {module} any more", row.id);
    }
}

#[test]
#[ignore = "writes docs/scenarios.md from the run before it; ./test runs it after the tests on the real servers"]
fn the_page_is_that_of_this_run() {
    let before = std::fs::read_to_string(file()).unwrap_or_default();
    let now = page();
    // A run that ended early has no news of what it did not reach.
    let missing = missing(&now);
    assert!(missing.is_empty(), "nothing in this run showed {missing:?}; the page stays as it was");
    std::fs::write(file(), &now).expect("docs/ is writable");
    let (before, now) = (listed(&before), listed(&now));
    let gone: Vec<_> = before.iter().filter(|row| !now.contains(row)).collect();
    let new: Vec<_> = now.iter().filter(|row| !before.contains(row)).collect();
    assert!(
        gone.is_empty() && new.is_empty(),
        "docs/scenarios.md is new, commit it; no more: {gone:#?}, new: {new:#?}"
    );
}
