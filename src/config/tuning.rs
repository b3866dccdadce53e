//! Section `tuning`: sizes, times and limits. Every key is also the environment variable `TIDELOCK_<KEY>`.

use super::problem::Problems;
use super::setting::{Setting, Shape, empty_section, section};

section! {
    /// Sizes, times and limits of the lanes.
    Tuning {
        /// Lanes per direction in this process, 1–64. A lane is a thread with a consumer and a target connection of its own; more lanes
        /// than partitions are idle.
        lanes: usize = 1;
        /// Records after which a batch closes, 1–20000. More than about 2000 buys little and makes transactions long.
        batch_rows: usize = 1000;
        /// Bytes after which a batch closes.
        batch_bytes: usize = 4 * 1024 * 1024;
        /// Milliseconds after which a batch closes, 0–60000. An empty queue closes it at once.
        batch_age_ms: u64 = 20;
        /// Mebibytes that all lanes of this process together may hold in memory as read and not yet written, 16 or more.
        memory_mb: usize = 128;
        /// Seconds that one statement at a database may take, 1–86400. PostgreSQL ends a longer one by itself; where no answer has come a quarter
        /// later, as on a network that lost the connection without a word, the connection is given up, and the ledger tells what took effect.
        statement_seconds: u64 = 120;
        /// Tries for errors that may pass, before the direction pauses and waits for its target.
        retry: Retry = Retry::default();
        /// Limits for rows that wait for another row.
        parked: Parked = Parked::default();
        /// When a direction stops because too much of what comes is dead: then it is not the records.
        dead: Dead = Dead::default();
        /// Where a direction begins that has no progress yet: `earliest`, `latest`, or a time such as `2026-05-01T00:00:00Z`.
        start: Start = Start::Earliest;
        /// Seconds that SIGTERM gives the lanes to finish what they hold; then exit code 3.
        drain_seconds: u64 = 30;
    }
}

section! {
    /// Backoff.
    Retry {
        /// Tries of one batch, 1–100.
        attempts: u32 = 3;
        /// Milliseconds before the second try.
        initial_ms: u64 = 1000;
        /// Each wait is this many times the one before, 1–10.
        multiplier: f64 = 2.0;
        /// Longest wait in milliseconds.
        cap_ms: u64 = 30_000;
        /// Share by which a wait is longer or shorter at random, 0–0.9, so that lanes do not try again in step.
        jitter: f64 = 0.2;
    }
}

section! {
    /// Held rows.
    Parked {
        /// Seconds after which a waiting row is declared dead. An entity can say it for itself.
        dead_after_seconds: u64 = 3600;
        /// Tries after which a waiting row is declared dead, the first one included, early ones that a wake-up caused not counted; 1: dead at its first failure, also for the dead-letter limit; 0: only time counts. An entity can say it for itself.
        attempts: u64 = 0;
        /// Milliseconds before the first new try, 1–1000; each wait is twice the one before. What it waits for mostly wakes it earlier.
        initial_ms: u64 = 500;
        /// Longest wait in milliseconds.
        cap_ms: u64 = 30_000;
        /// Rows of one entity that may wait in one partition; then the partition pauses until there is room.
        rows: u64 = 100_000;
        /// Mebibytes of records of one entity that may wait in one partition; then the partition pauses until there is room.
        megabytes: u64 = 256;
        /// Hours after which dead rows that a later change has made history are deleted; 0: never.
        superseded_hours: u64 = 168;
    }
}

section! {
    /// Dead-letter limit, counted per partition.
    Dead {
        /// Share of dead records in a window that stops the direction, above 0 up to 1. The window is `window` records.
        ratio: f64 = 0.5;
        /// Records in the window.
        window: u64 = 1000;
        /// Dead records in a row that stop the direction.
        run_length: u64 = 500;
    }
}

empty_section!(Tuning Retry Parked Dead);

/// Where a direction without progress begins (rule L5).
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Start {
    /// At the first record that the topic still has.
    Earliest,
    /// At the end.
    Latest,
    /// At the first record at or after this time, in milliseconds since 1970.
    Timestamp(i64),
}

impl<'de> serde::Deserialize<'de> for Start {
    fn deserialize<D: serde::Deserializer<'de>>(deserializer: D) -> Result<Start, D::Error> {
        parse_start(&String::deserialize(deserializer)?).map_err(serde::de::Error::custom)
    }
}

/// Reads the word of the configuration or the command line.
pub(crate) fn parse_start(word: &str) -> Result<Start, String> {
    match word {
        "earliest" => Ok(Start::Earliest),
        "latest" => Ok(Start::Latest),
        other => parse_instant(other).map(Start::Timestamp).ok_or_else(|| {
            format!(
                "`{other}` is not allowed here; allowed: earliest, latest, or a time in UTC as in 2026-05-01T00:00:00Z"
            )
        }),
    }
}

impl Setting for Start {
    fn print(&self) -> serde_yaml_ng::Value {
        match self {
            Start::Earliest => "earliest".into(),
            Start::Latest => "latest".into(),
            Start::Timestamp(milliseconds) => format_instant(*milliseconds).into(),
        }
    }
    fn shape() -> Shape {
        Shape::Leaf("earliest | latest | time in UTC".into())
    }
}

/// `YYYY-MM-DDThh:mm:ssZ` as milliseconds since 1970.
fn parse_instant(text: &str) -> Option<i64> {
    let text = text.strip_suffix('Z')?;
    let (date, time) = text.split_once('T')?;
    let numbers = |text: &str, separator: char| -> Option<Vec<u32>> {
        text.split(separator).map(|part| part.parse().ok()).collect()
    };
    let (date, time) = (numbers(date, '-')?, numbers(time, ':')?);
    let ([year, month, day], [hour, minute, second]) = (date.as_slice(), time.as_slice()) else { return None };
    if *hour > 23 || *minute > 59 || *second > 59 {
        return None;
    }
    let days = days_since_epoch(i64::from(*year), *month, *day)?;
    Some(((days * 24 + i64::from(*hour)) * 60 + i64::from(*minute)) * 60_000 + i64::from(*second) * 1000)
}

/// Days from 1970-01-01 to a day of the Gregorian calendar, counted from its 400-year cycles.
fn days_since_epoch(year: i64, month: u32, day: u32) -> Option<i64> {
    let leap = year % 4 == 0 && (year % 100 != 0 || year % 400 == 0);
    let lengths = [31, if leap { 29 } else { 28 }, 31, 30, 31, 30, 31, 31, 30, 31, 30, 31];
    let length = *lengths.get(usize::try_from(month).ok()?.checked_sub(1)?)?;
    if day == 0 || day > length {
        return None;
    }
    let before = year - 1;
    let years = before * 365 + before / 4 - before / 100 + before / 400;
    let months: u32 = lengths.iter().take(usize::try_from(month).ok()? - 1).sum();
    Some(years + i64::from(months) + i64::from(day) - 719_163)
}

/// Milliseconds since 1970 as `YYYY-MM-DDThh:mm:ssZ`.
pub(crate) fn format_instant(milliseconds: i64) -> String {
    let (mut days, rest) = (milliseconds.div_euclid(86_400_000), milliseconds.rem_euclid(86_400_000) / 1000);
    let mut year = 1970;
    let mut month = 1;
    let length =
        |year: i64, month: u32| (28..=31).rev().find(|day| days_since_epoch(year, month, *day).is_some()).unwrap_or(31);
    while days < 0 {
        year -= 1;
        days += if length(year, 2) == 29 { 366 } else { 365 };
    }
    while days >= i64::from(length(year, month)) {
        days -= i64::from(length(year, month));
        month += 1;
        if month > 12 {
            (year, month) = (year + 1, 1);
        }
    }
    format!("{year:04}-{month:02}-{:02}T{:02}:{:02}:{:02}Z", days + 1, rest / 3600, rest / 60 % 60, rest % 60)
}

impl Tuning {
    /// Checks what types cannot say.
    pub(super) fn validate(&self, problems: &mut Problems) {
        let mut range = |key: &str, value: f64, low: f64, high: f64| {
            if !(low..=high).contains(&value) {
                problems.add(format!("tuning.{key}"), format!("{value} is out of range; allowed: {low} to {high}"));
            }
        };
        range("lanes", self.lanes as f64, 1.0, 64.0);
        range("batch_rows", self.batch_rows as f64, 1.0, 20_000.0);
        range("batch_bytes", self.batch_bytes as f64, 1024.0, 256.0 * 1024.0 * 1024.0);
        range("batch_age_ms", self.batch_age_ms as f64, 0.0, 60_000.0);
        range("memory_mb", self.memory_mb as f64, 16.0, 1024.0 * 1024.0);
        range("statement_seconds", self.statement_seconds as f64, 1.0, 86_400.0);
        range("retry.attempts", f64::from(self.retry.attempts), 1.0, 100.0);
        range("retry.initial_ms", self.retry.initial_ms as f64, 1.0, 600_000.0);
        range("retry.multiplier", self.retry.multiplier, 1.0, 10.0);
        range("retry.cap_ms", self.retry.cap_ms as f64, self.retry.initial_ms as f64, 3_600_000.0);
        range("retry.jitter", self.retry.jitter, 0.0, 0.9);
        range("parked.dead_after_seconds", self.parked.dead_after_seconds as f64, 1.0, 31_536_000.0);
        range("parked.attempts", self.parked.attempts as f64, 0.0, 1_000_000.0);
        range("parked.initial_ms", self.parked.initial_ms as f64, 1.0, 1000.0);
        range("parked.cap_ms", self.parked.cap_ms as f64, self.parked.initial_ms as f64, 3_600_000.0);
        range("parked.rows", self.parked.rows as f64, 1.0, 1_000_000_000.0);
        range("parked.megabytes", self.parked.megabytes as f64, 1.0, 1_048_576.0);
        range("parked.superseded_hours", self.parked.superseded_hours as f64, 0.0, 87_600.0);
        range("dead.ratio", self.dead.ratio, f64::MIN_POSITIVE, 1.0);
        range("dead.window", self.dead.window as f64, 1.0, 1_000_000.0);
        range("dead.run_length", self.dead.run_length as f64, 1.0, 1_000_000_000.0);
        range("drain_seconds", self.drain_seconds as f64, 0.0, 3600.0);
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn instants_survive_both_ways() {
        for text in [
            "1970-01-01T00:00:00Z",
            "2000-02-29T23:59:59Z",
            "2026-05-01T06:30:00Z",
            "1969-12-31T23:59:59Z",
            "2100-03-01T00:00:00Z",
        ] {
            assert_eq!(format_instant(parse_instant(text).unwrap()), text);
        }
        assert_eq!(parse_instant("2026-05-01T00:00:00Z"), Some(1_777_593_600_000));
        for text in ["2026-02-29T00:00:00Z", "2026-13-01T00:00:00Z", "2026-01-01", "now", "2026-01-01T24:00:00Z"] {
            assert_eq!(parse_instant(text), None, "{text}");
        }
    }
}
