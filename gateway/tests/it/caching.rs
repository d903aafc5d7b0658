//! Hits, misses, time to live, cache switch, reset, size limit.

use serde_json::json;

use crate::bench::{Bench, until};
use crate::stub::{self, Gate, Stub};

#[tokio::test]
async fn with_the_cache_off_every_read_goes_to_the_shard_and_is_a_miss() {
    let stub = Stub::honest(0).await;
    let bench = Bench::over(&stub, &[]);
    for _ in 0..5 {
        assert_eq!(bench.read("k").await["cache_hit"], false);
    }
    let stats = bench.stats().await;
    assert_eq!(stub.count(), 5);
    assert_eq!(
        (&stats["cache_misses"], &stats["cache_hits"], &stats["cache_size"]),
        (&json!(5), &json!(0), &json!(0))
    );
    assert_eq!(stats["cache_hit_ratio"], 0.0);
}

#[tokio::test]
async fn entries_live_as_long_as_was_set_when_they_were_stored() {
    let stub = Stub::honest(0).await;
    let bench = Bench::over(&stub, &["--cache-enabled", "--cache-ttl-seconds", "60"]);
    bench.read("long").await;
    bench.cache(r#"{"ttl_seconds":3}"#).await;
    bench.read("short").await;
    bench.cache(r#"{"ttl_seconds":60}"#).await;
    bench.read("later").await;
    assert_eq!(bench.stat("cache_size").await, 3);
    until("the short one expires", async || bench.stat("cache_size").await == 2).await;
    for (key, hit) in [("long", true), ("later", true), ("short", false)] {
        assert_eq!(bench.read(key).await["cache_hit"], hit, "{key}");
    }
    // A new value replaced the expired entry, with the time to live that was set at that time.
    bench.cache(r#"{"ttl_seconds":1}"#).await;
    assert_eq!(bench.read("short").await["cache_hit"], true);
    bench.read("other").await;
    until("the other expires", async || bench.read("other").await["cache_hit"] == false).await;
    assert_eq!(bench.read("short").await["cache_hit"], true);
}

#[tokio::test]
async fn an_expired_entry_is_fetched_anew() {
    let stub = Stub::start(|request, nth| stub::value(request, 0, &json!({"nth": nth}).to_string())).await;
    let bench = Bench::over(&stub, &["--cache-enabled", "--cache-ttl-seconds", "1"]);
    assert_eq!(bench.read("k").await["value"]["nth"], 0);
    until("a second fetch", async || bench.read("k").await["value"]["nth"] == 1).await;
    // The new value replaced an expired entry that is not yet swept. It must expire too.
    until("a third fetch", async || bench.read("k").await["value"]["nth"] == 2).await;
    assert_eq!(stub.count(), 3);
}

#[tokio::test]
async fn turning_the_cache_off_empties_it() {
    let stub = Stub::honest(0).await;
    let bench = Bench::over(&stub, &["--cache-enabled"]);
    bench.read("k").await;
    bench.cache(r#"{"enabled":false}"#).await;
    assert_eq!(bench.stat("cache_size").await, 0);
    bench.cache(r#"{"enabled":true}"#).await;
    assert_eq!(bench.read("k").await["cache_hit"], false);
    assert_eq!(bench.read("k").await["cache_hit"], true);
    // Turning the cache on again, or an empty change, must keep the entries.
    bench.cache(r#"{"enabled":true}"#).await;
    bench.cache("{}").await;
    assert_eq!(bench.read("k").await["cache_hit"], true);
}

#[tokio::test]
async fn a_reset_takes_statistics_and_entries_and_leaves_switch_and_metrics() {
    let bench = Bench::over(&Stub::honest(0).await, &["--cache-enabled", "--cache-ttl-seconds", "9"]);
    for key in ["a", "a", "b"] {
        bench.read(key).await;
    }
    bench.write("c", json!({})).await;
    let counters = |all: std::collections::BTreeMap<String, f64>| {
        all.into_iter().filter(|(name, _)| name.contains("_total")).collect::<Vec<_>>()
    };
    let before = counters(bench.metrics().await);
    bench.post("/admin/reset", "").await;
    let mut stats = bench.stats().await;
    stats.as_object_mut().unwrap().remove("started_at");
    let expected = json!({
        "num_shards": 1, "cache_enabled": true, "cache_ttl_seconds": 9, "cache_size": 0,
        "cache_hits": 0, "cache_misses": 0, "cache_coalesced": 0, "cache_hit_ratio": 0.0, "total_requests": 0,
        "shard_requests": [{"shard_id": 0, "requests": 0}], "top_keys": [], "verdict": stats["verdict"],
        "placement": "modulo", "breakers": [{"shard_id": 0, "state": "closed", "opened": 0, "refused": 0}],
        "mitigation": stats["mitigation"],
        "shard_requests_total": [{"shard_id": 0, "requests": 3}],
    });
    assert_eq!(stats, expected);
    let after = counters(bench.metrics().await);
    assert!(!before.is_empty());
    for (name, value) in before {
        let now = after.iter().find(|(other, _)| *other == name).map(|(_, now)| *now);
        assert!(now.is_some_and(|now| now >= value), "{name} was {value} and is {now:?}");
    }
    assert_eq!(bench.read("a").await["cache_hit"], false);
    assert_eq!(bench.stat("total_requests").await, 1);
}

#[tokio::test]
async fn a_flight_that_a_reset_or_the_switch_overtakes_stores_nothing() {
    for overtaking in ["reset", "off"] {
        let gate = Gate::closed();
        let held = gate.clone();
        let stub = Stub::start(move |request, nth| {
            let reply = stub::value(request, 0, &json!({"nth": nth}).to_string());
            if nth == 0 { held.hold(reply) } else { reply }
        })
        .await;
        let bench = Bench::over(&stub, &["--cache-enabled"]);
        let overtaken = async {
            until("the fetch begins", async || stub.count() == 1).await;
            if overtaking == "reset" {
                bench.post("/admin/reset", "").await;
            } else {
                bench.cache(r#"{"enabled":false}"#).await;
                bench.cache(r#"{"enabled":true}"#).await;
            }
            gate.open();
        };
        let (first, ()) = tokio::join!(bench.read("k"), overtaken);
        assert_eq!(first["value"]["nth"], 0, "{overtaking}");
        assert_eq!(bench.stat("cache_size").await, 0, "{overtaking}");
        assert_eq!(bench.read("k").await["value"]["nth"], 1, "{overtaking}");
        assert_eq!(bench.read("k").await["cache_hit"], true, "{overtaking}");
    }
}

#[tokio::test]
async fn the_cache_is_bounded_in_bytes() {
    let kilobyte = json!({"text": "x".repeat(1_000)}).to_string();
    let stub = Stub::start(move |request, _| stub::value(request, 0, &kilobyte)).await;
    let bench = Bench::over(&stub, &["--cache-enabled", "--cache-max-bytes", "100000"]);
    for n in 0..300 {
        bench.read(&format!("k{n}")).await;
    }
    let size = bench.stat("cache_size").await;
    assert!((20..=98).contains(&size), "{size} entries of a kilobyte in 100,000 bytes");
    assert_eq!(bench.metrics().await["gateway_cache_size"], size as f64);
}

#[tokio::test]
async fn an_entry_larger_than_the_cache_is_served_and_not_kept() {
    let stub = Stub::honest(0).await;
    let bench = Bench::over(&stub, &["--cache-enabled", "--cache-max-bytes", "100"]);
    bench.read("k").await;
    assert_eq!(bench.stat("cache_size").await, 0);
    assert_eq!(bench.read("k").await["cache_hit"], false);
}
