//! A broker in memory: partition logs with gaps, and groups whose rebalances happen on command. No I/O, no time of its own.

use std::collections::{BTreeMap, BTreeSet, VecDeque};

use super::codec::TestBytes;
use crate::lane::{PartitionEnds, StartFacts};
use crate::output::Output;

/// A member of a group.
pub type Member = usize;

/// A partition by topic index.
pub type Partition = (usize, i32);

/// What the group tells a member, in order.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum GroupEvent {
    /// These are yours now.
    Assigned(Vec<Partition>),
    /// These are not yours any more.
    Revoked(Vec<Partition>),
}

#[derive(Debug, Default)]
struct Group {
    owners: BTreeMap<Partition, Member>,
    members: BTreeMap<Member, VecDeque<GroupEvent>>,
    /// Members that the broker gave up and that do not know it: they hear nothing more.
    expelled: BTreeSet<Member>,
    /// Raised by every change of the group.
    generation: u64,
    /// Committed offset and metadata.
    offsets: BTreeMap<Partition, (i64, String)>,
}

/// An open transaction.
#[derive(Debug)]
struct Transaction {
    group: String,
    member: Member,
    outputs: Vec<Output>,
    offsets: Vec<(Partition, i64, String)>,
    /// Its producer has given it up and does not say so.
    is_abandoned: bool,
}

/// Names an open transaction.
pub type TransactionId = u64;

/// The broker.
#[derive(Debug, Default)]
pub struct Broker {
    /// `logs[topic][partition][offset]`; `None` is an offset without a record: a transaction marker, or compacted away.
    logs: Vec<Vec<Vec<Option<TestBytes>>>>,
    groups: BTreeMap<String, Group>,
    transactions: BTreeMap<TransactionId, Transaction>,
    last_transaction: TransactionId,
    /// Committed outputs, in order.
    outputs: Vec<Output>,
}

impl Broker {
    /// A broker whose topic i has `partitions[i]` partitions.
    pub fn new(partitions: &[i32]) -> Broker {
        let logs = partitions.iter().map(|count| vec![Vec::new(); usize::try_from(*count).unwrap_or(0)]).collect();
        Broker { logs, ..Broker::default() }
    }

    /// All partitions.
    pub fn partitions(&self) -> Vec<Partition> {
        let of_topic =
            |(topic, logs): (usize, &Vec<_>)| (0..logs.len() as i32).map(move |partition| (topic, partition));
        self.logs.iter().enumerate().flat_map(of_topic).collect()
    }

    fn log(&self, (topic, partition): Partition) -> &Vec<Option<TestBytes>> {
        &self.logs[topic][partition as usize]
    }

    /// Appends a record and returns its offset.
    pub fn produce(&mut self, (topic, partition): Partition, bytes: TestBytes) -> i64 {
        let log = &mut self.logs[topic][partition as usize];
        log.push(Some(bytes));
        log.len() as i64 - 1
    }

    /// Appends an offset without a record.
    pub fn produce_gap(&mut self, (topic, partition): Partition) {
        self.logs[topic][partition as usize].push(None);
    }

    /// The first record at or after `offset`.
    pub fn fetch(&self, partition: Partition, offset: i64) -> Option<(i64, &TestBytes)> {
        let log = self.log(partition);
        let start = usize::try_from(offset).ok()?;
        let found = log.iter().enumerate().skip(start).find_map(|(at, entry)| Some((at, entry.as_ref()?)));
        found.map(|(at, bytes)| (at as i64, bytes))
    }

    /// Offset after the last entry.
    pub fn end(&self, partition: Partition) -> i64 {
        self.log(partition).len() as i64
    }

    /// Offset after the last record: where progress ends when all is read.
    pub fn end_of_records(&self, partition: Partition) -> i64 {
        self.log(partition).iter().rposition(Option::is_some).map_or(0, |at| at as i64 + 1)
    }

    /// The topic has this many partitions from now on. Somebody has to assign the new ones.
    pub fn grow(&mut self, topic: usize, partitions: usize) {
        let logs = &mut self.logs[topic];
        logs.resize(partitions.max(logs.len()), Vec::new());
    }

    /// Where the partitions of a topic end.
    pub fn topic_ends(&self, topic: usize) -> Vec<PartitionEnds> {
        let partitions = 0..self.logs[topic].len() as i32;
        partitions
            .map(|partition| PartitionEnds {
                partition,
                low: 0,
                high: self.end_of_records((topic, partition)),
                stable_end: 0,
                log_end: 0,
            })
            .collect()
    }

    /// What a lane asks about a partition that the ledger does not know.
    pub fn start_facts(&self, partition: Partition) -> StartFacts {
        let partitions = self.logs[partition.0].len() as i32;
        StartFacts { committed: None, low: 0, high: self.end(partition), at_timestamp: None, partitions }
    }

    /// A member joins; it owns nothing yet.
    pub fn join(&mut self, group: &str, member: Member) {
        let group = self.groups.entry(group.to_owned()).or_default();
        group.members.entry(member).or_default();
        group.generation += 1;
    }

    /// A member is gone, and the group knows.
    pub fn leave(&mut self, group: &str, member: Member) {
        let Some(group) = self.groups.get_mut(group) else { return };
        group.members.remove(&member);
        group.generation += 1;
        group.expelled.remove(&member);
        group.owners.retain(|_, owner| *owner != member);
    }

    /// The group gives a member up that is still running: it keeps what it thinks it has and hears nothing more.
    pub fn expel(&mut self, group: &str, member: Member) {
        let Some(group) = self.groups.get_mut(group) else { return };
        group.owners.retain(|_, owner| *owner != member);
        group.generation += 1;
        group.expelled.insert(member);
    }

    /// Gives a partition to a member. The one before, if it is another, is told so at the same moment.
    pub fn assign(&mut self, group: &str, partition: Partition, member: Member) {
        let Some(group) = self.groups.get_mut(group) else { return };
        let before = group.owners.insert(partition, member);
        if before == Some(member) {
            return;
        }
        group.generation += 1;
        if let Some(events) = before.and_then(|before| group.members.get_mut(&before)) {
            events.push_back(GroupEvent::Revoked(vec![partition]));
        }
        if let Some(events) = group.members.get_mut(&member) {
            events.push_back(GroupEvent::Assigned(vec![partition]));
        }
    }

    /// Members that the group counts, expelled ones left out.
    pub fn members(&self, group: &str) -> Vec<Member> {
        let Some(group) = self.groups.get(group) else { return Vec::new() };
        group.members.keys().filter(|member| !group.expelled.contains(member)).copied().collect()
    }

    /// Partitions without an owner.
    pub fn unowned(&self, group: &str) -> Vec<Partition> {
        let owners = self.groups.get(group).map(|group| &group.owners);
        self.partitions().into_iter().filter(|at| owners.is_none_or(|owners| !owners.contains_key(at))).collect()
    }

    /// What the group has to say to a member.
    pub fn next_event(&mut self, group: &str, member: Member) -> Option<GroupEvent> {
        let group = self.groups.get_mut(group)?;
        if group.expelled.contains(&member) {
            return None;
        }
        group.members.get_mut(&member)?.pop_front()
    }

    /// The generation of the group that a member knows of, once it has taken all that the group had to say to it.
    pub fn generation(&self, group: &str, member: Member) -> Option<u64> {
        let group = self.groups.get(group)?;
        let has_heard_all = group.members.get(&member)?.is_empty();
        has_heard_all.then_some(group.generation)
    }

    /// Opens a transaction. One that this member left open is aborted, as by a producer that is made anew under the same id.
    pub fn begin_transaction(&mut self, group: &str, member: Member) -> TransactionId {
        self.transactions.retain(|_, open| open.member != member);
        self.last_transaction += 1;
        let open = Transaction {
            group: group.to_owned(),
            member,
            outputs: Vec::new(),
            offsets: Vec::new(),
            is_abandoned: false,
        };
        self.transactions.insert(self.last_transaction, open);
        self.last_transaction
    }

    /// Produces within a transaction; false when it is not open any more.
    pub fn publish(&mut self, id: TransactionId, outputs: Vec<Output>) -> bool {
        let open = self.transactions.get_mut(&id);
        open.map(|open| open.outputs.extend(outputs)).is_some()
    }

    /// Offsets of a transaction. False when the group has moved on since this generation, or has given the member up: it is aborted.
    pub fn send_offsets(&mut self, id: TransactionId, generation: u64, offsets: Vec<(Partition, i64, String)>) -> bool {
        let Some(open) = self.transactions.get_mut(&id) else { return false };
        let group = self.groups.get(&open.group);
        let is_member = group.is_some_and(|group| {
            group.generation == generation
                && group.members.contains_key(&open.member)
                && !group.expelled.contains(&open.member)
        });
        if is_member {
            open.offsets = offsets;
        } else {
            self.transactions.remove(&id);
        }
        is_member
    }

    /// Commits a transaction: outputs and offsets at once. False when it is not open any more.
    pub fn commit_transaction(&mut self, id: TransactionId) -> bool {
        let Some(open) = self.transactions.remove(&id) else { return false };
        self.outputs.extend(open.outputs);
        let group = self.groups.entry(open.group).or_default();
        let committed = open.offsets.into_iter().map(|(partition, offset, metadata)| (partition, (offset, metadata)));
        group.offsets.extend(committed);
        true
    }

    /// The producer does not go on with a transaction.
    pub fn abandon_transaction(&mut self, id: TransactionId) {
        if let Some(open) = self.transactions.get_mut(&id) {
            open.is_abandoned = true;
        }
    }

    /// Aborts transactions that nobody goes on with, as the broker does after a while.
    pub fn time_out_transactions(&mut self) {
        let groups = &self.groups;
        self.transactions.retain(|_, open| {
            let group = groups.get(&open.group);
            let is_served = group.is_some_and(|group| {
                group.members.contains_key(&open.member) && !group.expelled.contains(&open.member)
            });
            is_served && !open.is_abandoned
        });
    }

    /// Metadata of a committed offset, empty when there is none; `None` while an open transaction is about to change it.
    pub fn committed_metadata(&self, group: &str, partition: Partition) -> Option<String> {
        let is_pending = self
            .transactions
            .values()
            .any(|open| open.group == group && open.offsets.iter().any(|(pending, _, _)| *pending == partition));
        let known = self.groups.get(group).and_then(|group| group.offsets.get(&partition));
        (!is_pending).then(|| known.map(|(_, metadata)| metadata.clone()).unwrap_or_default())
    }

    /// What a read_committed reader has seen published.
    pub fn outputs(&self) -> &[Output] {
        &self.outputs
    }
}
