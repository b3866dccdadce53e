//! What the demo shows: a table that is drawn again and again on a terminal, plain lines elsewhere.

use std::io::{IsTerminal, Write};

use topology::observe::Outcome;

use crate::directions::Direction;
use crate::metrics::Metrics;

/// What became of the records of one entity in one direction.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub(super) struct Counts {
    /// Their effect is in the target, or was there already.
    pub(super) applied: u64,
    /// Our own writes coming back, stopped by the guard.
    pub(super) echoes: u64,
    /// Times that a row had to wait for its parent.
    pub(super) waited: u64,
    /// Rows that can't be written, or differ from what was there.
    pub(super) wrong: u64,
    /// All records, also tombstones.
    pub(super) handled: u64,
}

impl std::ops::AddAssign for Counts {
    fn add_assign(&mut self, other: Counts) {
        self.applied += other.applied;
        self.echoes += other.echoes;
        self.waited += other.waited;
        self.wrong += other.wrong;
        self.handled += other.handled;
    }
}

/// Reads the counts of one entity from the metrics.
pub(super) fn counts(metrics: &Metrics, direction: &Direction, entity: &str) -> Counts {
    let of = |outcome: Outcome| metrics.records.with_label_values(&[&direction.name, entity, outcome.name()]).get();
    Counts {
        applied: of(Outcome::Applied) + of(Outcome::Unchanged),
        echoes: of(Outcome::Echo),
        waited: of(Outcome::Parked),
        wrong: of(Outcome::Dead) + of(Outcome::Differs) + of(Outcome::Conflict),
        handled: Outcome::ALL.into_iter().filter(|outcome| *outcome != Outcome::Parked).map(of).sum(),
    }
}

/// All directions together.
pub(super) fn total(metrics: &Metrics, directions: &[Direction]) -> Counts {
    let mut total = Counts::default();
    for direction in directions {
        direction.entities.iter().for_each(|entity| total += counts(metrics, direction, &entity.name));
    }
    total
}

/// Where the demo speaks.
pub(super) struct Screen {
    is_silent: bool,
    is_terminal: bool,
    /// Lines of the table that stands on the screen now.
    drawn: usize,
}

impl Screen {
    /// Standard output.
    pub(super) fn new() -> Screen {
        Screen { is_silent: false, is_terminal: std::io::stdout().is_terminal(), drawn: 0 }
    }

    /// Nowhere: for tests.
    #[cfg(test)]
    pub(super) fn silent() -> Screen {
        Screen { is_silent: true, is_terminal: false, drawn: 0 }
    }

    /// Says a sentence. On a terminal the table, if there is one, moves down.
    pub(super) fn say(&mut self, sentence: &str) {
        self.erase();
        if !self.is_silent {
            println!("{sentence}");
        }
    }

    /// Shows how things are now; `activity` is what the applications do. Without a terminal only [`Screen::scene`] does.
    pub(super) fn show(&mut self, metrics: &Metrics, directions: &[Direction], activity: &[String]) {
        if !self.is_terminal {
            return;
        }
        let mut lines = table(metrics, directions);
        lines.extend(activity.iter().map(|line| format!("  {}", shortened(line))));
        self.erase();
        println!("{}", lines.join("\n"));
        self.drawn = lines.len();
        // A terminal that is gone is no reason to stop.
        let _ = std::io::stdout().flush();
    }

    /// Says what one scene brought: on a terminal the table stays, elsewhere each direction gets a line.
    pub(super) fn scene(&mut self, metrics: &Metrics, directions: &[Direction]) {
        if self.is_terminal {
            self.show(metrics, directions, &[]);
            return;
        }
        for direction in directions.iter().filter(|_| !self.is_silent) {
            let mut sum = Counts::default();
            direction.entities.iter().for_each(|entity| sum += counts(metrics, direction, &entity.name));
            if sum.handled == 0 {
                continue;
            }
            println!(
                "  {}: {} records applied, {} echoes stopped, {} waited for a parent",
                direction.name, sum.applied, sum.echoes, sum.waited
            );
        }
    }

    /// Leaves the table where it stands.
    pub(super) fn keep(&mut self) {
        self.drawn = 0;
    }

    fn erase(&mut self) {
        if self.drawn > 0 {
            // Up to the table's first line, and away with everything below.
            print!("\x1b[{}A\x1b[J", self.drawn);
            self.drawn = 0;
        }
    }
}

fn table(metrics: &Metrics, directions: &[Direction]) -> Vec<String> {
    let mut lines =
        vec![format!("  {:<24}{:>10}{:>10}{:>16}{:>10}", "", "arrived", "applied", "echoes stopped", "waited")];
    for direction in directions {
        for entity in &direction.entities {
            let counts = counts(metrics, direction, &entity.name);
            let consumed = metrics.consumed.with_label_values(&[&direction.name, &entity.name]).get();
            lines.push(format!(
                "  {:<24}{:>10}{:>10}{:>16}{:>10}",
                format!("{}  {}", direction.name, entity.name),
                consumed,
                counts.applied,
                counts.echoes,
                counts.waited
            ));
        }
    }
    lines
}

fn shortened(line: &str) -> String {
    const WIDTH: usize = 100;
    if line.chars().count() <= WIDTH { line.to_owned() } else { line.chars().take(WIDTH - 1).chain(['…']).collect() }
}
