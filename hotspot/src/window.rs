//! What happened in the last ten seconds: ten one-second slots in a ring, each a bounded counter.

use std::collections::HashMap;
use std::hash::Hash;
use std::time::Duration;

use crate::counter::{Count, KeyCounter, Limits};

/// Slots in the ring; one is still filling, so a full window spans 9 to 10 s.
pub const SLOTS: u64 = 10;
/// Length of one slot.
pub const SLOT: Duration = Duration::from_secs(1);

/// A sliding window over key accesses. Time is given as the duration since any fixed start and must not go back.
#[derive(Clone, Debug)]
pub struct Window<K> {
    limits: Limits,
    /// Slot number (time / [`SLOT`]) with its counter, oldest first; slots without accesses are absent.
    slots: std::collections::VecDeque<(u64, KeyCounter<K>)>,
}

impl<K: Clone + Eq + Hash> Window<K> {
    /// An empty window whose slots each keep to `limits`.
    #[must_use]
    pub fn new(limits: Limits) -> Self {
        Self { limits, slots: std::collections::VecDeque::new() }
    }

    /// Counts one access at `now`.
    pub fn add(&mut self, key: &K, now: Duration) {
        let slot = self.advance(now);
        if self.slots.back().is_none_or(|(last, _)| *last < slot) {
            self.slots.push_back((slot, KeyCounter::new(self.limits)));
        }
        if let Some((_, counter)) = self.slots.back_mut() {
            counter.add(key);
        }
    }

    /// Accesses in the window that ends at `now`.
    pub fn total(&mut self, now: Duration) -> u64 {
        self.advance(now);
        self.slots.iter().map(|(_, counter)| counter.total()).sum()
    }

    /// The `n` largest keys of the window that ends at `now`, by lower bound. A key's count is at least its sum over the
    /// slots that hold it; where a slot's sketch does not hold it, what it may have had there is not counted.
    pub fn top(&mut self, n: usize, now: Duration) -> Vec<Count<K>> {
        self.advance(now);
        let mut sums: HashMap<K, (u64, u64)> = HashMap::new();
        for (_, counter) in &self.slots {
            for c in counter.top(self.limits.sketch_keys.max(n)) {
                let sum = sums.entry(c.key).or_default();
                sum.0 += c.count;
                sum.1 += c.error;
            }
        }
        let mut all: Vec<_> =
            sums.into_iter().map(|(key, (count, error))| Count { key, count, error }).collect();
        all.sort_unstable_by_key(|c| std::cmp::Reverse(c.sure()));
        all.truncate(n);
        all
    }

    /// Forgets everything.
    pub fn clear(&mut self) {
        self.slots.clear();
    }

    /// Drops what has left the window; gives the slot number of `now`.
    fn advance(&mut self, now: Duration) -> u64 {
        let slot = now.as_secs() / SLOT.as_secs();
        while self.slots.front().is_some_and(|(first, _)| first + SLOTS <= slot) {
            self.slots.pop_front();
        }
        slot
    }
}

/// A key over the shard's own threshold: more than 30 % of the window's accesses, of at least 10.
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

    const LIMITS: Limits = Limits { exact_keys: 64, sketch_keys: 32 };

    fn at(millis: u64) -> Duration {
        Duration::from_millis(millis)
    }

    fn hot_in<K: Clone + Eq + Hash>(window: &mut Window<K>, now: Duration) -> Vec<Hot<K>> {
        hot(window.total(now), window.top(HOT_MOST, now))
    }

    #[test]
    fn accesses_leave_after_ten_slots() {
        let mut window = Window::new(LIMITS);
        window.add(&"a", at(500));
        window.add(&"b", at(1_500));
        assert_eq!(window.total(at(9_999)), 2);
        assert_eq!(window.total(at(10_000)), 1);
        assert_eq!(window.total(at(11_000)), 0);
        assert!(window.top(5, at(11_000)).is_empty());
    }

    #[test]
    fn hot_needs_ten_samples_and_more_than_thirty_percent() {
        let mut window = Window::new(LIMITS);
        (0..9).for_each(|_| window.add(&"only", at(0)));
        assert!(hot_in(&mut window, at(1)).is_empty());
        window.add(&"only", at(2));
        assert_eq!(hot_in(&mut window, at(3)), [Hot { key: "only", ratio: 1.0, count: 10 }]);

        let mut window = Window::new(LIMITS);
        for (key, n) in [("at", 30), ("over", 31), ("c", 20), ("d", 19)] {
            (0..n).for_each(|_| window.add(&key, at(0)));
        }
        assert_eq!(hot_in(&mut window, at(1)), [Hot { key: "over", ratio: 0.31, count: 31 }]);
    }

    #[test]
    fn a_key_that_cools_down_is_no_longer_hot() {
        let mut window = Window::new(LIMITS);
        (0..100).for_each(|_| window.add(&0u32, at(0)));
        (0..300).for_each(|i| window.add(&(1 + i), at(5_000 + u64::from(i))));
        assert!(hot_in(&mut window, at(6_000)).is_empty());
    }

    #[test]
    fn many_keys_do_not_hide_the_hot_one() {
        let mut window = Window::new(LIMITS);
        for i in 0..10_000u32 {
            window.add(&i, at(u64::from(i)));
            window.add(&u32::MAX, at(u64::from(i)));
        }
        let hot = hot_in(&mut window, at(9_999));
        assert_eq!(hot.len(), 1);
        assert!(hot[0].key == u32::MAX && hot[0].ratio > 0.45 && hot[0].ratio <= 0.5, "{hot:?}");
    }
}
