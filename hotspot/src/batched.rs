//! A shared count with per-core batches, to avoid contention.
//!
//! Each core records accesses in its own buffer. A full buffer is merged into sums by item and second, and the shared
//! count gets only the sums. Counting each access directly would move the count's cache lines between the cores at
//! every request. That is most of the cost of counting.

use ahash::AHashMap;
use parking_lot::{MappedMutexGuard, Mutex, MutexGuard};
use std::hash::Hash;
use std::sync::atomic::{AtomicUsize, Ordering};

/// Records of one core that are merged together.
const BATCH: usize = 256;
/// Records in a core's buffer after which the core waits for the lock of the count.
const NOTES_MAX: usize = 4_096;
/// Maximum number of items with a sum before the count gets the sums. The core whose record fills the table waits for
/// the transfer, so the table is small. A larger table saves nothing. Seven eighths of a power of two fit without a
/// larger allocation.
const SUMS_MAX: usize = 7 << 8;

/// The shared count, which receives the merged records. It counts items of type `T` by kind.
pub trait Accumulate<T, const KINDS: usize> {
    /// Counts `times` events of each kind for `thing` in one second. Seconds come in any order.
    fn add(&mut self, thing: T, times: [u32; KINDS], second: u32);
}

/// A count `C` and the records not yet merged into it. It holds at most 4,096 records a core, one more for each
/// thread beyond the number of cores, and the sums of 1,792 items.
pub struct Batched<T, const KINDS: usize, C> {
    cores: Box<[Core<T, KINDS>]>,
    sums: Mutex<Sums<T, KINDS, C>>,
}

/// One core's records, aligned to avoid false sharing.
#[repr(align(128))]
struct Core<T, const KINDS: usize>(Mutex<Vec<Note<T, KINDS>>>);

/// One recorded event: an item, its second and the number of events of each kind.
struct Note<T, const KINDS: usize> {
    thing: T,
    second: u32,
    times: [u8; KINDS],
}

/// The sums of one second, and the count with all earlier sums.
struct Sums<T, const KINDS: usize, C> {
    second: u32,
    times: AHashMap<T, [u32; KINDS]>,
    count: C,
}

impl<T: Eq + Hash, const KINDS: usize, C: Accumulate<T, KINDS>> Batched<T, KINDS, C> {
    /// Creates one buffer for each core of the machine.
    pub fn new(count: C) -> Self {
        let cores = std::thread::available_parallelism().map_or(1, usize::from);
        let core = || Core(Mutex::new(Vec::with_capacity(BATCH)));
        let sums = Mutex::new(Sums { second: 0, times: AHashMap::new(), count });
        Self { cores: std::iter::repeat_with(core).take(cores).collect(), sums }
    }

    /// Records `times` events of each kind for `thing`. A later [`Batched::lock`] returns a count that includes them.
    pub fn record(&self, thing: T, times: [u8; KINDS], second: u32) {
        let core = &self.cores[this_thread() % self.cores.len()];
        let mut notes = core.0.lock();
        // A hot item often comes several times in a row.
        if let Some(last) = notes.last_mut()
            && last.second == second
            && last.thing == thing
            && let Some(sum) = sum(last.times, times)
        {
            last.times = sum;
            return;
        }
        notes.push(Note { thing, second, times });
        if notes.len() < BATCH {
            return;
        }
        // Uses `try_lock`: the holder of the count may be about to lock this buffer.
        if let Some(mut sums) = self.sums.try_lock() {
            sums.merge(notes.drain(..));
        } else if notes.len() >= NOTES_MAX {
            drop(notes);
            drop(self.lock());
        }
    }

    /// Locks the count with all records merged. The holder must not call [`Batched::note`]: with a full buffer it
    /// would deadlock.
    pub fn lock(&self) -> MappedMutexGuard<'_, C> {
        let mut sums = self.sums.lock();
        for core in &self.cores {
            // Swap the buffer before the merge, so that the core need not wait for the merge.
            let notes = std::mem::replace(&mut *core.0.lock(), Vec::with_capacity(BATCH));
            sums.merge(notes);
        }
        sums.hand_over();
        MutexGuard::map(sums, |sums| &mut sums.count)
    }
}

impl<T: Eq + Hash, const KINDS: usize, C: Accumulate<T, KINDS>> Sums<T, KINDS, C> {
    /// Merges the records of one core in their order. Seconds of different cores may come in any order.
    fn merge(&mut self, notes: impl IntoIterator<Item = Note<T, KINDS>>) {
        for Note { thing, second, times } in notes {
            if second > self.second || self.times.len() >= SUMS_MAX {
                self.hand_over();
                self.second = self.second.max(second);
            }
            if second < self.second {
                // An older second: this core's buffer was merged later than others.
                self.count.add(thing, times.map(u32::from), second);
                continue;
            }
            let sums = self.times.entry(thing).or_insert([0; KINDS]);
            for (sum, times) in sums.iter_mut().zip(times) {
                *sum += u32::from(times);
            }
        }
    }

    /// Adds all sums to the count.
    fn hand_over(&mut self) {
        for (thing, times) in self.times.drain() {
            self.count.add(thing, times, self.second);
        }
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

    /// Events by item and second.
    #[derive(Default)]
    struct Seen(BTreeMap<(usize, u32), [u32; 2]>);

    impl Accumulate<usize, 2> for Seen {
        fn add(&mut self, thing: usize, times: [u32; 2], second: u32) {
            let seen = self.0.entry((thing, second)).or_default();
            *seen = [seen[0] + times[0], seen[1] + times[1]];
        }
    }

    impl Seen {
        fn all(&self) -> [u32; 2] {
            self.0.values().fold([0; 2], |sum, seen| [sum[0] + seen[0], sum[1] + seen[1]])
        }
    }

    #[test]
    fn whoever_locks_finds_all_that_was_noted_before() {
        let seen = Batched::new(Seen::default());
        for record in 1..=1_000 {
            seen.record(0, [1, 2], record / 300);
            assert_eq!(seen.lock().all(), [record, 2 * record]);
        }
        assert_eq!(
            seen.lock().0,
            [((0, 0), 299), ((0, 1), 300), ((0, 2), 300), ((0, 3), 101)].map(twice).into()
        );
    }

    fn twice<K>((key, times): (K, u32)) -> (K, [u32; 2]) {
        (key, [times, 2 * times])
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
                        seen.record(of, [1, 0], record / 1_000);
                        if record % 1_000 == 999 {
                            assert_eq!(seen.lock().0[&(of, record / 1_000)], [1_000, 0], "its own are there");
                        }
                    }
                });
            }
        });
        let seen = seen.lock();
        assert_eq!((seen.0.len(), seen.all()), (4 * 50, [4 * NOTES, 0]));
    }

    #[test]
    fn what_comes_late_counts_in_its_own_second() {
        let seen = Batched::new(Seen::default());
        for second in [5, 3, 5, 3, 6, 5] {
            seen.record(0, [1, 0], second);
        }
        assert_eq!(seen.lock().0, [((0, 3), [2, 0]), ((0, 5), [3, 0]), ((0, 6), [1, 0])].into());
    }

    #[test]
    fn no_more_than_so_many_sums_wait() {
        let seen = Batched::new(Seen::default());
        for thing in 0..3 * SUMS_MAX {
            seen.record(thing, [1, 0], 7);
            assert!(seen.sums.lock().times.len() <= SUMS_MAX);
        }
        assert_eq!(seen.lock().0.len(), 3 * SUMS_MAX);
    }

    #[test]
    fn notes_are_bounded_and_none_is_lost_while_the_count_is_held() {
        let seen = Batched::new(Seen::default());
        let noted = AtomicUsize::new(0);
        thread::scope(|scope| {
            let held = seen.lock();
            scope.spawn(|| {
                for record in 1..=3 * NOTES_MAX {
                    // A record of another item than the one before takes its own place.
                    seen.record(record % 2, [1, 0], 0);
                    noted.store(record, Ordering::Release);
                }
            });
            // The thread stops exactly at its limit.
            while noted.load(Ordering::Acquire) < NOTES_MAX - 1 {
                thread::yield_now();
            }
            let waiting = seen.cores.iter().map(|core| core.0.lock().len()).sum::<usize>();
            assert!((NOTES_MAX - 1..=NOTES_MAX).contains(&waiting), "{waiting}");
            drop(held);
        });
        assert_eq!(seen.lock().all()[0] as usize, 3 * NOTES_MAX);
    }
}
