//! Acceptance scenarios: each test that shows one says so, and the run leaves a note from which `docs/scenarios.md` is made.

use std::cell::RefCell;
use std::path::PathBuf;

/// The scenarios that must be shown, in the order of the page.
pub const EXPECTED: &[&str] = &[
    "A001", "A002", "A004", "A005", "A007", "A010", "A011", "A012", "A013", "A018", "A019", "A020", "A022", "A025",
    "A027", "A031", "A032", "A034", "A039", "A040", "A041", "A045", "B001", "B002", "B003", "B004", "B005", "B006",
    "B007", "B009", "B010", "B020", "B021", "B032", "D013", "D016", "E015", "E016", "E017", "F003", "F004", "F006",
    "F018", "F019", "F021", "F022",
];

/// A scenario that the running test shows. Dropping it notes the result: failed when the test panicked.
pub struct Scenario {
    id: &'static str,
    softened: Option<&'static str>,
    test: String,
}

thread_local! {
    /// The part of a test that runs, and the scenarios that it has begun.
    static PART: RefCell<Option<(String, Vec<&'static str>)>> = const { RefCell::new(None) };
}

/// A part of a test begins: scenarios begun from now on carry its name instead of the test's.
pub fn entered(part: &str) {
    PART.set(Some((part.to_owned(), Vec::new())));
}

/// The part ends; returns the scenarios that it has begun.
pub fn left() -> Vec<&'static str> {
    PART.take().map(|(_, scenarios)| scenarios).unwrap_or_default()
}

/// Begins a scenario: its number and, if the test shows less than the scenario asks for, in what.
pub fn scenario(id: &'static str, softened: Option<&'static str>) -> Scenario {
    let part = PART.with_borrow_mut(|part| {
        let (name, scenarios) = part.as_mut()?;
        scenarios.push(id);
        Some(name.clone())
    });
    let test = part.unwrap_or_else(|| std::thread::current().name().unwrap_or("?").to_owned());
    Scenario { id, softened, test }
}

/// Folder of the notes of this build.
pub fn notes() -> PathBuf {
    let program = std::env::current_exe().expect("a program knows its path");
    let folder = program.parent().expect("it is in a folder");
    let debug = if folder.ends_with("deps") { folder.parent().expect("target/debug") } else { folder };
    debug.join("scenario-notes")
}

impl Drop for Scenario {
    fn drop(&mut self) {
        let result = if std::thread::panicking() { "failed" } else { "passed" };
        let line = format!("{}\t{}\t{result}\t{}\n", self.id, self.test, self.softened.unwrap_or(""));
        let folder = notes();
        let _ = std::fs::create_dir_all(&folder);
        let _ = std::fs::write(folder.join(format!("{}.{}", self.id, self.test.replace("::", "."))), line);
    }
}

/// The page, from the notes.
pub fn page() -> String {
    let mut lines: Vec<String> = std::fs::read_dir(notes())
        .into_iter()
        .flatten()
        .filter_map(|entry| std::fs::read_to_string(entry.ok()?.path()).ok())
        .collect();
    for id in EXPECTED {
        if !lines.iter().any(|line| line.starts_with(id)) {
            lines.push(format!("{id}\t\tnot run\t\n"));
        }
    }
    lines.sort();
    let mut page = String::from(
        "# Acceptance scenarios\n\nMade by `./test` from its last run on the real servers: which scenario is shown by which test, and how it ended. \
         A scenario that the test shows only in part says in what it is softened.\n\n| scenario | test | last result | softened |\n|---|---|---|---|\n",
    );
    for line in lines {
        let fields: Vec<&str> = line.trim_end_matches('\n').split('\t').collect();
        if let [id, test, result, softened] = fields[..] {
            let test = if test.is_empty() { String::new() } else { format!("`{test}`") };
            page.push_str(&format!("| {id} | {test} | {result} | {softened} |\n"));
        }
    }
    page
}

/// True when every expected scenario has a note.
pub fn is_complete() -> bool {
    let page = page();
    !page.contains("| not run |")
}
