//! Throughput of GET in pipelines of 16, without a watcher, with the probe, MONITOR and tcpdump.

use std::fs;
use std::path::Path;
use std::process::Command;

use anyhow::{Context as _, Result, ensure};
use lab::cgroup::Cgroup;
use lab::command;
use lab_tests::process::{Process, Signal, TestProcess as _};

use super::{Context, server, url};
use crate::accuracy::probe::Probe;
use crate::accuracy::rule::RowVerdict;
use crate::statistics::Quartiles;
use crate::stores::report::Line;
use crate::stores::rest::Rest;
use crate::stores::server::Server;
use crate::table::{percent, thousands};

/// The watchers, in the order of a round.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Watcher {
    Nothing,
    Probe,
    ProbeOnStore,
    Monitor,
    Tcpdump,
}

const ALL: [Watcher; 5] =
    [Watcher::Nothing, Watcher::Probe, Watcher::ProbeOnStore, Watcher::Monitor, Watcher::Tcpdump];

impl Watcher {
    const fn name(self) -> &'static str {
        match self {
            Self::Nothing => "no watcher",
            Self::Probe => "probe",
            Self::ProbeOnStore => "probe on the store's cgroup",
            Self::Monitor => "MONITOR",
            Self::Tcpdump => "tcpdump",
        }
    }
}

enum Watching<'a> {
    Nothing,
    Probe(Probe<'a>),
    Tool(Process, Signal),
}

/// Runs the row.
pub(crate) fn run(context: &Context<'_>, row: &str) -> Result<Vec<Line>> {
    let (rounds, commands) = if context.full { (7, 1_000_000) } else { (2, 100_000) };
    let cgroup = Cgroup::create("hot-partition-lab-store")?;
    let server = inside(&cgroup, || server(&[]))?;
    let mut rates: Vec<Vec<f64>> = vec![Vec::new(); ALL.len()];
    saturate(&server, commands)?;
    for round in 0..rounds {
        // Every other round runs backwards, against drift.
        let order: Vec<usize> =
            if round % 2 == 0 { (0..ALL.len()).collect() } else { (0..ALL.len()).rev().collect() };
        for at in order {
            let watching = start(context, ALL[at], &server, &cgroup)?;
            let rate = saturate(&server, commands);
            stop(context, watching);
            rates[at].push(rate?);
        }
    }
    drop(server);
    let losses: Vec<Vec<f64>> = rates.iter().map(|of| losses(&rates[0], of)).collect();
    let median = |watcher: Watcher| {
        let at = ALL.iter().position(|one| *one == watcher)?;
        Quartiles::of(losses.get(at)?.iter().copied()).map(|found| found.median)
    };
    let limit = median(Watcher::Monitor).context("MONITOR was not measured")? / 2.0;
    let lines = ALL.iter().zip(&losses).zip(&rates).map(|((watcher, losses), rates)| {
        let (loss, rate) = (Quartiles::of(losses.iter().copied())?, Quartiles::of(rates.iter().copied())?);
        let probes = [Watcher::Probe, Watcher::ProbeOnStore];
        let verdict = if probes.contains(watcher) && loss.median > limit {
            RowVerdict::Wrong(format!("more than half of MONITOR's loss, {}", percent(limit)))
        } else {
            RowVerdict::Exact
        };
        #[expect(clippy::cast_possible_truncation, clippy::cast_sign_loss, reason = "commands a second")]
        let rate = thousands(rate.median as u64);
        let note = format!(
            "loss {} ({} … {}), {rate} commands/s, {rounds} rounds",
            percent(loss.median),
            percent(loss.min),
            percent(loss.max)
        );
        Some(Line::plain(&format!("{row}: {}", watcher.name()), verdict, note))
    });
    lines.collect::<Option<Vec<_>>>().context("a watcher was not measured")
}

/// Loss of throughput in each round.
fn losses(none: &[f64], watched: &[f64]) -> Vec<f64> {
    none.iter().zip(watched).map(|(none, watched)| 1.0 - watched / none).collect()
}

/// Runs `start` in the cgroup, so that the sockets of a process that it starts belong there.
fn inside<T>(cgroup: &Cgroup, start: impl FnOnce() -> Result<T>) -> Result<T> {
    let root = cgroup.path().parent().context("the cgroup has a parent")?;
    let own = fs::read_to_string("/proc/self/cgroup")?;
    let own = own.lines().find_map(|line| line.strip_prefix("0::/")).context("no cgroup v2")?;
    let enter = |path: &Path| {
        fs::write(path.join("cgroup.procs"), "0").with_context(|| format!("cannot enter {}", path.display()))
    };
    enter(cgroup.path())?;
    let started = start();
    enter(&root.join(own))?;
    started
}

/// Reads with 50 connections. Returns commands a second.
fn saturate(server: &Server, commands: u64) -> Result<f64> {
    let mut benchmark = Command::new("redis-benchmark");
    benchmark.args([
        "-p",
        &server.address.port().to_string(),
        "-t",
        "get",
        "-P",
        "16",
        "-r",
        "10000",
        "--csv",
    ]);
    let table = command::capture(benchmark.args(["-n", &commands.to_string()]))?;
    let line = table.lines().last().context("redis-benchmark reports nothing")?;
    let rate = line.split(',').nth(1).and_then(|cell| cell.trim_matches('"').parse().ok());
    rate.with_context(|| format!("redis-benchmark reports {line:?}"))
}

fn start<'a>(
    context: &Context<'a>,
    watcher: Watcher,
    server: &Server,
    cgroup: &Cgroup,
) -> Result<Watching<'a>> {
    let port = server.address.port().to_string();
    let probe = |settings: &[(&str, String)]| {
        let probe = context.stage.start_watch(&url(server), settings);
        Rest::read(context.stage, &probe).map(|_| Watching::Probe(probe))
    };
    match watcher {
        Watcher::Nothing => Ok(Watching::Nothing),
        Watcher::Probe => probe(&[]),
        Watcher::ProbeOnStore => probe(&[("CGROUP", cgroup.path().display().to_string())]),
        Watcher::Monitor => {
            let script = "exec redis-cli -p \"$0\" monitor > /dev/null";
            let monitor = Process::start_program(Path::new("sh"), &["-c", script, &port], &[]);
            // It sends nothing else, so its connection shows that it has begun.
            let begun = || match server.cli(&["client", "list"]).contains(" cmd=monitor ") {
                true => Ok(()),
                false => Err("MONITOR does not begin".to_owned()),
            };
            context.stage.until(std::time::Duration::from_secs(20), begun).map_err(anyhow::Error::msg)?;
            Ok(Watching::Tool(monitor, Signal::TERM))
        }
        Watcher::Tcpdump => {
            let installed = Command::new("tcpdump").arg("--version").output();
            ensure!(installed.is_ok(), "tcpdump is missing: apt-get install tcpdump");
            let filter = format!("tcp port {port}");
            let arguments = ["-i", "lo", "-n", "-w", "/dev/null", &filter];
            let tcpdump = Process::start_program(Path::new("tcpdump"), &arguments, &[]);
            let begun = || match tcpdump.log().contains("listening on") {
                true => Ok(()),
                false => Err(format!("tcpdump does not begin: {}", tcpdump.log())),
            };
            context.stage.until(std::time::Duration::from_secs(20), begun).map_err(anyhow::Error::msg)?;
            Ok(Watching::Tool(tcpdump, Signal::INT))
        }
    }
}

fn stop(context: &Context<'_>, watching: Watching<'_>) {
    match watching {
        Watching::Nothing => {}
        Watching::Probe(probe) => probe.stop(),
        Watching::Tool(mut process, signal) => {
            process.signal(signal);
            context.stage.runtime.block_on(process.ended(std::time::Duration::from_secs(20)));
        }
    }
}
