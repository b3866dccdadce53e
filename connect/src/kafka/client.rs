//! librdkafka's settings.

use rdkafka::ClientConfig;

/// How to reach the brokers.
#[derive(Clone, Debug, Default)]
pub struct ClientSettings {
    /// `host:port,host:port`.
    pub brokers: String,
    /// Raw librdkafka options of the user: security, buffers, timeouts. Those in [`FIXED_OPTIONS`] are refused by the configuration.
    pub options: Vec<(String, String)>,
}

/// Options that the exactly-once protocol depends on; nobody may change them.
pub const FIXED_OPTIONS: [&str; 9] = [
    "bootstrap.servers",
    "group.id",
    "group.protocol",
    "partition.assignment.strategy",
    "enable.auto.commit",
    "enable.auto.offset.store",
    "auto.offset.reset",
    "isolation.level",
    "transactional.id",
];

/// A consumer for one lane. The user's options override the defaults, never the fixed ones.
pub fn consumer_config(settings: &ClientSettings, group_id: &str) -> ClientConfig {
    let mut config = ClientConfig::new();
    // Session 30 s: the number that the earlier systems used; a crashed worker's partitions move after it.
    config.set("session.timeout.ms", "30000");
    // By a heartbeat's answer a member learns that the group shares its partitions out anew, twice for each that moves: at the usual 3 s a
    // partition would stand still for 6 s whenever a worker comes.
    config.set("heartbeat.interval.ms", "1000");
    // Small enough for idle latency, large enough for bulk: the broker answers as soon as it has one byte.
    config.set("fetch.wait.max.ms", "100");
    config.set("fetch.queue.backoff.ms", "10");
    config.set("queued.min.messages", "20000");
    // MEM-1: what librdkafka may prefetch, per lane.
    config.set("queued.max.messages.kbytes", "32768");
    config.set("fetch.message.max.bytes", "2097152");
    // For lag, see `context`.
    config.set("statistics.interval.ms", "1000");
    // New partitions and topics are seen within this time (rule A6); Debezium creates a table's topic with its first record.
    config.set("topic.metadata.refresh.interval.ms", "3000");
    config.set("allow.auto.create.topics", "false");
    for (name, value) in &settings.options {
        config.set(name, value);
    }
    config.set("bootstrap.servers", &settings.brokers);
    config.set("group.id", group_id);
    // Classic, not KIP-848: the bundled librdkafka 2.12 still has that protocol's stalls (fixed in 2.15).
    config.set("partition.assignment.strategy", "cooperative-sticky");
    config.set("enable.auto.commit", "false");
    config.set("enable.auto.offset.store", "false");
    // Retention loss or a re-created topic halts the partition, it never skips (rule L7).
    config.set("auto.offset.reset", "error");
    config.set("isolation.level", "read_committed");
    config
}

/// librdkafka warns of a consumer's options in a producer, each time.
fn is_of_consumers(name: &str) -> bool {
    const BEGINNINGS: [&str; 8] = [
        "session.",
        "heartbeat.",
        "max.poll.",
        "queued.",
        "fetch.",
        "max.partition.fetch.",
        "group.",
        "partition.assignment.",
    ];
    BEGINNINGS.iter().any(|beginning| name.starts_with(beginning))
}

/// A producer; `transactional_id` makes it transactional.
pub fn producer_config(settings: &ClientSettings, transactional_id: Option<&str>) -> ClientConfig {
    let mut config = ClientConfig::new();
    config.set("linger.ms", "5");
    config.set("compression.type", "lz4");
    // The brokers' limits count: a dead letter is as large as its record was, and its headers more.
    config.set("message.max.bytes", "100000000");
    for (name, value) in settings.options.iter().filter(|(name, _)| !is_of_consumers(name)) {
        config.set(name, value);
    }
    config.set("bootstrap.servers", &settings.brokers);
    config.set("enable.idempotence", "true");
    if let Some(id) = transactional_id {
        config.set("transactional.id", id);
    }
    config
}
