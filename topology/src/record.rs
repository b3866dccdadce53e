//! One decoded change on its way through the topology. Small and plain: everything long lives in the batch's arena.

use std::fmt;

use crate::data::{CellRange, LayoutId, Span};

/// Index of an entity in its direction's configuration.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub struct EntityId(pub u16);

/// Index of a topic-partition among those of a lane's current assignment (a slot may be reused after a revoke).
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub struct Slot(pub u16);

/// What happened to the row at the source (Debezium's `op`).
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Hash)]
pub enum Operation {
    /// `c`
    #[default]
    Create,
    /// `u`
    Update,
    /// `d`
    Delete,
    /// `r`: a row read by any kind of snapshot.
    Read,
    /// `t`: the whole table was emptied (rule B7).
    Truncate,
}

impl Operation {
    /// Debezium's letter.
    pub fn letter(self) -> char {
        match self {
            Operation::Create => 'c',
            Operation::Update => 'u',
            Operation::Delete => 'd',
            Operation::Read => 'r',
            Operation::Truncate => 't',
        }
    }
}

/// Which capture produced the event.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Hash)]
pub enum Connector {
    /// Not an envelope: a plain or flattened row without source block.
    #[default]
    None,
    /// Debezium for MySQL.
    MySql,
    /// Debezium for MariaDB.
    MariaDb,
    /// Debezium for PostgreSQL.
    Postgres,
    /// Tidelock's own trigger capture.
    Tidelock,
}

/// Place of a change in the source's log; greater is later within one identity (rule D2).
/// MySQL and MariaDB: (number of the binlog file, position, row). PostgreSQL: (last commit LSN, LSN, 0). Capture: (change id, 0, 0).
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct Position(pub u64, pub u64, pub u64);

impl fmt::Display for Position {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}/{}/{}", self.0, self.1, self.2)
    }
}

/// The part of Debezium's `source` block that the engine needs.
#[derive(Clone, Copy, Debug, Default)]
pub struct Source {
    /// Which capture.
    pub connector: Connector,
    /// True for every kind of snapshot read; such events carry no origin and move no mark (rule B8).
    pub snapshot: bool,
    /// Hash of connector, `source.name`, server id and GTID uuid: whose log the position belongs to (rule D2).
    pub identity: u64,
    /// Place in that log; `None` when the event carries none.
    pub position: Option<Position>,
    /// Commit time at the source in microseconds since the epoch, 0 when unknown.
    pub committed_at_us: i64,
    /// `server_id` of MySQL and MariaDB, 0 otherwise.
    pub server_id: i64,
    /// `source.gtid` as text.
    pub gtid: Option<Span>,
    /// `source.origin` of PostgreSQL, or the `tag` column of the trigger capture.
    pub origin: Option<Span>,
    /// `source.txId` of PostgreSQL.
    pub transaction_id: Option<i64>,
}

/// The record as Kafka delivered it, kept for dead letters and held rows.
#[derive(Clone, Copy, Debug, Default)]
pub struct Raw {
    /// Key bytes; `None` for a null key.
    pub key: Option<Span>,
    /// Value bytes; `None` for a tombstone.
    pub value: Option<Span>,
    /// Headers in the encoding of [`crate::raw::encode_headers`].
    pub headers: Option<Span>,
    /// Kafka's timestamp in milliseconds, −1 when absent.
    pub timestamp_ms: i64,
}

/// One change. `key`, `before` and `after` are rows of the layouts named beside them; the lens replaces all three and the layouts.
#[derive(Clone, Copy, Debug, Default)]
pub struct Record {
    /// Task it came from.
    pub slot: Slot,
    /// Kafka offset.
    pub offset: i64,
    /// Which of the direction's entities.
    pub entity: EntityId,
    /// What happened.
    pub operation: Operation,
    /// The key; empty when the table has none.
    pub key: CellRange,
    /// Layout of `key`, `old_key` and `new_key`.
    pub key_layout: LayoutId,
    /// The row before, as far as the source sent it. PostgreSQL invents values here under the default replica identity: only its key cells may be trusted.
    pub before: Option<CellRange>,
    /// The row after.
    pub after: Option<CellRange>,
    /// Layout of `before` and `after`.
    pub layout: LayoutId,
    /// On the create half of a key change: the key it had (header `__debezium.oldkey`).
    pub old_key: Option<CellRange>,
    /// On the delete half of a key change: the key it gets (header `__debezium.newkey`).
    pub new_key: Option<CellRange>,
    /// Provenance.
    pub source: Source,
    /// The original bytes.
    pub raw: Raw,
}
