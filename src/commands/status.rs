//! `tidelock status`: what a running worker says of itself; without one, what the ledgers and held tables in the targets say.

use std::fmt::Write;

use connect::sql::dialect::{Dialect, quote};
use connect::sql::statements::{HELD, PROGRESS};
use serde::Serialize;
use topology::data::Value;

use crate::config::Config;
use crate::exit::{Failure, Result, with_causes};
use crate::metrics::Status;
use crate::{directions, sites};

/// Prints the status. Exit code 1 if a worker answers and is not `ok`, or a target cannot be asked.
pub(crate) async fn run(config: &Config, url: Option<&str>, json: bool) -> Result<()> {
    let address = url.map(str::to_owned).or_else(|| config.http.listen().map(|address| format!("http://{address}")));
    let asked = match &address {
        Some(address) => crate::worker::status(address).await,
        None => Err("http.address is off".to_owned()),
    };
    match asked {
        Ok(status) => {
            print!("{}", if json { pretty(&status) } else { worker_text(&status) });
            if status.health == "ok" { Ok(()) } else { Err(Failure::Run(format!("the worker is {}", status.health))) }
        }
        // Somebody who names a worker wants that worker.
        Err(error) if url.is_some() => Err(Failure::Run(error)),
        Err(_) => {
            let ledger = ledgers(config).await;
            print!("{}", if json { pretty(&ledger) } else { ledger_text(&ledger) });
            match ledger.unreachable.is_empty() {
                true => Ok(()),
                false => Err(Failure::Run(format!("cannot ask {}", ledger.unreachable.join("; ")))),
            }
        }
    }
}

fn pretty(value: &impl Serialize) -> String {
    serde_json::to_string_pretty(value).unwrap_or_default() + "\n"
}

fn worker_text(status: &Status) -> String {
    let mut out = format!("pipeline {}: {}\n", status.pipeline, status.health);
    for reason in &status.reasons {
        let _ = writeln!(out, "  ! {reason}");
    }
    for direction in &status.directions {
        let _ = writeln!(out, "\n{}", direction.name);
        for (number, lane) in direction.lanes.iter().enumerate() {
            let target = if lane.target_up { "up" } else { "DOWN" };
            let _ = writeln!(
                out,
                "  lane {number}: {}, target {target}, held {} parked {} queued {} dead",
                lane.state, lane.parked, lane.queued, lane.dead
            );
            let rows = lane.partitions.iter().map(|own| {
                let lag = own.lag.map_or_else(|| "?".to_owned(), |lag| lag.to_string());
                let paused = own.paused.as_deref().map(|reason| format!("PAUSED: {reason}")).unwrap_or_default();
                [
                    format!("{}[{}]", own.topic, own.partition),
                    own.next_offset.to_string(),
                    lag,
                    own.epoch.to_string(),
                    paused,
                ]
            });
            out.push_str(&table(["partition", "next offset", "lag", "epoch", ""], rows.collect()));
        }
    }
    out
}

/// What the targets know.
#[derive(Debug, Default, Serialize)]
struct Ledger {
    pipeline: String,
    progress: Vec<Progress>,
    held: Vec<Held>,
    unreachable: Vec<String>,
}

#[derive(Debug, Serialize)]
struct Progress {
    site: String,
    direction: String,
    topic: String,
    partition: i64,
    next_offset: i64,
    epoch: i64,
    group: String,
    seconds_ago: i64,
}

#[derive(Debug, Serialize)]
struct Held {
    site: String,
    direction: String,
    entity: String,
    state: String,
    class: String,
    message: String,
    rows: i64,
}

async fn ledgers(config: &Config) -> Ledger {
    let mut ledger = Ledger { pipeline: config.pipeline.clone(), ..Ledger::default() };
    let targets: Vec<&str> = config
        .sites
        .names()
        .filter(|name| config.sites.get(name).is_some_and(|site| site.kind.is_sql()))
        .filter(|name| directions::of(config).iter().any(|direction| direction.target == **name))
        .collect();
    for site in targets {
        if let Err(error) = read_site(config, site, &mut ledger).await {
            ledger.unreachable.push(format!("{site}: {}", with_causes(&error)));
        }
    }
    ledger
}

async fn read_site(config: &Config, site: &str, ledger: &mut Ledger) -> topology::Result<()> {
    let connector = sites::connector(config, site, None)?;
    let dialect = connector.dialect();
    let mut session = connector.connect().await?;
    let pipeline = [Value::Text(config.pipeline.clone())];
    let name = |name: &str| quote(dialect, name);
    let here = placeholder(dialect);
    let sql = format!(
        "SELECT {}, {}, {}, {}, {}, {}, {} - {} FROM {} WHERE {} = {here} ORDER BY 1, 2, 3",
        name("direction"),
        name("topic"),
        name("partition"),
        name("next_offset"),
        name("epoch"),
        name("group_id"),
        dialect.now_ms(),
        name("updated_at_ms"),
        name(PROGRESS),
        name("pipeline"),
    );
    let rows = match session.query(&sql, &pipeline).await {
        Ok(rows) => rows,
        // Nothing was ever claimed here: the tables are made by the first claim.
        Err(error) if error.kind() == topology::ErrorKind::Schema => return Ok(()),
        Err(error) => return Err(error.into()),
    };
    for row in rows {
        let mut cells = row.into_iter();
        ledger.progress.push(Progress {
            site: site.to_owned(),
            direction: text(cells.next()),
            topic: text(cells.next()),
            partition: number(cells.next()),
            next_offset: number(cells.next()),
            epoch: number(cells.next()),
            group: text(cells.next()),
            seconds_ago: number(cells.next()) / 1000,
        });
    }
    let sql = format!(
        "SELECT {0}, {1}, {2}, {3}, MIN({4}), COUNT(*) FROM {5} WHERE {6} = {here} GROUP BY {0}, {1}, {2}, {3} ORDER BY 1, 2, 3, 4",
        name("direction"),
        name("entity"),
        name("state"),
        name("class"),
        name("message"),
        name(HELD),
        name("pipeline"),
    );
    for row in session.query(&sql, &pipeline).await? {
        let mut cells = row.into_iter();
        ledger.held.push(Held {
            site: site.to_owned(),
            direction: text(cells.next()),
            entity: text(cells.next()),
            state: text(cells.next()),
            class: text(cells.next()),
            message: text(cells.next()),
            rows: number(cells.next()),
        });
    }
    Ok(())
}

fn placeholder(dialect: &dyn Dialect) -> String {
    dialect.placeholder(1, connect::sql::dialect::OwnType::Name)
}

fn text(value: Option<Value>) -> String {
    match value {
        Some(Value::Text(text)) => text,
        Some(Value::Bytes(bytes)) => String::from_utf8_lossy(&bytes).into_owned(),
        _ => String::new(),
    }
}

fn number(value: Option<Value>) -> i64 {
    match value {
        Some(Value::I64(number)) => number,
        _ => 0,
    }
}

fn ledger_text(ledger: &Ledger) -> String {
    let mut out = format!("pipeline {}: no worker answers; from the ledgers in the targets:\n", ledger.pipeline);
    for direction in sorted(ledger.progress.iter().map(|own| own.direction.as_str())) {
        let _ = writeln!(out, "\n{direction}");
        let rows = ledger.progress.iter().filter(|own| own.direction == direction).map(|own| {
            [
                format!("{}[{}]", own.topic, own.partition),
                own.next_offset.to_string(),
                own.epoch.to_string(),
                format!("{} s ago", own.seconds_ago),
                own.group.clone(),
            ]
        });
        out.push_str(&table(["partition", "next offset", "epoch", "last commit", "group"], rows.collect()));
    }
    if ledger.progress.is_empty() {
        out.push_str("  no partition was ever claimed\n");
    }
    if !ledger.held.is_empty() {
        out.push_str("\nheld rows\n");
        let rows = ledger.held.iter().map(|own| {
            [
                format!("{} {}", own.direction, own.entity),
                own.state.clone(),
                own.rows.to_string(),
                own.class.clone(),
                own.message.clone(),
            ]
        });
        out.push_str(&table(["where", "state", "rows", "class", "for example"], rows.collect()));
    }
    out
}

fn sorted<'a>(words: impl Iterator<Item = &'a str>) -> Vec<&'a str> {
    let mut all: Vec<_> = words.collect();
    all.sort_unstable();
    all.dedup();
    all
}

/// Columns as wide as their widest cell.
fn table<const N: usize>(head: [&str; N], rows: Vec<[String; N]>) -> String {
    let mut widths = head.map(|word| word.chars().count());
    for row in &rows {
        for (width, cell) in widths.iter_mut().zip(row) {
            *width = (*width).max(cell.chars().count());
        }
    }
    let mut out = String::new();
    let mut line = |cells: [&str; N]| {
        let mut text = String::from("    ");
        for (cell, width) in cells.iter().zip(widths) {
            let _ = write!(text, "{cell:width$}  ");
        }
        out.push_str(text.trim_end());
        out.push('\n');
    };
    line(head);
    for row in &rows {
        line(std::array::from_fn(|at| row[at].as_str()));
    }
    out
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_worker_is_shown_with_what_is_wrong_first() {
        let status: Status = serde_json::from_str(
            r#"{"health":"degraded","reasons":["legacy→revamp lane 0: t[1] is paused: no column"],"pipeline":"blog","version":"1","connectors":[],
                "directions":[{"name":"legacy→revamp","lanes":[{"state":"running","reason":null,"target_up":true,"silent_seconds":0,
                "parked":1,"queued":2,"dead":0,"partitions":[
                  {"topic":"t","partition":0,"epoch":3,"next_offset":1200,"lag":0,"paused":null},
                  {"topic":"t","partition":1,"epoch":3,"next_offset":7,"lag":null,"paused":"no column"}]}]}]}"#,
        )
        .unwrap();
        crate::docs::expect_snapshot("status_worker.txt", &worker_text(&status));
    }

    #[test]
    fn ledgers_are_shown_by_direction_and_held_rows_by_reason() {
        let progress = |topic: &str, partition| Progress {
            site: "revamp".into(),
            direction: "legacy→revamp".into(),
            topic: topic.into(),
            partition,
            next_offset: 12,
            epoch: 4,
            group: "tidelock.blog.legacy.revamp".into(),
            seconds_ago: 61,
        };
        let held = Held {
            site: "revamp".into(),
            direction: "legacy→revamp".into(),
            entity: "posts".into(),
            state: "parked".into(),
            class: "dependency".into(),
            message: "cannot write rows: posts".into(),
            rows: 3,
        };
        let ledger = Ledger {
            pipeline: "blog".into(),
            progress: vec![progress("users", 0), progress("users", 1)],
            held: vec![held],
            unreachable: Vec::new(),
        };
        crate::docs::expect_snapshot("status_ledger.txt", &ledger_text(&ledger));
    }
}
