//! Acceptance scenarios: each test that shows one says so, and the run leaves a note from which `docs/scenarios.md` is made.

use std::cell::RefCell;
use std::path::PathBuf;

/// The scenarios that must be shown, in the order of the page.
pub const EXPECTED: &[&str] = &[
    "A001", "A002", "A004", "A005", "A007", "A010", "A011", "A012", "A013", "A018", "A019", "A020", "A022", "A023",
    "A024", "A025", "A026", "A027", "A031", "A032", "A034", "A039", "A040", "A041", "A043", "A045", "A047", "A048",
    "A049", "A050", "B001", "B002", "B003", "B004", "B005", "B006", "B007", "B009", "B010", "B020", "B021", "B032",
    "D009", "D013", "D016", "E015", "E016", "E017", "F001", "F002", "F003", "F004", "F006", "F008", "F009", "F010",
    "F013", "F014", "F018", "F019", "F021", "F022",
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

/// One row of the page: a scenario, a test that shows it, and in what it is softened.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub struct Listed {
    /// Number of the scenario.
    pub id: String,
    /// Path of the test.
    pub test: String,
    /// What the test shows less than the scenario asks for; mostly empty.
    pub softened: String,
}

/// The page, from the notes of the last run.
pub fn page() -> String {
    let mut lines: Vec<String> = std::fs::read_dir(notes())
        .into_iter()
        .flatten()
        .filter_map(|entry| std::fs::read_to_string(entry.ok()?.path()).ok())
        .collect();
    lines.sort();
    page_of(&lines)
}

fn page_of(notes: &[String]) -> String {
    let mut page = String::from(
        "# Acceptance scenarios\n\nWritten by `./test` at the end of its run on the real servers: which scenario is shown by which test, and how it ended in that run.\n\
         A scenario that the test shows only in part says in what it is softened. `./test` fails when a scenario that must be shown is missing, or when\n\
         the list here is not that of the run.\n\n\
         L and R are the legacy and revamp side of `examples/blog`, M and P the MySQL and PostgreSQL side of `examples/mysql-postgres`.\n\n\
         | scenario | test | last result | softened |\n|---|---|---|---|\n",
    );
    for line in notes {
        let fields: Vec<&str> = line.trim_end_matches('\n').split('\t').collect();
        if let [id, test, result, softened] = fields[..] {
            page.push_str(&format!("| {id} | `{test}` | {result} | {softened} |\n"));
        }
    }
    page
}

/// What a page lists, without the results.
pub fn listed(page: &str) -> Vec<Listed> {
    let mut list: Vec<Listed> = page
        .lines()
        .filter_map(|line| {
            let fields: Vec<&str> = line.strip_prefix("| ")?.strip_suffix('|')?.split('|').map(str::trim).collect();
            let [id, test, _, softened] = fields[..] else { return None };
            let test = test.strip_prefix('`')?.strip_suffix('`')?;
            Some(Listed { id: id.to_owned(), test: test.to_owned(), softened: softened.to_owned() })
        })
        .collect();
    list.sort();
    list
}

/// Scenarios that must be shown and that the page does not list.
pub fn missing(page: &str) -> Vec<&'static str> {
    let listed = listed(page);
    let is_listed = |id: &str| listed.iter().any(|row| row.id == id);
    EXPECTED.iter().copied().filter(|id| !is_listed(id)).collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_page_lists_what_it_was_made_from() {
        let notes = ["A001\ta::one\tpassed\t\n".to_owned(), "F006\tb::two\tfailed\torder only\n".to_owned()];
        let page = page_of(&notes);
        assert!(page.contains("| F006 | `b::two` | failed | order only |"), "{page}");
        let list = listed(&page);
        assert_eq!(list.len(), 2, "{page}");
        assert_eq!((list[0].id.as_str(), list[0].test.as_str(), list[0].softened.as_str()), ("A001", "a::one", ""));
        assert_eq!(list[1].softened, "order only");
        assert_eq!(listed(&page.replace("failed", "passed")), list, "results are no part of the list");
        assert!(missing(&page).contains(&"A002") && !missing(&page).contains(&"A001"));
    }
}
