//! Finds the hot keys of one shard.
//!
//! A key is hot with more than 30 % of the window's accesses. A window with fewer than 10 accesses has no hot key.

use std::fmt::Display;

use crate::counter::Count;
use crate::judge::MIN_REQUESTS;
use crate::sentence::{percent, quoted, window};
use crate::skew::float;
use crate::verdict::{Reason, State, Verdict};

/// A key above the shard's own threshold.
#[derive(Clone, Debug, PartialEq)]
pub struct Hot<K> {
    /// The key.
    pub key: K,
    /// The key's share of the window, 0 … 1, by its lower bound.
    pub ratio: f64,
    /// The key's accesses in the window (lower bound).
    pub count: u64,
}

/// Share of a shard's accesses above which a key is hot.
pub const HOT_SHARE: f64 = 0.3;
/// Minimum accesses in the window before any key is hot.
pub const HOT_MIN_SAMPLES: u64 = 10;

/// Number of largest keys that [`hot`] needs: at most three keys can each have more than 30 %.
pub const HOT_MOST: usize = 3;

/// Returns the keys of `top` (the largest keys, hottest first) that are hot in a window of `total` accesses.
pub fn hot<K>(total: u64, top: impl IntoIterator<Item = Count<K>>) -> Vec<Hot<K>> {
    if total < HOT_MIN_SAMPLES {
        return Vec::new();
    }
    let share = |count: u64| float(count) / float(total);
    top.into_iter()
        .map(|c| Hot { ratio: share(c.lower_bound()), count: c.lower_bound(), key: c.key })
        .filter(|hot| hot.ratio > HOT_SHARE)
        .collect()
}

/// The verdict of shard `shard` on its last `seconds` with `total` accesses. `top` has its largest keys, hottest
/// first. The shard does not see the other shards. So the state is at most `warm`, when one of its keys is hot, and
/// the figures that compare shards are absent.
#[must_use]
pub fn verdict<K: Clone + Display>(shard: usize, total: u64, seconds: f64, top: &[Count<K>]) -> Verdict<K> {
    let hottest = hot(total, top.iter().cloned()).into_iter().next().filter(|_| total >= MIN_REQUESTS);
    let p1 = top.first().filter(|_| total >= MIN_REQUESTS).map(|top| float(top.lower_bound()) / float(total));
    let window = window(total, seconds);
    let (state, sentence) = match &hottest {
        Some(hot) => (
            State::Warm,
            format!(
                "Key {} is {} of this shard's {window}. One shard cannot tell whether it is hot; see the gateway's verdict.",
                quoted(&hot.key),
                percent(hot.ratio)
            ),
        ),
        None if total < MIN_REQUESTS => (
            State::NotEnoughTraffic,
            format!("Not enough traffic to judge: {window}; at least {MIN_REQUESTS} are needed."),
        ),
        None => (State::Balanced, format!("No key has more than 30 % of this shard's {window}.")),
    };
    Verdict {
        state,
        reason: hottest.as_ref().map(|_| Reason::HotKey),
        shard_id: hottest.as_ref().map(|_| shard),
        key: hottest.map(|hot| hot.key),
        max_over_mean: None,
        lower_bound: None,
        cv: None,
        p1,
        n_p1: None,
        chi2: None,
        p: None,
        requests: total,
        window_seconds: seconds,
        sentence,
        down: Vec::new(),
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::counter::Limits;
    use crate::hash::hash_of;
    use crate::window::Window;
    use std::time::Duration;

    /// Returns the hot keys of a window after these `(key, accesses, second)`.
    fn hot_after(accesses: &[(u32, u64, u64)]) -> Vec<Hot<u32>> {
        let mut window = Window::new(Limits { exact_keys: 64, sketch_keys: 32 }, Duration::ZERO);
        let mut now = Duration::ZERO;
        for (key, n, second) in accesses {
            now = Duration::from_secs(*second);
            window.add_many(hash_of(key), key, *n, 0, *second);
        }
        let view = window.sliding(now);
        hot(view.total(), view.top(HOT_MOST))
    }

    #[test]
    fn hot_needs_ten_samples_and_more_than_thirty_percent() {
        assert!(hot_after(&[(7, 9, 0)]).is_empty());
        assert_eq!(hot_after(&[(7, 10, 0)]), [Hot { key: 7, ratio: 1.0, count: 10 }]);
        let parts = [(1, 30, 0), (2, 31, 0), (3, 20, 0), (4, 19, 0)];
        assert_eq!(hot_after(&parts), [Hot { key: 2, ratio: 0.31, count: 31 }]);
    }

    #[test]
    fn a_key_that_cools_down_is_no_longer_hot() {
        let mut accesses = vec![(0, 100, 0)];
        accesses.extend((1..=300).map(|key| (key, 1, 5)));
        assert!(hot_after(&accesses).is_empty());
        accesses.truncate(150);
        assert_eq!(hot_after(&accesses).len(), 1);
    }

    #[test]
    fn a_shard_speaks_only_of_its_own_keys() {
        let top = |lower_bound: u64| [Count { key: "k", count: lower_bound + 5, error: 5 }];
        let warm = verdict(2, 200, 9.5, &top(80));
        assert_eq!((warm.state, warm.reason, warm.key), (State::Warm, Some(Reason::HotKey), Some("k")));
        assert_eq!((warm.shard_id, warm.p1, warm.max_over_mean), (Some(2), Some(0.4), None));
        let expected = "Key \"k\" is 40.0 % of this shard's 200 requests in 10 s. ";
        assert!(warm.sentence.starts_with(expected), "{}", warm.sentence);
        let even = verdict(2, 200, 9.5, &top(60));
        assert_eq!((even.state, even.key, even.p1), (State::Balanced, None, Some(0.3)));
        let few = verdict(2, 99, 9.5, &top(90));
        assert_eq!((few.state, few.key, few.p1), (State::NotEnoughTraffic, None, None));
    }
}
