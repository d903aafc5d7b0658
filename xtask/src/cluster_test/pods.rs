//! Lists pods.

use anyhow::{Context as _, Result};
use serde::Deserialize;
use std::collections::BTreeMap;

use super::cluster::Cluster;

/// A pod that is not being stopped.
#[derive(Debug, Clone)]
pub(crate) struct Pod {
    pub(crate) name: String,
    pub(crate) node: String,
    pub(crate) address: String,
    pub(crate) uid: String,
    pub(crate) ready: bool,
}

#[derive(Deserialize)]
struct List {
    items: Vec<Object>,
}

#[derive(Deserialize)]
struct Object {
    metadata: Metadata,
    #[serde(default)]
    spec: Spec,
    #[serde(default)]
    status: Status,
}

#[derive(Deserialize)]
#[serde(rename_all = "camelCase")]
struct Metadata {
    name: String,
    uid: String,
    deletion_timestamp: Option<String>,
}

#[derive(Deserialize, Default)]
#[serde(rename_all = "camelCase")]
struct Spec {
    #[serde(default)]
    node_name: String,
}

#[derive(Deserialize, Default)]
#[serde(rename_all = "camelCase")]
struct Status {
    #[serde(default, rename = "podIP")]
    pod_ip: String,
    #[serde(default)]
    phase: String,
    #[serde(default)]
    conditions: Vec<BTreeMap<String, serde_json::Value>>,
}

/// The pods of `namespace` with these labels.
///
/// # Errors
/// When the API server does not answer.
pub(crate) fn pods(cluster: &Cluster, namespace: &str, labels: &str) -> Result<Vec<Pod>> {
    parse(&cluster.kubectl(&["-n", namespace, "get", "pods", "-l", labels, "-ojson"])?)
}

/// The pods in kubectl's JSON list that are not being stopped.
///
/// # Errors
/// When it has another form.
pub(crate) fn parse(json: &str) -> Result<Vec<Pod>> {
    let list: List = serde_json::from_str(json).context("kubectl returned unexpected JSON")?;
    let current = list.items.into_iter().filter(|pod| {
        pod.metadata.deletion_timestamp.is_none()
            && !matches!(pod.status.phase.as_str(), "Failed" | "Succeeded")
    });
    Ok(current
        .map(|pod| Pod {
            ready: pod.status.conditions.iter().any(|one| one["type"] == "Ready" && one["status"] == "True"),
            name: pod.metadata.name,
            node: pod.spec.node_name,
            address: pod.status.pod_ip,
            uid: pod.metadata.uid,
        })
        .collect())
}

#[cfg(test)]
mod tests {
    use super::parse;

    #[test]
    fn a_pod_that_is_being_stopped_does_not_count() {
        let pods = parse(
            r#"{"items":[
            {"metadata":{"name":"a","uid":"1"},"spec":{"nodeName":"n"},"status":{"podIP":"10.0.0.1","phase":"Running",
             "conditions":[{"type":"Ready","status":"True"}]}},
            {"metadata":{"name":"b","uid":"2","deletionTimestamp":"2026-11-30T00:00:00Z"}},
            {"metadata":{"name":"c","uid":"3"},"status":{"phase":"Pending"}}]}"#,
        )
        .unwrap();
        let seen: Vec<(&str, bool)> = pods.iter().map(|pod| (pod.name.as_str(), pod.ready)).collect();
        assert_eq!(seen, [("a", true), ("c", false)]);
    }
}
