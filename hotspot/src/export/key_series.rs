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
