//! Days, times of day, wall-clock times and instants. A wall-clock time becomes an instant, and back, as if its zone were UTC.

use super::{Engine, FractionMode, NO_WAY, Refused};
use crate::data::time::{DAY_MICROSECONDS, days_from_civil, parse_date, parse_time, parse_timestamp, split_zone};
use crate::data::{Arena, Cell, View};

/// Debezium's stand-ins for PostgreSQL's `infinity` and `-infinity` (those of pgjdbc).
const INFINITY: i64 = 9_223_372_036_825_200_000;
const MINUS_INFINITY: i64 = -9_223_372_036_832_400_000;

const OUT_OF_RANGE: Refused = Refused("the date is outside the target type's range");

/// Digits of a second that a type keeps.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Digits {
    unit: i64,
    cut: bool,
}

impl Digits {
    pub(super) fn new(precision: u8, fraction: FractionMode) -> Digits {
        let unit = 10_i64.pow(6 - u32::from(precision.min(6)));
        Digits { unit, cut: fraction == FractionMode::Cut }
    }

    /// The same moment, refused or cut when the type has too few digits.
    pub(super) fn fit(self, microseconds: i64) -> Result<i64, Refused> {
        let rest = microseconds.rem_euclid(self.unit);
        if rest == 0 {
            return Ok(microseconds);
        }
        if self.cut {
            return Ok(microseconds.saturating_sub(rest));
        }
        Err(Refused("the second has more digits than the target type keeps (`fraction: cut` would cut them)"))
    }
}

/// Days a type can hold.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Days {
    min: i64,
    max: i64,
}

impl Days {
    fn of(engine: Engine) -> Days {
        match engine {
            Engine::MySql | Engine::MariaDb => {
                Days { min: days_from_civil(1, 1, 1), max: days_from_civil(9999, 12, 31) }
            }
            // Julian day 0, and 5874897-12-31.
            Engine::Postgres => Days { min: -2_440_588, max: 2_145_042_905 },
            Engine::Sqlite | Engine::Other => Days { min: i32::MIN.into(), max: i32::MAX.into() },
        }
    }

    /// Days that both engines hold: what Debezium sends for PostgreSQL's `infinity` is outside of PostgreSQL's own.
    pub(super) fn between(source: Engine, target: Engine) -> Days {
        let (own, other) = (Days::of(source), Days::of(target));
        match source {
            Engine::Postgres => Days { min: own.min.max(other.min), max: own.max.min(other.max) },
            _ => other,
        }
    }

    fn check(self, days: i64) -> Result<i32, Refused> {
        if days < self.min || days > self.max {
            return Err(OUT_OF_RANGE);
        }
        i32::try_from(days).map_err(|_| OUT_OF_RANGE)
    }
}

/// Microseconds since the epoch that a type can hold.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Instants {
    min: i64,
    max: i64,
}

impl Instants {
    /// Without zone: DATETIME, timestamp.
    pub(super) fn wall_clock(engine: Engine) -> Instants {
        match engine {
            Engine::MySql | Engine::MariaDb => Instants {
                min: days_from_civil(1, 1, 1) * DAY_MICROSECONDS,
                max: days_from_civil(10_000, 1, 1) * DAY_MICROSECONDS - 1,
            },
            Engine::Postgres => Instants { min: -2_440_588 * DAY_MICROSECONDS, max: INFINITY - 1 },
            Engine::Sqlite | Engine::Other => Instants { min: MINUS_INFINITY + 1, max: INFINITY - 1 },
        }
    }

    /// With zone: TIMESTAMP of MySQL and MariaDB, timestamptz.
    pub(super) fn zoned(engine: Engine) -> Instants {
        match engine {
            Engine::MySql => Instants { min: 1_000_000, max: i64::from(i32::MAX) * 1_000_000 + 999_999 },
            // Since 11.5 up to 2106; older servers refuse by themselves what is beyond 2038.
            Engine::MariaDb => Instants { min: 1_000_000, max: i64::from(u32::MAX) * 1_000_000 + 999_999 },
            _ => Instants::wall_clock(engine),
        }
    }
}

pub(super) fn to_date(cell: Cell, arena: &Arena, days: Days) -> Result<Cell, Refused> {
    let day = match arena.view(cell) {
        View::Date(day) => day.into(),
        View::Timestamp(microseconds) | View::TimestampTz(microseconds) => {
            if microseconds.rem_euclid(DAY_MICROSECONDS) != 0 {
                return Err(Refused("the value has a time of day, which a date does not keep"));
            }
            microseconds.div_euclid(DAY_MICROSECONDS)
        }
        View::Text(text) => parse_date(text).ok_or(Refused("the text is not a date"))?,
        _ => return Err(NO_WAY),
    };
    days.check(day).map(Cell::Date)
}

pub(super) fn to_time(cell: Cell, arena: &Arena, digits: Digits) -> Result<Cell, Refused> {
    let microseconds = match arena.view(cell) {
        View::Time(microseconds) | View::TimeTz(microseconds) | View::Duration(microseconds) => microseconds,
        View::Text(text) => parse_time(text).ok_or(Refused("the text is not a time of day"))?,
        _ => return Err(NO_WAY),
    };
    if !(0..=DAY_MICROSECONDS).contains(&microseconds) {
        return Err(Refused("the time is outside one day"));
    }
    digits.fit(microseconds).map(Cell::Time)
}

pub(super) fn to_time_tz(cell: Cell, arena: &Arena, digits: Digits) -> Result<Cell, Refused> {
    if let View::Text(text) = arena.view(cell) {
        const NO_TIME: Refused = Refused("the text is not a time of day with zone");
        let (time, offset_seconds) = split_zone(text).ok_or(NO_TIME)?;
        let local = parse_time(time).ok_or(NO_TIME)?;
        let utc = (local - offset_seconds * 1_000_000).rem_euclid(DAY_MICROSECONDS);
        return digits.fit(utc).map(Cell::TimeTz);
    }
    match to_time(cell, arena, digits)? {
        Cell::Time(microseconds) => Ok(Cell::TimeTz(microseconds)),
        _ => Err(NO_WAY),
    }
}

pub(super) fn to_microseconds(cell: Cell, arena: &Arena, digits: Digits, range: Instants) -> Result<i64, Refused> {
    let microseconds = match arena.view(cell) {
        View::Timestamp(microseconds) | View::TimestampTz(microseconds) => microseconds,
        View::Date(day) => i64::from(day).checked_mul(DAY_MICROSECONDS).ok_or(OUT_OF_RANGE)?,
        View::Text("infinity" | "-infinity") => return Err(Refused("Debezium does not carry infinity as a moment")),
        View::Text(text) => parse_timestamp(text).ok_or(Refused("the text is not a timestamp"))?,
        _ => return Err(NO_WAY),
    };
    let microseconds = digits.fit(microseconds)?;
    if microseconds < range.min || microseconds > range.max {
        return Err(OUT_OF_RANGE);
    }
    Ok(microseconds)
}
