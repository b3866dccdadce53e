//! `docs/types.md` says what the conversions do.

use std::path::Path;

use tidelock_tests::types::page;

#[test]
fn types_page_is_what_the_conversions_say() {
    let path = Path::new(env!("CARGO_MANIFEST_DIR")).join("../docs/types.md");
    let page = page();
    if std::env::var_os("UPDATE_DOCS").is_some() {
        std::fs::write(&path, &page).expect("docs/ is writable");
    }
    let present = std::fs::read_to_string(&path).unwrap_or_default();
    assert!(present == page, "docs/types.md is stale: run UPDATE_DOCS=1 cargo test -p tidelock-tests types_page");
    assert!(!page.contains("| impossible"), "every recommended pair works");
}
