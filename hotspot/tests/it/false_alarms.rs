//! Even traffic is never reported as hot.

use hotspot::judge::THRESHOLDS;
use hotspot::skew::Skew;
use hotspot::verdict::State;
use rand::rngs::StdRng;
use rand::{RngExt, SeedableRng};

use crate::lab::{SHARDS, Stream, Watch, owner, runs};

/// Counts the windows that reach `warm`, of `windows` windows with `requests` requests. `draw` selects the shard of a
/// request.
fn alarms(windows: u64, requests: u64, draw: impl Fn(&mut StdRng) -> usize) -> u64 {
    let mut rng = StdRng::seed_from_u64(requests);
    let warm = THRESHOLDS[2].0;
    let window = |_: &u64| {
        let mut counts = [0; SHARDS];
        (0..requests).for_each(|_| counts[draw(&mut rng)] += 1);
        Skew::of(&counts).unwrap().lower_bound >= warm
    };
    (0..windows).filter(window).count() as u64
}

#[test]
fn no_even_window_of_a_thousand_requests_is_warm() {
    assert_eq!(alarms(1_000, 1_000, |rng| rng.random_range(0..SHARDS)), 0);
}

#[test]
fn small_even_windows_hardly_ever_are() {
    // About one in 20,000 is expected. Six or more have a probability of one in 1,700.
    let found = alarms(20_000, 100, |rng| rng.random_range(0..SHARDS));
    assert!(found <= 5, "{found}");
    assert_eq!(alarms(runs(20_000), 500, |rng| rng.random_range(0..SHARDS)), 0);
}

#[test]
fn nor_do_the_labs_thousand_keys_on_their_own_shards() {
    let owners: Vec<usize> = (0..1_000).map(|n| owner(&format!("user-{n}"))).collect();
    let draw = |rng: &mut StdRng| owners[rng.random_range(0..1_000)];
    assert_eq!(alarms(1_000, 1_000, draw), 0);
    assert_eq!(alarms(runs(20_000), 500, draw), 0);
}

#[test]
fn the_uniform_scenario_stays_balanced_from_its_second_second_on() {
    let (stream, mut watch, mut rng) = (Stream::zipf(50, 0.0), Watch::new(), StdRng::seed_from_u64(1));
    for second in 1..=runs(7_200) {
        let verdict = watch.second(&[&stream], &mut rng);
        let expected = if second < 2 { State::NotEnoughTraffic } else { State::Balanced };
        assert_eq!(verdict.state, expected, "second {second}: {verdict:?}");
        assert!(verdict.reason.is_none() && verdict.key.is_none(), "{verdict:?}");
    }
}
