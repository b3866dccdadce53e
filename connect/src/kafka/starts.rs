//! Where partitions begin: questions to the brokers, and whether a log is still the one that the ledger knows (rules L5 to L7).

use std::time::{Duration, Instant};

use rdkafka::consumer::Consumer;
use rdkafka::topic_partition_list::{Offset, TopicPartitionList};
use topology::lane::StartAt;
use topology::{Error, ErrorKind, Stage};

use super::facts::{About, Answer, Log, Question, Tail};
use super::poll::PollLoop;

/// How long an offset beyond the end may be an effect of a leader election (rule L7).
const BEYOND_END_GRACE: Duration = Duration::from_secs(30);

impl PollLoop<'_> {
    pub(super) fn start(&mut self, start: StartAt) {
        let place = (start.topic, start.partition);
        if !self.owned.contains(&place) {
            return;
        }
        if self.fetched.contains(&place) {
            // A rewind: the log was checked when the partition was first fetched.
            self.seeking.insert(place, start.offset);
        } else if start.tail_hash == 0
            && self.checking.get(&place).is_some_and(|(known, _)| known.offset == start.offset)
        {
            // A rewind while the log is looked at: the question that is under way knows the tail, and this does not.
        } else {
            self.checking.insert(place, (start, None));
            self.check_log(&start);
        }
    }

    pub(super) fn ask(&self, topic: usize, partition: i32, about: About) {
        self.facts.ask(Question { topic: self.topics[topic].clone(), partition, about });
    }

    /// Rule L7: is the log still the one that the ledger knows?
    fn check_log(&self, start: &StartAt) {
        self.ask(start.topic, start.partition, About::Log { tail_offset: tail_of(start) });
    }

    pub(super) fn answered(&mut self, question: &Question, answer: Answer) {
        let Some(topic) = self.topic_index.get(&question.topic).copied() else { return };
        let place = (topic, question.partition);
        match answer {
            Answer::Start(facts) => {
                if self.resolving.remove(&place) {
                    self.lane.start_facts(topic, question.partition, facts);
                }
            }
            Answer::Ends(ends) => self.lane.topic_ends(topic, question.partition, ends),
            Answer::Log(log) => {
                let Some((start, beyond_since)) = self.checking.get(&place).copied() else { return };
                if !matches!(question.about, About::Log { tail_offset } if tail_offset == tail_of(&start)) {
                    // About another start: the partition was somewhere else meanwhile. That of this one is asked too.
                    return;
                }
                match log {
                    None => self.check_log(&start),
                    Some(log) => self.log_checked(place, &start, beyond_since, log),
                }
            }
        }
    }

    fn log_checked(&mut self, place: (usize, i32), start: &StartAt, beyond_since: Option<Instant>, log: Log) {
        if start.offset < log.low {
            return self.log_differs(place, "records are lost by retention", start, log);
        }
        if start.offset > log.high {
            let since = *self.checking.get_mut(&place).expect("just read").1.get_or_insert_with(Instant::now);
            if beyond_since.is_some() && since.elapsed() > BEYOND_END_GRACE {
                self.log_differs(place, "topic was created anew or cut", start, log);
            } else {
                self.check_log(start);
            }
            return;
        }
        match log.tail {
            Tail::Hash(hash) if hash != start.tail_hash => {
                return self.log_differs(place, "the record before is another one: topic was created anew", start, log);
            }
            Tail::Compacted => tracing::warn!(
                topic = self.topics[place.0],
                partition = place.1,
                offset = start.offset - 1,
                "the record before the start is compacted away: cannot tell whether the topic was created anew"
            ),
            Tail::Hash(_) | Tail::Unknown => {}
        }
        self.checking.remove(&place);
        // What was to be sought back was so in another life of the partition.
        self.seeking.remove(&place);
        let mut list = TopicPartitionList::new();
        let added = list.add_partition_offset(&self.topics[place.0], place.1, Offset::Offset(start.offset));
        match added.and_then(|()| self.consumer.incremental_assign(&list)) {
            Ok(()) => {
                self.fetched.insert(place);
                // librdkafka remembers through a rebalance that we had paused it; nobody else would resume it.
                self.set_paused(&[place], self.paused_for_writer);
            }
            Err(error) => tracing::warn!(%error, "cannot fetch partition; the group will rebalance"),
        }
    }

    /// Rule L7: the ledger's offset is not in the log. Nothing is skipped; a person decides.
    fn log_differs(&mut self, place: (usize, i32), description: &'static str, start: &StartAt, log: Log) {
        self.checking.remove(&place);
        let detail = format!(
            "topic {} partition {}: the ledger says {}, the log holds {} to {}; restore the topic, or decide with run --start-from",
            self.topics[place.0], place.1, start.offset, log.low, log.high
        );
        let error = Error::new(ErrorKind::Environment, Stage::Consume, description, detail);
        tracing::error!(lane = %self.setup.name, %error, "the log is not the one that the ledger knows");
        self.lane.log_differs(place.0, place.1, error);
    }
}

/// The record before a start, if it is known what it was.
fn tail_of(start: &StartAt) -> Option<i64> {
    (start.tail_hash != 0).then_some(start.offset - 1)
}
