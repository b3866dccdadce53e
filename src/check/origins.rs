//! Replication origins at a PostgreSQL target. The server has room for few, a writing lane needs one, and those of finished pipelines
//! stay for ever: nobody but an administrator can know that they are not needed any more.

use connect::sql::connection::SqlConnection;
use topology::data::Value;

use super::report::Report;

/// Of this share of the room, what is left is little.
const LITTLE: usize = 4;

/// Pipelines that are named.
const NAMED_MAX: usize = 5;

/// Adds what the server's origins say.
pub(super) async fn check(connection: &mut dyn SqlConnection, pipeline: &str, report: &mut Report) {
    // PostgreSQL 18 has a setting of its own; before, origins had as much room as slots, beside them.
    let room = "SELECT CAST(name AS text), CAST(setting AS text) FROM pg_settings \
                WHERE name IN ('max_active_replication_origins', 'max_replication_slots') ORDER BY name LIMIT 1";
    let origins = "SELECT CAST(roname AS text) FROM pg_replication_origin ORDER BY 1";
    let (Ok(room), Ok(origins)) = (connection.query(room, &[]).await, connection.query(origins, &[]).await) else {
        return;
    };
    let Some([Value::Text(setting), Value::Text(limit)]) = room.first().map(Vec::as_slice) else { return };
    let Ok(limit) = limit.parse::<usize>() else { return };
    let names: Vec<&str> = origins
        .iter()
        .filter_map(|row| match row.first() {
            Some(Value::Text(name)) => Some(name.as_str()),
            _ => None,
        })
        .collect();
    if let Some((is_little, text)) = finding(&names, pipeline, setting, limit) {
        if is_little { report.warning(text) } else { report.note(text) }
    }
}

/// Whether little room is left, and the sentence; `None` when no other pipeline takes any.
fn finding(names: &[&str], pipeline: &str, setting: &str, limit: usize) -> Option<(bool, String)> {
    let own = |name: &str| pipeline_of(name) == Some(pipeline);
    let others: Vec<&str> = names.iter().copied().filter(|name| !own(name)).collect();
    let first = *others.first()?;
    let mut pipelines: Vec<&str> = others.iter().filter_map(|name| pipeline_of(name)).collect();
    pipelines.dedup();
    let more = if pipelines.len() > NAMED_MAX { ", …" } else { "" };
    pipelines.truncate(NAMED_MAX);
    let whose =
        if pipelines.is_empty() { String::new() } else { format!(" (pipelines {}{more})", pipelines.join(", ")) };
    let is_little = limit.saturating_sub(others.len()) <= limit / LITTLE;
    Some((
        is_little,
        format!(
            "{} of the {limit} replication origins that {setting} has room for are not this pipeline's{whose}: each lane that writes here needs \
             one, and those of finished pipelines stay until an administrator drops them: SELECT pg_replication_origin_drop('{first}'); \
             see docs/operations.md",
            others.len()
        ),
    ))
}

/// `tidelock:<pipeline>:<site>:<slot>`
fn pipeline_of(origin: &str) -> Option<&str> {
    origin.strip_prefix("tidelock:")?.split(':').next()
}

#[cfg(test)]
mod tests {
    use super::finding;

    #[test]
    fn origins_of_other_pipelines_are_named_and_warned_of_when_they_take_the_room() {
        let names =
            ["tidelock:blog:legacy:0", "tidelock:old:a:0", "tidelock:old:a:1", "tidelock:older:a:0", "pg_16385"];
        assert_eq!(finding(&names[..1], "blog", "max_replication_slots", 10), None);
        let (is_little, text) = finding(&names, "blog", "max_replication_slots", 10).expect("others");
        assert!(!is_little, "{text}");
        assert!(text.starts_with("4 of the 10 replication origins that max_replication_slots"), "{text}");
        assert!(text.contains("(pipelines old, older)") && text.contains("drop('tidelock:old:a:0')"), "{text}");
        assert!(finding(&names, "blog", "max_replication_slots", 5).expect("others").0);
    }
}
