//! What the cache holds: copies with their times, and the fetches under way.

use dashmap::DashMap;
use moka::Expiry;
use moka::sync::Cache as Entries;
use protocol::Key;
use std::sync::Arc;
use std::time::{Duration, Instant};

use super::flight::Flight;
use crate::upstream::answer::Found;

/// What an entry weighs besides the bytes of its key and value: the bookkeeping of the map, the eviction queues and the
/// timers, in bytes.
const ENTRY_BYTES: usize = 512;
/// The last part of its time to live in which a copy that is read is refreshed ahead.
const AHEAD: u32 = 10;

/// The contents of the cache until it is emptied.
pub(crate) struct Generation {
    pub(crate) entries: Entries<Key, Entry>,
    pub(crate) flights: DashMap<Key, Arc<Flight>>,
}

impl Generation {
    pub(crate) fn new(max_bytes: u64) -> Arc<Self> {
        let entries = Entries::builder()
            .max_capacity(max_bytes)
            .weigher(|key: &Key, entry: &Entry| {
                let bytes = key.as_str().len() + entry.copy.value.get().len() + ENTRY_BYTES;
                u32::try_from(bytes).unwrap_or(u32::MAX)
            })
            .expire_after(OwnLife)
            .build();
        Arc::new(Self { entries, flights: DashMap::new() })
    }

    /// Drops the copy of `key`; a flight goes on.
    pub(crate) fn evict(&self, key: &Key) {
        let _place = self.flights.entry(key.clone());
        self.entries.invalidate(key);
    }
}

/// A copy with its times.
#[derive(Clone)]
pub(crate) struct Entry {
    pub(crate) copy: Found,
    /// The end of its time to live.
    fresh_until: Instant,
    /// When a read is to refresh it.
    refresh_at: Instant,
    /// When the map drops it.
    ends: Instant,
}

impl Entry {
    /// A copy that is stored at `now`; `stale` is how long it may outlive its time to live.
    pub(crate) fn new(copy: Found, now: Instant, ttl: Duration, stale: Option<Duration>) -> Self {
        let fresh_until = now + ttl;
        let ends = fresh_until + stale.unwrap_or_default();
        Self { copy, fresh_until, refresh_at: fresh_until - ttl / AHEAD, ends }
    }

    /// The same copy, to be refreshed no sooner than at `at`.
    pub(crate) fn refreshed_at(self, at: Instant) -> Self {
        Self { refresh_at: at, ..self }
    }

    /// Whether it is past its time to live.
    pub(crate) fn is_stale(&self, now: Instant) -> bool {
        now >= self.fresh_until
    }

    /// Whether a read at `now` may get it.
    pub(crate) fn is_served(&self, now: Instant, stale: Option<Duration>) -> bool {
        now < self.fresh_until + stale.unwrap_or_default()
    }

    /// Whether a read at `now` is to refresh it.
    pub(crate) fn wants_refresh(&self, now: Instant, stale: Option<Duration>) -> bool {
        stale.is_some() && now >= self.refresh_at
    }
}

/// Every entry lives as long as was set when it was stored.
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
