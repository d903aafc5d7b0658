//! Merges the key counts of several gateways, with bounds.
//!
//! A gateway reports its largest keys and one bound for all others. Both bounds of a key add up; where a gateway does not
//! list it, the upper one grows by what that gateway says of its others. So no key is ever told to have had less than it
//! may have had, nor more than it surely had.

use std::collections::HashMap;
use std::hash::Hash;

use serde::{Deserialize, Serialize};

use crate::counter::{Count, KeyCounter, largest};

/// The largest keys of one count, or of several together.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Summary<K> {
    /// The keys listed; no key twice.
    pub keys: Vec<Count<K>>,
    /// No key that is not listed had more.
    pub others_at_most: u64,
}

/// The hottest keys of a [`Summary`].
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Top<K> {
    /// Most first, by what is sure.
    pub keys: Vec<Count<K>>,
    /// Every count is exact, and no other key had more than the last one.
    pub exact: bool,
}

impl<K: Clone + Eq + Hash> KeyCounter<K> {
    /// The `n` largest by lower bound, in no order, and a bound for all others.
    #[must_use]
    pub fn summary(&self, n: usize) -> Summary<K> {
        let mut held: Vec<_> = self.held().collect();
        // A key that the sketch does not monitor has had no more than the least of those it does.
        let not_held = if self.is_exact() { None } else { held.iter().map(|count| count.count).min() };
        if n < held.len() {
            held.select_nth_unstable_by_key(n, |count| std::cmp::Reverse(count.lower_bound()));
        }
        let rest = held.split_off(n.min(held.len()));
        let others_at_most = rest.iter().map(|count| count.count).chain(not_held).max().unwrap_or(0);
        let keys = held.into_iter();
        let keys = keys.map(|c| Count { key: c.key.clone(), count: c.count, error: c.error }).collect();
        Summary { keys, others_at_most }
    }
}

impl<K: Clone + Eq + Hash + Ord> Summary<K> {
    /// Several counts as one. A key may be in any of them.
    #[must_use]
    pub fn merged(parts: &[Self]) -> Self {
        let others_at_most = parts.iter().map(|part| part.others_at_most).sum();
        // By key: what is sure, what there is at most where it is listed, and the bound of the others there.
        let mut sums: HashMap<&K, (u64, u64, u64)> = HashMap::new();
        for part in parts {
            for count in &part.keys {
                let (sure, most, here) = sums.entry(&count.key).or_default();
                *sure += count.lower_bound();
                *most += count.count;
                *here += part.others_at_most;
            }
        }
        let whole = |(key, (sure, most, here)): (&K, (u64, u64, u64))| {
            let count = most + (others_at_most - here);
            Count { key: key.clone(), count, error: count - sure }
        };
        Self { keys: sums.into_iter().map(whole).collect(), others_at_most }
    }

    /// The `n` largest.
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
