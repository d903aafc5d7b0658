//! Compares the hot keys of kernel and application.
//!
//! Both witnesses report counts that only grow. A [`KeyWindow`] keeps their growth over the last ten seconds. Both use
//! the same slots, so both windows cover the same time.
//!
//! The rule for hot keys is the shard's own ([`hotspot::hot_keys::hot`]). The kernel's list is computed here. The
//! application computes its own list.
//!
//! ```text
//! overlap = Σ min(kernel, app) / Σ max(kernel, app)        over the keys that either considers hot
//! ```
//!
//! The kernel sees only the keys of reads, because the key of a write is in its body. A key that is hot because of its
//! writes therefore lowers the overlap.

use std::collections::BTreeSet;
use std::time::Duration;

use hotspot::counter::Count;
use hotspot::hot_keys::{HOT_MOST, hot};
use protocol::probe_api::{HotKey, HotKeyOverlap};

use crate::signal::key_table::largest;
use crate::signal::key_window::{Grown, KeyReading, KeyWindow, Unlisted};

/// Readings closer together than this count as one. The loop reads once a second, and more often on request.
const MIN_INTERVAL: Duration = Duration::from_millis(900);

/// Below this span the window is not full and there is no overlap. The application's own window is ten seconds long.
const FULL: Duration = Duration::from_secs(9);

/// A slot longer than this would cover a different time than the application's list.
const MAX_INTERVAL: Duration = Duration::from_secs(3);

/// The application's keys, as in `/stats`.
#[derive(Clone, Debug, Default)]
pub(crate) struct AppKeys {
    /// Start time of the process, in Unix seconds. A new value means a new process with new counts.
    pub(crate) started_at: f64,
    /// `requests_received` and `top_keys`, counted since the last reset.
    pub(crate) top: KeyReading,
    /// `hot_keys`: the keys that the application itself calls hot.
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
    /// Drops all state, because one of the witnesses now counts something else.
    pub(crate) fn start_over(&mut self) {
        *self = Self::default();
    }

    /// Drops all state, because one of the witnesses could not be read at `now`.
    pub(crate) fn interrupted(&mut self, now: Duration) {
        *self = Self { last: Some(now), ..Self::default() };
    }

    /// Whether at least [`MIN_INTERVAL`] has passed since the last reading.
    pub(crate) fn is_due(&self, now: Duration) -> bool {
        self.last.is_none_or(|last| now >= last + MIN_INTERVAL)
    }

    /// Adds a reading of each witness, taken one right after the other. `now` is when the kernel was read, since any
    /// fixed start.
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

    /// The result of the last reading.
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
            // Without an exact growth, use the application's own count over its own ten seconds.
            Grown::AtLeast(count) => its.iter().find(|hot| hot.key == key).map_or(count, |hot| hot.count),
        };
        least += kernel.min(app);
        most += kernel.max(app);
    }
    #[expect(clippy::cast_precision_loss, reason = "ten seconds have far fewer than 2^53 requests")]
    (most > 0).then(|| least as f64 / most as f64)
}

/// The hot keys of a window.
fn hottest(window: &KeyWindow) -> Vec<HotKey> {
    let largest = largest(window.counts().into_iter(), HOT_MOST).into_iter();
    hot(window.total(), largest.map(|(key, count)| Count { key, count, error: 0 }))
        .into_iter()
        .map(|hot| HotKey { key: hot.key.to_string(), count: hot.count, ratio: hot.ratio })
        .collect()
}

#[cfg(test)]
mod tests;
