//! Judges the requests sent to the shards in the last ten seconds.

use hotspot::detector::Detector;
use hotspot::judge::Observation;
use hotspot::verdict::Verdict;
use parking_lot::Mutex;
use protocol::Key;
use std::sync::Arc;

use crate::key_counts::KeyCounts;
use crate::upstream::shard_health::ShardHealth;

/// Judges the shards' loads once a second.
pub(crate) struct Verdicts {
    keys: Arc<KeyCounts>,
    health: Arc<ShardHealth>,
    judge: Mutex<Judge>,
}

struct Judge {
    detector: Detector<Key>,
    verdict: Verdict<Key>,
    /// The last full second and the last ten, as judged.
    judged: [Observation<Key>; 2],
    /// The second of the last verdict.
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

impl Verdicts {
    pub(crate) fn new(keys: Arc<KeyCounts>, health: Arc<ShardHealth>) -> Self {
        let judge = Mutex::new(Judge::new(keys.shards(), 0));
        Self { keys, health, judge }
    }

    /// Judges once a second. Call it several times a second. Returns a new verdict, if there is one.
    pub(crate) fn judge(&self) -> Option<Verdict<Key>> {
        let mut judge = self.judge.lock();
        let now = self.keys.now();
        if now.as_secs() == judge.second {
            return None;
        }
        judge.second = now.as_secs();
        let nothing = Observation::new(self.keys.shards());
        let (mut second, mut ten) = (nothing.clone(), nothing);
        self.keys.look_at_sent(|shard, window| {
            second.add(shard, &window.full(1, now));
            ten.add(shard, &window.full(10, now));
        });
        second.evidence = self.health.take();
        let before = judge.verdict.state;
        judge.verdict = judge.detector.observe(&second, &ten);
        if judge.verdict.state != before {
            tracing::info!(state = %judge.verdict.state, %before, "{}", judge.verdict.sentence);
        }
        judge.judged = [second, ten];
        Some(judge.verdict.clone())
    }

    /// The last full second and the last ten, as judged, with the largest keys of each shard.
    pub(crate) fn judged(&self) -> [Observation<Key>; 2] {
        self.judge.lock().judged.clone()
    }

    /// The newest verdict.
    pub(crate) fn verdict(&self) -> Verdict<Key> {
        self.judge.lock().verdict.clone()
    }

    /// Clears the counts and the verdict.
    pub(crate) fn clear(&self) {
        let mut judge = self.judge.lock();
        self.keys.clear();
        *judge = Judge::new(self.keys.shards(), self.keys.now().as_secs());
    }
}
