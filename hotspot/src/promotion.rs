//! Selects the few keys that get their own metric series.
//!
//! - A promoted key stays promoted until another key has clearly more accesses (hysteresis).
//! - The number of changes a minute is bounded.
//! - The series of a demoted key stops counting but stays until a scraper has read its last value. So the sum of
//!   increases over all series and the untracked remainder equals the increase of requests.

use std::collections::VecDeque;
use std::time::Duration;

/// Maximum number of keys with a series at one time, including keys being demoted.
pub const MAX_KEYS: usize = 20;
/// Maximum number of keys that count at one time. The places between this and [`MAX_KEYS`] are for series being
/// demoted. So a key that has just become hot need not wait for them.
pub const MAX_ACTIVE: usize = 16;
/// Maximum number of promotions and demotions together in any 60 s.
pub const MAX_CHANGES_PER_MINUTE: usize = 20;
/// How long a demoted key's series keeps its last value: longer than three scrapes at the usual 15 s. The key is not
/// promoted again for the same time after the removal. So a scraper sees the series absent before it restarts at 0.
pub const RETIREMENT: Duration = Duration::from_secs(60);
/// Minimum accesses for a series. Otherwise the first keys ever seen would use up the minute's changes.
pub const MIN_COUNT: u64 = 10;
/// A new key replaces the weakest promoted key only with more than this many times its count.
const HYSTERESIS: u64 = 2;

/// A change to the metric series, returned by [`Promotion::update`].
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Change<K> {
    /// Create a series that counts from 0.
    Promote(K),
    /// Stop counting into the series and keep its value.
    Retire(K),
    /// Remove the series.
    Remove(K),
}

/// The set of promoted keys.
#[derive(Clone, Debug)]
pub struct Promotion<K> {
    active: Vec<K>,
    retiring: Vec<(K, Duration)>,
    /// Removed keys that must not be promoted yet, with the time of their demotion.
    barred: Vec<(K, Duration)>,
    changes: VecDeque<Duration>,
}

impl<K> Default for Promotion<K> {
    fn default() -> Self {
        Self { active: Vec::new(), retiring: Vec::new(), barred: Vec::new(), changes: VecDeque::new() }
    }
}

impl<K: Clone + Eq> Promotion<K> {
    /// Updates the promoted keys from `top`, the largest keys at `now` with their counts, largest first.
    pub fn update(&mut self, top: &[(K, u64)], now: Duration) -> Vec<Change<K>> {
        let mut changes = self.remove_retired(now);
        while self.changes.front().is_some_and(|at| now.saturating_sub(*at) >= Duration::from_secs(60)) {
            self.changes.pop_front();
        }
        let count_of = |key: &K| top.iter().find(|(k, _)| k == key).map_or(0, |(_, count)| *count);
        for (key, count) in top.iter().take(MAX_ACTIVE) {
            if *count < MIN_COUNT || self.is_known(key) {
                continue;
            }
            if self.active.len() == MAX_ACTIVE {
                let weakest =
                    self.active.iter().enumerate().min_by_key(|(_, k)| count_of(k)).map(|(at, _)| at);
                let Some(weakest) = weakest else { break };
                let stronger = *count > HYSTERESIS.saturating_mul(count_of(&self.active[weakest]));
                // Two changes: one demotion and one promotion.
                if !stronger || self.places() == 0 || self.changes.len() + 2 > MAX_CHANGES_PER_MINUTE {
                    break;
                }
                let retired = self.active.swap_remove(weakest);
                self.retiring.push((retired.clone(), now));
                self.changes.push_back(now);
                changes.push(Change::Retire(retired));
            } else if self.places() == 0 || self.changes.len() + 1 > MAX_CHANGES_PER_MINUTE {
                break;
            }
            self.active.push(key.clone());
            self.changes.push_back(now);
            changes.push(Change::Promote(key.clone()));
        }
        changes
    }

    /// Number of series that can still be created.
    fn places(&self) -> usize {
        MAX_KEYS.saturating_sub(self.active.len() + self.retiring.len())
    }

    fn is_known(&self, key: &K) -> bool {
        let listed = |list: &[(K, Duration)]| list.iter().any(|(k, _)| k == key);
        self.active.contains(key) || listed(&self.retiring) || listed(&self.barred)
    }

    fn remove_retired(&mut self, now: Duration) -> Vec<Change<K>> {
        self.barred.retain(|(_, since)| now.saturating_sub(*since) < 2 * RETIREMENT);
        let (done, retiring) = std::mem::take(&mut self.retiring)
            .into_iter()
            .partition::<Vec<_>, _>(|(_, since)| now.saturating_sub(*since) >= RETIREMENT);
        self.retiring = retiring;
        let removed = done.iter().map(|(key, _)| Change::Remove(key.clone())).collect();
        self.barred.extend(done);
        removed
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn secs(s: u64) -> Duration {
        Duration::from_secs(s)
    }

    fn ranked(keys: std::ops::Range<u32>, count: u64) -> Vec<(u32, u64)> {
        keys.map(|key| (key, count)).collect()
    }

    #[test]
    fn series_and_changes_are_bounded_however_the_keys_move() {
        let mut promotion = Promotion::default();
        let (mut series, mut changed_at) = (Vec::new(), Vec::new());
        for second in 0..1_000 {
            // A new set of hot keys every 7 s, each with far higher counts than the one before.
            let generation = u32::try_from(second / 7).unwrap();
            let count = 10u64.saturating_mul(3u64.saturating_pow(generation.min(30)));
            for change in
                promotion.update(&ranked(generation * 100..generation * 100 + 40, count), secs(second))
            {
                match change {
                    Change::Promote(key) => {
                        assert!(!series.contains(&key));
                        series.push(key);
                        changed_at.push(second);
                    }
                    Change::Retire(_) => changed_at.push(second),
                    Change::Remove(key) => series.retain(|k| *k != key),
                }
            }
            assert!(series.len() <= MAX_KEYS);
            let last_minute = changed_at.iter().filter(|at| **at + 60 > second).count();
            assert!(last_minute <= MAX_CHANGES_PER_MINUTE, "{last_minute} changes before second {second}");
        }
        assert!(changed_at.len() > 100, "keys do change: {}", changed_at.len());
    }

    #[test]
    fn a_key_that_becomes_hot_after_a_full_house_is_promoted_at_once() {
        let mut promotion = Promotion::default();
        assert_eq!(promotion.update(&ranked(0..40, 100), secs(0)).len(), MAX_ACTIVE);
        let changes = promotion.update(&[(99, 201)], secs(1));
        assert!(matches!(changes[..], [Change::Retire(_), Change::Promote(99)]), "{changes:?}");
    }

    #[test]
    fn rare_keys_get_no_series() {
        assert!(Promotion::default().update(&ranked(0..40, MIN_COUNT - 1), secs(0)).is_empty());
    }

    #[test]
    fn a_slightly_larger_key_displaces_nobody() {
        let mut promotion = Promotion::default();
        promotion.update(&ranked(0..16, 100), secs(0));
        let mut top = ranked(20..21, 200);
        top.extend(ranked(0..16, 100));
        assert!(promotion.update(&top, secs(120)).is_empty());
        top[0].1 = 201;
        assert_eq!(promotion.update(&top, secs(121)).len(), 2);
    }

    #[test]
    fn a_retired_key_keeps_its_series_goes_and_comes_back_only_after_it_was_seen_absent() {
        let mut promotion = Promotion::default();
        promotion.update(&ranked(0..16, 10), secs(0));
        let retired = promotion.update(&[(99, 50)], secs(100));
        let [Change::Retire(gone), Change::Promote(99)] = retired[..] else { panic!("{retired:?}") };
        assert!(promotion.update(&[(99, 50)], secs(159)).is_empty());
        assert_eq!(promotion.update(&[(99, 50)], secs(160)), [Change::Remove(gone)]);
        let back = [(gone, 5_000), (99, 50)];
        assert!(promotion.update(&back, secs(219)).is_empty());
        assert!(promotion.update(&back, secs(220)).contains(&Change::Promote(gone)));
    }
}
