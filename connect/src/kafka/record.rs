//! What librdkafka hands us, as the topology reads it.

use rdkafka::message::{BorrowedMessage, Headers, Message};
use topology::raw::{RawRecord, encode_headers};

/// The record in a message, with its headers encoded into `headers`. `topic` is the index of the topic in the direction.
pub(super) fn raw_record<'m>(
    message: &'m BorrowedMessage<'_>,
    topic: usize,
    headers: &'m mut Vec<u8>,
) -> RawRecord<'m> {
    headers.clear();
    if let Some(found) = message.headers() {
        encode_headers(found.iter().map(|header| (header.key, header.value)), headers);
    }
    RawRecord {
        topic,
        offset: message.offset(),
        timestamp_ms: message.timestamp().to_millis().unwrap_or(-1),
        key: message.key(),
        value: message.payload(),
        headers,
    }
}
