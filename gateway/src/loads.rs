//! What each shard was really sent in the last ten seconds, by key, and the verdict on it.

use hotspot::counter::Limits;
use hotspot::detector::Detector;
use hotspot::judge::Observation;
use hotspot::striped::Striped;
use hotspot::verdict::Verdict;
use hotspot::window::{Access, Window};
use parking_lot::Mutex;
use protocol::{Key, ShardId};
use std::time::{Duration, Instant};

/// Windows that are locked apart, so that cores seldom wait for one another.
const STRIPES: usize = 8;
/// Per stripe, shard and second. A key with more than about a hundredth of a shard's requests is surely seen.
///
/// Memory: at most 64 keys in each of 11 slots of 8 stripes for every shard, 5,632 keys: 280 KiB a shard with keys like the
/// lab's, 3 MiB with the longest.
const SECOND: Limits = Limits { exact_keys: 64, sketch_keys: 16 };

/// Keys of a shard that whoever merges several gateways is told of each window.
const KEYS_TOLD: usize = 8;

/// Counts of all cores, and what was made of them.
pub(crate) struct Loads {
    /// One window a shard in each stripe.
    stripes: Striped<Mutex<Vec<Window<Key>>>>,
    shards: usize,
    counts: bool,
    start: Instant,
    judge: Mutex<Judge>,
}

struct Judge {
    detector: Detector<Key>,
    verdict: Verdict<Key>,
    /// The last full second and the last ten, as they were judged.
    judged: [Observation<Key>; 2],
    /// The second in which it was judged last.
    second: u64,
}

impl Judge {
    fn new(shards: usize, second: u64) -> Self {
        let (mut detector, nothing) = (Detector::default(), Observation::new(shards));
        Self {
            verdict: detector.observe(&nothing, &nothing),
            detector,
            judged: [nothing.clone(), nothing],
            second,
        }
    }
}

impl Loads {
    /// Without `counts` it stays empty.
    pub(crate) fn new(shards: usize, counts: bool) -> Self {
        let windows = || Mutex::new((0..shards).map(|_| Window::new(SECOND, Duration::ZERO)).collect());
        let judge = Mutex::new(Judge::new(shards, 0));
        Self { stripes: Striped::new(STRIPES, windows), shards, counts, start: Instant::now(), judge }
    }

    /// Counts a request that `shard` was sent.
    pub(crate) fn sent(&self, shard: ShardId, key: &Key, access: Access) {
        if !self.counts {
            return;
        }
        let mut windows = self.stripes.of(key).lock();
        if let Some(window) = windows.get_mut(shard.index()) {
            // Read under the lock: a window's time must not go back.
            window.add(key, access, self.start.elapsed());
        }
    }

    /// Judges once in every second; to be called several times in each. Gives the verdict when it is new.
    pub(crate) fn judge(&self) -> Option<Verdict<Key>> {
        let mut judge = self.judge.lock();
        let now = self.start.elapsed();
        if now.as_secs() == judge.second {
            return None;
        }
        judge.second = now.as_secs();
        let (mut second, mut ten) = (Observation::new(self.shards), Observation::new(self.shards));
        for stripe in self.stripes.iter() {
            for (shard, window) in stripe.lock().iter_mut().enumerate() {
                second.add(shard, &window.full(1, now));
                ten.add(shard, &window.full(10, now));
            }
        }
        let before = judge.verdict.state;
        judge.verdict = judge.detector.observe(&second, &ten);
        if judge.verdict.state != before {
            tracing::info!(state = %judge.verdict.state, %before, "{}", judge.verdict.sentence);
        }
        judge.judged = [second, ten].map(|window| window.largest_keys(KEYS_TOLD));
        Some(judge.verdict.clone())
    }

    /// The last full second and the last ten, as they were judged: of each shard its largest keys.
    pub(crate) fn judged(&self) -> [Observation<Key>; 2] {
        self.judge.lock().judged.clone()
    }

    /// The newest verdict.
    pub(crate) fn verdict(&self) -> Verdict<Key> {
        self.judge.lock().verdict.clone()
    }

    /// Forgets everything.
    pub(crate) fn clear(&self) {
        let mut judge = self.judge.lock();
        let now = self.start.elapsed();
        for stripe in self.stripes.iter() {
            stripe.lock().iter_mut().for_each(|window| window.clear(now));
        }
        *judge = Judge::new(self.shards, now.as_secs());
    }
}
