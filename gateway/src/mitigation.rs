//! What is done about hot keys: the switches, and the keys they are about.
//!
//! A request never looks here: the cache and the others hold what concerns them in a form that costs it nothing. This
//! changes them, on request, and once a second by which keys are hot.

mod auto;
mod metrics;
mod settings;
pub(crate) mod what_if;

use hotspot::counter::{Count, largest};
use hotspot::hot_set::HotSet;
use hotspot::what_if::hot_entries;
use parking_lot::Mutex;
use protocol::{Key, ShardId};
use serde::Serialize;
use std::collections::HashSet;
use std::sync::Arc;

pub(crate) use metrics::{MitigationMetrics, Reason};
pub(crate) use settings::{CacheMode, Change, Settings};

use self::auto::Auto;
use crate::cache::Cache;
use crate::cache::negative_cache::NegativeCache;
use crate::key_counts::KeyCounts;
use crate::placement::Placement;
use crate::replicas::{self, Replicas};
use crate::state::Core;

/// Keys of each part of the counts that are ranked, so that one which is hot and overtaken by a little is still seen.
const RANKED: usize = 24;
/// Keys of all parts together that are ranked; more than twice of what may be hot.
const RANKED_OF_ALL: usize = 160;
/// Seconds that are looked at.
const WINDOW: u64 = 10;

/// The switches and what they are about.
pub(crate) struct Mitigations {
    cache: Arc<Cache>,
    negatives: Arc<NegativeCache>,
    replicas: Arc<Replicas>,
    metrics: MitigationMetrics,
    /// Most entries of the hot-only cache.
    hot_entries: usize,
    state: Mutex<State>,
}

struct State {
    settings: Settings,
    /// The keys that the hot-only cache admits.
    cached: HotSet<Key>,
    /// The keys that are replicated.
    replicated: HotSet<Key>,
    auto: Auto,
    /// The second in which the hot keys were looked for last.
    second: u64,
}

/// The answer of `/admin/mitigation`.
#[derive(Serialize)]
pub(crate) struct Report {
    #[serde(flatten)]
    settings: Settings,
    hot_entries: usize,
    hot_keys: Vec<Key>,
    replicated: Vec<Replicated>,
    auto: auto::Report,
}

/// A replicated key and the shards that reads of it may go to now.
#[derive(Serialize)]
struct Replicated {
    key: Key,
    replicas: Vec<ShardId>,
}

impl Mitigations {
    pub(crate) fn new(
        settings: Settings,
        cache: Arc<Cache>,
        negatives: Arc<NegativeCache>,
        replicas: Arc<Replicas>,
        shards: usize,
        metrics: MitigationMetrics,
    ) -> Self {
        metrics.show(&settings, None);
        let state = State {
            settings,
            cached: HotSet::default(),
            replicated: HotSet::default(),
            auto: Auto::default(),
            second: 0,
        };
        let hot_entries = hot_entries(shards);
        Self { cache, negatives, replicas, metrics, hot_entries, state: Mutex::new(state) }
    }

    /// The switches.
    pub(crate) fn settings(&self) -> Settings {
        self.state.lock().settings.clone()
    }

    /// Changes what is asked for.
    pub(crate) fn change(&self, change: &Change) -> Settings {
        let mut state = self.state.lock();
        let mut settings = state.settings.clone();
        if change.ends_auto() {
            state.auto.stop(&mut settings);
        }
        change.apply(&mut settings);
        self.set(&mut state, settings, Reason::Request);
        state.settings.clone()
    }

    /// Puts `settings` in force.
    fn set(&self, state: &mut State, settings: Settings, reason: Reason) {
        // Also when nothing changes: turning off what is off empties it.
        self.cache.set(settings.of_cache());
        self.negatives.set(settings.of_negatives());
        self.metrics.show(&settings, Some(reason));
        if settings != state.settings {
            tracing::info!(reason = reason.label(), before = ?state.settings, now = ?settings, "mitigation changed");
            // Looked for at the next tick, not in a second.
            state.second = u64::MAX;
        }
        if settings.replication == 1 {
            state.replicated.clear();
            self.replicas.want(&[], 1);
        }
        state.settings = settings;
    }

    /// Looks for the hot keys when a second is over, if anything asks for them, and sees to their copies; to be called
    /// several times in each.
    pub(crate) fn tick(&self, core: &Arc<Core>) {
        let shared = &core.shared;
        let mut state = self.state.lock();
        let second = shared.stats.keys().now().as_secs();
        if second != state.second {
            state.second = second;
            if state.settings.auto {
                let State { settings, auto, .. } = &mut *state;
                let decided = auto.decide(second, shared.stats.keys(), settings, shared.placement.scheme());
                if let Some(settings) = decided {
                    let set = || self.set(&mut state, settings, Reason::Auto);
                    shared.traces.within("mitigation change", set);
                    state.second = second;
                }
            }
            self.look_for_hot_keys(&mut state, shared.stats.keys());
        }
        let copies = usize::try_from(state.settings.replication).unwrap_or(1);
        let home = |key: &Key| (key.clone(), shared.placement.owner(key));
        self.replicas.want(&state.replicated.keys().iter().map(home).collect::<Vec<_>>(), copies);
        drop(state);
        for (key, copies) in self.replicas.all() {
            replicas::synchronise(core, &key, copies);
        }
    }

    fn look_for_hot_keys(&self, state: &mut State, keys: &KeyCounts) {
        let limits = [
            if state.settings.cache == CacheMode::HotOnly { self.hot_entries } else { 0 },
            if state.settings.replication > 1 { state.settings.replicated_keys } else { 0 }
                .try_into()
                .unwrap_or(0),
        ];
        let (top, total) = if limits == [0, 0] { (Vec::new(), 0) } else { ranked(keys) };
        state.cached.update(&top, total, limits[0]);
        state.replicated.update(&top, total, limits[1]);
        self.cache.admit_only(state.cached.keys().iter().cloned().collect());
    }

    /// Forgets which keys are hot.
    pub(crate) fn reset(&self) {
        let mut state = self.state.lock();
        state.cached.clear();
        state.replicated.clear();
        state.auto.forget();
        self.cache.admit_only(HashSet::new());
        self.replicas.want(&[], 1);
    }

    /// What `/admin/mitigation` answers.
    pub(crate) fn report(&self, placement: &Placement) -> Report {
        let state = self.state.lock();
        let replicated = state.replicated.keys().iter().map(|key| Replicated {
            key: key.clone(),
            replicas: self.replicas.of(key, placement.owner(key)),
        });
        let mut hot_keys = state.cached.keys().to_vec();
        hot_keys
            .extend(state.replicated.keys().iter().filter(|key| !state.cached.keys().contains(key)).cloned());
        Report {
            settings: state.settings.clone(),
            hot_entries: self.hot_entries,
            hot_keys,
            replicated: replicated.collect(),
            auto: state.auto.report(state.settings.auto),
        }
    }
}

/// The largest keys that clients asked for in the last ten full seconds, and how often they asked for any.
fn ranked(keys: &KeyCounts) -> (Vec<Count<Key>>, u64) {
    let (mut top, mut total) = (Vec::new(), 0);
    keys.look(|_, window, now| {
        let view = window.full(WINDOW, now);
        total += view.total();
        top.extend(view.top(RANKED));
    });
    (largest(top, RANKED_OF_ALL), total)
}
