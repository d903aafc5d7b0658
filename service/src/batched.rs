//! A count that all cores share, while they seldom wait for one another: each core notes what happened, and many notes
//! are taken up at once.
//!
//! Taken up one by one, every request would fetch the count's memory into its core's caches anew, and that is most of
//! what counting costs.

use parking_lot::{Mutex, MutexGuard};
use std::sync::atomic::{AtomicUsize, Ordering};

/// As many notes of one core are taken up at once.
const BATCH: usize = 512;
/// A core that has noted so many waits until the count is free.
const NOTES_MAX: usize = 4_096;

/// What a count makes of notes.
pub trait TakeUp<N> {
    /// Takes up notes of one core, in their order; those of several cores come in any.
    fn take_up(&mut self, notes: &[N]);
}

/// A count `C` and the notes `N` that it has not taken up yet: at most 4,096 a core, and one more for each thread beyond
/// the cores.
pub struct Batched<N, C> {
    cores: Box<[Core<N>]>,
    count: Mutex<C>,
}

/// One core's notes, in cache lines of their own: two cores that write to one would wait for each other.
#[repr(align(128))]
struct Core<N>(Mutex<Vec<N>>);

impl<N, C: TakeUp<N>> Batched<N, C> {
    /// A count for as many cores as the machine has.
    pub fn new(count: C) -> Self {
        let cores = std::thread::available_parallelism().map_or(1, usize::from);
        let core = || Core(Mutex::new(Vec::with_capacity(BATCH)));
        Self { cores: std::iter::repeat_with(core).take(cores).collect(), count: Mutex::new(count) }
    }

    /// Notes what happened. Whoever locks the count after that finds it there.
    pub fn note(&self, note: N) {
        let core = &self.cores[this_thread() % self.cores.len()];
        let mut notes = core.0.lock();
        notes.push(note);
        if notes.len() < BATCH {
            return;
        }
        // Only tried: whoever has the count may be about to ask for these notes.
        if let Some(mut count) = self.count.try_lock() {
            count.take_up(&notes);
            notes.clear();
        } else if notes.len() >= NOTES_MAX {
            drop(notes);
            drop(self.lock());
        }
    }

    /// The count, with everything that was noted. Whoever holds it must not note: with too many notes that would wait for
    /// itself.
    pub fn lock(&self) -> MutexGuard<'_, C> {
        let mut count = self.count.lock();
        for core in &self.cores {
            // Taken up when the core can go on: what it notes from now on is taken up later, as the count is locked.
            let notes = std::mem::replace(&mut *core.0.lock(), Vec::with_capacity(BATCH));
            count.take_up(&notes);
        }
        count
    }
}

/// A number of this thread's own.
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
    use std::thread;

    /// The last note of each of four threads, and how many there were.
    #[derive(Default)]
    struct Seen {
        last: [u32; 4],
        notes: u32,
    }

    impl TakeUp<(usize, u32)> for Seen {
        fn take_up(&mut self, notes: &[(usize, u32)]) {
            for (thread, note) in notes {
                assert!(*note > self.last[*thread], "out of order: {note} after {}", self.last[*thread]);
                self.last[*thread] = *note;
                self.notes += 1;
            }
        }
    }

    #[test]
    fn whoever_locks_finds_all_that_was_noted_before() {
        let seen = Batched::new(Seen::default());
        for note in 1..=1_000 {
            seen.note((0, note));
            assert_eq!(seen.lock().notes, note);
        }
    }

    #[test]
    fn every_note_of_every_core_is_taken_up_once_and_in_its_order() {
        const NOTES: u32 = 50_000;
        let seen = Batched::new(Seen::default());
        thread::scope(|scope| {
            for of in 0..4 {
                let seen = &seen;
                scope.spawn(move || {
                    for note in 1..=NOTES {
                        seen.note((of, note));
                        if note % 1_000 == 0 {
                            assert!(seen.lock().last[of] == note, "its own notes are there");
                        }
                    }
                });
            }
        });
        let seen = seen.lock();
        assert_eq!((seen.notes, seen.last), (4 * NOTES, [NOTES; 4]));
    }

    #[test]
    fn notes_are_bounded_and_none_is_lost_while_the_count_is_held() {
        let seen = Batched::new(Seen::default());
        let noted = AtomicUsize::new(0);
        thread::scope(|scope| {
            let held = seen.lock();
            scope.spawn(|| {
                for note in 1..=3 * NOTES_MAX {
                    seen.note((0, u32::try_from(note).unwrap()));
                    noted.store(note, Ordering::Release);
                }
            });
            // It gets as far as it may, and no farther.
            while noted.load(Ordering::Acquire) < NOTES_MAX - 1 {
                thread::yield_now();
            }
            let waiting = seen.cores.iter().map(|core| core.0.lock().len()).sum::<usize>();
            assert!((NOTES_MAX - 1..=NOTES_MAX).contains(&waiting), "{waiting}");
            drop(held);
        });
        assert_eq!(seen.lock().notes as usize, 3 * NOTES_MAX);
    }
}
