//! The kernel's statistics of the programs over a known number of requests, for each protocol.

use anyhow::{Context as _, Result, bail};
use lab::cgroup::Cgroup;
use lab::http::Client;
use lab::process::{Process, Signal};
use protocol::probe_api::{ProbeStatus, StoreAnswer};
use serde::Serialize;
use serde_json::Value;
use std::collections::BTreeMap;
use std::net::TcpListener;
use std::path::{Path, PathBuf};
use std::process::{Command, Stdio};
use std::time::Duration;

use super::tool;
use crate::testbed::{CONNECTIONS, KEYS, Testbed, TrafficPath};

/// The longest wait until the probe has counted every command.
const TIMEOUT: Duration = Duration::from_secs(10);

/// Runs of the programs for a number of requests, all counted by the probe.
#[derive(Clone, Debug, Serialize)]
pub struct Runs {
    /// Requests sent.
    pub(super) requests: u64,
    /// Runs, and their recorded nanoseconds, by program.
    pub(super) programs: BTreeMap<String, (u64, f64)>,
}

/// Sends HTTP reads directly to a shard.
pub(super) fn http(testbed: &mut Testbed, requests: u64, seed: u64) -> Result<Runs> {
    let probe = testbed.start_probe(vec![("PROGRAM_STATS", "on".to_owned())])?;
    let shards = format!("http://{}/api/shards", probe.address()?);
    let reads = || {
        let shards: Value = testbed.client.get(&shards)?;
        shards["shards"][0]["requests"]["get"].as_u64().context("the probe shows no reads")
    };
    let send = || testbed.saturate(TrafficPath::Shard, requests, seed, || 0.0).map(drop);
    let runs = measure(&testbed.client, &probe, requests, reads, send)?;
    tool::end(probe, Signal::TERM)?;
    Ok(runs)
}

/// A `redis-server` in a cgroup of its own.
pub(super) struct Store {
    probe: PathBuf,
    port: u16,
    // Dropped in this order: the process must end before its cgroup is removed.
    _server: Process,
    cgroup: Cgroup,
}

impl Store {
    /// Starts the server and stores the keys.
    pub(super) fn start(programs: &Path) -> Result<Self> {
        let cgroup = Cgroup::create("hot-partition-lab-store")?;
        let port = TcpListener::bind("127.0.0.1:0")?.local_addr()?.port();
        let mut command = Command::new("redis-server");
        command.args(["--bind", "127.0.0.1", "--port", &port.to_string(), "--save", "", "--dir", "/tmp"]);
        cgroup.enter(&mut command)?;
        let is_ready = |server: &Process| server.log().contains("Ready to accept connections");
        let server = tool::start("redis-server", command, is_ready)?;
        let store = Self { probe: programs.join("probe"), port, _server: server, cgroup };
        store.benchmark("set", u64::from(KEYS) * 5)?;
        Ok(store)
    }

    /// Sends RESP reads.
    pub(super) fn resp(&self, client: &Client, requests: u64) -> Result<Runs> {
        let mut watch = Command::new(&self.probe);
        watch.args(["watch", &format!("redis://127.0.0.1:{}", self.port), "--port", "0"]);
        watch.args(["--program-stats", "on", "--cgroup"]).arg(self.cgroup.path());
        let probe = tool::start("probe", watch, |probe| probe.reported_address().is_some())?;
        let answer = format!("http://{}/api/store", probe.address()?);
        let reads = || {
            let answer: StoreAnswer = client.get(&answer)?;
            let commands = answer.nodes.into_iter().flat_map(|node| node.reconciliation.commands);
            Ok(commands.filter(|command| command.command == "get").map(|command| command.kernel).sum())
        };
        let runs = measure(client, &probe, requests, reads, || self.benchmark("get", requests))?;
        tool::end(probe, Signal::TERM)?;
        Ok(runs)
    }

    fn benchmark(&self, command: &str, requests: u64) -> Result<()> {
        let output = Command::new("redis-benchmark")
            .args(["-h", "127.0.0.1", "-p", &self.port.to_string(), "-t", command, "-q"])
            .args(["-c", &CONNECTIONS.to_string(), "-r", &KEYS.to_string(), "-n", &requests.to_string()])
            .stdin(Stdio::null())
            .output()
            .context("redis-benchmark cannot be run here: apt-get install redis-tools")?;
        if !output.status.success() {
            bail!("redis-benchmark: {}", String::from_utf8_lossy(&output.stderr).trim());
        }
        Ok(())
    }
}

/// Reads the statistics before and after the load. The probe must have counted exactly `requests` more.
fn measure(
    client: &Client,
    probe: &Process,
    requests: u64,
    counted: impl Fn() -> Result<u64>,
    send: impl FnOnce() -> Result<()>,
) -> Result<Runs> {
    let status = format!("http://{}/status", probe.address()?);
    let runs = || {
        let status: ProbeStatus = client.get(&status)?;
        let runs = status.self_status.runs.context("the kernel does not count the programs' runs")?;
        Ok::<_, anyhow::Error>(runs.into_iter().map(|row| (row.program, (row.runs, row.run_seconds))))
    };
    let (before, counted_before) = (runs()?.collect::<BTreeMap<_, _>>(), counted()?);
    send()?;
    let mut now = 0;
    let all = lab::signals::poll(TIMEOUT, Duration::from_millis(100), || {
        now = counted()? - counted_before;
        Ok((now == requests).then_some(()))
    })?;
    all.with_context(|| format!("{requests} requests were sent, and the probe has counted {now}"))?;
    let programs = runs()?.map(|(program, (runs, seconds))| {
        let (runs_before, seconds_before) = before.get(&program).copied().unwrap_or_default();
        (program.to_string(), (runs - runs_before, (seconds - seconds_before) * 1e9))
    });
    Ok(Runs { requests, programs: programs.collect() })
}
