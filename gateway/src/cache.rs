//! The cache: bounded, with a time to live per entry, one fetch per absent key, and writes that leave no stale copy.
//!
//! Entries and flights live together in a [`Generation`]. A change of the mode and a reset replace it with an empty one,
//! so flights of the old one fill entries that are never read.
//!
//! Every change of a key's state (a flight begins or ends, a write forgets the key, it is evicted) holds the lock of the
//! key's place in `flights`. That gives three rules. A key that is absent or due for a refresh has at most one flight. A
//! flight stores its value only if no write has ended since it began, because a write removes the flight from its place.
//! In the mode `hot_only` only hot keys are held.

mod entries;
pub(crate) mod flight;
#[cfg(test)]
mod model;
mod negative_cache;

use arc_swap::ArcSwap;
use dashmap::mapref::entry::Entry as Place;
use parking_lot::Mutex;
use protocol::Key;
use protocol::body::CacheMode;
use std::collections::HashSet;
use std::sync::Arc;
use std::time::{Duration, Instant};

use self::entries::{Entry, Generation};
use self::flight::Flight;
use self::negative_cache::{NegativeCache, Ticket};
use crate::error::Error;
use crate::upstream::answer::{Fetched, Found};

/// How long after a failed refresh the next one is tried.
const REFRESH_RETRY: Duration = Duration::from_secs(1);

/// The settings in force.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct CacheSettings {
    pub(crate) mode: CacheMode,
    /// Time to live of entries stored from now on.
    pub(crate) ttl: Duration,
    /// How long past its time to live an entry may be served while it is refreshed; `None` without
    /// stale-while-revalidate.
    pub(crate) stale: Option<Duration>,
    /// How long a shard's error is remembered; `None` without the negative cache.
    pub(crate) negative: Option<Duration>,
}

/// The cache. Its memory is bounded by `max_bytes`, besides a few hundred inserts that await their eviction.
pub(crate) struct Cache {
    max_bytes: u64,
    current: ArcSwap<Current>,
    /// The only keys that the mode `hot_only` stores.
    hot: ArcSwap<HashSet<Key>>,
    negative: NegativeCache,
    /// Held while `current` or `hot` is replaced, so that no replacement is lost.
    replacing: Mutex<()>,
}

struct Current {
    settings: CacheSettings,
    generation: Arc<Generation>,
}

/// How a read is answered: the one decision of the read path.
pub(crate) enum Read {
    /// A cached copy answers; the caller runs `refresh` in the background.
    Hit { copy: Found, stale: bool, refresh: Option<Fetch> },
    /// The fetch of another read answers.
    Coalesced(Arc<Flight>),
    /// The remembered error of the shard answers.
    NegativeHit(Error),
    /// This fetch answers, and the caller runs it.
    Miss(Fetch),
}

/// The end of a fetch.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum FetchEnd {
    /// The value is in the cache.
    Stored,
    /// There was none.
    Failed,
    /// A write, a reset, the switch or eviction came between.
    Overtaken,
}

impl Cache {
    pub(crate) fn new(settings: CacheSettings, max_bytes: u64) -> Self {
        let current = ArcSwap::from_pointee(Current { settings, generation: Generation::new(max_bytes) });
        let negative = NegativeCache::default();
        negative.set(settings.negative);
        Self { max_bytes, current, hot: ArcSwap::default(), negative, replacing: Mutex::new(()) }
    }

    pub(crate) fn settings(&self) -> CacheSettings {
        self.current.load().settings
    }

    /// Takes new settings; another mode, and `off` always, empties the cache, another life of errors the negative cache.
    pub(crate) fn set(&self, settings: CacheSettings) {
        let _replacing = self.replacing.lock();
        let old = self.current.load();
        self.negative.set(settings.negative);
        let keeps = settings.mode == old.settings.mode && settings.mode != CacheMode::Off;
        let generation = if keeps { Arc::clone(&old.generation) } else { Generation::new(self.max_bytes) };
        self.current.store(Arc::new(Current { settings, generation }));
    }

    /// Empties the cache; the settings stay.
    pub(crate) fn clear(&self) {
        let _replacing = self.replacing.lock();
        self.negative.clear();
        let settings = self.current.load().settings;
        self.current.store(Arc::new(Current { settings, generation: Generation::new(self.max_bytes) }));
    }

    /// From now on `hot` are the only keys that the mode `hot_only` stores; it evicts the others before it admits new ones.
    pub(crate) fn admit_only(&self, hot: HashSet<Key>) {
        let _replacing = self.replacing.lock();
        let old = self.hot.load_full();
        let current = self.current.load();
        if current.settings.mode == CacheMode::HotOnly && !old.is_subset(&hot) {
            self.hot.store(Arc::new(old.intersection(&hot).cloned().collect()));
            old.difference(&hot).for_each(|key| current.generation.evict(key));
        }
        self.hot.store(Arc::new(hot));
    }

    fn admits(&self, key: &Key, mode: CacheMode) -> bool {
        match mode {
            CacheMode::Off => false,
            CacheMode::All => true,
            CacheMode::HotOnly => self.hot.load().contains(key),
        }
    }

    /// Decides how a read of `key` at `now` is answered.
    pub(crate) fn read(self: &Arc<Self>, key: &Key, now: Instant) -> Read {
        let current = self.current.load();
        if !self.admits(key, current.settings.mode) {
            return self.miss(key, None);
        }
        let (generation, stale) = (&current.generation, current.settings.stale);
        let live = || generation.entries.get(key).filter(|entry| entry.is_served(now, stale));
        let hit = |entry: Entry, refresh| Read::Hit { stale: entry.is_stale(now), copy: entry.copy, refresh };
        let found = live();
        if let Some(entry) = &found
            && (!entry.wants_refresh(now, stale) || generation.flights.contains_key(key))
        {
            return hit(entry.clone(), None);
        }
        let free = match generation.flights.entry(key.clone()) {
            Place::Occupied(place) => {
                return match found {
                    Some(entry) => hit(entry, None),
                    None => Read::Coalesced(Arc::clone(place.get())),
                };
            }
            Place::Vacant(free) => free,
        };
        // A flight, or a write, may have ended between the look at the entries and the lock.
        let entry = live();
        if let Some(entry) = &entry
            && !entry.wants_refresh(now, stale)
        {
            return hit(entry.clone(), None);
        }
        let (cache, generation, flight) = (Arc::clone(self), Arc::clone(generation), Arc::new(Flight::new()));
        let landing = Landing { cache, generation, key: key.clone(), flight: Arc::clone(&flight) };
        let read = match entry {
            Some(entry) => hit(entry, Some(Fetch { landing: Some(landing), ticket: Ticket::default() })),
            None => self.miss(key, Some(landing)),
        };
        if !matches!(read, Read::NegativeHit(_)) {
            free.insert(flight);
        }
        read
    }

    fn miss(&self, key: &Key, landing: Option<Landing>) -> Read {
        match self.negative.begin(key) {
            Ok(ticket) => Read::Miss(Fetch { landing, ticket }),
            Err(err) => Read::NegativeHit(err),
        }
    }

    /// Drops the copy and the error of `key`. A flight that has begun stores nothing, and no later read joins it.
    fn forget(&self, key: &Key) {
        self.negative.forget(key);
        let current = self.current.load();
        let place = current.generation.flights.entry(key.clone());
        current.generation.entries.invalidate(key);
        if let Place::Occupied(place) = place {
            place.remove();
        }
    }

    /// Forgets `key` when the guard is dropped, however the write that holds it ends.
    pub(crate) fn forget_after(self: &Arc<Self>, key: Key) -> ForgetAfter {
        ForgetAfter { cache: Arc::clone(self), key }
    }

    /// Entries that a read may get, exactly: neither expired ones nor those that await their eviction. Looks at every
    /// entry, about a microsecond each.
    pub(crate) fn size(&self) -> u64 {
        let current = self.current.load_full();
        let (entries, stale, now) = (&current.generation.entries, current.settings.stale, Instant::now());
        entries.run_pending_tasks();
        entries.iter().filter(|(_, entry)| entry.is_served(now, stale)).count() as u64
    }

    /// Entries held, those included that expired within about the last second and are not swept yet.
    pub(crate) fn held(&self) -> u64 {
        let generation = Arc::clone(&self.current.load().generation);
        generation.entries.run_pending_tasks();
        generation.entries.entry_count()
    }
}

/// A fetch that its holder runs.
///
/// When it is dropped before its end (a panic), its flight lands with an error, so that no waiter waits forever.
pub(crate) struct Fetch {
    /// None where the cache does not admit the key: then only its holder waits.
    landing: Option<Landing>,
    ticket: Ticket,
}

/// The flight of a fetch, and its place in the cache.
struct Landing {
    cache: Arc<Cache>,
    generation: Arc<Generation>,
    key: Key,
    flight: Arc<Flight>,
}

impl Fetch {
    /// The flight that others may join.
    pub(crate) fn flight(&self) -> Option<Arc<Flight>> {
        self.landing.as_ref().map(|landing| Arc::clone(&landing.flight))
    }

    /// Stores a value (unless a write, a reset or the switch came between) and wakes all waiters. After a failure a copy
    /// that is there stays, unless the shard reports that it has no such key.
    pub(crate) fn end(mut self, result: &Fetched) -> FetchEnd {
        std::mem::take(&mut self.ticket).end(result);
        self.landing.take().map_or(FetchEnd::Overtaken, |landing| landing.land(result))
    }
}

impl Landing {
    fn land(self, result: &Fetched) -> FetchEnd {
        let mut ended = FetchEnd::Overtaken;
        if let Place::Occupied(place) = self.generation.flights.entry(self.key.clone())
            && Arc::ptr_eq(place.get(), &self.flight)
        {
            let entries = &self.generation.entries;
            let now = Instant::now();
            let CacheSettings { mode, ttl, stale, .. } = self.cache.settings();
            match result {
                Ok(copy) if self.cache.admits(&self.key, mode) => {
                    entries.insert(self.key.clone(), Entry::new(copy.clone(), now, ttl, stale));
                    ended = FetchEnd::Stored;
                }
                Ok(_) => {}
                Err(Error::ShardFull { .. }) => {
                    entries.invalidate(&self.key);
                    ended = FetchEnd::Failed;
                }
                Err(_) => {
                    if let Some(entry) = entries.get(&self.key) {
                        entries.insert(self.key.clone(), entry.refreshed_at(now + REFRESH_RETRY));
                    }
                    ended = FetchEnd::Failed;
                }
            }
            place.remove();
        }
        self.flight.land(result.clone());
        ended
    }
}

impl Drop for Fetch {
    fn drop(&mut self) {
        if let Some(landing) = self.landing.take() {
            landing.land(&Err(Error::Internal { what: "a fetch broke off" }));
        }
    }
}

/// See [`Cache::forget_after`].
pub(crate) struct ForgetAfter {
    cache: Arc<Cache>,
    key: Key,
}

impl Drop for ForgetAfter {
    fn drop(&mut self) {
        self.cache.forget(&self.key);
    }
}
