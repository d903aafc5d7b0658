//! Judges one window: state and reason.

use std::hash::Hash;

use serde::{Deserialize, Serialize};

use crate::counter::Count;
use crate::skew::{Skew, float};
use crate::verdict::{Reason, State};
use crate::window::View;

/// Minimum requests in a window that can be judged.
pub const MIN_REQUESTS: u64 = 100;
/// Minimum requests a second in a window that can be judged. A health check of one key must not count as load.
pub const MIN_RATE: f64 = 20.0;
/// Minimum lower bound L for each state.
pub const THRESHOLDS: [(f64, State); 3] = [(2.0, State::Critical), (1.5, State::Hot), (1.2, State::Warm)];
/// The top key is the reason when it has at least this part of the hottest shard's excess.
pub const BLAME: f64 = 0.5;

/// Number of keys that an [`Observation`] takes from a view. It must be large enough that every gateway lists a key
/// that is hot over several gateways together.
const KEYS: usize = 8;

/// The counts of one window.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct Observation<K> {
    /// Requests by shard.
    pub requests: Vec<u64>,
    /// The largest keys of all shards, unsorted. The largest keys of the hottest shard must be included.
    pub keys: Vec<KeyLoad<K>>,
    /// Measured length of the window in seconds.
    pub seconds: f64,
    /// Answers and failures by shard; empty if they were not recorded.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub evidence: Vec<Evidence>,
}

/// More requests than any process can count in a window. A report with a larger count is faulty.
const MAX_REPORTED: u64 = 1 << 48;

/// Answers and failures of one shard in a window.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct Evidence {
    /// Requests and health checks that the shard answered, with any status.
    pub answered: u64,
    /// Requests and health checks that failed: connection refused or reset, or no answer in time. A shed request
    /// counts as answered.
    pub failed: u64,
}

/// One key's requests on one shard.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct KeyLoad<K> {
    /// The key.
    pub key: K,
    /// The shard that received them.
    #[serde(rename = "shard_id")]
    pub shard: usize,
    /// Lower bound of the key's requests (`count - error`).
    pub requests: u64,
}

/// The judgement on one window, before persistence.
#[derive(Clone, Debug, PartialEq)]
pub(crate) struct Judgement<K> {
    pub(crate) state: State,
    pub(crate) cause: Option<Cause<K>>,
    pub(crate) skew: Skew,
    /// The shard with the most requests.
    pub(crate) hottest: usize,
    /// The top key and its share of all requests.
    pub(crate) top: Option<(K, f64)>,
    /// The shares of all shards by id, including excluded ones.
    pub(crate) shares: Vec<f64>,
    /// Number of shards that are compared.
    pub(crate) judged: usize,
    pub(crate) requests: u64,
    pub(crate) seconds: f64,
}

/// The shard, key and reason behind a state.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct Cause<K> {
    pub(crate) reason: Reason,
    pub(crate) shard: usize,
    pub(crate) key: Option<K>,
}

impl<K: Clone + Eq + Hash + Ord> Observation<K> {
    /// An empty observation of `shards` shards.
    #[must_use]
    pub fn new(shards: usize) -> Self {
        Self { requests: vec![0; shards], keys: Vec::new(), seconds: 0.0, evidence: Vec::new() }
    }

    /// Adds the counts of a view on `shard`. Several views of one shard must have different keys.
    pub fn add(&mut self, shard: usize, view: &View<'_, K>) {
        if let Some(requests) = self.requests.get_mut(shard) {
            *requests += view.total();
        }
        let load = |count: Count<K>| KeyLoad { requests: count.lower_bound(), key: count.key, shard };
        self.keys.extend(view.top(KEYS).into_iter().map(load));
        self.seconds = self.seconds.max(view.span().as_secs_f64());
    }

    /// Whether all counts are possible. Those of many possible observations can be added without an overflow.
    #[must_use]
    pub fn is_possible(&self) -> bool {
        let of_evidence = self.evidence.iter().flat_map(|evidence| [evidence.answered, evidence.failed]);
        let of_keys = self.keys.iter().map(|load| load.requests);
        self.requests.iter().copied().chain(of_keys).chain(of_evidence).all(|count| count <= MAX_REPORTED)
    }

    /// Adds the counts of another gateway for the same time. A key may be in both.
    pub fn merge(&mut self, other: &Self) {
        self.requests.resize(self.requests.len().max(other.requests.len()), 0);
        self.requests.iter_mut().zip(&other.requests).for_each(|(sum, more)| *sum += more);
        for load in &other.keys {
            match self.keys.iter_mut().find(|mine| mine.shard == load.shard && mine.key == load.key) {
                Some(mine) => mine.requests += load.requests,
                None => self.keys.push(load.clone()),
            }
        }
        self.seconds = self.seconds.max(other.seconds);
        self.evidence.resize(self.evidence.len().max(other.evidence.len()), Evidence::default());
        for (sum, more) in self.evidence.iter_mut().zip(&other.evidence) {
            sum.answered += more.answered;
            sum.failed += more.failed;
        }
    }
}

impl<K: Clone + Eq> Observation<K> {
    /// Judges the shards that are not `excluded`. Returns `None` when there are too few requests.
    ///
    /// A shard that is down, or was until recently, gets less than its share. This must not make another shard hot,
    /// so the detector excludes it.
    pub(crate) fn judge(&self, excluded: &[usize]) -> Option<Judgement<K>> {
        let judged = |shard: &usize| !excluded.contains(shard);
        let shards: Vec<usize> = (0..self.requests.len()).filter(judged).collect();
        let requests: Vec<u64> = shards.iter().map(|shard| self.requests[*shard]).collect();
        let total = requests.iter().sum::<u64>();
        if total < MIN_REQUESTS || float(total) < MIN_RATE * self.seconds {
            return None;
        }
        let skew = Skew::of(&requests)?;
        let (hottest, most) = (shards[skew.largest], requests[skew.largest]);
        let level = THRESHOLDS.iter().find(|(least, _)| skew.lower_bound >= *least);
        let state = level.map_or(State::Balanced, |(_, state)| *state);
        let excess = float(most) - float(total) / float(shards.len() as u64);
        let on_hottest = self.keys.iter().filter(|load| load.shard == hottest);
        let heaviest = on_hottest.max_by_key(|load| load.requests);
        let to_blame = heaviest.filter(|load| float(load.requests) >= BLAME * excess);
        let cause = (state >= State::Warm).then(|| Cause {
            reason: if to_blame.is_some() { Reason::HotKey } else { Reason::Placement },
            shard: hottest,
            key: to_blame.map(|load| load.key.clone()),
        });
        let top = self.top().map(|(key, requests)| (key, float(requests) / float(total)));
        let shares = self.requests.iter().map(|n| float(*n) / float(total)).collect();
        let (seconds, judged) = (self.seconds, shards.len());
        Some(Judgement { state, cause, skew, hottest, top, shares, judged, requests: total, seconds })
    }

    /// The key with the most requests on all shards together. A replicated key has requests on several shards.
    fn top(&self) -> Option<(K, u64)> {
        let sum_of = |key: &K| self.keys.iter().filter(|l| l.key == *key).map(|l| l.requests).sum::<u64>();
        let sums = self.keys.iter().map(|load| (&load.key, sum_of(&load.key)));
        sums.max_by_key(|(_, requests)| *requests).map(|(key, requests)| (key.clone(), requests))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    /// Returns the state and cause of these requests and keys.
    fn judged(requests: &[u64], keys: &[(&'static str, usize, u64)]) -> (State, Option<Cause<&'static str>>) {
        let load = |(key, shard, requests): &(&'static str, usize, u64)| KeyLoad {
            key: *key,
            shard: *shard,
            requests: *requests,
        };
        let keys: Vec<_> = keys.iter().map(load).collect();
        let judgement = Observation { requests: requests.to_vec(), keys, seconds: 1.0, evidence: Vec::new() }
            .judge(&[])
            .unwrap();
        (judgement.state, judgement.cause)
    }

    fn cause(reason: Reason, shard: usize, key: Option<&'static str>) -> Option<Cause<&'static str>> {
        Some(Cause { reason, shard, key })
    }

    #[test]
    fn a_hot_key_is_named() {
        let requests = [821, 56, 66, 57];
        let expected = (State::Critical, cause(Reason::HotKey, 0, Some("celebrity")));
        assert_eq!(judged(&requests, &[("celebrity", 0, 769), ("other", 1, 1)]), expected);
    }

    #[test]
    fn of_two_celebrities_the_one_on_the_hottest_shard_is_named() {
        let found = judged(&[4_000, 4_100, 950, 950], &[("a", 0, 3_500), ("b", 1, 3_300)]);
        assert_eq!(found, (State::Hot, cause(Reason::HotKey, 1, Some("b"))));
    }

    #[test]
    fn many_warm_keys_are_placement() {
        let keys = [("a", 2, 100), ("b", 2, 90), ("c", 2, 80), ("d", 0, 120)];
        assert_eq!(judged(&[800, 750, 1_700, 750], &keys), (State::Hot, cause(Reason::Placement, 2, None)));
        // One shard is so hot that all others are below half of their fair share. They are not down.
        assert_eq!(
            judged(&[60, 70, 800, 70], &[("a", 2, 100)]),
            (State::Critical, cause(Reason::Placement, 2, None))
        );
    }

    #[test]
    fn a_shard_without_requests_is_no_cause() {
        assert_eq!(judged(&[333, 333, 333, 0], &[]), (State::Balanced, None));
        assert_eq!(judged(&[33, 0, 33, 34], &[]), (State::Balanced, None));
        // All requests go to one shard because there is only one key.
        assert_eq!(judged(&[0, 200], &[("only", 1, 200)]).1, cause(Reason::HotKey, 1, Some("only")));
    }

    #[test]
    fn an_excluded_shard_makes_no_other_one_hot() {
        let judge = |requests: [u64; 4], excluded: &[usize]| {
            let keys = vec![KeyLoad { key: "c", shard: 3, requests: requests[3] }];
            let observation =
                Observation { requests: requests.to_vec(), keys, seconds: 1.0, evidence: Vec::new() };
            observation.judge(excluded).unwrap()
        };
        let even = [3_000, 0, 3_100, 3_050];
        assert_eq!(judge(even, &[]).state, State::Warm);
        assert_eq!(judge(even, &[1]).state, State::Balanced);
        let hot = judge([300, 0, 310, 3_000], &[1]);
        assert_eq!((hot.state, hot.cause), (State::Critical, cause(Reason::HotKey, 3, Some("c"))));
    }

    #[test]
    fn few_requests_a_second_are_not_judged() {
        let load = |requests: u64, seconds: f64| {
            let keys = vec![KeyLoad { key: "health-check", shard: 0, requests }];
            Observation { requests: vec![requests, 0, 0, 0], keys, seconds, evidence: Vec::new() }
        };
        assert_eq!(load(190, 10.0).judge(&[]), None);
        assert_eq!(load(200, 10.0).judge(&[]).unwrap().state, State::Critical);
        assert_eq!(load(99, 1.0).judge(&[]), None);
    }

    #[test]
    fn even_counts_have_no_cause() {
        assert_eq!(judged(&[239, 249, 262, 250], &[("user-7", 2, 4)]), (State::Balanced, None));
        assert_eq!(judged(&[1_000], &[("all", 0, 1_000)]), (State::Balanced, None));
        let few: Observation<u8> = Observation {
            requests: vec![99, 0, 0, 0],
            keys: Vec::new(),
            seconds: 10.0,
            evidence: Vec::new(),
        };
        assert_eq!(few.judge(&[]), None);
    }

    #[test]
    fn half_of_a_hot_key_at_each_gateway_is_a_hot_key() {
        let load = |key, shard, requests| KeyLoad { key, shard, requests };
        let keys = vec![load("c", 0, 300), load("a", 0, 280), load("b", 0, 270), load("d", 1, 90)];
        let one = Observation { requests: vec![850, 90, 80, 80], keys, seconds: 1.0, evidence: Vec::new() };
        let keys = vec![load("c", 0, 310), load("e", 0, 290), load("d", 1, 1)];
        let other = Observation { requests: vec![860, 80, 80, 80], keys, seconds: 0.9, evidence: Vec::new() };
        // Half of the excess of 1,160 is 580.
        let mut both = one.clone();
        both.merge(&other);
        assert_eq!((both.requests.clone(), both.seconds), (vec![1_710, 170, 160, 160], 1.0));
        assert!(both.keys.contains(&load("c", 0, 610)) && both.keys.contains(&load("d", 1, 91)));
        assert_eq!(both.judge(&[]).unwrap().cause, cause(Reason::HotKey, 0, Some("c")));
    }

    #[test]
    fn a_replicated_key_counts_whole() {
        let keys: Vec<_> = (0..4).map(|shard| KeyLoad { key: "c", shard, requests: 190 }).collect();
        let judgement = Observation { requests: vec![250; 4], keys, seconds: 1.0, evidence: Vec::new() }
            .judge(&[])
            .unwrap();
        assert_eq!((judgement.state, judgement.top), (State::Balanced, Some(("c", 0.76))));
    }
}
