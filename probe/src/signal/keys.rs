//! Signal `keys`: reads the kernel's table of keys.

use std::collections::BTreeMap;
use std::io;
use std::os::fd::AsFd;

use ahash::AHashMap;
use aya::maps::{Map, MapData, MapError};
use probe_common::key::{self, KEY_BYTES, KEY_WORDS, KeyText};
use probe_common::keys::{KeySet, SETS, WAYS};
use protocol::Key;
use serde::Serialize;

use crate::batch::Batch;
use crate::object::ObjectError;

/// Keys a shard's table has room for.
pub const CAPACITY: usize = SETS as usize * WAYS;

/// A key, as the kernel counted it.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
pub struct KernelKey {
    /// The key; of one longer than 64 bytes, as sent, a hash, an ellipsis, and its end.
    pub key: String,
    /// Reads since the key came into the table: exact.
    pub requests: u64,
    /// Reads it may have had before that, at most; 0 means that `requests` is exact since the probe attached.
    pub error: u64,
}

/// One shard's table.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct KeyTable {
    /// The keys, most reads first; equal ones by name.
    pub keys: Vec<KernelKey>,
    /// Entries in use: at most [`CAPACITY`].
    pub used: usize,
    /// How often a key had to make room for another.
    pub evictions: u64,
}

/// The map `KEYS`.
pub struct KeysMap {
    map: MapData,
    shards: u32,
    batch: Batch<KeySet>,
    /// Entries in use as last read, by shard.
    used: BTreeMap<u32, usize>,
}

impl KeysMap {
    /// The map's name in the object.
    pub const NAME: &str = "KEYS";

    /// Takes the map.
    ///
    /// # Errors
    /// When it is of another type.
    pub fn new(map: Map) -> Result<Self, ObjectError> {
        let Map::Array(map) = map else { return Err(ObjectError::Missing { what: Self::NAME }) };
        let unknown = |error: MapError| ObjectError::Other {
            what: format!("the size of the map {}", Self::NAME),
            reason: error.to_string(),
        };
        let shards = map.info().map_err(unknown)?.max_entries() / SETS;
        Ok(Self { map, shards, batch: Batch::new(SETS), used: BTreeMap::new() })
    }

    /// One shard's table.
    ///
    /// # Errors
    /// When the kernel does not give it.
    pub fn read(&mut self, shard: u32) -> io::Result<KeyTable> {
        let table = KeyTable::of(self.batch.read_locked(self.map.fd().as_fd(), shard * SETS)?);
        self.used.insert(shard, table.used);
        Ok(table)
    }

    /// Shards there is room for.
    #[must_use]
    pub fn shards(&self) -> u64 {
        u64::from(self.shards)
    }

    /// Entries in use, as last read.
    #[must_use]
    pub fn used(&self) -> u64 {
        self.used.values().map(|used| *used as u64).sum()
    }
}

impl KeyTable {
    /// Adds up the spellings of each key.
    fn of(sets: &[KeySet]) -> Self {
        let mut table = Self::default();
        // Twenty thousand names a second: the hash is a third of the work.
        let mut sums: AHashMap<String, (u64, u64)> = AHashMap::new();
        for set in sets {
            table.evictions += set.evictions;
            for (entry, hash, length) in set.keys() {
                table.used += 1;
                let (requests, error) = sums.entry(name(&entry.words, hash, length)).or_default();
                *requests += entry.count;
                *error += entry.error;
            }
        }
        let keys = sums.into_iter().map(|(key, (requests, error))| KernelKey { key, requests, error });
        table.keys = keys.collect();
        table.keys.sort_unstable_by(|a, b| b.requests.cmp(&a.requests).then_with(|| a.key.cmp(&b.key)));
        table
    }
}

/// The name that a key has in a table when it is sent in its canonical spelling.
#[must_use]
pub fn name_of(key: &Key) -> String {
    let mut read = KeyText::default();
    for bytes in key.to_path_segment().as_bytes().chunks(8) {
        let mut word = [0; 8];
        for (to, from) in word.iter_mut().zip(bytes) {
            *to = *from;
        }
        read.append(u64::from_le_bytes(word), bytes.len() as u32);
    }
    read.end();
    name(&read.words, read.hash, read.length)
}

/// A key as people read it: of one that was not kept whole the hash, an ellipsis, and its end.
fn name(words: &[u64; KEY_WORDS], hash: u64, length: u32) -> String {
    let kept: Vec<u8> = key::kept(words, length).collect();
    let text = String::from_utf8_lossy(&kept);
    if length as usize > KEY_BYTES {
        // Cut in the midst of a character, perhaps.
        return format!("#{hash:016x}…{}", text.trim_start_matches('\u{fffd}'));
    }
    match Key::from_path_segment(&text) {
        Ok(key) => key.into(),
        // The shard refuses it, but the kernel counted it: as it was sent.
        Err(_) => text.into_owned(),
    }
}
