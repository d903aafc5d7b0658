//! Counts this gateway's requests in flight to each shard.

use std::sync::atomic::{AtomicU32, Ordering};

/// Requests in flight per shard, from all cores.
pub(crate) struct InFlight(Box<[AtomicU32]>);

impl InFlight {
    pub(crate) fn new(shards: usize) -> Self {
        Self((0..shards).map(|_| AtomicU32::new(0)).collect())
    }

    /// Counts a request to the shard with this index until the guard is dropped.
    pub(crate) fn enter(&self, shard: usize) -> Option<InFlightGuard<'_>> {
        let count = self.0.get(shard)?;
        count.fetch_add(1, Ordering::Relaxed);
        Some(InFlightGuard(count))
    }

    /// The number of requests in flight to a shard.
    pub(crate) fn of(&self, shard: usize) -> u32 {
        self.0.get(shard).map_or(0, |count| count.load(Ordering::Relaxed))
    }
}

/// One request in flight.
pub(crate) struct InFlightGuard<'a>(&'a AtomicU32);

impl Drop for InFlightGuard<'_> {
    fn drop(&mut self) {
        self.0.fetch_sub(1, Ordering::Relaxed);
    }
}
