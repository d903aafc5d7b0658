//! Health evidence per shard: answered and failed calls.

use hotspot::judge::Evidence;
use std::sync::atomic::{AtomicU32, AtomicU64, Ordering};
use std::time::{Duration, Instant};

/// How often a failing shard is tried although another shard holds the same key.
const TRIAL_PERIOD: Duration = Duration::from_secs(1);

/// Whether a read may go to a shard although another shard holds the same key.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Usable {
    /// The last call did not fail.
    Yes,
    /// The last call failed, and a trial is due. It is granted to one caller per period, who should make the call.
    Trial,
    No,
}

/// Health of all shards, observed by all cores.
pub(crate) struct ShardHealth {
    shards: Box<[Shard]>,
    start: Instant,
}

#[derive(Default)]
struct Shard {
    answered: AtomicU64,
    failed: AtomicU64,
    /// Number of failures since the last answer.
    failing: AtomicU32,
    /// Earliest time of the next trial, in milliseconds since `start`.
    next_trial: AtomicU64,
}

impl ShardHealth {
    pub(crate) fn new(shards: usize) -> Self {
        Self { shards: (0..shards).map(|_| Shard::default()).collect(), start: Instant::now() }
    }

    /// Counts an answer, whatever its status.
    pub(crate) fn answered(&self, shard: usize) {
        if let Some(shard) = self.shards.get(shard) {
            shard.answered.fetch_add(1, Ordering::Relaxed);
            // Read before writing: in the usual case the cache line stays shared.
            if shard.failing.load(Ordering::Relaxed) != 0 {
                shard.failing.store(0, Ordering::Relaxed);
            }
        }
    }

    /// Counts a call without an answer.
    pub(crate) fn failed(&self, shard: usize) {
        if let Some(shard) = self.shards.get(shard) {
            shard.failed.fetch_add(1, Ordering::Relaxed);
            shard.failing.fetch_add(1, Ordering::Relaxed);
            shard.next_trial.store(self.millis() + millis(TRIAL_PERIOD), Ordering::Relaxed);
        }
    }

    /// Whether a read may go to this shard although another shard holds the same key.
    pub(crate) fn usable(&self, shard: usize) -> Usable {
        let Some(shard) = self.shards.get(shard) else { return Usable::No };
        if shard.failing.load(Ordering::Relaxed) == 0 {
            return Usable::Yes;
        }
        let (now, next) = (self.millis(), shard.next_trial.load(Ordering::Relaxed));
        let then = now + millis(TRIAL_PERIOD);
        let is_granted = now >= next
            && shard.next_trial.compare_exchange(next, then, Ordering::Relaxed, Ordering::Relaxed).is_ok();
        if is_granted { Usable::Trial } else { Usable::No }
    }

    /// Returns the evidence since the last call of this function.
    pub(crate) fn take(&self) -> Vec<Evidence> {
        let take = |shard: &Shard| Evidence {
            answered: shard.answered.swap(0, Ordering::Relaxed),
            failed: shard.failed.swap(0, Ordering::Relaxed),
        };
        self.shards.iter().map(take).collect()
    }

    fn millis(&self) -> u64 {
        millis(self.start.elapsed())
    }
}

fn millis(time: Duration) -> u64 {
    u64::try_from(time.as_millis()).unwrap_or(u64::MAX)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_failing_shard_is_tried_by_one_caller_a_period_until_it_answers() {
        let health = ShardHealth::new(2);
        assert_eq!([health.usable(0), health.usable(0)], [Usable::Yes, Usable::Yes]);
        health.failed(0);
        assert_eq!([health.usable(0), health.usable(1)], [Usable::No, Usable::Yes]);
        health.shards[0].next_trial.store(0, Ordering::Relaxed);
        assert_eq!([health.usable(0), health.usable(0)], [Usable::Trial, Usable::No]);
        health.answered(0);
        assert_eq!([health.usable(0), health.usable(0)], [Usable::Yes, Usable::Yes]);
        let evidence = health.take();
        assert_eq!(evidence[0], Evidence { answered: 1, failed: 1 });
        assert_eq!(health.take(), [Evidence::default(); 2]);
    }
}
