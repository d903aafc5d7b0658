//! How often clients asked for each key, since the last reset and in the last ten seconds, counted by all cores at once in
//! bounded memory, whoever answered.

use hotspot::counter::{Count, KeyCounter, Limits, largest};
use hotspot::merge::Summary;
use hotspot::striped::Striped;
use hotspot::window::{Access, Window};
use parking_lot::Mutex;
use protocol::{Key, ShardId};
use std::time::{Duration, Instant};

/// Counters that are locked apart, so that cores seldom wait for one another.
const STRIPES: usize = 16;
/// Exact while there are at most 50,000 keys: a sixteenth of those is 3,125, and six standard deviations of how unevenly
/// keys fall on the stripes are 325 more.
const LIMITS: Limits = Limits { exact_keys: 3_500, sketch_keys: 96 };
/// Per stripe, home shard and second, for reads and for writes.
const SECOND: Limits = Limits { exact_keys: 32, sketch_keys: 16 };

/// Counts accesses by key. Exact up to 50,000 keys; beyond, each count carries its error, at most a 96th of the
/// accesses of its stripe.
///
/// Memory: at most 56,000 keys of 512 bytes with about 100 bytes of bookkeeping each, 35 MB; with the keys of the lab's
/// scenarios, 5 MB. Once a stripe's exact counting ends it keeps 96 keys, all stripes together 1,536:
/// 250 KiB with keys like the lab's, 1 MB with the longest. The windows: at most 32 read and 32 written keys in each of 11
/// slots of 16 stripes for every shard, 560 KiB a shard with keys like the lab's, 6 MiB with the longest.
pub(crate) struct KeyCounts {
    stripes: Striped<Mutex<Stripe>>,
    shards: usize,
    start: Instant,
}

struct Stripe {
    totals: KeyCounter<Key>,
    /// One a home shard.
    offered: Vec<Window<Key>>,
}

impl Stripe {
    fn new(shards: usize, since: Duration) -> Self {
        let offered = (0..shards).map(|_| Window::new(SECOND, since)).collect();
        Self { totals: KeyCounter::new(LIMITS), offered }
    }
}

impl KeyCounts {
    pub(crate) fn new(shards: usize) -> Self {
        let stripe = || Mutex::new(Stripe::new(shards, Duration::ZERO));
        Self { stripes: Striped::new(STRIPES, stripe), shards, start: Instant::now() }
    }

    /// Counts a request of a client at `now`.
    pub(crate) fn add(&self, key: &Key, home: ShardId, access: Access, now: Instant) {
        let mut stripe = self.stripes.of(key).lock();
        stripe.totals.add(key);
        if let Some(window) = stripe.offered.get_mut(home.index()) {
            window.add(key, access, now.saturating_duration_since(self.start));
        }
    }

    /// The `n` largest by lower bound, largest first.
    pub(crate) fn top(&self, n: usize) -> Vec<Count<Key>> {
        largest(self.stripes.iter().flat_map(|stripe| stripe.lock().totals.top(n)).collect(), n)
    }

    /// The `n` largest, and a bound for all others.
    pub(crate) fn summary(&self, n: usize) -> Summary<Key> {
        Summary::joined(self.stripes.iter().map(|stripe| stripe.lock().totals.summary(n)), n)
    }

    /// How many shards keys have their homes on.
    pub(crate) fn shards(&self) -> usize {
        self.shards
    }

    /// The present second, which is not full yet.
    pub(crate) fn second(&self) -> u64 {
        self.start.elapsed().as_secs()
    }

    /// Shows each part of the window of each home shard, with the time; no key is in two of them.
    pub(crate) fn look(&self, mut see: impl FnMut(usize, &mut Window<Key>, Duration)) {
        for stripe in self.stripes.iter() {
            let mut stripe = stripe.lock();
            let now = self.start.elapsed();
            stripe.offered.iter_mut().enumerate().for_each(|(shard, window)| see(shard, window, now));
        }
    }

    pub(crate) fn clear(&self) {
        for stripe in self.stripes.iter() {
            let new = Stripe::new(self.shards, self.start.elapsed());
            let counts = std::mem::replace(&mut *stripe.lock(), new);
            // Freed outside the lock.
            drop(counts);
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn key(n: usize) -> Key {
        Key::new(&format!("key-{n}")).unwrap()
    }

    fn add(counts: &KeyCounts, n: usize) {
        counts.add(&key(n), ShardId(0), Access::Read, Instant::now());
    }

    #[test]
    fn fifty_thousand_keys_are_counted_exactly() {
        let counts = KeyCounts::new(1);
        for n in 0..50_000 {
            add(&counts, n);
        }
        (0..30).for_each(|n| (0..=n).for_each(|_| add(&counts, n)));
        let top: Vec<_> = counts.top(20).into_iter().map(|c| (c.key, c.count, c.error)).collect();
        let expected: Vec<_> = (10..30).rev().map(|n| (key(n), n as u64 + 2, 0)).collect();
        assert_eq!(top, expected);
        counts.clear();
        assert!(counts.top(20).is_empty());
    }

    #[test]
    fn beyond_that_a_hot_key_is_still_first_and_no_cold_one_looks_hot() {
        let counts = KeyCounts::new(1);
        for n in 0..200_000 {
            add(&counts, n);
            if n % 10 == 0 {
                add(&counts, 0);
            }
        }
        let top = counts.top(20);
        let (hot, truth) = (&top[0], 20_001);
        assert!(hot.key == key(0) && hot.sure() <= truth && truth <= hot.count, "{hot:?}");
        assert!(top[1..].iter().all(|cold| cold.sure() <= 1), "{top:?}");
        assert!(counts.stripes.iter().all(|stripe| stripe.lock().totals.len() <= LIMITS.sketch_keys));
    }
}
