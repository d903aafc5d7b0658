//! Sends every query of dashboards and rules to a Prometheus.

use lab_tests::dashboards::{Dashboard, Query};
use lab_tests::prometheus::{Prometheus, numbers};
use lab_tests::{build, catalogue, poll};
use serde_json::Value;
use std::time::Duration;

/// The dashboard that shows a Redis or Valkey in place of the lab.
pub(crate) const STORE_DASHBOARD: &str = "Any Store";

/// The group of alerts on it.
pub(crate) const STORE_RULES: &str = "store";

/// Every query of every panel and annotation returns data, except exactly those of the `empty` panels.
pub(crate) async fn answer(
    prometheus: &Prometheus,
    tested: impl Fn(&Dashboard) -> bool,
    empty: &[(&str, &str)],
) {
    let mut dashboards = Dashboard::all(&build::tree().root).unwrap();
    dashboards.retain(tested);
    let queries: Vec<Query> = dashboards.iter().flat_map(Dashboard::queries).collect();
    let listed = |query: &Query| empty.iter().any(|(panel, _)| query.panel == *panel);
    let (quiet, full): (Vec<_>, Vec<_>) = queries.iter().partition(|query| listed(query));
    assert!(
        !full.is_empty() && empty.len() <= quiet.len(),
        "{} queries, of these empty: {empty:?}",
        full.len()
    );
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
    for query in &quiet {
        let series = prometheus.series(&query.sent(), query.instant).await.unwrap();
        assert!(series.is_empty(), "{query:?} is listed as empty and is not: {series:?}");
    }
    println!("{} of {} queries give data; rightly empty: {empty:?}", full.len(), queries.len());
}

/// Checks that the series have every label in the legend.
fn named(query: &Query, series: &[Value]) {
    for label in query.legend.split("{{").skip(1).filter_map(|rest| rest.split("}}").next()) {
        // An alert has a shard label only if it concerns a shard.
        let there = series.iter().any(|series| series["metric"][label].is_string());
        assert!(there, "{query:?} has no label {label}: {series:?}");
    }
}

/// Every rule of the tested groups evaluates, recording rules return data, and alerts query existing series. Only `loud`
/// has a reason to fire.
pub(crate) async fn rules_are_sound(prometheus: &Prometheus, tested: impl Fn(&str) -> bool, loud: &str) {
    let data = prometheus.api("rules", &[]).await.unwrap();
    let groups = data["groups"].as_array().unwrap();
    let groups = groups.iter().filter(|group| group["name"].as_str().is_some_and(&tested));
    let rules: Vec<&Value> = groups.flat_map(|group| group["rules"].as_array().unwrap()).collect();
    let families = catalogue::services().unwrap().map(|service| service.families).concat();
    assert!(rules.iter().any(|rule| rule["name"] == loud), "{loud} is tested");
    for rule in &rules {
        assert_eq!(rule["health"], "ok", "{rule}");
        let query = rule["query"].as_str().unwrap();
        let name = rule["name"].as_str().unwrap();
        if rule["type"] == "recording" || name == loud {
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
