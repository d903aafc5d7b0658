//! Counts accesses per tracked key, and all others in one counter.

use arc_swap::{ArcSwap, Guard};
use hashbrown::HashTable;
use parking_lot::Mutex;
use prometheus::{IntCounter, IntCounterVec};
use protocol::Key;
use std::sync::Arc;
use std::time::Duration;

use crate::hash::hash_of;
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
    tracked: ArcSwap<HashTable<Tracked>>,
    promotion: Mutex<Promotion<Key>>,
}

/// A key with a series.
#[derive(Clone)]
struct Tracked {
    hash: u64,
    key: Key,
    series: IntCounter,
}

/// Counts accesses into the series that there are now. Hold it for one batch only.
pub struct Counting<'a> {
    tracked: Guard<Arc<HashTable<Tracked>>>,
    untracked: &'a IntCounter,
}

impl Counting<'_> {
    /// Counts `n` accesses of a key with this [`hash_of`].
    pub fn count(&self, hash: u64, key: &Key, n: u64) {
        match self.tracked.find(hash, |tracked| tracked.key == *key) {
            Some(tracked) => tracked.series.inc_by(n),
            None => self.untracked.inc_by(n),
        }
    }
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
        self.counting().count(hash_of(key), key, 1);
    }

    /// Counts accesses of several keys.
    pub fn counting(&self) -> Counting<'_> {
        Counting { tracked: self.tracked.load(), untracked: &self.untracked }
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
        let mut tracked = HashTable::clone(&self.tracked.load());
        for change in changes {
            match change {
                Change::Promote(key) => {
                    if let Ok(series) = self.family.get_metric_with_label_values(&self.values(&key)) {
                        let hash = hash_of(&key);
                        tracked.insert_unique(hash, Tracked { hash, key, series }, |tracked| tracked.hash);
                    }
                }
                Change::Retire(key) => {
                    if let Ok(entry) = tracked.find_entry(hash_of(&key), |tracked| tracked.key == key) {
                        entry.remove();
                    }
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
