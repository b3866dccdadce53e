//! Records as Kafka delivers them, and the contract of a decoder.

use crate::data::{Arena, Layouts};
use crate::error::Error;
use crate::record::Record;

/// One header: name and optional value.
pub type Header<'a> = (&'a str, Option<&'a [u8]>);

/// A record before decoding. The decoder copies `key`, `value` and headers into the arena as [`crate::record::Raw`] and borrows from there.
#[derive(Clone, Copy, Debug)]
pub struct RawRecord<'a> {
    /// Index of the topic in the direction's configuration; decoders keep per-topic settings by it.
    pub topic: usize,
    /// Kafka offset.
    pub offset: i64,
    /// Kafka timestamp in milliseconds, −1 when absent.
    pub timestamp_ms: i64,
    /// Key bytes.
    pub key: Option<&'a [u8]>,
    /// Value bytes.
    pub value: Option<&'a [u8]>,
    /// Headers encoded by [`encode_headers`]; empty when there are none.
    pub headers: &'a [u8],
}

/// Why a record is no change.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum Ignored {
    /// Null value on an envelope topic (rule B6).
    Tombstone,
    /// Debezium heartbeat.
    Heartbeat,
    /// Transaction boundary.
    TransactionMarker,
    /// Schema change event.
    SchemaChange,
    /// Signal, notification, logical message: known, and no change of a row.
    Control,
}

/// What a decoder made of a record. Lives on the stack for one record: boxing the large variant would cost an allocation per record.
#[allow(clippy::large_enum_variant)]
#[derive(Clone, Copy, Debug)]
pub enum Decoded {
    /// A change; slot, offset and entity are filled in by the caller.
    Change(Record),
    /// Not a change: progress moves past it.
    Ignored(Ignored),
}

/// Why a record could not be decoded.
#[derive(Debug)]
pub enum DecodeError {
    /// The schema is not known yet: fetch the schema of this id, then decode again. Nothing was kept in the arena.
    SchemaNeeded(u32),
    /// The record is bad.
    Bad(Error),
}

/// Turns bytes into records of `layouts`, cells and bytes going to `arena`. One instance per pipeline; not shared between threads.
///
/// On error the arena may hold leftovers; the caller truncates. The same schema id always yields the same layout.
pub trait Decode: Send {
    /// Decodes one record.
    ///
    /// # Errors
    /// [`DecodeError`]; never panics on any bytes.
    fn decode(&mut self, raw: &RawRecord<'_>, arena: &mut Arena, layouts: &mut Layouts)
    -> Result<Decoded, DecodeError>;
}

/// Encodes headers: per header u16 name length, name, u32 value length (`u32::MAX` for null), value; all big-endian.
pub fn encode_headers<'a>(headers: impl Iterator<Item = Header<'a>>, out: &mut Vec<u8>) {
    for (name, value) in headers {
        let Ok(name_length) = u16::try_from(name.len()) else { continue };
        out.extend_from_slice(&name_length.to_be_bytes());
        out.extend_from_slice(name.as_bytes());
        match value {
            None => out.extend_from_slice(&u32::MAX.to_be_bytes()),
            Some(value) => {
                let length = u32::try_from(value.len()).expect("a header is smaller than 4 GiB");
                out.extend_from_slice(&length.to_be_bytes());
                out.extend_from_slice(value);
            }
        }
    }
}

/// Iterates over headers encoded by [`encode_headers`]; stops at the first malformed one.
pub fn headers(mut encoded: &[u8]) -> impl Iterator<Item = Header<'_>> {
    std::iter::from_fn(move || {
        let (length, rest) = encoded.split_first_chunk::<2>()?;
        let (name, rest) = rest.split_at_checked(usize::from(u16::from_be_bytes(*length)))?;
        let name = std::str::from_utf8(name).ok()?;
        let (length, rest) = rest.split_first_chunk::<4>()?;
        let length = u32::from_be_bytes(*length);
        if length == u32::MAX {
            encoded = rest;
            return Some((name, None));
        }
        let (value, rest) = rest.split_at_checked(length as usize)?;
        encoded = rest;
        Some((name, Some(value)))
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn headers_survive_the_way_through_bytes() {
        let mut out = Vec::new();
        let given: [Header<'_>; 3] = [("__debezium.newkey", Some(b"{\"id\":1}")), ("empty", Some(b"")), ("null", None)];
        encode_headers(given.into_iter(), &mut out);
        assert_eq!(headers(&out).collect::<Vec<_>>(), given);
        assert_eq!(headers(&out[..out.len() - 1]).count(), 2);
    }
}
