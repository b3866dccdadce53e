//! Debezium's `source` block: which fields count, and how they become [`Source`]. Shared by all formats.
//!
//! Every field that only some versions or connectors send is optional. The identity (rule D2) is a chain of hashes, so that
//! ("a", "bc") and ("ab", "c") differ.

use topology::data::Span;
use topology::record::{Connector, Position, Source};
use xxhash_rust::xxh3::xxh3_64_with_seed;

use crate::value::Primitive;

/// The fields that the engine needs.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum SourceField {
    Connector,
    Name,
    Snapshot,
    Milliseconds,
    Microseconds,
    Sequence,
    ServerId,
    Gtid,
    File,
    Position,
    Row,
    Lsn,
    TransactionId,
    Origin,
    Tag,
    ChangeId,
}

impl SourceField {
    /// By its name in the block.
    pub(crate) fn of(name: &str) -> Option<SourceField> {
        Some(match name {
            "connector" => SourceField::Connector,
            "name" => SourceField::Name,
            "snapshot" => SourceField::Snapshot,
            "ts_ms" => SourceField::Milliseconds,
            "ts_us" => SourceField::Microseconds,
            "sequence" => SourceField::Sequence,
            "server_id" => SourceField::ServerId,
            "gtid" => SourceField::Gtid,
            "file" => SourceField::File,
            "pos" => SourceField::Position,
            "row" => SourceField::Row,
            "lsn" => SourceField::Lsn,
            "txId" => SourceField::TransactionId,
            "origin" => SourceField::Origin,
            "tag" => SourceField::Tag,
            "change_id" => SourceField::ChangeId,
            _ => return None,
        })
    }
}

/// The block while it is being read.
#[derive(Clone, Copy, Debug, Default)]
pub(crate) struct SourceBuilder<'a> {
    connector: &'a [u8],
    name: &'a [u8],
    snapshot: bool,
    milliseconds: Option<i64>,
    microseconds: Option<i64>,
    sequence: Option<(u64, u64)>,
    server_id: i64,
    gtid: Option<(&'a [u8], Span)>,
    file: &'a [u8],
    position: Option<i64>,
    row: i64,
    lsn: Option<i64>,
    transaction_id: Option<i64>,
    origin: Option<Span>,
    tag: Option<Span>,
    change_id: Option<i64>,
}

impl<'a> SourceBuilder<'a> {
    /// Takes the `sequence` of PostgreSQL, which JSON may have to unescape first.
    pub(crate) fn set_sequence(&mut self, text: &str) {
        self.sequence = parse_sequence(text);
    }

    /// Takes one field; values of an unexpected type are as good as absent.
    pub(crate) fn set(&mut self, field: SourceField, value: Primitive<'a>) {
        match value {
            Primitive::Text(text, span) => self.set_text(field, text.as_bytes(), span),
            Primitive::Int(number) => self.set_number(field, number),
            Primitive::Bool(value) if field == SourceField::Snapshot => self.snapshot = value,
            _ => {}
        }
    }

    /// Takes a field that is text; `text` is valid UTF-8.
    #[inline]
    pub(crate) fn set_text(&mut self, field: SourceField, text: &'a [u8], span: Span) {
        match field {
            SourceField::Connector => self.connector = text,
            SourceField::Name => self.name = text,
            SourceField::Snapshot => self.snapshot = !text.eq_ignore_ascii_case(b"false"),
            SourceField::Sequence => self.set_sequence(std::str::from_utf8(text).unwrap_or("")),
            SourceField::File => self.file = text,
            SourceField::Gtid if !text.is_empty() => self.gtid = Some((text, span)),
            SourceField::Origin if !text.is_empty() => self.origin = Some(span),
            SourceField::Tag if !text.is_empty() => self.tag = Some(span),
            _ => {}
        }
    }

    /// Takes a field that is a whole number.
    #[inline]
    pub(crate) fn set_number(&mut self, field: SourceField, number: i64) {
        match field {
            SourceField::Milliseconds => self.milliseconds = Some(number),
            SourceField::Microseconds => self.microseconds = Some(number),
            SourceField::ServerId => self.server_id = number,
            SourceField::Position => self.position = Some(number),
            SourceField::Row => self.row = number,
            SourceField::Lsn => self.lsn = Some(number),
            SourceField::TransactionId => self.transaction_id = Some(number),
            SourceField::ChangeId => self.change_id = Some(number),
            _ => {}
        }
    }

    /// The finished block.
    pub(crate) fn finish(&self) -> Source {
        let connector = match self.connector {
            b"mysql" => Connector::MySql,
            b"mariadb" => Connector::MariaDb,
            b"postgresql" => Connector::Postgres,
            b"tidelock" => Connector::Tidelock,
            _ => Connector::None,
        };
        let mut identity = xxh3_64_with_seed(self.connector, 0);
        identity = xxh3_64_with_seed(self.name, identity);
        identity = xxh3_64_with_seed(&self.server_id.to_le_bytes(), identity);
        if let Some((gtid, _)) = self.gtid
            && let Some(end) = gtid.iter().position(|byte| *byte == b':')
        {
            identity = xxh3_64_with_seed(gtid.get(..end).unwrap_or(gtid), identity);
        }
        Source {
            connector,
            snapshot: self.snapshot,
            identity,
            position: self.place(connector),
            committed_at_us: self
                .microseconds
                .or_else(|| self.milliseconds.map(|milliseconds| milliseconds.saturating_mul(1_000)))
                .unwrap_or(0),
            server_id: self.server_id,
            gtid: self.gtid.map(|(_, span)| span),
            origin: if connector == Connector::Tidelock { self.tag } else { self.origin },
            transaction_id: self.transaction_id,
        }
    }

    fn place(&self, connector: Connector) -> Option<Position> {
        let unsigned = |number: i64| u64::try_from(number).ok();
        match connector {
            Connector::MySql | Connector::MariaDb => {
                Some(Position(file_number(self.file)?, unsigned(self.position?)?, unsigned(self.row)?))
            }
            Connector::Postgres => match self.sequence {
                Some((commit, event)) => Some(Position(commit, event, 0)),
                None => unsigned(self.lsn?).map(|lsn| Position(lsn, lsn, 0)),
            },
            Connector::Tidelock => unsigned(self.change_id?).map(|id| Position(id, 0, 0)),
            Connector::None => None,
        }
    }
}

/// The number at the end of a binlog file's name: file 10 comes after file 9, and 1000000 after 999999.
fn file_number(file: &[u8]) -> Option<u64> {
    let (mut number, mut power, mut digits) = (0_u64, 1_u64, 0);
    for byte in file.iter().rev().take_while(|byte| byte.is_ascii_digit()) {
        digits += 1;
        if digits > 18 {
            return None;
        }
        number += u64::from(byte - b'0') * power;
        power *= 10;
    }
    (digits > 0).then_some(number)
}

/// Both numbers of `["30191560","30191600"]`; `None` when one is null or the text is something else.
fn parse_sequence(text: &str) -> Option<(u64, u64)> {
    let inner = text.trim().strip_prefix('[')?.strip_suffix(']')?;
    let (commit, event) = inner.split_once(',')?;
    let number = |text: &str| text.trim().strip_prefix('"')?.strip_suffix('"')?.parse::<u64>().ok();
    Some((number(commit)?, number(event)?))
}

#[cfg(test)]
mod tests {
    use super::*;

    fn text(text: &str) -> Primitive<'_> {
        Primitive::Text(text, Span { start: 7, length: 1 })
    }

    #[test]
    fn binlog_files_compare_by_number() {
        assert_eq!(file_number(b"binlog.000002"), Some(2));
        assert_eq!(file_number(b"mysql-bin-3.1000000"), Some(1_000_000));
        assert_eq!(file_number(b"binlog"), None);
        assert_eq!(file_number(b""), None);
    }

    #[test]
    fn a_sequence_needs_both_numbers() {
        assert_eq!(parse_sequence("[\"12\",\"34\"]"), Some((12, 34)));
        for broken in ["[null,\"34\"]", "[\"12\"]", "", "12,34", "[\"x\",\"1\"]"] {
            assert_eq!(parse_sequence(broken), None, "{broken}");
        }
    }

    #[test]
    fn postgres_falls_back_to_its_lsn() {
        let mut builder = SourceBuilder::default();
        builder.set(SourceField::Connector, text("postgresql"));
        builder.set(SourceField::Sequence, text("[null,\"34\"]"));
        builder.set(SourceField::Lsn, Primitive::Int(34));
        assert_eq!(builder.finish().position, Some(Position(34, 34, 0)));
    }

    #[test]
    fn identity_follows_server_and_uuid_but_not_the_transaction_number() {
        let identity = |server: i64, gtid: &str| {
            let mut builder = SourceBuilder::default();
            builder.set(SourceField::Connector, text("mysql"));
            builder.set(SourceField::Name, text("my1"));
            builder.set(SourceField::ServerId, Primitive::Int(server));
            builder.set(SourceField::Gtid, text(gtid));
            builder.finish().identity
        };
        assert_eq!(identity(1, "uuid:1"), identity(1, "uuid:2"));
        assert_eq!(identity(1, "uuid:1"), identity(1, "uuid:tag:2"));
        assert_ne!(identity(1, "uuid:1"), identity(2, "uuid:1"));
        assert_ne!(identity(1, "uuid:1"), identity(1, "other:1"));
    }

    #[test]
    fn every_snapshot_value_but_false_is_a_snapshot() {
        for (value, snapshot) in [("first", true), ("incremental", true), ("last", true), ("false", false)] {
            let mut builder = SourceBuilder::default();
            builder.set(SourceField::Snapshot, text(value));
            assert_eq!(builder.finish().snapshot, snapshot);
        }
        assert!(!SourceBuilder::default().finish().snapshot);
    }

    #[test]
    fn the_tag_of_the_trigger_capture_is_its_origin() {
        let mut builder = SourceBuilder::default();
        builder.set(SourceField::Connector, text("tidelock"));
        builder.set(SourceField::Tag, text("legacy"));
        builder.set(SourceField::ChangeId, Primitive::Int(9));
        builder.set(SourceField::Milliseconds, Primitive::Int(5));
        let source = builder.finish();
        assert!(source.origin.is_some());
        assert_eq!((source.position, source.committed_at_us), (Some(Position(9, 0, 0)), 5_000));
    }
}
