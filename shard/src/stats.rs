//! Which keys this shard is asked for: totals since the last reset and the last ten seconds, in bounded memory.
//!
//! Every data request whose key can be read counts, whether or not the key exists and whatever its outcome. Counts are
//! exact up to about [`EXACT_KEYS`] distinct keys and carry their error beyond.

use hotspot::counter::{Count, KeyCounter, Limits, largest};
use hotspot::hot_keys::{HOT_MOST, Hot, hot};
use hotspot::striped::Striped;
use hotspot::window::{Access, Window};
use parking_lot::Mutex;
use protocol::Key;
use std::time::{Duration, Instant};

/// Distinct keys since the last reset up to which every count is exact.
pub const EXACT_KEYS: usize = 50_000;
/// Parts that are locked one by one, so that cores rarely meet; a key is always in the same one.
const STRIPES: usize = 4;
/// Hashing spreads keys unevenly; with an eighth more room a stripe is not full before all hold [`EXACT_KEYS`] (the
/// spread is 97 keys, so that is 16 standard deviations).
const TOTALS: Limits = Limits { exact_keys: EXACT_KEYS / STRIPES * 9 / 8, sketch_keys: 64 };
/// Per stripe and second; a key with more than 1/64 of a second's accesses is surely seen.
const SECOND: Limits = Limits { exact_keys: 256, sketch_keys: 64 };

/// The key statistics of a shard.
pub struct Stats {
    stripes: Striped<Mutex<Stripe>>,
    start: Instant,
}

struct Stripe {
    totals: KeyCounter<Key>,
    window: Window<Key>,
}

/// What happened in the last ten seconds.
#[derive(Clone, Debug)]
pub struct Recent {
    /// Accesses.
    pub total: u64,
    /// How long they were counted.
    pub span: Duration,
    /// The largest keys, hottest first; all that can be hot are among them.
    pub top: Vec<Count<Key>>,
}

impl Stripe {
    fn new(since: Duration) -> Self {
        Self { totals: KeyCounter::new(TOTALS), window: Window::new(SECOND, since) }
    }
}

impl Default for Stats {
    fn default() -> Self {
        Self {
            stripes: Striped::new(STRIPES, || Mutex::new(Stripe::new(Duration::ZERO))),
            start: Instant::now(),
        }
    }
}

impl Stats {
    /// Counts one access.
    pub fn record(&self, key: &Key, access: Access) {
        let mut stripe = self.stripes.of(key).lock();
        stripe.totals.add(key);
        // Read under the lock: a window's time must not go back.
        stripe.window.add(key, access, self.start.elapsed());
    }

    /// The `n` most accessed keys since the last reset, by what they surely got, most first.
    #[must_use]
    pub fn top(&self, n: usize) -> Vec<Count<Key>> {
        let parts = self.stripes.iter().flat_map(|stripe| stripe.lock().totals.top(n));
        largest(parts.collect(), n)
    }

    /// The keys with more than 30 % of the last ten seconds' accesses, of at least ten; hottest first.
    #[must_use]
    pub fn hot(&self) -> Vec<Hot<Key>> {
        let recent = self.recent();
        hot(recent.total, recent.top)
    }

    /// The last ten seconds.
    #[must_use]
    pub fn recent(&self) -> Recent {
        let (mut total, mut span, mut keys) = (0, Duration::ZERO, Vec::new());
        for stripe in self.stripes.iter() {
            let mut stripe = stripe.lock();
            let view = stripe.window.sliding(self.start.elapsed());
            total += view.total();
            span = span.max(view.span());
            keys.extend(view.top(HOT_MOST));
        }
        Recent { total, span, top: largest(keys, HOT_MOST) }
    }

    /// Forgets totals and window.
    pub fn reset(&self) {
        for stripe in self.stripes.iter() {
            let mut stripe = stripe.lock();
            *stripe = Stripe::new(self.start.elapsed());
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn key(n: usize) -> Key {
        Key::new(&format!("key-{n}")).unwrap()
    }

    #[test]
    fn totals_are_ranked_over_all_stripes_and_exact_to_the_stated_number_of_keys() {
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
            assert!(c.sure() <= truth && truth <= c.count, "{c:?}");
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
