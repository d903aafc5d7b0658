//! Copies of hot keys on several shards: reads go to the less loaded of two, writes reach all before any copy is read.
//!
//! An answer of a copy is used only if it is the value that was copied: a shard that starts anew makes an absent value on
//! the spot, and one may still carry out a write that nobody waits for any more. Else home is asked, and the copy is read
//! no more until it is made anew.
//!
//! A write holds the [`Table`] that it has seen. A key's first copy is made only when all older tables are gone: then
//! there is no write under way that does not know of the copies.

pub(crate) mod client;
mod copies;
#[cfg(test)]
mod model;

use arc_swap::ArcSwap;
use parking_lot::Mutex;
use protocol::{Key, ShardId};
use serde_json::value::RawValue;
use std::collections::HashMap;
use std::hash::{BuildHasher, RandomState};
use std::sync::atomic::Ordering;
use std::sync::{Arc, Weak};
use std::time::{Duration, Instant};

use self::copies::{Copies, Known, Synced};
use crate::upstream::in_flight::InFlight;
use crate::upstream::shard_health::ShardHealth;

/// All copies of all keys.
pub(crate) struct Replicas {
    table: ArcSwap<Table>,
    /// Tables that were replaced and that a write may still hold; locked while the table is replaced.
    older: Mutex<Vec<Weak<Table>>>,
    in_flight: Arc<InFlight>,
    health: Arc<ShardHealth>,
    fingerprints: RandomState,
    /// See [`Copies`].
    pause: Duration,
    shards: usize,
}

/// The keys that have copies, or had some and are not done with them.
type Table = HashMap<Key, Arc<Copies>>;

/// A copy that a read goes to.
pub(crate) struct Route {
    copies: Arc<Copies>,
    synced: Arc<Synced>,
    shard: ShardId,
}

/// A write under way. Dropped before its end, its outcome is not known.
pub(crate) struct Writing {
    /// Tells that this write may not know of copies that are asked for later.
    _seen: Arc<Table>,
    copies: Option<(Arc<Copies>, u64)>,
}

impl Replicas {
    /// `deadline` is that of a request to a shard.
    pub(crate) fn new(
        shards: usize,
        in_flight: Arc<InFlight>,
        health: Arc<ShardHealth>,
        deadline: Duration,
    ) -> Self {
        Self {
            table: ArcSwap::default(),
            older: Mutex::default(),
            in_flight,
            health,
            fingerprints: RandomState::new(),
            pause: 2 * deadline,
            shards,
        }
    }

    /// From now on these keys, each with its home, are to be on `copies` shards, and no others. The keys that are dropped
    /// are read at home at once; they leave the table when nothing of theirs is under way.
    pub(crate) fn want(&self, keys: &[(Key, ShardId)], copies: usize) {
        let mut older = self.older.lock();
        let old = self.table.load_full();
        let is_wanted = |key: &Key| keys.iter().any(|(wanted, _)| wanted == key);
        for (_, copies) in old.iter().filter(|(key, _)| !is_wanted(key)) {
            copies.want(&[]);
        }
        let mut table: Table = old
            .iter()
            .filter(|(key, copies)| is_wanted(key) || !copies.is_idle())
            .map(|(key, copies)| (key.clone(), Arc::clone(copies)))
            .collect();
        for (key, home) in keys {
            let on = hotspot::spread::replicas(home.index(), copies, self.shards);
            let targets: Vec<ShardId> =
                on.skip(1).filter_map(|shard| u32::try_from(shard).ok()).map(ShardId).collect();
            let new = || Arc::new(Copies::new(*home, self.pause));
            table.entry(key.clone()).or_insert_with(new).want(&targets);
        }
        if table.len() != old.len() || table.keys().any(|key| !old.contains_key(key)) {
            older.push(Arc::downgrade(&old));
            self.table.store(Arc::new(table));
        }
        drop(old);
        older.retain(|table| table.strong_count() > 0);
        if older.is_empty() {
            self.table.load().values().for_each(|copies| copies.open());
        }
    }

    /// All keys with what is known of their copies, for [`client::ShardClient::synchronise`].
    pub(crate) fn all(&self) -> Vec<(Key, Arc<Copies>)> {
        self.table.load().iter().map(|(key, copies)| (key.clone(), Arc::clone(copies))).collect()
    }

    /// The shards that reads of `key` may go to now, home first.
    pub(crate) fn of(&self, key: &Key, home: ShardId) -> Vec<ShardId> {
        let copies = self.table.load().get(key).and_then(|copies| copies.readable());
        let mut on: Vec<ShardId> =
            copies.iter().flat_map(|synced| &synced.on).map(|copy| copy.shard).collect();
        // In the order of the ring.
        on.sort_by_key(|shard| (shard.index() + self.shards - home.index()) % self.shards.max(1));
        [vec![home], on].concat()
    }

    /// Where a read of `key` goes, if not home. Two of the shards that hold it are drawn, and the one with fewer requests in
    /// flight is taken. A shard whose last call failed is left out, but for a trial now and then: it fails fast, so it has
    /// the fewest in flight.
    pub(crate) fn choose(&self, key: &Key) -> Option<Route> {
        let (copies, synced) = self.readable(key)?;
        let usable: Vec<ShardId> = [copies.home]
            .into_iter()
            .chain(synced.on.iter().map(|copy| copy.shard))
            .filter(|shard| self.health.is_usable(shard.index()))
            .collect();
        let shard = match usable[..] {
            [] => return None,
            [only] => only,
            _ => {
                let first = fastrand::usize(..usable.len());
                let second = (first + 1 + fastrand::usize(..usable.len() - 1)) % usable.len();
                let load = |place: usize| self.in_flight.of(usable[place].index());
                usable[if load(second) < load(first) { second } else { first }]
            }
        };
        (shard != copies.home).then_some(Route { copies, synced, shard })
    }

    /// A copy of `key` on another shard than `failed`, which may be tried in its place.
    pub(crate) fn instead_of(&self, failed: ShardId, key: &Key) -> Option<Route> {
        let (copies, synced) = self.readable(key)?;
        let others = || synced.on.iter().map(|copy| copy.shard).filter(|shard| *shard != failed);
        let shard =
            others().find(|shard| self.health.is_usable(shard.index())).or_else(|| others().next())?;
        Some(Route { copies, synced, shard })
    }

    /// The copies of `key` that may be read.
    fn readable(&self, key: &Key) -> Option<(Arc<Copies>, Arc<Synced>)> {
        let table = self.table.load();
        if table.is_empty() {
            return None;
        }
        let copies = table.get(key)?;
        Some((Arc::clone(copies), copies.readable()?))
    }

    /// To be called before a write of `key` is sent.
    pub(crate) fn begin_write(&self, key: &Key) -> Writing {
        let seen = self.table.load_full();
        let copies = seen.get(key).map(|copies| (Arc::clone(copies), copies.begin_write()));
        Writing { _seen: seen, copies }
    }

    /// Whether `text` is the value that the copy of `route` was given.
    fn is_copy(&self, route: &Route, text: &RawValue) -> bool {
        let Some(copy) = route.synced.find(route.shard) else { return false };
        let hash = self.fingerprints.hash_one(text.get()).max(1);
        if copy.text.load(Ordering::Relaxed) == hash {
            return true;
        }
        let is_copy = self.fingerprint(text.get()) == Some(route.synced.value);
        if is_copy {
            copy.text.store(hash, Ordering::Relaxed);
        }
        is_copy
    }

    /// The fingerprint of a value, however its text is spelled: the order of fields and white space say nothing.
    fn fingerprint(&self, text: &str) -> Option<u64> {
        let value: serde_json::Value = serde_json::from_str(text).ok()?;
        // An object's fields are in the order of their names.
        Some(self.fingerprints.hash_one(value.to_string()))
    }
}

impl Writing {
    /// Whether the key has copies.
    pub(crate) fn has_copies(&self) -> bool {
        self.copies.is_some()
    }

    /// Ends the write, which left `written` at home, or nobody knows what; gives the copies that there are to bring up to
    /// date.
    pub(crate) fn end(mut self, written: Option<Known>) -> Option<Arc<Copies>> {
        let (copies, began) = self.copies.take()?;
        copies.end_write(began, written, Instant::now());
        Some(copies)
    }
}

impl Drop for Writing {
    fn drop(&mut self) {
        if let Some((copies, began)) = self.copies.take() {
            copies.end_write(began, None, Instant::now());
        }
    }
}
