//! Tests every query of the lab's panels, rules and alerts under celebrity load.

use lab_tests::build::sized;
use lab_tests::kernel;
use lab_tests::lab::{Lab, Options};
use lab_tests::prometheus::{self, Prometheus, numbers};
use lab_tests::{catalogue, poll};
use serde_json::json;
use std::time::{Duration, Instant};

use crate::queries::{self, STORE_DASHBOARD, STORE_RULES};

/// The celebrity's home is shard 0.
const CELEBRITY: &str = "celebrity-user-kardashian";

/// Queries that must return no data under celebrity load, with the reason. A test checks that they do.
const EMPTY: [(&str, &str); 4] = [
    ("Errors by Kind", "nothing fails"),
    ("Spans by Outcome", "the lab has no collector of traces"),
    ("Gap at the Last Restart", "the probe has no pinned set"),
    ("Witnesses disagree", "they agree"),
];

#[tokio::test(flavor = "multi_thread")]
async fn every_query_of_dashboards_rules_and_alerts_answers_under_celebrity_load() {
    let name = "every_query_of_dashboards_rules_and_alerts_answers_under_celebrity_load";
    if !kernel::available(name) || !prometheus::available(name, "prometheus") {
        return;
    }
    let shard = vec![("BASE_LATENCY_MS", "15".to_owned()), ("SHARD_CONCURRENCY", "2".to_owned())];
    // These features are off by default and have their own panels.
    let probe_settings = ["RTT", "PROGRAM_STATS"].map(|name| (name, "on".to_owned())).into();
    let lab = Lab::start(Options { probe: true, probe_settings, shard, ..Options::default() }).await;
    let prometheus = Prometheus::start(&lab).await;
    let load = lab.load_started(&["run", "celebrity", "--duration", "300"]);
    the_alert_fires(&lab, &prometheus).await;
    queries::answer(&prometheus, |dashboard| dashboard.title != STORE_DASHBOARD, &EMPTY).await;
    let shards =
        prometheus.api("label/shard_id/values", &[("match[]", "shard_requests_total")]).await.unwrap();
    assert_eq!(shards, json!(["0", "1", "2", "3"]), "the variable $shard");
    queries::rules_are_sound(&prometheus, |group| group != STORE_RULES, "HotPartition").await;
    the_metrics_are_those_documented(&lab).await;
    the_alert_resolves(&lab, &prometheus).await;
    drop(load);
}

#[tokio::test(flavor = "multi_thread")]
async fn uniform_load_fires_nothing() {
    let name = "uniform_load_fires_nothing";
    if !kernel::available(name) || !prometheus::available(name, "prometheus") {
        return;
    }
    let lab = Lab::start(Options { probe: true, ..Options::default() }).await;
    let prometheus = Prometheus::start(&lab).await;
    let mut load = lab.load_started(&["run", "uniform", "--duration", sized("15", "300")]);
    while load.is_running() {
        let alerts = prometheus.api("alerts", &[]).await.unwrap();
        let firing = alerts["alerts"].as_array().unwrap().iter().find(|alert| alert["state"] == "firing");
        assert_eq!(firing, None);
        tokio::time::sleep(Duration::from_secs(1)).await;
    }
    let balanced =
        prometheus.series("max_over_time(hot_partition_state{state=\"balanced\"}[10m])", true).await.unwrap();
    assert!(balanced.iter().any(|series| numbers(series) == [1.0]), "there was a verdict: {balanced:?}");
}

/// HotPartition fires within half a minute of load. It has the right key and shard, and fires for no other shard.
async fn the_alert_fires(lab: &Lab, prometheus: &Prometheus) {
    let loaded = poll::until(Duration::from_secs(20), || async {
        if lab.gateway_stats().await.total_requests > 0 { Ok(()) } else { Err("no load".to_owned()) }
    });
    loaded.await.unwrap();
    let begun = Instant::now();
    let alert = poll::until(Duration::from_secs(30), || async {
        let alerts = prometheus.firing("HotPartition").await?;
        if alerts.is_empty() { Err(prometheus.api("alerts", &[]).await?.to_string()) } else { Ok(alerts) }
    });
    let alerts = alert.await.unwrap();
    println!("HotPartition fired {:.1} s after the load began", begun.elapsed().as_secs_f64());
    assert_eq!(alerts.len(), 1, "{alerts:?}");
    assert_eq!(alerts[0]["labels"]["shard_id"], "0");
    let summary = format!("Shard 0 is hot: key \"{CELEBRITY}\"");
    assert_eq!(alerts[0]["annotations"]["summary"], summary.as_str());
}

/// With the cache on, the alert resolves, and most reads are hits.
async fn the_alert_resolves(lab: &Lab, prometheus: &Prometheus) {
    let on = lab.client.post(lab.at_gateway("/admin/cache")).json(&json!({"enabled": true}));
    assert_eq!(on.send().await.unwrap().status(), 200);
    let begun = Instant::now();
    let resolved = poll::until(Duration::from_secs(60), || async {
        let alerts = prometheus.firing("HotPartition").await?;
        if alerts.is_empty() { Ok(()) } else { Err(format!("{alerts:?}")) }
    });
    resolved.await.unwrap();
    println!("HotPartition resolved {:.1} s after the cache was switched on", begun.elapsed().as_secs_f64());
    let hits = prometheus
        .series("sum(rate(gateway_cache_hits_total[20s])) / sum(rate(gateway_requests_total[20s]))", true);
    let hits = hits.await.unwrap();
    assert!(numbers(&hits[0])[0] > 0.5, "{hits:?}");
}

/// The exposed metrics match docs/metrics.md, and promtool reports no problem.
async fn the_metrics_are_those_documented(lab: &Lab) {
    let services = catalogue::services().unwrap();
    let probe = lab.probe_addr();
    let mut places =
        vec![("api-gateway", lab.at_gateway("/metrics")), ("probe", format!("http://{probe}/metrics"))];
    places.extend((0..lab.shards.len()).map(|id| ("shard-", lab.at_shard(id, "/metrics"))));
    for (job, url) in places {
        let text = lab.client.get(&url).send().await.unwrap().text().await.unwrap();
        let families = &services.iter().find(|service| service.job == job).unwrap().families;
        let series = catalogue::exposed(&text, families).unwrap_or_else(|why| panic!("{url}: {why}"));
        assert!(series > 10, "{url} has {series} series");
        prometheus::check_metrics(&text).unwrap_or_else(|why| panic!("{url}: promtool check metrics: {why}"));
    }
}
