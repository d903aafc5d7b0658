//! The hot keys of each witness, and their overlap.
//!
//! Both witnesses give counts that only grow. A [`KeyWindow`] keeps their growth over the last ten seconds; the
//! slots are the same for both, so that the same time is compared. A key is
//! hot by the shard's own rule ([`hotspot::hot_keys::hot`]); the kernel's list is made here, the application's is its own.
//!
//! ```text
//! overlap = Σ min(kernel, app) / Σ max(kernel, app)        over the keys that either calls hot
//! ```
//!
//! The kernel knows the keys of reads alone (a write's key is in its body), so a key that is hot by its writes lowers
//! the overlap.

use std::collections::BTreeSet;
use std::time::Duration;

use hotspot::counter::Count;
use hotspot::hot_keys::{HOT_MOST, hot};
use protocol::probe_api::{HotKey, HotKeyOverlap};

use crate::signal::key_table::largest;
use crate::signal::key_window::{Grown, KeyReading, KeyWindow, Unlisted};

/// Two readings nearer than this are one: the loop reads once a second, and more often when it is asked.
const MIN_INTERVAL: Duration = Duration::from_millis(900);

/// Below this the window is not full, and there is no overlap: the application's own is ten seconds long.
const FULL: Duration = Duration::from_secs(9);

/// A slot longer than this tells of another time than the application's list.
const MAX_INTERVAL: Duration = Duration::from_secs(3);

/// The application's keys, as `/stats` has them.
#[derive(Clone, Debug, Default)]
pub(crate) struct AppKeys {
    /// When the process started, in unix seconds; another process has another, and counts anew.
    pub(crate) started_at: f64,
    /// `requests_received` and `top_keys`, counted since the last reset.
    pub(crate) top: KeyReading,
    /// `hot_keys`: what it calls hot itself.
    pub(crate) hot: Vec<HotKey>,
}

/// One shard's windows.
#[derive(Debug)]
pub(crate) struct HotKeysLedger {
    last: Option<Duration>,
    started_at: f64,
    kernel: KeyWindow,
    app: KeyWindow,
    shown: HotKeyOverlap,
}

impl Default for HotKeysLedger {
    fn default() -> Self {
        let (kernel, app) = (KeyWindow::new(Unlisted::Nothing), KeyWindow::new(Unlisted::Unknown));
        Self { last: None, started_at: 0.0, kernel, app, shown: HotKeyOverlap::default() }
    }
}

impl HotKeysLedger {
    /// Forgets all: one of the witnesses counts something else now.
    pub(crate) fn start_over(&mut self) {
        *self = Self::default();
    }

    /// Forgets all: one of the witnesses could not be read at `now`.
    pub(crate) fn interrupted(&mut self, now: Duration) {
        *self = Self { last: Some(now), ..Self::default() };
    }

    /// Whether a reading now would tell more than the last one did.
    pub(crate) fn is_due(&self, now: Duration) -> bool {
        self.last.is_none_or(|last| now >= last + MIN_INTERVAL)
    }

    /// Takes both readings in, taken one right after the other, the kernel's at `now` (since any fixed start).
    pub(crate) fn observe(&mut self, now: Duration, kernel: KeyReading, app: AppKeys) -> &HotKeyOverlap {
        if !self.is_due(now) {
            return &self.shown;
        }
        let other = app.started_at.to_bits() != self.started_at.to_bits();
        if other || self.last.is_some_and(|last| now > last + MAX_INTERVAL) {
            self.start_over();
            self.started_at = app.started_at;
        }
        self.last = Some(now);
        self.kernel.observe(now, kernel);
        self.app.observe(now, app.top);
        let hot = hottest(&self.kernel);
        let overlap_ratio =
            if self.kernel.span() < FULL { None } else { overlap(&self.kernel, &self.app, &hot, &app.hot) };
        let window_seconds = self.kernel.span().as_secs_f64();
        self.shown = HotKeyOverlap { window_seconds, kernel: hot, app: app.hot, overlap_ratio };
        &self.shown
    }

    /// What the last reading gave.
    pub(crate) fn shown(&self) -> &HotKeyOverlap {
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

/// The keys that are hot in a window.
fn hottest(window: &KeyWindow) -> Vec<HotKey> {
    let largest = largest(window.counts().into_iter(), HOT_MOST).into_iter();
    hot(window.total(), largest.map(|(key, count)| Count { key, count, error: 0 }))
        .into_iter()
        .map(|hot| HotKey { key: hot.key.to_string(), count: hot.count, ratio: hot.ratio })
        .collect()
}

#[cfg(test)]
mod tests;
