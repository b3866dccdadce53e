//! `docs/errors.md`, made from the engines' tables of codes and the policy. A test fails when the page is stale; `UPDATE_DOCS=1`
//! rewrites it.

use std::fmt::Write;

use connect::sql::codes::Code;
use topology::ErrorKind;
use topology::policy::{Action, action};

const HEAD: &str = "# Errors

<!-- Made from the code. Do not edit; `UPDATE_DOCS=1 cargo test -p tidelock` writes it. -->

Every error has a class, and the class alone decides what happens. The tables below say which code of which database belongs to which class. A code that is in no table
pauses the direction, as if the database were down; only when exactly one row is isolated and the database is well otherwise does the row count as bad
(rules E2, E4 of [protocol.md](protocol.md)). How to look at what is held, repair it and try it again: [operations.md](operations.md#held-rows-and-dead-letters).

Logs and metrics name the class; logs, `/api/status` and `tidelock dlq` also show the code, as `[23505]`, `[1062 23000]` or `[sqlite-2067]`. What a server says about a row, or
under a code that is in no table, is not shown, for it may hold the row's values; PostgreSQL has it in its own log.

";

/// What the engine does.
fn does(action: Action) -> &'static str {
    match action {
        Action::Retry => {
            "The transaction is rolled back and the batch begins again: `tuning.retry.attempts` times (3), after 1 s, 2 s, … at most 30 s, with jitter. Then as *environment*."
        }
        Action::Pause => {
            "The direction pauses without limit and keeps its place in the consumer group. It tries again with the same waits for ever and goes on by itself. Never a dead letter."
        }
        Action::Park => {
            "The row is parked in `tidelock_held`; later changes of its key queue behind it, everything else flows. Tried again when its parent comes, and after 0.5 s, 1 s, … at most 30 s. Dead after `tuning.parked.dead_after_seconds` (one hour), or `tuning.parked.attempts`."
        }
        Action::PauseTopic => {
            "The topic's partitions pause, the other topics flow. Tried again by itself after at most 30 s, with the table read anew."
        }
        Action::DeadLetter => {
            "The record is kept in `tidelock_held` as dead, with its raw bytes, and everything else flows. One try, except where it shows only after a wait."
        }
        Action::Drop => {
            "The task is dropped, and claimed again after a pause if the group still assigns it to this worker."
        }
        Action::Stop => "The lane stops and the worker is unhealthy.",
    }
}

/// What a user sees, and what there is to do.
fn seen(kind: ErrorKind) -> (&'static str, &'static str) {
    match kind {
        ErrorKind::Transient => ("`tidelock_retries_total{class=\"transient\"}`", "Nothing."),
        ErrorKind::Environment => (
            "`/ready` fails with the reason; `tidelock_target_up` 0, lane state `paused`; a warning in the log each time the tries have doubled",
            "Repair what the reason names: start the server, make room, grant the privilege. Nothing else; it goes on by itself.",
        ),
        ErrorKind::Dependency => (
            "`tidelock_held_rows{state=\"parked\"}`; a line in the log; `tidelock dlq list --state parked`",
            "Mostly nothing: the other row is on its way. If it never comes, write it at the source, or `tidelock dlq discard` the row.",
        ),
        ErrorKind::Schema => (
            "`/ready` fails with the reason; `tidelock_partition_paused` 1",
            "Add the table or column at the target, or change the mapping and restart the workers.",
        ),
        ErrorKind::Data => (
            "`tidelock_held_rows{state=\"dead\"}`, `tidelock_records_total{outcome=\"dead\"}`; an error in the log; `tidelock dlq list`",
            "Repair the cause (the mapping, the column), then `tidelock dlq replay`; or `tidelock dlq discard`. A later change of the row that passes makes it history by itself.",
        ),
        ErrorKind::Fenced => {
            ("`tidelock_retries_total{class=\"fenced\"}`", "Nothing: another worker has the partition.")
        }
        ErrorKind::Configuration => {
            ("exit code 2, or a stopped lane with the reason", "Correct the configuration and restart.")
        }
        ErrorKind::Bug => (
            "a stopped lane; `tidelock_invariant_broken_total` or an error in the log",
            "Restart the worker and report it. Nothing was written.",
        ),
    }
}

fn page() -> String {
    let mut page = HEAD.to_owned();
    page.push_str("## What happens\n\n| class | what happens | what you see | what to do |\n|---|---|---|---|\n");
    for kind in ErrorKind::ALL {
        let (sees, does_about) = seen(kind);
        let _ = writeln!(page, "| {} | {} | {sees} | {does_about} |", kind.name(), does(action(kind)));
    }
    page.push_str(
        "\nBefore the database: bytes that can't be decoded, a value outside a `values` map, a number that does not fit are *data*; a schema registry or broker that is down is *environment*.\n\n\
         Errors of Tidelock's own, shown in place of a server's code: `row-missing` (*dependency*: a partial update found no row), `parent-missing` (*dependency*), `delete-half-waits` and `create-half-waits` (*dependency*: one \
         half of a key change waits for the other, as long as that one may come), `half-lacks-row` (*dependency*: both have come, and the row is not there that it leaves cells to), `missing` (*schema*: no such table or column), `bind` and `packet` (*data*: the value does not fit the column exactly), `parked-full` (the \
         partition pauses, for too much waits already: `tuning.parked.rows`, `tuning.parked.megabytes`).\n",
    );
    let mysql = "## MySQL and MariaDB\n\nBy error number; `23000` beside it is the SQLSTATE.\n";
    table(&mut page, mysql, connect::mysql::CODES, "");
    table(&mut page, "Other numbers by their SQLSTATE:\n", connect::mysql::STATES, "…");
    let postgres =
        "## PostgreSQL\n\nBy SQLSTATE; two characters and `…` stand for all of the class that are not listed.\n";
    table(&mut page, postgres, connect::postgres::CODES, "");
    let sqlite = "## SQLite\n\nBy extended result code; a number below 256 stands for all of its extended ones that are not listed.\n";
    table(&mut page, sqlite, connect::sqlite::CODES, "");
    table(&mut page, "SQLITE_ERROR (1) by its message:\n", connect::sqlite::MESSAGES, "");
    page
}

fn table(page: &mut String, title: &str, codes: &[Code], suffix: &str) {
    let _ = write!(page, "\n{title}\n| code | name | class | meaning |\n|---|---|---|---|\n");
    for kind in ErrorKind::ALL {
        for line in codes.iter().filter(|line| line.kind == kind) {
            // A class of PostgreSQL's SQLSTATEs.
            let is_class =
                line.code.len() == 2 && line.name.chars().all(|letter| letter.is_ascii_lowercase() || letter == '_');
            let suffix = if is_class { "…" } else { suffix };
            let only = if line.server.is_empty() { String::new() } else { format!(" (only {})", line.server) };
            let _ = writeln!(
                page,
                "| `{}{suffix}` | {} | {} | {}{only} |",
                line.code,
                line.name.replace('_', "\\_"),
                kind.name(),
                line.meaning
            );
        }
    }
}

#[test]
fn the_page_is_what_the_code_says() {
    crate::docs::expect_page("errors.md", &page());
}

/// What the design names, by engine: each has a code of its class.
#[test]
fn every_engine_has_a_code_for_what_the_design_names() {
    let expected: [(&str, ErrorKind, [&str; 3]); 18] = [
        ("deadlock", ErrorKind::Transient, ["1213", "40P01", "6"]),
        ("serialisation", ErrorKind::Transient, ["1020", "40001", "5"]),
        ("lock timeout", ErrorKind::Transient, ["1205", "55P03", "5"]),
        ("connection lost", ErrorKind::Transient, ["2013", "08", "9"]),
        ("server starting or shutting down", ErrorKind::Transient, ["1053", "57P03", "5"]),
        ("disk full", ErrorKind::Environment, ["1021", "53100", "13"]),
        ("read-only", ErrorKind::Environment, ["1290", "25006", "8"]),
        ("no privilege", ErrorKind::Environment, ["1142", "42501", "3"]),
        ("too many connections", ErrorKind::Environment, ["1040", "53300", "14"]),
        ("foreign key", ErrorKind::Dependency, ["1452", "23503", "787"]),
        ("children there", ErrorKind::Dependency, ["1451", "23001", "787"]),
        ("unique", ErrorKind::Dependency, ["1062", "23505", "2067"]),
        ("unknown table", ErrorKind::Schema, ["1146", "42P01", "no such table"]),
        ("unknown column", ErrorKind::Schema, ["1054", "42703", "no such column"]),
        ("NOT NULL", ErrorKind::Data, ["1048", "23502", "1299"]),
        ("check", ErrorKind::Data, ["3819", "23514", "275"]),
        ("overflow or truncation", ErrorKind::Data, ["1406", "22001", "18"]),
        ("users' triggers", ErrorKind::Data, ["1644", "P0001", "1811"]),
    ];
    let sqlite: Vec<Code> = connect::sqlite::CODES.iter().chain(connect::sqlite::MESSAGES).copied().collect();
    for (what, kind, codes) in expected {
        for (table, code) in [connect::mysql::CODES, connect::postgres::CODES, sqlite.as_slice()].into_iter().zip(codes)
        {
            let line = table.iter().find(|line| line.code == code);
            assert_eq!(line.map(|line| line.kind), Some(kind), "{what}: {code}");
        }
    }
}

#[test]
fn the_three_attempts_of_the_page_are_the_default() {
    let retry = crate::config::Tuning::default().retry;
    assert_eq!((retry.attempts, retry.initial_ms, retry.cap_ms), (3, 1000, 30_000));
    assert!((retry.multiplier - 2.0).abs() < f64::EPSILON && retry.jitter > 0.0);
}
