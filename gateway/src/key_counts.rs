//! How often each key was asked for, counted by all cores at once in bounded memory.

use hotspot::counter::{Count, KeyCounter, Limits, largest};
use hotspot::striped::Striped;
use parking_lot::Mutex;
use protocol::Key;

/// Counters that are locked apart, so that cores seldom wait for one another.
const STRIPES: usize = 16;
/// Exact while there are at most 50,000 keys: a sixteenth of those is 3,125, and six standard deviations of how unevenly
/// keys fall on the stripes are 325 more.
const LIMITS: Limits = Limits { exact_keys: 3_500, sketch_keys: 96 };

/// Counts accesses by key. Exact up to 50,000 keys; beyond, each count carries its error, at most a 96th of the
/// accesses of its stripe.
///
/// Memory: at most 56,000 keys of 512 bytes with about 100 bytes of bookkeeping each, 35 MB; with the keys of the lab's
/// scenarios, 5 MB. Once a stripe's exact counting ends it keeps 96 keys, all stripes together 1,536:
/// 250 KiB with keys like the lab's, 1 MB with the longest.
pub(crate) struct KeyCounts(Striped<Mutex<KeyCounter<Key>>>);

impl KeyCounts {
    pub(crate) fn new() -> Self {
        Self(Striped::new(STRIPES, || Mutex::new(KeyCounter::new(LIMITS))))
    }

    pub(crate) fn add(&self, key: &Key) {
        self.0.of(key).lock().add(key);
    }

    /// The `n` largest by lower bound, largest first.
    pub(crate) fn top(&self, n: usize) -> Vec<Count<Key>> {
        largest(self.0.iter().flat_map(|stripe| stripe.lock().top(n)).collect(), n)
    }

    pub(crate) fn clear(&self) {
        for stripe in self.0.iter() {
            let counts = std::mem::replace(&mut *stripe.lock(), KeyCounter::new(LIMITS));
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

    #[test]
    fn fifty_thousand_keys_are_counted_exactly() {
        let counts = KeyCounts::new();
        for n in 0..50_000 {
            counts.add(&key(n));
        }
        (0..30).for_each(|n| (0..=n).for_each(|_| counts.add(&key(n))));
        let top: Vec<_> = counts.top(20).into_iter().map(|c| (c.key, c.count, c.error)).collect();
        let expected: Vec<_> = (10..30).rev().map(|n| (key(n), n as u64 + 2, 0)).collect();
        assert_eq!(top, expected);
        counts.clear();
        assert!(counts.top(20).is_empty());
    }

    #[test]
    fn beyond_that_a_hot_key_is_still_first_and_no_cold_one_looks_hot() {
        let counts = KeyCounts::new();
        for n in 0..200_000 {
            counts.add(&key(n));
            if n % 10 == 0 {
                counts.add(&key(0));
            }
        }
        let top = counts.top(20);
        let (hot, truth) = (&top[0], 20_001);
        assert!(hot.key == key(0) && hot.sure() <= truth && truth <= hot.count, "{hot:?}");
        assert!(top[1..].iter().all(|cold| cold.sure() <= 1), "{top:?}");
        assert!(counts.0.iter().all(|stripe| stripe.lock().len() <= LIMITS.sketch_keys));
    }
}
