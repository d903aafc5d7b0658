//! Counts by key: totals since the reset, and the last ten seconds.
//!
//! Every data request with a valid key counts, whether or not the key exists, and whatever the outcome. Counts are
//! exact up to [`EXACT_KEYS`] distinct keys. Beyond that, each count carries its error.

use hotspot::batched::{Accumulate, Batched, Note};
use hotspot::counter::{Count, KeyCounter, Limits};
use hotspot::hash::hash_of;
use hotspot::hot_keys::{HOT_MOST, Hot, hot};
use hotspot::window::{Access, Window};
use protocol::Key;
use std::time::{Duration, Instant};

/// Largest number of distinct keys since the last reset for which every count is exact.
pub const EXACT_KEYS: usize = 50_000;
const TOTALS: Limits = Limits { exact_keys: EXACT_KEYS, sketch_keys: 896 };
/// Limits per second, separately for reads and writes. A key with more than 1/128 of a second's accesses is always
/// found.
const SECOND: Limits = Limits { exact_keys: 448, sketch_keys: 256 };

/// The key statistics of a shard.
pub struct Stats {
    counts: Batched<(), 2, Counts>,
}

struct Counts {
    totals: KeyCounter<Key>,
    window: Window<Key>,
}

/// The accesses of the last ten seconds.
#[derive(Clone, Debug)]
pub struct Recent {
    /// The number of accesses.
    pub total: u64,
    /// The observed time.
    pub span: Duration,
    /// The largest keys, in descending order. They include every key that can be hot.
    pub top: Vec<Count<Key>>,
}

impl Counts {
    fn new(since: Duration) -> Self {
        Self { totals: KeyCounter::new(TOTALS), window: Window::new(SECOND, since) }
    }
}

impl Accumulate<(), 2> for Counts {
    fn add(&mut self, notes: impl Iterator<Item = Note<(), 2>>) {
        for Note { key, times, second, .. } in notes {
            let ([reads, writes], hash) = (times.map(u64::from), hash_of(&key));
            self.totals.add_many(hash, &key, reads + writes);
            self.window.add_many(hash, &key, reads, writes, second);
        }
    }
}

impl Default for Stats {
    fn default() -> Self {
        Self { counts: Batched::new(Counts::new(Duration::ZERO)) }
    }
}

impl Stats {
    /// Counts one access.
    pub fn record(&self, key: &Key, access: Access) {
        let times = if access == Access::Read { [1, 0] } else { [0, 1] };
        self.counts.record(key, (), times, Instant::now());
    }

    /// The `n` most accessed keys since the last reset, in descending order of their lower bound.
    #[must_use]
    pub fn top(&self, n: usize) -> Vec<Count<Key>> {
        self.counts.lock().totals.top(n)
    }

    /// The hot keys, in descending order. A hot key has more than 30 % of the accesses of the last ten seconds. At
    /// least ten accesses are required.
    #[must_use]
    pub fn hot(&self) -> Vec<Hot<Key>> {
        let recent = self.recent();
        hot(recent.total, recent.top)
    }

    /// The accesses of the last ten seconds.
    #[must_use]
    pub fn recent(&self) -> Recent {
        let mut counts = self.counts.lock();
        // Read the time under the lock: every counted access happened before it.
        let view = counts.window.sliding(self.counts.elapsed());
        Recent { total: view.total(), span: view.span(), top: view.top(HOT_MOST) }
    }

    /// Clears the totals and the window.
    pub fn reset(&self) {
        let mut counts = self.counts.lock();
        let old = std::mem::replace(&mut *counts, Counts::new(self.counts.elapsed()));
        drop(counts);
        // Free the old counts after the lock is released.
        drop(old);
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn key(n: usize) -> Key {
        Key::new(&format!("key-{n}")).unwrap()
    }

    #[test]
    fn totals_are_ranked_and_exact_to_the_stated_number_of_keys() {
        let stats = Stats::default();
        for n in 0..EXACT_KEYS {
            stats.record(&key(n), Access::Read);
        }
        for n in 0..20 {
            (0..n).for_each(|_| stats.record(&key(n), Access::Read));
        }
        let top: Vec<_> = stats.top(3).into_iter().map(|c| (c.key, c.count, c.error)).collect();
        assert_eq!(top, [(key(19), 20, 0), (key(18), 19, 0), (key(17), 18, 0)]);
        stats.reset();
        assert!(stats.top(3).is_empty() && stats.hot().is_empty());
    }

    #[test]
    fn beyond_that_the_heavy_keys_stay_and_carry_their_error() {
        let stats = Stats::default();
        for n in 0..3 * EXACT_KEYS {
            stats.record(&key(n), Access::Read);
            stats.record(&key(n % 5), Access::Read);
        }
        let top = stats.top(5);
        for c in &top {
            let truth = 3 * EXACT_KEYS as u64 / 5 + 1;
            assert!(c.lower_bound() <= truth && truth <= c.count, "{c:?}");
        }
        let mut names: Vec<_> = top.into_iter().map(|c| c.key).collect();
        names.sort();
        assert_eq!(names, (0..5).map(key).collect::<Vec<_>>());
    }

    #[test]
    fn hot_is_a_share_of_the_whole_shard() {
        let stats = Stats::default();
        (0..9).for_each(|_| stats.record(&key(0), Access::Read));
        assert!(stats.hot().is_empty(), "nine samples are too few");
        (0..22).for_each(|_| stats.record(&key(0), Access::Read));
        (0..69).for_each(|n| stats.record(&key(1 + n % 3), Access::Read));
        let hot = stats.hot();
        assert_eq!(hot.len(), 1, "{hot:?}");
        assert!(hot[0].key == key(0) && hot[0].count == 31 && (hot[0].ratio - 0.31).abs() < 1e-9, "{hot:?}");
    }
}
