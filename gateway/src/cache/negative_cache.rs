//! Remembers for a short while that the shard of a key failed, so that who asks again is not made to wait for the same.
//!
//! A write clears what is remembered of its key, and an error of a read that a write has overtaken is not remembered:
//! each read holds a [`Ticket`] with the number of writes that had ended when it began.

use arc_swap::ArcSwapOption;
use moka::sync::Cache as Entries;
use parking_lot::Mutex;
use protocol::Key;
use std::sync::Arc;
use std::time::Duration;

use crate::cache::flight::Fetched;
use crate::cache::striped::Striped;
use crate::error::Error;

/// Most errors that are remembered, 4 MiB with the longest keys.
const ENTRIES: u64 = 4_096;
/// Counters of writes that are locked apart; a write to one key makes errors of a 64th of the keys pass unremembered.
const STRIPES: usize = 64;

/// The errors remembered; nothing while it is off.
#[derive(Default)]
pub(crate) struct NegativeCache(ArcSwapOption<Table>);

struct Table {
    life: Duration,
    errors: Entries<Key, Error>,
    /// How many writes have ended.
    writes: Striped<Mutex<u64>>,
}

/// What is known of a key.
pub(crate) enum Known {
    /// Its shard has just failed.
    Failed(Error),
    /// Nothing: the caller reads, and says how that ended.
    Nothing(Ticket),
}

/// For a read that is under way; empty while negative caching is off.
pub(crate) struct Ticket(Option<(Arc<Table>, u64)>);

impl NegativeCache {
    /// Remembers errors for `life` from now on, or none; forgets all when that changes.
    pub(crate) fn set(&self, life: Option<Duration>) {
        if self.0.load().as_ref().map(|table| table.life) != life {
            self.0.store(life.map(Table::new));
        }
    }

    /// Forgets all.
    pub(crate) fn clear(&self) {
        if let Some(table) = &*self.0.load() {
            self.0.store(Some(Table::new(table.life)));
        }
    }

    /// What is known of `key`.
    pub(crate) fn look_up(&self, key: &Key) -> Known {
        let Some(table) = &*self.0.load() else { return Known::Nothing(Ticket(None)) };
        match table.errors.get(key) {
            Some(err) => Known::Failed(err),
            None => Known::Nothing(Ticket(Some((Arc::clone(table), *table.writes.of(key).lock())))),
        }
    }

    /// Forgets `key`, and what reads that have begun will find.
    pub(crate) fn forget(&self, key: &Key) {
        if let Some(table) = &*self.0.load() {
            let mut writes = table.writes.of(key).lock();
            *writes += 1;
            table.errors.invalidate(key);
        }
    }
}

impl Table {
    fn new(life: Duration) -> Arc<Self> {
        let errors = Entries::builder().max_capacity(ENTRIES).time_to_live(life).build();
        Arc::new(Self { life, errors, writes: Striped::new(STRIPES, Mutex::default) })
    }
}

impl Ticket {
    /// Remembers that the read of `key` ended so, if its shard failed and no write has ended since it began.
    pub(crate) fn end(self, key: &Key, fetched: &Fetched) {
        if let (Some((table, before)), Err(err)) = (self.0, fetched)
            && matches!(err, Error::ShardUnavailable { .. } | Error::BadShardAnswer { .. })
        {
            let writes = table.writes.of(key).lock();
            if *writes == before {
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
        Err(Error::ShardUnavailable { shard: ShardId(1), cause: "refused".into() })
    }

    fn on() -> NegativeCache {
        let negatives = NegativeCache::default();
        negatives.set(Some(Duration::from_secs(3_600)));
        negatives
    }

    fn begin(negatives: &NegativeCache, key: &Key) -> Ticket {
        match negatives.look_up(key) {
            Known::Nothing(ticket) => ticket,
            Known::Failed(err) => panic!("{err}"),
        }
    }

    fn is_known(negatives: &NegativeCache, key: &Key) -> bool {
        matches!(negatives.look_up(key), Known::Failed(_))
    }

    #[test]
    fn failures_of_shards_are_remembered_and_nothing_else() {
        let negatives = on();
        begin(&negatives, &key(1)).end(&key(1), &failed());
        let bad = Err(Error::BadShardAnswer { shard: ShardId(1), reason: "status 500".into() });
        begin(&negatives, &key(2)).end(&key(2), &bad);
        let answer = ErrorBody { detail: "full".into(), kind: ErrorKind::NotFound };
        begin(&negatives, &key(3)).end(&key(3), &Err(Error::ShardFull { answer }));
        begin(&negatives, &key(4)).end(&key(4), &Err(Error::Internal { what: "x" }));
        assert_eq!([1, 2, 3, 4].map(|n| is_known(&negatives, &key(n))), [true, true, false, false]);
        negatives.set(Some(Duration::from_secs(3_600)));
        assert!(is_known(&negatives, &key(1)), "nothing has changed");
        negatives.clear();
        assert!(!is_known(&negatives, &key(1)));
        begin(&negatives, &key(1)).end(&key(1), &failed());
        negatives.set(None);
        assert!(!is_known(&negatives, &key(1)));
        begin(&negatives, &key(1)).end(&key(1), &failed());
        negatives.set(Some(Duration::from_secs(1)));
        assert!(!is_known(&negatives, &key(1)), "what was off remembers nothing");
    }

    #[test]
    fn a_write_clears_and_overtakes() {
        let negatives = on();
        begin(&negatives, &key(1)).end(&key(1), &failed());
        let slow = begin(&negatives, &key(2));
        negatives.forget(&key(1));
        negatives.forget(&key(2));
        slow.end(&key(2), &failed());
        assert_eq!([1, 2].map(|n| is_known(&negatives, &key(n))), [false, false]);
    }

    #[test]
    fn no_more_than_its_bound_is_held() {
        let negatives = on();
        for n in 0..3 * ENTRIES {
            begin(&negatives, &key(n)).end(&key(n), &failed());
        }
        let table = negatives.0.load_full().unwrap();
        table.errors.run_pending_tasks();
        assert!(table.errors.entry_count() <= ENTRIES);
    }
}
