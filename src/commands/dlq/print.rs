//! Held rows as a person reads them.

use std::fmt::Write;

use super::HeldRow;
use crate::cli::RawForm;
use crate::config::format_instant;

/// A table, one line per row, and under each what failed.
pub(super) fn list(rows: &[HeldRow]) -> String {
    if rows.is_empty() {
        return "nothing is held\n".to_owned();
    }
    let mut out = String::new();
    let mut place = None;
    for row in rows {
        if place != Some((&row.site, &row.direction)) {
            let _ = writeln!(out, "{}{} at {}", if place.is_some() { "\n" } else { "" }, row.direction, row.site);
            place = Some((&row.site, &row.direction));
        }
        let again = match row.retry_at_ms {
            Some(at) if matches!(row.state.as_str(), "parked" | "queued" | "replay") => {
                format!(", tried again {}", ahead(at - row.now_ms))
            }
            _ => String::new(),
        };
        let _ = writeln!(
            out,
            "  {}  {}  {}{}  {}{}  failed {} times, first {}{again}",
            row.id,
            row.entity,
            row.state,
            if row.overtaken { " (overtaken)" } else { "" },
            row.class,
            row.code.as_deref().map(|code| format!(" [{code}]")).unwrap_or_default(),
            row.attempts,
            format_instant(row.first_failed_at_ms),
        );
        let _ = writeln!(out, "    {}", row.message);
    }
    out
}

fn ahead(ms: i64) -> String {
    if ms <= 0 { "now".to_owned() } else { format!("in {} s", (ms + 999) / 1000) }
}

/// Everything that is known of one row.
pub(super) fn show(row: &HeldRow) -> String {
    let mut out = format!("{}\n", row.id);
    let mut line = |name: &str, value: &str| {
        let _ = writeln!(out, "  {name:14}{value}");
    };
    let none = || "none".to_owned();
    let instant = |at: i64| format!("{} ({at} ms)", format_instant(at));
    line("site", &row.site);
    line("direction", &row.direction);
    line("entity", &row.entity);
    let overtaken = if row.overtaken { ", overtaken by a later change that did not replace all of it" } else { "" };
    line("state", &format!("{}{overtaken}", row.state));
    line("class", &row.class);
    line("code", &row.code.clone().unwrap_or_else(none));
    line("stage", &row.stage);
    line("message", &row.message);
    line("attempts", &row.attempts.to_string());
    line("first failed", &instant(row.first_failed_at_ms));
    line("retry at", &row.retry_at_ms.map_or_else(none, instant));
    line("waits for", &row.waits_for.clone().unwrap_or_else(none));
    line("source", &row.source_position.clone().unwrap_or_else(|| "unknown".to_owned()));
    line("committed at", &row.committed_at_ms.map_or_else(|| "unknown".to_owned(), instant));
    line("kafka time", &if row.timestamp_ms < 0 { none() } else { instant(row.timestamp_ms) });
    line("engine", &row.engine);
    line("key hash", &row.key_hash.clone().unwrap_or_else(none));
    let size = |bytes: Option<i64>| bytes.map_or_else(|| "null".to_owned(), |bytes| format!("{bytes} bytes"));
    line("key", &size(row.key_bytes));
    line("value", &size(row.value_bytes));
    for header in row.headers.iter().flatten() {
        let size = header.bytes.map_or_else(|| "null".to_owned(), |bytes| format!("{bytes} bytes"));
        let value = header.value.as_deref().map(|value| format!(": {value}")).unwrap_or_default();
        line("header", &format!("{}, {size}{value}", header.name));
    }
    if let Some(raw) = &row.raw {
        line("mapped key", &raw.mapped_key.clone().unwrap_or_else(|| "unknown".to_owned()));
        line(&format!("key {}", raw.form), &raw.key.clone().unwrap_or_else(|| "null".to_owned()));
        line(&format!("value {}", raw.form), &raw.value.clone().unwrap_or_else(|| "null".to_owned()));
    }
    out
}

/// Bytes as text.
pub(super) fn encoded(form: RawForm, bytes: &[u8]) -> String {
    match form {
        RawForm::Hex => bytes.iter().map(|byte| format!("{byte:02x}")).collect(),
        RawForm::Base64 => base64(bytes),
    }
}

/// RFC 4648 with padding.
fn base64(bytes: &[u8]) -> String {
    const LETTERS: &[u8; 64] = b"ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz0123456789+/";
    let mut out = String::with_capacity(bytes.len().div_ceil(3) * 4);
    for part in bytes.chunks(3) {
        let word = part.iter().fold(0u32, |word, byte| (word << 8) | u32::from(*byte)) << (8 * (3 - part.len()));
        for at in 0..4 {
            if at <= part.len() {
                out.push(char::from(LETTERS[(word >> (18 - 6 * at)) as usize & 63]));
            } else {
                out.push('=');
            }
        }
    }
    out
}

#[cfg(test)]
mod tests {
    use super::super::{Header, Raw};
    use super::*;

    fn row(offset: i64, state: &str) -> HeldRow {
        HeldRow {
            site: "revamp".into(),
            direction: "legacy→revamp".into(),
            id: format!("legacy.users/0/{offset}/0"),
            topic: "legacy.users".into(),
            partition: 0,
            offset,
            ordinal: 0,
            entity: "revamp_users".into(),
            state: state.into(),
            overtaken: false,
            class: "data".into(),
            stage: "write".into(),
            code: Some("23514".into()),
            message: "cannot write row: table \"revamp_users\", constraint \"age\" [23514]".into(),
            attempts: 1,
            first_failed_at_ms: 1_777_593_600_000,
            retry_at_ms: None,
            waits_for: None,
            timestamp_ms: 1_777_593_599_000,
            source_position: Some("3/154/0".into()),
            committed_at_ms: Some(1_777_593_598_000),
            engine: "0.1.0".into(),
            key_hash: Some("00000000000000ff".into()),
            key_bytes: Some(9),
            value_bytes: Some(120),
            now_ms: 1_777_593_660_000,
            headers: None,
            raw: None,
        }
    }

    #[test]
    fn a_list_shows_where_what_and_why() {
        let mut parked = row(8, "parked");
        parked.retry_at_ms = Some(parked.now_ms + 1500);
        let overtaken = HeldRow { overtaken: true, ..row(9, "dead") };
        crate::docs::expect_snapshot("dlq_list.txt", &list(&[row(7, "dead"), parked, overtaken]));
        assert_eq!(list(&[]), "nothing is held\n");
    }

    #[test]
    fn one_row_is_shown_with_all_that_is_known_and_bytes_only_when_asked() {
        let mut shown = row(7, "dead");
        shown.headers = Some(vec![Header { name: "trace".into(), bytes: Some(2), value: None }]);
        let plain = show(&shown);
        shown.raw =
            Some(Raw { form: "hex", mapped_key: Some("{\"id\":7}".into()), key: Some("7b7d".into()), value: None });
        crate::docs::expect_snapshot("dlq_show.txt", &format!("{plain}\n{}", show(&shown)));
    }

    #[test]
    fn bytes_are_encoded_as_everybody_does() {
        for (bytes, expected) in [("", ""), ("f", "Zg=="), ("fo", "Zm8="), ("foo", "Zm9v"), ("foob", "Zm9vYg==")] {
            assert_eq!(base64(bytes.as_bytes()), expected);
        }
        assert_eq!(encoded(RawForm::Hex, &[0, 255]), "00ff");
    }
}
