//! Key statistics as Prometheus metrics.

use hotspot::detector::Detector;
use hotspot::export::hot_partition::HotPartition;
use hotspot::export::key_series::KeySeries;
use hotspot::hash::hash_of;
use hotspot::judge::{Evidence, KeyLoad, Observation};
use prometheus::{IntCounter, IntCounterVec, Opts, Registry, TextEncoder};
use protocol::Key;
use std::collections::HashMap;
use std::time::Duration;

fn shown(shards: u32) -> (Registry, HotPartition) {
    let registry = Registry::new();
    let shown = HotPartition::register("kernel_", shards, |c| registry.register(c)).unwrap();
    (registry, shown)
}

fn text(registry: &Registry) -> String {
    TextEncoder::new().encode_to_string(&registry.gather()).unwrap()
}

/// Returns the samples other than 0 after one second with these requests. All requests of shard 1 are for one
/// key.
fn lines(requests: [u64; 3]) -> Vec<String> {
    let (registry, shown) = shown(3);
    let keys = vec![KeyLoad { key: "k", shard: 1, requests: requests[1] }];
    let observation = Observation { requests: requests.to_vec(), keys, seconds: 1.0, evidence: Vec::new() };
    shown.show(&Detector::default().observe(&observation, &observation));
    let text = text(&registry);
    let shown = text.lines().filter(|line| !line.starts_with('#') && !line.ends_with(" 0"));
    shown.map(str::to_owned).collect()
}

#[test]
fn a_verdict_is_one_state_one_reason_one_shard_and_its_figures() {
    let found = lines([100, 800, 100]);
    assert_eq!(found.len(), 6, "{found:?}");
    for expected in [
        "kernel_hot_partition_state{state=\"critical\"} 1",
        "kernel_hot_partition_reason{reason=\"hot_key\"} 1",
        "kernel_hot_partition_shard{shard_id=\"1\"} 1",
        "kernel_hot_partition_max_over_mean 2.4000000000000004",
        "kernel_hot_partition_top_key_share 0.8",
    ] {
        assert!(found.iter().any(|line| line == expected), "{expected}: {found:?}");
    }
}

#[test]
fn a_shard_that_is_down_is_shown_beside_a_hot_one() {
    let (registry, shown) = shown(4);
    let keys = vec![KeyLoad { key: "k", shard: 1, requests: 900 }];
    let mut evidence = vec![Evidence::default(); 4];
    evidence[2].failed = 5;
    let observation = Observation { requests: vec![100, 900, 0, 100], keys, seconds: 1.0, evidence };
    shown.show(&Detector::default().observe(&observation, &observation));
    let text = text(&registry);
    for expected in [
        "reason{reason=\"hot_key\"}",
        "reason{reason=\"shard_down\"}",
        "shard{shard_id=\"1\"}",
        "shard{shard_id=\"2\"}",
    ] {
        assert!(text.contains(&format!("kernel_hot_partition_{expected} 1")), "{expected}: {text}");
    }
}

#[test]
fn no_verdict_is_no_state() {
    let (registry, shown) = shown(2);
    let observation = Observation {
        requests: vec![900, 100],
        keys: Vec::<KeyLoad<&str>>::new(),
        seconds: 1.0,
        evidence: Vec::new(),
    };
    shown.show(&Detector::default().observe(&observation, &observation));
    shown.show_nothing();
    let text = text(&registry);
    let mut values = text.lines().filter(|line| !line.starts_with('#'));
    assert!(values.all(|line| line.ends_with(" 0")), "{text}");
}

#[test]
fn without_traffic_there_are_no_figures() {
    assert_eq!(lines([1, 2, 3]), ["kernel_hot_partition_state{state=\"not_enough_traffic\"} 1"]);
}

fn key(n: u32) -> Key {
    Key::new(&format!("key-{n}")).unwrap()
}

#[test]
fn the_sum_of_increases_is_the_number_of_accesses_through_promotions() {
    let registry = Registry::new();
    let family = IntCounterVec::new(Opts::new("access_total", "h"), &["shard_id", "key"]).unwrap();
    let untracked = IntCounter::new("untracked_total", "h").unwrap();
    registry.register(Box::new(family.clone())).unwrap();
    registry.register(Box::new(untracked.clone())).unwrap();
    let series = KeySeries::new(family, &["3"], untracked.clone());
    let mut last: HashMap<String, f64> = HashMap::new();
    let (mut increase, mut accesses, mut most_series) = (0.0, 0u64, 0);
    for second in 0..1_200u32 {
        // The hot set changes every 50 s and returns to the first set after the fourth.
        let hot: Vec<_> = (0..25).map(|i| (key(second / 50 % 4 * 100 + i), 1_000)).collect();
        for (k, _) in &hot {
            series.counting().count(hash_of(k), k, u64::from(second % 7 + 1));
            accesses += u64::from(second % 7 + 1);
        }
        series.update(&hot, Duration::from_secs(u64::from(second)));
        // A scrape every 15 s, and one at the end.
        if second % 15 == 0 || second == 1_199 {
            let mut now = HashMap::new();
            let text = TextEncoder::new().encode_to_string(&registry.gather()).unwrap();
            for line in text.lines().filter(|line| !line.starts_with('#')) {
                let (name, value) = line.rsplit_once(' ').unwrap();
                now.insert(name.to_owned(), value.parse::<f64>().unwrap());
            }
            most_series = most_series.max(now.len() - 1);
            for (name, value) in &now {
                let before = last.get(name).copied().unwrap_or(0.0);
                assert!(*value >= before, "{name} fell from {before} to {value}");
                increase += value - before;
            }
            last = now;
        }
    }
    assert_eq!(increase, accesses as f64);
    assert!(most_series <= 20 && most_series > 10, "{most_series}");
    assert!(
        last.keys().all(|name| name.contains("shard_id=\"3\"") || name.contains("untracked")),
        "{last:?}"
    );
}
