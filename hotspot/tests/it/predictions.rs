//! Tests the exact figures of the lab's scenarios.
//!
//! It compares them before and after each mitigation.

use hotspot::predict::{max_over_mean, shard_shares, zipf};
use hotspot::spread::{HomeLoad, bounded, evenly, random_placements, two_choices};
use rand::rngs::StdRng;
use rand::{RngExt, SeedableRng};

use crate::lab::{CELEBRITY, SHARDS, owner, runs};

fn users() -> Vec<usize> {
    (0..1_000).map(|n| owner(&format!("user-{n}"))).collect()
}

fn assert_near(found: f64, expected: f64, by: f64) {
    assert!((found - expected).abs() <= by, "{found} instead of {expected}");
}

/// Returns the loads without the `n` hottest keys, and these keys.
fn apart(exponent: f64, n: usize) -> (Vec<f64>, Vec<HomeLoad>) {
    let (probabilities, owners) = (zipf(1_000, exponent), users());
    let top = probabilities.iter().zip(&owners).take(n);
    let top = top.map(|(load, shard)| HomeLoad { shard: *shard, load: *load }).collect();
    (shard_shares(&probabilities[n..], &owners[n..], SHARDS), top)
}

#[test]
fn shares_of_the_scenarios() {
    for (exponent, p1, shares, skew) in [
        (0.0, 0.001, [0.239, 0.249, 0.262, 0.250], 1.05),
        (1.5, 0.392, [0.228, 0.4875, 0.1365, 0.148], 1.95),
        (0.99, 0.129, [0.243, 0.304, 0.230, 0.223], 1.22),
    ] {
        let probabilities = zipf(1_000, exponent);
        assert_near(probabilities[0], p1, 0.0005);
        let found = shard_shares(&probabilities, &users(), SHARDS);
        found.iter().zip(shares).for_each(|(found, share)| assert_near(*found, share, 0.0005));
        assert_near(max_over_mean(&found), skew, 0.005);
    }
}

#[test]
fn shares_of_the_celebrity_scenario() {
    let background: Vec<usize> = (0..500).map(|n| owner(&format!("normal-user-{n}"))).collect();
    assert_eq!(background.iter().filter(|shard| **shard == 0).count(), 112);
    let mut found = shard_shares(&[30.0 / 130.0 / 500.0; 500], &background, SHARDS);
    found[owner(CELEBRITY)] += 100.0 / 130.0;
    for (found, share) in found.iter().zip([0.8209, 0.0563, 0.0655, 0.0572]) {
        assert_near(*found, share, 0.00006);
    }
    assert_near(max_over_mean(&found), 3.28, 0.005);
}

#[test]
fn no_placement_helps_when_n_p1_is_above_one() {
    for (exponent, n_p1) in [(0.99, 0.52), (1.5, 1.57)] {
        assert_near(SHARDS as f64 * zipf(1_000, exponent)[0], n_p1, 0.005);
    }
    assert_near(SHARDS as f64 * 100.0 / 130.0, 3.08, 0.005);
}

#[test]
fn a_perfect_six_entry_cache() {
    for (exponent, hottest) in [(1.5, 0.089), (0.99, 0.197)] {
        let (left, _) = apart(exponent, 6);
        assert_near(left.into_iter().fold(0.0, f64::max), hottest, 0.0005);
    }
}

#[test]
fn eight_replicated_keys() {
    for (exponent, before, after) in [(1.5, 1.95, 1.11), (0.99, 1.22, 1.14)] {
        let (base, top) = apart(exponent, 8);
        assert_near(max_over_mean(&evenly(&base, &top, 1)), before, 0.005);
        assert_near(max_over_mean(&evenly(&base, &top, SHARDS)), after, 0.005);
        // With copies on all shards the loads are equal. Two copies a key already improve on none.
        assert_near(max_over_mean(&two_choices(&base, &top, SHARDS).loads), 1.0, 1e-6);
        assert!(max_over_mean(&two_choices(&base, &top, 2).loads) < before);
    }
}

#[test]
fn two_choices_come_out_as_predicted_request_by_request() {
    let ((base, top), mut rng) = (apart(1.5, 8), StdRng::seed_from_u64(4));
    let owners = users();
    let law = rand_distr::weighted::WeightedAliasIndex::new(zipf(1_000, 1.5)).unwrap();
    for copies in [2, 3, 4] {
        let (mut counts, mut elsewhere) = ([0u32; SHARDS], 0u32);
        for _ in 0..100_000 {
            let key = rand_distr::Distribution::sample(&law, &mut rng);
            let mut shard = owners[key];
            if key < 8 {
                let (one, gap) = (rng.random_range(0..copies), rng.random_range(1..copies));
                let [a, b] = [one, (one + gap) % copies].map(|step| (owners[key] + step) % SHARDS);
                shard = if (counts[b], b) < (counts[a], a) { b } else { a };
            }
            counts[shard] += 1;
            elsewhere += u32::from(shard != owners[key]);
        }
        let predicted = two_choices(&base, &top, copies);
        for (count, predicted) in counts.iter().zip(predicted.loads) {
            assert_near(f64::from(*count) / 100_000.0, predicted, 0.006);
        }
        assert_near(f64::from(elsewhere) / 100_000.0, predicted.elsewhere, 0.006);
    }
}

#[test]
fn bounded_load_must_forward() {
    for (exponent, forwarded) in [(1.5, 0.175), (0.99, 0.0)] {
        let (loads, _) = apart(exponent, 0);
        assert_near(bounded(&loads, 0.25).forwarded, forwarded, 0.0005);
    }
}

#[test]
fn over_random_placements() {
    let placements = usize::try_from(runs(20_000)).unwrap();
    let percentile = |sorted: &[f64], p: usize| sorted[sorted.len() * p / 100];
    for (exponent, most) in [(0.99, 0.224), (1.5, 0.116)] {
        // n·ln n of four shards is 5.5: six entries.
        let left = random_placements(&zipf(1_000, exponent)[6..], 0.0, SHARDS, placements);
        let found = percentile(&left, 95);
        assert!(found <= most + 0.0005, "{exponent}: {found}");
    }
    let probabilities = zipf(1_000, 1.5);
    let before = random_placements(&probabilities, 0.0, SHARDS, placements);
    assert_near(4.0 * percentile(&before, 50), 2.10, 0.01);
    // The eight hottest keys are on all shards, a quarter each.
    let top: f64 = probabilities[..8].iter().sum();
    let after = random_placements(&probabilities[8..], 0.0, SHARDS, placements);
    assert_near(4.0 * (percentile(&after, 50) + top / 4.0), 1.07, 0.01);
}
