//! The service model: concurrency, queue and service time.
//!
//! A request takes one of `concurrency` places or waits for one in arrival order. It is shed at once if `queue`
//! requests are waiting already.
//!
//! Service time = base + per_request × requests in service, including this one, + a uniform jitter of ± 2 ms. The
//! minimum is 1 ms. If base and per_request are both 0, the service time is 0.

use parking_lot::Mutex;
use std::num::NonZeroUsize;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::time::Duration;
use tokio::sync::{Semaphore, SemaphorePermit};

/// Largest jitter in seconds, in either direction.
const JITTER: f64 = 0.002;
/// Shortest service time in seconds.
const SHORTEST: f64 = 0.001;

/// The parameters of the service time.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct ServiceTime {
    /// Base service time of every request.
    pub base: Duration,
    /// Additional service time for each request in service.
    pub per_request: Duration,
}

/// The limits of a shard's concurrency and queue.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Limits {
    /// Largest number of requests in service. `None`: no limit, so no request waits.
    pub concurrency: Option<NonZeroUsize>,
    /// Largest number of requests that wait for service.
    pub queue: usize,
}

/// The places of a shard, shared by all its runtimes.
pub struct Capacity {
    service_time: ServiceTime,
    jitter: Mutex<fastrand::Rng>,
    /// A fair semaphore: it serves requests in arrival order.
    places: Option<Semaphore>,
    /// Largest number of requests in service plus waiting.
    most: usize,
    active: AtomicUsize,
    in_service: AtomicUsize,
}

impl Capacity {
    /// Creates an idle shard. `seed` determines the sequence of jitters, in the order of service.
    #[must_use]
    pub fn new(service_time: ServiceTime, limits: Limits, seed: u64) -> Self {
        Self {
            service_time,
            jitter: Mutex::new(fastrand::Rng::with_seed(seed)),
            places: limits.concurrency.map(|count| Semaphore::new(count.get().min(Semaphore::MAX_PERMITS))),
            most: limits.concurrency.map_or(usize::MAX, |count| count.get().saturating_add(limits.queue)),
            active: AtomicUsize::new(0),
            in_service: AtomicUsize::new(0),
        }
    }

    /// Waits for a place. Returns `None` if the queue is full. Cancel safe: a caller that stops waiting leaves the
    /// queue.
    pub async fn enter(&self) -> Option<Turn<'_>> {
        let active = Counted::below(&self.active, self.most)?;
        let permit = match &self.places {
            // The semaphore is never closed, so `acquire` always succeeds.
            Some(places) => places.acquire().await.ok(),
            None => None,
        };
        let in_service = Counted::below(&self.in_service, usize::MAX)?;
        let time = self.time(in_service.at);
        Some(Turn { time, _in_service: in_service, _permit: permit, _active: active })
    }

    /// The number of requests in service plus waiting.
    #[must_use]
    pub fn active(&self) -> usize {
        self.active.load(Ordering::Relaxed)
    }

    /// Largest number of requests in service plus waiting. `None` without a limit.
    #[must_use]
    pub fn limit(&self) -> Option<usize> {
        self.places.as_ref().map(|_| self.most)
    }

    #[expect(clippy::cast_precision_loss, reason = "a shard has far fewer than 2^53 requests in service")]
    fn time(&self, in_service: usize) -> Duration {
        let ServiceTime { base, per_request } = self.service_time;
        if base.is_zero() && per_request.is_zero() {
            return Duration::ZERO;
        }
        let jitter = (2.0 * self.jitter.lock().f64() - 1.0) * JITTER;
        let seconds = base.as_secs_f64() + per_request.as_secs_f64() * in_service as f64 + jitter;
        Duration::from_secs_f64(seconds.max(SHORTEST))
    }
}

/// A request in service. Dropping it ends the service and admits the next request.
pub struct Turn<'a> {
    time: Duration,
    // The order of these fields is the order in which they are dropped. The next owner of the place must not count this
    // request as in service. A request that is admitted because this one is no longer active relies on the place being
    // free.
    _in_service: Counted<'a>,
    _permit: Option<SemaphorePermit<'a>>,
    _active: Counted<'a>,
}

impl Turn<'_> {
    /// The service time of this request.
    #[must_use]
    pub fn time(&self) -> Duration {
        self.time
    }
}

/// Adds one to a counter until it is dropped.
struct Counted<'a> {
    counter: &'a AtomicUsize,
    /// The counter's value including this unit.
    at: usize,
}

impl<'a> Counted<'a> {
    /// Adds one, unless the counter has reached `most`.
    fn below(counter: &'a AtomicUsize, most: usize) -> Option<Self> {
        let before = counter
            .fetch_update(Ordering::AcqRel, Ordering::Relaxed, |now| (now < most).then_some(now + 1))
            .ok()?;
        Some(Self { counter, at: before + 1 })
    }
}

impl Drop for Counted<'_> {
    fn drop(&mut self) {
        self.counter.fetch_sub(1, Ordering::AcqRel);
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::pin::Pin;
    use std::task::{Context, Poll, Waker};

    fn poll_once<F: Future>(future: Pin<&mut F>) -> Poll<F::Output> {
        future.poll(&mut Context::from_waker(Waker::noop()))
    }

    const MODEL: ServiceTime =
        ServiceTime { base: Duration::from_millis(15), per_request: Duration::from_micros(500) };

    fn limits(concurrency: usize, queue: usize) -> Limits {
        Limits { concurrency: NonZeroUsize::new(concurrency), queue }
    }

    #[test]
    fn the_queue_holds_exactly_its_length_and_the_next_is_shed() {
        let capacity = Capacity::new(MODEL, limits(2, 3), 1);
        let mut all: Vec<_> = (0..6).map(|_| Box::pin(capacity.enter())).collect();
        let states: Vec<_> = all.iter_mut().map(|one| poll_once(one.as_mut())).collect();
        let shown: Vec<_> = states
            .iter()
            .map(|state| match state {
                Poll::Ready(Some(_)) => 's',
                Poll::Ready(None) => 'x',
                Poll::Pending => 'w',
            })
            .collect();
        assert_eq!(shown.iter().collect::<String>(), "sswwwx");
        assert_eq!(capacity.active(), 5);
    }

    #[test]
    fn an_abandoned_waiter_frees_its_place_and_the_others_keep_their_order() {
        let capacity = Capacity::new(MODEL, limits(1, 2), 1);
        let mut first = Box::pin(capacity.enter());
        let Poll::Ready(Some(turn)) = poll_once(first.as_mut()) else { panic!("not served") };
        let mut second = Box::pin(capacity.enter());
        let mut third = Box::pin(capacity.enter());
        assert!(poll_once(second.as_mut()).is_pending() && poll_once(third.as_mut()).is_pending());
        drop(second);
        assert_eq!(capacity.active(), 2);
        let mut fourth = Box::pin(capacity.enter());
        assert!(poll_once(fourth.as_mut()).is_pending(), "the freed place can be waited in");
        drop(turn);
        assert!(poll_once(fourth.as_mut()).is_pending(), "the third came before");
        assert!(poll_once(third.as_mut()).is_ready());
        drop((third, fourth));
        assert_eq!(capacity.active(), 0);
    }

    #[test]
    fn times_follow_the_formula_and_the_seed() {
        let drawn = |seed| {
            let capacity = Capacity::new(MODEL, limits(0, 0), seed);
            (1..=2_000).map(|in_service| capacity.time(in_service)).collect::<Vec<_>>()
        };
        for (in_service, time) in (1u32..).zip(drawn(7)) {
            let middle = 0.015 + 0.0005 * f64::from(in_service);
            assert!((time.as_secs_f64() - middle).abs() <= 0.002 + 1e-9, "{in_service}: {time:?}");
        }
        assert_eq!(drawn(7), drawn(7));
        assert_ne!(drawn(7), drawn(8));
        let jitters: Vec<f64> = (1u32..)
            .zip(drawn(9))
            .map(|(n, time)| time.as_secs_f64() - 0.015 - 0.0005 * f64::from(n))
            .collect();
        let mean = jitters.iter().sum::<f64>() / jitters.len() as f64;
        let variance = jitters.iter().map(|j| (j - mean).powi(2)).sum::<f64>() / jitters.len() as f64;
        // The jitter is uniform over ± 2 ms. Its mean is 0 ± 4 standard errors of 0.0258 ms. Its standard deviation is
        // 1.1547 ms.
        assert!(
            mean.abs() < 0.000_104 && (variance.sqrt() - 0.001_154_7).abs() < 0.000_05,
            "{mean} {variance}"
        );
    }

    #[test]
    fn no_latency_is_no_sleep_and_a_small_one_is_at_least_a_millisecond() {
        let none = ServiceTime { base: Duration::ZERO, per_request: Duration::ZERO };
        assert_eq!(Capacity::new(none, limits(0, 0), 1).time(50), Duration::ZERO);
        let small = ServiceTime { base: Duration::ZERO, per_request: Duration::from_micros(1) };
        let capacity = Capacity::new(small, limits(0, 0), 1);
        let times: Vec<_> = (0..200).map(|_| capacity.time(1)).collect();
        assert_eq!(times.iter().min(), Some(&Duration::from_millis(1)));
        assert!(times.iter().max().is_some_and(|longest| *longest > Duration::from_micros(1_500)));
    }
}
