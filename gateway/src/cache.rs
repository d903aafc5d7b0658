//! The cache: bounded, with a time to live per entry, one fetch per absent key, and writes that leave no stale copy.
//!
//! Entries and flights live together in a [`Generation`]. Changing the mode and resetting put a new, empty one in place,
//! so that flights of the old one can only fill what nobody reads.
//!
//! Whoever changes a key's state (begins a flight, ends one, forgets the key, evicts it) holds the lock of the key's place
//! in `flights`. That gives the rules: an absent key, and one whose copy is to be refreshed, has at most one flight; a
//! flight stores its value only if no write has ended since it began, because a write removes the flight from its place;
//! and in the mode `hot_only` nothing is held but hot keys.

pub(crate) mod entries;
pub(crate) mod flight;
#[cfg(test)]
mod model;
pub(crate) mod negative_cache;
mod striped;

use arc_swap::ArcSwap;
use dashmap::mapref::entry::Entry as Place;
use parking_lot::Mutex;
use protocol::Key;
use std::collections::HashSet;
use std::sync::Arc;
use std::time::{Duration, Instant};

use self::entries::{Entry, Generation};
use self::flight::{Fetched, Flight, Found};
use crate::error::Error;

/// How long after a failed refresh the next one is tried.
const REFRESH_RETRY: Duration = Duration::from_secs(1);

/// For which keys there is a cache.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Mode {
    /// For none.
    Off,
    /// For all.
    All,
    /// For those that are hot, see [`Cache::admit_only`].
    HotOnly,
}

/// What the switches and the times to live are at the moment.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct Settings {
    pub(crate) mode: Mode,
    /// Of entries stored from now on.
    pub(crate) ttl: Duration,
    /// How long after its time to live an entry may be served while it is refreshed; `None` without
    /// stale-while-revalidate.
    pub(crate) stale: Option<Duration>,
}

/// The cache. Its memory is bounded by `max_bytes`, besides a few hundred inserts that await their eviction.
pub(crate) struct Cache {
    max_bytes: u64,
    current: ArcSwap<Current>,
    /// The only keys that the mode `hot_only` stores.
    hot: ArcSwap<HashSet<Key>>,
    /// Held while `current` or `hot` is replaced, so that no replacement is lost.
    replacing: Mutex<()>,
}

struct Current {
    settings: Settings,
    generation: Arc<Generation>,
}

/// What a look-up finds.
pub(crate) enum Lookup {
    /// There is no cache for this key: ask the shard.
    Off,
    /// A copy, and whether it is past its time to live.
    Hit(Found, bool),
    /// The same, and the caller has to run this fetch, for which nobody waits.
    Refresh(Found, bool, Fetch),
    /// Somebody else's fetch, to wait for.
    Joined(Arc<Flight>),
    /// Nothing: the caller has to run this fetch.
    Absent(Fetch),
}

/// What became of a fetch's result.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Ended {
    /// The value is in the cache.
    Stored,
    /// There was none.
    Failed,
    /// A write, a reset, the switch or eviction came between.
    Overtaken,
}

impl Cache {
    pub(crate) fn new(settings: Settings, max_bytes: u64) -> Self {
        let current = ArcSwap::from_pointee(Current { settings, generation: Generation::new(max_bytes) });
        Self { max_bytes, current, hot: ArcSwap::default(), replacing: Mutex::new(()) }
    }

    pub(crate) fn settings(&self) -> Settings {
        self.current.load().settings
    }

    /// Takes new settings; another mode, and `off` always, empties the cache.
    pub(crate) fn set(&self, settings: Settings) {
        let _replacing = self.replacing.lock();
        let old = self.current.load();
        let keeps = settings.mode == old.settings.mode && settings.mode != Mode::Off;
        let generation = if keeps { Arc::clone(&old.generation) } else { Generation::new(self.max_bytes) };
        self.current.store(Arc::new(Current { settings, generation }));
    }

    /// Empties the cache; the settings stay.
    pub(crate) fn clear(&self) {
        let _replacing = self.replacing.lock();
        let settings = self.current.load().settings;
        self.current.store(Arc::new(Current { settings, generation: Generation::new(self.max_bytes) }));
    }

    /// From now on `hot` are the only keys that the mode `hot_only` stores; it evicts the others before it admits new ones.
    pub(crate) fn admit_only(&self, hot: HashSet<Key>) {
        let _replacing = self.replacing.lock();
        let old = self.hot.load_full();
        let current = self.current.load();
        if current.settings.mode == Mode::HotOnly && !old.is_subset(&hot) {
            self.hot.store(Arc::new(old.intersection(&hot).cloned().collect()));
            old.difference(&hot).for_each(|key| current.generation.evict(key));
        }
        self.hot.store(Arc::new(hot));
    }

    fn admits(&self, key: &Key) -> bool {
        match self.current.load().settings.mode {
            Mode::Off => false,
            Mode::All => true,
            Mode::HotOnly => self.hot.load().contains(key),
        }
    }

    /// Finds a copy or a flight at `now`, or begins a flight.
    pub(crate) fn look_up(self: &Arc<Self>, key: &Key, now: Instant) -> Lookup {
        let current = self.current.load();
        match current.settings.mode {
            Mode::Off => return Lookup::Off,
            Mode::HotOnly if !self.hot.load().contains(key) => return Lookup::Off,
            Mode::HotOnly | Mode::All => {}
        }
        let (generation, stale) = (&current.generation, current.settings.stale);
        let live = || generation.entries.get(key).filter(|entry| entry.is_served(now, stale));
        let found = live();
        if let Some(entry) = &found
            && (!entry.wants_refresh(now, stale) || generation.flights.contains_key(key))
        {
            return entry.hit(now);
        }
        match generation.flights.entry(key.clone()) {
            Place::Occupied(place) => match found {
                Some(entry) => entry.hit(now),
                None => Lookup::Joined(Arc::clone(place.get())),
            },
            Place::Vacant(place) => {
                // A flight, or a write, may have ended between the look at the entries and the lock.
                let entry = live();
                if let Some(entry) = &entry
                    && !entry.wants_refresh(now, stale)
                {
                    return entry.hit(now);
                }
                let flight = Arc::new(Flight::new());
                place.insert(Arc::clone(&flight));
                let fetch = Fetch {
                    cache: Arc::clone(self),
                    generation: Arc::clone(generation),
                    key: key.clone(),
                    flight,
                    ended: false,
                };
                match entry {
                    Some(entry) => Lookup::Refresh(entry.copy.clone(), entry.is_stale(now), fetch),
                    None => Lookup::Absent(fetch),
                }
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

    /// Stores a value (unless a write, a reset or the switch came between) and wakes everybody who waits. After a failure
    /// a copy that is there stays, unless the shard says that it has no such key.
    pub(crate) fn end(mut self, result: Fetched) -> Ended {
        self.conclude(result)
    }

    fn conclude(&mut self, result: Fetched) -> Ended {
        self.ended = true;
        let mut ended = Ended::Overtaken;
        if let Place::Occupied(place) = self.generation.flights.entry(self.key.clone())
            && Arc::ptr_eq(place.get(), &self.flight)
        {
            let entries = &self.generation.entries;
            let now = Instant::now();
            match &result {
                Ok(copy) if self.cache.admits(&self.key) => {
                    let Settings { ttl, stale, .. } = self.cache.settings();
                    entries.insert(self.key.clone(), Entry::new(copy.clone(), now, ttl, stale));
                    ended = Ended::Stored;
                }
                Ok(_) => {}
                Err(Error::ShardFull { .. }) => {
                    entries.invalidate(&self.key);
                    ended = Ended::Failed;
                }
                Err(_) => {
                    if let Some(entry) = entries.get(&self.key) {
                        entries.insert(self.key.clone(), entry.refreshed_at(now + REFRESH_RETRY));
                    }
                    ended = Ended::Failed;
                }
            }
            place.remove();
        }
        self.flight.land(result);
        ended
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
