//! Outputs: what a direction publishes to Kafka beside its target, such as dead letters (rules O).
//!
//! They are rows of `tidelock_outbox` in the target, numbered per task and written in the batch's transaction (rule O1). The emitter
//! publishes them afterwards in a Kafka transaction that also commits, as metadata of the group's offset, how far it is (rule O2). So an
//! output is published once if its change was committed, and never otherwise; nothing is processed again to produce it.

use crate::ledger::TaskKey;
use crate::mutation;

/// One output that may not be published yet.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Output {
    /// Whose it is.
    pub task: TaskKey,
    /// Its number among the task's outputs; greater than that of every earlier one.
    pub seq: i64,
    /// Topic to publish to.
    pub target: String,
    /// Key bytes.
    pub key: Option<Vec<u8>>,
    /// Value bytes.
    pub value: Option<Vec<u8>>,
    /// Headers in the encoding of [`crate::raw::encode_headers`].
    pub headers: Vec<u8>,
}

impl Output {
    /// Bytes that it takes in memory, about.
    pub fn size_bytes(&self) -> usize {
        let length = |bytes: &Option<Vec<u8>>| bytes.as_ref().map_or(0, Vec::len);
        length(&self.key) + length(&self.value) + self.headers.len()
    }
}

/// Everything up to this number is published.
pub type Published = (TaskKey, i64);

/// What a transaction of the emitter holds, given what the brokers say is published (by place, as the caller names partitions).
#[derive(Debug)]
pub struct Plan<'a, P> {
    /// Those that are not published yet.
    pub outputs: Vec<&'a Output>,
    /// Per partition: its next offset, and the number that its metadata gets.
    pub offsets: Vec<(P, i64, i64)>,
}

/// Plans one transaction (rule O2). `place_of` names the partition of an output; `published` is what is known of it, 0 for nothing.
pub fn plan<P: Clone + PartialEq>(
    outputs: &[Output],
    offsets: impl Iterator<Item = (P, i64)>,
    place_of: impl Fn(&Output) -> P,
    published: impl Fn(&P) -> i64,
) -> Plan<'_, P> {
    let mut offsets: Vec<(P, i64, i64)> = offsets
        .map(|(place, next_offset)| {
            let upto = if mutation::is_active(mutation::PUBLISH_ALL_AGAIN) { 0 } else { published(&place) };
            (place, next_offset, upto)
        })
        .collect();
    let mut left = Vec::with_capacity(outputs.len());
    for output in outputs {
        let place = place_of(output);
        // Without its offset in the same transaction nobody would know that it is published.
        let Some((_, _, upto)) = offsets.iter_mut().find(|(other, _, _)| *other == place) else { continue };
        if output.seq > *upto {
            *upto = output.seq;
            left.push(output);
        }
    }
    Plan { outputs: left, offsets }
}

const METADATA: &str = "tidelock outbox=";

/// What the emitter commits as metadata of the group's offset.
pub fn metadata(published: i64) -> String {
    format!("{METADATA}{published}")
}

/// The number in [`metadata`]; `None` for any other text: nobody knows what was published.
pub fn published_of(metadata: &str) -> Option<i64> {
    metadata.strip_prefix(METADATA)?.parse().ok().filter(|number| *number >= 0)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_number_survives_the_way_through_metadata_and_other_texts_are_none() {
        assert_eq!(published_of(&metadata(0)), Some(0));
        assert_eq!(published_of(&metadata(i64::MAX)), Some(i64::MAX));
        for odd in ["", "7", "tidelock outbox=", "tidelock outbox=-1", "tidelock outbox=x", "NO_TIMESTAMP"] {
            assert_eq!(published_of(odd), None, "{odd}");
        }
    }
}
