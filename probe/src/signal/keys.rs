//! Signal `keys`: reads the kernel's table of keys.

use std::cmp::Reverse;
use std::collections::{BTreeMap, BinaryHeap};
use std::io;
use std::os::fd::AsFd;

use ahash::RandomState;
use aya::maps::{Map, MapData, MapError};
use indexmap::IndexMap;
use probe_common::key::{self, KEY_BYTES, KEY_WORDS, KeyText};
use probe_common::keys::{KeySet, SETS, WAYS};
use protocol::Key;
use serde::Serialize;
use smol_str::SmolStr;

use crate::kernel::batch::Batch;
use crate::kernel::error::ObjectError;
use crate::kernel::object;

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
    /// The reads of each key, under the name it has in [`KernelKey`], in the kernel's order.
    pub keys: IndexMap<SmolStr, KeyReads, RandomState>,
    /// Entries in use: at most [`CAPACITY`].
    pub used: usize,
    /// How often a key had to make room for another.
    pub evictions: u64,
}

/// One key's reads, as in [`KernelKey`].
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct KeyReads {
    /// Exact.
    pub requests: u64,
    /// At most.
    pub error: u64,
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
    pub const NAME: &str = object::KEYS;

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
        let sets = self.batch.read_locked(self.map.fd().as_fd(), shard * SETS)?;
        let used = self.used.entry(shard).or_default();
        let keys = IndexMap::with_capacity_and_hasher(*used, RandomState::new());
        let mut table = KeyTable { keys, ..KeyTable::default() };
        for set in sets {
            table.evictions += set.evictions;
            for (entry, hash, length) in set.keys() {
                table.add(name(&entry.words, hash, length), entry.count, entry.error);
            }
        }
        *used = table.used;
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
    /// One more entry; spellings of one key add up.
    fn add(&mut self, key: SmolStr, requests: u64, error: u64) {
        self.used += 1;
        let reads = self.keys.entry(key).or_default();
        reads.requests += requests;
        reads.error += error;
    }

    /// The `n` most read keys, most reads first; equal ones by name.
    #[must_use]
    pub fn top(&self, n: usize) -> Vec<KernelKey> {
        let counts = self.keys.iter().map(|(key, reads)| ((key, reads.error), reads.requests));
        let top = largest(counts, n).into_iter();
        top.map(|((key, error), requests)| KernelKey { key: key.to_string(), requests, error }).collect()
    }

    /// How much each key has grown since `before`; one that was not there, from 0.
    pub(crate) fn growth(&self, before: &Self) -> impl Iterator<Item = (&SmolStr, u64)> {
        // Most keys stand behind the same one as then, and are not searched for.
        let mut next = 0;
        self.keys.iter().map(move |(key, now)| {
            let had = before.keys.get_index(next).filter(|(there, _)| *there == key);
            let had = had.map(|(_, had)| (next, had));
            let had = had.or_else(|| before.keys.get_full(key).map(|(at, _, had)| (at, had)));
            next = had.map_or(next, |(at, _)| at + 1);
            (key, now.since(had.map(|(_, had)| had)))
        })
    }

    /// How much `key` has grown since `before`.
    pub(crate) fn grown(&self, key: &str, before: &Self) -> u64 {
        self.keys.get(key).map_or(0, |now| now.since(before.keys.get(key)))
    }
}

impl KeyReads {
    fn since(&self, before: Option<&Self>) -> u64 {
        // A count that fell began anew: the key gave way and came back.
        let had = before.filter(|had| had.requests <= self.requests);
        self.requests - had.map_or(0, |had| had.requests)
    }
}

impl FromIterator<KernelKey> for KeyTable {
    fn from_iter<T: IntoIterator<Item = KernelKey>>(keys: T) -> Self {
        let mut table = Self::default();
        for KernelKey { key, requests, error } in keys {
            table.add(key.into(), requests, error);
        }
        table
    }
}

/// The `n` largest, largest first; equal ones by key.
pub(crate) fn largest<K: Ord>(counts: impl Iterator<Item = (K, u64)>, n: usize) -> Vec<(K, u64)> {
    // On top the one that gives way first.
    let mut heap = BinaryHeap::new();
    for (key, count) in counts {
        let one = (Reverse(count), key);
        if heap.len() < n {
            heap.push(one);
        } else if let Some(mut top) = heap.peek_mut()
            && one < *top
        {
            *top = one;
        }
    }
    heap.into_sorted_vec().into_iter().map(|(Reverse(count), key)| (key, count)).collect()
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
    name(&read.words, read.hash, read.length).into()
}

/// A key as people read it: of one that was not kept whole the hash, an ellipsis, and its end.
fn name(words: &[u64; KEY_WORDS], hash: u64, length: u32) -> SmolStr {
    let size = length as usize;
    let mut bytes = [0; KEY_BYTES];
    let words_kept = words.iter().take(size.div_ceil(8)).rev();
    for (to, word) in bytes.chunks_exact_mut(8).zip(words_kept) {
        to.copy_from_slice(&word.to_le_bytes());
    }
    let Some(whole) = bytes.get(..size) else {
        let end: Vec<u8> = key::kept(words, length).collect();
        let end = String::from_utf8_lossy(&end);
        // Cut in the midst of a character, perhaps.
        return format!("#{hash:016x}…{}", end.trim_start_matches('\u{fffd}')).into();
    };
    let text = String::from_utf8_lossy(whole);
    // Most have nothing to be decoded.
    if !whole.contains(&b'%') {
        return text.into();
    }
    match Key::from_path_segment(&text) {
        Ok(key) => key.as_str().into(),
        // The shard refuses it, but the kernel counted it: as it was sent.
        Err(_) => text.into(),
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    fn table(keys: &[(u8, u64)]) -> KeyTable {
        let keys = keys.iter().map(|(key, requests)| KernelKey {
            key: key.to_string(),
            requests: *requests,
            error: 0,
        });
        keys.collect()
    }

    proptest! {
        #[test]
        fn growth_is_by_name_wherever_a_key_stands(
            before in prop::collection::vec((0_u8..30, 0_u64..9), 0..40),
            now in prop::collection::vec((0_u8..30, 0_u64..9), 0..40),
        ) {
            let (before, now) = (table(&before), table(&now));
            let growth: Vec<(&SmolStr, u64)> = now.growth(&before).collect();
            let expected = now.keys.iter().map(|(key, reads)| {
                let had = before.keys.get(key).map_or(0, |reads| reads.requests);
                (key, reads.requests.checked_sub(had).unwrap_or(reads.requests))
            });
            prop_assert_eq!(&growth, &expected.collect::<Vec<_>>());
            prop_assert!(growth.into_iter().all(|(key, count)| now.grown(key, &before) == count));
        }

        #[test]
        fn the_largest_are_the_first_of_all_in_order(
            counts in prop::collection::btree_map(0_u16..500, 0_u64..9, 0..200),
            n in 0_usize..250,
        ) {
            let mut all: Vec<(u16, u64)> = counts.iter().map(|(key, count)| (*key, *count)).collect();
            all.sort_by_key(|(key, count)| (Reverse(*count), *key));
            all.truncate(n);
            prop_assert_eq!(largest(counts.into_iter(), n), all);
        }

        #[test]
        fn a_key_that_is_kept_whole_has_its_own_name(key in "[^\0]{1,64}") {
            let key = Key::new(&key);
            prop_assume!(key.is_ok());
            let key = key.unwrap();
            if key.to_path_segment().len() <= KEY_BYTES {
                prop_assert_eq!(name_of(&key), key.as_str());
            }
        }
    }

    #[test]
    fn spellings_of_one_key_are_one_and_equal_keys_stand_by_name() {
        let key = |key: &str, requests, error| KernelKey { key: key.to_owned(), requests, error };
        let table: KeyTable =
            [key("b", 3, 0), key("c", 3, 0), key("a", 1, 1), key("a", 2, 1), key("d", 4, 0)]
                .into_iter()
                .collect();
        assert_eq!(table.used, 5);
        assert_eq!(table.top(3), [key("d", 4, 0), key("a", 3, 2), key("b", 3, 0)]);
        assert_eq!((table.top(0).len(), table.top(usize::MAX).len()), (0, 4));
    }
}
