//! Watchers at the shards' ports: the probe and the nearest alternatives.

use anyhow::{Context as _, Result, anyhow};
use lab::process::{Process, Signal};
use lab_tests::nft::Counters;
use serde_json::Value;
use std::path::Path;
use std::process::Command;

use super::tool;
use crate::table::thousands;
use crate::testbed::Testbed;

/// Mount point of the kernel's events, which tracing tools read.
const TRACEFS: &str = "/sys/kernel/tracing";

/// A watcher to compare.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Watcher {
    /// No watcher: the difference between two equal runs.
    Nothing,
    /// The probe, as `cargo xtask up` starts it for root.
    Probe,
    /// nftables with a counter for each port and direction.
    Nftables,
    /// bpftrace, which counts segments by port.
    Bpftrace,
    /// tcpdump, which captures every packet and discards it.
    Tcpdump,
}

/// A running watcher.
pub(super) enum Watching {
    Nothing,
    Probe(Process),
    Nftables(Counters),
    Bpftrace(Process),
    Tcpdump(Process),
}

impl Watcher {
    /// All watchers, in the order of the table.
    pub const ALL: [Self; 5] = [Self::Nothing, Self::Probe, Self::Nftables, Self::Bpftrace, Self::Tcpdump];

    /// Returns the name in the table.
    pub const fn name(self) -> &'static str {
        match self {
            Self::Nothing => "no watcher",
            Self::Probe => "probe",
            Self::Nftables => "nftables",
            Self::Bpftrace => "bpftrace",
            Self::Tcpdump => "tcpdump",
        }
    }

    /// Returns how the watcher is started.
    pub(super) const fn what(self) -> &'static str {
        match self {
            Self::Nothing => "noise: the difference between two equal runs",
            Self::Probe => "`probe run` on the shards' cgroup, as `cargo xtask up` starts it for root",
            Self::Nftables => "`tcp dport P counter` and `tcp sport P counter` for each of the four ports",
            Self::Bpftrace => {
                "`tracepoint:tcp:tcp_probe /args->sport == P or …/ { @[args->sport] = count(); }`: received segments"
            }
            Self::Tcpdump => "`tcpdump -i lo -w /dev/null 'tcp and (port P or …)'`",
        }
    }

    /// Whether it may be missing on this machine.
    pub(super) const fn may_be_missing(self) -> bool {
        matches!(self, Self::Nftables | Self::Bpftrace | Self::Tcpdump)
    }

    /// Starts the watcher and waits until it counts.
    pub(super) fn start(self, testbed: &mut Testbed) -> Result<Watching> {
        let ports = testbed.ports()?;
        let any = |what: &str, or: &str| {
            ports.iter().map(|port| format!("{what}{port}")).collect::<Vec<_>>().join(or)
        };
        Ok(match self {
            Self::Nothing => Watching::Nothing,
            Self::Probe => Watching::Probe(testbed.start_probe(Vec::new())?),
            Self::Nftables => Watching::Nftables(Counters::start(&ports).map_err(|why| anyhow!(why))?),
            Self::Bpftrace => Watching::Bpftrace(bpftrace(&any("args->sport == ", " || "))?),
            Self::Tcpdump => {
                let mut command = Command::new("tcpdump");
                let filter = format!("tcp and ({})", any("port ", " or "));
                command.args(["-i", "lo", "-n", "-w", "/dev/null", &filter]);
                let listens = |tcpdump: &Process| tcpdump.log().contains("listening on");
                Watching::Tcpdump(tool::start("tcpdump", command, listens)?)
            }
        })
    }
}

impl Watching {
    /// Returns its process, if it has one.
    pub(super) fn process(&self) -> Option<u32> {
        match self {
            Self::Nothing | Self::Nftables(_) => None,
            Self::Probe(process) | Self::Bpftrace(process) | Self::Tcpdump(process) => Some(process.pid()),
        }
    }

    /// Ends the watcher and returns its own count.
    pub(super) fn stop(self, testbed: &Testbed) -> Result<String> {
        let number = |text: &str| text.trim().parse::<u64>().ok();
        match self {
            Self::Nothing => Ok("–".to_owned()),
            Self::Probe(probe) => {
                let url = format!("http://{}/api/shards", probe.address()?);
                let shards: Value = testbed.client.get(&url)?;
                tool::end(probe, Signal::TERM)?;
                let shards = shards["shards"].as_array().context("the probe shows shards")?;
                let reads = shards.iter().filter_map(|shard| shard["requests"]["get"].as_u64());
                Ok(format!("{} requests", thousands(reads.sum())))
            }
            Self::Nftables(counters) => {
                let first = *testbed.ports()?.first().context("a shard")?;
                let (received, sent) = counters.read(first).map_err(|why| anyhow!(why))?;
                Ok(format!("{} packets", thousands(received.packets + sent.packets)))
            }
            Self::Bpftrace(bpftrace) => {
                let log = tool::end(bpftrace, Signal::INT)?;
                let counts = log.lines().filter_map(|line| line.strip_prefix("@[")?.split_once("]: "));
                let segments: u64 = counts.filter_map(|(_, count)| number(count)).sum();
                Ok(format!("{} segments", thousands(segments)))
            }
            Self::Tcpdump(tcpdump) => {
                let log = tool::end(tcpdump, Signal::INT)?;
                let line = |what: &str| {
                    let found = log.lines().find_map(|line| number(line.strip_suffix(what)?));
                    found.with_context(|| format!("tcpdump does not report its {what}"))
                };
                let (captured, dropped) = (line("packets captured")?, line("packets dropped by kernel")?);
                Ok(format!("{} packets, {} lost", thousands(captured), thousands(dropped)))
            }
        }
    }
}

fn bpftrace(filter: &str) -> Result<Process> {
    // bpftrace attaches the second probe after the first, and its output shows that it has.
    let program = format!(
        "tracepoint:tcp:tcp_probe /{filter}/ {{ @[args->sport] = count(); }} interval:s:1 {{ printf(\"counting\\n\"); }}",
    );
    let mut command = if Path::new(TRACEFS).join("events").is_dir() {
        let mut bpftrace = Command::new("bpftrace");
        bpftrace.arg("-e");
        bpftrace
    } else {
        // Runs in its own mount namespace, so that nothing stays mounted.
        let script = format!("mount -t tracefs none {TRACEFS} && exec bpftrace -e \"$0\"");
        let mut unshare = Command::new("unshare");
        unshare.args(["--mount", "sh", "-c", &script]);
        unshare
    };
    command.arg(program);
    tool::start("bpftrace", command, |bpftrace| bpftrace.log().lines().any(|line| line == "counting"))
}
