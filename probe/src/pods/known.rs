//! Keeps the pods of a watch, and decides which pod an address belongs to.
//!
//! A node gives an address to another pod once the containers of the first one have stopped. The API may report the new
//! pod's address before the end of the first one, because the node reports each pod's status separately. So two pods
//! may name the same address. It then belongs to the pod that reported it last.

use std::cmp::Reverse;
use std::collections::{BTreeMap, HashMap};
use std::net::SocketAddr;
use std::sync::Arc;

use super::found::FoundPod;
use super::pod::Pod;

/// The pods, by name.
#[derive(Debug, Default)]
pub(super) struct Known {
    pods: BTreeMap<String, KnownPod>,
    /// Incremented for each address that a pod reports for the first time.
    reports: u64,
}

#[derive(Debug)]
struct KnownPod {
    uid: Option<String>,
    found: FoundPod,
    /// For each address the number of the pod's first report of it.
    since: Vec<u64>,
}

impl Known {
    /// Adds or changes a pod.
    pub(super) fn apply(&mut self, pod: &Pod) {
        let before = self.pods.remove(pod.name());
        self.insert(pod, before.as_ref());
    }

    /// Removes a pod. A newer pod of the same name stays.
    pub(super) fn delete(&mut self, pod: &Pod) {
        if self.pods.get(pod.name()).is_some_and(|known| known.uid.as_deref() == pod.uid()) {
            self.pods.remove(pod.name());
        }
    }

    /// Replaces all pods by those of a list. A list does not show the order of events, so the pod that started last
    /// comes last, and pods being deleted come first.
    pub(super) fn replace(&mut self, mut list: Vec<Pod>) {
        let before = std::mem::take(&mut self.pods);
        list.sort_by(|one, other| {
            let order = |pod: &Pod| (Reverse(pod.is_deleting()), pod.started().map(|time| time.0));
            order(one).cmp(&order(other))
        });
        for pod in list {
            self.insert(&pod, before.get(pod.name()));
        }
    }

    fn insert(&mut self, pod: &Pod, before: Option<&KnownPod>) {
        if pod.has_ended() {
            return;
        }
        let before = before.filter(|before| before.uid.as_deref() == pod.uid());
        let since = |address: &SocketAddr| {
            let before = before?;
            let mut reports = before.found.addresses.iter().flatten().zip(&before.since);
            reports.find_map(|(known, since)| (known == address).then_some(*since))
        };
        let addresses = pod.addresses();
        let since = addresses.iter().flatten().map(|address| {
            since(address).unwrap_or_else(|| {
                self.reports += 1;
                self.reports
            })
        });
        let known = KnownPod {
            uid: pod.uid().map(ToOwned::to_owned),
            since: since.collect(),
            found: FoundPod {
                name: pod.name().to_owned(),
                node: pod.node().to_owned(),
                index: pod.index(),
                addresses,
                is_ready: pod.is_ready(),
            },
        };
        self.pods.insert(pod.name().to_owned(), known);
    }

    /// The pods, each with the addresses that belong to it.
    pub(super) fn found(&self) -> Arc<[FoundPod]> {
        let mut owners: HashMap<SocketAddr, (u64, &str)> = HashMap::new();
        for known in self.pods.values() {
            for (address, since) in known.found.addresses.iter().flatten().zip(&known.since) {
                let owner = owners.entry(*address).or_default();
                *owner = (*owner).max((*since, &known.found.name));
            }
        }
        let found = self.pods.values().map(|KnownPod { found, .. }| {
            let owner = |address: &SocketAddr| owners.get(address).map_or("", |(_, name)| *name);
            let Ok(reported) = &found.addresses else { return found.clone() };
            let own: Vec<_> =
                reported.iter().filter(|address| owner(address) == found.name).copied().collect();
            let addresses = match reported.first() {
                Some(first) if own.is_empty() => Err(format!(
                    "the address {} of its pod {} now belongs to pod {}",
                    first.ip(),
                    found.name,
                    owner(first)
                )),
                _ => Ok(own),
            };
            FoundPod { addresses, ..found.clone() }
        });
        found.collect()
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::pods::pod::tests::{pod, value};

    /// Each pod's addresses, or `None` when they belong to another pod.
    fn owned(known: &Known) -> Vec<(String, Option<Vec<String>>)> {
        let shown = |addresses: &Vec<SocketAddr>| addresses.iter().map(|at| at.ip().to_string()).collect();
        let found = known.found();
        found.iter().map(|pod| (pod.name.clone(), pod.addresses.as_ref().ok().map(shown))).collect()
    }

    fn is_at(name: &str, ip: &str) -> (String, Option<Vec<String>>) {
        (name.to_owned(), Some(vec![ip.to_owned()]))
    }

    fn has_none(name: &str) -> (String, Option<Vec<String>>) {
        (name.to_owned(), None)
    }

    fn running(name: &str, ip: &str) -> Pod {
        pod(value(name, "Running", &[ip]))
    }

    #[test]
    fn an_address_belongs_to_the_pod_that_reported_it_last() {
        let mut known = Known::default();
        known.apply(&running("shard-0", "10.0.0.1"));
        known.apply(&running("shard-1", "10.0.0.1"));
        assert_eq!(owned(&known), [has_none("shard-0"), is_at("shard-1", "10.0.0.1")]);
        let problem = known.found()[0].addresses.clone().unwrap_err();
        assert_eq!(problem, "the address 10.0.0.1 of its pod shard-0 now belongs to pod shard-1");
        // A late report of the first pod does not take the address back.
        known.apply(&running("shard-0", "10.0.0.1"));
        assert_eq!(owned(&known), [has_none("shard-0"), is_at("shard-1", "10.0.0.1")]);
        // The first pod has got a new address, and later gets the old one again.
        known.apply(&running("shard-0", "10.0.0.2"));
        assert_eq!(owned(&known), [is_at("shard-0", "10.0.0.2"), is_at("shard-1", "10.0.0.1")]);
        known.apply(&running("shard-0", "10.0.0.1"));
        assert_eq!(owned(&known), [is_at("shard-0", "10.0.0.1"), has_none("shard-1")]);
    }

    #[test]
    fn a_pod_that_ended_or_is_deleted_has_no_address() {
        let mut known = Known::default();
        known.apply(&running("shard-0", "10.0.0.1"));
        known.apply(&pod(value("shard-0", "Succeeded", &["10.0.0.1"])));
        assert_eq!(owned(&known), []);
        known.apply(&running("shard-0", "10.0.0.1"));
        known.delete(&pod(value("shard-0", "Running", &["10.0.0.1"])));
        assert_eq!(owned(&known), []);
    }

    #[test]
    fn a_pod_being_deleted_keeps_its_address_until_another_pod_reports_it() {
        let mut deleting = value("shard-0", "Running", &["10.0.0.1"]);
        deleting["metadata"]["deletionTimestamp"] = "2026-01-01T00:00:02Z".into();
        let mut known = Known::default();
        known.apply(&running("shard-0", "10.0.0.1"));
        known.apply(&pod(deleting.clone()));
        assert_eq!(owned(&known), [is_at("shard-0", "10.0.0.1")]);
        known.apply(&running("shard-1", "10.0.0.1"));
        assert_eq!(owned(&known), [has_none("shard-0"), is_at("shard-1", "10.0.0.1")]);
    }

    #[test]
    fn the_end_of_an_older_pod_leaves_the_one_of_the_same_name() {
        let mut known = Known::default();
        known.apply(&running("shard-0", "10.0.0.1"));
        let mut next = value("shard-0", "Running", &["10.0.0.2"]);
        next["metadata"]["uid"] = "another".into();
        known.apply(&pod(next));
        known.delete(&running("shard-0", "10.0.0.1"));
        assert_eq!(owned(&known), [is_at("shard-0", "10.0.0.2")]);
    }

    #[test]
    fn a_list_keeps_the_order_of_earlier_reports() {
        let mut known = Known::default();
        known.apply(&running("shard-1", "10.0.0.1"));
        known.apply(&running("shard-0", "10.0.0.1"));
        // Both started at the same time, so only the earlier reports decide.
        known.replace(vec![running("shard-0", "10.0.0.1"), running("shard-1", "10.0.0.1")]);
        assert_eq!(owned(&known), [is_at("shard-0", "10.0.0.1"), has_none("shard-1")]);
        // The list shows a pod whose first report was missed.
        known.replace(vec![running("shard-2", "10.0.0.1"), running("shard-0", "10.0.0.1")]);
        assert_eq!(owned(&known), [has_none("shard-0"), is_at("shard-2", "10.0.0.1")]);
    }

    #[test]
    fn in_a_first_list_the_pod_that_started_last_has_the_address() {
        let mut older = value("shard-1", "Running", &["10.0.0.1"]);
        older["status"]["startTime"] = "2025-12-31T00:00:00Z".into();
        let mut deleting = value("shard-2", "Running", &["10.0.0.1"]);
        deleting["metadata"]["deletionTimestamp"] = "2026-01-01T00:00:09Z".into();
        deleting["status"]["startTime"] = "2026-01-01T00:00:09Z".into();
        let mut known = Known::default();
        known.replace(vec![pod(deleting), running("shard-0", "10.0.0.1"), pod(older)]);
        assert_eq!(owned(&known), [is_at("shard-0", "10.0.0.1"), has_none("shard-1"), has_none("shard-2")]);
    }

    #[test]
    fn pods_of_a_nodes_network_share_its_address_with_other_ports() {
        let mut other = value("gateway-1", "Running", &["10.0.0.1"]);
        other["spec"]["containers"][1]["ports"][0]["containerPort"] = 8000.into();
        let mut known = Known::default();
        known.apply(&running("shard-0", "10.0.0.1"));
        known.apply(&pod(other));
        assert_eq!(owned(&known), [is_at("gateway-1", "10.0.0.1"), is_at("shard-0", "10.0.0.1")]);
    }
}
