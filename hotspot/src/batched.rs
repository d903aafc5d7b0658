//! A shared count with per-core batches, to avoid contention.
//!
//! Each core records accesses in its own buffer. A full buffer is added to the shared count. Counting each access
//! directly would move the count's cache lines between the cores at every request. That is most of the cost of
//! counting.

use parking_lot::{Mutex, MutexGuard};
use protocol::Key;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::time::{Duration, Instant};

/// Records of one core that are added together.
const BATCH: usize = 256;
/// Records in a core's buffer after which the core waits for the lock of the count.
const NOTES_MAX: usize = 4_096;

/// The shared count, which receives the records.
pub trait Accumulate<P, const KINDS: usize> {
    /// Counts the records of one core. Seconds of different cores come in any order.
    fn add(&mut self, notes: impl Iterator<Item = Note<P, KINDS>>);
}

/// Accesses of one key at one place in one second.
#[derive(Debug)]
pub struct Note<P, const KINDS: usize> {
    /// The key.
    pub key: Key,
    /// What the accesses have in common besides the key, such as the shard.
    pub place: P,
    /// Full seconds since the start of the batches.
    pub second: u64,
    /// Accesses of each kind.
    pub times: [u8; KINDS],
}

/// A count `C` and the records not yet added to it. It holds at most 4,096 records a core, and one more for each
/// thread beyond the number of cores.
pub struct Batched<P, const KINDS: usize, C> {
    cores: Box<[Core<P, KINDS>]>,
    count: Mutex<C>,
    start: Instant,
}

/// One core's records, aligned to avoid false sharing.
#[repr(align(128))]
struct Core<P, const KINDS: usize>(Mutex<Records<P, KINDS>>);

struct Records<P, const KINDS: usize> {
    notes: Vec<Note<P, KINDS>>,
    /// The second of the last record. To find it again takes a comparison, and no division.
    second: Second,
}

/// A second of the clock.
#[derive(Clone, Copy)]
struct Second {
    /// Full seconds since the start.
    number: u64,
    begin: Instant,
    end: Instant,
}

impl Second {
    fn at(start: Instant, now: Instant) -> Self {
        let number = now.saturating_duration_since(start).as_secs();
        let begin = start + Duration::from_secs(number);
        Self { number, begin, end: begin + Duration::from_secs(1) }
    }

    fn contains(&self, now: Instant) -> bool {
        self.begin <= now && now < self.end
    }
}

impl<P: Copy + PartialEq, const KINDS: usize, C: Accumulate<P, KINDS>> Batched<P, KINDS, C> {
    /// Creates one buffer for each core of the machine.
    pub fn new(count: C) -> Self {
        let cores = std::thread::available_parallelism().map_or(1, usize::from);
        let start = Instant::now();
        let records = || Records { notes: Vec::with_capacity(BATCH), second: Second::at(start, start) };
        let cores = std::iter::repeat_with(|| Core(Mutex::new(records()))).take(cores).collect();
        Self { cores, count: Mutex::new(count), start }
    }

    /// The time since the start.
    pub fn elapsed(&self) -> Duration {
        self.start.elapsed()
    }

    /// Records accesses of `key` at `now`, `times` of each kind. A later [`Batched::lock`] returns a count that includes them.
    pub fn record(&self, key: &Key, place: P, times: [u8; KINDS], now: Instant) {
        let core = &self.cores[this_thread() % self.cores.len()];
        let mut records = core.0.lock();
        if !records.second.contains(now) {
            records.second = Second::at(self.start, now);
        }
        let second = records.second.number;
        let notes = &mut records.notes;
        // A hot key often comes several times in a row.
        if let Some(last) = notes.last_mut()
            && last.second == second
            && last.place == place
            && last.key == *key
            && let Some(sum) = sum(last.times, times)
        {
            last.times = sum;
            return;
        }
        notes.push(Note { key: key.clone(), place, second, times });
        if notes.len() < BATCH {
            return;
        }
        // Uses `try_lock`: the holder of the count may be about to lock this buffer.
        if let Some(mut count) = self.count.try_lock() {
            count.add(notes.drain(..));
        } else if notes.len() >= NOTES_MAX {
            drop(records);
            drop(self.lock());
        }
    }

    /// Locks the count with all records added. The holder must not call [`Batched::record`]: with a full buffer it
    /// would deadlock.
    pub fn lock(&self) -> MutexGuard<'_, C> {
        let mut count = self.count.lock();
        for core in &self.cores {
            let mut notes = Vec::with_capacity(BATCH);
            // Swap the buffer before the count, so that the core need not wait for it.
            std::mem::swap(&mut core.0.lock().notes, &mut notes);
            count.add(notes.into_iter());
        }
        count
    }
}

/// Returns the sums of two records, or `None` if one of them is too large.
fn sum<const KINDS: usize>(mut of: [u8; KINDS], and: [u8; KINDS]) -> Option<[u8; KINDS]> {
    for (sum, times) in of.iter_mut().zip(and) {
        *sum = sum.checked_add(times)?;
    }
    Some(of)
}

/// Returns a number that is unique to this thread.
fn this_thread() -> usize {
    static NEXT: AtomicUsize = AtomicUsize::new(0);
    thread_local! {
        static NUMBER: usize = NEXT.fetch_add(1, Ordering::Relaxed);
    }
    NUMBER.with(|number| *number)
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::collections::BTreeMap;
    use std::thread;

    /// Accesses by key, place and second.
    #[derive(Default)]
    struct Seen(BTreeMap<(Key, usize, u64), [u32; 2]>);

    impl Accumulate<usize, 2> for Seen {
        fn add(&mut self, notes: impl Iterator<Item = Note<usize, 2>>) {
            for Note { key, place, second, times } in notes {
                let seen = self.0.entry((key, place, second)).or_default();
                *seen = [seen[0] + u32::from(times[0]), seen[1] + u32::from(times[1])];
            }
        }
    }

    impl Seen {
        fn all(&self) -> [u32; 2] {
            self.0.values().fold([0; 2], |sum, seen| [sum[0] + seen[0], sum[1] + seen[1]])
        }
    }

    fn at(seen: &Batched<usize, 2, Seen>, second: u32) -> Instant {
        seen.start + Duration::from_secs(second.into())
    }

    fn key() -> Key {
        Key::new("k").unwrap()
    }

    #[test]
    fn whoever_locks_finds_all_that_was_noted_before() {
        let seen = Batched::new(Seen::default());
        for record in 1..=1_000 {
            seen.record(&key(), 0, [1, 2], at(&seen, record / 300));
            assert_eq!(seen.lock().all(), [record, 2 * record]);
        }
        let expected = [(0, 299), (1, 300), (2, 300), (3, 101)];
        assert_eq!(seen.lock().0, expected.map(|(second, n)| ((key(), 0, second), [n, 2 * n])).into());
    }

    #[test]
    fn other_keys_places_and_seconds_are_counted_apart() {
        let (seen, other) = (Batched::new(Seen::default()), Key::new("other").unwrap());
        for (key, place, second) in
            [(key(), 0, 5), (other, 0, 5), (key(), 1, 5), (key(), 1, 3), (key(), 0, 5)]
        {
            seen.record(&key, place, [1, 0], at(&seen, second));
        }
        let times: Vec<u32> = seen.lock().0.values().map(|times| times[0]).collect();
        assert_eq!(times, [2, 1, 1, 1]);
    }

    #[test]
    fn every_record_of_every_core_is_counted_once_in_its_second() {
        const NOTES: u32 = 50_000;
        let seen = Batched::new(Seen::default());
        thread::scope(|scope| {
            for of in 0..4 {
                let seen = &seen;
                scope.spawn(move || {
                    for record in 0..NOTES {
                        seen.record(&key(), of, [1, 0], at(seen, record / 1_000));
                        if record % 1_000 == 999 {
                            let found = seen.lock().0[&(key(), of, u64::from(record / 1_000))];
                            assert_eq!(found, [1_000, 0], "its own are there");
                        }
                    }
                });
            }
        });
        let seen = seen.lock();
        assert_eq!((seen.0.len(), seen.all()), (4 * 50, [4 * NOTES, 0]));
    }

    #[test]
    fn notes_are_bounded_and_none_is_lost_while_the_count_is_held() {
        let seen = Batched::new(Seen::default());
        let noted = AtomicUsize::new(0);
        thread::scope(|scope| {
            let held = seen.lock();
            scope.spawn(|| {
                for record in 1..=3 * NOTES_MAX {
                    // A record at another place than the one before is one of its own.
                    seen.record(&key(), record % 2, [1, 0], seen.start);
                    noted.store(record, Ordering::Release);
                }
            });
            // The thread stops exactly at its limit.
            while noted.load(Ordering::Acquire) < NOTES_MAX - 1 {
                thread::yield_now();
            }
            let waiting = seen.cores.iter().map(|core| core.0.lock().notes.len()).sum::<usize>();
            assert!((NOTES_MAX - 1..=NOTES_MAX).contains(&waiting), "{waiting}");
            drop(held);
        });
        assert_eq!(seen.lock().all()[0] as usize, 3 * NOTES_MAX);
    }
}
