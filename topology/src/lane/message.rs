//! What the two halves of a lane, and the Kafka source around them, say to each other.

use crate::batch::ChangeBatch;
use crate::error::Error;
use crate::generation::FirstRecord;
use crate::ledger::{Claim, ClaimReply, ClaimRequest, TaskKey, TopicProgress};
use crate::output::{Output, Published};
use crate::pipeline::Counts;
use crate::sink::Applied;

/// A batch on its way to the writer.
#[derive(Debug)]
pub struct SealedBatch {
    /// The batch.
    pub batch: ChangeBatch,
    /// How often the lane had rewound when it was sealed; the writer drops batches from before its last rejection.
    pub rewind: u64,
    /// What became of records before the sink; told to the observer when the batch is committed.
    pub counts: Counts,
}

/// From the polling half to the writer.
#[derive(Debug)]
pub enum Request {
    /// Claim these tasks; retried for ever while the target is down (rule A1).
    Claim(Vec<ClaimRequest>),
    /// Apply this batch.
    Apply(Box<SealedBatch>),
    /// What does the ledger say of this task's topic, and of the held rows that this record waits for (rule A6)?
    TopicProgress(TaskKey, FirstRecord),
    /// The answer to [`Reply::AskEnds`]: where the partitions of this task's topic end.
    Ends(TaskKey, Vec<PartitionEnds>),
    /// What is published of these tasks' outputs: learned at a claim, or (`ends`) the answer to [`Reply::Outputs`], also when that came to
    /// nothing (rule O2).
    Published {
        /// By task.
        upto: Vec<Published>,
        /// The emitter is free again.
        ends: bool,
    },
    /// These tasks are not ours any more.
    Forget(Vec<TaskKey>),
    /// Finish what was handed over, then stop.
    Drain,
}

/// Why a task's batch was not applied.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Rejection {
    /// Fenced: claim again after a while.
    Fenced,
    /// The ledger is behind what we know: the target went back in time. Claim again at once and go on from there.
    WentBack,
    /// The ledger row is gone (rule L6).
    Missing,
    /// The outcome of the last COMMIT was not settled: claim again at once, the ledger says where to go on (rule L4).
    Unknown,
    /// Nothing wrong with this task; its batch was abandoned because of another one.
    Innocent,
}

/// From the writer to the polling half.
#[derive(Debug)]
pub enum Reply {
    /// Answers to a claim, in the order of its requests, with the requests.
    Claimed(Vec<(ClaimRequest, ClaimReply)>),
    /// Applied; the batch comes back for its memory.
    Applied {
        /// The batch.
        batch: Box<SealedBatch>,
        /// What became of its records.
        applied: Applied,
        /// Tasks that were claimed again on the way (rule L4): their new epochs.
        claims: Vec<Claim>,
        /// Seconds from BEGIN to the reply to COMMIT.
        seconds: f64,
    },
    /// Not applied; every task of the batch is listed. The lane rewinds.
    Rejected {
        /// The batch, for its memory.
        batch: Box<SealedBatch>,
        /// Why, per task.
        tasks: Vec<(TaskKey, Rejection)>,
    },
    /// An idle writer looked at the ledger and these tasks are not ours any more, or not where we think. The lane rewinds.
    Lost(Vec<(TaskKey, Rejection)>),
    /// The answer to [`Request::TopicProgress`]; `None` when the target did not give one (asked again).
    TopicProgress(TaskKey, FirstRecord, Option<TopicProgress>),
    /// Where do the partitions of this task's topic end (rule B5)? Asked again if no answer comes.
    AskEnds(TaskKey),
    /// Outputs to publish, by task and number. One such reply is under way at a time.
    Outputs(Vec<Output>),
    /// Sealed before a rewind and dropped; the batch comes back for its memory.
    Stale(Box<SealedBatch>),
    /// The writer stopped: drained, or an error that needs a person.
    Stopped(Option<Error>),
}

/// A topic-partition by topic index.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub struct StartAt {
    /// Index of the topic in the direction.
    pub topic: usize,
    /// Partition.
    pub partition: i32,
    /// Next offset to consume.
    pub offset: i64,
    /// Hash of the record before it, 0 when unknown: the log is another one if its record has another (rule L7).
    pub tail_hash: u64,
}

/// From the polling half to what drives it.
#[derive(Debug)]
pub enum Command {
    /// Send to the writer.
    Send(Request),
    /// Assign (or seek) the partition at this offset.
    Start(StartAt),
    /// Stop fetching the partition; it stays assigned.
    Pause {
        /// Index of the topic.
        topic: usize,
        /// Partition.
        partition: i32,
    },
    /// The ledger has no row: look up the facts and call [`super::Lane::start_facts`].
    ResolveStart {
        /// Index of the topic.
        topic: usize,
        /// Partition.
        partition: i32,
        /// Ask for the first offset at this time too (milliseconds since the epoch).
        at_ms: Option<i64>,
    },
    /// Look up what is published of the partition's outputs, and call [`super::Lane::published`] (rule O2).
    AskPublished {
        /// Index of the topic.
        topic: usize,
        /// Partition.
        partition: i32,
    },
    /// Look up where all partitions of the topic end, and call [`super::Lane::topic_ends`] (rules A6, B5).
    AskEnds {
        /// Index of the topic.
        topic: usize,
        /// The partition that wants to know.
        partition: i32,
    },
}

/// What Kafka knows about a partition that the ledger does not know (rules L5, L6).
#[derive(Clone, Copy, Debug)]
pub struct StartFacts {
    /// Offset committed by the group, if any.
    pub committed: Option<i64>,
    /// Oldest offset.
    pub low: i64,
    /// Offset after the newest record.
    pub high: i64,
    /// First offset at or after the time that was asked for.
    pub at_timestamp: Option<i64>,
    /// Partitions of the topic.
    pub partitions: i32,
}

/// Where one partition's log begins and ends.
#[derive(Clone, Copy, Debug)]
pub struct PartitionEnds {
    /// Partition.
    pub partition: i32,
    /// Oldest offset.
    pub low: i64,
    /// Offset after the newest record. What the log holds behind it are transaction markers, which nobody is ever given.
    pub high: i64,
    /// To here nothing is hidden by open transactions.
    pub stable_end: i64,
    /// Where the log ended just before that was asked, open transactions included.
    pub log_end: i64,
}

/// One Kafka transaction of the emitter (rule O2), made of what is ours at one moment: it must be committed under the membership of that
/// moment (rule O3).
#[derive(Clone, Debug, Default)]
pub struct PublishJob {
    /// By task and number; may be empty.
    pub outputs: Vec<Output>,
    /// Topic, partition and next offset by the ledger; the outputs' partitions are among them.
    pub offsets: Vec<(usize, i32, i64)>,
}
