//! `docs/types.md`.

use std::fmt::Write;

use topology::lens::convert::{Context, Fit, plan};

use super::{PAIRS, Pair, kind};

const HEAD: &str = "# Column types

What becomes of every column type on the way from one engine to the other. Generated from the conversions themselves by
`UPDATE_DOCS=1 cargo test -p tidelock-tests types_page`; do not edit.

The rule is: a value arrives exactly, or its record is refused with a reason and kept (`tidelock_held`). Nothing is rounded,
truncated or defaulted silently. NULL, empty and missing stay apart. `tidelock check` says the same about your own columns.

* **exact**: every value of the source type arrives.
* **checked**: every value arrives exactly or its record is refused; the words say which values fit.

Connectors need the settings of `examples/*/connectors`: decimals and unsigned numbers `precise`, bytes as `bytes`, intervals as
`string`, times `adaptive` (PostgreSQL) and `adaptive_time_microseconds` without adjusting of years (MySQL, MariaDB). Other settings of Debezium are understood
where they lose nothing; where they do (intervals as numbers, bytes as text) the topic stops and says so.

Times without zone stay what they are. Between a type with zone and one without, the wall clock counts as UTC.

Each table names a target type to choose. Other types work where they make sense: a wider number or text always, a narrower one with
a check, and most values as text. `fraction: cut` in an entity, or in a field, cuts digits of a second that the target has no room for.
";

const LOSSES: &str = "
## What Debezium and Connect themselves lose

No setting here brings these back. `check` warns of columns of such types; years 1 to 99 and arrays of several dimensions have no type of
their own, so only this page names them.

| engine | type | what happens |
|---|---|---|
| all | a column that may be NULL and has a DEFAULT | NULL comes as the default; [some converters](operations.md#kafka-connect) can be told not to |
| MySQL | `json` | text beyond ASCII, unless [Connect runs in UTF-8](operations.md#kafka-connect) |
| PostgreSQL | `numeric`, `numeric[]` | NaN comes as NULL (the whole array, if it is in one); infinity stops the connector |
| PostgreSQL | `date`, `timestamp`, `timestamptz` | `infinity` and `-infinity` come as far days, numbers or texts: the record is refused |
| PostgreSQL | `date` | a snapshot drops the era of days before the year 1, and moves 1582-10-05 to 14 by ten days; streaming sends them right |
| PostgreSQL | `timetz` | the zone: the time comes in UTC |
| PostgreSQL | `bit varying` | leading zeros; such a column is refused, exclude it |
| PostgreSQL | `name` | a snapshot sends it, streaming sends NULL |
| PostgreSQL | `time[]` | cut to milliseconds |
| PostgreSQL | `money[]`, `interval[]`, `bit varying[]`, `xml[]`, `name[]`, `tsquery`, `pg_lsn`, composite types | not sent |
| PostgreSQL | arrays of more than one dimension | come as arrays of NULLs |
| MySQL, MariaDB | `0000-00-00` and days with month or day 0 | NULL, or 1970-01-01 from a NOT NULL `date` or `datetime`; a zero `timestamp` is refused if it does not come as NULL |
| MySQL, MariaDB | years 1 to 99 | moved to 1970 to 2069, unless the connector has `enable.time.adjuster=false` |
| MySQL, MariaDB | `FLOAT` | a snapshot reads six digits |
| MySQL | `YEAR` 0000 | a snapshot sends 2000; streaming sends 1900, which is no year of MySQL and is written as 0 |
| MariaDB | `YEAR` 0000 | stops the connector's snapshot |
| MariaDB | `inet4`, `inet6` | the connector can't read a table with such a column and stops |

## Not carried in this version

Geometry (`geometry`, `point`, `polygon`, PostGIS and the like) and vectors. A column of such a type is left out with `exclude`.
";

/// The whole page.
pub fn page() -> String {
    let mut page = HEAD.to_owned();
    for pair in PAIRS {
        let (source, target) = (pair.source.name(), pair.target.name());
        let _ = write!(page, "\n## {source} → {target}\n\n| {source} | {target} | | |\n|---|---|---|---|\n");
        for case in pair.cases {
            let fit = fit(pair, case.source, case.target);
            let _ = writeln!(page, "| `{}` | `{}` | {fit} | {} |", case.source, case.target, case.note);
        }
    }
    page.push_str(LOSSES);
    page
}

fn fit(pair: &Pair, source: &str, target: &str) -> Fit {
    let live = kind(pair.source, source);
    let context =
        Context { source: pair.source, target: pair.target, live: Some(&live), native: target, ..Context::default() };
    plan(&live, &kind(pair.target, target), &context).fit
}
