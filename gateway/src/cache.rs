//! A bounded cache with a time to live and single-flight fetches.
//!
//! Entries and flights (fetches in progress) live together in a [`Generation`]. A reset or a change of the mode
//! replaces the generation with an empty one. Flights of the old generation then fill entries that are never read.
//!
//! Every change of a key's state holds the lock of the key's slot in `flights`. Such changes are the start and the end
//! of a flight, a write, and an eviction. This gives three guarantees:
//!
//! - A key that is absent or due for a refresh has at most one flight.
//! - A flight stores its value only if no write has ended since the flight began, because a write removes the flight
//!   from its slot.
//! - In the mode `hot_only` only hot keys are stored.

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

/// Delay between a failed refresh and the next attempt.
const REFRESH_RETRY: Duration = Duration::from_secs(1);

/// The cache settings in force.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct CacheSettings {
    pub(crate) mode: CacheMode,
    /// Time to live of entries that are stored from now on.
    pub(crate) ttl: Duration,
    /// How long an entry may be served past its time to live while it is refreshed. `None`: stale-while-revalidate is
    /// off.
    pub(crate) stale: Option<Duration>,
    /// How long a shard's error is remembered. `None`: the negative cache is off.
    pub(crate) negative: Option<Duration>,
}

/// The cache. `max_bytes` bounds its memory; up to a few hundred inserts may wait for their eviction.
pub(crate) struct Cache {
    max_bytes: u64,
    current: ArcSwap<Current>,
    /// The only keys that the mode `hot_only` stores.
    hot: ArcSwap<HashSet<Key>>,
    negative: NegativeCache,
    /// Held while `current` or `hot` is replaced, so that concurrent replacements do not overwrite each other.
    replacing: Mutex<()>,
}

struct Current {
    settings: CacheSettings,
    generation: Arc<Generation>,
}

/// The outcome of a cache lookup. It decides how a read is answered.
pub(crate) enum Read {
    /// Answer with the cached copy. The caller runs `refresh` in the background.
    Hit { copy: Found, stale: bool, refresh: Option<Fetch> },
    /// Wait for the fetch of another read.
    Coalesced(Arc<Flight>),
    /// Answer with the negative cache entry.
    NegativeHit(Error),
    /// The caller runs this fetch and answers with its result.
    Miss(Fetch),
}

/// How a fetch ended.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum FetchEnd {
    /// The value was stored in the cache.
    Stored,
    /// The fetch returned an error.
    Failed,
    /// Nothing was stored: a write, a reset, a change of the mode or an eviction came first, or the key is not
    /// admitted.
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

    /// Applies new settings.
    ///
    /// A change of the mode empties the cache, and so does the mode `off`. A change of the errors' time to live empties
    /// the negative cache.
    pub(crate) fn set(&self, settings: CacheSettings) {
        let _replacing = self.replacing.lock();
        let old = self.current.load();
        self.negative.set(settings.negative);
        let keeps = settings.mode == old.settings.mode && settings.mode != CacheMode::Off;
        let generation = if keeps { Arc::clone(&old.generation) } else { Generation::new(self.max_bytes) };
        self.current.store(Arc::new(Current { settings, generation }));
    }

    /// Empties the cache and the negative cache. The settings stay.
    pub(crate) fn clear(&self) {
        let _replacing = self.replacing.lock();
        self.negative.clear();
        let settings = self.current.load().settings;
        self.current.store(Arc::new(Current { settings, generation: Generation::new(self.max_bytes) }));
    }

    /// Replaces the set of keys that the mode `hot_only` stores. Evicts the other keys before it admits new ones.
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
        // A flight or a write may have ended between the lookup of the entry and the lock.
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

    /// Removes the copy and the error of `key`. A flight in progress stores nothing, and no later read joins it.
    fn forget(&self, key: &Key) {
        self.negative.forget(key);
        let current = self.current.load();
        let place = current.generation.flights.entry(key.clone());
        current.generation.entries.invalidate(key);
        if let Place::Occupied(place) = place {
            place.remove();
        }
    }

    /// Returns a guard that forgets `key` when it is dropped. A write holds it, so the key is forgotten however the
    /// write ends.
    pub(crate) fn forget_after(self: &Arc<Self>, key: Key) -> ForgetAfter {
        ForgetAfter { cache: Arc::clone(self), key }
    }

    /// The exact number of entries that a read may get. Expired entries and entries that await their eviction do not
    /// count.
    ///
    /// Visits every entry, about 1 µs each.
    pub(crate) fn size(&self) -> u64 {
        let current = self.current.load_full();
        let (entries, stale, now) = (&current.generation.entries, current.settings.stale, Instant::now());
        entries.run_pending_tasks();
        entries.iter().filter(|(_, entry)| entry.is_served(now, stale)).count() as u64
    }

    /// The number of entries held. It includes entries that expired within about the last second and are not yet swept.
    pub(crate) fn held(&self) -> u64 {
        let generation = Arc::clone(&self.current.load().generation);
        generation.entries.run_pending_tasks();
        generation.entries.entry_count()
    }
}

/// A fetch. Its holder runs it.
///
/// When it is dropped before its end (a panic), its flight ends with an error, so that no waiter waits forever.
pub(crate) struct Fetch {
    /// `None` if the cache does not admit the key. Then no other read can join the fetch.
    landing: Option<Landing>,
    ticket: Ticket,
}

/// The flight of a fetch and its slot in the cache.
struct Landing {
    cache: Arc<Cache>,
    generation: Arc<Generation>,
    key: Key,
    flight: Arc<Flight>,
}

impl Fetch {
    /// The flight that other reads may join.
    pub(crate) fn flight(&self) -> Option<Arc<Flight>> {
        self.landing.as_ref().map(|landing| Arc::clone(&landing.flight))
    }

    /// Stores a value and wakes all waiters. Nothing is stored if a write, a reset or a change of the mode came first.
    ///
    /// A failed fetch keeps an existing copy, unless the shard reports that the key does not exist.
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
                Ok(found) if self.cache.admits(&self.key, mode) => {
                    let copy = Found { value: found.value.copied(), shard: found.shard };
                    entries.insert(self.key.clone(), Entry::new(copy, now, ttl, stale));
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
            landing.land(&Err(Error::Internal { what: "a fetch was aborted" }));
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
