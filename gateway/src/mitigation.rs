//! Mitigations of hot keys: the switches and the hot keys.
//!
//! Requests never read this module. The cache and the replicas hold the settings in a form that costs a request
//! nothing. This module updates them on request, and once a second from the present hot keys.

mod auto;
pub(crate) mod settings;
pub(crate) mod shared_settings;
pub(crate) mod what_if;

use hotspot::counter::{Count, largest};
use hotspot::hot_set::HotSet;
use hotspot::what_if::hot_entries;
use parking_lot::Mutex;
use protocol::Key;
use protocol::body::{CacheMode, MitigationChange, MitigationSettings, MitigationState, ReplicatedKey};
use serde_json::{Map, Value};
use service::clock::unix_milliseconds;
use service::problem::Problem;
use service::traces::Traces;
use std::collections::HashSet;
use std::sync::Arc;

pub(crate) use settings::Switches;

use self::auto::Auto;
use self::settings::{RESET, checked, explicit, sets_by_hand};
use self::shared_settings::{SharedSettings, Stamped, values};
use crate::cache::Cache;
use crate::key_counts::KeyCounts;
use crate::metrics::{ChangedBy, MitigationMetrics};
use crate::placement::Placement;
use crate::replicas::Replicas;
use crate::replicas::client::ShardClient;

/// Number of keys ranked in each home shard's window. It exceeds the number of hot keys, so that a hot key which is
/// overtaken by a small margin is still found.
const RANKED: usize = 24;
/// Number of keys ranked over all home shards, more than twice the largest number of hot keys.
const RANKED_OF_ALL: usize = 160;
/// Length of the observed window in seconds.
const WINDOW: u64 = 10;

/// The mitigation switches and the components that they control.
pub(crate) struct Mitigations {
    parts: Parts,
    /// Largest number of entries in the hot-only cache.
    hot_entries: usize,
    /// This gateway among its peers.
    gateway: u64,
    /// Unix milliseconds of the start.
    started_ms: u64,
    state: Mutex<State>,
}

/// The components of the gateway that mitigations read and change.
pub(crate) struct Parts {
    pub(crate) cache: Arc<Cache>,
    pub(crate) replicas: Arc<Replicas>,
    pub(crate) placement: Arc<Placement>,
    pub(crate) keys: Arc<KeyCounts>,
    pub(crate) traces: Traces,
    pub(crate) metrics: MitigationMetrics,
}

struct State {
    switches: Switches,
    /// The changes of `switches` and the last reset, without the choices of `auto`.
    shared: SharedSettings,
    /// The keys that the hot-only cache admits.
    cached: HotSet<Key>,
    /// The keys that are replicated.
    replicated: HotSet<Key>,
    auto: Auto,
    /// The second of the last search for hot keys.
    second: u64,
}

impl Mitigations {
    /// `gateway` is this gateway's number among its peers.
    pub(crate) fn new(gateway: u64, switches: Switches, parts: Parts) -> Self {
        parts.metrics.show(switches.on(), None);
        let state = State {
            switches,
            shared: SharedSettings::default(),
            cached: HotSet::default(),
            replicated: HotSet::default(),
            auto: Auto::default(),
            second: 0,
        };
        let hot_entries = hot_entries(parts.keys.shards());
        Self { parts, hot_entries, gateway, started_ms: unix_milliseconds(), state: Mutex::new(state) }
    }

    /// The settings in force.
    pub(crate) fn settings(&self) -> MitigationSettings {
        self.state.lock().switches.settings.clone()
    }

    /// Applies a requested change and returns the new settings.
    pub(crate) fn change(&self, change: &MitigationChange) -> MitigationSettings {
        let mut state = self.state.lock();
        let change = explicit(change);
        if let Ok(Value::Object(values)) = serde_json::to_value(&change) {
            state.shared.record(values, unix_milliseconds(), self.gateway);
        }
        self.apply(&mut state, &change, ChangedBy::Request);
        state.switches.settings.clone()
    }

    /// Takes over the newer ones among another gateway's settings. Returns whether a reset since this gateway's start is
    /// among them, which is the caller's to do.
    ///
    /// # Errors
    /// A value is invalid; then nothing is changed.
    pub(crate) fn merge(&self, theirs: &Stamped) -> Result<bool, Problem> {
        let mut state = self.state.lock();
        let shards = self.parts.placement.count().get().into();
        checked(values(theirs), shards)?;
        let news = state.shared.merge(theirs);
        let change = checked(values(&news), shards)?;
        if change != MitigationChange::default() {
            self.apply(&mut state, &change, ChangedBy::Peer);
        }
        Ok(news.get(RESET).is_some_and(|reset| reset.time_ms > self.started_ms))
    }

    /// The settings for other gateways: those that were ever changed.
    pub(crate) fn shared(&self) -> SharedSettings {
        self.state.lock().shared.clone()
    }

    /// Records a reset for other gateways.
    pub(crate) fn record_reset(&self) {
        let reset = Map::from_iter([(RESET.to_owned(), Value::Bool(true))]);
        self.state.lock().shared.record(reset, unix_milliseconds(), self.gateway);
    }

    fn apply(&self, state: &mut State, change: &MitigationChange, reason: ChangedBy) {
        let mut switches = state.switches.clone();
        if sets_by_hand(change) || change.auto == Some(false) {
            state.auto.stop(&mut switches.settings);
        }
        switches.apply(change);
        self.set(state, switches, reason);
    }

    /// Applies `switches`.
    fn set(&self, state: &mut State, switches: Switches, reason: ChangedBy) {
        // Needed even without a change: turning the cache off empties it, even if it is already off.
        self.parts.cache.set(switches.for_cache());
        self.parts.metrics.show(switches.on(), Some(reason));
        if switches != state.switches {
            let (before, now) = (&state.switches, &switches);
            tracing::info!(reason = reason.label(), ?before, ?now, "mitigation changed");
            // Search for hot keys at the next tick and not a second later.
            state.second = u64::MAX;
        }
        if switches.settings.replication == 1 {
            state.replicated.clear();
            self.parts.replicas.want(&[], 1);
        }
        state.switches = switches;
    }

    /// Searches for hot keys once a second if a mitigation needs them, and synchronises their copies. Call it several
    /// times a second.
    pub(crate) fn tick(&self, shards: &ShardClient) {
        let Parts { replicas, placement, keys, traces, .. } = &self.parts;
        let mut state = self.state.lock();
        let second = keys.now().as_secs();
        if second != state.second {
            state.second = second;
            if state.switches.auto {
                let State { switches, auto, .. } = &mut *state;
                if let Some(settings) = auto.decide(second, keys, &switches.settings, placement.scheme()) {
                    let switches = Switches { settings, auto: true };
                    let set = || self.set(&mut state, switches, ChangedBy::Auto);
                    traces.within("mitigation change", set);
                    state.second = second;
                }
            }
            self.search_hot_keys(&mut state);
        }
        let copies = usize::try_from(state.switches.settings.replication).unwrap_or(1);
        let home = |key: &Key| (key.clone(), placement.owner(key));
        replicas.want(&state.replicated.keys().iter().map(home).collect::<Vec<_>>(), copies);
        drop(state);
        for (key, copies) in replicas.all() {
            shards.synchronise(&key, copies);
        }
    }

    fn search_hot_keys(&self, state: &mut State) {
        let settings = &state.switches.settings;
        let replicated = if settings.replication > 1 { settings.replicated_keys } else { 0 };
        let limits = [
            if settings.cache == CacheMode::HotOnly { self.hot_entries } else { 0 },
            replicated.try_into().unwrap_or(0),
        ];
        let (top, total) = if limits == [0, 0] { (Vec::new(), 0) } else { ranked(&self.parts.keys) };
        state.cached.update(&top, total, limits[0]);
        state.replicated.update(&top, total, limits[1]);
        self.parts.cache.admit_only(state.cached.keys().iter().cloned().collect());
    }

    /// Forgets the hot keys.
    pub(crate) fn reset(&self) {
        let mut state = self.state.lock();
        state.cached.clear();
        state.replicated.clear();
        state.auto.forget();
        self.parts.cache.admit_only(HashSet::new());
        self.parts.replicas.want(&[], 1);
    }

    /// The response body of `/admin/mitigation`.
    pub(crate) fn report(&self) -> MitigationState {
        let state = self.state.lock();
        let replicated = state.replicated.keys().iter().map(|key| ReplicatedKey {
            key: key.clone(),
            replicas: self.parts.replicas.of(key, self.parts.placement.owner(key)),
        });
        let mut hot_keys = state.cached.keys().to_vec();
        hot_keys
            .extend(state.replicated.keys().iter().filter(|key| !state.cached.keys().contains(key)).cloned());
        MitigationState {
            settings: state.switches.settings.clone(),
            hot_entries: self.hot_entries,
            hot_keys,
            replicated: replicated.collect(),
            auto: state.auto.report(state.switches.auto),
            gateways: None,
        }
    }
}

/// The most requested keys of the last ten full seconds, and the number of all requests.
fn ranked(keys: &KeyCounts) -> (Vec<Count<Key>>, u64) {
    let (mut top, mut total) = (Vec::new(), 0);
    keys.look(|_, window, now| {
        let view = window.full(WINDOW, now);
        total += view.total();
        top.extend(view.top(RANKED));
    });
    (largest(top, RANKED_OF_ALL), total)
}
