//! Merges the key counts of several gateways, with bounds.
//!
//! A gateway reports its largest keys and one upper bound for all other keys. The lower and the upper bounds of a key
//! are added up over the gateways. If a gateway does not list a key, its bound for other keys is added to the upper
//! bound. So the true count is always between the merged bounds.

use std::collections::HashMap;
use std::hash::Hash;

use serde::{Deserialize, Serialize};

use crate::counter::{Count, KeyCounter, largest};

/// The largest keys of one counter, or of several merged ones.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Summary<K> {
    /// The listed keys; each key occurs once.
    pub keys: Vec<Count<K>>,
    /// Upper bound of the count of every key that is not listed.
    pub others_at_most: u64,
}

/// The hottest keys of a [`Summary`].
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Top<K> {
    /// Sorted by lower bound, largest first.
    pub keys: Vec<Count<K>>,
    /// Whether every count is exact and no other key had more than the last one.
    pub exact: bool,
}

impl<K: Clone + Eq + Hash> KeyCounter<K> {
    /// Returns the `n` largest keys by lower bound, unsorted, and an upper bound for all others.
    #[must_use]
    pub fn summary(&self, n: usize) -> Summary<K> {
        let mut held: Vec<_> = self.held().collect();
        if n < held.len() {
            held.select_nth_unstable_by_key(n, |count| std::cmp::Reverse(count.lower_bound()));
        }
        let rest = held.split_off(n.min(held.len()));
        let others_at_most = rest.iter().map(|count| count.count).fold(self.floor(), u64::max);
        let keys = held.into_iter();
        let keys = keys.map(|c| Count { key: c.key.clone(), count: c.count, error: c.error }).collect();
        Summary { keys, others_at_most }
    }
}

impl<K: Clone + Eq + Hash + Ord> Summary<K> {
    /// Merges several counts. A key may be in several of them.
    #[must_use]
    pub fn merged(parts: &[Self]) -> Self {
        // The parts come from other processes, so nothing is known about their sizes. The bounds saturate.
        let others_at_most = parts.iter().fold(0, |sum: u64, part| sum.saturating_add(part.others_at_most));
        // By key: the lower bound, the upper bound, and the bounds for other keys of the summaries that list this
        // key.
        let mut sums: HashMap<&K, (u64, u64, u64)> = HashMap::new();
        for part in parts {
            for count in &part.keys {
                let (lower_bound, most, here) = sums.entry(&count.key).or_default();
                *lower_bound = lower_bound.saturating_add(count.lower_bound());
                *most = most.saturating_add(count.count);
                *here = here.saturating_add(part.others_at_most);
            }
        }
        let whole = |(key, (lower_bound, most, here)): (&K, (u64, u64, u64))| {
            let count = most.saturating_add(others_at_most.saturating_sub(here));
            Count { key: key.clone(), count, error: count.saturating_sub(lower_bound) }
        };
        Self { keys: sums.into_iter().map(whole).collect(), others_at_most }
    }

    /// Returns the `n` largest keys.
    #[must_use]
    pub fn top(&self, n: usize) -> Top<K> {
        let mut keys = largest(self.keys.clone(), usize::MAX);
        let rest = keys.split_off(n.min(keys.len()));
        let not_shown = rest.iter().map(|count| count.count).fold(self.others_at_most, u64::max);
        let least = keys.last().map_or(0, Count::lower_bound);
        let is_full = keys.len() == n || not_shown == 0;
        let exact = is_full && not_shown <= least && keys.iter().all(|count| count.error == 0);
        Top { keys, exact }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::counter::{KeyCounter, Limits};
    use proptest::prelude::*;

    fn summary(keys: &[(&'static str, u64, u64)], others_at_most: u64) -> Summary<&'static str> {
        let keys = keys.iter().map(|(key, count, error)| Count { key: *key, count: *count, error: *error });
        Summary { keys: keys.collect(), others_at_most }
    }

    fn shown(top: &Top<&'static str>) -> Vec<(&'static str, u64, u64)> {
        top.keys.iter().map(|count| (count.key, count.count, count.error)).collect()
    }

    #[test]
    fn two_that_list_the_same_keys_add_up_exactly() {
        let whole = Summary::merged(&[
            summary(&[("a", 9, 0), ("b", 5, 0), ("c", 1, 0)], 1),
            summary(&[("b", 7, 0), ("a", 2, 0), ("c", 1, 0)], 1),
        ]);
        let top = whole.top(2);
        assert_eq!((shown(&top), top.exact), (vec![("b", 12, 0), ("a", 11, 0)], true));
    }

    #[test]
    fn what_one_does_not_list_widens_the_bounds_and_is_not_called_exact() {
        let whole = Summary::merged(&[summary(&[("a", 9, 0)], 4), summary(&[("b", 7, 1)], 3)]);
        let top = whole.top(5);
        assert_eq!((shown(&top), top.exact), (vec![("a", 12, 3), ("b", 11, 5)], false));
        assert_eq!(whole.others_at_most, 7);
    }

    #[test]
    fn bounds_of_a_faulty_gateway_saturate() {
        let whole = Summary::merged(&[
            summary(&[("a", 9, 10), ("b", u64::MAX, 0), ("b", u64::MAX, 0)], u64::MAX),
            summary(&[("a", 5, 0)], 1),
        ]);
        assert_eq!(whole.others_at_most, u64::MAX);
        assert_eq!(shown(&whole.top(2)), [("b", u64::MAX, 0), ("a", 14, 9)]);
    }

    #[test]
    fn a_list_that_another_key_may_belong_to_is_not_exact() {
        let of = |others| summary(&[("a", 9, 0), ("b", 5, 0)], others);
        assert!(of(5).top(2).exact && !of(6).top(2).exact && of(0).top(3).exact && !of(1).top(3).exact);
        assert!(summary(&[], 0).top(10).exact, "nothing was counted");
    }

    proptest! {
        #[test]
        fn the_truth_lies_between_the_merged_bounds(
            streams in prop::collection::vec(prop::collection::vec(0u16..40, 0..600), 1..5),
            exact_keys in 1usize..50,
            sketch_keys in 1usize..20,
            listed in 0usize..45,
            n in 0usize..45,
        ) {
            let of = |stream: &Vec<u16>| {
                let mut counter = KeyCounter::new(Limits { exact_keys, sketch_keys });
                stream.iter().for_each(|key| counter.add(key));
                counter.summary(listed)
            };
            let parts: Vec<_> = streams.iter().map(of).collect();
            prop_assert!(parts.iter().all(|part| part.keys.len() <= listed));
            let whole = Summary::merged(&parts);
            let truth = |key: u16| streams.iter().flatten().filter(|other| **other == key).count() as u64;
            for key in 0..40 {
                match whole.keys.iter().find(|count| count.key == key) {
                    Some(count) => prop_assert!((count.lower_bound()..=count.count).contains(&truth(key)), "{count:?}"),
                    None => prop_assert!(truth(key) <= whole.others_at_most, "{key} {}", whole.others_at_most),
                }
            }
            let top = whole.top(n);
            if top.exact {
                let mut all: Vec<u64> = (0..40).map(truth).filter(|count| *count > 0).collect();
                all.sort_unstable_by(|a, b| b.cmp(a));
                all.truncate(n);
                prop_assert_eq!(top.keys.iter().map(|count| count.count).filter(|c| *c > 0).collect::<Vec<_>>(), all);
            }
        }
    }
}
