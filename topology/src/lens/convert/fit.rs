//! What a conversion can do to values, told at plan time: `check` prints it, `docs/types.md` is made of it.

use std::borrow::Cow;
use std::fmt;

use super::number::range;
use super::{Context, Engine, FractionMode};
use crate::data::Kind;

/// How well a source type fits a target type.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Fit {
    /// Every value arrives.
    Exact,
    /// Every value arrives exactly or its record is refused; the text says which.
    Checked(Cow<'static, str>),
    /// Something is lost, as the user declared.
    Lossy(Cow<'static, str>),
    /// No value can arrive.
    Impossible(Cow<'static, str>),
}

impl fmt::Display for Fit {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Fit::Exact => f.write_str("exact"),
            Fit::Checked(what) => write!(f, "checked: {what}"),
            Fit::Lossy(what) => write!(f, "lossy: {what}"),
            Fit::Impossible(what) => write!(f, "impossible: {what}"),
        }
    }
}

fn checked(what: impl Into<Cow<'static, str>>) -> Fit {
    Fit::Checked(what.into())
}

fn when(exact: bool, what: impl Into<Cow<'static, str>>) -> Fit {
    if exact { Fit::Exact } else { checked(what) }
}

fn impossible() -> Fit {
    Fit::Impossible("these types have nothing in common".into())
}

/// True when an exact pair needs no run-time conversion at all: the cell is the same.
pub(super) fn is_copy(source: &Kind, target: &Kind, context: &Context<'_>) -> bool {
    match (source, target) {
        (Kind::Int { bits: 64, unsigned: true }, Kind::Int { .. }) => source == target,
        (Kind::Int { bits: 64, .. }, Kind::Int { .. }) => {
            !matches!(context.live, Some(Kind::Int { bits: 64, unsigned: true }))
        }
        (Kind::Int { .. }, Kind::Int { bits: 64, unsigned: true }) => false,
        (Kind::Int { .. }, Kind::Int { .. }) => true,
        (Kind::Decimal { scale: from, .. }, Kind::Decimal { scale: to, .. }) => from == to || to.is_none(),
        // A double in a PostgreSQL column may be NaN; the same engine keeps what it sent.
        (Kind::Float32, Kind::Float32) | (Kind::Float64, Kind::Float64) => !context.target.is_mysql_family(),
        (Kind::Text { .. } | Kind::Xml | Kind::Other(_) | Kind::Enum(_) | Kind::Set(_), Kind::Text { .. }) => true,
        (Kind::Text { .. }, Kind::Xml) | (Kind::Xml, Kind::Xml) => true,
        (Kind::Enum(_), Kind::Enum(_)) | (Kind::Set(_), Kind::Set(_)) => true,
        (Kind::Other(from), Kind::Other(to)) => from == to && &**to != "hstore",
        (Kind::Text { .. }, Kind::Other(to)) => &**to != "hstore",
        (Kind::Bytes { .. }, Kind::Bytes { fixed: false, .. }) => true,
        (Kind::Json, Kind::Json) => context.target != Engine::MySql || context.source == Engine::MySql,
        (Kind::Bool, Kind::Bool) | (Kind::Uuid, Kind::Uuid) | (Kind::Interval, Kind::Interval) => true,
        (Kind::Array(from), Kind::Array(to)) => {
            let context = Context { live: None, ..*context };
            fit(from, to, &context) == Fit::Exact && is_copy(from, to, &context)
        }
        // Moments are always looked at: Debezium has stand-ins for infinity.
        _ => false,
    }
}

/// Reports on a pair of kinds.
pub(super) fn fit(source: &Kind, target: &Kind, context: &Context<'_>) -> Fit {
    use Kind::{
        Array, Bits, Bool, Bytes, Date, Decimal, Duration, Enum, Float32, Float64, Int, Interval, Json, Other, Set,
        Text, Time, TimeTz, Timestamp, TimestampTz, Uuid, Xml, Year,
    };
    const NO_NAN: &str = "NaN and infinity are refused";
    if let Other(name) = source
        && is_not_carried(name)
    {
        return Fit::Impossible(format!("{name} is not carried in this version").into());
    }
    match (source, target) {
        (Bool, Bool) => Fit::Exact,
        (Bool, Int { .. }) => Fit::Exact,
        (Bool, Bits { .. }) => Fit::Exact,
        (Bool, Text { characters_max, .. }) => {
            when(characters_max.is_none_or(|max| max >= 5), "false has 5 characters")
        }
        (Int { .. } | Decimal { .. }, Bool) => checked("only 0 and 1"),
        (Text { .. }, Bool) => checked("only true and false"),
        (Bits { length, .. }, Bool) => when(*length == Some(1), "only 0 and 1"),

        (Int { bits, unsigned }, Int { bits: to_bits, unsigned: to_unsigned }) => {
            let ((min, max), (to_min, to_max)) = (range(*bits, *unsigned), range(*to_bits, *to_unsigned));
            when(min >= to_min && max <= to_max, format!("only {to_min} to {to_max}"))
        }
        (Int { bits, unsigned }, Decimal { precision, scale }) => {
            let digits = whole_digits(*bits, *unsigned);
            let room = precision.map(|precision| i64::from(precision) - i64::from(scale.unwrap_or(0)));
            when(
                room.is_none_or(|room| room >= digits) && scale.is_none_or(|scale| scale >= 0),
                "only numbers with few enough digits",
            )
        }
        (Int { bits, .. }, Float64) => when(*bits <= 32, "only integers that a double keeps"),
        (Int { bits, .. }, Float32) => when(*bits <= 24, "only integers that single precision keeps"),
        (Int { .. }, Text { characters_max, .. }) => length(*characters_max, 20),
        (Int { .. }, Year) => checked("only 0 and 1901 to 2155"),
        (Int { .. }, Bits { .. }) => checked("only numbers with few enough bits"),

        (Float32, Float32) | (Float64, Float64) | (Float32, Float64) => {
            let may_be_nan = context.source == Engine::Postgres || context.source == Engine::Other;
            when(!(context.target.is_mysql_family() && may_be_nan), NO_NAN)
        }
        (Float64, Float32) => checked("only numbers that single precision keeps"),
        (Float32 | Float64, Decimal { .. }) => checked("only finite numbers with few enough digits"),
        (Float32 | Float64, Int { .. }) => checked("only whole numbers in range"),
        (Float32 | Float64, Text { characters_max, .. }) => length(*characters_max, 330),

        (Decimal { precision, scale }, Decimal { precision: to_precision, scale: to_scale }) => {
            let whole = |precision: Option<u32>, scale: Option<i32>| {
                precision.map_or(i64::MAX, |p| i64::from(p) - i64::from(scale.unwrap_or(0)))
            };
            let fits_whole = to_precision.is_none() || whole(*precision, *scale) <= whole(*to_precision, *to_scale);
            let fits_scale = match (scale, to_scale) {
                (_, None) => true,
                (Some(from), Some(to)) => from <= to,
                (None, Some(_)) => false,
            };
            let nan =
                if precision.is_none() && context.source == Engine::Postgres { "; Debezium refuses NaN" } else { "" };
            match (to_precision, fits_whole && fits_scale) {
                (_, true) => Fit::Exact,
                (None, false) => {
                    checked(format!("never rounded: at most {} digits after the point{nan}", to_scale.unwrap_or(0)))
                }
                (Some(p), false) => checked(format!(
                    "never rounded: at most {p} digits, {} of them after the point{nan}",
                    to_scale.unwrap_or(0)
                )),
            }
        }
        (Decimal { precision, scale }, Int { bits, unsigned }) => {
            let fits = matches!((precision, scale), (Some(p), Some(0)) if i64::from(*p) < whole_digits(*bits, *unsigned))
                && !unsigned;
            when(fits, "only whole numbers in range")
        }
        (Decimal { precision, .. }, Float64) => {
            when(precision.is_some_and(|p| p <= 15), "only numbers that a double keeps (15 digits always)")
        }
        (Decimal { .. }, Float32) => checked("only numbers that single precision keeps"),
        (Decimal { precision, .. }, Text { characters_max, .. }) => {
            length(*characters_max, precision.map_or(u64::MAX, |p| u64::from(p) + 3))
        }
        // `decimal.handling.mode=string` sends decimals as text.
        (Text { .. }, Decimal { .. }) => checked(
            "only texts that are numbers with few enough digits; never rounded, the form of the text is not kept",
        ),
        (Text { .. }, Int { .. } | Year) => checked("only texts that are whole numbers in range"),
        (Text { .. }, Float32 | Float64) => checked("only texts that are numbers with few enough digits"),

        (Year, Year) => Fit::Exact,
        (Year, Int { bits, .. }) => when(*bits >= 16, "only years in range"),
        (Year, Text { characters_max, .. }) => length(*characters_max, 4),

        (Text { characters_max, .. }, Text { characters_max: to, .. }) => {
            length(*to, characters_max.unwrap_or(u64::MAX))
        }
        (Enum(labels), Text { characters_max, .. }) => {
            length(*characters_max, labels.iter().map(|label| label.chars().count() as u64).max().unwrap_or(u64::MAX))
        }
        (Set(labels), Text { characters_max, .. }) => {
            length(*characters_max, labels.iter().map(|label| label.chars().count() as u64 + 1).sum())
        }
        (Other(_) | Xml | Json | Array(_), Text { characters_max, .. }) => length(*characters_max, u64::MAX),
        (Uuid, Text { characters_max, .. }) => length(*characters_max, 36),
        (Bits { length: bits, .. }, Text { characters_max, .. }) => {
            match length(*characters_max, bits.map_or(u64::MAX, |bits| u64::from(bits) + 8)) {
                Fit::Exact if !has_whole_bytes(*bits) => checked(WHOLE_BYTES),
                fit => fit,
            }
        }
        (Interval, Text { characters_max, .. }) => length(*characters_max, 80),
        (
            Date | Time { .. } | TimeTz { .. } | Timestamp { .. } | TimestampTz { .. } | Duration { .. },
            Text { characters_max, .. },
        ) => length(*characters_max, 34),
        (Bytes { .. }, Text { .. }) => checked("only bytes that are UTF-8 text"),

        // Debezium sends hstore as JSON.
        (Other(name), Json) if &**name == "hstore" => Fit::Exact,
        (Json, Other(name)) if &**name == "hstore" => checked("only objects of texts"),
        (Text { .. } | Other(_), Other(_)) if same_name(source, target) => Fit::Exact,
        (Text { .. } | Other(_) | Json | Enum(_) | Set(_) | Uuid | Decimal { .. } | Int { .. }, Other(_)) => {
            checked("the server reads the text")
        }
        (Text { .. } | Xml, Xml) => when(matches!(source, Xml), "the server reads the text"),
        (Xml, Other(_)) => checked("the server reads the text"),

        (Text { .. }, Bytes { .. }) => checked("the text as UTF-8, if it is short enough"),
        (Bytes { bytes_max, .. }, Bytes { bytes_max: to, fixed: false }) => when(
            to.is_none_or(|to| bytes_max.is_some_and(|from| from <= to)),
            format!("at most {} bytes", to.unwrap_or(u64::MAX)),
        ),
        (Bytes { bytes_max, fixed }, Bytes { bytes_max: to, fixed: true }) => {
            when(*fixed && bytes_max == to, format!("exactly {} bytes", to.unwrap_or(1)))
        }
        (Uuid, Bytes { bytes_max, fixed }) => match bytes_max {
            Some(16) => Fit::Exact,
            Some(max) if *max < 16 || *fixed => Fit::Impossible("a UUID has 16 bytes".into()),
            _ => Fit::Exact,
        },
        (Uuid, Uuid) => Fit::Exact,
        (Text { .. } | Bytes { .. } | Other(_), Uuid) => checked("only UUIDs"),

        (Date, Date) => days(context),
        (Timestamp { .. } | TimestampTz { .. }, Date) => checked("only midnights"),
        (Text { .. }, Date | Time { .. } | TimeTz { .. } | Timestamp { .. } | TimestampTz { .. } | Duration { .. }) => {
            checked("only texts of that form")
        }
        (Time { precision }, Time { precision: to }) => digits(*precision, *to, context, Fit::Exact),
        (TimeTz { precision }, TimeTz { precision: to }) => digits(*precision, *to, context, Fit::Exact),
        (Time { precision }, TimeTz { precision: to }) => digits(*precision, *to, context, Fit::Exact),
        (TimeTz { precision }, Time { precision: to } | Duration { precision: to }) => {
            digits(*precision, *to, context, Fit::Exact)
        }
        (Time { precision }, Duration { precision: to }) => digits(*precision, *to, context, Fit::Exact),
        (Duration { precision }, Time { precision: to }) => {
            digits(*precision, *to, context, checked("only 00:00 to 24:00"))
        }
        (Duration { precision }, Duration { precision: to }) => digits(*precision, *to, context, Fit::Exact),
        (Duration { .. } | Time { .. }, Interval) | (Interval, Interval) => Fit::Exact,
        (Interval, Duration { precision: to }) => {
            digits(6, *to, context, checked("only ±838:59:59, without days and months"))
        }
        (Text { .. }, Interval) => checked("only ISO 8601 intervals"),
        (Timestamp { precision }, Timestamp { precision: to }) => digits(*precision, *to, context, days(context)),
        (TimestampTz { precision }, TimestampTz { precision: to }) => {
            digits(*precision, *to, context, instants(context))
        }
        (Timestamp { precision }, TimestampTz { precision: to }) => digits(*precision, *to, context, instants(context)),
        (TimestampTz { precision }, Timestamp { precision: to }) => digits(*precision, *to, context, days(context)),
        (Date, Timestamp { .. }) => days(context),
        (Date, TimestampTz { .. }) => instants(context),

        (Json, Json) => {
            let rounds = context.target == Engine::MySql && context.source != Engine::MySql;
            when(!rounds, "only numbers that MySQL keeps: 64-bit integers and doubles")
        }
        (Text { .. }, Json) => checked("only texts that are JSON"),
        (Array(inner), Json) => match &**inner {
            Bytes { .. } => Fit::Impossible("JSON has no bytes".into()),
            Bool | Int { .. } | Text { .. } | Uuid | Enum(_) => Fit::Exact,
            Decimal { .. } if context.target == Engine::MySql => {
                checked("only numbers that MySQL keeps: 64-bit integers and doubles")
            }
            Float32 | Float64 => checked(NO_NAN),
            _ => Fit::Exact,
        },
        (Json, Array(inner)) => match &**inner {
            Json | Array(_) | Bytes { .. } => impossible(),
            _ => checked("only flat arrays of such values"),
        },
        (Array(from), Array(to)) => fit(from, to, &Context { live: None, ..*context }),
        (Set(_), Array(inner)) => match fit(&Text { characters_max: None, fixed: false }, inner, context) {
            Fit::Exact => Fit::Exact,
            Fit::Impossible(why) => Fit::Impossible(why),
            _ => checked("only labels that the element type takes"),
        },
        (Array(inner), Set(_)) if matches!(**inner, Text { .. }) => {
            checked("only known labels, in the order of the type, once each")
        }

        (Enum(labels), Enum(to)) => missing_labels(labels, to),
        (Text { .. } | Other(_), Enum(_)) => checked("only the target's labels"),
        (Set(labels), Set(to)) => match missing_labels(labels, to) {
            Fit::Exact if is_ordered(labels, to) => Fit::Exact,
            Fit::Exact => checked("only sets whose labels stand in the same order in both types"),
            other => other,
        },
        (Text { .. }, Set(_)) => checked("only the target's labels, comma-joined, in the order of the type, once each"),

        (Bits { length, varying }, Bits { length: to, varying: to_varying }) => {
            if *varying && !*to_varying {
                checked("only values with few enough bits")
            } else if *to_varying && !has_whole_bytes(*length) {
                checked(WHOLE_BYTES)
            } else {
                when(
                    to.is_none() || length.is_some_and(|from| to.is_some_and(|to| from <= to)),
                    "only values with few enough bits",
                )
            }
        }
        (Bits { length, .. }, Int { bits, unsigned }) => {
            let room = u32::from(*bits) - u32::from(!unsigned);
            match length {
                Some(length) if *length <= room => Fit::Exact,
                Some(length) if *length <= 64 => checked("only numbers in range"),
                _ => Fit::Impossible("more than 64 bits are no number".into()),
            }
        }
        (Text { .. }, Bits { .. }) => checked("only texts of 0 and 1"),
        _ => impossible(),
    }
}

/// Bit strings come as bytes, without the number of their bits.
const WHOLE_BYTES: &str = "in whole bytes: with zeros in front";

fn has_whole_bytes(bits: Option<u32>) -> bool {
    bits.is_some_and(|bits| bits % 8 == 0)
}

/// Debezium sends these as structures of their own.
pub(super) fn is_not_carried(name: &str) -> bool {
    let name = name.rsplit('.').next().unwrap_or(name);
    [
        "geometry",
        "geography",
        "point",
        "line",
        "lseg",
        "box",
        "path",
        "polygon",
        "circle",
        "linestring",
        "multipoint",
        "multilinestring",
        "multipolygon",
        "geometrycollection",
        "geomcollection",
        "vector",
        "halfvec",
        "sparsevec",
    ]
    .contains(&name)
}

fn same_name(source: &Kind, target: &Kind) -> bool {
    matches!((source, target), (Kind::Other(from), Kind::Other(to)) if from == to)
}

fn whole_digits(bits: u8, unsigned: bool) -> i64 {
    match (bits, unsigned) {
        (..=8, _) => 3,
        (..=16, _) => 5,
        (..=24, true) => 8,
        (..=24, false) => 7,
        (..=32, _) => 10,
        (_, true) => 20,
        (_, false) => 19,
    }
}

fn length(room: Option<u64>, needed: u64) -> Fit {
    match room {
        Some(room) if room < needed => checked(format!("at most {room} characters, never truncated")),
        _ => Fit::Exact,
    }
}

fn digits(from: u8, to: u8, context: &Context<'_>, otherwise: Fit) -> Fit {
    if from <= to {
        return otherwise;
    }
    if context.fraction == FractionMode::Cut {
        return Fit::Lossy(format!("seconds are cut to {to} digits, as `fraction: cut` says").into());
    }
    let and = match &otherwise {
        Fit::Checked(what) => format!("; {what}"),
        _ => String::new(),
    };
    checked(format!("only seconds with at most {to} digits{and}"))
}

fn days(context: &Context<'_>) -> Fit {
    match (context.source.is_mysql_family(), context.target) {
        (true, _) => Fit::Exact,
        (false, Engine::MySql | Engine::MariaDb) => checked("only years 1 to 9999; infinity is refused"),
        _ => checked("infinity is refused"),
    }
}

fn instants(context: &Context<'_>) -> Fit {
    match context.target {
        Engine::MySql if context.source != Engine::MySql => {
            checked("only 1970 to 2038-01-19 03:14:07 UTC; infinity is refused")
        }
        Engine::MariaDb if context.source != Engine::MariaDb => {
            checked("only 1970 to 2106-02-07 (before MariaDB 11.5: 2038-01-19); infinity is refused")
        }
        _ => days(context),
    }
}

fn missing_labels(labels: &[String], to: &[String]) -> Fit {
    if labels.is_empty() {
        return checked("only the target's labels"); // the record's schema does not list its own
    }
    let missing: Vec<&str> = labels.iter().filter(|label| !to.contains(label)).map(String::as_str).collect();
    when(missing.is_empty(), format!("the target lacks the labels {}", missing.join(", ")))
}

fn is_ordered(labels: &[String], to: &[String]) -> bool {
    let places: Vec<_> = labels.iter().map(|label| to.iter().position(|other| other == label)).collect();
    places.is_sorted()
}
