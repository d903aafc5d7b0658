//! Turns one judgement a second into a stable verdict.
//!
//! Every second two windows are judged: the last full second and the last ten. The higher state counts. `critical`
//! holds at once. `warm`, `hot` and every fall to a lower state need three of the last five seconds.
//!
//! A shard is down on evidence alone: requests or health checks failed, and none was answered since. Absent traffic
//! is no evidence.

use std::collections::VecDeque;
use std::fmt::Display;

use crate::judge::{Cause, Evidence, Judgement, Observation};
use crate::sentence;
use crate::skew::float;
use crate::verdict::{Reason, State, Verdict};

/// Number of recent seconds whose states are kept.
const REMEMBERED: usize = 5;
/// Number of those seconds that must agree on a change.
const AGREEING: usize = 3;
/// Failures without an answer between them after which a shard is down.
pub const DOWN_FAILURES: u64 = 3;
/// Seconds without an answer or a failure after which a shard's failures are forgotten. A shard that was down is also
/// excluded from comparison for this long. It equals the length of the longer window.
const FORGOTTEN: u32 = 10;

/// Judges a set of shards, second by second.
#[derive(Clone, Debug)]
pub struct Detector<K> {
    /// The states of the last seconds as judged, before persistence. Oldest first.
    seen: VecDeque<State>,
    held: State,
    /// The shard and key that caused the held state.
    cause: Option<Cause<K>>,
    lives: Vec<Life>,
    /// Shards that are not compared, whether they answer or not.
    left_out: Vec<usize>,
}

/// Whether a shard answers: its recent failures and answers.
#[derive(Clone, Copy, Debug, Default)]
struct Life {
    /// Failures since the last answer.
    failures: u64,
    /// Seconds since the last failure or answer.
    quiet: u32,
    /// Seconds for which it is not compared with others.
    excluded: u32,
}

impl Life {
    /// Adds the evidence of one second.
    fn observe(&mut self, evidence: Evidence) {
        self.excluded = self.excluded.saturating_sub(1);
        self.quiet += 1;
        if evidence.answered > 0 {
            self.failures = 0;
        } else {
            self.failures = self.failures.saturating_add(evidence.failed);
        }
        if evidence != Evidence::default() {
            self.quiet = 0;
        } else if self.quiet >= FORGOTTEN {
            self.failures = 0;
        }
        if self.is_down() {
            self.excluded = FORGOTTEN + 1;
        }
    }

    fn is_down(&self) -> bool {
        self.failures >= DOWN_FAILURES
    }
}

impl<K> Default for Detector<K> {
    fn default() -> Self {
        Self {
            seen: VecDeque::new(),
            held: State::NotEnoughTraffic,
            cause: None,
            lives: Vec::new(),
            left_out: Vec::new(),
        }
    }
}

impl<K: Clone + Display + Eq> Detector<K> {
    /// Returns the verdict after one more second, from the last full second and the last ten. Call it once a second,
    /// even without a request. Evidence is read from the last full second only.
    pub fn observe(&mut self, second: &Observation<K>, ten: &Observation<K>) -> Verdict<K> {
        self.lives.resize(ten.requests.len(), Life::default());
        for (shard, life) in self.lives.iter_mut().enumerate() {
            life.observe(second.evidence.get(shard).copied().unwrap_or_default());
        }
        let mut excluded: Vec<usize> = self.shards(|life| life.excluded > 0);
        excluded.extend(&self.left_out);
        let now = choose(second.judge(&excluded), ten.judge(&excluded));
        self.hold(now.as_ref().map_or(State::NotEnoughTraffic, |now| now.state));
        if self.held < State::Warm {
            self.cause = None;
        } else if let Some(now) = now.as_ref().filter(|now| now.state >= self.held || self.cause.is_none()) {
            // A lower state on another shard does not replace the cause.
            self.cause.clone_from(&now.cause);
        }
        self.publish(now.as_ref(), ten)
    }

    /// Leaves these shards out of the comparison from now on, such as replicas.
    pub fn leave_out(&mut self, shards: Vec<usize>) {
        self.left_out = shards;
    }

    fn shards(&self, test: impl Fn(&Life) -> bool) -> Vec<usize> {
        self.lives.iter().enumerate().filter(|(_, life)| test(life)).map(|(shard, _)| shard).collect()
    }

    /// Adds the state of one second.
    fn hold(&mut self, state: State) {
        if state == State::Critical && self.held != State::Critical {
            // States from before the rise do not count towards a fall.
            self.seen.clear();
        }
        self.seen.push_back(state);
        if self.seen.len() > REMEMBERED {
            self.seen.pop_front();
        }
        let agree = |test: &dyn Fn(State) -> bool| self.seen.iter().filter(|s| test(**s)).count() >= AGREEING;
        // The highest state that enough of the last seconds reach.
        let steady = State::ALL.into_iter().rev().find(|least| agree(&|seen| seen >= *least));
        let steady = steady.unwrap_or(State::NotEnoughTraffic);
        let falls = agree(&|seen| seen < self.held);
        self.held = match state {
            State::Critical => State::Critical,
            _ if steady > self.held || falls => steady,
            // The first traffic after a pause: `balanced` needs no persistence.
            _ if self.held == State::NotEnoughTraffic => state.min(State::Balanced),
            _ => self.held,
        };
    }

    fn publish(&self, now: Option<&Judgement<K>>, ten: &Observation<K>) -> Verdict<K> {
        let (skew, cause) = (now.map(|now| now.skew), self.cause.as_ref());
        let (requests, seconds) =
            now.map_or_else(|| (ten.requests.iter().sum(), ten.seconds), |now| (now.requests, now.seconds));
        let p1 = now.and_then(|now| now.top.as_ref()).map(|(_, share)| *share);
        let down = self.shards(Life::is_down);
        let of_load = match now {
            Some(now) => sentence::sentence(self.held, now, cause),
            None => sentence::too_few(self.held, requests, seconds),
        };
        let of_down = down.iter().map(|shard| sentence::down(*shard, self.lives[*shard].failures));
        let of_load = (down.is_empty() || cause.is_some()).then_some(of_load);
        Verdict {
            state: if down.is_empty() { self.held } else { self.held.max(State::Warm) },
            reason: cause.map(|cause| cause.reason).or_else(|| down.first().map(|_| Reason::ShardDown)),
            shard_id: cause.map(|cause| cause.shard).or_else(|| down.first().copied()),
            key: cause.and_then(|cause| cause.key.clone()),
            max_over_mean: skew.map(|skew| skew.max_over_mean),
            lower_bound: skew.map(|skew| skew.lower_bound),
            cv: skew.map(|skew| skew.cv),
            p1,
            n_p1: now.zip(p1).map(|(now, p1)| float(now.judged as u64) * p1),
            chi2: skew.map(|skew| skew.chi2),
            p: skew.map(|skew| skew.p),
            requests,
            window_seconds: seconds,
            sentence: of_load.into_iter().chain(of_down).collect::<Vec<_>>().join(" "),
            down,
        }
    }
}

/// Selects the window with the higher state. With equal states the long window is selected, because it has more
/// requests. If the causes differ, the last second is selected, because it is newer.
fn choose<K: Eq>(second: Option<Judgement<K>>, ten: Option<Judgement<K>>) -> Option<Judgement<K>> {
    match (second, ten) {
        (Some(second), Some(ten)) => {
            let newer = second.state > ten.state || (second.state == ten.state && second.cause != ten.cause);
            Some(if newer { second } else { ten })
        }
        (second, ten) => second.or(ten),
    }
}
