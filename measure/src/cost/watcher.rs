//! What counts at the shards' ports: the probe, and the nearest things to take instead.

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

/// How long a tool may take to begin, or to say its counts at its end.
const TIMEOUT: Duration = Duration::from_secs(20);

/// Where tools that trace look for the kernel's events.
const TRACEFS: &str = "/sys/kernel/tracing";

/// One thing to compare.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Watcher {
    /// Nothing: how far two equal runs differ here.
    Nothing,
    /// Programs that do nothing, where the probe has its own.
    Empty,
    /// The probe as it starts for root.
    Probe,
    /// Nothing at either of two labs: how far equal ones differ here.
    EqualLabs,
    /// Programs that do nothing on the cgroup of one lab's shards.
    EmptyOnShards,
    /// The probe on the cgroup of one lab's shards.
    ProbeOnShards,
    /// The probe with the kernel's statistics of its programs.
    ProbeWithStatistics,
    /// A counter for each port and direction.
    Nftables,
    /// Segments by port.
    Bpftrace,
    /// Every packet, to nowhere.
    Tcpdump,
}

/// A watcher at work.
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
    /// All, in the order of the table.
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

    /// Its name in the table.
    pub const fn name(self) -> &'static str {
        match self {
            Self::Nothing => "nothing (two equal runs)",
            Self::Empty => "empty programs",
            Self::Probe => "probe",
            Self::EqualLabs => "nothing (two equal labs)",
            Self::EmptyOnShards => "empty programs, CGROUP=the shards'",
            Self::ProbeOnShards => "probe, CGROUP=the shards'",
            Self::ProbeWithStatistics => "probe, PROGRAM_STATS=on",
            Self::Nftables => "nftables",
            Self::Bpftrace => "bpftrace",
            Self::Tcpdump => "tcpdump",
        }
    }

    /// How it is started.
    pub(crate) const fn what(self) -> &'static str {
        match self {
            Self::Nothing => "how far two runs differ by themselves",
            Self::Empty => "programs that do nothing, in and out: what the kernel takes for any call",
            Self::Probe => "`probe run` as root on the four shards",
            Self::EqualLabs => "how far two labs differ by themselves",
            Self::EmptyOnShards => "programs that do nothing on the cgroup of one lab's shards",
            Self::ProbeOnShards => {
                "`probe run` on the cgroup of one lab's shards, as `cargo xtask up` starts it for root"
            }
            Self::ProbeWithStatistics => "with the kernel's statistics of its programs",
            Self::Nftables => "`tcp dport P counter` and `tcp sport P counter` for each of the four ports",
            Self::Bpftrace => {
                "`tracepoint:tcp:tcp_probe /args->sport == P || …/ { @[args->sport] = count(); }`: received segments"
            }
            Self::Tcpdump => "`tcpdump -i lo -w /dev/null 'tcp and (port P or …)'`",
        }
    }

    /// Whether it watches one of two labs, and not the whole machine.
    pub(crate) const fn is_side_by_side(self) -> bool {
        matches!(self, Self::EqualLabs | Self::EmptyOnShards | Self::ProbeOnShards)
    }

    /// Whether it may be missing on this machine: what a user would take instead, and a cgroup for the shards where none
    /// could be made.
    pub(crate) fn may_be_missing(self, testbed: &Testbed) -> bool {
        match self {
            Self::Nftables | Self::Bpftrace | Self::Tcpdump => true,
            Self::EmptyOnShards | Self::ProbeOnShards => testbed.shards_cgroup().is_err(),
            Self::Nothing | Self::EqualLabs | Self::Empty | Self::Probe | Self::ProbeWithStatistics => false,
        }
    }

    /// Starts it, and waits until it counts.
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
    /// Its process, if it is one.
    pub(crate) fn process(&self) -> Option<u32> {
        match &self.tool {
            Tool::Nothing | Tool::Empty(_) | Tool::Nftables(_) => None,
            Tool::Probe(process, _) | Tool::Bpftrace(process) | Tool::Tcpdump(process) => Some(process.pid()),
        }
    }

    /// Ends it; gives what it says it has counted.
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
                let segments = said(testbed, &bpftrace, |log| {
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
                let (captured, dropped) = said(testbed, &tcpdump, |log| {
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
    // The second probe is attached no later than the first, and says so.
    let program = format!(
        "tracepoint:tcp:tcp_probe /{}/ {{ @[args->sport] = count(); }} interval:s:1 {{ printf(\"counting\\n\"); }}",
        ports.join(" || ")
    );
    let attached = |log: &str| log.lines().any(|line| line == "counting");
    if Path::new(TRACEFS).join("events").is_dir() {
        let args = ["-e", &program];
        return begun(testbed, Process::start_program(Path::new("bpftrace"), &args, &[]), attached);
    }
    // In a mount namespace of its own, so that nothing stays mounted.
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

/// Waits until the tool has begun; if it ends instead, its last line says why.
fn begun(testbed: &Testbed, process: Process, has_begun: impl Fn(&str) -> bool) -> Result<Process> {
    let process = parking_lot::Mutex::new(process);
    let waited = testbed.runtime.block_on(poll::until(TIMEOUT, || async {
        let mut process = process.lock();
        if has_begun(&process.log()) {
            return Ok(true);
        }
        if process.is_running() { Err("it does not begin".to_owned()) } else { Ok(false) }
    }));
    let process = process.into_inner();
    match waited {
        Ok(true) => Ok(process),
        Ok(false) | Err(_) => {
            let log = process.log();
            let last = log.lines().rev().find(|line| line.contains("rror")).or_else(|| log.lines().last());
            bail!("it does not run here: {}", last.unwrap_or("it says nothing"))
        }
    }
}

/// What the tool says at its end. The pipe is read by a thread of its own, so it may come a moment later.
fn said<T>(testbed: &Testbed, process: &Process, find: impl Fn(&str) -> Option<T>) -> Result<T> {
    let found = poll::until(TIMEOUT, || async { find(&process.log()).ok_or_else(|| process.log()) });
    testbed.runtime.block_on(found).map_err(|log| anyhow!("it does not say what it counted: {log}"))
}
