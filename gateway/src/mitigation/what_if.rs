//! Predicts the effect of each mitigation on the offered load.

use hotspot::what_if::{KeyRate, Mitigation, MitigationOutcome, Settings as Assumed, Traffic, hot_entries};
use protocol::body::{MitigationSettings, WhatIfMitigation, WhatIfOption, WhatIfSettings};
use protocol::placement::Scheme;
use protocol::{Key, ShardId};
use std::num::NonZeroU32;

use super::WINDOW;
use crate::key_counts::KeyCounts;

/// Number of keys per home shard that are modelled individually.
const KEYS: usize = 32;
/// How far above its fair share bounded load allows a shard to be, in the prediction.
const EPSILON: f64 = 0.25;

/// The offered load of the last ten full seconds.
pub(crate) struct OfferedTraffic {
    pub(crate) traffic: Traffic<Key>,
    pub(crate) requests: Vec<u64>,
    pub(crate) reads: u64,
    pub(crate) seconds: f64,
}

impl OfferedTraffic {
    pub(crate) fn of(keys: &KeyCounts) -> Self {
        let shards = keys.shards();
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

    /// Reads and writes of `key` a second, if the key is modelled individually.
    pub(crate) fn of_key(&self, key: &Key) -> Option<(f64, f64)> {
        let found = self.traffic.keys.iter().find(|known| known.key == *key)?;
        Some((found.reads, found.writes))
    }

    /// The predicted options, ordered by the share of their hottest shard, lowest first.
    pub(crate) fn options(&self, settings: &MitigationSettings, scheme: Scheme) -> Vec<WhatIfOption> {
        use WhatIfMitigation as What;
        let shards = self.requests.len();
        let (ttl, entries, keys) = (settings.ttl_seconds, hot_entries(shards), settings.replicated_keys);
        let assumed = |copies: usize| Assumed {
            ttl: ttl as f64,
            hot_entries: entries,
            replicated_keys: usize::try_from(keys).unwrap_or(0),
            copies,
            epsilon: EPSILON,
        };
        let usual = assumed(shards);
        let now = |mitigation| self.traffic.outcome(mitigation, &usual);
        let (none, home) = (WhatIfSettings::default, scheme.of_homes());
        let cache = || WhatIfSettings { ttl_seconds: Some(ttl), ..none() };
        let mut found = vec![
            (What::Nothing, WhatIfSettings { placement: Some(home), ..none() }, now(Mitigation::Nothing)),
            (What::Cache, cache(), now(Mitigation::Cache)),
            (
                What::HotOnlyCache,
                WhatIfSettings { entries: Some(entries), ..cache() },
                now(Mitigation::HotOnlyCache),
            ),
            (What::Placement, none(), now(Mitigation::Placement)),
            (
                What::BoundedLoad,
                WhatIfSettings { epsilon: Some(EPSILON), ..none() },
                now(Mitigation::BoundedLoad),
            ),
        ];
        for copies in 2..=shards {
            let outcome = self.traffic.outcome(Mitigation::Replication, &assumed(copies));
            let set = WhatIfSettings { copies: Some(copies), keys: Some(keys), ..none() };
            found.push((What::Replication, set, outcome));
        }
        for (option, other) in [
            (What::Modulo, Scheme::Modulo),
            (What::Jump, Scheme::Jump),
            (What::Rendezvous, Scheme::Rendezvous),
        ] {
            if other != home {
                let outcome = self.placed(other).outcome(Mitigation::Nothing, &usual);
                let noted =
                    outcome.map(|outcome| MitigationOutcome { note: self.note_of_placed(), ..outcome });
                found.push((option, none(), noted));
            }
        }
        let mut found: Vec<_> =
            found.into_iter().filter_map(|(name, set, outcome)| Some((name, set, outcome?))).collect();
        found.sort_by(|a, b| a.2.order(&b.2));
        found.into_iter().map(|(name, set, outcome)| option(name, set, outcome)).collect()
    }

    /// The same load under another placement. Keys that are not modelled individually are spread evenly.
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
        format!("{:.1} % of the load is placed by key, the rest evenly", 100.0 * known / (known + rest))
    }
}

fn option(
    mitigation: WhatIfMitigation,
    settings: WhatIfSettings,
    outcome: MitigationOutcome,
) -> WhatIfOption {
    WhatIfOption {
        mitigation,
        settings,
        hottest_shard_share: outcome.hottest_share,
        shard_id: outcome.shard_id.and_then(|shard| u32::try_from(shard).ok()).map(ShardId),
        max_over_mean: outcome.max_over_mean,
        shares: outcome.shares,
        shard_load: outcome.shard_load,
        elsewhere: outcome.elsewhere,
        note: outcome.note,
    }
}
