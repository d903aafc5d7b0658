//! Health of the shards: a circuit breaker for each, and the evidence for the detector.
//!
//! A breaker is closed while its shard answers. It opens after [`OPEN_AFTER`] calls in a row without an answer: a
//! connection that is refused, reset or late. An answer closes it, whatever its status, so a shed request never opens
//! it. While it is open, requests fail at once and the gateway [checks](super::check) the shard. A check that is
//! answered makes the breaker half-open: one request goes to the shard as a trial, and its outcome decides.
//!
//! A failure is no evidence before the gateway has [reached](super::first_contact) the shard.

use hotspot::judge::Evidence;
use protocol::body::BreakerState;
use std::sync::atomic::{AtomicBool, AtomicU8, AtomicU32, AtomicU64, Ordering};
use std::time::{Duration, Instant};

/// Number of failures in a row that open a breaker. Envoy's outlier detection has the same default.
const OPEN_AFTER: u32 = 5;
/// How often a request may try a failing shard.
const TRIAL_PERIOD: Duration = Duration::from_secs(1);
/// Pause after a failed check.
const CHECK_PAUSE: Duration = Duration::from_millis(250);

const CLOSED: u8 = 0;
const HALF_OPEN: u8 = 1;
const OPEN: u8 = 2;

/// Whether a read may go to a shard although another shard holds the same key.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Usable {
    /// The last call did not fail.
    Yes,
    /// The last call failed, and a trial is due. The caller should make the call.
    Trial,
    No,
}

/// A change of a breaker, for the log.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Change {
    /// The shard failed: this many calls in a row had no answer.
    Opened { failures: u32 },
    /// The shard is back after this time. This many requests were refused meanwhile.
    Closed { open_for: Duration, refused: u64 },
}

/// Health of all shards, observed by all cores.
pub(crate) struct ShardHealth {
    shards: Box<[Shard]>,
    start: Instant,
}

/// Times are in milliseconds since `ShardHealth::start`.
#[derive(Default)]
struct Shard {
    /// Whether the network has let a packet through to the shard and back, or the gateway no longer waits for that.
    reached: AtomicBool,
    answered: AtomicU64,
    failed: AtomicU64,
    /// Number of failures since the last answer.
    failing: AtomicU32,
    breaker: AtomicU8,
    opened_at: AtomicU64,
    /// Number of times the breaker opened.
    opened: AtomicU64,
    /// Requests refused by the breaker.
    refused: AtomicU64,
    /// `refused` when the breaker opened.
    refused_before: AtomicU64,
    /// Earliest time of the next trial.
    next_trial: AtomicU64,
    /// Earliest time of the next check. `u64::MAX` during a check.
    next_check: AtomicU64,
}

/// A breaker as `/stats` and the metrics show it.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct BreakerView {
    pub(crate) state: BreakerState,
    pub(crate) opened: u64,
    pub(crate) refused: u64,
}

impl ShardHealth {
    pub(crate) fn new(shards: usize) -> Self {
        Self { shards: (0..shards).map(|_| Shard::default()).collect(), start: Instant::now() }
    }

    /// Counts an answer, whatever its status.
    pub(crate) fn answered(&self, shard: usize) -> Option<Change> {
        let shard = self.shards.get(shard)?;
        shard.answered.fetch_add(1, Ordering::Relaxed);
        shard.set_reached();
        // Read before writing: in the usual case the cache line stays shared.
        if shard.failing.load(Ordering::Relaxed) != 0 {
            shard.failing.store(0, Ordering::Relaxed);
        }
        if shard.breaker.load(Ordering::Relaxed) == CLOSED
            || shard.breaker.swap(CLOSED, Ordering::Relaxed) == CLOSED
        {
            return None;
        }
        let since = shard.opened_at.load(Ordering::Relaxed);
        Some(Change::Closed {
            open_for: Duration::from_millis(self.millis().saturating_sub(since)),
            refused: shard.refused.load(Ordering::Relaxed) - shard.refused_before.load(Ordering::Relaxed),
        })
    }

    /// Counts a call without an answer.
    pub(crate) fn failed(&self, shard: usize) -> Option<Change> {
        let shard = self.shards.get(shard)?;
        shard.failed.fetch_add(1, Ordering::Relaxed);
        let failures = shard.failing.fetch_add(1, Ordering::Relaxed) + 1;
        shard.next_trial.store(self.millis() + millis(TRIAL_PERIOD), Ordering::Relaxed);
        let from = shard.breaker.load(Ordering::Relaxed);
        let opens = from == HALF_OPEN || (from == CLOSED && failures >= OPEN_AFTER);
        let moved =
            |from| shard.breaker.compare_exchange(from, OPEN, Ordering::Relaxed, Ordering::Relaxed).is_ok();
        // A failed trial changes nothing for the log: the shard has not been back.
        if !opens || !moved(from) || from == HALF_OPEN {
            return None;
        }
        shard.opened.fetch_add(1, Ordering::Relaxed);
        shard.opened_at.store(self.millis(), Ordering::Relaxed);
        shard.refused_before.store(shard.refused.load(Ordering::Relaxed), Ordering::Relaxed);
        shard.next_check.store(self.millis(), Ordering::Relaxed);
        Some(Change::Opened { failures })
    }

    /// From now on, failures of this shard are evidence.
    pub(crate) fn reached(&self, shard: usize) {
        if let Some(shard) = self.shards.get(shard) {
            shard.set_reached();
        }
    }

    /// Whether requests to this shard fail at once. A caller that waits for something first can ask this before.
    pub(crate) fn is_open(&self, shard: usize) -> bool {
        self.shards.get(shard).is_none_or(|shard| shard.breaker.load(Ordering::Relaxed) == OPEN)
    }

    /// Whether the caller may send a request. If not, counts a refused request, which is a failure to the detector.
    pub(crate) fn admit(&self, shard: usize) -> bool {
        let Some(shard) = self.shards.get(shard) else { return false };
        let admitted = match shard.breaker.load(Ordering::Relaxed) {
            CLOSED => true,
            HALF_OPEN => self.takes_trial(shard),
            _ => false,
        };
        if !admitted {
            shard.refused.fetch_add(1, Ordering::Relaxed);
            shard.failed.fetch_add(1, Ordering::Relaxed);
        }
        admitted
    }

    /// Whether a read may go to this shard although another shard holds the same key. A trial is granted to one caller
    /// per period.
    pub(crate) fn usable(&self, shard: usize) -> Usable {
        let Some(shard) = self.shards.get(shard) else { return Usable::No };
        let is_granted = match shard.breaker.load(Ordering::Relaxed) {
            CLOSED if shard.failing.load(Ordering::Relaxed) == 0 => return Usable::Yes,
            CLOSED => self.takes_trial(shard),
            // `admit` grants it.
            HALF_OPEN => self.millis() >= shard.next_trial.load(Ordering::Relaxed),
            _ => false,
        };
        if is_granted { Usable::Trial } else { Usable::No }
    }

    fn takes_trial(&self, shard: &Shard) -> bool {
        let (now, next) = (self.millis(), shard.next_trial.load(Ordering::Relaxed));
        let then = now + millis(TRIAL_PERIOD);
        now >= next
            && shard.next_trial.compare_exchange(next, then, Ordering::Relaxed, Ordering::Relaxed).is_ok()
    }

    /// The open shards that are due for a check. The caller makes the checks and calls [`ShardHealth::checked`].
    pub(crate) fn due_for_check(&self) -> Vec<usize> {
        let now = self.millis();
        let is_due = |shard: &Shard| {
            let next = shard.next_check.load(Ordering::Relaxed);
            let claims =
                || shard.next_check.compare_exchange(next, u64::MAX, Ordering::Relaxed, Ordering::Relaxed);
            shard.breaker.load(Ordering::Relaxed) == OPEN && now >= next && claims().is_ok()
        };
        (0..).zip(&self.shards).filter(|(_, shard)| is_due(shard)).map(|(shard, _)| shard).collect()
    }

    /// Ends a check. An answered one makes an open breaker half-open.
    pub(crate) fn checked(&self, shard: usize, is_answered: bool) {
        let Some(shard) = self.shards.get(shard) else { return };
        shard.next_check.store(self.millis() + millis(CHECK_PAUSE), Ordering::Relaxed);
        if is_answered {
            shard.next_trial.store(0, Ordering::Relaxed);
            // Fails if an answer has closed the breaker.
            let _ = shard.breaker.compare_exchange(OPEN, HALF_OPEN, Ordering::Relaxed, Ordering::Relaxed);
        } else {
            shard.failed.fetch_add(1, Ordering::Relaxed);
        }
    }

    /// The breakers, in order of the shards' ids.
    pub(crate) fn breakers(&self) -> impl Iterator<Item = BreakerView> {
        self.shards.iter().map(|shard| BreakerView {
            state: match shard.breaker.load(Ordering::Relaxed) {
                CLOSED => BreakerState::Closed,
                HALF_OPEN => BreakerState::HalfOpen,
                _ => BreakerState::Open,
            },
            opened: shard.opened.load(Ordering::Relaxed),
            refused: shard.refused.load(Ordering::Relaxed),
        })
    }

    /// Returns the evidence since the last call of this function.
    pub(crate) fn take(&self) -> Vec<Evidence> {
        let take = |shard: &Shard| {
            let answered = shard.answered.swap(0, Ordering::Relaxed);
            let failed = shard.failed.swap(0, Ordering::Relaxed);
            Evidence { answered, failed: if shard.reached.load(Ordering::Relaxed) { failed } else { 0 } }
        };
        self.shards.iter().map(take).collect()
    }

    /// Lets time pass.
    #[cfg(test)]
    pub(super) fn pass(&mut self, time: Duration) {
        self.start -= time;
    }

    fn millis(&self) -> u64 {
        millis(self.start.elapsed())
    }
}

impl Shard {
    fn set_reached(&self) {
        // Read before writing: in the usual case the cache line stays shared.
        if !self.reached.load(Ordering::Relaxed) {
            self.reached.store(true, Ordering::Relaxed);
        }
    }
}

fn millis(time: Duration) -> u64 {
    u64::try_from(time.as_millis()).unwrap_or(u64::MAX)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn states(health: &ShardHealth) -> Vec<BreakerState> {
        health.breakers().map(|breaker| breaker.state).collect()
    }

    #[test]
    fn a_failing_shard_is_tried_by_one_caller_a_period_until_it_answers() {
        let health = ShardHealth::new(2);
        assert_eq!([health.usable(0), health.usable(0)], [Usable::Yes, Usable::Yes]);
        assert_eq!(health.failed(0), None);
        assert_eq!([health.usable(0), health.usable(1)], [Usable::No, Usable::Yes]);
        health.shards[0].next_trial.store(0, Ordering::Relaxed);
        assert_eq!([health.usable(0), health.usable(0)], [Usable::Trial, Usable::No]);
        assert_eq!(health.answered(0), None);
        assert_eq!([health.usable(0), health.usable(0)], [Usable::Yes, Usable::Yes]);
        let evidence = health.take();
        assert_eq!(evidence[0], Evidence { answered: 1, failed: 1 });
        assert_eq!(health.take(), [Evidence::default(); 2]);
    }

    #[test]
    fn failures_in_a_row_open_the_breaker_and_an_answer_between_them_does_not() {
        let health = ShardHealth::new(2);
        health.reached(0);
        for _ in 0..3 * OPEN_AFTER {
            assert_eq!(health.failed(1), None);
            assert_eq!(health.answered(1), None);
        }
        for _ in 1..OPEN_AFTER {
            assert_eq!(health.failed(0), None);
            assert!(health.admit(0));
        }
        assert_eq!(health.failed(0), Some(Change::Opened { failures: OPEN_AFTER }));
        assert_eq!(health.failed(0), None, "one line in the log");
        assert_eq!(states(&health), [BreakerState::Open, BreakerState::Closed]);
        assert!(!health.admit(0) && health.is_open(0) && health.usable(0) == Usable::No && health.admit(1));
        assert_eq!(
            health.take()[0],
            Evidence { answered: 0, failed: 7 },
            "a refused request is a failed one"
        );
    }

    #[test]
    fn a_failure_is_no_evidence_before_the_shard_is_reached() {
        let health = ShardHealth::new(2);
        for _ in 0..OPEN_AFTER {
            health.failed(0);
        }
        assert_eq!(health.take(), [Evidence::default(); 2]);
        health.reached(0);
        health.failed(0);
        assert_eq!(health.take()[0], Evidence { answered: 0, failed: 1 });
        health.answered(1);
        health.failed(1);
        assert_eq!(health.take()[1], Evidence { answered: 1, failed: 1 });
    }

    #[test]
    fn a_check_admits_one_trial_whose_outcome_decides() {
        let health = ShardHealth::new(1);
        for _ in 0..OPEN_AFTER {
            health.failed(0);
        }
        assert_eq!(
            (health.due_for_check(), health.due_for_check()),
            (vec![0], vec![]),
            "one check at a time"
        );
        health.checked(0, false);
        assert_eq!((states(&health), health.due_for_check()), (vec![BreakerState::Open], vec![]));
        health.checked(0, true);
        assert_eq!(states(&health), [BreakerState::HalfOpen]);
        assert_eq!([health.admit(0), health.admit(0)], [true, false]);
        assert_eq!(health.failed(0), None);
        assert_eq!(states(&health), [BreakerState::Open]);
        health.checked(0, true);
        assert!(health.usable(0) == Usable::Trial && health.admit(0) && !health.admit(0));
        assert!(matches!(health.answered(0), Some(Change::Closed { refused: 2, .. })));
        assert_eq!(health.answered(0), None);
        let view = health.breakers().next().unwrap();
        assert_eq!(view, BreakerView { state: BreakerState::Closed, opened: 1, refused: 2 });
    }
}
