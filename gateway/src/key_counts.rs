//! Counts requests by key, on all cores, in bounded memory.
//!
//! Client requests and requests sent to the shards are counted separately, since the last reset and in the last ten
//! seconds.

use hotspot::batched::{Accumulate, Batched, Note};
use hotspot::counter::{Count, KeyCounter, Limits};
use hotspot::export::key_series::KeySeries;
use hotspot::hash::hash_of;
use hotspot::merge::Summary;
use hotspot::window::{Access, Window};
use protocol::{Key, ShardId};
use std::sync::Arc;
use std::time::{Duration, Instant};

/// Limits of the totals. Counts are exact up to 50,000 keys.
const LIMITS: Limits = Limits { exact_keys: 50_000, sketch_keys: 1_792 };
/// Limits per shard and second, separately for reads and writes. A key with more than 1/128 of them is always found.
const SECOND: Limits = Limits { exact_keys: 448, sketch_keys: 256 };

/// Counts accesses by key. Counts are exact up to 50,000 keys. Beyond that, each count carries its error, at most 1/896
/// of all accesses.
///
/// Memory:
///
/// | part | keys as in the lab's scenarios | longest keys |
/// |---|---|---|
/// | totals, 50,000 keys | 3.2 MB | 29 MB |
/// | totals after exact counting has ended, 1,792 keys | 98 KiB | 1 MiB |
/// | windows, per shard | 1.1 MiB | 11 MiB |
///
/// A shard has two windows, one for client requests and one for requests sent. A window has 11 slots with at most 448
/// read and 448 written keys each, and 256 once it has more keys.
pub(crate) struct KeyCounts {
    counts: Batched<ShardId, 4, Counts>,
    shards: usize,
    on: bool,
}

/// Increments for a client's read and write. The shard is the key's home.
const RECEIVED: [[u8; 4]; 2] = [[1, 0, 0, 0], [0, 1, 0, 0]];
/// Increments for a read and a write that the gateway sends to a shard.
const SENT: [[u8; 4]; 2] = [[0, 0, 1, 0], [0, 0, 0, 1]];

struct Counts {
    series: Arc<KeySeries>,
    totals: KeyCounter<Key>,
    /// Client requests, one window per home shard.
    received: Vec<Window<Key>>,
    /// Requests sent, one window per shard.
    sent: Vec<Window<Key>>,
}

impl Counts {
    fn new(series: Arc<KeySeries>, shards: usize, since: Duration) -> Self {
        let windows = || (0..shards).map(|_| Window::new(SECOND, since)).collect();
        Self { series, totals: KeyCounter::new(LIMITS), received: windows(), sent: windows() }
    }
}

impl Accumulate<ShardId, 4> for Counts {
    fn add(&mut self, notes: impl Iterator<Item = Note<ShardId, 4>>) {
        let series = self.series.counting();
        for Note { key, place: shard, times, second } in notes {
            let [received_reads, received_writes, sent_reads, sent_writes] = times.map(u64::from);
            let hash = hash_of(&key);
            let received = received_reads + received_writes;
            if received > 0 {
                series.count(hash, &key, received);
                self.totals.add_many(hash, &key, received);
            }
            let received = (&mut self.received, received_reads, received_writes);
            let sent = (&mut self.sent, sent_reads, sent_writes);
            for (windows, reads, writes) in [received, sent] {
                if let Some(window) = windows.get_mut(shard.index()) {
                    window.add_many(hash, &key, reads, writes, second);
                }
            }
        }
    }
}

impl KeyCounts {
    /// Creates empty counts, which count into `series` too. They stay empty unless `on` is true.
    pub(crate) fn new(series: Arc<KeySeries>, shards: usize, on: bool) -> Self {
        let counts = Batched::new(Counts::new(series, shards, Duration::ZERO));
        Self { counts, shards, on }
    }

    /// Counts a client's request at `now`, cached or not.
    pub(crate) fn received(&self, key: &Key, home: ShardId, access: Access, now: Instant) {
        if self.on {
            self.counts.record(key, home, RECEIVED[usize::from(access == Access::Write)], now);
        }
    }

    /// Counts a request that was just sent to `shard`.
    pub(crate) fn sent(&self, key: &Key, shard: ShardId, access: Access) {
        if self.on {
            self.counts.record(key, shard, SENT[usize::from(access == Access::Write)], Instant::now());
        }
    }

    /// Counts all requests up to now in the key series.
    pub(crate) fn complete_series(&self) {
        if self.on {
            drop(self.counts.lock());
        }
    }

    /// The `n` most requested keys, in descending order of their lower bound.
    pub(crate) fn top(&self, n: usize) -> Vec<Count<Key>> {
        self.counts.lock().totals.top(n)
    }

    /// The `n` most requested keys, and an upper bound for the count of every other key.
    pub(crate) fn summary(&self, n: usize) -> Summary<Key> {
        self.counts.lock().totals.summary(n)
    }

    /// The number of shards.
    pub(crate) fn shards(&self) -> usize {
        self.shards
    }

    /// The present time on the windows' clock.
    pub(crate) fn now(&self) -> Duration {
        self.counts.elapsed()
    }

    /// Calls `see` with the window of client requests of each home shard, and the time.
    pub(crate) fn look(&self, mut see: impl FnMut(usize, &mut Window<Key>, Duration)) {
        // Read the time before the lock: all requests up to then are in the counts.
        let now = self.now();
        let mut counts = self.counts.lock();
        counts.received.iter_mut().enumerate().for_each(|(shard, window)| see(shard, window, now));
    }

    /// Calls `see` with the window of requests sent to each shard.
    pub(crate) fn look_at_sent(&self, mut see: impl FnMut(usize, &mut Window<Key>)) {
        let mut counts = self.counts.lock();
        counts.sent.iter_mut().enumerate().for_each(|(shard, window)| see(shard, window));
    }

    /// Removes all counts.
    pub(crate) fn clear(&self) {
        let mut counts = self.counts.lock();
        let new = Counts::new(Arc::clone(&counts.series), self.shards, self.counts.elapsed());
        let old = std::mem::replace(&mut *counts, new);
        drop(counts);
        // Free the old counts after the lock is released.
        drop(old);
    }
}

#[cfg(test)]
pub(crate) mod tests {
    use prometheus::{IntCounter, IntCounterVec, Opts};

    use super::*;

    pub(crate) fn counts(shards: usize, on: bool) -> KeyCounts {
        let family = IntCounterVec::new(Opts::new("keys", "test"), &["key"]).unwrap();
        let untracked = IntCounter::new("untracked", "test").unwrap();
        KeyCounts::new(Arc::new(KeySeries::new(family, &[], untracked)), shards, on)
    }

    fn key(n: usize) -> Key {
        Key::new(&format!("key-{n}")).unwrap()
    }

    fn add(counts: &KeyCounts, n: usize) {
        counts.received(&key(n), ShardId(0), Access::Read, Instant::now());
    }

    #[test]
    fn fifty_thousand_keys_are_counted_exactly() {
        let counts = counts(1, true);
        for n in 0..50_000 {
            add(&counts, n);
        }
        (0..30).for_each(|n| (0..=n).for_each(|_| add(&counts, n)));
        let top: Vec<_> = counts.top(20).into_iter().map(|c| (c.key, c.count, c.error)).collect();
        let expected: Vec<_> = (10..30).rev().map(|n| (key(n), n as u64 + 2, 0)).collect();
        assert_eq!(top, expected);
        counts.clear();
        assert!(counts.top(20).is_empty());
    }

    #[test]
    fn beyond_that_a_hot_key_is_still_first_and_no_cold_one_looks_hot() {
        let counts = counts(1, true);
        for n in 0..200_000 {
            add(&counts, n);
            if n % 10 == 0 {
                add(&counts, 0);
            }
        }
        let top = counts.top(20);
        let (hot, truth) = (&top[0], 20_001);
        assert!(hot.key == key(0) && hot.lower_bound() <= truth && truth <= hot.count, "{hot:?}");
        assert!(top[1..].iter().all(|cold| cold.lower_bound() <= 1), "{top:?}");
        assert!(counts.counts.lock().totals.len() <= LIMITS.sketch_keys);
    }

    #[test]
    fn received_and_sent_requests_are_counted_separately() {
        let counts = counts(2, true);
        counts.received(&key(1), ShardId(0), Access::Read, Instant::now());
        counts.sent(&key(1), ShardId(1), Access::Read);
        counts.sent(&key(1), ShardId(1), Access::Write);
        let (mut received, mut sent) = (Vec::new(), Vec::new());
        counts.look(|_, window, now| received.push(window.sliding(now).total()));
        counts.look_at_sent(|_, window| sent.push(window.sliding(counts.now()).total()));
        assert_eq!((received, sent), (vec![1, 0], vec![0, 2]));
        assert_eq!(counts.top(9).iter().map(|c| c.count).sum::<u64>(), 1, "totals are what was asked");
    }

    #[test]
    fn a_reset_forgets_what_was_noted_just_before() {
        let counts = counts(1, true);
        std::thread::scope(|scope| {
            for thread in 0..4 {
                let counts = &counts;
                scope.spawn(move || (0..=thread).for_each(|_| add(counts, thread)));
            }
        });
        counts.clear();
        add(&counts, 7);
        assert_eq!(counts.top(9).iter().map(|c| (c.key.clone(), c.count)).collect::<Vec<_>>(), [(key(7), 1)]);
        counts.look(|_, window, now| assert_eq!(window.sliding(now).total(), 1));
    }

    #[test]
    fn switched_off_it_stays_empty() {
        let counts = counts(1, false);
        add(&counts, 1);
        counts.sent(&key(1), ShardId(0), Access::Read);
        assert!(counts.top(9).is_empty());
        counts.look_at_sent(|_, window| assert_eq!(window.sliding(counts.now()).total(), 0));
    }
}
