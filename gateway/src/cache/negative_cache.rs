//! Remembers a shard's failures briefly, so repeated requests fail fast.
//!
//! A write removes the error of its key. The error of a read is not remembered if a write of the key ended during the
//! read. For this, each read holds a [`Ticket`] with the number of writes that had ended when it began.

use arc_swap::ArcSwapOption;
use moka::sync::Cache as Entries;
use parking_lot::Mutex;
use protocol::Key;
use std::hash::{BuildHasher, RandomState};
use std::sync::Arc;
use std::time::Duration;

use crate::error::Error;
use crate::upstream::answer::Fetched;

/// Largest number of remembered errors. With the longest keys they take 4 MiB.
const ENTRIES: u64 = 4_096;
/// Number of write counters, each with its own lock. Keys share counters: a write of one key also discards the errors
/// of reads in progress of 1/64 of all keys.
const STRIPES: usize = 64;

/// The remembered errors. `None` while the negative cache is off.
#[derive(Default)]
pub(crate) struct NegativeCache(ArcSwapOption<Table>);

struct Table {
    life: Duration,
    errors: Entries<Key, Error>,
    /// Number of ended writes per stripe of keys.
    writes: [Mutex<u64>; STRIPES],
    /// Seeded hash, so that clients cannot choose keys that share a stripe.
    stripes: RandomState,
}

/// A read in progress. Empty while the negative cache is off.
#[derive(Default)]
pub(crate) struct Ticket(Option<Begun>);

struct Begun {
    table: Arc<Table>,
    key: Key,
    writes_before: u64,
}

impl NegativeCache {
    /// Sets how long errors are remembered; `None` turns the negative cache off. A change forgets all errors.
    pub(crate) fn set(&self, life: Option<Duration>) {
        if self.0.load().as_ref().map(|table| table.life) != life {
            self.0.store(life.map(Table::new));
        }
    }

    /// Forgets all errors.
    pub(crate) fn clear(&self) {
        if let Some(table) = &*self.0.load() {
            self.0.store(Some(Table::new(table.life)));
        }
    }

    /// Begins a read of `key`.
    ///
    /// # Errors
    /// The remembered error of the key.
    pub(crate) fn begin(&self, key: &Key) -> Result<Ticket, Error> {
        let Some(table) = &*self.0.load() else { return Ok(Ticket::default()) };
        match table.errors.get(key) {
            Some(err) => Err(err),
            None => {
                let writes_before = *table.writes_of(key).lock();
                Ok(Ticket(Some(Begun { table: Arc::clone(table), key: key.clone(), writes_before })))
            }
        }
    }

    /// Forgets the error of `key`. Errors of reads that have already begun are not remembered either.
    pub(crate) fn forget(&self, key: &Key) {
        if let Some(table) = &*self.0.load() {
            let mut writes = table.writes_of(key).lock();
            *writes += 1;
            table.errors.invalidate(key);
        }
    }
}

impl Table {
    fn new(life: Duration) -> Arc<Self> {
        let errors = Entries::builder().max_capacity(ENTRIES).time_to_live(life).build();
        let writes = std::array::from_fn(|_| Mutex::default());
        Arc::new(Self { life, errors, writes, stripes: RandomState::new() })
    }

    fn writes_of(&self, key: &Key) -> &Mutex<u64> {
        #[expect(clippy::cast_possible_truncation, reason = "only the low bits matter")]
        let hash = self.stripes.hash_one(key) as usize;
        &self.writes[hash % STRIPES]
    }
}

impl Ticket {
    /// Remembers the shard's error, unless a write of the key has ended since the read began.
    pub(crate) fn end(self, fetched: &Fetched) {
        if let (Some(Begun { table, key, writes_before }), Err(err)) = (self.0, fetched)
            && matches!(err, Error::ShardUnavailable { .. } | Error::BadShardAnswer { .. })
        {
            let writes = table.writes_of(&key).lock();
            if *writes == writes_before {
                table.errors.insert(key.clone(), err.clone());
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use protocol::{ErrorBody, ErrorKind, ShardId};

    fn key(n: u64) -> Key {
        Key::new(&format!("key-{n}")).unwrap()
    }

    fn failed() -> Fetched {
        Err(Error::ShardUnavailable { shard: ShardId(1), cause: "refused".into(), retry_after: None })
    }

    fn on() -> NegativeCache {
        let negatives = NegativeCache::default();
        negatives.set(Some(Duration::from_secs(3_600)));
        negatives
    }

    fn begin(negatives: &NegativeCache, key: &Key) -> Ticket {
        negatives.begin(key).unwrap()
    }

    fn is_known(negatives: &NegativeCache, key: &Key) -> bool {
        negatives.begin(key).is_err()
    }

    #[test]
    fn failures_of_shards_are_remembered_and_nothing_else() {
        let negatives = on();
        begin(&negatives, &key(1)).end(&failed());
        let bad = Err(Error::BadShardAnswer { shard: ShardId(1), reason: "status 500".into() });
        begin(&negatives, &key(2)).end(&bad);
        let answer = ErrorBody { detail: "full".into(), kind: ErrorKind::NotFound };
        begin(&negatives, &key(3)).end(&Err(Error::ShardFull { shard: ShardId(0), answer }));
        begin(&negatives, &key(4)).end(&Err(Error::Internal { what: "x" }));
        assert_eq!([1, 2, 3, 4].map(|n| is_known(&negatives, &key(n))), [true, true, false, false]);
        negatives.set(Some(Duration::from_secs(3_600)));
        assert!(is_known(&negatives, &key(1)), "nothing has changed");
        negatives.clear();
        assert!(!is_known(&negatives, &key(1)));
        begin(&negatives, &key(1)).end(&failed());
        negatives.set(None);
        assert!(!is_known(&negatives, &key(1)));
        begin(&negatives, &key(1)).end(&failed());
        negatives.set(Some(Duration::from_secs(1)));
        assert!(!is_known(&negatives, &key(1)), "what was off remembers nothing");
    }

    #[test]
    fn a_write_clears_and_overtakes() {
        let negatives = on();
        begin(&negatives, &key(1)).end(&failed());
        let slow = begin(&negatives, &key(2));
        negatives.forget(&key(1));
        negatives.forget(&key(2));
        slow.end(&failed());
        assert_eq!([1, 2].map(|n| is_known(&negatives, &key(n))), [false, false]);
    }

    #[test]
    fn no_more_than_its_bound_is_held() {
        let negatives = on();
        for n in 0..3 * ENTRIES {
            begin(&negatives, &key(n)).end(&failed());
        }
        let table = negatives.0.load_full().unwrap();
        table.errors.run_pending_tasks();
        assert!(table.errors.entry_count() <= ENTRIES);
    }
}
