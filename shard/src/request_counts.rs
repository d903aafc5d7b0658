//! Counts of data requests: each is received once and has one outcome.
//!
//! received = served + rejected + shed + in flight, at every moment and across resets. A request counts as rejected if
//! its client disconnects before the outcome, like a 4xx (nginx's 499).
//!
//! Each request is also counted once by key, in the key's series if it has one. Other requests count as untracked,
//! including those that end before their key is parsed.

use hotspot::export::key_series::KeySeries;
use protocol::Key;
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::Instant;

use crate::metrics::{Operation, ShardMetrics};

/// The outcome of a data request.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum RequestOutcome {
    /// Answered with success.
    Served,
    /// Refused because of its content (4xx, 507), or abandoned by its client.
    Rejected,
    /// Refused because the queue was full (503).
    Shed,
}

/// Counts of data requests since the process started.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Totals {
    /// All received requests.
    pub received: u64,
    /// Served requests.
    pub served: u64,
    /// Rejected requests.
    pub rejected: u64,
    /// Shed requests.
    pub shed: u64,
    /// Requests received since the last reset that were served or are in flight.
    pub accesses: u64,
}

/// The counts of one shard.
pub struct RequestCounts {
    metrics: Arc<ShardMetrics>,
    keys: KeySeries,
    /// The low 48 bits are the number of requests received since the last reset, without those rejected or shed. The
    /// high 16 bits are the number of the reset. One word holds both, so that the end of a request is counted only if
    /// no reset came after its receipt.
    accesses: AtomicU64,
}

const COUNT_BITS: u32 = 48;
const COUNT: u64 = (1 << COUNT_BITS) - 1;

impl RequestCounts {
    /// Creates counts of zero.
    #[must_use]
    pub fn new(metrics: Arc<ShardMetrics>, keys: KeySeries) -> Self {
        Self { metrics, keys, accesses: AtomicU64::new(0) }
    }

    /// The counts by key.
    #[must_use]
    pub fn keys(&self) -> &KeySeries {
        &self.keys
    }

    /// Counts a data request as received. Dropping the guard counts it as rejected.
    pub fn receive(&self, operation: Operation) -> Request<'_> {
        self.metrics.received.of(operation).inc();
        // Release ordering: a thread that sees this access also sees it in `received`.
        let before = self.accesses.fetch_add(1, Ordering::Release);
        let (counts, reset, since) = (self, before >> COUNT_BITS, Instant::now());
        Request { counts, operation, reset, since, outcome: RequestOutcome::Rejected, has_key: false }
    }

    /// Resets `total_accesses`. Requests in flight belong to the old count and never appear in the new one.
    pub fn reset(&self) {
        let next = |now: u64| Some((now >> COUNT_BITS).wrapping_add(1) << COUNT_BITS);
        // `next` always returns a value, so the update cannot fail.
        let _ = self.accesses.fetch_update(Ordering::Relaxed, Ordering::Relaxed, next);
    }

    /// The counts since the process started. Outcomes and accesses are read before `received`. So neither the sum of
    /// the outcomes nor the accesses can exceed `received`.
    #[must_use]
    pub fn totals(&self) -> Totals {
        let ShardMetrics { served, rejected, shed, .. } = &*self.metrics;
        let (served, rejected, shed) = (served.get(), rejected.get(), shed.get());
        let accesses = self.accesses.load(Ordering::Relaxed) & COUNT;
        std::sync::atomic::fence(Ordering::Acquire);
        let received = self.metrics.received.iter().map(prometheus::IntCounter::get).sum();
        Totals { received, served, rejected, shed, accesses }
    }
}

/// A data request in flight.
pub struct Request<'a> {
    counts: &'a RequestCounts,
    operation: Operation,
    reset: u64,
    since: Instant,
    outcome: RequestOutcome,
    has_key: bool,
}

impl Request<'_> {
    /// Counts the request as an access to `key`. Call it once.
    pub fn reads(&mut self, key: &Key) {
        self.has_key = true;
        self.counts.keys.count(key);
    }

    /// Ends the request with `outcome`.
    pub fn end(mut self, outcome: RequestOutcome) {
        self.outcome = outcome;
    }
}

impl Drop for Request<'_> {
    fn drop(&mut self) {
        let metrics = &self.counts.metrics;
        if !self.has_key {
            self.counts.keys.count_unknown();
        }
        metrics.duration.of(self.operation).observe(self.since.elapsed().as_secs_f64());
        if self.outcome != RequestOutcome::Served {
            let mine = |now: u64| (now >> COUNT_BITS == self.reset).then(|| now - 1);
            // Fails if a reset came after the receipt. Then the request is no longer in the count.
            let _ = self.counts.accesses.fetch_update(Ordering::Relaxed, Ordering::Relaxed, mine);
        }
        match self.outcome {
            RequestOutcome::Served => metrics.served.inc(),
            RequestOutcome::Rejected => metrics.rejected.inc(),
            RequestOutcome::Shed => metrics.shed.inc(),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use protocol::ShardId;
    use service::metrics::Metrics;

    fn counts() -> RequestCounts {
        let metrics = ShardMetrics::register(&Metrics::default(), ShardId(0)).unwrap();
        let keys = KeySeries::new(metrics.key_access.clone(), &["0"], metrics.key_access_untracked.clone());
        RequestCounts::new(Arc::new(metrics), keys)
    }

    #[test]
    fn every_request_is_counted_once_by_key() {
        let counts = counts();
        let untracked = || counts.metrics.key_access_untracked.get();
        let mut known = counts.receive(Operation::Get);
        known.reads(&Key::new("k").unwrap());
        assert_eq!(untracked(), 1);
        known.end(RequestOutcome::Served);
        assert_eq!(untracked(), 1);
        counts.receive(Operation::Set).end(RequestOutcome::Rejected);
        drop(counts.receive(Operation::Set));
        assert_eq!(untracked(), 3);
    }

    #[test]
    fn an_abandoned_request_is_rejected() {
        let counts = counts();
        drop(counts.receive(Operation::Set));
        assert_eq!(counts.totals(), Totals { received: 1, served: 0, rejected: 1, shed: 0, accesses: 0 });
    }

    /// Compares random steps with a model that tracks each request individually.
    #[test]
    fn counts_hold_through_resets_at_any_moment() {
        let counts = counts();
        // Requests in flight, each with a flag: received since the last reset.
        let mut flying: Vec<(Request<'_>, bool)> = Vec::new();
        let (mut ended, mut since_reset) = (0u64, 0u64);
        // A linear congruential generator, so that every run takes the same steps.
        let mut state = 1u64;
        for _ in 0..50_000 {
            state = state.wrapping_mul(6_364_136_223_846_793_005).wrapping_add(1_442_695_040_888_963_407);
            let (dice, pick) = ((state >> 33) % 100, (state >> 40) as usize);
            match dice {
                0..45 => flying.push((counts.receive(Operation::Get), true)),
                45..48 => {
                    counts.reset();
                    since_reset = 0;
                    flying.iter_mut().for_each(|(_, present)| *present = false);
                }
                _ if flying.is_empty() => {}
                _ => {
                    let (request, present) = flying.swap_remove(pick % flying.len());
                    let outcome =
                        [RequestOutcome::Served, RequestOutcome::Rejected, RequestOutcome::Shed][pick % 3];
                    request.end(outcome);
                    ended += 1;
                    since_reset += u64::from(present && outcome == RequestOutcome::Served);
                }
            }
            let present = flying.iter().filter(|(_, present)| *present).count() as u64;
            assert_eq!(counts.totals().accesses, since_reset + present);
            let t = counts.totals();
            assert_eq!(t.served + t.rejected + t.shed, ended);
            assert_eq!(t.received, ended + flying.len() as u64);
        }
    }

    #[test]
    fn no_thread_sees_more_outcomes_than_requests_and_no_count_below_zero() {
        let counts = counts();
        std::thread::scope(|scope| {
            for _ in 0..3 {
                scope.spawn(|| {
                    for n in 0..50_000u32 {
                        let request = counts.receive(Operation::Get);
                        request.end(if n % 2 == 0 { RequestOutcome::Served } else { RequestOutcome::Shed });
                    }
                });
            }
            scope.spawn(|| {
                for _ in 0..5_000 {
                    counts.reset();
                    let t = counts.totals();
                    assert!(t.served + t.rejected + t.shed <= t.received, "{t:?}");
                    assert!(t.accesses <= t.received, "{t:?}");
                }
            });
        });
        counts.reset();
        counts.receive(Operation::Set).end(RequestOutcome::Served);
        assert_eq!(
            counts.totals(),
            Totals { received: 150_001, served: 75_001, rejected: 0, shed: 75_000, accesses: 1 }
        );
    }
}
