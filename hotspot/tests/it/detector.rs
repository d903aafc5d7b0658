//! The detector second by second: hysteresis, evidence, sentences, JSON.

use hotspot::detector::Detector;
use hotspot::judge::{Evidence, KeyLoad, Observation};
use hotspot::verdict::{Reason, State, Verdict};
use proptest::prelude::*;

const EVEN: [u64; 4] = [250; 4];
const WARM: [u64; 4] = [370, 210, 210, 210];
const HOT: [u64; 4] = [430, 190, 190, 190];
const CRITICAL: [u64; 4] = [820, 60, 60, 60];

/// One second in which both windows hold `requests`. All requests of shard 0 are for one key.
fn second(detector: &mut Detector<&'static str>, requests: [u64; 4]) -> Verdict<&'static str> {
    let keys = [KeyLoad { key: "user-7", shard: 0, requests: requests[0] }];
    let observation =
        Observation { requests: requests.to_vec(), keys: keys.to_vec(), seconds: 1.0, evidence: Vec::new() };
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
    assert_eq!(states(&[EVEN, WARM, EVEN, WARM, EVEN, WARM]), [[Balanced; 5].as_slice(), &[Warm]].concat());
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
        "Not enough traffic to judge: 36 requests in 1 s; at least 100 and 20 a second are needed."
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
    let last =
        Observation { requests: vec![7, 8, 107, 8], keys: new.clone(), seconds: 1.0, evidence: Vec::new() };
    let verdict = Detector::default().observe(&last, &ten);
    assert_eq!((verdict.key, verdict.shard_id, verdict.requests), (Some("new"), Some(2), 130));
    let same =
        Observation { requests: vec![107, 7, 8, 8], keys: old.clone(), seconds: 1.0, evidence: Vec::new() };
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
    assert_eq!((verdict.state, verdict.shard_id, verdict.key), (State::Critical, Some(0), Some("user-7")));
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
        "The load is balanced so far, because one window alone is hot: the busiest shard, 0, gets 43.0 % of"
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
        let verdict = with(&mut detector, [5_000, 5_000, 5_000, share.min(5_000)], answered, 9 - answered);
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

#[test]
fn a_replica_without_requests_makes_no_other_shard_hot() {
    let replicas = [500, 500, 0, 0];
    // As shards they would make the other two hot.
    let as_shards = states(&[replicas; 3]);
    assert!(as_shards[2] >= State::Hot, "{as_shards:?}");
    let mut detector = Detector::default();
    detector.leave_out(vec![2, 3]);
    let verdict = (0..5).map(|_| second(&mut detector, replicas)).last().unwrap();
    assert_eq!((verdict.state, verdict.max_over_mean), (State::Balanced, Some(1.0)));
    // A shard keeps its number in the verdict.
    detector.leave_out(vec![0, 3]);
    let verdict = (0..3).map(|_| second(&mut detector, [0, 10, 1_000, 0])).last().unwrap();
    assert_eq!((verdict.shard_id, verdict.max_over_mean), (Some(2), Some(2_000.0 / 1_010.0)));
}
