//! Counts keys in bounded memory, exactly or with an error bound.
//!
//! Up to `exact_keys` distinct keys every count is exact. With more keys the counter keeps the largest half of
//! `sketch_keys`, and again whenever it is full. This is the algorithm of Misra and Gries ("Finding repeated elements",
//! Science of Computer Programming 2, 1982) with evictions in batches (Anderson et al., "A high-performance algorithm
//! for identifying frequent items in data streams", IMC 2017).
//!
//! The largest count ever evicted is the `floor`: no key that is not held has more accesses. A new key starts with the
//! floor as its count, all of it error. So a count is never too low and at most `error` too high. `error` is at most
//! `2 · total / sketch_keys`: an eviction raises the floor by a number that more than `sketch_keys / 2` keys have.

use hashbrown::HashTable;
use serde::{Deserialize, Serialize};
use std::hash::Hash;
use std::ops::RangeInclusive;

use crate::hash::hash_of;

/// Maximum number of keys of a [`KeyCounter`]. Its memory is bounded by the larger of the two: each key takes 25
/// bytes and its own size, in a table whose size is the next power of two above 8/7 of the keys.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Limits {
    /// Distinct keys counted exactly.
    pub exact_keys: usize,
    /// At most so many keys are held once there are more distinct keys. 0 counts as 1.
    pub sketch_keys: usize,
}

/// One key's count with its error. The true count is in `count - error ..= count`.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Count<K> {
    /// The key.
    pub key: K,
    /// Upper bound of its accesses.
    pub count: u64,
    /// `count - error` is the lower bound. 0 while counting is exact.
    pub error: u64,
}

impl<K> Count<K> {
    /// The lower bound of its accesses. It is 0 if another process reports an error above the count.
    #[must_use]
    pub fn lower_bound(&self) -> u64 {
        self.count.saturating_sub(self.error)
    }
}

/// Returns the `n` largest of the counts of several counters by lower bound, largest first. Equal counts are sorted
/// by key. Every key must be in one counter only; otherwise use [`merged`].
#[must_use]
pub fn largest<K: Ord>(mut counts: Vec<Count<K>>, n: usize) -> Vec<Count<K>> {
    let order =
        |a: &Count<K>, b: &Count<K>| b.lower_bound().cmp(&a.lower_bound()).then_with(|| a.key.cmp(&b.key));
    if n < counts.len() {
        counts.select_nth_unstable_by(n, order);
        counts.truncate(n);
    }
    counts.sort_unstable_by(order);
    counts
}

/// Returns the `n` largest keys of several counters together by lower bound, largest first. Equal counts are sorted
/// by key. A key may be in several counters: its bounds are added up over
/// all counters, including those that do not hold it.
#[must_use]
pub fn merged<K: Clone + Eq + Hash + Ord>(counters: &[&KeyCounter<K>], n: usize) -> Vec<Count<K>> {
    // The hash of each key, and the sum of its lower bounds.
    let mut sums: HashTable<(u64, Count<&K>)> = HashTable::new();
    for held in counters.iter().flat_map(|counter| &counter.held) {
        let lower_bound = held.count - held.error;
        match sums.find_mut(held.hash, |(_, sum)| *sum.key == held.key) {
            Some((_, sum)) => sum.count += lower_bound,
            None => {
                let sum = Count { key: &held.key, count: lower_bound, error: 0 };
                sums.insert_unique(held.hash, (held.hash, sum), |(hash, _)| *hash);
            }
        }
    }
    let lower = sums.into_iter().map(|(_, sum)| sum).collect();
    let bounded = |c: Count<&K>| {
        let count = counters.iter().map(|counter| *counter.bounds(c.key).end()).sum::<u64>();
        Count { key: c.key.clone(), count, error: count - c.count }
    };
    largest(lower, n).into_iter().map(bounded).collect()
}

/// A bounded counter of keys. The module's documentation has its guarantees.
#[derive(Clone)]
pub struct KeyCounter<K> {
    limits: Limits,
    total: u64,
    held: HashTable<Held<K>>,
    /// Largest count of a key that is not held. 0 while counting is exact.
    floor: u64,
}

#[derive(Clone)]
struct Held<K> {
    hash: u64,
    key: K,
    count: u64,
    error: u64,
}

impl<K: Clone + Eq + Hash> KeyCounter<K> {
    /// An empty counter.
    #[must_use]
    pub fn new(limits: Limits) -> Self {
        Self { limits, total: 0, held: HashTable::new(), floor: 0 }
    }

    /// An empty counter that has memory for as many keys as `other` holds.
    #[must_use]
    pub fn like(other: &Self) -> Self {
        Self { held: HashTable::with_capacity(other.held.len()), ..Self::new(other.limits) }
    }

    /// Counts one access.
    pub fn add(&mut self, key: &K) {
        self.add_many(hash_of(key), key, 1);
    }

    /// Counts `n` accesses of a key with this [`hash_of`].
    pub fn add_many(&mut self, hash: u64, key: &K, n: u64) {
        if n == 0 {
            return;
        }
        self.total += n;
        if let Some(held) = self.held.find_mut(hash, |held| held.hash == hash && held.key == *key) {
            held.count += n;
            return;
        }
        if self.held.len() >= self.capacity() {
            self.evict();
        }
        let new = Held { hash, key: key.clone(), count: self.floor + n, error: self.floor };
        self.held.insert_unique(hash, new, |held| held.hash);
    }

    fn capacity(&self) -> usize {
        let Limits { exact_keys, sketch_keys } = self.limits;
        if self.is_exact() { exact_keys.max(sketch_keys) } else { sketch_keys }.max(1)
    }

    /// Keeps the largest half of a full sketch. Of equal counts it keeps all or none. A new table has no marks of removed
    /// keys, with which the next keys could double it.
    #[cold]
    fn evict(&mut self) {
        let keep = self.limits.sketch_keys / 2;
        let mut counts: Vec<u64> = self.held.iter().map(|held| held.count).collect();
        // A full counter has more keys than it keeps.
        let (_, floor, _) = counts.select_nth_unstable_by_key(keep, |count| std::cmp::Reverse(*count));
        self.floor = *floor;
        let all = std::mem::replace(&mut self.held, HashTable::with_capacity(self.limits.sketch_keys.max(1)));
        for held in all.into_iter().filter(|held| held.count > self.floor) {
            self.held.insert_unique(held.hash, held, |held| held.hash);
        }
    }

    /// All accesses counted.
    #[must_use]
    pub fn total(&self) -> u64 {
        self.total
    }

    /// Number of keys currently held.
    #[must_use]
    pub fn len(&self) -> usize {
        self.held.len()
    }

    /// Whether nothing was counted.
    #[must_use]
    pub fn is_empty(&self) -> bool {
        self.total == 0
    }

    /// Whether all counts are exact; then [`KeyCounter::len`] is the number of distinct keys.
    #[must_use]
    pub fn is_exact(&self) -> bool {
        self.floor == 0
    }

    /// Largest possible number of accesses of a key that is not held.
    pub(crate) fn floor(&self) -> u64 {
        self.floor
    }

    /// Returns the least and the largest possible number of accesses of `key`, held or not.
    #[must_use]
    pub fn bounds(&self, key: &K) -> RangeInclusive<u64> {
        match self.held.find(hash_of(key), |held| held.key == *key) {
            Some(held) => held.count - held.error..=held.count,
            None => 0..=self.floor,
        }
    }

    /// Returns the `n` largest keys by lower bound (`count - error`), largest first.
    #[must_use]
    pub fn top(&self, n: usize) -> Vec<Count<K>> {
        let mut all: Vec<_> = self.held().collect();
        if n < all.len() {
            all.select_nth_unstable_by_key(n, |count| std::cmp::Reverse(count.lower_bound()));
            all.truncate(n);
        }
        all.sort_unstable_by_key(|count| std::cmp::Reverse(count.lower_bound()));
        all.into_iter().map(|c| Count { key: c.key.clone(), count: c.count, error: c.error }).collect()
    }

    /// All held keys, unsorted. Their lower bounds are above 0.
    pub(crate) fn held(&self) -> impl Iterator<Item = Count<&K>> {
        self.held.iter().map(|held| Count { key: &held.key, count: held.count, error: held.error })
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    fn counted(limits: Limits, stream: &[u16]) -> KeyCounter<u16> {
        let mut counter = KeyCounter::new(limits);
        stream.iter().for_each(|key| counter.add(key));
        counter
    }

    fn times(stream: &[u16], key: u16) -> u64 {
        stream.iter().filter(|k| **k == key).count() as u64
    }

    #[test]
    fn exact_while_keys_are_few() {
        let counter = counted(Limits { exact_keys: 3, sketch_keys: 2 }, &[1, 2, 2, 3, 3, 3]);
        let top: Vec<_> = counter.top(2).iter().map(|c| (c.key, c.count, c.error)).collect();
        assert_eq!(top, [(3, 3, 0), (2, 2, 0)]);
        assert_eq!((counter.total(), counter.len(), counter.is_empty()), (6, 3, false));
        assert!(counter.is_exact() && counter.bounds(&9) == (0..=0));
    }

    #[test]
    fn a_full_sketch_of_equal_keys_names_none_as_large() {
        let stream: Vec<u16> = (0..1_000).collect();
        let counter = counted(Limits { exact_keys: 10, sketch_keys: 10 }, &stream);
        assert!(!counter.is_exact() && counter.len() <= 10);
        assert!(counter.top(20).iter().all(|c| c.lower_bound() <= 1), "{:?}", counter.top(20));
    }

    #[test]
    fn a_table_does_not_grow_with_evictions() {
        let limits = Limits { exact_keys: 10, sketch_keys: 1_792 };
        // One in three is one of many keys, so that keys are kept and dropped.
        let key = |n: u64| if n.is_multiple_of(3) { n } else { n.pow(2) % 1_201 };
        let (mut counter, mut floors) = (KeyCounter::new(limits), std::collections::BTreeSet::new());
        for n in 0..100_000 {
            counter.add(&key(n));
            floors.insert(counter.floor);
            assert!(counter.held.capacity() <= 1_792, "{} after {n}", counter.held.capacity());
        }
        assert!(floors.len() > 10, "{floors:?}");
    }

    #[test]
    fn the_largest_are_ranked_by_their_lower_bounds() {
        let count = |key, count, error| Count { key, count, error };
        let parts = vec![count("c", 5, 0), count("a", 9, 8), count("d", 7, 1), count("b", 5, 0)];
        let keys: Vec<_> = largest(parts, 3).into_iter().map(|c| c.key).collect();
        assert_eq!(keys, ["d", "b", "c"]);
    }

    proptest! {
        #[test]
        fn the_truth_lies_between_the_bounds(
            stream in prop::collection::vec(0u16..60, 0..2_000),
            exact_keys in 1usize..40,
            sketch_keys in 1usize..40,
        ) {
            let limits = Limits { exact_keys, sketch_keys };
            let counter = counted(limits, &stream);
            prop_assert!(counter.len() <= exact_keys.max(sketch_keys));
            prop_assert_eq!(counter.total(), stream.len() as u64);
            let share = 2 * counter.total() / sketch_keys as u64;
            for c in counter.top(usize::MAX) {
                let truth = times(&stream, c.key);
                prop_assert!(c.lower_bound() <= truth && truth <= c.count, "{c:?} {truth}");
                prop_assert!(c.error <= share, "{c:?} of {}", counter.total());
            }
            for key in 0..60 {
                let truth = times(&stream, key);
                prop_assert!(counter.bounds(&key).contains(&truth));
                // A key above 2 · total / sketch_keys is always held.
                prop_assert!(truth <= share || counter.held().any(|c| *c.key == key), "{key} with {truth}");
            }
        }

        #[test]
        fn many_at_once_are_as_many_one_by_one_while_exact(counts in prop::collection::vec(0u64..50, 1..30)) {
            let limits = Limits { exact_keys: 30, sketch_keys: 5 };
            let (mut at_once, mut one_by_one) = (KeyCounter::new(limits), KeyCounter::new(limits));
            for (key, n) in counts.iter().enumerate() {
                at_once.add_many(hash_of(&key), &key, *n);
                (0..*n).for_each(|_| one_by_one.add(&key));
            }
            prop_assert_eq!(at_once.total(), one_by_one.total());
            prop_assert_eq!(largest(at_once.top(30), 30), largest(one_by_one.top(30), 30));
        }

        #[test]
        fn bounds_hold_through_a_merge(
            streams in prop::collection::vec(prop::collection::vec(0u16..40, 0..600), 1..5),
            exact_keys in 1usize..50,
            sketch_keys in 1usize..20,
        ) {
            let counters: Vec<_> =
                streams.iter().map(|s| counted(Limits { exact_keys, sketch_keys }, s)).collect();
            let whole = merged(&counters.iter().collect::<Vec<_>>(), usize::MAX);
            prop_assert!(whole.is_sorted_by(|a, b| a.lower_bound() >= b.lower_bound()));
            for c in &whole {
                let truth = streams.iter().map(|s| times(s, c.key)).sum::<u64>();
                prop_assert!(c.lower_bound() <= truth && truth <= c.count, "{c:?} {truth}");
            }
            if counters.iter().all(KeyCounter::is_exact) {
                let all = whole.iter().map(|c| c.count).sum::<u64>();
                prop_assert_eq!(all, streams.iter().map(Vec::len).sum::<usize>() as u64);
                prop_assert!(whole.iter().all(|c| c.error == 0));
            }
        }
    }
}
