//! The last two minutes, second by second, for all live pages.
//!
//! The loop hands in what it has read anyway; rates and latencies are the growth since the second before. The last two
//! minutes are kept, so that a page begins with a line and not with a dot.

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

/// Most pages that listen at once.
pub(crate) const LISTENERS: usize = 32;

/// Seconds that are kept.
const KEPT_SECONDS: usize = 120;

/// A gap longer than this is no second: its mean would pass for one.
const MAX_INTERVAL: Duration = Duration::from_secs(10);

/// The last seconds, and who wants the next one.
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

/// One shard's counts at a moment.
#[derive(Clone, Copy, Debug)]
pub(crate) struct ShardSample {
    kernel_at: Duration,
    kernel: u64,
    app_at: Duration,
    /// When the application's process started, and its count.
    app: Option<(f64, u64)>,
    latency: Latency,
}

impl Default for Feed {
    fn default() -> Self {
        Self::new(PageLinks::default())
    }
}

impl Feed {
    /// Nothing yet.
    pub(crate) fn new(links: PageLinks) -> Self {
        Self {
            links,
            past: Mutex::default(),
            newest: watch::Sender::new("".into()),
            room: Arc::new(Semaphore::new(LISTENERS)),
        }
    }

    /// A place for one more listener, given back when it is dropped; `None` when there is none.
    pub(crate) fn place(&self) -> Option<OwnedSemaphorePermit> {
        Arc::clone(&self.room).try_acquire_owned().ok()
    }

    /// How many listen.
    pub(crate) fn listeners(&self) -> usize {
        LISTENERS.saturating_sub(self.room.available_permits())
    }

    /// Addresses that the page may call.
    pub(crate) fn links(&self) -> &PageLinks {
        &self.links
    }

    /// What a listener is sent first: addresses, and the last two minutes.
    pub(crate) fn hello(&self) -> String {
        let past = self.past.lock();
        json(&PastSeconds { links: self.links.clone(), past: past.seconds.iter().cloned().collect() })
    }

    /// The frames from now on: always the newest, so that one who is slow misses some.
    pub(crate) fn listen(&self) -> watch::Receiver<Arc<str>> {
        self.newest.subscribe()
    }

    /// A second has gone by.
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
        let second = Second { taken_at: snapshot.taken_at, shards, verdicts: verdicts.clone() };
        self.newest.send_replace(json(&second).into());
    }
}

impl Past {
    /// Takes a second in; gives what happened in it.
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
    /// What was read of a shard.
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

/// Growth a second; absent when the count fell, or the time between tells of no second.
#[expect(clippy::cast_precision_loss, reason = "what grows in seconds is far below 2^53")]
fn rate(before: (Duration, u64), now: (Duration, u64)) -> Option<f64> {
    let span = now.0.checked_sub(before.0).filter(|span| !span.is_zero() && *span <= MAX_INTERVAL)?;
    let growth = now.1.checked_sub(before.1)?;
    Some(growth as f64 / span.as_secs_f64())
}

fn json<T: Serialize>(value: &T) -> String {
    // Only maps with keys that are no text cannot be written.
    serde_json::to_string(value).unwrap_or_else(|_| "{}".to_owned())
}

#[cfg(test)]
mod tests;
