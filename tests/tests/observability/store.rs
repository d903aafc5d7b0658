//! Tests every query of the store's panels and alerts on a Redis Cluster under celebrity load.

use ::lab::Probe;
use lab_tests::kernel;
use lab_tests::poll;
use lab_tests::prometheus::{self, Prometheus};
use lab_tests::store_lab::StoreLab;
use serde_json::Value;
use std::time::{Duration, Instant};

use crate::queries::{self, STORE_DASHBOARD, STORE_RULES};

/// Queries that must return no data under celebrity load, with the reason. A test checks that they do.
const EMPTY: [(&str, &str); 1] = [("Node failed", "all nodes run")];

#[tokio::test(flavor = "multi_thread")]
async fn every_query_of_the_store_answers_under_celebrity_load() {
    let name = "every_query_of_the_store_answers_under_celebrity_load";
    if !kernel::available(name) || !prometheus::available(name, "prometheus") || !StoreLab::available(name) {
        return;
    }
    let lab = StoreLab::start(Probe::default()).await;
    let prometheus = Prometheus::of(&lab.targets().unwrap()).await;
    let load = lab.load_started(&["run", "celebrity", "--duration", "300"]);
    the_alert_fires(&lab, &prometheus).await;
    queries::answer(&prometheus, |dashboard| dashboard.title == STORE_DASHBOARD, &EMPTY).await;
    queries::rules_are_sound(&prometheus, |group| group == STORE_RULES, "StoreHot").await;
    the_metrics_are_sound(&lab).await;
    drop(load);
    a_dead_primary_is_reported(lab, &prometheus).await;
}

/// StoreHot fires within half a minute of load, with key and slot. Nothing else fires.
async fn the_alert_fires(lab: &StoreLab, prometheus: &Prometheus) {
    let begun = Instant::now();
    let alert = poll::until(Duration::from_secs(40), || async {
        let alerts = prometheus.firing("StoreHot").await?;
        if alerts.is_empty() { Err(prometheus.api("alerts", &[]).await?.to_string()) } else { Ok(alerts) }
    });
    let alerts = alert.await.unwrap();
    println!("StoreHot fired {:.1} s after the load was started", begun.elapsed().as_secs_f64());
    assert_eq!(alerts.len(), 1, "{alerts:?}");
    let summary = alerts[0]["annotations"]["summary"].as_str().unwrap();
    let key = &lab.answer().await["keys"][0];
    let place = format!("in slot {} of shard {}", key["slot"], key["shard_id"]);
    assert!(summary.contains("key \"celebrity-user-kardashian\"") && summary.contains(&place), "{summary}");
    let all = prometheus.api("alerts", &[]).await.unwrap();
    let others = |alert: &&Value| alert["labels"]["alertname"] != "StoreHot" && alert["state"] == "firing";
    assert_eq!(all["alerts"].as_array().unwrap().iter().find(others), None);
}

/// promtool reports no problem, and the series are bounded.
async fn the_metrics_are_sound(lab: &StoreLab) {
    let text = lab.metrics().await;
    prometheus::check_metrics(&text).unwrap();
    let series = |name: &str| text.lines().filter(|line| line.starts_with(name)).count();
    assert_eq!((series("probe_store_key_share{"), series("probe_store_result{")), (20, 3), "{text}");
    assert_eq!(series("probe_store_node{"), 6);
}

/// A killed primary is named by the answer and by an alert; the cluster goes on, and so does the probe.
async fn a_dead_primary_is_reported(mut lab: StoreLab, prometheus: &Prometheus) {
    let address = lab.nodes[0].address().unwrap().to_string();
    lab.nodes[0].kill();
    let failed = poll::until(Duration::from_secs(60), || async {
        let answer = lab.answer().await;
        let nodes = answer["nodes"].as_array().unwrap();
        let is_failed = nodes.iter().any(|node| node["address"] == *address && node["role"] == "failed");
        let primaries = nodes.iter().filter(|node| node["role"] == "primary").count();
        if is_failed && primaries == 3 { Ok(()) } else { Err(answer.to_string()) }
    });
    failed.await.unwrap();
    let fires = poll::until(Duration::from_secs(60), || async {
        let alerts = prometheus.firing("StoreNodeFailed").await?;
        let named = alerts.iter().any(|alert| alert["labels"]["address"] == *address);
        if named { Ok(()) } else { Err(format!("{alerts:?}")) }
    });
    fires.await.unwrap();
}
