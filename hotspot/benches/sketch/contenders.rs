//! Puts the compared counters behind one interface.

use heavykeeper::{BucketedTopK, CuckooTopK, TopK};
use hotspot::counter::{KeyCounter, Limits};
use std::collections::HashMap;
use std::sync::Arc;
use topk::FilteredSpaceSaving;

use crate::space_saving::SpaceSaving;

/// The key type of the servers: shared text that is cheap to clone (`protocol::Key`).
pub(crate) type Key = Arc<str>;

/// One line of a result: a key, its count and, if the counter reports it, how much too high the count may be.
pub(crate) struct Line {
    pub(crate) key: Key,
    pub(crate) count: u64,
    pub(crate) error: Option<u64>,
}

impl Line {
    /// The value used for ranking.
    pub(crate) fn lower_bound(&self) -> u64 {
        self.count - self.error.unwrap_or(0)
    }
}

/// A counter of keys.
pub(crate) trait Contender {
    fn add(&mut self, key: &Key);
    /// All held lines, unsorted.
    fn lines(&self) -> Vec<Line>;
}

/// A name and a function that creates an empty counter.
pub(crate) type Entry = (&'static str, fn() -> Box<dyn Contender>);

/// All contenders. Each is sized to stay under 64 KiB with keys like the lab's, except the map and the last one.
pub(crate) const ALL: &[Entry] = &[
    ("exact map", || Box::new(HashMap::<Key, u64>::new())),
    ("Space-Saving 64", || Box::new(SpaceSaving::new(64))),
    ("Space-Saving 256", || Box::new(SpaceSaving::new(256))),
    ("topk 64", || Box::new(FilteredSpaceSaving::<Key>::new(64))),
    ("topk 128", || Box::new(FilteredSpaceSaving::<Key>::new(128))),
    ("topk 256", || Box::new(FilteredSpaceSaving::<Key>::new(256))),
    ("topk 384", || Box::new(FilteredSpaceSaving::<Key>::new(384))),
    ("heavykeeper", || Box::new(TopK::<Key>::new(100, 512, 4, 0.9))),
    ("heavykeeper bucketed", || Box::new(BucketedTopK::<Key>::new(100, 512, 4, 0.9))),
    ("heavykeeper cuckoo", || Box::new(CuckooTopK::<Key>::new(100, 512, 4, 0.9))),
    ("hotspot 896, from exact", || {
        Box::new(KeyCounter::<Key>::new(Limits { exact_keys: 50_000, sketch_keys: 896 }))
    }),
    ("hotspot 1792, from exact", || {
        Box::new(KeyCounter::<Key>::new(Limits { exact_keys: 50_000, sketch_keys: 1_792 }))
    }),
];

impl Contender for HashMap<Key, u64> {
    fn add(&mut self, key: &Key) {
        match self.get_mut(key) {
            Some(count) => *count += 1,
            None => {
                self.insert(key.clone(), 1);
            }
        }
    }

    fn lines(&self) -> Vec<Line> {
        self.iter().map(|(key, count)| Line { key: key.clone(), count: *count, error: Some(0) }).collect()
    }
}

impl Contender for SpaceSaving<Key> {
    fn add(&mut self, key: &Key) {
        self.add(key);
    }

    fn lines(&self) -> Vec<Line> {
        self.entries()
            .map(|(key, count, error)| Line { key: key.clone(), count, error: Some(error) })
            .collect()
    }
}

impl Contender for FilteredSpaceSaving<Key> {
    fn add(&mut self, key: &Key) {
        self.insert(key.clone(), 1);
    }

    fn lines(&self) -> Vec<Line> {
        let line = |(key, counter): (&Key, &topk::ElementCounter)| Line {
            key: key.clone(),
            count: counter.estimated_count(),
            error: Some(counter.associated_error()),
        };
        self.iter().map(line).collect()
    }
}

impl Contender for TopK<Key> {
    fn add(&mut self, key: &Key) {
        self.add(key, 1);
    }

    fn lines(&self) -> Vec<Line> {
        self.list().into_iter().map(|node| Line { key: node.item, count: node.count, error: None }).collect()
    }
}

impl Contender for BucketedTopK<Key> {
    fn add(&mut self, key: &Key) {
        self.add(key, 1);
    }

    fn lines(&self) -> Vec<Line> {
        self.list().into_iter().map(|node| Line { key: node.item, count: node.count, error: None }).collect()
    }
}

impl Contender for CuckooTopK<Key> {
    fn add(&mut self, key: &Key) {
        self.add(key, 1);
    }

    fn lines(&self) -> Vec<Line> {
        self.list().into_iter().map(|node| Line { key: node.item, count: node.count, error: None }).collect()
    }
}

impl Contender for KeyCounter<Key> {
    fn add(&mut self, key: &Key) {
        self.add(key);
    }

    fn lines(&self) -> Vec<Line> {
        let line =
            |c: hotspot::counter::Count<Key>| Line { key: c.key, count: c.count, error: Some(c.error) };
        self.top(usize::MAX).into_iter().map(line).collect()
    }
}
