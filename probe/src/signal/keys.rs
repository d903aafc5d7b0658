//! Defines the signal `keys`: reads the kernel's table of keys.

use std::collections::BTreeMap;
use std::io;
use std::os::fd::AsFd;

use aya::maps::{Map, MapData, MapError};
use probe_common::key::{self, KEY_BYTES, KEY_WORDS, KeyText};
use probe_common::keys::{KeySet, SETS, WAYS};
use protocol::Key;
use smol_str::SmolStr;

use super::key_table::KeyTable;
use super::raw_key::name_of_bytes;
use crate::kernel::batch::Batch;
use crate::kernel::error::ObjectError;
use crate::kernel::object;
use crate::kernel::protocol::Protocol;

/// Maximum number of keys in a shard's table.
pub const CAPACITY: usize = SETS as usize * WAYS;

/// The map `KEYS`.
pub(crate) struct KeysMap {
    map: MapData,
    shards: u32,
    protocol: Protocol,
    batch: Batch<KeySet>,
    /// Entries in use at the last reading, by shard.
    used: BTreeMap<u32, usize>,
}

impl KeysMap {
    /// The map's name in the object.
    pub(crate) const NAME: &str = object::KEYS;

    /// Takes the map.
    pub(crate) fn new(map: Map, protocol: Protocol) -> Result<Self, ObjectError> {
        let Map::Array(map) = map else { return Err(ObjectError::Missing { what: Self::NAME }) };
        let unknown = |error: MapError| ObjectError::other("the size of the map KEYS", &error);
        let shards = map.info().map_err(unknown)?.max_entries() / SETS;
        Ok(Self { map, shards, protocol, batch: Batch::new(SETS), used: BTreeMap::new() })
    }

    /// One shard's table.
    pub(crate) fn read(&mut self, shard: u32) -> io::Result<KeyTable> {
        let sets = self.batch.read_locked(self.map.fd().as_fd(), shard * SETS)?;
        let used = self.used.entry(shard).or_default();
        let table = table(sets, self.protocol, *used);
        *used = table.used;
        Ok(table)
    }

    /// Empties one shard's table.
    pub(crate) fn clear(&mut self, shard: u32) -> io::Result<()> {
        self.used.remove(&shard);
        self.batch.clear_locked(self.map.fd().as_fd(), shard * SETS)
    }

    /// The number of shards that the map has room for.
    pub(crate) fn shards(&self) -> u64 {
        u64::from(self.shards)
    }

    /// Entries in use at the last reading.
    pub(crate) fn used(&self) -> u64 {
        self.used.values().map(|used| *used as u64).sum()
    }
}

/// The keys of one shard's sets. About `expected` keys are in use.
pub(crate) fn table(sets: &[KeySet], protocol: Protocol, expected: usize) -> KeyTable {
    let mut table = KeyTable::with_capacity(expected);
    for set in sets {
        table.evictions = table.evictions.saturating_add(set.evictions);
        for (entry, hash, length) in set.keys() {
            table.add(name(&entry.words, hash, length, protocol), entry.count, entry.error);
        }
    }
    table
}

/// The name in a table of a key that was sent in its canonical spelling.
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
    name(&read.words, read.hash, read.length, Protocol::Http).into()
}

/// A readable name of a key. For a shortened key it is the hash, an ellipsis, and the key's end.
fn name(words: &[u64; KEY_WORDS], hash: u64, length: u32, protocol: Protocol) -> SmolStr {
    let size = length as usize;
    let mut bytes = [0; KEY_BYTES];
    let words_kept = words.iter().take(size.div_ceil(8)).rev();
    for (to, word) in bytes.chunks_exact_mut(8).zip(words_kept) {
        to.copy_from_slice(&word.to_le_bytes());
    }
    let Some(whole) = bytes.get(..size) else {
        let end: Vec<u8> = key::kept(words, length).collect();
        let end = String::from_utf8_lossy(&end);
        // The end may start inside a character, so remove the replacement characters.
        let end = end.trim_start_matches('\u{fffd}');
        // A store's key may have control characters. A key of HTTP is percent-encoded.
        let end = if protocol == Protocol::Resp { name_of_bytes(end.as_bytes()) } else { end.into() };
        return format!("#{hash:016x}…{end}").into();
    };
    if protocol == Protocol::Resp {
        return name_of_bytes(whole);
    }
    let text = String::from_utf8_lossy(whole);
    // Most keys are not percent-encoded.
    if !whole.contains(&b'%') {
        return text.into();
    }
    match Key::from_path_segment(&text) {
        Ok(key) => key.as_str().into(),
        // The shard rejects the key but the kernel counted it, so show it as sent.
        Err(_) => text.into(),
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    #[test]
    fn the_end_of_a_stores_long_key_is_one_line() {
        let mut words = [u64::from_le_bytes([b'a'; 8]); KEY_WORDS];
        words[0] = u64::from_le_bytes(*b"a\n\x1bbcdef");
        let name = name(&words, 1, 72, Protocol::Resp);
        assert!(name.starts_with("#0000000000000001…") && name.ends_with("a\\x0a\\x1bbcdef"), "{name}");
    }

    proptest! {
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
}
