//! The growth of one witness's key counts over ten seconds, in slots.

use std::collections::VecDeque;
use std::sync::Arc;
use std::time::Duration;

use ahash::AHashMap;
use hotspot::window::{SLOT, SLOTS};
use protocol::probe_api::KernelKey;
use smol_str::SmolStr;

use super::key_table::{KEYS_A_SLOT, KeyTable, largest};

/// Keys as one witness counts them at a moment. Cheap to clone.
#[derive(Clone, Debug, Default)]
pub(crate) struct KeyReading {
    /// All requests, those without a key in the list too.
    pub(crate) total: u64,
    /// The largest keys with their counts.
    pub(crate) keys: Arc<KeyTable>,
}

impl KeyReading {
    /// A list of keys and their counts, of so many requests in all. Two spellings of one key are one key.
    pub(crate) fn listed(total: u64, keys: impl IntoIterator<Item = (String, u64)>) -> Self {
        let keys = keys.into_iter().map(|(key, requests)| KernelKey { key, requests, error: 0 });
        Self { total, keys: Arc::new(keys.collect()) }
    }
}

/// What it means that a key is not in a reading.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Unlisted {
    /// It has not been counted: a count that appears has grown from 0.
    Nothing,
    /// It may have any count that is too small for the list.
    Unknown,
}

impl Unlisted {
    /// The largest growths between two tables that are known.
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

/// How much a key's count has grown.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Grown {
    /// Exactly so much.
    By(u64),
    /// A part of the window is not known.
    AtLeast(u64),
}

impl Grown {
    const fn number(self) -> u64 {
        match self {
            Self::By(count) | Self::AtLeast(count) => count,
        }
    }
}

/// The growth of one witness's counts over the last ten seconds; bounded.
#[derive(Debug)]
pub(crate) struct KeyWindow {
    unlisted: Unlisted,
    /// The last reading, and when it was taken.
    previous: Option<(Duration, KeyReading)>,
    slots: VecDeque<Slot>,
}

/// What happened between two readings.
#[derive(Debug)]
struct Slot {
    from: Duration,
    to: Duration,
    total: u64,
    /// The largest growths, 0 among them, so that what is not here is not known.
    keys: AHashMap<SmolStr, u64>,
}

impl KeyWindow {
    pub(crate) const fn new(unlisted: Unlisted) -> Self {
        Self { unlisted, previous: None, slots: VecDeque::new() }
    }

    /// Takes a reading in; gives the keys of the one before, nothing for the first.
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
        // As in the shards' own windows, whole slots leave.
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

    /// How long the slots are together.
    pub(crate) fn span(&self) -> Duration {
        self.slots.iter().map(|slot| slot.to.saturating_sub(slot.from)).sum()
    }

    pub(crate) fn count(&self, key: &str) -> Grown {
        let known = |slot: &Slot| slot.keys.get(key).copied();
        let sum = self.slots.iter().filter_map(known).sum();
        let whole = self.slots.iter().all(|slot| known(slot).is_some());
        if whole { Grown::By(sum) } else { Grown::AtLeast(sum) }
    }

    /// What is known of `key` to be in the window.
    pub(crate) fn known(&self, key: &str) -> u64 {
        self.count(key).number()
    }

    /// The same of every key.
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
