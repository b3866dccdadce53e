//! Acceptance scenarios: each test that shows one says so, and the run leaves a note from which `docs/scenarios.md` is made.

use std::path::PathBuf;

/// A scenario that the running test shows. Dropping it notes the result: failed when the test panicked.
pub struct Scenario {
    id: &'static str,
    softened: Option<&'static str>,
    test: String,
}

/// Begins a scenario: its number and, if the test shows less than the scenario asks for, in what.
pub fn scenario(id: &'static str, softened: Option<&'static str>) -> Scenario {
    let test = std::thread::current().name().unwrap_or("?").to_owned();
    Scenario { id, softened, test }
}

/// Folder of the notes of this build.
pub fn notes() -> PathBuf {
    let test = std::env::current_exe().expect("a test knows its path");
    test.ancestors().nth(2).expect("target/debug/deps").join("scenarios")
}

impl Drop for Scenario {
    fn drop(&mut self) {
        let result = if std::thread::panicking() { "failed" } else { "passed" };
        let line = format!("{}\t{}\t{result}\t{}\n", self.id, self.test, self.softened.unwrap_or(""));
        let folder = notes();
        let _ = std::fs::create_dir_all(&folder);
        let _ = std::fs::write(folder.join(self.id), line);
    }
}

/// The page, from the notes.
pub fn page() -> String {
    let mut lines: Vec<String> = std::fs::read_dir(notes())
        .into_iter()
        .flatten()
        .filter_map(|entry| std::fs::read_to_string(entry.ok()?.path()).ok())
        .collect();
    lines.sort();
    let mut page = String::from(
        "# Acceptance scenarios\n\nMade by `./test` from its last run on the real servers: which scenario is shown by which test, and how it ended. \
         A scenario that the test shows only in part says in what it is softened.\n\n| scenario | test | last result | softened |\n|---|---|---|---|\n",
    );
    for line in lines {
        let fields: Vec<&str> = line.trim_end_matches('\n').split('\t').collect();
        if let [id, test, result, softened] = fields[..] {
            page.push_str(&format!("| {id} | `{test}` | {result} | {softened} |\n"));
        }
    }
    page
}
