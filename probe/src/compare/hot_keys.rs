//! Which keys each witness calls hot, and how far the two agree: pure, readings in, lists and overlap out.
//!
//! Both witnesses give counts that only grow. A [`KeyWindow`] keeps their growth over the last ten seconds, slot by
//! slot, each as long as two readings were apart; the same slots for both, so that the same time is compared. A key is
//! hot by the shard's own rule ([`hotspot::hot_keys::hot`]); the kernel's list is made here, the application's is its own.
//!
//! ```text
//! overlap = Σ min(kernel, app) / Σ max(kernel, app)        over the keys that either calls hot
//! ```
//!
//! The kernel knows the keys of reads alone (a write's key is in its body), so a key that is hot by its writes lowers
//! the overlap.

use std::collections::{BTreeSet, VecDeque};
use std::sync::Arc;
use std::time::Duration;

use ahash::AHashMap;
use hotspot::counter::Count;
use hotspot::hot_keys::{HOT_MOST, hot};
use hotspot::window::{SLOT, SLOTS};
use serde::{Deserialize, Serialize};
use smol_str::SmolStr;

use crate::signal::keys::{KernelKey, KeyTable, largest};

/// Keys kept of one slot: one with more than a 64th of a slot's requests is surely there.
const KEYS_A_SLOT: usize = 64;

/// Two readings nearer than this are one: the loop reads once a second, and more often when it is asked.
const NEAREST: Duration = Duration::from_millis(900);

/// Below this the window is not full, and there is no overlap: the application's own is ten seconds long.
const FULL: Duration = Duration::from_secs(9);

/// A slot longer than this tells of another time than the application's list.
const LONGEST: Duration = Duration::from_secs(3);

/// Keys as one witness counts them at a moment. Cheap to clone.
#[derive(Clone, Debug, Default)]
pub struct KeyReading {
    /// All requests, those without a key in the list too.
    pub total: u64,
    /// The largest keys with their counts.
    pub keys: Arc<KeyTable>,
}

impl KeyReading {
    /// A list of keys and their counts, of so many requests in all. Two spellings of one key are one key.
    #[must_use]
    pub fn listed(total: u64, keys: impl IntoIterator<Item = (String, u64)>) -> Self {
        let keys = keys.into_iter().map(|(key, requests)| KernelKey { key, requests, error: 0 });
        Self { total, keys: Arc::new(keys.collect()) }
    }
}

/// The application's keys, as `/stats` has them.
#[derive(Clone, Debug, Default)]
pub struct AppKeys {
    /// When the process started, in unix seconds; another process has another, and counts anew.
    pub started_at: f64,
    /// `requests_received` and `top_keys`, counted since the last reset.
    pub top: KeyReading,
    /// `hot_keys`: what it calls hot itself.
    pub hot: Vec<HotKey>,
}

/// A hot key.
#[derive(Clone, Debug, PartialEq, Deserialize, Serialize)]
pub struct HotKey {
    /// The key.
    pub key: String,
    /// Its requests in the window.
    pub count: u64,
    /// Their share of the shard's, 0 … 1.
    pub ratio: f64,
}

/// Both witnesses' hot keys of one shard.
#[derive(Clone, Debug, Default, PartialEq, Serialize)]
pub struct HotKeys {
    /// How long the window is, by the clock.
    pub window_seconds: f64,
    /// What the kernel's counts make hot, hottest first.
    pub kernel: Vec<HotKey>,
    /// What the application calls hot, hottest first.
    pub app: Vec<HotKey>,
    /// Σ min / Σ max over the keys of both lists; `None` where both are empty or the window is not full.
    pub overlap_ratio: Option<f64>,
}

/// One shard's windows.
#[derive(Debug)]
pub struct HotKeysLedger {
    last: Option<Duration>,
    started_at: f64,
    kernel: KeyWindow,
    app: KeyWindow,
    shown: HotKeys,
}

impl Default for HotKeysLedger {
    fn default() -> Self {
        let (kernel, app) = (KeyWindow::new(Unlisted::Nothing), KeyWindow::new(Unlisted::Unknown));
        Self { last: None, started_at: 0.0, kernel, app, shown: HotKeys::default() }
    }
}

impl HotKeysLedger {
    /// Forgets all: one of the witnesses counts something else now.
    pub fn start_over(&mut self) {
        *self = Self::default();
    }

    /// Forgets all: one of the witnesses could not be read at `now`.
    pub fn interrupted(&mut self, now: Duration) {
        *self = Self { last: Some(now), ..Self::default() };
    }

    /// Whether a reading now would tell more than the last one did.
    #[must_use]
    pub fn is_due(&self, now: Duration) -> bool {
        self.last.is_none_or(|last| now >= last + NEAREST)
    }

    /// Takes both readings in, taken one right after the other, the kernel's at `now` (since any fixed start).
    pub fn observe(&mut self, now: Duration, kernel: KeyReading, app: AppKeys) -> &HotKeys {
        if !self.is_due(now) {
            return &self.shown;
        }
        let other = app.started_at.to_bits() != self.started_at.to_bits();
        if other || self.last.is_some_and(|last| now > last + LONGEST) {
            self.start_over();
            self.started_at = app.started_at;
        }
        self.last = Some(now);
        self.kernel.observe(now, kernel);
        self.app.observe(now, app.top);
        let hot = self.kernel.hot();
        let overlap_ratio =
            if self.kernel.span() < FULL { None } else { overlap(&self.kernel, &self.app, &hot, &app.hot) };
        let window_seconds = self.kernel.span().as_secs_f64();
        self.shown = HotKeys { window_seconds, kernel: hot, app: app.hot, overlap_ratio };
        &self.shown
    }

    /// What the last reading gave.
    #[must_use]
    pub fn shown(&self) -> &HotKeys {
        &self.shown
    }
}

fn overlap(kernel: &KeyWindow, app: &KeyWindow, mine: &[HotKey], its: &[HotKey]) -> Option<f64> {
    let keys: BTreeSet<&str> = mine.iter().chain(its).map(|hot| hot.key.as_str()).collect();
    let (mut least, mut most) = (0, 0);
    for key in keys {
        let kernel = kernel.known(key);
        let app = match app.count(key) {
            Grown::By(count) => count,
            // Its own count of its own ten seconds is the next best.
            Grown::AtLeast(count) => its.iter().find(|hot| hot.key == key).map_or(count, |hot| hot.count),
        };
        least += kernel.min(app);
        most += kernel.max(app);
    }
    #[expect(clippy::cast_precision_loss, reason = "counts of ten seconds are far below 2^53")]
    (most > 0).then(|| least as f64 / most as f64)
}

/// What it means that a key is not in a reading.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Unlisted {
    /// It has not been counted: a count that appears has grown from 0.
    Nothing,
    /// It may have any count that is too small for the list.
    Unknown,
}

/// How much a key's count has grown.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Grown {
    /// Exactly so much.
    By(u64),
    /// A part of the window is not known.
    AtLeast(u64),
}

impl Grown {
    const fn number(self) -> u64 {
        match self {
            Self::By(count) | Self::AtLeast(count) => count,
        }
    }
}

/// The growth of one witness's counts over the last ten seconds; bounded.
#[derive(Debug)]
pub(crate) struct KeyWindow {
    unlisted: Unlisted,
    /// The last reading, and when it was taken.
    previous: Option<(Duration, KeyReading)>,
    slots: VecDeque<Slot>,
}

/// What happened between two readings.
#[derive(Debug)]
struct Slot {
    from: Duration,
    to: Duration,
    total: u64,
    /// The largest growths, 0 among them, so that what is not here is not known.
    keys: AHashMap<SmolStr, u64>,
}

impl KeyWindow {
    pub(crate) const fn new(unlisted: Unlisted) -> Self {
        Self { unlisted, previous: None, slots: VecDeque::new() }
    }

    /// Takes a reading in; gives the keys of the one before, nothing for the first.
    pub(crate) fn observe(&mut self, now: Duration, reading: KeyReading) -> Option<Arc<KeyTable>> {
        let previous = self.previous.take();
        let (_, reading) = self.previous.insert((now, reading));
        if let Some((from, before)) = &previous {
            let known = |key| self.unlisted == Unlisted::Nothing || before.keys.keys.contains_key(key);
            let grown = reading.keys.growth(&before.keys).filter(|(key, _)| known(*key));
            let kept = largest(grown, KEYS_A_SLOT).into_iter();
            self.slots.push_back(Slot {
                from: *from,
                to: now,
                total: reading.total.checked_sub(before.total).unwrap_or(reading.total),
                keys: kept.map(|(key, count)| (key.clone(), count)).collect(),
            });
        }
        // As in the shards' own windows, whole slots leave.
        let longest = SLOT.saturating_mul(u32::try_from(SLOTS).unwrap_or(u32::MAX));
        while self.slots.front().is_some_and(|slot| slot.from + longest < now) {
            self.slots.pop_front();
        }
        previous.map(|(_, before)| before.keys)
    }

    /// How long the slots are together.
    fn span(&self) -> Duration {
        self.slots.iter().map(|slot| slot.to.saturating_sub(slot.from)).sum()
    }

    fn count(&self, key: &str) -> Grown {
        let known = |slot: &Slot| slot.keys.get(key).copied();
        let sum = self.slots.iter().filter_map(known).sum();
        let whole = self.slots.iter().all(|slot| known(slot).is_some());
        if whole { Grown::By(sum) } else { Grown::AtLeast(sum) }
    }

    /// What is known of `key` to be in the window.
    pub(crate) fn known(&self, key: &str) -> u64 {
        self.count(key).number()
    }

    /// The same of every key.
    pub(crate) fn counts(&self) -> AHashMap<&SmolStr, u64> {
        let mut counts = AHashMap::new();
        for (key, count) in self.slots.iter().flat_map(|slot| &slot.keys) {
            *counts.entry(key).or_default() += count;
        }
        counts
    }

    fn hot(&self) -> Vec<HotKey> {
        let total = self.slots.iter().map(|slot| slot.total).sum();
        let largest = largest(self.counts().into_iter(), HOT_MOST).into_iter();
        hot(total, largest.map(|(key, count)| Count { key, count, error: 0 }))
            .into_iter()
            .map(|hot| HotKey { key: hot.key.to_string(), count: hot.count, ratio: hot.ratio })
            .collect()
    }
}

#[cfg(test)]
mod tests;
