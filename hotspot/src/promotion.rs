//! Decides which few keys deserve a metric series of their own, and keeps that choice steady.
//!
//! A promoted key keeps its place until it falls clearly below the keys outside (hysteresis), the number of changes a
//! minute is bounded, and a demoted key's series stays, no longer counting, until a scraper has surely seen its last
//! value: so the sum of increases over all series and the untracked remainder equals the increase of requests.

use std::collections::VecDeque;
use std::time::Duration;

/// Most keys with a series at one time, those on their way out included.
pub const MAX_KEYS: usize = 20;
/// Most promotions and demotions together in any 60 s.
pub const MAX_CHANGES_PER_MINUTE: usize = 20;
/// How long a demoted key's series keeps its last value; longer than three scrapes at the usual 15 s.
pub const RETIREMENT: Duration = Duration::from_secs(60);
/// A newcomer replaces the weakest promoted key only with this many times its count.
const HYSTERESIS: u64 = 2;

/// What to do to the metric series after one [`Promotion::update`].
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Change<K> {
    /// Make a series, counting from 0.
    Promote(K),
    /// Stop counting into the series, keep its value.
    Retire(K),
    /// Remove the series.
    Remove(K),
}

/// The set of promoted keys.
#[derive(Clone, Debug)]
pub struct Promotion<K> {
    active: Vec<K>,
    retiring: Vec<(K, Duration)>,
    changes: VecDeque<Duration>,
}

impl<K> Default for Promotion<K> {
    fn default() -> Self {
        Self { active: Vec::new(), retiring: Vec::new(), changes: VecDeque::new() }
    }
}

impl<K: Clone + Eq> Promotion<K> {
    /// Compares the promoted keys with `top`, the largest keys at `now` with their counts, largest first.
    pub fn update(&mut self, top: &[(K, u64)], now: Duration) -> Vec<Change<K>> {
        let mut changes = Vec::new();
        self.retiring.retain(|(key, since)| {
            let done = now.saturating_sub(*since) >= RETIREMENT;
            if done {
                changes.push(Change::Remove(key.clone()));
            }
            !done
        });
        while self.changes.front().is_some_and(|at| now.saturating_sub(*at) >= Duration::from_secs(60)) {
            self.changes.pop_front();
        }
        let count_of = |key: &K| top.iter().find(|(k, _)| k == key).map_or(0, |(_, count)| *count);

        // Places already being freed; each newcomer without a place waits for one of them before another is freed.
        let mut places_coming = self.retiring.len();
        for (key, count) in top.iter().take(MAX_KEYS) {
            if self.changes.len() >= MAX_CHANGES_PER_MINUTE {
                break;
            }
            // A retiring key must leave before it can start again at 0.
            if self.active.contains(key) || self.retiring.iter().any(|(k, _)| k == key) {
                continue;
            }
            if self.active.len() + self.retiring.len() < MAX_KEYS {
                self.active.push(key.clone());
                self.changes.push_back(now);
                changes.push(Change::Promote(key.clone()));
                continue;
            }
            if places_coming > 0 {
                places_coming -= 1;
                continue;
            }
            let weakest = self.active.iter().enumerate().min_by_key(|(_, k)| count_of(k)).map(|(i, _)| i);
            if let Some(weakest) = weakest
                && *count > HYSTERESIS.saturating_mul(count_of(&self.active[weakest]))
            {
                let key = self.active.swap_remove(weakest);
                self.retiring.push((key.clone(), now));
                self.changes.push_back(now);
                changes.push(Change::Retire(key));
            }
        }
        changes
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
    fn at_most_twenty_keys_and_twenty_changes_a_minute() {
        let mut promotion = Promotion::default();
        let first = promotion.update(&ranked(0..40, 100), secs(0));
        assert_eq!(first, (0..20).map(Change::Promote).collect::<Vec<_>>());
        assert!(promotion.update(&ranked(100..140, 1_000), secs(1)).is_empty(), "the budget is spent");
        let later = promotion.update(&ranked(100..140, 1_000), secs(60));
        assert_eq!(later.len(), 20);
        assert!(later.iter().all(|change| matches!(change, Change::Retire(_))), "{later:?}");
    }

    #[test]
    fn a_slightly_larger_key_displaces_nobody() {
        let mut promotion = Promotion::default();
        promotion.update(&ranked(0..20, 100), secs(0));
        let mut top = ranked(20..21, 199);
        top.extend(ranked(0..20, 100));
        assert!(promotion.update(&top, secs(120)).is_empty());
        top[0].1 = 201;
        assert_eq!(promotion.update(&top, secs(121)).len(), 1);
    }

    #[test]
    fn a_retired_key_keeps_its_series_and_then_goes() {
        let mut promotion = Promotion::default();
        promotion.update(&ranked(0..20, 1), secs(0));
        let retired = promotion.update(&[(99, 50)], secs(100));
        assert!(matches!(retired[..], [Change::Retire(_)]), "{retired:?}");
        assert!(
            promotion.update(&[(99, 50)], secs(159)).is_empty(),
            "no room before the old series has gone"
        );
        let after = promotion.update(&[(99, 50)], secs(160));
        assert!(matches!(after[..], [Change::Remove(_), Change::Promote(99)]), "{after:?}");
    }
}
