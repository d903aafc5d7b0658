//! Copies of hot keys on several shards.
//!
//! A read goes to the less loaded of two random shards that hold the key. A write makes all copies unreadable until
//! they hold the new value.
//!
//! A copy's answer is used only if it is the value that was copied. A restarted shard creates an absent value on the
//! fly. A shard may also still execute a write whose caller has timed out. After a wrong answer the gateway reads the
//! home, and the copy is not read until it has been written again.
//!
//! Each write in progress holds the [`Table`] that was current when it began. A key's first copy is created only after
//! all older tables are dropped. From then on, every write in progress includes the copies.

pub(crate) mod client;
mod copies;
#[cfg(test)]
mod model;

use arc_swap::ArcSwap;
use parking_lot::Mutex;
use protocol::{Key, ShardId};
use std::collections::HashMap;
use std::hash::{BuildHasher, RandomState};
use std::sync::atomic::Ordering;
use std::sync::{Arc, Weak};
use std::time::{Duration, Instant};

use self::copies::{Copies, Known, Synced};
use crate::upstream::in_flight::InFlight;
use crate::upstream::shard_health::{ShardHealth, Usable};

/// All copies of all keys.
pub(crate) struct Replicas {
    table: ArcSwap<Table>,
    /// Replaced tables that a write in progress may still hold. Locked while the table is replaced.
    older: Mutex<Vec<Weak<Table>>>,
    in_flight: Arc<InFlight>,
    health: Arc<ShardHealth>,
    fingerprints: RandomState,
    /// See [`Copies`].
    pause: Duration,
    shards: usize,
}

/// Keys that have copies, and keys whose former copies still have work in progress.
type Table = HashMap<Key, Arc<Copies>>;

/// A copy that a read goes to.
pub(crate) struct Route {
    copies: Arc<Copies>,
    synced: Arc<Synced>,
    shard: ShardId,
}

/// A write in progress. If it is dropped before its end, its outcome is unknown.
pub(crate) struct Writing {
    /// Keeps the table alive. While it is alive, this write may miss copies that were requested later.
    _seen: Arc<Table>,
    copies: Option<(Arc<Copies>, u64)>,
}

impl Replicas {
    /// `deadline` is the deadline of a request to a shard.
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

    /// Sets the replicated keys, each with its home, and the number of shards for each.
    ///
    /// Other keys are read from their home at once. They leave the table when no write and no copy job of theirs is in
    /// progress.
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

    /// All keys with the state of their copies, for [`client::ShardClient::synchronise`].
    pub(crate) fn all(&self) -> Vec<(Key, Arc<Copies>)> {
        self.table.load().iter().map(|(key, copies)| (key.clone(), Arc::clone(copies))).collect()
    }

    /// The shards that reads of `key` may go to now, home first.
    pub(crate) fn of(&self, key: &Key, home: ShardId) -> Vec<ShardId> {
        let copies = self.table.load().get(key).and_then(|copies| copies.readable());
        let mut on: Vec<ShardId> =
            copies.iter().flat_map(|synced| &synced.on).map(|copy| copy.shard).collect();
        // Sort by the order of the ring.
        on.sort_by_key(|shard| (shard.index() + self.shards - home.index()) % self.shards.max(1));
        [vec![home], on].concat()
    }

    /// Selects a copy for a read of `key`. `None`: read the home.
    ///
    /// Draws two of the shards that hold the key, and takes the one with fewer requests in flight. Shards whose last
    /// call failed are skipped, as a failing shard fails fast and would have the fewest requests in flight. One read per
    /// period goes to such a shard as a trial.
    pub(crate) fn choose(&self, key: &Key) -> Option<Route> {
        let (copies, synced) = self.readable(key)?;
        let mut usable = Vec::new();
        let mut trial = None;
        for shard in [copies.home].into_iter().chain(synced.on.iter().map(|copy| copy.shard)) {
            match self.health.usable(shard.index()) {
                Usable::Yes => usable.push(shard),
                Usable::Trial => {
                    // Another shard's trial is left for the next read.
                    trial = Some(shard);
                    break;
                }
                Usable::No => {}
            }
        }
        let shard = match (trial, &usable[..]) {
            (Some(shard), _) | (None, &[shard]) => shard,
            (None, []) => return None,
            (None, _) => {
                let first = fastrand::usize(..usable.len());
                let second = (first + 1 + fastrand::usize(..usable.len() - 1)) % usable.len();
                let load = |place: usize| self.in_flight.of(usable[place].index());
                usable[if load(second) < load(first) { second } else { first }]
            }
        };
        (shard != copies.home).then_some(Route { copies, synced, shard })
    }

    /// A copy of `key` on another shard, for a read that failed on `failed`.
    pub(crate) fn instead_of(&self, failed: ShardId, key: &Key) -> Option<Route> {
        let (copies, synced) = self.readable(key)?;
        let others = || synced.on.iter().map(|copy| copy.shard).filter(|shard| *shard != failed);
        let is_usable = |shard: &ShardId| self.health.usable(shard.index()) != Usable::No;
        let shard = others().find(is_usable).or_else(|| others().next())?;
        Some(Route { copies, synced, shard })
    }

    fn readable(&self, key: &Key) -> Option<(Arc<Copies>, Arc<Synced>)> {
        let table = self.table.load();
        if table.is_empty() {
            return None;
        }
        let copies = table.get(key)?;
        Some((Arc::clone(copies), copies.readable()?))
    }

    /// Begins a write of `key`. Call it before the write is sent.
    pub(crate) fn begin_write(&self, key: &Key) -> Writing {
        let seen = self.table.load_full();
        let copies = seen.get(key).map(|copies| (Arc::clone(copies), copies.begin_write()));
        Writing { _seen: seen, copies }
    }

    /// Whether `text` is the value that was written to the copy of `route`.
    fn is_copy(&self, route: &Route, text: &[u8]) -> bool {
        let Some(copy) = route.synced.find(route.shard) else { return false };
        let hash = self.fingerprints.hash_one(text).max(1);
        if copy.text.load(Ordering::Relaxed) == hash {
            return true;
        }
        let is_copy = self.fingerprint(text) == Some(route.synced.value);
        if is_copy {
            copy.text.store(hash, Ordering::Relaxed);
        }
        is_copy
    }

    /// The fingerprint of a JSON value. The order of fields and white space do not affect it.
    fn fingerprint(&self, text: &[u8]) -> Option<u64> {
        let value: serde_json::Value = serde_json::from_slice(text).ok()?;
        // `serde_json::Value` sorts an object's fields by name.
        Some(self.fingerprints.hash_one(value.to_string()))
    }
}

impl Writing {
    /// Whether the key has copies.
    pub(crate) fn has_copies(&self) -> bool {
        self.copies.is_some()
    }

    /// Ends the write. `written` is the value that the home now holds, or `None` if that is unknown. Returns the copies
    /// to update, if the key has any.
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
