//! Tests the detection of hot keys and of Zipf traffic.
//!
//! Hot keys must be named at once and followed. Zipf traffic must get the expected state.

use hotspot::judge::Evidence;
use hotspot::verdict::{Reason, State, Verdict};
use rand::SeedableRng;
use rand::rngs::StdRng;

use crate::lab::{CELEBRITY, SHARDS, Stream, Watch, owner, runs};

fn assert_names(verdict: &Verdict<String>, key: &str) {
    assert_eq!(verdict.state, State::Critical, "{verdict:?}");
    assert_eq!(verdict.reason, Some(Reason::HotKey), "{verdict:?}");
    assert_eq!((verdict.key.as_deref(), verdict.shard_id), (Some(key), Some(owner(key))), "{verdict:?}");
}

#[test]
fn the_celebrity_is_named_in_its_first_full_second() {
    let (celebrity, background) = (Stream::one(100, CELEBRITY), Stream::background());
    for seed in 0..runs(1_000) {
        let (mut watch, mut rng) = (Watch::new(), StdRng::seed_from_u64(seed));
        (0..12).for_each(|_| {
            watch.second(&[&background], &mut rng);
        });
        for _ in 0..5 {
            let verdict = watch.second(&[&background, &celebrity], &mut rng);
            assert_names(&verdict, CELEBRITY);
            assert!(verdict.sentence.contains("Re-hashing or splitting cannot fix this"), "{verdict:?}");
        }
    }
}

#[test]
fn the_celebritys_figures_are_those_of_theory() {
    let (celebrity, background) = (Stream::one(100, CELEBRITY), Stream::background());
    let (mut watch, mut rng) = (Watch::new(), StdRng::seed_from_u64(7));
    let verdict = (0..20).map(|_| watch.second(&[&background, &celebrity], &mut rng)).last().unwrap();
    let near = |found: Option<f64>, expected: f64, by: f64| {
        assert!((found.unwrap() - expected).abs() < by, "{expected}: {verdict:?}");
    };
    // 1,300 requests; only the 300 of the background are random. The standard error of the share is 0.0055.
    near(verdict.p1, 0.769, 0.001);
    near(verdict.n_p1, 3.08, 0.005);
    near(verdict.max_over_mean, 3.28, 0.09);
    near(verdict.lower_bound, 3.13, 0.1);
    assert_eq!((verdict.requests, verdict.window_seconds), (1_300, 10.0));
    assert!(verdict.sentence.contains("at least 4 copies"), "{}", verdict.sentence);
}

#[test]
fn the_moving_celebrity_is_followed_within_a_second() {
    // One key on each shard.
    let celebrity =
        |shard: usize| (0..).map(|n| format!("star-{n}")).find(|key| owner(key) == shard).unwrap();
    let stars: Vec<String> = (0..SHARDS).map(celebrity).collect();
    let background = Stream::background();
    let (mut watch, mut rng) = (Watch::new(), StdRng::seed_from_u64(3));
    for turn in 0..12 {
        let star = &stars[turn % SHARDS];
        let stream = Stream::one(100, star);
        for _ in 0..15 {
            assert_names(&watch.second(&[&background, &stream], &mut rng), star);
        }
    }
}

#[test]
fn when_the_celebrity_leaves_the_verdict_falls() {
    let (celebrity, uniform) = (Stream::one(100, CELEBRITY), Stream::zipf(130, 0.0));
    let (mut watch, mut rng) = (Watch::new(), StdRng::seed_from_u64(5));
    (0..15).for_each(|_| {
        watch.second(&[&uniform, &celebrity], &mut rng);
    });
    let states: Vec<State> = (0..20).map(|_| watch.second(&[&uniform], &mut rng).state).collect();
    assert!(states[0] >= State::Hot && states.is_sorted_by(|a, b| a >= b), "{states:?}");
    assert!(states[14..].iter().all(|state| *state == State::Balanced), "{states:?}");
}

#[test]
fn zipf_traffic_gets_its_state_and_reason() {
    for (exponent, rate, expected) in [(1.5, 50, State::Hot), (0.99, 1_000, State::Balanced)] {
        let stream = Stream::zipf(rate, exponent);
        let (mut as_expected, mut seconds) = (0, 0);
        for seed in 0..runs(100) {
            let (mut watch, mut rng) = (Watch::new(), StdRng::seed_from_u64(seed));
            (0..12).for_each(|_| {
                watch.second(&[&stream], &mut rng);
            });
            for _ in 0..20 {
                let verdict = watch.second(&[&stream], &mut rng);
                as_expected += usize::from(verdict.state == expected);
                seconds += 1;
                let named = verdict.key.as_deref().is_none_or(|key| key == "user-0");
                assert!(named && verdict.reason.is_none_or(|reason| reason == Reason::HotKey), "{verdict:?}");
            }
        }
        assert!(as_expected * 10 >= seconds * 9, "{exponent}: {as_expected} of {seconds} are {expected}");
    }
}

#[test]
fn a_shard_that_is_down_is_named() {
    let uniform = Stream::zipf(200, 0.0);
    let keys: Vec<String> = (0..1_000).map(|n| format!("user-{n}")).filter(|key| owner(key) != 2).collect();
    let without = Stream::new(150, keys.clone(), vec![1.0; keys.len()]);
    let (mut watch, mut rng) = (Watch::new(), StdRng::seed_from_u64(9));
    (0..12).for_each(|_| {
        watch.second(&[&uniform], &mut rng);
    });
    // Absent traffic alone is no evidence.
    (0..12).for_each(|_| assert_ne!(watch.second(&[&without], &mut rng).reason, Some(Reason::ShardDown)));
    let mut watch = Watch::new();
    (0..12).for_each(|_| {
        watch.second(&[&uniform], &mut rng);
    });
    watch.evidence = vec![Evidence { answered: 50, failed: 0 }; SHARDS];
    watch.evidence[2] = Evidence { answered: 0, failed: 1 };
    let after: Vec<_> = (0..12).map(|_| watch.second(&[&without], &mut rng)).collect();
    let verdict = &after[11];
    assert_eq!(
        (verdict.state, verdict.reason, verdict.shard_id),
        (State::Warm, Some(Reason::ShardDown), Some(2))
    );
    assert_eq!(after[2].reason, Some(Reason::ShardDown), "named after three seconds: {:?}", after[2]);
    let (celebrity, mut both) = (Stream::one(100, CELEBRITY), after[11].clone());
    (0..3).for_each(|_| both = watch.second(&[&without, &celebrity], &mut rng));
    assert_eq!((both.reason, both.key.as_deref()), (Some(Reason::HotKey), Some(CELEBRITY)), "{both:?}");
    assert_eq!(both.down, [2], "{both:?}");
}
