//! Counts keys exactly while they are few, and with a stated error in bounded memory when they are many.
//!
//! Up to `exact_keys` distinct keys every count is exact. Beyond that the counter keeps only the `sketch_keys` largest
//! counts and goes on as Space-Saving (Metwally, Agrawal, El Abbadi: "Efficient computation of frequent and top-k
//! elements in data streams", ICDT 2005): a key that is not tracked takes the place of the smallest one and inherits its
//! count as its error. A count is then never too low and at most `error` too high, and `error` is at most
//! `total / sketch_keys` once the sketch is full.

use std::collections::HashMap;
use std::hash::Hash;

/// How many keys a [`KeyCounter`] may hold; its memory is bounded by the larger of the two.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Limits {
    /// Distinct keys counted exactly.
    pub exact_keys: usize,
    /// Keys kept once there were more; at least 1, at most `exact_keys`.
    pub sketch_keys: usize,
}

/// One key's count and how much of it may belong to other keys: the truth is in `count - error ..= count`.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Count<K> {
    /// The key.
    pub key: K,
    /// Upper bound of its accesses.
    pub count: u64,
    /// `count - error` is the lower bound; 0 while counting is exact.
    pub error: u64,
}

impl<K> Count<K> {
    /// The lower bound: what this key surely got.
    #[must_use]
    pub fn sure(&self) -> u64 {
        self.count - self.error
    }
}

/// The `n` largest of the counts of several counters by lower bound, largest first, equal ones in the order of their
/// keys. No key may be in two of the counters.
#[must_use]
pub fn largest<K: Ord>(mut counts: Vec<Count<K>>, n: usize) -> Vec<Count<K>> {
    counts.sort_unstable_by(|a, b| b.sure().cmp(&a.sure()).then_with(|| a.key.cmp(&b.key)));
    counts.truncate(n);
    counts
}

/// A bounded counter of keys. See the module for its guarantees.
#[derive(Clone, Debug)]
pub struct KeyCounter<K> {
    limits: Limits,
    total: u64,
    mode: Mode<K>,
}

#[derive(Clone, Debug)]
enum Mode<K> {
    Exact(HashMap<K, u64>),
    Sketch(Sketch<K>),
}

impl<K: Clone + Eq + Hash> KeyCounter<K> {
    /// An empty counter. A `sketch_keys` of 0 is taken as 1.
    #[must_use]
    pub fn new(limits: Limits) -> Self {
        Self { limits, total: 0, mode: Mode::Exact(HashMap::new()) }
    }

    /// Counts one access.
    pub fn add(&mut self, key: &K) {
        self.total += 1;
        match &mut self.mode {
            Mode::Exact(counts) => {
                if let Some(count) = counts.get_mut(key) {
                    *count += 1;
                } else if counts.len() < self.limits.exact_keys {
                    counts.insert(key.clone(), 1);
                } else {
                    let mut sketch =
                        Sketch::from_exact(std::mem::take(counts), self.limits.sketch_keys.max(1));
                    sketch.add(key);
                    self.mode = Mode::Sketch(sketch);
                }
            }
            Mode::Sketch(sketch) => sketch.add(key),
        }
    }

    /// All accesses counted.
    #[must_use]
    pub fn total(&self) -> u64 {
        self.total
    }

    /// Keys held at the moment.
    #[must_use]
    pub fn len(&self) -> usize {
        match &self.mode {
            Mode::Exact(counts) => counts.len(),
            Mode::Sketch(sketch) => sketch.entries.len(),
        }
    }

    /// Whether nothing was counted.
    #[must_use]
    pub fn is_empty(&self) -> bool {
        self.total == 0
    }

    /// The `n` largest by lower bound (`count - error`), largest first; keys with a lower bound of 0 are left out.
    #[must_use]
    pub fn top(&self, n: usize) -> Vec<Count<K>> {
        let mut all: Vec<Count<&K>> = match &self.mode {
            Mode::Exact(counts) => {
                counts.iter().map(|(key, count)| Count { key, count: *count, error: 0 }).collect()
            }
            Mode::Sketch(sketch) => sketch
                .entries
                .iter()
                .map(|entry| Count { key: &entry.key, count: entry.count, error: entry.error })
                .collect(),
        };
        all.retain(|count| count.sure() > 0);
        if n < all.len() {
            all.select_nth_unstable_by_key(n, |count| std::cmp::Reverse(count.sure()));
            all.truncate(n);
        }
        all.sort_unstable_by_key(|count| std::cmp::Reverse(count.sure()));
        all.into_iter().map(|c| Count { key: c.key.clone(), count: c.count, error: c.error }).collect()
    }
}

#[derive(Clone, Debug)]
struct Entry<K> {
    key: K,
    count: u64,
    error: u64,
}

/// Space-Saving over a binary min-heap of counts; `places` finds a key's position in the heap.
#[derive(Clone, Debug)]
struct Sketch<K> {
    entries: Vec<Entry<K>>,
    places: HashMap<K, usize>,
}

impl<K: Clone + Eq + Hash> Sketch<K> {
    /// The `keep` largest of exact counts. What is dropped is at most the smallest kept, the error a newcomer inherits.
    fn from_exact(counts: HashMap<K, u64>, keep: usize) -> Self {
        let mut entries: Vec<Entry<K>> =
            counts.into_iter().map(|(key, count)| Entry { key, count, error: 0 }).collect();
        entries.sort_unstable_by_key(|entry| std::cmp::Reverse(entry.count));
        entries.truncate(keep);
        // Ascending order is a valid min-heap.
        entries.reverse();
        entries.shrink_to_fit();
        let places = entries.iter().enumerate().map(|(at, entry)| (entry.key.clone(), at)).collect();
        Self { entries, places }
    }

    fn add(&mut self, key: &K) {
        let at = match self.places.get(key) {
            Some(at) => *at,
            None => {
                let smallest = &mut self.entries[0];
                let evicted = std::mem::replace(&mut smallest.key, key.clone());
                smallest.error = smallest.count;
                self.places.remove(&evicted);
                self.places.insert(key.clone(), 0);
                0
            }
        };
        self.entries[at].count += 1;
        self.sink(at);
    }

    /// Restores the heap below `at`, whose count has just grown.
    fn sink(&mut self, mut at: usize) {
        loop {
            let (left, right) = (2 * at + 1, 2 * at + 2);
            let mut least = at;
            for child in [left, right] {
                if child < self.entries.len() && self.entries[child].count < self.entries[least].count {
                    least = child;
                }
            }
            if least == at {
                return;
            }
            self.entries.swap(at, least);
            for moved in [at, least] {
                if let Some(place) = self.places.get_mut(&self.entries[moved].key) {
                    *place = moved;
                }
            }
            at = least;
        }
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

    #[test]
    fn exact_while_keys_are_few() {
        let counter = counted(Limits { exact_keys: 3, sketch_keys: 2 }, &[1, 2, 2, 3, 3, 3]);
        let top: Vec<_> = counter.top(2).iter().map(|c| (c.key, c.count, c.error)).collect();
        assert_eq!(top, [(3, 3, 0), (2, 2, 0)]);
        assert_eq!((counter.total(), counter.len(), counter.is_empty()), (6, 3, false));
    }

    #[test]
    fn a_full_sketch_of_equal_keys_names_none_as_large() {
        let stream: Vec<u16> = (0..1_000).collect();
        let counter = counted(Limits { exact_keys: 10, sketch_keys: 10 }, &stream);
        assert!(counter.top(20).iter().all(|c| c.sure() <= 1 && c.error >= 98), "{:?}", counter.top(20));
    }

    #[test]
    fn the_largest_of_several_are_ranked_by_what_is_sure() {
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
            sketch_share in 1usize..40,
        ) {
            let limits = Limits { exact_keys, sketch_keys: sketch_share.min(exact_keys) };
            let counter = counted(limits, &stream);
            let truth = |key: u16| stream.iter().filter(|k| **k == key).count() as u64;
            prop_assert!(counter.len() <= exact_keys);
            prop_assert_eq!(counter.total(), stream.len() as u64);
            for c in counter.top(usize::MAX) {
                prop_assert!(c.sure() <= truth(c.key) && truth(c.key) <= c.count, "{:?} {}", c, truth(c.key));
            }
            // A key above total / sketch_keys is always held.
            let held: Vec<u16> = match &counter.mode {
                Mode::Exact(counts) => counts.keys().copied().collect(),
                Mode::Sketch(sketch) => sketch.entries.iter().map(|e| e.key).collect(),
            };
            for key in 0..60 {
                if truth(key) > counter.total() / limits.sketch_keys as u64 {
                    prop_assert!(held.contains(&key), "{key} with {} of {}", truth(key), counter.total());
                }
            }
        }
    }
}
