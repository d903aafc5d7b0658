//! The ranking of mitigations for each scenario.

use hotspot::counter::Limits;
use hotspot::hash::hash_of;
use hotspot::predict::zipf;
use hotspot::what_if::{KeyRate, Mitigation, MitigationOutcome, Settings, Traffic, hot_entries};
use hotspot::window::{Access, Window};
use proptest::prelude::*;
use std::time::Duration;

use crate::lab::{CELEBRITY, SHARDS, owner};

/// Traffic with reads of these keys only.
fn reads(keys: impl IntoIterator<Item = (String, f64)>) -> Traffic<String> {
    let rate = |(key, reads): (String, f64)| KeyRate { shard: owner(&key), key, reads, writes: 0.0 };
    Traffic { keys: keys.into_iter().map(rate).collect(), rest: vec![0.0; SHARDS] }
}

fn users(exponent: f64, rate: f64) -> Traffic<String> {
    reads(zipf(1_000, exponent).into_iter().enumerate().map(|(n, p)| (format!("user-{n}"), p * rate)))
}

fn celebrity() -> Traffic<String> {
    let background = (0..500).map(|n| (format!("normal-user-{n}"), 30.0 / 500.0));
    reads(background.chain([(CELEBRITY.to_owned(), 100.0)]))
}

fn of(outcomes: &[MitigationOutcome], mitigation: Mitigation) -> &MitigationOutcome {
    outcomes.iter().find(|outcome| outcome.mitigation == mitigation).unwrap()
}

fn assert_near(found: f64, expected: f64, by: f64) {
    assert!((found - expected).abs() <= by, "{found} instead of {expected}");
}

#[test]
fn the_celebrity_needs_a_cache_or_copies_and_no_placement_helps() {
    use Mitigation::{BoundedLoad, Cache, HotOnlyCache, Nothing, Placement, Replication};
    let found = celebrity().what_if(&Settings::usual(SHARDS));
    let order: Vec<_> = found.iter().map(|outcome| outcome.mitigation).collect();
    assert_eq!(order, [Cache, HotOnlyCache, Replication, BoundedLoad, Nothing, Placement]);
    assert_near(of(&found, Nothing).hottest_share, 0.8209, 0.0001);
    assert_eq!(of(&found, Nothing).shard_id, Some(0));
    // 6.5 of 130 requests a second.
    assert_near(of(&found, Cache).shard_load, 6.5 / 130.0, 0.0005);
    assert_near(of(&found, Replication).hottest_share, 0.25, 0.0001);
    assert_near(of(&found, BoundedLoad).hottest_share, 0.3125, 0.0001);
    let placement = of(&found, Placement);
    assert!(
        placement.hottest_share > 0.769 && placement.note.contains("no placement can balance"),
        "{placement:?}"
    );
}

#[test]
fn zipf_traffic_as_the_tables_say() {
    for (exponent, nothing, cached, forwarded) in [(1.5, 0.4875, 0.089, 0.175), (0.99, 0.304, 0.197, 0.0)] {
        // At this rate six entries absorb nearly all reads of their keys.
        let found = users(exponent, 1e6).what_if(&Settings::usual(SHARDS));
        assert_near(of(&found, Mitigation::Nothing).hottest_share, nothing, 0.0005);
        assert_near(of(&found, Mitigation::HotOnlyCache).hottest_share, cached, 0.0006);
        assert_near(of(&found, Mitigation::BoundedLoad).elsewhere, forwarded, 0.0005);
        assert_near(of(&found, Mitigation::Replication).max_over_mean, 1.0, 1e-6);
    }
    // The whole cache: hit ratio 0.710 at T = 1 s.
    let settings = Settings { ttl: 1.0, ..Settings::usual(SHARDS) };
    let found = users(0.99, 1_000.0).what_if(&settings);
    assert_near(of(&found, Mitigation::Cache).shard_load, 1.0 - 0.710, 0.0005);
}

#[test]
fn no_cache_helps_a_key_that_is_written() {
    let mut traffic = users(0.0, 30.0);
    traffic.keys.push(KeyRate { key: "hot".into(), shard: 1, reads: 0.0, writes: 100.0 });
    let found = traffic.what_if(&Settings::usual(SHARDS));
    let nothing = of(&found, Mitigation::Nothing).hottest_share;
    assert!(of(&found, Mitigation::HotOnlyCache).hottest_share > nothing - 0.01);
    let copies = of(&found, Mitigation::Replication);
    assert!(
        copies.hottest_share >= nothing && copies.shard_load > 3.0,
        "every write goes to all copies: {copies:?}"
    );
}

#[test]
fn replication_says_how_much_its_copies_serve() {
    let key = KeyRate { key: "hot".to_owned(), shard: 0, reads: 40.0, writes: 0.0 };
    let found = Traffic { keys: vec![key], rest: vec![10.0, 20.0] }.what_if(&Settings::usual(2));
    // 35 requests on each shard: 25 of the key's 40 stay at home, 15 of all 70 go to the copy.
    assert_near(of(&found, Mitigation::Replication).elsewhere, 15.0 / 70.0, 1e-9);
}

#[test]
fn entries_of_the_hot_only_cache() {
    assert_eq!([1, 2, 4, 10].map(hot_entries), [1, 2, 6, 24]);
}

#[test]
fn windows_give_rates_by_their_span() {
    let (start, now) = (Duration::from_millis(7_500), Duration::from_secs(10));
    let limits = Limits { exact_keys: 64, sketch_keys: 32 };
    let mut window = Window::new(limits, start);
    for (key, access, n) in [("a", Access::Read, 50), ("a", Access::Write, 5), ("b", Access::Read, 20)] {
        let (reads, writes) = if access == Access::Read { (n, 0) } else { (0, n) };
        window.add_many(hash_of(&key), &key, reads, writes, 8);
    }
    let mut traffic = Traffic::new(2);
    traffic.add(1, &window.full(10, now), 1);
    assert_eq!(traffic.keys, [KeyRate { key: "a", shard: 1, reads: 20.0, writes: 2.0 }]);
    assert_eq!(traffic.rest, [0.0, 8.0]);
    assert!(Traffic::<u8>::new(4).what_if(&Settings::usual(4)).is_empty());
}

#[test]
fn outcomes_are_told_as_json() {
    let found = celebrity().what_if(&Settings::usual(SHARDS));
    let json = serde_json::to_value(&found).unwrap();
    assert_eq!(json[0]["mitigation"], "cache");
    assert_eq!(serde_json::from_value::<Vec<MitigationOutcome>>(json).unwrap().len(), found.len());
}

proptest! {
    #[test]
    fn outcomes_are_sound(
        keys in prop::collection::vec((0usize..4, 0.0f64..200.0, 0.0f64..50.0), 1..40),
        rest in prop::collection::vec(0.1f64..100.0, 4),
        ttl in 0.1f64..100.0,
        copies in 0usize..6,
    ) {
        let rate = |(key, (shard, reads, writes))| KeyRate { key, shard, reads, writes };
        let traffic = Traffic { keys: keys.into_iter().enumerate().map(rate).collect(), rest };
        let found = traffic.what_if(&Settings { ttl, copies, ..Settings::usual(4) });
        prop_assert_eq!(found.len(), 6);
        prop_assert!(found.is_sorted_by(|a, b| a.hottest_share <= b.hottest_share + 1e-9));
        for outcome in &found {
            let mean = outcome.shard_load / 4.0;
            if outcome.mitigation != Mitigation::Placement {
                let most = outcome.shares.iter().copied().fold(0.0, f64::max);
                prop_assert!((outcome.shares.iter().sum::<f64>() - outcome.shard_load).abs() < 1e-9);
                prop_assert!((most - outcome.hottest_share).abs() < 1e-12, "{outcome:?}");
            }
            prop_assert!((outcome.hottest_share - mean * outcome.max_over_mean).abs() < 1e-6, "{outcome:?}");
            prop_assert!(outcome.max_over_mean >= 1.0 - 1e-9 && outcome.max_over_mean <= 4.0 + 1e-9, "{outcome:?}");
        }
        let share = |mitigation| of(&found, mitigation).hottest_share;
        prop_assert!(share(Mitigation::Cache) <= share(Mitigation::HotOnlyCache) + 1e-9);
        prop_assert!(share(Mitigation::HotOnlyCache) <= share(Mitigation::Nothing) + 1e-9);
        prop_assert!(share(Mitigation::BoundedLoad) <= share(Mitigation::Nothing) + 1e-9);
    }
}
