//! Metrics of the signal `keys`: a series for each of the few hottest keys, and one for all other reads.

use std::collections::{BTreeMap, HashMap};
use std::time::Instant;

use parking_lot::Mutex;
use prometheus::IntCounterVec;
use protocol::Key;
use service::key_series::KeySeries;
use service::metrics::Metrics;

use super::keys::KeyTable;

/// The two families.
pub struct KeyMetrics {
    tracked: IntCounterVec,
    untracked: IntCounterVec,
    shards: Mutex<BTreeMap<u32, Shard>>,
    start: Instant,
}

/// What was last seen of a shard.
struct Shard {
    series: KeySeries,
    counts: HashMap<String, u64>,
    reads: u64,
}

impl KeyMetrics {
    /// Registers both.
    ///
    /// # Errors
    /// When a name is taken.
    pub fn register(metrics: &Metrics) -> Result<Self, prometheus::Error> {
        Ok(Self {
            tracked: metrics.counters(
                "kernel_shard_key_requests_total",
                "Reads of the key that reached the shard's socket since the key became one of the hottest.",
                &["shard_id", "key"],
            )?,
            untracked: metrics.counters(
                "kernel_shard_key_requests_untracked_total",
                "Reads that reached the shard's socket and are in no key's series.",
                &["shard_id"],
            )?,
            shards: Mutex::default(),
            start: Instant::now(),
        })
    }

    /// A shard's table has been read, and after it the count of all its reads.
    pub fn counted(&self, shard: u32, table: &KeyTable, reads: u64) {
        let id = shard.to_string();
        let mut shards = self.shards.lock();
        let untracked = self.untracked.with_label_values(&[&id]);
        let seen = shards.entry(shard).or_insert_with(|| Shard {
            series: KeySeries::new(self.tracked.clone(), &[&id], untracked.clone()),
            counts: HashMap::new(),
            reads: 0,
        });
        let mut new: Vec<(Key, u64)> = Vec::new();
        for key in &table.keys {
            let before = seen.counts.get(&key.key).copied().unwrap_or_default();
            // One that left the table and came back has begun anew.
            let more = key.requests.checked_sub(before).unwrap_or(key.requests);
            if let Some(name) = Key::new(&key.key).ok().filter(|_| more > 0) {
                new.push((name, more));
            }
        }
        new.sort_unstable_by(|a, b| b.1.cmp(&a.1).then_with(|| a.0.cmp(&b.0)));
        seen.series.update(&new, self.start.elapsed());
        let mut known = 0;
        for (key, more) in &new {
            seen.series.count_by(key, *more);
            known += more;
        }
        untracked.inc_by(reads.saturating_sub(seen.reads).saturating_sub(known));
        seen.counts = table.keys.iter().map(|key| (key.key.clone(), key.requests)).collect();
        seen.reads = reads;
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::signal::keys::KernelKey;

    fn table(keys: &[(&str, u64)]) -> KeyTable {
        let keys = keys.iter().map(|(key, requests)| KernelKey {
            key: (*key).to_owned(),
            requests: *requests,
            error: 0,
        });
        KeyTable { keys: keys.collect(), ..KeyTable::default() }
    }

    #[test]
    fn series_and_remainder_add_up_to_all_reads() {
        let metrics = Metrics::default();
        let keys = KeyMetrics::register(&metrics).unwrap();
        keys.counted(3, &table(&[("hot", 100), ("cold", 2)]), 110);
        // `cold` left the table and came back; `hot` went on; 5 reads were of keys that are gone again.
        keys.counted(3, &table(&[("hot", 160), ("cold", 1)]), 176);
        let text = metrics.encode().unwrap();
        assert!(text.contains("kernel_shard_key_requests_total{key=\"hot\",shard_id=\"3\"} 160"), "{text}");
        assert!(text.contains("kernel_shard_key_requests_untracked_total{shard_id=\"3\"} 16"), "{text}");
        assert!(!text.contains("cold"), "{text}");
    }
}
