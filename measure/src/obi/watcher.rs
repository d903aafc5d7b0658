//! Starts a watcher of the shards and reads its counts.

use anyhow::{Context as _, Result, bail};
use lab::http::Client;
use lab::process::{Log, Process, Signal};
use lab::signals;
use protocol::probe_api::Shards;
use serde::{Deserialize, Serialize};
use std::net::{SocketAddr, TcpListener};
use std::path::Path;
use std::process::Command;
use std::time::Duration;

use super::exposition;
use super::traffic::{key, read};
use crate::gateway_bench::client;
use crate::testbed::Testbed;

/// The longest time until OBI counts. Under emulation it takes half a minute.
const START: Duration = Duration::from_secs(180);

/// The longest time until a watcher has ended.
const END: Duration = Duration::from_secs(60);

const STEP: Duration = Duration::from_millis(500);

/// A watcher to compare.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub(super) enum Watcher {
    /// No watcher.
    Nothing,
    /// The lab's probe, on the shards' cgroup.
    Probe,
    /// OBI with its defaults and Prometheus' metrics.
    Obi,
}

impl Watcher {
    pub(super) const ALL: [Self; 3] = [Self::Nothing, Self::Probe, Self::Obi];

    pub(super) const fn name(self) -> &'static str {
        match self {
            Self::Nothing => "none",
            Self::Probe => "probe",
            Self::Obi => "OBI",
        }
    }

    /// Starts it and waits until it counts. `None` without a watcher.
    ///
    /// # Errors
    /// When it ends, or does not count in time.
    pub(super) fn start(self, testbed: &mut Testbed, obi: &Path) -> Result<Option<Watching>> {
        match self {
            Self::Nothing => Ok(None),
            Self::Probe => {
                let process = testbed.start_probe(Vec::new())?;
                let counts = format!("http://{}/api/shards", process.address()?);
                Ok(Some(Watching { watcher: self, process, counts }))
            }
            Self::Obi => start_obi(testbed, obi).map(Some),
        }
    }
}

/// A running watcher.
pub(super) struct Watching {
    watcher: Watcher,
    pub(super) process: Process,
    /// The address of its counts.
    counts: String,
}

impl Watching {
    /// Returns the data requests that it has counted at the shard of this address.
    ///
    /// # Errors
    /// When it does not answer.
    pub(super) fn counted(&self, client: &Client, shard: SocketAddr) -> Result<u64> {
        if self.watcher == Watcher::Obi {
            return Ok(exposition::requests(&client.text(&self.counts)?, shard.port()));
        }
        let shards: Shards = client.get(&self.counts)?;
        let address = shard.to_string();
        let counts = shards.shards.into_iter().find(|counts| counts.address == address);
        let requests = counts.with_context(|| format!("the probe has no shard {address}"))?.requests;
        Ok(requests.get + requests.set)
    }

    /// Returns the version in its log.
    pub(super) fn version(&self) -> Option<String> {
        version(&self.process.log())
    }

    /// Ends it.
    ///
    /// # Errors
    /// When it does not end in time.
    pub(super) fn end(mut self) -> Result<()> {
        self.process.signal(Signal::TERM);
        let process = &mut self.process;
        let ended = signals::poll(END, STEP, || Ok((!process.is_running()).then_some(())))?;
        ended.with_context(|| format!("{} does not end", self.watcher.name()))
    }
}

fn start_obi(testbed: &Testbed, obi: &Path) -> Result<Watching> {
    let ports = testbed.ports()?;
    let port = TcpListener::bind("127.0.0.1:0")?.local_addr()?.port();
    let mut command = Command::new(obi);
    command
        .env("OTEL_EBPF_OPEN_PORT", ports.iter().map(u16::to_string).collect::<Vec<_>>().join(","))
        .env("OTEL_EBPF_PROMETHEUS_PORT", port.to_string())
        .env("OTEL_EBPF_PROMETHEUS_FEATURES", "application")
        // By default, a series without requests for five minutes is removed, and its count with it.
        .env("OTEL_EBPF_PROMETHEUS_TTL", "24h");
    let process = Process::start("OBI", command, Log::unnamed()?)?;
    let counts = format!("http://127.0.0.1:{port}/metrics");
    let mut watching = Watching { watcher: Watcher::Obi, process, counts };
    let mut waiting: Vec<SocketAddr> =
        testbed.lab.shards.iter().map(Process::address).collect::<Result<_>>()?;
    let counts = signals::poll(START, STEP, || {
        if let Some(status) = watching.process.exit_status() {
            let log = watching.process.log();
            let last = log.lines().rfind(|line| !line.trim().is_empty()).unwrap_or("it wrote nothing");
            bail!("OBI ended ({}): {last}", lab::command::ended(status));
        }
        // OBI finds processes one by one, and its metrics begin with the first counted request.
        waiting.retain(|shard| !watching.counted(&testbed.client, *shard).is_ok_and(|counted| counted > 0));
        for shard in &waiting {
            client::in_turn(*shard, 1, 1, 1, |number| read(&key(number)))?;
        }
        Ok(waiting.is_empty().then_some(()))
    })?;
    if counts.is_none() {
        bail!("OBI counts no request of {} shards after {} s", waiting.len(), START.as_secs());
    }
    Ok(watching)
}

/// The version in OBI's first line, such as `msg="…" Version=v1 Revision=ab12`.
fn version(log: &str) -> Option<String> {
    let line = log.lines().find(|line| line.contains(" Revision="))?;
    let field = |name: &str| line.split_whitespace().find_map(|word| word.strip_prefix(name));
    Some(format!("version {}, revision {}", field("Version=")?, field("Revision=")?))
}

#[cfg(test)]
mod tests {
    use super::version;

    #[test]
    fn the_version_is_in_the_log() {
        let log = "x\ntime=1 level=INFO msg=\"OpenTelemetry eBPF Instrumentation\" Version=v1 Revision=ab12 \"SDK\"=1\n";
        assert_eq!(version(log).as_deref(), Some("version v1, revision ab12"));
        assert_eq!(version("msg=ready\n"), None);
    }
}
