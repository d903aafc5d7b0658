//! The lab's keys, placement and streams, and a detector for them.

use hotspot::counter::Limits;
use hotspot::detector::Detector;
use hotspot::judge::{Evidence, Observation};
use hotspot::verdict::Verdict;
use hotspot::window::{Access, Window};
use md5::{Digest, Md5};
use rand::RngExt;
use rand::rngs::StdRng;
use rand_distr::Distribution;
use rand_distr::weighted::WeightedAliasIndex;
use std::time::Duration;

pub(crate) const SHARDS: usize = 4;
pub(crate) const CELEBRITY: &str = "celebrity-user-kardashian";

/// The full number of runs with LAB_TEST_FULL=1, else a tenth.
pub(crate) fn runs(full: u64) -> u64 {
    #[expect(
        clippy::disallowed_methods,
        reason = "the switch between the quick and the full test is a variable"
    )]
    let whole = std::env::var("LAB_TEST_FULL").is_ok_and(|value| value == "1");
    if whole { full } else { full / 10 }
}

/// The shard of a key: MD5 modulo the number of shards.
pub(crate) fn owner(key: &str) -> usize {
    let digest: [u8; 16] = Md5::digest(key.as_bytes()).into();
    (u128::from_be_bytes(digest) % SHARDS as u128) as usize
}

/// A set of keys with a total request rate.
pub(crate) struct Stream {
    rate: u64,
    keys: Vec<String>,
    owners: Vec<usize>,
    law: WeightedAliasIndex<f64>,
}

impl Stream {
    pub(crate) fn new(rate: u64, keys: Vec<String>, probabilities: Vec<f64>) -> Self {
        let owners = keys.iter().map(|key| owner(key)).collect();
        Self { rate, keys, owners, law: WeightedAliasIndex::new(probabilities).unwrap() }
    }

    /// `user-0 … user-999` under Zipf's law.
    pub(crate) fn zipf(rate: u64, exponent: f64) -> Self {
        let keys = (0..1_000).map(|n| format!("user-{n}")).collect();
        Self::new(rate, keys, hotspot::predict::zipf(1_000, exponent))
    }

    pub(crate) fn one(rate: u64, key: &str) -> Self {
        Self::new(rate, vec![key.to_owned()], vec![1.0])
    }

    /// The celebrity scenario's background.
    pub(crate) fn background() -> Self {
        let keys = (0..500).map(|n| format!("normal-user-{n}")).collect();
        Self::new(30, keys, vec![1.0; 500])
    }
}

/// A detector and the windows that it judges.
pub(crate) struct Watch {
    windows: Vec<Window<String>>,
    detector: Detector<String>,
    second: u64,
    /// Answers and failures by shard, the same every second.
    pub(crate) evidence: Vec<Evidence>,
}

impl Watch {
    pub(crate) fn new() -> Self {
        let limits = Limits { exact_keys: 256, sketch_keys: 64 };
        let windows = (0..SHARDS).map(|_| Window::new(limits, Duration::ZERO)).collect();
        Self { windows, detector: Detector::default(), second: 0, evidence: Vec::new() }
    }

    /// Adds one second of these streams and returns the verdict after it.
    pub(crate) fn second(&mut self, streams: &[&Stream], rng: &mut StdRng) -> Verdict<String> {
        for stream in streams {
            for _ in 0..stream.rate {
                let at =
                    Duration::from_secs(self.second) + Duration::from_micros(rng.random_range(0..1_000_000));
                let drawn = stream.law.sample(rng);
                self.windows[stream.owners[drawn]].add(&stream.keys[drawn], Access::Read, at);
            }
        }
        self.second += 1;
        let now = Duration::from_secs(self.second);
        let (mut last, mut ten) = (Observation::new(SHARDS), Observation::new(SHARDS));
        for (shard, window) in self.windows.iter_mut().enumerate() {
            last.add(shard, &window.full(1, now));
            ten.add(shard, &window.full(10, now));
        }
        last.evidence.clone_from(&self.evidence);
        self.detector.observe(&last, &ten)
    }
}
