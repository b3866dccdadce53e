//! What a task knows of its topic's *generation* (rule A6): the numbers that decide which partition a key's records go to.
//!
//! When a topic grows, or its keys get another schema id (Connect hashes the serialized key, id included), records of a key go to another
//! partition than before. Whoever meets the first record of the new generation waits until what came before is applied, or a row would go
//! back in time. The generation stands in the ledger row of each partition, so that workers that never meet can wait for each other.

use std::fmt;
use std::sync::Arc;

/// Of one partition of a topic, as its ledger row has it.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Generation {
    /// Partitions that the topic had when the row was made; 0 when unknown.
    pub partitions: i32,
    /// The row was made for a partition that the topic did not have when it had this many: its first record waits for those. 0: it does not.
    pub grown_from: i32,
    /// Schema id of the keys that this partition has reached; `None` before the first, and where keys have no schema id.
    pub key_schema: Option<u32>,
    /// The next record waits for the other partitions.
    pub waits: Option<Waits>,
    /// When the direction first started, by the clock of the worker that made its first row (milliseconds since the epoch, 0 unknown; rule L5).
    pub started_ms: i64,
}

/// A record that waits: the first of a new generation in its partition.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Waits {
    /// Schema id of its key.
    pub key_schema: Option<u32>,
    /// Its Kafka timestamp in milliseconds: of two partitions that wait for each other the older record goes first.
    pub timestamp_ms: i64,
    /// It is the second half of a key change: a hash of what the first one waits for ([`half_hash`]).
    pub half: Option<u64>,
}

/// Stands for the `waits_for` of half a key change.
pub fn half_hash(waits_for: &str) -> u64 {
    xxhash_rust::xxh3::xxh3_64(waits_for.as_bytes())
}

/// The first record of a new generation, as far as it decides which held rows it waits for.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct FirstRecord {
    /// The record.
    pub waits: Waits,
    /// It is the second half of a key change: the `waits_for` of the first one, which need not be applied before it (rule B5).
    pub other_half: Option<Arc<str>>,
}

impl FirstRecord {
    /// Held rows from before this time are waited for, by Kafka's timestamps in milliseconds. A record without a time waits for all.
    pub fn held_before_ms(&self) -> i64 {
        if self.waits.timestamp_ms < 0 { i64::MAX } else { self.waits.timestamp_ms }
    }
}

impl From<Waits> for FirstRecord {
    fn from(waits: Waits) -> FirstRecord {
        FirstRecord { waits, other_half: None }
    }
}

impl Generation {
    /// Reads what [`Generation`]'s `Display` wrote. Words of a newer version are ignored, what is missing is unknown.
    pub fn parse(text: &str) -> Generation {
        let mut out = Generation::default();
        for word in text.split(' ') {
            let Some((name, value)) = word.split_once('=') else { continue };
            match name {
                "partitions" => out.partitions = value.parse().unwrap_or(0),
                "grown_from" => out.grown_from = value.parse().unwrap_or(0),
                "key" => out.key_schema = value.parse().ok(),
                "waits" => out.waits = Waits::parse(value),
                "started" => out.started_ms = value.parse().unwrap_or(0),
                _ => {}
            }
        }
        out
    }

    /// True when a record with this key schema id must wait for what is in other partitions. The first record of a partition waits too, until it
    /// is clear that no other partition is still at another schema id.
    pub fn is_new(&self, key_schema: Option<u32>) -> bool {
        let is_only_partition = self.key_schema.is_none() && self.partitions == 1;
        self.grown_from > 0 || (key_schema.is_some() && self.key_schema != key_schema && !is_only_partition)
    }

    /// The generation whose first record has this key schema id has begun.
    pub fn enter(&mut self, key_schema: Option<u32>) {
        self.grown_from = 0;
        self.waits = None;
        self.key_schema = key_schema.or(self.key_schema);
    }
}

impl Waits {
    fn parse(text: &str) -> Option<Waits> {
        let mut parts = text.split('/');
        let timestamp_ms = parts.next()?.parse().ok()?;
        let key_schema = parts.next()?.parse().ok();
        let half = parts.next().and_then(|half| u64::from_str_radix(half, 16).ok());
        Some(Waits { key_schema, timestamp_ms, half })
    }
}

impl fmt::Display for Generation {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "partitions={} started={}", self.partitions, self.started_ms)?;
        if self.grown_from > 0 {
            write!(f, " grown_from={}", self.grown_from)?;
        }
        if let Some(id) = self.key_schema {
            write!(f, " key={id}")?;
        }
        if let Some(waits) = self.waits {
            let key = waits.key_schema.map(|id| id.to_string()).unwrap_or_default();
            write!(f, " waits={}/{key}", waits.timestamp_ms)?;
            if let Some(half) = waits.half {
                write!(f, "/{half:x}")?;
            }
        }
        Ok(())
    }
}

/// Schema id of a key in the registry's wire format (a zero byte, the id in four bytes, the key); `None` for keys in another form.
pub fn key_schema_of(key: Option<&[u8]>) -> Option<u32> {
    match key? {
        [0, a, b, c, d, ..] => Some(u32::from_be_bytes([*a, *b, *c, *d])),
        _ => None,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_is_written_is_read_back() {
        let all = Generation {
            partitions: 6,
            grown_from: 3,
            key_schema: Some(8),
            waits: Some(Waits { key_schema: Some(9), timestamp_ms: 1_795_000_000_001, half: Some(0x1f) }),
            started_ms: 1_795_000_000_000,
        };
        assert_eq!(Generation::parse(&all.to_string()), all);
        assert_eq!(Generation::parse(&Generation::default().to_string()), Generation::default());
        assert_eq!(Generation::parse(""), Generation::default());
        assert_eq!(Generation::parse("partitions=x newer=1 key=-3"), Generation::default());
        // The column is a name of at most 191 characters.
        let waits = Some(Waits { key_schema: Some(u32::MAX), timestamp_ms: i64::MAX, half: Some(u64::MAX) });
        let longest = Generation { key_schema: Some(u32::MAX), waits, ..all };
        let without_key = Generation { waits: Some(Waits { timestamp_ms: -1, ..Waits::default() }), ..all };
        assert_eq!(Generation::parse(&without_key.to_string()), without_key);
        assert!(longest.to_string().len() < 170);
    }

    #[test]
    fn a_partition_asks_before_its_first_record_and_before_another_key_schema() {
        let mut generation = Generation { partitions: 2, ..Generation::default() };
        assert!(generation.is_new(Some(7)) && !generation.is_new(None));
        assert!(!Generation { partitions: 1, ..generation }.is_new(Some(7)), "nobody to ask");
        generation.enter(Some(7));
        assert!(!generation.is_new(Some(7)) && generation.is_new(Some(8)) && !generation.is_new(None));
        assert!(Generation { grown_from: 1, ..generation }.is_new(None));
    }

    #[test]
    fn only_keys_in_the_registry_s_form_have_a_schema_id() {
        assert_eq!(key_schema_of(Some(&[0, 0, 0, 1, 2, 9])), Some(258));
        assert_eq!(key_schema_of(Some(b"{\"id\":1}")), None);
        assert_eq!(key_schema_of(Some(&[0, 1, 2])), None);
        assert_eq!(key_schema_of(None), None);
    }
}
