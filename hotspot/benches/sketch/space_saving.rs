//! Plain Space-Saving over a binary min-heap: the baseline for Filtered Space-Saving.
//!
//! Metwally, Agrawal, El Abbadi: "Efficient computation of frequent and top-k elements in data streams", ICDT 2005. A
//! key that is not tracked replaces the smallest one. Its error is the count of the replaced key.

use std::collections::HashMap;
use std::hash::Hash;

struct Entry<K> {
    key: K,
    count: u64,
    error: u64,
}

/// At most `most` keys; `places` maps a key to its position in the heap.
pub(crate) struct SpaceSaving<K> {
    most: usize,
    entries: Vec<Entry<K>>,
    places: HashMap<K, usize>,
}

impl<K: Clone + Eq + Hash> SpaceSaving<K> {
    pub(crate) fn new(most: usize) -> Self {
        Self { most, entries: Vec::with_capacity(most), places: HashMap::with_capacity(most) }
    }

    pub(crate) fn add(&mut self, key: &K) {
        if let Some(at) = self.places.get(key) {
            let at = *at;
            self.entries[at].count += 1;
            self.sink(at);
        } else if self.entries.len() < self.most {
            // A count of 1 is at most its parent's count, so the entry can only rise.
            self.entries.push(Entry { key: key.clone(), count: 1, error: 0 });
            self.rise(self.entries.len() - 1);
        } else {
            let smallest = &mut self.entries[0];
            let evicted = std::mem::replace(&mut smallest.key, key.clone());
            smallest.error = smallest.count;
            smallest.count += 1;
            self.places.remove(&evicted);
            self.places.insert(key.clone(), 0);
            self.sink(0);
        }
    }

    /// Key, count and error of all entries.
    pub(crate) fn entries(&self) -> impl Iterator<Item = (&K, u64, u64)> {
        self.entries.iter().map(|entry| (&entry.key, entry.count, entry.error))
    }

    fn rise(&mut self, mut at: usize) {
        self.places.insert(self.entries[at].key.clone(), at);
        while at > 0 && self.entries[at].count < self.entries[(at - 1) / 2].count {
            self.swap(at, (at - 1) / 2);
            at = (at - 1) / 2;
        }
    }

    fn sink(&mut self, mut at: usize) {
        loop {
            let mut least = at;
            for child in [2 * at + 1, 2 * at + 2] {
                if child < self.entries.len() && self.entries[child].count < self.entries[least].count {
                    least = child;
                }
            }
            if least == at {
                return;
            }
            self.swap(at, least);
            at = least;
        }
    }

    fn swap(&mut self, a: usize, b: usize) {
        self.entries.swap(a, b);
        for moved in [a, b] {
            if let Some(place) = self.places.get_mut(&self.entries[moved].key) {
                *place = moved;
            }
        }
    }
}
