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
            self.failures += evidence.failed;
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
        Self { seen: VecDeque::new(), held: State::NotEnoughTraffic, cause: None, lives: Vec::new() }
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
        let excluded: Vec<usize> = self.shards(|life| life.excluded > 0);
        let now = choose(second.judge(&excluded), ten.judge(&excluded));
        self.hold(now.as_ref().map_or(State::NotEnoughTraffic, |now| now.state));
        if self.held < State::Warm {
            self.cause = None;
        } else if let Some(now) = now.as_ref().filter(|now| now.state >= self.held || self.cause.is_none()) {
            // A lower state on another shard does not replace the cause.
            self.cause.clone_from(&now.cause);
        }
        self.tell(now.as_ref(), ten)
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

    fn tell(&self, now: Option<&Judgement<K>>, ten: &Observation<K>) -> Verdict<K> {
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

#[cfg(test)]
mod tests {
    use super::*;
    use crate::judge::KeyLoad;
    use crate::verdict::Reason;
    use proptest::prelude::*;

    const EVEN: [u64; 4] = [250; 4];
    const WARM: [u64; 4] = [370, 210, 210, 210];
    const HOT: [u64; 4] = [430, 190, 190, 190];
    const CRITICAL: [u64; 4] = [820, 60, 60, 60];

    /// One second in which both windows hold `requests`. All requests of shard 0 are for one key.
    fn second(detector: &mut Detector<&'static str>, requests: [u64; 4]) -> Verdict<&'static str> {
        let keys = [KeyLoad { key: "user-7", shard: 0, requests: requests[0] }];
        let observation = Observation {
            requests: requests.to_vec(),
            keys: keys.to_vec(),
            seconds: 1.0,
            evidence: Vec::new(),
        };
        detector.observe(&observation, &observation)
    }

    fn states(seconds: &[[u64; 4]]) -> Vec<State> {
        let mut detector = Detector::default();
        seconds.iter().map(|requests| second(&mut detector, *requests).state).collect()
    }

    #[test]
    fn critical_holds_at_once_and_goes_after_three_seconds() {
        use State::{Balanced, Critical};
        let found = states(&[EVEN, EVEN, EVEN, CRITICAL, EVEN, EVEN, EVEN, EVEN]);
        assert_eq!(found, [Balanced, Balanced, Balanced, Critical, Critical, Critical, Balanced, Balanced]);
        assert_eq!(states(&[CRITICAL]), [Critical]);
    }

    #[test]
    fn warm_and_hot_need_three_of_five() {
        use State::{Balanced, Hot, Warm};
        assert_eq!(
            states(&[EVEN, WARM, EVEN, WARM, EVEN, WARM]),
            [[Balanced; 5].as_slice(), &[Warm]].concat()
        );
        assert_eq!(states(&[EVEN, HOT, EVEN, EVEN, HOT, EVEN, EVEN, HOT]), [Balanced; 8]);
        let found = states(&[EVEN, HOT, WARM, HOT, HOT, WARM, WARM, WARM]);
        assert_eq!(found, [Balanced, Balanced, Balanced, Warm, Hot, Hot, Warm, Warm]);
    }

    #[test]
    fn silence_is_not_balance() {
        use State::{Balanced, Critical, NotEnoughTraffic};
        let found = states(&[[0; 4], EVEN, [0; 4], [0; 4], [0; 4], CRITICAL, [9; 4], [9; 4], [9; 4]]);
        let quiet = NotEnoughTraffic;
        assert_eq!(found, [quiet, Balanced, Balanced, quiet, quiet, Critical, Critical, Critical, quiet]);
        let mut detector = Detector::default();
        let verdict = second(&mut detector, [9; 4]);
        assert_eq!((verdict.requests, verdict.max_over_mean, verdict.key), (36, None, None));
        assert_eq!(
            verdict.sentence,
            "Not enough traffic to judge: 36 requests in 1 s, at least 100 and 20 a second are needed."
        );
    }

    #[test]
    fn the_newer_window_is_believed_when_both_blame_differently() {
        let old = vec![
            KeyLoad { key: "old", shard: 0, requests: 700 },
            KeyLoad { key: "new", shard: 2, requests: 100 },
        ];
        let new = vec![KeyLoad { key: "new", shard: 2, requests: 100 }];
        let ten = Observation {
            requests: vec![900, 60, 160, 70],
            keys: old.clone(),
            seconds: 10.0,
            evidence: Vec::new(),
        };
        let last = Observation {
            requests: vec![7, 8, 107, 8],
            keys: new.clone(),
            seconds: 1.0,
            evidence: Vec::new(),
        };
        let verdict = Detector::default().observe(&last, &ten);
        assert_eq!((verdict.key, verdict.shard_id, verdict.requests), (Some("new"), Some(2), 130));
        let same = Observation {
            requests: vec![107, 7, 8, 8],
            keys: old.clone(),
            seconds: 1.0,
            evidence: Vec::new(),
        };
        assert_eq!(Detector::default().observe(&same, &ten).requests, 1_190, "agreed: the longer one");
    }

    #[test]
    fn something_lesser_elsewhere_is_not_blamed_for_what_lasts() {
        let mut detector = Detector::default();
        second(&mut detector, CRITICAL);
        let warm = Observation {
            requests: vec![210, 210, 210, 370],
            keys: Vec::new(),
            seconds: 1.0,
            evidence: Vec::new(),
        };
        let verdict = detector.observe(&warm, &warm);
        assert_eq!(
            (verdict.state, verdict.shard_id, verdict.key),
            (State::Critical, Some(0), Some("user-7"))
        );
        assert!(verdict.sentence.starts_with("Shard 0 was critical"), "{}", verdict.sentence);
        (0..2).for_each(|_| drop(detector.observe(&warm, &warm)));
        let verdict = detector.observe(&warm, &warm);
        assert_eq!((verdict.state, verdict.shard_id, verdict.key), (State::Warm, Some(3), None));
    }

    #[test]
    fn the_sentences() {
        let mut detector = Detector::default();
        let mut say = |requests: [u64; 4]| second(&mut detector, requests).sentence;
        assert_eq!(
            say(EVEN),
            "The load is balanced: the busiest shard, 0, gets 25.0 % of 1,000 requests in 1 s, 1.00 times its \
             fair share."
        );
        assert_eq!(
            say(CRITICAL),
            "Shard 0 is critical: 82.0 % of 1,000 requests in 1 s, 3.28 times its fair share. Key \"user-7\" alone is \
             82.0 % of all requests. Re-hashing or splitting cannot fix this; at least 4 copies of the key would."
        );
        assert!(say(EVEN).starts_with(
            "Shard 0 was critical and is cooling down: 25.0 % of 1,000 requests in 1 s, 1.00 times"
        ),);
        let rising = second(&mut Detector::default(), HOT).sentence;
        assert!(rising.starts_with(
            "The load counts as balanced until hot lasts: the busiest shard, 0, gets 43.0 % of"
        ));
    }

    /// One second with these requests and this evidence for the last shard. All requests of shard 0 are for one key.
    fn with(
        detector: &mut Detector<&'static str>,
        requests: [u64; 4],
        answered: u64,
        failed: u64,
    ) -> Verdict<&'static str> {
        let keys = vec![KeyLoad { key: "user-7", shard: 0, requests: requests[0] }];
        let alive = Evidence { answered: 9, failed: 0 };
        let evidence = vec![alive, alive, alive, Evidence { answered, failed }];
        let observation = Observation { requests: requests.to_vec(), keys, seconds: 1.0, evidence };
        detector.observe(&observation, &observation)
    }

    #[test]
    fn a_shard_is_down_on_evidence_and_up_with_its_first_answer() {
        let mut detector = Detector::default();
        (0..20).for_each(|_| assert!(with(&mut detector, [333, 333, 333, 0], 0, 0).down.is_empty()));
        assert!(with(&mut detector, [333, 333, 333, 0], 0, 2).down.is_empty());
        let verdict = with(&mut detector, [333, 333, 333, 0], 0, 1);
        assert_eq!(
            (verdict.state, verdict.reason, verdict.shard_id, verdict.down),
            (State::Warm, Some(Reason::ShardDown), Some(3), vec![3])
        );
        assert_eq!(
            verdict.sentence,
            "Shard 3 is down: 3 requests or health checks failed since its last answer."
        );
        // Failures do not count in a second with an answer.
        let verdict = with(&mut detector, [333, 333, 333, 9], 1, 50);
        assert_eq!((verdict.state, verdict.reason, verdict.down), (State::Balanced, None, vec![]));
    }

    #[test]
    fn a_hot_key_and_a_dead_shard_are_both_reported() {
        let mut detector = Detector::default();
        let verdict = with(&mut detector, [800, 100, 100, 0], 0, 40);
        assert_eq!((verdict.state, verdict.reason), (State::Critical, Some(Reason::HotKey)));
        assert_eq!((verdict.shard_id, verdict.key, &*verdict.down), (Some(0), Some("user-7"), &[3][..]));
        assert!(
            verdict
                .sentence
                .ends_with("Shard 3 is down: 40 requests or health checks failed since its last answer.")
        );
    }

    #[test]
    fn a_dead_shard_makes_no_other_one_hot_nor_does_its_return() {
        let mut detector = Detector::default();
        with(&mut detector, [5_000; 4], 9, 0);
        for second in 0..30 {
            let (share, answered) = if second < 10 { (0, 0) } else { (500 * (second - 10), 9) };
            let verdict =
                with(&mut detector, [5_000, 5_000, 5_000, share.min(5_000)], answered, 9 - answered);
            assert!(verdict.reason.is_none_or(|reason| reason == Reason::ShardDown), "{second}: {verdict:?}");
            assert_eq!(verdict.down.is_empty(), second >= 10, "{second}: {verdict:?}");
        }
    }

    #[test]
    fn without_news_a_dead_shard_is_forgotten() {
        let mut detector = Detector::default();
        assert_eq!(with(&mut detector, [333, 333, 333, 0], 0, 3).down, [3]);
        let down = (0..12).filter(|_| !with(&mut detector, [333, 333, 333, 0], 0, 0).down.is_empty());
        assert_eq!(down.count(), 9);
    }

    #[test]
    fn json_is_the_contracts() {
        let verdict = second(&mut Detector::default(), CRITICAL);
        let json = serde_json::to_value(&verdict).unwrap();
        assert_eq!(
            (&json["state"], &json["reason"], &json["shard_id"]),
            (&"critical".into(), &"hot_key".into(), &0.into())
        );
        let names = "chi2 cv key lower_bound max_over_mean n_p1 p p1 reason requests sentence shard_id state window_seconds";
        let mut found: Vec<_> = json.as_object().unwrap().keys().map(String::as_str).collect();
        found.sort_unstable();
        assert_eq!(found.join(" "), names);
        assert_eq!(serde_json::from_value::<Verdict<String>>(json).unwrap(), verdict.map_key(str::to_owned));
        let quiet = serde_json::to_value(second(&mut Detector::default(), [0; 4])).unwrap();
        assert!(quiet["state"] == "not enough traffic" && quiet["p1"].is_null() && quiet["reason"].is_null());
        for state in State::ALL {
            assert_eq!(serde_json::to_value(state).unwrap(), state.name());
        }
        for reason in Reason::ALL {
            assert_eq!(serde_json::to_value(reason).unwrap(), reason.name());
        }
    }

    proptest! {
        #[test]
        fn a_state_rises_and_falls_only_when_enough_seconds_say_so(
            seconds in prop::collection::vec(0usize..5, 1..60),
        ) {
            let kinds = [[0; 4], EVEN, WARM, HOT, CRITICAL];
            let held = states(&seconds.iter().map(|kind| kinds[*kind]).collect::<Vec<_>>());
            for (at, state) in held.iter().enumerate().skip(1) {
                let last = &seconds[at.saturating_sub(4)..=at];
                let (now, before) = (*state as usize, held[at - 1] as usize);
                let as_high = last.iter().filter(|seen| **seen >= now).count();
                let lower = last.iter().filter(|seen| **seen < before).count();
                if now > before {
                    prop_assert!(as_high >= 3 || (now == 4 && seconds[at] == 4) || now == 1, "{seconds:?} {held:?}");
                } else if now < before {
                    prop_assert!(lower >= 3, "{seconds:?} {held:?}");
                }
                prop_assert!(seconds[at] < 4 || now == 4, "critical holds at once");
            }
        }
    }
}
