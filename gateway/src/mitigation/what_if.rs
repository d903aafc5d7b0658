//! What each mitigation would do to the load that clients offer now, before any is applied.

use hotspot::what_if::{KeyRate, Mitigation, Outcome, Settings as Reckoned, Traffic, hot_entries};
use protocol::Key;
use serde::Serialize;
use serde_json::{Value, json};
use std::num::NonZeroU32;

use super::{Settings, WINDOW};
use crate::key_counts::KeyCounts;
use crate::placement::Scheme;

/// Keys of each part of the counts that are reckoned with one by one: all that a part counts exactly.
const KEYS: usize = 32;
/// How far above its fair share bounded load lets a shard be.
const EPSILON: f64 = 0.25;

/// One thing that could be done.
#[derive(Serialize)]
pub(crate) struct Choice {
    pub(crate) mitigation: &'static str,
    settings: Value,
    pub(crate) hottest_shard_share: f64,
    shard_id: Option<usize>,
    max_over_mean: f64,
    shares: Vec<f64>,
    shard_load: f64,
    elsewhere: f64,
    note: String,
    /// Copies of a hot key, where that is what it is about.
    #[serde(skip)]
    pub(crate) copies: usize,
}

/// The load of the last ten full seconds.
pub(crate) struct Load {
    pub(crate) traffic: Traffic<Key>,
    pub(crate) requests: Vec<u64>,
    pub(crate) reads: u64,
    pub(crate) seconds: f64,
}

impl Load {
    pub(crate) fn of(keys: &KeyCounts, shards: usize) -> Self {
        let mut load =
            Self { traffic: Traffic::new(shards), requests: vec![0; shards], reads: 0, seconds: 0.0 };
        keys.look(|shard, window, now| {
            let view = window.full(WINDOW, now);
            load.traffic.add(shard, &view, KEYS);
            load.requests[shard] += view.total();
            load.reads += view.reads();
            load.seconds = load.seconds.max(view.span().as_secs_f64());
        });
        load
    }

    /// Reads and writes of `key` a second, if it is known by itself.
    pub(crate) fn of_key(&self, key: &Key) -> Option<(f64, f64)> {
        let found = self.traffic.keys.iter().find(|known| known.key == *key)?;
        Some((found.reads, found.writes))
    }

    /// What there is to choose from, the coolest hottest shard first.
    pub(crate) fn choices(&self, settings: &Settings, scheme: Scheme) -> Vec<Choice> {
        let shards = self.requests.len();
        let (ttl, entries, keys) = (settings.ttl_seconds, hot_entries(shards), settings.replicated_keys);
        let reckoned = |copies: usize| Reckoned {
            ttl: ttl as f64,
            hot_entries: entries,
            replicated_keys: usize::try_from(keys).unwrap_or(0),
            copies,
            epsilon: EPSILON,
        };
        let usual = reckoned(shards);
        let now = |mitigation| self.traffic.outcome(mitigation, &usual);
        let home = scheme.home_of().name();
        let mut found = vec![
            ("nothing", json!({"placement": home}), now(Mitigation::Nothing), 1),
            ("cache", json!({"ttl_seconds": ttl}), now(Mitigation::Cache), 1),
            (
                "hot_only_cache",
                json!({"ttl_seconds": ttl, "entries": entries}),
                now(Mitigation::HotOnlyCache),
                1,
            ),
            ("placement", json!({}), now(Mitigation::Placement), 1),
            ("bounded_load", json!({"epsilon": EPSILON}), now(Mitigation::BoundedLoad), 1),
        ];
        for copies in 2..=shards {
            let outcome = self.traffic.outcome(Mitigation::Replication, &reckoned(copies));
            found.push(("replication", json!({"copies": copies, "keys": keys}), outcome, copies));
        }
        for other in [Scheme::Modulo, Scheme::Jump, Scheme::Rendezvous] {
            if other != scheme.home_of() {
                let outcome = self.placed(other).outcome(Mitigation::Nothing, &usual);
                let noted = outcome.map(|outcome| Outcome { note: self.note_of_placed(), ..outcome });
                found.push((other.name(), json!({}), noted, 1));
            }
        }
        let mut found: Vec<_> = found
            .into_iter()
            .filter_map(|(name, set, outcome, copies)| Some((name, set, outcome?, copies)))
            .collect();
        found.sort_by(|a, b| a.2.order(&b.2));
        found
            .into_iter()
            .map(|(name, set, outcome, copies)| Choice::new(name, set, outcome, copies))
            .collect()
    }

    /// The same load by another placement. The keys that are not known one by one spread evenly.
    fn placed(&self, scheme: Scheme) -> Traffic<Key> {
        let shards = self.requests.len();
        let count = u32::try_from(shards).ok().and_then(NonZeroU32::new).unwrap_or(NonZeroU32::MIN);
        let place =
            |key: &KeyRate<Key>| KeyRate { shard: scheme.home(&key.key, count).index(), ..key.clone() };
        let rest = self.traffic.rest.iter().sum::<f64>() / shards.max(1) as f64;
        Traffic { keys: self.traffic.keys.iter().map(place).collect(), rest: vec![rest; shards] }
    }

    fn note_of_placed(&self) -> String {
        let known: f64 = self.traffic.keys.iter().map(|key| key.reads + key.writes).sum();
        let rest: f64 = self.traffic.rest.iter().sum();
        format!(
            "with {:.1} % of the load placed key by key, and the rest evenly",
            100.0 * known / (known + rest)
        )
    }
}

impl Choice {
    fn new(mitigation: &'static str, settings: Value, outcome: Outcome, copies: usize) -> Self {
        Self {
            mitigation,
            settings,
            hottest_shard_share: outcome.hottest_share,
            shard_id: outcome.shard_id,
            max_over_mean: outcome.max_over_mean,
            shares: outcome.shares,
            shard_load: outcome.shard_load,
            elsewhere: outcome.elsewhere,
            note: outcome.note,
            copies,
        }
    }

    /// One that has nothing but this.
    #[cfg(test)]
    pub(crate) fn plain(mitigation: &'static str, copies: usize, hottest_shard_share: f64) -> Self {
        Self {
            mitigation,
            settings: Value::Null,
            hottest_shard_share,
            shard_id: None,
            max_over_mean: 1.0,
            shares: Vec::new(),
            shard_load: 1.0,
            elsewhere: 0.0,
            note: String::new(),
            copies,
        }
    }
}
