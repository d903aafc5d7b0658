//! Tests scenarios and saturation; reports must equal the stub's counts exactly.

use serde_json::{Value, json};
use std::collections::HashMap;
use std::time::Duration;

use crate::stub::{Behaviour, Stub, outcome};

/// Asserts that a report equals the stub's counts.
fn agree(report: &Value, stub: &Stub) {
    let counts = stub.counts();
    assert_eq!(report["sent"], counts.data);
    assert_eq!(report["answered"], counts.shards.iter().sum::<u64>());
    for (shard, count) in counts.shards.iter().enumerate() {
        assert_eq!(report["shards"][shard]["shard_id"], shard);
        assert_eq!(report["shards"][shard]["answered"], *count, "shard {shard}");
    }
    let key = report["hottest_key"]["key"].as_str().unwrap();
    assert_eq!(report["hottest_key"]["sent"], counts.keys.get(key).copied().unwrap_or(0));
    assert_eq!(report["cache_hits"], counts.hits);
}

#[test]
fn a_scenario_reports_what_the_gateway_saw() {
    let stub = Stub::start(Behaviour::default());
    let report = stub.report(&["run", "zipfian", "--duration", "2", "--rate-factor", "4", "--seed", "3"]);
    agree(&report, &stub);
    assert_eq!((&report["sent"], &report["errors"], &report["dropped"]), (&json!(400), &json!(0), &json!(0)));
    assert_eq!(report["scenario"], "zipfian_distribution");
    assert_eq!(report["hottest_key"]["key"], "user-0");
    assert_eq!((&report["offered_per_second"], &report["seed"]), (&json!(200.0), &json!(3)));
    assert_eq!(report["predicted_upstream_per_second"], Value::Null);
    assert_eq!((&report["steady"], &report["checks"][2]["passes"]), (&json!(true), &json!(400)));
    let p95 = report["latency_ms"]["p95"].as_f64().unwrap();
    assert!(p95 > 0.0 && p95 < 500.0, "{p95}");
}

#[test]
fn the_celebrity_has_two_streams_and_most_of_the_load() {
    let stub = Stub::start(Behaviour::default());
    let report = stub.report(&["run", "celebrity", "--duration", "2"]);
    agree(&report, &stub);
    let counts = stub.counts();
    assert_eq!((report["sent"].clone(), counts.keys["celebrity-user-kardashian"]), (json!(260), 200));
    assert!(counts.keys.keys().all(|key| key.starts_with("normal-user-") || key.starts_with("celebrity-")));
    let streams: Vec<_> = report["streams"]
        .as_array()
        .unwrap()
        .iter()
        .map(|s| (s["name"].clone(), s["sent"].clone()))
        .collect();
    assert_eq!(streams, [(json!("celebrity"), json!(200)), (json!("normal"), json!(60))]);
}

#[test]
fn the_caching_run_switches_the_cache_on_first() {
    let stub = Stub::start(Behaviour::default());
    let report = stub.report(&["run", "with-caching", "--duration", "2"]);
    agree(&report, &stub);
    assert_eq!(stub.counts().cache, Some(json!({"enabled": true, "ttl_seconds": 60})));
    let upstream: u64 =
        report["shards"].as_array().unwrap().iter().map(|s| s["upstream_requests"].as_u64().unwrap()).sum();
    assert_eq!(upstream, stub.counts().keys.len() as u64);
    assert_eq!(report["cache_entries_at_start"], 0);
    assert_eq!(report["steady"], false);
    let predicted = &report["predicted_upstream_per_second"];
    let (cold, error) =
        (predicted["cold_start"].as_f64().unwrap(), predicted["cold_start_standard_error"].as_f64().unwrap());
    assert!((upstream as f64 / 2.0 - cold).abs() < 4.0 * error, "{upstream} in 2 s, {predicted}");
}

#[test]
fn the_same_seed_asks_for_the_same_keys() {
    let asked = |seed: &str| {
        let stub = Stub::start(Behaviour::default());
        stub.report(&["run", "uniform", "--duration", "1", "--rate-factor", "3", "--seed", seed]);
        stub.take_keys()
    };
    assert_eq!(asked("5"), asked("5"));
    assert_ne!(asked("5"), asked("6"));
}

#[test]
fn saturation_sends_exactly_its_number_and_counts_each() {
    let stub = Stub::start(Behaviour::default());
    let report = stub.report(&[
        "saturate",
        "--connections",
        "16",
        "--requests",
        "20000",
        "--keys",
        "50",
        "--distribution",
        "zipf:1.1",
    ]);
    agree(&report, &stub);
    let (counts, keys) = (stub.counts(), report["keys"].as_array().unwrap());
    let counted = keys.iter().map(|key| (key["key"].as_str().unwrap(), key["sent"].as_u64().unwrap()));
    assert_eq!(counted.collect::<HashMap<_, _>>(), counts.keys.iter().map(|(k, n)| (&**k, *n)).collect());
    assert!(keys.is_sorted_by_key(|key| std::cmp::Reverse(key["sent"].as_u64())));
    assert_eq!((&report["sent"], &report["errors"]), (&json!(20_000), &json!(0)));
    assert_eq!(report["offered_per_second"], Value::Null);
    assert!(report["achieved_per_second"].as_f64().unwrap() > 0.0);
    for shard in report["shards"].as_array().unwrap() {
        let (p, n) = (shard["predicted_share"].as_f64().unwrap(), 20_000.0);
        let share = shard["answered"].as_f64().unwrap() / n;
        assert!((share - p).abs() < 4.0 * (p * (1.0 - p) / n).sqrt(), "{shard}");
    }
}

#[test]
fn saturation_can_go_to_the_shards_themselves() {
    let shards: Vec<_> =
        (0..4).map(|_| Stub::start(Behaviour { is_shard: true, ..Behaviour::default() })).collect();
    let urls: Vec<_> = shards.iter().map(|shard| format!("http://{}", shard.addr)).collect();
    let urls = urls.join(",");
    let report =
        shards[0].report(&["saturate", "--shard-urls", &urls, "--connections", "3", "--requests", "4000"]);
    for (i, shard) in shards.iter().enumerate() {
        let counts = shard.counts();
        assert_eq!(report["shards"][i]["answered"], counts.data, "shard {i}");
        assert_eq!(counts.shards[i], counts.data, "every request went to its key's shard");
    }
}

#[test]
fn people_get_a_summary_and_progress() {
    let stub = Stub::start(Behaviour { delay: Duration::from_millis(5), ..Behaviour::default() });
    let args = ["saturate", "--connections", "2", "--requests", "1000", "--keys", "1", "--progress"];
    let output = stub.load(&args);
    let (progress, code, _) = outcome(&output);
    let summary = String::from_utf8(output.stdout).unwrap();
    assert_eq!(code, Some(0), "{progress}");
    assert!(progress.starts_with("1 s of 1000 requests: "), "{progress}");
    assert!(summary.starts_with("saturate: 1000 requests in "), "{summary}");
    assert!(summary.contains("hottest key: user-0, 100.00 % of the requests"), "{summary}");
}
