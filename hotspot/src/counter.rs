//! Counts keys in bounded memory, exactly or with an error bound.
//!
//! Up to `exact_keys` distinct keys every count is exact. With more keys the counter becomes a Filtered Space-Saving
//! sketch with `sketch_keys` monitored keys (Homem, Carvalho: "Finding top-k elements in data streams", Information
//! Sciences 180, 2010). It uses crate `topk`, selected by the measurements in docs/experiments.
//!
//! A key that is not monitored is counted in a small filter, where several keys share a cell. When the cell reaches
//! the smallest monitored count, the key replaces the key with that count. Its error is then the previous value of
//! the cell. A count is never too low and at most `error` too high. `error` is at most `total / sketch_keys`.

use ahash::AHashMap;
use serde::{Deserialize, Serialize};
use std::hash::Hash;
use std::ops::RangeInclusive;
use topk::FilteredSpaceSaving;

/// Maximum number of keys of a [`KeyCounter`]. Its memory is bounded by the larger of the two.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Limits {
    /// Distinct keys counted exactly.
    pub exact_keys: usize,
    /// Keys monitored once there are more distinct keys; at least 1. Each takes about 110 bytes, including its share
    /// of the filter, plus the memory that the key itself owns.
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
/// by key. Keys with a lower bound of 0 are left out. A key may be in several counters: its bounds are added up over
/// all counters, including those that do not hold it.
#[must_use]
pub fn merged<K: Clone + Eq + Hash + Ord>(counters: &[&KeyCounter<K>], n: usize) -> Vec<Count<K>> {
    let mut lower_bound: AHashMap<&K, u64> = AHashMap::new();
    for held in counters.iter().flat_map(|counter| counter.held()) {
        *lower_bound.entry(held.key).or_default() += held.lower_bound();
    }
    let lower: Vec<_> = lower_bound.into_iter().map(|(key, count)| Count { key, count, error: 0 }).collect();
    let bounded = |c: Count<&K>| {
        let count = counters.iter().map(|counter| *counter.bounds(c.key).end()).sum::<u64>();
        Count { key: c.key.clone(), count, error: count - c.count }
    };
    let positive = lower.into_iter().filter(|c| c.count > 0).collect();
    largest(positive, n).into_iter().map(bounded).collect()
}

/// A bounded counter of keys. The module's documentation has its guarantees.
#[derive(Clone)]
pub struct KeyCounter<K: Eq + Hash> {
    limits: Limits,
    total: u64,
    mode: Mode<K>,
}

#[derive(Clone)]
enum Mode<K: Eq + Hash> {
    /// Each process has a new hash seed, so clients cannot choose colliding keys.
    Exact(AHashMap<K, u64>),
    Sketch(FilteredSpaceSaving<K>),
}

impl<K: Clone + Eq + Hash> KeyCounter<K> {
    /// An empty counter. A `sketch_keys` of 0 is treated as 1.
    #[must_use]
    pub fn new(limits: Limits) -> Self {
        Self { limits, total: 0, mode: Mode::Exact(AHashMap::new()) }
    }

    /// Counts one access.
    pub fn add(&mut self, key: &K) {
        self.add_many(key, 1);
    }

    /// Counts `n` accesses.
    pub fn add_many(&mut self, key: &K, n: u64) {
        if n == 0 {
            return;
        }
        self.total += n;
        match &mut self.mode {
            Mode::Exact(counts) => {
                if let Some(count) = counts.get_mut(key) {
                    *count += n;
                } else if counts.len() < self.limits.exact_keys {
                    counts.insert(key.clone(), n);
                } else {
                    let mut sketch = sketch_of(std::mem::take(counts), self.limits.sketch_keys.max(1));
                    sketch.insert(key.clone(), n);
                    self.mode = Mode::Sketch(sketch);
                }
            }
            Mode::Sketch(sketch) => sketch.insert(key.clone(), n),
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
        match &self.mode {
            Mode::Exact(counts) => counts.len(),
            Mode::Sketch(sketch) => sketch.iter().count(),
        }
    }

    /// Whether nothing was counted.
    #[must_use]
    pub fn is_empty(&self) -> bool {
        self.total == 0
    }

    /// Whether all counts are exact; then [`KeyCounter::len`] is the number of distinct keys.
    #[must_use]
    pub fn is_exact(&self) -> bool {
        matches!(self.mode, Mode::Exact(_))
    }

    /// Returns the least and the largest possible number of accesses of `key`, held or not.
    #[must_use]
    pub fn bounds(&self, key: &K) -> RangeInclusive<u64> {
        let (count, error) = match &self.mode {
            Mode::Exact(counts) => (counts.get(key).copied().unwrap_or(0), 0),
            Mode::Sketch(sketch) => {
                let counter = sketch.estimate(key);
                (counter.estimated_count(), counter.associated_error())
            }
        };
        count - error..=count
    }

    /// Returns the `n` largest keys by lower bound (`count - error`), largest first. Keys with a lower bound of 0 are
    /// left out.
    #[must_use]
    pub fn top(&self, n: usize) -> Vec<Count<K>> {
        let mut all: Vec<_> = self.held().filter(|count| count.lower_bound() > 0).collect();
        if n < all.len() {
            all.select_nth_unstable_by_key(n, |count| std::cmp::Reverse(count.lower_bound()));
            all.truncate(n);
        }
        all.sort_unstable_by_key(|count| std::cmp::Reverse(count.lower_bound()));
        all.into_iter().map(|c| Count { key: c.key.clone(), count: c.count, error: c.error }).collect()
    }

    /// All held keys, unsorted.
    pub(crate) fn held(&self) -> impl Iterator<Item = Count<&K>> {
        let (exact, sketch) = match &self.mode {
            Mode::Exact(counts) => (Some(counts), None),
            Mode::Sketch(sketch) => (None, Some(sketch)),
        };
        let exact = exact.into_iter().flatten().map(|(key, count)| Count { key, count: *count, error: 0 });
        let sketch = sketch.into_iter().flat_map(FilteredSpaceSaving::iter).map(|(key, counter)| Count {
            key,
            count: counter.estimated_count(),
            error: counter.associated_error(),
        });
        exact.chain(sketch)
    }
}

/// Creates a sketch from exact counts. The largest counts are inserted first, so the largest `keep` have no error.
fn sketch_of<K: Eq + Hash>(counts: AHashMap<K, u64>, keep: usize) -> FilteredSpaceSaving<K> {
    let mut counts: Vec<_> = counts.into_iter().collect();
    counts.sort_unstable_by_key(|(_, count)| std::cmp::Reverse(*count));
    let mut sketch = FilteredSpaceSaving::new(keep);
    counts.into_iter().for_each(|(key, count)| sketch.insert(key, count));
    sketch
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
        assert!(!counter.is_exact() && counter.len() == 10);
        assert!(counter.top(20).iter().all(|c| c.lower_bound() <= 1), "{:?}", counter.top(20));
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
            let share = counter.total() / sketch_keys as u64;
            for c in counter.top(usize::MAX) {
                let truth = times(&stream, c.key);
                prop_assert!(c.lower_bound() <= truth && truth <= c.count, "{c:?} {truth}");
                prop_assert!(c.error <= share, "{c:?} of {}", counter.total());
            }
            for key in 0..60 {
                let truth = times(&stream, key);
                prop_assert!(counter.bounds(&key).contains(&truth));
                // A key above total / sketch_keys is always held.
                prop_assert!(truth <= share || counter.held().any(|c| *c.key == key), "{key} with {truth}");
            }
        }

        #[test]
        fn many_at_once_are_as_many_one_by_one_while_exact(counts in prop::collection::vec(0u64..50, 1..30)) {
            let limits = Limits { exact_keys: 30, sketch_keys: 5 };
            let (mut at_once, mut one_by_one) = (KeyCounter::new(limits), KeyCounter::new(limits));
            for (key, n) in counts.iter().enumerate() {
                at_once.add_many(&key, *n);
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
