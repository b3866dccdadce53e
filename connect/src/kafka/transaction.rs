//! One Kafka transaction: records, and the group's offsets with their metadata (rules O2, O4). Whoever gets an error from here drops the
//! producer: one that saw a timeout may send a late EndTxn into its next transaction (librdkafka#5423). A new one under the same
//! transactional id ends the old transaction one way or the other before it says that it is ready.

use std::time::{Duration, Instant};

use rdkafka::TopicPartitionList;
use rdkafka::consumer::ConsumerGroupMetadata;
use rdkafka::error::{KafkaError, RDKafkaErrorCode};
use rdkafka::producer::{BaseProducer, BaseRecord, Producer};
use rdkafka::util::Timeout;

/// Longest wait for one answer of a coordinator; over it the broker counts as down and the caller tries again later.
pub(crate) const REPLY_TIMEOUT: Duration = Duration::from_secs(30);

/// Longest time for the records of one transaction to be acknowledged. Below the broker's transaction timeout (60 s by default),
/// so that we know of a stuck transaction before the broker aborts it.
const DELIVERY_TIMEOUT: Duration = Duration::from_secs(45);

/// What was being done, and why it failed.
pub(crate) type Failed = (&'static str, KafkaError);

/// Publishes the records in this order and commits the offsets, in one transaction. `group` is asked for when the records are acknowledged.
///
/// # Errors
/// Whatever it is, the outcome is unknown.
pub(crate) fn transact<'a>(
    producer: &BaseProducer,
    records: impl Iterator<Item = BaseRecord<'a, [u8], [u8]>>,
    offsets: &TopicPartitionList,
    group: &ConsumerGroupMetadata,
) -> Result<(), Failed> {
    producer.begin_transaction().map_err(|error| ("cannot begin a transaction", error))?;
    topology::crash::point("before_produce");
    let deadline = Instant::now() + DELIVERY_TIMEOUT;
    let late = || KafkaError::MessageProduction(RDKafkaErrorCode::MessageTimedOut);
    for mut message in records {
        while let Err((error, back)) = producer.send(message) {
            if error.rdkafka_error_code() != Some(RDKafkaErrorCode::QueueFull) {
                return Err(("cannot publish a record", error));
            }
            if Instant::now() > deadline {
                return Err(("cannot publish a record in time", late()));
            }
            producer.poll(Duration::from_millis(10));
            message = back;
        }
    }
    // Drained with short polls before the commit, whose own flush would wait in slices of 100 ms.
    while producer.in_flight_count() > 0 {
        if Instant::now() > deadline {
            return Err(("records were not acknowledged in time", late()));
        }
        producer.poll(Duration::from_millis(1));
    }
    topology::crash::point("after_produce");
    producer
        .send_offsets_to_transaction(offsets, group, REPLY_TIMEOUT)
        .map_err(|error| ("cannot store the progress", error))?;
    topology::crash::point("after_send_offsets");
    producer.commit_transaction(Timeout::Never).map_err(|error| ("cannot commit the transaction", error))?;
    topology::crash::point("after_kafka_commit");
    Ok(())
}

/// The broker's code in an error.
pub(crate) fn code_of(error: &KafkaError) -> Option<RDKafkaErrorCode> {
    match error {
        KafkaError::Transaction(error) => Some(error.code()),
        other => other.rdkafka_error_code(),
    }
}
