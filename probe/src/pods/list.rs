//! Extracts the shards' addresses from a list of pods.

use std::net::{IpAddr, SocketAddr};

use serde::Deserialize;

use crate::targets::Lookup;

/// The label with a pod's index, which a StatefulSet sets from Kubernetes 1.28 on. Before, only the pod's name has the
/// index.
const INDEX: &str = "apps.kubernetes.io/pod-index";

/// The name of a shard's port. Without a port of this name the first port is used.
const PORT: &str = "http";

/// The used fields of a `PodList` of the core API.
#[derive(Debug, Deserialize)]
pub(super) struct PodList {
    items: Vec<Pod>,
}

#[derive(Debug, Deserialize)]
struct Pod {
    metadata: Metadata,
    spec: Spec,
    #[serde(default)]
    status: Status,
}

#[derive(Debug, Deserialize)]
struct Metadata {
    name: String,
    #[serde(default)]
    labels: std::collections::HashMap<String, String>,
}

#[derive(Debug, Deserialize)]
struct Spec {
    containers: Vec<Container>,
}

#[derive(Debug, Deserialize)]
struct Container {
    #[serde(default)]
    ports: Vec<Port>,
}

#[derive(Debug, Deserialize)]
#[serde(rename_all = "camelCase")]
struct Port {
    name: Option<String>,
    container_port: u16,
}

#[derive(Debug, Default, Deserialize)]
#[serde(rename_all = "camelCase")]
struct Status {
    #[serde(default)]
    phase: String,
    #[serde(default, rename = "podIPs")]
    pod_ips: Vec<PodIp>,
}

#[derive(Debug, Deserialize)]
struct PodIp {
    ip: IpAddr,
}

impl PodList {
    /// The addresses of each of `shards` shards. Another probe must watch a shard without a pod here.
    pub(super) fn lookups(&self, shards: usize, place: &str) -> Vec<Lookup> {
        let mut found: Vec<Lookup> = vec![Err(format!("it has no running pod {place}")); shards];
        for pod in &self.items {
            let Some(lookup) = pod.shard().and_then(|shard| found.get_mut(shard)) else { continue };
            match (pod.addresses(), lookup) {
                (Ok(more), Ok(addresses)) => addresses.extend(more),
                (Ok(addresses), lookup) if !addresses.is_empty() => *lookup = Ok(addresses),
                (Err(problem), lookup) => *lookup = Err(problem),
                (Ok(_), _) => {}
            }
        }
        found
    }

    /// The names of pods whose index is not a shard's id.
    pub(super) fn unknown_pods(&self, shards: usize) -> Vec<&str> {
        let is_one = |pod: &&Pod| pod.shard().is_none_or(|shard| shard >= shards);
        self.items.iter().filter(is_one).map(|pod| pod.metadata.name.as_str()).collect()
    }
}

impl Pod {
    fn shard(&self) -> Option<usize> {
        let of_name = || self.metadata.name.rsplit_once('-').map(|(_, index)| index);
        self.metadata.labels.get(INDEX).map(String::as_str).or_else(of_name)?.parse().ok()
    }

    /// Empty for a pod that has ended or has no address yet.
    fn addresses(&self) -> Result<Vec<SocketAddr>, String> {
        if matches!(self.status.phase.as_str(), "Succeeded" | "Failed") {
            return Ok(Vec::new());
        }
        let ports = || self.spec.containers.iter().flat_map(|container| &container.ports);
        let named = ports().find(|port| port.name.as_deref() == Some(PORT));
        let Some(port) = named.or_else(|| ports().next()) else {
            return Err(format!("its pod {} names no containerPort", self.metadata.name));
        };
        Ok(self.status.pod_ips.iter().map(|pod| SocketAddr::new(pod.ip, port.container_port)).collect())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn list(items: &serde_json::Value) -> PodList {
        // Include fields that the API returns and this program ignores.
        let list = serde_json::json!({"kind": "PodList", "apiVersion": "v1", "metadata": {"resourceVersion": "7"}, "items": items});
        serde_json::from_value(list).unwrap()
    }

    fn found(items: &serde_json::Value) -> Vec<Result<Vec<String>, String>> {
        let shown = |addresses: Vec<SocketAddr>| addresses.iter().map(ToString::to_string).collect();
        list(items).lookups(2, "on node n-1").into_iter().map(|lookup| lookup.map(shown)).collect()
    }

    fn pod(name: &str, phase: &str, ips: &[&str]) -> serde_json::Value {
        let ips: Vec<_> = ips.iter().map(|ip| serde_json::json!({"ip": ip})).collect();
        serde_json::json!({
            "metadata": {"name": name, "uid": "u"},
            "spec": {"nodeName": "n-1", "containers": [
                {"name": "sidecar", "ports": [{"containerPort": 1}]},
                {"name": "shard", "ports": [{"name": "http", "containerPort": 9000, "protocol": "TCP"}]}
            ]},
            "status": {"phase": phase, "podIP": ips.first(), "podIPs": ips}
        })
    }

    #[test]
    fn running_pods_are_where_their_shards_are_in_both_families() {
        let two = pod("shard-1", "Running", &["10.0.0.7", "fd00::7"]);
        let none = "it has no running pod on node n-1".to_owned();
        let here = Ok(vec!["10.0.0.7:9000".to_owned(), "[fd00::7]:9000".to_owned()]);
        assert_eq!(found(&serde_json::json!([two])), [Err(none), here]);
    }

    #[test]
    fn the_label_counts_before_the_name() {
        let mut pod = pod("shard-1", "Running", &["10.0.0.7"]);
        pod["metadata"]["labels"] = serde_json::json!({INDEX: "0"});
        assert!(found(&serde_json::json!([pod]))[0].is_ok());
    }

    #[test]
    fn pods_that_ended_or_have_no_address_yet_are_nowhere() {
        let pods = serde_json::json!([
            pod("shard-0", "Failed", &["10.0.0.7"]),
            pod("shard-0", "Pending", &[]),
            pod("shard-1", "Succeeded", &["10.0.0.8"])
        ]);
        assert!(found(&pods).iter().all(Result::is_err));
        // A pod that has ended does not hide one that runs.
        let pods = serde_json::json!([
            pod("shard-0", "Running", &["10.0.0.9"]),
            pod("shard-0", "Failed", &["10.0.0.7"])
        ]);
        assert_eq!(found(&pods)[0], Ok(vec!["10.0.0.9:9000".to_owned()]));
    }

    #[test]
    fn a_pod_without_a_port_is_named_and_strangers_are() {
        let mut without = pod("shard-0", "Running", &["10.0.0.7"]);
        without["spec"]["containers"] = serde_json::json!([{"name": "shard"}]);
        let pods = serde_json::json!([without, pod("shard-2", "Running", &[]), pod("other", "Running", &[])]);
        assert_eq!(found(&pods)[0], Err("its pod shard-0 names no containerPort".to_owned()));
        assert_eq!(list(&pods).unknown_pods(2), ["shard-2", "other"]);
    }
}
