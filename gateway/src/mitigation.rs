//! What is done about hot keys: the switches, and the keys they are about.
//!
//! A request never looks here: the cache and the others hold what concerns them in a form that costs it nothing. This
//! changes them, on request, and once a second by which keys are hot.

pub(crate) mod api;
mod metrics;
mod settings;

use hotspot::counter::largest;
use hotspot::hot_set::HotSet;
use hotspot::what_if::hot_entries;
use parking_lot::Mutex;
use protocol::Key;
use serde::Serialize;
use std::sync::Arc;

pub(crate) use metrics::{MitigationMetrics, Reason};
pub(crate) use settings::{CacheMode, Change, Settings};

use crate::cache::Cache;
use crate::key_counts::KeyCounts;
use crate::negative::Negatives;

/// Keys of each part of the counts that are ranked; more than may be hot of one.
const RANKED: usize = 24;
/// Seconds that are looked at.
const WINDOW: u64 = 10;

/// The switches and what they are about.
pub(crate) struct Mitigations {
    cache: Arc<Cache>,
    negatives: Arc<Negatives>,
    metrics: MitigationMetrics,
    /// Most entries of the hot-only cache.
    hot_entries: usize,
    state: Mutex<State>,
}

struct State {
    settings: Settings,
    hot: HotSet<Key>,
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
}

impl Mitigations {
    pub(crate) fn new(
        settings: Settings,
        cache: Arc<Cache>,
        negatives: Arc<Negatives>,
        shards: usize,
        metrics: MitigationMetrics,
    ) -> Self {
        metrics.show(&settings, None);
        let state = State { settings, hot: HotSet::default(), second: 0 };
        Self { cache, negatives, metrics, hot_entries: hot_entries(shards), state: Mutex::new(state) }
    }

    /// The switches.
    pub(crate) fn settings(&self) -> Settings {
        self.state.lock().settings.clone()
    }

    /// Changes what is asked for.
    pub(crate) fn change(&self, change: &Change) -> Settings {
        let mut state = self.state.lock();
        let mut settings = state.settings.clone();
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
        }
        state.settings = settings;
    }

    /// Looks for the hot keys when a second is over, if anything asks for them; to be called several times in each.
    pub(crate) fn tick(&self, keys: &KeyCounts) {
        let mut state = self.state.lock();
        let second = keys.second();
        if second == state.second {
            return;
        }
        state.second = second;
        if state.settings.cache == CacheMode::HotOnly {
            let (total, mut top) = (&mut 0, Vec::new());
            keys.look(|_, window, now| {
                let view = window.full(WINDOW, now);
                *total += view.total();
                top.extend(view.top(RANKED));
            });
            state.hot.update(&largest(top, 4 * self.hot_entries.max(RANKED)), *total, self.hot_entries);
        } else {
            state.hot.clear();
        }
        self.cache.admit_only(state.hot.keys().iter().take(self.hot_entries).cloned().collect());
    }

    /// Forgets which keys are hot.
    pub(crate) fn reset(&self) {
        let mut state = self.state.lock();
        state.hot.clear();
        self.cache.admit_only(Default::default());
    }

    /// What `/admin/mitigation` answers.
    pub(crate) fn report(&self) -> Report {
        let state = self.state.lock();
        Report {
            settings: state.settings.clone(),
            hot_entries: self.hot_entries,
            hot_keys: state.hot.keys().to_vec(),
        }
    }
}
