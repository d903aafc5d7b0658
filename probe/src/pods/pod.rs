//! Decodes the used fields of a pod.

use std::borrow::Cow;
use std::net::{IpAddr, SocketAddr};

use k8s_openapi::NamespaceResourceScope;
use k8s_openapi::apimachinery::pkg::apis::meta::v1::{ObjectMeta, Time};
use kube::Resource;
use serde::{Deserialize, Deserializer};

/// The label with a pod's index, which a StatefulSet sets from Kubernetes 1.28 on. Before, only the pod's name has the
/// index.
const INDEX: &str = "apps.kubernetes.io/pod-index";

/// The name of the port to use. Without a port of this name the first port is used.
const PORT: &str = "http";

/// The used fields of a pod. The other fields, several KiB, are dropped while the answer is decoded.
#[derive(Clone, Debug, Deserialize)]
pub(super) struct Pod {
    #[serde(deserialize_with = "used_metadata")]
    metadata: ObjectMeta,
    #[serde(default)]
    spec: Spec,
    #[serde(default)]
    status: Status,
}

#[derive(Clone, Debug, Default, Deserialize)]
#[serde(rename_all = "camelCase")]
struct Spec {
    #[serde(default)]
    node_name: String,
    #[serde(default)]
    containers: Vec<Container>,
}

#[derive(Clone, Debug, Deserialize)]
struct Container {
    #[serde(default)]
    ports: Vec<Port>,
}

#[derive(Clone, Debug, Deserialize)]
#[serde(rename_all = "camelCase")]
struct Port {
    name: Option<String>,
    container_port: u16,
}

#[derive(Clone, Debug, Default, Deserialize)]
#[serde(rename_all = "camelCase")]
struct Status {
    #[serde(default)]
    phase: String,
    start_time: Option<Time>,
    #[serde(default, rename = "podIPs")]
    pod_ips: Vec<PodIp>,
    #[serde(default)]
    conditions: Vec<Condition>,
}

#[derive(Clone, Debug, Deserialize)]
struct PodIp {
    ip: IpAddr,
}

#[derive(Clone, Debug, Deserialize)]
struct Condition {
    #[serde(rename = "type")]
    kind: String,
    status: String,
}

/// Keeps the fields of the metadata that this program or the watch reads.
fn used_metadata<'de, D: Deserializer<'de>>(deserializer: D) -> Result<ObjectMeta, D::Error> {
    #[derive(Deserialize)]
    #[serde(rename_all = "camelCase")]
    struct Used {
        name: String,
        uid: Option<String>,
        resource_version: Option<String>,
        #[serde(default)]
        labels: Labels,
        deletion_timestamp: Option<Time>,
    }
    #[derive(Default, Deserialize)]
    struct Labels {
        #[serde(rename = "apps.kubernetes.io/pod-index")]
        index: Option<String>,
    }
    let used = Used::deserialize(deserializer)?;
    Ok(ObjectMeta {
        name: Some(used.name),
        uid: used.uid,
        resource_version: used.resource_version,
        labels: used.labels.index.map(|index| [(INDEX.to_owned(), index)].into()),
        deletion_timestamp: used.deletion_timestamp,
        ..ObjectMeta::default()
    })
}

impl Resource for Pod {
    type DynamicType = ();
    type Scope = NamespaceResourceScope;

    fn kind((): &()) -> Cow<'_, str> {
        "Pod".into()
    }

    fn group((): &()) -> Cow<'_, str> {
        "".into()
    }

    fn version((): &()) -> Cow<'_, str> {
        "v1".into()
    }

    fn plural((): &()) -> Cow<'_, str> {
        "pods".into()
    }

    fn meta(&self) -> &ObjectMeta {
        &self.metadata
    }

    fn meta_mut(&mut self) -> &mut ObjectMeta {
        &mut self.metadata
    }
}

impl Pod {
    pub(super) fn name(&self) -> &str {
        self.metadata.name.as_deref().unwrap_or_default()
    }

    /// Differs between two pods that have the same name one after the other.
    pub(super) fn uid(&self) -> Option<&str> {
        self.metadata.uid.as_deref()
    }

    pub(super) fn node(&self) -> &str {
        &self.spec.node_name
    }

    /// The index in its StatefulSet.
    pub(super) fn index(&self) -> Option<usize> {
        let of_name = || self.name().rsplit_once('-').map(|(_, index)| index);
        let label = self.metadata.labels.as_ref().and_then(|labels| labels.get(INDEX));
        label.map(String::as_str).or_else(of_name)?.parse().ok()
    }

    /// Whether its containers have stopped for good. Its address may already be another pod's.
    pub(super) fn has_ended(&self) -> bool {
        matches!(self.status.phase.as_str(), "Succeeded" | "Failed")
    }

    /// Whether somebody has asked for its deletion. Its containers run until they have stopped.
    pub(super) fn is_deleting(&self) -> bool {
        self.metadata.deletion_timestamp.is_some()
    }

    pub(super) fn is_ready(&self) -> bool {
        self.status.conditions.iter().any(|condition| condition.kind == "Ready" && condition.status == "True")
    }

    /// When the node has accepted it.
    pub(super) fn started(&self) -> Option<&Time> {
        self.status.start_time.as_ref()
    }

    /// The addresses that it reports, the main one first.
    pub(super) fn addresses(&self) -> Result<Vec<SocketAddr>, String> {
        if self.has_ended() {
            return Ok(Vec::new());
        }
        let ports = || self.spec.containers.iter().flat_map(|container| &container.ports);
        let named = ports().find(|port| port.name.as_deref() == Some(PORT));
        let Some(port) = named.or_else(|| ports().next()) else {
            return Err(format!("its pod {} names no containerPort", self.name()));
        };
        Ok(self.status.pod_ips.iter().map(|pod| SocketAddr::new(pod.ip, port.container_port)).collect())
    }
}

#[cfg(test)]
pub(super) mod tests {
    use super::*;
    use serde_json::{Value, json};

    /// A pod as the API returns it, with fields that this program ignores.
    pub(in crate::pods) fn value(name: &str, phase: &str, ips: &[&str]) -> Value {
        let ips: Vec<_> = ips.iter().map(|ip| json!({"ip": ip})).collect();
        json!({
            "metadata": {"name": name, "uid": format!("uid of {name}"), "resourceVersion": "7",
                "creationTimestamp": "2026-01-01T00:00:00Z", "managedFields": [{"fieldsV1": {"f:spec": {}}}]},
            "spec": {"nodeName": "n-1", "containers": [
                {"name": "sidecar", "ports": [{"containerPort": 1}]},
                {"name": "shard", "ports": [{"name": "http", "containerPort": 9000, "protocol": "TCP"}]}
            ]},
            "status": {"phase": phase, "startTime": "2026-01-01T00:00:01Z", "podIP": ips.first(), "podIPs": ips,
                "conditions": [{"type": "Ready", "status": "True", "lastProbeTime": null}]}
        })
    }

    pub(in crate::pods) fn pod(value: Value) -> Pod {
        serde_json::from_value(value).unwrap()
    }

    fn shown(pod: &Pod) -> Vec<String> {
        pod.addresses().unwrap().iter().map(ToString::to_string).collect()
    }

    #[test]
    fn a_running_pod_has_addresses_of_both_families() {
        let pod = pod(value("shard-1", "Running", &["10.0.0.7", "fd00::7"]));
        assert_eq!(shown(&pod), ["10.0.0.7:9000", "[fd00::7]:9000"]);
        assert_eq!(
            (pod.index(), pod.node(), pod.is_ready(), pod.is_deleting()),
            (Some(1), "n-1", true, false)
        );
        assert!(pod.metadata.managed_fields.is_none());
    }

    #[test]
    fn the_label_counts_before_the_name() {
        let mut value = value("shard-1", "Running", &["10.0.0.7"]);
        value["metadata"]["labels"] = json!({INDEX: "0", "app": "shard"});
        assert_eq!(pod(value).index(), Some(0));
    }

    #[test]
    fn a_pod_that_ended_has_no_address_and_one_being_deleted_keeps_it() {
        for phase in ["Failed", "Succeeded"] {
            assert!(shown(&pod(value("shard-0", phase, &["10.0.0.7"]))).is_empty());
        }
        let mut deleting = value("shard-0", "Running", &["10.0.0.7"]);
        deleting["metadata"]["deletionTimestamp"] = "2026-01-01T00:00:02Z".into();
        let deleting = pod(deleting);
        assert!(deleting.is_deleting());
        assert_eq!(shown(&deleting), ["10.0.0.7:9000"]);
    }

    #[test]
    fn a_new_pod_has_neither_status_nor_node() {
        let pod = pod(json!({"metadata": {"name": "shard-0"}, "spec": {"containers": [{"name": "shard"}]}}));
        assert_eq!(pod.addresses(), Err("its pod shard-0 names no containerPort".to_owned()));
        assert_eq!((pod.node(), pod.is_ready(), pod.started()), ("", false, None));
    }
}
