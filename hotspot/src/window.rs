//! Counts accesses of the last ten seconds in one-second slots.
//!
//! Reads and writes are counted separately.

use std::collections::VecDeque;
use std::hash::Hash;
use std::time::Duration;

use crate::counter::{Count, KeyCounter, Limits, merged};
use crate::hash::hash_of;

/// Number of slots of a window.
pub const SLOTS: u64 = 10;
/// Length of a slot.
pub const SLOT: Duration = Duration::from_secs(1);

/// The kind of an access.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Access {
    /// Requests a value, whether it exists or not.
    Read,
    /// Stores a value.
    Write,
}

/// A sliding window over key accesses. Time is the duration since any fixed start. An access that is added late
/// counts in the slot of its time.
#[derive(Clone)]
pub struct Window<K: Clone + Eq + Hash> {
    limits: Limits,
    since: Duration,
    /// Oldest first; slots without accesses are absent. At most [`SLOTS`] full slots and the current one.
    slots: VecDeque<Slot<K>>,
}

#[derive(Clone)]
struct Slot<K: Clone + Eq + Hash> {
    /// Start of the slot in units of [`SLOT`].
    number: u64,
    reads: KeyCounter<K>,
    writes: KeyCounter<K>,
}

impl<K: Clone + Eq + Hash + Ord> Window<K> {
    /// An empty window that starts at `since`. `limits` apply to each slot, separately for reads and writes.
    #[must_use]
    pub fn new(limits: Limits, since: Duration) -> Self {
        Self { limits, since, slots: VecDeque::new() }
    }

    /// Counts one access at `now`. Ignores an access that is too old for every view.
    pub fn add(&mut self, key: &K, access: Access, now: Duration) {
        let (reads, writes) = if access == Access::Read { (1, 0) } else { (0, 1) };
        self.add_many(hash_of(key), key, reads, writes, number_at(now));
    }

    /// Counts accesses of a key with this [`hash_of`] in a slot. Ignores them if it is too old for every view.
    pub fn add_many(&mut self, hash: u64, key: &K, reads: u64, writes: u64, slot: u64) {
        if reads + writes == 0 {
            return;
        }
        if let Some(slot) = self.slot(slot) {
            slot.reads.add_many(hash, key, reads);
            slot.writes.add_many(hash, key, writes);
        }
    }

    /// The slot with a number, in which accesses are counted. `None` if it is too old for every view.
    fn slot(&mut self, number: u64) -> Option<&mut Slot<K>> {
        if self.slots.back().is_some_and(|slot| slot.number == number) {
            return self.slots.back_mut();
        }
        self.advance(number);
        let at = self.slots.binary_search_by_key(&number, |slot| slot.number).or_else(|at| {
            let newest = self.slots.back();
            if newest.is_some_and(|newest| number + SLOTS < newest.number) {
                return Err(());
            }
            let counter = |of: fn(&Slot<K>) -> &KeyCounter<K>| {
                // A second has about as many keys as the one before.
                newest.map_or_else(|| KeyCounter::new(self.limits), |newest| KeyCounter::like(of(newest)))
            };
            let slot =
                Slot { number, reads: counter(|slot| &slot.reads), writes: counter(|slot| &slot.writes) };
            self.slots.insert(at, slot);
            Ok(at)
        });
        self.slots.get_mut(at.ok()?)
    }

    /// The window that ends at `now`: the current slot and the nine before it.
    pub fn sliding(&mut self, now: Duration) -> View<'_, K> {
        let number = number_at(now);
        self.advance(number);
        self.view(number.saturating_sub(SLOTS - 1), number + 1, now)
    }

    /// The last `seconds` full slots before `now`, at most [`SLOTS`].
    pub fn full(&mut self, seconds: u64, now: Duration) -> View<'_, K> {
        let number = number_at(now);
        self.advance(number);
        let first = number.saturating_sub(seconds.min(SLOTS));
        self.view(first, number, start_of(number))
    }

    /// Removes all accesses and restarts at `since`.
    pub fn clear(&mut self, since: Duration) {
        self.slots.clear();
        self.since = since;
    }

    /// Slots `first .. after`, which end at `end`.
    fn view(&self, first: u64, after: u64, end: Duration) -> View<'_, K> {
        let slots = self.slots.iter().filter(|slot| (first..after).contains(&slot.number)).collect();
        View { slots, span: end.saturating_sub(self.since.max(start_of(first))) }
    }

    /// Drops slots that are too old for every view when `number` is the current one.
    fn advance(&mut self, number: u64) {
        while self.slots.front().is_some_and(|first| first.number + SLOTS < number) {
            self.slots.pop_front();
        }
    }
}

/// The number of the slot at `now`.
fn number_at(now: Duration) -> u64 {
    now.as_secs() / SLOT.as_secs()
}

fn start_of(slot: u64) -> Duration {
    Duration::from_secs(slot.saturating_mul(SLOT.as_secs()))
}

/// Some slots of a window and the time that they cover.
#[derive(Clone)]
pub struct View<'a, K: Clone + Eq + Hash> {
    slots: Vec<&'a Slot<K>>,
    span: Duration,
}

impl<K: Clone + Eq + Hash + Ord> View<'_, K> {
    /// The time in which these accesses were counted; the divisor for rates.
    #[must_use]
    pub fn span(&self) -> Duration {
        self.span
    }

    /// Number of accesses.
    #[must_use]
    pub fn total(&self) -> u64 {
        self.reads() + self.writes()
    }

    /// Number of reads.
    #[must_use]
    pub fn reads(&self) -> u64 {
        self.slots.iter().map(|slot| slot.reads.total()).sum()
    }

    /// Number of writes.
    #[must_use]
    pub fn writes(&self) -> u64 {
        self.slots.iter().map(|slot| slot.writes.total()).sum()
    }

    /// Returns the `n` largest keys by lower bound, reads and writes together.
    #[must_use]
    pub fn top(&self, n: usize) -> Vec<Count<K>> {
        let both = self.slots.iter().flat_map(|slot| [&slot.reads, &slot.writes]);
        merged(&both.collect::<Vec<_>>(), n)
    }

    /// Returns the `n` largest keys, each with the lower bounds of its reads and writes.
    #[must_use]
    pub fn top_apart(&self, n: usize) -> Vec<(K, u64, u64)> {
        let apart = |count: Count<K>| {
            let sum = |of: fn(&Slot<K>) -> &KeyCounter<K>| {
                self.slots.iter().map(|slot| *of(slot).bounds(&count.key).start()).sum::<u64>()
            };
            let (reads, writes) = (sum(|slot| &slot.reads), sum(|slot| &slot.writes));
            (count.key, reads, writes)
        };
        self.top(n).into_iter().map(apart).collect()
    }

    /// Returns the `n` most read keys.
    #[must_use]
    pub fn top_reads(&self, n: usize) -> Vec<Count<K>> {
        merged(&self.slots.iter().map(|slot| &slot.reads).collect::<Vec<_>>(), n)
    }

    /// Returns the `n` most written keys.
    #[must_use]
    pub fn top_writes(&self, n: usize) -> Vec<Count<K>> {
        merged(&self.slots.iter().map(|slot| &slot.writes).collect::<Vec<_>>(), n)
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    const LIMITS: Limits = Limits { exact_keys: 64, sketch_keys: 32 };

    fn at(millis: u64) -> Duration {
        Duration::from_millis(millis)
    }

    fn window<K: Clone + Eq + Hash + Ord>() -> Window<K> {
        Window::new(LIMITS, Duration::ZERO)
    }

    #[test]
    fn accesses_leave_after_ten_slots() {
        let mut window = window();
        window.add(&"a", Access::Read, at(500));
        window.add(&"b", Access::Write, at(1_500));
        assert_eq!(window.sliding(at(9_999)).total(), 2);
        assert_eq!(window.sliding(at(10_000)).total(), 1);
        assert_eq!(window.full(10, at(10_000)).total(), 2);
        assert_eq!(window.full(10, at(11_000)).total(), 1);
        assert_eq!(window.full(10, at(12_000)).total(), 0);
        assert!(window.sliding(at(11_000)).top(5).is_empty());
    }

    #[test]
    fn the_slot_that_is_filling_is_in_no_full_view() {
        let mut window = window();
        window.add(&1, Access::Read, at(999));
        window.add(&2, Access::Read, at(1_000));
        assert_eq!(window.full(1, at(1_999)).top(9).iter().map(|c| c.key).collect::<Vec<_>>(), [1]);
        assert_eq!(window.full(1, at(2_000)).top(9).iter().map(|c| c.key).collect::<Vec<_>>(), [2]);
    }

    #[test]
    fn what_comes_late_counts_where_it_belongs_and_the_slots_stay_bounded() {
        let mut window = window();
        window.add(&"on time", Access::Read, at(3_000));
        window.add(&"late", Access::Read, at(2_999));
        window.add(&"on time", Access::Read, at(30_000));
        window.add(&"late", Access::Read, at(29_999));
        (0..60).rev().for_each(|n| window.add(&"very late", Access::Read, at(n * 500)));
        let view = window.full(1, at(30_500));
        assert_eq!(
            view.top(9).iter().map(|c| (c.key, c.count)).collect::<Vec<_>>(),
            [("very late", 2), ("late", 1)]
        );
        assert!(window.slots.len() <= 11 && window.slots.iter().is_sorted_by_key(|slot| slot.number));
        // Two accesses in each of the seconds 20 to 29. Older ones are in no view.
        assert_eq!(window.slots.iter().map(|slot| slot.reads.total()).sum::<u64>(), 22);
        assert_eq!(window.full(10, at(31_000)).total(), 20);
    }

    #[test]
    fn spans_are_the_time_that_was_measured() {
        let mut window: Window<u8> = Window::new(LIMITS, at(3_400));
        assert_eq!(window.sliding(at(3_900)).span(), at(500));
        assert_eq!(window.full(1, at(3_900)).span(), at(0));
        assert_eq!(window.full(10, at(4_100)).span(), at(600));
        assert_eq!(window.full(1, at(5_000)).span(), at(1_000));
        assert_eq!(window.sliding(at(60_250)).span(), at(9_250));
        assert_eq!(window.full(10, at(60_250)).span(), at(10_000));
        window.clear(at(60_500));
        assert_eq!(window.sliding(at(61_000)).span(), at(500));
    }

    #[test]
    fn many_keys_do_not_hide_the_hot_one() {
        let mut window = window();
        for i in 0..10_000u32 {
            window.add(&i, Access::Read, at(u64::from(i)));
            window.add(&u32::MAX, Access::Write, at(u64::from(i)));
        }
        let view = window.sliding(at(9_999));
        let top = view.top(2);
        assert!(top[0].key == u32::MAX && top[0].lower_bound() > 9_000 && top[0].count >= 10_000, "{top:?}");
        assert!(top[1].lower_bound() < 10, "{top:?}");
        assert_eq!((view.reads(), view.writes()), (10_000, 10_000));
        assert_eq!(view.top_writes(9).len(), 1);
        assert!(view.top_reads(9).iter().all(|c| c.key != u32::MAX));
    }

    proptest! {
        #[test]
        fn a_window_holds_what_a_list_of_accesses_says(
            steps in prop::collection::vec((0u8..8, any::<bool>(), 0u64..1_500, 1u64..5), 1..200),
            seconds in 1u64..=10,
        ) {
            let mut window = window();
            let (mut list, mut now) = (Vec::new(), 0);
            for (key, write, pause, n) in steps {
                now += pause;
                let access = if write { Access::Write } else { Access::Read };
                (0..n).for_each(|_| window.add(&key, access, at(now)));
                list.push((key, access, now / 1_000, n));
            }
            let slot = now / 1_000;
            let sum = |first: u64, after: u64, access: Access| -> u64 {
                list.iter().filter(|a| (first..after).contains(&a.2) && a.1 == access).map(|a| a.3).sum()
            };
            let (sliding, full) = ((slot.saturating_sub(9), slot + 1), (slot.saturating_sub(seconds), slot));
            let view = window.sliding(at(now));
            prop_assert_eq!(view.reads(), sum(sliding.0, sliding.1, Access::Read));
            prop_assert_eq!(view.writes(), sum(sliding.0, sliding.1, Access::Write));
            // There are few keys, so every count is exact and the top holds all of them.
            prop_assert_eq!(view.top(8).iter().map(|c| c.count).sum::<u64>(), view.total());
            prop_assert_eq!(view.top_apart(8).iter().map(|k| k.1).sum::<u64>(), view.reads());
            prop_assert_eq!(view.top_apart(8).iter().map(|k| k.2).sum::<u64>(), view.writes());
            let view = window.full(seconds, at(now));
            prop_assert_eq!(view.total(), sum(full.0, full.1, Access::Read) + sum(full.0, full.1, Access::Write));
            prop_assert_eq!(view.top_reads(8).iter().map(Count::lower_bound).sum::<u64>(), view.reads());
            prop_assert_eq!(view.top_writes(8).iter().map(Count::lower_bound).sum::<u64>(), view.writes());
        }
    }
}
