//! Keeps the last two minutes of seconds for all live pages.
//!
//! The loop passes in the readings that it takes anyway. Rates and latencies are the growth since the previous second.
//! A new page first gets the last two minutes, so its charts start with a line instead of a single point.

use std::collections::VecDeque;
use std::sync::Arc;
use std::time::Duration;

use parking_lot::Mutex;
use probe_common::latency::Latency;
use protocol::probe_api::{
    OfShard, PageLinks, PastSecond, PastSeconds, Second, SecondOfShard, ShardRates, Verdicts,
};
use serde::Serialize;
use tokio::sync::{OwnedSemaphorePermit, Semaphore, watch};

use crate::compare::reconcile::Bracket;
use crate::compare::snapshot::Snapshot;
use crate::signal::latency::quantiles;

/// Maximum number of pages that may listen at once.
pub(crate) const LISTENERS: usize = 32;

/// Number of seconds kept.
const KEPT_SECONDS: usize = 120;

/// A longer gap between two readings gives no rate, because its mean would look like the rate of one second.
const MAX_INTERVAL: Duration = Duration::from_secs(10);

/// The newest samples, one a second, and the channel that sends the next sample.
#[derive(Debug)]
pub(crate) struct Feed {
    links: PageLinks,
    past: Mutex<Past>,
    newest: watch::Sender<Arc<str>>,
    room: Arc<Semaphore>,
}

#[derive(Debug, Default)]
struct Past {
    previous: Vec<Option<ShardSample>>,
    seconds: VecDeque<PastSecond>,
}

/// One shard's counts at one moment.
#[derive(Clone, Copy, Debug)]
pub(crate) struct ShardSample {
    kernel_at: Duration,
    kernel: u64,
    app_at: Duration,
    /// The start time of the application's process, and its count.
    app: Option<(f64, u64)>,
    latency: Latency,
}

impl Default for Feed {
    fn default() -> Self {
        Self::new(PageLinks::default())
    }
}

impl Feed {
    /// Creates a feed without any seconds.
    pub(crate) fn new(links: PageLinks) -> Self {
        Self {
            links,
            past: Mutex::default(),
            newest: watch::Sender::new("".into()),
            room: Arc::new(Semaphore::new(LISTENERS)),
        }
    }

    /// Reserves a place for one more listener until the permit is dropped. Returns `None` when all places are taken.
    pub(crate) fn place(&self) -> Option<OwnedSemaphorePermit> {
        Arc::clone(&self.room).try_acquire_owned().ok()
    }

    /// The number of listeners.
    pub(crate) fn listeners(&self) -> usize {
        LISTENERS.saturating_sub(self.room.available_permits())
    }

    /// The addresses that the page may call.
    pub(crate) fn links(&self) -> &PageLinks {
        &self.links
    }

    /// The first message for a listener: addresses, and the last two minutes.
    pub(crate) fn hello(&self) -> String {
        let past = self.past.lock();
        json(&PastSeconds { links: self.links.clone(), past: past.seconds.iter().cloned().collect() })
    }

    /// Subscribes to new frames. The receiver always holds the newest frame, so a slow listener misses some.
    pub(crate) fn listen(&self) -> watch::Receiver<Arc<str>> {
        self.newest.subscribe()
    }

    /// Publishes one second.
    pub(crate) fn publish(&self, snapshot: &Snapshot, seen: Vec<Option<ShardSample>>, verdicts: &Verdicts) {
        let shards = {
            let mut past = self.past.lock();
            past.observe(snapshot.taken_at, seen)
        };
        if self.newest.receiver_count() == 0 {
            return;
        }
        let shards = snapshot.shards.iter().zip(shards).enumerate().map(|(shard, (comparison, rates))| {
            let hot_keys = snapshot.hot_keys.get(shard).cloned();
            SecondOfShard { rates, comparison: comparison.clone(), hot_keys }
        });
        let shards = OfShard::numbered(shards);
        let store = snapshot.store.as_deref().cloned();
        let second = Second { taken_at: snapshot.taken_at, shards, verdicts: verdicts.clone(), store };
        self.newest.send_replace(json(&second).into());
    }
}

impl Past {
    /// Adds a second. Returns each shard's rates in it.
    fn observe(&mut self, taken_at: f64, seen: Vec<Option<ShardSample>>) -> Vec<ShardRates> {
        let previous = std::mem::take(&mut self.previous).into_iter().chain(std::iter::repeat(None));
        let flows = seen.iter().zip(previous).map(|(now, before)| match (before, now) {
            (Some(before), Some(now)) => now.since(&before),
            _ => ShardRates::default(),
        });
        let flows: Vec<ShardRates> = flows.collect();
        self.previous = seen;
        self.seconds.push_back(PastSecond { taken_at, shards: flows.clone() });
        if self.seconds.len() > KEPT_SECONDS {
            self.seconds.pop_front();
        }
        flows
    }
}

impl ShardSample {
    /// The sample of one shard's bracket and latencies.
    pub(crate) fn of(bracket: &Bracket, latency: Latency) -> Self {
        Self {
            kernel_at: bracket.to,
            kernel: bracket.kernel_after,
            app_at: (bracket.from + bracket.to) / 2,
            app: bracket.app.as_ref().ok().map(|app| (app.started_at, app.requests_received)),
            latency,
        }
    }

    fn since(&self, before: &Self) -> ShardRates {
        let mut latency = self.latency;
        latency.sum = latency.sum.saturating_sub(before.latency.sum);
        for (count, before) in latency.buckets.iter_mut().zip(before.latency.buckets) {
            *count = count.saturating_sub(before);
        }
        let same = self.app.zip(before.app).filter(|(now, before)| now.0.to_bits() == before.0.to_bits());
        ShardRates {
            kernel_per_second: rate((before.kernel_at, before.kernel), (self.kernel_at, self.kernel)),
            app_per_second: same.and_then(|(now, then)| rate((before.app_at, then.1), (self.app_at, now.1))),
            latency_ms: (latency.count() > 0).then(|| quantiles(&latency)),
        }
    }
}

/// Growth per second. `None` when the count fell, or the interval is zero or longer than [`MAX_INTERVAL`].
#[expect(clippy::cast_precision_loss, reason = "a counter grows by far less than 2^53 in some seconds")]
fn rate(before: (Duration, u64), now: (Duration, u64)) -> Option<f64> {
    let span = now.0.checked_sub(before.0).filter(|span| !span.is_zero() && *span <= MAX_INTERVAL)?;
    let growth = now.1.checked_sub(before.1)?;
    Some(growth as f64 / span.as_secs_f64())
}

fn json<T: Serialize>(value: &T) -> String {
    // Serialization fails only for maps with keys that are not strings, and there are none.
    serde_json::to_string(value).unwrap_or_else(|_| "{}".to_owned())
}

#[cfg(test)]
mod tests;
