//! What goes out about the lane's place in the log: the group's advisory offsets and the lag; and what librdkafka's statistics say of
//! partitions that it fetches no more.

use std::collections::HashSet;
use std::time::Instant;

use rdkafka::consumer::{CommitMode, Consumer};
use rdkafka::topic_partition_list::{Offset, TopicPartitionList};
use topology::{Error, ErrorKind, Stage};

use super::context::PartitionEnd;
use super::poll::PollLoop;

/// A partition that stands still in so many statistics of librdkafka, one per second, stands still for good.
const STALLED_MAX: u32 = 30;

impl PollLoop<'_> {
    /// Advisory group offsets and lag.
    pub(super) fn tell(&mut self, mode: CommitMode) {
        self.told_at = Instant::now();
        let mut list = TopicPartitionList::new();
        // Where outputs are published only the emitter commits offsets: a plain commit would overwrite what is published (rule O2).
        for place in self.owned.iter().filter(|_| self.publishing.is_none()) {
            let Some(next_offset) = self.lane.committed(place.0, place.1) else { continue };
            if self.told.insert(*place, next_offset) != Some(next_offset) {
                let _ = list.add_partition_offset(&self.topics[place.0], place.1, Offset::Offset(next_offset));
            }
        }
        if list.count() > 0 {
            topology::crash::point("before_group_offsets");
            if let Err(error) = self.consumer.commit(&list, mode) {
                tracing::debug!(%error, "cannot commit advisory group offsets");
            }
            topology::crash::point("after_group_offsets");
        }
        let running: HashSet<(usize, i32)> = self.lane.running().collect();
        for PartitionEnd { topic, partition, end, is_fetched, is_drained } in self.consumer.context().take_ends() {
            let Some(index) = self.topic_index.get(&topic).copied() else { continue };
            let place = (index, partition);
            self.note_stall(place, is_fetched || !running.contains(&place));
            if end < 0 {
                continue;
            }
            if let Some(next_offset) = self.lane.committed(index, partition) {
                let is_done =
                    is_drained && self.lane.is_settled(index, partition) && !self.seeking.contains_key(&place);
                let records = if is_done { 0 } else { (end - next_offset).max(0) };
                self.observer.lag(&topic, partition, records);
            }
        }
    }

    /// librdkafka says once that it fetches a partition no more because its offset is not in the log (rule L7). If that word is lost, as when the
    /// partition is paused at that moment, it would stand still for ever.
    fn note_stall(&mut self, place: (usize, i32), is_well: bool) {
        // Also where it is to be sought: librdkafka refuses that then, too.
        if is_well || !self.fetched.contains(&place) || self.checking.contains_key(&place) {
            self.stalled.remove(&place);
            return;
        }
        let times = self.stalled.entry(place).or_default();
        *times += 1;
        if *times >= STALLED_MAX {
            let detail = format!("{} partition {} is not fetched", self.topics[place.0], place.1);
            self.broken = Some(Error::new(ErrorKind::Environment, Stage::Consume, "consumer stands still", detail));
        }
    }
}
