//! Tests every query of panels, rules and alerts under celebrity load.

use lab_tests::build::sized;
use lab_tests::dashboards::{Dashboard, Query};
use lab_tests::kernel;
use lab_tests::lab::{Lab, Options};
use lab_tests::prometheus::{self, Prometheus, numbers};
use lab_tests::{build, catalogue, poll};
use serde_json::{Value, json};
use std::time::{Duration, Instant};

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
    the_queries_answer(&prometheus).await;
    the_rules_are_sound(&prometheus).await;
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

/// Every query of every panel and annotation returns data, except exactly the listed ones.
async fn the_queries_answer(prometheus: &Prometheus) {
    let dashboards = Dashboard::all(&build::tree().root).unwrap();
    let queries: Vec<Query> = dashboards.iter().flat_map(Dashboard::queries).collect();
    let listed = |query: &Query| EMPTY.iter().any(|(panel, _)| query.panel == *panel);
    let (empty, full): (Vec<_>, Vec<_>) = queries.iter().partition(|query| listed(query));
    // Rates need two scrapes of every target. Windows need ten seconds.
    let answered = poll::until(Duration::from_secs(40), || async {
        for query in &full {
            let series = prometheus
                .series(&query.sent(), query.instant)
                .await
                .map_err(|why| format!("{query:?}: {why}"))?;
            if series.iter().all(|series| numbers(series).is_empty()) {
                return Err(format!("no data: {query:?}"));
            }
            named(query, &series);
        }
        Ok(())
    });
    answered.await.unwrap();
    for query in &empty {
        let series = prometheus.series(&query.sent(), query.instant).await.unwrap();
        assert!(series.is_empty(), "{query:?} is listed as empty and is not: {series:?}");
    }
    println!("{} of {} queries give data; rightly empty: {EMPTY:?}", full.len(), queries.len());
    let shards =
        prometheus.api("label/shard_id/values", &[("match[]", "shard_requests_total")]).await.unwrap();
    assert_eq!(shards, json!(["0", "1", "2", "3"]), "the variable $shard");
}

/// Checks that the series have every label in the legend.
fn named(query: &Query, series: &[Value]) {
    for label in query.legend.split("{{").skip(1).filter_map(|rest| rest.split("}}").next()) {
        // An alert has a shard label only if it concerns a shard.
        let there = series.iter().any(|series| series["metric"][label].is_string());
        assert!(there, "{query:?} has no label {label}: {series:?}");
    }
}

/// Every rule evaluates, recording rules return data, and alerts query existing series. Only HotPartition fires.
async fn the_rules_are_sound(prometheus: &Prometheus) {
    let data = prometheus.api("rules", &[]).await.unwrap();
    let groups = data["groups"].as_array().unwrap();
    let rules: Vec<&Value> = groups.iter().flat_map(|group| group["rules"].as_array().unwrap()).collect();
    let families = catalogue::services().unwrap().map(|service| service.families).concat();
    for rule in &rules {
        assert_eq!(rule["health"], "ok", "{rule}");
        let query = rule["query"].as_str().unwrap();
        let name = rule["name"].as_str().unwrap();
        if rule["type"] == "recording" || name == "HotPartition" {
            let series = prometheus.series(query, true).await.unwrap();
            assert!(series.iter().any(|series| !numbers(series).is_empty()), "{name} gives nothing");
            continue;
        }
        // On a busy machine a sample may be lost. The alert expression then stays true for a minute.
        let quiet = poll::until(Duration::from_secs(70), || async {
            let series = prometheus.series(query, true).await?;
            if series.is_empty() { Ok(()) } else { Err(format!("{name} has no reason to fire: {series:?}")) }
        });
        quiet.await.unwrap();
        let words = query.split(|c: char| !(c.is_ascii_alphanumeric() || c == '_'));
        for word in words.filter(|word| *word == "up" || families.iter().any(|family| family.name == *word)) {
            assert!(
                !prometheus.series(word, true).await.unwrap().is_empty(),
                "{name} asks for {word}, which is not there"
            );
        }
    }
    println!("{} rules are sound", rules.len());
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
