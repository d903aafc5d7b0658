//! The cache: bounded, with a time to live per entry, one fetch per absent key, and writes that leave no stale copy.
//!
//! Entries and flights live together in a [`Generation`]. Turning the cache off and resetting it put a new, empty one in
//! place, so that flights of the old one can only fill what nobody reads.
//!
//! Whoever changes a key's state (begins a flight, ends one, forgets the key) holds the lock of the key's place in
//! `flights`. That gives the two rules: an absent key has at most one flight, and a flight stores its value only if no
//! write has ended since it began, because a write removes the flight from its place.

use arc_swap::ArcSwap;
use dashmap::DashMap;
use dashmap::mapref::entry::Entry as Place;
use moka::Expiry;
use moka::sync::Cache as Entries;
use parking_lot::Mutex;
use protocol::Key;
use serde_json::value::RawValue;
use std::sync::Arc;
use std::time::{Duration, Instant};

use crate::error::Error;
use crate::flight::{Fetched, Flight};

/// What an entry weighs besides the bytes of its key and value: the bookkeeping of the map, the eviction queues and the
/// timers, in bytes.
const ENTRY_BYTES: usize = 512;

/// What the switch and the time to live are at the moment.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct Settings {
    pub(crate) enabled: bool,
    pub(crate) ttl_seconds: u64,
}

/// The cache. Its memory is bounded by `max_bytes`, besides a few hundred inserts that await their eviction.
pub(crate) struct Cache {
    max_bytes: u64,
    current: ArcSwap<Current>,
    /// Held while `current` is replaced, so that no replacement is lost.
    replacing: Mutex<()>,
}

struct Current {
    settings: Settings,
    generation: Arc<Generation>,
}

struct Generation {
    entries: Entries<Key, Entry>,
    flights: DashMap<Key, Arc<Flight>>,
}

#[derive(Clone)]
struct Entry {
    value: Arc<RawValue>,
    ttl: Duration,
}

/// What a look-up finds.
pub(crate) enum Lookup {
    /// The cache is off: ask the shard.
    Off,
    /// A live copy.
    Hit(Arc<RawValue>),
    /// Somebody else's fetch, to wait for.
    Joined(Arc<Flight>),
    /// Nothing: the caller has to run this fetch.
    Absent(Fetch),
}

impl Cache {
    pub(crate) fn new(settings: Settings, max_bytes: u64) -> Self {
        let current = ArcSwap::from_pointee(Current { settings, generation: Generation::new(max_bytes) });
        Self { max_bytes, current, replacing: Mutex::new(()) }
    }

    pub(crate) fn settings(&self) -> Settings {
        self.current.load().settings
    }

    /// Changes what is given; turning the cache off empties it. A new time to live is for entries stored from now on.
    pub(crate) fn change(&self, enabled: Option<bool>, ttl_seconds: Option<u64>) -> Settings {
        let _replacing = self.replacing.lock();
        let old = self.current.load();
        let settings = Settings {
            enabled: enabled.unwrap_or(old.settings.enabled),
            ttl_seconds: ttl_seconds.unwrap_or(old.settings.ttl_seconds),
        };
        let generation =
            if settings.enabled { Arc::clone(&old.generation) } else { Generation::new(self.max_bytes) };
        self.current.store(Arc::new(Current { settings, generation }));
        settings
    }

    /// Empties the cache; the switch and the time to live stay.
    pub(crate) fn clear(&self) {
        let _replacing = self.replacing.lock();
        let settings = self.current.load().settings;
        self.current.store(Arc::new(Current { settings, generation: Generation::new(self.max_bytes) }));
    }

    /// Finds a copy or a flight, or begins a flight.
    pub(crate) fn look_up(self: &Arc<Self>, key: &Key) -> Lookup {
        let current = self.current.load();
        if !current.settings.enabled {
            return Lookup::Off;
        }
        let generation = &current.generation;
        if let Some(entry) = generation.entries.get(key) {
            return Lookup::Hit(entry.value);
        }
        match generation.flights.entry(key.clone()) {
            Place::Occupied(place) => Lookup::Joined(Arc::clone(place.get())),
            Place::Vacant(place) => {
                // A flight may have ended between the look at the entries and the lock.
                if let Some(entry) = generation.entries.get(key) {
                    return Lookup::Hit(entry.value);
                }
                let flight = Arc::new(Flight::new());
                place.insert(Arc::clone(&flight));
                Lookup::Absent(Fetch {
                    cache: Arc::clone(self),
                    generation: Arc::clone(generation),
                    key: key.clone(),
                    flight,
                    ended: false,
                })
            }
        }
    }

    /// Drops the copy of `key`, and sees to it that no flight which has begun stores one. A read that begins after this
    /// neither joins such a flight.
    pub(crate) fn forget(&self, key: &Key) {
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

    /// Live entries, exactly: neither expired ones nor those that await their eviction. Looks at every entry, about a
    /// microsecond each.
    pub(crate) fn size(&self) -> u64 {
        let generation = Arc::clone(&self.current.load().generation);
        generation.entries.run_pending_tasks();
        generation.entries.iter().count() as u64
    }

    /// Entries held, those included that expired within about the last second and are not swept yet.
    pub(crate) fn held(&self) -> u64 {
        let generation = Arc::clone(&self.current.load().generation);
        generation.entries.run_pending_tasks();
        generation.entries.entry_count()
    }
}

impl Generation {
    fn new(max_bytes: u64) -> Arc<Self> {
        let entries = Entries::builder()
            .max_capacity(max_bytes)
            .weigher(|key: &Key, entry: &Entry| {
                let bytes = key.as_str().len() + entry.value.get().len() + ENTRY_BYTES;
                u32::try_from(bytes).unwrap_or(u32::MAX)
            })
            .expire_after(OwnTtl)
            .build();
        Arc::new(Self { entries, flights: DashMap::new() })
    }
}

/// Every entry lives as long as was set when it was stored.
struct OwnTtl;

impl Expiry<Key, Entry> for OwnTtl {
    fn expire_after_create(&self, _: &Key, entry: &Entry, _: Instant) -> Option<Duration> {
        Some(entry.ttl)
    }
}

/// A fetch that its holder has to run. Dropped before its end (a panic), it ends as a fault, so that nobody waits forever.
pub(crate) struct Fetch {
    cache: Arc<Cache>,
    generation: Arc<Generation>,
    key: Key,
    flight: Arc<Flight>,
    ended: bool,
}

impl Fetch {
    /// What to wait for.
    pub(crate) fn flight(&self) -> Arc<Flight> {
        Arc::clone(&self.flight)
    }

    /// Stores a value (unless a write, a reset or the switch came between) and wakes everybody who waits.
    pub(crate) fn end(mut self, result: Fetched) {
        self.conclude(result);
    }

    fn conclude(&mut self, result: Fetched) {
        self.ended = true;
        if let Place::Occupied(place) = self.generation.flights.entry(self.key.clone())
            && Arc::ptr_eq(place.get(), &self.flight)
        {
            if let Ok(value) = &result {
                let ttl = Duration::from_secs(self.cache.settings().ttl_seconds);
                self.generation.entries.insert(self.key.clone(), Entry { value: Arc::clone(value), ttl });
            }
            place.remove();
        }
        self.flight.land(result);
    }
}

impl Drop for Fetch {
    fn drop(&mut self) {
        if !self.ended {
            self.conclude(Err(Error::Internal { what: "a fetch broke off" }));
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
