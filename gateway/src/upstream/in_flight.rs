//! Bounds and counts this gateway's requests in flight to each shard.
//!
//! A shard that does not answer holds only its own share of connections, descriptors and tasks. Beyond the share
//! requests wait, and beyond the queue they are refused.

use std::num::NonZeroUsize;
use std::sync::atomic::{AtomicU32, Ordering};
use tokio::sync::{Semaphore, SemaphorePermit};

/// Largest number of requests in flight to one shard. It exceeds a shard's queue, so that the shard itself decides
/// what it sheds.
const MAX_IN_FLIGHT: usize = 1_024;
/// Smallest share of a shard, however few descriptors there are.
const MIN_IN_FLIGHT: usize = 4;
/// Largest number of requests that wait for one shard.
const MAX_WAITING: u32 = 1_024;
/// Descriptors that are neither for clients nor for shards: listeners, runtimes, logs, traces.
const RESERVE: u64 = 64;

/// Requests in flight per shard, from all cores.
pub(crate) struct InFlight {
    lanes: Box<[Lane]>,
    limit: usize,
    cores: usize,
}

struct Lane {
    room: Semaphore,
    waiting: AtomicU32,
}

/// The most connections to shards when `calls` requests may be in flight: those in use, and idle ones of other cores.
pub(crate) fn connections(calls: usize) -> usize {
    calls + calls / 2
}

/// One shard's share of `descriptors`. Half of them are for clients.
pub(crate) fn share(descriptors: u64, shards: usize) -> usize {
    let half = usize::try_from(descriptors.saturating_sub(RESERVE) / 2).unwrap_or(usize::MAX);
    (half / shards.max(1)).clamp(MIN_IN_FLIGHT, MAX_IN_FLIGHT)
}

impl InFlight {
    /// `limit` is the largest number of requests in flight to one shard, from all `cores`.
    pub(crate) fn new(shards: usize, limit: usize, cores: NonZeroUsize) -> Self {
        let lane = |_| Lane { room: Semaphore::new(limit), waiting: AtomicU32::new(0) };
        Self { lanes: (0..shards).map(lane).collect(), limit, cores: cores.get() }
    }

    /// Waits for room and counts a request to the shard with this index until the guard is dropped. `None` if too many
    /// wait.
    pub(crate) async fn enter(&self, shard: usize) -> Option<SemaphorePermit<'_>> {
        let lane = self.lanes.get(shard)?;
        if let Ok(permit) = lane.room.try_acquire() {
            return Some(permit);
        }
        let _waiting = Waiting::enter(&lane.waiting)?;
        lane.room.acquire().await.ok()
    }

    /// The number of requests that are in flight to a shard or wait for it.
    pub(crate) fn of(&self, shard: usize) -> u32 {
        let Some(lane) = self.lanes.get(shard) else { return 0 };
        let in_flight = u32::try_from(self.limit - lane.room.available_permits()).unwrap_or(u32::MAX);
        in_flight.saturating_add(lane.waiting.load(Ordering::Relaxed))
    }

    /// The largest number of idle connections of one core to one shard. All cores together keep half as many as there
    /// may be requests in flight, which may need others: a core does not use the connections of another.
    pub(crate) fn idle_limit(&self) -> usize {
        (self.limit / 2).div_ceil(self.cores)
    }
}

/// Counts a waiting request until it is dropped, also when its client leaves.
struct Waiting<'a>(&'a AtomicU32);

impl<'a> Waiting<'a> {
    fn enter(count: &'a AtomicU32) -> Option<Self> {
        let waiting = Self(count);
        (count.fetch_add(1, Ordering::Relaxed) < MAX_WAITING).then_some(waiting)
    }
}

impl Drop for Waiting<'_> {
    fn drop(&mut self) {
        self.0.fetch_sub(1, Ordering::Relaxed);
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::pin::pin;
    use std::task::{Context, Poll, Waker};

    #[test]
    fn half_of_the_descriptors_are_shared_by_the_shards() {
        assert_eq!((share(256, 4), share(1 << 20, 4), share(0, 4), share(1_024, 64)), (24, 1_024, 4, 7));
    }

    #[tokio::test]
    async fn beyond_the_share_requests_wait_and_beyond_the_queue_they_are_refused() {
        let in_flight = InFlight::new(2, 1, NonZeroUsize::MIN);
        let first = in_flight.enter(0).await.unwrap();
        assert!(in_flight.enter(1).await.is_some(), "another shard's share is free");
        let mut queue: Vec<_> = (0..MAX_WAITING).map(|_| Box::pin(in_flight.enter(0))).collect();
        let mut context = Context::from_waker(Waker::noop());
        assert!(queue.iter_mut().all(|waits| waits.as_mut().poll(&mut context).is_pending()));
        assert_eq!(in_flight.of(0), 1 + MAX_WAITING);
        assert!(matches!(pin!(in_flight.enter(0)).poll(&mut context), Poll::Ready(None)));
        drop(first);
        assert!(matches!(queue[0].as_mut().poll(&mut context), Poll::Ready(Some(_))));
        drop(queue);
        assert_eq!(in_flight.of(0), 0);
    }
}
