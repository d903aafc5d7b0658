//! Sends the queries of all dashboards to a Prometheus in the cluster.

use std::fs;
use std::time::Duration;

use anyhow::{Context as _, Result};
use serde_json::Value;

use super::listed;
use crate::cluster_test::generator::Load;
use crate::cluster_test::lab::Lab;
use crate::cluster_test::pods::{Pod, pods};
use crate::cluster_test::scrape;
use crate::cluster_test::wait::pass;
use crate::verdicts::Verdicts;

const MANIFEST: &str = include_str!("../manifests/prometheus.yaml");
const NAMESPACE: &str = "monitoring";
const PORT: u16 = 9090;

/// Prometheus must be ready within this time.
const READY_WITHIN: Duration = Duration::from_secs(60);

/// Time under load before the queries: for rates over 20 s, and for alerts.
const LOAD: Duration = Duration::from_secs(75);

/// The dashboard of a store, which this cluster has not.
const OF_STORE: &str = "any-store.json";

/// Panels that may be empty in a celebrity run with the overlay's settings, with the reason.
const EMPTY: [(&str, &str); 7] = [
    ("Round-Trip Time p95", "RTT is off by default"),
    ("Kernel Programs: Time per Run", PROGRAM_STATS),
    ("Kernel Programs: Runs", PROGRAM_STATS),
    ("Kernel Programs: Share of One Core", PROGRAM_STATS),
    ("Gap at the Last Restart", "the probes have no pinned set"),
    ("Spans by Outcome", "there is no collector of traces"),
    ("Errors by Kind", "nothing fails"),
];
const PROGRAM_STATS: &str = "PROGRAM_STATS is off by default";

/// One query of a panel.
struct Query {
    panel: String,
    expression: String,
}

pub(crate) fn run(lab: &mut Lab<'_>, verdicts: &mut Verdicts) -> Result<()> {
    let prometheus = start(lab)?;
    let load = Load::start(lab, &["run", "celebrity", "--duration", "300"])?;
    pass("celebrity load", LOAD)?;
    let (queries, mut problems, mut reasons) = (queries(lab)?, Vec::new(), Vec::new());
    for query in &queries {
        if !ask(lab, &prometheus, &query.expression)?.is_empty() {
            continue;
        }
        match EMPTY.iter().find(|(panel, _)| *panel == query.panel) {
            Some((panel, reason)) => reasons.push(format!("{panel:?} is empty: {reason}")),
            None => problems.push(format!("{:?} has NO data: {}", query.panel, query.expression)),
        }
    }
    let figure = format!("{} queries{}{}", queries.len(), listed(&reasons), listed(&problems));
    verdicts.report("every panel's query has data", problems.is_empty(), &figure);
    let firing = ask(lab, &prometheus, "ALERTS{alertname=\"HotPartition\",alertstate=\"firing\"}")?;
    // The load was needed until now.
    drop(load);
    let series: Vec<String> = firing
        .iter()
        .map(|series| format!("at {}, shard {}", series["metric"]["pod"], series["metric"]["shard_id"]))
        .collect();
    verdicts.report(
        "HotPartition fires once",
        firing.len() == 1,
        &format!("{} times{}", firing.len(), listed(&series)),
    );
    Ok(())
}

/// Starts Prometheus with the configuration of the PodMonitors, and the rules.
fn start(lab: &Lab<'_>) -> Result<Pod> {
    let monitors = lab.cluster.kubectl(&["get", "podmonitors", "-A", "-ojson"])?;
    let monitors: Value = serde_json::from_str(&monitors).context("kubectl returned unexpected JSON")?;
    let folder = lab.cluster.state().join("prometheus");
    fs::create_dir_all(&folder)?;
    fs::write(folder.join("prometheus.yml"), scrape::configuration(&monitors)?.to_string())?;
    for rules in ["recording", "alerts"] {
        let source = lab.tree.root.join(format!("deploy/prometheus/rules/{rules}.yml"));
        fs::copy(&source, folder.join(format!("{rules}.rules.yml")))
            .with_context(|| source.display().to_string())?;
    }
    lab.cluster.apply("prometheus", MANIFEST)?;
    let from = format!("--from-file={}", folder.display());
    lab.cluster.kubectl(&["-n", NAMESPACE, "create", "configmap", "prometheus", &from])?;
    lab.cluster.rolled_out(NAMESPACE, "deployment/prometheus")?;
    let found = pods(&lab.cluster, NAMESPACE, "app=prometheus")?;
    let pod = found.into_iter().next().context("Prometheus has no pod")?;
    lab.until("Prometheus", READY_WITHIN, |lab| Ok(lab.text(&pod, PORT, "/-/ready").is_ok()))?;
    Ok(pod)
}

/// The queries of all panels, as Grafana sends them with all shards selected.
fn queries(lab: &Lab<'_>) -> Result<Vec<Query>> {
    let mut queries = Vec::new();
    for entry in fs::read_dir(lab.tree.root.join("grafana/dashboards"))? {
        let file = entry?.path();
        if file.ends_with(OF_STORE) {
            continue;
        }
        let board: Value = serde_json::from_str(&fs::read_to_string(&file)?)?;
        let mut panels: Vec<&Value> = board["panels"].as_array().into_iter().flatten().collect();
        while let Some(panel) = panels.pop() {
            panels.extend(panel["panels"].as_array().into_iter().flatten());
            for target in panel["targets"].as_array().into_iter().flatten() {
                let expression = target["expr"].as_str().context("a target without a query")?;
                queries.push(Query {
                    panel: panel["title"].as_str().unwrap_or_default().to_owned(),
                    expression: expression.replace("$__rate_interval", "20s").replace("$shard", ".*"),
                });
            }
        }
    }
    Ok(queries)
}

fn ask(lab: &Lab<'_>, prometheus: &Pod, expression: &str) -> Result<Vec<Value>> {
    let path = format!("/api/v1/query?query={}", encoded(expression));
    let answer: Value = lab.read(prometheus, PORT, &path).with_context(|| expression.to_owned())?;
    let result = answer["data"]["result"].as_array().context("Prometheus returned no result")?;
    // A ratio of nothing is not data.
    Ok(result.iter().filter(|series| series["value"][1] != "NaN").cloned().collect())
}

/// `text` for the query part of a URL.
fn encoded(text: &str) -> String {
    text.bytes()
        .map(|byte| match byte {
            b'a'..=b'z' | b'A'..=b'Z' | b'0'..=b'9' | b'_' | b'-' | b'.' => char::from(byte).to_string(),
            other => format!("%{other:02X}"),
        })
        .collect()
}

#[cfg(test)]
mod tests {
    #[test]
    fn a_query_is_encoded_for_a_url() {
        assert_eq!(super::encoded("up{job=\"a\"} > 1"), "up%7Bjob%3D%22a%22%7D%20%3E%201");
    }
}
