//! Starts and stops a Redis Cluster in place of the shards, and the probe that watches it.

use std::fs;
use std::net::{Ipv4Addr, SocketAddr, TcpListener};
use std::path::Path;
use std::process::Command;
use std::time::Duration;

use anyhow::{Context as _, Result, bail};
use tempfile::TempDir;

use crate::cgroup::Cgroup;
use crate::command;
use crate::http::Client;
use crate::options::Options;
use crate::parts::{self, READY_WITHIN};
use crate::ports::NODES;
use crate::process::Process;
use crate::programs;
use crate::prometheus::Targets;
use crate::signals;

/// How to install a store.
pub const REMEDY: &str =
    "redis-server is not installed (Debian: apt-get install --no-install-recommends redis-server)";

/// Time in ms after which the cluster considers a silent node as failed.
const NODE_TIMEOUT: &str = "5000";

/// A running Redis Cluster of three primaries and three replicas, with its probe. Dropping it kills all remaining
/// processes and removes the nodes' files.
#[derive(Debug)]
pub struct StoreLab {
    /// The nodes. The first half begins as primaries.
    pub nodes: Vec<Process>,
    /// The probe, if it runs.
    pub probe: Option<Process>,
    options: Options,
    /// Nodes whose end has been reported.
    ended: Vec<bool>,
    // Dropped after the processes have ended.
    cgroup: Option<Cgroup>,
    _folder: TempDir,
}

impl StoreLab {
    /// Starts nodes and probe. The cluster has all slots and replicas when this returns. Settings of shards and gateway
    /// have no effect.
    ///
    /// # Errors
    /// When a port is in use, a program is missing or cannot be started, or the cluster does not form in time.
    pub fn start(options: Options) -> Result<Self> {
        if let Some(ports) = options.ports {
            ports.check_store(options.probe.is_some())?;
        }
        let (server, client) =
            (programs::find("redis-server").context(REMEDY)?, programs::find("redis-cli").context(REMEDY)?);
        let folder = folder(&options)?;
        let cgroup = options.cgroup();
        let mut nodes = Vec::new();
        for (id, ports) in (0..).zip(node_ports(&options)?) {
            nodes.push(node(&options, &server, folder.path(), cgroup.as_ref(), id, ports)?);
        }
        form(&client, &mut nodes)?;
        let ended = vec![false; nodes.len()];
        let mut lab = Self { nodes, probe: None, options, ended, cgroup, _folder: folder };
        lab.start_probe()?;
        Ok(lab)
    }

    /// Starts another probe with the probe options of this lab.
    ///
    /// # Errors
    /// When it cannot be started.
    pub fn start_probe(&mut self) -> Result<()> {
        let url = self.url()?;
        if let Some(probe) = self.options.start_probe(&["watch", &url], Vec::new(), self.cgroup.as_ref())? {
            self.probe = Some(probe);
        }
        Ok(())
    }

    /// The address of the first node, for probe and load generator.
    ///
    /// # Errors
    /// Never, because the nodes' addresses are known.
    pub fn url(&self) -> Result<String> {
        let first = self.nodes.first().context("a store has nodes")?;
        Ok(format!("redis://{}", first.address()?))
    }

    /// Waits until the probe is ready.
    ///
    /// # Errors
    /// When it ends or is not ready in time. The error has its last log lines.
    pub fn wait_ready(&mut self, client: &Client) -> Result<()> {
        parts::wait_ready(self.probe.iter_mut().collect(), client, |_, _| {})
    }

    /// Checks that the probe is running. Returns the nodes that have ended since the last call: a cluster goes on
    /// without them.
    ///
    /// # Errors
    /// When the probe has ended. The error has its last log lines.
    pub fn check(&mut self) -> Result<Vec<String>> {
        self.probe.iter_mut().try_for_each(parts::alive)?;
        let mut ended = Vec::new();
        for (node, was_ended) in self.nodes.iter_mut().zip(&mut self.ended) {
            if !*was_ended && let Some(status) = node.exit_status() {
                *was_ended = true;
                ended.push(format!("{} has ended ({})", node.name(), command::ended(status)));
            }
        }
        Ok(ended)
    }

    /// Stops probe and nodes in this order, each with time to drain. Removes the nodes' files.
    ///
    /// A signal during the stop kills the remaining processes. Returns the names of the processes that were killed.
    pub fn stop(mut self) -> Vec<String> {
        parts::stop(self.nodes.iter_mut().chain(&mut self.probe).collect(), &["probe", "node"])
    }

    /// The addresses that Prometheus scrapes.
    ///
    /// # Errors
    /// When the probe has not reported its address yet.
    pub fn targets(&self) -> Result<Targets> {
        let probe = self.probe.as_ref().map(Process::address).transpose()?;
        Ok(Targets { probe, ..Targets::default() })
    }
}

/// A new folder for the nodes' files. With fixed ports no other lab uses the folder beside the logs, so what is there
/// is left from a lab that was killed.
fn folder(options: &Options) -> Result<TempDir> {
    let Some(logs) = &options.logs else {
        return tempfile::tempdir().context("cannot make a temporary folder");
    };
    let left = logs.join("redis");
    if left.exists() {
        fs::remove_dir_all(&left).with_context(|| format!("cannot remove {}", left.display()))?;
    }
    fs::create_dir_all(logs).with_context(|| format!("cannot make {}", logs.display()))?;
    let made = tempfile::Builder::new().prefix("redis").rand_bytes(0).tempdir_in(logs);
    made.with_context(|| format!("cannot make {}", left.display()))
}

fn node(
    options: &Options,
    server: &Path,
    folder: &Path,
    cgroup: Option<&Cgroup>,
    id: u16,
    (port, bus): (u16, u16),
) -> Result<Process> {
    let home = folder.join(format!("node-{id}"));
    fs::create_dir(&home).with_context(|| format!("cannot make {}", home.display()))?;
    let mut command = options.command(Command::new(server));
    command.args(["--bind", "127.0.0.1", "--save", "", "--appendonly", "no", "--cluster-enabled", "yes"]);
    command.args(["--cluster-node-timeout", NODE_TIMEOUT, "--port", &port.to_string()]);
    command.args(["--cluster-port", &bus.to_string(), "--dir"]).arg(&home);
    if let Some(cgroup) = cgroup {
        cgroup.enter(&mut command).context("a node cannot be moved into its cgroup")?;
    }
    let name = format!("node-{id}");
    let log = options.log(&name)?;
    let mut process = Process::start(&name, command, log)?;
    process.listens_at(SocketAddr::from((Ipv4Addr::LOCALHOST, port)));
    Ok(process)
}

/// The port and the bus port of each node.
fn node_ports(options: &Options) -> Result<Vec<(u16, u16)>> {
    if let Some(ports) = options.ports {
        return Ok((0..NODES).map(|id| (ports.node(id), ports.bus(id))).collect());
    }
    // A server does not report its port, so choose free ones first. All are held until the last one is chosen, so that
    // none comes twice. Another process could still take them.
    let bind = |_| TcpListener::bind((Ipv4Addr::LOCALHOST, 0)).context("there is no free port");
    let held = (0..2 * NODES).map(bind).collect::<Result<Vec<_>>>()?;
    let ports = held.iter().map(|one| Ok(one.local_addr()?.port())).collect::<Result<Vec<_>>>()?;
    Ok(ports.chunks_exact(2).map(|pair| (pair[0], pair[1])).collect())
}

/// Makes a cluster of the nodes. Waits until all slots are served and every replica has copied its primary.
fn form(client: &Path, nodes: &mut [Process]) -> Result<()> {
    let addresses = nodes.iter().map(|node| Ok(node.address()?.to_string())).collect::<Result<Vec<_>>>()?;
    let ask = |address: &str, words: &[&str]| {
        let port = address.rsplit(':').next().unwrap_or_default();
        // A node that does not answer yet is asked again.
        command::capture(Command::new(client).args(["-p", port]).args(words)).unwrap_or_default()
    };
    await_all(nodes, &addresses, "start", |address| ask(address, &["ping"]).contains("PONG"))?;
    // It waits without limit for nodes that do not join.
    let mut create = Command::new("timeout");
    create
        .arg(READY_WITHIN.as_secs().to_string())
        .arg(client)
        .args(["--cluster", "create"])
        .args(&addresses)
        .args(["--cluster-replicas", "1", "--cluster-yes"]);
    command::capture(&mut create).context("the nodes do not form a cluster")?;
    await_all(nodes, &addresses, "join the cluster", |address| {
        let replication = ask(address, &["info", "replication"]);
        ask(address, &["cluster", "info"]).contains("cluster_state:ok")
            && ["master_link_status:up", "connected_slaves:1"].iter().any(|line| replication.contains(line))
    })
}

fn await_all(
    nodes: &mut [Process],
    addresses: &[String],
    what: &str,
    is_ready: impl Fn(&str) -> bool,
) -> Result<()> {
    let mut waiting: Vec<&String> = addresses.iter().collect();
    let ready = signals::poll(READY_WITHIN, Duration::from_millis(100), || {
        nodes.iter_mut().try_for_each(parts::alive)?;
        waiting.retain(|address| !is_ready(address));
        Ok(waiting.is_empty().then_some(()))
    })?;
    match ready {
        Some(()) => Ok(()),
        None => bail!("{} did not {what} within {} s", waiting[0], READY_WITHIN.as_secs()),
    }
}
