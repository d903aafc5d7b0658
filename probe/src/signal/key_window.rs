//! Keeps the growth of a witness's key counts over ten seconds.

use std::collections::VecDeque;
use std::sync::Arc;
use std::time::Duration;

use ahash::AHashMap;
use hotspot::window::{SLOT, SLOTS};
use protocol::probe_api::KernelKey;
use smol_str::SmolStr;

use super::key_table::{KEYS_A_SLOT, KeyTable, largest};

/// One witness's key counts at one moment. Cheap to clone.
#[derive(Clone, Debug, Default)]
pub(crate) struct KeyReading {
    /// All requests, including those for keys that are not listed.
    pub(crate) total: u64,
    /// The largest keys with their counts.
    pub(crate) keys: Arc<KeyTable>,
}

impl KeyReading {
    /// A reading from a list of keys and counts, with `total` requests in all. Different spellings of one key are
    /// summed.
    pub(crate) fn listed(total: u64, keys: impl IntoIterator<Item = (String, u64)>) -> Self {
        let keys = keys.into_iter().map(|(key, requests)| KernelKey { key, requests, error: 0 });
        Self { total, keys: Arc::new(keys.collect()) }
    }
}

/// What the absence of a key from a reading means.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Unlisted {
    /// It has not been counted. A count that appears has grown from 0.
    Nothing,
    /// Its count is unknown, but too small for the list.
    Unknown,
}

impl Unlisted {
    /// The largest known growths between two tables.
    fn grown(self, now: &Arc<KeyTable>, before: &Arc<KeyTable>) -> AHashMap<SmolStr, u64> {
        match self {
            Self::Nothing => now.largest_growth(before).iter().cloned().collect(),
            Self::Unknown => {
                let known = now.growth(before).filter(|(key, _)| before.keys.contains_key(*key));
                largest(known, KEYS_A_SLOT).into_iter().map(|(key, count)| (key.clone(), count)).collect()
            }
        }
    }
}

/// The growth of a key's count.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Grown {
    /// The exact growth.
    By(u64),
    /// A lower bound, because a part of the window is unknown.
    AtLeast(u64),
}

impl Grown {
    const fn number(self) -> u64 {
        match self {
            Self::By(count) | Self::AtLeast(count) => count,
        }
    }
}

/// The growth of one witness's counts over the last ten seconds, with bounded memory.
#[derive(Debug)]
pub(crate) struct KeyWindow {
    unlisted: Unlisted,
    /// The last reading, and when it was taken.
    previous: Option<(Duration, KeyReading)>,
    slots: VecDeque<Slot>,
}

/// The growth between two readings.
#[derive(Debug)]
struct Slot {
    from: Duration,
    to: Duration,
    total: u64,
    /// The largest growths, including 0. The growth of a key that is not listed is unknown.
    keys: AHashMap<SmolStr, u64>,
}

impl KeyWindow {
    pub(crate) const fn new(unlisted: Unlisted) -> Self {
        Self { unlisted, previous: None, slots: VecDeque::new() }
    }

    /// Adds a reading. Returns the keys of the previous reading, or `None` for the first.
    pub(crate) fn observe(&mut self, now: Duration, reading: KeyReading) -> Option<Arc<KeyTable>> {
        let previous = self.previous.take();
        let (_, reading) = self.previous.insert((now, reading));
        if let Some((from, before)) = &previous {
            self.slots.push_back(Slot {
                from: *from,
                to: now,
                total: reading.total.checked_sub(before.total).unwrap_or(reading.total),
                keys: self.unlisted.grown(&reading.keys, &before.keys),
            });
        }
        // Only whole slots are dropped, as in the shards' own windows.
        let longest = SLOT.saturating_mul(u32::try_from(SLOTS).unwrap_or(u32::MAX));
        while self.slots.front().is_some_and(|slot| slot.from + longest < now) {
            self.slots.pop_front();
        }
        previous.map(|(_, before)| before.keys)
    }

    /// Requests in the window.
    pub(crate) fn total(&self) -> u64 {
        self.slots.iter().map(|slot| slot.total).sum()
    }

    /// The total duration of the slots.
    pub(crate) fn span(&self) -> Duration {
        self.slots.iter().map(|slot| slot.to.saturating_sub(slot.from)).sum()
    }

    pub(crate) fn count(&self, key: &str) -> Grown {
        let known = |slot: &Slot| slot.keys.get(key).copied();
        let sum = self.slots.iter().filter_map(known).sum();
        let whole = self.slots.iter().all(|slot| known(slot).is_some());
        if whole { Grown::By(sum) } else { Grown::AtLeast(sum) }
    }

    /// The known requests for `key` in the window.
    pub(crate) fn known(&self, key: &str) -> u64 {
        self.count(key).number()
    }

    /// The known requests for every key.
    pub(crate) fn counts(&self) -> AHashMap<&SmolStr, u64> {
        let mut counts = AHashMap::new();
        for (key, count) in self.slots.iter().flat_map(|slot| &slot.keys) {
            *counts.entry(key).or_default() += count;
        }
        counts
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_reset_and_a_key_admitted_anew_are_no_negative_growth() {
        let mut window = KeyWindow::new(Unlisted::Nothing);
        let read = |total, count| KeyReading::listed(total, [("k".into(), count)]);
        window.observe(Duration::from_secs(1), read(100, 100));
        window.observe(Duration::from_secs(2), read(7, 7));
        assert_eq!((window.count("k"), window.slots[0].total), (Grown::By(7), 7));
    }

    #[test]
    fn a_window_is_bounded_in_keys_and_slots() {
        let mut window = KeyWindow::new(Unlisted::Nothing);
        for second in 0..100_u64 {
            let keys = (0..2_000_u64).map(|n| (format!("{n}"), second * n));
            window.observe(Duration::from_secs(second), KeyReading::listed(second * 2_000_000, keys));
        }
        assert_eq!(window.slots.len(), 10);
        assert!(window.slots.iter().all(|slot| slot.keys.len() == KEYS_A_SLOT));
        assert_eq!(window.count("1999"), Grown::By(19_990));
    }
}
