//! Adds up the largest keys of one shard, in bounded memory.

use std::collections::HashMap;
use std::time::Duration;

use ahash::RandomState;
use indexmap::IndexMap;
use protocol::probe_api::NodeKeys;
use smol_str::SmolStr;

use crate::signal::key_table::KeyTable;

/// Maximum number of keys of one shard.
pub(crate) const CAPACITY: usize = 256;

/// How long a key is remembered that a probe no longer lists. If it is listed again later, its growth is unknown, so that
/// the growth of a long time does not count as that of one second.
const REMEMBERED: Duration = Duration::from_secs(10);

/// The keys of one probe's last reports.
#[derive(Debug, Default)]
pub(super) struct ListedKeys {
    /// Reads of each key, and when it was listed last.
    keys: HashMap<SmolStr, (u64, Duration), RandomState>,
    /// Whether a key that is not in the last report may have been read.
    is_partial: bool,
}

/// The sums of one shard.
#[derive(Clone, Debug, Default)]
pub(crate) struct MergedKeys {
    sums: IndexMap<SmolStr, Sum, RandomState>,
    /// Keys that were dropped for others.
    evictions: u64,
    /// Whether a key may have been read and was not listed.
    is_partial: bool,
}

#[derive(Clone, Copy, Debug, Default)]
struct Sum {
    requests: u64,
    /// Maximum number of further reads.
    error: u64,
    listed: Duration,
}

/// The growth of one listed key.
#[derive(Debug)]
pub(super) struct KeyGrowth {
    key: SmolStr,
    /// `None` if it is unknown.
    reads: Option<u64>,
    /// Maximum number of further reads.
    error: u64,
}

impl ListedKeys {
    /// Replaces what is remembered, and returns the growth of each key.
    pub(super) fn take(&mut self, now: Duration, list: &NodeKeys) -> Vec<KeyGrowth> {
        let mut growths = Vec::with_capacity(list.keys.len());
        for (key, requests, error) in &list.keys {
            let key = SmolStr::new(key);
            let (reads, error) = match self.keys.insert(key.clone(), (*requests, now)) {
                Some((before, _)) if before <= *requests => (Some(requests - before), 0),
                None if self.is_partial => (None, requests.saturating_add(*error)),
                // It is new, or it was evicted and came back.
                _ => (Some(*requests), *error),
            };
            growths.push(KeyGrowth { key, reads, error });
        }
        self.is_partial = !list.complete;
        self.keys.retain(|_, (_, listed)| now.saturating_sub(*listed) <= REMEMBERED);
        growths
    }

    /// Remembers a first report, without growth.
    pub(super) fn begin(now: Duration, list: &NodeKeys) -> Self {
        let mut listed = Self::default();
        listed.take(now, list);
        listed
    }
}

impl MergedKeys {
    /// Adds the growth that a probe reports. `reads` are all reads of the shard until now, and `others` those of them
    /// that other probes have counted.
    pub(super) fn add(&mut self, now: Duration, growths: Vec<KeyGrowth>, reads: u64, others: u64) {
        let earlier = match (self.evictions, self.is_partial) {
            (0, false) => 0,
            (0, true) => others,
            _ => reads,
        };
        for KeyGrowth { key, reads: grown, error } in growths {
            let sum = self.sums.entry(key).or_insert(Sum { error: earlier, ..Sum::default() });
            sum.requests = sum.requests.saturating_add(grown.unwrap_or(0));
            sum.error = sum.error.saturating_add(error).min(reads.saturating_sub(sum.requests));
            sum.listed = now;
        }
        self.shrink();
    }

    /// Notes whether a list has all keys.
    pub(super) const fn listed(&mut self, list: &NodeKeys) {
        self.is_partial |= !list.complete;
    }

    /// Lists the keys of a first report, which adds nothing. `reads` are all reads of the shard until now.
    pub(super) fn begin(&mut self, now: Duration, list: &NodeKeys, reads: u64) {
        for (key, _, _) in &list.keys {
            let earlier = if self.evictions == 0 && !self.is_partial { 0 } else { reads };
            let sum = self.sums.entry(key.into()).or_insert(Sum { error: earlier, ..Sum::default() });
            sum.listed = now;
        }
        self.shrink();
    }

    /// Drops the keys that were not listed for longest, and of them the smallest.
    fn shrink(&mut self) {
        while self.sums.len() > CAPACITY {
            let oldest = self.sums.iter().enumerate().min_by_key(|(_, (_, sum))| (sum.listed, sum.requests));
            let Some(at) = oldest.map(|(at, _)| at) else { return };
            self.sums.swap_remove_index(at);
            self.evictions += 1;
        }
    }

    /// The sums in the form of the kernel's table.
    pub(crate) fn table(&self) -> KeyTable {
        let mut table = KeyTable::with_capacity(self.sums.len());
        for (key, sum) in &self.sums {
            table.add(key.clone(), sum.requests, sum.error);
        }
        table.evictions = self.evictions;
        table
    }
}
