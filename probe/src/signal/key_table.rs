//! Holds one shard's reads by key; computes the growth between tables.

use std::cmp::Reverse;
use std::collections::BinaryHeap;
use std::sync::{Arc, OnceLock, Weak};

use ahash::RandomState;
use indexmap::IndexMap;
use protocol::probe_api::KernelKey;
use smol_str::SmolStr;

/// Keys kept per slot. A key with more than 1/64 of a slot's requests is always among them.
pub(crate) const KEYS_A_SLOT: usize = 64;

/// The keys that grew most between two tables, with their growth, largest first. It may include keys with growth 0.
pub(crate) type KeyGrowth = Arc<[(SmolStr, u64)]>;

/// One shard's table.
#[derive(Clone, Debug, Default)]
pub struct KeyTable {
    /// The reads of each key in the kernel's order. Names are those of [`KernelKey`].
    pub keys: IndexMap<SmolStr, KeyReads, RandomState>,
    /// Entries in use: at most [`CAPACITY`].
    pub used: usize,
    /// How often a key was evicted for another.
    pub evictions: u64,
    /// The growth since the first table that this one was compared with.
    compared: OnceLock<(Weak<Self>, KeyGrowth)>,
}

/// One key's reads, as in [`KernelKey`].
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct KeyReads {
    /// Reads since the key entered the table; exact.
    pub requests: u64,
    /// Maximum number of reads before that.
    pub error: u64,
}

impl KeyTable {
    /// An empty table with room for `keys` keys.
    pub(crate) fn with_capacity(keys: usize) -> Self {
        Self { keys: IndexMap::with_capacity_and_hasher(keys, RandomState::new()), ..Self::default() }
    }

    /// Adds an entry. Different spellings of one key are summed.
    pub(crate) fn add(&mut self, key: SmolStr, requests: u64, error: u64) {
        self.used += 1;
        let reads = self.keys.entry(key).or_default();
        reads.requests = reads.requests.saturating_add(requests);
        reads.error = reads.error.saturating_add(error);
    }

    /// The `n` most read keys, most reads first. Keys with equal reads are ordered by name.
    #[must_use]
    pub fn top(&self, n: usize) -> Vec<KernelKey> {
        let counts = self.keys.iter().map(|(key, reads)| ((key, reads.error), reads.requests));
        let top = largest(counts, n).into_iter();
        top.map(|((key, error), requests)| KernelKey { key: key.to_string(), requests, error }).collect()
    }

    /// The keys that grew most since `before`. A repeated comparison of the same two tables returns the same list.
    pub(crate) fn largest_growth(self: &Arc<Self>, before: &Arc<Self>) -> KeyGrowth {
        let grown = || largest(self.growth(before), KEYS_A_SLOT).into_iter();
        let grown = || grown().map(|(key, count)| (key.clone(), count)).collect();
        let (other, growth) = self.compared.get_or_init(|| (Arc::downgrade(before), grown()));
        if Weak::as_ptr(other) == Arc::as_ptr(before) { Arc::clone(growth) } else { grown() }
    }

    /// The growth of each key since `before`. A key that was not in it grew from 0.
    pub(crate) fn growth(&self, before: &Self) -> impl Iterator<Item = (&SmolStr, u64)> {
        // Most keys follow the same key as before, so they need no lookup.
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
        // A lower count means that the key was evicted and came back, so it restarted at 0.
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

/// The `n` largest, largest first. Equal counts are ordered by key.
pub(crate) fn largest<K: Ord>(counts: impl Iterator<Item = (K, u64)>, n: usize) -> Vec<(K, u64)> {
    // The top of the heap is the smallest, which is replaced first.
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

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

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

    #[test]
    fn sums_of_faulty_counts_saturate() {
        let mut table = KeyTable::default();
        for _ in 0..2 {
            table.add("a".into(), u64::MAX, u64::MAX);
        }
        assert_eq!(table.top(1), [KernelKey { key: "a".to_owned(), requests: u64::MAX, error: u64::MAX }]);
    }

    #[test]
    fn two_tables_are_compared_once() {
        let [first, second, third] = [1, 2, 3].map(|requests| Arc::new(table(&[(7, requests)])));
        let growth = third.largest_growth(&second);
        assert!(Arc::ptr_eq(&growth, &third.largest_growth(&second)));
        assert_eq!((growth[0].1, third.largest_growth(&first)[0].1), (1, 2));
    }
}
