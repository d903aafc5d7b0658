//! Cache contents: copies with their times, and fetches in progress.

use dashmap::DashMap;
use moka::Expiry;
use moka::sync::Cache as Entries;
use protocol::Key;
use std::sync::Arc;
use std::time::{Duration, Instant};

use super::flight::Flight;
use crate::upstream::answer::Found;

/// Overhead of an entry in bytes, beside its key and value: the map, the eviction queues and the timers.
const ENTRY_BYTES: usize = 512;
/// A read in the last 1/`AHEAD` of a copy's time to live refreshes it early.
const AHEAD: u32 = 10;

/// The contents of the cache between two resets.
pub(crate) struct Generation {
    pub(crate) entries: Entries<Key, Entry>,
    pub(crate) flights: DashMap<Key, Arc<Flight>>,
}

impl Generation {
    pub(crate) fn new(max_bytes: u64) -> Arc<Self> {
        let entries = Entries::builder()
            .max_capacity(max_bytes)
            .weigher(|key: &Key, entry: &Entry| {
                let bytes = key.as_str().len() + entry.copy.value.as_bytes().len() + ENTRY_BYTES;
                u32::try_from(bytes).unwrap_or(u32::MAX)
            })
            .expire_after(OwnLife)
            .build();
        Arc::new(Self { entries, flights: DashMap::new() })
    }

    /// Removes the copy of `key`. A flight continues.
    pub(crate) fn evict(&self, key: &Key) {
        let _place = self.flights.entry(key.clone());
        self.entries.invalidate(key);
    }
}

/// A copy with its times.
#[derive(Clone)]
pub(crate) struct Entry {
    pub(crate) copy: Found,
    /// End of the time to live.
    fresh_until: Instant,
    /// A read from this moment on starts a refresh.
    refresh_at: Instant,
    /// When the map removes the entry.
    ends: Instant,
}

impl Entry {
    /// Creates an entry stored at `now`. `stale` is how long it may be served past its time to live.
    pub(crate) fn new(copy: Found, now: Instant, ttl: Duration, stale: Option<Duration>) -> Self {
        let fresh_until = now + ttl;
        let ends = fresh_until + stale.unwrap_or_default();
        Self { copy, fresh_until, refresh_at: fresh_until - ttl / AHEAD, ends }
    }

    /// The same copy, refreshed no earlier than `at`.
    pub(crate) fn refreshed_at(self, at: Instant) -> Self {
        Self { refresh_at: at, ..self }
    }

    /// Whether the copy is past its time to live.
    pub(crate) fn is_stale(&self, now: Instant) -> bool {
        now >= self.fresh_until
    }

    /// Whether a read at `now` may be answered with this copy.
    pub(crate) fn is_served(&self, now: Instant, stale: Option<Duration>) -> bool {
        now < self.fresh_until + stale.unwrap_or_default()
    }

    /// Whether a read at `now` should start a refresh.
    pub(crate) fn wants_refresh(&self, now: Instant, stale: Option<Duration>) -> bool {
        stale.is_some() && now >= self.refresh_at
    }
}

/// Expires each entry at the time that was set when it was stored.
struct OwnLife;

impl Expiry<Key, Entry> for OwnLife {
    fn expire_after_create(&self, _: &Key, entry: &Entry, now: Instant) -> Option<Duration> {
        Some(entry.ends.saturating_duration_since(now))
    }

    fn expire_after_update(
        &self,
        key: &Key,
        entry: &Entry,
        now: Instant,
        _: Option<Duration>,
    ) -> Option<Duration> {
        self.expire_after_create(key, entry, now)
    }
}
