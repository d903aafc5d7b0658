//! The lab in the cluster: pods, counts, and requests to them.

use std::path::{Path, PathBuf};
use std::process::Command;
use std::time::{Duration, Instant};

use anyhow::{Context as _, Result, bail};
use lab::http::Client;
use lab::tree::Tree;
use lab::{command, signals};
use protocol::body::{GatewayCounts, ShardStats};
use protocol::probe_api::{Compare, Comparison, OfShard, ProbeStatus, ShardCounts, Shards};
use serde::de::DeserializeOwned;
use serde_json::json;

use super::cluster::Cluster;
use super::namespace::within;
use super::network::NODES;
use super::node::ctr;
use super::pods::{Pod, pods};
use super::wait::wait;
use super::{network, outage};

pub(crate) const LAB: &str = "hot-partition";
pub(crate) const PROBES: &str = "hot-partition-probe";
pub(crate) const SHARDS: usize = 4;

pub(crate) const GATEWAY_PORT: u16 = 8000;
pub(crate) const SHARD_PORT: u16 = 9000;
pub(crate) const PROBE_PORT: u16 = 9010;

/// Maximum time for all witnesses to agree after the load has stopped.
const AGREE_WITHIN: Duration = Duration::from_secs(20);

/// The autoscaler must have added the second gateway within this time.
const GATEWAYS_WITHIN: Duration = Duration::from_secs(60);

/// The autoscaler acts every 15 s.
const SCALED_WITHIN: Duration = Duration::from_secs(90);

/// A new namespace must have its account within this time.
const ACCOUNT_WITHIN: Duration = Duration::from_secs(20);

const CLIENT: &str = include_str!("manifests/client.yaml");

/// The lab in a running cluster.
#[derive(Debug)]
pub(crate) struct Lab<'a> {
    pub(crate) tree: &'a Tree,
    pub(crate) cluster: Cluster,
    client: Client,
    /// The load generator.
    load: PathBuf,
    /// The network namespace of a pod outside of the lab's own namespaces.
    outside: PathBuf,
    /// The address of the gateways' Service.
    gateway: String,
}

/// Requests of each shard, in order of id.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub(crate) struct Counts {
    /// Requests received by the running process of the shard.
    pub(crate) app: [u64; SHARDS],
    /// Requests that the kernels of all nodes counted.
    pub(crate) kernel: [u64; SHARDS],
}

impl Counts {
    /// What was counted since `before`.
    pub(crate) fn since(self, before: Self) -> Self {
        let less = |now: [u64; SHARDS], then: [u64; SHARDS]| {
            std::array::from_fn(|shard| now[shard].saturating_sub(then[shard]))
        };
        Self { app: less(self.app, before.app), kernel: less(self.kernel, before.kernel) }
    }
}

impl<'a> Lab<'a> {
    /// Applies the overlay `kind` and waits until everything is ready. Returns also how long it took.
    ///
    /// # Errors
    /// When the API server refuses an object, or a pod does not become ready.
    pub(crate) fn apply(tree: &'a Tree, cluster: Cluster, load: PathBuf) -> Result<(Self, Duration)> {
        let started = Instant::now();
        cluster.kubectl(&["apply", "--server-side", "-k", &overlay(tree, "kind")])?;
        // A pod needs its namespace's account, which is made a moment after the namespace.
        wait("the client's account", ACCOUNT_WITHIN, || Ok(cluster.apply("client", CLIENT).ok()))?;
        cluster.kubectl(&[
            "-n",
            "hpl-client",
            "wait",
            "--for=condition=Ready",
            "pod/client",
            "--timeout=60s",
        ])?;
        let mut lab = Self {
            tree,
            cluster,
            client: Client::default(),
            load,
            outside: PathBuf::new(),
            gateway: String::new(),
        };
        lab.ready()?;
        let took = started.elapsed();
        lab.outside = lab.network_of("hpl-client", "client")?;
        let address = ["-n", LAB, "get", "service", "gateway", "-ojsonpath={.spec.clusterIP}"];
        lab.gateway = format!("http://{}:{GATEWAY_PORT}", lab.cluster.kubectl(&address)?);
        Ok((lab, took))
    }

    /// Sets the number of gateways, which the autoscaler then keeps. Returns them when all are ready.
    ///
    /// # Errors
    /// When they are not in time.
    pub(crate) fn scale(&self, gateways: usize) -> Result<Vec<Pod>> {
        let bounds = format!(r#"{{"spec":{{"minReplicas":{gateways},"maxReplicas":{gateways}}}}}"#);
        self.cluster.kubectl(&["-n", LAB, "patch", "hpa", "gateway", "-p", &bounds])?;
        self.until("the autoscaler", SCALED_WITHIN, |lab| {
            let pods = lab.gateways()?;
            Ok(pods.len() == gateways && pods.iter().all(|pod| pod.ready))
        })?;
        self.gateways()
    }

    /// Applies the overlay again, over what a row has changed.
    ///
    /// # Errors
    /// When the API server refuses an object, or a pod does not become ready.
    pub(crate) fn apply_again(&self) -> Result<()> {
        let folder = overlay(self.tree, "kind");
        self.cluster.kubectl(&["apply", "--server-side", "--force-conflicts", "-k", &folder])?;
        self.ready()
    }

    /// Waits until every workload of the lab is rolled out.
    ///
    /// # Errors
    /// When one is not in time.
    pub(crate) fn ready(&self) -> Result<()> {
        self.cluster.rolled_out(LAB, "statefulset/shard")?;
        // The autoscaler adds the second gateway a moment after the first.
        wait("two gateways", GATEWAYS_WITHIN, || Ok((self.gateways()?.len() >= 2).then_some(())))?;
        self.cluster.rolled_out(LAB, "deployment/gateway")?;
        self.cluster.rolled_out(PROBES, "daemonset/probe")?;
        let others = self.cluster.kubectl(&["-n", PROBES, "get", "deployments", "-oname"])?;
        others.lines().try_for_each(|name| self.cluster.rolled_out(PROBES, name))
    }

    /// The shards' pods in order of id.
    pub(crate) fn shards(&self) -> Result<Vec<Pod>> {
        let mut found = pods(&self.cluster, LAB, "app.kubernetes.io/component=shard")?;
        found.sort_by(|one, other| one.name.cmp(&other.name));
        Ok(found)
    }

    /// The gateways' pods that are not being stopped.
    pub(crate) fn gateways(&self) -> Result<Vec<Pod>> {
        pods(&self.cluster, LAB, "app.kubernetes.io/component=gateway")
    }

    /// The probes' pods, one on each node.
    pub(crate) fn probes(&self) -> Result<Vec<Pod>> {
        pods(&self.cluster, PROBES, "app.kubernetes.io/component=probe")
    }

    /// The probe that merges those of all nodes.
    ///
    /// # Errors
    /// When the API server does not answer.
    pub(crate) fn aggregator(&self) -> Result<Option<Pod>> {
        let others = "app.kubernetes.io/component notin (probe)";
        Ok(pods(&self.cluster, PROBES, others)?.into_iter().find(|pod| pod.ready))
    }

    /// The probes whose counts are compared: the aggregator, or without one those of all nodes.
    fn kernels(&self) -> Result<Vec<Pod>> {
        match self.aggregator()? {
            Some(aggregator) => Ok(vec![aggregator]),
            None => self.probes(),
        }
    }

    /// Requests `path` of a pod, from its own node.
    ///
    /// # Errors
    /// When the pod does not answer.
    pub(crate) fn read<T: DeserializeOwned + Send>(&self, pod: &Pod, port: u16, path: &str) -> Result<T> {
        let url = format!("http://{}:{port}{path}", pod.address);
        within(&network::file(&pod.node), || self.client.get(&url)).with_context(|| pod.name.clone())
    }

    /// Like [`read`](Self::read), as text.
    ///
    /// # Errors
    /// When the pod does not answer.
    pub(crate) fn text(&self, pod: &Pod, port: u16, path: &str) -> Result<String> {
        let url = format!("http://{}:{port}{path}", pod.address);
        within(&network::file(&pod.node), || self.client.text(&url)).with_context(|| pod.name.clone())
    }

    /// The counts of all shards now.
    ///
    /// # Errors
    /// When a shard or a probe does not answer.
    pub(crate) fn counts(&self) -> Result<Counts> {
        let mut counts = Counts::default();
        for (id, pod) in self.shards()?.iter().enumerate().take(SHARDS) {
            counts.app[id] = self.read::<ShardStats>(pod, SHARD_PORT, "/stats")?.requests_received;
        }
        for pod in self.kernels()? {
            let shards: Shards = self.read(&pod, PROBE_PORT, "/api/shards")?;
            for (sum, shard) in counts.kernel.iter_mut().zip(&shards.shards) {
                *sum += ShardCounts::data(shard);
            }
        }
        Ok(counts)
    }

    /// Waits until for each shard one probe reports a difference of 0. Returns what is left then.
    ///
    /// # Errors
    /// On a signal.
    pub(crate) fn disagreements(&self) -> Result<Vec<String>> {
        let mut problems = Vec::new();
        signals::poll(AGREE_WITHIN, Duration::from_millis(500), || {
            problems = self.differences().unwrap_or_else(|error| vec![format!("{error:#}")]);
            Ok(problems.is_empty().then_some(()))
        })?;
        Ok(problems)
    }

    fn differences(&self) -> Result<Vec<String>> {
        let mut rows = Vec::new();
        for pod in self.kernels()? {
            let compare: Compare = self.read(&pod, PROBE_PORT, "/api/compare")?;
            rows.push((pod.node, compare.shards));
        }
        let mut problems = Vec::new();
        for id in 0..SHARDS {
            let of_shard = |rows: &[OfShard<Comparison>]| rows.get(id).map(|row| row.of_shard.clone());
            let seen: Vec<(&String, Comparison)> = rows
                .iter()
                .filter_map(|(node, rows)| Some((node, of_shard(rows)?)))
                .filter(|(_, row)| row.agrees.is_some())
                .collect();
            match seen.as_slice() {
                [(_, row)] if row.agrees == Some(true) && row.difference == Some(0) => {}
                [(node, row)] => problems.push(format!(
                    "shard {id}: difference {:?} at {node}, {}",
                    row.difference,
                    row.cause.as_deref().unwrap_or("no cause given")
                )),
                none_or_many => {
                    let causes = rows.iter().filter_map(|(_, rows)| of_shard(rows)?.cause);
                    let causes: Vec<String> = causes.collect();
                    let count = none_or_many.len();
                    problems.push(format!("shard {id} is compared by {count} probes: {}", causes.join(", ")));
                }
            }
        }
        Ok(problems)
    }

    /// The status of a probe.
    ///
    /// # Errors
    /// When it does not answer.
    pub(crate) fn status(&self, probe: &Pod) -> Result<ProbeStatus> {
        self.read(probe, PROBE_PORT, "/status")
    }

    /// The shards that no probe watches at the address of their pod, or that a probe watches elsewhere.
    ///
    /// # Errors
    /// When a probe does not answer.
    pub(crate) fn not_watched(&self) -> Result<Vec<String>> {
        let (shards, mut problems) = (self.shards()?, Vec::new());
        let mut statuses = Vec::new();
        for probe in self.probes()? {
            statuses.push((probe.node.clone(), self.status(&probe)?));
        }
        for (id, shard) in shards.iter().enumerate() {
            let expected = format!("{}:{SHARD_PORT}", shard.address);
            for (node, status) in &statuses {
                let addresses = status.shards.get(id).map_or(&[][..], |target| &target.addresses);
                let right =
                    if *node == shard.node { addresses == [expected.clone()] } else { addresses.is_empty() };
                if !right {
                    problems.push(format!("{node} watches shard {id} at {addresses:?}"));
                }
            }
        }
        Ok(problems)
    }

    /// What a gateway has counted.
    ///
    /// # Errors
    /// When it does not answer.
    pub(crate) fn gateway_counts(&self, pod: &Pod) -> Result<GatewayCounts> {
        self.read(pod, GATEWAY_PORT, "/stats")
    }

    /// Resets counts and cache of all gateways, and switches the cache.
    ///
    /// # Errors
    /// When one does not answer.
    pub(crate) fn reset(&self, cache: bool) -> Result<()> {
        for pod in self.gateways()? {
            for (path, body) in [("cache", json!({ "enabled": cache })), ("reset", json!({}))] {
                let url = format!("http://{}:{GATEWAY_PORT}/admin/{path}", pod.address);
                within(&network::file(&pod.node), || self.client.post(&url, &body))?;
            }
        }
        Ok(())
    }

    /// The load generator in the network of a pod, with the gateways' Service as its target.
    pub(crate) fn load(&self, arguments: &[&str]) -> Command {
        let mut command = Command::new("nsenter");
        command.arg(format!("--net={}", self.outside.display())).arg(&self.load).args(arguments);
        command.args(["--gateway", &self.gateway]);
        command
    }

    /// The network namespace of a pod outside of the lab's own namespaces.
    pub(crate) fn outside(&self) -> &Path {
        &self.outside
    }

    /// Sends one request to the Service of gateways, from a pod. An open connection could lead to a gateway that stops, so
    /// each request has its own.
    ///
    /// # Errors
    /// When it fails.
    pub(crate) fn ask<T: DeserializeOwned + Send>(&self, path: &str) -> Result<T> {
        within(&self.outside, || Client::default().get(&format!("{}{path}", self.gateway)))
    }

    /// Posts `body` to the Service of gateways, from a pod.
    ///
    /// # Errors
    /// When it fails.
    pub(crate) fn tell(&self, path: &str, body: &serde_json::Value) -> Result<()> {
        within(&self.outside, || self.client.post(&format!("{}{path}", self.gateway), body))
    }

    /// Starts to read a key of each shard through the Service, again and again.
    ///
    /// # Errors
    /// When the gateway does not say where keys are.
    pub(crate) fn watch_keys(&self) -> Result<outage::Watch> {
        let keys = outage::keys(SHARDS, |key| {
            Ok(self.ask::<protocol::body::ShardMapping>(&format!("/admin/shard-mapping/{key}"))?.shard_id)
        })?;
        let urls = keys.iter().map(|key| format!("{}/data/{key}", self.gateway)).collect();
        Ok(outage::Watch::start(&self.outside, urls))
    }

    /// The network namespace of a pod.
    ///
    /// # Errors
    /// When there is no such pod, or its container does not run.
    pub(crate) fn network_of(&self, namespace: &str, name: &str) -> Result<PathBuf> {
        let id = [
            "-n",
            namespace,
            "get",
            "pod",
            name,
            "-ojsonpath={.spec.nodeName} {.status.containerStatuses[0].containerID}",
        ];
        let printed = self.cluster.kubectl(&id)?;
        let (node, id) = printed.split_once(" containerd://").context("the pod has no container")?;
        let node = NODES.into_iter().find(|name| *name == node).context("the pod is on no node")?;
        let tasks = command::capture(ctr(node).args(["task", "ls"]))?;
        let pid =
            tasks.lines().find(|line| line.starts_with(id)).and_then(|line| line.split_whitespace().nth(1));
        Ok(PathBuf::from(format!("/proc/{}/ns/net", pid.context("the pod's container does not run")?)))
    }

    /// Moves shards until both nodes have one.
    ///
    /// # Errors
    /// When the scheduler leaves all on one node.
    pub(crate) fn spread(&self) -> Result<()> {
        for _ in 0..SHARDS {
            let shards = self.shards()?;
            if NODES.iter().all(|node| shards.iter().any(|shard| shard.node == **node)) {
                return Ok(());
            }
            let one = shards.last().context("there are no shards")?;
            self.cluster.kubectl(&["-n", LAB, "delete", "pod", &one.name])?;
            self.ready()?;
        }
        bail!("all shards stay on one node")
    }

    /// Sets variables of the containers of a workload, and waits until it is rolled out. `NAME-` removes one.
    ///
    /// # Errors
    /// When a pod does not become ready.
    pub(crate) fn set(&self, workload: &str, variables: &[&str]) -> Result<()> {
        let mut arguments = vec!["-n", LAB, "set", "env", workload];
        arguments.extend(variables);
        self.cluster.kubectl(&arguments)?;
        self.cluster.rolled_out(LAB, workload)
    }

    /// Waits until `holds`.
    ///
    /// # Errors
    /// After `limit`, and its errors.
    pub(crate) fn until(
        &self,
        what: &str,
        limit: Duration,
        mut holds: impl FnMut(&Self) -> Result<bool>,
    ) -> Result<Duration> {
        let started = Instant::now();
        wait(what, limit, || Ok(holds(self)?.then(|| started.elapsed())))
    }
}

/// The folder of an overlay.
pub(crate) fn overlay(tree: &Tree, name: &str) -> String {
    tree.root.join("deploy/kubernetes/overlays").join(name).display().to_string()
}
