//! One shard's own hot keys: more than 30 % of the window's accesses, of at least 10.

use crate::counter::Count;

/// A key over the shard's own threshold.
#[derive(Clone, Debug, PartialEq)]
pub struct Hot<K> {
    /// The key.
    pub key: K,
    /// Its share of the window, 0 … 1, by its lower bound.
    pub ratio: f64,
    /// Its accesses in the window (lower bound).
    pub count: u64,
}

/// Share of a shard's accesses above which a key is hot.
pub const HOT_SHARE: f64 = 0.3;
/// Fewest accesses in the window for anything to be called hot.
pub const HOT_MIN_SAMPLES: u64 = 10;

/// More than three keys cannot each have 30 %: so many of the largest are all that [`hot`] needs.
pub const HOT_MOST: usize = 3;

/// Those of the largest keys `top` (hottest first) that are hot in a window of `total` accesses.
pub fn hot<K>(total: u64, top: impl IntoIterator<Item = Count<K>>) -> Vec<Hot<K>> {
    if total < HOT_MIN_SAMPLES {
        return Vec::new();
    }
    #[expect(clippy::cast_precision_loss, reason = "counts of ten seconds are far below 2^53")]
    let share = |count: u64| count as f64 / total as f64;
    top.into_iter()
        .map(|c| Hot { ratio: share(c.sure()), count: c.sure(), key: c.key })
        .filter(|hot| hot.ratio > HOT_SHARE)
        .collect()
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::counter::Limits;
    use crate::window::{Access, Window};
    use std::time::Duration;

    /// The hot keys of a window after these `(key, accesses, second)`.
    fn hot_after(accesses: &[(u32, u64, u64)]) -> Vec<Hot<u32>> {
        let mut window = Window::new(Limits { exact_keys: 64, sketch_keys: 32 }, Duration::ZERO);
        let mut now = Duration::ZERO;
        for (key, n, second) in accesses {
            now = Duration::from_secs(*second);
            window.add_many(key, Access::Read, *n, now);
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
}
