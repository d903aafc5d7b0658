//! Judges the shards by kernel counts alone.
//!
//! The kernel's counts only grow. The time between two readings is a *slot*. It is about a second long, and longer
//! when the loop is late. The last slot and the last ten slots go to the [`Detector`] that also judges the gateway's
//! counts.
//!
//! Keys are judged by a lower bound of their requests. That is the growth of the key's count, or the whole count if
//! the key entered the table within the slot. The key's error could only add to it.

use std::collections::VecDeque;
use std::sync::Arc;
use std::time::Duration;

use ahash::AHashMap;
use hotspot::detector::Detector;
use hotspot::judge::{Evidence, KeyLoad, Observation};
use hotspot::window::SLOTS;
use protocol::verdict::Verdict;
use smol_str::SmolStr;

use crate::signal::key_table::{KeyGrowth, KeyTable, largest};

pub(crate) mod agreement;
pub(crate) mod reading;

/// Readings closer together than this count as one. The loop reads once a second, and more often on request.
const MIN_INTERVAL: Duration = Duration::from_millis(900);

/// Maximum span of all slots: ten seconds, with each slot a little late.
const MAX_INTERVAL: Duration = Duration::from_secs(11);

/// Number of keys per shard that are judged.
const JUDGED_KEYS: usize = 4;

/// The counts of all shards at one moment.
#[derive(Clone, Debug)]
pub(crate) struct Reading {
    /// Time of the reading, since any fixed start.
    pub(crate) at: Duration,
    /// In order of id.
    pub(crate) shards: Vec<ShardReading>,
    /// Whether each shard answered the probe just now. The kernel's counts alone cannot distinguish a dead shard from
    /// an idle one.
    pub(crate) evidence: Vec<Evidence>,
    /// Shards that are not compared: a store's replicas.
    pub(crate) replicas: Vec<usize>,
}

/// One shard's counts.
#[derive(Clone, Debug, Default)]
pub(crate) struct ShardReading {
    /// Data requests.
    pub(crate) requests: u64,
    /// Reads by key.
    pub(crate) table: Arc<KeyTable>,
}

/// Judges the shards by readings about a second apart.
#[derive(Debug, Default)]
pub(crate) struct KernelJudge {
    previous: Option<Reading>,
    slots: VecDeque<Slot>,
    detector: Detector<String>,
}

/// The growth between two readings.
#[derive(Debug)]
struct Slot {
    span: Duration,
    /// By shard.
    requests: Vec<u64>,
    /// By shard, the largest growths.
    keys: Vec<KeyGrowth>,
}

impl KernelJudge {
    /// Whether at least [`MIN_INTERVAL`] has passed since the last reading.
    pub(crate) fn is_due(&self, now: Duration) -> bool {
        self.previous.as_ref().is_none_or(|previous| now >= previous.at + MIN_INTERVAL)
    }

    /// Drops all state, because the kernel now counts something else or its counts were not valid for a while.
    pub(crate) fn start_over(&mut self) {
        *self = Self::default();
    }

    /// Adds a reading and returns the verdict on the time up to it.
    pub(crate) fn observe(&mut self, reading: Reading) -> Verdict<String> {
        let (shards, evidence) = (reading.shards.len(), reading.evidence.clone());
        match self.previous.as_ref().and_then(|previous| Slot::between(previous, &reading)) {
            Some(slot) => self.slots.push_back(slot),
            None => self.start_over(),
        }
        self.detector.leave_out(reading.replicas.clone());
        self.previous = Some(reading);
        let most = usize::try_from(SLOTS).unwrap_or(usize::MAX);
        while self.slots.len() > most || (self.slots.len() > 1 && self.span() > MAX_INTERVAL) {
            self.slots.pop_front();
        }
        let mut second = observation(self.slots.iter().rev().take(1), shards);
        let ten = observation(self.slots.iter(), shards);
        second.evidence = evidence;
        self.detector.observe(&second, &ten)
    }

    fn span(&self) -> Duration {
        self.slots.iter().map(|slot| slot.span).sum()
    }
}

impl Slot {
    /// Returns `None` when the readings cannot be compared: a count fell, or they are too far apart.
    fn between(before: &Reading, now: &Reading) -> Option<Self> {
        let span = now.at.checked_sub(before.at)?;
        if span > MAX_INTERVAL || before.shards.len() != now.shards.len() {
            return None;
        }
        let shards = || before.shards.iter().zip(&now.shards);
        Some(Self {
            span,
            requests: shards()
                .map(|(before, now)| now.requests.checked_sub(before.requests))
                .collect::<Option<_>>()?,
            keys: shards().map(|(before, now)| now.table.largest_growth(&before.table)).collect(),
        })
    }
}

/// Merges the slots into one window.
fn observation<'a>(slots: impl Iterator<Item = &'a Slot>, shards: usize) -> Observation<String> {
    let mut sum = Observation::new(shards);
    let mut span = Duration::ZERO;
    let mut keys: Vec<AHashMap<&SmolStr, u64>> = vec![AHashMap::new(); shards];
    for slot in slots {
        span += slot.span;
        let of_shards = sum.requests.iter_mut().zip(&mut keys);
        for ((sum, keys), (requests, counts)) in of_shards.zip(slot.requests.iter().zip(&slot.keys)) {
            *sum += requests;
            for (key, count) in counts.iter().filter(|(_, count)| *count > 0) {
                *keys.entry(key).or_default() += count;
            }
        }
    }
    for (shard, counts) in keys.into_iter().enumerate() {
        let load = |(key, requests): (&SmolStr, u64)| KeyLoad { key: key.to_string(), shard, requests };
        sum.keys.extend(largest(counts.into_iter(), JUDGED_KEYS).into_iter().map(load));
    }
    sum.seconds = span.as_secs_f64();
    sum
}

#[cfg(test)]
mod tests;
