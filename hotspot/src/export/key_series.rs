//! Counts accesses per tracked key, and all others in one counter.

use ahash::AHashMap;
use arc_swap::ArcSwap;
use parking_lot::Mutex;
use prometheus::{IntCounter, IntCounterVec};
use protocol::Key;
use std::sync::Arc;
use std::time::Duration;

use crate::promotion::{Change, Promotion};

/// Counts every access exactly once: in its key's series if the key is promoted, else in the untracked counter.
///
/// The series is `family{<labels>,key}` and starts at 0 when its key is promoted. [`Promotion`] documents when keys
/// are promoted and removed.
pub struct KeySeries {
    family: IntCounterVec,
    /// Label values before the `key` label.
    labels: Vec<String>,
    untracked: IntCounter,
    tracked: ArcSwap<AHashMap<Key, IntCounter>>,
    promotion: Mutex<Promotion<Key>>,
}

impl KeySeries {
    /// Counts into `family`. Its last label is `key`; the labels before it have the values `labels`.
    #[must_use]
    pub fn new(family: IntCounterVec, labels: &[&str], untracked: IntCounter) -> Self {
        Self {
            family,
            labels: labels.iter().map(ToString::to_string).collect(),
            untracked,
            tracked: ArcSwap::default(),
            promotion: Mutex::default(),
        }
    }

    /// Counts one access.
    pub fn count(&self, key: &Key) {
        self.count_by(key, 1);
    }

    /// Counts `n` accesses.
    pub fn count_by(&self, key: &Key, n: u64) {
        match self.tracked.load().get(key) {
            Some(series) => series.inc_by(n),
            None => self.untracked.inc_by(n),
        }
    }

    /// Counts a request that was refused before its key was read.
    pub fn count_unknown(&self) {
        self.untracked.inc();
    }

    /// Promotes, retires and removes series by the largest keys `top` (largest first) at `now`, a duration since a
    /// fixed start.
    pub fn update(&self, top: &[(Key, u64)], now: Duration) {
        let mut promotion = self.promotion.lock();
        let changes = promotion.update(top, now);
        if changes.is_empty() {
            return;
        }
        let mut tracked = AHashMap::clone(&self.tracked.load());
        for change in changes {
            match change {
                Change::Promote(key) => {
                    if let Ok(series) = self.family.get_metric_with_label_values(&self.values(&key)) {
                        tracked.insert(key, series);
                    }
                }
                Change::Retire(key) => {
                    tracked.remove(&key);
                }
                Change::Remove(key) => {
                    // Fails only if the series was removed elsewhere.
                    let _ = self.family.remove_label_values(&self.values(&key));
                }
            }
        }
        self.tracked.store(Arc::new(tracked));
    }

    fn values<'a>(&'a self, key: &'a Key) -> Vec<&'a str> {
        self.labels.iter().map(String::as_str).chain([key.as_str()]).collect()
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use prometheus::{Opts, Registry, TextEncoder};
    use std::collections::HashMap;

    fn key(n: u32) -> Key {
        Key::new(&format!("key-{n}")).unwrap()
    }

    #[test]
    fn the_sum_of_increases_is_the_number_of_accesses_through_promotions() {
        let registry = Registry::new();
        let family = IntCounterVec::new(Opts::new("access_total", "h"), &["shard_id", "key"]).unwrap();
        let untracked = IntCounter::new("untracked_total", "h").unwrap();
        registry.register(Box::new(family.clone())).unwrap();
        registry.register(Box::new(untracked.clone())).unwrap();
        let series = KeySeries::new(family, &["3"], untracked.clone());
        let mut last: HashMap<String, f64> = HashMap::new();
        let (mut increase, mut accesses, mut most_series) = (0.0, 0u64, 0);
        for second in 0..1_200u32 {
            // The hot set changes every 50 s and returns to the first set after the fourth.
            let hot: Vec<_> = (0..25).map(|i| (key(second / 50 % 4 * 100 + i), 1_000)).collect();
            for (k, _) in &hot {
                series.count_by(k, u64::from(second % 7 + 1));
                accesses += u64::from(second % 7 + 1);
            }
            series.update(&hot, Duration::from_secs(u64::from(second)));
            // A scrape every 15 s, and one at the end.
            if second % 15 == 0 || second == 1_199 {
                let mut now = HashMap::new();
                let text = TextEncoder::new().encode_to_string(&registry.gather()).unwrap();
                for line in text.lines().filter(|line| !line.starts_with('#')) {
                    let (name, value) = line.rsplit_once(' ').unwrap();
                    now.insert(name.to_owned(), value.parse::<f64>().unwrap());
                }
                most_series = most_series.max(now.len() - 1);
                for (name, value) in &now {
                    let before = last.get(name).copied().unwrap_or(0.0);
                    assert!(*value >= before, "{name} fell from {before} to {value}");
                    increase += value - before;
                }
                last = now;
            }
        }
        assert_eq!(increase, accesses as f64);
        assert!(most_series <= 20 && most_series > 10, "{most_series}");
        assert!(
            last.keys().all(|name| name.contains("shard_id=\"3\"") || name.contains("untracked")),
            "{last:?}"
        );
    }
}
