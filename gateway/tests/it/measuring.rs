//! Names, labels and sums of the metrics.

use serde_json::json;
use std::collections::{BTreeMap, BTreeSet};

use crate::bench::{Bench, until};
use crate::stub::Stub;

fn sum(metrics: &BTreeMap<String, f64>, family: &str) -> f64 {
    let labelled = format!("{family}{{");
    let of_family = |name: &str| name == family || name.starts_with(&labelled);
    metrics.iter().filter(|(name, _)| of_family(name)).map(|(_, value)| value).sum()
}

#[tokio::test]
async fn the_families_that_dashboards_rely_on_are_there_with_their_labels() {
    let stubs = [Stub::honest(0).await, Stub::honest(1).await];
    let bench = Bench::at(&[stubs[0].addr, stubs[1].addr], &["--cache-enabled"]);
    let series: BTreeSet<String> =
        bench.metrics().await.into_keys().filter(|name| !name.contains("_bucket")).collect();
    let mut expected: BTreeSet<String> = [
        "gateway_cache_size",
        "gateway_cache_hits_total",
        "gateway_cache_misses_total",
        "gateway_cache_coalesced_total",
        "gateway_key_access_untracked_total",
        "gateway_cache_stale_total",
        "gateway_negative_cache_hits_total",
        "gateway_bounded_load_forwarded_total",
        "service_connections",
        "service_connections_limit",
    ]
    .map(str::to_owned)
    .into();
    // The series of the verdict exist only after the first hundred requests.
    for state in ["not_enough_traffic", "balanced", "warm", "hot", "critical"] {
        expected.insert(format!(r#"hot_partition_state{{state="{state}"}}"#));
    }
    for reason in ["hot_key", "placement", "shard_down"] {
        expected.insert(format!(r#"hot_partition_reason{{reason="{reason}"}}"#));
    }
    for result in ["served", "overtaken", "lost"] {
        expected.insert(format!(r#"gateway_replica_reads_total{{result="{result}"}}"#));
    }
    for result in ["stored", "failed"] {
        expected.insert(format!(r#"gateway_replica_writes_total{{result="{result}"}}"#));
    }
    for result in ["stored", "failed", "overtaken"] {
        expected.insert(format!(r#"gateway_cache_refreshes_total{{result="{result}"}}"#));
    }
    for result in ["answered", "failed"] {
        expected.insert(format!(r#"gateway_peer_exchanges_total{{result="{result}"}}"#));
    }
    for reason in ["idle", "stalled", "head_timeout", "write_timeout", "refused", "no_descriptor"] {
        expected.insert(format!(r#"service_connections_shed_total{{reason="{reason}"}}"#));
    }
    for reason in ["body", "answer", "no_descriptor"] {
        expected.insert(format!(r#"service_requests_shed_total{{reason="{reason}"}}"#));
    }
    for holds in ["true", "false"] {
        expected.insert(format!(r#"gateway_peers{{holds="{holds}"}}"#));
    }
    for mitigation in
        ["cache", "hot_only_cache", "stale_while_revalidate", "negative_caching", "replication", "auto"]
    {
        expected.insert(format!(r#"gateway_mitigation_enabled{{mitigation="{mitigation}"}}"#));
        for reason in ["request", "auto", "peer"] {
            expected.insert(format!(
                r#"gateway_mitigation_changes_total{{mitigation="{mitigation}",reason="{reason}"}}"#
            ));
        }
    }
    for result in ["answered", "failed"] {
        expected.insert(format!(r#"gateway_peer_exchanges_total{{result="{result}"}}"#));
    }
    for holds in ["true", "false"] {
        expected.insert(format!(r#"gateway_peers{{holds="{holds}"}}"#));
    }
    // Every shard has its series from the start, so that `rate()` includes the first request.
    for id in 0..2 {
        expected.insert(format!(r#"gateway_shard_distribution_total{{shard_id="{id}"}}"#));
        expected.insert(format!(r#"hot_partition_shard{{shard_id="{id}"}}"#));
        for name in ["state", "opened_total", "refused_total"] {
            expected.insert(format!(r#"gateway_shard_breaker_{name}{{shard_id="{id}"}}"#));
        }
        for (operation, hit) in [("get", "true"), ("get", "false"), ("set", "false")] {
            expected.insert(format!(
                r#"gateway_requests_total{{cache_hit="{hit}",operation="{operation}",shard_id="{id}"}}"#
            ));
        }
        for operation in ["get", "set"] {
            for part in ["sum", "count"] {
                expected.insert(format!(
                    r#"gateway_request_duration_seconds_{part}{{operation="{operation}",shard_id="{id}"}}"#
                ));
            }
        }
    }
    assert_eq!(series, expected);
    let text = bench.get("/metrics").await.text;
    let buckets =
        text.lines().filter(|line| line.contains("_bucket{operation=\"get\",shard_id=\"0\"")).count();
    assert!((10..=30).contains(&buckets), "{buckets} buckets");
    for line in text.lines().filter(|line| line.starts_with("# HELP")) {
        assert!(line.split(' ').count() > 4, "{line}");
    }
}

#[tokio::test]
async fn the_counters_agree_with_the_shards_and_with_stats() {
    let stubs = [Stub::honest(0).await, Stub::honest(1).await];
    let bench = Bench::at(&[stubs[0].addr, stubs[1].addr], &["--cache-enabled"]);
    for n in 0..60 {
        bench.read(&format!("k{}", n % 20)).await;
    }
    for n in 0..7 {
        bench.write(&format!("k{n}"), json!({})).await;
    }
    let metrics = bench.metrics().await;
    let stats = bench.stats().await;
    for (id, stub) in stubs.iter().enumerate() {
        let sent = metrics[&format!(r#"gateway_shard_distribution_total{{shard_id="{id}"}}"#)];
        assert_eq!(sent, stub.count() as f64, "cache hits look like load on shard {id}");
        assert_eq!(stats["shard_requests"][id], json!({"shard_id": id, "requests": stub.count()}));
    }
    assert_eq!(sum(&metrics, "gateway_requests_total"), 67.0);
    assert_eq!(sum(&metrics, "gateway_request_duration_seconds_count"), 67.0);
    let named = |name: &str| metrics[name];
    assert_eq!((named("gateway_cache_hits_total"), named("gateway_cache_misses_total")), (40.0, 20.0));
    let hits: f64 =
        metrics.iter().filter(|(name, _)| name.contains("cache_hit=\"true\"")).map(|(_, n)| n).sum();
    assert_eq!(hits, 40.0);
    assert_eq!(stats["total_requests"], 67);
}

#[tokio::test]
async fn a_few_keys_get_a_series_and_no_access_is_lost_or_counted_twice() {
    let bench = Bench::over(&Stub::honest(0).await, &["--cache-enabled"]);
    let access = |metrics: &BTreeMap<String, f64>| {
        sum(metrics, "gateway_key_access_total") + sum(metrics, "gateway_key_access_untracked_total")
    };
    let series = |metrics: &BTreeMap<String, f64>| {
        metrics.keys().filter(|name| name.starts_with("gateway_key_access_total{")).count()
    };
    for n in 0..200 {
        bench.read(&format!("k{n}")).await;
        bench.read("hot").await;
    }
    let hot = r#"gateway_key_access_total{key="hot"}"#;
    until("the hot key is promoted", async || bench.metrics().await.contains_key(hot)).await;
    for _ in 0..50 {
        bench.read("hot").await;
    }
    bench.write("k1", json!({})).await;
    // Refused before the key is parsed, so neither counter includes it.
    for (path, body) in [("/data", "{"), ("/data", r#"{"key":"","value":{}}"#)] {
        bench.post(path, body).await.assert_error(400, if body.len() > 1 { "bad_key" } else { "bad_body" });
    }
    bench.get("/data/%FF").await.assert_error(400, "bad_key");
    let metrics = bench.metrics().await;
    assert!(series(&metrics) <= 20, "{metrics:?}");
    assert!(metrics[hot] >= 50.0);
    assert_eq!(access(&metrics), 451.0);
    assert_eq!(sum(&metrics, "gateway_requests_total"), 451.0);
}
