//! The hot keys of all shards, with hysteresis.

use crate::counter::Count;
use crate::skew::float;

/// Share of all requests from which a key is hot. A hot key stays hot down to half of this share.
pub const ENTER_SHARE: f64 = 0.01;
/// Minimum requests in the window for a hot key. A hot key stays hot down to half of this number.
pub const ENTER_REQUESTS: u64 = 10;
/// A new key replaces the weakest hot key only with this many times its requests.
pub const DISPLACES: f64 = 1.5;

/// The hot keys, hottest first, limited in number.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct HotSet<K> {
    keys: Vec<K>,
}

impl<K> Default for HotSet<K> {
    fn default() -> Self {
        Self { keys: Vec::new() }
    }
}

impl<K: Clone + Eq> HotSet<K> {
    /// The hot keys.
    #[must_use]
    pub fn keys(&self) -> &[K] {
        &self.keys
    }

    /// Updates the hot keys from a window of `total` requests and its largest keys `top`; keeps at most `limit`.
    /// `top` is sorted by lower bound, largest first. It must be somewhat longer than `limit`: a hot key that is
    /// missing in it is dropped.
    pub fn update(&mut self, top: &[Count<K>], total: u64, limit: usize) {
        let most = float(total);
        let is_hot = |count: &&Count<K>, part: f64| {
            let requests = float(count.lower_bound());
            requests >= part * float(ENTER_REQUESTS) && requests >= part * ENTER_SHARE * most
        };
        let mut stay: Vec<&Count<K>> =
            top.iter().filter(|c| is_hot(c, 0.5) && self.keys.contains(&c.key)).take(limit).collect();
        for newcomer in top.iter().filter(|c| is_hot(c, 1.0) && !self.keys.contains(&c.key)) {
            if stay.len() < limit {
                stay.push(newcomer);
            } else if let Some(weakest) = stay.iter_mut().min_by_key(|c| c.lower_bound())
                && float(newcomer.lower_bound()) >= DISPLACES * float(weakest.lower_bound())
            {
                *weakest = newcomer;
            }
        }
        stay.sort_by_key(|c| std::cmp::Reverse(c.lower_bound()));
        self.keys = stay.into_iter().map(|c| c.key.clone()).collect();
    }

    /// Removes all keys.
    pub fn clear(&mut self) {
        self.keys.clear();
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::predict::zipf;
    use proptest::prelude::*;

    fn counts(requests: &[u64]) -> Vec<Count<usize>> {
        let all = requests.iter().enumerate().map(|(key, count)| Count { key, count: *count, error: 0 });
        crate::counter::largest(all.collect(), 100)
    }

    #[test]
    fn the_hottest_of_zipf_are_hot_and_nothing_of_even_load() {
        for exponent in [0.99, 1.5] {
            let requests: Vec<u64> = zipf(1_000, exponent).iter().map(|p| (p * 5_000.0) as u64).collect();
            let mut hot = HotSet::default();
            hot.update(&counts(&requests), 5_000, 6);
            assert_eq!(hot.keys(), [0, 1, 2, 3, 4, 5]);
        }
        let mut hot = HotSet::default();
        hot.update(&counts(&[5; 1_000]), 5_000, 6);
        hot.update(&counts(&[50; 1_000]), 50_000, 6);
        assert!(hot.keys().is_empty());
    }

    #[test]
    fn by_what_they_surely_got_and_not_by_their_counts() {
        let mut hot = HotSet::default();
        hot.update(&[Count { key: 1, count: 900, error: 895 }], 1_000, 6);
        assert!(hot.keys().is_empty());
    }

    #[test]
    fn a_hot_key_stays_until_it_is_clearly_cool() {
        let mut hot = HotSet::default();
        for (requests, is_hot) in [(9, false), (10, true), (5, true), (4, false), (9, false), (10, true)] {
            hot.update(&counts(&[requests]), 1_000, 6);
            assert_eq!(!hot.keys().is_empty(), is_hot, "{requests}");
        }
        hot.update(&[], 0, 6);
        assert!(hot.keys().is_empty(), "silence");
    }

    #[test]
    fn only_a_clearly_hotter_key_takes_a_place() {
        let mut hot = HotSet::default();
        hot.update(&counts(&[100, 90]), 1_000, 2);
        hot.update(&counts(&[100, 90, 134]), 1_000, 2);
        assert_eq!(hot.keys(), [0, 1]);
        hot.update(&counts(&[100, 90, 135]), 1_000, 2);
        assert_eq!(hot.keys(), [2, 0]);
        hot.update(&counts(&[100, 90, 135]), 1_000, 1);
        assert_eq!(hot.keys(), [2], "a smaller limit holds at once");
    }

    proptest! {
        #[test]
        fn never_more_than_the_limit_and_never_a_cold_key(
            windows in prop::collection::vec((prop::collection::vec(0u64..200, 0..30), 0usize..8), 1..20),
        ) {
            let mut hot = HotSet::default();
            for (requests, limit) in windows {
                let total: u64 = requests.iter().sum();
                hot.update(&counts(&requests), total, limit);
                prop_assert!(hot.keys().len() <= limit);
                for key in hot.keys() {
                    prop_assert!(requests[*key] * 200 >= total && requests[*key] >= 5);
                }
            }
        }
    }
}
