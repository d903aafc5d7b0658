//! Turns found pods into the shards' addresses.

use tokio::sync::watch::Receiver;

use super::found::{Found, FoundPod};
use super::selection::Selection;
use super::warnings::Warnings;
use crate::targets::Lookup;

/// Maximum number of pods that one warning names.
const NAMED: usize = 8;

/// The shards that are pods. A pod's index is the shard's id.
#[derive(Debug)]
pub(crate) struct ShardPods {
    found: Receiver<Found>,
    shards: usize,
    /// Where the pods are searched.
    place: String,
    /// For each shard whether no pod is its.
    without: Vec<bool>,
    warnings: Warnings,
}

impl ShardPods {
    pub(crate) fn new(found: Receiver<Found>, selection: &Selection, shards: usize) -> Self {
        Self { found, shards, place: selection.place(), without: Vec::new(), warnings: Warnings::default() }
    }

    /// Whether the last lookup found no pod of this shard.
    pub(crate) fn has_none(&self, shard: usize) -> bool {
        self.without.get(shard).copied().unwrap_or_default()
    }

    /// The addresses of each shard. Logs pods that are no shard.
    pub(crate) fn lookups(&mut self) -> Vec<Lookup> {
        let found = self.found.borrow_and_update().clone();
        let pods = match found.pods() {
            Ok(pods) => pods,
            Err(why) => return vec![Err(why); self.shards],
        };
        let unknown = unknown_pods(pods, self.shards);
        self.without = without_pods(pods, self.shards);
        if !unknown.is_empty() {
            let more = match unknown.len().saturating_sub(NAMED) {
                0 => String::new(),
                more => format!(" and {more} more"),
            };
            let named: Vec<_> = unknown.into_iter().take(NAMED).collect();
            self.warnings.warn(&format!("pods without a shard in SHARD_URLS: {}{more}", named.join(", ")));
        }
        lookups(pods, self.shards, &self.place)
    }
}

/// For each shard whether none of the pods is its. Another node's probe may watch it.
fn without_pods(pods: &[FoundPod], shards: usize) -> Vec<bool> {
    let mut without = vec![true; shards];
    for pod in pods {
        if let Some(shard) = pod.index.and_then(|shard| without.get_mut(shard)) {
            *shard = false;
        }
    }
    without
}

/// The addresses of each of `shards` shards.
fn lookups(pods: &[FoundPod], shards: usize, place: &str) -> Vec<Lookup> {
    let mut found: Vec<Lookup> = vec![Err(format!("it has no running pod {place}")); shards];
    for pod in pods {
        let Some(lookup) = pod.index.and_then(|shard| found.get_mut(shard)) else { continue };
        match (&pod.addresses, lookup) {
            (Ok(more), Ok(addresses)) => addresses.extend(more),
            (Ok(addresses), lookup) if !addresses.is_empty() => *lookup = Ok(addresses.clone()),
            (Err(problem), lookup) => *lookup = Err(problem.clone()),
            (Ok(_), _) => {}
        }
    }
    found
}

/// The names of pods whose index is not a shard's id.
fn unknown_pods(pods: &[FoundPod], shards: usize) -> Vec<&str> {
    let is_one = |pod: &&FoundPod| pod.index.is_none_or(|shard| shard >= shards);
    pods.iter().filter(is_one).map(|pod| pod.name.as_str()).collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    fn pod(name: &str, index: Option<usize>, addresses: Result<&[&str], &str>) -> FoundPod {
        let parsed = |addresses: &[&str]| addresses.iter().map(|at| at.parse().unwrap()).collect();
        FoundPod {
            name: name.to_owned(),
            node: "n-1".to_owned(),
            index,
            addresses: addresses.map(parsed).map_err(ToOwned::to_owned),
            is_ready: true,
        }
    }

    #[test]
    fn running_pods_are_where_their_shards_are() {
        let both: &[&str] = &["10.0.0.7:9000", "[fd00::7]:9000"];
        let found = lookups(&[pod("shard-1", Some(1), Ok(both))], 2, "on node n-1");
        let none = "it has no running pod on node n-1".to_owned();
        let here = both.iter().map(|at| at.parse().unwrap()).collect();
        assert_eq!(found, [Err(none), Ok(here)]);
    }

    #[test]
    fn a_pod_without_an_address_yet_does_not_hide_one_that_runs() {
        let pods = [pod("shard-0", Some(0), Ok(&["10.0.0.9:9000"])), pod("other-0", Some(0), Ok(&[]))];
        assert_eq!(lookups(&pods, 1, "")[0], Ok(vec!["10.0.0.9:9000".parse().unwrap()]));
    }

    #[test]
    fn a_pods_problem_is_its_shards_and_strangers_are_named() {
        let problem = "its pod shard-0 names no containerPort";
        let pods = [
            pod("shard-0", Some(0), Err(problem)),
            pod("shard-2", Some(2), Ok(&[])),
            pod("other", None, Ok(&[])),
        ];
        assert_eq!(lookups(&pods, 2, "")[0], Err(problem.to_owned()));
        assert_eq!(unknown_pods(&pods, 2), ["shard-2", "other"]);
        assert_eq!(without_pods(&pods, 2), [false, true]);
    }
}
