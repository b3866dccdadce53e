//! The source database with its log, and the connector that sends the log to the broker: sometimes a part of it twice.
//!
//! It is also the naive model: its rows are what the target must have in the end, and `timeline` is what a reader may see on the way.

use std::collections::BTreeMap;

use topology::data::Value;
use topology::driver::{Broker, Partition, Seed, TestRecord};
use topology::record::{Operation, Position};

pub(crate) const USERS: usize = 0;
pub(crate) const PARENTS: usize = 1;
pub(crate) const CHILDREN: usize = 2;
/// Text that the topology's map step refuses.
pub(crate) const BAD_FOR_MAP: &str = "bad for the map";
/// Text that the target refuses.
pub(crate) const BAD_FOR_TARGET: &str = "bad for the target";
/// The site whose writes are echoes here.
pub(crate) const TARGET_SITE: &str = "target";

/// Keys that users move between.
const KEYS: i64 = 6;
/// From here on keys are of one change alone.
const FIRST_OWN_KEY: i64 = 1000;

/// A row of users. `row` names it for ever, also when its key changes; `version` counts changes of the whole database.
#[derive(Clone, Debug, PartialEq)]
pub(crate) struct User {
    pub(crate) row: i64,
    pub(crate) version: i64,
    pub(crate) name: String,
    pub(crate) blob: String,
}

impl User {
    pub(crate) fn values(&self, id: i64) -> Vec<Value> {
        vec![
            Value::I64(id),
            Value::I64(self.row),
            Value::I64(self.version),
            self.name.as_str().into(),
            self.blob.as_str().into(),
        ]
    }
}

/// What must become of a record.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Fate {
    /// Applied, and one history row.
    Applied,
    /// Dropped: an echo, a tombstone, a repeat.
    Dropped,
    /// Kept as dead by every direction.
    Dead,
    /// Kept as dead by the mirror; the history takes it.
    DeadInMirror,
}

struct Event {
    partition: Partition,
    record: TestRecord,
    fate: Fate,
    text: String,
}

/// A record in the broker, as the judge must know it.
pub(crate) struct Sent {
    pub(crate) partition: Partition,
    pub(crate) offset: i64,
    pub(crate) fate: Fate,
    pub(crate) text: String,
}

pub(crate) struct Source {
    partitions: Vec<i32>,
    pub(crate) users: BTreeMap<i64, User>,
    pub(crate) parents: BTreeMap<i64, i64>,
    pub(crate) children: BTreeMap<i64, (i64, i64)>,
    /// Per key of users: its states in order, from the empty start.
    pub(crate) timeline: BTreeMap<i64, Vec<Option<User>>>,
    log: Vec<Event>,
    /// Next event to send.
    next: usize,
    /// Events sent at least once.
    sent: usize,
    /// The connector never goes back before this: the log began anew here.
    log_start: usize,
    version: i64,
    place: u64,
    /// Records sent so far; the time of the next one.
    sends: i64,
    /// Schema id of users' keys.
    key_schema: u32,
    time_us: i64,
    latest_us: i64,
    has_late_clocks: bool,
}

impl Source {
    pub(crate) fn new(partitions: Vec<i32>, seed: &mut Seed) -> Source {
        Source {
            partitions,
            users: BTreeMap::new(),
            parents: BTreeMap::new(),
            children: BTreeMap::new(),
            timeline: BTreeMap::new(),
            log: Vec::new(),
            next: 0,
            sent: 0,
            log_start: 0,
            version: 0,
            place: 1000,
            sends: 0,
            key_schema: 1,
            time_us: 1_000_000,
            latest_us: 0,
            has_late_clocks: seed.chance(50),
        }
    }

    pub(crate) fn has_unsent(&self) -> bool {
        self.next < self.log.len()
    }

    /// The next place in the log, as an empty record.
    fn record(&mut self, seed: &mut Seed, operation: Operation, key: i64) -> TestRecord {
        self.version += 1;
        self.place += 1 + seed.below(3) as u64;
        self.time_us += 1000;
        // A long transaction carries the time of its start, also behind younger ones.
        let late = if self.has_late_clocks && seed.chance(20) { 1000 * seed.below(8) as i64 } else { 0 };
        self.latest_us = self.latest_us.max(self.time_us - late);
        TestRecord {
            operation,
            key: vec![Value::I64(key)],
            identity: 1 + u64::from(seed.chance(10)),
            position: Some(Position(1, self.place, 0)),
            committed_at_us: self.time_us - late,
            origin: if seed.chance(5) { "elsewhere".to_owned() } else { String::new() },
            schema: u32::from(seed.chance(5)),
            ..TestRecord::default()
        }
    }

    fn push(&mut self, topic: usize, mut record: TestRecord, fate: Fate) {
        let Value::I64(key) = record.key[0] else { unreachable!("keys are numbers") };
        // The serialized key decides the partition, its schema id included.
        let place = if topic == USERS { key + i64::from(self.key_schema) } else { key };
        record.key_schema = (topic == USERS).then_some(self.key_schema);
        let partition = (topic, (place % i64::from(self.partitions[topic])) as i32);
        let text = describe(topic, &record);
        let is_delete = record.operation == Operation::Delete;
        let key_schema = record.key_schema;
        let tombstone = TestRecord { key: record.key.clone(), tombstone: true, key_schema, ..TestRecord::default() };
        self.log.push(Event { partition, record, fate, text });
        if is_delete {
            let text = "tombstone".to_owned();
            self.log.push(Event { partition, record: tombstone, fate: Fate::Dropped, text });
        }
    }

    /// Keys of users that all kinds of changes share.
    fn moving(&self) -> impl Iterator<Item = &i64> {
        self.users.keys().filter(|key| **key < FIRST_OWN_KEY)
    }

    fn see(&mut self, key: i64) {
        let state = self.users.get(&key).cloned();
        self.timeline.entry(key).or_insert_with(|| vec![None]).push(state);
    }

    /// One transaction of an application.
    pub(crate) fn change(&mut self, seed: &mut Seed) {
        match seed.below(100) {
            0..50 => self.change_user(seed),
            50..68 => self.change_key(seed),
            68..76 => self.change_family(seed),
            76..80 => self.read_snapshot(seed),
            80..86 => self.echo(seed),
            86..90 => self.bad(seed),
            90 => self.bad_in_a_queue(seed),
            _ => self.delete_user(seed),
        }
    }

    fn change_user(&mut self, seed: &mut Seed) {
        let key = seed.below(KEYS as usize) as i64;
        let present = self.users.get(&key).cloned();
        let operation = if present.is_some() { Operation::Update } else { Operation::Create };
        let mut record = self.record(seed, operation, key);
        let is_partial = present.is_some() && seed.chance(40);
        let name = format!("n{}", self.version);
        let user = match present {
            Some(user) if is_partial => User { version: self.version, name, ..user },
            Some(user) => User { version: self.version, name, blob: format!("b{}", self.version), ..user },
            None => User { row: self.version, version: self.version, name, blob: format!("b{}", self.version) },
        };
        let mut after = user.values(key);
        if is_partial {
            after[4] = Value::Unavailable;
        }
        record.after = Some(after);
        self.users.insert(key, user);
        self.see(key);
        self.push(USERS, record, Fate::Applied);
    }

    fn delete_user(&mut self, seed: &mut Seed) {
        let Some(key) = pick(seed, self.moving()) else { return self.change_user(seed) };
        let mut record = self.record(seed, Operation::Delete, key);
        record.before = self.users.remove(&key).map(|user| user.values(key));
        self.see(key);
        self.push(USERS, record, Fate::Applied);
    }

    fn change_key(&mut self, seed: &mut Seed) {
        let free: Vec<i64> = (0..KEYS).filter(|key| !self.users.contains_key(key)).collect();
        let (Some(old), Some(new)) = (pick(seed, self.moving()), pick(seed, free.iter())) else {
            return self.change_user(seed);
        };
        self.move_key(seed, old, new);
    }

    fn move_key(&mut self, seed: &mut Seed, old: i64, new: i64) {
        let mut gone = self.record(seed, Operation::Delete, old);
        let before = self.users.remove(&old).expect("picked among them");
        let is_partial = seed.chance(20);
        let user = User { version: self.version, name: format!("n{}", self.version), ..before.clone() };
        let mut come = gone.clone();
        (come.operation, come.key) = (Operation::Create, vec![Value::I64(new)]);
        come.old_key = Some(vec![Value::I64(old)]);
        let mut after = user.values(new);
        if is_partial {
            after[4] = Value::Unavailable;
        }
        come.after = Some(after);
        gone.new_key = Some(vec![Value::I64(new)]);
        gone.before = Some(before.values(old));
        self.users.insert(new, user);
        self.see(old);
        self.see(new);
        self.push(USERS, gone, Fate::Applied);
        self.push(USERS, come, Fate::Applied);
    }

    /// Parents and their children, on topics of their own: a child may be read long before its parent.
    fn change_family(&mut self, seed: &mut Seed) {
        if self.parents.is_empty() || seed.chance(30) {
            let key = self.parents.len() as i64;
            let mut record = self.record(seed, Operation::Create, key);
            record.after = Some(vec![Value::I64(key), Value::I64(self.version)]);
            self.parents.insert(key, self.version);
            return self.push(PARENTS, record, Fate::Applied);
        }
        let key = seed.below(3) as i64;
        let parent = pick(seed, self.parents.keys()).expect("there is one");
        let mut record = self.record(seed, Operation::Update, key);
        if self.children.contains_key(&key) && seed.chance(30) {
            record.operation = Operation::Delete;
            self.children.remove(&key);
        } else {
            record.after = Some(vec![Value::I64(key), Value::I64(self.version), Value::I64(parent)]);
            self.children.insert(key, (self.version, parent));
        }
        self.push(CHILDREN, record, Fate::Applied);
    }

    /// An incremental snapshot reads one present row.
    fn read_snapshot(&mut self, seed: &mut Seed) {
        let Some(key) = pick(seed, self.moving()) else { return self.change_user(seed) };
        let mut record = self.record(seed, Operation::Read, key);
        record.snapshot = true;
        record.origin.clear();
        record.after = Some(self.users[&key].values(key));
        self.push(USERS, record, Fate::Applied);
    }

    /// The engine's own write from the other side, tagged: never applied.
    fn echo(&mut self, seed: &mut Seed) {
        let key = 100 + seed.below(3) as i64;
        let mut record = self.record(seed, Operation::Update, key);
        record.origin = TARGET_SITE.to_owned();
        let user = User { row: -1, version: self.version, name: "echo".to_owned(), blob: String::new() };
        record.after = Some(user.values(key));
        self.push(USERS, record, Fate::Dropped);
    }

    /// A row that can never be written.
    fn bad(&mut self, seed: &mut Seed) {
        let key = 200 + seed.below(3) as i64;
        let (name, fate) =
            if seed.chance(50) { (BAD_FOR_MAP, Fate::Dead) } else { (BAD_FOR_TARGET, Fate::DeadInMirror) };
        let mut record = self.record(seed, Operation::Update, key);
        let user = User { row: -1, version: self.version, name: name.to_owned(), blob: String::new() };
        record.after = Some(user.values(key));
        self.push(USERS, record, fate);
    }

    /// A row that can never be written, behind one that comes by a key change: where that one waits, it dies when it is tried again.
    fn bad_in_a_queue(&mut self, seed: &mut Seed) {
        // Keys that nothing else has: a later change of the key could swallow the bad row in a batch.
        let old = 2 * FIRST_OWN_KEY + 4 * self.version;
        let new = old + 1 + seed.below(3) as i64;
        let mut record = self.record(seed, Operation::Create, old);
        let name = format!("n{}", self.version);
        let user = User { row: self.version, version: self.version, name, blob: format!("b{}", self.version) };
        record.after = Some(user.values(old));
        self.users.insert(old, user);
        self.see(old);
        self.push(USERS, record, Fate::Applied);
        self.move_key(seed, old, new);
        let mut record = self.record(seed, Operation::Update, new);
        let user = User { row: -1, version: self.version, name: BAD_FOR_TARGET.to_owned(), blob: String::new() };
        record.after = Some(user.values(new));
        self.push(USERS, record, Fate::DeadInMirror);
    }

    /// The source's log begins anew (`RESET BINARY LOGS AND GTIDS`, a promoted replica).
    pub(crate) fn reset_log(&mut self) {
        if self.has_unsent() {
            return;
        }
        self.log_start = self.log.len();
        self.place = 1;
        // Rule D3 tells a new log from a repeat by its later time.
        self.time_us = self.latest_us.max(self.time_us) + 20_000;
    }

    /// The topic of users gets twice as many partitions. What the connector sends again from before would go elsewhere than it went; that is
    /// a limit of dedupe by position, so it does not happen here.
    pub(crate) fn grow(&mut self, broker: &mut Broker) -> bool {
        if self.has_unsent() || self.partitions[USERS] > 3 {
            return false;
        }
        self.log_start = self.log.len();
        self.partitions[USERS] *= 2;
        broker.grow(USERS, self.partitions[USERS] as usize);
        true
    }

    /// The keys of users get another schema id, never one that they had before: a partition that got no record in between could not tell.
    pub(crate) fn change_key_schema(&mut self) -> bool {
        if self.has_unsent() {
            return false;
        }
        self.log_start = self.log.len();
        self.key_schema += 1;
        true
    }

    /// The connector restarts and goes back by some events.
    pub(crate) fn restart_connector(&mut self, seed: &mut Seed) -> usize {
        let back = seed.below(8).min(self.next - self.log_start);
        self.next -= back;
        back
    }

    /// The connector sends its next event.
    pub(crate) fn send(&mut self, broker: &mut Broker) -> Option<Sent> {
        loop {
            let at = self.next;
            let event = self.log.get(at)?;
            self.next += 1;
            let is_first = at == self.sent;
            self.sent = self.sent.max(at + 1);
            // A restarted snapshot reads anew; it does not repeat what it read.
            if !is_first && event.record.snapshot {
                continue;
            }
            let mut bytes = event.record.encode();
            // Kafka's time is when the connector sends, not when the transaction began: it does not go back.
            self.sends += 1;
            bytes.timestamp_ms = self.sends;
            let offset = broker.produce(event.partition, bytes);
            let fate = if is_first { event.fate } else { Fate::Dropped };
            let again = if is_first { "" } else { " again" };
            return Some(Sent { partition: event.partition, offset, fate, text: format!("{}{again}", event.text) });
        }
    }
}

fn pick<'a>(seed: &mut Seed, from: impl Iterator<Item = &'a i64>) -> Option<i64> {
    let all: Vec<i64> = from.copied().collect();
    (!all.is_empty()).then(|| all[seed.below(all.len())])
}

fn describe(topic: usize, record: &TestRecord) -> String {
    let table = ["users", "parents", "children"][topic];
    let key = |key: &Option<Vec<Value>>| key.as_ref().map(|key| show(key));
    let other = match (key(&record.new_key), key(&record.old_key)) {
        (Some(new), _) => format!(" →{new}"),
        (_, Some(old)) => format!(" ←{old}"),
        _ => String::new(),
    };
    let row = record.after.as_ref().map(|row| format!(" ({})", show(row))).unwrap_or_default();
    let place = record.position.map_or(0, |position| position.1);
    let origin = if record.origin.is_empty() { String::new() } else { format!(" of {}", record.origin) };
    format!(
        "{} {table} {}{other}{row} @{place}/{} t{}{origin}",
        record.operation.letter(),
        show(&record.key),
        record.identity,
        record.committed_at_us / 1000
    )
}

/// Values in few letters.
pub(crate) fn show(row: &[Value]) -> String {
    let cells = row.iter().map(|value| match value {
        Value::I64(number) => number.to_string(),
        Value::Text(text) => text.clone(),
        Value::Unavailable => "?".to_owned(),
        other => format!("{other:?}"),
    });
    cells.collect::<Vec<_>>().join(" ")
}
