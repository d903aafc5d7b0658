//! Predicts the effect of each mitigation on the current load.

use serde::{Deserialize, Serialize};
use std::cmp::Ordering;
use std::hash::Hash;

use crate::predict::{max_over_mean, steady_misses_between_writes};
use crate::skew::float;
use crate::spread::{HomeLoad, bounded, evenly, random_placements, two_choices};
use crate::window::View;

/// A measure against a hot shard.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Mitigation {
    /// No change.
    Nothing,
    /// A cache for all keys.
    Cache,
    /// A cache for the hottest keys only.
    HotOnlyCache,
    /// Copies of the hottest keys on several shards; a read goes to the less loaded of two.
    Replication,
    /// Another placement: modulo, jump, rendezvous, Maglev.
    Placement,
    /// No shard gets more than its bound; the excess goes to other shards.
    BoundedLoad,
}

/// The settings of all mitigations.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct Settings {
    /// Time to live of a cached entry in seconds. The cache has single-flight.
    pub ttl: f64,
    /// Entries of the hot-only cache.
    pub hot_entries: usize,
    /// Number of keys that get copies.
    pub replicated_keys: usize,
    /// Number of shards that hold each of these keys.
    pub copies: usize,
    /// Bounded load: the part above its fair share that a shard may get.
    pub epsilon: f64,
}

impl Settings {
    /// The defaults for `shards` shards: 60 s, n·ln n entries, eight keys on all shards, and a bound of a quarter
    /// above the fair share.
    #[must_use]
    pub fn usual(shards: usize) -> Self {
        Self {
            ttl: 60.0,
            hot_entries: hot_entries(shards),
            replicated_keys: 8,
            copies: shards,
            epsilon: 0.25,
        }
    }
}

/// Entries that a cache in front of `shards` shards needs, for any skew of the keys: n·ln n, at least 1.
///
/// Fan, Lim, Andersen, Kaminsky: "Small cache, big effect", SoCC 2011.
#[must_use]
pub fn hot_entries(shards: usize) -> usize {
    let n = float(shards as u64);
    #[expect(clippy::cast_possible_truncation, clippy::cast_sign_loss, reason = "a small positive number")]
    let entries = (n * n.ln().max(0.0)).ceil() as usize;
    entries.max(1)
}

/// One key's requests per second.
#[derive(Clone, Debug, PartialEq)]
pub struct KeyRate<K> {
    /// The key.
    pub key: K,
    /// Its home shard.
    pub shard: usize,
    /// Reads per second.
    pub reads: f64,
    /// Writes per second.
    pub writes: f64,
}

/// The current load, per second.
#[derive(Clone, Debug, PartialEq)]
pub struct Traffic<K> {
    /// The largest keys.
    pub keys: Vec<KeyRate<K>>,
    /// Requests for all other keys, by home shard. Their distribution is unknown, so no cache is assumed to save any
    /// of them.
    pub rest: Vec<f64>,
}

/// The predicted result of a mitigation. All shares refer to all requests that clients send, so that they can be
/// compared.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct MitigationOutcome {
    /// The mitigation.
    pub mitigation: Mitigation,
    /// The hottest shard's share.
    pub hottest_share: f64,
    /// Every shard's share; empty when it cannot be predicted.
    pub shares: Vec<f64>,
    /// The hottest shard; absent when it cannot be predicted.
    pub shard_id: Option<usize>,
    /// `hottest_share` over the mean of the shards.
    pub max_over_mean: f64,
    /// Requests that reach a shard per client request: below 1 with a cache, above 1 when writes go to copies.
    pub shard_load: f64,
    /// Share of requests that a shard other than the key's home serves.
    pub elsewhere: f64,
    /// Remarks on the prediction, for users.
    pub note: String,
}

impl MitigationOutcome {
    /// Sorts the smallest hottest share first. Equal ones are sorted by the load of all shards, smallest first.
    #[must_use]
    pub fn order(&self, other: &Self) -> Ordering {
        let rounded = |share: f64| (share * 1e9).round();
        let load = rounded(self.shard_load).total_cmp(&rounded(other.shard_load));
        rounded(self.hottest_share).total_cmp(&rounded(other.hottest_share)).then(load)
    }
}

/// Random placements that are tried for [`Mitigation::Placement`].
const PLACEMENTS: usize = 400;

impl<K: Clone + Eq + Hash + Ord> Traffic<K> {
    /// An empty load of `shards` shards.
    #[must_use]
    pub fn new(shards: usize) -> Self {
        Self { keys: Vec::new(), rest: vec![0.0; shards] }
    }

    /// Adds the counts of a view on `shard`, the `n` largest keys one by one. Several views must have different keys.
    pub fn add(&mut self, shard: usize, view: &View<'_, K>, n: usize) {
        let seconds = view.span().as_secs_f64();
        if seconds <= 0.0 {
            return;
        }
        let mut rest = float(view.total()) / seconds;
        for (key, reads, writes) in view.top_apart(n) {
            let rate = KeyRate { key, shard, reads: float(reads) / seconds, writes: float(writes) / seconds };
            rest -= rate.reads + rate.writes;
            self.keys.push(rate);
        }
        if let Some(total) = self.rest.get_mut(shard) {
            *total += rest.max(0.0);
        }
    }
}

impl<K> Traffic<K> {
    /// Predicts the result of each mitigation, sorted by [`MitigationOutcome::order`]. Equal ones keep the order of
    /// [`Mitigation`]. Empty without load or shards.
    #[must_use]
    pub fn what_if(&self, settings: &Settings) -> Vec<MitigationOutcome> {
        let all = [
            Mitigation::Nothing,
            Mitigation::Cache,
            Mitigation::HotOnlyCache,
            Mitigation::Replication,
            Mitigation::Placement,
            Mitigation::BoundedLoad,
        ];
        let mut outcomes: Vec<_> =
            all.into_iter().filter_map(|mitigation| self.outcome(mitigation, settings)).collect();
        outcomes.sort_by(MitigationOutcome::order);
        outcomes
    }

    /// Predicts the result of one mitigation; `None` without load or shards.
    #[must_use]
    pub fn outcome(&self, mitigation: Mitigation, settings: &Settings) -> Option<MitigationOutcome> {
        let mut keys: Vec<&KeyRate<K>> = self.keys.iter().filter(|key| key.shard < self.rest.len()).collect();
        keys.sort_by(|a, b| (b.reads + b.writes).total_cmp(&(a.reads + a.writes)));
        let offered = self.rest.iter().sum::<f64>() + keys.iter().map(|k| k.reads + k.writes).sum::<f64>();
        if offered <= 0.0 {
            return None;
        }
        let model = Model { keys, rest: &self.rest, offered, settings };
        Some(match mitigation {
            Mitigation::Nothing => model.outcome(mitigation, &model.loads(0, 0.0), 0.0, String::new()),
            Mitigation::Cache => model.cache(mitigation, usize::MAX),
            Mitigation::HotOnlyCache => model.cache(mitigation, settings.hot_entries),
            Mitigation::Replication => model.replication(),
            Mitigation::Placement => model.placement(),
            Mitigation::BoundedLoad => model.bounded_load(),
        })
    }
}

/// The load with its keys sorted, largest first.
struct Model<'a, K> {
    keys: Vec<&'a KeyRate<K>>,
    rest: &'a [f64],
    offered: f64,
    settings: &'a Settings,
}

impl<K> Model<'_, K> {
    /// Loads by home shard when a cache with a time to live of `ttl` seconds holds the `cached` largest keys.
    fn loads(&self, cached: usize, ttl: f64) -> Vec<f64> {
        let mut loads = self.rest.to_vec();
        for (rank, key) in self.keys.iter().enumerate() {
            let reads = if rank < cached {
                steady_misses_between_writes(key.reads, key.writes, ttl)
            } else {
                key.reads
            };
            loads[key.shard] += reads + key.writes;
        }
        loads
    }

    fn outcome(
        &self,
        mitigation: Mitigation,
        loads: &[f64],
        elsewhere: f64,
        note: String,
    ) -> MitigationOutcome {
        let by_load = loads.iter().copied().enumerate().max_by(|a, b| a.1.total_cmp(&b.1));
        let (hottest, load) = by_load.unwrap_or_default();
        MitigationOutcome {
            mitigation,
            hottest_share: load / self.offered,
            shares: loads.iter().map(|load| load / self.offered).collect(),
            shard_id: Some(hottest),
            max_over_mean: max_over_mean(loads),
            shard_load: loads.iter().sum::<f64>() / self.offered,
            elsewhere: elsewhere / self.offered,
            note,
        }
    }

    fn cache(&self, mitigation: Mitigation, entries: usize) -> MitigationOutcome {
        let loads = self.loads(entries, self.settings.ttl);
        let held = entries.min(self.keys.len());
        let note =
            format!("at steady state, after 5 TTLs of {} s, for the {held} keys seen", self.settings.ttl);
        self.outcome(mitigation, &loads, 0.0, note)
    }

    fn replication(&self) -> MitigationOutcome {
        let copies = self.settings.copies.clamp(1, self.rest.len());
        let (copied, others) = self.keys.split_at(self.settings.replicated_keys.min(self.keys.len()));
        let mut base = self.rest.to_vec();
        others.iter().for_each(|key| base[key.shard] += key.reads + key.writes);
        // A write goes to every copy.
        let all_copies = float(copies as u64);
        let writes = copied.iter().map(|key| HomeLoad { shard: key.shard, load: all_copies * key.writes });
        let base = evenly(&base, &writes.collect::<Vec<_>>(), copies);
        let reads: Vec<_> = copied.iter().map(|key| HomeLoad { shard: key.shard, load: key.reads }).collect();
        let chosen = two_choices(&base, &reads, copies);
        let note = format!("{} keys are copied to {copies} shards; writes go to every copy", copied.len());
        self.outcome(Mitigation::Replication, &chosen.loads, chosen.elsewhere, note)
    }

    fn placement(&self) -> MitigationOutcome {
        let loads: Vec<f64> = self.keys.iter().map(|key| key.reads + key.writes).collect();
        let shards = self.rest.len();
        let sorted = random_placements(&loads, self.rest.iter().sum(), shards, PLACEMENTS);
        let at =
            |percent: usize| sorted.get(PLACEMENTS * percent / 100).copied().unwrap_or(0.0) / self.offered;
        let p1 = loads.first().copied().unwrap_or(0.0) / self.offered;
        let reach = if float(shards as u64) * p1 > 1.0 {
            "no placement can balance this"
        } else {
            "the result depends on the placement"
        };
        let note = format!(
            "median of {PLACEMENTS} placements (90 % of them: {:.1} to {:.1} %); {reach}: the hottest key alone is \
             {:.1} %",
            100.0 * at(5),
            100.0 * at(95),
            100.0 * p1
        );
        MitigationOutcome {
            mitigation: Mitigation::Placement,
            hottest_share: at(50),
            shares: Vec::new(),
            shard_id: None,
            max_over_mean: at(50) * float(shards as u64),
            shard_load: 1.0,
            elsewhere: 0.0,
            note,
        }
    }

    fn bounded_load(&self) -> MitigationOutcome {
        let found = bounded(&self.loads(0, 0.0), self.settings.epsilon);
        let note =
            format!("at least {:.1} % of the requests are forwarded", 100.0 * found.forwarded / self.offered);
        self.outcome(Mitigation::BoundedLoad, &found.loads, found.forwarded, note)
    }
}
