//! Watchers at the shards' ports: the probe and the nearest alternatives.

use anyhow::{Context, Result, anyhow, bail};
use std::net::SocketAddr;
use std::path::Path;
use std::process::Command;
use std::time::Duration;

use super::empty::{Attached, Empty};
use super::testbed::Testbed;
use crate::table::thousands;
use lab_tests::nft::Counters;
use lab_tests::poll;
use lab_tests::process::{Process, Signal, TestProcess as _};

/// The longest wait for a tool's start, or for its counts at the end.
const TIMEOUT: Duration = Duration::from_secs(20);

/// Mount point of the kernel's events, which tracing tools read.
const TRACEFS: &str = "/sys/kernel/tracing";

/// A watcher to compare.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Watcher {
    /// No watcher: the difference between two equal runs.
    Nothing,
    /// Programs that do nothing, attached like the probe's.
    Empty,
    /// The probe as root starts it.
    Probe,
    /// No watcher on either of two labs: the difference between equal labs.
    EqualLabs,
    /// Programs that do nothing, on the cgroup of one lab's shards.
    EmptyOnShards,
    /// The probe on the cgroup of one lab's shards.
    ProbeOnShards,
    /// The probe, with the kernel's statistics of its programs enabled.
    ProbeWithStatistics,
    /// nftables with a counter for each port and direction.
    Nftables,
    /// bpftrace, which counts segments by port.
    Bpftrace,
    /// tcpdump, which captures every packet and discards it.
    Tcpdump,
}

/// A running watcher.
pub(crate) struct Watching<'a> {
    testbed: &'a Testbed,
    tool: Tool,
}

enum Tool {
    Nothing,
    Empty(Attached),
    Probe(Process, SocketAddr),
    Nftables(Counters),
    Bpftrace(Process),
    Tcpdump(Process),
}

impl Watcher {
    /// All watchers, in the order of the table.
    pub(crate) const ALL: [Self; 10] = [
        Self::Nothing,
        Self::Empty,
        Self::Probe,
        Self::EqualLabs,
        Self::EmptyOnShards,
        Self::ProbeOnShards,
        Self::ProbeWithStatistics,
        Self::Nftables,
        Self::Bpftrace,
        Self::Tcpdump,
    ];

    /// Returns the name in the table.
    pub const fn name(self) -> &'static str {
        match self {
            Self::Nothing => "no watcher (two equal runs)",
            Self::Empty => "empty programs",
            Self::Probe => "probe",
            Self::EqualLabs => "no watcher (two equal labs)",
            Self::EmptyOnShards => "empty programs, on the shards' cgroup",
            Self::ProbeOnShards => "probe, on the shards' cgroup",
            Self::ProbeWithStatistics => "probe, PROGRAM_STATS=on",
            Self::Nftables => "nftables",
            Self::Bpftrace => "bpftrace",
            Self::Tcpdump => "tcpdump",
        }
    }

    /// Returns how the watcher is started.
    pub(crate) const fn what(self) -> &'static str {
        match self {
            Self::Nothing => "noise: the difference between two equal runs",
            Self::Empty => "empty programs for both directions: the kernel's overhead for a call",
            Self::Probe => "`probe run` as root on the four shards",
            Self::EqualLabs => "noise: the difference between two equal labs",
            Self::EmptyOnShards => "programs that do nothing on the cgroup of one lab's shards",
            Self::ProbeOnShards => {
                "`probe run` on the cgroup of one lab's shards, as `cargo xtask up` starts it for root"
            }
            Self::ProbeWithStatistics => "the same, with the kernel's run-time statistics on",
            Self::Nftables => "`tcp dport P counter` and `tcp sport P counter` for each of the four ports",
            Self::Bpftrace => {
                "`tracepoint:tcp:tcp_probe /args->sport == P || …/ { @[args->sport] = count(); }`: received segments"
            }
            Self::Tcpdump => "`tcpdump -i lo -w /dev/null 'tcp and (port P or …)'`",
        }
    }

    /// Whether it watches one of two labs instead of the whole machine.
    pub(crate) const fn is_side_by_side(self) -> bool {
        matches!(self, Self::EqualLabs | Self::EmptyOnShards | Self::ProbeOnShards)
    }

    /// Whether it may be missing on this machine. This applies to other tools, and to watchers that need the shards'
    /// cgroup if none could be created.
    pub(crate) fn may_be_missing(self, testbed: &Testbed) -> bool {
        match self {
            Self::Nftables | Self::Bpftrace | Self::Tcpdump => true,
            Self::EmptyOnShards | Self::ProbeOnShards => testbed.shards_cgroup().is_err(),
            Self::Nothing | Self::EqualLabs | Self::Empty | Self::Probe | Self::ProbeWithStatistics => false,
        }
    }

    /// Starts the watcher and waits until it counts.
    pub(crate) fn start(self, testbed: &Testbed) -> Result<Watching<'_>> {
        let probe = |settings: &[(&'static str, &str)]| {
            testbed.start_probe(settings).map(|(probe, addr)| Tool::Probe(probe, addr))
        };
        let tool = match self {
            Self::Nothing | Self::EqualLabs => Tool::Nothing,
            Self::Empty => Tool::Empty(Empty::load()?.attach(&probe::kernel::preflight::cgroup(None)?)?),
            Self::Probe => probe(&[])?,
            Self::EmptyOnShards => Tool::Empty(Empty::load()?.attach(testbed.shards_cgroup()?)?),
            Self::ProbeOnShards => probe(&[("CGROUP", &testbed.shards_cgroup()?.display().to_string())])?,
            Self::ProbeWithStatistics => probe(&[("PROGRAM_STATS", "on")])?,
            Self::Nftables => Tool::Nftables(Counters::start(&testbed.ports()).map_err(|why| anyhow!(why))?),
            Self::Bpftrace => Tool::Bpftrace(bpftrace(testbed)?),
            Self::Tcpdump => Tool::Tcpdump(tcpdump(testbed)?),
        };
        Ok(Watching { testbed, tool })
    }
}

impl Watching<'_> {
    /// Returns its process, if it has one.
    pub(crate) fn process(&self) -> Option<u32> {
        match &self.tool {
            Tool::Nothing | Tool::Empty(_) | Tool::Nftables(_) => None,
            Tool::Probe(process, _) | Tool::Bpftrace(process) | Tool::Tcpdump(process) => Some(process.pid()),
        }
    }

    /// Ends the watcher and returns its own count.
    pub(crate) fn stop(self) -> Result<String> {
        let Self { testbed, tool } = self;
        match tool {
            Tool::Nothing => Ok("–".to_owned()),
            Tool::Empty(attached) => {
                drop(attached);
                Ok("–".to_owned())
            }
            Tool::Probe(mut probe, addr) => {
                let shards = testbed.json(addr, "/api/shards")?;
                testbed.end(&mut probe, Signal::TERM);
                let shards = shards["shards"].as_array().context("the probe shows shards")?;
                let reads = shards.iter().filter_map(|shard| shard["requests"]["get"].as_u64());
                Ok(format!("{} requests", thousands(reads.sum())))
            }
            Tool::Nftables(counters) => {
                let first = *testbed.ports().first().context("a shard")?;
                let (received, sent) = counters.read(first).map_err(|why| anyhow!(why))?;
                Ok(format!("{} packets", thousands(received.packets + sent.packets)))
            }
            Tool::Bpftrace(mut bpftrace) => {
                testbed.end(&mut bpftrace, Signal::INT);
                let segments = logged(testbed, &bpftrace, |log| {
                    let counts = log.lines().filter_map(|line| line.strip_prefix("@[")?.split_once("]: "));
                    let counts: Vec<u64> = counts.filter_map(|(_, count)| count.parse().ok()).collect();
                    (!counts.is_empty()).then(|| counts.iter().sum::<u64>())
                })?;
                Ok(format!("{} segments", thousands(segments)))
            }
            Tool::Tcpdump(mut tcpdump) => {
                testbed.end(&mut tcpdump, Signal::INT);
                let number = |log: &str, what: &str| {
                    log.lines().find_map(|line| line.strip_suffix(what)?.trim().parse::<u64>().ok())
                };
                let (captured, dropped) = logged(testbed, &tcpdump, |log| {
                    Some((number(log, "packets captured")?, number(log, "packets dropped by kernel")?))
                })?;
                Ok(format!("{} packets, {} lost", thousands(captured), thousands(dropped)))
            }
        }
    }
}

fn tcpdump(testbed: &Testbed) -> Result<Process> {
    installed("tcpdump")?;
    let ports = testbed.ports().iter().map(|port| format!("port {port}")).collect::<Vec<_>>().join(" or ");
    let filter = format!("tcp and ({ports})");
    let args = ["-i", "lo", "-n", "-w", "/dev/null", &filter];
    begun(testbed, Process::start_program(Path::new("tcpdump"), &args, &[]), |log| {
        log.contains("listening on")
    })
}

fn bpftrace(testbed: &Testbed) -> Result<Process> {
    installed("bpftrace")?;
    let ports = testbed.ports().iter().map(|port| format!("args->sport == {port}")).collect::<Vec<_>>();
    // bpftrace attaches the second probe after the first, and its output shows that it has.
    let program = format!(
        "tracepoint:tcp:tcp_probe /{}/ {{ @[args->sport] = count(); }} interval:s:1 {{ printf(\"counting\\n\"); }}",
        ports.join(" || ")
    );
    let attached = |log: &str| log.lines().any(|line| line == "counting");
    if Path::new(TRACEFS).join("events").is_dir() {
        let args = ["-e", &program];
        return begun(testbed, Process::start_program(Path::new("bpftrace"), &args, &[]), attached);
    }
    // Runs in its own mount namespace, so that nothing stays mounted.
    let script = format!("mount -t tracefs none {TRACEFS} && exec bpftrace -e \"$0\"");
    let args = ["--mount", "sh", "-c", &script, &program];
    begun(testbed, Process::start_program(Path::new("unshare"), &args, &[]), attached)
}

fn installed(program: &str) -> Result<()> {
    match Command::new(program).arg("--version").output() {
        Ok(_) => Ok(()),
        Err(error) => bail!("{program} cannot be run here ({error}): apt-get install {program}"),
    }
}

/// Waits until the tool has started. If it exits instead, the error contains its last line.
fn begun(testbed: &Testbed, process: Process, has_begun: impl Fn(&str) -> bool) -> Result<Process> {
    let process = parking_lot::Mutex::new(process);
    let waited = testbed.runtime.block_on(poll::until(TIMEOUT, || async {
        let mut process = process.lock();
        if has_begun(&process.log()) {
            return Ok(true);
        }
        if process.is_running() { Err("it did not start".to_owned()) } else { Ok(false) }
    }));
    let process = process.into_inner();
    match waited {
        Ok(true) => Ok(process),
        Ok(false) | Err(_) => {
            let log = process.log();
            let last = log.lines().rev().find(|line| line.contains("rror")).or_else(|| log.lines().last());
            bail!("it cannot run here: {}", last.unwrap_or("it printed nothing"))
        }
    }
}

/// Returns a value from the tool's final output. Another thread reads the pipe, so the output may arrive a moment
/// later.
fn logged<T>(testbed: &Testbed, process: &Process, find: impl Fn(&str) -> Option<T>) -> Result<T> {
    let found = poll::until(TIMEOUT, || async { find(&process.log()).ok_or_else(|| process.log()) });
    testbed.runtime.block_on(found).map_err(|log| anyhow!("it does not report its count: {log}"))
}
