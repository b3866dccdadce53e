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
