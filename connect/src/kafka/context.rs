//! What happens inside librdkafka's callbacks: notes only. The rebalance callback does no I/O, so a dead target never blocks the
//! group (rule A1). It runs on the poll thread, inside `poll`; the loop reads the notes right after.

use std::collections::HashSet;
use std::sync::Mutex;
use std::sync::atomic::{AtomicBool, Ordering};

use rdkafka::client::ClientContext;
use rdkafka::consumer::{BaseConsumer, Consumer, ConsumerContext};
use rdkafka::error::KafkaError;
use rdkafka::statistics::Statistics;
use rdkafka::topic_partition_list::TopicPartitionList;
use rdkafka::types::{RDKafkaErrorCode, RDKafkaRespErr};

use super::seldom::Seldom;

/// What the group told us.
#[derive(Debug)]
pub(super) enum GroupEvent {
    /// These partitions are ours from now on; not yet fetched.
    Assigned(Vec<(String, i32)>),
    /// These are not ours any more (also when they were lost).
    Revoked(Vec<(String, i32)>),
}

/// What the newest statistics say about the end of a partition.
#[derive(Debug)]
pub(super) struct PartitionEnd {
    pub(super) topic: String,
    pub(super) partition: i32,
    /// End of the log as a read_committed reader sees it; negative as long as it is not known.
    pub(super) end: i64,
    /// librdkafka fetches it, or will when it is resumed.
    pub(super) is_fetched: bool,
    /// Everything up to `end` was fetched and given to us. Behind the last record there may be transaction markers, which count as
    /// offsets and are no lag (librdkafka counts them as given, too).
    pub(super) is_drained: bool,
}

/// Notes of one consumer.
#[derive(Default)]
pub(super) struct LaneContext {
    events: Mutex<Vec<GroupEvent>>,
    ends: Mutex<Vec<PartitionEnd>>,
    fatal: Mutex<Option<String>>,
    /// Reasons of topics that are not there, each told once: the client repeats them with every refresh of its metadata.
    missing: Mutex<HashSet<String>>,
    is_missing: AtomicBool,
    /// For errors of the client, by whichever way they come.
    pub(super) seldom: Seldom,
}

impl LaneContext {
    pub(super) fn take_events(&self) -> Vec<GroupEvent> {
        std::mem::take(&mut *self.events.lock().expect("no panic while locked"))
    }

    pub(super) fn take_ends(&self) -> Vec<PartitionEnd> {
        std::mem::take(&mut *self.ends.lock().expect("no panic while locked"))
    }

    /// Why the consumer must be built anew (rule A5).
    pub(super) fn take_fatal(&self) -> Option<String> {
        self.fatal.lock().expect("no panic while locked").take()
    }

    /// True when topics were reported missing since the last call.
    pub(super) fn take_missing(&self) -> bool {
        self.is_missing.swap(false, Ordering::Relaxed)
    }

    fn note(&self, event: GroupEvent) {
        self.events.lock().expect("no panic while locked").push(event);
    }
}

impl ClientContext for LaneContext {
    fn stats(&self, statistics: Statistics) {
        let mut ends = Vec::new();
        for (name, topic) in statistics.topics {
            for (partition, facts) in topic.partitions {
                if partition >= 0 {
                    let end = facts.ls_offset;
                    let is_drained = facts.fetchq_cnt == 0 && facts.next_offset >= end;
                    let is_fetched = facts.fetch_state != "none";
                    ends.push(PartitionEnd { topic: name.clone(), partition, end, is_fetched, is_drained });
                }
            }
        }
        *self.ends.lock().expect("no panic while locked") = ends;
    }

    fn error(&self, error: KafkaError, reason: &str) {
        if let KafkaError::Global(code) = &error
            && *code == RDKafkaErrorCode::Fatal
        {
            *self.fatal.lock().expect("no panic while locked") = Some(reason.to_owned());
        }
        if error.rdkafka_error_code() == Some(RDKafkaErrorCode::UnknownTopicOrPartition) {
            self.is_missing.store(true, Ordering::Relaxed);
            if self.missing.lock().expect("no panic while locked").insert(reason.to_owned()) {
                tracing::warn!(reason, "a topic is not there yet; waiting for it");
            }
            return;
        }
        if let Some(untold) = self.seldom.untold(&error) {
            tracing::warn!(%error, reason, untold, "kafka client reported an error");
        }
    }
}

impl ConsumerContext for LaneContext {
    fn rebalance(&self, consumer: &BaseConsumer<Self>, code: RDKafkaRespErr, partitions: &mut TopicPartitionList) {
        let named: Vec<(String, i32)> =
            partitions.elements().iter().map(|element| (element.topic().to_owned(), element.partition())).collect();
        let done = if code == RDKafkaRespErr::RD_KAFKA_RESP_ERR__ASSIGN_PARTITIONS {
            self.note(GroupEvent::Assigned(named));
            // Acknowledge without fetching: the poll thread assigns at the claimed offsets.
            consumer.incremental_assign(&TopicPartitionList::new())
        } else {
            // A2: unassign only what is really assigned; a claim may still have been under way.
            let assigned = consumer.assignment().unwrap_or_default();
            let mut ours = TopicPartitionList::new();
            for (topic, partition) in &named {
                if assigned.find_partition(topic, *partition).is_some() {
                    ours.add_partition(topic, *partition);
                }
            }
            self.note(GroupEvent::Revoked(named));
            consumer.incremental_unassign(&ours)
        };
        if let Err(error) = done {
            tracing::warn!(%error, "cannot acknowledge rebalance; the group will rebalance again");
        }
    }
}
