//! Dead letters: a record that can never be applied, as it goes to the dead-letter topic. Key, value and headers are the original bytes;
//! Connect's error headers (`DeadLetterQueueReporter`, KIP-298) and ours say why it is there.

use crate::batch::HeldId;
use crate::ledger::TaskKey;
use crate::raw::{encode_headers, headers};
use crate::record::Source;

/// What is known of a record that is dead. No row values but those in the original bytes.
#[derive(Clone, Copy, Debug)]
pub struct DeadLetter<'a> {
    /// Where it came from.
    pub task: &'a TaskKey,
    /// Its name in `tidelock_held`.
    pub id: HeldId,
    /// The table that it is for.
    pub entity: &'a str,
    /// Class of the error ([`crate::ErrorKind::name`]).
    pub class: &'a str,
    /// Where it failed ([`crate::Stage::name`]).
    pub stage: &'a str,
    /// SQLSTATE or errno, if a server refused it.
    pub code: Option<&'a str>,
    /// What failed, for what.
    pub message: &'a str,
    /// How often it was tried.
    pub attempts: i64,
    /// When it failed first, by the target's clock.
    pub first_failed_at_ms: i64,
    /// When it was given up, by the target's clock.
    pub dead_at_ms: i64,
    /// Kafka's time of the record, −1 when it had none.
    pub timestamp_ms: i64,
    /// Its place in the source's log, as far as it could be read.
    pub source: &'a Source,
    /// The original headers, encoded.
    pub headers: &'a [u8],
}

/// Connect's word for a stage of ours.
fn connect_stage(stage: &str) -> &'static str {
    match stage {
        "consume" | "decode" => "VALUE_CONVERTER",
        "write" | "commit" => "TASK_PUT",
        _ => "TRANSFORMATION",
    }
}

impl DeadLetter<'_> {
    /// The headers of the published record, encoded: the original ones, then why.
    pub fn encode_headers(&self) -> Vec<u8> {
        let task = self.task;
        let exception = match self.code {
            Some(code) => format!("tidelock.{}.{code}", self.class),
            None => format!("tidelock.{}", self.class),
        };
        let mut added: Vec<(&str, String)> = vec![
            ("__connect.errors.topic", task.topic.to_string()),
            ("__connect.errors.partition", task.partition.to_string()),
            ("__connect.errors.offset", self.id.offset.to_string()),
            ("__connect.errors.connector.name", format!("tidelock {} {}", task.pipeline, task.direction)),
            ("__connect.errors.task.id", task.partition.to_string()),
            ("__connect.errors.stage", connect_stage(self.stage).to_owned()),
            ("__connect.errors.class.name", "tidelock".to_owned()),
            ("__connect.errors.exception.class.name", exception),
            ("__connect.errors.exception.message", self.message.to_owned()),
            ("tidelock.version", env!("CARGO_PKG_VERSION").to_owned()),
            ("tidelock.pipeline", task.pipeline.to_string()),
            ("tidelock.direction", task.direction.to_string()),
            ("tidelock.entity", self.entity.to_owned()),
            ("tidelock.ordinal", self.id.ordinal.to_string()),
            ("tidelock.class", self.class.to_owned()),
            ("tidelock.stage", self.stage.to_owned()),
            ("tidelock.attempts", self.attempts.to_string()),
            ("tidelock.first_failed_at_ms", self.first_failed_at_ms.to_string()),
            ("tidelock.dead_at_ms", self.dead_at_ms.to_string()),
            ("tidelock.timestamp_ms", self.timestamp_ms.to_string()),
        ];
        added.extend(self.code.map(|code| ("tidelock.code", code.to_owned())));
        if let Some(position) = self.source.position {
            added.push(("tidelock.source.position", position.to_string()));
        }
        if self.source.committed_at_us > 0 {
            added.push(("tidelock.source.committed_at_ms", (self.source.committed_at_us / 1000).to_string()));
        }
        let mut out = Vec::with_capacity(self.headers.len() + 1024);
        let added = added.iter().map(|(name, value)| (*name, Some(value.as_bytes())));
        encode_headers(headers(self.headers).chain(added), &mut out);
        out
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::record::Position;

    #[test]
    fn a_letter_keeps_the_original_headers_and_says_where_it_came_from_and_why() {
        // given
        let task = TaskKey {
            pipeline: "shop".into(),
            direction: "legacy→revamp".into(),
            topic: "legacy.users".into(),
            partition: 3,
        };
        let mut original = Vec::new();
        encode_headers([("trace", Some(&b"\x00\xff"[..])), ("empty", None)].into_iter(), &mut original);
        let source =
            Source { position: Some(Position(7, 8, 9)), committed_at_us: 1_795_000_000_123_456, ..Source::default() };
        // when
        let encoded = DeadLetter {
            task: &task,
            id: HeldId { offset: 42, ordinal: 0 },
            entity: "users",
            class: "dependency",
            stage: "write",
            code: Some("23505"),
            message: "cannot write row: users",
            attempts: 3,
            first_failed_at_ms: 1_000,
            dead_at_ms: 4_000,
            timestamp_ms: 900,
            source: &source,
            headers: &original,
        }
        .encode_headers();
        // then
        let found: Vec<(String, Option<Vec<u8>>)> =
            headers(&encoded).map(|(name, value)| (name.to_owned(), value.map(<[u8]>::to_vec))).collect();
        assert_eq!(found[0], ("trace".to_owned(), Some(b"\x00\xff".to_vec())));
        assert_eq!(found[1], ("empty".to_owned(), None));
        let text = |wanted: &str| {
            let (_, value) =
                found.iter().find(|(name, _)| name == wanted).unwrap_or_else(|| panic!("{wanted} is missing"));
            String::from_utf8(value.clone().unwrap()).unwrap()
        };
        assert_eq!(text("__connect.errors.topic"), "legacy.users");
        assert_eq!(text("__connect.errors.partition"), "3");
        assert_eq!(text("__connect.errors.offset"), "42");
        assert_eq!(text("__connect.errors.stage"), "TASK_PUT");
        assert_eq!(text("__connect.errors.exception.class.name"), "tidelock.dependency.23505");
        assert_eq!(text("tidelock.attempts"), "3");
        assert_eq!(text("tidelock.code"), "23505");
        assert_eq!(text("tidelock.source.position"), "7/8/9");
        assert_eq!(text("tidelock.source.committed_at_ms"), "1795000000123");
        assert_eq!(text("tidelock.version"), env!("CARGO_PKG_VERSION"));
    }
}
